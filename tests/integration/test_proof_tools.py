"""What GNU tar, zip and sha256sum write and read is what wgetpool checks and writes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.doubles import FlagDouble

from wgetpool import archive
from wgetpool.archive import State
from wgetpool.checksums import format_line, read_checksums

ODD_NAMES = ["a", " a b ", "a\\b", "a\nb", "cr\r", "*star", "#hash", "é", "\\", "x'\"$(y)"]


def run(*command: object, cwd: Path) -> None:
    """In the C locale; a message of it fails the test."""
    environment = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Folders, links, long names, and files with holes: few and many."""
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    (tree / "folder" / "a").write_bytes(os.urandom(5000))
    (tree / "empty").touch()
    (tree / "hard").hardlink_to(tree / "folder" / "a")
    (tree / "soft").symlink_to("folder/a")
    for name, holes in (("few", 2), ("many", 60)):
        with (tree / name).open("wb") as file:
            for hole in range(holes):
                file.seek(hole << 16)
                file.write(os.urandom(100))
            file.truncate(holes << 16)
    return tree


@pytest.mark.parametrize("sparse", [(), ("--sparse",), ("--sparse", "--sparse-version=0.0")])
@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "pax"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_tar_writes_is_whole(tree, tmp_path, form, sparse, packed):
    """In all its forms, long names where they can be; and cut it is broken."""
    if sparse and form in {"v7", "ustar"}:
        pytest.skip("these have no sparse files")
    if form not in {"v7", "ustar"}:
        (tree / ("n" * 200)).write_bytes(b"x")
        (tree / "long").symlink_to("m" * 150)
    made = tmp_path / "made"
    run("tar", f"--format={form}", *sparse, *["-z"] * packed, "-cf", made, "tree", cwd=tmp_path)

    verdict = archive.check(made, stop=FlagDouble())
    with made.open("r+b") as file:
        file.truncate(made.stat().st_size * 2 // 3)
    cut = archive.check(made, stop=FlagDouble())

    assert verdict == archive.Verdict(State.WHOLE)
    assert cut
    assert cut.state is State.BROKEN


@pytest.mark.skipif(not shutil.which("zip"), reason="there is no zip")
@pytest.mark.parametrize("options", [(), ("-0",), ("-P", "secret"), ("-fz",)])
def test_what_zip_writes_is_whole(tree, tmp_path, options):
    """Stored, packed, encrypted, in the form for large files."""
    run("zip", "-q", "-r", "-y", *options, tmp_path / "made.zip", "tree", cwd=tmp_path)

    assert archive.check(tmp_path / "made.zip", stop=FlagDouble()) == archive.Verdict(State.WHOLE)


def test_sha256sum_takes_the_lines_that_are_written(tmp_path):
    """Whatever the names; and its own lines are read."""
    digests = {}
    for name in ODD_NAMES:
        (tmp_path / name).write_text(name)
        digests[name] = hashlib.sha256(name.encode()).hexdigest()
    lines = "".join(f"{format_line(digest, name)}\n" for name, digest in digests.items())
    (tmp_path / "SUMS").write_bytes(lines.encode())

    run("sha256sum", "--check", "--strict", "SUMS", cwd=tmp_path)
    for options in ((), ("--tag",), ("--binary",)):
        command = ["sha256sum", *options, "--", *ODD_NAMES]
        (tmp_path / "SUMS").write_bytes(subprocess.check_output(command, cwd=tmp_path))
        listed = read_checksums(tmp_path / "SUMS").listed
        assert {name: told[0].hex for name, told in listed.items()} == digests
