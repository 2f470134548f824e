"""Small files of one host share a wget: each comes whole, under its own name, asked for once; what
goes wrong with one of them is that file's alone.
"""

from __future__ import annotations

import gzip
import io
import os
import random
import signal
import tarfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import pytest
from support.faultserver import (
    Connection,
    FaultServer,
    Reply,
    Request,
    Route,
    Script,
    file,
    not_http,
    redirect,
    status,
)
from support.runner import Result, Run, Sandbox, random_bytes, sha256, wait_until

pytest_plugins = ["support.fixtures"]

KIB = 1024
SMALL = 256 * KIB  # what a file of a batch may have
EDGES = (0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, SMALL, 0)
MOST = 32  # files of a batch
KEEP = ("--wget-option", "http_keep_alive=on")
PACE = (KIB, 0.004)  # so that there is a midst of things
MARK = f"MARKsecret{os.environ.get('PYTEST_XDIST_WORKER', '')}MARK"
TOKEN = f"TOKENsecret{os.environ.get('PYTEST_XDIST_WORKER', '')}TOKEN"


class Site(FaultServer):
    """Many small files, and what comes between them. `content` is what a run is to bring, by name;
    `routes` are all that were served, in their order. It knows which requests came over one
    connection.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(certificate)
        self.content: dict[str, bytes] = {}
        self.routes: dict[str, Route] = {}
        self._asked: dict[Connection, list[str]] = {}

    def _serve_one(self, connection: Connection, request: Request) -> bool:
        with self._lock:
            self._asked.setdefault(connection, []).append(request.path)
        return super()._serve_one(connection, request)

    @property
    def connections(self) -> int:
        """Those with a request."""
        return len(self._asked)

    def put(self, name: str, *script: Script, data: bytes | None = None, query: str = "") -> Route:
        """One file by its script; `data` is what it is in the end, None where it is not to come."""
        route = self.routes[name] = self.serve(f"/{name}", *script, query=query)
        if data is not None:
            self.content[name] = data
        return route

    def fill(
        self, number: int, *, sizes: tuple[int, ...] = (), query: str = "", **more: object
    ) -> None:
        """So many files more that come as they should, the first ones of these sizes."""
        begin = len(self.routes)
        chance = random.Random(begin)
        for n in range(number):
            size = sizes[n] if n < len(sizes) else chance.randrange(12 * KIB)
            data = random_bytes(size, begin + n)
            self.put(f"{begin + n:03}.bin", file(data, **more), data=data, query=query)

    @property
    def urls(self) -> list[str]:
        return [route.url for route in self.routes.values()]

    def asked(self) -> dict[str, int]:
        """How often each file was asked for, where that is not once."""
        counts = {name: len(route.requests) for name, route in self.routes.items()}
        return {name: count for name, count in counts.items() if count != 1}

    def is_shared(self, name: str) -> bool:
        """Whether it was asked for over a connection that brought others, too."""
        return any(f"/{name}" in asked and len(asked) > 1 for asked in self._asked.values())


@pytest.fixture
def server() -> Iterator[Site]:
    with Site() as running:
        yield running


def get(box: Sandbox, site: Site, *args: object, expect: int = 0) -> Result:
    """Over shared connections, on which more can go wrong."""
    return box.get(box.links(*site.urls), *KEEP, *args, timeout=60, expect=expect)


def attempts(result: Result) -> dict[str, int]:
    """Of each file that is done, where there was more than one."""
    done = {event["name"]: event["attempts"] for event in result.of("file_done")}
    return {name: number for name, number in done.items() if number != 1}


def there(box: Sandbox) -> dict[str, bytes]:
    """What has its final name."""
    return {name: data for name, data in box.files().items() if not name.endswith(".part")}


def assert_nothing_is_left(box: Sandbox) -> None:
    """No part, no folder but those of files, no process."""
    folders = {path.name for path in box.dir.iterdir() if path.is_dir()}
    assert folders <= {".wgetpool", *(name.partition("/")[0] for name in box.files())}
    assert not [name for name in box.files() if name.endswith(".part")]
    assert not box.wgets()


def assert_neighbours_are_whole(result: Result, site: Site, *troubled: str) -> None:
    """Of all but these each has come at its first attempt. A wget that was ended for the trouble of
    one file may have asked for some that come after it: these are asked for once more, by their
    own.
    """
    again = {name: number for name, number in site.asked().items() if name not in troubled}
    assert set(attempts(result)) <= set(troubled)
    assert {one["name"] for one in result.of("attempt_failed")} <= set(troubled), result.story
    assert set(result.names("file_done")) >= set(site.content) - set(troubled)
    assert set(again.values()) <= {2}
    assert len(again) <= len(troubled) * (MOST - 1)


# ---------------------------------------------------------------- where nothing goes wrong


@pytest.mark.parametrize("workers", [1, 4])
def test_small_files_share_wgets_and_each_comes_whole(
    box: Sandbox, server: Site, workers: int
) -> None:
    """Far fewer connections than files, no more at a time than -j; asked for once, one attempt."""
    server.fill(60)
    server.fill(60, sizes=EDGES)

    result = get(box, server, "-j", workers)

    assert box.files() == server.content
    assert server.connections <= 60
    assert server.peak <= workers
    assert server.asked() == {}
    assert attempts(result) == {}
    assert not result.of("attempt_failed")
    assert all(event["proof"] == ["size"] for event in result.of("file_done"))
    finished = result.only("run_finished")
    assert (finished["done"], finished["left"]) == (120, 0)
    assert finished["bytes"] == sum(map(len, server.content.values()))
    state = box.status()
    assert (state["done"], state["running"]) == (120, False)
    assert {one["name"]: one["bytes"] for one in state["files"]} == {
        name: len(data) for name, data in server.content.items()
    }
    assert_nothing_is_left(box)
    assert box.run("verify", box.dir).code == 0


def test_each_file_has_its_own_events(box: Sandbox, server: Site) -> None:
    """Started, done, published, once each and in this order, as when it has a wget of its own."""
    server.fill(80)

    result = get(box, server, "-j", 2)

    kinds = ("attempt_started", "attempt_done", "file_done")
    for name, data in server.content.items():
        events = [one for one in result.events if one.get("name") == name]
        assert [one["event"] for one in events] == list(kinds), name
        done = events[1]
        told = (done["attempt"], done["status"], done["bytes"], done["received"])
        assert told == (1, 200, len(data), len(data))


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize("listed", [False, True])
def test_an_answer_that_nobody_asked_for_is_nobodys(
    box: Sandbox, server: Site, listed: bool
) -> None:
    """Without checksums each file has a connection of its own; with them it is found out."""
    server.fill(40)
    for number in range(5):
        server.put(f"two-{number}", file(BODY, extra=ANSWER), data=BODY)
        server.fill(15)
    sums = [f"{sha256(data)}  {name}" for name, data in server.content.items()]
    listing = ["--checksums", box.links(*sums, name="SUMS")] if listed else []

    box.get(box.links(*server.urls), "-j", 2, *listing, timeout=60)

    assert box.files() == server.content
    closing = [one.headers.get("connection", "").lower() for one in server.requests].count("close")
    assert (closing > 40) is not listed


def test_over_https_small_files_share_connections(box: Sandbox, certificate: Path) -> None:
    """A TLS handshake costs the most of all; a file that is cut holds up no other there either."""
    with Site(certificate) as site:
        site.fill(50)
        data = random_bytes(5000)
        site.put("cut", file(data).cut_at(3000), file(data), data=data)
        site.fill(50)

        result = get(box, site, "-j", 2, "--wget-option", "ca_certificate=ca.pem")

        assert box.files() == site.content
        assert site.connections <= 70
        assert_neighbours_are_whole(result, site, "cut")
    assert_nothing_is_left(box)


def test_large_files_that_the_list_tells_of_disturb_no_batch(box: Sandbox, server: Site) -> None:
    """With sizes in the list none is begun in vain: each has a wget of its own, and is asked for
    once.
    """
    large = [f"{n}.large" for n in range(5)]
    for name in large:
        server.fill(20)
        data = random_bytes(600 * KIB, len(server.routes))
        server.put(name, file(data), data=data)
    rows = [f"{route.url}\t{len(server.content[name])}" for name, route in server.routes.items()]

    result = box.get(box.links("url\tsize", *rows), *KEEP, "-j", 2, timeout=60)

    assert box.files() == server.content
    assert server.asked() == {}
    assert attempts(result) == {}
    assert not [name for name in large if server.is_shared(name)]
    assert server.connections <= 70


def test_with_one_at_a_time_for_a_host_a_batch_is_that_one(box: Sandbox, server: Site) -> None:
    """`--per-host 1`: never two requests at a time."""
    server.fill(60)

    get(box, server, "-j", 4, "--per-host", 1)

    assert box.files() == server.content
    assert server.peak == 1
    assert server.asked() == {}
    assert server.connections <= 40


def test_a_limited_line_is_shared_as_ever(box: Sandbox, server: Site) -> None:
    """`--limit-rate`: all come, each asked for once, and not faster than the line."""
    server.fill(40, sizes=(8 * KIB,) * 40)
    rate, workers = 200 * KIB, 2

    get(box, server, "-j", workers, "--limit-rate", rate)

    times = sorted(request.at for request in server.requests)
    assert box.files() == server.content
    assert server.asked() == {}
    assert times[-1] - times[0] >= 0.8 * (40 - workers) * 8 * KIB / rate - 0.5


# ---------------------------------------------------------------- refusals


def test_a_missing_file_is_asked_for_once_and_holds_up_no_other(box: Sandbox, server: Site) -> None:
    """Every seventh is a 404: permanent at its first attempt; all others come at theirs."""
    gone = set()
    for _ in range(14):
        server.fill(6)
        gone.add(name := f"{len(server.routes):03}.gone")
        server.put(name, status(404))

    result = get(box, server, "-j", 2, expect=1)

    assert box.files() == server.content
    assert server.asked() == {}
    assert server.connections <= 70
    assert attempts(result) == {}
    for name in gone:
        failed = result.only("file_failed", name)
        assert (failed["class"], failed["cause"]) == ("permanent", "not_found")
        assert failed["attempts"] == 1
        assert "404" in failed["reason"]
        assert result.only("attempt_failed", name)["retry_in"] is None
    state = box.status()
    assert (state["done"], state["failed"]) == (len(server.content), len(gone))
    assert_nothing_is_left(box)


@pytest.mark.parametrize(
    "answer", [status(503, "Retry-After: 2"), status(429, "Retry-After: 2")], ids=["503", "429"]
)
def test_a_refused_file_is_not_asked_for_before_its_time(
    box: Sandbox, server: Site, answer: Reply
) -> None:
    """Retry-After in the midst: a failed attempt of this file, then the file."""
    server.fill(40)
    data = random_bytes(5000)
    route = server.put("busy", answer, file(data), data=data)
    server.fill(40)

    result = get(box, server, "-j", 2)

    assert box.files() == server.content
    first, second = (request.at for request in route.requests)
    assert second - first >= 1.9
    failed = result.only("attempt_failed")
    assert (failed["name"], failed["class"]) == ("busy", "transient")
    assert failed["status"] == answer.status
    assert failed["retry_in"] >= 1.9
    assert attempts(result) == {"busy": 2}
    assert_neighbours_are_whole(result, server, "busy")
    assert_nothing_is_left(box)


LATENCY = (SMALL, 0.05)  # between an answer and the next one


class Storm:
    """Refuses all that come in the first `seconds` after the request with this number."""

    def __init__(self, number: int, seconds: float, *, tells: bool) -> None:
        self.left, self.seconds, self.tells = number, seconds, tells
        self.refused: list[float] = []
        self._until = float("inf")
        self._told: tuple[str, ...] = ()

    def over(self, data: bytes) -> Callable[[Request], Reply]:
        """A file of the server that this storm goes over."""

        def answer(request: Request) -> Reply:
            self.left -= 1
            if self.left >= 0 or request.at >= self._until:
                return file(data, pace=LATENCY)
            if not self.refused:
                self._until = request.at + self.seconds
                ends = datetime.now(UTC) + timedelta(seconds=self.seconds + 1)  # no fractions
                self._told = (f"Retry-After: {format_datetime(ends, usegmt=True)}",) * self.tells
            self.refused.append(request.at)
            return status(429, *self._told).but(pace=LATENCY)

        return answer


@pytest.mark.parametrize("tells", [True, False], ids=["told", "untold"])
def test_in_a_storm_of_refusals_little_is_asked(box: Sandbox, server: Site, tells: bool) -> None:
    """A wget for several files ends at the first refusal: no more are refused than workers were at
    it, and the probes after them.
    """
    storm, workers = Storm(40, 1.5, tells=tells), 4
    for n in range(90):
        data = random_bytes(3000, n)
        server.put(f"{n:03}.bin", storm.over(data), data=data)

    result = get(box, server, "-j", workers, "--backoff", 0.5)

    assert box.files() == server.content
    print(len(storm.refused), "refused")
    assert 1 <= len(storm.refused) <= 4 * workers
    assert len(server.requests) == 90 + len(storm.refused)
    # Of those that a wget asked for while it was being ended nobody has heard.
    told = result.of("attempt_failed")
    assert 1 <= len(told) <= len(storm.refused)
    assert sum(attempts(result).values()) == len(told) + len(attempts(result))


# ---------------------------------------------------------------- cuts and stalls

BODY = random_bytes(20_000, 7)
CUTS = {
    "closed-in-body": file(BODY).cut_at(9000),
    "reset-in-body": file(BODY).cut_at(9000, "reset"),
    "closed-before-body": file(BODY).cut_at(0),
    "closed-before-last-byte": file(BODY).cut_at(len(BODY) - 1),
    "chunked-cut": file(BODY, framing="chunked").cut_at(9000),
    "closed-before-head": file(BODY).cut_at(-1),
    "reset-before-head": file(BODY).cut_at(-1, "reset"),
    "server-error": status(500),
}


@pytest.mark.parametrize("half", [0, 1])
def test_a_file_that_is_cut_comes_at_its_second_attempt(
    box: Sandbox, server: Site, half: int
) -> None:
    """Its failed attempt is told of, and is nobody else's."""
    cut = list(CUTS)[half::2]
    for name in cut:
        server.fill(MOST + 1)
        server.put(name, CUTS[name], file(BODY), data=BODY)
    server.fill(MOST)

    result = get(box, server, "-j", 2)

    assert box.files() == server.content
    assert result.names("attempt_failed") == sorted(cut), result.story
    assert attempts(result) == dict.fromkeys(cut, 2)
    assert_neighbours_are_whole(result, server, *cut)


@pytest.mark.parametrize("number", [11, 13, 14, 20, 30])
def test_the_last_file_of_a_batch_that_is_cut_has_had_an_attempt(
    box: Sandbox, server: Site, number: int
) -> None:
    """wget ends with its sum of what came, whether the last one did or not."""
    server.fill(number)
    server.put("cut", file(BODY).cut_at(9000), file(BODY), data=BODY)

    result = get(box, server, "-j", 1)

    assert box.files() == server.content
    assert result.only("attempt_failed")["name"] == "cut"
    assert attempts(result) == {"cut": 2}


@pytest.mark.parametrize("name", ["closed-before-head", "reset-before-head", "server-error"])
def test_a_file_without_an_answer_has_had_an_attempt(box: Sandbox, server: Site, name: str) -> None:
    """Told of as failed, and then it comes at its second one."""
    server.fill(MOST + 1)
    server.put(name, CUTS[name], file(BODY), data=BODY)
    server.fill(MOST)

    result = get(box, server, "-j", 2)

    assert box.files() == server.content
    failed = result.only("attempt_failed")
    assert (failed["name"], failed["class"], failed["attempt"]) == (name, "transient", 1)
    assert failed["retry_in"] is not None
    assert attempts(result) == {name: 2}
    assert_neighbours_are_whole(result, server, name)


def test_a_file_that_stalls_in_the_midst_is_told_as_a_stall(box: Sandbox, server: Site) -> None:
    """--stall-timeout 2: its attempt fails as stalled, it comes at the next one, and nobody else is
    asked for twice.
    """
    server.fill(40)
    server.put("slow", file(BODY).cut_at(9000, "stall"), file(BODY), data=BODY)
    server.fill(40)

    result = get(box, server, "-j", 2, "--stall-timeout", 2)

    assert box.files() == server.content
    failed = result.only("attempt_failed")
    assert (failed["name"], failed["class"], failed["cause"]) == ("slow", "transient", "stalled")
    assert attempts(result) == {"slow": 2}
    assert set(server.asked()) <= {"slow"}
    assert_nothing_is_left(box)


# ---------------------------------------------------------------- what is no small file


def test_what_needs_a_wget_of_its_own_gets_one(box: Sandbox, server: Site) -> None:
    """A large file, one without a length, a redirect: no attempt fails."""
    large = random_bytes(3 * KIB * KIB, 1)
    server.fill(30)
    server.put("large", file(large), data=large)
    server.fill(30)
    server.put("chunked", file(BODY, framing="chunked"), data=BODY)
    server.fill(30)
    server.put("unending", file(BODY, framing="close"), data=BODY)
    server.fill(30)
    real = server.serve("/real", file(BODY))
    server.put("moved", redirect(real.url), data=BODY)
    server.fill(10)
    odd = {"large", "chunked", "unending", "moved"}

    result = get(box, server, "-j", 2)

    assert box.files() == server.content
    assert not result.of("attempt_failed"), result.story
    assert attempts(result) == {}
    assert_neighbours_are_whole(result, server, *odd)
    assert server.connections <= 110
    assert_nothing_is_left(box)


def test_answers_that_are_no_file_fail_as_they_do_alone(box: Sandbox, server: Site) -> None:
    """A 401 is permanent; no HTTP, and 204, are transient; all others come at once."""
    server.fill(30)
    server.put("login", status(401, 'WWW-Authenticate: Basic realm="x"'))
    server.fill(30)
    server.put("noise", not_http())
    server.fill(30)
    server.put("nothing", status(204, body=b""))
    server.fill(10)

    result = get(box, server, "-j", 2, "--tries", 2, expect=1)

    failed = {event["name"]: event for event in result.of("file_failed")}
    told = {name: (event["class"], event["cause"]) for name, event in failed.items()}
    assert told == {
        "login": ("permanent", "login"),
        "noise": ("transient", "no_file"),
        "nothing": ("transient", "no_file"),
    }
    assert {name: event["attempts"] for name, event in failed.items()} == {
        "login": 1,
        "noise": 2,
        "nothing": 2,
    }
    assert box.files() == server.content
    assert attempts(result) == {}
    assert_neighbours_are_whole(result, server, *failed)


def test_a_length_that_lies_spoils_no_neighbour(box: Sandbox, server: Site) -> None:
    """Bytes behind the body are nobody's. Where fewer come than were told, it is continued."""
    server.fill(30)
    server.put("extra", file(BODY, extra=b"and more"), data=BODY)
    server.fill(30)
    server.put("less", file(BODY, length=12_000), data=BODY[:12_000])
    server.fill(30)
    server.put("more", file(BODY, length=len(BODY) + 5000), file(BODY), data=BODY)
    server.fill(30)

    result = get(box, server, "-j", 2)

    assert box.files() == server.content
    assert_neighbours_are_whole(result, server, "extra", "less", "more")


# ---------------------------------------------------------------- names and URLs


def test_each_name_gets_the_bytes_of_its_url(box: Sandbox, server: Site) -> None:
    """Folders, names that are not the URL's, one URL under two names, queries."""
    server.fill(30)
    rows = {f"train/{n % 3}/{name}": url for n, (name, url) in enumerate(_urls(server))}
    content = {name: server.content[name.rpartition("/")[2]] for name in rows}
    for n, (name, url) in enumerate(_urls(server)[:20]):
        rows[f"again {n} \N{GREEK SMALL LETTER ALPHA}"] = url
        content[f"again {n} \N{GREEK SMALL LETTER ALPHA}"] = server.content[name]
    for n in range(20):
        data = random_bytes(500 + n, 1000 + n)
        route = server.serve(f"/query{n}", file(data), query=f"?a=%2F&b=[{n}]&_nc_gid")
        rows[f"query/{n}"], content[f"query/{n}"] = route.url, data

    result = box.get(box.table(rows), "-j", 2, timeout=60)

    assert box.files() == content
    assert attempts(result) == {}
    assert all(request.query.endswith("]&_nc_gid") for request in server.requests if request.query)
    assert len(server.requests) == len(rows)
    assert_nothing_is_left(box)


def _urls(site: Site) -> list[tuple[str, str]]:
    return [(name, route.url) for name, route in site.routes.items()]


ODD = {  # in the list, as it is sent, the name
    "a%20b": ("/a%20b", "a b"),
    "c d": ("/c%20d", "c d"),
    "%7etilde": ("/%7etilde", "~tilde"),
    "%41letter": ("/%41letter", "Aletter"),
    "f\u00fcr": ("/f%C3%BCr", "f\u00fcr"),
    "gr%C3%BCn": ("/gr%C3%BCn", "gr\u00fcn"),
    "p|q{r}": ("/p%7Cq%7Br%7D", "p|q{r}"),
    "x/../dots": ("/dots", "dots"),
    "x//slashes": ("/x//slashes", "slashes"),
    "100%": ("/100%25", "100%"),
    "(1),[2];'3'": ("/(1),[2];'3'", "(1),[2];'3'"),
    "hash#tag": ("/hash", "hash"),
}


def test_urls_that_wget_rewrites_bring_their_own_bytes(box: Sandbox, server: Site) -> None:
    """Among others, and each asked for as it is documented; one attempt, no bytes of another."""
    server.fill(20)
    urls, content = server.urls, dict(server.content)
    for n, (listed, (sent, name)) in enumerate(ODD.items()):
        content[name] = random_bytes(400 + n, n)
        server.serve(sent, file(content[name]))
        server.fill(8)
        urls += [f"{server.base}/{listed}", *server.urls[-8:]]
    content |= server.content

    result = box.get(box.links(*urls), "-j", 2, timeout=60)

    assert box.files() == content
    assert attempts(result) == {}
    assert {request.path for request in server.requests} == {
        *(sent for sent, _ in ODD.values()),
        *(f"/{name}" for name in server.content),
    }
    assert_nothing_is_left(box)


# ---------------------------------------------------------------- checks


def sums(box: Sandbox, content: dict[str, bytes]) -> Path:
    lines = [f"{sha256(data)}  {name}" for name, data in content.items()]
    return box.links(*lines, name="SHA256SUMS")


def test_a_body_that_is_not_the_lists_is_never_published(box: Sandbox, server: Site) -> None:
    """By its checksum. Wrong once, it comes after all; always wrong, it is broken, and kept to be
    looked at.
    """
    server.fill(40)
    server.put("once", file(bytes(len(BODY))), file(BODY), data=BODY)
    server.fill(40)
    server.put("never", file(BODY))
    server.fill(20)
    listed = sums(box, {**server.content, "never": b"another"})

    result = get(box, server, "-j", 2, "--checksums", listed, expect=1)

    assert box.files() == server.content
    assert all(event["proof"] == ["size", "sha256"] for event in result.of("file_done"))
    failed = result.only("file_failed")
    assert (failed["name"], failed["class"]) == ("never", "broken")
    assert (failed["attempts"], failed["sha256"]) == (2, sha256(BODY))
    assert (box.dir / ".wgetpool/rejected/never").read_bytes() == BODY
    assert attempts(result) == {"once": 2}
    assert result.names("attempt_failed") == ["never", "never", "once"]
    assert [len(server.routes[name].requests) for name in ("once", "never")] == [2, 2]
    assert_neighbours_are_whole(result, server, "once", "never")
    assert_nothing_is_left(box)


def test_a_size_that_the_list_has_wrong_fails_that_file_only(box: Sandbox, server: Site) -> None:
    """Not published; all others come at their first attempt."""
    server.fill(40)
    server.put("short", file(BODY))
    server.fill(40)
    server.put("long", file(BODY))
    server.fill(20)
    sizes = {name: len(data) for name, data in server.content.items()}
    sizes |= {"short": len(BODY) + 1, "long": len(BODY) - 1}
    rows = [f"{route.url}\t{sizes[name]}" for name, route in server.routes.items()]

    result = box.get(box.links("url\tsize", *rows), "-j", 2, timeout=60, expect=1)

    assert box.files() == server.content
    failed = {event["name"]: event["class"] for event in result.of("file_failed")}
    assert failed == {"short": "broken", "long": "broken"}
    assert attempts(result) == {}
    assert [len(server.routes[name].requests) for name in failed] == [2, 2]
    assert_neighbours_are_whole(result, server, "short", "long")


def archive(n: int) -> bytes:
    """A tar in a gzip."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        info = tarfile.TarInfo("x.jpg")
        info.size = 3000 + n
        tar.addfile(info, io.BytesIO(random_bytes(info.size, n)))
    return gzip.compress(made.getvalue(), 1, mtime=0)


def test_archives_are_read_in_a_batch_too(box: Sandbox, server: Site) -> None:
    """--check-archives: one that is broken at its source fails as broken, all others come."""
    for n in range(60):
        data = archive(n)
        if n == 40:
            server.put("torn.tar", file(data[:-500]))
        server.put(f"{n:03}.tar", file(data), data=data)

    result = get(box, server, "-j", 2, "--check-archives", expect=1)

    assert box.files() == server.content
    assert all(event["proof"] == ["size", "archive"] for event in result.of("file_done"))
    failed = result.only("file_failed")
    assert (failed["name"], failed["class"], failed["attempts"]) == ("torn.tar", "broken", 2)
    assert (box.dir / ".wgetpool/rejected/torn.tar").read_bytes() == archive(40)[:-500]
    assert len(server.routes["torn.tar"].requests) == 2
    assert_neighbours_are_whole(result, server, "torn.tar")


def test_a_right_checksum_of_a_broken_archive_ends_it_at_once(box: Sandbox, server: Site) -> None:
    """One request; what came is kept, and those around it come."""
    torn = archive(0)[:-500]
    server.fill(40)
    server.put("torn.tar", file(torn))
    server.fill(40)
    listed = sums(box, {**server.content, "torn.tar": torn})

    result = get(box, server, "-j", 2, "--check-archives", "--checksums", listed, expect=1)

    assert box.files() == server.content
    failed = result.only("file_failed")
    assert (failed["name"], failed["class"], failed["attempts"]) == ("torn.tar", "broken", 1)
    assert (box.dir / ".wgetpool/rejected/torn.tar").read_bytes() == torn
    assert len(server.routes["torn.tar"].requests) == 1
    assert_neighbours_are_whole(result, server, "torn.tar")
    assert_nothing_is_left(box)


# ---------------------------------------------------------------- ends and neighbours


def test_a_run_that_is_killed_in_a_batch_leaves_what_the_next_one_takes(
    box: Sandbox, server: Site
) -> None:
    """SIGKILL at several moments: nothing torn under a final name, no file of these asked for
    again, and no wget left after the run that comes through.
    """
    server.fill(110, pace=PACE)
    links = box.links(*server.urls)

    def has_asked(run: Run, goal: int) -> bool:
        return len(server.requests) >= goal or not run.alive

    for goal in (3, 20, 45, 75):
        before = there(box) if box.dir.exists() else {}
        asked = {name: len(server.routes[name].requests) for name in before}
        with box.start_get(links, "-j", 2) as run:
            wait_until(partial(has_asked, run, goal), limit=30)
            run.signal(signal.SIGKILL)
            run.process.wait(10)
        assert {name: len(server.routes[name].requests) for name in before} == asked
        assert there(box) == {name: server.content[name] for name in there(box)}

    result = box.get(links, "-j", 2, timeout=60)

    assert box.files() == server.content
    assert not result.of("attempt_failed")
    assert_nothing_is_left(box)
    assert box.status()["done"] == 110


def test_two_runs_share_a_list_of_small_files(box: Sandbox, server: Site) -> None:
    """Side by side on one DIR: each file right, both end with 0, hardly a file asked for twice."""
    server.fill(120, pace=PACE)
    links = box.links(*server.urls)

    with box.start_get(links, "-j", 2) as one, box.start_get(links, "-j", 2) as other:
        results = [one.finish(60), other.finish(60)]

    assert box.files() == server.content
    done = [name for result in results for name in result.names("file_done")]
    assert sorted(done) == sorted(server.content)
    assert len(server.requests) <= 1.2 * 120
    assert not [event for result in results for event in result.of("attempt_failed")]
    assert_nothing_is_left(box)


def test_a_run_that_is_ended_in_a_batch_ends_at_once(box: Sandbox, server: Site) -> None:
    """SIGTERM: 143, no process left, what is there is whole; the same command goes on."""
    server.fill(100, pace=PACE)
    links = box.links(*server.urls)
    with box.start_get(links, "-j", 2) as run:
        wait_until(lambda: len(server.requests) >= 45, limit=30)
        run.signal(signal.SIGTERM)
        result = run.finish(30, expect=143)

    assert not box.wgets()
    assert there(box) == {name: server.content[name] for name in there(box)}
    assert sorted(there(box)) == result.names("file_done")
    assert not result.of("attempt_failed")
    assert not result.of("file_failed")
    asked = {name: len(server.routes[name].requests) for name in there(box)}
    box.get(links, "-j", 2, timeout=60)
    assert box.files() == server.content
    assert {name: len(server.routes[name].requests) for name in asked} == asked
    assert_nothing_is_left(box)


def test_a_file_that_was_begun_before_is_continued(box: Sandbox, server: Site) -> None:
    """Parts and files that are there already, among new ones: only what is missing is asked for."""
    server.fill(60)
    server.put("begun", file(BODY, etag='"b"'), data=BODY)
    server.put("torn", file(BODY, etag='"t"'), data=BODY)
    server.put("whole", file(BODY, etag='"w"'), data=BODY)
    server.fill(30)
    box.dir.mkdir()
    box.part("begun").write_bytes(BODY[:12_000])
    box.path("torn").write_bytes(BODY[:15_000])
    box.path("whole").write_bytes(BODY)

    result = get(box, server, "-j", 2)

    assert box.files() == server.content
    assert result.names("file_skipped") == ["whole"]
    assert set(server.asked()) <= {"begun", "torn", "whole"}
    assert not [name for name in ("begun", "torn", "whole") if server.is_shared(name)]
    assert_nothing_is_left(box)


# ---------------------------------------------------------------- secrets


class Watch:
    """Reads, again and again, the command line of every process, and all below a folder."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        self.leaks: set[str] = set()
        self.looks = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.02):
            self.look()
            self.looks += 1

    def look(self) -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            self._see(path)
        for folder in (self.box.dir, self.box.cwd):
            for path in folder.rglob("*"):
                self._see(path)

    def _see(self, path: Path) -> None:
        try:
            data = path.read_bytes() if path.is_file() else b""
        except OSError:
            return
        for secret in (MARK, TOKEN):
            if secret in str(path) or secret.encode() in data:
                self.leaks.add(f"{path}: {data[:500]!r}")


@pytest.mark.parametrize("output", [["--json"], ["--verbose"]], ids=["json", "verbose"])
def test_signed_urls_and_headers_of_a_batch_show_nowhere(
    box: Sandbox, server: Site, output: list[str]
) -> None:
    """In no command line, file, name or output, while it runs and after; at the server each time,
    whatever happens to the file.
    """
    signed = f"?oh={MARK}&oe=7FFFFFFF&_nc_gid"
    server.fill(40, query=signed, pace=PACE)
    troubles = {
        "gone": [status(404, f"X-Echo: {MARK}")],
        "cut": [file(BODY).cut_at(9000), file(BODY)],
        "busy": [status(503, f"X-Echo: {TOKEN}"), file(BODY)],
        "moved": [redirect(f"/real{signed}")],
        "noise": [not_http()],
        "chunked": [file(BODY, framing="chunked")],
    }
    for name, script in troubles.items():
        server.put(name, *script, query=signed)
        server.fill(15, query=signed, pace=PACE)
    server.serve("/real", file(BODY))
    header = box.links(f"X-Token: {TOKEN}", name="headers")
    links, options = box.links(*server.urls), ["--header", f"@{header}", "-j", 2, "--tries", 2]

    with Watch(box) as watch:
        result = box.run(
            "get",
            links,
            "-o",
            box.dir,
            "--backoff",
            0.05,
            *options,
            *output,
            timeout=60,
            expect=1,
        )
        told = box.run("status", box.dir, "--json", expect=1)
    watch.look()

    assert watch.leaks == set()
    assert watch.looks > 5
    outputs = result.stdout + result.stderr + told.stdout + told.stderr
    assert MARK not in outputs
    assert TOKEN not in outputs
    assert all(MARK in request.query for request in server.requests)
    assert all(request.headers["x-token"] == TOKEN for request in server.requests)
    assert len(box.files()) == len(server.routes) - 2


def test_a_cookie_that_a_server_sets_goes_nowhere(box: Sandbox, server: Site) -> None:
    """As with a wget for each file."""
    server.fill(60, headers=("Set-Cookie: a=b; Path=/",))

    get(box, server, "-j", 2)

    assert not [request for request in server.requests if "cookie" in request.headers]
