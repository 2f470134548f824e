"""The queues of the scheduler: what comes out, and in which order."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from wgetpool.jobs import Job, Later, Ready
from wgetpool.model import Entry, Url


def job(name: str, host: str = "e.org") -> Job:
    return Job(Entry(name, Url(f"https://{host}/{name}")))


def names(jobs: Iterable[Job]) -> list[str]:
    return [one.entry.name for one in jobs]


def popped(ready: Ready, *spared: str) -> list[str]:
    """All that come out while these hosts are spared."""
    found = []
    while one := ready.pop(lambda host: host not in spared):
        found.append(one.entry.name)
    return found


def filled(*rows: tuple[str, str]) -> Ready:
    """Names with their hosts."""
    ready = Ready()
    for name, host in rows:
        ready.push(job(name, host))
    return ready


# ---------------------------------------------------------------- whose turn it is


def test_they_come_in_the_order_of_the_list_whatever_their_hosts() -> None:
    """Hosts that are not spared make no difference."""
    ready = filled(("a", "x"), ("b", "y"), ("c", "x"), ("d", "z"), ("e", "y"))

    assert popped(ready) == ["a", "b", "c", "d", "e"]


def test_what_was_begun_comes_first() -> None:
    """A retry that is due holds a part, and others wait for their first try."""
    ready = filled(("a", "x"), ("b", "y"))
    ready.push(job("c", "y"), again=True)
    ready.push(job("d", "x"), again=True)

    assert names(ready.again.values()) == ["c", "d"]
    assert popped(ready) == ["c", "d", "a", "b"]
    assert not ready.again


def test_a_host_that_is_spared_holds_up_no_other() -> None:
    """Its files keep their places."""
    ready = filled(("a", "x"), ("b", "y"), ("c", "x"), ("d", "y"))

    assert popped(ready, "x") == ["b", "d"]
    assert popped(ready) == ["a", "c"]


def test_all_can_be_taken_out_and_put_back() -> None:
    """In their order: their links, and so their hosts, may be others now."""
    ready = filled(("a", "x"), ("b", "y"), ("c", "x"))
    ready.push(job("d", "y"), again=True)

    drained = ready.drain()

    assert names(drained) == ["d", "a", "b", "c"]
    assert (len(ready), popped(ready)) == (0, [])


def excludes(hosts: str, host: str) -> bool:
    return host not in hosts


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.sampled_from("xyz"), st.booleans()),
        st.tuples(st.just("pop"), st.sampled_from(["", "x", "y", "xy", "xyz"]), st.just(False)),
    ),
    max_size=60,
)


@given(MOVES)
def test_nothing_is_lost_and_nothing_comes_before_its_turn(
    moves: list[tuple[str, str, bool]],
) -> None:
    """Held against a plain list that is looked through each time."""
    ready, model = Ready(), list[tuple[int, int, str, str]]()
    for number, (what, hosts, again) in enumerate(moves):
        if what == "push":
            ready.push(job(str(number), hosts), again=again)
            model.append((0 if again else 1, number, hosts, str(number)))
        else:
            found = ready.pop(partial(excludes, hosts))
            first = min((row for row in model if row[2] not in hosts), default=None)
            assert (found.entry.name if found else None) == (first[3] if first else None)
            if first:
                model.remove(first)
        assert len(ready) == len(model)
        assert names(ready) == [row[3] for row in sorted(model)]
        assert sorted(ready.again) == sorted(row[3] for row in model if row[0] == 0)
        assert dict(ready.lines()) == {
            host: sum(row[2] == host for row in model) for host in {row[2] for row in model}
        }


# ---------------------------------------------------------------- what waits for its instant


def test_what_is_due_comes_the_earliest_first() -> None:
    """And those of one instant as they were put in."""
    later = Later()
    for name, at in (("a", 5.0), ("b", 3.0), ("c", 5.0), ("d", 9.0)):
        later.push(job(name), at)

    due = []
    while one := later.pop_due(5.0):
        due.append(one.entry.name)

    assert due == ["b", "a", "c"]
    assert (later.next_at, len(later)) == (9.0, 1)


def test_what_need_not_wait_any_longer_is_taken_out() -> None:
    """In the order of their instants; the others wait on."""
    later = Later()
    for name, at in (("a", 5.0), ("b", 3.0), ("c", 4.0)):
        later.push(job(name), at)

    assert names(later.remove(lambda one: one.entry.name != "b")) == ["c", "a"]
    assert (later.next_at, len(later)) == (3.0, 1)


def test_an_empty_queue_waits_for_nothing() -> None:
    """There is no next instant."""
    assert Later().next_at is None
    assert Later().pop_due(1e9) is None


@given(st.lists(st.floats(0, 100), max_size=50), st.floats(0, 100), st.integers(1, 60))
def test_those_due_by_an_instant_are_counted(dues: list[float], at: float, most: int) -> None:
    """Without a look at those that are due later; no further than somebody wants to know."""
    later = Later()
    for number, due in enumerate(dues):
        later.push(job(str(number)), due)

    assert later.due_by(at, most=most) == min(sum(due <= at for due in dues), most)
