"""What a site's wget needs beside the URL: read, checked, and never repeated in a message."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgetpool import wgetrc
from wgetpool.access import check_cookies, read_access
from wgetpool.errors import SourceError
from wgetpool.model import Access

SECRET = "SECRETsecret"
NO_CONTROLS = st.characters(blacklist_categories=("Cs", "Cc"))


def understands(argv: list[str], private: tuple[bytes, ...]) -> str:
    """A wget that takes all but what is called bad."""
    assert argv == ["/usr/bin/wget", "--config=/proc/self/fd/5", "--version"]
    return "wget: Error in /proc/self/fd/5" if b"bad" in private[0] else "GNU Wget 1.21.3\n"


def read(warn: Callable[[str], None] | None = None, **words: Any) -> Access:
    given: dict[str, Any] = {
        "headers": (),
        "user_agent": None,
        "cookies": None,
        "netrc": False,
        "options": (),
    }
    return read_access(
        "/usr/bin/wget",
        **{**given, **words},
        warn=warn or pytest.fail,
        output_of=understands,
    )


def refused(**words: Any) -> str:
    with pytest.raises(SourceError) as caught:
        read(**words)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_nothing_asked_for_is_nothing_given() -> None:
    """A run without any of these options starts wget as ever."""
    assert read() == Access() == wgetrc.PLAIN


# ---------------------------------------------------------------- headers


@pytest.mark.parametrize(
    ("word", "header"),
    [
        ("Authorization: Bearer abc", "Authorization: Bearer abc"),
        ("X-A:b", "X-A: b"),
        ("X-A:   b c:d  ", "X-A: b c:d"),
        ("Cookie: a=b; c=d", "Cookie: a=b; c=d"),
        ("X-Umlaut: ä", "X-Umlaut: ä"),
    ],
)
def test_a_header_is_a_name_and_a_value(word: str, header: str) -> None:
    """Blanks round the value do not count."""
    assert read(headers=[word]).headers == (header,)


@pytest.mark.parametrize(
    "word",
    [
        SECRET,
        "",
        f": {SECRET}",
        f"X A: {SECRET}",
        f"X-A : {SECRET}",
        f"Ä: {SECRET}",
        f"X-A: b\nX-B: {SECRET}",
        f"X-A: {SECRET}\r",
        f"X-A: {SECRET}\x00",
        f"X-A: {SECRET}\t",
    ],
)
def test_what_is_no_header_is_named_by_its_number(word: str) -> None:
    """Never by what it holds: that may be the token itself."""
    said = refused(headers=["X-Good: 1", word])

    assert "--header number 2" in said
    assert "Name: value" in said


@pytest.mark.parametrize(
    "name", ["Range", "IF-MATCH", "If-None-Match", "accept-encoding", "Connection", "TE", "Expect"]
)
def test_a_header_that_is_the_programs_own_affair_is_refused(name: str) -> None:
    """With the reason: a range of the user's own would spoil each continued part."""
    said = refused(headers=[f"{name}: {SECRET}"])

    assert f"{name} cannot be set: " in said


@given(
    name=st.text(st.sampled_from("abcXYZ019-_!~"), min_size=1),
    value=st.text(NO_CONTROLS).filter(lambda value: value.strip(" ")),
)
def test_any_value_without_control_characters_goes_through(name: str, value: str) -> None:
    """One line in, one line out, and nothing but blanks at the ends is lost."""
    (header,) = read(headers=[f"X-{name}: {value}"]).headers

    assert header == f"X-{name}: {value.strip(' ')}"
    assert "\n" not in header


def test_a_header_without_a_value_has_lost_its_quotes() -> None:
    """`--header Authorization: Bearer x`: the rest seems to be sources."""
    assert "put the whole line in quotes" in refused(headers=["Authorization:"])


@given(st.text())
def test_any_word_is_a_header_or_refused(word: str) -> None:
    """No word makes two lines of a configuration, and no message repeats one."""
    if word.startswith("@"):
        return
    try:
        headers = read(headers=[word]).headers
    except SourceError as error:
        assert len(word) < 20 or word not in str(error)  # noqa: PT017
    else:
        assert len(headers) == 1
        assert not re.search(r"[\x00-\x1f\x7f]", headers[0])


def test_a_file_holds_one_header_a_line(tmp_path: Path) -> None:
    """Blank lines, lines that begin with #, a BOM and CRLF are read as in a links file."""
    path = tmp_path / "headers"
    path.write_bytes(
        "\ufeffX-A: 1\r\n\r\n# a remark\n X-B: 2 # kept\nX-C: \udcff".encode(
            "utf-8", "surrogateescape"
        )
    )

    headers = read(headers=["X-0: 0", f"@{path}"]).headers

    assert headers == ("X-0: 0", "X-A: 1", "X-B: 2 # kept", "X-C: \udcff")


def test_a_bad_line_of_a_file_is_named_by_file_and_number(tmp_path: Path) -> None:
    """As in any other list, without what it holds."""
    path = tmp_path / "headers"
    path.write_text(f"# mine\nX-A: 1\n{SECRET}\n")

    assert f"{path}:3" in refused(headers=[f"@{path}"])


@pytest.mark.parametrize("text", ["", "\n# only a remark\n"])
def test_a_file_without_a_header_is_an_error(tmp_path: Path, text: str) -> None:
    """Whoever names it wants something sent."""
    path = tmp_path / "headers"
    path.write_text(text)

    assert f"{path} holds no header" in refused(headers=[f"@{path}"])


@pytest.mark.parametrize("option", ["headers", "cookies", "options"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, option: str) -> None:
    """With the system's word for it."""
    path = tmp_path / "missing"
    words: dict[str, Any] = {
        "headers": [f"@{path}"],
        "cookies": path,
        "options": [f"certificate={path}"],
    }

    said = refused(**{option: words[option]})

    assert f"cannot read {path}: No such file or directory" in said


# ---------------------------------------------------------------- user agent, netrc


def test_a_user_agent_is_one_line() -> None:
    """Whatever it holds beside control characters."""
    assert read(user_agent="Lab/1 (mail me)").user_agent == "Lab/1 (mail me)"
    assert "--user-agent" in refused(user_agent=f"a\n{SECRET}")


def test_a_netrc_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """wget itself would go without it, and say nothing."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert f"cannot read {tmp_path}/.netrc" in refused(netrc=True)

    (tmp_path / ".netrc").write_text(f"machine h login u password {SECRET}\n")

    assert read(netrc=True) == Access(netrc=True)


# ---------------------------------------------------------------- cookies


def cookie(name: str, expiry: object = 9_999_999_999) -> str:
    return f"example.org\tTRUE\t/\tFALSE\t{expiry}\t{name}\t{SECRET}"


def cookies(tmp_path: Path, *lines: str, warn: Callable[[str], None] | None = None) -> list[str]:
    path = tmp_path / "cookies.txt"
    path.write_text("\n".join(["# Netscape HTTP Cookie File", "", *lines, ""]))
    return read(cookies=path, warn=warn).cookies.decode().splitlines()


def test_cookies_are_those_of_the_file(tmp_path: Path) -> None:
    """Remarks and blank lines are left out."""
    assert cookies(tmp_path, cookie("a"), "# b", cookie("c") + "\r") == [cookie("a"), cookie("c")]


def test_a_cookie_that_no_script_may_read_is_one_for_wget(tmp_path: Path) -> None:
    """wget takes `#HttpOnly_` for a remark, and those are the ones that log in."""
    assert cookies(tmp_path, "#HttpOnly_" + cookie("a")) == [cookie("a")]


@pytest.mark.parametrize("expiry", ["", "0", "-1", "Session"])
def test_a_cookie_of_a_session_never_expires(tmp_path: Path, expiry: str) -> None:
    """However the tool that wrote it says so: wget wants a 0."""
    assert cookies(tmp_path, cookie("a", expiry)) == [cookie("a", 0)]


@pytest.mark.parametrize("text", ["", "<html>\n", f"a={SECRET}; b=c\n", "# Netscape\n"])
def test_a_file_without_a_cookie_says_what_is_wanted(tmp_path: Path, text: str) -> None:
    """The browser's own database, say, or what stands behind `Cookie:`."""
    path = tmp_path / "cookies.txt"
    path.write_text(text)

    said = refused(cookies=path)

    assert f"{path} holds no cookie" in said
    assert "cookies.txt" in said


def test_lines_that_are_no_cookies_are_counted(tmp_path: Path) -> None:
    """They are told, but do not end the command, as they do not in wget."""
    told: list[str] = []

    cookies(tmp_path, cookie("a"), "broken", f"also {SECRET}", warn=told.append)

    assert told == [f"{tmp_path}/cookies.txt: 2 lines passed over: no cookie"]


def test_cookies_that_have_all_expired_draw_a_warning(tmp_path: Path) -> None:
    """The server would only say 403, again and again."""
    told: list[str] = []

    cookies(tmp_path, cookie("a", 1), cookie("b", 1_000_000_000.5), warn=told.append)
    cookies(tmp_path, cookie("a", 1), cookie("b"))

    assert len(told) == 1
    assert "all cookies have expired" in told[0]


@pytest.mark.parametrize(
    ("hosts", "warnings"),
    [
        (["example.org"], 0),
        (["other.net", "Data.example.org:8080"], 0),
        (["other.net", "example.org.net", "badexample.org"], 1),
    ],
)
def test_cookies_of_another_site_draw_a_warning(hosts: list[str], warnings: int) -> None:
    """A domain counts for all that is in it; the port does not count."""
    told: list[str] = []

    check_cookies(Access(cookies=f".{cookie('a')}\n".encode()), hosts, told.append)
    check_cookies(Access(), hosts, pytest.fail)

    assert len(told) == warnings


# ---------------------------------------------------------------- wget's own settings


@pytest.mark.parametrize(
    "word", ["--no-check-certificate", "no_check_certificate=on", "No-Check-Certificate"]
)
def test_an_option_that_says_no_is_a_setting_that_is_off(word: str) -> None:
    """wget has both, and its manual shows the options."""
    said = refused(options=[word])

    assert said.endswith(
        "--wget-option no_check_certificate cannot be given: write it as check_certificate=off"
    )


def test_a_header_in_the_place_of_a_setting_is_not_repeated() -> None:
    """In whatever case."""
    said = refused(options=[f"Authorization: Basic {SECRET}="])

    assert SECRET.lower() not in said


def test_an_address_of_another_machine_is_refused() -> None:
    """wget would only say that the connection was closed."""
    assert "no address 192.0.2.1 " in refused(options=["bind_address=192.0.2.1"])
    assert read(options=["bind_address=127.0.0.1"]).options == (("bind_address", "127.0.0.1"),)


@pytest.mark.parametrize("command", sorted(wgetrc.CERTIFICATES))
def test_a_certificate_that_is_none_is_refused(tmp_path: Path, command: str) -> None:
    """A links file, say. One in another format may be given where that is said."""
    path = tmp_path / "links.txt"
    path.write_text(f"https://h/a?sig={SECRET}")

    assert f"{command}: {path} holds no -----BEGIN" in refused(options=[f"{command}={path}"])
    if kind := wgetrc.CERTIFICATES[command]:
        assert f"{kind}=DER" in refused(options=[f"{command}={path}"])
        read(options=[f"{command}={path}", f"{kind}=asn1"])


@pytest.mark.parametrize(
    ("word", "pair"),
    [
        ("inet4_only=on", ("inet4_only", "on")),
        ("Inet4-Only = on", ("inet4_only", "on")),
        ("ciphers=A:B=C", ("ciphers", "A:B=C")),
        ("pinned_pubkey=sha256//abc=", ("pinned_pubkey", "sha256//abc=")),
    ],
)
def test_a_setting_is_a_wgetrc_command(word: str, pair: tuple[str, str]) -> None:
    """In any case, and with - for _, as wget reads them."""
    assert read(options=[word]).options == (pair,)


@pytest.mark.parametrize(
    "word", ["inet4_only", "=on", "inet4_only=", "", "ciphers=a\nheader = X: y", "no check"]
)
def test_what_is_no_setting_is_refused(word: str) -> None:
    """With an example."""
    assert "KEY=VALUE" in refused(options=[word])


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("header", "--header"),
        ("user-agent", "--user-agent"),
        ("load_cookies", "--cookies"),
        ("http_password", "--netrc"),
        ("USER", "--netrc"),
        ("proxy_password", "http_proxy"),
        ("https_proxy", "http_proxy"),
        ("limit_rate", "--limit-rate"),
        ("tries", "--tries"),
        ("timeout", "--timeout"),
        ("continue", "wgetpool"),
        ("output_document", "wgetpool"),
        ("quiet", "wgetpool"),
        ("execute", "inet4_only"),
        ("no_check_certificate", "check_certificate"),
    ],
)
def test_a_setting_that_is_not_safe_is_refused_with_the_reason(command: str, hint: str) -> None:
    """And with what to use in its place; its value is not repeated."""
    said = refused(options=[f"{command}={SECRET}"])

    assert hint in said


@pytest.mark.parametrize("command", sorted(wgetrc.FILES | wgetrc.FOLDERS))
def test_a_file_among_the_settings_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """It must be there: wget would complain once for each file of the run."""
    monkeypatch.chdir(tmp_path)
    assert "x.pem" in refused(options=[f"{command}=x.pem"])

    path = tmp_path / "x.pem"
    path.mkdir() if command in wgetrc.FOLDERS else path.write_text("a\n-----BEGIN X-----\n")

    assert read(options=[f"{command}=x.pem"]).options == ((command, str(path)),)


def test_a_setting_that_this_wget_does_not_understand_is_named() -> None:
    """wget is asked, since each knows others."""
    said = refused(options=["inet4_only=on", "inet6_only=bad"])

    assert said == "this wget does not understand --wget-option inet6_only=bad"


@pytest.mark.parametrize("value", ["off", "quiet"])
def test_certificates_that_are_not_checked_draw_a_warning(value: str) -> None:
    """It is allowed, and what it means is said."""
    told: list[str] = []

    read(options=[f"check_certificate={value}"], warn=told.append)

    assert len(told) == 1
    assert "send other files in its place" in told[0]


def test_no_representation_shows_what_is_given(tmp_path: Path) -> None:
    """Nor does a traceback, a log line or a failed assertion."""
    path = tmp_path / "cookies.txt"
    path.write_text(cookie("a"))

    access = read(headers=[f"X: {SECRET}"], user_agent=SECRET, cookies=path)

    assert SECRET not in repr(access)
