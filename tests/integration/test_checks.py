"""Checksums, archives, digests of a file that came in pieces, and a machine that went down."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest
from support.faultserver import FaultServer, file, status
from support.runner import OVERLAP, Sandbox, random_bytes, sha256

pytest_plugins = ["support.fixtures"]

DATA = random_bytes(3_000_000, seed=8)


def sums(box: Sandbox, *lines: str, name: str = "SHA256SUMS") -> Path:
    return box.links(*lines, name=name)


def make_tar(data: bytes) -> bytes:
    """A tar in a gzip, as SA-1B has them."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        info = tarfile.TarInfo("x.jpg")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


ARCHIVE = gzip.compress(make_tar(DATA[:500_000]), 1)
TORN = gzip.compress(make_tar(DATA[:500_000])[:300_000], 1)  # a right gzip of half a tar


def test_a_file_of_checksums_proves_what_it_names(box: Sandbox, server: FaultServer) -> None:
    """Marks, paths and other algorithms, as sha256sum and md5sum write them."""
    routes = [server.serve(f"/{name}", file(DATA)) for name in ("a.tar", "b.tar", "c.tar")]
    md5 = hashlib.md5(DATA).hexdigest()
    listed = sums(box, f"{sha256(DATA)}  ./a.tar", f"{md5} */data/sa1b/b.tar", "")

    result = box.get(*(route.url for route in routes), "--checksums", listed)

    assert result.only("file_done", "a.tar")["proof"] == ["size", "sha256"]
    assert result.only("file_done", "b.tar")["proof"] == ["size", "md5"]
    assert result.only("file_done", "c.tar")["proof"] == ["size"]
    assert "no checksum of 1 file" in result.stderr


def test_a_wrong_checksum_fails_after_a_second_fetch(box: Sandbox, server: FaultServer) -> None:
    """The file is kept where it can be looked at, and not published."""
    route = server.serve("/a.tar", file(DATA))
    listed = sums(box, f"{sha256(b'other')}  a.tar")

    result = box.get(route.url, "--checksums", listed, expect=1)

    failed = result.only("file_failed")
    assert (failed["class"], failed["attempts"], failed["sha256"]) == ("broken", 2, sha256(DATA))
    assert box.files() == {}
    assert (box.dir / ".wgetpool/rejected/a.tar").read_bytes() == DATA
    assert len(route.requests) == 2
    assert box.status()["files"][0]["reason"] == failed["reason"]

    box.get(route.url, "--checksums", listed, expect=1)
    assert len(route.requests) == 3, "the same bytes once more need no second look"


@pytest.mark.parametrize(
    "line", ["no checksum", "abc  a.tar", f"{'0' * 64}  a.tar\n{'1' * 64}  a.tar"]
)
def test_a_bad_file_of_checksums_fetches_nothing(
    box: Sandbox, server: FaultServer, line: str
) -> None:
    """Named with its line."""
    route = server.serve("/a.tar", file(DATA))
    listed = sums(box, line)

    result = box.get(route.url, "--checksums", listed, expect=2)

    assert str(listed) in result.stderr
    assert not route.requests


def test_digests_are_right_however_a_file_came(box: Sandbox, server: FaultServer) -> None:
    """In pieces, over two runs, from a server that changed it, after a step back."""
    other = random_bytes(3_000_000, seed=9)
    cut = server.serve("/cut", *(file(DATA).cut_at(400_000) for _ in range(6)), file(DATA))
    changed = server.serve(
        "/changed", file(DATA, etag='"1"').cut_at(2_000_000), file(other, etag='"2"')
    )
    wrong = server.serve("/wrong", file(DATA))
    box.dir.mkdir()
    box.part("wrong").write_bytes(DATA[:1_000_000] + other[:1_000_000])

    box.get(cut.url, changed.url, wrong.url)

    assert box.files() == {"cut": DATA, "changed": other, "wrong": DATA}
    told = box.run("status", box.dir, "--checksums").stdout
    check = subprocess.run(
        ["sha256sum", "--check", "--quiet", "-"], input=told, text=True, cwd=box.dir, check=False
    )
    assert check.returncode == 0
    assert len(told.splitlines()) == 3
    assert box.run("verify", box.dir).code == 0


def test_archives_are_read_to_their_end(box: Sandbox, server: FaultServer) -> None:
    """Told by their first bytes; what is none is published as ever."""
    served = {"a.tar": ARCHIVE, "b": make_tar(DATA), "text.tar": b"just a text\n"}
    urls = [server.serve(f"/{name}", file(data)).url for name, data in served.items()]

    result = box.get(*urls, "--check-archives")

    proofs = {event["name"]: event["proof"] for event in result.of("file_done")}
    assert proofs == {"a.tar": ["size", "archive"], "b": ["size", "archive"], "text.tar": ["size"]}
    assert box.files() == served


@pytest.mark.parametrize(
    "broken", [TORN, ARCHIVE[:-1000], ARCHIVE[:200_000] + b"?" + ARCHIVE[200_001:]]
)
def test_a_broken_archive_is_fetched_once_more(
    box: Sandbox, server: FaultServer, broken: bytes
) -> None:
    """The same bytes again: it is broken at its source. Never in a loop."""
    route = server.serve("/a.tar", file(broken))

    result = box.get(route.url, "--check-archives", "--tries", "9", expect=1)

    failed = result.only("file_failed")
    assert (failed["class"], failed["attempts"]) == ("broken", 2)
    assert "the same as before" in failed["reason"]
    assert (box.dir / ".wgetpool/rejected/a.tar").read_bytes() == broken
    assert box.files() == {}
    box.get(route.url, "--check-archives", expect=1)
    assert len(route.requests) == 3


def test_an_archive_that_was_broken_on_the_way_is_mended(box: Sandbox, server: FaultServer) -> None:
    """The second fetch brings the right one."""
    route = server.serve(
        "/a.tar", file(ARCHIVE[:200_000] + b"?" + ARCHIVE[200_001:]), file(ARCHIVE)
    )

    result = box.get(route.url, "--check-archives")

    assert result.only("file_done")["attempts"] == 2
    assert box.files() == {"a.tar": ARCHIVE}


def test_a_right_checksum_of_a_broken_archive_ends_it_at_once(
    box: Sandbox, server: FaultServer
) -> None:
    """Four shards of the public mirrors of SA-1B are like that."""
    route = server.serve("/a.tar", file(TORN))
    listed = sums(box, f"{sha256(TORN)}  a.tar")

    result = box.get(route.url, "--check-archives", "--checksums", listed, expect=1)

    failed = result.only("file_failed")
    assert (failed["class"], failed["attempts"]) == ("broken", 1)
    assert "its checksum is right" in failed["reason"]
    assert len(route.requests) == 1


@pytest.mark.parametrize(
    "tail", [bytes(1_500_000), DATA[500_000:2_000_000]], ids=["zeros", "right"]
)
def test_after_a_power_cut_only_what_was_on_the_disk_counts(
    box: Sandbox, server: FaultServer, tail: bytes
) -> None:
    """The part is longer than what is known to be written: the rest may be zeros, in its middle
    too.
    """
    route = server.serve("/a.tar", file(DATA).cut_at(500_000), status(404), file(DATA))
    box.get(route.url, expect=1)
    (path,) = (box.dir / ".wgetpool/parts").iterdir()
    path.write_text(
        json.dumps({**json.loads(path.read_text()), "boot": "before", "synced": 300_000})
    )
    box.part("a.tar").write_bytes(DATA[:500_000] + tail)

    box.get(route.url)

    assert box.files() == {"a.tar": DATA}
    assert route.requests[-1].start == 300_000 - OVERLAP


FLOCKS = {
    "none": "raise OSError(errno.ENOSYS, 'no locks')",
    "everybody": "pass",
}


@pytest.mark.parametrize("kind", FLOCKS)
def test_where_no_lock_holds_the_user_must_say_so(
    box: Sandbox, server: FaultServer, kind: str
) -> None:
    """Nothing is fetched until `--no-lock`; then all is as ever."""
    route = server.serve("/a.tar", file(DATA))
    shim = box.root / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(
        f"import errno, fcntl\ndef flock(*_):\n    {FLOCKS[kind]}\nfcntl.flock = flock\n"
    )
    paths = [str(shim), *filter(None, [box.environment().get("PYTHONPATH")])]
    box.env["PYTHONPATH"] = ":".join(paths)

    refused = box.get(route.url, expect=3)

    assert "--no-lock" in refused.stderr
    assert not route.requests
    box.get(route.url, "--no-lock")
    assert box.files() == {"a.tar": DATA}
    assert box.status()["running"] is False
