"""The live display: a board at the bottom of the terminal, and above it what must be read.

Owns the terminal while it is open: nothing else may write there. Loaded only when standard output
is one. It has no thread of its own: it draws when a `Progress` comes, once a second. Main thread.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain, repeat
from typing import TextIO, TypeAlias

from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.segment import Segment, Segments
from rich.style import Style
from rich.text import Text

from wgetpool.board import Board
from wgetpool.events import (
    AttemptFailed,
    Event,
    FileFailed,
    Paused,
    Progress,
    Resumed,
    RunFinished,
    RunStarted,
    Stopping,
    Warned,
)
from wgetpool.lines import describe
from wgetpool.model import FailureClass, Wishes
from wgetpool.summary import Summary
from wgetpool.words import fit, write_lines

WHOLE_EVERY = 10  # pictures: then what others wrote on the terminal is painted over
KEPT = 100  # printed lines, for a terminal that has to be cleared

LOGGED = (RunStarted, FileFailed, Warned, Stopping)
SEEN = (Progress, Paused, Resumed, RunFinished)  # on the board, or by what is on the terminal then
STYLES = {
    FileFailed: Style(color="red"),
    AttemptFailed: Style(color="yellow"),
    Warned: Style(color="yellow"),
    Stopping: Style(color="yellow"),
}

Line: TypeAlias = list[Segment]


class LiveReporter:
    """Draws a board at the bottom of the terminal and prints what must be read above it."""

    progress_interval: float | None = 1.0

    def __init__(
        self,
        wishes: Wishes,
        *,
        summary: Summary,
        stdout: TextIO,
        now: Callable[[], datetime],
    ) -> None:
        self._wishes, self._summary = wishes, summary
        self._stdout = stdout
        self._now = now
        self._console = Console(file=stdout, force_terminal=True, highlight=False)
        self._board = Board(ascii_only=self._console.options.ascii_only)
        self._painter = Painter(self._console)
        self._log: list[Text] = []

    def handle(self, event: Event) -> None:
        self._summary.add(event)
        if line := self._line(event):
            style = STYLES.get(type(event), Style())
            self._log.append(Text(f"{self._now():%m-%d %H:%M} {line}", style))
        match event:
            case Progress():
                self._board.add(event)
                self._draw()
            case Stopping():
                self._board.stopping = True
                self._draw()
            case FileFailed(class_=FailureClass.LOCAL):  # nothing new is started
                self._board.stopping = True
            case Paused():
                self.close()  # the terminal is the shell's
            case RunFinished():
                self.close()
                write_lines(self._stdout, fit(self._summary.lines(event), self._stdout))

    def close(self) -> None:
        """Takes the board away, prints what is still to be said, and gives the terminal back."""
        self._measure()
        self._paint([])

    def _line(self, event: Event) -> str | None:
        """What is printed of an event. Retries are seen on the board; by the thousand they would
        bury what must be read.
        """
        verbose = self._wishes.verbose and not isinstance(event, SEEN)
        wanted = verbose or isinstance(event, LOGGED)
        return describe(event, verbose=verbose) if wanted else None

    def _draw(self) -> None:
        self._measure()
        self._paint(self._board.draw(*self._console.size))

    def _measure(self) -> None:
        """The terminal's own word goes before COLUMNS: what is too wide for it would wrap."""
        with suppress(OSError):
            columns, lines = os.get_terminal_size(self._stdout.fileno())
            if columns and lines:
                self._console.size = ConsoleDimensions(columns, lines)

    def _paint(self, board: Sequence[Text]) -> None:
        """With all lines at once: a thousand failures in a second cost one picture."""
        log, self._log = self._log, []
        self._painter.paint(board, log)


class Painter:
    """Keeps the last lines of a terminal as they are wanted, with few bytes and no flicker: what is
    there is written over, not erased. The cursor rests on the line below.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._size = console.size
        self._shown: list[Line] = []
        self._printed: deque[Text] = deque(maxlen=KEPT)
        self._pictures = 0

    def paint(self, lines: Sequence[Text], log: Sequence[Text] = ()) -> None:
        """Replaces the lines, and prints the log above them."""
        wanted = self._render(lines)
        before, self._size = self._size, self._console.size
        if wanted == self._shown and not log and before == self._size:
            return
        shown, self._shown = self._shown, wanted
        printed = self._wrap(log)
        self._printed.extend(log)
        self._pictures += 1
        if shown and self._size.width < before.width:
            # Nobody knows what the terminal made of lines that are too wide for it now.
            out = [_code("\x1b[H\x1b[2J")]
            room = self._size.height - len(wanted) - 1
            printed = self._last_printed(max(room, len(printed)))
        else:
            out = [_code(f"\r\x1b[{len(shown)}A" if shown else "\r")]
            out += [_code("\x1b[J")] if log else []
        for line in self._render(printed):
            out += [*line, Segment.line()]
        whole = log or before != self._size or self._pictures % WHOLE_EVERY == 0
        for line, old in zip(wanted, chain([] if whole else shown, repeat(None)), strict=False):
            if line != old:
                full = sum(cell_len(segment.text) for segment in line) >= self._size.width
                out += [*line, *([] if full else [_code("\x1b[K")])]
            out.append(Segment.line())
        self._console.print(Segments([*out, _code("\x1b[J")]), end="", crop=False)

    def _last_printed(self, room: int) -> list[Text]:
        """Whole lines of the log that fit into so many."""
        lines: list[Text] = []
        for line in reversed(self._printed):
            wrapped = self._wrap([line])
            if len(wrapped) + len(lines) > room:
                break
            lines = wrapped + lines
        return lines

    def _wrap(self, log: Iterable[Text]) -> list[Text]:
        return [part for line in log for part in line.wrap(self._console, self._size.width)]

    def _render(self, lines: Sequence[Text]) -> list[Line]:
        return [list(Text().join([line]).render(self._console)) for line in lines]


def _code(text: str) -> Segment:
    """What is no text to the console, and takes no room."""
    return Segment(text, None, ())
