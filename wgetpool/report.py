"""The listeners of a run that need no terminal: plain lines, quiet, JSON; and the choice among all.

Decides nothing, and never loads rich: that comes with `display`, on a terminal only. Main thread.
"""

from __future__ import annotations

import json as jsonlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime
from io import TextIOWrapper
from typing import TextIO

from wgetpool.model import Event, FileFailed, Progress, Reporter, RunFinished, Stopping, Warned
from wgetpool.words import Pace, Tally, describe, describe_progress, write_lines

PLAIN_INTERVAL = 60.0


def make_reporter(
    *,
    json: bool,
    quiet: bool,
    stdout: TextIO,
    stderr: TextIO,
    command: str,
    directory: str,
    now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
) -> Reporter:
    """What fits options and terminal. `command` is the one that goes on, without secrets."""
    tally = Tally(command=command, directory=directory)
    if isinstance(stdout, TextIOWrapper):
        stdout.reconfigure(errors="backslashreplace")  # a name foreign to the locale ends no run
    if json:
        return JsonReporter(tally=tally, stdout=stdout, stderr=stderr, now=now)
    if not quiet and stdout.isatty() and os.environ.get("TERM") != "dumb":
        from wgetpool.display import LiveReporter  # noqa: PLC0415  rich costs a third of a start

        return LiveReporter(tally=tally, stdout=stdout, now=now)
    return PlainReporter(tally=tally, stdout=stdout, now=now, quiet=quiet)


@dataclass(kw_only=True)
class PlainReporter:
    """A stamped line an event, and one of progress a minute. Quiet: failures and warnings only."""

    tally: Tally
    stdout: TextIO
    now: Callable[[], datetime]
    quiet: bool = False
    pace: Pace = field(default_factory=Pace)

    @property
    def progress_interval(self) -> float | None:
        return None if self.quiet else PLAIN_INTERVAL

    def handle(self, event: Event) -> None:
        self.tally.add(event)
        if isinstance(event, RunFinished):
            outcome, *details = self.tally.summary(event)
            self._write(f"finished {outcome}", *details)
        elif line := self._line(event):
            self._write(line)

    def close(self) -> None:
        self.stdout.flush()

    def _line(self, event: Event) -> str | None:
        if self.quiet and not isinstance(event, FileFailed | Warned):
            return None
        if isinstance(event, Progress):
            self.pace.add(event)
            return describe_progress(event, self.pace)
        return describe(event)

    def _write(self, line: str, *details: str) -> None:
        write_lines(self.stdout, [f"{self.now():%Y-%m-%d %H:%M:%S} {line}", *details])


@dataclass(kw_only=True)
class JsonReporter:
    """An object a line for each event but Progress; what people should read goes to stderr."""

    tally: Tally
    stdout: TextIO
    stderr: TextIO
    now: Callable[[], datetime]
    progress_interval: float | None = None

    def handle(self, event: Event) -> None:
        if isinstance(event, Progress):
            return
        self.tally.add(event)
        write_lines(self.stdout, [jsonlib.dumps(self._as_object(event))])
        if isinstance(event, RunFinished):
            write_lines(self.stderr, self.tally.summary(event))
        elif isinstance(event, Warned | Stopping):
            write_lines(self.stderr, [describe(event) or ""])

    def close(self) -> None:
        self.stdout.flush()

    def _as_object(self, event: Event) -> dict[str, object]:
        head = {"event": event.event, "time": self.now().isoformat(timespec="milliseconds")}
        keys = (item.name for item in fields(event))
        return head | {key.removesuffix("_"): getattr(event, key) for key in keys}
