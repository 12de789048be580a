"""Read postgresql.conf as a server does, includes and all (src/backend/utils/misc/guc-file.l)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Place
from pgtls.hba.secrets import HIDDEN, veiled
from pgtls.importer.files import Reader
from pgtls.postgres.methods import without_url_passwords
from pgtls.postgres.releases import NEWEST, RELEASES
from pgtls.postgres.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE = re.compile(
    r"\s*(?P<name>[A-Za-z_][\w$]*(?:\.[A-Za-z_][\w$]*)*)(?:\s*=\s*|\s+|(?='))"
    r"(?:'(?P<quoted>(?:[^'\\]|''|\\.)*)'|(?P<bare>[^\s#'=]+))\s*(?:#.*)?"
)
_COMMENT = re.compile(r"\s*(#|$)")
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
    """Its line, as an excerpt may show it."""
    private: bool = False
    """Whether no message may show its value: that of a file of another kind, or of an unknown setting."""

    @property
    def shown(self) -> str:
        """Return its value, as a message may show it."""
        return HIDDEN if self.private else without_url_passwords(self.value)

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
    written = [(number, line.rstrip("\r")) for number, line in enumerate(lines, 1) if _COMMENT.match(line) is None]
    found = [(number, text, _LINE.fullmatch(text)) for number, text in written]
    foreign = not all(match and ("." in match["name"] or _is_known(match["name"])) for _, _, match in found)
    for number, line, match in found:
        private = (depth > 0 and foreign) or (match is not None and not _is_known(match["name"]))
        text = veiled(line, settings(NEWEST)) if depth > 0 and private else line
        if not match:
            yield _fault("syntax error", file, number, text)
            continue
        value = match["bare"] if match["quoted"] is None else _ESCAPE.sub(_unescaped, match["quoted"])
        value = value.partition("\0")[0]  # a C string ends there
        name = match["name"].lower()
        if name in _DIRECTIVES:
            yield from _included(name, Setting(name, value, file, number, text, private), depth, reader)
        else:
            yield Setting(name, value, file, number, text, private)


def _is_known(name: str) -> bool:
    """Return whether a version of PostgreSQL has a setting of that name."""
    return name.lower() in _DIRECTIVES or any(name.lower() in settings(version) for version in RELEASES)


_DIRECTIVES = ("include", "include_if_exists", "include_dir")


def _unescaped(match: re.Match[str]) -> str:
    escaped = match[1]
    if escaped is None:
        return "'"
    if escaped[0] in "01234567":
        return chr(int(escaped, 8) & 0xFF)
    return {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}.get(escaped, escaped)


def _included(directive: str, where: Setting, depth: int, reader: Reader) -> Iterator[Setting | Diagnostic]:
    path = os.path.join(os.path.dirname(where.file), where.value)
    shown = HIDDEN if where.private else path
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
            yield _fault(f'could not open "{shown}": {error.strerror}', where.file, where.line, where.text)
    except OSError as error:
        yield _fault(f'could not open "{shown}": {error.strerror}', where.file, where.line, where.text)


def _fault(message: str, file: str, number: int, text: str) -> Diagnostic:
    hint = "correct the line: the server refuses the file too"
    return Diagnostic("PGT295", message, hint=hint, place=_line(file, number, text), file=file)


def _line(file: str, number: int, text: str) -> Place:
    """Return the place of a line, without the passwords of URLs and what follows a word such as "password"."""
    text = without_url_passwords(text)
    secret = _SECRET.search(text)
    shown = text[: secret.end()] + _HIDDEN.sub("*", text[secret.end() :]) if secret else text
    return Place(file, number, 1, number, max(len(text.rstrip()), 1) + 1, shown)
