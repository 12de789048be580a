"""The files of a bundle: each form of a connection, demands no weaker than the policies, scripts for Windows."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from markdown_it import MarkdownIt

from pgtls.postgres import libpq
from pgtls.postgres.drivers import DRIVERS
from support.building import SMALL, Place
from support.clients import PSQL, Bundle, admitted, at, libpq_clients, refused
from support.pgtls import compiled
from support.readers import HOSTILE, faults, of_kind, parsed, read_by_java, read_by_powershell
from support.servers import Server, versions
from support.system import new_directory

if TYPE_CHECKING:
    from pathlib import Path

LATEST = SMALL.replace("[server.main]", "[server.main]\npostgres = 18").replace("[user.app]", "[user.app]\nlibpq = 18")


def bundle(place: Place, spec: str) -> dict[str, str]:
    place.build(spec)
    files = place.file("clients/app").iterdir()
    return {path.name: path.read_text() for path in files if path.suffix not in (".p12", ".pk8")}


def entry(place: Place, spec: str) -> dict[str, Any]:
    (found,) = json.loads(bundle(place, spec)["connections.json"])["connections"]
    return found  # type: ignore[no-any-return]


def demands(found: dict[str, Any]) -> dict[str, str]:
    names = ("require_auth", "sslcertmode", "sslnegotiation", "channel_binding")
    return {name: found["parameters"][name] for name in names if name in found["parameters"]}


@pytest.mark.parametrize(
    ("auth", "demanded"),
    [
        ('"cert"', {"require_auth": "none", "sslcertmode": "require"}),
        ('"scram-sha-256"', {"require_auth": "scram-sha-256", "channel_binding": "prefer"}),
        (
            '"scram-sha-256"\nchannel_binding = "require"\nclient_cert = "verify-full"',
            {"require_auth": "scram-sha-256", "channel_binding": "require", "sslcertmode": "require"},
        ),
        ('"md5"', {"require_auth": "scram-sha-256,md5"}),
        ('"password"\nwaiver = { reason = "old", codes = ["PGT302"] }', {"require_auth": "password"}),
        ('"gss"', {"require_auth": "gss"}),
        (
            '"ldap"\nauth_options = { ldapserver = "ldap.example.com", ldapbasedn = "dc=x" }',
            {"require_auth": "password"},
        ),
    ],
    ids=["cert", "scram", "scram and a certificate", "md5", "password", "gss", "ldap"],
)
def test_no_server_may_ask_for_less_than_the_policy(place: Place, auth: str, demanded: dict[str, str]) -> None:
    spec = LATEST.replace('auth = "cert"', f"auth = {auth}")
    assert demands(entry(place, spec)) == demanded | {"sslnegotiation": "direct"}


def test_several_policies_demand_what_one_of_them_asks_for(place: Place) -> None:
    more = '\n[policy.more]\nusers = ["app"]\ndatabases = ["shop"]\nfrom = ["192.0.2.0/24"]\nauth = "scram-sha-256"\n'
    assert demands(entry(place, LATEST + more)) == {"require_auth": "none,scram-sha-256", "sslnegotiation": "direct"}


@pytest.mark.parametrize("version", range(13, 20))
def test_a_bundle_says_only_what_its_oldest_libpq_and_its_server_know(place: Place, version: int) -> None:
    found = entry(place, LATEST.replace("libpq = 18", f"libpq = {version}"))
    assert found["parameters"].keys() <= libpq.parameters(version).keys()
    assert ("require_auth" in found["parameters"], "sslcertmode" in found["parameters"]) == (version >= 16,) * 2
    assert ("sslnegotiation" in found["parameters"]) == (version >= 17)
    older = entry(place, LATEST.replace("libpq = 18", f"libpq = {version}").replace("postgres = 18", "postgres = 16"))
    assert "sslnegotiation" not in older["parameters"]


def test_a_connection_without_certainty_of_tls_does_not_begin_with_it(place: Place) -> None:
    waiver = '\nwaiver = { reason = "x", codes = ["PGT310"] }'
    spec = LATEST.replace('auth = "cert"', f'sslmode = "prefer"\nauth = "scram-sha-256"{waiver}')
    assert "sslnegotiation" not in entry(place, spec)["parameters"]


def test_a_later_method_than_the_oldest_libpq_knows_is_not_demanded(place: Place) -> None:
    auth = '"oauth"\nauth_options = { issuer = "https://x", scope = "y" }'
    spec = LATEST.replace('auth = "cert"', f"auth = {auth}").replace(
        "[user.postgres]", '[server.main.settings]\noauth_validator_libraries = "v"\n[user.postgres]'
    )
    assert demands(entry(place, spec))["require_auth"] == "oauth"
    assert "require_auth" not in demands(entry(place, spec.replace("libpq = 18", "libpq = 17")))


def test_each_form_of_a_connection_says_the_same(place: Place) -> None:
    found = entry(place, LATEST.replace("[user.app]", '[user.app]\ndirectory = "/srv/app"'))
    for form, scheme in (("uri", "postgresql"), ("go", "postgresql"), ("node", "postgresql")):
        split = urlsplit(found[form])
        asked = {name: value for name, (value,) in parse_qs(split.query).items()}
        assert (split.scheme, split.username, split.hostname, split.port) == (scheme, "app", "db.example.com", 5432)
        assert (split.path, asked["sslmode"], asked["sslcert"]) == ("/shop", "verify-full", "/srv/app/postgresql.crt")
    assert "require_auth" not in found["go"], "lib/pq would send it to the server as a setting"
    split = urlsplit(found["jdbc"].removeprefix("jdbc:"))
    asked = {name: value for name, (value,) in parse_qs(split.query).items()}
    assert (split.hostname, split.path) == ("db.example.com", "/shop")
    assert asked == {
        "user": "app",
        "sslmode": "verify-full",
        "sslrootcert": "/srv/app/root.crt",
        "sslcert": "/srv/app/postgresql.crt",
        "sslkey": "/srv/app/postgresql.key",
        "pemKeyAlgorithm": "EC",
        "gssEncMode": "disable",
        "requireAuth": "none",
        "sslNegotiation": "direct",
    }


@pytest.mark.parametrize(
    ("host", "fields", "sslmode", "null"),
    [
        ("db.example.com", 'directory = "/srv/app"', "verify-full", {}),
        ("db.example.com", "", "verify-full", {"without `directory`": {"go", "node"}}),
        ("db.example.com", "", "require", {"without `directory`": {"go", "node"}}),
        ("db.example.com", "", "disable", {}),
        ("192.0.2.1", 'directory = "/srv/app"', "verify-full", {"for an address": {"node"}}),
        ("2001:db8::1", 'directory = "/srv/app"', "verify-full", {"for an address": {"node"}}),
        ("192.0.2.1", 'directory = "/srv/app"', "verify-ca", {}),
        ("192.0.2.1", "", "verify-full", {"without `directory`": {"go", "node"}}),
    ],
)
def test_a_form_that_would_not_verify_the_server_is_null_and_the_readme_says_why(
    place: Place, host: str, fields: str, sslmode: str, null: dict[str, set[str]]
) -> None:
    waiver = 'waiver = { reason = "old", codes = ["PGT301", "PGT310", "PGT311"] }'
    spec = SMALL.replace('"db.example.com"', f'"{host}"').replace("[user.app]", f"[user.app]\n{fields}")
    spec = spec.replace('auth = "cert"', f'sslmode = "{sslmode}"\nauth = "scram-sha-256"\n{waiver}')
    files = bundle(place, spec)
    (found,) = json.loads(files["connections.json"])["connections"]
    said = re.findall(r"^- (.*): It is null (for an address|without `directory`)", files["README.md"], re.MULTILINE)
    assert {reason: set(re.findall(r"`(\w+)`", forms)) for forms, reason in said} == null
    assert {form for form in ("go", "node", "jdbc") if found[form] is None} == set().union(*null.values())


STRICT = """
[user.app]
ca = "clients"
crl = true
libpq = {libpq}
directory = "/srv/app"
drivers = {drivers}
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "{auth}"
client_cert = "verify-full"
{bound}
"""
UNMET = {
    "crl": "It checks no CRL, and connects to a server whose certificate is revoked.",
    "channelbinding": "It does not bind the password to the certificate of the server, which the policy requires.",
    "requireauth": "It gives the password to a server that has a valid certificate and asks for it in the clear.",
    "sslcertmode": "It connects to a server that has a valid certificate and asks for none of yours.",
}
"""What a README says of a form that does not make a demand, by the word for it: as libpq and pgjdbc spell it."""
OLD = {
    "requireauth": "gives the password to a server that has a valid certificate and asks for it in the clear",
    "sslcertmode": "connects to a server that has a valid certificate and asks for none of yours",
}
"""The same of the forms for libpq, if that is an old one."""


def strict(place: Place, *, version: int = 17, auth: str = "scram-sha-256", bound: bool = True) -> dict[str, str]:
    """Return the files of a bundle whose user demands all that there is."""
    named = [name for name, driver in DRIVERS.items() if driver.binding != "fails"]
    more = {"libpq": version, "drivers": json.dumps(named), "auth": auth}
    more["bound"] = 'channel_binding = "require"' if bound else ""
    return bundle(place, SMALL.partition("[user.app]")[0] + STRICT.format(**more))


def unkept(form: str) -> set[str]:
    """Return the demands that a form does not make. Who binds a password to the certificate gives it to no thief."""
    said = form.lower().replace("_", "")
    lost = {word for word in UNMET if word not in said}
    return lost - {"requireauth"} if "channelbinding=require" in said else lost


@pytest.mark.parametrize("version", [14, 17])
def test_each_form_makes_each_demand_or_the_readme_says_that_it_does_not(place: Place, version: int) -> None:
    files = strict(place, version=version)
    (found,) = json.loads(files["connections.json"])["connections"]
    readme = files["README.md"]
    forms = {name: files[name] for name in ("pg_service.conf", "env.sh", "env.ps1", "pgadmin.json")}
    forms |= {name: str(found[name]) for name in ("uri", "dsn", "parameters")}
    old = {word for word, said in OLD.items() if said in readme.partition("## ")[2].partition("Its forms")[0]}
    for name, form in forms.items():
        assert unkept(form) - {"requireauth"} == (old if version < 16 else set()), name
    assert old == ({"sslcertmode"} if version < 16 else set()), "channel binding keeps the password"

    for name in ("jdbc", "go", "node"):
        told = {word for word, said in UNMET.items() if re.search(rf"^- .*`{name}`.*: {said}$", readme, re.MULTILINE)}
        assert told == unkept(found[name]), name
    for driver, program in found["snippets"].items():
        section = readme.partition(f"## {DRIVERS[driver].title}\n")[2].partition("\n## ")[0]
        told = {word for word, said in UNMET.items() if f"- {said}" in section}
        assert told == (unkept(program) if not DRIVERS[driver].on_libpq or version >= 16 else {"sslcertmode"}), driver


@pytest.mark.parametrize("method", ["ldap", "pam", "radius", "bsd", "password"])
def test_a_readme_says_how_to_give_the_password_of_each_method(
    place: Place, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "between server and RADIUS")
    options = {
        "ldap": 'auth_options = { ldapserver = "ldap.example.com", ldapprefix = "uid=", ldaptls = true }',
        "radius": 'auth_options = { radiusservers = "10.0.0.1", radiussecrets = { env = "SECRET" } }',
    }
    waiver = 'waiver = { reason = "old", codes = ["PGT302", "PGT303", "PGT370"] }'
    spec = SMALL.replace('auth = "cert"', f'auth = "{method}"\n{options.get(method, "")}\n{waiver}')
    readme = bundle(place, spec.replace("[user.app]", '[user.app]\ndirectory = "/srv/app"'))["README.md"]
    assert "For the password, `psql` asks" in readme
    assert f"- `go` and `node`: {UNMET['requireauth']}" in readme
    assert "a password" in readme.partition("| service |")[2].partition("\n\n")[0]


@pytest.mark.parametrize(
    ("formats", "key"),
    [('["pem"]', "postgresql.key"), ('["pkcs8-der"]', "postgresql.pk8"), ('["pkcs8-der", "pkcs12"]', "postgresql.p12")],
)
def test_the_url_for_java_names_the_key_that_it_reads_best(
    place: Place, monkeypatch: pytest.MonkeyPatch, formats: str, key: str
) -> None:
    monkeypatch.setenv("PHRASE", "x")
    guard = 'passphrase = { env = "PHRASE" }\n' if "12" in formats else ""
    spec = SMALL.replace("[user.app]", f'[user.app]\nformats = {formats}\ndirectory = "/srv"\n{guard}')
    found, readme = entry(place, spec), place.file("clients/app/README.md").read_text()
    assert f"sslkey=%2Fsrv%2F{key}" in found["jdbc"]
    assert ("## Java" in readme, "sslpassword" in readme) == (key != "postgresql.key", bool(guard))


def test_a_java_program_shows_no_certificate_to_a_server_that_would_not_accept_it(place: Place) -> None:
    spec = SMALL.replace('client_ca = ["clients"]\n', "").replace('auth = "cert"', 'auth = "scram-sha-256"')
    assert "&sslcert=&sslkey=&" in entry(place, spec)["jdbc"]


def test_java_reads_the_urls_of_any_name(place: Place, tmp_path: Path) -> None:
    names = [name for name in HOSTILE if name.strip()]
    users = "".join(
        f'[policy.p{number}]\nusers = ["app"]\ndatabases = [{{ name = {json.dumps(name, ensure_ascii=False)} }}]\n'
        'from = ["10.0.0.0/8"]\nauth = "cert"\n'
        for number, name in enumerate(names)
    )
    files = bundle(place, SMALL + users)
    connections = json.loads(files["connections.json"])["connections"]
    found = read_by_java(files["jdbc.properties"], tmp_path)
    assert len(found) == len(names) + 1
    assert list(found.values()).count("") == 0
    assert sorted(found.values()) == sorted(one["jdbc"] for one in connections)
    assert {one["database"] for one in connections} == {"shop", *names}


def test_pgadmin_gets_the_attributes_that_its_importer_demands(place: Place) -> None:
    more = '\n[policy.all]\nusers = ["app"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
    copies = more.replace("all]", 'copy]\ndatabases = ["replication"]')
    servers = json.loads(bundle(place, LATEST + more + copies)["pgadmin.json"])["Servers"]
    # pgadmin/utils/__init__.py, validate_json_data
    assert all({"Name", "Group", "Host", "Port", "Username", "MaintenanceDB"} <= one.keys() for one in servers.values())
    assert all(type(one["Port"]) is int for one in servers.values())
    assert [(one["Name"], one["MaintenanceDB"]) for one in servers.values()] == [
        ("main", "postgres"),
        ("main-shop", "shop"),
    ]
    assert servers["2"]["ConnectionParameters"] == {
        "sslmode": "verify-full",
        "gssencmode": "disable",
        "require_auth": "none",
        "sslcertmode": "require",
        "sslnegotiation": "direct",
    }


def test_who_may_only_replicate_has_nothing_for_pgadmin_nor_for_java(place: Place) -> None:
    files = bundle(place, SMALL.replace('["shop"]', '["replication"]'))
    assert "pgadmin.json" not in files
    assert "Java" not in files["README.md"]
    assert "pgAdmin" not in files["README.md"]


def test_who_connects_by_password_reads_of_no_certificate(place: Place) -> None:
    files = bundle(place, SMALL.replace('ca = "clients"\n', "").replace('auth = "cert"', 'auth = "scram-sha-256"'))
    assert "postgresql.key" not in files["README.md"]
    assert "~/.pgpass" in files["README.md"]
    assert "Java" not in files["README.md"]


def test_a_readme_is_read_in_a_minute(place: Place) -> None:
    assert len(bundle(place, LATEST)["README.md"].split()) < 250


DIRECTORIES = [f"/C/{name}" for name in HOSTILE if name.strip() and not name.endswith(" ") and ":" not in name]


def test_scripts_for_powershell_are_scripts_whatever_the_directory_is_called(place: Place) -> None:
    users = "".join(
        f'[user.u{number}]\nca = "clients"\ndirectory = {json.dumps(directory, ensure_ascii=False)}\n'
        for number, directory in enumerate(DIRECTORIES)
    )
    place.build(LATEST + users)
    for number, directory in enumerate(DIRECTORIES):
        for name, variable in (("env.ps1", "$pgtlsBundle = "), ("install.ps1", "$given = ")):
            text = place.file(f"clients/u{number}/{name}").read_text()
            script = text.removeprefix("\ufeff")
            assert text.startswith("\ufeff") == (not text.isascii()), "PowerShell 5 would read it as ANSI"
            # To the grammar, typographic quotes are none.
            assert set(directory) & {"\u2018", "\u2019", "\u201a", "\u201b"} or faults(script) == [], script
            (said,) = (line for line in script.splitlines() if line.startswith(variable))
            assert read_by_powershell(said.removeprefix(variable)) == directory


def test_the_grammar_of_powershell_notices_a_script_that_is_none(place: Place) -> None:
    files = bundle(place, LATEST)
    script = files["install.ps1"]
    assert faults(script) == faults(files["env.ps1"]) == []
    assert faults(script.replace("'root.crt'", "'root.crt", 1)) != []
    assert len(list(of_kind(parsed(script), "function_statement"))) == 6


# ---- with real servers and every libpq ----


def test_every_libpq_takes_what_its_bundle_says_and_rejects_a_server_that_asks_for_less() -> None:
    found = versions()[-1]
    with Server(found) as server:
        server.populate(["app"], ["shop"])
        server.sql("alter role app password 'secret'")
        clients = (PSQL, *libpq_clients())
        users = "".join(
            f'[user.u{number}]\nca = "clients"\nroles = ["app"]\nlibpq = {client.libpq or 15}\n'
            for number, client in enumerate(clients)
        )
        everyone = json.dumps([f"u{number}" for number in range(len(clients))])
        spec = SPEC.format(port=server.port, version=server.version, users=users, everyone=everyone)
        out = compiled(spec, new_directory("spec"))
        server.install(out / "servers" / "db")
        password = {"PGPASSWORD": "secret"}

        def connects(number: int) -> object:
            files = Bundle(out / "clients" / f"u{number}").parameters("shop")
            return clients[number].connect(files | at(server), environment=password)

        for number in range(len(clients)):
            assert admitted(connects(number)) == "app@shop"  # type: ignore[arg-type]
        hba = "local all all trust\nhostssl all all all trust\n"
        server.write("pg_hba.conf", hba.encode())
        server.reload()
        for number, client in enumerate(clients):
            outcome = connects(number)
            if (client.libpq or 15) >= 16:
                refused(outcome, "server did not complete authentication")  # type: ignore[arg-type]
            else:
                admitted(outcome)  # type: ignore[arg-type]


SPEC = """
version = 1
[ca.root]
[ca.clients]
[server.db]
ca = "root"
client_ca = ["clients"]
hosts = ["localhost"]
port = {port}
postgres = {version}
no_local = true
{users}
[policy.app]
users = {everyone}
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "scram-sha-256"
client_cert = "verify-ca"
"""


@pytest.mark.parametrize("database", ["shop", "a```b", "`" * 9])
def test_the_readme_shows_the_program_of_each_driver_as_it_is_run(place: Place, database: str) -> None:
    named = SMALL.replace('["shop"]', f'[{{ name = "{database}" }}]')
    files = bundle(place, named.replace("[user.app]", '[user.app]\ndrivers = ["psycopg", "pgjdbc"]'))
    (found,) = json.loads(files["connections.json"])["connections"]
    fences = [token for token in MarkdownIt("commonmark").parse(files["README.md"]) if token.type == "fence"]
    assert [token.info for token in fences] == ["python", "java"]
    assert [token.content.rstrip() for token in fences] == [text.rstrip() for text in found["snippets"].values()]
