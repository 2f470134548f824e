"""Traps that wget walks into with exit code 0, one by one: the right file, or a clear failure.

More of them are in test_faults.py (answers that fit nothing) and test_resume.py (changed files,
foreign parts).
"""

from __future__ import annotations

import gzip
import json
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.faultserver import (
    FaultServer,
    FtpServer,
    Reply,
    Request,
    Script,
    file,
    not_http,
    redirect,
    status,
)
from support.runner import OVERLAP, Blob, Sandbox, random_bytes, sha256

from wgetpool.model import RemoteFile
from wgetpool.part import claim
from wgetpool.store import Store

pytest_plugins = ["support.fixtures"]

MIB = 1 << 20
GIB = 1 << 30
STEP = 64 * MIB  # how far an attempt goes back, when the compared bytes differ
SIZE = 1_000_000
CUT = 600_000
DATA = random_bytes(SIZE, 1)
OTHER = random_bytes(SIZE, 2)
WHOLE = file(DATA)
PAGE = b"<html>please log in</html>\n" * 100


def flipped(data: bytes, at: int) -> bytes:
    return Blob(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def list_of(box: Sandbox, url: str, data: bytes, column: str = "") -> Path:
    """A links file for a.tar that tells its size, a checksum, or nothing."""
    told = {"": "", "size": str(len(data)), "sha256": sha256(data)}[column]
    return box.links(f"url,name,{column or 'note'}", f"{url},a.tar,{told}")


# ---------------------------------------------------------------- the right file in the end


@dataclass(frozen=True)
class Trap:
    """What DIR has, what the server answers, what the list tells. `goes_on`: the last request asks
    for less than the whole.
    """

    script: tuple[Script, ...]
    part: bytes = b""
    listed: str = ""
    data: bytes = DATA
    goes_on: bool | None = None


HEAD = DATA[:CUT]
LONG = random_bytes(STEP + 2 * MIB, 3)
ZIPPED = gzip.compress(DATA, mtime=0)
ENCODED = file(ZIPPED, headers=("Content-Encoding: gzip",))
NO_TOTAL = f"Content-Range: bytes {CUT - OVERLAP}-{SIZE - 1}/*"

TRAPS = {
    "as long, but for its middle": Trap((WHOLE,), flipped(DATA, 500), "sha256"),
    "a prefix, but for its first byte": Trap((WHOLE,), flipped(HEAD, 0), "sha256"),
    "a head of another file": Trap((WHOLE,), OTHER[:CUT], goes_on=False),
    "a long tail of zeros": Trap((WHOLE,), HEAD + bytes(300_000), goes_on=False),
    "zeros as far as a step goes back": Trap((file(LONG),), bytes(STEP + MIB), data=LONG),
    "less than its length, in a range": Trap(
        (WHOLE.but(length=100_000), WHOLE), HEAD, goes_on=True
    ),
    "more than its length, in a range": Trap((WHOLE.but(extra=b"more" * 999),), HEAD, goes_on=True),
    "more than its length, in a whole": Trap((WHOLE.but(extra=b"more" * 999),)),
    "chunked, in a range": Trap((WHOLE.but(framing="chunked"),), HEAD, goes_on=True),
    "chunked and cut, in a range": Trap(
        (WHOLE.but(framing="chunked").cut_at(200_000), WHOLE), HEAD, goes_on=True
    ),
    "no length, in a range": Trap((WHOLE.but(framing="close"),), HEAD, goes_on=True),
    "no length and cut, in a range": Trap(
        (WHOLE.but(framing="close").cut_at(200_000), WHOLE), HEAD, goes_on=True
    ),
    "no length and cut, a checksum knows": Trap(
        (WHOLE.but(framing="close", ranges=False).cut_at(200_000), WHOLE), listed="sha256"
    ),
    "no length, no total and cut, in a range": Trap(
        (WHOLE.but(framing="close", content_range=NO_TOTAL).cut_at(200_000), WHOLE),
        HEAD,
        goes_on=True,
    ),
    "no content, to a range": Trap((status(204, body=b""), WHOLE), HEAD, goes_on=True),
    "no HTTP, to a range": Trap((not_http(PAGE), WHOLE), HEAD, goes_on=True),
    "an error page, to a range": Trap((status(500, body=PAGE), WHOLE), HEAD, goes_on=True),
    "a login page, to a range": Trap((file(PAGE, ranges=False), WHOLE), HEAD, "size"),
    "a login page that is cut, to a range": Trap(
        (file(PAGE, ranges=False, framing="close").cut_at(50), WHOLE), HEAD, "size"
    ),
    "a 416 that is wrong": Trap((status(416, "Content-Range: bytes */1000"), WHOLE), HEAD),
    "a redirect to a page": Trap((redirect("/page"), WHOLE), HEAD, "size"),
    "gzip as its encoding": Trap((ENCODED,), data=ZIPPED),
    "gzip as its encoding, in a range": Trap((ENCODED,), ZIPPED[:CUT], data=ZIPPED, goes_on=True),
    "no bytes, and a part": Trap((file(b""),), HEAD, data=b""),
    "no bytes, as the list says": Trap((file(b""),), b"some", "size", data=b""),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_brings_the_right_file(box: Sandbox, server: FaultServer, trap: str) -> None:
    """Byte for byte what the server has, whatever is in DIR and whatever comes first."""
    case = TRAPS[trap]
    server.serve("/page", file(PAGE, ranges=False))
    route = server.serve("/a.tar", *case.script)
    if case.part:
        box.dir.mkdir()
        box.part("a.tar").write_bytes(case.part)

    box.get(list_of(box, route.url, case.data, case.listed))

    assert box.files() == {"a.tar": case.data}
    assert case.goes_on in (None, route.starts[-1] > 0), route.starts


def test_a_torn_end_of_a_long_part_costs_one_step(box: Sandbox, server: FaultServer) -> None:
    """Zeros at the end of a part, as a power cut leaves them: 64 MiB are fetched again, not all."""
    route = server.serve("/a.tar", file(LONG))
    box.dir.mkdir()
    box.part("a.tar").write_bytes(LONG[: STEP + MIB - 5000] + bytes(5000))

    box.get(route.url)

    assert box.files() == {"a.tar": LONG}
    assert route.starts == [STEP + MIB - OVERLAP, MIB]


# ---------------------------------------------------------------- a clear failure


@pytest.mark.parametrize("column", ["size", "sha256"])
@pytest.mark.parametrize("part", [b"", HEAD, PAGE[:70]], ids=["no part", "a part", "a bad part"])
def test_a_page_in_the_place_of_the_file_is_caught_by_the_list(
    box: Sandbox, server: FaultServer, column: str, part: bytes
) -> None:
    """A 200 with a login page, again and again: broken, the page kept for a look; later the file is
    right. A part that its size shows not to be the page's stays as it is.
    """
    route = server.serve("/a.tar", file(PAGE, ranges=False))
    links = list_of(box, route.url, DATA, column)
    if part:
        box.dir.mkdir()
        box.part("a.tar").write_bytes(part)

    result = box.get(links, expect=1)

    assert result.only("file_failed")["class"] == "broken"
    assert "a.tar" not in box.files()
    if len(part) > OVERLAP and column == "size":
        assert box.part("a.tar").read_bytes() == part
    else:
        assert box.path(".wgetpool/rejected/a.tar").read_bytes() == PAGE

    server.serve("/a.tar", WHOLE)
    box.get(links)

    assert box.files() == {"a.tar": DATA}


@pytest.mark.parametrize("part", [b"", HEAD], ids=["no part", "a part"])
@pytest.mark.parametrize("scheme", ["file", "ftp"])
def test_a_redirect_out_of_http_is_not_followed_into_a_file(
    box: Sandbox, server: FaultServer, scheme: str, part: bytes
) -> None:
    """The other scheme may well have something to give: it is not what was asked for."""
    secret = box.root / "secret"
    secret.write_bytes(OTHER)
    box.dir.mkdir()
    if part:
        box.part("a.tar").write_bytes(part)
    with FtpServer(OTHER) as ftp:
        target = secret.as_uri() if scheme == "file" else ftp.url
        route = server.serve("/a.tar", redirect(target))

        result = box.get(route.url, "--tries", 2, expect=1)

    assert result.only("file_failed")["reason"]
    assert box.files() == ({"a.tar.part": part} if part else {})

    server.serve("/a.tar", WHOLE)
    box.get(route.url)

    assert box.files() == {"a.tar": DATA}


# ---------------------------------------------------------------- validators that mislead


def each_time_another(etag: str, data: bytes = DATA, **more: object) -> Callable[[Request], Reply]:
    """A server that never sends the same ETag twice."""
    sent = 0

    def reply(request: Request) -> Reply:
        nonlocal sent
        sent += 1
        return file(data, etag=etag.format(sent), cut=350_000, **more)

    return reply


DATE = "Mon, 01 Sep 2025 10:00:00 GMT"


@pytest.mark.parametrize(
    ("etag", "modified"),
    [('W/"{}"', None), ('W/"{}"', DATE), ('"{}"', DATE)],
    ids=["weak", "weak and a date", "strong and a date"],
)
def test_etags_that_change_with_each_answer_spoil_no_part(
    box: Sandbox, server: FaultServer, etag: str, modified: str | None
) -> None:
    """Weak ETags promise nothing, edges have their own: the bytes count, and none comes twice but
    those that are compared.
    """
    route = server.serve("/a.tar", each_time_another(etag, modified=modified))

    box.get(route.url)

    assert box.files() == {"a.tar": DATA}
    assert len(route.requests) == 4
    assert route.sent <= SIZE + len(route.requests) * OVERLAP


@pytest.mark.parametrize("size", [SIZE, SIZE + 10], ids=["same size", "larger"])
def test_a_weak_etag_does_not_vouch_for_a_part(
    box: Sandbox, server: FaultServer, size: int
) -> None:
    """The same weak ETag before and behind a change: size and compared bytes tell."""
    new = random_bytes(size, 2)
    route = server.serve(
        "/a.tar", file(DATA, etag='W/"same"').cut_at(CUT), file(new, etag='W/"same"')
    )

    box.get(route.url)

    assert box.files() == {"a.tar": new}


# ---------------------------------------------------------------- beyond 4 GiB


SPOT = 200_000


def large_file(path: Path, size: int, begin: int) -> None:
    """Zeros, with bytes that mean something at its start, and from shortly before `begin` on."""
    with path.open("wb") as stream:
        stream.truncate(size)
        stream.write(random_bytes(SPOT, 5))
        stream.seek(begin - SPOT)
        stream.write(random_bytes(size - begin + SPOT, 6))


def test_a_part_goes_on_beyond_4_gib(box: Sandbox, server: FaultServer) -> None:
    """A sparse part: nothing is served but what is missing, and offsets have more than 32 bits."""
    begin, size = 4 * GIB + 300_000, 4 * GIB + MIB
    box.dir.mkdir()
    large_file(box.root / "remote", size, begin)
    large_file(box.part("a.tar"), begin, begin)
    store = Store(box.dir)
    store.make()
    with claim(store, "a.tar") or pytest.fail("somebody holds it") as part:
        part.accept(RemoteFile(size=size), "/a.tar")  # our own: one without a record has no holes
    route = server.serve("/a.tar", file(mapped(box.root / "remote")))

    box.get(route.url, "--no-hash")

    assert route.starts == [begin - OVERLAP]
    assert route.sent == size - begin + OVERLAP
    got, remote = mapped(box.path("a.tar")), mapped(box.root / "remote")
    assert len(got) == size
    for spot in (0, SPOT, 300_000, 2 * GIB, begin - SPOT, begin - OVERLAP, begin, size - SPOT):
        assert Blob(got[spot : spot + SPOT]) == Blob(remote[spot : spot + SPOT]), spot


def mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as stream:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


# ---------------------------------------------------------------- parts that are not what they seem


def test_a_part_with_another_name_is_begun_anew(box: Sandbox, server: FaultServer) -> None:
    """A copy of DIR by hard links: what the other name leads to stays as it is."""
    route = server.serve("/a.tar", WHOLE)
    box.dir.mkdir()
    other = box.root / "other"
    other.write_bytes(HEAD)
    box.part("a.tar").hardlink_to(other)

    box.get(route.url)

    assert box.files() == {"a.tar": DATA}
    assert other.read_bytes() == HEAD


def test_a_part_of_holes_is_begun_anew(box: Sandbox, server: FaultServer) -> None:
    """A tool that makes room first; its end is zeros, and so is the file's there."""
    data = DATA[:400_000] + bytes(200_000) + DATA[600_000:]
    route = server.serve("/a.tar", file(data))
    box.dir.mkdir()
    with box.part("a.tar").open("wb") as made:
        made.truncate(600_000)

    box.get(route.url)

    assert box.files() == {"a.tar": data}


def test_zeros_without_a_past_prove_nothing(box: Sandbox, server: FaultServer) -> None:
    """Written ones, as after a power cut: a part that nobody knows, and zeros on both sides."""
    data = DATA[:400_000] + bytes(200_000) + DATA[600_000:]
    route = server.serve("/a.tar", file(data))
    box.dir.mkdir()
    box.part("a.tar").write_bytes(bytes(600_000))

    box.get(route.url)

    assert box.files() == {"a.tar": data}


def test_a_range_of_a_file_of_unknown_size_costs_a_fetch(box: Sandbox, server: FaultServer) -> None:
    """wget does not take it; asked from the start, the server tells its size."""
    odd = file(DATA, content_range=f"Content-Range: bytes {len(HEAD) - OVERLAP}-{len(DATA) - 1}/*")
    route = server.serve("/a.tar", odd.but(start_at=len(HEAD) - OVERLAP))
    box.dir.mkdir()
    box.part("a.tar").write_bytes(HEAD)

    box.get(route.url)

    assert box.files() == {"a.tar": DATA}


def test_a_size_once_told_is_not_forgotten(box: Sandbox, server: FaultServer) -> None:
    """A server that then ignores ranges, tells no length and cuts has not sent the file."""
    torn = file(DATA, ranges=False, framing="close").cut_at(700_000)
    route = server.serve("/a.tar", file(DATA).cut_at(500_000), torn, torn, WHOLE)

    box.get(route.url)

    assert box.files() == {"a.tar": DATA}


@pytest.mark.parametrize(
    "change",
    [
        {"synced": "9"},
        {"synced": -1, "boot": "before"},
        {"synced": 0.5},
        {"size": "abc"},
        {"size": [1]},
        {"boot": ["x"]},
        {"cut": {"offset": 10**30, "taken": ""}},
        {"cut": {"offset": -5, "taken": ""}},
        {"cut": 7},
    ],
    ids=str,
)
def test_an_odd_record_costs_its_part_at_most(
    box: Sandbox, server: FaultServer, change: dict[str, object]
) -> None:
    """No run ends for it, and `status` tells the rest."""
    route = server.serve("/a.tar", file(DATA).cut_at(500_000), status(404), WHOLE)
    box.get(route.url, expect=1)
    (path,) = (box.dir / ".wgetpool/parts").iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    assert box.status()["files"][0]["name"] == "a.tar"
    box.get(route.url)
    assert box.files() == {"a.tar": DATA}


def test_an_absurd_length_is_none(box: Sandbox, server: FaultServer) -> None:
    """It ends neither the run nor the file."""
    absurd = file(DATA, framing="close", headers=("Content-Length: " + "9" * 5000,))
    route, other = server.serve("/a.tar", absurd, WHOLE), server.serve("/b.tar", WHOLE)

    result = box.get(route.url, other.url, expect=None)

    assert result.code in {0, 1}
    assert box.files()["b.tar"] == DATA
