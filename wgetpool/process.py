"""Operating-system processes: starts, waits for, ends and recognises them; the system's clock.

Knows nothing of wget. A child belongs to the thread that started it, which also reaps it. Nothing
here signals a process that is not known by more than its number.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from wgetpool.model import Command, StopFlag

GRACE = 2.0  # seconds from SIGTERM to SIGKILL
RUN_MARK = "WGETPOOL_RUN"  # in a child's environment: the id of the run that started it
LOG_LIMIT = 1 << 20  # bytes of a child's log that are read
LOG_USUAL = 1 << 14  # that most logs fit into: the system gives room for so much at once


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
    the log survives a full disk. Of our descriptors it has these and those that the command keeps
    open. `close` must be called, by the thread that started the child.
    """

    def __init__(self, command: Command) -> None:
        self._code: int | None = None
        self._pidfd = -1
        with ExitStack() as undo:
            self._log = os.memfd_create("log", os.MFD_CLOEXEC)
            undo.callback(os.close, self._log)
            # Appending: wget opens its log by name once more.
            fcntl.fcntl(self._log, fcntl.F_SETFL, os.O_APPEND)
            stdin = os.memfd_create("stdin", os.MFD_CLOEXEC)
            try:
                os.pwrite(stdin, command.stdin, 0)
                self.pid = _spawn(command, stdin, self._log)
            finally:
                os.close(stdin)
            undo.pop_all()
        with suppress(OSError):  # kernels before 5.3: wait() falls back to polling
            self._pidfd = os.pidfd_open(self.pid)

    def wait(self, timeout: float, *, stop: StopFlag) -> bool:
        """Waits for the child's end, at most `timeout` seconds; returns whether it has ended. A set
        stop ends the wait.
        """
        return self._ended_within(timeout, stop.fileno())

    def read_log(self) -> bytes:
        """What the child has printed so far."""
        log = os.pread(self._log, LOG_USUAL, 0)
        return log if len(log) < LOG_USUAL else os.pread(self._log, LOG_LIMIT, 0)

    def close(self) -> tuple[int, bytes]:
        """Ends the child if it still runs; returns its exit code (negative: the signal that ended
        it) and its log.
        """
        if not self._has_ended():
            self._end()
        log = self.read_log()
        if self._pidfd >= 0:
            os.close(self._pidfd)
        os.close(self._log)
        assert self._code is not None  # noqa: S101
        return self._code, log

    def _end(self) -> None:
        """TERM, CONT (it may be stopped), grace, KILL; returns when the child is reaped."""
        for number in (signal.SIGTERM, signal.SIGCONT):
            os.killpg(self.pid, number)  # a --wget that is a script may have a child
        if not self._ended_within(GRACE):
            os.killpg(self.pid, signal.SIGKILL)
            self._has_ended(options=0)

    def _ended_within(self, timeout: float, *wakers: int) -> bool:
        poll = select.poll()
        for descriptor in (self._pidfd, *wakers):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        if self._pidfd >= 0:
            poll.poll(timeout * 1000)
            return self._has_ended()
        deadline = time.monotonic() + timeout
        while not (ended := self._has_ended()) and time.monotonic() < deadline:
            if poll.poll(50):
                break
        return ended

    def _has_ended(self, options: int = os.WNOHANG) -> bool:
        """Reaps the child when it has ended. Until then its number cannot become another's."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code is not None


_LIBC = ctypes.CDLL(None)
_QUICK = ctypes.PyDLL(None)  # for calls too short to give other threads their turn
_SET_GROUP, _SET_DEFAULT_SIGNALS = 2, 4  # POSIX_SPAWN_SETPGROUP, _SETSIGDEF of glibc and musl
_ROOM = 512  # bytes for each of libc's opaque structures; the largest has 336


def _spawn(command: Command, stdin: int, log: int) -> int:
    """Starts the process, in a group of its own; raises OSError.

    By libc's own posix_spawn: it copies no page tables, and, other than what Python has, it lets
    our other threads run until the child has come to its exec, which on a busy machine takes
    milliseconds.
    """
    actions = ctypes.create_string_buffer(_ROOM)
    _QUICK.posix_spawn_file_actions_init(actions)
    stdout = log if command.stdout is None else command.stdout
    copies = [(stdin, 0), (stdout, 1), (log, 2)]
    if (kept := command.keep_open) is not None:
        # To another number: a copy is open in the child, a descriptor copied onto itself may not
        # be.
        copies.append((kept, 3 if kept != 3 else 4))
    for descriptor, number in copies:
        _QUICK.posix_spawn_file_actions_adddup2(actions, descriptor, number)
    pid = ctypes.c_int()
    error = _LIBC.posix_spawn(
        ctypes.byref(pid),
        os.fsencode(command.argv[0]),
        actions,
        _attributes(),
        _strings(map(os.fsencode, command.argv)),
        _environment(command.env),
    )
    _QUICK.posix_spawn_file_actions_destroy(actions)
    if error:
        raise OSError(error, os.strerror(error), command.argv[0])
    return pid.value


def _strings(items: Iterable[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    """A list of strings as C has it."""
    texts = [*items, None]
    return (ctypes.c_char_p * len(texts))(*texts)


@cache
def _attributes() -> ctypes.Array[ctypes.c_char]:
    """A group of its own, and the signals as they are by default: the same for every child."""
    attributes, signals = (ctypes.create_string_buffer(_ROOM) for _ in range(2))
    _QUICK.sigemptyset(signals)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and children would too
        _QUICK.sigaddset(signals, int(number))
    _QUICK.posix_spawnattr_init(attributes)
    _QUICK.posix_spawnattr_setpgroup(attributes, 0)
    _QUICK.posix_spawnattr_setsigdefault(attributes, signals)
    _QUICK.posix_spawnattr_setflags(attributes, ctypes.c_short(_SET_GROUP | _SET_DEFAULT_SIGNALS))
    return attributes


@lru_cache(maxsize=2)
def _environment(env: tuple[bytes, ...]) -> ctypes.Array[ctypes.c_char_p]:
    """The same for every child of a run: made once."""
    return _strings(env)


def marked_environment(run: str, changes: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """Our own environment with `changes`, and with the mark of a run by which its children are
    known.
    """
    return _assignments({**os.environb, **changes, RUN_MARK.encode(): run.encode()})


def _assignments(environment: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    return tuple(key + b"=" + value for key, value in environment.items())


def output_of(argv: Sequence[str]) -> str:
    """What a short command prints; raises OSError, also when it takes longer than 10 s."""
    child = Child(Command(argv=tuple(argv), env=_assignments({**os.environb, b"LC_ALL": b"C"})))
    ended = child._ended_within(10)
    _, log = child.close()
    if not ended:
        raise TimeoutError(errno.ETIMEDOUT, "does not answer")
    return log.decode("utf-8", "replace")


def pause(seconds: float, *, stop: StopFlag) -> None:
    """Sleeps, unless the run stops."""
    poll = select.poll()
    poll.register(stop.fileno(), select.POLLIN)
    poll.poll(seconds * 1000)


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
