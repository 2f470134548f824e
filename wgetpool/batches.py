"""How many files one wget may be given: one, until a host has served several small ones quickly,
then more and more.

A process for each costs more than a small file, and a connection for each more than that: over
https five times as much. Passive: no thread, no I/O, no clock. Main thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from wgetpool.model import Ending, FailureClass, Outcome

SMALL = 1 << 18  # bytes: a host's files are small up to that
LARGEST = 1 << 22  # and one in the midst may have so many: it is not asked for twice
MOST = 32  # files for one wget
FIRST = 8  # small files in a row before there is a batch
SPAN = 1.0  # seconds that a batch is to take


@dataclass(slots=True)
class _Habit:
    """What a host's files were like: so many small ones in a row, at `seconds` each. `needed` are
    so many before there is a batch.
    """

    row: int = 0
    seconds: float = 0.0
    needed: int = FIRST


class Batches:
    """By host. After a batch of which a file did not come, for whatever reason, it begins anew;
    after one of which nothing came, twice as many have to come first.
    """

    def __init__(self) -> None:
        self._habits: dict[str, _Habit] = {}
        self.most = 1  # that any was given so far

    def limit(self, host: str) -> int:
        """How many files a wget may be given now."""
        habit = self._habits.get(host)
        if habit is None or habit.row < habit.needed:
            return 1
        limit = max(min(MOST, habit.row // 2, int(SPAN / max(habit.seconds, 1e-9))), 1)
        self.most = max(self.most, limit)
        return limit

    def ended(self, host: str, outcome: Outcome, *, is_first: bool, is_told: bool) -> None:
        """An attempt is over, the first of its batch, or another. `is_told`: the list has told the
        file's size, so that a large one is no surprise.
        """
        habit = self._habits.setdefault(host, _Habit())
        if outcome.failure is not None and outcome.failure.kind is FailureClass.PERMANENT:
            pass  # a missing file, say, is as quick
        elif outcome.whole is None:
            habit.row = 0
            if is_first and outcome.ending is Ending.UNTRIED:
                habit.needed *= 2
        elif "size" not in outcome.whole.proof:  # nobody could tell where it ends
            habit.row = 0
        elif outcome.whole.size <= SMALL:
            habit.row += 1
            habit.seconds += (outcome.seconds - habit.seconds) / min(habit.row, FIRST)
            if not is_first:
                habit.needed = FIRST
        elif not is_told:
            habit.row = 0
