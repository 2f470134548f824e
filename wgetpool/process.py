"""Operating-system processes: starts, waits for, ends and recognises them; the system's clock.

Knows nothing of wget. A child belongs to the thread that started it, which also reaps it. Nothing
here signals a process that is not known by more than its number.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import math
import os
import resource
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock, current_thread, main_thread
from typing import Any
from weakref import finalize

from wgetpool.model import PRIVATE, Command, Link, ProcessState, Sight, StopFlag

GRACE = 2.0  # seconds from SIGTERM to SIGKILL
LAST_GRACE = 5.0  # from SIGKILL until a process counts as one that cannot be ended (state D)
RUN_MARK = "WGETPOOL_RUN"  # in a child's environment: the id of the run that started it
SETTINGS = b"WGETPOOL_"  # how variables begin that are options of ours
PART_MARK = "WGETPOOL_PART"  # and the name of the file whose part it writes
UNKNOWN_CODE = 255  # of a child that somebody else has reaped
# A signal that comes just before a wait begins is heeded after it: no wait is longer (seconds).
HEARTBEAT = 1.0
FIRST_FREE = 32  # the lowest number for what is to become a descriptor below it in a child
LOG_LIMIT = 1 << 20  # bytes of a child's log that are read
LOG_USUAL = 1 << 14  # that most logs fit into: the system gives room for so much at once


class SystemClock:
    """The real clock. `now` stands still while the machine is suspended (CLOCK_MONOTONIC), and
    while it is told to: a pause is neither a stall nor a part of any wait.
    """

    def __init__(self) -> None:
        self._lost = 0.0  # seconds in pauses
        self._stopped_at: float | None = None

    def now(self) -> float:
        stopped_at = self._stopped_at
        return time.monotonic() - self._lost if stopped_at is None else stopped_at

    def stop(self) -> None:
        self._stopped_at = self.now()

    def go_on(self) -> None:
        if self._stopped_at is not None:
            self._lost = time.monotonic() - self._stopped_at
            self._stopped_at = None

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


class Mailbox:
    """First in, first out: from threads and signal handlers to the one thread that waits.

    queue.SimpleQueue is no place to wait in for one that gets signals: when one comes just as the
    time is over, it waits for ever (CPython 3.11, seen).
    """

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._event, select.POLLIN)
        finalize(self, os.close, self._event)  # whoever is late may still put something in

    def put(self, item: Any, /) -> None:
        self._items.append(item)
        os.eventfd_write(self._event, 1)

    def get(self, *, timeout: float | None = None) -> Any:
        """The next item; raises TimeoutError when none has come after so many seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._items:
            left = HEARTBEAT if end is None else max(end - time.monotonic(), 0.0)
            if self._poll.poll(math.ceil(min(left, HEARTBEAT) * 1000)):
                os.eventfd_read(self._event)
            elif end is not None and time.monotonic() >= end and not self._items:
                raise TimeoutError
        return self._items.popleft()


class Child:
    """One child process in a group of its own, all that it prints in memory.

    Standard input and log are in-memory files, so neither side can block the other, and the log
    survives a full disk. The log of a command that is followed is a pipe. Of our descriptors it has
    these and those that the command keeps open. `close` must be called, by the thread that started
    the child; `signal` may be by any.
    """

    def __init__(self, command: Command, siblings: dict[int, Child] | None = None) -> None:
        self.given_up = False
        self._code: int | None = None
        self._pidfd = -1
        self._heard: bytearray | None = bytearray() if command.is_followed else None
        self._siblings = {} if siblings is None else siblings  # those that are not reaped yet
        self._reaping = Lock()  # until it is reaped, its number cannot become another's
        with ExitStack() as undo, ExitStack() as given:
            self._log, log = _pipe(given) if command.is_followed else _appended()
            undo.callback(os.close, self._log)
            stdin = _in_memory(command.stdin, given)
            private = [_out_of_the_way(_in_memory(data, given), given) for data in command.private]
            self.pid = _spawn(command, stdin, log, private)
            undo.pop_all()
        if command.file_limit is not None:  # before it has even connected
            with suppress(OSError, ValueError):
                limits = (command.file_limit, command.file_limit)
                resource.prlimit(self.pid, resource.RLIMIT_FSIZE, limits)
        self._siblings[self.pid] = self
        with suppress(OSError):  # kernels before 5.3: wait() falls back to polling
            self._pidfd = os.pidfd_open(self.pid)

    def wait(self, timeout: float, *, stop: StopFlag) -> bool:
        """Waits for the child's end, at most `timeout` seconds; returns whether it has ended. A set
        stop ends the wait.
        """
        followed = () if self._heard is None else (self._log,)
        return self._ended_within(timeout, stop.fileno(), *followed)

    def read_log(self) -> bytes:
        """What the child has printed so far."""
        if self._heard is not None:
            with suppress(BlockingIOError):
                while len(self._heard) < LOG_LIMIT and (more := os.read(self._log, LOG_USUAL)):
                    self._heard += more
            return bytes(self._heard)
        log = os.pread(self._log, LOG_USUAL, 0)
        return log if len(log) < LOG_USUAL else os.pread(self._log, LOG_LIMIT, 0)

    def look(self, *, link: bool = False) -> Sight:
        """What the system tells of the child now."""
        return look(self.pid, link=link)

    def signal(self, number: int) -> None:
        """Sends a signal to the child and its children; none once it is reaped."""
        with self._reaping:
            if self._code is None:
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, number)  # a --wget that is a script may have a child

    def close(self) -> tuple[int | None, bytes]:
        """Ends the child if it still runs; returns its exit code (negative: the signal that ended
        it) and its log. No code: even SIGKILL has not ended it (state D), and it is not reaped.
        """
        if not self.has_ended():
            try:
                self._end()
            except BaseException:  # a signal ends even this
                self.signal(signal.SIGKILL)
                raise
        log = self.read_log()
        if self._pidfd >= 0:
            os.close(self._pidfd)
        os.close(self._log)
        self.given_up = self._code is None
        return self._code, log

    def has_ended(self) -> bool:
        """Reaps the child when it has ended."""
        with self._reaping:
            if self._code is None and (code := self._reap()) is not None:
                self._code = code
                if self._siblings.get(self.pid) is self:
                    del self._siblings[self.pid]
            return self._code is not None

    def _reap(self) -> int | None:
        try:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            # While the number is still ours: what a --wget that is a script may leave behind.
            with suppress(PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:  # the system reaps for us: whoever started us ignores SIGCHLD
            return UNKNOWN_CODE

    def _end(self) -> None:
        """TERM, CONT (it may be stopped), grace, KILL; returns when the child is reaped, or cannot
        be.
        """
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        if not self._ended_within(GRACE):
            self.signal(signal.SIGKILL)
            self._ended_within(LAST_GRACE)

    def _ended_within(self, timeout: float, *wakers: int) -> bool:
        poll = select.poll()
        for descriptor in (self._pidfd, *wakers):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        if self._pidfd >= 0:
            poll.poll(timeout * 1000)
            return self.has_ended()
        deadline = time.monotonic() + timeout
        while not (ended := self.has_ended()) and time.monotonic() < deadline:
            if poll.poll(50):
                break
        return ended


class Children:
    """The children of a run that are not reaped yet; called with a command, it starts one.

    Each belongs to the thread that started it. Any thread may signal them all: when the run is
    paused, and when it ends without waiting for that thread.
    """

    def __init__(self) -> None:
        self._alive: dict[int, Child] = {}
        self._standing: int | None = None  # the signal for those that are started meanwhile

    def __call__(self, command: Command) -> Child:
        child = Child(command, self._alive)
        if (number := self._standing) is not None:
            child.signal(number)
            if self._standing is None:  # they went on meanwhile
                child.signal(signal.SIGCONT)
        return child

    def stop(self) -> None:
        self._standing = signal.SIGSTOP
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._standing = None
        self._signal(signal.SIGCONT)

    def kill(self, patience: float) -> int:
        """SIGKILL for all; returns how many it has not ended within so many seconds (state D)."""
        self._standing = signal.SIGKILL
        self._signal(signal.SIGKILL)
        wait_for(lambda: not self._left(), patience=patience, look_every=0.01)
        return self._left()

    def stuck(self) -> int:
        """How many are there still that their owners could not end; reaps those that have ended."""
        given_up = [child for child in list(self._alive.values()) if child.given_up]
        return sum(not child.has_ended() for child in given_up)

    def _left(self) -> int:
        return sum(not child.has_ended() for child in list(self._alive.values()))

    def _signal(self, number: int) -> None:
        for child in list(self._alive.values()):
            child.signal(number)


_LIBC = ctypes.CDLL(None)
_QUICK = ctypes.PyDLL(None)  # for calls too short to give other threads their turn
# POSIX_SPAWN_SETPGROUP, _SETSIGDEF and _SETSIGMASK of glibc and musl
_SET_GROUP, _SET_DEFAULT_SIGNALS, _SET_MASK = 2, 4, 8
_ROOM = 512  # bytes for each of libc's opaque structures; the largest has 336


def _appended() -> tuple[int, int]:
    """A file in memory, to read from and to append to: wget opens its log by name once more."""
    log = os.memfd_create("log", os.MFD_CLOEXEC)
    fcntl.fcntl(log, fcntl.F_SETFL, os.O_APPEND)
    return log, log


def _pipe(given: ExitStack) -> tuple[int, int]:
    """Its end to read from, without waiting; the other is closed with the stack."""
    here, there = os.pipe2(os.O_CLOEXEC)
    given.callback(os.close, there)
    os.set_blocking(here, False)
    return here, there


def _in_memory(data: bytes, given: ExitStack) -> int:
    """A file that nobody finds by a name; closed with the stack."""
    descriptor = os.memfd_create("given", os.MFD_CLOEXEC)
    given.callback(os.close, descriptor)
    os.pwrite(descriptor, data, 0)
    return descriptor


def _out_of_the_way(descriptor: int, given: ExitStack) -> int:
    """The same file under a number that no other of the child's takes."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
    given.callback(os.close, copy)
    return copy


def _spawn(command: Command, stdin: int, log: int, private: Sequence[int] = ()) -> int:
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
    copies += [(descriptor, PRIVATE + index) for index, descriptor in enumerate(private)]
    for descriptor, number in copies:
        _QUICK.posix_spawn_file_actions_adddup2(actions, descriptor, number)
    pid = ctypes.c_int()
    error = _LIBC.posix_spawn(
        ctypes.byref(pid),
        os.fsencode(command.argv[0]),
        actions,
        _attributes(),
        _strings(map(os.fsencode, command.argv)),
        _environment(command.env, command.mark),
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
    """A group of its own, and the signals as they are by default, none of them blocked as they are
    in our threads: the same for every child.
    """
    attributes, signals, none = (ctypes.create_string_buffer(_ROOM) for _ in range(3))
    _QUICK.sigemptyset(signals)
    _QUICK.sigemptyset(none)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTTOU):  # we ignore them, they do not
        _QUICK.sigaddset(signals, int(number))
    _QUICK.posix_spawnattr_init(attributes)
    _QUICK.posix_spawnattr_setpgroup(attributes, 0)
    _QUICK.posix_spawnattr_setsigdefault(attributes, signals)
    _QUICK.posix_spawnattr_setsigmask(attributes, none)
    flags = _SET_GROUP | _SET_DEFAULT_SIGNALS | _SET_MASK
    _QUICK.posix_spawnattr_setflags(attributes, ctypes.c_short(flags))
    return attributes


def _environment(env: tuple[bytes, ...], mark: str) -> ctypes.Array[ctypes.c_char_p]:
    common = _common(env)
    if not mark:
        return common
    own = type(common).from_buffer_copy(common)  # the pointers
    own.common = common  # type: ignore[attr-defined]  # and what they point to
    own[len(env)] = os.fsencode(f"{PART_MARK}={mark}")
    return own


@lru_cache(maxsize=2)
def _common(env: tuple[bytes, ...]) -> ctypes.Array[ctypes.c_char_p]:
    """The same for every child of a run: made once, with room for a mark."""
    return (ctypes.c_char_p * (len(env) + 2))(*env)


def marked_environment(run: str, changes: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """Our own environment with `changes`, and with the mark of a run by which its children are
    known.
    """
    return _assignments({**_without_settings(), **changes, RUN_MARK.encode(): run.encode()})


def _without_settings() -> dict[bytes, bytes]:
    """Our own environment but for our own options: a header may be among them (WGETPOOL_HEADER)."""
    return {key: value for key, value in os.environb.items() if not key.startswith(SETTINGS)}


def _assignments(environment: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    return tuple(key + b"=" + value for key, value in environment.items())


def output_of(argv: Sequence[str], private: tuple[bytes, ...] = ()) -> str:
    """What a short command prints; raises OSError, also when it takes longer than 10 s. `private`
    are files in memory, as a command has them.
    """
    environment = _assignments({**_without_settings(), b"LC_ALL": b"C"})
    child = Child(Command(argv=tuple(argv), private=private, env=environment))
    ended = False
    try:
        ended = child._ended_within(10)
    finally:
        _, log = child.close()
    if not ended:
        raise TimeoutError(errno.ETIMEDOUT, "does not answer")
    return log.decode("utf-8", "replace")


def open_files(wanted: int) -> int:
    """How many descriptors more this process may open; its limit is raised to what is `wanted`,
    where that is allowed.
    """
    in_use = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return _raise_open_files(wanted + in_use) - in_use


def _raise_open_files(wanted: int) -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < top:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
            return top
    return wanted if soft == resource.RLIM_INFINITY else soft


def stop_ourselves() -> None:
    """Stops this process as Ctrl-Z does by default; returns when it goes on. Main thread."""
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    try:
        signal.raise_signal(signal.SIGTSTP)
    finally:
        signal.signal(signal.SIGTSTP, handler)


def block_signals() -> None:
    """Leaves all signals to the main thread: one that came while we were stopped may be given to
    any thread, and would not wake the one that heeds it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


@contextmanager
def ending_by_signals() -> Iterator[None]:
    """Has signals that would end this process at once, and leave its children, end it in order: by
    SystemExit. Those that somebody handles already are left to them.
    """

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {}
    if current_thread() is main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_for(is_done: Callable[[], bool], *, patience: float, look_every: float) -> bool:
    """Whether it is done within so many seconds; it is looked at once at least."""
    end = time.monotonic() + patience
    while not (done := is_done()) and time.monotonic() < end:
        time.sleep(look_every)
    return done


def pause(seconds: float, *, stop: StopFlag) -> None:
    """Sleeps, unless the run stops."""
    poll = select.poll()
    poll.register(stop.fileno(), select.POLLIN)
    poll.poll(seconds * 1000)


# ---------------------------------------------------------------- other processes

_STATES = {
    "stopped": ProcessState.STOPPED,
    "tracing-stop": ProcessState.STOPPED,
    "disk-sleep": ProcessState.BLOCKED,
    "zombie": ProcessState.ENDED,
    "dead": ProcessState.ENDED,
}


def look(pid: int, *, link: bool = False) -> Sight:
    """What the system tells of a process; of one that has ended, that it has. Its `link` costs a
    look through all sockets of the machine.
    """
    import psutil  # noqa: PLC0415  only when something goes wrong

    state, read, found = ProcessState.ENDED, None, None
    # No attribute where the system has no such figures, RuntimeError where they are odd.
    with suppress(psutil.Error, OSError, RuntimeError, AttributeError):
        process = psutil.Process(pid)
        state = _STATES.get(process.status(), ProcessState.ALIVE)
        if state is not ProcessState.ENDED:
            found = _link_of(process) if link else None
            read = process.io_counters().read_chars
    return Sight(state=state, read=read, link=found)


def _link_of(process: Any) -> Link:
    states = {socket.status for socket in process.net_connections("tcp")}
    if not states:
        return Link.NONE
    return Link.CONNECTING if states == {"SYN_SENT"} else Link.CONNECTED


def signal_process(pid: int, number: int, *, is_right: Callable[[], bool]) -> bool:
    """Signals a process that is no child of ours; False where it is not there, or no longer the
    right one. It is asked while the number cannot be given away.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not is_right():
            return False
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True
