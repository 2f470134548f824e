"""What the live display shows: a line for each worker, the next few that wait, a total.

Draws, and writes nowhere. Everything keeps its place from one picture to the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from wgetpool.events import Progress, Running, Waiting
from wgetpool.lines import next_try
from wgetpool.names import shorten_all, shorten_end
from wgetpool.pace import time_left
from wgetpool.words import (
    count,
    format_left,
    format_rate,
    format_share,
    format_size,
    printable,
)

GAP = 2
PERCENT, SIZES, RATE, TRY = 4, 13, 10, 7  # widths of the columns
BAR_MIN, BAR_MAX = 5, 40
NAME_MIN = 12
WAITING_SHOWN = 3
PATIENCE = 30  # looks
NAMES_KEPT = 100  # against which a name is told apart: those of files that have ended, too
SLOW = 10  # times slower than the mean: to be seen before others
DIM, YELLOW = Style(dim=True), Style(color="yellow")


class Board:
    """What the display knows: the last sample, and which file has which line.

    Columns widen at once, and the name's shrinks when it has long been too wide: nothing jumps to
    and fro.
    """

    def __init__(self, *, ascii_only: bool = False) -> None:
        self.stopping = False
        self._ascii_only = ascii_only
        self._filled, self._half, self._empty, self._unknown = "#--." if ascii_only else "━╸─·"
        self._separator = " | " if ascii_only else " · "
        self._progress: Progress | None = None
        self._rows: list[Running] = []
        self._names: list[str] = []
        self._labels: dict[str, str] = {}
        self._lengths = deque([NAME_MIN], maxlen=PATIENCE)  # of the longest name, of late
        self._left = 0
        self._tries = False
        self._waits = 0  # files at a time, at most

    def add(self, progress: Progress) -> None:
        """Takes a sample."""
        self._progress = progress
        self._waits = max(self._waits, progress.waiting_count)
        self._tries = self._tries or any(file.attempt > 1 for file in progress.running)
        self._left = max([self._left, *(len(_left(file)) for file in progress.running)])
        files: list[Running | Waiting] = [*progress.running, *progress.waiting]
        names = [self._readable(file.name) for file in files]
        if not set(names) <= set(self._names):
            known = dict.fromkeys([*names, *self._names])
            self._names = list(known)[: max(NAMES_KEPT, len(names))]
            self._labels = {}
        self._lengths.append(max([NAME_MIN, *map(cell_len, names)]))

    def draw(self, width: int, height: int) -> list[Text]:
        """The lines for a terminal of this size, at least one of which stays free."""
        if self._progress is None:
            return []
        progress, running = self._progress, self._progress.running
        waiting = 0 if self.stopping else progress.waiting_count
        room = max(height - 4, 0)  # beside a blank line, the total, one above and one below
        kept = min(self._waits, -(-room // 8))  # for those that wait, also when none does
        told = min(waiting, max(kept, min(WAITING_SHOWN + 1, room - len(running))))
        longest = max(self._lengths)
        columns = plan_columns(width, longest=longest, left=self._left, tries=self._tries)
        self._write_labels(columns.name)
        lines = [self._draw_total(progress, width)]
        if room:
            files = self._draw_running(running, columns, room - max(told, kept))
            lines = [Text(), *files, *self._draw_waiting(progress, width, told), *lines]
        for line in lines:
            line.truncate(width, overflow="crop")
        return lines

    def _readable(self, name: str) -> str:
        """As it is printed: what the terminal does not know is longer there."""
        name = printable(name)
        return name.encode("ascii", "backslashreplace").decode() if self._ascii_only else name

    def _write_labels(self, width: int) -> None:
        if not self._labels or cell_len(next(iter(self._labels.values()))) != width:
            self._labels = shorten_all(self._names, width)

    def _label(self, file: Running | Waiting) -> Text:
        return Text(self._labels[self._readable(file.name)])

    def _draw_running(
        self, running: tuple[Running, ...], columns: Columns, room: int
    ) -> Iterator[Text]:
        fits = len(running) <= room
        shown = running if fits else choose(self._rows, running, max(room - 1, 0))
        self._rows = keep_places(self._rows, shown)
        for file in self._rows:
            yield self._draw_file(file, columns)
        if not fits:
            names = {file.name for file in shown}
            rates = [file.rate for file in running if file.name not in names]
            known = [rate for rate in rates if rate is not None]
            rate = f", {format_rate(sum(known))}" if len(known) == len(rates) else ""
            yield Text(f"and {len(running) - len(shown)} more running{rate}", DIM)

    def _draw_file(self, file: Running, columns: Columns) -> Text:
        cells = [self._label(file)]
        if columns.bar:
            cells.append(self._draw_bar(file, columns.bar))
        cells.append(Text(_percent(file).rjust(PERCENT)))
        if columns.sizes:
            cells.append(Text(_sizes(file).rjust(columns.sizes)))
        if columns.rate:
            cells.append(Text(_speed(file).rjust(columns.rate)))
        if columns.left:
            cells.append(Text(_left(file).rjust(columns.left)))
        if columns.tries and file.attempt > 1:
            cells.append(Text(f"try {file.attempt}", YELLOW))
        row = Text(" " * GAP).join(cells)
        row.rstrip()
        return row

    def _draw_bar(self, file: Running, width: int) -> Text:
        if not file.size:
            return Text(self._unknown * width, DIM)
        filled, half = divmod(min(2 * width * file.bytes // file.size, 2 * width), 2)
        return Text.assemble(
            (self._filled * filled + self._half * half, Style(color="green")),
            (self._empty * (width - filled - half), DIM),
        )

    def _draw_waiting(self, progress: Progress, width: int, room: int) -> Iterator[Text]:
        """Of the files that wait the soonest, and how many more there are, on `room` lines."""
        total = progress.waiting_count
        shown = progress.waiting[: room if room >= total else max(room - 1, 1)] if room else ()
        for file in shown:
            line = f"{self._label(file)}{' ' * GAP}{next_try(file)}"
            yield Text(shorten_end(line, width), YELLOW)
        if room > len(shown):
            yield Text(f"and {total - len(shown)} more waiting", DIM)
        if progress.running or total or self.stopping:
            return
        if progress.elsewhere:
            yield Text(f"waiting for {count(progress.elsewhere, 'file')} of another run", DIM)
        elif progress.expired:
            links = count(progress.expired, "link")
            yield Text(f"waiting for fresh links: {links} expired", DIM)
        elif progress.no_room:
            yield Text(f"waiting for room on the disk: {count(progress.no_room, 'file')}", DIM)

    def _draw_total(self, progress: Progress, width: int) -> Text:
        """What matters most stays where there is little room: files, time left, failures."""
        parts = {"files": f"{progress.done + progress.skipped:,}/{count(progress.files, 'file')}"}
        parts["bytes"] = format_size(progress.bytes)
        if progress.size is not None:
            parts["bytes"] = format_share(progress.bytes, progress.size)
        if progress.rate is not None:
            parts["rate"] = format_rate(progress.rate)
        if self.stopping:
            busy = len(progress.running)
            waits = f", waiting for {count(busy, 'file')}" if busy else ""
            parts["stopping"] = f"stopping{waits}"
        elif progress.left is not None:
            parts["left"] = f"{format_left(progress.left)} left"
        if progress.failed:
            parts["failed"] = f"{progress.failed:,} failed"
        if progress.no_room:
            parts["no_room"] = f"{progress.no_room:,} wait for room"
        if progress.expired:
            parts["expired"] = f"{progress.expired:,} with expired links"
        if progress.elsewhere:
            parts["elsewhere"] = f"{progress.elsewhere:,} in another run"
        for dropped in ("bytes", "rate", "elsewhere", "left"):
            if cell_len(self._separator.join(parts.values())) > width:
                parts.pop(dropped, None)
        return Text(self._separator.join(parts.values()), Style(bold=True))


# ---------------------------------------------------------------- columns and places


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """How wide they are; 0: there is no room for it."""

    name: int
    bar: int
    sizes: int
    rate: int
    left: int
    tries: int


def plan_columns(width: int, *, longest: int, left: int, tries: bool) -> Columns:
    """Shares out a line. As it gets narrower the bar shrinks first, then the time left goes, then
    the sizes; and where not even a short name fits, the bar, the tries and the rate.
    """
    wish = min(longest, max(20, width // 3))
    widths = {"left": left, "sizes": SIZES, "bar": BAR_MIN, "tries": TRY * tries, "rate": RATE}
    for column in widths:
        name = wish if column in ("left", "sizes") else NAME_MIN
        if name + _joined(PERCENT, *widths.values()) > width:
            widths[column] = 0
    room = width - _joined(PERCENT, *widths.values())
    if widths["bar"]:
        widths["bar"] += max(min(BAR_MAX - BAR_MIN, room - longest), 0)
        room = width - _joined(PERCENT, *widths.values())
    return Columns(name=max(min(longest, room), 1), **widths)


def _joined(*widths: int) -> int:
    """What columns take, each with the gap before it; one of no width is not there."""
    return sum(width + GAP for width in widths if width)


def choose(before: Sequence[Running], running: Sequence[Running], room: int) -> tuple[Running, ...]:
    """Of more files than there are lines the most telling: those that are tried again or are slow,
    then those that have a line already, then those that have run longest.
    """
    rates = [file.rate for file in running if file.rate is not None]
    slow = sum(rates) / len(rates) / SLOW if rates else 0.0
    shown = {file.name for file in before}

    def rank(file: Running) -> tuple[bool, bool, float]:
        is_slow = file.rate is not None and file.rate <= slow and not _is_complete(file)
        return not (file.attempt > 1 or is_slow), file.name not in shown, -file.since

    return tuple(sorted(running, key=rank)[:room])


def keep_places(before: Sequence[Running], now: Sequence[Running]) -> list[Running]:
    """The running files, each on its old line; a new one takes the line of one that has ended."""
    current = {file.name: file for file in now}
    kept = [current.pop(file.name, None) for file in before]
    fresh = iter(current.values())
    placed = [file or next(fresh, None) for file in kept]
    return [file for file in placed if file] + list(fresh)


# ---------------------------------------------------------------- parts of lines


def _is_complete(file: Running) -> bool:
    return file.size is not None and file.bytes >= file.size


def _percent(file: Running) -> str:
    return f"{min(100 * file.bytes // file.size, 100)}%" if file.size else ""


def _sizes(file: Running) -> str:
    return format_size(file.bytes) if file.size is None else format_share(file.bytes, file.size)


def _speed(file: Running) -> str:
    if _is_complete(file):
        return "checking"
    return "" if file.rate is None else format_rate(file.rate)


def _left(file: Running) -> str:
    left = time_left(file.bytes, file.size, file.rate)
    return "" if left is None else f"{format_left(left)} left"
