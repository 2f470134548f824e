"""The sample mirror looks like SA-1B to whoever fetches from it, and ends with its command."""

from __future__ import annotations

import csv
import http.client
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sample_mirror

SCRIPT = Path(sample_mirror.__file__)
TAR = "sa_000020.tar"


class Client:
    """One connection to a mirror, and the links that it has given out."""

    def __init__(self, mirror: sample_mirror.Mirror, links: Path) -> None:
        sample_mirror.write_links(links, mirror.origin, mirror.signer)
        with links.open(newline="") as lines:
            self.links = {
                row["file_name"]: row["cdn_link"] for row in csv.DictReader(lines, delimiter="\t")
            }
        self.connection = http.client.HTTPConnection(urlsplit(mirror.origin).netloc, timeout=10)

    def ask(self, link: str, method: str = "GET", **headers: str):
        parts = urlsplit(link)
        names = {key.replace("_", "-"): value for key, value in headers.items()}
        self.connection.request(method, f"{parts.path}?{parts.query}", headers=names)
        answer = self.connection.getresponse()
        return answer, answer.read()


def serve(expires_at: float, tmp_path: Path) -> Iterator[Client]:
    signer = sample_mirror.Signer(b"key", int(expires_at))
    with sample_mirror.Mirror(signer, rate=0) as mirror:
        thread = threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        client = Client(mirror, tmp_path / "links.txt")
        yield client
        client.connection.close()
        mirror.shutdown()
        thread.join()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    yield from serve(time.time() + 60, tmp_path)


@pytest.fixture
def late_client(tmp_path: Path) -> Iterator[Client]:
    yield from serve(time.time() - 5, tmp_path)


def test_the_links_file_has_the_form_of_sa1b(client: Client, tmp_path: Path) -> None:
    """Header, TAB, shuffled rows, two odd ones, no newline at the end."""
    lines = (tmp_path / "links.txt").read_bytes().split(b"\n")

    names = [line.split(b"\t")[0].decode() for line in lines[1:]]
    tars = {f"sa_{number:06d}.tar" for number in range(50)}

    assert lines[0] == b"file_name\tcdn_link"
    assert set(names) == tars | {"sa_images_ids.txt", "sa_co_gold.tar"}
    assert len(names) == 52
    assert names[0] == TAR
    assert names != sorted(names)


def test_a_link_has_the_form_of_sa1b(client: Client) -> None:
    """An opaque last segment, a signed query, a last parameter without a value."""
    query = r"ccb=10-5&oh=00_[\w-]{40,}&oe=[0-9A-F]{8}&_nc_sid=0fdd51&_nc_gid"
    form = re.compile(rf"http://127\.0\.0\.1:\d+/m1/v/t6/[\w-]{{100,}}\.(tar|txt)\?{query}")

    assert [link for link in client.links.values() if not form.fullmatch(link)] == []


def test_a_tar_holds_pictures_and_their_annotations(client: Client) -> None:
    """A gzip stream of a tar with pairs of JPEG and JSON that fit to each other."""
    answer, body = client.ask(client.links[TAR])

    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
        files = {name: content_of(archive, name) for name in archive.getnames()}

    assert answer.status == 200
    assert list(files) != sorted(files)
    assert {name.rpartition(".")[2] for name in files} == {"jpg", "json"}
    for name in (name for name in files if name.endswith(".json")):
        about = json.loads(files[name])
        picture = files[f"./{about['image']['file_name']}"]
        assert name == f"./sa_{about['image']['image_id']}.json"
        assert (about["image"]["height"], about["image"]["width"]) == size_of_jpeg(picture)
        for annotation in about["annotations"]:
            assert sum(runs_of(annotation["segmentation"]["counts"])[1::2]) == annotation["area"]


def content_of(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member is not None
    return member.read()


def size_of_jpeg(picture: bytes) -> tuple[int, int]:
    assert picture.startswith(b"\xff\xd8")
    assert picture.endswith(b"\xff\xd9")
    height, width = struct.unpack_from(">HH", picture, picture.index(b"\xff\xc0") + 5)
    return height, width


def runs_of(counts: str) -> list[int]:
    """COCO's compressed string, read back."""
    runs: list[int] = []
    value = shift = 0
    for letter in counts:
        digit = ord(letter) - 48
        value |= (digit & 0x1F) << shift
        shift += 5
        if not digit & 0x20:
            value -= (1 << shift) if digit & 0x10 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def test_the_same_bytes_come_on_every_start() -> None:
    """A part of yesterday can be continued today."""
    assert sample_mirror.make_file(TAR) == sample_mirror.make_file(TAR)
    assert sample_mirror.make_file("sa_000001.tar") != sample_mirror.make_file("sa_000002.tar")


@pytest.mark.parametrize(
    ("wanted", "span"),
    [("bytes=0-99", (0, 99)), ("bytes=1000-", (1000, -1)), ("bytes=-10", (-10, -1))],
)
def test_a_range_is_served(client: Client, wanted: str, span: tuple[int, int]) -> None:
    """206 with the bytes and their place."""
    _, whole = client.ask(client.links[TAR])
    first, last = (number % len(whole) for number in span)

    answer, body = client.ask(client.links[TAR], Range=wanted)

    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"
    assert body == whole[first : last + 1]


def test_a_range_behind_the_end_is_refused(client: Client) -> None:
    """416 tells the size."""
    _, whole = client.ask(client.links[TAR])

    answer, _ = client.ask(client.links[TAR], Range=f"bytes={len(whole)}-")

    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(whole)}"


def test_conditions_are_obeyed(client: Client) -> None:
    """If-Range gives a range of the same file only, If-Match nothing of another."""
    head, _ = client.ask(client.links[TAR], method="HEAD")
    etag = head.headers["ETag"]

    same, _ = client.ask(client.links[TAR], Range="bytes=5-", If_Range=etag)
    other, _ = client.ask(client.links[TAR], Range="bytes=5-", If_Range='"other"')
    refused, _ = client.ask(client.links[TAR], If_Match='"other"')
    dated, _ = client.ask(client.links[TAR], If_Unmodified_Since=head.headers["Last-Modified"])

    assert [same.status, other.status, refused.status, dated.status] == [206, 200, 412, 200]


def test_a_changed_link_is_refused(client: Client) -> None:
    """The signature covers path and query to the last byte."""
    link = client.links[TAR]
    changed = [link + "=", link.replace("oe=", "oe=7"), re.sub("oh=[^&]*&", "", link), link[:-9]]
    changed.append(client.links["sa_000001.tar"].partition("?")[0] + "?" + link.partition("?")[2])

    answers = [client.ask(other) for other in changed]

    assert {(answer.status, body) for answer, body in answers} == {(403, b"Bad URL hash")}


def test_a_link_expires(late_client: Client) -> None:
    """403, in the words of the CDN."""
    answer, body = late_client.ask(late_client.links[TAR])

    assert (answer.status, body) == (403, b"URL signature expired")


# ---------------------------------------------------------------- the command


def start(tmp_path: Path, *command: str | Path) -> subprocess.Popen[str]:
    links = tmp_path / "my links.txt"
    return subprocess.Popen(
        [sys.executable, SCRIPT, "--links", links, "--", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def test_the_command_runs_beside_the_mirror(tmp_path: Path) -> None:
    """It fetches what the list names, and its exit code is ours."""
    fetch = 'cut -f2 "$1" | sed -n 2p | tr -d "\\n" | wget -q -O "$2" -i - && exit 7'

    with start(
        tmp_path, "sh", "-c", fetch, "-", tmp_path / "my links.txt", tmp_path / "a.tar"
    ) as run:
        output = run.communicate(timeout=60)

    assert (run.returncode, output) == (7, ("", ""))
    assert (tmp_path / "a.tar").read_bytes() == sample_mirror.make_file(TAR)


@pytest.mark.parametrize(
    ("number", "to_group", "status"),
    [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 143), (signal.SIGHUP, False, 129)],
)
def test_a_signal_ends_both(tmp_path: Path, number: int, to_group: bool, status: int) -> None:
    """Ctrl-C goes to the command too, other signals are passed on; neither is a traceback."""
    with start(tmp_path, "sh", "-c", "echo ready; exec sleep 60") as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"

        os.kill(-run.pid if to_group else run.pid, number)
        output = run.communicate(timeout=10)

    assert (run.returncode, output) == (status, ("", ""))


def test_it_serves_until_ctrl_c_without_a_command(tmp_path: Path) -> None:
    """A name for the curious, then a quiet end."""
    with start(tmp_path) as run:
        assert run.stdout is not None
        assert "Serving on http://127.0.0.1:" in run.stdout.readline()
        assert run.stdout.readline() == "Ctrl-C ends it.\n"

        run.send_signal(signal.SIGINT)
        output = run.communicate(timeout=10)

    assert (run.returncode, output) == (0, ("", ""))


def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path) -> None:
    """No such command, no such place for the list."""
    with start(tmp_path, "no-such-command") as run:
        unknown = run.communicate(timeout=10)[1]
    with start(tmp_path / "my links.txt", "true") as other:
        unwritable = other.communicate(timeout=10)[1]

    assert run.returncode == 127
    assert unknown == "sample_mirror: cannot run no-such-command: No such file or directory\n"
    assert other.returncode == 2
    assert unwritable.count("\n") == 1
