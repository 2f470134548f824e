#!/usr/bin/env python3
"""Draws docs/*.svg: moments of real runs, as terminals of 60, 80 and 200 columns show them, and
what `wgetpool status` says meanwhile. With names, only the pictures that are named.

Runs wgetpool against the sample mirror, each time in a terminal of its own, and kills one of its
wgets now and then, until the display shows a file that waits and one that is tried again. The path
of the temporary folder is the one thing that is replaced in the picture. Needs the tools for tests
(pyte).
"""

from __future__ import annotations

import codecs
import io
import os
import pty
import re
import shlex
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import psutil
import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RATE = 12_000  # bytes a second on each connection: slow enough to look at
SHOWN_AS = "/mnt/fast-ssd"
LINKS = "segment_anything_links.txt"
GET = f"get {LINKS} -o sa1b-subset --order name --end 50 -j"
UNSHOWN = "--backoff 20"  # so that the wait is long enough to be seen
LIMIT = 180.0
TRIES = 5

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
    """A command in a terminal that we read. Faint text, which pyte does not know, is grey."""

    def __init__(self, command: Sequence[str], folder: Path, *, columns: int, rows: int) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            termios.tcsetwinsize(0, (rows, columns))
            os.chdir(folder)
            settings = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)}
            dropped = ("NO_COLOR", "COLUMNS", "LINES")
            kept = {k: v for k, v in os.environ.items() if k not in dropped}
            os.execvpe(command[0], [*command], kept | settings)  # noqa: S606  as meant: no shell

    def read(self) -> bool:
        """Takes what has come; False when there is no more."""
        try:
            came = os.read(self._descriptor, 1 << 16)
        except OSError:  # the other side is closed
            came = b""
        self._stream.feed(self._decoder.decode(came).replace("\x1b[2m", "\x1b[90m"))
        return bool(came)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    def kill_a_wget(self) -> None:
        children = psutil.Process(self.pid).children(recursive=True)
        wgets = [child for child in children if child.name().startswith("wget")]
        if wgets:
            wgets[len(wgets) // 2].kill()

    def end(self) -> None:
        """Ctrl-C, where it still runs, and its end."""
        os.write(self._descriptor, b"\x03")
        while self.read():
            pass
        os.waitpid(self.pid, 0)
        os.close(self._descriptor)

    def picture(self) -> Text:
        """The screen with its colours."""
        lines = []
        for row in range(self._screen.lines):
            cells = [self._screen.buffer[row][column] for column in range(self._screen.columns)]
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


Moment: TypeAlias = Callable[[Terminal], bool]


def watch(
    command: Sequence[str], folder: Path, *, columns: int, rows: int, moment: Moment | None = None
) -> Text:
    """The screen of a command at a moment, or without one at its end. Raises TimeoutError where the
    moment does not come.
    """
    terminal = Terminal(command, folder, columns=columns, rows=rows)
    end = time.monotonic() + LIMIT
    try:
        while goes_on := terminal.read():
            if moment and moment(terminal):
                break
            if time.monotonic() > end:
                raise TimeoutError("\n".join(terminal.lines))
        if moment and not goes_on:
            raise TimeoutError("\n".join(terminal.lines))
        return terminal.picture()
    finally:
        terminal.end()


def draw(picture: Text, command: str, *, columns: int, name: str) -> str:
    """A picture of the screen, below the command, as SVG."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {command}"))
    console.print(picture, no_wrap=True, overflow="crop")
    return console.export_svg(title="wgetpool", code_format=PAGE, unique_id=name)


# ---------------------------------------------------------------- the pictures


@dataclass(frozen=True, slots=True)
class Scene:
    """A run on a terminal. `spoilt` files have a wrong signature; `asked` are commands from another
    terminal at the same moment, by the names of their pictures.
    """

    name: str
    columns: int
    rows: int
    workers: int
    spoilt: Sequence[str] = ()
    asked: Mapping[str, str] = field(default_factory=dict)


SCENES = (
    Scene("display-60", 60, 20, 4),
    Scene("display", 80, 20, 6),
    Scene("display-200", 200, 20, 24),
    Scene(
        "",
        90,
        20,
        6,
        spoilt=("sa_000002", "sa_000005"),
        asked={
            "status": "wgetpool status sa1b-subset",
            "story": "wgetpool status sa1b-subset TRIED sa_000002.tar",
        },
    ),
)


class Retries:
    """Kills a wget now and then, until one file waits and another is tried again. Then asks."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self._scene, self._folder = scene, folder
        self._killed_at = time.monotonic()
        self.answers: dict[str, Text] = {}
        self.tried = ""

    def __call__(self, terminal: Terminal) -> bool:
        lines = terminal.lines
        waits = any(re.match(r"sa_\d+\.tar +try \d+, again in", line) for line in lines)
        tried = [line.split()[0] for line in lines if re.search(r"iB/s .* try \d$", line)]
        young = any(re.match(r"sa_\d+\.tar .* \d%", line) for line in lines)
        if not waits and time.monotonic() - self._killed_at > 4:
            terminal.kill_a_wget()
            self._killed_at = time.monotonic()
        rows = sum("iB/s" in line for line in lines) - 1
        busy = rows == self._scene.workers or any("more running" in line for line in lines)
        if not (waits and tried and busy) or young:
            return False
        self.tried = tried[0]
        for name, command in self._scene.asked.items():
            words = shlex.split(command.replace("TRIED", self.tried))[1:]
            program = [sys.executable, "-m", "wgetpool", *words]
            self.answers[name] = watch(program, self._folder, columns=self._scene.columns, rows=24)
        return True


def record(scene: Scene) -> dict[str, str]:
    """Pictures as SVG, by their names."""
    command = f"wgetpool {GET} {scene.workers}"
    with tempfile.TemporaryDirectory() as folder:
        mirror = [str(ROOT / "scripts" / "sample_mirror.py"), "--links", LINKS, "--rate", str(RATE)]
        program = [sys.executable, "-m", "wgetpool", *shlex.split(f"{command} {UNSHOWN}")[1:]]
        spoil = "; ".join(f"/^{name}/s/oh=/oh=x/" for name in scene.spoilt)
        shell = ["sh", "-c", f"sed -i '{spoil}' {LINKS}; exec {shlex.join(program)}"]
        retries = Retries(scene, Path(folder))
        shown = watch(
            [sys.executable, *mirror, "--", *shell],
            Path(folder),
            columns=scene.columns,
            rows=scene.rows,
            moment=retries,
        )
    pictures = {scene.name: (command, shown)} if scene.name else {}
    for name, picture in retries.answers.items():
        pictures[name] = scene.asked[name].replace("TRIED", retries.tried), picture
    return {
        name: finish(picture, folder, command, columns=scene.columns, name=name)
        for name, (command, picture) in pictures.items()
    }


def record_patiently(scene: Scene) -> dict[str, str]:
    """Chance has a hand in it: some runs end before the moment has come."""
    for _ in range(TRIES - 1):
        with suppress(TimeoutError):
            return record(scene)
    return record(scene)


def finish(picture: Text, folder: str, command: str, *, columns: int, name: str) -> str:
    for found in re.finditer(re.escape(folder), picture.plain):
        picture = Text.assemble(picture[: found.start()], SHOWN_AS, picture[found.end() :])
    picture.rstrip()
    print(f"docs/{name}.svg shows:\n$ {command}\n{picture.plain}\n")
    return draw(picture, command, columns=columns, name=name)


def main(wanted: Sequence[str]) -> int:
    for scene in SCENES:
        names = {scene.name, *scene.asked}
        if not wanted or names & set(wanted):
            for name, svg in record_patiently(scene).items():
                (DOCS / f"{name}.svg").write_text(svg)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
