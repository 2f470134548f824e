"""A file's story, as lines and as an object."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wgetpool.events import Running, Waiting
from wgetpool.folder import FileStatus, Folder, LiveRun
from wgetpool.ledger import Ledger
from wgetpool.model import AttemptRecord, Cause
from wgetpool.store import KnownRun, Store
from wgetpool.story import Story, as_object, lines_of, read_story

GIB = 1024**3
DONE = FileStatus(
    name="a.tar",
    state="done",
    bytes=11 * GIB,
    size=11 * GIB,
    attempts=2,
    reason=None,
    class_=None,
    cause=None,
    proof=("size", "sha256"),
    sha256="ab" * 32,
)
BEGUN = replace(DONE, state="partial", bytes=3 * GIB, attempts=0, proof=(), sha256=None)
FAILED = replace(
    BEGUN, state="failed", reason="HTTP 404 Not Found", class_="permanent", cause=Cause.NOT_FOUND
)
RUN = LiveRun(known=KnownRun(run="r", alive=True, signature=None))


def attempt(**given: Any) -> AttemptRecord:
    values: dict[str, Any] = {
        "name": "a.tar",
        "run": "r1",
        "attempt": 1,
        "started": "2026-03-01T12:00:00+00:00",
        "seconds": 12.0,
        "bytes": 3 * GIB,
        "received": GIB,
        "ending": "failed",
        "status": 206,
        "reason": "stalled: no new byte for 120 s",
        "retry_in": 4.2,
    }
    return AttemptRecord(**values | given)


def tell(file: FileStatus, *attempts: tuple[int, AttemptRecord], **given: str) -> list[str]:
    told = Story(file=file, attempts=list(attempts), **{"now": "", "next_step": "", **given})
    return list(lines_of(told))


@pytest.fixture(autouse=True)
def _in_utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.make()
    Ledger(store.ledger).close()
    return store


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "1.0 GiB in 12 s, HTTP 206: stalled: no new byte for 120 s; again in 5 s"),
        (
            {"retry_in": 0.0},
            "1.0 GiB in 12 s, HTTP 206: stalled: no new byte for 120 s; again at once",
        ),
        (
            {"reason": "HTTP 503 Busy", "status": 503, "received": 0, "retry_in": None},
            "0 B in 12 s: HTTP 503 Busy; no other try",
        ),
        ({"ending": "done"}, "1.0 GiB in 12 s, HTTP 206: whole"),
        ({"ending": "adopted"}, "looked at, HTTP 206: it was here already, and is whole"),
        ({"ending": "stopped"}, "1.0 GiB in 12 s, then ended with its run; 3.0 GiB stayed here"),
        ({"status": None, "reason": None}, "1.0 GiB in 12 s: failed; again in 5 s"),
    ],
)
def test_each_attempt_is_one_line(given: dict[str, Any], line: str) -> None:
    """When, what came, with which status, why it ended, and when the next one begins."""
    told = tell(BEGUN, (7, attempt(**given)))

    assert f"  2026-03-01 12:00:00  try 7: {line}" in told


def test_a_story_of_which_the_beginning_is_not_kept_says_so() -> None:
    """The numbers go on."""
    told = tell(BEGUN, (151, attempt()), (152, attempt()))

    assert told[1] == "  (150 earlier attempts no longer known)"
    assert "try 151: " in told[2]


def test_what_an_attempt_brought_is_what_is_new() -> None:
    """Compared bytes come twice, and would make the sum absurd."""
    first = attempt(bytes=GIB, received=GIB)
    again = attempt(bytes=GIB, received=65536)
    whole = attempt(bytes=3 * GIB, received=2 * GIB + 65536, ending="done")

    told = tell(DONE, (1, first), (2, again), (3, whole))

    assert ["1.0 GiB in" in told[1], "0 B in" in told[2], "2.0 GiB in" in told[3]] == [True] * 3


def test_attempts_of_another_run_are_set_apart() -> None:
    """Whoever ended it, the story goes on."""
    told = tell(BEGUN, (1, attempt()), (2, attempt()), (3, attempt(run="r2")))

    assert [line.strip() == "-- another run" for line in told] == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("file", "lines"),
    [
        (DONE, ["a.tar: done, 11.0 GiB", "  proved by: size, sha256", f"  sha256: {'ab' * 32}"]),
        (
            replace(DONE, bytes=0, proof=(), sha256=None),
            [
                "a.tar: done, 11.0 GiB, no longer in its folder",
                "  proved by: nothing: the server told no length",
            ],
        ),
        (BEGUN, ["a.tar: begun, 3.0 GiB of 11.0 GiB here", "  no attempt at it is known"]),
        (
            replace(BEGUN, state="pending", bytes=0, size=None),
            ["a.tar: to come", "  not tried yet"],
        ),
    ],
)
def test_without_attempts_the_file_still_has_a_story(file: FileStatus, lines: list[str]) -> None:
    """Of an older version's ledger, of another tool's part, of a file that nobody has tried."""
    assert tell(file) == lines


def test_what_goes_on_and_what_to_do_come_last() -> None:
    """One of them, mostly."""
    told = tell(FAILED, (1, attempt()), now="try 2 runs", next_step="Do it.")

    assert told[0] == "a.tar: failed, 3.0 GiB of 11.0 GiB here, HTTP 404 Not Found"
    assert told[-2:] == ["  now: try 2 runs", "  next: Do it."]


def test_the_next_step_depends_on_the_cause_and_on_who_is_at_work(store: Store) -> None:
    """Nothing to do while a run is at it, nor when the file is done."""
    running = replace(
        RUN, running=(Running(name="a.tar", attempt=3, bytes=1, size=2, since=65.0, rate=2048.0),)
    )
    waiting = replace(
        RUN, waiting=(Waiting(name="a.tar", attempt=4, due_in=19.2, reason="HTTP 503"),)
    )

    def story(file: FileStatus, *runs: LiveRun) -> Story:
        return read_story(Folder(store=store, files=[file], runs=list(runs), orphans=[]), file)

    assert story(BEGUN, running).now == "try 3 runs since 1 min 05 s, 2.0 KiB/s"
    assert story(BEGUN, waiting).now == "try 4 begins in 20 s"
    assert story(BEGUN, running).next_step == story(DONE).next_step == ""
    assert "the run comes to it" in story(BEGUN, RUN).next_step
    assert "wgetpool get again" in story(BEGUN).next_step
    assert "--exclude" in story(FAILED).next_step
    assert story(replace(FAILED, cause=None)).next_step


def test_a_program_gets_the_same(store: Store) -> None:
    """Keys as in the ledger, without the file's name again; no step is null."""
    told = Story(file=DONE, attempts=[(3, attempt(class_="transient"))], now="", next_step="")

    found: Any = as_object(told)

    assert found["next_step"] is None
    (only,) = found["story"]
    assert only["number"] == 3
    assert only["class"] == "transient"
    assert "name" not in only
    assert "class_" not in only


@pytest.mark.parametrize(
    ("cause", "step"), [(Cause.EXPIRED, "Get a fresh list"), (Cause.NO_SPACE, "Make room")]
)
def test_what_a_file_waits_for_is_its_next_step(store: Store, cause: Cause, step: str) -> None:
    """While a run is live, too: it does not come to it by itself."""
    held = replace(BEGUN, reason="why", cause=cause)
    run = replace(RUN, seen=True, expired=1, no_room=1)
    folder = Folder(store=store, files=[held], runs=[run], orphans=[])

    story = read_story(folder, held)

    assert story.next_step.startswith(step)
    assert next(lines_of(story)) == "a.tar: begun, 3.0 GiB of 11.0 GiB here, why"


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (replace(RUN, seen=True, expired=3), "it waits for a fresh link"),
        (RUN, "it waits for a fresh link"),  # on another machine: nobody knows better
        (replace(RUN, seen=True, no_room=3), ""),  # it has fresh links by now
    ],
)
def test_a_file_that_a_live_run_holds_is_said_to_wait(
    store: Store, run: LiveRun, words: str
) -> None:
    """As long as the run says that it holds any; then the run comes to it."""
    held = replace(BEGUN, state="pending", bytes=0, reason="expired", cause=Cause.EXPIRED)

    story = read_story(Folder(store=store, files=[held], runs=[run], orphans=[]), held)

    told = list(lines_of(story))
    assert story.now == words
    assert ("  not tried yet" in told) is (not words)
    assert ("the run comes to it" in told[-1]) is (not words)


def test_what_waits_for_room_says_so_and_what_is_tried_does_not(store: Store) -> None:
    """An attempt outranks what the ledger has of the time before."""
    held = replace(BEGUN, reason="no room", cause=Cause.NO_SPACE)
    holding = replace(RUN, seen=True, no_room=2)
    trying = replace(
        holding, running=(Running(name="a.tar", attempt=1, bytes=1, size=2, since=5.0),)
    )

    told = [
        read_story(Folder(store=store, files=[held], runs=[run], orphans=[]), held)
        for run in (holding, trying)
    ]

    assert [story.now for story in told] == [
        "it waits for room on the disk",
        "try 1 runs since 5 s",
    ]
    assert told[1].next_step == ""


def test_after_the_run_it_is_to_come_with_the_reason(store: Store) -> None:
    """Nothing holds it any more; what to do is the same."""
    held = replace(BEGUN, state="pending", bytes=0, reason="expired", cause=Cause.EXPIRED)

    story = read_story(Folder(store=store, files=[held], runs=[], orphans=[]), held)

    assert list(lines_of(story))[:2] == ["a.tar: to come, expired", "  not tried yet"]
    assert story.next_step.startswith("Get a fresh list")


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("stopped", "with its run"),
        ("no_room", "for want of room on the disk"),
        ("share", "to go on with another share of --limit-rate"),
    ],
)
def test_an_attempt_that_was_ended_says_what_for(ending: str, words: str) -> None:
    """Not by its run's end, where the run has gone on."""
    ended = attempt(ending=ending, reason=None, retry_in=None)

    assert f"then ended {words}; 3.0 GiB stayed here" in tell(BEGUN, (1, ended))[1]
