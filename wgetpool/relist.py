"""Links files that are replaced while a run goes on: noticed, read again, and told by name.

Runs in the sampler's thread: a long list takes its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wgetpool.model import Entry, FreshLinks


class LinksFiles:
    """The links files among the sources of a run. `entries` are those that were chosen."""

    def __init__(self, sources: Sequence[str], entries: Sequence[Entry]) -> None:
        self._paths = [Path(source) for source in sources if source != "-"]
        self._entries = entries

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(map(str, self._paths))

    def look(self) -> list[FreshLinks]:
        return []
