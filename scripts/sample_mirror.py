#!/usr/bin/env python3
"""A small SA-1B mirror on loopback: fifty tars, SA-1B's own form of list, links that expire.

It listens on 127.0.0.1 only, writes the links file, runs the command after `--` in the same
terminal, and ends with it and with its exit code. Without a command it serves until Ctrl-C.
Standard library only. The files are the same on every start.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import email.utils
import gzip
import hashlib
import hmac
import io
import json
import math
import random
import secrets
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

TARS = 50
IMAGES_PER_TAR = 4
IMAGES_PER_REAL_TAR = 11_186
IDS_NAME = "sa_images_ids.txt"
GOLD_NAME = "sa_co_gold.tar"
FIRST_NAME = "sa_000020.tar"
MADE_AT = 1_680_652_800  # every file's date: SA-1B came out in April 2023
SEED = 1_000_000_000


# ---------------------------------------------------------------- JPEG


QUANTUM = 8
GRAIN_VALUES = (-3, -2, -1, 1, 2, 3)
GRAIN_LENGTH = 20  # AC coefficients of a block, the coarsest first
DC_SYMBOLS = bytes(range(12))  # the size of a difference in bits; all codes have 4 bits
AC_SYMBOLS = bytes(range(7))  # end of block, or the size of a value in bits; all codes have 3 bits
END_OF_BLOCK = "000"


def _magnitude(value: int) -> tuple[int, str]:
    """The size of a coefficient in bits, and those bits as JPEG writes them."""
    size = abs(value).bit_length()
    return size, f"{value if value > 0 else value + (1 << size) - 1:0{size}b}" if size else ""


@cache
def _dc_bits(difference: int) -> str:
    size, bits = _magnitude(difference)
    return f"{size:04b}{bits}"


@cache
def _grains() -> list[str]:
    """The AC coefficients of some blocks, ready to be written: the texture of every picture."""
    rng = random.Random(SEED)
    sized = [_magnitude(value) for value in GRAIN_VALUES]
    coefficients = [f"{size:03b}{bits}" for size, bits in sized]
    return ["".join(rng.choices(coefficients, k=GRAIN_LENGTH)) + END_OF_BLOCK for _ in range(4096)]


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _huffman_table(kind: int, symbols: bytes, length: int) -> bytes:
    """A table in which all codes have one length: the codes are then the symbols' positions."""
    counts = bytes(len(symbols) if bits == length else 0 for bits in range(1, 17))
    return _segment(0xC4, bytes([kind]) + counts + symbols)


def _draw(columns: int, rows: int, rng: random.Random) -> str:
    """The bits of a grainy landscape with a sun, drawn in coefficients: no cosine is needed."""
    horizon, tilt = rng.uniform(0.3, 0.7) * rows, rng.uniform(-0.3, 0.3)
    sun_column, sun_row = rng.uniform(0, columns), rng.uniform(0, horizon)
    sky, ground = ((rng.randint(-60, 60), rng.randint(-60, 60)) for _ in range(2))
    grains = iter(rng.choices(_grains(), k=columns * rows))
    bits: list[str] = []
    before = (0, 0, 0)
    for row in range(rows):
        for column in range(columns):
            above = row < horizon + tilt * (column - columns / 2)
            light = 600 / (6 + math.hypot(column - sun_column, row - sun_row))
            level = light + (90 - 60 * row / rows if above else 20 - 90 * row / rows)
            block = (min(127, int(level)), *(sky if above else ground))
            bits += _dc_bits(block[0] - before[0]), next(grains)
            bits += (
                _dc_bits(block[1] - before[1]),
                END_OF_BLOCK,
                _dc_bits(block[2] - before[2]),
                END_OF_BLOCK,
            )
            before = block
    return "".join(bits)


def encode_jpeg(width: int, height: int, rng: random.Random) -> bytes:
    """A baseline JPEG in YCbCr without subsampling; both sides are multiples of 8."""
    stream = _draw(width // 8, height // 8, rng)
    stream += "1" * (-len(stream) % 8)
    scan = int(stream, 2).to_bytes(len(stream) // 8, "big").replace(b"\xff", b"\xff\x00")
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
            _segment(0xDB, b"\0" + bytes([QUANTUM]) * 64),
            _segment(0xC0, struct.pack(">BHHB", 8, height, width, 3) + components),
            _huffman_table(0x00, DC_SYMBOLS, 4),
            _huffman_table(0x10, AC_SYMBOLS, 3),
            _segment(0xDA, b"\x03\x01\0\x02\0\x03\0\0\x3f\0"),
            scan,
            b"\xff\xd9",
        )
    )


# ---------------------------------------------------------------- annotations


def encode_rle(runs: list[int]) -> str:
    """Lengths of runs of 0 and 1, column by column, as COCO's compressed string."""
    text = []
    for index, run in enumerate(runs):
        rest = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            digit, rest = rest & 0x1F, rest >> 5
            more = rest != -1 if digit & 0x10 else rest != 0
            text.append(chr((digit | (0x20 if more else 0)) + 48))
    return "".join(text)


def _ellipse_runs(box: tuple[int, int, int, int], width: int, height: int) -> list[int]:
    """The mask of the ellipse that fills a box, as runs down the columns of the image."""
    left, top, box_width, box_height = box
    runs = [left * height]
    for column in range(box_width):
        across = (column + 0.5) / box_width * 2 - 1
        half = math.sqrt(1 - across * across) * box_height / 2
        first, last = round(top + box_height / 2 - half), round(top + box_height / 2 + half)
        last = max(last, first + 1)
        runs[-1] += first
        runs += [last - first, height - last]
    runs[-1] += (width - left - box_width) * height
    return runs


def _annotation(number: int, width: int, height: int, rng: random.Random) -> dict[str, Any]:
    box_width, box_height = rng.randint(8, width // 2), rng.randint(8, height // 2)
    left, top = rng.randint(0, width - box_width), rng.randint(0, height - box_height)
    runs = _ellipse_runs((left, top, box_width, box_height), width, height)
    return {
        "id": number,
        "segmentation": {"size": [height, width], "counts": encode_rle(runs)},
        "bbox": [left, top, box_width, box_height],
        "area": sum(runs[1::2]),
        "predicted_iou": round(rng.uniform(0.88, 1.02), 6),
        "stability_score": round(rng.uniform(0.95, 1.0), 6),
        "crop_box": [0, 0, width, height],
        "point_coords": [[left + box_width / 2, top + box_height / 2]],
    }


# ---------------------------------------------------------------- files


def file_names() -> list[str]:
    """The names in the order of the links file: shuffled, as SA-1B's own is."""
    names = [f"sa_{number:06d}.tar" for number in range(TARS)] + [IDS_NAME, GOLD_NAME]
    random.Random(SEED).shuffle(names)
    names.remove(FIRST_NAME)
    return [FIRST_NAME, *names]


def _image_ids(tar_number: int) -> list[int]:
    first = tar_number * IMAGES_PER_REAL_TAR + 1
    return list(range(first, first + IMAGES_PER_TAR))


def _pack(members: list[tuple[str, bytes]]) -> bytes:
    """A gzip'ed tar: what SA-1B calls `.tar`."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), MADE_AT, 0o644
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)


def _make_tar(tar_number: int) -> bytes:
    rng = random.Random(SEED + tar_number)
    members = []
    for image_id in _image_ids(tar_number):
        width, height = rng.choice(((480, 320), (320, 480), (416, 416)))
        image = {
            "image_id": image_id,
            "width": width,
            "height": height,
            "file_name": f"sa_{image_id}.jpg",
        }
        annotations = [
            _annotation(image_id * 1000 + number, width, height, rng)
            for number in range(rng.randint(8, 24))
        ]
        members.append((f"./sa_{image_id}.jpg", encode_jpeg(width, height, rng)))
        members.append(
            (
                f"./sa_{image_id}.json",
                json.dumps({"image": image, "annotations": annotations}).encode(),
            )
        )
    rng.shuffle(members)
    return _pack(members)


def make_file(name: str) -> bytes:
    """The bytes of one served file; the same on every machine and every day."""
    if name == IDS_NAME:
        lines = (
            f"sa_{number:06d}.tar\tsa_{image}"
            for number in range(TARS)
            for image in _image_ids(number)
        )
        return ("tar\timage\n" + "\n".join(lines) + "\n").encode()
    if name == GOLD_NAME:
        gold = {"images": [image for number in range(0, TARS, 10) for image in _image_ids(number)]}
        return _pack([("./sa_co_gold.json", json.dumps(gold).encode())])
    return _make_tar(int(name[3:9]))


# ---------------------------------------------------------------- links


@dataclass(frozen=True)
class Signer:
    """Makes and checks links; a signature covers path and query to the last byte."""

    key: bytes
    expires_at: int

    def _hash(self, path: str, expiry: str) -> str:
        digest = hmac.digest(self.key, f"{path}?{expiry}".encode(), "sha256")
        return "00_" + base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def _query(self, path: str, expiry: str) -> str:
        return f"ccb=10-5&oh={self._hash(path, expiry)}&oe={expiry}&_nc_sid=0fdd51&_nc_gid"

    def sign(self, path: str) -> str:
        return f"{path}?{self._query(path, f'{self.expires_at:X}')}"

    def refusal(self, path: str, query: str, now: float) -> str | None:
        """Why a link is not served, in the words of the CDN."""
        expiry = dict(part.partition("=")[::2] for part in query.split("&")).get("oe", "")
        if not hmac.compare_digest(query.encode(), self._query(path, expiry).encode()):
            return "Bad URL hash"
        return "URL signature expired" if now > int(expiry, 16) else None


def file_path(name: str) -> str:
    """The path of a file: its last segment is opaque, so only the links file tells the name."""
    opaque = base64.urlsafe_b64encode(hashlib.shake_256(name.encode()).digest(81)).decode()
    return f"/m1/v/t6/An{opaque}{Path(name).suffix}"


def write_links(target: Path, origin: str, signer: Signer) -> None:
    rows = [f"{name}\t{origin}{signer.sign(file_path(name))}" for name in file_names()]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes("\n".join(["file_name\tcdn_link", *rows]).encode())


# ---------------------------------------------------------------- server


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte that a Range header asks for, None where it is no single range of bytes.

    A range that the file does not have raises ValueError: the answer is 416.
    """
    unit, _, span = header.partition("=")
    first, dash, last = (part.strip() for part in span.partition("-"))
    if unit.strip() != "bytes" or not dash or not (first or last) or not (first + last).isdecimal():
        return None
    start, end = (
        (int(first), int(last or size - 1)) if first else (max(0, size - int(last)), size - 1)
    )
    if start >= size or (not first and int(last) == 0):
        raise ValueError(header)
    return (start, min(end, size - 1)) if start <= end else None


class Mirror(ThreadingHTTPServer):
    """The files behind the links; they are made when they are first asked for."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, signer: Signer, rate: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.signer = signer
        self.rate = rate
        self.names = {file_path(name): name for name in file_names()}
        self._made: dict[str, bytes] = {}
        self._making = threading.Lock()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def content(self, name: str) -> bytes:
        with self._making:
            if name not in self._made:
                self._made[name] = make_file(name)
            return self._made[name]

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Mirror

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        refusal = self.server.signer.refusal(path, query, time.time())
        if refusal or path not in self.server.names:
            self._answer(
                HTTPStatus.FORBIDDEN,
                (refusal or "Bad URL hash").encode(),
                {"Content-Type": "text/plain"},
            )
            return
        content = self.server.content(self.server.names[path])
        headers = {
            "Content-Type": "text/plain" if path.endswith(".txt") else "application/x-tar",
            "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            "Last-Modified": email.utils.formatdate(MADE_AT, usegmt=True),
            "Accept-Ranges": "bytes",
        }
        if self._has_changed(headers):
            self._answer(HTTPStatus.PRECONDITION_FAILED, b"", headers)
            return
        try:
            span = (
                parse_range(self.headers["Range"], len(content))
                if self._wants_range(headers)
                else None
            )
        except ValueError:
            headers["Content-Range"] = f"bytes */{len(content)}"
            self._answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", headers)
            return
        if span is None:
            self._answer(HTTPStatus.OK, content, headers)
            return
        headers["Content-Range"] = f"bytes {span[0]}-{span[1]}/{len(content)}"
        self._answer(HTTPStatus.PARTIAL_CONTENT, content[span[0] : span[1] + 1], headers)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _has_changed(self, headers: dict[str, str]) -> bool:
        tags = self.headers.get("If-Match", "*")
        date = self.headers.get("If-Unmodified-Since", headers["Last-Modified"])
        return (tags != "*" and headers["ETag"] not in tags) or date != headers["Last-Modified"]

    def _wants_range(self, headers: dict[str, str]) -> bool:
        condition = self.headers.get("If-Range")
        return "Range" in self.headers and condition in (
            None,
            headers["ETag"],
            headers["Last-Modified"],
        )

    def _answer(self, status: HTTPStatus, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self._send_slowly(body)

    def _send_slowly(self, body: bytes) -> None:
        if not self.server.rate:
            self.wfile.write(body)
            return
        piece = max(1, self.server.rate // 10)
        began_at = time.monotonic()
        for offset in range(0, len(body), piece):
            self.wfile.write(body[offset : offset + piece])
            time.sleep(max(0.0, began_at + (offset + piece) / self.server.rate - time.monotonic()))

    def version_string(self) -> str:
        return "sample-mirror"

    def log_message(self, *_: Any) -> None:
        """Say nothing: the terminal belongs to the command."""


# ---------------------------------------------------------------- main


def run_beside(command: list[str]) -> int:
    """Run the command in this terminal and return its exit code.

    Ctrl-C reaches it without us, since it is in our process group; what only we get is passed on.
    """
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if number not in (signal.SIGTERM, signal.SIGHUP):
            return
        if child is None:
            early.append(number)
        else:
            child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, pass_on)
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        print(f"sample_mirror: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    while early:
        child.send_signal(early.pop())
    status = child.wait()
    return status if status >= 0 else 128 - status


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Serve a small SA-1B mirror on loopback while COMMAND runs.",
        usage="%(prog)s --links FILE [--rate R] [--expires-in SECONDS] [-- COMMAND...]",
    )
    parser.add_argument(
        "--links", required=True, type=Path, metavar="FILE", help="where to write the links file"
    )
    parser.add_argument(
        "--rate",
        type=int,
        default=100_000,
        help="bytes a second on each connection (default %(default)s; 0: no limit)",
    )
    parser.add_argument(
        "--expires-in",
        type=int,
        default=30 * 86_400,
        metavar="SECONDS",
        help="how long the links live (default 30 days)",
    )
    parser.add_argument(
        "command", nargs="*", metavar="COMMAND", help="without one: serve until Ctrl-C"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    signer = Signer(secrets.token_bytes(16), int(time.time()) + options.expires_in)
    mirror = Mirror(signer, options.rate)  # closed with the process: its thread may just begin
    try:
        write_links(options.links, mirror.origin, signer)
    except OSError as error:
        print(f"sample_mirror: cannot write {options.links}: {error.strerror}", file=sys.stderr)
        return 2
    threading.Thread(target=mirror.serve_forever, daemon=True).start()
    if options.command:
        return run_beside(options.command)
    with contextlib.suppress(KeyboardInterrupt):
        print(f"Serving on {mirror.origin}; the links are in {options.links}.", flush=True)
        print("Ctrl-C ends it.", flush=True)
        while True:
            signal.pause()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
