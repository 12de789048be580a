"""Every row of the table of methods, judged by the servers, which take the line in pg_hba.conf or refuse it."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from pgtls.hba.options import in_effect, set_by_url
from pgtls.postgres.methods import METHODS, OURS, Method, Option, methods, option_of

if TYPE_CHECKING:
    from support.servers import Server

HARMLESS = ("not supported by this build", "hostssl record cannot match because SSL is disabled")
"""The server knows what stands there, but was built or configured without it."""

VALUES = {"text": "x", "flag": "1", "port": "389"}
REQUIRED = {
    "ldap": 'ldapserver=x ldapprefix="uid="',
    "radius": "radiusservers=127.0.0.1 radiussecrets=s",
    "oauth": "issuer=https://x.example scope=x",
}
START = {"local": "local all all", "tcp": "host all all 10.0.0.0/8", "tls": "hostssl all all 10.0.0.0/8"}


FOR_SEARCHING = {"ldapbasedn", "ldapbinddn", "ldapbindpasswd", "ldapsearchattribute", "ldapsearchfilter", "ldapurl"}


def line(method: Method, transport: str, options: str | None = None) -> str:
    return f"{START[transport]} {method.name} {REQUIRED.get(method.name, '') if options is None else options}"


def refused(server: Server, lines: list[str]) -> dict[str, str]:
    """Write the lines and give those that the server refuses, with its reason."""
    if server.version >= 18:
        server.write("pg_hba.conf", "local all all trust\n")
        server.sql("alter system set oauth_validator_libraries = 'x'")  # without it no oauth line is taken
        server.reload()
    server.write("pg_hba.conf", "".join(f"{line}\n" for line in lines))
    found = server.hba_errors()
    reasons = {lines[number - 1]: str(error) for number, error, _ in found}
    return {line: reason for line, reason in reasons.items() if not any(text in reason for text in HARMLESS)}


def test_a_method_stands_where_the_table_says_and_nowhere_else(server: Server) -> None:
    expected, lines = set(), []
    for method in METHODS.values():
        for transport in START:
            if (method.name, transport) == ("ident", "local"):
                continue  # PostgreSQL reads it as peer
            lines.append(line(method, transport))
            if not method.has(server.version) or transport not in method.transports:
                expected.add(lines[-1])
    known = {method.name for method in methods(server.version).values()}
    unavailable = {text for text in expected if not known & set(text.split())}
    found = refused(server, lines)
    assert found.keys() >= unavailable
    built = built_with(server)
    assert {text for text in found if built & set(text.split())} == {
        text for text in expected if built & set(text.split())
    }


def built_with(server: Server) -> set[str]:
    """The methods that this server was built with."""
    lines = [line(method, min(method.transports)) for method in METHODS.values()]
    server.write("pg_hba.conf", "".join(f"{line}\n" for line in lines))
    without = {number for number, error, _ in server.hba_errors() if "not supported by this build" in str(error)}
    return {method.name for number, method in enumerate(METHODS.values(), 1) if number not in without} & methods(
        server.version
    ).keys()


def test_ident_on_the_socket_is_read_as_peer(server: Server) -> None:
    server.write("pg_hba.conf", "local all all ident\n")
    assert server.sql("select auth_method from pg_hba_file_rules") == [("peer",)]


def test_a_map_is_taken_by_the_methods_that_prove_an_identity(server: Server) -> None:
    built = built_with(server)
    lines = {name: line(METHODS[name], max(METHODS[name].transports)) + " map=m" for name in sorted(built - {"reject"})}
    taken = lines.keys() - {name for name, text in lines.items() if text in refused(server, list(lines.values()))}
    assert taken == {name for name in lines if METHODS[name].map}


def test_an_option_is_taken_by_its_own_methods_and_no_other(server: Server) -> None:
    built = built_with(server)
    options = {option.name: option for method in METHODS.values() for option in method.options}
    taken = {}
    for name in sorted(built):
        for option in options.values():
            text = f"{line(METHODS[name], max(METHODS[name].transports))} {written(option)}"
            taken[name, option.name] = text
    found = refused(server, list(taken.values()))
    for (name, option_name), text in taken.items():
        if name == "ldap" and option_name in FOR_SEARCHING:
            continue  # those for searching do not go with a prefix: see below
        own = option_name in {option.name for option in METHODS[name].options}
        assert (text not in found) == own, f"{text}: {found.get(text)}"


def written(option: Option) -> str:
    if option.name == "ldapurl":
        return f"{option.name}=ldap://x/"
    if option.name == "radiusports":
        return f"{option.name}=1812"
    if option.name == "radiusservers":
        return f"{option.name}=127.0.0.1"
    return f"{option.name}={option.choices[0] if option.choices else VALUES[option.kind]}"


def test_an_option_of_the_validator_is_taken_from_19_on(server: Server) -> None:
    if not METHODS["oauth"].has(server.version):
        return
    start = "host all all all oauth issuer=https://x.example scope=x"
    names = ["validator.a", "validator.A-b_9", "validator.", "validator.a.b", "validator.a b"]
    server.write("pg_hba.conf", "local all all trust\n")
    server.sql("alter system set oauth_validator_libraries = 'x'")
    server.reload()
    for name in names:
        server.write("pg_hba.conf", f'local all all trust\n{start} "{name}=1"\n')
        option = option_of(METHODS["oauth"], name)
        assert bool(server.hba_errors()) == (option is None or server.version < option.since)


def test_without_a_required_option_the_line_is_refused(server: Server) -> None:
    built = built_with(server) & REQUIRED.keys()
    lines = {name: line(METHODS[name], "tls", "") for name in sorted(built)}
    lines |= {f"{name}+": line(METHODS[name], "tls") for name in sorted(built)}
    found = refused(server, list(lines.values()))
    assert {name for name, text in lines.items() if text in found} == built
    assert built == {name for name in built_with(server) if METHODS[name].required}


def test_ldap_has_one_way_to_a_name_and_not_two(server: Server) -> None:
    if "ldap" in built_with(server):
        ways = ["ldapbasedn=x", "ldapprefix=x", "ldapsuffix=x", "ldapurl=ldap://h/dc=x?uid"]
        lines = [f"host all all all ldap ldapserver=h {way}" for way in ways] + ["host all all all ldap ldapserver=h"]
        assert list(refused(server, lines)) == lines[-1:]
        lines = [
            "host all all all ldap ldapserver=h ldapprefix=x ldapbasedn=y",
            "host all all all ldap ldapprefix=x ldapurl=ldap://h/",
            "host all all all ldap ldapserver=h ldapbasedn=y ldapsearchattribute=uid ldapsearchfilter=z",
            "host all all all ldap ldapserver=h ldapbasedn=y ldapsearchattribute=uid",
        ]
        assert list(refused(server, lines)) == lines[:3]


def test_the_options_that_pgtls_writes_are_those_of_certificates_and_maps() -> None:
    assert not OURS.keys() & {option.name for method in METHODS.values() for option in method.options}


URLS = (
    "ldap://url.example.com/dc=url",
    "ldaps://url.example.com:1636/dc=url?mail?one?(a=b)",
    "ldap://url.example.com",
    "ldap:///dc=url",
)
PARTS = {"ldapscheme": "ldaps", "ldapserver": "own", "ldapport": "77", "ldapbasedn": "dc=own"}
SEARCH = {"ldapsearchattribute": "own", "ldapsearchfilter": "(own=$username)"}


def _sorted(options: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    """Write options as pgtls does: a URL is the last of them."""
    return sorted(options)


def test_a_url_of_a_directory_replaces_what_stands_before_it(server: Server) -> None:
    if "ldap" not in built_with(server):
        assert server.version not in (15, 18, 19), "the servers of Debian know it"
        return

    def read(*options: tuple[str, str]) -> object:
        text = " ".join(f'"{name}={value}"' for name, value in options)
        server.write("pg_hba.conf", f"host all all all ldap {text}\n")
        (found,) = server.sql("select options, error from pg_hba_file_rules")
        return found

    seen = {True: 0, False: 0}
    for url, (name, value) in product(URLS, {**PARTS, **SEARCH}.items()):
        whole, own = ("ldapurl", url), (name, value)
        base = ("ldapbasedn", "dc=base")
        replaced = read(base, own, whole) == read(base, whole)
        assert replaced == (name in set_by_url(url)), (url, name)
        tls = ("ldaptls", "1")
        for order in ((base, own, whole), (base, whole, tls), (tls, base, whole)):
            assert read(*_sorted(in_effect(order))) == read(*order), order
        seen[replaced] += 1
    assert min(seen.values()) > 0
