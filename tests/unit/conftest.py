"""Unit tests decide, they do not act: no sleep, no connection, no process, no thread."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from typing import Any, NoReturn

import pytest

from wgetpool import process


def refuse(what: str):
    def refused(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError(f"a unit test must not {what}: use a double from tests/support")

    return refused


@pytest.fixture(autouse=True)
def nothing_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would wait, connect, or run beside the test raises instead."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(time, "sleep", refuse("sleep"))
    monkeypatch.setattr(process, "pause", refuse("sleep"))
    monkeypatch.setattr(socket.socket, "connect", refuse("connect"))
    monkeypatch.setattr(socket.socket, "connect_ex", refuse("connect"))
    monkeypatch.setattr(process, "_spawn", refuse("start a process"))
    monkeypatch.setattr(os, "posix_spawn", refuse("start a process"))
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse("start a process"))
    monkeypatch.setattr(threading.Thread, "start", refuse("start a thread"))
