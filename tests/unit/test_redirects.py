"""Redirects that are followed by ourselves: where to, with what, and how it ends."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.doubles import FakeClock, FlagDouble, Row, Script, ScriptedLauncher

from wgetpool import wget
from wgetpool.model import Access, Command, Url
from wgetpool.redirects import MOST, following, goal_of, origin

HOME = Url("https://user:SECRET@home.example/dir/a.tar?sig=1")
ACCESS = Access(headers=("X-Token: SECRET",), user_agent="Lab/1", cookies=b"SECRET")


def goal(location: str, here: Url = HOME) -> str | None:
    found = goal_of(location.encode("latin-1"), here=here, home=HOME)
    return found.reveal() if found else None


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b.tar", "https://user:SECRET@home.example/b.tar"),
        ("b.tar?x=%2f", "https://user:SECRET@home.example/dir/b.tar?x=%2f"),
        ("?x=2", "https://user:SECRET@home.example/dir/a.tar?x=2"),
        ("https://home.example/b.tar?", "https://user:SECRET@home.example/b.tar?"),
        ("HTTPS://HOME.example:443/b", "https://user:SECRET@home.example/b"),
        ("https://other:login@home.example/b", "https://user:SECRET@home.example/b"),
        ("https://home.example?x", "https://user:SECRET@home.example/?x"),
        ("  /b\t.tar \xe4#part", "https://user:SECRET@home.example/b%09.tar%20%E4"),
        ("//home.example/b", "https://user:SECRET@home.example/b"),
    ],
)
def test_at_the_same_server_the_login_goes_along(location: str, url: str) -> None:
    """However the redirect is written."""
    assert goal(location) == url


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://cdn.example/b?sig=%41", "https://cdn.example/b?sig=%41"),
        ("//cdn.example/b", "https://cdn.example/b"),
        ("http://home.example/b", "http://home.example/b"),
        ("https://home.example:8443/b", "https://home.example:8443/b"),
        ("https://home.example.evil/b", "https://home.example.evil/b"),
        ("https://home.example@evil/b", "https://home.example@evil/b"),
        ("https://cdn.example/\xe4 b", "https://cdn.example/%E4%20b"),
    ],
)
def test_at_another_server_the_login_stays_behind(location: str, url: str) -> None:
    """Another scheme, host or port is another server."""
    assert goal(location) == url


def test_a_relative_redirect_of_another_server_stays_there() -> None:
    """It is relative to where it came from, not to the list's URL."""
    assert goal("/c", here=Url("https://cdn.example/x/b")) == "https://cdn.example/c"


def test_a_redirect_back_home_has_the_login_again() -> None:
    """What was given is for the list's own server, by whichever way."""
    back = goal("https://home.example/b", here=Url("https://sso.example/x"))

    assert back == "https://user:SECRET@home.example/b"


@pytest.mark.parametrize(
    "location",
    [
        "ftp://home.example/a",
        "file:///etc/passwd",
        "https://",
        "http://[x/",
        "h:x",
        "https://home.example:port/",
        "https:///a",
        "https://a:99999/",
    ],
)
def test_what_is_not_fetched_is_no_goal(location: str) -> None:
    """Other schemes, and what names no server."""
    assert goal(location) is None


@given(st.text())
def test_no_location_takes_the_login_elsewhere(text: str) -> None:
    """Whatever a server says: one printable line, and the login for its own server only."""
    for location in (text, f"https://{text}", f"https://home.example{text}", f"//{text}"):
        found = goal_of(location.encode(), here=HOME, home=HOME)
        if found is not None:
            url = found.reveal()
            assert url.isascii()
            assert url.isprintable()
            assert " " not in url
            begins = url.startswith("https://user:SECRET@home.example/")
            assert begins == (origin(found) == origin(HOME))


@given(st.binary())
def test_any_bytes_may_stand_in_a_redirect(location: bytes) -> None:
    """None of them is an error of the program."""
    goal_of(location, here=HOME, home=HOME)


# ---------------------------------------------------------------- one wget after the other


def moved(to: str) -> Script:
    log = f"  HTTP/1.1 302 Found\n  Location: {to}\n0 redirections exceeded.\n"
    return Script([Row(0.1, log=log)], exit_code=8)


DONE = Script([Row(0.1, data=b"whole", log="  HTTP/1.1 200 OK\n  Content-Length: 5\n")])


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Command]:
    def made(access: Access = ACCESS, url: Url = HOME) -> Command:
        return wget.command(
            "/usr/bin/wget",
            url,
            tmp_path / "a.part",
            timeout=1,
            access=access,
            environment=(),
            mark="a",
            lock=7,
            ceiling=99,
        )

    return made


def run(
    command: Command, *scripts: Script | OSError, access: Access = ACCESS, url: Url = HOME
) -> tuple[ScriptedLauncher, int | None, bytes]:
    launcher = ScriptedLauncher(FakeClock(), scripts)
    child = following(launcher, access, url)(command)
    looks = 0
    while not child.wait(1, stop=FlagDouble()):
        looks += 1
        assert looks < 50
    code, log = child.close()
    assert all(each.closed for each in launcher.children)
    return launcher, code, log


def test_wget_follows_by_itself_where_there_is_no_secret() -> None:
    """A user agent may be told to anybody; one process is cheaper than two."""
    launcher = ScriptedLauncher(FakeClock(), [])

    url = Url("https://home.example/a?sig=SECRET")

    assert following(launcher, Access(user_agent="Lab/1"), url) is launcher
    assert following(launcher, Access(), url) is launcher


def test_the_next_wget_has_all_at_the_same_server(build: Callable[..., Command]) -> None:
    """The same command with the same private files, another URL."""
    launcher, code, log = run(build(), moved("/b"), DONE)

    first, second = launcher.commands
    assert second.stdin == b"https://user:SECRET@home.example/b\n"
    assert second.private == first.private
    assert (second.argv, second.file_limit, second.keep_open) == (first.argv, 99, 7)
    assert code == 0
    assert b"200 OK" in log
    assert b"302" not in log


def test_the_next_wget_has_no_secret_at_another_server(build: Callable[..., Command]) -> None:
    """Neither header, cookie nor login: only what any server may know. Back home it has all."""
    away, home = moved("http://cdn.example/b"), moved("https://home.example/c")

    launcher, *_ = run(build(), away, home, DONE)

    first, second, third = launcher.commands
    assert second.stdin == b"http://cdn.example/b\n"
    assert b"SECRET" not in b"".join(second.private)
    assert b"user_agent = Lab/1" in second.private[0]
    assert b"netrc = off" in second.private[0]
    assert third.private == first.private


def test_a_login_in_the_url_alone_needs_no_private_file(build: Callable[..., Command]) -> None:
    """The options stay as they are without any access, but for the redirects."""
    launcher, *_ = run(build(Access()), moved("http://cdn.example/b"), DONE, access=Access())

    first, second = launcher.commands
    assert "--no-config" in first.argv
    assert "--max-redirect=0" in first.argv
    assert second.private == ()
    assert second.stdin == b"http://cdn.example/b\n"


def test_a_loop_ends_after_twenty_redirects(build: Callable[..., Command]) -> None:
    """With wget's own complaint, as of any other loop."""
    launcher, code, log = run(build(), moved("/b"))

    assert len(launcher.commands) == MOST + 1
    assert code == 8
    assert wget.read_reply(log, 8).trouble.name == "REDIRECTS"


def test_a_redirect_to_what_is_not_fetched_is_the_end(build: Callable[..., Command]) -> None:
    """The log tells where it led to."""
    launcher, code, log = run(build(), moved("ftp://home.example/a"))

    head = wget.read_reply(log, 8).head
    assert len(launcher.commands) == 1
    assert code == 8
    assert head is not None
    assert head.astray == "ftp"


def test_a_stop_starts_no_other_wget(build: Callable[..., Command]) -> None:
    """And the run is not told that a file was not to be had."""
    launcher = ScriptedLauncher(FakeClock(), [moved("/b"), DONE])
    stop = FlagDouble()
    child = following(launcher, ACCESS, HOME)(build())
    stop.set()

    assert not child.wait(1, stop=stop)
    assert not child.wait(1, stop=stop)
    child.close()

    assert len(launcher.commands) == 1


def test_a_shortage_between_two_wgets_is_one_of_the_machine(build: Callable[..., Command]) -> None:
    """It is raised, as that of a first start is, and nothing is left to be closed."""
    with pytest.raises(OSError, match="scarce") as caught:
        run(build(), moved("/b"), OSError(errno.EAGAIN, "scarce"))

    assert caught.value.errno == errno.EAGAIN


def test_a_wget_that_is_gone_is_a_failure_that_may_pass(build: Callable[..., Command]) -> None:
    """It is being upgraded, say: no verdict on the file."""
    _, code, log = run(build(), moved("/b"), OSError(errno.ENOENT, "gone"))

    assert wget.read_reply(log, code or 0).trouble.name == "OTHER"
