"""What is said to a command line that is not understood: one sentence, and no secret in it."""

from __future__ import annotations

import os
import shlex
from typing import Any

import pytest
import typer.main

from wgetpool import cli
from wgetpool.mistakes import explain

PROGRAM: Any = typer.main.get_command(cli.app)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have some."""
    for name in [name for name in os.environ if name.startswith("WGETPOOL_")]:
        monkeypatch.delenv(name)


def told(line: str) -> str:
    words = shlex.split(line)
    with pytest.raises(Exception) as caught:  # noqa: PT011  its class differs from version to version
        PROGRAM.main(words, prog_name="wgetpool", standalone_mode=False)
    assert hasattr(caught.value, "format_message"), caught.value
    return explain(caught.value, PROGRAM, words)


MISTAKES = {
    "gte links.txt": "There is no command 'gte'. Did you mean get?",
    "stauts d": "There is no command 'stauts'. Did you mean status?",
    "xyz": "There is no command 'xyz'; wgetpool --help shows more.",
    "links.txt -o d": ("There is no command 'links.txt'. To fetch it: wgetpool get SOURCE -o DIR."),
    "get": (
        "Name a source: a link, a links file, or - for standard input;"
        " wgetpool get --help shows more."
    ),
    "get links.txt": ("Name the folder for the files with -o DIR; wgetpool get --help shows more."),
    "get 'https://h/a?x=1'": (
        "Name the folder for the files with -o DIR. In a shell a link needs quotes: it cuts an"
        " unquoted one at its first &, and runs the rest as other commands."
    ),
    "get 'https://h/a?x=1&y=2'": (
        "Name the folder for the files with -o DIR; wgetpool get --help shows more."
    ),
    "stop": "Name the folder of a run; wgetpool stop --help shows more.",
    "verify a b": (
        "wgetpool verify takes one DIR, and more was given; wgetpool verify --help shows more."
    ),
    "get x -o d --worker 3": "There is no option --worker. Did you mean --workers?",
    "get x -o d --worker=3": "There is no option --worker. Did you mean --workers?",
    "get x -o d -workers 3": "There is no option -workers. Did you mean --workers?",
    "get x -o d --quite": "There is no option --quite. Did you mean --quiet?",
    "get x -o d --zzz": "There is no option --zzz; wgetpool get --help shows more.",
    "get x -o d -Z": "There is no option -Z; wgetpool get --help shows more.",
    "-j 4 get x": "-j is an option of get and verify, and goes after that word.",
    "status d --select x": "--select is an option of get and list.",
    "get x -o": "-o takes a value: -o DIR.",
    "get x -o d --json=1": "--json takes no value.",
    "get x -o d -j 0": "--workers takes a whole number from 1 on, not '0'.",
    "get x -o d --tries 1.5": "--tries takes a whole number from 1 on, not '1.5'.",
    "get x -o d --end x": "--end takes a whole number, not 'x'.",
    "get x -o d --timeout abc": (
        "--timeout takes a duration, as 90, 90s, 0.5, 2m or 1h, not 'abc'."
    ),
    "get x -o d --progress-interval -1": (
        "--progress-interval takes a duration, as 90, 90s, 0.5, 2m or 1h, not '-1'."
    ),
    "get x -o d --min-rate fast": ("--min-rate takes bytes a second, as 500k or 20M, not 'fast'."),
    "get x -o d --wait-for-links 2weeks": (
        "--wait-for-links takes a duration, as 90s, 2m, 1h or 30d, or nothing (for ever),"
        " not '2weeks'."
    ),
    "get x -o d --shard 3/3": "--shard takes K/N with K from 0 to N-1, as 0/4, not '3/3'.",
    "get x -o d --order size": "--order takes list or name, not 'size'.",
    "get x -o d --retry-status 9": "--retry-status takes HTTP statuses, as 403,404, not '9'.",
    "status d --names bad": "--names takes done, failed or pending, not 'bad'.",
    "get x -o d -q -v": "--quiet and --verbose exclude each other: give one of them.",
    "status d --names done --json": "--names and --json exclude each other: give one of them.",
    "status d --checksums --json": ("--checksums and --json exclude each other: give one of them."),
    "status d a.tar --names done": "NAME and --names exclude each other: give one of them.",
    "status d a.tar --checksums": "NAME and --checksums exclude each other: give one of them.",
}


@pytest.mark.parametrize(("line", "sentence"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_is_told_in_one_sentence(line: str, sentence: str) -> None:
    """What is wrong, and what to write instead."""
    assert told(line) == sentence


@pytest.mark.parametrize(
    "line",
    [
        "'https://user:SECRET@h/a?sig=SECRET' -o d",
        "get x -o d -j 'https://user:SECRET@h/a?sig=SECRET'",
        "get 'https://user:SECRET@h/a?sig=SECRET'",
        "verify d 'https://h/a?sig=SECRET'",
        "get x -o d --order 'https://[h/a?sig=SECRET'",
    ],
)
def test_no_secret_of_a_link_is_repeated(line: str) -> None:
    """Wherever the link stands."""
    assert "SECRET" not in told(line)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("WORKERS", "many", "WGETPOOL_WORKERS takes a whole number from 1 on, not 'many'."),
        ("HASH", "maybe", "WGETPOOL_HASH takes 1 or 0, not 'maybe'."),
        ("QUIET", "x", "WGETPOOL_QUIET takes 1 or 0, not 'x'."),
        ("SELECT", "'a", "WGETPOOL_SELECT has a quote that nothing closes."),
        (
            "TIMEOUT",
            "1w",
            "WGETPOOL_TIMEOUT takes a duration, as 90, 90s, 0.5, 2m or 1h, not '1w'.",
        ),
    ],
)
def test_a_bad_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    """Not the option, which nobody typed."""
    monkeypatch.setenv(f"WGETPOOL_{variable}", value)

    assert told("get x -o d") == sentence


def test_variables_that_exclude_each_other_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing that is typed decides."""
    monkeypatch.setenv("WGETPOOL_QUIET", "1")
    monkeypatch.setenv("WGETPOOL_VERBOSE", "yes")

    assert told("get x -o d") == (
        "WGETPOOL_QUIET and WGETPOOL_VERBOSE exclude each other: give one of them."
    )


def test_help_that_was_shown_instead_needs_no_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """The program without a word."""
    assert told("") == ""
    assert "Commands" in capsys.readouterr().out
