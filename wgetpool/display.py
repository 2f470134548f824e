"""The live display: a line for each worker, the next few that wait, a total.

Owns the terminal while it is open: nothing else may write there. Loaded only when standard output
is one. It has no thread of its own: it draws when a `Progress` comes, once a second. Main thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.style import Style
from rich.text import Text

from wgetpool.events import (
    Event,
    FileFailed,
    Paused,
    Progress,
    RunFinished,
    Running,
    RunStarted,
    Stopping,
    Waiting,
    Warned,
)
from wgetpool.lines import describe
from wgetpool.model import Wishes
from wgetpool.pace import time_left
from wgetpool.summary import Summary
from wgetpool.words import (
    count,
    format_left,
    format_rate,
    format_share,
    format_size,
    printable,
    write_lines,
)

GAP = 2
PERCENT, SIZES, RATE, LEFT, TRY = 4, 13, 10, 15, 7  # widths of the columns
BAR_MIN, BAR_MAX = 5, 40
NAME_MIN = 12
WAITING_SHOWN = 3

LOGGED = {
    RunStarted: Style(),
    FileFailed: Style(color="red"),
    Warned: Style(color="yellow"),
    Stopping: Style(color="yellow"),
}


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
        self._console = Console(
            file=stdout, force_terminal=True, force_interactive=True, highlight=False
        )
        self._board = Board(ascii_only=self._console.options.ascii_only)
        self._drawn = Text()
        self._width = self._console.width
        self._log: list[Text] = []
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def handle(self, event: Event) -> None:
        self._summary.add(event)
        if (style := LOGGED.get(type(event))) is not None:
            self._log.append(Text(f"{self._now():%m-%d %H:%M} {describe(event)}", style))
        match event:
            case Progress():
                self._board.add(event)
                self._draw()
            case Stopping():
                self._board.stopping = True
                self._draw()
            case Paused():
                self.close()  # the terminal is the shell's
            case RunFinished():
                self.close()
                write_lines(self._stdout, self._summary.lines(event))

    def close(self) -> None:
        """Takes the board away, prints what is still to be said, and gives the terminal back."""
        self._mend_wrap()
        self._live.stop()
        self._drawn = Text()
        self._print_log()

    def _draw(self) -> None:
        if not self._live.is_started:
            self._live.start()
            # At once: a run that is suspended or killed must not leave a shell without a cursor.
            self._console.show_cursor(True)
        self._mend_wrap()
        board = self._board.draw(*self._console.size)
        self._live.update(board, refresh=board != self._drawn)
        self._drawn = board
        self._print_log()

    def _mend_wrap(self) -> None:
        """Goes up over what wrapped when the terminal got narrower: Live knows no such lines."""
        before, self._width = self._width, self._console.width
        if self._width < before:
            lengths = [line.cell_len for line in self._drawn.split("\n")]
            wrapped = sum(max(length - 1, 0) // self._width for length in lengths)
            up = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
            self._console.control(Control(*up * wrapped))

    def _print_log(self) -> None:
        """All lines at once: a thousand failures in a second cost one drawing."""
        if self._log:
            self._console.print(Text("\n").join(self._log))
            self._log.clear()


# ---------------------------------------------------------------- the board


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """How wide the name and the bar are, and which of the other columns there is room for."""

    name: int
    bar: int
    sizes: bool
    left: bool
    tries: bool


def plan_columns(width: int, *, longest: int, tries: bool) -> Columns:
    """Shares out a line: the bar shrinks first, then the time left goes, then the sizes."""
    wish = min(longest, max(20, width // 3))
    room = width - _joined(PERCENT, SIZES, RATE, LEFT, TRY * tries)
    left = room >= wish + GAP + BAR_MIN
    room += 0 if left else _joined(LEFT)
    sizes = room >= wish + GAP + BAR_MIN
    room += 0 if sizes else _joined(SIZES)
    bar = max(min(BAR_MAX, room - GAP - longest), BAR_MIN)
    name = max(min(longest, room - GAP - bar), NAME_MIN)
    return Columns(name=name, bar=bar, sizes=sizes, left=left, tries=tries)


def _joined(*widths: int) -> int:
    """What columns take, each with the gap before it; one of no width is not there."""
    return sum(width + GAP for width in widths if width)


class Board:
    """What the display knows: the last sample, rates, and which file has which line.

    Columns only ever widen or come: nothing jumps to and fro.
    """

    def __init__(self, *, ascii_only: bool = False) -> None:
        self.stopping = False
        self._filled, self._half, self._empty, self._unknown = "#--." if ascii_only else "━╸─·"
        self._separator = " | " if ascii_only else " · "
        self._progress: Progress | None = None
        self._rows: list[Running] = []
        self._longest = NAME_MIN
        self._tries = False

    def add(self, progress: Progress) -> None:
        """Takes a sample."""
        self._progress = progress
        self._rows = keep_places(self._rows, progress.running)
        for file in progress.running:
            self._longest = max(self._longest, cell_len(file.name))
            self._tries = self._tries or file.attempt > 1

    def draw(self, width: int, height: int) -> Text:
        """The board for a terminal of this size, without its last line's end."""
        if self._progress is None:
            return Text()
        progress = self._progress
        room = max(height - 4, 2)  # lines for files: beside a blank one, the total, and two above
        waiting = min(WAITING_SHOWN + 1, progress.waiting_count)
        waiting = max(min(waiting, room - len(self._rows)), min(waiting, 1))
        lines = [
            Text(),
            *self._draw_running(width, room - waiting),
            *self._draw_waiting(width, waiting),
            self._draw_total(progress, width),
        ]
        return Text("\n", no_wrap=True, overflow="crop").join(lines)

    def _draw_running(self, width: int, room: int) -> Iterator[Text]:
        fits = len(self._rows) <= room
        shown = self._rows if fits else self._rows[: room - 1]
        columns = plan_columns(width, longest=self._longest, tries=self._tries)
        for file in shown:
            yield self._draw_file(file, columns)
        if not fits:
            yield Text(f"and {len(self._rows) - len(shown)} more running", Style(dim=True))

    def _draw_file(self, file: Running, columns: Columns) -> Text:
        speed = "" if file.rate is None else format_rate(file.rate)
        if file.size is not None and file.bytes >= file.size:
            speed = "checking"
        cells = [
            Text(shorten(printable(file.name), columns.name)),
            self._draw_bar(file, columns.bar),
            Text(_percent(file).rjust(PERCENT)),
        ]
        if columns.sizes:
            cells.append(Text(_sizes(file).rjust(SIZES)))
        cells.append(Text(speed.rjust(RATE)))
        if columns.left:
            left = time_left(file.bytes, file.size, file.rate)
            cells.append(Text(("" if left is None else f"{format_left(left)} left").rjust(LEFT)))
        if columns.tries:
            tried = f"try {file.attempt}" if file.attempt > 1 else ""
            cells.append(Text(tried, Style(color="yellow")))
        row = Text(" " * GAP).join(cells)
        row.rstrip()
        return row

    def _draw_bar(self, file: Running, width: int) -> Text:
        if not file.size:
            return Text(self._unknown * width, Style(dim=True))
        filled, half = divmod(min(2 * width * file.bytes // file.size, 2 * width), 2)
        return Text.assemble(
            (self._filled * filled + self._half * half, Style(color="green")),
            (self._empty * (width - filled - half), Style(dim=True)),
        )

    def _draw_waiting(self, width: int, room: int) -> Iterator[Text]:
        """Of the files that wait the soonest, and how many more there are, on `room` lines."""
        if self._progress is None or not room:
            return
        total = self._progress.waiting_count
        shown = self._progress.waiting[: room if room >= total else room - 1]
        name = min(max((cell_len(file.name) for file in shown), default=0), max(20, width // 3))
        for file in shown:
            line = f"waiting  {shorten(printable(file.name), name)}  {_next_try(file)}"
            yield Text(shorten_end(line, width), Style(color="yellow"))
        if more := total - len(shown):
            yield Text(f"and {more} more waiting" if shown else f"{more} waiting", Style(dim=True))

    def _draw_total(self, progress: Progress, width: int) -> Text:
        parts = {"files": f"{progress.done + progress.skipped:,}/{count(progress.files, 'file')}"}
        parts["bytes"] = format_size(progress.bytes)
        if progress.size is not None:
            parts["bytes"] = format_share(progress.bytes, progress.size)
        if progress.rate is not None:
            parts["rate"] = format_rate(progress.rate)
        left = progress.left
        if self.stopping:
            parts["stopping"] = "stopping"
        elif left is not None:
            parts["left"] = f"{format_left(left)} left"
        if progress.failed:
            parts["failed"] = f"{progress.failed} failed"
        for dropped in ("bytes", "rate", "left"):
            if cell_len(self._separator.join(parts.values())) > width:
                parts.pop(dropped, None)
        return Text(self._separator.join(parts.values()), Style(bold=True))


# ---------------------------------------------------------------- parts of lines


def keep_places(before: list[Running], now: tuple[Running, ...]) -> list[Running]:
    """The running files, each on its old line; a new one takes the line of one that has ended."""
    current = {file.name: file for file in now}
    kept = [current.pop(file.name, None) for file in before]
    fresh = iter(current.values())
    placed = [file or next(fresh, None) for file in kept]
    return [file for file in placed if file] + list(fresh)


def shorten(text: str, width: int) -> str:
    """The text on just `width` cells; one that is too long loses its middle, and keeps its end."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    head = (width - 3) // 4
    tail = text
    while cell_len(tail) > width - 3 - head:
        tail = tail[1:]
    return set_cell_size(f"{set_cell_size(text, head)}...{tail}", width)


def shorten_end(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 3)}..."


def _percent(file: Running) -> str:
    return f"{min(100 * file.bytes // file.size, 100)}%" if file.size else ""


def _sizes(file: Running) -> str:
    return format_size(file.bytes) if file.size is None else format_share(file.bytes, file.size)


def _next_try(file: Waiting) -> str:
    when = f"in {format_left(file.due_in)}" if file.due_in > 0 else "next"
    return f"try {file.attempt} {when}: {printable(file.reason)}"
