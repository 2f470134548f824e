"""What the bytes of one part are worth, whoever was killed at whatever moment."""

from __future__ import annotations

import fcntl
import json
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.doubles import note_calls

from wgetpool.model import FileId, RemoteFile
from wgetpool.part import Cut, Part, Record, claim, peek
from wgetpool.policy import OVERLAP
from wgetpool.store import Store, boot_id, booted_at

NAME = "train/ä -x%.tar"
REMOTE = RemoteFile(size=10, etag='"v1"', last_modified="Mon, 01 Sep 2025 10:00:00 GMT")
OLD = bytes(range(256)) * 2


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return made(tmp_path)


def made(folder: Path) -> Store:
    store = Store(folder)
    store.make()
    store.make_folder(NAME)
    return store


@contextmanager
def claimed(store: Store, name: str = NAME) -> Iterator[Part]:
    part = claim(store, name)
    assert part is not None
    with part:
        yield part


def leave(store: Store, data: bytes) -> Path:
    """A part that an earlier attempt left."""
    store.part(NAME).write_bytes(data)
    return store.part(NAME)


def append(path: Path, data: bytes) -> None:
    """What wget does: it knows no offset but the part's end."""
    with path.open("ab") as file:
        file.write(data)


# ---------------------------------------------------------------- the claim


def test_a_part_has_one_holder(store: Store) -> None:
    """Two writers never share a part: the second claim is refused, also in one process."""
    with claimed(store):
        assert claim(store, NAME) is None


def test_a_claim_that_was_given_back_can_be_taken(store: Store) -> None:
    """Leaving the block frees the part."""
    leave(store, OLD)

    with claimed(store):
        pass

    with claimed(store) as part:
        assert part.length() == len(OLD)


def test_a_claim_lives_as_long_as_a_descriptor_that_wget_inherited(store: Store) -> None:
    """The program's death does not free a part that its wget still writes to."""
    leave(store, OLD)
    with claimed(store) as part:
        inherited = os.dup(part.descriptor)

    held = claim(store, NAME)
    os.close(inherited)

    assert held is None
    with claimed(store):
        pass


def test_a_lock_on_a_file_that_was_published_meanwhile_is_not_a_claim(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between open and lock the part may be renamed: then the claim is one on the new part."""
    leave(store, OLD)
    real = fcntl.flock
    calls: list[int] = []

    def publish_then_lock(descriptor: int, how: int) -> None:
        if not calls:
            store.part(NAME).rename(store.final(NAME))
        calls.append(how)
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", publish_then_lock)
    with claimed(store) as part:
        os.ftruncate(part.descriptor, 0)
        found = part.inode()

    assert len(calls) == 2
    assert found != store.final(NAME).stat().st_ino
    assert store.final(NAME).read_bytes() == OLD


def test_an_empty_part_is_not_kept(store: Store) -> None:
    """An attempt that brought nothing leaves nothing."""
    with claimed(store) as part:
        assert part.path.exists()

    assert not store.part(NAME).exists()


def test_an_empty_file_that_is_whole_is_kept(store: Store) -> None:
    """A file of no bytes is a file: its claim goes to whoever publishes it."""
    with claimed(store) as part:
        descriptor = part.hand_over()

    assert store.part(NAME).read_bytes() == b""
    assert claim(store, NAME) is None
    os.close(descriptor)


def test_a_claim_that_was_handed_over_is_its_new_owners(store: Store) -> None:
    """Leaving the block does not free the part; closing the descriptor does."""
    leave(store, OLD)
    with claimed(store) as part:
        descriptor = part.hand_over()

    held = claim(store, NAME)
    os.close(descriptor)

    assert held is None
    with claimed(store) as part:
        assert part.length() == len(OLD)


def test_a_part_that_is_a_link_is_refused(store: Store, tmp_path: Path) -> None:
    """Nothing is written through a symbolic link."""
    victim = tmp_path / "victim"
    victim.write_bytes(OLD)
    store.part(NAME).symlink_to(victim)

    with pytest.raises(OSError, match="symbolic"):
        claim(store, NAME)

    assert victim.read_bytes() == OLD


def test_a_part_that_is_no_file_is_refused(store: Store) -> None:
    """A pipe would block whoever opens it for reading, and has no length."""
    os.mkfifo(store.part(NAME))

    with pytest.raises(OSError, match="not a regular file"):
        claim(store, NAME)


# ---------------------------------------------------------------- the record

REMOTES = st.builds(
    RemoteFile,
    size=st.none() | st.integers(0, 2**63 - 1),
    etag=st.none() | st.text(),
    last_modified=st.none() | st.text(),
)
CUTS = st.none() | st.builds(Cut, st.integers(0, 2**63 - 1), st.binary(max_size=100))


@settings(max_examples=50, deadline=None)
@given(record=st.builds(Record, st.text(), st.text(), REMOTES, CUTS))
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    """JSON there and back."""
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", "{}", '{"name": "x"}', "\0\0\0\0", '{"cut": {"offset": "x"}}'],
)
def test_a_record_that_cannot_be_read_is_none(store: Store, text: str) -> None:
    """A torn record costs the part's past, not the run."""
    leave(store, OLD)
    store.record(NAME).write_text(text)

    with claimed(store) as part:
        assert part.record == Record(NAME)


def test_the_record_of_another_name_does_not_count(store: Store) -> None:
    """The file's name is a digest: the name itself is inside."""
    leave(store, OLD)
    store.record(NAME).write_text(Record("other", "/p", REMOTE).to_json())

    with claimed(store) as part:
        assert part.record == Record(NAME)


def test_an_empty_part_has_no_past(store: Store) -> None:
    """Whoever removed the part removed what the record tells of it."""
    store.record(NAME).write_text(Record(NAME, "/p", REMOTE, Cut(5, b"x")).to_json())

    with claimed(store) as part:
        assert part.record == Record(NAME)


def test_the_validators_are_remembered_with_the_part(store: Store) -> None:
    """The next run knows what the part was made from, by name, without a query."""
    leave(store, OLD)
    with claimed(store) as part:
        part.accept(REMOTE, "/train/a.tar")

    with claimed(store) as part:
        assert part.record == Record(NAME, "/train/a.tar", REMOTE, boot=boot_id())


def test_a_claim_knows_whether_there_is_a_record(store: Store) -> None:
    """So that whoever publishes the part knows whether there is one to remove."""
    leave(store, OLD)
    seen = []

    with claimed(store) as part:
        for step in (lambda: part.accept(REMOTE, "/p"), part.forget, lambda: part.cut_at(300)):
            step()
            seen.append((part.recorded, store.record(NAME).exists()))

    assert seen == [(True, True), (False, False), (True, True)]


def test_a_record_that_outlived_its_part_does_not_outlive_a_new_start(store: Store) -> None:
    """Its cut is one of other bytes: nobody may put them back into the new part."""
    store.record(NAME).write_text(Record(NAME, "/p", REMOTE, Cut(5, b"x")).to_json())

    with claimed(store) as part:
        part.cut_at(0)

        assert not store.record(NAME).exists()


def test_the_record_is_on_the_disk_before_the_part_is_cut(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Record synced, renamed, its folder synced, and only then the bytes are taken off."""
    leave(store, OLD)
    calls: list[str] = []
    note_calls(monkeypatch, calls, "os.fsync")
    note_calls(monkeypatch, calls, "wgetpool.part.sync_folder")
    note_calls(monkeypatch, calls, "os.ftruncate")

    with claimed(store) as part:
        part.cut_at(300)

    assert calls == ["fsync", "sync_folder", "fsync", "ftruncate"]


# ---------------------------------------------------------------- cut, comparison, settling


def test_a_cut_takes_the_last_bytes_and_keeps_them(store: Store) -> None:
    """What is taken off the part is in its record."""
    leave(store, OLD)

    with claimed(store) as part:
        part.cut_at(500)

        assert part.length() == 500
        assert part.record.cut == Cut(500, OLD[500:])


def test_a_cut_keeps_64_kib_at_most(store: Store) -> None:
    """A step back gives up what lies behind: it is fetched again."""
    data = bytes(3 * OVERLAP)
    leave(store, data)

    with claimed(store) as part:
        part.cut_at(10)
        part.settle()

        assert part.length() == 10 + OVERLAP


def test_a_new_start_empties_the_part_and_its_past(store: Store) -> None:
    """The same file under the same claim: cut to nothing, never unlinked."""
    leave(store, OLD)
    with claimed(store) as part:
        part.accept(REMOTE, "/p")
        inode = part.inode()

        part.cut_at(0)

        assert (part.length(), part.inode()) == (0, inode)
        assert part.record == Record(NAME)
        assert not store.record(NAME).exists()


@pytest.mark.parametrize(
    ("came", "same"),
    [
        (b"", None),
        (b"abc", None),
        (b"abcdef", True),
        (b"abcdefmore", True),
        (b"x", False),
        (b"abx", False),
        (b"abcdexmore", False),
    ],
)
def test_bytes_that_come_are_held_against_those_that_were_taken(
    store: Store, came: bytes, same: bool | None
) -> None:
    """Too few tell nothing, unless one of them differs already."""
    path = leave(store, b"0123abcdef")
    with claimed(store) as part:
        part.cut_at(4)

        append(path, came)

        assert part.compare() == (same, False)


@pytest.mark.parametrize(("tail", "uniform"), [(b"\0" * 6, True), (b"\0" * 5 + b"1", False)])
def test_a_tail_of_one_value_proves_little(store: Store, tail: bytes, uniform: bool) -> None:
    """Zeros are equal in every file."""
    path = leave(store, b"0123" + tail)
    with claimed(store) as part:
        part.cut_at(4)

        append(path, tail)

        assert part.compare() == (True, uniform)


def test_without_a_cut_there_is_nothing_to_compare(store: Store) -> None:
    """A part that was compared before is not compared again."""
    leave(store, OLD)

    with claimed(store) as part:
        part.settle()

        assert part.compare() == (None, False)
        assert part.length() == len(OLD)


class Killed(BaseException):
    """SIGKILL: nothing of the program runs after it."""


def killed_at_the_cut(store: Store, offset: int) -> None:
    """An attempt that dies when its record is written and its part is not cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(Killed()))
        part = claim(store, NAME)
        assert part is not None
        with pytest.raises(Killed):
            part.cut_at(offset)
        os.close(part.descriptor)


def killed_after_the_cut(store: Store, offset: int, came: bytes) -> None:
    """An attempt that dies with its wget when so many bytes have come."""
    part = claim(store, NAME)
    assert part is not None
    part.cut_at(offset)
    append(part.path, came)
    os.close(part.descriptor)


def settled(store: Store) -> bytes:
    """The part after the next run has claimed and settled it, twice, for it must be idempotent."""
    for _ in range(2):
        with claimed(store) as part:
            part.settle()
            assert part.record.cut is None
    return store.part(NAME).read_bytes()


def test_a_kill_between_record_and_cut_costs_nothing(store: Store) -> None:
    """The record has a cut that the part has not: the bytes are those that were taken."""
    leave(store, OLD)

    killed_at_the_cut(store, 500)

    assert settled(store) == OLD


TAIL = OLD[500:]


@pytest.mark.parametrize(
    "came",
    [
        b"",
        TAIL[:5],
        TAIL[:5] + b"#",
        b"#",
        b"#" * len(TAIL),
        b"#" * 1000,
        TAIL[:-1] + b"#" + b"new" * 100,
        TAIL,
        TAIL + b"new" * 100,
    ],
)
def test_a_kill_between_append_and_comparison_never_lets_new_bytes_be_trusted(
    store: Store, came: bytes
) -> None:
    """Not even behind equal ones: nobody has seen the head that they came with."""
    leave(store, OLD)

    killed_after_the_cut(store, 500, came)

    assert settled(store) == OLD


def test_after_a_kill_equal_bytes_of_one_value_prove_nothing(store: Store) -> None:
    """Zeros are equal in every file: what came behind them is not kept."""
    old = b"head" + bytes(100)
    leave(store, old)

    killed_after_the_cut(store, 4, bytes(100) + b"behind")

    assert settled(store) == old


def test_a_settled_part_keeps_its_validators(store: Store) -> None:
    """Putting the tail back does not forget what the part was made from."""
    leave(store, OLD)
    with claimed(store) as part:
        part.accept(REMOTE, "/p")

    killed_after_the_cut(store, 500, b"#")

    with claimed(store) as part:
        part.settle()
        assert part.record == Record(NAME, "/p", REMOTE, boot=boot_id())


def test_a_part_that_somebody_shortened_is_left_as_it_is(store: Store) -> None:
    """The taken bytes do not belong at an offset that the part does not reach."""
    leave(store, OLD)
    killed_after_the_cut(store, 500, b"")
    os.truncate(store.part(NAME), 100)

    assert settled(store) == OLD[:100]


HISTORIES = st.tuples(
    st.integers(0, 2**32),  # the seed of the part's bytes
    st.integers(2, 3 * OVERLAP),  # its length
    st.integers(1, OVERLAP),  # how many bytes are taken
    st.booleans(),  # whether what comes begins with them
    st.integers(0, 2 * OVERLAP),  # how many come before the kill
    st.integers(0, 2 * OVERLAP),  # where they differ
)


@settings(max_examples=40, deadline=None)
@given(history=HISTORIES)
@example((0, 2 * OVERLAP, OVERLAP, True, OVERLAP, 0))
@example((0, 2 * OVERLAP, 1, True, 5, 0))
@example((0, 2 * OVERLAP, OVERLAP, False, OVERLAP + 1, OVERLAP - 1))
def test_no_history_of_kills_makes_a_splice(history: tuple[int, int, int, bool, int, int]) -> None:
    """Then the part is the old one."""
    seed, length, taken, equal, came, differs_at = history
    dice = random.Random(seed)
    old = dice.randbytes(length)
    offset = max(length - taken, 1)
    stream = bytearray(old[offset:] + dice.randbytes(2 * OVERLAP))
    if not equal:
        stream[differs_at % len(old[offset:])] ^= 1
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # the machine does not go down here
        store = made(Path(folder))
        leave(store, old)

        killed_after_the_cut(store, offset, bytes(stream[:came]))
        left = settled(store)

    assert left == old


def test_what_is_put_back_is_on_the_disk_before_the_record_forgets_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut right after settling must not leave new bytes and a closed cut."""
    leave(store, OLD)
    killed_after_the_cut(store, 500, b"#" * 1000)
    calls: list[str] = []

    with claimed(store) as part:
        note_calls(monkeypatch, calls, "os.ftruncate")
        note_calls(monkeypatch, calls, "os.fsync", lambda each: f"fsync {each == part.descriptor}")
        note_calls(monkeypatch, calls, "wgetpool.part.Part._save", "close cut")
        part.settle()

    assert calls[:3] == ["ftruncate", "fsync True", "close cut"]


@pytest.mark.parametrize("step", ["os.pwrite", "os.fsync", "wgetpool.part.Part._save"])
def test_a_kill_while_bytes_are_put_back_leaves_nothing_to_be_trusted(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The next run finds the old bytes or fewer, never the foreign ones behind the old tail."""
    leave(store, OLD)
    killed_after_the_cut(store, 500, b"#" * 5000)

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, claimed(store) as part:
        patch.setattr(step, die)
        with pytest.raises(KeyboardInterrupt):
            part.settle()

    assert settled(store) == OLD


def test_a_record_that_cannot_be_read_for_now_is_not_forgotten(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An I/O error, or no descriptor left, ends the attempt: the open cut is still there next
    time.
    """
    leave(store, OLD)
    killed_after_the_cut(store, 500, b"#" * 5000)

    def fail(*_: object, **__: object) -> str:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch, claimed(store) as part:
        patch.setattr(os, "open", fail)
        with pytest.raises(OSError, match="Too many"):
            part.settle()

    assert settled(store) == OLD


def test_a_record_that_makes_no_sense_is_a_new_start(store: Store) -> None:
    """It may have had an open cut: nothing of the part is trusted."""
    leave(store, OLD)
    store.record(NAME).write_text("{")

    with claimed(store) as part:
        part.settle()

        assert part.length() == 0


# ---------------------------------------------------------------- rejected, looked at


def test_a_rejected_part_is_kept_for_a_person(store: Store) -> None:
    """The last one, under .wgetpool/rejected/, without a past."""
    leave(store, b"first")
    with claimed(store) as part:
        part.reject()
    leave(store, b"second")
    with claimed(store) as part:
        part.accept(REMOTE, "/p")

        kept = part.reject()

    assert kept == store.state / "rejected" / NAME
    assert kept.read_bytes() == b"second"
    assert not store.part(NAME).exists()
    assert not store.record(NAME).exists()


@pytest.mark.parametrize(("want", "size"), [(True, 10), (False, None)])
def test_an_onlooker_takes_no_claim(store: Store, want: bool, size: int | None) -> None:
    """Length and size of a part that somebody works on."""
    leave(store, OLD)
    with claimed(store) as part:
        part.accept(REMOTE, "/p")

        assert peek(store, NAME, want_size=want) == (len(OLD), size)


def test_an_onlooker_sees_no_part_as_no_bytes(store: Store) -> None:
    """A part that is not there yet, or was published, is of length 0."""
    assert peek(store, NAME, want_size=True) == (0, None)


def test_no_record_holds_a_query(store: Store) -> None:
    """The record is written from the path alone, readable by its owner's rules."""
    leave(store, OLD)
    with claimed(store) as part:
        part.accept(REMOTE, "/train/a.tar")

    assert set(json.loads(store.record(NAME).read_text())) == {
        "name",
        "url_path",
        "size",
        "etag",
        "last_modified",
        "cut",
        "synced",
        "boot",
    }


# ---------------------------------------------------------------- after the machine was down

BIG = bytes(range(256)) * 16 * 1024  # 4 MiB


def reboot(store: Store) -> None:
    """The machine goes down and comes up: the record is of another boot."""
    path = store.record(NAME)
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot": "an earlier one"}))


def test_only_what_was_on_the_disk_is_trusted_after_a_power_cut(store: Store) -> None:
    """A tail of zeros, or of anything, is what a file system may leave of the newest bytes."""
    leave(store, BIG[: 2**21])
    with claimed(store) as part:
        part.accept(REMOTE, "/p")
        part.sync()
    leave(store, BIG[: 2**21] + bytes(2**20))
    reboot(store)

    with claimed(store) as part:
        part.settle()

        assert store.part(NAME).read_bytes() == BIG[: 2**21]
        assert part.record == Record(NAME, "/p", REMOTE, synced=2**21, boot=boot_id())


def test_what_was_never_synced_is_not_trusted_after_a_power_cut(store: Store) -> None:
    """A part of its first seconds starts anew."""
    leave(store, BIG)
    with claimed(store) as part:
        part.accept(REMOTE, "/p")
    reboot(store)

    with claimed(store) as part:
        part.settle()
        assert part.length() == 0


def test_a_part_is_trusted_when_only_the_program_died(store: Store) -> None:
    """What the system was given it writes."""
    leave(store, BIG)
    with claimed(store) as part:
        part.accept(REMOTE, "/p")

    with claimed(store) as part:
        part.settle()
        assert part.length() == len(BIG)


@pytest.mark.parametrize("came", [b"", BIG[-65536:], BIG[-65536:] + b"more", bytes(70_000)])
def test_an_open_cut_is_put_back_after_a_power_cut(store: Store, came: bytes) -> None:
    """What came behind it may never have been written; the record has the bytes before it."""
    leave(store, BIG)
    with claimed(store) as part:
        part.accept(REMOTE, "/p")
        part.sync()
        part.cut_at(len(BIG) - 65536)
        os.pwrite(part.descriptor, came, len(BIG) - 65536)
    reboot(store)

    with claimed(store) as part:
        part.settle()

        assert store.part(NAME).read_bytes() == BIG[: len(BIG) - 65536]
        assert part.record.cut is None


def test_few_new_bytes_are_not_worth_a_sync(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next sync takes them along."""
    leave(store, BIG[:5000])
    calls: list[str] = []
    with claimed(store) as part:
        part.accept(REMOTE, "/p")
        note_calls(monkeypatch, calls, "os.fdatasync")
        part.sync()

    assert calls == []


@pytest.mark.parametrize(("age", "kept"), [(10.0, False), (-10.0, True)])
def test_a_short_part_without_a_record_is_not_trusted_after_a_power_cut(
    store: Store, age: float, kept: bool
) -> None:
    """It may be of our own first moments: then anything may be in it."""
    leave(store, BIG)
    os.utime(store.part(NAME), (0, booted_at() - age))

    with claimed(store) as part:
        part.settle()
        assert part.length() == (len(BIG) if kept else 0)


# ---------------------------------------------------------------- a file that becomes the part


def test_a_torn_file_becomes_the_part_under_the_same_claim(store: Store) -> None:
    """Nobody can come in between: it is locked before it has the part's name."""
    leave(store, OLD[:10])
    store.final(NAME).write_bytes(OLD)

    with claimed(store) as part:
        assert part.take_over(store.final(NAME), FileId.of(store.final(NAME).stat()))

        assert claim(store, NAME) is None
        assert part.length() == len(OLD)
        assert part.record == Record(NAME)
    assert not store.final(NAME).exists()
    assert store.part(NAME).read_bytes() == OLD


def test_a_file_with_another_name_is_not_taken_over(store: Store) -> None:
    """It would be changed under that name, too."""
    store.make_folder(NAME)
    store.final(NAME).write_bytes(OLD)
    os.link(store.final(NAME), store.directory / "other")

    with claimed(store) as part:
        assert not part.take_over(store.final(NAME), FileId.of(store.final(NAME).stat()))
        assert part.length() == 0

    assert store.final(NAME).read_bytes() == OLD


def test_a_locked_file_is_not_taken_over(store: Store) -> None:
    """Somebody works on it."""
    store.make_folder(NAME)
    store.final(NAME).write_bytes(OLD)
    with store.final(NAME).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)

        with claimed(store) as part:
            assert not part.take_over(store.final(NAME), FileId.of(store.final(NAME).stat()))

    assert store.final(NAME).read_bytes() == OLD
