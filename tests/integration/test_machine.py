"""A machine in trouble: no room, read-only, no wget, limits, suspended; and nothing that leaks."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
from support import runner, unruly
from support.faultserver import FaultServer, Reply, Request, file, status
from support.mounts import Disk, Space, needs_root, needs_tools
from support.runner import OVERLAP, UNMEASURED, Sandbox, random_bytes

pytest_plugins = ["support.fixtures"]

wait_until = partial(runner.wait_until, limit=30)  # a machine that does much else is slow

MIB = 1 << 20
DATA = random_bytes(500_000)
CUT = 300_000
STALLED = file(DATA).cut_at(CUT, "stall")


def without_reserve(box: Sandbox) -> list[str]:
    """The option that lets a run fill a small file system up, where there is one."""
    told = box.run("get", "--help").stdout
    return ["--min-free", "0"] if "--min-free" in told else []


# ---------------------------------------------------------------- DIR


def test_a_full_disk_ends_the_run_and_keeps_the_parts(box: Sandbox, server: FaultServer) -> None:
    """Exit 3: what is there stays, nothing new is started, and people are told what to do. With
    more room the same command ends with 0.
    """
    contents = {f"{n}.bin": random_bytes(4 * MIB, n) for n in range(6)}
    routes = [server.serve(f"/{name}", file(data)) for name, data in contents.items()]
    command = [box.links(*(route.url for route in routes)), *without_reserve(box)]
    with Space() as space:
        space.mount_memory(box, "3m")
        space.hold(box)

        full = box.get(*command, expect=3)

        parts = {name: data for name, data in box.files().items() if name.endswith(".part")}
        assert sum(map(len, parts.values())) > 2 * MIB
        assert all(contents[name[:-5]].startswith(data) for name, data in parts.items())
        assert len(server.requests) <= 4, full.story
        assert not full.of("file_done")
        assert "room" in full.said or "space" in full.said.lower()
        space.resize_memory(box, "40m")

        box.get(*command)

        assert box.files() == contents
        box.world = Path("/")


def test_a_disk_without_room_for_one_more_name_ends_the_run(
    box: Sandbox, server: FaultServer
) -> None:
    """No inode is free, though bytes are: exit 3 as for a full disk; what is whole stays."""
    links = box.links(*(server.serve(f"/{n}.tar", file(DATA)).url for n in range(12)))
    with Space() as space:
        space.mount_memory(box, "40m,nr_inodes=14")
        space.hold(box)

        result = box.get(links, *without_reserve(box), expect=3)

        assert "space" in result.said.lower()
        whole = {name: data for name, data in box.files().items() if not name.endswith(".part")}
        assert whole == dict.fromkeys(result.names("file_done"), DATA)
        assert len(server.requests) < 12
        box.world = Path("/")


def test_a_dir_that_becomes_read_only_ends_the_run(box: Sandbox, server: FaultServer) -> None:
    """In the middle of a run: exit 3, a message that says so, and the parts stay."""
    gate = threading.Event()
    routes = [server.serve(f"/{n}.tar", file(DATA, body_gate=gate)) for n in range(8)]
    links = box.links(*(route.url for route in routes))
    with Space() as space:
        space.mount_memory(box, "40m")
        space.hold(box)
        with box.start_get(links, "-j", 2, *without_reserve(box)) as run:
            wait_until(lambda: len(server.requests) == 2)
            space.make_read_only(box)
            gate.set()
            result = run.finish(30, expect=3)

        assert "ead-only" in result.said, result.story
        assert len(server.requests) <= 4
        kept = {name: data for name, data in box.files().items() if DATA.startswith(data)}
        assert kept == box.files()
        box.world = Path("/")


def test_a_disk_that_fails_ends_the_run(box: Sandbox, server: FaultServer, tmp_path: Path) -> None:
    """The system makes a failing disk read-only, for open files too: exit 3, and a message."""
    needs_root()
    slow = [server.serve(f"/{n}.tar", file(DATA, pace=(20_000, 0.1))) for n in range(4)]
    with Space() as space, Disk(space, tmp_path / "disk", box.dir) as disk:
        space.hold(box)
        links = box.links(*(route.url for route in slow))
        with box.start_get(links, "-j", 2, *without_reserve(box)) as run:
            wait_until(lambda: all(box.part_size(f"{n}.tar") > 0 for n in range(2)))
            disk.fail()
            result = run.finish(30, expect=3)
            assert not box.wgets()
            parts = [box.part_size(f"{n}.tar") for n in range(2)]
        box.world = Path("/")

    assert "ead-only" in result.said or "Input/output" in result.said, result.story
    assert all(size > 0 for size in parts)
    assert len(server.requests) == 2


# ---------------------------------------------------------------- wget


def test_a_wget_that_is_replaced_fails_no_file(box: Sandbox, server: FaultServer) -> None:
    """An upgrade takes it away for a second: the run waits for it."""
    wget = unruly.removable(box)
    links = box.links(*(server.serve(f"/{n}.tar", file(DATA)).url for n in range(6)))
    with box.start_get(links, "-j", 2, "--wget", wget) as run:
        wait_until(lambda: server.requests)
        wget.unlink()
        wait_until(lambda: "wget" in run.stderr, what="a warning")
        wget.symlink_to(unruly.WGET)
        result = run.finish(20)

    assert box.files() == {f"{n}.tar": DATA for n in range(6)}
    assert not result.of("file_failed")


def test_a_wget_that_does_not_come_back_ends_the_run(box: Sandbox, server: FaultServer) -> None:
    """Taken away for good: exit 3 within a minute, and the message names it."""
    wget = unruly.removable(box)
    routes = [server.serve(f"/{n}.tar", file(DATA)) for n in range(6)]
    with box.start_get(box.links(*(each.url for each in routes)), "-j", 2, "--wget", wget) as run:
        wait_until(lambda: server.requests)
        wget.unlink()
        result = run.finish(60, expect=3)

    assert str(wget) in result.said, result.story
    assert not result.of("file_failed")


def test_wgets_killed_from_outside_are_continued(box: Sandbox, server: FaultServer) -> None:
    """The kernel ends the largest when memory is short: the reason says SIGKILL, and each goes on
    where it was.
    """
    routes = [server.serve(f"/{n}.tar", STALLED, file(DATA)) for n in range(3)]
    with box.start_get(box.links(*(route.url for route in routes))) as run:
        wait_until(lambda: all(box.part_size(f"{n}.tar") == CUT for n in range(3)))
        for process in box.wgets():
            process.kill()
        result = run.finish()

    reasons = [event["reason"] for event in result.of("attempt_failed")]
    assert len(reasons) == 3
    assert all("SIGKILL" in reason for reason in reasons)
    assert all(route.starts[1] >= CUT - OVERLAP for route in routes)
    assert box.files() == {f"{n}.tar": DATA for n in range(3)}


# ---------------------------------------------------------------- limits


def limit(box: Sandbox, *limits: str) -> None:
    """Has all runs of the sandbox under `prlimit LIMITS`."""
    needs_tools("prlimit")
    box.prefix = (*box.prefix, "prlimit", *limits)


def test_a_file_larger_than_allowed_fails_with_its_cause(box: Sandbox, server: FaultServer) -> None:
    """`ulimit -f`: named, not tried for ever, and no reason to leave the small ones."""
    large = server.serve("/large.tar", file(DATA))
    small = server.serve("/small.tar", file(DATA[:CUT]))
    limit(box, "--fsize=400000")

    result = box.get(box.links(large.url, small.url), expect=1)

    assert "ulimit -f" in result.only("file_failed")["reason"]
    assert len(large.requests) <= 2
    assert box.files()["small.tar"] == DATA[:CUT]


def test_few_descriptors_mean_fewer_files_at_a_time(box: Sandbox, server: FaultServer) -> None:
    """`ulimit -n 64` and -j 32: all files come, and a warning says how many at a time, and why."""
    contents = {f"{n:02}.bin": random_bytes(20_000, n) for n in range(80)}
    links = box.links(*(server.serve(f"/{k}", file(v)).url for k, v in contents.items()))
    limit(box, "--nofile=64:64")

    result = box.get(links, "-j", 32)

    assert box.files() == contents
    assert not result.of("attempt_failed")
    warnings = [event["message"] for event in result.of("warning")]
    assert any("ulimit -n" in message and "at a time" in message for message in warnings), warnings
    assert all(message in result.stderr for message in warnings)
    assert server.peak < 32


@pytest.mark.parametrize("number", [12, 16, 20, 24])
def test_next_to_no_descriptors_are_enough_or_are_named(
    box: Sandbox, server: FaultServer, number: int
) -> None:
    """`ulimit -n 20`: one file at a time, or exit 3 with what to raise; never a traceback."""
    contents = {f"{n:02}.bin": random_bytes(20_000, n) for n in range(12)}
    links = box.links(*(server.serve(f"/{k}", file(v)).url for k, v in contents.items()))
    limit(box, f"--nofile={number}:{number}")

    result = box.get(links, "-j", 8, expect=None, timeout=50)

    assert result.code in {0, 3}, result.story
    if result.code == 0:
        assert box.files() == contents
    else:
        assert "ulimit -n" in result.said, result.story
    assert not result.of("file_failed")


def test_few_processes_mean_fewer_files_at_a_time(server: FaultServer) -> None:
    """`ulimit -u` with room for some of sixteen: all files come, and a warning names the limit."""
    contents = {f"{n:02}.bin": random_bytes(20_000, n) for n in range(40)}
    urls = [server.serve(f"/{name}", file(data)).url for name, data in contents.items()]
    with lone_user(processes=16) as box:
        result = box.get(box.links(*urls), "-j", 16)

        assert box.files() == contents
        warnings = [event["message"] for event in result.of("warning")]
        assert any("ulimit -u" in message for message in warnings), result.story
        assert all(message in result.stderr for message in warnings)
        assert not box.wgets()


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 5])
def test_next_to_no_processes_are_enough_or_are_named(server: FaultServer, processes: int) -> None:
    """Not even the threads, or no wget beside them: exit 3 with what to raise, never a traceback.
    The more room there is, the rather it works.
    """
    url = server.serve("/0.tar", file(DATA)).url
    with lone_user(processes=processes) as box:
        result = box.get(url, expect=None, timeout=50)

        assert result.code in {0, 3}, result.story
        assert result.code == 3 or box.files() == {"0.tar": DATA}
        assert result.code == 0 or "ulimit -u" in result.said, result.story
        assert not result.of("file_failed") if result.stdout else True
        assert not box.wgets()


@contextmanager
def lone_user(*, processes: int) -> Iterator[Sandbox]:
    """A sandbox for a user who has no other process, and may have so many, threads counted."""
    limits = f"--nproc={processes}:{processes}"
    needs_tools("prlimit")
    if os.geteuid() == 0:
        needs_tools("setpriv")
        uid = 50_000 + os.getpid() % 10_000
        mine = f"--reuid={uid} --regid={uid} --clear-groups".split()
        prefix = ("prlimit", limits, "setpriv", *mine)
    else:  # in a user namespace processes are counted anew
        needs_tools("unshare")
        uid = os.getuid()
        prefix = ("unshare", "--user", "--map-current-user", "prlimit", limits)
    root = Path(tempfile.mkdtemp(prefix="wgetpool-"))
    try:
        box = Sandbox(root, env=dict(UNMEASURED))
        box.dir.mkdir()
        for path in (root, *root.iterdir()):
            os.chown(path, uid, -1)
        box.prefix = prefix[2:] if os.geteuid() == 0 else prefix[:3]
        if box.run("--version", expect=None).code != 0:
            pytest.skip("another user cannot run the program here")
        box.prefix = prefix
        yield box
    finally:
        shutil.rmtree(root)


# ---------------------------------------------------------------- suspended


def test_a_run_that_was_stopped_as_a_whole_goes_on(box: Sandbox, server: FaultServer) -> None:
    """SIGSTOP for the program and its wgets, for longer than --stall-timeout, then SIGCONT, as when
    a machine is suspended: the file comes.
    """
    gate = threading.Event()
    route = server.serve("/0.tar", file(DATA, cut=CUT, then="hold", body_gate=gate), file(DATA))
    with box.start_get(route.url, "--stall-timeout", 1) as run:
        wait_until(lambda: box.part_size("0.tar") == CUT)
        everybody = [psutil.Process(run.pid), *box.wgets()]
        assert len(everybody) == 2
        for process in everybody:
            process.suspend()
        time.sleep(2)  # longer than the stall time
        for process in everybody:
            process.resume()
        gate.set()
        result = run.finish()

    assert box.files() == {"0.tar": DATA}
    assert not result.of("file_failed")


# ---------------------------------------------------------------- leaks


def test_a_long_run_holds_no_more_than_a_short_one(box: Sandbox, server: FaultServer) -> None:
    """300 files, one in ten of which fails at first: as many descriptors and threads after 270 as
    after 60, and never a zombie.
    """
    gates = {60: threading.Event(), 270: threading.Event()}
    for n in range(300):
        server.serve(f"/{n:03}.bin", *replies(n, gates))
    links = box.links(*(f"{server.base}/{n:03}.bin" for n in range(300)))
    with box.start_get(links, "-j", 4) as run:
        process = psutil.Process(run.pid)
        held = []
        for first, gate in gates.items():
            wait_until(partial(is_reached, server, first))
            held.append(settled(lambda: (process.num_fds(), process.num_threads())))
            statuses = [child.status() for child in process.children(recursive=True)]
            assert psutil.STATUS_ZOMBIE not in statuses
            gate.set()
        result = run.finish(30)

    (files_then, threads_then), (files_now, threads_now) = held
    assert files_now <= files_then + 3
    assert threads_now <= threads_then + 1
    assert len(result.of("file_done")) == 300
    assert len(result.of("attempt_failed")) >= 25


def replies(n: int, gates: dict[int, threading.Event]) -> list[Reply | Callable[[Request], Reply]]:
    """Small, some at first refused or cut off; four wait before each gate."""
    whole = file(random_bytes(5_000, n))
    for first, gate in gates.items():
        if first <= n < first + 4:
            return [whole.but(gate=gate)]
    if n % 10 == 5:
        return [status(503) if n % 20 == 5 else whole.cut_at(2_000, "reset"), whole]
    return [whole]


def is_reached(server: FaultServer, first: int) -> bool:
    asked = {request.path for request in list(server.requests)}
    return all(f"/{n:03}.bin" in asked for n in range(first, first + 4))


def settled(look: Callable[[], tuple[int, int]], seconds: float = 1.3) -> tuple[int, int]:
    """What it is when it has been the same for longer than anything is kept back for company."""
    value, since = look(), time.monotonic()
    end = since + 15
    while time.monotonic() - since < seconds:
        assert time.monotonic() < end, "it does not settle"
        time.sleep(0.02)
        if (now := look()) != value:
            value, since = now, time.monotonic()
    return value
