"""What a live run shows to onlookers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.doubles import NOON

from wgetpool import live
from wgetpool.events import Progress, Running, Waiting
from wgetpool.live import Billboard, Look
from wgetpool.store import KnownRun, RunLock, Store

LOOK = Look(
    at=NOON,
    progress=Progress(
        seconds=12.5,
        files=3,
        done=1,
        skipped=0,
        failed=0,
        bytes=7,
        received=9,
        size=None,
        rate=1.5,
        left=None,
        running=(Running(name="é [b]\n.tar", attempt=2, bytes=4, size=None, since=1.0, rate=0.5),),
        waiting=(Waiting(name="b", attempt=3, due_in=2.5, reason="HTTP 503"),),
        waiting_count=1,
        elsewhere=1,
    ),
)


@pytest.fixture
def known(tmp_path: Path) -> Iterator[KnownRun]:
    """This process as a run."""
    store = Store(tmp_path)
    store.make()
    lock = RunLock(store, "r1")
    (found,) = store.known_runs()
    yield found
    lock.release()


def test_what_a_run_shows_is_seen(known: KnownRun) -> None:
    """All of it, as it was; the last look replaces the one before."""
    with closing(Billboard()) as billboard:
        billboard.show(replace(LOOK, progress=replace(LOOK.progress, done=0)))
        billboard.show(LOOK)

        assert live.read(known) == LOOK


def test_a_run_that_has_shown_nothing_yet_is_seen_without(known: KnownRun) -> None:
    """Nor one that shows nothing any more."""
    with closing(Billboard()) as billboard:
        assert live.read(known) is None
        billboard.show(LOOK)
    assert live.read(known) is None


def test_a_process_that_is_not_the_run_is_not_read(known: KnownRun) -> None:
    """Its pid may be somebody else's by now: he who has not the lock file open is not believed."""
    with closing(Billboard()) as billboard:
        billboard.show(LOOK)

        assert live.read(replace(known, run="another")) is None
        assert live.read(replace(known, signature=None)) is None


def test_what_cannot_be_understood_is_passed_over(known: KnownRun) -> None:
    """Another version's words, or half of them."""
    descriptor = os.memfd_create(live.NAME)
    try:
        os.write(descriptor, b'{"at": "2026-03-01T12:00:00+00:00", "progress": {"new": 1')
        assert live.read(known) is None
        os.write(descriptor, b', "running": [], "waiting": []}}')
        assert live.read(known) is None
    finally:
        os.close(descriptor)


def test_a_machine_without_memory_costs_a_look_and_no_descriptor(
    known: KnownRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is tried."""
    before = open_files()
    full = os.open("/dev/full", os.O_WRONLY)
    billboard = Billboard()
    monkeypatch.setattr(os, "memfd_create", lambda _: os.dup(full))

    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            billboard.show(LOOK)

    os.close(full)
    assert open_files() == before


def open_files() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_nothing_is_left_open(known: KnownRun) -> None:
    """However often a run shows itself: one descriptor, and none at its end."""
    before = open_files()
    billboard = Billboard()
    for _ in range(50):
        billboard.show(LOOK)
    assert len(open_files()) == len(before) + 1
    assert not os.get_inheritable(billboard._shown or 0)

    billboard.close()

    assert open_files() == before
