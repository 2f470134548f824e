"""How long names are shortened: whole numbers that tell them apart, and just so many cells."""

import random
import unicodedata
from itertools import pairwise

import pytest
from rich.cells import cell_len

from wgetpool.names import shorten_all, shorten_end

NUMBERS = (8, 9, 10, 123)
FORMS = {
    "suffix": "sa_{:06}_a_suffix_that_is_the_same_for_all_files.tar",
    "shards": "train/part-{:06}-of-08192-8f3a77c0b1d2.tar.gz",
    "folders": "datasets/2012/a folder that all share/train/img-{}.jpg",
    "wide": "数据集数据集数据集数据集-{}-数据集数据集数据集.tar",
    "combining": "e\u0301" * 30 + "{}" + "e\u0301" * 30,
}


def shortened(names: list[str], width: int) -> list[str]:
    short = shorten_all(names, width)
    return [short[name] for name in names]


@pytest.mark.parametrize(
    ("form", "width", "first", "last"),
    [
        ("suffix", 20, "sa_000008_a...es.tar", "sa_000123_a...es.tar"),
        ("shards", 20, "train/part-000008...", "train/part-000123..."),
        ("shards", 14, "...t-000008...", "...t-000123..."),
        ("folders", 20, "da...ain/img-8.jpg", "da...ain/img-123.jpg"),
    ],
)
def test_the_number_that_tells_files_apart_is_kept(
    form: str, width: int, first: str, last: str
) -> None:
    """And all names are cut at the same places: what they share is under each other."""
    shown = shortened([FORMS[form].format(number) for number in NUMBERS], width)

    assert [shown[0].rstrip(), shown[-1].rstrip()] == [first, last]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("width", [12, 13, 19, 20, 33, 50, 89])
def test_at_any_width_names_stay_different_and_fill_their_column(form: str, width: int) -> None:
    """Also of wide and of combining characters; none is torn from what it combines with."""
    names = [FORMS[form].format(number) for number in NUMBERS]

    shown = shortened(names, width)

    assert {cell_len(name) for name in shown} == {width}
    assert len(set(shown)) == len(names)
    for name, number in zip(shown, NUMBERS, strict=True):
        assert str(number) in name
        assert not any(
            unicodedata.combining(after) and not before.isalpha()
            for before, after in pairwise(name)
        )


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_names_the_column_is_filled(seed: int) -> None:
    """Names of all lengths and scripts, at all widths."""
    rng = random.Random(seed)
    stems = ["".join(rng.choices("ab1/é数e\u0301-", k=rng.randrange(40))) for _ in range(4)]
    names = ["".join(rng.choices(stems, k=4)) + str(rng.randrange(999)) for _ in range(20)]
    width = rng.randrange(1, 60)

    short = shorten_all(names, width)

    assert set(short) == set(names)
    assert {cell_len(label) for label in short.values()} == {width}


@pytest.mark.parametrize("seed", range(20))
def test_names_in_several_folders_stay_different(seed: int) -> None:
    """They differ at several places, and all of these are kept where there is room."""
    rng = random.Random(seed)
    folders = [f"a long way down/{rng.choice('xyz')}{n}/and further" for n in range(3)]
    names = [f"{rng.choice(folders)}/img-{rng.randrange(10**6):06}-full.jpg" for _ in range(60)]

    short = shorten_all(names, 30)

    assert len(set(short.values())) == len(set(names))


def test_a_name_that_fits_is_left_as_it_is() -> None:
    """Whatever the others are like."""
    assert shortened(["a.txt", "a" * 50, "b" * 50], 10)[0] == "a.txt     "


def test_a_name_without_company_keeps_its_longest_number() -> None:
    """Or its beginning and its end."""
    assert shortened([FORMS["shards"].format(8)], 20) == ["train/part-000008..."]
    assert shortened(["AQPvK_opaque_and_more_of_it.tar"], 20) == ["AQPv...ore_of_it.tar"]


def test_numbers_that_do_not_fit_are_cut() -> None:
    """There are such names, and such columns."""
    assert shortened(["1" * 80 + "2", "1" * 80 + "3"], 12) == ["11...1111112", "11...1111113"]


def test_digits_are_not_taken_from_a_number_with_commas() -> None:
    """'3,...' would be less than what it was."""
    assert shorten_end("closed early (600,000 of 3,000,000 bytes)", 31) == (
        "closed early (600,000 of..."
    )


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (80, "again in 20 s: HTTP 503 Service Unavailable"),
        (30, "again in 20 s: HTTP 503 Ser..."),
        (26, "again in 20 s: HTTP 503..."),
        (25, "again in 20 s: HTTP..."),
        (13, "again in..."),
        (2, ".."),
        (0, ""),
    ],
)
def test_a_text_is_cut_at_its_end_and_never_in_a_number(width: int, expected: str) -> None:
    """A status of two digits would be another one."""
    assert shorten_end("again in 20 s: HTTP 503 Service Unavailable", width) == expected
