"""How much is asked of a host that has refused: less at once, then slowly more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.doubles import FakeClock, FullJitter

from wgetpool.hosts import LEAST_QUIET, Hosts
from wgetpool.model import Failure, FailureClass, RetryPolicy

HOST, OTHER = "a.example", "b.example:8080"
HOUR = 3600.0


class Scene:
    """Hosts, and when the attempts at them were begun. A tick passes between two things."""

    def __init__(
        self, workers: int = 8, per_host: int = 0, backoff: float = 5.0, tries: int = 5
    ) -> None:
        self.clock = FakeClock()
        self.hosts = Hosts(
            workers=workers,
            per_host=per_host,
            retry=RetryPolicy(tries=tries, backoff=backoff, backoff_max=60.0),
            clock=self.clock,
            jitter=FullJitter(),
        )

    def start(self, number: int = 1, host: str = HOST) -> list[float]:
        """Begins attempts; returns when."""
        return [self._start(host) for _ in range(number)]

    def _start(self, host: str) -> float:
        assert self.hosts.admits(host)
        self.clock.advance(0.001)
        self.hosts.started(host)
        return self.clock.now()

    def refuse(
        self, since: float, host: str = HOST, *, status: int = 429, after: float | None = None
    ) -> None:
        self.clock.advance(0.001)
        self.hosts.ended(host, failed(status, after), since=since)

    def serve(self, since: float, host: str = HOST) -> None:
        self.clock.advance(0.001)
        self.hosts.ended(host, None, since=since)

    def refuse_all(self, number: int, after: float | None = None) -> None:
        for since in self.start(number):
            self.refuse(since, after=after)

    def starts(self) -> int:
        """How many more may start now; they are started."""
        number = 0
        while self.hosts.admits(HOST) and number < 99:
            self.start()
            number += 1
        return number


def failed(status: int | None, after: float | None = None) -> Failure:
    return Failure(
        kind=FailureClass.TRANSIENT, reason="as it was", status=status, retry_after=after
    )


# ---------------------------------------------------------------- without any refusal


def test_a_host_is_asked_by_all_workers() -> None:
    """Nothing refused, nothing to wait for."""
    scene = Scene(workers=8)

    assert scene.starts() == 8
    assert scene.hosts.due_in() is None
    assert scene.hosts.limit(HOST) == 8


def test_a_cap_holds_for_each_host_by_itself() -> None:
    """`--per-host 2`: a third attempt waits until one is over, and another host has two more."""
    scene = Scene(per_host=2)
    first, _ = scene.start(2)

    assert not scene.hosts.admits(HOST)
    assert scene.hosts.admits(OTHER)

    scene.serve(first)
    assert scene.hosts.admits(HOST)


def test_a_cap_above_the_workers_is_none() -> None:
    """`-j 2 --per-host 9`: two."""
    assert Scene(workers=2, per_host=9).hosts.limit(HOST) == 2


@pytest.mark.parametrize("status", [None, 404, 403, 500, 502, 504])
def test_other_failures_do_not_slow_a_host(status: int | None) -> None:
    """A file that is not there, or a line that is cut, says nothing of how much is asked."""
    scene = Scene()
    for since in scene.start(8):
        scene.hosts.ended(HOST, failed(status), since=since)

    assert scene.hosts.limit(HOST) == 8
    assert len(scene.hosts) == 0


# ---------------------------------------------------------------- less


@pytest.mark.parametrize("status", [429, 503])
def test_a_first_refusal_halves(status: int) -> None:
    """Of eight at a time four are left; nothing new starts before four of them are over."""
    scene = Scene()
    begun = scene.start(8)
    scene.refuse(begun.pop(), status=status)

    assert not scene.hosts.admits(HOST)
    for since in begun[:3]:
        scene.hosts.ended(HOST, None, since=since, asked=False)
    assert not scene.hosts.admits(HOST)
    scene.hosts.ended(HOST, None, since=begun[3], asked=False)
    assert scene.hosts.admits(HOST)


def test_what_runs_is_halved_not_what_was_allowed() -> None:
    """Three of twelve workers are at this host: it is asked for one at a time."""
    scene = Scene(workers=12)
    scene.refuse(scene.start(3)[0], after=HOUR)

    assert scene.hosts.limit(HOST) == 2, "those that run"
    assert not scene.hosts.admits(HOST)


def test_a_volley_cuts_once() -> None:
    """What was under way when the host was first asked for less tells nothing new."""
    scene = Scene(backoff=0.0)
    begun = scene.start(8)
    for since in begun[:3]:
        scene.refuse(since)
    for since in begun[3:]:
        scene.hosts.ended(HOST, None, since=since, asked=False)
    probe = scene.start()[0]
    scene.hosts.answered(HOST, since=probe)

    assert scene.starts() == 3, "four in all"


def test_a_refusal_after_the_cut_cuts_again() -> None:
    """Eight, four, two: each time when something that began later is refused."""
    scene = Scene()
    old = scene.start(8)
    scene.refuse(old[0])
    for since in old[1:]:
        scene.serve(since)
    new = scene.start(4)
    scene.refuse(new[0])
    for since in new[1:]:
        scene.hosts.ended(HOST, None, since=since, asked=False)

    assert scene.starts() == 2


def test_one_refusal_may_be_the_files_own() -> None:
    """An hour told for one file does not hold up the others of its host."""
    scene = Scene()
    scene.refuse(scene.start()[0], after=HOUR)

    for _ in range(50):
        scene.serve(scene.start()[0])

    assert scene.hosts.limit(HOST) == 8


def test_two_files_refused_with_others_served_in_between_are_their_own_affair() -> None:
    """No pause for the host."""
    scene = Scene()
    for _ in range(5):
        scene.refuse(scene.start()[0], after=HOUR)
        scene.serve(scene.start()[0])

    assert scene.hosts.admits(HOST)


# ---------------------------------------------------------------- nothing, for a while


@pytest.mark.parametrize("workers", [1, 8])
def test_two_in_a_row_are_the_hosts(workers: int) -> None:
    """Nothing is asked before the time that it tells, then one alone."""
    scene = Scene(workers=workers)
    scene.refuse_all(1, after=30)
    scene.refuse_all(1, after=30)

    assert not scene.hosts.admits(HOST)
    assert scene.hosts.admits(OTHER)
    assert scene.hosts.due_in() == pytest.approx(30)

    scene.clock.advance(29)
    assert not scene.hosts.admits(HOST)
    scene.clock.advance(1.1)
    assert scene.starts() == 1


def test_a_volley_waits_for_the_longest_time_told() -> None:
    """Each of a volley may tell another; they are one refusal, not a longer and longer wait."""
    scene = Scene()
    for since, after in zip(scene.start(4), (10, 20, 40, None), strict=True):
        scene.refuse(since, after=after)

    assert scene.hosts.due_in() == pytest.approx(40, abs=0.1)


def test_a_host_that_tells_no_time_is_left_alone_longer_each_time() -> None:
    """The waits are those of the retries, doubled up to the longest."""
    scene = Scene(tries=20)
    scene.refuse_all(1)
    scene.refuse_all(1)
    waits = []
    for _ in range(6):
        waits.append(scene.hosts.due_in() or 0.0)
        scene.clock.advance(waits[-1])
        scene.refuse_all(1)

    assert waits == pytest.approx([5, 10, 20, 40, 60, 60])


@pytest.mark.parametrize("after", [None, 100.0])
def test_a_host_that_refuses_for_good_is_waited_for_shortly(after: float | None) -> None:
    """After as many pauses as a file has tries: one file at a time, after what it has told or the
    first back-off, so that a run comes to its end. As soon as one is served all is as before.
    """
    scene = Scene(tries=3)
    scene.refuse_all(2, after)
    for _ in range(3):
        assert not scene.hosts.admits(HOST)
        scene.clock.advance(scene.hosts.due_in() or 0.0)
        scene.refuse_all(1, after)

    for _ in range(50):
        wait = scene.hosts.due_in()
        assert wait == pytest.approx(after or 5)
        scene.clock.advance(wait or 0.0)
        since = scene.start()[0]
        assert not scene.hosts.admits(HOST), "one at a time"
        scene.refuse(since, after=after)
    scene.clock.advance(scene.hosts.due_in() or 0.0)
    scene.serve(scene.start()[0])
    assert scene.hosts.limit(HOST) == 2
    scene.refuse_all(2, after)
    assert not scene.hosts.admits(HOST), "it is waited for again"


def test_a_wait_of_nothing_is_no_wait() -> None:
    """`Retry-After: 0` from a host that goes on refusing: its own back-off counts."""
    scene = Scene()
    scene.refuse_all(2, after=0.0)

    assert scene.hosts.due_in() == pytest.approx(5)


def test_a_probe_that_is_served_ends_the_doubt() -> None:
    """As soon as it has its answer, not when it is whole."""
    scene = Scene()
    scene.refuse_all(8, after=10)
    scene.clock.advance(10.1)
    probe = scene.start()[0]
    assert not scene.hosts.admits(HOST)

    scene.hosts.answered(HOST, since=probe)

    assert scene.starts() == 3, "half of eight, the probe among them"


@pytest.mark.parametrize("asked", [True, False])
def test_a_probe_that_tells_nothing_is_followed_by_another(asked: bool) -> None:
    """No connection, or recalled: the host is neither well nor worse."""
    scene = Scene()
    scene.refuse_all(8, after=10)
    scene.clock.advance(10.1)
    since = scene.start()[0]
    scene.hosts.ended(HOST, failed(None), since=since, asked=asked)

    assert scene.starts() == 1


def test_a_long_time_told_is_not_the_hosts_when_it_serves_others() -> None:
    """Two files with an hour each, and then one that was under way is served: a back-off."""
    scene = Scene()
    begun = scene.start(3)
    scene.refuse(begun[0], after=HOUR)
    scene.refuse(begun[1], after=HOUR)
    assert scene.hosts.due_in() == pytest.approx(HOUR)

    scene.serve(begun[2])

    assert scene.hosts.due_in() == pytest.approx(5, abs=0.1)
    assert not scene.hosts.admits(HOST)


def test_a_pause_is_told_of_once() -> None:
    """Until the host is whole again."""
    scene = Scene(workers=4)
    begun = scene.start(4)
    scene.refuse(begun[0])
    assert scene.hosts.news(HOST) is None  # it may be the file's own
    scene.refuse(begun[1], after=90.0)

    assert scene.hosts.news(HOST) == (
        f"{HOST} refuses more: nothing is asked of it for 2 min, then slowly more"
    )
    assert scene.hosts.news(HOST) is None


# ---------------------------------------------------------------- and more again


def test_served_attempts_bring_it_back() -> None:
    """One more after as many served as are allowed; whole again, all is forgotten."""
    scene = Scene(workers=3)
    scene.refuse(scene.start()[0])
    limits = []
    for _ in range(3):
        limits.append(scene.hosts.limit(HOST))
        scene.serve(scene.start()[0])

    assert limits == [1, 2, 2]
    assert scene.hosts.limit(HOST) == 3
    assert len(scene.hosts) == 0


def test_a_quiet_while_brings_it_back() -> None:
    """Long files end seldom: that they go on is enough."""
    scene = Scene(workers=4)
    scene.refuse(scene.start(4)[0])
    for since in (0.0, 0.0):
        scene.hosts.ended(HOST, None, since=since, asked=False)
    limits = []
    while (due := scene.hosts.due_in()) is not None:
        limits.append(scene.hosts.limit(HOST))
        assert due == pytest.approx(2 * 5.0)
        scene.clock.advance(due)

    assert limits == [2, 3]
    assert scene.hosts.limit(HOST) == 4


def test_each_cut_makes_the_quiet_while_longer() -> None:
    """A host that goes on refusing is tried with more ever more seldom."""
    scene = Scene(workers=64, backoff=0.0)
    waits = []
    for _ in range(8):
        scene.refuse_all(1)
        waits.append(scene.hosts.due_in() or 0.0)

    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60])
    assert waits[0] == LEAST_QUIET


def test_an_attempt_that_began_before_the_cut_brings_nothing_back() -> None:
    """It was served when more was asked than the host bears."""
    scene = Scene(workers=4)
    begun = scene.start(4)
    scene.refuse(begun[0])
    for since in begun[1:]:
        scene.serve(since)

    assert scene.hosts.limit(HOST) == 2


def test_a_cut_file_counts_as_served() -> None:
    """A connection that breaks in the middle of a file came after a good answer."""
    scene = Scene(workers=2)
    scene.refuse(scene.start()[0])
    since = scene.start()[0]
    scene.hosts.ended(HOST, failed(206), since=since)

    assert scene.hosts.limit(HOST) == 2


def test_hosts_that_are_whole_and_idle_are_forgotten() -> None:
    """A list may name thousands of hosts, and some of them refuse."""
    scene = Scene()
    for number in range(1000):
        host = f"{number}.example"
        since = scene.start(host=host)[0]
        if number % 2:
            scene.serve(since, host)
        else:
            scene.refuse(since, host)
    assert len(scene.hosts) == 500

    while (due := scene.hosts.due_in()) is not None:
        scene.clock.advance(due)

    assert len(scene.hosts) == 0


def test_a_storm_dies_down() -> None:
    """A server that bears two requests a second, asked for small files by sixteen workers: soon it
    refuses one in two or three seconds, no more, and goes on serving.
    """
    scene = Scene(workers=16)
    asked = list(_storm(scene, until=120.0, bears=2.0))

    first = [refused for at, refused in asked if at < 1.0]
    later = [refused for at, refused in asked if at >= 60.0]
    assert sum(first) >= 8
    assert sum(later) < 30
    assert len(later) - sum(later) > 15


def _storm(scene: Scene, *, until: float, bears: float) -> Iterator[tuple[float, bool]]:
    """Attempts of 0.1 s at a server with a bucket of tokens: when each ended, whether refused."""
    begin = filled_at = scene.clock.now()
    tokens = bears
    under_way: list[tuple[float, float]] = []
    while (now := scene.clock.now()) - begin < until:
        while scene.hosts.admits(HOST):
            since = scene.start()[0]
            under_way.append((since + 0.1, since))
        for row in [row for row in under_way if row[0] <= now]:
            under_way.remove(row)
            tokens, filled_at = min(tokens + (now - filled_at) * bears, bears), now
            refused = tokens < 1
            tokens -= not refused
            scene.hosts.ended(HOST, failed(429) if refused else None, since=row[1])
            yield now - begin, refused
        scene.clock.advance(0.05)


ACTS = st.sampled_from(["start", "serve", "refuse", "refuse long", "answer", "nothing", "later"])


@given(st.integers(1, 6), st.integers(0, 4), st.lists(ACTS, max_size=80))
def test_never_more_than_asked_for_and_never_silent_for_good(
    workers: int, per_host: int, acts: list[str]
) -> None:
    """Whatever a host does: at most what was asked for runs, and in the end it is whole again."""
    scene = Scene(workers=workers, per_host=per_host)
    hosts, running = scene.hosts, list[float]()
    for act in acts:
        scene.clock.advance(20.0 if act == "later" else 0.0)
        if act == "start" and hosts.admits(HOST) and len(running) < workers:
            running += scene.start()
        elif act == "answer" and running:
            hosts.answered(HOST, since=running[0])
        elif running and act in {"serve", "refuse", "refuse long", "nothing"}:
            since = running.pop(0)
            failure = {"serve": None, "nothing": failed(None)}.get(act, failed(503))
            failure = failed(429, 100.0) if act == "refuse long" else failure
            hosts.ended(HOST, failure, since=since)
        whole = min(per_host or workers, workers)
        assert len(running) <= hosts.limit(HOST) <= whole
        assert hosts.admits(HOST) == (hosts.limit(HOST) > len(running))
        assert (due := hosts.due_in()) is None or due > 0
    for since in running:
        hosts.ended(HOST, failed(None), since=since)
    while (due := hosts.due_in()) is not None:
        scene.clock.advance(due)

    assert hosts.admits(HOST)
    assert len(hosts) == 0
