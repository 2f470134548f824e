"""What is finished and waits for the keeper: whole parts for company to be published in, rows to be
written down.

One sync of a folder and one commit of the ledger serve a whole group. No I/O; main thread.
"""

from __future__ import annotations

from wgetpool.model import Clock, Row, WholePart

GROUP = 64  # files published together at most
GROUP_BYTES = 1 << 20  # a group of so many bytes does not wait for more
GROUP_WAIT = 1.0  # seconds that a small file waits for company, and a row for the ledger


class Outbox:
    """Holds what came until it is worth a group: full, large, or old."""

    def __init__(self, clock: Clock, *, group: int = GROUP) -> None:
        self._clock, self._group = clock, group
        self._parts: list[WholePart] = []
        self._bytes = 0
        self._rows: list[Row] = []
        self._due_at: float | None = None

    def add_part(self, whole: WholePart) -> None:
        self._parts.append(whole)
        self._bytes += whole.size
        self._wait_for_company()

    def add_row(self, row: Row) -> None:
        self._rows.append(row)
        self._wait_for_company()

    @property
    def is_empty(self) -> bool:
        return self._due_at is None

    def due_in(self) -> float | None:
        """Seconds until what is here has waited long enough; None when there is nothing."""
        if self._due_at is None:
            return None
        if len(self._parts) >= self._group or self._bytes >= GROUP_BYTES:
            return 0.0
        return max(self._due_at - self._clock.now(), 0.0)

    def take(self) -> tuple[list[WholePart], list[Row]]:
        """The next group and all rows. More parts than a group may have are due at once."""
        group, self._parts = self._parts[: self._group], self._parts[self._group :]
        rows, self._rows = self._rows, []
        self._bytes = sum(whole.size for whole in self._parts)
        self._due_at = self._clock.now() if self._parts else None
        return group, rows

    def _wait_for_company(self) -> None:
        if self._due_at is None:
            self._due_at = self._clock.now() + GROUP_WAIT
