"""All knowledge of wget: which program it is, what it is told, what it says.

Nobody else may assume anything about its options, its exit codes or its log. What stands here was
found by experiment on GNU Wget 1.21.3 and 1.25.0. Raw log text never leaves this module: it holds
signed URLs.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from signal import Signals
from urllib.parse import urlsplit

from wgetpool.errors import SHORTAGES, MachineError
from wgetpool.model import Access, Command, Head, RemoteFile, Reply, Trouble, Url
from wgetpool.wgetrc import CONFIGURATION, PLAIN, identifies, private_files, without_identity

CANDIDATES = ("wget", "wget1")  # Fedora has wget2 under the name wget, and this one as wget1
INSTALL_HINT = (
    "install GNU Wget 1.x (Debian, Ubuntu: apt install wget; Fedora: dnf install wget1-wget; "
    "Alpine: apk add wget) or name it with --wget PATH"
)
OLDEST = (1, 19)

# Exactly one try; nothing left behind (.wget-hsts); the part's time is ours to set. -nv -S prints
# each response head, indented by two blanks, and one line for each error.
OPTIONS = (
    "--no-hsts",
    "--no-iri",
    "--no-verbose",
    "--server-response",
    "--tries=1",
    "--no-use-server-timestamps",
    "--input-file=-",
    "--append-output=/proc/self/fd/2",  # a log of its own choice (wget-log, after SIGHUP) otherwise
)


def find_wget(named: str | None, *, output_of: Callable[[list[str]], str]) -> str:
    """The absolute path of a usable wget: the named one, else the first candidate in PATH.

    Raises MachineError that says what was found instead and what to install.
    """
    found: list[str] = []
    for candidate in (named,) if named else CANDIDATES:
        path = shutil.which(candidate)
        if path is None:
            continue
        try:
            complaint = _unfit(output_of([path, "--version"]))
        except OSError as error:
            if shortage := SHORTAGES.get(error.errno or 0):
                raise MachineError(f"{path} cannot be started: {shortage}.") from error
            complaint = f"does not run ({error.strerror or error})"
        if complaint is None:
            return str(Path(path).absolute())
        found.append(f"{path} {complaint}")
    if found:
        raise MachineError(f"{'; '.join(found)}: {INSTALL_HINT}.")
    raise MachineError(f"There is no {named or 'wget'} on this machine: {INSTALL_HINT}.")


def _unfit(version_text: str) -> str | None:
    first = version_text.strip().partition("\n")[0]
    version = re.match(r"GNU Wget (\d+)\.(\d+)", first)
    if version is None:
        if "Wget2" in first:
            return "is wget2, which is another program and not supported"
        if (
            "BusyBox" in version_text
            or "busybox" in version_text
            or "unrecognized option" in version_text
        ):
            return "is busybox's, which is not supported"
        return "is not GNU Wget"
    if (int(version[1]), int(version[2])) < OLDEST:
        return f"is GNU Wget {version[1]}.{version[2]}, which is too old (1.19 or later is needed)"
    return None


# Messages in English, and times without a look at the zone. Over http, GnuTLS is not needed: its
# library would begin with checks of itself, a tenth of all that a small file costs. wget itself
# starts it for https.
ENVIRONMENT = {b"LC_ALL": b"C", b"TZ": b"UTC0", b"GNUTLS_NO_IMPLICIT_INIT": b"1"}


def command(
    program: str,
    url: Url,
    part: Path,
    *,
    timeout: float,
    access: Access = PLAIN,
    rate: int | None = None,
    ceiling: int | None = None,
    environment: tuple[bytes, ...],
    mark: str,
    lock: int,
) -> Command:
    """One attempt at one URL, continuing `part`. The URL goes through standard input; `rate` is
    bytes a second, `ceiling` the longest that the part may get; `environment` contains ENVIRONMENT;
    `mark` is the file's name; `lock` stays open in the child.
    """
    slowly = () if rate is None else (f"--limit-rate={rate}",)
    how = (f"--timeout={_plain(timeout)}", *slowly, "--continue")
    return Command(
        argv=(program, *_settings(access, url), *how, "-O", str(part)),
        file_limit=ceiling,
        stdin=_input(url),
        private=_private(access),
        env=environment,
        mark=mark,
        keep_open=lock,
    )


def span_command(
    program: str,
    url: Url,
    span: range,
    into: int,
    *,
    timeout: float,
    access: Access = PLAIN,
    environment: tuple[bytes, ...],
    mark: str,
    lock: int,
) -> Command:
    """One request for the bytes of `span` (not empty), which come to the descriptor `into`.

    A start makes wget demand an answer that begins there; the header of our own ends the range,
    which wget itself leaves open.
    """
    return Command(
        argv=(
            program,
            *_settings(access, url),
            f"--timeout={_plain(timeout)}",
            f"--start-pos={span.start}",
            f"--header=Range: bytes={span.start}-{span.stop - 1}",
            "-O",
            "-",
        ),
        stdin=_input(url),
        private=_private(access),
        env=environment,
        mark=mark,
        keep_open=lock,
        stdout=into,
    )


def batch_command(
    program: str,
    urls: Sequence[Url],
    into: int,
    *,
    timeout: float,
    most: int,
    keep_alive: bool,
    access: Access = PLAIN,
    environment: tuple[bytes, ...],
) -> Command:
    """One process for several files (none with a login in its URL), one after the other: their
    bytes come to the descriptor `into`, not more than `most`.

    Redirects are not followed: where one leads nowhere, the log may not tell whose it was. Cookies
    that come with a file are not told with the next. Without `keep_alive` each has a connection of
    its own: on one that is kept, whatever a server sends too much is taken for the next answer.
    """
    return Command(
        argv=(
            program,
            *_settings(access, urls[0]),
            f"--timeout={_plain(timeout)}",
            "--max-redirect=0",
            "--no-cookies",
            *(() if keep_alive else ("--no-http-keep-alive",)),
            "-O",
            "-",
        ),
        stdin=b"".join(map(_input, urls)),
        private=_private(access),
        file_limit=most,
        env=environment,
        stdout=into,
        is_followed=True,
    )


def next_hop(command: Command, access: Access, url: Url, *, at_home: bool) -> Command:
    """The same, asked of where a redirect leads to. Elsewhere than at home, at the list's own
    server, nothing tells who we are.
    """
    told = private_files(access if at_home else without_identity(access))
    return replace(command, stdin=_input(url), private=told if command.private else ())


def keeps_secrets(access: Access, url: Url) -> bool:
    """Whether redirects are not wget's to follow: it sends headers, say, along to any server."""
    return identifies(access) or url.has_login


def _settings(access: Access, url: Url) -> Iterator[str]:
    """None of the user's own, or those that were asked for, which nobody sees."""
    yield "--no-config" if access == PLAIN else f"--config={CONFIGURATION}"
    if not access.netrc:
        yield "--no-netrc"
    yield from OPTIONS
    if keeps_secrets(access, url):
        yield "--max-redirect=0"


def _private(access: Access) -> tuple[bytes, ...]:
    return () if access == PLAIN else private_files(access)


def _input(url: Url) -> bytes:
    return url.reveal().encode("utf-8", "surrogateescape") + b"\n"


def _plain(seconds: float) -> str:
    """Without an exponent: wget does not read one."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


# ---------------------------------------------------------------- its proxies

PROXIES = ("http_proxy", "https_proxy")  # the names in capitals, and all_proxy, it does not read
_ADDRESS = re.compile(r"(?:\w+://)?(?:.*@)?((?:[\w.-]+|\[[\w:.]+\])(?::\d+)?)/?")


def proxy_of(url: Url, environ: Mapping[str, str]) -> str | None:
    """The proxy that wget asks for this URL: host and port, or the variable that names it, where
    they cannot be told from a login. None: it asks the server itself.
    """
    parts = urlsplit(url.reveal())
    variable = f"{parts.scheme.lower()}_proxy"
    named = environ.get(variable)
    if not named or _is_spared(parts.hostname or "", environ.get("no_proxy", "")):
        return None
    address = _ADDRESS.fullmatch(named)
    return address[1] if address else variable


def _is_spared(host: str, no_proxy: str) -> bool:
    """Whether it is in the list: itself, or by a domain that it belongs to."""
    listed = [each for each in re.split(r", *", no_proxy.lower()) if each]
    return any(
        host.endswith(each) if each[0] == "." else f".{host}".endswith(f".{each}")
        for each in listed
    )


def warnings_about(environ: Mapping[str, str]) -> list[str]:
    """What is wrong with the proxies that are named here. Never a value: it may hold a password."""
    return list(_proxy_warnings(environ))


def _proxy_warnings(environ: Mapping[str, str]) -> Iterator[str]:
    unread = [name for name in PROXIES if not environ.get(name) and environ.get(name.upper())]
    for name in unread:
        yield (
            f"{name.upper()} is set, but wget reads {name} only, and goes without this proxy. "
            f'To use it: export {name}="${name.upper()}"'
        )
    for name in ("all_proxy", "ALL_PROXY"):
        if environ.get(name) and not any(environ.get(each) for each in PROXIES) and not unread:
            yield (
                f"{name} is set, but wget reads http_proxy and https_proxy only, and goes without "
                "this proxy. Set these two to use it (not to a SOCKS proxy, which wget cannot use)."
            )
            return
    named = [name for name in PROXIES if environ.get(name)]
    if named and environ.get("NO_PROXY") and not environ.get("no_proxy"):
        yield (
            "NO_PROXY is set, but wget reads no_proxy only, and asks the proxy for those hosts, "
            'too. To go past it: export no_proxy="$NO_PROXY"'
        )
    for name in named:
        if re.match("socks", environ[name], re.IGNORECASE):
            yield (
                f"{name} names a SOCKS proxy, which wget cannot use. Name an HTTP proxy, or: "
                f"unset {name}"
            )


# ---------------------------------------------------------------- what it said

_PHRASES = {int(status): status.phrase for status in HTTPStatus}
_STATUS = re.compile(r"  HTTP/\d(?:\.\d)? +(\d{3})(?!\d)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_AGE = re.compile(r"[0-9]{1,9}")
_CONTENT_RANGE = re.compile(
    r"bytes +(?:([0-9]{1,18})-[0-9]{1,18}|\*)/([0-9]{1,18}|\*)", re.IGNORECASE
)
_COMPLAINTS = (
    ("unable to resolve host address", Trouble.DNS),
    ("Connection refused", Trouble.REFUSED),
    ("timed out", Trouble.TIMED_OUT),
    ("No route to host", Trouble.UNREACHABLE),
    ("unreachable", Trouble.UNREACHABLE),
    ("redirections exceeded", Trouble.REDIRECTS),
    ("No data received", Trouble.CLOSED),
    ("Proxy tunneling failed", Trouble.NO_TUNNEL),
    ("Error parsing proxy URL", Trouble.BAD_PROXY),
    ("Error in proxy URL", Trouble.BAD_PROXY),
    ("Unable to establish SSL connection", Trouble.NO_TLS),
)
_EXIT_CODES = {
    2: Trouble.USAGE,
    3: Trouble.CANNOT_WRITE,
    4: Trouble.CLOSED,
    5: Trouble.UNTRUSTED,
    6: Trouble.AUTHENTICATION,
}
_SYSTEM_ERROR = re.compile(
    r"(No space left on device|Disk quota exceeded|Permission denied|Read-only file system"
    r"|Input/output error|File too large)"
)


def read_head(log: bytes) -> Head | None:
    """The last response head in the log (a redirect's comes before the one that counts)."""
    lines = log.decode("latin-1").split("\n")
    for index in range(len(lines) - 1, -1, -1):
        if match := _STATUS.match(lines[index]):
            return _parse_head(int(match[1]), lines[index + 1 : -1])  # the last has no end
    return None


def _parse_head(status: int, lines: list[str]) -> Head:
    fields: dict[str, str] = {}
    for line in lines:
        if not line.startswith("  "):
            break
        key, _, value = line.partition(":")
        fields[key.strip().lower()] = value.strip()
    told = fields.get("content-length", "")
    length = int(told) if _LENGTH.fullmatch(told) else None
    if "transfer-encoding" in fields:  # RFC 9112 6.3: chunking overrides a length
        length = None
    start, size = 0, length if status == 200 else None
    span = _CONTENT_RANGE.fullmatch(fields.get("content-range", ""))
    if span and status in (206, 416):
        start = int(span[1]) if span[1] else 0
        size = None if span[2] == "*" else int(span[2])
    etag = fields.get("etag")
    return Head(
        status=status,
        reason=_PHRASES.get(status, ""),  # not the server's: it may repeat the URL
        start=start,
        length=length,
        remote=RemoteFile(
            size=size,
            etag=etag
            if etag and etag.startswith('"')
            else None,  # W/"..." does not promise equal bytes
            last_modified=fields.get("last-modified"),
        ),
        retry_after=fields.get("retry-after"),
        date=fields.get("date"),
        age=int(age) if _AGE.fullmatch(age := fields.get("age", "")) else 0,
        astray=_astray(fields.get("location", "")) if 300 <= status < 400 else "",
    )


def _astray(location: str) -> str:
    scheme, colon, _ = location.lower().partition(":")
    named = colon and re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme)
    return scheme if named and scheme not in {"http", "https"} else ""


_UNFOLLOWED = b"\n0 redirections exceeded"  # it would have gone on, had it been allowed to
_LOCATION = re.compile(rb"^  location:([^\n]*)", re.IGNORECASE | re.MULTILINE)
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_ESCAPED = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
}


def read_redirect(log: bytes) -> bytes | None:
    """Where a wget was sent that may not follow redirects, as the server wrote it."""
    if _UNFOLLOWED not in log:
        return None
    head = log[max(log.rfind(b"\n  HTTP/"), 0) :]
    location = _LOCATION.search(head)
    return _ESCAPE.sub(_unescape, location[1]).strip() if location else None


def _unescape(match: re.Match[bytes]) -> bytes:
    """What the log shows as an escape: control characters, and all that is not ASCII."""
    code = match[1]
    return bytes([int(code, 8) & 255]) if len(code) == 3 else _ESCAPED.get(code, code)


def read_reply(log: bytes, exit_code: int) -> Reply:
    """All that one wget told, once it has ended."""
    text = log.decode("latin-1")
    trouble, detail = _complaint(text, exit_code)
    return Reply(exit_code=exit_code, head=read_head(log), trouble=trouble, detail=detail)


def _complaint(text: str, exit_code: int) -> tuple[Trouble, str]:
    trouble, error = _trouble(text, exit_code), _SYSTEM_ERROR.search(text)
    if error and exit_code == 1:  # it could not even open the part
        trouble = Trouble.CANNOT_WRITE
    match trouble:
        case Trouble.KILLED:
            return trouble, _signal_name(-exit_code)
        case Trouble.UNTRUSTED:
            return _distrust(text)
        case Trouble.NO_TUNNEL:
            return trouble, _tunnel_status(text)
    return trouble, error[1] if error else ""


# GnuTLS's words and OpenSSL's, and what is wrong with the certificate. The first one decides.
_FLAWS = (
    (
        r"doesn't have a known issuer|Unable to locally verify the issuer|Self-signed certificate",
        Trouble.UNTRUSTED,
        "nobody known has signed it",
    ),
    (r"certificate has been revoked|certificate revoked", Trouble.UNTRUSTED, "it is revoked"),
    (r"certificate (?:of '.*' )?has expired", Trouble.DATE, "it has expired"),
    (r"is not yet activated|certificate not yet valid", Trouble.DATE, "its time is yet to come"),
    (
        r"does not match hostname|no certificate subject alternative name matches"
        r"|doesn't match requested host name",
        Trouble.HOST_NAME,
        "it is for another host name",
    ),
)


def _distrust(text: str) -> tuple[Trouble, str]:
    found = [(trouble, flaw) for words, trouble, flaw in _FLAWS if re.search(words, text)]
    trouble = found[0][0] if found else Trouble.UNTRUSTED
    flaws = [flaw for _, flaw in found if trouble is not Trouble.HOST_NAME]
    return trouble, ", ".join(flaws)


def _tunnel_status(text: str) -> str:
    """The proxy's status, of which wget tells the words only: those that are known."""
    told = re.search(r"Proxy tunneling failed: (.*?)(?:Unable to establish SSL connection|$)", text)
    words = told[1].strip() if told else ""
    return next((f"{code} {phrase}" for code, phrase in _PHRASES.items() if phrase == words), "")


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:  # a real-time signal
        return str(number)


def is_refused_range(reply: Reply) -> bool:
    """Whether wget left a range alone that it cannot place: one of a file of unknown size
    (`bytes 5-9/*`), which it takes for none.
    """
    head = reply.head
    return head is not None and head.status == 206 and head.remote.size is None


def _trouble(text: str, exit_code: int) -> Trouble:
    if exit_code < 0:
        return Trouble.KILLED
    if exit_code == 0:
        return Trouble.NONE
    if exit_code not in (2, 3, 5, 6):
        spoken = "\n".join(line for line in text.split("\n") if not line.startswith("  "))
        for words, trouble in _COMPLAINTS:
            if words in spoken:
                return trouble
    return _EXIT_CODES.get(exit_code, Trouble.OTHER)
