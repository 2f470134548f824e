"""No wget outlives a run, two runs share a DIR, and a stopped or killed wget is no end."""

from __future__ import annotations

import signal
import time

import psutil
import pytest
from support import unruly
from support.faultserver import FaultServer, file, status
from support.runner import OVERLAP, Run, Sandbox, random_bytes, wait_until

pytest_plugins = ["support.fixtures"]

DATA = random_bytes(500_000)
CUT = 300_000
STALLED = file(DATA).cut_at(CUT, "stall")
CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGQUIT": 131}


def stalled_run(box: Sandbox, server: FaultServer, *options: object, files: int = 3) -> Run:
    """A run whose wgets have all brought CUT bytes and wait for more."""
    routes = [server.serve(f"/{n}.tar", STALLED, file(DATA)) for n in range(files)]
    run = box.start_get(box.links(*(route.url for route in routes)), *options)
    wait_until(lambda: all(box.part_size(f"{n}.tar") == CUT for n in range(files)))
    return run


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize("name", CODES)
def test_a_signal_ends_the_run_and_its_wgets(box: Sandbox, server: FaultServer, name: str) -> None:
    """First signal: the wgets are ended, parts stay, and the code is 128 + the signal's number."""
    with stalled_run(box, server) as run:
        assert len(box.wgets()) == 3
        run.signal(signal.Signals[name])
        run.finish(10, expect=CODES[name])

        assert not box.wgets()
    assert box.files() == {f"{n}.tar.part": DATA[:CUT] for n in range(3)}


def test_nothing_new_starts_after_a_signal(box: Sandbox, server: FaultServer) -> None:
    """The files that wait for a worker are not begun any more."""
    waiting = server.serve("/z.tar", file(DATA))
    routes = [server.serve(f"/{n}.tar", STALLED) for n in range(2)]
    links = box.links(*(route.url for route in routes), waiting.url)
    with box.start_get(links, "-j", 2) as run:
        wait_until(lambda: all(box.part_size(f"{n}.tar") == CUT for n in range(2)))
        run.signal(signal.SIGTERM)
        run.finish(10, expect=143)

    assert not waiting.requests


def test_a_signal_ends_a_wait_at_once(box: Sandbox, server: FaultServer) -> None:
    """A run that only waits for a retry an hour away ends as fast as any."""
    route = server.serve("/a.tar", status(503, "Retry-After: 3000"))
    with box.start_get(route.url) as run:
        wait_until(lambda: "attempt_failed" in run.stdout)
        began = time.monotonic()
        run.signal(signal.SIGTERM)
        run.finish(10, expect=143)

        assert time.monotonic() - began < 3


def test_a_signal_in_the_first_moments_is_not_lost(box: Sandbox, server: FaultServer) -> None:
    """From its first request on, a run can be ended."""
    route = server.serve("/a.tar", file(DATA).cut_at(-1, "stall"))
    with box.start_get(route.url) as run:
        wait_until(lambda: route.requests)
        run.signal(signal.SIGINT)
        run.finish(10, expect=130)

        assert not box.wgets()


def test_a_hangup_that_is_ignored_stays_ignored(box: Sandbox, server: FaultServer) -> None:
    """Under nohup a SIGHUP changes nothing."""
    box.prefix = ("env", "--default-signal=INT,TERM", "--ignore-signal=HUP")
    with stalled_run(box, server, "--stall-timeout", 2, files=1) as run:
        run.signal(signal.SIGHUP)
        run.finish(20, expect=0)

    assert box.files() == {"0.tar": DATA}


def test_a_wget_that_ignores_term_is_killed(box: Sandbox, server: FaultServer) -> None:
    """TERM, a grace, KILL: the run ends, and so does such a wget."""
    with stalled_run(box, server, "--wget", unruly.stubborn(box)) as run:
        run.signal(signal.SIGTERM)
        run.finish(25, expect=143)

        assert not box.wgets()


# ---------------------------------------------------------------- orphans


def test_the_orphans_of_a_killed_run_are_ended_and_their_parts_continued(
    box: Sandbox, server: FaultServer
) -> None:
    """SIGKILL leaves wgets behind: the next run ends them, and goes on with what they brought."""
    with stalled_run(box, server) as run:
        run.signal(signal.SIGKILL)
        run.process.wait(5)
    orphans = box.wgets()
    marks = sorted(orphan.environ()["WGETPOOL_PART"] for orphan in orphans)
    assert marks == ["0.tar", "1.tar", "2.tar"]

    box.get(box.root / "links.txt")

    assert not box.wgets()
    assert box.files() == {f"{n}.tar": DATA for n in range(3)}
    starts = [request.start or 0 for request in server.requests]
    assert starts[:3] == [0, 0, 0]
    assert len(starts) == 6
    assert all(CUT - OVERLAP <= start <= CUT for start in starts[3:])


def test_a_strangers_wget_is_left_alone(box: Sandbox, server: FaultServer) -> None:
    """Somebody else's wget, also one that works in DIR, is not this program's to end."""
    with stalled_run(box, server, files=1) as run:
        run.signal(signal.SIGKILL)
        run.process.wait(5)
    stranger_route = server.serve("/other", STALLED)
    command = ["wget", "-q", "-O", str(box.path("other")), stranger_route.url]
    with box.launch(command) as stranger:
        wait_until(lambda: stranger_route.requests)

        box.get(f"{server.base}/0.tar")

        assert stranger.alive
    assert box.path("0.tar").read_bytes() == DATA


# ---------------------------------------------------------------- wgets in trouble


def test_a_killed_wget_is_continued(box: Sandbox, server: FaultServer) -> None:
    """A wget killed by a signal (the OOM killer) is transient: its part goes on."""
    with stalled_run(box, server, files=1) as run:
        box.wgets()[0].kill()
        result = run.finish(15)

    assert box.files() == {"0.tar": DATA}
    assert result.only("attempt_failed")["class"] == "transient"


def test_a_stopped_wget_is_a_stall(box: Sandbox, server: FaultServer) -> None:
    """SIGSTOP for a wget: ended after the stall time, and continued."""
    with stalled_run(box, server, "--stall-timeout", 1, files=1) as run:
        box.wgets()[0].suspend()
        result = run.finish(20)

    assert box.files() == {"0.tar": DATA}
    assert result.only("attempt_failed")["class"] == "transient"


# ---------------------------------------------------------------- two runs on one DIR


def test_two_runs_on_one_dir_share_the_work(box: Sandbox, server: FaultServer) -> None:
    """Side by side on different files: each is fetched once, and both runs end with 0."""
    routes = [
        server.serve(f"/{n}.tar", file(DATA + bytes([n]), pace=(50_000, 0.05))) for n in range(8)
    ]
    links = box.links(*(route.url for route in routes))

    with box.start_get(links, "-j", 2) as one, box.start_get(links, "-j", 2) as two:
        first, second = one.finish(30), two.finish(30)

    assert box.files() == {f"{n}.tar": DATA + bytes([n]) for n in range(8)}
    asked = [[request.start for request in route.requests] for route in routes]
    assert asked == [[None]] * 8, f"{first.story}\n{second.story}"
    assert sorted(first.names("file_done") + second.names("file_done")) == sorted(box.files())


def test_a_run_waits_for_what_another_has(box: Sandbox, server: FaultServer) -> None:
    """A run with nothing else to do ends with 0 when the other one has made the file whole."""
    route = server.serve("/0.tar", file(DATA, pace=(50_000, 0.3)))
    with box.start_get(route.url) as one:
        wait_until(lambda: box.part_size("0.tar") > 0)
        with box.start_get(route.url) as two:
            result = two.finish(20)
        one.finish(20)

    assert box.files() == {"0.tar": DATA}
    assert len(server.requests) == 1
    assert not result.of("file_done")


def test_a_run_takes_over_from_one_that_dies(box: Sandbox, server: FaultServer) -> None:
    """The other run is SIGKILLed: the waiting one ends its orphan and continues the part."""
    with stalled_run(box, server, files=1) as one, box.start_get(f"{server.base}/0.tar") as two:
        wait_until(lambda: "run_started" in two.stdout)
        one.signal(signal.SIGKILL)
        one.process.wait(5)
        result = two.finish(20)

    assert box.files() == {"0.tar": DATA}
    assert result.names("file_done") == ["0.tar"]
    assert [request.start or 0 for request in server.requests][1] >= CUT - OVERLAP


def test_a_waiting_run_can_be_interrupted(box: Sandbox, server: FaultServer) -> None:
    """SIGINT for the one that waits ends it alone: the other goes on."""
    with stalled_run(box, server, files=1) as one:
        with box.start_get(f"{server.base}/0.tar") as two:
            wait_until(lambda: "run_started" in two.stdout)
            two.signal(signal.SIGINT)
            two.finish(10, expect=130)
        assert len(box.wgets()) == 1
        one.signal(signal.SIGINT)
        one.finish(10, expect=130)


def test_runs_leave_no_zombies(box: Sandbox, server: FaultServer) -> None:
    """Every wget that ended is reaped while the run goes on."""
    for n in range(6):
        server.serve(f"/{n}.tar", file(DATA))
    server.serve("/last.tar", STALLED)
    names = [*(f"{n}.tar" for n in range(6)), "last.tar"]
    with box.start_get(box.links(*(f"{server.base}/{name}" for name in names))) as run:
        wait_until(lambda: box.part_size("last.tar") == CUT)
        wait_until(lambda: all(box.path(name).exists() for name in names[:-1]))
        children = psutil.Process(run.pid).children(recursive=True)
        assert [child.status() for child in children if child.status() == "zombie"] == []
        assert len(children) == 1
        run.signal(signal.SIGTERM)
        run.finish(10, expect=143)
