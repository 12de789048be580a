"""Every field of every table has a comparison, and ``diff --fail-on weakened`` passes none that weakens."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import pgtls
from pgtls.access.bundles import index
from pgtls.access.comparisons import FIELDS, Field, neutral
from pgtls.language.models import KINDS, LintTable, StateTable
from pgtls.output import render

if TYPE_CHECKING:
    from pgtls.access.ranks import Kind
    from pgtls.language.values import Table

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TABLES: dict[str, dict[str, str]] = {
    "ca.root": {},
    "ca.clients": {},
    "ca.machines": {},
    "ca.company": {"cert_file": '"company.crt"', "crl": "false"},
    "ca.below": {"issuer": '"root"'},
    "server.main": {
        "ca": '"root"',
        "client_ca": '["clients"]',
        "hosts": '["db.example.com", "db"]',
        "postgres": "17",
    },
    "server.second": {"ca": '"root"', "client_ca": '["clients"]', "hosts": '["two.example.com"]'}
    | {"passphrase": '{ env = "A" }', "passphrase_command": '"unlock %p"'},
    "pooler.pool": {"server": '"main"', "user": '"bouncer"', "from": '["10.3.0.9"]', "ca": '"root"'}
    | {"client_ca": '["clients"]', "hosts": '["pool.example.com", "pool"]'},
    "pooler.word": {"server": '"main"', "user": '"bouncer"', "from": '["10.3.0.9"]', "ca": '"root"'}
    | {"auth_file": '"/etc/pgbouncer/secrets.txt"', "hosts": '["word.example.com"]'},
    "user.postgres": {},
    "user.bouncer": {"ca": '"clients"'},
    "user.bouncer2": {"ca": '"clients"'},
    "user.app": {"ca": '"clients"'},
    "user.copy": {"ca": '"clients"', "passphrase": '{ env = "A" }'},
    "policy.dba": {"users": '["postgres"]', "from": '["local"]', "auth": '"peer"', "servers": '["all"]'},
    "policy.app": {
        "users": '["app", "copy"]',
        "databases": '["shop"]',
        "from": '["10.0.0.0/8"]',
        "auth": '"cert"',
        "servers": '["main"]',
    },
    "policy.pooled": {"users": '["copy"]', "databases": '["shop"]', "from": '["10.4.0.0/16"]', "auth": '"cert"'}
    | {"servers": '["pool"]', "waiver": '{ reason = "x", codes = ["PGT380"] }'},
    "policy.word": {"users": '["app"]', "databases": '["logs"]', "from": '["10.4.0.0/16"]', "auth": '"scram-sha-256"'}
    | {"servers": '["word"]'},
    "policy.password": {
        "users": '["app", "copy"]',
        "databases": '["logs"]',
        "from": '["10.0.0.0/8"]',
        "auth": '"scram-sha-256"',
        "servers": '["main"]',
    },
    "policy.staff": {"users": '["+staff"]', "databases": '["bi"]', "from": '["10.0.0.0/8"]', "auth": '"scram-sha-256"'}
    | {"servers": '["main"]'},
    "policy.directory": {
        "users": '["app"]',
        "databases": '["ldap"]',
        "from": '["10.0.0.0/8"]',
        "auth": '"ldap"',
        "auth_options": '{ ldapserver = "a.example.com", ldaptls = 1, ldapprefix = "cn=" }',
        "servers": '["main"]',
    },
    "group.staff": {"users": '["app"]'},
    "network.office": {"addresses": '["10.9.0.0/16"]'},
    "lint": {"ignore": '["PGT320"]'},
    "state": {},
}
ALICE = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
BOB = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL5Zl3m0bJ3w1bL1Jz6O0Ck2d8m1v7Zl8Zg5mH0J9X2f bob@example.com"
IN_TOKEN = '{ pkcs11 = "pkcs11:token=t;object=a", module = "hsm.so", pin = { env = "PIN" } }'
LDAP = '{{ ldapserver = "{}", ldaptls = 1, ldapprefix = "cn=" }}'


class Step(NamedTuple):
    """A stronger and a weaker value of a field; None: the field is not set. ``back``: the way back weakens, too."""

    table: str
    field: str
    strong: str | None
    weak: str | None
    back: bool = False


WEAKENINGS = (
    Step(
        "ca.clients",
        "key",
        None,
        '{ pkcs11 = "pkcs11:token=t;object=o", module = "m.so", pin = { env = "PIN" } }',
        True,
    ),
    Step("user.copy", "formats", '["pem", "pkcs12"]', '["pem", "pkcs12", "pkcs8-der"]'),
    Step("user.copy", "formats", '["pem", "pkcs12"]', '["pem", "pkcs12-3des"]'),
    Step("ca.clients", "key_algorithm", '"ecdsa-p384"', '"rsa-2048"'),
    Step("ca.clients", "validity", '"5y"', '"20y"'),
    Step("ca.clients", "path_length", "0", "2"),
    Step("ca.clients", "path_length", "0", None),
    Step("ca.below", "path_length", None, "5"),  # without the field, as many as the spec has: none
    Step("ca.below", "name_constraints", '{ permitted_dns = ["example.com"] }', None),
    Step(
        "ca.below",
        "name_constraints",
        '{ permitted_dns = ["example.com"] }',
        '{ permitted_dns = ["example.com", "example.org"] }',
    ),
    Step(
        "ca.below", "name_constraints", '{ permitted_dns = ["db.example.com"] }', '{ permitted_dns = ["example.com"] }'
    ),
    Step("ca.below", "name_constraints", '{ excluded_dns = ["a.b", "c.d"] }', '{ excluded_dns = ["a.b"] }'),
    Step("ca.below", "name_constraints", '{ excluded_ip = ["10.0.0.0/8"] }', '{ excluded_ip = ["10.0.0.0/9"] }'),
    Step("ca.company", "sign", '{ command = ["./a"] }', '{ command = ["./b"] }', True),
    Step("ca.clients", "passphrase", '{ env = "A" }', None),
    Step("ca.clients", "passphrase", '{ env = "A" }', '{ command = ["curl", "evil"] }', True),
    Step("ca.clients", "passphrase", '{ command = ["sops", "x"] }', '{ command = ["curl", "evil"] }', True),
    Step("ca.clients", "passphrase", '{ file = "a" }', '{ file = "b" }', True),
    Step("ca.machines", "key", None, IN_TOKEN, True),
    Step("ca.machines", "key", IN_TOKEN, IN_TOKEN.replace("object=a", "object=b"), True),
    Step("ca.machines", "key", IN_TOKEN, IN_TOKEN.replace("hsm.so", "evil.so"), True),
    Step("ca.machines", "key", IN_TOKEN, IN_TOKEN.replace('env = "PIN"', 'command = ["curl", "evil"]'), True),
    Step("ca.company", "cert_file", '"company.crt"', '"another.crt"', True),
    Step("ca.clients", "offline", "true", "false", True),  # and CRLs of an offline CA live longer
    Step("ca.clients", "external", None, "true", True),
    Step("ca.machines", "crl", "true", "false"),
    Step("ca.clients", "crl_validity", '"30d"', '"60d"'),
    Step("ca.clients", "crl_validity", '"30d"', None),
    Step("ca.company", "crl_file", None, '"company.crl"', True),
    Step("ca.clients", "revoked", '["0a1b", "2c"]', '["0A:1B"]'),
    Step("server.main", "hosts", None, '["db.example.com", "db", "evil.example"]'),
    Step("server.main", "hosts", None, '["evil.example"]', True),
    Step("server.main", "hosts", None, '["db", "db.example.com"]', True),
    Step("server.main", "postgres", "17", "14"),
    Step("server.main", "databases", '["shop", "logs", "bi", "ldap"]', '["shop", "logs", "bi", "ldap", "x"]'),
    Step("server.main", "databases", '["shop", "logs", "bi", "ldap"]', None),
    Step("server.main", "directory", '"/etc/tls"', '"/tmp/x"', True),
    Step("server.main", "socket_directory", None, '"/tmp"', True),
    Step("server.main", "key_algorithm", '"ecdsa-p384"', '"rsa-2048"'),
    Step("server.main", "validity", None, '"200d"'),
    Step("server.main", "rotate_key", None, "false"),
    Step("server.main", "min_tls", '"1.3"', '"1.2"'),
    Step("server.main", "ciphers", None, '"HIGH:MEDIUM"', True),
    Step("server.main", "groups", '"prime256v1"', '"secp384r1"', True),
    Step("server.second", "passphrase", '{ env = "A" }', '{ env = "B" }', True),
    Step("server.second", "passphrase_command", '"unlock %p"', '"curl evil"', True),
    Step("server.main", "crl", None, "false"),
    Step("server.main", "csr_file", None, '"app.csr"', True),
    Step("server.main", "external", None, "true", True),
    Step("server.main", "cert_file", None, '"company.crt"', True),
    Step("server.main", "revoke_before", "2026-03-01", "2026-02-01"),
    Step("server.main", "revoke_before", "2026-03-01", None),
    Step("server.main", "settings", None, '{ archive_command = "evil" }', True),
    Step("server.main", "settings", '{ log_statement = "ddl" }', "{ LOG_STATEMENT = 'none' }", True),
    Step("server.main", "settings", None, "{ fsync = false }", True),
    Step("server.main", "settings", None, '{ "plperl.on_init" = "system" }', True),
    Step("server.main", "settings", None, '{ row_security = "off" }', True),
    Step("server.main", "settings", None, '{ jit_provider = "evil" }', True),
    Step("server.main", "no_local", None, "true"),
    Step("server.main", "openssl", '"3.5"', '"3.0"', True),
    Step("server.main", "client_ca", '["clients"]', '["clients", "machines"]'),
    Step("server.main", "trust", None, '["machines"]'),
    Step("server.main", "trust", None, '["company"]'),
    Step("ca.machines", "issuer", None, '"root"', True),  # a root may have any number of levels below it
    Step("pooler.pool", "server", None, '"second"', True),
    Step("pooler.pool", "user", None, '"bouncer2"', True),
    Step("pooler.word", "auth_file", None, '"/tmp/x"', True),
    Step("pooler.pool", "hosts", None, '["pool.example.com", "pool", "evil.example"]'),
    Step("pooler.pool", "directory", None, '"/tmp/x"', True),
    Step("pooler.pool", "key_algorithm", '"ecdsa-p384"', '"rsa-2048"'),
    Step("pooler.pool", "validity", None, '"200d"'),
    Step("pooler.pool", "rotate_key", None, "false"),
    Step("pooler.pool", "csr_file", None, '"app.csr"', True),
    Step("pooler.pool", "external", None, "true", True),
    Step("pooler.pool", "cert_file", None, '"company.crt"', True),
    Step("pooler.pool", "revoke_before", "2026-03-01", "2026-02-01"),
    Step("pooler.pool", "client_ca", '["clients"]', '["clients", "machines"]'),
    Step("pooler.pool", "trust", None, '["machines"]'),
    Step("user.app", "key_algorithm", '"ecdsa-p384"', '"rsa-2048"'),
    Step("user.app", "validity", None, '"200d"'),
    Step("user.app", "rotate_key", None, "false"),
    Step("user.app", "identity", None, '"dn"', True),
    Step("user.app", "directory", '"/home/app"', '"/tmp"', True),
    Step("user.app", "libpq", "16", None),
    Step("user.app", "crl", "true", None),
    Step("user.app", "passphrase", '{ env = "A" }', '{ env = "B" }', True),
    Step("user.app", "csr_file", None, '"app.csr"', True),
    Step("user.app", "external", None, "true", True),
    Step("user.app", "cert_file", None, '"company.crt"', True),
    Step("user.app", "until", "2027-01-01", "2028-01-01"),
    Step("user.app", "until", "2027-01-01", None),
    Step("user.app", "revoke_before", "2026-03-01", "2026-02-01"),
    Step("user.app", "revoke_before", "2026-03-01", None),
    Step("policy.app", "sslmode", None, '"require"'),
    Step("policy.password", "sslmode", '"verify-ca"', '"require"'),
    Step("policy.password", "auth", '"scram-sha-256"', '"md5"'),
    Step("policy.password", "client_cert", '"verify-full"', '"verify-ca"'),
    Step("policy.password", "channel_binding", '"require"', None),
    Step("policy.app", "until", "2027-01-01", None),
    Step("policy.directory", "auth_options", None, LDAP.format("evil.example.com"), True),
    Step("policy.app", "waiver", None, '"any reason"'),
    Step("policy.app", "waiver", '{ reason = "x", codes = ["PGT310"] }', '{ reason = "x" }'),
    Step("policy.app", "waiver", '{ reason = "x", until = 2027-01-01 }', '{ reason = "x" }'),
    Step("lint", "minimum_sslmode", '"require"', None),
    Step("lint", "ignore", None, '["PGT320", "PGT313"]'),
    Step("state", "recipients", f'["{ALICE}"]', None, back=True),
    Step("state", "recipients", f'["{ALICE}"]', f'["{ALICE}", "{BOB}"]', back=True),
    Step("state", "recipients", f'["{ALICE}"]', f'["{BOB}"]', back=True),
    Step("state", "identity", '{ env = "IDENTITY" }', '{ command = ["cat", "key.txt"] }', back=True),
    Step("lint", "waiver", None, '{ reason = "x", codes = ["PGT317"] }'),
)
GRANTS: tuple[tuple[Step, Kind], ...] = (
    (Step("user.app", "member_of", None, '["staff"]'), "granted"),
    (Step("policy.app", "map", None, '[{ identity = "x", role = "app" }]'), "granted"),
    (Step("policy.app", "users", '["app"]', '["app", "copy"]'), "granted"),
    (Step("policy.app", "databases", None, '["shop", "more"]'), "granted"),
    (Step("policy.app", "from", None, '["10.0.0.0/7"]'), "granted"),
    (Step("pooler.pool", "from", None, '["10.3.0.9", "10.3.0.8"]'), "granted"),
    (Step("policy.app", "servers", None, '["main", "second"]'), "granted"),
    (Step("user.postgres", "os_users", None, '["postgres", "root"]'), "granted"),
    (Step("user.copy", "roles", None, '["copy", "app"]'), "granted"),
)
OTHERS = (
    Step("ca.clients", "common_name", None, '"Clients"'),
    Step("ca.clients", "subject", None, '{ organization = "Example" }'),
    Step("ca.clients", "renew_before", None, '"40d"'),
    Step("server.main", "port", None, "5433"),
    Step("server.main", "renew_before", None, '"9d"'),
    Step("server.main", "subject", None, '{ organization = "Example" }'),
    Step("server.main", "settings", None, "{ work_mem = 9000, max_connections = 200 }"),
    Step("pooler.pool", "port", None, "6433"),
    Step("pooler.pool", "renew_before", None, '"9d"'),
    Step("user.postgres", "ca", None, '"clients"'),
    Step("user.app", "common_name", None, '"application"'),
    Step("user.app", "subject", None, '{ organization = "Example" }'),
    Step("user.app", "renew_before", None, '"9d"'),
    Step("user.app", "bundle", None, '"zip"'),
    Step("user.app", "formats", None, '["pem", "pkcs8-der"]'),
    Step("policy.app", "description", None, '"x"'),
)
NO_SPEC_OF_ITS_OWN = {
    "server.tls13_ciphers": "as `ciphers`, from PostgreSQL 18 on",
    "server.sni": "PostgreSQL 19",
    "ca.key_file": "needs a key and its certificate",
    "server.key_file": "needs a key and its certificate",
    "pooler.key_file": "needs a key and its certificate",
    "server.standby_of": "needs a user that replicates",
    "server.replication_user": "as `standby_of`",
}
"""Fields whose values need another server than the one of this spec; the comparison is tried with another field."""


@cache
def company(name: str) -> bytes:
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), 1, NOW.replace(year=2025), NOW.replace(year=2045)
    )
    signed = builder.add_extension(x509.BasicConstraints(True, None), critical=True).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


@cache
def request() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "new")])
    signed = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def spec(*values: tuple[str, str, str | None], more: str = "") -> pgtls.Spec:
    """Write the spec with some values; None leaves a field as it is."""
    tables = {name: dict(fields) for name, fields in TABLES.items()}
    for table, field, value in values:
        if value is not None:
            tables[table][field] = value
    text = "version = 1\n" + "".join(
        f"[{name}]\n" + "".join(f"{field} = {value}\n" for field, value in fields.items())
        for name, fields in tables.items()
    )
    text += more
    files = {"company.crt": company("Company"), "another.crt": company("Another"), "app.csr": request()}
    return pgtls.loads(text, files, now=NOW)


def states(step: Step) -> tuple[pgtls.Spec, pgtls.Spec]:
    return spec((step.table, step.field, step.strong)), spec((step.table, step.field, step.weak))


def test_every_field_of_every_table_has_a_comparison() -> None:
    models: dict[str, type[Table]] = {**KINDS, "lint": LintTable, "state": StateTable}
    assert {kind: set(fields) for kind, fields in FIELDS.items()} == {
        kind: set(model.model_fields) for kind, model in models.items()
    }


def test_every_comparison_is_tried() -> None:
    ranked = {
        f"{kind}.{name}"
        for kind, fields in FIELDS.items()
        for name, field in fields.items()
        if isinstance(field, Field) and field.judge is not neutral
    }
    tried = {f"{step.table.partition('.')[0]}.{step.field}" for step in (*WEAKENINGS, *(step for step, _ in GRANTS))}
    assert ranked - tried == NO_SPEC_OF_ITS_OWN.keys()


def named(step: Step) -> str:
    return f"{step.table} {step.field} {step.strong or 'unset'} to {step.weak or 'unset'}"


@pytest.mark.parametrize("step", WEAKENINGS, ids=map(named, WEAKENINGS))
def test_what_weakens_is_not_let_pass(step: Step) -> None:
    strong, weak = states(step)
    difference = pgtls.diff(strong, weak)
    assert difference.exceeds("weakened"), difference
    back = pgtls.diff(weak, strong)
    assert back.exceeds("any")
    assert back.exceeds("weakened") == step.back, back


@pytest.mark.parametrize(("step", "kind"), GRANTS, ids=[named(step) for step, _ in GRANTS])
def test_what_grants_is_not_let_pass_as_a_grant(step: Step, kind: Kind) -> None:
    less, more = states(step)
    difference = pgtls.diff(less, more)
    assert kind in difference.summary
    assert difference.exceeds("granted")
    assert not difference.exceeds("weakened")
    assert not pgtls.diff(more, less).exceeds("granted")


@pytest.mark.parametrize("step", OTHERS, ids=map(named, OTHERS))
def test_what_protects_nothing_is_a_difference_and_no_weakening(step: Step) -> None:
    one, other = states(step)
    for difference in (pgtls.diff(one, other), pgtls.diff(other, one)):
        assert difference.exceeds("any")
        assert not difference.exceeds("weakened"), difference


SERVER = '[server.new]\nca = "root"\nhosts = ["n"]\nno_local = true\nclient_ca = ["clients"]\n'
SNI = '[[server.new.sni]]\nca = "root"\nhosts = ["m"]\n'
CERT = '[policy.new]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
NEW = {
    "a plain server": (SERVER, False),
    "a server with a setting that another has": (f'{SERVER}settings = {{ log_statement = "ddl" }}\n', False),
    "a server with a harmless setting": (f"{SERVER}settings = {{ work_mem = 9000 }}\n", False),
    "a server with a command": (f'{SERVER}settings = {{ archive_command = "evil" }}\n', True),
    "a server with another value of a setting": (f'{SERVER}settings = {{ log_statement = "none" }}\n', True),
    "a server without CRLs": (f"{SERVER}crl = false\n", True),
    "a server with suites of its own": (f'{SERVER}ciphers = "HIGH"\n', True),
    "a server with a newer TLS": (f'{SERVER}min_tls = "1.3"\n', False),
    "a server that accepts a foreign CA": (
        SERVER.replace('["clients"]', '["clients", "company"]').replace("no_local", "crl = false\nno_local"),
        True,
    ),
    "a server with a plain identity": (f"{SERVER}postgres = 19\n{SNI}", False),
    "a server with an identity and a command": (
        f'{SERVER}postgres = 19\n{SNI}passphrase = {{ command = ["evil"] }}\npassphrase_command = "unlock %p"\n',
        True,
    ),
    "a server with an identity and a passphrase_command": (
        f'{SERVER}postgres = 19\n{SNI}passphrase = {{ env = "X" }}\npassphrase_command = "evil"\n',
        True,
    ),
    "a server that clients trust through a foreign CA": (f'{SERVER}trust = ["company"]\n', True),
    "a plain pooler": (
        '[user.new]\nca = "clients"\n[pooler.new]\nserver = "main"\nuser = "new"\nca = "root"\nhosts = ["n"]\n',
        False,
    ),
    "a pooler that gets the key of another": (
        '[pooler.new]\nserver = "main"\nuser = "bouncer"\nca = "root"\nhosts = ["n"]\nclient_ca = ["clients"]\n',
        True,
    ),
    "a plain user": ('[user.new]\nca = "clients"\n', False),
    "a user with a request and a directory": (
        '[user.new]\nca = "clients"\ncsr_file = "app.csr"\ndirectory = "/x"\n',
        False,
    ),
    "a user with a passphrase from the environment": (
        '[user.new]\nca = "clients"\npassphrase = { env = "X" }\n',
        False,
    ),
    "a user with a command": ('[user.new]\nca = "clients"\npassphrase = { command = ["evil"] }\n', True),
    "a plain CA": ('[ca.new]\n[user.new]\nca = "new"\n', False),
    "a CA under a root that clients trust": ('[ca.new]\nissuer = "root"\n', True),
    "a policy with a waiver": (
        f'{CERT}users = ["app"]\ndatabases = ["n"]\nservers = ["main"]\nwaiver = "x"\n',
        True,
    ),
}


@pytest.mark.parametrize(("tables", "weakens"), NEW.values(), ids=NEW)
def test_a_new_entity_is_compared_with_a_plain_one_and_with_those_that_were_there(tables: str, weakens: bool) -> None:
    logs = ("server.main", "settings", '{ log_statement = "ddl" }')
    one = spec(logs)
    assert not pgtls.diff(one, one)
    difference = pgtls.diff(one, spec(logs, more=tables))
    assert difference.exceeds("any")
    assert difference.exceeds("weakened") == weakens, difference


def texts(one: pgtls.Spec) -> dict[str, object]:
    state = one.usable()
    rendered = render.texts(state.fleet, state.rules, index(state.fleet))
    return {path: file.read() for path, file in rendered.items()}


VALUES = tuple(
    dict.fromkeys(
        (step.table, step.field, value)
        for step in (*WEAKENINGS, *(step for step, _ in GRANTS), *OTHERS)
        for value in (step.strong, step.weak)
    )
)
NOISE = st.lists(st.sampled_from(VALUES), max_size=3)


@given(step=st.sampled_from(WEAKENINGS), before=NOISE, after=NOISE)
@settings(max_examples=250, deadline=None, derandomize=True)
def test_a_weakening_among_other_edits_is_not_let_pass(
    step: Step, before: list[tuple[str, str, str | None]], after: list[tuple[str, str, str | None]]
) -> None:
    place = (step.table, step.field)
    one, other = (
        spec(*(value for value in noise if value[:2] != place), (*place, value))
        for noise, value in ((before, step.strong), (after, step.weak))
    )
    assume(pgtls.check(one) and pgtls.check(other))
    assert pgtls.diff(one, other).exceeds("weakened")


@given(before=NOISE, after=NOISE)
@settings(max_examples=250, deadline=None, derandomize=True)
def test_edits_that_change_a_compiled_text_are_never_no_difference(
    before: list[tuple[str, str, str | None]], after: list[tuple[str, str, str | None]]
) -> None:
    one, other = spec(*before), spec(*after)
    assume(pgtls.check(one) and pgtls.check(other))
    difference = pgtls.diff(one, other)
    if texts(one) != texts(other):
        assert difference.exceeds("any")
    if before == after:
        assert not difference
