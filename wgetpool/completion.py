"""What may stand next on a command line: the answers that the shells' completion asks for, and
the scripts that ask.

typer's own scripts lose blanks and quotes in names. These hand over words, and leave files and
folders to the shell, which knows how to quote them; only folders of runs and names of files come
from here. Whatever goes wrong, nothing is said: a person is in the middle of a line.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from wgetpool.options import CHOICES

MOST = 300  # names are offered

# In each, the first line of the answer says of what kind the others are.
SCRIPTS = {
    "bash": """\
_wgetpool() {
    local kind line
    COMPREPLY=()
    {
        IFS= read -r kind
        while IFS= read -r line; do COMPREPLY+=("$line"); done
    } < <(_WGETPOOL_COMPLETE=bash "$1" "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null)
    case $kind in
        files) compopt -o default ;;
        folders) compopt -o dirnames ;;
    esac
    if [[ ${COMPREPLY[0]} == *= ]]; then compopt -o nospace; fi
}
complete -F _wgetpool wgetpool
""",
    "zsh": """\
#compdef wgetpool
_wgetpool() {
    local -a answer
    answer=("${(@f)$(_WGETPOOL_COMPLETE=zsh "${words[1]}" \\
        "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    [[ $PREFIX == --*=* ]] && compset -P '*='
    case ${answer[1]} in
        files) _files ;;
        folders) _files -/ ;;
        paths) compadd -f -- "${(@)answer[2,-1]}" ;;
        words)
            local -a values=("${(@)answer[2,-1]}") more=()
            [[ ${values[1]} == *=: ]] && more=(-S '')
            _describe wgetpool values "${(@)more}" ;;
    esac
}
if [[ ${zsh_eval_context[-1]} == loadautofunc ]]; then
    _wgetpool "$@"
else
    compdef _wgetpool wgetpool
fi
""",
    "fish": """\
function __wgetpool_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l answer (env _WGETPOOL_COMPLETE=fish $words[1] "$current" $words[2..-1] 2>/dev/null)
    set -l before (string match -r '^--[^=]*=' -- $current)
    set -l value (string replace -r '^--[^=]*=' '' -- (string unescape -- $current))
    switch "$answer[1]"
        case files
            string join \\n -- "$before"(__fish_complete_path $value)
        case folders
            string join \\n -- "$before"(__fish_complete_directories $value '')
        case paths words
            string join \\n -- "$before"$answer[2..-1]
    end
end
complete --command wgetpool --no-files --arguments '(__wgetpool_complete)'
""",
}

PLACES = {
    "bash": ".bash_completions/wgetpool.sh",
    "zsh": ".zfunc/_wgetpool",
    "fish": ".config/fish/completions/wgetpool.fish",
}
# The file that a shell reads at its start, and what has to be in it; fish finds its own.
LOADING = {
    "bash": (".bashrc", "source ~/.bash_completions/wgetpool.sh"),
    "zsh": (".zshrc", "fpath+=~/.zfunc; autoload -Uz compinit; compinit"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """`kind` is files or folders, which the shell finds, or words or paths: these values, each with
    a help text or none.
    """

    kind: str
    values: Sequence[tuple[str, str]] = ()


NOTHING = Answer("words")


# ---------------------------------------------------------------- what may stand next


def answer(program: Any, words: Sequence[str]) -> Answer:
    """What the last of the words may become, those before it being as they are. A value that is
    attached with `=` is completed without its option.
    """
    *before, word = words
    if word.startswith("--") and "=" in word and "--" not in before:
        name, _, word = word.partition("=")
        before.append(name)
    command, free, option, ended = _walk(program, before)
    if command is None:
        return NOTHING
    if option is not None:
        return _values(option, word, free)
    if word.startswith("-") and not ended:
        return _option_names(command, word, before)
    if command is program:
        commands = program.commands.items()
        return _matching(word, ((name, one.get_short_help_str(200)) for name, one in commands))
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    if len(free) >= len(arguments) and arguments[-1].nargs == 1:
        return NOTHING  # all are there
    return _values(arguments[min(len(free), len(arguments) - 1)], word, free)


def _walk(program: Any, words: Iterable[str]) -> tuple[Any, list[str], Any, bool]:
    """The command that the words come to (None: there is none such), its arguments so far, the
    option that waits for its value, and whether -- has ended the options.
    """
    command, free, option, ended = program, [], None, False
    for word in words:
        if option is not None:
            option = None
        elif word == "--" and not ended:
            ended = True
        elif word.startswith("-") and word != "-" and not ended:
            option = next((p for p in command.params if word in p.opts and _takes_value(p)), None)
        elif command is program:
            command = program.commands.get(word)
            if command is None:
                break
        else:
            free.append(word)
    return command, free, option, ended


def _takes_value(param: Any) -> bool:
    return param.param_type_name == "option" and not param.is_flag


def _option_names(command: Any, word: str, before: Sequence[str]) -> Answer:
    """All that begin so, but for those that are there already and count once."""
    names = [("--help", "Show this message and exit.")]
    for param in command.params:
        if param.param_type_name == "option" and not param.hidden:
            all_names = [*param.opts, *param.secondary_opts]
            if param.multiple or not set(all_names) & set(before):
                names += [(name, param.help or "") for name in all_names]
    return _matching(word, names)


def _matching(word: str, choices: Iterable[tuple[str, str]]) -> Answer:
    return Answer("words", [choice for choice in choices if choice[0].startswith(word)])


def _values(param: Any, word: str, free: Sequence[str]) -> Answer:
    """By the metavar: what stands for this parameter."""
    match param.metavar or "":
        case "SOURCE" | "FILE" | "PATH":
            return Answer("files")
        case "DIR" if param.param_type_name == "option":
            return Answer("folders")
        case "DIR":
            runs = list(islice(_run_folders(word), MOST))
            return Answer("paths", [(run, "") for run in runs]) if runs else Answer("folders")
        case "NAME":
            return Answer("paths", [(name, "") for name in islice(_names(word, free[0]), MOST)])
        case "KEY=VALUE":
            from wgetpool.wgetrc import ALLOWED  # noqa: PLC0415  seldom needed

            return _matching(word, ((f"{command}=", "") for command in sorted(ALLOWED)))
        case metavar:
            return _matching(word, ((choice, "") for choice in CHOICES.get(metavar, ())))


def _run_folders(word: str) -> Iterator[str]:
    """The folders that begin so and hold a run's state, as they are typed."""
    _, _, start = word.rpartition("/")
    typed = word[: len(word) - len(start)]
    try:
        inside = sorted(os.scandir(Path(typed or ".").expanduser()), key=lambda entry: entry.name)
    except (OSError, RuntimeError):  # a folder that cannot be read, a home that nobody has
        return
    for entry in inside:
        hidden = entry.name.startswith(".") and not start
        if entry.name.startswith(start) and not hidden and Path(entry.path, ".wgetpool").is_dir():
            yield typed + entry.name


def _names(word: str, directory: str) -> Iterator[str]:
    """The files of a run that begin so."""
    from wgetpool.ledger import LedgerError, read_names  # noqa: PLC0415  the database
    from wgetpool.store import Store  # noqa: PLC0415

    try:
        ledger = Store(Path(directory).expanduser().absolute()).ledger
        names = read_names(ledger, word, MOST) if ledger.exists() else ()
        yield from (name for name in names if "!" not in name and not name.startswith("~"))
    except (LedgerError, OSError, RuntimeError):
        return


# ---------------------------------------------------------------- asked and told


def reply(program: Any, shell: str, words: Sequence[str]) -> Iterator[str]:
    """The lines that the shell's script reads."""
    if shell not in SCRIPTS or not words:
        return
    cut = quote = ""
    if shell == "bash":
        line, part = (*words, "")[:2]
        words, quote = _split(line)
        if not words:
            return
        words = words[1:] or [""]
        cut = _cut(words[-1], part)
    elif shell == "fish":
        current, *before = words
        words = [*before, *(_split(current)[0][-1:] or [""])]
    told = answer(program, words)
    yield told.kind
    for value, text in told.values:
        if "\n" in value or "\t" in value:
            continue
        if shell == "bash":
            yield _quoted(value.removeprefix(cut), quote)
        elif told.kind == "paths":
            yield value
        elif shell == "zsh":
            yield value.replace(":", "\\:") + f":{text}"
        else:
            yield f"{value}\t{text}"


def _split(line: str) -> tuple[list[str], str]:
    """The shell words of a line that is not finished, and the quote that is open; the last one is
    what is being typed.
    """
    if re.search(r"\$['\"]", line):  # a way of quoting that shlex does not know
        return [], ""
    if line.endswith("\\") and not line.endswith("\\\\"):
        line = line[:-1]  # what it is to escape is not there yet
    for quote in ("", "'", '"'):
        try:
            words = shlex.split(line + quote)
        except ValueError:  # another quote is open
            continue
        return (words if quote or not line[-1:].isspace() else [*words, ""]), quote
    return [], ""


def _cut(word: str, part: str) -> str:
    """What bash has of the word already: it ends words at `=` and `:` too."""
    plain = part.lstrip("\"'").replace("\\", "")
    return word.removesuffix(plain) if word.endswith(plain) else ""


def _quoted(value: str, quote: str) -> str:
    """A word as bash reads it, behind the quote that is open."""
    if quote == "'":
        return value.replace("'", "'\\''")
    special = r'["$`\\]' if quote == '"' else r"(?!^~)[^\w@%+=:,./-]"
    return re.sub(special, r"\\\g<0>", value)


# ---------------------------------------------------------------- installed


def current_shell() -> str | None:
    """The shell that this was started from, else the one of the login."""
    pid = os.getppid()
    while pid > 1:
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        if name in SCRIPTS:
            return name
        pid = int(stat.rpartition(")")[2].split()[1])
    login = os.environ.get("SHELL", "").rpartition("/")[2]
    return login if login in SCRIPTS else None


def install(shell: str, home: Path) -> Iterator[str]:
    """Puts the script where the shell finds it; tells what was written."""
    place = home / PLACES[shell]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(SCRIPTS[shell])
    yield f"{shell} completion installed in {place}"
    if shell in LOADING:
        name, line = LOADING[shell]
        start = home / name
        text = start.read_text(errors="surrogateescape") if start.exists() else ""
        if line not in text.splitlines():
            with start.open("a") as file:
                file.write(f"\n{line}\n")
            yield f"and a line that loads it added to {start}"
    yield "It takes effect in the next shell."
