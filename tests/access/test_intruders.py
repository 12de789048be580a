"""Certificates of CAs that a server does not name, and of former users: whoever gets in is found before it happens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from access.fleets import fleet_of
from pgtls.access.answers import Side
from pgtls.access.compile import compile_rules
from pgtls.access.grants import distinguished_name
from pgtls.access.held import held
from pgtls.access.matrix import matrix
from pgtls.access.protection import protection
from pgtls.hba.match import decide, outcome
from pgtls.hba.model import ClientCertificate, Connection, Surroundings
from pgtls.pki import facts
from pgtls.pki.model import Certificate, Entity
from support.authority import Authority, named

if TYPE_CHECKING:
    from pathlib import Path

    from pgtls.access.model import Rules
    from pgtls.fleet.model import User

FLEET = """
[ca.root]
[ca.clients]
issuer = "root"
[ca.machines]
issuer = "root"
[server.primary]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
postgres = 17
no_local = true
[user.app]
ca = "clients"
{own}[user.robot]
ca = "machines"
common_name = "{name}"
{its}[policy.p]
users = [{users}]
databases = ["shop"]
from = ["10.0.0.0/8"]
{auth}
"""

OWN = {"by name": "", "by subject": 'identity = "dn"\nsubject = { organization = "ours" }\n'}
ITS = {"by name": "", "by subject": 'identity = "dn"\nsubject = { organization = "theirs" }\n'}
USERS = ('"app"', '"all"', '"+team"')
AUTH = ('auth = "cert"', 'auth = "scram-sha-256"\nclient_cert = "verify-full"')
ANY_CERTIFICATE = 'auth = "scram-sha-256"\nclient_cert = "verify-ca"'
MAPS = ("", *(f"map = [{{ identity = {one}, role = {role} }}]" for one, role in product(
    ("'robot'", "'/^rob'", r"'/^(\w+)\.m$'"), ("'app'", "'/^tenant_[0-9]+$'", "'/^ap'", r"'\1'")
)))  # fmt: skip
ROLES = ("app", "apx", "robot", "tenant_1", "team")
MEMBERS = frozenset({("app", "team"), ("tenant_1", "team")})


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("its", ITS)
@pytest.mark.parametrize("name", ["robot", "app.m", "app"])
@pytest.mark.parametrize("users", USERS)
def test_no_user_of_another_ca_gets_in_unseen(own: str, its: str, name: str, users: str) -> None:
    seen = 0
    for auth, entries in [*product(AUTH, MAPS), (ANY_CERTIFICATE, "")]:
        tables = FLEET.format(own=OWN[own], its=ITS[its], name=name, users=users, auth=f"{auth}\n{entries}")
        fleet = fleet_of(tables)
        rules, found = compile_rules(fleet, fleet.servers["primary"])
        if rules is None:
            continue
        seen += 1
        opened = _opened(rules, fleet.users["robot"])
        assert not opened or "PGT255" in {one.code for one in found}, (auth, entries, opened)
    assert seen > 1


def _opened(rules: Rules, user: User) -> list[str]:
    """Return the roles that a user's certificate opens, by the rules as a server reads them."""
    shown = ClientCertificate(user.common_name, distinguished_name(user))
    around = Surroundings(MEMBERS)
    found = []
    for role in ROLES:
        tried = Connection(role, "shop", "tls", ip_address("10.1.2.3"), certificate=shown)
        line = decide(rules.lines, tried, around)
        if line and outcome(line, rules.idents, tried, 17, around).accepted:
            found.append(role)
    return found


def test_a_map_that_opens_nothing_to_them_is_no_fault() -> None:
    quiet = 'auth = "cert"\nmap = [{ identity = "/^svc-", role = "/^tenant_" }]'
    tables = FLEET.format(own="", its="", name="robot", users='"all"', auth=quiet)
    fleet = fleet_of(tables)
    assert [one.code for one in compile_rules(fleet, fleet.servers["primary"])[1]] == []
    (found,) = compile_rules(fleet_of(tables.replace('"robot"', '"svc-1"')), fleet.servers["primary"])[1]
    assert 'could log in as a role that matches "/^tenant_" by policy "p"' in found.message


@dataclass(frozen=True)
class Issued:
    """A certificate of the lock."""

    ca: str
    entity: Entity
    certificate: Certificate
    roots: tuple[str, ...] = ()
    foreign: bool = False


def _issued(subject: str, *names: str) -> Issued:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    made = Certificate(
        "1f", subject, "CN=clients", names, (), "ecdsa-p256", "", "", None, "", when, when.replace(year=2027)
    )
    return Issued("clients", Entity("user.old"), made)


HEIRS = """
[ca.root]
[ca.clients]
[server.primary]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
no_local = true
crl = false
[user.new]
ca = "clients"
common_name = "batch"
{whole}[user.other]
ca = "clients"
common_name = "{other}"
{twin}[policy.p]
users = ["new"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


@pytest.mark.parametrize("other", ["batch", "another"])
@pytest.mark.parametrize("subject", ["CN=batch,OU=a", "CN=batch,OU=b", "CN=nobody"])
def test_each_user_of_a_name_is_an_heir(other: str, subject: str) -> None:
    whole, twin = (f'identity = "dn"\nsubject = {{ organizational_unit = "{unit}" }}\n' for unit in "ab")
    fleet = fleet_of(HEIRS.format(whole=whole, twin=twin, other=other))
    _, found = compile_rules(fleet, fleet.servers["primary"], held(fleet, [_issued(subject)]))
    heirs = [one.path[1] for one in found if one.code == "PGT254"]
    expected = {"CN=batch,OU=a": ["new"], "CN=batch,OU=b": ["other"] if other == "batch" else []}
    assert heirs == expected.get(subject, [])


NOTHING, SERVER = (), ("serverAuth",)
"""Extended key usages. Without one, a certificate is for every purpose."""


@pytest.mark.parametrize(
    ("entity", "usages", "found"),
    [
        ("server.gone", [NOTHING], True),
        ("pooler.gone", [("clientAuth", "serverAuth")], True),
        ("server.gone", [SERVER], False),
        ("server.primary", [NOTHING, SERVER], True),
        ("server.primary", [SERVER, NOTHING], True),
        ("server.primary", [SERVER, SERVER], False),
    ],
)
def test_a_certificate_of_a_server_that_is_one_of_a_client_too_has_heirs(
    entity: str, usages: list[tuple[str, ...]], *, found: bool
) -> None:
    """Also one of a server of the spec, whichever came later."""
    fleet = fleet_of(HEIRS.format(whole="", twin="", other="another"))
    lines = [
        replace(line, entity=Entity(entity), certificate=replace(line.certificate, usages=those, not_before=begin))
        for day, those in enumerate(usages, 1)
        for line, begin in [(_issued("CN=batch"), datetime(2026, 1, day, tzinfo=UTC))]
    ]
    _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, lines))
    assert {(fault.code, fault.severity) for fault in faults} == ({("PGT254", "error")} if found else set())
    assert not found or f"of {entity}," in faults[0].message


def test_a_certificate_of_a_server_that_a_pattern_accepts_is_a_warning_that_calls_nobody_former() -> None:
    fleet = fleet_of(LISTED.format(more="", of="cn", identity="/^bat"))
    line = replace(_issued("CN=batch"), entity=Entity("server.primary"))
    _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, [line]))
    (found,) = (fault for fault in faults if fault.code == "PGT254")
    assert (found.severity, "of server.primary, good until" in found.message) == ("warning", True)


@pytest.mark.parametrize("usages", [NOTHING, SERVER])
def test_a_certificate_of_a_server_of_another_ca_is_a_stranger_if_it_is_one_of_a_client(
    usages: tuple[str, ...],
) -> None:
    fleet = fleet_of(FLEET.format(own="", its="", name="x", users='"app"', auth='auth = "cert"'))
    line = _issued("CN=app")
    line = replace(
        line, ca="machines", entity=Entity("server.gone"), certificate=replace(line.certificate, usages=usages)
    )
    _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, [line]))
    assert ("PGT255" in {fault.code for fault in faults}) == (usages == NOTHING)


POOLER = """
[pooler.pool]
server = "primary"
user = "bouncer"
ca = "root"
client_ca = ["clients"]
hosts = ["pool.example.com"]
from = ["127.0.0.1"]
directory = "/etc/pgbouncer"
[user.bouncer]
ca = "clients"
"""
POOLED = """[policy.q]
users = ["new"]
servers = ["pool"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


@pytest.mark.parametrize(
    ("shown", "at_the_pooler", "at_the_server"),
    [
        (_issued("CN=batch"), True, True),
        (_issued("CN=Batch"), True, False),
        (_issued("CN=old", "DNS:BATCH"), True, False),
        (_issued("CN=old", "DNS:old.example.com"), False, False),
    ],
)
def test_a_pooler_takes_a_name_without_regard_to_case_and_from_host_names(
    shown: Issued, *, at_the_pooler: bool, at_the_server: bool
) -> None:
    base = HEIRS.format(whole="", twin="", other="another").replace("crl = false\n", "")
    fleet = fleet_of(base + POOLER + POOLED)
    for name, expected in (("pool", at_the_pooler), ("primary", at_the_server)):
        others = [one for one in fleet.servers if one != name]
        assert len(others) == 1
        _, found = compile_rules(fleet, fleet.servers[name], held(fleet, [shown]))
        assert ("PGT254" in {one.code for one in found}) == expected, name


LISTED = """
[ca.root]
[ca.clients]
[ca.company]
cert_file = "company.crt"
[server.primary]
ca = "root"
client_ca = ["clients", "company"]
hosts = ["db.example.com"]
no_local = true
crl = false
[user.new]
ca = "clients"
{more}
[policy.p]
users = ["new"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
map = [{{ identity = "{identity}", of = "{of}", role = "new" }}]
"""


@pytest.mark.parametrize(
    ("of", "identity", "subject", "found"),
    [
        ("cn", "batch", "CN=batch,OU=a", True),
        ("cn", "batch", "CN=other", False),
        ("dn", "CN=batch,OU=a", "CN=batch,OU=a", True),
        ("dn", "CN=batch,OU=a", "CN=batch,OU=b", False),
    ],
)
def test_a_map_entry_is_an_heir_too(of: str, identity: str, subject: str, *, found: bool) -> None:
    whole = 'identity = "dn"' if of == "dn" else ""
    fleet = fleet_of(LISTED.format(more=whole, identity=identity, of=of))
    _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, [_issued(subject)]))
    paths = [one.path for one in faults if one.code == "PGT254"]
    assert paths == ([("policy", "p", "map", 0, "identity")] if found else [])
    there = '[user.old]\nca = "clients"\ncommon_name = "batch"\nsubject = { organizational_unit = "a" }\n'
    present = fleet_of(LISTED.format(more=f"{whole}\n{there}", identity=identity, of=of))
    _, faults = compile_rules(present, present.servers["primary"], held(present, [_issued(subject)]))
    assert "PGT254" not in {one.code for one in faults}, "a user of today"


@pytest.mark.parametrize(
    ("table", "severities"),
    [
        ('common_name = "batch-old"', []),  # its own name
        ('common_name = "other"', ["warning"]),
        ('common_name = "batch-new"', ["warning"]),  # the pattern is for all batches, and the roles may differ
    ],
)
def test_an_older_name_of_a_present_user_that_a_pattern_accepts_is_a_warning(table: str, severities: list[str]) -> None:
    there = f'[user.old]\nca = "clients"\n{table}\n'
    fleet = fleet_of(LISTED.format(more=there, identity="/^batch-", of="cn"))
    _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, [_issued("CN=batch-old")]))
    found = [one for one in faults if one.code == "PGT254"]
    assert [one.severity for one in found] == severities
    assert all("of user.old" in one.message for one in found), "the user is there"
    left = held(fleet, [_issued("CN=batch-old")], {("clients", "1f")})
    found = [one for one in compile_rules(fleet, fleet.servers["primary"], left)[1] if one.code == "PGT254"]
    assert found
    assert all("of a former user.old" in one.message for one in found)


def test_somebody_else_in_the_table_of_a_former_user_is_a_warning() -> None:
    fleet = fleet_of(
        HEIRS.format(whole="", twin="", other="another").replace("user.new", "user.old").replace('"new"', '"old"')
    )
    known, server = [_issued("CN=batch")], fleet.servers["primary"]
    assert compile_rules(fleet, server, held(fleet, known))[1] == compile_rules(fleet, server)[1], "its own certificate"
    _, found = compile_rules(fleet, server, held(fleet, known, {("clients", "1f")}))
    (warning,) = (one for one in found if one.code == "PGT254")
    assert (warning.severity, warning.path) == ("warning", ("user", "old"))
    assert "of a former user.old" in warning.message
    assert "if this is somebody else" in str(warning.hint)


MOVED = """
[ca.root]
[ca.clients]
issuer = "root"
[ca.partners]
{issuer}[server.primary]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
no_local = true
[user.app]
ca = "clients"
[user.old]
ca = "{ca}"
[policy.p]
users = ["all"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


def _of(entity: str, subject: str, ca: str) -> Issued:
    line = _issued(subject)
    return Issued(ca, Entity(entity), line.certificate)


@pytest.mark.parametrize(
    ("issuer", "ca", "lines", "found"),
    [
        ("", "partners", [], False),
        ('issuer = "root"\n', "partners", [], True),
        ("", "partners", [_of("ca.partners", "CN=partners", "root")], True),  # its former certificate leads there
        ("", "partners", [_of("user.old", "CN=old", "root")], True),  # the user had another CA
        ("", "clients", [_of("user.old", "CN=old", "root")], False),  # and may show the same under a named one
        ("", "clients", [_of("user.old", "CN=other", "root")], True),
        ("", "partners", [_of("user.gone", "CN=gone", "root")], True),
    ],
)
def test_certificates_of_the_lock_count_like_those_of_the_spec(
    issuer: str, ca: str, lines: list[Issued], *, found: bool
) -> None:
    fleet = fleet_of(MOVED.format(issuer=issuer, ca=ca))
    _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, lines))
    assert ("PGT255" in {one.code for one in faults}) == found


NAMED = """
[ca.root]
[ca.clients]
issuer = "root"
[ca.partners]
issuer = "root"
[server.primary]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
no_local = true
[user.app]
ca = "clients"
[user.ann]
ca = "{ca}"
{whole}[policy.p]
users = [{users}]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = {auth}
"""
PATTERN = 'map = [{ identity = "/^svc-", role = "app" }]'
BY_SUBJECT = 'map = [{ identity = "/OU=staff", of = "dn", role = "app" }]'


@pytest.mark.parametrize("ca", ["clients", "partners"])
@pytest.mark.parametrize(
    ("title", "users", "auth", "subject", "found"),
    [
        ("another name, and a map that opens a role to it", '"ann", "app"', f'"cert"\n{PATTERN}', "CN=svc-ann", True),
        ("another name, and every role", '"ann", "all"', '"cert"', "CN=admin", True),
        ("another name that opens nothing", '"ann", "app"', f'"cert"\n{PATTERN}', "CN=ann2", False),
        ("today's name", '"ann", "all"', '"cert"', "CN=ann,OU=older", False),
        ("another subject with today's name", '"ann", "app"', f'"cert"\n{BY_SUBJECT}', "CN=ann,OU=staff", True),
        ("no name is compared", '"ann", "app"', '"scram-sha-256"\nclient_cert = "verify-ca"', "CN=x", False),
    ],
)
def test_a_policy_that_names_a_user_does_not_mean_an_older_name(
    ca: str, title: str, users: str, auth: str, subject: str, *, found: bool
) -> None:
    """Today's certificate of that CA is meant: the policy names its user."""
    whole = 'identity = "dn"\n' if BY_SUBJECT in auth else ""
    fleet = fleet_of(NAMED.format(ca=ca, users=users, auth=auth, whole=whole))
    server = fleet.servers["primary"]
    assert "PGT255" not in {one.code for one in compile_rules(fleet, server)[1]}
    rules, faults = compile_rules(fleet, server, held(fleet, [_of("user.ann", subject, "partners")]))
    assert rules is not None, faults
    assert ("PGT255" in {one.code for one in faults}) == found, title


@pytest.mark.parametrize("organization", ["Corp", "Other"])
def test_an_older_line_of_todays_certificate_from_a_file_is_no_other(tmp_path: Path, organization: str) -> None:
    """The spec need not say all of its subject; its CA may have had another name."""
    bundle = Authority.root("Clients").bundle(named(CN="ann", O="Corp"))
    tables = NAMED.format(ca="clients", whole=f'cert_file = "{bundle}/postgresql.crt"\n', users='"all"', auth='"cert"')
    fleet = fleet_of(tables)
    line = _of("user.ann", f"O={organization},CN=ann", "partners")
    _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, [line]))
    assert ("PGT255" in {one.code for one in faults}) == (organization == "Other")


def test_who_has_another_ca_today_is_not_told_by_the_name() -> None:
    """Nor by today's subject: an older certificate may be of a trusted CA, and is not revoked."""
    tables = HEIRS.format(whole="", twin="", other="batch").replace("[ca.clients]", "[ca.clients]\n[ca.elsewhere]")
    fleet = fleet_of(tables.replace('[user.other]\nca = "clients"', '[user.other]\nca = "elsewhere"'))
    _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, [_of("user.other", "CN=batch", "clients")]))
    assert [one.path for one in faults if one.code == "PGT254"] == [("user", "new")]


def test_a_former_user_whom_an_expression_accepts_is_a_warning() -> None:
    fleet = fleet_of(LISTED.format(more="", identity="/^bat", of="cn"))
    for subject, former, severities in (
        ("CN=batch", {("clients", "1f")}, ["warning"]),
        ("CN=other", {("clients", "1f")}, []),
        ("CN=batch", set[tuple[str, str]](), []),
    ):
        _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, [_issued(subject)], former))
        assert [one.severity for one in faults if one.code == "PGT254"] == severities


BY_NAME = """
[ca.root]
[ca.clients]
[server.primary]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
no_local = true
crl = false
[user.app]
ca = "clients"
{app}[user.old]
{old}[user.batch]
{batch}[policy.p]
users = [{users}]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = {auth}
[policy.pw]
users = ["batch"]
databases = ["other"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
"""


@pytest.mark.parametrize(
    ("title", "changes", "severities"),
    [
        ("every role", {}, ["error"]),
        ("a role of another name", {"batch": 'roles = ["x", "batch"]\n'}, ["error"]),
        ("a certificate beside a password", {"auth": '"scram-sha-256"\nclient_cert = "verify-full"'}, ["error"]),
        ("a password alone", {"auth": '"scram-sha-256"'}, []),
        ("any certificate beside a password", {"auth": '"scram-sha-256"\nclient_cert = "verify-ca"'}, []),
        ("another role", {"batch": 'roles = ["x"]\n'}, []),
        ("a role that its owner has today", {"old": 'roles = ["batch"]\n'}, []),
        ("roles that are named", {"users": '"app", "old"'}, []),
        ("a group with it", {"users": '"+team"', "batch": 'member_of = ["team"]\n'}, ["error"]),
        ("a group without it", {"users": '"+team"', "batch": 'member_of = ["others"]\n'}, []),
        ("a map, because a certificate shows no role", {"app": 'common_name = "a"\nroles = ["app"]\n'}, []),
    ],
)
def test_a_role_that_a_policy_opens_by_its_name_is_an_heir(
    title: str, changes: dict[str, str], severities: list[str]
) -> None:
    team = 'member_of = ["team"]\n' if "+team" in changes.get("users", "") else ""
    usual = {"app": team, "old": f'ca = "clients"\n{team}', "batch": "", "users": '"all"', "auth": '"cert"'}
    fleet = fleet_of(BY_NAME.format(**usual | changes))
    rules, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, [_issued("CN=batch")]))
    assert [one.severity for one in faults if one.code == "PGT254"] == severities, title
    assert rules is not None
    shown = ClientCertificate("batch", "CN=batch")
    tried = Connection("batch", "shop", "tls", ip_address("10.1.2.3"), certificate=shown)
    around = Surroundings(frozenset({("batch", "team")}) if "team" in changes.get("batch", "") else frozenset())
    line = decide(rules.lines, tried, around)
    admitted = line is not None and outcome(line, rules.idents, tried, 17, around).accepted
    assert admitted or not severities, "the rules as a server reads them"


def test_a_pooler_takes_a_wildcard_for_each_name() -> None:
    base = HEIRS.format(whole="", twin="", other="another").replace('"batch"', '"batch.example.com"')
    fleet = fleet_of(base.replace("crl = false\n", "") + POOLER + POOLED)
    for name, expected in (("pool", True), ("primary", False)):
        _, faults = compile_rules(fleet, fleet.servers[name], held(fleet, [_issued("CN=*.example.com")]))
        assert ("PGT254" in {one.code for one in faults}) == expected


def test_an_older_subject_is_compared_and_not_that_of_today() -> None:
    whole, twin = (f'identity = "dn"\nsubject = {{ organizational_unit = "{unit}" }}\n' for unit in "ab")
    fleet = fleet_of(HEIRS.format(whole=whole, twin=twin, other="batch"))
    for unit, heirs in (("a", ["new"]), ("b", [])):
        lines = [_of("user.other", f"CN=batch,OU={unit}", "clients")]
        _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, lines))
        assert [one.path[1] for one in faults if one.code == "PGT254"] == heirs


def test_a_root_of_ours_that_comes_back_in_a_file_is_known_by_its_key(tmp_path: Path) -> None:
    company = Authority.root("Company")
    (tmp_path / "company.crt").write_bytes(company.below("Below").pem + company.pem)
    (_, root) = facts.read((tmp_path / "company.crt").read_bytes())  # type: ignore[misc]
    tables = HEIRS.format(whole="", twin="", other="another").replace('["clients"]', '["clients", "company"]')
    fleet = fleet_of(f'{tables}[ca.company]\ncert_file = "{tmp_path}/company.crt"\n')
    own = _of("user.old", "CN=batch", "former")
    for certificate, found in ((root, True), (replace(root, spki_sha256="0" * 64), False)):
        lines = [own, Issued("former", Entity("ca.former"), certificate)]
        _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, lines))
        assert ("PGT254" in {one.code for one in faults}) == found


class Company:
    """Two CAs of a company, each with one between it and the root, as a file brings them. The spec has the second."""

    def __init__(self, directory: Path) -> None:
        root = Authority.root("Company")
        between = [root.below(f"Between {number}") for number in (1, 2)]
        issuing = [one.below(f"Issuing {number}") for number, one in enumerate(between, 1)]
        file = issuing[1].pem + between[1].pem + root.pem
        (directory / "company.crt").write_bytes(file)
        self.facts = {one: self._facts(one) for one in (root, *between, *issuing)}
        self.root, self.issuing = self.facts[root], [self.facts[one] for one in issuing]
        self.by_the_root = self._facts(root.below("Former"))
        self.tables = HEIRS.format(whole="", twin="", other="another").replace('["clients"]', '["clients", "company"]')
        self.tables += f'[ca.company]\ncert_file = "{directory}/company.crt"\n'

    @staticmethod
    def _facts(of: Authority) -> Certificate:
        (found,) = facts.read(of.pem)  # type: ignore[misc]
        return found


@pytest.mark.parametrize(
    ("title", "found"),
    [
        ("the same certificate under another name", True),
        ("another one that a CA of the file signed", True),
        ("it has no key identifier of its signer, and the name of one", True),
        ("its file had that root", True),
        ("its file had another root", False),
        ("nothing but its own name, as in older locks", False),
        ("a certificate of another CA with the key of one in the file", True),
    ],
)
def test_a_ca_whose_table_left_is_known_by_its_key_and_by_those_above_it(
    tmp_path: Path, title: str, *, found: bool
) -> None:
    company = Company(tmp_path)
    between_only, roots = company.issuing[0], dict.fromkeys((company.root.spki_sha256,))
    former, above = {
        "the same certificate under another name": (company.issuing[1], ()),
        "another one that a CA of the file signed": (company.by_the_root, ()),
        "it has no key identifier of its signer, and the name of one": (
            replace(company.by_the_root, authority_key_id=None),
            (),
        ),
        "its file had that root": (between_only, tuple(roots)),
        "its file had another root": (between_only, ("0" * 64,)),
        "nothing but its own name, as in older locks": (between_only, ()),
        "a certificate of another CA with the key of one in the file": (
            replace(between_only, spki_sha256=company.issuing[1].spki_sha256),
            (),
        ),
    }[title]
    fleet = fleet_of(company.tables)
    lines = [_of("user.old", "CN=batch", "former"), Issued("former", Entity("ca.former"), former, above)]
    _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, lines))
    assert ("PGT254" in {one.code for one in faults}) == found, title


def test_a_ca_that_the_server_names_by_another_name_today_is_no_stranger(tmp_path: Path) -> None:
    company = Company(tmp_path)
    tables = company.tables.replace('users = ["new"]', 'users = ["all"]')
    fleet = fleet_of(tables.replace('common_name = "batch"', "").replace('common_name = "another"', ""))
    for key, found in ((company.issuing[1].spki_sha256, False), (company.root.spki_sha256, True)):
        former = replace(company.issuing[1], spki_sha256=key)
        lines = [_of("user.old", "CN=gone", "former"), Issued("former", Entity("ca.former"), former)]
        _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, lines))
        assert ("PGT255" in {one.code for one in faults}) == found


def test_a_user_of_a_ca_without_a_line_is_known_by_the_key_that_signed(tmp_path: Path) -> None:
    """The certificate of a CA is in the lock once, under the NAME that it had first."""
    company = Company(tmp_path)
    fleet = fleet_of(company.tables)
    for signer, found in ((company.issuing[1], True), (company.issuing[0], False)):
        line = _of("user.old", "CN=batch", "renamed")
        line = replace(line, certificate=replace(line.certificate, authority_key_id=signer.key_id))
        _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, [line]))
        assert ("PGT254" in {one.code for one in faults}) == found


PARTNERS = """
[ca.root]
[ca.clients]
issuer = "root"
{more}[server.primary]
ca = "root"
client_ca = ["{trusted}"]
hosts = ["db.example.com"]
no_local = true
{crl}[user.app]
ca = "{trusted}"
[policy.p]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = {auth}
"""


def _ca(name: str, ca: str, key: str, above: str | None, *, later: bool = False, **fields: Any) -> Issued:
    line = _of(f"ca.{name}", f"CN={name}", ca)
    begin = line.certificate.not_before.replace(month=2 if later else 1)
    made = replace(
        line.certificate, serial=key, spki_sha256=key, key_id=f"id of {key}", authority_key_id=above, not_before=begin
    )
    return Issued(ca, line.entity, made, **fields)


OURS = _ca("root", "root", "1", None)


@pytest.mark.parametrize(
    ("title", "changes", "lines", "found"),
    [
        ("no line says that its key is elsewhere", {}, [_ca("sub", "root", "2", "id of 1")], False),
        ("its key is elsewhere", {}, [_ca("sub", "root", "2", "id of 1", foreign=True)], True),
        ("no key identifier", {}, [_ca("sub", "root", "2", None, foreign=True)], True),
        ("a server with CRLs", {"crl": ""}, [_ca("sub", "root", "2", "id of 1", foreign=True)], False),
        (
            "a password, too",
            {"auth": '"scram-sha-256"\nclient_cert = "verify-full"'},
            [_ca("sub", "root", "2", "id of 1", foreign=True)],
            False,
        ),
        (
            "a CA between that left as well",
            {},
            [_ca("mid", "root", "3", "id of 1"), _ca("sub", "mid", "2", "id of 3", foreign=True)],
            True,
        ),
        ("an earlier root of that name", {}, [_ca("sub", "root", "2", "id of 9", foreign=True)], False),
        (
            "the root has another key since",
            {},
            [_ca("root", "root", "9", None, later=True), _ca("sub", "root", "2", "id of 1", foreign=True)],
            False,
        ),
        ("a root of its own", {}, [_ca("sub", "sub", "2", None, foreign=True)], False),
        (
            "a CA of today that had the key of somebody else",
            {},
            [
                _ca("clients", "root", "3", "id of 1", later=True),
                _ca("clients", "root", "2", "id of 1", foreign=True),
            ],
            True,
        ),
        (
            "a CA of today whose key came here",
            {},
            [
                _ca("clients", "root", "2", "id of 1", later=True),
                _ca("clients", "root", "2", "id of 1", foreign=True),
            ],
            False,
        ),
        (
            "the name of a CA of today that was a root of somebody else",
            {},
            [_ca("clients", "root", "3", "id of 1", later=True), _ca("clients", "clients", "2", None, foreign=True)],
            False,
        ),
    ],
)
def test_a_ca_without_a_table_whose_key_is_elsewhere_may_certify_any_name(
    title: str, changes: dict[str, str], lines: list[Issued], *, found: bool
) -> None:
    usual = {"more": "", "trusted": "clients", "crl": "crl = false\n", "auth": '"cert"'}
    fleet = fleet_of(PARTNERS.format(**usual | changes))
    known = held(fleet, [OURS, *lines])
    rules, faults = compile_rules(fleet, fleet.servers["primary"], known)
    assert ("PGT330" in {one.code for one in faults}) == found, title
    assert rules is not None
    if "auth" not in changes:
        assert rules.left == matrix(fleet, rules).trust.foreign == ((lines[-1].entity.name,) if found else ())


@pytest.mark.parametrize("constrained", ["root", "sub", ""])
def test_name_constraints_are_said_to_be_no_help_against_a_ca_whose_key_is_elsewhere(constrained: str) -> None:
    names = 'name_constraints = { permitted_dns = ["example.com"] }\n'
    sub = '[ca.sub]\nissuer = "root"\ncert_file = "sub.crt"\n'
    tables = PARTNERS.format(more=sub, trusted="clients", crl="crl = false\n", auth='"cert"')
    fleet = fleet_of(tables.replace(f"[ca.{constrained}]\n", f"[ca.{constrained}]\n{names}"))
    _, faults = compile_rules(fleet, fleet.servers["primary"])
    (hint,) = (str(one.hint) for one in faults if one.code == "PGT330")
    assert ("restrict hosts, and not the names of clients" in hint) == bool(constrained)


def test_a_table_that_goes_strengthens_nothing_while_what_its_ca_certifies_is_accepted() -> None:
    sub = '[ca.sub]\nissuer = "root"\ncert_file = "sub.crt"\n'
    sides = []
    for more, crl in ((sub, "crl = false\n"), ("", "crl = false\n"), ("", "")):
        fleet = fleet_of(PARTNERS.format(more=more, trusted="clients", crl=crl, auth='"cert"'))
        known = held(fleet, [OURS, _ca("sub", "root", "2", "id of 1", foreign=True)])
        rules, _ = compile_rules(fleet, fleet.servers["primary"], known)
        assert rules is not None
        sides.append(Side(fleet, {"primary": rules}))
    said = "accepts client certificates of"
    with_, without, lists = sides
    assert said not in {change.what for change in protection(with_, without)}
    assert said in {change.what for change in protection(with_, lists)}


def test_a_ca_without_a_table_leads_to_the_root_that_its_file_had(tmp_path: Path) -> None:
    root, other = Authority.root("Company"), Authority.root("Other")
    (tmp_path / "root.crt").write_bytes(root.pem)
    (tmp_path / "root.key").write_bytes(root.key_pem)
    more = f'[ca.company]\ncert_file = "{tmp_path}/root.crt"\nkey_file = "{tmp_path}/root.key"\n'
    fleet = fleet_of(PARTNERS.format(more=more, trusted="company", crl="crl = false\n", auth='"cert"'))
    for one, found in ((root, True), (other, False)):
        (above,) = facts.read(one.pem)  # type: ignore[misc]
        lines = [_ca("sub", "sub", "2", above.key_id, roots=(above.spki_sha256,), foreign=True)]
        _, faults = compile_rules(fleet, fleet.servers["primary"], held(fleet, lines))
        assert ("PGT330" in {diagnostic.code for diagnostic in faults}) == found


def test_a_pooler_reads_no_crl_and_takes_what_a_ca_without_a_table_certifies() -> None:
    base = HEIRS.format(whole="", twin="", other="another").replace("crl = false\n", "") + POOLER + POOLED
    fleet = fleet_of(base.replace("[ca.clients]", '[ca.clients]\nissuer = "root"'))
    lines = [OURS, _ca("sub", "root", "2", "id of 1", foreign=True)]
    for name, found in (("pool", True), ("primary", False)):
        _, faults = compile_rules(fleet, fleet.servers[name], held(fleet, lines))
        hints = [str(one.hint) for one in faults if one.code == "PGT330"]
        assert bool(hints) == found
        assert "crl = true" not in "".join(hints)


@pytest.mark.parametrize("organization", ["Corp", "Other"])
def test_the_subject_of_a_certificate_from_a_file_is_the_one_that_it_has(organization: str) -> None:
    machines = Authority.root("Machines")
    bundle = machines.bundle(named(CN="robot", O=organization))
    tables = FLEET.format(
        own="",
        its=f'cert_file = "{bundle}/postgresql.crt"\n',
        name="robot",
        users='"app"',
        auth='auth = "cert"\nmap = [{ identity = "/O=Corp", of = "dn", role = "app" }]',
    )
    fleet = fleet_of(tables)
    _, faults = compile_rules(fleet, fleet.servers["primary"])
    assert ("PGT255" in {one.code for one in faults}) == (organization == "Corp")
