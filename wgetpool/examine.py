"""A file under its final name that the ledger does not know: what is it worth?

Fetched by plain wget, by an older script, or torn by a crash: never trusted, and never touched
before it has been looked at. One request for its last bytes tells the server's size and what they
should be. Runs in a worker, as a part of an attempt.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from wgetpool import failures, policy, proof, wget
from wgetpool.locks import is_being_written
from wgetpool.model import (
    AttemptOrder,
    Clock,
    Ending,
    Failure,
    FileId,
    Finding,
    Handle,
    Head,
    Launcher,
    RemoteFile,
    Reply,
    StopFlag,
    Worth,
)
from wgetpool.part import has_hole
from wgetpool.store import Store

LOOK_TICK = 0.1  # seconds between two looks at an answer, at first
PATIENCE = 120.0  # seconds for one answer of 64 KiB, where no stall time is set


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What was found: `worth`, or a `failure`, or neither when the run stops.

    `verdict` holds the proofs of a file that is WHOLE; `note` says why one is OTHER.
    """

    found: FileId
    remote: RemoteFile = field(default_factory=RemoteFile)
    received: int = 0
    ending: Ending = Ending.EXITED
    worth: Worth | None = None
    verdict: proof.Verdict | None = None
    failure: Failure | None = None
    note: str = ""


def examine(
    order: AttemptOrder,
    final: Path,
    *,
    lock: int,
    stop: StopFlag,
    clock: Clock,
    environment: tuple[bytes, ...],
    launch: Launcher,
) -> Examination:
    """Looks at the file `final`. Raises OSError; FileNotFoundError where it is gone."""
    if not stat.S_ISREG(final.lstat().st_mode):
        raise OSError(errno.EEXIST, "what is there is no regular file: left as it is", str(final))
    with ExitStack() as undo:
        try:
            descriptor = os.open(final, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except PermissionError:
            return _other(FileId.of(final.lstat()), "cannot be read")
        undo.callback(os.close, descriptor)
        into = os.memfd_create("span", os.MFD_CLOEXEC)
        undo.callback(os.close, into)
        look = _Look(order, descriptor, into, stop=stop, clock=clock)
        if look.found.size == 0:
            return _other(look.found, "is empty")
        look.demand_quiet(final)
        command = wget.span_command(
            order.wget,
            order.entry.url,
            look.span,
            into,
            timeout=order.limits.timeout,
            access=order.access,
            environment=environment,
            mark=order.entry.name,
            lock=lock,
        )
        try:
            child = launch(command)
        except OSError as error:
            failure = failures.launch_failure(error)
            return Examination(found=look.found, ending=Ending.SHORT, failure=failure)
        try:
            ending = look.watch(child)
        finally:
            exit_code, log = child.close()
        if exit_code is None:
            return Examination(found=look.found, ending=Ending.STUCK, failure=failures.STUCK)
        if ending is Ending.STOPPED:
            return Examination(found=look.found)
        return look.conclude(final, ending, wget.read_reply(log, exit_code))


class _Look:
    def __init__(
        self, order: AttemptOrder, descriptor: int, into: int, *, stop: StopFlag, clock: Clock
    ) -> None:
        self.order, self.descriptor, self.into = order, descriptor, into
        self.stop, self.clock = stop, clock
        self.folder = Store(order.directory).state
        self.found = FileId.of(os.fstat(descriptor))
        length = self.found.size
        self.span = range(max(length - policy.OVERLAP, 0), length)
        self.here = os.pread(descriptor, policy.OVERLAP, self.span.start)
        # Pieces that never came, of a tool that makes room first, are holes.
        self.means_something = self.span.start == 0 or (
            not has_hole(descriptor) and not policy.are_uniform(self.here)
        )

    def watch(self, child: Handle) -> Ending:
        """Waits for the answer, no longer than it can be of use."""
        began = self.clock.now()
        patience = self.order.limits.stall_timeout or PATIENCE
        while not child.wait(LOOK_TICK, stop=self.stop):
            if self.stop.is_set():
                return Ending.STOPPED
            if self._worth(wget.read_head(child.read_log())) is not None:
                return Ending.CUT_SHORT
            if self.clock.now() - began > patience:
                return Ending.STALLED
        return Ending.EXITED

    def _worth(self, head: Head | None) -> Worth | None:
        came = os.pread(self.into, len(self.here), 0)
        same = None if len(came) < len(self.here) else True
        if came != self.here[: len(came)]:
            same = False
        return policy.judge_stranger(head, start=self.span.start, length=self.found.size, same=same)

    def conclude(self, final: Path, ending: Ending, reply: Reply) -> Examination:
        worth = self._worth(reply.head)
        received = min(os.fstat(self.into).st_size, len(self.here))
        if worth is None:
            about = failures.Circumstances(
                order=self.order,
                ending=ending,
                finding=Finding.NOTHING,
                after=self.found.size,
                now=self.clock.wall(),
                proxy=wget.proxy_of(self.order.entry.url, os.environ),
            )
            failure = failures.classify(reply, about)
            return Examination(found=self.found, received=received, failure=failure)
        assert reply.head is not None  # noqa: S101
        remote = reply.head.remote
        if worth is Worth.OTHER:
            why = "is not what the server has"
            if reply.head.status == 200 and self.span.start:
                why = "cannot be compared, since the server sends no ranges"
            return _other(self.found, why, remote, received)
        listed = bool(self.order.entry.checksums) and worth is Worth.WHOLE
        if not self.means_something and not listed:
            return _other(self.found, "has holes, or one value at its end", remote, received)
        verdict = None
        if worth is Worth.WHOLE:
            verdict = self._check(remote)
            if verdict is None:
                return Examination(found=self.found, received=received)
            if verdict.complaint:
                return _other(self.found, f"is wrong: {verdict.complaint}", remote, received)
        self.demand_quiet(final)
        return Examination(
            found=self.found, remote=remote, received=received, worth=worth, verdict=verdict
        )

    def _check(self, remote: RemoteFile) -> proof.Verdict | None:
        entry, checks = self.order.entry, self.order.checks
        return proof.check(
            self.descriptor,
            entry,
            size=self.found.size,
            told=remote.size,
            digests=proof.Digests(proof.algorithms(entry, checks)),
            checks=checks,
            stop=self.stop,
        )

    def demand_quiet(self, final: Path) -> None:
        """Raises OSError (EBUSY) while somebody writes to the file."""
        changed = FileId.of(os.fstat(self.descriptor)) != self.found
        if changed or is_being_written(self.descriptor, self.folder):
            raise OSError(errno.EBUSY, "somebody is writing to it", str(final))


def _other(
    found: FileId, why: str, remote: RemoteFile | None = None, received: int = 0
) -> Examination:
    return Examination(
        found=found,
        remote=remote or RemoteFile(),
        received=received,
        worth=Worth.OTHER,
        note=f"the file that was there {why}: fetched anew beside it",
    )
