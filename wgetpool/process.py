"""Operating-system processes: starts, waits for, ends and recognises them; the system's clock.

Knows nothing of wget. A child belongs to the thread that started it, which also reaps it. Nothing
here signals a process that is not known by more than its number.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Container, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from wgetpool.model import Command, StopFlag

GRACE = 2.0  # seconds from SIGTERM to SIGKILL
RUN_MARK = "WGETPOOL_RUN"  # in a child's environment: the id of the run that started it
LOG_LIMIT = 1 << 20  # bytes of a child's log that are read


class SystemClock:
    """The real clock. `now` stands still while the machine is suspended (CLOCK_MONOTONIC)."""

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> datetime:
        return datetime.now().astimezone()


class StopSwitch:
    """The one thing that main and workers share. Its descriptor is readable for ever once it is
    set.
    """

    def __init__(self) -> None:
        self._set = False
        self._event = os.eventfd(0, os.EFD_CLOEXEC)

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        os.eventfd_write(self._event, 1)

    def fileno(self) -> int:
        return self._event

    def close(self) -> None:
        os.close(self._event)


class Child:
    """One child process in a group of its own, all that it prints in memory.

    No pipes: standard input and log are in-memory files, so neither side can block the other, and
    the log survives a full disk. `close` must be called, by the thread that started the child.
    """

    def __init__(self, command: Command) -> None:
        self._pidfd = -1
        self._log = os.memfd_create("log", os.MFD_CLOEXEC)
        stdin = os.memfd_create("stdin", os.MFD_CLOEXEC)
        try:
            os.pwrite(stdin, command.stdin, 0)
            self._process = subprocess.Popen(
                command.argv,
                stdin=stdin,
                stdout=self._log,
                stderr=self._log,
                cwd=command.cwd,
                env=command.env,
                pass_fds=command.keep_open,
                process_group=0,
            )
        except BaseException:
            os.close(self._log)
            raise
        finally:
            os.close(stdin)
        with suppress(OSError):  # kernels before 5.3: wait() falls back to polling
            self._pidfd = os.pidfd_open(self.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, timeout: float, *, stop: StopFlag) -> bool:
        """Waits for the child's end, at most `timeout` seconds; returns whether it has ended. A set
        stop ends the wait.
        """
        return self._ended_within(timeout, stop.fileno())

    def end(self) -> None:
        """TERM, CONT (it may be stopped), grace, KILL: returns when the child is dead and
        reaped.
        """
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)
        if not self._ended_within(GRACE):
            self._process.kill()
        self._process.wait()

    def read_log(self) -> bytes:
        """What the child has written to standard error so far."""
        return os.pread(self._log, LOG_LIMIT, 0)

    def close(self) -> tuple[int, bytes]:
        """Ends the child if it still runs; returns its exit code (negative: the signal that ended
        it) and its log.
        """
        if self._process.poll() is None:
            self.end()
        log = self.read_log()
        if self._pidfd >= 0:
            os.close(self._pidfd)
        os.close(self._log)
        return self._process.returncode, log

    def _ended_within(self, timeout: float, *wakers: int) -> bool:
        if self._pidfd < 0:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        else:
            poll = select.poll()
            for descriptor in (self._pidfd, *wakers):
                poll.register(descriptor, select.POLLIN)
            poll.poll(timeout * 1000)
        return self._process.poll() is not None


def marked_environment(run: str) -> dict[bytes, bytes]:
    """Our own environment, with the mark of a run by which its children are known."""
    return {**os.environb, RUN_MARK.encode(): run.encode()}


def output_of(argv: list[str]) -> str:
    """What a short command prints on standard output and standard error; raises OSError, or
    TimeoutExpired as OSError.
    """
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=10, check=False, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"{argv[0]} did not answer within 10 s") from error
    return done.stdout.decode("utf-8", "replace")


def end_orphans(runs: Container[str]) -> int:
    """Ends all processes of this user that carry the mark of one of these (dead) runs; returns how
    many there were.

    The mark is compared whole. psutil remembers each process's start, so a number that was given to
    another process meanwhile is not signalled.
    """
    import psutil  # noqa: PLC0415  only after a crash

    orphans = list(_marked(runs))
    for orphan in orphans:
        with suppress(psutil.Error):
            orphan.terminate()
            orphan.resume()
    _, alive = psutil.wait_procs(orphans, timeout=GRACE)
    for orphan in alive:
        with suppress(psutil.Error):
            orphan.kill()
    psutil.wait_procs(alive, timeout=GRACE)
    return len(orphans)


def _marked(runs: Container[str]) -> Iterator[Any]:
    import psutil  # noqa: PLC0415

    uid = os.getuid()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.uids().real == uid and process.environ().get(RUN_MARK) in runs:
                yield process
