"""What a run has come to so far, in numbers. Pure; main thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wgetpool.jobs import Job


@dataclass(slots=True)
class Tally:
    """Counts of files, and bytes. `sized` files are of `size` bytes together; the others' sizes are
    not known.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    gone: int = 0  # of those skipped
    received: int = 0
    finished_bytes: int = 0
    sized: int = 0
    size: int = 0

    def learn(self, job: Job, size: int) -> None:
        """The file is of this size."""
        self.forget(job)
        job.size = size
        self.sized += 1
        self.size += size

    def forget(self, job: Job) -> None:
        """The file is not waited for, or its size is to be learned anew."""
        if job.size is not None:
            self.sized -= 1
            self.size -= job.size
            job.size = None

    def size_of_all(self, files: int, *, without: Iterable[Job]) -> int | None:
        """Of those that are wanted of so many files, in bytes: sizes that are not known count as
        the mean. None while none is known.
        """
        left_out = [job.size for job in without]
        sizes = [size for size in left_out if size is not None]
        sized, size = self.sized - len(sizes), self.size - sum(sizes)
        wanted = files - self.failed - self.gone - len(left_out)
        return size * wanted // sized if sized else None
