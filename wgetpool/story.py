"""A file's whole story: each attempt with what it brought and how it ended, what proved the file,
what comes next. Pure, but for reading the ledger; never a URL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime

from wgetpool.advice import next_step
from wgetpool.folder import FileStatus, Folder
from wgetpool.ledger import read_attempts
from wgetpool.model import AttemptRecord, Cause, EndedFor
from wgetpool.words import count, format_duration, format_left, format_rate, format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """`attempts` in their order, each with its number: those before the first one are not kept.
    `now` is what goes on with the file, `next_step` what is to be done about it; empty: nothing.
    """

    file: FileStatus
    attempts: list[tuple[int, AttemptRecord]]
    now: str
    next_step: str


def read_story(folder: Folder, file: FileStatus) -> Story:
    """What is known of the file, from the ledger and from the runs that are live."""
    going_on = "; ".join(_going_on(folder, file))
    waits_for = "" if going_on else _waits_for(folder, file)
    return Story(
        file=file,
        attempts=read_attempts(folder.store.ledger, file.name),
        now=going_on or waits_for,
        next_step="" if going_on else _next_step(folder, file, is_held=bool(waits_for)),
    )


def _going_on(folder: Folder, file: FileStatus) -> Iterator[str]:
    for run in folder.runs:
        for running in run.running:
            if running.name == file.name:
                rate = "" if running.rate is None else f", {format_rate(running.rate)}"
                yield f"try {running.attempt} runs since {format_duration(running.since)}{rate}"
        for waiting in run.waiting:
            if waiting.name == file.name:
                when = f"in {format_left(waiting.due_in)}" if waiting.due_in else "next"
                yield f"try {waiting.attempt} begins {when}"


def _waits_for(folder: Folder, file: FileStatus) -> str:
    """What the file waits for; empty where no live run holds it. Of a run that cannot be seen only
    the ledger tells.
    """
    if file.state not in {"partial", "pending"}:
        return ""
    runs = folder.runs
    if file.cause is Cause.EXPIRED and any(run.expired or not run.seen for run in runs):
        return "it waits for a fresh link"
    if file.cause is Cause.NO_SPACE and any(run.no_room or not run.seen for run in runs):
        return "it waits for room on the disk"
    return ""


def _next_step(folder: Folder, file: FileStatus, *, is_held: bool) -> str:
    if file.state == "done":
        return ""
    if file.state == "failed" and file.cause in {None, Cause.OTHER}:  # that was all
        return "Run the same wgetpool get again: it tries the file once more."
    if file.cause is not None and (file.state == "failed" or is_held or not folder.runs):
        return next_step(file.cause, directory=str(folder.store.directory))
    if folder.runs:
        return "Nothing: the run comes to it."
    if not file.bytes:
        return "The same wgetpool get fetches it."
    return "Run the same wgetpool get again: it goes on with what is here."


# ---------------------------------------------------------------- for people


def lines_of(story: Story) -> Iterator[str]:
    """The story, a line an attempt."""
    file = story.file
    yield f"{file.name}: {', '.join(_outline(file))}"
    earlier = story.attempts[0][0] - 1 if story.attempts else 0
    if earlier:
        yield f"  ({count(earlier, 'earlier attempt')} no longer known)"
    run, before = None, None if earlier else 0
    for number, attempt in story.attempts:
        if run not in {None, attempt.run}:
            yield "  -- another run"
        run = attempt.run
        yield f"  {_stamp(attempt.started)}  try {number}: {_account(attempt, before)}"
        before = attempt.bytes
    if not (story.attempts or story.now or file.state == "done"):
        yield "  no attempt at it is known" if file.bytes or file.attempts else "  not tried yet"
    if story.now:
        yield f"  now: {story.now}"
    if file.state == "done":
        yield f"  proved by: {', '.join(file.proof) or 'nothing: the server told no length'}"
    if file.sha256:
        yield f"  sha256: {file.sha256}"
    if story.next_step:
        yield f"  next: {story.next_step}"


def _outline(file: FileStatus) -> Iterator[str]:
    yield {"partial": "begun", "pending": "to come"}.get(file.state, file.state)
    if file.state == "done" and not file.bytes and file.size:
        yield f"{format_size(file.size)}, no longer in its folder"
    elif file.state == "done":
        yield format_size(file.bytes)
    elif file.bytes:
        whole = f" of {format_size(file.size)}" if file.size else ""
        yield f"{format_size(file.bytes)}{whole} here"
    if file.reason:
        yield file.reason


def _account(attempt: AttemptRecord, before: int | None) -> str:
    """What an attempt came to: '1.4 GiB in 12 s, HTTP 200: the connection was closed early; ...'.
    Bytes are those that are new behind what was there `before`, where that is known.
    """
    new = attempt.received if before is None else max(attempt.bytes - before, 0)
    came = f"{format_size(new)} in {format_duration(attempt.seconds)}"
    status = "" if attempt.status is None else f", HTTP {attempt.status}"
    match _ending(attempt):
        case "done":
            return f"{came}{status}: whole"
        case "adopted":
            return f"looked at{status}: it was here already, and is whole"
        case EndedFor() as why:
            return f"{came}, then ended {_ENDED[why]}; {format_size(attempt.bytes)} stayed here"
    again = "no other try"
    if attempt.retry_in is not None:
        again = f"again in {format_left(attempt.retry_in)}" if attempt.retry_in else "again at once"
    told = attempt.reason or "failed"
    status = "" if told.startswith("HTTP") else status
    return f"{came}{status}: {told}; {again}"


def _ending(attempt: AttemptRecord) -> str:
    return EndedFor(attempt.ending) if attempt.ending in set(EndedFor) else attempt.ending


_ENDED = {
    EndedFor.STOPPED: "with its run",
    EndedFor.NO_ROOM: "for want of room on the disk",
    EndedFor.SHARE: "to go on with another share of --limit-rate",
}


def _stamp(text: str) -> str:
    """In the clock of whoever reads it."""
    try:
        return f"{datetime.fromisoformat(text).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return text


# ---------------------------------------------------------------- for programs


def as_object(story: Story) -> dict[str, object]:
    """What `status NAME --json` adds to what it tells of each file."""
    return {
        "story": [_attempt_object(number, one) for number, one in story.attempts],
        "next_step": story.next_step or None,
    }


def _attempt_object(number: int, attempt: AttemptRecord) -> dict[str, object]:
    fields = asdict(attempt)
    del fields["name"]
    return {"number": number, **{key.removesuffix("_"): value for key, value in fields.items()}}
