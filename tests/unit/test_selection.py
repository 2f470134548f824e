"""What a selection takes of a list: allowed names, braces, patterns, order, slice, shard."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgetpool import selection
from wgetpool.errors import SourceError
from wgetpool.selection import (
    Distinct,
    Patterns,
    Row,
    Selection,
    Wanted,
    arrange,
    depends_on_shuffle,
    expand,
    folder_clashes,
    name_fault,
    parse_shard,
)


def rows_of(*names: str) -> list[Row]:
    return [Row(name, f"https://h/{name}", place) for place, name in enumerate(names, 1)]


def taken(names: list[str], **options) -> list[str]:
    return [row.name for row in arrange(iter(rows_of(*names)), Selection(**options))]


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    [
        *("a.tar", "train/a.tar", "-x", "100%.bin", 'it\'s "a" b', "é.tar", ".hidden", "a..b"),
        *("part", "a.part/b", "x/.wgetpool", "x" * 250, "x" * 255 + "/y"),
    ],
)
def test_an_ordinary_name_is_allowed(name):
    """Blanks, quotes, percent signs, dashes, non-ASCII and folders are no reason to refuse."""
    assert name_fault(name) is None


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("../a", "'..'"),
        ("a/../b", "'..'"),
        ("a/./b", "'..'"),
        ("a//b", "empty"),
        ("a/", "empty"),
        ("..", "'..'"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("a\x1b[31m", "control"),
        ("a\x9bb", "control"),
        (".wgetpool/ledger", "wgetpool"),
        (".wgetpool", "wgetpool"),
        (".WGETPOOL/x", "wgetpool"),
        ("a.part", ".part"),
        ("x" * 251, "too long"),
        ("é" * 126, "too long"),
        ("x" * 256 + "/y", "too long"),
        ("abcdefgh/" * 400 + "y", "too long"),
    ],
)
def test_a_name_that_cannot_be_kept_is_refused(name, fault):
    """A name never leaves DIR, never takes what wgetpool needs, and fits the file system."""
    assert fault in (name_fault(name) or "")


@given(st.text(alphabet="a./\\~\0é ", max_size=12))
def test_an_allowed_name_never_leaves_the_folder(name):
    """Walking an allowed name from DIR goes down only, and ends below DIR."""
    if name_fault(name) is None:
        parts = name.split("/")

        assert parts[-1]
        assert not {"", ".", ".."} & set(parts)


# ---------------------------------------------------------------- braces


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a", "a"),
        ("{a,b}.tar", "a.tar b.tar"),
        ("{a,}x", "ax x"),
        ("{a,{b,c}d}", "a bd cd"),
        ("{000..003}", "000 001 002 003"),
        ("{8..11}", "8 9 10 11"),
        ("{08..11}", "08 09 10 11"),
        ("{3..1}", "3 2 1"),
        ("{0..9..3}", "0 3 6 9"),
        ("{9..0..3}", "9 6 3 0"),
        ("{-1..1}", "-1 0 1"),
        ("{-01..1}", "-01 000 001"),
        ("{a..e..2}", "a c e"),
        ("{0,1}{a,b}", "0a 0b 1a 1b"),
        ("{0..1}_{x,{2..3}}", "0_x 0_2 0_3 1_x 1_2 1_3"),
        ("{a}", "{a}"),
        ("{}", "{}"),
        ("{a,b", "{a,b"),
        ("a,b}", "a,b}"),
        ("{x{a,b}}", "{xa} {xb}"),
        ("{a,{b,c}", "{a,b {a,c"),
        (r"\{a,b\}", r"\{a,b\}"),
        (r"{a\,b,c}", r"a\,b c"),
        ("{1..x}", "{1..x}"),
    ],
)
def test_braces_expand_as_in_a_shell(pattern, names):
    """Lists, ranges with padding and step, nesting; the leftmost varies slowest; the rest stays."""
    assert list(expand(pattern)) == names.split(" ")


@given(st.lists(st.lists(st.text("ab", max_size=2), min_size=2, max_size=3), max_size=4))
def test_braces_expand_to_the_product_of_their_lists(groups):
    """Any number of lists in a row gives every combination, in order."""
    pattern = "-".join("{" + ",".join(group) + "}" for group in groups)

    assert list(expand(pattern)) == ["-".join(items) for items in product(*groups)]


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 7), st.integers(1, 5))
def test_a_padded_range_expands_to_numbers_of_one_width(first, last, step, width):
    """`{007..012}` counts up or down, by steps, both ends included."""
    step = step if first <= last else -step
    numbers = range(first, last + (1 if step > 0 else -1), step)
    texts = [f"{number:0{width}d}" for number in (first, last)]
    padded = max(map(len, texts)) if any(re.match("0.", text) for text in texts) else 0

    assert list(expand(f"{{{texts[0]}..{texts[1]}..{step}}}")) == [
        f"{number:0{padded}d}" for number in numbers
    ]


@pytest.mark.parametrize(
    "pattern", ["{0..99999999999}", "{1..2000}" * 9, "{0..20000}*", "{a," * 101]
)
def test_braces_without_bounds_are_refused(monkeypatch, pattern):
    """What would fill the memory, or the stack, is one clear error."""
    monkeypatch.setattr(selection, "EXPANSION_LIMIT", 1000)
    monkeypatch.setattr(selection, "WILDCARD_LIMIT", 100)

    with pytest.raises(SourceError, match="braces"):
        Patterns([pattern])


# ---------------------------------------------------------------- patterns


@pytest.mark.parametrize(
    ("pattern", "matches", "differs"),
    [
        ("sa_*.tar", "sa_1.tar sa_.tar", "SA_1.tar sa_1.tar.gz xsa_1.tar a/sa_1.tar sa_/1.tar"),
        ("a?c", "abc a?c", "ac abbc a/c"),
        ("*/*.tar", "t/a.tar", "a.tar t/u/a.tar"),
        ("[ab]x", "ax bx", "cx x"),
        ("[!ab]x", "cx", "ax x /x"),
        ("[^ab]x", "cx", "ax /x"),
        ("[a-c]", "a b c", "d -"),
        ("[a-]", "a -", "b"),
        ("[]x]", "] x", "a"),
        ("[z-a]", "x[z-a]", "z a -"),
        ("[!-~]", ",", "/ - ~"),
        ("[[:digit:]]x", "1x", "dx :x"),
        ("a[", "a[", "a"),
        (r"\*[*]", "**", "a*"),
        (r"a\?[?]", "a??", "ab?"),
        (r"[\]\-a]", "] - a", "b \\"),
        ("a.*", "a.b", "axb"),
        ("**a", "xa a", "x/a b"),
        ("é*", "éa", "e"),
        ("[+-/]", ", .", "/ 0"),
    ],
)
def test_a_wildcard_matches_as_in_a_shell(pattern, matches, differs):
    """Whole names, with case; `*`, `?` and `[...]` never match a slash."""
    patterns = Patterns([pattern])

    if pattern != "[z-a]":
        assert all(patterns.match(name) for name in matches.split(" "))
    assert not any(patterns.match(name) for name in differs.split(" "))


def test_what_has_no_wildcard_is_a_name():
    """Escapes are taken off it, and braces may mix names and wildcards."""
    patterns = Patterns([r"a\*b", "{x*,y}.tar"], ["[n]"])

    assert patterns.literals == {"a*b", "y.tar", "[n]"}
    assert patterns.match("xx.tar")


# ---------------------------------------------------------------- steps


def kept(names: str, selected_from: tuple[str, ...] = (), **options) -> list[str]:
    wanted = Wanted(Selection(**options), selected_from)
    rows = list(wanted.filter(rows_of(*names.split())))
    wanted.check_missing()
    return [row.name for row in rows]


def test_select_takes_the_union_and_exclude_takes_from_it():
    """The list keeps its order; a name that is excluded was there all the same."""
    assert kept("d c b a", select=("[ab]", "d")) == ["d", "b", "a"]
    assert kept("d c b a", select=("{a,b,c}",), exclude=("b",)) == ["c", "a"]
    assert kept("d c b a", exclude=("[ab]", "nowhere")) == ["d", "c"]


def test_a_selected_name_that_the_list_lacks_is_an_error():
    """Every literal and brace item is held against the list; the first few are named."""
    with pytest.raises(SourceError, match=r"'f0', 'f1', 'f2', 'f4', 'f5' and 4 more$"):
        kept("f3", select=("f{0..9}",))


@given(st.lists(st.integers(), max_size=30, unique=True), *[st.none() | st.integers(-40, 40)] * 2)
def test_a_slice_takes_what_python_takes(numbers, start, end):
    """Negative and missing ends too, by list or by name."""
    names = list(map(str, numbers))

    assert taken(names, start=start, end=end) == names[start:end]
    assert taken(names, order="name", start=start, end=end) == sorted(names)[start:end]


@given(st.lists(st.integers(), max_size=30, unique=True), st.integers(1, 7), st.integers(0, 10))
def test_shards_part_what_is_left(numbers, count, start):
    """Every file of the slice is in exactly one of the shards."""
    names = list(map(str, numbers))

    shards = [taken(names, start=start, shard=(which, count)) for which in range(count)]

    assert sorted(name for shard in shards for name in shard) == sorted(names[start:])
    assert shards[0] == names[start::count]


def test_a_slice_reads_no_further_than_its_end():
    """The iterator stands behind the last row that the slice took."""
    rows = iter(rows_of(*"abcdef"))

    arrange(rows, Selection(start=1, end=3))

    assert next(rows).name == "d"


def test_an_endless_slice_is_no_error():
    """Numbers beyond what the machine counts are as good as none."""
    assert taken(["a", "b"], start=1, end=10**30) == ["b"]


@pytest.mark.parametrize(
    ("names", "end", "warned"),
    [
        ("f2 f0 f1 f3", 2, True),
        ("f2 f0 f1 f3", 4, False),
        ("f2 f0 f1 f3", 9, False),
        ("f2 f0 f1 f3", -1, True),
        ("f2 f0 f1 f3", None, False),
        ("f0 f1 f2 f10", 2, False),
        ("f0 f1 f10 f2", 2, False),
        ("ids.txt f0 gold f1", 2, False),
        ("b a d c", 2, False),
    ],
)
def test_a_slice_of_a_shuffled_list_is_told(names, end, warned):
    """Numbered names in neither order, and a slice that leaves out some of them."""
    wanted = Selection(end=end)
    rows = iter(rows_of(*names.split()))

    arrange(rows, wanted)

    assert depends_on_shuffle(wanted, names.split(), rows) is warned


def test_the_same_file_twice_comes_once():
    """One name from one URL is one file; from two URLs both places are told."""
    rows = [Row("a", "u", 1), Row("b", "u", 2), Row("a", "u", 3), Row("b", "v", 4)]
    conflicts: list[tuple[int, int]] = []

    distinct = list(Distinct(rows, lambda *places: conflicts.append(places)))

    assert distinct == rows[:2]
    assert conflicts == [(4, 2)]


def test_a_file_is_no_folder_of_another():
    """Nor is its part."""
    rows = rows_of("a", "a/b", "x", "x.part/y", "z/a", "ab/c")

    assert [(row.name, place) for row, place in folder_clashes(rows)] == [
        ("a/b", 1),
        ("x.part/y", 3),
    ]


def test_a_shard_is_read():
    """K/N with 0 <= K < N."""
    assert parse_shard("2/3") == (2, 3)


@pytest.mark.parametrize("text", ["", "1", "3/3", "-1/3", "0/0", "a/b", "1/2/3", "1 / 2", "1/2\n"])
def test_a_shard_that_is_none_is_refused(text):
    """In one sentence that says what is wanted."""
    with pytest.raises(SourceError, match="K/N with 0 <= K < N"):
        parse_shard(text)
