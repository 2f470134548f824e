"""What of a list is wanted: names that are allowed, patterns, order, slice, shard.

Pure: no I/O, nothing of files or lines. It takes rows from an iterator one by one, so a plain slice
of a long list costs what it reads. Runs in the main thread.
"""

from __future__ import annotations

import os
import re
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import accumulate, chain, islice, pairwise
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from wgetpool.errors import SourceError
from wgetpool.model import Checksum

EXPANSION_LIMIT = 1_000_000  # names that the braces of all patterns together may give
WILDCARD_LIMIT = 10_000  # of them with wildcards: each is tried on each name
BRACES_LIMIT = 100  # in one pattern
SHOWN = 5  # names in a message
SAMPLE = 1000  # names by which a list is judged to be shuffled

PATH_LIMIT = 3072  # bytes of a name with its folders: DIR has to fit into 4096 too

_CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f]")
_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_NUMBER = re.compile(r"[0-9]+")
_BRACE_MARK = re.compile(r"\\.|[{},]", re.DOTALL)
_NUMBERS = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(-?\d{1,18}))?", re.ASCII)
_LETTERS = re.compile(r"([A-Za-z])\.\.([A-Za-z])(?:\.\.(-?\d{1,18}))?", re.ASCII)
_GLOB = re.compile(
    r"""\\(?P<escaped>.) | (?P<star>\*+) | (?P<any>\?)
    | \[(?P<not>[!^]?)(?P<set>(?:\[:\w+:\]|\\.|[^\\])(?:\[:\w+:\]|\\.|[^]\\])*)\]
    | (?P<plain>.)""",
    re.DOTALL | re.VERBOSE,
)
_SPECIAL = re.compile(r"[\\*?[]")
_SET_ITEM = re.compile(r"\[:(\w+):\]|\\?(.)(?:-\\?(.))?", re.DOTALL)
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


class Row(NamedTuple):
    """A line that names a file, checked. `place` is list and line, in its reader's own way."""

    name: str
    url: str
    place: int
    size: int | None = None
    checksums: tuple[Checksum, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The options that select. `order` is list or name; `shard` is (K, N)."""

    select: tuple[str, ...] = ()
    select_from: Path | None = None
    exclude: tuple[str, ...] = ()
    order: str = "list"
    start: int | None = None
    end: int | None = None
    shard: tuple[int, int] | None = None

    @property
    def by_name(self) -> bool:
        """Whether names are asked for: the whole list is read then, to tell which it lacks."""
        return bool(self.select or self.select_from)


def parse_shard(text: str) -> tuple[int, int]:
    """`K/N` as (K, N)."""
    match = _SHARD.fullmatch(text)
    if not match or int(match[1]) >= int(match[2]):
        raise SourceError(
            f"--shard wants K/N with 0 <= K < N, such as 0/4 for the first of four: not {text!r}"
        )
    return int(match[1]), int(match[2])


def name_fault(name: str) -> str | None:
    """Why a name is refused: it leaves DIR, or wgetpool or the file system cannot have it."""
    parts = name.split("/")
    sizes = [len(part.encode()) for part in parts]
    faults = {
        "is empty": not name,
        "is absolute": name.startswith("/"),
        "has a part that is empty, '.' or '..'": not {"", ".", ".."}.isdisjoint(parts),
        "holds control characters": _CONTROL.search(name),
        "is under .wgetpool, which is not for files": parts[0].lower() == ".wgetpool",
        "ends in .part, as unfinished files do": name.endswith(".part"),
        "cannot be written in this locale (LC_ALL: one with UTF-8 can)": not _is_writable(name),
        "is too long": max(sizes) > 255 or sizes[-1] > 250 or sum(sizes) > PATH_LIMIT,
    }
    return next((fault for fault, applies in faults.items() if applies), None)


def _is_writable(name: str) -> bool:
    """Whether the encoding of file names has all its letters."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


# ---------------------------------------------------------------- patterns


def expand(pattern: str) -> Iterator[str]:
    """What a shell makes of the braces of a pattern, lazily: what is no list or range stays."""
    for opening in _BRACE_MARK.finditer(pattern):
        if opening[0] != "{" or not (group := _group(pattern, opening.start())):
            continue
        items, end = group
        return (
            pattern[: opening.start()] + item + rest
            for item in items
            for rest in expand(pattern[end:])
        )
    return iter((pattern,))


def _group(pattern: str, start: int) -> tuple[Iterable[str], int] | None:
    """The items of the braces that open at `start`, and where they end; None when they are none."""
    depth = 0
    cuts = [start]
    for mark in _BRACE_MARK.finditer(pattern, start):
        depth += {"{": 1, "}": -1}.get(mark[0], 0)
        if (mark[0] == "," and depth == 1) or depth == 0:
            cuts.append(mark.start())
        if depth == 0:
            break
    if depth:
        return None
    parts = [pattern[a + 1 : b] for a, b in pairwise(cuts)]
    items = chain.from_iterable(map(expand, parts)) if len(parts) > 1 else _range(parts[0])
    return None if items is None else (items, cuts[-1] + 1)


def _range(text: str) -> Iterable[str] | None:
    """The items of `1..9`, `000..049`, `9..1..2` or `a..e`."""
    if match := _NUMBERS.fullmatch(text):
        first, last, step = match.groups()
        padded = any(re.match("-?0[0-9]", number) for number in (first, last))
        width = max(len(first), len(last)) if padded else 0
        return (f"{number:0{width}d}" for number in _steps(int(first), int(last), step))
    if match := _LETTERS.fullmatch(text):
        first, last, step = match.groups()
        return map(chr, _steps(ord(first), ord(last), step))
    return None


def _steps(first: int, last: int, step: str | None) -> range:
    size = abs(int(step or 1)) or 1
    return range(first, last + 1, size) if first <= last else range(first, last - 1, -size)


class Patterns:
    """Patterns and names. `literals` are the names, and the patterns that have no wildcard."""

    def __init__(self, patterns: Sequence[str], names: Iterable[str] = ()) -> None:
        self.literals = set(names)
        wildcards = []
        for number, item in enumerate(chain.from_iterable(map(_expand_checked, patterns))):
            literal, regex = _read_glob(item)
            if literal is None:
                wildcards.append(regex)
            else:
                self.literals.add(literal)
            if number >= EXPANSION_LIMIT or len(wildcards) > WILDCARD_LIMIT:
                raise SourceError(
                    f"the braces of the patterns give more than {EXPANSION_LIMIT:,} names, or"
                    f" {WILDCARD_LIMIT:,} with wildcards: use a wildcard, or --select-from"
                )
        self._wildcards = re.compile("|".join(wildcards), re.DOTALL) if wildcards else None

    def match(self, name: str) -> bool:
        """Whether one of them is, or matches, the name."""
        return name in self.literals or bool(self._wildcards and self._wildcards.fullmatch(name))


def _expand_checked(pattern: str) -> Iterator[str]:
    if pattern.count("{") > BRACES_LIMIT:
        raise SourceError(f"a pattern with more than {BRACES_LIMIT} braces is not understood")
    return expand(pattern)


def _read_glob(pattern: str) -> tuple[str | None, str]:
    """A pattern as the name that it is (None: it has wildcards), and as a regular expression."""
    if not _SPECIAL.search(pattern):
        return pattern, ""
    literal: list[str] = []
    regex: list[str] = []
    for token in _GLOB.finditer(pattern):
        if char := token["escaped"] or token["plain"]:
            literal.append(char)
            regex.append(re.escape(char))
        elif token["set"]:
            regex.append(_read_set(token["set"], negated=bool(token["not"])))
        else:
            regex.append("[^/]*" if token["star"] else "[^/]")
    is_literal = len(literal) == len(regex)
    return ("".join(literal) if is_literal else None), "".join(regex)


def _read_set(text: str, *, negated: bool) -> str:
    """`[...]` of a shell as a regular expression. A range from high to low holds nothing."""
    items = []
    for name, low, high in _SET_ITEM.findall(text):
        if name:
            items.append(_CLASSES.get(name, ""))
        elif not high:
            items.append(re.escape(low))
        elif low <= high:
            items.append(f"{re.escape(low)}-{re.escape(high)}")
    body = "".join(items)
    if negated:
        return f"[^/{body}]"
    return f"(?!/)[{body}]" if body else r"(?!)"


# ---------------------------------------------------------------- the steps of a selection


class Wanted:
    """What --select, --select-from (`names`) and --exclude leave, and which names were not met."""

    def __init__(self, selection: Selection, names: Iterable[str]) -> None:
        self._selection = selection
        self._select = Patterns(selection.select, names)
        self._exclude = Patterns(selection.exclude)
        self._missing = set(self._select.literals)
        self._selected = False

    def filter(self, rows: Iterable[Row]) -> Iterable[Row]:
        """The rows whose names are wanted, as they come."""
        if self._selection.by_name or self._selection.exclude:
            return self._filter(rows)
        return rows

    def _filter(self, rows: Iterable[Row]) -> Iterator[Row]:
        everything = not self._selection.by_name
        for row in rows:
            if everything or self._select.match(row.name):
                self._selected = True
                self._missing.discard(row.name)
                if not self._exclude.match(row.name):
                    yield row

    def check_missing(self) -> None:
        """Raises when a literal name was not met. Only after the whole list has been read."""
        if not self._missing:
            return
        names = ", ".join(map(repr, nsmallest(SHOWN, self._missing)))
        more = len(self._missing) - SHOWN
        rest = f" and {more:,} more" if more > 0 else ""
        raise SourceError(f"the list lacks what was selected by name: {names}{rest}")

    def explain_empty(self, kept: int) -> str:
        """Which step left nothing, in a sentence; `kept` rows had passed the filter."""
        selection = self._selection
        start, end = selection.start or 0, selection.end
        positions = f"--start {start}" + ("" if end is None else f" --end {end}")
        if end is not None and (end == 0 or 0 <= end <= start):
            return f"{positions} selects nothing: the entry of --end is not part of it"
        if not kept and selection.by_name and not self._selected:
            patterns = ", ".join(map(repr, selection.select[:SHOWN]))
            return f"nothing matches --select {patterns} (case matters, * and ? match no /)"
        if not kept:
            return "--exclude leaves none of the selected files"
        if not range(kept)[start:end]:
            return f"{positions} leaves none of the {kept:,} selected files"
        shard = "/".join(map(str, selection.shard or ()))
        return f"--shard {shard} leaves none of the selected files"


class Distinct:
    """Rows without repetitions of a file. Keeps hashes, not strings: most may be passed over.

    `conflict` gets the places of two rows of one name with different URLs, the later first.
    """

    def __init__(self, rows: Iterable[Row], conflict: Callable[[int, int], None]) -> None:
        self.sample: list[str] = []
        self._rows = rows
        self._conflict = conflict
        self._urls = array("q")
        self._places = array("Q")

    @property
    def count(self) -> int:
        """How many have come so far."""
        return len(self._urls)

    def __iter__(self) -> Iterator[Row]:
        positions: dict[int, int] = {}
        urls, places = self._urls, self._places
        for row in self._rows:
            new = len(urls)
            url = hash(row.url)
            position = positions.setdefault(hash(row.name), new)
            if position == new:
                urls.append(url)
                places.append(row.place)
                if new < SAMPLE:
                    self.sample.append(row.name)
                yield row
            elif urls[position] != url:
                self._conflict(row.place, places[position])


def arrange(rows: Iterator[Row], selection: Selection) -> list[Row]:
    """Order, slice and shard. Reads no further than the end of a slice that needs no more."""
    start, end, size = selection.start or 0, selection.end, sys.maxsize
    from_end = start < 0 or (end or 0) < 0
    if selection.order == "name":
        name = attrgetter("name")
        bounded = end is not None and not from_end
        rows = iter(nsmallest(end or 0, rows, key=name) if bounded else sorted(rows, key=name))
    if from_end:
        everything = list(rows)
        size = len(everything)
        rows = iter(everything)
    start, end, _ = slice(start, end).indices(size)
    first, step = selection.shard or (0, 1)
    return list(islice(islice(rows, start, end), first, None, step))


def depends_on_shuffle(selection: Selection, names: Iterable[str], rest: Iterator[object]) -> bool:
    """Whether a slice by position leaves out some of a list whose names are out of order.

    Looks one row further for it, where the slice alone does not tell.
    """
    start, end = selection.start or 0, selection.end
    if selection.order != "list" or not (start or end is not None) or not _is_shuffled(names):
        return False
    return bool(start) or (end or 0) < 0 or next(rest, None) is not None


def _is_shuffled(names: Iterable[str]) -> bool:
    """Whether names that differ in their numbers only come neither by number nor by name."""
    series: dict[str, list[str]] = {}
    for name in names:
        series.setdefault(_NUMBER.sub("0", name), []).append(name)
    return any(
        run != sorted(run) and run != sorted(run, key=_numbers_of) for run in series.values()
    )


def _numbers_of(name: str) -> list[int]:
    return [int(number) for number in _NUMBER.findall(name)]


def folder_clashes(rows: Sequence[Row]) -> Iterator[tuple[Row, int]]:
    """Rows with a folder that is the file, or the part, of another row; and that one's place."""
    places = {row.name: row.place for row in rows}
    for row in rows:
        folders = row.name.split("/")[:-1]
        for folder in accumulate(folders, "{}/{}".format):
            other = places.get(folder, places.get(folder.removesuffix(".part")))
            if other is not None:
                yield row, other
