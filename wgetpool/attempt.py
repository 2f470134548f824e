"""One attempt at one file: claims the part, runs one wget, watches it, and tells what came.

Runs in a worker, and shares nothing with the main thread but the stop flag: an order comes in, an
outcome goes out. Never publishes, never touches the ledger, never decides whether there is another
attempt.
"""

from __future__ import annotations

import os

from wgetpool import policy, process, proof, wget
from wgetpool.model import (
    AttemptOrder,
    Clock,
    Ending,
    Failure,
    FailureClass,
    Finding,
    Handle,
    Head,
    Launcher,
    Outcome,
    Reply,
    StopFlag,
    WholePart,
)
from wgetpool.part import Part, claim
from wgetpool.store import Store

TICK = 1.0  # seconds between two looks at a running wget
EARLY_TICK = 0.1  # until the head is there: a part whose validators nobody has seen has no past
EARLY = 2.0  # seconds for which that is worth a closer look
PATIENCE = 0.1  # seconds until a held claim is believed


def fetch(
    order: AttemptOrder,
    *,
    stop: StopFlag,
    clock: Clock,
    environment: tuple[bytes, ...],
    launch: Launcher = process.Child,
) -> Outcome:
    """Makes one attempt. What can be expected to go wrong is in the outcome, not raised.

    `environment` is the children's, with the mark of the run.
    """
    store = Store(order.directory)
    started_at = clock.now()
    try:
        store.make_folder(order.entry.name)
        part = _claim(store, order.entry.name, stop)
        if part is None:
            return Outcome(name=order.entry.name, ending=Ending.ELSEWHERE)
        with part:
            if os.path.lexists(store.final(order.entry.name)):  # published meanwhile by another run
                return Outcome(name=order.entry.name, ending=Ending.ELSEWHERE)
            attempt = _Attempt(order, part, stop=stop, clock=clock, started_at=started_at)
            return attempt.run(environment, launch)
    except OSError as error:
        return Outcome(
            name=order.entry.name,
            ending=Ending.NOT_STARTED,
            seconds=clock.now() - started_at,
            failure=policy.classify_os_error(error),
        )


def _claim(store: Store, name: str, stop: StopFlag) -> Part | None:
    """The claim of the part; None when another live run has it.

    For the moment between its fork and its exec, a child that another worker starts has a copy of
    every descriptor: a claim that was just given back looks held. And when it is held by a wget of
    a dead run, that is ended.
    """
    if part := claim(store, name):
        return part
    process.pause(PATIENCE, stop=stop)
    if part := claim(store, name):
        return part
    dead = store.dead_runs()
    return claim(store, name) if dead and process.end_orphans(frozenset(dead)) else None


class _Attempt:
    """The state of one attempt, for as long as it lasts."""

    def __init__(
        self, order: AttemptOrder, part: Part, *, stop: StopFlag, clock: Clock, started_at: float
    ) -> None:
        self.order, self.part, self.stop, self.clock = order, part, stop, clock
        self.entry = order.entry
        self.started_at = started_at
        part.settle()
        self.before = part.length()
        self.known = part.record.remote
        self.offset = policy.plan_offset(
            self.before, approach=order.approach, listed_size=self.entry.size
        )

    def run(self, environment: tuple[bytes, ...], launch: Launcher) -> Outcome:
        self.part.cut_at(self.offset)
        command = wget.command(
            self.order.wget,
            self.entry.url,
            self.part.path,
            timeout=self.order.limits.timeout,
            environment=environment,
            lock=self.part.descriptor,
        )
        try:
            child = launch(command)
        except OSError as error:
            self.part.put_back()
            return self._outcome(Ending.NOT_STARTED, failure=_launch_failure(error))
        try:
            ending = self._watch(child)
        finally:
            exit_code, log = child.close()
        return self._conclude(ending, wget.read_reply(log, exit_code))

    # ------------------------------------------------------------ while it runs

    def _watch(self, child: Handle) -> Ending:
        """Waits for the child's end, and ends it as soon as it brings nothing of use."""
        limits = self.order.limits
        meter = policy.Meter(limits, now=self.started_at, length=self.offset)
        now, head = self.started_at, None
        while not child.wait(self._tick(now, head), stop=self.stop):
            now = self.clock.now()
            if self.stop.is_set():
                return Ending.STOPPED
            head = wget.read_head(child.read_log())
            finding = self._judge(head)
            if finding in policy.USELESS:
                return Ending.CUT_SHORT
            if head is not None and finding is Finding.FITS:
                self.part.accept(head.remote, self.entry.url.path)
            if 0 < limits.attempt_timeout <= now - self.started_at:
                return Ending.TIMED_OUT
            if meter.stalled(now=now, length=self.part.length()):
                return Ending.STALLED
        return Ending.EXITED

    def _tick(self, now: float, head: Head | None) -> float:
        return EARLY_TICK if head is None and now - self.started_at < EARLY else TICK

    def _judge(self, head: Head | None) -> Finding:
        if self.part.record.cut is None and self.offset:
            return Finding.FITS  # compared before, and the cut is closed
        same, uniform = self.part.compare()
        return policy.judge(
            head,
            offset=self.offset,
            before=self.before,
            known=self.known,
            same=same,
            uniform=uniform,
        )

    # ------------------------------------------------------------ when it has ended

    def _conclude(self, ending: Ending, reply: Reply) -> Outcome:
        finding = self._judge(reply.head)
        length = self.part.length()
        came = max(length - self.offset, 0)
        if finding is Finding.FITS and reply.head is not None:
            if self._is_whole(length, reply, ending):
                return self._check(length, reply.head, came)
            self.part.accept(reply.head.remote, self.entry.url.path)
        elif self.offset:
            self.part.put_back()
        else:
            self.part.cut_at(0)
        if ending is Ending.STOPPED:
            return self._outcome(ending, finding=finding, received=came)
        circumstances = policy.Circumstances(
            ending=ending,
            finding=finding,
            after=self.part.length(),
            size=(reply.head.remote.size if reply.head else None) or self.entry.size,
            url=self.entry.url,
            now=self.clock.wall(),
            limits=self.order.limits,
            retry_status=self.order.retry_status,
        )
        failure = policy.classify(reply, circumstances)
        return self._outcome(ending, finding=finding, received=came, failure=failure)

    def _is_whole(self, length: int, reply: Reply, ending: Ending) -> bool:
        """Whether a part of this length is all that the server has. The exit code alone shows
        nothing.
        """
        told = reply.head.remote.size if reply.head else None
        if told is not None:
            return length == told
        closed_well = ending is Ending.EXITED and reply.exit_code == 0
        return closed_well and not (self.entry.size is not None and length < self.entry.size)

    def _check(self, size: int, head: Head, came: int) -> Outcome:
        """The part has all bytes that the server has: holds them against what the list tells."""
        complaint = None
        if self.entry.size is not None and size != self.entry.size:
            complaint = f"its size is {size:,} bytes, the list says {self.entry.size:,}"
        elif self.entry.checksums:
            found = proof.digests(
                self.part.path, (each.algorithm for each in self.entry.checksums), stop=self.stop
            )
            if found is None:
                self.part.accept(head.remote, self.entry.url.path)
                return self._outcome(Ending.STOPPED, finding=Finding.FITS, received=came)
            complaint = proof.mismatch(found, self.entry.checksums)
        if complaint is not None:
            kept = self.part.reject()
            reason = f"{complaint}: kept as {kept.relative_to(self.order.directory)}"
            failure = Failure(kind=FailureClass.BROKEN, reason=reason, status=head.status)
            return self._outcome(
                Ending.EXITED, finding=Finding.FITS, received=came, failure=failure, rejected=True
            )
        by_size = head.remote.size is not None or self.entry.size is not None
        whole = WholePart(
            name=self.entry.name,
            claim=self.part.hand_over(),
            inode=self.part.inode(),
            size=size,
            proof=("size",) * by_size + tuple(each.algorithm for each in self.entry.checksums),
            recorded=self.part.recorded,
            last_modified=head.remote.last_modified,
        )
        return self._outcome(Ending.EXITED, finding=Finding.FITS, received=came, whole=whole)

    def _outcome(
        self,
        ending: Ending,
        *,
        finding: Finding = Finding.NOTHING,
        received: int = 0,
        whole: WholePart | None = None,
        failure: Failure | None = None,
        rejected: bool = False,
    ) -> Outcome:
        return Outcome(
            name=self.entry.name,
            ending=ending,
            seconds=self.clock.now() - self.started_at,
            before=self.before,
            after=0 if rejected else whole.size if whole else self.part.length(),
            received=received,
            finding=finding,
            remote=self.part.record.remote,
            whole=whole,
            failure=failure,
            rejected=rejected,
        )


def _launch_failure(error: OSError) -> Failure:
    """A wget that cannot be started is this machine's trouble, unless something is scarce for
    now.
    """
    failure = policy.classify_os_error(error)
    if failure.kind is FailureClass.PERMANENT:
        return Failure(kind=FailureClass.LOCAL, reason=f"wget cannot be started: {failure.reason}")
    return failure
