"""What to do about what failed: a next step for each cause, and the files by reason."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from wgetpool.advice import Groups, next_step
from wgetpool.model import Cause

ROOT = Path(__file__).parents[2]
OPTION = re.compile(r"(?<![\w/.-])--?[a-z][a-z-]*")
FOREIGN = {"-ld", "--target", "-h", "-f", "-v"}  # options of ls, findmnt, df, ulimit, fuser


def lines(failures: Iterable[tuple[str, Cause, str]], most: int | None = None) -> list[str]:
    groups = Groups()
    for failure in failures:
        groups.add(*failure)
    return list(groups.lines("/data/my files", most=most))


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_its_next_step(cause: Cause) -> None:
    """Nobody is left with a failure and no idea; in two sentences or three, not a page."""
    step = next_step(cause, directory="/data")

    assert step[0].isupper() or step.startswith("wgetpool ")
    assert step.endswith(".")
    assert len(step) < 200


@pytest.mark.parametrize("cause", Cause)
def test_the_options_that_are_named_are_there(cause: Cause) -> None:
    """Advice that names what the program does not know is worse than none."""
    named = set(OPTION.findall(next_step(cause, directory="/data")))

    assert named - FOREIGN <= set(OPTION.findall((ROOT / "README.md").read_text()))


@pytest.mark.parametrize("cause", Cause)
def test_that_the_run_is_to_be_repeated_is_left_to_the_line_that_says_how(cause: Cause) -> None:
    """The summary ends with the command; nothing is said twice."""
    assert "again" not in next_step(cause, directory="/data")


def test_the_page_on_json_explains_every_cause() -> None:
    """A program that reads them knows all that may come, in the order of the code."""
    rows = re.findall(r"^\| `([a-z_]+)` \| .+ \| .+ \|$", _table("| cause |"), re.MULTILINE)

    assert rows == list(Cause)


def _table(head: str) -> str:
    text = (ROOT / "docs" / "json.md").read_text()
    return head + text.partition(f"\n{head}")[2].partition("\n\n")[0]


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (Cause.NO_SPACE, "df -h '/data/my {files}'"),
        (Cause.CHECKSUM, "'/data/my {files}/.wgetpool/rejected/'"),
        (Cause.SIZE, "'/data/my {files}/.wgetpool/rejected/'"),
        (Cause.ARCHIVE, "'/data/my {files}/.wgetpool/rejected/'"),
        (Cause.OTHER, "wgetpool status '/data/my {files}' NAME"),
    ],
)
def test_a_folder_is_named_so_that_it_can_be_pasted(cause: Cause, words: str) -> None:
    """With blanks and braces, as a shell takes it."""
    assert words in next_step(cause, directory="/data/my {files}")


def test_files_that_failed_alike_are_told_together() -> None:
    """Same cause and reason, but for what belongs to one file: number, the first names."""
    failures = [
        (f"{n}.tar", Cause.CONNECTION, f"closed early ({n},000 of 9,999 bytes are here)")
        for n in range(5)
    ]

    assert lines(failures)[:2] == [
        "Failed: 5 files, closed early",
        "  0.tar, 1.tar, 2.tar and 2 more",
    ]


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        (
            "closed early (1 of ? bytes are here)",
            "closed early (20 of 1,000 bytes are here)",
            "closed early",
        ),
        (
            "its size is 27 bytes, the list says 1,000, the same as before",
            "its size is 1,234 bytes, the list says 5, the same as before",
            "its size is not what the list says, the same as before",
        ),
        ("File exists (/data/x (1)/a)", "File exists (/data/b)", "File exists"),
    ],
)
def test_what_belongs_to_one_file_parts_no_group(first: str, second: str, common: str) -> None:
    """Bytes, sizes and paths."""
    told = lines([("a", Cause.OTHER, first), ("b", Cause.OTHER, second)])

    assert told[:2] == [f"Failed: 2 files, {common}", "  a, b"]


def test_a_file_that_is_alone_keeps_its_own_words() -> None:
    """Its path says what to move away."""
    told = lines([("x/a", Cause.NAME, "File exists (/data/x)")])

    assert told[0] == "Failed: 1 file, File exists (/data/x)"


def test_a_hint_that_holds_for_all_stays() -> None:
    """What stands in brackets is not always a file's own."""
    reason = "wget was killed by a signal: SIGXFSZ (the file is larger than ulimit -f allows)"

    assert lines([("a", Cause.TOO_LARGE, reason)] * 2)[0] == f"Failed: 2 files, {reason}"


def test_the_commonest_come_first_and_each_cause_has_its_step_once() -> None:
    """Two reasons of one cause stand together."""
    told = lines(
        [("a", Cause.NOT_FOUND, "HTTP 410 Gone")]
        + [("b", Cause.SERVER, "HTTP 503")] * 2
        + [("c", Cause.NOT_FOUND, "HTTP 404 Not Found")] * 3
    )

    assert told == [
        "Failed: 3 files, HTTP 404 Not Found",
        "  c, c, c",
        "Failed: 1 file, HTTP 410 Gone",
        "  a",
        f"  Next, for all of these: {next_step(Cause.NOT_FOUND, directory='/data/my files')}",
        "Failed: 2 files, HTTP 503",
        "  b, b",
        f"  Next: {next_step(Cause.SERVER, directory='/data/my files')}",
    ]


def test_a_thousand_different_reasons_do_not_fill_the_screen() -> None:
    """A summary shows the commonest, counts the rest, and says where they all are."""
    told = lines(((f"{n}", Cause.OTHER, f"reason {n}") for n in range(1000)), most=8)
    every = lines((f"{n}", Cause.OTHER, f"reason {n}") for n in range(1000))

    assert len(told) < 30
    assert "    wgetpool status '/data/my files'" in told
    assert len([line for line in every if line.startswith("Failed: ")]) == 201
    assert "Failed: 800 files, each for a reason of its own" in told
    assert "Failed: 193 files more, for 193 other reasons" in told
    assert told[-1] == "    wgetpool status '/data/my files' --names failed"


def test_where_nothing_failed_nothing_is_said() -> None:
    """Not even a heading."""
    assert lines([]) == []
