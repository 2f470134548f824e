"""docs/wgetpool.schema.json, as strict as our own tests want it: no field that it does not name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from jsonschema import Draft202012Validator, FormatChecker

PATH = Path(__file__).resolve().parents[2] / "docs" / "wgetpool.schema.json"
SCHEMA: dict[str, Any] = json.loads(PATH.read_text())
DEFINITIONS: dict[str, Any] = SCHEMA["$defs"]
EVENTS = [one["$ref"].rpartition("/")[2] for one in DEFINITIONS["event"]["oneOf"]]

_formats = FormatChecker(formats=())


@_formats.checks("date-time", raises=ValueError)
def _is_instant(text: object) -> bool:
    """RFC 3339 demands the offset; ISO 8601 does not."""
    return not isinstance(text, str) or datetime.fromisoformat(text).utcoffset() is not None


def complaint(told: dict[str, Any]) -> str | None:
    """What is wrong with an object that the program printed; None: nothing."""
    kind = kind_of(told)
    if kind not in DEFINITIONS:
        return f"the schema has no {kind}: {told}"
    error = next(iter(_validator(kind).iter_errors(told)), None)
    return None if error is None else f"{kind}, {error.json_path}: {error.message}"


def kind_of(told: dict[str, Any]) -> str:
    """The definition that an object is to be held against."""
    return str(told.get("event", "verify" if "whole" in told else "status"))


def checked(text: str) -> list[dict[str, Any]]:
    """The objects of --json, a line each, all of them as the schema says. A last line that was cut
    with its run is left out.
    """
    lines = (line for line in text.splitlines(keepends=True) if line.endswith("\n"))
    told = [json.loads(line, parse_constant=_refuse) for line in lines]
    complaints = list(filter(None, map(complaint, told)))
    assert not complaints, "\n".join(complaints)
    return told


def _refuse(constant: str) -> NoReturn:
    """Python writes and reads NaN and Infinity, JSON has neither."""
    raise AssertionError(f"{constant} is no JSON")


@cache
def _validator(kind: str) -> Draft202012Validator:
    rules = {"$ref": f"#/$defs/{kind}", "$defs": _strict(DEFINITIONS)}
    return Draft202012Validator(rules, format_checker=_formats)


def _strict(rules: Any) -> Any:
    """The same, but no object may have fields that are not named."""
    if isinstance(rules, list):
        return [_strict(one) for one in rules]
    if not isinstance(rules, dict):
        return rules
    closed = {"additionalProperties": False} if isinstance(rules.get("required"), list) else {}
    return {key: _strict(value) for key, value in rules.items()} | closed


def objects(rules: Any = SCHEMA) -> Iterator[dict[str, Any]]:
    """Every object that the schema describes, at any depth."""
    if isinstance(rules, dict) and isinstance(rules.get("required"), list):
        yield rules
    parts = rules.values() if isinstance(rules, dict) else rules if isinstance(rules, list) else ()
    for part in parts:
        yield from objects(part)
