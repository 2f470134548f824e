"""The threads of a run, all started before there is work: as many as this machine allows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

from wgetpool import process
from wgetpool.errors import MachineError
from wgetpool.words import count

# Descriptors: of the program itself (ledger, locks, what it loads), of a worker with its wget, and
# one of each file that shares a wget or waits to be published.
OF_PROGRAM, OF_WORKER = 18, 8
CROWD, LEAST_CROWD = 512, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """`workers` has `size` threads, keeper and sampler one each. `crowd` is how many files may be
    held open beside those of the workers: such as wait to be published, or for their turn in a
    batch; `complaints` tell what was asked for and not given.
    """

    workers: Executor
    keeper: Executor
    sampler: Executor
    size: int
    crowd: int = CROWD
    complaints: tuple[str, ...] = ()


def recruit(wanted: int, *, open_files: Callable[[int], int] = process.open_files) -> Crew:
    """A crew with `wanted` workers, or fewer. Raises MachineError where there can be none."""
    allowed = open_files(OF_PROGRAM + OF_WORKER * wanted + CROWD)
    size, crowd = fit(wanted, allowed)
    keeper, sampler = start_threads("keeper", 1), start_threads("sampler", 1)
    workers = start_threads("fetch", size)
    complaints = []
    if size < wanted:
        limit = f"this process may open no more than {allowed} files (ulimit -n)"
        complaints.append(_complaint(limit, size, wanted))
    if workers.size < size:
        workers.executor.shutdown()
        workers = start_threads("fetch", max(workers.size // 2, 1))  # each needs a wget beside it
        limit = "the system starts no more threads for this user (ulimit -u, or -v)"
        complaints.append(_complaint(limit, workers.size, wanted))
    return Crew(
        workers=workers.executor,
        keeper=keeper.executor,
        sampler=sampler.executor,
        size=workers.size,
        crowd=crowd,
        complaints=tuple(complaints),
    )


def fit(wanted: int, allowed: int) -> tuple[int, int]:
    """How many workers so many descriptors are enough for, at least one, and how large a crowd."""
    size = min(wanted, max((allowed - OF_PROGRAM - LEAST_CROWD) // OF_WORKER, 1))
    spare = allowed - OF_PROGRAM - OF_WORKER * size
    return size, min(CROWD, max(spare, LEAST_CROWD))


def _complaint(limit: str, given: int, wanted: int) -> str:
    return f"{limit}: {count(given, 'file')} at a time instead of {wanted}"


@dataclass(frozen=True, slots=True)
class Threads:
    """An executor, and how many threads it has."""

    executor: Executor
    size: int


def start_threads(name: str, wanted: int) -> Threads:
    """An executor whose threads all run: it starts them when it is given work, and where the system
    gives none then, the work is lost.
    """
    executor = ThreadPoolExecutor(wanted, name, initializer=process.block_signals)
    given, go = 0, Event()
    try:
        while given < wanted:
            executor.submit(go.wait)
            given += 1
        return Threads(executor, wanted)
    except RuntimeError:  # can't start new thread
        if not given:
            raise MachineError(
                "The system starts no thread for this program. Raise the limit of processes "
                "(ulimit -u) or of memory (ulimit -v), or end some."
            ) from None
    finally:
        go.set()
    executor.shutdown()
    return start_threads(name, given)
