"""The proof finds each of these faults, injected into the compiler or into the meaning.

A mutant replaces a passage of a module's source; the passage must occur exactly once, so that no mutant equals the
original. In the spec every rule matters, and the proof accepts the original.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from access.fleets import BASE, fleet_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

SPEC = (
    BASE
    + r"""
[user.postgres]
[user.app]
ca = "clients"
[user.alice]
ca = "clients"
roles = ["alice", "reporting"]
[user.bob]
ca = "clients"
roles = ["bob", "reporting"]
[user.carol]
ca = "clients"
common_name = "carol.example.org"
roles = ["carol", "all", "+x", 'od"d', "/re"]
[user.dora]
ca = "clients"
identity = "dn"
subject = { organization = 'A, "B"' }
member_of = ["staff"]
[user.erin]
ca = "clients"
member_of = ["crew"]
[user.deploy]
os_users = ["ci"]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.deploy]
users = ["deploy"]
from = ["local"]
auth = "peer"
[policy.app]
users = ["app"]
databases = ["shop", { name = "replication" }]
from = ["10.1.0.0/16", "app.example.com"]
auth = "cert"
priority = 1
[policy.cleartext]
users = ["app", "bob"]
databases = ["all", "replication"]
from = ["10.0.0.0/8"]
sslmode = "prefer"
auth = "scram-sha-256"
[policy.one]
users = ["alice"]
databases = ["reports"]
from = ["172.16.0.0/12"]
auth = "cert"
[policy.two]
users = ["bob"]
databases = ["reports", "books"]
from = ["172.16.9.0/24"]
auth = "cert"
priority = 2
[policy.closed]
users = ["alice", "bob"]
databases = ["reports"]
from = ["172.16.9.7/32"]
auth = "reject"
priority = 1
[policy.names]
users = ["carol"]
databases = [{ name = "all" }, "sameuser"]
from = ["samenet"]
auth = "cert"
[policy.outside]
users = ["carol"]
databases = ["partners"]
from = ["all"]
auth = "cert"
map = [{ identity = "/^(.*)\\.example\\.org$", role = "\\1" }]
[policy.password]
users = ["dora", "app"]
databases = ["both"]
from = ["192.168.0.0/16"]
auth = "ldap"
auth_options = { ldapserver = "ldap", ldapprefix = "cn=", ldaptls = true }
client_cert = "verify-ca"
[policy.subject]
users = ["+staff"]
databases = ["books"]
from = ["192.168.0.0/16"]
auth = "cert"
[policy.crew]
users = ["+crew"]
databases = ["crew"]
from = ["192.168.0.0/16"]
auth = "cert"
[policy.a-mail]
users = ["bob"]
databases = ["mail"]
from = ["192.168.0.0/16"]
sslmode = "require"
auth = "scram-sha-256"
[policy.b-mail]
users = ["bob"]
databases = ["mail"]
from = ["192.168.5.0/24"]
auth = "md5"
[policy.night]
users = ["+night"]
databases = ["duty", "pager"]
from = ["192.0.2.0/24"]
auth = "cert"
priority = 2
[policy.pager]
users = ["alice"]
databases = ["pager"]
from = ["192.0.2.0/24"]
auth = "scram-sha-256"
priority = 1
[policy.day]
users = ["alice", "bob"]
databases = ["duty", "pager"]
from = ["192.0.2.0/24"]
auth = "cert"
[policy.everybody]
users = ["all"]
databases = ["public"]
from = ["192.168.0.0/16"]
auth = "cert"
"""
)

STAGES = (
    "pgtls.hba.render",
    "pgtls.fleet.membership",
    "pgtls.access.sets",
    "pgtls.access.undecided",
    "pgtls.access.cells",
    "pgtls.access.order",
    "pgtls.access.grants",
    "pgtls.access.split",
    "pgtls.access.map_names",
    "pgtls.access.compile",
    "pgtls.access.classes",
    "pgtls.access.meaning",
    "pgtls.access.text",
    "pgtls.access.proof",
)
"""The modules to rebuild for a mutant, each after those that it imports."""


class Mutant(NamedTuple):
    """A fault: in this module, this passage instead of that."""

    title: str
    module: str
    passage: str
    instead: str


MUTANTS = [
    Mutant(
        "cleartext falls through",
        "pgtls.access.compile",
        'if ruled.line.type == "hostssl" and self._falls_through(',
        'if ruled.line.type == "nothing" and self._falls_through(',
    ),
    Mutant("cleartext is refused below", "pgtls.access.compile", "return reversed(kept)", "return iter(kept)"),
    Mutant(
        "the refusal covers TLS as well, above the line itself",
        "pgtls.access.compile",
        'type="hostnossl",',
        'type="hostssl",',
    ),
    Mutant(
        "the refusal forgets GSS encryption",
        "pgtls.access.compile",
        'type="hostnossl",',
        'type="hostnogssenc",',
    ),
    Mutant("the refusal admits", "pgtls.access.compile", 'method="reject",', 'method="trust",'),
    Mutant("the wider policy first", "pgtls.access.order", "1 + max(", "-1 - max("),
    Mutant(
        "the lower priority first",
        "pgtls.access.order",
        "-item.policy.table.priority",
        "item.policy.table.priority",
    ),
    Mutant(
        "TLS is not required",
        "pgtls.access.order",
        '"hostssl" if policy.requires_tls else "host"',
        '"hostssl" if policy.asks_certificate != "none" else "host"',
    ),
    Mutant("TLS is required of all", "pgtls.access.order", '"hostssl" if policy.requires_tls else "host"', '"hostssl"'),
    Mutant(
        "another certificate is enough", "pgtls.access.order", "options, policy.asks_certificate)", 'options, "none")'
    ),
    Mutant(
        "no certificate beside the password",
        "pgtls.access.compile",
        'yield "clientcert", item.demand.client_cert',
        "yield from ()",
    ),
    Mutant(
        "the common name instead of the subject", "pgtls.access.compile", 'yield "clientname", "DN"', "yield from ()"
    ),
    Mutant("no map on the line", "pgtls.access.compile", 'yield "map", name', "yield from ()"),
    Mutant(
        "an option is lost",
        "pgtls.access.compile",
        "for option, value in item.demand.options:",
        "for option, value in item.demand.options[:-1]:",
    ),
    Mutant(
        "another value of an option",
        "pgtls.access.order",
        "str(int(value)) if isinstance(value, bool)",
        '"0" if isinstance(value, bool)',
    ),
    Mutant("no map where one is needed", "pgtls.access.compile", "if any(names[who] != role", "if any(False"),
    Mutant(
        "everybody of a name, where a map would say who",
        "pgtls.access.compile",
        "candidates = self.certified.all_common_names if wide else",
        "candidates = () if wide else",
    ),
    Mutant("accounts are not looked at", "pgtls.access.compile", "return alike and (", "return True or ("),
    Mutant(
        "all policies have one map",
        "pgtls.access.map_names",
        'found[piece] = f"{name}:{number + 1}" if number else name',
        'found[piece] = "pgtls"',
    ),
    Mutant(
        "pieces of the same policies have one map",
        "pgtls.access.map_names",
        "return not any(_widens(",
        "return True or any(_widens(",
    ),
    Mutant(
        "a policy's later addresses are lost",
        "pgtls.access.compile",
        "for address in addresses:",
        "for address in addresses[:1]:",
    ),
    Mutant(
        "a narrower address than asked for",
        "pgtls.access.compile",
        "(_outermost(policy.addresses) if own else",
        "(policy.addresses[-1:] if own else",
    ),
    Mutant(
        "a line of a map is lost",
        "pgtls.access.grants",
        "for role in sorted(grants.pairs):",
        "for role in sorted(grants.pairs)[1:]:",
    ),
    Mutant(
        "an entry of a map is lost",
        "pgtls.access.grants",
        "for entry in sorted(grants.entries, key=lambda entry: (entry.identity, entry.role)):",
        "for entry in ():",
    ),
    Mutant(
        "an expression is taken for a name",
        "pgtls.access.grants",
        'if proven.startswith("/") else',
        'if proven.startswith("//") else',
    ),
    Mutant(
        "the account for the role",
        "pgtls.access.grants",
        "accounts = ((user, user.os_users)",
        "accounts = ((user, user.roles)",
    ),
    Mutant(
        "certificates of any CA",
        "pgtls.access.grants",
        "for role in user.roles:",
        "for role in (*user.roles, *user.roles[:0], 'app'):",
    ),
    Mutant(
        "the subject in the order of its encoding", "pgtls.access.grants", "return subject_text(", "return _turned("
    ),
    Mutant("grants do not add up", "pgtls.access.split", "cuts = _cuts(order, index, grants)", "cuts: list[int] = []"),
    Mutant(
        "grants add up across a refusal",
        "pgtls.access.split",
        "if not any(_overrides(other, item, known) for other in items)",
        "",
    ),
    Mutant(
        "the wide piece first",
        "pgtls.access.split",
        "for piece in reversed(found):",
        "for piece in found:",
    ),
    Mutant(
        "a cell is forgotten",
        "pgtls.access.split",
        "if not cell & above}, reverse=True)",
        "if not cell & above}, reverse=True)[1:]",
    ),
    Mutant("a quote is lost", "pgtls.hba.render", "return '\"' + text.replace('\"', '\"\"') + '\"'", "return text"),
    Mutant("quotes are not doubled", "pgtls.hba.render", "text.replace('\"', '\"\"')", "text"),
    Mutant(
        "a name that begins with a slash is taken for an expression",
        "pgtls.hba.render",
        'if version >= 16 and name.text.startswith("/"):',
        "if False:",
    ),
    Mutant("an expression that is not anchored", "pgtls.hba.render", 'return "^" + _SPECIAL', 'return "" + _SPECIAL'),
    Mutant("every address", "pgtls.hba.render", "    return str(address)", '    return "all"'),
    Mutant(
        "every role", "pgtls.hba.render", '_joined("roles", (_role(role, version) for role in line.roles))', '"all"'
    ),
    Mutant(
        "every database",
        "pgtls.hba.render",
        '_joined("databases", (_database(database, version) for database in line.databases))',
        '"all"',
    ),
    Mutant(
        "no options",
        "pgtls.hba.render",
        '" ".join(chain([line.method], _options(line, version, bare=bare)))',
        "line.method",
    ),
    Mutant("the meaning forgets priorities", "pgtls.access.meaning", "if mine != theirs:", "if False:"),
    Mutant(
        "the meaning forgets specificity",
        "pgtls.access.meaning",
        "return bool(self._around[one] >> other & 1)",
        "return False and bool(self._around[one])",
    ),
    Mutant(
        "the meaning admits in cleartext",
        "pgtls.access.meaning",
        'or (policy.requires_tls and transport != "tls")',
        "",
    ),
    Mutant(
        "the meaning forgets that grants add up",
        "pgtls.access.meaning",
        "for index in indices(deciding)]",
        "for index in list(indices(deciding))[:1]]",
    ),
    Mutant(
        "the meaning admits whom a policy rejects", "pgtls.access.meaning", 'if policy.table.auth == "reject" or', "if"
    ),
    Mutant("the meaning forgets the map", "pgtls.access.meaning", "for entry in policy.table.map:", "for entry in ():"),
]


@pytest.fixture
def remade() -> Iterator[None]:
    """Put the original modules back."""
    originals = {name: importlib.import_module(name) for name in STAGES}
    yield
    for name, module in originals.items():
        _install(name, module)


def _install(name: str, module: ModuleType) -> None:
    sys.modules[name] = module
    package, _, last = name.rpartition(".")
    setattr(sys.modules[package], last, module)


def _remake(mutant: Mutant | None) -> None:
    """Rebuild the stages, one of them with a fault."""
    for name in STAGES:
        found = find_spec(name)
        assert found is not None
        assert found.origin is not None
        source = Path(found.origin).read_text()
        if mutant and mutant.module == name:
            assert source.count(mutant.passage) == 1, "the passage is no longer there, or not unique"
            source = source.replace(mutant.passage, mutant.instead) + EXTRA
        module = module_from_spec(found)
        _install(name, module)
        exec(compile(source, found.origin, "exec"), module.__dict__)  # noqa: S102  (that is what a mutant is)


EXTRA = """
def _turned(attributes):
    return subject_text(list(attributes)[::-1])
"""


def _found_by_the_proof() -> tuple[str, ...]:
    fleet = fleet_of(SPEC)
    compiling, proving = sys.modules["pgtls.access.compile"], sys.modules["pgtls.access.proof"]
    rules, diagnostics = compiling.compile_rules(fleet, fleet.servers["primary"])
    assert rules is not None, diagnostics
    return tuple(map(str, proving.prove(fleet, rules)))


@pytest.mark.usefixtures("remade")
def test_the_original_proves() -> None:
    _remake(None)
    assert _found_by_the_proof() == ()


@pytest.mark.usefixtures("remade")
@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.title) for mutant in MUTANTS])
def test_the_proof_finds_that(mutant: Mutant) -> None:
    _remake(mutant)
    assert _found_by_the_proof()
