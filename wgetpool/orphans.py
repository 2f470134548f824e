"""What dead runs left behind: wgets, known by the mark in their environment, and lock files.

Any thread. Loads psutil where there is a dead run, and only there.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wgetpool import process
from wgetpool.model import Orphan
from wgetpool.store import KnownRun, Store

if TYPE_CHECKING:
    import psutil

LOOK_EVERY = 0.05  # seconds, while they are being ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What became of them: `stuck` ones are in state D, and end when the disk answers. `elsewhere`
    are the runs that died on other machines, whose wgets nobody here can see.
    """

    ended: tuple[Orphan, ...] = ()
    stuck: tuple[Orphan, ...] = ()
    elsewhere: tuple[KnownRun, ...] = ()


def clear(store: Store) -> Cleared:
    """Ends all orphans of DIR, and forgets the dead runs but those that the lock file is still
    needed for.
    """
    dead = [known for known in store.known_runs() if not known.alive]
    here = frozenset(known.run for known in dead if not known.is_elsewhere)
    if not here:
        return Cleared(elsewhere=tuple(dead))
    found = end(here)
    stuck = find(here) if found else []
    for run in here - {orphan.run for orphan in stuck}:
        store.forget_run(run)
    pids = {orphan.pid for orphan in stuck}
    return Cleared(
        ended=tuple(orphan for orphan in found if orphan.pid not in pids),
        stuck=tuple(stuck),
        elsewhere=tuple(known for known in dead if known.is_elsewhere),
    )


def find(runs: Container[str]) -> list[Orphan]:
    """All processes on this machine that carry the mark of one of these (dead) runs."""
    return [orphan for _, orphan in _marked(runs)]


def end(runs: Container[str], part: str | None = None) -> list[Orphan]:
    """Ends the orphans of these (dead) runs, or those alone that write this file's part; returns
    them all. Whoever is in state D may be there still.

    psutil remembers each process's start, so a number that was given to another process meanwhile
    is not signalled.
    """
    import psutil  # noqa: PLC0415

    found = [pair for pair in _marked(runs) if part is None or pair[1].part in {part, ""}]
    alive = [process for process, _ in found]
    for orphan in alive:
        with suppress(psutil.Error):
            orphan.terminate()
            orphan.resume()
    for orphan in _left(alive, process.GRACE):
        with suppress(psutil.Error):
            orphan.kill()
    _left(alive, process.LAST_GRACE)
    return [orphan for _, orphan in found]


def _left(processes: list[psutil.Process], patience: float) -> list[psutil.Process]:
    """Those that are still there after so many seconds. A zombie is not: its parent, who may never
    reap it, is not we.
    """

    def left() -> list[psutil.Process]:
        return list(filter(_is_alive, processes))

    process.wait_for(lambda: not left(), patience=patience, look_every=LOOK_EVERY)
    return left()


def _is_alive(orphan: psutil.Process) -> bool:
    import psutil  # noqa: PLC0415

    try:
        return orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _marked(runs: Container[str]) -> Iterator[tuple[psutil.Process, Orphan]]:
    """This user's; root sees all. The mark is compared whole."""
    import psutil  # noqa: PLC0415

    uid = os.getuid()
    for found in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if uid not in {0, found.uids().real}:
                continue
            marks = found.environ()
            if (run := marks.get(process.RUN_MARK, "")) in runs and _is_alive(found):
                part = marks.get(process.PART_MARK, "")
                yield found, Orphan(pid=found.pid, run=run, part=part)
