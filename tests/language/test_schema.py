"""The JSON Schema of the spec, judged by a validator that is not ours."""

from __future__ import annotations

import json
import tomllib
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from pgtls.language.load import load
from pgtls.language.models import KINDS, WITH_DEFAULTS
from pgtls.language.schema import DIALECT, schema
from support.diagnosing import CASES
from support.pgtls import ROOT, SCENARIOS, pgtls

if TYPE_CHECKING:
    from pathlib import Path

VALIDATOR = Draft202012Validator(schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)

SOUND = """\
version = 1
include = ["users/*.toml"]

[defaults.policy]
from = ["10.0.0.0/8"]

[ca.root]
passphrase = { env = "ROOT" }
revoked    = ["0a:1b"]

[server.primary]
hosts    = ["db.example.com"]
settings = { work_mem = "1MB", max_connections = 7, x = true, random_page_cost = 1.1 }

[user."a.b"]
subject = { country = "GR", state = "Attica", organizational_unit = ["Databases", "Team A"] }
until   = 2027-06-30

[policy.app]
users        = ["a.b", { name = "all" }]
auth         = "ldap"
auth_options = { ldapserver = "x", ldapport = 636, ldaptls = true, ldapbindpasswd = { file = "x" } }
map          = [{ identity = "/^(.*)$", role = "\\\\1" }]
waiver       = { reason = "x", codes = ["PGT300"], until = 2027-06-30T12:00:00Z }

[lint]
waiver = "x"
"""


def as_json(text: str) -> Any:
    """Read TOML as an editor's validator does: dates are strings."""

    def plain(value: object) -> str:
        assert isinstance(value, (datetime, date, time))
        return value.isoformat()

    return json.loads(json.dumps(tomllib.loads(text), default=plain))


def complaints(text: str) -> list[tuple[str | int, ...]]:
    return [tuple(error.absolute_path) for error in VALIDATOR.iter_errors(as_json(text))]


def test_it_is_a_schema_of_the_dialect_that_it_names() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == DIALECT


def test_the_command_prints_the_copy_that_is_committed() -> None:
    assert pgtls("schema").stdout == (ROOT / "docs" / "pgtls.schema.json").read_text(encoding="utf-8")


SPECS = [
    ROOT / "pgtls.toml.example",
    ROOT / "templates/start/pgtls.toml",
    *sorted(SCENARIOS.glob("**/*.toml")),
    *sorted((ROOT / "examples").glob("**/pgtls.toml")),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: str(path.relative_to(ROOT)))
def test_our_specs_satisfy_it(spec: Path) -> None:
    assert complaints(spec.read_text()) == []


OF_SHAPE = ("PGT005", "PGT010", "PGT011", "PGT012", "PGT013", "PGT015", "PGT016", "PGT017")
"""The codes of what a schema can say."""
CANNOT = {
    "PGT012-quoted-date": "to JSON, every date is in quotes",
    "PGT005-included-empty": "the fault is in another file",
}
READABLE = [
    directory
    for directory in sorted(CASES.iterdir())
    if not directory.name.startswith(("PGT001", "PGT002", "PGT003", "PGT004")) and directory.name not in CANNOT
]


@pytest.mark.parametrize("case", READABLE, ids=lambda directory: directory.name)
def test_it_finds_what_is_wrong_with_the_shape_and_nothing_else(case: Path) -> None:
    spec = next(path for path in (case / "pgtls.toml", case / "db.toml") if path.exists())
    assert bool(complaints(spec.read_text(encoding="utf-8"))) is case.name.startswith(OF_SHAPE)


def test_a_spec_with_every_kind_of_value_satisfies_it() -> None:
    assert complaints(SOUND) == []


def test_a_required_key_may_stand_in_the_defaults() -> None:
    text = SOUND.replace("from = ", "databases = ")
    assert complaints(text) == [("policy", "app")]
    assert complaints(text.replace("auth     ", 'from = ["local"]\nauth     ')) == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        pytest.param("version = 1", "version = 2", ("version",), id="another version"),
        pytest.param("version = 1\n", "", (), id="no version"),
        pytest.param('["users/*.toml"]', '"users/*.toml"', ("include",), id="an include that is no array"),
        pytest.param("[lint]", "[lnit]", (), id="an unknown table"),
        pytest.param('from = ["10', 'form = 1\nfrom = ["10', ("defaults", "policy"), id="an unknown key in a default"),
        pytest.param(
            "[defaults.policy]\n",
            "[defaults.network]\n[defaults.policy]\n",
            ("defaults",),
            id="a kind without defaults",
        ),
        pytest.param('passphrase = { env = "ROOT" }', 'passphrase = "x"', ("ca", "root", "passphrase"), id="a secret"),
        pytest.param(
            'env = "ROOT"', 'env = "ROOT", file = "x"', ("ca", "root", "passphrase"), id="a secret of two sources"
        ),
        pytest.param('{ env = "ROOT" }', "{}", ("ca", "root", "passphrase"), id="a secret without a source"),
        pytest.param('"0a:1b"', '"xyz"', ("ca", "root", "revoked", 0), id="a serial number that is none"),
        pytest.param('["db.example.com"]', "[]", ("server", "primary", "hosts"), id="no hosts"),
        pytest.param('hosts    = ["db.example.com"]', "", ("server", "primary"), id="hosts missing"),
        pytest.param("x = true", "x = []", ("server", "primary", "settings", "x"), id="a setting that is an array"),
        pytest.param('[user."a.b"]', "[user.AB]", ("user",), id="a name in capitals"),
        pytest.param('[user."a.b"]', '[user."con.x"]', ("user",), id="a name that is a device's"),
        pytest.param('[user."a.b"]', "[user.a.b]", ("user", "a"), id="a dotted name without quotes"),
        pytest.param('"GR"', '"gr"', ("user", "a.b", "subject", "country"), id="a country in small letters"),
        pytest.param('"Attica"', "7", ("user", "a.b", "subject", "state"), id="a state that is a number"),
        pytest.param(
            '"Databases"', '""', ("user", "a.b", "subject", "organizational_unit"), id="an empty unit of several"
        ),
        pytest.param("2027-06-30\n", '"30.6.2027"\n', ("user", "a.b", "until"), id="a date of another form"),
        pytest.param("00Z", "00", ("policy", "app", "waiver"), id="a date-time without an offset"),
        pytest.param('role = "\\\\1"', 'rule = "\\\\1"', ("policy", "app", "map", 0), id="a misspelt key in an array"),
        pytest.param('{ name = "all" }', "1", ("policy", "app", "users", 1), id="a user that is a number"),
        pytest.param("636", "1.5", ("policy", "app", "auth_options", "ldapport"), id="an option that is a float"),
        pytest.param("auth  ", 'from_ = ["all"]\nauth  ', ("policy", "app"), id="the name of the model's field"),
        pytest.param('waiver = "x"', "waiver = { reason = 1 }", ("lint", "waiver"), id="a waiver without a reason"),
    ],
)
def test_a_fault_is_found_where_it_is(old: str, new: str, path: tuple[str | int, ...], tmp_path: Path) -> None:
    text = SOUND.replace(old, new, 1)
    assert text != SOUND
    assert set(complaints(text)) == {path}
    spec = tmp_path / "pgtls.toml"
    spec.write_text(text.replace('include = ["users/*.toml"]\n', ""))
    assert load(spec).diagnostics or "include" in path, "the loader agrees"


def fields(generated: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every field of every table, as ``Table.field``."""
    return {
        f"{table}.{name}": field
        for table, definition in generated["$defs"].items()
        for name, field in definition["properties"].items()
    }


def test_every_field_shows_what_may_be_written_and_all_of_that_is_valid() -> None:
    generated = schema()
    for name, field in fields(generated).items():
        shown = [*field.get("examples", ()), *([field["default"]] if "default" in field else [])]
        assert shown or field.keys() & {"enum", "$ref"} or "enum" in field.get("items", {}), name
        validator = VALIDATOR.evolve(schema={**field, "$defs": generated["$defs"]})
        for value in shown:
            assert list(validator.iter_errors(value)) == [], name


def test_every_field_is_described_and_no_default_is_null() -> None:
    generated = schema()
    for kind in WITH_DEFAULTS:
        optional = generated["properties"]["defaults"]["properties"][kind]
        assert "required" not in optional
        assert optional["properties"].keys() == generated["$defs"][KINDS[kind].__name__]["properties"].keys()
    for field in fields(generated).values():
        assert field["description"]
        assert field.get("default", 0) is not None
    assert generated["$defs"]["UserTable"]["properties"]["validity"]["default"] == "90d"
    assert generated["$defs"]["CaTable"]["properties"]["validity"]["default"] == "10y"
    assert '"null"' not in json.dumps(generated)
