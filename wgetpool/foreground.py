"""A run in the foreground: the signals that end or pause it, what it may still say when nobody
listens, and what a bug leaves behind. Main thread.
"""

from __future__ import annotations

import gc
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from wgetpool.errors import MachineError, WgetpoolError
from wgetpool.words import printable

if TYPE_CHECKING:
    from wgetpool.model import Entry, Relister, Settings, Wishes
    from wgetpool.pool import Pool

# Of a link, also of one in which a path has made / of //.
_LOGIN = re.compile(r"(?i)(https?:/+)[^\s/?'\"]*@")
_QUERY = re.compile(r"(?i)(https?:/+[^\s?'\"]*\?)[^\s'\"]*?(?=[:;,.]*(?:[\s'\"]|$))")
OUTPUT_PATIENCE, PAUSE_PATIENCE = 3.0, 1.1  # seconds that a write may take after a signal
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def run_pool(
    settings: Settings, entries: list[Entry], wishes: Wishes, *, relister: Relister
) -> int:
    """Fetches the entries, by new links where `relister` finds some; returns the exit code."""
    from wgetpool.pool import Pool  # noqa: PLC0415  --help loads no engine
    from wgetpool.report import make_reporter  # noqa: PLC0415

    reporter = make_reporter(
        wishes,
        stdout=sys.stdout,
        stderr=sys.stderr,
        command=_command_again(sys.argv[1:]),
        directory=str(settings.directory),
    )
    _keep_to_ourselves()
    pool = None
    try:
        pool = Pool(settings, entries, reporter=reporter, relister=relister)
        # What has been loaded stays: the collector need not look at it again and again.
        gc.freeze()
        gc.enable()
        # Our threads run for microseconds: taking turns sooner only costs.
        sys.setswitchinterval(0.1)
        _on_signals_of_a_run(pool)
        finished = pool.run()
    except Exception as error:
        if isinstance(error, WgetpoolError | OSError):
            raise
        raise MachineError(_write_traceback(settings.directory)) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        on_signals(exit_at_once)  # no child is left, but a last line may hang
        if pool is not None and pool.muted:
            mute()
        try:
            reporter.close()
        except OSError:
            mute()
    for number in SIGNALS:  # the code is known, and the first signal's
        signal.signal(number, signal.SIG_IGN)
    return finished.exit_code


def _keep_to_ourselves() -> None:
    """Descriptors that we were started with, a lock say, are not for a wget that may outlive us."""
    for descriptor in (int(path.name) for path in Path("/proc/self/fd").iterdir()):
        if descriptor > 2:
            with suppress(OSError):
                os.set_inheritable(descriptor, False)


def _command_again(words: list[str]) -> str:
    """This command line, for people to repeat; empty where a URL or header in it may hold
    secrets.
    """
    if any(re.search(r"(?i)https?://([^/]*@|.*\?)|--header=[^@]", word) for word in words):
        return ""
    if any(one == "--header" and not value.startswith("@") for one, value in pairwise(words)):
        return ""
    if any(re.search(r"/dev/fd/|/proc/self/fd/", word) for word in words):  # of a shell's <(...)
        return ""
    return shlex.join(["wgetpool", *words])


def _write_traceback(directory: Path) -> str:
    """Keeps the traceback of a bug where its finder can send it from; no traceback reaches the
    terminal.
    """
    import traceback  # noqa: PLC0415

    path = directory / ".wgetpool" / "traceback.txt"
    try:
        path.write_text(traceback.format_exc())
        path.chmod(0o600)
    except OSError:
        return "This is a bug in wgetpool, and its traceback could not be written."
    return f"This is a bug in wgetpool. Please report it with {path}."


# ---------------------------------------------------------------- signals


def on_signals(handle: Callable[[int], None]) -> None:
    """Has the signals that end a run handled; one that is ignored (nohup) stays so."""

    def handler(number: int, _frame: FrameType | None) -> None:
        handle(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _on_signals_of_a_run(pool: Pool) -> None:
    """One that ends a run also winds a clock: the main thread may hang in a write that nobody
    takes, and would never hear of it.
    """

    def interrupt(number: int) -> None:
        pool.interrupt(number)
        signal.setitimer(signal.ITIMER_REAL, OUTPUT_PATIENCE, 1.0)

    def pause(number: int, _frame: FrameType | None) -> None:
        pool.interrupt(number)
        signal.setitimer(signal.ITIMER_REAL, PAUSE_PATIENCE)

    on_signals(interrupt)
    signal.signal(signal.SIGALRM, lambda *_: pool.nudge())
    # A shell that stops writers in the background would stop us alone, and not our wgets.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:  # a shell without job control: ignored
        signal.signal(signal.SIGTSTP, pause)


def exit_at_once(number: int) -> None:
    """Nothing is under way yet. An exception may be lost: while a module is imported, say."""
    os._exit(128 + number)


def exit_in_order(number: int) -> None:
    raise SystemExit(128 + number)


def say(message: str) -> None:
    """On standard error: words that were typed may hold anything, a link with its query too."""
    clean = _QUERY.sub(r"\1...", _LOGIN.sub(r"\1", message))
    lines = map(printable, clean.split("\n"))
    with suppress(OSError):
        sys.stderr.write("wgetpool: " + "\n".join(lines) + "\n")


def mute() -> None:
    """Nobody reads us any more: what is still to be written, at the interpreter's end too, goes
    nowhere.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
