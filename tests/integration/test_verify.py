"""`verify` through the command line: a folder that rots, is told, put back, and fetched again."""

from __future__ import annotations

import json
import os
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.faultserver import FaultServer, file
from support.runner import Sandbox, random_bytes, sha256, wait_until

from wgetpool.ledger import Ledger, read_all
from wgetpool.model import FileRecord
from wgetpool.store import Store

pytest_plugins = ["support.fixtures"]

# Longer than what an examination of a strange file compares.
FILES = {f"train/sa_{n:06}.tar": random_bytes(300_000, seed=n) for n in range(6)}
WHOLE, FLIPPED, TORN, GONE, *_ = FILES
BAD = {FLIPPED: "changed", TORN: "torn", GONE: "missing"}


@pytest.fixture
def links(box: Sandbox, server: FaultServer) -> Path:
    """All files are in DIR, in the ledger, and at the server."""
    store = Store(box.dir)
    store.make()
    with closing(Ledger(store.ledger)) as ledger:
        for name, data in FILES.items():
            store.make_folder(name)
            box.path(name).write_bytes(data)
            ledger.record(
                [FileRecord(name=name, state="done", size=len(data), sha256=sha256(data))]
            )
    return box.table({name: server.serve(f"/{name}", file(FILES[name])).url for name in FILES})


def spoil(box: Sandbox) -> bytes:
    """One byte flipped, one file cut, one removed, one that nobody knows. Returns the flipped."""
    data = bytearray(FILES[FLIPPED])
    data[1000] ^= 1
    box.path(FLIPPED).write_bytes(data)
    os.truncate(box.path(TORN), 100_000)
    box.path(GONE).unlink()
    box.path("notes.txt").write_text("mine")
    return bytes(data)


def verify(box: Sandbox, *options: object, expect: int) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(
        box.run("verify", box.dir, "--json", *options, expect=expect).stdout
    )
    return report


def test_a_folder_that_is_as_the_ledger_says(box: Sandbox, links: Path) -> None:
    """Exit 0, one line, no control characters, with one worker as with many."""
    for workers in (1, 16):
        result = box.run("verify", box.dir, "-j", workers)

        assert result.lines[0].startswith("6 finished files: 6 whole; 1.7 MiB read in ")
        assert (len(result.lines), result.stderr) == (1, "")


def test_what_is_bad_is_told_put_back_and_fetched_again(
    box: Sandbox, server: FaultServer, links: Path
) -> None:
    """Exit 1; --fix; `get` fetches exactly the bad ones, from their start; then exit 0."""
    flipped = spoil(box)

    result = box.run("verify", box.dir, expect=1)
    assert "6 finished files: 3 whole, 1 missing, 1 torn, 1 changed; 1 unknown;" in result.stdout
    for name, state in BAD.items():
        assert any(line.split()[:2] == [state, f"{name}:"] for line in result.lines), result.story
    assert box.path(FLIPPED).read_bytes() == flipped

    report = verify(box, "--fix", expect=1)
    assert {one["name"]: one["state"] for one in report["files"]} == BAD | {"notes.txt": "unknown"}
    assert report["fixed"] == 2
    assert (box.dir / f".wgetpool/rejected/{FLIPPED}.1").read_bytes() == flipped

    report = verify(box, expect=1)
    assert (report["whole"], report["missing"], report["unknown"]) == (3, 1, 1)

    assert box.get(links).names("file_done") == sorted(BAD)
    assert sorted(request.path for request in server.requests) == sorted(f"/{n}" for n in BAD)
    assert all(not request.start for request in server.requests)
    assert {name: box.path(name).read_bytes() for name in FILES} == FILES

    report = verify(box, expect=0)
    assert (report["whole"], report["unknown"]) == (6, 1)


def test_what_get_has_fetched_is_verified_by_its_digest(box: Sandbox, server: FaultServer) -> None:
    """`get` keeps a sha256 of every file; a byte that flips afterwards is found."""
    names = list(FILES)[:3]
    box.get(*(server.serve(f"/{name}", file(FILES[name])).url for name in names))
    report = verify(box, expect=0)
    assert (report["whole"], report["unhashed"], report["bytes"]) == (3, 0, 900_000)

    name = Path(names[1]).name
    data = bytearray(FILES[names[1]])
    data[-1] ^= 1
    box.path(name).write_bytes(data)

    (bad,) = verify(box, expect=1)["files"]
    assert (bad["name"], bad["state"], bad["sha256"]) == (name, "changed", sha256(bytes(data)))
    assert bad["expected"] == sha256(FILES[names[1]])


def test_fix_is_refused_beside_a_run(box: Sandbox, links: Path) -> None:
    """Exit 2, one sentence, nothing changed; without --fix it is allowed."""
    spoil(box)
    lock = Store(box.dir).lock_run("f" * 32)
    try:
        result = box.run("verify", box.dir, "--fix", expect=2)
        verify(box, expect=1)
    finally:
        lock.release()

    assert "stop it first" in result.stderr
    assert result.stdout == ""
    assert {record.state for record in read_all(Store(box.dir).ledger)} == {"done"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_soon(box: Sandbox, links: Path, number: signal.Signals) -> None:
    """In the middle of a file that takes minutes: 130, 143; no report, and the lock is free."""
    store = Store(box.dir)
    with box.path("huge").open("wb") as huge:
        huge.truncate(1 << 38)
    with closing(Ledger(store.ledger)) as ledger:
        ledger.record([FileRecord(name="huge", state="done", size=1 << 38, sha256="0" * 64)])

    with box.start("verify", box.dir, "--fix", "-j", 2) as run:
        wait_until(lambda: reads(run.pid, box.path("huge")), what="huge is being read")
        run.signal(number)
        result = run.finish(timeout=5, expect=128 + number)

    assert result.stdout == ""
    assert list(store.runs.iterdir()) == []


def reads(pid: int, path: Path) -> bool:
    try:
        return any(link.resolve() == path for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


@pytest.mark.parametrize("options", [[], ["--fix"], ["--json"]], ids=str)
def test_a_folder_of_no_run_is_refused(box: Sandbox, options: list[str]) -> None:
    """Exit 2, one sentence, and nothing is made."""
    for place in (box.root, box.root / "none"):
        result = box.run("verify", place, *options, expect=2)

        assert "no folder of a run" in result.stderr
        assert result.stdout == ""
    assert not (box.root / ".wgetpool").exists()
    assert not (box.root / "none").exists()
