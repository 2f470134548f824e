"""Files of checksums, as sha256sum and its kin write them: lines -> digests by path -> entries that
have them.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from wgetpool.errors import SourceError
from wgetpool.model import Checksum, Entry
from wgetpool.rows import DIGITS, LineError
from wgetpool.sources import LINE_LIMIT, Faults

_ALGORITHMS = {digits: name for name, digits in DIGITS.items()}
_LINE = re.compile(
    r"(?P<escaped>\\?)(?:(?P<hex>[0-9A-Fa-f]+) [ *](?P<name>[^\0]+)"
    r"|(?P<tag>[A-Za-z0-9/-]+) \((?P<tagged>[^\0]+)\) = (?P<tagged_hex>[0-9A-Fa-f]+))"
)
_ESCAPE = re.compile(r"\\.?", re.DOTALL)
_PLAIN = {r"\\": "\\", r"\n": "\n", r"\r": "\r"}
_ESCAPED = str.maketrans({plain: escape for escape, plain in _PLAIN.items()})


class Listed(NamedTuple):
    """A digest and the number of the line that has it."""

    algorithm: str
    hex: str
    line: int


@dataclass(frozen=True, slots=True)
class Checksums:
    """What a file of checksums tells. `listed` is by path, without `./` and needless slashes."""

    path: Path
    listed: dict[str, tuple[Listed, ...]]


def read_checksums(path: Path) -> Checksums:
    """Reads a file whole; every line in it is checked."""
    faults = Faults()
    faults.begin(str(path))
    listed: dict[str, tuple[Listed, ...]] = {}
    for number, line in enumerate(_lines(path), 1):
        try:
            if text := _text(line):
                name, algorithm, digest = _parse(text)
                listed[name] = _join(listed.get(name, ()), Listed(algorithm, digest, number))
        except LineError as error:
            faults.add(number, str(error))
    faults.check()
    if not listed:
        raise SourceError(f"{path} names no file")
    return Checksums(path, listed)


def attach(entries: list[Entry], checksums: Checksums) -> tuple[list[Entry], int]:
    """The entries with what the file tells of them, and how many it tells nothing of."""
    faults = Faults()
    faults.begin(str(checksums.path))
    told = _told(entries, checksums, faults)
    attached = []
    for entry in entries:
        sums = {each.algorithm: each for each in entry.checksums}
        for algorithm, digest, line in told.get(entry.name, ()):
            if sums.setdefault(algorithm, Checksum(algorithm, digest)).hex != digest:
                faults.add(line, f"the {algorithm} of {entry.name!r} is another in the links list")
        attached.append(replace(entry, checksums=tuple(sums.values())))
    faults.check()
    return attached, sum(entry.name not in told for entry in entries)


def format_line(digest: str, name: str) -> str:
    """A line as sha256sum writes it, without its end."""
    escaped = name.translate(_ESCAPED)
    mark = "" if escaped == name else "\\"
    return f"{mark}{digest}  {escaped}"


def _told(
    entries: list[Entry], checksums: Checksums, faults: Faults
) -> dict[str, tuple[Listed, ...]]:
    """What is listed of each entry: under its name, or else under paths that end in it.

    A path is that of the longest name that it ends in: `x/a` tells nothing of `a` where both are
    wanted.
    """
    wanted = {entry.name for entry in entries}
    told = {name: checksums.listed[name] for name in wanted if name in checksums.listed}
    if len(told) == len(wanted):
        return told
    exact = set(told)
    for path, listed in checksums.listed.items():
        name = next((end for end in _ends(path) if end in wanted), None)
        if name is None or name in exact:
            continue
        for each in listed:
            try:
                told[name] = _join(told.get(name, ()), each)
            except LineError as error:
                faults.add(each.line, f"{error} that ends in {name!r}")
    return told


def _ends(path: str) -> Iterator[str]:
    """The path, and what is behind each of its slashes, the longest first."""
    yield path
    at = path.find("/") + 1
    while at:
        yield path[at:]
        at = path.find("/", at) + 1


def _join(known: tuple[Listed, ...], new: Listed) -> tuple[Listed, ...]:
    """All digests of a path: one of each algorithm."""
    for each in known:
        if each.algorithm == new.algorithm:
            if each.hex != new.hex:
                raise LineError(f"line {each.line} has another {new.algorithm} for the same path")
            return known
    return (*known, new)


def _lines(path: Path) -> Iterator[bytes]:
    """The lines with their ends, without a BOM; one over the limit is cut, and is the last."""
    try:
        with path.open("rb") as stream:
            read = partial(stream.readline, LINE_LIMIT + 1)
            line = read().removeprefix(codecs.BOM_UTF8)
            while line:
                yield line
                line = read() if len(line) <= LINE_LIMIT else b""
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None


def _text(line: bytes) -> str:
    """The line without its end; nothing for a comment."""
    if len(line) > LINE_LIMIT:
        raise LineError(f"it is longer than {LINE_LIMIT // 1024} KiB")
    text = line.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
    return "" if text.startswith("#") or not text.strip() else text


def _parse(text: str) -> tuple[str, str, str]:
    """Path, algorithm and digest of a line."""
    match = _LINE.fullmatch(text)
    if not match:
        raise LineError("it is not a digest, two blanks and a name")
    escaped, digest, name, tag, tagged, tagged_digest = match.groups()
    if tag:
        digest, name = tagged_digest, tagged
        if tag.lower() not in DIGITS:
            raise LineError(f"{tag} is none of md5, sha1, sha256 and sha512")
    algorithm = _ALGORITHMS.get(len(digest))
    if algorithm is None or tag not in (None, algorithm.upper()):
        wanted = str(DIGITS[tag.lower()]) if tag else "32, 40, 64 or 128"
        raise LineError(f"its digest has {len(digest)} digits, not {wanted}")
    if escaped:
        name = _ESCAPE.sub(_unescaped, name)
    return _normal(name), algorithm, digest.lower()


def _unescaped(match: re.Match[str]) -> str:
    if match[0] not in _PLAIN:
        raise LineError(r"a backslash in its name is not one of \\, \n and \r")
    return _PLAIN[match[0]]


def _normal(path: str) -> str:
    """The path without `./` and needless slashes."""
    if "//" not in path and "./" not in path:
        return path
    root = "/" if path.startswith("/") else ""
    return root + "/".join(part for part in path.split("/") if part not in {"", "."})
