"""What an answer is worth, what a failure means, when to try again: tables of cases."""

from __future__ import annotations

import errno
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

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
    RemoteFile,
    Reply,
    RetryPolicy,
    Sight,
    Trouble,
    Url,
    Worth,
)
from wgetpool.policy import (
    OVERLAP,
    STEP,
    USELESS,
    Circumstances,
    Meter,
    backoff_wait,
    classify,
    classify_os_error,
    expires_at,
    judge,
    judge_stranger,
    made_progress,
    next_approach,
    plan_offset,
    read_http_date,
    read_retry_after,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
PLAIN = "https://example.org/a.tar"
PAST = f"https://cdn.example.org/a.tar?oh=00_A&oe={int(NOW.timestamp()) - 60:X}"
FUTURE = f"https://cdn.example.org/a.tar?oh=00_A&oe={int(NOW.timestamp()) + 60:X}"
MONDAY = "Mon, 01 Sep 2025 10:00:00 GMT"
TUESDAY = "Tue, 02 Sep 2025 10:00:00 GMT"
KIB, MIB = 1024, 1024**2
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


def test_an_error_without_a_number_is_told_all_the_same() -> None:
    """Not every OSError has errno and file."""
    assert classify_os_error(OSError("odd")).reason == "odd"


# ---------------------------------------------------------------- what a part is worth


@pytest.mark.parametrize(
    ("length", "approach", "listed", "offset"),
    [
        (0, Approach.CONTINUE, None, 0),
        (1, Approach.CONTINUE, None, 0),
        (OVERLAP, Approach.CONTINUE, None, 0),
        (OVERLAP + 1, Approach.CONTINUE, None, 1),
        (10 * MIB, Approach.CONTINUE, None, 10 * MIB - OVERLAP),
        (10 * MIB, Approach.CONTINUE, 10 * MIB, 10 * MIB - OVERLAP),
        (10 * MIB, Approach.CONTINUE, 10 * MIB - 1, 0),
        (10 * MIB, Approach.STEP_BACK, None, 0),
        (STEP + 5, Approach.STEP_BACK, None, 5),
        (STEP + 5, Approach.STEP_BACK, STEP, 0),
        (STEP + 5, Approach.STEPPED_BACK, None, STEP + 5 - OVERLAP),
        (STEP + 5, Approach.STEPPED_BACK, STEP, 0),
        (OVERLAP, Approach.STEPPED_BACK, None, 0),
        (10 * MIB, Approach.RESTART, None, 0),
    ],
)
def test_a_part_goes_on_before_its_end(
    length: int, approach: Approach, listed: int | None, offset: int
) -> None:
    """64 KiB are fetched again, 64 MiB after a difference; one longer than listed starts anew."""
    assert plan_offset(length, approach=approach, listed_size=listed) == offset


OFFSET, BEFORE, SIZE = 1000, 2000, 5000


def ranged(
    status: int = 206, start: int = OFFSET, size: int | None = SIZE, **remote: str | None
) -> Head:
    return Head(status=status, start=start, remote=RemoteFile(size=size, **remote))


def judged(
    answer: Head | None,
    known: RemoteFile | None = None,
    *,
    offset: int = OFFSET,
    same: bool | None = True,
    uniform: bool = False,
    listed_size: int | None = None,
) -> Finding:
    return judge(
        answer,
        offset=offset,
        before=BEFORE,
        known=known or RemoteFile(),
        listed_size=listed_size,
        same=same,
        uniform=uniform,
    )


@pytest.mark.parametrize(
    ("answer", "known", "same", "finding"),
    [
        (None, RemoteFile(), None, Finding.NOTHING),
        (ranged(302), RemoteFile(), None, Finding.NOTHING),
        (ranged(204), RemoteFile(), None, Finding.NOTHING),
        (ranged(503), RemoteFile(), None, Finding.NOTHING),
        (ranged(), RemoteFile(), None, Finding.NOTHING),
        (ranged(), RemoteFile(), True, Finding.FITS),
        (ranged(), RemoteFile(), False, Finding.DIFFERS),
        (ranged(), RemoteFile(size=SIZE), True, Finding.FITS),
        (ranged(), RemoteFile(size=SIZE + 1), True, Finding.CHANGED),
        (ranged(size=None), RemoteFile(size=SIZE), True, Finding.FITS),
        (ranged(size=BEFORE), RemoteFile(), True, Finding.FITS),
        (ranged(size=BEFORE - 1), RemoteFile(), None, Finding.LONGER),
        (ranged(start=OFFSET + 1), RemoteFile(), True, Finding.DIFFERS),
        (ranged(start=0), RemoteFile(), True, Finding.DIFFERS),
        (ranged(200, 0), RemoteFile(), None, Finding.RANGE_IGNORED),
        (ranged(200, 0), RemoteFile(size=SIZE), None, Finding.RANGE_IGNORED),
        (ranged(200, 0, None), RemoteFile(size=SIZE), None, Finding.RANGE_IGNORED),
        (ranged(200, 0, SIZE + 1), RemoteFile(size=SIZE), None, Finding.DIFFERS),
        (ranged(416, 0, OFFSET), RemoteFile(), None, Finding.LONGER),
        (ranged(416, 0, OFFSET - 1), RemoteFile(), None, Finding.LONGER),
        (ranged(416, 0, SIZE), RemoteFile(), None, Finding.DIFFERS),
        (ranged(416, 0, None), RemoteFile(), None, Finding.DIFFERS),
    ],
)
def test_an_answer_is_judged_by_status_range_size_and_bytes(
    answer: Head | None, known: RemoteFile, same: bool | None, finding: Finding
) -> None:
    """A part goes on only behind bytes that are equal, of a file of the same size."""
    assert judged(answer, known, same=same) is finding


@pytest.mark.parametrize(
    ("answer", "finding"),
    [
        (ranged(200, 0), Finding.FITS),
        (ranged(206, 0), Finding.FITS),
        (ranged(206, 5), Finding.NOTHING),
        (ranged(416, 0), Finding.NOTHING),
        (ranged(404, 0), Finding.NOTHING),
        (None, Finding.NOTHING),
    ],
)
def test_a_fresh_part_takes_whatever_begins_at_the_beginning(
    answer: Head | None, finding: Finding
) -> None:
    """With nothing to compare, any file is the right one."""
    known = RemoteFile(size=1, etag='"old"', last_modified=MONDAY)

    assert judged(answer, known, offset=0, same=None) is finding


@pytest.mark.parametrize(
    ("now", "known", "same", "uniform", "finding"),
    [
        # the edges of a CDN: all else agrees, and the bytes mean something
        (('"b"', MONDAY, SIZE), ('"a"', MONDAY, SIZE), True, False, Finding.FITS),
        (('"b"', MONDAY, SIZE), ('"a"', MONDAY, SIZE), None, False, Finding.NOTHING),
        (('"b"', MONDAY, SIZE), ('"a"', MONDAY, SIZE), False, False, Finding.DIFFERS),
        (('"b"', MONDAY, SIZE), ('"a"', MONDAY, SIZE), True, True, Finding.CHANGED),
        (('"b"', TUESDAY, SIZE), ('"a"', MONDAY, SIZE), True, False, Finding.CHANGED),
        (('"b"', None, SIZE), ('"a"', MONDAY, SIZE), True, False, Finding.CHANGED),
        (('"b"', MONDAY, SIZE), ('"a"', None, SIZE), True, False, Finding.CHANGED),
        (('"b"', None, SIZE), ('"a"', None, SIZE), True, False, Finding.CHANGED),
        (('"b"', MONDAY, SIZE), ('"a"', MONDAY, None), True, False, Finding.CHANGED),
        (('"b"', MONDAY, None), ('"a"', MONDAY, SIZE), True, False, Finding.CHANGED),
        # an equal ETag outweighs a date; without one the date decides
        (('"a"', TUESDAY, SIZE), ('"a"', MONDAY, SIZE), True, False, Finding.FITS),
        (('"a"', MONDAY, SIZE), ('"a"', MONDAY, SIZE), True, True, Finding.FITS),
        ((None, TUESDAY, SIZE), (None, MONDAY, SIZE), True, False, Finding.CHANGED),
        ((None, TUESDAY, SIZE), ('"a"', MONDAY, SIZE), True, False, Finding.CHANGED),
        ((None, MONDAY, SIZE), ('"a"', MONDAY, SIZE), True, False, Finding.FITS),
        ((None, None, SIZE), (None, MONDAY, SIZE), True, False, Finding.FITS),
        (('"b"', None, SIZE), (None, None, SIZE), True, True, Finding.FITS),
    ],
)
def test_validators_are_weighed(
    now: tuple[str | None, str | None, int | None],
    known: tuple[str | None, str | None, int | None],
    same: bool | None,
    uniform: bool,
    finding: Finding,
) -> None:
    """A changed ETag is outweighed when size, date and bytes of more than one value agree."""
    answer = ranged(etag=now[0], last_modified=now[1], size=now[2])
    remote = RemoteFile(etag=known[0], last_modified=known[1], size=known[2])

    assert judged(answer, remote, same=same, uniform=uniform) is finding


@pytest.mark.parametrize(
    ("approach", "finding", "then"),
    [
        (Approach.CONTINUE, Finding.NOTHING, Approach.CONTINUE),
        (Approach.STEP_BACK, Finding.NOTHING, Approach.STEPPED_BACK),
        (Approach.STEPPED_BACK, Finding.NOTHING, Approach.STEPPED_BACK),
        (Approach.RESTART, Finding.NOTHING, Approach.RESTART),
        *((approach, Finding.FITS, Approach.CONTINUE) for approach in Approach),
        (Approach.CONTINUE, Finding.DIFFERS, Approach.STEP_BACK),
        (Approach.STEP_BACK, Finding.DIFFERS, Approach.RESTART),
        (Approach.STEPPED_BACK, Finding.DIFFERS, Approach.RESTART),
        (Approach.RESTART, Finding.DIFFERS, Approach.RESTART),
        (Approach.CONTINUE, Finding.CHANGED, Approach.RESTART),
        (Approach.CONTINUE, Finding.LONGER, Approach.RESTART),
        (Approach.CONTINUE, Finding.RANGE_IGNORED, Approach.RESTART),
        (Approach.STEP_BACK, Finding.RANGE_IGNORED, Approach.RESTART),
        *(
            (Approach.STEPPED_BACK, finding, Approach.RESTART)
            for finding in (Finding.CHANGED, Finding.LONGER, Finding.RANGE_IGNORED)
        ),
    ],
)
def test_a_part_that_does_not_fit_steps_back_and_then_starts_anew(
    approach: Approach, finding: Finding, then: Approach
) -> None:
    """One step back, compared again, then a new start. What tells nothing changes nothing, except
    that the step back has been made.
    """
    assert next_approach(approach, finding) is then


@pytest.mark.parametrize(
    ("best", "after", "size", "progress"),
    [
        (0, 64 * KIB, None, True),
        (0, 64 * KIB - 1, None, False),
        (0, 64 * KIB, 100 * MIB, True),
        (0, 64 * KIB - 1, 100 * MIB, False),
        (0, 10, 1000, True),
        (0, 9, 1000, False),
        (990, 1000, 1000, True),
        (0, 1, 7, True),
        (0, 0, 7, False),
        (0, 0, 0, False),
        (5 * MIB, 4 * MIB, None, False),
        (5 * MIB, 5 * MIB, None, False),
    ],
)
def test_progress_is_64_kib_or_one_percent_beyond_the_best(
    best: int, after: int, size: int | None, progress: bool
) -> None:
    """Measured from where the part has ever been, not from where the attempt began."""
    assert made_progress(best=best, after=after, size=size) is progress


@QUICK
@given(
    best=st.integers(0, 2**50),
    size=st.none() | st.integers(0, 2**50),
    lengths=st.lists(st.integers(0, 2**50), max_size=8),
)
def test_progress_is_never_made_without_a_new_byte(
    best: int, size: int | None, lengths: list[int]
) -> None:
    """Whatever the sizes: no progress up to the best length, always 64 KiB beyond it."""
    for after in lengths:
        if after <= best:
            assert not made_progress(best=best, after=after, size=size)
        if after >= best + 64 * KIB:
            assert made_progress(best=best, after=after, size=size)


# ---------------------------------------------------------------- stalls


def first_stall(limits: Limits, samples: list[tuple[float, int]]) -> float | None:
    """The instant at which the samples show a stall."""
    meter = Meter(limits, now=0.0, length=0)
    return next((now for now, length in samples if meter.stalled(now=now, length=length)), None)


def seconds(begin: int, end: int, length: int, rate: int = 0) -> list[tuple[float, int]]:
    return [(float(at), length + rate * (at - begin)) for at in range(begin, end)]


@pytest.mark.parametrize(
    ("limits", "samples", "at"),
    [
        (Limits(stall_timeout=60, min_rate=0), seconds(1, 100, 0), 60.0),
        (Limits(stall_timeout=60, min_rate=0), seconds(1, 30, 5) + seconds(30, 200, 9), 90.0),
        (Limits(stall_timeout=60, min_rate=0), seconds(1, 200, 0, rate=1), None),
        (Limits(stall_timeout=60, min_rate=1024), seconds(1, 200, 0, rate=1023), 60.0),
        (Limits(stall_timeout=60, min_rate=1024), seconds(1, 200, 1024, rate=1024), None),
        (Limits(stall_timeout=0, min_rate=1024), seconds(1, 500, 0), None),
    ],
)
def test_a_stall_is_too_little_over_the_stall_time(
    limits: Limits, samples: list[tuple[float, int]], at: float | None
) -> None:
    """No new byte, or a mean under --min-rate, over --stall-timeout; 0 switches it off."""
    assert first_stall(limits, samples) == at


def test_a_burst_is_remembered_for_the_stall_time_only() -> None:
    """The mean is over the last stall time: what came before does not carry a dead line."""
    samples = seconds(1, 10, 0, rate=10**9) + seconds(10, 300, 10**10)

    at = first_stall(Limits(stall_timeout=60, min_rate=1024), samples)

    assert at is not None
    assert 60 <= at <= 75


def test_a_gap_in_the_samples_is_no_stall() -> None:
    """After Ctrl-Z or a suspended machine it counts anew."""
    samples = [*seconds(1, 50, 0), *seconds(5000, 5059, 0), (5060.0, 0)]

    assert first_stall(Limits(stall_timeout=60, min_rate=0), samples) == 5060.0


def test_a_part_that_was_cut_is_measured_from_there() -> None:
    """A length that falls is a cut, not a stall."""
    samples = seconds(1, 50, 10**6) + seconds(50, 109, 10)

    assert first_stall(Limits(stall_timeout=60, min_rate=0), samples) is None


@QUICK
@given(
    stall=st.floats(1, 1000),
    rate=st.integers(0, 10**6),
    steps=st.lists(st.tuples(st.floats(0, 2000), st.integers(-(10**6), 10**6)), max_size=60),
)
def test_nothing_is_a_stall_before_its_time(
    stall: float, rate: int, steps: list[tuple[float, int]]
) -> None:
    """Whatever the samples: not earlier than one stall time after the start."""
    meter, now, length = (
        Meter(Limits(stall_timeout=stall, min_rate=rate), now=0.0, length=0),
        0.0,
        0,
    )

    for seconds_more, bytes_more in steps:
        now, length = now + seconds_more, max(length + bytes_more, 0)
        assert not (meter.stalled(now=now, length=length) and now < stall)


# ---------------------------------------------------------------- when to try again


@pytest.mark.parametrize(
    ("barren", "wait"),
    [(0, 5.0), (1, 5.0), (2, 10.0), (3, 20.0), (6, 160.0), (7, 300.0), (999, 300.0)],
)
def test_the_wait_doubles_up_to_its_maximum(barren: int, wait: float) -> None:
    """5 s, doubled each time, 5 min at most."""
    assert backoff_wait(RetryPolicy(), barren=barren, jitter=1.0) == wait


@QUICK
@given(
    backoff=st.floats(0, 1e9),
    backoff_max=st.floats(0, 1e9),
    barren=st.integers(-5, 10**9),
    jitter=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.floats(0, 3600),
)
def test_a_wait_stays_within_its_bounds(
    backoff: float, backoff_max: float, barren: int, jitter: float, retry_after: float | None
) -> None:
    """No overflow after any number of tries; never sooner than Retry-After, else never too late."""
    policy = RetryPolicy(backoff=backoff, backoff_max=backoff_max)

    wait = backoff_wait(policy, barren=barren, jitter=jitter, retry_after=retry_after)

    assert (retry_after or 0.0) <= wait <= max(backoff_max, retry_after or 0.0)


def test_retry_after_is_not_capped_by_the_longest_backoff() -> None:
    """Retry-After is obeyed up to an hour, which is more than --backoff-max."""
    assert backoff_wait(RetryPolicy(), barren=1, jitter=0.5, retry_after=3600.0) == 3600.0


def test_jitter_spreads_the_whole_wait() -> None:
    """Full jitter: half the jitter is half the wait."""
    assert backoff_wait(RetryPolicy(), barren=3, jitter=0.5) == 10.0


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


# ---------------------------------------------------------------- a file that somebody else made


@pytest.mark.parametrize(
    ("status", "start", "told", "same", "worth"),
    [
        (206, 900, 1000, True, Worth.WHOLE),
        (206, 900, 1001, True, Worth.TORN),
        (206, 900, 999, True, Worth.OTHER),  # longer than the server's
        (206, 900, 1000, False, Worth.OTHER),
        (206, 900, 1000, None, None),  # too few bytes came
        (206, 900, 999, None, Worth.OTHER),
        (206, 800, 1000, True, Worth.OTHER),  # a range that nobody asked for
        (206, 900, None, True, Worth.OTHER),
        (200, 0, 1000, None, Worth.OTHER),  # ranges ignored
        (416, 0, 900, None, Worth.OTHER),
        (404, 0, None, None, None),
        (503, 0, None, None, None),
        (204, 0, None, None, None),
    ],
)
def test_a_stranger_is_worth_what_its_last_bytes_are(
    status: int, start: int, told: int | None, same: bool | None, worth: Worth | None
) -> None:
    """Whole, torn, or something else; nothing is said of it while nothing can be."""
    head = Head(status=status, start=start, remote=RemoteFile(size=told))

    assert judge_stranger(head, start=900, length=1000, same=same) is worth


def test_a_short_stranger_is_compared_whole() -> None:
    """From its first byte on, a server without ranges says as much as another."""
    head = Head(status=200, remote=RemoteFile(size=1000))

    assert judge_stranger(head, start=0, length=1000, same=True) is Worth.WHOLE
    assert judge_stranger(head, start=0, length=900, same=True) is Worth.TORN
    assert judge_stranger(None, start=0, length=900, same=None) is None


# ---------------------------------------------------------------- pages


@pytest.mark.parametrize(
    ("answer", "known", "listed_size", "finding"),
    [
        (27, None, 1000, Finding.FOREIGN),  # the list says what the file has
        (BEFORE + 5, RemoteFile(size=BEFORE + 5), BEFORE + 5, Finding.RANGE_IGNORED),
        (27, RemoteFile(size=BEFORE + 5), None, Finding.FOREIGN),  # so did the server, once
        (27, None, None, Finding.RANGE_IGNORED),  # nobody knows
        (BEFORE + 9, RemoteFile(size=BEFORE + 5), None, Finding.DIFFERS),  # a longer one
        (None, RemoteFile(size=BEFORE + 5), BEFORE + 5, Finding.RANGE_IGNORED),
    ],
)
def test_a_page_is_no_reason_to_give_a_part_up(
    answer: int | None, known: RemoteFile | None, listed_size: int | None, finding: Finding
) -> None:
    """A 200 to a range that is not the file: asked again, with the part as it was."""
    head = Head(status=200, remote=RemoteFile(size=answer))

    assert judged(head, known, same=None, listed_size=listed_size) is finding
    if finding is Finding.FOREIGN:
        assert next_approach(Approach.CONTINUE, finding) is Approach.CONTINUE


def test_a_short_answer_with_validators_is_a_changed_file() -> None:
    """Pages that are made for the moment have none."""
    head = Head(status=200, remote=RemoteFile(size=27, last_modified=MONDAY))

    assert judged(head, RemoteFile(size=BEFORE + 5), same=None) is Finding.DIFFERS


def test_a_redirect_to_another_scheme_is_final() -> None:
    """ftp is another protocol with other traps."""
    failure = classify(reply(302, exit_code=-15, trouble=Trouble.KILLED, astray="ftp"), about())

    assert failure.kind is PERMANENT
    assert "ftp:" in failure.reason
