"""What a run would do, told beforehand: `get --dry-run`; and whether the disk has room for it.
Makes nothing in DIR.
"""

from __future__ import annotations

import json as jsonlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TextIO

from wgetpool.errors import ExitCode, MachineError
from wgetpool.ledger import LedgerError, read_size_to_come, read_sizes
from wgetpool.model import Entry, Settings
from wgetpool.part import peek, recorded_sizes
from wgetpool.publish import Presence, Surveyed, survey_read_only
from wgetpool.signed import expires_at
from wgetpool.store import Store, length_of, names_in
from wgetpool.words import count, format_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do. `begun` of the files `to_fetch` have parts, of `begun_bytes` together;
    `size` sums their sizes where all are known, by the list or from earlier runs, and `known_size`
    those that are; `unknown_sizes` counts the others. `to_come` is what is missing of the known
    ones and of those in the way, `free` what is free where DIR is, in bytes. `expired`: files to
    fetch whose links have expired, by this machine's clock.
    """

    files: int
    whole: int
    to_fetch: int
    begun: int
    begun_bytes: int
    gone: int
    in_the_way: int
    size: int | None
    known_size: int
    unknown_sizes: int
    to_come: int
    free: int | None
    expired: int


def print_plan(settings: Settings, entries: list[Entry], *, json: bool, out: TextIO) -> int:
    """Says what a run would do, in words or as one JSON object; makes nothing in DIR."""
    now = datetime.now().astimezone()
    plan = _plan(settings, entries, now)
    if json:
        head = {"event": "plan", "time": now.isoformat(timespec="milliseconds")}
        out.write(jsonlib.dumps(head | asdict(plan)) + "\n")
    else:
        out.write(f"{count(plan.files, 'file')} selected for {settings.directory}\n")
        out.writelines(f"  {number:>8,}  {what}\n" for number, what in _plan_rows(plan, settings))
        out.writelines(f"{line}\n" for line in _room_lines(plan, settings))
    return ExitCode.WHOLE


def _plan(settings: Settings, entries: list[Entry], now: datetime) -> Plan:
    store = Store(settings.directory)
    surveyed = survey_read_only(store, entries)
    groups = Counter(one.presence for one in surveyed)
    wanted = {Presence.ABSENT} | (set() if settings.skip_gone else {Presence.GONE})
    absent = [one for one in surveyed if one.presence in wanted]
    strange = (one for one in surveyed if one.presence is Presence.STRANGE)
    missing = [_missing(store, one) for one in absent]
    known = [(size, here) for size, here in missing if size is not None]
    in_the_way = ((one.told_size, one.size) for one in strange if one.told_size is not None)
    sized = sum(size for size, _ in known)
    return Plan(
        files=len(entries),
        whole=groups[Presence.KNOWN],
        to_fetch=len(absent),
        begun=sum(one.size > 0 for one in absent),
        begun_bytes=sum(one.size for one in absent),
        gone=groups[Presence.GONE],
        in_the_way=groups[Presence.STRANGE],
        size=sized if len(known) == len(absent) else None,
        known_size=sized,
        unknown_sizes=len(absent) - len(known),
        to_come=sum(max(size - here, 0) for size, here in (*known, *in_the_way)),
        free=store.free(),
        expired=sum(_has_expired(one.entry, now) for one in absent),
    )


def _missing(store: Store, one: Surveyed) -> tuple[int | None, int]:
    """A file's size, as far as anything here tells it, and what its part has of it."""
    if one.told_size is None and one.size:
        _, size = peek(store, one.entry.name, want_size=True)
        return size, one.size
    return one.told_size, one.size


def _has_expired(entry: Entry, now: datetime) -> bool:
    expiry = expires_at(entry.url)
    return expiry is not None and expiry <= now


def _plan_rows(plan: Plan, settings: Settings) -> Iterable[tuple[int, str]]:
    told = f" ({format_size(plan.known_size)}" if plan.known_size else ""
    if told:
        unknown = f", and {count(plan.unknown_sizes, 'file')} of unknown size"
        told += unknown * (plan.unknown_sizes > 0) + ")"
    yield plan.whole, "whole already"
    yield plan.to_fetch, f"to fetch, {settings.workers} at a time{told}"
    rows = (
        (plan.begun, f"of these begun: {format_size(plan.begun_bytes)} are here"),
        (plan.expired, "of these not tried: their links have expired; get a new links file"),
        (plan.gone, "left out: " * settings.skip_gone + "fetched before and gone since"),
        (
            plan.in_the_way,
            "there, but not known: looked at first, then taken over, continued or replaced",
        ),
    )
    yield from (row for row in rows if row[0])


def _room_lines(plan: Plan, settings: Settings) -> Iterator[str]:
    """What is still to come against what is free, where something is known to come."""
    if plan.to_come and plan.free is not None:
        yield _room(plan.to_come, plan.free, settings.manners.min_free)


# ---------------------------------------------------------------- before a run


def demand_room(settings: Settings, entries: Sequence[Entry]) -> None:
    """Raises MachineError where what is known to be still to come is more than the disk has room
    for: by the sizes in the list and in the ledger. Costs next to nothing where all fits anyway.
    """
    store = Store(settings.directory)
    if (free := store.free()) is None:
        return
    room = max(free - settings.manners.min_free, 0)
    parts = recorded_sizes(store)
    if _most_to_come(store, entries, parts) <= room:
        return
    wanted = _wanted(store, entries, parts)
    if sum(size for _, size in wanted) <= room:
        return
    folders = _Folders(store)
    to_come = [size - here for name, size in wanted if size > (here := folders.length(name))]
    missing = sum(to_come)
    if missing <= room:
        return
    what = f"The disk has no room for {count(len(to_come), 'file')} of {len(entries):,}"
    raise MachineError(
        f"{what}: {_room(missing, free, settings.manners.min_free)}. Make room, choose fewer "
        "(--select, --end) or another folder (-o); or --force fetches what there is room for."
    )


def _most_to_come(store: Store, entries: Sequence[Entry], parts: Mapping[str, int]) -> int:
    """What may come at most, as far as it is known: without a look at a single row or file."""
    listed = [entry.size for entry in entries if entry.size is not None]
    most = sum(listed)
    if len(listed) < len(entries):
        most += sum(parts.values())
        with suppress(LedgerError, OSError):  # the run will say what is wrong with it
            most += read_size_to_come(store.ledger) if store.ledger.exists() else 0
    return most


def _wanted(
    store: Store, entries: Iterable[Entry], parts: Mapping[str, int]
) -> list[tuple[str, int]]:
    """The files that are not done, with their sizes, where anything here tells them. Looks at none
    of them.
    """
    ledger: dict[str, tuple[bool, int | None]] = {}
    with suppress(LedgerError, OSError):
        if store.ledger.exists():
            ledger = {name: (done, size) for name, done, size in read_sizes(store.ledger)}
    wanted = []
    for entry in entries:
        done, known = ledger.get(entry.name, (False, None))
        if done and entry.size in {None, known}:
            continue
        size = known if entry.size is None else entry.size
        size = parts.get(entry.name) if size is None else size
        if size is not None:
            wanted.append((entry.name, size))
    return wanted


class _Folders:
    """Looks how much is here of files. What is not in its folder is not asked for one by one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: dict[str, frozenset[str]] = {}

    def length(self, name: str) -> int:
        """Bytes that are here of it: in its part, or under its own name."""
        folder, _, base = name.rpartition("/")
        if folder not in self._names:
            self._names[folder] = names_in(self._store.directory / folder)
        there = self._names[folder]
        part = length_of(self._store.part(name)) if f"{base}.part" in there else 0
        return max(part, length_of(self._store.final(name)) if base in there else 0)


def _room(to_come: int, free: int, min_free: int) -> str:
    """'4.2 TiB are still to come, 1.1 TiB are free (1.0 GiB of it is kept: --min-free)'."""
    kept = f" ({format_size(min_free)} of it is kept: --min-free)" if min_free else ""
    return f"{format_size(to_come)} are still to come, {format_size(free)} are free{kept}"
