"""What a wget for several files tells while it works: what has come of each, one after the other.

Strict, and no more. A file has come when there is a plain answer with a length, and then wget's own
line that so many bytes have come from this very URL. A file that was cut leaves no line at all, so
that the first surprise ends the use of all that follows. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wgetpool.failures import TRANSIENT_STATUS
from wgetpool.model import Reply, Url
from wgetpool.wget import read_reply

_STATUS = re.compile(rb"  HTTP/\d(?:\.\d)? +(\d{3})(?!\d)")
_LENGTH = re.compile(rb"  content-length: *([0-9]{1,18})\s*", re.IGNORECASE)
_STAMP = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
_CAME = re.compile(_STAMP + rb"URL:(\S+) \[([0-9]{1,18})/([0-9]{1,18})\] -> \"-\" \[1\]")
_ERROR = re.compile(_STAMP + rb"ERROR (\d{3}): .*")
_NO_HEAD = re.compile(rb"No data received\.|Read error \([^()]*\) in headers\.")
_LOGIN = frozenset({401, 407})  # of which wget makes two requests, or another kind of trouble


@dataclass(frozen=True, slots=True)
class Answer:
    """What was told of one file. Where its exit code is 0, it has come: its bytes are those from
    `start` on, of all that came.
    """

    place: int  # in the order of the URLs
    reply: Reply
    start: int = 0
    size: int = 0


class BatchLog:
    """Reads on where it was. `is_over`: nothing more is to be expected of this wget. All has come,
    or the server has trouble, or the answer for the file at `place` is not as it should be: larger
    than `most` bytes, or without a length, or a redirect.
    """

    def __init__(self, urls: Sequence[Url], *, most: int) -> None:
        self._urls = [url.reveal().encode("utf-8", "surrogateescape") for url in urls]
        self._most = most
        self._began = self._position = 0  # of the file at `place`, and up to where it is read
        self._status: int | None = None
        self._is_refused = False
        self._start = 0  # where the bytes of the file at `place` begin
        self.place = 0
        self.is_over = not urls

    def read(self, log: bytes) -> Iterator[Answer]:
        """What has come since the last look; `log` is all that it has printed so far."""
        while not self.is_over and (end := log.find(b"\n", self._position)) >= 0:
            line, above = log[self._position : end], log[self._began : self._position]
            self._position = end + 1
            if line.startswith(b"  HTTP/") and self._status is not None:
                answer = self._cut(above) if self._status == 200 else None
                self.is_over = True
            elif line.startswith(b"  "):
                answer = None
                self.is_over = not self._is_fit(line)
            else:
                answer = self._told(line, above)
            if answer:
                yield answer

    def end(self, log: bytes) -> Answer | None:
        """What became of the file at `place`, when wget has ended by itself: an answer that had
        begun was cut.
        """
        return None if self.is_over or self._status != 200 else self._cut(log[self._began :])

    def so_far(self, log: bytes) -> Reply:
        """What has been told of the file at `place`."""
        return read_reply(log[self._began :], 0)

    def _is_fit(self, line: bytes) -> bool:
        """Whether a line of a head is of use."""
        if self._status is None:
            found = _STATUS.match(line)
            self._status = int(found[1]) if found else 0
            return self._status == 200 or (self._status >= 400 and self._status not in _LOGIN)
        length = _LENGTH.fullmatch(line)
        return length is None or self._status != 200 or int(length[1]) <= self._most

    def _told(self, line: bytes, above: bytes) -> Answer | None:
        """What a line of wget's own says; where that is a surprise, it is over."""
        if self._status == 200 and (came := _CAME.fullmatch(line)):
            return self._came(came, above)
        if self._status is None and _NO_HEAD.fullmatch(line):
            self.is_over = True
            return self._answer(read_reply(above + line + b"\n", 4))
        if self._is_refused and (error := _ERROR.fullmatch(line)):
            if int(error[1]) == self._status:
                answer = self._answer(read_reply(above, 8))
                status = answer.reply.head.status if answer.reply.head else 0
                self.is_over |= status >= 500 or status in TRANSIENT_STATUS
                return answer
        elif (self._status or 0) >= 400 and line == self._urls[self.place] + b":":
            self._is_refused = True
            return None
        self.is_over = True
        return None

    def _came(self, came: re.Match[bytes], above: bytes) -> Answer | None:
        reply, size = read_reply(above, 0), int(came[2])
        head = reply.head
        sizes = {size, int(came[3]), head and head.length, head and head.remote.size}
        if came[1] == self._urls[self.place] and sizes == {size} and size <= self._most:
            return self._answer(reply, size)
        self.is_over = True
        return None

    def _cut(self, above: bytes) -> Answer:
        answer = self._answer(read_reply(above, 4))
        self.is_over = True
        return answer

    def _answer(self, reply: Reply, size: int = 0) -> Answer:
        """And on to the next file."""
        answer = Answer(self.place, reply, self._start, size)
        self.place += 1
        self._start += size
        self._began, self._status, self._is_refused = self._position, None, False
        self.is_over = self.is_over or self.place == len(self._urls)
        return answer
