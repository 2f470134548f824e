"""Links files that are replaced while a run goes on: noticed, read again, and told by name.

Runs in the sampler's thread: a long list takes its time.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from wgetpool.errors import SourceError
from wgetpool.model import Entry, FileId, FreshLinks, Url
from wgetpool.process import SystemClock
from wgetpool.signed import expires_at, lacks_beside, same_site
from wgetpool.sources import relist
from wgetpool.words import count, format_time

LOOKS = 2  # a file that is the same at so many is written to the end
MORE_LOOKS = 5  # where its last line has no end: that may still come


@dataclass(slots=True)
class _Watched:
    """A links file, and what was seen of it. `taken` is the state that was read last, or has been
    complained of; `seen` another one, at the last so many `looks`.
    """

    label: str
    path: Path
    taken: FileId | None
    seen: FileId | None = None
    looks: int = 0
    is_denied: bool = False

    def look(self) -> FileId | None:
        """The state that the file has come to, where that is a new one; None for nothing new, for
        one that is being written, and for none at all.
        """
        found = _state(self.path)
        if found is None or found.size == 0 or found == self.taken:
            self.seen, self.looks = None, 0
            return None
        self.looks = self.looks + 1 if found == self.seen else 1
        self.seen = found
        if self.looks < LOOKS or (self.looks < MORE_LOOKS and not _ends_well(self.path)):
            return None
        return found


class LinksFiles:
    """The links files among the sources of a run. Made before these are read, so that nothing that
    happens meanwhile is missed; `watch` is told what was chosen. `now` tells what has expired.
    """

    def __init__(
        self,
        sources: Sequence[str],
        entries: Sequence[Entry] = (),
        *,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        paths = dict.fromkeys(source for source in sources if not _is_no_file(source))
        states = ((Path(source), _state(Path(source))) for source in paths)
        self._files = [_Watched(_label(path), path, found) for path, found in states if found]
        self._is_only = len(sources) == 1
        self._entries = entries
        self._latest: dict[str, Url] = {}
        self._now = now or SystemClock().wall

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(file.label for file in self._files)

    def watch(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    def look(self) -> list[FreshLinks]:
        return [fresh for file in self._files for fresh in self._look_at(file)]

    def _look_at(self, file: _Watched) -> Iterator[FreshLinks]:
        found = file.look()
        if found is None:
            return
        try:
            fresh = self._read(file)
        except SourceError as error:
            # One that may not be read may be allowed any moment, which changes nothing else of it.
            denied = not os.access(file.path, os.R_OK)
            if _state(file.path) == found and not (denied and file.is_denied):
                head, *rest = str(error).splitlines()
                yield _complaint(file, " ".join([head, "; ".join(rest)]).strip())
            file.is_denied = denied
            if not denied:
                file.taken = found
            return
        if _state(file.path) != found:  # it was written to meanwhile
            return
        file.taken, file.is_denied = found, False
        if fresh is not None:
            self._latest.update(fresh.links)
            yield fresh

    def _read(self, file: _Watched) -> FreshLinks | None:
        """The links that are new and no worse than the old ones, or why there are none; None where
        all are as before.
        """
        current = {entry.name: entry.url for entry in self._entries} | self._latest
        told = relist(file.path, current)
        if not told:
            return _complaint(file, "none of the files of this run is in it")
        now = self._now()
        new = {name: url for name, url in told.items() if url != current[name]}
        found = {name: _fault(url, current[name], now) for name, url in new.items()}
        faults = [fault for fault in found.values() if fault]
        if len(faults) == len(new):
            return _complaint(file, f"its links {_in_words(faults, len(told))}") if new else None
        stay = f"The old links stay for {count(len(faults), 'file')}: the new ones "
        return FreshLinks(
            source=file.label,
            links={name: url for name, url in new.items() if not found[name]},
            left_out=stay + _in_words(faults, len(faults)) if faults else "",
            # Of several sources, nobody knows which one named a file.
            missing=len(current) - len(told) if self._is_only else 0,
        )


@dataclass(frozen=True, slots=True)
class _Fault:
    """Why a new link is worse than the old one: what such links do, and when they expire."""

    what: str
    expiry: datetime | None = None


def _fault(url: Url, old: Url, now: datetime) -> _Fault | None:
    if words := lacks_beside(url, old):
        return _Fault(f"are cut: they lack {words}")
    expiry, before = expires_at(url), expires_at(old)
    if expiry is None:
        return None
    if expiry <= now:
        too = before is not None and before <= now
        return _Fault("have expired, too" if too else "have expired", expiry)
    # A mirror's links may be good for a shorter time.
    if before is not None and expiry < before and same_site(url, old):
        return _Fault("expire before the old ones", expiry)
    return None


def _in_words(faults: Sequence[_Fault], total: int) -> str:
    """What is wrong with links of so many files."""
    parts = []
    for what, number in Counter(fault.what for fault in faults).items():
        times = [fault.expiry for fault in faults if fault.what == what and fault.expiry]
        last = f" (the last at {format_time(max(times))})" if times else ""
        parts.append(f"{what}{last}" + (f" for {count(number, 'file')}" if number < total else ""))
    return ", and ".join(parts)


def _complaint(file: _Watched, reason: str) -> FreshLinks:
    text = f"{file.label} was replaced, and is not taken up: {reason}. The old links stay."
    return FreshLinks(source=file.label, complaint=text)


def _label(path: Path) -> str:
    return str(path).partition("?")[0]  # perhaps a link that lost its beginning


def _is_no_file(source: str) -> bool:
    """Whether it is standard input or a URL."""
    return source == "-" or re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", source) is not None


def _state(path: Path) -> FileId | None:
    """The state of a regular file; None for what is none (a pipe is read once), or not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return FileId.of(found) if stat.S_ISREG(found.st_mode) else None


def _ends_well(path: Path) -> bool:
    """Whether the last line has its end."""
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"
    except OSError:
        return True  # the reading will tell
