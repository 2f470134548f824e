"""What a live run tells onlookers: how far it is, in a file of its own in DIR/.wgetpool/live/.

Written every few seconds and never synced: it means something only while its run lives, or was just
killed. What is to be kept is in the ledger. Any thread.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime

from wgetpool.events import Progress, Running, Waiting
from wgetpool.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A run as it was seen `at` a moment."""

    run: str
    at: datetime
    progress: Progress


def write(store: Store, look: Look) -> None:
    """Replaces what was told before; raises OSError."""
    path = store.live(look.run)
    fresh = path.with_suffix(".new")
    told = {"at": look.at.isoformat(), "progress": asdict(look.progress)}
    with fresh.open("w") as file:
        json.dump(told, file)
    fresh.replace(path)


def read(store: Store, run: str) -> Look | None:
    """What a run told last; None where it has told nothing, or nothing that can be understood."""
    try:
        told = json.loads(store.live(run).read_bytes())
        progress = dict(told["progress"])
        progress["running"] = tuple(Running(**each) for each in progress["running"])
        progress["waiting"] = tuple(Waiting(**each) for each in progress["waiting"])
        return Look(run=run, at=datetime.fromisoformat(told["at"]), progress=Progress(**progress))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def forget(store: Store, run: str) -> None:
    with suppress(OSError):
        store.live(run).unlink()


def left_behind(store: Store) -> list[Look]:
    """What runs told last that are not alive any more."""
    alive = set(store.live_runs())
    names = {path.stem for path in store.live("x").parent.glob("*.json")}
    looks = (read(store, run) for run in sorted(names - alive))
    return [look for look in looks if look is not None]
