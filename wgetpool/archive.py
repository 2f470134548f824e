"""Whether a tar, gzip or zip is whole. Its first bytes tell what it is, never its name.

Archives are read as streams. A plain tar has no checksum of its contents: they are stepped over.
"""

from __future__ import annotations

import errno
import gzip
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import IO

from wgetpool.model import StopFlag

try:
    from lzma import LZMAError
except ImportError:  # a Python that was built without it: such members are passed over

    class LZMAError(Exception):  # type: ignore[no-redef]
        """Never raised."""


Stream = IO[bytes] | BufferedIOBase

BLOCK = 1 << 20
HEADER = 512  # bytes of a tar header; what follows it is padded to a multiple
PAX_LIMIT = 64 << 20  # bytes of a pax header, which is read whole
ZIP_END = 22  # bytes of a zip's end record, without the comment
PACKED_BLOCK = 4 << 10  # bytes of bzip2 or LZMA that zipfile unpacks at once, to any length
NAME_SHOWN = 100  # characters of a member's name

_GZIP = b"\x1f\x8b\x08"
_ZIP_MEMBER, _ZIP_END = b"PK\3\4", b"PK\5\6"
_ENCRYPTED = 1

_WITHOUT_CONTENTS = b"123456"  # links, devices, folders, FIFOs: whatever size they tell
_ABOUT_NEXT = b"xXLK"  # pax headers and long names
_PAX_RECORD = re.compile(rb"([0-9]{1,18}) ([^=]+)=")

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    LZMAError,
    EOFError,
    struct.error,
    ValueError,
    OverflowError,
)
_NO_SYSTEM_ERROR = (None, errno.EINVAL)  # bz2's own; a seek to where a bad directory points


class State(Enum):
    """What a file is."""

    OTHER = auto()  # no archive, or of another kind
    WHOLE = auto()
    BROKEN = auto()


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` says in a few words what is broken."""

    state: State
    reason: str = ""


def check(path: Path, *, stop: StopFlag) -> Verdict | None:
    """Reads an archive to its end; None when the run stops meanwhile. Raises OSError where the file
    cannot be read.
    """
    with path.open("rb") as file:
        check_kind = _kind(file)
        if check_kind is None:
            return Verdict(State.OTHER)
        try:
            check_kind(file, stop)
        except _StoppedError:
            return None
        except _UnknownError:
            return Verdict(State.OTHER)
        except _BrokenError as error:
            return Verdict(State.BROKEN, str(error))
    return Verdict(State.WHOLE)


def _kind(file: BufferedReader) -> Callable[[BufferedReader, StopFlag], None] | None:
    """What checks a file that begins like this one; None for what is no archive."""
    if _begins(file, _GZIP):
        return _check_gzip
    if _begins(file, _ZIP_MEMBER, _ZIP_END):
        return _check_zip
    return _check_plain_tar if _is_tar(file) else None


def _begins(file: BufferedReader, *marks: bytes) -> bool:
    file.seek(0)
    head = file.read(max(map(len, marks)))
    file.seek(0)
    return head.startswith(marks)


class _BrokenError(Exception):
    """What is wrong with an archive."""


class _UnknownError(Exception):
    """The archive is of a kind that cannot be read here."""


class _StoppedError(Exception):
    """The run stops."""


class _Reader:
    """Reads on in a stream until the run stops."""

    def __init__(self, file: Stream, stop: StopFlag) -> None:
        self._file = file
        self._stop = stop
        self.position = 0

    def read(self, size: int) -> bytes:
        if self._stop.is_set():
            raise _StoppedError
        data = self._file.read(size)
        self.position += len(data)
        return data

    def skip(self, size: int, block: int = BLOCK) -> None:
        """Passes `size` bytes, or what is left of them."""
        end = self.position + size
        while self.position < end and self.read(min(block, end - self.position)):
            pass


class _Stepper(_Reader):
    """Steps over what need not be read."""

    def __init__(self, file: Stream, stop: StopFlag) -> None:
        super().__init__(file, stop)
        self._length = file.seek(0, 2)
        file.seek(0)

    def skip(self, size: int, block: int = BLOCK) -> None:  # noqa: ARG002
        self.position = self._file.seek(min(self.position + size, self._length))


# ---------------------------------------------------------------- tar


def _is_tar(file: Stream) -> bool:
    """Whether a tar begins here: a magic word, or an old header whose checksum is right."""
    head = file.read(HEADER)
    file.seek(0)
    if head[257:262] == b"ustar":
        return True
    if len(head) < HEADER:
        return False
    try:
        _check_header(head)
    except ValueError:
        return False
    return True


def _check_plain_tar(file: BufferedReader, stop: StopFlag) -> None:
    _check_tar(_Stepper(file, stop))


def _check_tar(tar: _Reader) -> None:
    """Goes from header to header up to the end mark, a block of zeros. Python's tarfile takes a
    broken header and a missing end for the end.
    """
    about_next = False
    told: int | None = None
    while True:
        at = tar.position
        header = tar.read(HEADER)
        if len(header) < HEADER:
            raise _BrokenError("the tar ends without its end mark")
        if not any(header) and not about_next:
            return
        try:
            _check_header(header)
            kind, size = header[156], _number(header[124:136])
            about_next = kind in _ABOUT_NEXT
            if kind in b"xX":
                told = _pax_size(tar, size)
                size = 0
            elif not about_next and kind != ord("g"):
                size = 0 if kind in _WITHOUT_CONTENTS else size if told is None else told
                told = None
            if kind == ord("S"):
                _pass_sparse_map(tar, header)
            tar.skip(_padded(size))
        except ValueError:
            raise _BrokenError(f"a tar header is broken at byte {at:,}") from None


def _check_header(block: bytes) -> None:
    """Raises ValueError unless the checksum is right. Some programs summed signed bytes."""
    counted = block[:148] + b" " * 8 + block[156:]
    excess = sum(counted) - _number(block[148:156])
    if excess and excess != 256 * sum(byte > 127 for byte in counted):
        raise ValueError


def _number(field: bytes) -> int:
    """Octal digits, or GNU's binary form for large numbers."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    number = int(field.lstrip(b" \0").partition(b"\0")[0].strip() or b"0", 8)
    if number < 0:
        raise ValueError
    return number


def _padded(size: int) -> int:
    return -(-size // HEADER) * HEADER


def _pax_size(tar: _Reader, length: int) -> int | None:
    """The size in a pax header, where it tells one: that of the next header does not count then."""
    if length > PAX_LIMIT:
        raise ValueError
    records = tar.read(_padded(length))[:length]
    size = None
    at = 0
    while match := _PAX_RECORD.match(records, at):
        end = at + int(match[1])
        if end <= match.end() or records[end - 1 : end] != b"\n":
            raise ValueError
        if match[2] == b"size":
            size = int(records[match.end() : end - 1])
        at = end
    if size is not None and size < 0:
        raise ValueError
    return size


def _pass_sparse_map(tar: _Reader, header: bytes) -> None:
    """An old GNU header of a file with holes: where its map is long, more blocks of it follow."""
    more = header[482]
    while more:
        block = tar.read(HEADER)
        more = len(block) == HEADER and block[504]


# ---------------------------------------------------------------- gzip


def _check_gzip(file: BufferedReader, stop: StopFlag) -> None:
    """Reads all members to their end, whatever is in them: only so their CRCs are compared."""
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            contents = _Reader(stream, stop)
            if _is_tar(stream):
                _check_tar(contents)
            contents.skip(sys.maxsize)
    except EOFError:
        raise _BrokenError("the gzip stream ends early") from None
    except zlib.error:
        raise _BrokenError("the gzip stream is damaged") from None
    except gzip.BadGzipFile as error:
        crc = str(error).startswith("CRC")
        reason = "its CRC is wrong" if crc else "the gzip stream is damaged"
        raise _BrokenError(reason) from None


# ---------------------------------------------------------------- zip


def _check_zip(file: BufferedReader, stop: StopFlag) -> None:
    """Reads the directory, and each member to its end: only so their CRCs are compared."""
    _check_zip_end(file)
    with _damage_as("the zip's directory is damaged"):
        try:
            archive = zipfile.ZipFile(file)
        except NotImplementedError:
            raise _UnknownError from None
    with archive:
        members = archive.infolist()
        # Of a zip within this one, cut behind it, the end would do for both.
        if _begins(file, _ZIP_MEMBER) and not any(each.header_offset == 0 for each in members):
            raise _BrokenError("the zip ends early")
        for member in members:
            with _damage_as(f"its member {member.filename[:NAME_SHOWN]!r} is damaged"):
                _check_member(archive, member, stop)


def _check_zip_end(file: BufferedReader) -> None:
    """The end record has to be there, and the whole comment: zipfile takes a part of it."""
    length = file.seek(0, 2)
    file.seek(max(0, length - ZIP_END - (1 << 16)))
    tail = file.read()
    at = tail.rfind(_ZIP_END)
    comment = int.from_bytes(tail[at + ZIP_END - 2 : at + ZIP_END], "little")
    if at < 0 or len(tail) < at + ZIP_END + comment:
        raise _BrokenError("the zip ends early")


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, stop: StopFlag) -> None:
    if member.flag_bits & _ENCRYPTED:
        return
    try:
        contents = archive.open(member)
    except RuntimeError:  # NotImplementedError too: a compression that is not known here
        return
    bounded = member.compress_type in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
    with contents:
        _Reader(contents, stop).skip(sys.maxsize, BLOCK if bounded else PACKED_BLOCK)


@contextmanager
def _damage_as(reason: str) -> Iterator[None]:
    """Whatever bad data makes the libraries raise means that the archive is broken."""
    try:
        yield
    except _DAMAGE:
        raise _BrokenError(reason) from None
    except OSError as error:
        if error.errno not in _NO_SYSTEM_ERROR:
            raise
        raise _BrokenError(reason) from None
