"""`stop` ends what works on DIR and nothing else; `status` tells who does."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.faultserver import FaultServer, file
from support.runner import OVERLAP, Run, Sandbox, random_bytes, wait_until

from wgetpool.store import Signature

pytest_plugins = ["support.fixtures"]

DATA = random_bytes(500_000)
CUT = 300_000
STALLED = file(DATA).cut_at(CUT, "stall")


def stalled_run(
    box: Sandbox, server: FaultServer, *names: str, options: tuple[str, ...] = ()
) -> Run:
    """A run whose wgets have all brought CUT bytes and wait for more."""
    routes = [server.serve(f"/{name}", STALLED, file(DATA)) for name in names]
    run = box.start_get(*(route.url for route in routes), *options)
    wait_until(lambda: all(box.part_size(name) == CUT for name in names))
    return run


def killed_run(box: Sandbox, server: FaultServer, *names: str) -> None:
    """Leaves a wget for each name behind."""
    with stalled_run(box, server, *names) as run:
        run.signal(signal.SIGKILL)
        run.process.wait(5)
    assert len(box.wgets()) == len(names)


def ended(run: Run) -> str:
    return f"ended the run with pid {run.pid}"


@pytest.fixture
def stranger(box: Sandbox) -> Iterator[Run]:
    """Somebody else's process, which nobody may touch."""
    with box.launch(["sleep", "1000"]) as run:
        wait_until(lambda: Path(f"/proc/{run.pid}/comm").read_text() == "sleep\n")
        yield run
        assert run.alive


@contextmanager
def forged_lock(box: Sandbox, text: str, *, held: bool = True) -> Iterator[Path]:
    """The lock file of a run of which only this file is there."""
    path = box.dir / ".wgetpool" / "runs" / ("f" * 32)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    with path.open("rb") as lock:
        if held:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield path


# ---------------------------------------------------------------- stop


def test_stop_ends_a_run_in_order(box: Sandbox, server: FaultServer) -> None:
    """As SIGTERM in its own terminal: code 143, parts stay, no wget is left; it is waited for."""
    with stalled_run(box, server, "a.tar", "b.tar") as run:
        result = box.run("stop", box.dir)

        assert not run.alive
        assert run.finish(expect=143)
        assert not box.wgets()
    assert result.lines == [f"waiting for the run with pid {run.pid} to end", ended(run)]
    assert box.files() == {f"{name}.tar.part": DATA[:CUT] for name in "ab"}
    assert not box.status()["running"]


def test_after_a_stop_the_same_get_goes_on(box: Sandbox, server: FaultServer) -> None:
    """With what the part has, but for the bytes that are compared."""
    with stalled_run(box, server, "a.tar") as run:
        box.run("stop", box.dir)
        run.finish(expect=143)

    box.get(f"{server.base}/a.tar")

    assert box.files() == {"a.tar": DATA}
    assert (server.requests[-1].start or 0) >= CUT - OVERLAP


def test_stop_ends_all_runs_on_a_dir(box: Sandbox, server: FaultServer) -> None:
    """One that goes without locks, too; a run on another DIR goes on."""
    route = server.serve("/c.tar", STALLED)
    with (
        stalled_run(box, server, "a.tar") as one,
        stalled_run(box, server, "b.tar", options=("--no-lock",)) as two,
        box.start("get", route.url, "-o", box.root / "elsewhere") as other,
    ):
        wait_until(lambda: route.requests)

        result = box.run("stop", box.dir)

        one.finish(expect=143)
        two.finish(expect=143)
        assert other.alive
        assert len(box.wgets()) == 1
    assert set(result.lines[1:]) == {ended(one), ended(two)}


def test_stop_ends_a_run_that_is_stopped(box: Sandbox, server: FaultServer) -> None:
    """It goes on to end: one that sleeps for ever hears no SIGTERM."""
    with stalled_run(box, server, "a.tar") as run:
        run.signal(signal.SIGSTOP)
        wait_until(lambda: ") T " in Path(f"/proc/{run.pid}/stat").read_text())

        box.run("stop", box.dir)

        run.finish(expect=143)
        assert not box.wgets()


def test_stop_waits_for_wgets_that_take_their_grace(box: Sandbox, server: FaultServer) -> None:
    """A wget that ignores SIGTERM is killed by its run, and `stop` is there until then."""
    wget = box.script("stubborn", "trap '' TERM\nexec wget \"$@\"")
    with stalled_run(box, server, "a.tar", options=("--wget", str(wget))) as run:
        box.run("stop", box.dir)

        assert not run.alive
        assert not box.wgets()
        run.finish(expect=143)


def test_an_interrupt_ends_the_waiting_alone(box: Sandbox, server: FaultServer) -> None:
    """The run has been asked, and ends all the same."""
    wget = box.script("stubborn", "trap '' TERM\nexec wget \"$@\"")
    with (
        stalled_run(box, server, "a.tar", options=("--wget", str(wget))) as run,
        box.start("stop", box.dir) as stop,
    ):
        wait_until(lambda: "waiting" in stop.stdout)
        stop.signal(signal.SIGINT)

        stop.finish(expect=130)
        run.finish(expect=143)


def test_stop_ends_the_orphans_of_a_killed_run(
    box: Sandbox, server: FaultServer, stranger: Run
) -> None:
    """Those, no other process; then their run is forgotten."""
    killed_run(box, server, "a.tar", "b.tar")

    result = box.run("stop", box.dir)

    assert not box.wgets()
    assert result.lines == ["ended 2 wgets that a killed run had left behind: a.tar, b.tar"]
    assert not list((box.dir / ".wgetpool" / "runs").iterdir())
    assert box.files() == {f"{name}.tar.part": DATA[:CUT] for name in "ab"}


def test_stop_where_nothing_runs_says_so(box: Sandbox, server: FaultServer) -> None:
    """And is content: exit code 0."""
    box.get(server.serve("/a.tar", file(DATA)).url)

    assert box.run("stop", box.dir).lines == [f"nothing runs on {box.dir}"]


@pytest.mark.parametrize("place", ["out", "file"])
def test_stop_of_no_dir_is_an_error(box: Sandbox, place: str) -> None:
    """A DIR that is not there, or was never fetched into: a sentence, and it is not made."""
    (box.root / "file").write_text("a file")

    result = box.run("stop", box.root / place, expect=2)

    assert len(result.stderr.splitlines()) == 1
    assert "is no folder of a run" in result.stderr
    assert not box.dir.exists()


# ---------------------------------------------------------------- what may not be signalled


def test_a_run_on_another_machine_is_named(box: Sandbox, stranger: Run) -> None:
    """Where it is to be stopped: its pid means nothing here."""
    signed = str(Signature.of(stranger.pid)).replace(os.uname().nodename, "far-away")
    with forged_lock(box, f"{signed}\n"):
        result = box.run("stop", box.dir, expect=1)

    command = f"run wgetpool stop {box.dir} on far-away"
    where = f"the run with pid {stranger.pid} on far-away"
    assert result.lines == [f"{where} cannot be stopped from here: {command}"]


def test_a_run_killed_on_another_machine_is_not_forgotten(box: Sandbox, stranger: Run) -> None:
    """A `stop` there needs its lock file to find what it left."""
    with forged_lock(box, f"{stranger.pid} far-away boot 77\n", held=False) as path:
        result = box.run("stop", box.dir)

    assert path.exists()
    assert "on far-away was killed" in result.stdout


@pytest.mark.parametrize(
    "form", ["{pid} {host} {boot} 1", "{pid} {host} boot {start}", "{pid}", "{whole}"]
)
def test_a_process_that_only_has_the_pid_is_left_alone(
    box: Sandbox, stranger: Run, form: str
) -> None:
    """The run is alive, since its lock is held: in another container, say. So it is said."""
    whole = Signature.of(stranger.pid)
    text = form.format(
        whole=whole, pid=whole.pid, host=whole.host, boot=whole.boot, start=whole.start
    )
    with forged_lock(box, f"{text}\n"):
        result = box.run("stop", box.dir, expect=1)

    assert f"the run with pid {stranger.pid} cannot be seen from here" in result.stdout


@pytest.mark.parametrize("text", ["", "\0\0\0\0", "x y z\n"])
def test_a_run_that_its_lock_file_does_not_name_is_said(box: Sandbox, text: str) -> None:
    """It is alive and cannot be found: exit code 1, and how to go about it."""
    with forged_lock(box, text) as path:
        result = box.run("stop", box.dir, expect=1)

    assert f"fuser {path}" in result.stdout


def test_a_stale_signature_harms_nobody(box: Sandbox, stranger: Run) -> None:
    """Its run is dead: its lock is free, whoever is there with its pid."""
    with forged_lock(box, f"{Signature.of(stranger.pid)}\n", held=False) as path:
        result = box.run("stop", box.dir)

    assert result.lines == [f"nothing runs on {box.dir}"]
    assert not path.exists()


def test_an_old_lock_file_is_understood(box: Sandbox, server: FaultServer) -> None:
    """It holds the pid alone: the run is the process that has it open."""
    with stalled_run(box, server, "a.tar") as run:
        (path,) = (box.dir / ".wgetpool" / "runs").iterdir()
        path.write_text(f"{run.pid}\n")

        box.run("stop", box.dir)

        run.finish(expect=143)


# ---------------------------------------------------------------- status


def test_status_tells_who_works_on_a_dir(box: Sandbox, server: FaultServer) -> None:
    """The pid of each run, and its machine where that is another."""
    with stalled_run(box, server, "a.tar") as run:
        plain = box.run("status", box.dir, expect=1)
        state = box.status()
        with forged_lock(box, "4711 far-away boot 77\n") as path:
            both = box.run("status", box.dir, expect=1)
            far = box.status()["runs"]
        path.unlink()
        run.signal(signal.SIGTERM)
        run.finish(expect=143)

    assert f"a run is working on it: pid {run.pid}" in plain.lines
    assert (state["running"], state["orphans"]) == (True, [])
    assert [(one["pid"], one["host"]) for one in state["runs"]] == [(run.pid, os.uname().nodename)]
    (line,) = (line for line in both.lines if "working" in line)
    assert line.startswith("2 runs are working on it: pid ")
    assert f"pid {run.pid}" in line
    assert "pid 4711 on far-away" in line
    assert (4711, "far-away") in [(one["pid"], one["host"]) for one in far]


def test_status_tells_of_orphans(box: Sandbox, server: FaultServer) -> None:
    """By file and pid, with the command that ends them; and leaves them alone."""
    killed_run(box, server, "a.tar", "c.tar")

    plain = box.run("status", box.dir, expect=1)
    state = box.status()

    pids = {one["name"]: one["pid"] for one in state["orphans"]}
    assert sorted(pids) == ["a.tar", "c.tar"]
    assert sorted(pids.values()) == sorted(wget.pid for wget in box.wgets())
    assert (state["running"], state["runs"]) == (False, [])
    told = f"a.tar (pid {pids['a.tar']}), c.tar (pid {pids['c.tar']})"
    command = f"wgetpool stop {shlex.quote(str(box.dir))}"
    line = f"2 wgets of a killed run still work: {told}; {command} ends them"
    assert f"{line}, and so does the next run" in plain.lines
    assert "no run is working on it; the last one was killed" in plain.lines
    box.run("stop", box.dir)
    assert box.status()["orphans"] == []


LOOK = """
import io, sys
from pathlib import Path
from wgetpool.status import print_status
print_status(Path(sys.argv[1]), only=[], names=None, json=True, out=io.StringIO())
print(sorted({"psutil", "wgetpool.process"} & set(sys.modules)))
"""


def test_status_looks_at_processes_only_with_a_reason(box: Sandbox, server: FaultServer) -> None:
    """It costs nothing where no run was killed."""
    box.get(server.serve("/a.tar", file(DATA)).url)

    assert box.python(LOOK, box.dir).lines == ["[]"]
