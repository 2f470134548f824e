"""DIR as a place: its paths and modes, folders that lead out of it, the locks of runs."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from wgetpool.errors import MachineError
from wgetpool.locks import LockSupport
from wgetpool.store import KnownRun, RunLock, Signature, Store, boot_id


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "data")
    made.make()
    return made


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A user who takes nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def is_alive(store: Store, run: str) -> bool:
    """As its lock file says; a run without one is not."""
    known = store.look_at_run(run)
    return known is not None and known.alive


def test_what_is_free_is_told_of_a_folder_that_is_to_be_made(tmp_path: Path) -> None:
    """By the nearest one that is there."""
    told = os.statvfs(tmp_path)

    free = Store(tmp_path / "not" / "there").free()

    assert free is not None
    assert abs(free - told.f_bavail * told.f_frsize) < 1 << 30  # others write meanwhile


def test_what_is_free_may_not_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody is held up for it."""

    def refuse(_: Path) -> os.statvfs_result:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, "statvfs", refuse)

    assert Store(tmp_path).free() is None


def test_everything_of_a_file_has_its_place() -> None:
    """The file and its part side by side; the rest under .wgetpool."""
    store = Store(Path("/data"))

    assert store.final("train/a.tar") == Path("/data/train/a.tar")
    assert store.part("train/a.tar") == Path("/data/train/a.tar.part")
    assert store.rejected("train/a.tar") == Path("/data/.wgetpool/rejected/train/a.tar")
    assert store.ledger == Path("/data/.wgetpool/ledger.sqlite3")
    assert store.record("train/a.tar").parent == Path("/data/.wgetpool/parts")


def test_the_record_of_a_long_name_has_a_short_one() -> None:
    """A name may be as long as the file system allows; each has a record of its own."""
    store = Store(Path("/data"))
    names = ["ä" * 120, "ä" * 119 + "a", "a/b", "a", "a.part"]

    records = {store.record(name).name for name in names}

    assert len(records) == len(names)
    assert max(map(len, records)) < 100


@pytest.mark.usefixtures("open_umask")
def test_the_state_folder_is_its_owners_alone(tmp_path: Path) -> None:
    """Mode 0700, whatever the umask: the state is nobody else's business."""
    store = Store(tmp_path / "data")

    store.make()

    folders = [store.state, *(path for path in store.state.iterdir() if path.is_dir())]
    assert {mode(folder) for folder in folders} == {0o700}
    assert mode(store.directory) == 0o777


def test_a_state_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    """Mode 0700 holds for one that somebody has made before, too."""
    store = Store(tmp_path)
    store.state.mkdir(mode=0o755)

    store.make()

    assert mode(store.state) == 0o700


def test_making_dir_again_changes_nothing(store: Store) -> None:
    """And tries nothing out: no file is made."""
    store.ledger.write_bytes(b"kept")

    store.make()

    assert store.ledger.read_bytes() == b"kept"
    assert [path.name for path in store.state.iterdir() if path.is_file()] == ["ledger.sqlite3"]


def test_a_dir_that_cannot_be_made_is_said_in_one_sentence(tmp_path: Path) -> None:
    """What, where, and what to do."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(MachineError, match=r"file/data cannot be made: .*/file is no folder. .*-o"):
        Store(tmp_path / "file" / "data").make()


# ---------------------------------------------------------------- folders in names


def test_a_name_with_folders_gets_them(store: Store) -> None:
    """Made where they are missing."""
    store.make_folder("a/b/c.tar")
    store.make_folder("a/b/d.tar")
    store.make_folder("e.tar")

    assert (store.directory / "a" / "b").is_dir()


def test_a_link_inside_dir_may_stand_for_a_folder(store: Store) -> None:
    """It does not lead out of DIR."""
    (store.directory / "real").mkdir()
    (store.directory / "link").symlink_to("real")

    store.make_folder("link/sub/a.tar")

    assert (store.directory / "real" / "sub").is_dir()


def test_dir_itself_may_be_a_link(store: Store, tmp_path: Path) -> None:
    """What the user names is where it goes."""
    (tmp_path / "link").symlink_to(store.directory)

    Store(tmp_path / "link").make_folder("sub/a.tar")

    assert (store.directory / "sub").is_dir()


@pytest.mark.parametrize("name", ["link/a.tar", "link/sub/a.tar", "link/sub/deep/a.tar"])
def test_a_link_out_of_dir_is_refused_before_anything_is_made(
    store: Store, tmp_path: Path, name: str
) -> None:
    """A name never leaves DIR: not for a file, and not for a folder either."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (store.directory / "link").symlink_to(outside)

    with pytest.raises(NotADirectoryError, match="link out of DIR"):
        store.make_folder(name)

    assert list(outside.iterdir()) == []


def test_a_link_that_leads_nowhere_is_refused(store: Store, tmp_path: Path) -> None:
    """The folder that it names is not made."""
    (store.directory / "link").symlink_to(tmp_path / "nowhere")

    with pytest.raises(OSError, match=r"."):
        store.make_folder("link/a.tar")

    assert not (tmp_path / "nowhere").exists()


def test_a_file_where_a_folder_should_be_is_refused(store: Store) -> None:
    """One of the two names cannot be had."""
    (store.directory / "a").write_bytes(b"a file")

    with pytest.raises(OSError, match="a"):
        store.make_folder("a/b.tar")


# ---------------------------------------------------------------- the locks of runs


@pytest.mark.parametrize("gone", ["state", "runs"])
def test_a_run_that_cannot_be_locked_is_said_in_one_sentence(store: Store, gone: str) -> None:
    """A DIR that is there and cannot be written: what, where, and what to do."""
    shutil.rmtree(store.state if gone == "state" else store.runs)

    with pytest.raises(MachineError, match=r"data cannot be written: No such file.*-o"):
        store.lock_run("r1")


def test_a_run_is_locked_by_the_store(store: Store) -> None:
    """And is alive until it gives the lock back."""
    lock = store.lock_run("r1")
    alive = store.live_runs()
    lock.release()

    assert (alive, store.live_runs(), store.dead_runs()) == (["r1"], [], [])


def test_a_live_run_is_told_from_a_dead_one(store: Store) -> None:
    """Alive is who holds its lock."""
    (store.runs / "dead").write_text("4711\n")
    lock = RunLock(store, "alive")

    assert (store.live_runs(), store.dead_runs()) == (["alive"], ["dead"])

    lock.release()
    store.forget_run("dead")
    assert (store.live_runs(), store.dead_runs()) == ([], [])


def test_a_run_whose_program_is_gone_is_dead(store: Store) -> None:
    """The system gives the lock back with the last descriptor: no pid is believed."""
    lock = RunLock(store, "killed")

    os.close(lock._descriptor)

    assert store.dead_runs() == ["killed"]


def test_a_lock_has_no_name_before_it_is_held(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees the name sees the lock: a run that begins is never taken for a dead one."""
    seen: list[bool] = []
    rename = Path.rename

    def look_then_rename(path: Path, target: Path) -> Path:
        seen.append(is_alive(store, f"../{path.name}"))
        assert store.live_runs() == store.dead_runs() == []
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", look_then_rename)
    RunLock(store, "new").release()

    assert seen == [True]


def test_no_child_inherits_the_lock_of_a_run(store: Store) -> None:
    """An orphaned wget does not keep its run alive."""
    lock = RunLock(store, "r1")

    assert not os.get_inheritable(lock._descriptor)

    lock.release()


def test_looking_does_not_lock(store: Store) -> None:
    """Two that look at once see the same, and a lock is not lost by it."""
    lock = RunLock(store, "r1")

    looks = [is_alive(store, "r1") for _ in range(3)]
    lock.release()

    assert looks == [True, True, True]
    assert not is_alive(store, "r1")


def test_a_run_may_be_forgotten_twice(store: Store) -> None:
    """Two runs that clean up after the same dead one do not stumble."""
    store.forget_run("gone")

    assert Store(store.directory / "none").dead_runs() == []


# ---------------------------------------------------------------- without locks


HERE = os.uname().nodename


def nothing_locks(descriptor: int, how: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def everybody_locks(descriptor: int, how: int) -> None:
    """Some file systems say yes to whatever they are asked."""


def signature(store: Store) -> list[str]:
    """What a run of this very process writes into its lock file: pid, host, boot, start, mark."""
    RunLock(store, "sample")
    words = (store.runs / "sample").read_text().split()
    store.forget_run("sample")
    return words


@pytest.fixture
def lockless(store: Store) -> Store:
    return Store(store.directory, locking=False)


@pytest.mark.parametrize("flock", [nothing_locks, everybody_locks])
def test_a_dir_whose_locks_do_not_hold_is_said_in_one_sentence(
    store: Store, monkeypatch: pytest.MonkeyPatch, flock
) -> None:
    """What, where, and what to do; where they hold there is nothing to say."""
    store.demand_locks()
    monkeypatch.setattr(fcntl, "flock", flock)

    with pytest.raises(MachineError, match=rf"data .*{LockSupport.NONE.reason}.* -o.* --no-lock"):
        store.demand_locks()


def test_locks_that_cannot_be_tried_out_are_said_in_one_sentence(store: Store) -> None:
    """A DIR that is there and cannot be written."""
    shutil.rmtree(store.state)

    with pytest.raises(MachineError, match=r"data cannot be written: No such file.*-o"):
        store.demand_locks()


def test_a_store_can_be_sent_to_another_process(lockless: Store) -> None:
    """With all that it knows."""
    assert pickle.loads(pickle.dumps(lockless)) == lockless != Store(lockless.directory)


def test_a_run_that_needs_its_lock_does_not_begin_without(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves nothing behind."""
    monkeypatch.setattr(fcntl, "flock", nothing_locks)

    with pytest.raises(MachineError, match="No locks available"):
        store.lock_run("r1")

    assert [path.name for path in store.state.iterdir() if path.is_file()] == []


@pytest.mark.parametrize("flock", [nothing_locks, everybody_locks, fcntl.flock])
def test_a_run_without_locks_is_alive_until_it_ends(
    store: Store, lockless: Store, monkeypatch: pytest.MonkeyPatch, flock
) -> None:
    """Also for those who know nothing of it: its file says so."""
    monkeypatch.setattr(fcntl, "flock", flock)
    lock = lockless.lock_run("r1")
    alive = store.live_runs(), lockless.live_runs()
    lock.release()

    assert alive == (["r1"], ["r1"])
    assert store.live_runs() == store.dead_runs() == []


@pytest.mark.parametrize("flock", [nothing_locks, everybody_locks])
@pytest.mark.parametrize(
    ("changes", "alive"),
    [
        ({}, True),
        ({"start": "1"}, False),  # another process has its pid now
        ({"pid": str(2**22 + 1)}, False),  # more than Linux gives
        ({"boot": "another"}, False),  # the machine has been down
        ({"host": "another"}, True),  # cannot be seen from here
        ({"host": "another", "boot": "another", "pid": str(2**22 + 1)}, True),
    ],
)
def test_a_run_without_locks_is_known_by_its_signature(
    lockless: Store,
    monkeypatch: pytest.MonkeyPatch,
    flock,
    changes: dict[str, str],
    alive: bool,
) -> None:
    """It is dead when its process on this machine is; one on another machine is never touched."""
    monkeypatch.setattr(fcntl, "flock", flock)
    words = dict(zip(("pid", "host", "boot", "start", "mark"), signature(lockless), strict=True))
    (lockless.runs / "r1").write_text(" ".join((words | changes).values()) + "\n")

    assert is_alive(lockless, "r1") == alive


@pytest.mark.parametrize("host", [HERE, "another"])
def test_where_locks_work_they_alone_tell(store: Store, host: str) -> None:
    """A run that had a lock and has none any more is dead, whoever is there with its pid."""
    words = signature(store)
    words[1] = host
    (store.runs / "r1").write_text(" ".join(words) + "\n")

    assert words[0] == str(os.getpid())
    assert store.dead_runs() == ["r1"]


@pytest.mark.parametrize(
    ("text", "alive"),
    [("{ours}\n", True), (f"{2**22 + 1}\n", False), ("", False), ("?\n", False)],
)
def test_an_old_lock_file_holds_a_pid_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch, text: str, alive: bool
) -> None:
    """Which is believed only where no lock can tell."""
    (store.runs / "old").write_text(text.format(ours=os.getpid()))
    dead = store.dead_runs()
    monkeypatch.setattr(fcntl, "flock", nothing_locks)

    assert dead == ["old"]
    assert is_alive(store, "old") == alive


@pytest.mark.parametrize(("state", "alive"), [("S", True), ("Z", False)])
def test_a_process_that_only_waits_to_be_buried_is_dead(
    lockless: Store, monkeypatch: pytest.MonkeyPatch, state: str, alive: bool
) -> None:
    """Whatever its name is: it stands in brackets, and may have some."""
    stat = f"7 (a) b) {state} " + " ".join(str(field) for field in range(4, 53))
    words = ["7", HERE, boot_id(), "22", "unlocked"]
    (lockless.runs / "r1").write_text(" ".join(words) + "\n")
    monkeypatch.setattr(Path, "read_bytes", lambda path: stat.encode())

    assert is_alive(lockless, "r1") == alive


def test_another_error_than_a_missing_lock_is_passed_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails makes nobody dead."""
    lock = RunLock(store, "r1")

    def fail(descriptor: int, how: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", fail)
        with pytest.raises(OSError, match="Input/output"):
            store.dead_runs()
    lock.release()


def test_a_boot_has_one_id() -> None:
    """The same for everybody who asks."""
    assert boot_id() == boot_id() != ""


# ---------------------------------------------------------------- who a run is


US = Signature.of(os.getpid())
SIGNATURES = some.builds(
    Signature,
    pid=some.integers(0, 10**9 - 1),
    host=some.text("ab-.\udcff ", min_size=1),
    boot=some.sampled_from(["", US.boot]),
    start=some.sampled_from(["", "1", US.start]),
    unlocked=some.booleans(),
)


@given(SIGNATURES)
def test_a_signature_is_read_as_it_was_written(signature: Signature) -> None:
    """Whatever a machine is called, and where its system tells less."""
    assert Signature.parse(f"{signature}\n") == signature


def test_a_lock_file_is_signed_by_its_run(store: Store) -> None:
    """With what is known again: pid, host, boot, start."""
    lock = store.lock_run("r1")
    known = store.look_at_run("r1")
    lock.release()

    assert known == KnownRun(run="r1", alive=True, signature=US)
    assert str(US).split(" ") == [str(os.getpid()), HERE, boot_id(), US.start]
    assert store.look_at_run("r1") is None


@given(some.binary(max_size=80) | SIGNATURES.map(lambda one: os.fsencode(str(one))))
@example(b"99999999999999999999 " + os.fsencode(f"{HERE} {US.boot} {US.start}"))
@example("\u0661".encode())
@example(f"{os.getpid()} ".encode())
@example(b"\0" * 70)
def test_whatever_is_in_a_lock_file_names_no_process(content: bytes) -> None:
    """A pid that is somebody's is nobody's run without its open lock file."""
    signature = Signature.parse(os.fsdecode(content))
    known = KnownRun(run="r1", alive=True, signature=signature)

    assert not known.is_process(os.getpid())
    with suppress(PermissionError):  # it is another user's, and that is told
        assert signature is None or not known.is_process(signature.pid)


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({}, True),
        ({"unlocked": True}, True),
        ({"host": "", "boot": "", "start": ""}, True),  # an old lock file
        ({"host": "another"}, False),
        ({"boot": "another"}, False),
        ({"start": "1"}, False),
        ({"pid": 1}, False),
    ],
)
def test_a_run_is_the_process_that_signed_and_has_its_lock_open(
    store: Store, change: dict[str, Any], right: bool
) -> None:
    """Not whoever has its pid now, or has it in another container."""
    lock = store.lock_run("r1")
    (store.runs / "r1").write_text(f"{replace(US, **change)}\n")
    known = store.look_at_run("r1")
    assert known is not None

    assert known.is_process(os.getpid()) == right

    lock.release()
    assert not known.is_process(os.getpid())


def test_whose_files_cannot_be_looked_at_is_another_users(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is told, and taken for no answer."""
    known = KnownRun(run="r1", alive=True, signature=US)

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)

    with pytest.raises(PermissionError):
        known.is_process(os.getpid())


def test_what_no_lock_and_no_signature_tells_is_dead(
    lockless: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file torn by a power cut, where there are no locks."""
    monkeypatch.setattr(fcntl, "flock", nothing_locks)
    (lockless.runs / "r1").write_bytes(b"\0" * 40)

    assert lockless.known_runs() == [KnownRun(run="r1", alive=False, signature=None)]
