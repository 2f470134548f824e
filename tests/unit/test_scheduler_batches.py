"""The scheduler and the files that share a wget: which may, how they count, what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.doubles import FakeClock, FullJitter, ListReporter

from wgetpool.batches import FIRST, LARGEST, MOST, SMALL
from wgetpool.events import AttemptFailed, AttemptStarted, AttemptStopped, FileHeld
from wgetpool.model import (
    Access,
    AttemptOrder,
    EndedFor,
    Ending,
    Entry,
    Failure,
    FailureClass,
    FileState,
    Manners,
    Outcome,
    Settings,
    Url,
    WholePart,
)
from wgetpool.scheduler import Scheduler


class Desk:
    """A scheduler whose host has served so many small files already."""

    def __init__(
        self,
        *,
        served: int = 1000,
        workers: int = 4,
        access: Access | None = None,
        **manners: Any,
    ) -> None:
        self.clock = FakeClock()
        self.reporter = ListReporter()
        self.scheduler = Scheduler(
            Settings(
                directory=Path("/data"),
                wget="/usr/bin/wget",
                workers=workers,
                access=access or Access(),
                manners=Manners(**manners),
            ),
            10_000,
            clock=self.clock,
            jitter=FullJitter(),
            emit=self.reporter.handle,
        )
        self.scheduler.surveyed = True
        for number in range(served):
            self.add(f"old{number}")
            self.orders()
            self.whole(f"old{number}")
        self.reporter.events.clear()

    def add(self, *names: str, host: str = "h", size: int | None = None, **more: Any) -> None:
        for name in names:
            self.scheduler.add(Entry(name, Url(f"http://{host}/{name}"), size), **more)

    def add_many(self, number: int, **more: Any) -> None:
        self.add(*[f"{place:04}" for place in range(number)], **more)

    def orders(self, most: int = 1000) -> list[AttemptOrder]:
        """Those of the next wget."""
        order = self.scheduler.next_order()
        return [order, *self.scheduler.companions(order, most)] if order else []

    def names(self, most: int = 1000) -> list[str]:
        return [order.entry.name for order in self.orders(most)]

    def end(self, name: str, ending: Ending, **more: Any) -> None:
        self.scheduler.take(Outcome(name=name, ending=ending, **more))

    def whole(self, name: str, size: int = 10) -> None:
        part = WholePart(name=name, claim=9, inode=1, size=size, proof=("size",))
        self.end(name, Ending.EXITED, seconds=0.001, after=size, received=size, whole=part)
        self.scheduler.published(name, None)

    def fail(self, name: str, status: int, retry_after: float | None = None) -> None:
        kind = FailureClass.TRANSIENT if status in {429, 503} else FailureClass.PERMANENT
        failure = Failure(kind=kind, reason="r", status=status, retry_after=retry_after)
        self.end(name, Ending.EXITED, failure=failure)


# ---------------------------------------------------------------- who shares


def test_a_host_that_is_new_is_asked_for_one_file_at_a_time() -> None:
    """Nobody knows what its files are like."""
    desk = Desk(served=FIRST - 1)
    desk.add_many(100)

    assert desk.names() == ["0000"]


def test_files_share_in_the_order_of_the_list() -> None:
    """As many as there may be, and no more than the caller has room for."""
    desk = Desk()
    desk.add_many(500)

    assert desk.names() == [f"{place:04}" for place in range(MOST)]
    assert desk.names(most=2) == ["0032", "0033", "0034"]
    assert desk.names(most=0) == ["0035"]


def test_nobody_is_to_want_for_work() -> None:
    """The last files are shared out among all workers."""
    desk = Desk(workers=4)
    desk.add_many(13)

    assert [len(desk.names()) for _ in range(5)] == [4, 3, 2, 1, 0]


def test_files_of_other_hosts_are_passed_over() -> None:
    """They keep their places."""
    desk = Desk()
    for place in range(40):
        desk.add(f"{place:04}", host="hi"[place % 2])

    assert desk.names() == ["0000", "0002", "0004", "0006", "0008"]
    assert desk.names() == ["0001"]


@pytest.mark.parametrize(
    "odd", [{"begun": 5}, {"examine": True}, {"broken_sha256": "0" * 64}, {"size": SMALL + 1}]
)
def test_a_file_with_a_past_or_a_large_one_rides_along_with_none(odd: dict[str, Any]) -> None:
    """Neither as the first, nor as another; those before it share."""
    desk = Desk(workers=1)
    desk.add("a", "b")
    desk.add("odd", **odd)
    desk.add("c", "d")

    assert [desk.names(), desk.names() or "busy"] == [["a", "b"], "busy"]
    desk.whole("a")
    desk.whole("b")
    assert desk.names() == ["odd"]


def test_a_login_in_a_link_is_told_to_one_wget_only() -> None:
    """It keeps redirects in its own hands."""
    desk = Desk()
    desk.add("a", host="user:secret@h")
    desk.add_many(50)

    assert desk.names() == ["a"]


@pytest.mark.parametrize(
    "access", [Access(options=(("check_certificate", "off"),)), Access(cookies=b"a cookie")]
)
def test_some_settings_go_with_single_files_only(access: Access) -> None:
    """wget complains of unchecked certificates in its log, and keeps what cookies it is sent."""
    desk = Desk(access=access)
    desk.add_many(50)

    assert len(desk.names()) == 1


@pytest.mark.parametrize("manners", [{"limit_rate": 1 << 30}])
def test_a_limited_line_is_shared_by_single_files(manners: dict[str, Any]) -> None:
    """Each has its share of it."""
    desk = Desk(served=0, **manners)
    desk.add_many(50)
    for _ in range(20):
        (name,) = desk.names()
        desk.whole(name)

    assert len(desk.names()) == 1


def test_an_expired_link_is_not_asked_for() -> None:
    """It is held in its turn."""
    desk = Desk(workers=1)
    desk.add("a", "b")
    desk.scheduler.add(Entry("c", Url("http://h/c?oh=00_a&oe=69A23000")))
    desk.add("d")

    assert desk.names() == ["a", "b"]
    desk.whole("a")
    desk.whole("b")
    assert desk.names() == ["d"]
    assert [event.name for event in desk.reporter.of(FileHeld)] == ["c"]


def test_room_is_reserved_for_each() -> None:
    """For as much as one may have; where there is less, fewer share."""
    desk = Desk(min_free=0)
    desk.scheduler.see(1 << 40, {})
    desk.add_many(200, size=10)
    full = len(desk.names())
    desk.scheduler.see(10 * LARGEST + 1000, {})

    assert (full, len(desk.names())) == (MOST, 11)


# ---------------------------------------------------------------- how they count


def test_they_count_as_one_attempt() -> None:
    """For the workers, for the host, and on the display."""
    desk = Desk(workers=3, per_host=2)
    desk.add_many(500)

    desk.orders()
    assert (desk.scheduler.running, len(desk.orders()) > 1, desk.orders()) == (1, True, [])
    progress = desk.scheduler.progress({}, seconds=1.0)

    assert desk.scheduler.running == 2
    assert [row.name for row in progress.running] == ["0000", "0032"]
    assert desk.scheduler.to_sample() == [("0000", True), ("0032", True)]
    assert desk.scheduler.crowd == 2 * (MOST - 1)


def test_their_place_is_free_when_all_have_come() -> None:
    """Files that wait for their names count among those that are held open."""
    desk = Desk(workers=1)
    desk.add_many(4)
    names = desk.names()

    for name in names:
        desk.whole(name)

    assert (desk.scheduler.running, desk.scheduler.crowd) == (0, 0)
    assert desk.scheduler.is_idle
    assert desk.scheduler.tally.done == 1004
    assert [event.attempt for event in desk.reporter.of(AttemptStarted)] == [1] * 4


def test_more_files_are_at_hand_where_they_are_small() -> None:
    """Each worker may want as many at once."""
    few, many = Desk(served=0), Desk()
    for desk in (few, many):
        desk.add_many(50)
        desk.orders()

    assert (few.scheduler.wants_more, many.scheduler.wants_more) == (False, True)


# ---------------------------------------------------------------- what becomes of them


def test_what_was_not_tried_has_a_wget_of_its_own_next() -> None:
    """It counts as no attempt, nobody is told of one, and it comes before all others."""
    desk = Desk(workers=1)
    desk.add_many(30)
    first, second, third, *rest = desk.names()
    desk.whole(first)
    for name in (second, third, *rest):
        desk.end(name, Ending.UNTRIED)

    alone = [desk.orders()]
    desk.whole(second)
    alone.append(desk.orders())

    assert [[(o.entry.name, o.attempt) for o in orders] for orders in alone] == [
        [(second, 1)],
        [(third, 1)],
    ]
    assert [event.name for event in desk.reporter.of(AttemptStarted)] == [first, second, third]


def test_what_was_not_tried_is_not_shown_as_tried_again() -> None:
    """Nothing has failed."""
    desk = Desk(workers=1)
    desk.add_many(30)
    for name in desk.names():
        desk.end(name, Ending.UNTRIED)

    progress = desk.scheduler.progress({}, seconds=1.0)

    assert (progress.waiting, progress.waiting_count) == ((), 0)


def test_an_attempt_that_was_told_of_is_not_told_of_twice() -> None:
    """That of the first file, which nothing came of."""
    desk = Desk(workers=1)
    desk.add("a", "b", "c")
    for name in desk.names():
        desk.end(name, Ending.UNTRIED)
    desk.orders()

    assert [event.name for event in desk.reporter.of(AttemptStarted)] == ["a"]


def test_one_that_fails_goes_its_own_way() -> None:
    """It waits, or has failed, as after an attempt of its own; then it rides no more."""
    desk = Desk(workers=1)
    desk.add("a", "b", "c", "d")
    desk.orders()
    desk.whole("a")
    desk.fail("b", 404)
    desk.fail("c", 503)
    desk.end("d", Ending.UNTRIED)

    told = {event.name: event.retry_in for event in desk.reporter.of(AttemptFailed)}
    assert told == {"b": None, "c": 5.0}
    assert desk.names() == ["d"]
    desk.whole("d")
    desk.clock.advance(5.0)
    (again,) = desk.orders()
    assert (again.entry.name, again.attempt) == ("c", 2)


def test_a_host_that_has_too_much_gets_no_batches() -> None:
    """Whoever of them has heard it."""
    desk = Desk()
    desk.add_many(500)
    first, *others = desk.names()
    desk.whole(first)
    for name in others[:3]:
        desk.fail(name, 503, retry_after=60.0)
    for name in others[3:]:
        desk.end(name, Ending.UNTRIED)

    assert desk.names() == []
    desk.clock.advance(60.0)
    assert len(desk.names()) == 1
    assert desk.names() == []


def test_a_stop_is_told_of_each() -> None:
    """Of each that was under way."""
    desk = Desk(workers=1)
    desk.add("a", "b")
    desk.orders()
    desk.scheduler.halt(Failure(kind=FailureClass.LOCAL, reason="SIGTERM"))
    for name in "ab":
        desk.end(name, Ending.STOPPED)

    told = [(event.name, event.why) for event in desk.reporter.of(AttemptStopped)]
    assert told == [("a", EndedFor.STOPPED), ("b", EndedFor.STOPPED)]
    assert desk.scheduler.is_idle


def test_a_file_that_was_put_back_is_as_new() -> None:
    """It may be anything but a rider."""
    desk = Desk(workers=1)
    desk.add("a", "b")
    desk.orders()
    desk.end("a", Ending.UNTRIED)
    desk.end("b", Ending.UNTRIED)

    assert desk.scheduler.to_come()
    assert {job.state for job in desk.scheduler._ready} == {FileState.PENDING}
    assert [job.rides for job in desk.scheduler._ready] == [False, False]
