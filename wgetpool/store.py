"""DIR as a place: its paths and their modes, its folders, the locks of runs.

What it never does: look into a file, but for the lock files of runs. Any thread; nothing here keeps
state but the open lock of a run.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from wgetpool.errors import MachineError
from wgetpool.locks import NO_LOCKS, LockSupport, probe, try_lock

STATE = ".wgetpool"
UNLOCKED = "unlocked"  # the last word in the lock file of a run without locks
_SIGNATURE = re.compile(
    r"(?P<pid>[0-9]{1,9})"  # an old file holds no more
    rf"(?: (?P<host>.+) (?P<boot>\S*) (?P<start>[0-9]*)(?P<mark> {UNLOCKED})?)?\n?"
)


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

    def records(self) -> list[Path]:
        """The records of parts that are there."""
        with suppress(OSError):
            return list((self.state / "parts").glob("*.json"))
        return []

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

    def free(self) -> int | None:
        """Bytes that are free for this user where DIR is, or will be; None where the system does
        not tell.
        """
        for folder in (self.directory, *self.directory.parents):
            try:
                told = os.statvfs(folder)
            except FileNotFoundError:
                continue
            except OSError:
                return None
            return told.f_bavail * told.f_frsize
        return None

    def dead_runs(self) -> list[str]:
        """The ids of runs that ended without taking back their lock: they were killed, or the
        machine went down.
        """
        return [known.run for known in self.known_runs() if not known.alive]

    def live_runs(self) -> list[str]:
        """The ids of the runs that work on DIR now."""
        return [known.run for known in self.known_runs() if known.alive]

    def known_runs(self) -> list[KnownRun]:
        """The runs, alive and dead, whose lock files are there."""
        names: list[str] = []
        with suppress(FileNotFoundError):
            names = sorted(path.name for path in self.runs.iterdir())
        return [known for known in map(self.look_at_run, names) if known is not None]

    def look_at_run(self, run: str) -> KnownRun | None:
        """As it is now; None where its lock file is gone. Its lock tells whether it is alive, and
        where that means nothing, its signature.
        """
        try:
            with (self.runs / run).open("rb") as file:
                locked = _is_locked(file.fileno())
                signature = Signature.parse(os.fsdecode(file.read()))
        except FileNotFoundError:
            return None
        if not locked and signature is not None and (locked is None or signature.unlocked):
            locked = signature.is_alive()
        return KnownRun(run=run, alive=bool(locked), signature=signature)

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
        if isinstance(error, FileExistsError | NotADirectoryError):
            path = Path(error.filename)
            there = next(each for each in (path, *path.parents) if each.exists())
            why = "" if there == self.directory else f" cannot be made: {there}"
            return MachineError(f"{self.directory}{why} is no folder. Name another one with -o.")
        where = f" ({error.filename})" if error.filename else ""
        return MachineError(
            f"{self.directory} cannot be written: {error.strerror}{where}. "
            "Name a folder that you may write with -o, or make room."
        )


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
            signature = replace(Signature.of(os.getpid()), unlocked=not held)
            os.write(self._descriptor, os.fsencode(f"{signature}\n"))
            unnamed.rename(store.runs / run)
        except OSError:
            os.close(self._descriptor)
            unnamed.unlink()
            raise

    def release(self) -> None:
        self._store.forget_run(self._run)
        os.close(self._descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Who holds the lock of a run: enough to know the process again. `start` is in ticks since the
    boot. Empty is what the system did not tell, and in an old lock file all but the pid.
    """

    pid: int
    host: str = ""
    boot: str = ""
    start: str = ""
    unlocked: bool = False

    @classmethod
    def of(cls, pid: int) -> Signature:
        """Of the process that has this pid here and now."""
        return cls(pid=pid, host=os.uname().nodename, boot=boot_id(), start=_start_of(pid))

    @classmethod
    def parse(cls, text: str) -> Signature | None:
        """What a lock file holds; None where that is no signature."""
        if (found := _SIGNATURE.fullmatch(text)) is None:
            return None
        host, boot, start = (found[key] or "" for key in ("host", "boot", "start"))
        unlocked = found["mark"] is not None
        return cls(pid=int(found["pid"]), host=host, boot=boot, start=start, unlocked=unlocked)

    def __str__(self) -> str:
        words = [str(self.pid), self.host, self.boot, self.start, *[UNLOCKED] * self.unlocked]
        return " ".join(words) if self.host else words[0]

    @property
    def is_elsewhere(self) -> bool:
        """On another machine (or in another container), whose processes nobody here can see."""
        return self.host not in {"", os.uname().nodename}

    def is_alive(self) -> bool:
        """Whether the process is there, as far as can be seen from here."""
        here = Signature.of(self.pid)
        if not self.host:
            return here.start != ""
        return self.is_elsewhere or replace(self, unlocked=False) == here


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRun:
    """A run whose lock file is in DIR; no signature where the file holds none."""

    run: str
    alive: bool
    signature: Signature | None

    @property
    def is_elsewhere(self) -> bool:
        return self.signature is not None and self.signature.is_elsewhere

    @property
    def whereabouts(self) -> str:
        """'pid 7', 'pid 7 on another-host'."""
        if self.signature is None:
            return "pid unknown"
        return f"pid {self.signature.pid}" + f" on {self.signature.host}" * self.is_elsewhere

    @property
    def is_stopped(self) -> bool:
        """Whether its process stands still here, by Ctrl-Z or SIGSTOP."""
        pid = self.signature.pid if self.signature else 0
        return not self.is_elsewhere and _state_of(pid)[0] in {"T", "t"}

    def is_process(self, pid: int) -> bool:
        """Whether the process that has this pid here and now is the run: it is the one that signed,
        and has the lock file open. Raises PermissionError where it is another user's.
        """
        signed = self.signature
        if signed is None or signed.pid != pid or signed.is_elsewhere or not signed.is_alive():
            return False
        # Pids in another container, or one without a start, may be anybody's. The name of the
        # lock file is nobody else's.
        return any(path.name == self.run for path in _open_files(pid))


def _is_locked(descriptor: int) -> bool | None:
    """None where there are no locks."""
    try:
        return not try_lock(descriptor, shared=True)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return None


def _open_files(pid: int) -> Iterator[Path]:
    gone = suppress(FileNotFoundError, ProcessLookupError)
    with gone:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with gone:
                yield link.readlink()


def _start_of(pid: int) -> str:
    """In ticks since the boot; empty for a process that has ended, or where /proc does not tell."""
    state, start = _state_of(pid)
    return "" if state in {"Z", "X"} else start


def _state_of(pid: int) -> tuple[str, str]:
    """State and start; empty where /proc does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "", ""
    state, *fields = stat.rpartition(b")")[2].decode().split()  # from the third on, proc(5)
    return state, fields[18]


def length_of(path: Path) -> int:
    """In bytes; 0 where there is no file, or none that can be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def names_in(folder: Path) -> frozenset[str]:
    """What is in a folder; nothing where there is none, or none that can be looked into."""
    try:
        with os.scandir(folder) as found:
            return frozenset(entry.name for entry in found)
    except OSError:
        return frozenset()


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
