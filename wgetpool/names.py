"""How long names are shortened so that they can still be told apart. No I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import TypeAlias

from rich.cells import cell_len, set_cell_size

ELLIPSIS = "..."
BEFORE = 4  # of what is left beside a cut, one part in so many stands before it

NUMBER = re.compile(r"\d[\d,.]*\d")

Clusters: TypeAlias = list[str]  # characters, each with the marks that combine with it
Span: TypeAlias = tuple[int, int]


def shorten_all(names: Iterable[str], width: int) -> dict[str, str]:
    """Each name on just `width` cells. Those that are too long are all cut at the same places, and
    not where they differ from each other: mostly that is a number, which is kept as a whole.
    """
    names = list(names)
    if width <= len(ELLIPSIS):
        return {name: set_cell_size(name, width) for name in names}
    long = {name: _clusters(name) for name in names if cell_len(name) > width}
    cuts, tail = _plan(list(long.values()), width)
    short = {name: _cut(clusters, cuts, tail, width) for name, clusters in long.items()}
    return {name: set_cell_size(short.get(name, name), width) for name in names}


def shorten_end(text: str, width: int) -> str:
    """The beginning of a text that is too long. A number is left out before it is cut."""
    if cell_len(text) <= width:
        return text
    cut = len(set_cell_size(text, max(width - len(ELLIPSIS), 0)).rstrip())
    for number in NUMBER.finditer(text):
        if number.start() < cut < number.end():
            cut = number.start()
    return f"{text[:cut].rstrip()}{ELLIPSIS}"[: max(width, 0)]


def _clusters(text: str) -> Clusters:
    clusters: Clusters = []
    for char in text:
        if clusters and not cell_len(char):
            clusters[-1] += char
        else:
            clusters.append(char)
    return clusters


def _cells(clusters: Iterable[str]) -> int:
    return sum(map(cell_len, clusters))


def _plan(names: Sequence[Clusters], width: int) -> tuple[list[Span], int]:
    """The places to cut, and where the tail begins, of which each name loses what it must. Where
    there is not room for all places at which some names differ, that goes first at which the fewest
    do.
    """
    if not names:
        return [], 0
    widest = max(names, key=_cells)
    spans = _differences(names) or _longest_number(widest)
    while True:
        ends = [0, *(end for _, end in _merged(spans))]
        starts = [start for start, _ in _merged(spans)]
        gaps = [*zip(ends, starts, strict=False), (ends[-1], len(widest))]
        too_long = _cells(widest) - width
        cuts = []
        for start, end in sorted(gaps, key=lambda gap: -_cells(widest[slice(*gap)])):
            room = _cells(widest[start:end])
            if too_long > 0 and room > len(ELLIPSIS):
                lost = min(too_long + len(ELLIPSIS), room)
                too_long -= lost - len(ELLIPSIS)
                cuts.append(_within(widest, (start, end), lost))
        if too_long <= 0 or not spans:
            return sorted(cut for cut in cuts if cut[0] < ends[-1]), ends[-1]
        del spans[min(spans, key=lambda span: (spans[span], span))]


def _differences(names: Sequence[Clusters]) -> Counter[Span]:
    """Where names that are alike up to there differ first, and how many do: a character, or a whole
    number.
    """
    found: Counter[Span] = Counter()
    for one, other in pairwise(sorted(names)):
        pairs = zip(one, other, strict=False)
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
        spans = [_number_at(name, at) for name in (one, other)]
        found[min(start for start, _ in spans), max(end for _, end in spans)] += 1
    return found


def _longest_number(name: Clusters) -> Counter[Span]:
    """What most likely tells the file from those that are not known yet."""
    numbers = [_number_at(name, at) for at, cluster in enumerate(name) if cluster.isdigit()]
    return Counter([max(numbers, key=lambda span: span[1] - span[0])] if numbers else [])


def _number_at(name: Clusters, at: int) -> Span:
    """The number that the character belongs to, or just that character."""
    start = end = at
    if at < len(name) and name[at].isdigit():
        while start and name[start - 1].isdigit():
            start -= 1
        while end < len(name) and name[end].isdigit():
            end += 1
    return start, max(end, at + 1)


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _within(name: Clusters, gap: Span, lost: int) -> Span:
    """The part of a gap that goes: so many cells, or one more where a wide character is in the
    way.
    """
    part = name[slice(*gap)]
    kept = max(_cells(part) - lost, 0)
    before = _fitting(part, kept // BEFORE)
    after = _fitting(part[::-1], kept - _cells(part[:before]))
    return gap[0] + before, gap[1] - after


def _fitting(clusters: Clusters, room: int) -> int:
    """How many of the first ones there is room for."""
    return sum(taken <= room for taken in accumulate(map(cell_len, clusters)))


def _cut(name: Clusters, cuts: Sequence[Span], tail: int, width: int) -> str:
    pieces, at = [], 0
    for start, end in cuts:
        if start < len(name):
            pieces += [*name[at:start], ELLIPSIS]
            at = end
    pieces += name[at:tail]
    rest = name[max(tail, at) :]
    too_long = _cells(pieces) + _cells(rest) - width
    if too_long > 0:
        start, end = _within(rest, (0, len(rest)), too_long + len(ELLIPSIS))
        rest = [*rest[:start], ELLIPSIS, *rest[end:]]
    return shorten_end("".join(pieces + rest), width)
