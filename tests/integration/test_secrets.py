"""A signed URL, its query, a password: never in `ps`, on the terminal, in a log, ledger or JSON."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.faultserver import (
    FaultServer,
    Reply,
    Request,
    Script,
    file,
    not_http,
    redirect,
    status,
)
from support.runner import Result, Sandbox, random_bytes, wait_until

pytest_plugins = ["support.fixtures"]

# One for each worker: a test of another one may have a URL on its command line.
MARK = f"MARKsecret{os.environ.get('PYTEST_XDIST_WORKER', '')}MARK"
PASSWORD = f"PASSsecret{os.environ.get('PYTEST_XDIST_WORKER', '')}PASS"
DATA = random_bytes(300_000)
WHOLE = file(DATA)


def query(n: int = 0) -> str:
    return f"?oh={MARK}{n}&oe=7FFFFFFF&_nc_gid"


class Watch:
    """Reads the command line and environment of every process again and again."""

    def __init__(self) -> None:
        self.leaks: set[str] = set()
        self.looks = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.01):
            self.look()

    def look(self) -> None:
        self.looks += 1
        for process in Path("/proc").glob("[0-9]*"):
            if process.name == str(os.getpid()):
                continue
            for name in ("cmdline", "environ"):
                try:
                    text = (process / name).read_bytes()
                except OSError:
                    continue
                if MARK.encode() in text or PASSWORD.encode() in text:
                    self.leaks.add(f"{name}: {text!r}")


def leaks(box: Sandbox, *results: Result) -> list[str]:
    """Where a mark is found: output of the runs, any file or name under DIR, HOME."""
    places = [result.stdout for result in results] + [result.stderr for result in results]
    found = [place for place in places if MARK in place or PASSWORD in place]
    for folder in (box.dir, box.home, box.cwd):
        for path in folder.rglob("*"):
            data = path.read_bytes() if path.is_file() else b""
            if MARK in str(path) or MARK.encode() in data or PASSWORD.encode() in data:
                found.append(str(path))
    return found


TROUBLE: dict[str, list[Script]] = {
    "whole": [WHOLE],
    "cut": [WHOLE.cut_at(100_000), WHOLE],
    "refused": [status(403)],
    "missing": [status(404)],
    "busy": [status(503)],
    "not HTTP": [not_http()],
    "no file": [status(204, body=b"")],
    "redirected": [redirect(f"/real?oh={MARK}")],
    "redirected away": [redirect(f"http://127.0.0.1:1/closed?oh={MARK}")],
    "redirected for ever": [redirect(f"?oh={MARK}")],
    "a strange header": [status(500, f"X-Echo: {MARK}")],
    "dated": [file(DATA, modified="Mon, 01 Sep 2025 10:00:00 GMT").cut_at(1000), WHOLE],
}


@pytest.mark.parametrize("output", [["--json"], []], ids=["json", "plain"])
def test_a_signed_url_shows_nowhere(box: Sandbox, server: FaultServer, output: list[str]) -> None:
    """Successes and failures of all kinds: the query is on the way to the server, nowhere else."""
    rows = {}
    for n, (name, script) in enumerate(TROUBLE.items()):
        rows[name] = server.serve(f"/{n}", *script, query=query(n)).url
    rows["closed port"] = f"http://127.0.0.1:1/x{query(99)}"
    rows["no such host"] = f"http://nowhere.invalid/x{query(98)}"
    server.serve("/real", WHOLE)
    links, watch = box.table(rows), Watch()
    options = ["-o", box.dir, "--tries", 2, "--backoff", 0.05, "--timeout", 5, *output]

    with watch.running():
        result = box.run("get", links, *options, "-j", 6, expect=1)
        state = box.run("status", box.dir, expect=1)
        state_json = box.run("status", box.dir, "--json", expect=1)

    assert all(MARK in request.query for request in server.requests)
    assert watch.looks > 5
    assert watch.leaks == set()
    assert leaks(box, result, state, state_json) == []


def test_a_wget_at_work_does_not_show_its_url(box: Sandbox, server: FaultServer) -> None:
    """While a wget runs, `ps` shows neither query nor password; nor does a file that it writes."""
    route = server.serve("/a.tar", WHOLE.cut_at(100_000, "stall"), query=query())
    url = route.url.replace("http://", f"http://user:{PASSWORD}@")
    watch = Watch()

    with box.start_get(box.links(url)) as run:
        wait_until(lambda: box.part_size("a.tar") == 100_000)
        assert len(box.wgets()) == 1
        watch.look()
        state = box.run("status", box.dir, expect=1)
        during = leaks(box, state)
        run.signal(signal.SIGTERM)
        result = run.finish(expect=143)

    assert watch.leaks == set()
    assert during == []
    assert leaks(box, result) == []


def test_a_password_in_a_url_is_used_and_not_shown(box: Sandbox, server: FaultServer) -> None:
    """user:password@host: it goes to the server that asks for it, and nowhere else."""
    challenge = status(401, 'WWW-Authenticate: Basic realm="x"')
    good = server.serve("/good.tar", challenge, WHOLE)
    server.serve("/bad.tar", challenge)
    login = f"http://user:{PASSWORD}@"
    urls = [f"{server.base}/{name}.tar".replace("http://", login) for name in ("good", "bad")]
    watch = Watch()

    with watch.running():
        result = box.get(box.links(*urls), expect=1)

    assert "authorization" in good.requests[1].headers
    assert box.files() == {"good.tar": DATA}
    assert watch.leaks == set()
    assert leaks(box, result) == []


BAD_LINES = [
    f"ftp://host/a.tar{query()}",
    f"http://host/{query()}",
    f"http://host/../..{query()}",
    f"nonsense {MARK} http",
    f"http://[broken/a.tar{query()}",
    f"http://user:{PASSWORD}@host:notaport/a.tar{query()}",
    f"http://user:{PASSWORD}@/{query()}",
]


def test_a_bad_line_is_named_by_its_number_not_by_its_secret(box: Sandbox) -> None:
    """The error for a line that cannot be used shows no query and no password."""
    links = box.links("http://127.0.0.1:1/fine", *BAD_LINES)

    result = box.get(links, expect=2)

    numbers = re.findall(r"links\.txt\D*(\d+)", result.stderr)
    assert numbers == [str(n + 2) for n in range(len(BAD_LINES))], result.story
    assert leaks(box, result) == []
    assert not box.dir.exists()


def test_two_urls_for_one_name_are_an_error_without_their_queries(box: Sandbox) -> None:
    """The clash is told by lines, not by what their URLs hide."""
    links = box.links(f"http://h/a.tar{query(1)}", f"http://h/a.tar{query(2)}")

    result = box.get(links, expect=2)

    assert "links.txt" in result.stderr
    assert leaks(box, result) == []


def test_a_url_on_the_command_line_is_not_repeated(box: Sandbox, server: FaultServer) -> None:
    """It is on wgetpool's own command line, but not in its output, nor on a wget's."""
    route = server.serve("/a.tar", status(404), query=query())

    result = box.run("get", route.url, "-o", box.dir, expect=1)
    dry = box.run("get", route.url, "-o", box.dir, "--dry-run")
    listed = box.run("list", route.url)

    assert leaks(box, result, dry, listed) == []


def test_the_state_is_for_the_user_alone(box: Sandbox, server: FaultServer) -> None:
    """Nothing under .wgetpool can be read by others, also with a lax umask."""
    box.umask = 0
    route = server.serve("/a.tar", WHOLE.cut_at(100_000), WHOLE, query=query())

    box.get(box.links(route.url))

    assert box.path(".wgetpool").stat().st_mode & 0o077 == 0


# ---------------------------------------------------------------- all kinds of secrets at once

KINDS = ("QUERY", "LOGIN", "HEADER", "COOKIE", "NETRC", "PROXY")
MARKS = {kind: f"{kind}{MARK}" for kind in KINDS}
CHALLENGE = 'WWW-Authenticate: Basic realm="x"'


def places(box: Sandbox, *results: Result) -> list[str]:
    """Where a mark is found: output of the runs, any file or name in DIR and where it was run."""
    found = [text for each in results for text in (each.stdout, each.stderr) if MARK in text]
    paths = [path for folder in (box.dir, box.cwd) for path in folder.rglob("*")]
    files = [path for path in paths if path.is_file() and MARK.encode() in path.read_bytes()]
    return [*found, *(str(path) for path in paths if MARK in str(path)), *map(str, files)]


def give_all(box: Sandbox) -> tuple[object, ...]:
    """The options by which secrets are given, all in files of the user's own."""
    box.umask = 0
    netrc, headers, cookies = box.home / ".netrc", box.root / "headers", box.root / "cookies.txt"
    netrc.write_text(f"machine 127.0.0.1 login user password {MARKS['NETRC']}\n")
    headers.write_text(f"X-Token: {MARKS['HEADER']}\n")
    fields = ["#HttpOnly_127.0.0.1", "FALSE", "/", "FALSE", "0", "session", MARKS["COOKIE"]]
    cookies.write_text("\t".join(fields) + "\n")
    box.env["https_proxy"] = f"http://user:{MARKS['PROXY']}@127.0.0.1:1"
    return ("--netrc", "--header", f"@{headers}", "--cookies", cookies)


def wants_login(request: Request) -> Reply:
    return WHOLE if "authorization" in request.headers else status(401, CHALLENGE)


def faults(server: FaultServer, other: FaultServer) -> dict[str, str]:
    """Names and URLs with whatever can go wrong, and with all that is asked for."""
    signed = f"?oh={MARKS['QUERY']}&oe=7FFFFFFF"
    away = other.serve("/away", WHOLE.cut_at(90_000), WHOLE, query=signed)
    real = server.serve("/real", wants_login, query=signed)
    scripts: dict[str, list[Script]] = {
        "whole": [wants_login],
        "cut": [WHOLE.cut_at(100_000), WHOLE],
        "busy": [status(503, f"X-Echo: {MARKS['HEADER']}"), WHOLE],
        "refused": [status(403)],
        "unauthorized": [status(401, CHALLENGE)],
        "away": [redirect(away.url)],
        "near": [redirect(real.url)],
        "lost": [redirect(f"http://user:{MARKS['LOGIN']}@127.0.0.1:1/{signed}")],
        "loop": [redirect(signed)],
    }
    rows = {name: server.serve(f"/{name}", *each, query=signed) for name, each in scripts.items()}
    urls = {name: route.url for name, route in rows.items()}
    login = f"://user:{MARKS['LOGIN']}@"
    urls["login"] = server.serve("/login", wants_login).url.replace("://", login)
    urls["proxied"] = f"https://127.0.0.1:1/x{signed}"
    return urls


@pytest.fixture
def other() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


class WatchOfAll(Watch):
    """The environment has a proxy's password: wget reads it there, and from nowhere else."""

    def look(self) -> None:
        super().look()
        own = MARKS["PROXY"]
        self.leaks = {leak for leak in self.leaks if MARK in leak.replace(own, "")}


@pytest.mark.parametrize("output", [["--json"], ["--verbose"]], ids=["json", "verbose"])
def test_no_secret_of_a_whole_run_shows_anywhere(
    box: Sandbox, server: FaultServer, other: FaultServer, output: list[str]
) -> None:
    """Query, login, header, cookie, netrc, proxy: each does its work, and none is seen."""
    words, watch = give_all(box), WatchOfAll()
    urls = faults(server, other)
    options = ["-o", box.dir, "--tries", 2, "--backoff", 0.05, "--timeout", 5, *output]

    with watch.running():
        result = box.run("get", box.table(urls), *options, *words, "-j", 4, expect=1)
        told = [box.run("status", box.dir, *more, expect=1) for more in ([], ["--json"], urls)]
        dry = box.run("get", box.table(urls), "-o", box.dir, *words, "--dry-run", expect=None)

    assert set(box.files()) == {"whole", "cut", "busy", "away", "near", "login"}
    seen = str([request.headers for request in server.requests])
    assert all(MARKS[kind] in seen for kind in ("HEADER", "COOKIE"))
    assert any(MARKS["QUERY"] in request.query for request in server.requests)
    assert MARK not in str([request.headers for request in other.requests])
    assert watch.looks > 5
    assert watch.leaks == set()
    assert places(box, result, *told, dry) == []
    assert modes(box) == {}


def modes(box: Sandbox) -> dict[str, str]:
    """What others may read under .wgetpool, for itself: name and mode."""
    root = box.path(".wgetpool")
    found = {str(path): path.stat().st_mode & 0o777 for path in (root, *root.rglob("*"))}
    return {name: oct(mode) for name, mode in found.items() if mode & 0o077}


def test_a_crash_leaves_no_secret_behind(
    box: Sandbox, server: FaultServer, other: FaultServer
) -> None:
    """SIGKILL in the midst of a redirected file: nothing on the disk, nor of the wget that is
    left.
    """
    words, watch = give_all(box), WatchOfAll()
    away = other.serve("/away", WHOLE.cut_at(100_000, "stall"), query=f"?oh={MARKS['QUERY']}")
    route = server.serve("/a.tar", redirect(away.url), query=f"?oh={MARKS['QUERY']}")

    with box.start_get(box.links(route.url), *words) as run:
        wait_until(lambda: box.part_size("a.tar") == 100_000)
        run.signal(signal.SIGKILL)
        run.process.wait(10)
    assert len(box.wgets()) == 1
    watch.look()
    stopped = box.run("stop", box.dir)
    state = box.run("status", box.dir, expect=1)

    assert watch.leaks == set()
    assert places(box, stopped, state) == []
    assert modes(box) == {}


BUG = """
import sys
from wgetpool import wget

def command(*args, **kwargs):
    del kwargs["environment"]  # the user's own, with the proxies
    raise RuntimeError(f"{args} {kwargs}")

wget.command = command
from wgetpool.cli import run
sys.argv[0] = "wgetpool"
sys.exit(run())
"""


def test_a_bug_leaves_a_traceback_without_secrets(box: Sandbox, server: FaultServer) -> None:
    """Whatever an exception shows of what was in hand: it is masked, and for the user alone."""
    words = give_all(box)
    login = f"://user:{MARKS['LOGIN']}@"
    url = server.serve("/a.tar", WHOLE, query=f"?oh={MARKS['QUERY']}").url.replace("://", login)
    given = tuple(str(word) for word in ("get", box.links(url), "-o", box.dir, *words))

    with box.launch((sys.executable, "-c", BUG, *given), given) as run:
        result = run.finish(expect=3)

    path = box.path(".wgetpool/traceback.txt")
    assert "RuntimeError" in path.read_text()
    assert "Access(" in path.read_text()
    assert str(path) in result.stderr
    assert places(box, result) == []
    assert modes(box) == {}


def test_an_option_in_the_environment_is_not_handed_on(box: Sandbox, server: FaultServer) -> None:
    """WGETPOOL_HEADER: the wgets get what it says in private, and not the variable."""
    box.env["WGETPOOL_USER_AGENT"] = MARK
    route = server.serve("/a.tar", WHOLE.cut_at(100_000, "stall"))

    with box.start_get(route.url) as run:
        wait_until(lambda: box.part_size("a.tar") == 100_000)
        (wget,) = box.wgets()
        handed_on = Path(f"/proc/{wget.pid}/environ").read_bytes()
        run.signal(signal.SIGTERM)
        run.finish(expect=143)

    assert route.requests[0].headers["user-agent"] == MARK
    assert MARK.encode() not in handed_on


def test_a_header_on_the_command_line_is_not_repeated(box: Sandbox, server: FaultServer) -> None:
    """It is on wgetpool's own command line, where the user put it, and nowhere else."""
    route = server.serve("/a.tar", status(404), WHOLE)
    words = (box.links(route.url), "-o", box.dir)

    for given in (["--header", f"X-A: {MARK}"], [f"--header=X-A: {MARK}"]):
        assert leaks(box, box.run("get", *words, *given, "--tries", 1, expect=None)) == []

    assert [request.headers["x-a"] for request in route.requests] == [MARK, MARK]
