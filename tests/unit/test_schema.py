"""docs/wgetpool.schema.json says what the program prints: all of it, and nothing else."""

from __future__ import annotations

import io
import json
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from support import schema
from support.schema import DEFINITIONS, SCHEMA, checked, complaint

from wgetpool import events, verify
from wgetpool.events import Event, Running, Waiting
from wgetpool.folder import STATES, FileStatus, LiveRun
from wgetpool.model import AttemptRecord, Cause, FailureClass, Wishes
from wgetpool.plan import Plan
from wgetpool.report import JsonReporter
from wgetpool.summary import Summary

KINDS = {kind.event: kind for kind in Event.__subclasses__()}
ROWS: dict[str, type] = {  # a dataclass each, but for what `EXTRA` and `UNTOLD` say
    **KINDS,
    "running": Running,
    "waiting": Waiting,
    "plan": Plan,
    "live_run": LiveRun,
    "file": FileStatus,
    "story_attempt": AttemptRecord,
}
EXTRA = {
    **{name: {"event", "time"} for name in [*KINDS, "plan"]},
    "live_run": {"pid", "host"},
    "file": {"story", "next_step"},
    "story_attempt": {"number"},
}
UNTOLD = {"live_run": {"known"}, "story_attempt": {"name"}}
IN_JSON = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
TIME = "2026-03-01T12:00:00.250+01:00"


def properties_of(name: str) -> dict[str, Any]:
    rules = DEFINITIONS[name]
    found: dict[str, Any] = rules.get("items", rules)["properties"]
    return found


def key_of(field: str) -> str:
    return field.removesuffix("_")


def types_of(rules: dict[str, Any]) -> set[str]:
    """What the schema lets a value be."""
    if "$ref" in rules:
        return types_of(DEFINITIONS[rules["$ref"].removeprefix("#/$defs/")])
    if "anyOf" in rules:
        return set().union(*map(types_of, rules["anyOf"]))
    if told := rules.get("type"):
        return {told} if isinstance(told, str) else set(told)
    return {IN_JSON[type(word)] for word in rules.get("enum", [rules.get("const")])}


def types_in_json(hint: Any) -> set[str]:
    """What a field's type is in JSON."""
    if isinstance(hint, types.UnionType):
        return set().union(*map(types_in_json, get_args(hint)))
    if get_args(hint):
        return {"array"}
    return {"string" if issubclass(hint, str) else IN_JSON[hint]}


# ---------------------------------------------------------------- the file


def test_the_schema_is_a_schema() -> None:
    """JSON Schema 2020-12, and every reference leads somewhere."""
    Draft202012Validator.check_schema(SCHEMA)
    named = {ref.removeprefix("#/$defs/") for ref in references(SCHEMA)}

    assert named == set(DEFINITIONS)


def references(rules: Any) -> Iterator[str]:
    if isinstance(rules, dict):
        yield from (value for key, value in rules.items() if key == "$ref")
    parts = rules.values() if isinstance(rules, dict) else rules if isinstance(rules, list) else ()
    for part in parts:
        yield from references(part)


def test_the_number_is_that_of_the_program() -> None:
    """In the title, the id, and where programs look."""
    assert DEFINITIONS["schema"]["const"] == events.SCHEMA
    assert SCHEMA["title"].endswith(f"schema {events.SCHEMA}")
    assert SCHEMA["$id"].endswith(f":{events.SCHEMA}")


def test_new_fields_are_no_error_for_a_reader() -> None:
    """The file as it is lets them pass; our own tests do not."""
    told = {"event": "paused", "time": TIME, "new": 1}

    assert Draft202012Validator(SCHEMA).is_valid(told)
    assert "'new' was unexpected" in (complaint(told) or "")


@pytest.mark.parametrize(
    "told",
    [
        {"event": "paused"},
        {"event": "paused", "time": "2026-03-01T12:00:00"},
        {"event": "paused", "time": 12},
        {"event": "unheard_of", "time": TIME},
        {"event": "stopping", "time": TIME, "reason": None},
        {"whole": 1},
        {},
    ],
    ids=str,
)
def test_what_is_wrong_is_seen(told: dict[str, Any]) -> None:
    """A field that lacks, a time without offset, a wrong type, an unknown event."""
    assert complaint(told)
    with pytest.raises(AssertionError):
        checked(f"{json.dumps(told)}\n")


def test_a_number_that_json_does_not_have_is_seen() -> None:
    """Python writes NaN and Infinity, and others cannot read them."""
    with pytest.raises(AssertionError, match="NaN"):
        checked('{"rate": NaN}\n')


def test_a_line_that_was_cut_is_left_out() -> None:
    """The last one of a killed run, and no other."""
    line = json.dumps({"event": "paused", "time": TIME})

    assert len(checked(f"{line}\n{line[:20]}")) == 1
    with pytest.raises(json.JSONDecodeError):
        checked(f"{line[:20]}\n{line}\n")


# ---------------------------------------------------------------- fields


def test_each_event_is_described_and_no_other() -> None:
    """In the choice of all events, by its name."""
    assert sorted(schema.EVENTS) == sorted(KINDS)
    assert all(properties_of(name)["event"] == {"const": name} for name in [*KINDS, "plan"])


@pytest.mark.parametrize("name", ROWS)
def test_the_fields_are_those_of_the_dataclass(name: str) -> None:
    """Each is described, and required where it is always there."""
    told = {key_of(field.name) for field in fields(ROWS[name])} - UNTOLD.get(name, set())
    rules = DEFINITIONS[name].get("items", DEFINITIONS[name])

    assert set(properties_of(name)) == told | EXTRA.get(name, set())
    assert set(rules["required"]) == set(properties_of(name)) - {"story", "next_step"}


@pytest.mark.parametrize("name", ROWS)
def test_the_types_are_those_of_the_dataclass(name: str) -> None:
    """Null just where it is None."""
    hints, described = get_type_hints(ROWS[name]), properties_of(name)
    names = [field.name for field in fields(ROWS[name]) if key_of(field.name) in described]

    found = {field: types_of(described[key_of(field)]) for field in names}

    assert found == {field: types_in_json(hints[field]) for field in names}


def test_the_words_are_those_of_the_program() -> None:
    """Classes, causes, states, and what `verify` says of a file."""
    assert DEFINITIONS["class"]["enum"] == list(FailureClass)
    assert DEFINITIONS["cause"]["enum"] == list(Cause)
    assert properties_of("file")["state"]["enum"] == list(STATES)
    assert properties_of("verified_file")["state"]["enum"] == [*verify.BAD, "unknown"]


@pytest.mark.parametrize("name", ["status", "verify", "orphan", "verified_file"])
def test_every_field_is_required(name: str) -> None:
    """Of the objects that no dataclass describes; what they hold, the integration tests see."""
    assert set(DEFINITIONS[name]["required"]) == set(properties_of(name))


def test_every_number_has_a_meaning() -> None:
    """Its own description, or one of the kind that it is."""
    silent = [
        (sorted(rules["required"]), key)
        for rules in schema.objects()
        for key, value in rules["properties"].items()
        if types_of(value) & {"integer", "number"}
        and "description" not in {**DEFINITIONS.get(value.get("$ref", "")[8:], {}), **value}
    ]

    assert silent == []


# ---------------------------------------------------------------- what is printed

NUMBERS: dict[type, st.SearchStrategy[Any]] = {  # none is negative or without end
    int: st.integers(min_value=1),
    float: st.floats(min_value=0, allow_nan=False, allow_infinity=False),
}
WORDS: dict[tuple[type, str], st.SearchStrategy[Any]] = {
    (events.RunStarted, "schema"): st.just(events.SCHEMA),
    (events.FileSkipped, "why"): st.sampled_from(["known", "adopted", "gone"]),
    (events.FileDone, "proof"): st.lists(st.sampled_from(["size", "md5", "archive"])).map(tuple),
    (events.FileFailed, "sha256"): st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
    (events.RunFinished, "exit_code"): st.integers(0, 255),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that a run can tell."""
    if isinstance(hint, types.UnionType):
        return st.one_of(*map(values_of, get_args(hint)))
    if get_args(hint):
        return st.lists(values_of(get_args(hint)[0]), max_size=3).map(tuple)
    if is_dataclass(hint):
        return any_of(hint)
    return NUMBERS.get(hint, st.from_type(hint))


def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any object of this class."""
    hints = get_type_hints(kind)
    told = {
        field.name: WORDS.get((kind, field.name), values_of(hints[field.name]))
        for field in fields(kind)
    }
    return st.builds(kind, **told)


@given(st.lists(st.one_of(*map(any_of, KINDS.values())), max_size=5))
def test_whatever_happens_is_printed_as_the_schema_says(happened: list[Event]) -> None:
    """Any events, with any names and numbers; a line each."""
    out = io.StringIO()
    reporter = JsonReporter(
        Wishes(json=True),
        summary=Summary(command="", directory=""),
        stdout=out,
        stderr=io.StringIO(),
        now=lambda: datetime.fromisoformat(TIME),
    )

    for event in happened:
        reporter.handle(event)

    assert [told["event"] for told in checked(out.getvalue())] == [e.event for e in happened]
    assert len(out.getvalue().splitlines()) == len(happened)
