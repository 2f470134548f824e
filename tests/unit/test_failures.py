"""What a failure means: tables of cases."""

from __future__ import annotations

import errno
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wgetpool.failures import (
    Circumstances,
    classify,
    classify_os_error,
    launch_failure,
    read_http_date,
    read_retry_after,
    server_time,
)
from wgetpool.model import (
    Access,
    Approach,
    AttemptOrder,
    Cause,
    Ending,
    Entry,
    Failure,
    FailureClass,
    Finding,
    Head,
    Limits,
    Link,
    ProcessState,
    RemoteFile,
    Reply,
    Sight,
    Trouble,
    Url,
)
from wgetpool.policy import (
    OVERLAP,
    USELESS,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
PLAIN = "https://example.org/a.tar"
PAST = f"https://cdn.example.org/a.tar?oh=00_A&oe={int(NOW.timestamp()) - 60:X}"
FUTURE = f"https://cdn.example.org/a.tar?oh=00_A&oe={int(NOW.timestamp()) + 60:X}"
MONDAY = "Mon, 01 Sep 2025 10:00:00 GMT"
QUICK = settings(max_examples=50, deadline=None)
TRANSIENT, PERMANENT = FailureClass.TRANSIENT, FailureClass.PERMANENT
EXPIRED, LOCAL = FailureClass.EXPIRED, FailureClass.LOCAL


def reply(
    status: int | None = None,
    *,
    exit_code: int = 8,
    trouble: Trouble = Trouble.OTHER,
    detail: str = "",
    retry_after: str | None = None,
    astray: str = "",
    **more: Any,
) -> Reply:
    told = (
        None
        if status is None
        else Head(status=status, retry_after=retry_after, astray=astray, **more)
    )
    return Reply(exit_code=exit_code, head=told, trouble=trouble, detail=detail)


def about(
    *,
    size: int | None = None,
    url: Url | None = None,
    limits: Limits | None = None,
    retry_status: frozenset[int] = frozenset(),
    access: Access | None = None,
    **given: Any,
) -> Circumstances:
    order = AttemptOrder(
        directory=Path("/data"),
        wget="/usr/bin/wget",
        entry=Entry("a.tar", url or Url(PLAIN), size),
        attempt=1,
        approach=Approach.CONTINUE,
        limits=limits or Limits(),
        retry_status=retry_status,
        access=access or Access(),
    )
    values: dict[str, Any] = {
        "order": order,
        "ending": Ending.EXITED,
        "finding": Finding.NOTHING,
        "after": 0,
        "now": NOW,
    }
    return Circumstances(**values | given)


# ---------------------------------------------------------------- the contract's table of classes


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504, 505, 511, 520, 599])
def test_an_overloaded_or_broken_server_is_asked_again(status: int) -> None:
    """408, 425, 429 and every 5xx are transient."""
    failure = classify(reply(status), about())

    assert (failure.kind, failure.status) == (TRANSIENT, status)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 407, 410, 418, 451, 499])
def test_a_refusal_is_final(status: int) -> None:
    """400 401 403 404 405 410 451 and the other 4xx are permanent."""
    failure = classify(reply(status), about())

    assert (failure.kind, failure.status) == (PERMANENT, status)


@pytest.mark.parametrize("status", [412, 416])
def test_a_refused_condition_or_range_is_asked_once_more(status: int) -> None:
    """412 and 416 are decided by what the answer tells, never final by themselves."""
    failure = classify(reply(status), about())

    assert failure.kind is TRANSIENT


@pytest.mark.parametrize(
    ("status", "url", "kind"),
    [
        (403, PAST, EXPIRED),
        (410, PAST, EXPIRED),
        (403, FUTURE, PERMANENT),
        (410, FUTURE, PERMANENT),
        (403, PLAIN, PERMANENT),
        (404, PAST, PERMANENT),
        (503, PAST, TRANSIENT),
    ],
)
def test_an_expired_link_is_told_from_a_refusal(status: int, url: str, kind: FailureClass) -> None:
    """403 or 410 on a signed URL whose expiry has passed is expired; nothing else is."""
    failure = classify(reply(status), about(url=Url(url)))

    assert failure.kind is kind


@pytest.mark.parametrize(
    ("minutes", "age", "url", "kind"),
    [
        (+10, 0, FUTURE, EXPIRED),
        (-10, 0, PAST, PERMANENT),
        (-10, 600, PAST, EXPIRED),  # a cache's answer
        (-10, 0, PLAIN, PERMANENT),
    ],
)
def test_the_servers_clock_tells_whether_a_link_has_expired(
    minutes: int, age: int, url: str, kind: FailureClass
) -> None:
    """The answer's own date outranks this machine's clock, which may be wrong."""
    date = format_datetime(NOW + timedelta(minutes=minutes), usegmt=True)

    assert classify(reply(403, date=date, age=age), about(url=Url(url))).kind is kind


@pytest.mark.parametrize(
    ("date", "age", "told"),
    [
        ("Sun, 01 Mar 2026 12:00:00 GMT", 0, NOW),
        ("Sun, 01 Mar 2026 12:00:00 GMT", 90, None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 999_999_999, None),
        ("soon", 0, None),
        ("", 0, None),
        (None, 5, None),
    ],
)
def test_an_answer_tells_the_servers_time(
    date: str | None, age: int, told: datetime | None
) -> None:
    """Its date, unless a cache may have kept it; what no clock can show is not believed."""
    assert server_time(Head(status=200, date=date, age=age)) == told


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (400, Cause.CUT_LINK),
        (401, Cause.CUT_LINK),
        (403, Cause.CUT_LINK),
        (404, Cause.NOT_FOUND),
        (503, Cause.SERVER),
    ],
)
def test_a_link_that_its_list_shows_to_be_cut_is_named_so_when_it_is_refused(
    status: int, cause: Cause
) -> None:
    """Cut, not forbidden and not expired; other failures are what they are."""
    circumstances = about(url=Url(PLAIN))
    entry = replace(circumstances.order.entry, cut=True)
    circumstances = replace(circumstances, order=replace(circumstances.order, entry=entry))

    failure = classify(reply(status), circumstances)

    assert failure.cause is cause
    assert failure.kind is (TRANSIENT if status == 503 else PERMANENT)


def test_a_link_expires_at_its_very_second() -> None:
    """At the instant of expiry the link is over."""
    url = Url(f"https://e.org/a?oh=1&oe={int(NOW.timestamp()):x}")

    assert classify(reply(403), about(url=url)).kind is EXPIRED


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Trouble.DNS, TRANSIENT),
        (Trouble.REFUSED, TRANSIENT),
        (Trouble.TIMED_OUT, TRANSIENT),
        (Trouble.UNREACHABLE, TRANSIENT),
        (Trouble.CLOSED, TRANSIENT),
        (Trouble.KILLED, TRANSIENT),
        (Trouble.OTHER, TRANSIENT),
        (Trouble.UNTRUSTED, PERMANENT),
        (Trouble.AUTHENTICATION, PERMANENT),
        (Trouble.CANNOT_WRITE, LOCAL),
        (Trouble.USAGE, LOCAL),
    ],
)
def test_a_failure_without_an_answer_is_classed_by_the_complaint(
    trouble: Trouble, kind: FailureClass
) -> None:
    """The line is transient, certificate and password are permanent, this machine is local."""
    failure = classify(reply(exit_code=4, trouble=trouble), about())

    assert (failure.kind, failure.status) == (kind, None)
    assert str(trouble) in failure.reason


@pytest.mark.parametrize("ending", [Ending.STALLED, Ending.TIMED_OUT])
@pytest.mark.parametrize("status", [None, 200, 206])
def test_an_attempt_that_was_too_slow_is_made_again(ending: Ending, status: int | None) -> None:
    """A stall and --attempt-timeout are transient, whatever wget says of its end."""
    slow = reply(status, exit_code=-15, trouble=Trouble.KILLED)

    assert classify(slow, about(ending=ending)).kind is TRANSIENT


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(stall_timeout=120, min_rate=1024), "less than 1.0 KiB/s (--min-rate) over 120 s"),
        (Limits(stall_timeout=0.5, min_rate=0), "no new byte for 0.5 s"),
    ],
)
def test_a_stall_says_which_limit_it_broke(limits: Limits, words: str) -> None:
    """The reason names the rate and the time that the user can set."""
    failure = classify(reply(200), about(ending=Ending.STALLED, limits=limits, received=9))

    assert failure.reason == f"stalled: {words}"


@pytest.mark.parametrize(
    ("silence", "cause"), [(59.5, Cause.STALLED), (60.0, Cause.STALLED), (30.0, Cause.CONNECTION)]
)
def test_a_body_that_stopped_is_no_closed_connection(silence: float, cause: Cause) -> None:
    """wget gives up reading after --timeout, and says nothing of it."""
    closed = reply(206, exit_code=4, trouble=Trouble.CLOSED)

    failure = classify(closed, about(size=300_000, after=1000, silence=silence))

    assert failure.cause is cause
    if cause is Cause.STALLED:
        assert failure.reason == "no new byte for 60 s (1,000 of 300,000 bytes are here)"


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1:8080", "[::1]", "[fe80::1]:443"])
def test_an_address_asks_no_name_service(host: str) -> None:
    """Whatever is seen of its connection."""
    given = about(
        url=Url(f"https://{host}/a"),
        ending=Ending.STALLED,
        sight=Sight(state=ProcessState.ALIVE, link=Link.NONE),
    )

    failure = classify(reply(), given)

    assert failure.reason.startswith("stalled: no connection to the server")
    assert failure.cause is Cause.TIMED_OUT


SEEN = Sight(state=ProcessState.ALIVE)


@pytest.mark.parametrize(
    ("answer", "sight", "swallowed", "words"),
    [
        (reply(200), Sight(state=ProcessState.STOPPED), 0, "wget is stopped (SIGSTOP)"),
        (reply(200), Sight(state=ProcessState.BLOCKED), 0, "wget is blocked on the disk (state D)"),
        (reply(200), Sight(state=ProcessState.ENDED), 0, "wget is a zombie"),
        (reply(), replace(SEEN, link=Link.NONE), 0, "the name service does not answer"),
        (reply(), replace(SEEN, link=Link.CONNECTING), 0, "no connection to the server"),
        (reply(), replace(SEEN, link=Link.CONNECTED), 0, "no answer to the request"),
        (reply(), SEEN, 0, "no answer"),
        (reply(), None, 0, "no answer"),
        (reply(200), SEEN, OVERLAP, "wget reads, but has written nothing"),
        (reply(200), SEEN, OVERLAP - 1, "no new byte"),
        (reply(200), None, 0, "no new byte"),
    ],
)
def test_a_stall_is_named_by_its_cause(
    answer: Reply, sight: Sight | None, swallowed: int, words: str
) -> None:
    """What the process is doing tells most, then how far its connection is, then the line."""
    failure = classify(answer, about(ending=Ending.STALLED, sight=sight, swallowed=swallowed))

    assert failure.kind is TRANSIENT
    assert failure.reason.startswith(f"stalled: {words}")


@pytest.mark.parametrize(
    ("name", "kind", "hint"),
    [
        ("SIGKILL", TRANSIENT, "SIGKILL"),
        ("SIGTERM", TRANSIENT, "SIGTERM"),
        ("SIGXFSZ", PERMANENT, "ulimit -f"),
        ("SIGXCPU", TRANSIENT, "ulimit -t"),
    ],
)
def test_a_killed_wget_says_by_what(name: str, kind: FailureClass, hint: str) -> None:
    """And a file that is larger than a limit allows is not tried again and again."""
    failure = classify(reply(exit_code=-9, trouble=Trouble.KILLED, detail=name), about())

    assert failure.kind is kind
    assert name in failure.reason
    assert hint in failure.reason


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply(None, exit_code=0, trouble=Trouble.NONE), "not HTTP"),
        (reply(204, exit_code=0, trouble=Trouble.NONE), "carries no file"),
        (reply(200, exit_code=0, trouble=Trouble.NONE), "closed early"),
        (reply(206, exit_code=4, trouble=Trouble.CLOSED), "closed early"),
    ],
)
def test_an_answer_without_a_whole_file_is_asked_again(answer: Reply, words: str) -> None:
    """No HTTP, no file in the answer, an early close: transient, and said in words."""
    failure = classify(answer, about(after=1000, size=2000))

    assert failure.kind is TRANSIENT
    assert words in failure.reason


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Trouble.REFUSED, TRANSIENT),
        (Trouble.DNS, TRANSIENT),
        (Trouble.CLOSED, TRANSIENT),
        (Trouble.TIMED_OUT, TRANSIENT),
        (Trouble.KILLED, TRANSIENT),
        (Trouble.UNTRUSTED, PERMANENT),
        (Trouble.REDIRECTS, PERMANENT),
    ],
)
def test_what_comes_after_a_redirect_is_classed_as_without_it(
    trouble: Trouble, kind: FailureClass
) -> None:
    """The redirect is not the failure: what happened at its target is."""
    failure = classify(reply(302, exit_code=4, trouble=trouble), about())

    assert failure.kind is kind
    assert str(trouble) in failure.reason


def test_a_redirect_to_what_is_not_http_is_asked_again() -> None:
    """An answer that is not HTTP is transient, also behind a redirect."""
    failure = classify(reply(302, exit_code=0, trouble=Trouble.NONE), about())

    assert failure.kind is TRANSIENT


@pytest.mark.parametrize("status", [403, 404, 401])
@pytest.mark.parametrize("url", [PLAIN, PAST])
def test_the_user_may_add_statuses_to_those_that_pass(status: int, url: str) -> None:
    """--retry-status makes a status transient."""
    chosen = about(retry_status=frozenset({status}), url=Url(url))

    assert classify(reply(status), chosen).kind is TRANSIENT


@pytest.mark.parametrize("finding", [each for each in Finding if each in USELESS])
def test_an_answer_of_no_use_for_the_part_leads_to_another_attempt(finding: Finding) -> None:
    """What does not fit the part is transient, though the server did nothing wrong."""
    cut_short = about(ending=Ending.CUT_SHORT, finding=finding)

    failure = classify(reply(200, exit_code=-15, trouble=Trouble.KILLED), cut_short)

    assert (failure.kind, failure.status) == (TRANSIENT, 200)


@pytest.mark.parametrize("status", [429, 503, 404])
def test_a_status_carries_its_retry_after(status: int) -> None:
    """Retry-After reaches the scheduler in seconds."""
    failure = classify(reply(status, retry_after="7"), about())

    assert failure.retry_after == 7.0


def test_a_full_disk_is_named() -> None:
    """The reason has the system's own word."""
    full = reply(200, exit_code=3, trouble=Trouble.CANNOT_WRITE, detail="No space left on device")

    failure = classify(full, about())

    assert failure.kind is LOCAL
    assert "No space left on device" in failure.reason


@pytest.mark.parametrize(
    ("number", "kind", "cause"),
    [
        (errno.EACCES, LOCAL, Cause.NOT_WRITABLE),
        (errno.EPERM, LOCAL, Cause.NOT_WRITABLE),
        (errno.EROFS, LOCAL, Cause.NOT_WRITABLE),
        (errno.EIO, LOCAL, Cause.DISK),
        (errno.ESTALE, LOCAL, Cause.DISK),
        (errno.ENOSPC, LOCAL, Cause.NO_SPACE),
        (errno.EDQUOT, LOCAL, Cause.NO_SPACE),
        (errno.EBUSY, TRANSIENT, Cause.IN_USE),
        (errno.EFBIG, PERMANENT, Cause.TOO_LARGE),
        (errno.ENOTDIR, PERMANENT, Cause.NAME),
        (errno.ELOOP, PERMANENT, Cause.NAME),
        (errno.EISDIR, PERMANENT, Cause.NAME),
        (errno.ENAMETOOLONG, PERMANENT, Cause.NAME),
    ],
)
def test_an_error_of_the_system_is_of_the_machine_the_moment_or_the_name(
    number: int, kind: FailureClass, cause: Cause
) -> None:
    """DIR's own trouble halts, scarcity passes, a bad name fails alone; the place is named."""
    failure = classify_os_error(OSError(number, "words", "/data/a.part"))

    assert failure == Failure(kind=kind, cause=cause, reason="words (/data/a.part)")


def test_a_dir_that_was_taken_away_is_this_machines_trouble() -> None:
    """A file of the program's own is gone; one of the user's is that file's own trouble."""
    gone = FileNotFoundError(errno.ENOENT, "words", "/data/.wgetpool/parts/1.new")

    assert (classify_os_error(gone).kind, classify_os_error(gone).cause) == (LOCAL, Cause.DISK)
    assert classify_os_error(FileNotFoundError(errno.ENOENT, "words", "/data/a")).kind is PERMANENT


def test_a_wget_that_cannot_be_started_is_the_machines_trouble() -> None:
    """Whatever the system says of it."""
    for number in (errno.ENOENT, errno.EACCES, errno.EMFILE):
        assert launch_failure(OSError(number, "words", "/usr/bin/wget")).cause is Cause.MACHINE


def test_an_error_without_a_number_is_told_all_the_same() -> None:
    """Not every OSError has errno and file."""
    assert classify_os_error(OSError("odd")).reason == "odd"


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("120", 120.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("9" * 400, 3600.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 14:00:00 GMT", 3600.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Sun, 01 Mar 2026 13:00:30 +0100", 30.0),
        ("Sunday, 01-Mar-26 12:00:30 GMT", 30.0),
        ("Sun Mar  1 12:00:30 2026", 30.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, wait: float | None) -> None:
    """An hour at most, never negative; junk is as if it were not there."""
    assert read_retry_after(text, now=NOW) == wait


@QUICK
@given(text=st.text(max_size=40) | st.text("0123456789 :,+-SepMonGMT", max_size=40))
@example("Mon, 01 Sep 99999999999999999999 10:00:00 GMT")
@example("Mon, 01 Sep 2025 10:00:00 +99999999999999999999")
def test_no_retry_after_of_a_server_can_end_the_run(text: str) -> None:
    """Junk never raises."""
    wait = read_retry_after(text, now=NOW)

    assert wait is None or 0.0 <= wait <= 3600.0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, None),
        ("yesterday", None),
        (MONDAY, datetime(2025, 9, 1, 10, tzinfo=UTC)),
        ("Mon, 01 Sep 2025 10:00:00 -0000", datetime(2025, 9, 1, 10, tzinfo=UTC)),
    ],
)
def test_an_http_date_is_an_instant(text: str | None, told: datetime | None) -> None:
    """Always with a zone, so that it can be compared."""
    assert read_http_date(text) == told


# ---------------------------------------------------------------- what lies behind it

CUT = "https://cdn.example.org/a.tar?_nc_gid"
ENDED: dict[str, Any] = {"exit_code": 0, "trouble": Trouble.NONE}


@pytest.mark.parametrize(
    ("status", "url", "cause"),
    [
        (400, PLAIN, Cause.REQUEST),
        (400, CUT, Cause.CUT_LINK),
        (401, PLAIN, Cause.LOGIN),
        (401, CUT, Cause.CUT_LINK),
        (403, PLAIN, Cause.FORBIDDEN),
        (403, CUT, Cause.CUT_LINK),
        (403, PAST, Cause.EXPIRED),
        (403, FUTURE, Cause.FORBIDDEN),
        (404, PLAIN, Cause.NOT_FOUND),
        (404, CUT, Cause.NOT_FOUND),
        (405, PLAIN, Cause.REQUEST),
        (407, PLAIN, Cause.PROXY_LOGIN),
        (410, PLAIN, Cause.NOT_FOUND),
        (410, PAST, Cause.EXPIRED),
        (416, PLAIN, Cause.NO_RANGES),
        (429, PAST, Cause.RATE_LIMITED),
        (451, PLAIN, Cause.LEGAL),
        (408, PLAIN, Cause.SERVER),
        (503, CUT, Cause.SERVER),
    ],
)
def test_a_status_and_the_link_tell_the_cause(status: int, url: str, cause: Cause) -> None:
    """A signed link shows itself whether it is expired, or cut; then other links are not at
    fault.
    """
    assert classify(reply(status), about(url=Url(url))).cause is cause


def test_a_link_that_is_cut_is_final_and_said_to_be() -> None:
    """Nobody waits for it, and its query is not shown."""
    failure = classify(reply(403), about(url=Url(CUT)))

    assert failure.kind is PERMANENT
    assert failure.reason == "HTTP 403: the link seems to be cut at an &"


def test_a_status_that_is_tried_again_keeps_its_cause() -> None:
    """--retry-status 403 changes what is done, not why."""
    again = about(url=Url(PAST), retry_status=frozenset({403}))

    failure = classify(reply(403), again)

    assert (failure.kind, failure.cause) == (TRANSIENT, Cause.EXPIRED)


@pytest.mark.parametrize(
    ("trouble", "detail", "cause"),
    [
        (Trouble.DNS, "", Cause.NAME_SERVICE),
        (Trouble.REFUSED, "", Cause.REFUSED),
        (Trouble.UNREACHABLE, "", Cause.UNREACHABLE),
        (Trouble.TIMED_OUT, "", Cause.TIMED_OUT),
        (Trouble.CLOSED, "", Cause.CONNECTION),
        (Trouble.NO_TLS, "", Cause.TLS),
        (Trouble.UNTRUSTED, "nobody known has signed it", Cause.CERTIFICATE),
        (Trouble.DATE, "it has expired", Cause.CERTIFICATE_DATE),
        (Trouble.HOST_NAME, "", Cause.CERTIFICATE_NAME),
        (Trouble.AUTHENTICATION, "", Cause.LOGIN),
        (Trouble.REDIRECTS, "", Cause.REDIRECT),
        (Trouble.BAD_PROXY, "", Cause.PROXY),
        (Trouble.NO_TUNNEL, "403 Forbidden", Cause.PROXY),
        (Trouble.NO_TUNNEL, "407 Proxy Authentication Required", Cause.PROXY_LOGIN),
        (Trouble.CANNOT_WRITE, "No space left on device", Cause.NO_SPACE),
        (Trouble.CANNOT_WRITE, "Disk quota exceeded", Cause.NO_SPACE),
        (Trouble.CANNOT_WRITE, "Permission denied", Cause.NOT_WRITABLE),
        (Trouble.CANNOT_WRITE, "Read-only file system", Cause.NOT_WRITABLE),
        (Trouble.CANNOT_WRITE, "Input/output error", Cause.DISK),
        (Trouble.CANNOT_WRITE, "File too large", Cause.TOO_LARGE),
        (Trouble.CANNOT_WRITE, "", Cause.DISK),
        (Trouble.USAGE, "", Cause.MACHINE),
        (Trouble.KILLED, "SIGKILL", Cause.KILLED),
        (Trouble.KILLED, "SIGXFSZ", Cause.TOO_LARGE),
        (Trouble.OTHER, "", Cause.OTHER),
    ],
)
def test_a_complaint_of_wget_tells_the_cause(trouble: Trouble, detail: str, cause: Cause) -> None:
    """Where there is no answer, wget's own word is all there is."""
    failure = classify(reply(exit_code=4, trouble=trouble, detail=detail), about())

    assert failure.cause is cause
    assert detail in failure.reason or cause is Cause.PROXY_LOGIN


@pytest.mark.parametrize(
    ("answer", "given", "cause"),
    [
        (reply(200, **ENDED), {}, Cause.CONNECTION),
        (reply(204, **ENDED), {}, Cause.NO_FILE),
        (reply(None, **ENDED), {}, Cause.NO_FILE),
        (reply(302), {}, Cause.REDIRECT),
        (reply(302, astray="ftp"), {}, Cause.REDIRECT),
        (reply(200), {"ending": Ending.TIMED_OUT}, Cause.TIME_LIMIT),
        (reply(200), {"ending": Ending.STALLED}, Cause.STALLED),
        (reply(), {"ending": Ending.STALLED}, Cause.TIMED_OUT),
        (
            reply(),
            {"ending": Ending.STALLED, "sight": replace(SEEN, link=Link.NONE)},
            Cause.NAME_SERVICE,
        ),
        (
            reply(200),
            {"ending": Ending.STALLED, "sight": Sight(state=ProcessState.BLOCKED)},
            Cause.DISK,
        ),
        (
            reply(200),
            {"ending": Ending.STALLED, "sight": Sight(state=ProcessState.STOPPED)},
            Cause.KILLED,
        ),
        (reply(200), {"finding": Finding.RANGE_IGNORED}, Cause.NO_RANGES),
        (reply(206), {"finding": Finding.CHANGED}, Cause.CHANGED),
        (reply(416), {"finding": Finding.LONGER}, Cause.CHANGED),
        (reply(200), {"finding": Finding.FOREIGN}, Cause.NO_FILE),
    ],
)
def test_how_an_attempt_ended_tells_the_cause(
    answer: Reply, given: dict[str, Any], cause: Cause
) -> None:
    """Stalls by what the process did, answers by what they carried."""
    assert classify(answer, about(**given)).cause is cause


@pytest.mark.parametrize(
    ("head", "cause", "words"),
    [
        (Head(status=416), Cause.NO_RANGES, "refuses to continue"),
        (Head(status=200, remote=RemoteFile(size=7)), Cause.CHANGED, "another size"),
        (Head(status=206, start=9), Cause.NO_RANGES, "does not tell which bytes"),
        (
            Head(status=206, start=5, remote=RemoteFile(size=99)),
            Cause.NO_RANGES,
            "other bytes of the file than were asked for",
        ),
        (
            Head(status=206, start=9, remote=RemoteFile(size=99)),
            Cause.CHANGED,
            "are not those of the part",
        ),
    ],
)
def test_what_does_not_fit_the_part_is_said_as_it_is(head: Head, cause: Cause, words: str) -> None:
    """A server that does not continue files has not changed the file."""
    answer = Reply(exit_code=-15, head=head, trouble=Trouble.KILLED)

    failure = classify(answer, about(finding=Finding.DIFFERS, offset=9))

    assert failure.cause is cause
    assert words in failure.reason


# ---------------------------------------------------------------- proxies

PROXY = "proxy.example.org:3128"
TLS = "https://example.org/a.tar"
HTTP = "http://example.org/a.tar"


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (Trouble.REFUSED, "connection refused"),
        (Trouble.DNS, "its name cannot be resolved"),
        (Trouble.UNREACHABLE, "no way to it"),
    ],
)
def test_a_proxy_that_cannot_be_reached_is_not_taken_for_the_server(
    trouble: Trouble, words: str
) -> None:
    """With a proxy, wget asks nobody else: not even the name service for the server."""
    failure = classify(reply(exit_code=4, trouble=trouble), about(proxy=PROXY))

    assert (failure.kind, failure.cause) == (TRANSIENT, Cause.PROXY)
    assert failure.reason == f"the proxy {PROXY} cannot be reached: {words}"


def test_behind_a_redirect_nobody_knows_which_proxy_it_was() -> None:
    """The target may be of the other scheme: then another proxy is asked, or none."""
    failure = classify(reply(302, exit_code=4, trouble=Trouble.REFUSED), about(proxy=PROXY))

    assert failure.cause is Cause.REFUSED
    assert PROXY not in failure.reason


@pytest.mark.parametrize("trouble", [Trouble.TIMED_OUT, Trouble.CLOSED, Trouble.NO_TLS])
def test_a_connection_that_breaks_through_a_proxy_names_it_and_blames_nobody(
    trouble: Trouble,
) -> None:
    """It may be the server behind it."""
    failure = classify(reply(exit_code=4, trouble=trouble), about(proxy=PROXY))

    assert failure.cause is not Cause.PROXY
    assert failure.reason == f"{trouble}, through the proxy {PROXY}"


@pytest.mark.parametrize(
    ("status", "kind", "cause", "words"),
    [
        ("403 Forbidden", PERMANENT, Cause.PROXY, "does not connect to the server: 403 Forbidden"),
        ("502 Bad Gateway", TRANSIENT, Cause.PROXY, "does not connect to the server: 502 Bad"),
        ("", TRANSIENT, Cause.PROXY, "does not connect to the server"),
        ("407 Proxy Authentication Required", PERMANENT, Cause.PROXY_LOGIN, "wants a user name"),
    ],
)
def test_a_proxy_that_opens_no_way_to_an_https_server_is_named(
    status: str, kind: FailureClass, cause: Cause, words: str
) -> None:
    """A refusal is final, a gateway's trouble passes."""
    answer = reply(exit_code=4, trouble=Trouble.NO_TUNNEL, detail=status)

    failure = classify(answer, about(url=Url(TLS), proxy=PROXY))

    assert (failure.kind, failure.cause) == (kind, cause)
    assert failure.reason.startswith(f"the proxy {PROXY} {words}")


def test_a_proxy_that_wants_a_login_is_named() -> None:
    """407 is nobody else's."""
    failure = classify(reply(407), about(url=Url(HTTP), proxy=PROXY))

    assert (failure.kind, failure.cause) == (PERMANENT, Cause.PROXY_LOGIN)
    assert failure.reason == f"HTTP 407: the proxy {PROXY} wants a user name and a password"


@pytest.mark.parametrize(("url", "cause"), [(HTTP, Cause.PROXY), (TLS, Cause.FORBIDDEN)])
def test_a_refusal_may_be_the_proxys_only_where_it_can_read_the_request(
    url: str, cause: Cause
) -> None:
    """Over https, an answer that comes is the server's."""
    failure = classify(reply(403), about(url=Url(url), proxy=PROXY))

    assert failure.cause is cause
    assert (PROXY in failure.reason) == (url == HTTP)


def test_a_stall_before_the_proxy_is_the_proxys() -> None:
    """It is the one that does not take the connection."""
    connecting = replace(SEEN, link=Link.CONNECTING)

    failure = classify(reply(), about(ending=Ending.STALLED, sight=connecting, proxy=PROXY))

    assert failure.cause is Cause.PROXY
    assert failure.reason == f"stalled: no connection to the proxy {PROXY} within 120 s"


# ---------------------------------------------------------------- whatever comes

REPLIES = st.builds(
    reply,
    st.none() | st.integers(100, 999),
    exit_code=st.integers(-15, 8),
    trouble=st.sampled_from(Trouble),
    retry_after=st.none() | st.text(max_size=20),
)


@QUICK
@given(
    answer=REPLIES,
    ending=st.sampled_from([Ending.EXITED, Ending.STALLED, Ending.TIMED_OUT, Ending.CUT_SHORT]),
    finding=st.sampled_from(Finding),
)
def test_every_answer_has_a_class_and_a_reason(
    answer: Reply, ending: Ending, finding: Finding
) -> None:
    """No combination raises or leaves a person without a word; broken is but a page in the place of
    a file whose size is listed.
    """
    failure = classify(answer, about(ending=ending, finding=finding, size=10))

    assert failure.reason
    assert failure.kind is not FailureClass.BROKEN or finding is Finding.FOREIGN


def test_a_redirect_to_another_scheme_is_final() -> None:
    """ftp is another protocol with other traps."""
    failure = classify(reply(302, exit_code=-15, trouble=Trouble.KILLED, astray="ftp"), about())

    assert failure.kind is PERMANENT
    assert "ftp:" in failure.reason


def test_a_redirect_that_leads_nowhere_is_named() -> None:
    """Not by its status alone, which says Found."""
    failure = classify(reply(302, reason="Found"), about())

    assert (failure.kind, failure.cause) == (PERMANENT, Cause.REDIRECT)
    assert failure.reason == "HTTP 302 Found: a redirect that leads nowhere"


@pytest.mark.parametrize(
    ("access", "words"),
    [
        (Access(), "the server wants a user name and a password"),
        (Access(headers=("X-Token: x",)), "the server wants a user name and a password"),
        (
            Access(headers=("authorization: x",), netrc=True),
            "refuses the login given with --header",
        ),
        (Access(netrc=True), "refuses the login in ~/.netrc, or there is none for it"),
    ],
)
def test_a_refused_login_is_told_from_one_that_is_missing(access: Access, words: str) -> None:
    """Whoever gave one need not be told to give one."""
    failure = classify(reply(401, trouble=Trouble.AUTHENTICATION), about(access=access))

    assert failure.cause is Cause.LOGIN
    assert words in failure.reason


@pytest.mark.parametrize(
    ("trouble", "command"),
    [
        (Trouble.NO_TLS, "ciphers"),
        (Trouble.NO_TLS, "secure_protocol"),
        (Trouble.DNS, "inet4_only"),
        (Trouble.DNS, "inet6_only"),
        (Trouble.DNS, "prefer_family"),
        (Trouble.UNTRUSTED, "ca_certificate"),
    ],
)
def test_a_setting_that_may_be_to_blame_is_named(trouble: Trouble, command: str) -> None:
    """Where it is set, and by its name alone."""
    access = Access(options=((command, "VALUE"), ("cache", "off")))

    blamed = classify(reply(trouble=trouble), about(access=access)).reason
    plain = classify(reply(trouble=trouble), about()).reason

    assert blamed == f"{plain} (--wget-option {command} is set: is it right?)"
