"""Finished files held against the ledger, and what `--fix` does with those that are bad."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.doubles import FlagDouble, InlineExecutor, note_calls

from wgetpool import verify
from wgetpool.crew import Threads
from wgetpool.errors import MachineError, SourceError
from wgetpool.ledger import Ledger, LedgerError, read_all
from wgetpool.model import FileId, FileRecord
from wgetpool.proof import Digests
from wgetpool.store import Store
from wgetpool.verify import FIXABLE, Reader, verify_directory

DATA = b"whole and right"
SHA256 = hashlib.sha256(DATA).hexdigest()
FLIPPED = DATA[:3] + b"X" + DATA[4:]
COUNTS = ("whole", "missing", "torn", "changed", "unreadable", "unknown", "unhashed", "fixed")


def run_in(monkeypatch: pytest.MonkeyPatch, executor: type[Executor]) -> None:
    """Has the readers run there."""
    monkeypatch.setattr(verify, "start_threads", lambda _, size: Threads(executor(), size))


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    run_in(monkeypatch, InlineExecutor)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "dir")
    made.make()
    with closing(Ledger(made.ledger)):
        return made


def record(name: str = "a.tar", **changes: Any) -> FileRecord:
    given: dict[str, Any] = {"state": "done", "size": len(DATA), "sha256": SHA256, "attempts": 1}
    return FileRecord(name=name, **given | changes)


def note(store: Store, *records: FileRecord) -> None:
    with closing(Ledger(store.ledger)) as ledger:
        ledger.record(records)


def put(store: Store, name: str = "a.tar", data: bytes = DATA, **changes: Any) -> Path:
    """A file that is there, and its record."""
    store.make_folder(name)
    path = store.final(name)
    path.write_bytes(data)
    note(store, record(name, **changes))
    return path


def run(store: Store, *, fix: bool = False, json: bool = False) -> tuple[int, str]:
    out = io.StringIO()
    code = verify_directory(
        store.directory, workers=2, fix=fix, json=json, out=out, err=io.StringIO()
    )
    return code, out.getvalue()


def found(store: Store, *, fix: bool = False) -> dict[str, Any]:
    """The JSON object, its files by name, and the exit code."""
    code, text = run(store, fix=fix, json=True)
    report: dict[str, Any] = json.loads(text)
    report["files"] = {file["name"]: file for file in report["files"]}
    return report | {"code": code}


def counts(report: dict[str, Any]) -> dict[str, int]:
    """Those that are not 0."""
    return {key: report[key] for key in COUNTS if report[key]}


def states(store: Store) -> dict[str, str]:
    return {each.name: each.state for each in read_all(store.ledger)}


def rejected(store: Store) -> dict[str, bytes]:
    root = store.state / "rejected"
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def tree(store: Store) -> dict[str, FileId]:
    return {str(path): FileId.of(path.lstat()) for path in store.directory.rglob("*")}


# ---------------------------------------------------------------- states


def test_all_as_the_ledger_says(store: Store) -> None:
    """Exit 0, all bytes read, nothing else said."""
    put(store)
    put(store, "train/b.tar")
    put(store, "empty", b"", size=0, sha256=hashlib.sha256(b"").hexdigest())

    report = found(store)

    assert (report["code"], counts(report)) == (0, {"whole": 3})
    assert (report["bytes"], report["files"]) == (2 * len(DATA), {})
    assert run(store)[1].startswith("3 finished files: 3 whole; 30 B read in ")


def torn(path: Path) -> None:
    os.truncate(path, 3)


def longer(path: Path) -> None:
    path.write_bytes(DATA + b"x")


def flipped(path: Path) -> None:
    path.write_bytes(FLIPPED)


def linked(path: Path) -> None:
    path.rename(path.with_name("moved.part"))
    path.symlink_to("moved.part")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def in_a_file(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    path.parent.write_bytes(b"")


WRONG: list[tuple[Callable[[Path], None], str, str]] = [
    (Path.unlink, "missing", "is not there"),
    (in_a_file, "missing", "is not there"),
    (torn, "torn", "its size is 3 bytes, the ledger says 15"),
    (longer, "changed", "its size is 16 bytes, the ledger says 15"),
    (flipped, "changed", "its sha256 is "),
    (linked, "changed", "is no regular file"),
    (piped, "changed", "is no regular file"),
    (folder, "changed", "is no regular file"),
]


@pytest.mark.parametrize(
    ("spoil", "state", "reason"), WRONG, ids=[row[0].__name__ for row in WRONG]
)
def test_what_is_not_as_the_ledger_says_is_told(
    store: Store, spoil: Callable[[Path], None], state: str, reason: str
) -> None:
    """Exit 1, its state and its reason, in JSON and for people; nothing is written."""
    put(store, "b.tar")
    spoil(put(store, "train/a.tar"))
    before = tree(store)

    report, (code, text) = found(store), run(store)

    file = report["files"]["train/a.tar"]
    assert (report["code"], code, report["whole"], report[state]) == (1, 1, 1, 1)
    assert (file["state"], file["size"], file["expected"]) == (state, len(DATA), SHA256)
    assert file["reason"].startswith(reason)
    assert f"2 finished files: 1 whole, 1 {state}" in text
    assert f"  {state:<10}  train/a.tar: {reason}" in text
    assert ("--fix" in text) == (state in FIXABLE)
    assert tree(store) == before


def test_both_digests_of_a_changed_file_are_told(store: Store) -> None:
    """What was found, and what the ledger has; a file of another size is not read for it."""
    put(store, data=FLIPPED)
    put(store, "b.tar", DATA + b"x")

    files = found(store)["files"]

    assert files["a.tar"]["sha256"] == hashlib.sha256(FLIPPED).hexdigest()
    assert files["a.tar"]["bytes"] == len(DATA)
    assert files["b.tar"]["sha256"] is None


def test_a_file_that_cannot_be_read_is_bad_and_why_is_said(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An I/O error: exit 1. Nothing shows that the file is wrong, so --fix leaves it alone."""
    put(store)
    monkeypatch.setattr(os, "pread", fail)

    report = found(store, fix=True)

    assert (report["code"], counts(report)) == (1, {"unreadable": 1})
    assert report["files"]["a.tar"]["reason"] == "Input/output error"
    assert states(store) == {"a.tar": "done"}
    assert store.final("a.tar").read_bytes() == DATA
    assert "may be whole" in run(store)[1]


def fail(*_: Any) -> Any:
    raise OSError(5, "Input/output error")


def test_what_lies_behind_a_link_out_of_dir_is_neither_read_nor_moved(store: Store) -> None:
    """A folder in the name leads elsewhere: unreadable, and --fix leaves it alone."""
    elsewhere = store.directory.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.tar").write_bytes(FLIPPED)
    (store.directory / "train").symlink_to(elsewhere)
    note(store, record("train/a.tar"))

    report = found(store, fix=True)

    assert counts(report) == {"unreadable": 1}
    assert "out of DIR" in report["files"]["train/a.tar"]["reason"]
    assert report["bytes"] == 0
    assert (elsewhere / "a.tar").read_bytes() == FLIPPED


def test_a_folder_that_is_a_link_within_dir_is_followed(store: Store) -> None:
    """As a run does."""
    (store.directory / "real").mkdir()
    (store.directory / "train").symlink_to("real")
    put(store, "train/a.tar")

    assert counts(found(store)) == {"whole": 1, "unknown": 1}


def test_a_file_without_a_digest_is_held_against_its_size(store: Store) -> None:
    """--no-hash, or an older ledger: it is not read, and the number of such files is said."""
    put(store, data=FLIPPED, sha256=None)
    put(store, "b.tar", DATA[:-1], sha256=None)

    report = found(store)

    assert counts(report) == {"whole": 1, "torn": 1, "unhashed": 1}
    assert report["bytes"] == 0
    assert "1 file without a sha256 in the ledger: size compared only" in run(store)[1]


def test_what_is_not_finished_is_not_missed(store: Store) -> None:
    """Wanted, failed, or about to be renamed: no finished files yet."""
    note(store, *(record(f"{state}.tar", state=state) for state in ("pending", "failed")))
    note(store, record("c.tar", state="publishing", inode=1))

    assert (found(store)["code"], counts(found(store))) == (0, {})
    assert run(store)[1].startswith("0 finished files: 0 B read in ")


def test_a_file_that_was_renamed_when_its_run_died_is_finished(store: Store) -> None:
    """`publishing`, and the very inode is there. Another one is unknown."""
    path = put(store)
    note(store, record(state="publishing", inode=path.stat().st_ino))
    put(store, "b.tar", state="publishing", inode=1)

    report = found(store)

    assert counts(report) == {"whole": 1, "unknown": 1}
    assert report["files"]["b.tar"]["reason"] == "the ledger has it as publishing"


def test_files_that_the_ledger_does_not_have_as_done_are_told(store: Store) -> None:
    """It is no fault; parts, state and folders are not told of, and --fix leaves all alone."""
    put(store)
    put(store, "failed.tar", state="failed", sha256=None)
    (store.directory / "train" / "deep").mkdir(parents=True)
    for name in ("x.txt", "train/deep/y", "train/z.part", "b.tar.part", ".wgetpool/log"):
        (store.directory / name).write_bytes(b"?")

    report, (_, text) = found(store, fix=True), run(store)

    assert (report["code"], counts(report)) == (0, {"whole": 1, "unknown": 3})
    assert {name: file["reason"] for name, file in report["files"].items()} == {
        "failed.tar": "the ledger has it as failed",
        "train/deep/y": "the ledger does not know it",
        "x.txt": "the ledger does not know it",
    }
    assert "  unknown     failed.tar, train/deep/y, x.txt: not" in text
    assert rejected(store) == {}


def test_of_many_unknown_files_a_few_are_named(store: Store) -> None:
    """Big numbers with commas."""
    for number in range(1234):
        (store.directory / f"{number:04}").touch()

    text = run(store)[1]

    assert "0000, 0001, 0002, 0003, 0004 and 1,229 more" in text


@pytest.mark.parametrize("name", ["a b.tar", "-x", "ü", "a\x1b[2Jb", "x" * 240, "[red]a", "'"])
def test_odd_names(store: Store, name: str) -> None:
    """As they are in JSON, without anything that moves a cursor for people; put back all the
    same.
    """
    put(store, name, FLIPPED)

    code, text = run(store)
    report = found(store, fix=True)

    assert code == 1
    assert list(report["files"]) == [name]
    assert text.replace("\n", "").isprintable()
    assert rejected(store) == ({f"{name}.1": FLIPPED})


def test_a_name_that_is_no_text_is_told(store: Store) -> None:
    """A file of somebody else's, its name in another encoding."""
    Path(os.fsdecode(os.fsencode(store.directory) + b"/\xff\xfe")).touch()

    assert counts(found(store)) == {"unknown": 1}
    assert "  unknown     ??: " in run(store)[1]


# ---------------------------------------------------------------- meanwhile


def test_a_file_that_changes_while_it_is_read_is_judged_once_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As what it is then: here it was replaced by the right one."""
    path = put(store, data=FLIPPED)
    fresh = path.with_name("fresh.part")
    fresh.write_bytes(DATA)

    def replace(*_: Any) -> str:
        if fresh.exists():
            fresh.replace(path)
        return ""

    note_calls(monkeypatch, [], "wgetpool.verify.Digests.hex", replace)
    report = found(store)

    assert counts(report) == {"whole": 1}
    assert report["bytes"] == 2 * len(DATA)


def test_a_file_that_is_cut_while_it_is_read_is_torn(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end that never comes is not waited for."""
    path = put(store)

    def cut(*_: Any) -> str:
        os.truncate(path, 3)
        return ""

    note_calls(monkeypatch, [], "wgetpool.verify.Digests.follow", cut)

    assert counts(found(store)) == {"torn": 1}


def test_a_file_that_a_run_publishes_meanwhile_is_not_unknown(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is listed before the ledger is read."""
    note_calls(monkeypatch, [], "wgetpool.verify.read_all", lambda _: str(put(store)))

    assert "unknown" not in counts(found(store))


def test_readers_stop_in_the_middle_of_a_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what they had is told to be neither whole nor bad."""
    monkeypatch.setattr(verify, "STEP", 4)
    put(store)
    stop = FlagDouble()
    calls: list[str] = []

    def stop_the_third(*_: Any) -> str:
        if len(calls) == 2:
            stop.set()
        return ""

    note_calls(monkeypatch, calls, "wgetpool.verify.Digests.follow", stop_the_third)
    todo = deque([record(), record("b.tar")])
    reader = Reader(store, todo, stop=stop)

    reader.work()

    assert (reader.read, reader.whole, reader.bad) == (8, 0, [])
    assert len(todo) == 1


class LateExecutor(InlineExecutor):
    """Works when it is shut down: what threads do that go on behind an interrupt."""

    def __init__(self, *_: Any) -> None:
        self.jobs: list[Callable[[], Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.jobs.append(lambda: fn(*args, **kwargs))
        return Future()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for job in self.jobs:
            job()


def test_an_interrupt_ends_it_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The readers see the flag, the lock is given back, and nothing is put back."""
    put(store, data=FLIPPED)
    opened: list[str] = []
    note_calls(monkeypatch, opened, "wgetpool.verify.Digests", "")

    def interrupted(*_: Any, **__: Any) -> Any:
        assert store.live_runs()
        raise SystemExit(130)

    run_in(monkeypatch, LateExecutor)
    monkeypatch.setattr(verify, "wait", interrupted)

    with pytest.raises(SystemExit, match="130"):
        run(store, fix=True)

    assert opened == []
    assert list(store.runs.iterdir()) == []
    assert states(store) == {"a.tar": "done"}


def test_a_bug_in_a_reader_is_not_swallowed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No report, where not all was read."""
    put(store)
    monkeypatch.setattr(Digests, "hex", lambda _: {})

    with pytest.raises(KeyError):
        run(store)


# ---------------------------------------------------------------- --fix


def test_what_is_bad_is_put_back(store: Store) -> None:
    """Pending, with its size and nothing of its past; what was there is kept. Exit 1, then 0."""
    put(store)
    put(store, "train/flipped.tar", FLIPPED)
    put(store, "torn.tar", b"abc")
    put(store, "gone.tar").unlink()

    report = found(store, fix=True)

    assert (report["code"], report["fixed"]) == (1, 2)
    assert states(store) == {
        "a.tar": "done",
        "gone.tar": "done",
        "torn.tar": "pending",
        "train/flipped.tar": "pending",
    }
    (row,) = (each for each in read_all(store.ledger) if each.name == "torn.tar")
    assert row == FileRecord(name="torn.tar", state="pending", size=len(DATA))
    assert rejected(store) == {"train/flipped.tar.1": FLIPPED, "torn.tar.1": b"abc"}
    assert not store.final("torn.tar").exists()
    assert list(store.runs.iterdir()) == []
    assert counts(found(store, fix=True)) == {"whole": 1, "missing": 1}


def test_the_report_says_what_was_put_back(store: Store) -> None:
    """And what fetches it, and where the old one is."""
    put(store, data=FLIPPED)

    text = run(store, fix=True)[1]

    assert "1 file moved to " in text
    assert "`wgetpool get` with the same list fetches what is not there." in text
    assert str(store.state / "rejected") in text


def test_nothing_in_rejected_is_overwritten(store: Store) -> None:
    """Each gets the next free number."""
    for data in (b"1", b"2", b"3"):
        put(store, "train/a.tar", data)
        run(store, fix=True)

    assert rejected(store) == {f"train/a.tar.{n}": str(n).encode() for n in (1, 2, 3)}


def test_a_link_is_moved_and_not_what_it_leads_to(store: Store) -> None:
    """Somebody moved the file away and left a link."""
    linked(put(store))

    assert found(store, fix=True)["fixed"] == 1
    assert (store.state / "rejected" / "a.tar.1").is_symlink()
    assert (store.directory / "moved.part").read_bytes() == DATA


def test_a_folder_is_not_moved(store: Store) -> None:
    """It may hold other files. What is said of it tells what to do."""
    folder(put(store))

    report = found(store, fix=True)

    assert (report["fixed"], states(store)) == (0, {"a.tar": "done"})
    assert "move it away" in report["files"]["a.tar"]["reason"]


def test_the_move_comes_first_then_the_folders_then_the_row(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in between leaves a file that is known and gone: a run fetches it again. In its new
    place it is on the disk before it is gone from the old one.
    """
    put(store, "train/a.tar", FLIPPED)
    calls: list[str] = []
    note_calls(monkeypatch, calls, "pathlib.Path.rename", lambda *_: states(store)["train/a.tar"])
    note_calls(monkeypatch, calls, "wgetpool.verify.sync_folder", str)

    run(store, fix=True)

    kept = store.state / "rejected"
    synced = [kept / "train", kept, store.state, store.directory / "train"]
    assert calls[-5:] == ["done", *map(str, synced)]
    assert states(store)["train/a.tar"] == "pending"


@pytest.mark.parametrize("error", [OSError(18, "Invalid cross-device link"), SystemExit(130)])
def test_a_file_that_could_not_be_moved_keeps_its_row(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """As pending, a run might take it over by its last bytes. The others are put back."""
    put(store, data=FLIPPED)
    put(store, "b.tar", FLIPPED)
    real = verify._set_aside

    def refuse(store: Store, name: str) -> None:
        if name == "a.tar":
            raise error
        real(store, name)

    monkeypatch.setattr(verify, "_set_aside", refuse)

    if isinstance(error, SystemExit):
        with pytest.raises(SystemExit):
            run(store, fix=True)
    else:
        report = found(store, fix=True)
        assert report["fixed"] == 1
        assert "not put back: Invalid cross-device link" in report["files"]["a.tar"]["reason"]
        assert states(store)["b.tar"] == "pending"

    assert next(read_all(store.ledger)) == record()
    assert store.final("a.tar").read_bytes() == FLIPPED


@pytest.mark.parametrize("change", ["row", "file"])
def test_what_a_run_has_changed_meanwhile_is_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """One that began behind our look round has fetched it again."""
    path = put(store, data=FLIPPED)
    real = verify._put_back

    def late(*args: Any) -> None:
        if change == "row":
            note(store, record(sha256=hashlib.sha256(FLIPPED).hexdigest()))
        else:
            path.unlink()
            path.write_bytes(DATA)
        real(*args)

    monkeypatch.setattr(verify, "_put_back", late)
    report = found(store, fix=True)

    assert report["fixed"] == 0
    assert "changed meanwhile" in report["files"]["a.tar"]["reason"]
    assert (states(store), path.exists()) == ({"a.tar": "done"}, True)


def test_fix_is_refused_while_a_run_is_live(store: Store) -> None:
    """It says what to do; without --fix a run does not matter."""
    put(store, data=FLIPPED)
    lock = store.lock_run("f" * 32)

    with pytest.raises(SourceError, match="stop it first"):
        run(store, fix=True)
    assert (run(store)[0], states(store)) == (1, {"a.tar": "done"})
    assert store.live_runs() == ["f" * 32]

    lock.release()
    assert found(store, fix=True)["fixed"] == 1


def test_a_run_that_died_does_not_matter(store: Store) -> None:
    """Its lock is free."""
    (store.runs / ("d" * 32)).touch()
    put(store, data=FLIPPED)

    assert found(store, fix=True)["fixed"] == 1


# ---------------------------------------------------------------- no folder of a run


@pytest.mark.parametrize("fix", [False, True])
def test_a_folder_without_a_ledger_is_refused(tmp_path: Path, fix: bool) -> None:
    """And nothing is made in it."""
    with pytest.raises(SourceError, match="no folder of a run"):
        run(Store(tmp_path), fix=fix)

    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_cannot_be_read_is_refused(store: Store) -> None:
    """It is left as it is."""
    store.ledger.write_bytes(b"junk" * 100)

    with pytest.raises(SourceError, match="cannot be read"):
        run(store, fix=True)

    assert store.ledger.read_bytes() == b"junk" * 100
    assert list(store.runs.iterdir()) == []


def test_a_ledger_that_cannot_be_written_is_this_machines_trouble(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 3; the file stays where it is."""
    path = put(store, data=FLIPPED)

    def refuse(*_: Any) -> Any:
        raise LedgerError("disk I/O error")

    monkeypatch.setattr(verify, "Ledger", refuse)

    with pytest.raises(MachineError, match="disk I/O error"):
        run(store, fix=True)
    assert stat.S_ISREG(path.lstat().st_mode)


# ---------------------------------------------------------------- the bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_that_is_taken_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard error; the cursor is given back, and the report is not touched."""
    monkeypatch.setenv("TERM", "xterm")
    put(store)
    out, err = io.StringIO(), Terminal()

    verify_directory(store.directory, workers=1, fix=False, json=True, out=out, err=err)

    assert "15/15 B" in err.getvalue()
    assert err.getvalue().rstrip("\n").endswith("\x1b[2K")
    assert counts(json.loads(out.getvalue())) == {"whole": 1}
