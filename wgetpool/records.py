"""What the ledger keeps of what happens: events in, rows out. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from wgetpool.events import (
    AttemptDone,
    AttemptFailed,
    AttemptStopped,
    Event,
    FileFailed,
    FileHeld,
    Progress,
)
from wgetpool.model import AttemptRecord, FileRecord, Hold, Row, Sample, WholePart


def row_of(event: Event, *, run: str, at: datetime) -> Row | None:
    """The row for an event that happened `at` this moment; None for one that the ledger does not
    keep.
    """
    match event:
        case FileFailed():
            return FileRecord(
                name=event.name,
                state="failed",
                attempts=event.attempts,
                reason=event.reason,
                class_=event.class_,
                cause=event.cause,
                seconds=event.seconds,
                size=event.size,
                sha256=event.sha256,
                finished=_stamp(at),
            )
        case FileHeld():
            return Hold(name=event.name, reason=event.reason, cause=event.cause)
        case AttemptDone():
            ending = "adopted" if event.adopted else "done"
            return replace(_attempt(event, run, at, ending), status=event.status)
        case AttemptStopped():
            return _attempt(event, run, at, event.why)
        case AttemptFailed():
            return replace(
                _attempt(event, run, at, "failed"),
                status=event.status,
                reason=event.reason,
                class_=event.class_,
                cause=event.cause,
                retry_in=event.retry_in,
            )
    return None


def _attempt(
    event: AttemptDone | AttemptFailed | AttemptStopped,
    run: str,
    at: datetime,
    ending: str,
) -> AttemptRecord:
    return AttemptRecord(
        name=event.name,
        run=run,
        attempt=event.attempt,
        started=_stamp(at - timedelta(seconds=event.seconds)),
        seconds=event.seconds,
        bytes=event.bytes,
        received=event.received,
        ending=ending,
    )


def done_row(whole: WholePart, *, attempts: int, seconds: float, at: datetime) -> FileRecord:
    """For a file that is about to be published."""
    return FileRecord(
        name=whole.name,
        state="done",
        size=whole.size,
        inode=whole.inode,
        proof=whole.proof,
        sha256=whole.sha256,
        attempts=attempts,
        seconds=seconds,
        finished=_stamp(at),
    )


def sample_of(progress: Progress, *, run: str, at: datetime) -> Sample:
    return Sample(
        run=run,
        at=_stamp(at),
        seconds=round(progress.seconds, 3),
        files=progress.files,
        done=progress.done,
        skipped=progress.skipped,
        failed=progress.failed,
        running=len(progress.running),
        waiting=progress.waiting_count,
        bytes=progress.bytes,
        received=progress.received,
        size=progress.size,
    )


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
