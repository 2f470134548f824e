"""What a failure means: why an attempt did not bring the whole file, and of which class that is.

Functions of data. No I/O and no clock of its own: the caller hands in the time.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from wgetpool.errors import SHORTAGES
from wgetpool.model import (
    Access,
    AttemptOrder,
    Cause,
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
)
from wgetpool.policy import OVERLAP
from wgetpool.signed import expires_at, looks_cut
from wgetpool.words import format_rate

TRANSIENT_STATUS = frozenset({408, 425, 429})  # and every 5xx
EXPIRY_STATUS = frozenset({403, 410})
CUT_STATUS = frozenset({400, 401, 403})
LONGEST_RETRY_AFTER = 3600.0
_FIRST_YEAR, _LAST_YEAR = 2010, 2999  # of a clock that is to be believed
TICK = 1.0  # seconds by which a silence may have been longer than was seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What `classify` needs beside the reply. `offset` is where the attempt went on, `after` what
    the part has, `received` what came of late (the last stall time); `sight` is the last of a wget
    that stalled, and `swallowed` what it has read since it last wrote; `silence` is how many
    seconds ago that was; `proxy` is the one in use.
    """

    order: AttemptOrder
    ending: Ending
    finding: Finding
    after: int
    now: datetime
    offset: int = 0
    received: int = 0
    sight: Sight | None = None
    swallowed: int = 0
    silence: float = 0.0
    proxy: str | None = None


STUCK = Failure(
    kind=FailureClass.TRANSIENT,
    cause=Cause.DISK,
    reason="wget is blocked on the disk (state D), and cannot be ended",
)


def launch_failure(error: OSError) -> Failure:
    """A wget that cannot be started may be there again soon: while it is upgraded, say."""
    failure = classify_os_error(error)
    if is_shortage(error):
        return failure
    return Failure(
        kind=FailureClass.TRANSIENT,
        cause=Cause.MACHINE,
        reason=f"wget cannot be started: {failure.reason}",
    )


def classify(reply: Reply, about: Circumstances) -> Failure:
    """Why an attempt did not bring the whole file, and what is done about it."""
    head = reply.head
    if about.ending is Ending.STALLED:
        cause, reason = _stall(head, about)
        return Failure(kind=FailureClass.TRANSIENT, cause=cause, reason=f"stalled: {reason}")
    if about.ending is Ending.TIMED_OUT:
        seconds = about.order.limits.attempt_timeout
        return Failure(
            kind=FailureClass.TRANSIENT,
            cause=Cause.TIME_LIMIT,
            reason=f"not done within {seconds:g} s (--attempt-timeout)",
        )
    if about.finding in _MISFITS or about.finding is Finding.DIFFERS:
        return _classify_misfit(head, about)
    if reply.trouble is Trouble.CANNOT_WRITE:
        return _classify_unwritten(reply)
    if head is not None and (
        head.status >= 400 or head.astray or (head.status >= 300 and reply.trouble is Trouble.OTHER)
    ):
        return _classify_status(head, about)
    return _classify_silence(reply, about)


# ---------------------------------------------------------------- an answer of no use for the part

_MISFITS = {
    Finding.CHANGED: (Cause.CHANGED, "the file has changed on the server: starting anew"),
    Finding.LONGER: (Cause.CHANGED, "the part is longer than the server's file: starting anew"),
    Finding.RANGE_IGNORED: (Cause.NO_RANGES, "the server does not continue a file: starting anew"),
    Finding.FOREIGN: (Cause.NO_FILE, "an answer of another size: a page, most likely"),
}


def _classify_misfit(head: Head | None, about: Circumstances) -> Failure:
    cause, reason = _MISFITS.get(about.finding) or _difference(head, about.offset)
    listed = about.order.entry.size is not None  # and then it is not what the list says
    broken = about.finding is Finding.FOREIGN and listed
    return Failure(
        kind=FailureClass.BROKEN if broken else FailureClass.TRANSIENT,
        cause=cause,
        reason=reason,
        status=head.status if head else None,
    )


def _difference(head: Head | None, offset: int) -> tuple[Cause, str]:
    """Whether the server has something else, or only does not continue what is here."""
    if head is not None and head.status == 416:
        return Cause.NO_RANGES, "the server refuses to continue the file"
    if head is not None and head.status == 200:
        return Cause.CHANGED, "the file has another size on the server"
    if head is not None and head.remote.size is None:
        return Cause.NO_RANGES, "the server does not tell which bytes of the file it sends"
    if head is not None and head.start != offset:
        return Cause.NO_RANGES, "the server sends other bytes of the file than were asked for"
    return Cause.CHANGED, "the server's bytes are not those of the part"


# ---------------------------------------------------------------- no answer, or not all of it


def _stall(head: Head | None, about: Circumstances) -> tuple[Cause, str]:
    """The process tells more than the line, and how far the connection is more than how long it
    was quiet.
    """
    sight, limits = about.sight or Sight(state=ProcessState.ALIVE), about.order.limits
    within = f"{limits.stall_timeout:g} s"
    if stopped := _STATES.get(sight.state):
        return stopped
    if head is None:
        host = about.proxy or about.order.entry.url.host
        return _unanswered(sight.link, about.proxy, within, is_numeric=_is_numeric(host))
    if about.swallowed >= OVERLAP:
        return Cause.STALLED, f"wget reads, but has written nothing for {within}"
    if about.received and limits.min_rate:
        return Cause.STALLED, f"less than {format_rate(limits.min_rate)} (--min-rate) over {within}"
    return Cause.STALLED, f"no new byte for {within}"


def _is_numeric(host: str) -> bool:
    """Whether it is an address, and asks no name service."""
    return host.startswith("[") or re.fullmatch(r"[\d.]+(:\d+)?", host) is not None


def _unanswered(
    link: Link | None, proxy: str | None, within: str, *, is_numeric: bool
) -> tuple[Cause, str]:
    if link is Link.NONE and not is_numeric:
        return Cause.NAME_SERVICE, f"the name service does not answer within {within}"
    if link in {Link.NONE, Link.CONNECTING}:
        peer = _the(proxy) if proxy else "the server"
        return Cause.PROXY if proxy else Cause.TIMED_OUT, f"no connection to {peer} within {within}"
    asked = " to the request" if link is Link.CONNECTED else ""
    return Cause.TIMED_OUT, f"no answer{asked} within {within}{_through(proxy)}"


_STATES = {
    ProcessState.STOPPED: (Cause.KILLED, "wget is stopped (SIGSTOP)"),
    ProcessState.BLOCKED: (Cause.DISK, "wget is blocked on the disk (state D)"),
    ProcessState.ENDED: (Cause.OTHER, "wget is a zombie"),
}


def _through(proxy: str | None) -> str:
    """Where nobody can tell whether it was the proxy or the server behind it."""
    return f", through {_the(proxy)}" if proxy else ""


def _classify_silence(reply: Reply, about: Circumstances) -> Failure:
    """No error status: the answer was good but not whole, or there was none (after a redirect)."""
    status = reply.head.status if reply.head else None
    told = (reply.head.remote.size if reply.head else None) or about.order.entry.size
    kind, cause = FailureClass.TRANSIENT, Cause.CONNECTION
    if _gave_up_reading(reply, about):
        cause, reason = Cause.STALLED, f"no new byte for {about.order.limits.timeout:g} s"
        if told is not None:
            reason += f" ({about.after:,} of {told:,} bytes are here)"
    elif reply.trouble is not Trouble.NONE:
        kind, cause, reason = _complaint(reply, about)
        if status is not None and told is not None:
            reason += f" ({about.after:,} of {told:,} bytes are here)"
    elif reply.head is None or reply.head.status >= 300:
        cause, reason = Cause.NO_FILE, "the answer is not HTTP"
    elif status not in (200, 206):
        cause = Cause.NO_FILE
        reason = f"HTTP {status} {reply.head.reason}".strip() + ": the answer carries no file"
    else:
        size = f"{told:,}" if told is not None else "?"
        reason = f"the connection was closed early ({about.after:,} of {size} bytes are here)"
    return Failure(kind=kind, cause=cause, reason=reason, status=status)


def _gave_up_reading(reply: Reply, about: Circumstances) -> bool:
    """Whether wget's own time-out ended it in the body, of which it says nothing."""
    limit = about.order.limits.timeout
    answered = reply.head is not None and reply.head.status in {200, 206}
    closed = reply.trouble in {Trouble.CLOSED, Trouble.TIMED_OUT}
    return answered and closed and 0 < limit <= about.silence + TICK


_TROUBLES = {
    Trouble.DNS: (FailureClass.TRANSIENT, Cause.NAME_SERVICE),
    Trouble.REFUSED: (FailureClass.TRANSIENT, Cause.REFUSED),
    Trouble.UNREACHABLE: (FailureClass.TRANSIENT, Cause.UNREACHABLE),
    Trouble.TIMED_OUT: (FailureClass.TRANSIENT, Cause.TIMED_OUT),
    Trouble.CLOSED: (FailureClass.TRANSIENT, Cause.CONNECTION),
    Trouble.NO_TLS: (FailureClass.TRANSIENT, Cause.TLS),
    Trouble.UNTRUSTED: (FailureClass.PERMANENT, Cause.CERTIFICATE),
    Trouble.DATE: (FailureClass.PERMANENT, Cause.CERTIFICATE_DATE),
    Trouble.HOST_NAME: (FailureClass.PERMANENT, Cause.CERTIFICATE_NAME),
    Trouble.AUTHENTICATION: (FailureClass.PERMANENT, Cause.LOGIN),
    Trouble.REDIRECTS: (FailureClass.PERMANENT, Cause.REDIRECT),
    Trouble.BAD_PROXY: (FailureClass.PERMANENT, Cause.PROXY),
    Trouble.USAGE: (FailureClass.LOCAL, Cause.MACHINE),
    Trouble.KILLED: (FailureClass.TRANSIENT, Cause.KILLED),
}
# The settings that may be to blame.
_DOUBTFUL = {
    Trouble.NO_TLS: ("ciphers", "secure_protocol"),
    Trouble.DNS: ("inet4_only", "inet6_only", "prefer_family"),
    Trouble.UNTRUSTED: ("ca_certificate",),
}
_WANTS_LOGIN = "wants a user name and a password"
_BEYOND = frozenset({Trouble.TIMED_OUT, Trouble.CLOSED, Trouble.NO_TLS})  # or at the proxy
_PROXY_WORDS = {
    Trouble.DNS: "its name cannot be resolved",
    Trouble.REFUSED: "connection refused",
    Trouble.UNREACHABLE: "no way to it",
}
_SIGNAL_HINTS = {
    "SIGXFSZ": " (the file is larger than ulimit -f allows)",
    "SIGXCPU": " (ulimit -t)",
}


def _complaint(reply: Reply, about: Circumstances) -> tuple[FailureClass, Cause, str]:
    """What wget's own complaint means."""
    trouble, detail = reply.trouble, reply.detail
    if trouble is Trouble.NO_TUNNEL:
        return _tunnel_trouble(detail, about.proxy)
    kind, cause = _TROUBLES.get(trouble, (FailureClass.TRANSIENT, Cause.OTHER))
    reason = str(trouble) + (f": {detail}{_SIGNAL_HINTS.get(detail, '')}" if detail else "")
    if detail == "SIGXFSZ":  # others may be small enough
        return FailureClass.PERMANENT, Cause.TOO_LARGE, reason
    if about.proxy and reply.head is None:  # wget asked nobody but the proxy
        if words := _PROXY_WORDS.get(trouble):
            return kind, Cause.PROXY, f"{_the(about.proxy)} cannot be reached: {words}"
        if trouble in _BEYOND:
            reason += _through(about.proxy)
    for command in _DOUBTFUL.get(trouble, ()):
        if command in dict(about.order.access.options):
            reason += f" (--wget-option {command} is set: is it right?)"
    return kind, cause, reason


def _tunnel_trouble(status: str, proxy: str | None) -> tuple[FailureClass, Cause, str]:
    """A proxy that opens no way to an https server."""
    if status.startswith("407"):
        return FailureClass.PERMANENT, Cause.PROXY_LOGIN, f"{_the(proxy)} {_WANTS_LOGIN}"
    kind = FailureClass.PERMANENT if status.startswith("4") else FailureClass.TRANSIENT
    words = f": {status}" if status else ""
    return kind, Cause.PROXY, f"{_the(proxy)} does not connect to the server{words}"


def _the(proxy: str | None) -> str:
    return f"the proxy {proxy}" if proxy else "the proxy"


def _classify_unwritten(reply: Reply) -> Failure:
    cause = _WRITE_CAUSES.get(reply.detail, Cause.DISK)
    too_large = cause is Cause.TOO_LARGE  # for this file system: others may fit
    return Failure(
        kind=FailureClass.PERMANENT if too_large else FailureClass.LOCAL,
        cause=cause,
        reason=f"{reply.trouble}: {reply.detail or 'wget'}",
    )


# ---------------------------------------------------------------- an answer with an error status


def _classify_status(head: Head, about: Circumstances) -> Failure:
    kind, cause, more = _status_meaning(head, about)
    if head.status in about.order.retry_status:
        kind = FailureClass.TRANSIENT
    return Failure(
        kind=kind,
        cause=cause,
        reason=f"HTTP {head.status} {head.reason}".strip() + more,
        status=head.status,
        retry_after=read_retry_after(head.retry_after, now=about.now),
    )


def _status_meaning(head: Head, about: Circumstances) -> tuple[FailureClass, Cause, str]:
    """What it means, and what is said beside the status."""
    status, proxy = head.status, about.proxy
    if status in TRANSIENT_STATUS or status >= 500:
        more = _through(proxy) if _is_plain(about) else ""
        return FailureClass.TRANSIENT, _STATUS_CAUSES.get(status, Cause.SERVER), more
    if status in (412, 416):
        return FailureClass.TRANSIENT, _STATUS_CAUSES[status], ""
    if of_link := _link_trouble(head, about):
        return of_link
    cause, more = _STATUS_CAUSES.get(status, Cause.REQUEST if status >= 400 else Cause.REDIRECT), ""
    if head.astray:
        more = f": a redirect to {head.astray}:, which wgetpool does not fetch"
    elif cause is Cause.REDIRECT:
        more = ": a redirect that leads nowhere"
    elif status == 401:
        more = f": {_login_trouble(about.order.access)}"
    elif status == 407:
        more = f": {_the(proxy)} {_WANTS_LOGIN}"
    elif status == 403 and proxy and _is_plain(about):
        cause, more = Cause.PROXY, f", by {_the(proxy)} or the server behind it"
    return FailureClass.PERMANENT, cause, more


def _login_trouble(access: Access) -> str:
    """A server behind a redirect to somewhere else was never told of the login."""
    elsewhere = "(after a redirect to another server, none is sent)"
    if any(header.lower().startswith("authorization:") for header in access.headers):
        return f"the server refuses the login given with --header {elsewhere}"
    if access.netrc:
        return f"the server refuses the login in ~/.netrc, or there is none for it {elsewhere}"
    return Trouble.AUTHENTICATION


def _is_plain(about: Circumstances) -> bool:
    """Over https the proxy's own answers are none to the request."""
    return about.order.entry.url.reveal()[:5].lower() == "http:"


def _link_trouble(head: Head, about: Circumstances) -> tuple[FailureClass, Cause, str] | None:
    """What a signed link itself tells of a refusal. Whether it has expired, the server knows best:
    the clock here may be wrong.
    """
    entry = about.order.entry
    if head.status in CUT_STATUS and looks_cut(entry.url):
        return FailureClass.PERMANENT, Cause.CUT_LINK, ": the link seems to be cut at an &"
    if head.status in CUT_STATUS and entry.cut:
        more = ": the link seems to be cut: it lacks what the others of its list have"
        return FailureClass.PERMANENT, Cause.CUT_LINK, more
    expiry = expires_at(entry.url) if head.status in EXPIRY_STATUS else None
    if expiry is not None and expiry <= (server_time(head) or about.now):
        return FailureClass.EXPIRED, Cause.EXPIRED, ": the link has expired"
    return None


_STATUS_CAUSES = {
    401: Cause.LOGIN,
    403: Cause.FORBIDDEN,
    404: Cause.NOT_FOUND,
    407: Cause.PROXY_LOGIN,
    410: Cause.NOT_FOUND,
    412: Cause.CHANGED,
    416: Cause.NO_RANGES,
    429: Cause.RATE_LIMITED,
    451: Cause.LEGAL,
}


# ---------------------------------------------------------------- this machine

_CAUSES = {
    errno.EACCES: Cause.NOT_WRITABLE,
    errno.EPERM: Cause.NOT_WRITABLE,
    errno.EROFS: Cause.NOT_WRITABLE,
    errno.ENOSPC: Cause.NO_SPACE,
    errno.EDQUOT: Cause.NO_SPACE,
    errno.EIO: Cause.DISK,
    errno.ENOLCK: Cause.DISK,
    errno.EOPNOTSUPP: Cause.DISK,
    errno.ESTALE: Cause.DISK,
    errno.EFBIG: Cause.TOO_LARGE,
    errno.EBUSY: Cause.IN_USE,
    errno.ETXTBSY: Cause.IN_USE,
    errno.EINTR: Cause.OTHER,
    **dict.fromkeys(SHORTAGES, Cause.MACHINE),
}
_LOCAL = frozenset({Cause.NOT_WRITABLE, Cause.NO_SPACE, Cause.DISK})
_FOR_NOW = frozenset({errno.EBUSY, errno.EINTR, errno.ETXTBSY})
_WRITE_CAUSES = {os.strerror(number): cause for number, cause in _CAUSES.items()}


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
    number = error.errno or 0
    cause = Cause.DISK if _lacks_state(error) else _CAUSES.get(number, Cause.NAME)
    kind = FailureClass.LOCAL if cause in _LOCAL else FailureClass.PERMANENT
    if number in _FOR_NOW or is_shortage(error):
        kind = FailureClass.TRANSIENT
    where = f" ({error.filename})" if error.filename else ""
    reason = SHORTAGES.get(number) or f"{error.strerror or error}{where}"
    return Failure(kind=kind, cause=cause, reason=reason)


# ---------------------------------------------------------------- dates


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


def server_time(head: Head) -> datetime | None:
    """What the server's clock showed when it answered. None where it tells no time, one that no
    clock can show, or one that may be old: some caches keep the date that an answer had when they
    got it, others write their own, and both tell its age.
    """
    told = read_http_date(head.date)
    if told is None or head.age or not _FIRST_YEAR <= told.year <= _LAST_YEAR:
        return None
    return told


def server_ahead(head: Head | None, now: datetime) -> float | None:
    """By how many seconds the server's clock is before ours, which shows `now`; None where it has
    told no time.
    """
    told = server_time(head) if head is not None else None
    return None if told is None else (told - now).total_seconds()


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
