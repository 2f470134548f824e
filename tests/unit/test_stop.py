"""What `stop` says where it cannot end all: a run that hangs, another user's, a wget in state D."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.doubles import FakeClock

from wgetpool import process, stop
from wgetpool.model import Orphan
from wgetpool.store import RunLock, Store

US = os.getpid()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "data")
    made.make()
    return made


@pytest.fixture
def lock(store: Store) -> Iterator[RunLock]:
    """A live run: this very process."""
    lock = store.lock_run("r1")
    yield lock
    lock.release()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Time passes where it is waited for."""
    clock = FakeClock()
    ticking = SimpleNamespace(monotonic=clock.now, sleep=clock.advance)
    monkeypatch.setattr(process, "time", ticking)
    return clock


def answer(monkeypatch: pytest.MonkeyPatch, send: Callable[[], bool]) -> list[tuple[int, int]]:
    """Has signals answered; returns those that are sent."""
    sent: list[tuple[int, int]] = []

    def signal_process(pid: int, number: int, *, is_right: Callable[[], bool]) -> bool:
        if number == signal.SIGTERM:
            assert is_right()
        sent.append((pid, int(number)))
        return send()

    monkeypatch.setattr(process, "signal_process", signal_process)
    return sent


def run(store: Store) -> tuple[int, list[str]]:
    out = io.StringIO()
    return stop.stop_directory(store.directory, out=out), out.getvalue().splitlines()


def test_a_run_that_does_not_end_is_told_with_what_ends_it(
    store: Store, lock: RunLock, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the patience; it is looked at a few times a second, and no oftener."""
    sent = answer(monkeypatch, lambda: True)
    began = clock.now()

    code, lines = run(store)

    assert code == 1
    assert sent[0] == (US, signal.SIGTERM)
    assert set(sent[1:]) == {(US, signal.SIGCONT)}, "it may just have been stopped"
    assert clock.now() - began == pytest.approx(stop.PATIENCE, abs=1)
    assert lines[0] == f"waiting for the run with pid {US} to end"
    assert lines[1].startswith(f"the run with pid {US} has not ended within 60 s: kill -KILL {US} ")
    assert len(lines) == 2


def test_another_users_run_is_told(
    store: Store, lock: RunLock, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may end it; and nothing is waited for."""

    def refuse() -> bool:
        raise PermissionError(1, "Operation not permitted")

    answer(monkeypatch, refuse)

    code, lines = run(store)

    assert (code, clock.now()) == (1, 1000.0)
    told = f"kill {US} as that user, or as root, ends it"
    assert lines == [f"the run with pid {US} is another user's: {told}"]


def test_a_lock_file_that_may_not_be_read_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a traceback, and not that nothing runs."""

    def refuse(self: Store, run: str) -> None:
        raise PermissionError(13, "Permission denied", str(store.runs / run))

    (store.runs / "r1").touch()
    monkeypatch.setattr(Store, "look_at_run", refuse)

    code, lines = run(store)

    assert code == 1
    assert lines == [f"{store.runs}/r1 is another user's: stop the run as who began it"]


def test_a_run_that_has_just_ended_is_no_problem(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the signal, or after it."""
    lock = store.lock_run("r1")

    def end() -> bool:
        lock.release()
        monkeypatch.setattr(stop, "_works", lambda *_: False)
        monkeypatch.setattr(process, "signal_process", lambda *_, **__: False)
        return False

    answer(monkeypatch, end)

    code, lines = run(store)

    assert code == 0
    assert lines[-1] == f"ended the run with pid {US}"


def test_a_run_that_began_meanwhile_is_told(
    store: Store, lock: RunLock, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not meant, and goes on: something runs still."""
    later: list[RunLock] = []

    def sleep(_: float) -> None:
        store.forget_run("r1")
        later.append(store.lock_run("r2"))
        monkeypatch.setattr(stop, "_works", lambda *_: False)

    monkeypatch.setattr("wgetpool.process.time.sleep", sleep)
    sent = answer(monkeypatch, lambda: True)

    code, lines = run(store)
    later[0].release()

    assert code == 1
    assert sent.count((US, signal.SIGTERM)) == 1
    assert lines[-1] == f"the run with pid {US} has begun since"


def test_wgets_that_nothing_ends_are_told_and_their_run_is_not_forgotten(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """State D: the next one who looks finds them by it. The others are ended, and so told."""
    for dead in ("r1", "r2"):
        (store.runs / dead).write_text("4711\n")
    stuck = Orphan(pid=12, run="r1", part="a.tar")
    orphans = [stuck, *(Orphan(pid=pid, run="r2", part=f"{pid}.tar") for pid in range(20, 42))]
    monkeypatch.setattr("wgetpool.orphans.end", lambda runs: orphans)
    monkeypatch.setattr("wgetpool.orphans.find", lambda runs: [stuck])

    code, lines = run(store)

    names = ", ".join(f"{pid}.tar" for pid in range(20, 40))
    assert code == 1
    assert lines[0] == f"ended 22 wgets that a killed run had left behind: {names} and 2 more"
    assert lines[1].startswith("1 wget of a killed run cannot be ended (pid 12): blocked")
    assert store.dead_runs() == ["r1"]
