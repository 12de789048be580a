"""Rules that span tables: specs close to a mistake that are correct.

The mistakes themselves are the golden cases of the diagnostics.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fleet.specs import NOW, fleet, judge
from pgtls.diagnostics import Accepted
from pgtls.diagnostics.rules import catalogue
from pgtls.fleet.checks import check
from pgtls.fleet.checks import judge as judged

BASE = """
[ca.root]
[ca.clients]
validity = "5y"
[server.primary]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
{server}
[user.postgres]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "peer"
[user.app]
ca = "clients"
{user}
[policy.app]
users = ["app"]
databases = ["shop"]
{policy}
"""
CERT = 'from = ["10.0.0.0/8"]\nauth = "cert"'
SCRAM = 'from = ["10.0.0.0/8"]\nauth = "scram-sha-256"'


def codes(server: str = "", user: str = "", policy: str = CERT, more: str = "", now: datetime = NOW) -> set[str]:
    text = BASE.format(server=server, user=user, policy=policy) + more
    return {diagnostic.code for diagnostic in judge(text, now)[1]}


DN = 'identity = "dn"\nsubject = {{ organizational_unit = [{}] }}'
TWO_SUBJECTS = {
    "more": '[user.app2]\nca = "clients"\ncommon_name = "app"\nidentity = "dn"\nroles = ["app2"]\n'
    'subject = { organizational_unit = "X" }\n'
    '[policy.o]\nusers = ["app2"]\nfrom = ["192.168.0.0/16"]\nauth = "cert"\n'
}

CLEAN = {
    "a password over TLS": {"policy": SCRAM},
    "a refusal from everywhere": {"policy": 'from = ["all"]\nauth = "reject"'},
    "a refusal in a policy for everybody and everything": {
        "more": '[policy.no]\nusers = ["all"]\nfrom = ["all"]\nauth = "reject"\npriority = -1\n'
    },
    "cert beside client_cert = verify-full": {"policy": CERT + '\nclient_cert = "verify-full"'},
    "a password and a certificate": {"policy": SCRAM + '\nclient_cert = "verify-ca"'},
    "cert with require": {"policy": CERT + '\nsslmode = "require"'},
    "ldap with a secret from elsewhere": {
        "policy": 'from = ["10.0.0.0/8"]\nauth = "ldap"\n'
        'auth_options = { ldapserver = "l", ldapbasedn = "d", ldaptls = true, ldapbindpasswd = { env = "X" } }'
    },
    "ldap that finds its server in the DNS": {
        "policy": 'from = ["10.0.0.0/8"]\nauth = "ldap"\n'
        'auth_options = { ldapbasedn = "dc=example,dc=com", ldaptls = true, ldapport = 389 }'
    },
    "radius before 19": {
        "policy": 'from = ["10.0.0.0/8"]\nauth = "radius"\n'
        'auth_options = { radiusservers = "10.0.0.9", radiussecrets = { file = "s" } }',
        "server": "postgres = 18",
    },
    "oauth in 18": {
        "policy": 'from = ["10.0.0.0/8"]\nauth = "oauth"\n'
        'auth_options = { issuer = "https://x.example", scope = "pg" }',
        "server": 'postgres = 18\nsettings = { oauth_validator_libraries = "validator" }',
    },
    "an option of the validator in 19": {
        "policy": 'from = ["10.0.0.0/8"]\nauth = "oauth"\n'
        'auth_options = { issuer = "https://x.example", scope = "pg", validator = "one", "validator.audience" = "db" }',
        "server": 'postgres = 19\nsettings = { oauth_validator_libraries = "one, two" }',
    },
    "a map for gss": {
        "policy": 'from = ["10.0.0.0/8"]\nauth = "gss"\n'
        'auth_options = { include_realm = true, krb_realm = "EXAMPLE.ORG" }\n'
        'map = [{ identity = "/^(.*)@EXAMPLE.ORG$", role = "\\\\1" }]'
    },
    "an expression for databases in 16": {
        "server": "postgres = 16",
        "policy": CERT,
        "more": '[policy.re]\nusers = ["app"]\ndatabases = ["/^x_"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n',
    },
    "a name that looks like an expression, as a name": {
        "server": "postgres = 15",
        "more": '[policy.n]\nusers = ["app"]\ndatabases = [{ name = "/x" }]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n',
    },
    "an expression as the identity of a map in 13": {
        "server": "postgres = 15",
        "policy": CERT + '\nmap = [{ identity = "/^(.*)$", role = "\\\\1" }]',
    },
    "a whole subject in 14": {"server": "postgres = 14", "user": 'identity = "dn"'},
    "one group in 17": {"server": 'groups = "secp384r1"\nkey_algorithm = "ecdsa-p384"'},
    "a key on no curve": {"server": 'groups = "secp384r1"\nkey_algorithm = "rsa-3072"'},
    "a key on another curve with TLS 1.3 alone": {"server": 'groups = "secp384r1"\nmin_tls = "1.3"'},
    "a key on another curve that was made elsewhere": {"server": 'groups = "secp384r1"\ncsr_file = "their.csr"'},
    "several groups and TLS 1.3 ciphers in 18": {
        "server": 'postgres = 18\ngroups = "X25519:prime256v1"\ntls13_ciphers = "TLS_AES_256_GCM_SHA384"'
    },
    "a database that the server lists": {"server": 'databases = ["shop", "postgres"]'},
    "words for databases beside a list": {
        "server": 'databases = ["shop"]',
        "more": '[policy.w]\nusers = ["app"]\ndatabases = ["sameuser"]\nfrom = ["192.168.0.0/16"]\nauth = "cert"\n',
    },
    "a common name of 64 characters": {"user": f'common_name = "{"a" * 64}"'},
    "a role of 63 bytes": {"user": f'roles = ["{"é" * 31}a"]'},
    "a validity as long as the issuer's": {"user": 'validity = "5y"'},
    "a default validity longer than the issuer's": {
        "more": '[ca.short]\nvalidity = "30d"\n[server.s]\nca = "short"\nhosts = ["s"]\nno_local = true\n'
    },
    "a path length that is enough": {
        "more": '[ca.a]\npath_length = 1\n[ca.b]\nissuer = "a"\npath_length = 0\n[user.b]\nca = "b"\n[group.g]\n'
        'users = ["b"]\n'
        '[policy.b]\nusers = ["@g"]\nfrom = ["192.168.0.0/16"]\nauth = "scram-sha-256"\n'
    },
    "names that the constraints permit": {
        "more": '[ca.x]\nname_constraints = { permitted_dns = [".example.org"], permitted_ip = ["10.0.0.0/8"], '
        'excluded_dns = ["a.example.org"] }\n'
        '[server.x]\nca = "x"\nhosts = ["db.example.org", "*.db.example.org", "10.0.0.5"]\nno_local = true\n'
    },
    "a dotted common name under constraints that permit its SAN": {
        "more": '[ca.x]\nname_constraints = { permitted_dns = ["example.org"] }\n[user.x]\nca = "x"\n'
        'common_name = "john.doe"\n'
        '[policy.x]\nusers = ["x"]\nfrom = ["192.168.0.0/16"]\nauth = "scram-sha-256"\n'
    },
    "SCRAM without channel binding under Ed25519": {
        "more": '[ca.ed]\nkey_algorithm = "ed25519"\n[server.ed]\nca = "ed"\nhosts = ["ed"]\nno_local = true\n'
        '[policy.ed]\nservers = ["ed"]\nusers = ["app"]\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"\n'
        'channel_binding = "disable"\n'
    },
    "an Ed25519 key that an ECDSA key signs": {"server": 'key_algorithm = "ed25519"', "policy": SCRAM},
    "one common name under two roots, on servers of their own": {
        "more": '[ca.other]\n[server.o]\nca = "root"\nclient_ca = ["other"]\nhosts = ["o"]\nno_local = true\n'
        '[user.app2]\nca = "other"\n'
        'common_name = "app"\nroles = ["app2"]\n[policy.o]\nservers = ["o"]\nusers = ["app2"]\n'
        'from = ["10.0.0.0/8"]\nauth = "cert"\n'
    },
    "one common name in two subjects that are compared whole": {
        "user": 'identity = "dn"',
        "more": '[user.app2]\nca = "clients"\ncommon_name = "app"\nidentity = "dn"\nsubject = { organization = "X" }\n'
        'roles = ["app2"]\n'
        '[policy.o]\nusers = ["app2"]\nfrom = ["192.168.0.0/16"]\nauth = "cert"\n',
    },
    "one common name in two subjects of which one has a unit more": TWO_SUBJECTS | {"user": DN.format('"X", "Y"')},
    "a user without a certificate, in a policy for everybody": {
        "more": '[user.bob]\n[policy.all]\nusers = ["all"]\ndatabases = ["x"]\n'
        'from = ["192.168.0.0/16"]\nauth = "cert"\n'
    },
    "a user of a CA below one that the server names": {
        "more": '[ca.below]\nissuer = "clients"\nvalidity = "1y"\n[user.bob]\nca = "below"\n'
        '[policy.b]\nusers = ["bob"]\ndatabases = ["x"]\nfrom = ["192.168.0.0/16"]\nauth = "cert"\n'
    },
    "md5 hashes by nobody": {"server": 'settings = { password_encryption = "scram-sha-256" }'},
    "strong ciphers": {"server": 'ciphers = "HIGH:ECDHE+AESGCM:!aNULL:!MD5:-3DES:+SHA1"'},
    "settings of an extension": {"server": 'settings = { "auto_explain.log_min_duration" = "1s" }'},
    "loopback and private networks": {
        "policy": 'from = ["127.0.0.1", "::1", "172.16.0.0/12", "fd00::/8"]\nauth = "cert"'
    },
    "a superuser from the machine itself": {
        "more": '[policy.su]\nusers = ["postgres"]\nfrom = ["127.0.0.1", "samehost", "localhost"]\n'
        'auth = "scram-sha-256"\n'
    },
    "rsa-3072, and rsa-2048 for a short while": {
        "user": 'key_algorithm = "rsa-2048"',
        "server": 'key_algorithm = "rsa-3072"\nvalidity = "1y"',
    },
}  # fmt: skip


def test_a_unit_and_an_array_of_it_are_one_subject() -> None:
    assert codes(user=DN.format('"X"'), more=TWO_SUBJECTS["more"]) == {"PGT137"}


def test_a_certificate_asked_for_by_defaults_is_left_out_where_there_is_none() -> None:
    defaults = '[defaults.policy]\nclient_cert = "verify-ca"\n'
    more = '[policy.no]\nusers = ["all"]\nfrom = ["all"]\nauth = "reject"\npriority = -1\n'
    text = defaults + BASE.format(server="", user="", policy=SCRAM) + more
    asked = {name: policy.asks_certificate for name, policy in fleet(text).policies.items()}
    assert asked == {"admin": "none", "app": "verify-ca", "no": "none"}
    assert judge(text)[1] == ()


@pytest.mark.parametrize("case", CLEAN.values(), ids=CLEAN)
def test_nothing_is_found_in(case: dict[str, str]) -> None:
    text = BASE.format(**{"server": "", "user": "", "policy": CERT} | {k: v for k, v in case.items() if k != "more"})
    more = case.get("more", "")
    if "[server." in more:
        text = text.replace("[policy.admin]", '[policy.admin]\nservers = ["primary"]')
        text = text.replace("[policy.app]", '[policy.app]\nservers = ["primary"]')
    assert judge(text + more)[1] == ()


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 11, 12, tzinfo=UTC), set()),
        (datetime(2026, 11, 13, tzinfo=UTC), {"PGT400"}),
    ],
)
def test_a_version_ends_on_the_day_after_its_last_release(now: datetime, expected: set[str]) -> None:
    assert codes(server="postgres = 14", now=now) == expected


@pytest.mark.parametrize("method", ["password", "pam", "bsd"])
@pytest.mark.parametrize(
    ("where", "sslmode", "expected"),
    [
        ("10.0.0.0/8", "prefer", {"PGT302", "PGT310"}),
        ("10.0.0.0/8", "verify-full", set()),
        ("127.0.0.1", "disable", {"PGT310"}),
    ],
)
def test_a_password_may_not_cross_a_network_in_cleartext(
    method: str, where: str, sslmode: str, expected: set[str]
) -> None:
    found = codes(policy=f'from = ["{where}"]\nauth = "{method}"\nsslmode = "{sslmode}"')
    assert found - {"PGT303"} == expected
    assert ("PGT303" in found) == (method == "password" and "PGT302" not in expected)


@pytest.mark.parametrize(
    ("block", "wide"),
    [("0.0.0.0/0", 1), ("::/0", 1), ("all", 1), ("20.0.0.0/8", 1), ("20.0.0.0/12", 0), ("2001:db8::/32", 0),
     ("2000::/3", 1), ("10.0.0.0/8", 0), ("8.0.0.0/6", 1)],
)  # fmt: skip
def test_how_wide_a_network_may_be(block: str, wide: bool) -> None:
    assert codes(policy=f'from = ["{block}"]\nauth = "cert"') == ({"PGT312"} if wide else set())


MINIMUM = '[lint]\nminimum_sslmode = "require"\n'
WEAK = 'from = ["10.0.0.0/8"]\nauth = "scram-sha-256"\nsslmode = "prefer"\n'


@pytest.mark.parametrize(
    ("waiver", "expected"),
    [
        ("", {"PGT311"}),
        ('waiver = "a reason"', set()),
        ('waiver = { reason = "a reason" }', set()),
        ('waiver = { reason = "a reason", codes = ["PGT311"] }', set()),
        ('waiver = { reason = "a reason", codes = ["PGT310"] }', {"PGT311"}),
        ('waiver = { reason = "a reason", until = 2026-06-02 }', set()),
        ('waiver = { reason = "a reason", until = 2026-06-01 }', {"PGT311"}),
        ('waiver = { reason = "a reason", codes = ["PGT999"] }', {"PGT119"}),
        ('waiver = { reason = "a reason", codes = ["PGT203"] }', {"PGT119"}),
    ],
)
def test_a_waiver_accepts_what_it_says_as_long_as_it_lasts(waiver: str, expected: set[str]) -> None:
    assert codes(policy=WEAK + waiver, more=MINIMUM) == expected


def test_what_was_waived_is_there_to_be_shown_with_its_reason() -> None:
    text = BASE.format(server='min_tls = "1.1"', user="", policy=WEAK + 'waiver = "a reason"')
    found = fleet(text + MINIMUM + 'waiver = "an old client"\nignore = ["PGT121"]\n[user.bob]\n')
    assert check(found) == ()
    accepted = {(diagnostic.code, diagnostic.accepted) for diagnostic in judged(found)[1]}
    assert accepted == {
        ("PGT311", Accepted("policy.app", "a reason")),
        ("PGT317", Accepted("lint.waiver", "an old client")),
        ("PGT121", Accepted("lint.ignore", None)),
    }


def test_a_waiver_of_lint_accepts_nothing_on_a_policy() -> None:
    assert codes(policy=WEAK, more=MINIMUM + 'waiver = "an old client"\n') == {"PGT311"}


def test_a_waiver_reaches_what_a_policy_has_from_defaults() -> None:
    text = BASE.format(server="", user="", policy=SCRAM + '\nwaiver = "a reason"')
    defaults = '[defaults.policy]\nsslmode = "prefer"\n'
    assert judge(defaults + text)[1] == ()
    other = text.replace('waiver = "a reason"', "")
    assert [(d.code, d.path) for d in judge(defaults + other)[1]] == [("PGT310", ("defaults", "policy", "sslmode"))]


def test_an_error_that_makes_the_output_wrong_cannot_be_waived_or_ignored() -> None:
    text = BASE.format(server="", user="", policy=CERT + '\nwaiver = "a reason"').replace('client_ca = ["clients"]', "")
    assert [d.code for d in judge(text)[1]] == ["PGT203"]
    assert {d.code for d in judge(text + '[lint]\nignore = ["PGT203"]\n')[1]} == {"PGT203", "PGT119"}


def test_every_finding_that_is_ignored_is_one_that_may_be() -> None:
    text = BASE.format(server="", user="", policy=WEAK)
    assert [d.code for d in judge(text + '[lint]\nignore = ["PGT310"]\n')[1]] == []
    assert [d.code for d in judge(text)[1]] == ["PGT310"]


def test_a_spec_of_many_users_has_no_findings_but_its_own() -> None:
    users = "".join(f'[user.u{n}]\nca = "clients"\n' for n in range(2000))
    group = "[group.g]\nusers = [" + ", ".join(f'"u{n}"' for n in range(2000)) + "]\n"
    text = BASE.format(server="", user="", policy=CERT) + users + group
    policy = '[policy.g]\nusers = ["@g"]\ndatabases = ["g"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
    assert judge(text + policy)[1] == ()
    assert len(judge(text)[1]) == 2000


def test_each_code_is_of_the_family_that_its_number_says() -> None:
    for code in catalogue():
        assert code.startswith("PGT")
        assert len(code) == 6


def test_scram_on_13_is_a_finding_unless_the_server_says_how_it_stores_passwords() -> None:
    said = 'postgres = 13\nsettings = { Password_Encryption = "scram-sha-256" }'
    assert "PGT410" in codes("postgres = 13", policy=SCRAM)
    assert "PGT410" not in codes(said, policy=SCRAM)
    assert "PGT410" not in codes("postgres = 13", policy=CERT)
    assert "PGT410" not in codes("postgres = 14", policy=SCRAM)


OUTSIDE = """
[ca.root]
[ca.clients]
{ca}
[server.primary]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
no_local = true
[user.app]
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
{policy}
"""
CERTIFIED = {
    "cert and no map": ('cert_file = "x"', 'auth = "cert"', True),
    "a map for another role": ('cert_file = "x"', 'auth = "cert"\nmap = [{ identity = "x", role = "web" }]', True),
    "a map for the role": ('cert_file = "x"', 'auth = "cert"\nmap = [{ identity = "x", role = "app" }]', False),
    "a map that makes roles": ("", 'auth = "cert"\nmap = [{ identity = "/^(.*)@x$", role = "\\\\1" }]', False),
    "a password and a certificate of an outside CA": (
        'cert_file = "x"',
        'auth = "scram-sha-256"\nclient_cert = "verify-full"',
        False,
    ),
    "a password and a certificate of our CA": ("", 'auth = "scram-sha-256"\nclient_cert = "verify-full"', True),
    "a password and a certificate of a CA whose key is here": (
        'cert_file = "x"\nkey_file = "y"',
        'auth = "scram-sha-256"\nclient_cert = "verify-ca"',
        True,
    ),
}


@pytest.mark.parametrize(("ca", "policy", "found"), CERTIFIED.values(), ids=CERTIFIED)
def test_a_user_without_ca_is_a_finding_unless_others_certify_it(ca: str, policy: str, found: bool) -> None:
    _, diagnostics = judge(OUTSIDE.format(ca=ca, policy=policy))
    assert ("PGT216" in {diagnostic.code for diagnostic in diagnostics}) == found, diagnostics
