"""All knowledge of wget, by logs that the real one (GNU Wget 1.21.3) wrote: wget_logs/."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wgetpool.errors import MachineError
from wgetpool.model import Access, Command, Head, RemoteFile, Trouble, Url
from wgetpool.process import marked_environment
from wgetpool.wget import (
    ENVIRONMENT,
    command,
    find_wget,
    proxy_of,
    read_head,
    read_redirect,
    read_reply,
    span_command,
    warnings_about,
)

LOGS = Path(__file__).parent / "wget_logs"
MONDAY = "Mon, 01 Sep 2025 10:00:00 GMT"
SECRET = "sig=SECRET"


def log(name: str) -> bytes:
    return (LOGS / f"{name}.txt").read_bytes()


# ---------------------------------------------------------------- the command line


def build(url: str, environment: tuple[bytes, ...] = (), timeout: float = 60) -> Command:
    return command(
        "/usr/bin/wget",
        Url(url),
        Path("/data/-a b%.tar.part"),
        timeout=timeout,
        environment=environment,
        mark="a",
        lock=7,
    )


def test_the_command_line_holds_no_url() -> None:
    """The URL goes through standard input, byte for byte, and shows in no repr."""
    url = "https://user:pw@cdn.example.org/a.tar?sig=SECRET&_nc_gid&x=%2f"

    built = build(url)

    assert not any("example.org" in word or "SECRET" in word for word in built.argv)
    assert built.stdin == url.encode() + b"\n"
    assert "SECRET" not in repr(built)


def test_a_url_that_is_not_utf_8_goes_out_as_it_came() -> None:
    """The bytes of the list are those that the server gets."""
    raw = b"https://example.org/\xff\xe4.tar"

    built = build(raw.decode("utf-8", "surrogateescape"))

    assert built.stdin == raw + b"\n"


def test_wget_tries_once_and_knows_no_settings_but_ours() -> None:
    """One try a process; no .wgetrc, .netrc or .wget-hsts; the part's time is not touched."""
    argv = build("https://example.org/a").argv

    assert {"--tries=1", "--no-config", "--no-netrc", "--no-hsts", "--continue"} <= set(argv)
    assert "--no-use-server-timestamps" in argv
    assert argv[-2:] == ("-O", "/data/-a b%.tar.part")


@pytest.mark.parametrize(
    ("timeout", "word"),
    [
        (60.0, "--timeout=60"),
        (0.5, "--timeout=0.5"),
        (1_080_000.0, "--timeout=1080000"),
    ],
)
def test_a_timeout_is_written_as_wget_reads_it(timeout: float, word: str) -> None:
    """Of 300 hours too: wget refuses an exponent (`Invalid time period '1.08e+06'`)."""
    assert word in build("https://example.org/a", timeout=timeout).argv


def test_wget_speaks_english_and_keeps_the_mark_of_its_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The environment is ours, but for language and zone."""
    monkeypatch.setenv("LC_ALL", "de_DE")
    monkeypatch.setitem(os.environb, b"X", b"\xff")

    built = build("https://example.org/a", marked_environment("r1", ENVIRONMENT))

    assert {b"WGETPOOL_RUN=r1", b"LC_ALL=C", b"TZ=UTC0", b"X=\xff"} <= set(built.env)
    assert b"LC_ALL=de_DE" not in built.env


def test_the_claim_of_the_part_stays_open_in_the_child() -> None:
    """What is locked for wget is open in wget: an orphan holds its part."""
    assert build("https://example.org/a").keep_open == 7


# ---------------------------------------------------------------- what is told in private

ACCESS = Access(
    headers=("X-Token: SECRET", "X-Umlaut: ä\udcff"),
    user_agent="Lab/1 SECRET",
    cookies=b"SECRET",
    netrc=True,
    options=(("inet4_only", "on"), ("certificate", "/SECRET.pem")),
)


def told(access: Access, url: str = "https://example.org/a") -> Command:
    return command(
        "/usr/bin/wget",
        Url(url),
        Path("/data/a.part"),
        timeout=60,
        access=access,
        environment=(),
        mark="a",
        lock=7,
    )


def test_what_a_site_needs_is_told_in_private() -> None:
    """A configuration and a cookies file in memory: nothing of them on the command line."""
    built = told(ACCESS)

    assert not any("SECRET" in word for word in built.argv)
    assert "SECRET" not in repr(built)
    assert "--config=/proc/self/fd/5" in built.argv
    assert not {"--no-config", "--no-netrc"} & set(built.argv)
    configuration, cookies = built.private
    assert configuration.split(b"\n") == [
        b"netrc = on",
        b"header = X-Token: SECRET",
        "header = X-Umlaut: ä".encode() + b"\xff",
        b"user_agent = Lab/1 SECRET",
        b"load_cookies = /proc/self/fd/6",
        b"inet4_only = on",
        b"certificate = /SECRET.pem",
        b"",
    ]
    assert cookies == b"SECRET"


def test_without_netrc_wget_reads_none() -> None:
    """As without any access: ~/.netrc is read only where it is asked for."""
    built = told(Access(headers=("X: 1",)))

    assert "--no-netrc" in built.argv
    assert built.private == (b"netrc = off\nheader = X: 1\n",)


@pytest.mark.parametrize(
    ("access", "url", "follows"),
    [
        (Access(), "https://h/a?sig=SECRET", True),
        (Access(user_agent="x", options=(("inet4_only", "on"),)), "https://h/a@b", True),
        (Access(), "https://user:pw@h/a", False),
        (Access(), "https://user@h/a", False),
        (Access(headers=("A: b",)), "https://h/a", False),
        (Access(cookies=b"x"), "https://h/a", False),
        (Access(netrc=True), "https://h/a", False),
        (Access(options=(("private_key", "/k"),)), "https://h/a", False),
        (Access(options=(("certificate", "/c"),)), "https://h/a", False),
    ],
)
def test_wget_follows_redirects_where_it_has_no_secret(
    access: Access, url: str, follows: bool
) -> None:
    """It would send along what is for one server only."""
    assert ("--max-redirect=0" not in told(access, url).argv) == follows


def test_a_span_is_asked_for_with_the_same_access() -> None:
    """Header of our own or not: those of the configuration are sent, too."""
    built = span_command(
        "/usr/bin/wget",
        Url("https://example.org/a"),
        range(5, 10),
        9,
        timeout=60,
        access=ACCESS,
        environment=(),
        mark="a",
        lock=7,
    )

    assert built.private == told(ACCESS).private
    assert {"--config=/proc/self/fd/5", "--max-redirect=0", "--start-pos=5"} <= set(built.argv)
    assert "--header=Range: bytes=5-9" in built.argv


@pytest.mark.parametrize(
    ("shown", "location"),
    [
        (rb"/b?x=%2f&y", b"/b?x=%2f&y"),
        (rb"/\351 \\303 b\tc", b"/\xe9 \\303 b\tc"),
        (rb" https://h/a ", b"https://h/a"),
    ],
)
def test_a_redirect_that_was_not_followed_is_read(shown: bytes, location: bytes) -> None:
    """As the server wrote it: the log shows control characters and the like as escapes."""
    lines = b"  HTTP/1.1 302 Found\n  Location: %b\n  X: y\n0 redirections exceeded.\n"

    assert read_redirect(lines % shown) == location


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"  HTTP/1.1 302 Found\n  Location: /b\n",
        b"  HTTP/1.1 302 Found\n  X: 0 redirections exceeded\n  Location: /b\n",
        b"  HTTP/1.1 302 Found\n  X-Location: /b\n0 redirections exceeded.\n",
        b"  HTTP/1.1 401 No\n  Location: /b\n  HTTP/1.1 302 Found\n0 redirections exceeded.\n",
    ],
)
def test_what_is_no_redirect_is_not_followed(text: bytes) -> None:
    """Only where wget says that it would have gone on, and by the last head alone."""
    assert read_redirect(text) is None


@given(st.binary())
def test_any_log_can_be_asked_for_a_redirect(text: bytes) -> None:
    """Nothing that a server sends is an error of the program."""
    read_redirect(text)
    read_redirect(text + b"\n0 redirections exceeded.\n")


# ---------------------------------------------------------------- which program it is

GNU = "GNU Wget {} built on linux-gnu.\n\n-cares +digest +https\n"
WGET2 = "GNU Wget2 1.99.1 - multithreaded metalink/file/website downloader\n"
BUSYBOX = "wget: unrecognized option '--version'\nBusyBox v1.35.0 multi-call binary.\n"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, name: str) -> str:
    program = folder / name
    program.write_text("")
    program.chmod(stat.S_IRWXU)
    return str(program)


def speak(texts: dict[str, str]):
    """What the programs print for --version, by their file names."""

    def output_of(argv: list[str]) -> str:
        assert argv[1:] == ["--version"]
        return texts[Path(argv[0]).name]

    return output_of


@pytest.mark.parametrize("version", ["1.19", "1.19.5", "1.21.3", "1.25.0", "1.100"])
def test_gnu_wget_from_1_19_on_is_taken(path: Path, version: str) -> None:
    """The first wget of PATH, by its absolute path."""
    program = install(path, "wget")

    assert find_wget(None, output_of=speak({"wget": GNU.format(version)})) == program


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (WGET2, "wget2"),
        (BUSYBOX, "busybox"),
        ("BusyBox v1.36.1 (2023) multi-call binary.\n", "busybox"),
        (GNU.format("1.18"), "GNU Wget 1.18"),
        (GNU.format("1.9.1"), "too old"),
        ("curl 8.0\n", "not GNU Wget"),
        ("", "not GNU Wget"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_another_program_is_refused_with_what_to_install(
    path: Path, text: str, words: str, named: bool
) -> None:
    """One sentence: what was found, where, and what to do."""
    program = install(path, "wget")

    with pytest.raises(MachineError) as caught:
        find_wget(program if named else None, output_of=speak({"wget": text}))

    assert words in str(caught.value)
    assert program in str(caught.value)
    assert "apt install wget" in str(caught.value)


def test_where_wget_is_wget2_the_old_one_is_found_beside_it(path: Path) -> None:
    """Fedora has the supported program as wget1."""
    install(path, "wget")
    old = install(path, "wget1")

    found = find_wget(None, output_of=speak({"wget": WGET2, "wget1": GNU.format("1.24.5")}))

    assert found == old


def test_both_that_do_not_fit_are_named(path: Path) -> None:
    """Whoever has two wrong ones is told of both."""
    install(path, "wget")
    install(path, "wget1")

    with pytest.raises(MachineError, match=r"wget2.*too old"):
        find_wget(None, output_of=speak({"wget": WGET2, "wget1": GNU.format("1.12")}))


@pytest.mark.parametrize("named", [None, "/none/wget", "nowget"])
def test_a_missing_wget_is_said_by_name(path: Path, named: str | None) -> None:
    """No wget: what was looked for, and what to install."""
    with pytest.raises(MachineError, match=f"no {named or 'wget'} on this machine.*install"):
        find_wget(named, output_of=speak({}))


def test_a_named_wget_is_the_only_one_asked(path: Path) -> None:
    """--wget PATH is not second-guessed by PATH."""
    install(path, "wget")
    mine = install(path, "my-wget")

    assert find_wget(mine, output_of=speak({"my-wget": GNU.format("1.21")})) == mine


@pytest.mark.parametrize(
    "error", [OSError(8, "Exec format error"), TimeoutError("no answer in 10 s")]
)
def test_a_wget_that_does_not_run_is_refused(path: Path, error: OSError) -> None:
    """What the system says is passed on."""
    install(path, "wget")

    def output_of(_: list[str]) -> str:
        raise error

    with pytest.raises(MachineError, match=error.strerror or "no answer"):
        find_wget(None, output_of=output_of)


def test_a_wget_of_the_working_folder_is_named_from_the_root(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wget runs elsewhere: a relative path would lead nowhere there."""
    install(path, "mine")
    monkeypatch.chdir(path)

    found = find_wget(f".{os.sep}mine", output_of=speak({"mine": GNU.format("1.21")}))

    assert Path(found).is_absolute()


# ---------------------------------------------------------------- its proxies


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://e.org/a", {}, None),
        ("http://e.org/a", {"http_proxy": ""}, None),
        ("http://e.org/a", {"http_proxy": "http://p:3128"}, "p:3128"),
        ("http://e.org/a", {"http_proxy": "http://p:3128/"}, "p:3128"),
        ("http://e.org/a", {"http_proxy": "p:3128"}, "p:3128"),
        ("http://e.org/a", {"http_proxy": "http://[::1]:3128"}, "[::1]:3128"),
        ("HTTP://e.org/a", {"http_proxy": "http://p"}, "p"),
        ("https://e.org/a", {"http_proxy": "http://p:3128"}, None),
        ("https://e.org/a", {"https_proxy": "http://p:3128"}, "p:3128"),
        ("http://e.org/a", {"HTTP_PROXY": "http://p", "all_proxy": "http://p"}, None),
        ("http://e.org/a", {"http_proxy": "p:1", "no_proxy": "e.org"}, None),
        ("http://E.org:80/a", {"http_proxy": "p:1", "no_proxy": "x, .ORG"}, None),
        ("http://cdn.e.org/a", {"http_proxy": "p:1", "no_proxy": "e.org"}, None),
        ("http://cdn.e.org/a", {"http_proxy": "p:1", "no_proxy": ".e.org"}, None),
        ("http://e.org/a", {"http_proxy": "p:1", "no_proxy": ".e.org"}, "p:1"),
        ("http://e.org/a", {"http_proxy": "p:1", "no_proxy": " e.org"}, "p:1"),
        ("http://the.org/a", {"http_proxy": "p:1", "no_proxy": "e.org"}, "p:1"),
        ("http://127.0.0.1/a", {"http_proxy": "p:1", "no_proxy": "localhost"}, "p:1"),
        ("http://127.0.0.1/a", {"http_proxy": "p:1", "no_proxy": "*"}, "p:1"),
        ("http://127.0.0.1:8/a", {"http_proxy": "p:1", "no_proxy": "127.0.0.1:8"}, "p:1"),
        ("http://e.org/a", {"http_proxy": "p:1", "NO_PROXY": "e.org"}, "p:1"),
    ],
)
def test_the_proxy_of_a_url_is_the_one_that_wget_asks(
    url: str, environ: dict[str, str], proxy: str | None
) -> None:
    """Each row was tried with the real one: names in small letters only, no_proxy by domains."""
    assert proxy_of(Url(url), environ) == proxy


@pytest.mark.parametrize(
    "login", ["user:SECRET", "user:SEC@RET", "user:SEC#RET", "user:SEC/RET", "user:SEC?RET"]
)
def test_the_login_at_a_proxy_is_never_told(login: str) -> None:
    """Also where the password has a letter that it may not have."""
    named = {"http_proxy": f"http://{login}@p:3128"}

    assert proxy_of(Url("http://e.org/a"), named) == "p:3128"


def test_a_proxy_that_cannot_be_told_from_a_login_is_named_by_its_variable() -> None:
    """Rather than to show a piece of a password."""
    named = {"https_proxy": "http://user:SECRET"}

    assert proxy_of(Url("https://e.org/a"), named) == "https_proxy"


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"HTTP_PROXY": "v"}, ['export http_proxy="$HTTP_PROXY"']),
        ({"HTTPS_PROXY": "v", "http_proxy": "v"}, ['export https_proxy="$HTTPS_PROXY"']),
        (
            {"HTTP_PROXY": "v", "HTTPS_PROXY": "v", "ALL_PROXY": "v"},
            ["HTTP_PROXY is set, but", "HTTPS_PROXY is set, but"],
        ),
        ({"HTTP_PROXY": "v", "http_proxy": ""}, ["HTTP_PROXY"]),
        ({"ALL_PROXY": "v"}, ["ALL_PROXY is set, but wget reads http_proxy and https_proxy only"]),
        ({"all_proxy": "v", "ALL_PROXY": "v"}, ["all_proxy"]),
        ({"http_proxy": "v", "NO_PROXY": "v"}, ['export no_proxy="$NO_PROXY"']),
        ({"https_proxy": "socks5h://v"}, ["https_proxy names a SOCKS proxy"]),
        ({"http_proxy": "v", "https_proxy": "v", "HTTP_PROXY": "v", "all_proxy": "v"}, []),
        ({"NO_PROXY": "v"}, []),
        ({"http_proxy": "v", "NO_PROXY": "v", "no_proxy": "v"}, []),
        ({"HTTP_PROXY": ""}, []),
        ({}, []),
    ],
)
def test_a_proxy_that_wget_does_not_read_is_warned_of(
    environ: dict[str, str], words: list[str]
) -> None:
    """One sentence for each, with what to do; nothing where all is well."""
    warnings = warnings_about(environ)

    assert len(warnings) == len(words)
    assert all(each in told for each, told in zip(words, warnings, strict=True))


def test_a_warning_shows_no_value() -> None:
    """It may hold a password."""
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy", "NO_PROXY", "https_proxy")

    warnings = [
        told
        for name in names
        for told in warnings_about({name: "socks5://u:SECRET@p", "http_proxy": "SECRET"})
    ]

    assert warnings
    assert "SECRET" not in "".join(warnings)


# ---------------------------------------------------------------- what it said

VALIDATORS: dict[str, Any] = {"etag": '"v1"', "last_modified": MONDAY}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "whole",
            Head(status=200, reason="OK", length=100, remote=RemoteFile(size=100, **VALIDATORS)),
        ),
        (
            "range",
            Head(
                status=206,
                reason="Partial Content",
                start=40,
                length=60,
                remote=RemoteFile(size=100, **VALIDATORS),
            ),
        ),
        (
            "range_elsewhere",
            Head(
                status=206,
                reason="Partial Content",
                start=10,
                length=90,
                remote=RemoteFile(size=100, **VALIDATORS),
            ),
        ),
        (
            "range_of_unknown_size",
            Head(
                status=206,
                reason="Partial Content",
                start=40,
                length=60,
                remote=RemoteFile(size=None, **VALIDATORS),
            ),
        ),
        (
            "range_without_content_range",
            Head(
                status=206,
                reason="Partial Content",
                length=60,
                remote=RemoteFile(size=None, **VALIDATORS),
            ),
        ),
        (
            "whole_already",
            Head(
                status=416,
                reason="Requested Range Not Satisfiable",
                length=16,
                remote=RemoteFile(size=100, **VALIDATORS),
            ),
        ),
        (
            "weak_etag",
            Head(
                status=200,
                reason="OK",
                length=100,
                remote=RemoteFile(size=100, last_modified=MONDAY),
            ),
        ),
        ("no_validators", Head(status=200, reason="OK", length=100, remote=RemoteFile(size=100))),
        ("chunked", Head(status=200, reason="OK", remote=RemoteFile(**VALIDATORS))),
        ("chunked_with_length", Head(status=200, reason="OK", remote=RemoteFile(**VALIDATORS))),
        ("no_length", Head(status=200, reason="OK", remote=RemoteFile(**VALIDATORS))),
        ("no_content", Head(status=204, reason="No Content")),
        (
            "redirect",
            Head(status=200, reason="OK", length=100, remote=RemoteFile(size=100, **VALIDATORS)),
        ),
        ("redirect_loop", Head(status=302, reason="Found", length=0)),
        ("status_429", Head(status=429, reason="Too Many Requests", length=27, retry_after="7")),
        ("status_503", Head(status=503, reason="Service Unavailable", length=27, retry_after="7")),
        ("not_http", None),
        ("refused", None),
        ("silent_head", None),
        ("closed_before_head", None),
        ("nothing_asked", None),
    ],
)
def test_the_last_head_is_read(name: str, told: Head | None) -> None:
    """Status, range, size, strong ETag and date, of the last answer; of an error no size."""
    assert read_head(log(name)) == told


def test_a_head_is_read_while_it_is_being_written() -> None:
    """The log is looked at as it grows: no beginning of it raises."""
    logs = [path.read_bytes()[:2000] for path in LOGS.glob("*.txt")]

    heads = [read_head(text[:end]) for text in logs for end in range(len(text))]

    assert {200, 206, 302, 416, 503} <= {head.status for head in heads if head is not None}


@pytest.mark.parametrize(
    ("value", "start", "size"),
    [
        ("bytes 40-99/100", 40, 100),
        ("BYTES 40-99/100", 40, 100),
        ("bytes  40-99/100", 40, 100),
        ("bytes 40-99/*", 40, None),
        ("bytes */100", 0, 100),
        ("bytes 99-40", 0, None),
        ("items 40-99/100", 0, None),
        ("", 0, None),
    ],
)
def test_a_content_range_tells_start_and_size(value: str, start: int, size: int | None) -> None:
    """Whatever is none is as if it were not there."""
    told = read_head(f"  HTTP/1.1 206 Partial Content\n  Content-Range: {value}\n".encode())

    assert told is not None
    assert (told.start, told.remote.size) == (start, size)


@pytest.mark.parametrize(
    ("lines", "date", "age"),
    [
        ("  Date: Sun, 01 Mar 2026 12:00:00 GMT\n  Age: 90\n", "Sun, 01 Mar 2026 12:00:00 GMT", 90),
        ("  date: Sun, 01 Mar 2026 12:00:00 GMT\n", "Sun, 01 Mar 2026 12:00:00 GMT", 0),
        ("  Age: -1\n", None, 0),
        (f"  Age: {'9' * 30}\n", None, 0),
        ("  Age: 90\n  Date: Sun, 01 Mar 2026 12", None, 90),  # the rest is still to come
    ],
)
def test_a_head_tells_the_servers_time(lines: str, date: str | None, age: int) -> None:
    """The date as it was sent, and for how long a cache has had it; half a line tells nothing."""
    told = read_head(f"  HTTP/1.1 403 Forbidden\n{lines}".encode())

    assert told is not None
    assert (told.date, told.age) == (date, age)


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("  HTTP/1.1 200 OK", 200, "OK"),
        ("  HTTP/1.0 200 OK", 200, "OK"),
        ("  HTTP/2 200", 200, "OK"),
        ("  HTTP/1.1 299 Quite  fine", 299, ""),
        ("  HTTP/1.1 503", 503, "Service Unavailable"),
        ("  HTTP/1.1 403 Denied: /a.tar?sig=SECRET", 403, "Forbidden"),
    ],
)
def test_a_status_line_is_read_as_servers_write_it(line: str, status: int, reason: str) -> None:
    """The words are ours: the server's may repeat the URL, signature and all."""
    told = read_head(f"{line}\n  Server: x\n".encode())

    assert told == Head(status=status, reason=reason)


UNSIGNED = "nobody known has signed it"


@pytest.mark.parametrize(
    ("name", "exit_code", "trouble", "detail"),
    [
        ("whole", 0, Trouble.NONE, ""),
        ("whole_already", 0, Trouble.NONE, ""),
        ("not_http", 0, Trouble.NONE, ""),
        ("no_content", 0, Trouble.NONE, ""),
        ("unknown_host", 4, Trouble.DNS, ""),
        ("redirect_to_unknown_host", 4, Trouble.DNS, ""),
        ("refused", 4, Trouble.REFUSED, ""),
        ("redirect_to_refused", 4, Trouble.REFUSED, ""),
        ("unreachable", 4, Trouble.UNREACHABLE, ""),
        ("silent_head", 4, Trouble.TIMED_OUT, ""),
        ("silent_body", 4, Trouble.CLOSED, ""),
        ("closed_before_head", 4, Trouble.CLOSED, ""),
        ("closed_early", 4, Trouble.CLOSED, ""),
        ("reset", 4, Trouble.CLOSED, ""),
        ("chunked_cut", 4, Trouble.CLOSED, ""),
        ("http_to_a_tls_port", 4, Trouble.CLOSED, ""),
        ("tls_to_a_plain_port", 4, Trouble.NO_TLS, ""),
        ("redirect_loop", 8, Trouble.REDIRECTS, ""),
        ("untrusted_certificate", 5, Trouble.UNTRUSTED, UNSIGNED),
        ("redirect_to_untrusted", 5, Trouble.UNTRUSTED, UNSIGNED),
        ("certificate_expired", 5, Trouble.DATE, "it has expired"),
        ("certificate_to_come", 5, Trouble.DATE, "its time is yet to come"),
        ("certificate_of_another_host", 5, Trouble.HOST_NAME, ""),
        (
            "certificate_expired_and_untrusted",
            5,
            Trouble.UNTRUSTED,
            f"{UNSIGNED}, it has expired",
        ),
        ("tunnel_refused", 4, Trouble.NO_TUNNEL, "403 Forbidden"),
        ("proxy_unsupported", 8, Trouble.BAD_PROXY, ""),
        ("status_401", 6, Trouble.AUTHENTICATION, ""),
        ("status_404", 8, Trouble.OTHER, ""),
        ("bad_option", 2, Trouble.USAGE, ""),
        ("no_space", 3, Trouble.CANNOT_WRITE, "No space left on device"),
        ("killed", -9, Trouble.KILLED, "SIGKILL"),
        ("terminated", -15, Trouble.KILLED, "SIGTERM"),
    ],
)
def test_a_complaint_is_understood(
    name: str, exit_code: int, trouble: Trouble, detail: str
) -> None:
    """Exit code and words together tell what went wrong."""
    reply = read_reply(log(name), exit_code)

    assert (reply.exit_code, reply.trouble, reply.detail) == (exit_code, trouble, detail)


@pytest.mark.parametrize(
    ("lines", "trouble", "detail"),
    [
        ("  Self-signed certificate encountered.", Trouble.UNTRUSTED, UNSIGNED),
        ("  Unable to locally verify the issuer's authority.", Trouble.UNTRUSTED, UNSIGNED),
        ("  Issued certificate has expired.", Trouble.DATE, "it has expired"),
        ("  Issued certificate not yet valid.", Trouble.DATE, "its time is yet to come"),
        (
            "ERROR: no certificate subject alternative name matches\n\trequested host name 'x'.",
            Trouble.HOST_NAME,
            "",
        ),
        ("  certificate revoked", Trouble.UNTRUSTED, "it is revoked"),
        ("ERROR: something new", Trouble.UNTRUSTED, ""),
    ],
)
def test_a_wget_with_openssl_is_understood_as_well(
    lines: str, trouble: Trouble, detail: str
) -> None:
    """Its words are others: those of its source. What is not known is no reason to say nothing."""
    text = f"ERROR: cannot verify x's certificate, issued by 'CN=x':\n{lines}\n"

    reply = read_reply(text.encode(), 5)

    assert (reply.trouble, reply.detail) == (trouble, detail)


@pytest.mark.parametrize("words", ["?", "SECRET words", "", "Forbidden SECRET"])
def test_words_of_a_proxy_that_are_not_known_stay_in_the_log(words: str) -> None:
    """What it says is the proxy's own: only the words that belong to a status are passed on."""
    text = f"Proxy tunneling failed: {words}Unable to establish SSL connection.\n"

    reply = read_reply(text.encode(), 4)

    assert (reply.trouble, reply.detail) == (Trouble.NO_TUNNEL, "")


def test_a_part_on_a_read_only_disk_cannot_be_written() -> None:
    """wget ends with 1, not 3, where it cannot even open the part: it is DIR all the same."""
    reply = read_reply(log("read_only"), 1)

    assert (reply.trouble, reply.detail) == (Trouble.CANNOT_WRITE, "Read-only file system")


def test_a_header_is_no_complaint() -> None:
    """What the server writes into its head is not taken for wget's own word."""
    text = b"  HTTP/1.1 200 OK\n  X-Cause: Connection refused, timed out\n"

    assert read_reply(text, 4).trouble is Trouble.CLOSED


@pytest.mark.parametrize("exit_code", [0, 1, 3, 4, 8, -9])
def test_no_word_of_a_signed_url_leaves_the_log(exit_code: int) -> None:
    """The logs hold URLs with their queries; what is read from them does not."""
    logs = [path.read_bytes() for path in LOGS.glob("*.txt")]

    replies = [read_reply(text, exit_code) for text in logs]

    assert any(SECRET.encode() in text for text in logs)
    assert SECRET not in repr(replies)


@settings(max_examples=60, deadline=None)
@given(
    text=st.binary(max_size=60),
    exit_code=st.integers(-20, 20),
    lines=st.lists(
        st.sampled_from(
            [
                b"  HTTP/1.1 206 P",
                b"  Content-Range: bytes 1-/",
                b"  ETag: ",
                b"  Content-Length: \xb2",
            ]
        )
    ),
)
def test_no_log_is_too_odd_to_be_read(text: bytes, exit_code: int, lines: list[bytes]) -> None:
    """Junk never raises."""
    reply = read_reply(b"\n".join([*lines, text]), exit_code)

    assert reply.exit_code == exit_code
