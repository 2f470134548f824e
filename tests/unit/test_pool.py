"""A whole run in one thread: scripted wgets, an inbox that moves the clock, real files."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.doubles import (
    FakeClock,
    FullJitter,
    ListReporter,
    Row,
    Script,
    ScriptedInbox,
    ScriptedLauncher,
    came,
    head,
    head_200,
    inline_crew,
    note_calls,
)

from wgetpool import __version__, attempt, batch, outbox, pool, process
from wgetpool.errors import ExitCode, MachineError
from wgetpool.events import (
    AttemptFailed,
    AttemptStarted,
    Event,
    FileDone,
    FileFailed,
    FileSkipped,
    Paused,
    Progress,
    Resumed,
    RunFinished,
    RunStarted,
    Stopping,
    Warned,
)
from wgetpool.ledger import Ledger, read_all, read_attempts
from wgetpool.model import Command, Entry, FileRecord, Orphan, RetryPolicy, Settings, Url
from wgetpool.part import claim
from wgetpool.pool import Pool
from wgetpool.store import RunLock, Store

DATA = b"the whole file"
WHOLE = Script([Row(0, log=head_200(len(DATA))), Row(0.1, DATA)])
BUSY = Script([Row(0, log=head("503 Service Unavailable"))], 8)
MISSING = Script([Row(0, log=head("404 Not Found"))], 8)


def all_come(command: Command) -> Script:
    """Of a wget for several files."""
    urls = command.stdin.decode().split()
    told = [Row(0, DATA, log=head_200(len(DATA)) + came(url, len(DATA))) for url in urls]
    return Script(told)


class Stage:
    """A DIR for runs one after the other; each has its own reporter, inbox and launcher."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.store = Store(directory)
        self.clock = FakeClock()
        self._patch = patch
        patch.setattr(process, "pause", self.clock.pause)

    def prepare(self, names: Sequence[str], *scripts: Script | OSError, **settings: Any) -> Run:
        """A run over the files of these one-letter names. A script is for an attempt."""
        return Run(self, names, scripts, settings)

    def run(self, names: Sequence[str], *scripts: Script | OSError, **settings: Any) -> Run:
        run = self.prepare(names, *scripts, **settings)
        run.go()
        return run

    @property
    def records(self) -> dict[str, FileRecord]:
        return {record.name: record for record in read_all(self.store.ledger)}

    def use(self, launcher: ScriptedLauncher) -> None:
        """Those of batches bring all their files whole, whatever the scripts are."""
        fetch, fetch_batch = attempt.fetch, batch.fetch_batch
        self._patch.setattr(
            pool, "fetch", lambda order, **given: fetch(order, **{**given, "launch": launcher})
        )
        self.batches = ScriptedLauncher(self.clock, [all_come])
        self._patch.setattr(
            pool,
            "fetch_batch",
            lambda orders, **given: fetch_batch(orders, **{**given, "launch": self.batches}),
        )


class Run:
    def __init__(
        self,
        stage: Stage,
        names: Sequence[str],
        scripts: Sequence[Script | OSError],
        given: dict[str, Any],
    ) -> None:
        self.reporter = ListReporter(given.pop("progress_interval", None))
        self.inbox = ScriptedInbox(stage.clock)
        self.launcher = ScriptedLauncher(stage.clock, scripts)
        self._stage = stage
        values: dict[str, Any] = {
            "directory": stage.store.directory,
            "wget": "/usr/bin/wget",
            "retry": RetryPolicy(tries=2, backoff=5.0),
        }
        self.pool = Pool(
            Settings(**values | given),
            [Entry(name, Url(f"https://e.org/{name}?sig=SECRET")) for name in names],
            reporter=self.reporter,
            clock=stage.clock,
            jitter=FullJitter(),
            crew=inline_crew(),
            inbox=self.inbox,
        )

    def go(self) -> RunFinished:
        self._stage.use(self.launcher)
        return self.pool.run()

    @property
    def finished(self) -> RunFinished:
        (event,) = self.reporter.of(RunFinished)
        return event

    @property
    def counts(self) -> tuple[int, int, int, int]:
        end = self.finished
        return end.done, end.skipped, end.failed, end.left

    def names(self, kind: type[Event]) -> list[str]:
        return [getattr(event, "name", "") for event in self.reporter.of(kind)]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage(tmp_path / "data", monkeypatch)
    yield made
    if made.store.directory.is_dir():
        assert made.store.live_runs() == [], "a run that ended holds its lock"


def test_a_run_ends_when_every_file_is_whole(stage: Stage) -> None:
    """Exit code 0, the counts, and every file under its name."""
    run = stage.run("abc", WHOLE)

    assert run.counts == (3, 0, 0, 0)
    assert run.finished.exit_code == ExitCode.WHOLE
    assert run.finished.bytes == 3 * len(DATA)
    assert run.reporter.events[0] == RunStarted(
        run=run.pool._run,
        directory=str(stage.store.directory),
        files=3,
        workers=4,
        version=__version__,
    )
    assert sorted(run.names(FileDone)) == ["a", "b", "c"]
    assert [stage.store.final(name).read_bytes() for name in "abc"] == [DATA] * 3
    assert {record.state for record in stage.records.values()} == {"done"}


def test_an_empty_selection_is_whole(stage: Stage) -> None:
    """There is nothing to do, and it is done."""
    assert stage.run("", WHOLE).finished.exit_code == ExitCode.WHOLE


def test_a_second_run_asks_nobody(stage: Stage) -> None:
    """What the ledger knows is skipped without a request."""
    stage.run("ab", WHOLE)

    again = stage.run("ab", WHOLE)

    assert again.counts == (0, 2, 0, 0)
    assert again.launcher.commands == []
    assert {event.why for event in again.reporter.of(FileSkipped)} == {"known"}


def test_a_file_that_waits_does_not_hold_up_the_others(stage: Stage) -> None:
    """The second is done before the first is tried again, with one worker."""
    run = stage.run("ab", BUSY, WHOLE, workers=1)

    assert run.names(FileDone) == ["b", "a"]
    assert [event.attempts for event in run.reporter.of(FileDone)] == [1, 2]
    assert run.finished.exit_code == ExitCode.WHOLE


def test_a_file_that_fails_fails_the_run(stage: Stage) -> None:
    """Exit code 1, the others whole, the reason in the ledger."""
    run = stage.run("ab", MISSING, WHOLE)

    assert run.counts == (1, 0, 1, 0)
    assert run.finished.exit_code == ExitCode.FAILED
    record = stage.records["a"]
    assert (record.state, record.class_, record.attempts) == ("failed", "permanent", 1)
    assert record.reason is not None
    assert "404" in record.reason


def test_a_file_that_failed_is_tried_by_the_next_run(stage: Stage) -> None:
    """And its failure is forgotten when it is whole."""
    stage.run("a", MISSING)

    run = stage.run("a", WHOLE)

    assert run.counts == (1, 0, 0, 0)
    assert (stage.records["a"].state, stage.records["a"].reason) == ("done", None)


def test_tries_end_a_file_that_never_gets_on(stage: Stage) -> None:
    """Two tries, one wait in between."""
    run = stage.run("a", BUSY)

    failures = run.reporter.of(AttemptFailed)
    assert [event.retry_in is None for event in failures] == [False, True]
    assert run.names(FileFailed) == ["a"]


def test_this_machines_trouble_ends_the_run(stage: Stage) -> None:
    """Exit code 3; what was not started is left, not failed."""
    full = Script([Row(0, log=head_200(9)), Row(0, log="a.part: No space left on device\n")], 3)

    run = stage.run("abc", full, workers=1)

    assert run.counts == (0, 0, 1, 2)
    assert run.finished.exit_code == ExitCode.MACHINE
    assert len(run.launcher.commands) == 1


def test_a_wget_that_is_gone_for_a_moment_fails_no_file(stage: Stage) -> None:
    """It is upgraded, say: tried again, and no attempt of the file's."""
    gone = OSError(errno.ENOENT, os.strerror(errno.ENOENT), "/usr/bin/wget")

    run = stage.run("ab", gone, gone, WHOLE, workers=2)

    assert run.counts == (2, 0, 0, 0)
    assert [event.attempts for event in run.reporter.of(FileDone)] == [1, 1]
    (warning,) = run.reporter.of(Warned)
    assert "/usr/bin/wget" in warning.message


def test_a_wget_that_stays_away_ends_the_run(stage: Stage) -> None:
    """Exit code 3 after half a minute, and no file has failed."""
    begin = stage.clock.now()
    gone = OSError(errno.ENOENT, os.strerror(errno.ENOENT), "/usr/bin/wget")

    run = stage.run("ab", gone, workers=2)

    assert run.counts == (0, 0, 0, 2)
    assert run.finished.exit_code == ExitCode.MACHINE
    assert 30 <= stage.clock.now() - begin <= 60
    assert len(run.launcher.commands) < 12


def test_a_dir_that_cannot_be_made_is_this_machines_trouble(stage: Stage) -> None:
    """Raised, for the command line to say; no run has begun, and none has ended."""
    stage.store.directory.write_bytes(b"a file")
    run = stage.prepare("a", WHOLE)

    with pytest.raises(MachineError, match="is no folder"):
        run.go()

    assert run.reporter.events == []


def test_a_ledger_that_cannot_be_opened_is_this_machines_trouble(stage: Stage) -> None:
    """The same: a run begins when all that it needs in DIR is there."""
    stage.store.make()
    stage.store.ledger.mkdir()
    run = stage.prepare("a", WHOLE)

    with pytest.raises(MachineError, match="cannot be written"):
        run.go()

    assert run.reporter.events == []


def break_ledger(run: Run) -> None:
    """From now on nothing can be written to it."""
    assert run.pool._publisher is not None
    run.pool._publisher._ledger._db.execute("PRAGMA query_only = ON")


@pytest.mark.parametrize("size", [len(DATA), outbox.GROUP_BYTES])
def test_a_ledger_that_fails_later_ends_the_run_in_good_order(stage: Stage, size: int) -> None:
    """A run that began ends with its last line: exit code 3, and the reason as a warning."""
    run = stage.prepare("abc", workers=1)
    data = bytes(size)
    whole = [
        Row(0, log=head_200(size)),
        Row(0.1, data, act=lambda: break_ledger(run)),
    ]
    run.launcher = ScriptedLauncher(stage.clock, [Script(whole)])

    finished = run.go()

    assert finished.exit_code == ExitCode.MACHINE
    assert run.reporter.events[-1] is finished
    assert isinstance(run.reporter.events[0], RunStarted)
    assert run.counts == (0, 0, 0, 3)
    (warning,) = run.reporter.of(Warned)
    assert "ledger.sqlite3 cannot be written" in warning.message
    assert stage.store.part("a").read_bytes() == data
    assert not stage.store.final("a").exists()
    part = claim(stage.store, "a")
    assert part is not None, "the run has ended, and holds its part"
    os.close(part.descriptor)


def test_a_part_that_waits_to_be_published_is_free_when_the_run_has_failed(stage: Stage) -> None:
    """It is whole, and another run publishes it."""
    run = stage.prepare("abc", workers=2)
    size = outbox.GROUP_BYTES  # of the first, which is published at once
    rows = [Row(0, log=head_200(size)), Row(0.1, bytes(size), act=lambda: break_ledger(run))]
    run.launcher = ScriptedLauncher(stage.clock, [Script(rows), WHOLE, MISSING])

    run.go()

    assert run.pool._outbox._parts[0].name == "b"
    part = claim(stage.store, "b")
    assert part is not None, "the run has ended, and holds its part"
    with part:
        assert part.path.read_bytes() == DATA


def test_a_run_goes_on_after_one_whose_ledger_failed(stage: Stage) -> None:
    """In the same program, too: what was whole is published, and nothing is waited for."""
    run = stage.prepare("abc", workers=1)
    broken = Script([*WHOLE.rows, Row(0.2, act=lambda: break_ledger(run))])
    run.launcher = ScriptedLauncher(stage.clock, [broken])
    run.go()

    again = stage.run("abc", WHOLE)

    assert again.counts == (3, 0, 0, 0)


@pytest.mark.parametrize(
    ("numbers", "patience"),
    [
        ([signal.SIGINT], pool.PATIENCE),
        ([signal.SIGTERM, signal.SIGTERM], pool.PATIENCE),
        ([signal.SIGINT, signal.SIGTERM], pool.PATIENCE),
        ([signal.SIGINT, signal.SIGINT], pool.AT_ONCE),
        ([signal.SIGTERM, signal.SIGINT], pool.AT_ONCE),
        ([signal.SIGTERM, signal.SIGHUP, signal.SIGINT], pool.AT_ONCE),
    ],
)
def test_a_disk_that_hangs_is_not_waited_for(
    stage: Stage, numbers: list[signal.Signals], patience: float
) -> None:
    """Nobody waits for ever; who asks twice by Ctrl-C hardly waits at all."""
    run = stage.prepare("ab", BUSY, workers=1)
    begin = stage.clock.now()

    def strike(_: object) -> None:
        run.pool._keeping += 1  # a job that never comes back
        run.pool._errands.under_way += 1
        for number in numbers:
            run.pool.interrupt(number)

    run.inbox.expect(begin + 0.5, (strike, None))
    run.go()

    assert run.pool.abandoned
    assert stage.clock.now() == begin + 0.5 + patience
    assert run.finished.exit_code == 128 + numbers[0]
    assert run.reporter.of(Stopping) == [Stopping(reason=numbers[0].name)]
    assert run.counts == (0, 0, 0, 2)
    assert stage.store.live_runs() != []
    hangs = any("does not answer" in warning.message for warning in run.reporter.of(Warned))
    assert hangs is (patience == pool.PATIENCE)
    run.pool._close(None)
    run.pool._stop.close()


def test_a_pause_stops_clock_and_wgets(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-Z: told, everything stops, then us; `fg`: the same back, and told."""
    calls: list[str] = []
    for target in ("Children.stop", "Children.go_on"):
        note_calls(monkeypatch, calls, f"wgetpool.process.{target}", target)
    monkeypatch.setattr(stage.clock, "stop", lambda: calls.append("clock.stop"))
    monkeypatch.setattr(stage.clock, "go_on", lambda: calls.append("clock.go_on"))
    monkeypatch.setattr(process, "stop_ourselves", lambda: calls.append("stopped"))
    run = stage.prepare("a", BUSY, WHOLE, workers=1)
    run.inbox.expect(stage.clock.now() + 0.5, (run.pool.interrupt, signal.SIGTSTP))

    run.go()

    before, after = ["clock.stop", "Children.stop"], ["Children.go_on", "clock.go_on"]
    assert calls == [*before, "stopped", *after]
    assert len(run.reporter.of(Paused)) == len(run.reporter.of(Resumed)) == 1
    assert run.finished.exit_code == 0


def test_a_pause_while_nobody_reads_breaks_no_write_off(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is stopped, too (`| less`): we stop in the middle of the write, and it goes on."""
    stopped: list[float] = []
    monkeypatch.setattr(process, "stop_ourselves", lambda: stopped.append(stage.clock.now()))
    run = stage.prepare("a", WHOLE, workers=1)

    def hang(event: Event) -> None:
        if isinstance(event, RunStarted):
            run.pool.interrupt(signal.SIGTSTP)
            run.pool.nudge()
            assert not stopped, "it may be slow only"
            stage.clock.advance(1)
            run.pool.nudge()
        run.reporter.events.append(event)

    run.reporter.handle = hang  # type: ignore[method-assign]

    run.go()

    assert len(stopped) == 1, "and not once more when the write has ended"
    assert not run.pool.muted
    assert run.finished.done == 1


def test_who_ends_a_run_does_not_find_it_stopped(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-Z, and SIGTERM with SIGCONT before that was heeded: the run ends."""
    monkeypatch.setattr(process, "stop_ourselves", lambda: pytest.fail("nobody would wake it"))
    run = stage.prepare("a", BUSY, workers=1)

    def strike(_: object) -> None:
        run.pool.interrupt(signal.SIGTSTP)
        run.pool.interrupt(signal.SIGTERM)

    run.inbox.expect(stage.clock.now() + 0.5, (strike, None))

    assert run.go().exit_code == 143


def test_a_write_that_nobody_takes_is_broken_off(stage: Stage) -> None:
    """After a signal: the run goes on to its end, and says nothing more."""
    run = stage.prepare("ab", BUSY, workers=1)

    def hang(event: Event) -> None:
        if isinstance(event, Stopping):
            run.pool.nudge()  # the alarm rings while it writes: give it a second
            stage.clock.advance(1)
            run.pool.nudge()
        run.reporter.events.append(event)

    run.reporter.handle = hang  # type: ignore[method-assign]
    run.inbox.expect(stage.clock.now() + 0.5, (run.pool.interrupt, signal.SIGTERM))

    finished = run.go()

    assert run.pool.muted
    assert finished.exit_code == 143
    assert not run.reporter.of(RunFinished)
    assert not run.reporter.of(Stopping)
    run.pool.nudge()  # it writes nothing now: nothing to break off


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_with_its_code(stage: Stage, number: signal.Signals) -> None:
    """What waits is left; nothing new starts; 128 + the signal."""
    run = stage.prepare("ab", BUSY, workers=1)
    run.inbox.expect(stage.clock.now() + 0.5, (run.pool._on_signal, number))

    run.go()

    assert run.finished.exit_code == 128 + number
    assert run.counts == (0, 0, 0, 2)
    assert run.reporter.of(Stopping) == [Stopping(reason=number.name)]
    assert stage.clock.now() < 1010


def test_a_run_that_was_stopped_goes_on_where_it_was(stage: Stage) -> None:
    """The same command again: the part is continued, the rest fetched."""
    run = stage.prepare("a", BUSY)
    run.inbox.expect(stage.clock.now() + 0.5, (run.pool._on_signal, signal.SIGTERM))
    run.go()

    again = stage.run("a", WHOLE)

    assert again.counts == (1, 0, 0, 0)


def test_files_that_were_moved_on_are_fetched_again_and_said_once(stage: Stage) -> None:
    """One message with the number."""
    stage.run("abc", WHOLE)
    for name in "ab":
        stage.store.final(name).unlink()

    run = stage.run("abc", WHOLE)

    assert run.counts == (2, 1, 0, 0)
    assert [event.message for event in run.reporter.of(Warned)] == [
        "2 files that had been fetched are no longer there: fetched again (or --skip-gone)"
    ]


def test_files_that_were_moved_on_are_left_out_in_every_run(stage: Stage) -> None:
    """--skip-gone: not only the first time."""
    stage.run("ab", WHOLE)
    stage.store.final("a").unlink()

    runs = [stage.run("ab", WHOLE, skip_gone=True) for _ in range(3)]

    assert [run.counts for run in runs] == [(0, 2, 0, 0)] * 3
    assert [run.launcher.commands for run in runs] == [[]] * 3


def test_a_run_waits_for_the_files_of_another_one(stage: Stage) -> None:
    """It looks again until the other lets go, then it fetches them itself."""
    stage.store.make()
    held = claim(stage.store, "a")
    assert held is not None
    run = stage.prepare("ab", WHOLE)
    run.inbox.expect(stage.clock.now() + 60, (lambda _: held.__exit__(None, None, None), None))

    run.go()

    assert run.names(FileDone) == ["b", "a"]
    assert run.counts == (2, 0, 0, 0)
    assert [event.attempts for event in run.reporter.of(FileDone)] == [1, 1]


def test_a_file_that_another_run_has_made_whole_is_skipped(stage: Stage) -> None:
    """Whoever fetched it: the run ends with 0."""
    stage.store.make()
    held = claim(stage.store, "a")
    assert held is not None
    run = stage.prepare("a", WHOLE)

    def finish(_: object) -> None:
        os.write(held.descriptor, DATA)
        held.path.rename(stage.store.final("a"))
        record = FileRecord(name="a", state="done", size=len(DATA), inode=held.inode())
        with closing(Ledger(stage.store.ledger)) as ledger:
            ledger.record([record])
        held.__exit__(None, None, None)

    run.inbox.expect(stage.clock.now() + 60, (finish, None))
    run.go()

    assert run.counts == (0, 1, 0, 0)
    assert run.finished.exit_code == ExitCode.WHOLE
    assert run.launcher.commands == []


def test_a_bug_ends_the_run_and_is_not_hidden(stage: Stage) -> None:
    """What is not expected comes out of `run`; the lock of the run is given back."""
    run = stage.prepare("a", WHOLE)

    def fail(_: Command) -> Any:
        raise ValueError("a bug")

    run.launcher = ScriptedLauncher(stage.clock, [fail])

    with pytest.raises(ValueError, match="a bug"):
        run.go()


def test_the_lock_of_a_dead_run_is_taken_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its wgets are ended first, and that is said; a live run's lock stays."""
    stage.store.make()
    (stage.store.runs / "dead").write_text("1\n")
    alive = RunLock(stage.store, "alive")
    ended: list[object] = []

    def end_orphans(runs: object) -> list[Orphan]:
        ended.append(runs)
        return [Orphan(pid=pid, run="dead", part="a") for pid in (7, 8)]

    monkeypatch.setattr("wgetpool.orphans.end", end_orphans)
    monkeypatch.setattr("wgetpool.orphans.find", lambda _: [])

    run = stage.run("a", WHOLE)

    assert ended == [frozenset({"dead"})]
    assert "2 wgets" in run.reporter.of(Warned)[0].message
    assert (stage.store.dead_runs(), stage.store.live_runs()) == ([], ["alive"])
    alive.release()


def test_a_ledger_that_was_set_aside_is_said(stage: Stage) -> None:
    """And the run goes on."""
    stage.store.make()
    stage.store.ledger.write_bytes(b"junk" * 100)

    run = stage.run("a", WHOLE)

    assert "set aside" in run.reporter.of(Warned)[0].message
    assert run.counts == (1, 0, 0, 0)


def test_more_files_than_a_group_and_a_survey_take_all_come(stage: Stage) -> None:
    """Chunks of the survey and groups of publishing leave nobody behind."""
    names = [f"{number:03}" for number in range(outbox.GROUP * 2 + 5)]

    run = stage.run(names, WHOLE, workers=16)

    assert run.counts == (len(names), 0, 0, 0)
    assert set(run.names(FileDone)) == set(names)


def test_small_files_share_a_wget(stage: Stage) -> None:
    """Once a host has served some. Each has its own events and its own row, as ever."""
    names = [f"{number:03}" for number in range(200)]

    run = stage.run(names, WHOLE, workers=2)

    shared = sum(len(command.stdin.split()) for command in stage.batches.commands)
    assert len(stage.batches.commands) < 40
    assert len(run.launcher.commands) + shared == len(names)
    assert sorted(run.names(AttemptStarted)) == sorted(run.names(FileDone)) == names
    assert {event.attempts for event in run.reporter.of(FileDone)} == {1}
    assert {record.state for record in stage.records.values()} == {"done"}


def test_no_event_and_no_record_holds_a_query(stage: Stage) -> None:
    """Neither what is said nor what is kept, failures included."""
    loop = (
        "  HTTP/1.1 302 Found\n  Location: https://e.org/a?sig=SECRET\n20 redirections exceeded.\n"
    )

    run = stage.run("ab", Script([Row(0, log=loop)], 8), WHOLE)

    files = [path for path in stage.store.state.rglob("*") if path.is_file()]
    assert "SECRET" not in repr(run.reporter.events)
    assert not any(b"SECRET" in path.read_bytes() for path in files)


def test_progress_is_told_while_nothing_else_happens(stage: Stage) -> None:
    """Once an interval, by the clock; the waiting file is in it."""
    run = stage.run("a", BUSY, WHOLE, progress_interval=1.0)

    samples = run.reporter.of(Progress)
    assert 4 <= len(samples) <= 8
    assert [row.name for row in samples[0].waiting] == ["a"]
    assert [each.seconds for each in samples] == sorted(each.seconds for each in samples)


def test_every_descriptor_of_a_run_is_closed(stage: Stage) -> None:
    """A script may call it again and again."""
    stage.run("a", WHOLE)
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(3):
        stage.run("a", WHOLE)

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_each_attempt_is_written_down_with_how_it_ended(stage: Stage) -> None:
    """Over runs: refused, done; and what a run that was stopped had under way."""
    stage.run("a", BUSY, WHOLE)
    endless = Script([Row(0, log=head_200(100)), Row(0.1, b"x" * 40)], None)
    run = stage.prepare("b", endless)
    run.inbox.expect(stage.clock.now() + 3, (run.pool._on_signal, signal.SIGTERM))
    run.pool._stop.set()  # what the handler does, while the worker is in our own thread
    run.go()

    told = {name: read_attempts(stage.store.ledger, name) for name in "ab"}

    assert [(one.ending, one.status, one.retry_in) for _, one in told["a"]] == [
        ("failed", 503, 5.0),
        ("done", 200, None),
    ]
    assert [one.received for _, one in told["a"]] == [0, len(DATA)]
    assert [one.ending for _, one in told["b"]] == ["stopped"]
    assert {one.run for _, one in told["a"]} != {one.run for _, one in told["b"]}


def test_nothing_is_written_down_while_the_disk_does_not_answer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wget in state D shows it; the ledger's keeper would hang on the same disk."""
    run = stage.prepare("a", MISSING)
    stuck = [1]
    monkeypatch.setattr(run.pool._children, "stuck", lambda: len(stuck))
    calls: list[str] = []
    note_calls(monkeypatch, calls, "wgetpool.publish.Publisher.publish")
    run.inbox.expect(stage.clock.now() + 20, (lambda _: calls.append("still stuck"), None))
    run.inbox.expect(stage.clock.now() + 30, (lambda _: stuck.clear(), None))

    run.go()

    assert calls == ["still stuck", "publish"]
    assert stage.records["a"].state == "failed"
