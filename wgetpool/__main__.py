"""The program's door. `--version` is answered before anything else is loaded."""

import sys

from wgetpool import __version__


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"wgetpool {__version__}\n")
        return
    from wgetpool.cli import run  # noqa: PLC0415

    sys.exit(run())


if __name__ == "__main__":
    main()
