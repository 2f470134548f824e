"""The ledger: what is done and how it was proved, what failed and why. One SQLite file in
DIR/.wgetpool/.

Never a query string. One thread owns a connection; other runs and `status` read and write through
their own. Losing the ledger loses no data. No WAL: it does not work on network file systems.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from wgetpool.model import FileRecord

SCHEMA_VERSION = 2
SCHEMA = """
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
    finished TEXT,             -- ISO 8601 with offset
    sha256 TEXT                -- hexadecimal; since schema 2
) WITHOUT ROWID;
"""
COLUMNS = "name, state, size, inode, proof, attempts, reason, class, seconds, finished, sha256"
COLUMNS_1 = COLUMNS.replace("sha256", "NULL")  # of a ledger that no run has migrated yet
# Our failure does not undo what another run has done meanwhile.
PUT = f"""
INSERT INTO files ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (name) DO UPDATE SET ({COLUMNS}) = (
    excluded.name, excluded.state, excluded.size, excluded.inode, excluded.proof,
    excluded.attempts, excluded.reason, excluded.class, excluded.seconds, excluded.finished,
    excluded.sha256)
WHERE excluded.state != 'failed' OR files.state NOT IN ('publishing', 'done')
"""  # noqa: S608  constants only
EXPECT = """
INSERT OR IGNORE INTO files (name, state, size, proof, attempts) VALUES (?, 'pending', ?, '', 0)
"""
BUSY_TIMEOUT = 30.0  # seconds to wait for another run's transaction
CHUNK = 500  # names in one query; SQLite before 3.32 takes 999 at most


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
        except BaseException:
            self._db.close()
            raise

    def _migrate(self) -> None:
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        with self.transaction():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._db.execute(SCHEMA)
            elif version == 1:
                self._db.execute("ALTER TABLE files ADD COLUMN sha256 TEXT")
            if version < SCHEMA_VERSION:
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        if version > SCHEMA_VERSION:
            # Not the file's fault: it is left as it is.
            raise sqlite3.OperationalError(f"a newer wgetpool wrote it (schema {version}): update")

    def find(self, names: Sequence[str]) -> dict[str, FileRecord]:
        """What is known of these names."""
        found: dict[str, FileRecord] = {}
        for start in range(0, len(names), CHUNK):
            chunk = names[start : start + CHUNK]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT {COLUMNS} FROM files WHERE name IN ({marks})"  # noqa: S608  only marks
            found.update((row[0], _record(row)) for row in self._db.execute(query, chunk))
        return found

    def record(self, records: Iterable[FileRecord]) -> None:
        """Writes the records; outside of a transaction in one of their own."""
        rows = [_row(record) for record in records]
        if not rows:
            return
        with nullcontext() if self._db.in_transaction else self.transaction():
            self._db.executemany(PUT, rows)

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


def read_all(path: Path) -> Iterator[FileRecord]:
    """All records by name, for onlookers: takes no lock for longer than it reads, and changes
    nothing, but for rolling back what a killed writer left half done.
    """
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_TIMEOUT)
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        columns = COLUMNS if version != 1 else COLUMNS_1
        query = f"SELECT {columns} FROM files ORDER BY name"  # noqa: S608  constants only
        rows = db.execute(query).fetchall() if version else []  # none: a run is just making it
    finally:
        db.close()
    return iter([_record(row) for row in rows])


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
        record.seconds,
        record.finished,
        record.sha256,
    )


def _record(row: tuple[Any, ...]) -> FileRecord:
    name, state, size, inode, proof, attempts, reason, class_, seconds, finished, sha256 = row
    if not isinstance(proof, str) or not isinstance(size, int | None):
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
        seconds=seconds,
        finished=finished,
        sha256=sha256,
    )
