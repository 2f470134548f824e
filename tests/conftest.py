"""What holds for every test: no process outlives it, and signals are not ignored."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # a busy machine fails no test
settings.load_profile("unhurried")


def pytest_configure() -> None:
    """In the background of a shell these two are ignored, and would be by all that tests start."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_child_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test ends every process that it started; those of wider fixtures were there before it.

    A unit test can start none: there is nothing to look for.
    """
    if "unit" in request.path.parts:
        yield
        return
    this = psutil.Process()
    before = set(this.children())

    yield

    left = set(this.children()) - before
    assert not left, f"left running or not reaped: {sorted(map(describe, left))}"


def describe(child: psutil.Process) -> str:
    try:
        return f"{child.pid} {child.status()} {' '.join(child.cmdline())}"
    except psutil.Error:
        return f"{child.pid} gone"
