"""A part is continued when it is the same file, and only then: kills, changes, foreign parts."""

from __future__ import annotations

import random
import shutil
import signal
import threading
from contextlib import suppress

import psutil
import pytest
from support.faultserver import FaultServer, Reply, Request, Route, file
from support.runner import OVERLAP, Result, Run, Sandbox, random_bytes, wait_until

pytest_plugins = ["support.fixtures"]

MIB = 1024 * 1024
SIZE = 1_000_000
CUT = 600_000
OLD = random_bytes(SIZE, 1)
EARLIER = "Mon, 01 Sep 2025 10:00:00 GMT"
LATER = "Tue, 02 Sep 2025 10:00:00 GMT"


def stalled_run(box: Sandbox, route: Route) -> Run:
    """A run whose only wget has brought CUT bytes and waits for more."""
    run = box.start_get(box.links(route.url))
    wait_until(lambda: box.part_size(name_of(route)) == CUT, what="the part grows")
    return run


def name_of(route: Route) -> str:
    return route.url.partition("?")[0].rpartition("/")[2]


def kill(run: Run) -> None:
    """SIGKILL for the program; its wget lives on."""
    run.signal(signal.SIGKILL)
    run.process.wait(5)


def end_wgets(box: Sandbox) -> None:
    """SIGKILL for the orphans too."""
    wgets = box.wgets()
    for wget in wgets:
        with suppress(psutil.NoSuchProcess):
            wget.kill()
    wait_until(lambda: not box.wgets())


def leave_part(box: Sandbox, server: FaultServer, reply: Reply) -> None:
    """An earlier run was cut off after CUT bytes of what `reply` sends; nothing lives on.

    Validators are sent with the head: the run is killed when it has had the time to keep them.
    """
    route = server.serve("/a.tar", reply.cut_at(CUT, "stall"))
    with stalled_run(box, route) as run:
        validators = [text.strip('"') for text in (reply.etag, reply.modified) if text]
        wait_until(lambda: all(is_kept(box, text) for text in validators), 5, "all is recorded")
        kill(run)
        end_wgets(box)


def is_kept(box: Sandbox, text: str) -> bool:
    """True when a record has it, under its name."""
    for path in box.path(".wgetpool").rglob("*.json"):
        with suppress(FileNotFoundError):
            if path.is_file() and text.encode() in path.read_bytes():
                return True
    return False


# ---------------------------------------------------------------- the same file: what is missing


@pytest.mark.parametrize("ending", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_a_part_is_continued_after_a_signal(box: Sandbox, server: FaultServer, ending: str) -> None:
    """Whoever ended the run: the next asks for what is missing, and at most 64 KiB once more."""
    route = server.serve("/a.tar", file(OLD).cut_at(CUT, "stall"), file(OLD))
    with stalled_run(box, route) as run:
        run.signal(signal.Signals[ending])
        run.process.wait(10)
    assert box.path("a.tar.part").read_bytes() == OLD[:CUT]

    result = box.get(route.url)

    assert box.files() == {"a.tar": OLD}
    assert len(route.requests) == 2
    assert CUT - OVERLAP <= route.starts[1] <= CUT
    assert result.only("file_done")["bytes"] == SIZE


def test_fresh_signatures_go_on_with_the_same_parts(box: Sandbox, server: FaultServer) -> None:
    """A file is known by its name: another query, path and host name continue it."""
    leave_part(box, server, file(OLD))
    route = server.serve("/elsewhere/x", file(OLD), query="?sig=new")
    url = route.url.replace("127.0.0.1", "localhost")

    box.get(box.table({"a.tar": url}))

    assert box.files() == {"a.tar": OLD}
    assert CUT - OVERLAP <= route.starts[0] <= CUT


def test_a_part_survives_the_loss_of_the_state(box: Sandbox, server: FaultServer) -> None:
    """Losing .wgetpool loses no data: a part that fits is continued all the same."""
    leave_part(box, server, file(OLD))
    shutil.rmtree(box.path(".wgetpool"))
    route = server.serve("/a.tar", file(OLD))

    box.get(route.url)

    assert box.files() == {"a.tar": OLD}
    assert CUT - OVERLAP <= route.starts[0] <= CUT


def test_a_part_of_another_tool_is_continued_when_it_fits(
    box: Sandbox, server: FaultServer
) -> None:
    """A true prefix is a true prefix, whoever wrote it."""
    box.dir.mkdir()
    box.part("a.tar").write_bytes(OLD[:CUT])
    route = server.serve("/a.tar", file(OLD))

    box.get(route.url)

    assert box.files() == {"a.tar": OLD}
    assert CUT - OVERLAP <= route.starts[0] <= CUT


def test_a_part_that_is_whole_costs_its_last_bytes(box: Sandbox, server: FaultServer) -> None:
    """A part as long as the file, with the right tail, is published after a look at its tail."""
    box.dir.mkdir()
    box.part("a.tar").write_bytes(OLD)
    route = server.serve("/a.tar", file(OLD))

    box.get(route.url)

    assert box.files() == {"a.tar": OLD}
    assert route.sent <= 2 * OVERLAP


def test_an_etag_that_differs_from_edge_to_edge_spoils_no_part(
    box: Sandbox, server: FaultServer
) -> None:
    """Size, Last-Modified and the compared bytes outweigh a changed ETag: the part is continued."""
    edge = file(OLD, etag='"edge-1"', modified=EARLIER)
    leave_part(box, server, edge)
    route = server.serve("/a.tar", edge.but(etag='"edge-2"'))

    box.get(route.url)

    assert box.files() == {"a.tar": OLD}
    assert min(route.starts) >= CUT - OVERLAP
    assert len(route.requests) <= 2


def test_a_server_that_ignores_ranges_costs_a_full_fetch(box: Sandbox, server: FaultServer) -> None:
    """A 200 to a range is no reason for a wrong file."""
    leave_part(box, server, file(OLD))
    server.serve("/a.tar", file(OLD, ranges=False))

    box.get(f"{server.base}/a.tar")

    assert box.files() == {"a.tar": OLD}


# ---------------------------------------------------------------- another file: all of it


def changed(kind: str) -> bytes:
    """What the server has now, where it had OLD."""
    return {
        "same size": random_bytes(SIZE, 2),
        "same size and tail": random_bytes(CUT - OVERLAP * 2, 3) + OLD[CUT - OVERLAP * 2 :],
        "larger": random_bytes(SIZE + 300_000, 4),
        "larger, with the old as its head": OLD + random_bytes(300_000, 5),
        "smaller": random_bytes(SIZE - 100_000, 6),
        "smaller, with its head": OLD[: SIZE - 100_000],
        "smaller than the part": random_bytes(CUT - 100_000, 7),
        "the head of the part": OLD[: CUT - 100_000],
        "as long as the part": random_bytes(CUT, 8),
        "tiny": b"now this",
        "empty": b"",
    }[kind]


KINDS = [
    "same size",
    "larger",
    "larger, with the old as its head",
    "smaller",
    "smaller, with its head",
    "smaller than the part",
    "the head of the part",
    "as long as the part",
    "tiny",
    "empty",
]
VALIDATORS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "no validators": ({}, {}),
    "ETag": ({"etag": '"old"'}, {"etag": '"new"'}),
    "both": ({"etag": '"old"', "modified": EARLIER}, {"etag": '"new"', "modified": LATER}),
    "ETag gone": ({"etag": '"old"'}, {}),
}


@pytest.mark.parametrize("validators", VALIDATORS)
def test_a_changed_file_is_fetched_whole(
    box: Sandbox, server: FaultServer, validators: str
) -> None:
    """Old head and new tail never meet, whatever changed: size, bytes, validators or not."""
    before, after = VALIDATORS[validators]
    old = file(OLD, **before)
    for n in range(len(KINDS)):
        server.serve(f"/{n}", old.cut_at(CUT, "stall"))
    links = box.table({kind: f"{server.base}/{n}" for n, kind in enumerate(KINDS)})
    with box.start_get(links, "-j", len(KINDS)) as run:
        wait_until(lambda: all(box.part_size(kind) == CUT for kind in KINDS), 20)
        kill(run)
        end_wgets(box)
    for n, kind in enumerate(KINDS):
        server.serve(f"/{n}", file(changed(kind), **after))

    box.get(links, "-j", 4)

    assert box.files() == {kind: changed(kind) for kind in KINDS}


@pytest.mark.parametrize("key", ["etag", "modified"])
def test_validators_tell_a_change_that_the_tail_does_not_show(
    box: Sandbox, server: FaultServer, key: str
) -> None:
    """Same size, equal compared bytes: a changed strong ETag or Last-Modified is a new start."""
    first, second = {"etag": ('"etag-one"', '"etag-two"'), "modified": (EARLIER, LATER)}[key]
    leave_part(box, server, file(OLD, **{key: first}))
    new = changed("same size and tail")
    server.serve("/a.tar", file(new, **{key: second}))

    box.get(f"{server.base}/a.tar")

    assert box.files() == {"a.tar": new}


def test_a_changed_etag_is_not_outweighed_by_zeros(box: Sandbox, server: FaultServer) -> None:
    """A tail of one value agrees with everything: a changed ETag is a new start then."""
    zeros = bytes(SIZE - CUT + 2 * OVERLAP)
    old, new = (random_bytes(CUT - 2 * OVERLAP, n) + zeros for n in (1, 2))
    leave_part(box, server, file(old, etag='"etag-one"', modified=EARLIER))
    server.serve("/a.tar", file(new, etag='"etag-two"', modified=EARLIER))

    box.get(f"{server.base}/a.tar")

    assert box.files() == {"a.tar": new}


FOREIGN = {
    "other bytes": random_bytes(CUT, 11),
    "a wrong tail": OLD[: CUT - OVERLAP] + random_bytes(OVERLAP, 12),
    "a wrong last byte": OLD[: CUT - 1] + bytes([OLD[CUT - 1] ^ 1]),
    "a tail of zeros": OLD[: CUT - 10_000] + bytes(10_000),
    "longer than the file": random_bytes(SIZE + 50_000, 13),
    "the file and more": OLD + b"more",
    "as long, with a wrong tail": OLD[:-5] + b"wrong",
    "as long, all zeros": bytes(SIZE),
    "a few bytes": b"<html>",
    "nothing": b"",
}


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_part_that_does_not_fit_is_not_believed(
    box: Sandbox, server: FaultServer, ranges: bool
) -> None:
    """Foreign bytes, torn tails, parts too long: each file is right at the end."""
    box.dir.mkdir()
    for n, (name, data) in enumerate(FOREIGN.items()):
        box.part(name).write_bytes(data)
        server.serve(f"/{n}", file(OLD, ranges=ranges))
    links = box.table({name: f"{server.base}/{n}" for n, name in enumerate(FOREIGN)})

    box.get(links)

    assert box.files() == dict.fromkeys(FOREIGN, OLD)


def test_a_part_that_is_a_link_is_not_written_through(box: Sandbox, server: FaultServer) -> None:
    """NAME.part that leads out of DIR is not followed."""
    box.dir.mkdir()
    outside = box.root / "outside"
    outside.write_bytes(OLD[:CUT])
    box.part("a.tar").symlink_to(outside)
    server.serve("/a.tar", file(OLD))

    box.get(f"{server.base}/a.tar", expect=None)

    assert outside.read_bytes() == OLD[:CUT]
    assert box.files().get("a.tar", OLD) == OLD


def test_a_file_that_changes_between_attempts_is_one_file(
    box: Sandbox, server: FaultServer
) -> None:
    """Changed in mid-run, with and without validators: the last state whole, never a splice."""
    new = changed("same size")
    server.serve("/plain", file(OLD).cut_at(CUT), file(new).cut_at(CUT), file(new))
    server.serve(
        "/tagged",
        file(OLD, etag='"1"').cut_at(CUT),
        file(new, etag='"2"').cut_at(CUT),
        file(new, etag='"2"'),
    )

    box.get(f"{server.base}/plain", f"{server.base}/tagged")

    assert box.files() == {"plain": new, "tagged": new}


# ---------------------------------------------------------------- killed at the worst moment


@pytest.mark.parametrize("orphan", ["killed", "still writing", "done"])
def test_a_run_killed_between_append_and_comparison_splices_nothing(
    box: Sandbox, server: FaultServer, orphan: str
) -> None:
    """New bytes behind an old head: the next run does not compare new bytes with new bytes."""
    new = changed("same size")
    gate = threading.Event()
    leave_part(box, server, file(OLD))
    route = server.serve("/a.tar", file(new, body_gate=gate, **tail_of(orphan)), file(new))
    with box.start_get(route.url) as run:
        wait_until(lambda: route.requests)
        run.signal(signal.SIGSTOP)
        wait_until(lambda: psutil.Process(run.pid).status() == psutil.STATUS_STOPPED)
        gate.set()
        grown = SIZE if orphan == "done" else CUT + 50_000
        wait_until(lambda: box.part_size("a.tar") >= grown, what="wget appends")
        kill(run)
        if orphan == "killed":
            end_wgets(box)

    box.get(route.url)

    assert box.files() == {"a.tar": new}


def tail_of(orphan: str) -> dict[str, object]:
    """How the answer ends that is appended while nobody looks."""
    return {} if orphan == "done" else {"cut": OVERLAP + 50_000, "then": "stall"}


def test_a_run_killed_before_any_new_byte_keeps_its_part(box: Sandbox, server: FaultServer) -> None:
    """The compared bytes that were taken off the part are put back, or fetched: nothing is lost."""
    gate = threading.Event()
    leave_part(box, server, file(OLD))
    route = server.serve("/a.tar", file(OLD, gate=gate), file(OLD))
    with box.start_get(route.url) as run:
        wait_until(lambda: route.requests)
        kill(run)
        end_wgets(box)
    gate.set()

    box.get(route.url)

    assert box.files() == {"a.tar": OLD}
    assert route.starts[1] >= CUT - 2 * OVERLAP


class Changing:
    """A server whose files change between rounds, in size and bytes, with or without validators."""

    NAMES = ("plain", "tagged", "dated")

    def __init__(self, server: FaultServer, seed: int) -> None:
        self.round = 0
        self.versions = [
            random_bytes(size, seed * 100 + n)
            for n, size in enumerate([2 * MIB, 2 * MIB, MIB, 2 * MIB, 2 * MIB + 4321, 2 * MIB])
        ]
        for name in self.NAMES:
            server.serve(f"/{name}", self.reply)
        self.urls = [f"{server.base}/{name}" for name in self.NAMES]

    @property
    def now(self) -> bytes:
        return self.versions[self.round % len(self.versions)]

    def reply(self, request: Request) -> Reply:
        tag, date = f'"{self.round}"', f"Mon, {self.round + 1:02} Sep 2025 10:00:00 GMT"
        kind = request.path.strip("/")
        return file(
            self.now,
            pace=(32_000, 0.02),
            etag=tag if kind == "tagged" else None,
            modified=date if kind == "dated" else None,
        )


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_whoever_is_killed_whenever_no_file_is_ever_spliced(
    box: Sandbox, server: FaultServer, seed: int
) -> None:
    """Program, orphans or both SIGKILLed at random, the files changing: always byte-exact."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    remote = Changing(server, seed)
    links = box.links(*remote.urls)
    for _ in range(5):
        with box.start_get(links, "-j", 3) as run:
            kill_somebody(box, server, run, chance)
        if chance.random() < 0.7:
            remote.round += 1

    box.get(links, "-j", 3)

    assert set(box.files()) == set(remote.NAMES)
    assert all(data in remote.versions for data in box.files().values())


def kill_somebody(box: Sandbox, server: FaultServer, run: Run, chance: random.Random) -> None:
    """After a random number of requests and a random time: the program, its wgets, or both."""
    asked = len(server.requests) + chance.randint(1, 3)
    with suppress(AssertionError):
        wait_until(lambda: len(server.requests) >= asked or not run.alive, 3)
    pause = threading.Event()
    pause.wait(chance.uniform(0, 1.2))
    who = chance.choice(["program", "both", "wgets, then program", "stopped"])
    if who == "stopped":
        run.signal(signal.SIGSTOP)
        pause.wait(chance.uniform(0, 0.5))
    if who == "wgets, then program":
        end_wgets(box)
        pause.wait(chance.uniform(0, 0.3))
    kill(run)
    if who != "program" and chance.random() < 0.7:
        end_wgets(box)


# ---------------------------------------------------------------- what status and events say of it


def test_an_interrupted_run_says_what_is_left(box: Sandbox, server: FaultServer) -> None:
    """SIGINT: the events end with run_finished, and status knows the part."""
    route = server.serve("/a.tar", file(OLD).cut_at(CUT, "stall"))
    with stalled_run(box, route) as run:
        run.signal(signal.SIGINT)
        result: Result = run.finish(expect=130)

    assert result.only("run_finished")["failed"] == 0
    state = box.status()
    assert (state["done"], state["partial"], state["failed"], state["pending"]) == (0, 1, 0, 0)
    assert state["running"] is False
    assert state["files"][0]["bytes"] == CUT


def test_what_an_orphan_brought_behind_an_unseen_head_is_not_kept(
    box: Sandbox, server: FaultServer
) -> None:
    """Killed between request and head: the orphan gets another version, equal where it is
    compared, and the next run the old one again.
    """
    new = bytearray(OLD)
    new[CUT + 100 : CUT + 200] = bytes(100)
    gate = threading.Event()
    old, other = (
        file(OLD, etag='"old"', modified=EARLIER),
        file(bytes(new), etag='"new"', modified=LATER, gate=gate),
    )
    route = server.serve("/a.tar", old.cut_at(CUT), other.cut_at(CUT + 500), old)
    with box.start_get(route.url) as run:
        wait_until(lambda: len(route.requests) == 2, 10, "the second request")
        kill(run)
        gate.set()
        wait_until(lambda: not box.wgets(), 10, "the orphan has ended")

    box.get(route.url)

    assert box.files() == {"a.tar": OLD}
