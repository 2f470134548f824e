"""What a run says without a live display: words, plain lines, JSON lines, the summary."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgetpool.events import (
    AttemptFailed,
    AttemptStarted,
    AttemptStopped,
    Event,
    FileDone,
    FileFailed,
    FileHeld,
    FileSkipped,
    Progress,
    RunFinished,
    Running,
    RunStarted,
    Stopping,
    Waiting,
    Warned,
)
from wgetpool.lines import describe
from wgetpool.model import Cause, EndedFor, FailureClass, Wishes
from wgetpool.report import PlainReporter, make_reporter
from wgetpool.summary import Summary
from wgetpool.words import (
    count,
    format_duration,
    format_left,
    format_rate,
    format_share,
    format_size,
    printable,
    wrap,
)

NOON = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=1)))
COMMAND = "wgetpool get links.txt -o 'my files'"
MIB, GIB = 1024**2, 1024**3


def started(files: int = 3) -> RunStarted:
    return RunStarted(run="r1", directory="/data/my files", files=files, workers=2)


def done(name: str = "a.tar", **given: Any) -> FileDone:
    values: dict[str, Any] = {"bytes": 3 * GIB, "seconds": 200.0, "attempts": 1, "proof": ("size",)}
    return FileDone(name=name, **values | given)


def failed(name: str, reason: str, class_: FailureClass, attempts: int = 1) -> FileFailed:
    return FileFailed(name=name, reason=reason, class_=class_, attempts=attempts)


def retried(name: str = "a b.tar", retry_in: float | None = 20.0) -> AttemptFailed:
    return AttemptFailed(
        name=name,
        attempt=2,
        reason="HTTP 503 Service Unavailable",
        class_=FailureClass.TRANSIENT,
        status=503,
        bytes=10,
        retry_in=retry_in,
    )


def stopped(why: EndedFor) -> AttemptStopped:
    return AttemptStopped(name="a", attempt=1, bytes=MIB, received=0, seconds=1.0, why=why)


def finished(**given: Any) -> RunFinished:
    nothing = {"done": 0, "skipped": 0, "failed": 0, "left": 0}
    rest: dict[str, Any] = {"bytes": 200 * MIB, "seconds": 2.0, "exit_code": 0}
    return RunFinished(**nothing | rest | given)


def progress(**given: Any) -> Progress:
    running = Running(name="a", attempt=1, bytes=1, size=None, since=1.0)
    waiting = Waiting(name="b", attempt=2, due_in=3.0, reason="HTTP 503")
    values: dict[str, Any] = {
        "seconds": 60.0,
        "files": 1000,
        "done": 100,
        "skipped": 20,
        "failed": 0,
        "bytes": 12 * GIB,
        "received": 6000 * MIB,
        "size": 100 * GIB,
        "rate": 100.0 * MIB,
        "left": 901.0,
        "running": (running,),
        "waiting": (waiting,),
        "waiting_count": 1,
    }
    return Progress(**values | given)


def report(events: Sequence[Event], **options: bool) -> tuple[str, str]:
    """What a reporter writes on stdout and stderr for these events."""
    stdout, stderr = io.StringIO(), io.StringIO()
    reporter = make_reporter(
        Wishes(**options),
        stdout=stdout,
        stderr=stderr,
        command=COMMAND,
        directory="/data/my files",
        now=lambda: NOON,
    )
    for event in events:
        reporter.handle(event)
    reporter.close()
    return stdout.getvalue(), stderr.getvalue()


class TestWords:
    @pytest.mark.parametrize(
        ("size", "text"),
        [
            (0, "0 B"),
            (12, "12 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (640 * 1024, "640 KiB"),
            (1.5 * GIB, "1.5 GiB"),
            (99.96 * MIB, "100 MiB"),
            (1023.9 * MIB, "1.0 GiB"),
            (11.3 * 1024**4, "11.3 TiB"),
            (5000 * 1024**5, "5000 PiB"),
        ],
    )
    def test_sizes_are_read_in_powers_of_1024(self, size, text):
        """A size has one decimal below a hundred of its unit, bytes have none."""
        assert format_size(size) == text

    def test_a_share_is_read_in_the_unit_of_the_whole(self):
        """Two numbers that are compared have one unit."""
        assert format_share(3.4 * GIB, 11.2 * GIB) == "3.4/11.2 GiB"
        assert format_share(640 * 1024, 2 * GIB) == "0.0/2.0 GiB"

    def test_a_rate_is_a_size_a_second(self):
        """Rates read as wget's own, with their unit."""
        assert format_rate(95.1 * MIB) == "95.1 MiB/s"

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "0 s"),
            (0.01, "0.1 s"),
            (0.42, "0.4 s"),
            (45, "45 s"),
            (59.6, "1 min 00 s"),
            (200, "3 min 20 s"),
            (3599.7, "1 h 00 min"),
            (7500, "2 h 05 min"),
            (86399, "1 d 0 h"),
            (3 * 86400 + 4 * 3600, "3 d 4 h"),
        ],
    )
    def test_durations_show_the_two_units_that_matter(self, seconds, text):
        """A duration is rounded before it is taken apart: there are no 60 seconds or minutes."""
        assert format_duration(seconds) == text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.2, "1 s"), (45, "45 s"), (59.5, "1 min"), (61, "2 min"), (3570, "1 h 00 min")],
    )
    def test_a_time_left_is_rounded_up(self, seconds, text):
        """A time left is coarse, so that it is calm, and never promises too much."""
        assert format_left(seconds) == text

    @given(st.floats(min_value=0, max_value=1e16))
    def test_no_number_is_wider_than_its_column(self, number):
        """Sizes and rates below a thousand PiB fit into columns of fixed width."""
        assert len(format_size(number)) <= 8
        assert len(format_rate(number)) <= 10
        assert len(format_share(number / 2, number)) <= 13

    def test_one_file_is_not_one_files(self):
        """Singular and plural are right."""
        assert [count(0, "file"), count(1, "file"), count(2, "file")] == [
            "0 files",
            "1 file",
            "2 files",
        ]

    def test_what_could_move_the_cursor_is_not_printed(self):
        """Control characters, bidirectional marks and lone surrogates become question marks."""
        assert printable("a\x1b[2J\u202eb\udc80 é 数") == "a?[2J?b? é 数"


class TestWrap:
    def test_prose_is_broken_between_words_and_goes_on_further_in(self):
        """A narrow terminal would break a word where it ends."""
        lines = wrap(["Failed: 2 files, the connection was closed", "  Next: wait and see"], 16)

        assert list(lines) == [
            "Failed: 2 files,",
            "    the",
            "    connection",
            "    was closed",
            "  Next: wait and",
            "      see",
        ]

    def test_what_is_to_be_copied_stays_one_line(self):
        """A command that is broken by hand does not work when it is pasted."""
        lines = ["The command that goes on:", "    wgetpool get links.txt -o DIR"]

        assert list(wrap(lines, 25)) == lines

    def test_a_word_that_is_too_long_stays_whole(self):
        """A path, a name, an option with a hyphen: it is searched for, and copied."""
        assert list(wrap(["see /a/long-path/to-it"], 10)) == ["see", "    /a/long-path/to-it"]


class TestDescribe:
    @pytest.mark.parametrize(
        ("event", "line"),
        [
            (started(), "start 3 files into /data/my files, 2 workers"),
            (retried(), "retry a b.tar: HTTP 503 Service Unavailable; try 3 in 20 s"),
            (retried(retry_in=None), None),
            (done(), "done a.tar: 3.0 GiB in 3 min 20 s"),
            (done(attempts=3), "done a.tar: 3.0 GiB in 3 min 20 s, 3 tries"),
            (
                done(proof=()),
                "done a.tar: 3.0 GiB in 3 min 20 s, nothing proves that it is whole",
            ),
            (
                failed("-x %41.tar", "HTTP 404 Not Found", FailureClass.PERMANENT),
                "failed -x %41.tar: HTTP 404 Not Found",
            ),
            (
                failed("a", "connection refused", FailureClass.TRANSIENT, attempts=5),
                "failed a: connection refused; 5 tries",
            ),
            (Warned(message="the clock\nis wrong"), "warning: the clock?is wrong"),
            (Stopping(reason="SIGINT"), "stopping: SIGINT"),
            (AttemptStarted(name="a", attempt=1, bytes=0, size=None), None),
            (AttemptStarted(name="a", attempt=1, bytes=MIB, size=None), "resume a at 1.0 MiB"),
            (AttemptStarted(name="a", attempt=2, bytes=MIB, size=None), None),
            (FileSkipped(name="a", bytes=1, why="known"), None),
            (stopped(EndedFor.SHARE), None),
        ],
    )
    def test_each_event_has_a_line_with_a_fixed_first_word(self, event, line):
        """One line an event; those that come by the thousand or are told elsewhere have none."""
        assert describe(event) == line

    @pytest.mark.parametrize(
        ("why", "rest"),
        [
            (EndedFor.STOPPED, ""),
            (EndedFor.NO_ROOM, ", and it waits for room on the disk"),
            (EndedFor.SHARE, ", to go on with another share of --limit-rate"),
        ],
    )
    def test_verbose_tells_what_an_attempt_was_ended_for(self, why, rest):
        """Its part stays, whatever it was."""
        assert describe(stopped(why), verbose=True) == f"stopped a: 1.0 MiB are here{rest}"

    @pytest.mark.parametrize("verbose", [False, True])
    @pytest.mark.parametrize(
        "event",
        [
            FileHeld(name="a", reason="the link has expired", cause=Cause.EXPIRED),
            FileHeld(name="a", reason="no room on the disk", cause=Cause.NO_SPACE),
            replace(failed("a", "the link has expired", FailureClass.EXPIRED), cause=Cause.EXPIRED),
        ],
    )
    def test_what_one_message_tells_of_all_has_no_line(self, event, verbose):
        """A thousand links expire at once."""
        assert describe(event, verbose=verbose) is None


class TestPlain:
    def test_each_line_has_its_time_and_no_control_character(self):
        """Stamped lines that can be searched; the summary ends them."""
        events = [started(), retried("\x1b[1m"), done(), finished(done=1)]

        stdout, stderr = report(events)

        assert stderr == ""
        assert stdout.splitlines() == [
            "2026-03-01 12:00:00 start 3 files into /data/my files, 2 workers",
            "2026-03-01 12:00:00 retry ?[1m: HTTP 503 Service Unavailable; try 3 in 20 s",
            "2026-03-01 12:00:00 done a.tar: 3.0 GiB in 3 min 20 s",
            "2026-03-01 12:00:00 finished 1 of 1 file whole (1 fetched)",
            "200 MiB in 2 s, 100 MiB/s on average, 1 retry",
        ]

    def test_progress_is_one_line(self):
        """Files, bytes, rate, workers, time left."""
        stdout, _ = report([progress(failed=2)])

        assert stdout == (
            "2026-03-01 12:00:00 progress 120/1,000 files, 12.0 GiB of 100 GiB, 100 MiB/s, "
            "1 running, 1 waiting, 2 failed, about 16 min left\n"
        )

    def test_what_is_not_known_is_not_in_the_line_of_progress(self):
        """Neither a rate nor a time left nor a whole size is made up."""
        stdout, _ = report([progress(rate=None, left=None, size=None, waiting=(), waiting_count=0)])

        assert stdout.endswith(" progress 120/1,000 files, 12.0 GiB, 1 running\n")

    def test_progress_is_asked_for_once_a_minute(self):
        """A log of a week stays a log that can be read."""
        reporter = PlainReporter(
            Wishes(),
            summary=Summary(command="", directory=""),
            stdout=io.StringIO(),
            now=lambda: NOON,
        )

        assert reporter.progress_interval == 60

    def test_quiet_says_failures_warnings_and_the_summary(self):
        """--quiet is for cron: a mail when something is to be read."""
        events = [
            started(),
            done(),
            retried(),
            progress(),
            Warned(message="odd"),
            failed("b", "HTTP 404", FailureClass.PERMANENT),
        ]

        stdout, _ = report([*events, finished(done=1, failed=1)], quiet=True)

        words = [line.split()[2] for line in stdout.splitlines() if line.startswith("2026")]
        assert words == ["warning:", "failed", "finished"]

    def test_a_dumb_terminal_gets_plain_lines(self, monkeypatch):
        """Only a terminal that can move its cursor gets the live display."""
        terminal = io.StringIO()
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setenv("TERM", "dumb")

        reporter = make_reporter(
            Wishes(), stdout=terminal, stderr=terminal, command="", directory=""
        )

        assert isinstance(reporter, PlainReporter)

    def test_a_name_that_the_locale_cannot_show_ends_no_run(self):
        """A locale without the letters of a name costs the letters, not the run."""
        raw = io.BytesIO()
        stdout = io.TextIOWrapper(raw, encoding="ascii")
        reporter = make_reporter(Wishes(), stdout=stdout, stderr=stdout, command="", directory="")

        reporter.handle(done("é.tar"))

        assert b"done \\xe9.tar: " in raw.getvalue()


class TestJson:
    def test_each_event_is_one_object_with_the_fields_of_the_event(self):
        """Keys are the field names, class_ without its underscore, after event and time."""
        failure = failed("a\nb é", "HTTP 404", FailureClass.PERMANENT)

        stdout, _ = report([failure, done()], json=True)

        assert [json.loads(line) for line in stdout.splitlines()] == [
            {
                "event": "file_failed",
                "time": "2026-03-01T12:00:00.250+01:00",
                "name": "a\nb é",
                "reason": "HTTP 404",
                "class": "permanent",
                "cause": "other",
                "attempts": 1,
                "seconds": 0.0,
                "size": None,
                "sha256": None,
            },
            {
                "event": "file_done",
                "time": "2026-03-01T12:00:00.250+01:00",
                "name": "a.tar",
                "bytes": 3 * GIB,
                "seconds": 200.0,
                "attempts": 1,
                "proof": ["size"],
            },
        ]

    def test_what_people_should_read_goes_to_standard_error(self):
        """Warnings, stopping and the summary are objects too, and text on stderr."""
        events = [Warned(message="odd"), Stopping(reason="SIGINT"), finished(left=1)]

        stdout, stderr = report(events, json=True)

        told = [json.loads(line)["event"] for line in stdout.splitlines()]
        assert told == ["warning", "stopping", "run_finished"]
        assert stderr.splitlines()[:3] == [
            "warning: odd",
            "stopping: SIGINT",
            "0 of 1 file whole, 1 not fetched",
        ]

    def test_the_last_failure_of_a_file_has_no_retry(self):
        """retry_in is null when it was the last attempt."""
        stdout, _ = report([retried(retry_in=None)], json=True)

        assert json.loads(stdout)["retry_in"] is None

    def test_a_closed_pipe_is_for_the_caller(self, monkeypatch):
        """`| head` ends a run cleanly: the reporter does not swallow the news."""
        pipe = io.StringIO()

        def refuse(_text: str) -> int:
            raise BrokenPipeError

        monkeypatch.setattr(pipe, "write", refuse)
        reporter = make_reporter(
            Wishes(json=True), stdout=pipe, stderr=io.StringIO(), command="", directory=""
        )

        with pytest.raises(BrokenPipeError):
            reporter.handle(started())
