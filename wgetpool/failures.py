"""What a failure means: why an attempt did not bring the whole file, and of which class that is.

Functions of data. No I/O and no clock of its own: the caller hands in the time.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

from wgetpool.errors import SHORTAGES
from wgetpool.model import (
    AttemptOrder,
    Ending,
    Failure,
    FailureClass,
    Finding,
    Head,
    Link,
    ProcessState,
    Reply,
    Sight,
    Trouble,
    Url,
)
from wgetpool.policy import OVERLAP

TRANSIENT_STATUS = frozenset({408, 425, 429})  # and every 5xx
EXPIRY_STATUS = frozenset({403, 410})
LONGEST_RETRY_AFTER = 3600.0


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


def is_shortage(error: OSError) -> bool:
    """Whether it is no fault of the file's: the machine gives no more, for now."""
    return error.errno in SHORTAGES


def _lacks_state(error: OSError) -> bool:
    """Whether what the program itself made in DIR is gone: with all of DIR, most likely."""
    return error.errno == errno.ENOENT and "/.wgetpool/" in str(error.filename)


def classify_os_error(error: OSError) -> Failure:
    """What an error of the system means for a file: this machine, something scarce for now, or just
    this name.
    """
    kind = FailureClass.PERMANENT
    if error.errno in _LOCAL_ERRORS or _lacks_state(error):
        kind = FailureClass.LOCAL
    elif error.errno in _FOR_NOW or is_shortage(error):
        kind = FailureClass.TRANSIENT
    where = f" ({error.filename})" if error.filename else ""
    reason = SHORTAGES.get(error.errno or 0) or f"{error.strerror or error}{where}"
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
