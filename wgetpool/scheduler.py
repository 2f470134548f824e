"""The scheduler: which file is tried next, when again, and what a file has come to.

Passive: no thread, no I/O, no clock of its own. The pool asks it for orders and hands it outcomes;
it moves the states of files, in one method, and says what happened as events.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from wgetpool import failures, policy
from wgetpool.advice import next_step
from wgetpool.events import (
    AttemptDone,
    AttemptFailed,
    AttemptStarted,
    AttemptStopped,
    Event,
    FileDone,
    FileFailed,
    FileSkipped,
    Progress,
    Running,
    Waiting,
    Warned,
)
from wgetpool.model import (
    Approach,
    AttemptOrder,
    Clock,
    Ending,
    Entry,
    Failure,
    FailureClass,
    FileId,
    FileState,
    Finding,
    Outcome,
    Settings,
    WholePart,
)
from wgetpool.slots import Slots

RELOOK = 2.0  # seconds until a file that another run holds is looked at again, growing each time
RELOOK_MAX = 30.0
CERTAIN = 0.5  # seconds after which an attempt that goes on has its part
KNOWN_WAITING = 200  # waiting files that a Progress names at most

ALLOWED = {
    FileState.PENDING: {FileState.RUNNING, FileState.SKIPPED, FileState.FAILED},
    FileState.RUNNING: {
        FileState.CHECKING,
        FileState.BACKOFF,
        FileState.ELSEWHERE,
        FileState.FAILED,
        FileState.PENDING,  # stopped: the part stays
    },
    FileState.CHECKING: {FileState.DONE, FileState.SKIPPED, FileState.FAILED, FileState.ELSEWHERE},
    FileState.BACKOFF: {FileState.RUNNING},
    FileState.ELSEWHERE: {FileState.PENDING},  # looked at again like a new one
}


@dataclass(slots=True)
class Job:
    """A file being scheduled. `length` is what its part has, `best` the most that it ever had."""

    entry: Entry
    state: FileState = FileState.PENDING
    attempts: int = 0
    announced: int = 0  # the attempt that has been told of last
    barren: int = 0
    best: int | None = None
    length: int = 0
    size: int | None = None
    approach: Approach = Approach.CONTINUE
    rejections: int = 0
    renewed: bool = False
    examine: bool = False
    replaces: FileId | None = None
    broken_sha256: str | None = None
    started_at: float = 0.0
    attempt_at: float = 0.0
    reason: str = ""
    whole: WholePart | None = None


@dataclass(slots=True)
class Tally:
    """What the run has come to so far. `sized` files are of `size` bytes together; the others'
    sizes are not known.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    gone: int = 0  # of those skipped
    received: int = 0
    finished_bytes: int = 0
    sized: int = 0
    size: int = 0


@dataclass(order=True, slots=True)
class _Due:
    at: float
    number: int
    job: Job = field(compare=False)


class Scheduler:
    """Files that are ready, waiting, running, elsewhere. `halted` says why nothing more is
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
    ) -> None:
        self.settings, self.files = settings, files
        self.tally = Tally()
        self.slots = Slots(settings.workers, clock=clock)
        self.halted: Failure | None = None
        self.alone = True  # no other run is known to work on DIR
        self._clock, self._jitter, self._emit = clock, jitter, emit
        self._ready: deque[Job] = deque()
        self._running: dict[str, Job] = {}
        self._checking: dict[str, Job] = {}
        self._backoff: list[_Due] = []
        self._elsewhere: list[_Due] = []
        self._aside: dict[str, Job] = {}  # what is being looked at again
        self._looks: Counter[str] = Counter()  # how often a file was found to be another run's
        self._number = 0

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
        self._ready.append(job)

    def skip(self, entry: Entry, *, size: int, why: str) -> None:
        """A file that needs no attempt."""
        job = self._put_back(entry)
        self._move(job, FileState.SKIPPED)
        self.tally.skipped += 1
        if why == "gone":
            self.tally.gone += 1
        else:
            self.tally.finished_bytes += size
            self._learn_size(job, size)
        self._emit(FileSkipped(name=entry.name, bytes=size, why=why))

    def halt(self, failure: Failure) -> None:
        """Nothing more is started: this machine cannot go on, or the run stops."""
        self.halted = self.halted or failure

    def _put_back(self, entry: Entry) -> Job:
        """The file's job: that of a file which was looked at again goes on, tries and all."""
        return self._aside.pop(entry.name, Job(entry))

    # ------------------------------------------------------------ what goes out

    @property
    def ready(self) -> int:
        return len(self._ready)

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs or will run by itself."""
        waiting = self._ready or self._backoff or self._elsewhere
        busy = self._running or self._checking
        return not busy and (self.halted is not None or not waiting)

    @property
    def checking(self) -> int:
        return len(self._checking)

    def due_in(self, *, room: bool = True) -> float | None:
        """Seconds until something that waits is due; None when nothing waits, or nothing is to be
        started. A retry is not waited for while no slot is free for it, or there is no `room` for
        what would come.
        """
        if self.halted:
            return None
        now = self._clock.now()
        free = room and self.slots.free(self.running)
        queues = (self._backoff, self._elsewhere) if free else (self._elsewhere,)
        dues = [queue[0].at - now for queue in queues if queue]
        if (slot := self.slots.due_in()) is not None and room and not free:
            dues.append(slot)
        return max(min(dues), 0.0) if dues else None

    def next_order(self) -> AttemptOrder | None:
        """The next attempt to make, where a slot is free: a retry that is due comes before a first
        one.
        """
        if self.halted or not self.slots.free(self.running):
            return None
        now = self._clock.now()
        if self._backoff and self._backoff[0].at <= now:
            job = heapq.heappop(self._backoff).job
        elif self._ready:
            job = self._ready.popleft()
        else:
            return None
        return self._order(job, now)

    def due_elsewhere(self) -> list[Entry]:
        """The files of other runs that are to be looked at again now; each comes back by `add`
        or `skip`.
        """
        entries = []
        while not self.halted and self._elsewhere and self._elsewhere[0].at <= self._clock.now():
            job = heapq.heappop(self._elsewhere).job
            self._move(job, FileState.PENDING)
            self._forget_size(job)
            self._aside[job.entry.name] = job
            entries.append(job.entry)
        return entries

    def _order(self, job: Job, now: float) -> AttemptOrder:
        self._move(job, FileState.RUNNING)
        job.attempts += 1
        job.attempt_at = now
        job.started_at = job.started_at or now
        self._running[job.entry.name] = job
        if self.alone:
            self._announce(job)
        return AttemptOrder(
            directory=self.settings.directory,
            wget=self.settings.wget,
            entry=job.entry,
            attempt=job.attempts,
            approach=job.approach,
            limits=self.settings.limits,
            retry_status=self.settings.retry.retry_status,
            checks=self.settings.checks,
            locking=self.settings.locking,
            examine=job.examine,
            replaces=job.replaces,
            told_size=job.size,
            broken_sha256=job.broken_sha256,
        )

    def _announce(self, job: Job) -> None:
        """Tells of an attempt, once. Beside other runs not before it is certain that the file is
        ours.
        """
        if job.attempts > job.announced:
            job.announced = job.attempts
            self._emit(
                AttemptStarted(
                    name=job.entry.name, attempt=job.attempts, bytes=job.length, size=job.size
                )
            )

    # ------------------------------------------------------------ outcomes

    def take(self, outcome: Outcome) -> WholePart | None:
        """What an attempt came to. Returns the part that is to be published, where it is whole."""
        job = self._running.pop(outcome.name)
        self.tally.received += outcome.received
        if outcome.ending is not Ending.ELSEWHERE:
            self._announce(job)
        job.length = outcome.after
        if outcome.examined:
            job.examine, job.replaces = False, outcome.replaces
        if outcome.note:
            self._emit(Warned(message=f"{job.entry.name}: {outcome.note}"))
        if outcome.ending is Ending.SHORT and outcome.failure is not None:
            self._miss(job, outcome.failure)
            return None
        if outcome.ending not in {Ending.ELSEWHERE, Ending.NOT_STARTED, Ending.STOPPED}:
            self.slots.started()
        if outcome.ending is Ending.ELSEWHERE:
            job.attempts -= 1
            job.announced = min(job.announced, job.attempts)
            if not job.attempts:
                job.started_at = 0.0
            self._put_elsewhere(job)
        elif outcome.ending is Ending.STOPPED:
            self._move(job, FileState.PENDING)
            self._emit(
                AttemptStopped(
                    name=outcome.name,
                    attempt=job.attempts,
                    bytes=outcome.after,
                    received=outcome.received,
                    seconds=round(outcome.seconds, 3),
                )
            )
        elif outcome.whole is not None:
            self._learn_size(job, outcome.whole.size)
            self._emit(
                AttemptDone(
                    name=outcome.name,
                    attempt=job.attempts,
                    status=outcome.status,
                    bytes=outcome.whole.size,
                    received=outcome.received,
                    seconds=round(outcome.seconds, 3),
                    adopted=outcome.whole.adopted is not None,
                )
            )
            self._move(job, FileState.CHECKING)
            job.whole = outcome.whole
            self._checking[outcome.name] = job
            return outcome.whole
        elif outcome.failure is not None:
            self._learn_size(job, outcome.remote.size)
            self._after_failure(job, outcome, outcome.failure)
        else:
            raise AssertionError(f"{outcome.ending} without a result")
        return None

    def _miss(self, job: Job, failure: Failure) -> None:
        """An attempt that could not even be started is none, and no fault of the file's."""
        job.attempts -= 1
        self._move(job, FileState.PENDING)
        self._ready.appendleft(job)
        whole = self.slots.is_whole
        if not self.slots.missed(self.running):
            step = next_step(failure.cause, directory=str(self.settings.directory))
            told = f"{failure.reason}, and that did not change: giving up. {step}"
            self._emit(Warned(message=told))
            self.halt(replace(failure, kind=FailureClass.LOCAL))
        elif whole:
            told = "fewer files at a time, until it is possible again"
            self._emit(Warned(message=f"{failure.reason}: {told}"))

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
            self._emit(
                FileDone(
                    name=name,
                    bytes=job.whole.size,
                    seconds=self._seconds(job),
                    attempts=job.attempts,
                    proof=job.whole.proof,
                )
            )
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
        self._emit(
            AttemptFailed(
                name=job.entry.name,
                attempt=job.attempts,
                reason=failure.reason,
                class_=failure.kind,
                cause=failure.cause,
                status=failure.status,
                bytes=outcome.after,
                received=outcome.received,
                seconds=round(outcome.seconds, 3),
                retry_in=None if wait is None else round(wait, 3),
            )
        )
        if wait is None:
            self._fail(job, failure)
            return
        job.reason = failure.reason
        self._move(job, FileState.BACKOFF)
        self._push(self._backoff, job, wait)

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
        if outcome.rejected:
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
        size = job.size
        self._forget_size(job)  # it is not waited for any more
        self._emit(
            FileFailed(
                name=job.entry.name,
                reason=failure.reason,
                class_=failure.kind,
                cause=failure.cause,
                attempts=job.attempts,
                seconds=self._seconds(job),
                size=size,
                sha256=job.broken_sha256 if failure.kind is FailureClass.BROKEN else None,
            )
        )
        if failure.kind is FailureClass.LOCAL:
            self.halt(failure)

    def _put_elsewhere(self, job: Job) -> None:
        self._move(job, FileState.ELSEWHERE)
        self.alone = False
        wait = min(RELOOK * 1.5 ** self._looks[job.entry.name], RELOOK_MAX)
        self._looks[job.entry.name] += 1
        self._push(self._elsewhere, job, wait)

    def _push(self, queue: list[_Due], job: Job, wait: float) -> None:
        self._number += 1
        heapq.heappush(queue, _Due(self._clock.now() + wait, self._number, job))

    def _move(self, job: Job, state: FileState) -> None:
        """The one place where a file changes its state."""
        assert state in ALLOWED[job.state], f"{job.state} -> {state}"  # noqa: S101
        job.state = state

    # ------------------------------------------------------------ sizes and progress

    def _learn_size(self, job: Job, size: int | None) -> None:
        if size is None or job.size == size:
            return
        self._forget_size(job)
        job.size = size
        self.tally.sized += 1
        self.tally.size += size

    def _forget_size(self, job: Job) -> None:
        if job.size is not None:
            self.tally.sized -= 1
            self.tally.size -= job.size
            job.size = None

    def _size_of_all(self) -> int | None:
        """Of those that are wanted here, in bytes: sizes that are not known count as the mean."""
        tally = self.tally
        files = self.files - tally.failed - tally.gone
        return tally.size * files // tally.sized if tally.sized else None

    def to_sample(self) -> list[tuple[str, bool]]:
        """The names of running files, and whether their sizes are still to be learned."""
        return [(name, job.size is None) for name, job in self._running.items()]

    def progress(self, samples: dict[str, tuple[int, int | None]], *, seconds: float) -> Progress:
        """The run as it stands. `samples` gives length and size of the running files' parts, by
        name.
        """
        now = self._clock.now()
        tally, rows = self.tally, []
        received, held = tally.received, sum(due.job.length for due in self._backoff)
        held += sum(job.length for job in self._checking.values())
        for name, job in self._running.items():
            length, size = samples.get(name, (job.length, None))
            self._learn_size(job, size if job.size is None else None)
            held += length
            received += max(length - job.length, 0)
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
            size=self._size_of_all(),
            running=tuple(rows),
            waiting=_soonest(self._backoff, now),
            waiting_count=len(self._backoff),
            elsewhere=len(self._elsewhere),
        )


def _soonest(backoff: Sequence[_Due], now: float) -> tuple[Waiting, ...]:
    return tuple(
        Waiting(
            name=due.job.entry.name,
            attempt=due.job.attempts + 1,
            due_in=max(due.at - now, 0.0),
            reason=due.job.reason,
        )
        for due in heapq.nsmallest(KNOWN_WAITING, backoff)
    )
