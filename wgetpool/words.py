"""What is said of a run: how sizes, rates, durations and events read, and the summary at its end.

Owns the words; who prints them, and where, is for `report`, `display` and `status`.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TextIO

from wgetpool.model import (
    AttemptFailed,
    AttemptStarted,
    Event,
    FailureClass,
    FileDone,
    FileFailed,
    FileSkipped,
    Progress,
    RunFinished,
    RunStarted,
    Stopping,
    Warned,
)

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
NAMES_SHOWN = 3  # of the files of one group in the summary
REASONS_SHOWN = 8
OF_ONE_FILE = re.compile(r" \([\d,?]+ of [^)]*\)$")  # in a reason: how many bytes are here
BLOCKED = "blocked on the disk (state D), and nothing ends them before it answers"
RATE_WINDOW = 15.0  # seconds over which a rate that is shown is smoothed
STEADY_WINDOW = 300.0  # and the one that tells the time left: it may not jump

NEXT_STEPS = {
    FailureClass.EXPIRED: "Download a fresh links file and run the same command: parts go on.",
    FailureClass.PERMANENT: "Check the links (404, 410: no such file; 401, 403: refused).",
    FailureClass.BROKEN: "What came is in {directory}/.wgetpool/rejected: look at it.",
    FailureClass.TRANSIENT: "Run the same command again: parts go on.",
    FailureClass.LOCAL: "Look at the disk and the permissions of {directory}, then run it again.",
}


# ---------------------------------------------------------------- words


def count(number: int, noun: str) -> str:
    """'1 file', '2 files'."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def some(names: Sequence[str], limit: int, total: int | None = None) -> str:
    """'a, b and 7 more': the first names of all that there are, or of a `total`."""
    more = (len(names) if total is None else total) - limit
    return ", ".join(names[:limit]) + (f" and {more:,} more" if more > 0 else "")


def stop_command(directory: str | PathLike[str]) -> str:
    """What ends the runs on a folder, and what they left behind."""
    return f"wgetpool stop {shlex.quote(str(directory))}"


def printable(text: str) -> str:
    """The text without anything that could move a cursor, ring a bell, or turn the line round."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def format_size(size: float) -> str:
    """'12 B', '640 KiB', '1.5 GiB': powers of 1024, at most four digits."""
    power = _power(size)
    return f"{_digits(size, power)} {UNITS[power]}"


def format_share(size: float, whole: float) -> str:
    """'3.4/11.2 GiB': both in the unit of the whole."""
    power = _power(whole)
    return f"{_digits(size, power)}/{_digits(whole, power)} {UNITS[power]}"


def format_rate(rate: float) -> str:
    """'95.1 MiB/s'."""
    return f"{format_size(rate)}/s"


def format_duration(seconds: float) -> str:
    """'0.4 s', '45 s', '3 min 20 s', '2 h 05 min', '3 d 4 h': the two units that matter."""
    if 0 < seconds < 0.95:
        return f"{max(seconds, 0.1):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def format_left(seconds: float) -> str:
    """'45 s', '3 min', '2 h 05 min': a time left, rounded up and no finer than it is known."""
    if seconds > 59:
        minutes = math.ceil(seconds / 60)
        return f"{minutes} min" if minutes < 60 else format_duration(minutes * 60)
    return f"{math.ceil(seconds)} s"


def _power(size: float) -> int:
    power = 0
    while size >= 1023.5 and power < len(UNITS) - 1:
        size /= 1024
        power += 1
    return power


def _digits(size: float, power: int) -> str:
    value = size / 1024**power
    return f"{value:.1f}" if power and value < 99.95 else f"{value:.0f}"


def describe(event: Event) -> str | None:
    """An event as one line for people; the first word is fixed. None: it has no line of its own."""
    line = None
    match event:
        case RunStarted():
            workers = count(event.workers, "worker")
            line = f"start {count(event.files, 'file')} into {event.directory}, {workers}"
        case AttemptStarted(attempt=1) if event.bytes:
            line = f"resume {event.name} at {format_size(event.bytes)}"
        case AttemptFailed() if event.retry_in is not None:
            again = f"try {event.attempt + 1} in {format_duration(event.retry_in)}"
            line = f"retry {event.name}: {event.reason}; {again}"
        case FileDone():
            tries = f", {event.attempts} tries" if event.attempts > 1 else ""
            doubt = "" if event.proof else ", nothing proves that it is whole"
            took = f"{format_size(event.bytes)} in {format_duration(event.seconds)}"
            line = f"done {event.name}: {took}{tries}{doubt}"
        case FileFailed():
            tries = f" ({event.attempts} tries)" if event.attempts > 1 else ""
            line = f"failed {event.name}: {event.reason}{tries}"
        case Warned():
            line = f"warning: {event.message}"
        case Stopping():
            line = f"stopping: {event.reason}"
    return None if line is None else printable(line)


class Rate:
    """Bytes a second: the plain mean at first, then smoothed over `window` seconds."""

    def __init__(self, window: float = RATE_WINDOW, *, at: float = 0.0, total: int = 0) -> None:
        self.value: float | None = None
        self._window = window
        self._began = self._at = at
        self._total = total

    def add(self, at: float, total: int) -> None:
        """Takes a sample. A total that fell (a part that was cut) brought nothing."""
        step = at - self._at
        if step < 0.5:
            return  # too short to tell: it is left to the next one
        brought = max(total - self._total, 0) / step
        weight = max(1 - math.exp(-step / self._window), step / (at - self._began))
        value = self.value or 0.0
        self.value = value + weight * (brought - value)
        self._at, self._total = at, total


class Pace:
    """The rate of a whole run and the time that it still needs; None: not known yet."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self._shown, self._steady = Rate(RATE_WINDOW), Rate(STEADY_WINDOW)

    def add(self, progress: Progress) -> None:
        for rate in (self._shown, self._steady):
            rate.add(progress.seconds, progress.received)
        self.rate = self._shown.value

    def left(self, progress: Progress) -> float | None:
        return time_left(progress.bytes, progress.size, self._steady.value)


def time_left(size: int, whole: int | None, rate: float | None) -> float | None:
    """Seconds until `size` bytes are `whole`; None where nobody can tell."""
    if whole is None or whole <= size or rate is None or rate < 1:
        return None
    return (whole - size) / rate


def describe_progress(progress: Progress, pace: Pace) -> str:
    """How far a run is, as one line."""
    whole = "" if progress.size is None else f" of {format_size(progress.size)}"
    left = pace.left(progress)
    parts = (
        f"progress {progress.done + progress.skipped:,}/{count(progress.files, 'file')}",
        f"{format_size(progress.bytes)}{whole}",
        "" if pace.rate is None else format_rate(pace.rate),
        f"{len(progress.running)} running",
        f"{progress.waiting_count} waiting" if progress.waiting_count else "",
        f"{progress.failed} failed" if progress.failed else "",
        "" if left is None else f"about {format_left(left)} left",
    )
    return ", ".join(part for part in parts if part)


# ---------------------------------------------------------------- the summary


@dataclass(slots=True)
class _Group:
    """Files that have something in common: how many, and the first few names."""

    size: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.size += 1
        if len(self.names) < NAMES_SHOWN:
            self.names.append(name)

    def __str__(self) -> str:
        return some(self.names, NAMES_SHOWN, self.size)


@dataclass(slots=True, kw_only=True)
class Tally:
    """Keeps what the summary needs of a run, in little memory however many files it has."""

    command: str
    directory: str
    _failures: dict[tuple[FailureClass, str], _Group] = field(default_factory=dict)
    _unproved: _Group = field(default_factory=_Group)
    _why: Counter[str] = field(default_factory=Counter)
    _retries: int = 0

    def add(self, event: Event) -> None:
        match event:
            case FileFailed():
                key = (event.class_, OF_ONE_FILE.sub("", event.reason))
                self._failures.setdefault(key, _Group()).add(event.name)
            case FileDone(proof=()):
                self._unproved.add(event.name)
            case FileSkipped():
                self._why[event.why] += 1
            case AttemptFailed() if event.retry_in is not None:
                self._retries += 1

    def summary(self, end: RunFinished) -> list[str]:
        """The lines that end a run; short when all went well."""
        lines = [self._outcome(end), self._amount(end)]
        if gone := self._why["gone"]:
            lines.append(f"Left out: {count(gone, 'file')} fetched before and moved away since.")
        if self._unproved.size:
            files = count(self._unproved.size, "file")
            lines.append(f"Nothing proves {files} whole: the server told no length.")
            lines.append(f"    {self._unproved}")
        lines += self._explain_failures()
        if end.failed or end.left:
            lines += ["The command that goes on:", f"    {self.command}"]
        return [printable(line) for line in lines]

    def _outcome(self, end: RunFinished) -> str:
        gone, adopted = self._why["gone"], self._why["adopted"]
        whole = end.done + end.skipped - gone
        known = end.skipped - gone - adopted
        how = ((end.done, "fetched"), (known, "known already"), (adopted, "taken over as found"))
        rest = ((end.failed, "failed"), (end.left, "not fetched"))
        told = ", ".join(f"{number} {word}" for number, word in how if number)
        files = count(whole + end.failed + end.left, "file")
        line = f"{whole} of {files} whole" + (f" ({told})" if told else "")
        return line + "".join(f", {number} {word}" for number, word in rest if number)

    def _amount(self, end: RunFinished) -> str:
        mean = format_rate(end.bytes / max(end.seconds, 0.001))
        retries = f"{self._retries} " + ("retry" if self._retries == 1 else "retries")
        parts = (
            f"{format_size(end.bytes)} in {format_duration(end.seconds)}",
            f"{mean} on average" if end.bytes else "",
            retries if self._retries else "",
        )
        return ", ".join(part for part in parts if part)

    def _explain_failures(self) -> Iterator[str]:
        """The failures by class and reason, the commonest first, each class with its next step."""
        ranked = sorted(self._failures.items(), key=lambda item: -item[1].size)
        shown, others = ranked[:REASONS_SHOWN], ranked[REASONS_SHOWN:]
        for kind, step in NEXT_STEPS.items():
            groups = [(reason, group) for (class_, reason), group in shown if class_ is kind]
            for reason, group in groups:
                yield f"Failed: {count(group.size, 'file')}, {reason}"
                yield f"    {group}"
            of_links = any(reason.startswith("HTTP") for reason, _ in groups)
            if groups and (kind is not FailureClass.PERMANENT or of_links):
                yield "  " + step.format(directory=self.directory)
        if others:
            files = count(sum(group.size for _, group in others), "file")
            yield f"Failed: {files} more, for {count(len(others), 'other reason')}"
        if others or any(group.size > NAMES_SHOWN for _, group in shown):
            yield f"  All names: wgetpool status {shlex.quote(self.directory)} --names failed"


def write_lines(stream: TextIO, lines: Iterable[str]) -> None:
    """Writes and flushes: some microseconds, and whoever follows the log sees what is."""
    stream.write("".join(f"{line}\n" for line in lines))
    stream.flush()
