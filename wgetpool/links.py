"""The links of a run: which have expired, by whose clock, and what replaces them.

Passive: no thread, no I/O, no clock of its own. Main thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from wgetpool.model import Clock, Entry, Url
from wgetpool.signed import expiry_of
from wgetpool.words import count, format_time

NOTICED = 60.0  # seconds by which two clocks may differ without a word


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlived:
    """So many files of those to come have links that expire before their turn, the first one of
    these at `first`.
    """

    files: int
    of: int
    first: datetime

    def __str__(self) -> str:
        return (
            f"at this rate {self.files:,} of the {count(self.of, 'link')} that are to come expire "
            f"before their turn, the first at {format_time(self.first)}"
        )


class Links:
    """Tells by a host's own clock, once it was seen, and by ours before that. A host whose clock
    would have links expire that are good by ours is believed when it has refused one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.began = clock.wall()
        self._ahead: dict[str, float] = {}  # seconds, by host
        self._confirmed: set[str] = set()
        self._fresh: dict[str, Url] = {}

    @property
    def by_whose_clock(self) -> str:
        if self._ahead:
            return "the server's clock"
        return f"this machine's clock ({format_time(self._clock.wall())} now)"

    def hear(self, host: str, ahead: float) -> bool:
        """A host has told its time: it is so many seconds before ours. Returns whether that is
        news.
        """
        news = abs(ahead - self._ahead.get(host, 0.0)) >= NOTICED
        if news or host not in self._ahead:
            self._ahead[host] = ahead
        return news

    def confirm(self, host: str) -> None:
        """The host has refused a link that had expired by its clock."""
        self._confirmed.add(host)

    def expired(self, entry: Entry) -> datetime | None:
        """When the link expired; None while it has not, or does not tell."""
        url = entry.url
        if (expiry := expiry_of(entry)) is None:
            return None
        ours = expiry <= self._clock.wall()
        theirs = expiry <= self._now(url.host)
        return expiry if theirs and (ours or url.host in self._confirmed) else None

    def _now(self, host: str) -> datetime:
        return self._clock.wall() + timedelta(seconds=self._ahead.get(host, 0.0))

    def replace(self, links: Mapping[str, Url]) -> None:
        """Fresh links by name, for what is still to come too."""
        self._fresh.update(links)

    def latest(self, entry: Entry) -> Entry:
        """The entry with its latest link."""
        url = self._fresh.get(entry.name)
        return entry if url is None or url == entry.url else replace(entry, url=url, cut=False)

    def outlived(self, entries: Iterable[Entry], left: float) -> Outlived | None:
        """Which of the entries that are to come expire before their turn, when they begin one after
        the other over the next `left` seconds. Any thread.
        """
        wanted = list(entries)
        times: list[datetime] = []
        for number, entry in enumerate(wanted):
            latest = self.latest(entry)
            expiry, now = expiry_of(latest), self._now(latest.url.host)
            turn = now + timedelta(seconds=left * number / len(wanted))
            if expiry is not None and now < expiry < turn:
                times.append(expiry)
        return Outlived(files=len(times), of=len(wanted), first=min(times)) if times else None
