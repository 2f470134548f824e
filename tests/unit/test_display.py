"""The live display, drawn into a string or onto an emulated screen."""

import io
import os
from datetime import UTC, datetime
from typing import Any

import pyte
import pytest
from rich.cells import cell_len
from rich.text import Text

from wgetpool.display import Board, LiveReporter, keep_places, plan_columns, shorten
from wgetpool.events import (
    AttemptFailed,
    FileFailed,
    Progress,
    RunFinished,
    Running,
    RunStarted,
    Stopping,
    Waiting,
    Warned,
)
from wgetpool.model import FailureClass, Wishes
from wgetpool.pace import Pacer
from wgetpool.report import make_reporter
from wgetpool.summary import Summary

MIB, GIB = 1024**2, 1024**3
WIDTHS = [60, 80, 120, 200]
LONG_NAME = "train/a folder with [bold]blanks[/] & 100% 数据集/AQPvK3z9XcF00aQ-éclair-{:06}.tar.gz"


def running(number: int = 0, **given: Any) -> Running:
    values = {"attempt": 1, "bytes": 300 * MIB, "size": GIB, "since": 3.0}
    named: dict[str, Any] = {"name": f"sa_{number:06}.tar"}
    return Running(**named | values | given)


def waiting(number: int = 0, **given: Any) -> Waiting:
    values = {"attempt": 3, "due_in": 19.2, "reason": "HTTP 503 Service Unavailable"}
    named: dict[str, Any] = {"name": f"sa_{number:06}.tar"}
    return Waiting(**named | values | given)


def progress(**given: Any) -> Progress:
    values: dict[str, Any] = {
        "seconds": 10.0,
        "files": 50,
        "done": 10,
        "skipped": 2,
        "failed": 0,
        "bytes": 3 * GIB,
        "received": 1000 * MIB,
        "size": 11 * GIB,
        "running": (running(),),
        "waiting": (),
        "waiting_count": 0,
    }
    return Progress(**values | given)


def draw(
    *samples: Progress, width: int = 80, height: int = 24, ascii_only: bool = False
) -> list[str]:
    """The lines of a board that has seen these samples; the blank one above them is left out."""
    board, pacer = Board(ascii_only=ascii_only), Pacer()
    for sample in samples:
        board.add(pacer.complete(sample))
    first, *lines = board.draw(width, height).plain.split("\n")
    assert first == ""
    return lines


class Terminal(io.StringIO):
    """What is written here is seen on an emulated screen."""

    encoding = "utf-8"

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__()
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.Stream(self.screen)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._stream.feed(text.replace("\n", "\r\n"))
        return super().write(text)

    def shown(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 24 lines of 80 columns, until its screen is resized."""
    terminal = Terminal(80, 24)
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    screen = terminal.screen
    monkeypatch.setattr(
        os, "get_terminal_size", lambda _fd: os.terminal_size((screen.columns, screen.lines))
    )
    return terminal


def reporter(terminal: Terminal) -> LiveReporter:
    return LiveReporter(
        Wishes(),
        summary=Summary(command="wgetpool get links.txt -o x", directory="x"),
        stdout=terminal,
        now=lambda: datetime(2026, 3, 1, 12, 5, tzinfo=UTC),
    )


class TestBoard:
    def test_a_worker_has_a_line_with_all_that_is_known_of_its_file(self):
        """Name, bar, percent, sizes, rate, time left, try."""
        before = progress(running=(running(bytes=200 * MIB, attempt=3),), seconds=9.0)
        now = progress(running=(running(attempt=3),))

        line, total = draw(before, now, width=80)

        assert " ".join(line.split()) == (
            "sa_000000.tar ━╸──── 29% 0.3/1.0 GiB 100 MiB/s 8 s left try 3"
        )
        assert total == "12/50 files · 3.0/11.0 GiB · 100 MiB/s · 2 min left"

    def test_a_file_without_known_size_shows_its_bytes_and_no_percent(self):
        """Nothing is made up for an unknown size."""
        line, _ = draw(progress(running=(running(size=None),)), width=80)

        assert "%" not in line
        assert "left" not in line
        assert "300 MiB" in line
        assert "·····" in line

    def test_a_rate_is_not_shown_before_there_are_two_samples(self):
        """A rate that is not known is not 0 B/s."""
        line, _ = draw(progress())

        assert "/s" not in line

    def test_a_file_with_all_its_bytes_is_being_checked(self):
        """100 % and still there: it is not stuck."""
        line, _ = draw(progress(running=(running(bytes=GIB),)))

        assert "100%" in line
        assert "checking" in line

    def test_a_part_longer_than_its_file_breaks_nothing(self):
        """The bar ends where it ends."""
        line, _ = draw(progress(running=(running(bytes=2 * GIB),)))

        assert "100%" in line

    def test_failures_are_in_the_total(self):
        """What needs attention is seen at a glance."""
        assert draw(progress(failed=2))[-1].endswith(" · 2 failed")

    def test_waiting_files_tell_what_they_wait_for(self):
        """Up to three lines, and how many more there are."""
        files = tuple(waiting(number) for number in range(5))

        lines = draw(progress(waiting=files, waiting_count=15))

        assert lines[1] == "waiting  sa_000000.tar  try 3 in 20 s: HTTP 503 Service Unavailable"
        assert lines[4] == "and 12 more waiting"

    def test_a_file_that_is_due_comes_next(self):
        """It waits for nothing but a worker."""
        lines = draw(progress(waiting=(waiting(due_in=0.0),), waiting_count=1))

        assert "try 3 next: " in lines[1]

    def test_without_unicode_the_bars_are_ascii(self):
        """A terminal that knows only ASCII still shows bars."""
        lines = draw(progress(), ascii_only=True)

        assert all(line.isascii() for line in lines)
        assert "##" in lines[0]

    @pytest.mark.parametrize("width", WIDTHS)
    @pytest.mark.parametrize("workers", [1, 4, 32, 64])
    @pytest.mark.parametrize("name", ["sa_{:06}.tar", LONG_NAME, "数" * 80 + "{}"])
    def test_no_line_is_wider_than_the_terminal_nor_the_board_higher(self, width, workers, name):
        """From 60 to 200 columns, with any number of workers, all stays on its line."""
        files = tuple(running(name=name.format(n), attempt=n + 1) for n in range(workers))
        later = tuple(waiting(name=name.format(n + 100)) for n in range(5))
        sample = progress(running=files, waiting=later, waiting_count=40, failed=17)

        lines = draw(progress(seconds=9.0, running=files), sample, width=width, height=20)

        assert max(cell_len(line) for line in lines) <= width
        assert len(lines) <= 18

    def test_more_workers_than_lines_are_counted(self):
        """What does not fit is said."""
        files = tuple(running(number) for number in range(64))

        lines = draw(progress(running=files), height=24)

        assert lines[-2] == f"and {64 - len(lines) + 2} more running"


class TestColumns:
    def test_the_bar_shrinks_first_then_time_left_goes_then_sizes(self):
        """As the terminal gets narrower the lines lose the least telling first."""
        plans = [plan_columns(width, longest=13, tries=True) for width in range(200, 49, -1)]

        bars = [plan.bar for plan in plans if plan.left]
        assert bars == sorted(bars, reverse=True)
        assert (bars[0], bars[-1]) == (40, 5)
        shown = [(plan.sizes, plan.left) for plan in plans]
        assert list(dict.fromkeys(shown)) == [(True, True), (True, False), (False, False)]

    def test_a_long_name_takes_room_from_the_bar(self):
        """A name says more than a bar."""
        plan = plan_columns(120, longest=90, tries=False)

        assert plan.bar == 5
        assert plan.name > 50

    def test_a_shortened_name_keeps_its_end(self):
        """The number and the suffix are what tells files apart."""
        assert shorten("AQPvK3z9XcF00aQ_opaque_000123.tar", 20) == "AQPv...ue_000123.tar"

    def test_wide_characters_count_twice(self):
        """A name fills its column to the cell."""
        assert cell_len(shorten("数据集" * 20, 21)) == 21

    def test_a_file_keeps_its_line_while_it_runs(self):
        """A new file takes the line of one that has ended; nothing else moves."""
        before = [running(1), running(2), running(3)]

        after = keep_places(before, (running(1), running(3), running(4), running(5)))

        assert after == [running(1), running(4), running(3), running(5)]
        assert keep_places(after, (running(5),)) == [running(5)]


class TestLiveReporter:
    def test_a_terminal_gets_the_live_display(self, terminal):
        """Chosen by standard output alone."""
        made = make_reporter(Wishes(), stdout=terminal, stderr=terminal, command="", directory="")

        assert isinstance(made, LiveReporter)
        assert made.progress_interval == 1.0

    def test_lines_are_printed_above_the_board(self, terminal):
        """What must be read stays on the terminal, the board below it."""
        live = reporter(terminal)
        live.handle(RunStarted(run="r", directory="x", files=50, workers=1))
        live.handle(progress())
        live.handle(
            FileFailed(name="a", reason="HTTP 404", class_=FailureClass.PERMANENT, attempts=1)
        )

        live.handle(progress(seconds=11.0, failed=1))

        shown = terminal.shown()
        assert shown[:2] == [
            "03-01 12:05 start 50 files into x, 1 worker",
            "03-01 12:05 failed a: HTTP 404",
        ]
        assert shown[2].startswith("sa_000000.tar")
        assert shown[3].startswith("12/50 files")
        assert len(shown) == 4

    def test_retries_are_not_printed_above_the_board(self, terminal):
        """They are seen on the board; by the thousand they would bury what must be read."""
        live = reporter(terminal)
        retry = AttemptFailed(
            name="a",
            attempt=2,
            reason="r",
            class_=FailureClass.TRANSIENT,
            status=None,
            bytes=0,
            retry_in=1.0,
        )

        live.handle(retry)
        live.handle(progress())

        assert not any("retry" in line for line in terminal.shown())

    def test_names_and_reasons_are_never_markup(self, terminal):
        """Brackets and colons of a name are printed as they are."""
        live = reporter(terminal)
        name = "[bold red]x[/] :smile:"

        live.handle(Warned(message=f"{name} [/nonsense]"))
        live.handle(progress(running=(running(name=name),)))

        assert f"03-01 12:05 warning: {name} [/nonsense]" in terminal.shown()
        assert any(line.startswith(f"{name}  ") for line in terminal.shown())

    def test_control_characters_reach_no_terminal(self, terminal):
        """A hostile reason cannot clear the screen."""
        live = reporter(terminal)

        live.handle(Warned(message="\x1b[2J\x07"))
        live.handle(progress(running=(running(name="a\x1b[2Jb"),)))

        assert "\x1b[2J" not in terminal.getvalue()
        assert "\x07" not in terminal.getvalue()

    def test_at_the_end_the_board_is_gone_and_the_summary_there(self, terminal):
        """The terminal is given back, cursor shown, with what there is to say."""
        live = reporter(terminal)
        live.handle(progress())

        live.handle(
            RunFinished(
                done=1,
                skipped=0,
                failed=0,
                left=0,
                bytes=GIB,
                seconds=10.0,
                exit_code=0,
            )
        )
        live.close()

        assert terminal.shown() == [
            "1 of 1 file whole (1 fetched)",
            "1.0 GiB in 10 s, 102 MiB/s on average",
        ]
        assert not terminal.screen.cursor.hidden

    def test_the_cursor_is_seen_all_the_time(self, terminal):
        """A run that is suspended or killed leaves a usable shell."""
        live = reporter(terminal)

        live.handle(progress())

        assert not terminal.screen.cursor.hidden

    def test_stopping_is_said_at_once(self, terminal):
        """Whoever pressed Ctrl-C sees that it was heard, before the next sample."""
        live = reporter(terminal)
        live.handle(progress())

        live.handle(Stopping(reason="SIGINT"))

        shown = terminal.shown()
        assert shown[0] == "03-01 12:05 stopping: SIGINT"
        assert shown[-1].endswith(" · stopping")

    def test_nothing_is_written_when_nothing_changed(self, terminal):
        """A slow line is not filled with the same picture."""
        live = reporter(terminal)
        sample = progress(running=(), seconds=0.0)
        live.handle(sample)
        before = len(terminal.getvalue())

        live.handle(sample)

        assert len(terminal.getvalue()) == before

    def test_no_color_is_obeyed(self, terminal, monkeypatch):
        """NO_COLOR leaves no colour; nothing depends on one."""
        monkeypatch.setenv("NO_COLOR", "1")
        live = reporter(terminal)

        live.handle(Warned(message="odd"))
        live.handle(progress())

        assert not any(f"\x1b[{code}m" in terminal.getvalue() for code in range(30, 50))
        assert "odd" in terminal.getvalue()

    def test_lines_that_wrap_in_a_narrower_terminal_are_cleared(self, terminal):
        """A terminal that gets narrower wraps the old board: the cursor goes up over all of it."""
        live = reporter(terminal)
        live.handle(progress())
        drawn = terminal.getvalue()
        terminal.screen.resize(24, 50)

        live.handle(progress(seconds=11.0))

        fresh = terminal.getvalue()[len(drawn) :]
        assert fresh.startswith("\x1b[2K\x1b[1A")
        lines = Text.from_ansi(fresh).plain.split("\n")
        assert max(cell_len(line) for line in lines) <= 50

    def test_closing_twice_or_before_anything_came_is_harmless(self, terminal):
        """cli closes what it opened, whatever happened."""
        live = reporter(terminal)

        live.close()
        live.close()

        assert terminal.shown() == []
