"""Files that wait for what somebody has to bring: a fresh link, or room on the disk; and what is
said of them. Pure; main thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from wgetpool.jobs import Job
from wgetpool.links import Links
from wgetpool.room import Room
from wgetpool.signed import expires_at
from wgetpool.words import count, format_size, format_time


class Held:
    """Held files, as they came."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self.jobs.values()))

    def put(self, job: Job) -> None:
        self.jobs[job.entry.name] = job

    def take(self, job: Job) -> Job:
        return self.jobs.pop(job.entry.name)


class WithoutLink(Held):
    """Files whose links have expired. `files` are the links files that can be replaced."""

    def __init__(self, links: Links, files: tuple[str, ...]) -> None:
        super().__init__()
        self._links, self._files = links, files
        self._told = False

    @property
    def can_be_renewed(self) -> bool:
        """Whether there is a links file that a newer one may take the place of."""
        return bool(self._files)

    def good_again(self) -> list[Job]:
        """Those that were not even tried, and by the server's clock had not to be held."""
        return [job for job in self if not job.attempts and not self._links.expired(job.entry)]

    def renewed(self) -> list[Job]:
        """Those that have a fresh link now."""
        self._told = False
        return [job for job in self if self._links.latest(job.entry) != job.entry]

    @property
    def remedy(self) -> str:
        """What to do about links that expire."""
        if not self._files:
            return "The same command with fresh links goes on with what is left."
        files = " or ".join(self._files)
        return (
            f"Put a newer links file in the place of {files}: this run takes it up as it goes on."
        )

    @property
    def is_news(self) -> bool:
        """Whether nothing has been said yet that a new file could help."""
        return bool(self._files) and not self._told

    def warning(self, number: int) -> str:
        """Said once, when so many have expired of those that are left, and something goes on."""
        self._told = True
        return f"{count(number, 'link')} of those to come expired meanwhile. {self.remedy}"

    def summary(self, *, waiting: bool) -> str:
        """One message, however many links have expired."""
        links = (job.entry.url for job in self)
        times = sorted({format_time(at) for url in links if (at := expires_at(url))})
        when = f" at {times[0]}" if times else ""
        if len(times) > 1:
            when = f" from {times[0]} to {times[-1]}"
        told = f"{count(len(self), 'link')} expired{when}, by {self._links.by_whose_clock}"
        if waiting:
            return f"{told}: waiting for fresh ones. {self.remedy}"
        return f"{told}: download a new links file and run the same command: nothing is lost"


class WithoutRoom(Held):
    """Files for which there is no room on the disk, beside what is under way and what stays free
    (`min_free`, in bytes).
    """

    def __init__(self, room: Room, min_free: int) -> None:
        super().__init__()
        self._room, self._min_free = room, min_free
        self._told = self._told_again = False

    @property
    def first(self) -> Job:
        return next(iter(self.jobs.values()))

    def fitting(self, slots: int, most: int) -> list[Job]:
        """Those that fit now, for so many slots, of the first `most`."""
        wanted = ((job.entry.name, job.length, job.size) for job in islice(self, most))
        return [self.jobs[name] for name in self._room.fitting(wanted, slots)]

    def warning(self, reason: str | None = None) -> str | None:
        """Said once, of the first that waits; `reason` is the disk's own, where it has refused."""
        if self._told or not self.jobs:
            return None
        self._told = True
        name = self.first.entry.name
        if reason is not None:
            return f"{reason}: {name} waits until there is room"
        files = name if len(self) == 1 else f"{count(len(self), 'file')}, {name} the first"
        told = f"no room on the disk for {files}: {self.numbers(self.first)}"
        return f"{told}. Make some while others run: what waits goes on by itself"

    def relief(self) -> str | None:
        """Said once, when what was told to wait goes on."""
        news = self._told and not self._told_again
        self._told_again = self._told
        return "there is room on the disk again: what waited for it goes on" if news else None

    def forget_if_empty(self) -> None:
        """What is held after this is news again."""
        if not self.jobs:
            self._told = self._told_again = False

    def verdict(self, job: Job) -> str:
        """Why the run ends with this file, and those that are left, not fetched."""
        others = f", nor for {count(len(self), 'more file')}" if self.jobs else ""
        largest = max((job, *self), key=lambda one: one.length)
        part = f"; {largest.entry.name}.part has {format_size(largest.length)} of it"
        kept = part if largest.length else ""
        return f"no room on the disk{others}: {self.numbers(job)}{kept}"

    def numbers(self, job: Job) -> str:
        """'20.0 GiB are to come, 2.1 GiB are free, 1.0 GiB are kept (--min-free)'."""
        rows = (
            (None if job.size is None else max(job.size - job.length, 0), "are to come"),
            (self._room.free, "are free"),
            (self._room.reserved or None, "of these are for what is under way"),
            (self._min_free or None, "are kept (--min-free)"),
        )
        told = (f"{format_size(size)} {what}" for size, what in rows if size is not None)
        return ", ".join(told)
