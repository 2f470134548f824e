"""Against a real nginx: an SA-1B list of many files, and an interrupted run that goes on."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.nginx import Nginx, Served, serving
from support.runner import OVERLAP, Sandbox, random_bytes, sha256, wait_until

pytest_plugins = ["support.fixtures"]

KIB = 1024


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 files of 10 KB to 2 MB, their names opaque as a CDN's."""
    folder = tmp_path_factory.mktemp("data")
    chance = random.Random(1)
    for n in range(60):
        size = int(10_000 * 200 ** chance.random())
        (folder / f"An{n:03}{'q' * 110}.tar").write_bytes(random_bytes(size, n))
    return folder


@pytest.fixture(scope="module")
def nginx(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """One nginx for the module."""
    with serving(data, tmp_path_factory.mktemp("nginx")) as running:
        yield running


def sa1b_list(box: Sandbox, data: Path, nginx: Nginx, rate: int | None = None) -> dict[str, Path]:
    """Writes the links file as Meta issues it: shuffled, signed, no newline at the end."""
    files = {f"sa_{n:06}.tar": path for n, path in enumerate(sorted(data.iterdir()))}
    names = random.Random(2).sample(sorted(files), len(files))
    signature = "?ccb=10-5&oh=00_AfX{}&oe=7FFFFFFF&_nc_sid=0fdd51&_nc_gid"
    urls = {name: nginx.url(files[name].name, rate) + signature.format(name) for name in names}
    box.table(urls, name="segment_anything_links.txt")
    return files


def full_speed(nginx: Nginx) -> list[Served]:
    """The requests of the test that asks for no slow door."""
    return [served for served in nginx.served if served.target.startswith("/full/")]


def test_sixty_files_by_eight_workers_are_right(box: Sandbox, data: Path, nginx: Nginx) -> None:
    """Every file right by sha256, each fetched by one request, nothing but the files in DIR."""
    files = sa1b_list(box, data, nginx)

    result = box.get(box.root / "segment_anything_links.txt", "-j", 8, timeout=60)

    assert {name: sha256(box.path(name)) for name in files} == {
        name: sha256(path) for name, path in files.items()
    }
    assert sorted(path.name for path in box.dir.iterdir()) == [".wgetpool", *files]
    assert result.only("run_finished")["done"] == 60
    wait_until(lambda: len(full_speed(nginx)) >= 60)
    twice = [served for served in full_speed(nginx) if served.status != 200]
    assert (len(full_speed(nginx)), twice) == (60, []), result.story


def test_an_interrupted_run_goes_on_where_it_was(box: Sandbox, data: Path, nginx: Nginx) -> None:
    """SIGTERM in the middle, then again: right files, and hardly a byte asked for twice."""
    files = sa1b_list(box, data, nginx, rate=400 * KIB)
    links = box.root / "segment_anything_links.txt"
    wanted = ("--order", "name", "--end", 12, "-j", 4)
    chosen = sorted(files)[:12]
    with box.start_get(links, *wanted) as run:
        wait_until(lambda: "file_done" in run.stdout)
        wait_until(lambda: any(box.part_size(name) > 2 * OVERLAP for name in chosen))
        run.signal(signal.SIGTERM)
        run.finish(10, expect=143)

    box.get(links, *wanted, timeout=60)

    assert {name: sha256(data) for name, data in box.files().items()} == {
        name: sha256(files[name]) for name in chosen
    }
    wait_until(lambda: 206 in {served.status for served in nginx.served})
