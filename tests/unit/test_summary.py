"""What a run has come to: the lines that end it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from wgetpool.events import (
    AttemptFailed,
    Event,
    FileDone,
    FileFailed,
    FileSkipped,
    RunFinished,
)
from wgetpool.model import Cause, FailureClass
from wgetpool.summary import Summary
from wgetpool.words import wrap

COMMAND = "wgetpool get links.txt -o 'my files'"
MIB = 1024**2


def done(name: str = "a.tar", proof: tuple[str, ...] = ("size",)) -> FileDone:
    return FileDone(name=name, bytes=MIB, seconds=2.0, attempts=1, proof=proof)


def failed(name: str, reason: str, cause: Cause = Cause.OTHER) -> FileFailed:
    kind = FailureClass.TRANSIENT
    return FileFailed(name=name, reason=reason, class_=kind, cause=cause, attempts=1)


def retried() -> AttemptFailed:
    return AttemptFailed(
        name="a.tar",
        attempt=1,
        reason="HTTP 503",
        class_=FailureClass.TRANSIENT,
        status=503,
        bytes=0,
        retry_in=1.0,
    )


def finished(**given: Any) -> RunFinished:
    nothing = {"done": 0, "skipped": 0, "failed": 0, "left": 0}
    rest: dict[str, Any] = {"bytes": 200 * MIB, "seconds": 2.0, "exit_code": 0}
    return RunFinished(**nothing | rest | given)


def summary(events: Iterable[Event], end: RunFinished) -> list[str]:
    told = Summary(command=COMMAND, directory="/data/my files")
    for event in events:
        told.add(event)
    told.add(end)
    return told.lines(end)


def test_a_run_without_trouble_ends_with_two_lines() -> None:
    """Short when all went well."""
    assert summary([done()], finished(done=1)) == [
        "1 of 1 file whole (1 fetched)",
        "200 MiB in 2 s, 100 MiB/s on average",
    ]


def test_files_that_were_here_are_counted_by_what_was_known_of_them() -> None:
    """Known, adopted and gone files are told apart; gone ones are not called whole."""
    skipped = [
        FileSkipped(name=f"{number}", bytes=1, why=why)
        for number, why in enumerate(["known", "known", "adopted", "gone"])
    ]

    assert summary(skipped, finished(skipped=4, bytes=0)) == [
        "3 of 3 files whole (2 known already, 1 taken over as found)",
        "0 B in 2 s",
        "Left out: 1 file fetched before and moved away since.",
    ]


def test_failures_are_told_by_reason_with_the_next_step_and_the_command() -> None:
    """Each thing once: what failed, what to do before, the command that goes on."""
    failures = [
        failed(f"{n}.tar", f"closed early ({n},000 of 9,999 bytes are here)", Cause.CONNECTION)
        for n in range(5)
    ]

    lines = summary([*failures, retried()], finished(failed=5, left=1))

    assert lines == [
        "0 of 6 files whole, 5 failed, 1 not fetched",
        "200 MiB in 2 s, 100 MiB/s on average, 1 retry",
        "Failed: 5 files, closed early",
        "  0.tar, 1.tar, 2.tar and 2 more",
        "  Next: Such breaks often pass. If they do not: fewer at a time (-j) and more tries "
        "(--tries 20).",
        "All names:",
        "    wgetpool status '/data/my files' --names failed",
        "The command that goes on:",
        f"    {COMMAND}",
    ]


def test_a_run_that_was_stopped_ends_with_its_command() -> None:
    """Nothing failed, so there is nothing to be done but to go on."""
    assert summary([], finished(left=3))[2:] == ["The command that goes on:", f"    {COMMAND}"]


def test_a_command_that_holds_a_secret_is_not_shown() -> None:
    """Who typed it knows it."""
    told = Summary(command="", directory="/data")

    assert told.lines(finished(left=3))[2:] == ["The same command again goes on with what is left."]


def test_a_file_that_nothing_proves_is_named() -> None:
    """An unproved file is published, and said; the first few of many."""
    files = [done(f"{n}.tar", proof=()) for n in range(5)]

    assert summary(files, finished(done=5))[2:] == [
        "Nothing proves 5 files whole: the server told no length.",
        "  0.tar, 1.tar, 2.tar and 2 more",
    ]


def test_no_line_can_move_the_cursor() -> None:
    """Names and reasons are other people's."""
    lines = summary([failed("a\x1b[2J", "odd\n")], finished(failed=1))

    assert all(line.isprintable() for line in lines)


def test_the_lines_fit_a_narrow_terminal_and_the_commands_stay_whole() -> None:
    """At 60 columns no word is broken, and what is to be copied is one line."""
    events = [failed(f"{cause}.tar", f"reason {cause}", cause) for cause in Cause]
    lines = summary(events, finished(failed=len(events)))

    wrapped = list(wrap(lines, 60))

    assert all(len(line) <= 60 or line.startswith("    ") for line in wrapped)
    assert f"    {COMMAND} --force" in wrapped  # what there is no room for is known by now


def test_a_hundred_thousand_failures_take_no_room() -> None:
    """Each for a reason of its own, or all for one: a few names, a few reasons."""
    told = Summary(command=COMMAND, directory="/data")
    for number in range(100_000):
        told.add(failed(f"{number}", "HTTP 404", Cause.NOT_FOUND))
        told.add(failed(f"{number}", f"odd {number}"))

    lines = told.lines(finished(failed=200_000))

    assert len(lines) < 40
    assert sum(map(sys.getsizeof, lines)) < 10_000
    assert "Failed: 100,000 files, HTTP 404" in lines
    assert "Failed: 99,801 files, each for a reason of its own" in lines
