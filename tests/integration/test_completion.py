"""Completion in real shells: what is typed, a TAB, and what the program is then called with."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.runner import PROGRAM, Sandbox, wait_until
from support.terminal import Terminal

from wgetpool.ledger import Ledger

pytest_plugins = ["support.fixtures"]

SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "--interactive"],
}
LOADED = {
    "bash": "source {}",
    "zsh": "autoload -Uz compinit; compinit -u -D; source {}",
    "fish": "source {}",
}
# Asked for completion it is the program; else it keeps the words that it is called with.
STAND_IN = """
if [ -n "$_WGETPOOL_COMPLETE" ]; then exec {program} "$@"; fi
{python} -c 'import json, sys; json.dump(sys.argv[2:], open(sys.argv[1] + ".new", "w"))' {got} "$@"
mv {got}.new {got}
"""


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}")
    return name


@pytest.fixture
def world(box: Sandbox) -> Sandbox:
    """A working directory with a run's folder in it, other folders, and files."""
    state = box.cwd / "store 'n $1'" / ".wgetpool"
    state.mkdir(parents=True)
    ledger = Ledger(state / "ledger.sqlite3")
    ledger.expect(
        (name, 1) for name in ("sa_000001.tar", "other file ü.tar", "sub dir/it's $5.tar")
    )
    ledger.close()
    for folder in ("stuff", "my data", "über"):
        (box.cwd / folder).mkdir()
    for name in ("links.txt", "a list $x.txt"):
        (box.cwd / name).write_text("")
    python = sys.executable
    text = STAND_IN.format(program=" ".join(PROGRAM), python=python, got=box.root / "got")
    box.env["PATH"] = f"{box.script('bin/wgetpool', text).parent}:/usr/bin:/bin"
    return box


def script_for(world: Sandbox, shell: str) -> Path:
    """The completion script, as the shell itself gets it."""
    world.env["SHELL"] = f"/bin/{shell}"
    command = f"{' '.join(PROGRAM)} --show-completion; true"
    with world.launch([shell, "-c", command]) as run:
        text = run.finish().stdout
    path = world.root / f"completion.{shell}"
    path.write_text(text)
    return path


def words_after(world: Sandbox, shell: str, typed: str) -> list[str]:
    """The words that the program gets when this is typed, with TABs in it."""
    got = world.root / "got"
    with Terminal(world, *SHELLS[shell]) as terminal:
        ready = world.root / "ready"
        loaded = LOADED[shell].format(script_for(world, shell))
        terminal.type(f"{loaded}; touch {ready}\n")
        wait_until(ready.exists, 10, terminal.text)
        terminal.type(f"{typed}\n")
        wait_until(got.exists, 10, f"{typed!r} in {shell}")
    words: list[str] = json.loads(got.read_text())
    return [word.rstrip("/") for word in words]


CASES: list[tuple[str, list[str]]] = [
    ("sta\t", ["status"]),
    ("get --work\t3", ["get", "--workers", "3"]),
    ("get -o my\t", ["get", "-o", "my data"]),
    ("get --output=my\t", ["get", "--output=my data"]),
    ("get -o üb\t", ["get", "-o", "über"]),
    ("get li\t", ["get", "links.txt"]),
    ("get a\\ l\t", ["get", "a list $x.txt"]),
    ("get --select-from=li\t", ["get", "--select-from=links.txt"]),
    ("list links.txt --order n\t", ["list", "links.txt", "--order", "name"]),
    ("list --order=n\t", ["list", "--order=name"]),
    ("status st\t", ["status", "store 'n $1'"]),
    ("verify my\t", ["verify", "my data"]),
    ("status st\t sa\t", ["status", "store 'n $1'", "sa_000001.tar"]),
    ("status st\t oth\t", ["status", "store 'n $1'", "other file ü.tar"]),
    ("status st\t sub\t", ["status", "store 'n $1'", "sub dir/it's $5.tar"]),
    ("status st\t --names f\t", ["status", "store 'n $1'", "--names", "failed"]),
    ("get --wget-option inet4\ton", ["get", "--wget-option", "inet4_only=on"]),
    ("get --wget-option=ciph\tA", ["get", "--wget-option=ciphers=A"]),
]


@pytest.mark.parametrize(("typed", "words"), CASES, ids=[case[0] for case in CASES])
def test_a_tab_completes(world: Sandbox, shell: str, typed: str, words: Sequence[str]) -> None:
    """Commands, options, their words, files, folders, folders of runs, names of files."""
    assert words_after(world, shell, f"wgetpool {typed}") == words
