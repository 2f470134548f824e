"""What ends a command, as exceptions and exit codes. Loads nothing: the command line needs it
before all else.
"""

from __future__ import annotations

import errno
from enum import IntEnum

# What a machine may be short of, by errno: no fault of any file's, and perhaps over soon.
SHORTAGES = {
    errno.EMFILE: "this process may open no more files (ulimit -n)",
    errno.ENFILE: "the machine opens no more files (fs.file-max)",
    errno.EAGAIN: "the system starts no more processes for this user (ulimit -u)",
    errno.ENOMEM: "the machine has no memory left for another process",
}


class WgetpoolError(Exception):
    """What a user can do something about. The text is one sentence: what, where, what to do
    next.
    """


class SourceError(WgetpoolError):
    """A bad argument or a bad source: nothing was fetched (exit code 2)."""


class MachineError(WgetpoolError):
    """This machine cannot do it: no usable wget, no space, no permission (exit code 3)."""


class ExitCode(IntEnum):
    """What a run comes to. A run that a signal ended exits with 128 + the signal's number."""

    WHOLE = 0
    FAILED = 1
    USAGE = 2
    MACHINE = 3
