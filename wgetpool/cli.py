"""The command line: words -> settings, the reporter that fits, signal handlers, result -> exit
code. No logic.

What needs a heavy import is imported by the command that uses it.
"""

from __future__ import annotations

import errno
import gc
import math
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wgetpool import __version__
from wgetpool.errors import ExitCode, MachineError, SourceError, WgetpoolError

if TYPE_CHECKING:
    from wgetpool.model import Entry, Settings, Wishes
    from wgetpool.pool import Pool

OUTPUT_PATIENCE, PAUSE_PATIENCE = 3.0, 1.1  # seconds that a write may take after a signal
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

app = typer.Typer(
    help="Fetches long lists of files with wget, N at a time, and never shows half a file.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


# ---------------------------------------------------------------- words


def duration(text: str) -> float:
    """`90`, `90s`, `0.5`, `2m`, `1h` as seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)([smhd]?)", text.strip().lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no duration: write 90, 90s, 0.5, 2m or 1h")
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    if not math.isfinite(seconds) or seconds > 1e9:
        raise typer.BadParameter(f"{text!r} is too long")
    return seconds


def amount(text: str) -> int:
    """`500k`, `10M`, `1G`, `64KiB` as bytes; powers of 1024, as wget's own."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)([kmgt]?)(?:i?b)?", text.strip().lower())
    if match is None:
        raise typer.BadParameter(f"{text!r} is no size: write 500k, 10M, 1G or 64KiB")
    return int(float(match[1]) * 1024 ** " kmgt".index(match[2] or " "))


def statuses(text: str) -> frozenset[int]:
    """`403,404` as numbers."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(re.fullmatch(r"[1-5]\d\d", word) for word in words):
        raise typer.BadParameter(f"{text!r} is no list of HTTP statuses: write 403,404")
    return frozenset(map(int, words))


def ordering(text: str) -> str:
    if text not in {"list", "name"}:
        raise typer.BadParameter(f"{text!r} is no order: write list or name")
    return text


def state_word(text: str) -> str:
    if text not in {"done", "failed", "pending"}:
        raise typer.BadParameter(f"{text!r} is no state: write done, failed or pending")
    return text


def shard(text: str) -> Any:
    from wgetpool.sources import parse_shard

    try:
        return parse_shard(text)
    except SourceError as error:
        raise typer.BadParameter(str(error)) from error


SELECTING, CHECKING = "Which files", "Checks"
RETRYING, TIMING, SHOWING = "Retries", "Time limits", "Output"


def option(names: str, help_text: str, *, panel: str | None = None, **more: Any) -> Any:
    return typer.Option(*names.split(), help=help_text, rich_help_panel=panel, **more)


# The type of an option with a parser is what the parser makes of the word; its default is a word,
# too.
Parsed = Any

Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE...", help="URLs, links files, or - for standard input."),
]
Select = Annotated[
    list[str],
    option(
        "--select",
        "Names to take, as 'sa_*.tar' or 'sa_{000000..000049}.tar'; repeatable.",
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
        parser=ordering,
    ),
]
Start = Annotated[
    int | None, option("--start", "First entry, from 0.", panel=SELECTING, metavar="A")
]
End = Annotated[
    int | None, option("--end", "Up to this entry, without it.", panel=SELECTING, metavar="B")
]
Shard = Annotated[
    Parsed,
    option("--shard", "Every N-th, from the K-th.", panel=SELECTING, metavar="K/N", parser=shard),
]


# ---------------------------------------------------------------- commands


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"wgetpool {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, option("--version", "Show the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command(short_help="Fetch every file that the sources name into DIR.")
def get(
    *,
    sources: Sources,
    output: Annotated[Path, option("-o --output", "Folder for the files.", metavar="DIR")],
    workers: Annotated[int, option("-j --workers", "Files at a time.", min=1, metavar="N")] = 4,
    select: Select = [],  # noqa: B006
    select_from: SelectFrom = None,
    exclude: Exclude = [],  # noqa: B006
    order: Order = "list",
    start: Start = None,
    end: End = None,
    shard: Shard = None,
    skip_gone: Annotated[
        bool,
        option(
            "--skip-gone", "Leave out files fetched before and moved on since.", panel=SELECTING
        ),
    ] = False,
    tries: Annotated[
        int,
        option(
            "--tries", "Attempts in a row without progress.", panel=RETRYING, min=1, metavar="T"
        ),
    ] = 5,
    backoff: Annotated[
        Parsed,
        option(
            "--backoff", "First wait, then doubled.", panel=RETRYING, parser=duration, metavar="S"
        ),
    ] = "5s",
    backoff_max: Annotated[
        Parsed,
        option("--backoff-max", "Longest wait.", panel=RETRYING, parser=duration, metavar="S"),
    ] = "5m",
    retry_status: Annotated[
        Parsed,
        option(
            "--retry-status",
            "HTTP statuses to try again, as 403,404.",
            panel=RETRYING,
            parser=statuses,
            metavar="LIST",
        ),
    ] = None,
    timeout: Annotated[
        Parsed,
        option(
            "--timeout",
            "Name service, connecting, silence.",
            panel=TIMING,
            parser=duration,
            metavar="S",
        ),
    ] = "60s",
    stall_timeout: Annotated[
        Parsed,
        option(
            "--stall-timeout",
            "No new byte for so long: try again.",
            panel=TIMING,
            parser=duration,
            metavar="S",
        ),
    ] = "2m",
    min_rate: Annotated[
        Parsed,
        option(
            "--min-rate",
            "Slower than this over the stall time is a stall.",
            panel=TIMING,
            parser=amount,
            metavar="R",
        ),
    ] = "1k",
    attempt_timeout: Annotated[
        Parsed,
        option(
            "--attempt-timeout",
            "Longest one wget may run; 0: no limit.",
            panel=TIMING,
            parser=duration,
            metavar="S",
        ),
    ] = "0",
    checksums: Annotated[
        list[Path],
        option(
            "--checksums",
            "File of sha256sum, md5sum, sha1sum or sha512sum to check against; repeatable.",
            panel=CHECKING,
            metavar="FILE",
        ),
    ] = [],  # noqa: B006
    check_archives: Annotated[
        bool,
        option("--check-archives", "Read every tar, gzip and zip to its end.", panel=CHECKING),
    ] = False,
    hash_: Annotated[
        bool,
        option("--hash/--no-hash", "Keep the sha256 of every file in the ledger.", panel=CHECKING),
    ] = True,
    lock: Annotated[
        bool,
        option(
            "--lock/--no-lock",
            "Hold parts by file locks; without: nobody else works on DIR.",
            panel=CHECKING,
        ),
    ] = True,
    remote_time: Annotated[bool, option("--remote-time", "Give files the server's time.")] = False,
    wget: Annotated[
        str | None, option("--wget", "The GNU Wget 1.x to use.", metavar="PATH")
    ] = None,
    dry_run: Annotated[
        bool, option("--dry-run", "Say what would be done; fetch and make nothing.", panel=SHOWING)
    ] = False,
    json: Annotated[
        bool, option("--json", "One JSON object a line, an event each.", panel=SHOWING)
    ] = False,
    quiet: Annotated[
        bool, option("--quiet -q", "Failures and the summary only.", panel=SHOWING)
    ] = False,
) -> int:
    """Fetch every file that the sources name into DIR; the same command again goes on where it
    was.
    """
    # The run's as well: later, an exception by a signal could be lost in an import.
    from wgetpool import pool, process  # noqa: F401
    from wgetpool.model import Checks, Limits, RetryPolicy, Settings, Wishes
    from wgetpool.wget import find_wget

    entries = _choose(sources, select, select_from, exclude, order, start, end, shard)
    entries = _attach(entries, checksums)
    _on_signals(_exit_in_order)  # a child is asked for its version
    settings = Settings(
        directory=output.absolute(),
        wget=find_wget(wget, output_of=process.output_of),
        workers=workers,
        retry=RetryPolicy(
            tries=tries,
            backoff=backoff,
            backoff_max=backoff_max,
            retry_status=retry_status or frozenset(),
        ),
        limits=Limits(
            timeout=timeout,
            stall_timeout=stall_timeout,
            min_rate=min_rate,
            attempt_timeout=attempt_timeout,
        ),
        checks=Checks(sha256=hash_, archives=check_archives),
        locking=lock,
        remote_time=remote_time,
        skip_gone=skip_gone,
    )
    if dry_run:
        from wgetpool.status import print_plan

        return print_plan(settings, entries, json=json, out=sys.stdout)
    return _run(settings, entries, Wishes(json=json, quiet=quiet))


@app.command("list")
def list_(
    *,
    sources: Sources,
    select: Select = [],  # noqa: B006
    select_from: SelectFrom = None,
    exclude: Exclude = [],  # noqa: B006
    order: Order = "list",
    start: Start = None,
    end: End = None,
    shard: Shard = None,
) -> int:
    """Print the chosen names, one a line, as --select-from takes them."""
    entries = _choose(sources, select, select_from, exclude, order, start, end, shard)
    _speak_names()
    sys.stdout.writelines(f"{entry.name}\n" for entry in entries)
    return ExitCode.WHOLE


@app.command(short_help="Show how far DIR is.")
def status(
    *,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
    names: Annotated[
        Parsed,
        option(
            "--names",
            "Names only: done, failed or pending.",
            parser=state_word,
            metavar="STATE",
        ),
    ] = None,
    checksums: Annotated[
        bool, option("--checksums", "The sha256 of what is done, as sha256sum writes it.")
    ] = False,
    json: Annotated[bool, option("--json", "One JSON object.")] = False,
) -> int:
    """Show how far DIR is: done, begun, failed and why. Exit code 0 when all is
    whole.
    """
    from wgetpool.status import print_checksums, print_status

    if names or checksums:
        _speak_names()
    if checksums:
        return print_checksums(directory.absolute(), out=sys.stdout, warn=_say)
    return print_status(directory.absolute(), names=names, json=json, out=sys.stdout)


@app.command(short_help="Read every finished file again.")
def verify(
    *,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
    workers: Annotated[
        int | None,
        option("-j --workers", "Files at a time; one for each core.", min=1, metavar="N"),
    ] = None,
    fix: Annotated[
        bool, option("--fix", "Put what is bad aside, to be fetched by the next get.")
    ] = False,
    json: Annotated[bool, option("--json", "One JSON object.")] = False,
) -> int:
    """Read every finished file again and hold it against the ledger. Exit code 1 where one
    differs or is missing.
    """
    from wgetpool.verify import verify_directory

    _on_signals(_exit_in_order)
    return verify_directory(
        directory.absolute(),
        workers=workers or min(8, os.cpu_count() or 1),
        fix=fix,
        json=json,
        out=sys.stdout,
        err=sys.stderr,
    )


@app.command(short_help="End what works on DIR, in order.")
def stop(
    *,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")],
) -> int:
    """End the run on DIR in order, from any terminal, and wgets that a killed run left behind.
    Exit code 0 when nothing runs any more.
    """
    from wgetpool.stop import stop_directory

    _on_signals(_exit_in_order)
    return stop_directory(directory.absolute(), out=sys.stdout)


def _choose(  # noqa: PLR0917
    sources: list[str],
    select: list[str],
    select_from: Path | None,
    exclude: list[str],
    order: str,
    start: int | None,
    end: int | None,
    shard: tuple[int, int] | None,
) -> list[Entry]:
    from wgetpool.sources import Selection, choose

    selection = Selection(
        select=tuple(select),
        select_from=select_from,
        exclude=tuple(exclude),
        order=order,
        start=start,
        end=end,
        shard=shard,
    )
    return choose(sources, selection, stdin=sys.stdin.buffer, warn=_say)


def _attach(entries: list[Entry], files: list[Path]) -> list[Entry]:
    """The entries with the checksums of these files."""
    if not files:
        return entries
    from wgetpool.checksums import attach, read_checksums
    from wgetpool.words import count

    for file in files:
        entries, left = attach(entries, read_checksums(file))
        if left:
            _say(f"{file} has no checksum of {count(left, 'file')} of {len(entries):,} chosen")
    return entries


def _run(settings: Settings, entries: list[Entry], wishes: Wishes) -> int:
    from wgetpool.pool import Pool
    from wgetpool.report import make_reporter

    reporter = make_reporter(
        wishes,
        stdout=sys.stdout,
        stderr=sys.stderr,
        command=_command_again(sys.argv[1:]),
        directory=str(settings.directory),
    )
    _keep_to_ourselves()
    pool = None
    try:
        pool = Pool(settings, entries, reporter=reporter)
        # What has been loaded stays: the collector need not look at it again and again.
        gc.freeze()
        gc.enable()
        # Our threads run for microseconds: taking turns sooner only costs.
        sys.setswitchinterval(0.1)
        _on_signals_of_a_run(pool)
        finished = pool.run()
    except Exception as error:
        if isinstance(error, WgetpoolError | OSError):
            raise
        raise MachineError(_write_traceback(settings.directory)) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _on_signals(_exit_at_once)  # no child is left, but a last line may hang
        if pool is not None and pool.muted:
            _mute()
        try:
            reporter.close()
        except OSError:
            _mute()
    for number in SIGNALS:  # the code is known, and the first signal's
        signal.signal(number, signal.SIG_IGN)
    return finished.exit_code


def _keep_to_ourselves() -> None:
    """Descriptors that we were started with, a lock say, are not for a wget that may outlive us."""
    for descriptor in (int(path.name) for path in Path("/proc/self/fd").iterdir()):
        if descriptor > 2:
            with suppress(OSError):
                os.set_inheritable(descriptor, False)


def _command_again(words: list[str]) -> str:
    """This command line, for people to repeat; without URLs that may hold secrets."""
    if any(re.search(r"(?i)https?://([^/]*@|.*\?)", word) for word in words):
        return "the same command again"
    return shlex.join(["wgetpool", *words])


def _write_traceback(directory: Path) -> str:
    """Keeps the traceback of a bug where its finder can send it from; no traceback reaches the
    terminal.
    """
    import traceback

    path = directory / ".wgetpool" / "traceback.txt"
    try:
        path.write_text(traceback.format_exc())
        path.chmod(0o600)
    except OSError:
        return "This is a bug in wgetpool, and its traceback could not be written."
    return f"This is a bug in wgetpool. Please report it with {path}."


# ---------------------------------------------------------------- the way in and the way out


def _on_signals(handle: Callable[[int], None]) -> None:
    """Has the signals that end a run handled; one that is ignored (nohup) stays so."""

    def handler(number: int, _frame: FrameType | None) -> None:
        handle(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _on_signals_of_a_run(pool: Pool) -> None:
    """One that ends a run also winds a clock: the main thread may hang in a write that nobody
    takes, and would never hear of it.
    """

    def interrupt(number: int) -> None:
        pool.interrupt(number)
        signal.setitimer(signal.ITIMER_REAL, OUTPUT_PATIENCE, 1.0)

    def pause(number: int, _frame: FrameType | None) -> None:
        pool.interrupt(number)
        signal.setitimer(signal.ITIMER_REAL, PAUSE_PATIENCE)

    _on_signals(interrupt)
    signal.signal(signal.SIGALRM, lambda *_: pool.nudge())
    # A shell that stops writers in the background would stop us alone, and not our wgets.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:  # a shell without job control: ignored
        signal.signal(signal.SIGTSTP, pause)


def _exit_at_once(number: int) -> None:
    """Nothing is under way yet. An exception may be lost: while a module is imported, say."""
    os._exit(128 + number)


def _exit_in_order(number: int) -> None:
    raise SystemExit(128 + number)


def _say(message: str) -> None:
    with suppress(OSError):
        sys.stderr.write(f"wgetpool: {message}\n")


def _mute() -> None:
    """Nobody reads us any more: what is still to be written, at the interpreter's end too, goes
    nowhere.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _speak_plainly() -> None:
    """A name that is foreign to the locale ends no command: where names are UTF-8 it goes out as it
    is, byte for byte, and elsewhere escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        utf8 = stream.encoding.lower() in {"utf-8", "utf8"}
        stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")  # type: ignore[union-attr]


def _speak_names() -> None:
    """What programs read has names as the file system has them."""
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]


def run() -> int:  # noqa: PLR0911  an exit code each
    """Runs the command line; returns the exit code."""
    _on_signals(_exit_at_once)
    _speak_plainly()
    try:
        return app(standalone_mode=False) or ExitCode.WHOLE
    except SourceError as error:
        _say(str(error))
        return ExitCode.USAGE
    except MachineError as error:
        _say(str(error))
        return ExitCode.MACHINE
    except BrokenPipeError:
        # The reader went away (`| head`): nothing can be told any more, not even at the
        # interpreter's end.
        _mute()
        return ExitCode.FAILED
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        sentence = f"{error.strerror or error}{place}."
        if not place and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}:
            sentence = f"Standard output cannot be written: {sentence}"
        _say(sentence)
        return ExitCode.MACHINE
    except (typer.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT
    except Exception as error:
        if (told := getattr(error, "format_message", None)) is None:
            raise
        if words := told():
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "wgetpool"
            _say(f"{words} ({command} --help shows the options)")
        return ExitCode.USAGE
