"""One wget for several small files of one host, of which nothing is there yet.

Their bytes come to memory, and from there, file by file, into the parts, whole ones only. What does
not come as plainly as that was not tried: an attempt of its own is made at it, with all that such a
one is watched for. So nothing here decides what a failure means.

Runs in a worker, as an attempt does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from wgetpool import process, proof, wget
from wgetpool.batches import SMALL
from wgetpool.batchlog import BatchLog, Came
from wgetpool.failures import server_time
from wgetpool.model import (
    AttemptOrder,
    Clock,
    Ending,
    Finding,
    Handle,
    Launcher,
    Outcome,
    Recall,
    StopFlag,
    WholePart,
)
from wgetpool.part import Part, claim
from wgetpool.store import Store

LIFE = 5.0  # seconds after which the rest are better tried one by one
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
    """What has become of each order, in their order: whole, or UNTRIED; STOPPED when the run stops.

    All have the same settings, and go to one host.
    """
    store = Store(orders[0].directory, orders[0].locking)
    with ExitStack() as claims:
        parts = {order.entry.name: _claim(store, order, claims) for order in orders}
        claimed = [order for order in orders if parts[order.entry.name] is not None]
        batch = _Batch(claimed, parts, stop=stop, clock=clock, recall=recall)
        if claimed and not stop.is_set():
            with suppress(OSError):  # whoever is tried next has the same trouble, and names it
                batch.run(environment, launch)
        for order in claimed:
            if order.entry.name not in batch.outcomes:
                batch.clear(order)
    ending = Ending.STOPPED if stop.is_set() else Ending.UNTRIED
    nothing = {order.entry.name: Outcome(name=order.entry.name, ending=ending) for order in orders}
    return list((nothing | batch.outcomes).values())


def _claim(store: Store, order: AttemptOrder, claims: ExitStack) -> Part | None:
    """The file's part; None where there is something of it, or that is another run's."""
    name = order.entry.name
    try:
        store.make_folder(name)
        part = claim(store, name)
        if part is not None:
            claims.enter_context(part)
            return None if part.length() or os.path.lexists(store.final(name)) else part
    except OSError:
        pass
    return None


class _Batch:
    """`outcomes` of the files that are whole, by name."""

    def __init__(
        self,
        orders: Sequence[AttemptOrder],
        parts: dict[str, Part | None],
        *,
        stop: StopFlag,
        clock: Clock,
        recall: Recall,
    ) -> None:
        self._orders, self._parts = orders, parts
        self._stop, self._clock, self._recall = stop, clock, recall
        self._log = BatchLog([order.entry.url for order in orders], most=SMALL)
        self._last_at = clock.now()
        self.outcomes: dict[str, Outcome] = {}

    def run(self, environment: tuple[bytes, ...], launch: Launcher) -> None:
        """Raises OSError; what is whole until then is."""
        first = self._orders[0]
        into = os.memfd_create("batch", os.MFD_CLOEXEC)
        try:
            command = wget.batch_command(
                first.wget,
                [order.entry.url for order in self._orders],
                into,
                timeout=first.limits.timeout,
                most=SMALL * len(self._orders),
                access=first.access,
                environment=environment,
            )
            child = launch(command)
            try:
                self._follow(child, into)
            finally:
                _, log = child.close()
            self._take(log, into)
        finally:
            os.close(into)

    def clear(self, order: AttemptOrder) -> None:
        """Leaves nothing of a file that is not whole."""
        part = self._parts[order.entry.name]
        with suppress(OSError):
            if part is not None and part.length():
                os.ftruncate(part.descriptor, 0)

    def _follow(self, child: Handle, into: int) -> None:
        """Takes what comes, until the wget has ended, or is of no more use."""
        limits = self._orders[0].limits
        patience = [LIFE, *filter(None, (limits.attempt_timeout, limits.stall_timeout))]
        deadline = self._clock.now() + min(patience)
        while not self._log.is_over and not child.wait(TICK, stop=self._stop):
            if self._stop.is_set() or self._clock.now() >= deadline or self._is_recalled():
                break
            process.pause(BREATH, stop=self._stop)
            self._take(child.read_log(), into)

    def _is_recalled(self) -> bool:
        return any(self._recall(order.entry.name) for order in self._orders)

    def _take(self, log: bytes, into: int) -> None:
        for came in self._log.read(log):
            now = self._clock.now()
            self._keep(came, os.pread(into, came.size, came.start), now - self._last_at)
            self._last_at = now

    def _keep(self, came: Came, data: bytes, seconds: float) -> None:
        """Makes the part of what came, where that is whole and right."""
        order = self._orders[came.place]
        entry, remote = order.entry, came.head.remote
        part = self._parts[entry.name]
        assert part is not None, entry.name  # noqa: S101
        if len(data) < came.size or os.pwrite(part.descriptor, data, 0) < came.size:
            return
        verdict = proof.check(
            part.descriptor,
            entry,
            size=came.size,
            told=remote.size,
            digests=proof.Digests(proof.algorithms(entry, order.checks)),
            checks=order.checks,
            stop=self._stop,
        )
        if verdict is None or verdict.complaint is not None:
            return
        told_at = server_time(came.head)
        ahead = None if told_at is None else (told_at - self._clock.wall()).total_seconds()
        self.outcomes[entry.name] = Outcome(
            name=entry.name,
            ending=Ending.EXITED,
            seconds=seconds,
            after=came.size,
            received=came.size,
            finding=Finding.FITS,
            status=came.head.status,
            server_ahead=ahead,
            remote=remote,
            whole=WholePart(
                name=entry.name,
                claim=part.hand_over(),
                inode=part.inode(),
                size=came.size,
                proof=verdict.proof,
                sha256=verdict.sha256,
                last_modified=remote.last_modified,
            ),
        )
