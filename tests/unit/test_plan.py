"""What a run would do, and whether the disk has room for it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wgetpool import forecast
from wgetpool.errors import MachineError
from wgetpool.forecast import demand_room
from wgetpool.ledger import Ledger
from wgetpool.model import Entry, FileRecord, Manners, RemoteFile, Settings, Url
from wgetpool.part import claim
from wgetpool.plan import print_plan
from wgetpool.store import Store

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
EXPIRED, VALID = "?oh=1&oe=60000000", "?oh=1&oe=F0000000"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Has so many bytes free on the disk."""

    def with_free(free: int | None) -> None:
        monkeypatch.setattr(Store, "free", lambda _: free)

    return with_free


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a single file raises."""

    def refused(*_: object) -> int:
        raise AssertionError("a file is looked at, though all fits")

    monkeypatch.setattr(forecast, "length_of", refused)


def entry(name: str, size: int | None = None, query: str = "") -> Entry:
    return Entry(name, Url(f"http://h.example/{name}{query}"), size)


def settings(store: Store, *, min_free: int = 0, skip_gone: bool = False) -> Settings:
    return Settings(
        directory=store.directory,
        wget="wget",
        manners=Manners(min_free=min_free),
        skip_gone=skip_gone,
    )


def put(store: Store, *records: FileRecord) -> None:
    """What an earlier run knew."""
    store.make()
    ledger = Ledger(store.ledger)
    ledger.record(records)
    ledger.close()


def put_file(store: Store, name: str, size: int) -> Path:
    """A file of that length, most of it a hole."""
    store.make()
    path = store.final(name)
    path.touch()
    os.truncate(path, size)
    return path


def done(store: Store, name: str, size: int) -> FileRecord:
    """A finished file, and its row."""
    inode = put_file(store, name, size).stat().st_ino
    return FileRecord(name=name, state="done", size=size, inode=inode, proof=("size",))


def put_part(store: Store, name: str, length: int, told: int | None = None) -> None:
    """A part, and what the server has told of the file."""
    put_file(store, f"{name}.part", length)
    part = claim(store, name)
    assert part is not None
    with part:
        part.accept(RemoteFile(size=told), f"/{name}")


def told(of: Settings, entries: Iterable[Entry]) -> dict[str, Any]:
    """The plan's JSON."""
    out = io.StringIO()
    print_plan(of, list(entries), json=True, out=out)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def words(of: Settings, entries: Iterable[Entry]) -> str:
    out = io.StringIO()
    print_plan(of, list(entries), json=False, out=out)
    return out.getvalue()


def demand(of: Settings, entries: Iterable[Entry]) -> None:
    demand_room(
        Store(of.directory),
        list(entries),
        min_free=of.manners.min_free,
        skip_gone=of.skip_gone,
    )


def complaint(of: Settings, entries: Iterable[Entry]) -> str:
    with pytest.raises(MachineError) as caught:
        demand(of, list(entries))
    return str(caught.value)


# ---------------------------------------------------------------- --dry-run


def test_a_plan_sums_the_sizes_that_are_known(
    store: Store, disk: Callable[[int | None], None]
) -> None:
    """By the list, else by the ledger, else by the record of a part; the others are counted."""
    disk(9 * GIB)
    put(
        store,
        FileRecord(name="failed", state="failed", size=20),
        FileRecord(name="listed", state="pending", size=1),
        FileRecord(name="begun", state="pending"),
    )
    put_part(store, "begun", 300, told=3000)
    names = ("failed", "begun", "unknown")

    found = told(settings(store), [entry("listed", 100), *map(entry, names)])

    assert (found["known_size"], found["unknown_sizes"], found["size"]) == (3120, 1, None)
    assert (found["to_come"], found["begun"], found["begun_bytes"]) == (2820, 1, 300)
    assert found["free"] == 9 * GIB


def test_a_size_of_all_is_told_where_all_are_known(store: Store) -> None:
    """By whatever tells them."""
    put(store, FileRecord(name="b", state="failed", size=20))

    found = told(settings(store), [entry("a", 100), entry("b")])

    assert (found["size"], found["known_size"], found["unknown_sizes"]) == (120, 120, 0)


def test_what_is_whole_does_not_come(store: Store) -> None:
    """Nor what is gone, with --skip-gone; of what is in the way what is missing, at the least."""
    row = done(store, "whole", 5000)
    gone = replace(row, name="gone", inode=1)
    put(store, row, gone)
    put_file(store, "strange", 400)
    entries = [entry("whole", 5000), entry("gone"), entry("strange", 1000)]

    assert told(settings(store, skip_gone=True), entries)["to_come"] == 600
    assert told(settings(store), entries)["to_come"] == 5600


def test_expired_links_of_what_is_to_fetch_are_counted(store: Store) -> None:
    """Those of whole files do not matter."""
    put(store, done(store, "whole", 5))
    names = {"whole": EXPIRED, "a": EXPIRED, "b": VALID, "c": "", "d": EXPIRED}

    found = told(settings(store), [entry(name, query=query) for name, query in names.items()])

    assert found["expired"] == 2
    assert found["expires"] is not None


def test_the_words_have_a_line_each(store: Store, disk: Callable[[int | None], None]) -> None:
    """What is to come against what is free, and the links that are of no use."""
    disk(3 * GIB)
    entries = [entry("a", 2 * GIB, EXPIRED), entry("b", 2 * GIB), entry("c")]

    lines = words(settings(store, min_free=GIB), entries).splitlines()

    assert lines[2:] == [
        "         2  to fetch, 4 at a time (4.0 GiB, and 1 file of unknown size)",
        "         1  not tried: their links have expired; get a new links file",
        "4.0 GiB are still to come, 3.0 GiB are free, 1.0 GiB are kept (--min-free)",
        "not all fits: get ends with exit code 3 (--force fetches what there is room for)",
    ]


def test_the_words_say_nothing_of_what_is_not_known(
    store: Store, disk: Callable[[int | None], None]
) -> None:
    """Without sizes what is free is all that can be told."""
    disk(3 * GIB)

    told = words(settings(store), [entry("a"), entry("b")])

    assert told.splitlines()[1:] == [
        "         0  whole already",
        "         2  to fetch, 4 at a time",
        "sizes are not known yet; 3.0 GiB are free, 0 B are kept (--min-free)",
    ]


def test_a_plan_makes_nothing(store: Store) -> None:
    """Not even DIR, whose disk is that of the nearest folder that is there."""
    found = told(settings(store), [entry("a", 5)])

    assert found["free"] > 0
    assert not store.directory.exists()


# ---------------------------------------------------------------- before a run


def test_what_does_not_fit_ends_the_command_with_the_numbers(
    store: Store, disk: Callable[[int | None], None]
) -> None:
    """And with what to do."""
    disk(3 * GIB)
    entries = [entry("a", 2 * GIB), entry("b", GIB), entry("c")]

    said = complaint(settings(store, min_free=GIB), entries)

    assert said == (
        "The disk has no room for 2 files of 3: 3.0 GiB are still to come, 3.0 GiB are free, "
        "1.0 GiB are kept (--min-free). Make room, choose fewer (--select, --end) or another "
        "folder (-o); or --force fetches what there is room for."
    )


@pytest.mark.parametrize("min_free", [0, GIB])
def test_what_fits_goes_on(
    store: Store, disk: Callable[[int | None], None], untouched: None, min_free: int
) -> None:
    """To the last byte; not a file is looked at."""
    disk(3 * GIB + min_free)
    put(store, FileRecord(name="b", state="failed", size=GIB))

    demand(settings(store, min_free=min_free), [entry("a", 2 * GIB), entry("b"), entry("c")])


def test_one_file_that_is_too_large_is_enough(
    store: Store, disk: Callable[[int | None], None]
) -> None:
    """A run of one."""
    disk(GIB)

    assert "for 1 file of 1:" in complaint(settings(store), [entry("a", GIB + 1)])


def test_what_is_whole_does_not_count(store: Store, disk: Callable[[int | None], None]) -> None:
    """And of a part what is missing, nor is it looked for where its file is done."""
    disk(100)
    put(store, done(store, "whole", 9000))
    put_part(store, "begun", 9950, told=10_000)
    put_file(store, "strange", 950)
    entries = [entry("whole", 9000), entry("begun"), entry("strange", 1000)]

    demand(settings(store), entries)

    assert "for 2 files of 3: 100 B are still" in complaint(settings(store, min_free=1), entries)


def test_a_file_whose_size_in_the_list_is_new_counts(
    store: Store, disk: Callable[[int | None], None]
) -> None:
    """It is done with another one."""
    disk(100)
    put(store, done(store, "a", 5000))

    assert "200 B" in complaint(settings(store), [entry("a", 5200)])


def test_a_size_that_only_the_record_of_a_part_tells_counts(
    store: Store, disk: Callable[[int | None], None]
) -> None:
    """Its run was killed."""
    disk(100)
    put_part(store, "begun", 500, told=1000)

    assert "500 B" in complaint(settings(store), [entry("begun"), entry("unknown")])


def test_less_free_than_is_kept_stops_nobody_who_has_all(
    store: Store, disk: Callable[[int | None], None]
) -> None:
    """The same command again, when all is whole."""
    disk(100)
    put(store, done(store, "a", 5000))

    demand(settings(store, min_free=GIB), [entry("a", 5000)])

    assert "5.1 KiB" in complaint(settings(store, min_free=GIB), [entry("b", 5200)])


def test_sizes_that_are_not_known_stop_nobody(
    store: Store, disk: Callable[[int | None], None]
) -> None:
    """The run sees for itself."""
    disk(0)

    demand(settings(store), [entry("a"), entry("b")])


def test_files_in_folders_are_looked_at_there(
    store: Store, disk: Callable[[int | None], None]
) -> None:
    """And a folder that is not there yet has nothing."""
    disk(100)
    store.make()
    (store.directory / "train").mkdir()
    put_part(store, "train/a", 900)
    entries = [entry("train/a", 1000), entry("a", 50), entry("test/a", 50)]

    assert "for 3 files of 3: 200 B are" in complaint(settings(store), entries)


def test_a_system_that_does_not_tell_what_is_free_stops_nobody(
    store: Store, disk: Callable[[int | None], None]
) -> None:
    """Some network file systems."""
    disk(None)

    demand(settings(store), [entry("a", 1 << 60)])


def test_a_ledger_that_cannot_be_read_stops_nobody(
    store: Store, disk: Callable[[int | None], None]
) -> None:
    """The run sets it aside, and says so."""
    disk(KIB)
    store.make()
    store.ledger.write_bytes(b"no database, but long enough to be looked at\n" * 100)

    demand(settings(store), [entry("a", KIB)])


def test_a_long_list_costs_no_look_at_its_files(
    store: Store, disk: Callable[[int | None], None], untouched: None
) -> None:
    """Where most is done, and the rest fits."""
    disk(MIB)
    names = [f"f{n}" for n in range(2000)]
    put(store, *(FileRecord(name=name, state="done", size=GIB) for name in names[:-3]))

    skipping = settings(store, skip_gone=True)
    demand(skipping, [entry(name, GIB) for name in names[:-3]])
    demand(skipping, [entry(name, 1000) for name in names[-3:]])


def test_what_is_gone_is_to_come_again(store: Store, disk: Callable[[int | None], None]) -> None:
    """It was done, and is fetched again: unless it is not wanted back."""
    disk(MIB)
    put(store, FileRecord(name="moved", state="done", size=GIB))

    assert "1.0 GiB are still to come" in complaint(settings(store), [entry("moved")])
    demand(settings(store, skip_gone=True), [entry("moved")])
