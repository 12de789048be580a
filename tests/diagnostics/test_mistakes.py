"""Mistakes that a new user makes: each gets one finding, at its place, with a hint that says what to type.

``mistakes.txt`` has the answers. After an intended change of texts,
run ``PGTLS_TEST_GOLDEN=write pytest tests/diagnostics`` and read the difference.
"""

from __future__ import annotations

from pathlib import Path

from support.diagnosing import REWRITE, diagnose

GOLDEN = Path(__file__).with_name("mistakes.txt")

SPEC = """\
version = 1

[ca.root]

[ca.clients]

[server.main]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
port = 5432
postgres = 17

[user.postgres]

[user.app]
ca = "clients"
validity = "90d"

[group.staff]
users = ["app"]

[network.office]
addresses = ["10.9.0.0/16"]

[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "peer"

[policy.app]
users = ["@staff"]
databases = ["shop"]
from = ["@office"]
sslmode = "verify-full"
auth = "cert"
"""

MISTAKES = [
    ("port = 5432", 'port = "5432"'),
    ("port = 5432", "port = 5432.0"),
    ("port = 5432", "port = 54321234"),
    ("port = 5432", "port = -1"),
    ("port = 5432", "prot = 5432"),
    ("port = 5432", "port = [5432]"),
    ("postgres = 17", 'postgres = "17"'),
    ("postgres = 17", 'postgres = "15.3"'),
    ("postgres = 17", "postgres = 15.3"),
    ("postgres = 17", "postgres = 12"),
    ("postgres = 17", "postgres = 20"),
    ("postgres = 17", 'postgres = "latest"'),
    ("postgres = 17", "version = 17"),
    ('hosts = ["db.example.com"]', 'hosts = "db.example.com"'),
    ('hosts = ["db.example.com"]', 'host = "db.example.com"'),
    ('hosts = ["db.example.com"]', 'hosts = "a.example.com, 10.0.0.5"'),
    ('hosts = ["db.example.com"]', "hosts = []"),
    ('hosts = ["db.example.com"]', 'hosts = [""]'),
    ('hosts = ["db.example.com"]', 'hosts = ["https://db.example.com"]'),
    ('hosts = ["db.example.com"]', 'hosts = ["db.example.com:5432"]'),
    ('hosts = ["db.example.com"]', 'hosts = [["db.example.com"]]'),
    ('hosts = ["db.example.com"]', ""),
    ('hosts = ["db.example.com"]', 'hosts = ["db.example.com",,]'),
    ('validity = "90d"', "validity = 90"),
    ('validity = "90d"', 'validity = "90"'),
    ('validity = "90d"', 'validity = "90 days"'),
    ('validity = "90d"', 'validity = "3 months"'),
    ('validity = "90d"', 'validity = "1y6d"'),
    ('validity = "90d"', "days = 90"),
    ('validity = "90d"', 'until = "2027-06-30"'),
    ('validity = "90d"', 'until = "30.06.2027"'),
    ('validity = "90d"', 'until = "2027-13-01"'),
    ('validity = "90d"', "until = 2027-6-30"),
    ('validity = "90d"', "until = 2027-06-31"),
    ('validity = "90d"', "until = 2027-06-30T12:00:00"),
    ('validity = "90d"', "until = 1861920000"),
    ('validity = "90d"', 'password = "x"'),
    ('validity = "90d"', 'passphrase = "hunter2"'),
    ('validity = "90d"', 'passphrase = { env = "A", file = "b" }'),
    ('validity = "90d"', 'passphrase = { vault = "A" }'),
    ('validity = "90d"', 'passphrase = { file = "/run/lock/../secrets/app" }'),
    ('validity = "90d"', 'passphrase = { file = "/proc/self/root/run/secrets/app" }'),
    ('validity = "90d"', 'passphrase = { file = "../../proc/self/cwd/app" }'),
    ('validity = "90d"', "passphrase = {}"),
    ('validity = "90d"', 'crl = "yes"'),
    ('validity = "90d"', "crl = 1"),
    ('validity = "90d"', 'key_algorithm = "rsa"'),
    ('validity = "90d"', 'key_algorithm = "RSA-4096"'),
    ('validity = "90d"', "key_algorithm = 2048"),
    ("[ca.root]", '[ca.root]\nkey = "secrets/root.key"'),
    ("[ca.root]", '[ca.root]\nkey = "pkcs11:token=a;object=b"'),
    ("[ca.root]", '[ca.root]\nkey = { pkcs11 = "pkcs11:token=a;object=b", module = "m.so" }'),
    ("[ca.root]", '[ca.root]\nkey = { pkcs11 = "pkcs11:token=a b;object=c", module = "m.so", pin = { env = "A" } }'),
    (
        "[ca.root]",
        '[ca.root]\nkey = { pkcs11 = "pkcs11:token=a;object=b?pin-value=1", module = "m.so", pin = { env = "A" } }',
    ),
    ("[ca.root]", '[ca.root]\nkey = { pkcs11 = "pkcs11:token=a;object=b", module = "m.so", pin = "1234" }'),
    ('validity = "90d"', 'subject = "O=Example"'),
    ('validity = "90d"', 'subject = { organisation = "x" }'),
    ('validity = "90d"', 'subject = { country = "Greece" }'),
    ('validity = "90d"', 'formats = "pkcs12"'),
    ('validity = "90d"', 'formats = ["pem, pkcs12"]'),
    ('validity = "90d"', 'roles = "app"'),
    ('validity = "90d"', 'groups = ["staff"]'),
    ('validity = "90d"', 'identity = "DN"'),
    ('ca = "clients"', 'ca = "Clients"'),
    ('ca = "clients"', 'ca = "client"'),
    ('ca = "clients"', 'ca = ["clients"]'),
    ('ca = "clients"', 'ca = "ca.clients"'),
    ('client_ca = ["clients"]', 'client_ca = "clients"'),
    ('client_ca = ["clients"]', 'client_ca = ["/etc/ssl/ca.crt"]'),
    ('client_ca = ["clients"]', 'clientca = ["clients"]'),
    ('auth = "cert"', 'auth = "certificate"'),
    ('auth = "cert"', 'auth = "scram+cert"'),
    ('auth = "cert"', 'auth = ["cert", "scram-sha-256"]'),
    ('auth = "cert"', 'auth = "scram"\nclient_cert = true'),
    ('auth = "cert"', 'auth = "scram-sha-256"\nclient_cert = "require"'),
    ('auth = "cert"', 'method = "cert"'),
    ('auth = "cert"', 'auth = "scram-sha-256 clientcert=verify-full"'),
    ('auth = "cert"', 'auth = "scram-sha-256"\nclientcert = "verify-full"'),
    ('auth = "cert"', 'auth = "cert"\nclientname = "DN"'),
    ('auth = "cert"', 'auth = "ldap"\nldapserver = "x"'),
    ('auth = "cert"', 'Auth = "cert"'),
    ('auth = "cert"', ""),
    ('auth = "cert"', 'auth = "MD5"'),
    ('sslmode = "verify-full"', 'sslmode = "verify_full"'),
    ('sslmode = "verify-full"', "sslmode = true"),
    ('sslmode = "verify-full"', "ssl = true"),
    ('sslmode = "verify-full"', 'sslmode = "required"'),
    ('sslmode = "verify-full"', 'sslmode = "prefer"'),
    ('databases = ["shop"]', 'database = "shop"'),
    ('databases = ["shop"]', 'databases = "shop"'),
    ('databases = ["shop"]', "databases = [1]"),
    ('databases = ["shop"]', "databases = []"),
    ("[user.app]", "[users.app]"),
    ("[user.app]", "[User.app]"),
    ("[user.app]", "[user.App]"),
    ("[user.app]", "[user app]"),
    ("[user.app]", '[user."app"'),
    ("[user.app]", "[[user.app]]"),
    ("[user.app]", "[user.app.x]"),
    ("[user.app]", "[app]"),
    ("[user.app]", "[role.app]"),
    ("[user.app]", '[user."a b"]'),
    ("[user.postgres]", "[user.postgres]\n[user.postgres]"),
    ("[ca.root]", '[ca]\nroot = "Example"'),
    ("[ca.root]", '[ca.root]\nissuer = "root"'),
    ("version = 1", ""),
    ("version = 1", 'version = "1"'),
    ("version = 1", "version = 2"),
    ("version = 1", "version = 1.0"),
    ("version = 1", 'include = ["users/*.toml"]\nversion = 1'),
    ("version = 1", 'version = 1\ninclude = "users.toml"'),
    ("version = 1", "version: 1"),
    ('users = ["@staff"]', 'users = ["staff"]'),
    ('users = ["@staff"]', 'users = ["@stuff"]'),
    ('users = ["@staff"]', 'groups = ["staff"]'),
    ('users = ["@staff"]', 'users = "@staff"'),
    ('users = ["@staff"]', "users = [app]"),
    ('users = ["@staff"]', 'users = ["app"'),
    ('users = ["@staff"]', 'user = ["app"]'),
    ('users = ["@staff"]', 'users = ["@office"]'),
    ('users = ["@staff"]', 'users = ["group.staff"]'),
    ('users = ["@staff"]', 'users = ["ben"]'),
    ('from = ["@office"]', 'from = "@office"'),
    ('from = ["@office"]', 'from = ["@offices"]'),
    ('from = ["@office"]', 'from = ["10.0.0.5/8"]'),
    ('from = ["@office"]', 'from = ["10.0.0.0/8 "]'),
    ('from = ["@office"]', "from = [10.0.0.5]"),
    ('from = ["@office"]', 'from = ["network.office"]'),
    ('from = ["@office"]', 'network = ["office"]'),
    ('from = ["@office"]', 'from = ["local", "10.0.0.0/8"]'),
    ('from = ["@office"]', 'from = ["localhost:5432"]'),
    ("postgres = 17", "postgres = 17\nsettings = { log_connectons = true }"),
    ("postgres = 17", 'postgres = 17\nsettings = { shared_preload_libraries = ["a", "b"] }'),
    ("postgres = 17", 'postgres = 17\nssl_ciphers = "HIGH"'),
    ("postgres = 17", "postgres = 17\nmin_tls = 1.2"),
    ("postgres = 17", 'postgres = 17\nmin_tls = "TLSv1.3"'),
    ("postgres = 17", "postgres = 17\nopenssl = 3"),
    ("postgres = 17", 'postgres = 17\nlisten_addresses = "*"'),
    ("postgres = 17", "postgres = 17\nmax_connections = 100"),
    ("postgres = 17", 'postgres = 17\nhba_file = "/etc/pg_hba.conf"'),
    ("postgres = 17", 'postgres = 17\nssl_ca_file = "root.crt"'),
    ("postgres = 17", 'postgres = 17\nservers = ["main"]'),
    ("[policy.admin]", '[lint]\nignore = "PGT312"\n[policy.admin]'),
    ("[policy.admin]", '[lint]\nignore = ["PGT999"]\n[policy.admin]'),
    ("[policy.admin]", '[lint]\nignore = ["pgt312"]\n[policy.admin]'),
    ("[policy.admin]", '[lint]\nignore = ["PGT312, PGT313"]\n[policy.admin]'),
    ("[policy.admin]", '[lint]\nminimum_sslmod = "require"\n[policy.admin]'),
    ("[policy.admin]", '[defaults]\nvalidity = "30d"\n[policy.admin]'),
    ("[policy.admin]", '[default.user]\nvalidity = "30d"\n[policy.admin]'),
    ("[policy.admin]", '[defaults.users]\nvalidity = "30d"\n[policy.admin]'),
    ("[policy.admin]", '[defaults.user]\nvalidty = "30d"\n[policy.admin]'),
    ('auth = "cert"', 'auth = "cert"\nwaiver = true'),
    ('auth = "cert"', 'auth = "cert"\nwaiver = { codes = ["PGT301"] }'),
    ('auth = "cert"', 'auth = "cert"\npriority = "high"'),
    ('auth = "cert"', 'auth = "cert"\nmap = [{ from = "a", to = "b" }]'),
    ('auth = "cert"', 'auth = "cert"\nmap = { identity = "a", role = "b" }'),
    ('auth = "cert"', 'auth = "cert"\nservers = ["man"]'),
    ('auth = "cert"', 'auth = "cert"\nservers = "main"'),
    ('auth = "cert"', 'auth = "ldap"'),
    ('auth = "cert"', 'auth = "ldap"\nauth_options = { server = "x" }'),
    ('auth = "cert"', 'auth = "ldap"\nauth_options = "ldapserver=x"'),
    ('auth = "cert"', "auth = '''cert\n'''"),
    ('auth = "cert"', "auth = “cert”"),
    ('auth = "cert"', 'auth = "cert" // mTLS'),
    ('auth = "cert"', 'auth = "cert"; from = ["all"]'),
    ('auth = "cert"', 'auth  "cert"'),
    ('auth = "cert"', 'auth = "cert"\nauth = "peer"'),
]
"""What is replaced in the spec, and by what."""

TWO = {
    'auth = "scram"\nclient_cert = true',
    'sslmode = "prefer"',
    '[user."a b"]',
    'auth = "cert"\nmap = [{ from = "a", to = "b" }]',
    'auth = "ldap"\nauth_options = { server = "x" }',
}
"""Two mistakes at once."""


def test_each_mistake_gets_its_answer(tmp_path: Path) -> None:
    spec = tmp_path / "pgtls.toml"
    answers = []
    for right, wrong in MISTAKES:
        assert right in SPEC
        spec.write_text(SPEC.replace(right, wrong, 1))
        found = diagnose(spec)
        assert len(found) == (2 if wrong in TWO else 1), (wrong, found)
        answers.append("\n".join(f"- {line}" for line in wrong.split("\n")))
        for diagnostic in found:
            assert diagnostic.place is not None, wrong
            where = f"{diagnostic.place.line}:{diagnostic.place.column}"
            answers.append(f"  {where} {diagnostic.code}: {diagnostic.message}\n    hint: {diagnostic.hint}")
        answers.append("")
    text = "\n".join(answers)
    if REWRITE:
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_the_spec_without_a_mistake_has_no_finding(tmp_path: Path) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(SPEC)
    assert diagnose(spec) == ()
