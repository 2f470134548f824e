"""What a links file, a URL or standard input gives, and what is said of one that is wrong."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wgetpool.errors import SourceError
from wgetpool.model import Checksum, Entry, Url
from wgetpool.selection import Selection, name_fault
from wgetpool.sources import choose, relist

SECRET = "sig=SECRET"
MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def chosen(text: str | bytes, *more: str, warnings: list[str] | None = None, **options):
    """The entries of a list on standard input, and of further sources."""
    data = text.encode() if isinstance(text, str) else text
    heard = [] if warnings is None else warnings
    return choose(["-", *more], Selection(**options), stdin=io.BytesIO(data), warn=heard.append)


def names(text: str | bytes, *more: str, **options) -> list[str]:
    return [entry.name for entry in chosen(text, *more, **options)]


def refusal(text: str | bytes, *more: str, **options) -> str:
    """The message about a bad source, which never holds a query."""
    with pytest.raises(SourceError) as raised:
        chosen(text, *more, **options)
    assert "SECRET" not in str(raised.value)
    return str(raised.value)


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/a.tar", "a.tar"),
        ("https://h:8080/x/y/a.tar?b=/c&_nc_gid", "a.tar"),
        ("HTTP://user:pass@h/a.tar", "a.tar"),
        ("http://[::1]:80/a.tar", "a.tar"),
        ("http://h/a%20b%25.tar", "a b%.tar"),
        ("http://h/%C3%A9.tar", "é.tar"),
        ("http://h/é.tar", "é.tar"),
        ("http://h/100%.tar", "100%.tar"),
        ("http://h/a.tar#part?x", "a.tar"),
        ("http://h/a.tar?x=1#y", "a.tar"),
        ("http://h/a;v=1", "a;v=1"),
        ("http://h/a+b", "a+b"),
        ("http://h/my file.tar", "my file.tar"),
        ("http://h//x//-a", "-a"),
    ],
)
def test_a_url_names_its_file_and_stays_as_it_is(url, name):
    """The last segment of the path, decoded, without query and fragment."""
    (from_list,) = chosen(f"{url}\n")
    (from_source,) = choose([url], Selection(), stdin=io.BytesIO(), warn=print)

    assert (from_list.name, from_list.url.reveal()) == (name, url)
    assert from_source == from_list


@pytest.mark.parametrize(
    "text",
    [
        "http://h/a\nhttp://h/b\n",
        "http://h/a\nhttp://h/b",
        "\ufeffhttp://h/a\r\nhttp://h/b\r\n",
        "# of today\n\n  http://h/a \t\n \t \n\thttp://h/b\n#",
        b"# caf\xe9\nhttp://h/a\nhttp://h/b\n",
        "\ufefflink\r\nhttp://h/a\r\n\r\n# so far\r\nhttp://h/b",
        "Link , Note\nhttp://h/a , x\n http://h/b,\n",
        "file_name\tcdn_link\nb\thttp://h/a\na\thttp://h/b",
        "cdn_link\tname\t\nhttp://h/a\tb\t\nhttp://h/b\ta\t\n",
        'url,FileName\n"http://h/a",b\nhttp://h/b,"a"\n',
    ],
)
def test_lists_are_read_in_all_their_forms(text):
    """BOM, CRLF, blanks, comments, a missing last newline; plain, TABs, commas."""
    entries = chosen(text)

    assert [entry.url.reveal() for entry in entries] == ["http://h/a", "http://h/b"]
    assert sorted(entry.name for entry in entries) == ["a", "b"]


def test_a_table_tells_size_and_checksums():
    """Optional columns; an empty field tells nothing."""
    text = f"name,url,size,md5,sha1\nx/a,http://h/1,12,{MD5.upper()},\nb,http://h/2,,,\n"

    first, second = chosen(text)

    assert (first.size, first.checksums) == (12, (Checksum("md5", MD5),))
    assert second == Entry("b", second.url)


def test_quotes_of_a_comma_table_hold_commas_and_quotes():
    """As every spreadsheet writes them; a URL keeps its blank."""
    (entry,) = chosen('name,url\n"a, ""b""",  "http://h/x,y z?q=1,2"\n')

    assert (entry.name, entry.url.reveal()) == ('a, "b"', "http://h/x,y z?q=1,2")


table_names = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20
).filter(lambda name: name_fault(name) is None and name == name.strip() and name[0] != "#")


@given(st.lists(table_names, min_size=1, max_size=8, unique_by=lambda name: name.split("/")[0]))
def test_a_table_that_was_written_is_read_back(written):
    """Names with commas, quotes and every letter, from the column and from the URL."""
    table = io.StringIO()
    rows = [(name, f"http://h/{quote(name, safe='')}?q=1,2", len(name)) for name in written]
    csv.writer(table).writerows([("file_name", "url", "size"), *rows])

    entries = chosen(table.getvalue())

    assert [(entry.name, entry.url.reveal(), entry.size) for entry in entries] == rows


@given(st.text("./%2eEfF0a\\~", max_size=12))
def test_no_url_names_a_file_outside_of_the_folder(path):
    """Whatever the path and its escapes: the name is allowed, or the line is refused."""
    try:
        (name,) = names(f"http://h/{path}")
    except SourceError:
        return

    assert name_fault(name) is None
    assert "/" not in name


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("ftp://h/a", "no http or https URL"),
        ("www.h.org/a", "no http or https URL"),
        ("http:///a", "no host"),
        ("http://:80/a", "no host"),
        ("http://h h/a", "no host"),
        ("http://[h/a", "malformed"),
        ("http://h:99999/a", "malformed"),
        ("http://h", "no file name"),
        ("http://h/x/", "no file name"),
        ("http://h/%2e%2e", "'..'"),
        ("http://h/a%2Fb", "holds a slash"),
        ("http://h/a%00b", "control"),
        ("http://h/a%FF", "not UTF-8"),
        ("http://h/a.part", ".part"),
        ("http://h/a\0b", "NUL"),
        ("http://h/a http://h/b", "more than a URL"),
        ("http://h/a\tb", "more than a URL"),
        ("http://h/a  12", "more than a URL"),
        ("http://h/a # first", "more than a URL"),
        ("http://h/" + "a/" * 40_000 + "b", "longer than 64 KiB"),
    ],
)
def test_a_bad_line_of_a_plain_list_is_told_with_its_number(line, reason):
    """List, line and reason, without the line; the lines around it are read."""
    message = refusal(f"http://h/1?{SECRET}\n\n{line}?{SECRET}\nhttp://h/2\n")

    assert message.startswith("a bad line")
    assert message.count("\n") == 1
    assert "standard input:3: " in message
    assert reason in message


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",http://h/a,,", "its name is empty"),
        ("../a,http://h/a,,", "'..'"),
        ("a,http://h/a", "it has 2 of 4 columns"),
        ("a,http://h/a?b,c,,", "5 fields for 4 columns: a field with a comma is to be quoted"),
        ('a,"http://h/a,,', "a quote in it is not closed"),
        ("a,http://h/a,12.5,", "its size is no number"),
        ("a,http://h/a,-1,", "its size is no number"),
        ("a,http://h/a,٣,", "its size is no number"),
        ("a,http://h/a,," + "f" * 31, "md5 is not 32 hexadecimal digits"),
        ("a,http://h/a,," + "g" * 32, "md5 is not 32 hexadecimal digits"),
        ("a,h/a,,", "no http or https URL"),
    ],
)
def test_a_bad_row_of_a_table_is_told_with_its_number(row, reason):
    """Every field that is told is checked."""
    message = refusal(f"name,url,size,md5\n{row}\n")

    assert "standard input:2: " in message
    assert reason in message


def test_the_first_ten_bad_lines_are_shown():
    """And the number of the others."""
    lines = refusal("http://h/a\n" + "x\n" * 12).split("\n")

    assert lines[0].startswith("12 bad lines")
    assert lines[10].startswith("standard input:11: ")
    assert lines[11:] == ["and 2 more"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names no file"),
        ("\ufeff\n# nothing\n", "names no file"),
        ("name,url\n", "names no file"),
        ("a.tar\thttp://h/a?sig=SECRET\n", "standard input:1: no URL, and no header"),
        ("name,size\na,1\n", "no header"),
        ('"name,url\n', "no header"),
        ("url,link\nhttp://h/a,http://h/b\n", "2 columns for url"),
        ("url,name,file_name\n", "2 columns for file_name"),
        (b"\x1f\x8b\x08\x00\xff\n\xff\n", "not text in UTF-8"),
        (b"\xff\xfeh\0t\0t\0p\0", "not text in UTF-8"),
        (b"a" * 70_000, "not text in UTF-8"),
    ],
)
def test_what_is_no_list_is_told_in_one_sentence(text, reason):
    """Whatever its length: nothing in it is shown."""
    message = refusal(text)

    assert reason in message
    assert "\n" not in message


def test_a_line_that_is_not_text_is_a_bad_line():
    """Where the list began as one."""
    assert "standard input:2: it is not UTF-8" in refusal(b"http://h/a\nhttp://h/\xff\n")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("ftp://u:SECRET@h/a?sig=SECRET", "ftp://h/a?...: this is no http or https URL"),
        ("http://h/x/?sig=SECRET", "http://h/x/?...: its URL ends in no file name"),
        ("http://[h/a?sig=SECRET", "a URL among the sources: "),
        ("http://h/\udcff", "not UTF-8"),
        ("h/a?sig=SECRET", "there is no file h/a, and it is no link (those begin with https://)"),
        ("-", "standard input (-) can be read once only"),
        ("x" * 300, "cannot read"),
        (str(Path(__file__).parent), "is a folder: name a links file"),
    ],
)
def test_a_source_that_is_none_is_told_in_one_sentence(source, reason):
    """Before any list is read, and without the query."""
    assert reason in refusal("http://h/1\n", source)


def test_a_name_has_one_url():
    """The same line again is one file, and positions count after that; another URL is an error."""
    text = "http://h/a?1\nhttp://h/b\nhttp://h/a?1\nhttp://h/c\n"

    assert names(text, start=1) == ["b", "c"]
    assert "standard input:5: its name is that of standard input:1" in refusal(text + "http://h/a")
    assert names(text + "http://h/a", select=("[bc]",)) == ["b", "c"]
    assert names(text + "http://h/a", end=2) == ["a", "b"]


def test_a_file_and_a_folder_have_different_names():
    """`a` and `a/b` cannot both be kept."""
    text = "name,url\na,http://h/1\na/b,http://h/2\n"

    assert "standard input:3: a folder of its name is the file of standard input:2" in refusal(text)
    assert names(text, select=("a/*",)) == ["a/b"]


# ---------------------------------------------------------------- what is chosen


@pytest.fixture
def numbered() -> str:
    return "".join(f"http://h/f{number}.tar\n" for number in (3, 0, 4, 1, 2))


def test_a_plain_slice_reads_its_lines_and_no_more(numbered):
    """Bad lines behind its end are not seen; a selection by name sees them."""
    text = numbered + "oh no\n"

    assert names(text, end=2) == ["f3.tar", "f0.tar"]
    assert "standard input:6" in refusal(text, end=2, select=("f*",))
    assert "standard input:6" in refusal(text, end=2, order="name")


def test_the_steps_come_in_their_order(numbered):
    """Select, exclude, order, slice, shard."""
    options = {"select": ("f[1-4]*",), "exclude": ("f2*",), "order": "name", "start": 1}

    assert names(numbered, **options) == ["f3.tar", "f4.tar"]
    assert names(numbered, **options, shard=(1, 2)) == ["f4.tar"]


def test_names_of_a_file_are_selected(numbered, tmp_path):
    """Comments and blank lines are passed over; patterns are names there; both options add up."""
    listed = tmp_path / "names"
    listed.write_bytes(b"\xef\xbb\xbff4.tar\r\n\r\n# of it\r\n f1.tar ")

    assert names(numbered, select_from=listed) == ["f4.tar", "f1.tar"]
    assert names(numbered, select_from=listed, select=("f[34].*",)) == [
        "f3.tar",
        "f4.tar",
        "f1.tar",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("f4.tar\nf9.tar\n", "the list lacks what was selected by name: 'f9.tar'"),
        ("f4.tar\nhttp://h/f4.tar?sig=SECRET\n", ":2: its name has a part"),
        ("# none\n", "names no file"),
    ],
)
def test_names_that_cannot_be_selected_are_told(numbered, tmp_path, text, reason):
    """A links file that is given by mistake keeps its secrets."""
    listed = tmp_path / "names"
    listed.write_text(text)

    assert reason in refusal(numbered, select_from=listed)
    assert "cannot read" in refusal(numbered, select_from=tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"end": 0}, "--start 0 --end 0 selects nothing"),
        ({"start": 3, "end": 2}, "--start 3 --end 2 selects nothing"),
        ({"start": 5}, "--start 5 leaves none of the 5"),
        ({"start": -1, "end": -3}, "--start -1 --end -3 leaves none of the 5"),
        ({"select": ("g*",)}, "nothing matches --select 'g*'"),
        ({"select": ("f1*",), "exclude": ("*",)}, "--exclude leaves none"),
        ({"exclude": ("*",)}, "--exclude leaves none"),
        ({"shard": (5, 6)}, "--shard 5/6 leaves none"),
        ({"end": 2, "shard": (2, 3)}, "--shard 2/3 leaves none"),
    ],
)
def test_an_empty_selection_names_the_step_that_left_nothing(numbered, options, reason):
    """So that the user knows which option to change."""
    assert reason in refusal(numbered, **options)


def test_sources_are_read_in_their_order(tmp_path):
    """As one list: names and positions run through."""
    links = tmp_path / "links"
    links.write_text("http://h/b\n")

    assert names("http://h/a\n", str(links), "http://h/c") == ["a", "b", "c"]
    assert names("http://h/a\n", str(links), "http://h/c", start=1, end=2) == ["b"]
    assert f"{links}:1: its name is that of standard input:1" in refusal("http://g/b", str(links))


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ({"end": 2}, True),
        ({"start": 1}, True),
        ({"end": 5}, False),
        ({}, False),
        ({"end": 2, "order": "name"}, False),
        ({"end": 1}, False),
        ({"end": 1, "select": ("f*",)}, True),
        ({"shard": (0, 2)}, False),
    ],
)
def test_a_slice_of_a_shuffled_list_draws_a_warning(numbered, options, warned):
    """Once, with the option that makes the slice the same every time."""
    warnings: list[str] = []

    chosen(numbered, warnings=warnings, **options)

    assert ["--order name" in text for text in warnings] == [True] * warned


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://h/a?oh=00_Af&oe=6789&_nc_gid", False),
        ("http://h/a?x=[]'()*+,;:@~!$=/%2F%2f//", False),
        ("http://h/a%41", False),
        ("http://h/a.b/c..d/.e/..f?x", False),
        *((f"http://h/a?x={form}", True) for form in ("a b", '"', "<", "\\", "^", "{", "|", "`")),
        *((f"http://h/a?x={form}", True) for form in ("é", "\x01", "%", "%4", "%zz", "1#y")),
        *((f"http://h/a?x={form}", True) for form in ("%41", "%7e", "%7E", "%2d", "%5F", "%30")),
        ("http://h/x/../a?x", True),
        ("http://h/./a?x", True),
        ("http://h/x/%2e%2e/a?x", True),
    ],
)
def test_a_signed_url_that_wget_rewrites_draws_a_warning(url, warned):
    """One in all, without the URL; what is not chosen, or not signed, draws none."""
    warnings: list[str] = []

    chosen(f"{url}\nhttp://h/b?{SECRET}%41\n", end=1, warnings=warnings)

    assert ["1 of the chosen files" in text for text in warnings] == [True] * warned
    assert not any("?" in text for text in warnings)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=60))
def test_no_bytes_make_it_fail_otherwise(data):
    """Whatever the input: entries with allowed names, or a sentence."""
    try:
        entries = chosen(b"http://h/a\n" + data)
    except SourceError:
        return

    assert all(name_fault(entry.name) is None for entry in entries)


SIGNED = "oh=SECRET&oe=65A1B2C3"


def test_cut_links_among_whole_ones_are_marked_and_named_once():
    """Their number, the first names, and what they lack; never a link."""
    warnings: list[str] = []
    good = [f"https://h/{place}.tar?{SIGNED}" for place in range(9)]
    bad = [f"https://h/cut{place}.tar?_nc_gid=SECRET" for place in range(4)]

    entries = chosen("\n".join([*good, *bad]), warnings=warnings)

    assert [entry.name for entry in entries if entry.cut] == [f"cut{n}.tar" for n in range(4)]
    (told,) = warnings
    assert told.startswith("4 of the chosen links lack oh and oe, which whole ones have")
    assert "cut0.tar, cut1.tar, cut2.tar and 1 more" in told
    assert "SECRET" not in told


def test_cut_links_are_named_where_they_are_the_most():
    """No whole one is needed to tell them; each is named by what it lacks."""
    warnings: list[str] = []
    good = [f"https://h/{place}.tar?_nc_gid&{SIGNED}" for place in range(4)]
    bad = [f"https://h/cut{place}.tar?_nc_gid&oh=SECRET" for place in range(8)]

    entries = chosen("\n".join([*good, *bad]), warnings=warnings)

    assert [entry.name for entry in entries if entry.cut] == [f"cut{n}.tar" for n in range(8)]
    (told,) = warnings
    assert told.startswith("8 of the chosen links lack oe, which whole ones have: they are cut")


def test_cut_links_of_two_vendors_are_named_apart():
    """Each by what its others have."""
    warnings: list[str] = []
    meta = [f"https://h.org/{n}.tar?{SIGNED}" for n in range(3)]
    s3 = [f"https://i.org/{n}-s3.tar?X-Amz-Signature=SECRET" for n in range(3)]

    chosen("\n".join([*meta, "https://h.org/x.tar", *s3, "https://i.org/y.tar"]), warnings=warnings)

    assert ["oh and oe" in text and "(x.tar)" in text for text in warnings] == [True, False]
    assert ["X-Amz-Signature" in text and "(y.tar)" in text for text in warnings] == [False, True]


def test_links_that_need_no_signature_are_not_called_cut():
    """Where no other has one, none is missing."""
    warnings: list[str] = []

    entries = chosen("https://h/a.tar\nhttps://h/b.tar?x\n", warnings=warnings)

    assert warnings == []
    assert not any(entry.cut for entry in entries)


# ---------------------------------------------------------------- a list that is read again


def test_a_list_that_is_read_again_tells_the_links_of_the_wanted_names(tmp_path):
    """By name, whatever the form; the others are passed over."""
    path = tmp_path / "links.tsv"
    path.write_text("name\turl\tsize\na\thttps://h/1?x\t5\nb\thttps://h/2?x\t6\n")

    assert relist(path, {"b", "c"}) == {"b": Url("https://h/2?x")}


def test_a_list_that_is_read_again_is_read_to_its_end(tmp_path):
    """A bad line behind all that is wanted makes all of it bad."""
    path = tmp_path / "links.txt"
    path.write_text(f"https://h/a\nftp://h/b?{SECRET}\n")

    with pytest.raises(SourceError, match=r"links.txt:2: this is no http") as raised:
        relist(path, {"a"})

    assert "SECRET" not in str(raised.value)


def test_a_list_that_is_gone_when_it_is_read_again_is_told_in_a_sentence(tmp_path):
    """No traceback: it may come back."""
    with pytest.raises(SourceError, match=r"cannot read .*: No such file"):
        relist(tmp_path / "none", {"a"})
