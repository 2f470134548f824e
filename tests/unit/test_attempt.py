"""One attempt with a scripted wget: what it brings, what ends it, what it leaves behind."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from support.doubles import (
    NOON,
    FakeClock,
    FlagDouble,
    Row,
    Script,
    ScriptedLauncher,
    head,
    head_200,
    head_206,
)

from wgetpool import orphans, policy, process
from wgetpool.attempt import EARLY, EARLY_TICK, PATIENCE, TICK, fetch
from wgetpool.model import (
    Approach,
    AttemptOrder,
    Cause,
    Checksum,
    Command,
    Ending,
    Entry,
    Failure,
    FailureClass,
    Finding,
    Limits,
    Orphan,
    Outcome,
    RemoteFile,
    Url,
)
from wgetpool.part import Part, claim
from wgetpool.policy import OVERLAP
from wgetpool.proof import Trails
from wgetpool.store import RunLock, Store

NAME = "train/a.tar"
URL = "https://cdn.example.org/x/a.tar?sig=SECRET"
SIZE = 300_000
DATA = random.Random(1).randbytes(SIZE)
OTHER = random.Random(2).randbytes(SIZE)
HALF = 150_000
BACK = HALF - OVERLAP  # where a part of HALF bytes goes on
MONDAY = "Last-Modified: Mon, 01 Sep 2025 10:00:00 GMT"
TUESDAY = "Last-Modified: Tue, 02 Sep 2025 10:00:00 GMT"


class Stage:
    """A DIR, a clock and a flag; attempts are made on it one after the other."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.store = Store(directory)
        self.store.make()
        self.clock = FakeClock()
        patch.setattr(process, "pause", self.clock.pause)
        self.stop = FlagDouble()
        self.launcher = ScriptedLauncher(self.clock, [])
        self.trails = Trails()

    def fetch(
        self,
        *scripts: Script | OSError | Callable[[Command], Script],
        approach: Approach = Approach.CONTINUE,
        limits: Limits | None = None,
        url: Url | None = None,
        **entry: Any,
    ) -> Outcome:
        self.launcher = ScriptedLauncher(self.clock, scripts)
        order = AttemptOrder(
            directory=self.store.directory,
            wget="/usr/bin/wget",
            entry=Entry(NAME, url or Url(URL), **entry),
            attempt=1,
            approach=approach,
            limits=limits or Limits(),
        )
        return fetch(
            order,
            stop=self.stop,
            clock=self.clock,
            environment=(),
            trails=self.trails,
            launch=self.launcher,
        )

    def leave(self, data: bytes, remote: RemoteFile | None = None) -> None:
        """A part of an earlier run."""
        self.store.make_folder(NAME)
        self.path.write_bytes(data)
        if remote is not None:
            with self.claim() as part:
                part.accept(remote, "/x/a.tar")

    def claim(self) -> Part:
        part = claim(self.store, NAME)
        assert part is not None
        return part

    @property
    def path(self) -> Path:
        return self.store.part(NAME)

    @property
    def bytes(self) -> bytes | None:
        return self.path.read_bytes() if self.path.exists() else None

    @property
    def record(self) -> RemoteFile:
        with self.claim() as part:
            assert part.record.cut is None
            return part.record.remote


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(tmp_path, monkeypatch)


def whole(data: bytes = DATA, *fields: str, etag: str | None = '"v1"') -> Script:
    return Script([Row(0, log=head_200(len(data), *fields, etag=etag)), Row(0.1, data)])


def rest(
    data: bytes, start: int, *fields: str, etag: str | None = '"v1"', count: int | None = None
) -> Script:
    """The answer to a range, `count` bytes of it; then the connection closes."""
    body = data[start:] if count is None else data[start : start + count]
    log = head_206(start, len(data), *fields, etag=etag)
    return Script([Row(0, log=log), Row(0.1, body)], 0 if count is None else 4)


# ---------------------------------------------------------------- a fresh file


def test_a_fresh_file_comes_in_one_process(stage: Stage) -> None:
    """Nothing is asked first; what is whole is said with what proves it."""
    outcome = stage.fetch(whole(DATA, MONDAY))

    assert outcome.whole is not None
    assert (outcome.whole.size, outcome.whole.proof) == (SIZE, ("size",))
    assert outcome.whole.last_modified == "Mon, 01 Sep 2025 10:00:00 GMT"
    assert (outcome.ending, outcome.failure) == (Ending.EXITED, None)
    assert (outcome.before, outcome.after, outcome.received) == (0, SIZE, SIZE)
    assert len(stage.launcher.commands) == 1
    assert stage.bytes == DATA


def test_a_short_file_is_a_part_with_a_past(stage: Stage) -> None:
    """Bytes and validators stay for the next attempt."""
    short = Script([Row(0, log=head_200(SIZE, MONDAY, etag='"v1"')), Row(0.1, DATA[:HALF])], 4)

    outcome = stage.fetch(short)

    assert outcome.failure is not None
    assert outcome.failure.kind is FailureClass.TRANSIENT
    assert "150,000 of 300,000" in outcome.failure.reason
    assert (outcome.after, outcome.finding) == (HALF, Finding.FITS)
    assert outcome.remote.size == SIZE
    assert stage.bytes == DATA[:HALF]
    assert stage.record == RemoteFile(
        size=SIZE, etag='"v1"', last_modified="Mon, 01 Sep 2025 10:00:00 GMT"
    )


def test_a_short_file_is_not_whole_though_wget_is_content(stage: Stage) -> None:
    """Exit code 0 alone shows nothing."""
    short = Script([Row(0, log=head_200(SIZE)), Row(0.1, DATA[:HALF])], 0)

    assert stage.fetch(short).whole is None


def test_a_file_without_a_length_is_whole_when_wget_is_content(stage: Stage) -> None:
    """No size from anywhere: nothing proves it."""
    chunked = Script([Row(0, log=head_200(None)), Row(0.1, DATA)], 0)

    outcome = stage.fetch(chunked)

    assert outcome.whole is not None
    assert outcome.whole.proof == ()


@pytest.mark.parametrize(("exit_code", "size"), [(4, None), (0, SIZE + 1)])
def test_a_file_without_a_length_that_was_cut_is_not_whole(
    stage: Stage, exit_code: int, size: int | None
) -> None:
    """A complaint of wget, or a listed size that is not reached."""
    chunked = Script([Row(0, log=head_200(None)), Row(0.1, DATA)], exit_code)

    outcome = stage.fetch(chunked, size=size)

    assert outcome.whole is None
    assert outcome.after == SIZE


def test_a_file_of_no_bytes_is_whole(stage: Stage) -> None:
    """And its part is there to be published."""
    outcome = stage.fetch(Script([Row(0, log=head_200(0))]))

    assert outcome.whole is not None
    assert (outcome.whole.size, outcome.whole.proof) == (0, ("size",))
    assert stage.bytes == b""


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (Script([Row(0, b"SSH-2.0-OpenSSH_9.2\r\n")], 0), "not HTTP"),
        (Script([Row(0, log=head("204 No Content"))], 0), "carries no file"),
        (Script([Row(0, log=head("404 Not Found"))], 8), "404 Not Found"),
        (Script([Row(0, log="failed: Connection refused.\n")], 4), "refused"),
    ],
)
@pytest.mark.parametrize("before", [0, HALF])
def test_what_is_no_file_leaves_the_part_as_it_was(
    stage: Stage, script: Script, words: str, before: int
) -> None:
    """No byte of it stays, and none of the part's is lost."""
    stage.leave(DATA[:before])

    outcome = stage.fetch(script)

    assert outcome.failure is not None
    assert words in outcome.failure.reason
    assert (outcome.before, outcome.after) == (before, before)
    assert (stage.bytes or b"") == DATA[:before]


# ---------------------------------------------------------------- a part is continued


def test_a_part_goes_on_behind_compared_bytes(stage: Stage) -> None:
    """64 KiB are fetched again and are equal: the rest is the same file's."""
    stage.leave(DATA[:HALF], RemoteFile(size=SIZE, etag='"v1"'))

    outcome = stage.fetch(rest(DATA, BACK))

    assert outcome.whole is not None
    assert (outcome.before, outcome.received) == (HALF, SIZE - BACK)
    assert stage.bytes == DATA


def test_a_foreign_part_goes_on_like_our_own(stage: Stage) -> None:
    """A part without a record has its bytes for a past."""
    stage.leave(DATA[:HALF])

    assert stage.fetch(rest(DATA, BACK)).whole is not None


def test_a_part_that_is_whole_already_costs_its_tail(stage: Stage) -> None:
    """Whole is what the server says, after the comparison."""
    stage.leave(DATA)

    outcome = stage.fetch(rest(DATA, SIZE - OVERLAP), size=SIZE)

    assert outcome.whole is not None
    assert outcome.received == OVERLAP
    assert stage.bytes == DATA


def test_a_part_no_longer_than_the_comparison_is_fetched_anew(stage: Stage) -> None:
    """There would be nothing left to continue."""
    stage.leave(OTHER[:OVERLAP])

    outcome = stage.fetch(whole())

    assert outcome.whole is not None
    assert stage.bytes == DATA


def test_bytes_that_differ_end_the_attempt_within_a_tick(stage: Stage) -> None:
    """Not after gigabytes; and the old bytes are put back."""
    stage.leave(DATA[:HALF])
    slow = Script(
        [
            Row(0, log=head_206(BACK, SIZE)),
            Row(0.5, OTHER[BACK : BACK + 10]),
            *(Row(at, OTHER[:1000]) for at in range(5, 500)),
        ]
    )

    outcome = stage.fetch(slow)

    assert (outcome.ending, outcome.finding) == (Ending.CUT_SHORT, Finding.DIFFERS)
    assert outcome.seconds < 0.7  # the first bytes came after half a second
    assert stage.launcher.children[0].rows_left > 400
    assert stage.bytes == DATA[:HALF]


def test_a_range_that_is_ignored_ends_the_attempt_within_a_tick(stage: Stage) -> None:
    """wget would read past the first bytes of a 200, for hours."""
    stage.leave(DATA[:HALF], RemoteFile(size=SIZE))
    ignored = Script([Row(0, log=head_200(SIZE)), Row(3600, DATA[BACK:])])

    outcome = stage.fetch(ignored)

    assert (outcome.ending, outcome.finding) == (Ending.CUT_SHORT, Finding.RANGE_IGNORED)
    assert outcome.seconds < 0.03
    assert stage.launcher.children[0].closed
    assert stage.launcher.children[0].rows_left == 1
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.status) == (FailureClass.TRANSIENT, 200)
    assert stage.bytes == DATA[:HALF]


@pytest.mark.parametrize(
    ("script", "finding"),
    [
        (rest(OTHER + b"x", BACK), Finding.CHANGED),
        (rest(DATA, BACK, TUESDAY, etag='"v2"'), Finding.CHANGED),
        (rest(DATA, BACK, TUESDAY, etag=None), Finding.CHANGED),
        (rest(OTHER, BACK, MONDAY), Finding.DIFFERS),
        (rest(DATA[: HALF - 1], BACK), Finding.LONGER),
        (Script([Row(0, log=head("416 No", "Content-Range: bytes */10"))], 0), Finding.LONGER),
        (Script([Row(0, log=head("416 No"))], 0), Finding.DIFFERS),
        (Script([Row(0, log=head_200(27)), Row(0.1)], 0), Finding.FOREIGN),
        (rest(DATA, BACK + 1, MONDAY), Finding.DIFFERS),
    ],
)
def test_an_answer_of_no_use_leaves_the_part_as_it_was(
    stage: Stage, script: Script, finding: Finding
) -> None:
    """Whatever shows another file, in one glance at its end too."""
    known = RemoteFile(size=SIZE, etag='"v1"', last_modified=MONDAY.partition(": ")[2])
    stage.leave(DATA[:HALF], known)

    outcome = stage.fetch(script)

    assert outcome.finding is finding
    assert outcome.whole is None
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureClass.TRANSIENT
    assert stage.bytes == DATA[:HALF]
    assert stage.record == known


def test_an_edge_with_its_own_etag_does_not_spoil_the_part(stage: Stage) -> None:
    """Size, date and bytes agree: they outweigh the ETag."""
    stage.leave(DATA[:HALF], RemoteFile(size=SIZE, etag='"v1"', last_modified=MONDAY[15:]))

    assert stage.fetch(rest(DATA, BACK, MONDAY, etag='"edge7"')).whole is not None


ELSEWHERE = "https://mirror.example.net/pub/a.tar"
OLD_KNOWN = RemoteFile(size=SIZE, etag='"v1"', last_modified=MONDAY[15:])


def test_a_part_goes_on_from_a_mirror(stage: Stage) -> None:
    """Another path, ETag and date: the size and the compared bytes agree, and that is enough."""
    stage.leave(DATA[:HALF], OLD_KNOWN)

    outcome = stage.fetch(rest(DATA, BACK, TUESDAY, etag='"m"'), url=Url(ELSEWHERE))

    assert outcome.whole is not None
    assert stage.bytes == DATA


def test_another_object_at_another_path_is_never_mixed_in(stage: Stage) -> None:
    """The same validators, by chance or not, prove nothing there: the bytes do."""
    stage.leave(DATA[:HALF], OLD_KNOWN)

    outcome = stage.fetch(rest(OTHER, BACK, MONDAY, etag='"v1"'), url=Url(ELSEWHERE))

    assert outcome.finding is Finding.DIFFERS
    assert stage.bytes == DATA[:HALF]
    assert stage.record == OLD_KNOWN


def test_zeros_do_not_prove_that_a_mirror_has_the_same_file(stage: Stage) -> None:
    """At the same path they are enough, where the validators agree; elsewhere they are not."""
    data = DATA[:BACK] + bytes(SIZE - BACK)
    stage.leave(data[:HALF], OLD_KNOWN)

    elsewhere = stage.fetch(rest(data, BACK, MONDAY, etag='"v1"'), url=Url(ELSEWHERE))
    here = stage.fetch(rest(data, BACK, MONDAY, etag='"v1"'))

    assert elsewhere.finding is Finding.DIFFERS
    assert here.whole is not None


@pytest.mark.parametrize("seconds", [0.0, 900.0])
def test_the_servers_clock_is_read_when_its_answer_is_new(stage: Stage, seconds: float) -> None:
    """However long the file takes: the date is of the answer's beginning."""
    date = f"Date: {format_datetime(NOON + timedelta(hours=2), usegmt=True)}"
    rows = [Row(0, DATA[:HALF], head_200(SIZE, date)), Row(seconds, DATA[HALF:])]

    outcome = stage.fetch(Script(rows), limits=Limits(stall_timeout=0))

    assert outcome.server_ahead == pytest.approx(7200, abs=TICK)


def test_a_server_that_tells_no_time_leaves_the_clock_alone(stage: Stage) -> None:
    """No date, no claim."""
    assert stage.fetch(whole()).server_ahead is None


def test_too_few_bytes_to_compare_are_not_kept(stage: Stage) -> None:
    """Equal as far as they came, but not all: the old ones are put back."""
    stage.leave(DATA[:HALF])

    outcome = stage.fetch(rest(DATA, BACK, count=OVERLAP - 1))

    assert outcome.finding is Finding.NOTHING
    assert stage.bytes == DATA[:HALF]


def test_a_step_back_compares_further_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torn tail is given up, what is before it is kept."""
    monkeypatch.setattr(policy, "STEP", 3 * OVERLAP)
    old = DATA[: 4 * OVERLAP]
    stage.leave(old)
    offset = len(old) - 3 * OVERLAP

    outcome = stage.fetch(
        rest(old + b"more", offset, count=OVERLAP + 5), approach=Approach.STEP_BACK
    )

    assert outcome.finding is Finding.FITS
    assert stage.bytes == old[: offset + OVERLAP + 5]


def test_a_step_back_that_nobody_answers_is_made_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step back: a server that is down meanwhile does not take the part to pieces."""
    monkeypatch.setattr(policy, "STEP", 2 * OVERLAP)
    stage.leave(DATA[: 4 * OVERLAP])
    refused = Script([Row(0, log="failed: Connection refused.\n")], 4)
    lengths, approach = [], Approach.STEP_BACK

    for _ in range(3):
        outcome = stage.fetch(refused, approach=approach)
        approach = policy.next_approach(approach, outcome.finding)
        lengths.append(outcome.after)

    assert lengths[0] >= 2 * OVERLAP
    assert set(lengths) == {lengths[0]}


def test_a_new_start_forgets_the_past(stage: Stage) -> None:
    """No validator of the old file is held against the new one."""
    stage.leave(DATA[:HALF], RemoteFile(size=SIZE, etag='"v1"'))

    outcome = stage.fetch(whole(OTHER + b"x", etag='"v2"'), approach=Approach.RESTART)

    assert outcome.whole is not None
    assert stage.bytes == OTHER + b"x"


def test_a_part_longer_than_the_listed_size_starts_anew(stage: Stage) -> None:
    """It cannot become the file."""
    stage.leave(OTHER + b"x")

    outcome = stage.fetch(whole(), size=SIZE)

    assert outcome.whole is not None
    assert stage.bytes == DATA


def test_validators_are_kept_while_it_still_runs(stage: Stage) -> None:
    """A first attempt that is killed leaves a part with a past."""
    seen: list[bytes] = []

    def look() -> None:
        seen.append(stage.store.record(NAME).read_bytes())

    stage.fetch(
        Script([Row(0, DATA[:10], head_200(SIZE, etag='"v1"')), Row(5, DATA[10:], act=look)])
    )

    assert b"v1" in seen[0]


def test_a_head_is_looked_for_closely_and_what_follows_is_not(stage: Stage) -> None:
    """The validators are there as soon as the head is; then a look a second will do."""
    seen: list[bool] = []

    def look() -> None:
        seen.append(stage.store.record(NAME).exists())

    stage.fetch(
        Script(
            [
                Row(0.55, log=head_200(SIZE)),
                Row(0.55, DATA[:10]),
                Row(0.75, act=look),
                Row(5, DATA[10:]),
            ]
        )
    )

    waits = stage.launcher.children[0].waits
    early = len(waits) - waits.count(TICK)
    assert seen == [True]
    assert waits[early:] == [TICK] * len(waits[early:])
    assert 0.55 <= sum(waits[:early]) <= 0.75
    assert early <= 15


def test_a_head_that_does_not_come_is_not_looked_for_closely_for_ever(stage: Stage) -> None:
    """A server that is slow to answer costs two seconds of close looks."""
    stage.fetch(Script([Row(30, log=head_200(SIZE)), Row(30, DATA)]))

    waits = stage.launcher.children[0].waits
    early = [wait for wait in waits if wait != TICK]
    assert waits == early + [TICK] * (len(waits) - len(early))
    assert set(early) == {EARLY_TICK}
    assert sum(early) == pytest.approx(EARLY, abs=EARLY_TICK)


# ---------------------------------------------------------------- killed before the comparison


class Killed(BaseException):
    """SIGKILL of the whole machine's worth: nothing of the program runs after it."""


def killed_attempt(stage: Stage, *, came: bytes, log: str) -> None:
    """An attempt whose program and wget die with `came` behind the cut, nothing compared."""

    def die() -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wgetpool.part.Part.settle", lambda _: None)
        with pytest.raises(Killed):
            stage.fetch(Script([Row(0.1, came, log, act=die)], None))


@pytest.mark.parametrize("came", [OTHER[BACK:HALF], OTHER[BACK : HALF + 50_000], OTHER[BACK:]])
@pytest.mark.parametrize("etag", ['"v1"', None])
def test_a_file_that_changed_while_the_run_was_dead_is_never_spliced(
    stage: Stage, came: bytes, etag: str | None
) -> None:
    """New bytes that a killed attempt appended are not what the next one compares with."""
    stage.leave(DATA[:HALF], RemoteFile(size=SIZE, etag=etag))
    killed_attempt(stage, came=came, log=head_206(BACK, SIZE, etag=etag))
    assert stage.bytes == DATA[:BACK] + came

    second = stage.fetch(rest(OTHER, BACK, etag=etag))
    third = stage.fetch(whole(OTHER, etag=etag), approach=Approach.RESTART)

    assert second.finding is Finding.DIFFERS
    assert (second.before, second.after, second.whole) == (HALF, HALF, None)
    assert third.whole is not None
    assert stage.bytes == OTHER


def test_the_same_file_goes_on_after_a_kill(stage: Stage) -> None:
    """From where it was known to be good: nobody saw the head of what came last."""
    stage.leave(DATA[:HALF], RemoteFile(size=SIZE))
    came = DATA[BACK : HALF + 50_000]
    killed_attempt(stage, came=came, log=head_206(BACK, SIZE))

    outcome = stage.fetch(rest(DATA, BACK))

    assert outcome.before == HALF
    assert outcome.whole is not None
    assert stage.bytes == DATA


ZEROS = bytes(OVERLAP)
NEW_FILE = OTHER[:BACK] + ZEROS + OTHER[HALF:]  # as long and as old as ours, with our zeros


@pytest.mark.parametrize("killed", [False, True])
def test_bytes_that_prove_nothing_are_not_kept_to_prove_something_later(
    stage: Stage, killed: bool
) -> None:
    """Zeros do not outweigh a new ETag, nor does what came behind them, in the next run."""
    stage.leave(DATA[:BACK] + ZEROS, RemoteFile(size=SIZE, etag='"v1"', last_modified=MONDAY[15:]))
    came = NEW_FILE[BACK : HALF + OVERLAP]
    if killed:
        killed_attempt(stage, came=came, log=head_206(BACK, SIZE, MONDAY, etag='"v2"'))
    else:
        first = stage.fetch(rest(NEW_FILE, BACK, MONDAY, etag='"v2"', count=len(came)))
        assert first.finding is Finding.CHANGED

    def answer(_: Command) -> Script:
        return rest(NEW_FILE, stage.path.stat().st_size, MONDAY, etag='"v2"')

    second = stage.fetch(answer)

    assert second.whole is None


# ---------------------------------------------------------------- what ends it


def test_a_stop_ends_the_child_and_keeps_the_part(stage: Stage) -> None:
    """No failure: the next run goes on with what came."""
    script = Script(
        [Row(0, DATA[:HALF], head_200(SIZE)), Row(9.5, act=stage.stop.set), Row(20, DATA[HALF:])]
    )

    outcome = stage.fetch(script)

    assert (outcome.ending, outcome.failure, outcome.whole) == (Ending.STOPPED, None, None)
    assert outcome.seconds <= 10
    assert stage.launcher.children[0].closed
    assert stage.bytes == DATA[:HALF]


def test_a_stop_before_the_comparison_puts_the_part_back(stage: Stage) -> None:
    """What was not compared is not kept."""
    stage.leave(DATA[:HALF])
    script = Script([Row(0.1, OTHER[:5], head_206(BACK, SIZE), act=stage.stop.set)], None)

    outcome = stage.fetch(script)

    assert outcome.ending is Ending.STOPPED
    assert stage.bytes == DATA[:HALF]


@pytest.mark.parametrize(
    ("limits", "ending", "words"),
    [
        (Limits(stall_timeout=30), Ending.STALLED, "stalled"),
        (Limits(attempt_timeout=20), Ending.TIMED_OUT, "--attempt-timeout"),
    ],
)
def test_a_child_that_takes_too_long_is_ended_and_its_bytes_stay(
    stage: Stage, limits: Limits, ending: Ending, words: str
) -> None:
    """Stalled, or over --attempt-timeout: transient, and nothing is lost."""
    script = Script([Row(0, DATA[:HALF], head_200(SIZE)), Row(1000, DATA[HALF:])])

    outcome = stage.fetch(script, limits=limits)

    assert outcome.ending is ending
    assert outcome.seconds == pytest.approx(
        max(limits.attempt_timeout, 30 * (words == "stalled")), abs=2
    )
    assert outcome.failure is not None
    assert words in outcome.failure.reason
    assert outcome.failure.kind is FailureClass.TRANSIENT
    assert stage.bytes == DATA[:HALF]


def test_what_was_whole_when_it_was_ended_is_whole(stage: Stage) -> None:
    """A server that does not close after the last byte costs the stall time, not the file."""
    script = Script([Row(0, DATA, head_200(SIZE))], None)

    outcome = stage.fetch(script)

    assert outcome.whole is not None
    assert outcome.failure is None


def test_an_error_of_ours_ends_the_child(stage: Stage) -> None:
    """Whatever leaves the watching, no child outlives it."""

    def fail() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        stage.fetch(Script([Row(0, act=fail)], None))

    assert stage.launcher.children[0].closed


# ---------------------------------------------------------------- proof


def digest(data: bytes, algorithm: str = "sha256") -> Checksum:
    return Checksum(algorithm, hashlib.new(algorithm, data).hexdigest())


def test_a_file_that_the_list_proves_says_by_what(stage: Stage) -> None:
    """Size and each checksum by its name."""
    sums = (digest(DATA, "md5"), digest(DATA))

    outcome = stage.fetch(whole(), size=SIZE, checksums=sums)

    assert outcome.whole is not None
    assert outcome.whole.proof == ("size", "md5", "sha256")


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({"size": SIZE + 1}, "its size is 300,000 bytes, the list says 300,001"),
        ({"size": SIZE - 1}, "its size is 300,000 bytes, the list says 299,999"),
        ({"checksums": (digest(OTHER),)}, "its sha256 is"),
        ({"checksums": (digest(DATA), digest(OTHER, "md5"))}, "its md5 is"),
    ],
)
def test_a_file_that_the_list_disproves_is_kept_aside(
    stage: Stage, listed: dict[str, Any], words: str
) -> None:
    """Not published, broken, and a person can look at it."""
    outcome = stage.fetch(whole(), **listed)

    assert (outcome.rejected, outcome.whole, outcome.after) == (True, None, 0)
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureClass.BROKEN
    assert words in outcome.failure.reason
    assert stage.bytes is None
    assert stage.store.rejected(NAME).read_bytes() == DATA


def test_a_stop_while_it_is_hashed_keeps_the_part(stage: Stage) -> None:
    """It is hashed again in the next run."""
    script = Script([Row(0, log=head_200(SIZE)), Row(0.1, DATA, act=stage.stop.set)], 0)

    outcome = stage.fetch(script, checksums=(digest(DATA),))

    assert (outcome.ending, outcome.whole, outcome.failure) == (Ending.STOPPED, None, None)
    assert stage.bytes == DATA


# ---------------------------------------------------------------- what keeps it from starting


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOENT, "wget cannot be started: No such file or directory (/usr/bin/wget)"),
        (errno.EACCES, "wget cannot be started: Permission denied (/usr/bin/wget)"),
        (errno.ENOEXEC, "wget cannot be started: Exec format error (/usr/bin/wget)"),
        (errno.EAGAIN, "the system starts no more processes for this user (ulimit -u)"),
        (errno.ENOMEM, "the machine has no memory left for another process"),
        (errno.EMFILE, "this process may open no more files (ulimit -n)"),
    ],
)
def test_a_wget_that_does_not_start_leaves_the_part_as_it_was(
    stage: Stage, number: int, reason: str
) -> None:
    """Gone or scarce: it may pass, and is no fault of the file's."""
    stage.leave(DATA[:HALF])

    outcome = stage.fetch(OSError(number, os.strerror(number), "/usr/bin/wget"))

    assert outcome.ending is Ending.SHORT
    assert outcome.failure == Failure(
        kind=FailureClass.TRANSIENT, cause=Cause.MACHINE, reason=reason
    )
    assert stage.bytes == DATA[:HALF]


def test_a_part_that_another_run_holds_is_left_to_it(stage: Stage) -> None:
    """Nothing is started; it is believed after one short wait."""
    stage.store.make_folder(NAME)
    begin = stage.clock.now()
    with stage.claim():
        outcome = stage.fetch(whole())

    assert (outcome.ending, outcome.failure) == (Ending.ELSEWHERE, None)
    assert stage.launcher.commands == []
    assert stage.clock.now() - begin == pytest.approx(PATIENCE)


def test_a_claim_that_is_given_back_in_a_moment_is_waited_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that is just being started has a copy of it: that is no other run."""
    stage.leave(DATA[:HALF])
    held = stage.claim()
    monkeypatch.setattr(process, "pause", lambda *_, **__: os.close(held.descriptor))

    outcome = stage.fetch(rest(DATA, BACK))

    assert outcome.whole is not None
    assert stage.bytes == DATA


def test_a_free_part_is_not_waited_for(stage: Stage) -> None:
    """Nor one that is stopped: the wait is for a held claim only."""
    begin = stage.clock.now()

    stage.fetch(Script([Row(0, log=head_200(0))]))

    assert stage.clock.now() == begin


@pytest.mark.parametrize("data", [DATA, b""])
def test_a_whole_part_stays_claimed(stage: Stage, data: bytes) -> None:
    """From the fetch to whoever publishes it: no other run can take it meanwhile."""
    outcome = stage.fetch(whole(data))
    assert outcome.whole is not None

    meanwhile = claim(stage.store, NAME)
    found = os.fstat(outcome.whole.claim)
    os.close(outcome.whole.claim)

    assert meanwhile is None
    assert (found.st_ino, found.st_size) == (outcome.whole.inode, len(data))
    assert stage.path.stat().st_ino == outcome.whole.inode
    with stage.claim() as part:
        assert part.inode() == outcome.whole.inode


@pytest.mark.parametrize(
    "script",
    [
        Script([Row(0, log=head("404 Not Found"))], 8),
        Script([Row(0, log=head_200(SIZE)), Row(0.1, DATA[:HALF])], 4),
        OSError(errno.ENOENT, os.strerror(errno.ENOENT), "/usr/bin/wget"),
    ],
)
def test_a_part_that_is_not_whole_is_free_again(stage: Stage, script: Script | OSError) -> None:
    """The next attempt may be another run's."""
    outcome = stage.fetch(script)

    assert outcome.whole is None
    with stage.claim():
        pass


@pytest.mark.parametrize(("before", "recorded"), [(b"", False), (DATA[:HALF], True)])
def test_a_whole_part_tells_whether_it_has_a_record(
    stage: Stage, before: bytes, recorded: bool
) -> None:
    """A file that came at once has none that its publisher would have to remove."""
    stage.leave(before)

    outcome = stage.fetch(rest(DATA, BACK) if before else whole())

    assert outcome.whole is not None
    assert outcome.whole.recorded is recorded
    assert stage.store.record(NAME).exists() is recorded


def test_a_part_that_a_dead_runs_wget_holds_is_taken_from_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orphan is ended, and its part continued."""
    stage.leave(DATA[:HALF])
    (stage.store.runs / "dead").write_text("1\n")
    held = stage.claim()
    ended: list[object] = []

    def end_orphans(runs: object, part: str) -> list[Orphan]:
        ended.append((runs, part))
        os.close(held.descriptor)
        return [Orphan(pid=7, run="dead", part=part)]

    monkeypatch.setattr(orphans, "end", end_orphans)
    outcome = stage.fetch(rest(DATA, BACK))

    assert ended == [(frozenset({"dead"}), NAME)]
    assert outcome.whole is not None


def test_a_live_runs_wget_is_nobodys_orphan(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is alive is not robbed of its part."""
    stage.store.make_folder(NAME)
    monkeypatch.setattr(orphans, "end", lambda *_: pytest.fail("it is not dead"))
    lock = RunLock(stage.store, "alive")

    with stage.claim():
        outcome = stage.fetch(whole())
    lock.release()

    assert outcome.ending is Ending.ELSEWHERE


def test_a_file_that_was_published_meanwhile_is_not_fetched(stage: Stage) -> None:
    """Another run was faster: no part is left beside its file."""
    stage.store.make_folder(NAME)
    stage.store.final(NAME).write_bytes(DATA)

    outcome = stage.fetch(whole())

    assert outcome.ending is Ending.ELSEWHERE
    assert stage.launcher.commands == []
    assert stage.bytes is None


def test_a_name_that_leads_out_of_dir_fails_alone(stage: Stage, tmp_path: Path) -> None:
    """A folder that is a link out of DIR is refused for this file; the machine is well."""
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (tmp_path / "train").symlink_to(outside)

    outcome = stage.fetch(whole())

    assert outcome.failure is not None
    assert outcome.failure.kind is FailureClass.PERMANENT
    assert list(outside.iterdir()) == []


def test_an_outcome_holds_no_secret(stage: Stage) -> None:
    """Neither the query nor a line of the log."""
    loop = f"  HTTP/1.1 302 Found\n  Location: {URL}\n20 redirections exceeded.\n"

    outcome = stage.fetch(Script([Row(0, log=loop)], 8))

    assert "SECRET" not in repr(outcome)
    assert outcome.failure is not None
    assert "loop" in outcome.failure.reason
