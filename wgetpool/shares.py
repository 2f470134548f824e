"""How the line is shared under --limit-rate: wget cannot change its rate while it runs, so each
attempt gets its share at its start, and one whose fair share has grown much is ended and continued.

Passive: no thread, no I/O, no clock of its own. Main thread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from wgetpool.model import Clock

LEAST = 1024  # bytes a second: rather fewer attempts at a time than a share below that
SETTLED = 3.0  # seconds that an attempt runs before its share may be found unfair
ENOUGH = 0.79  # of the line in use: below that an attempt may be ended for the rest
TOO_LITTLE = 0.75  # and below that one is ended even if its share does not double


@dataclass(slots=True)
class _Share:
    """What an attempt holds of the line, in bytes a second. `is_recalled`: it is being ended."""

    rate: int
    given_at: float
    is_recalled: bool = False


@dataclass(frozen=True, slots=True)
class _Debt:
    """A share that is not free before `until`: what held it took more than was its own."""

    rate: int
    until: float


class Shares:
    """The shares of what runs, in bytes a second; together never more than `limit` (0: no limit,
    and no shares).
    """

    def __init__(self, limit: int, *, clock: Clock) -> None:
        self._limit, self._clock = limit, clock
        self._held: dict[str, _Share] = {}
        self._debts: list[_Debt] = []

    def is_free(self, *, expected: int) -> bool:
        """Whether there is a share for one attempt more, where `expected` attempts are to share the
        line: at least half of a fair one, and what others owe is waited for.
        """
        if not self._limit:
            return True
        least, unheld = self._least(expected), self._unheld()
        return unheld - self._owed() >= max(min(self._claim(expected), unheld), least)

    def give(self, name: str, *, expected: int) -> int | None:
        """The share of an attempt that starts now, where `expected` attempts, it and those that run
        included, are to share the line; None where there is no limit.
        """
        if not self._limit:
            return None
        rate = max(min(self._claim(expected), self._unheld() - self._owed()), 1)
        self._held[name] = _Share(rate, self._clock.now())
        return rate

    def ended(self, name: str, *, received: int, seconds: float) -> None:
        """An attempt is over that brought so many bytes in so many seconds.

        wget lets through what comes in the first fifth of a second. For a small file that is all of
        it, so that its share stays taken for as long as it should have lasted.
        """
        share = self._held.pop(name, None)
        if share is None:
            return
        ahead = received / share.rate - seconds
        if ahead > 0:
            self._debts.append(_Debt(share.rate, self._clock.now() + ahead))

    def due_in(self) -> float | None:
        """Seconds until a share is free that is not now; None where that depends on what runs."""
        self._forget_debts()
        now = self._clock.now()
        return min((debt.until - now for debt in self._debts), default=None)

    def unfair(self, *, expected: int) -> list[str]:
        """The names of running attempts that are to be ended and continued, so that each of
        `expected` gets its fair share. Each is named once.
        """
        if not self._limit or any(share.is_recalled for share in self._held.values()):
            return []
        now, unheld = self._clock.now(), self._unheld()
        settled = sorted(
            (share.rate, name)
            for name, share in self._held.items()
            if now - share.given_at >= SETTLED
        )
        names = []
        if len(self._held) >= self._crowd(expected):
            names = self._too_small(settled, unheld - self._owed())
        elif unheld < self._least(expected):
            fair = self._limit // self._crowd(expected)
            names = [name for rate, name in settled[-1:] if rate >= 2 * fair]
        for name in names:
            self._held[name].is_recalled = True
        return names

    def _too_small(self, settled: list[tuple[int, str]], free: int) -> list[str]:
        """As many of the smallest as get at least twice what they have, where too much of the line
        is free.
        """
        if free <= (1 - ENOUGH) * self._limit:
            return []
        number = together = 0
        for count, (rate, _) in enumerate(settled, 1):
            together += rate
            if free + together >= 2 * rate * count:
                number = count
        if not number and free > (1 - TOO_LITTLE) * self._limit:
            number = 1
        return [name for _, name in settled[:number]]

    def _crowd(self, expected: int) -> int:
        """How many can share the line."""
        return max(min(expected, self._limit // LEAST), 1)

    def _least(self, expected: int) -> int:
        return max(math.ceil(self._limit / self._crowd(expected) / 2), 1)

    def _claim(self, expected: int) -> int:
        """What one attempt more is to get: its part of what those leave that are to stay."""
        staying = [share.rate for share in self._held.values() if not share.is_recalled]
        takers = max(self._crowd(expected) - len(staying), 1)
        return max((self._limit - sum(staying)) // takers, self._least(expected))

    def _unheld(self) -> int:
        return self._limit - sum(share.rate for share in self._held.values())

    def _owed(self) -> int:
        self._forget_debts()
        return sum(debt.rate for debt in self._debts)

    def _forget_debts(self) -> None:
        now = self._clock.now()
        self._debts = [debt for debt in self._debts if debt.until > now]
