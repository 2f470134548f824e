"""File systems of a test's own, in a mount namespace: nobody else sees them, and they go with it.

A user without privileges has them in a user namespace, where the machine allows that.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import psutil
import pytest

from support.runner import Sandbox, wait_until

TOOLS = ("unshare", "nsenter", "mount", "umount")


def needs_root(*tools: str) -> None:
    """Skips the test where it cannot be done: by another user, or without these tools."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    needs_tools(*tools)


def needs_tools(*tools: str) -> None:
    """Skips the test where one of these programs is missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


class Space:
    """A mount namespace, kept by a process that sleeps. `prefix` puts a command into it."""

    def __init__(self) -> None:
        needs_tools(*TOOLS)
        is_root = os.geteuid() == 0
        user = [] if is_root else ["--user", "--map-root-user"]
        self._holder = subprocess.Popen(
            ["unshare", *user, "--mount", "--propagation", "private", "sleep", "3600"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.pid = self._holder.pid
        entered = [] if is_root else ["--user", "--preserve-credentials"]
        self.prefix = ("nsenter", f"--target={self.pid}", *entered, "--mount")

    def __enter__(self) -> Self:
        wait_until(lambda: self._is_ready or self._holder.poll() is not None, 30)
        if not self._is_ready:
            _, error = self._holder.communicate()
            pytest.skip(f"no mounts here: {error.decode().strip()}")
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.communicate()

    @property
    def _is_ready(self) -> bool:
        """The name is that of the last program, which runs when all is done."""
        with suppress(psutil.Error):
            return psutil.Process(self.pid).name() == "sleep" and self._holder.poll() is None
        return False

    def do(self, *command: object) -> None:
        """Runs a command in the namespace; fails when it does."""
        words = [*self.prefix, *map(str, command)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"

    def can(self, *command: object) -> bool:
        """Runs a command in the namespace; whether it went well."""
        words = [*self.prefix, *map(str, command)]
        return subprocess.run(words, capture_output=True, timeout=20, check=False).returncode == 0

    def hold(self, box: Sandbox) -> None:
        """Has all runs of the sandbox, and its look into DIR, inside."""
        box.prefix = (*self.prefix, *box.prefix)
        box.world = Path(f"/proc/{self.pid}/root")

    def mount_memory(self, box: Sandbox, size: str) -> None:
        """A file system of this size as DIR."""
        box.dir.mkdir(exist_ok=True)
        if not self.can("mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", box.dir):
            pytest.skip("no tmpfs can be mounted here")

    def resize_memory(self, box: Sandbox, size: str) -> None:
        self.do("mount", "-i", "-o", f"remount,size={size}", "tmpfs", box.dir)

    def make_read_only(self, box: Sandbox) -> None:
        """DIR, from now on, for all that is opened by its name. What is open is not touched: the
        system makes no file system read-only that is written to.
        """
        self.do("mount", "--bind", box.dir, box.dir)
        self.do("mount", "-o", "remount,bind,ro", box.dir)


class Disk:
    """An ext4 in a file, mounted at `place` in a namespace, until it is left."""

    def __init__(self, space: Space, image: Path, place: Path, *, megabytes: int = 64) -> None:
        needs_root("mkfs.ext4", "fsfreeze")
        self._space, self._place = space, place
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, timeout=20)
        place.mkdir(parents=True, exist_ok=True)
        if not space.can("mount", "-o", "loop,errors=remount-ro", image, place):
            pytest.skip("no loop device can be mounted here")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        wait_until(lambda: self._space.can("umount", self._place), 30, "umount")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """For this long whoever writes waits, and no signal ends that: not even a run can be waited
        for without limit.
        """
        self._space.do("fsfreeze", "--freeze", self._place)
        try:
            yield
        finally:
            self._space.do("fsfreeze", "--unfreeze", self._place)

    def fail(self) -> None:
        """An error of the disk: the system makes it read-only, though it is written to."""
        source = subprocess.run(
            [*self._space.prefix, "findmnt", "-n", "-o", "SOURCE", str(self._place)],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        device = Path(source.stdout.strip()).name
        trigger = Path(f"/sys/fs/ext4/{device}/trigger_fs_error")
        if not trigger.exists():
            pytest.skip("this system has no errors on demand")
        trigger.write_text("1")


def end(process: psutil.Process) -> None:
    """SIGKILL, if it is there still."""
    with suppress(psutil.Error):
        process.send_signal(signal.SIGKILL)
