"""What may stand next on a command line, and how each shell is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer.main

from wgetpool import cli, completion
from wgetpool.completion import SCRIPTS, answer, reply
from wgetpool.ledger import Ledger

PROGRAM: Any = typer.main.get_command(cli.app)


def values(*words: str) -> list[str]:
    return [value for value, _ in answer(PROGRAM, words).values]


def kind(*words: str) -> str:
    return answer(PROGRAM, words).kind


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a run's folder and another."""
    monkeypatch.chdir(tmp_path)
    state = tmp_path / "runs" / "one a" / ".wgetpool"
    state.mkdir(parents=True)
    (tmp_path / "other").mkdir()
    ledger = Ledger(state / "ledger.sqlite3")
    ledger.expect((f"sub dir/{n:03}.tar", None) for n in range(400))
    ledger.expect([("it's $5.tar", None)])
    ledger.close()
    return tmp_path


def test_commands_come_first() -> None:
    """With what they do."""
    assert values("") == list(PROGRAM.commands)
    assert values("st") == ["status", "stop"]
    assert all(text for _, text in answer(PROGRAM, ["st"]).values)


def test_options_come_behind_a_dash() -> None:
    """Those of the command, and those that are there only where they may be there again."""
    assert values("get", "--s") == [
        *("--select", "--select-from", "--start", "--shard", "--skip-gone", "--stall-timeout"),
    ]
    assert "--workers" not in values("get", "-j", "3", "-")
    assert "--select" in values("get", "--select", "a", "--")
    assert values("get", "--no") == ["--no-hash", "--no-lock"]
    assert values("--he") == values("stop", "--he") == ["--help"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["get", ""], "files"),
        (["get", "a.txt", "b"], "files"),
        (["get", "-o", ""], "folders"),
        (["get", "--output=x"], "folders"),
        (["get", "-q", "-o", "x"], "folders"),
        (["get", "--select-from", ""], "files"),
        (["get", "--checksums", ""], "files"),
        (["get", "--wget", ""], "files"),
        (["get", "--", "-x"], "files"),
    ],
    ids=" ".join,
)
def test_files_and_folders_are_left_to_the_shell(words: list[str], expected: str) -> None:
    """It knows how to quote them."""
    assert kind(*words) == expected


@pytest.mark.parametrize(
    "words",
    [
        ["get", "--shard", ""],
        ["get", "-j", ""],
        ["get", "--timeout="],
        ["get", "--nonsense"],
        ["nonsense", ""],
        ["stop", "x", ""],
        ["list", "--order", "x"],
    ],
    ids=" ".join,
)
def test_where_nothing_can_be_told_nothing_is(words: list[str]) -> None:
    """No file is offered for a number."""
    assert (kind(*words), values(*words)) == ("words", [])


def test_words_of_a_choice_are_offered() -> None:
    """--order, and --names of status."""
    assert values("list", "--order", "") == ["list", "name"]
    assert values("status", "d", "--names=") == ["done", "failed", "pending"]


def test_settings_of_wgets_own_are_offered() -> None:
    """With the = that their value comes behind."""
    assert values("get", "--wget-option", "inet") == ["inet4_only=", "inet6_only="]
    assert values("get", "--wget-option=ciph") == ["ciphers="]
    assert values("get", "--wget-option", "ciphers=") == ["ciphers="]


@pytest.mark.parametrize("command", ["status", "verify", "stop"])
def test_folders_of_runs_come_before_others(here: Path, command: str) -> None:
    """Where none begins so, all folders do; the home folder may be written as ~."""
    assert values(command, "runs/") == ["runs/one a"]
    assert kind(command, "o") == "folders"
    assert kind(command, "nowhere/") == "folders"
    assert kind(command, "~nobody-at-all/") == "folders"


def test_a_home_is_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And stays as it is typed."""
    monkeypatch.setenv("HOME", str(here))

    assert values("stop", "~/runs/o") == ["~/runs/one a"]


def test_names_come_from_the_ledger(here: Path) -> None:
    """Some hundred at most, and as many as one wants."""
    assert values("status", "runs/one a", "it") == ["it's $5.tar"]
    assert values("status", "runs/one a", "it's $5.tar", "sub dir/01") == [
        f"sub dir/{n:03}.tar" for n in range(10, 20)
    ]
    assert len(values("status", "runs/one a", "")) == completion.MOST


@pytest.mark.parametrize("trouble", ["none", "broken", "folder"])
def test_without_a_readable_ledger_nothing_is_said(here: Path, trouble: str) -> None:
    """None, one of nonsense, something else of its name."""
    ledger = here / "runs/one a/.wgetpool/ledger.sqlite3"
    ledger.unlink()
    if trouble == "broken":
        ledger.write_bytes(b"nonsense" * 1000)
    elif trouble == "folder":
        ledger.mkdir()

    assert values("status", "runs/one a", "") == []


# ---------------------------------------------------------------- the shells


def bash(line: str, part: str) -> list[str]:
    return list(reply(PROGRAM, "bash", [line, part]))


def test_bash_gets_words_as_it_reads_them(here: Path) -> None:
    """Behind a quote that is open, and without what it has of the word already."""
    line = "wgetpool status runs/one\\ a "

    assert bash(line, "")[1] == r"it\'s\ \$5.tar"
    assert bash(line + "'it", "it") == ["paths", r"it'\''s $5.tar"]
    assert bash(line + '"it', "it") == ["paths", r"it's \$5.tar"]
    assert bash(line + "--names=f", "f") == ["words", "failed"]
    assert bash("wgetpool status runs/one\\", "runs/one\\") == ["paths", r"runs/one\ a"]


@pytest.mark.parametrize("quote", ["$'", '$"'])
def test_quotes_that_are_read_otherwise_get_no_answer(here: Path, quote: str) -> None:
    """What is offered could end them, and the rest of a name would be run."""
    assert list(reply(PROGRAM, "bash", [f"wgetpool status 'runs/one a' {quote}", ""])) == []


def test_zsh_and_fish_get_what_a_word_does(here: Path) -> None:
    """A colon and a TAB stand before it; paths come as they are."""
    assert list(reply(PROGRAM, "zsh", ["stop"])) == [
        "words",
        "stop:End what works on DIR, in order.",
    ]
    assert list(reply(PROGRAM, "fish", ["sto"])) == [
        "words",
        "stop\tEnd what works on DIR, in order.",
    ]
    assert list(reply(PROGRAM, "fish", ["'it", "status", "runs/one a"])) == ["paths", "it's $5.tar"]
    assert list(reply(PROGRAM, "fish", ["", "list", "--order"])) == ["words", "list\t", "name\t"]


@pytest.mark.parametrize(("shell", "words"), [("bash", []), ("tcsh", [""]), ("complete_bash", [])])
def test_who_asks_otherwise_is_told_nothing(shell: str, words: list[str]) -> None:
    """An older script, another shell."""
    assert list(reply(PROGRAM, shell, words)) == []


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_is_installed_once(tmp_path: Path, shell: str) -> None:
    """Again it changes nothing more, and what a start file had stays."""
    start = tmp_path / completion.LOADING.get(shell, ("unused",))[0]
    start.write_text("alias x=y")

    first = list(completion.install(shell, tmp_path))
    before = start.read_text()
    again = list(completion.install(shell, tmp_path))

    assert str(tmp_path / completion.PLACES[shell]) in first[0]
    assert (tmp_path / completion.PLACES[shell]).read_text() == SCRIPTS[shell]
    assert start.read_text() == before
    assert before.startswith("alias x=y")
    assert len(first) == (3 if shell in completion.LOADING else 2)
    assert len(again) == 2
