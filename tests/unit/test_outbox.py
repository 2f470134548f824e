"""What is finished waits for company, but not for long."""

from __future__ import annotations

import pytest
from support.doubles import FakeClock

from wgetpool.model import FileRecord, WholePart
from wgetpool.outbox import GROUP, GROUP_BYTES, GROUP_WAIT, Outbox


def whole(name: str, size: int = 10) -> WholePart:
    return WholePart(name=name, claim=9, inode=1, size=size, proof=("size",))


FAILED = FileRecord(name="c", state="failed")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def outbox(clock: FakeClock) -> Outbox:
    return Outbox(clock)


def test_an_empty_one_has_nothing_due(outbox: Outbox) -> None:
    """Nobody wakes up for nothing."""
    assert (outbox.is_empty, outbox.due_in(), outbox.take()) == (True, None, ([], []))


def test_the_wait_counts_from_the_first_that_came(outbox: Outbox, clock: FakeClock) -> None:
    """Company that comes later does not prolong it."""
    outbox.add_part(whole("a"))
    clock.advance(GROUP_WAIT / 2)
    outbox.add_part(whole("b"))

    assert outbox.due_in() == pytest.approx(GROUP_WAIT / 2)

    clock.advance(GROUP_WAIT)

    assert outbox.due_in() == 0.0


def test_a_record_waits_too(outbox: Outbox) -> None:
    """A failure is written down with the next group, or alone when there is none."""
    outbox.add_row(FAILED)

    assert (outbox.is_empty, outbox.due_in(), [whole.name for whole in outbox._parts]) == (
        False,
        GROUP_WAIT,
        [],
    )
    assert outbox.take() == ([], [FAILED])
    assert outbox.is_empty


def test_many_or_much_does_not_wait(outbox: Outbox) -> None:
    """A full group gains nothing by waiting, large files need no company."""
    for number in range(GROUP - 1):
        outbox.add_part(whole(f"{number}"))

    assert outbox.due_in() == GROUP_WAIT

    outbox.add_part(whole("last"))

    assert outbox.due_in() == 0.0

    outbox.take()
    outbox.add_part(whole("large", GROUP_BYTES))

    assert outbox.due_in() == 0.0


def test_more_than_a_group_comes_group_by_group(outbox: Outbox) -> None:
    """In the order in which they came; what is left is due at once, and then waits anew."""
    parts = [whole(f"{number:03}") for number in range(GROUP + 3)]
    for part in parts:
        outbox.add_part(part)
    outbox.add_row(FAILED)

    assert outbox.take() == (parts[:GROUP], [FAILED])
    assert (outbox.due_in(), [whole.name for whole in outbox._parts]) == (
        0.0,
        ["064", "065", "066"],
    )
    assert outbox.take() == (parts[GROUP:], [])

    outbox.add_part(whole("next"))

    assert outbox.due_in() == GROUP_WAIT
