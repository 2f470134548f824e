"""Links files that are replaced while a run goes on: noticed, read again, and told by name.

Runs in the sampler's thread: a long list takes its time.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wgetpool.errors import SourceError
from wgetpool.model import Entry, FileId, FreshLinks, Url
from wgetpool.sources import relist

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
    happens meanwhile is missed; `watch` is told what was chosen.
    """

    def __init__(self, sources: Sequence[str], entries: Sequence[Entry] = ()) -> None:
        paths = dict.fromkeys(source for source in sources if not _is_no_file(source))
        states = ((Path(source), _state(Path(source))) for source in paths)
        self._files = [_Watched(_label(path), path, found) for path, found in states if found]
        self._entries = entries
        self._latest: dict[str, Url] = {}

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
            links = self._read(file.path)
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
        if isinstance(links, str):
            yield _complaint(file, links)
            return
        self._latest.update(links)
        yield FreshLinks(source=file.label, links=links)

    def _read(self, path: Path) -> dict[str, Url] | str:
        """The links that are new, by name; or why there are none."""
        current = {entry.name: entry.url for entry in self._entries} | self._latest
        told = relist(path, current)
        if not told:
            return "none of the files of this run is in it"
        links = {name: url for name, url in told.items() if url != current[name]}
        return links or "its links are the same as before"


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
