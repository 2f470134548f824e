"""How far DIR is, told to people and programs: reads the ledger and the parts, writes nothing,
disturbs no run.
"""

from __future__ import annotations

import json as jsonlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from wgetpool.checksums import format_line
from wgetpool.errors import ExitCode, SourceError
from wgetpool.ledger import LedgerError, read_all
from wgetpool.model import Entry, FileRecord, Orphan, Settings
from wgetpool.part import peek
from wgetpool.publish import Presence, survey_read_only
from wgetpool.store import KnownRun, Store, length_of
from wgetpool.words import count, format_size, printable, some, stop_command

STATES = ("done", "partial", "failed", "pending")
NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStatus:
    """One file as `status --json` shows it: field names are the JSON keys. `bytes` are those that
    are here.
    """

    name: str
    state: str
    bytes: int
    size: int | None
    attempts: int
    reason: str | None
    proof: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Who works on a folder: live runs, and what dead ones left behind on this machine."""

    runs: list[KnownRun]
    orphans: list[Orphan]

    @classmethod
    def of(cls, store: Store) -> Workers:
        known = store.known_runs()
        dead = frozenset(each.run for each in known if not each.alive)
        return cls(
            runs=[each for each in known if each.alive],
            orphans=_find_orphans(dead) if dead else [],
        )


def _find_orphans(dead: frozenset[str]) -> list[Orphan]:
    """Looks at all processes of the machine: for those who have a reason to."""
    from wgetpool import orphans  # noqa: PLC0415

    return sorted(orphans.find(dead), key=lambda orphan: (orphan.part, orphan.pid))


def print_status(directory: Path, *, names: str | None, json: bool, out: TextIO) -> int:
    """Prints the status; returns 0 when all that was asked for is whole, else 1. Raises
    SourceError.
    """
    store = Store(directory)
    files = [_file_status(store, record) for record in _read(store)]
    whole = bool(files) and all(file.state == "done" for file in files)
    if json:
        out.write(jsonlib.dumps(_as_object(files, Workers.of(store))) + "\n")
    elif names:
        wanted = {"partial", "pending"} if names == "pending" else {names}
        out.writelines(f"{file.name}\n" for file in files if file.state in wanted)
    else:
        lines = [*_lines_of_files(files)]
        lines[1:1] = _lines_of_workers(Workers.of(store), directory)
        out.writelines(f"{printable(line)}\n" for line in lines)
    return ExitCode.WHOLE if whole else ExitCode.FAILED


def print_checksums(directory: Path, *, out: TextIO, warn: Callable[[str], None]) -> int:
    """Prints the sha256 of all finished files, for `sha256sum --check` in DIR."""
    records = list(_read(Store(directory)))
    done = [record for record in records if record.state == "done"]
    out.writelines(
        f"{format_line(record.sha256, record.name)}\n" for record in done if record.sha256
    )
    if left := sum(record.sha256 is None for record in done):
        warn(f"{count(left, 'finished file')} without a sha256: fetched with --no-hash")
    return ExitCode.WHOLE if records and len(done) == len(records) else ExitCode.FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do. `begun` of the files `to_fetch` have parts, of `begun_bytes` together;
    `size` sums the sizes of those to fetch, where the list tells them all.
    """

    files: int
    whole: int
    to_fetch: int
    begun: int
    begun_bytes: int
    gone: int
    in_the_way: int
    size: int | None


def print_plan(settings: Settings, entries: list[Entry], *, json: bool, out: TextIO) -> int:
    """Says what a run would do, in words or as one JSON object; makes nothing in DIR."""
    surveyed = survey_read_only(Store(settings.directory), entries)
    groups = Counter(one.presence for one in surveyed)
    wanted = {Presence.ABSENT} | (set() if settings.skip_gone else {Presence.GONE})
    absent = [one for one in surveyed if one.presence in wanted]
    sizes = [one.entry.size for one in absent if one.entry.size is not None]
    plan = Plan(
        files=len(entries),
        whole=groups[Presence.KNOWN],
        to_fetch=len(absent),
        begun=sum(one.size > 0 for one in absent),
        begun_bytes=sum(one.size for one in absent),
        gone=groups[Presence.GONE],
        in_the_way=groups[Presence.STRANGE],
        size=sum(sizes) if len(sizes) == len(absent) else None,
    )
    if json:
        out.write(jsonlib.dumps({"event": "plan", **asdict(plan)}) + "\n")
    else:
        out.write(f"{count(plan.files, 'file')} selected for {settings.directory}\n")
        out.writelines(f"  {number:>8,}  {what}\n" for number, what in _plan_rows(plan, settings))
    return ExitCode.WHOLE


def _plan_rows(plan: Plan, settings: Settings) -> Iterable[tuple[int, str]]:
    told = f" ({format_size(plan.size)} by the list)" if plan.size else ""
    yield plan.whole, "whole already"
    yield plan.to_fetch, f"to fetch, {settings.workers} at a time{told}"
    rows = (
        (plan.begun, f"of these begun: {format_size(plan.begun_bytes)} are here"),
        (plan.gone, "left out: " * settings.skip_gone + "fetched before and gone since"),
        (
            plan.in_the_way,
            "there, but not known: looked at first, then taken over, continued or replaced",
        ),
    )
    yield from (row for row in rows if row[0])


def _read(store: Store) -> Iterable[FileRecord]:
    if not store.ledger.exists():
        raise SourceError(
            f"{store.directory} is no folder of a run: it has no .wgetpool/ledger.sqlite3."
        )
    try:
        return read_all(store.ledger)
    except LedgerError as error:
        raise SourceError(f"{store.ledger} cannot be read: {error}.") from error


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
        proof=record.proof,
    )


def _as_object(files: list[FileStatus], workers: Workers) -> dict[str, object]:
    counts = Counter(file.state for file in files)
    keys = FileStatus.__slots__
    signed = [run.signature for run in workers.runs]
    return {
        **{state: counts[state] for state in STATES},
        "bytes": sum(file.bytes for file in files),
        "running": bool(workers.runs),
        "runs": [{"pid": one and one.pid, "host": (one and one.host) or None} for one in signed],
        "orphans": [{"pid": one.pid, "name": one.part or None} for one in workers.orphans],
        "files": [{key: getattr(file, key) for key in keys} for file in files],
    }


def _lines_of_workers(workers: Workers, directory: Path) -> Iterable[str]:
    runs, orphans = workers.runs, workers.orphans
    if runs:
        verb = "a run is" if len(runs) == 1 else f"{len(runs):,} runs are"
        yield f"{verb} working on it: {', '.join(run.whereabouts for run in runs)}"
    else:
        yield "no run is working on it"
    if orphans:
        verb, them = ("works", "it") if len(orphans) == 1 else ("work", "them")
        told = [f"{one.part or '(unknown)'} (pid {one.pid})" for one in orphans]
        wgets, named = count(len(orphans), "wget"), some(told, NAMES_SHOWN)
        ends = f"{stop_command(directory)} ends {them}, and so does the next run"
        yield f"{wgets} of a killed run still {verb}: {named}; {ends}"


def _lines_of_files(files: list[FileStatus]) -> Iterable[str]:
    counts = Counter(file.state for file in files)
    told = ", ".join(f"{counts[state]:,} {state}" for state in STATES if counts[state])
    here = format_size(sum(file.bytes for file in files))
    yield f"{count(len(files), 'file')}: {told or 'nothing asked for yet'}; {here} here"
    for file in files:
        if file.state == "partial":
            share = (
                f" of {format_size(file.size)}, {file.bytes / file.size:.0%}" if file.size else ""
            )
            yield f"  partial  {file.name}  {format_size(file.bytes)}{share}"
    reasons: dict[str, list[str]] = {}
    for file in files:
        if file.state == "failed":
            reasons.setdefault(file.reason or "", []).append(file.name)
    for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        yield f"  failed   {some(names, NAMES_SHOWN)}: {reason}"
