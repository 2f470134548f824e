"""How numbers, names, sizes, rates and durations read. Knows nothing of a run."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from os import PathLike
from typing import Any, TextIO

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
BLOCKED = "blocked on the disk (state D), and nothing ends them before it answers"


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


def format_time(at: datetime) -> str:
    """'2026-12-01 14:00 CET', as the clock of whoever reads it shows it."""
    return f"{at.astimezone():%Y-%m-%d %H:%M %Z}"


def _power(size: float) -> int:
    power = 0
    while size >= 1023.5 and power < len(UNITS) - 1:
        size /= 1024
        power += 1
    return power


def _digits(size: float, power: int) -> str:
    value = size / 1024**power
    return f"{value:.1f}" if power and value < 99.95 else f"{value:.0f}"


def rounded(value: Any) -> Any:
    """The same, with fractions to a thousandth: what JSON tells."""
    match value:
        case float():
            return round(value, 3)
        case dict():
            return {key: rounded(each) for key, each in value.items()}
        case list() | tuple():
            return [rounded(each) for each in value]
    return value


def wrap(lines: Iterable[str], width: int) -> Iterator[str]:
    """Lines of prose broken between words, what follows further in. Those that begin with four
    blanks are to be copied, and stay as they are.
    """
    import textwrap  # noqa: PLC0415  it is of use once a run, at its end

    for line in lines:
        if len(line) <= width or line.startswith("    "):
            yield line
            continue
        further = " " * (len(line) - len(line.lstrip()) + 4)
        yield from textwrap.wrap(
            line,
            width,
            subsequent_indent=further,
            break_long_words=False,
            break_on_hyphens=False,
        )


def fit(lines: Iterable[str], stream: TextIO) -> Iterable[str]:
    """The lines wrapped where they are written to a terminal."""
    if not stream.isatty():
        return lines
    from shutil import get_terminal_size  # noqa: PLC0415

    return wrap(lines, get_terminal_size().columns)


def write_lines(stream: TextIO, lines: Iterable[str]) -> None:
    """Writes and flushes: some microseconds, and whoever follows the log sees what is."""
    stream.write("".join(f"{line}\n" for line in lines))
    stream.flush()
