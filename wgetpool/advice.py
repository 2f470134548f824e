"""What a person can do about files that failed: advice by cause, and the files grouped by reason.

Pure. The summary that ends a run and `status` say the same, since both say it with this.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from wgetpool.model import Cause
from wgetpool.words import count, some

NAMES_SHOWN = 3  # of the files of one group
REASONS_KEPT = 200  # those that come later are counted, not told

# What belongs to one file in a reason, and what it reads without that.
_OF_ONE_FILE = (
    (re.compile(r" \((?:[\d,?]+ of [^)]*|/.*)\)$"), ""),  # bytes that are here, a path
    (re.compile(r" \(at [\d-]+ [\d:]+ UTC\)$"), ""),  # when its link expired
    (re.compile(r"\d+(?:,\d{3})* bytes, the list says \d+(?:,\d{3})*"), "not what the list says"),
)


def next_step(cause: Cause, *, directory: str) -> str:
    """What to do next, in one or two sentences. That the command is to be run again comes after
    it.
    """
    rejected = shlex.quote(f"{directory}/.wgetpool/rejected/")
    return _STEPS[cause].format(dir=shlex.quote(directory), rejected=rejected)


_STEPS = {
    # the way to the server
    Cause.NAME_SERVICE: "See whether this machine resolves names (getent hosts SERVER), and "
    "whether the server's name is spelled right.",
    Cause.REFUSED: "Nothing listens there: the server is down, or the port is wrong.",
    Cause.UNREACHABLE: "See whether this machine has a network and a way to the server "
    "(ip route get ADDRESS).",
    Cause.CONNECTION: "Such breaks often pass. If they do not: fewer at a time (-j) and more "
    "tries (--tries 20).",
    Cause.TIMED_OUT: "The server is down, overloaded, or behind a firewall that keeps silent. "
    "Try later, or fewer at a time (-j).",
    Cause.STALLED: "Try fewer at a time (-j). A server that is slow by nature wants a lower "
    "--min-rate or a longer --stall-timeout.",
    Cause.TIME_LIMIT: "Allow more time for each try: --attempt-timeout, 0 for no limit.",
    Cause.PROXY: "See whether http_proxy and https_proxy name the right proxy, and whether it lets "
    "you go to this server. no_proxy=HOST,... goes past it.",
    Cause.PROXY_LOGIN: "Put the login into http_proxy and https_proxy: "
    "http://USER:PASSWORD@HOST:PORT.",
    Cause.TLS: "See whether the server speaks https on this port; a link of another kind begins "
    "with http://.",
    Cause.CERTIFICATE: "Install the package ca-certificates, if it is missing. An authority of "
    "your own, or of a proxy that reads along: update-ca-certificates, or --wget-option "
    "ca_certificate=FILE.",
    Cause.CERTIFICATE_DATE: "See whether this machine's clock is right (date). If it is, the "
    "server needs a new certificate: tell its operator.",
    Cause.CERTIFICATE_NAME: "Name the server by its proper name, not by an address or an alias.",
    # what it answers
    Cause.LOGIN: "See whether the login that was given is right; if none was, put it into ~/.netrc "
    "and add --netrc, or into a links file, as https://USER:PASSWORD@HOST/... A token goes along "
    "with --header @FILE.",
    Cause.EXPIRED: "Get a fresh list, and put it in the place of the old one: files are known by "
    "their names, and parts go on.",
    Cause.CUT_LINK: "A shell cuts a link at its first & unless it is in quotes, as in "
    "'https://...&...'. Of a links file, copy whole lines, or get it anew.",
    Cause.FORBIDDEN: "Try it in a browser, to see what it needs: a login, another network, a fresh "
    "link. Of a server that says so to many requests, fetch with -j 1 --retry-status 403.",
    Cause.LEGAL: "The law forbids the server to send this to where you are: leave it out "
    "(--exclude NAME).",
    Cause.NOT_FOUND: "Not on the server: correct the link, or leave the file out (--exclude NAME).",
    Cause.RATE_LIMITED: "The server wants fewer requests: fewer at a time (-j 1), longer waits "
    "(--backoff 1m), more tries (--tries 20).",
    Cause.SERVER: "The server has trouble, or too much to do: try later, or fewer at a time (-j) "
    "with longer waits (--backoff 1m).",
    Cause.REQUEST: "The server does not understand the request: look at the link.",
    Cause.REDIRECT: "Open the link in a browser to see where it leads: to a login, perhaps. The "
    "list needs the link to the file itself.",
    Cause.NO_FILE: "Open the link in a browser: it leads to something else than the file, "
    "perhaps to a login.",
    Cause.NO_RANGES: "The server begins a file anew after each break. Fewer at a time (-j) leave "
    "more of the line to each.",
    Cause.CHANGED: "It changes on the server while it is fetched: wait until it is finished there.",
    # what came
    Cause.SIZE: "What came is in {rejected}. Look at it: it may be a page, or "
    "another version than the list is of.",
    Cause.CHECKSUM: "What came is in {rejected}. If the same came twice, the list "
    "is of another version: get a fresh one.",
    Cause.ARCHIVE: "What came is in {rejected}. Tell whoever made it, or take it "
    "as it is, without --check-archives.",
    # this machine
    Cause.TOO_LARGE: "Choose a folder on a file system for larger files (FAT ends at 4 GiB) with "
    "-o, or raise the limit (ulimit -f).",
    Cause.NAME: "Move away what is in the way of this name, or give the file another one, in a "
    "table with the columns url and name.",
    Cause.IN_USE: "Wait until the other program is through with the file, or end it (fuser -v "
    "FILE names it).",
    Cause.NO_SPACE: "Make room, choose another folder (-o), or keep less free (--min-free). "
    "df -h {dir} tells what is free, quota what you may use.",
    Cause.NOT_WRITABLE: "See who may write there (ls -ld {dir}), and how it is mounted (findmnt "
    "--target {dir}).",
    Cause.DISK: "See whether the disk is there and well: ls {dir}, and dmesg for its errors.",
    Cause.MACHINE: "See to what the reason names: a limit (ulimit), or a wget that is missing "
    "(--wget PATH). Fewer at a time (-j) need less.",
    Cause.KILLED: "Find out who sent the signal. Where memory was short, dmesg tells it, and "
    "fewer at a time (-j) need less.",
    Cause.OTHER: "wgetpool status {dir} NAME tells all that is known of a file.",
}


# ---------------------------------------------------------------- files by reason


@dataclass(slots=True)
class _Group:
    """Files that failed alike: how many, the first few names, and the reason of the first."""

    cause: Cause
    general: str
    first: str
    size: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.size += 1
        if len(self.names) < NAMES_SHOWN:
            self.names.append(name)

    def lines(self) -> Iterator[str]:
        reason = self.first if self.size == 1 else self.general
        yield f"Failed: {count(self.size, 'file')}, {reason}"
        yield f"  {some(self.names, NAMES_SHOWN, self.size)}"


def in_general(reason: str) -> str:
    """The reason without what belongs to one file: how many of its bytes are here, say."""
    for pattern, words in _OF_ONE_FILE:
        reason = pattern.sub(words, reason)
    return reason


class Groups:
    """Files that failed, grouped by cause and reason: in little memory, however many there are."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Cause, str], _Group] = {}

    @property
    def causes(self) -> set[Cause]:
        return {group.cause for group in self._groups.values()}

    def add(self, name: str, cause: Cause, reason: str) -> None:
        general = in_general(reason)
        if (cause, general) not in self._groups and len(self._groups) >= REASONS_KEPT:
            reason = general = "each for a reason of its own"
        self._groups.setdefault((cause, general), _Group(cause, general, reason)).add(name)

    def lines(self, directory: str, *, most: int | None = None) -> Iterator[str]:
        """All reasons, or the `most` common ones, each with its next step. A line that is to be
        copied has four blanks before it.
        """
        ranked = sorted(self._groups.values(), key=lambda group: (-group.size, group.general))
        shown, others = ranked[:most], ranked[len(ranked[:most]) :]
        for cause in dict.fromkeys(group.cause for group in shown):
            alike = [group for group in shown if group.cause is cause]
            for group in alike:
                yield from group.lines()
            word = "Next" if len(alike) == 1 else "Next, for all of these"
            yield f"  {word}: {next_step(cause, directory=directory)}"
        folder = shlex.quote(directory)
        if others:
            files = count(sum(group.size for group in others), "file")
            yield f"Failed: {files} more, for {count(len(others), 'other reason')}"
            yield "All reasons:"
            yield f"    wgetpool status {folder}"
        if others or any(group.size > NAMES_SHOWN for group in shown):
            yield "All names:"
            yield f"    wgetpool status {folder} --names failed"
