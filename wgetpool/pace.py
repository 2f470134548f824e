"""How fast something goes, smoothed for people, and how long it still needs. No I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from wgetpool.events import Progress, Running
from wgetpool.model import Sample

RATE_WINDOW = 15.0  # seconds over which a rate that is shown is smoothed
STEADY_WINDOW = 300.0  # and the one that tells the time left: it may not jump
SETTLED = 10.0  # seconds until a time left is told


class Rate:
    """Bytes a second: the plain mean at first, then smoothed over `window` seconds."""

    def __init__(self, window: float = RATE_WINDOW, *, at: float = 0.0, total: int = 0) -> None:
        self.value: float | None = None
        self._window = window
        self._began = self._at = at
        self._total = total

    def add(self, at: float, total: int) -> None:
        """Takes a sample. A total that fell (a part that was cut) brought nothing."""
        step = at - self._at
        if step < 0.5:
            return  # too short to tell: it is left to the next one
        brought = max(total - self._total, 0) / step
        weight = max(1 - math.exp(-step / self._window), step / (at - self._began))
        value = self.value or 0.0
        self.value = value + weight * (brought - value)
        self._at, self._total = at, total


class Pace:
    """The rate of a whole run and the time that it still needs; None: not known yet.

    `earlier` is the rate of the run before it, where that is known: what this one needs is then
    known sooner.
    """

    def __init__(self, earlier: float | None = None) -> None:
        self.rate: float | None = None
        self._earlier = earlier
        self._age = 0.0
        self._shown, self._steady = Rate(RATE_WINDOW), Rate(STEADY_WINDOW)

    def add(self, at: float, received: int) -> None:
        """Takes a sample: seconds and bytes since the start."""
        for rate in (self._shown, self._steady):
            rate.add(at, received)
        self.rate, self._age = self._shown.value, at

    def left(self, size: int, whole: int | None) -> float | None:
        """Seconds until `size` bytes are `whole`."""
        return time_left(size, whole, self._expected())

    def _expected(self) -> float | None:
        """The rate to reckon with: the earlier one counts for less and less."""
        now = self._steady.value
        if self._earlier is None or now is None:
            return now if self._age >= SETTLED else None
        weight = min(self._age / STEADY_WINDOW, 1.0)
        return weight * now + (1 - weight) * self._earlier


class Pacer:
    """Adds rates and time left to what is seen of a run, from one look to the next."""

    def __init__(self, earlier: float | None = None) -> None:
        self._pace = Pace(earlier)
        self._rates: dict[str, tuple[int, Rate]] = {}

    def complete(self, seen: Progress) -> Progress:
        """The same, with all rates and the time left that are known by now."""
        self._pace.add(seen.seconds, seen.received)
        self._rates = {file.name: self._rate_of(file, seen.seconds) for file in seen.running}
        running = (replace(file, rate=self._rates[file.name][1].value) for file in seen.running)
        files = tuple(running)
        left = self._pace.left(seen.bytes, seen.size)
        is_held = seen.expired or seen.no_room
        if is_held and not (files or seen.waiting_count):
            left = None  # it goes on when somebody brings what is missing
        if _nothing_to_begin(seen) and any(
            file.rate is not None and file.rate < 1 for file in files
        ):
            left = None  # one of the last does not come on: nobody knows
        if left is not None:  # the last file may be a slow one, or one that waits
            lasts = [time_left(file.bytes, file.size, file.rate) or 0.0 for file in files]
            left = max(left, *lasts, *(file.due_in for file in seen.waiting), 0.0)
        return replace(seen, rate=self._pace.rate, left=left, running=files)

    def _rate_of(self, file: Running, at: float) -> tuple[int, Rate]:
        attempt, rate = self._rates.get(file.name, (0, None))
        if rate is None or attempt != file.attempt:
            rate = Rate(at=at, total=file.bytes)
        rate.add(at, file.bytes)
        return file.attempt, rate


def _nothing_to_begin(seen: Progress) -> bool:
    under_way = len(seen.running) + seen.waiting_count + seen.elsewhere
    return seen.done + seen.skipped + seen.failed + under_way >= seen.files


def rate_at_end(samples: Sequence[Sample]) -> float | None:
    """Bytes a second over the last minutes of a run; None where too few samples tell."""
    if len(samples) < 2:
        return None
    last, before = samples[-1], samples[-2]
    window = max(STEADY_WINDOW, last.seconds - before.seconds)  # they grow rarer with the run
    first = next(one for one in samples if one.seconds >= last.seconds - window)
    took = last.seconds - first.seconds
    return (last.received - first.received) / took if took > 0 else None


def time_left(size: int, whole: int | None, rate: float | None) -> float | None:
    """Seconds until `size` bytes are `whole`; None where nobody can tell."""
    if whole is None or whole <= size or rate is None or rate < 1:
        return None
    return (whole - size) / rate
