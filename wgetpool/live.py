"""What a live run tells onlookers: how far it is, in memory that others can read.

A memfd, which they find among the open files of the process: nothing is left behind whatever ends
the run, and no disk that has stopped to answer can hold it up. So it is seen on its own machine
only.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from wgetpool.events import Progress, Running, Waiting
from wgetpool.store import KnownRun

NAME = "wgetpool-live"
TRIES = 3  # it may be replaced just while somebody looks for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A run as it was seen `at` a moment."""

    at: datetime
    progress: Progress


class Billboard:
    """Where a run shows how far it is. Main thread."""

    def __init__(self) -> None:
        self._shown: int | None = None

    def show(self, look: Look) -> None:
        """Replaces what was shown before: nobody reads half of it. Raises OSError."""
        told = {"at": look.at.isoformat(), "progress": asdict(look.progress)}
        fresh = os.memfd_create(NAME)
        try:
            with open(fresh, "wb", closefd=False) as file:
                file.write(json.dumps(told).encode())
        except OSError:
            os.close(fresh)
            raise
        self.close()
        self._shown = fresh

    def close(self) -> None:
        if self._shown is not None:
            os.close(self._shown)
            self._shown = None


def read(known: KnownRun) -> Look | None:
    """What a run shows now; None where it shows nothing, or nobody here may see it."""
    pid = known.signature.pid if known.signature else 0
    with suppress(OSError, ValueError, TypeError, KeyError):
        if not known.is_process(pid):
            return None
        for _ in range(TRIES):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError, ValueError):  # closed, or just being written
                    if str(link.readlink()).startswith(f"/memfd:{NAME}"):
                        return _parse(link.read_bytes())
    return None


def _parse(text: bytes) -> Look:
    told = json.loads(text)
    progress = dict(told["progress"])
    progress["running"] = tuple(Running(**each) for each in progress["running"])
    progress["waiting"] = tuple(Waiting(**each) for each in progress["waiting"])
    return Look(at=datetime.fromisoformat(told["at"]), progress=Progress(**progress))
