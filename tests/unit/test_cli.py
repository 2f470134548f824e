"""The command line as such: what its words mean, its variables, its help."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from wgetpool import cli, options
from wgetpool.process import PART_MARK, RUN_MARK

PROGRAM: Any = typer.main.get_command(cli.app)
COMMANDS = ["", *PROGRAM.commands]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have some."""
    for name in [name for name in os.environ if name.startswith("WGETPOOL_")]:
        monkeypatch.delenv(name)


def params_of(name: str) -> Iterator[Any]:
    command = PROGRAM.commands.get(name, PROGRAM)
    yield from (one for one in command.params if one.param_type_name == "option")


def help_of(command: str, width: int = 80, **environment: str) -> str:
    words = [*([command] if command else []), "--help"]
    env = {"COLUMNS": str(width), **environment}
    result = CliRunner().invoke(cli.app, words, env=env, prog_name="wgetpool")
    assert result.exit_code == 0
    return result.output


def plain(text: str) -> str:
    """Without frames and line ends."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("word", "seconds"),
    [("90", 90), ("90s", 90), ("0.5", 0.5), (".5", 0.5), ("2m", 120), ("1H", 3600), ("1d", 86400)],
)
def test_a_duration_may_have_a_unit(word: str, seconds: float) -> None:
    """Seconds without one."""
    assert options.duration(word) == seconds


@pytest.mark.parametrize("word", ["", "-1", "nan", "inf", "abc", "1w", "1e3", "99999999999"])
def test_what_is_no_duration_is_refused(word: str) -> None:
    """Also one that is longer than a life."""
    with pytest.raises(ValueError):  # noqa: PT011  the sentence is made from the option
        options.duration(word)


@pytest.mark.parametrize(
    ("word", "size"),
    [("0", 0), ("500k", 512_000), ("10M", 10 << 20), ("1G", 1 << 30), ("64KiB", 65536)],
)
def test_a_size_may_have_a_unit(word: str, size: int) -> None:
    """Powers of 1024."""
    assert options.amount(word) == size


@pytest.mark.parametrize("word", ["0.5", "0.0001k"])
def test_a_size_of_less_than_a_byte_is_refused(word: str) -> None:
    """It would come to 0, which often means no limit."""
    with pytest.raises(ValueError):  # noqa: PT011  the sentence is made from the option
        options.amount(word)


@pytest.mark.parametrize("word", ["20MB/s", "20M", "20m/sec", "20MiB/S"])
def test_a_rate_may_say_that_it_is_one(word: str) -> None:
    """As people write it."""
    assert options.rate(word) == 20 << 20


def test_a_header_in_the_environment_is_a_line() -> None:
    """Its blanks part nothing; lines part several."""
    params = {param.name: param for param in options._tidy(list(params_of("get")))}

    assert params["header"].split_envvar_value("A: b c\nD: e") == ["A: b c", "D: e"]
    assert params["wget_option"].split_envvar_value("a=b 'c=d e'") == ["a=b", "c=d e"]


def test_how_long_to_wait_for_links_may_be_left_out() -> None:
    """What is meant as a time is never taken for a links file, unless there is one."""
    assert options.with_patience(["--wait-for-links", "l.txt"]) == [
        "--wait-for-links=ever",
        "l.txt",
    ]
    for word in ("90s", "2weeks"):
        assert options.with_patience(["--wait-for-links", word]) == ["--wait-for-links", word]


def test_statuses_are_read_as_a_set() -> None:
    """With blanks or without."""
    assert options.statuses("403, 404,") == {403, 404}


# ---------------------------------------------------------------- variables


@pytest.mark.parametrize("command", PROGRAM.commands)
def test_each_option_has_the_variable_of_its_name(command: str) -> None:
    """All but the one whose name has two meanings."""
    for param in params_of(command):
        long = max(param.opts, key=len)
        name = "WGETPOOL_" + long.removeprefix("--").replace("-", "_").upper()
        if (command, long) == ("status", "--checksums"):
            name = "WGETPOOL_STATUS_CHECKSUMS"
        assert param.envvar == name


def test_a_variable_means_the_same_in_each_command() -> None:
    """A flag in one command is no value in another."""
    kinds: dict[str, set[tuple[bool, bool]]] = {}
    for command in PROGRAM.commands:
        for param in params_of(command):
            kinds.setdefault(param.envvar, set()).add((param.is_flag, param.multiple))
    assert {name: kind for name, kind in kinds.items() if len(kind) > 1} == {}


def test_no_option_is_called_as_a_mark_of_children() -> None:
    """Nor as what make has of its own."""
    names = {param.envvar for command in PROGRAM.commands for param in params_of(command)}
    assert names & {RUN_MARK, PART_MARK, "WGETPOOL_ARGS"} == set()


def test_the_program_itself_takes_nothing_from_the_environment() -> None:
    """--version by a variable would be a trap."""
    assert [param.envvar for param in params_of("")] == [None] * 3


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_readable_at_any_width(command: str, width: int) -> None:
    """No line is too long, no name is cut off, no type of Python is shown."""
    text = help_of(command, width)

    assert max(map(len, text.splitlines())) <= width
    assert re.findall(r"…|<[a-z]+|\bTEXT\b|\bBOOLEAN\b|\bINTEGER\b", text) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_all_of_each_option(command: str) -> None:
    """Its words, its text whole (nothing is taken for markup), its variable, once."""
    text = plain(help_of(command, 200))

    for param in params_of(command):
        assert [word for word in (*param.opts, *param.secondary_opts) if word not in text] == []
        assert plain(param.help) in text
        if param.envvar:
            assert text.count(f"[env var: {param.envvar}]") == 1


def test_help_says_how_to_wait_for_ever() -> None:
    """A variable cannot go without a value; a default of 0 would tell nobody anything."""
    text = plain(help_of("get", 200))
    waiting = text.partition("--wait-for-links")[2].partition("WGETPOOL_WAIT_FOR_LINKS]")

    assert "(`ever`)" in waiting[0]
    assert not waiting[2].strip().startswith("[default")


def test_a_narrow_help_has_no_room_for_variables() -> None:
    """The program's own tells how they are named, at any width."""
    assert "env var" not in help_of("get", 60)
    assert "WGETPOOL_STALL_TIMEOUT=5m" in help_of("", 60)


def test_only_where_to_and_how_many_are_in_no_panel() -> None:
    """All others stand with their task."""
    loose = {param.name for param in params_of("get") if not param.rich_help_panel}

    assert loose == {"output", "workers", "dry_run"}


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("command", COMMANDS)
def test_examples_end_the_help_as_they_are_written(command: str, width: int) -> None:
    """Line by line, brackets too."""
    epilog = (PROGRAM.commands.get(command, PROGRAM).epilog or "").replace(r"\[", "[")
    lines = [line.strip() for line in help_of(command, width).splitlines()]

    assert "Examples:" in lines
    shown = lines[lines.index("Examples:") :]
    assert [line for line in map(str.strip, epilog.splitlines()) if line not in shown] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_can_be_typed(command: str) -> None:
    """Each is understood."""
    epilog = (PROGRAM.commands.get(command, PROGRAM).epilog or "").replace(r"\[", "[")
    joined = epilog.replace("\\\n", " ")
    typed = [line.partition(" > ")[0] for line in joined.splitlines() if "wgetpool " in line]

    assert typed
    for line in typed:
        _, name, *words = shlex.split(line)
        with PROGRAM.commands[name].make_context(name, words) as context:
            assert context.params


def test_help_has_no_color_where_none_is_wanted() -> None:
    """NO_COLOR, also where colors are forced elsewhere."""
    assert "\x1b" not in help_of("get", NO_COLOR="1", TERM="dumb")
