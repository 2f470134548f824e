"""How many files one wget may be given, by what a host has served so far."""

from __future__ import annotations

import pytest

from wgetpool.batches import FIRST, MOST, SMALL, Batches
from wgetpool.model import Ending, Failure, FailureClass, Outcome, WholePart

HOST = "e.org"


def whole(size: int = 10, seconds: float = 0.001, proof: tuple[str, ...] = ("size",)) -> Outcome:
    part = WholePart(name="a", claim=9, inode=1, size=size, proof=proof)
    return Outcome(name="a", ending=Ending.EXITED, seconds=seconds, whole=part)


def failed(kind: FailureClass) -> Outcome:
    return Outcome(name="a", ending=Ending.EXITED, failure=Failure(kind=kind, reason="a reason"))


UNTRIED = Outcome(name="a", ending=Ending.UNTRIED)
RESET, MISSING = failed(FailureClass.TRANSIENT), failed(FailureClass.PERMANENT)


def served(number: int, *more: Outcome, seconds: float = 0.001, is_told: bool = False) -> Batches:
    """A host that has served so many small files, and then this."""
    batches = Batches()
    for outcome in [*[whole(seconds=seconds)] * number, *more]:
        batches.ended(HOST, outcome, is_first=True, is_told=is_told)
    return batches


def test_a_host_that_nobody_knows_gets_a_wget_for_each_file() -> None:
    """And so does one that has served a few only; others do not count for it."""
    assert Batches().limit(HOST) == 1
    assert served(FIRST - 1).limit(HOST) == 1
    assert served(1000).limit("other.org") == 1


def test_there_are_more_and_more_up_to_a_most() -> None:
    """The largest so far is remembered: so many files are to be at hand for each worker."""
    batches = Batches()
    limits = []
    for _ in range(200):
        batches.ended(HOST, whole(), is_first=True, is_told=False)
        limits.append(batches.limit(HOST))

    assert limits == sorted(limits)
    assert limits[FIRST - 1] > 1
    assert limits[-1] == batches.most == MOST


@pytest.mark.parametrize(("seconds", "limit"), [(0.001, MOST), (0.1, 10), (0.3, 3), (0.6, 1)])
def test_a_batch_takes_about_a_second(seconds: float, limit: int) -> None:
    """What is slow gains little, and is watched the better for itself."""
    assert served(1000, seconds=seconds).limit(HOST) == limit


@pytest.mark.parametrize(
    "last", [UNTRIED, RESET, whole(SMALL + 1), whole(proof=()), whole(proof=("sha256",))]
)
def test_a_surprise_has_it_begin_anew(last: Outcome) -> None:
    """A file that did not come, or was large, or came without a length."""
    assert served(1000, last).limit(HOST) == 1


@pytest.mark.parametrize("last", [MISSING, whole(SMALL), whole(0)])
def test_what_is_as_quick_is_no_surprise(last: Outcome) -> None:
    """A file that is not there is answered at once, too."""
    assert served(1000, last).limit(HOST) == MOST


def test_a_large_file_is_no_surprise_where_the_list_tells_it() -> None:
    """It would have been in no batch."""
    assert served(1000, whole(SMALL + 1), is_told=True).limit(HOST) == MOST


def test_a_batch_that_brings_nothing_puts_the_next_one_off() -> None:
    """Twice as long each time: a host whose answers are none for a batch is spared most of them."""
    batches = served(FIRST, UNTRIED)
    for _ in range(FIRST * 2 - 1):
        batches.ended(HOST, whole(), is_first=True, is_told=False)
    before = batches.limit(HOST)
    batches.ended(HOST, whole(), is_first=True, is_told=False)

    assert (before, batches.limit(HOST) > 1) == (1, True)


def test_one_that_brings_something_makes_up_for_it() -> None:
    """The next time it begins as at first."""
    batches = served(FIRST, UNTRIED)
    batches.ended(HOST, whole(), is_first=False, is_told=False)
    batches.ended(HOST, UNTRIED, is_first=False, is_told=False)
    for _ in range(FIRST):
        batches.ended(HOST, whole(), is_first=True, is_told=False)

    assert batches.limit(HOST) > 1


def test_a_host_that_was_asked_for_too_much_gets_ever_fewer() -> None:
    """Each 429 or 503 to a batch doubles what has to come first; one to a single file does not."""
    refused = Failure(kind=FailureClass.TRANSIENT, reason="a reason", status=429)
    too_much = Outcome(name="a", ending=Ending.EXITED, failure=refused)

    def needed(is_first: bool) -> int:
        batches = Batches()
        for _ in range(2):
            batches.ended(HOST, too_much, is_first=is_first, is_told=False)
        number = 0
        while batches.limit(HOST) == 1:
            batches.ended(HOST, whole(), is_first=True, is_told=False)
            number += 1
        return number

    assert (needed(is_first=True), needed(is_first=False)) == (FIRST, 4 * FIRST)


def test_the_longest_time_of_an_attempt_makes_batches_smaller() -> None:
    """They are to be done long before."""
    batches = Batches(0.25)
    for _ in range(1000):
        batches.ended(HOST, whole(seconds=0.05), is_first=True, is_told=False)

    assert batches.limit(HOST) == 5
