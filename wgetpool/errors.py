"""What ends a command, as exceptions and exit codes. Loads nothing: the command line needs it
before all else.
"""

from __future__ import annotations

from enum import IntEnum


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
