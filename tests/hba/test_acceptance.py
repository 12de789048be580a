"""The parser accepts what a server accepts, and rejects what a server rejects, in the same words on the same line."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hba.test_parse import ADDRESSES, ERRORS, IDENT_ERRORS, IDENTS, VERSIONED
from hba.wire import Authority, serve_tls
from hba.worlds import INCLUDED_FILE, MORE_FILE, NAMES_FILE
from pgtls.hba.addresses import masked
from pgtls.hba.model import HostName, Keyword, MaskedAddress
from pgtls.hba.parse import parse_hba, parse_ident
from pgtls.hba.regex import Undecidable, compile_regex
from support.servers import ServerError
from support.system import new_directory

if TYPE_CHECKING:
    from support.servers import Server

_WORDS = st.sampled_from(
    [
        "all", "alice", "+grp", "@names.conf", "@absent.conf", "/^a", "/a(", "/a)", "/[a", "/a**", "/a{2", "/a{3,1}",
        "/[b-a]", "/\\q", "/[[:x:]]", "/*a", "/a|*b", "/^*", "/a\\", '""', '"a b"', 'a"b', '"never closed', "a,b",
        "a,", ",a", "a , b", "#", "x#y", "@", '@"names.conf"', "replication",
    ]
)  # fmt: skip
_TYPES = st.sampled_from(
    [
        "local",
        "host",
        "hostssl",
        "hostnossl",
        "hostnogssenc",
        "HOST",
        '"host"',
        "hosts",
        "host,local",
        "\ufeffhost",
        "include",
    ]
)
_ADDRESSES = st.sampled_from(
    [
        "all", "samehost", "samenet", '"all"', "127.0.0.1/32", "127.0.0.1", "127.0.0.1/33", "127.0.0.1/",
        "127.0.0.1/8x", "127.0.0.1/ 8", "::1/129", "::1/128", "db.example.com", "db.example.com/32", ".example.com",
        "10.1/16", "1.2.3.4.5/8", "256.1.1.1/8", "0x7f.1/8", "08.1.1.1/8", "1.2.3.4 255.255.0.0", "1.2.3.4 ffff::",
        "1.2.3.4 x", "1.2.3.4 1,2", "::1%1/128", "::1%lo/128", "fe80::1%1/64", "::g/8", "1.2.3.4,5.6.7.8",
        "4294967295/32", "4294967296/32", "1.16777215/8", "1.16777216/8", "127.0.0.1/-0", "127.0.0.1/-1", "*", '""',
        "/8", "0/0", "1..2/8", "0x/8", ".",
    ]
)  # fmt: skip
_METHODS = st.sampled_from(
    [
        "trust", "reject", "password", "md5", "scram-sha-256", "peer", "ident", "cert", "oauth", "TRUST", "none",
        "trust,reject", "radius", "krb5", "ldap",
    ]
)  # fmt: skip
_OPTIONS = st.sampled_from(
    [
        "map=m", "map=", "map", "clientcert=1", "clientcert=0", "clientcert=no-verify", "clientcert=verify-ca",
        "clientcert=verify-full", "clientcert=x", "clientname=CN", "clientname=DN", "clientname=dn", "pamservice=x",
        "include_realm=0", "krb_realm=X", "compat_realm=1", "upn_username=1", "ldapserver=h", "ldapport=0",
        "ldapport=389x", "ldapbasedn=dc=x", "ldapprefix=cn=", "ldapsuffix=x", "ldapsearchattribute=uid",
        "ldapsearchfilter=(uid=$username)", "ldapbinddn=x", "ldaptls=1", "radiusservers=127.0.0.1", "radiussecrets=s",
        '"radiusports=1,2"', "radiusports=0", '"radiussecrets=a,b"', "radiusidentifiers=x", "unknown=1", "=x",
        '"map=a b"', "issuer=https://x", "scope=s", "validator=v", "delegate_ident_mapping=1", "map=a,map=b",
    ]
)  # fmt: skip
_BUILDS = re.compile("not supported by this build|cannot match because|oauth_validator_libraries")


@st.composite
def _lines(draw: st.DrawFn) -> str:
    """Return a line with mostly valid fields."""
    broken = draw(st.integers(0, 6))
    parts = [
        draw(_TYPES) if broken == 0 else draw(st.sampled_from(["local", "host", "hostssl"])),
        draw(_WORDS) if broken == 1 else "all",
        draw(_WORDS) if broken == 2 else "all",
    ]
    if parts[0] != "local":
        parts.append(draw(_ADDRESSES) if broken == 3 else "127.0.0.1/32")
    parts.append(draw(_METHODS) if broken >= 4 else "trust")
    parts += draw(st.lists(_OPTIONS, max_size=3)) if broken >= 5 else []
    return " ".join(parts[: draw(st.integers(0, 6)) or 1]) if draw(st.integers(0, 9)) == 0 else " ".join(parts)


def _readable(path: str) -> str:
    with open(path, newline="", errors="surrogateescape") as file:
        return file.read()


def _is_decidable(line: str) -> bool:
    """Leave out expressions whose syntax our engine does not know whole."""
    for pattern in re.findall(r'(?<![^ "])/([^ ",]*)', line):
        try:
            compile_regex(pattern)
        except Undecidable:
            return False
        except ValueError:
            pass
    return True


def _compare(server: Server, text: str) -> int:
    """Compare one pg_hba.conf; give the number of lines that both refuse. The view reads the file as it lies there."""
    path = str(server.write("pg_hba.conf", text))
    parsed = parse_hba(text, server.version, path, _readable)
    rows = server.sql("select line_number, error, type from pg_hba_file_rules")
    # Where clientcert has a bad value, the view has a row without an error (it is in the log alone).
    theirs = {number: error for number, error, kind in rows if error is not None or kind is None}
    ours = {error.record: error.message for error in parsed.errors}
    lines = text.split("\n")
    for number, words in ours.items():
        assert number in theirs, f"we refuse line {number}, {words!r}: {lines[(number or 1) - 1]!r}"
    agreed = 0
    for number, words in theirs.items():
        if words and _BUILDS.search(words):
            continue
        assert number in ours, f"the server refuses line {number}, {words!r}: {lines[number - 1]!r}"
        assert words is None or words == ours[number], f"of line {number}: {lines[number - 1]!r}"
        agreed += 1
    return agreed


def test_random_lines_good_and_bad_are_judged_as_the_server_judges_them(server: Server) -> None:
    serve_tls(server, Authority(new_directory("hba")))
    for name, text in (("names.conf", NAMES_FILE), ("more.conf", MORE_FILE), ("included.conf", INCLUDED_FILE)):
        server.write(name, text)
    agreed = 0

    @settings(
        max_examples=15,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(st.lists(_lines().filter(_is_decidable), min_size=40, max_size=40))
    def verdicts_agree(lines: list[str]) -> None:
        nonlocal agreed
        agreed += _compare(server, "\n".join([*lines, ""]))

    verdicts_agree()
    assert agreed > 100


_IDENT_LINES = st.sampled_from(
    [
        "m a b", "m a", "m", "m a,b c", "m a b c", "m,n a b", "m a b,c", 'm "a b" "c,d"', "m /^(.*)$ \\1", "m /( b",
        "m a /(", "m a /b)", "m a +grp", "m a all", "m /a{2,1} b", "m @names.conf b", "m a @absent.conf", "m /[a b",
        "# m", '"" "" ""', "m a # b",
    ]
)  # fmt: skip


def test_random_ident_lines_are_judged_as_the_server_judges_them(server: Server) -> None:
    server.write("names.conf", NAMES_FILE)
    server.write("more.conf", MORE_FILE)

    @settings(
        max_examples=15,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(st.lists(_IDENT_LINES, min_size=1, max_size=12))
    def verdicts_agree(lines: list[str]) -> None:
        text = "\n".join([*lines, ""])
        parsed = parse_ident(text, server.version, str(server.write("pg_ident.conf", text)), _readable)
        ours = {error.record: error.message for error in parsed.errors}
        if server.version >= 15:
            rows = server.sql("select line_number, error from pg_ident_file_mappings where error is not null")
            assert dict(rows) == ours, text
        else:
            assert _is_reloaded(server) == (not ours), text

    verdicts_agree()


def _is_reloaded(server: Server) -> bool:
    try:
        server.reload()
    except ServerError as error:
        return "not reloaded" not in str(error)
    return True


def test_the_corpus_of_good_and_bad_lines_is_judged_as_the_server_judges_it(server: Server) -> None:
    serve_tls(server, Authority(new_directory("hba")))
    texts = [text for text, _, _ in ERRORS if "not read here" not in text and not text.startswith("include")]
    texts += [text for text, _ in VERSIONED if "oauth" not in text]
    texts += [f"hostssl all all all {rest}" for rest in _COMBINATIONS]
    assert _compare(server, "\n".join([*texts, ""])) > 20


_COMBINATIONS = (
    "cert clientcert=0",
    "cert clientcert=no-verify",
    "cert clientcert=1",
    "cert clientcert=verify-ca",
    "md5 clientcert=0",
    "md5 clientname=DN",
    "ldap",
    "ldap ldapserver=x",
    "ldap ldapbasedn=x",
    "ldap ldapprefix=x ldapbasedn=y",
    "ldap ldapsuffix=x ldapsearchattribute=y",
    "ldap ldapprefix= ldapsuffix=",
    "ldap ldapbasedn=x ldapsearchattribute=y ldapsearchfilter=z",
    "ldap ldapbasedn=x ldapport=0",
    "ldap ldapbasedn=x ldapport=x",
    "ldap ldapbasedn=x ldapport=389x",
    "ldap ldapurl=ldap://h/dc=x?uid?sub",
    "ldap ldapurl=ldap://h",
    'ldap ldapurl="ldap://h/dc=x?uid?sub?(a=b)"',
    "ldap ldapurl=ldap://h/dc=x ldapprefix=y",
    "ldap ldapbasedn=x ldapscheme=other",
    "radius",
    "radius radiusservers=127.0.0.1",
    "radius radiusservers=127.0.0.1 radiussecrets=a",
    'radius "radiusservers=127.0.0.1,127.0.0.2" "radiussecrets=a,b"',
    'radius "radiusservers=127.0.0.1,127.0.0.2" "radiussecrets=a,b,c"',
    'radius "radiusservers=127.0.0.1,127.0.0.2" radiussecrets=a radiusports=1 "radiusidentifiers=a,b,c"',
    'radius radiusservers=127.0.0.1 radiussecrets=a "radiusports=1,2"',
    "radius radiusservers=127.0.0.1 radiussecrets=a radiusports=x",
    "radius radiusservers= radiussecrets=a",
    "gss include_realm=0 krb_realm=X map=a",
    "gss compat_realm=1",
    "pam pamservice=x pam_use_hostname=1",
    "pam map=x",
    "cert map=",
    "password map=x",
    "oauth",
    "oauth issuer=x",
    "oauth scope=x",
)


def test_the_corpus_of_addresses_is_read_as_the_server_reads_it(server: Server) -> None:
    fields = [(field, address) for field, address in ADDRESSES if address is not None and "%eth0" not in field]
    server.write("pg_hba.conf", "".join(f"host all all {field} trust\n" for field, _ in fields))
    rows = server.sql("select address, netmask from pg_hba_file_rules order by line_number")
    for (field, wanted), (address, mask) in zip(fields, rows, strict=True):
        if isinstance(wanted, Keyword):
            assert address == wanted.value, field
        elif isinstance(wanted, HostName):
            assert (address, mask) == (wanted.name, None), field
        elif isinstance(wanted, MaskedAddress):
            assert (address, mask) == (str(wanted.address), str(wanted.mask)), field
        else:
            assert masked(ip_address(address), ip_address(mask)) == wanted, field


def test_the_corpus_of_ident_lines_is_judged_as_the_server_judges_it(server: Server) -> None:
    texts = [text for text, _, _ in IDENTS] + [text for text, _, _ in IDENT_ERRORS]
    refused = {number for number, text in enumerate(texts, 1) if parse_ident(text, server.version).errors}
    assert len(refused) == len(IDENT_ERRORS)
    server.write("pg_ident.conf", "\n".join([*texts, ""]))
    with pytest.raises(ServerError) as told:
        server.reload()
    named = {
        int(number)
        for number in re.findall(r"line (\d+) of configuration file|at end of line (\d+)", str(told.value))
        for number in number
        if number
    }
    assert named | {len(texts)} == refused | {len(texts)}
