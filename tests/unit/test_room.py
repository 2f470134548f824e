"""Room on the disk: what is admitted, reserved, lent and recalled, by what was measured."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wgetpool.room import IN_VAIN, LEAST, LENT, ROOMY, Room

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def room_with(free: int, *, min_free: int = 0) -> Room:
    room = Room(min_free)
    room.measured(free, {})
    return room


def look(room: Room, free: int, **lengths: int) -> None:
    """A measurement in which nothing happens meanwhile."""
    room.ask()
    room.measured(free, lengths)


# ---------------------------------------------------------------- sizes that are known


def test_nothing_is_refused_before_the_first_measurement() -> None:
    """Where the system does not tell what is free, nobody is held up."""
    room = Room(GIB)

    assert room.admits(length=0, size=1 << 60)
    assert room.admits(length=0, size=None)
    assert room.reserve("a", length=0, size=None) is None
    assert room.over() == []


@pytest.mark.parametrize(
    ("size", "length", "fits"),
    [
        (92 * MIB, 0, True),
        (92 * MIB + 1, 0, False),
        (200 * MIB, 108 * MIB, True),  # of a part what is missing
        (200 * MIB, 108 * MIB - 1, False),
        (10 * MIB, 20 * MIB, True),  # a part that is too long needs nothing
    ],
)
def test_a_file_is_admitted_when_its_rest_fits(size: int, length: int, fits: bool) -> None:
    """Of what is free --min-free is not for it."""
    room = room_with(100 * MIB, min_free=8 * MIB)

    assert room.admits(length=length, size=size) is fits


def test_less_free_than_is_kept_admits_nothing() -> None:
    """Not even a file that needs no more."""
    room = room_with(7 * MIB, min_free=8 * MIB)

    assert not room.admits(length=0, size=1)
    assert not room.admits(length=5, size=5)
    assert not room.admits(length=0, size=None)


def test_what_is_reserved_is_not_given_away_again() -> None:
    """Before a byte of it has come."""
    room = room_with(100 * MIB)
    room.reserve("a", length=0, size=60 * MIB)

    assert room.admits(length=0, size=40 * MIB)
    assert not room.admits(length=0, size=41 * MIB)


def test_a_known_size_needs_no_ceiling() -> None:
    """It bounds the part; and a part that ended at its ceiling would be held for ever."""
    assert room_with(MIB).reserve("a", length=0, size=MIB) is None


def test_what_has_come_is_counted_once() -> None:
    """It is no longer free, and no longer to come."""
    room = room_with(100 * MIB)
    room.reserve("a", length=0, size=60 * MIB)

    look(room, 70 * MIB, a=30 * MIB)

    assert room.available == 40 * MIB


def test_an_ended_attempt_has_used_what_it_brought() -> None:
    """Until the next measurement says so itself."""
    room = room_with(100 * MIB)
    room.reserve("a", length=10 * MIB, size=60 * MIB)

    room.release("a", length=40 * MIB)

    assert room.available == 70 * MIB
    assert not room.is_certain
    look(room, 70 * MIB)
    assert room.available == 70 * MIB
    assert room.is_certain


def test_an_attempt_that_ends_while_room_is_measured_is_counted_once() -> None:
    """Its part was looked at before what is free: what came until then is in it."""
    room = room_with(100 * MIB)
    room.reserve("a", length=0, size=60 * MIB)
    room.ask()

    room.release("a", length=60 * MIB)
    room.measured(80 * MIB, {"a": 20 * MIB})

    assert room.available == 40 * MIB
    look(room, 40 * MIB)
    assert room.available == 40 * MIB


def test_an_attempt_that_starts_while_room_is_measured_keeps_its_reservation() -> None:
    """Nothing is known of what it has written by then."""
    room = room_with(100 * MIB)
    room.ask()
    room.reserve("a", length=0, size=60 * MIB)

    room.measured(90 * MIB, {})

    assert room.available == 30 * MIB


def test_an_attempt_that_starts_and_ends_meanwhile_is_not_lost() -> None:
    """It counts until a measurement that was asked for after its end."""
    room = room_with(100 * MIB)
    room.ask()
    room.reserve("a", length=0, size=10 * MIB)
    room.release("a", length=10 * MIB)

    room.measured(100 * MIB, {})

    assert room.available == 90 * MIB
    look(room, 90 * MIB)
    assert room.available == 90 * MIB


def test_a_file_that_was_put_aside_has_used_its_room() -> None:
    """Whole and wrong: its part is empty, its bytes are kept elsewhere."""
    room = room_with(100 * MIB)
    room.reserve("a", length=30 * MIB, size=60 * MIB)

    room.release("a", length=0)

    assert room.available == 70 * MIB


def test_a_larger_size_than_was_thought_takes_the_others_down_from_the_latest() -> None:
    """So many as must end, and no more."""
    room = room_with(100 * MIB)
    for name in "abc":
        room.reserve(name, length=0, size=20 * MIB)

    room.learn("a", 60 * MIB)
    assert room.over() == []
    room.learn("a", 70 * MIB)

    assert room.over() == ["c"]
    assert room.over() == ["c"]  # the same until it has ended
    room.release("c", length=0)
    assert room.over() == []


def test_somebody_else_who_fills_the_disk_ends_all_that_still_grows() -> None:
    """What has all its bytes, and is being checked, needs no more room."""
    room = room_with(100 * MIB, min_free=8 * MIB)
    room.reserve("a", length=0, size=20 * MIB)
    room.reserve("b", length=0, size=20 * MIB)

    look(room, 5 * MIB, a=20 * MIB, b=10 * MIB)

    assert room.over() == ["b"]


def test_no_size_that_is_told_for_a_file_that_is_not_under_way_is_reserved() -> None:
    """A list tells them all before one is started."""
    room = room_with(100 * MIB)

    room.learn("a", 90 * MIB)

    assert room.available == 100 * MIB


# ---------------------------------------------------------------- sizes that are not known


def test_plenty_of_room_needs_no_ceilings() -> None:
    """Nobody has to be careful."""
    room = room_with(100 * GIB)

    for name in "abcdefgh":
        assert room.admits(length=0, size=None)
        assert room.reserve(name, length=0, size=None) is None


def test_where_room_is_short_the_first_unknown_file_has_it_alone() -> None:
    """It may be of any size, but its part grows no further than what is free."""
    room = room_with(64 * MIB, min_free=8 * MIB)

    ceiling = room.reserve("a", length=5 * MIB, size=None)

    assert ceiling == 61 * MIB
    assert room.lent == ["a"]
    assert not room.admits(length=0, size=None)
    assert not room.admits(length=0, size=1)


def test_the_others_go_on_as_soon_as_its_size_is_told() -> None:
    """What it does not need is given back."""
    room = room_with(64 * MIB)
    room.reserve("a", length=0, size=None)

    room.learn("a", 20 * MIB)

    assert (room.lent, room.available) == ([], 44 * MIB)
    assert room.admits(length=0, size=None)
    assert room.reserve("b", length=0, size=None) == 44 * MIB


def test_small_files_of_unknown_size_share_what_is_free() -> None:
    """Once some sizes are known, one after the other would be slow for nothing."""
    room = room_with(5 * LENT)
    room.learn("earlier", 10 * KIB)

    ceilings = [room.reserve(name, length=0, size=None) for name in "abcd"]

    assert ceilings == [LENT] * 4
    assert room.admits(length=0, size=None)


def test_one_of_unknown_size_waits_while_it_would_most_likely_not_fit() -> None:
    """Those that run make room for nobody, and it would be ended in the middle."""
    room = room_with(30 * MIB)
    room.learn("earlier", 20 * MIB)
    room.reserve("a", length=0, size=20 * MIB)

    assert not room.admits(length=0, size=None)
    assert room.admits(length=10 * MIB, size=None)


def test_a_guess_does_not_stop_the_only_attempt() -> None:
    """With nothing under way it is tried: it may be a small one."""
    room = room_with(MIB)
    room.learn("earlier", 20 * MIB)

    assert room.admits(length=0, size=None)
    assert room.reserve("a", length=0, size=None) == MIB


def test_after_some_in_vain_the_guess_counts() -> None:
    """A thousand files are not asked one after the other, to learn that there is no room."""
    room = room_with(MIB)
    room.learn("earlier", 20 * MIB)

    for _ in range(IN_VAIN):
        assert room.admits(length=0, size=None)
        room.reserve("a", length=0, size=None)
        room.learn("a", 20 * MIB)
        assert room.over() == ["a"]
        room.release("a", length=0)
        look(room, MIB)

    assert not room.admits(length=0, size=None)
    look(room, 20 * MIB)
    assert room.admits(length=0, size=None)


def test_a_part_that_came_to_its_ceiling_unseen_was_in_vain() -> None:
    """So fast a line that nobody saw its head: the same."""
    room = room_with(64 * MIB)
    room.learn("earlier", 70 * MIB)

    for n in range(IN_VAIN):
        ceiling = room.reserve("a", length=n * MIB, size=None)
        assert ceiling is not None
        room.release("a", length=ceiling)
        look(room, 64 * MIB)

    assert not room.admits(length=0, size=None)


def test_a_size_that_exceeds_its_ceiling_ends_the_attempt() -> None:
    """It cannot come to its end, whatever else becomes free."""
    room = room_with(30 * MIB)
    room.reserve("a", length=0, size=None)

    room.learn("a", 40 * MIB)
    look(room, 90 * MIB, a=MIB)

    assert room.over() == ["a"]


def test_next_to_no_room_is_too_little_for_an_unknown_size() -> None:
    """An attempt at a few bytes would follow the other."""
    assert not room_with(LEAST - 1).admits(length=0, size=None)
    assert room_with(LEAST).admits(length=0, size=None)


def test_without_a_ceiling_one_of_unknown_size_is_ended_before_the_room_is() -> None:
    """A server that tells no length: what it brought between two measurements may come twice more
    before it is ended.
    """
    room = room_with(3 * GIB, min_free=GIB)
    assert room.reserve("a", length=0, size=None) is None

    look(room, 2 * GIB, a=GIB)
    assert room.over() == ["a"]


def test_a_size_that_was_wrong_is_none() -> None:
    """The server sends more than the list tells: it counts as if nothing were known."""
    room = room_with(100 * MIB)
    room.reserve("a", length=0, size=MIB)

    look(room, 95 * MIB, a=5 * MIB)

    assert room.available == 85 * MIB


def test_what_is_held_goes_on_together_only_where_it_fits_together() -> None:
    """Each of them alone would fit."""
    room = room_with(50 * MIB)
    held = [("a", 0, 60 * MIB), ("b", 0, 30 * MIB), ("c", 0, 30 * MIB), ("d", 5, 20 * MIB)]

    assert room.fitting(held, 9) == ["b", "d"]
    assert room.fitting(held, 1) == ["b"]
    assert room.available == 50 * MIB


# ---------------------------------------------------------------- a disk that takes no more


def test_nothing_follows_what_the_disk_refused_before_something_has_ended() -> None:
    """A quota, or no inode: what was measured tells nothing of it."""
    room = room_with(100 * MIB)
    room.reserve("a", length=0, size=MIB)

    room.refused()
    assert not room.admits(length=0, size=1)
    look(room, 100 * MIB + 4096, a=0)
    assert not room.admits(length=0, size=1)
    room.release("a", length=0)

    assert room.admits(length=0, size=1)


def test_what_the_disk_refused_goes_on_when_somebody_has_made_room() -> None:
    """Nothing has to end for that."""
    room = room_with(100 * MIB)
    room.reserve("a", length=0, size=MIB)
    room.refused()

    look(room, 101 * MIB, a=0)

    assert room.admits(length=0, size=1)


def test_what_the_disk_refused_is_tried_once_more_alone() -> None:
    """Then it is certain."""
    room = room_with(100 * MIB)

    room.refused()

    assert room.admits(length=0, size=1)


# ---------------------------------------------------------------- whatever happens


@dataclass
class Attempt:
    """An attempt as the disk sees it. `told`: its size is known."""

    size: int
    length: int
    ceiling: int | None
    told: bool


class Disk(RuleBasedStateMachine):
    """A disk that nobody else writes to, and a run that obeys: what is recalled writes no more, and
    no part grows beyond its ceiling. Without a ceiling nothing is written before the size is told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.min_free = 8 * MIB
        self.free = self.min_free
        self.room = Room(self.min_free)
        self.attempts: dict[str, Attempt] = {}
        self.parts: dict[str, tuple[int, int]] = {}  # size and length of what is not whole
        self.seen: dict[str, int] | None = None
        self.names = 0

    @precondition(lambda self: self.room.free is None)
    @rule(free=some.integers(0, 6 * GIB))
    def begin(self, free: int) -> None:
        self.free = free
        self.room.measured(free, {})
        self.low = min(free, self.min_free)

    @precondition(lambda self: self.room.free is not None)
    @rule(size=some.integers(1, 2 * GIB) | some.integers(1, 80 * MIB), told=some.booleans())
    def start_a_new_one(self, size: int, told: bool) -> None:
        self.names += 1
        self.start(f"f{self.names}", size, 0, told)

    @precondition(lambda self: self.parts)
    @rule(data=some.data(), told=some.booleans())
    def start_one_again(self, data: some.DataObject, told: bool) -> None:
        name = data.draw(some.sampled_from(sorted(self.parts)))
        size, length = self.parts[name]
        self.start(name, size, length, told)

    def start(self, name: str, size: int, length: int, told: bool) -> None:
        known = size if told else None
        if self.room.admits(length=length, size=known):
            ceiling = self.room.reserve(name, length=length, size=known)
            self.attempts[name] = Attempt(size, length, ceiling, told)
            self.parts.pop(name, None)

    @precondition(lambda self: self.attempts)
    @rule(data=some.data())
    def see_a_head(self, data: some.DataObject) -> None:
        name = data.draw(some.sampled_from(sorted(self.attempts)))
        self.attempts[name].told = True
        self.room.learn(name, self.attempts[name].size)
        self.obey()

    @precondition(lambda self: self.attempts)
    @rule(data=some.data(), share=some.floats(0, 1))
    def grow(self, data: some.DataObject, share: float) -> None:
        name = data.draw(some.sampled_from(sorted(self.attempts)))
        attempt = self.attempts[name]
        end = attempt.size
        if attempt.ceiling is not None:
            end = min(end, attempt.ceiling)
        elif not attempt.told:
            return
        more = round(max(end - attempt.length, 0) * share)
        attempt.length += more
        self.free -= more

    @precondition(lambda self: self.attempts)
    @rule(data=some.data())
    def end(self, data: some.DataObject) -> None:
        self.stop(data.draw(some.sampled_from(sorted(self.attempts))))

    def stop(self, name: str) -> None:
        attempt = self.attempts.pop(name)
        self.room.release(name, length=attempt.length)
        if attempt.length < attempt.size:
            self.parts[name] = attempt.size, attempt.length

    @precondition(lambda self: self.room.free is not None and self.seen is None)
    @rule()
    def look_at_the_parts(self) -> None:
        self.room.ask()
        self.seen = {name: attempt.length for name, attempt in self.attempts.items()}

    @precondition(lambda self: self.seen is not None)
    @rule()
    def look_at_what_is_free(self) -> None:
        self.told = self.free, self.seen or {}

    @precondition(lambda self: self.seen is not None and hasattr(self, "told"))
    @rule()
    def hear_of_it(self) -> None:
        self.room.measured(*self.told)
        self.seen = None
        del self.told
        self.obey()

    def obey(self) -> None:
        for name in self.room.over():
            self.stop(name)

    @invariant()
    def room_is_kept(self) -> None:
        """What was free at the start, where that was less than is to be kept, is not touched."""
        if self.room.free is not None:
            assert self.free >= self.low

    @invariant()
    def nothing_is_given_away_that_is_not_there(self) -> None:
        if (available := self.room.available) is not None:
            rest = sum(
                a.size - a.length for a in self.attempts.values() if a.told and not a.ceiling
            )
            assert available <= self.free - self.min_free - rest

    def teardown(self) -> None:
        """When all has ended, nothing is reserved any more."""
        for name in sorted(self.attempts):
            self.stop(name)
        look(self.room, self.free)
        assert self.room.available == self.free - self.min_free
        assert self.room.is_certain


TestDisk = Disk.TestCase


@given(some.lists(some.sampled_from(["ask", "measured", "release"]), max_size=8))
def test_a_release_or_a_measurement_without_its_beginning_harms_nothing(calls: list[str]) -> None:
    """A name that nobody has reserved for, a look that was not asked for."""
    room = Room(0)

    for call in calls:
        if call == "ask":
            room.ask()
        elif call == "measured":
            room.measured(ROOMY, {"a": 5})
        else:
            room.release("a", length=5)

    assert room.available in {None, ROOMY}
