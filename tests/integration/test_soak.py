"""The soak and the measurement of the supervisor, in small: they run, and find nothing wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.runner import ROOT


def run_script(name: str, *words: str, folder: Path) -> str:
    """What it prints; fails where it does not end with 0."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / name), *words],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_short_soak_finds_nothing_wrong(tmp_path: Path) -> None:
    """Forty files, ten seconds; the folder goes when all is right."""
    said = run_script("soak.py", "--files", "40", "--minutes", "0.17", folder=tmp_path)

    assert said.endswith("all is right\n")
    assert not list(tmp_path.glob("soak-*"))


def test_what_supervision_costs_is_printed_as_tables(tmp_path: Path) -> None:
    """A second of each measurement, and a hundred files."""
    said = run_script("measure_supervision.py", "--seconds", "1", "--files", "100", folder=tmp_path)

    assert "| `--json` | " in said
    assert said.endswith("exit code 0\n")
