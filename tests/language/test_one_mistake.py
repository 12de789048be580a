"""One mistake gives one diagnostic.

The tests give every field of a rich spec a value of a wrong type, and break every reference.
"""

from __future__ import annotations

import tomllib
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
from pydantic import ValidationError

from pgtls.diagnostics.text import render
from pgtls.language.models import KINDS, WITH_DEFAULTS, LintTable
from pgtls.language.shape import fields_of
from support.diagnosing import diagnose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pgtls.language.values import Table

RICH = """
version = 1

[defaults.ca]
validity = "8y"

[defaults.server]
client_ca = ["people"]
postgres = 17

[defaults.user]
validity = "30d"

[defaults.policy]
databases = ["shop"]

[ca.top]
common_name = "Example Top"
validity = "10y"
name_constraints = { permitted_dns = ["example.com"], permitted_ip = ["10.0.0.0/8"] }

[ca.machines]
issuer = "top"
subject = { country = "GR", organization = "Example" }

[ca.people]
common_name = "People"
crl_validity = "90d"
revoked = ["0a:0b"]

[ca.robots]

[server.db]
ca = "machines"
hosts = ["db.example.com", "10.0.0.5"]
databases = ["shop", "books"]
settings = { log_connections = true }
validity = "60d"

[server.replica]
ca = "machines"
hosts = ["replica.example.com"]
port = 5433
client_ca = ["people", "robots"]
trust = ["robots"]

[pooler.pool]
server = "db"
user = "bouncer"
from = ["10.3.0.9"]
ca = "machines"
client_ca = ["people"]
hosts = ["pool.example.com"]

[user.postgres]

[user.bouncer]
ca = "people"

[user.alice]
ca = "people"
roles = ["alice", "reporting"]
member_of = ["staff"]
subject = { organization = "Example" }

[user.bob]
ca = "people"
common_name = "Bob"
until = 2031-01-01

[user.robot]
ca = "robots"
directory = "/etc/robot"

[user.agent]

[group.staff]
users = ["alice", "bob"]

[network.office]
addresses = ["10.9.0.0/16", "192.168.7.0/24"]

[policy.admin]
servers = ["all"]
users = ["postgres"]
databases = ["all"]
from = ["local"]
auth = "peer"

[policy.staff]
servers = ["db"]
users = ["@staff"]
from = ["@office"]
auth = "cert"

[policy.robot]
servers = ["replica"]
users = ["robot"]
from = ["10.1.0.0/16"]
auth = "scram-sha-256"
client_cert = "verify-ca"

[policy.agent]
servers = ["db", "replica"]
users = ["agent"]
databases = ["books"]
from = ["127.0.0.1/32"]
sslmode = "prefer"
auth = "scram-sha-256"
waiver = { reason = "loopback only, read by a local agent", codes = ["PGT311"] }

[policy.pooled]
servers = ["pool"]
users = ["alice"]
from = ["10.4.0.0/16"]
auth = "cert"
waiver = { reason = "short-lived", codes = ["PGT380"] }

[policy.ldap]
servers = ["replica"]
users = ["+members"]
from = ["10.2.0.0/16"]
auth = "ldap"
auth_options = { ldapserver = "ldap.example.com", ldaptls = true, ldapprefix = "uid=", ldapsuffix = ",dc=example" }

[policy.no]
servers = ["all"]
users = ["all"]
databases = ["all"]
from = ["all"]
auth = "reject"
priority = -1

[policy.wide]
servers = ["replica"]
users = ["alice"]
databases = ["books"]
from = ["8.0.0.0/6"]
auth = "cert"

[policy.old]
servers = ["replica"]
users = ["agent"]
databases = ["old"]
from = ["10.2.0.0/16"]
auth = "md5"
channel_binding = "disable"

[lint]
minimum_sslmode = "require"
ignore = ["PGT304", "PGT320", "PGT312"]
"""
WRONG: tuple[Any, ...] = (True, 7, 1.5, "text", ["text"], [7], {"x": 1}, date(2030, 1, 1))
NOWHERE: tuple[Any, ...] = (
    "nosuch",
    ["nosuch"],
    ["@nosuch"],
    ["10.0.0.5/8"],
    ["a..b"],
    {"reason": "x", "codes": ["PGT999"]},
)
REFERENCES = {
    *(
        "ca.issuer",
        "server.ca",
        "server.client_ca",
        "server.trust",
        "server.hosts",
        "server.standby_of",
        "server.replication_user",
    ),
    *(
        "user.ca",
        "group.users",
        "network.addresses",
        "policy.servers",
        "policy.users",
        "policy.auth",
        "policy.waiver",
        "lint.ignore",
    ),
}
"""The fields whose value is looked up or read further once its type is right."""

TWO_MISTAKES = {("waiver", "x"), ("sign", "x"), ("key", "x")}
"""``waiver = { x = 1 }`` has a key that does not exist, and lacks the reason; ``sign`` and ``key`` lack fields, too."""

MODELS: dict[str, type[Table]] = {**KINDS, "lint": LintTable}
DOCUMENT = tomllib.loads(RICH)
TABLES: list[tuple[tuple[str, ...], type[Table]]] = [
    ((kind, name), model) for kind, model in KINDS.items() for name in DOCUMENT[kind]
]
TABLES += [(("defaults", kind), KINDS[kind]) for kind in WITH_DEFAULTS] + [(("lint",), LintTable)]


def changed(path: tuple[str, ...], key: str, value: Any) -> str:
    """Write the spec with one field changed or added."""
    document = tomllib.loads(RICH)
    table = document
    for piece in path:
        table = table[piece]
    table[key] = value
    return tomli_w.dumps(document)


def refused(model: type[Table], key: str, value: Any) -> bool:
    """Return whether the shape of a value is wrong for this field."""
    try:
        model.model_validate({key: value})
    except ValidationError as error:
        return any(detail["loc"][0] == key and detail["type"] != "missing" for detail in error.errors())
    return False


def wrong_values(model: type[Table]) -> Iterator[tuple[str, Any]]:
    for key in fields_of(model):
        for value in WRONG:
            if refused(model, key, value) and not (isinstance(value, dict) and (key, *value) in TWO_MISTAKES):
                yield key, value


def said(spec: Path, text: str) -> str:
    """Return what pgtls reports instead of exactly one diagnostic; nothing if it is one."""
    spec.write_text(text)
    found = diagnose(spec)
    return "" if len(found) == 1 else render(found) or "nothing"


def test_the_spec_itself_is_good(tmp_path: Path) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(RICH)
    assert render(diagnose(spec)) == ""


@pytest.mark.parametrize(("path", "model"), [pytest.param(path, model, id=".".join(path)) for path, model in TABLES])
def test_a_value_of_a_wrong_type_is_one_diagnostic(tmp_path: Path, path: tuple[str, ...], model: type[Table]) -> None:
    tried = list(wrong_values(model))
    assert {key for key, _ in tried} == set(fields_of(model))
    for key, value in tried:
        assert said(tmp_path / "pgtls.toml", changed(path, key, value)) == "", (key, value)


@pytest.mark.parametrize("reference", sorted(REFERENCES))
def test_a_value_that_leads_nowhere_is_one_diagnostic(tmp_path: Path, reference: str) -> None:
    kind, key = reference.split(".")
    values = [value for value in NOWHERE if not refused(MODELS[kind], key, value)]
    for path in (path for path, _ in TABLES if kind in (path[0], *path[1:]) and path[0] in (kind, "defaults")):
        found = [said(tmp_path / "pgtls.toml", changed(path, key, value)) for value in values]
        assert set(found) <= {"", "nothing"}, path
        assert "" in found or path[0] == "defaults", path  # which every table may say itself


def test_what_does_not_lean_on_a_mistake_is_still_found(tmp_path: Path) -> None:
    text = RICH.replace("port = 5433", 'port = "5433"').replace('users = ["robot"]', 'users = ["robot", "nobody"]')
    text = text.replace('client_ca = ["people", "robots"]', 'client_ca = ["people"]').replace(
        '"10.0.0.5"]', '"10.0.0.5", "x y"]'
    )
    spec = tmp_path / "pgtls.toml"
    spec.write_text(text)
    assert sorted(d.code for d in diagnose(spec)) == ["PGT012", "PGT101", "PGT107", "PGT217"]
