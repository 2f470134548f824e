"""From a whole part to a file that is there for good, with a crash between any two steps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.doubles import FakeClock, note_calls

from wgetpool.errors import MachineError
from wgetpool.ledger import Ledger, read_all
from wgetpool.model import Entry, FileRecord, RemoteFile, Url, WholePart
from wgetpool.part import claim
from wgetpool.publish import Presence, Publisher, Surveyed, survey_read_only
from wgetpool.store import Store

DATA = b"whole and right"
MONDAY, MONDAY_AT = "Mon, 01 Sep 2025 10:00:00 GMT", 1756720800
NAMES = ("a.tar", "train/b.tar", "train/c.tar")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.make()
    return made


@pytest.fixture
def publisher(store: Store) -> Iterator[Publisher]:
    with closing(opened(store)) as each:
        yield each


def opened(store: Store, *, remote_time: bool = False, skip_gone: bool = False) -> Publisher:
    return Publisher(store, clock=FakeClock(), remote_time=remote_time, skip_gone=skip_gone)


def entry(name: str = "a.tar") -> Entry:
    return Entry(name, Url(f"https://e.org/{name}"))


def leave(store: Store, name: str = "a.tar", data: bytes = DATA, **more: Any) -> WholePart:
    """A part that a worker has found to be whole, and holds."""
    store.make_folder(name)
    part = claim(store, name)
    assert part is not None
    with part:
        os.pwrite(part.descriptor, data, 0)
        if more.get("recorded"):
            part.accept(RemoteFile(size=len(data)), "/a.tar")
        return WholePart(
            name=name,
            claim=part.hand_over(),
            inode=part.inode(),
            size=len(data),
            proof=("size",),
            **more,
        )


def done(wholes: Sequence[WholePart]) -> list[FileRecord]:
    return [
        FileRecord(name=each.name, state="done", size=each.size, inode=each.inode, proof=each.proof)
        for each in wholes
    ]


def publish(publisher: Publisher, *wholes: WholePart) -> dict[str, OSError | None]:
    publisher.survey([entry(each.name) for each in wholes])
    return publisher.publish(wholes, done(wholes))


def presence(publisher: Publisher, name: str = "a.tar") -> Presence:
    (found,) = publisher.survey([entry(name)])
    return found.presence


def state_of(store: Store, name: str = "a.tar") -> str:
    return {record.name: record.state for record in read_all(store.ledger)}[name]


# ---------------------------------------------------------------- the order


def test_a_published_file_is_there_and_known(store: Store, publisher: Publisher) -> None:
    """Under its name, no part beside it, no past, and the ledger has it with its size."""
    whole = leave(store, recorded=True)
    assert store.record("a.tar").exists()

    results = publish(publisher, whole)

    assert results == {"a.tar": None}
    assert store.final("a.tar").read_bytes() == DATA
    assert not store.part("a.tar").exists()
    assert not store.record("a.tar").exists()
    assert publisher.survey([entry()]) == [Surveyed(entry(), Presence.KNOWN, len(DATA))]


def test_the_order_of_publishing_is_kept(
    store: Store, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All on the disk, then in the ledger, then all renamed, then their folders, then done."""
    wholes = [leave(store, name) for name in NAMES]
    calls: list[str] = []
    publisher.survey([entry(name) for name in NAMES])
    record = publisher._ledger.record

    def recorded(records: Any) -> None:
        rows = list(records)
        calls.extend(each.state for each in rows)
        record(rows)

    monkeypatch.setattr(publisher._ledger, "record", recorded)
    note_calls(monkeypatch, calls, "os.fsync", lambda fd: "sync " + kind_of(fd))
    note_calls(monkeypatch, calls, "pathlib.Path.rename", "rename")
    publisher.publish(wholes, done(wholes))

    assert calls == [
        *["sync file"] * 3,
        *["publishing"] * 3,
        *["rename"] * 3,
        *["sync folder"] * 2,
        *["done"] * 3,
    ]


def path_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def kind_of(descriptor: int) -> str:
    return "folder" if Path(path_of(descriptor)).is_dir() else "file"


def test_the_folder_is_named_on_the_disk_before_its_file_is_done(
    store: Store, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that was made for a name must survive a power cut as well as the file in it."""
    synced: list[str] = []
    note_calls(monkeypatch, synced, "os.fsync", path_of)

    publish(publisher, leave(store, "new/deep/a.tar"))

    assert {str(store.directory / each) for each in ("new/deep", "new", "")} <= set(synced)


class Killed(BaseException):
    """The program is killed: no line of it runs after this."""


STEPS = [
    "os.fsync",  # the part
    "wgetpool.ledger.Ledger.record",  # publishing
    "pathlib.Path.rename",
    "wgetpool.part.Part.forget",
    "wgetpool.part.sync_folder",
    "os.fsync",  # the folder
    "wgetpool.ledger.Ledger.record",  # done
]
RENAMED = 3  # so many steps are made when the file has its name


def publish_until(publisher: Publisher, whole: WholePart, steps: int) -> list[str]:
    """Publishes, and is killed when so many steps are made; returns those."""
    made: list[str] = []

    def step(target: str) -> Callable[..., str]:
        def strike(*_: Any) -> str:
            if len(made) == steps:
                raise Killed
            return target

        return strike

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        for target in dict.fromkeys(STEPS):
            note_calls(patch, made, target, step(target))
        publisher.publish([whole], done([whole]))
    return made


@pytest.mark.parametrize("steps", range(len(STEPS) + 1))
def test_a_crash_between_two_steps_never_makes_a_stranger_of_our_file(
    store: Store, steps: int
) -> None:
    """The next run finds a whole file that it knows, or the part: never anything else."""
    with closing(opened(store)) as publisher:
        whole = leave(store, recorded=True)
        publisher.survey([entry()])
        made = publish_until(publisher, whole, steps)

    with closing(opened(store)) as again:
        found = presence(again)

    renamed = store.final("a.tar").exists()
    assert made == STEPS[:steps]
    assert renamed == (steps >= RENAMED)
    assert found is (Presence.KNOWN if renamed else Presence.ABSENT)
    assert store.part("a.tar").exists() != renamed
    assert (store.final("a.tar") if renamed else store.part("a.tar")).read_bytes() == DATA


def test_a_crash_after_the_rename_is_mended_by_the_next_survey(store: Store) -> None:
    """The ledger has it as done then, whatever happens to its inode later."""
    publisher = opened(store)
    whole = leave(store, recorded=True)
    publisher.survey([entry()])
    publish_until(publisher, whole, RENAMED)
    publisher.close()

    with closing(opened(store)) as again:
        first = presence(again)
        copy = store.directory / "copy"
        copy.write_bytes(DATA)
        copy.rename(store.final("a.tar"))
        second = presence(again)

    assert (first, second) == (Presence.KNOWN, Presence.KNOWN)


def test_an_empty_part_beside_a_finished_file_is_tidied_up(store: Store) -> None:
    """A run that took a file over, and was killed before its end, leaves one. Not a longer one."""
    with closing(opened(store)) as publisher:
        for name in NAMES:
            publish(publisher, leave(store, name))
    with closing(opened(store)) as publisher:
        records = read_all(store.ledger)
        publisher.record(replace(record, state="publishing") for record in records)
        store.part(NAMES[0]).touch()
        store.part(NAMES[1]).write_bytes(b"somebody's")

        assert [presence(publisher, name) for name in NAMES] == [Presence.KNOWN] * len(NAMES)

    assert not store.part(NAMES[0]).exists()
    assert store.part(NAMES[1]).read_bytes() == b"somebody's"


@pytest.mark.parametrize("data", [DATA, b"other"])
def test_a_file_that_was_not_ours_is_a_stranger_after_a_crash(store: Store, data: bytes) -> None:
    """`publishing` trusts one inode of one size: what somebody else puts there is not it."""
    publisher = opened(store)
    whole = leave(store, recorded=True)
    publisher.survey([entry()])
    publish_until(publisher, whole, RENAMED - 1)
    publisher.close()
    store.final("a.tar").write_bytes(data)

    with closing(opened(store)) as again:
        assert presence(again) is Presence.STRANGE


# ---------------------------------------------------------------- what is not published


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_is_there_is_never_overwritten(store: Store, publisher: Publisher, make: Any) -> None:
    """A file, a folder or a link of this name that has appeared meanwhile stays."""
    whole = leave(store)
    publisher.survey([entry()])
    make(store.final("a.tar"))
    before = os.lstat(store.final("a.tar"))

    results = publisher.publish([whole], done([whole]))

    assert isinstance(results["a.tar"], FileExistsError)
    assert os.lstat(store.final("a.tar")).st_ino == before.st_ino
    assert store.part("a.tar").read_bytes() == DATA
    assert state_of(store) != "done"


@pytest.mark.parametrize("change", ["grown", "replaced", "removed"])
def test_a_part_that_somebody_else_has_changed_is_not_published(
    store: Store, publisher: Publisher, change: str
) -> None:
    """What was proved is one inode of one size, and ours alone."""
    whole = leave(store)
    path = store.part("a.tar")
    match change:
        case "grown":
            path.write_bytes(DATA + b"x")
        case "replaced":
            copy = path.with_name("copy")
            copy.write_bytes(DATA)
            copy.replace(path)
        case "removed":
            path.unlink()

    results = publish(publisher, whole)

    assert isinstance(results["a.tar"], BlockingIOError)
    assert not store.final("a.tar").exists()
    assert state_of(store) != "done"
    assert path.exists() == (change != "removed")


def test_a_whole_part_stays_claimed_until_it_is_published(
    store: Store, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other run takes it while it waits for its group, up to its rename; then it is free."""
    whole = leave(store)
    held: list[bool] = []

    def look(*_: Any) -> str:
        held.append(claim(store, "a.tar") is None)
        return ""

    note_calls(monkeypatch, [], "os.fsync", lambda fd: look() if kind_of(fd) == "file" else "")
    note_calls(monkeypatch, [], "pathlib.Path.rename", look)
    look()
    results = publish(publisher, whole)

    assert results == {"a.tar": None}
    assert held == [True, True, True]
    assert is_closed(whole.claim)
    again = claim(store, "a.tar")
    assert again is not None
    with again:
        assert again.length() == 0


def is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


@pytest.mark.parametrize("trouble", ["there", "changed", "disk", "ledger", "killed"])
def test_a_claim_is_given_back_though_nothing_was_published(
    store: Store, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """Of every part of the group, whatever the trouble is: another attempt can take it."""
    wholes = [leave(store, name) for name in NAMES]
    publisher.survey([entry(name) for name in NAMES])
    match trouble:
        case "there":
            store.final(NAMES[0]).touch()
        case "changed":
            store.part(NAMES[0]).write_bytes(b"x")
        case "disk":
            monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "I/O")))
        case "ledger":
            publisher._ledger._db.execute("PRAGMA query_only = ON")
        case "killed":
            monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(Killed()))

    with suppress(MachineError, Killed):
        results = publisher.publish(wholes, done(wholes))
        assert results[NAMES[0]] is not None

    assert [is_closed(whole.claim) for whole in wholes] == [True] * 3
    part = claim(store, NAMES[0])
    assert part is not None
    os.close(part.descriptor)


def test_one_that_fails_does_not_hold_up_the_others(store: Store, publisher: Publisher) -> None:
    """A group is published as far as it goes, and only that is done."""
    wholes = [leave(store, name) for name in NAMES]
    store.final(NAMES[1]).touch()

    results = publish(publisher, *wholes)

    assert [results[name] is None for name in NAMES] == [True, False, True]
    assert [state_of(store, name) for name in NAMES] == ["done", "publishing", "done"]


def test_a_part_that_cannot_be_synced_is_not_renamed(
    store: Store, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing disk is told, not papered over."""
    whole = leave(store)
    publisher.survey([entry()])
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))

    results = publisher.publish([whole], done([whole]))

    assert getattr(results["a.tar"], "errno", None) == 5
    assert store.part("a.tar").exists()


def test_a_folder_that_cannot_be_synced_is_told_and_not_done(
    store: Store, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing disk under the folder is this machine's trouble, not a bug of ours."""
    whole = leave(store)
    publisher.survey([entry()])

    def fail(_: Path) -> None:
        raise OSError(5, "I/O error")

    monkeypatch.setattr("wgetpool.part.sync_folder", fail)
    results = publisher.publish([whole], done([whole]))

    assert getattr(results["a.tar"], "errno", None) == 5
    assert state_of(store) == "publishing"


def test_records_of_failed_files_are_written_with_the_group(
    store: Store, publisher: Publisher
) -> None:
    """What failed has nothing to rename."""
    failed = FileRecord(name="x.tar", state="failed", reason="404", attempts=1)

    results = publisher.publish([], [failed])

    assert results == {}
    assert list(read_all(store.ledger)) == [failed]


def test_an_empty_file_can_be_published(store: Store, publisher: Publisher) -> None:
    """No bytes are bytes enough."""
    results = publish(publisher, leave(store, data=b""))

    assert results == {"a.tar": None}
    assert store.final("a.tar").read_bytes() == b""


# ---------------------------------------------------------------- times and modes


@pytest.mark.parametrize(
    ("remote_time", "told", "at"),
    [
        (True, MONDAY, MONDAY_AT),
        (False, MONDAY, None),
        (True, None, None),
        (True, "no date", None),
    ],
)
def test_a_published_file_has_the_local_time_unless_told_otherwise(
    store: Store, remote_time: bool, told: str | None, at: int | None
) -> None:
    """--remote-time: the server's, where it tells one."""
    whole = leave(store, last_modified=told)
    local = store.part("a.tar").stat().st_mtime

    with closing(opened(store, remote_time=remote_time)) as publisher:
        publish(publisher, whole)

    assert store.final("a.tar").stat().st_mtime == (local if at is None else at)


def test_a_published_file_has_the_mode_that_the_umask_gives(
    store: Store, publisher: Publisher
) -> None:
    """Others may read it when the user's files may be read."""
    before = os.umask(0o027)
    part = claim(store, "a.tar")
    os.umask(before)
    assert part is not None
    with part:
        os.write(part.descriptor, DATA)
        whole = WholePart(
            name="a.tar", claim=part.hand_over(), inode=part.inode(), size=len(DATA), proof=()
        )

    publish(publisher, whole)

    assert store.final("a.tar").stat().st_mode & 0o777 == 0o640


# ---------------------------------------------------------------- the survey


def test_a_new_name_is_absent_and_noted(store: Store, publisher: Publisher) -> None:
    """A status finds the whole selection in the ledger, with the sizes that the list tells."""
    wanted = [replace(entry(), size=7), entry("b.tar")]

    found = publisher.survey(wanted)

    assert [each.presence for each in found] == [Presence.ABSENT] * 2
    assert list(read_all(store.ledger)) == [
        FileRecord(name="a.tar", state="pending", size=7),
        FileRecord(name="b.tar", state="pending"),
    ]


def test_a_file_that_the_ledger_does_not_know_is_a_stranger(
    store: Store, publisher: Publisher
) -> None:
    """It is never trusted: by plain wget, by an older script, or torn by a crash."""
    store.final("a.tar").write_bytes(DATA)

    assert publisher.survey([entry()]) == [Surveyed(entry(), Presence.STRANGE, len(DATA))]
    assert presence(publisher) is Presence.STRANGE  # noted by the first look, and still not known


@pytest.mark.parametrize("change", ["longer", "empty", "link", "folder"])
def test_a_file_that_is_not_what_was_published_is_a_stranger(
    store: Store, publisher: Publisher, change: str
) -> None:
    """Another size than the ledger's, or no regular file."""
    publish(publisher, leave(store))
    path = store.final("a.tar")
    match change:
        case "longer":
            path.write_bytes(DATA + b"x")
        case "empty":
            os.truncate(path, 0)
        case "link":
            path.rename(path.with_name("elsewhere"))
            path.symlink_to("elsewhere")
        case "folder":
            path.unlink()
            path.mkdir()

    assert presence(publisher) is Presence.STRANGE


def test_a_file_that_was_moved_on_is_gone_until_it_is_fetched_again(
    store: Store, publisher: Publisher
) -> None:
    """--skip-gone does not forget that it was there; without it, the file is wanted again."""
    publish(publisher, leave(store))
    store.final("a.tar").unlink()

    with closing(opened(store, skip_gone=True)) as leaving_out:
        surveys = [presence(leaving_out) for _ in range(3)]

    assert surveys == [Presence.GONE] * 3
    assert presence(publisher) is Presence.GONE
    assert state_of(store) == "pending"


def test_a_gone_file_that_was_fetched_again_is_known(store: Store, publisher: Publisher) -> None:
    """The new one, with its size."""
    publish(publisher, leave(store))
    store.final("a.tar").unlink()
    publisher.survey([entry()])

    publish(publisher, leave(store, data=b"longer than it was before"))

    assert presence(publisher) is Presence.KNOWN


def test_a_failed_file_is_wanted_again(store: Store, publisher: Publisher) -> None:
    """A later run tries it once more, and its old reason is gone."""
    publisher.publish([], [FileRecord(name="a.tar", state="failed", reason="404")])

    assert presence(publisher) is Presence.ABSENT
    assert state_of(store) == "pending"


@pytest.mark.parametrize("name", ["loop/a.tar", "file/a.tar"])
def test_a_name_whose_folder_is_none_is_absent(
    store: Store, publisher: Publisher, name: str
) -> None:
    """It fails for itself when it is tried: a survey of the others goes on."""
    (store.directory / "loop").symlink_to("loop")
    (store.directory / "file").touch()

    found = publisher.survey([entry(name), entry()])

    assert [each.presence for each in found] == [Presence.ABSENT] * 2


def test_a_look_without_a_run_writes_nothing(store: Store) -> None:
    """--dry-run sees what a run would see, and makes nothing."""
    store.final("b.tar").write_bytes(DATA)
    whole = leave(store)
    with closing(Ledger(store.ledger)) as ledger:
        ledger.record(done([whole]))
    os.close(whole.claim)
    store.part("a.tar").rename(store.final("a.tar"))
    before = store.ledger.read_bytes()

    found = survey_read_only(store, [entry(), entry("b.tar"), entry("c.tar")])

    assert [each.presence for each in found] == [Presence.KNOWN, Presence.STRANGE, Presence.ABSENT]
    assert store.ledger.read_bytes() == before


def test_a_look_into_a_dir_that_is_none_finds_nothing(tmp_path: Path) -> None:
    """Before the first run there is no DIR."""
    found = survey_read_only(Store(tmp_path / "none"), [entry()])

    assert [each.presence for each in found] == [Presence.ABSENT]
    assert not (tmp_path / "none").exists()


# ---------------------------------------------------------------- a ledger that cannot be used


def test_a_ledger_that_cannot_be_opened_is_this_machines_trouble(store: Store) -> None:
    """Exit 3, with its path."""
    store.ledger.mkdir()

    with pytest.raises(MachineError, match=r"ledger\.sqlite3 cannot be written"):
        opened(store)


def test_a_ledger_that_cannot_be_written_is_this_machines_trouble(
    store: Store, publisher: Publisher
) -> None:
    """And nothing is renamed that it does not know of."""
    whole = leave(store)
    publisher.survey([entry()])
    publisher._ledger._db.execute("PRAGMA query_only = ON")

    with pytest.raises(MachineError):
        publisher.publish([whole], done([whole]))

    assert store.part("a.tar").exists()
    assert not store.final("a.tar").exists()


def test_a_ledger_that_was_set_aside_is_said(store: Store) -> None:
    """The user hears of it, and the run goes on."""
    store.ledger.write_bytes(b"junk" * 100)

    with closing(opened(store)) as publisher:
        assert publisher.warning is not None
        assert "set aside" in publisher.warning
