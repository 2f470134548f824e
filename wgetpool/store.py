"""DIR as a place: its paths and their modes, its folders, the locks of runs.

What it never does: look into a file. Any thread; nothing here keeps state but the open lock of a
run.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wgetpool.errors import MachineError

STATE = ".wgetpool"


@dataclass(frozen=True, slots=True)
class Store:
    """The paths below DIR. `directory` is absolute.

    Those of files are asked for several times a file: made from text, which costs a third of `/`.
    """

    directory: Path

    @property
    def state(self) -> Path:
        return self.directory / STATE

    @property
    def ledger(self) -> Path:
        return self.state / "ledger.sqlite3"

    @property
    def runs(self) -> Path:
        return self.state / "runs"

    def final(self, name: str) -> Path:
        return Path(f"{self.directory}/{name}")

    def part(self, name: str) -> Path:
        return Path(f"{self.directory}/{name}.part")

    def rejected(self, name: str) -> Path:
        return self.state / "rejected" / name

    def record(self, name: str) -> Path:
        """Where the part's record is. A digest, since a name may be as long as a file system
        allows.
        """
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        return Path(f"{self.directory}/{STATE}/parts/{digest}.json")

    def make(self) -> None:
        """Makes DIR and its state folder; raises MachineError."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.state.mkdir(mode=0o700, exist_ok=True)
            for folder in (self.runs, self.state / "parts", self.state / "rejected"):
                folder.mkdir(mode=0o700, exist_ok=True)
            self.state.chmod(0o700)
        except OSError as error:
            raise self._cannot_be_written(error) from error

    def make_folder(self, name: str) -> None:
        """Makes the folders that `name` asks for; raises OSError, also where one is a symbolic link
        out of DIR.
        """
        if "/" not in name:
            return
        folder = self.final(name).parent
        root, real = (Path(os.path.realpath(path)) for path in (self.directory, folder))
        if not real.is_relative_to(root):
            raise NotADirectoryError(
                errno.ENOTDIR, "a folder in its name is a symbolic link out of DIR", str(folder)
            )
        folder.mkdir(parents=True, exist_ok=True)

    def folders_of(self, name: str) -> list[Path]:
        """The folders that lead to the file, from its own up to DIR."""
        if "/" not in name:
            return [self.directory]
        folder = self.final(name).parent
        return [folder, *folder.parents][: len(folder.relative_to(self.directory).parts) + 1]

    def dead_runs(self) -> list[str]:
        """The ids of runs that ended without taking back their lock: they were killed, or the
        machine went down.
        """
        return [path.name for path in self._run_locks() if not is_locked(path)]

    def live_runs(self) -> list[str]:
        """The ids of the runs that work on DIR now."""
        return [path.name for path in self._run_locks() if is_locked(path)]

    def lock_run(self, run: str) -> RunLock:
        """The lock of a new run; raises MachineError where nothing can be written."""
        try:
            return RunLock(self, run)
        except OSError as error:
            raise self._cannot_be_written(error) from error

    def forget_run(self, run: str) -> None:
        with suppress(FileNotFoundError):
            (self.runs / run).unlink()

    def _cannot_be_written(self, error: OSError) -> MachineError:
        where = f" ({error.filename})" if error.filename else ""
        return MachineError(
            f"{self.directory} cannot be written: {error.strerror}{where}. "
            "Name a folder that you may write with -o, or make room."
        )

    def _run_locks(self) -> list[Path]:
        try:
            return sorted(self.runs.iterdir())
        except FileNotFoundError:
            return []


class RunLock:
    """The lock that tells a live run from a dead one. No child inherits it, so it is free as soon
    as the run is dead.
    """

    def __init__(self, store: Store, run: str) -> None:
        self._store, self._run = store, run
        # Locked before it has its name: whoever sees the name sees the lock.
        unnamed = store.state / f"run-{run}"
        self._descriptor = os.open(
            unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._descriptor, f"{os.getpid()}\n".encode())
            unnamed.rename(store.runs / run)
        except OSError:
            os.close(self._descriptor)
            unnamed.unlink()
            raise

    def release(self) -> None:
        self._store.forget_run(self._run)
        os.close(self._descriptor)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of this file; a file that is gone is not locked."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def sync_folder(folder: Path) -> None:
    """Makes renames in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
