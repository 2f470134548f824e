"""What an answer is worth, what a failure means, when to try again: tables of cases."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgetpool.model import (
    Approach,
    FailureClass,
    Finding,
    Head,
    Limits,
    RemoteFile,
    RetryPolicy,
    Worth,
)
from wgetpool.policy import (
    OVERLAP,
    STEP,
    Meter,
    backoff_wait,
    judge,
    judge_stranger,
    made_progress,
    next_approach,
    plan_offset,
)

MONDAY = "Mon, 01 Sep 2025 10:00:00 GMT"
TUESDAY = "Tue, 02 Sep 2025 10:00:00 GMT"
KIB, MIB = 1024, 1024**2
QUICK = settings(max_examples=50, deadline=None)
TRANSIENT, PERMANENT = FailureClass.TRANSIENT, FailureClass.PERMANENT
EXPIRED, LOCAL = FailureClass.EXPIRED, FailureClass.LOCAL


# ---------------------------------------------------------------- what a part is worth


@pytest.mark.parametrize(
    ("length", "approach", "listed", "offset"),
    [
        (0, Approach.CONTINUE, None, 0),
        (1, Approach.CONTINUE, None, 0),
        (OVERLAP, Approach.CONTINUE, None, 0),
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
    moved: bool = False,
) -> Finding:
    return judge(
        answer,
        offset=offset,
        before=BEFORE,
        known=known or RemoteFile(),
        listed_size=listed_size,
        same=same,
        uniform=uniform,
        moved=moved,
    )


@pytest.mark.parametrize(
    ("size", "same", "uniform", "finding"),
    [
        (SIZE, True, False, Finding.FITS),
        (SIZE, None, False, Finding.NOTHING),
        (SIZE, False, False, Finding.DIFFERS),
        (SIZE, True, True, Finding.DIFFERS),  # and then one step back
        (SIZE + 1, True, False, Finding.CHANGED),
        (BEFORE - 1, None, False, Finding.LONGER),
    ],
)
def test_at_another_path_size_and_bytes_tell_and_nothing_else(
    size: int, same: bool | None, uniform: bool, finding: Finding
) -> None:
    """A mirror has validators of its own, equal or not; bytes of one value prove nothing."""
    known = RemoteFile(size=SIZE, etag='"a"', last_modified=MONDAY)
    validators = product(['"a"', '"b"', None], [MONDAY, TUESDAY, None])
    answers = [ranged(size=size, etag=etag, last_modified=date) for etag, date in validators]

    found = {judged(each, known, same=same, uniform=uniform, moved=True) for each in answers}

    assert found == {finding}


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
