"""What a change of the spec changes about protection, and that nothing compiled differs in silence."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import pgtls
from pgtls.access.bundles import index
from pgtls.difference import State, difference
from pgtls.output import render

if TYPE_CHECKING:
    from pgtls.difference import Difference

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SPEC = """
version = 1
[ca.servers]
[ca.clients]
[ca.machines]
[server.main]
ca = "servers"
client_ca = ["clients"]
hosts = ["db.example.com"]
postgres = 17
min_tls = "1.2"
# server
[server.main.settings]
log_connections = true
# settings
[user.postgres]
[user.app]
ca = "clients"
# user
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
# policy
[policy.weak]
users = ["app"]
databases = ["logs"]
from = ["127.0.0.1"]
auth = "scram-sha-256"
sslmode = "prefer"
waiver = { reason = "loopback", codes = ["PGT310"] }
[lint]
ignore = ["PGT121"]
"""


@cache
def company(name: str, *hosts: str, ca: bool = True) -> bytes:
    names = [x509.SubjectAlternativeName(map(x509.DNSName, hosts))] if hosts else []
    return certificate(name, ec.generate_private_key(ec.SECP256R1()), *names, ca=ca)


def certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
    ca: bool = True,
    issuer: tuple[str, ec.EllipticCurvePrivateKey] | None = None,
) -> bytes:
    above, signer = issuer or (name, key)
    builder = x509.CertificateBuilder(
        _named(above), _named(name), key.public_key(), 1, NOW.replace(year=2025), NOW.replace(year=2035)
    )
    for extension in (x509.BasicConstraints(ca, None), *extensions):
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def spec(*edits: tuple[str, str], files: dict[str, bytes] | None = None) -> pgtls.Spec:
    text = SPEC
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return pgtls.loads(text, files or {}, now=NOW)


def compared(*edits: tuple[str, str]) -> Difference:
    return pgtls.diff(spec(), spec(*edits))


def found(difference: Difference) -> set[tuple[str, str, str]]:
    return {(change.kind, change.entity, change.what.partition(":")[0]) for change in difference.protection}


SERVER, SETTINGS, USER, POLICY = "# server\n", "# settings\n", "# user\n", "# policy\n"
CLIENT_CA = 'client_ca = ["clients"]'

EDITS: dict[str, tuple[tuple[str, str], tuple[str, str, str]]] = {
    "another CA of clients": (
        (CLIENT_CA, 'client_ca = ["clients", "machines"]'),
        ("weakened", "server.main", "accepts client certificates of"),
    ),
    "another CA that clients trust": (
        (SERVER, 'trust = ["machines"]\n'),
        ("weakened", "server.main", "is trusted through"),
    ),
    "suites without encryption": ((SERVER, 'ciphers = "HIGH:MEDIUM"\n'), ("weakened", "server.main", "ciphers")),
    "groups": ((SERVER, 'groups = "prime256v1"\n'), ("weakened", "server.main", "groups")),
    "a newer TLS": (('min_tls = "1.2"', 'min_tls = "1.3"'), ("strengthened", "server.main", "min_tls")),
    "no CRLs": ((SERVER, "crl = false\n"), ("weakened", "server.main", "crl")),
    "a command that opens a key": (
        (SERVER, 'passphrase_command = "curl evil"\npassphrase = { env = "X" }\n'),
        ("weakened", "server.main", "passphrase_command"),
    ),
    "a command that archives": (
        (SETTINGS, 'archive_command = "curl evil"\n'),
        ("weakened", "server.main", "settings.archive_command"),
    ),
    "a setting about Kerberos": (
        (SETTINGS, "krb_caseins_users = true\n"),
        ("weakened", "server.main", "settings.krb_caseins_users"),
    ),
    "a setting that protects nothing": (
        (SETTINGS, "max_connections = 200\n"),
        ("changed", "server.main", "settings.max_connections"),
    ),
    "another host": (("db.example.com", "evil.example"), ("weakened", "server.main", "hosts")),
    "another port": ((SERVER, "port = 5433\n"), ("changed", "server.main", "port")),
    "where files lie": ((SERVER, 'directory = "/etc/tls"\n'), ("weakened", "server.main", "directory")),
    "a bundle of another libpq": ((USER, "libpq = 17\n"), ("changed", "user.app", "libpq")),
    "a bundle with CRLs": ((USER, "crl = true\n"), ("strengthened", "user.app", "crl")),
    "another lifetime": ((USER, 'validity = "30d"\n'), ("strengthened", "user.app", "validity")),
    "an identity by the whole subject": ((USER, 'identity = "dn"\n'), ("weakened", "user.app", "identity")),
    "a comment that is compiled": ((POLICY, 'description = "x"\n'), ("changed", "policy.app", "description")),
    "a name constraint": (
        ("[ca.machines]\n", '[ca.machines]\nname_constraints = { permitted_dns = ["example.com"] }\n'),
        ("strengthened", "ca.machines", "name_constraints"),
    ),
    "no waiver where an accepted finding was": (
        ('waiver = { reason = "loopback", codes = ["PGT310"] }\n', ""),
        ("strengthened", "policy.weak", "waiver"),
    ),
    "a waiver that accepts more": (
        ('codes = ["PGT310"]', 'codes = ["PGT310", "PGT301"]'),
        ("weakened", "policy.weak", "waiver"),
    ),
    "a waiver for another reason": (('reason = "loopback"', 'reason = "x"'), ("changed", "policy.weak", "waiver")),
    "a code that is newly ignored": (('["PGT121"]', '["PGT121", "PGT312"]'), ("weakened", "lint", "ignore")),
    "a code that is no longer ignored": (('["PGT121"]', "[]"), ("strengthened", "lint", "ignore")),
    "a lower sslmode that is accepted": (
        ("ignore =", 'minimum_sslmode = "prefer"\nignore ='),
        ("strengthened", "lint", "minimum_sslmode"),
    ),
}


@pytest.mark.parametrize(("edit", "expected"), EDITS.values(), ids=EDITS)
def test_a_change_of_what_protects_is_reported(edit: tuple[str, str], expected: tuple[str, str, str]) -> None:
    difference = compared(edit)
    assert expected in found(difference)
    assert difference.exceeds("any")
    assert difference.exceeds("weakened") == ("weakened" in difference.summary)
    back = pgtls.diff(spec(edit), spec())
    assert back.exceeds("any")
    if expected[0] == "strengthened":
        assert back.exceeds("weakened")


UNTIL, LATER = "until = 2027-01-01\n# policy", "until = 2037-01-01\n# policy"
BLOCK = '\n[policy.block]\nusers = ["app"]\ndatabases = ["old"]\nfrom = ["10.0.0.0/8"]\nauth = "reject"\n'


@pytest.mark.parametrize(
    ("was", "will", "effect"),
    [
        (UNTIL, "# policy", "weakened"),
        (UNTIL, LATER, "weakened"),
        (LATER, UNTIL, "strengthened"),
        ("# policy", UNTIL, "strengthened"),
        (f"# policy{BLOCK}", f"# policy{BLOCK}until = 2027-01-01\n", "weakened"),
        (f"# policy{BLOCK}until = 2027-01-01\n", f"# policy{BLOCK}", "strengthened"),
    ],
    ids=[
        "a grant without end",
        "a grant for longer",
        "a grant for less",
        "a grant that ends",
        "a refusal that ends",
        "a refusal",
    ],
)
def test_another_end_of_a_policy_is_reported(was: str, will: str, effect: str) -> None:
    difference = pgtls.diff(spec(("# policy", was)), spec(("# policy", will)))
    assert [kind for kind, _, field in found(difference) if field == "until"] == [effect]


SHADOWED = """
version = 1
[ca.servers]
[ca.clients]
[server.main]
ca = "servers"
client_ca = ["clients"]
hosts = ["db.example.com"]
[user.postgres]
[user.bob]
[user.mallory]
# mallory
[user.admin]
ca = "clients"
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.no]
users = ["mallory", "bob"]
from = ["10.0.0.0/8"]
auth = "reject"
priority = 5
[policy.strict]
users = ["admin"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
priority = 5
# strict
[policy.everybody]
users = ["all"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
# everybody
"""


@pytest.mark.parametrize(
    ("mark", "opened"),
    [
        pytest.param("mallory", [("granted", ("mallory",))], id="somebody whom a policy refuses"),
        pytest.param("strict", [("weakened", ("admin",))], id="a policy that asks for more"),
        pytest.param("everybody", [], id="a policy behind all others"),
    ],
)
def test_an_end_that_opens_access_is_told_with_its_day(mark: str, opened: list[tuple[str, tuple[str, ...]]]) -> None:
    def ended(day: str) -> pgtls.Spec:
        return pgtls.loads(SHADOWED.replace(f"# {mark}", f"until = {day}\n# {mark}"), now=NOW)

    without = pgtls.loads(SHADOWED, now=NOW)
    difference = pgtls.diff(without, ended("2026-07-01"))
    since = "2026-07-01T00:00:00Z"
    assert [(c.kind, c.roles, c.since) for c in difference.access] == [(*one, since) for one in opened]
    assert difference.exceeds("granted") == bool(opened)
    assert difference.exceeds("weakened") == any(kind == "weakened" for kind, _ in opened)
    assert pgtls.diff(ended("2026-07-01"), ended("2026-07-01")).access == ()
    assert all(change.since == "" for change in pgtls.diff(without, ended("2026-05-01")).access), "it has ended"


def test_what_opens_when_somebody_ends_is_told_whatever_else_changes() -> None:
    ending = SHADOWED.replace("# mallory", "until = 2026-07-01\n# mallory")
    without = ending.partition("[policy.everybody]")[0]
    other = '[user.other]\nroles = ["mallory"]\n[policy.low]\nusers = ["other"]\nfrom = ["10.0.0.0/8"]\nauth = "peer"\n'
    low = without + other.replace("peer", "scram-sha-256")
    broken = '[user.x]\n[policy.x]\nusers = ["x"]\nfrom = ["10.0.0.0/8"]\ndatabases = ["x"]\nauth = "trust"\n'
    broken += 'waiver = { reason = "x", until = 2026-06-15 }\n'
    for old, new in ((without, low), (SHADOWED + broken, ending)):
        difference = pgtls.diff(pgtls.loads(old, now=NOW), pgtls.loads(new, now=NOW))
        assert ("granted", ("mallory",), "2026-07-01T00:00:00Z") in [
            (c.kind, c.roles, c.since) for c in difference.access
        ]


POOLED = """
[user.bouncer]
ca = "clients"
[pooler.pool]
server = "main"
user = "bouncer"
from = ["10.0.0.9"]
ca = "servers"
client_ca = ["clients"]
hosts = ["pool.example.com"]
[policy.pooled]
servers = ["pool"]
users = ["admin"]
databases = ["shop"]
from = ["10.1.0.0/16"]
auth = "cert"
waiver = { reason = "a test", codes = ["PGT380"] }
"""
SECOND = """
[pooler.second]
server = "main"
user = "bouncer"
from = ["10.0.0.8"]
ca = "servers"
client_ca = ["clients"]
hosts = ["second.example.com"]
"""


def test_a_pooler_that_gets_the_key_of_another_is_a_weakening() -> None:
    pooled = SHADOWED.replace("auth =", 'servers = ["main"]\nauth =') + POOLED
    old = pgtls.loads(pooled, now=NOW)
    assert not pgtls.diff(old, old)
    difference = pgtls.diff(old, pgtls.loads(pooled + SECOND, now=NOW))
    assert ("weakened", "user.bouncer", "its key is on other machines") in found(difference)


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ([("pooler.pool", "pooler.other"), ('["pool"]', '["other"]')], False),
        ([("pooler.pool", "pooler.other"), ('["pool"]', '["other"]'), ("pool.example", "else.example")], True),
    ],
)
def test_another_pooler_on_another_machine_gets_the_key(edits: list[tuple[str, str]], *, told: bool) -> None:
    pooled = after = SHADOWED.replace("auth =", 'servers = ["main"]\nauth =') + POOLED
    for edit in edits:
        after = after.replace(*edit)
    difference = pgtls.diff(pgtls.loads(pooled, now=NOW), pgtls.loads(after, now=NOW))
    assert (("weakened", "user.bouncer", "its key is on other machines") in found(difference)) == told


def test_a_new_name_hides_no_weaker_field() -> None:
    lists = SHADOWED.replace('[user.admin]\nca = "clients"', '[user.admin]\nca = "clients"\ncrl = true')
    renamed = SHADOWED.replace('[user.admin]\nca = "clients"', '[user.chief]\nca = "clients"\nroles = ["admin"]')
    renamed = renamed.replace('users = ["admin"]', 'users = ["chief"]')
    difference = pgtls.diff(pgtls.loads(lists, now=NOW), pgtls.loads(renamed, now=NOW))
    assert ("weakened", "user.chief", "crl") in found(difference)


def test_a_member_of_two_groups_among_many_is_compared() -> None:
    groups = "".join(
        f'[policy.g{n}]\nusers = ["+g{n}"]\ndatabases = ["shop"]\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"\n'
        for n in range(7)
    )
    refused = '[policy.staff]\nusers = ["+staff"]\nfrom = ["10.0.0.0/8"]\nauth = "reject"\npriority = 9\n'
    member = '[user.staff]\nmember_of = ["g0", "g1"]\n'
    base = SHADOWED.partition("[policy.everybody]")[0] + groups + member
    difference = pgtls.diff(pgtls.loads(base + refused, now=NOW), pgtls.loads(base, now=NOW))
    assert "granted" in {change.kind for change in difference.access}


def test_an_identity_is_granted_although_more_is_asked_for() -> None:
    map_ = 'map = [{{ identity = "app@R", role = "admin" }}{}]\n'
    kerberos = '[policy.gss]\nusers = ["admin"]\ndatabases = ["gss"]\nfrom = ["10.0.0.0/8"]\nauth = "gss"\n'
    asking = 'client_cert = "verify-ca"\nwaiver = "a test"\n' + map_.format(
        ', { identity = "mallory@R", role = "admin" }'
    )
    old, new = (pgtls.loads(SHADOWED + kerberos + more, now=NOW) for more in (map_.format(""), asking))
    assert "granted" in {change.kind for change in pgtls.diff(old, new).access}


ASKING = """
[user.carol]
ca = "clients"
roles = ["admin"]
[policy.carol]
users = ["carol"]
databases = ["none"]
from = ["10.0.0.0/8"]
auth = "reject"
"""
PROOF = """
[policy.{}]
users = [{}]
databases = ["proof"]
from = ["10.0.0.0/8"]
auth = "{}"
"""
FULL, ANY = 'client_cert = "verify-full"\n', 'client_cert = "verify-ca"\n'
ADMIN, CAROL = '"admin"', '"admin", "carol"'
MORE_PROOFS: dict[str, tuple[str, str, set[str]]] = {
    "a certificate beside a ticket": (
        PROOF.format("proof", ADMIN, "gss"),
        PROOF.format("proof", ADMIN, "gss") + FULL,
        {"strengthened"},
    ),
    "a certificate beside a ticket, and further people": (
        PROOF.format("proof", ADMIN, "gss"),
        PROOF.format("proof", CAROL, "gss") + FULL,
        {"strengthened", "granted"},
    ),
    "a certificate of a user, not any, and further people": (
        PROOF.format("proof", ADMIN, "ident") + ANY + 'waiver = "x"\n',
        PROOF.format("proof", CAROL, "ident") + FULL + 'waiver = "x"\n',
        {"strengthened", "granted"},
    ),
    "a ticket beside a certificate": (
        PROOF.format("proof", CAROL, "cert"),
        PROOF.format("proof", CAROL, "gss") + FULL,
        {"strengthened"},
    ),
    "a ticket beside a certificate, and further people": (
        PROOF.format("proof", ADMIN, "cert"),
        PROOF.format("proof", CAROL, "gss") + FULL,
        {"strengthened", "granted"},
    ),
    "a certificate of a user, not any": (
        PROOF.format("proof", ADMIN, "scram-sha-256") + ANY,
        PROOF.format("proof", ADMIN, "scram-sha-256") + FULL,
        {"strengthened"},
    ),
    "a certificate of a new user": (
        PROOF.format("proof", ADMIN, "gss") + ANY + 'map = [{ identity = "dave", role = "admin" }]\n',
        PROOF.format("proof", '"dave"', "gss") + FULL + '[user.dave]\nca = "clients"\nroles = ["admin"]\n',
        {"strengthened", "granted"},
    ),
}
"""A policy before and after, both with what else they need, and the kinds of its changes of access."""


@pytest.mark.parametrize("name", ["proof", "renamed"])
@pytest.mark.parametrize(("was", "will", "kinds"), MORE_PROOFS.values(), ids=MORE_PROOFS)
def test_a_further_proof_hides_nobody_who_gets_in(was: str, will: str, kinds: set[str], name: str) -> None:
    """One map decides on the name that a method proves and on that of the certificate."""
    old, new = (pgtls.loads(SHADOWED + ASKING + more, now=NOW) for more in (was, will.replace(".proof]", f".{name}]")))
    difference = pgtls.diff(old, new)
    assert {change.kind for change in difference.access} == kinds
    assert difference.exceeds("granted") or "granted" not in kinds


@pytest.mark.parametrize("name", ["proof", "renamed"])
def test_a_role_that_only_a_map_names_is_compared_under_any_name_of_the_policy(name: str) -> None:
    own, ghost = '{ identity = "/^(.*)$", role = "\\\\1" }', '{ identity = "mallory", role = "ghost" }'
    was = PROOF.format("proof", '"all"', "gss") + f"map = [{own}]\n"
    will = PROOF.format(name, '"all"', "gss") + f"map = [{own}, {ghost}]\n"
    old, new = (pgtls.loads(SHADOWED + more, now=NOW) for more in (was, will))
    difference = pgtls.diff(old, new)
    assert [(change.kind, change.roles) for change in difference.access] == [("granted", ("ghost",))]
    assert ("granted", f"policy.{name}", "map") in found(difference)
    assert not pgtls.diff(new, old).exceeds("granted")


def test_a_certificate_in_the_name_of_a_role_that_nobody_has_is_compared() -> None:
    admins = '[policy.admins]\nusers = ["+admins"]\ndatabases = ["adm"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
    admins += 'map = [{ identity = "/^(.*)$", role = "\\\\1" }]\n'
    stranger = '[user.stranger]\nca = "clients"\ncommon_name = "root2"\n'
    old, new = (pgtls.loads(SHADOWED + admins + more, now=NOW) for more in ("", stranger))
    assert pgtls.diff(old, new).exceeds("granted")
    assert not pgtls.diff(new, old).exceeds("granted")


def test_people_whose_ends_move_are_compared_between_their_ends() -> None:
    def ending(mallory: str, other: str) -> pgtls.Spec:
        people = f"[user.other]\nuntil = {other}\n"
        return pgtls.loads(SHADOWED.replace("# mallory", f"until = {mallory}") + people, now=NOW)

    sooner = pgtls.diff(ending("2090-01-01", "2095-01-01"), ending("2026-07-01", "2095-01-01"))
    assert [(c.kind, c.roles) for c in sooner.access] == [("granted", ("mallory",))]
    assert pgtls.diff(ending("2026-07-01", "2095-01-01"), ending("2090-01-01", "2095-01-01")).access == ()


def test_channel_binding_that_goes_with_a_new_name_is_a_weakening() -> None:
    bound = SHADOWED.replace("# everybody", 'channel_binding = "require"')
    renamed = SHADOWED.replace("[policy.everybody]", "[policy.all]")
    assert pgtls.diff(pgtls.loads(bound, now=NOW), pgtls.loads(renamed, now=NOW)).exceeds("weakened")
    assert not pgtls.diff(pgtls.loads(renamed, now=NOW), pgtls.loads(bound, now=NOW)).exceeds("granted")


def test_channel_binding_that_goes_with_its_policy_is_a_weakening() -> None:
    bound = '[policy.bound]\nusers = ["admin"]\ndatabases = ["shop"]\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"\n'
    bound += 'channel_binding = "require"\npriority = 7\n'
    behind = bound.replace("bound]", "behind]").replace('channel_binding = "require"\npriority = 7', "priority = 6")
    old, new = (pgtls.loads(SHADOWED + tables, now=NOW) for tables in (bound + behind, behind))
    difference = pgtls.diff(old, new)
    assert [(change.kind, change.roles) for change in difference.access] == [("weakened", ("admin",))]
    assert not pgtls.diff(new, old).exceeds("weakened")


def test_an_end_that_goes_with_a_new_name_is_no_grant_in_silence() -> None:
    ends = SHADOWED.replace("# everybody", "until = 2026-07-01")
    goes_on = SHADOWED.replace("[policy.everybody]", "[policy.all]")
    difference = pgtls.diff(pgtls.loads(ends, now=NOW), pgtls.loads(goes_on, now=NOW))
    assert {c.kind for c in difference.access if c.since} == {"granted"}
    assert difference.exceeds("granted")


def test_more_ends_than_are_compared_are_a_weakening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgtls.difference, "_WORK", 40_000)

    def policies(most: int) -> pgtls.Spec:
        tables = (
            f'[policy.p{n}]\nuntil = 2026-07-01T00:{n // 60:02}:{n % 60:02}Z\nusers = ["bob"]\ndatabases = ["d{n}"]\n'
            'from = ["192.0.2.0/24"]\nauth = "scram-sha-256"\n'
            for n in range(most)
        )
        return pgtls.loads(SHADOWED + "".join(tables), now=NOW)

    without = pgtls.loads(SHADOWED, now=NOW)
    assert not pgtls.diff(without, policies(10)).exceeds("weakened")
    assert pgtls.diff(without, policies(40)).exceeds("weakened")


@pytest.mark.parametrize(("ends", "most"), [(40, 40), (250, 200)], ids=["as many as there are", "no more than a limit"])
def test_the_later_instants_that_are_compared_are_limited(ends: int, most: int) -> None:
    people = "".join(_ending(n, shared=True) for n in range(ends))
    old, new = (pgtls.loads(SHADOWED + people + more, now=NOW).usable() for more in ("", "[user.more]\n"))
    asked: list[datetime] = []

    def later(end: datetime) -> tuple[State, State]:
        asked.append(end)
        return old, new

    assert difference(old, new, later).exceeds("weakened") == (ends > most)
    assert len(asked) <= most


def _ending(number: int, *, shared: bool) -> str:
    end = f"2026-07-{number // 60 + 1:02}T00:00:{number % 60:02}Z"
    return f"[user.u{number}]\nuntil = {end}\n" + 'roles = ["shared"]\n' * shared


def test_people_whose_roles_nobody_else_has_end_and_are_compared_once() -> None:
    people = "".join(_ending(n, shared=False) for n in range(200))
    old, new = (pgtls.loads(SHADOWED + people + more, now=NOW).usable() for more in ("", "[user.more]\n"))
    asked: list[datetime] = []

    def later(end: datetime) -> tuple[State, State]:
        asked.append(end)
        return old, new

    assert not difference(old, new, later).exceeds("weakened")
    assert len(asked) == 1


ENDING = SHADOWED.replace("# mallory", "until = 2027-01-01\n# mallory")


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(("[user.postgres]", "[user.postgres]\nuntil = 2028-01-01"), id="the only local login ends"),
        pytest.param(("[user.bob]", "[user.bob]\nuntil = 2028-01-01"), id="somebody else ends"),
        pytest.param(("# strict", "until = 2028-01-01"), id="a policy ends"),
    ],
)
def test_a_later_end_hides_nothing_that_an_earlier_one_opens(later: tuple[str, str]) -> None:
    new = pgtls.loads(ENDING.replace(*later), now=NOW)
    found = pgtls.diff(pgtls.loads(SHADOWED, now=NOW), new)
    assert ("granted", ("mallory",), "2027-01-01T00:00:00Z") in [(c.kind, c.roles, c.since) for c in found.access]


STANDING = (
    SHADOWED.replace("# mallory", "# mallory\n[user.repl]\nca = 'clients'\n# repl").replace(
        "\nauth", '\nservers = ["main"]\nauth'
    )
    + """
[server.stand]
ca = "servers"
client_ca = ["clients"]
hosts = ["stand.example.com"]
no_local = true
standby_of = "main"
replication_user = "repl"
[policy.lenient]
servers = ["main"]
users = ["admin"]
databases = ["wiki"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
sslmode = "require"
waiver = { reason = "an old client" }
[lint]
minimum_sslmode = "verify-ca"
"""
)


@pytest.mark.parametrize(
    "masks",
    [
        pytest.param(("# strict", "# strict"), id="no error"),
        pytest.param(("# repl", "until = 2026-08-01"), id="the user of a standby ends before"),
        pytest.param(('old client" }', 'old client", until = 2026-08-01 }'), id="a waiver ends before"),
    ],
)
@pytest.mark.parametrize("both", [False, True], ids=["one state", "both states"])
def test_an_error_at_a_later_instant_hides_nothing_that_an_end_opens(masks: tuple[str, str], *, both: bool) -> None:
    old, new = STANDING, STANDING.replace(*masks)
    ends = new.replace("[policy.no]", "[policy.no]\nuntil = 2027-01-01").replace("# mallory", "")
    found = pgtls.diff(pgtls.loads(new if both else old, now=NOW), pgtls.loads(ends, now=NOW))
    assert ("granted", "2027-01-01T00:00:00Z") in [(c.kind, c.since) for c in found.access if "mallory" in c.roles]
    assert not [change for change in found.protection if "compared" in change.before]


def test_a_contradiction_at_a_later_instant_is_told_because_nothing_can_be_compared_then() -> None:
    """As long as a third policy decides all that two share, they do not contradict each other."""
    one = '[policy.one]\nusers = ["admin"]\ndatabases = ["wiki"]\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"\n'
    two = one.replace("policy.one", "policy.two").replace('"scram-sha-256"', '"md5"\nwaiver = "old"')
    third = one.replace("policy.one", "policy.third").replace("scram-sha-256", "reject") + "priority = 9\n"
    old = SHADOWED + one + two + third
    rows = [
        [
            (c.kind, c.entity, c.what)
            for c in pgtls.diff(pgtls.loads(old, now=NOW), spec).protection
            if "compared" in c.before
        ]
        for spec in (
            pgtls.loads(old.replace("# strict", "until = 2027-01-01"), now=NOW),
            pgtls.loads(old + "until = 2027-01-01\n", now=NOW),
        )
    ]
    assert rows == [[], [("weakened", "server.main", "access from 2027-01-01T00:00:00Z on")]]


def test_a_server_that_cannot_be_compared_hides_nothing_of_another_one() -> None:
    spec = SHADOWED.replace("\nauth", '\nservers = ["main", "other"]\nauth')
    spec += '[server.other]\nca = "servers"\nclient_ca = ["clients"]\nhosts = ["other.example.com"]\n'
    one = '[policy.one]\nusers = ["admin"]\ndatabases = ["wiki"]\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"\n'
    one += 'servers = ["other"]\n'
    two = one.replace("policy.one", "policy.two").replace('"scram-sha-256"', '"md5"\nwaiver = "old"')
    third = one.replace("policy.one", "policy.third").replace("scram-sha-256", "reject") + "priority = 9\n"
    old = spec + one + two + third
    new = (old + "until = 2027-01-01\n").replace("# strict", "until = 2027-02-01")
    found = pgtls.diff(pgtls.loads(old, now=NOW), pgtls.loads(new, now=NOW))
    assert [c.entity for c in found.protection if "compared" in c.before] == ["server.other"]
    assert ("weakened", "main", "2027-02-01T00:00:00Z") in [(c.kind, c.server, c.since) for c in found.access]


def test_who_is_in_a_group_through_somebody_who_ends_is_compared_then() -> None:
    barred = '[policy.barred]\nusers = ["+barred"]\nfrom = ["10.0.0.0/8"]\nauth = "reject"\npriority = 9\n'
    people = '[user.eve]\nmember_of = ["crew"]\n# eve\n[user.crew]\nmember_of = ["barred"]\n# crew\n'
    old = SHADOWED + barred + people
    new = old.replace("# eve\n", "until = 2028-01-01\n").replace("# crew\n", "until = 2027-01-01\n")
    found = pgtls.diff(pgtls.loads(old, now=NOW), pgtls.loads(new, now=NOW)).access
    assert ("granted", "2027-01-01T00:00:00Z") in [(c.kind, c.since) for c in found if "eve" in c.roles]


SHARING = """
version = 1
[ca.root]
[server.main]
ca = "root"
client_ca = ["root"]
hosts = ["db.example.com"]
no_local = true
"""


def sharing(strong: str, weak: str, more: str, auth: str = "cert", more_of: str = "") -> pgtls.Spec:
    """Three users of one role; policy "weak" demands less of clients than policy "strong"."""
    people = "".join(f'[user.u{n}]\nca = "root"\nroles = ["app"]\nlibpq = 17\n' for n in (1, 2, 3))
    rest = f'databases = ["shop"]\nfrom = ["10.0.0.0/8"]\nauth = "{auth}"\n'
    tables = f"[policy.strong]\nusers = [{strong}]\n{rest}{more}[policy.weak]\nusers = [{weak}]\n{rest}"
    return pgtls.loads(SHARING + people + tables + more_of, now=NOW)


@pytest.mark.parametrize("beside", ["", "[user.more]\n"], ids=["alone", "with another change"])
@pytest.mark.parametrize("auth", ["cert", "scram-sha-256"])
def test_a_user_who_moves_to_a_weaker_policy_is_weakened_whoever_shares_the_role(auth: str, beside: str) -> None:
    more = 'sslmode = "verify-full"\n' + 'channel_binding = "require"\n' * (auth != "cert")
    old, new = '"u1", "u3"', '"u3"'
    weak = 'sslmode = "require"\n'
    one = sharing(old, '"u2"', more, auth, weak)
    other = sharing(new, '"u1", "u2"', more, auth, weak + beside)
    found = [change for change in pgtls.diff(one, other).access if change.kind == "weakened"]
    assert [("of u1" in c.before, "verify-full" in c.before, "require" in c.after) for c in found] == [(True,) * 3]
    assert "weakened" not in {change.kind for change in pgtls.diff(other, one).access}


def test_a_bundle_that_no_longer_takes_the_mode_of_another_policy_is_a_weakening() -> None:
    elsewhere = '[policy.far]\nusers = ["u1"]\ndatabases = ["shop"]\nfrom = ["192.0.2.0/24"]\nauth = "cert"\n'
    weak = 'sslmode = "require"\n'
    one, other = (sharing('"u3"', '"u1"', "", "cert", weak + more) for more in (elsewhere, ""))
    found = pgtls.diff(one, other).access
    assert {change.kind for change in found} == {"weakened", "lost"}
    assert [c.after for c in found if c.kind == "weakened"] == ["cert (u1, u3) over TLS, clients of u1 use require"]


def test_a_group_that_moves_to_a_weaker_policy_is_weakened() -> None:
    weak = 'sslmode = "require"\n'
    one = sharing('"+staff", "+dev"', '"+dev"', "", "scram-sha-256", weak)
    other = sharing('"+dev"', '"+staff", "+dev"', "", "scram-sha-256", weak)
    assert pgtls.diff(one, other).exceeds("weakened")
    assert not pgtls.diff(other, one).exceeds("weakened")


RADIUS = """
[policy.{}]
users = [{}]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "radius"
auth_options = {{ radiusservers = "10.0.0.1", radiussecrets = {{ env = "{}" }} }}
"""


def secrets(*policies: tuple[str, str, str], users: tuple[str, str] = ("alice", "bob"), port: int = 5432) -> pgtls.Spec:
    people = "".join(f'[user.{user}]\nroles = ["{role}"]\n' for user, role in zip(users, ("alice", "bob"), strict=True))
    server = SHARING.replace("no_local = true", f"no_local = true\nport = {port}")
    return pgtls.loads(server + people + "".join(RADIUS.format(*one) for one in policies), now=NOW)


MOVES = {
    "a policy of her own": (("login", '"bob"', "A"), ("more", '"alice"', "B")),
    "the same policy": (("login", '"alice", "bob"', "B"),),
    "another name": (("logins", '"alice", "bob"', "B"),),
}


@pytest.mark.parametrize("policies", MOVES.values(), ids=MOVES)
def test_another_source_of_a_secret_is_a_weakening_whatever_the_policy_is_called(
    policies: tuple[tuple[str, str, str], ...],
) -> None:
    old, new = secrets(("login", '"alice", "bob"', "A")), secrets(*policies, port=5433)
    found = [c for c in pgtls.diff(old, new).access if c.kind == "weakened"]
    assert ["radiussecrets=(from env B)" in c.after for c in found] == [True]
    same = secrets(*((name, who, "A") for name, who, _ in policies), port=5433)
    assert not pgtls.diff(old, same).exceeds("granted")


def test_another_source_of_a_secret_is_a_weakening_under_new_names_of_users() -> None:
    old = secrets(("login", '"alice", "bob"', "A"))
    new = secrets(("logins", '"al", "bo"', "B"), users=("al", "bo"))
    assert pgtls.diff(old, new).exceeds("weakened")


def test_weaker_fields_of_a_policy_are_listed_beside_its_weaker_access() -> None:
    old = secrets(("login", '"alice", "bob"', "A"))
    new = pgtls.loads(
        _text_of(secrets(("login", '"alice", "bob"', "B"))).replace(
            "[policy.login]", '[policy.login]\nsslmode = "verify-ca"'
        ),
        now=NOW,
    )
    assert {
        ("weakened", "policy.login", "sslmode"),
        ("weakened", "policy.login", "auth_options.radiussecrets"),
    } <= found(pgtls.diff(old, new))


def renamed(name: str, auth: str, host: str = "db.example.com", more: str = "") -> pgtls.Spec:
    rest = f'[policy.p]\nusers = ["app"]\ndatabases = ["shop"]\nfrom = ["10.0.0.0/8"]\nauth = "{auth}"\n'
    server = SHARING.replace("main", name).replace("db.example.com", host)
    return pgtls.loads(f'{server}[user.app]\nca = "root"\n{rest}{more}', now=NOW)


@pytest.mark.parametrize("host", ["db.example.com", "DB.example.com", "other.example.com"])
def test_a_new_name_of_a_server_hides_no_weaker_access(host: str) -> None:
    old = renamed("main", "cert")
    assert pgtls.diff(old, renamed("primary", "scram-sha-256", host)).exceeds("weakened")
    assert not pgtls.diff(old, renamed("primary", "cert", host)).exceeds("weakened")


FIELDS = 'key_algorithm = "rsa-4096"\nvalidity = "30d"\nciphers = "ECDHE-RSA-AES256-GCM-SHA384"\ndatabases = ["shop"]\n'


@pytest.mark.parametrize("host", ["db.example.com", "other.example.com"])
def test_a_new_name_of_a_server_hides_no_weaker_field(host: str) -> None:
    def server(name: str, fields: str, at: str = host) -> pgtls.Spec:
        return pgtls.loads(SHARING.replace("main", name).replace("db.example.com", at) + fields, now=NOW)

    old = server("main", FIELDS, "db.example.com")
    weaker = {what for _, entity, what in found(pgtls.diff(old, server("primary", ""))) if entity == "server.primary"}
    assert weaker == {"key_algorithm", "validity", "ciphers", "databases"}
    assert not pgtls.diff(old, server("primary", FIELDS)).exceeds("weakened")
    both = (
        SHARING.replace("main", "primary").replace("db.example", "more.example").replace("version = 1\n[ca.root]", "")
    )
    kept = server("main", f"{FIELDS}{both}", "db.example.com")
    assert not pgtls.diff(old, kept).exceeds("weakened"), "the old server is still there"


def test_a_new_name_of_a_ca_hides_no_weaker_field() -> None:
    old = spec(("[ca.machines]\n", '[ca.machines]\nkey_algorithm = "ecdsa-p384"\nvalidity = "2y"\n'))
    weaker = {("weakened", "ca.engines", what) for what in ("key_algorithm", "validity")}
    difference = pgtls.diff(old, spec(("[ca.machines]\n", "[ca.engines]\n")))
    assert found(difference) == weaker
    beside = ("[ca.machines]\n", '[ca.engines]\n[ca.machines]\nkey_algorithm = "ecdsa-p384"\nvalidity = "2y"\n')
    assert not pgtls.diff(old, spec(beside)).exceeds("weakened"), "the old CA is still there"


def test_a_server_that_comes_and_replaces_none_weakens_no_other() -> None:
    scoped = 'servers = ["main"]\n[server.new]\nca = "root"\nclient_ca = ["root"]\n'
    scoped += 'hosts = ["new.example.com"]\nno_local = true\n'
    opened = '[policy.q]\nservers = ["new"]\nusers = ["app"]\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"\n'
    old = renamed("main", "cert", more='servers = ["main"]\n')
    difference = pgtls.diff(old, renamed("main", "cert", more=scoped + opened))
    assert {change.kind for change in difference.access} == {"granted"}
    assert not difference.exceeds("weakened")


def test_a_server_that_may_replace_any_of_many_is_a_weakening() -> None:
    def many(name: str) -> pgtls.Spec:
        servers = "".join(
            f'[server.{name}{n}]\nca = "root"\nhosts = ["{name}{n}.example.com"]\nno_local = true\n' for n in range(6)
        )
        return renamed("main", "cert", more=f'servers = ["main"]\n{servers}')

    assert ("weakened", "server.new0", "replaces one of several servers") in found(pgtls.diff(many("old"), many("new")))


def test_a_new_name_of_a_server_hides_no_further_client_ca() -> None:
    old, new = (renamed(name, "cert", more="[ca.other]\n") for name in ("main", "primary"))
    assert not pgtls.diff(old, new).exceeds("weakened")
    wider = pgtls.loads(_text_of(new).replace('client_ca = ["root"]', 'client_ca = ["root", "other"]'), now=NOW)
    assert ("weakened", "server.primary", "accepts client certificates of") in found(pgtls.diff(old, wider))


def _text_of(one: pgtls.Spec) -> str:
    return one.files.read(one.path).decode()


MEMBERS = {
    "a member leaves a group that is rejected": (("eve", "barred"), ("eve", ""), "eve"),
    "a member gets another role": (("eve", "staff"), ("boss", "staff"), "boss"),
    "a new user is a member": (("", ""), ("eve", "staff"), "eve"),
    "a user becomes a member": (("eve", ""), ("eve", "staff"), "eve"),
}


@pytest.mark.parametrize(("before", "after", "role"), MEMBERS.values(), ids=MEMBERS)
def test_what_the_spec_says_about_members_is_compared(
    before: tuple[str, str], after: tuple[str, str], role: str
) -> None:
    def spec_of(own: str, group: str) -> pgtls.Spec:
        rest = 'databases = ["shop"]\nfrom = ["10.0.0.0/8"]\n'
        tables = f'[policy.staff]\nusers = ["+staff"]\n{rest}auth = "scram-sha-256"\n'
        if "barred" in (before[1], after[1]):
            tables = f'[policy.barred]\nusers = ["+barred"]\n{rest}auth = "reject"\npriority = 9\n'
            tables += f'[policy.everybody]\nusers = ["all"]\n{rest}auth = "scram-sha-256"\n'
        member = f'member_of = ["{group}"]\n' * bool(group)
        tables += "[user.boss]\n" + f'[user.eve]\nroles = ["{own}"]\n{member}' * bool(own)
        return pgtls.loads(SHARING + tables, now=NOW)

    one, other = spec_of(*before), spec_of(*after)
    outcomes = [pgtls.explain(s, user=role, database="shop", source="10.1.2.3").outcome for s in (one, other)]
    assert outcomes == ["refuse", "admit"]
    granted = [change for change in pgtls.diff(one, other).access if change.kind == "granted"]
    assert [role in change.roles for change in granted] == [True]


def test_longer_crls_of_an_offline_ca_are_a_weakening() -> None:
    offline = ("[ca.machines]\n", "[ca.machines]\noffline = true\n")
    short = ("[ca.machines]\n", '[ca.machines]\noffline = true\ncrl_validity = "2y"\n')
    assert ("weakened", "ca.machines", "crl_validity") in found(pgtls.diff(spec(short), spec(offline)))
    assert ("strengthened", "ca.machines", "crl_validity") in found(pgtls.diff(spec(offline), spec(short)))


MATCHING = """
[policy.ops]
users = ["admin"]
databases = ["ops"]
from = ["10.0.0.0/8"]
auth = "cert"
map = [{ identity = "/^(.*)-ops$", role = "admin" }]
[policy.anyone]
users = ["admin"]
databases = ["anyone"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
client_cert = "verify-ca"
waiver = "a test"
"""


@pytest.mark.parametrize(
    ("common_name", "granted"),
    [
        pytest.param("carol-ops", {"ops", "anyone"}, id="a name that an expression matches"),
        pytest.param("carol", {"anyone"}, id="any certificate of the CA"),
    ],
)
def test_a_certificate_that_a_policy_accepts_without_naming_it_is_a_grant(common_name: str, granted: set[str]) -> None:
    carol = f'[user.carol]\nca = "clients"\ncommon_name = "{common_name}"\n'
    old, new = (pgtls.loads(SHADOWED + MATCHING + more, now=NOW) for more in ("", carol))
    difference = pgtls.diff(old, new)
    assert {name for c in difference.access if c.kind == "granted" for name in c.databases} == granted
    assert difference.exceeds("granted")
    assert {c.kind for c in pgtls.diff(new, old).access} == {"lost"}


@pytest.mark.parametrize(
    ("tables", "weakens"),
    [
        ('[server.new]\nca = "servers"\nhosts = ["db.example.com"]\nno_local = true\n', True),
        ('[server.new]\nca = "servers"\nhosts = ["x.example.org", "*.example.com"]\nno_local = true\n', True),
        ('[server.new]\nca = "servers"\nhosts = ["x.example.org", "*.com"]\nno_local = true\n', False),
        ('[server.new]\nca = "servers"\nhosts = ["new.example.com"]\nno_local = true\n', False),
    ],
    ids=["the same name", "a wildcard over it", "a wildcard over another label", "another name"],
)
def test_a_new_server_in_the_name_of_another_is_a_weakening(tables: str, weakens: bool) -> None:
    scoped = SHADOWED.replace("auth =", 'servers = ["main"]\nauth =')
    difference = pgtls.diff(pgtls.loads(scoped, now=NOW), pgtls.loads(scoped + tables, now=NOW))
    assert difference.exceeds("weakened") == weakens, difference
    renamed = scoped.replace("[server.main]", "[server.db]").replace('["main"]', '["db"]')
    assert not pgtls.diff(pgtls.loads(scoped, now=NOW), pgtls.loads(renamed, now=NOW)).exceeds("weakened")


IDENTITIES = {
    "a server": '[server.new]\nca = "servers"\nhosts = ["m", "{}"]\nno_local = true\n',
    "a further identity": '[server.new]\nca = "servers"\nhosts = ["n"]\nno_local = true\npostgres = 19\n'
    '[[server.new.sni]]\nca = "servers"\nhosts = ["m", "{}"]\n',
    "a pooler": '[user.bouncer]\nca = "clients"\n[pooler.new]\nserver = "main"\nuser = "bouncer"\n'
    'ca = "servers"\nhosts = ["m", "{}"]\n',
}


NAMES = (
    ("*.db.example.com", "ro.db.example.com", "ro.db.example.com"),
    ("*.db.example.com", "*.DB.example.com", "*.db.example.com"),
    ("ro.db.example.com", "*.db.example.com", "ro.db.example.com"),
    ("*.db.example.com", "a.ro.db.example.com", None),
    ("*.db.example.com", "db.example.org", None),
    ("*.example.com", "*.db.example.com", None),
)
"""A name of a server, one of a new server, and the name that certificates of both prove."""


@pytest.mark.parametrize(
    ("kind", "there", "new", "both"),
    [(kind, *names) for kind in IDENTITIES for names in NAMES if kind != "a further identity" or names[1][0] != "*"],
)
def test_a_wildcard_on_either_side_makes_one_name_of_two(kind: str, there: str, new: str, both: str | None) -> None:
    scoped = SHADOWED.replace("auth =", 'servers = ["main"]\nauth =').replace('"db.example.com"', f'"main", "{there}"')
    difference = pgtls.diff(*(pgtls.loads(scoped + one, now=NOW) for one in ("", IDENTITIES[kind].format(new))))
    named = [what.rpartition(" ")[2] for effect, _, what in found(difference) if what.startswith("its certificate")]
    assert named == ([both] if both else [])
    assert difference.exceeds("weakened") == bool(both)


def test_a_new_name_of_a_server_below_its_own_wildcard_pretends_nothing() -> None:
    old = SHARING.replace('com"]', 'com", "*.example.com"]')
    new = SHARING.replace('com"]', 'com", "ro.example.com"]').replace("main", "primary")
    one, other = (pgtls.loads(text, now=NOW) for text in (old, new))
    proved = {what for _, _, what in found(pgtls.diff(one, other)) if what.startswith("its certificate proves")}
    back = {what for _, _, what in found(pgtls.diff(other, one)) if what.startswith("its certificate proves")}
    assert (bool(proved), bool(back)) == (False, True), "the way back proves more names"


def test_a_setting_in_capitals_is_the_same_setting() -> None:
    difference = compared(("# settings", 'Archive_Command = "evil"'))
    assert ("weakened", "server.main", "settings.archive_command") in found(difference)


def test_a_finding_that_is_newly_waived_is_a_weakening() -> None:
    weaker = ('auth = "cert"\n# policy\n', 'auth = "trust"\nsslmode = "disable"\n')
    codes = 'waiver = { reason = "x", codes = ["PGT301", "PGT310"] }\n'
    difference = compared((weaker[0], weaker[1] + codes))
    assert {("weakened", "policy.app", "finding PGT301"), ("weakened", "policy.app", "finding PGT310")} <= found(
        difference
    )


def test_a_foreign_ca_is_named_as_one_under_which_anyone_may_hold_any_name() -> None:
    foreign = ("[ca.machines]\n", '[ca.machines]\ncert_file = "company.crt"\ncrl = false\n')
    accepted = (CLIENT_CA, 'client_ca = ["clients", "machines"]')
    waived = ('auth = "cert"\n# policy', 'auth = "cert"\nwaiver = "company"\n# policy')
    off = (SERVER, "crl = false\n")
    after = spec(foreign, accepted, waived, off, files={"company.crt": company("Company")})
    (change,) = (c for c in pgtls.diff(spec(waived, off), after).protection if c.what.startswith("accepts"))
    assert (change.kind, change.after) == ("weakened", "clients, machines (anyone certified under it)")


BUNDLES = """
version = 1
[ca.root]
[ca.other]
[ca.partner]
cert_file = "partner.crt"
crl = false
[server.main]
ca = "root"
client_ca = ["other"]
hosts = ["db.example.com"]
no_local = true
[server.far]
ca = "partner"
hosts = ["far.example.org"]
no_local = true
external = true
[user.app]
libpq = 17
[user.guest]
[user.bouncer]
ca = "other"
[policy.main]
servers = ["main"]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
[policy.far]
servers = ["far"]
users = ["guest"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
"""
POLICY_NEW = '[policy.new]\nservers = ["{}"]\nusers = ["{}"]\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"\n'
NEW = '[server.new]\nhosts = ["new.example.com"]\nno_local = true\n'
ROOT = 'cert_file = "root.crt"\n'
BOUNCER = '[pooler.new]\nserver = "main"\nuser = "bouncer"\nfrom = ["10.0.0.9"]\nhosts = ["n"]\nauth_file = "/etc/x"\n'
PUBLIC = '[ca.system]\nsign = { command = ["sign"] }\n'
BRINGS: dict[str, tuple[str, str | None]] = {
    "a file": (NEW + ROOT + POLICY_NEW.format("new", "app"), "server.new"),
    "a file for a request of pgtls": (f"{NEW}{ROOT}external = true\n{POLICY_NEW.format('new', 'app')}", "server.new"),
    "a file that nobody can read here": (
        f'{NEW}cert_file = "/keys/x.crt"\n{POLICY_NEW.format("new", "app")}',
        "server.new",
    ),
    "a further identity": (
        f'{NEW}ca = "root"\npostgres = 19\n[[server.new.sni]]\nhosts = ["m"]\n{ROOT}{POLICY_NEW.format("new", "app")}',
        "server.new/m",
    ),
    "a pooler": (
        f"{BOUNCER}{ROOT}{POLICY_NEW.format('new', 'app')}",
        "pooler.new",
    ),
    "a CA to trust": (f'{NEW}ca = "root"\ntrust = ["partner"]\n{POLICY_NEW.format("new", "app")}', "server.new"),
    "a grant on a server that is there": (POLICY_NEW.format("far", "app"), "server.far"),
    "a grant to somebody who trusts it": (POLICY_NEW.format("main", "guest"), "server.far"),
    "nobody's bundle": (NEW + ROOT, None),
    "a certificate that can sign none": (
        f'{NEW}cert_file = "leaf.crt"\n{POLICY_NEW.format("new", "app")}',
        "server.new",
    ),
    "a certificate that proves more": (
        f'{NEW}cert_file = "more.crt"\n{POLICY_NEW.format("new", "app")}',
        "server.new",
    ),
    "a CA of the spec": (f'{NEW}ca = "other"\n{POLICY_NEW.format("new", "app")}', None),
    "a certificate that is its own root": (f'{NEW}ca = "self-signed"\n{POLICY_NEW.format("new", "app")}', None),
    "a public CA, in no file": (f'{PUBLIC}{NEW}ca = "system"\n{POLICY_NEW.format("new", "app")}', None),
    "a server of the same CA": (
        f'{NEW}ca = "partner"\nexternal = true\n{POLICY_NEW.format("new", "guest")}',
        None,
    ),
}


def bundles(more: str, root: str = "Root") -> pgtls.Spec:
    files = {"partner.crt": company("Partner"), "root.crt": company(root), "twin.crt": twin()}
    files["leaf.crt"] = company("a new server", "new.example.com", ca=False)
    files["more.crt"] = company("new.example.com", "new.example.com", "later.example.com", ca=False)
    return pgtls.loads(BUNDLES + more, files, now=NOW)


@cache
def twin() -> bytes:
    """Return the certificate of another CA with the name of the partner."""
    return company.__wrapped__("Partner")


def everywhere(old: pgtls.Spec, new: pgtls.Spec) -> list[tuple[str, str, str]]:
    what = "bundles that trust "
    return [(c.entity, c.before, c.after) for c in pgtls.diff(old, new).protection if c.what.startswith(what)]


@pytest.mark.parametrize("way", BRINGS)
def test_a_root_that_a_server_brings_into_the_bundle_of_others_is_a_weakening(way: str) -> None:
    """A bundle has one file of roots: whoever has the key of one can pretend to be every server of it."""
    more, brings = BRINGS[way]
    who = "guest" if "somebody" in way else "app"
    difference = pgtls.diff(bundles(""), bundles(more))
    assert everywhere(bundles(""), bundles(more)) == ([(brings, "none", who)] if brings else [])
    assert not brings or difference.exceeds("weakened")
    assert not pgtls.diff(bundles(more), bundles(more))
    assert not everywhere(bundles(more), bundles(""))


def test_a_foreign_root_is_known_by_its_key_in_each_bundle_that_gets_it() -> None:
    both = bundles(POLICY_NEW.format("far", "app"))
    assert everywhere(both, bundles(f"{POLICY_NEW.format('far', 'app')}[user.new]\n")) == []
    again = POLICY_NEW.format("far", 'app", "guest') + POLICY_NEW.format("main", "guest").replace(".new", ".more")
    assert everywhere(both, bundles(again)) == [("server.far", "app", "guest, app")]
    same = f'{NEW}cert_file = "twin.crt"\n{POLICY_NEW.format("far", "app")}' + POLICY_NEW.format("new", "app").replace(
        ".new", ".more"
    )
    assert everywhere(both, bundles(same)) == [("server.new", "none", "app")]


@pytest.mark.parametrize("table", ["", 'ca = "new"\n[ca.new]\nexternal = true\n'], ids=["of a server", "above a CA"])
def test_a_foreign_root_is_known_by_its_certificate_and_not_by_its_key(table: str) -> None:
    """Another certificate with its name and key may permit more names."""
    key, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    narrow = certificate("Known", key, x509.NameConstraints([x509.DNSName("example.org")], None))
    below = certificate("new", own, issuer=("Known", key)) if table else b""
    files = {"old.crt": narrow, "same.crt": below + narrow, "wide.crt": below + certificate("Known", key)}
    there = another("old").replace('ca = "root"', 'cert_file = "old.crt"')

    def using(file: str) -> pgtls.Spec:
        new = f'{NEW}{table}cert_file = "{file}"\n{POLICY_NEW.format("new", "app")}'
        return pgtls.loads(
            f"{BUNDLES}{there}{new if file else ''}", {"partner.crt": company("Other"), **files}, now=NOW
        )

    assert everywhere(using(""), using("same.crt")) == []
    assert everywhere(using(""), using("wide.crt")) == [("server.new", "none", "app")]


def test_a_new_user_has_the_bundle_of_the_one_that_it_replaces() -> None:
    both, main = bundles(POLICY_NEW.format("far", "app")), bundles("")

    def renamed(one: pgtls.Spec) -> pgtls.Spec:
        text = _text_of(one).replace('["app"]', '["etl"]').replace("[user.app]", '[user.etl]\nroles = ["app"]')
        return pgtls.loads(text, {"partner.crt": company("Partner")}, now=NOW)

    assert everywhere(both, renamed(both)) == []
    assert everywhere(main, renamed(both)) == [("server.far", "none", "etl")]


def test_a_server_that_no_longer_names_the_ca_of_its_file_trusts_the_root_in_it() -> None:
    old, new = (bundles(f"{NEW}{ROOT}{ca}") for ca in ('ca = "root"\n', ""))
    (change,) = (c for c in pgtls.diff(old, new).protection if c.what == "is trusted through")
    assert (change.kind, change.before) == ("weakened", "root")
    assert change.after == "CN=Root (anyone certified under it)"


SNI = f"""{NEW}ca = "root"
postgres = 19
# more
[[server.new.sni]]
hosts = ["m.example.com"]
ca = "partner"
external = true
{POLICY_NEW.format("new", "app")}"""
ALSO = {
    "the server itself": (SNI, SNI.replace("# more", 'trust = ["partner"]'), "server.new"),
    "a further identity": (SNI, SNI.replace('ca = "partner"', 'ca = "root"\ntrust = ["partner"]'), None),
    "the other way": (
        SNI.replace('ca = "partner"\nexternal', 'ca = "root"\nexternal'),
        SNI,
        "server.new/m.example.com",
    ),
    "a new identity": (
        f"{SNI.partition('[[')[0]}{POLICY_NEW.format('new', 'app')}",
        SNI,
        "server.new/m.example.com",
    ),
}


@pytest.mark.parametrize("who", ALSO)
def test_what_one_identity_of_a_server_trusts_hides_nothing_of_another(who: str) -> None:
    before, after, entity = ALSO[who]
    difference = pgtls.diff(bundles(before), bundles(after))
    changes = [(one.kind, one.entity) for one in difference.protection if one.what == "is trusted through"]
    assert (("weakened", entity) in changes) == (entity is not None)
    assert difference.exceeds("weakened") or entity is None


def test_another_certificate_under_the_same_file_name_is_a_weakening() -> None:
    foreign = ("[ca.machines]\n", '[ca.machines]\ncert_file = "company.crt"\ncrl = false\n')
    one, other = (spec(foreign, files={"company.crt": company(name)}) for name in ("Company", "Another"))
    difference = pgtls.diff(one, other)
    assert ("weakened", "ca.machines", "cert_file") in found(difference)
    assert not pgtls.diff(one, one)


def test_the_source_of_a_secret_is_shown_and_no_secret() -> None:
    difference = compared((USER, 'passphrase = { command = ["sops", "-d", "x"] }\n'))
    (change,) = difference.protection
    assert (change.kind, change.what, change.after) == ("weakened", "passphrase", "from command sops, -d, x")


NOTHING = {
    "a comment": ("# server\n", "# another\n"),
    "a default that is said": (SERVER, "crl = true\n"),
    "another order of databases": ("postgres = 17", "postgres = 17 "),
}


@pytest.mark.parametrize("edit", NOTHING.values(), ids=NOTHING)
def test_what_changes_nothing_is_no_difference(edit: tuple[str, str]) -> None:
    assert not compared(edit)


FACTORS = {
    "a certificate alone for a certificate and a password": (
        "scram-sha-256",
        "verify-full",
        "cert",
        "none",
        "weakened",
    ),
    "a certificate beside the password": ("scram-sha-256", "none", "scram-sha-256", "verify-full", "strengthened"),
    "a certificate of any name": ("scram-sha-256", "verify-full", "scram-sha-256", "verify-ca", "weakened"),
    "a certificate instead of a password": ("scram-sha-256", "none", "cert", "none", "weakened"),
    "a password instead of a certificate": ("cert", "none", "scram-sha-256", "none", "weakened"),
    "a password that is not sent as it is": ("password", "none", "scram-sha-256", "none", "strengthened"),
    "a certificate and a password sent as it is": ("scram-sha-256", "none", "password", "verify-full", "weakened"),
    "a password checked elsewhere": ("pam", "none", "radius", "none", "weakened"),
}


@pytest.mark.parametrize(("method", "shown", "later", "shown_later", "kind"), FACTORS.values(), ids=FACTORS)
def test_dropping_a_factor_weakens_whatever_is_added(
    method: str, shown: str, later: str, shown_later: str, kind: str
) -> None:
    def asking(auth: str, certificate: str) -> tuple[str, str]:
        options = 'auth_options = { radiusservers = "r", radiussecrets = { env = "S" } }\n' if auth == "radius" else ""
        client = f'client_cert = "{certificate}"\n' if certificate != "none" else ""
        waiver = 'waiver = { reason = "x", codes = ["PGT302", "PGT303", "PGT304"] }\n'
        return 'auth = "cert"\n# policy\n', f'auth = "{auth}"\n{client}{options}{waiver if auth != "cert" else ""}'

    difference = pgtls.diff(spec(asking(method, shown)), spec(asking(later, shown_later)))
    kinds = {change.kind for change in difference.access if change.policies == ("app",)}
    assert kinds == {kind}


# --- any means any ---------------------------------------------------------------------------------------------------

LINES = {
    SERVER: (
        "port = 5433",
        'hosts_ = ""',
        'ciphers = "HIGH"',
        'groups = "prime256v1"',
        'directory = "/etc/tls"',
        'socket_directory = "/run/pg"',
        "crl = false",
        'trust = ["machines"]',
        'databases = ["shop", "logs"]',
        'key_algorithm = "rsa-2048"',
    ),
    SETTINGS: (
        "max_connections = 200",
        'archive_command = "x"',
        "password_encryption = 'scram-sha-256'",
        "work_mem = 9",
    ),
    USER: (
        "libpq = 17",
        'directory = "/home/app"',
        'roles = ["app", "other"]',
        'common_name = "application"',
        'identity = "dn"',
        'member_of = ["staff"]',
        "crl = true",
        "until = 2027-01-01",
        'subject = { organization = "Example" }',
    ),
    POLICY: ("priority = 3", 'description = "x"', "until = 2027-01-01", 'client_cert = "none"'),
    '"10.0.0.0/8"': ('"10.0.0.0/9"', '"10.0.0.0/8", "::1"', '".example.org"', '"samenet"', '"all"'),
    '["logs"]': ('["logs", "more"]', '["all"]', '["sameuser"]', '["replication"]', '["/^l"]'),
    'sslmode = "prefer"': ('sslmode = "require"', 'sslmode = "verify-ca"', 'channel_binding = "require"'),
    "postgres = 17": ("postgres = 16", "postgres = 18", "postgres = 14"),
    "[policy.weak]": ("[policy.renamed]",),
}
CHOICES = [(old, new) for old, news in LINES.items() for new in news]


def texts(one: pgtls.Spec) -> dict[str, object]:
    state = one.usable()
    rendered = render.texts(state.fleet, state.rules, index(state.fleet))
    return {path: file.read() for path, file in rendered.items()}


@given(first=st.lists(st.sampled_from(CHOICES), max_size=3), second=st.lists(st.sampled_from(CHOICES), max_size=3))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_edits_that_change_a_compiled_text_are_never_no_difference(
    first: list[tuple[str, str]], second: list[tuple[str, str]]
) -> None:
    old, new = (
        spec(*{old: (old, new if "=" in old or old[0] in '"[' else f"{old}{new}\n") for old, new in edits}.values())
        for edits in (first, second)
    )
    assume(pgtls.check(old) and pgtls.check(new))
    if texts(old) != texts(new):
        assert pgtls.diff(old, new).exceeds("any")
    if first == second:
        assert not pgtls.diff(old, new)


ABOVE = """version = 1
[ca.root]
[ca.eu]
issuer = "root"
name_constraints = { permitted_dns = ["eu.example.com"] }
path_length = 1
[ca.narrow]
issuer = "root"
name_constraints = { permitted_dns = ["db.eu.example.com"] }
path_length = 1
[ca.partner]
issuer = "eu"
external = true
[ca.clients]
[server.main]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
no_local = true
[user.app]
ca = "clients"
[policy.app]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


NARROW, DEPTH = ('issuer = "eu"', 'issuer = "narrow"'), "path_length = 1\n[ca.partner]"


@pytest.mark.parametrize(
    ("edits", "weaker"),
    [
        ([NARROW], []),
        ([('issuer = "eu"', 'issuer = "root"')], ["name_constraints of its issuers", "path_length of its issuers"]),
        ([NARROW, (DEPTH, DEPTH.replace("1", "2"))], ["path_length of its issuers"]),
        ([NARROW, (DEPTH, "[ca.partner]")], []),
        ([NARROW, (DEPTH, f"crl = false\n{DEPTH}")], ["crl of its issuers"]),
    ],
)
def test_a_ca_that_leaves_the_restrictions_above_it_is_a_weakening(
    edits: list[tuple[str, str]], weaker: list[str]
) -> None:
    after = ABOVE
    for edit in edits:
        after = after.replace(*edit)
    changes = pgtls.diff(pgtls.loads(ABOVE, now=NOW), pgtls.loads(after, now=NOW)).protection
    found = [c.what for c in changes if c.entity == "ca.partner" and c.kind == "weakened"]
    assert found == weaker


KEY = """version = 1
[ca.root]
[server.main]
ca = "root"
client_ca = ["root"]
hosts = ["db.example.com"]
no_local = true
[user.dba]
ca = "root"
{user}[policy.app]
servers = ["main"]
users = {who}
from = ["10.0.0.0/8"]
{more}
"""


@pytest.mark.parametrize(
    ("who", "more", "told"),
    [
        ('["app"]', 'auth = "cert"', True),
        ('["all"]', 'auth = "cert"', True),
        ('["dba"]', 'auth = "cert"\nmap = [{ identity = "/^(.*)$", role = "dba" }]', True),
        ('["dba"]', 'auth = "scram-sha-256"\nclient_cert = "verify-ca"', True),
        ('["all"]', 'auth = "cert"', False),
    ],
    ids=["a name", "everybody", "a map", "any certificate", "a new user"],
)
def test_a_key_on_another_machine_is_told_of_each_user_who_was_there(who: str, more: str, *, told: bool) -> None:
    user = '[user.app]\nca = "root"\n'
    standby = '[server.new]\nca = "root"\nclient_ca = ["root"]\nhosts = ["10.9.9.9"]\nno_local = true\n'
    standby += 'standby_of = "main"\nreplication_user = "app"\n'
    old = pgtls.loads(KEY.format(user=user if told else "", who=who, more=more), now=NOW)
    new = pgtls.loads(KEY.format(user=user, who=who, more=more) + standby, now=NOW)
    assert (("weakened", "user.app", "its key is on other machines") in found(pgtls.diff(old, new))) is told


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ('[user.web]\nca = "root"\nroles = ["app"]\n', True),
        ('[user.web]\nca = "root"\nroles = ["one"]\ncommon_name = "app"\n', True),
        ('[user.web]\nca = "root"\nroles = ["one"]\n', False),
    ],
    ids=["the role", "the common name", "neither"],
)
def test_a_new_name_of_a_user_does_not_hide_that_its_key_is_on_another_machine(user: str, *, told: bool) -> None:
    standby = '[server.new]\nca = "root"\nclient_ca = ["root"]\nhosts = ["10.9.9.9"]\nno_local = true\n'
    standby += 'standby_of = "main"\nreplication_user = "web"\n'
    more = 'auth = "scram-sha-256"\nclient_cert = "verify-ca"'
    old = pgtls.loads(KEY.format(user='[user.app]\nca = "root"\n', who='["dba"]', more=more), now=NOW)
    renamed, moved = (
        pgtls.loads(KEY.format(user=user, who='["dba"]', more=more) + one, now=NOW) for one in ("", standby)
    )
    row = ("weakened", "user.web", "its key is on other machines")
    assert row not in found(pgtls.diff(old, renamed))
    assert (row in found(pgtls.diff(old, moved))) is told


@pytest.mark.parametrize(
    ("hosts", "told"),
    [
        ('hosts = ["x.example.com", "db.example.com"]', True),
        ('hosts = ["x.example.com", "*.example.com"]', True),
        ('hosts = ["x.example.com"]\npostgres = 19\nsni = [{ ca = "root", hosts = ["y", "db.example.com"] }]', True),
        ('hosts = ["x.example.com", "*.db.example.com"]', False),
    ],
    ids=["a further name", "a wildcard", "a further identity", "another name"],
)
def test_a_port_that_was_that_of_another_server_under_any_of_its_names_is_a_weakening(hosts: str, told: bool) -> None:
    other = '[server.other]\nca = "root"\nhosts = ["db.example.com"]\nno_local = true\nport = {}\n'
    main = SHARING.replace('hosts = ["db.example.com"]', hosts)
    old, new = (pgtls.loads(main + other.format(port), now=NOW) for port in (5433, 5432))
    weakening = ("weakened", "server.other", "its clients dial what was server.main")
    assert (weakening in found(pgtls.diff(old, new))) is told
    assert weakening not in found(pgtls.diff(new, old))


def test_a_port_that_was_that_of_another_server_is_a_weakening() -> None:
    """Both prove the name of the host: clients do not notice."""
    text = """version = 1
[ca.root]
[server.one]
ca = "root"
hosts = ["db.example.com"]
port = {}
no_local = true
[server.two]
ca = "root"
hosts = ["db.example.com"]
port = {}
no_local = true
[user.app]
[policy.app]
servers = ["one"]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
"""

    def weakened(*ports: int) -> list[tuple[str, str]]:
        changes = pgtls.diff(*(pgtls.loads(text.format(*each), now=NOW) for each in ((5432, 6432), ports))).protection
        return [(change.entity, change.what) for change in changes if change.kind == "weakened"]

    one, two = (
        ("server.one", "its clients dial what was server.two"),
        ("server.two", "its clients dial what was server.one"),
    )
    assert weakened(6432, 5432) == [one, two]
    assert weakened(7432, 5432) == [two]
    assert weakened(7432, 8432) == []


SERVICES = """version = 1
[ca.root]
[user.app]
roles = ["app", "admin"]
[user.bouncer]
ca = "root"
[user.repl]
ca = "root"
[policy.main]
servers = ["main"]
users = ["app"]
databases = ["shop", "all"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
"""
MAIN = '[server.main]\nca = "root"\nclient_ca = ["root"]\nhosts = ["db.example.com"]\nno_local = true\n'
STANDBY = MAIN.replace(".main", ".sb").replace("db.", "sb.") + 'standby_of = "main"\nreplication_user = "repl"\n'
BACK = MAIN.replace(".main", ".back").replace("db.", "back.")
MAIN_POOLER = (
    MAIN.replace("[server", "[pooler").replace("no_local = true", "")
    + 'server = "back"\nuser = "bouncer"\nauth_file = "/etc/x"\nfrom = ["10.0.0.9"]\n'
)


def another(name: str, users: str = "app", host: str = "dev.example.com") -> str:
    """Return a server for which the author of a change has the key."""
    server = f'[server.{name}]\nca = "root"\nhosts = ["{host}"]\nno_local = true\n'
    return server + POLICY_NEW.format(name, users).replace(".new", f".{name}")


@pytest.mark.parametrize(
    ("tables", "holders"),
    [
        (MAIN + another("main-shop"), "server.main and of server.main-shop"),
        (BACK + MAIN_POOLER + another("main-shop"), "server.main-shop and of pooler.main"),
        (MAIN + STANDBY + another("main-read-write"), "server.main-read-write and of server.main"),
        (
            MAIN + "postgres = 19\n[[server.main.sni]]\n" + 'ca = "root"\nhosts = ["shop"]\n',
            "server.main and of server.main/shop",
        ),
        (MAIN + another("main-read-write"), ""),
        (MAIN + another("main-shop", users="bouncer"), ""),
        (MAIN + another("main-store"), ""),
    ],
    ids=[
        "a database",
        "of a pooler",
        "two servers",
        "an identity",
        "without a standby",
        "another bundle",
        "other words",
    ],
)
def test_two_servers_of_a_bundle_have_no_services_of_one_name(tables: str, holders: str) -> None:
    found = [
        one.message for one in pgtls.check(pgtls.loads(SERVICES + tables, now=NOW)).diagnostics if one.code == "PGT151"
    ]
    assert len(found) == bool(holders)
    assert all(message.endswith(f"those of {holders}") for message in found)


SHOP = 'databases = ["shop", "all"]', 'databases = ["all"]'
REDIALLED = {
    "a new server that takes a free name": (MAIN, MAIN + another("main-shop"), "server.main-shop"),
    "a pooler at another host": (MAIN, BACK + MAIN_POOLER.replace("db.", "pool."), "pooler.main"),
    "a pooler in the place of the server": (MAIN, BACK + MAIN_POOLER + "port = 5432\n", None),
    "a further standby": (MAIN + STANDBY, MAIN + STANDBY + STANDBY.replace("sb", "s2"), "server.s2"),
    "a new name of a standby": (MAIN + STANDBY, MAIN + STANDBY.replace(".sb]", ".s2]"), None),
    "another server with other services": (MAIN, MAIN + another("more"), None),
}


@pytest.mark.parametrize(("before", "after", "told"), REDIALLED.values(), ids=REDIALLED)
def test_a_service_that_dials_another_server_under_its_name_is_a_weakening(
    before: str, after: str, told: str | None
) -> None:
    old = pgtls.loads(SERVICES + before, now=NOW)
    new = pgtls.loads((SERVICES.replace(*SHOP) if "main-shop" in after else SERVICES) + after, now=NOW)
    entities = {c.entity for c in pgtls.diff(old, new).protection if c.what.startswith("the servers of ")}
    assert entities == ({told} if told else set())


def test_a_pooler_in_the_place_of_a_server_hides_no_weaker_field_of_its_new_name() -> None:
    old = pgtls.loads(f"{SERVICES}{MAIN}{FIELDS}".replace('["shop", "all"]', '["shop"]'), now=NOW)
    new = pgtls.loads(f"{SERVICES}{BACK}{MAIN_POOLER}", now=NOW)
    weaker = {
        what for kind, entity, what in found(pgtls.diff(old, new)) if (kind, entity) == ("weakened", "server.back")
    }
    assert weaker >= {"key_algorithm", "validity", "ciphers", "databases"}


@pytest.mark.parametrize("count", [5, 6])
def test_users_who_may_be_any_of_many_are_a_weakening(count: int) -> None:
    def many(prefix: str, fields: str) -> pgtls.Spec:
        users = "".join(f'[user.{prefix}{n}]\nroles = ["app"]\n{fields}' for n in range(count))
        return pgtls.loads(
            SERVICES.replace('[user.app]\nroles = ["app", "admin"]\n', users).replace(
                '["app"]\ndata', f'["{prefix}0"]\ndata'
            )
            + MAIN,
            now=NOW,
        )

    strong, weak = 'ca = "root"\nvalidity = "30d"\n', 'ca = "root"\nvalidity = "9y"\n'
    told = found(pgtls.diff(many("old", strong), many("new", weak)))
    what = "validity" if count == 5 else "replaces one of several users"
    assert ("weakened", "user.new0", what) in told


SECRET = """[policy.secret]
servers = [{}]
users = ["app"]
databases = ["logs"]
from = ["192.0.2.0/24"]
auth = "radius"
auth_options = {{ radiusservers = "10.0.0.1", radiussecrets = {} }}
"""
COVER = """[policy.cover{0}]
servers = ["{1}"]
users = ["all"]
from = ["192.0.2.{0}/25"]
auth = "reject"
priority = 11
"""
OF_MAIN = MAIN + SECRET.format('"main"', '{ env = "A" }')
GETS = {
    "a new policy that admits nobody": (
        MAIN,
        MAIN + SECRET.format('"main"', '{ env = "A" }') + COVER.format(0, "main") + COVER.format(128, "main"),
        ("none", "server.main for 10.0.0.1:1812"),
    ),
    "a policy on a further server": (
        OF_MAIN,
        MAIN + another("dev") + SECRET.format('"main", "dev"', '{ env = "A" }'),
        ("server.main for 10.0.0.1:1812", "server.dev, server.main for 10.0.0.1:1812"),
    ),
    "a policy on a further server that shares a host": (
        OF_MAIN.replace('"db.example.com"', '"db.example.com", "localhost"', 1),
        MAIN.replace('"db.example.com"', '"db.example.com", "localhost"', 1)
        + another("dev").replace('"dev.example.com"', '"dev.example.com", "localhost"')
        + SECRET.format('"main", "dev"', '{ env = "A" }'),
        ("server.main for 10.0.0.1:1812", "server.dev, server.main for 10.0.0.1:1812"),
    ),
    "a file": (MAIN, MAIN + SECRET.format('"main"', '{ file = "/x" }'), ("none", "server.main for 10.0.0.1:1812")),
    "a new name of the server": (OF_MAIN, OF_MAIN.replace("main", "primary"), None),
    "a new name of the policy": (OF_MAIN, OF_MAIN.replace("policy.secret", "policy.other"), None),
    "a further policy with the secret": (
        OF_MAIN,
        OF_MAIN + SECRET.format('"main"', '{ env = "A" }').replace(".secret", ".more").replace("logs", "more"),
        None,
    ),
    "a server in the place of one that is gone": (
        OF_MAIN,
        OF_MAIN.replace("main", "dev").replace("db.example.com", "dev.example.com"),
        ("server.main for 10.0.0.1:1812", "server.dev for 10.0.0.1:1812"),
    ),
}


LDAP = 'auth = "ldap"\nauth_options = { ldapserver = "ldap.example.com", ldapprefix = "cn=" }\n'
SCRAM = 'auth = "scram-sha-256"\n'
MORE = ("no certificate, scram-sha-256", "no certificate, password, scram-sha-256")
HALF = COVER.format(0, "main")
ANSWERS = {
    "another method below a reject that leaves a gap": (LDAP, "logs", HALF, MORE),
    "another method below rejects that cover it": (LDAP, "logs", HALF + COVER.format(128, "main"), None),
    "the same method": (SCRAM, "logs", HALF, None),
    "another method in another database": (LDAP, "other", HALF, None),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_client_that_answers_more_requests_of_a_server_is_a_weakening(name: str) -> None:
    auth, database, rejects, told = ANSWERS[name]
    more = SECRET.partition("auth =")[0].format('"main"').replace("logs", database) + auth
    base = MAIN + POLICY_NEW.format("main", "app").replace(".new", ".base") + 'databases = ["logs"]\n'
    old, new = (pgtls.loads(f"{SERVICES.split('[policy')[0]}{one}", now=NOW) for one in (base, base + more + rejects))
    found = pgtls.diff(old, new)
    changes = {(c.before, c.after) for c in found.protection if c.what.startswith("what the clients of service")}
    assert changes == ({told} if told else set())


@pytest.mark.parametrize(("before", "after", "told"), GETS.values(), ids=GETS)
def test_a_secret_on_another_machine_is_a_weakening_whatever_its_policy_admits(
    before: str, after: str, told: tuple[str, str] | None
) -> None:
    old, new = (pgtls.loads(f"{SERVICES.split('[policy')[0]}{one}", now=NOW) for one in (before, after))
    difference = pgtls.diff(old, new)
    changes = [(c.before, c.after) for c in difference.protection if c.what.startswith("who gets the secret")]
    assert changes == ([told] if told else [])
    assert not told or difference.exceeds("weakened")
