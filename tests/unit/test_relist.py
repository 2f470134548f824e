"""Links files that are replaced during a run: noticed once they are whole, and told by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.doubles import NOON

from wgetpool.model import Entry, FreshLinks, Url
from wgetpool.relist import LOOKS, MORE_LOOKS, LinksFiles

OLD = {"a.tar": "https://h.org/x/a.tar?sig=SECRET1", "b.tar": "https://h.org/x/b.tar?sig=SECRET2"}
NEW = {name: url.replace("SECRET", "FRESH") for name, url in OLD.items()}


def signed(oh: str, *minutes: float, host: str = "h.org") -> dict[str, str]:
    """Links as Meta's, each good for so many minutes after noon."""
    until = (int(NOON.timestamp() + 60 * each) for each in minutes)
    return {
        f"{name}.tar": f"https://{host}/{name}.tar?_nc_gid&oh={oh}&oe={at:X}"
        for name, at in zip("abcdef", until, strict=False)
    }


def text_of(links: dict[str, str], end: str = "\n") -> str:
    rows = (f"{name}\t{url}" for name, url in links.items())
    return "\n".join(["file_name\tcdn_link", *rows]) + end


class Stage:
    """A links file that was read, and what watches it."""

    def __init__(self, folder: Path, old: dict[str, str] | None = None, *more: str) -> None:
        old = OLD if old is None else old
        self.path = folder / "links.tsv"
        self.path.write_text(text_of(old))
        self.age = 0
        self.watched = LinksFiles([str(self.path), *more], now=lambda: NOON)
        self.watched.watch([Entry(name, Url(url)) for name, url in old.items()])

    def replace(self, text: str | bytes) -> None:
        """Another file takes the name, as `mv` does it."""
        beside = self.path.with_name("beside")
        self.write(text, beside)
        beside.replace(self.path)

    def write(self, text: str | bytes, path: Path | None = None) -> None:
        """Written in place; its time of change is another one, however quick the test is."""
        path = path or self.path
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.age += 1
        os.utime(path, (10**9 + self.age, 10**9 + self.age))

    def look(self, times: int = LOOKS) -> list[FreshLinks]:
        return [fresh for _ in range(times) for fresh in self.watched.look()]

    def links(self, times: int = LOOKS) -> dict[str, str]:
        """What the one new file says."""
        (fresh,) = self.look(times)
        assert not fresh.complaint
        return {name: url.reveal() for name, url in fresh.links.items()}

    def complaint(self, times: int = LOOKS) -> str:
        (fresh,) = self.look(times)
        assert not fresh.links
        assert "SECRET" not in fresh.complaint
        assert "FRESH" not in fresh.complaint
        return fresh.complaint


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


# ---------------------------------------------------------------- what is watched


def test_only_files_can_be_replaced(tmp_path: Path) -> None:
    """A URL, standard input and a pipe are read once, and never opened again."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    file = tmp_path / "links.txt"
    file.write_text("https://h.org/a.tar\n")
    sources = ["-", "https://h.org/a.tar", str(pipe), str(file), str(tmp_path / "none")]

    watched = LinksFiles(sources)

    assert watched.names == (str(file),)


def test_a_file_that_stays_is_not_read_again(stage: Stage) -> None:
    """Nothing is told as long as nothing happens."""
    assert stage.look(10) == []


# ---------------------------------------------------------------- fresh links


def test_a_list_that_took_the_place_of_the_old_one_tells_its_links(stage: Stage) -> None:
    """By name, once, as soon as two looks have seen the same."""
    stage.replace(text_of(NEW))

    assert stage.look(1) == []
    assert stage.links(1) == NEW
    assert stage.look(5) == []


def test_a_list_that_is_rewritten_in_place_counts_as_well(stage: Stage) -> None:
    """The same file with another content is a new list."""
    stage.write(text_of(NEW))

    assert stage.links() == NEW


def test_a_symbolic_link_that_is_set_to_another_list_counts_as_well(tmp_path: Path) -> None:
    """What the name leads to is what counts."""
    stage = Stage(tmp_path)
    stage.path.rename(tmp_path / "old.tsv")
    stage.path.symlink_to("old.tsv")
    assert stage.look(5) == []  # it leads to the same file
    (tmp_path / "new.tsv").write_text(text_of(NEW))

    stage.path.unlink()
    stage.path.symlink_to("new.tsv")

    assert stage.links() == NEW


def test_a_list_of_another_form_is_taken(stage: Stage) -> None:
    """Plain URLs name files by their paths."""
    stage.replace("".join(f"{url}\n" for url in NEW.values()))

    assert stage.links() == NEW


def test_only_what_has_a_new_link_is_told(stage: Stage) -> None:
    """Files that nobody chose, and links that are as before, are passed over."""
    stage.replace(text_of({**OLD, "b.tar": NEW["b.tar"], "c.tar": "https://h.org/c.tar"}))

    assert stage.links() == {"b.tar": NEW["b.tar"]}


def test_a_list_can_be_replaced_again_and_again(stage: Stage) -> None:
    """Each new one is held against the one before it."""
    newest = {name: url.replace("FRESH", "NEWEST") for name, url in NEW.items()}
    stage.replace(text_of(NEW))
    first = stage.links()

    stage.replace(text_of({**newest, "a.tar": NEW["a.tar"]}))
    second = stage.links()

    stage.replace(text_of(OLD))
    third = stage.links()

    assert (first, second, third) == (NEW, {"b.tar": newest["b.tar"]}, OLD)


def test_a_list_that_changed_while_the_first_one_was_read_is_taken(tmp_path: Path) -> None:
    """The state is taken before the sources are read."""
    stage = Stage(tmp_path)
    stage.watched = LinksFiles([str(stage.path)])
    stage.replace(text_of(NEW))

    stage.watched.watch([Entry(name, Url(url)) for name, url in OLD.items()])

    assert stage.links() == NEW


# ---------------------------------------------------------------- one that is being written


def test_a_list_that_is_being_written_is_waited_for(stage: Stage) -> None:
    """Nothing is read while it still changes from look to look."""
    whole = text_of(NEW)
    for end in (20, 60, len(whole)):
        stage.write(whole[:end])
        assert stage.look(1) == []

    assert stage.links(1) == NEW


def test_an_empty_or_missing_list_is_waited_for(stage: Stage) -> None:
    """It was cut to be written anew, or taken away: neither is an error."""
    stage.write("")
    assert stage.look(10) == []
    stage.path.unlink()
    assert stage.look(10) == []

    stage.write(text_of(NEW))

    assert stage.links() == NEW


def test_a_last_line_without_its_end_is_waited_for_a_while(stage: Stage) -> None:
    """A link that is cut in its midst is taken for whole by nobody who waits a little."""
    stage.write(text_of(NEW, end=""))

    assert stage.look(MORE_LOOKS - 1) == []
    assert stage.links(1) == NEW


# ---------------------------------------------------------------- one that is of no use


def test_one_bad_line_keeps_the_whole_old_list(stage: Stage) -> None:
    """It is named by file, line and reason, once; a better list is taken then."""
    stage.replace(text_of({**NEW, "c.tar": "ftp://h.org/c.tar?sig=SECRET3"}))

    told = stage.complaint()

    assert f"{stage.path}:4: this is no http or https URL" in told
    assert told.endswith("The old links stay.")
    assert "\n" not in told
    assert stage.look(5) == []
    stage.replace(text_of(NEW))
    assert stage.links() == NEW


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe\x00binary\x00\n", "not text in UTF-8"),
        (b"<html>please log in</html>\n", "no URL, and no header"),
        (b"# nothing yet\n", "names no file"),
        (b"https://h.org/c.tar?sig=SECRET\n", "none of the files of this run"),
        (b"https://h.org/a.tar?SECRET1\nhttps://i.org/a.tar?SECRET2\n", "has another URL"),
    ],
)
def test_what_is_no_list_of_these_files_is_complained_of(
    stage: Stage, content: bytes, reason: str
) -> None:
    """Once, in words, without a link."""
    stage.replace(content)

    assert reason in stage.complaint()
    assert stage.look(5) == []


def test_the_same_list_once_more_is_not_worth_a_word(stage: Stage) -> None:
    """Touched, written again, copied again: the links are as before."""
    stage.write(text_of(OLD))
    touched = stage.look(5)
    stage.replace(text_of(NEW))
    first = stage.links()
    stage.replace(text_of(NEW))

    assert touched == []
    assert first == NEW
    assert stage.look(5) == []


# ---------------------------------------------------------------- one that is worse

CURRENT = signed("OLD", 15, 15)


def without_query(links: dict[str, str]) -> dict[str, str]:
    return {name: url.partition("?")[0] for name, url in links.items()}


def cut(links: dict[str, str]) -> dict[str, str]:
    return {name: url.rpartition("&")[0] for name, url in links.items()}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (CURRENT, without_query(CURRENT), "its links are cut: they lack oh and oe."),
        (
            CURRENT,
            {**CURRENT, "b.tar": "https://h.org/b.tar"},
            "its links are cut: they lack oh and oe for 1 file.",
        ),
        (CURRENT, cut(CURRENT), "its links are cut: they lack oe."),
        (cut(CURRENT), cut(signed("NEW", 15, 15)), "its links are cut: they lack oe."),
        (
            CURRENT,
            signed("NEW", -20, -10),
            "its links have expired (the last at 2026-03-01 11:50 UTC).",
        ),
        (
            CURRENT,
            signed("NEW", 5, 10),
            "its links expire before the old ones (the last at 2026-03-01 12:10 UTC).",
        ),
        (
            signed("OLD", -30, -30),
            signed("NEW", -10, -10),
            "its links have expired, too (the last at 2026-03-01 11:50 UTC).",
        ),
        (
            {"a.tar": "https://i.org/a.tar", "b.tar": "https://i.org/b.tar"},
            signed("NEW", -10, -10),
            "its links have expired (the last at 2026-03-01 11:50 UTC).",
        ),
        (
            CURRENT,
            {**signed("NEW", -10), "b.tar": "https://h.org/b.tar"},
            "its links have expired (the last at 2026-03-01 11:50 UTC) for 1 file,"
            " and are cut: they lack oh and oe for 1 file.",
        ),
    ],
)
def test_a_list_that_is_worse_than_the_old_one_is_not_taken(
    tmp_path: Path, old: dict[str, str], new: dict[str, str], reason: str
) -> None:
    """Its links are of no use, or of less; the reason is told, and a better list is taken then."""
    stage = Stage(tmp_path, old)
    better = signed("NEWEST", 30, 30)

    stage.replace(text_of(new))
    told = stage.complaint()
    stage.replace(text_of(better))

    assert f"is not taken up: {reason} The old links stay." in told
    assert "_nc_gid" not in told
    assert stage.links() == better


def test_what_is_good_of_a_list_is_taken(tmp_path: Path) -> None:
    """The rest keeps its old links, and how many these are is told, and why."""
    stage = Stage(tmp_path, signed("OLD", 15, 15, 15, 15, 15))
    new = signed("NEW", 30, -10, -20, 5, 30)
    bad = {"e.tar": "https://h.org/e.tar?_nc_gid"}

    stage.replace(text_of({**new, **bad}))
    (fresh,) = stage.look()

    assert {name: url.reveal() for name, url in fresh.links.items()} == {"a.tar": new["a.tar"]}
    assert fresh.left_out == (
        "The old links stay for 4 files: the new ones"
        " have expired (the last at 2026-03-01 11:50 UTC) for 2 files,"
        " and expire before the old ones (the last at 2026-03-01 12:05 UTC) for 1 file,"
        " and are cut: they lack oh and oe for 1 file"
    )
    assert (fresh.complaint, fresh.missing) == ("", 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (CURRENT, signed("NEW", 15, 16)),
        (signed("OLD", -10, -10), signed("NEW", 5, 5)),
        (CURRENT, signed("NEW", 5, 5, host="mirror.net")),
        (CURRENT, without_query(signed("NEW", 5, 5, host="mirror.net"))),
        (cut(CURRENT), signed("NEW", 5, 5)),
        (without_query(CURRENT), signed("NEW", 5, 5)),
    ],
)
def test_a_list_that_is_no_worse_is_taken_without_a_word(
    tmp_path: Path, old: dict[str, str], new: dict[str, str]
) -> None:
    """Also a mirror's, whose links are good for a shorter time, or need no signature."""
    stage = Stage(tmp_path, old)

    stage.replace(text_of(new))
    (fresh,) = stage.look()

    assert {name: url.reveal() for name, url in fresh.links.items()} == new
    assert (fresh.left_out, fresh.complaint) == ("", "")


def test_the_files_that_a_list_lacks_are_counted(tmp_path: Path) -> None:
    """Of those that were chosen; of several sources, nobody knows which one had named a file."""
    old, new = signed("OLD", 15, 15, 15), signed("NEW", 30)
    (tmp_path / "more").mkdir()
    only = Stage(tmp_path, old)
    one_of_two = Stage(tmp_path / "more", old, "https://h.org/z.tar")

    for stage in (only, one_of_two):
        stage.replace(text_of({**new, "y.tar": "https://h.org/y.tar"}))

    assert [fresh.missing for fresh in only.look()] == [2]
    assert [fresh.missing for fresh in one_of_two.look()] == [0]


def test_a_folder_in_the_place_of_the_list_is_waited_out(stage: Stage) -> None:
    """It is no file; the old links stay without a word."""
    stage.path.unlink()
    stage.path.mkdir()

    assert stage.look(5) == []


def test_a_list_that_may_not_be_read_is_taken_as_soon_as_it_may(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is complained of once; a change of its mode alone is noticed."""
    stage.replace(text_of(NEW))
    path_open = Path.open

    def denied(path: Path, *_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    monkeypatch.setattr(os, "access", lambda *_: False)
    complaint = stage.complaint()
    again = stage.look(5)

    monkeypatch.setattr(Path, "open", path_open)
    monkeypatch.undo()

    assert "Permission denied" in complaint
    assert again == []
    assert stage.links(1) == NEW


@pytest.mark.parametrize("change", [Stage.write, Stage.replace])
def test_a_list_that_changes_while_it_is_read_is_read_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, change: Callable[[Stage, str], None]
) -> None:
    """What came of it is of no use then, good or bad."""
    stage.replace(text_of(NEW).replace("https", "ftp", 1))
    path_open = Path.open

    def changing(path: Path, mode: str) -> object:
        stream = path_open(path, mode)
        monkeypatch.undo()
        change(stage, text_of(NEW))
        return stream

    stage.look(LOOKS - 1)
    monkeypatch.setattr("wgetpool.relist._ends_well", lambda _: True)
    monkeypatch.setattr(Path, "open", changing)

    assert stage.look(1) == []
    assert stage.links() == NEW
