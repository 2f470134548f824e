"""What shows that a file is whole, and digests that are taken while it grows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.doubles import FlagDouble

from wgetpool import proof
from wgetpool.model import Cause, Checks, Checksum, Entry, Url
from wgetpool.proof import Digests, Trails

DATA = os.urandom(3 * proof.BLOCK + 17)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.tar.part"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def descriptor(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDWR)
    yield opened
    os.close(opened)


def test_digests_follow_a_file_that_grows(descriptor: int) -> None:
    """Step by step, to where they are told; what they have is of the bytes so far."""
    digests, stop = Digests(["sha256", "md5"]), FlagDouble()

    for end in (0, 1000, 1000, proof.BLOCK + 1, len(DATA) + 5):
        assert digests.follow(descriptor, end, stop=stop)
        assert digests.position == min(end, len(DATA))
        assert digests.hex()["sha256"] == sha256(DATA[:end])

    assert digests.hex()["md5"] == hashlib.md5(DATA).hexdigest()


def test_a_stop_ends_the_reading(descriptor: int) -> None:
    """Between two blocks: a file of 11 GB holds nobody up."""
    digests, stop = Digests(["sha256"]), FlagDouble()
    stop.set()

    assert not digests.follow(descriptor, len(DATA), stop=stop)
    assert digests.position == 0


def test_without_algorithms_nothing_is_read() -> None:
    """`--no-hash`: there is not even a file."""
    assert Digests([]).follow(-1, 1000, stop=FlagDouble())


class TestTrails:
    """Digests between two attempts."""

    def left(self, descriptor: int) -> tuple[Trails, Digests]:
        digests, trails = Digests(["sha256"]), Trails()
        digests.follow(descriptor, 1000, stop=FlagDouble())
        trails.leave("a", os.fstat(descriptor), digests)
        return trails, digests

    def test_they_go_on(self, descriptor: int) -> None:
        """Once: whoever takes them has them."""
        trails, digests = self.left(descriptor)

        assert trails.take("a", os.fstat(descriptor), end=1000) is digests
        assert trails.take("a", os.fstat(descriptor), end=1000) is None

    def test_a_part_that_somebody_touched_has_none(self, descriptor: int) -> None:
        """Another run may have put other bytes there."""
        trails, _ = self.left(descriptor)
        os.pwrite(descriptor, b"?", 3)
        os.utime(descriptor, (1, 1))

        assert trails.take("a", os.fstat(descriptor), end=1000) is None

    def test_a_step_back_has_none(self, descriptor: int) -> None:
        """What they have seen may be cut off."""
        trails, _ = self.left(descriptor)

        assert trails.take("a", os.fstat(descriptor), end=999) is None

    def test_another_name_has_none(self, descriptor: int) -> None:
        """Each part has its own."""
        trails, _ = self.left(descriptor)

        assert trails.take("b", os.fstat(descriptor), end=1000) is None


def check(path: Path, *, told: int | None = len(DATA), **more: object) -> proof.Verdict:
    """The verdict on a file, whatever its length."""
    checks = more.pop("checks", Checks())
    assert isinstance(checks, Checks)
    entry = Entry("a.tar", Url("http://x/a.tar"), **more)  # type: ignore[arg-type]
    with path.open("rb") as file:
        verdict = proof.check(
            file.fileno(),
            entry,
            size=path.stat().st_size,
            told=told,
            digests=Digests(proof.algorithms(entry, checks)),
            checks=checks,
            stop=FlagDouble(),
        )
    assert verdict is not None
    return verdict


SUMS = (Checksum("sha256", sha256(DATA)), Checksum("md5", hashlib.md5(DATA).hexdigest()))


def test_what_proved_a_file_is_named(path: Path) -> None:
    """The size where anybody told it, then the checksums of the list; our own sha256 is none."""
    assert check(path).proof == ("size",)
    assert check(path, told=None).proof == ()
    assert check(path, told=None, size=len(DATA)).proof == ("size",)
    assert check(path, checksums=SUMS).proof == ("size", "sha256", "md5")
    assert check(path).sha256 == sha256(DATA)
    assert check(path, checks=Checks(sha256=False)).sha256 is None


def test_a_wrong_size_and_a_wrong_checksum_are_complaints(path: Path) -> None:
    """And may have been an accident: fetching anew is worth it."""
    wrong = (SUMS[0], Checksum("md5", "0" * 32))
    for cause, verdict in (
        (Cause.SIZE, check(path, size=len(DATA) - 1)),
        (Cause.SIZE, check(path, size=len(DATA) - 1, checksums=wrong)),
        (Cause.CHECKSUM, check(path, checksums=wrong)),
    ):
        assert verdict.complaint is not None
        assert verdict.cause is cause
        assert not verdict.final
        assert verdict.proof == ()


@pytest.mark.parametrize("listed", [(), (SUMS[0],)])
def test_a_broken_archive_with_a_right_checksum_is_so_at_its_source(
    tmp_path: Path, listed: tuple[Checksum, ...]
) -> None:
    """Fetching it anew would bring the same."""
    path = tmp_path / "a.tar"
    path.write_bytes(b"\x1f\x8b\x08" + DATA)
    sums = tuple(Checksum(each.algorithm, sha256(path.read_bytes())) for each in listed)

    verdict = check(path, checks=Checks(archives=True), checksums=sums)

    assert verdict.complaint is not None
    assert verdict.complaint.startswith("the archive is broken")
    assert verdict.cause is Cause.ARCHIVE
    assert verdict.final == bool(listed)
    assert check(path, checksums=sums).complaint is None
