"""A wget that brings nothing is ended and its file continued, and the failure names the cause."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import runner, unruly
from support.faultserver import FaultServer, file
from support.mounts import Disk, Space, needs_root
from support.runner import OVERLAP, Result, Run, Sandbox, random_bytes

pytest_plugins = ["support.fixtures"]

wait_until = partial(runner.wait_until, limit=30)  # a machine that does much else is slow

DATA = random_bytes(500_000)
CUT = 300_000
STALLED = file(DATA).cut_at(CUT, "stall")
SLOW = file(DATA, pace=(20_000, 0.1))


def assert_stall(result: Result, box: Sandbox, reason: str) -> None:
    """An attempt failed for this reason, and a later one brought the file."""
    failed = result.of("attempt_failed")[0]
    assert failed["reason"].startswith(f"stalled: {reason}"), result.story
    assert failed["class"] == "transient"
    assert result.only("file_done")["attempts"] > 1
    assert box.files() == {"0.tar": DATA}


# ---------------------------------------------------------------- the process


def test_a_stopped_wget_is_named(box: Sandbox, server: FaultServer) -> None:
    """SIGSTOP for a wget: that is the cause, not the line."""
    route = server.serve("/0.tar", STALLED, file(DATA))
    with box.start_get(route.url, "--stall-timeout", 1) as run:
        wait_until(lambda: box.part_size("0.tar") == CUT)
        box.wgets()[0].suspend()
        result = run.finish()

    assert_stall(result, box, "wget is stopped (SIGSTOP)")
    assert route.starts[1] >= CUT - OVERLAP


def test_a_wget_in_state_d_is_named(box: Sandbox, server: FaultServer) -> None:
    """A wget that waits for the disk is ended like any, and named."""
    route = server.serve("/0.tar", file(DATA))

    result = box.get(route.url, "--stall-timeout", 1, "--wget", unruly.blocked(box))

    assert_stall(result, box, "wget is blocked on the disk (state D)")
    assert not box.wgets()


def test_a_wget_that_nothing_ends_holds_up_no_other_file(
    box: Sandbox, server: FaultServer, tmp_path: Path
) -> None:
    """A disk that hangs: its wget survives SIGKILL and is said so, the files on other disks come,
    and when the disk answers again its own comes too.
    """
    needs_root()
    slow = server.serve("/slow/a.tar", SLOW, file(DATA))
    others = [server.serve(f"/{n}.tar", file(DATA)) for n in range(4)]
    rows = {"slow/a.tar": slow.url} | {f"{n}.tar": route.url for n, route in enumerate(others)}
    box.dir.mkdir()
    with Space() as space, Disk(space, tmp_path / "disk", box.dir / "slow") as disk:
        space.hold(box)
        with box.start_get(box.table(rows), "-j", 2, "--stall-timeout", 1) as run:
            wait_until(lambda: box.part_size("slow/a.tar") > 0)
            with disk.frozen():
                wait_until(lambda: "attempt_failed" in run.stdout)
                wait_until(lambda: run.stdout.count('"file_done"') == 4)
            result = run.finish(20)
            files = box.files()
        box.world = Path("/")

    assert "cannot be ended" in result.of("attempt_failed", "slow/a.tar")[0]["reason"]
    assert files == dict.fromkeys(rows, DATA)


def test_a_run_ends_though_its_disk_hangs(
    box: Sandbox, server: FaultServer, tmp_path: Path
) -> None:
    """SIGTERM, while nothing that touches DIR comes back: the end waits for no disk, says so, and
    the next run goes on.
    """
    needs_root()
    routes = [server.serve(f"/{n}.tar", SLOW, file(DATA)) for n in range(2)]
    links = box.links(*(route.url for route in routes))
    with Space() as space, Disk(space, tmp_path / "disk", box.dir) as disk:
        space.hold(box)
        with box.start_get(links, "-j", 2, "--stall-timeout", 60, "--min-free", 0) as run:
            # By now the heads are written down: the system does not end a process with a thread
            # that hangs in a write, whatever it does.
            wait_until(lambda: all(box.part_size(f"{n}.tar") > 150_000 for n in range(2)))
            with disk.frozen():
                wait_until(lambda: states_of(box.wgets()) == {"disk-sleep"})
                run.process.terminate()
                result = run.finish(30, expect=143)
        wait_until(lambda: not box.wgets(), what="wgets end when the disk answers")
        box.get(links, "--min-free", 0)
        files = box.files()
        box.world = Path("/")

    assert "state D" in result.said or "does not answer" in result.said, result.story
    assert files == {f"{n}.tar": DATA for n in range(2)}


def states_of(processes: list[psutil.Process]) -> set[str]:
    states: set[str] = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            states.add(process.status())
    return states


# ---------------------------------------------------------------- the line


def test_a_server_that_does_not_answer_is_named(box: Sandbox, server: FaultServer) -> None:
    """Connected, asked, and no word came."""
    route = server.serve("/0.tar", file(DATA).cut_at(-1, "stall"), file(DATA))

    result = box.get(route.url, "--stall-timeout", 1)

    assert_stall(result, box, "no answer to the request")


def test_a_body_that_stops_is_named_with_the_time(box: Sandbox, server: FaultServer) -> None:
    """No new byte for the stall time, which is told."""
    route = server.serve("/0.tar", STALLED, file(DATA))

    result = box.get(route.url, "--stall-timeout", 2)

    assert_stall(result, box, "no new byte for 2 s")
    assert route.starts[1] >= CUT - OVERLAP


def test_a_trickle_is_named_by_the_rate_it_is_under(box: Sandbox, server: FaultServer) -> None:
    """Bytes come, but fewer than --min-rate: that is the option to change."""
    route = server.serve("/0.tar", file(DATA).cut_at(CUT, "drip"), file(DATA))

    result = box.get(route.url, "--stall-timeout", 2, "--min-rate", "1k")

    assert_stall(result, box, "")
    assert "--min-rate" in result.of("attempt_failed")[0]["reason"]


def test_an_attempt_that_takes_too_long_is_continued(box: Sandbox, server: FaultServer) -> None:
    """--attempt-timeout: ended in the middle, and continued on a new connection."""
    route = server.serve("/0.tar", SLOW, file(DATA))

    result = box.get(route.url, "--attempt-timeout", 1)

    failed = result.of("attempt_failed")[0]
    assert "--attempt-timeout" in failed["reason"]
    assert failed["class"] == "transient"
    assert route.starts[1] > 0
    assert box.files() == {"0.tar": DATA}


def test_a_connection_that_does_not_come_is_named(box: Sandbox, server: FaultServer) -> None:
    """The server's machine is there, and answers no SYN."""
    with closed_door() as door, box.start_get(f"{door.url}/0.tar", "--stall-timeout", 1) as run:
        wait_until(lambda: "attempt_failed" in run.stdout or not run.alive)
        door.open()
        result = run.finish()

    assert_stall(result, box, "no connection to the server")


class Door:
    """A listening socket whose queue is full: it takes no connection, until it is opened."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Whole, bind_and_activate=False)
        self._server.daemon_threads = False
        self._server.socket.close()
        self._server.socket = self._listener
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._waiting = [self._knock() for _ in range(4)]

    def _knock(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(self._listener.getsockname())
        return sock

    def open(self) -> None:
        if not self._thread.is_alive():
            self._hang_up()
            self._listener.listen(64)
            self._thread.start()

    def close(self) -> None:
        self.open()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _hang_up(self) -> None:
        for sock in self._waiting:
            sock.close()


class _Whole(BaseHTTPRequestHandler):
    """Every path is DATA."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        self.wfile.write(DATA)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def closed_door() -> Iterator[Door]:
    door = Door()
    try:
        yield door
    finally:
        door.close()


# ---------------------------------------------------------------- the name service


def test_a_wget_without_any_connection_waits_for_the_name_service(
    box: Sandbox, server: FaultServer
) -> None:
    """No socket and no word: that is all which can be seen of a look-up that does not end."""
    url = server.serve("/0.tar", file(DATA)).url.replace("127.0.0.1", "localhost")

    result = box.get(url, "--stall-timeout", 1, "--wget", unruly.wordless(box))

    assert_stall(result, box, "the name service does not answer")


def test_a_name_service_that_does_not_answer_is_named(
    box: Sandbox, server: FaultServer, tmp_path: Path
) -> None:
    """A real look-up that hangs, in a world with a name service of its own."""
    url = server.serve("/0.tar", file(DATA)).url.replace("127.0.0.1", "mirror.example")
    hosts, resolver, order = (tmp_path / name for name in ("hosts", "resolv.conf", "nsswitch"))
    hosts.touch()
    order.write_text("hosts: files dns\n")
    with Space() as space, silent_name_service() as address:
        resolver.write_text(f"nameserver {address}\noptions timeout:30 attempts:3\n")
        space.do("mount", "--bind", hosts, "/etc/hosts")
        space.do("mount", "--bind", resolver, "/etc/resolv.conf")
        if Path("/etc/nsswitch.conf").exists():
            space.do("mount", "--bind", order, "/etc/nsswitch.conf")
        space.hold(box)
        with box.start_get(url, "--stall-timeout", 1) as run:
            wait_until(lambda: "attempt_failed" in run.stdout or not run.alive)
            hosts.write_text("127.0.0.1 mirror.example\n")
            result = run.finish()
            box.world = Path("/")

    assert_stall(result, box, "the name service does not answer")


@contextmanager
def silent_name_service() -> Iterator[str]:
    """The address of a name service that reads questions, and answers none."""
    address = f"127.53.{random.Random(os.getpid()).randrange(256)}.{random.randrange(1, 255)}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((address, 53))
        except OSError as error:
            pytest.skip(f"no name service can be had here: {error.strerror}")
        yield address


def test_a_run_can_be_ended_while_it_has_no_connection(box: Sandbox) -> None:
    """SIGTERM ends a wget that connects as fast as any."""
    with closed_door() as door, box.start_get(f"{door.url}/0.tar") as run:
        wait_until(box.wgets)
        end_in_time(run)

        assert not box.wgets()


def end_in_time(run: Run) -> None:
    run.process.terminate()
    run.finish(10, expect=143)
