"""Errors that teach: real runs that fail, and what they say of the cause and the next step."""

from __future__ import annotations

import gzip
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.faultserver import FaultServer, Reply, file, not_http, redirect, status
from support.mounts import Space
from support.runner import UNMEASURED, Result, Sandbox, random_bytes

from wgetpool.advice import next_step
from wgetpool.model import Cause

pytest_plugins = ["support.fixtures"]

WHOLE = file(random_bytes(200_000), etag='"v1"')
SECRET = "SECRET"
LOGIN = f"user:{SECRET}@"
CHALLENGE = 'WWW-Authenticate: Basic realm="x"'


def failed(box: Sandbox, *args: object, cause: Cause, code: int = 1) -> str:
    """The reason of the one file that failed, for this cause, with its next step and no secret."""
    result = box.get("--tries", 2, *args, expect=code)
    told = result.only("file_failed")
    assert told["cause"] == cause, result.story
    assert f"  Next: {next_step(cause, directory=str(box.view))}" in result.stderr.splitlines()
    _assert_no_secret(box, result)
    return str(told["reason"])


def _assert_no_secret(box: Sandbox, result: Result) -> None:
    assert SECRET not in result.stdout + result.stderr
    assert SECRET.encode() not in (box.view / ".wgetpool" / "ledger.sqlite3").read_bytes()


@pytest.fixture
def dead_port() -> int:
    """Nobody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("reply", "query", "cause"),
    [
        (status(403), f"?oh={SECRET}&oe=65A1B2C3&_nc_sid=0", Cause.EXPIRED),
        (status(403), f"?_nc_gid={SECRET}", Cause.CUT_LINK),
        (status(400), f"?X-Amz-Credential={SECRET}", Cause.CUT_LINK),
        (status(401, CHALLENGE), f"?Policy=eyJ{SECRET}", Cause.CUT_LINK),
        (status(403), f"?token={SECRET}", Cause.FORBIDDEN),
        (status(401, CHALLENGE), "", Cause.LOGIN),
        (status(404), "", Cause.NOT_FOUND),
        (status(410), "", Cause.NOT_FOUND),
        (status(405), "", Cause.REQUEST),
        (status(451), "", Cause.LEGAL),
        (status(429, "Retry-After: 0"), "", Cause.RATE_LIMITED),
        (status(503), "", Cause.SERVER),
        (redirect("/a.tar"), "", Cause.REDIRECT),
        (redirect("ftp://127.0.0.1/a.tar"), "", Cause.REDIRECT),
        (status(204), "", Cause.NO_FILE),
        (not_http(), "", Cause.NO_FILE),
        (WHOLE.cut_at(1000), "", Cause.CONNECTION),
    ],
)
def test_what_a_server_answers_leads_to_its_next_step(
    box: Sandbox, server: FaultServer, reply: Reply, query: str, cause: Cause
) -> None:
    """Status, link and bytes tell the cause; the query is shown nowhere."""
    route = server.serve("/a.tar", reply, query=query)

    failed(box, box.links(route.url), cause=cause)


def test_a_login_in_the_link_helps_as_the_advice_says(box: Sandbox, server: FaultServer) -> None:
    """What is told to be done is what works."""

    def answer(request: object) -> Reply:
        return WHOLE if "authorization" in getattr(request, "headers", {}) else refusal

    refusal = status(401, CHALLENGE)
    route = server.serve("/a.tar", answer)
    failed(box, box.links(route.url), cause=Cause.LOGIN)

    result = box.get(box.links(route.url.replace("://", f"://{LOGIN}")))

    assert box.files() == {"a.tar": WHOLE.data}
    _assert_no_secret(box, result)


# ---------------------------------------------------------------- what came


PAGE = status(200)
TORN = file(gzip.compress(random_bytes(100_000))[:50_000])


@pytest.mark.parametrize(
    ("reply", "table", "cause"),
    [
        (PAGE, "url,size\n{},1000", Cause.SIZE),
        (WHOLE, f"url,md5\n{{}},{'0' * 32}", Cause.CHECKSUM),
        (TORN, "url,size\n{},50000", Cause.ARCHIVE),
    ],
)
def test_what_came_and_is_wrong_is_where_the_advice_says(
    box: Sandbox, server: FaultServer, reply: Reply, table: str, cause: Cause
) -> None:
    """Look at it in rejected/: it is there."""
    links = box.links(table.format(server.serve("/a.tar", reply).url))

    failed(box, "--check-archives", links, cause=cause)

    assert (box.view / ".wgetpool/rejected/a.tar").read_bytes() == reply.data


# ---------------------------------------------------------------- the way to the server


def test_a_server_that_refuses_the_connection(box: Sandbox, dead_port: int) -> None:
    """Nothing listens there."""
    reason = failed(box, f"http://127.0.0.1:{dead_port}/a.tar", cause=Cause.REFUSED)

    assert reason == "connection refused"


def test_a_name_that_nobody_knows(box: Sandbox) -> None:
    """The name service's trouble, or the link's."""
    failed(box, "http://cdn.invalid/a.tar", cause=Cause.NAME_SERVICE)


def test_a_server_that_speaks_no_tls(box: Sandbox, server: FaultServer) -> None:
    """https to a port where nobody answers to it."""
    url = f"{server.base.replace('http', 'https')}/a.tar"

    reason = failed(box, "--timeout", "0.5", url, cause=Cause.TLS)

    assert reason == "no TLS connection with the server"


# ---------------------------------------------------------------- certificates

ROOTS = Path("/etc/ssl/certs/ca-certificates.crt")
AUTHORITY = """
[ca]
default_ca = all
[all]
database = issued
serial = serial
new_certs_dir = .
certificate = ca.crt
private_key = ca.key
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
"""


@dataclass(frozen=True)
class Authority:
    """Signs certificates, in a folder of its own."""

    folder: Path

    def openssl(self, *words: str) -> None:
        command = ["openssl", *words]
        subprocess.run(command, cwd=self.folder, capture_output=True, timeout=60, check=True)

    def sign(self, name: str, *, host: str = "IP:127.0.0.1", years: tuple[int, int]) -> Path:
        """A certificate and its key, good from the one year to the other."""
        request = ("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}")
        files = ("-keyout", f"{name}.key", "-out", f"{name}.csr")
        self.openssl(*request, *files, "-addext", f"subjectAltName={host}")
        dates = [f"{year}0101000000Z" for year in years]
        period = ("-startdate", dates[0], "-enddate", dates[1])
        done = ("-in", f"{name}.csr", "-out", f"{name}.crt", "-notext")
        self.openssl("ca", "-batch", "-config", "ca.cnf", *done, *period)
        both = self.folder / f"{name}.pem"
        texts = [(self.folder / f"{name}.{part}").read_text() for part in ("crt", "key")]
        both.write_text("".join(texts))
        return both


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    made = Authority(tmp_path_factory.mktemp("ca"))
    (made.folder / "ca.cnf").write_text(AUTHORITY)
    (made.folder / "issued").write_text("")
    (made.folder / "serial").write_text("10")
    words = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "100", "-subj", "/CN=Test")
    made.openssl(*words, "-keyout", "ca.key", "-out", "ca.crt")
    return made


@pytest.fixture
def trusting(box: Sandbox, authority: Authority) -> Iterator[Sandbox]:
    """Its runs trust the authority, as after update-ca-certificates."""
    if not ROOTS.exists():
        pytest.skip(f"needs {ROOTS}")
    both = authority.folder / "roots"
    both.write_text(ROOTS.read_text() + (authority.folder / "ca.crt").read_text())
    with Space() as space:
        space.do("mount", "--bind", both, ROOTS)
        space.hold(box)
        yield box


def test_a_certificate_of_an_unknown_authority(box: Sandbox, authority: Authority) -> None:
    """One's own, or that of a proxy that reads along."""
    with FaultServer(authority.sign("unknown", years=(2020, 2099))) as server:
        reason = failed(box, server.serve("/a.tar", WHOLE).url, cause=Cause.CERTIFICATE)

    assert reason == "the server's certificate is not trusted: nobody known has signed it"


def test_an_authority_of_ones_own_is_trusted_once_it_is_added(
    trusting: Sandbox, authority: Authority
) -> None:
    """What is told to be done is what works."""
    with FaultServer(authority.sign("known", years=(2020, 2099))) as server:
        trusting.get(server.serve("/a.tar", WHOLE).url)

    assert trusting.files() == {"a.tar": WHOLE.data}


@pytest.mark.parametrize(
    ("years", "words"),
    [((2001, 2002), "it has expired"), ((2098, 2099), "its time is yet to come")],
)
def test_a_certificate_of_another_time(
    trusting: Sandbox, authority: Authority, years: tuple[int, int], words: str
) -> None:
    """The clock of this machine is the first thing to look at."""
    with FaultServer(authority.sign(f"of{years[0]}", years=years)) as server:
        url = server.serve("/a.tar", WHOLE).url
        reason = failed(trusting, url, cause=Cause.CERTIFICATE_DATE)

    assert reason == f"the server's certificate is not valid now: {words}"


def test_a_certificate_of_another_host(trusting: Sandbox, authority: Authority) -> None:
    """An alias, or an address."""
    certificate = authority.sign("other", host="DNS:other.example", years=(2020, 2099))
    with FaultServer(certificate) as server:
        url = server.serve("/a.tar", WHOLE).url
        reason = failed(trusting, url, cause=Cause.CERTIFICATE_NAME)

    assert reason == "the server's certificate is for another host name"


# ---------------------------------------------------------------- proxies


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_the_connection_is_named(
    box: Sandbox, dead_port: int, scheme: str
) -> None:
    """Without the login that it is named with."""
    box.env[f"{scheme}_proxy"] = f"http://{LOGIN}127.0.0.1:{dead_port}"

    reason = failed(box, f"{scheme}://cdn.invalid/a.tar", cause=Cause.PROXY)

    assert reason == f"the proxy 127.0.0.1:{dead_port} cannot be reached: connection refused"


def test_a_proxy_whose_name_nobody_knows_is_named(box: Sandbox) -> None:
    """It is not the server's name that is looked for."""
    box.env["https_proxy"] = "http://proxy.invalid:3128"

    reason = failed(box, "https://127.0.0.1/a.tar", cause=Cause.PROXY)

    assert "the proxy proxy.invalid:3128 cannot be reached: its name" in reason


NO_WAY = "does not connect to the server: 403 Forbidden"
ASKS = "wants a user name and a password"


@pytest.mark.parametrize(
    ("url", "code", "cause", "words"),
    [
        ("https://cdn.invalid/a.tar", 403, Cause.PROXY, NO_WAY),
        ("https://cdn.invalid/a.tar", 407, Cause.PROXY_LOGIN, ASKS),
        ("http://cdn.invalid/a.tar", 403, Cause.PROXY, "or the server behind it"),
        ("http://cdn.invalid/a.tar", 407, Cause.PROXY_LOGIN, ASKS),
    ],
)
def test_a_proxy_that_says_no_is_named(
    box: Sandbox, url: str, code: int, cause: Cause, words: str
) -> None:
    """To a CONNECT, which wget tells in words only, and to a request."""
    with FaultServer() as proxy:
        proxy.serve("cdn.invalid:443", status(code))
        proxy.serve("http://cdn.invalid/a.tar", status(code))
        address = proxy.base.replace("://", f"://{LOGIN}")
        box.env |= {"http_proxy": address, "https_proxy": address}

        reason = failed(box, box.links(f"{url}?{SECRET}"), cause=cause)

        assert f"the proxy 127.0.0.1:{proxy.port} {words}" in reason
        assert proxy.requests[0].headers["proxy-authorization"]


def test_a_proxy_of_another_kind_is_refused_in_words(box: Sandbox) -> None:
    """wget knows no SOCKS."""
    box.env["https_proxy"] = f"socks5h://{LOGIN}127.0.0.1:9"

    reason = failed(box, "https://cdn.invalid/a.tar", cause=Cause.PROXY)

    assert reason == "the proxy is named in a way that wget does not understand"


def test_a_proxy_named_in_capitals_is_passed_by(
    box: Sandbox, server: FaultServer, dead_port: int
) -> None:
    """As the warning says: wget does not read it."""
    nowhere = f"http://127.0.0.1:{dead_port}"
    box.env |= {"HTTP_PROXY": nowhere, "ALL_PROXY": nowhere, "all_proxy": nowhere}

    box.get(server.serve("/a.tar", WHOLE).url)

    assert box.files() == {"a.tar": WHOLE.data}


# ---------------------------------------------------------------- this machine


def _put_a_folder(box: Sandbox) -> None:
    (box.dir / "a.tar").mkdir(parents=True)


def _put_a_file(box: Sandbox) -> None:
    box.dir.mkdir()
    (box.dir / "train").write_text("")


@pytest.mark.parametrize(("put", "name"), [(_put_a_folder, "a.tar"), (_put_a_file, "train/a.tar")])
def test_what_is_in_the_way_of_a_name(
    box: Sandbox, server: FaultServer, put: Callable[[Sandbox], None], name: str
) -> None:
    """The path says what to move away."""
    put(box)
    route = server.serve("/a.tar", WHOLE)

    reason = failed(box, box.links("url,name", f"{route.url},{name}"), cause=Cause.NAME)

    assert str(box.dir / name.partition("/")[0]) in reason


def test_a_file_beyond_the_limit(box: Sandbox, server: FaultServer) -> None:
    """ulimit -f."""
    box.env |= UNMEASURED  # its data would be beyond the limit, too
    box.prefix = ("sh", "-c", 'ulimit -f 100 && exec "$@"', "sh", *box.prefix)

    failed(box, server.serve("/a.tar", WHOLE).url, cause=Cause.TOO_LARGE)


def test_a_full_disk(box: Sandbox, server: FaultServer) -> None:
    """Exit code 3, and how to see what is free."""
    large = file(random_bytes(4_000_000))
    with Space() as space:
        box.dir.mkdir()
        space.do("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", box.dir)
        space.hold(box)

        result = box.get(server.serve("/a.tar", large).url, expect=3)

    assert result.only("file_failed")["cause"] == Cause.NO_SPACE
    assert f"df -h {box.dir} tells what is free" in result.stderr


# ---------------------------------------------------------------- how it looks


def test_many_reasons_are_told_in_one_screen(box: Sandbox, server: FaultServer) -> None:
    """Grouped, the commonest first; each next step once; the command last."""
    urls = [server.serve(f"/gone{n}.tar", status(404)).url for n in range(4)]
    urls += [server.serve(f"/old{n}.tar", status(410)).url for n in range(2)]
    urls.append(server.serve("/no.tar", status(403)).url)

    result = box.run("get", "-q", "-j", 1, "-o", box.dir, box.links(*urls), expect=1)

    told = result.lines[result.lines.index("Failed: 4 files, HTTP 404 Not Found") :]
    assert told == [
        "Failed: 4 files, HTTP 404 Not Found",
        "  gone0.tar, gone1.tar, gone2.tar and 1 more",
        "Failed: 2 files, HTTP 410 Gone",
        "  old0.tar, old1.tar",
        f"  Next, for all of these: {next_step(Cause.NOT_FOUND, directory='')}",
        "Failed: 1 file, HTTP 403 Forbidden",
        "  no.tar",
        f"  Next: {next_step(Cause.FORBIDDEN, directory='')}",
        "All names:",
        f"    wgetpool status {box.dir} --names failed",
        "The command that goes on:",
        f"    wgetpool get -q -j 1 -o {box.dir} {box.root}/links.txt",
    ]
