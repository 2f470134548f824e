"""How far DIR is, as data: what the ledger, the parts and the live runs tell together.

Reads only, and disturbs no run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

from wgetpool import live
from wgetpool.errors import MachineError, SourceError
from wgetpool.events import Running, Waiting
from wgetpool.ledger import LedgerError, read_all, read_samples, read_some
from wgetpool.model import Cause, FileRecord, Orphan, Sample
from wgetpool.pace import rate_at_end, time_left
from wgetpool.part import peek
from wgetpool.store import KnownRun, Store, length_of

SILENT = 15.0  # seconds after which what a run told is old
STATES = ("done", "partial", "failed", "pending")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStatus:
    """One file: `bytes` are those that are here, `size` those of the whole file, where that is
    known. The rest is the ledger's: `attempts` are those of the run that ended it.
    """

    name: str
    state: str
    bytes: int
    size: int | None
    attempts: int
    reason: str | None
    class_: str | None
    cause: Cause | None
    proof: tuple[str, ...]
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """A run that works on DIR now, and what it told last. `heard` is how many seconds ago that was;
    `due_in` and `since` are as of now. One that is `stopped` (Ctrl-Z), or has told nothing for
    long, has no rates: they are old. Of one that is not `seen`, on another machine say, only the
    samples in the ledger tell.
    """

    known: KnownRun
    seen: bool = False
    stopped: bool = False
    heard: float | None = None
    rate: float | None = None
    left: float | None = None
    running: tuple[Running, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    waiting_count: int = 0
    elsewhere: int = 0
    expired: int = 0
    no_room: int = 0


@dataclass(frozen=True, kw_only=True)
class Folder:
    """All of it, or what is asked for. `orphans` are wgets on this machine that killed runs left
    behind.
    """

    store: Store
    files: list[FileStatus]
    runs: list[LiveRun]
    orphans: list[Orphan]
    killed: int = 0  # runs that were, and that no other has followed
    last: Sample | None = None  # of the last run that has told anything

    @property
    def is_whole(self) -> bool:
        return bool(self.files) and all(file.state == "done" for file in self.files)

    @property
    def running(self) -> list[Running]:
        return [file for run in self.runs for file in run.running]

    @cached_property
    def waiting(self) -> list[Waiting]:
        """The soonest of each run, but for those that another one is at."""
        busy = {file.name for file in self.running}
        waiting = (file for run in self.runs for file in run.waiting)
        return sorted((file for file in waiting if file.name not in busy), key=lambda f: f.due_in)

    @property
    def waiting_count(self) -> int:
        return len(self.waiting) + sum(run.waiting_count - len(run.waiting) for run in self.runs)

    @cached_property
    def begun(self) -> list[FileStatus]:
        """Files of which something is here, and that no run is known to have now."""
        busy = {file.name for file in self.running} | {file.name for file in self.waiting}
        return [each for each in self.files if each.state == "partial" and each.name not in busy]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @cached_property
    def wanted(self) -> list[FileStatus]:
        """All but those that failed."""
        return [file for file in self.files if file.state != "failed"]

    @cached_property
    def size(self) -> int | None:
        """Of all files but failed ones together; sizes that are not known count as the mean of
        those that are.
        """
        wanted = self.wanted
        sizes = [file.size for file in wanted if file.size is not None]
        return sum(sizes) * len(wanted) // len(sizes) if sizes else None

    @property
    def rate(self) -> float | None:
        """Bytes a second, of all runs together."""
        rates = [run.rate for run in self.runs if run.rate is not None]
        return sum(rates) if rates else None

    @property
    def left(self) -> float | None:
        """Seconds until all is here. Of several runs each takes the files of the others for its
        own: only their rates can be believed.
        """
        if len(self.runs) == 1:
            return self.runs[0].left
        return time_left(sum(file.bytes for file in self.wanted), self.size, self.rate)


def look(store: Store, *, only: Sequence[str] = (), now: datetime) -> Folder:
    """Looks at DIR, or at these of its files, the wall clock being `now`. Raises SourceError for a
    name that the ledger does not have, and LedgerError.
    """
    records = _pick(store, dict.fromkeys(only)) if only else read_all(store.ledger)
    files = [_file_status(store, record) for record in records]
    known = store.known_runs()
    dead = frozenset(each.run for each in known if not each.alive)
    by_name = {file.name: file for file in files if file.state != "done"}
    done = {file.name for file in files if file.state == "done"}
    return Folder(
        store=store,
        files=files,
        runs=[_live_run(store, each, by_name, done, now) for each in known if each.alive],
        orphans=_find_orphans(dead) if dead else [],
        killed=len(dead),
        last=next(reversed(read_samples(store.ledger)), None),
    )


@contextmanager
def opened(directory: Path) -> Iterator[Store]:
    """DIR, with its ledger to be read inside; raises SourceError where it cannot be."""
    store = Store(directory)
    try:
        if not directory.exists():
            raise SourceError(f"There is no folder {directory}.")
        if not store.ledger.exists():
            raise SourceError(
                f"{store.directory} is no folder of a run: it has no .wgetpool/ledger.sqlite3. "
                "Give the one that get -o had."
            )
        yield store
    except LedgerError as error:
        raise SourceError(f"{store.ledger} cannot be read: {error}.") from error
    except PermissionError as error:
        raise MachineError(f"{error.filename} is another user's: look as who began it.") from error


def _pick(store: Store, names: Iterable[str]) -> Iterator[FileRecord]:
    """The records of these names; the path of a file, or of its part, names it as well."""
    inside = {name: name.removeprefix(f"{store.directory}/") for name in names}
    forms = {name: (name, form, form.removesuffix(".part")) for name, form in inside.items()}
    known = read_some(store.ledger, [form for each in forms.values() for form in each])
    for name, each in forms.items():
        if not (found := [known[form] for form in each if form in known]):
            raise SourceError(
                f"No file {name} was ever asked for in {store.directory}: "
                "`wgetpool status` with --names done, failed or pending prints the names."
            )
        yield found[0]


def _file_status(store: Store, record: FileRecord) -> FileStatus:
    state = "pending" if record.state == "publishing" else record.state
    size, reason = record.size, record.reason
    if state == "done":
        here = length_of(store.final(record.name))  # 0 where it was moved on
        if here and here != size:
            state, reason = "pending", f"it has {here:,} bytes, {size or 0:,} were fetched"
    else:
        here, told = peek(store, record.name, want_size=size is None)
        size = size or told
        state = "partial" if here and state == "pending" else state
    return FileStatus(
        name=record.name,
        state=state,
        bytes=here,
        size=size,
        attempts=record.attempts,
        reason=reason,
        class_=record.class_ if state == "failed" else None,
        cause=_cause(record.cause) if state == "failed" or _is_held(record) else None,
        proof=record.proof,
        sha256=record.sha256 if state == "done" else None,
    )


def _is_held(record: FileRecord) -> bool:
    """Whether the last that was heard of it is that it waits for a fresh link, or for room."""
    held = record.reason is not None and record.cause is not None  # one that failed has no reason
    return record.state == "pending" and held


def _cause(word: str | None) -> Cause:
    """Another version may know other words, and an older one none."""
    return Cause(word) if word in set(Cause) else Cause.OTHER


def _live_run(
    store: Store, known: KnownRun, files: dict[str, FileStatus], done: set[str], now: datetime
) -> LiveRun:
    """What a run told, brought up to now: parts have grown meanwhile, and files are done."""
    told = live.read(known)
    if told is None:
        return _sampled_run(store, known, now)
    heard = max((now - told.at).total_seconds(), 0.0)
    seen, stopped = told.progress, known.is_stopped
    is_fresh = heard <= SILENT and not stopped
    running = (
        replace(
            file,
            bytes=files[file.name].bytes if file.name in files else file.bytes,
            size=file.size or (files[file.name].size if file.name in files else None),
            since=file.since + heard,
            rate=file.rate if is_fresh else None,
        )
        for file in seen.running
        if file.name not in done
    )
    waiting = tuple(
        replace(file, due_in=max(file.due_in - heard, 0.0))
        for file in seen.waiting
        if file.name not in done
    )
    return LiveRun(
        known=known,
        seen=True,
        stopped=stopped,
        heard=heard,
        rate=seen.rate if is_fresh else None,
        left=max(seen.left - heard, 0.0) if is_fresh and seen.left is not None else None,
        running=tuple(running),
        waiting=waiting,
        waiting_count=seen.waiting_count - len(seen.waiting) + len(waiting),
        elsewhere=seen.elsewhere,
        expired=seen.expired,
        no_room=seen.no_room,
    )


def _sampled_run(store: Store, known: KnownRun, now: datetime) -> LiveRun:
    samples = read_samples(store.ledger, known.run)
    if not samples:
        return LiveRun(known=known)
    heard = max((now - datetime.fromisoformat(samples[-1].at)).total_seconds(), 0.0)
    last, rate = samples[-1], rate_at_end(samples)
    return LiveRun(known=known, heard=heard, rate=rate, left=time_left(last.bytes, last.size, rate))


def _find_orphans(dead: frozenset[str]) -> list[Orphan]:
    """Looks at all processes of the machine: for those who have a reason to."""
    from wgetpool import orphans  # noqa: PLC0415

    return sorted(orphans.find(dead), key=lambda orphan: (orphan.part, orphan.pid))
