"""Links files and URLs: lines -> rows that have been checked -> the entries that were chosen.

Lists are read as streams. No message ever holds a line's text or a URL's query: a signed URL is a
secret. Runs in the main thread.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from wgetpool.errors import SourceError
from wgetpool.model import Entry, Url
from wgetpool.rows import LineError, Table, checked, read_plain, safe_line
from wgetpool.selection import (
    Distinct,
    Row,
    Selection,
    Wanted,
    arrange,
    depends_on_shuffle,
    folder_clashes,
    parse_shard,
)
from wgetpool.signed import cut_among
from wgetpool.words import some

__all__ = ["Selection", "choose", "parse_shard", "relist"]

LINE_LIMIT = 64 * 1024  # bytes
FAULTS_SHOWN = 10
SHOWN = 3  # names in a warning
SOURCE_SHIFT = 40  # a place is the source's number, shifted, plus the line's

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_UNRESERVED = "2[DEde]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee]"  # as escapes: decoded
_REWRITTEN = re.compile(  # begins with one set of characters: that is searched for fast
    r"""[\0-\x20"#%/<>\\^`{|}\x7f-\U0010ffff]"""
    rf"(?:(?<![%/])|(?<=%)(?:(?![0-9A-Fa-f]{{2}})|{_UNRESERVED})|(?<=/)\.\.?(?=[/?]))"
)


class Faults:
    """The bad lines of a reading: their number, and the first few in words."""

    def __init__(self) -> None:
        self._labels: list[str] = []
        self._shown: list[str] = []
        self._count = 0

    def begin(self, label: str) -> int:
        """Opens a source; its lines' places are the returned number plus the line's."""
        self._labels.append(label)
        return len(self._labels) - 1 << SOURCE_SHIFT

    def where(self, place: int) -> str:
        """`FILE:LINE`, or the URL where that is the source."""
        source, line = divmod(place, 1 << SOURCE_SHIFT)
        return f"{self._labels[source]}:{line}" if line else self._labels[source]

    def add(self, place: int, reason: str) -> None:
        self._count += 1
        if self._count <= FAULTS_SHOWN:
            self._shown.append(f"{self.where(place)}: {reason}")

    def add_namesake(self, place: int, other: int) -> None:
        self.add(place, f"its name is that of {self.where(other)}, which has another URL")

    def check(self) -> None:
        """Raises when there was a bad line."""
        if self._count:
            head = "a bad line" if self._count == 1 else f"{self._count:,} bad lines"
            hidden = self._count - len(self._shown)
            more = [f"and {hidden:,} more"] if hidden else []
            raise SourceError("\n".join([f"{head}:", *self._shown, *more]))


# ---------------------------------------------------------------- the choice


def choose(
    sources: Sequence[str], selection: Selection, *, stdin: BinaryIO, warn: Callable[[str], None]
) -> list[Entry]:
    """The entries that the selection takes from all sources, read in their order."""
    _check_sources(sources)
    faults = Faults()
    names = _read_names(selection.select_from, faults) if selection.select_from else ()
    wanted = Wanted(selection, names)
    distinct = Distinct(wanted.filter(_read(sources, stdin, faults)), faults.add_namesake)
    rows = iter(distinct)
    chosen = arrange(rows, selection)
    rest: Iterator[object] = iter(range(sum(1 for _ in rows))) if selection.by_name else rows
    for row, other in folder_clashes(chosen):
        faults.add(row.place, f"a folder of its name is the file of {faults.where(other)}")
    faults.check()
    wanted.check_missing()
    if not chosen:
        raise SourceError(wanted.explain_empty(distinct.count))
    if depends_on_shuffle(selection, distinct.sample, rest):
        warn(
            "this list is not in the order of its names, and such lists are shuffled anew each time"
            " they are issued: --start/--end take other files next time."
            " --order name makes the slice the same every time."
        )
    _warn_of_rewriting(chosen, warn)
    entries = [Entry(row.name, Url(row.url), row.size, row.checksums) for row in chosen]
    return _mark_cut(entries, warn)


def relist(path: Path, names: Container[str]) -> dict[str, Url]:
    """What a links file says now of the files of these names. Raises SourceError when any line of
    it is bad.
    """
    label, faults = _label(str(path)), Faults()
    with _reading(label), path.open("rb") as stream:
        rows = _read_list(stream, faults.begin(label), faults)
        wanted = Distinct((row for row in rows if row.name in names), faults.add_namesake)
        links = {row.name: Url(row.url) for row in wanted}
    faults.check()
    return links


def _mark_cut(entries: list[Entry], warn: Callable[[str], None]) -> list[Entry]:
    """The entries, those marked whose links lack what whole ones have."""
    cut = cut_among([entry.url for entry in entries])
    for words, number in Counter(cut.values()).items():
        places = (place for place, lacks in cut.items() if lacks == words)
        names = [entries[place].name for place in islice(places, SHOWN)]
        lack = "links lacks" if number == 1 else "links lack"
        what = "it is cut" if number == 1 else "they are cut"
        warn(
            f"{number:,} of the chosen {lack} {words}, which whole ones have: {what}, most likely"
            f" ({some(names, SHOWN, number)}). Get the list anew, or copy whole lines; in a shell,"
            " quote them."
        )
    for place in cut:
        entries[place] = replace(entries[place], cut=True)
    return entries


def _warn_of_rewriting(chosen: Iterable[Row], warn: Callable[[str], None]) -> None:
    names = [row.name for row in chosen if "?" in row.url and _REWRITTEN.search(row.url)]
    if names:
        warn(
            "wget rewrites what some signed URLs hold (blanks, quotes, non-ASCII, needless escapes,"
            f" #...), and the server may refuse them: {len(names):,} of the chosen files,"
            f" {names[0]!r} the first."
        )


# ---------------------------------------------------------------- sources -> rows


def _check_sources(sources: Sequence[str]) -> None:
    """What can be told of all sources before one is read, and would else come late or never."""
    if sources.count("-") > 1:
        raise SourceError("standard input (-) can be read once only")
    for source in sources:
        label = _label(source)
        with _reading(label):
            if _URL.match(source):
                _read_url(source, 0)
            elif source != "-" and not Path(source).exists():
                raise SourceError(
                    f"there is no file {label}, and it is no link (those begin with https://)"
                )


def _label(source: str) -> str:
    """A source as messages name it."""
    if source == "-":
        return "standard input"
    if not _URL.match(source):
        return source.partition("?")[0]  # perhaps a URL that lost its beginning
    try:
        return str(Url(source))
    except ValueError:
        return "a URL among the sources"


def _read_url(source: str, place: int) -> Row:
    """A source that is a URL itself."""
    try:
        source.encode()
        return read_plain(source, place)
    except (LineError, UnicodeEncodeError) as error:
        reason = error if isinstance(error, LineError) else "this URL is not UTF-8"
        raise SourceError(f"{_label(source)}: {reason}") from None


def _read(sources: Sequence[str], stdin: BinaryIO, faults: Faults) -> Iterator[Row]:
    for source in sources:
        base = faults.begin(_label(source))
        with _reading(_label(source)):
            if _URL.match(source):
                yield _read_url(source, base)
            elif source == "-":
                yield from _read_list(stdin, base, faults)
            else:
                with Path(source).open("rb") as stream:
                    yield from _read_list(stream, base, faults)


@contextmanager
def _reading(label: str) -> Iterator[None]:
    """Says in a sentence what the system refuses meanwhile."""
    try:
        yield
    except OSError as error:
        if isinstance(error, IsADirectoryError):
            raise SourceError(f"{label} is a folder: name a links file, or a link") from None
        raise SourceError(f"cannot read {label}: {error.strerror}") from None


def _read_names(path: Path, faults: Faults) -> set[str]:
    """The names of a --select-from file."""
    names = set()
    label = _label(str(path))
    with _reading(label), path.open("rb") as stream:
        for place, line in enumerate(_lines(stream), faults.begin(label) + 1):
            try:
                if text := _text(line).strip():
                    names.add(checked(text))
            except LineError as error:
                faults.add(place, str(error))
    faults.check()
    if not names:
        raise SourceError(f"{label} names no file")
    return names


def _read_list(stream: BinaryIO, base: int, faults: Faults) -> Iterator[Row]:
    """The rows of a links file; its first line tells its form."""
    lines: Iterator[tuple[int, bytes]] = enumerate(_lines(stream), base + 1)
    first, text = _first(lines, faults.where(base))
    if _URL.match(text.lstrip()):
        safe, read, empty = safe_line(["url"]), read_plain, False
        lines = chain([first], lines)
    else:
        table = Table(text, faults.where(first[0]))
        safe, read, empty = table.safe, table.read, True
    for place, line in lines:
        try:
            if match := safe.fullmatch(line):
                name, url = match.group("name", "url")
                yield Row(name.decode(), url.decode(), place)
            elif text := _text(line):
                yield read(text, place)
            else:
                continue
        except LineError as error:
            faults.add(place, str(error))
        empty = False
    if empty:
        raise SourceError(f"{faults.where(base)} names no file")


def _first(lines: Iterable[tuple[int, bytes]], label: str) -> tuple[tuple[int, bytes], str]:
    """The first line that says something, numbered as it was, and its text."""
    for number, line in lines:
        try:
            if text := _text(line):
                return (number, line), text
        except LineError:
            raise SourceError(f"{label} is no list of links: it is not text in UTF-8") from None
    raise SourceError(f"{label} names no file")


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """The lines with their ends, without a BOM; of one over the limit only the beginning."""
    read = partial(stream.readline, LINE_LIMIT + 1)
    line = read().removeprefix(codecs.BOM_UTF8)
    while line:
        yield line
        while len(line) > LINE_LIMIT and not line.endswith(b"\n"):
            line = read()
        line = read()


def _text(line: bytes) -> str:
    """The line without blanks at its ends, but with its TABs; nothing for a comment."""
    if line.strip()[:1] in b"#":
        return ""
    if len(line) > LINE_LIMIT:
        raise LineError(f"it is longer than {LINE_LIMIT // 1024} KiB")
    try:
        return line.decode().strip(" \r\n")
    except UnicodeDecodeError:
        raise LineError("it is not UTF-8") from None
