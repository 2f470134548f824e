"""The scheduler: which file is tried next, when again, and what a file has come to.

Passive: no thread, no I/O, no clock of its own. The pool asks it for orders and hands it outcomes;
it moves the states of files, in one method, and says what happened as events.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain

from wgetpool import failures, news, policy
from wgetpool.advice import next_step
from wgetpool.events import (
    Event,
    FileHeld,
    FileSkipped,
    Progress,
    Running,
    Waiting,
    Warned,
)
from wgetpool.gate import Gate, Pass
from wgetpool.held import Held, WithoutLink, WithoutRoom
from wgetpool.jobs import Due, Job, Later, Ready
from wgetpool.links import Links
from wgetpool.model import (
    Approach,
    AttemptOrder,
    Cause,
    Clock,
    EndedFor,
    Ending,
    Entry,
    Failure,
    FailureClass,
    FileState,
    Finding,
    FreshLinks,
    Head,
    Outcome,
    Settings,
    WholePart,
)
from wgetpool.tally import Tally
from wgetpool.words import count, format_time

RELOOK = 2.0  # seconds until a file that another run holds is looked at again, growing each time
RELOOK_MAX = 30.0
CERTAIN = 0.5  # seconds after which an attempt that goes on has its part
LOOKAHEAD = 10_000  # files that are added, or looked at, beyond those that can start now
FEW = 100  # files that wait for room, and are looked at whenever something else has ended
KNOWN_WAITING = 200  # waiting files that a Progress names at most

ASKING = 5.0  # seconds for which an attempt may be about to tell its file's size

# Another link may be better.
_BY_LINK = {FailureClass.EXPIRED, FailureClass.PERMANENT}

ALLOWED = {
    FileState.PENDING: {
        FileState.RUNNING,
        FileState.SKIPPED,
        FileState.FAILED,
        FileState.HELD,
    },
    FileState.RUNNING: {
        FileState.CHECKING,
        FileState.BACKOFF,
        FileState.ELSEWHERE,
        FileState.FAILED,
        FileState.PENDING,  # stopped, or recalled: the part stays; or not tried
        FileState.HELD,
    },
    FileState.CHECKING: {FileState.DONE, FileState.SKIPPED, FileState.FAILED, FileState.ELSEWHERE},
    FileState.BACKOFF: {FileState.RUNNING, FileState.HELD},
    FileState.HELD: {FileState.PENDING, FileState.FAILED, FileState.ELSEWHERE},
    FileState.ELSEWHERE: {FileState.PENDING},  # looked at again like a new one
}


class Scheduler:
    """Files that are ready, waiting, running, held, elsewhere. `halted` says why nothing more is
    started.
    """

    def __init__(
        self,
        settings: Settings,
        files: int,
        *,
        clock: Clock,
        jitter: random.Random,
        emit: Callable[[Event], None],
        links_files: tuple[str, ...] = (),
    ) -> None:
        self.settings, self.files = settings, files
        self.tally = Tally()
        self.gate = Gate(settings, clock=clock, jitter=jitter)
        self.links = Links(clock)
        self.halted: Failure | None = None
        self.alone = True  # no other run is known to work on DIR
        self.surveyed = False  # whether all files have been added
        self._clock, self._jitter, self._emit = clock, jitter, emit
        self._ready, self._backoff, self._elsewhere = Ready(), Later(), Later()
        self._running: dict[str, Job] = {}
        self._riding = 0  # of those, the ones that have no wget of their own
        self._checking: dict[str, Job] = {}
        self._no_link = WithoutLink(self.links, links_files)
        self._no_room = WithoutRoom(self.gate.room, settings.manners.min_free)
        self._aside: dict[str, Job] = {}  # what is being looked at again
        self._looks: Counter[str] = Counter()  # how often a file was found to be another run's
        self._recalled: set[str] = set()  # workers read it
        self._blocked = False  # whether all that is ready is of hosts that are spared now
        self._wait_until: float | None = None
        self._look_again_at = 0.0  # whether another run has made whole what is held here
        self._no_hurry_at = 0.0  # since another run has it, say
        self._looked_alone = False  # and no other run was there when that was done last

    # ------------------------------------------------------------ what comes in

    def add(
        self,
        entry: Entry,
        *,
        begun: int = 0,
        examine: bool = False,
        broken_sha256: str | None = None,
    ) -> None:
        """A file that is to be fetched; its part has `begun` bytes. `examine`: one of its name is
        there, and to be looked at first. `broken_sha256`: what came in an earlier run, and was
        broken.
        """
        job = self._put_back(entry)
        job.length, job.examine = begun, examine
        job.broken_sha256 = job.broken_sha256 or broken_sha256
        self._learn_size(job, entry.size)
        self._ready.push(job)

    def skip(self, entry: Entry, *, size: int, why: str) -> None:
        """A file that needs no attempt."""
        job = self._put_back(entry)
        self._move(job, FileState.SKIPPED)
        self.tally.skipped += 1
        if why == "gone":
            self.tally.gone += 1
            self.tally.forget(job)
        else:
            self.tally.finished_bytes += size
            self._learn_size(job, size)
        self._emit(FileSkipped(name=entry.name, bytes=size, why=why))

    def halt(self, failure: Failure) -> None:
        """Nothing more is started: this machine cannot go on, or the run stops."""
        self.halted = self.halted or failure

    def _put_back(self, entry: Entry) -> Job:
        """The file's job: that of a file which was looked at again goes on, tries and all."""
        return self._aside.pop(entry.name, None) or Job(self.links.latest(entry))

    # ------------------------------------------------------------ what goes out

    @property
    def wants_more(self) -> bool:
        """Whether more files are to be added, so that no worker is idle for want of one."""
        one = self.settings.workers * self.gate.batches.most
        ahead = LOOKAHEAD if self._blocked else one
        return len(self._ready) <= ahead and len(self._no_room) < LOOKAHEAD

    def to_come(self) -> list[Entry]:
        """Those that are ready, in their order."""
        return [job.entry for job in self._ready]

    @property
    def running(self) -> int:
        """How many attempts are under way."""
        return len(self._running) - self._riding

    @property
    def is_quiet(self) -> bool:
        """Whether nothing runs or will run by itself: all that is left is held."""
        waiting = len(self._ready) or len(self._backoff) or len(self._elsewhere) or self._aside
        busy = self._running or self._checking
        return not busy and (self.halted is not None or not waiting)

    @property
    def is_stuck(self) -> bool:
        """Whether all that is left is held."""
        held = len(self._no_link) + len(self._no_room)
        all_added = self.surveyed or len(self._no_room) >= LOOKAHEAD
        return held > 0 and all_added and self.halted is None and self.is_quiet

    @property
    def is_in_a_hurry(self) -> bool:
        """Whether a look would bring the end: all is held, and nothing is waited for."""
        return self.is_stuck and self._wait_until is None and self._clock.now() >= self._no_hurry_at

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be done any more."""
        held = self._no_link or self._no_room
        return self.is_quiet and (self.halted is not None or not held)

    @property
    def crowd(self) -> int:
        """How many files are held open by no attempt of their own."""
        return len(self._checking) + self._riding

    def is_recalled(self, name: str) -> bool:
        """Whether the attempt at this file is to be ended. Any thread."""
        return name in self._recalled

    def due_in(self, *, room: bool = True) -> float | None:
        """Seconds until something that waits is due; None when nothing waits, or nothing is to be
        started. A retry is not waited for while no slot is free for it, or there is no `room` for
        what would come.
        """
        if self.halted:
            return None
        now = self._clock.now()
        free = room and self.gate.slots.free(self.running)
        queues = (self._backoff, self._elsewhere) if free else (self._elsewhere,)
        dues = [queue.next_at - now for queue in queues if queue.next_at is not None]
        if (slot := self.gate.slots.due_in()) is not None and room and not free:
            dues.append(slot)
        if free and len(self._ready):
            dues += self.gate.dues()
        return max(min(dues), 0.0) if dues else None

    def next_order(self) -> AttemptOrder | None:
        """The next attempt to make, where a slot is free, and its host, the line and the disk allow
        it: a retry that is due comes before a first one.
        """
        if self.halted or not self.gate.slots.free(self.running):
            return None
        now = self._clock.now()
        while job := self._backoff.pop_due(now):
            self._ready.push(job, again=True)
        self._blocked = False
        while self.gate.shares.is_free(expected=self._expected()):
            if (job := self._next_ready()) is None:
                self._blocked = len(self._ready) > 0
                return None
            if expired := self.links.expired(job.entry):
                reason = f"the link has expired (at {format_time(expired)})"
                self._hold_for_link(job, reason)
                if expired > self.links.began:  # of those before, the pool tells
                    self._warn_of_links()
            elif not self.gate.has_room(job):
                self._hold(self._no_room, job)
            else:
                return self._order(job, now)
        return None

    def companions(self, order: AttemptOrder, most: int) -> list[AttemptOrder]:
        """More files for the wget of this order, which has just been given: small ones of the same
        host, so many at most.
        """
        job = self._running[order.entry.name]
        given = Pass(order.rate, order.ceiling)
        number = self.gate.companions(job, given, waiting=self._ready.waiting(job.host))
        orders: list[AttemptOrder] = []
        while len(orders) < min(number, most) and (
            rider := self._ready.pop_beside(job.host, self._may_ride)
        ):
            rider.rides = True
            self._riding += 1
            self._start(rider, self._clock.now())
            self.gate.ride(rider)
            orders.append(self._order_for(rider, given))
        return orders

    def _may_ride(self, job: Job) -> bool:
        return self.gate.may_ride(job) and self.links.expired(job.entry) is None

    def _next_ready(self) -> Job | None:
        """The first whose host may be asked; where there is none, one that waits for room, and has
        it since something else has ended.
        """
        job = self._ready.pop(self.gate.hosts.admits)
        if job is None and self._no_room:
            self._look_for_room(FEW)
            job = self._ready.pop(self.gate.hosts.admits)
        return job

    def due_elsewhere(self) -> list[Entry]:
        """The files of other runs that are to be looked at again now; each comes back by `add`
        or `skip`.
        """
        entries = []
        while not self.halted and (job := self._elsewhere.pop_due(self._clock.now())):
            self._move(job, FileState.PENDING)
            self._aside[job.entry.name] = job
            entries.append(job.entry)
        return entries

    def _order(self, job: Job, now: float) -> AttemptOrder:
        self._start(job, now)
        given = self.gate.enter(job, expected=self._expected())
        if self.alone:
            self._announce(job)
        return self._order_for(job, given)

    def _start(self, job: Job, now: float) -> None:
        self._move(job, FileState.RUNNING)
        job.attempts += 1
        job.attempt_at = now
        job.started_at = job.started_at or now
        job.host, job.link = job.entry.url.host, job.entry.url
        name = job.entry.name
        self._running[name] = job
        self._looked_alone, job.held_for = False, None

    def _order_for(self, job: Job, given: Pass) -> AttemptOrder:
        limits = self.settings.limits
        if given.rate is not None:  # what is allowed is no stall
            limits = replace(limits, min_rate=min(limits.min_rate, given.rate // 2))
        return AttemptOrder(
            directory=self.settings.directory,
            wget=self.settings.wget,
            entry=job.entry,
            attempt=job.attempts,
            approach=job.approach,
            limits=limits,
            retry_status=self.settings.retry.retry_status,
            checks=self.settings.checks,
            access=self.settings.access,
            rate=given.rate,
            ceiling=given.ceiling,
            locking=self.settings.locking,
            examine=job.examine,
            replaces=job.replaces,
            told_size=job.size,
            broken_sha256=job.broken_sha256,
        )

    def _expected(self) -> int:
        return self.gate.expected(self._running.values(), self._ready, self._backoff)

    def _announce(self, job: Job) -> None:
        """Tells of an attempt, once. Beside other runs not before it is certain that the file is
        ours.
        """
        if job.attempts > job.announced:
            job.announced = job.attempts
            self._emit(news.started(job))

    # ------------------------------------------------------------ while it runs

    def hear(self, name: str, head: Head, ahead: float | None) -> None:
        """A running attempt has its answer's head; the server's clock is so far before ours."""
        if job := self._running.get(name):
            self._learn_size(job, head.remote.size)
            self.gate.hosts.answered(job.host, since=job.attempt_at)
            self._hear_clock(job.host, ahead)
        self._recall(EndedFor.NO_ROOM, self.gate.room.over())

    def see(
        self, free: int | None, lengths: Mapping[str, int], *, others: bool | None = None
    ) -> None:
        """A look: so much is free on the disk, and these are the lengths of the running parts;
        whether `others`, live runs on DIR, are there (None: nobody looked).
        """
        if free is not None:
            self.gate.room.measured(free, lengths)
        self._recall(EndedFor.NO_ROOM, self.gate.room.over())
        self._recall(EndedFor.SHARE, self.gate.shares.unfair(expected=self._expected()))
        self._look_for_room(LOOKAHEAD)
        self._tell_of_room()
        if others is not None and self.is_stuck:
            self._settle(others)

    def _recall(self, why: EndedFor, names: list[str]) -> None:
        for name in names:
            if (job := self._running.get(name)) and not job.recalled:
                job.recalled = why
                self._recalled.add(name)

    def _hear_clock(self, host: str, ahead: float | None) -> None:
        if ahead is not None and self.links.hear(host, ahead):
            for job in self._no_link.good_again():
                self._release(self._no_link, job)

    def renew(self, fresh: FreshLinks) -> None:
        """A links file was replaced: what is not done takes its new link by its name."""
        if fresh.complaint:
            self._warn(fresh.complaint)
            return
        self.links.replace(fresh.links)
        ready = [(job, job.entry.name in self._ready.again) for job in self._ready]
        self._ready.drain()
        waiting = [due.job for due in chain(self._backoff, self._elsewhere)]
        aside = (*self._running.values(), *waiting, *self._aside.values(), *self._no_room)
        renewed = self._no_link.renewed()
        for job in (*aside, *renewed, *(job for job, _ in ready)):
            job.entry = self.links.latest(job.entry)
        for job, again in ready:
            self._ready.push(job, again=again)
        # A host's Retry-After is not another one's.
        for job in self._backoff.remove(lambda job: job.host != job.entry.url.host):
            self._ready.push(job, again=True)
        for job in renewed:
            self._release(self._no_link, job)
        self._wait_until = None
        tally = self.tally
        left = self.files - tally.done - tally.skipped - tally.failed
        files = f"{min(len(fresh.links), left):,} of the {count(left, 'file')} to come"
        more = f". {fresh.left_out}" if fresh.left_out else ""
        if fresh.missing:
            more += f". {count(fresh.missing, 'chosen file')} are not in it: their old links stay"
        self._warn(f"{fresh.source} was replaced: fresh links for {files}{more}")

    # ------------------------------------------------------------ what is held

    def _hold(self, held: Held, job: Job) -> None:
        self._move(job, FileState.HELD)
        held.put(job)

    def _hold_for_link(self, job: Job, reason: str) -> None:
        job.reason = reason
        self._hold(self._no_link, job)
        self._tell_held(job, Cause.EXPIRED, reason)

    def _tell_held(self, job: Job, cause: Cause, reason: str) -> None:
        """Once for each reason, until it is tried again."""
        if job.held_for is not cause:
            job.held_for = cause
            self._emit(FileHeld(name=job.entry.name, reason=reason, cause=cause))

    def _warn_of_links(self) -> None:
        """Not where they end the run anyway."""
        if not self._no_link.is_news:
            return
        expired = [self.links.expired(job.entry) for job in self._ready]
        if self._running or None in expired:
            number = len(self._no_link) + sum(at is not None for at in expired)
            self._warn(self._no_link.warning(number))

    def _release(self, held: Held, job: Job) -> None:
        """What a file was held for is there."""
        held.take(job)
        self._move(job, FileState.PENDING)
        self._ready.push(job, again=job.attempts > 0)

    def _warn(self, message: str | None) -> None:
        if message is not None:
            self._emit(Warned(message=message))

    def _tell_of_room(self) -> None:
        """Not while a file of unknown size has all the room for a moment, until its answer tells
        it.
        """
        lent = (self._running[name] for name in self.gate.room.lent if name in self._running)
        if any(self._clock.now() - job.attempt_at < ASKING for job in lent):
            return
        for job in self._no_room:
            reason = f"no room on the disk: {self._no_room.numbers(job)}"
            self._tell_held(job, Cause.NO_SPACE, reason)
        if self._running:
            self._warn(self._no_room.warning())

    def _look_for_room(self, most: int) -> None:
        """Lets go on what fits now of so many files at most; each is asked about once more at its
        start.
        """
        jobs = self._no_room.fitting(self.gate.slots.free(self.running), most)
        for job in jobs:
            self._release(self._no_room, job)
        if jobs:
            self._warn(self._no_room.relief())
        self._no_room.forget_if_empty()

    def _give_up_for_want_of_room(self) -> None:
        """One file tells why; the others are left, as whatever a machine has no room for."""
        job = self._no_room.take(self._no_room.first)
        reason = self._no_room.verdict(job)
        self._fail(job, Failure(kind=FailureClass.LOCAL, cause=Cause.NO_SPACE, reason=reason))

    def _settle(self, others: bool) -> None:
        """All that is left is held. Another run may have it, or have made it whole: so it is looked
        at once more, and again while others are there. Then what nobody brings is given up.
        """
        now = self._clock.now()
        if now >= self._look_again_at if others else not self._looked_alone:
            self._look_again_at, self._looked_alone = now + RELOOK_MAX, not others
            for held in (self._no_link, self._no_room):
                for job in held:
                    self._move(held.take(job), FileState.ELSEWHERE)
                    self._elsewhere.push(job, now)
        elif others:
            self._no_hurry_at = now + RELOOK
        elif self._no_link:
            self._wait_for_links(now)
        elif self.gate.room.is_certain:
            self._give_up_for_want_of_room()

    def _wait_for_links(self, now: float) -> None:
        """What is held for a fresh link fails, unless one is waited for."""
        patience = self.settings.wait_for_links
        if self._wait_until is None and patience and self._no_link.can_be_renewed:
            self._wait_until = now + patience
            self._warn(self._no_link.summary(waiting=True))
        if self._wait_until is None or now >= self._wait_until:
            self._wait_until = None
            self._warn(self._no_link.summary(waiting=False))
            for job in self._no_link:
                failure = Failure(kind=FailureClass.EXPIRED, reason=job.reason, cause=Cause.EXPIRED)
                self._fail(self._no_link.take(job), failure)

    @property
    def remedy(self) -> str:
        """What to do about links that expire."""
        return self._no_link.remedy

    # ------------------------------------------------------------ outcomes

    def take(self, outcome: Outcome) -> WholePart | None:
        """What an attempt came to. Returns the part that is to be published, where it is whole."""
        job = self._running.pop(outcome.name)
        recalled = self._give_back(job, outcome)
        self.tally.received += outcome.received
        if outcome.ending not in {Ending.ELSEWHERE, Ending.UNTRIED}:
            self._announce(job)
        job.length = outcome.after
        if outcome.examined:
            job.examine, job.replaces = False, outcome.replaces
        if outcome.note:
            self._warn(f"{job.entry.name}: {outcome.note}")
        self._learn_size(job, outcome.whole.size if outcome.whole else outcome.remote.size)
        match outcome.ending, outcome.failure:
            case Ending.SHORT, Failure() as failure:
                self._miss(job, failure)
            case Ending.ELSEWHERE, _:
                self._withdraw(job)
            case Ending.UNTRIED, _:
                self._try_alone(job)
            case ((Ending.STOPPED | Ending.RECALLED | Ending.NO_ROOM), _):
                self._put_back_down(job, outcome, recalled)
            case _, None:
                assert outcome.whole is not None, outcome.ending  # noqa: S101
                self._check(job, outcome, outcome.whole)
            case _, failure:
                self._after_failure(job, outcome, failure)
        return outcome.whole

    def _withdraw(self, job: Job) -> None:
        """It was none: the file is another run's."""
        job.attempts -= 1
        job.announced = min(job.announced, job.attempts)
        if not job.attempts:
            job.started_at = 0.0
        self._put_elsewhere(job)

    def _try_alone(self, job: Job) -> None:
        """It was none, not yet."""
        job.attempts -= 1
        if not job.attempts:
            job.started_at = 0.0
        job.solo = True
        self._move(job, FileState.PENDING)
        self._ready.push(job, again=True)

    def _put_back_down(self, job: Job, outcome: Outcome, recalled: EndedFor | None) -> None:
        """It was ended by us, and its part stays."""
        why = EndedFor.NO_ROOM if outcome.ending is Ending.NO_ROOM else recalled
        if outcome.ending is Ending.STOPPED or why is None:
            why = EndedFor.STOPPED
        self._emit(news.stopped(job, outcome, why))
        if why is EndedFor.NO_ROOM:
            self._hold(self._no_room, job)
        else:
            self._move(job, FileState.PENDING)
        if why is EndedFor.SHARE:
            self._ready.push(job, again=True)

    def _check(self, job: Job, outcome: Outcome, whole: WholePart) -> None:
        """All of it is there: it is to be published."""
        self._emit(news.done(job, outcome, whole))
        self._move(job, FileState.CHECKING)
        job.whole = whole
        self._checking[outcome.name] = job

    def _give_back(self, job: Job, outcome: Outcome) -> EndedFor | None:
        """What an attempt had of its host, the line and the disk; returns why it was recalled."""
        self._recalled.discard(outcome.name)
        self.gate.leave(job, outcome)
        self._warn(self.gate.hosts.news(job.host))
        self._hear_clock(job.host, outcome.server_ahead)
        recalled, job.recalled = job.recalled, None
        self._riding -= job.rides
        job.rides = False
        return recalled

    def _miss(self, job: Job, failure: Failure) -> None:
        """An attempt that could not even be started is none, and no fault of the file's."""
        job.attempts -= 1
        self._move(job, FileState.PENDING)
        self._ready.push(job, again=True)
        whole = self.gate.slots.is_whole
        if not self.gate.slots.missed(self.running):
            step = next_step(failure.cause, directory=str(self.settings.directory))
            told = f"{failure.reason}, and that did not change: giving up. {step}"
            self._warn(told)
            self.halt(replace(failure, kind=FailureClass.LOCAL))
        elif whole:
            told = "fewer files at a time, until it is possible again"
            self._warn(f"{failure.reason}: {told}")

    def published(self, name: str, error: OSError | None) -> None:
        """What became of a part that was to be published."""
        job = self._checking.pop(name)
        if error is None and job.whole is not None:
            self.tally.finished_bytes += job.whole.size
            if job.whole.adopted:
                self._move(job, FileState.SKIPPED)
                self.tally.skipped += 1
                self._emit(FileSkipped(name=name, bytes=job.whole.size, why="adopted"))
                return
            self._move(job, FileState.DONE)
            self.tally.done += 1
            self._emit(news.file_done(job, job.whole, self._seconds(job)))
        elif error is not None and (
            failures.is_shortage(error) or isinstance(error, BlockingIOError | FileExistsError)
        ):  # for want of a descriptor, or another run was there first: looked at again
            self._put_elsewhere(job)
        elif error is not None:
            self._fail(job, failures.classify_os_error(error))

    def effort(self, name: str) -> tuple[int, float]:
        """Attempts and seconds that a file which is being checked has taken so far."""
        job = self._checking[name]
        return job.attempts, self._seconds(job)

    def _seconds(self, job: Job) -> float:
        return round(self._clock.now() - job.started_at, 3) if job.attempts else 0.0

    def _after_failure(self, job: Job, outcome: Outcome, failure: Failure) -> None:
        if failure.cause is Cause.NO_SPACE and (self._running or self._checking):
            self._put_off(job, outcome, failure)
            return
        self._count(job, outcome)
        job.rejections += failure.kind is FailureClass.BROKEN
        job.approach = (
            Approach.RESTART
            if outcome.rejected
            else policy.next_approach(job.approach, outcome.finding)
        )
        if outcome.finding is Finding.FOREIGN and job.barren == self.settings.retry.tries - 1:
            # It was shortened after all, or the page is there to stay.
            job.approach = Approach.RESTART
        wait = self._wait(job, outcome, failure)
        self._emit(news.failed(job, outcome, failure, wait))
        if failure.kind is FailureClass.EXPIRED and wait is None:
            self.links.confirm(job.host)
            self._hold_for_link(job, failure.reason)
            self._warn_of_links()
        elif wait is None:
            self._fail(job, failure)
        else:
            job.reason = failure.reason
            self._move(job, FileState.BACKOFF)
            self._backoff.push(job, self._clock.now() + wait)

    def _put_off(self, job: Job, outcome: Outcome, failure: Failure) -> None:
        """The disk is full, whatever was measured: by a quota, for want of inodes, or since
        somebody else was faster. Another file may be the last that there is room for.
        """
        self.gate.room.refused()
        self._emit(news.stopped(job, outcome, EndedFor.NO_ROOM))
        self._hold(self._no_room, job)
        self._warn(self._no_room.warning(failure.reason))

    def _count(self, job: Job, outcome: Outcome) -> None:
        """Counts the attempt as barren or not. One that ended for the part's sake, not the line's,
        does not count.
        """
        best = outcome.before if job.best is None else job.best
        if policy.made_progress(best=best, after=outcome.after, size=job.size):
            job.barren = 0
        elif outcome.finding not in policy.USELESS and not outcome.rejected:
            job.barren += 1
        job.best = max(best, outcome.after)
        renewed = outcome.rejected or outcome.finding in (Finding.CHANGED, Finding.LONGER)
        if renewed and not job.renewed:  # another file: it may take as long as the first, once
            job.renewed, job.best, job.barren = True, 0, 0
        job.broken_sha256 = outcome.sha256 or job.broken_sha256

    def _wait(self, job: Job, outcome: Outcome, failure: Failure) -> float | None:
        """Seconds to the next attempt; None when there is none."""
        retry = self.settings.retry
        if failure.kind is FailureClass.BROKEN and (job.rejections > 1 or outcome.final):
            return None
        renewed = failure.kind in _BY_LINK and job.link != job.entry.url  # while it was refused
        if outcome.rejected or renewed:
            return 0.0
        again = failure.kind in {FailureClass.TRANSIENT, FailureClass.BROKEN}
        if not again or job.barren >= retry.tries:
            return None
        if outcome.finding in policy.USELESS and not (
            outcome.finding is Finding.DIFFERS and failure.status == 200
        ):
            return 0.0
        return policy.backoff_wait(
            retry,
            barren=job.barren,
            jitter=self._jitter.random(),
            retry_after=failure.retry_after,
        )

    def _fail(self, job: Job, failure: Failure) -> None:
        self._move(job, FileState.FAILED)
        self.tally.failed += 1
        told = news.file_failed(job, failure, self._seconds(job))
        self.tally.forget(job)  # it is not waited for any more
        self._emit(told)
        if failure.kind is FailureClass.LOCAL:
            self.halt(failure)

    def _put_elsewhere(self, job: Job) -> None:
        self._move(job, FileState.ELSEWHERE)
        self.alone = False
        wait = min(RELOOK * 1.5 ** self._looks[job.entry.name], RELOOK_MAX)
        self._looks[job.entry.name] += 1
        self._elsewhere.push(job, self._clock.now() + wait)

    def _move(self, job: Job, state: FileState) -> None:
        """The one place where a file changes its state."""
        assert state in ALLOWED[job.state], f"{job.state} -> {state}"  # noqa: S101
        job.state = state

    # ------------------------------------------------------------ sizes and progress

    def _learn_size(self, job: Job, size: int | None) -> None:
        if size is not None and job.size != size:
            self.tally.learn(job, size)
            self.gate.room.learn(job.entry.name, size)

    def to_sample(self) -> list[tuple[str, bool]]:
        """The names of running files, and whether their sizes are still to be learned. A look at
        what is free begins with it.
        """
        self.gate.room.ask()
        own = (job for job in self._running.values() if not job.rides)
        return [(job.entry.name, job.size is None) for job in own]

    def progress(self, samples: dict[str, tuple[int, int | None]], *, seconds: float) -> Progress:
        """The run as it stands. `samples` gives length and size of the running files' parts, by
        name.
        """
        now = self._clock.now()
        tally, rows = self.tally, []
        received, held = tally.received, sum(due.job.length for due in self._backoff)
        aside = (self._ready.again.values(), self._checking.values(), self._no_link, self._no_room)
        held += sum(job.length for job in chain.from_iterable(aside))
        for name, job in self._running.items():
            length, size = samples.get(name, (job.length, None))
            self._learn_size(job, size if job.size is None else None)
            held += length
            received += max(length - job.length, 0)
            if job.rides:
                continue
            if now - job.attempt_at >= CERTAIN:
                self._announce(job)
            rows.append(
                Running(
                    name=name,
                    attempt=job.attempts,
                    bytes=length,
                    size=job.size,
                    since=now - job.attempt_at,
                )
            )
        return Progress(
            seconds=seconds,
            files=self.files,
            done=tally.done,
            skipped=tally.skipped,
            failed=tally.failed,
            bytes=tally.finished_bytes + held,
            received=received,
            size=tally.size_of_all(self.files, without=self._no_link),
            running=tuple(rows),
            waiting=self._soonest(now),
            waiting_count=len(self._backoff) + len(self._again),
            elsewhere=len(self._elsewhere),
            expired=len(self._no_link),
            no_room=len(self._no_room),
        )

    @property
    def _again(self) -> list[Job]:
        """What is to be tried again as soon as a worker is free."""
        return [job for job in self._ready.again.values() if job.attempts]

    def _soonest(self, now: float) -> tuple[Waiting, ...]:
        due_now = (Due(now, 0, job) for job in self._again)
        soonest = heapq.nsmallest(KNOWN_WAITING, chain(due_now, self._backoff))
        return tuple(news.waiting(due, now) for due in soonest)
