"""The programs of a bundle: names stay names in every language, and the README shows what connections.json has."""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from pgtls.postgres.drivers import DRIVERS
from support.pgtls import compiled

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """
version = 1
[ca.root]
[server.db]
ca = "root"
hosts = ["db.example.com"]
no_local = true
[user.app]
roles = [{{ name = {name} }}]
drivers = {drivers}
[policy.app]
users = ["app"]
databases = [{{ name = {name} }}]
from = ["192.0.2.0/24"]
sslmode = "{sslmode}"
auth = "{auth}"
"""
NAMES = (
    "o'brien",
    'dq"uote',
    "back\\slash",
    "${x}",
    "#{x}",
    "{{ x }}",
    "naïve 漢字",
    "%41",
    "-- x",
    "*/",
    "\\u0041",
    "```",
)


def bundle(directory: Path, name: str = "app", sslmode: str = "verify-full", auth: str = "scram-sha-256") -> Path:
    spec = SPEC.format(name=json.dumps(name), drivers=json.dumps(list(DRIVERS)), sslmode=sslmode, auth=auth)
    return compiled(spec, directory) / "clients" / "app"


def programs(directory: Path) -> dict[str, str]:
    (entry,) = json.loads((directory / "connections.json").read_text())["connections"]
    found: dict[str, str] = entry["snippets"]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stays_a_name_in_every_language(tmp_path: Path, name: str) -> None:
    found = programs(bundle(tmp_path, name))
    for driver in ("asyncpg", "pg8000"):
        words: dict[str | None, Any] = {
            one.arg: one.value.value
            for one in ast.walk(ast.parse(found[driver]))
            if isinstance(one, ast.keyword) and isinstance(one.value, ast.Constant)
        }
        assert (words["user"], words["database"]) == (name, name)
    for driver in ("node-pg", "postgres.js"):
        (user, database) = re.findall(r'user(?:name)?: (".*"), database: (".*"),$', found[driver], re.MULTILINE)[0]
        assert (json.loads(user), json.loads(database)) == (name, name)
    for driver in ("psycopg", "sqlalchemy"):
        ast.parse(found[driver])


def test_the_readme_shows_the_programs_of_connections_json(tmp_path: Path) -> None:
    directory = bundle(tmp_path)
    readme = (directory / "README.md").read_text()
    for driver, program in programs(directory).items():
        row = DRIVERS[driver]  # type: ignore[index]
        assert f"\n## {row.title}\n\n```{row.language.lower()}\n{program}```\n" in readme


def test_the_readme_names_what_a_driver_cannot_be_told(tmp_path: Path) -> None:
    readme = (bundle(tmp_path) / "README.md").read_text()
    said = {
        title: "It gives the password" in text
        for title, _, text in (part.partition("\n") for part in readme.split("\n## "))
    }
    assert {row.title: said[row.title] for row in DRIVERS.values()} == {
        row.title: not row.insisting(14) for row in DRIVERS.values()
    }


@pytest.mark.parametrize(
    ("libpq", "fields", "is_said"),
    [(14, "", True), (16, "", False), (14, 'channel_binding = "require"', False)],
    ids=["an old libpq", "a libpq that insists on SCRAM", "an old libpq that binds"],
)
def test_the_readme_says_what_an_old_libpq_cannot_be_told(
    tmp_path: Path, libpq: int, fields: str, is_said: bool
) -> None:
    spec = SPEC.format(name='"app"', drivers=f"[]\nlibpq = {libpq}", sslmode="verify-full", auth="scram-sha-256")
    readme = (compiled(spec + fields, tmp_path) / "clients" / "app" / "README.md").read_text()
    assert ("add `require_auth=scram-sha-256`" in readme) == is_said


def test_every_program_of_an_unnamed_place_looks_in_the_home_of_its_user(tmp_path: Path) -> None:
    for driver, program in programs(bundle(tmp_path)).items():
        if driver in ("asyncpg", "pg8000", "node-pg", "postgres.js", "pgx", "lib-pq") or driver.startswith("tokio"):
            assert ".postgresql" in program, driver


def test_a_driver_without_hostaddr_dials_loopback_where_the_policy_admits_that_alone(tmp_path: Path) -> None:
    spec = SPEC.replace('"192.0.2.0/24"', '"127.0.0.1"')
    text = spec.format(name='"app"', drivers=json.dumps(list(DRIVERS)), sslmode="require", auth="scram-sha-256")
    found = programs(compiled(text, tmp_path) / "clients" / "app")
    dialled = {driver: "127.0.0.1" in program for driver, program in found.items()}
    assert dialled == dict.fromkeys(DRIVERS, True)


def test_a_bundle_without_drivers_has_no_program(tmp_path: Path) -> None:
    spec = SPEC.format(name='"app"', drivers="[]", sslmode="verify-full", auth="scram-sha-256")
    directory = compiled(spec, tmp_path) / "clients" / "app"
    assert "snippets" not in (directory / "connections.json").read_text()
    assert "```" not in (directory / "README.md").read_text()
