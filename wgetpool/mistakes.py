"""What is wrong with a command line, in one sentence of our own. What looks like a link is repeated
without its query.

Knows the errors of the parser by what they carry: their classes are not the same in each version.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

MISSING = {
    "sources": "Name a source: a link, a links file, or - for standard input",
    "output": "Name the folder for the files with -o DIR",
    "directory": "Name the folder of a run",
}
CUT_LINK = (
    ". In a shell a link needs quotes: it cuts an unquoted one at its first &, and runs the rest as"
    " other commands"
)


def explain(error: Any, program: Any, words: Sequence[str]) -> str:
    """The sentence for an error of the parser; empty where help has been shown instead."""
    context = getattr(error, "ctx", None)
    name = next((word for word in words if word in program.commands), "")
    command = context.command_path if context else f"wgetpool {name}".strip()
    more = f"; {command} --help shows more"
    told = str(error.format_message()).strip()
    if type(error).__name__ == "MissingParameter":
        sentence, more = MISSING.get(error.param.name, told), _after_missing(error) or more
    elif hasattr(error, "possibilities"):
        sentence, found = _about_option(error, program, words)
        more = "" if found else more
    elif hasattr(error, "option_name"):
        param = _find(error.option_name, program.commands.get(name, program))
        valued = param is not None and param.metavar
        needs = f"a value: {error.option_name} {param.metavar}" if valued else "no value"
        sentence, more = f"{error.option_name} takes {needs}", ""
    elif hasattr(error, "param"):
        sentence, more = _about_value(error), ""
    elif "extra argument" in told:
        sentence = f"{command} takes one DIR, and more was given"
    elif word := _foreign_command(context, program, words):
        sentence, found = _about_command(word, program)
        more = "" if found else more
    else:
        sentence = told
    if not sentence:
        return ""
    whole = f"{sentence.rstrip('.')}{more}"
    return whole if whole.endswith("?") else f"{whole}."


def label(context: Any, param: Any) -> str:
    """What a value was given by: the option's word, or the variable."""
    source = context.get_parameter_source(param.name)
    if source is None or source.name == "ENVIRONMENT":  # None: a variable that cannot be split
        return str(param.envvar)
    return str(max(param.opts, key=len) if param.opts[0].startswith("-") else param.metavar)


def shown(word: str) -> str:
    """A word of the command line in quotes; of a link no more than is no secret."""
    if "://" in word:
        from wgetpool.model import Url  # noqa: PLC0415  seldom needed, and not light

        try:
            word = str(Url(word))
        except ValueError:  # no URL after all
            word = re.sub(r"://.*", "://...", word, flags=re.DOTALL)
    return repr(word)


def _after_missing(error: Any) -> str:
    sources = error.ctx.params.get("sources") or () if error.param.name == "output" else ()
    cut = any("://" in word and "?" in word and "&" not in word for word in sources)
    return CUT_LINK if cut else ""


def _about_value(error: Any) -> str:
    param, context = error.param, error.ctx
    if param is None or context is None:
        return str(error.message)
    given_by = label(context, param)
    if getattr(param, "is_flag", False):  # only a variable can have a bad one
        return f"{given_by} takes 1 or 0, not {shown(os.environ.get(given_by, ''))}"
    return f"{given_by} {error.message}"


def _about_option(error: Any, program: Any, words: Sequence[str]) -> tuple[str, bool]:
    """The sentence, and whether it tells what to do."""
    option = error.option_name.partition("=")[0]
    command = error.ctx.command if error.ctx else program
    known = list(_options(command))
    if not option.startswith("--"):  # -workers is read as -w -o -r ...
        meant = (word for word in words if re.match(r"-[a-z][a-z-]", word) and option[1] in word)
        option = next(meant, option).partition("=")[0]
    wanted = option if option.startswith("--") else f"-{option}"
    if option in known:  # it has been read as a cluster of short ones
        return f"There is no option {error.option_name}", False
    begin_so = [word for word in known if word.startswith(wanted)]
    if near := begin_so or get_close_matches(wanted, known, n=1, cutoff=0.7):
        return f"There is no option {option}. Did you mean {near[0]}?", True
    if owners := [name for name, one in program.commands.items() if option in _options(one)]:
        behind = "" if error.ctx and error.ctx.parent else ", and goes after that word"
        return f"{option} is an option of {' and '.join(owners)}{behind}", True
    return f"There is no option {option}", False


def _options(command: Any) -> Iterator[str]:
    for param in command.params:
        yield from (word for word in (*param.opts, *param.secondary_opts) if word.startswith("-"))
    yield "--help"


def _find(word: str, command: Any) -> Any:
    return next((one for one in command.params if word in (*one.opts, *one.secondary_opts)), None)


def _foreign_command(context: Any, program: Any, words: Sequence[str]) -> str | None:
    """The word that stands where a command should, and is none."""
    if context is None or context.parent is not None:
        return None
    word = next((word for word in words if not word.startswith("-")), None)
    return None if word in program.commands else word


def _about_command(word: str, program: Any) -> tuple[str, bool]:
    if "://" in word or "." in word or os.path.exists(word):  # noqa: PTH110  also what is no path
        return f"There is no command {shown(word)}. To fetch it: wgetpool get SOURCE -o DIR", True
    if near := get_close_matches(word, program.commands, n=1):
        return f"There is no command {shown(word)}. Did you mean {near[0]}?", True
    return f"There is no command {shown(word)}", False
