"""What shows that a file is whole: its digests against those that the list tells."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from wgetpool.model import Checksum, StopFlag

BLOCK = 1 << 20


def digests(path: Path, algorithms: Iterable[str], *, stop: StopFlag) -> dict[str, str] | None:
    """The file's hexadecimal digests by algorithm, in one reading; None when the run stops
    meanwhile.
    """
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            if stop.is_set():
                return None
            for each in hashes.values():
                each.update(block)
    return {name: each.hexdigest() for name, each in hashes.items()}


def mismatch(found: dict[str, str], listed: Iterable[Checksum]) -> str | None:
    """A sentence for the first listed checksum that the file does not have; None when all agree."""
    for checksum in listed:
        if found[checksum.algorithm] != checksum.hex:
            return (
                f"its {checksum.algorithm} is {found[checksum.algorithm]}, "
                f"the list says {checksum.hex}"
            )
    return None
