"""wget's own settings: which of them may be given, and the private configuration that wget reads.

Pure. What stands here was found by experiment on GNU Wget 1.21.3. A configuration of our own also
keeps /etc/wgetrc and ~/.wgetrc away.
"""

from __future__ import annotations

from dataclasses import replace

from wgetpool.model import PRIVATE, Access

PLAIN = Access()  # nothing beside the URL
CONFIGURATION = f"/proc/self/fd/{PRIVATE}"
_COOKIES = f"/proc/self/fd/{PRIVATE + 1}"

# ---------------------------------------------------------------- what may be given

FILES = frozenset({"ca_certificate", "certificate", "crl_file", "private_key"})
FOLDERS = frozenset({"ca_directory"})
# Of what type each of these is; None: of PEM always.
CERTIFICATES = {
    "ca_certificate": None,
    "certificate": "certificate_type",
    "private_key": "private_key_type",
}
# Who we are: for the list's own server only.
_IDENTITY = frozenset({"certificate", "certificate_type", "private_key", "private_key_type"})
ALLOWED = (
    FILES
    | FOLDERS
    | _IDENTITY
    | {
        "auth_no_challenge",
        "bind_address",
        "bind_dns_address",
        "cache",
        "check_certificate",
        "ciphers",
        "dns_servers",
        "http_keep_alive",
        "inet4_only",
        "inet6_only",
        "pinned_pubkey",
        "prefer_family",
        "secure_protocol",
    }
)

# As options of wget's they have a no, as commands they are off.
NEGATED = {
    f"no_{command}": f"write it as {command}=off"
    for command in ("cache", "check_certificate", "http_keep_alive")
}
_LOGIN = "it would show on the command line: use --netrc, or a links file with USER:PASSWORD@ in it"
_PROXY = "wgetpool leaves proxies to the environment: set http_proxy, https_proxy and no_proxy"
_OUTPUT = "wgetpool looks after files and output itself"
_REASONS = {
    **NEGATED,
    "header": "use --header",
    "referer": "use --header 'Referer: ...'",
    "user_agent": "use --user-agent",
    "load_cookies": "use --cookies",
    "cookies": "use --cookies",
    "save_cookies": "wgetpool keeps no cookies of a server's",
    "keep_session_cookies": "wgetpool keeps no cookies of a server's",
    "netrc": "use --netrc",
    "limit_rate": "use --limit-rate, which is for all wgets together",
    "tries": "use --tries",
    "retry_on_http_error": "use --retry-status",
    "retry_connrefused": "a refused connection is tried again anyway",
    "wait_retry": "use --backoff",
    "wait": "use --per-host and --limit-rate",
    "random_wait": "use --per-host and --limit-rate",
    "max_redirect": "wgetpool follows up to 20 redirects",
    "hsts": "wgetpool asks for what the link says",
    "hsts_file": "wgetpool asks for what the link says",
    "https_only": "wget heeds it in recursive downloads only",
    "compression": "a packed answer could not be continued",
    "use_server_timestamps": "use --remote-time",
    **dict.fromkeys(("timeout", "connect_timeout", "dns_timeout", "read_timeout"), "use --timeout"),
    **dict.fromkeys(
        ("user", "password", "http_user", "http_password", "http_passwd", "login", "passwd"), _LOGIN
    ),
    **dict.fromkeys(("proxy_user", "proxy_password", "proxy_passwd"), f"{_PROXY}, login and all"),
    **dict.fromkeys(("http_proxy", "https_proxy", "no_proxy", "use_proxy", "proxy"), _PROXY),
    **dict.fromkeys(
        (
            "background",
            "backups",
            "continue",
            "debug",
            "dir_prefix",
            "input",
            "logfile",
            "no_clobber",
            "noclobber",
            "output_document",
            "progress",
            "quiet",
            "quota",
            "save_headers",
            "server_response",
            "show_progress",
            "start_pos",
            "timestamping",
            "unlink",
            "verbose",
        ),
        _OUTPUT,
    ),
}


def command_name(word: str) -> str:
    """wget reads its commands in any case, and takes `-` for `_`; what was an option may keep its
    dashes.
    """
    return word.strip().lstrip("-").lower().replace("-", "_")


def refusal(command: str) -> str | None:
    """Why this command may not be given; None where it may."""
    if command in ALLOWED:
        return None
    return _REASONS.get(command) or f"allowed are {', '.join(sorted(ALLOWED))}"


# ---------------------------------------------------------------- what wget reads


def identifies(access: Access) -> bool:
    """Whether it tells a server who we are: such things are for the list's own server only."""
    known = any(command in _IDENTITY for command, _ in access.options)
    return bool(access.headers or access.cookies or access.netrc or known)


def without_identity(access: Access) -> Access:
    """What any server may get."""
    options = tuple(pair for pair in access.options if pair[0] not in _IDENTITY)
    return replace(access, headers=(), cookies=b"", netrc=False, options=options)


def private_files(access: Access) -> tuple[bytes, ...]:
    """What wget reads in private: its configuration, and the cookies that this names."""
    lines = [f"netrc = {'on' if access.netrc else 'off'}"]
    lines += [f"header = {header}" for header in access.headers]
    if access.user_agent is not None:
        lines.append(f"user_agent = {access.user_agent}")
    if access.cookies:
        lines.append(f"load_cookies = {_COOKIES}")
    lines += [f"{command} = {value}" for command, value in access.options]
    text = "".join(f"{line}\n" for line in lines)
    configuration = text.encode("utf-8", "surrogateescape")
    return (configuration, access.cookies) if access.cookies else (configuration,)
