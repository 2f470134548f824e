"""What a file of checksums tells, of which files, and what is said of one that is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgetpool.checksums import attach, format_line, read_checksums
from wgetpool.errors import SourceError
from wgetpool.model import Checksum, Entry, Url

MD5, SHA1, SHA256, SHA512 = (
    hashlib.new(name, b"").hexdigest() for name in ("md5", "sha1", "sha256", "sha512")
)
OTHER = "f" * 64


class Sums:
    """A file of checksums in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "SUMS"

    def of(self, text: str | bytes, *names: str) -> list[dict[str, str]]:
        """What it tells of each name."""
        entries, _ = self.attach(text, *(Entry(name, Url(f"http://h/{name}")) for name in names))
        return [{each.algorithm: each.hex for each in entry.checksums} for entry in entries]

    def attach(self, text: str | bytes, *entries: Entry) -> tuple[list[Entry], int]:
        self.path.write_bytes(text.encode() if isinstance(text, str) else text)
        return attach(list(entries), read_checksums(self.path))

    def refusal(self, text: str | bytes, *names: str) -> str:
        with pytest.raises(SourceError) as raised:
            self.of(text, *names)
        return str(raised.value)


@pytest.fixture
def sums(tmp_path):
    return Sums(tmp_path)


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"{SHA256}  a.tar\n", "a.tar"),
        (f"{SHA256} *a.tar\n", "a.tar"),
        (f"{SHA256}  a.tar", "a.tar"),
        (f"\ufeff{SHA256.upper()}  a.tar\r\n", "a.tar"),
        (f"# of today\n\n \t\r\n{SHA256}  a.tar\n#", "a.tar"),
        (f"{SHA256}   a  b ", " a  b "),
        (f"{SHA256}  é.tar", "é.tar"),
        (f"{SHA256}  #a", "#a"),
        (f"{SHA256}  a\\nb", "a\\nb"),
        (f"\\{SHA256}  a\\\\nb\\n\\r", "a\\nb\n\r"),
        (f"{SHA256}  ./x//a/./b", "x/a/b"),
        (f"SHA256 (a (1).tar) = {SHA256}\n", "a (1).tar"),
        (f"\\SHA256 (a\\\\) = {SHA256.upper()}", "a\\"),
    ],
)
def test_lines_are_read_in_all_their_forms(sums, text, name):
    """Of sha256sum, of shasum and BSD's sha256, and as editors leave them."""
    assert sums.of(text, name) == [{"sha256": SHA256}]


def test_the_length_tells_the_algorithm(sums):
    """All that is told of a name is kept, whichever file it was copied from."""
    lines = [f"{digest}  a\n" for digest in (MD5, SHA1, SHA256, SHA512)]
    tagged = [f"MD5 (a) = {MD5}\n", f"SHA1 (a) = {SHA1}\n", f"SHA512 (a) = {SHA512}\n"]
    wanted = {"md5": MD5, "sha1": SHA1, "sha256": SHA256, "sha512": SHA512}

    assert sums.of("".join([*lines, *tagged]), "a") == [wanted]


def test_names_that_are_not_utf_8_do_no_harm(sums):
    """No wanted file has one, but the list may."""
    text = f"{SHA256}  ".encode() + b"caf\xe9\n" + f"{MD5}  a\n".encode()

    assert sums.of(text, "a") == [{"md5": MD5}]


@given(
    st.sampled_from([MD5, SHA1, SHA256, SHA512]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1).filter(
        lambda name: name != "."
    ),
)
def test_a_line_that_was_written_is_read_back(tmp_path_factory, digest, name):
    """Line ends, backslashes and blanks in names too."""
    sums = Sums(tmp_path_factory.getbasetemp())

    (told,) = sums.of(format_line(digest, name) + "\n", name)

    assert list(told.values()) == [digest]


# ---------------------------------------------------------------- which files it tells of


@pytest.mark.parametrize(
    ("path", "name", "told"),
    [
        ("/data/sa1b/a.tar", "a.tar", True),
        ("../x/a.tar", "x/a.tar", True),
        ("x/a.tar", "a.tar", True),
        ("/a.tar", "a.tar", True),
        ("xa.tar", "a.tar", False),
        ("a.tar/b", "a.tar", False),
        ("a.tar", "x/a.tar", False),
    ],
)
def test_a_list_from_elsewhere_has_longer_paths(sums, path, name, told):
    """A path fits that ends in a slash and the name."""
    entries, missing = sums.attach(f"{SHA256}  {path}\n", Entry(name, Url("http://h")))

    assert bool(entries[0].checksums) is told
    assert missing == (not told)


def test_the_exact_path_comes_first(sums):
    """And a path is that of the longest name that fits it."""
    text = f"{OTHER}  /data/a\n{SHA256}  a\n{OTHER}  x/b\n{MD5}  /data/x/b\n"

    assert sums.of(text, "a") == [{"sha256": SHA256}]
    assert sums.of(text, "b", "x/b") == [{}, {"sha256": OTHER}]
    assert sums.of(text, "b") == [{"sha256": OTHER, "md5": MD5}]


def test_paths_that_contradict_each_other_are_an_error_where_their_name_is_wanted(sums):
    """Both lines are named."""
    text = f"{SHA256}  /x/a\n{MD5}  /x/a\n{OTHER}  /y/a\n{MD5}  b\n"

    message = sums.refusal(text, "a")

    assert f"{sums.path}:3: line 1 has another sha256" in message
    assert "'a'" in message
    assert sums.of(text, "b") == [{"md5": MD5}]
    assert sums.of(text, "x/a", "y/a") == [{"sha256": SHA256, "md5": MD5}, {"sha256": OTHER}]


def test_checksums_add_up_with_those_of_the_links_list(sums):
    """Those come first; the same again is one; what is not told is counted."""
    first = Entry("a", Url("http://h/a"), 3, (Checksum("md5", MD5),))
    second = Entry("b", Url("http://h/b"), None, (Checksum("sha1", SHA1),))

    entries, missing = sums.attach(f"{SHA256}  a\n{MD5}  a\n", first, second)

    assert entries[0].checksums == (Checksum("md5", MD5), Checksum("sha256", SHA256))
    assert (entries[0].size, entries[1], missing) == (3, second, 1)


def test_a_checksum_that_the_links_list_contradicts_is_an_error(sums):
    """That names the file."""
    entry = Entry("a", Url("http://h/a?sig=SECRET"), None, (Checksum("sha256", OTHER),))

    with pytest.raises(SourceError, match=r":1: the sha256 of 'a' is another in the links list"):
        sums.attach(f"{SHA256}  a\n", entry)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.tar", "not a digest, two blanks and a name"),
        (f"{SHA256} a.tar", "not a digest, two blanks and a name"),
        (f"{SHA256}  ", "not a digest, two blanks and a name"),
        (f"{SHA256}  a\0b", "not a digest, two blanks and a name"),
        (f"{SHA256[:-1]}g  a", "not a digest, two blanks and a name"),
        (f"{SHA256[:-1]}  a", "its digest has 63 digits, not 32, 40, 64 or 128"),
        (f"SHA256 (a) = {MD5}", "its digest has 32 digits, not 64"),
        (f"SHA384 (a) = {SHA256}", "SHA384 is none of md5, sha1, sha256 and sha512"),
        (f"\\{SHA256}  a\\tb", "a backslash in its name"),
        (f"\\{SHA256}  a\\", "a backslash in its name"),
        (f"{OTHER}  ./first", "line 1 has another sha256 for the same path"),
        (f"{SHA256}  {'a' * 70_000}", "it is longer than 64 KiB"),
    ],
)
def test_a_bad_line_is_told_with_its_number(sums, line, reason):
    """And with its reason."""
    message = sums.refusal(f"{SHA256}  first\n\n{line}\n")

    assert message.startswith("a bad line")
    assert f"{sums.path}:3: " in message
    assert reason in message


def test_the_first_ten_bad_lines_are_shown(sums):
    """And the number of the others."""
    lines = sums.refusal("x\n" * 12).split("\n")

    assert lines[0].startswith("12 bad lines")
    assert lines[10].startswith(f"{sums.path}:10: ")
    assert lines[11:] == ["and 2 more"]


@pytest.mark.parametrize("text", ["", "\ufeff\n# nothing\n"])
def test_a_file_that_tells_nothing_is_refused(sums, text):
    """It is not the one that was meant."""
    assert "names no file" in sums.refusal(text)


def test_a_file_that_cannot_be_read_is_told_in_one_sentence(tmp_path):
    """As the system tells it."""
    with pytest.raises(SourceError, match=r"cannot read .*none: No such file"):
        read_checksums(tmp_path / "none")
    with pytest.raises(SourceError, match=r"cannot read .*: Is a directory"):
        read_checksums(tmp_path)


@given(st.binary(max_size=80))
def test_no_bytes_make_it_fail_otherwise(tmp_path_factory, data):
    """Whatever the file: checksums, or a sentence."""
    path = tmp_path_factory.getbasetemp() / "ANY"
    path.write_bytes(data)
    try:
        checksums = read_checksums(path)
    except SourceError:
        return

    assert checksums.listed
