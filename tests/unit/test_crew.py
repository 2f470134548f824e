"""How many workers so many descriptors are enough for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgetpool.crew import CROWD, OF_PROGRAM, OF_WORKER, fit


@pytest.mark.parametrize(
    ("wanted", "allowed", "fitting"),
    [
        (4, 1024, (4, CROWD)),
        (32, 1024, (32, CROWD)),
        (32, 256, (29, 6)),
        (8, 64, (5, 6)),
        (2, 64, (2, 30)),
        (8, 20, (1, 4)),  # may be too few: then that is told when it shows
    ],
)
def test_workers_and_crowd_fit_the_descriptors(
    wanted: int, allowed: int, fitting: tuple[int, int]
) -> None:
    """Workers come first; what is left is for the files that wait to be published."""
    assert fit(wanted, allowed) == fitting


@given(st.integers(1, 200), st.integers(OF_PROGRAM + OF_WORKER + 4, 1 << 20))
def test_no_more_is_planned_than_allowed(wanted: int, allowed: int) -> None:
    """Wherever one worker has room."""
    size, crowd = fit(wanted, allowed)

    assert 1 <= size <= wanted
    assert OF_PROGRAM + OF_WORKER * size + crowd <= allowed
