"""How far a folder is, by what its ledger, its parts and its runs tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.doubles import NOON

from wgetpool.errors import SourceError
from wgetpool.events import Progress, Running, Waiting
from wgetpool.folder import Folder, LiveRun, look, opened
from wgetpool.ledger import Ledger
from wgetpool.live import Billboard, Look
from wgetpool.model import Cause, FileRecord, Sample
from wgetpool.store import KnownRun, RunLock, Signature, Store

KNOWN = KnownRun(run="r", alive=True, signature=None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.make()
    write(store)
    return store


def write(store: Store, *rows: FileRecord | Sample) -> None:
    with closing(Ledger(store.ledger)) as ledger:
        ledger.record(rows)


def see(store: Store, *only: str, after: float = 0.0) -> Folder:
    return look(store, only=only, now=NOON + timedelta(seconds=after))


def progress(**given: Any) -> Progress:
    counts = dict.fromkeys(("done", "skipped", "failed", "waiting_count"), 0)
    values: dict[str, Any] = {
        "seconds": 9.0,
        "files": 3,
        "bytes": 7,
        "received": 7,
        "size": None,
        "running": (),
        "waiting": (),
    }
    return Progress(**counts | values | given)


@pytest.fixture
def run(store: Store) -> Iterator[Billboard]:
    """A live run, this process, and what it shows."""
    lock = RunLock(store, "r1")
    with closing(Billboard()) as billboard:
        yield billboard
    lock.release()


def test_a_file_is_as_far_as_its_part_and_its_record_tell(store: Store) -> None:
    """Done, moved on, torn since, failed, begun, to come; a cause only where one failed."""
    done = FileRecord(name="done", state="done", size=3, proof=("size",), sha256="ab")
    failed = FileRecord(
        name="failed",
        state="failed",
        size=9,
        reason="HTTP 404",
        class_="permanent",
        cause="not_found",
    )
    write(
        store,
        done,
        replace(done, name="moved"),
        replace(done, name="torn"),
        failed,
        FileRecord(name="begun", state="pending"),
        FileRecord(name="new", state="publishing", cause="size"),
    )
    store.final("done").write_bytes(b"abc")
    store.final("torn").write_bytes(b"ab")
    store.part("begun").write_bytes(b"abcd")

    found = {file.name: file for file in see(store).files}

    assert {name: (file.state, file.bytes) for name, file in found.items()} == {
        "begun": ("partial", 4),
        "done": ("done", 3),
        "failed": ("failed", 0),
        "moved": ("done", 0),
        "new": ("pending", 0),
        "torn": ("pending", 2),
    }
    assert found["torn"].reason == "it has 2 bytes, 3 were fetched"
    assert (found["failed"].cause, found["new"].cause) == (Cause.NOT_FOUND, None)
    assert (found["done"].sha256, found["torn"].sha256) == ("ab", None)


def test_a_file_that_is_tried_again_has_no_old_cause(store: Store) -> None:
    """The ledger keeps that of the failure; one that is held has a reason as well."""
    write(
        store,
        FileRecord(name="again", state="pending", cause="not_found"),
        FileRecord(name="held", state="pending", cause="expired", reason="the link has expired"),
    )

    assert [file.cause for file in see(store).files] == [None, Cause.EXPIRED]


@pytest.mark.parametrize("word", [None, "a word of another version"])
def test_a_cause_that_is_not_known_is_any_other(store: Store, word: str | None) -> None:
    """An older ledger has none."""
    write(store, FileRecord(name="a", state="failed", cause=word))

    assert see(store).files[0].cause is Cause.OTHER


def test_what_a_run_told_is_brought_up_to_now(store: Store, run: Billboard) -> None:
    """Bytes are those of the part, waits and time left have gone on, a done file is gone."""
    write(
        store,
        FileRecord(name="a", state="pending"),
        FileRecord(name="b", state="done", size=1),
        FileRecord(name="c", state="pending"),
    )
    store.part("a").write_bytes(b"x" * 70)
    rows = [Running(name=n, attempt=2, bytes=50, size=100, since=5.0, rate=10.0) for n in "ab"]
    waits = Waiting(name="c", attempt=3, due_in=3.0, reason="HTTP 503")
    told = progress(
        running=tuple(rows), waiting=(waits,), waiting_count=1, rate=10.0, left=30.0, elsewhere=2
    )
    run.show(Look(at=NOON, progress=told))

    soon, old = see(store, after=2.0), see(store, after=100.0)

    (live,) = soon.runs
    assert live.seen
    assert live.running == (replace(rows[0], bytes=70, since=7.0),)
    assert live.waiting == (replace(waits, due_in=1.0),)
    assert (live.heard, live.rate, live.left, live.elsewhere) == (2.0, 10.0, 28.0, 2)
    assert (old.left, old.rate, old.running[0].rate) == (None, None, None)
    assert old.waiting[0].due_in == 0.0


def test_a_run_on_another_machine_tells_by_its_samples(store: Store) -> None:
    """Nobody here can see its memory."""
    counts = dict.fromkeys(("done", "skipped", "failed", "running", "waiting"), 1)
    samples = [
        Sample(
            run="far",
            at=(NOON + timedelta(seconds=at)).isoformat(),
            seconds=at,
            files=4,
            bytes=at * 100,
            received=at * 100,
            size=10_000,
            **counts,
        )
        for at in (0, 10, 20)
    ]
    write(store, *samples)
    far = Signature(pid=7, host="far-away", boot="b", start="1", unlocked=True)
    (store.runs / "far").write_text(f"{far}\n")

    folder = see(store, after=25.0)

    (run,) = folder.runs
    assert (run.rate, run.left, run.heard) == (100.0, 80.0, 5.0)
    assert folder.last == samples[-1]


def test_the_time_left_of_several_runs_is_reckoned_from_their_rates(store: Store) -> None:
    """Each takes the files of the others for its own, and would be too late by itself."""
    write(store, FileRecord(name="a", state="pending", size=1000))
    store.part("a").write_bytes(b"x" * 400)

    def left(*runs: LiveRun) -> float | None:
        return replace(see(store), runs=list(runs)).left

    one = LiveRun(known=KNOWN, left=300.0, rate=2.0)
    assert left(one) == 300.0
    assert left(one, one) == 150.0
    assert left(replace(one, rate=None), replace(one, rate=None)) is None
    assert left() is None


def test_a_worker_is_seen_before_its_first_byte(store: Store, run: Billboard) -> None:
    """That is when people ask why."""
    write(store, FileRecord(name="a", state="pending"))
    row = Running(name="a", attempt=1, bytes=0, size=None, since=5.0)
    run.show(Look(at=NOON, progress=progress(running=(row,))))

    assert see(store).running == [row]


def test_a_file_that_one_run_has_does_not_wait_in_another(store: Store) -> None:
    """It stands in one place, and is counted once."""
    row = Running(name="a", attempt=1, bytes=0, size=None, since=5.0)
    waits = tuple(
        Waiting(name=n, attempt=2, due_in=at, reason="r") for n, at in (("a", 1), ("b", 9))
    )
    runs = [
        LiveRun(known=KNOWN, running=(row,)),
        LiveRun(known=KNOWN, waiting=waits, waiting_count=5),
    ]

    folder = Folder(store=store, files=[], runs=runs, orphans=[])

    assert [file.name for file in folder.waiting] == ["b"]
    assert folder.waiting_count == 4


def test_the_size_of_all_is_reckoned_from_those_that_are_known(store: Store) -> None:
    """SA-1B's list tells none."""
    sized = [FileRecord(name=n, state="pending", size=size) for n, size in (("a", 10), ("b", 30))]
    write(store, *sized, FileRecord(name="c", state="pending"))

    assert see(store).size == 60
    assert see(store, "c").size is None
    write(store, FileRecord(name="d", state="failed", size=500))
    assert see(store).size == 60
    assert see(store, "b", "a", "b").size == 40


def test_a_ledger_that_cannot_be_read_is_named(store: Store, tmp_path: Path) -> None:
    """No folder of a run, or a damaged one: a sentence."""
    store.ledger.write_bytes(b"no database at all, but long enough to be looked at" * 50)
    with pytest.raises(SourceError, match="cannot be read"), opened(store.directory) as found:
        see(found)
    with pytest.raises(SourceError, match=r"no folder .*/x"), opened(tmp_path / "x"):
        pass
    (tmp_path / "y").mkdir()
    with pytest.raises(SourceError, match="is no folder of a run"), opened(tmp_path / "y"):
        pass
