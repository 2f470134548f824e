"""What a run has come to, in the few lines that end it."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from wgetpool.events import AttemptFailed, Event, FileDone, FileFailed, FileSkipped, RunFinished
from wgetpool.model import FailureClass
from wgetpool.words import (
    count,
    format_duration,
    format_rate,
    format_size,
    printable,
    some,
)

NAMES_SHOWN = 3  # of the files of one group
REASONS_SHOWN = 8
OF_ONE_FILE = re.compile(r" \([\d,?]+ of [^)]*\)$")  # in a reason: how many bytes are here

NEXT_STEPS = {
    FailureClass.EXPIRED: "Download a fresh links file and run the same command: parts go on.",
    FailureClass.PERMANENT: "Check the links (404, 410: no such file; 401, 403: refused).",
    FailureClass.BROKEN: "What came is in {directory}/.wgetpool/rejected: look at it.",
    FailureClass.TRANSIENT: "Run the same command again: parts go on.",
    FailureClass.LOCAL: "Look at the disk and the permissions of {directory}, then run it again.",
}


@dataclass(slots=True)
class _Group:
    """Files that have something in common: how many, and the first few names."""

    size: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.size += 1
        if len(self.names) < NAMES_SHOWN:
            self.names.append(name)

    def __str__(self) -> str:
        return some(self.names, NAMES_SHOWN, self.size)


@dataclass(slots=True, kw_only=True)
class Summary:
    """Keeps what the summary needs of a run, in little memory however many files it has."""

    command: str
    directory: str
    _failures: dict[tuple[FailureClass, str], _Group] = field(default_factory=dict)
    _unproved: _Group = field(default_factory=_Group)
    _why: Counter[str] = field(default_factory=Counter)
    _retries: int = 0

    def add(self, event: Event) -> None:
        match event:
            case FileFailed():
                key = (event.class_, OF_ONE_FILE.sub("", event.reason))
                self._failures.setdefault(key, _Group()).add(event.name)
            case FileDone(proof=()):
                self._unproved.add(event.name)
            case FileSkipped():
                self._why[event.why] += 1
            case AttemptFailed() if event.retry_in is not None:
                self._retries += 1

    def lines(self, end: RunFinished) -> list[str]:
        """The lines that end a run; short when all went well."""
        lines = [self._outcome(end), self._amount(end)]
        if gone := self._why["gone"]:
            lines.append(f"Left out: {count(gone, 'file')} fetched before and moved away since.")
        if self._unproved.size:
            files = count(self._unproved.size, "file")
            lines.append(f"Nothing proves {files} whole: the server told no length.")
            lines.append(f"    {self._unproved}")
        lines += self._explain_failures()
        if end.failed or end.left:
            lines += ["The command that goes on:", f"    {self.command}"]
        return [printable(line) for line in lines]

    def _outcome(self, end: RunFinished) -> str:
        gone, adopted = self._why["gone"], self._why["adopted"]
        whole = end.done + end.skipped - gone
        known = end.skipped - gone - adopted
        how = ((end.done, "fetched"), (known, "known already"), (adopted, "taken over as found"))
        rest = ((end.failed, "failed"), (end.left, "not fetched"))
        told = ", ".join(f"{number} {word}" for number, word in how if number)
        files = count(whole + end.failed + end.left, "file")
        line = f"{whole} of {files} whole" + (f" ({told})" if told else "")
        return line + "".join(f", {number} {word}" for number, word in rest if number)

    def _amount(self, end: RunFinished) -> str:
        mean = format_rate(end.bytes / max(end.seconds, 0.001))
        retries = f"{self._retries} " + ("retry" if self._retries == 1 else "retries")
        parts = (
            f"{format_size(end.bytes)} in {format_duration(end.seconds)}",
            f"{mean} on average" if end.bytes else "",
            retries if self._retries else "",
        )
        return ", ".join(part for part in parts if part)

    def _explain_failures(self) -> Iterator[str]:
        """The failures by class and reason, the commonest first, each class with its next step."""
        ranked = sorted(self._failures.items(), key=lambda item: -item[1].size)
        shown, others = ranked[:REASONS_SHOWN], ranked[REASONS_SHOWN:]
        for kind, step in NEXT_STEPS.items():
            groups = [(reason, group) for (class_, reason), group in shown if class_ is kind]
            for reason, group in groups:
                yield f"Failed: {count(group.size, 'file')}, {reason}"
                yield f"    {group}"
            of_links = any(reason.startswith("HTTP") for reason, _ in groups)
            if groups and (kind is not FailureClass.PERMANENT or of_links):
                yield "  " + step.format(directory=self.directory)
        if others:
            files = count(sum(group.size for _, group in others), "file")
            yield f"Failed: {files} more, for {count(len(others), 'other reason')}"
        if others or any(group.size > NAMES_SHOWN for _, group in shown):
            yield f"  All names: wgetpool status {shlex.quote(self.directory)} --names failed"
