#!/usr/bin/env python3
"""Prints what the supervisor itself costs: its CPU time beside 16 wgets at a steady trickle, and
what it holds open over one run of very many small files. Loopback only.
"""

from __future__ import annotations

import argparse
import os
import pty
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from support.faultserver import FaultServer, file  # noqa: E402  it is in the tests

WGETS = 16
TRICKLE = (4096, 0.25)  # 16 KiB/s
WARM_UP = 5.0
GET = [sys.executable, "-m", "wgetpool", "get"]
MIB = 1024**2
MARKS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
TERMINALS = ((24, 80), (50, 200))


def cpu_share(command: list[str], seconds: float, output: int) -> float:
    """Percent of one core that the program itself takes, without its wgets."""
    with subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL) as run:
        time.sleep(WARM_UP)
        process = psutil.Process(run.pid)
        before, began = process.cpu_times(), time.monotonic()
        time.sleep(seconds)
        after, ended = process.cpu_times(), time.monotonic()
        run.terminate()
    spent = after.user + after.system - before.user - before.system
    return spent / (ended - began) * 100


def to_terminal(measure: Callable[[int], float], *, size: tuple[int, int]) -> float:
    """Has it write to a terminal of so many lines and columns that is read."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, size)

    def read() -> None:
        with suppress(OSError):
            while os.read(ours, 1 << 16):
                pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        return measure(theirs)
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)


def measure_cpu(folder: Path, seconds: float) -> None:
    size = int(TRICKLE[0] / TRICKLE[1] * (seconds + 3 * WARM_UP))
    rate = TRICKLE[0] / TRICKLE[1] / 1024
    print(f"| {WGETS} wgets at {rate:.0f} KiB/s, {seconds:.0f} s | % of one core |")
    print("| --- | --- |")
    with FaultServer() as server, Path(os.devnull).open("wb") as nowhere:
        routes = [server.serve(f"/{n}.bin", file(bytes(size), pace=TRICKLE)) for n in range(WGETS)]
        links = folder / "trickle.txt"
        links.write_text("".join(f"{route.url}\n" for route in routes))
        base = [*GET, str(links), "-j", str(WGETS)]

        def share(output: int, name: str, *options: str) -> float:
            return cpu_share([*base, "-o", str(folder / name), *options], seconds, output)

        print(f"| plain lines | {share(nowhere.fileno(), 'plain'):.2f} |", flush=True)
        print(f"| `--json` | {share(nowhere.fileno(), 'json', '--json'):.2f} |", flush=True)
        for lines, columns in TERMINALS:
            name = f"live display, {columns}x{lines}"
            live = to_terminal(partial(share, name=name), size=(lines, columns))
            print(f"| {name} | {live:.2f} |", flush=True)


def measure_leaks(folder: Path, files: int) -> None:
    print(f"\n| {files:,} files of 1 KB | MiB of memory | descriptors | threads | zombies |")
    print("| --- | --- | --- | --- | --- |")
    with FaultServer() as server:
        bodies = (f"{n:05}".encode() * 200 for n in range(files))
        routes = [server.serve(f"/{n:05}.bin", file(body)) for n, body in enumerate(bodies)]
        links = folder / "many.txt"
        links.write_text("".join(f"{route.url}\n" for route in routes))
        into = folder / "many"
        command = [*GET, str(links), "-o", str(into), "-j", "8", "-q"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
            marks = list(MARKS)
            process = psutil.Process(run.pid)
            while run.poll() is None and marks:
                time.sleep(0.5)
                done = sum(1 for _ in into.iterdir()) / files if into.is_dir() else 0
                if done >= marks[0]:
                    marks = [mark for mark in marks if mark > done]
                    with suppress(psutil.Error):
                        print(f"| {done:.0%} | {usage(process)} |", flush=True)
        print(f"\nexit code {run.returncode}")


def usage(process: psutil.Process) -> str:
    dead = 0
    for child in process.children():
        with suppress(psutil.Error):
            dead += child.status() == psutil.STATUS_ZOMBIE
    memory = process.memory_info().rss / MIB
    return f"{memory:.1f} | {process.num_fds()} | {process.num_threads()} | {dead}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement of CPU")
    parser.add_argument("--files", type=int, default=20_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="measure-") as folder:
        measure_cpu(Path(folder), args.seconds)
        measure_leaks(Path(folder), args.files)


if __name__ == "__main__":
    main()
