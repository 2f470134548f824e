"""The log of a wget for several files: what it shows to have come, and what ends its use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.doubles import came, head, head_200, refusal

from wgetpool.batchlog import Answer, BatchLog
from wgetpool.model import Trouble, Url

URLS = [f"https://e.org/{name}?sig=SECRET-{name}" for name in "abc"]
MOST = 1000
A, B, C = (head_200(size) + came(url, size) for size, url in zip((7, 0, 500), URLS, strict=True))
GONE = refusal(URLS[1], "404 Not Found")
FULL = refusal(URLS[1], "503 Service Unavailable")


def reader(urls: list[str] = URLS, trouble: frozenset[int] = frozenset()) -> BatchLog:
    return BatchLog([Url(url) for url in urls], most=MOST, trouble=trouble)


def answers(log: str, *, ended: bool = False) -> tuple[list[Answer], BatchLog]:
    """All that this log tells; `ended`: and wget is no more."""
    reading = reader()
    found = list(reading.read(log.encode("latin-1")))
    if ended and (last := reading.end(log.encode("latin-1"))):
        found.append(last)
    return found, reading


def spans(found: list[Answer]) -> list[tuple[int, int, int]]:
    """Place, start and size of those that came."""
    return [(one.place, one.start, one.size) for one in found if one.size is not None]


def test_files_come_one_after_the_other() -> None:
    """Each with its head, its bytes behind those of the one before."""
    found, reading = answers(A + B + C + "FINISHED --2026-03-01 12:00:00--\n")

    assert spans(found) == [(0, 0, 7), (1, 7, 0), (2, 7, 500)]
    assert [one.reply.head and one.reply.head.length for one in found] == [7, 0, 500]
    assert reading.is_over


@given(st.lists(st.integers(0, len(A + GONE + C)), max_size=8))
def test_it_comes_to_the_same_wherever_the_log_is_read(cuts: list[int]) -> None:
    """In the midst of a line, or of a head."""
    log = (A + GONE + C).encode()
    whole, _ = answers(log.decode())

    reading = reader()
    found = [one for cut in [*sorted(cuts), len(log)] for one in reading.read(log[:cut])]

    assert found == whole
    assert reading.is_over


def test_a_file_that_the_server_refuses_has_its_answer() -> None:
    """And the next one comes all the same."""
    found, _ = answers(A + GONE + C)

    assert spans(found) == [(0, 0, 7), (2, 7, 500)]
    assert found[1].reply.exit_code == 8
    assert found[1].reply.head is not None
    assert found[1].reply.head.status == 404


@pytest.mark.parametrize("status", ["503 Service Unavailable", "429 Too Many Requests", "408 X"])
def test_a_server_in_trouble_is_asked_no_more(status: str) -> None:
    """What comes all the same is heard where it is more of that, and not believed otherwise."""
    log = A + refusal(URLS[1], status)
    more, _ = answers(log + refusal(URLS[2], status))
    file, reading = answers(log + C)
    _, before = answers(log)

    assert [(one.place, one.size) for one in more] == [(0, 7), (1, None), (2, None)]
    assert more[2].reply.head is not None
    assert [(one.place, one.size) for one in file] == [(0, 7), (1, None)]
    assert (before.is_enough, before.is_over, reading.is_over) == (True, False, True)


def test_the_user_says_what_else_is_trouble() -> None:
    """--retry-status."""
    reading = reader(trouble=frozenset({404}))

    assert [one.place for one in reading.read((A + GONE).encode())] == [0, 1]
    assert reading.is_enough


CUT = head_200(500)


@pytest.mark.parametrize(
    ("log", "trouble"),
    [
        (A + CUT + C, Trouble.CLOSED),
        (A + head("200 OK", "Transfer-Encoding: chunked") + C, Trouble.CLOSED),
        (A + "No data received.\n" + C, Trouble.CLOSED),
        (A + "Read error (Connection reset by peer) in headers.\n" + C, Trouble.CLOSED),
        (A + "Read error (Connection timed out) in headers.\n" + C, Trouble.TIMED_OUT),
    ],
)
def test_a_file_that_was_cut_is_the_one_whose_turn_it_was(log: str, trouble: Trouble) -> None:
    """Its log lacks wget's line; the next head shows it. Nothing behind it is believed."""
    found, reading = answers(log)

    assert [(one.place, one.reply.exit_code) for one in found] == [(0, 0), (1, 4)]
    assert found[1].reply.trouble is trouble
    assert reading.is_over


def test_the_last_one_was_cut_when_wget_ends() -> None:
    """Only where its answer had begun."""
    assert [one.place for one in answers(A + CUT, ended=True)[0]] == [0, 1]
    assert [one.place for one in answers(A + CUT)[0]] == [0]
    assert [one.place for one in answers(A + CUT + "FINISHED --2026-03-01 12:00:00--\n")[0]] == [
        0,
        1,
    ]
    assert [one.place for one in answers(A + "FINISHED --2026-03-01 12:00:00--\n")[0]] == [0]
    assert [one.place for one in answers(A, ended=True)[0]] == [0]


def test_an_answer_without_a_file_is_one() -> None:
    """wget is content with it."""
    nothing = came(URLS[1], 0).replace("[0/0]", "[0]")

    found, reading = answers(A + head("204 No Content") + nothing + C)

    assert [(one.place, one.size) for one in found] == [(0, 7), (1, None)]
    assert reading.is_over


def test_what_is_not_even_http_may_be_the_rest_of_the_file_before() -> None:
    """A server that sends more than it has told: the next file is not to blame."""
    found, reading = answers(A + came(URLS[1], 21).replace("[21/21]", "[21]") + C)

    assert [(one.place, one.size) for one in found] == [(0, 7)]
    assert reading.is_over


def of_other_url(size: int = 500) -> str:
    return head_200(size) + came(URLS[2], size)


@pytest.mark.parametrize(
    "surprise",
    [
        of_other_url(),
        head_200(MOST + 1),
        head_200(None) + came(URLS[1], 500),
        head_200(500) + came(URLS[1], 499),
        head_200(500) + came(URLS[1], 500).replace("[500/500]", "[500]"),
        head_200(500) + came(URLS[1], 500).replace("[1]", "[2]"),
        head("200 OK", "Transfer-Encoding: chunked", size=500) + came(URLS[1], 500),
        head_200(500) + came(URLS[1] + "&x", 500),
        head_200(500) + "  " + came(URLS[1], 500),
        came(URLS[1], 500),
        head("206 Partial Content", size=500) + came(URLS[1], 500),
        head("204 No Content") + came(URLS[1], 0),
        head("302 Found", "Location: https://e.org/c"),
        head("401 Unauthorized"),
        head("407 Proxy Authentication Required"),
        head("416 Range Not Satisfiable") + of_other_url(),
        refusal(URLS[2], "404 Not Found"),
        head("404 Not Found") + refusal(URLS[1], "403 X").partition("\n")[2],
        head_200(500) + f"{URLS[1]}:\n",
        "failed: Connection refused.\n",
        "  Content-Length: 500\n",
        "\n",
    ],
)
def test_a_surprise_ends_its_use(surprise: str) -> None:
    """Whatever follows may be another's: the file is not tried, nor are those behind it."""
    found, reading = answers(A + surprise + B + C, ended=True)

    assert spans(found) == [(0, 0, 7)]
    assert all(one.reply.exit_code == 4 for one in found[1:])
    assert reading.is_over


def test_a_line_of_a_head_cannot_pass_for_wgets_own() -> None:
    """They are indented, and nothing that a server sends begins a line."""
    forged = f"X: y\\r\\n{came(URLS[0], 7)[:-1]}"
    found, _ = answers(head_200(7, forged) + came(URLS[0], 7) + B)

    assert spans(found) == [(0, 0, 7), (1, 7, 0)]


def test_what_is_told_so_far_is_of_the_file_whose_turn_it_is() -> None:
    """For a stall: with its head, or without."""
    log = (A + head_200(500)).encode()
    reading = reader()

    list(reading.read(A.encode()))
    before = reading.so_far(A.encode())
    list(reading.read(log))

    assert (before.head, reading.place) == (None, 1)
    assert reading.so_far(log).head is not None


def test_without_files_it_is_over() -> None:
    """Nothing is to come."""
    assert reader([]).is_over
