"""Real children: signalled all together, looked at, given up and reaped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from support.runner import wait_until

from wgetpool import process
from wgetpool.model import Command, Link, ProcessState

SLEEP = ("/bin/sleep", "60")
ENV = (b"PATH=/usr/bin:/bin",)


@pytest.fixture
def children() -> Iterator[process.Children]:
    made = process.Children()
    yield made
    assert made.kill(5) == 0


def start(children: process.Children, *argv: str, mark: str = "") -> process.Child:
    return children(Command(argv=argv or SLEEP, env=ENV, mark=mark))


def state(child: process.Child) -> str:
    found: str = psutil.Process(child.pid).status()
    return found


def test_all_stop_and_go_on_together(children: process.Children) -> None:
    """Those that are started meanwhile, too."""
    first, second = start(children), start(children)

    children.stop()
    late = start(children)

    for child in (first, second, late):
        wait_until(lambda child=child: state(child) == "stopped")  # type: ignore[misc]
    children.go_on()
    for child in (first, second, late, start(children)):
        wait_until(lambda child=child: state(child) == "sleeping")  # type: ignore[misc]


def test_all_are_killed_and_reaped(children: process.Children) -> None:
    """Whoever owns them; the owner still learns how its child ended."""
    first, second = start(children), start(children)

    assert children.kill(5) == 0

    assert [child.close()[0] for child in (first, second)] == [-signal.SIGKILL] * 2
    assert not psutil.pid_exists(first.pid)


def test_a_reaped_child_is_not_signalled(children: process.Children) -> None:
    """Its number may be another's by now."""
    child = start(children, "/bin/true")
    wait_until(child.has_ended)

    child.signal(signal.SIGKILL)

    assert child.close()[0] == 0


def test_a_child_that_cannot_be_ended_is_given_up_and_reaped_later(
    children: process.Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in state D: no exit code, no waiting for ever, and no zombie once it has ended."""
    child = start(children)
    monkeypatch.setattr(process, "GRACE", 0.01)
    monkeypatch.setattr(process, "LAST_GRACE", 0.01)
    monkeypatch.setattr(process.Child, "signal", lambda *_: None)

    code, _ = child.close()
    assert code is None
    assert children.stuck() == 1

    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: children.stuck() == 0)
    assert not psutil.pid_exists(child.pid)


def followed(children: process.Children, script: str) -> process.Child:
    return children(Command(argv=("/bin/sh", "-c", script), env=ENV, is_followed=True))


def test_a_wait_for_a_child_that_is_followed_ends_when_it_prints(
    children: process.Children,
) -> None:
    """Long before it has ended; what it has printed is kept."""
    child, stop = followed(children, "echo one; exec sleep 60"), process.StopSwitch()

    assert not child.wait(50, stop=stop)
    assert child.read_log() == child.read_log() == b"one\n"
    assert not child.wait(0.01, stop=stop)
    assert child.close() == (-signal.SIGTERM, b"one\n")
    stop.close()


def test_a_child_that_is_followed_prints_as_much_as_it_likes(children: process.Children) -> None:
    """More than a pipe holds: it waits for whoever follows it, who waits for nothing."""
    child, stop = followed(children, "head -c 300000 /dev/zero; exit 3"), process.StopSwitch()

    ended = False
    while not ended:
        ended = child.wait(50, stop=stop)
        child.read_log()

    assert child.close() == (3, bytes(300_000))
    stop.close()


def test_a_child_that_is_followed_by_nobody_can_be_ended(children: process.Children) -> None:
    """Though it hangs in a write to the full pipe."""
    child = followed(children, "exec cat /dev/zero")
    wait_until(lambda: state(child) == "sleeping")

    code, log = child.close()

    assert code == -signal.SIGTERM
    assert len(log) >= 4096


PRIVATE_FILES = """
import os, sys
from wgetpool import process
from wgetpool.model import Command

first, path = int(sys.argv[1]), sys.argv[2]
taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(3, first)]
lock, out = os.open(path, os.O_RDWR | os.O_CREAT), os.memfd_create("out")
assert (lock, out) == (first, first + 1)
argv = ("/bin/sh", "-c", "cat /proc/self/fd/5 /proc/self/fd/6; ls /proc/$$/fd")
before = os.listdir("/proc/self/fd")
child = process.Child(
    Command(
        argv=argv,
        private=(b"one ", b"two "),
        env=(b"PATH=/bin:/usr/bin",),
        keep_open=lock,
        stdout=out,
    )
)
assert child._ended_within(10)
assert child.close() == (0, b"")
assert os.listdir("/proc/self/fd") == before
print(os.pread(out, 999, 0).decode())
"""


@pytest.mark.parametrize("first", [3, 4, 5, 6, 7])
def test_private_files_are_open_in_the_child_alone(tmp_path: Path, first: int) -> None:
    """As descriptors 5 and 6, beside a lock that is kept open and an output of its own, whichever
    numbers these have with us.
    """
    words = [sys.executable, "-c", PRIVATE_FILES, str(first), str(tmp_path / "lock")]

    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)

    assert done.stderr == ""
    kept = "4" if first == 3 else "3"
    assert done.stdout.split() == ["one", "two", "0", "1", "2", kept, "5", "6"]


def test_a_child_knows_the_file_that_it_works_for(children: process.Children) -> None:
    """By its environment, whatever the name is."""
    name = "träin/a b=%.tar"
    child = start(children, mark=name)

    # Not yet there in the moment of its exec.
    wait_until(lambda: psutil.Process(child.pid).environ().get("WGETPOOL_PART") == name)


@pytest.mark.parametrize(
    ("act", "seen"),
    [
        (lambda child: None, ProcessState.ALIVE),
        (lambda child: child.signal(signal.SIGSTOP), ProcessState.STOPPED),
        (lambda child: child.signal(signal.SIGKILL), ProcessState.ENDED),
    ],
)
def test_a_child_is_seen_as_it_is(
    children: process.Children, act: Callable[[process.Child], None], seen: ProcessState
) -> None:
    """Alive, stopped, or a zombie."""
    child = start(children)
    act(child)

    wait_until(lambda: child.look().state is seen)


def test_what_is_gone_is_seen_as_ended(children: process.Children) -> None:
    """No error: it may end at any moment."""
    child = start(children, "/bin/true")
    wait_until(child.has_ended)

    assert child.look(link=True).state is ProcessState.ENDED


CONNECT = """
import socket, sys, time
line = socket.socket()
line.setblocking(False)
line.connect_ex(("127.0.0.1", int(sys.argv[1])))
time.sleep(60)
"""


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose queue is full: who connects gets no answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port
        for filler in fillers:
            filler.close()


def test_a_connection_that_is_not_answered_is_seen(
    children: process.Children, deaf_port: int
) -> None:
    """It is neither the name service nor the server's answer that is missing."""
    child = start(children, sys.executable, "-c", CONNECT, str(deaf_port))

    wait_until(lambda: child.look(link=True).link is Link.CONNECTING)


def test_a_connection_is_seen(children: process.Children) -> None:
    """From then on, the server is to blame."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        child = start(children, sys.executable, "-c", CONNECT, str(port))

        wait_until(lambda: child.look(link=True).link is Link.CONNECTED)


def test_no_connection_is_seen(children: process.Children) -> None:
    """It has not come to one."""
    child = start(children)

    assert child.look(link=True).link is Link.NONE


def test_a_stranger_is_signalled_only_when_it_is_the_right_one(
    children: process.Children,
) -> None:
    """Asked while its number cannot be given away."""
    child = start(children)

    assert not process.signal_process(child.pid, signal.SIGKILL, is_right=lambda: False)
    assert not child.has_ended()
    assert process.signal_process(child.pid, signal.SIGKILL, is_right=lambda: True)
    wait_until(child.has_ended)
    assert not process.signal_process(child.pid, signal.SIGKILL, is_right=lambda: True)


def test_what_a_script_leaves_behind_is_ended_with_it(children: process.Children) -> None:
    """A --wget that is a script may be killed, and its wget not: the group goes with it."""
    script = "sleep 60 & echo $!; wait"
    child = start(children, "/bin/sh", "-c", script)
    wait_until(child.read_log)
    inner = int(child.read_log())
    os.kill(child.pid, signal.SIGKILL)

    wait_until(child.has_ended)

    wait_until(lambda: process.look(inner).state is ProcessState.ENDED)
    assert child.close()[0] == -signal.SIGKILL


def test_a_child_that_the_system_has_reaped_has_ended(children: process.Children) -> None:
    """As where SIGCHLD is ignored: nobody can tell how."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        child = start(children, "/bin/true")
        wait_until(child.has_ended)
        assert child.close()[0] == process.UNKNOWN_CODE
    finally:
        signal.signal(signal.SIGCHLD, before)


# ---------------------------------------------------------------- the inbox


def test_a_signal_at_the_last_moment_does_not_make_the_wait_endless() -> None:
    """It comes just as the time is over: queue.SimpleQueue would wait for ever."""
    box = process.Mailbox()
    signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        for _ in range(200):
            signal.setitimer(signal.ITIMER_REAL, 0.002)
            with pytest.raises(TimeoutError):
                box.get(timeout=0.002)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_what_a_handler_puts_in_ends_the_wait() -> None:
    """And everything comes out in the order that it went in."""
    box = process.Mailbox()
    signal.signal(signal.SIGALRM, lambda *_: box.put("signal"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert box.get(timeout=10) == "signal"
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    with ThreadPoolExecutor(4) as threads:
        for number in range(1000):
            threads.submit(box.put, number)
        assert sorted(box.get(timeout=10) for _ in range(1000)) == list(range(1000))
    with pytest.raises(TimeoutError):
        box.get(timeout=0)
