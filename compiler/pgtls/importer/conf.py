"""Read postgresql.conf as a server does, includes and all (src/backend/utils/misc/guc-file.l)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Place
from pgtls.hba.secrets import veiled
from pgtls.importer.files import Reader
from pgtls.postgres.releases import NEWEST
from pgtls.postgres.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE = re.compile(
    r"\s*(?P<name>[A-Za-z_][\w$]*(?:\.[A-Za-z_][\w$]*)*)(?:\s*=\s*|\s+|(?='))"
    r"(?:'(?P<quoted>(?:[^'\\]|''|\\.)*)'|(?P<bare>[^\s#'=]+))\s*(?:#.*)?"
)
_ESCAPE = re.compile(r"''|\\([0-7]{1,3}|.)")
_SECRET = re.compile("pass|pwd|secret|token|credential", re.IGNORECASE)
_HIDDEN = re.compile(r"[^\s=]")
_DEEPEST = 10
"""Levels of includes (CONF_FILE_MAX_DEPTH)."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting, the last of its name."""

    name: str
    value: str
    file: str
    line: int
    text: str

    @property
    def place(self) -> Place:
        """Return the place of its line."""
        return _line(self.file, self.line, self.text)


def read_conf(file: str) -> tuple[dict[str, Setting], tuple[Diagnostic, ...]]:
    """Return the settings by their name in lower case, and what the server would refuse.

    Raises OSError for the file itself.
    """
    found: dict[str, Setting] = {}
    faults: list[Diagnostic] = []
    for item in _read(file, 0, Reader("PGT295")):
        if isinstance(item, Setting):
            found.pop(item.name, None)  # so that the order is that of the last lines
            found[item.name] = item
        else:
            faults.append(item)
    return found, tuple(faults)


def _read(file: str, depth: int, reader: Reader) -> Iterator[Setting | Diagnostic]:
    lines = reader.text(file, pipes=depth == 0).split("\n")
    for number, text in enumerate((line.rstrip("\r") for line in lines), 1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if not match:
            yield _fault("syntax error", file, number, veiled(text, settings(NEWEST)) if depth else text)
            continue
        value = match["bare"] if match["quoted"] is None else _ESCAPE.sub(_unescaped, match["quoted"])
        value = value.partition("\0")[0]  # a C string ends there
        name = match["name"].lower()
        if name in ("include", "include_if_exists", "include_dir"):
            yield from _included(name, Setting(name, value, file, number, text), depth, reader)
        else:
            yield Setting(name, value, file, number, text)


def _unescaped(match: re.Match[str]) -> str:
    escaped = match[1]
    if escaped is None:
        return "'"
    if escaped[0] in "01234567":
        return chr(int(escaped, 8) & 0xFF)
    return {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}.get(escaped, escaped)


def _included(directive: str, where: Setting, depth: int, reader: Reader) -> Iterator[Setting | Diagnostic]:
    path = os.path.join(os.path.dirname(where.file), where.value)
    if depth >= _DEEPEST:
        yield _fault("maximum nesting depth exceeded", where.file, where.line, where.text)
        return
    try:
        if directive == "include_dir":
            # The server skips names that start with a dot or lack .conf, and reads the rest in byte order.
            names = sorted(n for n in os.listdir(path) if n.endswith(".conf") and not n.startswith("."))
            paths = [os.path.join(path, name) for name in names if not os.path.isdir(os.path.join(path, name))]
        else:
            paths = [path]
        for one in paths:
            yield from _read(one, depth + 1, reader)
    except FileNotFoundError as error:
        if directive != "include_if_exists":
            yield _fault(f'could not open "{path}": {error.strerror}', where.file, where.line, where.text)
    except OSError as error:
        yield _fault(f'could not open "{path}": {error.strerror}', where.file, where.line, where.text)


def _fault(message: str, file: str, number: int, text: str) -> Diagnostic:
    hint = "correct the line: the server refuses the file too"
    return Diagnostic("PGT295", message, hint=hint, place=_line(file, number, text), file=file)


def _line(file: str, number: int, text: str) -> Place:
    """Return the place of a line; what follows a word such as "password" is not shown."""
    secret = _SECRET.search(text)
    shown = text[: secret.end()] + _HIDDEN.sub("*", text[secret.end() :]) if secret else text
    return Place(file, number, 1, number, max(len(text.rstrip()), 1) + 1, shown)
