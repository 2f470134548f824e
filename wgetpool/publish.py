"""What is there already, what is published, what is written down: all that touches finished files
and the ledger.

One thread does all of it, in order, and that thread is never the main one: a slow disk holds up
publishing, not the scheduling. The order is the invariant: a file is on the disk before the ledger
says that it may appear, the ledger says so before it is renamed, and it is done when its folder is
on the disk.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto

from wgetpool.errors import MachineError
from wgetpool.failures import read_http_date
from wgetpool.ledger import LedgerError, open_ledger, read_all
from wgetpool.model import Clock, Entry, FailureClass, FileRecord, Row, WholePart
from wgetpool.pace import rate_at_end
from wgetpool.part import peek, publish, tidy
from wgetpool.store import Store

REMEMBERED = timedelta(days=1)  # for so long the rate of an earlier run tells something


class Presence(Enum):
    """What a survey finds under a file's final name."""

    ABSENT = auto()
    KNOWN = auto()  # there, and the ledger knows it with its size
    GONE = auto()  # the ledger knows it, DIR has it no more
    STRANGE = auto()  # there, but the ledger does not know it, or with another size


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One entry and what is there of it: `size` is that of the file, or of its part where there
    is no file.
    """

    entry: Entry
    presence: Presence
    size: int
    broken_sha256: str | None = None  # of what came in an earlier run, and was broken
    told_size: int | None = None  # for onlookers: by the list, else by the ledger


class Publisher:
    """Owns the ledger of a run. Every method runs in the one thread that made it. `last_rate` is
    what the run before it made at its end, in bytes a second, where that is not long ago.

    Raises MachineError where the ledger cannot be written.
    """

    def __init__(
        self, store: Store, *, clock: Clock, remote_time: bool, skip_gone: bool = False
    ) -> None:
        self._store, self._clock = store, clock
        self._remote_time, self._skip_gone = remote_time, skip_gone
        try:
            self._ledger, self.warning = open_ledger(store.ledger)
            since = (clock.wall() - REMEMBERED).isoformat(timespec="seconds")
            self.last_rate = rate_at_end(self._ledger.last_samples(since))
        except (LedgerError, OSError) as error:
            raise _unusable(store, error) from error

    def expect(self, entries: Iterable[Entry]) -> None:
        """Notes all that is wanted: what `status` counts."""
        try:
            self._ledger.expect((entry.name, entry.size) for entry in entries)
        except LedgerError as error:
            raise _unusable(self._store, error) from error

    def survey(self, entries: Sequence[Entry]) -> list[Surveyed]:
        """Looks up a chunk of entries."""
        try:
            with self._ledger.transaction():
                known = self._ledger.find([entry.name for entry in entries])
                surveyed = [look(self._store, entry, known.get(entry.name)) for entry in entries]
                self._ledger.record(self._changes(surveyed, known))
            for one in surveyed:  # of a run that was killed between its note and its end
                record = known.get(one.entry.name)
                if one.presence is Presence.KNOWN and record and record.state == "publishing":
                    with suppress(OSError):
                        tidy(self._store, one.entry.name)
        except LedgerError as error:
            raise _unusable(self._store, error) from error
        except OSError as error:
            raise MachineError(f"{error.filename} cannot be read: {error.strerror}.") from error
        return surveyed

    def record(self, rows: Iterable[Row]) -> None:
        """Writes down what needs no file."""
        try:
            self._ledger.record(rows)
        except LedgerError as error:
            raise _unusable(self._store, error) from error

    def publish(self, batch: Sequence[WholePart], rows: Iterable[Row]) -> dict[str, OSError | None]:
        """Publishes the batch. `rows` has the records of its files, and what else is to be written
        down.

        A record of a file that could not be renamed is not kept as done.
        """
        rows = list(rows)
        records = {row.name: row for row in rows if isinstance(row, FileRecord)}
        try:
            results = publish(
                self._store,
                batch,
                modified_at=self._modified_at,
                before_rename=lambda held: self._ledger.record(
                    replace(records[whole.name], state="publishing") for whole in held
                ),
            )
            self._ledger.record(
                row
                for row in rows
                if not isinstance(row, FileRecord) or results.get(row.name) is None
            )
        except LedgerError as error:
            raise _unusable(self._store, error) from error
        return results

    def close(self) -> None:
        self._ledger.close()

    def _changes(
        self, surveyed: Iterable[Surveyed], known: dict[str, FileRecord]
    ) -> Iterable[FileRecord]:
        """The records that a survey changes: what is wanted again, and what is done though its run
        died between rename and record.
        """
        for one in surveyed:
            record = known.get(one.entry.name)
            if record is None:
                yield FileRecord(name=one.entry.name, state="pending", size=one.entry.size)
            elif one.presence is Presence.KNOWN:
                if record.state == "publishing":
                    yield replace(record, state="done")
            elif record.state == "failed" or (
                record.state == "done" and not (one.presence is Presence.GONE and self._skip_gone)
            ):
                broken = _broken(record)
                kept = FailureClass.BROKEN if broken else None
                yield replace(record, state="pending", reason=None, class_=kept, sha256=broken)

    def _modified_at(self, whole: WholePart) -> float | None:
        """The modification time that the published file gets: now, or what the server told."""
        told = read_http_date(whole.last_modified) if self._remote_time else None
        return told.timestamp() if told else None


# What says that there is no such file. Where its folder is none, it fails for itself when tried.
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


def look(store: Store, entry: Entry, record: FileRecord | None) -> Surveyed:
    """What stands under the entry's final name, read-only."""
    try:
        found = os.lstat(store.final(entry.name))
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        gone = record is not None and record.state == "done"
        begun, _ = peek(store, entry.name, want_size=False)
        return Surveyed(entry, Presence.GONE if gone else Presence.ABSENT, begun, _broken(record))
    published = record is not None and (
        record.state == "done" or (record.state == "publishing" and record.inode == found.st_ino)
    )
    trusted = record is not None and published and stat.S_ISREG(found.st_mode)
    if trusted and record is not None and record.size == found.st_size and _agree(entry, record):
        return Surveyed(entry, Presence.KNOWN, found.st_size)
    return Surveyed(entry, Presence.STRANGE, found.st_size, _broken(record))


def _agree(entry: Entry, record: FileRecord) -> bool:
    """Whether the list says of a known file what the ledger does. A checksum that has never been
    held against the file does not agree.
    """
    if entry.size is not None and entry.size != record.size:
        return False
    return all(
        each.hex == record.sha256
        if each.algorithm == "sha256" and record.sha256
        else each.algorithm in record.proof
        for each in entry.checksums
    )


def _broken(record: FileRecord | None) -> str | None:
    """The sha256 of what came the last time, and was broken."""
    return record.sha256 if record and record.class_ == FailureClass.BROKEN else None


def survey_read_only(store: Store, entries: Sequence[Entry]) -> list[Surveyed]:
    """The same look as a run's, for one that makes nothing in DIR. Raises MachineError."""
    if store.ledger.exists() and not os.access(store.ledger, os.R_OK | os.W_OK):
        raise MachineError(f"{store.ledger} is another user's: look as who began it.")
    try:
        known = {record.name: record for record in read_all(store.ledger)}
    except LedgerError:
        known = {}
    found = (look(store, entry, known.get(entry.name)) for entry in entries)
    return [replace(one, told_size=_told_size(one.entry, known)) for one in found]


def _told_size(entry: Entry, known: dict[str, FileRecord]) -> int | None:
    record = known.get(entry.name)
    return entry.size if entry.size is not None or record is None else record.size


def _unusable(store: Store, error: Exception) -> MachineError:
    return MachineError(f"The ledger {store.ledger} cannot be written: {error}.")
