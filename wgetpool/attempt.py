"""One attempt at one file: claims the part, runs one wget, watches it, and tells what came.

Runs in a worker, and shares nothing with the main thread but the stop flag: an order comes in, an
outcome goes out. Never publishes, never touches the ledger, never decides whether there is another
attempt.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wgetpool import failures, orphans, policy, process, proof, wget
from wgetpool.examine import Examination, examine
from wgetpool.model import (
    Approach,
    AttemptOrder,
    Clock,
    Ending,
    Failure,
    FileId,
    Finding,
    Handle,
    Head,
    Launcher,
    Outcome,
    Recall,
    RemoteFile,
    Reply,
    Sight,
    StopFlag,
    WholePart,
    Worth,
)
from wgetpool.part import Part, claim
from wgetpool.redirects import following
from wgetpool.store import Store

TICK = 1.0  # seconds between two looks at a running wget
EARLY_TICK = 0.1  # until the head is there
CUT_TICK = 0.02  # at first, when a part is continued
EARLY = 2.0  # seconds for which that is worth a closer look
SYNC_INTERVAL = 10.0  # seconds: what is newer may be lost when the machine goes down
MOST_AT_ONCE = 1 << 28  # bytes whose digests are taken between two looks
PATIENCE = 0.1  # seconds until a held claim is believed


_TOO_LARGE = os.strerror(errno.EFBIG)


def _never(_name: str) -> bool:
    return False


def _nobody(_name: str, _head: Head) -> None:
    pass


def fetch(
    order: AttemptOrder,
    *,
    stop: StopFlag,
    clock: Clock,
    environment: tuple[bytes, ...],
    trails: proof.Trails,
    launch: Launcher = process.Child,
    recall: Recall = _never,
    tell: Callable[[str, Head], None] = _nobody,
) -> Outcome:
    """Makes one attempt. What can be expected to go wrong is in the outcome, not raised.

    `environment` is the children's, with the mark of the run; `trails` are the run's. It ends when
    `recall` says so, and `tell` is called with a head that is good, while it goes on.
    """
    store = Store(order.directory, order.locking)
    started_at = clock.now()
    try:
        store.make_folder(order.entry.name)
        part = _claim(store, order, stop)
        if part is None:
            return Outcome(name=order.entry.name, ending=Ending.ELSEWHERE)
        with part:
            attempt = _Attempt(
                order,
                part,
                stop=stop,
                clock=clock,
                started_at=started_at,
                trails=trails,
                recall=recall,
                tell=tell,
            )
            try:
                launch = following(launch, order.access, order.entry.url)
                return attempt.make(store.final(order.entry.name), environment, launch)
            except OSError as error:
                return attempt.give_up(error)
    except OSError as error:  # no part to be had
        return Outcome(
            name=order.entry.name,
            ending=Ending.SHORT if failures.is_shortage(error) else Ending.NOT_STARTED,
            seconds=clock.now() - started_at,
            failure=failures.classify_os_error(error),
        )


def _claim(store: Store, order: AttemptOrder, stop: StopFlag) -> Part | None:
    """The claim of the part; None when another live run has it, or has published the file: no part
    is made beside that.

    For the moment between its fork and its exec, a child that another worker starts has a copy of
    every descriptor: a claim that was just given back looks held. And when it is held by a wget of
    a dead run, that is ended.
    """
    name = order.entry.name
    for wait in (0.0, PATIENCE):
        if wait:
            process.pause(wait, stop=stop)
        if not order.examine and _is_new(store.final(name), order):
            return None
        if part := claim(store, name):
            return part
    dead = store.dead_runs()
    return claim(store, name) if dead and orphans.end(frozenset(dead), name) else None


def _is_new(final: Path, order: AttemptOrder) -> bool:
    """Whether a file has appeared that nobody has looked at."""
    try:
        return FileId.of(final.lstat()) != order.replaces
    except FileNotFoundError:
        return False


@dataclass(slots=True)
class _Quiet:
    """What a wget was seen to do since its part last grew. One whose part grows is let alone."""

    length: int
    since: float  # seconds, by the clock
    read: int | None = None  # when the quiet began
    last: Sight | None = None

    def note(self, length: int, now: float) -> None:
        if length != self.length:
            self.length, self.since, self.read, self.last = length, now, None, None

    def watch(self, child: Handle) -> None:
        self.last = child.look()
        self.read = self.last.read if self.read is None else self.read

    @property
    def swallowed(self) -> int:
        """Bytes that it has read meanwhile, as far as that is told."""
        return max((self.last.read or 0) - (self.read or 0), 0) if self.last and self.read else 0


class _Attempt:
    """The state of one attempt, for as long as it lasts."""

    def __init__(
        self,
        order: AttemptOrder,
        part: Part,
        *,
        stop: StopFlag,
        clock: Clock,
        started_at: float,
        trails: proof.Trails,
        recall: Recall,
        tell: Callable[[str, Head], None],
    ) -> None:
        self.order, self.part, self.stop, self.clock = order, part, stop, clock
        self.entry = order.entry
        self.started_at, self.trails = started_at, trails
        self.recall, self.tell = recall, tell
        self.examined: Examination | None = None
        self.before = self.offset = 0
        self.status: int | None = None
        self.server_ahead: float | None = None
        self.known = RemoteFile()
        self.moved = False

    def make(self, final: Path, environment: tuple[bytes, ...], launch: Launcher) -> Outcome:
        outcome = None
        if self.stop.is_set():
            return self._outcome(Ending.STOPPED)
        if self.order.examine and os.path.lexists(final):
            outcome = self.examine(final, environment, launch)
        elif _is_new(final, self.order):  # published meanwhile by another run
            outcome = Outcome(name=self.entry.name, ending=Ending.ELSEWHERE)
        return outcome or self.run(environment, launch)

    def give_up(self, error: OSError) -> Outcome:
        """DIR itself failed: the part stays as it is, for the next attempt to settle."""
        short = failures.is_shortage(error)
        return self._outcome(
            Ending.SHORT if short else Ending.NOT_STARTED,
            received=0 if short else max(self.part.length() - self.offset, 0),
            failure=failures.classify_os_error(error),
        )

    # ------------------------------------------------------------ a file that is there already

    def examine(
        self, final: Path, environment: tuple[bytes, ...], launch: Launcher
    ) -> Outcome | None:
        """Looks at the file that the ledger does not know; None where a replacement, or the rest of
        it, is to be fetched.
        """
        try:
            found = self.examined = examine(
                self.order,
                final,
                lock=self.part.descriptor,
                stop=self.stop,
                clock=self.clock,
                environment=environment,
                launch=launch,
            )
        except FileNotFoundError:  # moved away meanwhile
            return None
        if found.failure is not None:
            return self._outcome(found.ending, failure=found.failure)
        if found.worth is None:
            return self._outcome(Ending.STOPPED)
        if found.worth is Worth.WHOLE and found.verdict is not None:
            whole = WholePart(
                name=self.entry.name,
                claim=self.part.hand_over(),
                inode=found.found.inode,
                size=found.found.size,
                proof=found.verdict.proof,
                sha256=found.verdict.sha256,
                adopted=found.found,
            )
            return self._outcome(Ending.EXITED, whole=whole)
        if (
            found.worth is Worth.TORN
            and self.part.length() <= found.found.size
            and self.part.take_over(final, found.found)
        ):
            self.part.accept(found.remote, self.entry.url.path)
            self.part.sync()
        return None

    # ------------------------------------------------------------ fetching

    def run(self, environment: tuple[bytes, ...], launch: Launcher) -> Outcome:
        self.part.settle()
        self.before = self.part.length()
        self.known = self.part.record.remote
        self.moved = self.part.record.url_path not in {"", self.entry.url.path}
        approach = Approach.RESTART if self.part.is_hollow() else self.order.approach
        self.offset = policy.plan_offset(
            self.before, approach=approach, listed_size=self.entry.size
        )
        self.digests = self._take_digests()
        self.meter = policy.Meter(self.order.limits, now=self.started_at, length=self.offset)
        self.quiet = _Quiet(self.offset, self.started_at)
        self.part.cut_at(self.offset)
        command = wget.command(
            self.order.wget,
            self.entry.url,
            self.part.path,
            timeout=self.order.limits.timeout,
            access=self.order.access,
            rate=self.order.rate,
            ceiling=self.order.ceiling,
            environment=environment,
            mark=self.entry.name,
            lock=self.part.descriptor,
        )
        try:
            child = launch(command)
        except OSError as error:
            self.part.put_back()
            return self._outcome(Ending.SHORT, failure=failures.launch_failure(error))
        try:
            ending = self._watch(child)
        finally:
            exit_code, log = child.close()
        if exit_code is None:  # it may still write to the part, and holds its lock
            if ending is Ending.STOPPED:
                return self._outcome(ending)
            return self._outcome(Ending.STUCK, failure=failures.STUCK)
        return self._conclude(ending, wget.read_reply(log, exit_code))

    # ------------------------------------------------------------ while it runs

    def _take_digests(self) -> proof.Digests:
        return self.trails.take(
            self.entry.name, self.part.stat(), end=self.offset
        ) or proof.Digests(proof.algorithms(self.entry, self.order.checks))

    def _watch(self, child: Handle) -> Ending:
        """Waits for the child's end, and ends it as soon as it brings nothing of use."""
        limits = self.order.limits
        meter, quiet = self.meter, self.quiet
        now, accepted = self.started_at, False
        sync_at = now + SYNC_INTERVAL
        while not child.wait(self._tick(now, accepted=accepted), stop=self.stop):
            now = self.clock.now()
            if self.stop.is_set():
                return Ending.STOPPED
            if self.recall(self.entry.name):
                return Ending.RECALLED
            head = wget.read_head(child.read_log())
            self._read_clock(head)
            finding = self._judge(head)
            if finding in policy.ENDING or (head is not None and head.astray):
                return Ending.CUT_SHORT
            if head is not None and finding is Finding.FITS:
                self.part.accept(head.remote, self.entry.url.path)
                if not accepted:
                    self.tell(self.entry.name, head)
                accepted = True
                self._follow()
                if now >= sync_at:
                    self.part.sync()
                    sync_at = self.clock.now() + SYNC_INTERVAL
            if 0 < limits.attempt_timeout <= now - self.started_at:
                return Ending.TIMED_OUT
            length = self.part.length()
            quiet.note(length, now)
            if now - self.started_at >= EARLY and quiet.since < now:
                quiet.watch(child)
            if meter.stalled(now=now, length=length):
                quiet.last = child.look(link=head is None)
                return Ending.STALLED
        return Ending.EXITED

    def _follow(self) -> None:
        """Takes the digests behind the growing part, never of bytes that may be cut off again."""
        end = min(self.part.length() - policy.OVERLAP, self.digests.position + MOST_AT_ONCE)
        self.digests.follow(self.part.descriptor, end, stop=self.stop)

    def _tick(self, now: float, *, accepted: bool) -> float:
        """A closer look, for a while, until the part is accepted: when we are killed before that,
        nobody has seen the head, and what comes behind a cut is lost.
        """
        age = now - self.started_at
        if accepted or age >= EARLY:
            return TICK
        return CUT_TICK if self.offset and age < EARLY_TICK else EARLY_TICK

    def _judge(self, head: Head | None) -> Finding:
        if self.part.record.cut is None and self.offset:
            return Finding.FITS  # compared before, and the cut is closed
        same, uniform = self.part.compare()
        return policy.judge(
            head,
            offset=self.offset,
            before=self.before,
            known=self.known,
            listed_size=self.entry.size,
            same=same,
            uniform=uniform,
            moved=self.moved,
        )

    def _read_clock(self, head: Head | None) -> None:
        """Once, when the head is new: later the answer's date is of some time ago."""
        if self.server_ahead is None:
            self.server_ahead = failures.server_ahead(head, self.clock.wall())

    # ------------------------------------------------------------ when it has ended

    def _conclude(self, ending: Ending, reply: Reply) -> Outcome:
        finding = self._judge(reply.head)
        self._read_clock(reply.head)
        self.status = reply.head.status if reply.head else None
        length = self.part.length()
        came = max(length - self.offset, 0)
        self.quiet.note(length, self.clock.now())
        if not came and wget.is_refused_range(reply):
            finding = Finding.DIFFERS
        if finding is Finding.FITS and reply.head is not None:
            if self._is_whole(length, reply, ending):
                return self._check(length, reply.head, came)
            # A stop waits for no disk.
            durable = ending is not Ending.STOPPED
            self.part.accept(reply.head.remote, self.entry.url.path, durable=durable)
        elif self.offset:
            self.part.put_back()
        else:
            self.part.cut_at(0)
        if ending is Ending.STOPPED:
            return self._outcome(ending, finding=finding, received=came)
        if ending is not Ending.RECALLED and self._came_to_ceiling(reply):
            ending = Ending.NO_ROOM
        if ending in {Ending.RECALLED, Ending.NO_ROOM}:
            self.trails.leave(self.entry.name, self.part.stat(), self.digests)
            return self._outcome(ending, finding=finding, received=came)
        self.part.sync()
        self.trails.leave(self.entry.name, self.part.stat(), self.digests)
        circumstances = failures.Circumstances(
            order=self.order,
            ending=ending,
            finding=finding,
            after=self.part.length(),
            now=self.clock.wall(),
            offset=self.offset,
            received=self.meter.growth,
            sight=self.quiet.last,
            swallowed=self.quiet.swallowed,
            silence=self.clock.now() - self.quiet.since,
            proxy=wget.proxy_of(self.entry.url, os.environ),
        )
        failure = failures.classify(reply, circumstances)
        return self._outcome(ending, finding=finding, received=came, failure=failure)

    def _came_to_ceiling(self, reply: Reply) -> bool:
        """Whether the kernel ended it, since the part may not grow further (RLIMIT_FSIZE)."""
        return self.order.ceiling is not None and reply.detail in {"SIGXFSZ", _TOO_LARGE}

    def _is_whole(self, length: int, reply: Reply, ending: Ending) -> bool:
        """Whether a part of this length is all that the server has. The exit code alone shows
        nothing.
        """
        told = reply.head.remote.size if reply.head else None
        if told is not None:
            return length == told
        closed_well = ending is Ending.EXITED and reply.exit_code == 0
        expected = max(self.entry.size or 0, self.known.size or 0, self.order.told_size or 0)
        return closed_well and length >= expected

    def _check(self, size: int, head: Head, came: int) -> Outcome:
        """The part has all bytes that the server has: holds them against all that is told."""
        verdict = proof.check(
            self.part.descriptor,
            self.entry,
            size=size,
            told=head.remote.size,
            digests=self.digests,
            checks=self.order.checks,
            stop=self.stop,
        )
        if verdict is None:
            self.part.accept(head.remote, self.entry.url.path, durable=False)
            return self._outcome(Ending.STOPPED, finding=Finding.FITS, received=came)
        if verdict.complaint is not None:
            return self._reject(verdict, head, came)
        whole = WholePart(
            name=self.entry.name,
            claim=self.part.hand_over(),
            inode=self.part.inode(),
            size=size,
            proof=verdict.proof,
            sha256=verdict.sha256,
            recorded=self.part.recorded,
            last_modified=head.remote.last_modified,
            replaces=self._replaces,
        )
        return self._outcome(Ending.EXITED, finding=Finding.FITS, received=came, whole=whole)

    def _reject(self, verdict: proof.Verdict, head: Head, came: int) -> Outcome:
        """Puts aside what is whole and wrong. The same bytes once more are what the source has."""
        self.part.reject()
        again = verdict.sha256 is not None and verdict.sha256 == self.order.broken_sha256
        return self._outcome(
            Ending.EXITED,
            finding=Finding.FITS,
            received=came,
            failure=verdict.failure(again=again, status=head.status),
            rejected=True,
            final=verdict.final or again,
            sha256=verdict.sha256,
        )

    @property
    def _replaces(self) -> FileId | None:
        """The file under the final name that has been looked at, and is worth nothing."""
        return self.order.replaces if self.examined is None else self.examined.found

    def _outcome(
        self,
        ending: Ending,
        *,
        finding: Finding = Finding.NOTHING,
        received: int = 0,
        whole: WholePart | None = None,
        failure: Failure | None = None,
        rejected: bool = False,
        final: bool = False,
        sha256: str | None = None,
    ) -> Outcome:
        looked = self.examined is not None and self.examined.worth is not None
        return Outcome(
            name=self.entry.name,
            ending=ending,
            seconds=self.clock.now() - self.started_at,
            before=self.before,
            after=0 if rejected else whole.size if whole else self.part.length(),
            received=received + (self.examined.received if self.examined else 0),
            finding=finding,
            status=self.status,
            server_ahead=self.server_ahead,
            remote=self.part.record.remote,
            whole=whole,
            failure=failure,
            rejected=rejected,
            final=final,
            sha256=sha256,
            examined=looked,
            replaces=self._replaces if looked else None,
            note=self.examined.note if self.examined else "",
        )
