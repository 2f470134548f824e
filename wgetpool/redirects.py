"""Redirects, followed by ourselves where something is told that is for one server only.

wget sends headers and logins along to any server that it is redirected to. So where there are any,
it stops at a redirect, and another wget goes on from there: at the same server with all of them,
at another one without.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin, urlsplit

from wgetpool import failures, wget
from wgetpool.model import Access, Command, Handle, Launcher, Sight, StopFlag, Url

MOST = 20  # redirects that are followed, as wget itself does
_FAILED = 255  # in the place of the exit code of a wget that could not be started
_PORTS = {"http": 80, "https": 443}
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_BEGINNING = re.compile(r"https?://[^/?]*", re.IGNORECASE)


def following(launch: Launcher, access: Access, url: Url) -> Launcher:
    """Starts what follows redirects in the way that is safe with this access: wget, or one wget
    after the other, which look like one.
    """
    if not wget.keeps_secrets(access, url):
        return launch

    def start(command: Command) -> Handle:
        return _Chain(launch, command, access, url)

    return start


class _Chain:
    """One wget after the other, as one child: it has ended when the last one has. `wait` starts the
    next one; it raises OSError where the machine gives no more for now.
    """

    def __init__(self, launch: Launcher, command: Command, access: Access, url: Url) -> None:
        self._launch, self._command, self._access = launch, command, access
        self._home = self._here = url
        self._hops = 0
        self._end: tuple[int | None, bytes] | None = None  # of the wget that is the last so far
        self._child = launch(command)

    @property
    def pid(self) -> int:
        return self._child.pid

    def wait(self, timeout: float, *, stop: StopFlag) -> bool:
        if self._end is None and not self._child.wait(timeout, stop=stop):
            return False
        goal = self._goal()
        if goal is None:
            return True
        if not stop.is_set():
            self._go_on(goal)
        return False

    def read_log(self) -> bytes:
        return self._child.read_log() if self._end is None else self._end[1]

    def look(self, *, link: bool = False) -> Sight:
        return self._child.look(link=link)

    def close(self) -> tuple[int | None, bytes]:
        if self._end is None:
            self._end = self._child.close()
        return self._end

    def _goal(self) -> Url | None:
        """Where the wget that has ended was sent; None where there is nowhere to go on."""
        location = wget.read_redirect(self.close()[1])
        if location is None or self._hops >= MOST:
            return None
        return goal_of(location, here=self._here, home=self._home)

    def _go_on(self, goal: Url) -> None:
        self._here = goal
        self._hops += 1
        at_home = origin(goal) == origin(self._home)
        command = wget.next_hop(self._command, self._access, goal, at_home=at_home)
        try:
            self._child = self._launch(command)
        except OSError as error:
            if failures.is_shortage(error):
                raise
            self._end = (_FAILED, b"")  # the next attempt finds out more
        else:
            self._end = None


def origin(url: Url) -> tuple[str, str, int]:
    """Scheme, host and port: who is asked. Raises ValueError for what names nobody."""
    parts = urlsplit(url.reveal())
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not parts.hostname:
        raise ValueError("no server")
    return scheme, parts.hostname, parts.port or _PORTS[scheme]


def goal_of(location: bytes, *, here: Url, home: Url) -> Url | None:
    """The URL that a redirect leads to from `here`, with the login of `home` where it is the same
    server; None for what is not fetched.
    """
    text = quote(location.strip(), safe=_PRINTABLE).partition("#")[0]
    try:
        if not _BEGINNING.match(text):
            text = urljoin(here.reveal(), text)
        goal = Url(text)
        if origin(goal) != origin(home):
            return goal
    except ValueError:
        return None
    # Whatever else stood before the path, it is this very server that is asked.
    start, path = _begin(home.reveal()), text[len(_begin(text)) :]
    return Url(start + ("" if path.startswith("/") else "/") + path)


def _begin(text: str) -> str:
    """All before the path."""
    found = _BEGINNING.match(text)
    return found[0] if found else ""
