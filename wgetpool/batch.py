"""One wget for several small files of one host, of which nothing is there yet.

Their bytes come to memory, and from there, file by file, into the parts, whole ones only. A file
for which the server has trouble has had its attempt. What this wget does not come to, or is not
made for (a large file, a redirect), was not tried: it gets an attempt of its own, with all that
such a one is watched for.

Runs in a worker, as an attempt does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from wgetpool import failures, process, proof, wget
from wgetpool.batches import LARGEST
from wgetpool.batchlog import Answer, BatchLog
from wgetpool.model import (
    AttemptOrder,
    Clock,
    Ending,
    Failure,
    Finding,
    Handle,
    Launcher,
    Outcome,
    Recall,
    RemoteFile,
    Reply,
    Sight,
    StopFlag,
    WholePart,
)
from wgetpool.part import Part, claim
from wgetpool.store import Store

LIFE = 5.0  # seconds after which the rest are better tried one by one
TOGETHER = 1 << 24  # bytes of memory, at most
BREATH = 0.002  # seconds between two looks at what comes line by line
TICK = 0.1  # and while nothing comes


def fetch_batch(
    orders: Sequence[AttemptOrder],
    *,
    stop: StopFlag,
    clock: Clock,
    environment: tuple[bytes, ...],
    launch: Launcher = process.Child,
    recall: Recall,
) -> list[Outcome]:
    """What has become of each order, in their order: as after an attempt, or UNTRIED. When the run
    stops, that at work has been STOPPED, and the first, which has been told of.

    All have the same settings, and go to one host.
    """
    store = Store(orders[0].directory, orders[0].locking)
    with ExitStack() as claims:
        claimed = _claim_all(store, orders, claims)
        batch = _Batch(claimed, stop=stop, clock=clock, recall=recall)
        if claimed and not stop.is_set():
            with suppress(OSError):  # whoever is tried next has the same trouble, and names it
                batch.run(environment, launch)
        batch.clear()
    stopped = {orders[0].entry.name, batch.at_work} if stop.is_set() else set()
    names = [order.entry.name for order in orders]
    return [
        batch.outcomes.get(name)
        or Outcome(name=name, ending=Ending.STOPPED if name in stopped else Ending.UNTRIED)
        for name in names
    ]


def _claim_all(
    store: Store, orders: Sequence[AttemptOrder], claims: ExitStack
) -> list[tuple[AttemptOrder, Part]]:
    """The parts of those files of which nothing is there, and nobody else has them."""
    folders: set[str] = set()  # that are there
    claimed = []
    for order in orders:
        name = order.entry.name
        folder, final = name.rpartition("/")[0], store.final(name)
        with suppress(OSError):
            if folder not in folders:
                store.make_folder(name)
                folders.add(folder)
            if os.path.lexists(final) or (part := claim(store, name)) is None:
                continue
            if part.length() or os.path.lexists(final):
                with part:  # given back at once
                    continue
            claims.enter_context(part)
            claimed.append((order, part))
    return claimed


def _may_share_a_connection(orders: Sequence[AttemptOrder]) -> bool:
    """Whether each file is known by its checksum, or the user trusts the servers with it."""
    asked_for = dict(orders[0].access.options).get("http_keep_alive") == "on"
    return asked_for or all(order.entry.checksums for order in orders)


class _Batch:
    """`outcomes` of those that were tried, by name."""

    def __init__(
        self,
        claimed: Sequence[tuple[AttemptOrder, Part]],
        *,
        stop: StopFlag,
        clock: Clock,
        recall: Recall,
    ) -> None:
        self._claimed, self._orders = claimed, [order for order, _ in claimed]
        self._stop, self._clock, self._recall = stop, clock, recall
        urls = [order.entry.url for order in self._orders]
        trouble = self._orders[0].retry_status if self._orders else frozenset[int]()
        self._log = BatchLog(urls, most=LARGEST, trouble=trouble)
        self._began = self._answered_at = self._moved_at = clock.now()
        self.outcomes: dict[str, Outcome] = {}

    def run(self, environment: tuple[bytes, ...], launch: Launcher) -> None:
        """Raises OSError; what has come until then has."""
        first = self._orders[0]
        into = os.memfd_create("batch", os.MFD_CLOEXEC)
        try:
            command = wget.batch_command(
                first.wget,
                [order.entry.url for order in self._orders],
                into,
                timeout=first.limits.timeout,
                most=TOGETHER,
                keep_alive=_may_share_a_connection(self._orders),
                access=first.access,
                environment=environment,
            )
            child = launch(command)
            has_ended = False
            try:
                has_ended = self._follow(child, into)
            finally:
                exit_code, log = child.close()
            self._take(log, into)
            if has_ended and len(log) < process.LOG_LIMIT and not self._log.is_over:
                self._end(log, exit_code)
        finally:
            os.close(into)

    @property
    def at_work(self) -> str:
        """The file whose turn it is; none where that has come to its end."""
        place = self._log.place
        return self._orders[place].entry.name if place < len(self._orders) else ""

    def clear(self) -> None:
        """Leaves nothing of what is neither whole nor put aside."""
        kept = {name for name, one in self.outcomes.items() if one.whole or one.rejected}
        for order, part in self._claimed:
            with suppress(OSError):
                if order.entry.name not in kept and part.length():
                    os.ftruncate(part.descriptor, 0)

    def _follow(self, child: Handle, into: int) -> bool:
        """Takes what comes, while it is of use; returns whether the wget has ended by itself."""
        came, limits = 0, self._orders[0].limits
        life = min(LIFE, limits.attempt_timeout or LIFE)
        while not (self._log.is_over or self._log.is_enough):
            if child.wait(TICK, stop=self._stop):
                return True
            process.pause(BREATH, stop=self._stop)
            now, log = self._clock.now(), child.read_log()
            self._take(log, into)
            if (length := len(log) + os.fstat(into).st_size) != came:
                came, self._moved_at = length, now
            if self._stop.is_set() or now - self._began >= life or self._is_recalled():
                break
            if len(log) >= process.LOG_LIMIT:
                break
            if 0 < limits.stall_timeout <= now - self._moved_at and not self._log.is_over:
                reply = self._log.so_far(log)
                sight = child.look(link=reply.head is None)
                self._fail(self._log.place, reply, Ending.STALLED, sight)
                break
        return False

    def _end(self, log: bytes, exit_code: int | None) -> None:
        """The wget has ended by itself, and not all had come: whose turn was it?"""
        if exit_code is None:  # nor will it end
            return
        if exit_code >= 0:
            if answer := self._log.end(log):
                self._fail(answer.place, answer.reply)
        elif exit_code != -signal.SIGXFSZ:  # which is a limit of ours
            self._fail(self._log.place, self._log.so_far(log, exit_code))

    def _is_recalled(self) -> bool:
        return any(self._recall(order.entry.name) for order in self._orders)

    def _take(self, log: bytes, into: int) -> None:
        for answer in self._log.read(log):
            if answer.size is None:
                self._fail(answer.place, answer.reply)
            else:
                data = os.pread(into, answer.size, answer.start)
                self._keep(answer, data, answer.size)

    def _keep(self, answer: Answer, data: bytes, size: int) -> None:
        """Makes the part of what came, where that is whole and right."""
        order, part = self._claimed[answer.place]
        head = answer.reply.head
        if len(data) < size or os.pwrite(part.descriptor, data, 0) < size:
            return
        verdict = proof.check(
            part.descriptor,
            order.entry,
            size=size,
            told=head.remote.size if head else None,
            digests=proof.Digests(proof.algorithms(order.entry, order.checks)),
            checks=order.checks,
            stop=self._stop,
        )
        if verdict is None:
            return
        if verdict.complaint is not None:
            part.reject()
            self._note(order, answer.reply, size, finding=Finding.FITS, verdict=verdict)
            return
        whole = WholePart(
            name=order.entry.name,
            claim=part.hand_over(),
            inode=part.inode(),
            size=size,
            proof=verdict.proof,
            sha256=verdict.sha256,
            last_modified=head.remote.last_modified if head else None,
        )
        self._note(order, answer.reply, size, finding=Finding.FITS, whole=whole)

    def _fail(
        self,
        place: int,
        reply: Reply,
        ending: Ending = Ending.EXITED,
        sight: Sight | None = None,
    ) -> None:
        """The server had its trouble with this file."""
        order = self._orders[place]
        about = failures.Circumstances(
            order=order,
            ending=ending,
            finding=Finding.NOTHING,
            after=0,
            now=self._clock.wall(),
            sight=sight,
            silence=self._clock.now() - self._moved_at,
            proxy=wget.proxy_of(order.entry.url, os.environ),
        )
        self._note(order, reply, ending=ending, failure=failures.classify(reply, about))

    def _note(
        self,
        order: AttemptOrder,
        reply: Reply,
        size: int = 0,
        *,
        ending: Ending = Ending.EXITED,
        finding: Finding = Finding.NOTHING,
        whole: WholePart | None = None,
        failure: Failure | None = None,
        verdict: proof.Verdict | None = None,
    ) -> None:
        """A file has come to something; `verdict` says why what came was put aside."""
        now, head = self._clock.now(), reply.head
        status = head.status if head else None
        if verdict is not None:
            failure = verdict.failure(again=False, status=status)
        self.outcomes[order.entry.name] = Outcome(
            name=order.entry.name,
            ending=ending,
            seconds=now - self._answered_at,
            after=whole.size if whole else 0,
            received=size,
            finding=finding,
            status=status,
            server_ahead=failures.server_ahead(head, self._clock.wall()),
            remote=head.remote if head else RemoteFile(),
            whole=whole,
            failure=failure,
            rejected=verdict is not None,
            final=verdict is not None and verdict.final,
            sha256=verdict.sha256 if verdict else None,
        )
        self._answered_at = now
