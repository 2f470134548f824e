"""`wgetpool status`: what is going on, what failed and why, and the story of a file."""

from __future__ import annotations

import re
import signal
from typing import Any

import pytest
from support.faultserver import FaultServer, file, status
from support.runner import Sandbox, random_bytes, wait_until

pytest_plugins = ["support.fixtures"]

DATA = random_bytes(1_000_000, seed=6)
QUERY = "?oh=00_SECRET&oe=50000000&_nc_sid=0042"  # it expired in 2012
SLOW = (8_000, 0.1)  # bytes, seconds: 80 kB/s


def text(box: Sandbox, *args: object, expect: int | None = 1) -> str:
    return box.run("status", box.dir, *args, expect=expect).stdout


def await_rate(box: Sandbox, name: str) -> None:
    """Until the run that fetches this file has told how fast it is."""
    wait_until(lambda: box.part_size(name) > 0)
    wait_until(lambda: name in rates(box), what="a rate")


def rates(box: Sandbox) -> dict[str, float]:
    rows = [row for run in box.status()["runs"] for row in run["running"]]
    return {row["name"]: row["rate"] for row in rows if row["rate"]}


def story(box: Sandbox, name: str, *, expect: int = 1) -> list[str]:
    return text(box, name, expect=expect).splitlines()


def whole_story(box: Sandbox, name: str) -> dict[str, Any]:
    """What --json tells of one file."""
    import json

    told = json.loads(text(box, name, "--json", expect=None))
    (only,) = told["files"]
    return dict(only)


# ---------------------------------------------------------------- while a run goes on


def test_a_live_run_tells_its_workers_rates_and_waits(box: Sandbox, server: FaultServer) -> None:
    """From another terminal, as they are now: bytes, rate, time left, tries, reasons."""
    slow = server.serve("/slow.tar", file(DATA, pace=SLOW))
    cut = server.serve("/cut.tar", file(DATA).cut_at(300_000))
    busy = server.serve("/busy.tar", status(503, "Retry-After: 60"))
    with box.start_get(slow.url, cut.url, busy.url, "--backoff", 60) as run:
        wait_until(lambda: run.stdout.count('"attempt_failed"') == 2)
        await_rate(box, "slow.tar")
        plain, state = text(box), box.status()
        run.signal(signal.SIGTERM)
        run.finish(expect=143)

    (told,) = state["runs"]
    (row,) = told["running"]
    assert (row["name"], row["attempt"], row["size"]) == ("slow.tar", 1, len(DATA))
    assert 0 < row["bytes"] < len(DATA)
    assert 20_000 < row["rate"] < 200_000
    assert {wait["name"] for wait in told["waiting"]} == {"cut.tar", "busy.tar"}
    assert all(0 < wait["due_in"] <= 60 for wait in told["waiting"])
    assert told["rate"] == state["rate"]
    assert re.search(
        r"^slow\.tar +\d+/977 KiB +\d+% +[\d.]+ KiB/s +\d+ s left$", plain, re.MULTILINE
    )
    assert re.search(
        r"^busy\.tar .* try 2, again in \d+ s: HTTP 503 Service Unavailable$", plain, re.MULTILINE
    )
    assert re.search(
        r"^cut\.tar .* try 2, again in \d+ s: the connection was closed early", plain, re.MULTILINE
    )


def test_what_is_done_meanwhile_is_no_worker_any_more(box: Sandbox, server: FaultServer) -> None:
    """The run tells every two seconds, the ledger at once: nobody sees a file in two places."""
    routes = [server.serve(f"/{n:03}", file(DATA[:50_000], pace=(10_000, 0.05))) for n in range(60)]
    with box.start_get(*(route.url for route in routes), "-j", 3) as run:
        looks: list[dict[str, Any]] = []
        wait_until(lambda: box.part_size("000") > 0)
        while run.alive:
            looks.append(box.status())
        run.finish()

    assert any(look["running"] for look in looks)
    for look in looks:
        done = {each["name"] for each in look["files"] if each["state"] == "done"}
        rows = [row["name"] for each in look["runs"] for row in each["running"]]
        assert not done & set(rows)
        assert len(rows) == len(set(rows)) <= 3
    assert box.status()["done"] == 60


def test_a_run_on_one_folder_says_what_another_has(box: Sandbox, server: FaultServer) -> None:
    """It waits for files that are another run's, and is seen to."""
    slow = server.serve("/slow.tar", file(DATA, pace=SLOW))
    with box.start_get(slow.url) as first:
        wait_until(lambda: box.part_size("slow.tar") > 0)
        with box.start_get(slow.url) as second:
            wait_until(lambda: any(run["elsewhere"] for run in box.status()["runs"]))
            plain = text(box)
            first.finish(timeout=60)
            second.finish(timeout=60)

    assert "2 runs are working on it: pid " in plain
    assert len(slow.requests) == 1


def test_a_stopped_run_is_said_to_be_stopped(box: Sandbox, server: FaultServer) -> None:
    """Its numbers are old, and nobody takes them for those of now."""
    slow = server.serve("/slow.tar", file(DATA, pace=SLOW))
    with box.start_get(slow.url) as run:
        await_rate(box, "slow.tar")
        run.signal(signal.SIGSTOP)
        wait_until(lambda: box.status()["runs"][0]["stopped"])
        plain, state = text(box), box.status()
        run.signal(signal.SIGCONT)
        run.signal(signal.SIGTERM)
        run.finish(expect=143)

    assert f"the run with pid {run.pid} is stopped: fg in its terminal" in plain
    assert "B/s" not in plain
    assert (state["rate"], state["left"]) == (None, None)


def test_a_worker_is_seen_before_its_first_byte(box: Sandbox, server: FaultServer) -> None:
    """A silent server: that is when people ask why."""
    silent = server.serve("/a.tar", file(DATA).cut_at(-1, "stall"))
    with box.start_get(silent.url) as run:
        wait_until(lambda: '"attempt_started"' in run.stdout)
        wait_until(lambda: box.status()["runs"][0]["running"])
        plain, told = text(box), story(box, "a.tar")
        run.signal(signal.SIGTERM)
        run.finish(expect=143)

    assert plain.startswith("0 of 1 file whole, 1 running\n")
    assert re.fullmatch(r"  now: try 1 runs since .*", told[-1])


def test_what_waits_in_one_run_and_is_done_by_another_is_done(
    box: Sandbox, server: FaultServer
) -> None:
    """Seen in one place, counted once."""
    busy = server.serve("/a.tar", status(503), file(DATA))
    with box.start_get(busy.url, "--backoff", 600, "--backoff-max", 600) as first:
        wait_until(lambda: "retry_in" in first.stdout)
        wait_until(lambda: box.status()["runs"][0]["waiting"])
        box.get(busy.url)
        plain, state = text(box, expect=0), box.status()
        first.signal(signal.SIGTERM)
        first.finish(expect=143)

    assert plain.startswith("1 of 1 file whole\n")
    assert "waiting" not in plain
    assert state["runs"][0]["waiting_count"] == 0


# ---------------------------------------------------------------- the story of a file


def test_the_story_of_a_file_has_every_attempt_in_order(box: Sandbox, server: FaultServer) -> None:
    """Bytes, status, cause of its end, wait; what proved it; and all the same for programs."""
    route = server.serve("/a.tar", status(503), file(DATA).cut_at(400_000), file(DATA))
    box.get(route.url, "--backoff", 0.01)

    lines, told = story(box, "a.tar", expect=0), whole_story(box, "a.tar")

    assert lines[0] == "a.tar: done, 977 KiB"
    tries = [re.sub(r"^  \S+ \S+  ", "", line) for line in lines[1:4]]
    assert re.fullmatch(r"try 1: 0 B in 0\.\d s: HTTP 503 Service Unavailable; again .*", tries[0])
    assert re.fullmatch(
        r"try 2: 391 KiB in 0\.\d s, HTTP 200: the connection was closed early "
        r"\(400,000 of 1,000,000 bytes are here\); again .*",
        tries[1],
    )
    assert re.fullmatch(r"try 3: 586 KiB in 0\.\d s, HTTP 206: whole", tries[2])
    assert lines[4] == "  proved by: size"
    assert re.fullmatch(r"  sha256: [0-9a-f]{64}", lines[5])
    assert len(lines) == 6
    assert [(one["number"], one["ending"], one["status"]) for one in told["story"]] == [
        (1, "failed", 503),
        (2, "failed", 200),
        (3, "done", 206),
    ]
    assert [one["bytes"] for one in told["story"]] == [0, 400_000, len(DATA)]
    assert [one["cause"] for one in told["story"]] == ["server", "connection", None]
    assert told["next_step"] is None


def test_the_story_goes_on_over_runs_and_tells_how_each_ended(
    box: Sandbox, server: FaultServer
) -> None:
    """Ended with its run, failed for good, done in the third."""
    route = server.serve("/a.tar", file(DATA).cut_at(300_000, "stall"), status(404), file(DATA))
    with box.start_get(route.url) as run:
        wait_until(lambda: box.part_size("a.tar") == 300_000)
        run.signal(signal.SIGTERM)
        run.finish(expect=143)
    begun = story(box, "a.tar")
    box.get(route.url, expect=1)
    failed = story(box, "a.tar")
    box.get(route.url)
    done = story(box, "a.tar", expect=0)

    assert begun[0] == "a.tar: begun, 293 KiB of 977 KiB here"
    assert re.search(
        r"try 1: 293 KiB in .*, then ended with its run; 293 KiB stayed here$", begun[1]
    )
    assert begun[-1] == "  next: Run the same wgetpool get again: it goes on with what is here."
    assert failed[0] == "a.tar: failed, 293 KiB of 977 KiB here, HTTP 404 Not Found"
    assert failed[2] == "  -- another run"
    assert re.search(r"try 2: 0 B in .*: HTTP 404 Not Found; no other try$", failed[3])
    assert failed[-1].startswith("  next: ")
    assert [line[:18] for line in done].count("  -- another run"[:18]) == 2
    assert any(line.endswith(": whole") and "try 3" in line for line in done)


def test_no_story_has_a_secret_in_it(box: Sandbox, server: FaultServer) -> None:
    """An expired signature: what to do about it, and not one character of the query."""
    route = server.serve("/a.tar", status(403), query=QUERY)
    box.get(box.links(route.url), expect=1)

    plain = text(box, "a.tar") + text(box) + text(box, "--json") + text(box, "a.tar", "--json")

    assert "the link has expired" in plain
    assert "Get a fresh list" in plain
    for secret in ("SECRET", "oe=", "5000000", "_nc_sid"):
        assert secret not in plain
    assert whole_story(box, "a.tar")["cause"] == "expired"


def test_the_story_of_a_file_that_is_being_fetched_tells_what_goes_on(
    box: Sandbox, server: FaultServer
) -> None:
    """Running since when, how fast; or waiting, until when."""
    slow = server.serve("/slow.tar", file(DATA, pace=SLOW))
    busy = server.serve("/busy.tar", status(503))
    with box.start_get(slow.url, busy.url, "--backoff", 600, "--backoff-max", 600) as run:
        await_rate(box, "slow.tar")
        runs, waits = story(box, "slow.tar"), story(box, "busy.tar")
        run.signal(signal.SIGTERM)
        run.finish(expect=143)

    assert re.fullmatch(r"  now: try 1 runs since [\d.]+ s, [\d.]+ KiB/s", runs[-1])
    assert re.fullmatch(r"  now: try 2 begins in .*", waits[-1])


def test_a_file_is_named_as_its_path_too(box: Sandbox, server: FaultServer) -> None:
    """What a shell completes: DIR/NAME, and NAME.part."""
    box.get(server.serve("/a.tar", file(DATA)).url)

    wanted = text(box, "a.tar", expect=0)

    assert text(box, box.dir / "a.tar", expect=0) == wanted
    assert text(box, "a.tar.part", expect=0) == wanted


@pytest.mark.parametrize("name", ["b.tar", ".wgetpool", "../a.tar", "%", ""])
def test_a_name_that_nobody_asked_for_is_an_error(
    box: Sandbox, server: FaultServer, name: str
) -> None:
    """In one sentence, with where the names are."""
    box.get(server.serve("/a.tar", file(DATA)).url)

    result = box.run("status", box.dir, name, expect=2)

    assert not result.stdout
    assert "was ever asked for" in result.stderr
    assert "--names" in result.stderr


def test_the_exit_code_is_that_of_the_files_asked_for(box: Sandbox, server: FaultServer) -> None:
    """0 when they are whole, whatever the others are."""
    good, bad = server.serve("/good", file(DATA)), server.serve("/bad", status(404))
    box.get(good.url, bad.url, expect=1)

    text(box, "good", expect=0)
    text(box, "good", "bad", expect=1)
    text(box, expect=1)


# ---------------------------------------------------------------- what failed, and why


def test_failed_files_are_grouped_by_reason_with_what_to_do(
    box: Sandbox, server: FaultServer
) -> None:
    """The commonest first; each group with its names, and its next step."""
    gone = [server.serve(f"/gone-{n}", status(404)).url for n in range(7)]
    busy = [server.serve(f"/busy-{n}", status(429)).url for n in range(2)]
    box.get(*gone, *busy, "--tries", 1, expect=1)

    lines = text(box).splitlines()

    first, second = (n for n, line in enumerate(lines) if line.startswith("Failed: "))
    assert lines[first] == "Failed: 7 files, HTTP 404 Not Found"
    assert lines[second] == "Failed: 2 files, HTTP 429 Too Many Requests"
    assert "gone-0" in lines[first + 1]
    assert "more" in lines[first + 1]
    assert "busy-0, busy-1" in lines[second + 1]
    assert "-j" in lines[second + 2]
    assert any("--names failed" in line for line in lines)


def test_nothing_is_cut_off_in_a_pipe(box: Sandbox, server: FaultServer) -> None:
    """A name that is longer than a terminal is wide, and a reason as long."""
    name = "x" * 200 + ".tar"
    with box.start_get(server.serve(f"/{name}", file(DATA, pace=SLOW)).url) as run:
        await_rate(box, name)
        plain = text(box)
        run.signal(signal.SIGTERM)
        run.finish(expect=143)

    (row,) = (line for line in plain.splitlines() if line.startswith("xxx"))
    assert row.startswith(f"{name}  ")
    assert row.endswith(" left")
    assert "\x1b" not in plain
