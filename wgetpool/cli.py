"""The command line: words -> settings, result -> exit code. No logic.

What needs a heavy import is imported by the command that uses it.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wgetpool import __version__, options
from wgetpool.errors import ExitCode, MachineError, SourceError
from wgetpool.foreground import exit_at_once, exit_in_order, mute, on_signals, run_pool, say
from wgetpool.options import Command, Program, examples, exclusive, option

if TYPE_CHECKING:
    from wgetpool.model import Entry

app = typer.Typer(
    cls=Program,
    help="Fetches long lists of files with wget, N at a time, and never shows half a file.",
    epilog=examples("""
Examples:
  wgetpool get links.txt -o data -j 8
  wgetpool status data

Each option can also be set in the environment:
  export WGETPOOL_STALL_TIMEOUT=5m   # --stall-timeout 5m
"""),
    no_args_is_help=True,
    add_completion=False,  # ours keeps names with blanks whole
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


# ---------------------------------------------------------------- commands


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"wgetpool {__version__}")
        raise typer.Exit


def _show_completion(value: bool) -> None:
    if value:
        from wgetpool import completion

        typer.echo(completion.SCRIPTS[_shell()].rstrip("\n"))
        raise typer.Exit


def _install_completion(value: bool) -> None:
    if value:
        from wgetpool import completion

        for told in completion.install(_shell(), Path.home()):
            typer.echo(told)
        raise typer.Exit


def _shell() -> str:
    from wgetpool import completion

    shell = completion.current_shell()
    if shell is None:
        raise typer.BadParameter("Completion is there for bash, zsh and fish: start it from one")
    return shell


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        option(
            "--version", "Show the version.", callback=_print_version, is_eager=True, envvar=None
        ),
    ] = False,
    install_completion: Annotated[
        bool,
        option(
            "--install-completion",
            "Have your shell (bash, zsh, fish) complete options, folders and names.",
            callback=_install_completion,
            is_eager=True,
            envvar=None,
        ),
    ] = False,
    show_completion: Annotated[
        bool,
        option(
            "--show-completion",
            "Print what would be installed.",
            callback=_show_completion,
            is_eager=True,
            envvar=None,
        ),
    ] = False,
) -> None:
    pass


@app.command(
    cls=Command,
    short_help="Fetch every file that the sources name into DIR.",
    epilog=examples("""
Examples:
# a list, 8 files at a time
wgetpool get links.txt -o data -j 8
# 50 tars of a shuffled list, the same ones every time
wgetpool get links.txt -o data --select 'sa_[0-9]*.tar' \\
    --order name --end 50
# one link: in quotes, or the shell cuts it at its first &
wgetpool get 'https://example.org/a.tar?x=1&y=2' -o data
# from a script: failures and the summary only
wgetpool get links.txt -o data --quiet
"""),
)
def get(
    *,
    ctx: typer.Context,
    sources: options.Sources,
    output: options.Output,
    workers: options.Workers = 4,
    dry_run: options.DryRun = False,
    select: options.Select = [],  # noqa: B006
    select_from: options.SelectFrom = None,
    exclude: options.Exclude = [],  # noqa: B006
    order: options.Order = "list",
    start: options.Start = None,
    end: options.End = None,
    shard: options.Shard = None,
    skip_gone: options.SkipGone = False,
    tries: options.Tries = 5,
    backoff: options.Backoff = "5s",
    backoff_max: options.BackoffMax = "5m",
    retry_status: options.RetryStatus = None,
    wait_for_links: options.WaitForLinks = "0",
    timeout: options.Timeout = "60s",
    stall_timeout: options.StallTimeout = "2m",
    min_rate: options.MinRate = "1k",
    attempt_timeout: options.AttemptTimeout = "0",
    per_host: options.PerHost = "0",
    limit_rate: options.LimitRate = "0",
    min_free: options.MinFree = "1G",
    force: options.Force = False,
    header: options.Headers = [],  # noqa: B006
    user_agent: options.UserAgent = None,
    cookies: options.Cookies = None,
    netrc: options.Netrc = False,
    wget_option: options.WgetOptions = [],  # noqa: B006
    checksums: options.Checksums = [],  # noqa: B006
    check_archives: options.CheckArchives = False,
    hash_: options.Hash = True,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    progress_interval: options.ProgressInterval = "60s",
    wget: options.Wget = None,
    lock: options.Lock = True,
    remote_time: options.RemoteTime = False,
) -> int:
    """Fetch every file that the sources name into DIR; the same command again goes on where it
    was.
    """
    # The run's as well: later, an exception by a signal could be lost in an import.
    from wgetpool import pool, process  # noqa: F401
    from wgetpool.access import check_cookies, read_access
    from wgetpool.model import Checks, Limits, Manners, RetryPolicy, Settings, Wishes
    from wgetpool.relist import LinksFiles
    from wgetpool.wget import find_wget

    quiet, verbose = exclusive(ctx, "quiet", "verbose")
    on_signals(exit_in_order)  # a child is asked for its version
    program = find_wget(wget, output_of=process.output_of)
    # Before the sources: words of a header without quotes seem to be some.
    access = read_access(
        program,
        headers=header,
        user_agent=user_agent,
        cookies=cookies,
        netrc=netrc,
        options=wget_option,
        warn=say,
    )
    on_signals(exit_at_once)
    relister = LinksFiles(sources)
    entries = _choose(sources, select, select_from, exclude, order, start, end, shard)
    check_cookies(access, (entry.url.host for entry in entries), say)
    entries = _attach(entries, checksums)
    relister.watch(entries)
    settings = Settings(
        directory=output.absolute(),
        wget=program,
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
        access=access,
        manners=Manners(per_host=per_host, limit_rate=limit_rate, min_free=min_free, force=force),
        locking=lock,
        remote_time=remote_time,
        skip_gone=skip_gone,
        wait_for_links=wait_for_links,
    )
    if dry_run:
        from wgetpool.plan import print_plan

        return print_plan(settings, entries, json=json, out=sys.stdout)
    wishes = Wishes(json=json, quiet=bool(quiet), verbose=bool(verbose), interval=progress_interval)
    source = ctx.get_parameter_source("wait_for_links")  # other commands share the environment
    is_typed = source is not None and source.name == "COMMANDLINE"
    if wait_for_links and is_typed and not relister.names:
        raise typer.BadParameter("--wait-for-links needs a links file that can be replaced")
    return run_pool(settings, entries, wishes, relister=relister)


@app.command(
    "list",
    cls=Command,
    epilog=examples("""
Examples:
# what a paper can cite, and --select-from takes back
wgetpool list links.txt --order name --end 50 > first.txt
wgetpool get links.txt -o data --select-from first.txt
"""),
)
def list_(
    *,
    sources: options.Sources,
    select: options.Select = [],  # noqa: B006
    select_from: options.SelectFrom = None,
    exclude: options.Exclude = [],  # noqa: B006
    order: options.Order = "list",
    start: options.Start = None,
    end: options.End = None,
    shard: options.Shard = None,
) -> int:
    """Print the chosen names, one a line, as --select-from takes them."""
    entries = _choose(sources, select, select_from, exclude, order, start, end, shard)
    _speak_names()
    sys.stdout.writelines(f"{entry.name}\n" for entry in entries)
    return ExitCode.WHOLE


@app.command(
    cls=Command,
    short_help="Show how far DIR is, or what became of a file.",
    epilog=examples("""
Examples:
# how far it is, from any terminal
wgetpool status data
# what became of one file, and why
wgetpool status data sa_000007.tar
# what failed, once more
wgetpool status data --names failed > failed.txt
wgetpool get links.txt -o data --select-from failed.txt
"""),
)
def status(
    *,
    ctx: typer.Context,
    directory: options.Directory,
    files: options.Names = None,
    names: options.NamesOf = None,
    checksums: options.PrintChecksums = False,
    json: options.JsonObject = False,
) -> int:
    """Show how far DIR is: done, begun, failed and why; of a NAME its whole story. Exit code 0 when
    all that was asked for is whole.
    """
    from wgetpool.status import print_checksums, print_status

    names, checksums, json = exclusive(ctx, "names", "checksums", "json")
    files, names, checksums = exclusive(ctx, "files", "names", "checksums")
    if names or checksums:
        _speak_names()
    if checksums:
        return print_checksums(directory.absolute(), out=sys.stdout, warn=say)
    return print_status(
        directory.absolute(), only=files or [], names=names, json=bool(json), out=sys.stdout
    )


@app.command(
    cls=Command,
    short_help="Read every finished file again.",
    epilog=examples("""
Examples:
# is all as it was fetched?
wgetpool verify data
# have what is bad fetched again
wgetpool verify data --fix
wgetpool get links.txt -o data
"""),
)
def verify(
    *,
    directory: options.Directory,
    workers: options.ReadWorkers = None,
    fix: options.Fix = False,
    json: options.JsonObject = False,
) -> int:
    """Read every finished file again and hold it against the ledger. Exit code 1 where one
    differs or is missing.
    """
    from wgetpool.verify import verify_directory

    on_signals(exit_in_order)
    return verify_directory(
        directory.absolute(),
        workers=workers or min(8, os.cpu_count() or 1),
        fix=fix,
        json=json,
        out=sys.stdout,
        err=sys.stderr,
    )


@app.command(
    cls=Command,
    short_help="End what works on DIR, in order.",
    epilog=examples("""
Examples:
# from any terminal; the parts stay for the next get
wgetpool stop data
"""),
)
def stop(*, directory: options.Directory) -> int:
    """End the run on DIR in order, from any terminal, and wgets that a killed run left behind.
    Exit code 0 when nothing runs any more.
    """
    from wgetpool.stop import stop_directory

    on_signals(exit_in_order)
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
    return choose(sources, selection, stdin=sys.stdin.buffer, warn=say)


def _attach(entries: list[Entry], files: list[Path]) -> list[Entry]:
    """The entries with the checksums of these files."""
    if not files:
        return entries
    from wgetpool.checksums import attach, read_checksums
    from wgetpool.words import count

    for file in files:
        entries, left = attach(entries, read_checksums(file))
        if left:
            say(f"{file} has no checksum of {count(left, 'file')} of {len(entries):,} chosen")
    return entries


# ---------------------------------------------------------------- the way in and the way out


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
    on_signals(exit_at_once)
    _speak_plainly()
    if shell := os.environ.get("_WGETPOOL_COMPLETE"):
        return _complete(shell)
    try:
        return app(standalone_mode=False) or ExitCode.WHOLE
    except SourceError as error:
        say(str(error))
        return ExitCode.USAGE
    except MachineError as error:
        say(str(error))
        return ExitCode.MACHINE
    except BrokenPipeError:
        # The reader went away (`| head`): nothing can be told any more, not even at the
        # interpreter's end.
        mute()
        return ExitCode.FAILED
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        sentence = f"{error.strerror or error}{place}."
        if not place and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}:
            sentence = f"Standard output cannot be written: {sentence}"
        say(sentence)
        return ExitCode.MACHINE
    except (typer.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        from wgetpool.mistakes import explain

        if sentence := explain(error, typer.main.get_command(app), sys.argv[1:]):
            say(sentence)
        return ExitCode.USAGE


def _complete(shell: str) -> int:
    """Answers a shell's question for what may stand next."""
    from wgetpool.completion import reply

    _speak_names()
    with suppress(OSError):
        for line in reply(typer.main.get_command(app), shell, sys.argv[1:]):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return ExitCode.WHOLE
