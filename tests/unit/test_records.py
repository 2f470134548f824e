"""What the ledger keeps of what happens."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from wgetpool.events import AttemptStopped, FileHeld
from wgetpool.model import AttemptRecord, Cause, EndedFor, Hold
from wgetpool.records import row_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_file_that_is_held_keeps_why() -> None:
    """For `status`: it has no attempt that tells."""
    held = FileHeld(name="a", reason="the link has expired", cause=Cause.EXPIRED)

    row = row_of(held, run="r1", at=NOON)

    assert row == Hold(name="a", reason="the link has expired", cause="expired")


@pytest.mark.parametrize("why", EndedFor)
def test_an_attempt_that_we_ended_keeps_what_for(why: EndedFor) -> None:
    """The run may have gone on."""
    stopped = AttemptStopped(name="a", attempt=2, bytes=9, received=4, seconds=30.0, why=why)

    row = row_of(stopped, run="r1", at=NOON)

    assert row == AttemptRecord(
        name="a",
        run="r1",
        attempt=2,
        started="2026-03-01T11:59:30+00:00",
        seconds=30.0,
        bytes=9,
        received=4,
        ending=why,
    )
