"""The installed command in a sandbox: HOME, working directory and DIR of its own; output parsed.

A run that is started here never outlives its block, and `Sandbox.wgets` finds the wgets that work
in it, whoever started them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeAlias

import psutil

from support.schema import checked

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "wgetpool")
# Without coverage: it swallows a Ctrl-C while it loads, and writes where another user may not.
UNMEASURED = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
OVERLAP = 64 * 1024  # the most that a continued part may be asked for once more

Event: TypeAlias = dict[str, Any]


def wait_until(condition: Callable[[], object], limit: float = 10, what: str = "") -> None:
    """Returns as soon as the condition holds; fails after `limit` seconds."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not within {limit} s: {what or condition}"
        time.sleep(0.01)


class Blob(bytes):
    """The content of a file, in a few words where a test that fails would print megabytes."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes, sha256 {sha256(self)[:12]}>"

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return Blob(found) if isinstance(found, bytes) else found

    def __add__(self, more: Any) -> Blob:
        return Blob(super().__add__(more))

    def __radd__(self, before: bytes) -> Blob:
        return Blob(bytes(before) + bytes(self))


def random_bytes(size: int, seed: int = 0) -> bytes:
    return Blob(random.Random(seed).randbytes(size))


def sha256(data: bytes | Path) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else data.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to. `events` are the lines of its --json."""

    args: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()

    @property
    def events(self) -> list[Event]:
        return [json.loads(line) for line in self.lines]

    def of(self, kind: str, name: str | None = None) -> list[Event]:
        """The events of one kind, of one file where it is named."""
        events = (event for event in self.events if event["event"] == kind)
        return [event for event in events if name is None or event["name"] == name]

    def only(self, kind: str, name: str | None = None) -> Event:
        """The one event of that kind."""
        events = self.of(kind, name)
        assert len(events) == 1, f"{kind} {name}: {len(events)} times\n{self.story}"
        return events[0]

    def names(self, kind: str) -> list[str]:
        return sorted(event["name"] for event in self.of(kind))

    @property
    def said(self) -> str:
        """What people are told: standard error, and the warnings among the events."""
        lines = self.lines if self.stdout.startswith("{") else []
        warnings = (event for event in map(json.loads, lines) if event["event"] == "warning")
        return "\n".join([self.stderr, *(event["message"] for event in warnings)])

    @property
    def story(self) -> str:
        words = " ".join(self.args)
        head = f"wgetpool {words}\n--- code {self.code} after {self.seconds:.1f} s"
        return f"{head}\n--- stdout\n{self.stdout[-6000:]}\n--- stderr\n{self.stderr[-6000:]}"


class Run:
    """A started command, ended with its block. Its output goes to files: no pipe that fills up."""

    def __init__(
        self, process: subprocess.Popen[bytes], args: tuple[str, ...], output: Path
    ) -> None:
        self.process = process
        self.args = args
        self.pid = process.pid
        self._output = output
        self._started_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    @property
    def stdout(self) -> str:
        return self._output.with_suffix(".out").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self._output.with_suffix(".err").read_text(errors="replace")

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def finish(self, timeout: float = 30, expect: int | None = 0) -> Result:
        """Waits for the end; fails when it comes late, with another code, with a traceback, or with
        JSON that is not as the schema says.
        """
        try:
            code: int | None = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        seconds = time.monotonic() - self._started_at
        result = Result(self.args, 999 if code is None else code, self.stdout, self.stderr, seconds)
        assert code is not None, f"not ended within {timeout} s\n{result.story}"
        assert "Traceback" not in result.stderr + result.stdout, result.story
        assert expect in (None, code), f"exit code {code} instead of {expect}\n{result.story}"
        if "--json" in self.args:
            checked(result.stdout)
        return result


@dataclass(slots=True)
class Sandbox:
    """A folder with all that a run may touch. `env` is added to its environment; `world` is the
    root folder that its runs see.
    """

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    world: Path = Path("/")
    umask: int = 0o022
    prefix: tuple[str, ...] = ("env", "--default-signal=HUP,INT,QUIT,TERM")
    _count: int = 0

    def __post_init__(self) -> None:
        self.home.mkdir()
        self.cwd.mkdir()

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def cwd(self) -> Path:
        return self.root / "cwd"

    @property
    def dir(self) -> Path:
        """DIR. It does not exist before the first run."""
        return self.root / "out"

    @property
    def view(self) -> Path:
        """DIR, as its runs see it."""
        return self.world / self.dir.relative_to("/")

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not _is_setting(k)}
        ours = {"HOME": str(self.home), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        return {**kept, **ours, **_python_path(), **self.env}

    def start(self, *args: object, stdin: bytes | None = None, stdout: int | None = None) -> Run:
        """Starts `wgetpool ARGS`; use it in a `with`. `stdout` is a descriptor to print to, instead
        of a file.
        """
        words = tuple(str(arg) for arg in args)
        return self.launch((*PROGRAM, *words), words, stdin=stdin, stdout=stdout)

    def launch(
        self,
        command: Iterable[str],
        args: tuple[str, ...] = (),
        *,
        stdin: bytes | None = None,
        stdout: int | None = None,
    ) -> Run:
        self._count += 1
        output = self.root / f"run{self._count}"
        given = output.with_suffix(".in")
        given.write_bytes(stdin or b"")
        with (
            given.open("rb") as source,
            output.with_suffix(".out").open("wb") as out,
            output.with_suffix(".err").open("wb") as err,
        ):
            process = subprocess.Popen(
                [*self.prefix, *command],
                stdin=source,
                stdout=out if stdout is None else stdout,
                stderr=err,
                cwd=self.cwd,
                env=self.environment(),
                umask=self.umask,
            )
        return Run(process, args, output)

    def run(
        self,
        *args: object,
        timeout: float = 30,
        expect: int | None = 0,
        stdin: bytes | None = None,
    ) -> Result:
        """Runs `wgetpool ARGS` to its end."""
        with self.start(*args, stdin=stdin) as run:
            return run.finish(timeout, expect)

    def get_args(self, *args: object) -> tuple[object, ...]:
        """`get` into DIR with --json and short waits; options in `args` come later and win."""
        return ("get", "-o", self.dir, "--json", "--backoff", "0.05", *args)

    def get(
        self,
        *args: object,
        timeout: float = 30,
        expect: int | None = 0,
        stdin: bytes | None = None,
    ) -> Result:
        return self.run(*self.get_args(*args), timeout=timeout, expect=expect, stdin=stdin)

    def start_get(self, *args: object, stdout: int | None = None) -> Run:
        return self.start(*self.get_args(*args), stdout=stdout)

    def python(self, code: str, *args: object, timeout: float = 30) -> Result:
        """Runs a script that calls the program from Python."""
        words = tuple(str(arg) for arg in args)
        with self.launch((sys.executable, "-c", code, *words), words) as run:
            return run.finish(timeout)

    def links(self, *lines: str, name: str = "links.txt", end: str = "\n") -> Path:
        """A links file beside DIR, its lines as given."""
        path = self.root / name
        path.write_bytes("".join(line + end for line in lines).encode())
        return path

    def table(self, rows: Mapping[str, str], name: str = "links.tsv") -> Path:
        """A links file in SA-1B's own form: names and URLs, no newline at the end."""
        lines = ["file_name\tcdn_link", *(f"{key}\t{url}" for key, url in rows.items())]
        path = self.root / name
        path.write_text("\n".join(lines))
        return path

    def script(self, name: str, text: str) -> Path:
        """A small shell script that can be run."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def path(self, name: str) -> Path:
        return self.view / name

    def part(self, name: str) -> Path:
        return self.view / f"{name}.part"

    def part_size(self, name: str) -> int:
        """The part's length; -1 while there is none."""
        try:
            return self.part(name).stat().st_size
        except FileNotFoundError:
            return -1

    def files(self) -> dict[str, bytes]:
        """All in DIR by name, but for what is under `.wgetpool`."""
        paths = (path for path in self.view.rglob("*") if path.is_file())
        names = {path.relative_to(self.view).as_posix(): path for path in paths}
        return {k: Blob(p.read_bytes()) for k, p in names.items() if not k.startswith(".wgetpool/")}

    def wgets(self) -> list[psutil.Process]:
        """The living wgets that work in this sandbox: by open files, folder, command line or
        environment. One for several files may have none of them open.
        """
        found = []
        for process in psutil.process_iter(["name"]):
            if not (process.info["name"] or "").startswith("wget"):
                continue
            try:
                if process.status() != psutil.STATUS_ZOMBIE and self._is_here(process.pid):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def _is_here(self, pid: int) -> bool:
        here, proc = os.fsencode(self.root) + b"/", Path(f"/proc/{pid}")
        places = [os.fsencode((proc / "cwd").readlink())]
        places += [(proc / name).read_bytes() for name in ("cmdline", "environ")]
        for link in (proc / "fd").iterdir():
            try:
                places.append(os.fsencode(link.readlink()))
            except OSError:
                continue
        return any(here in place for place in places)

    def status(self) -> Event:
        """`status DIR --json`."""
        result = self.run("status", self.dir, "--json", expect=None)
        assert result.code in (0, 1), result.story
        state: Event = json.loads(result.stdout)
        return state


def _is_setting(variable: str) -> bool:
    """Whether it would change what the program does: proxies, and the user's own defaults but
    WGETPOOL_WGET, which says with which wget all is tested.
    """
    ours = variable.startswith("WGETPOOL_") and variable != "WGETPOOL_WGET"
    return ours or variable.lower() in PROXIES


def _python_path() -> dict[str, str]:
    """The checkout, where the program is not installed."""
    try:
        importlib.metadata.distribution("wgetpool")
    except importlib.metadata.PackageNotFoundError:
        return {"PYTHONPATH": str(ROOT)}
    return {}
