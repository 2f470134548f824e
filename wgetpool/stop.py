"""The end of what works on DIR: live runs are asked to end in order, and wgets that dead ones left
behind are ended. Main thread.

Never signals a process that is not known to be the run, and none on another machine.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from wgetpool import orphans, process
from wgetpool.errors import ExitCode, SourceError
from wgetpool.store import KnownRun, Store
from wgetpool.words import BLOCKED, count, printable, some, stop_command, write_lines

PATIENCE = 60.0  # seconds for a run to end its wgets and to write down what it has
LOOK_EVERY = 0.2  # seconds
NAMES_SHOWN = 20


def stop_directory(directory: Path, *, out: TextIO) -> int:
    """Ends all that works on DIR and says what; returns 0 when nothing does any more, else 1.
    Raises SourceError.
    """
    store = Store(directory)

    def say(line: str) -> None:
        write_lines(out, [printable(line)])

    try:
        if not (store.runs.is_dir() or store.ledger.exists()):
            raise SourceError(f"{directory} is no folder of a run: it has no .wgetpool/runs.")
        problems = _stop(store, say)
    except PermissionError as error:
        problems = [f"{error.filename} is another user's: stop the run as who began it"]
    for problem in problems:
        say(problem)
    return ExitCode.FAILED if problems else ExitCode.WHOLE


def _stop(store: Store, say: Callable[[str], None]) -> list[str]:
    """Returns what still runs, and what can be done about it."""
    live = [known for known in store.known_runs() if known.alive]
    obstacles = {known.run: _ask_to_end(store, known) for known in live}
    problems = [f"{_named(known)} {why}" for known in live if (why := obstacles[known.run])]
    asked = [known for known in live if not obstacles[known.run]]
    if asked:
        say(f"waiting for {', '.join(map(_named, asked))} to end")
        _await_end(store, asked)
    for known in asked:
        if _works(store, known):
            late = f"has not ended within {PATIENCE:.0f} s"
            problems.append(f"{_named(known)} {late}: {_kill(known)}")
        else:
            say(f"ended {_named(known)}")
    ended, stuck = _end_orphans(store)
    for line in ended:
        say(line)
    problems += stuck
    now = [known for known in store.known_runs() if known.alive]
    problems += [f"{_named(known)} has begun since" for known in now if known.run not in obstacles]
    if not (asked or ended or problems):
        say(f"nothing runs on {store.directory}")
    return problems


# ---------------------------------------------------------------- live runs


def _ask_to_end(store: Store, known: KnownRun) -> str:
    """Sends the run its signal; returns what is in the way. Nothing is where it has just ended."""
    signed = known.signature
    if signed is None:
        path = shlex.quote(str(store.runs / known.run))
        return f"cannot be stopped: its lock file does not tell its pid, but fuser {path} may"
    if signed.is_elsewhere:
        return f"cannot be stopped from here: run {stop_command(store.directory)} on {signed.host}"

    try:
        sent = _terminate(known)
    except PermissionError:
        return f"is another user's: kill {signed.pid} as that user, or as root, ends it"
    if sent or not _works(store, known):
        return ""
    command = stop_command(store.directory)
    return f"cannot be seen from here: run {command} in the container where it works"


def _terminate(known: KnownRun) -> bool:
    """Whether it was sent to the run; one that is stopped goes on, and heeds it."""
    sent = _send(known, signal.SIGTERM)
    _send(known, signal.SIGCONT)
    return sent


def _send(known: KnownRun, number: int) -> bool:
    signed = known.signature
    return signed is not None and process.signal_process(
        signed.pid, number, is_right=lambda: known.is_process(signed.pid)
    )


def _await_end(store: Store, runs: list[KnownRun]) -> None:
    def is_over() -> bool:
        left = [known for known in runs if _works(store, known)]
        for known in left:  # whoever was just being stopped
            _send(known, signal.SIGCONT)
        return not left

    process.wait_for(is_over, patience=PATIENCE, look_every=LOOK_EVERY)


def _works(store: Store, known: KnownRun) -> bool:
    """Whether the run has its lock still, or its process is there: it gives back its lock first."""
    now = store.look_at_run(known.run)
    if now is not None and now.alive:
        return True
    return known.signature is not None and known.signature.is_alive()


def _named(known: KnownRun) -> str:
    return f"the run {f'with {known.whereabouts}' if known.signature else known.run}"


def _kill(known: KnownRun) -> str:
    pid = known.signature.pid if known.signature else ""
    return f"kill -KILL {pid} ends it at once, and the same command again its wgets"


# ---------------------------------------------------------------- what dead runs left behind


def _end_orphans(store: Store) -> tuple[list[str], list[str]]:
    """Ends them and forgets their runs; returns what to say of it, and what cannot be ended."""
    left, said = orphans.clear(store), []
    if names := sorted(orphan.part or "(unknown)" for orphan in left.ended):
        wgets = count(len(names), "wget")
        said.append(f"ended {wgets} that a killed run had left behind: {some(names, NAMES_SHOWN)}")
    # Not forgotten: there, its lock file leads to the wgets that it may have left.
    there = f"was killed: {stop_command(store.directory)} there ends what it left"
    said += [f"{_named(known)} {there}" for known in left.elsewhere]
    pids = sorted(orphan.pid for orphan in left.stuck)
    return said, [_blocked(pids)] if pids else []


def _blocked(pids: list[int]) -> str:
    told = ", ".join(map(str, pids))
    return f"{count(len(pids), 'wget')} of a killed run cannot be ended (pid {told}): {BLOCKED}"
