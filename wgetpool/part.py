"""What the bytes of one part are worth: claim, record, cut, comparison, publishing.

A part is `DIR/NAME.part`. Whoever works on it holds its claim, a lock that lives as long as a
process that may write to it, an orphaned wget included. Before an attempt continues a part, the
part's last bytes are taken off it (the cut) and kept in its record, so that what the server sends
next begins with just those bytes. While a record has an open cut nobody trusts what lies behind the
cut: `settle` decides, whoever was killed at whatever moment. And after the machine went down only
those bytes are trusted that are known to be on the disk.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from wgetpool.locks import try_lock
from wgetpool.model import FileId, RemoteFile, WholePart
from wgetpool.policy import OVERLAP, are_uniform
from wgetpool.store import Store, boot_id, booted_at, length_of, sync_folder

UNRECORDED = 1 << 28  # bytes that may come before a part has a record, at the very most
WORTH_A_SYNC = 1 << 20  # bytes that are new in a part


@dataclass(frozen=True, slots=True)
class Cut:
    """`taken` are the bytes that stood at `offset` before the part was cut there, at most OVERLAP
    of them.
    """

    offset: int
    taken: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """What a part was made from: its past, apart from the part. Never a query string.

    Its first `synced` bytes were on the disk while the machine was up as `boot`.
    """

    name: str
    url_path: str = ""
    remote: RemoteFile = field(default_factory=RemoteFile)
    cut: Cut | None = None
    synced: int = 0
    boot: str = ""

    def to_json(self) -> str:
        cut = self.cut and {
            "offset": self.cut.offset,
            "taken": base64.b64encode(self.cut.taken).decode(),
        }
        return json.dumps(
            {
                "name": self.name,
                "url_path": self.url_path,
                "size": self.remote.size,
                "etag": self.remote.etag,
                "last_modified": self.remote.last_modified,
                "cut": cut,
                "synced": self.synced,
                "boot": self.boot,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Raises ValueError, KeyError or TypeError for what is no record."""
        data = json.loads(text)
        cut = data["cut"] and Cut(
            _length(data["cut"]["offset"]), base64.b64decode(data["cut"]["taken"])
        )
        remote = RemoteFile(
            size=None if data["size"] is None else _length(data["size"]),
            etag=data["etag"],
            last_modified=data["last_modified"],
        )
        synced, boot = _length(data.get("synced", 0)), str(data.get("boot", ""))
        return cls(data["name"], data["url_path"], remote, cut, synced, boot)


def _length(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise ValueError(f"{value!r} is no length in bytes")
    return value


class Part:
    """A claimed part. Leaving the `with` block gives the claim back."""

    def __init__(self, store: Store, name: str, path: Path, descriptor: int) -> None:
        self.name, self.path, self.descriptor = name, path, descriptor
        self._store = store
        self.recorded = False  # whether a record is there, as far as this claim knows
        self._handed_over = False

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the claim: an unlock would free it for a wget that lives on, too. An empty part is
        not kept.
        """
        if self._handed_over:
            return
        with suppress(OSError):
            found = os.fstat(self.descriptor)
            if found.st_size == 0 and _is_named(found, self.path):
                self.forget()
                self.path.unlink()
        os.close(self.descriptor)

    @cached_property
    def record(self) -> Record:
        """The part's past. An empty part has none: whatever a record says is of bytes that are
        gone. Where it cannot be understood, it may have had an open cut: the part starts anew.
        """
        if not self.length():
            return Record(self.name)
        try:
            return _load_record(self._record_path, self.name)
        except _UNREADABLE:
            os.ftruncate(self.descriptor, 0)
            return Record(self.name)

    @cached_property
    def _record_path(self) -> Path:
        return self._store.record(self.name)

    def hand_over(self) -> int:
        """The open descriptor, whose next owner has the claim from now on."""
        self._handed_over = True
        return self.descriptor

    def length(self) -> int:
        return os.fstat(self.descriptor).st_size

    def inode(self) -> int:
        return self.stat().st_ino

    def stat(self) -> os.stat_result:
        return os.fstat(self.descriptor)

    def is_hollow(self) -> bool:
        """Whether pieces of a part that somebody else began never came: a tool that makes room
        first leaves holes.
        """
        return not self.record.boot and has_hole(self.descriptor)

    def settle(self) -> None:
        """Makes of what a killed attempt left behind a part that can be continued.

        What came behind an open cut goes, and the part is put back as it was: nobody has seen the
        head that these bytes came with, and they may be another file's, equal only at their
        beginning. When the machine has been down in between, what was not on the disk before may be
        anything, zeros mostly: it goes, too.
        """
        if self._is_of_an_earlier_boot():
            os.ftruncate(self.descriptor, 0)
        self.put_back()
        if self.record.boot not in {"", boot_id()}:
            if self.length() > self.record.synced:
                os.ftruncate(self.descriptor, self.record.synced)
            self._save(replace(self.record, boot=boot_id()), durable=True)

    def _is_of_an_earlier_boot(self) -> bool:
        """Whether this may be a part of our own that the machine went down with before it had a
        record: then it is short, and anything may be in it.
        """
        found = self.stat()
        young = 0 < found.st_size <= UNRECORDED
        return young and found.st_mtime < booted_at() and self.record == Record(self.name)

    def put_back(self) -> None:
        """Closes an open cut: the bytes that were taken are on the disk again, and nothing else."""
        cut = self.record.cut
        if cut is None:
            return
        if self.length() >= cut.offset:
            # What came goes first: whoever dies in between leaves nothing that could be compared.
            os.ftruncate(self.descriptor, cut.offset)
            os.pwrite(self.descriptor, cut.taken, cut.offset)
            os.fsync(self.descriptor)
        self._save(replace(self.record, cut=None))

    def sync(self) -> None:
        """Has what the part holds now on the disk, and notes that it is there."""
        length = self.length()
        if self.record.cut is None and length - self.record.synced >= WORTH_A_SYNC:
            os.fdatasync(self.descriptor)
            self._save(replace(self.record, synced=length, boot=boot_id()), durable=True)

    def cut_at(self, offset: int) -> None:
        """Takes the bytes from `offset` on off the part; 0 starts it anew. The record is on the
        disk before the cut.
        """
        if offset == 0:
            os.ftruncate(self.descriptor, 0)
            self.forget()  # also one that outlived its part: its cut is not of these bytes
            return
        cut = Cut(offset, os.pread(self.descriptor, OVERLAP, offset))
        synced = min(self.record.synced, offset)
        if not self.record.boot:  # somebody else's: nobody knows what of it is on the disk
            os.fdatasync(self.descriptor)
            synced = offset
        record = replace(self.record, cut=cut, synced=synced, boot=boot_id())
        self._save(record, durable=True)
        os.ftruncate(self.descriptor, offset)

    def compare(self) -> tuple[bool | None, bool]:
        """Whether the bytes that came are those that were taken, and whether these all have one
        value.

        None while too few have come and no byte differs; also without a cut.
        """
        cut = self.record.cut
        if cut is None:
            return None, False
        came = os.pread(self.descriptor, len(cut.taken), cut.offset)
        uniform = are_uniform(cut.taken)
        if came != cut.taken[: len(came)]:
            return False, uniform
        return (True if len(came) == len(cut.taken) else None), uniform

    def accept(self, remote: RemoteFile, url_path: str, *, durable: bool = True) -> None:
        """What the part holds now is this remote file's: closes the cut and remembers the
        validators.
        """
        synced = min(self.record.synced, self.length())
        record = Record(self.name, url_path, remote, synced=synced, boot=boot_id())
        if record != self.record:
            self._save(record, durable=durable)

    def take_over(self, path: Path, looked_at: FileId) -> bool:
        """Makes the file at `path` the part, under the same claim; its own bytes are given up.
        False where that cannot be: somebody works on it, or it has other names.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            locked = try_lock(descriptor, needed=self._store.locking)
            status = os.fstat(descriptor)
            same = FileId.of(status) == looked_at and _is_named(status, path)
            if not locked or not same or status.st_nlink > 1:
                os.close(descriptor)
                return False
            self.forget()  # the old part's past is not that of the new one
            os.fchmod(descriptor, stat.S_IMODE(self.stat().st_mode))  # what the umask gives
            path.rename(self.path)
            sync_folder(path.parent)
        except OSError:
            os.close(descriptor)
            return False
        os.close(self.descriptor)
        self.descriptor = descriptor
        return True

    def reject(self) -> Path:
        """Moves the part out of the way, to where a person can look at it; the last one is kept."""
        target = self._store.rejected(self.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        self.forget()
        return target

    def forget(self) -> None:
        """Removes the record: the part has no past any more."""
        self._record_path.unlink(missing_ok=True)
        self.record, self.recorded = Record(self.name), False

    def _save(self, record: Record, *, durable: bool = False) -> None:
        fresh = self._record_path.with_suffix(".new")
        with fresh.open("w") as file:
            file.write(record.to_json())
            if durable:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(self._record_path)
        if durable:
            sync_folder(self._record_path.parent)
        self.record, self.recorded = record, True


def claim(store: Store, name: str) -> Part | None:
    """The part of this name, made where there is none; None while somebody else holds it. Raises
    OSError.

    After locking, the descriptor must still be what the name leads to: else the lock is one on a
    file that was published, or removed, in between.
    """
    path = store.part(name)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            if not try_lock(descriptor, needed=store.locking):
                os.close(descriptor)
                return None
            found = os.fstat(descriptor)
            if _is_named(found, path):
                _demand_regular(found, path)
                if found.st_nlink == 1:
                    return Part(store, name, path, descriptor)
                path.unlink()  # the file has another name, and stays as it is under that one
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def tidy(store: Store, name: str) -> None:
    """Removes an empty part that a killed run has left beside its finished file. Raises OSError."""
    if os.path.lexists(store.part(name)) and (part := claim(store, name)):
        with part:
            pass


def peek(store: Store, name: str, *, want_size: bool) -> tuple[int, int | None]:
    """A part's length now, and the size that the server told, from its record. For onlookers: takes
    no claim.
    """
    size = None
    if want_size:
        with suppress(OSError, *_UNREADABLE):
            size = _load_record(store.record(name), name).remote.size
    return length_of(store.part(name)), size


def recorded_sizes(store: Store) -> dict[str, int]:
    """The sizes that servers have told of the parts with records, by name. For onlookers."""
    records = []
    for path in store.records():
        with suppress(OSError, *_UNREADABLE):
            records.append(Record.from_json(path.read_text()))
    return {one.name: one.remote.size for one in records if one.remote.size is not None}


def publish(
    store: Store,
    batch: Sequence[WholePart],
    *,
    modified_at: Callable[[WholePart], float | None],
    before_rename: Callable[[list[WholePart]], None],
) -> dict[str, OSError | None]:
    """Gives whole parts their final names: all on the disk, then all renamed, then their folders on
    the disk.

    `before_rename` is called in between with those that will be renamed. Returns an error for each
    name that was not published; None stands for success. A crash at any point leaves a part, or a
    whole file that the caller knows of.
    """
    done: dict[str, OSError | None] = {}
    with ExitStack() as claims:
        checked: list[tuple[WholePart, Part]] = []
        for whole in batch:
            part = Part(store, whole.name, store.part(whole.name), whole.claim)
            claims.enter_context(part)
            try:
                if whole.adopted:
                    _sync_adopted(store.final(whole.name), whole.adopted)
                    checked.append((whole, part))
                    continue
                _demand_unchanged(part, whole)
                if (at := modified_at(whole)) is not None:
                    os.utime(part.descriptor, (at, at))
                if len(batch) > 1:
                    _begin_to_write(part.descriptor)
                checked.append((whole, part))
            except OSError as error:
                done[whole.name] = error
        held: list[tuple[WholePart, Part]] = []
        for whole, part in checked:
            try:
                os.fsync(part.descriptor)
                held.append((whole, part))
            except OSError as error:
                done[whole.name] = error
        before_rename([whole for whole, _ in held])
        for whole, part in held:
            try:
                if whole.adopted:
                    os.ftruncate(part.descriptor, 0)  # begun beside it, and not needed
                else:
                    _rename(store, whole)
                done[whole.name] = None
                if whole.recorded:
                    with suppress(OSError):
                        part.forget()
            except OSError as error:
                done[whole.name] = error
        renamed = [whole.name for whole, _ in held if done[whole.name] is None]
        done |= _sync_folders(store, renamed)
    return done


def _sync_folders(store: Store, names: Iterable[str]) -> dict[str, OSError | None]:
    """Makes the renames survive a power cut, and the folders in DIR that were made for them."""
    errors: dict[Path, OSError | None] = {}

    def error_of(folder: Path) -> OSError | None:
        if folder not in errors:
            try:
                sync_folder(folder)
                errors[folder] = None
            except OSError as error:
                errors[folder] = error
        return errors[folder]

    return {name: next(filter(None, map(error_of, store.folders_of(name))), None) for name in names}


def _demand_unchanged(part: Part, whole: WholePart) -> None:
    """What was proved is this file with this size: not what a stranger has put there since."""
    found = os.fstat(part.descriptor)
    if found.st_size != whole.size or not _is_named(found, part.path):
        raise BlockingIOError(errno.EAGAIN, "somebody else has changed it", str(part.path))


def has_hole(descriptor: int) -> bool:
    """Whether the file has a hole, as far as its file system tells."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_HOLE) < os.fstat(descriptor).st_size
    except OSError:  # an empty file, or nothing is told
        return False


def _begin_to_write(descriptor: int) -> None:
    """Has the system put the file on the disk, without waiting: when all of a group are under way,
    the syncs that follow take half the time (ext4, 64 files of 10 KB: 15 ms instead of 32).
    """
    with suppress(OSError):  # advice only
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _sync_adopted(final: Path, looked_at: FileId) -> None:
    """Whoever wrote the file may not have waited for the disk."""
    descriptor = os.open(final, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if FileId.of(os.fstat(descriptor)) != looked_at:
            raise BlockingIOError(errno.EAGAIN, "somebody else has changed it", str(final))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename(store: Store, whole: WholePart) -> None:
    """Over a file only where this has been looked at, and is as it was then. It is kept when it is
    longer than what replaces it: a login page may have been served in its place.
    """
    final = store.final(whole.name)
    try:
        found = FileId.of(final.lstat())
    except FileNotFoundError:
        found = None
    if found not in {None, whole.replaces}:
        raise FileExistsError(
            errno.EEXIST, "a file of this name has appeared in DIR meanwhile", str(final)
        )
    if found is not None and found.size > whole.size:
        kept = store.rejected(whole.name)
        kept.parent.mkdir(parents=True, exist_ok=True)
        final.rename(kept)
    store.part(whole.name).rename(final)


def _is_named(found: os.stat_result, path: Path) -> bool:
    """Whether the name still leads to this file."""
    try:
        return os.path.samestat(found, path.lstat())
    except FileNotFoundError:
        return False


def _demand_regular(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file", str(path))


_UNREADABLE = (ValueError, KeyError, TypeError, RecursionError)  # what Record.from_json raises


def _load_record(path: Path, name: str) -> Record:
    """The record of this part; an empty one where there is none. Raises OSError: a record that
    cannot be read for now is not one that is not there.
    """
    try:
        # Whatever is there, a FIFO say, nobody waits for it.
        with open(path, opener=lambda name, how: os.open(name, how | os.O_NONBLOCK)) as file:
            record = Record.from_json(file.read())
    except FileNotFoundError:
        return Record(name)
    return record if record.name == name else Record(name)
