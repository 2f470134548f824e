"""Decisions, and nothing else: what an answer is worth, when it goes on too slowly, when to try
again.

Functions of data. No I/O, no clock, no randomness of its own: the caller hands in the time and the
jitter.
"""

from __future__ import annotations

from collections import deque

from wgetpool.model import (
    Approach,
    Finding,
    Head,
    Limits,
    RemoteFile,
    RetryPolicy,
    Worth,
)

OVERLAP = 64 * 1024  # bytes of a part that are fetched again and compared
STEP = 64 * 1024**2  # bytes that a step back goes, when the compared bytes differ
REAL_PROGRESS = 64 * 1024

# What the server sends is of no use for the part, which is treated otherwise from then on.
USELESS = frozenset({Finding.DIFFERS, Finding.CHANGED, Finding.LONGER, Finding.RANGE_IGNORED})
# Findings that end an attempt at once.
ENDING = USELESS | {Finding.FOREIGN}


# ---------------------------------------------------------------- what a part is worth


def plan_offset(length: int, *, approach: Approach, listed_size: int | None) -> int:
    """The offset that an attempt goes on from, for a part of `length` bytes; 0 is a new start.

    What lies behind the offset is fetched once more and compared. A part no longer than that is
    simply fetched again.
    """
    if approach is Approach.RESTART or (listed_size is not None and length > listed_size):
        return 0
    back = STEP if approach is Approach.STEP_BACK else OVERLAP
    return max(length - back, 0)


def are_uniform(data: bytes) -> bool:
    """Whether these bytes all have one value: an equal tail of zeros proves little."""
    return data.count(data[:1]) == len(data)


def judge(
    head: Head | None,
    *,
    offset: int,
    before: int,
    known: RemoteFile,
    listed_size: int | None,
    same: bool | None,
    uniform: bool,
    moved: bool = False,
) -> Finding:
    """What an answer shows about a part of `before` bytes that was continued at `offset`.

    `known` is what the part was made from, `listed_size` what the list says; `same` whether the
    compared bytes are equal (None: too few have come yet); `uniform` whether they all have one
    value, so that they prove little; `moved` whether the part is from another path, and this is
    another object until its size and those bytes say otherwise.
    """
    if moved:  # the validators of another object tell nothing
        known = RemoteFile(size=known.size)
    if head is None or head.status not in (200, 206, 416):
        return Finding.NOTHING
    if offset == 0:
        return Finding.FITS if head.status != 416 and head.start == 0 else Finding.NOTHING
    told = head.remote.size
    if head.status == 416:
        return Finding.LONGER if told is not None and told <= offset else Finding.DIFFERS
    if head.status == 200:
        return _judge_whole(head.remote, before=before, known=known, listed_size=listed_size)
    if head.start != offset:
        return Finding.DIFFERS
    return _judge_range(
        head.remote, before=before, known=known, same=same, uniform=uniform, moved=moved
    )


def _judge_whole(
    remote: RemoteFile, *, before: int, known: RemoteFile, listed_size: int | None
) -> Finding:
    """A 200 to a range."""
    if _is_foreign(remote, before=before, known=known, listed_size=listed_size):
        return Finding.FOREIGN  # no reason to give the part up
    other = None not in {remote.size, known.size} and remote.size != known.size
    return Finding.DIFFERS if other else Finding.RANGE_IGNORED


def _is_foreign(
    remote: RemoteFile, *, before: int, known: RemoteFile, listed_size: int | None
) -> bool:
    """Whether a 200 to a range is not even a changed file: not what the list says, or shorter than
    what the same server once told and has sent, and without validators, as pages are.
    """
    if remote.size is None:
        return False
    if listed_size is not None:
        return remote.size != listed_size
    bare = remote.etag is None and remote.last_modified is None
    return bare and known.size is not None and remote.size < before


def _judge_range(
    remote: RemoteFile,
    *,
    before: int,
    known: RemoteFile,
    same: bool | None,
    uniform: bool,
    moved: bool,
) -> Finding:
    """A range from where it was asked for."""
    if remote.size is not None and remote.size < before:
        return Finding.LONGER
    if remote.size is not None and known.size is not None and remote.size != known.size:
        return Finding.CHANGED
    dates_agree = remote.last_modified == known.last_modified and known.last_modified is not None
    if remote.etag and known.etag and remote.etag != known.etag:
        # The edges of a CDN may each have an ETag of their own: all else must agree, and the bytes
        # must mean something.
        sizes_agree = remote.size == known.size and known.size is not None
        if not (dates_agree and sizes_agree) or (same and uniform):
            return Finding.CHANGED
    elif _dates_differ(remote, known):
        return Finding.CHANGED
    if same is None:
        return Finding.NOTHING
    unknown = moved or known == RemoteFile()  # nobody knows whence the part is
    return Finding.FITS if same and not (uniform and unknown) else Finding.DIFFERS


def _dates_differ(remote: RemoteFile, known: RemoteFile) -> bool:
    """Whether Last-Modified shows another file; an equal ETag outweighs it."""
    if remote.etag and remote.etag == known.etag:
        return False
    dates = (remote.last_modified, known.last_modified)
    return None not in dates and dates[0] != dates[1]


def judge_stranger(
    head: Head | None, *, start: int, length: int, same: bool | None
) -> Worth | None:
    """What a file of `length` bytes is worth that somebody else has made, by the answer to a
    request for its bytes from `start` on.

    `same`: whether what came are just these bytes, and they mean something; None while too few
    have come. None while nothing can be said.
    """
    if head is None or head.status not in {200, 206, 416}:
        return None
    told = head.remote.size
    answers = head.start == start if head.status == 206 else start == 0
    if head.status == 416 or not answers or told is None or told < length or same is False:
        return Worth.OTHER
    if same is None:
        return None
    return Worth.WHOLE if told == length else Worth.TORN


def next_approach(approach: Approach, finding: Finding) -> Approach:
    """How to treat the part after an attempt that showed `finding`: one step back, then a new
    start.
    """
    match finding:
        case Finding.NOTHING | Finding.FOREIGN:
            return Approach.STEPPED_BACK if approach is Approach.STEP_BACK else approach
        case Finding.FITS:
            return Approach.CONTINUE
        case Finding.DIFFERS if approach is Approach.CONTINUE:
            return Approach.STEP_BACK
        case _:
            return Approach.RESTART


def made_progress(*, best: int, after: int, size: int | None) -> bool:
    """Whether a part that is now `after` bytes long is really beyond the `best` length that it has
    ever had.
    """
    return after - best >= (
        REAL_PROGRESS if size is None else min(REAL_PROGRESS, max(size // 100, 1))
    )


# ---------------------------------------------------------------- when it goes on too slowly


class Meter:
    """Tells a stall: fewer bytes over the last `stall_timeout` seconds than `min_rate` would
    bring.
    """

    def __init__(self, limits: Limits, *, now: float, length: int) -> None:
        self._limits = limits
        self._samples: deque[tuple[float, int]] = deque([(now, length)])

    @property
    def growth(self) -> int:
        """Bytes that the part grew by over the samples that are kept."""
        return self._samples[-1][1] - self._samples[0][1]

    def stalled(self, *, now: float, length: int) -> bool:
        """Takes a sample. After a gap in the samples (the program or the machine stood still) it
        counts anew.
        """
        window = self._limits.stall_timeout
        last_at, last_length = self._samples[-1]
        if window <= 0:
            return False
        if now - last_at > max(3.0, window / 4) or length < last_length:
            self._samples.clear()
        self._samples.append((now, length))
        while len(self._samples) > 1 and self._samples[1][0] <= now - window:
            self._samples.popleft()
        first_at, first_length = self._samples[0]
        if now - first_at < window:
            return False
        return length - first_length < max(1, self._limits.min_rate * (now - first_at))


# ---------------------------------------------------------------- when to try again


def backoff_wait(
    policy: RetryPolicy, *, barren: int, jitter: float, retry_after: float | None = None
) -> float:
    """Seconds to wait after `barren` attempts in a row without progress. `jitter` is in [0, 1):
    full jitter.

    Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    doublings = min(
        max(barren - 1, 0), 32
    )  # clamped before it is raised: no overflow after a thousand tries
    wait = min(policy.backoff * 2.0**doublings, policy.backoff_max) * jitter
    return max(wait, retry_after or 0.0)
