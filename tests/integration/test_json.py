"""What programs get: a dashboard's reader, the recipes of docs/json.md, and all kinds of objects.

That every object is as the schema says, `support.runner` sees in all tests.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

from support.faultserver import FaultServer, file, status
from support.mounts import needs_tools
from support.runner import PROGRAM, ROOT, Event, Result, Sandbox, random_bytes, wait_until

pytest_plugins = ["support.fixtures"]

FOLLOW = ROOT / "scripts" / "follow.py"
PAGE = (ROOT / "docs" / "json.md").read_text()
DATA = random_bytes(300_000, seed=7)
SLOW = (10_000, 0.1)  # bytes, seconds: 100 kB/s


def some_of_all(box: Sandbox, server: FaultServer, *options: object) -> Result:
    """A run of which one file was known, one is fetched in two attempts, and two fail."""
    known = server.serve("/known.tar", file(DATA))
    whole = server.serve("/whole.tar", file(DATA).cut_at(200_000), file(DATA))
    failing = [server.serve(f"/{name}.tar", status(404)) for name in ("gone", "lost")]
    box.get(known.url)
    urls = [route.url for route in (known, whole, *failing)]
    return box.get(*urls, *options, expect=1)


# ---------------------------------------------------------------- a reader


def followed(text: str) -> list[str]:
    """What the script shows, one after the other."""
    done = subprocess.run(
        [sys.executable, FOLLOW], input=text, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stderr == ""
    return states(done.stdout)


def states(shown: str) -> list[str]:
    """What was in the line, one after the other."""
    return [line for line in shown.replace("\33[K", "").splitlines() if line]


def test_the_reader_shows_what_has_come_of_the_files(box: Sandbox, server: FaultServer) -> None:
    """The last line is the run's end: files, and the failed ones by cause."""
    shown = followed(some_of_all(box, server).stdout)

    assert shown[0] == "0 of 4 files; failed: none"
    assert shown[-1] == "2 of 4 files; failed: 2 not_found"


def test_the_reader_counts_anew_for_each_run(box: Sandbox, server: FaultServer) -> None:
    """In a file that several runs wrote to, one after the other."""
    one = some_of_all(box, server).stdout

    assert followed(one + one)[-1] == followed(one)[-1]


def test_the_reader_shows_rate_and_time_left_as_they_come() -> None:
    """Nothing of what is not known."""
    events = [
        {"event": "run_started", "files": 3},
        {"event": "progress", "rate": None, "left": None},
        {"event": "progress", "rate": 1_250_000.0, "left": None},
        {"event": "progress", "rate": 1_250_000.0, "left": 59.9},
        {"event": "progress", "rate": 1_250_000.0, "left": 90_061.5},
    ]

    shown = followed("".join(f"{json.dumps(event)}\n" for event in events))

    assert [line.partition("files")[2].partition(";")[0] for line in shown] == [
        "",
        "",
        ", 1.2 MB/s",
        ", 1.2 MB/s, 0:00 h left",
        ", 1.2 MB/s, 25:01 h left",
    ]


def test_the_reader_passes_over_what_it_does_not_know(box: Sandbox, server: FaultServer) -> None:
    """New events, new fields, and a last line that was cut change nothing of what it shows."""
    lines = some_of_all(box, server).stdout.splitlines()
    fuller = [json.dumps({**json.loads(line), "new": [{"a": None}]}) for line in lines]
    odd = '{"event": "new_event", "time": "2030-01-01T00:00:00.000+00:00", "files": 99}'
    text = "\n".join([odd, *fuller, odd, lines[-1][:40]])

    assert followed(text)[-1] == followed("\n".join(lines) + "\n")[-1]


def test_the_reader_follows_a_run_as_it_goes(box: Sandbox, server: FaultServer) -> None:
    """Through a pipe, while it runs; Ctrl-C for both leaves the last state and no traceback."""
    slow = server.serve("/slow.tar", file(random_bytes(3_000_000), pace=SLOW))
    quick = server.serve("/quick.tar", file(DATA))
    shown = box.root / "shown"
    with (
        shown.open("wb") as out,
        subprocess.Popen(
            [sys.executable, FOLLOW], stdin=subprocess.PIPE, stdout=out, stderr=out
        ) as reader,
    ):
        assert reader.stdin is not None
        options = ("--json", "--progress-interval", "0.5", "-o", box.dir)
        pipe = reader.stdin.fileno()
        with box.start("get", slow.url, quick.url, *options, stdout=pipe) as run:
            reader.stdin.close()
            wait_until(lambda: "0.1 MB/s" in shown.read_text(), what="a rate")
            for process in (reader, run.process):
                process.send_signal(signal.SIGINT)
            run.finish(expect=130)
        assert reader.wait(10) == 0

    told = states(shown.read_text())
    assert "1 of 2 files, 0.1 MB/s; failed: none" in told
    assert told[-1].startswith("1 of 2 files, 0.")
    assert shown.read_bytes().endswith(b"\n")


# ---------------------------------------------------------------- all kinds of objects


def test_what_failed_and_why_is_in_the_status(box: Sandbox, server: FaultServer) -> None:
    """By class and cause, with every attempt and the next step where the file is named."""
    some_of_all(box, server)

    state = box.status()
    asked = box.run("status", box.dir, "gone.tar", "whole.tar", "--json", expect=1)

    files = {each["name"]: each for each in state["files"]}
    assert (files["gone.tar"]["class"], files["gone.tar"]["cause"]) == ("permanent", "not_found")
    assert "story" not in files["gone.tar"]
    gone, whole = json.loads(asked.stdout)["files"]
    assert [each["ending"] for each in gone["story"]] == ["failed"]
    assert gone["next_step"]
    assert [each["ending"] for each in whole["story"]] == ["failed", "done"]
    assert whole["story"][0]["retry_in"] is not None
    assert whole["next_step"] is None


def test_what_would_be_done_and_what_is_bad(box: Sandbox, server: FaultServer) -> None:
    """A plan before a run, and a verification after it."""
    some_of_all(box, server)
    box.path("known.tar").write_bytes(b"changed")

    plan = box.get(f"{server.base}/whole.tar", f"{server.base}/new.tar", "--dry-run")
    found = box.run("verify", box.dir, "--json", expect=1)

    told: Event = json.loads(plan.stdout)
    assert (told["event"], told["files"], told["whole"], told["to_fetch"]) == ("plan", 2, 1, 1)
    (bad,) = json.loads(found.stdout)["files"]
    assert (bad["name"], bad["state"], bad["bytes"]) == ("known.tar", "torn", 7)


# ---------------------------------------------------------------- recipes


RECIPES = re.findall(r"^    (.*\bjq .*)$", PAGE, re.MULTILINE)


def test_each_recipe_of_the_page_has_an_answer(box: Sandbox, server: FaultServer) -> None:
    """After a run with one of all, and while another waits: it ends well and prints something."""
    needs_tools("jq", "sh")
    events = some_of_all(box, server, "--progress-interval", "0.01").stdout
    (box.root / "run.jsonl").write_text(events)
    program = box.script("bin/wgetpool", f'exec {" ".join(PROGRAM)} "$@"')
    env = {**box.environment(), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    busy = server.serve("/busy.tar", status(503))
    with box.start_get(busy.url, "--backoff", 60) as run:
        wait_until(lambda: [each for each in box.status()["runs"] if each["waiting"]])
        for recipe in RECIPES:
            words = recipe.replace("tail -F", "cat").replace("NAME", "gone.tar")
            done = subprocess.run(
                ["sh", "-c", words.replace("DIR", str(box.dir))],
                cwd=box.root,
                env=env,
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            assert done.stdout.strip() not in {"", "null"}, recipe
            assert done.stderr == "", recipe
        run.signal(signal.SIGTERM)
        run.finish(expect=143)
    assert len(RECIPES) > 5
