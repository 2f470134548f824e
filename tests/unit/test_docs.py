"""README and docs name what there is, all of it, and nothing that is not there."""

from __future__ import annotations

import ast
import io
import json
import re
import signal
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer.main
from support.schema import DEFINITIONS, complaint, kind_of

from wgetpool import cli, events, model
from wgetpool.errors import ExitCode
from wgetpool.sources import Selection, choose

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "wgetpool"
README = (ROOT / "README.md").read_text()
DOCS = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES = {"README.md": README, **DOCS}
ALL = "\n".join(PAGES.values())
PICTURES = [path.name for path in sorted((ROOT / "docs").glob("*.svg"))]

PROGRAM: Any = typer.main.get_command(cli.app)
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
EVENTS = [
    kind for kind in vars(events).values() if isinstance(kind, type) and hasattr(kind, "event")
]


def options() -> Iterator[str]:
    """Every word that begins with a dash, of the program and of its commands."""
    for command in (PROGRAM, *PROGRAM.commands.values()):
        for parameter in command.params:
            yield from (word for word in parameter.opts if word.startswith("-"))


def code_in(page: str) -> str:
    """What stands in a page as code: between backticks, or indented."""
    blocks = re.findall(r"^ {4,}.*$", page, re.MULTILINE)
    return "\n".join([*re.findall(r"`([^`\n]+)`", page), *blocks])


def words_of(page: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", code_in(page)))


def keys_of(kind: Any) -> set[str]:
    return {item.name.removesuffix("_") for item in fields(kind)}


def rows_of(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    lines = iter(page.partition(f"\n{heading}\n")[2].split("\n"))
    table = []
    for line in lines:
        if line.startswith("|"):
            table.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif table:
            break
    return table[2:]


def examples() -> list[dict[str, Any]]:
    """The JSON objects of docs/json.md."""
    return [json.loads(text) for text in blocks_of("json")]


def blocks_of(language: str) -> list[str]:
    """The blocks of docs/json.md in this language."""
    found: list[str] = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", DOCS["json.md"])
    return found


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize("command", sorted(PROGRAM.commands))
def test_each_command_is_in_the_readme(command: str) -> None:
    """As it is typed."""
    assert f"`wgetpool {command} " in README


@pytest.mark.parametrize("option", sorted(set(options())))
def test_each_option_is_in_the_readme(option: str) -> None:
    """Long and short ones."""
    assert option in words_of(README)


def test_no_option_is_named_that_is_not_there() -> None:
    """What is written after wgetpool is understood by it."""
    lines = [line.partition("|")[0] for line in code_in(README).split("\n") if "wgetpool " in line]
    named = {word for line in lines for word in words_of(f"`{line}`")}

    assert named - set(options()) == set()


@pytest.mark.parametrize("code", [*map(int, ExitCode), *(128 + number for number in SIGNALS)])
def test_each_exit_code_is_in_the_table(code: int) -> None:
    """Those of signals too."""
    assert str(code) in {row[0] for row in rows_of(README, "## Exit codes")}


def test_each_make_target_that_is_named_exists() -> None:
    """In the README and the pages."""
    makefile = (ROOT / "Makefile").read_text()
    there = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z-]*)", code_in(ALL)))

    assert {"subset", "test"} <= named
    assert named - there == set()


# ---------------------------------------------------------------- JSON


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: str(kind.event))
def test_each_event_is_explained_with_an_example(kind: type[events.Event]) -> None:
    """Its example has just its fields, and each field is named in its section."""
    section = DOCS["json.md"].partition(f"\n### `{kind.event}`\n")[2].partition("\n##")[0]
    (example,) = [one for one in examples() if one.get("event") == kind.event]

    assert set(example) == keys_of(kind) | {"event", "time"}
    assert [key for key in keys_of(kind) if f"`{key}`" not in section] == []


def test_no_event_is_explained_that_is_not_there() -> None:
    """The page has the events, and no others."""
    explained = re.findall(r"^### `(\w+)`$", DOCS["json.md"], re.MULTILINE)

    assert sorted(explained) == sorted(kind.event for kind in EVENTS)


@pytest.mark.parametrize("example", examples(), ids=kind_of)
def test_each_example_is_as_the_schema_says(example: dict[str, Any]) -> None:
    """Events and objects."""
    assert complaint(example) is None


@pytest.mark.parametrize(
    ("heading", "definitions"),
    [
        ("## `wgetpool status DIR --json`", ["status", "live_run", "orphan", "file"]),
        ("### With names", ["story_attempt"]),
        ("## `wgetpool verify DIR --json`", ["verify", "verified_file"]),
        ("## `wgetpool get ... --dry-run --json`", ["plan"]),
    ],
)
def test_each_object_is_explained_with_an_example(heading: str, definitions: list[str]) -> None:
    """Each field is named in its section; those that come with names in theirs."""
    section = DOCS["json.md"].partition(f"\n{heading}\n")[2].partition("\n##")[0]
    keys = {key for name in definitions for key in DEFINITIONS[name]["required"]}
    if "story_attempt" in definitions:
        keys |= set(DEFINITIONS["file"]["dependentRequired"])

    assert "```json" in section
    assert [key for key in sorted(keys) if f"`{key}`" not in section] == []


def test_the_reader_on_the_page_is_the_script() -> None:
    """And has at most 20 lines of code."""
    (shown,) = blocks_of("python")
    code = [line for line in shown.splitlines() if re.match(r"\s*[^\s#\"]", line)]

    assert shown == (ROOT / "scripts" / "follow.py").read_text()
    assert len(code) <= 20


def test_each_failure_class_is_explained() -> None:
    """In the table of classes."""
    section = DOCS["json.md"].partition("### `attempt_failed`")[2].partition("\n### ")[0]

    assert [kind for kind in model.FailureClass if f"| `{kind}` |" not in section] == []


# ---------------------------------------------------------------- how it works


def modules_in_table() -> list[str]:
    rows = rows_of(DOCS["how-it-works.md"], "## Modules")
    return [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]


def test_each_module_has_a_row() -> None:
    """And each row a module."""
    assert sorted(modules_in_table()) == sorted(path.stem for path in PACKAGE.glob("*.py"))


def test_imports_point_down_the_table() -> None:
    """As the page says."""
    order = modules_in_table()
    upward = []
    for at, module in enumerate(order[2:], 2):
        for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                head, _, rest = node.module.partition(".")
                names = [rest] if rest else [alias.name for alias in node.names]
                if head == "wgetpool":
                    upward += [f"{module} -> {n}" for n in names if n in order[2 : at + 1]]

    assert upward == []


# ---------------------------------------------------------------- URLs


def codes_below(heading: str) -> list[str]:
    """The forms in the first cells of a table of docs/urls.md, as they stand in a list."""
    rows = rows_of(DOCS["urls.md"], heading)
    cells = [row[0].replace("`` ` ``", "").replace("\\|", "|") for row in rows]
    return [form for cell in cells for form in re.findall(r"`([^`]+)`", cell)]


def warnings_for(form: str) -> list[str]:
    url = f"https://h/a{form}b?oh=1" if "/" in form else f"https://h/x?oh=1&oe=2{form}x"
    warned: list[str] = []
    choose([url], Selection(), stdin=io.BytesIO(), warn=warned.append)
    return warned


@pytest.mark.parametrize("form", [*codes_below("## Rewritten"), " ", "`", "%41", "%7e"])
def test_a_form_that_wget_rewrites_draws_a_warning(form: str) -> None:
    """Each that docs/urls.md names."""
    assert warnings_for(form)


@pytest.mark.parametrize("form", codes_below("## Sent as they are"))
def test_a_form_that_is_sent_as_it_is_draws_none(form: str) -> None:
    """Each that docs/urls.md names."""
    assert not warnings_for(form)


# ---------------------------------------------------------------- all pages


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Those to files of the repository."""
    folder = ROOT if page == "README.md" else ROOT / "docs"
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", PAGES[page])

    assert [target for target in targets if not (folder / target).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, *PICTURES])
def test_no_page_names_a_machine(page: str) -> None:
    """No path of whoever wrote it, and no address that a reader's browser would fetch."""
    text = PAGES.get(page) or (ROOT / "docs" / page).read_text()

    assert re.findall(r"/(?:home|root|tmp|work|usr/local|opt)/\S*", text) == []
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
