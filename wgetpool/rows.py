"""One line of a links file -> a row that has been checked.

Pure. No message ever holds the line's text: a signed URL is a secret.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from wgetpool.errors import SourceError
from wgetpool.model import Checksum
from wgetpool.selection import Row, name_fault

URL_COLUMNS = ("url", "link", "cdn_link")
NAME_COLUMNS = ("file_name", "filename", "name")
DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}

# What needs no closer look.
_SAFE_NAME = r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]{0,249})(?<!\.part)"
_SAFE_HOST = "https?://[A-Za-z0-9.-]+(?::[0-9]{1,4})?/"
_SAFE_URL = rf'(?P<url>{_SAFE_HOST}[!"$-~]*)'
_SAFE_URL_WITH_NAME = rf'(?P<url>{_SAFE_HOST}(?:[!"$-.0->@-~]*/)*{_SAFE_NAME}(?:\?[!"$-~]*)?)'
_SAFE_FIELD = "[A-Za-z0-9_. -]*"

_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_UNSENDABLE = re.compile(r"[\0\t\r\n]")
_BLANK = re.compile(r"[\0-\x20\x7f]")
_MORE_THAN_A_URL = re.compile(r"\t|  | #| \S*://")
_SIZE = re.compile(r"[0-9]{1,18}")


class LineError(Exception):
    """What is wrong with a line, without the line."""


def safe_line(columns: Sequence[str]) -> re.Pattern[bytes]:
    """A line that needs no closer look, its fields parted by TABs; none where it tells sizes."""
    if not {"size", *DIGITS}.isdisjoint(columns):
        return re.compile(rb"(?!)")
    named = not set(NAME_COLUMNS).isdisjoint(columns)
    fields = dict.fromkeys(NAME_COLUMNS, _SAFE_NAME)
    fields |= dict.fromkeys(URL_COLUMNS, _SAFE_URL if named else _SAFE_URL_WITH_NAME)
    line = r"\t".join(fields.get(column, _SAFE_FIELD) for column in columns) + r"\r?\n"
    return re.compile(line.encode())


def read_plain(text: str, place: int) -> Row:
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
        self.safe = safe_line(self._columns if self._tabs else ["size"])

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
        name = _name_in(path) if self._name is None else checked(fields[self._name])
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


def checked(name: str) -> str:
    """The name itself; raises LineError where it is none for a file in DIR."""
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
    return checked(name)


def _read_size(text: str) -> int | None:
    if text and not _SIZE.fullmatch(text):
        raise LineError("its size is no number of bytes")
    return int(text) if text else None


def _read_checksum(kind: str, text: str) -> Checksum:
    if not re.fullmatch(f"[0-9A-Fa-f]{{{DIGITS[kind]}}}", text):
        raise LineError(f"its {kind} is not {DIGITS[kind]} hexadecimal digits")
    return Checksum(kind, text.lower())
