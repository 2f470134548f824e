"""Room on a small disk: what is kept free, who waits for room, and what ends a run."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from support import runner
from support.faultserver import FaultServer, Reply, file
from support.mounts import Space
from support.runner import Event, Result, Run, Sandbox, random_bytes

pytest_plugins = ["support.fixtures"]

wait_until = partial(runner.wait_until, limit=30)  # a machine that does much else is slow

MIB = 1 << 20
KEPT = 8 * MIB
SLACK = MIB  # for the ledger and its journal, which are on the same disk
OPTIONS = ("--min-free", "8M", "--progress-interval", "0.2")
CONTENTS = {f"{n}.bin": random_bytes(20 * MIB, n) for n in range(4)}
PACED = (MIB, 0.03)


@contextmanager
def small_disk(box: Sandbox, size: str = "64m") -> Iterator[Space]:
    """A file system of that size as DIR."""
    with Space() as space:
        space.mount_memory(box, size)
        space.hold(box)
        try:
            yield space
        finally:
            box.world = Path("/")


class Gauge:
    """Watches what is free in DIR, while its block lasts; `least` is the least that was seen."""

    def __init__(self, box: Sandbox) -> None:
        self._box = box
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gauge")
        self.least = 1 << 62

    def __enter__(self) -> Gauge:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.002):
            self.least = min(self.least, free(self._box))


def free(box: Sandbox) -> int:
    told = os.statvfs(box.view)
    return told.f_bavail * told.f_frsize


def sized(box: Sandbox, sizes: dict[str, int]) -> Path:
    """A links file that tells sizes, by URL."""
    return box.links("url\tsize", *(f"{url}\t{size}" for url, size in sizes.items()))


def kept_parts(box: Sandbox) -> dict[str, bytes]:
    return {name[:-5]: data for name, data in box.files().items() if name.endswith(".part")}


def are_untorn(box: Sandbox, contents: dict[str, bytes], done: list[str]) -> bool:
    """Whether what is done is whole, and every part a beginning of its file."""
    parts = kept_parts(box)
    whole = {name: data for name, data in box.files().items() if not name.endswith(".part")}
    begun = all(contents[name].startswith(data) for name, data in parts.items())
    return whole == {name: contents[name] for name in done} and begun


def said(run: Run | Result, words: str) -> list[str]:
    """The warnings that have these words."""
    events: list[Event] = []
    for line in run.stdout.splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:  # it is just being written
            continue
    warnings = (event["message"] for event in events if event["event"] == "warning")
    return [message for message in warnings if words in message]


# ---------------------------------------------------------------- what stays free


@pytest.mark.parametrize("pace", [PACED, None])
def test_files_of_unknown_size_leave_what_is_to_stay_free(
    box: Sandbox, server: FaultServer, pace: tuple[int, float] | None
) -> None:
    """Those that fit come, the rest is held or ended with its part kept; then exit 3 with the
    numbers. The same command says so at once, and with more room it goes on.
    """
    routes = [server.serve(f"/{name}", file(data, pace=pace)) for name, data in CONTENTS.items()]
    command = [box.links(*(route.url for route in routes)), *OPTIONS]
    with small_disk(box) as space:
        with Gauge(box) as gauge:
            full = box.get(*command, expect=3)

        assert gauge.least >= KEPT - SLACK, full.story
        done = full.names("file_done")
        assert len(done) == 2, full.story
        assert are_untorn(box, CONTENTS, done), full.story
        (failure,) = full.of("file_failed")
        assert failure["cause"] == "no_space"
        assert "8.0 MiB are kept (--min-free)" in failure["reason"]

        plan = json.loads(box.get(*command, "--dry-run").stdout)
        missing = {name: len(CONTENTS[name]) - len(part) for name, part in kept_parts(box).items()}
        assert (plan["whole"], plan["to_fetch"], plan["expired"]) == (2, 2, 0)
        assert plan["to_come"] == sum(missing.values())
        assert abs(plan["free"] - free(box)) < SLACK

        asked = len(server.requests)
        again = box.get(*command, expect=3)
        assert len(server.requests) == asked, again.story
        assert "still to come" in again.stderr
        assert "--force" in again.stderr

        space.resize_memory(box, "120m")
        box.get(*command)
        assert box.files() == CONTENTS


def test_a_file_without_any_length_stops_at_what_is_to_stay_free(
    box: Sandbox, server: FaultServer
) -> None:
    """However fast it comes: the kernel lets its part grow no further."""
    content = {"a.bin": random_bytes(60 * MIB)}
    route = server.serve("/a.bin", file(content["a.bin"], framing="chunked"))
    with small_disk(box):
        with Gauge(box) as gauge:
            result = box.get(route.url, *OPTIONS, expect=3)

        assert gauge.least >= KEPT - SLACK, result.story
        assert are_untorn(box, content, [])
        assert len(kept_parts(box)["a.bin"]) > 50 * MIB
        assert len(route.requests) < 6


def test_small_files_of_unknown_size_come_side_by_side_on_a_small_disk(
    box: Sandbox, server: FaultServer
) -> None:
    """Little room is no lack of it: nobody is told that something waits, and little is."""
    content = random_bytes(30_000)
    urls = [server.serve(f"/{n}.bin", file(content)).url for n in range(40)]
    with small_disk(box):
        result = box.get(box.links(*urls), "-j", 4, "--min-free", "8M")

        assert len(result.of("file_done")) == 40
        assert not said(result, "room"), result.story
        assert result.seconds < 15


def test_room_that_somebody_else_takes_ends_what_no_longer_fits(
    box: Sandbox, server: FaultServer
) -> None:
    """With its part kept. What it would have needed is not taken."""
    gate = threading.Event()
    content = {"a.bin": random_bytes(30 * MIB)}
    route = server.serve(
        "/a.bin", file(content["a.bin"]).cut_at(5 * MIB, "hold").but(body_gate=gate)
    )
    with small_disk(box):
        with box.start_get(route.url, *OPTIONS) as run:
            wait_until(lambda: box.part_size("a.bin") == 5 * MIB)
            (box.view / "ballast").write_bytes(bytes(40 * MIB))
            result = run.finish(expect=3)
        (box.view / "ballast").unlink()

        assert [event["why"] for event in result.of("attempt_stopped")] == ["no_room"]
        assert kept_parts(box) == {"a.bin": content["a.bin"][: 5 * MIB]}
        gate.set()
        box.get(route.url, *OPTIONS)
        assert box.files() == content


def test_a_disk_that_is_full_all_the_same_ends_the_run(box: Sandbox, server: FaultServer) -> None:
    """Nothing is kept free, and somebody else writes: exit 3, the parts stay, nothing is torn."""
    gate = threading.Event()
    content = {f"{n}.bin": random_bytes(3 * MIB, n) for n in range(2)}
    held = [
        server.serve(f"/{name}", file(data).cut_at(MIB, "hold").but(body_gate=gate))
        for name, data in content.items()
    ]
    command = [box.links(*(route.url for route in held)), "--min-free", 0]
    with small_disk(box, "8m") as space:
        with box.start_get(*command) as run:
            wait_until(lambda: all(box.part_size(name) == MIB for name in content))
            fill(box.view / "ballast")
            gate.set()
            result = run.finish(expect=3)

        assert "space" in result.said.lower() or "room" in result.said, result.story
        (box.view / "ballast").unlink()
        assert are_untorn(box, content, [])
        assert sum(map(len, kept_parts(box).values())) >= MIB
        space.resize_memory(box, "40m")
        box.get(*command)
        assert box.files() == content


def fill(path: Path) -> None:
    """Writes until nothing is free."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(MIB // 16))
        except OSError:
            return


# ---------------------------------------------------------------- waiting for room


def test_a_person_who_makes_room_lets_the_others_go_on(box: Sandbox, server: FaultServer) -> None:
    """While something runs, what does not fit waits: both are said, once each."""
    gate = threading.Event()
    contents = {"slow.bin": random_bytes(10 * MIB, 1), "large.bin": random_bytes(20 * MIB, 2)}
    slow = file(contents["slow.bin"]).cut_at(MIB, "hold").but(body_gate=gate)
    routes = {
        server.serve("/slow.bin", slow).url: 10 * MIB,
        server.serve("/large.bin", file(contents["large.bin"])).url: 20 * MIB,
    }
    with small_disk(box):
        ballast = box.view / "ballast"
        ballast.write_bytes(bytes(30 * MIB))
        with box.start_get(sized(box, routes), *OPTIONS, "--force") as run:
            wait_until(lambda: said(run, "no room on the disk for large.bin"))
            at = time.monotonic()
            wait_until(lambda: time.monotonic() > at + 0.5)  # some looks later
            assert box.part_size("large.bin") == -1
            ballast.unlink()
            wait_until(lambda: box.path("large.bin").exists())
            gate.set()
            result = run.finish()

        assert box.files() == contents
        (waits,) = said(result, "no room on the disk")
        assert "20.0 MiB are to come" in waits
        assert len(said(result, "there is room on the disk again")) == 1


# ---------------------------------------------------------------- before the start


def test_sizes_that_cannot_all_fit_end_the_command_before_anything_is_fetched(
    box: Sandbox, server: FaultServer
) -> None:
    """Exit 3 with the numbers. --force fetches what there is room for."""
    replies: dict[str, Reply] = {name: file(data) for name, data in CONTENTS.items()}
    urls = {server.serve(f"/{name}", reply).url: 20 * MIB for name, reply in replies.items()}
    command = [sized(box, urls), *OPTIONS]
    with small_disk(box):
        refused = box.get(*command, expect=3)

        assert "80.0 MiB are still to come, 64.0 MiB are free, 8.0 MiB are kept" in refused.stderr
        assert not server.requests
        assert not list(box.view.iterdir())

        with Gauge(box) as gauge:
            forced = box.get(*command, "--force", expect=3)

        assert gauge.least >= KEPT
        assert len(forced.of("file_done")) == 2
        assert are_untorn(box, CONTENTS, forced.names("file_done"))
        assert not kept_parts(box)
