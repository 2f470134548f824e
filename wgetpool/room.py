"""Room on the disk: what is free, what stays free (--min-free), and what is reserved for the files
that are under way.

Reckoned from the last measurement on: what was free then, less what each attempt may still write
since then. Where that can be wrong, it is wrong on the safe side: too little room for some seconds.
Passive: no thread, no I/O. Somebody else measures. Main thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

ROOMY = 1 << 30  # bytes for each file of unknown size, with which nobody needs to be careful
LEAST = 1 << 16  # bytes below which a file of unknown size is not worth an attempt
LENT = 1 << 24  # bytes that it gets at least, where there are so many
LARGER = 4  # times as large as the largest so far: so much it gets, where room is short
MADE = 1 << 20  # bytes that are free more than before: somebody has made room
IN_VAIN = 3  # files of unknown size that turned out to be too large, until the others wait as well


@dataclass(slots=True)
class _Claim:
    """What an attempt may still write: its part had `base` bytes when room was measured the last
    time, or at the start of the attempt. `grown` is what it had brought from the measurement before
    until then.
    """

    base: int
    size: int | None
    ceiling: int | None = None
    grown: int = 0

    def rest(self, mean: int) -> int:
        """Bytes to come. Of an unknown size: as for a file of middle size, and at least what it may
        bring until room is measured twice more.
        """
        if self.ceiling is not None:
            most = self.ceiling if self.size is None else min(self.ceiling, self.size)
            return max(most - self.base, 0)
        if self.size is not None and self.base <= self.size:
            return self.size - self.base
        return max(mean - self.base, 2 * self.grown)

    @property
    def is_lent(self) -> bool:
        """Whether it has room to itself until its size is known."""
        return self.size is None and self.ceiling is not None

    @property
    def is_too_large(self) -> bool:
        """Whether the file is larger than what this attempt was given room for."""
        return None not in {self.ceiling, self.size} and (self.size or 0) > (self.ceiling or 0)


class Room:
    """What is reserved, for whom. All sizes in bytes; nothing is refused before the first
    measurement. `free` is what was measured last.
    """

    def __init__(self, min_free: int) -> None:
        self._min_free = min_free
        self.free: int | None = None
        self._claims: dict[str, _Claim] = {}  # in the order of their starts
        self._used: dict[str, tuple[int, int]] = {}  # by attempts that ended since, and up to where
        self._used_before = 0  # by those that had ended when the measurement was asked for
        self._is_asked = False
        self._sizes = self._told = self._largest = 0  # of the files whose sizes are known
        self._in_vain = 0
        self._is_refused = False

    # ------------------------------------------------------------ measurements

    def ask(self) -> None:
        """A measurement begins now: what starts or ends from here on may not be in it."""
        self._used_before += sum(used for used, _ in self._used.values())
        self._used.clear()
        self._is_asked = True

    def measured(self, free: int, lengths: Mapping[str, int]) -> None:
        """So much is free now, and these are the lengths of the parts that are under way, looked at
        just before.
        """
        if not self._is_asked:
            self.ask()
        if self.free is not None and free >= self.free + MADE:
            self._is_refused = False
        self.free, self._used_before, self._is_asked = free, 0, False
        for name, length in lengths.items():
            if name in self._used:  # it has ended meanwhile: some of it is in `free` already
                used, end = self._used[name]
                self._used[name] = (min(used, max(end - length, 0)), end)
            elif claim := self._claims.get(name):
                claim.grown, claim.base = max(length - claim.base, 0), length

    @property
    def is_certain(self) -> bool:
        """Whether the last measurement has all in it that was written: no attempt has ended
        since.
        """
        return self.free is not None and not self._used and not self._used_before

    @property
    def lent(self) -> list[str]:
        """The names of files of unknown size that have room to themselves until their answers tell
        it.
        """
        return [name for name, claim in self._claims.items() if claim.is_lent]

    @property
    def available(self) -> int | None:
        """What may still be given away: less than nothing where too much is under way. None before
        the first measurement.
        """
        if self.free is None:
            return None
        used = self._used_before + sum(used for used, _ in self._used.values())
        return self.free - self._min_free - used - self.reserved

    @property
    def reserved(self) -> int:
        """What may still come of what is under way."""
        return sum(claim.rest(self._mean) for claim in self._claims.values())

    # ------------------------------------------------------------ attempts

    def admits(self, *, length: int, size: int | None) -> bool:
        """Whether there is room for the rest of a file of this size (None: not known), of whose
        part `length` bytes are here.

        A guess at its size never keeps the only attempt from a start, but after some that were
        started in vain.
        """
        return self._fits(self.available, self._unknown, length, size)

    def _fits(self, available: int | None, unknown: int, length: int, size: int | None) -> bool:
        if self._is_refused and self._claims:
            return False
        if available is None:
            return True
        if size is not None:
            return available >= max(size - length, 0)
        if available < LEAST or self._is_roomy(available, unknown):
            return available >= LEAST
        if not self._claims and self._in_vain < IN_VAIN:
            return True
        # With nothing to go by, one at a time: each may be of any size.
        return (self._told > 0 or not unknown) and available >= self._mean - length

    def admitted(self, size: int, most: int) -> int:
        """How many files of this size, one as the other, there is room for: so many at most."""
        if (available := self.available) is None:
            return most
        return 0 if self._is_refused else min(max(available, 0) // size, most)

    def reserve(self, name: str, *, length: int, size: int | None) -> int | None:
        """Makes a reservation for an attempt that starts now; returns the ceiling of its part,
        where it needs one: it is of unknown size, and room is short.
        """
        available = self.available if size is None else None
        ceiling = None
        if available is not None and not self._is_roomy(available, self._unknown):
            lent = max(LARGER * self._largest - length, LENT) if self._told else available
            ceiling = length + max(min(lent, available), 0)
        self._claims[name] = _Claim(length, size, ceiling)
        return ceiling

    def learn(self, name: str, size: int) -> None:
        """The server, or the list, has told the size of a file, be it under way or not."""
        self._sizes, self._told = self._sizes + size, self._told + 1
        self._largest = max(self._largest, size)
        if claim := self._claims.get(name):
            was_lent, claim.size = claim.is_lent, size
            if was_lent:
                self._in_vain = self._in_vain + 1 if claim.is_too_large else 0

    def release(self, name: str, *, length: int) -> None:
        """The attempt is over, and its part has this length. A part that is shorter than before may
        have been put aside, whole and wrong: then all that could come has come, for all we know.
        """
        self._is_refused = False
        if (claim := self._claims.pop(name, None)) is None:
            return
        grown = length - claim.base
        used = grown if grown >= 0 else claim.rest(self._mean)
        before, _ = self._used.get(name, (0, 0))
        self._used[name] = (before + used, claim.base + used)
        if claim.is_lent and length > (claim.ceiling or 0) - LEAST:
            self._in_vain += 1  # it came to its ceiling before its head was seen

    def refused(self) -> None:
        """The disk takes no more, whatever was measured: nothing is admitted beside what is under
        way, until something of that has ended, or somebody has made room.
        """
        self._is_refused = True

    def over(self) -> list[str]:
        """The names of attempts that are to end, so that what is under way fits: the latest
        first.
        """
        if (available := self.available) is None:
            return []
        names = []
        for name, claim in reversed(self._claims.items()):
            rest = claim.rest(self._mean)
            if claim.is_too_large or (available < 0 < rest):
                names.append(name)
                available += rest
        return names

    def fitting(self, files: Iterable[tuple[str, int, int | None]], most: int) -> list[str]:
        """The names of the first of these files (name, length, size) that there is room for
        together, so many at most.
        """
        names: list[str] = []
        available, unknown = self.available, self._unknown
        for name, length, size in files:
            if len(names) >= most:
                break
            if self._fits(available, unknown, length, size):
                self.reserve(name, length=length, size=size)
                names.append(name)
                available, unknown = self.available, self._unknown
        for name in names:
            del self._claims[name]
        return names

    # ------------------------------------------------------------ guesses

    @property
    def _mean(self) -> int:
        return self._sizes // self._told if self._told else 0

    @property
    def _unknown(self) -> int:
        return sum(claim.size is None for claim in self._claims.values())

    def _is_roomy(self, available: int, unknown: int) -> bool:
        """Whether one more file of unknown size, beside so many, needs no ceiling."""
        return available >= self._mean + ROOMY * (unknown + 1)
