"""The words of wgetpool: its types and the protocols of its seams.

No I/O, no clock, and no import of another module of the package. Everything here is immutable and
can be pickled: an order may be carried out by another process or machine than the one that gave it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

# ---------------------------------------------------------------- what the user asked for


class Url:
    """A URL whose query and password only `reveal` gives: a signed URL is a secret."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The URL as the list has it, byte for byte. For wget's standard input and nothing else."""
        return self._text

    @property
    def host(self) -> str:
        """Host and port, as a user would name them, without user and password."""
        return urlsplit(self._text).netloc.rpartition("@")[2]

    @property
    def path(self) -> str:
        """The path, without query and fragment."""
        return urlsplit(self._text).path

    @property
    def has_query(self) -> bool:
        return "?" in self._text

    @property
    def has_login(self) -> bool:
        return "@" in urlsplit(self._text).netloc

    def __str__(self) -> str:
        parts = urlsplit(self._text)
        return f"{parts.scheme}://{self.host}{parts.path}" + ("?..." if self.has_query else "")

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest that the list tells: `algorithm` is md5, sha1, sha256 or sha512, `hex` is lower
    case.
    """

    algorithm: str
    hex: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A wanted file. `name` is relative to DIR, with `/` between folders; `size` is in bytes;
    `cut`: its link lacks what the others of its list have.
    """

    name: str
    url: Url
    size: int | None = None
    checksums: tuple[Checksum, ...] = ()
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """`tries`: attempts in a row without real progress. Waits are seconds."""

    tries: int = 5
    backoff: float = 5.0
    backoff_max: float = 300.0
    retry_status: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long one attempt may take, in seconds; `min_rate` is bytes a second. 0 means no limit."""

    timeout: float = 60.0
    stall_timeout: float = 120.0
    min_rate: int = 1024
    attempt_timeout: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """What is done with a file beside what the list demands: `sha256` is taken for the ledger,
    `archives` are read to their end.
    """

    sha256: bool = True
    archives: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a site's wget needs beside the URL. `headers` are lines (`Name: value`), `cookies` what
    a cookies.txt holds, `options` wgetrc commands with their values. All of it may be secret: only
    `wget` reads it, and no representation shows it.
    """

    headers: tuple[str, ...] = field(default=(), repr=False)
    user_agent: str | None = field(default=None, repr=False)
    cookies: bytes = field(default=b"", repr=False)
    netrc: bool = False
    options: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How much of servers, line and disk a run takes. `per_host` attempts at a time at one host (0:
    no limit), `limit_rate` bytes a second of all together (0: no limit), `min_free` bytes that stay
    free on DIR's file system. `force`: it begins though there is not room for all.
    """

    per_host: int = 0
    limit_rate: int = 0
    min_free: int = 1 << 30
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One `wgetpool get`. `directory` is DIR, absolute; `wget` is the program, absolute. Without
    `locking` the user warrants that nobody else works on DIR. `wait_for_links` is how many seconds
    a run waits for a fresh links file when all its links have expired (0: not at all).
    """

    directory: Path
    wget: str
    workers: int = 4
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    limits: Limits = field(default_factory=Limits)
    checks: Checks = field(default_factory=Checks)
    access: Access = field(default_factory=Access)
    manners: Manners = field(default_factory=Manners)
    locking: bool = True
    remote_time: bool = False
    skip_gone: bool = False
    wait_for_links: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user wants to see. `interval` is seconds between two lines of progress; 0: none."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    interval: float = 60.0


# ---------------------------------------------------------------- servers, parts, attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """The size (bytes) and the validators of what the server has. `etag` is a strong one, or
    None.
    """

    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last response head of an attempt: what the server said about the body that it sent.

    `start` is the offset that a 206 begins at, `remote.size` the size of the whole file, `length`
    that of this body. `retry_after` and `date` are the headers' texts, as sent, `age` is seconds:
    so long ago a cache got the answer, date and all. `astray` is the scheme of a redirect that is
    neither http nor https.
    """

    status: int
    reason: str = ""
    start: int = 0
    length: int | None = None
    remote: RemoteFile = field(default_factory=RemoteFile)
    retry_after: str | None = None
    date: str | None = None
    age: int = 0
    astray: str = ""


class Trouble(StrEnum):
    """What wget itself complained of, where no HTTP status tells."""

    NONE = "no complaint"
    DNS = "the name of the server cannot be resolved"
    REFUSED = "connection refused"
    TIMED_OUT = "the server did not answer in time"
    UNREACHABLE = "the server cannot be reached"
    CLOSED = "the connection was closed early"
    UNTRUSTED = "the server's certificate is not trusted"
    DATE = "the server's certificate is not valid now"
    HOST_NAME = "the server's certificate is for another host name"
    NO_TLS = "no TLS connection with the server"
    AUTHENTICATION = "the server wants a user name and a password"
    REDIRECTS = "the server redirects in a loop"
    NO_TUNNEL = "the proxy does not connect to the server"
    BAD_PROXY = "the proxy is named in a way that wget does not understand"
    CANNOT_WRITE = "the part cannot be written"
    USAGE = "wget does not understand its options"
    KILLED = "wget was killed by a signal"
    OTHER = "wget failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """All that one wget told: its exit code (negative: the signal that ended it), the last head,
    its complaint.

    `detail` is the system's word for it ("No space left on device"), what is wrong with the
    certificate, or the proxy's status, where there is one.
    """

    exit_code: int
    head: Head | None = None
    trouble: Trouble = Trouble.NONE
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A process to start. `stdin` holds a secret; `env` is its environment, a `NAME=value` each, to
    which `mark` is added: the file that it works for. `keep_open` is inherited; `stdout` is a
    descriptor, where it is not the log. `private` are files in memory, open in the child as
    descriptors PRIVATE and following. `file_limit`: no file that it writes gets longer, in bytes
    (None: no limit of ours). `is_followed`: a wait for it ends whenever it has printed something.
    """

    argv: tuple[str, ...]
    stdin: bytes = field(default=b"", repr=False)
    private: tuple[bytes, ...] = field(default=(), repr=False)
    file_limit: int | None = None
    env: tuple[bytes, ...] = field(repr=False)
    mark: str = ""
    keep_open: int | None = None
    stdout: int | None = None
    is_followed: bool = False


PRIVATE = 5  # the first descriptor of a command's private files


class Link(Enum):
    """How far a process has come with its connection."""

    NONE = auto()  # it has no TCP socket: the server's name is not resolved yet
    CONNECTING = auto()
    CONNECTED = auto()


class ProcessState(Enum):
    """What a process is doing."""

    ALIVE = auto()
    STOPPED = auto()  # by SIGSTOP, or by a debugger
    BLOCKED = auto()  # state D: the disk does not answer
    ENDED = auto()  # a zombie, or gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the system tells of a process: its state, the bytes that it has read so far, from
    anything (None: not told), and how far its connection is (None: not looked at).
    """

    state: ProcessState
    read: int | None = None
    link: Link | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """A process that a dead run left behind. `part` is the file that it works for."""

    pid: int
    run: str
    part: str


class Approach(Enum):
    """How the next attempt treats what is in the part."""

    CONTINUE = auto()  # compare the last bytes, go on behind them
    STEP_BACK = auto()  # the last bytes differed: compare further back
    STEPPED_BACK = auto()  # and nobody answered: the part ends further back now, compare there
    RESTART = auto()  # nothing of the part can be used


class Finding(Enum):
    """What an attempt showed about the part that it continued."""

    NOTHING = auto()  # no byte came that could tell
    FITS = auto()  # the compared bytes are the server's, or there was nothing to compare
    DIFFERS = auto()  # the compared bytes, or the answer's size, are not those of the part
    CHANGED = auto()  # size or validators show another file
    LONGER = auto()  # the part is longer than the file
    RANGE_IGNORED = auto()  # the server answered a range with the whole file
    FOREIGN = auto()  # by the list's size the answer is another file: a page, most likely


class Worth(Enum):
    """What a file under its final name is worth that the ledger does not know."""

    WHOLE = auto()  # as long as the server's, and equal at its end: to be taken over
    TORN = auto()  # shorter, and equal at its end: to be continued
    OTHER = auto()  # anything else: to be replaced, once its replacement is whole


class Ending(Enum):
    """What became of the process."""

    EXITED = auto()
    STALLED = auto()
    TIMED_OUT = auto()  # --attempt-timeout
    CUT_SHORT = auto()  # ended by us: its answer was of no use for the part
    STOPPED = auto()  # ended by us: the run stops
    RECALLED = auto()  # ended by us: the file is to wait, or to go on in another way
    NO_ROOM = auto()  # the disk is full, or the part came to its ceiling
    NOT_STARTED = auto()
    UNTRIED = auto()  # not by a wget for several files: this one is to have its own
    SHORT = auto()  # not started: the machine gives no more for now, or there is no wget
    STUCK = auto()  # state D: not even SIGKILL has ended it, and it holds the part still
    ELSEWHERE = auto()  # another live run holds the part


class EndedFor(StrEnum):
    """What an attempt was ended for by us."""

    STOPPED = "stopped"  # the run stops
    NO_ROOM = "no_room"  # it waits for room on the disk
    SHARE = "share"  # it goes on at once, with another share of the line


# ---------------------------------------------------------------- failures, orders, outcomes


class FailureClass(StrEnum):
    """What is done about a failure."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    EXPIRED = "expired"
    BROKEN = "broken"
    LOCAL = "local"


class Cause(StrEnum):
    """What lies behind a failure: what a person can do about it depends on this."""

    NAME_SERVICE = "name_service"
    CONNECTION = "connection"  # reset, or closed early
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"  # no answer
    STALLED = "stalled"  # an answer that stopped or trickled
    TIME_LIMIT = "time_limit"  # --attempt-timeout
    PROXY = "proxy"  # cannot be reached, or refuses
    PROXY_LOGIN = "proxy_login"  # 407
    TLS = "tls"  # no connection, whatever the certificate
    CERTIFICATE = "certificate"  # nobody known has signed it
    CERTIFICATE_DATE = "certificate_date"
    CERTIFICATE_NAME = "certificate_name"
    LOGIN = "login"  # 401: user and password
    EXPIRED = "expired"
    CUT_LINK = "cut_link"  # it lacks what stood behind an &
    FORBIDDEN = "forbidden"  # 403
    LEGAL = "legal"  # 451
    NOT_FOUND = "not_found"  # 404, 410
    RATE_LIMITED = "rate_limited"  # 429
    SERVER = "server"  # 408, 425, 5xx
    REQUEST = "request"  # other 4xx
    REDIRECT = "redirect"  # in a loop, or to what is not fetched
    NO_FILE = "no_file"  # an answer that is something else
    NO_RANGES = "no_ranges"  # the server does not continue a file
    CHANGED = "changed"  # the server has another file than the part is of
    SIZE = "size"  # not what the list tells
    CHECKSUM = "checksum"
    ARCHIVE = "archive"
    TOO_LARGE = "too_large"  # for the file system, or ulimit -f
    NAME = "name"  # it cannot be made in DIR
    IN_USE = "in_use"  # somebody else writes to it
    NO_SPACE = "no_space"
    NOT_WRITABLE = "not_writable"
    DISK = "disk"  # it fails, or does not answer
    MACHINE = "machine"  # no memory, no descriptor, no wget
    KILLED = "killed"  # wget, or stopped, by a signal
    OTHER = "other"


TOO_MUCH = frozenset({429, 503})  # by which a server says that it is asked for too much


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt did not bring the whole file. `reason` is for people; `retry_after` is
    seconds.
    """

    kind: FailureClass
    reason: str
    cause: Cause = Cause.OTHER
    status: int | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class FileId:
    """One state of one file: changed as soon as one of these is. `modified` is in nanoseconds."""

    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, found: os.stat_result) -> FileId:
        return cls(found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptOrder:
    """One attempt at one file, as a worker gets it.

    `examine`: a file of this name that the ledger does not know is to be looked at first.
    `replaces`: it has been, and this file is to be replaced. `told_size` is what the server has
    told in an earlier attempt, `broken_sha256` what was broken when it came the last time. `rate`
    is the most that it may take of the line, in bytes a second; `ceiling` the most bytes that the
    part may come to (None: no limit).
    """

    directory: Path
    wget: str
    entry: Entry
    attempt: int
    approach: Approach
    limits: Limits
    retry_status: frozenset[int] = frozenset()
    checks: Checks = field(default_factory=Checks)
    access: Access = field(default_factory=Access)
    rate: int | None = None
    ceiling: int | None = None
    locking: bool = True
    examine: bool = False
    replaces: FileId | None = None
    told_size: int | None = None
    broken_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WholePart:
    """A part that is whole and has passed its checks; `proof` names what shows that it is whole.

    `claim` is the open descriptor that holds the part's lock: whoever gets this has the claim, and
    closes it. `recorded`: the part has a record. `replaces` is the file that may be overwritten.
    `adopted` is the file that has its final name already; the part is of no use then.
    """

    name: str
    claim: int
    inode: int
    size: int
    proof: tuple[str, ...]
    sha256: str | None = None
    recorded: bool = False
    last_modified: str | None = None
    replaces: FileId | None = None
    adopted: FileId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an attempt came to. `before` and `after` are the part's length in bytes, `received` what
    the attempt brought; `status` is that of the last answer.

    Exactly one of `whole` and `failure` is set when the process was started and not stopped by us.
    `replaces` is what an examination found to be worth nothing, `note` says why. `rejected`: what
    came was whole and wrong, with this `sha256` where that is known; `final`: and would be again.
    `server_ahead` is by how many seconds the server's clock is before ours, where it told its time.
    """

    name: str
    ending: Ending
    seconds: float = 0.0
    before: int = 0
    after: int = 0
    received: int = 0
    finding: Finding = Finding.NOTHING
    status: int | None = None
    server_ahead: float | None = None
    remote: RemoteFile = field(default_factory=RemoteFile)
    whole: WholePart | None = None
    failure: Failure | None = None
    rejected: bool = False
    final: bool = False
    sha256: str | None = None
    examined: bool = False
    replaces: FileId | None = None
    note: str = ""


class FileState(StrEnum):
    """Where a file stands in a run."""

    PENDING = "pending"
    RUNNING = "running"
    CHECKING = "checking"
    BACKOFF = "backoff"
    HELD = "held"  # until there is room, or a fresh link
    ELSEWHERE = "elsewhere"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


# ---------------------------------------------------------------- what the ledger keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """What the ledger knows of a file. Never a query string. Times are ISO 8601 with offset.

    `state` is pending, publishing, done or failed. `publishing`: all checks passed, and the file
    with this `inode` is renamed as soon as it is on the disk; found under its final name, it is
    whole.
    """

    name: str
    state: str
    size: int | None = None
    inode: int | None = None
    proof: tuple[str, ...] = ()
    attempts: int = 0
    reason: str | None = None
    class_: str | None = None
    cause: str | None = None
    seconds: float | None = None
    finished: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One attempt that is over, as the ledger keeps it: `started` is ISO 8601 with offset, `bytes`
    the part's length at its end.

    `ending` is done, adopted (it was there), failed, or as in EndedFor. `retry_in` is seconds, None
    where there was no other attempt.
    """

    name: str
    run: str
    attempt: int
    started: str
    seconds: float
    bytes: int
    received: int
    ending: str
    status: int | None = None
    reason: str | None = None
    class_: str | None = None
    cause: str | None = None
    retry_in: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """How far a run was at one moment: `at` is ISO 8601 with offset, the rest as in `Progress`."""

    run: str
    at: str
    seconds: float
    files: int
    done: int
    skipped: int
    failed: int
    running: int
    waiting: int
    bytes: int
    received: int
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Why a file that is still to come is not tried now."""

    name: str
    reason: str
    cause: str


Row = FileRecord | AttemptRecord | Sample | Hold


# ---------------------------------------------------------------- seams


class Clock(Protocol):
    """Time. `now` is monotonic seconds, for durations and deadlines, without those between `stop`
    and `go_on`; `wall` is for people and servers.
    """

    def now(self) -> float: ...

    def stop(self) -> None: ...

    def go_on(self) -> None: ...

    def wall(self) -> datetime: ...


class Handle(Protocol):
    """A running child, in the hands of the one thread that started it. `close` ends it and tells
    exit code and log; no code: it could not be ended.
    """

    @property
    def pid(self) -> int: ...

    def wait(self, timeout: float, *, stop: StopFlag) -> bool: ...

    def read_log(self) -> bytes: ...

    def look(self, *, link: bool = False) -> Sight: ...

    def close(self) -> tuple[int | None, bytes]: ...


class Launcher(Protocol):
    """Starts a child; raises OSError where the system cannot."""

    def __call__(self, command: Command, /) -> Handle: ...


class StopFlag(Protocol):
    """Set once, when the run stops. `fileno` becomes readable then, so that a wait can end at
    once.
    """

    def is_set(self) -> bool: ...

    def set(self) -> None: ...

    def fileno(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshLinks:
    """What a links file says that was replaced during the run: the URLs by name, or why it is not
    taken. `source` names it; `left_out` says which links of it are not taken, and why; `missing`
    counts chosen names that it lacks.
    """

    source: str
    links: Mapping[str, Url] = field(default_factory=dict, repr=False)
    complaint: str = ""
    left_out: str = ""
    missing: int = 0


class Relister(Protocol):
    """Watches the links files of a run; `names` names them. `look` returns those that were replaced
    since the last look. One thread.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    def look(self) -> list[FreshLinks]: ...


class Recall(Protocol):
    """Whether the main thread wants an attempt back: its part stays, and goes on later."""

    def __call__(self, name: str, /) -> bool: ...


class Inbox(Protocol):
    """Where the main loop waits: finished futures and signals arrive here. `get` raises
    TimeoutError when nothing has come after so many seconds.
    """

    def put(self, item: Any, /) -> None: ...

    def get(self, *, timeout: float | None = None) -> Any: ...
