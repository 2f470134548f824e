#!/usr/bin/env python3
"""Prints the tables of docs/hazards.md: what plain `wget -c` and wgetpool make of the same hazard.

Each hazard is served by a local server to both, twice the same way. Where a first answer is given,
it is cut, and makes the part. Then each is run against the other answers: `wget -c` again until it
says 0, as a loop in a shell would, at most three times; wgetpool once. Loopback only. It takes
half a minute.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.faultserver import (  # noqa: E402  it is in the tests
    FaultServer,
    FtpServer,
    Reply,
    file,
    not_http,
    redirect,
    status,
)

KIB = 1024
SIZE, CUT = 1_000_000, 600_000
WGET = ("wget", "--no-config", "--no-hsts", "-q", "--tries=1", "-c")
LIMIT = 6.0  # seconds until a wget that hangs is ended
NAME = "a.tar"


def noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


DATA, NEW = noise(SIZE, 1), noise(SIZE, 2)
ONLY_TAIL = noise(CUT - 128 * KIB, 3) + DATA[CUT - 128 * KIB :]  # as DATA from there on
PAGE = b"<html>please log in</html>\n"
ZIPPED = gzip.compress(DATA, mtime=0)


@dataclass(frozen=True)
class Hazard:
    """`right` is what should be there in the end, `before` what is there at first, `first` the
    answer that made it. `column` is what the list tells wgetpool.
    """

    title: str
    script: Sequence[Reply]
    right: bytes = DATA
    before: bytes | None = None
    first: Reply | None = None
    column: str = ""
    options: tuple[str, ...] = ()


def changed(new: bytes, tags: str = "") -> dict[str, object]:
    """A first answer that is cut, and the file that is there afterwards. `tags` is an ETag with a
    place for the version.
    """
    one, two = (tags.format(n) or None for n in (1, 2))
    return {
        "first": file(DATA, etag=one).cut_at(CUT),
        "script": [file(new, etag=two)],
        "right": new,
    }


def of_server(answer: Reply, *more: Reply) -> dict[str, object]:
    """A part of the right file, an answer that is wrong, and then the right one."""
    return {"before": DATA[:CUT], "script": [answer, *more, file(DATA)]}


def hazards(ftp: str, local: str) -> Iterable[tuple[str, list[Hazard]]]:
    whole = file(DATA)
    made = Hazard
    yield (
        "The part",
        [
            made("It is longer than the file", [whole], before=DATA + noise(50_000, 4)),
            made("It is as long as the file, with other bytes", [whole], before=NEW),
            made("It is a head of another file", [whole], before=NEW[:CUT]),
            made(
                "It ends in zeros, as after a power cut",
                [whole],
                before=DATA[: CUT - 200_000] + bytes(200_000),
            ),
            made(
                "Its first bytes are wrong, and the list has a checksum",
                [whole],
                before=NEW[:1000] + DATA[1000:CUT],
                column="sha256",
            ),
        ],
    )
    yield (
        "The file changes between two attempts",
        [
            made("Same size, no validators", **changed(NEW)),  # type: ignore[arg-type]
            made("Same size, equal end, another ETag", **changed(ONLY_TAIL, '"{}"')),  # type: ignore[arg-type]
            made("It is larger now", **changed(noise(SIZE + 300_000, 5))),  # type: ignore[arg-type]
            made("It is shorter than the part now", **changed(noise(CUT - 100_000, 6))),  # type: ignore[arg-type]
        ],
    )
    yield (
        "The answer",
        [
            made("A range is answered with 200", [file(DATA, ranges=False)], before=DATA[:CUT]),
            made("A range is answered with 200, and the file is another now",
                 [file(NEW, ranges=False)], right=NEW, before=DATA[:CUT]),
            made("A range begins elsewhere", **of_server(whole.but(start_at=5))),  # type: ignore[arg-type]
            made("A range has no `Content-Range`",
                 **of_server(whole.but(content_range="X-Nothing: 1"))),  # type: ignore[arg-type]
            made("204", [status(204, body=b""), whole]),
            made("Not HTTP", [not_http(), whole]),
            made("Not HTTP, to a range", **of_server(not_http())),  # type: ignore[arg-type]
            made("Fewer bytes than `Content-Length`", [whole.cut_at(CUT), whole]),
            made("More bytes than `Content-Length`", [whole.but(extra=b"more")]),
            made("Chunked, and cut", [whole.but(framing="chunked").cut_at(CUT), whole]),
            made("No length, and cut; the list has the size",
                 [whole.but(framing="close").cut_at(CUT), whole], column="size"),
            made("A login page with 200; the list has the size",
                 [file(PAGE, ranges=False), whole], column="size"),
            made("A long login page with 200, to a range; the list has the size",
                 **of_server(file(PAGE * 40_000, ranges=False)), column="size"),  # type: ignore[arg-type]
            made("A login page each time; the list has the size",
                 [file(PAGE, ranges=False)], column="size"),
            made("`Content-Encoding: gzip`",
                 [file(ZIPPED, headers=("Content-Encoding: gzip",))], right=ZIPPED),
            made("A redirect to `ftp:`", [redirect(ftp)]),
            made("A redirect to `file:`", [redirect(local)]),
            made("A redirect in a loop", [redirect(f"/{NAME}")]),
            made("503, then the file", [status(503), whole]),
            made("The connection goes silent", [whole.cut_at(CUT, "stall"), whole],
                 options=("--stall-timeout", "1")),
            made("A file of no bytes", [file(b"")], right=b"", before=b"some"),
        ],
    )  # fmt: skip
    yield (
        "Not proven",
        [
            made("Same size, no validators, equal end", **changed(ONLY_TAIL)),  # type: ignore[arg-type]
            made("Same size, equal end, weak ETags", **changed(ONLY_TAIL, 'W/"{}"')),  # type: ignore[arg-type]
            made("A part of another tool, wrong far from its end",
                 [whole], before=NEW[:1000] + DATA[1000:CUT]),
            made("No length, and cut; the list tells nothing",
                 [whole.but(framing="close").cut_at(CUT), whole]),
            made("A login page with 200; the list tells nothing",
                 [file(PAGE, ranges=False), whole]),
        ],
    )  # fmt: skip


# ---------------------------------------------------------------- the two of them


def by_wget(hazard: Hazard, server: FaultServer, folder: Path) -> str:
    """`wget -c -O FILE URL` until it says 0."""
    target = folder / NAME
    command = [*WGET, "-O", str(target), server.base + f"/{NAME}"]
    if hazard.first:
        server.serve(f"/{NAME}", hazard.first, status(404))
        run(command, folder)
    if hazard.before is not None:
        target.write_bytes(hazard.before)
    before = read(target)
    server.serve(f"/{NAME}", *hazard.script)
    codes: list[int | None] = []
    while len(codes) < 3 and (not codes or codes[-1] not in {0, None}):
        codes.append(run(command, folder)[0])
    after = read(target)
    if codes[-1] is None:
        return f"still waits after {LIMIT:g} s"
    said = f"exit code {codes[-1]}"
    if len(codes) > 1:
        said += f", run {len(codes)} times"
    return f"{said}: {look(after, before, hazard.right)}"


def by_wgetpool(hazard: Hazard, server: FaultServer, folder: Path) -> str:
    """One run, with short waits."""
    told = {"": "", "size": len(hazard.right), "sha256": sha256(hazard.right).hexdigest()}
    links = folder / "links.csv"
    rows = (
        f"url,name,{hazard.column or 'note'}\n{server.base}/{NAME},{NAME},{told[hazard.column]}\n"
    )
    links.write_text(rows)
    out = folder / "out"
    command = [sys.executable, "-m", "wgetpool", "get", str(links), "-o", str(out), "--json"]
    if hazard.first:
        server.serve(f"/{NAME}", hazard.first, status(404))
        run([*command, "--tries", "1"], folder)
    if hazard.before is not None:
        out.mkdir()
        (out / f"{NAME}.part").write_bytes(hazard.before)
    server.serve(f"/{NAME}", *hazard.script)
    code, said = run([*command, "--backoff", "0.05", "--tries", "3", *hazard.options], folder, 60)
    events = [json.loads(line) for line in said.splitlines()]
    if code == 0:
        warned = any(event["event"] == "warning" for event in events)
        found = look(read(out / NAME), None, hazard.right)
        return f"exit code 0: {found}" + ", with a warning" * warned
    reasons = [event["reason"] for event in events if event["event"] == "file_failed"]
    there = "no file" if read(out / NAME) is None else look(read(out / NAME), None, hazard.right)
    return f"exit code {code}: {there}; says: {'; '.join(reasons)}"


def run(command: Sequence[str], folder: Path, limit: float = LIMIT) -> tuple[int | None, str]:
    """Exit code (None: ended by us) and standard output."""
    keep = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    env = {**keep, "HOME": str(folder), "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout


def read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def look(after: bytes | None, before: bytes | None, right: bytes) -> str:
    """What has become of a file, in a few words."""
    if after == right:
        return "right"
    if after is None:
        return "no file"
    page = "the page behind the part" if after[:100] == right[:100] else "the page"
    seen = {
        "as it was": after == before,
        f"{len(after):,} of {len(right):,} bytes": after == right[: len(after)],
        page: after.endswith(PAGE),
        "a head of other bytes": after[-1000:] == right[-1000:] and after[:1000] != right[:1000],
        f"{len(after):,} other bytes": True,
    }
    return "**wrong**, " + next(words for words, is_so in seen.items() if is_so)


def main() -> int:
    parser = argparse.ArgumentParser(description="Prints the tables of docs/hazards.md.")
    parser.add_argument("--only", default="", help="hazards whose title has these words")
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory() as folder, FaultServer() as server, FtpServer(NEW) as ftp:
        local = Path(folder, "local")
        local.write_bytes(NEW)
        number = 0
        for heading, group in hazards(ftp.url, local.as_uri()):
            print(f"\n## {heading}\n\n| hazard | `wget -c` | wgetpool |\n| --- | --- | --- |")
            for hazard in group:
                if only not in hazard.title:
                    continue
                number += 1
                places = [Path(folder, f"{number}-{who}") for who in ("wget", "wgetpool")]
                for place in places:
                    place.mkdir()
                plain = by_wget(hazard, server, places[0])
                ours = by_wgetpool(hazard, server, places[1])
                print(f"| {hazard.title} | {plain} | {ours} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
