"""Politeness: how much is asked of a host at a time, and how fast all workers together are.

Upper bounds on times are loose, since the machine may be busy; what a server or a line was promised
is strict, since nothing that is slow can break it.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from support.faultserver import FaultServer, Reply, Request, Route, Script, file, status
from support.runner import OVERLAP, Event, Result, Sandbox, random_bytes, wait_until

pytest_plugins = ["support.fixtures"]

KIB = 1024
DATA = random_bytes(20 * KIB)
WHOLE = file(DATA)
AHEAD = 0.25  # seconds by which a wget may be ahead of its rate: it makes no pause under 0.2 s


def serve_all(server: FaultServer, number: int, *script: Script, prefix: str = "") -> list[Route]:
    return [server.serve(f"/{prefix}{n:02}.tar", *script) for n in range(number)]


def get(box: Sandbox, routes: list[Route], *args: object, timeout: float = 60) -> Result:
    return box.get(box.links(*(route.url for route in routes)), *args, timeout=timeout)


def attempts_at(result: Result, name: str) -> list[Event]:
    """What each attempt at a file came to."""
    kinds = {"attempt_stopped", "attempt_failed", "attempt_done"}
    return [one for one in result.events if one["event"] in kinds and one["name"] == name]


class Busy:
    """A server that bears `rate` requests a second, as many at once, and refuses the others."""

    def __init__(self, rate: float, *headers: str) -> None:
        self.rate, self.headers = rate, headers
        self.refused: list[float] = []
        self._tokens, self._at = rate, 0.0

    def __call__(self, request: Request) -> Reply:
        """Called by the server one request at a time."""
        gained = self.rate * (request.at - (self._at or request.at))
        self._tokens, self._at = min(self._tokens + gained, self.rate), request.at
        if self._tokens >= 1:
            self._tokens -= 1
            return WHOLE
        self.refused.append(request.at)
        return status(429, *self.headers)


class Closed:
    """A server that refuses all in the first `seconds` after its first request."""

    def __init__(self, seconds: float, *, tells: bool) -> None:
        self.seconds, self.tells = seconds, tells
        self._opens_at: float | None = None
        self.refused: list[float] = []
        self._told = ""

    def __call__(self, request: Request) -> Reply:
        if self._opens_at is None:
            opens = datetime.now(UTC) + timedelta(
                seconds=self.seconds + 1
            )  # dates have no fraction
            self._told = f"Retry-After: {format_datetime(opens, usegmt=True)}"
            self._opens_at = request.at + self.seconds
        if request.at >= self._opens_at:
            return WHOLE
        self.refused.append(request.at)
        return status(503, *([self._told] if self.tells else []))


# ---------------------------------------------------------------- a host


def test_a_host_has_no_more_at_a_time_than_it_may(box: Sandbox, server: FaultServer) -> None:
    """`--per-host 2`: of six workers two are at each of two hosts, and two have nothing to do."""
    gate = threading.Event()
    held = file(DATA, gate=gate)
    with FaultServer() as other:
        routes = serve_all(server, 8, held) + serve_all(other, 8, held, prefix="b")
        links = box.links(*(route.url for route in routes))
        with box.start_get(links, "-j", 6, "--per-host", 2) as run:
            wait_until(lambda: server.active == other.active == 2, limit=30)
            time.sleep(0.5)  # for a third to come
            asked = [len(server.requests), len(other.requests)]
            gate.set()
            run.finish()

    assert asked == [2, 2]
    assert len(box.files()) == 16


def test_without_a_cap_all_are_at_one_host(box: Sandbox, server: FaultServer) -> None:
    """Six of six."""
    gate = threading.Event()
    routes = serve_all(server, 8, file(DATA, gate=gate))
    with box.start_get(box.links(*(route.url for route in routes)), "-j", 6) as run:
        wait_until(lambda: server.active == 6, limit=30)
        gate.set()
        run.finish()

    assert len(box.files()) == 8


def test_a_server_that_is_asked_for_too_much_is_asked_for_less(
    box: Sandbox, server: FaultServer
) -> None:
    """A storm of 429: it refuses half of what eight workers would be refused that each know of
    their own file only, fewer and fewer, and all files come.
    """
    busy = Busy(10.0, "Retry-After: 1")
    routes = serve_all(server, 40, busy)

    get(box, routes, "-j", 8)

    begin = server.requests[0].at
    seconds = [int(request.at - begin) for request in server.requests]
    assert len(box.files()) == 40
    # Each file for itself: 30 of 40 refused, and a second later 20, then 10.
    assert len(busy.refused) <= 30, sorted(seconds)
    rates = [seconds.count(second) for second in range(1, max(seconds) + 1)]
    assert max(rates, default=0) <= 25, "after the first second: what it bears, and few more"


def test_nothing_is_asked_before_the_date_that_a_server_tells(
    box: Sandbox, server: FaultServer
) -> None:
    """Retry-After as a date, to everybody: only what was under way, and one more, is refused."""
    closed = Closed(1.5, tells=True)
    routes = serve_all(server, 16, closed)

    get(box, routes, "-j", 4)

    assert len(box.files()) == 16
    assert len(closed.refused) <= 5


def test_a_server_that_tells_no_time_is_asked_seldom(box: Sandbox, server: FaultServer) -> None:
    """503 without Retry-After: what was under way, and then one alone at growing intervals."""
    closed = Closed(2.0, tells=False)
    routes = serve_all(server, 16, closed)

    get(box, routes, "-j", 4, "--backoff", 0.5)

    assert len(box.files()) == 16
    assert len(closed.refused) <= 5 + 4
    assert server.requests[len(closed.refused)].at - closed.refused[-1] >= 0.25


def test_a_file_that_is_refused_holds_up_no_other(box: Sandbox, server: FaultServer) -> None:
    """Retry-After for one file, while the others of its host are served."""
    one = server.serve("/one.tar", status(429, "Retry-After: 3"), WHOLE)
    others = serve_all(server, 6, WHOLE)

    get(box, [one, *others], "-j", 2)

    first, second = (request.at for request in one.requests)
    assert second - first >= 2.9
    assert all(route.requests[0].at < second for route in others)
    assert len(box.files()) == 7


# ---------------------------------------------------------------- the line


def test_large_files_together_keep_to_the_limit(box: Sandbox, server: FaultServer) -> None:
    """`--limit-rate` is for all workers together: four files at once take as long as the sum of
    their sizes needs.
    """
    rate, data = 800 * KIB, random_bytes(600 * KIB)
    routes = serve_all(server, 4, file(data))

    get(box, routes, "-j", 4, "--limit-rate", rate)

    began = min(request.at for request in server.requests)
    took = time.monotonic() - began
    assert box.files() == {f"{n:02}.tar": data for n in range(4)}
    assert 0.9 * 4 * len(data) / rate <= took <= 2.5 * 4 * len(data) / rate


def test_small_files_together_keep_to_the_limit(box: Sandbox, server: FaultServer) -> None:
    """wget itself lets through what comes in the first fifth of a second: all of a small file.
    At no moment have more been asked for than the line could bring, but for those under way.
    """
    rate, workers, number = 400 * KIB, 4, 50
    routes = serve_all(server, number, WHOLE)

    result = get(box, routes, "-j", workers, "--limit-rate", rate)

    times = sorted(request.at for request in server.requests)
    for asked, at in enumerate(times):
        whole = (asked - workers) * len(DATA)
        assert whole <= 1.1 * rate * (at - times[0] + 0.5), asked
    ideal = (number - workers) * len(DATA) / rate
    assert times[-1] - times[0] <= 1.34 * ideal + 2.0, result.story


def test_what_is_left_of_the_line_goes_to_those_that_still_run(
    box: Sandbox, server: FaultServer
) -> None:
    """Two of four files are small. The large ones are ended, and go on with twice the share; they
    are whole to the byte, and together not faster than the limit.
    """
    rate, small, large = 1024 * KIB, random_bytes(100 * KIB, 1), random_bytes(2400 * KIB, 2)
    routes = [server.serve(f"/{n}.tar", file(large if n < 2 else small)) for n in range(4)]

    result = get(box, routes, "-j", 4, "--limit-rate", rate)

    took = time.monotonic() - server.requests[0].at
    assert box.files() == {"0.tar": large, "1.tar": large, "2.tar": small, "3.tar": small}
    assert took >= 0.9 * sum(map(len, box.files().values())) / rate
    for name, route in zip(("0.tar", "1.tar"), routes, strict=False):
        stopped, again = attempts_at(result, name)[:2]
        assert stopped["why"] == "share"
        assert stopped["received"] <= rate / 4 * (stopped["seconds"] + AHEAD)
        assert route.starts[:2] == [0, stopped["bytes"] - OVERLAP]
        assert again["received"] >= 0.65 * rate / 2 * again["seconds"]
        assert again["received"] <= rate / 2 * (again["seconds"] + AHEAD)
    assert not result.of("attempt_failed")


@pytest.mark.parametrize("workers", [1, 4])
def test_a_line_thinner_than_its_workers(box: Sandbox, server: FaultServer, workers: int) -> None:
    """At 2 KiB/s wgets share the line by two at most, slow as they are they are no stall."""
    data = random_bytes(2 * KIB)
    routes = serve_all(server, 2, file(data))

    result = get(box, routes, "-j", workers, "--limit-rate", "2k", "--stall-timeout", 1)

    assert time.monotonic() - server.requests[0].at >= 1.5
    assert not result.of("attempt_failed")
    assert box.files() == {"00.tar": data, "01.tar": data}
