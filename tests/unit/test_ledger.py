"""The ledger: what is written stays, and what cannot be read costs no data."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from wgetpool.ledger import (
    CHUNK,
    LATE,
    SCHEMA_VERSION,
    STEPS,
    Ledger,
    LedgerError,
    open_ledger,
    read_all,
    read_attempts,
    read_samples,
)
from wgetpool.model import AttemptRecord, FileRecord, Hold, Sample

FULL = FileRecord(
    name="train/ä ?#'%.tar",
    state="done",
    size=2**40,
    inode=2**40 + 1,
    proof=("size", "sha256"),
    attempts=3,
    reason="it's been slow",
    class_="transient",
    cause="server",
    seconds=2.5,
    finished="2026-03-01T12:00:00+00:00",
    sha256="ab" * 32,
)
BARE = FileRecord(name="b", state="pending")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger in a folder whose name is no good URI."""
    folder = tmp_path / "my data #1?a=%41"
    folder.mkdir()
    return folder / "ledger.sqlite3"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with closing(Ledger(path)) as opened:
        yield opened


def write(path: Path, *records: FileRecord) -> None:
    with closing(Ledger(path)) as ledger:
        ledger.record(records)


def test_what_is_recorded_survives_a_reopening(path: Path) -> None:
    """Every field comes back as it was."""
    write(path, FULL, BARE)

    with closing(Ledger(path)) as ledger:
        found = ledger.find(["b", FULL.name, "never seen"])

    assert found == {FULL.name: FULL, "b": BARE}


def test_a_later_record_replaces_an_earlier_one(ledger: Ledger) -> None:
    """One row a name: the last word."""
    ledger.record([BARE])
    ledger.record([FileRecord(name="b", state="failed", reason="404")])

    assert ledger.find(["b"])["b"].state == "failed"


def test_more_names_than_a_query_takes_are_found(ledger: Ledger) -> None:
    """SQLite limits the values of one statement, a survey does not."""
    names = [f"{number:05}.tar" for number in range(2 * CHUNK + 1)]
    ledger.record(FileRecord(name=name, state="done") for name in names)

    assert set(ledger.find(names)) == set(names)
    assert ledger.find([]) == {}


def test_a_transaction_is_all_or_nothing(ledger: Ledger) -> None:
    """What fails in the middle leaves nothing behind, and the ledger usable."""

    def fail_in_the_middle() -> None:
        with ledger.transaction():
            ledger.record([BARE])
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail_in_the_middle()
    ledger.record([FULL])

    assert set(ledger.find(["b", FULL.name])) == {FULL.name}


def test_a_full_disk_is_told_when_a_record_is_written(ledger: Ledger) -> None:
    """In SQLite's words, and the ledger stays as it was, and usable."""
    ledger.record([BARE])
    (pages,) = ledger._db.execute("PRAGMA page_count").fetchone()
    ledger._db.execute(f"PRAGMA max_page_count = {pages}")
    many = [FileRecord(name=f"{number:05}", state="done") for number in range(2000)]

    with pytest.raises(LedgerError, match="database or disk is full"):
        ledger.record(many)

    assert ledger.find(["b", "00000"]) == {"b": BARE}
    ledger._db.execute("PRAGMA max_page_count = 100000")
    ledger.record(many)
    assert "00000" in ledger.find(["00000"])


class FullDisk:
    """A connection whose COMMIT fails; SQLite may have rolled back by itself then."""

    def __init__(self, db: sqlite3.Connection, *, rolled_back: bool) -> None:
        self._db, self._rolled_back = db, rolled_back

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if statement != "COMMIT":
            return self._db.execute(statement, *values)
        if self._rolled_back:
            self._db.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize("rolled_back", [True, False])
def test_a_full_disk_is_told_when_it_shows_in_the_commit(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, rolled_back: bool
) -> None:
    """Not that there is nothing left to roll back; and no transaction stays open."""
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_db", FullDisk(ledger._db, rolled_back=rolled_back))
        with pytest.raises(LedgerError, match="database or disk is full"):
            ledger.record([BARE])

    assert not ledger._db.in_transaction
    ledger.record([FULL])
    assert ledger.find(["b", FULL.name]) == {FULL.name: FULL}


def test_a_commit_survives_a_power_cut(ledger: Ledger) -> None:
    """On the disk when the transaction ends: FULL syncs the emptied journal, NORMAL does not, and
    a journal that comes back rolls the commit back.
    """
    (level,) = ledger._db.execute("PRAGMA synchronous").fetchone()
    (journal,) = ledger._db.execute("PRAGMA journal_mode").fetchone()

    assert journal != "wal"
    assert level >= 2


def test_the_schema_has_a_version(path: Path) -> None:
    """A later wgetpool can tell what it opens."""
    write(path)

    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


@pytest.mark.parametrize("version", [1, 2])
def test_a_ledger_of_an_older_schema_is_read_as_it_is_and_migrated_by_a_run(
    path: Path, version: int
) -> None:
    """An onlooker changes nothing; a run adds what is new, and keeps what is there."""
    with closing(sqlite3.connect(path)) as db:
        for step in STEPS[:version]:
            db.executescript(step)
        db.execute("INSERT INTO files (name, state, proof, attempts) VALUES ('b', 'done', '', 2)")
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()
    old = FileRecord(name="b", state="done", attempts=2)

    assert list(read_all(path)) == [old]
    assert read_attempts(path, "b") == []
    with closing(Ledger(path)) as ledger:
        assert ledger.find(["b"]) == {"b": old}
        ledger.record([FULL, attempt(1)])
    assert list(read_all(path)) == [old, FULL]
    assert read_attempts(path, "b") == [(1, attempt(1))]


def attempt(number: int, **given: Any) -> AttemptRecord:
    values: dict[str, Any] = {
        "run": "r",
        "attempt": number,
        "started": f"2026-03-01T12:00:{number % 60:02}+01:00",
        "seconds": 1.5,
        "bytes": 10 * number,
        "received": 10,
        "ending": "failed",
        "status": 503,
        "reason": "HTTP 503",
        "class_": "transient",
        "cause": "server",
        "retry_in": 2.5,
    }
    return AttemptRecord(**{"name": "b"} | values | given)


def sample(run: str, second: int) -> Sample:
    counts = dict.fromkeys(("files", "done", "skipped", "failed", "running", "waiting"), 1)
    at = f"2026-03-01T12:{second // 60:02}:{second % 60:02}+01:00"
    return Sample(run=run, at=at, seconds=second, bytes=7, received=5 * second, size=None, **counts)


def test_the_attempts_at_a_file_are_numbered_in_their_order(ledger: Ledger, path: Path) -> None:
    """Over all runs, whatever number an attempt has in its own; each name for itself."""
    ledger.record([attempt(1), attempt(2), attempt(1, name="c")])
    ledger.record([attempt(1, run="r2", ending="done", reason=None)])

    told = read_attempts(path, "b")

    assert [(number, one.run, one.attempt) for number, one in told] == [
        (1, "r", 1),
        (2, "r", 2),
        (3, "r2", 1),
    ]
    assert told[0][1] == attempt(1)


def test_of_a_file_that_is_tried_for_ever_the_last_hundred_attempts_are_kept(
    ledger: Ledger, path: Path
) -> None:
    """The ledger stays small, and the numbers tell how many there were."""
    ledger.record([attempt(number) for number in range(1, 251)])

    assert [number for number, _ in read_attempts(path, "b")] == list(range(151, 251))


def test_the_samples_of_the_last_run_are_found(ledger: Ledger) -> None:
    """Those of a run before it, and of one that is too old, tell nothing of now."""
    ledger.record([sample("old", 1), sample("old", 2), sample("new", 60), sample("new", 70)])

    assert [one.seconds for one in ledger.last_samples("2026-03-01T12:00:30+01:00")] == [60, 70]
    assert ledger.last_samples("2026-03-02T00:00:00+01:00") == []


def test_of_a_long_run_the_latest_samples_are_read(ledger: Ledger) -> None:
    """A look costs the same after a month as after a minute."""
    ledger.record(sample("r", second) for second in range(500))

    assert [one.seconds for one in ledger.last_samples("")] == list(range(500 - LATE, 500))


def test_no_more_than_ten_thousand_samples_are_kept(ledger: Ledger) -> None:
    """Months of runs leave a ledger of a few megabytes."""
    ledger.record(sample("r", second % 3600) for second in range(10_050))

    (kept,) = ledger._db.execute("SELECT count(*) FROM samples").fetchone()
    assert kept == 10_000


def test_the_ledger_of_a_newer_wgetpool_is_left_alone(path: Path) -> None:
    """It is not read, not changed, not moved: a newer run may be at work on it."""
    write(path, FULL)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = path.read_bytes()

    with pytest.raises(LedgerError, match="newer wgetpool"):
        open_ledger(path)

    assert path.read_bytes() == before


def test_a_failure_of_ours_does_not_undo_what_another_run_has_done(path: Path) -> None:
    """Whoever made the file whole is right, whichever record comes last."""
    write(path, FULL)

    write(path, FileRecord(name=FULL.name, state="failed", reason="HTTP 404"))

    assert list(read_all(path)) == [FULL]


def test_why_a_file_is_not_tried_is_noted(ledger: Ledger, path: Path) -> None:
    """Only of what is still to come: what another run has done stays done."""
    ledger.expect([("a", 7)])
    ledger.record([FileRecord(name="b", state="done", size=3)])
    holds = [Hold(name=name, reason="no room", cause="no_space") for name in "abc"]

    ledger.record(holds)

    found = {record.name: (record.state, record.size, record.cause) for record in read_all(path)}
    assert found == {"a": ("pending", 7, "no_space"), "b": ("done", 3, None)}


def test_what_is_expected_is_noted_and_what_is_known_stays(path: Path) -> None:
    """The whole selection is in the ledger before the first file is fetched."""
    write(path, FULL)

    with closing(Ledger(path)) as ledger:
        ledger.expect([(FULL.name, None), ("new.tar", 7)])

    states = {record.name: (record.state, record.size) for record in read_all(path)}
    assert states == {FULL.name: ("done", FULL.size), "new.tar": ("pending", 7)}


@pytest.mark.parametrize("junk", [b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_ledger_that_cannot_be_read_is_set_aside(path: Path, junk: bytes) -> None:
    """Losing it loses no data: it is begun anew, kept, and said."""
    path.write_bytes(junk)

    ledger, warning = open_ledger(path)
    with closing(ledger):
        ledger.record([BARE])

    assert warning is not None
    assert "ledger.unreadable" in warning
    assert path.with_name("ledger.unreadable").read_bytes() == junk
    assert list(read_all(path)) == [BARE]


def test_a_ledger_that_is_torn_inside_is_set_aside_too(path: Path) -> None:
    """A good first page shows nothing of the others."""
    write(path, *(FileRecord(name=f"{number:05}", state="done") for number in range(2000)))
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))

    ledger, warning = open_ledger(path)

    with closing(ledger):
        assert warning is not None
        assert ledger.find(["00001"]) == {}


def test_a_good_ledger_is_opened_without_a_word(path: Path) -> None:
    """No message where there is nothing to say, new or old."""
    for _ in range(2):
        ledger, warning = open_ledger(path)
        ledger.close()

        assert warning is None


def test_a_locked_ledger_is_not_thrown_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run's long transaction is no fault of the file."""
    monkeypatch.setattr("wgetpool.ledger.BUSY_TIMEOUT", 0.0)
    write(path, FULL)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        with pytest.raises(LedgerError, match="locked"):
            open_ledger(path)

    assert list(read_all(path)) == [FULL]


def test_two_runs_write_to_one_ledger(path: Path) -> None:
    """Each through its own connection; both see what the other has recorded."""
    with closing(Ledger(path)) as one, closing(Ledger(path)) as other:
        one.record([FULL])
        other.record([BARE])

        assert set(one.find([FULL.name, "b"])) == set(other.find([FULL.name, "b"]))


def test_an_onlooker_reads_while_a_run_writes(path: Path, ledger: Ledger) -> None:
    """It sees what was committed, and holds nobody up."""
    ledger.record([FULL])
    with ledger.transaction():
        ledger.record([BARE])

        seen = list(read_all(path))

    assert seen == [FULL]
    assert list(read_all(path)) == [BARE, FULL]  # by name


def test_an_onlooker_makes_nothing(path: Path) -> None:
    """Where there is no ledger there is none afterwards."""
    with pytest.raises(LedgerError):
        read_all(path)

    assert list(path.parent.iterdir()) == []


def test_an_onlooker_reads_after_a_writer_was_killed_in_its_commit(path: Path) -> None:
    """A journal that is left behind is not the onlooker's fault: it sees the last good state."""
    write(path, FULL, *(FileRecord(name=f"{number:05}", state="done") for number in range(2000)))
    crashed = path.with_name("crashed.sqlite3")
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = TRUNCATE")
        writer.execute("PRAGMA cache_size = 5")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE files SET reason = 'half done'")
        for suffix in ("", "-journal"):  # what a SIGKILL leaves at this instant
            (path.parent / (crashed.name + suffix)).write_bytes(
                (path.parent / (path.name + suffix)).read_bytes()
            )
        writer.execute("ROLLBACK")

    seen = {record.name: record for record in read_all(crashed)}

    assert seen[FULL.name] == FULL


@pytest.mark.parametrize(("column", "value"), [("proof", None), ("size", "many")])
def test_a_damaged_row_is_an_error_of_the_ledger(path: Path, column: str, value: object) -> None:
    """Whoever reads it says that it cannot be read."""
    write(path, FULL)
    with closing(sqlite3.connect(path)) as db:
        (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'files'").fetchone()
        db.execute("ALTER TABLE files RENAME TO old")
        db.execute(sql.replace("NOT NULL", ""))
        db.execute("INSERT INTO files SELECT * FROM old")
        db.execute(f"UPDATE files SET {column} = ?", (value,))
        db.commit()

    with pytest.raises(LedgerError):
        list(read_all(path))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE samples SET at = '2026-03-01T15u28'",
        "UPDATE samples SET at = '2026-03-01T15:28:00'",
        "UPDATE samples SET received = 'x'",
        "UPDATE samples SET seconds = 9e999",
        "UPDATE attempts SET seconds = 9e999",
        "UPDATE attempts SET received = 'x'",
        "UPDATE attempts SET started = ''",
        "UPDATE attempts SET reason = x'00ff'",
    ],
)
def test_damaged_history_is_passed_over(ledger: Ledger, path: Path, damage: str) -> None:
    """It is only told of: no run, and no look at one, fails for it."""
    ledger.record([attempt(1), sample("r", 1)])
    ledger._db.execute(damage)

    attempts, samples = read_attempts(path, "b"), read_samples(path)

    assert samples == ledger.last_samples("")
    assert (len(attempts), len(samples)) == ((1, 0) if "samples" in damage else (0, 1))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE files SET reason = x'00ff'",
        "UPDATE files SET size = 'x'",
        "UPDATE files SET name = 'a' || char(0)",
    ],
)
def test_a_damaged_row_of_a_file_is_an_error_of_the_ledger(
    ledger: Ledger, path: Path, damage: str
) -> None:
    """What is done is not guessed at."""
    ledger.record([FULL])
    ledger._db.execute(damage)

    with pytest.raises(LedgerError, match="damaged"):
        list(read_all(path))


def test_a_schema_that_is_no_text_is_an_error_of_the_ledger(path: Path) -> None:
    """A flipped byte in it: the ledger is set aside, and whoever looks is told."""
    write(path, FULL)
    data = bytearray(path.read_bytes())
    data[data.index(b"CREATE TABLE samples") + 2] = 0xF7
    path.write_bytes(data)

    with pytest.raises(LedgerError):
        list(read_all(path))
    fresh, warning = open_ledger(path)
    fresh.close()
    assert "set aside" in (warning or "")
    assert list(read_all(path)) == []
