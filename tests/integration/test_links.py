"""Links that expire, links files that are replaced, and mirrors that have the same file."""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from support.faultserver import FaultServer, Reply, Request, Script, file, status
from support.runner import OVERLAP, Run, Sandbox, random_bytes, wait_until

pytest_plugins = ["support.fixtures"]

SIZE = 400_000
CUT = 250_000
HOUR = 3600.0
QUICK_LOOKS = ("--progress-interval", "0.2")  # as often as that, links files are looked at


class Cdn:
    """A server of signed links, with a clock of its own: `ahead` seconds before ours."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.ahead = 0.0

    def link(self, name: str, life: float = HOUR) -> str:
        """A link that is good for so many seconds, by the server's clock."""
        expiry = int(time.time() + self.ahead + life)
        return f"{self.server.base}/v/{name}?_nc_gid&oh=00_SECRET{expiry}&oe={expiry:X}&_nc_sid=0"

    def serve(self, name: str, *replies: Script) -> bytes:
        """A file for whoever has a good link; returns what is in it."""
        data = random_bytes(SIZE, hash(name) % 1000)
        script = [self._checked(reply) for reply in replies or (file(data),)]
        self.server.serve(f"/v/{name}", *script)
        return data

    def _checked(self, reply: Script) -> Callable[[Request], Reply]:
        def answer(request: Request) -> Reply:
            now = time.time() + self.ahead
            good = int(parse_qs(request.query)["oe"][0], 16) > now
            given = reply if isinstance(reply, Reply) else reply(request)
            date = f"Date: {formatdate(now, usegmt=True)}"
            return given.but(headers=(date,)) if good else status(403, date)

        return answer

    def asked_for(self, name: str) -> list[Request]:
        return [request for request in self.server.requests if request.path == f"/v/{name}"]


@pytest.fixture
def cdn(server: FaultServer) -> Cdn:
    return Cdn(server)


def held(data: bytes, gate: threading.Event) -> Reply:
    """The file, the end of which comes when the gate is opened."""
    return file(data, cut=CUT, then="hold", body_gate=gate)


def replace_list(box: Sandbox, rows: dict[str, str]) -> None:
    """As `mv` does it."""
    box.table(rows, name="new.tsv").write_text(table_text(rows))
    (box.root / "new.tsv").replace(box.root / "links.tsv")


def table_text(rows: dict[str, str]) -> str:
    lines = ["file_name\tcdn_link", *(f"{name}\t{url}" for name, url in rows.items())]
    return "\n".join(lines) + "\n"


def hears(run: Run, text: str, times: int = 1) -> None:
    wait_until(lambda: run.stderr.count(text) >= times, 20, text)


# ---------------------------------------------------------------- links that expire


def test_links_that_expire_in_mid_run_are_told_of_once(box: Sandbox, cdn: Cdn) -> None:
    """What came stays, what is left is `expired` and is asked for no more; a fresh list goes on."""
    names = [f"{letter}.tar" for letter in "abcdef"]
    blobs = {name: cdn.serve(name) for name in names}

    def cut_off(_: Request) -> Reply:
        cdn.ahead += 2 * HOUR
        return file(blobs["b.tar"]).cut_at(CUT)

    cdn.serve("b.tar", cut_off, file(blobs["b.tar"]))
    links = box.table({name: cdn.link(name) for name in names})
    command = ("get", links, "-o", box.dir, "-j", "1", "--backoff", "0.05")

    first = box.run(*command, expect=1)
    said = first.stdout + first.stderr
    assert "SECRET" not in said

    assert box.files() == {"a.tar": blobs["a.tar"], "b.tar.part": blobs["b.tar"][:CUT]}
    assert said.count("5 links expired at ") == 1, first.story
    assert said.count("download a new links file and run the same command: nothing is lost") == 1
    assert not any(line.startswith("failed ") for line in said.splitlines()), first.story
    assert not any(cdn.asked_for(name) for name in ("d.tar", "e.tar", "f.tar"))

    box.table({name: cdn.link(name) for name in reversed(names)})
    box.run(*command)

    assert box.files() == blobs
    assert cdn.asked_for("b.tar")[-1].start == CUT - OVERLAP


def test_a_link_that_expires_by_the_clock_of_both_is_not_tried(box: Sandbox, cdn: Cdn) -> None:
    """Seconds later, while another file comes, the rest is over."""
    gate = threading.Event()
    blobs = {name: cdn.serve(name) for name in ("a.tar", "b.tar")}
    cdn.serve("a.tar", held(blobs["a.tar"], gate))
    links = {name: cdn.link(name, life=3) for name in blobs}
    end = time.time() + 4.5  # a server tells its time in whole seconds

    with box.start_get(box.table(links), "-j", "1") as run:
        wait_until(lambda: box.part_size("a.tar") == CUT)
        wait_until(lambda: time.time() > end)
        gate.set()
        result = run.finish(expect=1)

    assert box.files() == {"a.tar": blobs["a.tar"]}
    assert cdn.asked_for("b.tar") == []
    assert result.only("file_failed")["class"] == "expired"


def test_the_servers_clock_outranks_a_wrong_one_here(box: Sandbox, cdn: Cdn) -> None:
    """By this machine's clock the links are over; by the server's they are not: they are tried."""
    cdn.ahead = -2 * HOUR
    names = ["open.tar", "a.tar", "b.tar"]
    blobs = {name: cdn.serve(name) for name in names}
    date = f"Date: {formatdate(time.time() + cdn.ahead, usegmt=True)}"
    cdn.server.serve("/v/open.tar", file(blobs["open.tar"], headers=(date,)))
    links = {name: cdn.link(name) for name in names}
    links["open.tar"] = links["open.tar"].partition("?")[0]

    box.get(box.table(links), "-j", "1")

    assert box.files() == blobs


def vendor_links(base: str, end: float) -> dict[str, str]:
    """A link of each vendor that expires at this instant."""
    begin = f"{datetime.fromtimestamp(end - 60, UTC):%Y%m%dT%H%M%SZ}"
    until = f"{datetime.fromtimestamp(end, UTC):%Y-%m-%dT%H%%3A%M%%3A%SZ}"
    policy = f'{{"Statement":[{{"Condition":{{"DateLessThan":{{"AWS:EpochTime":{int(end)}}}}}}}]}}'
    text = b64encode(policy.encode()).decode().translate(str.maketrans("+=/", "-_~"))
    queries = {
        "meta": f"oh=00_SECRET&oe={int(end):x}",
        "s3": f"X-Amz-Date={begin}&X-Amz-Expires=60&X-Amz-Signature=SECRET",
        "s3-of-old": f"AWSAccessKeyId=A&Expires={int(end)}&Signature=SECRET",
        "google": f"X-Goog-Date={begin}&X-Goog-Expires=60&X-Goog-Signature=SECRET",
        "azure": f"sv=2022-11-02&se={until}&sr=b&sig=SECRET",
        "cloudfront": f"Expires={int(end)}&Signature=SECRET&Key-Pair-Id=K",
        "cloudfront-policy": f"Policy={text}&Signature=SECRET&Key-Pair-Id=K",
    }
    return {name: f"{base}/{name}?{query}" for name, query in queries.items()}


def test_each_vendors_links_tell_when_they_are_over(box: Sandbox, server: FaultServer) -> None:
    """Over: not even tried, one message; good: fetched, byte for byte as the list has them."""
    over = vendor_links(server.base, time.time() - HOUR)
    good = vendor_links(server.base, time.time() + HOUR)
    for name in good:
        server.serve(f"/{name}", file(name.encode()))

    result = box.get(box.table(over), expect=1)
    asked = len(server.requests)
    box.get(box.table(good))

    assert asked == 0
    assert result.stderr.count(f"{len(over)} links expired at ") == 1, result.story
    assert {event["class"] for event in result.of("file_failed")} == {"expired"}
    assert box.files() == {name: name.encode() for name in good}
    assert sorted(request.target for request in server.requests) == sorted(
        url.removeprefix(server.base) for url in good.values()
    )


def test_a_cut_link_among_whole_ones_is_named_as_cut(box: Sandbox, cdn: Cdn) -> None:
    """Told of before the start, and not called expired or forbidden when it is refused."""
    blobs = {name: cdn.serve(name) for name in ("a.tar", "b.tar")}
    cdn.server.serve("/v/c.tar", status(403))
    links = {name: cdn.link(name) for name in (*blobs, "c.tar")}
    links["c.tar"] = links["c.tar"].partition("?")[0]

    result = box.get(box.table(links), expect=1)

    assert box.files() == blobs
    assert result.stderr.count("1 of the chosen links lacks oh and oe") == 1, result.story
    failed = result.only("file_failed")
    assert (failed["class"], failed["cause"]) == ("permanent", "cut_link")
    assert "seems to be cut" in failed["reason"]


# ---------------------------------------------------------------- a list that is replaced


def test_expired_files_go_on_with_a_list_that_is_replaced(box: Sandbox, cdn: Cdn) -> None:
    """One run from its first file to its last, over the end of all its links."""
    gate = threading.Event()
    names = [f"{letter}.tar" for letter in "abcd"]
    blobs = {name: cdn.serve(name) for name in names}
    cdn.serve("d.tar", held(blobs["d.tar"], gate))
    last = cdn.link("d.tar", 3 * HOUR)
    links = box.table({**{name: cdn.link(name) for name in names[:3]}, "d.tar": last})
    cdn.ahead = 2 * HOUR

    with box.start_get(links, "-j", "1", *QUICK_LOOKS) as run:
        hears(run, "of those to come expired meanwhile")
        wait_until(lambda: box.part_size("d.tar") == CUT)
        replace_list(box, {**{name: cdn.link(name) for name in names[:3]}, "d.tar": last})
        hears(run, "was replaced: fresh links for 3 of ")
        gate.set()
        result = run.finish()

    assert box.files() == blobs
    assert len(result.of("run_started")) == 1
    assert result.of("file_failed") == []
    assert [len(cdn.asked_for(name)) for name in names] == [2, 1, 1, 1]


@pytest.mark.parametrize("refusal", [403, 404])
def test_one_that_is_refused_by_its_old_link_goes_on_with_the_new_one(
    box: Sandbox, cdn: Cdn, refusal: int
) -> None:
    """The list was replaced while the request was under way: over, or gone from there."""
    gate = threading.Event()
    good = cdn.serve("a.tar")
    old, over = cdn.link("old.tar"), threading.Event()

    def refuse(request: Request) -> Reply:
        over.set()
        date = f"Date: {formatdate(time.time() + 2 * HOUR, usegmt=True)}"
        return status(refusal, date).but(gate=gate)

    cdn.server.serve("/v/old.tar", refuse)
    cdn.ahead = 2 * HOUR

    with box.start_get(box.table({"a.tar": old}), *QUICK_LOOKS) as run:
        wait_until(over.is_set)
        replace_list(box, {"a.tar": cdn.link("a.tar")})
        hears(run, "was replaced: fresh links for 1 of ")
        gate.set()
        run.finish()

    assert box.files() == {"a.tar": good}


def run_with_list(
    box: Sandbox, cdn: Cdn, act: Callable[[Run, dict[str, str]], None]
) -> tuple[dict[str, bytes], str]:
    """A run of two files, one after the other; `act` happens while the first one comes. Returns
    what was to come, and what was said.
    """
    gate = threading.Event()
    blobs = {name: cdn.serve(name) for name in ("a.tar", "b.tar")}
    cdn.serve("a.tar", held(blobs["a.tar"], gate))
    links = {name: cdn.link(name) for name in blobs}
    box.table(links)
    with box.start_get(box.root / "links.tsv", "-j", "1", *QUICK_LOOKS) as run:
        wait_until(lambda: box.part_size("a.tar") == CUT)
        act(run, links)
        gate.set()
        return blobs, run.finish().stderr


def test_a_broken_new_list_is_reported_and_the_old_one_stays(box: Sandbox, cdn: Cdn) -> None:
    """File, line and reason; the run goes on with what it had."""

    def act(run: Run, links: dict[str, str]) -> None:
        fresh = {name: cdn.link(name, 2 * HOUR) for name in links}
        replace_list(box, {**fresh, "c.tar": "ftp://example.org/c.tar?oh=SECRET"})
        hears(run, "The old links stay.")

    blobs, said = run_with_list(box, cdn, act)

    assert box.files() == blobs
    assert f"{box.root / 'links.tsv'}:4: this is no http or https URL" in said
    assert said.count("The old links stay.") == 1
    assert "SECRET" not in said


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda _: "", "its links are cut: they lack oh and oe."),
        (lambda over: f"?oh=SECRET&oe={int(over):X}", "its links have expired (the last at "),
    ],
)
def test_a_new_list_of_links_that_are_of_no_use_is_not_taken(
    box: Sandbox, cdn: Cdn, end: Callable[[float], str], reason: str
) -> None:
    """Cut, or over, while the old ones are good: all comes by these."""

    def act(run: Run, links: dict[str, str]) -> None:
        over = end(time.time() - 600)
        replace_list(box, {name: url.partition("?")[0] + over for name, url in links.items()})
        hears(run, "The old links stay.")

    blobs, said = run_with_list(box, cdn, act)

    assert box.files() == blobs
    assert f"is not taken up: {reason}" in said
    assert [len(cdn.asked_for(name)) for name in blobs] == [1, 1]


def test_the_last_list_counts(box: Sandbox, cdn: Cdn) -> None:
    """Replaced twice, the second time in place: what is to come takes the newest link."""
    newest = {name: cdn.link(name, 3 * HOUR) for name in ("a.tar", "b.tar")}

    def act(run: Run, links: dict[str, str]) -> None:
        replace_list(box, {name: cdn.link(name, 2 * HOUR) for name in links})
        hears(run, "was replaced: fresh links for 2 of ")
        (box.root / "links.tsv").write_text(table_text(newest))
        hears(run, "was replaced: fresh links for 2 of ", times=2)

    blobs, _ = run_with_list(box, cdn, act)

    assert box.files() == blobs
    asked = [cdn.server.base + request.target for request in cdn.asked_for("b.tar")]
    assert asked == [newest["b.tar"]]


# ---------------------------------------------------------------- a list that is waited for


def expired_list(box: Sandbox, cdn: Cdn) -> tuple[dict[str, bytes], Path]:
    blobs = {name: cdn.serve(name) for name in ("a.tar", "b.tar", "c.tar")}
    return blobs, box.table({name: cdn.link(name, -HOUR) for name in blobs})


def test_a_run_waits_for_fresh_links(box: Sandbox, cdn: Cdn) -> None:
    """All have expired: nothing is asked for until the list is replaced, and then all comes."""
    blobs, links = expired_list(box, cdn)

    with box.start_get(links, "--wait-for-links", "30s", *QUICK_LOOKS) as run:
        hears(run, "waiting for fresh ones")
        assert cdn.server.requests == []
        replace_list(box, {name: cdn.link(name) for name in blobs})
        result = run.finish()

    assert box.files() == blobs
    assert result.stderr.count("3 links expired at ") == 1, result.story


def test_a_run_does_not_wait_for_fresh_links_for_ever(box: Sandbox, cdn: Cdn) -> None:
    """After the time it ends as one that does not wait."""
    _, links = expired_list(box, cdn)

    result = box.get(links, "--wait-for-links", "1s", *QUICK_LOOKS, expect=1)

    assert result.only("run_finished")["seconds"] >= 1
    assert {event["class"] for event in result.of("file_failed")} == {"expired"}
    assert len(result.of("file_failed")) == 3
    assert cdn.server.requests == []


# ---------------------------------------------------------------- mirrors

OLD = random_bytes(1_000_000, 1)
HALF = 600_000
MONDAY, TUESDAY = "Mon, 01 Sep 2025 10:00:00 GMT", "Tue, 02 Sep 2025 10:00:00 GMT"


def leave_half(box: Sandbox, server: FaultServer) -> None:
    """An earlier run came so far, at one place."""
    reply = file(OLD, etag='"here"', modified=MONDAY).cut_at(HALF)
    route = server.serve("/here/a.tar", reply, status(404))
    box.get(route.url, expect=1)
    assert box.part_size("a.tar") == HALF


def test_a_part_goes_on_from_a_mirror(box: Sandbox, server: FaultServer) -> None:
    """Another path, ETag and date; the size and the bytes are the same: a range is enough."""
    leave_half(box, server)
    mirror = server.serve("/pub/a.tar", file(OLD, etag='"there"', modified=TUESDAY))

    box.get(mirror.url)

    assert box.files() == {"a.tar": OLD}
    assert mirror.starts == [HALF - OVERLAP]


@pytest.mark.parametrize("other", [random_bytes(1_000_000, 2), random_bytes(1_300_000, 3)])
def test_another_file_of_the_same_name_is_never_mixed_in(
    box: Sandbox, server: FaultServer, other: bytes
) -> None:
    """As long, and with our validators, or longer: it is fetched from its beginning."""
    leave_half(box, server)
    mirror = server.serve("/pub/a.tar", file(other, etag='"here"', modified=MONDAY))

    box.get(mirror.url)

    assert box.files() == {"a.tar": other}
    assert mirror.starts[-1] == 0
