"""The program's door. `--version` is answered before anything else is loaded."""

import _signal  # type: ignore[import-not-found]  # signal itself loads others

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # no traceback while the rest is loaded

import gc
import os
import signal
import sys
import threading

from wgetpool import __version__


def main() -> None:
    _open_closed_streams()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, no child could tell how it has ended
    if sys.argv[1:] == ["--version"]:
        try:
            os.write(1, f"wgetpool {__version__}\n".encode())
        except OSError:  # nobody reads it, or there is no room
            sys.exit(1)
        return
    gc.disable()  # what is loaded now stays; a run has it collect again
    from wgetpool.cli import run  # noqa: PLC0415

    code = run()
    if threading.active_count() > 1:  # threads that hang on a disk: the exit would wait for them
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _open_closed_streams() -> None:
    """Gives a program started with `<&-` or `>&-` the three streams that all code counts on: else
    the next file that is opened, the ledger say, would be standard output.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))


if __name__ == "__main__":
    main()
