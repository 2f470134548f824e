"""Looks how far a run is, and tells who wants to know: its listener, onlookers, the ledger.

The main thread decides when; the sampler's thread looks into DIR.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace

from wgetpool.errands import Errands
from wgetpool.events import Event
from wgetpool.live import Billboard, Look
from wgetpool.model import Clock, FreshLinks, Relister, Sample
from wgetpool.pace import Pacer
from wgetpool.part import peek
from wgetpool.records import sample_of
from wgetpool.scheduler import Scheduler
from wgetpool.store import Store

SHOWN_WAITING = 8  # waiting files that the listener is told of; onlookers are shown more
INTERVAL = 2.0  # seconds between two looks, where nobody asks for more
SAMPLE_INTERVAL = 10.0  # between two samples for the ledger, at least
SAMPLES_A_RUN = 1000  # and it grows with the run: so many by then, and then ever fewer


@dataclass(frozen=True, slots=True)
class _Seen:
    """A look at DIR: lengths of the running parts with the sizes that the server told, bytes that
    are free (None: not told), links files that were replaced, whether other runs are live (None:
    nobody asked).
    """

    parts: dict[str, tuple[int, int | None]]
    free: int | None
    fresh: list[FreshLinks]
    others: bool | None


class Monitor:
    """Main thread only. `interval` is how often the listener wants a `Progress`, in seconds; None:
    never.
    """

    def __init__(
        self,
        store: Store,
        run: str,
        *,
        scheduler: Scheduler,
        clock: Clock,
        errands: Errands,
        sampler: Executor,
        interval: float | None,
        emit: Callable[[Event], None],
        keep: Callable[[Sample], None],
        relister: Relister | None = None,
    ) -> None:
        self._store, self._run = store, run
        self._scheduler, self._clock = scheduler, clock
        self._errands, self._sampler = errands, sampler
        self._interval, self._emit, self._keep = interval, emit, keep
        self._relister = relister
        self._pacer = Pacer()
        self.left: float | None = None  # seconds that the run still takes, as of the last look
        self._began = now = clock.now()
        self._look_every = min(interval or INTERVAL, INTERVAL)  # more often only if asked to
        self._look_at = now + min(self._look_every, 1.0)
        self._tell_at = now + (interval or 0.0)
        self._sample_at = now + SAMPLE_INTERVAL
        self._is_looking = False
        self._billboard = Billboard()
        self._received = 0  # as the last look has seen it

    def expect_rate(self, rate: float | None) -> None:
        """What an earlier run made, in bytes a second."""
        self._pacer = Pacer(rate)

    def due_in(self) -> float | None:
        """Seconds until the next look; None while one is under way."""
        return None if self._is_looking else max(self._look_at - self._clock.now(), 0.0)

    def look_when_due(self) -> None:
        if self._scheduler.is_in_a_hurry and not self._is_looking:
            self._look_at = self._clock.now()
        if self.due_in() == 0.0:
            self._is_looking = True
            self._look_at = self._clock.now() + self._look_every
            wanted = self._scheduler.to_sample()
            stuck = self._scheduler.is_stuck
            self._errands.send(self._sampler, self._on_seen, self._measure, wanted, stuck)

    def _measure(self, wanted: list[tuple[str, bool]], ask_for_others: bool) -> _Seen:
        """Runs in the sampler's thread. The room is looked at last: what came meanwhile counts
        twice, and never not at all.
        """
        parts = {name: peek(self._store, name, want_size=want) for name, want in wanted}
        free = self._store.free()
        others = len(self._store.live_runs()) > 1 if ask_for_others else None
        return _Seen(parts, free, self._relister.look() if self._relister else [], others)

    def _on_seen(self, seen: _Seen) -> None:
        now, at = self._clock.now(), self._clock.wall()
        for fresh in seen.fresh:
            self._scheduler.renew(fresh)
        progress = self._scheduler.progress(seen.parts, seconds=now - self._began)
        progress = self._pacer.complete(progress)
        self.left = progress.left
        lengths = {name: length for name, (length, _) in seen.parts.items()}
        self._scheduler.see(seen.free, lengths, others=seen.others)
        if self._interval is not None and now >= self._tell_at:
            self._tell_at = max(self._tell_at + self._interval, now)
            self._emit(replace(progress, waiting=progress.waiting[:SHOWN_WAITING]))
        # Only while bytes come: then the disk answers, and the ledger's keeper does not hang on it.
        if now >= self._sample_at and progress.received > self._received:
            self._sample_at = now + max(SAMPLE_INTERVAL, progress.seconds / SAMPLES_A_RUN)
            self._keep(sample_of(progress, run=self._run, at=at))
        self._received = progress.received
        with suppress(OSError):  # no descriptor, no memory: others will complain
            self._billboard.show(Look(at=at, progress=progress))
        self._is_looking = False

    def last_sample(self) -> Sample | None:
        """How far the run has come at its end; None where it brought nothing."""
        progress = self._scheduler.progress({}, seconds=self._clock.now() - self._began)
        if not progress.received:
            return None
        return sample_of(progress, run=self._run, at=self._clock.wall())

    def close(self) -> None:
        self._billboard.close()
