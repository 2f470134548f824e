#!/usr/bin/env python3
"""Torments wgetpool for some minutes, then looks whether anything is wrong, lost or left behind.

A local server has files of mixed sizes, none of which comes for sure. Meanwhile wgets are killed
and stopped at random, the program is killed, ended and paused, and second runs come and go. When
the time is over it is run until it says 0; then every byte, process and descriptor is looked at.
What happens depends on the seed, but for the timing. Loopback only.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from support.faultserver import FaultServer, Reply, Request, file, redirect, status  # noqa: E402

KIB, MIB = 1024, 1024**2
CHUNK = 16 * KIB
OPTIONS = ("--tries", "50", "--backoff", "0.2", "--backoff-max", "3", "--stall-timeout", "4")
MODIFIED = "Mon, 01 Sep 2025 10:00:00 GMT"
SECRET = "signature-that-nobody-may-see"  # noqa: S105  looked for in output and state


class Site:
    """Files whose contents and faults follow from the seed, the name and how often it was asked."""

    def __init__(self, server: FaultServer, files: int, seed: int, minutes: float) -> None:
        chance = random.Random(seed)
        sizes = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1]
        sizes += [chance.randrange(9 * MIB) for _ in range(files // 100)]
        sizes += [chance.randrange(900 * KIB) for _ in range(files // 4)]
        sizes += [chance.randrange(60 * KIB) for _ in range(files)]
        self.seed = seed
        self.sizes = {f"{n:05}.bin": size for n, size in enumerate(sizes[:files])}
        # Eight connections together are busy for about the given time.
        rate = sum(self.sizes.values()) / max(minutes * 60, 1) / 4
        self.pace = (CHUNK, min(CHUNK / rate, 0.5))
        self.asked: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        routes = [server.serve(f"/{name}", self._reply) for name in self.sizes]
        self.links = "".join(f"{route.url}?sig={SECRET}\n" for route in routes)

    def data(self, name: str) -> bytes:
        return random.Random(f"{self.seed} {name}").randbytes(self.sizes[name])

    def _reply(self, request: Request) -> Reply:
        name = request.path.strip("/")
        self.asked[name] += 1
        chance = random.Random(f"{self.seed} {name} {self.asked[name]}")
        fault = chance.choices(list(FAULTS), list(FAULTS.values()))[0]
        self.faults[fault] += 1
        etag = f'"{chance.random()}"' if fault == "another ETag" else f'"{name}"'
        whole = file(self.data(name), pace=self.pace, etag=etag, modified=MODIFIED)
        cut = chance.randrange(len(whole.data) + 1)
        match fault:
            case "503":
                return status(503)
            case "429":
                return status(429, "Retry-After: 1")
            case "redirect":
                return redirect(f"{request.path}?again={SECRET}")
            case "close" | "reset" | "stall":
                return whole.cut_at(cut, fault)
            case "no ranges":
                return whole.but(ranges=False)
        return whole


FAULTS = {
    "": 55,
    "close": 10,
    "reset": 8,
    "stall": 2,
    "503": 7,
    "429": 2,
    "redirect": 4,
    "no ranges": 2,
    "another ETag": 10,
}


@dataclass
class Usage:
    """What a run was seen to use, once a second: peaks of its first and its last quarter."""

    samples: list[tuple[float, int, int, int]] = field(default_factory=list)

    def add(self, process: psutil.Process) -> None:
        with suppress(psutil.Error, OSError):
            with process.oneshot():
                rss, threads = process.memory_info().rss / MIB, process.num_threads()
            dead = [c for c in process.children() if c.status() == psutil.STATUS_ZOMBIE]
            self.samples.append((rss, process.num_fds(), threads, len(dead)))


class Torment:
    """The program over and over, until the time is over."""

    def __init__(self, command: list[str], folder: Path, site: Site, args: argparse.Namespace):
        self.dir, self.site = folder / "out", site
        links = folder / "links.txt"
        links.write_text(site.links)
        self.command = [*command, "get", str(links), "-o", str(self.dir), "-j", str(args.workers)]
        self.log = (folder / "log").open("wb")
        self.chance = random.Random(args.seed)
        self.runs: list[subprocess.Popen[bytes]] = []
        self.usages: dict[int, Usage] = {}
        self.done: Counter[str] = Counter()
        self.torn: list[str] = []
        self.codes: Counter[int] = Counter()
        self.rounds = 0

    def start(self) -> None:
        words = [*self.command, *OPTIONS, "--json"]
        run = subprocess.Popen(words, stdout=self.log, stderr=self.log)
        self.runs.append(run)
        self.usages[run.pid] = Usage()

    def go_on(self, minutes: float) -> None:
        """Something bad every few seconds."""
        end = time.monotonic() + minutes * 60
        next_at = 0.0
        while (now := time.monotonic()) < end:
            self._look()
            if not self.runs:
                if self.codes[0] > self.rounds:
                    self._take_away()
                self.start()
            if now >= next_at:
                self._strike()
                next_at = now + self.chance.expovariate(1 / 1.5)
            time.sleep(min(1.0, max(next_at - time.monotonic(), 0.01)))

    def finish(self) -> int:
        """Runs the command until it says 0; returns how often it was run."""
        for run in self.runs:
            run.wait(600)
        self._look()
        for count in range(1, 11):
            if subprocess.call([*self.command, *OPTIONS, "-q"], stdout=self.log) == 0:
                return count
        return 0

    def end(self) -> None:
        for run in self.runs:
            run.send_signal(signal.SIGCONT)
            run.kill()
            run.wait()
        for wget in self.wgets():
            with suppress(psutil.Error):
                wget.kill()

    def wgets(self) -> list[psutil.Process]:
        """All that work in DIR, of live and of dead runs."""
        here = f"{self.dir}/"
        found = []
        for process in psutil.process_iter(["name", "cmdline"]):
            words = process.info["cmdline"] or []
            if process.info["name"] == "wget" and any(here in word for word in words):
                found.append(process)
        return found

    def _strike(self) -> None:
        what = self.chance.choices(list(STRIKES), list(STRIKES.values()))[0]
        if what.startswith("wget"):
            wgets = self.wgets()
            if not wgets:
                return
            with suppress(psutil.Error):
                wget = self.chance.choice(wgets)
                wget.kill() if what == "wget killed" else wget.suspend()
        elif what == "second run":
            if len(self.runs) > 1:
                return
            self.start()
        elif what == "paused":
            self._pause(self.chance.choice(self.runs))
        else:
            self.chance.choice(self.runs).send_signal(SIGNALS[what])
            self._check_torn()
        self.done[what] += 1

    def _pause(self, run: subprocess.Popen[bytes]) -> None:
        run.send_signal(signal.SIGTSTP)
        time.sleep(self.chance.uniform(0.05, 1))
        run.send_signal(signal.SIGCONT)

    def _check_torn(self) -> None:
        """Whatever has its final name is as long as it should be, at any moment."""
        for name, size in self.site.sizes.items():
            with suppress(FileNotFoundError):
                if (self.dir / name).stat().st_size != size:
                    self.torn.append(name)

    def _take_away(self) -> None:
        """All has come before the time is over: half of it is moved away, to be fetched again."""
        self.rounds = self.codes[0]
        for name in self.site.sizes:
            if self.chance.random() < 0.5:
                (self.dir / name).unlink(missing_ok=True)

    def _look(self) -> None:
        for run in list(self.runs):
            if run.poll() is None:
                with suppress(psutil.Error):
                    self.usages[run.pid].add(psutil.Process(run.pid))
            else:
                self.codes[run.returncode] += 1
                self.runs.remove(run)


STRIKES = {
    "wget killed": 45,
    "wget stopped": 15,
    "paused": 8,
    "program killed": 14,
    "program ended by SIGTERM": 5,
    "program ended by SIGINT": 5,
    "second run": 8,
}
SIGNALS = {
    "program killed": signal.SIGKILL,
    "program ended by SIGTERM": signal.SIGTERM,
    "program ended by SIGINT": signal.SIGINT,
}
# By the signal itself: before Python has come to our first line.
EXPECTED = {0, 130, 143, *(-number for number in SIGNALS.values())}


def faults_of(torment: Torment, rounds: int) -> list[str]:
    """All that is not as it should be."""
    found = [f"torn under its final name: {name}" for name in torment.torn]
    if not rounds:
        found.append("it does not come to an end with 0")
    for name, size in torment.site.sizes.items():
        path = torment.dir / name
        if not path.exists():
            found.append(f"missing: {name}")
        elif sha256(path.read_bytes()).digest() != sha256(torment.site.data(name)).digest():
            found.append(f"wrong bytes: {name} ({path.stat().st_size} of {size})")
    left = {path.name for path in torment.dir.iterdir()} - set(torment.site.sizes) - {".wgetpool"}
    found += [f"left in DIR: {name}" for name in sorted(left)]
    state = torment.dir / ".wgetpool"
    for place in ("parts", "runs", "rejected"):
        found += [f"left in {place}: {path.name}" for path in (state / place).iterdir()]
    found += [f"a process is left: {process.pid}" for process in torment.wgets()]
    found += [
        f"exit code {code}, {n} times" for code, n in torment.codes.items() if code not in EXPECTED
    ]
    zombies = max((s[3] for usage in torment.usages.values() for s in usage.samples), default=0)
    if zombies > 2:  # one may just be reaped
        found.append(f"{zombies} zombies at a time")
    texts = [torment.log.name, *(str(path) for path in state.rglob("*") if path.is_file())]
    for text in texts:
        if SECRET.encode() in Path(text).read_bytes():
            found.append(f"a secret is in {text}")
        if b"Traceback" in Path(text).read_bytes():
            found.append(f"a traceback is in {text}")
    return found


def report(torment: Torment, seconds: float, rounds: int) -> None:
    site = torment.site
    size = sum(site.sizes.values()) / MIB
    print(
        f"{len(site.sizes):,} files, {size:,.0f} MiB, {seconds / 60:.1f} min, "
        f"{sum(site.asked.values()):,} requests"
    )
    print(f"run to its end {rounds} times after that\n\n| what | times |\n| --- | --- |")
    faults = {f"answer: {fault}": n for fault, n in site.faults.items() if fault}
    codes = {f"exit code {code}": n for code, n in sorted(torment.codes.items())}
    for what, times in {**faults, **dict(torment.done.most_common()), **codes}.items():
        print(f"| {what} | {times:,} |")
    print("\n| of a run | first quarter | last quarter |\n| --- | --- | --- |")
    long = max(torment.usages.values(), key=lambda usage: len(usage.samples)).samples
    quarter = max(len(long) // 4, 1)
    for row, what in enumerate(("MiB of memory", "descriptors", "threads", "zombies")):
        first, last = (max(s[row] for s in part) for part in (long[:quarter], long[-quarter:]))
        print(f"| {what}, peak | {first:.0f} | {last:.0f} |")
    print(f"\nThe longest run of {len(torment.usages)} took {len(long)} samples.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wgetpool", help="another program, as a JSON list of words")
    args = parser.parse_args()
    command = json.loads(args.wgetpool) if args.wgetpool else [sys.executable, "-m", "wgetpool"]
    # In the background of a shell it is ignored, and would be by the program.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    began = time.monotonic()
    with FaultServer() as server:
        torment = Torment(command, folder, Site(server, args.files, args.seed, args.minutes), args)
        try:
            torment.go_on(args.minutes)
            rounds = torment.finish()
        finally:
            if torment.runs:
                torment.end()
        report(torment, time.monotonic() - began, rounds)
        faults = faults_of(torment, rounds)
    for fault in faults[:50]:
        print(f"WRONG: {fault}")
    print(f"{len(faults)} faults; all is in {folder}" if faults else "all is right")
    if not faults:
        shutil.rmtree(folder)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
