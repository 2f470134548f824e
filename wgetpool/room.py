"""Room on the disk: what is free, what stays free (--min-free), and what is reserved for the files
that are under way.

Passive: no thread, no I/O. Somebody else measures. Main thread.
"""

from __future__ import annotations

from collections.abc import Mapping


class Room:
    """What is reserved, for whom. All sizes in bytes; nothing is refused before the first
    measurement.
    """

    def __init__(self, min_free: int) -> None:
        self._min_free = min_free
        self.free: int | None = None

    def measured(self, free: int, lengths: Mapping[str, int]) -> None:
        """So much is free now, and these are the lengths of the parts that are under way."""
        self.free = free

    def admits(self, *, length: int, size: int | None) -> bool:
        """Whether there is room for the rest of a file of this size (None: not known), of whose
        part `length` bytes are here.
        """
        return True

    def reserve(self, name: str, *, length: int, size: int | None) -> int | None:
        """Makes a reservation for an attempt that starts now; returns the ceiling of its part,
        where it needs one.
        """
        return None

    def learn(self, name: str, size: int) -> None:
        """The server has told the size of a file that is under way."""

    def release(self, name: str, *, length: int) -> None:
        """The attempt is over, and its part has this length."""

    def over(self) -> list[str]:
        """The names of attempts that are to end, so that what is under way fits: the latest
        first.
        """
        return []
