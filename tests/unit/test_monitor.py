"""Looks at a run: for its listener, for onlookers, for the ledger."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.doubles import FakeClock, InlineExecutor, ListReporter, ScriptedInbox

from wgetpool import live
from wgetpool.errands import Errands
from wgetpool.events import Progress
from wgetpool.model import Entry, Sample, Settings, Url
from wgetpool.monitor import INTERVAL, SAMPLE_INTERVAL, Monitor
from wgetpool.scheduler import Scheduler
from wgetpool.store import RunLock, Store


class Desk:
    """One running file, and a monitor that looks at it while the clock goes."""

    def __init__(self, directory: Path, interval: float | None) -> None:
        self.store = Store(directory)
        self.store.make()
        self.clock = FakeClock()
        self._grown_at = self.clock.now()
        self.reporter = ListReporter()
        self.samples: list[Sample] = []
        settings = Settings(directory=directory, wget="wget")
        self.scheduler = Scheduler(
            settings, 1, clock=self.clock, jitter=random.Random(), emit=lambda _: None
        )
        self.scheduler.add(Entry("a", Url("https://e.org/a"), size=10**9))
        assert self.scheduler.next_order()
        self.errands = Errands(ScriptedInbox(self.clock))
        self.monitor = Monitor(
            self.store,
            "r1",
            scheduler=self.scheduler,
            clock=self.clock,
            errands=self.errands,
            sampler=InlineExecutor(),
            interval=interval,
            emit=self.reporter.handle,
            keep=self.samples.append,
        )

    def pass_time(self, seconds: float, *, grow: int = 1000) -> None:
        """So many bytes come each second, and the monitor looks whenever it wants to."""
        end = self.clock.now() + seconds
        while (due := self.monitor.due_in() or 0.0) + self.clock.now() <= end:
            self.clock.advance(due)
            self._grow(grow)
            self.monitor.look_when_due()
            while self.errands.take(0):
                pass
        self.clock.at = end

    def _grow(self, rate: int) -> None:
        with self.store.part("a").open("ab") as part:
            part.write(b"x" * round(rate * (self.clock.now() - self._grown_at)))
        self._grown_at = self.clock.now()

    def shown(self) -> Progress | None:
        (known,) = self.store.known_runs()
        look = live.read(known)
        return None if look is None else look.progress


@pytest.fixture
def made(tmp_path: Path) -> Iterator[list[Desk]]:
    """Holds the lock of the run, and closes its monitors."""
    store = Store(tmp_path)
    store.make()
    lock, desks = RunLock(store, "r1"), []  # type: ignore[var-annotated]
    yield desks
    for desk in desks:
        desk.monitor.close()
    lock.release()


def desk(made: list[Desk], folder: Path, interval: float | None = None) -> Desk:
    made.append(Desk(folder, interval))
    return made[-1]


def test_onlookers_see_a_run_after_a_second_and_then_every_two(
    made: list[Desk], tmp_path: Path
) -> None:
    """Also one whose own listener wants to know nothing."""
    run = desk(made, tmp_path)
    run.pass_time(0.9)
    assert run.shown() is None

    run.pass_time(0.1)
    first = run.shown()
    run.pass_time(10 * INTERVAL)
    last = run.shown()

    assert first is not None
    assert last is not None
    assert first.running[0].name == "a"
    assert last.rate == pytest.approx(1000, rel=0.1)
    assert last.running[0].bytes == 21_000
    assert run.reporter.events == []


@pytest.mark.parametrize(("interval", "told"), [(1.0, 60), (60.0, 1), (None, 0)])
def test_the_listener_is_told_as_often_as_it_wants(
    made: list[Desk], tmp_path: Path, interval: float | None, told: int
) -> None:
    """A display each second, a log each minute, --quiet never."""
    run = desk(made, tmp_path, interval)

    run.pass_time(61.5)

    assert len(run.reporter.of(Progress)) in {told, told + 1}
    assert all(event.rate for event in run.reporter.of(Progress)[2:])


def test_the_ledger_gets_samples_that_grow_rarer(made: list[Desk], tmp_path: Path) -> None:
    """Every ten seconds at first, a thousand until a run is some hours old, then fewer."""
    run = desk(made, tmp_path)

    run.pass_time(100)
    young = len(run.samples)
    run.clock.advance(30_000)  # as if it had run for so long
    run._grown_at = run.clock.now()
    run.samples.clear()
    run.pass_time(310)

    assert young == pytest.approx(100 / SAMPLE_INTERVAL, abs=2)
    assert 9 <= len(run.samples) <= 12  # every thirty seconds
    assert run.samples[-1].received == run.samples[-1].bytes > 0
    assert run.samples[-1].run == "r1"


def test_nothing_is_written_down_while_no_byte_comes(made: list[Desk], tmp_path: Path) -> None:
    """The disk may have stopped to answer, and would hold up whoever writes to it."""
    run = desk(made, tmp_path)

    run.pass_time(600, grow=0)

    assert run.samples == []
    assert run.shown() is not None


def test_an_earlier_run_tells_the_time_left_at_once(made: list[Desk], tmp_path: Path) -> None:
    """After a restart nobody waits for it."""
    run, other = desk(made, tmp_path, 1.0), desk(made, tmp_path, 1.0)
    run.monitor.expect_rate(1000.0)

    run.pass_time(3.5)
    other.pass_time(3.5)

    assert run.reporter.of(Progress)[-1].left == pytest.approx(10**6, rel=0.1)
    assert other.reporter.of(Progress)[-1].left is None
