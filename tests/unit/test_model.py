"""The words of wgetpool: orders travel to other processes, and secrets do not show."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest

from wgetpool import model
from wgetpool.events import AttemptFailed, Event, FileDone
from wgetpool.model import (
    Approach,
    AttemptOrder,
    Checksum,
    Command,
    Ending,
    Entry,
    Failure,
    FailureClass,
    FileRecord,
    Finding,
    Limits,
    Outcome,
    RemoteFile,
    RetryPolicy,
    Settings,
    Url,
    WholePart,
)

SIGNED = "https://me:PASSWORD@cdn.example.org:8443/x/a%20b.tar?_nc_gid&sig=SECRET#part"
URL = Url(SIGNED)
ENTRY = Entry("train/ä.tar", URL, 7, (Checksum("md5", "00" * 16),))
WHOLE = WholePart(
    name="a", claim=5, inode=1, size=7, proof=("size",), recorded=True, last_modified="today"
)
FAILURE = Failure(kind=FailureClass.TRANSIENT, reason="HTTP 503", status=503, retry_after=7.0)
ORDER = AttemptOrder(
    directory=Path("/data"),
    wget="/usr/bin/wget",
    entry=ENTRY,
    attempt=3,
    approach=Approach.STEP_BACK,
    limits=Limits(stall_timeout=5),
    retry_status=frozenset({404}),
)


@pytest.mark.parametrize(
    "thing",
    [
        ORDER,
        Outcome(name="a", ending=Ending.EXITED, whole=WHOLE, remote=RemoteFile(size=7)),
        Outcome(name="a", ending=Ending.STALLED, finding=Finding.FITS, failure=FAILURE),
        Settings(directory=Path("/data"), wget="wget", retry=RetryPolicy(tries=2)),
        FileRecord(name="a", state="done", proof=("size",)),
        FileDone(name="a", bytes=7, seconds=1.5, attempts=1, proof=("size",)),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_what_travels_can_be_pickled(thing: object) -> None:
    """An order may be carried out by another process or machine than the one that gave it."""
    assert pickle.loads(pickle.dumps(thing)) == thing


def test_an_order_carries_the_whole_url() -> None:
    """Pickling hides nothing: the worker needs the query."""
    order = pickle.loads(pickle.dumps(ORDER))

    assert order.entry.url.reveal() == SIGNED


@pytest.mark.parametrize("thing", [URL, ENTRY, ORDER, [URL], {"url": URL}])
def test_a_signed_url_is_never_shown(thing: object) -> None:
    """Neither query nor password, in whatever it is wrapped."""
    shown = f"{thing} {thing!r}"

    assert "SECRET" not in shown
    assert "PASSWORD" not in shown
    assert "cdn.example.org:8443/x/a%20b.tar" in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (SIGNED, "https://cdn.example.org:8443/x/a%20b.tar?..."),
        ("http://e.org/a.tar", "http://e.org/a.tar"),
        ("http://e.org", "http://e.org"),
        ("http://u@e.org/?q", "http://e.org/?..."),
        ("http://[::1]:80/a?b", "http://[::1]:80/a?..."),
    ],
)
def test_a_url_is_shown_without_what_is_secret(text: str, shown: str) -> None:
    """Scheme, host and path; that there is a query, not which."""
    assert str(Url(text)) == shown
    assert repr(Url(text)) == f"Url({shown!r})"


def test_urls_are_told_apart_by_all_of_their_text() -> None:
    """Two signatures are two URLs."""
    other = Url(SIGNED.replace("SECRET", "OTHER"))

    assert Url(SIGNED) == URL
    assert other != URL
    assert len({URL, Url(SIGNED), other}) == 2


def test_a_command_shows_neither_its_input_nor_its_environment() -> None:
    """The input is the URL, the environment the user's own."""
    command = Command(argv=("wget",), stdin=SIGNED.encode(), env=(b"TOKEN=PASSWORD",))

    assert "SECRET" not in repr(command)
    assert "PASSWORD" not in repr(command)


EVENTS = [
    each for each in vars(model).values() if isinstance(each, type) and issubclass(each, Event)
]


@pytest.mark.parametrize("kind", [each for each in EVENTS if each is not Event])
def test_every_event_has_a_word_of_its_own(kind: type[Event]) -> None:
    """The word is the `event` of a JSON line; no field gets in its way."""
    words = [each.event for each in EVENTS if each is not Event]

    assert words.count(kind.event) == 1
    assert {"event", "time"}.isdisjoint(field.name for field in dataclasses.fields(kind))


def test_the_fields_of_events_are_the_keys_of_the_contract() -> None:
    """So that no mapping can fall out of step; a trailing underscore is not part of the key."""
    keys = {field.name.rstrip("_") for field in dataclasses.fields(AttemptFailed)}

    assert {"name", "reason", "class", "retry_in"} <= keys


@pytest.mark.parametrize(
    "thing", [ENTRY, ORDER, FAILURE, WHOLE], ids=lambda each: type(each).__name__
)
def test_what_is_said_cannot_be_changed(thing: object) -> None:
    """Data between threads is immutable."""
    field = dataclasses.fields(thing)[0]  # type: ignore[arg-type]

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, field.name, None)
