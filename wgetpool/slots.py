"""How many attempts run at a time: as many as were asked for, fewer while the machine gives no
more.

Passive: no thread, no I/O, no clock of its own. Main thread.
"""

from __future__ import annotations

from wgetpool.model import Clock

PATIENCE = 30.0  # seconds without a single start until the machine is given up
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds until one attempt more is risked


class Slots:
    """Counts down to what runs when an attempt cannot be started (no process, no descriptor, no
    wget), and up again one by one.
    """

    def __init__(self, wanted: int, *, clock: Clock) -> None:
        self.limit = self._wanted = wanted
        self._clock = clock
        self._wait = FIRST_WAIT
        self._missed_at, self._more_at = -FIRST_WAIT, 0.0  # when one more is risked
        self._missing_since: float | None = None

    @property
    def is_whole(self) -> bool:
        return self.limit == self._wanted

    def free(self, running: int) -> int:
        now = self._clock.now()
        if self.limit < self._wanted and now >= self._more_at:
            self.limit += 1
            self._more_at = now + self._wait
            if self.is_whole:
                self._wait = FIRST_WAIT
        return max(self.limit - running, 0)

    def due_in(self) -> float | None:
        """Seconds until one more is risked; None where nothing is missing."""
        if self.is_whole:
            return None
        return max(self._more_at - self._clock.now(), 0.0)

    def missed(self, running: int) -> bool:
        """An attempt could not be started while `running` others were under way; returns whether
        there is hope.
        """
        now = self._clock.now()
        if self._missing_since is None:
            self._missing_since = now
        if now - self._missed_at >= FIRST_WAIT:  # not one of a volley
            self._missed_at, self._more_at = now, now + self._wait
            self._wait = min(2 * self._wait, LONGEST_WAIT)
        self.limit = min(self.limit, running)
        return running > 0 or now - self._missing_since < PATIENCE

    def started(self) -> None:
        self._missing_since = None
