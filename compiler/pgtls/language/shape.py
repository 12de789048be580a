"""Check the shape of the tables with pydantic, and turn its errors into diagnostics.

A message names the required and the found value. An error of a union is one diagnostic, and a misspelt key is not
also reported as a missing one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pgtls.diagnostics import Diagnostic
from pgtls.language import instead
from pgtls.language.hints import hint_for_choice, hint_for_type, hint_for_union
from pgtls.language.models import KINDS, Spec
from pgtls.language.source import AGE_IDENTITY, PIN_IN_URI, holds_secret
from pgtls.language.words import did_you_mean, field_name, quoted, value_found
from pgtls.postgres.methods import OURS, is_option
from pgtls.postgres.releases import NEWEST, OLDEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from pgtls.diagnostics import Path

_MOST_HINTS = 1000
_CHOICE = re.compile(r"'([^']*)'")

_TYPES = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "an array",
    "dict_type": "a table",
    "model_type": "a table",
}
"""The required type by pydantic's type of error, in the words of TOML."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """One of pydantic's errors: its place in the raw tables, the value found, and the kind of error."""

    path: Path
    found: Any
    error: ErrorDetails

    @property
    def kind(self) -> str:
        return self.error["type"]

    @property
    def context(self) -> dict[str, Any]:
        return self.error.get("ctx", {})

    @property
    def model(self) -> type[BaseModel] | None:
        """The model of the table that it is in."""
        return _model_at(self.path[:-1])


def faults(error: ValidationError, raw: Mapping[str, Any], prefix: Path = ()) -> tuple[Diagnostic, ...]:
    """Turn pydantic's errors about ``raw`` into diagnostics. ``prefix`` is the path of ``raw`` in the file."""
    found = [_fault(detail, raw, prefix) for detail in error.errors(include_url=False, include_input=False)]
    unknown = [fault for fault in found if fault.kind == "extra_forbidden"]
    unhinted = {fault.path for fault in unknown[_MOST_HINTS:]}
    unknown = unknown[:_MOST_HINTS]
    misspelt = {(*fault.path[:-1], _meant(fault)) for fault in unknown}
    nested = {fault.path[:-1] for fault in unknown if _is_nested_name(fault)}

    def follows(fault: _Fault) -> bool:
        """Tell whether a fault only follows from another one."""
        if fault.kind == "missing":
            return fault.path in misspelt or fault.path[:-1] in nested
        return fault.kind == "too_short" and len(fault.found) > 0  # pydantic counts the valid items

    return tuple(
        _unknown_key(fault, None) if fault.path in unhinted else _diagnostic(fault)
        for fault in found
        if not follows(fault)
    )


def _model_at(path: Path) -> type[BaseModel] | None:
    """Find the model of the table at a path; None where there is none, or none is known."""
    if path[:1] == ("defaults",):
        path = (*path[1:2], "", *path[2:])
    model: type[BaseModel] | None = Spec
    if path and path[0] in KINDS:
        if len(path) == 1:
            return None
        model, path = KINDS[str(path[0])], path[2:]
    for key in path:
        fields = fields_of(model)
        model = _model_of(fields[str(key)]) if key in fields else model  # an item, or a key of the user's own
    return model


def fields_of(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    """Return the fields of a model by their names in TOML."""
    return {field.alias or name: field for name, field in model.model_fields.items()} if model else {}


def _missing_key(key: str, path: Path, examples: list[Any] | None) -> Diagnostic:
    """Report that a table lacks a key. ``path`` is the path of the key."""
    hint = f"add {key} = {_written(examples[0])}" if examples else None
    return Diagnostic("PGT011", f"{_table(path[:-1])} lacks {key}", path, hint=hint, at="table")


def _written(value: Any) -> str:
    """Write an example as TOML."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_written(one)}' for key, one in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)


def _fault(error: ErrorDetails, raw: Mapping[str, Any], prefix: Path) -> _Fault:
    """Follow a location in the raw tables. A step that does not exist there is the name of a union's branch."""
    path, here = prefix, raw
    for piece in error["loc"]:
        if (isinstance(here, dict) and piece in here) or (isinstance(here, list) and isinstance(piece, int)):
            path, here = (*path, piece), here[piece]
    if error["type"] == "missing":
        path, here = (*path, error["loc"][-1]), {}
    return _Fault(path, here, error)


def _diagnostic(fault: _Fault) -> Diagnostic:
    match fault.kind:
        case "extra_forbidden":
            return _unknown_key(fault, _hint_for_key(fault, str(fault.path[-1])))
        case "missing":
            field = fields_of(fault.model).get(str(fault.path[-1])) if fault.model else None
            return _missing_key(str(fault.path[-1]), fault.path, getattr(field, "examples", None))
        case "model_type" if fault.context.get("class_name") == "Secret":
            return _literal_secret(fault)
        case "secret_source":
            return _wrong(
                "PGT017",
                fault,
                "name exactly one source",
                'one of { env = "NAME" }, { file = "PATH" }, { command = ["..."] }',
            )
        case "literal_error":
            return _choice(fault)
        case "wrong_type" | "wrong_value":
            code = "PGT012" if fault.kind == "wrong_type" else "PGT013"
            secret = holds_secret(fault.path) or "auth_options" in fault.path
            hint = fault.context.get("hint") or (None if secret else hint_for_union(fault.path, fault.found))
            return _wrong(code, fault, f"be {fault.error['msg']}", hint)
        case "string_too_short" | "too_short":
            return Diagnostic(
                "PGT013", f"{field_name(fault.path)} must not be empty", fault.path, _hint_for_empty(fault)
            )
        case "too_long" | "string_too_long":
            return _too_long(fault)
        case "greater_than_equal" | "less_than_equal":
            (bound,) = fault.context.values()
            hint = f"pgtls knows PostgreSQL {OLDEST} to {NEWEST}" if fault.path[-1] in ("postgres", "libpq") else None
            return _wrong("PGT013", fault, f"be at {'least' if fault.kind[0] == 'g' else 'most'} {bound}", hint)
        case kind:
            return _wrong_type(fault, _TYPES[kind])


def _too_long(fault: _Fault) -> Diagnostic:
    unit = "characters" if isinstance(fault.found, str) else "items"
    message = f"{field_name(fault.path)} must have at most {fault.context['max_length']} {unit}, not {len(fault.found)}"
    no_line = isinstance(fault.found, str) or "subject" in fault.path
    hint = None if no_line else "use a network, a regular expression or a role for so many"
    return Diagnostic("PGT013", message, fault.path, hint)


def _wrong(code: str, fault: _Fault, must: str, hint: str | None = None) -> Diagnostic:
    secret = _is_secret(fault)
    table = isinstance(fault.found, dict) and code in ("PGT013", "PGT017")  # it has another shape
    found = "" if table or (secret and code == "PGT013") else f", not {value_found(fault.found, secret=secret)}"
    return Diagnostic(code, f"{field_name(fault.path)} must {must}{found}", fault.path, hint=hint)


def _is_secret(fault: _Fault) -> bool:
    secret = "auth_options" in fault.path or holds_secret(fault.path)
    return secret or any(one.search(str(fault.found)) for one in (PIN_IN_URI, AGE_IDENTITY))


def _wrong_type(fault: _Fault, expected: str) -> Diagnostic:
    secret = _is_secret(fault)
    hint = None if secret else hint_for_type(fault.kind, fault.path[-1], fault.found)
    if not hint and len(fault.path) == 2 and fault.path[0] in KINDS:
        hint = f"each {fault.path[0]} is a table of its own: [{fault.path[0]}.NAME]"
    return _wrong("PGT012", fault, f"be {expected}", hint)


def _hint_for_empty(fault: _Fault) -> str:
    key = fault.path[-1]
    if isinstance(key, int):
        return "delete it"
    field = fields_of(fault.model).get(key)
    if field and field.is_required() and field.examples:
        return f"e.g. {key} = {_written(field.examples[0])}"
    return f"delete {key}"


def _choice(fault: _Fault) -> Diagnostic:
    choices = _CHOICE.findall(fault.context["expected"])
    code = "PGT013" if isinstance(fault.found, str) else "PGT012"
    return _wrong(
        code,
        fault,
        f"be one of {', '.join(map(quoted, choices))}",
        hint_for_choice(fault.path[-1], fault.found, choices),
    )


def _literal_secret(fault: _Fault) -> Diagnostic:
    name = field_name(fault.path)
    hint = f'say where it comes from: {name} = {{ env = "NAME" }}, {{ file = "PATH" }} or {{ command = ["..."] }}'
    return Diagnostic("PGT016", f"{name} is a secret, and a spec must not hold it", fault.path, hint=hint)


def _unknown_key(fault: _Fault, hint: str | None) -> Diagnostic:
    key, table = str(fault.path[-1]), _table(fault.path[:-1])
    message = f"unknown key {quoted(key)} in {table}"
    return Diagnostic("PGT010", message, fault.path, hint=hint, at="key")


def _hint_for_key(fault: _Fault, key: str) -> str | None:
    if _is_nested_name(fault):
        kind, *names = _nested_name(fault)
        return f"a name with dots needs quotes: [{kind}.{quoted('.'.join(names))}]"
    if hint := instead.HINTS.get((_kind(fault), key)):
        return hint
    if _kind(fault) == "policy" and len(fault.path) == 3 and is_option(key) and key not in OURS:
        return f"options of a method go into a table: auth_options = {{ {key} = … }}"
    if _kind(fault) == "server" and (hint := _hint_for_setting(fault, key)):
        return hint
    if meant := _meant(fault):
        return f"did you mean {quoted(meant)}?"
    fields = list(fields_of(fault.model))
    owners = [kind for kind, model in KINDS.items() if key in fields_of(model)]
    if owners and len(fault.path) == 3:
        tables = " and of ".join(f"[{kind}.NAME]" for kind in owners)
        return f"{quoted(key)} is a key of {tables}"
    if holds_secret(fault.path) and "passphrase" in fields:
        return "set a password in the database, not here; `passphrase` says where the passphrase of a key comes from"
    return f"the keys are {', '.join(fields)}" if fields else None


def _hint_for_setting(fault: _Fault, key: str) -> str | None:
    """Return where a setting of PostgreSQL belongs, if a key of a server is one that has no name in the language."""
    if len(fault.path) != 3 or key in instead.KEYS["server"]:
        return None
    from pgtls.postgres.settings import ELSEWHERE, OURS, versions  # only a faulty spec needs the catalogue

    if versions(key) is None or key in {*OURS, *ELSEWHERE}:
        return None
    return f"settings of PostgreSQL go into a table: settings = {{ {key} = … }}"


def _meant(fault: _Fault) -> str | None:
    key = str(fault.path[-1])
    table = "map" if fault.path[2:3] == ("map",) else _kind(fault) if len(fault.path) == 3 else ""
    other = instead.KEYS.get(table, {}).get(key.lower())
    return other or did_you_mean(key, fields_of(fault.model))


def _kind(fault: _Fault) -> str:
    """Return the kind of the table that a key is in, also in its defaults."""
    return str(fault.path[1] if fault.path[0] == "defaults" else fault.path[0])


def _is_nested_name(fault: _Fault) -> bool:
    """Tell whether ``[user.a.b]`` was written for the user "a.b"."""
    if len(fault.path) != 3 or fault.path[0] not in KINDS or not isinstance(fault.found, dict):
        return False
    meant = _meant(fault)
    return not meant or meant not in fields_of(fault.model) or not _takes_table(fields_of(fault.model)[meant])


def _nested_name(fault: _Fault) -> Iterator[str]:
    yield from map(str, fault.path)
    here = fault.found
    while len(here) == 1:
        ((key, here),) = here.items()
        if not isinstance(here, dict) or key in fields_of(KINDS[str(fault.path[0])]):
            return
        yield key


def _table(path: Path) -> str:
    if not path:
        return "the spec"
    if len(path) == 1:
        return f"[{path[0]}]"
    if path[0] == "defaults":
        return f"[defaults.{path[1]}]" if len(path) == 2 else field_name(path)
    return f"{path[0]} {quoted(str(path[1]))}" if len(path) == 2 else field_name(path)


def stand_ins(kind: str) -> dict[str, Any]:
    """Return examples of the required fields of a kind, to complete a faulty table."""
    fields = fields_of(KINDS[kind]).items()
    return {name: field.examples[0] for name, field in fields if field.is_required() and field.examples}


def _model_of(field: FieldInfo | None) -> type[BaseModel] | None:
    """Find the one model within a field's type: ``Tuple[MapEntry]``, ``Secret | None``."""
    return next((kind for kind in _types(field) if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _takes_table(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is dict or _model_of(field) is not None


def _types(field: FieldInfo | None) -> Iterator[Any]:
    todo: list[Any] = [field.annotation] if field else []
    while todo:
        kind = todo.pop()
        yield kind
        todo += get_args(kind)
