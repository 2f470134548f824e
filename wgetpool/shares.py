"""How the line is shared under --limit-rate: wget cannot change its rate while it runs, so each
attempt gets its share at its start, and one whose fair share has grown much is ended and continued.

Passive: no thread, no I/O, no clock of its own. Main thread.
"""

from __future__ import annotations

from wgetpool.model import Clock


class Shares:
    """The shares of what runs, in bytes a second; together never more than `limit` (0: no limit,
    and no shares).
    """

    def __init__(self, limit: int, *, clock: Clock) -> None:
        self._limit, self._clock = limit, clock

    @property
    def is_free(self) -> bool:
        """Whether there is a share for one attempt more."""
        return True

    def give(self, name: str, *, expected: int) -> int | None:
        """The share of an attempt that starts now, where `expected` attempts, it and those that run
        included, are to share the line; None where there is no limit.
        """
        return None

    def ended(self, name: str, *, received: int, seconds: float) -> None:
        """An attempt is over that brought so many bytes in so many seconds."""

    def due_in(self) -> float | None:
        """Seconds until a share is free that is not now; None where that depends on what runs."""
        return None

    def unfair(self, *, expected: int) -> list[str]:
        """The names of running attempts that are to be ended and continued, so that each of
        `expected` gets its fair share.
        """
        return []
