"""What happens in a run, as data: display, lines, JSON and ledger are made of this one stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from wgetpool.model import Cause, EndedFor, FailureClass

SCHEMA = 1  # of the JSON: changed when a field goes, or means something else


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a run. A trailing `_` in a field's name is not part of its JSON
    key.
    """

    event: ClassVar[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """`files` is the number of selected files, `proxy` the one that wget asks, without a login.
    `schema` is that of the JSON.
    """

    event: ClassVar[str] = "run_started"
    run: str
    directory: str
    files: int
    workers: int
    proxy: str | None = None
    version: str = ""
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(Event):
    """`bytes` is what the part holds at the start; `size` is known from the list or from an earlier
    attempt.
    """

    event: ClassVar[str] = "attempt_started"
    name: str
    attempt: int
    bytes: int
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDone(Event):
    """It brought what was still missing: the file has passed its checks, and is to be published.
    `bytes` is what the part holds now, `received` what the attempt brought, `seconds` how long it
    took; so in the next two. `adopted`: the file was there already, and is taken over.
    """

    event: ClassVar[str] = "attempt_done"
    name: str
    attempt: int
    status: int | None
    bytes: int
    received: int
    seconds: float
    adopted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(Event):
    """`retry_in` is seconds, None when it was the last attempt."""

    event: ClassVar[str] = "attempt_failed"
    name: str
    attempt: int
    reason: str
    class_: FailureClass
    cause: Cause = Cause.OTHER
    status: int | None
    bytes: int
    received: int = 0
    seconds: float = 0.0
    retry_in: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStopped(Event):
    """It was ended by us, and its part stays."""

    event: ClassVar[str] = "attempt_stopped"
    name: str
    attempt: int
    bytes: int
    received: int
    seconds: float
    why: EndedFor = EndedFor.STOPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDone(Event):
    """`seconds` from the first attempt's start to the rename; `attempts` is 1 when it came at
    once.
    """

    event: ClassVar[str] = "file_done"
    name: str
    bytes: int
    seconds: float
    attempts: int
    proof: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSkipped(Event):
    """`why`: known (the ledger has it), adopted, or gone (known, no longer in DIR, and not wanted
    back).
    """

    event: ClassVar[str] = "file_skipped"
    name: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeld(Event):
    """The file is not tried before somebody brings what it waits for: a fresh link (`cause`
    expired), or room on the disk (no_space).
    """

    event: ClassVar[str] = "file_held"
    name: str
    reason: str
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFailed(Event):
    """The file's end in this run; `seconds` since its first attempt's start. `sha256` is that of
    what was broken, where it is known.
    """

    event: ClassVar[str] = "file_failed"
    name: str
    reason: str
    class_: FailureClass
    cause: Cause = Cause.OTHER
    attempts: int
    seconds: float = 0.0
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned(Event):
    """Something that a person should read; the run goes on."""

    event: ClassVar[str] = "warning"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping(Event):
    """The run was asked to end: nothing new starts. `signal` is its name, or a reason in words."""

    event: ClassVar[str] = "stopping"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Event):
    """The run and its wgets are stopped (Ctrl-Z)."""

    event: ClassVar[str] = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Event):
    """And go on (`fg`)."""

    event: ClassVar[str] = "resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """`bytes` is what came over the line in this run, `left` the files that are neither whole nor
    failed.
    """

    event: ClassVar[str] = "run_finished"
    done: int
    skipped: int
    failed: int
    left: int
    bytes: int
    seconds: float
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A file that a worker has now. `bytes` is its part's length, `since` the attempt's age in
    seconds, `rate` bytes a second, smoothed: None while it is not known.
    """

    name: str
    attempt: int
    bytes: int
    size: int | None
    since: float
    rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A file that waits for its next attempt, in `due_in` seconds."""

    name: str
    attempt: int
    due_in: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Event):
    """How far the whole run is.

    `bytes` counts the sizes of the finished files and the parts of the running and waiting ones;
    `received` is what came over the line in this run; `size` sums the sizes of all files but failed
    ones, those not known yet counted as the mean of the known ones: None while none is known.
    `rate` is bytes a second, smoothed, `left` seconds: None while they are not known. `waiting`
    holds the soonest few of `waiting_count`; `elsewhere` files are another run's, `expired` ones
    wait for a fresh link, `no_room` ones for room on the disk.
    """

    event: ClassVar[str] = "progress"
    seconds: float
    files: int
    done: int
    skipped: int
    failed: int
    bytes: int
    received: int
    size: int | None
    rate: float | None = None
    left: float | None = None
    running: tuple[Running, ...]
    waiting: tuple[Waiting, ...]
    waiting_count: int
    elsewhere: int = 0
    expired: int = 0
    no_room: int = 0


# ---------------------------------------------------------------- who listens


class Reporter(Protocol):
    """What listens to a run. `progress_interval` is how often it wants a `Progress`, in seconds;
    None: never.
    """

    @property
    def progress_interval(self) -> float | None: ...

    def handle(self, event: Event) -> None: ...

    def close(self) -> None: ...
