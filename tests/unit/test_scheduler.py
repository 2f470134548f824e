"""The scheduler by histories: outcomes and a clock in; orders, waits and events out."""

from __future__ import annotations

import errno
import itertools
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.doubles import FakeClock, FullJitter, ListReporter

from wgetpool.events import (
    AttemptFailed,
    AttemptStarted,
    FileDone,
    FileFailed,
    FileSkipped,
    Progress,
)
from wgetpool.jobs import Job
from wgetpool.model import (
    Approach,
    AttemptOrder,
    Ending,
    Entry,
    Failure,
    FailureClass,
    FileState,
    Finding,
    Outcome,
    RemoteFile,
    RetryPolicy,
    Settings,
    Url,
    WholePart,
)
from wgetpool.scheduler import ALLOWED, KNOWN_WAITING, RELOOK, Scheduler

MIB = 1024**2
TRANSIENT, PERMANENT = FailureClass.TRANSIENT, FailureClass.PERMANENT


class Desk:
    """A scheduler, its clock, and the events that it emitted."""

    def __init__(
        self,
        files: int,
        *,
        tries: int = 5,
        workers: int = 4,
        jitter: random.Random | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.reporter = ListReporter()
        self.scheduler = Scheduler(
            Settings(
                directory=Path("/data"),
                wget="/usr/bin/wget",
                workers=workers,
                retry=RetryPolicy(tries=tries, retry_status=frozenset({404})),
            ),
            files,
            clock=self.clock,
            jitter=jitter or FullJitter(),
            emit=self.reporter.handle,
        )

    def add(self, *names: str, size: int | None = None, begun: int = 0) -> None:
        for name in names:
            self.scheduler.add(entry(name, size), begun=begun)

    def order(self) -> AttemptOrder:
        order = self.scheduler.next_order()
        assert order is not None
        return order

    def next(self) -> str | None:
        """The name of the next file that is tried, if any."""
        order = self.scheduler.next_order()
        return order.entry.name if order else None

    def fail(self, name: str, kind: FailureClass = TRANSIENT, **more: Any) -> None:
        self.scheduler.take(failed(name, kind, **more))

    def retry(self, name: str, **more: Any) -> AttemptOrder | None:
        """The file fails; its next order, as soon as it is due."""
        self.fail(name, **more)
        self.clock.advance(self.scheduler.due_in() or 0.0)
        return self.scheduler.next_order()

    @property
    def waits(self) -> list[float | None]:
        return [event.retry_in for event in self.reporter.of(AttemptFailed)]


def entry(name: str, size: int | None = None) -> Entry:
    return Entry(name, Url(f"https://e.org/{name}?sig=SECRET"), size)


def failed(
    name: str,
    kind: FailureClass = TRANSIENT,
    *,
    status: int | None = None,
    retry_after: float | None = None,
    **more: Any,
) -> Outcome:
    failure = Failure(kind=kind, reason="a reason", status=status, retry_after=retry_after)
    values: dict[str, Any] = {"ending": Ending.EXITED, "failure": failure}
    return Outcome(name=name, **values | more)


def whole(name: str, size: int = 10) -> Outcome:
    part = WholePart(name=name, claim=9, inode=1, size=size, proof=("size",))
    return Outcome(name=name, ending=Ending.EXITED, after=size, received=size, whole=part)


def grown(after: int, **more: Any) -> dict[str, Any]:
    return {"after": after, "finding": Finding.FITS, **more}


# ---------------------------------------------------------------- what is tried, and when


def test_files_are_tried_in_the_order_of_the_list() -> None:
    """First come, first served; then there is nothing left to do."""
    desk = Desk(3)
    desk.add("a", "b", "c")

    assert [desk.next() for _ in range(4)] == ["a", "b", "c", None]
    assert desk.scheduler.running == 3


def test_an_order_has_all_that_a_worker_needs() -> None:
    """A first attempt continues what is there, with the user's limits."""
    desk = Desk(1)
    desk.add("a", size=7)

    order = desk.order()

    assert (order.entry, order.attempt, order.approach) == (entry("a", 7), 1, Approach.CONTINUE)
    assert (order.directory, order.wget) == (Path("/data"), "/usr/bin/wget")
    assert order.retry_status == {404}


def test_a_file_that_waits_holds_no_worker() -> None:
    """While one is in back-off, the next one starts."""
    desk = Desk(2)
    desk.add("a", "b")
    desk.order()

    desk.fail("a")

    assert desk.scheduler.running == 0
    assert desk.next() == "b"


def test_a_retry_that_is_due_comes_before_a_first_attempt() -> None:
    """Not earlier than it is due, then at once."""
    desk = Desk(3)
    desk.add("a", "b", "c")
    desk.order()
    desk.fail("a")

    desk.clock.advance(4.9)
    early = desk.next()
    desk.clock.advance(0.1)

    assert early == "b"
    assert desk.scheduler.due_in() == 0.0
    assert desk.next() == "a"


def test_retries_come_in_the_order_in_which_they_are_due() -> None:
    """The soonest first, whoever failed first."""
    desk = Desk(3)
    desk.add("a", "b", "c")
    for _ in range(3):
        desk.order()
    desk.fail("a", retry_after=60.0)
    desk.fail("b")
    desk.fail("c", retry_after=30.0)

    desk.clock.advance(100)

    assert [desk.next() for _ in range(4)] == ["b", "c", "a", None]


def test_the_loop_knows_how_long_it_may_sleep() -> None:
    """Until the soonest of what waits; for ever when nothing does."""
    desk = Desk(2)
    desk.add("a", "b")
    nothing = desk.scheduler.due_in()
    desk.order()
    desk.order()

    desk.scheduler.take(Outcome(name="a", ending=Ending.ELSEWHERE))
    desk.fail("b", retry_after=1.0)

    assert nothing is None
    assert desk.scheduler.due_in() == RELOOK


def test_a_retry_that_is_due_wakes_nobody_while_all_workers_are_busy() -> None:
    """The loop sleeps until a worker is free: it does not spin for hours."""
    desk = Desk(2, workers=1)
    desk.add("a")
    desk.order()
    desk.fail("a", retry_after=9.0)
    desk.add("b")
    desk.order()

    assert desk.scheduler.due_in() is None


def test_a_retry_that_is_due_wakes_nobody_while_there_is_no_room() -> None:
    """Too many files wait for the disk: the loop sleeps until one of them is published."""
    desk = Desk(1)
    desk.add("a")
    desk.order()
    desk.fail("a", retry_after=0.0)

    desk.clock.advance(60)

    assert desk.scheduler.due_in() == 0.0
    assert desk.scheduler.due_in(room=False) is None


def test_waits_double_and_are_told() -> None:
    """5, 10, 20, 40 seconds, and none after the last of five."""
    desk = Desk(1)
    desk.add("a")
    desk.order()

    while desk.retry("a"):
        pass

    assert desk.waits == [5.0, 10.0, 20.0, 40.0, None]


def test_a_wait_is_no_shorter_than_the_server_asks() -> None:
    """Retry-After is obeyed."""
    desk = Desk(1)
    desk.add("a")
    desk.order()

    desk.fail("a", status=503, retry_after=600.0)

    assert desk.waits == [600.0]
    assert desk.scheduler.due_in() == 600.0


# ---------------------------------------------------------------- tries


def attempts_until_the_end(desk: Desk, outcomes: Callable[[AttemptOrder], dict[str, Any]]) -> int:
    """Plays one file to its end; returns how many attempts it took."""
    desk.add("a")
    order: AttemptOrder | None = desk.order()
    for number in range(1, 200):
        assert order is not None
        order = desk.retry("a", **outcomes(order))
        if order is None:
            return number
    pytest.fail("it goes on for ever")


@pytest.mark.parametrize("tries", [1, 2, 5])
def test_a_file_fails_after_so_many_tries_without_progress(tries: int) -> None:
    """--tries, and the file has failed with the last reason."""
    desk = Desk(1, tries=tries)

    attempts = attempts_until_the_end(desk, lambda _: {})

    assert attempts == tries
    assert desk.reporter.of(FileFailed) == [
        FileFailed(
            name="a",
            reason="a reason",
            class_=TRANSIENT,
            attempts=tries,
            seconds=[0.0, 5.0, 15.0, 35.0, 75.0][tries - 1],
        )
    ]


def test_a_long_file_over_a_bad_line_gets_through() -> None:
    """Attempts that bring real progress do not count, however many they are."""
    desk = Desk(1, tries=2)
    desk.add("a")
    order: AttemptOrder | None = desk.order()

    for number in range(1, 101):
        assert order is not None
        order = desk.retry("a", **grown(number * MIB, before=(number - 1) * MIB))

    assert order is not None
    assert order.attempt == 101
    assert set(desk.waits) == {5.0}


def test_progress_ends_a_row_of_failures() -> None:
    """Tries are counted in a row: one that gets on lets them begin anew."""
    desk = Desk(1, tries=3)
    lengths = iter([0, 0, MIB, MIB, MIB, MIB])

    attempts = attempts_until_the_end(desk, lambda _: grown(next(lengths)))

    assert attempts == 6
    assert desk.waits == [5.0, 10.0, 5.0, 5.0, 10.0, None]


def test_what_was_there_before_the_run_is_no_progress() -> None:
    """A part of an earlier run is where the count begins."""
    desk = Desk(1, tries=2)

    attempts = attempts_until_the_end(desk, lambda _: grown(100 * MIB, before=100 * MIB))

    assert attempts == 2


def test_a_percent_of_a_small_file_is_progress() -> None:
    """With a known size less than 64 KiB will do."""
    desk = Desk(1, tries=1)
    desk.add("a", size=1000)
    desk.order()

    assert desk.retry("a", **grown(10)) is not None
    assert desk.retry("a", **grown(19)) is None


def test_a_server_that_ignores_ranges_and_always_cuts_ends_after_the_tries() -> None:
    """Useless answers do not count, but what they lead to brings nothing new, and that does."""
    desk = Desk(1, tries=3)

    def outcome(order: AttemptOrder) -> dict[str, Any]:
        if order.approach is Approach.CONTINUE and order.attempt > 1:
            return {"finding": Finding.RANGE_IGNORED, "before": MIB, "after": MIB, "status": 200}
        return grown(MIB, before=0 if order.attempt == 1 else MIB)

    attempts = attempts_until_the_end(desk, outcome)

    assert attempts == 1 + 2 * 3  # one that got on; then three times: ignored, cut again


@pytest.mark.parametrize(
    ("finding", "status", "wait"),
    [
        (Finding.RANGE_IGNORED, 200, 0.0),
        (Finding.CHANGED, 206, 0.0),
        (Finding.LONGER, 416, 0.0),
        (Finding.DIFFERS, 206, 0.0),
        (Finding.DIFFERS, 200, 5.0),  # a login page: another one will not help
    ],
)
def test_an_answer_of_no_use_counts_no_try(finding: Finding, status: int, wait: float) -> None:
    """The line is well: the part starts differently, at once."""
    desk = Desk(1, tries=1)
    desk.add("a")
    desk.order()

    order = desk.retry("a", finding=finding, status=status, before=MIB, after=MIB)

    assert order is not None
    assert order.approach in {Approach.RESTART, Approach.STEP_BACK}
    assert desk.waits == [wait]


def test_bytes_that_differ_lead_back_and_then_to_a_new_start() -> None:
    """One step back, a new start, and on from there."""
    desk = Desk(1)
    desk.add("a")
    findings = (Finding.DIFFERS, Finding.DIFFERS, Finding.FITS)

    first = desk.order()
    later = [desk.retry("a", finding=each, before=MIB, after=MIB) for each in findings]

    assert [order.approach for order in [first, *later] if order] == [
        Approach.CONTINUE,
        Approach.STEP_BACK,
        Approach.RESTART,
        Approach.CONTINUE,
    ]


@pytest.mark.parametrize("finding", [Finding.CHANGED, Finding.LONGER])
def test_another_file_may_take_as_long_as_the_first_once(finding: Finding) -> None:
    """Its progress counts from nothing; a file that changes for ever does not go on for ever."""
    desk = Desk(1, tries=2)

    def outcome(order: AttemptOrder) -> dict[str, Any]:
        if order.approach is Approach.CONTINUE:
            return {"finding": finding, "before": MIB, "after": MIB}
        return grown(MIB, before=0)

    attempts = attempts_until_the_end(desk, outcome)

    assert attempts == 6  # changed, anew (progress), then twice: changed, anew (none)


# ---------------------------------------------------------------- how a file ends


def test_a_final_failure_ends_the_file_at_once() -> None:
    """No second attempt, and the others go on."""
    kind = PERMANENT
    desk = Desk(2)
    desk.add("a", "b", size=7)
    desk.order()
    desk.clock.advance(2.0)

    desk.fail("a", kind, status=403)

    assert desk.reporter.events[1:] == [
        AttemptFailed(
            name="a",
            attempt=1,
            reason="a reason",
            class_=kind,
            status=403,
            bytes=0,
            retry_in=None,
        ),
        FileFailed(name="a", reason="a reason", class_=kind, attempts=1, seconds=2.0, size=7),
    ]
    assert desk.next() == "b"


def test_a_rejected_file_is_fetched_anew_once() -> None:
    """Broken twice is broken; the second attempt begins at nothing, at once."""
    desk = Desk(1)
    desk.add("a")
    desk.order()

    second = desk.retry("a", kind=FailureClass.BROKEN, rejected=True, before=5, received=5)
    third = desk.retry("a", kind=FailureClass.BROKEN, rejected=True, received=10)

    assert second is not None
    assert second.approach is Approach.RESTART
    assert third is None
    assert desk.waits == [0.0, None]
    assert [event.class_ for event in desk.reporter.of(FileFailed)] == [FailureClass.BROKEN]


def test_a_rejected_file_may_fail_on_the_line_meanwhile() -> None:
    """Only rejections count as rejections."""
    desk = Desk(1)
    desk.add("a")
    desk.order()

    desk.retry("a", kind=FailureClass.BROKEN, rejected=True)
    desk.retry("a")
    last = desk.retry("a", kind=FailureClass.BROKEN, rejected=True)

    assert last is None


def test_this_machines_trouble_halts_the_run() -> None:
    """Nothing more is started; what runs may end; what waits is left."""
    desk = Desk(4)
    desk.add("a", "b", "c", "d")
    for _ in range(3):
        desk.order()
    desk.fail("a")

    desk.fail("b", FailureClass.LOCAL)
    busy = desk.scheduler.is_idle
    desk.clock.advance(1000)
    started = desk.next()
    desk.scheduler.take(whole("c"))
    desk.scheduler.published("c", None)

    assert (busy, started) == (False, None)
    assert desk.scheduler.halted is not None
    assert desk.scheduler.is_idle
    assert (desk.scheduler.tally.done, desk.scheduler.tally.failed) == (1, 1)


def test_the_first_reason_to_halt_is_the_one_that_is_told() -> None:
    """Whatever follows from it is not its cause."""
    desk = Desk(1)
    first = Failure(kind=FailureClass.LOCAL, reason="no space")

    desk.scheduler.halt(first)
    desk.scheduler.halt(Failure(kind=FailureClass.LOCAL, reason="SIGTERM"))

    assert desk.scheduler.halted is first


def test_a_stopped_file_is_neither_done_nor_failed() -> None:
    """Its part stays, and nothing is said of it."""
    desk = Desk(1)
    desk.add("a")
    desk.order()
    desk.scheduler.halt(Failure(kind=FailureClass.LOCAL, reason="SIGINT"))

    desk.scheduler.take(Outcome(name="a", ending=Ending.STOPPED, after=5, received=5))

    assert desk.scheduler.is_idle
    assert (desk.scheduler.tally.failed, desk.scheduler.tally.received) == (0, 5)
    assert desk.reporter.of(AttemptFailed) == []


def test_a_whole_file_is_done_when_it_is_published() -> None:
    """While it is checked it holds no worker, and is not idle."""
    desk = Desk(1)
    desk.add("a")
    desk.order()
    desk.clock.advance(2.0)
    part = desk.scheduler.take(whole("a"))
    assert part is not None
    running, idle = desk.scheduler.running, desk.scheduler.is_idle
    effort = desk.scheduler.effort("a")

    desk.scheduler.published("a", None)

    assert (running, idle, effort) == (0, False, (1, 2.0))
    assert desk.reporter.of(FileDone) == [
        FileDone(name="a", bytes=10, seconds=2.0, attempts=1, proof=("size",))
    ]
    assert desk.scheduler.is_idle


def test_the_time_of_a_file_counts_from_its_first_attempt() -> None:
    """Waits are part of it."""
    desk = Desk(1)
    desk.add("a")
    desk.order()
    desk.retry("a")
    desk.clock.advance(1.0)

    desk.scheduler.take(whole("a"))
    desk.scheduler.published("a", None)

    assert [(event.seconds, event.attempts) for event in desk.reporter.of(FileDone)] == [(6.0, 2)]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), FailureClass.LOCAL),
        (OSError(errno.ENOTDIR, "Not a directory"), PERMANENT),
    ],
)
def test_a_file_that_cannot_be_renamed_fails(error: OSError, kind: FailureClass) -> None:
    """By what the system says."""
    desk = Desk(1)
    desk.add("a")
    desk.order()
    desk.scheduler.take(whole("a"))

    desk.scheduler.published("a", error)

    assert [event.class_ for event in desk.reporter.of(FileFailed)] == [kind]
    assert (desk.scheduler.halted is not None) == (kind is FailureClass.LOCAL)


@pytest.mark.parametrize("error", [BlockingIOError(11, "taken"), FileExistsError(17, "there")])
def test_a_file_that_another_run_published_first_is_looked_at_again(error: OSError) -> None:
    """It is neither done nor failed by us."""
    desk = Desk(1)
    desk.add("a")
    desk.order()
    desk.scheduler.take(whole("a"))

    desk.scheduler.published("a", error)
    desk.clock.advance(RELOOK)

    assert desk.scheduler.due_elsewhere() == [entry("a")]
    assert desk.scheduler.tally.failed == 0


def test_a_file_of_another_run_is_looked_at_again_and_again() -> None:
    """Not before its time; it comes back as it was, and counts once."""
    desk = Desk(1)
    desk.add("a", size=10)
    desk.order()
    desk.scheduler.take(Outcome(name="a", ending=Ending.ELSEWHERE))

    early = desk.scheduler.due_elsewhere()
    desk.clock.advance(RELOOK)
    due = desk.scheduler.due_elsewhere()
    desk.scheduler.add(due[0])
    desk.order()
    desk.scheduler.take(Outcome(name="a", ending=Ending.ELSEWHERE))
    desk.clock.advance(desk.scheduler.due_in() or 0.0)
    desk.scheduler.skip(desk.scheduler.due_elsewhere()[0], size=10, why="known")

    assert (early, due) == ([], [entry("a", 10)])
    assert desk.scheduler.is_idle
    assert (desk.scheduler.tally.skipped, desk.scheduler.tally.size) == (1, 10)


def look_again(desk: Desk) -> Entry:
    """Time passes until the one file of another run is to be looked at."""
    desk.clock.advance(desk.scheduler.due_in() or 0.0)
    (found,) = desk.scheduler.due_elsewhere()
    return found


def test_a_file_that_is_looked_at_again_keeps_its_tries() -> None:
    """A run that takes turns with another one does not try a dead file for ever."""
    desk = Desk(1, tries=3)
    desk.add("a")
    desk.order()
    attempts = []

    for _ in range(3):
        order = desk.retry("a")
        if order is None:
            break
        attempts.append(order.attempt)
        desk.scheduler.take(Outcome(name="a", ending=Ending.ELSEWHERE))
        desk.scheduler.add(look_again(desk))
        attempts.append(desk.order().attempt)

    assert attempts == [2, 2, 3, 3]  # what another run made of it was no attempt of ours
    assert desk.waits == [5.0, 10.0, None]
    assert [event.attempts for event in desk.reporter.of(FileFailed)] == [3]


@pytest.mark.parametrize(
    ("more", "approach"),
    [
        ({"finding": Finding.DIFFERS}, Approach.STEP_BACK),
        ({"finding": Finding.CHANGED}, Approach.RESTART),
        ({"kind": FailureClass.BROKEN, "rejected": True}, Approach.RESTART),
    ],
)
def test_a_file_that_is_looked_at_again_keeps_its_approach(
    more: dict[str, Any], approach: Approach
) -> None:
    """What an attempt found out about the part is still true of it."""
    desk = Desk(1)
    desk.add("a")
    desk.order()
    first = desk.retry("a", **more)
    desk.scheduler.take(Outcome(name="a", ending=Ending.ELSEWHERE))

    desk.scheduler.add(look_again(desk), begun=7)
    second = desk.order()

    assert first is not None
    assert (first.approach, second.approach) == (approach, approach)
    desk.retry("a")
    assert desk.reporter.of(AttemptStarted)[-1].bytes == 7  # as the look has found it


def test_a_file_that_is_rejected_before_and_after_a_look_is_broken() -> None:
    """Fetched anew once: a look in between is no excuse for a third time."""
    desk = Desk(1)
    desk.add("a")
    desk.order()
    desk.retry("a", kind=FailureClass.BROKEN, rejected=True)
    desk.scheduler.take(Outcome(name="a", ending=Ending.ELSEWHERE))
    desk.scheduler.add(look_again(desk))
    desk.order()

    desk.fail("a", FailureClass.BROKEN, rejected=True)

    assert [event.class_ for event in desk.reporter.of(FileFailed)] == [FailureClass.BROKEN]


def test_a_file_that_ends_with_a_look_has_ended() -> None:
    """In its state as well: it can be neither tried nor ended once more."""
    desk = Desk(1)
    desk.add("a", size=10)
    desk.order()
    desk.retry("a")
    desk.scheduler.take(Outcome(name="a", ending=Ending.ELSEWHERE))
    again = look_again(desk)
    job = desk.scheduler._aside["a"]

    desk.scheduler.skip(again, size=10, why="known")

    assert job.state is FileState.SKIPPED
    assert desk.scheduler._aside == {}
    assert desk.scheduler.is_idle


def test_looks_at_a_file_of_another_run_become_rarer() -> None:
    """A run that waits for another one does not look at DIR all the time, nor forget it."""
    desk = Desk(1)
    desk.add("a")
    waits = []

    for _ in range(12):
        desk.order()
        desk.scheduler.take(Outcome(name="a", ending=Ending.ELSEWHERE))
        waits.append(desk.scheduler.due_in() or 0.0)
        desk.clock.advance(waits[-1])
        desk.scheduler.add(desk.scheduler.due_elsewhere()[0])

    assert waits[0] == RELOOK
    assert waits == sorted(waits)
    assert waits[-1] <= 60


def test_an_attempt_says_what_its_part_holds() -> None:
    """Bytes of an earlier run, then those of the last attempt."""
    desk = Desk(1)
    desk.add("a", size=1000, begun=300)
    desk.order()

    desk.retry("a", **grown(500, before=300))

    assert desk.reporter.of(AttemptStarted) == [
        AttemptStarted(name="a", attempt=1, bytes=300, size=1000),
        AttemptStarted(name="a", attempt=2, bytes=500, size=1000),
    ]


def test_a_skipped_file_is_said_with_its_size() -> None:
    """Known files are no attempts, and are part of the whole."""
    desk = Desk(1)

    desk.scheduler.skip(entry("a"), size=7, why="known")

    assert desk.reporter.events == [FileSkipped(name="a", bytes=7, why="known")]


def test_no_event_holds_a_query() -> None:
    """Events are shown, written and sent: the URL is not in them."""
    desk = Desk(2)
    desk.add("a", "b")
    desk.order()
    desk.fail("a")
    desk.order()
    desk.fail("b", PERMANENT)

    assert "SECRET" not in repr(desk.reporter.events)


# ---------------------------------------------------------------- states


@pytest.mark.parametrize("state", [FileState.DONE, FileState.SKIPPED, FileState.FAILED])
def test_what_has_ended_stays_ended(state: FileState) -> None:
    """No way leads out of an end."""
    assert not ALLOWED.get(state)


CHANGES = list(itertools.product(FileState, FileState))


def test_only_the_allowed_changes_of_state_can_be_made() -> None:
    """One table, one method; whatever is not in the table raises, out of an end too."""
    scheduler = Desk(1).scheduler

    refused = []
    for before, after in CHANGES:
        job = Job(entry("a"), state=before)
        try:
            scheduler._move(job, after)
        except (AssertionError, KeyError):
            refused.append((before, after))
            assert job.state is before

    assert refused == [pair for pair in CHANGES if pair[1] not in ALLOWED.get(pair[0], set())]


# ---------------------------------------------------------------- sizes and progress


def test_a_sample_shows_the_run_as_it_stands() -> None:
    """Finished files, parts of the running and waiting ones, and what came over the line."""
    desk = Desk(5)
    desk.scheduler.skip(entry("old"), size=100, why="known")
    desk.add("a", size=1000)
    desk.add("b", size=1000, begun=50)
    desk.add("c", size=1000)
    desk.order()
    desk.order()
    desk.fail("a", after=300, received=300)
    desk.clock.advance(2.0)

    progress = desk.scheduler.progress({"b": (250, None)}, seconds=3.0)

    assert (progress.files, progress.done, progress.skipped, progress.failed) == (5, 0, 1, 0)
    assert progress.bytes == 100 + 300 + 250
    assert progress.received == 300 + 200
    assert progress.size == 3100 * 5 // 4
    assert [(row.name, row.bytes, row.size, row.since) for row in progress.running] == [
        ("b", 250, 1000, 2.0)
    ]
    assert [(row.name, row.attempt, row.due_in, row.reason) for row in progress.waiting] == [
        ("a", 2, 3.0, "a reason")
    ]
    assert progress.waiting_count == 1


def test_a_file_that_has_failed_is_not_waited_for() -> None:
    """Neither its own size nor its share of those that are not known: the time left is honest."""
    desk = Desk(4)
    desk.add("a", "b", "c", "d")
    desk.order()
    desk.order()
    sizes: dict[str, tuple[int, int | None]] = {"a": (5, 1000), "b": (5, 3000)}
    assert desk.scheduler.progress(sizes, seconds=1.0).size == 8000

    desk.fail("b", FailureClass.EXPIRED, status=403)

    assert desk.scheduler.progress(sizes, seconds=2.0).size == 3000


def test_the_size_of_a_file_is_learned_from_its_answer() -> None:
    """What the list does not tell, the server does."""
    desk = Desk(1)
    desk.add("a")
    desk.order()
    wanted = desk.scheduler.to_sample()

    progress = desk.scheduler.progress({"a": (5, 1000)}, seconds=1.0)

    assert wanted == [("a", True)]
    assert progress.size == 1000
    assert desk.scheduler.to_sample() == [("a", False)]


def test_what_was_there_before_the_attempt_did_not_come_over_the_line() -> None:
    """A part of an earlier run does not make the rate jump."""
    desk = Desk(1)
    desk.add("a", begun=500 * MIB)
    desk.order()

    first = desk.scheduler.progress({"a": (500 * MIB, None)}, seconds=1.0)
    second = desk.scheduler.progress({"a": (501 * MIB, None)}, seconds=2.0)

    assert (first.received, second.received) == (0, MIB)


def test_a_sample_that_was_asked_for_before_an_attempt_says_nothing_of_it() -> None:
    """A file that started meanwhile is not in the sample: it is not one of no bytes."""
    desk = Desk(1)
    desk.add("a", begun=500 * MIB)
    desk.order()

    desk.scheduler.progress({}, seconds=1.0)
    second = desk.scheduler.progress({"a": (500 * MIB, None)}, seconds=2.0)

    assert second.received == 0


def test_many_waiting_files_are_counted_and_the_soonest_named() -> None:
    """Nobody reads a hundred thousand names."""
    many = KNOWN_WAITING + 20
    desk = Desk(many)
    for number in range(many):
        desk.add(f"{number:03}")
        desk.order()
        desk.fail(f"{number:03}", retry_after=1000.0 - number)

    progress = desk.scheduler.progress({}, seconds=1.0)

    assert progress.waiting_count == many
    assert [row.name for row in progress.waiting] == [f"{n:03}" for n in range(many - 1, 19, -1)]


def test_files_that_were_moved_on_are_not_reckoned_with() -> None:
    """--skip-gone: they have no size here, and the mean is not theirs."""
    desk = Desk(100)
    for number in range(90):
        desk.scheduler.skip(entry(f"{number}"), size=0, why="gone")
    for number in range(10):
        desk.add(f"x{number}", size=1000 if number == 0 else None)

    assert desk.scheduler.progress({}, seconds=1.0).size == 10_000


def test_beside_other_runs_an_attempt_is_told_of_when_the_file_is_certainly_ours() -> None:
    """What another run has is no attempt: told of neither as begun nor as anything else."""
    desk = Desk(2)
    desk.scheduler.alone = False
    desk.add("a", "b")
    desk.order()
    desk.order()

    desk.scheduler.take(Outcome(name="a", ending=Ending.ELSEWHERE))
    desk.clock.advance(1.0)
    desk.scheduler.progress({}, seconds=1.0)

    assert [event.name for event in desk.reporter.of(AttemptStarted)] == ["b"]


# ---------------------------------------------------------------- every history

FINDINGS = st.sampled_from(Finding)
LENGTHS = st.integers(0, 4 * MIB)
STEPS = st.one_of(
    st.tuples(st.just("whole"), LENGTHS),
    st.tuples(st.just("failed"), st.sampled_from(FailureClass), FINDINGS, LENGTHS),
    st.tuples(st.just("rejected")),
    st.tuples(st.just("elsewhere")),
    st.tuples(st.just("stopped")),
)


def play(desk: Desk, order: AttemptOrder, step: tuple[Any, ...], publish_error: bool) -> None:
    """What the pool does with one order, given what the worker found."""
    scheduler, name = desk.scheduler, order.entry.name
    match step:
        case ("whole", size):
            assert scheduler.take(whole(name, size)) is not None
            scheduler.published(name, BlockingIOError(11, "taken") if publish_error else None)
        case ("failed", kind, finding, after):
            remote = RemoteFile(size=after)
            desk.fail(name, kind, finding=finding, after=after, received=after // 2, remote=remote)
        case ("rejected",):
            desk.fail(name, FailureClass.BROKEN, finding=Finding.FITS, rejected=True)
        case ("elsewhere",):
            scheduler.take(Outcome(name=name, ending=Ending.ELSEWHERE))
        case ("stopped",):
            scheduler.halt(Failure(kind=FailureClass.LOCAL, reason="SIGTERM"))
            scheduler.take(Outcome(name=name, ending=Ending.STOPPED))


@settings(max_examples=60, deadline=None)
@given(
    files=st.integers(1, 6),
    steps=st.lists(st.tuples(STEPS, st.booleans()), max_size=40),
    seed=st.integers(0, 1000),
)
def test_the_counts_of_every_history_add_up(
    files: int, steps: list[tuple[tuple[Any, ...], bool]], seed: int
) -> None:
    """Each file is done, skipped, failed or left, and exactly one of them; nothing is lost."""
    desk = Desk(files, tries=3, jitter=random.Random(seed))
    scheduler = desk.scheduler
    desk.add(*map(str, range(files)))
    scheduler.surveyed = True
    received = 0
    for step, flag in steps:
        if (order := scheduler.next_order()) is not None:
            play(desk, order, step, flag)
        desk.clock.advance(scheduler.due_in() or 0.0)
        scheduler.see(None, {}, others=False)
        for again in scheduler.due_elsewhere():
            if flag:
                scheduler.skip(again, size=1, why="known")
            else:
                scheduler.add(again)
        progress: Progress = scheduler.progress({}, seconds=1.0)
        assert progress.received >= received
        received = progress.received

    ended = Counter(
        event.name
        for event in desk.reporter.events
        if isinstance(event, FileDone | FileSkipped | FileFailed)
    )
    tally = scheduler.tally
    left = files - tally.done - tally.skipped - tally.failed
    assert set(ended.values()) <= {1}
    assert len(ended) == files - left
    assert tally.done == len(desk.reporter.of(FileDone))
    assert len(scheduler.to_come()) <= left
    if scheduler.is_idle and scheduler.halted is None:
        assert left == 0
    starts = Counter(event.name for event in desk.reporter.of(AttemptStarted))
    assert all(starts[name] for name in ended if name in starts)
