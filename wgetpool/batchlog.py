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
_EMPTY = re.compile(_STAMP + rb"URL:(\S+) \[0\] -> \"-\" \[1\]")
_FINISHED = b"FINISHED --"
_REFUSALS = frozenset(range(400, 600)) - {401, 407}  # of which wget makes two requests, or a fuss


@dataclass(frozen=True, slots=True)
class Answer:
    """What was told of one file. Its `size` bytes are those from `start` on, of all that came;
    None: it has not come.
    """

    place: int  # in the order of the URLs
    reply: Reply
    start: int
    size: int | None


class BatchLog:
    """Reads on where it was. `is_enough`: the server has trouble, and is to be asked no more.
    `is_over`: nothing more can be told. All has come, or a file was cut, or the answer for the file
    at `place` is not as it should be: larger than `most` bytes, or without a length, or a redirect.
    `trouble` are statuses that tell of it beside those that always do.
    """

    def __init__(
        self, urls: Sequence[Url], *, most: int, trouble: frozenset[int] = frozenset()
    ) -> None:
        self._urls = [url.reveal().encode("utf-8", "surrogateescape") for url in urls]
        self._most, self._trouble = most, TRANSIENT_STATUS | trouble
        self._began = self._position = 0  # of the file at `place`, and up to where it is read
        self._status: int | None = None
        self._is_refused = False
        self._start = 0  # where the bytes of the file at `place` begin
        self.place = 0
        self.is_enough, self.is_over = False, not urls

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

    def so_far(self, log: bytes, exit_code: int = 0) -> Reply:
        """What has been told of the file at `place`."""
        return read_reply(log[self._began :], exit_code)

    def _is_fit(self, line: bytes) -> bool:
        """Whether a line of a head is of use."""
        if self._status is None:
            found = _STATUS.match(line)
            self._status = int(found[1]) if found else 0
            if self.is_enough:  # what comes then is heard as far as it is more of the same
                return self._is_trouble
            return self._status in {200, 204} or self._status in _REFUSALS
        length = _LENGTH.fullmatch(line)
        return length is None or self._status != 200 or int(length[1]) <= self._most

    def _told(self, line: bytes, above: bytes) -> Answer | None:
        """What a line of wget's own says; where that is a surprise, it is over."""
        if self._status == 200:
            answer = self._of_file(line, above)
        elif self._status in _REFUSALS:
            answer = self._of_refusal(line, above)
        else:
            answer = self._of_nothing(line, above)
        self.is_over = self.is_over or not (answer or self._is_refused)
        return answer

    @property
    def _is_trouble(self) -> bool:
        """Whether it is the server's, and not the file's."""
        status = self._status or 0
        return status >= 500 or status in self._trouble

    def _of_file(self, line: bytes, above: bytes) -> Answer | None:
        if line.startswith(_FINISHED):
            return self._cut(above)
        if not (came := _CAME.fullmatch(line)) or came[1] != self._urls[self.place]:
            return None
        reply, size = read_reply(above, 0), int(came[2])
        head = reply.head
        sizes = {size, int(came[3]), head and head.length, head and head.remote.size}
        return self._answer(reply, size) if sizes == {size} and size <= self._most else None

    def _of_refusal(self, line: bytes, above: bytes) -> Answer | None:
        """Two lines: the URL, and the status once more."""
        if not self._is_refused:
            self._is_refused = line == self._urls[self.place] + b":"
            return None
        self._is_refused = False
        error = _ERROR.fullmatch(line)
        if error is None or int(error[1]) != self._status:
            return None
        self.is_enough |= self._is_trouble
        return self._answer(read_reply(above, 8))

    def _of_nothing(self, line: bytes, above: bytes) -> Answer | None:
        """No answer, or one without a file. What is not even HTTP may be the rest of another."""
        if self._status is None and _NO_HEAD.fullmatch(line):
            return self._last(read_reply(above + line + b"\n", 4))
        came = _EMPTY.fullmatch(line) if self._status == 204 else None
        named = came is not None and came[1] == self._urls[self.place]
        return self._last(read_reply(above, 0)) if named else None

    def _cut(self, above: bytes) -> Answer:
        return self._last(read_reply(above, 4))

    def _last(self, reply: Reply) -> Answer:
        """Nobody knows where the next file's bytes begin."""
        answer = self._answer(reply)
        self.is_over = True
        return answer

    def _answer(self, reply: Reply, size: int | None = None) -> Answer:
        """And on to the next file."""
        answer = Answer(self.place, reply, self._start, size)
        self.place += 1
        self._start += size or 0
        self._began, self._status, self._is_refused = self._position, None, False
        self.is_over = self.is_over or self.place == len(self._urls)
        return answer
