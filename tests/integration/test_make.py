"""The Makefile's targets call wgetpool with the user's words, and say what is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BY_NAME = ["--select", "sa_[0-9]*.tar", "--order", "name"]


@pytest.fixture
def fake_bin(tmp_path: Path) -> Path:
    """A folder like .venv/bin, in which wgetpool writes down its arguments and fails."""
    folder = tmp_path / "fake bin"
    folder.mkdir()
    fake = folder / "wgetpool"
    fake.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done\nexit 3\n')
    fake.chmod(0o755)
    (folder / "python").symlink_to(sys.executable)
    return folder


def make(
    folder: Path, *words: str, env: Mapping[str, str] | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a target in another folder than the checkout, without its set-up."""
    for name in ("Makefile", "scripts"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    inherited = os.environ.items()
    outside = {name: value for name, value in inherited if not re.search("MAKE|WGETPOOL", name)}
    settings = [f"{name}={value}" for name, value in variables.items()]
    return subprocess.run(
        ["make", "--silent", *words, "SETUP=:", *settings],
        cwd=folder,
        env={**outside, "LC_ALL": "C", **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_is_the_default_and_lists_every_target(tmp_path: Path) -> None:
    """One line for each target that a user may call."""
    listed = make(tmp_path).stdout

    targets = [
        *(
            "subset",
            "quick",
            "all-tars",
            "resume",
            "status",
            "stop",
            "verify",
            "install",
            "format",
            "lint",
            "types",
        ),
        *("check-format", "check", "test", "test-unit", "build", "clean", "help"),
    ]
    assert [target for target in targets if f"\n  {target} " not in listed] == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["subset"], ["-j", "4", "--end", "50"]),
        (["subset", "N=3", "WORKERS=9"], ["-j", "9", "--end", "3"]),
        (["quick"], ["-j", "2", "--end", "10"]),
        (["all-tars"], ["-j", "8"]),
        (["resume", "START=500"], ["-j", "4", "--start", "500"]),
        (
            ["all-tars", "WGETPOOL_ARGS=--tries 2 --header 'A: b'"],
            ["-j", "8", "--tries", "2", "--header", "A: b"],
        ),
    ],
)
def test_a_target_fetches_by_name(
    tmp_path: Path, fake_bin: Path, words: list[str], expected: list[str]
) -> None:
    """What is typed reaches wgetpool as typed, blanks and quotes and all."""
    links, out = "my 'own' $links#1.txt", 'an "out" dir'
    (tmp_path / "bin").symlink_to(fake_bin)

    run = make(tmp_path, *words, BIN="bin", LINKS=links, OUT=out)

    assert run.stdout.splitlines() == ["get", links, "-o", out, *BY_NAME, *expected]
    assert run.returncode == 2
    assert "Error 3" in run.stderr


def test_verify_reads_a_folder_again(tmp_path: Path, fake_bin: Path) -> None:
    """The one that is named, and with the options that are given."""
    (tmp_path / "bin").symlink_to(fake_bin)

    run = make(tmp_path, "verify", "BIN=bin", "OUT=a 'b'", "WGETPOOL_ARGS=--fix")

    assert run.stdout.splitlines() == ["verify", "a 'b'", "--fix"]


def test_stop_ends_what_works_on_a_folder(tmp_path: Path, fake_bin: Path) -> None:
    """The one that is named."""
    (tmp_path / "bin").symlink_to(fake_bin)

    run = make(tmp_path, "stop", "BIN=bin", "OUT=a 'b'")

    assert run.stdout.splitlines() == ["stop", "a 'b'"]


def test_a_job_script_says_once_where_to_and_how_many(tmp_path: Path, fake_bin: Path) -> None:
    """The variables of wgetpool's own options; what is typed counts more."""
    (tmp_path / "bin").symlink_to(fake_bin)
    env = {"WGETPOOL_OUTPUT": "an 'out' $dir", "WGETPOOL_WORKERS": "7"}

    plain = make(tmp_path, "subset", "BIN=bin", "LINKS=l", env=env)
    typed = make(tmp_path, "subset", "BIN=bin", "LINKS=l", "OUT=o", "WORKERS=2", env=env)

    assert plain.stdout.splitlines()[1:4] == ["l", "-o", "an 'out' $dir"]
    assert plain.stdout.splitlines()[-4:] == ["-j", "7", "--end", "50"]
    assert typed.stdout.splitlines()[2:4] == ["-o", "o"]
    assert typed.stdout.splitlines()[-4:-2] == ["-j", "2"]


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["all-tars", "OUT=x"], "LINKS"),
        (["all-tars", "LINKS=x"], "OUT"),
        (["resume", "OUT=x", "START=1"], "LINKS"),
        (["resume", "LINKS=x", "OUT=x"], "START"),
        (["subset", "LINKS=x"], "OUT"),
        (["quick", "LINKS=x"], "OUT"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, words: list[str], missing: str) -> None:
    """One sentence, and nothing is done."""
    run = make(tmp_path, *words)

    assert run.returncode == 2
    assert run.stderr.startswith(f"{missing} is missing: ")
    assert run.stdout == ""


@pytest.mark.parametrize(("target", "end"), [("subset", "50"), ("quick", "10")])
def test_without_links_the_sample_mirror_serves(
    tmp_path: Path, fake_bin: Path, target: str, end: str
) -> None:
    """It says so, and runs the same command on the mirror's list."""
    (tmp_path / "bin").symlink_to(fake_bin)

    run = make(tmp_path, target, BIN="bin")

    words = run.stdout.splitlines()
    assert words[:4] == ["get", "sample-links.txt", "-o", "sample-subset"]
    assert words[-1] == end
    assert "No LINKS given: fetching from a sample mirror" in run.stderr
    assert (tmp_path / "sample-links.txt").read_text().count("\n") == 52


def test_clean_never_touches_downloads(tmp_path: Path) -> None:
    """Only what make made goes."""
    kept = [tmp_path / name for name in ("sample-subset/sa_000000.tar", "sa_000001.tar.part")]
    made = [tmp_path / name for name in (".venv/x", "dist/x", "sample-links.txt")]
    for file in (*kept, *made):
        file.parent.mkdir(exist_ok=True)
        file.touch()

    make(tmp_path, "clean")

    assert [file.exists() for file in (*kept, *made)] == [True, True, False, False, False]


# ---------------------------------------------------------------- setup.sh


def set_up(
    folder: Path, path: Path, *needs: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run setup.sh of a copied checkout with a PATH of its own."""
    (folder / "scripts").mkdir()
    script = folder / "scripts" / "setup.sh"
    script.write_bytes((ROOT / "scripts" / "setup.sh").read_bytes())
    (folder / "pyproject.toml").touch()
    for name in ("dirname", "grep", "cksum", "cat", "basename", "sleep", "rm", "chmod", "mktemp"):
        (path / name).symlink_to(
            f"/usr/bin/{name}" if Path(f"/usr/bin/{name}").exists() else f"/bin/{name}"
        )
    return subprocess.run(
        ["/bin/sh", script, *needs],
        env={"PATH": str(path), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def put(path: Path, name: str, text: str) -> None:
    path.mkdir(exist_ok=True)
    (path / name).write_text(f"#!/bin/sh\n{text}\n")
    (path / name).chmod(0o755)


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt-get", "sudo apt-get install -y --no-install-recommends wget ca-certificates nginx"),
        ("dnf", "sudo dnf install -y wget1 nginx"),
        ("apk", "sudo apk add wget nginx"),
        ("pacman", "sudo pacman -S --noconfirm --needed wget nginx"),
        ("zypper", "sudo zypper --non-interactive install wget nginx"),
        ("brew", "brew install wget nginx"),
    ],
)
def test_a_user_is_told_the_one_command(tmp_path: Path, manager: str, command: str) -> None:
    """Whoever is not root installs by hand."""
    path = tmp_path / "path"
    put(path, "id", "echo 1000")
    put(path, manager, "exit 0")
    put(path, "wget", "echo 'BusyBox v1.36'")

    run = set_up(tmp_path, path, "wget", "nginx")

    assert run.returncode == 2
    assert run.stderr == f"setup: missing: wget nginx. This installs it: {command}\n"


def test_root_installs_and_says_so(tmp_path: Path) -> None:
    """The package lists first, then the packages; then it looks again."""
    path = tmp_path / "path"
    log = tmp_path / "log"
    put(path, "id", "echo 0")
    put(path, "apk", f'echo "$*" >>{log}; /bin/ln -s real-wget {path}/wget')
    put(path, "real-wget", "echo 'GNU Wget 1.21.3 built on linux-gnu.'")

    run = set_up(tmp_path, path, "wget")

    assert run.returncode == 0
    assert run.stderr == "setup: missing: wget. Installing it: apk add wget\n"
    assert log.read_text() == "add wget\n"


def test_an_old_python_is_named(tmp_path: Path) -> None:
    """Where there is no other, one sentence says which is needed."""
    path = tmp_path / "path"
    put(path, "python3", '[ "$1" = --version ] && echo "Python 3.8.1" || exit 1')

    run = set_up(tmp_path, path, "venv")

    assert run.returncode == 2
    assert run.stderr == (
        "setup: wgetpool needs Python 3.11 or later, and python3 is Python 3.8.1"
        " (PYTHON=... names another).\n"
    )


def test_a_newer_python_beside_an_old_one_is_found(tmp_path: Path) -> None:
    """`python3` may be old where `python3.12` is there; without venv, its own package is named."""
    path = tmp_path / "path"
    put(path, "python3", "exit 1")
    put(path, "python3.12", 'case "$2" in *ensurepip*) exit 1 ;; esac')
    put(path, "id", "echo 1000")
    put(path, "apt-get", "exit 0")

    run = set_up(tmp_path, path, "venv")

    assert run.stderr.endswith("sudo apt-get install -y --no-install-recommends python3.12-venv\n")


def test_a_ready_venv_is_left_alone(tmp_path: Path) -> None:
    """It is made once, and made anew when pyproject.toml or the folder's place has changed."""
    path = tmp_path / "path"
    put(path, "python3", "exit 0")
    put(path, "id", "echo 1000")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    put(tmp_path / ".venv" / "bin", "python", "exit 0")
    checksum = subprocess.run(["cksum"], input=b"", capture_output=True, check=True).stdout.decode()
    (tmp_path / ".venv" / "venv.stamp").write_text(f"{tmp_path}\n{checksum}")

    run = set_up(tmp_path, path, "venv")

    assert (run.returncode, run.stderr) == (0, "")
