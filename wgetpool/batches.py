"""How many files one wget may be given: one, until a host has served several small ones quickly,
then more and more.

A process for each costs more than a small file does: over https, where each reads the system's
certificates, five times as much as over http. Passive: no thread, no I/O, no clock. Main thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from wgetpool.model import TOO_MUCH, Ending, FailureClass, Outcome

SMALL = 1 << 18  # bytes: a host's files are small up to that
LARGEST = 1 << 22  # and one in the midst may have so many: it is not asked for twice
MOST = 32  # files for one wget
FIRST = 8  # small files in a row before there is a batch
SPAN = 1.0  # seconds that a batch is to take, at most


@dataclass(slots=True)
class _Habit:
    """What a host's files were like: so many small ones in a row, at `seconds` each. Its batches
    brought nothing so many times in a row (`misfits`), or were too much for it (`refused`).
    """

    row: int = 0
    seconds: float = 0.0
    misfits: int = 0
    refused: int = 0

    @property
    def needed(self) -> int:
        """So many files in a row before there is a batch."""
        return FIRST << min(self.misfits + self.refused, 10)


class Batches:
    """By host. After a batch of which a file did not come, for whatever reason, it begins anew;
    after one of which nothing came, or a 429 or 503, twice as many have to come first. A batch is
    to take `span` seconds.
    """

    def __init__(self, span: float = SPAN) -> None:
        self._span = span
        self._habits: dict[str, _Habit] = {}
        self.most = 1  # that any was given so far

    def limit(self, host: str) -> int:
        """How many files a wget may be given now."""
        habit = self._habits.get(host)
        if habit is None or habit.row < habit.needed:
            return 1
        limit = max(min(MOST, habit.row // 2, int(self._span / max(habit.seconds, 1e-9))), 1)
        self.most = max(self.most, limit)
        return limit

    def ended(self, host: str, outcome: Outcome, *, is_first: bool, is_told: bool) -> None:
        """An attempt is over, the first of its batch, or another. `is_told`: the list has told the
        file's size, so that a large one is no surprise.
        """
        habit = self._habits.setdefault(host, _Habit())
        failure = outcome.failure
        if failure is not None and failure.kind is FailureClass.PERMANENT:
            pass  # a missing file, say, is as quick
        elif outcome.whole is None:
            habit.row = 0
            habit.misfits += is_first and outcome.ending is Ending.UNTRIED
            habit.refused += failure is not None and failure.status in TOO_MUCH and not is_first
        elif "size" not in outcome.whole.proof:  # nobody could tell where it ends
            habit.row = 0
        elif outcome.whole.size <= SMALL:
            habit.row += 1
            habit.seconds += (outcome.seconds - habit.seconds) / min(habit.row, FIRST)
            if not is_first:
                habit.misfits = 0
        elif not is_told:
            habit.row = 0
