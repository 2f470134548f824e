"""The command line: selection, bad input, the machine's faults, output and exit codes."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.faultserver import FaultServer, file, status
from support.runner import PROGRAM, Result, Sandbox, random_bytes, wait_until

pytest_plugins = ["support.fixtures"]

DATA = random_bytes(100_000)
TARS = [f"sa_{n:06}.tar" for n in range(12)]
SHUFFLED = random.Random(7).sample(TARS, len(TARS))


def urls(*names: str) -> list[str]:
    return [f"http://127.0.0.1:1/{name}" for name in names]


def listed(box: Sandbox, *options: object, names: Sequence[str] = TARS) -> list[str]:
    """What `list` prints for these names."""
    return box.run("list", box.links(*urls(*names)), *options).lines


def is_one_clear_sentence(result: Result) -> bool:
    """An error for people: short, no traceback, nothing on standard output."""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return not result.stdout and 1 <= len(lines) <= 6 and "Traceback" not in result.stderr


# ---------------------------------------------------------------- list and selection


def test_list_prints_the_chosen_names_one_a_line(box: Sandbox) -> None:
    """`list` without a selection: all names in the list's order."""
    assert listed(box, names=SHUFFLED) == SHUFFLED


SELECTIONS: list[tuple[list[str], list[str]]] = [
    (["--select", "sa_00000?.tar"], TARS[:10]),
    (["--select", "sa_00000[2-4].tar", "--select", "*1.tar"], [*TARS[1:5], TARS[11]]),
    (["--select", "sa_00000[!0-7].tar"], TARS[8:10]),
    (["--select", "sa_{000008..000011}.tar"], TARS[8:12]),
    (["--select", "sa_0000{0,1}{0..1}.tar"], [TARS[0], TARS[1], TARS[10], TARS[11]]),
    (["--select", "sa_{000001,00000[5-6]}.tar"], [TARS[1], TARS[5], TARS[6]]),
    (["--select", "sa_000009.tar", "--select", "sa_000002.tar"], [TARS[2], TARS[9]]),
    (["--select", "sa_00000*", "--exclude", "*[02468].tar"], TARS[1:10:2]),
    (["--start", "3", "--end", "5"], TARS[3:5]),
    (["--start", "10", "--end", "99"], TARS[10:]),
    (["--shard", "4/5"], TARS[4::5]),
    (["--start", "1", "--end", "8", "--shard", "0/3"], TARS[1:8][0::3]),
    (["--exclude", "*0.tar", "--start", "1", "--end", "3"], TARS[2:4]),
]


@pytest.mark.parametrize(
    ("options", "expected"), SELECTIONS, ids=[" ".join(row[0]) for row in SELECTIONS]
)
def test_a_selection_chooses_what_it_says(
    box: Sandbox, options: list[str], expected: list[str]
) -> None:
    """Patterns as in a shell, slices as in Python, every N-th of what is left."""
    assert listed(box, *options) == expected


def test_names_are_sorted_before_they_are_sliced(box: Sandbox) -> None:
    """--order name: sorted, then --start and --end, then --shard."""
    options = ("--order", "name", "--start", 2, "--end", 8, "--shard", "1/2")

    assert listed(box, *options, names=SHUFFLED) == TARS[2:8][1::2]


def test_case_matters_and_odd_names_can_be_chosen(box: Sandbox) -> None:
    """Patterns are about names as they are: case, dashes, blanks, folders."""
    names = ["A.tar", "a.tar", "-x.tar", "sub%20dir/b.tar"]
    rows = {"A.tar": "1", "a.tar": "2", "-x.tar": "3", "sub dir/b.tar": "4"}
    links = box.table({name: urls(path)[0] for name, path in rows.items()})

    assert len(names) == len(rows)
    assert box.run("list", links, "--select", "a.*").lines == ["a.tar"]
    assert box.run("list", links, "--select=-x.tar").lines == ["-x.tar"]
    assert box.run("list", links, "--select", "sub dir/*").lines == ["sub dir/b.tar"]


def test_a_selection_by_file_keeps_the_lists_order(box: Sandbox) -> None:
    """--select-from takes back what `list` printed; the links file has the order."""
    chosen = box.root / "chosen.txt"
    chosen.write_text("\n".join([TARS[7], TARS[1], TARS[4]]))

    assert listed(box, "--select-from", chosen) == [TARS[1], TARS[4], TARS[7]]


@pytest.mark.parametrize(
    "options",
    [
        ["--end", "0"],
        ["--start", "12"],
        ["--shard", "12/13"],
        ["--select", "none*"],
    ],
    ids=" ".join,
)
def test_an_empty_selection_is_an_error(box: Sandbox, options: list[str]) -> None:
    """Nothing chosen: exit 2, and DIR is not made."""
    result = box.run("get", box.links(*urls(*TARS)), "-o", box.dir, *options, expect=2)

    assert is_one_clear_sentence(result)
    assert not box.dir.exists()


@pytest.mark.parametrize(
    "pattern", ["sa_000099.tar", "sa_{000010..000013}.tar", "{sa_000001.tar,nothing.tar}"]
)
def test_a_name_that_the_list_lacks_is_an_error(box: Sandbox, pattern: str) -> None:
    """A literal name or brace item that is not there: exit 2, and it is named."""
    result = box.run("list", box.links(*urls(*TARS)), "--select", pattern, expect=2)

    missing = {"sa_000099.tar": "sa_000099.tar", "{sa_000001.tar,nothing.tar}": "nothing.tar"}
    assert missing.get(pattern, "sa_000012.tar") in result.stderr


def test_a_name_in_a_selection_file_that_the_list_lacks_is_an_error(box: Sandbox) -> None:
    """--select-from is made of literal names."""
    chosen = box.links("sa_000001.tar", "elsewhere.tar", name="chosen.txt")

    result = box.run("list", box.links(*urls(*TARS)), "--select-from", chosen, expect=2)

    assert "elsewhere.tar" in result.stderr


def test_a_slice_by_position_of_a_shuffled_list_draws_a_warning(box: Sandbox) -> None:
    """SA-1B's list is shuffled: the warning names --order name; a sorted list draws none."""
    rows = {name: urls(f"x{n}")[0] for n, name in enumerate(SHUFFLED)}
    shuffled, ordered = box.table(rows), box.links(*urls(*TARS))

    warned = box.run("list", shuffled, "--end", 5)
    calm = box.run("list", ordered, "--end", 5)
    by_name = box.run("list", shuffled, "--end", 5, "--order", "name")

    assert "--order name" in warned.stderr
    assert warned.lines == SHUFFLED[:5]
    assert calm.stderr == ""
    assert (by_name.stderr, by_name.lines) == ("", TARS[:5])


def test_get_fetches_what_list_lists(box: Sandbox, server: FaultServer) -> None:
    """The same words choose the same files in both commands; the rest is not asked for."""
    for name in TARS:
        server.serve(f"/{name}", file(DATA))
    links = box.links(*(f"{server.base}/{name}" for name in SHUFFLED))
    words = ("--order", "name", "--exclude", "*3.tar", "--start", 2, "--end", 6, "--shard", "0/2")

    box.get(links, *words)

    names = box.run("list", links, *words).lines
    assert sorted(box.files()) == names
    assert sorted(request.path for request in server.requests) == [f"/{name}" for name in names]


def test_the_first_ten_of_a_million_cost_no_more_than_ten(box: Sandbox) -> None:
    """A plain slice reads the list no farther than to its last entry."""
    lines = "".join(f"http://h/{n:07}\n" for n in range(1_000_000))
    (box.root / "million.txt").write_text(lines)
    (box.root / "ten.txt").write_text(lines[: 10 * 17])

    ten = cost(box, "list", box.root / "ten.txt", "--end", 10)
    million = cost(box, "list", box.root / "million.txt", "--end", 10)

    assert million[0] < ten[0] + 0.5
    assert million[1] < ten[1] + 8 * 1024


def cost(box: Sandbox, *args: object) -> tuple[float, int]:
    """CPU seconds and peak memory in KiB of a run."""
    with box.start(*args) as run:
        _, code, usage = os.wait4(run.pid, 0)
        run.process.returncode = os.waitstatus_to_exitcode(code)
    assert run.process.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == 10
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss


# ---------------------------------------------------------------- bad sources


BAD_NAMES = {
    "up": "../a.tar",
    "up inside": "a/../../b.tar",
    "up within": "a/../b.tar",
    "absolute": "/tmp/a.tar",
    "empty": "",
    "control": "a\x01b.tar",
    "bell": "a\x07.tar",
    "part": "a.part",
    "part in a folder": "x/a.tar.part",
    "too long": "x" * 251,
    "too long in bytes": "ü" * 126,
    "too long a folder": "y" * 256 + "/a.tar",
    "state": ".wgetpool/ledger.sqlite",
    "state itself": ".wgetpool",
    "dot": ".",
    "dots": "..",
    "no last part": "folder/",
}


@pytest.mark.parametrize("half", [0, 1])
def test_a_name_that_could_leave_dir_is_refused(box: Sandbox, half: int) -> None:
    """Absolute, `..`, empty, controls, .part, too long, .wgetpool: bad lines, exit 2."""
    names = list(BAD_NAMES)[half::2]
    rows = [f"{BAD_NAMES[name]}\t{urls(str(n))[0]}" for n, name in enumerate(names)]
    links = box.links("file_name\tcdn_link", f"fine.tar\t{urls('x')[0]}", *rows)

    result = box.run("list", links, expect=2)

    numbers = re.findall(r"links\.txt\D*(\d+)", result.stderr)
    assert numbers == [str(n + 3) for n in range(len(names))], result.story
    assert not result.stdout


def test_a_bad_line_stops_all_before_anything_is_fetched(box: Sandbox, server: FaultServer) -> None:
    """File, line number and reason; nothing is asked for, and DIR is not made."""
    good = server.serve("/a.tar", file(DATA)).url
    links = box.links(good, "# fine", "", "this is no URL", "ftp://h/b.tar")

    result = box.get(links, expect=2)

    assert re.search(r"links\.txt.*\b4\b", result.stderr)
    assert re.search(r"links\.txt.*\b5\b", result.stderr)
    assert not server.requests
    assert not box.dir.exists()


def test_the_first_ten_bad_lines_are_shown(box: Sandbox) -> None:
    """Of a thousand bad lines ten are shown, and that there are more."""
    result = box.get(box.links(*urls("a"), *(f"nonsense{n}" for n in range(1000))), expect=2)

    numbers = re.findall(r"links\.txt\D*(\d+)", result.stderr)
    assert numbers == [str(n) for n in range(2, 12)]
    assert "990" in result.stderr


def test_a_bad_line_behind_the_slice_does_not_matter(box: Sandbox) -> None:
    """Lines are checked as far as the selection reads: --order name reads all of them."""
    links = box.links(*urls("a", "b"), "nonsense")

    assert box.run("list", links, "--end", 2).lines == ["a", "b"]
    box.run("list", links, "--end", 2, "--order", "name", expect=2)
    box.run("list", links, "--select", "a", expect=2)


BAD_ROWS = {
    "a size that is no number": "many,,,",
    "a negative size": "-1,,,",
    "a size with a unit": "10 MB,,,",
    "an md5 too short": ",abc,,",
    "a sha256 that is an md5": f",,,{'0' * 32}",
    "a sha1 of other letters": f",,{'z' * 40},",
}


def test_a_bad_size_or_checksum_is_a_bad_line(box: Sandbox) -> None:
    """A size that is no number, a checksum that is none of its kind; empty fields tell nothing."""
    rows = [f"{urls(str(n))[0]},{n}.tar,{row}" for n, row in enumerate([",,,", *BAD_ROWS.values()])]

    result = box.run("list", box.links("url,name,size,md5,sha1,sha256", *rows), expect=2)

    numbers = re.findall(r"links\.txt\D*(\d+)", result.stderr)
    assert numbers == [str(n + 3) for n in range(len(BAD_ROWS))], result.story


def test_one_name_from_two_urls_is_an_error(box: Sandbox) -> None:
    """It cannot be known which one is meant: exit 2, and both lines are said."""
    result = box.get(box.links("http://h/1/a.tar", "http://h/2/a.tar"), expect=2)

    assert re.search(r"links\.txt\W*2\b", result.stderr)
    assert not box.dir.exists()


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (b"", 2),
        (bytes(range(256)) * 50, 2),
        (b"\xff\xfe" + "http://h/a\n".encode("utf-16-le"), 2),
        (b"name,size\na,1\n", 2),
        (b"http://h/a\0b\n", 2),
        (b"x" * 10_000_000, 2),
    ],
    ids=["empty", "binary", "UTF-16", "no links", "NUL", "one long line"],
)
def test_a_file_that_is_no_list_is_refused(box: Sandbox, content: bytes, end: int) -> None:
    """One clear sentence, exit 2, nothing made."""
    links = box.root / "links.txt"
    links.write_bytes(content)

    result = box.run("get", links, "-o", box.dir, expect=end)

    assert "links.txt" in result.stderr
    assert max(map(len, result.stderr.splitlines())) < 500
    assert not box.dir.exists()


@pytest.mark.parametrize(
    "source",
    ["missing.txt", "ftp://host/a.tar", "/", "http://"],
)
def test_a_source_that_cannot_be_used_is_refused(box: Sandbox, source: str) -> None:
    """A file that is not there, a folder, another protocol: one sentence, exit 2."""
    result = box.run("get", source, "-o", box.dir, expect=2)

    assert is_one_clear_sentence(result)
    assert not box.dir.exists()


def test_an_empty_standard_input_is_refused(box: Sandbox) -> None:
    """`-` with nothing in it is an empty list."""
    result = box.run("get", "-", "-o", box.dir, expect=2)

    assert is_one_clear_sentence(result)


# ---------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    "options",
    [
        ["--nonsense"],
        ["-j", "0"],
        ["--stall-timeout", "abc"],
        ["--timeout", "-1"],
        ["--backoff", "nan"],
        ["--min-rate", "fast"],
        ["--retry-status", "abc"],
        ["--retry-status", "99999"],
        ["--order", "size"],
        ["--shard", "3/3"],
        ["--shard", "1"],
        ["--select-from", "missing.txt"],
        ["--select", "sa_[.tar"],
    ],
    ids=" ".join,
)
def test_a_bad_argument_touches_nothing(box: Sandbox, options: list[str]) -> None:
    """Exit 2, a clear word about the option, and DIR is not made."""
    result = box.run("get", *urls("a.tar"), "-o", box.dir, *options, expect=2)

    assert result.stderr.strip()
    assert not result.stdout
    assert not box.dir.exists()


@pytest.mark.parametrize("words", [[], ["get"], ["fetch", "x"]], ids=str)
def test_a_missing_word_is_said(box: Sandbox, words: list[str]) -> None:
    """No command, no source, no DIR, an unknown command: exit 2, or the help."""
    result = box.run(*words, expect=None)

    assert result.code == 2 or (not words and result.code == 0)
    assert result.stdout + result.stderr


def test_durations_and_sizes_may_have_units(box: Sandbox) -> None:
    """90, 90s, 0.5, 2m, 1h; 500k, 10M, 1G, 64KiB."""
    options = ["--timeout", "--stall-timeout", "--attempt-timeout", "--backoff", "--backoff-max"]
    durations = ["90", "90s", "0.5", "2m", "1h"]
    words = [word for pair in zip(options, durations, strict=True) for word in pair]

    for rate in ("500k", "10M", "1G", "64KiB", "0"):
        words += ["--min-rate", rate]
    box.run("get", *urls("a.tar"), "-o", box.dir, "--dry-run", *words)


# ---------------------------------------------------------------- this machine


@pytest.mark.parametrize("place", ["file/out", "file", "/proc/out", "/dev/null"])
def test_a_dir_that_cannot_be_made_is_the_machines_fault(
    box: Sandbox, server: FaultServer, place: str
) -> None:
    """DIR not writable: exit 3, one clear sentence that names it, nothing fetched."""
    (box.root / "file").write_text("a file")
    route = server.serve("/a.tar", file(DATA))
    where = box.root / place

    result = box.run("get", route.url, "-o", where, expect=3)

    assert len(result.stderr.splitlines()) == 1
    assert str(where) in result.stderr
    assert not route.requests


FAKES = {
    "wget2": 'echo "GNU Wget2 2.1.0 - multithreaded metalink/file/website downloader"',
    "busybox": 'echo "wget: unrecognized option: version" >&2; '
    'echo "BusyBox v1.35.0 (Debian 1:1.35.0-4) multi-call binary." >&2; exit 1',
    "old": 'echo "GNU Wget 1.12 built on linux-gnu."',
    "another": 'echo "curl 8.5.0 (x86_64-pc-linux-gnu)"',
    "silent": "exit 0",
    "broken": "exit 127",
    "chatty": 'head -c 200000 /dev/zero | tr "\\0" x',
}


@pytest.mark.parametrize("kind", FAKES)
def test_a_foreign_wget_is_refused(box: Sandbox, server: FaultServer, kind: str) -> None:
    """wget2, busybox, an old or broken one: exit 3, what to install, nothing touched."""
    route = server.serve("/a.tar", file(DATA))
    fake = box.script("bin/wget", FAKES[kind])

    result = box.run("get", route.url, "-o", box.dir, "--wget", fake, expect=3)

    assert is_one_clear_sentence(result)
    assert "wget" in result.stderr
    if kind in ("wget2", "busybox"):
        assert kind.casefold() in result.stderr.casefold()
        assert "install" in result.stderr
    assert not route.requests
    assert not box.dir.exists()


@pytest.mark.parametrize("path", ["nowhere/wget", "home", "plain"])
def test_a_wget_that_is_not_there_is_said(box: Sandbox, path: str) -> None:
    """--wget PATH that is missing, a folder, or no program: exit 3, and it is named."""
    (box.root / "plain").write_text("not a program")

    result = box.run("get", *urls("a"), "-o", box.dir, "--wget", box.root / path, expect=3)

    assert is_one_clear_sentence(result)
    assert path in result.stderr
    assert not box.dir.exists()


def path_without_wget(box: Sandbox) -> Path:
    """A PATH of one folder, with what the program's start may need and no wget."""
    folder = box.root / "bin"
    folder.mkdir(exist_ok=True)
    for tool in ("env", "sh"):
        found = shutil.which(tool)
        assert found
        (folder / tool).symlink_to(found)
    box.env |= {"PATH": str(folder), "WGETPOOL_WGET": ""}
    return folder


def test_no_wget_at_all_is_said_with_what_to_install(box: Sandbox) -> None:
    """PATH without wget: exit 3."""
    path_without_wget(box)

    result = box.run("get", *urls("a.tar"), "-o", box.dir, expect=3)

    assert is_one_clear_sentence(result)
    assert "install" in result.stderr
    assert not box.dir.exists()


def test_wget1_is_taken_where_wget_is_wget2(box: Sandbox, server: FaultServer) -> None:
    """Fedora: `wget` is wget2, GNU Wget 1.x is `wget1`."""
    real = shutil.which("wget")
    assert real
    folder = path_without_wget(box)
    box.script("bin/wget", FAKES["wget2"])
    (folder / "wget1").symlink_to(real)

    box.get(server.serve("/a.tar", file(DATA)).url)

    assert box.files() == {"a.tar": DATA}


def test_the_users_wget_settings_do_not_matter(box: Sandbox, server: FaultServer) -> None:
    """~/.wgetrc and WGETRC change nothing."""
    bad = "tries = 1\noutput_document = /dev/null\nquiet = off\nheader = X-Mine: yes\nspider = on\n"
    (box.home / ".wgetrc").write_text(bad)
    (box.root / "wgetrc").write_text(bad)
    box.env["WGETRC"] = str(box.root / "wgetrc")
    route = server.serve("/a.tar", file(DATA).cut_at(50_000), file(DATA))

    box.get(route.url)

    assert box.files() == {"a.tar": DATA}
    assert "x-mine" not in route.requests[0].headers


def test_wget_is_not_needed_to_list(box: Sandbox) -> None:
    """`list` fetches nothing, and asks for no wget."""
    path_without_wget(box)

    assert box.run("list", box.links(*urls("a", "b"))).lines == ["a", "b"]


def test_a_folder_that_leads_out_of_dir_is_not_followed(box: Sandbox, server: FaultServer) -> None:
    """A folder in DIR that is a symbolic link out of it: refused, nothing written there."""
    outside = box.root / "outside"
    outside.mkdir()
    box.dir.mkdir()
    box.path("sub").symlink_to(outside)
    good, bad = (server.serve(f"/{name}", file(DATA)).url for name in ("good", "bad"))

    result = box.get(box.table({"good.tar": good, "sub/a.tar": bad}), expect=None)

    assert result.code in (1, 2)
    assert "sub" in result.stdout + result.stderr
    assert not list(outside.iterdir())


# ---------------------------------------------------------------- dry run, help, version


def test_a_dry_run_makes_nothing(box: Sandbox, server: FaultServer) -> None:
    """--dry-run says what would be done: no request, no DIR."""
    route = server.serve("/a.tar", file(DATA))

    result = box.run("get", route.url, "-o", box.dir, "--dry-run")

    assert "1" in result.stdout + result.stderr
    assert not route.requests
    assert not box.dir.exists()


def test_a_dry_run_changes_nothing_in_a_dir(box: Sandbox, server: FaultServer) -> None:
    """--dry-run over finished files and parts leaves every byte and time as it was."""
    a = server.serve("/a.tar", file(DATA)).url
    box.get(a)
    box.part("b.tar").write_bytes(DATA[:1000])
    before = {path: path.stat().st_mtime_ns for path in box.dir.rglob("*")}

    box.run("get", a, f"{server.base}/b.tar", "-o", box.dir, "--dry-run")

    assert {path: path.stat().st_mtime_ns for path in box.dir.rglob("*")} == before
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--help"], ["get", "list", "status"]),
        (["get", "--help"], ["--output", "--tries", "--select", "--json", "--dry-run", "--wget"]),
        (["list", "--help"], ["--select", "--shard"]),
        (["status", "-h"], ["--json", "--names", "NAME"]),
        (["--version"], ["wgetpool 0"]),
    ],
    ids=["all", "get", "list", "status", "version"],
)
def test_help_and_version_are_as_everywhere(
    box: Sandbox, words: list[str], expected: list[str]
) -> None:
    """On standard output, exit 0."""
    result = box.run(*words)

    assert [word for word in expected if word not in result.stdout] == []
    assert result.stderr == ""


# ---------------------------------------------------------------- pipes that close


def piped(box: Sandbox, command: str) -> subprocess.CompletedProcess[str]:
    """A shell pipeline, its program as $P."""
    env = {**box.environment(), "P": " ".join(PROGRAM)}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        check=False,
        env=env,
        cwd=box.root,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_reader_that_goes_away_is_no_error_to_report(box: Sandbox) -> None:
    """`list | head`: the first line, and no traceback."""
    links = box.links(*(f"http://h/{n:07}.tar" for n in range(100_000)))

    pipe = piped(box, f"$P list {links} | head -n 1")

    assert pipe.stdout == "0000000.tar\n"
    assert pipe.stderr == ""


def test_a_reader_of_json_that_goes_away_ends_the_run_cleanly(
    box: Sandbox, server: FaultServer
) -> None:
    """`get --json | head -n 1`: no traceback, no wget left."""
    for n in range(40):
        server.serve(f"/{n}.tar", file(DATA))
    links = box.links(*(f"{server.base}/{n}.tar" for n in range(40)))

    pipe = piped(box, f"$P get {links} -o {box.dir} --json | head -n 1")

    assert json.loads(pipe.stdout)["event"] == "run_started"
    assert "Traceback" not in pipe.stderr
    assert "Exception" not in pipe.stderr
    wait_until(lambda: not box.wgets(), 5)


@pytest.mark.parametrize("closed", ["<&-", ">&-"], ids=["input", "output"])
def test_a_standard_stream_may_be_closed(box: Sandbox, server: FaultServer, closed: str) -> None:
    """Started by a daemon without standard input or output: the file comes, and no traceback."""
    url = server.serve("/a.tar", file(DATA)).url

    pipe = piped(box, f"$P get {url} -o {box.dir} {closed}")

    assert "Traceback" not in pipe.stderr, pipe.stderr
    assert (pipe.returncode, box.files()) == (0, {"a.tar": DATA})


def test_a_list_may_come_from_a_pipe_with_a_name(box: Sandbox, server: FaultServer) -> None:
    """`get <(grep ...)`: a list that can be read only once."""
    url = server.serve("/a.tar", file(DATA)).url

    pipe = piped(box, f"$P get <(echo {url}) -o {box.dir}")

    assert (pipe.returncode, box.files()) == (0, {"a.tar": DATA})


# ---------------------------------------------------------------- status


def test_status_tells_what_became_of_a_run(box: Sandbox, server: FaultServer) -> None:
    """Counts, bytes, each file's state and reason; exit 1 while not all is whole."""
    for name in ("a.tar", "sub/b.tar"):
        server.serve(f"/{name}", file(DATA))
    server.serve("/c.tar", status(404))
    rows = {name: f"{server.base}/{name}" for name in ("a.tar", "sub/b.tar", "c.tar")}
    box.get(box.table(rows), expect=1)

    plain = box.run("status", box.dir, expect=1)
    state = json.loads(box.run("status", box.dir, "--json", expect=1).stdout)

    assert re.search(r"c\.tar.*404|404(.|\n)*c\.tar", plain.stdout)
    counts = {key: state[key] for key in ("done", "partial", "failed", "pending")}
    assert counts == {"done": 2, "partial": 0, "failed": 1, "pending": 0}
    assert state["running"] is False
    assert state["bytes"] == 2 * len(DATA)
    files = {each["name"]: each for each in state["files"]}
    assert {name: each["state"] for name, each in files.items()} == {
        "a.tar": "done",
        "sub/b.tar": "done",
        "c.tar": "failed",
    }
    assert (files["a.tar"]["bytes"], files["a.tar"]["size"]) == (len(DATA), len(DATA))
    assert files["a.tar"]["attempts"] == 1
    assert files["a.tar"]["proof"] == ["size"]
    assert "404" in files["c.tar"]["reason"]


def test_status_gives_names_for_a_selection(box: Sandbox, server: FaultServer) -> None:
    """--names failed: one a line, and --select-from takes them."""
    a, b, c = (server.serve(f"/{name}", status(404), file(DATA)) for name in "abc")
    d = server.serve("/d", file(DATA))
    links = box.links(a.url, b.url, c.url, d.url)
    box.get(links, expect=1)

    failed = box.run("status", box.dir, "--names", "failed", expect=None)
    done = box.run("status", box.dir, "--names", "done", expect=None)
    chosen = box.links(*failed.lines, name="failed.txt")
    box.get(links, "--select-from", chosen)

    assert sorted(failed.lines) == ["a", "b", "c"]
    assert done.lines == ["d"]
    assert sorted(box.files()) == ["a", "b", "c", "d"]


def test_status_ends_with_0_when_all_is_whole(box: Sandbox, server: FaultServer) -> None:
    """Every selected file done: exit 0."""
    box.get(server.serve("/a.tar", file(DATA)).url)

    plain = box.run("status", box.dir)
    state = json.loads(box.run("status", box.dir, "--json").stdout)

    assert plain.stdout
    assert (state["done"], state["failed"], state["pending"]) == (1, 0, 0)


def test_status_knows_a_run_that_goes_on(box: Sandbox, server: FaultServer) -> None:
    """From another terminal, during a run: running, and what is done so far."""
    server.serve("/a.tar", file(DATA))
    server.serve("/b.tar", file(DATA).cut_at(60_000, "stall"))
    server.serve("/c.tar", file(DATA))
    links = box.links(*(f"{server.base}/{name}.tar" for name in "abc"))
    with box.start_get(links, "-j", 1) as run:
        wait_until(lambda: box.part_size("b.tar") == 60_000)
        wait_until(lambda: "file_done" in run.stdout)

        state = box.status()

        assert (state["running"], state["done"]) == (True, 1)
        total = sum(state[key] for key in ("done", "partial", "failed", "pending"))
        assert total == 3
        assert box.run("status", box.dir, expect=1).stdout
        run.signal(signal.SIGTERM)
        run.finish(expect=143)
    after = box.status()
    assert after["running"] is False
    assert (after["done"], after["partial"], after["pending"]) == (1, 1, 1)
    assert "c.tar" in box.run("status", box.dir, "--names", "pending", expect=None).lines


def test_status_after_a_kill_knows_that_nothing_runs(box: Sandbox, server: FaultServer) -> None:
    """A run that was SIGKILLed is no run; what it had done is known."""
    server.serve("/a.tar", file(DATA))
    server.serve("/b.tar", file(DATA).cut_at(60_000, "stall"))
    with box.start_get(f"{server.base}/a.tar", f"{server.base}/b.tar") as run:
        wait_until(lambda: box.part_size("b.tar") == 60_000)
        wait_until(lambda: "file_done" in run.stdout)
        run.signal(signal.SIGKILL)
        run.process.wait(5)

    state = box.status()

    assert state["running"] is False
    assert state["done"] == 1
    box.get(server.serve("/b.tar", file(DATA)).url)


@pytest.mark.parametrize("place", ["out", "file"])
def test_status_of_no_dir_is_an_error(box: Sandbox, place: str) -> None:
    """A DIR that is not there, or was never fetched into: a sentence, and it is not made."""
    (box.root / "file").write_text("a file")

    result = box.run("status", box.root / place, expect=None)

    assert result.code in (1, 2, 3)
    assert is_one_clear_sentence(result)
    assert not box.dir.exists()


# ---------------------------------------------------------------- what a run says


def test_a_run_ends_with_a_summary_and_the_next_step(box: Sandbox, server: FaultServer) -> None:
    """Done, failed with reasons, and the command that goes on: for people who read a log."""
    good = server.serve("/good.tar", file(DATA)).url
    bad = server.serve("/bad.tar", status(404)).url

    result = box.run("get", good, bad, "-o", box.dir, expect=1)

    tail = "\n".join((result.stdout + result.stderr).splitlines()[-12:])
    assert "1" in tail
    assert "bad.tar" in tail
    assert "404" in tail
    assert "wgetpool get" in tail


def test_no_color_means_no_color(box: Sandbox, server: FaultServer) -> None:
    """NO_COLOR and a pipe: no escape sequences, also when colors are forced elsewhere."""
    box.env["NO_COLOR"] = "1"
    box.env["FORCE_COLOR"] = ""
    route = server.serve("/a.tar", status(404))

    result = box.run("get", route.url, "-o", box.dir, expect=1)

    assert "\x1b" not in result.stdout + result.stderr


def test_a_run_takes_no_longer_than_its_work(box: Sandbox, server: FaultServer) -> None:
    """A small file is done in a moment: no second is spent on waiting for nothing."""
    route = server.serve("/a.tar", file(DATA))
    began = time.monotonic()

    box.get(route.url)

    assert time.monotonic() - began < 4
