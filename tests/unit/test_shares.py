"""How the line is shared by wgets that cannot change their rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.doubles import FakeClock

from wgetpool.shares import LEAST, SETTLED, Shares

MIB = 1024**2


class Line:
    """Shares of a line of 1000 KiB/s, unless said otherwise."""

    def __init__(self, limit: int = 1000 * 1024) -> None:
        self.clock, self.limit = FakeClock(), limit
        self.shares = Shares(limit, clock=self.clock)
        self.held: dict[str, int] = {}

    def give(self, *names: str, expected: int) -> list[int]:
        """The shares of attempts that start one after the other."""
        for name in names:
            assert self.shares.is_free(expected=expected)
            rate = self.shares.give(name, expected=expected)
            assert rate is not None
            self.held[name] = rate
        return [self.held[name] for name in names]

    def end(self, *names: str, seconds: float = 10.0, ahead: float = 0.0) -> None:
        """Ends attempts that brought what their shares allow, and `ahead` seconds' worth more."""
        for name in names:
            received = round(self.held.pop(name) * (seconds + ahead))
            self.shares.ended(name, received=received, seconds=seconds)

    def settle(self) -> None:
        self.clock.advance(SETTLED)

    def used(self) -> float:
        """How much of the line is given out, of 1."""
        return sum(self.held.values()) / self.limit


def test_no_limit_no_shares() -> None:
    """Without --limit-rate everything may start, at full speed."""
    shares = Shares(0, clock=FakeClock())

    assert shares.is_free(expected=99)
    assert shares.give("a", expected=99) is None
    shares.ended("a", received=10**9, seconds=0.0)
    assert shares.is_free(expected=99)
    assert shares.due_in() is None
    assert shares.unfair(expected=99) == []


# ---------------------------------------------------------------- given


def test_each_gets_its_part() -> None:
    """Four that start together get a quarter each, and the line is full."""
    line = Line()

    assert line.give("a", "b", "c", "d", expected=4) == [250 * 1024] * 4
    assert not line.shares.is_free(expected=4)
    assert line.shares.due_in() is None, "it depends on what runs"


def test_one_alone_gets_all() -> None:
    """`-j 1`, or one file."""
    assert Line().give("a", expected=1) == [1000 * 1024]


def test_what_is_left_is_used() -> None:
    """Where the others hold less than is fair, the one that starts gets what they leave."""
    line = Line()
    line.give("a", "b", "c", "d", expected=4)
    line.end("a", "b", "c")

    assert line.give("e", expected=2) == [750 * 1024]


def test_what_is_left_is_shared_by_those_to_come() -> None:
    """Two are still to start: half of the rest each, not the whole rest for the first."""
    line = Line()
    line.give("a", "b", "c", "d", expected=4)
    line.end("a", "b", "c")

    assert line.give("e", "f", expected=3) == [375 * 1024] * 2


def test_nobody_gets_next_to_nothing() -> None:
    """A rest of less than half a fair share is not given: it would bind a file to it for hours."""
    line = Line()
    line.give("a", expected=1)
    line.end("a")
    line.give("a", "b", "c", expected=4)
    line.end("a")
    line.give("d", expected=3)

    assert not line.shares.is_free(expected=4)


def test_a_small_rest_goes_to_one() -> None:
    """One holds 8/10, three are to come: half a fair share for the first of them, and no crumbs."""
    line = Line()
    line.give("a", "b", "c", "d", "e", expected=5)
    line.end("b", "c", "d", "e")
    line.give("big", expected=2)
    line.end("a")

    assert line.give("f", expected=4) == [125 * 1024]


def test_a_line_too_thin_for_all_is_shared_by_few() -> None:
    """Under 1 KiB/s an attempt is of no use: 2500 bytes a second are for two, whatever -j says."""
    line = Line(2500)

    assert line.give("a", "b", expected=8) == [1250, 1250]
    assert not line.shares.is_free(expected=8)


@pytest.mark.parametrize("limit", [1, 10, LEAST - 1, LEAST])
def test_the_thinnest_line_is_for_one(limit: int) -> None:
    """It gets all that there is."""
    line = Line(limit)

    assert line.give("a", expected=4) == [limit]
    assert not line.shares.is_free(expected=4)


# ---------------------------------------------------------------- more than its share


def test_a_small_file_holds_its_share_after_its_end() -> None:
    """wget lets 100 KiB through at once, at 250 KiB/s: its share is taken for 0.4 s."""
    line = Line()
    line.give("a", "b", "c", "d", expected=4)
    line.shares.ended("a", received=100 * 1024, seconds=0.1)

    assert not line.shares.is_free(expected=4)
    assert line.shares.due_in() == pytest.approx(0.3)

    line.clock.advance(0.31)
    assert line.shares.is_free(expected=4)
    assert line.shares.due_in() is None


def test_one_that_kept_to_its_share_holds_nothing() -> None:
    """Its share is free at once."""
    line = Line()
    line.give("a", "b", "c", "d", expected=4)
    line.end("a")

    assert line.shares.is_free(expected=4)


def test_an_attempt_that_brought_nothing_holds_nothing() -> None:
    """It never connected."""
    line = Line()
    line.give("a", expected=1)
    line.shares.ended("a", received=0, seconds=0.0)

    assert line.shares.is_free(expected=1)


def test_a_share_that_is_held_does_not_shrink_the_others() -> None:
    """The one that starts first after a volley of small files gets a quarter, not a quarter of a
    quarter.
    """
    line = Line()
    line.give("a", "b", "c", "d", expected=4)
    for ahead, name in enumerate("abcd", 1):
        line.end(name, ahead=ahead)
    line.clock.advance(1.5)

    assert line.give("e", expected=4) == [250 * 1024]


def test_many_small_files_do_not_go_over_the_line() -> None:
    """Files of 30 KiB that each come at once, by four workers: over a minute just the limit, and
    not much less.
    """
    line, received = Line(), 0
    begin = line.clock.now()
    while line.clock.now() < begin + 60:
        if line.shares.is_free(expected=4):
            line.give("a", expected=4)
            line.held.clear()
            line.clock.advance(0.005)
            line.shares.ended("a", received=30 * 1024, seconds=0.005)
            received += 30 * 1024
        else:
            due = line.shares.due_in()
            assert due is not None
            line.clock.advance(due + 0.001)

    assert 0.95 <= received / (60 * line.limit) <= 1.01


# ---------------------------------------------------------------- found unfair


def test_half_of_the_line_idle_is_shared_anew() -> None:
    """Two of four are over: the other two are ended and get a half each."""
    line = Line()
    line.give("a", "b", "c", "d", expected=4)
    line.settle()
    line.end("a", "b")

    assert sorted(line.shares.unfair(expected=2)) == ["c", "d"]
    line.end("c")
    assert line.give("c", expected=2) == [500 * 1024], "not all, though all is free but for d"
    line.end("d")
    assert line.give("d", expected=2) == [500 * 1024]
    line.settle()
    assert line.shares.unfair(expected=2) == []


def test_as_many_are_ended_as_get_twice_as_much() -> None:
    """A quarter is free: for one of the three it doubles the share, for two it would not."""
    line = Line()
    line.give("a", "b", "c", "d", expected=4)
    line.settle()
    line.end("a")

    assert len(line.shares.unfair(expected=3)) == 1


def test_a_fifth_idle_is_nothing() -> None:
    """Ending costs a connection and the overlap: a line of which four fifths are used is left."""
    line = Line()
    line.give("a", "b", "c", "d", "e", expected=5)
    line.settle()
    line.end("a")

    assert line.shares.unfair(expected=4) == []


def test_the_last_gets_all_that_is_free() -> None:
    """Even where it does not double its share: less than three quarters of the line are used."""
    line = Line()
    line.give("a", "b", "c", expected=3)
    line.end("b", "c")
    line.give("d", expected=2)
    line.end("a")
    line.settle()
    assert line.used() == pytest.approx(2 / 3, abs=0.01)

    assert line.shares.unfair(expected=1) == ["d"]
    line.end("d")
    assert line.give("d", expected=1) == [line.limit]


def test_what_is_about_to_start_takes_it() -> None:
    """Two are over and two wait for their turn: nobody is ended for what they will take."""
    line = Line()
    line.give("a", "b", "c", "d", expected=4)
    line.settle()
    line.end("a", "b")

    assert line.shares.unfair(expected=4) == []


def test_the_largest_makes_room() -> None:
    """One alone has the whole line; three more are to run: it is ended, and each gets a part."""
    line = Line()
    line.give("a", expected=1)
    line.settle()

    assert line.shares.unfair(expected=4) == ["a"]
    line.end("a")
    assert line.give("b", "a", "c", "d", expected=4) == [250 * 1024] * 4


def test_one_that_has_less_than_twice_its_part_stays() -> None:
    """Three share the line and a fourth is to run: it waits until one of them is over."""
    line = Line()
    line.give("a", "b", "c", expected=3)
    line.settle()

    assert not line.shares.is_free(expected=4)
    assert line.shares.unfair(expected=4) == []


def test_a_share_that_is_free_soon_is_waited_for() -> None:
    """Small files hold the rest for a moment: nobody is ended for that."""
    line = Line()
    line.give("a", "b", expected=2)
    line.settle()
    line.end("b", ahead=0.2)

    assert not line.shares.is_free(expected=4)
    assert line.shares.unfair(expected=4) == []


def test_none_is_named_twice() -> None:
    """While those that were named are being ended nothing more is decided."""
    line = Line()
    line.give("a", "b", "c", "d", expected=4)
    line.settle()
    line.end("a", "b", "c")
    assert line.shares.unfair(expected=1) == ["d"]

    assert line.shares.unfair(expected=1) == []


def test_one_that_has_only_begun_is_left() -> None:
    """An attempt that is ended in its first seconds has hardly connected."""
    line = Line()
    line.give("a", "b", "c", "d", expected=4)
    line.end("a", "b", "c")
    line.clock.advance(SETTLED - 0.1)
    assert line.shares.unfair(expected=1) == []

    line.clock.advance(0.2)
    assert line.shares.unfair(expected=1) == ["d"]


def test_what_those_that_are_ended_owe_is_waited_for() -> None:
    """wget is ahead of its rate by up to a fifth of a second whenever it is ended: the next share
    is no smaller for that, only a little later.
    """
    line = Line()
    line.give("a", "b", "c", "d", expected=4)
    line.settle()
    line.end("a", "b")
    assert sorted(line.shares.unfair(expected=2)) == ["c", "d"]

    line.end("c", ahead=0.2)
    assert line.give("c", expected=2) == [500 * 1024]
    line.end("d", ahead=0.2)
    assert not line.shares.is_free(expected=2)
    line.clock.advance(0.21)
    assert line.give("d", expected=2) == [500 * 1024]


# ---------------------------------------------------------------- whatever happens


ACTS = st.tuples(
    st.sampled_from(["start", "end", "end early", "look", "wait"]),
    st.integers(1, 9),
    st.floats(0, 5),
)


@given(st.sampled_from([1, 999, 5000, 100_003, 20 * MIB]), st.lists(ACTS, max_size=60))
def test_never_more_than_the_line_and_mostly_used(
    limit: int, acts: list[tuple[str, int, float]]
) -> None:
    """Whoever comes and goes: never over the limit, and when nobody is to come and all has settled,
    at least three quarters are used.
    """
    line = Line(limit)
    number = 0
    for act, expected, seconds in acts:
        wanted = max(expected, len(line.held) + (act == "start"))
        if act == "start" and line.shares.is_free(expected=wanted):
            number += 1
            line.give(str(number), expected=wanted)
        elif act.startswith("end") and line.held:
            line.end(next(iter(line.held)), ahead=seconds if act == "end early" else 0.0)
        elif act == "look":
            _restart(line, wanted)
        line.clock.advance(seconds if act == "wait" else 0.0)
        assert sum(line.held.values()) <= limit
        assert all(rate > 0 for rate in line.held.values())
        assert (due := line.shares.due_in()) is None or due > 0

    if line.held:
        for _ in range(3):
            line.clock.advance(10)
            _restart(line, len(line.held))
        assert line.used() >= 0.74


def _restart(line: Line, expected: int) -> None:
    """Ends what is unfair, and continues it."""
    names = line.shares.unfair(expected=expected)
    line.end(*names)
    for name in names:
        if line.shares.is_free(expected=expected):
            line.give(name, expected=expected)
