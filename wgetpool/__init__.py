"""Fetches long lists of files with supervised wget processes, resumes safely, never shows half a
file.

For scripts: `download_sa1b` and `download_tar`, as the script that wgetpool grew out of had them.
"""

from __future__ import annotations

from os import PathLike

__version__ = "0.1.0"
__all__ = ["__version__", "download_sa1b", "download_tar"]


def download_sa1b(
    links_file: str | PathLike[str] = "segment_anything_links.txt",
    output_dir: str | PathLike[str] = "./sa1b_data",
    num_workers: int = 4,
    start_idx: int = 0,
    end_idx: int | None = None,
) -> None:
    """Fetches entries `start_idx` up to, not including, `end_idx` of a links file into
    `output_dir`.

    Prints progress and a summary. `end_idx=0` selects nothing; None means to the end. Files that
    failed are named in the summary; the same call goes on with them. Raises
    wgetpool.errors.SourceError for a bad list, MachineError where this machine cannot do it.
    """
    if end_idx is not None and end_idx == 0:
        return
    from wgetpool.script import fetch_list  # noqa: PLC0415

    fetch_list(links_file, output_dir, workers=num_workers, start=start_idx, end=end_idx)


def download_tar(url: str, output_dir: str | PathLike[str], max_retries: int = 5) -> bool:
    """Fetches one file into `output_dir`; returns whether it is whole there. `max_retries` are the
    tries in a row.
    """
    from wgetpool.script import fetch_one  # noqa: PLC0415

    return fetch_one(url, output_dir, tries=max_retries)
