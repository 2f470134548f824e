"""What a site's wget needs beside the URL: the words of --header, --cookies and their like, read
and checked. Runs in the main thread, before anything is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from wgetpool.model import Access


def read_access(
    program: str,
    *,
    headers: Sequence[str],
    user_agent: str | None,
    cookies: Path | None,
    netrc: bool,
    options: Sequence[str],
    warn: Callable[[str], None],
) -> Access:
    """What these words ask for. `program` is the wget that has to understand them. Raises
    SourceError, which never holds a value that may be secret.
    """
    return Access(netrc=netrc)
