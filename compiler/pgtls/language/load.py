"""Load a spec: its files, includes and defaults, with every fault of their shape in one run."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from itertools import dropwhile
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ValidationError

from pgtls.diagnostics import Diagnostic, errors
from pgtls.language.files import Disk
from pgtls.language.gather import FIELD, TABLE, Gathered, gather, stand_in
from pgtls.language.matching import MOST, TooManyError, is_wild
from pgtls.language.models import Spec
from pgtls.language.read import Document, read
from pgtls.language.shape import faults, stand_ins
from pgtls.language.source import Loaded, Source
from pgtls.language.values import Secret
from pgtls.language.words import SINGLE, quoted, value_found

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgtls.diagnostics import Path as TomlPath
    from pgtls.language.files import Files
    from pgtls.language.gather import Key, Raw

_VERSION = 1
_INCLUDE = ("include",)
_ANY_DEPTH = re.compile(r"(?:\*\*/+)+")
_MOST_DEPTHS = 2


@dataclass(frozen=True, slots=True)
class LoadResult:
    """A spec, as far as it could be read.

    ``loaded`` is None where the top file could not be read at all, or is no spec of this version.
    Where tables are faulty, ``loaded`` has them with their faulty fields left out (a required one holds its example),
    so that all other references can still be checked; ``faulty`` has their paths, and that of ``include`` where an
    included file could not be read. Nothing may be compiled from it.
    """

    loaded: Loaded | None
    source: Source
    diagnostics: tuple[Diagnostic, ...]
    faulty: frozenset[TomlPath] = frozenset()

    def unaffected(self, diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """Return the findings of later stages that do not follow from faulty tables."""
        tables = {path[:TABLE] for path in self.faulty}
        unknown = {"PGT101"} if _INCLUDE in self.faulty else set()  # it may be defined in a file that cannot be read
        kinds = tuple(f"there is no {path[0]} " for path in self.faulty if len(path) == 1 and path != _INCLUDE)
        if any(len(path) == TABLE and path[0] == "server" for path in self.faulty):
            unknown.add("PGT104")  # nor is it known how many servers there are
        return tuple(
            diagnostic
            for diagnostic in diagnostics
            if diagnostic.code not in unknown
            and not (kinds and diagnostic.code == "PGT101" and diagnostic.message.startswith(kinds))
            and self.faulty.isdisjoint((diagnostic.path[:TABLE], diagnostic.path[:FIELD]))
            and diagnostic.path not in tables
        )


def load(path: str | os.PathLike[str], files: Files | None = None) -> LoadResult:
    """Read a spec and all it includes, from the disk or other ``files``.

    Never raises because of the content of a file: every fault is a diagnostic, with its path and without its place
    (:func:`pgtls.language.positions.locate` adds it).
    """
    files = files or Disk()
    top = read(files, os.fspath(path))
    if top.data is None:
        return LoadResult(None, Source((top.source,), reader=files), top.diagnostics)
    fault = _version(top.data)
    if fault and type(top.data.get("version")) is int:
        return LoadResult(None, Source((top.source,), reader=files), (fault,))
    include = _include(files, os.fspath(path), top.data.get("include", []))
    documents = (top, *(_foreign(document, top) for document in include.documents))
    gathered = gather(documents)
    gathered.report(*include.faults, *([fault] if fault else ()))
    spec = _with_places(_validated(gathered, _with_defaults(gathered)), gathered)
    texts = tuple(document.source for document in documents)
    source = Source(texts, gathered.owner, include.patterns, include.matched, files)
    if any(document.data is None for document in documents):
        gathered.faulty.add(_INCLUDE)
    loaded = Loaded(spec, source, gathered.own)
    found = tuple(d for d in gathered.diagnostics if d.severity == "error" or d.code not in spec.lint.ignore)
    return LoadResult(loaded, source, found, frozenset(gathered.faulty))


def _foreign(document: Document, top: Document) -> Document:
    """Leave out a file that is not shown and no part of a spec: messages must not name what it holds."""
    if document.source.shown or document.data is None:
        return document
    around = replace(top, data={"defaults": (top.data or {}).get("defaults", {})}, diagnostics=())
    known, found = (_shape_faults(documents) for documents in ((around,), (around, document)))
    if found <= known:
        return document
    message = "this file is no *.toml file in the repository of the spec, and its tables have faults"
    hint = "messages show nothing of its content; move or rename it to see what is wrong"
    return replace(
        document, data=None, diagnostics=(Diagnostic("PGT146", message, hint=hint, file=document.source.name),)
    )


def _shape_faults(documents: tuple[Document, ...]) -> set[Diagnostic]:
    gathered = gather(documents)
    _validated(gathered, _with_defaults(gathered))
    return set(errors(gathered.diagnostics))


def _version(top: Raw) -> Diagnostic | None:
    """Check the version. A spec of another version is not read further."""
    path = ("version",)
    match top.get("version"):
        case None:
            return Diagnostic(
                "PGT005", "the spec has no version", path, "add version = 1 as its first line", at="table"
            )
        case int(version) if type(version) is int:
            hint = f"this version of pgtls reads version {_VERSION}"
            message = f"version {version} of the language is unknown"
            return Diagnostic("PGT005", message, path, hint) if version != _VERSION else None
        case version:
            return Diagnostic(
                "PGT005",
                f"version must be the integer 1, not {value_found(version)}",
                path,
                f"write version = {_VERSION}",
            )


class _Included(NamedTuple):
    """What ``include`` leads to: its sound patterns, all that they matched, the files by name, and its faults."""

    patterns: tuple[str, ...] = ()
    matched: tuple[str, ...] = ()
    documents: tuple[Document, ...] = ()
    faults: tuple[Diagnostic, ...] = ()


def _include(files: Files, top: str, patterns: object) -> _Included:
    """Read the files that ``include`` names."""
    if not isinstance(patterns, list):
        message = f"include must be an array of strings, not {value_found(patterns)}"
        hint = f"write it in brackets: include = [{quoted(patterns)}]" if isinstance(patterns, str) else None
        return _Included(faults=(Diagnostic("PGT012", message, ("include",), hint),))
    found: dict[str, tuple[str, str]] = {}
    faults: list[Diagnostic] = []
    matched: set[str] = set()
    directory, itself = os.path.dirname(top), files.identity(top)
    for index, pattern in enumerate(patterns):
        if isinstance(pattern, str) and "\0" in pattern:
            continue  # reported as a control character, and no system call takes it
        matches = _unfit(pattern) or _matches(files, directory, pattern)
        if isinstance(matches, Diagnostic):
            faults.append(replace(matches, path=("include", index)))
            continue
        names = sorted({os.path.normpath(name) for name in matches}, reverse=True)
        paths = {files.identity(path): path for path in (os.path.join(directory, name) for name in names)}
        regular = {
            one: (path, pattern) for one, path in paths.items() if one != itself and not files.is_directory(path)
        }
        matched.update(names)
        found = regular | found  # one file by two names is one file
        if not regular:
            faults.append(_no_file(pattern, index, itself=set(paths) == {itself}, directory=bool(paths)))
    documents = tuple(read(files, path, top, pattern) for path, pattern in sorted(found.values()))
    sound = tuple(p for p in patterns if isinstance(p, str) and "\0" not in p)
    return _Included(sound, tuple(sorted(matched)), documents, tuple(faults))


_NAME_DIRECTORIES = "name the directories"


def _unfit(pattern: object) -> Diagnostic | None:
    """Return why nothing is searched for a pattern."""
    if not isinstance(pattern, str):
        return Diagnostic("PGT012", f"an item of include must be a string, not {value_found(pattern)}")
    if len(_ANY_DEPTH.findall(pattern)) > _MOST_DEPTHS:
        message = f"{quoted(pattern)} has more than {_MOST_DEPTHS} times **, which takes too long"
        return Diagnostic("PGT013", message, hint=_NAME_DIRECTORIES)
    if os.pardir in _below(pattern):
        message = f"{quoted(pattern)} goes up after it went down"
        return Diagnostic("PGT013", message, hint="write .. at the beginning only")
    if _searches_elsewhere(pattern):
        message = f"{quoted(pattern)} searches directories outside of that of the spec, which takes too long"
        return Diagnostic("PGT013", message, hint=_NAME_DIRECTORIES)
    return None


def _matches(files: Files, directory: str, pattern: str) -> Iterable[str] | Diagnostic:
    try:
        return files.glob(directory, pattern)
    except TooManyError:
        message = f"{quoted(pattern)} matches more than {MOST:,} paths, perhaps through links to directories"
        return Diagnostic("PGT013", message, hint=_NAME_DIRECTORIES)
    except PermissionError as error:
        message = f"{quoted(pattern)} searches {quoted(str(error.filename))}: {error.strerror}"
        hint = f"a build would take its tables for deleted: make it readable for this account, or {_NAME_DIRECTORIES}"
        return Diagnostic("PGT001", message, hint=hint)


def _below(pattern: str) -> list[str]:
    """Return the parts of a pattern after the ``..`` at its beginning.

    A later ``..`` would multiply what ``*`` matches, or walk through what is above the target of a link.
    """
    parts = [part for part in pattern.split(os.sep) if part not in ("", os.curdir)]
    return list(dropwhile(os.pardir.__eq__, parts))


def _searches_elsewhere(pattern: str) -> bool:
    """Return whether a pattern would walk through more of the machine than two levels of one directory."""
    parts = os.path.normpath(pattern).split(os.sep)
    wild = [part for part in parts if is_wild(part)]
    return parts[0] in ("", os.pardir) and ("**" in wild or len(wild) > _MOST_DEPTHS)


def _no_file(pattern: str, index: int, *, itself: bool, directory: bool) -> Diagnostic:
    """Report why a pattern includes nothing: it matches only the top file, only directories, or nothing."""
    place, named = ("include", index), quoted(pattern)
    if not pattern:
        return Diagnostic("PGT013", f"item {index + 1} of include must not be empty", place, "delete it")
    if itself:
        return Diagnostic("PGT020", f"{named} matches only the spec itself", place, "delete it")
    if directory:
        hint = f"name the files in the directory: {quoted(pattern.rstrip('/') + '/*.toml')}"
        return Diagnostic("PGT020", f"{named} matches only a directory", place, hint)
    hint = "paths are relative to the directory of the file that includes them"
    hint += "; ~ is not expanded" if pattern[0] == "~" else ""
    return Diagnostic("PGT020", f"{named} matches no file", place, hint)


def _with_defaults(gathered: Gathered) -> dict[str, Raw]:
    """Add the defaults to every table of their kind. A field of the table replaces the default completely."""
    raw = dict(gathered.tables)
    for kind, default in gathered.defaults.items():
        unsound = {key for key in default if ("defaults", kind, key) in gathered.faulty}
        sound = {key: value for key, value in default.items() if key not in unsound}
        tables = {name: table for name, table in raw[kind].items() if isinstance(table, dict)}
        raw[kind] = raw[kind] | {name: sound | table for name, table in tables.items()}
        for name, table in tables.items() if unsound else ():
            _complete(gathered, raw[kind], (kind, name), unsound - table.keys())
    return raw


def _validated(gathered: Gathered, tables: dict[str, Raw]) -> Spec:
    """Judge the shape of everything. Report what is faulty, repair it, and judge again."""
    raw = {"version": _VERSION, **gathered.single, **tables}
    try:
        return Spec.model_validate(raw)
    except ValidationError as error:
        found = faults(error, raw)
    gathered.report_faulty(*found)
    tables_at_fault: dict[TomlPath, dict[TomlPath, None]] = {}
    for diagnostic in found:
        tables_at_fault.setdefault(diagnostic.path[:TABLE], {})[diagnostic.path] = None
    for table, paths in tables_at_fault.items():
        if (single := str(table[0])) in SINGLE:
            keys = {path[1] for path in paths if len(path) > 1}
            raw[single] = {key: value for key, value in raw[single].items() if key not in keys} if keys else {}
        else:
            _repair(gathered, raw[str(table[0])], (str(table[0]), str(table[1])), paths)
    return Spec.model_validate(raw)


def _with_places(spec: Spec, gathered: Gathered) -> Spec:
    """Tell the secrets of included files in which directory they are named. Those of defaults belong to the top one."""
    top = os.path.dirname(gathered.top.path)
    changed: dict[str, dict[str, Any]] = {}
    for (kind, name), file in gathered.owner.items():
        directory = os.path.relpath(os.path.dirname(file.path) or ".", top or ".")
        table = getattr(spec, kind).get(name)
        if directory == "." or table is None:
            continue
        own = gathered.own[kind, name] & type(table).model_fields.keys()
        placed = {key: _placed(value, directory) for key in own if (value := getattr(table, key)) is not None}
        if any(placed[key] is not getattr(table, key) for key in placed):
            changed.setdefault(kind, {})[name] = table.model_copy(update=placed)
    return spec.model_copy(update={kind: getattr(spec, kind) | tables for kind, tables in changed.items()})


def _placed(value: Any, directory: str) -> Any:
    """Return a value whose secrets know their directory; itself if it has none."""
    if isinstance(value, Secret):
        return value.below(directory)
    if isinstance(value, dict):
        placed = {key: _placed(one, directory) for key, one in value.items()}
        return placed if any(placed[key] is not one for key, one in value.items()) else value
    if isinstance(value, BaseModel):
        placed = {key: _placed(one, directory) for key, one in value}
        return value.model_copy(update=placed) if any(placed[key] is not one for key, one in value) else value
    if isinstance(value, tuple):
        each = tuple(_placed(one, directory) for one in value)
        return each if any(one is not other for one, other in zip(each, value, strict=True)) else value
    return value


def _repair(gathered: Gathered, tables: Raw, table: Key, paths: Iterable[TomlPath]) -> None:
    """Take the faulty fields out of a table. A required field gets its example as its value."""
    kind, name = table
    left = dict(tables[name]) if isinstance(tables[name], dict) else {}
    for path in paths:
        taken_out = [left.pop(key, None) for key in map(str, path[TABLE:FIELD])]
        dotted = ".".join(map(str, path[1:]))
        if len(path) == FIELD and isinstance(taken_out[0], dict) and dotted not in tables:
            stand_in(gathered, tables, (kind, dotted), taken_out[0])
    tables[name] = left
    _complete(gathered, tables, table, stand_ins(kind).keys() - left.keys())


def _complete(gathered: Gathered, tables: Raw, table: Key, lacking: Iterable[str]) -> None:
    """Add the examples of what a table lacks, as if the table had them."""
    kind, name = table
    examples = {key: value for key, value in stand_ins(kind).items() if key in lacking}
    tables[name] = examples | tables[name]
    gathered.own[table] |= examples.keys()
    gathered.faulty |= {(kind, name, key) for key in lacking}
