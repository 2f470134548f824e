"""wgets that misbehave, each a program for `--wget` in a sandbox.

Their names begin with `wget`: `Sandbox.wgets` finds them.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from support.runner import Sandbox

WGET = os.path.realpath(shutil.which("wget") or "wget")

# All calls go to the real wget, but for the first fetch of a sandbox.
ONCE = """\
#!{python} -IS
import ctypes, os, platform, signal, sys, time

def is_first():
    try:
        os.close(os.open({flag!r}, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True

if "--version" not in sys.argv and is_first():
    {misdeed}
os.execv({wget!r}, [{wget!r}, *sys.argv[1:]])
"""

# A clone with CLONE_VFORK waits in state D until its child ends or execs: no disk is needed.
BLOCKED = """\
number = {"x86_64": 56, "aarch64": 220}[platform.machine()]
    if ctypes.PyDLL(None).syscall(number, 0x4000 | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        time.sleep(60)
        os._exit(0)
    os._exit(4)"""


def blocked(box: Sandbox) -> Path:
    """One whose first fetch is in state D; it can be ended."""
    return _once(box, "wget-blocked", BLOCKED)


def wordless(box: Sandbox) -> Path:
    """One whose first fetch has no connection and says nothing: like one that waits for the name
    service.
    """
    return _once(box, "wget-wordless", "time.sleep(60)")


def stubborn(box: Sandbox) -> Path:
    """One that ignores SIGTERM."""
    return box.script("wget-stubborn", f"trap '' TERM\nexec {WGET} \"$@\"")


def removable(box: Sandbox) -> Path:
    """The real one by another name, which can be taken away."""
    path = box.root / "bin" / "wget"
    path.parent.mkdir()
    path.symlink_to(WGET)
    return path


def _once(box: Sandbox, name: str, misdeed: str) -> Path:
    path = box.root / name
    flag = str(box.root / f"{name}.once")
    path.write_text(ONCE.format(python=sys.executable, flag=flag, misdeed=misdeed, wget=WGET))
    path.chmod(0o755)
    return path
