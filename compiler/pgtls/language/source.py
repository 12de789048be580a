"""A loaded spec together with the texts that it came from."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgtls.language.files import Disk, Files
from pgtls.postgres.methods import without_url_passwords

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pgtls.language.models import Spec


SECRET_KEYS = frozenset({"passphrase", "pin", "hmac", "ldapbindpasswd", "radiussecrets"})
"""Keys whose literal values are shown nowhere."""

_LIKE_A_SECRET = re.compile("pass|pwd|secret|token", re.IGNORECASE)
"""How users name a key of their own for a secret, where the language has none."""


def holds_secret(path: tuple[str | int, ...]) -> bool:
    """Return whether the value at a TOML path is, or was meant to be, a secret; names of tables are none."""
    keys = [step for step in path[2:] if isinstance(step, str) and step != "passphrase_command"]
    return "settings" not in keys and any(key in SECRET_KEYS or _LIKE_A_SECRET.search(key) for key in keys)


PIN_IN_URI = re.compile(r"(?<=pin-value=)[^\s&\"']+")
"""The PIN in a PKCS#11 URI (RFC 7512, 2.4), which the language does not take."""

AGE_IDENTITY = re.compile(r"AGE-(?:SECRET-KEY|PLUGIN)-[0-9A-Za-z-]+", re.IGNORECASE)
"""A private key of age, which somebody took for the public one."""

_SECRET = re.compile(rf"""\b(?:{"|".join(sorted(SECRET_KEYS))})["']?\s*[=.]""")
_STRING = r""""(?:[^"\\]|\\.)*"?|'[^']*'?"""
_HEADER = re.compile(r"\s*\[+[^\[\]=]+\]+\s*(?:#.*)?")
_TOKENS = re.compile(
    rf"""
    \b(?:(?:env|file)["']?\s*=\s*(?:{_STRING})|command["']?\s*=\s*\[[^\]]*\]?)   # the source of a secret is none
    | \w+\s*= | \#.*
    | (?P<secret>{_STRING}|[^\s{{}}\[\],=\#]+)
    """,
    re.VERBOSE,
)


def blotted(line: str, *, secret: bool = False) -> str:
    """Blot out the literal secrets of a line, so that no excerpt shows them; ``secret``: all of it is one."""
    if _HEADER.fullmatch(line):
        return line
    line = without_url_passwords(line)
    for secrets in (PIN_IN_URI, AGE_IDENTITY):
        line = secrets.sub(lambda found: "*" * len(found[0]), line)
    start = 0 if secret else match.end() if (match := _SECRET.search(line)) else len(line)
    return line[:start] + _TOKENS.sub(lambda token: "*" * len(token[0]) if token["secret"] else token[0], line[start:])


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of the spec. ``name`` is what messages call it: as the user named it, and includes as seen from there.

    ``text`` has line feeds alone as line ends, as TOML sees it. ``shown`` says whether excerpts may show lines of it.
    """

    path: Path
    name: str
    text: str
    shown: bool = True


@dataclass(frozen=True, slots=True)
class Source:
    """The texts of a spec: the top file first, then its includes in the order of their names."""

    files: tuple[SourceFile, ...]
    owner: Mapping[tuple[str, str], SourceFile] = field(default_factory=dict)
    """The file of each table, by ``("server", "primary")``. Tables that are not listed are in the top file."""
    patterns: tuple[str, ...] = ()
    """The ``include`` patterns, as written."""
    matched: tuple[str, ...] = ()
    """Every path that they matched, relative to the directory of the spec."""
    reader: Files = field(default_factory=Disk, compare=False)
    """The reader of these files, and of the files that the spec names."""

    @property
    def directory(self) -> Path:
        """The directory of the top file."""
        return self.files[0].path.parent

    def contents(self, named: Iterable[str] = ()) -> dict[str, str]:
        """Return the digests of the bytes that were parsed: of the spec (""), its includes, the files that it names.

        Paths are relative to the directory of the spec.
        """
        top = os.fspath(self.files[0].path)
        directory = os.path.dirname(top)
        names = sorted({os.path.normpath(name) for name in (*self.matched, *named)})
        return {"": self.reader.digest(top)} | {
            name: self.reader.digest(os.path.join(directory, name)) for name in names
        }


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid spec, its texts, and which fields each table says itself rather than through ``[defaults]``."""

    spec: Spec
    source: Source
    own: Mapping[tuple[str, str], frozenset[str]]
    """The keys that are in the table itself, by ``("server", "primary")``."""
