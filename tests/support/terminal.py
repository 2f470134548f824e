"""A terminal of a test's own, with a shell or a program in it that it controls."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import termios
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import psutil
import pyte
import pytest

from support.runner import PROGRAM, Sandbox, wait_until

ROWS, COLUMNS = 30, 120


class Terminal:
    """Runs a command as the leader of a session on a terminal; all is ended with the block."""

    def __init__(
        self, box: Sandbox, *command: str, columns: int = COLUMNS, rows: int = ROWS
    ) -> None:
        if shutil.which("setsid") is None:
            pytest.skip("needs setsid")
        self._master, self._slave = os.openpty()
        termios.tcsetwinsize(self._slave, (rows, columns))
        self.modes_before = self.modes
        self._screen = pyte.Screen(columns, rows)
        self._lock = threading.Lock()
        self._stream = pyte.ByteStream(self._screen)
        self.output = b""
        self._wake, self._waker = os.pipe()
        self._reader = threading.Thread(target=self._read, name="terminal")
        self._reader.start()
        self._hung_up = False
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *box.prefix, *command],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            cwd=box.cwd,
            env={**box.environment(), "TERM": "xterm", "PS1": "$ ", "HISTFILE": "/dev/null"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        left: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            left = psutil.Process(self.process.pid).children(recursive=True)
        self.hang_up()
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(left, timeout=5)
        os.close(self._slave)

    def _read(self) -> None:
        while True:
            ready, _, _ = select.select([self._master, self._wake], [], [])
            if self._wake in ready:
                return
            with suppress(OSError):
                piece = os.read(self._master, 1 << 16)
                with self._lock:
                    self.output += piece
                    self._stream.feed(piece)

    def hang_up(self) -> None:
        """The window is closed: SIGHUP for the session."""
        if not self._hung_up:
            self._hung_up = True
            os.write(self._waker, b"x")
            self._reader.join()
            for descriptor in (self._master, self._wake, self._waker):
                os.close(descriptor)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        """As when the window is dragged. This one cuts off lines that are too wide."""
        with self._lock:
            self._screen.resize(rows, columns)
        termios.tcsetwinsize(self._slave, (rows, columns))

    @property
    def lines(self) -> list[str]:
        """What is on the screen, between two writes."""
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(self.lines).strip()

    @property
    def modes(self) -> list[Any]:
        """What `stty -a` tells: echo, canonical input, and all the rest."""
        return termios.tcgetattr(self._slave)

    @property
    def is_sane(self) -> bool:
        """Modes as before, and a cursor."""
        return self.modes == self.modes_before and not self._screen.cursor.hidden

    def find_program(self) -> psutil.Process:
        """The wgetpool that runs in it."""
        found: list[psutil.Process] = []

        def look() -> list[psutil.Process]:
            with suppress(psutil.NoSuchProcess):
                found[:] = [each for each in self._processes() if is_program(each)]
            return found

        wait_until(look, 30, "wgetpool in the terminal")
        return found[0]

    def _processes(self) -> Sequence[psutil.Process]:
        leader = psutil.Process(self.process.pid)
        return [leader, *leader.children(recursive=True)]


def is_program(process: psutil.Process) -> bool:
    """Whether this is a wgetpool, and not the shell that names it."""
    with suppress(psutil.Error):
        words = process.cmdline()
        return tuple(words[: len(PROGRAM)]) == PROGRAM
    return False
