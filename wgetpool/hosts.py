"""How much is asked of each host: a few attempts at a time, fewer once it has said that this is too
much (429, 503), then slowly more.

Passive: no thread, no I/O, no clock of its own. Main thread.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

from wgetpool import policy
from wgetpool.model import TOO_MUCH, Clock, Failure, RetryPolicy
from wgetpool.words import format_left

NO_ANSWER = frozenset({408, 425})  # which tell neither that a host serves nor that it does not
LEAST_QUIET = 0.5  # seconds without a refusal until one attempt more is risked


@dataclass(slots=True)
class _Spared:
    """A host that has refused, until its `limit` is back at what was asked for. Instants are
    monotonic.

    What was begun before `changed_at` was under way when the host began to be asked for less: that
    it is refused, too, tells nothing new. `is_doubtful`: what counts is whether the next attempt,
    one alone, is served. After `quiet` seconds one attempt more is risked: twice the first back-off
    at first, the longest one at most.
    """

    limit: int
    quiet: float
    changed_at: float = 0.0
    refusals: int = 0  # in a row
    pauses: int = 0  # in a row
    served: int = 0  # since the limit was last changed
    is_doubtful: bool = False
    is_probed: bool = False  # that one attempt is under way
    is_told: bool = False  # that it is paused has been said
    paused_until: float = 0.0
    own_until: float = 0.0  # the same, had the server not told a time
    more_at: float = 0.0  # when one attempt more is risked

    def is_news(self, since: float) -> bool:
        """Whether an attempt that was begun at `since` tells what the host is like now."""
        return since >= self.changed_at


class Hosts:
    """Who may be asked now. `per_host`: no more attempts at a time than that (0: no limit).

    The first refusal may be the file's own: the host is asked for half as much at a time, no more.
    A second one, with nothing served in between, is the host's: nothing is asked until the time
    that it has told, then one attempt alone.
    """

    def __init__(
        self,
        *,
        workers: int,
        per_host: int,
        retry: RetryPolicy,
        clock: Clock,
        jitter: random.Random,
    ) -> None:
        self._whole = min(per_host or workers, workers)
        self._retry, self._clock, self._jitter = retry, clock, jitter
        self._quiet = max(retry.backoff, LEAST_QUIET / 2)
        self._longest_quiet = max(retry.backoff_max, LEAST_QUIET)
        self._running: Counter[str] = Counter()
        self._spared: dict[str, _Spared] = {}

    def __len__(self) -> int:
        """How many hosts are kept in mind."""
        return len(self._running.keys() | self._spared.keys())

    def admits(self, host: str) -> bool:
        """Whether an attempt may start there now."""
        return self._running[host] < self._allowed(host)

    def is_spared(self, host: str) -> bool:
        """Whether it is asked for less than it was meant to be."""
        self._recover(host)
        return host in self._spared

    def limit(self, host: str) -> int:
        """How many attempts may be under way there now, in all."""
        return max(self._running[host], self._allowed(host))

    def started(self, host: str) -> None:
        self._running[host] += 1
        if spared := self._spared.get(host):
            spared.is_probed = spared.is_doubtful

    def answered(self, host: str, *, since: float) -> None:
        """The host serves an attempt, begun at `since`, that goes on."""
        if spared := self._spared.get(host):
            self._believe(spared, since)

    def heard(
        self, host: str, failure: Failure | None, *, since: float, asked: bool = True
    ) -> None:
        """What a file has come to whose attempt was begun at `since`; `failure` as it was
        classified, None where the host has served it. Not `asked`: it was over before the host was,
        or was stopped, which tells nothing of it.
        """
        spared = self._spared.get(host)
        if spared and spared.is_news(since):
            spared.is_probed = False
        if asked and failure is not None and failure.status in TOO_MUCH:
            self._refused(host, failure.retry_after, since)
        elif asked and spared and _has_served(failure):
            self._served(host, spared, since)

    def ended(
        self, host: str, failure: Failure | None, *, since: float, asked: bool = True
    ) -> None:
        """An attempt is over, and the last of its files has come to this."""
        self.heard(host, failure, since=since, asked=asked)
        self._running[host] -= 1
        if not self._running[host]:
            del self._running[host]

    def news(self, host: str) -> str | None:
        """Said once, when nothing is asked of a host for a while."""
        spared = self._spared.get(host)
        if spared is None or spared.is_told or not spared.is_doubtful:
            return None
        spared.is_told = True
        wait = format_left(max(spared.paused_until - self._clock.now(), 0.0))
        return f"{host} refuses more: nothing is asked of it for {wait}, then slowly more"

    def due_in(self) -> float | None:
        """Seconds until a host that is spared now may be asked again, or for more; None where there
        is none.
        """
        now = self._clock.now()
        for host in list(self._spared):
            self._recover(host)
        dues = (
            spared.paused_until if now < spared.paused_until else spared.more_at
            for spared in self._spared.values()
        )
        return min((max(due - now, 0.0) for due in dues), default=None)

    def _allowed(self, host: str) -> int:
        self._recover(host)
        spared = self._spared.get(host)
        if spared is None:
            return self._whole
        if self._clock.now() < spared.paused_until:
            return 0
        if spared.is_doubtful:
            return 0 if spared.is_probed else min(self._running[host] + 1, spared.limit)
        return spared.limit

    # ------------------------------------------------------------ less

    def _refused(self, host: str, retry_after: float | None, since: float) -> None:
        """It is too much for the host. Those that were under way at the last cut do not cut
        again.
        """
        now = self._clock.now()
        spared = self._spared.setdefault(host, _Spared(self._whole, self._quiet))
        is_news = spared.is_news(since)
        spared.refusals += 1
        if is_news:
            spared.limit = max(min(spared.limit, self._running[host]) // 2, 1)
            spared.quiet = min(2 * spared.quiet, self._longest_quiet)
            spared.served, spared.changed_at = 0, now
        if spared.refusals > 1 and (is_news or not spared.is_doubtful):
            self._pause(spared, retry_after, now)
        elif now < spared.paused_until and retry_after is not None:  # it was on its way already
            spared.paused_until = max(spared.paused_until, now + retry_after)
        spared.more_at = max(now, spared.paused_until) + spared.quiet

    def _pause(self, spared: _Spared, retry_after: float | None, now: float) -> None:
        """The host is left alone, for as long as it has told or else for longer each time.

        One that has refused all probes, as many as a file has tries, is left alone for the first
        wait each time, not for longer and longer: a run must come to its end.
        """
        spared.changed_at, spared.is_doubtful, spared.is_probed = now, True, False
        spared.pauses += 1
        barren = spared.pauses if spared.pauses <= self._retry.tries else 1
        jitter = (1.0 + self._jitter.random()) / 2  # half the full wait at least: a storm dies down
        wait = policy.backoff_wait(self._retry, barren=barren, jitter=jitter)
        spared.own_until = now + wait
        spared.paused_until = now + (retry_after or wait)

    # ------------------------------------------------------------ and more again

    def _served(self, host: str, spared: _Spared, since: float) -> None:
        self._believe(spared, since)
        if spared.is_news(since):
            spared.served += 1
            if spared.served >= spared.limit:
                self._risk_more(host, spared, self._clock.now())

    def _believe(self, spared: _Spared, since: float) -> None:
        """The host serves somebody. Where that one was under way before the pause, the host may
        still refuse what is new; but a long time that it has told is then that of a few files.
        """
        if spared.is_news(since):
            spared.refusals = spared.pauses = 0
            spared.is_doubtful = spared.is_probed = False
        elif spared.is_doubtful:
            spared.paused_until = min(spared.paused_until, spared.own_until)
            spared.more_at = min(spared.more_at, spared.paused_until + spared.quiet)
        else:
            spared.refusals = 0

    def _recover(self, host: str) -> None:
        """One attempt more for each quiet while."""
        now = self._clock.now()
        while (spared := self._spared.get(host)) and now >= spared.more_at:
            self._risk_more(host, spared, spared.more_at)

    def _risk_more(self, host: str, spared: _Spared, at: float) -> None:
        spared.limit += 1
        spared.served, spared.more_at = 0, at + spared.quiet
        if spared.limit >= self._whole:  # all is well again
            del self._spared[host]


def _has_served(failure: Failure | None) -> bool:
    """Whether the host has answered as one that is not asked for too much: a file that was cut
    short, or is not there, was served.
    """
    if failure is None:
        return True
    return failure.status is not None and failure.status < 500 and failure.status not in NO_ANSWER
