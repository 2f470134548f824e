"""A run can be ended, paused and left alone at any moment: while it starts, while it checks, while
nobody reads it, while DIR hangs, and from a terminal.
"""

from __future__ import annotations

import fcntl
import functools
import gzip
import mmap
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from support import runner, unruly
from support.faultserver import FaultServer, Reply, file, status
from support.mounts import needs_tools
from support.runner import PROGRAM, UNMEASURED, Sandbox, random_bytes
from support.schema import checked
from support.terminal import Terminal

pytest_plugins = ["support.fixtures"]

wait_until = functools.partial(runner.wait_until, limit=30)  # a machine that does much else is slow

DATA = random_bytes(500_000)
CUT = 300_000
STALLED = file(DATA).cut_at(CUT, "stall")
CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGQUIT": 131}
SEED = int(os.environ.get("WGETPOOL_SIGNAL_SEED", "1"))
INSTANTS = int(os.environ.get("WGETPOOL_SIGNAL_INSTANTS", "8"))


def held(gate: threading.Event) -> Reply:
    """A file whose rest comes when the gate opens."""
    return file(DATA, cut=CUT, then="hold", body_gate=gate)


def has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# ---------------------------------------------------------------- while it starts


@pytest.mark.parametrize("name", CODES)
def test_a_signal_while_it_starts_ends_it(box: Sandbox, server: FaultServer, name: str) -> None:
    """At whatever instant, before its first request or after: 128 + the signal's number, or ended
    by the signal itself, without a traceback of ours and without a wget.
    """
    print(f"WGETPOOL_SIGNAL_SEED={SEED} WGETPOOL_SIGNAL_INSTANTS={INSTANTS}")
    chance = random.Random(f"{SEED} {name}")
    number = signal.Signals[name]
    route = server.serve("/a.tar", file(DATA).cut_at(-1, "stall"))
    box.env |= UNMEASURED
    for instant in [0.0, *(chance.uniform(0, 0.4) for _ in range(INSTANTS - 1))]:
        with box.start_get(route.url) as run:
            with suppress(subprocess.TimeoutExpired):
                run.process.wait(instant)
            run.signal(number)
            try:
                code = run.process.wait(10)
            except subprocess.TimeoutExpired:
                pytest.fail(f"a lost signal after {instant:.4f} s\n{run.stdout}\n{run.stderr}")
            said = run.stderr

        assert not box.wgets(), f"after {instant:.4f} s"
        if name == "SIGINT" and is_of_the_interpreter(said):
            continue
        assert code in {CODES[name], -number}, f"code {code} after {instant:.4f} s\n{said}"
        assert "Traceback" not in said, f"after {instant:.4f} s\n{said}"


# The package itself, and what comes before the program's first statement that could do anything.
FIRST_LINES = r'wgetpool/(__init__|__main__\.py", line [0-6],)'


def is_of_the_interpreter(said: str) -> bool:
    """Whether a Ctrl-C was so early that the program could not do anything about it."""
    places = [line for line in said.splitlines() if line.startswith('  File "')]
    ours = [line for line in places if "wgetpool/" in line]
    return bool(places) and all(re.search(FIRST_LINES, line) for line in ours)


# ---------------------------------------------------------------- while it checks


@functools.cache
def slow_archive() -> bytes:
    """A gzipped tar, 16 MB, of 16 GiB: to read it takes many seconds."""
    member, size = gzip.compress(bytes(64 << 20)), 16 << 30
    about = tarfile.TarInfo("zeros")
    about.size = size
    head = gzip.compress(about.tobuf(tarfile.GNU_FORMAT))
    return head + member * (size // (64 << 20)) + gzip.compress(bytes(1024))


@pytest.mark.parametrize("name", CODES)
def test_a_signal_ends_the_check_of_an_archive(
    box: Sandbox, server: FaultServer, name: str
) -> None:
    """All is there, and is being read: the end does not wait for that, and the part stays."""
    archive = slow_archive()
    route = server.serve("/a.tar", file(archive))
    with box.start_get(route.url, "--check-archives") as run:
        wait_until(lambda: box.part_size("a.tar") == len(archive))
        wait_until(lambda: not box.wgets())
        began = time.monotonic()
        run.signal(signal.Signals[name])
        run.finish(10, expect=CODES[name])

        assert time.monotonic() - began < 5
    assert not box.path("a.tar").exists()
    assert box.part_size("a.tar") == len(archive)


def test_a_signal_ends_the_reading_for_a_checksum(
    box: Sandbox, server: FaultServer, tmp_path: Path
) -> None:
    """A part of 4 GiB that an earlier run brought is read for its checksum: the end does not wait
    for that.
    """
    size, tail = 4 << 30, random_bytes(1 << 20)
    remote = tmp_path / "remote"
    write_sparse(remote, size, tail)
    with remote.open("rb") as source, mmap.mmap(source.fileno(), 0, prot=mmap.PROT_READ) as whole:
        route = server.serve("/a.bin", file(whole).cut_at(CUT, "stall"))
        links = box.links("file_name\tcdn_link\tmd5", f"a.bin\t{route.url}\t{'0' * 32}")
        with box.start_get(links) as run:
            wait_until(lambda: box.part_size("a.bin") == CUT)
            wait_until(lambda: list(box.dir.glob(".wgetpool/parts/*.json")))
            run.process.terminate()
            run.finish(10, expect=143)
        write_sparse(box.part("a.bin"), size - 100_000, tail[:-100_000])
        route = server.serve("/a.bin", file(whole))

        with box.start_get(links) as run:
            wait_until(lambda: box.part_size("a.bin") == size)
            wait_until(lambda: not box.wgets())
            began = time.monotonic()
            run.process.terminate()
            run.finish(10, expect=143)

    assert time.monotonic() - began < 5
    assert route.starts[0] > size - (1 << 20)
    assert box.part_size("a.bin") == size
    box.part("a.bin").unlink()


def write_sparse(path: Path, size: int, tail: bytes) -> None:
    with path.open("ab") as target:
        target.truncate(size)
    with path.open("r+b") as target:
        target.seek(size - len(tail))
        target.write(tail)


# ---------------------------------------------------------------- while nobody reads it


@contextmanager
def full_pipe() -> Iterator[int]:
    """The writer's end of a pipe that nobody reads, and that is full."""
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writer, b"\n" * mmap.PAGESIZE)
        os.set_blocking(writer, True)
        yield writer
    finally:
        os.close(reader)
        os.close(writer)


def hangs_in_output(pid: int) -> bool:
    """Whether the main thread is in a call on standard output or error; True where nobody may
    know.
    """
    try:
        words = Path(f"/proc/{pid}/syscall").read_text().split()
    except OSError:
        return True
    return len(words) > 1 and words[1] in {"0x1", "0x2"}


@pytest.mark.parametrize("name", CODES)
def test_a_signal_ends_a_run_whose_summary_nobody_takes(
    box: Sandbox, server: FaultServer, name: str
) -> None:
    """The last words go into a full pipe: they are given up, and the code is the signal's."""
    route = server.serve("/a.tar", file(DATA))
    with (
        full_pipe() as pipe,
        box.start("get", "-o", box.dir, "--quiet", route.url, stdout=pipe) as run,
    ):
        wait_until(box.path("a.tar").exists)
        wait_until(lambda: hangs_in_output(run.pid), what="a summary that hangs")
        run.signal(signal.Signals[name])
        run.finish(10, expect=CODES[name])

    assert box.files() == {"a.tar": DATA}


@pytest.mark.parametrize("also", ["", " 2>&1"], ids=["stdout", "stdout and stderr"])
def test_a_signal_ends_a_run_whose_events_nobody_takes(
    box: Sandbox, server: FaultServer, also: str
) -> None:
    """In the middle of a run the main thread hangs in a write: all wgets are gone soon."""
    slow = [server.serve(f"/{n}.tar", STALLED) for n in range(2)]
    missing = [f"{server.base}/missing{n}" for n in range(100)]
    links = box.links(*(route.url for route in slow), *missing)
    box.prefix = (*box.prefix, "sh", "-c", f'exec "$@"{also}', "sh")
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    try:
        with box.start_get(links, stdout=writer) as run:
            wait_until(lambda: all(box.part_size(f"{n}.tar") == CUT for n in range(2)))
            wait_until(lambda: hangs_in_output(run.pid), what="a write that hangs")
            run.process.terminate()
            run.finish(10, expect=143)

            assert not box.wgets()
    finally:
        os.close(reader)
        os.close(writer)
    assert box.files() == {f"{n}.tar.part": DATA[:CUT] for n in range(2)}


@pytest.mark.parametrize("options", [["--json"], [], ["--quiet"]], ids=["json", "plain", "quiet"])
def test_a_reader_that_goes_away_ends_the_run(
    box: Sandbox, server: FaultServer, options: list[str]
) -> None:
    """`| head -n 1`: no traceback, no wget that goes on for nobody."""
    gate = threading.Event()
    stalled = server.serve("/stalled.tar", STALLED)
    first = f"{server.base}/missing"  # a failure is told, with --quiet too
    later = [server.serve(f"/{n}.tar", status(404).but(gate=gate)) for n in range(6)]
    links = box.links(first, stalled.url, *(route.url for route in later))
    reader, writer = os.pipe()
    with box.start("get", "-o", box.dir, *options, links, stdout=writer) as run:
        os.close(writer)
        with subprocess.Popen(["head", "-n", "1"], stdin=reader, stdout=subprocess.DEVNULL) as head:
            os.close(reader)
            assert head.wait(30) == 0
        wait_until(lambda: box.part_size("stalled.tar") == CUT or not run.alive)
        gate.set()
        result = run.finish(10, expect=None)

        assert not box.wgets()
    assert result.code > 0
    assert "rror" not in result.stderr, result.story


# ---------------------------------------------------------------- while DIR hangs

HOLD = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
try:
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
except OSError as error:
    print(error, flush=True)
else:
    print("held", flush=True)
    signal.pause()
"""


@contextmanager
def leased(path: Path) -> Iterator[None]:
    """Whoever opens the file waits for /proc/sys/fs/lease-break-time, 45 s."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout
            told = holder.stdout.readline().strip()
            if told != "held":
                pytest.skip(f"no leases here: {told}")
            yield
        finally:
            holder.kill()


def is_in_open(pid: int, path: Path) -> bool:
    """Whether a thread of the process waits for the file to be given up."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    inode = path.stat().st_ino
    with suppress(OSError):
        waiting = [line for line in Path("/proc/locks").read_text().splitlines() if "LEASE" in line]
        broken = [line for line in waiting if f":{inode} " in line and "BREAKING" in line]
        return bool(broken) and any(tasks)
    return True


@pytest.mark.parametrize("name", ["0.tar.part", ".wgetpool/ledger.sqlite3"])
def test_a_signal_ends_a_run_whose_dir_hangs(box: Sandbox, server: FaultServer, name: str) -> None:
    """A file of DIR that cannot be opened, as on a mount whose server is gone: the end comes within
    half a minute, with the signal's code, and says that something was not waited for.
    """
    route = server.serve("/0.tar", file(DATA))
    other = server.serve("/1.tar", STALLED, file(DATA))
    box.get(server.serve("/first.tar", file(DATA)).url)  # a ledger
    with leased(box.dir / name), box.start_get(box.links(route.url, other.url)) as run:
        wait_until(lambda: is_in_open(run.pid, box.dir / name))
        if name == "0.tar.part":
            wait_until(lambda: box.part_size("1.tar") == CUT)
        run.process.terminate()
        result = run.finish(30, expect=143)

        assert not box.wgets()
    assert "not answer" in result.said, result.story

    box.get(box.root / "links.txt", "--stall-timeout", 1)

    assert box.files() == dict.fromkeys(["0.tar", "1.tar", "first.tar"], DATA)


# ---------------------------------------------------------------- more than once


def test_a_second_interrupt_waits_for_nothing(box: Sandbox, server: FaultServer) -> None:
    """Wgets that ignore SIGTERM have no grace after a second SIGINT."""
    routes = [server.serve(f"/{n}.tar", STALLED) for n in range(3)]
    links = box.links(*(route.url for route in routes))
    with box.start_get(links, "--wget", unruly.stubborn(box)) as run:
        wait_until(lambda: all(box.part_size(f"{n}.tar") == CUT for n in range(3)))
        run.signal(signal.SIGINT)
        wait_until(lambda: "stopping" in run.stdout)
        began = time.monotonic()
        run.signal(signal.SIGINT)
        run.finish(10, expect=130)

        assert time.monotonic() - began < 1.5
        assert not box.wgets()
    assert box.files() == {f"{n}.tar.part": DATA[:CUT] for n in range(3)}


# ---------------------------------------------------------------- in a terminal

SHELLS = {
    "bash": ("bash", "--norc", "--noprofile", "--noediting", "-i"),
    "dash": ("dash", "-i"),
}


def get_command(box: Sandbox, *words: str) -> str:
    return shlex.join([*PROGRAM, "get", "-o", str(box.dir), *words])


def wait_for_state(processes: list[psutil.Process], wanted: bool) -> None:
    """Until all are stopped, or none is."""

    def look() -> bool:
        states = [process.status() for process in processes if not has_ended(process)]
        return all((state == psutil.STATUS_STOPPED) is wanted for state in states)

    wait_until(look, what=f"all stopped: {wanted}")


def pause_longer_than(seconds: float) -> None:
    """What is tested is what this time does not do."""
    time.sleep(seconds + 0.5)


@pytest.mark.parametrize("shell", SHELLS)
def test_ctrl_z_is_a_pause_and_no_stall(box: Sandbox, server: FaultServer, shell: str) -> None:
    """The run and its wgets stop, `fg` lets all go on, and a pause longer than --stall-timeout has
    failed nothing: one request brings the file.
    """
    needs_tools(shell)
    gate = threading.Event()
    route = server.serve("/0.tar", held(gate))
    events = box.root / "events"
    command = get_command(box, "--json", "--stall-timeout", "2", route.url)
    with Terminal(box, *SHELLS[shell]) as terminal:
        terminal.type(f"{command} > {events} 2> /dev/null\n")
        program = terminal.find_program()
        wait_until(lambda: box.part_size("0.tar") == CUT)
        everybody = [program, *box.wgets()]
        assert len(everybody) == 2

        terminal.type("\x1a")
        wait_for_state(everybody, wanted=True)
        pause_longer_than(2)
        terminal.type("fg; echo code=$?\n")
        wait_for_state(everybody, wanted=False)
        gate.set()
        wait_until(lambda: "code=0" in terminal.text, what="the end of fg")

    kinds = [event["event"] for event in checked(events.read_text())]
    assert kinds.index("paused") < kinds.index("resumed") < kinds.index("file_done"), kinds
    assert "attempt_failed" not in kinds
    assert len(route.requests) == 1
    assert box.files() == {"0.tar": DATA}


@pytest.mark.parametrize("shell", SHELLS)
def test_ctrl_z_leaves_a_sane_terminal(box: Sandbox, server: FaultServer, shell: str) -> None:
    """With the live display: while it is stopped, and after `fg` and the end, echo and line editing
    are as before, and the cursor is there.
    """
    needs_tools(shell)
    gate = threading.Event()
    route = server.serve("/0.tar", held(gate))
    with Terminal(box, *SHELLS[shell]) as terminal:
        terminal.type(f"{get_command(box, route.url)}\n")
        program = terminal.find_program()
        wait_until(lambda: "60%" in terminal.text, what="the board")
        everybody = [program, *box.wgets()]

        terminal.type("\x1a")
        wait_for_state(everybody, wanted=True)
        wait_until(lambda: terminal.is_sane)
        terminal.type("echo shell is $((6*7))\n")
        wait_until(lambda: "shell is 42" in terminal.text)
        stopped = terminal.text
        terminal.type("fg\n")
        wait_for_state(everybody, wanted=False)
        wait_until(lambda: "60%" in terminal.text.partition("shell is 42")[2], what="a new board")
        gate.set()
        wait_until(lambda: has_ended(program))
        terminal.type("echo shell is $((6*8))\n")
        wait_until(lambda: "shell is 48" in terminal.text)

        assert terminal.is_sane
        assert "60%" not in stopped.partition("shell is 42")[2]
    assert box.files() == {"0.tar": DATA}


def test_a_run_that_is_continued_in_the_background_goes_on(
    box: Sandbox, server: FaultServer
) -> None:
    """`bg` after Ctrl-Z: all go on, and a signal still ends them."""
    needs_tools("bash")
    route = server.serve("/0.tar", STALLED)
    events = box.root / "events"
    with Terminal(box, *SHELLS["bash"]) as terminal:
        terminal.type(f"{get_command(box, '--json', route.url)} > {events} 2> /dev/null\n")
        program = terminal.find_program()
        wait_until(lambda: box.part_size("0.tar") == CUT)
        everybody = [program, *box.wgets()]

        terminal.type("\x1a")
        wait_for_state(everybody, wanted=True)
        terminal.type("bg\n")
        wait_for_state(everybody, wanted=False)
        program.send_signal(signal.SIGTERM)
        terminal.type("wait %1; echo code=$?\n")
        wait_until(lambda: "code=143" in terminal.text)

        assert not box.wgets()
    assert '"resumed"' in events.read_text()


def test_a_paused_run_is_ended_by_a_signal(box: Sandbox, server: FaultServer) -> None:
    """SIGTERM for a stopped run acts when it goes on, as `kill` has shells do: nobody is left."""
    needs_tools("bash")
    route = server.serve("/0.tar", STALLED)
    with Terminal(box, *SHELLS["bash"]) as terminal:
        terminal.type(f"{get_command(box, route.url)} > {box.root / 'out.txt'} 2>&1\n")
        program = terminal.find_program()
        wait_until(lambda: box.part_size("0.tar") == CUT)
        terminal.type("\x1a")
        wait_for_state([program, *box.wgets()], wanted=True)

        terminal.type("kill %1; echo sent=$?\n")  # TERM and CONT
        wait_until(lambda: "sent=0" in terminal.text)
        wait_until(lambda: has_ended(program))

        assert not box.wgets()
    assert box.files() == {"0.tar.part": DATA[:CUT]}


ENDINGS = {"ctrl-c": 130, "ctrl-backslash": 131, "SIGTERM": 143, "SIGHUP": 129}
KEYS = {"ctrl-c": "\x03", "ctrl-backslash": "\x1c"}


@pytest.mark.parametrize("way", ENDINGS)
def test_a_run_that_is_ended_leaves_a_sane_terminal(
    box: Sandbox, server: FaultServer, way: str
) -> None:
    """With the live display, and no shell that would mend it: echo, line editing, cursor."""
    route = server.serve("/0.tar", STALLED)
    with Terminal(box, *PROGRAM, "get", "-o", str(box.dir), route.url) as terminal:
        wait_until(lambda: "60%" in terminal.text, what="the board")

        if way in KEYS:
            terminal.type(KEYS[way])
        else:
            terminal.process.send_signal(signal.Signals[way])

        assert terminal.process.wait(10) == ENDINGS[way], terminal.text
        wait_until(lambda: terminal.is_sane)
        assert "Traceback" not in terminal.text
        assert not box.wgets()


@pytest.mark.parametrize("name", CODES)
def test_a_signal_ends_a_run_on_a_terminal_that_is_held(
    box: Sandbox, server: FaultServer, name: str
) -> None:
    """After Ctrl-S the terminal takes nothing: a signal ends the run all the same."""
    route = server.serve("/0.tar", file(DATA, pace=(4_000, 0.1)))
    with Terminal(box, *PROGRAM, "get", "-o", str(box.dir), route.url) as terminal:
        wait_until(lambda: "0.tar" in terminal.text, what="the board")

        terminal.type("\x13")
        wait_until(lambda: hangs_in_output(terminal.process.pid), what="a write that hangs")
        terminal.process.send_signal(signal.Signals[name])

        assert terminal.process.wait(10) == CODES[name]
        assert terminal.modes == terminal.modes_before
        assert not box.wgets()


def test_a_run_that_was_paused_can_be_ended(box: Sandbox, server: FaultServer) -> None:
    """Ctrl-Z, `fg`, Ctrl-C: it ends as if it had never been away."""
    needs_tools("bash")
    route = server.serve("/0.tar", STALLED)
    with Terminal(box, *SHELLS["bash"]) as terminal:
        terminal.type(f"{get_command(box, '--quiet', route.url)}\n")
        program = terminal.find_program()
        wait_until(lambda: box.part_size("0.tar") == CUT)
        everybody = [program, *box.wgets()]
        for _ in range(2):
            terminal.type("\x1a")
            wait_for_state(everybody, wanted=True)
            terminal.type("fg\n")
            wait_for_state(everybody, wanted=False)

        terminal.type("\x03")
        wait_until(lambda: has_ended(program))
        terminal.type("echo code=$?\n")
        wait_until(lambda: "code=130" in terminal.text)

        assert not box.wgets()
        assert terminal.is_sane
    assert box.files() == {"0.tar.part": DATA[:CUT]}


@pytest.mark.parametrize("parent", ["sh", "make"])
def test_ctrl_c_below_another_program_ends_all(
    box: Sandbox, server: FaultServer, parent: str
) -> None:
    """A shell script or make in the same foreground group gets the SIGINT as well: when it is back,
    no run and no wget is left.
    """
    needs_tools(parent)
    route = server.serve("/0.tar", STALLED)
    command = get_command(box, "--json", route.url)
    (box.cwd / "Makefile").write_text(f"all:\n\t@{command}\n")
    words = ["sh", "-c", f"{command}; exit 7"] if parent == "sh" else ["make"]
    with Terminal(box, *words) as terminal:
        program = terminal.find_program()
        wait_until(lambda: box.part_size("0.tar") == CUT)

        terminal.type("\x03")
        terminal.process.wait(10)

        wait_until(lambda: has_ended(program), limit=3)
        assert "Traceback" not in terminal.text
        assert not box.wgets()
    assert box.files() == {"0.tar.part": DATA[:CUT]}


def test_a_closed_terminal_ends_the_run(box: Sandbox, server: FaultServer) -> None:
    """SIGHUP, and nowhere to write to any more: the code is 129, and no wget is left."""
    route = server.serve("/0.tar", STALLED)
    with Terminal(box, *PROGRAM, "get", "-o", str(box.dir), route.url) as terminal:
        wait_until(lambda: "60%" in terminal.text, what="the board")

        terminal.hang_up()

        assert terminal.process.wait(10) == 129
        assert not box.wgets()
    assert box.files() == {"0.tar.part": DATA[:CUT]}


@pytest.mark.parametrize("program", ["nohup", "setsid"])
def test_a_closed_terminal_leaves_what_was_put_beyond_it(
    box: Sandbox, server: FaultServer, program: str
) -> None:
    """nohup, setsid: the run goes on without the terminal, to its end."""
    needs_tools(program)
    gate = threading.Event()
    route = server.serve("/0.tar", held(gate))
    command = f"{program} {get_command(box, '--json', route.url)} > {box.root / 'log'} 2>&1"
    with Terminal(box, "sh", "-c", f"{command} & wait") as terminal:
        run = terminal.find_program()
        try:
            wait_until(lambda: box.part_size("0.tar") == CUT)

            terminal.hang_up()
            terminal.process.wait(10)
            assert not has_ended(run)
            gate.set()
            wait_until(lambda: has_ended(run))
        finally:
            with suppress(psutil.NoSuchProcess):
                run.kill()

    assert box.files() == {"0.tar": DATA}
    assert len(route.requests) == 1


def test_shells_for_these_tests_are_here() -> None:
    """One of them at least: else Ctrl-Z is not tested at all."""
    assert any(map(shutil.which, SHELLS))
