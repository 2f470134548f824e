"""How far a folder is, as people read it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from wgetpool.events import Running, Waiting
from wgetpool.folder import FileStatus, Folder, LiveRun
from wgetpool.model import Cause, Orphan, Sample
from wgetpool.overview import BEGUN_SHOWN, ENDLESS, lines_of
from wgetpool.store import KnownRun, Signature, Store

MIB, GIB = 1024**2, 1024**3


def file(name: str, state: str, here: int = 0, **given: Any) -> FileStatus:
    values: dict[str, Any] = dict.fromkeys(("reason", "class_", "cause", "sha256"))
    whole: dict[str, Any] = {"size": GIB, "attempts": 0, "proof": ()}
    return FileStatus(name=name, state=state, bytes=here, **values | whole | given)


def run(*running: Running, **given: Any) -> LiveRun:
    known = KnownRun(run="r", alive=True, signature=Signature(pid=7))
    return LiveRun(known=known, seen=True, running=running, heard=0.5, **given)


def running(number: int, **given: Any) -> Running:
    values: dict[str, Any] = {"attempt": 1, "bytes": GIB // 4, "size": GIB, "since": 9.0}
    return Running(name=f"sa_{number:06}.tar", **{"rate": 10.0 * MIB} | values | given)


def tell(files: list[FileStatus], *runs: LiveRun, width: int = ENDLESS, **given: Any) -> list[str]:
    values: dict[str, Any] = {"orphans": []}
    folder = Folder(store=Store(Path("/data")), files=files, runs=list(runs), **values | given)
    return list(lines_of(folder, width))


def test_the_first_line_tells_all_there_is() -> None:
    """How many are whole, under way, waiting, begun, failed, to come; how much is here."""
    files = [
        file("a", "done", GIB),
        file("sa_000001.tar", "partial", GIB // 4),
        file("c", "partial", GIB // 4),
        file("d", "failed", reason="HTTP 404", cause=Cause.NOT_FOUND),
        *(file(f"e{n}", "pending", size=None) for n in range(3)),
    ]
    waiting = Waiting(name="e1", attempt=2, due_in=9.1, reason="HTTP 503")

    lines = tell(files, run(running(1), waiting=(waiting,), waiting_count=1, rate=MIB, left=99))

    assert lines[:3] == [
        "1 of 7 files whole, 1 running, 1 waiting, 1 begun, 1 failed, 2 to come",
        "1.5 GiB of about 6.0 GiB here, 1.0 MiB/s, about 2 min left",
        "a run is working on it: pid 7",
    ]
    assert lines[3] == "sa_000001.tar  0.2/1.0 GiB  25%  10.0 MiB/s  2 min left"
    assert lines[4].split() == ["c", "0.2/1.0", "GiB", "25%"]
    assert lines[5] == "e1               try 2, again in 10 s: HTTP 503"


def test_a_folder_that_is_whole_has_little_to_say() -> None:
    """Nothing runs, nothing is to be done."""
    assert tell([file("a", "done", GIB)]) == [
        "1 of 1 file whole",
        "1.0 GiB here",
        "no run is working on it",
    ]


def test_a_folder_without_a_run_says_when_there_was_one_and_what_to_do() -> None:
    """The command that goes on; how fast the last one was."""
    counts = dict.fromkeys(("files", "done", "skipped", "failed", "running", "waiting", "bytes"), 1)
    last = Sample(
        run="r", at="2026-03-01T12:00:00+00:00", seconds=10, received=MIB, size=None, **counts
    )

    lines = tell([file("a", "pending")], last=last)

    assert re.fullmatch(
        r"no run is working on it; the last one was fetching until 2026-03-01 \d\d:\d\d, "
        r"102 KiB/s on average",
        lines[2],
    )
    assert lines[-1] == "The same wgetpool get again goes on with what is left."


def test_what_is_begun_is_told_up_to_a_limit() -> None:
    """A thousand parts do not fill the screen."""
    lines = tell([file(f"f{n:04}", "partial", MIB) for n in range(1000)])

    assert len([line for line in lines if line.startswith("f0")]) == BEGUN_SHOWN
    assert f"and {1000 - BEGUN_SHOWN} more begun" in lines


def test_more_that_wait_are_counted() -> None:
    """And the files that another run has."""
    waiting = tuple(Waiting(name=f"w{n}", attempt=2, due_in=0, reason="r") for n in range(8))
    lines = tell([file("a", "pending")] * 20, run(waiting=waiting, waiting_count=12, elsewhere=3))

    assert "and 4 more waiting" in lines
    assert "and 3 files of another run" in lines
    assert any(line.endswith("try 2, when a worker is free: r") for line in lines)


def test_what_a_run_is_held_for_is_told() -> None:
    """In whole sentences: nothing else may stand above them."""
    lines = tell([file("a", "pending")] * 20, run(expired=6, no_room=1))

    assert lines[lines.index("a run is working on it: pid 7") + 1 :][:2] == [
        "waiting for fresh links: 6 links expired",
        "waiting for room on the disk: 1 file",
    ]


def test_a_run_that_says_nothing_any_more_is_doubted() -> None:
    """Stopped, or hung: its numbers are old."""
    lines = tell([file("a", "pending")], replace(run(), heard=40.0))

    assert "it has told nothing for 40 s: does it hang?" in lines


def test_a_run_whose_workers_cannot_be_seen_says_so() -> None:
    """On another machine, or another user's: it is not idle."""
    lines = tell([file("a", "partial", 5)], replace(run(), seen=False, heard=None))

    assert "its workers cannot be seen from here, or not yet" in lines


def test_a_run_that_is_stopped_is_said_to_be() -> None:
    """By Ctrl-Z: with what lets it go on, and without a rate."""
    lines = tell([file("a", "partial", 5)], replace(run(), stopped=True, heard=40.0))

    (line,) = [line for line in lines if "stopped" in line]
    assert line == "the run with pid 7 is stopped: fg in its terminal, or kill -CONT, lets it go on"
    assert not any("told nothing" in line for line in lines)


def test_a_run_that_was_killed_is_said_to_be() -> None:
    """Until the next one follows it."""
    assert "no run is working on it; the last one was killed" in tell(
        [file("a", "partial")], killed=1
    )


def test_what_failed_stands_below_with_what_to_do() -> None:
    """By reason, the commonest first, whatever the order of names."""
    gone: dict[str, Any] = {"reason": "HTTP 404 Not Found", "cause": Cause.NOT_FOUND}
    busy: dict[str, Any] = {"reason": "HTTP 429 Too Many Requests", "cause": Cause.RATE_LIMITED}
    files = [file("a", "failed", **busy), *(file(f"g{n}", "failed", **gone) for n in range(2))]

    lines = tell(files)

    told = [line for line in lines if line.startswith("Failed:")]
    assert told == [
        "Failed: 2 files, HTTP 404 Not Found",
        "Failed: 1 file, HTTP 429 Too Many Requests",
    ]


def test_orphans_are_told_with_what_ends_them() -> None:
    """By file and pid."""
    lines = tell([file("a", "partial")], orphans=[Orphan(pid=9, run="r", part="a")])

    assert "1 wget of a killed run still works: a (pid 9); wgetpool stop /data ends it" in lines[3]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_it_fits_the_terminal_and_names_can_be_told_apart(width: int) -> None:
    """Whatever is long is shortened or broken between words."""
    names = [f"train/a folder 数据集/part-{n:05}-of-08192-4f2a9c.tar.gz" for n in range(40)]
    rows = [replace(running(n), name=name, attempt=2) for n, name in enumerate(names[:32])]
    waiting = [
        Waiting(name=name, attempt=3, due_in=2000, reason="the connection was closed early " * 3)
        for name in names[32:]
    ]
    files = [file(name, "partial", GIB // 3) for name in names]
    files.append(
        file("x", "failed", reason="HTTP 403 " + "a long reason " * 20, cause=Cause.FORBIDDEN)
    )

    lines = tell(files, run(*rows, waiting=tuple(waiting), waiting_count=9), width=width)

    assert max(map(cell_len, lines)) <= width
    told = [line for line in lines if re.search(r"\d+%  +10\.0 MiB/s", line)]
    assert len({line.split("  ")[0] for line in told}) == len(rows)
    assert all("try 2" in line for line in told)


def test_no_control_character_of_a_name_gets_out() -> None:
    """A name may hold one from an older ledger."""
    name = "a\x1b[31m\n\u202e.tar"
    lines = tell([file(name, "partial", 5)], run(replace(running(1), name=name)))

    assert all(line.isprintable() for line in lines)


def test_the_part_of_what_failed_is_here() -> None:
    """Its link has expired, say, and a fresh one goes on with it."""
    failed = file("a", "failed", GIB, size=2 * GIB, reason="the link has expired")

    assert "1.0 GiB of 2.0 GiB here" in tell([failed])[:3]
