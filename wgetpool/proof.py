"""What shows that a file is whole: its size, its digests and its structure, held against what is
told.

Digests are taken behind a part that grows, so that a file of 11 GB is not read once more at its
end.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wgetpool.model import (
    Cause,
    Checks,
    Checksum,
    Entry,
    Failure,
    FailureClass,
    FileId,
    StopFlag,
)

BLOCK = 1 << 20


class Digests:
    """The digests of a file's first `position` bytes."""

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
        self.position = 0

    def follow(self, descriptor: int, end: int, *, stop: StopFlag) -> bool:
        """Reads on up to `end`, or to the file's end before that; False when the run stops
        meanwhile.
        """
        while self._hashes and self.position < end:
            if stop.is_set():
                return False
            block = os.pread(descriptor, min(BLOCK, end - self.position), self.position)
            if not block:
                break
            for each in self._hashes.values():
                each.update(block)
            self.position += len(block)
        return True

    def hex(self) -> dict[str, str]:
        """Hexadecimal digests by algorithm."""
        return {name: each.hexdigest() for name, each in self._hashes.items()}


class Trails:
    """The digests of unfinished parts between two attempts. They are good for as long as nobody
    else has touched the part.

    Shared by the workers: whoever holds a part's claim is the only one that asks for its name.
    """

    def __init__(self) -> None:
        self._left: dict[str, tuple[FileId, Digests]] = {}

    def take(self, name: str, found: os.stat_result, *, end: int) -> Digests | None:
        """Those of the part as it was found; None where they are not good for its first `end`
        bytes.
        """
        known, digests = self._left.pop(name, (None, None))
        return (
            digests if digests and known == FileId.of(found) and digests.position <= end else None
        )

    def leave(self, name: str, found: os.stat_result, digests: Digests) -> None:
        if digests.position:
            self._left[name] = (FileId.of(found), digests)

    def drop(self, name: str) -> None:
        self._left.pop(name, None)


def algorithms(entry: Entry, checks: Checks) -> set[str]:
    """The digests that this file needs."""
    return {each.algorithm for each in entry.checksums} | ({"sha256"} if checks.sha256 else set())


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a file's checks: `complaint` says what is wrong with it, `cause` which of them
    it failed. `final`: and fetching it anew would not help, since it is what its list says that it
    is.
    """

    proof: tuple[str, ...] = ()
    sha256: str | None = None
    complaint: str | None = None
    cause: Cause = Cause.OTHER
    final: bool = False

    def failure(self, *, again: bool, status: int | None) -> Failure:
        """What is wrong with the file; `again`: the same bytes have come before."""
        told = ", the same as before" if again else ""
        if self.final:
            told = ", though its checksum is right"
        return Failure(
            kind=FailureClass.BROKEN,
            cause=self.cause,
            reason=f"{self.complaint}{told}",
            status=status,
        )


def check(
    descriptor: int,
    entry: Entry,
    *,
    size: int,
    told: int | None,
    digests: Digests,
    checks: Checks,
    stop: StopFlag,
) -> Verdict | None:
    """Holds a file of `size` bytes against its list, and an archive against itself. `told` is the
    size that the server tells; `digests` are taken to the file's end. None when the run stops
    meanwhile.
    """
    if not digests.follow(descriptor, size, stop=stop):
        return None
    found = digests.hex()
    sha256 = found.get("sha256")
    if entry.size is not None and size != entry.size:
        complaint = f"its size is {size:,} bytes, the list says {entry.size:,}"
        return Verdict(complaint=complaint, cause=Cause.SIZE, sha256=sha256)
    if unlike := mismatch(found, entry.checksums):
        return Verdict(complaint=unlike, cause=Cause.CHECKSUM, sha256=sha256)
    proved = ["size"] if told is not None or entry.size is not None else []
    proved += [each.algorithm for each in entry.checksums]
    if checks.archives:
        from wgetpool.archive import State  # noqa: PLC0415  its libraries take time to load
        from wgetpool.archive import check as check_archive  # noqa: PLC0415

        condition = check_archive(Path(f"/proc/self/fd/{descriptor}"), stop=stop)
        if condition is None:
            return None
        if condition.state is State.BROKEN:
            complaint = f"the archive is broken: {condition.reason}"
            return Verdict(
                complaint=complaint,
                cause=Cause.ARCHIVE,
                sha256=sha256,
                final=bool(entry.checksums),
            )
        if condition.state is State.WHOLE:
            proved.append("archive")
    return Verdict(proof=tuple(proved), sha256=sha256)


def mismatch(found: dict[str, str], listed: Iterable[Checksum]) -> str | None:
    """A sentence for the first listed checksum that the file does not have; None when all agree."""
    for checksum in listed:
        if found[checksum.algorithm] != checksum.hex:
            return f"its {checksum.algorithm} is not the listed one"
    return None
