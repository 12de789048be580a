"""Render, parse, render is the identity, on hostile names too.

A server accepts every file that the renderer writes.
"""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from hba.wire import Authority, serve_tls
from pgtls.hba.match import decide
from pgtls.hba.model import Connection, HostName, IdentLine, Keyword, Line, MaskedAddress, Member, Name, Regex
from pgtls.hba.parse import parse_hba, parse_ident
from pgtls.hba.render import Unwritable, render_hba, render_ident
from support.system import new_directory

if TYPE_CHECKING:
    from pgtls.hba.model import RecordType
    from support.servers import Server

ALL, SAMEUSER, SAMEROLE, REPLICATION = Keyword.ALL, Keyword.SAMEUSER, Keyword.SAMEROLE, Keyword.REPLICATION
VERSIONS = range(13, 20)

_TEXTS = st.one_of(
    st.sampled_from(["all", "sameuser", "+grp", "@file", "/re", "//", "/^x$", "a b", "a,b", 'a"b', '"', "#", "a#b",
        "\\", "a\\", "", "replication", "include", "\t"]),
    st.text(st.characters(exclude_characters="\0\r\n", codec="utf-8"), max_size=20),
)  # fmt: skip
_NAMES = _TEXTS.map(Name)
_REGEXES = st.sampled_from(["^a", "a,b", 'a"b', "^/x$", "[ab]{2}", "a b#", "(?i)x", "\\\\"]).map(Regex)
_BLOCKS = st.one_of(
    st.builds(lambda n, p: IPv4Network((n, p), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.builds(lambda n, p: IPv6Network((n, p), strict=False), st.integers(0, 2**128 - 1), st.integers(0, 128)),
    st.builds(MaskedAddress, st.builds(IPv4Address, st.integers(0, 2**32 - 1)),
        st.builds(IPv4Address, st.integers(0, 2**32 - 1))),
    st.builds(MaskedAddress, st.builds(IPv6Address, st.integers(0, 2**128 - 1)),
        st.builds(IPv6Address, st.integers(0, 2**128 - 1))),
    st.sampled_from(["db.example.com", ".example.com", "samehost", "all", "a#b", "x y"]).map(HostName),
    st.sampled_from([ALL, Keyword.SAMEHOST, Keyword.SAMENET]),
)  # fmt: skip
_COMMENTS = st.one_of(
    st.none(),
    st.sampled_from(["a\\", "two\nlines\\\n", "x\r\ny", "\x07\x85\u2028", "# \\", "host all all all trust"]),
    st.text(max_size=9),
)


@st.composite
def lines(draw: st.DrawFn, version: int) -> Line:
    """Return a line that this version supports."""
    record_type: RecordType = draw(
        st.sampled_from(("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"))
    )
    regexes = [_REGEXES] if version >= 16 else []
    databases = draw(
        st.lists(
            st.one_of(_NAMES, st.sampled_from([ALL, SAMEUSER, SAMEROLE, REPLICATION]), *regexes), min_size=1, max_size=4
        )
    )
    roles = draw(st.lists(st.one_of(_NAMES, st.just(ALL), _TEXTS.map(Member), *regexes), min_size=1, max_size=4))
    choices: list[tuple[str, tuple[tuple[str, str], ...]]] = [("trust", ()), ("scram-sha-256", ()), ("reject", ())]
    choices += [("ldap", (("ldapbasedn", draw(_TEXTS)), ("ldapport", "389"))), ("pam", (("pamservice", draw(_TEXTS)),))]
    if record_type == "hostssl":
        choices += [("cert", (("map", draw(_TEXTS)),)), ("password", (("clientcert", "verify-full"),))]
    method, options = draw(st.sampled_from(choices))
    address = None if record_type == "local" else draw(_BLOCKS)
    return Line(record_type, tuple(databases), tuple(roles), address, method, options, draw(_COMMENTS))


@st.composite
def idents(draw: st.DrawFn, version: int) -> IdentLine:
    """Return an ident line that this version supports."""
    roles: list[Any] = [_NAMES, _NAMES]
    if version >= 16:
        roles += [st.just(ALL), _TEXTS.map(Member), _REGEXES]
    return IdentLine(draw(_TEXTS), draw(st.one_of(_NAMES, _REGEXES)), draw(st.one_of(roles)), draw(_COMMENTS))


def bare(line: Any) -> Any:
    """Forget what a reader cannot know of a line, and where it was read."""
    return dataclasses.replace(line, comment=None, file=None, number=None)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_file_that_is_written_and_read_is_written_again_as_it_was(version: int) -> None:
    @settings(max_examples=60)
    @given(st.lists(lines(version), max_size=6), st.sampled_from(["", "by hand\\", "two\nlines"]))
    def same(written: list[Line], header: str) -> None:
        text = render_hba(written, version, header)
        parsed = parse_hba(text, version)
        assert written == [] or not parsed.errors, (parsed.errors, text)
        again = render_hba(parsed.lines, version)
        assert again == render_hba([bare(line) for line in written], version)
        assert [bare(line) for line in parse_hba(again, version).lines] == [bare(line) for line in parsed.lines]

    same()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_ident_file_that_is_written_and_read_is_written_again_as_it_was(version: int) -> None:
    @settings(max_examples=60)
    @given(st.lists(idents(version), max_size=6), st.sampled_from(["", "by hand\\"]))
    def same(written: list[IdentLine], header: str) -> None:
        try:
            text = render_ident(written, version, header)
        except Unwritable:
            assume(False)
        parsed = parse_ident(text, version)
        assert not parsed.errors, (parsed.errors, text)
        assert render_ident(parsed.lines, version) == render_ident([bare(line) for line in written], version)

    same()


def test_files_with_hostile_names_load_in_the_server_without_an_error(server: Server) -> None:
    serve_tls(server, Authority(new_directory("hba")))

    @settings(
        max_examples=40,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(
        st.lists(lines(server.version).filter(lambda line: line.method not in {"ldap", "pam"}), min_size=1, max_size=20)
    )
    def loads(written: list[Line]) -> None:
        text = render_hba(written, server.version, "hostile\\")
        server.write("pg_hba.conf", text)
        # A build without GSSAPI says that a line cannot match, and takes it.
        faults = [fault for fault in server.hba_errors() if "cannot match because GSSAPI" not in str(fault)]
        assert not faults, text
        rows = server.sql("select count(*) from pg_hba_file_rules")
        assert rows == [(len(written),)], text

    loads()


def test_ident_files_with_hostile_names_load_in_the_server_without_an_error(server: Server) -> None:
    @settings(
        max_examples=15,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(st.lists(idents(server.version), min_size=1, max_size=20))
    def loads(written: list[IdentLine]) -> None:
        try:
            server.write("pg_ident.conf", render_ident(written, server.version))
        except Unwritable:
            assume(False)
        server.reload()

    loads()


def line(**fields: Any) -> Line:
    """Return a line that admits all over TLS, except for the fields given."""
    wanted: dict[str, Any] = {"type": "hostssl", "databases": (ALL,), "roles": (ALL,), "address": ALL, "method": "cert"}
    return Line(**{**wanted, **fields})


def test_a_file_reads_well() -> None:
    written = [
        Line("local", (ALL,), (Name("postgres"),), None, "peer", comment="policy admin"),
        line(
            databases=(Name("shop"),),
            roles=(Name("app"), Member("staff")),
            address=ip_network("10.0.0.0/8"),
            options=(("map", "app"),),
            comment="policy app: the web shop\nsee the runbook",
        ),
        line(type="hostnossl", databases=(Name("shop"),), roles=(Name("app"), Member("staff")),
            address=ip_network("10.0.0.0/8"), method="reject", comment="policy app"),
    ]  # fmt: skip
    assert render_hba(written, 17, "Compiled by pgtls.") == (
        '# Compiled by pgtls.\n'
        '# TYPE     DATABASE  USER            ADDRESS     METHOD\n'
        '\n'
        '# policy admin\n'
        'local      all       "postgres"                  peer\n'
        '\n'
        '# policy app: the web shop\n'
        '# see the runbook\n'
        'hostssl    "shop"    "app",+"staff"  10.0.0.0/8  cert map=app\n'
        '\n'
        '# policy app\n'
        'hostnossl  "shop"    "app",+"staff"  10.0.0.0/8  reject\n'
    )  # fmt: skip


@pytest.mark.parametrize("comment", ["swallow \\", "swallow\\\n", "swallow \\  ", "a\nb\\"])
def test_a_comment_that_ends_in_a_backslash_swallows_no_line(comment: str) -> None:
    text = render_hba([line(comment=comment), line(method="reject")], 17, comment)
    assert [found.method for found in parse_hba(text, 17).lines] == ["cert", "reject"]
    assert not any(written.endswith("\\") for written in text.split("\n"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_name_with_a_leading_slash_is_that_name_and_no_expression(version: int) -> None:
    text = render_hba([line(roles=(Name("/a.b"),), databases=(Name("/d"),), method="trust")], version)
    found = parse_hba(text, version).lines
    met = {
        role
        for role in ("/a.b", "/aXb", "x/a.b", "/a.bc")
        if decide(found, Connection(role, "/d", "tls", ip_address("10.0.0.1")))
    }
    assert met == {"/a.b"}
    assert decide(found, Connection("/a.b", "/dd", "tls", ip_address("10.0.0.1"))) is None


@pytest.mark.parametrize(
    ("fields", "version", "message"),
    [
        ({"roles": (Name("a\nb"),)}, 17, '"a\\x0ab" has a character that no line can hold'),
        ({"roles": (Member("a\0"),)}, 17, '"a\\x00" has a character that no line can hold'),
        ({"databases": (Name("a\r"),)}, 17, '"a\\x0d" has a character that no line can hold'),
        ({"roles": (Name("\ud800"),)}, 17, '"\\xd800" is no valid Unicode'),
        ({"databases": (Regex("^a"),)}, 15, 'the regular expression "^a" needs PostgreSQL 16, not 15'),
        ({"roles": (Regex("a("),)}, 16, 'the regular expression "a(" is wrong: parentheses () not balanced'),
        ({"roles": (Name("x" * 255),)}, 15, f'"{"x" * 97}..." has 255 bytes, PostgreSQL 15 reads 254'),
        ({"roles": tuple(Name(f"role{n}") for n in range(900))}, 13,
            "a line of 8923 bytes is too long for PostgreSQL 13, which reads 8190"),
        ({"roles": ()}, 17, "a line without roles cannot be written"),
        ({"databases": ()}, 17, "a line without databases cannot be written"),
        ({"roles": (Keyword.SAMEUSER,)}, 17, 'the keyword "sameuser" has no meaning in this place'),
        ({"address": HostName("10.0.0.1")}, 17, '"10.0.0.1" would not be read as a host name'),
        ({"address": HostName("0x7f.1")}, 17, '"0x7f.1" would not be read as a host name'),
        ({"address": HostName("a/8")}, 17, '"a/8" would not be read as a host name'),
        ({"address": MaskedAddress(ip_address("1.2.3.4"), ip_address("ff::"))}, 17,
            'the mask "ff::" does not fit the address "1.2.3.4"'),
        ({"address": None}, 17, 'a line of type "hostssl" with the address "None" does not exist'),
        ({"method": "oauth"}, 17, 'PostgreSQL 17 says: invalid authentication method "oauth"'),
        ({"options": (("clientname", "DN"),)}, 13,
            'PostgreSQL 13 says: unrecognized authentication option name: "clientname"'),
        ({"type": "host"}, 17, "PostgreSQL 17 says: cert authentication is only supported on hostssl connections"),
    ],
)  # fmt: skip
def test_what_no_file_can_say_is_refused(fields: dict[str, Any], version: int, message: str) -> None:
    with pytest.raises(Unwritable) as refused:
        render_hba([line(**fields)], version)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("ident", "version", "written"),
    [
        (IdentLine("m", Name("CN=a"), Name("b")), 15, '"m"        "CN=a"           "b"'),
        (IdentLine("m", Name("/a.b"), Name("c")), 13, '"m"        "/^/a\\.b$"       "c"'),
        (IdentLine("m", Regex("^(.*)@x$"), Name("\\1")), 15, '"m"        "/^(.*)@x$"      "\\1"'),
        (IdentLine("m", Name("x"), Name("a\\1")), 13, '"m"        "x"              "a\\1"'),
        (IdentLine("m", Name("/x"), Name("a\\1")), 16, '"m"        "/^/x$"          "/^a\\\\1$"'),
        (IdentLine("m", Name("x"), Name("/r")), 15, '"m"        "x"              "/r"'),
        (IdentLine("m", Name("x"), Name("/r")), 16, '"m"        "x"              "/^/r$"'),
        (IdentLine("m", Name("x"), Name("all")), 16, '"m"        "x"              "all"'),
        (IdentLine("m", Name("x"), ALL), 16, '"m"        "x"              all'),
        (IdentLine("m", Name("x"), Name("+g")), 16, '"m"        "x"              "+g"'),
        (IdentLine("m", Name("x"), Member("g")), 16, '"m"        "x"              +"g"'),
    ],
)
def test_an_ident_line_says_what_is_meant_in_its_version(ident: IdentLine, version: int, written: str) -> None:
    assert render_ident([ident], version).splitlines()[1] == written


@pytest.mark.parametrize(
    ("ident", "version", "message"),
    [
        (IdentLine("m", Name("x"), ALL), 15, "needs PostgreSQL 16, not 15"),
        (IdentLine("m", Name("x"), Member("g")), 15, "needs PostgreSQL 16, not 15"),
        (IdentLine("m", Name("x"), Regex("g")), 15, "needs PostgreSQL 16, not 15"),
        (IdentLine("m", Name("/x"), Name("\\1")), 15, "would have its \\1 replaced"),
        (IdentLine("m", Regex("(x)"), Name("/\\1")), 16, "as a regular expression and replaces nothing"),
    ],
)
def test_an_ident_line_that_its_version_would_misread_is_refused(ident: IdentLine, version: int, message: str) -> None:
    with pytest.raises(Unwritable, match=message.replace("\\", r"\\")):
        render_ident([ident], version)


def test_ten_thousand_roles_on_a_line_are_written_and_read() -> None:
    written = line(roles=tuple(Name(f"role {number}") for number in range(10_000)))
    assert [bare(found) for found in parse_hba(render_hba([written], 17), 17).lines] == [written]
