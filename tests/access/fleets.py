"""Fleets made from tables, and random ones."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from pgtls.access.compile import compile_rules
from pgtls.access.held import held
from pgtls.fleet.resolve import resolve
from pgtls.language.models import KINDS, Spec
from pgtls.language.source import Loaded, Source, SourceFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgtls.access.held import Known
    from pgtls.access.model import Rules
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet

NOW = datetime(2026, 6, 1, tzinfo=UTC)

BASE = """
[ca.root]
[ca.clients]
issuer = "root"
[server.primary]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
"""
"""A CA for servers, one below it for clients, and one server."""


def fleet_of(tables: dict[str, Any] | str, now: datetime = NOW) -> Fleet:
    """Resolve tables whose references all lead somewhere."""
    document = tomllib.loads(tables) if isinstance(tables, str) else tables
    own = {(kind, name): frozenset(table) for kind in KINDS for name, table in document.get(kind, {}).items()}
    source = Source((SourceFile(Path("pgtls.toml"), "pgtls.toml", ""),))
    fleet, diagnostics = resolve(Loaded(Spec.model_validate({"version": 1, **document}), source, own), now)
    assert fleet is not None, diagnostics
    return fleet


def compiled(
    tables: dict[str, Any] | str, server: str = "primary", known: Sequence[Known] = ()
) -> tuple[Rules | None, tuple[Diagnostic, ...]]:
    """Compile the rules of a server."""
    fleet = fleet_of(tables)
    return compile_rules(fleet, fleet.servers[server], held(fleet, known))


def written(tables: str, server: str = "primary") -> tuple[list[str], list[str]]:
    """Return the lines of both files with single blanks, without titles and header; comments stay."""
    rules, diagnostics = compiled(tables, server)
    assert rules is not None, diagnostics
    return _lines(rules.hba_text), _lines(rules.ident_text)


def _lines(text: str) -> list[str]:
    body = text.split("\n")[2:]
    return [" ".join(line.split()) for line in body if line]


# --- random ones ------------------------------------------------------------------------------------------------------

NETWORKS = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.1.0/24",
    "10.2.0.0/16",
    "192.168.7.9/32",
    "0.0.0.0/0",
    "::/0",
    "fd00::/8",
]
NAMES = ["samehost", "samenet", "db.example.com", ".example.com", ".sub.example.com"]
DATABASES = ["shop", "reports", "ann", "all", "sameuser", "samerole", "replication", "/^re"]
ROLES = ["ann", "bob", "reporting", "shop", "all", "+x", 'od"d', "/x"]
GROUPS = ["staff", "dba", "shop", "ann"]
ACCOUNTS = ["ann", "bob", "root", "deploy"]


def _some(values: list[str], most: int = 3, least: int = 1) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=most, unique=True)


@st.composite
def users(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a few users, with and without certificates, whose common names differ."""
    found: dict[str, Any] = {}
    for name in draw(_some(["ann", "bob", "cy", "dee"], 4)):
        table: dict[str, Any] = {}
        if draw(st.booleans()):
            table["roles"] = draw(_some([name, *ROLES], 3))
        if draw(st.integers(0, 4)):
            table["ca"] = "clients"
        if not draw(st.integers(0, 3)):
            table["common_name"] = f"{name}.example.org"
        if not draw(st.integers(0, 5)):
            table["identity"] = "dn"
            table["subject"] = {"organization": 'A, "B"', "country": "GR"}
        if draw(st.booleans()):
            table["member_of"] = draw(_some(GROUPS, 2))
        if not draw(st.integers(0, 3)):
            table["os_users"] = draw(_some(ACCOUNTS, 2))
        found[name] = table
    return found


@st.composite
def policies(draw: st.DrawFn, names: list[str]) -> dict[str, Any]:
    """Draw a policy that could be written."""
    subjects = [*names, *names, "all", "+staff", "+dba", "+ann", "@some"]
    table: dict[str, Any] = {
        "users": draw(_some(subjects)),
        "databases": draw(st.one_of(st.just(["all"]), _some(DATABASES))),
        "priority": draw(st.sampled_from([0, 0, 0, 1, 2, -1])),
    }
    if draw(st.integers(0, 4)) == 0:
        return {
            **table,
            "from": ["local"],
            "auth": draw(st.sampled_from(["peer", "peer", "trust", "scram-sha-256", "reject"])),
        }
    addresses = st.one_of(_some(NETWORKS), _some([*NETWORKS, *NAMES, "all"]), st.just(["all"]))
    table |= {
        "from": draw(addresses),
        "auth": draw(st.sampled_from(["cert"] * 5 + ["scram-sha-256", "md5", "trust", "reject", "gss"])),
    }
    if table["auth"] == "reject":
        return table
    if table["auth"] != "cert":
        table["sslmode"] = draw(st.sampled_from(["prefer", "require", "verify-full"]))
        if table["sslmode"] != "prefer":
            table["client_cert"] = draw(st.sampled_from(["none", "none", "verify-ca", "verify-full"]))
    if table["auth"] in ("cert", "gss") and not draw(st.integers(0, 4)):
        entries = [
            {"identity": "ext", "role": "reporting"},
            {"identity": "/^(.*)\\.example\\.net$", "role": "\\1"},
            {"identity": "cy.example.org", "role": "ann"},
        ]
        if table["auth"] == "cert" and draw(st.booleans()):
            entries = [entry | {"of": "dn"} for entry in (*entries, {"identity": "CN=dee", "role": "bob"})]
        table["map"] = draw(st.lists(st.sampled_from(entries), min_size=1, max_size=2, unique_by=str))
    return table


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the tables of a spec with one server."""
    people = draw(users())
    count = draw(st.integers(1, 6))
    return {
        "ca": {"root": {}, "clients": {"issuer": "root"}},
        "server": {
            "primary": {
                "ca": "root",
                "client_ca": ["clients"],
                "hosts": ["db"],
                "postgres": draw(st.sampled_from([16, 17, 18])),
            }
        },
        "user": people,
        "group": {"some": {"users": draw(_some(sorted(people)))}},
        "policy": {f"p{number}": draw(policies(sorted(people))) for number in range(count)},
    }


def shuffled(tables: dict[str, Any], draw: Callable[[st.SearchStrategy[Any]], Any]) -> dict[str, Any]:
    """Put the tables of each kind into another order."""
    return {
        kind: {name: named[name] for name in draw(st.permutations(list(named)))}
        for kind, named in ((kind, tables[kind]) for kind in draw(st.permutations(list(tables))))
    }
