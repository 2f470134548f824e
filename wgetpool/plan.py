"""What a run would do, told beforehand: `get --dry-run`. Makes nothing in DIR."""

from __future__ import annotations

import json as jsonlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TextIO

from wgetpool.errors import ExitCode
from wgetpool.model import Entry, Settings
from wgetpool.publish import Presence, survey_read_only
from wgetpool.store import Store
from wgetpool.words import count, format_size


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
        now = datetime.now().astimezone()
        head = {"event": "plan", "time": now.isoformat(timespec="milliseconds")}
        out.write(jsonlib.dumps(head | asdict(plan)) + "\n")
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
