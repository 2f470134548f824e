"""What a failure means: tables of cases."""

from __future__ import annotations

import errno
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wgetpool.failures import (
    Circumstances,
    classify,
    classify_os_error,
    expires_at,
    read_http_date,
    read_retry_after,
)
from wgetpool.model import (
    Approach,
    AttemptOrder,
    Ending,
    Entry,
    Failure,
    FailureClass,
    Finding,
    Head,
    Limits,
    Link,
    ProcessState,
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
) -> Reply:
    told = None if status is None else Head(status=status, retry_after=retry_after, astray=astray)
    return Reply(exit_code=exit_code, head=told, trouble=trouble, detail=detail)


def about(
    *,
    size: int | None = None,
    url: Url | None = None,
    limits: Limits | None = None,
    retry_status: frozenset[int] = frozenset(),
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
        (Trouble.TLS, PERMANENT),
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
        (Limits(stall_timeout=120, min_rate=1024), "less than --min-rate 1024 bytes/s over 120 s"),
        (Limits(stall_timeout=0.5, min_rate=0), "no new byte for 0.5 s"),
    ],
)
def test_a_stall_says_which_limit_it_broke(limits: Limits, words: str) -> None:
    """The reason names the rate and the time that the user can set."""
    failure = classify(reply(200), about(ending=Ending.STALLED, limits=limits, received=9))

    assert failure.reason == f"stalled: {words}"


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
        ("SIGKILL", TRANSIENT, "memory"),
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
        (Trouble.TLS, PERMANENT),
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
    ("number", "kind"),
    [
        (errno.EACCES, LOCAL),
        (errno.EPERM, LOCAL),
        (errno.EROFS, LOCAL),
        (errno.EIO, LOCAL),
        (errno.ENOSPC, LOCAL),
        (errno.EDQUOT, LOCAL),
        (errno.EBUSY, TRANSIENT),
        (errno.ENOTDIR, PERMANENT),
        (errno.ELOOP, PERMANENT),
        (errno.EISDIR, PERMANENT),
        (errno.ENAMETOOLONG, PERMANENT),
    ],
)
def test_an_error_of_the_system_is_of_the_machine_the_moment_or_the_name(
    number: int, kind: FailureClass
) -> None:
    """DIR's own trouble halts, scarcity passes, a bad name fails alone; the place is named."""
    failure = classify_os_error(OSError(number, "words", "/data/a.part"))

    assert failure == Failure(kind=kind, reason="words (/data/a.part)")


def test_a_dir_that_was_taken_away_is_this_machines_trouble() -> None:
    """A file of the program's own is gone; one of the user's is that file's own trouble."""
    gone = FileNotFoundError(errno.ENOENT, "words", "/data/.wgetpool/parts/1.new")

    assert classify_os_error(gone).kind is LOCAL
    assert classify_os_error(FileNotFoundError(errno.ENOENT, "words", "/data/a")).kind is PERMANENT


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


# ---------------------------------------------------------------- signed URLs


@pytest.mark.parametrize(
    ("query", "expiry"),
    [
        ("oh=00_AfA&oe=65A1B2C3&_nc_sid=0", datetime.fromtimestamp(0x65A1B2C3, UTC)),
        ("_nc_gid&oh=00_AfA&oe=65a1b2c3", datetime.fromtimestamp(0x65A1B2C3, UTC)),
        ("oe=65A1B2C3", None),
        (
            "X-Amz-Date=20260301T120000Z&X-Amz-Expires=3600&X-Amz-Signature=ab",
            NOW + timedelta(hours=1),
        ),
        ("x-amz-date=20260301T120000Z&x-amz-expires=60", NOW + timedelta(minutes=1)),
        ("X-Goog-Date=20260301T120000Z&X-Goog-Expires=60", NOW + timedelta(minutes=1)),
        ("X-Amz-Expires=60", None),
        ("X-Amz-Date=yesterday&X-Amz-Expires=60", None),
        ("X-Amz-Date=20260301T120000Z&X-Amz-Expires=" + "9" * 30, None),
        (
            "AWSAccessKeyId=A&Expires=1772366400&Signature=s",
            datetime.fromtimestamp(1772366400, UTC),
        ),
        ("Expires=1772366400&Key-Pair-Id=K", datetime.fromtimestamp(1772366400, UTC)),
        ("Expires=3600", None),
        ("expires=never", None),
        ("sv=1&se=2026-03-01T12%3A00%3A00Z&sig=s", NOW),
        ("se=2026-03-01&sig=s", datetime(2026, 3, 1, tzinfo=UTC)),
        ("se=2026-03-01T12:00:00Z", None),
        ("oh=1&oe=" + "F" * 40, None),
        ("oh=1&oe=zz", None),
        ("", None),
    ],
)
def test_a_signed_url_tells_its_expiry(query: str, expiry: datetime | None) -> None:
    """Meta, S3, Google, CloudFront and Azure are read; what is none of them never expires."""
    assert expires_at(Url(f"https://cdn.example.org/a.tar?{query}")) == expiry


KEYS = st.sampled_from(
    [
        "oe",
        "oh",
        "se",
        "sig",
        "Expires",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Goog-Date",
        "X-Goog-Expires",
    ]
)
VALUES = st.text(max_size=30) | st.integers(-(10**30), 10**30).map(str)


@QUICK
@given(fields=st.lists(st.tuples(KEYS, VALUES), max_size=5), junk=st.text(max_size=30))
def test_no_url_is_too_odd_to_look_for_its_expiry(fields: list[tuple[str, str]], junk: str) -> None:
    """Junk never raises, and what is found can be compared with now."""
    query = "&".join(f"{key}={value}" for key, value in fields)

    expiry = expires_at(Url(f"https://example.org/a?{query}{junk}"))

    assert expiry is None or expiry.tzinfo is not None


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
