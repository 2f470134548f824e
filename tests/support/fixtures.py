"""Fixtures of the integration tests, loaded by `pytest_plugins` of each module that wants them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.faultserver import FaultServer
from support.runner import Sandbox


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server whose paths have scripts."""
    with FaultServer() as running:
        yield running


@pytest.fixture
def box(tmp_path: Path, server: FaultServer) -> Iterator[Sandbox]:
    """A sandbox for runs; afterwards no wget is left in it."""
    sandbox = Sandbox(tmp_path)
    yield sandbox
    left = sandbox.wgets()
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=5)
    assert not left, f"wgets that outlived the test: {left}"


@pytest.fixture
def certificate(box: Sandbox) -> Path:
    """A certificate that has signed itself, with its key; `ca.pem` where runs are started is the
    certificate alone.
    """
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    kind = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9", "-subj", "/CN=x")
    words = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key", "-out", "ca.pem")
    command = ["openssl", "req", *kind, *words]
    subprocess.run(command, cwd=box.cwd, capture_output=True, timeout=60, check=True)
    both = box.root / "both.pem"
    both.write_text((box.cwd / "ca.pem").read_text() + (box.cwd / "key").read_text())
    return both
