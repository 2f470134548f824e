"""A small HTTP server that misbehaves on demand: each path has a script, a reply for each request.

    with FaultServer() as server:
        whole = Reply(data)
        route = server.serve("/a.tar", whole.cut_at(50_000, "reset"), status(503), whole)
        ...                      # run the client on route.url
        route.requests[1].start  # where the second request wanted to go on

The last reply of a script answers all further requests. A reply may be a function of the request.
It listens on 127.0.0.1 only, one thread for each connection, all of them joined by `close`.
"""

from __future__ import annotations

import contextlib
import mmap
import re
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Literal, Self, TypeAlias

Ending = Literal["close", "reset", "stall", "drip", "hold"]
Framing = Literal["length", "chunked", "close"]
STEP = 1 << 16
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class GoneError(Exception):
    """The server closes, or the client went away."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for. `target` is path and query as sent, `at` a monotonic instant."""

    method: str
    target: str
    headers: dict[str, str]
    at: float

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def start(self) -> int | None:
        """The offset that a Range header asks for; None without one."""
        wanted = _RANGE.fullmatch(self.headers.get("range", ""))
        return int(wanted[1]) if wanted else None

    @property
    def end(self) -> int | None:
        """The last byte that a Range header asks for; None where it asks for all that follow."""
        wanted = _RANGE.fullmatch(self.headers.get("range", ""))
        return int(wanted[2]) if wanted and wanted[2] else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer: a file with ranges and validators, and what goes wrong with it.

    After `cut` bytes of this body comes `then`; -1 is before the head. `pace` is (bytes, seconds):
    so many, then a pause. `gate` holds back the head, `body_gate` the body, or with `hold` what
    comes after the cut. `start_at` answers every range from that offset instead. `length` is a
    wrong Content-Length, `extra` is sent behind the body. `raw` is sent as it is. A file that is
    too large for memory is served from a map of it.
    """

    data: bytes | mmap.mmap = b""
    status: int | None = None
    headers: tuple[str, ...] = ()
    etag: str | None = None
    modified: str | None = None
    ranges: bool = True
    framing: Framing = "length"
    length: int | None = None
    extra: bytes = b""
    cut: int | None = None
    then: Ending = "close"
    pace: tuple[int, float] | None = None
    gate: threading.Event | None = field(default=None, compare=False)
    body_gate: threading.Event | None = field(default=None, compare=False)
    start_at: int | None = None
    content_range: str | None = None
    raw: bytes | None = None

    def but(self, **changes: object) -> Reply:
        return replace(self, **changes)  # type: ignore[arg-type]

    def cut_at(self, size: int, then: Ending = "close") -> Reply:
        return self.but(cut=size, then=then)

    @property
    def validators(self) -> list[str]:
        lines = [f"ETag: {self.etag}"] if self.etag else []
        return [*lines, f"Last-Modified: {self.modified}"] if self.modified else lines

    def refuses(self, request: Request) -> bool:
        """True when a condition of the request does not hold: 412."""
        asked = request.headers
        return ("if-match" in asked and asked["if-match"] != self.etag) or (
            "if-unmodified-since" in asked and asked["if-unmodified-since"] != self.modified
        )


Script: TypeAlias = Reply | Callable[[Request], Reply]


def file(data: bytes | mmap.mmap, **more: object) -> Reply:
    """A file that is sent in order, until `cut_at` or `but` say otherwise."""
    return Reply(data=data).but(**more)


def status(code: int, *headers: str, body: bytes = b"<html>an error page</html>\n") -> Reply:
    """An answer with this status, whatever was asked."""
    return Reply(data=body, status=code, headers=headers, ranges=False)


def redirect(location: str, code: int = 302) -> Reply:
    return status(code, f"Location: {location}", body=b"")


def not_http(text: bytes = b"SSH-2.0-OpenSSH_9.2\r\n") -> Reply:
    return Reply(raw=text)


@dataclass(slots=True)
class Route:
    """A path of the server: the requests that came, the bytes of bodies handed to the network."""

    url: str
    script: list[Script]
    requests: list[Request] = field(default_factory=list)
    sent: int = 0

    @property
    def starts(self) -> list[int]:
        """Where each request wanted to begin; 0 without a Range header."""
        return [request.start or 0 for request in self.requests]

    def take(self, request: Request) -> Reply:
        reply = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return reply if isinstance(reply, Reply) else reply(request)


class Connection:
    """The server's end of one TCP connection."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self.sock = sock
        self.closing = closing
        self._rest = b""

    def read_head(self) -> Request | None:
        while b"\r\n\r\n" not in self._rest:
            more = self.sock.recv(STEP)
            if not more:
                return None
            self._rest += more
        head, self._rest = self._rest.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = {key.strip().lower(): value.strip() for key, _, value in pairs}
        return Request(method, target, headers, time.monotonic())

    def pause(self, seconds: float) -> None:
        if self.closing.wait(seconds):
            raise GoneError

    def pass_gate(self, gate: threading.Event | None) -> None:
        while gate is not None and not gate.wait(0.02):
            if self.closing.is_set():
                raise GoneError

    def reset(self) -> None:
        """Ends with RST instead of FIN, once the client had time to read: a reset may discard."""
        self.pause(0.1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def wait_for_hangup(self) -> None:
        while self.sock.recv(STEP):
            pass


class FaultServer:
    """Serves until `close`. `requests` are all that came, `peak` the most answered at one time."""

    def __init__(self, certificate: Path | None = None) -> None:
        self._tls: ssl.SSLContext | None = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.base = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        self.requests: list[Request] = []
        self.peak = self.active = 0
        self._routes: dict[str, Route] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, name="faultserver")]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every connection and joins every thread."""
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for sock in self._open:
                _shut(sock)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()
        assert not any(thread.is_alive() for thread in self._threads)

    def demand_certificate(self, authority: Path) -> None:
        """Lets in those only who show a certificate of this authority; for a server with TLS."""
        assert self._tls is not None
        self._tls.load_verify_locations(authority)
        self._tls.verify_mode = ssl.CERT_REQUIRED

    def serve(self, path: str, *script: Script, query: str = "") -> Route:
        """Answers requests for `path` by `script` from now on, in a new route without requests."""
        route = Route(self.base + path + query, list(script))
        with self._lock:
            self._routes[path.partition("?")[0]] = route
        return route

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(
                target=self._talk, args=(sock,), name="faultserver connection"
            )
            with self._lock:
                self._open.add(sock)
                self._threads.append(thread)
                if self._closing.is_set():
                    _shut(sock)
            thread.start()

    def _talk(self, plain: socket.socket) -> None:
        sock = plain
        try:
            if self._tls:
                sock = self._tls.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._open.add(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock, self._closing)
            while (request := connection.read_head()) and self._serve_one(connection, request):
                pass
        except (OSError, ValueError, GoneError):
            pass  # the client went away, or spoke no HTTP, or the server closes
        finally:
            with self._lock:
                self._open -= {plain, sock}
            sock.close()
            plain.close()

    def _serve_one(self, connection: Connection, request: Request) -> bool:
        """Answers one request; True keeps the connection open."""
        with self._lock:
            self.requests.append(request)
            route = self._routes.get(request.path)
            reply = status(404)
            if route:
                route.requests.append(request)
                reply = route.take(request)
            self.active += 1
            self.peak = max(self.peak, self.active)
        try:
            return self._answer(connection, request, reply, route)
        finally:
            with self._lock:
                self.active -= 1

    def _answer(
        self, connection: Connection, request: Request, reply: Reply, route: Route | None
    ) -> bool:
        connection.pass_gate(reply.gate)
        if reply.raw is not None:
            connection.sock.sendall(reply.raw)
            return False
        head, body = _compose(reply, request)
        if reply.cut != -1:
            connection.sock.sendall(head)
        if reply.then != "hold":
            connection.pass_gate(reply.body_gate)
        if request.method == "HEAD":
            return True
        until = len(body) if reply.cut is None else max(0, min(reply.cut, len(body)))
        step, seconds = reply.pace or (STEP, 0)
        for at in range(0, until, step):
            piece = bytes(body[at : min(at + step, until)])
            chunk = b"%x\r\n%b\r\n" % (len(piece), piece)
            connection.sock.sendall(chunk if reply.framing == "chunked" else piece)
            if route:
                with self._lock:
                    route.sent += len(piece)
            if seconds:
                connection.pause(seconds)
        return self._end(connection, reply, body[until:])

    def _end(self, connection: Connection, reply: Reply, left: memoryview) -> bool:
        if reply.cut is None:
            if reply.framing == "chunked":
                connection.sock.sendall(b"0\r\n\r\n")
            connection.sock.sendall(reply.extra)
            return reply.framing != "close" and reply.length is None and not reply.extra
        if reply.then == "reset":
            connection.reset()
        elif reply.then == "stall":
            connection.wait_for_hangup()
        elif reply.then == "hold":
            connection.pass_gate(reply.body_gate)
            connection.sock.sendall(left)
            return True
        elif reply.then == "drip":
            for at in range(len(left)):
                connection.pause(0.2)
                connection.sock.sendall(left[at : at + 1])
        return False


class FtpServer(socketserver.ThreadingTCPServer):
    """Gives one file by FTP to whoever logs in, from any offset. `given` counts how often."""

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _FtpTalk)
        self.data, self.given = data, 0
        self.url = f"ftp://127.0.0.1:{self.server_address[1]}/a.tar"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="ftp server")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _FtpTalk(socketserver.StreamRequestHandler):
    server: FtpServer
    timeout = 5

    def handle(self) -> None:
        answers = {
            "USER": "331 password",
            "PASS": "230 in",
            "SYST": "215 UNIX Type: L8",
            "PWD": '257 "/"',
            "TYPE": "200 so be it",
            "REST": "350 from there",
            "SIZE": f"213 {len(self.server.data)}",
        }
        self._say("220 hello")
        offset = 0
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(self.timeout)
            for line in self.rfile:
                verb, _, word = line.decode("latin-1").strip().partition(" ")
                if verb == "REST":
                    offset = int(word)
                if verb == "PASV":
                    high, low = divmod(listener.getsockname()[1], 256)
                    self._say(f"227 here (127,0,0,1,{high},{low})")
                elif verb == "RETR":
                    self._say("150 it comes")
                    with listener.accept()[0] as sock:
                        sock.sendall(self.server.data[offset:])
                    self.server.given += 1
                    self._say("226 that was it")
                else:
                    self._say(answers.get(verb, "500 what?"))

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")


def _compose(reply: Reply, request: Request) -> tuple[bytes, memoryview]:
    """Head and body as a sane server has them, unless the reply says otherwise."""
    code, whole, lines = reply.status or 200, memoryview(reply.data), [*reply.validators]
    start, end = 0, len(whole)
    if reply.status is None and reply.refuses(request):
        code, whole, end = 412, memoryview(b"changed"), 7
    elif reply.ranges and request.start is not None:
        start = request.start if reply.start_at is None else reply.start_at
        if start >= len(whole):
            lines.append(f"Content-Range: bytes */{len(whole)}")
            code, whole, start, end = 416, memoryview(b"<html>416</html>"), 0, 16
        else:
            code = 206
            end = len(whole) if request.end is None else min(request.end + 1, len(whole))
            told = f"Content-Range: bytes {start}-{end - 1}/{len(whole)}"
            lines.append(reply.content_range or told)
    length = end - start if reply.length is None else reply.length
    framing = {
        "length": f"Content-Length: {length}",
        "chunked": "Transfer-Encoding: chunked",
        "close": "Connection: close",
    }
    lines += ["Content-Type: application/x-tar", *reply.headers]
    if code != 204:
        lines.append(framing[reply.framing])
    phrase = HTTPStatus(code).phrase if code in set(HTTPStatus) else "Unheard Of"
    head = "\r\n".join([f"HTTP/1.1 {code} {phrase}", *lines, "", ""])
    return head.encode("latin-1"), whole[start:end]


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
