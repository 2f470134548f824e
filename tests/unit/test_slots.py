"""How many attempts run at a time, while the machine gives less than was asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.doubles import FakeClock

from wgetpool.slots import FIRST_WAIT, PATIENCE, Slots


def test_as_many_as_were_asked_for() -> None:
    """Nothing missing, nothing to wait for."""
    slots = Slots(8, clock=FakeClock())

    assert slots.free(3) == 5
    assert slots.due_in() is None


def test_a_volley_of_misses_leaves_what_runs() -> None:
    """Five of eight could not be started: three go on, and one more is risked a little later."""
    clock = FakeClock()
    slots = Slots(8, clock=clock)
    for running in (7, 6, 5, 4, 3):
        assert slots.missed(running)

    assert slots.free(3) == 0
    assert slots.due_in() == FIRST_WAIT

    clock.advance(FIRST_WAIT)
    assert slots.free(3) == 1
    assert slots.free(2) == 2, "one that ended makes room"


def test_slots_come_back_one_by_one() -> None:
    """Until all are there again: then a new trouble begins with a short wait."""
    clock = FakeClock()
    slots = Slots(3, clock=clock)
    slots.missed(1)
    waits = []
    while (due := slots.due_in()) is not None:
        waits.append(due)
        clock.advance(due)
        slots.free(0)

    assert len(waits) == 2
    assert slots.is_whole
    slots.missed(2)
    assert slots.due_in() == FIRST_WAIT


def test_nothing_that_starts_for_half_a_minute_is_given_up() -> None:
    """The waits grow, so that it is not tried often."""
    clock = FakeClock()
    slots = Slots(4, clock=clock)
    begin, tries = clock.now(), 1
    while slots.missed(0):
        assert slots.free(0) == 0
        clock.advance(slots.due_in() or 0.0)
        assert slots.free(0) == 1
        tries += 1

    assert PATIENCE <= clock.now() - begin <= 2.5 * PATIENCE
    assert tries < 10


def test_what_runs_is_hope() -> None:
    """While others run nothing is given up, and a start ends the count."""
    clock = FakeClock()
    slots = Slots(4, clock=clock)
    assert slots.missed(1)
    clock.advance(10 * PATIENCE)
    assert slots.missed(1)
    slots.started()
    assert slots.missed(0)


@given(st.integers(1, 64), st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=50))
def test_never_more_than_asked_for_and_always_one_in_the_end(
    wanted: int, steps: list[tuple[float, bool]]
) -> None:
    """Whatever fails and when: between nothing and what was asked for, and never for good."""
    clock = FakeClock()
    slots = Slots(wanted, clock=clock)
    for seconds, misses in steps:
        clock.advance(seconds)
        if misses:
            slots.missed(0)
        assert 0 <= slots.free(0) <= wanted
    while not slots.free(0):
        due = slots.due_in()
        assert due is not None
        clock.advance(max(due, 0.001))
