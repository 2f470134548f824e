"""What every attempt has to pass before it starts, first tries and retries alike, and gives back at
its end: a slot, its host, the line, the disk. And how many files it is made at.

Passive: no thread, no I/O, no clock of its own. Main thread.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from wgetpool.batches import LARGEST, SMALL, SPAN, Batches
from wgetpool.hosts import Hosts
from wgetpool.jobs import Job, Later, Ready
from wgetpool.model import Clock, Ending, Outcome, Settings
from wgetpool.room import Room
from wgetpool.shares import Shares
from wgetpool.slots import Slots

SOON = 10.0  # seconds within which a retry counts for the sharing of the line

# The server has not been asked, or has not been able to answer.
_NOT_ASKED = {
    Ending.ELSEWHERE,
    Ending.NOT_STARTED,
    Ending.SHORT,
    Ending.STOPPED,
    Ending.UNTRIED,
}
# Or it was ended by us: of a host that serves, its answer's head has told.
_TELLS_NOTHING = _NOT_ASKED | {Ending.RECALLED, Ending.NO_ROOM}


@dataclass(frozen=True, slots=True)
class Pass:
    """What an attempt may take: bytes a second of the line, bytes that its part may come to (None:
    no limit).
    """

    rate: int | None
    ceiling: int | None


class Gate:
    """How many attempts run at a time, at which hosts, at which rate, with how much room."""

    def __init__(self, settings: Settings, *, clock: Clock, jitter: random.Random) -> None:
        manners = settings.manners
        self._limits_rate = manners.limit_rate > 0
        self._clock = clock
        self.slots = Slots(settings.workers, clock=clock)
        self.hosts = Hosts(
            workers=settings.workers,
            per_host=manners.per_host,
            retry=settings.retry,
            clock=clock,
            jitter=jitter,
        )
        self.shares = Shares(manners.limit_rate, clock=clock)
        self.room = Room(manners.min_free)
        longest = settings.limits.attempt_timeout / 2 or SPAN
        self.batches = Batches(min(longest, SPAN))
        # What one wget has of cookies, it tells with the next file, too; and unchecked certificates
        # are complained of in its log, in words for people.
        checked = dict(settings.access.options).get("check_certificate", "on") == "on"
        self._is_plain = checked and not settings.access.cookies

    def dues(self) -> list[float]:
        """In how many seconds a host, or the line, may have something for those that are ready."""
        return [due for due in (self.hosts.due_in(), self.shares.due_in()) if due is not None]

    def has_room(self, job: Job) -> bool:
        return self.room.admits(length=job.length, size=job.size)

    def enter(self, job: Job, *, expected: int) -> Pass:
        """An attempt starts, one of so many that are to share the line."""
        self.hosts.started(job.host)
        name = job.entry.name
        rate = self.shares.give(name, expected=expected)
        return Pass(rate, self.room.reserve(name, length=job.length, size=job.size))

    def companions(self, job: Job, given: Pass, *, waiting: int) -> int:
        """How many files may ride along with one that has entered, of so many that wait for its
        host: nobody who could start beside it is to want for work.
        """
        simple = given == Pass(None, None) and self._is_plain
        if not simple or self.hosts.is_spared(job.host) or not self.may_ride(job):
            return 0
        number = min(self.batches.limit(job.host) - 1, waiting // self.hosts.limit(job.host))
        return self.room.admitted(LARGEST, number)

    def may_ride(self, job: Job) -> bool:
        """Whether it can be one of several that a wget gets."""
        entry = job.entry
        small = job.size is None or job.size <= SMALL
        return small and job.is_fresh and not (job.solo or entry.cut or entry.url.has_login)

    def ride(self, job: Job) -> None:
        """It starts as one of several."""
        size = LARGEST if job.size is None else job.size
        self.room.reserve(job.entry.name, length=0, size=size)

    def leave(self, job: Job, outcome: Outcome) -> None:
        """It is over."""
        told = job.entry.size is not None
        self.batches.ended(job.host, outcome, is_first=not job.rides, is_told=told)
        self.room.release(outcome.name, length=outcome.after)
        asked = outcome.ending not in _TELLS_NOTHING
        if job.rides:
            self.hosts.heard(job.host, outcome.failure, since=job.attempt_at, asked=asked)
            return
        if outcome.ending not in _NOT_ASKED:
            self.slots.started()
        self.hosts.ended(job.host, outcome.failure, since=job.attempt_at, asked=asked)
        self.shares.ended(outcome.name, received=outcome.received, seconds=outcome.seconds)

    def expected(self, running: Iterable[Job], ready: Ready, backoff: Later) -> int:
        """How many attempts are to share the line: those that run, and those that could."""
        if not self._limits_rate:
            return 0
        wanted = Counter(job.host for job in running)
        for host, waiting in ready.lines():
            wanted[host] += waiting
        could = sum(min(number, self.hosts.limit(host)) for host, number in wanted.items())
        limit = self.slots.limit
        soon = backoff.due_by(self._clock.now() + SOON, most=limit)
        return max(min(could + soon, limit), 1)
