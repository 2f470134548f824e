"""How far DIR is, told to people and programs: a table, one object, names, or the story of a file.

Writes nothing in DIR.
"""

from __future__ import annotations

import json as jsonlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from shutil import get_terminal_size
from typing import TextIO

from wgetpool import story
from wgetpool.checksums import format_line
from wgetpool.errors import ExitCode
from wgetpool.events import SCHEMA
from wgetpool.folder import STATES, FileStatus, Folder, LiveRun, look, opened
from wgetpool.ledger import read_all
from wgetpool.story import Story
from wgetpool.words import count, fit, printable, rounded


def print_status(
    directory: Path, *, only: Sequence[str], names: str | None, json: bool, out: TextIO
) -> int:
    """Prints the status of DIR, or the stories of the files in `only`. Returns 0 when all that was
    asked for is whole, else 1. Raises SourceError.
    """
    with opened(directory) as store:
        folder = look(store, only=only, now=datetime.now().astimezone())
        stories = [story.read_story(folder, file) for file in folder.files] if only else []
    if json:
        out.write(jsonlib.dumps(as_object(folder, stories)) + "\n")
    elif names:
        wanted = {"partial", "pending"} if names == "pending" else {names}
        out.writelines(f"{file.name}\n" for file in folder.files if file.state in wanted)
    elif stories:
        told = (printable(line) for each in stories for line in story.lines_of(each))
        out.writelines(f"{line}\n" for line in fit(told, out))
    else:
        _print_for_people(folder, out)
    return ExitCode.WHOLE if folder.is_whole else ExitCode.FAILED


def print_checksums(directory: Path, *, out: TextIO, warn: Callable[[str], None]) -> int:
    """Prints the sha256 of all finished files, for `sha256sum --check` in DIR. Raises
    SourceError.
    """
    with opened(directory) as store:
        records = list(read_all(store.ledger))
    done = [record for record in records if record.state == "done"]
    out.writelines(
        f"{format_line(record.sha256, record.name)}\n" for record in done if record.sha256
    )
    if left := sum(record.sha256 is None for record in done):
        warn(f"{count(left, 'finished file')} without a sha256: fetched with --no-hash")
    return ExitCode.WHOLE if records and len(done) == len(records) else ExitCode.FAILED


# ---------------------------------------------------------------- for programs


def as_object(folder: Folder, stories: Sequence[Story] = ()) -> dict[str, object]:
    """What `status --json` prints, with the stories of its files where they were asked for."""
    counts = Counter(file.state for file in folder.files)
    files = [_as_keys(file) for file in folder.files]
    for file, told in zip(files, stories, strict=False):
        file.update(story.as_object(told))
    return {
        "schema": SCHEMA,
        **{state: counts[state] for state in STATES},
        "bytes": folder.bytes,
        "size": folder.size,
        "running": bool(folder.runs),
        "rate": rounded(folder.rate),
        "left": rounded(folder.left),
        "runs": [_run_object(run) for run in folder.runs],
        "orphans": [{"pid": one.pid, "name": one.part or None} for one in folder.orphans],
        "files": files,
    }


def _run_object(run: LiveRun) -> dict[str, object]:
    signed = run.known.signature
    who = {"pid": signed and signed.pid, "host": (signed and signed.host) or None}
    told = asdict(run)
    del told["known"]
    return {**who, **rounded(told)}


def _as_keys(file: FileStatus) -> dict[str, object]:
    return {key.removesuffix("_"): value for key, value in asdict(file).items()}


# ---------------------------------------------------------------- for people


def _print_for_people(folder: Folder, out: TextIO) -> None:
    """On a terminal as wide as it is; in a pipe nothing is cut off or broken."""
    from wgetpool.overview import ENDLESS, lines_of  # noqa: PLC0415  rich costs a third of a start

    width = get_terminal_size().columns if out.isatty() else ENDLESS
    out.writelines(f"{line}\n" for line in lines_of(folder, width))
