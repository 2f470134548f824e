#!/usr/bin/env python3
"""Draws docs/display.svg: one moment of a real run, as a terminal shows it.

Runs wgetpool in a terminal of its own against the sample mirror, and kills one of its wgets now and
then, until the display shows a file that waits and one that is tried again. The path of the
temporary folder is the one thing that is replaced in the picture. Needs the tools for tests (pyte).
"""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import sys
import tempfile
import termios
import time
from pathlib import Path

import psutil
import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "display.svg"
COLUMNS, LINES = 106, 24
RATE = 12_000  # bytes a second on each connection: slow enough to look at
SHOWN_AS = "/mnt/fast-ssd"
ARGUMENTS = "get segment_anything_links.txt -o sa1b-subset --order name --end 50 -j 6"
UNSHOWN = ("--backoff", "20")  # so that the wait is long enough to be seen
LIMIT = 120.0

# rich's own page without its fonts, which a browser would fetch from somewhere.
PAGE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class Terminal:
    """A run in a terminal that we read. Faint text, which pyte does not know, is grey."""

    def __init__(self, folder: Path) -> None:
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.Stream(self._screen)
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            words = shlex.split(ARGUMENTS)
            mirror = ["--links", words[1], "--rate", str(RATE), "--"]
            program = [sys.executable, "-m", "wgetpool", *words, *UNSHOWN]
            script = str(ROOT / "scripts" / "sample_mirror.py")
            settings = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)}
            kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
            os.execve(  # noqa: S606  as meant: no shell
                sys.executable, [sys.executable, script, *mirror, *program], kept | settings
            )
        termios.tcsetwinsize(self._descriptor, (LINES, COLUMNS))

    def read(self) -> list[str]:
        """Takes what has come; returns the screen's lines."""
        came = os.read(self._descriptor, 1 << 16).decode(errors="replace")
        self._stream.feed(came.replace("\x1b[2m", "\x1b[90m"))
        return [line.rstrip() for line in self._screen.display]

    def kill_a_wget(self) -> None:
        children = psutil.Process(self.pid).children(recursive=True)
        wgets = [child for child in children if child.name().startswith("wget")]
        if wgets:
            wgets[len(wgets) // 2].kill()

    def interrupt(self) -> None:
        """Ctrl-C, and the run's end."""
        os.write(self._descriptor, b"\x03")
        try:
            while os.read(self._descriptor, 1 << 16):
                pass
        except OSError:  # the other side is closed
            os.waitpid(self.pid, 0)

    def picture(self) -> Text:
        """The screen with its colours."""
        lines = []
        for row in range(LINES):
            cells = [self._screen.buffer[row][column] for column in range(COLUMNS)]
            line = Text()
            for cell in cells:
                line.append(cell.data, Style(color=colour(cell.fg), bold=cell.bold))
            line.rstrip()
            lines.append(line)
        return Text("\n").join(lines)


def colour(name: str) -> str | None:
    """pyte's word for a colour as rich's."""
    names = {"default": None, "brown": "yellow", "brightblack": "bright_black"}
    return names.get(name, name)


def is_the_moment(lines: list[str]) -> bool:
    """A file waits, another is in its second try and has come some way."""
    waits = any(line.startswith("waiting ") for line in lines)
    tried = any(line.endswith("  try 2") for line in lines)
    begun = [line for line in lines if re.match(r"sa_\d+\.tar .* [1-9]\d%", line)]
    return waits and tried and len(begun) == 6


def record(folder: Path) -> Text:
    """Watches a run until the moment has come. Raises TimeoutError where it does not."""
    terminal = Terminal(folder)
    started_at = killed_at = time.monotonic()
    try:
        while not is_the_moment(lines := terminal.read()):
            now = time.monotonic()
            if now - started_at > LIMIT:
                raise TimeoutError("\n".join(lines))
            waits = any(line.startswith("waiting ") for line in lines)
            if now - killed_at > 4 and not waits:
                terminal.kill_a_wget()
                killed_at = now
        return terminal.picture()
    finally:
        terminal.interrupt()


def draw(picture: Text) -> str:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ wgetpool {ARGUMENTS}"), no_wrap=True, overflow="crop")
    console.print(picture, no_wrap=True, overflow="crop")
    return console.export_svg(title="wgetpool", code_format=PAGE, unique_id="display")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        picture = record(Path(folder))
        plain = picture.plain
        for found in re.finditer(re.escape(folder), plain):
            picture = Text.assemble(picture[: found.start()], SHOWN_AS, picture[found.end() :])
    picture.rstrip()
    TARGET.write_text(draw(picture))
    print(f"{TARGET.relative_to(ROOT)} shows:\n{picture.plain}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
