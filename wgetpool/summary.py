"""What a run has come to, in the few lines that end it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from wgetpool.advice import NAMES_SHOWN, Groups
from wgetpool.events import AttemptFailed, Event, FileDone, FileFailed, FileSkipped, RunFinished
from wgetpool.model import Cause
from wgetpool.words import (
    count,
    format_duration,
    format_rate,
    format_size,
    printable,
    some,
)

REASONS_SHOWN = 8


@dataclass(slots=True, kw_only=True)
class Summary:
    """Keeps what the summary needs of a run, in little memory however many files it has. `command`
    is the one that goes on; empty where it holds a secret.
    """

    command: str
    directory: str
    _failures: Groups = field(default_factory=Groups)
    _unproved: list[str] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)

    def add(self, event: Event) -> None:
        match event:
            case FileFailed():
                self._failures.add(event.name, event.cause, event.reason)
            case FileDone(proof=()):
                self._counts["unproved"] += 1
                if len(self._unproved) < NAMES_SHOWN:
                    self._unproved.append(event.name)
            case FileSkipped():
                self._counts[event.why] += 1
            case AttemptFailed() if event.retry_in is not None:
                self._counts["retry"] += 1

    def lines(self, end: RunFinished) -> list[str]:
        """The lines that end a run; short when all went well. Those with four blanks before them
        are to be copied, and stay as they are on a narrow terminal.
        """
        lines = [self._outcome(end), self._amount(end)]
        if gone := self._counts["gone"]:
            lines.append(f"Left out: {count(gone, 'file')} fetched before and moved away since.")
        if unproved := self._counts["unproved"]:
            files = count(unproved, "file")
            lines.append(f"Nothing proves {files} whole: the server told no length.")
            lines.append(f"  {some(self._unproved, NAMES_SHOWN, unproved)}")
        lines += self._failures.lines(self.directory, most=REASONS_SHOWN)
        wrong = self._failures.causes == {Cause.CUT_LINK}  # the command itself
        if end.left or (end.failed and not wrong):
            lines += self._goes_on()
        return [printable(line) for line in lines]

    def _goes_on(self) -> list[str]:
        if not self.command:
            return ["The same command again goes on with what is left."]
        if Cause.NO_SPACE in self._failures.causes and " --force" not in self.command:
            # By now more sizes are known, and the check before the start would refuse.
            return [
                "The command that goes on, as far as there is room:",
                f"    {self.command} --force",
            ]
        return ["The command that goes on:", f"    {self.command}"]

    def _outcome(self, end: RunFinished) -> str:
        gone, adopted = self._counts["gone"], self._counts["adopted"]
        whole = end.done + end.skipped - gone
        known = end.skipped - gone - adopted
        how = ((end.done, "fetched"), (known, "known already"), (adopted, "taken over as found"))
        rest = ((end.failed, "failed"), (end.left, "not fetched"))
        told = ", ".join(f"{number:,} {word}" for number, word in how if number)
        files = count(whole + end.failed + end.left, "file")
        line = f"{whole:,} of {files} whole" + (f" ({told})" if told else "")
        return line + "".join(f", {number:,} {word}" for number, word in rest if number)

    def _amount(self, end: RunFinished) -> str:
        mean = format_rate(end.bytes / max(end.seconds, 0.001))
        retries = self._counts["retry"]
        parts = (
            f"{format_size(end.bytes)} in {format_duration(end.seconds)}",
            f"{mean} on average" if end.bytes else "",
            f"{retries} " + ("retry" if retries == 1 else "retries") if retries else "",
        )
        return ", ".join(part for part in parts if part)
