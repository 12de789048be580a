"""The JSON Schema of the spec, judged by a validator that is not ours."""

from __future__ import annotations

import json
import tomllib
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pgtls.spec.load import load
from pgtls.spec.models import KINDS, WITH_DEFAULTS
from pgtls.spec.schema import DIALECT, schema

ROOT = Path(__file__).parents[2]
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
subject = { country = "GR" }
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


def test_the_example_satisfies_it() -> None:
    assert complaints((ROOT / "pgtls.toml.example").read_text()) == []


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


def test_every_field_is_described_and_no_default_is_null() -> None:
    generated = schema()
    for kind in WITH_DEFAULTS:
        optional = generated["properties"]["defaults"]["properties"][kind]
        assert "required" not in optional
        assert optional["properties"].keys() == generated["$defs"][KINDS[kind].__name__]["properties"].keys()
    for table in generated["$defs"].values():
        for name, field in table["properties"].items():
            assert field["description"], name
            assert field.get("default", 0) is not None, name
    assert generated["$defs"]["UserTable"]["properties"]["validity"]["default"] == "90d"
    assert generated["$defs"]["CaTable"]["properties"]["validity"]["default"] == "10y"
    assert '"null"' not in json.dumps(generated)
