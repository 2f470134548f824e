"""What a site's wget needs beside the URL: headers, cookies, logins, settings, and redirects."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.faultserver import FaultServer, Reply, Request, Route, file, redirect, status
from support.runner import OVERLAP, Sandbox, random_bytes, wait_until

pytest_plugins = ["support.fixtures"]

DATA = random_bytes(300_000)
WHOLE = file(DATA, etag='"one"')
TOKEN = "X-Token: abc"
CHALLENGE = 'WWW-Authenticate: Basic realm="x"'


@pytest.fixture
def other() -> Iterator[FaultServer]:
    """A server at another port: another origin."""
    with FaultServer() as running:
        yield running


def with_login(url: str) -> str:
    return url.replace("://", "://user:pass@")


def basic(login: str) -> str:
    return "Basic " + base64.b64encode(login.encode()).decode()


def wants_login(request: Request) -> Reply:
    return WHOLE if "authorization" in request.headers else status(401, CHALLENGE)


def cookies(box: Sandbox, *lines: tuple[str, int]) -> Path:
    """A browser's cookies.txt: a name, and when it expires."""
    path = box.root / "cookies.txt"
    rows = [
        "\t".join(["127.0.0.1", "FALSE", "/", "FALSE", str(expiry), name, "v"])
        for name, expiry in lines
    ]
    path.write_text(
        "\n".join(["# Netscape HTTP Cookie File", *rows, ""]).replace(
            "127.0.0.1\tFALSE\t/\tFALSE\t0\thidden",
            "#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t0\thidden",
        )
    )
    return path


def netrc(box: Sandbox) -> None:
    (box.home / ".netrc").write_text("machine 127.0.0.1 login user password pass\n")


# ---------------------------------------------------------------- what arrives


def test_headers_go_with_every_request(box: Sandbox, server: FaultServer) -> None:
    """From the command line and from a file, when a part is continued too."""
    route = server.serve("/a.tar", WHOLE.cut_at(200_000), WHOLE)
    lines = box.links("# mine", "X-More: 1 2", "", name="headers")

    box.get(route.url, "--header", TOKEN, "--header", f"@{lines}")

    assert [request.headers["x-token"] for request in route.requests] == ["abc"] * 2
    assert [request.headers["x-more"] for request in route.requests] == ["1 2"] * 2
    assert route.starts == [0, 200_000 - OVERLAP]
    assert box.files() == {"a.tar": DATA}


def test_the_user_agent_is_the_users(box: Sandbox, server: FaultServer) -> None:
    """wget is asked for by its own name otherwise."""
    route = server.serve("/a.tar", WHOLE)

    box.get(route.url, "--user-agent", "Lab/1 (mail me)")

    assert route.requests[0].headers["user-agent"] == "Lab/1 (mail me)"


def test_cookies_arrive(box: Sandbox, server: FaultServer) -> None:
    """Those of the session and those that scripts may not read, too; none that has expired."""
    route = server.serve("/a.tar", WHOLE)
    now = int(time.time())
    path = cookies(box, ("lasting", now + 1000), ("session", 0), ("hidden", 0), ("old", now - 9))

    box.get(route.url, "--cookies", path)

    sent = route.requests[0].headers["cookie"]
    assert sorted(sent.split("; ")) == ["hidden=v", "lasting=v", "session=v"]


def test_a_login_of_netrc_is_used_where_it_is_asked_for(box: Sandbox, server: FaultServer) -> None:
    """With --netrc, and not without."""
    netrc(box)
    route = server.serve("/a.tar", wants_login)

    box.get(route.url, expect=1)
    box.get(route.url, "--netrc")

    assert box.files() == {"a.tar": DATA}
    assert route.requests[-1].headers["authorization"] == basic("user:pass")


def test_the_users_own_wgetrc_stays_away(box: Sandbox, server: FaultServer) -> None:
    """Also where wget has a configuration of ours: a run is the same on every machine."""
    (box.home / ".wgetrc").write_text("header = X-Mine: 1\nuser_agent = mine\n")
    route = server.serve("/a.tar", WHOLE)

    box.get(route.url, "--header", TOKEN)

    assert "x-mine" not in route.requests[0].headers
    assert route.requests[0].headers["user-agent"].startswith("Wget/")


# ---------------------------------------------------------------- redirects

SECRETS = ("x-token", "cookie", "authorization")


def give_all(box: Sandbox) -> tuple[object, ...]:
    netrc(box)
    return ("--header", TOKEN, "--cookies", cookies(box, ("session", 0)), "--netrc")


def test_nothing_follows_a_redirect_to_another_server(
    box: Sandbox, server: FaultServer, other: FaultServer
) -> None:
    """Neither header, cookie nor login reaches another port, and the file arrives all the same."""
    away = other.serve("/real", WHOLE.cut_at(200_000), WHOLE)
    route = server.serve("/a.tar", redirect(away.url))
    words = give_all(box)

    box.get(with_login(route.url), *words, "--user-agent", "Lab/1", "--wget-option", "cache=off")

    assert box.files() == {"a.tar": DATA}
    assert all(request.headers["x-token"] == "abc" for request in route.requests)
    assert len(away.requests) == 2
    for request in away.requests:
        assert not set(SECRETS) & set(request.headers)
        assert request.headers["user-agent"] == "Lab/1"
        assert request.headers["pragma"] == "no-cache"


def test_another_server_that_asks_for_a_login_gets_none(
    box: Sandbox, server: FaultServer, other: FaultServer
) -> None:
    """It is the list's own server that the login is for: the file fails."""
    away = other.serve("/real", status(401, CHALLENGE))
    route = server.serve("/a.tar", redirect(away.url))

    result = box.get(with_login(route.url), *give_all(box), expect=1)

    assert result.only("file_failed")["cause"] == "login"
    assert not any(set(SECRETS) & set(request.headers) for request in away.requests)


def test_all_of_it_follows_a_redirect_to_the_same_server(box: Sandbox, server: FaultServer) -> None:
    """Relative ones and whole ones; the login of the link, too."""
    real = server.serve("/dir/real", wants_login, query="?sig=x%2f")
    server.serve("/dir/next", redirect(real.url))
    route = server.serve("/a.tar", redirect("dir/next"))

    box.get(with_login(route.url), *give_all(box))

    assert box.files() == {"a.tar": DATA}
    assert set(SECRETS) <= set(real.requests[-1].headers)
    assert real.requests[-1].query == "sig=x%2f"
    assert real.requests[-1].headers["authorization"] == basic("user:pass")


def test_a_redirect_there_and_back_again_has_the_secrets_at_home_only(
    box: Sandbox, server: FaultServer, other: FaultServer
) -> None:
    """As of a site that has its logins elsewhere."""
    real = server.serve("/real", WHOLE)
    away = other.serve("/sso", redirect(real.url))
    route = server.serve("/a.tar", redirect(away.url))

    box.get(route.url, *give_all(box))

    assert box.files() == {"a.tar": DATA}
    assert "x-token" in real.requests[0].headers
    assert not set(SECRETS) & set(away.requests[0].headers)


def test_a_redirect_loop_fails_at_once(box: Sandbox, server: FaultServer) -> None:
    """After twenty redirects, and without another try."""
    route = server.serve("/a.tar", redirect("/a.tar"))

    result = box.get(route.url, "--header", TOKEN, expect=1)

    failed = result.only("file_failed")
    assert (failed["class"], failed["cause"]) == ("permanent", "redirect")
    assert "loop" in failed["reason"]
    assert len(route.requests) == 21


def test_a_redirect_to_another_protocol_is_not_followed(box: Sandbox, server: FaultServer) -> None:
    """As without any header."""
    route = server.serve("/a.tar", redirect("ftp://127.0.0.1:1/a.tar"))

    result = box.get(route.url, "--header", TOKEN, expect=1)

    assert "a redirect to ftp:" in result.only("file_failed")["reason"]
    assert len(route.requests) == 1


def test_a_part_goes_on_over_a_redirect(
    box: Sandbox, server: FaultServer, other: FaultServer
) -> None:
    """The next run asks for the rest where the redirect leads to, and compares what it has."""
    away = other.serve("/real", WHOLE.cut_at(200_000), status(404), WHOLE)
    route = server.serve("/a.tar", redirect(away.url))
    box.get(route.url, "--header", TOKEN, expect=1)
    assert box.part_size("a.tar") == 200_000

    box.get(route.url, "--header", TOKEN)

    assert away.starts == [0, 200_000 - OVERLAP, 200_000 - OVERLAP]
    assert route.starts[-1] == 200_000 - OVERLAP
    assert box.files() == {"a.tar": DATA}


@pytest.mark.parametrize("size", [len(DATA), 150_000])
def test_a_file_that_was_there_is_looked_at_over_a_redirect(
    box: Sandbox, server: FaultServer, other: FaultServer, size: int
) -> None:
    """One request for its last bytes at the last server: taken over, or continued."""
    away = other.serve("/real", WHOLE)
    route = server.serve("/a.tar", redirect(away.url))
    box.dir.mkdir()
    box.path("a.tar").write_bytes(DATA[:size])

    box.get(route.url, "--header", TOKEN)

    assert box.files() == {"a.tar": DATA}
    assert (away.requests[0].start, away.requests[0].end) == (size - OVERLAP, size - 1)
    assert all("x-token" in request.headers for request in route.requests)
    assert all("x-token" not in request.headers for request in away.requests)
    assert away.sent <= OVERLAP + (len(DATA) - size) + OVERLAP


def test_the_body_of_a_redirect_is_no_part_of_the_file(box: Sandbox, server: FaultServer) -> None:
    """It is a page for people."""
    server.serve("/real", WHOLE)
    page = status(302, "Location: /real", body=b"<html>moved</html>" * 9)
    route = server.serve("/a.tar", page)

    box.get(route.url, "--header", TOKEN)

    assert box.files() == {"a.tar": DATA}


def test_a_stop_between_redirects_leaves_nothing_behind(
    box: Sandbox, server: FaultServer, other: FaultServer
) -> None:
    """The second wget is ended as any other: no wget is left, and the part goes on later."""
    away = other.serve("/real", WHOLE.cut_at(200_000, "stall"), WHOLE)
    route = server.serve("/a.tar", redirect(away.url))
    words = ("--header", TOKEN)

    with box.start_get(route.url, *words) as run:
        wait_until(lambda: box.part_size("a.tar") == 200_000)
        assert box.run("stop", box.dir).code == 0
        run.finish(expect=143)

    assert box.wgets() == []
    box.get(route.url, *words)
    assert box.files() == {"a.tar": DATA}


# ---------------------------------------------------------------- wget's own settings


def test_a_setting_of_wgets_own_is_heeded(box: Sandbox, server: FaultServer) -> None:
    """An address to come from, a version of IP that the server does not speak."""
    route = server.serve("/a.tar", WHOLE)

    box.get(route.url, "--wget-option", "bind_address=127.0.0.9")
    failed = box.get(
        server.serve("/b.tar", WHOLE).url, "--wget-option", "Inet6-only=on", "--tries", 1, expect=1
    )

    assert box.files() == {"a.tar": DATA}
    assert failed.only("file_failed")["cause"] in {"name_service", "unreachable", "connection"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--wget-option", "inet4_only=maybe"], "inet4_only=maybe"),
        (["--wget-option", "tries=9"], "--tries"),
        (["--wget-option", "certificate=none.pem"], "none.pem"),
        (["--wget-option", "bind_address=192.0.2.1"], "no address 192.0.2.1"),
        (["--header", "Range: bytes=0-"], "Range"),
        (["--header", "Authorization:", "Bearer", "hush"], "in quotes"),
        (["--header", "@none"], "none"),
        (["--header", "hush"], "--header number 1"),
        (["--cookies", "none.txt"], "none.txt"),
        (["--netrc"], ".netrc"),
    ],
)
def test_what_cannot_be_given_is_refused_before_anything_is_fetched(
    box: Sandbox, server: FaultServer, options: list[str], said: str
) -> None:
    """Exit 2, one sentence, and DIR is not made."""
    route = server.serve("/a.tar", WHOLE)

    result = box.run("get", route.url, "-o", box.dir, *options, expect=2)

    assert said in result.stderr
    assert "hush" not in result.stderr
    assert result.stderr.count("\n") == 1
    assert server.requests == []
    assert not box.dir.exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--netrc", "the server refuses the login in ~/.netrc"),
        ("--header=Authorization: Basic x", "the server refuses the login given with --header"),
    ],
)
def test_a_login_that_is_refused_is_named(
    box: Sandbox, server: FaultServer, option: str, said: str
) -> None:
    """By where it came from."""
    netrc(box)
    route = server.serve("/a.tar", status(401, CHALLENGE))

    failed = box.get(route.url, option, expect=1).only("file_failed")

    assert failed["cause"] == "login"
    assert said in failed["reason"]


@pytest.mark.parametrize("location", [None, "http://"])
@pytest.mark.parametrize("words", [(), ("--header", TOKEN)])
def test_a_redirect_that_leads_nowhere_is_told(
    box: Sandbox, server: FaultServer, words: tuple[str, ...], location: str | None
) -> None:
    """Nothing is tried twice."""
    headers = [f"Location: {location}"] if location else []
    route = server.serve("/a.tar", status(302, *headers))

    failed = box.get(route.url, *words, expect=1).only("file_failed")

    assert failed["cause"] == "redirect"
    assert failed["reason"] == "HTTP 302 Found: a redirect that leads nowhere"
    assert len(route.requests) == 1


def test_a_setting_that_wget_knows_is_not_complained_of(box: Sandbox, server: FaultServer) -> None:
    """With whatever wget the tests run."""
    route: Route = server.serve("/a.tar", WHOLE)
    words = [f"--wget-option={word}" for word in ("secure_protocol=TLSv1_2", "prefer_family=IPv4")]

    result = box.get(route.url, *words)

    assert "wget-option" not in result.said
    assert box.files() == {"a.tar": DATA}


def test_a_certificate_of_ones_own_is_trusted_by_its_file(box: Sandbox, certificate: Path) -> None:
    """`ca_certificate=FILE`, relative to where the command is run; without it the server is not
    trusted.
    """
    with FaultServer(certificate) as server:
        route = server.serve("/a.tar", WHOLE)

        box.get(route.url, expect=1)
        box.get(route.url, "--wget-option", "ca_certificate=ca.pem")

    assert box.files() == {"a.tar": DATA}


def test_a_client_certificate_is_shown_to_the_lists_own_server_only(
    box: Sandbox, certificate: Path
) -> None:
    """One that wants it gets it; another one that a redirect leads to does not."""
    words = [f"--wget-option={key}={certificate}" for key in ("certificate", "private_key")]
    words += ["--wget-option=ca_certificate=ca.pem"]
    with FaultServer(certificate) as home, FaultServer(certificate) as away:
        for server in (home, away):
            server.demand_certificate(certificate)
        good = home.serve("/good.tar", WHOLE)
        bad = home.serve("/bad.tar", redirect(away.serve("/real", WHOLE).url))

        result = box.get(good.url, bad.url, *words, "--tries", 1, expect=1)

    assert box.files() == {"good.tar": DATA}
    assert result.only("file_failed")["name"] == "bad.tar"
    assert len(bad.requests) == 1
    assert away.requests == []


def test_a_login_can_be_sent_unasked(box: Sandbox, server: FaultServer) -> None:
    """`auth_no_challenge=on`, for servers that say 403 instead of 401: at the first request."""
    route = server.serve("/a.tar", WHOLE)

    box.get(with_login(route.url), "--wget-option", "auth-no-challenge=on")

    assert [request.headers["authorization"] for request in route.requests] == [basic("user:pass")]


def test_headers_come_from_a_pipe_and_from_the_environment(
    box: Sandbox, server: FaultServer
) -> None:
    """`--header @<(pass show site)`, and WGETPOOL_HEADER=@FILE."""
    route = server.serve("/a.tar", WHOLE)
    args = f"{sys.executable} -m wgetpool get {route.url} -o {box.dir} --header @<(echo {TOKEN})"
    with box.launch(("bash", "-c", args)) as run:
        run.finish()
    box.env["WGETPOOL_HEADER"] = f"@{box.links(TOKEN, name='headers')}"
    other = server.serve("/b.tar", WHOLE)

    box.get(other.url)

    sent = [request.headers["x-token"] for request in (*route.requests, *other.requests)]
    assert sent == ["abc", "abc"]
