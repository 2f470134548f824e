"""The engine for scripts: what the functions of `wgetpool` do, without a command line and without
signal handlers.
"""

from __future__ import annotations

import io
import sys
from os import PathLike
from pathlib import Path

from wgetpool import process
from wgetpool.errors import ExitCode, MachineError, SourceError
from wgetpool.events import RunFinished
from wgetpool.model import Entry, Manners, RetryPolicy, Settings, Wishes
from wgetpool.pool import Pool
from wgetpool.relist import LinksFiles
from wgetpool.report import make_reporter
from wgetpool.sources import Selection, choose
from wgetpool.wget import find_wget


def fetch_list(
    links_file: str | PathLike[str],
    output_dir: str | PathLike[str],
    *,
    workers: int,
    start: int | None,
    end: int | None,
) -> RunFinished:
    """Fetches a slice of a links file. Raises SourceError, MachineError."""
    selection = Selection(start=start or None, end=end)
    sources = [str(Path(links_file))]
    relister = LinksFiles(sources)
    entries = choose(sources, selection, stdin=io.BytesIO(), warn=_warn)
    relister.watch(entries)
    return _fetch(entries, output_dir, workers=workers, retry=RetryPolicy(), relister=relister)


def fetch_one(url: str, output_dir: str | PathLike[str], *, tries: int) -> bool:
    """Fetches one URL. Whatever goes wrong is told on the terminal, and the answer is False."""
    try:
        entries = choose([url], Selection(), stdin=io.BytesIO(), warn=_warn)
        finished = _fetch(entries, output_dir, workers=1, retry=RetryPolicy(tries=max(tries, 1)))
    except (SourceError, MachineError) as error:
        _warn(str(error))
        return False
    return finished.exit_code == ExitCode.WHOLE


def _fetch(
    entries: list[Entry],
    output_dir: str | PathLike[str],
    *,
    workers: int,
    retry: RetryPolicy,
    relister: LinksFiles | None = None,
) -> RunFinished:
    directory = Path(output_dir).absolute()
    settings = Settings(
        directory=directory,
        wget=find_wget(None, output_of=process.output_of),
        workers=workers,
        retry=retry,
        manners=Manners(min_free=0, force=True),  # as these functions have always done
    )
    reporter = make_reporter(
        Wishes(),
        stdout=sys.stdout,
        stderr=sys.stderr,
        command="",
        directory=str(directory),
    )
    try:
        with process.ending_by_signals():
            return Pool(settings, entries, reporter=reporter, relister=relister).run()
    finally:
        reporter.close()


def _warn(message: str) -> None:
    sys.stderr.write(f"wgetpool: {message}\n")
