"""A file that is being scheduled, and the queues that it waits in. Pure: the caller hands in the
time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from wgetpool.model import Approach, Cause, EndedFor, Entry, FileId, FileState, Url, WholePart


@dataclass(slots=True)
class Job:
    """A file being scheduled. `length` is what its part has, `best` the most that it ever had;
    its last attempt was sent to `host`, by `link`; `recalled` says why it is wanted back,
    `held_for` what has been told of last. `rides`: its attempt is one at several files, of which
    another is the first; `solo`: it is to have a wget of its own.
    """

    entry: Entry
    state: FileState = FileState.PENDING
    attempts: int = 0
    announced: int = 0  # the attempt that has been told of last
    barren: int = 0
    best: int | None = None
    length: int = 0
    size: int | None = None
    approach: Approach = Approach.CONTINUE
    rejections: int = 0
    renewed: bool = False
    examine: bool = False
    replaces: FileId | None = None
    broken_sha256: str | None = None
    started_at: float = 0.0
    attempt_at: float = 0.0
    reason: str = ""
    whole: WholePart | None = None
    host: str = ""
    link: Url | None = None
    recalled: EndedFor | None = None
    held_for: Cause | None = None
    rides: bool = False
    solo: bool = False

    @property
    def is_fresh(self) -> bool:
        """Whether it has no past: no attempt that failed, and nothing on the disk."""
        there = self.length or self.examine or self.replaces or self.broken_sha256
        return self.best is None and not there


@dataclass(order=True, slots=True)
class Due:
    """A job that waits until an instant; the first that came is the first of one instant."""

    at: float
    number: int
    job: Job = field(compare=False)


class Later:
    """Jobs that wait, each until its own instant."""

    def __init__(self) -> None:
        self._dues: list[Due] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._dues)

    def __iter__(self) -> Iterator[Due]:
        return iter(self._dues)

    @property
    def next_at(self) -> float | None:
        return self._dues[0].at if self._dues else None

    def push(self, job: Job, at: float) -> None:
        self._number += 1
        heapq.heappush(self._dues, Due(at, self._number, job))

    def remove(self, is_wanted: Callable[[Job], bool]) -> list[Job]:
        """Takes out those that are wanted, in the order of their instants."""
        taken = [due for due in sorted(self._dues) if is_wanted(due.job)]
        self._dues = [due for due in self._dues if not is_wanted(due.job)]
        heapq.heapify(self._dues)
        return [due.job for due in taken]

    def pop_due(self, now: float) -> Job | None:
        """The next one whose instant has come."""
        if self._dues and self._dues[0].at <= now:
            return heapq.heappop(self._dues).job
        return None

    def due_by(self, at: float, *, most: int) -> int:
        """How many are due by then, counted up to `most`."""
        number, places = 0, [0]
        while places and number < most:  # down the heap, as far as it is due
            place = places.pop()
            if place < len(self._dues) and self._dues[place].at <= at:
                number += 1
                places += (2 * place + 1, 2 * place + 2)
        return number


class Ready:
    """Jobs whose turn it is: what was begun before what was not, else as they came. One line for
    each host, so that one that is not to be asked now holds up no other.
    """

    def __init__(self) -> None:
        self._lines: dict[str, list[tuple[int, int, Job]]] = {}
        self._heads: list[tuple[int, int, str]] = []  # of the lines, and some that are outdated
        self._number = self._count = 0
        self.again: dict[str, Job] = {}  # those that were begun, by name

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Job]:
        """In their order."""
        rows = sorted(row for line in self._lines.values() for row in line)
        return (job for _, _, job in rows)

    def push(self, job: Job, *, again: bool = False) -> None:
        self._number += 1
        self._count += 1
        host = job.entry.url.host
        line = self._lines.setdefault(host, [])
        heapq.heappush(line, (0 if again else 1, self._number, job))
        if again:
            self.again[job.entry.name] = job
        if line[0][1] == self._number:
            self._put_head(host, line)

    def pop(self, admits: Callable[[str], bool]) -> Job | None:
        """The first whose host is admitted."""
        passed = []
        found = None
        while self._heads and found is None:
            head = heapq.heappop(self._heads)
            _, number, host = head
            line = self._lines.get(host)
            if not line or line[0][1] != number:
                continue
            if not admits(host):
                passed.append(head)
                continue
            found = self.pop_beside(host, lambda _: True)
        for head in passed:
            heapq.heappush(self._heads, head)
        return found

    def pop_beside(self, host: str, fits: Callable[[Job], bool]) -> Job | None:
        """The next one of this host, where it fits."""
        line = self._lines.get(host)
        if not line or not fits(line[0][2]):
            return None
        found = heapq.heappop(line)[2]
        self._count -= 1
        self.again.pop(found.entry.name, None)
        if line:
            self._put_head(host, line)
        else:
            del self._lines[host]
        return found

    def waiting(self, host: str) -> int:
        """How many wait for this host."""
        return len(self._lines.get(host, ()))

    def lines(self) -> Iterator[tuple[str, int]]:
        """How many wait for each host."""
        return ((host, len(line)) for host, line in self._lines.items())

    def drain(self) -> list[Job]:
        """All of them, in their order; none is left."""
        jobs = list(self)
        self._lines.clear()
        self._heads.clear()
        self.again.clear()
        self._count = 0
        return jobs

    def _put_head(self, host: str, line: list[tuple[int, int, Job]]) -> None:
        priority, number, _ = line[0]
        heapq.heappush(self._heads, (priority, number, host))
