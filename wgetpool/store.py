"""DIR as a place: its paths and their modes, its folders, the locks of runs.

What it never does: look into a file, but for the lock files of runs. Any thread; nothing here keeps
state but the open lock of a run.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from wgetpool.errors import MachineError
from wgetpool.locks import NO_LOCKS, LockSupport, probe, try_lock

STATE = ".wgetpool"
UNLOCKED = "unlocked"  # the last word in the lock file of a run without locks


@dataclass(frozen=True, slots=True)
class Store:
    """The paths below DIR. `directory` is absolute; `locking` is false where its locks do not hold
    and the user goes without.

    Those of files are asked for several times a file: made from text, which costs a third of `/`.
    """

    directory: Path
    locking: bool = True

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

    def demand_locks(self) -> None:
        """Raises MachineError where DIR's locks do not hold, or nothing can be written."""
        try:
            support = probe(self.state)
        except OSError as error:
            raise self._cannot_be_written(error) from error
        if support is not LockSupport.HOLD:
            raise MachineError(
                f"{self.directory} cannot be guarded against a second run: {support.reason}. "
                "Name a folder on another file system with -o, or go on with --no-lock where "
                "nobody else works on this one."
            )

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
    as the run is dead. Where locks do not hold, its file says so.
    """

    def __init__(self, store: Store, run: str) -> None:
        self._store, self._run = store, run
        # Locked before it has its name: whoever sees the name sees the lock.
        unnamed = store.state / f"run-{run}"
        self._descriptor = os.open(
            unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
        try:
            try_lock(self._descriptor, needed=store.locking)
            held = store.locking or probe(store.state) is LockSupport.HOLD
            words = _signature(str(os.getpid())) + ([] if held else [UNLOCKED])
            os.write(self._descriptor, f"{' '.join(words)}\n".encode())
            unnamed.rename(store.runs / run)
        except OSError:
            os.close(self._descriptor)
            unnamed.unlink()
            raise

    def release(self) -> None:
        self._store.forget_run(self._run)
        os.close(self._descriptor)


def is_locked(path: Path) -> bool:
    """Whether the run of this lock file is alive; one whose file is gone is not. Its lock tells,
    and where that means nothing, its signature.
    """
    try:
        with path.open("rb") as file:
            try:
                if not try_lock(file.fileno(), shared=True):
                    return True
                locking = True
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
                locking = False
            words = file.read().decode(errors="replace").rstrip("\n").split(" ")
    except FileNotFoundError:
        return False
    return (not locking or words[4:] == [UNLOCKED]) and _lives(words)


def _signature(pid: str) -> list[str]:
    """Who the process with this pid is, here and now: pid, host name, boot, start."""
    return [pid, os.uname().nodename, boot_id(), _start_of(pid)]


def _lives(words: list[str]) -> bool:
    """Whether the process that signed a lock file is there, or on another machine, where nobody
    here can see it. An old file holds the pid alone.
    """
    here = _signature(words[0])
    if len(words) == 1:
        return here[3] != ""
    return words[1] != here[1] or words[:4] == here


def _start_of(pid: str) -> str:
    """In ticks since the boot; empty for a process that has ended, or where /proc does not tell."""
    try:
        stat = Path(f"/proc/{int(pid)}/stat").read_bytes()
    except (OSError, ValueError):
        return ""
    state, *fields = stat.rpartition(b")")[2].decode().split()  # from the third on, proc(5)
    return "" if state in {"Z", "X"} else fields[18]


def length_of(path: Path) -> int:
    """In bytes; 0 where there is no file, or none that can be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def sync_folder(folder: Path) -> None:
    """Makes renames in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@cache
def booted_at() -> float:
    """When the machine came up, in seconds of the epoch; 0 where the system does not tell."""
    try:
        text = Path("/proc/stat").read_text()
    except OSError:
        return 0.0
    return float(next((line[6:] for line in text.splitlines() if line.startswith("btime ")), 0))


@cache
def boot_id() -> str:
    """What tells this boot of the machine from every other; empty where the system does not
    tell.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
