"""The links of a run: which have expired, by whose clock, and what replaces them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.doubles import NOON, FakeClock

from wgetpool.links import Links
from wgetpool.model import Entry, Url

HOUR = 3600.0


def link(seconds: float, name: str = "a.tar") -> Url:
    """A link that expires so many seconds after noon."""
    return Url(f"https://e.org/{name}?oh=x&oe={int(NOON.timestamp() + seconds):X}")


def entries(*seconds: float) -> list[Entry]:
    return [Entry(f"{number}.tar", link(at)) for number, at in enumerate(seconds)]


# ---------------------------------------------------------------- whose clock


def test_a_link_expires_by_our_clock_before_a_server_was_heard() -> None:
    """There is no other yet."""
    clock = FakeClock()
    links = Links(clock)

    assert links.expired(Entry("a.tar", link(60))) is None
    clock.advance(61)
    assert links.expired(Entry("a.tar", link(60))) == NOON + timedelta(seconds=60)
    assert links.by_whose_clock == "this machine's clock (2026-03-01 12:01 UTC now)"


def test_the_servers_clock_outranks_ours() -> None:
    """Ours is a day ahead: the link is still good."""
    links = Links(FakeClock())

    assert links.expired(Entry("a.tar", link(-HOUR))) is not None
    assert links.hear("e.org", -24 * HOUR)
    assert links.expired(Entry("a.tar", link(-HOUR))) is None
    assert links.by_whose_clock == "the server's clock"


@pytest.mark.parametrize(("ahead", "news"), [(2.0, False), (-59.0, False), (61.0, True)])
def test_a_small_difference_is_no_news(ahead: float, news: bool) -> None:
    """Clocks differ by seconds, and answers take some."""
    assert Links(FakeClock()).hear("e.org", ahead) is news


def test_each_host_has_a_clock_of_its_own() -> None:
    """What another one shows says nothing."""
    links = Links(FakeClock())

    links.hear("other.org", -24 * HOUR)

    assert links.expired(Entry("a.tar", link(-HOUR))) is not None


def test_a_clock_by_which_good_links_expire_is_believed_when_one_is_refused() -> None:
    """A wrong one would give up what the server still sends."""
    links = Links(FakeClock())
    links.hear("e.org", 24 * HOUR)

    assert links.expired(Entry("a.tar", link(HOUR))) is None
    links.confirm("e.org")
    assert links.expired(Entry("a.tar", link(HOUR))) is not None


def test_a_cut_link_is_not_expired_whatever_it_tells() -> None:
    """It lacks what would make it good."""
    assert Links(FakeClock()).expired(Entry("a.tar", link(-HOUR), cut=True)) is None


def test_a_link_that_tells_no_expiry_never_expires() -> None:
    """A plain URL, above all."""
    assert Links(FakeClock()).expired(Entry("a.tar", Url("https://e.org/a.tar?x=1"))) is None


# ---------------------------------------------------------------- fresh ones


def test_a_fresh_link_takes_the_place_of_the_old_one() -> None:
    """By the name; size and checksums stay those of the old list."""
    links = Links(FakeClock())
    old = Entry("a.tar", link(-1), size=7)

    links.replace({"a.tar": link(HOUR), "other.tar": link(HOUR)})

    assert links.latest(old) == Entry("a.tar", link(HOUR), size=7)
    assert links.latest(Entry("b.tar", link(1))) == Entry("b.tar", link(1))


# ---------------------------------------------------------------- do they last?


def test_links_that_expire_before_their_turn_are_counted() -> None:
    """Ten files over ten hours, one an hour; all expire in five hours and a half."""
    lost = Links(FakeClock()).outlived(entries(*[5.5 * HOUR] * 10), 10 * HOUR)

    assert lost is not None
    assert (lost.files, lost.of) == (4, 10)
    assert lost.first == NOON + timedelta(hours=5.5)
    assert str(lost) == (
        "at this rate 4 of the 10 links that are to come expire before their turn, the first at "
        "2026-03-01 17:30 UTC"
    )


def test_links_that_last_are_not_told_of() -> None:
    """Nor those that do not tell when they expire, nor those that have expired already."""
    links = Links(FakeClock())
    plain = Entry("p.tar", Url("https://e.org/p.tar"))

    assert links.outlived(entries(11 * HOUR, 11 * HOUR), 10 * HOUR) is None
    assert links.outlived([plain] * 5, 10 * HOUR) is None
    assert links.outlived(entries(-1, -1, -1), 10 * HOUR) is None
    assert links.outlived([], 10 * HOUR) is None


def test_fresh_links_count_for_what_is_to_come() -> None:
    """They have been replaced since."""
    links = Links(FakeClock())
    links.replace({f"{n}.tar": link(20 * HOUR) for n in range(10)})

    assert links.outlived(entries(*[HOUR] * 10), 10 * HOUR) is None
