"""What a shell offers after TAB. It answers while a user types, and so lets typer parse nothing: that takes 100 ms."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Offer = Callable[[Any, str], list[tuple[str, str]]]


class Item(NamedTuple):
    """A word that is offered, or ``file`` or ``dir``: the shell then completes paths by itself."""

    type: str
    value: str
    help: str = ""


_PATHS = {"FILE": "file", "PATH": "file", "DIR": "dir", "[DIR]": "dir", "SPEC": "file", "OLD": "file", "NEW": "file"}
"""The metavariables that stand for paths."""


def answer(instruction: str) -> str:
    """Return the script of a shell (``bash_source``), or its completions of the typed words (``bash_complete``)."""
    shell, _, what = instruction.partition("_")
    if shell not in SCRIPTS or what not in ("source", "complete"):
        return ""
    if what == "source":
        return SCRIPTS[shell]
    words = _words(os.environ.get("COMP_WORDS", ""))
    if shell == "fish":
        incomplete = os.environ.get("COMP_CWORD", "")
        before = words[1:-1] if incomplete and words else words[1:]
    else:
        number = int(os.environ.get("COMP_CWORD") or len(words))
        before, incomplete = words[1:number], "".join(words[number : number + 1])
    return "\n".join(_FORMS[shell](item) for item in offered(before, incomplete))


def offered(before: Sequence[str], incomplete: str) -> list[Item]:
    """Return what may take the place of ``incomplete`` after these words."""
    from pgtls.cli import COMMANDS
    from pgtls.cli.app import application, command

    before = [word for word in before if word != "="]  # bash splits --option=value into three
    incomplete = "" if incomplete == "=" else incomplete
    name, *rest = before or [""]
    if not before and not incomplete.startswith("-"):
        return [Item("plain", word, help_) for word, help_ in COMMANDS.items() if word.startswith(incomplete)]
    if before and name not in COMMANDS:
        return []
    return _of_command(command(name) if before else application(), rest, incomplete)


def _of_command(command: Any, before: Sequence[str], incomplete: str) -> list[Item]:
    context = command.context_class(command, info_name=command.name)
    parameters = command.get_params(context)
    options = {word: parameter for parameter in parameters for word in parameter.opts if word.startswith("-")}
    arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    used, placed, waiting = _read_words(before, options)
    spec = next((parameter for parameter in arguments if parameter.name == "spec"), None)
    if spec:
        context.params["spec"] = placed[0] if placed else os.environ.get("PGTLS_SPEC") or spec.default
    option, equals, value = incomplete.partition("=")
    if not waiting and equals and option in options:
        waiting, incomplete = options[option], value
    if waiting:
        return _of_parameter(waiting, context, incomplete)
    if incomplete.startswith("-"):
        return [
            Item("plain", word, parameter.help or "")
            for word, parameter in options.items()
            if word.startswith(incomplete) and (parameter.multiple or parameter not in used)
        ]
    return _of_parameter(arguments[len(placed)], context, incomplete) if len(placed) < len(arguments) else []


def _read_words(before: Sequence[str], options: dict[str, Any]) -> tuple[list[Any], list[str], Any]:
    """Return the options that are used, the arguments, and the option that waits for its value."""
    used, placed, waiting = [], [], None
    for word in before:
        option, equals, _ = word.partition("=")
        if waiting:
            waiting = None
        elif option in options:
            used.append(options[option])
            waiting = None if equals or options[option].is_flag else options[option]
        elif not word.startswith("-"):
            placed.append(word)
    return used, placed, waiting


def _of_parameter(parameter: Any, context: Any, incomplete: str) -> list[Item]:
    if parameter.metavar in _PATHS:
        return [Item(_PATHS[parameter.metavar], incomplete)]
    found = parameter.shell_complete(context, incomplete) or parameter.shell_complete(context, incomplete.upper())
    return [Item("plain", item.value, item.help or "") for item in found]


# --- the names in a spec ---------------------------------------------------------------------------------------------


def names(form: str, *kinds: str, further: tuple[str, ...] = ()) -> Offer:
    """Offer the tables of these kinds, written as ``form`` says, and ``further`` words."""

    def offer(ctx: Any, incomplete: str) -> list[tuple[str, str]]:
        tables = (form.format(kind=kind, name=name) for kind, name in _tables(ctx.params["spec"]) if kind in kinds)
        return [(word, "") for word in sorted({*tables, *further})]

    return offer


def codes(incomplete: str) -> list[tuple[str, str]]:
    """Offer the codes of diagnostics, with their titles."""
    from pgtls.diagnostics.rules import catalogue

    return [(rule.code, rule.title) for rule in catalogue().values() if rule.code.startswith(incomplete.upper())]


def _tables(path: str) -> Iterator[tuple[str, str]]:
    """Yield kind and name of every table of a spec, as far as it can be read: no fault of it matters here.

    A name that a shell does not take for one plain word is left out: the shell would run it.
    """
    import shlex

    top = _read(path)
    for part in (top, *(_read(included) for included in _included(path, top))):
        for kind, tables in part.items():
            for name in tables if isinstance(tables, dict) else ():
                if name == shlex.quote(name):
                    yield kind, name


def _included(path: str, top: dict[str, Any]) -> Iterator[str]:
    from glob import glob

    directory = os.path.dirname(path) or "."
    patterns = top.get("include")
    for pattern in patterns if isinstance(patterns, list) else ():
        if isinstance(pattern, str) and "\0" not in pattern:
            yield from (os.path.join(directory, name) for name in glob(pattern, root_dir=directory, recursive=True))


def _read(path: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except (OSError, ValueError, RecursionError):
        return {}


# --- the shells ------------------------------------------------------------------------------------------------------


def _words(line: str) -> list[str]:
    """Split a line as a shell does; the last word may lack its closing quote."""
    import shlex

    lexer = shlex.shlex(line, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        words.extend(lexer)
    except ValueError:
        words.append(lexer.token)
    return words


def _in_zsh(item: Item) -> str:
    value = item.value.replace(":", r"\:") if item.help else item.value
    return f"{item.type}\n{value}\n{item.help or '_'}"


def _in_fish(item: Item) -> str:
    return f"{item.type},{item.value}" + (f"\t{item.help}" if item.help else "")


_FORMS: dict[str, Callable[[Item], str]] = {
    "bash": lambda item: f"{item.type},{item.value}",
    "zsh": _in_zsh,
    "fish": _in_fish,
}

SCRIPTS = {
    "bash": """\
_pgtls_completion() {
    local type value IFS=$'\\n'
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _PGTLS_COMPLETE=bash_complete "$1")
}
complete -o nosort -F _pgtls_completion pgtls
""",
    "zsh": """\
#compdef pgtls
_pgtls_completion() {
    local type value meaning
    local -a plain described
    (( $+commands[pgtls] )) || return 1
    while read -r type && read -r value && read -r meaning; do
        case $type in
            dir) _path_files -/ ;;
            file) _path_files -f ;;
            plain) if [[ $meaning == _ ]]; then plain+=("$value"); else described+=("$value:$meaning"); fi ;;
        esac
    done < <(COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) _PGTLS_COMPLETE=zsh_complete pgtls)
    (( $#described )) && _describe -V unsorted described -U
    (( $#plain )) && compadd -U -V unsorted -a plain
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _pgtls_completion "$@"; else compdef _pgtls_completion pgtls; fi
""",
    "fish": """\
function _pgtls_completion
    set -lx _PGTLS_COMPLETE fish_complete
    set -lx COMP_WORDS (commandline -cp)
    set -lx COMP_CWORD (commandline -t)
    for line in (pgtls)
        set -l item (string split -m 1 , $line)
        switch $item[1]
            case dir
                __fish_complete_directories $item[2]
            case file
                __fish_complete_path $item[2]
            case plain
                echo $item[2]
        end
    end
end
complete --no-files --command pgtls --arguments "(_pgtls_completion)"
""",
}
