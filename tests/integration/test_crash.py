"""SIGKILL at random instants, and at each single step of publishing: the next run goes on."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from support.faultserver import FaultServer, Reply, Request, Route, file, status
from support.runner import OVERLAP, ROOT, Run, Sandbox, random_bytes, wait_until

pytest_plugins = ["support.fixtures"]

KIB = 1024
SEED = int(os.environ.get("WGETPOOL_CRASH_SEED", "1"))
KILLS = int(os.environ.get("WGETPOOL_CRASH_KILLS", "20"))
WORKERS = 4
PACE = (16 * KIB, 0.0025)  # of the server, so that there is something in flight to be killed
IN_FLIGHT = 4 * PACE[0]  # of one connection: handed to the network, not yet in the part


# ---------------------------------------------------------------- at random instants


class FaultySite:
    """A hundred files, none of which comes for sure: cuts, 503, stalls. What happens depends on the
    seed, the file, and how often it was asked for, not on the order of requests.
    """

    def __init__(self, server: FaultServer, seed: int) -> None:
        chance = random.Random(seed)
        sizes = [0, 1, OVERLAP - 1, OVERLAP, OVERLAP + 1]
        sizes += [chance.randrange(2000 * KIB) for _ in range(15)]
        sizes += [chance.randrange(100 * KIB) for _ in range(80)]
        self.seed, self.bodies, self.failures = seed, 0, 0
        self.files = {f"{n:02}.bin": random_bytes(size, n) for n, size in enumerate(sizes)}
        self._asked: Counter[str] = Counter()
        self.routes = [server.serve(f"/{name}", self._reply) for name in self.files]
        self.ideal = sum(sizes)

    @property
    def sent(self) -> int:
        return sum(route.sent for route in self.routes)

    def is_beyond(self, goal: float, run: Run) -> bool:
        """True as soon as so many bytes were sent; for a run that has ended, too."""
        return self.sent >= goal or not run.alive

    def _reply(self, request: Request) -> Reply:
        name = request.path.strip("/")
        self._asked[name] += 1
        chance = random.Random(f"{self.seed} {name} {self._asked[name]}")
        whole = file(self.files[name], pace=PACE, etag=f'"{name}"')
        what = chance.random()
        self.failures += what < 0.27
        if what < 0.1:
            return status(503)
        self.bodies += 1
        if what < 0.27:
            cut = chance.randrange(len(whole.data) + 1)
            return whole.cut_at(cut, "stall" if what < 0.12 else chance.choice(["close", "reset"]))
        return whole


def test_runs_killed_at_random_instants_end_in_the_right_files(
    box: Sandbox, server: FaultServer
) -> None:
    """The program is SIGKILLed again and again, its wgets live on: never a torn file under a final
    name, and hardly a byte more than one run would have fetched.
    """
    print(f"WGETPOOL_CRASH_SEED={SEED} WGETPOOL_CRASH_KILLS={KILLS}")
    chance = random.Random(SEED)
    site = FaultySite(server, SEED)
    options = ["-j", WORKERS, "--tries", 20, "--stall-timeout", 1]
    links = box.links(*(route.url for route in site.routes))
    kills, left, unseen, rounds = 0, 0, 0, 1
    while kills < KILLS:
        with box.start_get(links, *options) as run:
            if chance.random() < 0.3:  # while it starts
                with suppress(subprocess.TimeoutExpired):
                    run.process.wait(chance.uniform(0.1, 0.5))
            goal = site.sent + chance.uniform(0, site.ideal / (KILLS + 1))
            wait_until(partial(site.is_beyond, goal, run), 20)
            run.signal(signal.SIGKILL)
            killed = run.process.wait(5) == -signal.SIGKILL
        assert_nothing_is_torn(box, site.files)
        kills += killed
        left += len(list(box.dir.glob("*.part"))) + WORKERS
        unseen += bytes_behind_cuts(box, site.files)
        if not killed:  # all is there: once more from the start
            assert box.files() == site.files, run.finish().story
            rounds += 1
            for name in site.files:
                box.path(name).unlink()

    box.get(links, *options, timeout=60)

    assert box.files() == site.files
    assert not box.wgets()
    # Asked again is for what failed, and for what a killed run had in hand: its parts, whole ones
    # that waited to be published among them, and a request of each worker that brought no part yet.
    # Every body but a file's first brings at most 64 KiB that were there before: those that are
    # compared, or a part that is not longer. What a connection holds is lost with its wget, and so
    # is what came behind an open cut: nobody has seen its head.
    requests, over = len(server.requests), site.sent - site.ideal * rounds
    repeated = site.bodies - len(site.files) * rounds
    allowed = repeated * OVERLAP + KILLS * WORKERS * IN_FLIGHT + unseen
    print(f"{rounds} rounds, {requests} requests, {repeated} bodies and {over:,} bytes again")
    assert requests <= len(site.files) * rounds + site.failures + left
    assert over <= site.ideal * 0.02 + allowed


def bytes_behind_cuts(box: Sandbox, whole: dict[str, bytes]) -> int:
    """The most that a killed run's wgets may bring in vain: the rest of each file whose comparison
    was open.
    """
    records = []
    for path in (box.dir / ".wgetpool/parts").glob("*.json"):
        with suppress(FileNotFoundError):
            records.append(json.loads(path.read_text()))
    return sum(len(whole[each["name"]]) - each["cut"]["offset"] for each in records if each["cut"])


def assert_nothing_is_torn(box: Sandbox, whole: dict[str, bytes]) -> list[str]:
    """Every file that has its final name is right. Returns their names."""
    there = {name: data for name, data in box.files().items() if not name.endswith(".part")}
    assert there == {name: whole[name] for name in there}
    return list(there)


# ---------------------------------------------------------------- at each step


# Put first in PYTHONPATH: the interpreter loads it before the program. It counts the steps that
# leave something on the disk, writes them down, and dies before one of them: to die after a step is
# to die before the next.
DYING = """
import os, signal, sqlite3, threading
number = int(os.environ["DIE"])
trail = os.open(os.environ["TRAIL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
lock, count = threading.RLock(), 0

def step(word, real, *args, **more):
    global count
    with lock:
        count += 1
        os.write(trail, f"{word}\\n".encode())
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **more)

def wrap(name):
    real = getattr(os, name)
    setattr(os, name, lambda *args, **more: step(name, real, *args, **more))

for name in ("fsync", "rename", "replace", "ftruncate", "unlink", "link"):
    wrap(name)

class Connection(sqlite3.Connection):
    def execute(self, sql, *args):
        if sql.strip() == "COMMIT":
            return step("COMMIT", super().execute, sql, *args)
        return super().execute(sql, *args)

connect = sqlite3.connect
sqlite3.connect = lambda *args, **more: connect(*args, factory=Connection, **more)
"""
CONTENT = {
    "new.tar": random_bytes(30_000, 1),
    "begun.tar": random_bytes(300_000, 2),
    "whole.tar": random_bytes(200_000, 3),
}
PARTS = {"begun.tar": CONTENT["begun.tar"][:200_000], "whole.tar": CONTENT["whole.tar"]}


class Death:
    """A sandbox of its own in which a run dies at one step."""

    def __init__(self, root: Path, server: FaultServer, number: int) -> None:
        place = root / f"{number}"
        place.mkdir()
        self.box = Sandbox(place)
        (place / "sitecustomize.py").write_text(DYING)
        self.trail = place / "trail"
        path = [str(place), os.environ.get("PYTHONPATH") or str(ROOT)]
        self._dying = {
            "PYTHONPATH": os.pathsep.join(path),
            "DIE": str(number),
            "TRAIL": str(self.trail),
        }
        self.routes: dict[str, Route] = {
            name: server.serve(f"/{number}/{name}", file(data)) for name, data in CONTENT.items()
        }
        self.box.dir.mkdir()
        for name, data in PARTS.items():
            self.box.part(name).write_bytes(data)

    def happens(self) -> bool:
        """Runs the program once with the step that kills, and once more without; False when it
        came through because there is no such step.
        """
        links = self.box.links(*(route.url for route in self.routes.values()))
        self.box.env = self._dying
        code = self.box.get(links, "-j", 1, expect=None).code
        self.box.env = {}
        there = assert_nothing_is_torn(self.box, CONTENT)
        if code == 0:
            assert sorted(there) == sorted(CONTENT)
            return False
        assert code == -signal.SIGKILL, (code, self.steps)
        asked = {name: len(self.routes[name].requests) for name in there}

        self.box.get(links)

        assert self.box.files() == CONTENT, self.steps
        assert asked == {name: len(self.routes[name].requests) for name in there}, self.steps
        assert not self.box.wgets()
        return True

    @property
    def steps(self) -> list[str]:
        return self.trail.read_text().split()


def test_a_run_that_dies_at_any_step_leaves_what_the_next_one_takes(
    tmp_path: Path, server: FaultServer
) -> None:
    """A new file, a part to be continued, one that is whole already: killed at each step that
    writes to the disk. A file that was renamed is not asked for again.
    """

    upcoming = (Death(tmp_path, server, number) for number in itertools.count(1))
    with ThreadPoolExecutor(4) as at_once:
        while all(at_once.map(Death.happens, itertools.islice(upcoming, 4))):
            pass
    longest = max((path.read_text().split() for path in tmp_path.glob("*/trail")), key=len)
    print(" ".join(longest))
    assert {"fsync", "rename", "COMMIT", "ftruncate"} <= set(longest)
    assert len(longest) > 10
