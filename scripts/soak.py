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
import re
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

from support.faultserver import (  # noqa: E402
    Ending,
    FaultServer,
    Reply,
    Request,
    file,
    redirect,
    status,
)

KIB, MIB = 1024, 1024**2
CHUNK = 16 * KIB
OPTIONS = ("--tries", "50", "--backoff", "0.2", "--backoff-max", "3", "--stall-timeout", "4")
MODIFIED = "Mon, 01 Sep 2025 10:00:00 GMT"
END_LIMIT = 15.0  # seconds from a signal to the end of a run
DRAIN_LIMIT = 600.0  # until a run that nobody disturbs any more has ended
CALM = (0.4, 0.6)  # of the time: no run is ended, so that one lasts
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
        self.urls = {
            name: f"{server.serve(f'/{name}', self._reply).url}?sig={SECRET}" for name in self.sizes
        }

    def data(self, name: str) -> bytes:
        return random.Random(f"{self.seed} {name}").randbytes(self.sizes[name])

    def tells_size(self, name: str) -> bool:
        """Whether the list does: it is every second file's, and every fourth's sha256 too."""
        return int(name[:5]) % 2 == 0

    def write_links(self, path: Path) -> None:
        rows = ["url\tsize\tsha256"]
        for name, url in self.urls.items():
            size = self.sizes[name] if self.tells_size(name) else ""
            proof = int(name[:5]) % 4 == 0
            rows.append(f"{url}\t{size}\t{sha256(self.data(name)).hexdigest() if proof else ''}")
        path.write_text("\n".join(rows))

    def _reply(self, request: Request) -> Reply:
        name = request.path.strip("/")
        self.asked[name] += 1
        chance = random.Random(f"{self.seed} {name} {self.asked[name]}")
        fault = chance.choices(list(FAULTS), list(FAULTS.values()))[0]
        self.faults[fault] += 1
        etag = f'"{chance.random()}"' if fault == "another ETag" else f'"{name}"'
        whole = file(self.data(name), pace=self.pace, etag=etag, modified=MODIFIED)
        cut = chance.randrange(len(whole.data) + 1)
        if fault == "early end" and request.start is None and self.tells_size(name):
            # As if that were all; without the size in the list, nobody could tell.
            return whole.but(data=whole.data[:cut], framing="chunked", ranges=False)
        if fault in ENDINGS:
            return whole.cut_at(cut, ENDINGS[fault])
        elsewhere = redirect(f"{request.path}?again={SECRET}")
        answers = {**REFUSALS, "redirect": elsewhere, "no ranges": whole.but(ranges=False)}
        return answers.get(fault) or whole.but(pace=PACES.get(fault, self.pace))


ENDINGS: dict[str, Ending] = {
    "close": "close",
    "reset": "reset",
    "stall": "stall",
    "early end": "close",
}
REFUSALS = {
    "503": status(503),
    "503, Retry-After": status(503, "Retry-After: 1"),
    "429": status(429, "Retry-After: 1"),
}
PACES = {"slow": (4 * KIB, 0.25), "trickle": (50, 0.25)}  # this is below the least rate
FAULTS = {
    "": 48,
    "close": 10,
    "reset": 8,
    "stall": 2,
    "503": 5,
    "503, Retry-After": 2,
    "429": 2,
    "early end": 3,
    "slow": 2,
    "trickle": 2,
    "redirect": 4,
    "no ranges": 2,
    "another ETag": 10,
}


@dataclass
class Run:
    """A started command: which signals it was given, and by which mark its wgets are known."""

    process: subprocess.Popen[bytes]
    usage: Usage
    signals: list[signal.Signals] = field(default_factory=list)
    signalled_at: float = 0.0
    marks: set[str] = field(default_factory=set)

    def send(self, number: signal.Signals) -> None:
        """Ends it. What its wgets are marked with is looked at before."""
        self.marks |= {mark_of(wget) for wget in children_of(self.process.pid)} - {""}
        self.signalled_at = self.signalled_at or time.monotonic()
        self.signals.append(number)
        self.process.send_signal(number)

    @property
    def expected(self) -> set[int]:
        """By the signal itself, too: before Python has come to our first line."""
        return {0, *(128 + n for n in self.signals), *(-n for n in self.signals)}

    @property
    def may_leave_wgets(self) -> bool:
        return signal.SIGKILL in self.signals


def children_of(pid: int) -> list[psutil.Process]:
    try:
        return [c for c in psutil.Process(pid).children() if c.status() != psutil.STATUS_ZOMBIE]
    except psutil.Error:
        return []


def mark_of(wget: psutil.Process) -> str:
    """The run that a wget belongs to; empty where it cannot be told."""
    try:
        return wget.environ().get("WGETPOOL_RUN", "")
    except (psutil.Error, OSError):
        return ""


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
        links = folder / "links.tsv"
        site.write_links(links)
        self.program = command
        self.get = [*command, "get", str(links), "-o", str(self.dir), "-j", str(args.workers)]
        self.folder = folder
        self.log = (folder / "log").open("ab")
        self.chance = random.Random(args.seed)
        self.runs: list[Run] = []
        self.usages: list[Usage] = []
        self.done: Counter[str] = Counter()
        self.codes: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.seen: set[tuple[str, int, int]] = set()
        self.complete = self.rounds = 0
        self.slowest = self.seconds_with_two = 0.0

    def start(self) -> None:
        words = [*self.get, *OPTIONS, "--json"]
        process = subprocess.Popen(words, stdout=self.log, stderr=self.log, process_group=0)
        self.usages.append(Usage())
        self.runs.append(Run(process, self.usages[-1]))

    def go_on(self, minutes: float) -> None:
        """Something bad every few seconds."""
        began = last = time.monotonic()
        end, next_at = began + minutes * 60, 0.0
        while (now := time.monotonic()) < end:
            self.seconds_with_two += (now - last) * (len(self.runs) > 1)
            last = now
            self._look()
            if not self.runs:
                if self.complete > self.rounds:
                    self._take_away()
                self.start()
            if now >= next_at:
                share = (now - began) / (end - began)
                self._strike(calm=CALM[0] <= share < CALM[1])
                next_at = now + self.chance.expovariate(1 / 1.5)
            # What a run leaves behind is looked for as soon as it has ended.
            ending = any(run.signals for run in self.runs)
            time.sleep(min(0.02 if ending else 1.0, max(next_at - time.monotonic(), 0.01)))

    def finish(self) -> int:
        """Runs the command until it says 0; returns how often it was run."""
        self.site.pace = (64 * KIB, 0.0)
        for run in self.runs:
            try:
                run.process.wait(DRAIN_LIMIT)
            except subprocess.TimeoutExpired:
                self.wrong.append(f"run {run.process.pid} has not ended in {DRAIN_LIMIT:.0f} s")
                return 0
        self._look()
        for count in range(1, 11):
            if self._call([*self.get, *OPTIONS, "-q"]) == 0:
                self._prove()
                return count
        return 0

    def end(self) -> None:
        """Ends every process that we have started, and those that these have."""
        for run in self.runs:
            run.process.kill()
            run.process.wait()
        while wgets := self.wgets():
            for wget in wgets:
                with suppress(psutil.Error):
                    wget.kill()
            psutil.wait_procs(wgets, 1)
        self.log.close()

    def wgets(self) -> list[psutil.Process]:
        """All that work in DIR, of live and of dead runs."""
        here = f"{self.dir}/"
        found = []
        for process in psutil.process_iter(["name", "cmdline"]):
            words = process.info["cmdline"] or []
            if process.info["name"] == "wget" and any(here in word for word in words):
                found.append(process)
        return found

    def _prove(self) -> None:
        """What the program says of its own work; and that it asks nobody once all is there."""
        asked = self.site.asked.total()
        for words in (self.get, [*self.program, "verify", str(self.dir)],
                      [*self.program, "status", str(self.dir)]):  # fmt: skip
            if code := self._call(words):
                self.wrong.append(f"{words[len(self.program)]} of what is whole: exit code {code}")
        if more := self.site.asked.total() - asked:
            self.wrong.append(f"{more} requests for files that are there")

    def _call(self, words: list[str]) -> int:
        try:
            done = subprocess.run(
                words, stdout=self.log, stderr=self.log, timeout=DRAIN_LIMIT, check=False
            )
        except subprocess.TimeoutExpired:
            return 999
        return done.returncode

    def _strike(self, *, calm: bool) -> None:
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
            self._pause(self.chance.choice(self.runs).process)
        elif calm:
            return
        else:
            run = self.chance.choice(self.runs)
            run.send(SIGNALS[what])
            if what == "program killed":
                run.process.wait()
            self._check_torn()
        self.done[what] += 1

    def _pause(self, run: subprocess.Popen[bytes]) -> None:
        run.send_signal(signal.SIGTSTP)
        time.sleep(self.chance.uniform(0.05, 1))
        with suppress(psutil.Error):
            stood = psutil.Process(run.pid).status() == psutil.STATUS_STOPPED
            self.done["paused, and seen to stand still"] += stood
        run.send_signal(signal.SIGCONT)

    def _check_torn(self) -> None:
        """Whatever has its final name is whole, at any moment; each is read once."""
        for name, size in self.site.sizes.items():
            with suppress(FileNotFoundError):
                stat = (self.dir / name).stat()
                key = (name, stat.st_ino, stat.st_mtime_ns)
                if stat.st_size != size:
                    self.wrong.append(
                        f"torn under its final name: {name}, {stat.st_size} of {size}"
                    )
                elif key not in self.seen:
                    self.seen.add(key)
                    if (self.dir / name).read_bytes() != self.site.data(name):
                        self.wrong.append(f"other bytes under its final name: {name}")

    def _take_away(self) -> None:
        """All has come before the time is over: half of it is moved away, to be fetched again."""
        self.rounds = self.complete
        for name in self.site.sizes:
            if self.chance.random() < 0.5:
                (self.dir / name).unlink(missing_ok=True)

    def _look(self) -> None:
        for run in list(self.runs):
            code, now = run.process.poll(), time.monotonic()
            if code is None:
                if not run.signals:
                    with suppress(psutil.Error):
                        run.usage.add(psutil.Process(run.process.pid))
                if run.signalled_at and now > run.signalled_at + END_LIMIT:
                    self.wrong.append(f"{run.signals} has not ended it in {END_LIMIT:.0f} s")
                    run.send(signal.SIGKILL)
                continue
            self.runs.remove(run)
            self.codes[code] += 1
            self.complete += code == 0
            self._check_end(run, code, now)

    def _check_end(self, run: Run, code: int, now: float) -> None:
        if code not in run.expected:
            self.wrong.append(f"exit code {code} after {run.signals or 'no signal'}")
        if run.signals:
            self.slowest = max(self.slowest, now - run.signalled_at)
        if not run.may_leave_wgets:
            left = [wget.pid for wget in self.wgets() if mark_of(wget) in run.marks]
            if left:
                self.wrong.append(f"{len(left)} wgets outlived a run that ended with {code}")


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


def faults_of(torment: Torment, rounds: int) -> list[str]:
    """All that is not as it should be."""
    found = [*torment.wrong]
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
    found += [f"left in the state folder: {name}" for name in litter(state)]
    found += [f"a zombie of ours: {child.pid}" for child in psutil.Process().children()]
    zombies = max((s[3] for usage in torment.usages for s in usage.samples), default=0)
    if zombies > 2:  # one may just be reaped
        found.append(f"{zombies} zombies at a time")
    texts = [torment.log.name, *(str(path) for path in state.rglob("*") if path.is_file())]
    for text in texts:
        if SECRET.encode() in Path(text).read_bytes():
            found.append(f"a secret is in {text}")
        if b"Traceback" in Path(text).read_bytes():
            found.append(f"a traceback is in {text}")
    return found


def litter(state: Path) -> list[str]:
    """What a run makes for a moment only, and what it writes when it has a bug."""
    pattern = r"(run-|lock-|lease-).*|.*\.tmp|traceback.*"
    return sorted(path.name for path in state.iterdir() if re.fullmatch(pattern, path.name))


def said(torment: Torment) -> tuple[Counter[str], list[str]]:
    """Of all runs: reasons of failed attempts, and files given up, though every fault passes."""
    reasons: Counter[str] = Counter()
    given_up = []
    for line in (torment.folder / "log").read_bytes().splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if event["event"] == "attempt_failed":
                reasons[re.sub(r"\d[\d,.]*", "N", event["reason"])] += 1
            elif event["event"] == "file_failed":
                given_up.append(f"given up: {event['name']}: {event['reason']}")
    return reasons, given_up


def report(torment: Torment, seconds: float, rounds: int) -> None:
    site = torment.site
    size = sum(site.sizes.values()) / MIB
    print(
        f"{len(site.sizes):,} files, {size:,.0f} MiB, {seconds / 60:.1f} min, "
        f"{sum(site.asked.values()):,} requests"
    )
    print(
        f"all whole {torment.complete} times, half of it fetched again {torment.rounds} times, "
        f"two runs at once for {torment.seconds_with_two:.0f} s, a run ended by a signal within "
        f"{torment.slowest:.1f} s, {len(torment.seen):,} files compared on the way"
    )
    print(f"run to its end {rounds} times after that\n\n| what | times |\n| --- | --- |")
    faults = {f"answer: {fault}": n for fault, n in site.faults.items() if fault}
    codes = {f"exit code {code}": n for code, n in sorted(torment.codes.items())}
    for what, times in {**faults, **dict(torment.done.most_common()), **codes}.items():
        print(f"| {what} | {times:,} |")
    for reason, times in said(torment)[0].most_common(15):
        print(f"| attempt failed: {reason} | {times:,} |")
    print("\n| of the longest run | first quarter | last quarter | of all runs |")
    print("| --- | --- | --- | --- |")
    long = max(torment.usages, key=lambda usage: len(usage.samples)).samples
    quarter = max(len(long) // 4, 1)
    for row, what in enumerate(("MiB of memory", "descriptors", "threads", "zombies")):
        first, last = (max(s[row] for s in part) for part in (long[:quarter], long[-quarter:]))
        most = max(s[row] for usage in torment.usages for s in usage.samples)
        print(f"| {what}, peak | {first:.0f} | {last:.0f} | {most:.0f} |")
    print(f"\nThe longest run of {len(torment.usages)} took {len(long)} samples.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wgetpool", help="another program, as a JSON list of words")
    args = parser.parse_args()
    # We end as by Ctrl-C. A shell starts what is in its background with SIGINT ignored, and so
    # would we the program: a handler of ours is its default.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    command = json.loads(args.wgetpool) if args.wgetpool else [sys.executable, "-m", "wgetpool"]
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    began = time.monotonic()
    with FaultServer() as server:
        torment = Torment(command, folder, Site(server, args.files, args.seed, args.minutes), args)
        try:
            torment.go_on(args.minutes)
            rounds = torment.finish()
        finally:
            found_left = torment.wgets()
            torment.end()
        report(torment, time.monotonic() - began, rounds)
        faults = [f"a process is left: {wget.pid}" for wget in found_left]
        faults += faults_of(torment, rounds) + said(torment)[1]
    for fault in faults[:50]:
        print(f"WRONG: {fault}")
    print(f"{len(faults)} faults; all is in {folder}" if faults else "all is right")
    if not faults:
        shutil.rmtree(folder)
    return 1 if faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
