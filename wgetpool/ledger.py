"""The ledger: what is done and how it was proved, what failed and why, each attempt, and how far
runs were from time to time. One SQLite file in DIR/.wgetpool/.

Never a query string. One thread owns a connection; other runs and `status` read and write through
their own. Losing the ledger loses no data. No WAL: it does not work on network file systems.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from wgetpool.model import AttemptRecord, FileRecord, Hold, Row, Sample

SCHEMA_VERSION = 3
# What each version of the schema added to the one before.
STEPS = (
    """
CREATE TABLE files (
    name TEXT PRIMARY KEY,
    state TEXT NOT NULL,       -- pending, publishing, done, failed
    size INTEGER,              -- bytes
    inode INTEGER,
    proof TEXT NOT NULL,       -- what shows that it is whole, separated by blanks
    attempts INTEGER NOT NULL, -- in the run that ended it
    reason TEXT,               -- of the last failure, for people
    class TEXT,
    seconds REAL,              -- from the first attempt of that run to its end
    finished TEXT              -- ISO 8601 with offset
) WITHOUT ROWID;
""",
    "ALTER TABLE files ADD COLUMN sha256 TEXT; -- hexadecimal",
    """
ALTER TABLE files ADD COLUMN cause TEXT;
CREATE TABLE attempts (
    name TEXT NOT NULL,
    number INTEGER NOT NULL,   -- of all at this file, in all runs
    run TEXT NOT NULL,
    attempt INTEGER NOT NULL,  -- in this run
    started TEXT NOT NULL,
    seconds REAL NOT NULL,
    bytes INTEGER NOT NULL,    -- in the part, at its end
    received INTEGER NOT NULL,
    ending TEXT NOT NULL,      -- done, adopted, failed, stopped, no_room, share
    status INTEGER,            -- of the last HTTP answer
    reason TEXT,
    class TEXT,
    cause TEXT,
    retry_in REAL,             -- seconds; NULL: no other attempt followed
    PRIMARY KEY (name, number)
) WITHOUT ROWID;
CREATE TRIGGER few_attempts AFTER INSERT ON attempts BEGIN
    DELETE FROM attempts WHERE name = NEW.name AND number <= NEW.number - 100;
END;
CREATE TABLE samples (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    at TEXT NOT NULL,
    seconds REAL NOT NULL,     -- since the run began
    files INTEGER NOT NULL,
    done INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    running INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    bytes INTEGER NOT NULL,    -- that were here
    received INTEGER NOT NULL, -- in this run
    size INTEGER               -- of all files together, where it was known
);
CREATE TRIGGER few_samples AFTER INSERT ON samples BEGIN
    DELETE FROM samples WHERE id <= NEW.id - 10000;
END;
""",
)
COLUMNS = (
    "name, state, size, inode, proof, attempts, reason, class, cause, seconds, finished, sha256"
)
NEWER = {"sha256": 2, "cause": 3}  # columns, and the schema that they came with
# Our failure does not undo what another run has done meanwhile.
PUT = f"""
INSERT INTO files ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (name) DO UPDATE SET ({COLUMNS}) = (
    excluded.name, excluded.state, excluded.size, excluded.inode, excluded.proof,
    excluded.attempts, excluded.reason, excluded.class, excluded.cause, excluded.seconds,
    excluded.finished, excluded.sha256)
WHERE excluded.state != 'failed' OR files.state NOT IN ('publishing', 'done')
"""  # noqa: S608  constants only
OF_ATTEMPT = (
    "run, attempt, started, seconds, bytes, received, ending, status, reason, class, cause,"
    " retry_in"
)
PUT_ATTEMPT = f"""
INSERT INTO attempts (name, number, {OF_ATTEMPT})
SELECT :name, 1 + coalesce(max(number), 0), :run, :attempt, :started, :seconds, :bytes, :received,
    :ending, :status, :reason, :class_, :cause, :retry_in
FROM attempts WHERE name = :name
"""  # noqa: S608  constants only
PUT_HOLD = """
UPDATE files SET reason = :reason, cause = :cause WHERE name = :name AND state = 'pending'
"""
OF_SAMPLE = (
    "run, at, seconds, files, done, skipped, failed, running, waiting, bytes, received, size"
)
PUT_SAMPLE = f"""
INSERT INTO samples ({OF_SAMPLE}) VALUES (:run, :at, :seconds, :files, :done, :skipped, :failed,
    :running, :waiting, :bytes, :received, :size)
"""  # noqa: S608  constants only
EXPECT = """
INSERT OR IGNORE INTO files (name, state, size, proof, attempts) VALUES (?, 'pending', ?, '', 0)
"""
BUSY_TIMEOUT = 30.0  # seconds to wait for another run's transaction
LATE = 64  # samples that tell how a run has gone of late
CHUNK = 500  # names in one query; SQLite before 3.32 takes 999 at most

T = TypeVar("T", AttemptRecord, Sample)

LedgerError = sqlite3.Error


class Ledger:
    """An open ledger. Raises sqlite3.Error where the file cannot be used."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            self._db.execute("PRAGMA journal_mode = TRUNCATE")
            self._db.execute("PRAGMA synchronous = FULL")
            self._migrate()
        except BaseException as error:
            self._db.close()
            if isinstance(error, ValueError):  # its own schema is no text
                raise sqlite3.DatabaseError(str(error)) from error
            raise

    def _migrate(self) -> None:
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        with self.transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            for step in STEPS[version:]:
                for statement in statements_of(step):
                    self._db.execute(statement)
            if version < SCHEMA_VERSION:
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        if version > SCHEMA_VERSION:
            # Not the file's fault: it is left as it is.
            raise sqlite3.OperationalError(f"a newer wgetpool wrote it (schema {version}): update")

    def find(self, names: Sequence[str]) -> dict[str, FileRecord]:
        """What is known of these names."""
        return _find(self._db, names)

    def record(self, rows: Iterable[Row]) -> None:
        """Writes the rows; outside of a transaction in one of their own."""
        rows = list(rows)
        if not rows:
            return
        files = [_row(row) for row in rows if isinstance(row, FileRecord)]
        with nullcontext() if self._db.in_transaction else self.transaction():
            self._db.executemany(PUT, files)
            kinds = ((AttemptRecord, PUT_ATTEMPT), (Sample, PUT_SAMPLE), (Hold, PUT_HOLD))
            for kind, put in kinds:
                self._db.executemany(put, [_values(row) for row in rows if isinstance(row, kind)])

    def last_samples(self, since: str) -> list[Sample]:
        """The latest of the last run that has any, in their order; none where they are older."""
        samples = _last_samples(self._db)
        return samples if samples and samples[-1].at >= since else []

    def expect(self, wanted: Iterable[tuple[str, int | None]]) -> None:
        """Notes names, with their sizes where they are told, that are not in the ledger yet."""
        with self.transaction():
            self._db.executemany(EXPECT, wanted)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is read and written inside is of one piece, also with other runs; on the disk when
        it ends.
        """
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # after a full disk it has been rolled back already
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._db.close()


def open_ledger(path: Path) -> tuple[Ledger, str | None]:
    """The ledger at `path`, made where there is none. One that cannot be read is set aside: then a
    sentence says so.
    """
    try:
        return Ledger(path), None
    except sqlite3.OperationalError:
        raise  # locked, or the disk: not the file's fault
    except sqlite3.DatabaseError as error:
        aside = path.with_suffix(".unreadable")
        path.replace(aside)
        with suppress(FileNotFoundError):
            path.with_name(path.name + "-journal").unlink()
        return Ledger(
            path
        ), f"The ledger cannot be read ({error}): set aside as {aside.name}, begun anew."


def statements_of(script: str) -> list[str]:
    """The statements of a script, one by one: sqlite3's own way would commit what is open."""
    statements, begun = [], ""
    for line in script.strip().splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            statements.append(begun)
            begun = ""
    return statements


# ---------------------------------------------------------------- for onlookers


def read_all(path: Path) -> Iterator[FileRecord]:
    """All records by name."""
    with _open_to_read(path) as (db, version):
        query = f"SELECT {_columns(version)} FROM files ORDER BY name"  # noqa: S608  constants only
        rows = db.execute(query).fetchall() if version else []  # none: a run is just making it
    return iter([_record(row) for row in rows])


def read_some(path: Path, names: Sequence[str]) -> dict[str, FileRecord]:
    """What is known of these names."""
    with _open_to_read(path) as (db, version):
        return _find(db, names, version) if version else {}


def read_sizes(path: Path) -> Iterator[tuple[str, bool, int | None]]:
    """Name, whether it is done, and size of all that is known: a million in a second or two."""
    with _open_to_read(path) as (db, version):
        query = "SELECT name, state IN ('publishing', 'done'), size FROM files"
        rows = db.execute(query).fetchall() if version else []
    return ((name, done > 0, size if isinstance(size, int) else None) for name, done, size in rows)


def read_size(path: Path) -> int:
    """The known sizes of all files, in bytes together."""
    with _open_to_read(path) as (db, version):
        query = "SELECT total(size) FROM files"
        return int(db.execute(query).fetchone()[0]) if version else 0


def read_names(path: Path, prefix: str, limit: int) -> list[str]:
    """The first names that begin so."""
    with _open_to_read(path) as (db, version):
        query = "SELECT name FROM files WHERE name >= ? ORDER BY name LIMIT ?"
        rows = db.execute(query, (prefix, limit)).fetchall() if version else []
    return [name for (name,) in rows if name.startswith(prefix)]


def read_samples(path: Path, run: str | None = None) -> list[Sample]:
    """The latest of a run, or of the last one that has any, in their order."""
    with _open_to_read(path) as (db, version):
        return _last_samples(db, run) if version >= 3 else []


def read_attempts(path: Path, name: str) -> list[tuple[int, AttemptRecord]]:
    """The attempts at one file, the oldest first, each with its number. The oldest of many are not
    kept.
    """
    with _open_to_read(path) as (db, version):
        query = f"SELECT number, name, {OF_ATTEMPT} FROM attempts WHERE name = ? ORDER BY number"  # noqa: S608
        rows = db.execute(query, (name,)).fetchall() if version >= 3 else []
    return [(row[0], made) for row in rows if (made := _make(AttemptRecord, row[1:]))]


@contextmanager
def _open_to_read(path: Path) -> Iterator[tuple[sqlite3.Connection, int]]:
    """The database and the version of its schema. Takes no lock for longer than it reads, and
    changes nothing, but for rolling back what a killed writer left half done.
    """
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT)
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        yield db, version
    except ValueError as error:  # what should be text is none
        raise sqlite3.DatabaseError(str(error)) from error
    finally:
        db.close()


def _columns(version: int) -> str:
    """Those of the files, as a ledger of this version has them."""
    missing = {name for name, since in NEWER.items() if version < since}
    return ", ".join("NULL" if name in missing else name for name in COLUMNS.split(", "))


def _find(
    db: sqlite3.Connection, names: Sequence[str], version: int = SCHEMA_VERSION
) -> dict[str, FileRecord]:
    found: dict[str, FileRecord] = {}
    columns = _columns(version)
    for start in range(0, len(names), CHUNK):
        chunk = names[start : start + CHUNK]
        marks = ",".join("?" * len(chunk))
        query = f"SELECT {columns} FROM files WHERE name IN ({marks})"  # noqa: S608  only marks
        found.update((row[0], _record(row)) for row in db.execute(query, chunk))
    return found


def _last_samples(db: sqlite3.Connection, run: str | None = None) -> list[Sample]:
    last = "SELECT run FROM samples ORDER BY id DESC LIMIT 1"
    of_run = f"SELECT * FROM samples WHERE run = coalesce(?, ({last})) ORDER BY id DESC LIMIT ?"  # noqa: S608
    rows = db.execute(f"SELECT {OF_SAMPLE} FROM ({of_run}) ORDER BY id", (run, LATE))  # noqa: S608
    made = (_make(Sample, row) for row in rows)
    return [one for one in made if one is not None]


def _values(row: AttemptRecord | Sample | Hold) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _make(kind: type[T], row: Sequence[Any]) -> T | None:
    """The row as what it should be; None where it is damaged: history is nothing to fail for."""
    values = dict(zip((field.name for field in fields(kind)), row, strict=True))
    for field in fields(kind):
        value = values[field.name]
        if not isinstance(value, _TYPES[str(field.type)]):
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if field.name in {"at", "started"} and not _is_time(value):
            return None
    return kind(**values)


_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": int | float,
    "str | None": str | None,
    "int | None": int | None,
    "float | None": int | float | None,
}


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _row(record: FileRecord) -> tuple[object, ...]:
    return (
        record.name,
        record.state,
        record.size,
        record.inode,
        " ".join(record.proof),
        record.attempts,
        record.reason,
        record.class_,
        record.cause,
        record.seconds,
        record.finished,
        record.sha256,
    )


def _record(row: tuple[Any, ...]) -> FileRecord:
    name, state, size, inode, proof, attempts, reason, class_, cause, seconds, finished, sha256 = (
        row
    )
    texts = (reason, class_, cause, finished, sha256)
    fit = isinstance(name, str) and isinstance(proof, str) and isinstance(size, int | None)
    if not fit or "\0" in name or not all(isinstance(text, str | None) for text in texts):
        raise sqlite3.DatabaseError(f"the row of {name!r} is damaged")
    return FileRecord(
        name=name,
        state=state,
        size=size,
        inode=inode,
        proof=tuple(proof.split()),
        attempts=attempts,
        reason=reason,
        class_=class_,
        cause=cause,
        seconds=seconds,
        finished=finished,
        sha256=sha256,
    )
