"""Where servers send secrets and logins is compared, whatever the policies are called and whom they admit."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import pgtls

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SERVER = '[server.{0}]\nca = "root"\nhosts = ["{0}.example.com"]\npostgres = 18\nno_local = true\n'
SPEC = "version = 1\n[ca.root]\n[user.app]\n[user.eve]\n" + SERVER.format("main")
DEV = SERVER.format("dev")


def policy(method: str, options: str, user: str = "eve", server: str = "main", database: str = "shop") -> str:
    return (
        f'[policy.{user}-{server}]\nservers = ["{server}"]\nusers = ["{user}"]\ndatabases = ["{database}"]\n'
        f'from = ["10.0.0.0/8"]\nauth = "{method}"\nauth_options = {{ {options} }}\n'
    )


SEARCH = 'ldapbasedn = "dc=x", ldapbinddn = "cn=pg", ldapbindpasswd = {{ env = "A" }}, ldapserver = "{}"{}'
TLS = ", ldaptls = true"
ONE, TWO, CLEAR = SEARCH.format("one", TLS), SEARCH.format("two", TLS), SEARCH.format("one", "")
LDAPS = SEARCH.format("one", ', ldapscheme = "ldaps", ldapport = 389')
OTHER_BASE = ONE.replace("dc=x", "dc=y")
RADIUS = 'radiusservers = "{}", radiussecrets = {{ env = "A" }}'
OAUTH = 'issuer = "https://{}", scope = "x", validator = "v"'
AUDIENCE = ', "validator.audience" = "db"'
BIND = 'ldapprefix = "cn=", ldapserver = "{}"' + TLS

AT_ONE, AT_TWO, IN_CLEAR = "one:389 over TLS", "two:389 over TLS", "one:389 in cleartext"
SECRETS: dict[str, tuple[str, str, str | None]] = {
    "another directory": (ONE, TWO, f"server.main for {AT_ONE}; server.main for {AT_TWO}"),
    "the same directory in cleartext": (ONE, CLEAR, f"server.main for {IN_CLEAR}; server.main for {AT_ONE}"),
    "the same directory over TLS": (CLEAR, ONE, None),
    "the same directory over TLS from the first byte": (ONE, LDAPS, None),
    "the same directory with another base": (ONE, OTHER_BASE, None),
    "one of the directories": (SEARCH.format("two one", TLS), ONE, None),
    "another port": (ONE, ONE + ", ldapport = 390", f"server.main for {AT_ONE}; server.main for one:390 over TLS"),
    "another method": (ONE, RADIUS.format("one"), f"server.main for one:1812; server.main for {AT_ONE}"),
    "another RADIUS server": (
        RADIUS.format("one"),
        RADIUS.format("two"),
        "server.main for one:1812; server.main for two:1812",
    ),
    "another port of a RADIUS server": (
        RADIUS.format("one"),
        RADIUS.format("one") + ', radiusports = "1813"',
        "server.main for one:1812; server.main for one:1813",
    ),
    "the same RADIUS servers in another order": (
        RADIUS.format("one,two"),
        RADIUS.format("two,one"),
        "server.main for one:1812 (secret 2), two:1812; server.main for one:1812, two:1812 (secret 2)",
    ),
    "a RADIUS server that gets the secret of another, too": (
        RADIUS.format("one,two"),
        RADIUS.format("one,one"),
        "server.main for one:1812, one:1812 (secret 2); server.main for one:1812, two:1812 (secret 2)",
    ),
    "the first of the RADIUS servers": (RADIUS.format("one,two"), RADIUS.format("one"), None),
    "an option that a RADIUS server reads in cleartext": (
        RADIUS.format("one"),
        RADIUS.format("one") + ', radiusidentifiers = { env = "A" }',
        "server.main for one:1812; server.main for one:1812 in radiusidentifiers",
    ),
    "only the option that is made for it": (
        RADIUS.format("one") + ', radiusidentifiers = { env = "A" }',
        RADIUS.format("one"),
        None,
    ),
    "another option for the same directory": (
        ONE,
        ONE.replace('"cn=pg"', '{ env = "A" }'),
        f"server.main for {AT_ONE}; server.main for {AT_ONE} in ldapbinddn",
    ),
}
"""The options of a policy that stays, those of a new one with its secret, and who gets the secret then."""


@pytest.mark.parametrize(("stays", "added", "told"), SECRETS.values(), ids=SECRETS)
def test_a_secret_that_goes_to_a_further_place_is_a_weakening_by_a_policy_of_any_name(
    stays: str, added: str, told: str | None
) -> None:
    both = (stays, "app"), (added, "eve")
    first, second = (policy("radius" if "radius" in each else "ldap", each, user) for each, user in both)
    old, new = (pgtls.loads(SPEC + text, now=NOW) for text in (first, first + second))
    found = [change for change in pgtls.diff(old, new).protection if change.what.startswith("who gets the secret")]
    assert [(c.kind, c.entity, c.after) for c in found] == ([("weakened", "policy.eve-main", told)] if told else [])
    alone = pgtls.diff(old, pgtls.loads(SPEC + second, now=NOW)).protection
    assert any(change.what.startswith("who gets the secret") for change in alone) is bool(told)


HELD = """version = 1
[ca.root]
passphrase = {{ env = "K" }}
[ca.token]
key = {{ module = "/m.so", pkcs11 = "pkcs11:token=t;object=o", pin = {{ file = "pin" }} }}
[server.main]
ca = "token"
hosts = ["main.example.com"]
client_ca = ["root"]
no_local = true
passphrase = {{ env = "S" }}
passphrase_command = "x"
[user.app]
[user.bob]
ca = "root"
{bob}
[user.eve]
ca = "root"
{eve}
[policy.certified]
users = ["bob", "eve"]
from = ["10.0.0.0/8"]
databases = ["orders"]
auth = "cert"
"""
GUESSED = "who has the files of user.eve, by guessing"


@pytest.mark.parametrize(
    ("source", "whose"),
    [
        ('env = "A"', "policy.app-main"),
        ('env = "K"', "ca.root"),
        ('file = "pin"', "ca.token"),
        ('file = ".//pin"', "ca.token"),
        ('env = "S"', "server.main"),
        ('env = "OWN"', None),
    ],
    ids=["of a method", "of a CA", "the PIN of a token", "the same file", "of a server", "its own"],
)
def test_a_secret_of_something_else_is_no_passphrase_of_a_user(source: str, whose: str | None) -> None:
    """Who has the bundle can try one word after the other, and nobody sees it."""

    def told(**was: str) -> list[tuple[str, str | None, str | None]]:
        states = ({"bob": "", "eve": ""} | was, {"bob": "", "eve": ""} | was | {"eve": mine})
        first, second = (pgtls.loads(HELD.format(**state) + policy("ldap", ONE, "app"), now=NOW) for state in states)
        changes = [one for one in pgtls.diff(first, second).protection if one.entity == "user.eve"]
        return [(one.kind, one.before, one.after) for one in changes if one.what.startswith("who gets")]

    mine = f"passphrase = {{ {source} }}"
    assert told() == ([("weakened", whose, GUESSED)] if whose else [])
    assert told(eve=mine) == told(bob=mine) == []


@pytest.mark.parametrize(
    ("known", "new", "same"),
    [
        ("/run/secrets/ldap", "//run/secrets/./ldap", True),
        ("/run/secrets/ldap", "/var/run/secrets/ldap", True),
        ("/var/run/secrets/ldap", "/run/secrets/ldap", True),
        ("/run/secrets/ldap", "/run/secrets/..data/ldap", True),
        ("secrets/ldap", "secrets/..data/ldap", True),
        ("ldap", "..data/ldap", True),
        ("ldap", "../ldap", True),
        ("/run/secrets/ldap", "../../../../run/secrets/ldap", True),
        ("../secrets/ldap", "/srv/secrets/ldap", True),
        ("secrets/ldap", "/srv/pki/secrets/ldap", True),
        ("secrets/ldap", "../pki/secrets/ldap", True),
        ("secrets/ldap", "people/secrets/ldap", False),
        ("/run/secrets/ldap", "/run/people/ldap", False),
        ("/run/secrets/ldap", "people/ldap", False),
        ("/run/secrets/ldap", "../secrets/eve-ldap", False),
    ],
)
def test_no_spelling_of_a_path_hides_whose_secret_it_is(known: str, new: str, *, same: bool) -> None:
    base = HELD.replace('file = "pin"', f'file = "{known}"')
    states = ("", f'passphrase = {{ file = "{new}" }}')
    first, second = (pgtls.loads(base.format(bob="", eve=eve), now=NOW) for eve in states)
    found = [one.before for one in pgtls.diff(first, second).protection if one.what.startswith("who gets")]
    assert found == (["ca.token"] if same else [])


@pytest.mark.parametrize(("source", "whose"), [("K", "ca.root"), ("B", "user.bob")])
def test_a_secret_of_something_else_is_no_passphrase_of_a_server(source: str, whose: str) -> None:
    bob = 'passphrase = { env = "B" }'
    states = ('"S"', f'"{source}"')
    first, second = (pgtls.loads(HELD.format(bob=bob, eve="").replace('"S"', one), now=NOW) for one in states)
    (change,) = (one for one in pgtls.diff(first, second).protection if one.what.startswith("who gets"))
    assert (change.kind, change.entity, change.before) == ("weakened", "server.main", whose)


DNS = "the directory that the DNS names for {} over TLS"
ISSUER_ONE, ISSUER_TWO = "issuer https://one, validator v", "issuer https://one, issuer https://two, validator v"
LOGINS: dict[str, tuple[str, str, tuple[str, str, str] | None]] = {
    "a first directory": ("", policy("ldap", BIND.format("one")), ("server.main", "none", AT_ONE)),
    "another directory": (
        policy("ldap", BIND.format("one"), "app"),
        policy("ldap", BIND.format("two")),
        ("server.main", AT_ONE, f"{AT_ONE}, {AT_TWO}"),
    ),
    "the same directory": (
        policy("ldap", BIND.format("one"), "app"),
        policy("ldap", BIND.format("one").replace("cn=", "uid=")),
        None,
    ),
    "a directory of another server": (
        DEV + policy("ldap", BIND.format("one"), "app", "dev"),
        policy("ldap", BIND.format("one")),
        ("server.main", "none", AT_ONE),
    ),
    "a directory that a new server asks, too": (
        policy("ldap", BIND.format("one"), "app"),
        DEV + policy("ldap", BIND.format("one"), "eve", "dev"),
        None,
    ),
    "a directory that a new server alone asks": (
        policy("ldap", BIND.format("one"), "app"),
        DEV + policy("ldap", BIND.format("two"), "eve", "dev"),
        ("server.dev", AT_ONE, AT_TWO),
    ),
    "a directory that the DNS names": (
        policy("ldap", 'ldapbasedn = "dc=x"' + TLS, "app"),
        policy("ldap", 'ldapbasedn = "dc=y"' + TLS),
        ("server.main", DNS.format("dc=x"), f"{DNS.format('dc=x')}, {DNS.format('dc=y')}"),
    ),
    "another issuer": (
        policy("oauth", OAUTH.format("one"), "app"),
        policy("oauth", OAUTH.format("two")),
        ("server.main", ISSUER_ONE, ISSUER_TWO),
    ),
    "another validator": (
        policy("oauth", OAUTH.format("one"), "app"),
        policy("oauth", OAUTH.format("one").replace('"v"', '"w"')),
        ("server.main", ISSUER_ONE, f"{ISSUER_ONE}, validator w"),
    ),
    "the same validator with an option": (
        policy("oauth", OAUTH.format("one"), "app"),
        policy("oauth", OAUTH.format("one") + AUDIENCE),
        ("server.main", ISSUER_ONE, f"{ISSUER_ONE}, validator v, validator.audience db"),
    ),
    "the same validator without its option": (
        policy("oauth", OAUTH.format("one") + AUDIENCE, "app"),
        policy("oauth", OAUTH.format("one")),
        (
            "server.main",
            f"{ISSUER_ONE}, validator.audience db",
            f"{ISSUER_ONE}, validator v, validator.audience db",
        ),
    ),
    "the same validator with the same option": (
        policy("oauth", OAUTH.format("one") + AUDIENCE, "app"),
        policy("oauth", OAUTH.format("one") + AUDIENCE),
        None,
    ),
    "a PAM service": (
        policy("pam", "", "app"),
        policy("pam", 'pamservice = "cron"'),
        ("server.main", "PAM service postgresql", "PAM service cron, PAM service postgresql"),
    ),
    "the PAM service of PostgreSQL": ("", policy("pam", ""), ("server.main", "none", "PAM service postgresql")),
    "BSD authentication": ("", policy("bsd", ""), ("server.main", "none", "BSD authentication")),
}
"""A policy that stays and a new one, and the server whose logins a further service decides, with both states."""


@pytest.mark.parametrize(("stays", "added", "told"), LOGINS.values(), ids=LOGINS)
def test_a_further_service_that_decides_logins_is_a_weakening_although_it_grants(
    stays: str, added: str, told: tuple[str, str, str] | None
) -> None:
    validators = "settings = { oauth_validator_libraries = 'v,w' }\n"
    spec = SPEC.replace("no_local", validators + "no_local") if "oauth" in added else SPEC
    spec = spec.replace("postgres = 18", "postgres = 19") if "validator." in stays + added else spec
    old, new = (pgtls.loads(spec + text, now=NOW) for text in (stays, stays + added))
    difference = pgtls.diff(old, new)
    what = "what decides logins to "
    found = [c for c in difference.protection if c.what.startswith(what)]
    assert [(c.what.removeprefix(what), c.before, c.after) for c in found] == ([told] if told else [])
    assert difference.exceeds("weakened") is bool(told)
    assert {change.kind for change in difference.access} == {"granted"}


def test_several_servers_with_a_further_service_are_one_row() -> None:
    added = policy("ldap", BIND.format("one")).replace('["main"]', '["main", "dev"]')
    old, new = (pgtls.loads(SPEC + DEV + text, now=NOW) for text in ("", added))
    found = [change.what for change in pgtls.diff(old, new).protection]
    assert found == ["what decides logins to server.dev, server.main"]


@pytest.mark.parametrize(("host", "told"), [("one", []), ("two", [AT_TWO])])
def test_a_new_name_of_a_server_hides_no_further_service(host: str, told: list[str]) -> None:
    old = pgtls.loads(SPEC + policy("ldap", BIND.format("one")), now=NOW)
    text = (SPEC + policy("ldap", BIND.format(host))).replace("server.main]", "server.primary]")
    new = pgtls.loads(text.replace('["main"]', '["primary"]'), now=NOW)
    found = [change.after for change in pgtls.diff(old, new).protection if change.what.startswith("what decides")]
    assert found == told


def test_a_grant_shows_where_the_login_is_decided() -> None:
    old, new = (pgtls.loads(SPEC + text, now=NOW) for text in ("", policy("ldap", ONE)))
    (change,) = pgtls.diff(old, new).access
    assert (change.kind, change.before) == ("granted", "refused")
    shown = "ldapbasedn=dc=x, ldapbinddn=cn=pg, ldapbindpasswd=(from env A), ldapserver=one, ldaptls=1"
    assert change.after == f"ldap with {shown}, over TLS, clients use verify-full"
    (lost,) = pgtls.diff(new, old).access
    assert (lost.kind, lost.before) == ("lost", change.after)


def test_another_method_shows_where_the_login_is_decided() -> None:
    scram = policy("scram-sha-256", "").replace("auth_options = {  }\n", "")
    old, new = (pgtls.loads(SPEC + text, now=NOW) for text in (scram, policy("ldap", BIND.format("one"))))
    (change,) = pgtls.diff(old, new).access
    assert change.before == "scram-sha-256 over TLS, clients use verify-full"
    assert change.after == "ldap with ldapprefix=cn=, ldapserver=one, ldaptls=1, over TLS, clients use verify-full"
