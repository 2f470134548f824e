"""Doubles for the seams: a clock that a test moves, a scripted wget, a list for a reporter."""

from __future__ import annotations

import pkgutil
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from wgetpool.crew import Crew
from wgetpool.events import Event
from wgetpool.model import Command, ProcessState, Sight, StopFlag

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
E = TypeVar("E", bound=Event)


class FakeClock:
    """Stands still until it is moved. The wall clock goes along with it, from noon on."""

    def __init__(self, at: float = 1000.0) -> None:
        self.at = self._begin = at

    def now(self) -> float:
        return self.at

    def wall(self) -> datetime:
        return NOON + timedelta(seconds=self.at - self._begin)

    def stop(self) -> None:
        """It stands still anyway."""

    def go_on(self) -> None:
        pass

    def advance(self, seconds: float) -> None:
        self.at += seconds

    def pause(self, seconds: float, *, stop: StopFlag) -> None:
        """In the place of `process.pause`: takes no time, and moves the clock."""
        if not stop.is_set():
            self.advance(seconds)


class FullJitter(random.Random):
    """No chance: every wait is as long as it can be."""

    def random(self) -> float:
        return 1.0


class ListReporter:
    """Keeps every event."""

    def __init__(self, progress_interval: float | None = None) -> None:
        self.progress_interval = progress_interval
        self.events: list[Event] = []

    def handle(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


class FlagDouble:
    """A stop flag without a descriptor: nothing waits on it here (see `FakeClock.pause`)."""

    def __init__(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def fileno(self) -> int:
        return -1


@dataclass(frozen=True, slots=True)
class Row:
    """What a scripted child does at second `at` of its life: grows the part, writes to its log."""

    at: float
    data: bytes = b""
    log: str = ""
    act: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """A wget as rows. `exit_code` None: it runs until it is ended."""

    rows: Sequence[Row]
    exit_code: int | None = 0
    sight: Sight | None = None


class ScriptedChild:
    """Appends to the part what the script says, as the clock passes; ended, it does no more."""

    def __init__(self, command: Command, script: Script, clock: FakeClock) -> None:
        self.command, self.clock = command, clock
        into = command.argv[command.argv.index("-O") + 1]
        self.part = Path(into if into != "-" else f"/proc/self/fd/{command.stdout}")
        self.closed = False
        self.waits: list[float] = []
        self._script, self._rows = script, deque(script.rows)
        self._log = b""
        self._begin = clock.now()

    @property
    def pid(self) -> int:
        return 4711

    @property
    def rows_left(self) -> int:
        """How much of the script was not played: what never came over the line."""
        return len(self._rows)

    def wait(self, timeout: float, *, stop: StopFlag) -> bool:
        assert not self.closed, "a child is waited for after its close"
        self.waits.append(timeout)
        end = self.clock.now() + timeout
        while self._rows and self._begin + self._rows[0].at <= end:
            row = self._rows.popleft()
            self.clock.at = max(self.clock.at, self._begin + row.at)
            self._play(row)
            if stop.is_set():
                return False
        if not self._rows and self._script.exit_code is not None:
            return True
        self.clock.at = end
        return False

    def _play(self, row: Row) -> None:
        with self.part.open("ab") as file:
            file.write(row.data)
        self._log += row.log.encode("latin-1")
        if row.act is not None:
            row.act()

    def read_log(self) -> bytes:
        return self._log

    def look(self, *, link: bool = False) -> Sight:
        return self._script.sight or Sight(state=ProcessState.ALIVE)

    def close(self) -> tuple[int, bytes]:
        assert not self.closed, "a child is closed twice"
        self.closed = True
        ended_by_itself = not self._rows and self._script.exit_code is not None
        return (self._script.exit_code or 0) if ended_by_itself else -15, self._log


@dataclass(slots=True)
class ScriptedLauncher:
    """Starts a scripted child for each command, or raises what stands in its place.

    The last script plays for all further commands. A script may be a function of the command.
    """

    clock: FakeClock
    scripts: Sequence[Script | OSError | Callable[[Command], Script]]
    children: list[ScriptedChild] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)

    def __call__(self, command: Command, /) -> ScriptedChild:
        script = self.scripts[min(len(self.commands), len(self.scripts) - 1)]
        self.commands.append(command)
        if isinstance(script, OSError):
            raise script
        child = ScriptedChild(
            command, script if isinstance(script, Script) else script(command), self.clock
        )
        self.children.append(child)
        return child


class InlineExecutor(Executor):
    """Does the work at once, in the caller."""

    def __init__(self, *_: Any) -> None:
        pass

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  as the real executors do
            future.set_exception(error)
        return future


def inline_crew(size: int = 4) -> Crew:
    """Workers, keeper and sampler in one: the caller."""
    return Crew(
        workers=InlineExecutor(), keeper=InlineExecutor(), sampler=InlineExecutor(), size=size
    )


class ScriptedInbox:
    """An inbox that never blocks: a time-out moves the clock. `due` are (instant, item) rows."""

    def __init__(self, clock: FakeClock, due: Iterable[tuple[float, Any]] = ()) -> None:
        self._clock = clock
        self._items: deque[Any] = deque()
        self._due = deque(sorted(due, key=lambda row: row[0]))

    def expect(self, at: float, item: Any) -> None:
        """Has the item arrive at that instant, after all that was expected before."""
        self._due.append((at, item))

    def put(self, item: Any, /) -> None:
        self._items.append(item)

    def get(self, *, timeout: float | None = None) -> Any:
        if self._items:
            return self._items.popleft()
        end = None if timeout is None else self._clock.now() + max(timeout, 0.0)
        if self._due and (end is None or self._due[0][0] <= end):
            at, item = self._due.popleft()
            self._clock.at = max(self._clock.at, at)
            return item
        assert end is not None, "the loop would wait for ever"
        self._clock.at = end
        raise TimeoutError


def note_calls(
    patch: pytest.MonkeyPatch,
    calls: list[str],
    target: str,
    word: str | Callable[..., str] | None = None,
) -> None:
    """Has every call of `target`, a dotted name, noted in `calls` before it is carried out."""
    real = pkgutil.resolve_name(target)

    def noted(*args: Any, **kwargs: Any) -> Any:
        told = word(*args) if callable(word) else word
        calls.append(told or target.rpartition(".")[2])
        return real(*args, **kwargs)

    patch.setattr(target, noted)


def head(status: str, *fields: str, size: int | None = None, etag: str | None = None) -> str:
    """A response head as `wget -S` writes it."""
    lines = [f"HTTP/1.1 {status}", *fields]
    if size is not None:
        lines.append(f"Content-Length: {size}")
    if etag is not None:
        lines.append(f"ETag: {etag}")
    return "".join(f"  {line}\n" for line in lines)


def head_200(size: int | None, *fields: str, etag: str | None = None) -> str:
    return head("200 OK", *fields, size=size, etag=etag)


def came(url: str, size: int) -> str:
    """What wget says of a file that has come to its standard output."""
    return f'2026-03-01 12:00:00 URL:{url} [{size}/{size}] -> "-" [1]\n'


def refusal(url: str, status: str) -> str:
    """A head with an error, and what wget says of it."""
    code, _, phrase = status.partition(" ")
    return head(status, size=9) + f"{url}:\n2026-03-01 12:00:00 ERROR {code}: {phrase}.\n"


def head_206(start: int, size: int, *fields: str, etag: str | None = None) -> str:
    told = f"Content-Range: bytes {start}-{size - 1}/{size}"
    return head("206 Partial Content", told, *fields, size=size - start, etag=etag)
