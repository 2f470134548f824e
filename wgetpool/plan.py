"""What a run would do, told beforehand: `get --dry-run`. Makes nothing in DIR."""

from __future__ import annotations

import json as jsonlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TextIO

from wgetpool.errors import ExitCode
from wgetpool.forecast import against_room
from wgetpool.model import Entry, Settings
from wgetpool.part import peek
from wgetpool.publish import Presence, Surveyed, survey_read_only
from wgetpool.signed import expiry_of
from wgetpool.store import Store
from wgetpool.words import count, format_size, format_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do. `begun` of the files `to_fetch` have parts, of `begun_bytes` together;
    `size` sums their sizes where all are known, by the list or from earlier runs, and `known_size`
    those that are; `unknown_sizes` counts the others. `to_come` is what is missing of the known
    ones and of those in the way, `free` what is free where DIR is, in bytes. `expired`: files to
    fetch whose links have expired, by this machine's clock; `expires` is when the first of the
    others does (ISO 8601).
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
    expires: str | None


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
    times = [at for one in absent if (at := expiry_of(one.entry)) is not None]
    good = [at for at in times if at > now]
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
        expired=len(times) - len(good),
        expires=min(good).isoformat() if good else None,
    )


def _missing(store: Store, one: Surveyed) -> tuple[int | None, int]:
    """A file's size, as far as anything here tells it, and what its part has of it."""
    if one.told_size is None and one.size:
        _, size = peek(store, one.entry.name, want_size=True)
        return size, one.size
    return one.told_size, one.size


def _plan_rows(plan: Plan, settings: Settings) -> Iterable[tuple[int, str]]:
    told = f" ({format_size(plan.known_size)}" if plan.known_size else ""
    if told:
        unknown = f", and {count(plan.unknown_sizes, 'file')} of unknown size"
        told += unknown * (plan.unknown_sizes > 0) + ")"
    yield plan.whole, "whole already"
    yield plan.to_fetch - plan.expired, f"to fetch, {settings.workers} at a time{told}"
    rows = (
        (plan.expired, "not tried: their links have expired; get a new links file"),
        (plan.begun, f"begun: {format_size(plan.begun_bytes)} are here"),
        (plan.gone, "left out: " * settings.skip_gone + "fetched before and gone since"),
        (
            plan.in_the_way,
            "there, but not known: looked at first, then taken over, continued or replaced",
        ),
    )
    yield from (row for row in rows if row[0])


def _room_lines(plan: Plan, settings: Settings) -> Iterator[str]:
    """When links expire, and what is still to come against what is free."""
    if plan.expires:
        yield f"links expire from {format_time(datetime.fromisoformat(plan.expires))} on"
    if plan.free is None or not plan.to_fetch + plan.in_the_way:
        return
    manners = settings.manners
    if plan.to_come:
        yield against_room(plan.to_come, plan.free, manners.min_free)
    else:
        kept = f", {format_size(manners.min_free)} are kept (--min-free)"
        yield f"sizes are not known yet; {format_size(plan.free)} are free{kept}"
    if plan.to_come > plan.free - manners.min_free:
        yield "not all fits: get ends with exit code 3 (--force fetches what there is room for)"
