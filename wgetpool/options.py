"""The options of all commands: what their words mean, and how the help shows them.

Each can also come from the environment: `--stall-timeout` from WGETPOOL_STALL_TIMEOUT. What is
typed counts more. An option with a metavar takes a value, and `completion` knows by the metavar
what may stand there.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from wgetpool.mistakes import label, shown

SELECTING, CHECKING, RETRYING = "Which files", "Checks", "Retries"
TIMING, SHOWING, MACHINE = "Time limits", "Output", "This machine"
ACCESS, MANNERS = "Getting in", "How much at a time"

WAIT, EVER = "--wait-for-links", "ever"

WIDE = 76  # columns

# What stands for these metavars.
CHOICES = {"list|name": ("list", "name"), "STATE": ("done", "failed", "pending")}


# ---------------------------------------------------------------- words


def duration(word: str) -> float:
    """`90`, `90s`, `0.5`, `2m`, `1h` as seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)([smhd]?)", word.strip().lower())
    if match is None:
        raise ValueError(word)
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    if not math.isfinite(seconds) or seconds > 1e9:
        raise ValueError(word)
    return seconds


def amount(word: str) -> int:
    """`500k`, `10M`, `1G`, `64KiB` as bytes; powers of 1024, as wget's own."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)([kmgt]?)(?:i?b)?", word.strip().lower())
    if match is None or len(match[1]) > 18:
        raise ValueError(word)
    told = float(match[1]) * 1024 ** " kmgt".index(match[2] or " ")
    if 0 < told < 1:  # else half a byte would be none, and no limit
        raise ValueError(word)
    return int(told)


def rate(word: str) -> int:
    """The same a second, also as `20MB/s`."""
    return amount(re.sub(r"/s(ec)?$", "", word.strip().lower()))


def statuses(word: str) -> frozenset[int]:
    """`403,404` as numbers."""
    items = [item.strip() for item in word.split(",") if item.strip()]
    if not items or not all(re.fullmatch(r"[1-5]\d\d", item) for item in items):
        raise ValueError(word)
    return frozenset(map(int, items))


def positive(word: str) -> int:
    """A whole number from 1 on."""
    number = int(word)
    if number < 1:
        raise ValueError(word)
    return number


def natural(word: str) -> int:
    """A whole number from 0 on."""
    number = int(word)
    if number < 0:
        raise ValueError(word)
    return number


def patience(word: str) -> float:
    """A duration, or `ever`, as seconds."""
    return math.inf if word == EVER else duration(word)


def with_patience(words: Sequence[str]) -> list[str]:
    """The words of a command line, in which --wait-for-links has a value: it may go without."""
    end = words.index("--") if "--" in words else len(words)
    return [
        f"{WAIT}={EVER}"
        if word == WAIT and at < end and not _is_patience(words[at + 1 : end])
        else word
        for at, word in enumerate(words)
    ]


def _is_patience(rest: Sequence[str]) -> bool:
    try:
        return bool(rest) and patience(rest[0]) >= 0
    except ValueError:  # 2weeks is meant as one, and refused
        return rest[0][:1].isdecimal() and rest[0].isalnum() and not Path(rest[0]).exists()


def choice(choices: Sequence[str], word: str) -> str:
    """Just one of these words."""
    if word not in choices:
        raise ValueError(word)
    return word


def shard(word: str) -> tuple[int, int]:
    """`K/N` as two numbers."""
    from wgetpool.errors import SourceError  # noqa: PLC0415  what `list` and `get` load anyway
    from wgetpool.selection import parse_shard  # noqa: PLC0415

    try:
        return parse_shard(word)
    except SourceError as error:
        raise ValueError(word) from error


def taking(what: str, read: Callable[[str], Any]) -> Callable[[Any], Any]:
    """A parser whose complaint says what the option takes."""

    def parse(value: Any) -> Any:
        try:
            return read(str(value))
        except ValueError:
            raise typer.BadParameter(f"takes {what}, not {shown(str(value))}") from None

    return parse


SECONDS = taking("a duration, as 90, 90s, 0.5, 2m or 1h", duration)
PATIENCE = taking("a duration, as 90s, 2m, 1h or 30d, or nothing (for ever)", patience)
BYTES = taking("a size, as 500k, 10M, 1G or 64KiB", amount)
RATE = taking("bytes a second, as 500k or 20M", rate)
NUMBER = taking("a whole number, from 0 on", natural)
POSITIVE = taking("a whole number from 1 on", positive)
POSITION = taking("a whole number", int)
STATUSES = taking("HTTP statuses, as 403,404", statuses)
SHARD = taking("K/N with K from 0 to N-1, as 0/4", shard)
ORDER = taking("list or name", partial(choice, CHOICES["list|name"]))
STATE = taking("done, failed or pending", partial(choice, CHOICES["STATE"]))


# ---------------------------------------------------------------- help


class Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _tidy(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_patience(args))


class Program(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _tidy(super().get_params(ctx))


def _tidy(params: list[Any]) -> list[Any]:
    """Without the Python types that typer shows beside flags and arguments, and without the names
    of variables where these would be cut off. A variable of several values is read as a shell does.
    """
    wide = get_terminal_size().columns >= WIDE
    for param in params:
        param.show_envvar = wide
        if param.param_type_name == "argument":
            param.display_type_rich = lambda **_: ""
        elif param.metavar is None:
            param.metavar = ""
        param.split_envvar_value = str.splitlines if param.name == "header" else _shell_words
    return params


def _shell_words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:
        raise typer.BadParameter("has a quote that nothing closes") from None


def examples(text: str) -> str:
    """An epilog that comes out as it stands: brackets are no markup."""
    return text.strip("\n").replace("[", r"\[")


def option(names: str, help_text: str, *, panel: str | None = None, **more: Any) -> Any:
    long = max(names.partition("/")[0].split(), key=len)
    variable = "WGETPOOL_" + long.removeprefix("--").replace("-", "_").upper()
    more = {"envvar": variable, "metavar": "", **more}
    return typer.Option(*names.split(), help=help_text, rich_help_panel=panel, **more)


def exclusive(ctx: typer.Context, *names: str) -> list[Any]:
    """The values of parameters that exclude each other. One that is typed silences what only the
    environment says.
    """
    given = [
        param for param in ctx.command.params if ctx.params.get(param.name) and param.name in names
    ]
    typed = [param for param in given if label(ctx, param) != param.envvar]
    left = typed or given
    if len(left) > 1:
        told = " and ".join(label(ctx, param) for param in left)
        raise typer.BadParameter(f"{told} exclude each other: give one of them")
    for param in given:
        if param not in left:
            ctx.params[str(param.name)] = None
    return [ctx.params[name] for name in names]


# ---------------------------------------------------------------- the options

# The type of an option with a parser is what the parser makes of the word; its default is a word,
# too.
Parsed = Any

Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE", help="Links, links files, or - for standard input."),
]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Files to tell the whole story of."),
]
Output = Annotated[Path, option("-o --output", "Folder for the files.", metavar="DIR")]
Workers = Annotated[
    Parsed, option("-j --workers", "Files at a time.", parser=POSITIVE, metavar="N")
]
ReadWorkers = Annotated[
    Parsed,
    option("-j --workers", "Files at a time; one for each core.", parser=POSITIVE, metavar="N"),
]
Select = Annotated[
    list[str],
    option(
        "--select",
        "Names to take, as 'sa_*.tar' or 'sa_{00..49}.tar'; repeatable.",
        panel=SELECTING,
        metavar="PATTERN",
    ),
]
SelectFrom = Annotated[
    Path | None,
    option(
        "--select-from", "File with names to take, one a line.", panel=SELECTING, metavar="FILE"
    ),
]
Exclude = Annotated[
    list[str],
    option("--exclude", "Names to leave out; repeatable.", panel=SELECTING, metavar="PATTERN"),
]
Order = Annotated[
    Parsed,
    option(
        "--order",
        "As the list has them, or by name.",
        panel=SELECTING,
        metavar="list|name",
        parser=ORDER,
    ),
]
Start = Annotated[
    Parsed,
    option("--start", "First entry, from 0.", panel=SELECTING, parser=POSITION, metavar="A"),
]
End = Annotated[
    Parsed,
    option("--end", "Up to this entry, without it.", panel=SELECTING, parser=POSITION, metavar="B"),
]
Shard = Annotated[
    Parsed,
    option("--shard", "Every N-th, from the K-th.", panel=SELECTING, parser=SHARD, metavar="K/N"),
]
SkipGone = Annotated[
    bool,
    option("--skip-gone", "Leave out files fetched before and moved on since.", panel=SELECTING),
]
Tries = Annotated[
    Parsed,
    option(
        "--tries",
        "Attempts in a row without progress.",
        panel=RETRYING,
        parser=POSITIVE,
        metavar="T",
    ),
]
Backoff = Annotated[
    Parsed,
    option("--backoff", "First wait, then doubled.", panel=RETRYING, parser=SECONDS, metavar="S"),
]
BackoffMax = Annotated[
    Parsed, option("--backoff-max", "Longest wait.", panel=RETRYING, parser=SECONDS, metavar="S")
]
RetryStatus = Annotated[
    Parsed,
    option(
        "--retry-status",
        "HTTP statuses to try again, as 403,404.",
        panel=RETRYING,
        parser=STATUSES,
        metavar="LIST",
    ),
]
Timeout = Annotated[
    Parsed,
    option(
        "--timeout",
        "Name service, connecting, silence.",
        panel=TIMING,
        parser=SECONDS,
        metavar="S",
    ),
]
StallTimeout = Annotated[
    Parsed,
    option(
        "--stall-timeout",
        "No new byte for so long: try again.",
        panel=TIMING,
        parser=SECONDS,
        metavar="S",
    ),
]
MinRate = Annotated[
    Parsed,
    option(
        "--min-rate",
        "Slower than this over the stall time is a stall.",
        panel=TIMING,
        parser=RATE,
        metavar="R",
    ),
]
AttemptTimeout = Annotated[
    Parsed,
    option(
        "--attempt-timeout",
        "Longest one wget may run; 0: no limit.",
        panel=TIMING,
        parser=SECONDS,
        metavar="S",
    ),
]
WaitForLinks = Annotated[
    Parsed,
    option(
        WAIT,
        "When all links have expired, wait for a fresh links file: so long, or for ever (`ever`).",
        panel=RETRYING,
        parser=PATIENCE,
        show_default=False,
        metavar="[TIME]",
    ),
]
Headers = Annotated[
    list[str],
    option(
        "--header",
        "Line for every request, as 'Name: value'; @FILE: its lines; repeatable.",
        panel=ACCESS,
        metavar="LINE|@FILE",
    ),
]
UserAgent = Annotated[
    str | None, option("--user-agent", "What wget calls itself.", panel=ACCESS, metavar="AGENT")
]
Cookies = Annotated[
    Path | None,
    option("--cookies", "A browser's cookies.txt.", panel=ACCESS, metavar="FILE"),
]
Netrc = Annotated[bool, option("--netrc", "Take logins from ~/.netrc.", panel=ACCESS)]
WgetOptions = Annotated[
    list[str],
    option(
        "--wget-option",
        "A setting of wget's own, as ca_certificate=FILE or inet4_only=on; repeatable.",
        panel=ACCESS,
        metavar="KEY=VALUE",
    ),
]
PerHost = Annotated[
    Parsed,
    option(
        "--per-host",
        "Files at a time from one host; fewer after 429 or 503; 0: no limit.",
        panel=MANNERS,
        parser=NUMBER,
        metavar="N",
    ),
]
LimitRate = Annotated[
    Parsed,
    option(
        "--limit-rate",
        "Bytes a second of all together, as 20M; 0: no limit.",
        panel=MANNERS,
        parser=RATE,
        metavar="R",
    ),
]
MinFree = Annotated[
    Parsed,
    option(
        "--min-free",
        "Room that stays free on the disk; what does not fit beside it waits.",
        panel=MANNERS,
        parser=BYTES,
        metavar="SIZE",
    ),
]
Force = Annotated[
    bool, option("--force", "Begin even where not all can fit on the disk.", panel=MANNERS)
]
Checksums = Annotated[
    list[Path],
    option(
        "--checksums",
        "File of sha256sum, md5sum, sha1sum or sha512sum to check against; repeatable.",
        panel=CHECKING,
        parser=Path,
        metavar="FILE",
    ),
]
CheckArchives = Annotated[
    bool,
    option("--check-archives", "Read every tar, gzip and zip to its end.", panel=CHECKING),
]
Hash = Annotated[
    bool,
    option("--hash/--no-hash", "Keep the sha256 of every file in the ledger.", panel=CHECKING),
]
Lock = Annotated[
    bool,
    option(
        "--lock/--no-lock",
        "--no-lock: you warrant that no other run works on DIR.",
        panel=MACHINE,
    ),
]
RemoteTime = Annotated[
    bool, option("--remote-time", "Give files the server's time instead of now.", panel=MACHINE)
]
Wget = Annotated[
    str | None, option("--wget", "The GNU Wget 1.x to use.", panel=MACHINE, metavar="PATH")
]
DryRun = Annotated[bool, option("--dry-run", "Say what would be done; fetch and make nothing.")]
Json = Annotated[bool, option("--json", "One JSON object a line, an event each.", panel=SHOWING)]
JsonObject = Annotated[bool, option("--json", "One JSON object.", panel=SHOWING)]
Quiet = Annotated[bool, option("-q --quiet", "Failures and the summary only.", panel=SHOWING)]
Verbose = Annotated[
    bool, option("-v --verbose", "Each attempt, and what is whole already.", panel=SHOWING)
]
ProgressInterval = Annotated[
    Parsed,
    option(
        "--progress-interval",
        "Between two lines of progress, or events of --json; 0: none.",
        panel=SHOWING,
        parser=SECONDS,
        metavar="S",
    ),
]
NamesOf = Annotated[
    Parsed,
    option(
        "--names",
        "Names only, of those done, failed or pending.",
        panel=SHOWING,
        parser=STATE,
        metavar="STATE",
    ),
]
PrintChecksums = Annotated[
    bool,
    option(
        "--checksums",
        "The sha256 of what is done, as sha256sum writes it.",
        panel=SHOWING,
        envvar="WGETPOOL_STATUS_CHECKSUMS",  # the other is a list of files, for get
    ),
]
Fix = Annotated[bool, option("--fix", "Put what is bad aside, to be fetched by the next get.")]
