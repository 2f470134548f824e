"""What a wget for several files tells while it works: which of them have come, one after the other.

Strict, and no more: anything but a plain answer with a length, and wget's own line that so many
bytes have come from this very URL, ends the use of all that follows. A file that was cut, say,
leaves no line at all. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wgetpool.model import Head, Url
from wgetpool.wget import read_head

_STATUS = re.compile(rb"  HTTP/\d(?:\.\d)? +200(?!\d)")
_LENGTH = re.compile(rb"  content-length: *([0-9]{1,18})\s*", re.IGNORECASE)
_RESULT = re.compile(
    rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d URL:(\S+) \[([0-9]{1,18})/([0-9]{1,18})\] -> \"-\" \[1\]"
)


@dataclass(frozen=True, slots=True)
class Came:
    """A file that has come: its bytes are those from `start` on, of all that came."""

    place: int  # in the order of the URLs
    head: Head
    start: int
    size: int


class BatchLog:
    """Reads on where it was. `is_over`: nothing more is to be expected of this wget, since all has
    come, or the next file has not come as it should, or would be larger than `most` bytes.
    """

    def __init__(self, urls: Sequence[Url], *, most: int) -> None:
        self._urls = [url.reveal().encode("utf-8", "surrogateescape") for url in urls]
        self._most = most
        self._position = 0  # up to where the log is read
        self._head_at: int | None = None  # where the next file's head begins
        self._place = self._start = 0
        self.is_over = False

    def read(self, log: bytes) -> Iterator[Came]:
        """What has come since the last look; `log` is all that it has printed so far."""
        while not self.is_over and (end := log.find(b"\n", self._position)) >= 0:
            line_at, self._position = self._position, end + 1
            line = log[line_at:end]
            if line.startswith(b"  "):
                self.is_over = not self._is_fit(line, line_at)
            elif came := self._came(line, log[self._head_at : line_at]):
                yield came
                self._head_at = None
                self._place += 1
                self._start += came.size
                self.is_over = self._place == len(self._urls)
            else:
                self.is_over = True

    def _is_fit(self, line: bytes, line_at: int) -> bool:
        """Whether a line of a head is that of a file as it should be."""
        if self._head_at is None:
            self._head_at = line_at
            return _STATUS.match(line) is not None
        length = _LENGTH.fullmatch(line)
        too_large = length is not None and int(length[1]) > self._most
        return not too_large and not line.startswith(b"  HTTP/")

    def _came(self, line: bytes, above: bytes) -> Came | None:
        """The file that this line says has come, with the head above it; None where it is not as it
        should be.
        """
        result = _RESULT.fullmatch(line)
        head = read_head(above) if self._head_at is not None else None
        if result is None or head is None or result[1] != self._urls[self._place]:
            return None
        size = int(result[2])
        if not size == int(result[3]) == head.length == head.remote.size or size > self._most:
            return None
        return Came(self._place, head, self._start, size)
