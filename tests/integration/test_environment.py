"""Options from the environment, in real runs; and completion that is installed in a home."""

from __future__ import annotations

import json
import shutil
import time

import pytest
from support.faultserver import FaultServer, file, status
from support.runner import PROGRAM, Sandbox, random_bytes, sha256

pytest_plugins = ["support.fixtures"]

DATA = random_bytes(2000)


def test_a_job_script_sets_it_once(box: Sandbox, server: FaultServer) -> None:
    """Where to, how many, which, how told: a command of two words is left."""
    names = ["a.tar", "b c.tar", "d.tar"]
    rows = {name: server.serve(f"/{n}", file(DATA)).url for n, name in enumerate(names)}
    box.env |= {
        "WGETPOOL_OUTPUT": str(box.dir),
        "WGETPOOL_WORKERS": "2",
        "WGETPOOL_SELECT": "a.* 'b c*'",
        "WGETPOOL_JSON": "1",
        "WGETPOOL_HASH": "no",
    }

    result = box.run("get", box.table(rows))

    assert result.only("run_started")["workers"] == 2
    assert sorted(box.files()) == ["a.tar", "b c.tar"]
    assert box.run("status", box.dir).stdout.startswith("{")
    assert json.loads(box.run("verify", box.dir).stdout)


def test_what_is_typed_counts_more(box: Sandbox, server: FaultServer) -> None:
    """Also a flag that excludes the variable's, and the other half of a pair."""
    url = server.serve("/a.tar", file(DATA)).url
    box.env |= {
        "WGETPOOL_OUTPUT": str(box.root / "elsewhere"),
        "WGETPOOL_WORKERS": "nonsense",
        "WGETPOOL_QUIET": "1",
        "WGETPOOL_HASH": "0",
        "WGETPOOL_JSON": "1",
    }

    result = box.run("get", url, "-o", box.dir, "-j", 1, "-v", "--hash", "--json")
    sums = box.run("status", box.dir, "--checksums")

    assert result.only("run_started")["workers"] == 1
    assert sums.stdout == f"{sha256(DATA)}  a.tar\n"
    assert not (box.root / "elsewhere").exists()


def test_an_empty_variable_is_none(box: Sandbox, server: FaultServer) -> None:
    """As the shell makes it of `WGETPOOL_WORKERS=$N`."""
    url = server.serve("/a.tar", file(DATA)).url
    for name in ("OUTPUT", "WORKERS", "QUIET", "HASH", "SELECT", "CHECKSUMS", "WGET", "TIMEOUT"):
        box.env[f"WGETPOOL_{name}"] = ""

    box.get(url)

    assert box.files() == {"a.tar": DATA}


def test_files_of_checksums_are_separated_as_in_a_shell(box: Sandbox, server: FaultServer) -> None:
    """By blanks, with quotes round a name that has some; a colon is no separator."""
    urls = [server.serve(f"/{name}", file(DATA)).url for name in ("a.tar", "b.tar")]
    first, second = box.root / "sums: one", box.root / "two"
    first.write_text(f"{sha256(DATA)}  a.tar\n")
    second.write_text(f"{sha256(DATA)}  b.tar\n")
    box.env["WGETPOOL_CHECKSUMS"] = f"'{first}' {second}"

    result = box.get(*urls)

    assert [event["proof"] for event in result.of("file_done")] == [["size", "sha256"]] * 2
    assert box.run("status", box.dir).code == 0


@pytest.mark.parametrize(
    ("variable", "value"), [("WORKERS", "0"), ("HASH", "maybe"), ("SELECT", "'a"), ("JSON", "x")]
)
def test_a_bad_variable_touches_nothing(box: Sandbox, variable: str, value: str) -> None:
    """Exit 2, one sentence that names it, and DIR is not made."""
    box.env[f"WGETPOOL_{variable}"] = value

    result = box.run("get", "http://127.0.0.1:1/a.tar", "-o", box.dir, expect=2)

    assert len(result.stderr.splitlines()) == 1
    assert f"WGETPOOL_{variable} " in result.stderr
    assert not box.dir.exists()


def test_wget_may_be_named_by_a_variable(box: Sandbox, server: FaultServer) -> None:
    """The one that is to be used, or what is wrong with it."""
    url = server.serve("/a.tar", file(DATA)).url
    box.env["WGETPOOL_WGET"] = str(box.script("bin/not-wget", "echo no"))

    result = box.run("get", url, "-o", box.dir, expect=3)

    assert "not-wget" in result.stderr


@pytest.mark.parametrize(
    ("options", "told"), [([], False), (["-v"], True), (["-q"], False)], ids=["", "-v", "-q"]
)
def test_a_user_chooses_how_much_is_told(
    box: Sandbox, server: FaultServer, options: list[str], told: bool
) -> None:
    """What is whole already is a line with --verbose only; --quiet leaves the summary."""
    url = server.serve("/a.tar", file(DATA)).url
    box.get(url)

    result = box.run("get", url, "-o", box.dir, *options)

    assert any(" a.tar" in line for line in result.lines) == told
    assert "1 of 1 file" in result.stdout


@pytest.mark.parametrize(("interval", "some"), [("0.2", True), ("0", False)])
def test_progress_comes_as_often_as_is_wanted(
    box: Sandbox, server: FaultServer, interval: str, some: bool
) -> None:
    """In JSON too; 0 is never."""
    url = server.serve("/a.tar", file(DATA).but(pace=(200, 0.1))).url

    result = box.get(url, "--progress-interval", interval)

    assert bool(result.of("progress")) == some


def test_what_excludes_itself_is_refused(box: Sandbox) -> None:
    """One sentence, exit 2."""
    result = box.run("get", "http://127.0.0.1:1/a", "-o", box.dir, "-q", "-v", expect=2)

    assert (
        result.stderr == "wgetpool: --quiet and --verbose exclude each other: give one of them.\n"
    )


def test_the_story_of_a_file_can_be_asked_for(box: Sandbox, server: FaultServer) -> None:
    """`status DIR NAME`, and a variable for the whole folder does not get in its way."""
    box.run("get", server.serve("/a.tar", status(404)).url, "-o", box.dir, expect=1)
    box.env["WGETPOOL_NAMES"] = "done"

    result = box.run("status", box.dir, "a.tar", expect=1)

    assert "a.tar" in result.stdout
    assert "404" in result.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_for_the_shell_that_asks(box: Sandbox, shell: str) -> None:
    """It says what it wrote; another time it says so again, and adds nothing."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    box.env["SHELL"] = "/bin/false"
    command = [shell, "-c", f"{' '.join(PROGRAM)} --install-completion; true"]

    with box.launch(command) as run:
        told = run.finish().stdout
    written = {path: path.read_bytes() for path in box.home.rglob("*") if path.is_file()}
    with box.launch(command) as run:
        run.finish()

    assert f"{shell} completion installed in {box.home}" in told
    ours = {path: data for path, data in written.items() if str(path) in told}
    assert ours
    assert {path: path.read_bytes() for path in ours} == ours
    assert any(b"_WGETPOOL_COMPLETE" in data for data in ours.values())


def test_completion_is_quick_and_silent(box: Sandbox) -> None:
    """Half a second at most; a folder that is none, a ledger of nonsense: not a word."""
    state = box.cwd / "bad/.wgetpool"
    state.mkdir(parents=True)
    (state / "ledger.sqlite3").write_bytes(b"nonsense" * 1000)
    box.env["_WGETPOOL_COMPLETE"] = "zsh"
    seconds = []
    for words in (["status", "bad", ""], ["status", "none", "x"], ["stop", "/root/x/"], ["g"]) * 2:
        began = time.monotonic()
        result = box.run(*words)
        seconds.append(time.monotonic() - began)
        assert result.stderr == ""
        assert len(result.lines) <= 2
    assert min(seconds) < 0.5
