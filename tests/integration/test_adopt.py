"""Files in DIR that the ledger does not know: looked at first, then taken over, continued, or
fetched anew beside.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO

import pytest
from support.faultserver import FaultServer, Reply, Request, file, status
from support.runner import OVERLAP, Sandbox, random_bytes, sha256

pytest_plugins = ["support.fixtures"]

DATA = random_bytes(1_000_000, seed=4)
OTHER = random_bytes(1_000_000, seed=5)
SMALL = DATA[:5000]


def put(box: Sandbox, data: bytes, name: str = "a.tar") -> Path:
    """A file of an older script."""
    path = box.path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def recorded(box: Sandbox) -> dict[str, str]:
    """The sha256 of the ledger by name."""
    lines = box.run("status", box.dir, "--checksums", expect=None).stdout.splitlines()
    return {line[66:]: line[:64] for line in lines}


@pytest.mark.parametrize("data", [DATA, SMALL, b"x"], ids=["long", "short", "one byte"])
def test_a_whole_file_is_taken_over_as_it_is(
    box: Sandbox, server: FaultServer, data: bytes
) -> None:
    """One request for its end, no new bytes, the same inode; known from then on."""
    route = server.serve("/a.tar", file(data))
    before = put(box, data).stat()

    result = box.get(route.url)

    skipped = result.only("file_skipped")
    assert (skipped["name"], skipped["bytes"], skipped["why"]) == ("a.tar", len(data), "adopted")
    assert len(route.requests) == 1
    assert route.sent <= OVERLAP
    after = box.path("a.tar").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert box.files() == {"a.tar": data}
    assert recorded(box) == {"a.tar": sha256(data)}
    assert box.get(route.url).only("file_skipped")["why"] == "known"
    assert len(route.requests) == 1


@pytest.mark.parametrize("size", [700_000, 70_000, 3000, len(DATA) - 1])
def test_a_torn_file_is_continued(box: Sandbox, server: FaultServer, size: int) -> None:
    """What is there is not fetched again, but for the bytes that are compared."""
    route = server.serve("/a.tar", file(DATA))
    put(box, DATA[:size])

    result = box.get(route.url)

    assert result.only("file_done")["bytes"] == len(DATA)
    assert box.files() == {"a.tar": DATA}
    assert route.sent <= len(DATA) - size + 2 * OVERLAP


@pytest.mark.parametrize(
    "there",
    [
        OTHER,
        OTHER[:500_000],
        DATA + b"more",
        bytes(len(DATA)),
        DATA[:600_000] + bytes(400_000),
        b"",
        b"<html>log in</html>",
    ],
    ids=["other", "other, shorter", "longer", "zeros", "tail of zeros", "empty", "page"],
)
def test_anything_else_is_fetched_anew_beside_it(
    box: Sandbox, server: FaultServer, there: bytes
) -> None:
    """It stays until its replacement is whole."""
    seen = []

    def spy(_: Request) -> Reply:
        seen.append(box.path("a.tar").read_bytes())
        return file(DATA)

    route = server.serve("/a.tar", spy)
    put(box, there)

    result = box.get(route.url)

    assert result.only("file_done")["bytes"] == len(DATA)
    assert box.files() == {"a.tar": DATA}
    assert set(seen) == {there}
    assert "fetched anew beside it" in result.said


def test_a_file_of_holes_is_not_trusted(box: Sandbox, server: FaultServer) -> None:
    """A tool that makes room first, and died: its end came, its middle did not."""
    route = server.serve("/a.tar", file(DATA))
    with put(box, b"").open("r+b") as made:
        made.truncate(len(DATA))
        made.seek(len(DATA) - 200_000)
        made.write(DATA[-200_000:])

    box.get(route.url)

    assert box.files() == {"a.tar": DATA}


def test_zeros_prove_nothing(box: Sandbox, server: FaultServer) -> None:
    """A file that ends in zeros, and one of zeros only."""
    data = DATA + bytes(200_000)
    route = server.serve("/a.tar", file(data))
    put(box, bytes(len(data)))

    box.get(route.url)

    assert box.files() == {"a.tar": data}


def test_a_listed_checksum_is_checked_too(box: Sandbox, server: FaultServer) -> None:
    """A wrong byte in the middle does not show at the end."""
    good, bad = (server.serve(f"/{name}", file(DATA)) for name in ("good", "bad"))
    put(box, DATA, "good")
    put(box, DATA[:1000] + b"?" + DATA[1001:], "bad")
    links = box.links(
        "url\tsha256", f"{good.url}\t{sha256(DATA)}", f"{bad.url}\t{sha256(DATA)}", name="l.tsv"
    )

    result = box.get(links)

    assert result.only("file_skipped")["name"] == "good"
    assert result.only("file_done")["name"] == "bad"
    assert "sha256" in result.said
    assert box.files() == {"good": DATA, "bad": DATA}


def test_a_server_without_ranges_costs_a_fetch(box: Sandbox, server: FaultServer) -> None:
    """Never a wrong file."""
    whole, torn = (server.serve(f"/{name}", file(DATA, ranges=False)) for name in ("w", "t"))
    put(box, DATA, "w")
    put(box, DATA[:300_000], "t")

    box.get(whole.url, torn.url)

    assert box.files() == {"w": DATA, "t": DATA}


def test_a_link_that_leads_nowhere_leaves_the_file(box: Sandbox, server: FaultServer) -> None:
    """Nothing is known of it, so nothing is done to it."""
    route = server.serve("/a.tar", status(404))
    put(box, OTHER)

    result = box.get(route.url, expect=1)

    assert result.only("file_failed")["class"] == "permanent"
    assert box.files() == {"a.tar": OTHER}


def test_the_look_is_tried_again(box: Sandbox, server: FaultServer) -> None:
    """A busy server, then a cut answer, are no reason to fetch the file."""
    route = server.serve("/a.tar", status(503), file(DATA).cut_at(1000), file(DATA))
    put(box, DATA)

    result = box.get(route.url)

    assert result.only("file_skipped")["why"] == "adopted"
    assert len(result.of("attempt_failed")) == 2
    assert route.sent < 2 * OVERLAP


def test_a_replacement_is_continued_by_the_next_run(box: Sandbox, server: FaultServer) -> None:
    """Looked at once a run; the part beside it goes on, and what is there stays."""
    route = server.serve("/a.tar", file(DATA), file(DATA).cut_at(600_000), status(404))
    put(box, OTHER)
    box.get(route.url, expect=1)
    assert box.path("a.tar").read_bytes() == OTHER
    assert box.part_size("a.tar") == 600_000
    again = server.serve("/a.tar", file(DATA))

    box.get(again.url)

    assert box.files() == {"a.tar": DATA}
    assert again.sent <= len(DATA) - 600_000 + 2 * OVERLAP


def test_a_file_that_somebody_writes_to_is_left_alone(box: Sandbox, server: FaultServer) -> None:
    """The older script is still running."""
    route = server.serve("/a.tar", file(DATA))
    path = put(box, DATA[:500_000])
    with path.open("ab"):
        result = box.get(route.url, "--tries", "2", expect=1)

    assert "writing" in result.only("file_failed")["reason"]
    assert box.files() == {"a.tar": DATA[:500_000]}
    box.get(route.url)
    assert box.files() == {"a.tar": DATA}


def test_another_name_of_a_torn_file_stays_as_it_is(box: Sandbox, server: FaultServer) -> None:
    """A hard link is somebody else's file as well."""
    route = server.serve("/a.tar", file(DATA))
    path = put(box, DATA[:500_000])
    other = box.root / "other"
    os.link(path, other)

    box.get(route.url)

    assert box.files() == {"a.tar": DATA}
    assert other.read_bytes() == DATA[:500_000]


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_is_no_file_is_left_alone(box: Sandbox, server: FaultServer, kind: str) -> None:
    """Its own file fails, the others are fetched."""
    route, more = (server.serve(f"/{name}.tar", file(DATA)) for name in "ab")
    path, elsewhere = box.path("a.tar"), box.root / "elsewhere"
    box.dir.mkdir()
    elsewhere.write_bytes(OTHER)
    path.mkdir() if kind == "folder" else path.symlink_to(elsewhere)

    result = box.get(route.url, more.url, expect=1)

    assert "left as it is" in result.only("file_failed")["reason"]
    assert path.is_dir() if kind == "folder" else path.readlink() == elsewhere
    assert elsewhere.read_bytes() == OTHER
    assert box.path("b.tar").read_bytes() == DATA


def test_a_lost_ledger_is_found_again(box: Sandbox, server: FaultServer) -> None:
    """All files are taken over, by one request each, and the parts go on."""
    routes = [server.serve(f"/{number}.tar", file(DATA)) for number in range(3)]
    cut = server.serve("/cut.tar", file(DATA).cut_at(600_000), status(404), file(DATA))
    urls = [route.url for route in (*routes, cut)]
    box.get(*urls, expect=1)
    shutil.rmtree(box.dir / ".wgetpool")

    result = box.get(*urls)

    assert [event["why"] for event in result.of("file_skipped")] == ["adopted"] * 3
    assert result.only("file_done")["name"] == "cut.tar"
    assert box.files() == {**{f"{n}.tar": DATA for n in range(3)}, "cut.tar": DATA}
    assert all(route.sent <= len(DATA) + OVERLAP for route in routes)
    assert cut.sent <= len(DATA) + 2 * OVERLAP + 100


def test_a_known_file_of_another_size_is_looked_at(box: Sandbox, server: FaultServer) -> None:
    """It was torn after it had been fetched."""
    route = server.serve("/a.tar", file(DATA))
    box.get(route.url)
    os.truncate(box.path("a.tar"), 400_000)

    box.get(route.url)

    assert box.files() == {"a.tar": DATA}
    assert route.sent <= 2 * len(DATA) - 400_000 + 2 * OVERLAP


def test_the_plan_tells_of_them(box: Sandbox, server: FaultServer) -> None:
    """Nothing is fetched, nothing is touched."""
    route = server.serve("/a.tar", file(DATA))
    put(box, DATA)

    result = box.run("get", route.url, "-o", box.dir, "--dry-run")

    assert "looked at first" in result.stdout
    assert not route.requests


def test_no_hash_keeps_none(box: Sandbox, server: FaultServer) -> None:
    """Neither of a fetched file nor of an adopted one."""
    a, b = (server.serve(f"/{name}.tar", file(DATA)) for name in "ab")
    put(box, DATA)

    box.get(a.url, b.url, "--no-hash")

    assert recorded(box) == {}


def test_a_login_page_does_not_cost_a_good_file(box: Sandbox, server: FaultServer) -> None:
    """It is shorter than what it replaces, and nothing but the server speaks for it."""
    route = server.serve("/a.tar", status(200, body=b"<html>log in</html>"))
    put(box, DATA)

    box.get(route.url)

    assert (box.dir / ".wgetpool/rejected/a.tar").read_bytes() == DATA


def test_a_login_page_does_not_cost_a_part(box: Sandbox, server: FaultServer) -> None:
    """A part that the page does not fit stays, with the list's size or without."""
    page = status(200, body=b"<html>log in</html>")
    begun = file(DATA).cut_at(600_000)
    told, untold = (
        server.serve(f"/{name}", begun, page, file(DATA)) for name in ("told", "untold")
    )
    links = box.links("url\tsize", f"{told.url}\t{len(DATA)}", name="l.tsv")

    box.get(links, untold.url)

    assert box.files() == {"told": DATA, "untold": DATA}
    for route in (told, untold):
        assert route.sent <= len(DATA) + 4 * OVERLAP


def test_a_file_that_somebody_begins_to_write_to_is_left_alone(
    box: Sandbox, server: FaultServer
) -> None:
    """While it is being looked at."""
    path = put(box, DATA[:500_000])
    opened: list[IO[bytes]] = []

    def begin(_: Request) -> Reply:
        if not opened:
            opened.append(path.open("r+b"))
        return file(DATA)

    route = server.serve("/a.tar", begin)
    try:
        result = box.get(route.url, "--tries", "2", expect=1)
    finally:
        opened[0].close()

    assert "writing" in result.only("file_failed")["reason"]
    assert box.files() == {"a.tar": DATA[:500_000]}


@pytest.mark.parametrize("listed", ["size", "sha256"])
def test_a_known_file_is_held_against_what_the_list_says_now(
    box: Sandbox, server: FaultServer, listed: str
) -> None:
    """Checksums that were published later."""
    route = server.serve("/a.tar", file(DATA))
    box.get(route.url)
    wrong = "5" if listed == "size" else sha256(OTHER)
    right = str(len(DATA)) if listed == "size" else sha256(DATA)

    good = box.links(f"url\t{listed}", f"{route.url}\t{right}", name="good.tsv")
    assert box.get(good).only("file_skipped")["why"] == "known"
    assert len(route.requests) == 1
    bad = box.links(f"url\t{listed}", f"{route.url}\t{wrong}", name="bad.tsv")
    assert box.get(bad, expect=1).only("file_failed")["class"] == "broken"
    assert box.files() == {"a.tar": DATA}


def test_a_continued_file_gets_the_mode_of_the_umask(box: Sandbox, server: FaultServer) -> None:
    """As every published file."""
    route = server.serve("/a.tar", file(DATA))
    put(box, DATA[:500_000]).chmod(0o600)

    box.get(route.url)

    assert box.path("a.tar").stat().st_mode & 0o777 == 0o644
