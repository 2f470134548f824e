"""How much is asked of each host: a few attempts at a time, fewer once it has said that this is too
much (429, 503), then slowly more.

Passive: no thread, no I/O, no clock of its own. Main thread.
"""

from __future__ import annotations

import random
from collections import Counter

from wgetpool.model import Clock, Failure, RetryPolicy


class Hosts:
    """Who may be asked now. `per_host`: no more attempts at a time than that (0: no limit)."""

    def __init__(
        self,
        *,
        workers: int,
        per_host: int,
        retry: RetryPolicy,
        clock: Clock,
        jitter: random.Random,
    ) -> None:
        self._workers, self._per_host = workers, per_host
        self._retry, self._clock, self._jitter = retry, clock, jitter
        self._running: Counter[str] = Counter()

    def admits(self, host: str) -> bool:
        """Whether an attempt may start there now."""
        return not self._per_host or self._running[host] < self._per_host

    def started(self, host: str) -> None:
        self._running[host] += 1

    def ended(self, host: str, failure: Failure | None, *, asked: bool = True) -> None:
        """An attempt is over; `failure` as it was classified, None where the host has served it.
        Not `asked`: it was over before the host was, or was stopped, which tells nothing of it.
        """
        self._running[host] -= 1

    def due_in(self) -> float | None:
        """Seconds until a host that is spared now may be asked again; None where there is none."""
        return None

    def limit(self, host: str) -> int:
        """How many attempts at a time it is asked for now."""
        return self._per_host or self._workers
