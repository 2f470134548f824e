"""Links files and URLs: lines -> rows that have been checked -> the entries that were chosen.

Lists are read as streams. No message ever holds a line's text or a URL's query: a signed URL is a
secret. Runs in the main thread.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from wgetpool.errors import SourceError
from wgetpool.model import Checksum, Entry, Url
from wgetpool.selection import (
    Distinct,
    Row,
    Selection,
    Wanted,
    arrange,
    depends_on_shuffle,
    folder_clashes,
    name_fault,
    parse_shard,
)

__all__ = ["Selection", "choose", "parse_shard"]

LINE_LIMIT = 64 * 1024  # bytes
FAULTS_SHOWN = 10
SOURCE_SHIFT = 40  # a place is the source's number, shifted, plus the line's

URL_COLUMNS = ("url", "link", "cdn_link")
NAME_COLUMNS = ("file_name", "filename", "name")
DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}

# What needs no closer look.
_SAFE_NAME = r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]{0,249})(?<!\.part)"
_SAFE_HOST = "https?://[A-Za-z0-9.-]+(?::[0-9]{1,4})?/"
_SAFE_URL = rf'(?P<url>{_SAFE_HOST}[!"$-~]*)'
_SAFE_URL_WITH_NAME = rf'(?P<url>{_SAFE_HOST}(?:[!"$-.0->@-~]*/)*{_SAFE_NAME}(?:\?[!"$-~]*)?)'
_SAFE_FIELD = "[A-Za-z0-9_. -]*"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_UNSENDABLE = re.compile(r"[\0\t\r\n]")
_BLANK = re.compile(r"[\0-\x20\x7f]")
_MORE_THAN_A_URL = re.compile(r"\t|  | #| \S*://")
_SIZE = re.compile(r"[0-9]{1,18}")
_UNRESERVED = "2[DEde]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee]"  # as escapes: decoded
_REWRITTEN = re.compile(  # begins with one set of characters: that is searched for fast
    r"""[\0-\x20"#%/<>\\^`{|}\x7f-\U0010ffff]"""
    rf"(?:(?<![%/])|(?<=%)(?:(?![0-9A-Fa-f]{{2}})|{_UNRESERVED})|(?<=/)\.\.?(?=[/?]))"
)


class LineError(Exception):
    """What is wrong with a line, without the line."""


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
    return [Entry(row.name, Url(row.url), row.size, row.checksums) for row in chosen]


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
        return _read_plain(source, place)
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
                    names.add(_checked(text))
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
        safe, read, empty = _safe_line(["url"]), _read_plain, False
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


def _safe_line(columns: Sequence[str]) -> re.Pattern[bytes]:
    """A line that needs no closer look, its fields parted by TABs; none where it tells sizes."""
    if not {"size", *DIGITS}.isdisjoint(columns):
        return re.compile(rb"(?!)")
    named = not set(NAME_COLUMNS).isdisjoint(columns)
    fields = dict.fromkeys(NAME_COLUMNS, _SAFE_NAME)
    fields |= dict.fromkeys(URL_COLUMNS, _SAFE_URL if named else _SAFE_URL_WITH_NAME)
    line = r"\t".join(fields.get(column, _SAFE_FIELD) for column in columns) + r"\r?\n"
    return re.compile(line.encode())


# ---------------------------------------------------------------- lines -> rows


def _read_plain(text: str, place: int) -> Row:
    """A line that is a URL."""
    text = text.strip()
    if _MORE_THAN_A_URL.search(text):
        raise LineError("it has more than a URL: a list with names is a table, with a header line")
    return Row(_name_in(_path_of(text)), text, place)


class Table:
    """A list with a header: where its columns are, and how its lines are read."""

    def __init__(self, header: str, where: str) -> None:
        self._tabs = "\t" in header
        try:
            self._columns = [column.strip().lower() for column in self._split(header)]
        except LineError:
            self._columns = []
        url = self._only(where, *URL_COLUMNS)
        if url is None:
            raise SourceError(f"{where}: no URL, and no header with a column url, link or cdn_link")
        self._url = url
        self._name = self._only(where, *NAME_COLUMNS)
        self._size = self._only(where, "size")
        sums = [(kind, self._only(where, kind)) for kind in DIGITS]
        self._checksums = [(kind, at) for kind, at in sums if at is not None]
        self.safe = _safe_line(self._columns if self._tabs else ["size"])

    def read(self, text: str, place: int) -> Row:
        """A line below the header."""
        fields = [field.strip() for field in self._split(text)]
        width = len(self._columns)
        if len(fields) < width:
            raise LineError(f"it has {len(fields)} of {width} columns")
        if any(fields[width:]) or (len(fields) > width and not self._tabs):
            hint = "" if self._tabs else ": a field with a comma is to be quoted"
            raise LineError(f"it has {len(fields)} fields for {width} columns{hint}")
        url = fields[self._url]
        path = _path_of(url)
        name = _name_in(path) if self._name is None else _checked(fields[self._name])
        size = None if self._size is None else _read_size(fields[self._size])
        sums = (_read_checksum(kind, fields[at]) for kind, at in self._checksums if fields[at])
        return Row(name, url, place, size, tuple(sums))

    def _split(self, text: str) -> list[str]:
        if self._tabs:
            return text.split("\t")
        try:
            return next(csv.reader([text], strict=True, skipinitialspace=True))
        except csv.Error:
            raise LineError("a quote in it is not closed, or not before a comma") from None

    def _only(self, where: str, *names: str) -> int | None:
        """Where the column of one of the names is; None where there is none."""
        found = [at for at, column in enumerate(self._columns) if column in names]
        if len(found) > 1:
            raise SourceError(f"{where}: the header has {len(found)} columns for {names[0]}")
        return found[0] if found else None


def _checked(name: str) -> str:
    if fault := name_fault(name):
        raise LineError(f"its name {fault}")
    return name


def _path_of(text: str) -> str:
    """The path of a URL that wget can be given."""
    if not _SCHEME.match(text):
        raise LineError("this is no http or https URL")
    if _UNSENDABLE.search(text):
        raise LineError("its URL holds a TAB, a line end or a NUL")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise LineError("host or port of its URL is malformed") from None
    if not host or _BLANK.search(parts.netloc):
        raise LineError("its URL names no host")
    return parts.path


def _name_in(path: str) -> str:
    """The name that the path of a URL gives: its last segment, decoded."""
    segment = path.rpartition("/")[2]
    if not segment:
        raise LineError("its URL ends in no file name: a column file_name can name it")
    try:
        name = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise LineError("the file name in its URL is not UTF-8") from None
    if "/" in name:
        raise LineError("the file name in its URL holds a slash: a column file_name can name it")
    return _checked(name)


def _read_size(text: str) -> int | None:
    if text and not _SIZE.fullmatch(text):
        raise LineError("its size is no number of bytes")
    return int(text) if text else None


def _read_checksum(kind: str, text: str) -> Checksum:
    if not re.fullmatch(f"[0-9A-Fa-f]{{{DIGITS[kind]}}}", text):
        raise LineError(f"its {kind} is not {DIGITS[kind]} hexadecimal digits")
    return Checksum(kind, text.lower())
