"""The links of a run: which have expired, by whose clock, and what replaces them.

Passive: no thread, no I/O, no clock of its own. Main thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from wgetpool.model import Clock, Entry, Url
from wgetpool.signed import expires_at
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
    """Tells by the server's clock, once it was seen, and by ours before that."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.began = clock.wall()
        self._ahead: float | None = None  # seconds
        self._fresh: dict[str, Url] = {}

    @property
    def now(self) -> datetime:
        return self._clock.wall() + timedelta(seconds=self._ahead or 0.0)

    @property
    def by_whose_clock(self) -> str:
        return "this machine's clock" if self._ahead is None else "the server's clock"

    def hear(self, ahead: float) -> bool:
        """A server has told its time: it is so many seconds before ours. Returns whether that is
        news.
        """
        news = abs(ahead - (self._ahead or 0.0)) >= NOTICED
        if news or self._ahead is None:
            self._ahead = ahead
        return news

    def expired(self, url: Url) -> datetime | None:
        """When the link expired; None while it has not, or does not tell."""
        expiry = expires_at(url)
        return expiry if expiry is not None and expiry <= self.now else None

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
        wanted, now = list(entries), self.now
        times: list[datetime] = []
        for number, entry in enumerate(wanted):
            expiry = expires_at(self.latest(entry).url)
            turn = now + timedelta(seconds=left * number / len(wanted))
            if expiry is not None and now < expiry < turn:
                times.append(expiry)
        return Outlived(files=len(times), of=len(wanted), first=min(times)) if times else None
