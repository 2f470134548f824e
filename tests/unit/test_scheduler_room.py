"""The scheduler and the room on the disk: who is held, what is said, when it goes on or ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.doubles import FakeClock, FullJitter, ListReporter

from wgetpool.events import AttemptStopped, FileFailed, Warned
from wgetpool.model import (
    AttemptOrder,
    Cause,
    Ending,
    Entry,
    Failure,
    FailureClass,
    Head,
    Manners,
    Outcome,
    RemoteFile,
    Settings,
    Url,
    WholePart,
)
from wgetpool.scheduler import LOOKAHEAD, Scheduler

MIB = 1 << 20


class Desk:
    """A scheduler that has heard what is free, and the events that it emitted."""

    def __init__(self, *, files: int = 9, free: int, min_free: int = 8 * MIB) -> None:
        self.clock = FakeClock()
        self.reporter = ListReporter()
        manners = Manners(min_free=min_free)
        self.scheduler = Scheduler(
            Settings(directory=Path("/data"), wget="/usr/bin/wget", manners=manners),
            files,
            clock=self.clock,
            jitter=FullJitter(),
            emit=self.reporter.handle,
        )
        self.scheduler.surveyed = True
        self.scheduler.see(free, {})

    def add(self, *names: str, size: int | None = None, begun: int = 0) -> None:
        for name in names:
            self.scheduler.add(Entry(name, Url(f"http://h/{name}"), size), begun=begun)

    def start(self) -> list[AttemptOrder]:
        """All that starts now."""
        return list(iter(self.scheduler.next_order, None))

    def names(self) -> list[str]:
        return [order.entry.name for order in self.start()]

    def look(self, free: int, **lengths: int) -> None:
        """Twice where all is held: what is looked at again comes back as it was."""
        for _ in range(2):
            self.clock.advance(2)
            self.scheduler.to_sample()
            self.scheduler.see(free, lengths, others=False)
            if not (again := self.scheduler.due_elsewhere()):
                return
            for entry in again:
                self.scheduler.add(entry)
            self.start()

    def hear(self, name: str, size: int) -> None:
        head = Head(status=200, remote=RemoteFile(size=size))
        self.scheduler.hear(name, head, None)

    def end(self, name: str, ending: Ending, after: int, **more: Any) -> None:
        self.scheduler.take(Outcome(name=name, ending=ending, after=after, **more))

    def finish(self, name: str, size: int) -> None:
        part = WholePart(name=name, claim=9, inode=1, size=size, proof=("size",))
        self.end(name, Ending.EXITED, size, received=size, whole=part)
        self.scheduler.published(name, None)

    @property
    def said(self) -> list[str]:
        return [event.message for event in self.reporter.of(Warned)]


def test_what_does_not_fit_is_held_and_the_others_pass_it() -> None:
    """Said once, with the numbers, however many are held and however often it is looked at."""
    desk = Desk(free=58 * MIB)
    desk.add("a", size=30 * MIB)
    desk.add("b", "c", size=40 * MIB)
    desk.add("d", size=10 * MIB)

    assert desk.names() == ["a", "d"]
    desk.look(58 * MIB, a=0, d=0)
    assert desk.names() == []

    assert desk.said == [
        "no room on the disk for 2 files, b the first: 40.0 MiB are to come, 58.0 MiB are free, "
        "40.0 MiB of these are for what is under way, 8.0 MiB are kept (--min-free). Make some "
        "while others run: what waits goes on by itself"
    ]


def test_held_files_go_on_when_there_is_room() -> None:
    """Only those that fit together; said once, until nothing waits any more."""
    desk = Desk(free=40 * MIB)
    desk.add("a", size=20 * MIB)
    desk.add("b", "c", "d", size=30 * MIB)
    desk.start()

    desk.look(60 * MIB, a=0)
    assert desk.names() == ["b"]
    desk.look(90 * MIB, a=0, b=0)
    assert desk.names() == ["c"]
    desk.look(120 * MIB, a=0, b=0, c=0)
    assert desk.names() == ["d"]

    assert [message for message in desk.said if "again" in message] == [
        "there is room on the disk again: what waited for it goes on"
    ]
    assert len(desk.said) == 2


def test_nothing_is_said_while_the_first_file_is_asked_for_its_size() -> None:
    """The others start as soon as it is told, not at the next look."""
    desk = Desk(free=200 * MIB)
    desk.add("a", "b", "c")

    (order,) = desk.start()
    assert (order.entry.name, order.ceiling) == ("a", 192 * MIB)
    desk.look(200 * MIB, a=0)
    desk.hear("a", MIB)

    assert desk.names() == ["b", "c"]
    assert desk.said == []


def test_who_keeps_the_others_waiting_for_its_size_for_long_is_told_of() -> None:
    """A server that tells no length at all."""
    desk = Desk(free=200 * MIB)
    desk.add("a", "b")
    desk.start()

    for n in range(1, 5):
        desk.look((200 - n) * MIB, a=n * MIB)

    (told,) = desk.said
    assert told.startswith("no room on the disk for b: 197 MiB are free, 189 MiB of these are for")


def test_the_end_of_a_file_that_was_never_heard_of_lets_the_others_go_on() -> None:
    """Small files are whole before anybody has seen their heads."""
    desk = Desk(free=200 * MIB)
    desk.add(*"abcdefgh")
    desk.start()

    desk.finish("a", 1000)

    assert desk.names() == ["b", "c", "d", "e"]
    assert desk.said == []


def test_a_file_that_turns_out_too_large_is_recalled_and_held() -> None:
    """Its part stays; it goes on when there is room for the rest."""
    desk = Desk(free=58 * MIB)
    desk.add("a")
    desk.start()

    desk.hear("a", 60 * MIB)
    assert desk.scheduler.is_recalled("a")
    desk.end("a", Ending.RECALLED, 2 * MIB, remote=RemoteFile(size=60 * MIB))
    assert [event.why for event in desk.reporter.of(AttemptStopped)] == ["no_room"]
    assert not desk.names()
    desk.look(66 * MIB)

    (order,) = desk.start()
    assert order.ceiling is None
    assert not desk.scheduler.is_recalled("a")


def test_with_nothing_under_way_and_no_room_the_run_ends() -> None:
    """At a look that has all in it; with the numbers, and for how many."""
    desk = Desk(free=40 * MIB)
    desk.add("a", size=20 * MIB)
    desk.add("b", "c", size=30 * MIB)
    desk.start()

    desk.scheduler.to_sample()
    desk.finish("a", 20 * MIB)
    desk.scheduler.see(40 * MIB, {"a": 0})  # measured before it came
    assert not desk.reporter.of(FileFailed)
    desk.look(20 * MIB)

    (failed,) = desk.reporter.of(FileFailed)
    assert failed.cause is Cause.NO_SPACE
    assert "nor for 1 more file: 30.0 MiB are to come, 20.0 MiB are free, 8.0 MiB" in failed.reason
    assert desk.scheduler.halted is not None
    assert desk.scheduler.is_idle


def test_what_the_disk_refuses_waits_for_what_is_under_way() -> None:
    """It is no try, and not asked for again and again; who is refused alone ends the run."""
    desk = Desk(free=100 * MIB)
    desk.add("a", "b", size=MIB)
    desk.start()
    full = Failure(kind=FailureClass.LOCAL, cause=Cause.NO_SPACE, reason="Disk quota exceeded")

    desk.end("a", Ending.EXITED, 0, failure=full)
    desk.look(100 * MIB, b=0)
    assert desk.names() == []
    assert desk.said == ["Disk quota exceeded: a waits until there is room"]
    desk.finish("b", MIB)
    assert desk.names() == ["a"]
    desk.end("a", Ending.EXITED, 0, failure=full)

    assert [event.name for event in desk.reporter.of(FileFailed)] == ["a"]
    assert desk.scheduler.halted is full


def test_a_disk_that_is_full_to_the_last_byte_is_told_so() -> None:
    """Nothing free is a number, too."""
    desk = Desk(free=0, min_free=0)
    desk.add("a", size=20 * MIB)

    assert desk.names() == []
    desk.look(0)

    (failed,) = desk.reporter.of(FileFailed)
    assert "20.0 MiB are to come, 0 B are free" in failed.reason
    assert desk.said == []  # it waits for nobody


def test_a_long_list_is_not_read_to_its_end_to_be_held() -> None:
    """So many files that wait for room are enough; the run ends all the same."""
    desk = Desk(files=LOOKAHEAD + 9, free=MIB)
    desk.scheduler.surveyed = False
    desk.add(*(f"f{n}" for n in range(LOOKAHEAD)), size=MIB)

    assert desk.names() == []

    assert not desk.scheduler.wants_more
    desk.look(MIB)
    assert desk.scheduler.halted is not None
