"""Imports point down only, and a library is used in the module that owns it and nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "wgetpool"

# A module may import those with a lower number only. The comment says what it owns.
LEVELS = {
    "__main__": 13,  # python -m wgetpool
    "__init__": 13,  # the version and the two functions for scripts
    "cli": 12,  # words -> Settings, result -> exit code
    "completion": 11,  # what may stand next on a command line
    "options": 10,  # what the words of the command line mean
    "mistakes": 9,  # what is wrong with a command line
    "foreground": 11,  # a run in the foreground, and its signals
    "status": 11,  # the ledger of a run, told to people and programs
    "plan": 10,  # what a run would do
    "folder": 8,  # how far DIR is, as data
    "overview": 9,  # how far DIR is, at a glance
    "story": 9,  # a file's whole story
    "script": 11,  # what those two functions do
    "pool": 9,  # the scheduler and the loop that drives it
    "report": 9,  # events -> plain lines, quiet, JSON
    "sources": 9,  # links files and URLs -> a lazy stream of entries
    "rows": 8,  # a line of a links file -> a row, checked
    "display": 7,  # the live display: what is written to the terminal
    "board": 4,  # and what it shows
    "names": 2,  # how long names are shortened
    "orphans": 3,  # what dead runs left behind
    "crew": 7,  # the threads of a run
    "errands": 3,  # work that others do, and the inbox
    "access": 3,  # what a site's wget needs beside the URL
    "relist": 10,  # links files that are replaced during a run
    "jobs": 4,  # a file being scheduled, and the queues it waits in
    "gate": 5,  # what every attempt has to pass before it starts
    "news": 5,  # what happens to a file, as events
    "held": 6,  # what waits for a fresh link, or for room
    "tally": 6,  # what a run has come to, in numbers
    "hosts": 3,  # how much is asked of each host
    "shares": 2,  # how the line is shared
    "links": 2,  # which links have expired, and what replaces them
    "room": 2,  # what is free on the disk, and reserved
    "slots": 2,  # how many attempts run at a time
    "scheduler": 7,  # the states of the files: which is next, when again
    "selection": 7,  # patterns, order, slice, shard
    "live": 3,  # what a live run tells onlookers
    "monitor": 8,  # looks how far a run is
    "records": 2,  # events -> rows of the ledger
    "words": 1,  # how sizes, rates and durations read
    "pace": 2,  # how fast, and how long still
    "lines": 3,  # an event as a line for people
    "summary": 3,  # what a run has come to
    "advice": 2,  # what to do about what failed
    "attempt": 6,  # runs one wget and watches it
    "batch": 6,  # runs one wget for several small files
    "batchlog": 4,  # what such a one tells
    "batches": 1,  # how many files it may be given
    "publish": 6,  # checks and renames what is whole
    "examine": 5,  # what a file is worth that the ledger does not know
    "forecast": 5,  # what is still to come against what is free
    "outbox": 2,  # what is finished and waits for company
    "part": 4,  # what the bytes of one part are worth
    "proof": 4,  # what shows that a file is whole
    "archive": 3,  # whether a tar, gzip or zip is whole
    "checksums": 10,  # the files that sha256sum writes
    "locks": 1,  # what a file system's locks can do
    "verify": 10,  # all finished files against the ledger
    "stop": 10,  # the end of what works on the folder
    "ledger": 4,  # the database: what is done, what was tried
    "wget": 2,  # all knowledge of wget
    "process": 2,  # operating system processes and the clock
    "store": 2,  # the folder: paths, modes, free space, the lock of a run
    "failures": 3,  # what a failure means
    "redirects": 4,  # redirects, where something is for one server only
    "wgetrc": 1,  # wget's own settings
    "signed": 1,  # signed URLs
    "policy": 2,  # decisions, from data alone
    "events": 1,  # what happens in a run, as data
    "model": 0,  # types, protocols
    "errors": 0,  # what ends a command: exceptions and exit codes
}

OWNERS: dict[str, set[str]] = {
    "csv": {"rows"},
    "subprocess": set(),  # children are started by libc's posix_spawn: no fork, no other
    "os.posix_spawn": set(),  # thread is held up
    "ctypes": {"process"},
    "psutil": {"process", "orphans"},
    "time": {"process"},
    "os.kill": {"process"},
    "os.killpg": {"process"},
    "signal.signal": {"foreground", "__main__", "process"},
    "fcntl": {"locks", "process"},
    "sqlite3": {"ledger"},
    "hashlib": {"proof", "part", "store", "sources"},
    "tarfile": {"archive"},
    "zlib": {"archive"},
    "concurrent.futures": {"errands", "crew", "monitor", "verify"},
    "rich": {"board", "display", "names", "overview", "verify"},
    "typer": {"cli", "options"},
}

MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Every dotted name that is imported, lazily too: `a.b` for `from a import b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = ".".join(filter(None, ("wgetpool" if node.level else "", node.module)))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def uses_of(tree: ast.AST) -> Iterator[str]:
    """What is imported, and what is reached through a dot: `os.kill`."""
    yield from imports_of(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def modules_in(imports: Iterator[str]) -> Iterator[str]:
    """The modules of the package among the imports; the version alone may be had from anywhere."""
    for name in imports:
        package, _, rest = name.partition(".")
        if package == "wgetpool" and rest != "__version__":
            module = rest.partition(".")[0]
            yield module if module in MODULES else "__init__"


def wrong_imports(module: str, source: str) -> list[str]:
    tree = ast.parse(source)
    return [
        f"{module} (level {LEVELS[module]}) imports {other} (level {LEVELS[other]})"
        for other in modules_in(imports_of(tree))
        if other in LEVELS and LEVELS[other] >= LEVELS[module]
    ]


def foreign_libraries(module: str, source: str) -> list[str]:
    uses = list(uses_of(ast.parse(source)))
    return [
        f"{module} uses {library}, which is for {', '.join(sorted(owners)) or 'nobody'}"
        for library, owners in OWNERS.items()
        if module not in owners
        and any(use == library or use.startswith(f"{library}.") for use in uses)
    ]


def test_every_module_has_a_row() -> None:
    """A new module needs a row that says in one line what it owns."""
    assert sorted(set(MODULES) - set(LEVELS)) == [], "A new module needs a row"


@pytest.mark.parametrize("module", [module for module in MODULES if module in LEVELS])
def test_imports_point_down(module: str) -> None:
    """No import upward or sideways, lazy ones included."""
    assert wrong_imports(module, (PACKAGE / f"{module}.py").read_text()) == []


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_with_their_owner(module: str) -> None:
    """A library that stands for one duty is used in the module that has this duty."""
    assert foreign_libraries(module, (PACKAGE / f"{module}.py").read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from wgetpool.model import Url",
        "from wgetpool import model, __version__",
        "import os\nos.killer()",
        "import signaling",
    ],
)
def test_what_is_allowed_is_passed(source: str) -> None:
    """The rule does not see more than there is."""
    assert wrong_imports("wget", source) == foreign_libraries("wget", source) == []


@pytest.mark.parametrize(
    "source",
    [
        "from wgetpool.policy import x",
        "import wgetpool.wget",
        "from wgetpool import process",
        "from . import store",
        "from .store import x",
        "def f():\n    from wgetpool import download_tar",
    ],
)
def test_an_upward_or_sideways_import_is_found(source: str) -> None:
    """In whichever form it is written."""
    assert wrong_imports("wget", source)


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from concurrent.futures import Future",
        "import concurrent.futures as futures",
        "import os\nos.kill(1, 2)",
        "from os import kill",
        "def f():\n    from rich.table import Table",
        "from signal import signal",
    ],
)
def test_a_library_in_a_foreign_module_is_found(source: str) -> None:
    """In whichever form it is imported."""
    assert foreign_libraries("wget", source)
