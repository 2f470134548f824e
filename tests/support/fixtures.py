"""Fixtures of the integration tests, loaded by `pytest_plugins` of each module that wants them."""

from __future__ import annotations

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
