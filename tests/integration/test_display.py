"""The live display of real runs, read back from an emulated terminal."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import pytest
from rich.cells import cell_len
from support.faultserver import FaultServer, Reply, file, status
from support.runner import PROGRAM, Sandbox, random_bytes, wait_until
from support.terminal import Terminal

pytest_plugins = ("support.fixtures",)

DATA = random_bytes(300_000)
SLOW = file(DATA, pace=(2_000, 0.1))
NAME = "train/part-{:06}-of-08192-8f3a77c0b1d2.tar.gz"
ROW = re.compile(r"\S+ +[━╸─]+ +\d+% ")
MOVES = re.compile(rb"\x1b\[\d*[A-Z]|\x1b\[[\d;]*m|[\r\n]")


PICTURE = b"\x1b[J"  # what ends one
CLEARED = b"\x1b[2J"


def get(box: Sandbox, links: Sequence[str], *more: object) -> tuple[str, ...]:
    words = ("get", box.links(*links), "-o", box.dir, "--backoff", "0.05", *more)
    return (*PROGRAM, *map(str, words))


def held(gate: threading.Event, *, at: int = 150_000) -> Reply:
    """Half of a file; the rest comes when the gate opens."""
    return file(DATA, body_gate=gate).cut_at(at, "hold")


def has_come(terminal: Terminal, what: bytes, times: int) -> bool:
    return terminal.output.count(what) >= times


def rows_of(terminal: Terminal) -> list[str]:
    return [line for line in terminal.lines if ROW.match(line)]


def rates_of(terminal: Terminal) -> int:
    """How many lines tell a rate, but for the total."""
    lines = (line for line in terminal.lines if "files" not in line)
    return sum(bool(re.search(r"[\d.]+ KiB/s", line)) for line in lines)


def total_of(terminal: Terminal) -> str:
    return next((line for line in reversed(terminal.lines) if line), "")


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("workers", [1, 32, 64])
def test_a_board_is_right_at_any_width(
    box: Sandbox, server: FaultServer, columns: int, workers: int
) -> None:
    """A line a worker where there is room, else the number of those that have none; never a line
    that is too wide, and each line tells which file it is.
    """
    table = {NAME.format(n): server.serve(f"/{n}", SLOW).url for n in range(workers)}
    command = (*PROGRAM, "get", str(box.table(table)), "-o", str(box.dir), "-j", str(workers))
    with Terminal(box, *command, columns=columns, rows=24) as terminal:
        wait_until(lambda: rates_of(terminal) >= min(workers, 20), 30, "rates")
        lines = terminal.lines
        rows = rows_of(terminal)
        terminal.process.send_signal(signal.SIGTERM)
        terminal.process.wait(20)

    numbers = [re.search(r"part-(\d{6})", row) for row in rows]
    assert len(rows) == min(workers, 19)
    assert len({number[1] for number in numbers if number}) == len(rows)
    assert max(map(cell_len, lines)) <= columns
    more = [line for line in lines if "more running" in line]
    assert len(more) == (workers > 19)
    assert all(line.startswith(f"and {workers - 19} more running, ") for line in more)
    assert [line for line in lines if re.match(rf"0/{workers} files? · ", line)]


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_wait_tells_the_next_try_and_the_reason(
    box: Sandbox, server: FaultServer, columns: int
) -> None:
    """While another file is being fetched, and while none is."""
    gate = threading.Event()
    busy = server.serve("/busy.tar", held(gate))
    failing = server.serve("/failing.tar", status(503))
    command = get(box, [busy.url, failing.url], "--backoff", "20")
    # A wait is random, and may be over before the server, which is busy, is asked for more.
    wait = r"^failing.tar +try \d, (again in \d+ s|when its server is asked for more): HTTP 503"
    with Terminal(box, *command, columns=columns, rows=24) as terminal:
        wait_until(lambda: re.search(wait, terminal.text, re.MULTILINE), what="the wait")
        wait_until(lambda: "50%" in terminal.text, what="the other file")
        gate.set()
        wait_until(lambda: "1/2 files" in terminal.text, what="its end")

        wait_until(lambda: re.search(wait, terminal.text, re.MULTILINE), what="the wait alone")
        wait_until(lambda: not rows_of(terminal))
        terminal.type("\x03")
        assert terminal.process.wait(10) == 130


def test_a_file_that_is_tried_again_says_so(box: Sandbox, server: FaultServer) -> None:
    """At the end of its line."""
    gate = threading.Event()
    route = server.serve("/a.tar", file(DATA).cut_at(100_000, "reset"), held(gate, at=60_000))
    with Terminal(box, *get(box, [route.url]), columns=80, rows=24) as terminal:
        wait_until(lambda: any(row.endswith("  try 2") for row in rows_of(terminal)))
        gate.set()
        assert terminal.process.wait(10) == 0


def test_the_terminal_is_believed_before_columns(box: Sandbox, server: FaultServer) -> None:
    """Some shells export COLUMNS: a board of that width would wrap in a narrower terminal."""
    box.env |= {"COLUMNS": "200", "LINES": "60"}
    gate = threading.Event()
    links = [server.serve(f"/{n}-{'x' * 90}.tar", held(gate)).url for n in range(3)]
    with Terminal(box, *get(box, links), columns=80, rows=24) as terminal:
        wait_until(lambda: len(rows_of(terminal)) == 3)
        first = next(n for n, line in enumerate(terminal.lines) if ROW.match(line))
        assert terminal.lines[first + 3].startswith("0/3 files")
        gate.set()
        assert terminal.process.wait(10) == 0


def test_with_verbose_every_retry_is_printed_above_the_board(
    box: Sandbox, server: FaultServer
) -> None:
    """And every file that is done; without it both are seen on the board only."""
    gate = threading.Event()
    failing = server.serve("/failing.tar", status(503), file(DATA))
    command = get(box, [failing.url, server.serve("/busy.tar", held(gate)).url], "--verbose")
    with Terminal(box, *command, columns=80, rows=24) as terminal:
        wait_until(lambda: "1/2 files" in terminal.text)

        assert re.search(r" retry failing.tar: HTTP 503 .*; try 2 in ", terminal.text)
        assert re.search(r" done failing.tar: 293 KiB in .*, 2 tries", terminal.text)
        gate.set()
        assert terminal.process.wait(10) == 0


def test_printed_lines_stay_above_the_board_when_the_terminal_is_resized(
    box: Sandbox, server: FaultServer
) -> None:
    """Narrower, lower, wider: one board, no rest of an older one, and what was printed once."""
    gate = threading.Event()
    links = [server.serve(f"/{n}-{'x' * 40}.tar", held(gate)).url for n in range(6)]
    links.append(server.serve("/gone.tar", status(404)).url)
    with Terminal(box, *get(box, links, "-j", "7"), columns=200, rows=30) as terminal:
        wait_until(lambda: len(rows_of(terminal)) == 6)
        sizes = [(200, 30), (60, 30), (80, 30), (80, 12), (20, 5), (120, 24)]
        for (before, _), (columns, rows) in pairwise(sizes):
            what, more = (CLEARED, 1) if columns < before else (PICTURE, 2)
            goal = terminal.output.count(what) + more
            terminal.resize(columns, rows)
            wait_until(partial(has_come, terminal, what, goal), what="a new picture")
            wait_until(lambda: total_of(terminal).startswith("0/7 files"))
            assert len(rows_of(terminal)) == (6 if rows > 5 else 0), terminal.text
            lines = terminal.lines
            assert sum(line.startswith("0/7 files") for line in lines) == 1, terminal.text
            assert rows < 30 or sum(" failed gone.tar" in line for line in lines) == 1
        gate.set()
        assert terminal.process.wait(10) == 1
        wait_until(lambda: "6 of 7 files whole" in terminal.text)

        assert "xxx" not in terminal.text
        assert terminal.is_sane


def test_nothing_is_written_while_nothing_changes(box: Sandbox, server: FaultServer) -> None:
    """And while something does, once a second at most."""
    other = box.start_get(server.serve("/a.tar", file(DATA).cut_at(150_000, "stall")).url)
    with other:
        wait_until(lambda: box.part_size("a.tar") == 150_000)
        command = get(box, [server.base + "/a.tar"])
        with Terminal(box, *command, columns=80, rows=24) as terminal:
            wait_until(lambda: "waiting for 1 file of another run" in terminal.text)
            wait_until(lambda: "0 B/s · 1 in another run" in terminal.text, 20)
            before = len(terminal.output)
            with pytest.raises(AssertionError):
                wait_until(lambda: len(terminal.output) != before, 3)
            terminal.type("\x03")
            assert terminal.process.wait(10) == 130


def test_a_picture_is_drawn_once_a_second_at_most(box: Sandbox, server: FaultServer) -> None:
    """And what it costs is little: names and numbers, and bars where they grow."""
    links = [server.serve(f"/{n}.tar", SLOW.but(pace=(200, 0.1))).url for n in range(16)]
    with Terminal(box, *get(box, links, "-j", "16"), columns=80, rows=24) as terminal:
        wait_until(lambda: len(rows_of(terminal)) == 16)
        before = len(terminal.output)
        with pytest.raises(AssertionError):
            wait_until(lambda: terminal.process.poll() is not None, 4)
        came = terminal.output[before:]
        terminal.type("\x03")
        terminal.process.wait(10)

    pictures = came.count(PICTURE)
    assert 2 <= pictures <= 5
    assert len(came) / pictures < 16 * 200


def test_at_the_end_the_terminal_is_the_shells(box: Sandbox, server: FaultServer) -> None:
    """The board is gone, the summary there, the cursor on a fresh line; and all that was ever
    written is text, colours, and moves of the cursor.
    """
    links = [server.serve(f"/{n}.tar", file(DATA, pace=(30_000, 0.2))).url for n in range(3)]
    with Terminal(box, *get(box, links), columns=80, rows=24) as terminal:
        wait_until(lambda: len(rows_of(terminal)) == 3)
        assert terminal.process.wait(20) == 0
        wait_until(lambda: "3 of 3 files whole (3 fetched)" in terminal.text)

        assert terminal.is_sane
        assert not rows_of(terminal)
        assert terminal.text.splitlines()[-2] == "3 of 3 files whole (3 fetched)"
        rest = MOVES.sub(b"", terminal.output).decode()
        assert rest.isprintable()


def test_a_stop_tells_what_it_waits_for(box: Sandbox, server: FaultServer) -> None:
    """A wget that is not gone at once is waited for, and that is said."""
    route = server.serve("/a.tar", file(DATA).cut_at(150_000, "stall"))
    unruly = box.script("bin/wget", 'trap "" TERM\nexec wget "$@"')
    command = get(box, [route.url], "--wget", unruly)
    with Terminal(box, *command, columns=80, rows=24) as terminal:
        wait_until(lambda: "50%" in terminal.text)

        terminal.type("\x03")

        wait_until(lambda: "stopping, waiting for 1 file" in terminal.text)
        assert terminal.process.wait(15) == 130


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_terminal_without_unicode_and_colours_gets_neither(
    box: Sandbox, server: FaultServer, encoding: str
) -> None:
    """NO_COLOR is obeyed, and a name that the terminal cannot show keeps its line."""
    box.env |= {"NO_COLOR": "1", "PYTHONIOENCODING": encoding}
    gate = threading.Event()
    table = {f"数据集-{'é' * 30}-{n}.tar": server.serve(f"/{n}", held(gate)).url for n in range(3)}
    command = (*PROGRAM, "get", str(box.table(table)), "-o", str(box.dir))
    with Terminal(box, *command, columns=80, rows=24) as terminal:
        wait_until(lambda: terminal.text.count("50%") == 3)
        lines = [line for line in terminal.lines if "50%" in line]
        gate.set()
        assert terminal.process.wait(10) == 0

    assert re.search(rb"\x1b\[[\d;]*3[0-7]m", terminal.output) is None
    assert [f"-{n}.tar" in line for n, line in enumerate(lines)] == [True] * 3
    assert all(line.isascii() for line in lines) == (encoding == "ascii")


def test_a_dumb_terminal_gets_plain_lines(box: Sandbox, server: FaultServer) -> None:
    """Not one control character."""
    route = server.serve("/a.tar", file(DATA, pace=(50_000, 0.3)))
    command = ("env", "TERM=dumb", *get(box, [route.url]))
    with Terminal(box, *command, columns=80, rows=24) as terminal:
        assert terminal.process.wait(20) == 0
        wait_until(lambda: "1 of 1 file whole" in terminal.text)

    assert b"\x1b" not in terminal.output
