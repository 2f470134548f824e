"""One scripted wget for several small files: what has become of each, and what is left of it."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.doubles import (
    FakeClock,
    FlagDouble,
    Row,
    Script,
    ScriptedLauncher,
    came,
    head,
    head_200,
    refusal,
)

from wgetpool import process
from wgetpool.batch import LIFE, TICK, TOGETHER, fetch_batch
from wgetpool.batches import LARGEST
from wgetpool.model import (
    Access,
    Approach,
    AttemptOrder,
    Cause,
    Checks,
    Checksum,
    Command,
    Ending,
    Entry,
    FailureClass,
    Limits,
    Outcome,
    Url,
)
from wgetpool.part import claim
from wgetpool.store import Store

NAMES = ["a", "train/b", "c"]
DATA = {"a": b"first", "train/b": b"", "c": b"the third one"}
MONDAY = "Last-Modified: Mon, 01 Sep 2025 10:00:00 GMT"


def url(name: str) -> str:
    return f"https://e.org/{name}?sig=SECRET"


def answer(name: str, at: float = 0.0, data: bytes | None = None) -> Row:
    """A file that comes as it should."""
    data = DATA[name] if data is None else data
    return Row(at, data, log=head_200(len(data), MONDAY) + came(url(name), len(data)))


def log(text: str, data: bytes = b"", at: float = 0.0) -> Row:
    return Row(at, data, log=text)


A, B, C = map(answer, NAMES)


class Stage:
    """A DIR, a clock and a flag; batches are fetched into it."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.store = Store(directory)
        self.store.make()
        self.clock = FakeClock()
        patch.setattr(process, "pause", self.clock.pause)
        self.stop = FlagDouble()
        self.launcher = ScriptedLauncher(self.clock, [])

    def fetch(
        self,
        *rows: Row,
        exit_code: int | None = 0,
        launch: OSError | None = None,
        recalled: str = "",
        limits: Limits | None = None,
        checks: Checks | None = None,
        access: Access | None = None,
        checksums: tuple[Checksum, ...] = (),
        size: int | None = None,
    ) -> dict[str, Outcome]:
        self.launcher = ScriptedLauncher(self.clock, [launch or Script(rows, exit_code)])
        orders = [
            AttemptOrder(
                directory=self.store.directory,
                wget="/usr/bin/wget",
                entry=Entry(name, Url(url(name)), size, checksums),
                attempt=1,
                approach=Approach.CONTINUE,
                limits=limits or Limits(),
                checks=checks or Checks(),
                access=access or Access(),
            )
            for name in NAMES
        ]
        outcomes = fetch_batch(
            orders,
            stop=self.stop,
            clock=self.clock,
            environment=(),
            launch=self.launcher,
            recall=lambda name: name == recalled,
        )
        assert [outcome.name for outcome in outcomes] == NAMES
        for outcome in outcomes:
            if outcome.whole:
                os.close(outcome.whole.claim)
        return {outcome.name: outcome for outcome in outcomes}

    @property
    def command(self) -> Command:
        return self.launcher.commands[0]

    def left(self) -> dict[str, bytes]:
        """The parts that are there."""
        found = sorted(self.store.directory.rglob("*.part"))
        names = (str(path.relative_to(self.store.directory)) for path in found)
        return {name[:-5]: path.read_bytes() for name, path in zip(names, found, strict=True)}


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def endings(outcomes: dict[str, Outcome]) -> list[Ending]:
    return [outcome.ending for outcome in outcomes.values()]


EXITED, UNTRIED = Ending.EXITED, Ending.UNTRIED


def test_each_file_comes_to_its_own_part(stage: Stage) -> None:
    """With all that the attempt of its own would tell."""
    outcomes = stage.fetch(A, B, C)

    assert stage.left() == DATA
    for name, outcome in outcomes.items():
        assert outcome.whole is not None
        assert outcome.whole.proof == ("size",)
        assert outcome.whole.sha256 == hashlib.sha256(DATA[name]).hexdigest()
        assert outcome.whole.last_modified == MONDAY.partition(": ")[2]
        assert outcome.whole.inode == stage.store.part(name).stat().st_ino
        assert (outcome.after, outcome.received) == (len(DATA[name]), len(DATA[name]))
        assert (outcome.status, outcome.failure) == (200, None)


def test_one_wget_gets_all_the_links_in_secret(stage: Stage) -> None:
    """By its standard input, and it may not follow redirects, which could be anybody's."""
    stage.fetch(A, B, C)

    assert stage.command.stdin.decode().split() == [url(name) for name in NAMES]
    assert "SECRET" not in repr(stage.command)
    assert "--max-redirect=0" in stage.command.argv
    assert "--continue" not in stage.command.argv
    assert "--no-cookies" in stage.command.argv
    assert stage.command.file_limit == TOGETHER


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, False),
        ({"size": 5}, False),
        ({"checksums": (Checksum("md5", "0" * 32),)}, True),
        ({"access": Access(options=(("http_keep_alive", "on"),))}, True),
        ({"access": Access(options=(("http_keep_alive", "off"),))}, False),
    ],
)
def test_a_connection_is_shared_by_what_is_known_by_its_checksum(
    stage: Stage, given: dict[str, Any], kept: bool
) -> None:
    """Or where the user says so: else what a server sends too much would be the next file."""
    stage.fetch(A, **given)

    assert ("--no-http-keep-alive" not in stage.command.argv) is kept


def test_a_log_that_is_too_long_tells_nothing_of_whose_turn_it_was(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is missing: nobody is to blame for that."""
    monkeypatch.setattr(process, "LOG_LIMIT", 100)

    outcomes = stage.fetch(A, log(head_200(500), b"not all"), exit_code=0)

    assert endings(outcomes)[1:] == [UNTRIED, UNTRIED]


def test_an_attempt_takes_no_longer_than_what_came(stage: Stage) -> None:
    """Each file's seconds are those since the one before."""
    outcomes = stage.fetch(answer("a", 0.05), answer("train/b", 0.55), answer("c", 1.25))

    assert sum(outcome.seconds for outcome in outcomes.values()) == pytest.approx(1.25, abs=0.3)
    assert outcomes["c"].seconds > 0.3


def test_a_file_that_is_refused_has_had_its_attempt(stage: Stage) -> None:
    """A 404 is the file's own trouble: the others come."""
    outcomes = stage.fetch(A, log(refusal(url("train/b"), "404 Not Found")), C)

    failure = outcomes["train/b"].failure
    assert failure is not None
    assert (failure.kind, failure.status) == (FailureClass.PERMANENT, 404)
    assert stage.left() == {"a": DATA["a"], "c": DATA["c"]}


def test_a_server_that_has_too_much_is_left_alone_at_once(stage: Stage) -> None:
    """What it says of when to come again is heard; who was not reached is not tried."""
    busy = refusal(url("train/b"), "503 Service Unavailable").replace(
        "  Content-Length", "  Retry-After: 7\n  Content-Length"
    )

    outcomes = stage.fetch(A, log(busy), answer("c", 1.0))

    failure = outcomes["train/b"].failure
    assert failure is not None
    assert (failure.kind, failure.retry_after) == (FailureClass.TRANSIENT, 7.0)
    assert endings(outcomes) == [EXITED, EXITED, UNTRIED]
    assert stage.launcher.children[0].rows_left == 1


def test_a_file_that_was_cut_has_had_its_attempt(stage: Stage) -> None:
    """Nothing of it is kept: it is small. What came behind it may be anybody's."""
    outcomes = stage.fetch(A, log(head_200(500), b"not all"), C, exit_code=4)

    failure = outcomes["train/b"].failure
    assert failure is not None
    assert (failure.kind, failure.cause) == (FailureClass.TRANSIENT, Cause.CONNECTION)
    assert endings(outcomes) == [EXITED, EXITED, UNTRIED]
    assert stage.left() == {"a": DATA["a"]}


@pytest.mark.parametrize(
    ("exit_code", "cause"), [(4, Cause.CONNECTION), (-9, Cause.KILLED), (-25, None)]
)
def test_whose_turn_it_was_has_had_its_attempt_when_wget_is_no_more(
    stage: Stage, exit_code: int, cause: Cause | None
) -> None:
    """Not where a limit of ours has ended it: so much was not to be expected (SIGXFSZ)."""
    outcomes = stage.fetch(A, log(head_200(500), b"not all"), exit_code=exit_code)

    failure = outcomes["train/b"].failure
    assert (failure.cause if failure else None) == cause
    assert (outcomes["train/b"].ending is UNTRIED) is (cause is None)
    assert outcomes["c"].ending is UNTRIED


@pytest.mark.parametrize(
    "surprise",
    [
        log(head_200(LARGEST + 1), b"x" * 100),
        log(head("302 Found", "Location: /x")),
        log(head("401 Unauthorized")),
        log(head_200(None), b"x" * 100),
        log("something else\n"),
    ],
)
def test_what_it_is_not_made_for_is_not_tried(stage: Stage, surprise: Row) -> None:
    """It is ended there and then, and each of the others has a wget of its own."""
    outcomes = stage.fetch(A, surprise, answer("c", 9.0), exit_code=None)

    assert endings(outcomes) == [EXITED, UNTRIED, UNTRIED]
    assert stage.left() == {"a": DATA["a"]}
    assert stage.clock.now() < 1000.0 + LIFE + 1.0


def test_a_slow_server_is_better_asked_one_by_one(stage: Stage) -> None:
    """What has come by then has come."""
    outcomes = stage.fetch(A, answer("train/b", LIFE - 1), answer("c", LIFE + 3))

    assert endings(outcomes) == [EXITED, EXITED, UNTRIED]


def test_the_longest_time_of_an_attempt_holds_for_all_together(stage: Stage) -> None:
    """--attempt-timeout is what one wget may take."""
    outcomes = stage.fetch(A, answer("train/b", 3.0), limits=Limits(attempt_timeout=1.0))

    assert endings(outcomes) == [EXITED, UNTRIED, UNTRIED]


def test_a_stall_is_one(stage: Stage) -> None:
    """Where the user's time for it is over, not ours."""
    rows = A, log(head_200(500), b"not all", 1.0), log("", at=9.0)

    outcomes = stage.fetch(*rows, limits=Limits(stall_timeout=2.0))

    failure = outcomes["train/b"].failure
    assert failure is not None
    assert (failure.kind, failure.cause) == (FailureClass.TRANSIENT, Cause.STALLED)
    assert "no new byte for 2 s" in failure.reason
    assert endings(outcomes) == [EXITED, Ending.STALLED, UNTRIED]


@pytest.mark.parametrize(
    "wrong", [{"checksums": (Checksum("md5", "0" * 32),)}, {"size": 4}], ids=["checksum", "size"]
)
def test_a_file_that_its_list_does_not_know_is_put_aside(
    stage: Stage, wrong: dict[str, Any]
) -> None:
    """As after an attempt of its own. The others come."""
    outcomes = stage.fetch(A, B, C, **wrong)

    for name, outcome in outcomes.items():
        assert outcome.failure is not None
        assert outcome.failure.kind is FailureClass.BROKEN
        assert (outcome.rejected, outcome.final, outcome.after) == (True, False, 0)
        assert outcome.sha256 == hashlib.sha256(DATA[name]).hexdigest()
        assert stage.store.rejected(name).read_bytes() == DATA[name]
    assert stage.left() == {}


def test_nothing_is_touched_of_what_is_there(stage: Stage) -> None:
    """A part, a file that has appeared, a claim of somebody else's: looked at by an attempt."""
    stage.store.make_folder("train/b")
    stage.store.part("a").write_bytes(b"begun")
    stage.store.final("train/b").write_bytes(b"another run's")
    with claim(stage.store, "c") as held:  # type: ignore[union-attr]
        assert held is not None
        outcomes = stage.fetch(A)

    assert set(endings(outcomes)) == {UNTRIED}
    assert stage.launcher.commands == []
    assert stage.left() == {"a": b"begun"}
    assert stage.store.final("train/b").read_bytes() == b"another run's"


def test_it_asks_for_what_it_has_claimed_only(stage: Stage) -> None:
    """And knows whose bytes come."""
    stage.store.part("a").write_bytes(b"begun")

    outcomes = stage.fetch(B, C)

    assert stage.command.stdin.decode().split() == [url("train/b"), url("c")]
    assert endings(outcomes) == [UNTRIED, EXITED, EXITED]
    assert stage.left() == DATA | {"a": b"begun"}


def test_a_run_that_stops_keeps_what_has_come(stage: Stage) -> None:
    """The rest goes on in the next one."""
    outcomes = stage.fetch(A, Row(0.5, act=stage.stop.set), answer("train/b", 1.0))

    assert endings(outcomes) == [EXITED, Ending.STOPPED, UNTRIED]
    assert stage.launcher.children[0].closed


def test_a_recall_ends_it(stage: Stage) -> None:
    """When the disk has no more room, say."""
    outcomes = stage.fetch(A, answer("train/b", 1.0), recalled="c")

    assert endings(outcomes) == [EXITED, UNTRIED, UNTRIED]
    assert stage.clock.now() <= 1000.0 + 2 * TICK


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOENT, errno.EMFILE])
def test_without_a_wget_nobody_was_tried(stage: Stage, number: int) -> None:
    """The next attempt tells what is the matter."""
    outcomes = stage.fetch(launch=OSError(number, os.strerror(number)))

    assert set(endings(outcomes)) == {UNTRIED}
    assert stage.left() == {}


def test_a_full_disk_leaves_nothing_torn(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is tried next finds it full, too, and says so."""
    write: Callable[[int, bytes, int], int] = os.pwrite

    def half(descriptor: int, data: bytes, offset: int) -> int:
        if data == DATA["c"]:
            write(descriptor, data[:4], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", half)

    outcomes = stage.fetch(A, B, C)

    assert endings(outcomes) == [EXITED, EXITED, UNTRIED]
    assert stage.left() == {"a": DATA["a"], "train/b": b""}
    assert stage.launcher.children[0].closed


def test_an_archive_that_is_broken_is_put_aside(stage: Stage) -> None:
    """It is to be fetched anew."""
    gzip = b"\x1f\x8b\x08\x00 this is none"
    outcomes = stage.fetch(A, B, answer("c", data=gzip), checks=Checks(archives=True))

    failure = outcomes["c"].failure
    assert failure is not None
    assert (failure.kind, failure.cause) == (FailureClass.BROKEN, Cause.ARCHIVE)
    assert stage.store.rejected("c").read_bytes() == gzip
