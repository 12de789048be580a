"""What holds for every file whatever, found by random ones."""

from __future__ import annotations

import json
import tomllib
from datetime import timedelta, timezone
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pgtls.diagnostics.text import as_json, render
from pgtls.language.load import LoadResult, load
from pgtls.language.models import KINDS
from pgtls.language.positions import locate, places_of
from pgtls.language.schema import schema
from pgtls.language.shape import fields_of
from pgtls.language.source import SourceFile, blotted

if TYPE_CHECKING:
    from pgtls.diagnostics import Path as TomlPath

EXAMPLE = (Path(__file__).parents[2] / "pgtls.toml.example").read_text()
MARK = "c0rrect-h0rse"

_zones = st.one_of(st.none(), st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))))
_scalars = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(["all", "@staff", "90d", "10.0.0.0/8", "cert", "require", "root", "clients", "app", "1.2"]),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.floats(),
    st.dates(),
    st.times().filter(lambda value: value.tzinfo is None),
    st.builds(lambda value, zone: value.replace(tzinfo=zone), st.datetimes(), _zones),
)
_keys = st.one_of(
    st.sampled_from(sorted({key for model in KINDS.values() for key in fields_of(model)} | {"env", "file", "country"})),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_keys, inner, max_size=4)),
    max_leaves=8,
)
_names = st.one_of(st.sampled_from(["root", "app", "staff", "primary", "A", "con", "a.b"]), _keys)
_tables = st.dictionaries(_names, st.one_of(st.dictionaries(_keys, _values, max_size=5), _values), max_size=3)
_documents = st.builds(
    lambda version, rest, tables: version | rest | tables,
    st.sampled_from([{"version": 1}, {}, {"version": 2}, {"version": "1"}]),
    st.dictionaries(st.sampled_from(["include", "lint", "defaults", "users", ""]), _values, max_size=2),
    st.dictionaries(st.sampled_from([*KINDS, "defaults"]), _tables, max_size=4),
)


def spliced(text: str, pieces: list[tuple[int, int, str]]) -> str:
    """Replace some parts of a text by others."""
    return reduce(lambda so_far, piece: so_far[: piece[0]] + piece[2] + so_far[piece[1] :], pieces, text)


_junk = st.one_of(
    st.text(max_size=5), st.sampled_from(list("\"'[]{}=.,#\n\\\t\r")), st.sampled_from(['"""', "[[", "é"])
)
_splices = st.lists(
    st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 12), _junk).map(lambda t: (t[0], t[0] + t[1], t[2])),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("laws") / "pgtls.toml"


def check(spec: Path, content: bytes) -> tuple[LoadResult, str]:
    """Load, locate and render; every place lies in its file."""
    spec.write_bytes(content)
    result = load(spec)
    found = locate(result.diagnostics, result.source)
    texts = {file.name: file.text.split("\n") for file in result.source.files}
    for diagnostic in found:
        json.dumps(as_json(diagnostic), ensure_ascii=False).encode()
        if place := diagnostic.place:
            lines = texts[place.file]
            assert 1 <= place.line <= place.end_line <= len(lines)
            assert 1 <= place.column <= len(lines[place.line - 1]) + 1
            assert 1 <= place.end_column <= len(lines[place.end_line - 1]) + 2
            assert len(place.text) == len(lines[place.line - 1])
    assert len(found) == len(set(found)) > 0 or result.loaded is not None
    text = render(found, colour=True)
    text.encode()
    return result, text


@given(content=st.binary(max_size=200))
@example(content=b"\xef\xbb\xbf")
@example(content=b"version = 1\r")
@example(content=b"version = 1\n\xf0\x9f\x92")
@example(content=b"\r\n\r\n")
def test_any_bytes_are_a_spec_or_have_diagnostics(spec: Path, content: bytes) -> None:
    check(spec, content)


@given(pieces=_splices)
def test_a_spec_with_typing_errors_is_survived(spec: Path, pieces: list[tuple[int, int, str]]) -> None:
    check(spec, spliced(EXAMPLE, pieces).encode())


@given(document=_documents)
def test_any_document_is_survived_and_what_is_accepted_satisfies_the_schema(
    spec: Path, document: dict[str, Any]
) -> None:
    result, _ = check(spec, tomli_w.dumps(document).encode())
    if not result.diagnostics:
        plain = json.loads(json.dumps(document, default=lambda value: value.isoformat()))
        Draft202012Validator(schema()).validate(plain)


@given(document=_documents, table=st.sampled_from(["ca", "server", "user", "defaults"]), value=_values)
def test_no_literal_secret_is_shown(spec: Path, document: dict[str, Any], table: str, value: Any) -> None:
    marked = [MARK, {"x": MARK}, value] if isinstance(value, list) else {"value": MARK, "x": [MARK]}
    for secret in (MARK, marked):
        tables = document.get(table)
        document[table] = (tables if isinstance(tables, dict) else {}) | {"user": {"passphrase": secret, "none": 1}}
        _, text = check(spec, tomli_w.dumps(document).encode())
        assert MARK not in text


def leaves(value: Any, path: TomlPath = ()) -> list[tuple[TomlPath, Any]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for index, item in enumerate(value) for leaf in leaves(item, (*path, index))]
    return [(path, value)]


@given(document=_documents)
def test_the_place_of_a_value_is_where_its_text_stands(document: dict[str, Any]) -> None:
    text = tomli_w.dumps(document)
    file = SourceFile(Path("x"), "x", text)
    for path, value in leaves(tomllib.loads(text)):
        place = places_of([path], file)[path]
        assert place.line == place.end_line
        line = text.split("\n")[place.line - 1]
        assert repr(tomllib.loads(f"x = {line[place.column - 1 : place.end_column - 1]}")["x"]) == repr(value)


@given(line=st.text(max_size=60), secret=st.booleans())
def test_blotting_out_keeps_columns(line: str, secret: bool) -> None:
    assert len(blotted(line, secret=secret)) == len(line)


def test_the_order_of_tables_changes_nothing(spec: Path) -> None:
    head, *tables = EXAMPLE.split("\n[")
    spec.write_text(EXAMPLE)
    forwards = load(spec).loaded
    spec.write_text("\n[".join([head, *reversed(tables)]))
    backwards = load(spec).loaded
    assert forwards is not None
    assert backwards is not None
    assert forwards.spec == backwards.spec
    assert forwards.own == backwards.own
