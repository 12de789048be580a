"""Wrong usage in words: what is wrong, and how pgtls does what commands and options of other tools do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pgtls.cli import COMMANDS
from pgtls.language.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typer

_BUILD = "run pgtls build: it creates and renews all that the spec asks for"
_DEPLOY = "pgtls only writes files: run pgtls build, then copy them to servers and clients"
_ISSUE = "run pgtls build --renew {entity}; with a new key: --replace {entity}"
_DELETE = "delete [{entity}] from the spec and run pgtls build, which revokes its certificates"
_REVOKE = "set revoke_before in [{entity}], or delete that table, and run pgtls build"
_ADD = "add [{entity}] to the spec and run pgtls build"
_LOOK = "run pgtls status for certificates, pgtls access for access"
_HELP = "run pgtls COMMAND --help"

INSTEAD = {
    **dict.fromkeys(("up", "apply", "compile", "generate", "make", "run", "update", "sync", "crl"), _BUILD),
    **dict.fromkeys(("deploy", "push", "install", "reload", "copy"), _DEPLOY),
    **dict.fromkeys(("renew", "issue", "reissue", "rotate", "replace", "rekey", "sign"), _ISSUE),
    **dict.fromkeys(("delete", "remove", "rm", "drop", "down", "destroy"), _DELETE),
    **dict.fromkeys(("revoke", "unrevoke", "ban", "block"), _REVOKE),
    **dict.fromkeys(("add", "create", "user", "server", "ca", "policy", "grant"), _ADD),
    **dict.fromkeys(("list", "ls", "show", "get", "info", "inspect", "certs"), _LOOK),
    **dict.fromkeys(("validate", "lint", "test", "fmt", "format"), "run pgtls check"),
    **dict.fromkeys(("who", "matrix", "policies", "users"), "run pgtls access"),
    **dict.fromkeys(("why", "can", "simulate"), "run pgtls explain"),
    **dict.fromkeys(("expiry", "expiring", "due", "timeline"), "run pgtls status --within 30d"),
    **dict.fromkeys(("rollback", "undo", "revert"), "restore the spec with git, look at pgtls plan, run pgtls build"),
    **dict.fromkeys(("new", "start", "setup"), "run pgtls init"),
    **dict.fromkeys(("rules", "codes", "doc", "docs"), "run pgtls rule"),
    **dict.fromkeys(("help", "man", "usage"), _HELP),
    "version": "run pgtls --version",
}
"""Words that users try, and what to type."""

_REFUSALS = "each refusal names its own option, such as --allow-revoke or --accept-outage"
_PLAN = "pgtls plan shows what a build would do"
OPTIONS = {
    **dict.fromkeys(("--force", "-f", "--overwrite", "--ignore-errors"), _REFUSALS),
    **dict.fromkeys(("--dry-run", "-n", "--noop", "--diff"), f"{_PLAN}; build --check exits 2 for changes"),
    **dict.fromkeys(("--yes", "-y", "--auto-approve", "--no-input", "--batch"), "pgtls asks no questions"),
    **dict.fromkeys(("--quiet", "-q", "--silent"), "results go to stdout, all else to stderr: redirect either"),
    **dict.fromkeys(("--json", "--yaml", "--markdown", "--output-format"), "name the format with --format"),
    **dict.fromkeys(("--file", "--config", "-c", "--spec"), "name the spec without an option: pgtls COMMAND SPEC"),
    **dict.fromkeys(("--output", "-o", "--output-dir", "--directory", "-d"), "name the out directory with --out"),
    **dict.fromkeys(("--days", "--validity"), "set validity in the spec"),
    **dict.fromkeys(("--all",), "commands are about the whole spec; build --renew all renews everything"),
    **dict.fromkeys(("--no-color", "--color", "--colour"), "set NO_COLOR=1 for output without colour"),
    **dict.fromkeys(("--debug", "--trace"), "--verbose of plan and build lists every step with its files"),
    **dict.fromkeys(("--strict", "--werror", "-W"), "pgtls check --warnings-as-errors fails on warnings"),
    **dict.fromkeys(("--version", "-V"), "pgtls --version shows the version"),
}
"""Options that users try, and what to type."""

_CODE = re.compile(r"PGT\d{3}", re.IGNORECASE)
_ENTITY = re.compile(r"(?:(ca|server|user)\.)?([a-z0-9][a-z0-9._-]{0,62})")


def wrong(error: typer.TyperException, words: Sequence[str]) -> str:
    """Return what is wrong with a command line, ``words``, in one line."""
    if code := next(filter(_CODE.fullmatch, words), None):
        return f"to explain {code}: pgtls rule {code}"
    context, parameter, option = (getattr(error, name, None) for name in ("ctx", "param", "option_name"))
    match type(error).__name__:
        case "NoSuchOption":
            return _unknown_option(error, context, words)
        case "MissingParameter" if parameter is not None:
            return (
                f"{_name(parameter)} is missing: {_lower(parameter.help or '')}"
                if parameter
                else "an option is missing"
            )
        case "BadOptionUsage":
            return f"{option} {'takes no' if 'not take' in error.message else 'needs a'} value"
        case "BadParameter" if parameter is not None:
            return f"{_source(parameter, context)}: {error.message}"
    if hint := getattr(error, "param_hint", None):
        return f"{hint}: {error.message}"
    text = error.format_message()
    extra = _EXTRA.fullmatch(text)
    return f"too many arguments: {extra[1]}" if extra else _lower(text)


_EXTRA = re.compile(r"Got unexpected extra argument\(s\) \((.*)\)", re.DOTALL)


def _unknown_option(error: Any, context: Any, words: Sequence[str]) -> str:
    name = error.option_name
    there = f"there is no option {name}"
    command = words[0] if words and words[0] in COMMANDS else None
    if advice := OPTIONS.get(name):
        return f"{there}: {advice}"
    known = _options(context)
    near = did_you_mean(name, known) if name.startswith("--") else None
    if near:
        return f"{there}; did you mean {near}?"
    if command:
        return f"{there} of pgtls {command}"
    return f"{there} before the command; pgtls COMMAND --help lists those that follow it"


def _options(context: Any) -> set[str]:
    parameters = context.command.get_params(context) if context else ()
    return {option for parameter in parameters for option in parameter.opts if option.startswith("--")}


def _name(parameter: Any) -> str:
    """Name a parameter as it is typed, with its value."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    return f"{parameter.opts[0]} {parameter.metavar or ''}".rstrip()


def _source(parameter: Any, context: Any) -> str:
    """Name where the value of a parameter comes from: the command line, or a variable."""
    source = context.get_parameter_source(parameter.name) if context else None
    if parameter.envvar and source is not None and source.name == "ENVIRONMENT":
        return f"${parameter.envvar}"
    return (
        str(parameter.metavar or parameter.name) if parameter.param_type_name == "argument" else str(parameter.opts[0])
    )


def _lower(sentence: str) -> str:
    """Write a sentence of typer's as diagnostics are."""
    return sentence[:1].lower() + sentence[1:].removesuffix(".")


def unknown(word: str, rest: Sequence[str]) -> str:
    """Return a message: there is no command of that name, and what to type instead."""
    if advice := INSTEAD.get(word):
        return f'there is no command "{word}": {advice.format(entity=_entity(rest))}'
    near = did_you_mean(word, COMMANDS)
    return f'there is no command "{word}"' + (f"; did you mean {near}?" if near else "")


def _entity(rest: Sequence[str]) -> str:
    """Return the entity that the words name, or a placeholder. A name alone is a user's."""
    named = next((match for word in rest if (match := _ENTITY.fullmatch(word))), None)
    return f"{named[1] or 'user'}.{named[2]}" if named else "user.NAME"
