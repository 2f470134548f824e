"""Whether DIR still holds what the ledger says: reads all finished files again, in parallel.

Without `--fix` it writes nothing and may go on beside a run. It trusts no name: what is a symbolic
link, or lies behind one that leads out of DIR, is not read.
"""

from __future__ import annotations

import itertools
import json as jsonlib
import os
import stat
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import wait
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from wgetpool.crew import start_threads
from wgetpool.errors import ExitCode, MachineError, SourceError
from wgetpool.ledger import Ledger, LedgerError, read_all
from wgetpool.model import FileId, FileRecord, StopFlag
from wgetpool.pace import Rate, time_left
from wgetpool.process import StopSwitch, SystemClock
from wgetpool.proof import Digests
from wgetpool.store import STATE, Store, sync_folder
from wgetpool.words import (
    count,
    format_duration,
    format_left,
    format_rate,
    format_share,
    format_size,
    printable,
)

FIXABLE = ("torn", "changed")  # what is missing the next run fetches anyway
BAD = ("missing", *FIXABLE, "unreadable")
STEP = 1 << 24  # bytes that are read between two words about the progress
DRAW_EVERY = 0.2  # seconds
NAMES_SHOWN = 5  # of the unknown files


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is there (`found`; None: nothing) of a file that is not whole, or not known."""

    record: FileRecord
    state: str
    found: FileId | None
    reason: str
    sha256: str | None = None

    def as_object(self) -> dict[str, object]:
        return {
            "name": self.record.name,
            "state": self.state,
            "bytes": self.found.size if self.found else 0,
            "size": self.record.size,
            "sha256": self.sha256,
            "expected": self.record.sha256,
            "reason": self.reason,
        }


@dataclass(slots=True, kw_only=True)
class Report:
    """What a verification came to. `bytes` were read; of the `whole` files `unhashed` have no
    sha256 in the ledger. `others` are all but the whole ones.
    """

    whole: int
    unhashed: int
    bytes: int
    seconds: float
    others: list[Judgement]
    fixed: int = 0

    def counts(self) -> Counter[str]:
        return Counter(one.state for one in self.others)


def verify_directory(
    directory: Path,
    *,
    workers: int,
    fix: bool,
    json: bool,
    out: TextIO,
    err: TextIO,
) -> int:
    """Verifies and reports; returns 0 when all is as the ledger says, else 1. Raises SourceError,
    and with `fix` MachineError.
    """
    store = Store(directory, locking=False)  # where there are none, its lock is a signature
    if not store.ledger.exists():
        raise SourceError(f"{directory} is no folder of a run: it has no .wgetpool/ledger.sqlite3.")
    with _alone(store) if fix else nullcontext():
        report = _verify(store, workers, err)
        if fix:
            _put_back(store, report)
    if isinstance(out, TextIOWrapper):
        out.reconfigure(errors="backslashreplace")  # a name foreign to the locale
    lines = [jsonlib.dumps(_as_object(report))] if json else _lines(report, store, fix=fix)
    out.writelines(f"{printable(line)}\n" for line in lines)
    bad = any(one.state in BAD for one in report.others)
    return ExitCode.FAILED if bad else ExitCode.WHOLE


# ---------------------------------------------------------------- reading


class Reader:
    """One thread's work: takes files off the common heap until it is empty or the run stops."""

    def __init__(self, store: Store, todo: deque[FileRecord], *, stop: StopFlag) -> None:
        self._store, self._todo, self._stop = store, todo, stop
        self._root = os.path.realpath(store.directory)
        self.read = self.whole = self.unhashed = 0
        self.bad: list[Judgement] = []

    def work(self) -> None:
        while not self._stop.is_set():
            try:
                record = self._todo.popleft()
            except IndexError:
                return
            judgement = self._judge(record)
            if judgement is not None and judgement.found != identify(self._store, record.name):
                judgement = self._judge(record)  # it changed meanwhile: as it is now
            if judgement is None:
                return
            if judgement.state in BAD:
                self.bad.append(judgement)
            else:
                self.whole += 1
                self.unhashed += record.sha256 is None

    def _judge(self, record: FileRecord) -> Judgement | None:
        """Holds the file against its record; None when the run stops meanwhile."""
        path = self._store.final(record.name)
        found = sha256 = None
        try:
            self._refuse_to_leave(path)
            status = os.lstat(path)
            found = FileId.of(status)
            state, reason = _compare(status, record)
            if state == "whole" and record.sha256 is not None:
                sha256 = self._digest(path, found.size)
                if sha256 is None:
                    return None
                if sha256 != record.sha256:
                    state = "changed"
                    reason = f"its sha256 is {sha256}, the ledger says {record.sha256}"
        except (FileNotFoundError, NotADirectoryError):
            state, reason = "missing", "is not there"
        except OSError as error:
            state, reason = "unreadable", error.strerror or str(error)
        return Judgement(record=record, state=state, found=found, reason=reason, sha256=sha256)

    def _refuse_to_leave(self, path: Path) -> None:
        """Raises OSError where a folder in the name is a symbolic link out of DIR."""
        if path.parent == self._store.directory:
            return
        if not Path(os.path.realpath(path.parent)).is_relative_to(self._root):
            raise OSError(0, "a folder in its name is a symbolic link out of DIR")

    def _digest(self, path: Path, size: int) -> str | None:
        # Should it have become a link or a pipe just now: neither is followed or waited for.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags)
        try:
            digests = Digests(("sha256",))
            while (begin := digests.position) < size:
                if not digests.follow(descriptor, min(begin + STEP, size), stop=self._stop):
                    return None
                if digests.position == begin:
                    break  # it was cut meanwhile
                self.read += digests.position - begin
            return digests.hex()["sha256"]
        finally:
            os.close(descriptor)


def _compare(status: os.stat_result, record: FileRecord) -> tuple[str, str]:
    """State and reason, as far as they can be told without reading."""
    if not stat.S_ISREG(status.st_mode):
        return "changed", "is no regular file"
    if record.size is None or status.st_size == record.size:
        return "whole", ""
    state = "torn" if status.st_size < record.size else "changed"
    return state, f"its size is {status.st_size:,} bytes, the ledger says {record.size:,}"


def identify(store: Store, name: str) -> FileId | None:
    """What stands under this name now; None where nothing can be seen."""
    try:
        return FileId.of(os.lstat(store.final(name)))
    except OSError:
        return None


def _verify(store: Store, workers: int, err: TextIO) -> Report:
    clock = SystemClock()
    began = clock.now()
    # The folder before the ledger: what a run publishes meanwhile is then not taken for unknown.
    names = set(_names(store))
    try:
        records = list(read_all(store.ledger))
    except LedgerError as error:
        raise SourceError(f"{store.ledger} cannot be read: {error}.") from error
    todo = deque(record for record in records if _is_finished(store, record))
    names.difference_update(record.name for record in todo)
    known = {record.name: record for record in records if record.name in names}
    total = sum(record.size or 0 for record in todo if record.sha256)
    with (
        closing(StopSwitch()) as stop,
        _progress(err, total) as show,
        (threads := start_threads("verify", workers)).executor as pool,
    ):
        readers = [Reader(store, todo, stop=stop) for _ in range(threads.size)]
        try:
            futures = [pool.submit(reader.work) for reader in readers]
            while futures:
                ended, pending = wait(futures, timeout=DRAW_EVERY)
                for future in ended:
                    future.result()
                futures = list(pending)
                show(sum(reader.read for reader in readers), clock.now() - began)
        finally:
            stop.set()  # whatever ends us, Ctrl-C too: no reader goes on
    bad = [one for reader in readers for one in reader.bad]
    bad.sort(key=lambda one: one.record.name)
    return Report(
        whole=sum(reader.whole for reader in readers),
        unhashed=sum(reader.unhashed for reader in readers),
        bytes=sum(reader.read for reader in readers),
        seconds=clock.now() - began,
        others=[*bad, *(_unknown(store, name, known.get(name)) for name in sorted(names))],
    )


def _names(store: Store) -> Iterator[str]:
    """The files below DIR, but for parts and what is under .wgetpool; links are not followed."""
    for folder, folders, files in os.walk(store.directory):
        inside = folder.removeprefix(str(store.directory)).strip("/")
        if not inside and STATE in folders:
            folders.remove(STATE)
        names = (name for name in files if not name.endswith(".part"))
        yield from (f"{inside}/{name}" if inside else name for name in names)


def _is_finished(store: Store, record: FileRecord) -> bool:
    if record.state == "publishing":
        found = identify(store, record.name)
        return found is not None and found.inode == record.inode
    return record.state == "done"


def _unknown(store: Store, name: str, record: FileRecord | None) -> Judgement:
    reason = f"the ledger has it as {record.state}" if record else "the ledger does not know it"
    return Judgement(
        record=record or FileRecord(name=name, state="unknown"),
        state="unknown",
        found=identify(store, name),
        reason=reason,
    )


@contextmanager
def _progress(err: TextIO, total: int) -> Iterator[Callable[[int, float], None]]:
    """On a terminal a bar, taken away at the end. It is given the bytes read and the seconds."""
    if not err.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda *_: None
        return
    from rich.console import Console  # noqa: PLC0415  rich costs a third of a start
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

    rate = Rate()
    with Progress(
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[told]}"),
        console=Console(file=err),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        bar.console.show_cursor(True)  # one that is killed must not leave a shell without it
        task = bar.add_task("", total=total, told="")

        def show(read: int, at: float) -> None:
            rate.add(at, read)
            left = time_left(read, total, rate.value)
            told = f"{format_share(read, total)}, {format_rate(rate.value or 0)}"
            told += "" if left is None else f", {format_left(left)} left"
            bar.update(task, completed=read, told=told, refresh=True)

        yield show


# ---------------------------------------------------------------- --fix


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Holds the lock of a run; raises SourceError where a run is live."""
    store.make()
    run = uuid.uuid4().hex
    lock = store.lock_run(run)  # before the look round: of two that come at once none goes on
    try:
        if store.live_runs() != [run]:
            raise SourceError(f"A run works on {store.directory}: stop it first, then --fix.")
        yield
    finally:
        lock.release()


def _put_back(store: Store, report: Report) -> None:
    """Has what is bad fetched by the next run, and says of the rest why not.

    What cannot be read stays as it is: a disk or a server that is away, or a permission, makes no
    file bad. As pending, a run might take it over by its last bytes, and the ledger's sha256, the
    one thing that shows whether it is good, would be lost.
    """
    try:
        with closing(Ledger(store.ledger)) as ledger:
            for n, one in enumerate(report.others):
                if one.state not in FIXABLE:
                    continue
                if why := _put_back_one(store, ledger, one):
                    report.others[n] = replace(one, reason=f"{one.reason}; not put back: {why}")
                else:
                    report.fixed += 1
    except LedgerError as error:
        raise MachineError(f"The ledger {store.ledger} cannot be written: {error}.") from error


def _put_back_one(store: Store, ledger: Ledger, one: Judgement) -> str | None:
    """The move first, then the row: a crash in between leaves a file that is known and gone, which
    a run fetches again; one that stayed might be taken over by its last bytes. Returns why it
    cannot be.
    """
    record, path = one.record, store.final(one.record.name)
    if path.is_dir() and not path.is_symlink():
        return "a folder is in its place, move it away"
    with ledger.transaction():
        known = ledger.find([record.name]).get(record.name)
        if known != record or identify(store, record.name) != one.found:
            return "it has changed meanwhile"
        if one.found:
            try:
                _set_aside(store, record.name)
            except OSError as error:
                return error.strerror or str(error)
        ledger.record([FileRecord(name=record.name, state="pending", size=record.size)])
    return None


def _set_aside(store: Store, name: str) -> None:
    """Moves the file to where a person can look at it, beside those that are there. Always with a
    number: without one, a run keeps what it rejects, and only the last.
    """
    path, kept = store.final(name), store.rejected(name)
    kept.parent.mkdir(parents=True, exist_ok=True)
    numbered = (kept.with_name(f"{kept.name}.{number}") for number in itertools.count(1))
    path.rename(next(to for to in numbered if not os.path.lexists(to)))
    depth = len(kept.relative_to(store.state).parts)
    for folder in (*list(kept.parents)[:depth], path.parent):
        sync_folder(folder)


# ---------------------------------------------------------------- what is said


def _as_object(report: Report) -> dict[str, object]:
    counts = report.counts()
    return {
        "whole": report.whole,
        **{state: counts[state] for state in (*BAD, "unknown")},
        "unhashed": report.unhashed,
        "bytes": report.bytes,
        "seconds": round(report.seconds, 3),
        "fixed": report.fixed,
        "files": [one.as_object() for one in report.others],
    }


def _lines(report: Report, store: Store, *, fix: bool) -> Iterable[str]:
    counts = report.counts() + Counter(whole=report.whole)
    told = ", ".join(f"{counts[state]:,} {state}" for state in ("whole", *BAD) if counts[state])
    read = f"{format_size(report.bytes)} read in {format_duration(report.seconds)}"
    files = count(counts.total() - counts["unknown"], "finished file")
    beside = f"{counts['unknown']:,} unknown" if counts["unknown"] else ""
    yield f"{files}: " + "; ".join(part for part in (told, beside, read) if part)
    if report.unhashed:
        yield f"{count(report.unhashed, 'file')} without a sha256 in the ledger: size compared only"
    for one in report.others:
        if one.state in BAD:
            yield f"  {one.state:<10}  {one.record.name}: {one.reason}"
    unknown = [one.record.name for one in report.others if one.state == "unknown"]
    if unknown:
        more = len(unknown) - NAMES_SHOWN
        rest = f" and {more:,} more" if more > 0 else ""
        names = f"{', '.join(unknown[:NAMES_SHOWN])}{rest}"
        yield f"  unknown     {names}: not known to the ledger as finished"
    if report.fixed:
        moved = count(report.fixed, "file")
        yield f"{moved} moved to {store.state / 'rejected'}."
    elif not fix and any(counts[state] for state in FIXABLE):
        where = store.state / "rejected"
        yield f"`wgetpool verify {store.directory} --fix` moves what is bad to {where}."
    if report.fixed or counts["missing"] or any(counts[state] for state in FIXABLE):
        yield "`wgetpool get` with the same list fetches what is not there."
    if counts["unreadable"]:
        yield "What is unreadable may be whole and stays as it is: look at disk and permissions."
