"""Decisions, and nothing else: what an answer is worth, what a failure means, when to try again.

Functions of data. No I/O, no clock, no randomness of its own: the caller hands in the time and the
jitter.
"""

from __future__ import annotations

import errno
import re
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

from wgetpool.model import (
    Approach,
    AttemptOrder,
    Ending,
    Failure,
    FailureClass,
    Finding,
    Head,
    Limits,
    Link,
    ProcessState,
    RemoteFile,
    Reply,
    RetryPolicy,
    Sight,
    Trouble,
    Url,
    Worth,
)

OVERLAP = 64 * 1024  # bytes of a part that are fetched again and compared
STEP = 64 * 1024**2  # bytes that a step back goes, when the compared bytes differ
REAL_PROGRESS = 64 * 1024
LONGEST_RETRY_AFTER = 3600.0

# What the server sends is of no use for the part, which is treated otherwise from then on.
USELESS = frozenset({Finding.DIFFERS, Finding.CHANGED, Finding.LONGER, Finding.RANGE_IGNORED})
# Findings that end an attempt at once.
ENDING = USELESS | {Finding.FOREIGN}

TRANSIENT_STATUS = frozenset({408, 425, 429})  # and every 5xx
EXPIRY_STATUS = frozenset({403, 410})


# ---------------------------------------------------------------- what a part is worth


def plan_offset(length: int, *, approach: Approach, listed_size: int | None) -> int:
    """The offset that an attempt goes on from, for a part of `length` bytes; 0 is a new start.

    What lies behind the offset is fetched once more and compared. A part no longer than that is
    simply fetched again.
    """
    if approach is Approach.RESTART or (listed_size is not None and length > listed_size):
        return 0
    back = STEP if approach is Approach.STEP_BACK else OVERLAP
    return max(length - back, 0)


def are_uniform(data: bytes) -> bool:
    """Whether these bytes all have one value: an equal tail of zeros proves little."""
    return data.count(data[:1]) == len(data)


def judge(
    head: Head | None,
    *,
    offset: int,
    before: int,
    known: RemoteFile,
    listed_size: int | None,
    same: bool | None,
    uniform: bool,
) -> Finding:
    """What an answer shows about a part of `before` bytes that was continued at `offset`.

    `known` is what the part was made from, `listed_size` what the list says; `same` whether the
    compared bytes are equal (None: too few have come yet); `uniform` whether they all have one
    value, so that they prove little.
    """
    if head is None or head.status not in (200, 206, 416):
        return Finding.NOTHING
    if offset == 0:
        return Finding.FITS if head.status != 416 and head.start == 0 else Finding.NOTHING
    told = head.remote.size
    if head.status == 416:
        return Finding.LONGER if told is not None and told <= offset else Finding.DIFFERS
    if head.status == 200:
        return _judge_whole(head.remote, before=before, known=known, listed_size=listed_size)
    if head.start != offset:
        return Finding.DIFFERS
    return _judge_range(head.remote, before=before, known=known, same=same, uniform=uniform)


def _judge_whole(
    remote: RemoteFile, *, before: int, known: RemoteFile, listed_size: int | None
) -> Finding:
    """A 200 to a range."""
    if _is_foreign(remote, before=before, known=known, listed_size=listed_size):
        return Finding.FOREIGN  # no reason to give the part up
    other = None not in {remote.size, known.size} and remote.size != known.size
    return Finding.DIFFERS if other else Finding.RANGE_IGNORED


def _is_foreign(
    remote: RemoteFile, *, before: int, known: RemoteFile, listed_size: int | None
) -> bool:
    """Whether a 200 to a range is not even a changed file: not what the list says, or shorter than
    what the same server once told and has sent, and without validators, as pages are.
    """
    if remote.size is None:
        return False
    if listed_size is not None:
        return remote.size != listed_size
    bare = remote.etag is None and remote.last_modified is None
    return bare and known.size is not None and remote.size < before


def _judge_range(
    remote: RemoteFile, *, before: int, known: RemoteFile, same: bool | None, uniform: bool
) -> Finding:
    if remote.size is not None and remote.size < before:
        return Finding.LONGER
    if remote.size is not None and known.size is not None and remote.size != known.size:
        return Finding.CHANGED
    dates_agree = remote.last_modified == known.last_modified and known.last_modified is not None
    if remote.etag and known.etag and remote.etag != known.etag:
        # The edges of a CDN may each have an ETag of their own: all else must agree, and the bytes
        # must mean something.
        sizes_agree = remote.size == known.size and known.size is not None
        if not (dates_agree and sizes_agree) or (same and uniform):
            return Finding.CHANGED
    elif _dates_differ(remote, known):
        return Finding.CHANGED
    if same is None:
        return Finding.NOTHING
    proved = same and not (uniform and known == RemoteFile())  # nobody knows whence the part is
    return Finding.FITS if proved else Finding.DIFFERS


def _dates_differ(remote: RemoteFile, known: RemoteFile) -> bool:
    """Whether Last-Modified shows another file; an equal ETag outweighs it."""
    if remote.etag and remote.etag == known.etag:
        return False
    dates = (remote.last_modified, known.last_modified)
    return None not in dates and dates[0] != dates[1]


def judge_stranger(
    head: Head | None, *, start: int, length: int, same: bool | None
) -> Worth | None:
    """What a file of `length` bytes is worth that somebody else has made, by the answer to a
    request for its bytes from `start` on.

    `same`: whether what came are just these bytes, and they mean something; None while too few
    have come. None while nothing can be said.
    """
    if head is None or head.status not in {200, 206, 416}:
        return None
    told = head.remote.size
    answers = head.start == start if head.status == 206 else start == 0
    if head.status == 416 or not answers or told is None or told < length or same is False:
        return Worth.OTHER
    if same is None:
        return None
    return Worth.WHOLE if told == length else Worth.TORN


def next_approach(approach: Approach, finding: Finding) -> Approach:
    """How to treat the part after an attempt that showed `finding`: one step back, then a new
    start.
    """
    match finding:
        case Finding.NOTHING | Finding.FOREIGN:
            return Approach.STEPPED_BACK if approach is Approach.STEP_BACK else approach
        case Finding.FITS:
            return Approach.CONTINUE
        case Finding.DIFFERS if approach is Approach.CONTINUE:
            return Approach.STEP_BACK
        case _:
            return Approach.RESTART


def made_progress(*, best: int, after: int, size: int | None) -> bool:
    """Whether a part that is now `after` bytes long is really beyond the `best` length that it has
    ever had.
    """
    return after - best >= (
        REAL_PROGRESS if size is None else min(REAL_PROGRESS, max(size // 100, 1))
    )


# ---------------------------------------------------------------- when it goes on too slowly


class Meter:
    """Tells a stall: fewer bytes over the last `stall_timeout` seconds than `min_rate` would
    bring.
    """

    def __init__(self, limits: Limits, *, now: float, length: int) -> None:
        self._limits = limits
        self._samples: deque[tuple[float, int]] = deque([(now, length)])

    @property
    def growth(self) -> int:
        """Bytes that the part grew by over the samples that are kept."""
        return self._samples[-1][1] - self._samples[0][1]

    def stalled(self, *, now: float, length: int) -> bool:
        """Takes a sample. After a gap in the samples (the program or the machine stood still) it
        counts anew.
        """
        window = self._limits.stall_timeout
        last_at, last_length = self._samples[-1]
        if window <= 0:
            return False
        if now - last_at > max(10.0, window / 4) or length < last_length:
            self._samples.clear()
        self._samples.append((now, length))
        while len(self._samples) > 1 and self._samples[1][0] <= now - window:
            self._samples.popleft()
        first_at, first_length = self._samples[0]
        if now - first_at < window:
            return False
        return length - first_length < max(1, self._limits.min_rate * (now - first_at))


# ---------------------------------------------------------------- what a failure means


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What `classify` needs beside the reply. `after` is what the part has, `received` what came of
    late (the last stall time); `sight` is the last of a
    wget that stalled, and `swallowed` what it has read since it last wrote.
    """

    order: AttemptOrder
    ending: Ending
    finding: Finding
    after: int
    now: datetime
    received: int = 0
    sight: Sight | None = None
    swallowed: int = 0


STUCK = Failure(
    kind=FailureClass.TRANSIENT,
    reason="wget is blocked on the disk (state D), and cannot be ended",
)


def launch_failure(error: OSError) -> Failure:
    """A wget that cannot be started may be there again soon: while it is upgraded, say."""
    failure = classify_os_error(error)
    if is_shortage(error):
        return failure
    return Failure(kind=FailureClass.TRANSIENT, reason=f"wget cannot be started: {failure.reason}")


def classify(reply: Reply, about: Circumstances) -> Failure:
    """Why an attempt did not bring the whole file, and what is done about it."""
    kind = FailureClass.TRANSIENT
    match about.ending:
        case Ending.STALLED:
            return Failure(kind=kind, reason=f"stalled: {_stall_cause(reply, about)}")
        case Ending.TIMED_OUT:
            seconds = about.order.limits.attempt_timeout
            return Failure(kind=kind, reason=f"not done within {seconds:g} s (--attempt-timeout)")
    if reason := _FINDING_REASONS.get(about.finding):
        if about.finding is Finding.FOREIGN and about.order.entry.size is not None:
            kind = FailureClass.BROKEN  # it is not what the list says
        return Failure(kind=kind, reason=reason, status=reply.head.status if reply.head else None)
    if reply.trouble is Trouble.CANNOT_WRITE:
        too_large = reply.detail == "File too large"  # for this file system: others may fit
        kind = FailureClass.PERMANENT if too_large else FailureClass.LOCAL
        return Failure(kind=kind, reason=f"{reply.trouble}: {reply.detail or 'wget'}")
    if reply.head is not None and (
        reply.head.status >= 400
        or reply.head.astray
        or (reply.head.status >= 300 and reply.trouble is Trouble.OTHER)
    ):
        return _classify_status(reply.head, about)
    return _classify_silence(reply, about)


_FINDING_REASONS = {
    Finding.DIFFERS: "what the server has does not fit the part",
    Finding.CHANGED: "the file has changed on the server: starting anew",
    Finding.LONGER: "the part is longer than the file on the server: starting anew",
    Finding.RANGE_IGNORED: "the server does not continue a file: starting anew",
    Finding.FOREIGN: "the answer has another size than the file: a page, most likely",
}


def _stall_cause(reply: Reply, about: Circumstances) -> str:
    """The process tells more than the line, and how far the connection is more than how long it
    was quiet.
    """
    sight, limits = about.sight or Sight(state=ProcessState.ALIVE), about.order.limits
    within = f"{limits.stall_timeout:g} s"
    if cause := _STATE_CAUSES.get(sight.state):
        return cause
    if reply.head is None:
        cause = _LINK_CAUSES.get(sight.link, "no answer") if sight.link else "no answer"
        return f"{cause} within {within}"
    if about.swallowed >= OVERLAP:
        return f"wget reads, but has written nothing for {within}"
    if about.received and limits.min_rate:
        return f"less than --min-rate {limits.min_rate} bytes/s over {within}"
    return f"no new byte for {within}"


_STATE_CAUSES = {
    ProcessState.STOPPED: "wget is stopped (SIGSTOP)",
    ProcessState.BLOCKED: "wget is blocked on the disk (state D)",
    ProcessState.ENDED: "wget is a zombie",
}
_LINK_CAUSES = {
    Link.NONE: "the name service does not answer",
    Link.CONNECTING: "no connection to the server",
    Link.CONNECTED: "no answer to the request",
}


def _classify_status(head: Head, about: Circumstances) -> Failure:
    reason = f"HTTP {head.status} {head.reason}".strip()
    kind = FailureClass.PERMANENT
    if (
        head.status in about.order.retry_status
        or head.status in TRANSIENT_STATUS
        or head.status >= 500
        or head.status in (412, 416)
    ):
        kind = FailureClass.TRANSIENT
    elif head.status in EXPIRY_STATUS and _has_expired(about.order.entry.url, about.now):
        kind, reason = FailureClass.EXPIRED, f"{reason}: the link has expired"
    elif head.astray:
        reason = f"{reason}: a redirect to {head.astray}:, which wgetpool does not fetch"
    elif head.status == 401:
        reason = f"{reason}: {Trouble.AUTHENTICATION}"
    return Failure(
        kind=kind,
        reason=reason,
        status=head.status,
        retry_after=read_retry_after(head.retry_after, now=about.now),
    )


_TROUBLE_KINDS = {
    Trouble.TLS: FailureClass.PERMANENT,
    Trouble.AUTHENTICATION: FailureClass.PERMANENT,
    Trouble.REDIRECTS: FailureClass.PERMANENT,
    Trouble.USAGE: FailureClass.LOCAL,
}


_SIGNAL_HINTS = {
    "SIGKILL": " (by hand, or by the kernel when memory was short: dmesg tells)",
    "SIGXFSZ": " (the file is larger than ulimit -f allows)",
    "SIGXCPU": " (ulimit -t)",
}


def _classify_silence(reply: Reply, about: Circumstances) -> Failure:
    """No error status: the answer was good but not whole, or there was none (after a redirect)."""
    kind = _TROUBLE_KINDS.get(reply.trouble, FailureClass.TRANSIENT)
    status = reply.head.status if reply.head else None
    told = (reply.head.remote.size if reply.head else None) or about.order.entry.size
    if reply.detail == "SIGXFSZ":
        kind = FailureClass.PERMANENT  # others may be small enough
    if reply.trouble is not Trouble.NONE:
        hint = _SIGNAL_HINTS.get(reply.detail, "")
        reason = str(reply.trouble) + (f": {reply.detail}{hint}" if reply.detail else "")
        if status is not None and told is not None:
            reason += f" ({about.after:,} of {told:,} bytes are here)"
    elif reply.head is None or reply.head.status >= 300:
        reason = "the answer is not HTTP"
    elif status not in (200, 206):
        reason = f"HTTP {status} {reply.head.reason}".strip() + ": the answer carries no file"
    else:
        size = f"{told:,}" if told is not None else "?"
        reason = f"the connection was closed early ({about.after:,} of {size} bytes are here)"
    return Failure(kind=kind, reason=reason, status=status)


_LOCAL_ERRORS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ENOLCK}
    | {errno.EOPNOTSUPP, errno.ESTALE}
)
_FOR_NOW = frozenset({errno.EBUSY, errno.EINTR, errno.ETXTBSY})
_SCARCE_ERRORS = {
    errno.EMFILE: "this process may open no more files (ulimit -n)",
    errno.ENFILE: "the machine opens no more files (fs.file-max)",
    errno.EAGAIN: "the system starts no more processes for this user (ulimit -u)",
    errno.ENOMEM: "the machine has no memory left for another process",
}


def is_shortage(error: OSError) -> bool:
    """Whether it is no fault of the file's: the machine gives no more, for now."""
    return error.errno in _SCARCE_ERRORS


def classify_os_error(error: OSError) -> Failure:
    """What an error of the system means for a file: this machine, something scarce for now, or just
    this name.
    """
    kind = FailureClass.PERMANENT
    if error.errno in _LOCAL_ERRORS:
        kind = FailureClass.LOCAL
    elif error.errno in _FOR_NOW or is_shortage(error):
        kind = FailureClass.TRANSIENT
    where = f" ({error.filename})" if error.filename else ""
    reason = _SCARCE_ERRORS.get(error.errno or 0) or f"{error.strerror or error}{where}"
    return Failure(kind=kind, reason=reason)


def read_retry_after(text: str | None, *, now: datetime) -> float | None:
    """Seconds that a `Retry-After` asks for (RFC 9110 10.2.3: seconds or a date), at most an
    hour.
    """
    if text and text.isdecimal():
        seconds = float(text)
    elif (due := read_http_date(text)) is not None:
        seconds = (due - now).total_seconds()
    else:
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def read_http_date(text: str | None) -> datetime | None:
    """The instant that an HTTP date names; None for what is none."""
    if not text:
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  loading it takes longer than reading a list

    try:
        told = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError):
        return None
    return told.replace(tzinfo=told.tzinfo or UTC)


# ---------------------------------------------------------------- when to try again


def backoff_wait(
    policy: RetryPolicy, *, barren: int, jitter: float, retry_after: float | None = None
) -> float:
    """Seconds to wait after `barren` attempts in a row without progress. `jitter` is in [0, 1):
    full jitter.

    Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    doublings = min(
        max(barren - 1, 0), 32
    )  # clamped before it is raised: no overflow after a thousand tries
    wait = min(policy.backoff * 2.0**doublings, policy.backoff_max) * jitter
    return max(wait, retry_after or 0.0)


# ---------------------------------------------------------------- signed URLs


def expires_at(url: Url) -> datetime | None:
    """When a signed URL expires, where its query tells; None where it does not.

    Meta: `oe` (hexadecimal seconds). S3: `X-Amz-Date` + `X-Amz-Expires`; Google: `X-Goog-...`
    likewise. Older S3 and CloudFront: `Expires` (seconds). Azure: `se` (ISO 8601).
    """
    query = {
        key.lower(): values[-1] for key, values in parse_qs(url.reveal().partition("?")[2]).items()
    }
    try:
        if "oe" in query and "oh" in query:
            return datetime.fromtimestamp(int(query["oe"], 16), UTC)
        for vendor in ("x-amz", "x-goog"):
            if f"{vendor}-expires" in query:
                begin = datetime.strptime(query[f"{vendor}-date"], "%Y%m%dT%H%M%SZ").replace(
                    tzinfo=UTC
                )
                return begin + timedelta(seconds=int(query[f"{vendor}-expires"]))
        if re.fullmatch(r"\d{9,11}", query.get("expires", "")):
            return datetime.fromtimestamp(int(query["expires"]), UTC)
        if "se" in query and "sig" in query:
            told = datetime.fromisoformat(query["se"])
            return told.replace(tzinfo=told.tzinfo or UTC)
    except (ValueError, KeyError, OverflowError, OSError):
        pass
    return None


def _has_expired(url: Url, now: datetime) -> bool:
    expiry = expires_at(url)
    return expiry is not None and expiry <= now
