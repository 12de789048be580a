r"""Which line decides, and whom a certificate is good for: every case of the matching rules by hand.

Many are from PostgreSQL's own suites (src/test/authentication/t/001_password.pl, 003_peer.pl), which try them on
servers; we tried the others on servers (host names, masks, replication).
on servers where these have none (host names, masks, replication).
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from pgtls.hba.match import decide, identity_accepted, map_identity, outcome
from pgtls.hba.model import ClientCertificate, Connection, HostName, IdentLine, Keyword, Line, Name, Regex, Surroundings
from pgtls.hba.parse import parse_hba, parse_ident
from pgtls.hba.regex import Undecidable

if TYPE_CHECKING:
    from pgtls.hba.model import Transport

ALL = Keyword.ALL
GROUPS = Surroundings(members=frozenset({("member", "group"), ("indirect", "member"), ("other", "elsewhere")}))


def socket(role: str, database: str = "postgres", *, replication: bool = False) -> Connection:
    return Connection(role, database, "socket", replication=replication)


def tcp(address: str = "10.0.0.1", transport: Transport = "tls", *names: str) -> Connection:
    return Connection("app", "shop", transport, ip_address(address), frozenset(names))


def matches(line: str, connection: Connection, surroundings: Surroundings = GROUPS, version: int = 17) -> bool:
    parsed = parse_hba(line, version)
    assert not parsed.errors
    return decide(parsed.lines, connection, surroundings) is not None


# --- the first line that matches --------------------------------------------------------------------------------------


def test_the_first_line_that_matches_decides_and_nothing_falls_through() -> None:
    text = "hostssl all app 10.0.0.0/8 cert\nhost all all all reject\nhost all all all trust\n"
    lines = parse_hba(text, 17).lines
    over_tls, in_clear = decide(lines, tcp()), decide(lines, tcp(transport="plain"))
    assert over_tls is lines[0]
    assert not identity_accepted(over_tls, (), tcp(), 17)  # without a certificate; the lines below are not asked
    assert in_clear is lines[1]
    assert decide(lines, socket("app")) is None


@pytest.mark.parametrize(
    ("record_type", "met_by"),
    [
        ("local", {"socket"}),
        ("host", {"tls", "gss", "plain"}),
        ("hostssl", {"tls"}),
        ("hostnossl", {"gss", "plain"}),
        ("hostgssenc", {"gss"}),
        ("hostnogssenc", {"tls", "plain"}),
    ],
)
def test_the_record_type_says_which_transports_match(record_type: str, met_by: set[Transport]) -> None:
    line = f"{record_type} all all {'' if record_type == 'local' else 'all'} trust"
    every: tuple[Transport, ...] = ("socket", "tls", "gss", "plain")
    found = {kind for kind in every if matches(line, socket("app") if kind == "socket" else tcp(transport=kind))}
    assert found == met_by


# --- databases and roles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "role", "expected"),
    [
        ("/^.*nomatch.*$, baduser, /^scr.*$", "scram_role", True),
        ("/^.*nomatch.*$, baduser, /^sc_r.*$", "scram_role", False),
        ('"/^.*m,.*e$"', "scram,role", True),
        ("group", "group", True),
        ("group", "member", False),
        ("+group", "group", True),
        ("+group", "member", True),
        ("+group", "indirect", True),
        ("+group", "other", False),
        ("+group", "superuser", False),
        ('+"group"', "member", True),
        ('"+group"', "member", False),
        ('"+group"', "+group", True),
        ("+nobody", "member", False),
        ("all", "anybody", True),
        ('"all"', "anybody", False),
        ('"all"', "all", True),
        ("app", "App", False),
        ('"/x"', "ax/xb", True),
        ('"/^/x$"', "/x", True),
        ("/(?i)^APP$", "app", True),
        ("n" * 63, "n" * 80, True),
        ("n" * 80, "n" * 80, False),
        ('""', "x", False),
    ],
)
def test_the_role_field(field: str, role: str, expected: bool) -> None:
    assert matches(f"local all {field} trust", socket(role)) == expected


@pytest.mark.parametrize(
    ("field", "role", "database", "expected"),
    [
        ("/^.*nomatch.*$, baddb, /^regex_t.*b$", "u", "regex_testdb", True),
        ("/^.*nomatch.*$, baddb, /^regex_t.*ba$", "u", "regex_testdb", False),
        ("samerole", "group", "group", True),
        ("samegroup", "member", "group", True),
        ("samerole", "superuser", "group", False),
        ('"samerole"', "member", "samerole", True),
        ("sameuser", "app", "app", True),
        ("sameuser", "app", "shop", False),
        ('"sameuser"', "app", "app", False),
        ("replication", "app", "replication", False),
        ('"replication"', "app", "replication", True),
        ("all", "app", "replication", True),
        ("shop,all", "app", "x", True),
    ],
)
def test_the_database_field(field: str, role: str, database: str, expected: bool) -> None:
    assert matches(f"local {field} all trust", socket(role, database)) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("replication", True),
        ("shop,replication", True),
        ("all", False),
        ('"replication"', False),
        ("/.*", False),
        ("sameuser", False),
        ("samerole", False),
        ("shop", False),
    ],
)
def test_physical_replication_meets_its_keyword_alone(field: str, expected: bool) -> None:
    assert matches(f"local {field} all trust", socket("shop", "shop", replication=True)) == expected


def test_a_name_that_starts_with_a_slash_is_a_name_up_to_15() -> None:
    assert matches("local all /^a trust", socket("/^a"), version=15)
    assert not matches("local all /^a trust", socket("abc"), version=15)
    assert matches("local all /^a trust", socket("abc"), version=16)
    assert not matches("local all /^a trust", socket("/^a"), version=16)


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "address", "expected"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("127.9.9.9/8", "127.0.0.1", True),
        ("10.0.0.5 255.0.255.0", "10.77.0.9", True),
        ("10.0.0.5 255.0.255.0", "10.77.1.5", False),
        ("0.0.0.0/0", "::1", False),
        ("::/0", "10.0.0.1", False),
        ("::ffff:10.0.0.1/128", "10.0.0.1", False),
        ("all", "10.0.0.1", True),
        ("all", "::1", True),
        ("samehost", "127.0.0.1", True),
        ("samehost", "127.0.0.2", False),
        ("samehost", "10.1.0.5", True),
        ("samehost", "10.1.0.6", False),
        ("samenet", "127.9.9.9", True),
        ("samenet", "10.1.0.6", True),
        ("samenet", "10.2.0.6", False),
        ("samenet", "::1", True),
        ("samenet", "::2", False),
    ],
)
def test_the_address_field(field: str, address: str, expected: bool) -> None:
    machine = Surroundings(interfaces=("127.0.0.1/8", "::1/128", "10.1.0.5/16"))
    assert matches(f"host all all {field} trust", tcp(address), machine) == expected


@pytest.mark.parametrize(
    ("pattern", "names", "expected"),
    [
        ("db.example.com", ("db.example.com",), True),
        ("DB.example.COM", ("db.Example.com",), True),
        ("db.example.com", ("www.example.com",), False),
        (".example.com", ("db.example.com",), True),
        (".example.com", ("a.b.example.com",), True),
        (".example.com", ("example.com",), False),
        (".example.com", ("dbexample.com",), False),
        ("db.example.com", (), False),
        ('"all"', ("x",), False),
        ("db.example.com.", ("db.example.com",), False),
    ],
)
def test_a_host_name_is_one_that_both_lookups_confirm(pattern: str, names: tuple[str, ...], expected: bool) -> None:
    assert matches(f"host all all {pattern} trust", tcp("10.0.0.1", "tls", *names)) == expected


# --- what is left open ------------------------------------------------------------------------------------------------


def test_what_cannot_be_decided_is_said_only_where_the_answer_hangs_on_it() -> None:
    odd = Regex("(?<=a)b")
    line = Line("hostssl", (odd,), (Name("app"),), ALL, "trust")
    with pytest.raises(Undecidable, match=r"\(\?<=a\)b"):
        decide([line], tcp())
    assert decide([replace(line, databases=(odd, Name("shop")))], tcp()) is not None
    assert decide([replace(line, roles=(Name("other"),))], tcp()) is None
    assert decide([replace(line, type="hostnossl")], tcp()) is None
    assert decide([replace(line, address=ip_network("11.0.0.0/8"))], tcp()) is None
    assert decide([replace(line, address=HostName("x"))], tcp()) is None
    assert decide([replace(line, databases=(ALL,)), line], tcp()) is not None


# --- certificates -----------------------------------------------------------------------------------------------------

APP = ClientCertificate("app", "CN=app,O=Lab")
IDENTS = parse_ident(
    "m CN=app app\nm service app\ndn CN=app,O=Lab app\n".replace("CN=app,O=Lab", '"CN=app,O=Lab"'), 17
).lines


@pytest.mark.parametrize(
    ("method", "certificate", "reason"),
    [
        ("cert", APP, None),
        ("cert", None, "connection requires a valid client certificate"),
        (
            "cert",
            ClientCertificate("App", "CN=App"),
            "provided user name (app) and authenticated user name (App) do not match",
        ),
        ("cert", ClientCertificate(None, "O=Lab"), "client certificate contains no user name"),
        ("cert map=m", ClientCertificate("service", "CN=service"), None),
        ("cert map=m", APP, 'no match in usermap "m" for user "app" authenticated as "app"'),
        ("cert map=nothing", APP, 'no match in usermap "nothing" for user "app" authenticated as "app"'),
        ("cert map=", APP, None),
        ("cert map=x map=", APP, None),
        ("cert clientname=DN map=dn", APP, None),
        ("cert clientname=DN", APP, "provided user name (app) and authenticated user name (CN=app,O=Lab) do not match"),
        ("trust clientcert=verify-ca", ClientCertificate("x", "CN=x"), None),
        ("trust clientcert=verify-ca", None, "connection requires a valid client certificate"),
        (
            "trust clientcert=verify-full",
            ClientCertificate("x", "CN=x"),
            "provided user name (app) and authenticated user name (x) do not match",
        ),
        ("scram-sha-256 clientcert=verify-full", APP, None),
        ("scram-sha-256", None, None),
        (
            "reject",
            APP,
            'pg_hba.conf rejects connection for host "10.0.0.1", user "app", database "shop", SSL encryption',
        ),
        ("reject clientcert=verify-ca", None, "connection requires a valid client certificate"),
    ],
)
def test_what_a_certificate_is_good_for(method: str, certificate: ClientCertificate | None, reason: str | None) -> None:
    (line,) = parse_hba(f"hostssl all all all {method}", 17).lines
    found = outcome(line, IDENTS, replace(tcp(), certificate=certificate), 17)
    assert found.reason == reason
    assert found.accepted == (reason is None)


@pytest.mark.parametrize(
    ("value", "asked"),
    [("1", True), ("verify-ca", True), ("verify-full", True), ("0", False), ("no-verify", False)],
)
def test_13_knows_older_words_for_clientcert(value: str, asked: bool) -> None:
    (line,) = parse_hba(f"hostssl all all all trust clientcert={value}", 13).lines
    assert identity_accepted(line, (), tcp(), 13) == (not asked)


@pytest.mark.parametrize(
    ("connection", "version", "no_line", "rejected"),
    [
        (tcp(), 17, 'for host "10.0.0.1", user "app", database "shop", SSL encryption',
            'connection for host "10.0.0.1", user "app", database "shop", SSL encryption'),
        (tcp(transport="gss"), 17, 'for host "10.0.0.1", user "app", database "shop", GSS encryption', None),
        (tcp(), 13, 'for host "10.0.0.1", user "app", database "shop", SSL on', None),
        (tcp(transport="plain"), 13, 'for host "10.0.0.1", user "app", database "shop", SSL off', None),
        (socket("app"), 17, 'for host "[local]", user "app", database "postgres", no encryption', None),
        (
            socket("r", replication=True), 17,
            'for replication connection from host "[local]", user "r", no encryption',
            'replication connection for host "[local]", user "r", no encryption',
        ),
    ],
)  # fmt: skip
def test_a_refusal_has_the_servers_words(
    connection: Connection, version: int, no_line: str, rejected: str | None
) -> None:
    assert outcome(None, (), connection, version).reason == f"no pg_hba.conf entry {no_line}"
    if rejected:
        line = Line("host", (ALL,), (ALL,), ALL, "reject")
        assert outcome(line, (), connection, version).reason == f"pg_hba.conf rejects {rejected}"


# --- ident maps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "role", "versions"),
    [
        ("sysxyz testmapuser", "testmapuser", range(13, 20)),
        ("other testmapuser", "testmapuser", ()),
        ("sysxyz all", "testmapuser", range(16, 20)),
        ('sysxyz "all"', "testmapuser", ()),
        ("sysxyz all", "all", range(13, 20)),
        ("sysxyz /^testm.*$", "testmapuser", range(16, 20)),
        ("sysxyz /^doesnotmatch.*$", "testmapuser", ()),
        ("/^.*xyz$ testmapuser", "testmapuser", range(13, 20)),
        ("/^.*xyz$ /^testm.*$", "testmapuser", range(16, 20)),
        ("/^.*xyz$ all", "testmapuser", range(16, 20)),
        ("/^.*(xyz)$ test\\1map\\1user", "testxyzmapxyzuser", range(19, 20)),
        ('/^.*(xyz)$ "test\\1map\\1user"', "testxyzmapxyzuser", range(19, 20)),
        ("/^.*(xyz)$ test\\1map\\1user", "testxyzmap\\1user", range(13, 19)),
        ("/^.*(xyz)$ test\\1user", "testxyzuser", range(13, 20)),
        ("/^sysxyz$ \\1testmapuser", "testmapuser", ()),
        ("sysxyz +group", "member", range(16, 20)),
        ("sysxyz +group", "indirect", range(16, 20)),
        ("sysxyz +group", "group", range(16, 20)),
        ("sysxyz +group", "other", ()),
        ('sysxyz "+group"', "member", ()),
        ("/^.*xyz(.*)$ +group", "member", range(16, 20)),
        ("/^.*xyz(.*)$ +group\\1", "member", ()),
        ('/^.*xyz(.*)$ "/^literal\\\\1$"', "literal\\1", range(16, 20)),
        ("/^(.*)$ \\1", "sysxyz", range(13, 20)),
        ("/^SYS(.*)$ \\1", "xyz", ()),
        ("/(?i)^SYS(.*)$ \\1", "xyz", range(13, 20)),
    ],
)
def test_an_ident_map_maps(text: str, role: str, versions: range) -> None:
    found = []
    for version in range(13, 20):
        lines = parse_ident(f"m {text}", version).lines
        found += [version] if map_identity(lines, "m", role, "sysxyz", version, GROUPS).accepted else []
        assert not map_identity(lines, "n", role, "sysxyz", version, GROUPS).accepted
    assert found == list(versions)


def test_the_first_line_of_a_map_that_fits_is_enough_and_a_bad_one_ends_it() -> None:
    good, wrong, bad = (
        IdentLine("m", Name("x"), Name("r")),
        IdentLine("m", Name("y"), Name("r")),
        IdentLine("m", Regex("^x"), Name("\\1")),
    )
    assert map_identity([wrong, good, bad], "m", "r", "x", 17).accepted
    refused = map_identity([bad, good], "m", "r", "x", 17)
    assert refused.reason == 'regular expression "^x" has no subexpressions as requested by backreference in "\\1"'


def test_a_map_does_not_imply_that_equal_names_match() -> None:
    assert not map_identity([], "m", "r", "r", 17).accepted
    assert map_identity([], None, "r", "r", 17).accepted
    assert map_identity([], "", "r", "r", 17).accepted
