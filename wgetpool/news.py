"""What happens to a file, as events: made of its job and of what its attempt came to. Pure."""

from __future__ import annotations

from wgetpool.events import (
    AttemptDone,
    AttemptFailed,
    AttemptStarted,
    AttemptStopped,
    FileDone,
    FileFailed,
    Waiting,
)
from wgetpool.jobs import Due, Job
from wgetpool.model import EndedFor, Failure, FailureClass, Outcome, WholePart


def started(job: Job) -> AttemptStarted:
    return AttemptStarted(
        name=job.entry.name, attempt=job.attempts, bytes=job.length, size=job.size
    )


def done(job: Job, outcome: Outcome, whole: WholePart) -> AttemptDone:
    return AttemptDone(
        name=outcome.name,
        attempt=job.attempts,
        status=outcome.status,
        bytes=whole.size,
        received=outcome.received,
        seconds=round(outcome.seconds, 3),
        adopted=whole.adopted is not None,
    )


def failed(job: Job, outcome: Outcome, failure: Failure, wait: float | None) -> AttemptFailed:
    """`wait` is seconds to the next attempt, None where there is none."""
    return AttemptFailed(
        name=outcome.name,
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


def stopped(job: Job, outcome: Outcome, why: EndedFor) -> AttemptStopped:
    return AttemptStopped(
        name=outcome.name,
        attempt=job.attempts,
        bytes=outcome.after,
        received=outcome.received,
        seconds=round(outcome.seconds, 3),
        why=why,
    )


def file_done(job: Job, whole: WholePart, seconds: float) -> FileDone:
    """`seconds` since its first attempt began."""
    return FileDone(
        name=whole.name,
        bytes=whole.size,
        seconds=seconds,
        attempts=job.attempts,
        proof=whole.proof,
    )


def file_failed(job: Job, failure: Failure, seconds: float) -> FileFailed:
    return FileFailed(
        name=job.entry.name,
        reason=failure.reason,
        class_=failure.kind,
        cause=failure.cause,
        attempts=job.attempts,
        seconds=seconds,
        size=job.size,
        sha256=job.broken_sha256 if failure.kind is FailureClass.BROKEN else None,
    )


def waiting(due: Due, now: float) -> Waiting:
    return Waiting(
        name=due.job.entry.name,
        attempt=due.job.attempts + 1,
        due_in=max(due.at - now, 0.0),
        reason=due.job.reason,
    )
