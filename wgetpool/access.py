"""What a site's wget needs beside the URL: the words of --header, --cookies and their like, read
and checked. Runs in the main thread, before anything is fetched.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from wgetpool import process, wgetrc
from wgetpool.errors import SourceError
from wgetpool.model import Access
from wgetpool.words import count

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def read_access(
    program: str,
    *,
    headers: Sequence[str],
    user_agent: str | None,
    cookies: Path | None,
    netrc: bool,
    options: Sequence[str],
    warn: Callable[[str], None],
    output_of: Callable[..., str] = process.output_of,
) -> Access:
    """What these words ask for. `program` is the wget that has to understand them. Raises
    SourceError, which never holds a value that may be secret.
    """
    if user_agent is not None and _CONTROL.search(user_agent):
        raise SourceError("--user-agent holds a control character")
    if netrc:
        _demand_readable("--netrc", Path.home() / ".netrc")
    commands = tuple(_read_option(word) for word in options)
    for command, value in commands:
        _check_understood(program, command, value, output_of)
    _check_values(dict(commands))
    if any(command == "check_certificate" and value != "on" for command, value in commands):
        warn(
            "check_certificate is not on: whoever is on the way to the server can read what is sent"
            " to it, and send other files in its place"
        )
    return Access(
        headers=tuple(_read_headers(headers)),
        user_agent=user_agent,
        cookies=_read_cookies(cookies, warn) if cookies else b"",
        netrc=netrc,
        options=commands,
    )


def _demand_readable(what: str, path: Path) -> None:
    _read(what, path, at_most=1)


def _read(what: str, path: Path, at_most: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(at_most)
    except OSError as error:
        raise SourceError(f"{what}: cannot read {path}: {error.strerror}") from None


# ---------------------------------------------------------------- headers

_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)")
_OF_CONNECTION = "wget looks after the connection itself"
_OURS = {
    "range": "wgetpool itself asks for the rest of a file with it",
    "accept-encoding": "a packed answer could not be continued",
    "proxy-authorization": "put the login into the address in http_proxy and https_proxy",
    **dict.fromkeys(
        (
            "connection",
            "content-length",
            "expect",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ),
        _OF_CONNECTION,
    ),
}


def _read_headers(words: Sequence[str]) -> Iterator[str]:
    for number, word in enumerate(words, 1):
        if word.startswith("@"):
            yield from _headers_of(Path(word[1:]))
        else:
            yield _checked(word, f"--header number {number}")


def _headers_of(path: Path) -> Iterator[str]:
    text = _read("--header", path).decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    lines = [(n, line.strip(" \t\r")) for n, line in enumerate(text.split("\n"), 1)]
    headers = [(n, line) for n, line in lines if line and not line.startswith("#")]
    if not headers:
        raise SourceError(f"--header: {path} holds no header: write one a line, as 'Name: value'")
    for number, line in headers:
        yield _checked(line, f"{path}:{number}")


def _checked(line: str, where: str) -> str:
    header = _HEADER.fullmatch(line.strip(" ")) if not _CONTROL.search(line) else None
    if header is None:
        raise SourceError(f"{where} is no header: write it as 'Name: value', in one line")
    name, value = header[1], header[2].strip(" ")
    if not value:
        raise SourceError(
            f"{where} has no value: put the whole line in quotes, as --header 'Name: value'"
        )
    reason = _OURS.get(name.lower())
    if name.lower().startswith("if-"):
        reason = "wgetpool itself decides what of a part is still good"
    if reason:
        raise SourceError(f"{where}: {name} cannot be set: {reason}")
    return f"{name}: {value}"


# ---------------------------------------------------------------- cookies

_FIELDS = 7  # domain, its subdomains too, path, https only, expiry, name, value
_EXPIRY = 4
_HTTP_ONLY = b"#HttpOnly_"  # wget takes such a line for a comment


def _read_cookies(path: Path, warn: Callable[[str], None]) -> bytes:
    lines = [
        line.rstrip(b"\r").removeprefix(_HTTP_ONLY)
        for line in _read("--cookies", path).split(b"\n")
    ]
    lines = [line for line in lines if line.strip() and not line.startswith(b"#")]
    cookies = [fields for line in lines if len(fields := line.split(b"\t")) == _FIELDS]
    if not cookies:
        raise SourceError(
            f"--cookies: {path} holds no cookie: export them from the browser as cookies.txt, in"
            " Netscape's format (seven fields a line, with TABs between them)"
        )
    if len(cookies) < len(lines):
        warn(f"{path}: {count(len(lines) - len(cookies), 'line')} passed over: no cookie")
    now = process.SystemClock().wall()
    if all(_has_expired(fields, now) for fields in cookies):
        warn(f"{path}: all cookies have expired: log in with the browser and export them again")
    return b"".join(b"\t".join(_for_wget(fields)) + b"\n" for fields in cookies)


def check_cookies(access: Access, hosts: Iterable[str], warn: Callable[[str], None]) -> None:
    """Warns where there are cookies, and none for any of these hosts."""
    fields = (line.split(b"\t") for line in access.cookies.splitlines())
    domains = {_without_port(one[0].decode("latin-1").lstrip(".")) for one in fields}
    if domains and not any(_is_within(_without_port(host), domains) for host in hosts):
        warn("--cookies holds no cookie for the server of any link: export those of that site")


def _without_port(host: str) -> str:
    return re.sub(r":\d+$", "", host.lower())


def _is_within(host: str, domains: set[str]) -> bool:
    """Whether one of the domains is this host, or contains it."""
    labels = host.split(".")
    return any(".".join(labels[at:]) in domains for at in range(len(labels)))


def _for_wget(fields: list[bytes]) -> list[bytes]:
    """A cookie that lasts as long as its session has no expiry, or -1, with some tools: wget wants
    0.
    """
    lasting = _expiry(fields) > 0
    return fields if lasting else [*fields[:_EXPIRY], b"0", *fields[_EXPIRY + 1 :]]


def _has_expired(fields: list[bytes], now: datetime) -> bool:
    return 0 < _expiry(fields) <= now.timestamp()


def _expiry(fields: list[bytes]) -> float:
    try:
        return float(fields[_EXPIRY])
    except ValueError:
        return 0


# ---------------------------------------------------------------- wget's own settings


def _read_option(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    command, value = wgetrc.command_name(key), value.strip()
    is_name = re.fullmatch("[a-z][a-z0-9_]*", command)
    is_whole = bool(equals and value) or command in wgetrc.NEGATED
    if not is_name or not is_whole or _CONTROL.search(word):
        raise SourceError(
            "--wget-option wants KEY=VALUE, as inet4_only=on or check_certificate=off"
        )
    if reason := wgetrc.refusal(command):
        raise SourceError(f"--wget-option {command} cannot be given: {reason}")
    if command in wgetrc.FILES | wgetrc.FOLDERS:
        value = _absolute(command, value)
    return command, value


def _absolute(command: str, value: str) -> str:
    path = Path(os.path.expanduser(value)).absolute()  # noqa: PTH111  leaves an unknown ~user as it is
    what = f"--wget-option {command}"
    if command in wgetrc.FILES:
        _demand_readable(what, path)
    elif not path.is_dir() or not os.access(path, os.R_OK | os.X_OK):
        raise SourceError(f"{what}: there is no folder {path} that can be read")
    return str(path)


def _check_values(given: dict[str, str]) -> None:
    """What wget would complain of once for each file, in words of another trouble."""
    address = given.get("bind_address")
    if address and not _is_ours(address):
        raise SourceError(
            f"this machine has no address {address} (--wget-option bind_address); ip addr shows"
            " those that it has"
        )
    for command, kind in wgetrc.CERTIFICATES.items():
        other = kind is not None and given.get(kind, "PEM").upper() != "PEM"
        if command not in given or other:
            continue
        what = f"--wget-option {command}"
        if b"-----BEGIN" not in _read(what, Path(given[command])):
            more = f"; is it of another type? {kind}=DER says so" if kind else ""
            raise SourceError(f"{what}: {given[command]} holds no -----BEGIN, as PEM does{more}")


def _is_ours(address: str) -> bool:
    """Whether a connection can come from it."""
    try:
        found = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # neither an address nor a name
        return False
    for family, kind, _, _, place in found:
        with suppress(OSError), socket.socket(family, kind) as one:
            one.bind(place)
            return True
    return False


def _check_understood(
    program: str, command: str, value: str, output_of: Callable[..., str]
) -> None:
    """By the wget itself: what it does not understand, it says before it does anything else."""
    given = wgetrc.private_files(Access(options=((command, value),)))
    said = output_of([program, f"--config={wgetrc.CONFIGURATION}", "--version"], private=given)
    if not said.startswith("GNU Wget"):
        raise SourceError(f"this wget does not understand --wget-option {command}={value}")
