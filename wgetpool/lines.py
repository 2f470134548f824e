"""What happens in a run, told to people as one line an event."""

from __future__ import annotations

from wgetpool.advice import in_general
from wgetpool.events import (
    AttemptFailed,
    AttemptStarted,
    AttemptStopped,
    Event,
    FileDone,
    FileFailed,
    FileSkipped,
    Paused,
    Progress,
    Resumed,
    RunStarted,
    Stopping,
    Waiting,
    Warned,
)
from wgetpool.model import Cause, EndedFor
from wgetpool.words import (
    count,
    format_duration,
    format_left,
    format_rate,
    format_size,
    printable,
)

_STOPPED = {
    EndedFor.NO_ROOM: ", and it waits for room on the disk",
    EndedFor.SHARE: ", to go on with another share of --limit-rate",
}


def describe(event: Event, *, verbose: bool = False) -> str | None:  # noqa: PLR0912  a line an event
    """An event as one line; the first word is fixed. None: it has no line of its own, or one in
    `verbose` output only.
    """
    line = None
    match event:
        case RunStarted():
            workers = count(event.workers, "worker")
            line = f"start {count(event.files, 'file')} into {event.directory}, {workers}"
            line += f", through the proxy {event.proxy}" if event.proxy else ""
        case AttemptStarted() if verbose:
            line = f"try {event.name}: {_beginning(event)}"
        case AttemptStarted(attempt=1) if event.bytes:
            line = f"resume {event.name} at {format_size(event.bytes)}"
        case AttemptFailed() if event.retry_in is not None:
            line = f"retry {event.name}: {event.reason}; {_again(event)}"
        case AttemptStopped() if verbose:
            why = _STOPPED.get(event.why, "")
            line = f"stopped {event.name}: {format_size(event.bytes)} are here{why}"
        case FileDone():
            tries = f", {event.attempts} tries" if event.attempts > 1 else ""
            doubt = "" if event.proof else ", nothing proves that it is whole"
            took = f"{format_size(event.bytes)} in {format_duration(event.seconds)}"
            line = f"done {event.name}: {took}{tries}{doubt}"
        case FileSkipped(why="adopted"):
            line = f"adopt {event.name}: {format_size(event.bytes)} were here, and are whole"
        case FileSkipped() if verbose:
            line = f"skip {event.name}: {event.why}"
        case FileFailed(cause=Cause.EXPIRED):
            pass  # one message tells of all of them
        case FileFailed():
            tries = f"; {event.attempts} tries" if event.attempts > 1 else ""
            line = f"failed {event.name}: {event.reason}{tries}"
        case Warned():
            line = f"warning: {event.message}"
        case Stopping():
            line = f"stopping: {event.reason}"
        case Paused():
            line = "paused"
        case Resumed():
            line = "resumed"
        case Progress():
            line = describe_progress(event)
    return None if line is None else printable(line)


def next_try(file: Waiting) -> str:
    """'try 3, again in 20 s: HTTP 503', of a file that waits."""
    when = f"again in {format_left(file.due_in)}" if file.due_in > 0 else _turn(file.reason)
    return f"try {file.attempt}, {when}: {printable(in_general(file.reason))}"


def _turn(reason: str) -> str:
    """A server that has said that it is too much may be asked for less than there are workers."""
    refused = reason.startswith(("HTTP 429", "HTTP 503"))
    return "when its server is asked for more" if refused else "when a worker is free"


def _again(event: AttemptFailed) -> str:
    """'try 2 in 20 s', 'try 2 now'."""
    when = f"in {format_left(event.retry_in)}" if event.retry_in else "now"
    return f"try {event.attempt + 1} {when}"


def _beginning(event: AttemptStarted) -> str:
    """'1', '2, from 97.7 KiB of 293 KiB on'."""
    if not event.bytes:
        return f"{event.attempt}"
    size = "" if event.size is None else f" of {format_size(event.size)}"
    return f"{event.attempt}, from {format_size(event.bytes)}{size} on"


def describe_progress(progress: Progress) -> str:
    """How far a run is."""
    whole = "" if progress.size is None else f" of {format_size(progress.size)}"
    parts = (
        f"progress {progress.done + progress.skipped:,}/{count(progress.files, 'file')}",
        f"{format_size(progress.bytes)}{whole}",
        "" if progress.rate is None else format_rate(progress.rate),
        f"{len(progress.running)} running",
        f"{progress.waiting_count} waiting" if progress.waiting_count else "",
        f"{progress.elsewhere} in another run" if progress.elsewhere else "",
        f"{progress.no_room} wait for room" if progress.no_room else "",
        f"{progress.expired} with expired links" if progress.expired else "",
        f"{progress.failed} failed" if progress.failed else "",
        "" if progress.left is None else f"about {format_left(progress.left)} left",
    )
    return ", ".join(part for part in parts if part)
