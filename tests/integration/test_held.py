"""What is held for a fresh link or for room, while another run works on the same folder."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from support.faultserver import FaultServer, file
from support.mounts import Space
from support.runner import Sandbox, random_bytes, wait_until

pytest_plugins = ["support.fixtures"]

DATA = random_bytes(300_000)
NAMES = [f"{n}.tar" for n in range(3)]


def links(box: Sandbox, server: FaultServer, name: str, life: float) -> Path:
    """A links file, its links good for so many seconds."""
    expiry = int(time.time() + life)
    urls = (f"{server.base}/{tar}?_nc_gid&oh=SECRET&oe={expiry:X}" for tar in NAMES)
    return box.links(*urls, name=name)


@pytest.mark.parametrize("waiting", [(), ("--wait-for-links",)])
def test_another_run_may_fetch_what_has_expired_here(
    box: Sandbox, server: FaultServer, waiting: tuple[str, ...]
) -> None:
    """Nothing fails while it is at it, and what it made whole is whole: exit code 0 for both."""
    gate = threading.Event()
    for name in NAMES:
        server.serve(f"/{name}", file(DATA, body_gate=gate))
    fresh = links(box, server, "fresh.txt", 3600)
    old = links(box, server, "old.txt", -3600)
    with box.start_get(fresh, "-j", 1) as first:
        wait_until(lambda: server.requests)
        with box.start_get(old, *waiting, "--progress-interval", 0.2) as second:
            wait_until(lambda: "file_held" in second.stdout)
            gate.set()
            assert first.finish(30).code == 0
            result = second.finish(60)

    assert not result.of("file_failed"), result.story
    assert len(result.of("file_skipped")) == len(NAMES)
    assert box.files() == dict.fromkeys(NAMES, DATA)
    assert len(server.requests) == len(NAMES)


def test_another_run_may_fetch_what_there_is_no_room_for_here(
    box: Sandbox, server: FaultServer
) -> None:
    """It keeps less free: what it has under way is no reason to give up."""
    data = random_bytes(9_000_000)
    gate = threading.Event()
    url = server.serve("/a.tar", file(data, body_gate=gate)).url
    listed = box.links("url,size", f"{url},{len(data)}")
    with Space() as space:
        space.mount_memory(box, "20m")
        space.hold(box)
        with box.start_get(listed, "--min-free", "1M") as first:
            wait_until(lambda: server.requests)
            command = (listed, "--min-free", "14M", "--force", "--progress-interval", 0.2)
            with box.start_get(*command) as second:
                wait_until(lambda: "file_held" in second.stdout)
                time.sleep(1)  # looks in which it may give up, and must not
                assert second.alive
                gate.set()
                assert first.finish(30).code == 0
                result = second.finish(60)
        box.world = Path("/")

    assert not result.of("file_failed"), result.story
    assert len(result.of("file_skipped")) == 1
