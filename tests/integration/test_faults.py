"""What `wgetpool get` does when servers fail: classes, tries, waits, stalls."""

from __future__ import annotations

import re
import signal
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from support.faultserver import FaultServer, Reply, file, not_http, redirect, status
from support.runner import OVERLAP, Event, Sandbox, random_bytes, wait_until

pytest_plugins = ["support.fixtures"]

KIB = 1024
DATA = random_bytes(300_000)
WHOLE = file(DATA)
CERTIFICATE = Path(__file__).parents[1] / "support" / "untrusted.pem"


def is_failed_attempt(event: Event) -> bool:
    """The fields that the contract gives each failed attempt."""
    return bool(event["name"] and event["reason"] and event["class"]) and "retry_in" in event


# ---------------------------------------------------------------- transient: again, and it succeeds


def test_a_status_that_passes_is_tried_again(box: Sandbox, server: FaultServer) -> None:
    """408 425 429 and any 5xx are transient: one back-off, then the file."""
    codes = [408, 425, 429, 500, 501, 502, 503, 504, 507, 522, 599]
    routes = {f"{n}.tar": server.serve(f"/{n}.tar", status(n), WHOLE) for n in codes}

    result = box.get(box.links(*(route.url for route in routes.values())), "-j", 8)

    assert box.files() == dict.fromkeys(routes, DATA)
    for name, route in routes.items():
        failed = result.only("attempt_failed", name)
        assert is_failed_attempt(failed)
        assert failed["class"] == "transient"
        assert failed["retry_in"] >= 0
        assert name.removesuffix(".tar") in failed["reason"]
        assert result.only("file_done", name)["attempts"] == 2
        assert len(route.requests) == 2


BREAKS = {
    "closed before its head": WHOLE.cut_at(-1),
    "reset before its head": WHOLE.cut_at(-1, "reset"),
    "closed in its body": WHOLE.cut_at(100_000),
    "reset in its body": WHOLE.cut_at(100_000, "reset"),
    "closed before its body": WHOLE.cut_at(0),
    "closed before the last byte": WHOLE.cut_at(len(DATA) - 1),
    "a chunked body cut": file(DATA, framing="chunked").cut_at(100_000),
    "a body without length reset": file(DATA, framing="close").cut_at(100_000, "reset"),
    "no file": status(204, body=b""),
    "not HTTP": not_http(),
    "not HTTP and long": not_http(b"\x16\x03\x01" + bytes(5000)),
    "an answer of nothing but a newline": not_http(b"\r\n\r\n"),
}


def test_a_connection_that_breaks_is_tried_again(box: Sandbox, server: FaultServer) -> None:
    """Early close, reset, 204, an answer that is not HTTP: transient, then the file, byte-exact."""
    rows = {
        name: server.serve(f"/{n}", reply, WHOLE).url
        for n, (name, reply) in enumerate(BREAKS.items())
    }

    result = box.get(box.table(rows), "-j", 8)

    assert box.files() == dict.fromkeys(BREAKS, DATA)
    for name in BREAKS:
        failed = result.only("attempt_failed", name)
        assert is_failed_attempt(failed)
        assert failed["class"] == "transient", name
        assert result.only("file_done", name)["attempts"] == 2, f"{name}: {result.story}"


def test_a_server_that_comes_late_is_waited_for(box: Sandbox) -> None:
    """Connection refused is transient."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/a.tar"

    result = box.get(url, "--tries", 3, expect=1)

    assert [event["class"] for event in result.of("attempt_failed")] == ["transient"] * 3
    assert result.only("file_failed")["class"] == "transient"
    assert box.files() == {}


def test_a_name_that_does_not_resolve_is_tried_again(box: Sandbox) -> None:
    """DNS failure is transient: --tries attempts, then the file fails."""
    result = box.get("http://nowhere.invalid/a.tar", "--tries", 2, "--timeout", 5, expect=1)

    assert [event["class"] for event in result.of("attempt_failed")] == ["transient"] * 2


def test_a_cut_body_is_continued_and_not_fetched_again(box: Sandbox, server: FaultServer) -> None:
    """After an early close only what is missing is asked for, and at most 64 KiB once more."""
    route = server.serve("/a.tar", WHOLE.cut_at(200_000), WHOLE)

    box.get(route.url)

    assert box.files() == {"a.tar": DATA}
    assert 200_000 - OVERLAP <= route.starts[1] <= 200_000


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_body_arrives_whole_in_any_framing(
    box: Sandbox, server: FaultServer, framing: str
) -> None:
    """Content-Length, chunked, or the end of the connection."""
    box.get(server.serve("/a.tar", file(DATA, framing=framing)).url)

    assert box.files() == {"a.tar": DATA}


def test_a_line_that_breaks_every_256_kib_brings_the_file(
    box: Sandbox, server: FaultServer
) -> None:
    """Attempts that bring real progress do not count: a bad line gets through with few tries."""
    data = random_bytes(3 * 1024 * KIB, 3)
    route = server.serve("/a.tar", file(data).cut_at(256 * KIB))

    result = box.get(route.url, "--tries", 2)

    assert box.files() == {"a.tar": data}
    assert len(route.requests) >= len(data) // (256 * KIB)
    assert route.sent <= len(data) + len(route.requests) * OVERLAP
    assert result.only("file_done")["attempts"] == len(route.requests)


def test_small_steps_of_a_small_file_are_progress(box: Sandbox, server: FaultServer) -> None:
    """1 % of the file is progress too, where that is less than 64 KiB."""
    data = random_bytes(40 * KIB, 4)
    cuts = [file(data).cut_at(size * KIB) for size in (4, 8, 12, 16, 20, 24, 28, 32, 36)]
    route = server.serve("/a.tar", *cuts, file(data))

    box.get(route.url, "--tries", 2)

    assert box.files() == {"a.tar": data}


# ---------------------------------------------------------------- tries and waits


@pytest.mark.parametrize("tries", [1, 3])
def test_barren_attempts_are_counted(box: Sandbox, server: FaultServer, tries: int) -> None:
    """--tries T: after T attempts in a row without progress the file fails."""
    route = server.serve("/a.tar", status(503))

    result = box.get(route.url, "--tries", tries, expect=1)

    assert len(route.requests) == tries
    waits = [event["retry_in"] for event in result.of("attempt_failed")]
    assert len(waits) == tries
    assert waits[-1] is None
    assert all(wait is not None for wait in waits[:-1])
    failed = result.only("file_failed")
    assert failed["class"] == "transient"
    assert "503" in failed["reason"]
    assert result.only("run_finished")["failed"] == 1


def test_five_tries_are_the_default(box: Sandbox, server: FaultServer) -> None:
    """--tries is 5 unless said otherwise."""
    route = server.serve("/a.tar", status(500))

    box.get(route.url, expect=1)

    assert len(route.requests) == 5


def test_a_thousand_bytes_are_no_progress(box: Sandbox, server: FaultServer) -> None:
    """An attempt that ends less than 64 KiB and 1 % farther than ever is barren."""
    data = random_bytes(8 * 1024 * KIB, 5)
    route = server.serve("/a.tar", file(data).cut_at(1000))

    result = box.get(route.url, "--tries", 3, expect=1)

    assert len(route.requests) == 3
    assert result.only("file_failed")["class"] == "transient"
    assert "a.tar" not in box.files()


def test_progress_starts_the_count_anew(box: Sandbox, server: FaultServer) -> None:
    """Barren attempts in a row are what counts: progress between them forgives the earlier ones."""
    data = random_bytes(1024 * KIB, 6)
    cut = file(data).cut_at(256 * KIB)
    barren = status(503)
    script = [barren, barren, cut, barren, barren, cut, barren, barren, file(data)]
    route = server.serve("/a.tar", *script)

    box.get(route.url, "--tries", 3)

    assert len(route.requests) == len(script)
    assert box.files() == {"a.tar": data}


def test_a_server_that_ignores_ranges_and_always_cuts_does_not_go_on_for_ever(
    box: Sandbox, server: FaultServer
) -> None:
    """Getting as far as before is no progress: the file fails after its tries."""
    data = random_bytes(2 * 1024 * KIB, 7)
    route = server.serve("/a.tar", file(data, ranges=False).cut_at(512 * KIB))

    result = box.get(route.url, "--tries", 3, expect=1)

    assert len(route.requests) <= 9
    assert result.only("file_failed")["class"] == "transient"
    assert "a.tar" not in box.files()


def test_waits_have_an_upper_limit(box: Sandbox, server: FaultServer) -> None:
    """--backoff-max bounds every wait, whatever --backoff says."""
    route = server.serve("/a.tar", *[status(503)] * 4, WHOLE)

    result = box.get(route.url, "--backoff", "1h", "--backoff-max", 0.1)

    waits = [event["retry_in"] for event in result.of("attempt_failed")]
    assert len(waits) == 4
    assert all(0 <= wait <= 0.101 for wait in waits)


def test_the_first_wait_is_the_backoff(box: Sandbox, server: FaultServer) -> None:
    """--backoff S: no first wait is longer, no second one longer than twice of it."""
    urls = [server.serve(f"/{n}", status(503), status(503), WHOLE).url for n in range(10)]

    result = box.get(box.links(*urls), "--backoff", 0.2, "-j", 10)

    waits = [[e["retry_in"] for e in result.of("attempt_failed", str(n))] for n in range(10)]
    assert all(first <= 0.2 and second <= 0.4 for first, second in waits)
    assert len({first for first, _ in waits}) > 1, "no jitter"


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_obeyed(box: Sandbox, server: FaultServer, code: int) -> None:
    """Retry-After in seconds: the next request does not come before."""
    route = server.serve("/a.tar", status(code, "Retry-After: 2"), WHOLE)

    result = box.get(route.url)

    first, second = route.requests
    assert 2 <= second.at - first.at < 6
    assert result.only("attempt_failed")["retry_in"] >= 1.5
    assert box.files() == {"a.tar": DATA}


def test_retry_after_may_be_a_date(box: Sandbox, server: FaultServer) -> None:
    """Retry-After as an HTTP date is obeyed too."""
    until = (datetime.now(UTC) + timedelta(seconds=4)).replace(microsecond=0)
    line = f"Retry-After: {format_datetime(until, usegmt=True)}"
    route = server.serve("/a.tar", status(503, line), WHOLE)

    box.get(route.url)

    assert len(route.requests) == 2
    assert datetime.now(UTC) >= until


def test_a_retry_after_that_makes_no_sense_does_no_harm(box: Sandbox, server: FaultServer) -> None:
    """A value that is no length of time is passed over."""
    for n, value in enumerate(["soon", "-5", "", "1e400", "0", "Mon, 99 Foo 2025"]):
        server.serve(f"/{n}", status(503, f"Retry-After: {value}"), WHOLE)

    result = box.get(*(f"{server.base}/{n}" for n in range(6)), "-j", 6)

    assert max(event["retry_in"] for event in result.of("attempt_failed")) <= 0.1
    assert len(box.files()) == 6


@pytest.mark.parametrize("value", ["7200", "99999999999999999999"])
def test_a_retry_after_is_obeyed_for_an_hour_at_most(
    box: Sandbox, server: FaultServer, value: str
) -> None:
    """Up to 1 h a time: who says more waits for an hour, and does not fail."""
    route = server.serve("/a.tar", status(503, f"Retry-After: {value}"))

    with box.start_get(route.url) as run:
        wait_until(lambda: "attempt_failed" in run.stdout or not run.alive)
        run.signal(signal.SIGTERM)
        result = run.finish(expect=143)

    assert 3000 <= result.only("attempt_failed")["retry_in"] <= 3700


def test_a_file_that_waits_holds_no_worker(box: Sandbox, server: FaultServer) -> None:
    """While one file waits for its next attempt, the only worker fetches the others."""
    slow = server.serve("/slow", status(503, "Retry-After: 3"), WHOLE)
    others = [server.serve(f"/{n}", WHOLE) for n in range(3)]
    urls = [slow.url, *(route.url for route in others)]

    box.get(box.links(*urls), "-j", 1)

    assert all(route.requests[0].at < slow.requests[1].at for route in others)
    assert len(box.files()) == 4


# ---------------------------------------------------------------- stalls and slowness


@pytest.mark.parametrize("size", [0, 200_000], ids=["before the body", "in the body"])
def test_a_stall_is_ended_and_continued(box: Sandbox, server: FaultServer, size: int) -> None:
    """--stall-timeout: no new byte for so long, the wget is ended and the part continued."""
    route = server.serve("/a.tar", WHOLE.cut_at(size, "stall"), WHOLE)

    result = box.get(route.url, "--stall-timeout", 1, timeout=15)

    assert box.files() == {"a.tar": DATA}
    assert result.only("attempt_failed")["class"] == "transient"
    assert route.starts[1] >= size - OVERLAP
    assert 0.8 <= route.requests[1].at - route.requests[0].at < 8


@pytest.mark.parametrize("size", [-1, 0, 200_000], ids=["no head", "no body", "in the body"])
def test_a_silent_server_times_out(box: Sandbox, server: FaultServer, size: int) -> None:
    """--timeout: wget's own time-outs, for a head that does not come too."""
    route = server.serve("/a.tar", WHOLE.cut_at(size, "stall"), WHOLE)

    result = box.get(route.url, "--timeout", 2, timeout=15)

    assert box.files() == {"a.tar": DATA}
    failed = result.only("attempt_failed")
    assert (failed["class"], failed["cause"]) == (
        "transient",
        "timed_out" if size < 0 else "stalled",
    )
    assert size < 0 or failed["reason"].startswith("no new byte for 2 s")


def test_a_trickle_is_a_stall(box: Sandbox, server: FaultServer) -> None:
    """A mean rate under --min-rate over the stall time counts as a stall, bytes or not."""
    route = server.serve("/a.tar", WHOLE.cut_at(150_000, "drip"), WHOLE)

    result = box.get(route.url, "--stall-timeout", 2, timeout=20)

    assert box.files() == {"a.tar": DATA}
    assert result.only("attempt_failed")["class"] == "transient"
    assert route.starts[1] >= 150_000 - OVERLAP


def test_a_slow_line_is_slow_by_the_rate_that_is_asked(box: Sandbox, server: FaultServer) -> None:
    """--min-rate R: 50 KB/s are a stall when 1 MB/s is the least."""
    data = random_bytes(600_000, 8)
    route = server.serve("/a.tar", file(data, pace=(5_000, 0.1)), file(data))

    box.get(route.url, "--stall-timeout", 1, "--min-rate", "1M", timeout=20)

    assert len(route.requests) == 2
    assert box.files() == {"a.tar": data}


def test_a_trickle_goes_on_where_no_rate_is_asked(box: Sandbox, server: FaultServer) -> None:
    """--min-rate 0: what comes at all is good enough."""
    route = server.serve("/a.tar", WHOLE.cut_at(len(DATA) - 15, "drip"))

    result = box.get(route.url, "--stall-timeout", 1, "--min-rate", 0, timeout=15)

    assert len(route.requests) == 1 or result.of("attempt_failed")
    assert box.files() == {"a.tar": DATA}


def test_an_attempt_has_a_longest_time(box: Sandbox, server: FaultServer) -> None:
    """--attempt-timeout: a wget that runs longer is ended, and its part continued."""
    data = random_bytes(1_000_000, 9)
    route = server.serve("/a.tar", file(data, pace=(50_000, 0.2)), file(data))

    box.get(route.url, "--attempt-timeout", 1, timeout=15)

    assert box.files() == {"a.tar": data}
    assert len(route.requests) == 2
    assert route.starts[1] > 0


# ---------------------------------------------------------------- permanent


PERMANENT = [400, 401, 402, 403, 404, 405, 406, 410, 418, 422, 451]


def test_a_refusal_fails_at_once(box: Sandbox, server: FaultServer) -> None:
    """4xx but 408 425 429: one request, the file fails, the others do not care."""
    routes = {f"{n}.tar": server.serve(f"/{n}.tar", status(n)) for n in PERMANENT}
    good = server.serve("/good.tar", WHOLE)

    result = box.get(box.links(*(r.url for r in routes.values()), good.url), "-j", 8, expect=1)

    assert box.files() == {"good.tar": DATA}
    for name, route in routes.items():
        assert len(route.requests) == 1, name
        failed = result.only("file_failed", name)
        assert failed["class"] == "permanent"
        assert name.removesuffix(".tar") in failed["reason"] or failed["reason"]
        assert result.only("attempt_failed", name)["retry_in"] is None
    finished = result.only("run_finished")
    assert (finished["done"], finished["failed"]) == (1, len(PERMANENT))


def test_a_refusal_is_said_with_its_status(box: Sandbox, server: FaultServer) -> None:
    """For people too: the name, and why."""
    route = server.serve("/gone.tar", status(404))

    result = box.run("get", route.url, "-o", box.dir, expect=1)

    assert re.search(r"gone\.tar.*404", result.stdout + result.stderr)


def test_a_refused_file_is_tried_again_by_the_next_run(box: Sandbox, server: FaultServer) -> None:
    """A failure is for this run: the same command again asks again."""
    route = server.serve("/a.tar", status(404), WHOLE)
    box.get(route.url, expect=1)

    box.get(route.url)

    assert box.files() == {"a.tar": DATA}


def test_a_redirect_loop_fails_at_once(box: Sandbox, server: FaultServer) -> None:
    """Permanent: one attempt, no endless round."""
    server.serve("/a.tar", redirect("/b.tar"))
    server.serve("/b.tar", redirect("/a.tar"))

    result = box.get(f"{server.base}/a.tar", expect=1)

    assert result.only("file_failed")["class"] == "permanent"
    assert len(result.of("attempt_failed")) == 1
    assert len(server.requests) <= 30


def test_a_certificate_that_nobody_signed_is_refused(box: Sandbox) -> None:
    """TLS certificate refused: permanent, and nothing is asked for."""
    with FaultServer(CERTIFICATE) as server:
        route = server.serve("/a.tar", WHOLE)

        result = box.get(route.url, expect=1)

        assert result.only("file_failed")["class"] == "permanent"
        assert len(result.of("attempt_failed")) == 1
        assert not route.requests
    assert box.files() == {}


def test_bad_authentication_fails_at_once(box: Sandbox, server: FaultServer) -> None:
    """401 with a challenge: permanent."""
    route = server.serve("/a.tar", status(401, 'WWW-Authenticate: Basic realm="x"'))
    url = route.url.replace("http://", "http://user:wrong@")

    result = box.get(box.links(url), expect=1)

    assert result.only("file_failed")["class"] == "permanent"
    assert len(route.requests) <= 2


def test_further_statuses_may_be_transient(box: Sandbox, server: FaultServer) -> None:
    """--retry-status LIST: these are tried again, the other refusals are not."""
    a = server.serve("/a.tar", status(403), WHOLE)
    b = server.serve("/b.tar", status(404), WHOLE)
    c = server.serve("/c.tar", status(410), WHOLE)

    result = box.get(a.url, b.url, c.url, "--retry-status", "403,404", expect=1)

    assert box.files() == {"a.tar": DATA, "b.tar": DATA}
    assert result.only("file_failed")["name"] == "c.tar"
    assert len(c.requests) == 1


@pytest.mark.parametrize("code", [403, 410])
def test_a_link_that_has_expired_is_named_as_such(
    box: Sandbox, server: FaultServer, code: int
) -> None:
    """403 or 410 after the expiry of a signed URL: expired, at once, and what to do is said."""
    past = format(int(time.time()) - 3600, "X")
    urls = [
        server.serve(f"/{n}", status(code), query=f"?oh=00_AfX&oe={past}&_nc_gid").url
        for n in range(2)
    ]

    result = box.get(box.table({f"{n}.tar": url for n, url in enumerate(urls)}), expect=1)

    assert [event["class"] for event in result.of("file_failed")] == ["expired"] * 2
    assert len(server.requests) <= 2
    assert re.search(r"\b2\b", result.said)
    assert "links" in result.said


def test_a_refusal_before_the_expiry_is_a_plain_one(box: Sandbox, server: FaultServer) -> None:
    """403 on a signed URL whose time has not come: permanent."""
    future = format(int(time.time()) + 3600, "X")
    route = server.serve("/a", status(403), query=f"?oh=00_AfX&oe={future}&_nc_gid")

    result = box.get(box.table({"a.tar": route.url}), expect=1)

    assert result.only("file_failed")["class"] == "permanent"


# ---------------------------------------------------------------- answers that fit nothing


ALWAYS: dict[str, Reply] = {
    "no file": status(204, body=b""),
    "not HTTP": not_http(),
    "closed": WHOLE.cut_at(-1),
    "416 to all": status(416),
    "416 with a total": status(416, "Content-Range: bytes */300000"),
    "412 to all": status(412),
    "short": file(DATA, length=len(DATA) + 5000),
    "chunked and cut": file(DATA, framing="chunked", ranges=False).cut_at(1000),
}


def test_what_never_brings_a_file_ends_in_a_failure(box: Sandbox, server: FaultServer) -> None:
    """Each of these, for ever: a bounded number of requests, exit 1, and no file."""
    routes = {name: server.serve(f"/{n}", ALWAYS[name]) for n, name in enumerate(ALWAYS)}
    rows = {name: route.url for name, route in routes.items()}

    result = box.get(box.table(rows), "--tries", 2, "-j", 8, expect=1)

    assert result.names("file_failed") == sorted(ALWAYS)
    assert not [name for name in box.files() if not name.endswith(".part")]
    assert {
        name: len(route.requests) for name, route in routes.items() if len(route.requests) > 8
    } == {}


def test_204_is_transient(box: Sandbox, server: FaultServer) -> None:
    """An answer that carries no file is no empty file: --tries attempts, then a failure."""
    route = server.serve("/a.tar", status(204, body=b""))

    result = box.get(route.url, "--tries", 2, expect=1)

    assert result.only("file_failed")["class"] == "transient"
    assert len(route.requests) == 2
    assert "a.tar" not in box.files()


def test_a_failed_file_leaves_no_empty_part(box: Sandbox, server: FaultServer) -> None:
    """wget makes an empty file for a 404: it is not left lying in DIR."""
    box.get(server.serve("/a.tar", status(404)).url, expect=1)

    assert box.files() == {}


@pytest.mark.parametrize(
    "wrong",
    [
        WHOLE.but(start_at=5),
        WHOLE.but(content_range="X-Nothing: 1"),
        WHOLE.but(content_range="Content-Range: bytes 7-299999/300000"),
        WHOLE.but(content_range="Content-Range: bytes nonsense"),
    ],
    ids=["starts elsewhere", "no Content-Range", "says another start", "nonsense"],
)
def test_a_wrong_content_range_is_never_spliced_in(
    box: Sandbox, server: FaultServer, wrong: Reply
) -> None:
    """A 206 that begins elsewhere, or does not say where, never ends up in the file."""
    route = server.serve("/a.tar", WHOLE.cut_at(200_000), wrong, WHOLE)

    box.get(route.url)

    assert box.files() == {"a.tar": DATA}


def test_wrong_content_ranges_for_ever_give_no_wrong_file(
    box: Sandbox, server: FaultServer
) -> None:
    """The file arrives by a full fetch, or fails: it is never wrong."""
    route = server.serve("/a.tar", WHOLE.cut_at(200_000), WHOLE.but(start_at=5))

    result = box.get(route.url, "--tries", 3, expect=None)

    assert result.code in (0, 1)
    assert len(route.requests) <= 10
    assert box.files().get("a.tar", DATA) == DATA


def test_a_login_page_with_200_does_not_end_up_in_a_part(box: Sandbox, server: FaultServer) -> None:
    """A page that a portal sends instead of the rest: the file is right in the end."""
    page = Reply(data=b"<html>please log in</html>" * 100, ranges=False)
    route = server.serve("/a.tar", WHOLE.cut_at(200_000), page, WHOLE)
    links = box.links("url\tname\tsize", f"{route.url}\ta.tar\t{len(DATA)}")

    box.get(links)

    assert box.files() == {"a.tar": DATA}


def test_a_body_without_length_that_is_cut_is_caught_by_the_listed_size(
    box: Sandbox, server: FaultServer
) -> None:
    """wget takes a closed connection for the end; a size in the list knows better."""
    bare = file(DATA, framing="close", ranges=False)
    route = server.serve("/a.tar", bare.cut_at(100_000), bare)

    result = box.get(box.links("url\tname\tsize", f"{route.url}\ta.tar\t{len(DATA)}"))

    assert box.files() == {"a.tar": DATA}
    assert "size" in result.only("file_done")["proof"]


def test_more_body_than_its_length_is_not_read(box: Sandbox, server: FaultServer) -> None:
    """Content-Length is what counts."""
    box.get(server.serve("/a.tar", file(DATA, length=1000)).url)

    assert box.files() == {"a.tar": DATA[:1000]}
