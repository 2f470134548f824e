"""How far DIR is, at a glance: who works on it, what is under way, what failed and why. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from io import StringIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wgetpool.advice import Groups
from wgetpool.events import Running
from wgetpool.folder import SILENT, FileStatus, Folder
from wgetpool.lines import next_try
from wgetpool.model import Cause, Sample
from wgetpool.names import shorten_all
from wgetpool.pace import time_left
from wgetpool.words import (
    count,
    format_left,
    format_rate,
    format_share,
    format_size,
    printable,
    some,
    stop_command,
    wrap,
)

ENDLESS = 10_000  # columns of a pipe
GAP = 2  # between columns
NAME_MIN, NAME_ROOM = 12, 16  # columns: with less room the time left goes first
NAMES_SHOWN = 5
BEGUN_SHOWN, WAITING_SHOWN = 20, 8  # files that nobody works on, and that are tried again


def lines_of(folder: Folder, width: int) -> Iterator[str]:
    """The overview for a terminal of so many columns."""
    yield from wrap(map(printable, _head(folder)), width)
    yield from _tables(folder, width)
    yield from wrap(map(printable, _foot(folder)), width)


def _head(folder: Folder) -> Iterator[str]:
    """What is there, and who works on it."""
    yield ", ".join(_counts(folder))
    yield ", ".join((f"{_here(folder)} here", *_speed(folder)))
    runs, orphans = folder.runs, folder.orphans
    if runs:
        verb = "a run is" if len(runs) == 1 else f"{len(runs):,} runs are"
        yield f"{verb} working on it: {', '.join(run.known.whereabouts for run in runs)}"
        for run in runs:
            if run.stopped:
                who = f"the run with {run.known.whereabouts} is stopped"
                yield f"{who}: fg in its terminal, or kill -CONT, lets it go on"
        silent = [run.heard or 0.0 for run in runs if run.seen and not run.stopped]
        if (silence := max(silent, default=0.0)) > SILENT:
            yield f"it has told nothing for {format_left(silence)}: does it hang?"
        if not all(run.seen for run in runs):
            yield "its workers cannot be seen from here, or not yet"
    else:
        killed = "; the last one was killed" if folder.killed else ""
        yield f"no run is working on it{killed or _since(folder.last)}"
    if orphans:
        verb, them = ("works", "it") if len(orphans) == 1 else ("work", "them")
        named = some([f"{one.part or '(unknown)'} (pid {one.pid})" for one in orphans], NAMES_SHOWN)
        ends = f"{stop_command(folder.store.directory)} ends {them}, and so does the next run"
        yield f"{count(len(orphans), 'wget')} of a killed run still {verb}: {named}; {ends}"


def _counts(folder: Folder) -> Iterator[str]:
    """'12 of 50 files whole', '6 running', ..."""
    counts = Counter(file.state for file in folder.files)
    yield f"{counts['done']:,} of {count(len(folder.files), 'file')} whole"
    running = len(folder.running)
    left = counts["partial"] + counts["pending"] - running
    waiting = min(folder.waiting_count, left)
    unnamed = waiting - len(folder.waiting)  # of many that wait: begun, most likely
    begun = max(len(folder.begun) - max(unnamed, 0), 0)
    rest = left - waiting - begun
    told = (
        (running, "running"),
        (waiting, "waiting"),
        (begun, "begun"),
        (counts["failed"], "failed"),
        (rest, "to come"),
    )
    yield from (f"{number:,} {word}" for number, word in told if number > 0)


def _here(folder: Folder) -> str:
    """A part of what failed is here, too, and goes on one day."""
    counted = [file for file in folder.files if file.state != "failed" or file.bytes]
    sizes = [file.size for file in counted if file.size is not None]
    here = format_size(folder.bytes)
    if not sizes or folder.is_whole:
        return here
    about = "" if len(sizes) == len(counted) else "about "
    return f"{here} of {about}{format_size(sum(sizes) * len(counted) // len(sizes))}"


def _since(last: Sample | None) -> str:
    if last is None:
        return ""
    at = datetime.fromisoformat(last.at).astimezone()
    mean = format_rate(last.received / max(last.seconds, 0.001))
    return f"; the last one was fetching until {at:%Y-%m-%d %H:%M}, {mean} on average"


def _speed(folder: Folder) -> Iterator[str]:
    if folder.rate is not None:
        yield format_rate(folder.rate)
    if folder.left is not None:
        yield f"about {format_left(folder.left)} left"


def _tables(folder: Folder, width: int) -> Iterator[str]:
    """What is under way: files that are fetched or begun, and below them those that wait."""
    waiting, begun = folder.waiting[:WAITING_SHOWN], folder.begun
    shown = begun[:BEGUN_SHOWN]
    cells = [*map(_pace_of, folder.running), *((_share(file), "", "", "") for file in shown)]
    if _room(cells, width) < NAME_ROOM:
        cells = [(share, rate, "", tries) for share, rate, _, tries in cells]
    names = [printable(file.name) for file in folder.running]
    names += [printable(file.name) for file in shown]
    waits = [printable(file.name) for file in waiting]
    room = max(min(_room(cells, width), width // 2), NAME_MIN)
    longest = max(map(cell_len, names + waits), default=0)
    labels = shorten_all(names + waits, min(longest, room))
    yield from _draw([(labels[name], *row) for name, row in zip(names, cells, strict=True)], width)
    if more := len(begun) - len(shown):
        yield f"and {more:,} more begun"
    waits_for = {file.name for file in waiting}
    here = {
        file.name: _share(file) for file in folder.files if file.name in waits_for and file.bytes
    }
    yield from _draw(
        [
            (labels[name], here.get(file.name, ""), next_try(file))
            for name, file in zip(waits, waiting, strict=True)
        ],
        width,
    )
    if more := folder.waiting_count - len(waiting):
        yield f"and {more:,} more waiting"
    if len(folder.runs) == 1 and (elsewhere := folder.runs[0].elsewhere):
        yield f"and {count(elsewhere, 'file')} of another run"
    if expired := sum(run.expired for run in folder.runs):
        yield f"waiting for fresh links: {count(expired, 'link')} expired"
    if no_room := sum(run.no_room for run in folder.runs):
        yield f"waiting for room on the disk: {count(no_room, 'file')}"


def _room(rows: Sequence[Sequence[str]], width: int) -> int:
    """How many columns such rows leave for a name."""
    return width - sum(GAP + max(map(cell_len, cells)) for cells in zip(*rows, strict=True))


def _pace_of(file: Running) -> tuple[str, str, str, str]:
    left = time_left(file.bytes, file.size, file.rate)
    return (
        _share(file),
        "" if file.rate is None else format_rate(file.rate),
        "" if left is None else f"{format_left(left)} left",
        f"try {file.attempt}" if file.attempt > 1 else "",
    )


def _share(file: Running | FileStatus) -> str:
    if not file.size:
        return format_size(file.bytes)
    return f"{format_share(file.bytes, file.size)} {100 * file.bytes // file.size:>3}%"


def _draw(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """A table: the first column leans to the left, so does the last one, which is broken between
    words where there is no room.
    """
    if not rows:
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
    table.add_column(no_wrap=True)
    for _ in rows[0][1:-1]:
        table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    drawn = StringIO()
    Console(file=drawn, width=width).print(table)
    yield from (line.rstrip() for line in drawn.getvalue().splitlines())


def _foot(folder: Folder) -> Iterator[str]:
    """What failed and why, and what is to be done."""
    groups = Groups()
    for file in folder.files:
        if file.state == "failed":
            groups.add(file.name, file.cause or Cause.OTHER, file.reason or "for an unknown reason")
    yield from groups.lines(str(folder.store.directory))
    if not (folder.is_whole or folder.runs):
        yield "The same wgetpool get again goes on with what is left."
