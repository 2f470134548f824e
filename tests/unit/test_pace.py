"""How fast it goes, and how long it still takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgetpool.events import Progress, Running, Waiting
from wgetpool.model import Sample
from wgetpool.pace import SETTLED, STEADY_WINDOW, Pace, Pacer, Rate, rate_at_end

GIB, MIB = 1024**3, 1024**2


def test_a_young_rate_is_the_plain_mean() -> None:
    """The first samples weigh the same, so that no lucky first second is believed."""
    rate = Rate()

    rate.add(1.0, 100)
    rate.add(2.0, 400)

    assert rate.value == pytest.approx(200)


def test_an_old_rate_forgets() -> None:
    """After a few windows of silence nearly nothing is left of the rate."""
    rate = Rate(window=15)
    for second in range(1, 100):
        rate.add(second, 1000 * second)

    for second in range(100, 160):
        rate.add(second, 99_000)

    assert rate.value is not None
    assert rate.value < 25


def test_a_part_that_was_cut_brought_nothing() -> None:
    """A total that falls is no negative rate."""
    rate = Rate(at=10.0, total=1000)

    rate.add(11.0, 200)

    assert rate.value == 0


def test_a_sample_that_comes_too_soon_is_left_to_the_next() -> None:
    """A second of bytes in a millisecond is no rate."""
    rate = Rate()

    rate.add(0.001, 1000)
    assert rate.value is None

    rate.add(1.0, 1000)
    assert rate.value == 1000


def test_time_left_is_unknown_without_sizes_or_rate() -> None:
    """No time left is shown that would be a guess."""
    pace = Pace()
    assert pace.left(12 * GIB, 100 * GIB) is None

    pace.add(60.0, 6000 * MIB)

    assert pace.left(12 * GIB, 100 * GIB) == pytest.approx(88 * 1024 / 100)
    assert pace.left(12 * GIB, None) is None
    assert pace.left(12 * GIB, 12 * GIB) is None


def test_no_time_left_is_told_before_the_rate_has_settled() -> None:
    """A lucky first second would promise too much."""
    pace = Pace()
    pace.add(SETTLED - 1, 1000)
    assert pace.left(0, 10_000) is None

    pace.add(SETTLED, 1100)

    assert pace.left(0, 10_000) is not None


def test_an_earlier_run_tells_the_time_left_sooner_and_counts_for_less_and_less() -> None:
    """After a restart; a few minutes later only what is now counts."""
    pace = Pace(earlier=100.0)
    pace.add(1.0, 10)
    assert pace.left(0, 1000) == pytest.approx(10, rel=0.01)

    for second in range(2, round(STEADY_WINDOW) + 1):
        pace.add(float(second), 10 * second)

    assert pace.left(0, 1000) == pytest.approx(100, rel=0.01)


def seen(at: float, *files: tuple[str, int, int]) -> Progress:
    """A look at a run: its files with attempt and bytes."""
    running = tuple(
        Running(name=name, attempt=attempt, bytes=size, size=None, since=at)
        for name, attempt, size in files
    )
    counts: dict[str, Any] = dict.fromkeys(("done", "skipped", "failed", "waiting_count"), 0)
    return Progress(
        seconds=at, files=3, bytes=0, received=0, size=None, running=running, waiting=(), **counts
    )


def rates(progress: Progress) -> dict[str, float | None]:
    return {file.name: file.rate for file in progress.running}


def test_each_file_has_its_own_rate_and_each_attempt_begins_anew() -> None:
    """What an earlier attempt brought says nothing about this one."""
    pacer = Pacer()
    assert rates(pacer.complete(seen(1.0, ("a", 1, 500), ("b", 1, 0)))) == {"a": None, "b": None}

    assert rates(pacer.complete(seen(2.0, ("a", 1, 600), ("b", 1, 7)))) == {"a": 100, "b": 7}
    assert rates(pacer.complete(seen(3.0, ("a", 2, 600), ("c", 1, 9)))) == {"a": None, "c": None}


def test_the_time_left_is_never_less_than_that_of_a_file_or_a_wait() -> None:
    """The last one may be slow, or wait for long."""
    pacer = Pacer(earlier=10.0**6)
    pacer.complete(replace(seen(1.0, ("slow", 1, 0)), size=1000))
    slow = replace(seen(2.0, ("slow", 1, 10)), size=1000)
    slow = replace(slow, running=(replace(slow.running[0], size=1000),))

    assert pacer.complete(slow).left == pytest.approx(99)
    wait = Waiting(name="w", attempt=2, due_in=300.0, reason="r")
    assert pacer.complete(replace(slow, waiting=(wait,))).left == 300


@pytest.mark.parametrize("held", [{"expired": 2}, {"no_room": 2}])
def test_no_time_left_is_told_while_all_is_held(held: dict[str, int]) -> None:
    """It goes on when somebody brings what is missing: nobody knows when."""

    def left(*files: tuple[str, int, int], **held: Any) -> float | None:
        pacer = Pacer(earlier=1000.0)
        pacer.complete(replace(seen(1.0), size=10_000))
        return pacer.complete(replace(seen(2.0, *files), size=10_000, **held)).left

    assert left(**held) is None
    assert left(("a", 1, 10), **held) == left() == pytest.approx(10, rel=0.1)


def test_a_last_file_that_does_not_come_on_leaves_no_time_left() -> None:
    """Nobody knows then. While others are still to begin, they are what counts."""

    def left(files: int) -> float | None:
        pacer = Pacer(earlier=1000.0)
        pacer.complete(seen(1.0, ("a", 1, 10)))
        stuck = replace(seen(2.0, ("a", 1, 10)), files=files, size=10_000)
        return pacer.complete(stuck).left

    assert left(1) is None
    assert left(50) == pytest.approx(10, rel=0.1)


def sample(seconds: float, received: int) -> Sample:
    counts = dict.fromkeys(("files", "done", "skipped", "failed", "running", "waiting"), 1)
    return Sample(run="r", at="", seconds=seconds, bytes=0, received=received, size=None, **counts)


def test_the_rate_at_a_runs_end_is_that_of_its_last_minutes() -> None:
    """What it made hours ago says nothing."""
    samples = [sample(0, 0), sample(5000, 10**9), sample(5100, 10**9 + 1000)]

    assert rate_at_end(samples) == 10
    rare = [sample(400_000, 0), sample(400_400, 4000)]  # of a run of days
    assert rate_at_end(rare) == 10
    assert rate_at_end(samples[:1]) is None
    assert rate_at_end([]) is None


@given(
    st.lists(st.tuples(st.floats(0, 1e7), st.integers(0, 2**50)), max_size=20),
    st.none() | st.floats(0, 1e12),
    st.none() | st.integers(0, 2**60),
)
def test_a_time_left_is_never_negative_nor_endless(
    samples: list[tuple[float, int]], earlier: float | None, whole: int | None
) -> None:
    """Whatever a run brings, in whatever rhythm."""
    pace = Pace(earlier)
    for at, received in sorted(samples):
        pace.add(at, received)

    left = pace.left(2**20, whole)

    assert left is None or 0 < left < float("inf")
