"""The listeners of a run that need no terminal: plain lines, quiet, JSON; and the choice among all.

Decides nothing, and never loads rich: that comes with `display`, on a terminal only. Main thread.
"""

from __future__ import annotations

import json as jsonlib
import os
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from io import TextIOWrapper
from typing import TextIO

from wgetpool.events import Event, FileFailed, Reporter, RunFinished, Stopping, Warned
from wgetpool.lines import describe
from wgetpool.model import Wishes
from wgetpool.summary import Summary
from wgetpool.words import fit, rounded, write_lines


def make_reporter(
    wishes: Wishes,
    *,
    stdout: TextIO,
    stderr: TextIO,
    command: str,
    directory: str,
    now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
) -> Reporter:
    """What fits wishes and terminal. `command` is the one that goes on, without secrets."""
    summary = Summary(command=command, directory=directory)
    if isinstance(stdout, TextIOWrapper):
        stdout.reconfigure(errors="backslashreplace")  # a name foreign to the locale ends no run
    if wishes.json:
        return JsonReporter(wishes, summary=summary, stdout=stdout, stderr=stderr, now=now)
    if not wishes.quiet and stdout.isatty() and os.environ.get("TERM") != "dumb":
        from wgetpool.display import LiveReporter  # noqa: PLC0415  rich costs a third of a start

        return LiveReporter(wishes, summary=summary, stdout=stdout, now=now)
    return PlainReporter(wishes, summary=summary, stdout=stdout, now=now)


class PlainReporter:
    """A stamped line an event, and one of progress a minute. Quiet: failures and warnings only."""

    def __init__(
        self,
        wishes: Wishes,
        *,
        summary: Summary,
        stdout: TextIO,
        now: Callable[[], datetime],
    ) -> None:
        self._wishes, self._summary = wishes, summary
        self._stdout, self._now = stdout, now
        self.progress_interval = None if wishes.quiet else wishes.interval or None

    def handle(self, event: Event) -> None:
        self._summary.add(event)
        if isinstance(event, RunFinished):
            outcome, *details = self._summary.lines(event)
            self._write(f"finished {outcome}", *fit(details, self._stdout))
        elif self._wishes.quiet and not isinstance(event, FileFailed | Warned):
            return
        elif line := describe(event, verbose=self._wishes.verbose):
            self._write(line)

    def close(self) -> None:
        self._stdout.flush()

    def _write(self, line: str, *details: str) -> None:
        write_lines(self._stdout, [f"{self._now():%Y-%m-%d %H:%M:%S} {line}", *details])


class JsonReporter:
    """An object a line for each event; what people should read goes to stderr."""

    def __init__(
        self,
        wishes: Wishes,
        *,
        summary: Summary,
        stdout: TextIO,
        stderr: TextIO,
        now: Callable[[], datetime],
    ) -> None:
        self._summary, self._stdout, self._stderr, self._now = summary, stdout, stderr, now
        self.progress_interval = wishes.interval or None

    def handle(self, event: Event) -> None:
        self._summary.add(event)
        write_lines(self._stdout, [jsonlib.dumps(rounded(self._as_object(event)))])
        if isinstance(event, RunFinished):
            write_lines(self._stderr, fit(self._summary.lines(event), self._stderr))
        elif isinstance(event, Warned | Stopping):
            write_lines(self._stderr, [describe(event) or ""])

    def close(self) -> None:
        self._stdout.flush()

    def _as_object(self, event: Event) -> dict[str, object]:
        head = {"event": event.event, "time": self._now().isoformat(timespec="milliseconds")}
        return head | {key.removesuffix("_"): value for key, value in asdict(event).items()}
