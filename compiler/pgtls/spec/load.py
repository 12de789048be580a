"""From the files of a spec to its tables: includes, defaults, and every fault of shape in one run."""

from __future__ import annotations

import glob
import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pgtls.diagnostics import Diagnostic
from pgtls.spec.models import KINDS, WITH_DEFAULTS, Spec
from pgtls.spec.read import Document, read
from pgtls.spec.shape import faults, stand_ins
from pgtls.spec.source import Loaded, Source, SourceFile
from pgtls.spec.upcoming import not_built_yet
from pgtls.spec.values import DEVICE_NAMES, TABLE_NAME
from pgtls.spec.words import did_you_mean, quoted, value_found

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from pgtls.diagnostics import Path as TomlPath

Key = tuple[str, str]
Raw = dict[str, Any]

_TOP_ONLY = ("version", "include", "defaults", "lint")
_VERSION = 1
_TABLE, _FIELD = 2, 3
"""The lengths of the path of a table, and of one of its fields."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a spec says, as far as it could be read.

    ``loaded`` is None where a file could not be read at all, or is no spec of this version: then nothing is known of what it refers to.
    Where tables are faulty, ``loaded`` has them with their faulty fields left out (a required one holds its example), so that all
    other references can still be checked; ``faulty`` has the paths of these tables and fields. Nothing may be compiled from it.
    """

    loaded: Loaded | None
    source: Source
    diagnostics: tuple[Diagnostic, ...]
    faulty: frozenset[TomlPath] = frozenset()

    def unaffected(self, diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """Keep those findings of later stages that do not follow from what is faulty."""
        tables = {path[:_TABLE] for path in self.faulty}
        return tuple(
            diagnostic
            for diagnostic in diagnostics
            if self.faulty.isdisjoint((diagnostic.path[:_TABLE], diagnostic.path[:_FIELD]))
            and diagnostic.path not in tables
        )


@dataclass(slots=True)
class _Gathered:
    """The raw tables of all files, while they are brought together."""

    top: SourceFile
    tables: dict[str, Raw] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    defaults: dict[str, Raw] = field(default_factory=dict)
    lint: Any = field(default_factory=dict)
    owner: dict[Key, SourceFile] = field(default_factory=dict)
    own: dict[Key, frozenset[str]] = field(default_factory=dict)
    twice: list[tuple[SourceFile, str, str]] = field(default_factory=list)
    """Further definitions of a table, which do not count."""
    misspelt: dict[Key, Any] = field(default_factory=dict)
    """Tables under a misspelt kind, by what was meant."""
    diagnostics: list[Diagnostic] = field(default_factory=list)
    faulty: set[TomlPath] = field(default_factory=set)

    illegible: set[TomlPath] = field(default_factory=set)
    """Keys and values with control characters: what else is wrong with them is not said."""

    def report(self, *diagnostics: Diagnostic) -> None:
        """Add findings that leave every table as it is."""
        self.diagnostics += [diagnostic for diagnostic in diagnostics if diagnostic.path not in self.illegible]

    def report_faulty(self, *diagnostics: Diagnostic) -> None:
        """Add findings, and remember the fields that they are about."""
        self.report(*diagnostics)
        self.faulty |= {diagnostic.path[:_FIELD] for diagnostic in diagnostics if diagnostic.path}


def load(path: Path) -> LoadResult:
    """Read a spec and all it includes.

    Never raises for what the files hold: every fault of theirs is a diagnostic, with its path and without its place
    (:func:`pgtls.spec.positions.locate` adds it).
    """
    top = read(path, os.fspath(path))
    if top.data is None:
        return LoadResult(None, Source((top.source,)), top.diagnostics)
    fault = _version(top.data)
    if fault and type(top.data.get("version")) is int:
        return LoadResult(None, Source((top.source,)), (fault,))
    patterns, unmatched, included = _included(top)
    documents = (top, *included)
    gathered = _gather(documents)
    gathered.report(*unmatched, *([fault] if fault else ()))
    spec = _validated(gathered, _with_defaults(gathered))
    gathered.diagnostics += _not_built_yet(gathered)
    source = Source(tuple(document.source for document in documents), gathered.owner, patterns)
    known = spec and all(document.data is not None for document in documents)
    loaded = Loaded(spec, source, gathered.own) if spec and known else None
    return LoadResult(loaded, source, tuple(gathered.diagnostics), frozenset(gathered.faulty))


def _version(top: Raw) -> Diagnostic | None:
    """Judge the version; what is of another one is not read any further."""
    path = ("version",)
    match top.get("version"):
        case None:
            return Diagnostic("PGT005", "the spec lacks version", path, "add version = 1 as its first line", at="table")
        case int(version) if type(version) is int:
            hint = f"this pgtls reads version {_VERSION}"
            message = f"version {version} of the language is not known"
            return Diagnostic("PGT005", message, path, hint) if version != _VERSION else None
        case version:
            return Diagnostic("PGT005", f"version must be the integer 1, not {value_found(version)}", path)


def _included(top: Document) -> tuple[tuple[str, ...], tuple[Diagnostic, ...], tuple[Document, ...]]:
    """Read the files that ``include`` names, in the order of their names: the patterns, their faults, the files."""
    patterns = (top.data or {}).get("include", [])
    if not isinstance(patterns, list):
        message = f"include must be an array of strings, not {value_found(patterns)}"
        return (), (Diagnostic("PGT012", message, ("include",)),), ()
    found: set[str] = set()
    faults: list[Diagnostic] = []
    directory = top.source.path.parent
    for index, pattern in enumerate(patterns):
        if not isinstance(pattern, str):
            message = f"item {index + 1} of include must be a string, not {value_found(pattern)}"
            faults.append(Diagnostic("PGT012", message, ("include", index)))
        elif "\0" in pattern:
            continue  # reported as a control character, and no system call takes it
        elif names := _matches(directory, pattern, top.source.path.name):
            found |= names
        else:
            hint = "paths are relative to the directory of the file that includes them"
            faults.append(Diagnostic("PGT020", f"{quoted(pattern)} matches no file", ("include", index), hint))
    prefix = os.path.dirname(top.source.name)
    documents = tuple(read(directory / name, os.path.join(prefix, name)) for name in sorted(found))
    return tuple(p for p in patterns if isinstance(p, str) and "\0" not in p), tuple(faults), documents


def _matches(directory: Path, pattern: str, top: str) -> set[str]:
    """Give the files that a pattern names, relative to the directory; the top file never includes itself."""
    found = glob.glob(pattern, root_dir=directory, recursive=True)
    return {os.path.normpath(name) for name in found} - {top}


def _gather(documents: Sequence[Document]) -> _Gathered:
    gathered = _Gathered(documents[0].source)
    for document in documents:
        gathered.report_faulty(*document.diagnostics)
        gathered.illegible |= {diagnostic.path for diagnostic in document.diagnostics if diagnostic.path}
        for key, value in (document.data or {}).items():
            _gather_key(gathered, document.source, key, value)
    if gathered.twice:
        gathered.report(*_twice(gathered))
    for (kind, name), table in gathered.misspelt.items():
        if name not in gathered.tables[kind]:
            _stand_in(gathered, gathered.tables[kind], (kind, name), table)
    return gathered


def _gather_key(gathered: _Gathered, file: SourceFile, key: str, value: Any) -> None:
    """Take in one key of a file's top level."""
    at_top = file is gathered.top
    if key in KINDS:
        _gather_tables(gathered, file, key, value)
    elif key not in _TOP_ONLY:
        known = (*KINDS, *_TOP_ONLY) if at_top else tuple(KINDS)
        meant = did_you_mean(key, known)
        hint = f"did you mean {quoted(meant)}?" if meant else f"known keys: {', '.join(known)}"
        gathered.report(Diagnostic("PGT010", f"unknown key {quoted(key)}", (key,), hint, "key", file=file.name))
        if meant in KINDS and isinstance(value, dict):
            gathered.misspelt |= {(meant, name): table for name, table in value.items()}
    elif not at_top:
        hint = f"an included file holds only {', '.join(KINDS)} tables"
        message = f"{key} may stand in the top file only"
        gathered.report(Diagnostic("PGT022", message, (key,), hint, "key", file=file.name))
    elif key == "defaults":
        _gather_defaults(gathered, value)
    elif key == "lint":
        gathered.lint = value


def _gather_tables(gathered: _Gathered, file: SourceFile, kind: str, tables: Any) -> None:
    """Take in the tables of one kind from one file."""
    if not isinstance(tables, dict):
        hint = f"each {kind} is a table of its own: [{kind}.NAME]"
        message = f"{kind} must be a table of tables, not {value_found(tables)}"
        gathered.report(Diagnostic("PGT012", message, (kind,), hint, file=file.name))
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
        gathered.own[kind, name] = frozenset(table if isinstance(table, dict) else ())


def _twice(gathered: _Gathered) -> Iterator[Diagnostic]:
    """Name both places of each table that is defined twice."""
    from pgtls.spec.positions import places_of

    first = {(kind, name): gathered.owner.get((kind, name), gathered.top) for _, kind, name in gathered.twice}
    of_file: dict[SourceFile, list[Key]] = {}
    for key, file in first.items():
        of_file.setdefault(file, []).append(key)
    lines = {key: place.line for file, keys in of_file.items() for key, place in places_of(keys, file).items()}
    for file, kind, name in gathered.twice:
        where = f"{first[kind, name].name}:{lines[kind, name]}"
        message = f"{kind} {quoted(name)} is defined twice: it is also at {where}"
        yield Diagnostic("PGT021", message, (kind, name), "keep one of the two", "table", file=file.name)


def _bad_name(file: SourceFile, kind: str, name: str) -> Diagnostic:
    message = f"{quoted(name)} cannot be the name of a {kind}: it becomes a directory"
    hint = "names have small letters, digits, '.', '_' and '-', begin with a letter or digit, and have 63 characters at most"
    if name.partition(".")[0] in DEVICE_NAMES:
        hint = "Windows reserves this name for a device"
    elif kind == "user":
        hint += '; the database role may differ: roles = ["..."]'
    return Diagnostic("PGT015", message, (kind, name), hint, "key", file=file.name)


def _gather_defaults(gathered: _Gathered, defaults: Any) -> None:
    """Validate ``[defaults.KIND]``; a faulty one is reported here, and left out of every table."""
    if not isinstance(defaults, dict):
        message = f"defaults must be a table of tables, not {value_found(defaults)}"
        gathered.report(Diagnostic("PGT012", message, ("defaults",), "write [defaults.KIND]"))
        return
    for kind, default in defaults.items():
        path = ("defaults", kind)
        if kind not in WITH_DEFAULTS:
            hint = f"there are defaults for {', '.join(WITH_DEFAULTS)}"
            gathered.report(Diagnostic("PGT010", f"unknown key {quoted(kind)} in [defaults]", path, hint, "key"))
        elif not isinstance(default, dict):
            message = f"defaults.{kind} must be a table, not {value_found(default)}"
            gathered.report(Diagnostic("PGT012", message, path))
        else:
            gathered.report_faulty(*_default_faults(kind, default))
            gathered.defaults[kind] = default


def _default_faults(kind: str, default: Raw) -> Iterator[Diagnostic]:
    """Judge a default by the model of its kind; what it lacks, the tables may say."""
    try:
        KINDS[kind].model_validate(default)
    except ValidationError as error:
        for diagnostic in faults(error, default, ("defaults", kind)):
            if diagnostic.code != "PGT011" or len(diagnostic.path) > _FIELD:
                yield diagnostic


def _with_defaults(gathered: _Gathered) -> dict[str, Raw]:
    """Put the defaults under every table of their kind: a table's own field replaces the default whole."""
    raw = dict(gathered.tables)
    for kind, default in gathered.defaults.items():
        unsound = {key for key in default if ("defaults", kind, key) in gathered.faulty}
        sound = {key: value for key, value in default.items() if key not in unsound}
        tables = {name: table for name, table in raw[kind].items() if isinstance(table, dict)}
        raw[kind] = raw[kind] | {name: sound | table for name, table in tables.items()}
        for name, table in tables.items() if unsound else ():
            _complete(gathered, raw[kind], (kind, name), unsound - table.keys())
    return raw


def _validated(gathered: _Gathered, tables: dict[str, Raw]) -> Spec | None:
    """Judge the shape of everything; what is faulty is reported, mended, and judged again."""
    raw = {"version": _VERSION, "lint": gathered.lint, **tables}
    try:
        return Spec.model_validate(raw)
    except ValidationError as error:
        found = faults(error, raw)
    gathered.report_faulty(*found)
    for diagnostic in found:
        _mend(gathered, raw, diagnostic.path)
    return Spec.model_validate(raw)


def _mend(gathered: _Gathered, raw: Raw, path: TomlPath) -> None:
    """Take a faulty field out; where it is required, let its example stand there."""
    if path[0] == "lint":
        raw["lint"] = {key: value for key, value in raw["lint"].items() if key != path[1]} if len(path) > 1 else {}
        return
    tables, (kind, name) = raw[str(path[0])], (str(path[0]), str(path[1]))
    table = dict(tables[name]) if isinstance(tables[name], dict) else {}
    taken_out = [table.pop(key, None) for key in map(str, path[_TABLE:_FIELD])]
    tables[name] = table
    dotted = ".".join(map(str, path[1:]))
    if len(path) == _FIELD and isinstance(taken_out[0], dict) and dotted not in tables:
        _stand_in(gathered, tables, (kind, dotted), taken_out[0])
    _complete(gathered, tables, (kind, name), stand_ins(kind).keys() - tables[name].keys())


def _complete(gathered: _Gathered, tables: Raw, table: Key, lacking: Iterable[str]) -> None:
    """Give a table the examples of what it lacks, as if it said them itself."""
    kind, name = table
    examples = {key: value for key, value in stand_ins(kind).items() if key in lacking}
    tables[name] = examples | tables[name]
    gathered.own[table] |= examples.keys()
    gathered.faulty |= {(kind, name, key) for key in lacking}


def _stand_in(gathered: _Gathered, tables: Raw, key: Key, table: Any) -> None:
    """Let a table be referred to that is written in another place: its spelling is one mistake."""
    kind, name = key
    tables[name] = stand_ins(kind)
    if isinstance(table, dict):
        with suppress(ValidationError):
            KINDS[kind].model_validate(tables[name] | table)
            tables[name] |= table
    gathered.own[key] = frozenset(tables[name])
    gathered.faulty.add(key)


def _not_built_yet(gathered: _Gathered) -> list[Diagnostic]:
    """Name the fields in use whose effect is to come, but for those that are wrong anyway."""
    tables = [((kind, name), table) for kind in KINDS for name, table in gathered.tables[kind].items()]
    tables += [(("defaults", kind), default) for kind, default in gathered.defaults.items()]
    reported = {d.path[:_FIELD] for d in gathered.diagnostics}
    return [
        diagnostic
        for path, table in tables
        if isinstance(table, dict)
        for diagnostic in not_built_yet(path[1] if path[0] == "defaults" else path[0], table, path)
        if diagnostic.path not in reported
    ]
