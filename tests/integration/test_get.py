"""`wgetpool get` where nothing goes wrong: what arrives, its name, and what is left beside it."""

from __future__ import annotations

import hashlib
import re
import stat
import threading
import time
from datetime import datetime
from email.utils import formatdate

import pytest
from support.faultserver import FaultServer, file, redirect
from support.runner import Sandbox, random_bytes, wait_until

pytest_plugins = ["support.fixtures"]

DATA = random_bytes(300_000)


# ---------------------------------------------------------------- the plain case


def test_a_file_arrives_whole_in_one_attempt(box: Sandbox, server: FaultServer) -> None:
    """One URL: exit 0, the server's bytes, one request, and its size as the proof."""
    route = server.serve("/data/a.tar", file(DATA))

    result = box.get(route.url)

    assert box.files() == {"a.tar": DATA}
    assert len(route.requests) == 1
    done = result.only("file_done")
    assert (done["name"], done["bytes"], done["attempts"]) == ("a.tar", len(DATA), 1)
    assert done["proof"] == ["size"]
    assert done["seconds"] >= 0


def test_json_tells_the_run_from_start_to_end(box: Sandbox, server: FaultServer) -> None:
    """--json: one object a line, with event and time with offset; first start, last end."""
    urls = [server.serve(f"/{n}.tar", file(DATA)).url for n in range(3)]

    result = box.get(*urls)

    events = result.events
    assert events[0]["event"] == "run_started"
    last = events[-1]
    assert last["event"] == "run_finished"
    assert (last["done"], last["skipped"], last["failed"]) == (3, 0, 0)
    assert last["bytes"] == 3 * len(DATA)
    assert last["seconds"] > 0
    times = [datetime.fromisoformat(event["time"]) for event in events]
    assert all(at.utcoffset() is not None for at in times)
    assert times == sorted(times)


def test_without_json_the_output_is_plain_text(box: Sandbox, server: FaultServer) -> None:
    """Not on a terminal: plain lines that name the file, without control characters."""
    route = server.serve("/a.tar", file(DATA))

    result = box.run("get", route.url, "-o", box.dir)

    text = result.stdout + result.stderr
    assert "a.tar" in text
    assert not [c for c in text if ord(c) < 32 and c not in "\n\t"]


def test_quiet_says_no_more_than_the_summary(box: Sandbox, server: FaultServer) -> None:
    """--quiet: failures and the summary only."""
    urls = [server.serve(f"/unique{n}.tar", file(DATA)).url for n in range(3)]

    result = box.run("get", *urls, "-o", box.dir, "--quiet")

    assert "unique" not in result.stdout + result.stderr
    assert len((result.stdout + result.stderr).splitlines()) <= 8


def test_several_sources_are_one_job(box: Sandbox, server: FaultServer) -> None:
    """URLs and links files may be mixed; their order is the order of the list."""
    for name in "abcd":
        server.serve(f"/{name}.tar", file(DATA + name.encode()))
    first = box.links(f"{server.base}/a.tar", f"{server.base}/b.tar", name="one.txt")
    second = box.table({"sub/renamed.tar": f"{server.base}/d.tar"}, name="two.tsv")

    box.get(first, f"{server.base}/c.tar", second)

    expected = {f"{name}.tar": DATA + name.encode() for name in "abc"}
    assert box.files() == {**expected, "sub/renamed.tar": DATA + b"d"}


def test_a_list_is_read_from_standard_input(box: Sandbox, server: FaultServer) -> None:
    """`-` is a links file like any other, a table too."""
    server.serve("/x", file(DATA))

    box.get("-", stdin=f"file_name\tcdn_link\nn.tar\t{server.base}/x".encode())

    assert box.files() == {"n.tar": DATA}


def test_a_file_of_no_bytes_is_a_file(box: Sandbox, server: FaultServer) -> None:
    """A 0-byte file is whole when it is there, and known the next time."""
    route = server.serve("/empty.tar", file(b""))

    result = box.get(route.url)
    again = box.get(route.url)

    assert box.files() == {"empty.tar": b""}
    assert result.only("file_done")["bytes"] == 0
    assert again.only("file_skipped")["why"] == "known"
    assert len(route.requests) == 1


def test_a_redirect_is_followed(box: Sandbox, server: FaultServer) -> None:
    """The file keeps the name that the list gives, wherever the redirect leads."""
    target = server.serve("/real/place", file(DATA))
    route = server.serve("/a.tar", redirect(target.url))

    box.get(route.url)

    assert box.files() == {"a.tar": DATA}


@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_run_at_once_as_asked_for(box: Sandbox, server: FaultServer, workers: int) -> None:
    """-j N: N files at a time when there are enough, never more."""
    gate = threading.Event()
    urls = [server.serve(f"/{n}", file(DATA, body_gate=gate)).url for n in range(workers + 2)]

    with box.start_get(box.links(*urls), "-j", workers) as run:
        wait_until(lambda: server.active == workers)
        gate.set()
        run.finish()

    assert server.peak == workers
    assert len(box.files()) == workers + 2


def test_four_run_at_once_unless_said_otherwise(box: Sandbox, server: FaultServer) -> None:
    """The default of -j is 4."""
    gate = threading.Event()
    urls = [server.serve(f"/{n}", file(DATA, body_gate=gate)).url for n in range(6)]

    with box.start_get(box.links(*urls)) as run:
        wait_until(lambda: server.active == 4)
        gate.set()
        run.finish()

    assert server.peak == 4


# ---------------------------------------------------------------- names


def test_odd_names_from_a_table_are_taken_as_they_are(box: Sandbox, server: FaultServer) -> None:
    """Blanks, quotes, %, a leading dash, shell characters, non-ASCII, folders: a name is a name."""
    names = [
        "with blank.tar",
        "it's.tar",
        'say "hi", you.tar',
        "100%.tar",
        "%41%2f.tar",
        "-O",
        "--output-document=x",
        "ünï-名.tar",
        "train/deep/er/a.tar",
        "tr*in?.tar",
        "[a-z].tar",
        "{a,b}.tar",
        "semi;colon & $(touch x) `touch y` | z.tar",
        "back\\slash.tar",
        ".hidden",
        "..dots..",
        "tilde~",
        "x" * 250,
    ]
    rows = ["url,name"]
    for number, name in enumerate(names):
        url = server.serve(f"/{number}", file(DATA + name.encode())).url
        rows.append(f'{url},"{name.replace(chr(34), chr(34) * 2)}"')

    box.get(box.links(*rows, name="odd.csv"))
    again = box.get(box.links(*rows, name="odd.csv"))

    assert box.files() == {name: DATA + name.encode() for name in names}
    assert again.names("file_skipped") == sorted(names)
    assert not list(box.cwd.iterdir())


URL_NAMES = {
    "/d/plain.tar": "plain.tar",
    "/d/with%20blank.tar": "with blank.tar",
    "/d/%C3%BCn%C3%AF.tar": "ünï.tar",
    "/d/100%25.tar": "100%.tar",
    "/d/-dash.tar": "-dash.tar",
    "/d/a+b.tar": "a+b.tar",
    "/d/semi;colon=1.tar": "semi;colon=1.tar",
    "/d/query.tar?name=other.tar&x=/y": "query.tar",
}


def test_a_plain_url_names_its_file(box: Sandbox, server: FaultServer) -> None:
    """The name is the last segment of the path, percent-decoded, without the query."""
    for path, name in URL_NAMES.items():
        server.serve(path, file(DATA + name.encode()))

    box.get(box.links(*(server.base + path for path in URL_NAMES)))

    assert box.files() == {name: DATA + name.encode() for name in URL_NAMES.values()}


HEADERS = [
    "url\tname",
    "link,filename",
    "cdn_link\tfile_name",
    "id,url,note,name",
    "name,url",
]


def test_a_table_is_known_by_its_header(box: Sandbox, server: FaultServer) -> None:
    """One column url, link or cdn_link, optionally one of names; TABs or commas; others pass."""
    lists = []
    for n, header in enumerate(HEADERS):
        url = server.serve(f"/opaque{n}", file(DATA)).url
        named = dict.fromkeys(("name", "filename", "file_name"), f"n{n}.tar")
        linked = dict.fromkeys(("url", "link", "cdn_link"), url)
        mark = "\t" if "\t" in header else ","
        row = mark.join((named | linked).get(column, "7") for column in header.split(mark))
        lists.append(box.links(header, row, name=f"list{n}"))

    box.get(*lists)

    assert box.files() == {f"n{n}.tar": DATA for n in range(len(HEADERS))}


def test_a_table_without_names_takes_them_from_the_urls(box: Sandbox, server: FaultServer) -> None:
    """A header with only a column of links: names as in a plain list."""
    url = server.serve("/some/a%20b.tar", file(DATA)).url

    box.get(box.links("cdn_link", url + "?x=1"))

    assert box.files() == {"a b.tar": DATA}


def test_marks_of_other_systems_in_a_list_do_not_matter(box: Sandbox, server: FaultServer) -> None:
    """BOM, CRLF, blanks at the ends, blank and comment lines, no last newline: all are read."""
    routes = [server.serve(f"/{name}.tar", file(DATA)) for name in "abc"]
    a, b, c = (route.url.encode() for route in routes)
    links = box.root / "odd.txt"
    links.write_bytes(b"\xef\xbb\xbf" + a + b"\r\n\r\n# a word\r\n  " + b + b" \t\r\n\n" + c)

    box.get(links)

    assert sorted(box.files()) == ["a.tar", "b.tar", "c.tar"]


def test_a_name_given_twice_from_one_url_is_one_file(box: Sandbox, server: FaultServer) -> None:
    """The same name from the same URL counts once and is fetched once."""
    route = server.serve("/a.tar", file(DATA))

    result = box.get(box.links(route.url, route.url), route.url)

    assert len(route.requests) == 1
    assert result.only("run_finished")["done"] == 1


@pytest.mark.parametrize("where", ["new/deep dir/ü%41 'q'", "-dash", "link"])
def test_dir_may_be_any_folder(box: Sandbox, server: FaultServer, where: str) -> None:
    """Relative, made with its parents, with blanks, quotes, %, a dash; a link to a folder too."""
    (box.cwd / "real").mkdir()
    (box.cwd / "link").symlink_to("real")

    box.run("get", server.serve("/a.tar", file(DATA)).url, "-o", where)

    assert (box.cwd / where / "a.tar").read_bytes() == DATA


def test_names_are_utf_8_in_any_locale(box: Sandbox, server: FaultServer) -> None:
    """cron and job scripts run with LC_ALL=C: the names on the disk are the same."""
    box.env["LC_ALL"] = "C"
    route = server.serve("/%C3%BC%E5%90%8D.tar", file(DATA))

    plain = box.run("get", route.url, "-o", box.dir)
    again = box.get(route.url)

    assert box.files() == {"ü名.tar": DATA}
    assert plain.stdout
    assert again.only("file_skipped")["name"] == "ü名.tar"


# ---------------------------------------------------------------- the request


TARGETS = [
    "/1?ccb=10-5&oh=00_AfX&oe=7FB0C0DE&_nc_sid=0fdd51&_nc_gid",
    "/2?x=%2F%2f%20%25%C3%BC&y=a+b",
    "/3?list[]=1&b=['(x)']*,;:@~!$=",
    "/4/deep%2Fpath/a;v=1?x",
    "/5//b?u=http://other/x//y",
    "/m6/v/t6/An" + "x" * 120 + ".tar?e=" + "q" * 6000,
]


def test_a_url_reaches_the_server_byte_for_byte(box: Sandbox, server: FaultServer) -> None:
    """A signature covers every byte of a URL, `&_nc_gid` without `=` too."""
    for target in TARGETS:
        server.serve(target, file(DATA))

    result = box.get(box.table({f"{n}.tar": server.base + t for n, t in enumerate(TARGETS)}))

    asked = sorted(request.target for request in server.requests)
    assert asked == sorted(TARGETS), f"{server.requests} {result.story}"
    assert len(box.files()) == len(TARGETS)


def test_a_url_that_wget_rewrites_draws_a_warning_without_its_query(
    box: Sandbox, server: FaultServer
) -> None:
    """A signed URL that holds a form which wget rewrites (`%41`) is named in a warning."""
    server.serve("/a", file(DATA))

    result = box.get(box.table({"odd-one.tar": f"{server.base}/a?oh=SECRET%41&oe=7FFFFFFF"}))

    assert "odd-one.tar" in result.said
    assert "SECRET" not in result.said


# ---------------------------------------------------------------- what is there, and when


def test_a_name_appears_only_when_its_file_is_whole(box: Sandbox, server: FaultServer) -> None:
    """While bytes come they are in NAME.part; NAME is not there before all of them are."""
    gate = threading.Event()
    route = server.serve("/a.tar", file(DATA, body_gate=gate).cut_at(200_000, "hold"))

    with box.start_get(route.url) as run:
        wait_until(lambda: box.part_size("a.tar") == 200_000)
        assert box.files() == {"a.tar.part": DATA[:200_000]}
        gate.set()
        run.finish()

    assert box.files() == {"a.tar": DATA}


def test_nothing_else_is_left_anywhere(box: Sandbox, server: FaultServer) -> None:
    """After a run: the files and .wgetpool in DIR; no part, no wget-log, no .wget-hsts in HOME."""
    for name in "ab":
        server.serve(f"/{name}.tar", file(DATA).cut_at(100_000), file(DATA))

    box.get(f"{server.base}/a.tar", f"{server.base}/b.tar")

    assert sorted(path.name for path in box.dir.iterdir()) == [".wgetpool", "a.tar", "b.tar"]
    assert not list(box.home.iterdir())
    assert not list(box.cwd.iterdir())


def test_the_state_is_private(box: Sandbox, server: FaultServer) -> None:
    """DIR/.wgetpool is 0700, whatever the umask gives."""
    box.umask = 0

    box.get(server.serve("/a.tar", file(DATA)).url)

    state = box.dir / ".wgetpool"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_mode_is_what_the_umask_gives(box: Sandbox, server: FaultServer, umask: int) -> None:
    """A published file has the mode of any new file of this user."""
    box.umask = umask

    box.get(box.table({"sub/a.tar": server.serve("/a", file(DATA)).url}))

    assert stat.S_IMODE(box.path("sub/a.tar").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE(box.path("sub").stat().st_mode) == 0o777 & ~umask


def test_a_file_has_the_local_time(box: Sandbox, server: FaultServer) -> None:
    """Without --remote-time the server's Last-Modified does not show."""
    before = time.time()

    box.get(server.serve("/a.tar", file(DATA, modified=formatdate(1e9, usegmt=True))).url)

    assert before - 2 <= box.path("a.tar").stat().st_mtime <= time.time() + 2


def test_a_file_has_the_servers_time_when_asked(box: Sandbox, server: FaultServer) -> None:
    """--remote-time: the modification time is the server's Last-Modified."""
    route = server.serve("/a.tar", file(DATA, modified=formatdate(1e9, usegmt=True)))

    box.get(route.url, "--remote-time")

    assert box.path("a.tar").stat().st_mtime == 1e9


# ---------------------------------------------------------------- once more


def test_what_is_known_is_skipped_without_a_request(box: Sandbox, server: FaultServer) -> None:
    """The same command again asks the server for nothing, also with fresh signatures."""
    names = [f"{n}.tar" for n in range(5)]
    for name in names:
        server.serve(f"/{name}", file(DATA))
    box.get(box.links(*(f"{server.base}/{name}?sig=1" for name in names)))
    asked = len(server.requests)

    result = box.get(box.links(*(f"{server.base}/{name}?sig=2" for name in names)))

    assert len(server.requests) == asked == 5
    assert result.names("file_skipped") == names
    assert {event["why"] for event in result.of("file_skipped")} == {"known"}
    assert {event["bytes"] for event in result.of("file_skipped")} == {len(DATA)}
    finished = result.only("run_finished")
    assert (finished["done"], finished["skipped"], finished["failed"]) == (0, 5, 0)


def test_a_longer_list_fetches_what_is_new(box: Sandbox, server: FaultServer) -> None:
    """What is known is skipped, the rest is fetched."""
    a, b = (server.serve(f"/{name}", file(DATA)) for name in "ab")
    box.get(a.url)

    result = box.get(a.url, b.url)

    assert (result.names("file_skipped"), result.names("file_done")) == (["a"], ["b"])
    assert len(a.requests) == 1


def test_a_known_file_that_is_gone_is_fetched_again(box: Sandbox, server: FaultServer) -> None:
    """Known but gone from DIR: fetched again, and said."""
    route = server.serve("/a.tar", file(DATA))
    box.get(route.url)
    box.path("a.tar").unlink()

    result = box.get(route.url)

    assert box.files() == {"a.tar": DATA}
    assert result.only("file_done")["name"] == "a.tar"
    assert re.search(r"\b1\b", result.said)


def test_a_known_file_that_is_gone_is_left_out_when_asked(
    box: Sandbox, server: FaultServer
) -> None:
    """--skip-gone: such a file was moved on, and is not wanted back."""
    route = server.serve("/a.tar", file(DATA))
    box.get(route.url)
    box.path("a.tar").unlink()

    box.get(route.url, "--skip-gone")

    assert box.files() == {}
    assert len(route.requests) == 1


def test_a_known_file_that_was_torn_is_not_taken_for_whole(
    box: Sandbox, server: FaultServer
) -> None:
    """A file whose size differs from the ledger's is not skipped as known, and not touched."""
    route = server.serve("/a.tar", file(DATA))
    box.get(route.url)
    box.path("a.tar").write_bytes(DATA[:1000])

    result = box.get(route.url, expect=None)

    assert result.code in (0, 1)
    assert not result.of("file_skipped")
    assert box.files() == {"a.tar": DATA[:1000] if result.code else DATA}


def test_the_state_may_be_lost(box: Sandbox, server: FaultServer) -> None:
    """Losing .wgetpool loses no data: what is there stays there."""
    route = server.serve("/a.tar", file(DATA))
    box.get(route.url)
    for path in sorted(box.path(".wgetpool").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    box.path(".wgetpool").rmdir()

    box.get(route.url, expect=None)

    assert box.files() == {"a.tar": DATA}


def test_a_broken_ledger_is_set_aside(box: Sandbox, server: FaultServer) -> None:
    """An unreadable ledger stops nobody: new files are fetched, old ones stay."""
    a, b = (server.serve(f"/{name}.tar", file(DATA)) for name in "ab")
    box.get(a.url)
    for path in box.path(".wgetpool").iterdir():
        if path.is_file() and path.read_bytes().startswith(b"SQLite"):
            path.write_bytes(b"no database at all" * 500)

    box.get(b.url)

    assert box.files() == {"a.tar": DATA, "b.tar": DATA}


# ---------------------------------------------------------------- what the list tells


KINDS = ["md5", "sha1", "sha256", "sha512"]


def test_a_listed_checksum_is_the_proof(box: Sandbox, server: FaultServer) -> None:
    """A checksum in the list is compared before the rename, and named as a proof."""
    rows = ["url,name," + ",".join(KINDS)]
    for n, kind in enumerate(KINDS):
        digest = hashlib.new(kind, DATA).hexdigest().upper()
        url = server.serve(f"/{kind}", file(DATA)).url
        rows.append(f"{url},{kind}.tar,{',' * n}{digest}{',' * (3 - n)}")

    result = box.get(box.links(*rows))

    for kind in KINDS:
        assert kind in result.only("file_done", f"{kind}.tar")["proof"]


def test_a_listed_size_that_fits_is_no_news(box: Sandbox, server: FaultServer) -> None:
    """A size column that tells the truth changes nothing."""
    url = server.serve("/a", file(DATA)).url

    result = box.get(box.links("url\tname\tsize", f"{url}\ta.tar\t{len(DATA)}"))

    assert "size" in result.only("file_done")["proof"]


@pytest.mark.parametrize("column", ["size", "sha256"])
def test_a_file_that_the_list_contradicts_is_not_published(
    box: Sandbox, server: FaultServer, column: str
) -> None:
    """Wrong size or checksum: fetched anew once, then broken, kept under .wgetpool/rejected."""
    route = server.serve("/a", file(DATA))
    wrong = {"size": str(len(DATA) + 1), "sha256": "0" * 64}[column]

    result = box.get(box.links(f"url,name,{column}", f"{route.url},a.tar,{wrong}"), expect=1)

    assert box.files() == {}
    assert result.only("file_failed")["class"] == "broken"
    assert 1 < len(route.requests) <= 3
    kept = [path for path in box.path(".wgetpool/rejected").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in kept] == [DATA]


def test_a_file_that_came_wrong_once_is_fetched_anew(box: Sandbox, server: FaultServer) -> None:
    """A checksum that fails once and fits then: published, with the right bytes."""
    route = server.serve("/a", file(random_bytes(len(DATA), 9)), file(DATA))
    digest = hashlib.sha256(DATA).hexdigest()

    box.get(box.links("url,name,sha256", f"{route.url},a.tar,{digest}"))

    assert box.files() == {"a.tar": DATA}


def test_a_file_sent_without_a_length_is_published_with_a_warning(
    box: Sandbox, server: FaultServer
) -> None:
    """Nothing proves a close-delimited body: proof is empty, and a warning says so."""
    route = server.serve("/a.tar", file(DATA, framing="close"))

    result = box.get(route.url)

    assert box.files() == {"a.tar": DATA}
    assert result.only("file_done")["proof"] == []
    assert "a.tar" in result.said
