"""The live display, drawn into a string or onto an emulated screen."""

import io
import os
from datetime import UTC, datetime
from typing import Any

import pyte
import pytest
from rich.cells import cell_len

from wgetpool.board import NAMES_KEPT, Board, choose, keep_places, plan_columns
from wgetpool.display import WHOLE_EVERY, LiveReporter
from wgetpool.events import (
    AttemptFailed,
    FileDone,
    FileFailed,
    Paused,
    Progress,
    Resumed,
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
    first, *lines = (line.plain for line in board.draw(width, height))
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


def reporter(terminal: Terminal, *, verbose: bool = False) -> LiveReporter:
    return LiveReporter(
        Wishes(verbose=verbose),
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
            "sa_000000.tar ━━━╸───────── 29% 0.3/1.0 GiB 100 MiB/s 8 s left try 3"
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

        assert lines[1] == "sa_000000.tar  try 3, again in 20 s: HTTP 503 Service Unavailable"
        assert lines[4] == "and 12 more waiting"

    def test_a_file_that_is_due_comes_next(self):
        """It waits for nothing but a worker."""
        lines = draw(progress(waiting=(waiting(due_in=0.0),), waiting_count=1))

        assert "try 3, when its server is asked for more: " in lines[1]

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

    @pytest.mark.parametrize(("width", "height"), [(20, 5), (20, 3), (12, 4), (60, 2), (1, 1)])
    @pytest.mark.parametrize("workers", [0, 1, 64])
    def test_a_tiny_terminal_gets_what_fits(self, width, height, workers):
        """The total is there always, and a line stays free for the cursor."""
        files = tuple(running(number, attempt=2) for number in range(workers))
        board = Board()
        board.add(progress(running=files, waiting=(waiting(99),), waiting_count=7, elsewhere=2))

        lines = board.draw(width, height)

        assert len(lines) <= max(height - 1, 1)
        assert max(line.cell_len for line in lines) <= width
        assert lines[-1].plain.startswith("12/50 files"[:width])

    def test_more_workers_than_lines_are_counted(self):
        """What does not fit is said, with what it brings."""
        files = tuple(running(number, rate=float(MIB)) for number in range(64))
        board = Board()
        board.add(progress(running=files))

        lines = [line.plain for line in board.draw(80, 24)]

        assert len(lines) == 22
        assert lines[-2] == "and 45 more running, 45.0 MiB/s"

    def test_long_names_are_told_apart(self):
        """In as little room as there is; the file's own number is on its line and nobody else's."""
        names = [f"train/part-{n:06}-of-08192-8f3a77c0b1d2.tar.gz" for n in range(8, 12)]
        files = tuple(running(name=name) for name in names[:3])
        later = (waiting(name=names[3]),)

        lines = draw(progress(running=files, waiting=later, waiting_count=1), width=60)

        for line, number in zip(lines, range(8, 12), strict=False):
            assert f"-{number:06}" in line

    def test_the_last_name_is_shown_as_it_was_in_company(self):
        """Names do not change their look when the others have ended."""
        names = [f"train/part-{n:06}-of-08192-8f3a77c0b1d2.tar.gz" for n in range(8, 12)]
        board = Board()
        board.add(progress(running=tuple(running(name=name) for name in names)))
        before = board.draw(60, 24)[1].plain

        board.add(progress(running=(running(name=names[0]),)))

        assert board.draw(60, 24)[1].plain == before

    def test_a_file_that_runs_long_after_many_others_has_its_name(self):
        """However many names have come and gone since."""
        old = running(name="x" * 90)
        board = Board()
        for number in range(2 * NAMES_KEPT):
            board.add(progress(running=(old, running(name=f"{number}" * 60))))

        assert board.draw(60, 24)[1].plain.startswith("xxxx...xxx")

    def test_names_that_the_terminal_does_not_know_keep_their_column(self):
        """They are printed as escapes, and these are counted."""
        lines = draw(progress(running=(running(name="数" * 30),)), width=80, ascii_only=True)

        assert lines[0].startswith("\\u6570")
        assert max(map(len, lines)) <= 80

    def test_a_reason_is_shortened_at_its_end(self):
        """And never in a number."""
        files = (waiting(name="x" * 70),)

        lines = draw(progress(waiting=files, waiting_count=1, running=()), width=60)

        assert lines[0].endswith("  try 3, again in 20 s: HTTP 503 Serv...")

    def test_files_of_another_run_are_told(self):
        """A run that only waits for another one does not look as if it hung."""
        lines = draw(progress(running=(), elsewhere=3, received=0))

        assert lines == [
            "waiting for 3 files of another run",
            "12/50 files · 3.0/11.0 GiB · 0 B/s · 3 in another run",
        ]

    @pytest.mark.parametrize(
        ("held", "line"),
        [
            ({"expired": 6}, "waiting for fresh links: 6 links expired"),
            ({"no_room": 1}, "waiting for room on the disk: 1 file"),
        ],
    )
    def test_what_the_run_is_held_for_is_told_where_nothing_else_runs(self, held, line):
        """It does not look as if it hung."""
        alone, beside = draw(progress(running=(), **held)), draw(progress(**held))

        assert alone[0] == line
        assert line not in beside

    def test_a_run_where_all_files_wait_shows_them(self):
        """Without a line of a worker."""
        lines = draw(progress(running=(), waiting=(waiting(),), waiting_count=1))

        assert [line.partition(" ")[0] for line in lines] == ["sa_000000.tar", "12/50"]

    def test_while_it_stops_it_tells_what_it_waits_for(self):
        """Nothing is tried again then: that is not shown as if it were."""
        board = Board()
        board.add(progress(left=60.0, waiting=(waiting(1),), waiting_count=1))
        board.stopping = True

        _, file, total = [line.plain for line in board.draw(80, 24)]

        assert file.startswith("sa_000000.tar")
        assert total == "12/50 files · 3.0/11.0 GiB · stopping, waiting for 1 file"

    def test_in_little_room_the_total_keeps_files_time_left_and_failures(self):
        """Bytes go first, then the rate, then what others fetch."""
        board = Board()
        board.add(progress(rate=95.0 * MIB, left=7200.0, failed=17, elsewhere=1000))

        totals = {width: board.draw(width, 24)[-1].plain for width in (100, 80, 60, 45)}

        assert totals[100].startswith("12/50 files · 3.0/11.0 GiB · 95.0 MiB/s · 2 h 00 min left")
        assert "GiB" not in totals[80].replace("MiB", "")
        assert totals[60] == "12/50 files · 2 h 00 min left · 17 failed"
        assert totals[45] == "12/50 files · 2 h 00 min left · 17 failed"


class TestPlaces:
    def test_what_is_tried_again_or_slow_comes_before_what_has_run_long(self):
        """There are more files than lines: the troubled ones are seen."""
        files = [running(n, since=100.0 - n, rate=50.0 * MIB) for n in range(10)]
        files[7] = running(7, since=1.0, attempt=3)
        files[9] = running(9, since=2.0, rate=1000.0)

        chosen = choose([], files, 4)

        assert {file.name for file in chosen} == {files[n].name for n in (0, 1, 7, 9)}

    def test_what_has_a_line_keeps_it(self):
        """A file that is slow no more does not go; one that becomes slow takes the youngest's."""
        files = [running(n, since=100.0 - n, rate=50.0 * MIB) for n in range(10)]
        slow = [*files[:9], running(9, since=91.0, rate=1000.0)]

        first = choose([], files, 3)
        second = choose(first, slow, 3)
        third = choose(second, files, 3)

        assert {file.name for file in first} == {files[n].name for n in (0, 1, 2)}
        assert {file.name for file in second} == {files[n].name for n in (0, 1, 9)}
        assert {file.name for file in third} == {files[n].name for n in (0, 1, 9)}

    def test_a_file_that_is_checked_is_not_slow(self):
        """Nothing comes any more because all is there."""
        files = [running(n, since=100.0 - n, rate=50.0 * MIB) for n in range(9)]
        files.append(running(9, since=1.0, bytes=GIB, rate=0.0))

        assert files[9] not in choose([], files, 5)

    def test_rows_stay_while_waiting_files_come_and_go(self):
        """On a full board the lines for these are kept free once they were needed."""
        files = tuple(running(number, since=100.0 - number) for number in range(64))
        board = Board()
        shown = []

        for count in (5, 0, 2, 0):
            later = tuple(waiting(100 + n) for n in range(count))
            board.add(progress(running=files, waiting=later, waiting_count=count))
            lines = [line.plain for line in board.draw(80, 24)]
            shown.append([line for line in lines if "%" in line])

        assert shown == shown[:1] * 4

    def test_a_file_keeps_its_line_while_it_runs(self):
        """A new file takes the line of one that has ended; nothing else moves."""
        before = [running(1), running(2), running(3)]

        after = keep_places(before, (running(1), running(3), running(4), running(5)))

        assert after == [running(1), running(4), running(3), running(5)]
        assert keep_places(after, (running(5),)) == [running(5)]


class TestColumns:
    def test_the_bar_shrinks_first_then_time_left_goes_then_sizes(self):
        """As the terminal gets narrower the lines lose the least telling first."""
        plans = [
            plan_columns(width, longest=13, left=15, tries=True) for width in range(200, 49, -1)
        ]

        bars = [plan.bar for plan in plans if plan.left]
        assert bars == sorted(bars, reverse=True)
        assert (bars[0], bars[-1]) == (40, 5)
        shown = [(plan.sizes > 0, plan.left > 0) for plan in plans]
        assert list(dict.fromkeys(shown)) == [(True, True), (True, False), (False, False)]

    def test_where_nothing_else_fits_there_are_names_and_percents(self):
        """Twenty columns are no terminal to work at, and show what they can."""
        plan = plan_columns(20, longest=13, left=15, tries=True)

        assert (plan.name, plan.bar, plan.rate, plan.tries) == (13, 0, 0, 0)

    def test_a_long_name_takes_room_from_the_bar(self):
        """A name says more than a bar."""
        plan = plan_columns(120, longest=90, left=15, tries=False)

        assert plan.bar == 5
        assert plan.name > 50


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

    def test_with_verbose_retries_and_done_files_are_printed(self, terminal):
        """Those who ask for every event get them above the board."""
        live = reporter(terminal, verbose=True)
        retry = AttemptFailed(
            name="a",
            attempt=2,
            reason="HTTP 503",
            class_=FailureClass.TRANSIENT,
            status=503,
            bytes=0,
            retry_in=20.0,
        )

        live.handle(retry)
        live.handle(FileDone(name="b", bytes=GIB, seconds=9.0, attempts=1, proof=("size",)))
        live.handle(Paused())
        live.handle(Resumed())
        live.handle(progress())

        shown = terminal.shown()
        assert shown[0] == "03-01 12:05 retry a: HTTP 503; try 3 in 20 s"
        assert shown[1].startswith("03-01 12:05 done b: 1.0 GiB in 9 s")
        assert len(shown) == 4

    def test_a_run_without_room_on_the_disk_is_shown_to_stop(self, terminal):
        """Nothing new is started then; what runs may end."""
        live = reporter(terminal)
        live.handle(FileFailed(name="a", reason="no space", class_=FailureClass.LOCAL, attempts=1))

        live.handle(progress())

        assert "stopping, waiting for 1 file" in terminal.shown()[-1]

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
        assert shown[-1].endswith(" · stopping, waiting for 1 file")

    def test_nothing_is_written_when_nothing_changed(self, terminal):
        """A slow line is not filled with the same picture."""
        live = reporter(terminal)
        sample = progress(running=(), seconds=0.0)
        live.handle(sample)
        before = len(terminal.getvalue())

        live.handle(sample)

        assert len(terminal.getvalue()) == before

    def test_what_others_write_is_painted_over(self, terminal):
        """After Enter, or a message of the system, the board is whole again before long."""
        live = reporter(terminal)
        live.handle(progress())
        terminal.write("\nWALL MESSAGE\n")

        for second in range(WHOLE_EVERY):
            live.handle(progress(bytes=GIB * (second + 4)))

        board = terminal.shown()[-2:]
        assert board[0].startswith("sa_000000.tar  ━")
        assert board[1].startswith("12/50 files")

    def test_the_cursor_rests_below_the_board(self, terminal):
        """What is typed, a prompt after a kill, and ^C have a line of their own."""
        live = reporter(terminal)
        live.handle(progress())
        board = terminal.shown()
        assert terminal.screen.cursor.x == 0
        assert terminal.screen.cursor.y == terminal.screen.display.index(board[-1].ljust(80)) + 1

        terminal.write("^C")
        live.handle(progress(done=11))

        assert terminal.shown()[-1].startswith("13/50 files")

    def test_a_board_that_shrinks_leaves_nothing_behind(self, terminal):
        """Its old last lines are cleared."""
        live = reporter(terminal)
        live.handle(progress(running=tuple(running(number) for number in range(9))))

        live.handle(progress(seconds=11.0))

        assert len(terminal.shown()) == 2

    def test_no_color_is_obeyed(self, terminal, monkeypatch):
        """NO_COLOR leaves no colour; nothing depends on one."""
        monkeypatch.setenv("NO_COLOR", "1")
        live = reporter(terminal)

        live.handle(Warned(message="odd"))
        live.handle(progress())

        assert not any(f"\x1b[{code}m" in terminal.getvalue() for code in range(30, 50))
        assert "odd" in terminal.getvalue()

    def test_a_terminal_that_gets_narrower_is_cleared_and_keeps_what_was_printed(self, terminal):
        """Old lines wrap or are cut off, as the terminal likes: none of them is left."""
        live = reporter(terminal)
        live.handle(Warned(message="odd"))
        live.handle(progress())
        terminal.screen.resize(24, 50)

        live.handle(progress(seconds=11.0))

        first, second, last = terminal.shown()
        assert first == "03-01 12:05 warning: odd"
        assert second.startswith("sa_000000.tar")
        assert last.startswith("12/50 files")

    def test_closing_twice_or_before_anything_came_is_harmless(self, terminal):
        """cli closes what it opened, whatever happened."""
        live = reporter(terminal)

        live.close()
        live.close()

        assert terminal.shown() == []
