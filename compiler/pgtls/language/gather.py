"""Collect the raw tables of all files of a spec, before their shape is checked."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pgtls.diagnostics import Diagnostic
from pgtls.language import instead
from pgtls.language.models import KINDS, WITH_DEFAULTS
from pgtls.language.shape import faults, stand_ins
from pgtls.language.values import DEVICE_NAMES, TABLE_NAME
from pgtls.language.words import SINGLE, did_you_mean, quoted, value_found

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgtls.diagnostics import Path as TomlPath
    from pgtls.language.read import Document
    from pgtls.language.source import SourceFile

Key = tuple[str, str]
Raw = dict[str, Any]

_TOP_ONLY = ("version", "include", "defaults", *SINGLE)
_MOST_MISSPELT = 1000
TABLE, FIELD = 2, 3
"""The lengths of the path of a table, and of one of its fields."""


@dataclass(slots=True)
class Gathered:
    """The raw tables of all files, while they are collected."""

    top: SourceFile
    tables: dict[str, Raw] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    defaults: dict[str, Raw] = field(default_factory=dict)
    single: dict[str, Any] = field(default_factory=lambda: {key: {} for key in SINGLE})
    """The tables without names, by key."""
    owner: dict[Key, SourceFile] = field(default_factory=dict)
    own: dict[Key, frozenset[str]] = field(default_factory=dict)
    twice: list[tuple[SourceFile, str, str]] = field(default_factory=list)
    """Second definitions of a table. They do not count."""
    misspelt: dict[Key, Any] = field(default_factory=dict)
    """Tables under a misspelt kind or name, by the kind and name that were meant."""
    diagnostics: list[Diagnostic] = field(default_factory=list)
    faulty: set[TomlPath] = field(default_factory=set)

    illegible: set[TomlPath] = field(default_factory=set)
    """Keys and values with control characters: no other fault of them is reported."""

    def report(self, *diagnostics: Diagnostic) -> None:
        """Add findings that leave every table as it is."""
        self.diagnostics += [diagnostic for diagnostic in diagnostics if diagnostic.path not in self.illegible]

    def report_faulty(self, *diagnostics: Diagnostic) -> None:
        """Add findings, and remember the fields that they are about."""
        self.report(*diagnostics)
        self.faulty |= {diagnostic.path[:FIELD] for diagnostic in diagnostics if diagnostic.path}


def gather(documents: Sequence[Document]) -> Gathered:
    """Take in the tables of all files, the top file first; report what is wrong with more than a table's fields."""
    gathered = Gathered(documents[0].source)
    for document in documents:
        gathered.report_faulty(*document.diagnostics)
        gathered.illegible |= {diagnostic.path for diagnostic in document.diagnostics if diagnostic.path}
        for key, value in (document.data or {}).items():
            _gather_key(gathered, document.source, key, value)
    if gathered.twice:
        gathered.report(*_twice(gathered))
    for (kind, name), table in gathered.misspelt.items():
        if name not in gathered.tables[kind]:
            stand_in(gathered, gathered.tables[kind], (kind, name), table)
    return gathered


def _gather_key(gathered: Gathered, file: SourceFile, key: str, value: Any) -> None:
    """Collect one key of the top level of a file."""
    at_top = file is gathered.top
    if key in KINDS:
        _gather_tables(gathered, file, key, value)
    elif key not in _TOP_ONLY:
        known = (*KINDS, *_TOP_ONLY) if at_top else tuple(KINDS)
        meant = instead.TABLES.get(key.lower()) or did_you_mean(key, known)
        hint = f"did you mean {quoted(meant)}?" if meant else f"the keys are {', '.join(known)}"
        if not meant and isinstance(value, dict):
            hint = f"a table is [KIND.NAME], with one of the kinds {', '.join(KINDS)}"
            if len(gathered.misspelt) < _MOST_MISSPELT:
                gathered.misspelt |= {(kind, key): value for kind in KINDS}
        gathered.report(Diagnostic("PGT010", f"unknown key {quoted(key)}", (key,), hint, "key", file=file.name))
        if meant in KINDS and isinstance(value, dict):
            gathered.misspelt |= {(meant, name): table for name, table in value.items()}
    elif not at_top:
        hint = f"an included file holds only {', '.join(KINDS)} tables"
        message = f"{key} is allowed in the top file only"
        gathered.report(Diagnostic("PGT022", message, (key,), hint, "key", file=file.name))
    elif key == "defaults":
        _gather_defaults(gathered, value)
    elif key in SINGLE:
        gathered.single[key] = value


def _gather_tables(gathered: Gathered, file: SourceFile, kind: str, tables: Any) -> None:
    """Collect the tables of one kind from one file."""
    if not isinstance(tables, dict):
        hint = f"each {kind} is a table of its own: [{kind}.NAME]"
        message = f"{kind} must be a table of tables, not {value_found(tables)}"
        gathered.report_faulty(Diagnostic("PGT012", message, (kind,), hint, file=file.name))
        return
    known = gathered.tables[kind]
    for name, table in tables.items():
        if name in known:
            gathered.twice.append((file, kind, name))
            continue
        known[name] = table
        if file is not gathered.top:
            gathered.owner[kind, name] = file
        if not TABLE_NAME.fullmatch(name) or name.partition(".")[0] in DEVICE_NAMES:
            gathered.report(_bad_name(file, kind, name))
            gathered.misspelt[kind, _plain_name(name)] = table
        gathered.own[kind, name] = frozenset(table if isinstance(table, dict) else ())


def _twice(gathered: Gathered) -> Iterator[Diagnostic]:
    """Report each table that is defined twice, with both places."""
    from pgtls.language.positions import places_of

    first = {(kind, name): gathered.owner.get((kind, name), gathered.top) for _, kind, name in gathered.twice}
    of_file: dict[SourceFile, list[Key]] = {}
    for key, file in first.items():
        of_file.setdefault(file, []).append(key)
    lines = {key: place.line for file, keys in of_file.items() for key, place in places_of(keys, file).items()}
    for file, kind, name in gathered.twice:
        where = f"{first[kind, name].name}:{lines[kind, name]}"
        message = f"{kind} {quoted(name)} is defined twice: it is also at {where}"
        yield Diagnostic("PGT021", message, (kind, name), "keep one of the two", "table", file=file.name)


def _plain_name(name: str) -> str:
    """Return the nearest name that a table can have."""
    return re.sub(r"[\s/@]+", "-", name.strip().lower())


def _bad_name(file: SourceFile, kind: str, name: str) -> Diagnostic:
    message = f"{quoted(name)} cannot be the name of a {kind}: it becomes the name of a directory"
    hint = "use lower-case letters, digits, '.', '_' and '-', begin with a letter or digit, at most 63 characters"
    if name.partition(".")[0] in DEVICE_NAMES:
        hint = "Windows reserves this name for a device"
    elif TABLE_NAME.fullmatch(plain := _plain_name(name)):
        named = quoted(plain) if "." in plain else plain
        hint = f"write [{kind}.{named}]" + (f"; for the role, roles = [{quoted(name)}]" if kind == "user" else "")
    elif kind == "user":
        hint += '; the database role may differ: roles = ["..."]'
    return Diagnostic("PGT015", message, (kind, name), hint, "key", file=file.name)


def _gather_defaults(gathered: Gathered, defaults: Any) -> None:
    """Validate ``[defaults.KIND]``; a faulty one is reported here, and left out of every table."""
    if not isinstance(defaults, dict):
        message = f"defaults must be a table of tables, not {value_found(defaults)}"
        gathered.report(Diagnostic("PGT012", message, ("defaults",), "write [defaults.KIND]"))
        return
    for kind, default in defaults.items():
        path = ("defaults", kind)
        if kind not in WITH_DEFAULTS:
            meant = did_you_mean(kind, WITH_DEFAULTS)
            hint = f"did you mean {quoted(meant)}?" if meant else f"defaults exist for {', '.join(WITH_DEFAULTS)}"
            gathered.report(Diagnostic("PGT010", f"unknown key {quoted(kind)} in [defaults]", path, hint, "key"))
        elif not isinstance(default, dict):
            message = f"defaults.{kind} must be a table, not {value_found(default)}"
            gathered.report(Diagnostic("PGT012", message, path))
        else:
            gathered.report_faulty(*_default_faults(kind, default))
            gathered.defaults[kind] = default


def _default_faults(kind: str, default: Raw) -> Iterator[Diagnostic]:
    """Check a default with the model of its kind. Tables may add required fields that it lacks."""
    try:
        KINDS[kind].model_validate(default)
    except ValidationError as error:
        for diagnostic in faults(error, default, ("defaults", kind)):
            if diagnostic.code != "PGT011" or len(diagnostic.path) > FIELD:
                yield diagnostic


def stand_in(gathered: Gathered, tables: Raw, key: Key, table: Any) -> None:
    """Add a table under the name that was meant, so that references to it are not reported as well."""
    kind, name = key
    tables[name] = stand_ins(kind)
    if isinstance(table, dict):
        with suppress(ValidationError):
            KINDS[kind].model_validate(tables[name] | table)
            tables[name] |= table
    gathered.own[key] = frozenset(tables[name])
    gathered.faulty.add(key)
