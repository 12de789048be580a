"""What a pg_hba.conf and a pg_ident.conf mean to a server of each version, by hand.

Every case of the tokenizer, of addresses, and of files in files.
"""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest

from pgtls.hba.model import HostName, IdentLine, Keyword, Line, MaskedAddress, Member, Name, Regex
from pgtls.hba.parse import HbaError, parse_hba, parse_ident

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pgtls.hba.model import Address, Database, Role

ALL = Keyword.ALL
OLD, NEW = range(13, 16), range(16, 20)


def first(text: str, version: int = 17) -> Line:
    parsed = parse_hba(text, version)
    assert not parsed.errors
    return parsed.lines[0]


def error(text: str, version: int = 17) -> HbaError:
    parsed = parse_hba(text, version)
    assert len(parsed.errors) == 1, parsed
    return parsed.errors[0]


def files(tree: dict[str, str]) -> tuple[Callable[[str], str], Callable[[str], Iterable[str]]]:
    """Return what parse_hba needs, over a tree in memory: readers of a file's text and of a directory's names."""

    def read(path: str) -> str:
        try:
            return tree[path]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory") from None

    def names(path: str) -> Iterable[str]:
        found = [name.removeprefix(f"{path}/") for name in tree if name.startswith(f"{path}/")]
        if not found:
            raise FileNotFoundError(2, "No such file or directory")
        return found

    return read, names


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "databases"),
    [
        ("all", (ALL,)),
        ('"all"', (Name("all"),)),
        ('al"l"', (ALL,)),
        ("ALL", (Name("ALL"),)),
        ("a,b", (Name("a"), Name("b"))),
        ("a, b", (Name("a"), Name("b"))),
        ("a,,b", (Name("a"), Name("b"))),
        (",a", (Name("a"),)),
        ('"a,b"', (Name("a,b"),)),
        ('a" "b', (Name("a b"),)),
        ('"a""b"', (Name('a"b'),)),
        ('""""', (Name('"'),)),
        ('""', (Name(""),)),
        ('"",x', (Name(""), Name("x"))),
        ('"a#b"', (Name("a#b"),)),
        ("+x", (Name("+x"),)),
        ('"@x"', (Name("@x"),)),
        ("@", (Name("@"),)),
        ("sameuser", (Keyword.SAMEUSER,)),
        ("samerole", (Keyword.SAMEROLE,)),
        ("samegroup", (Keyword.SAMEROLE,)),
        ('"samegroup"', (Name("samegroup"),)),
        ("replication", (Keyword.REPLICATION,)),
        ('"replication"', (Name("replication"),)),
        ("samehost", (Name("samehost"),)),
        ("a\u00a0b", (Name("a\u00a0b"),)),
    ],
)
def test_the_database_field(field: str, databases: tuple[Database, ...]) -> None:
    for version in (13, 16, 19):
        assert first(f"local {field} all trust", version).databases == databases


@pytest.mark.parametrize(
    ("field", "roles"),
    [
        ("all", (ALL,)),
        ("+grp", (Member("grp"),)),
        ('+"grp"', (Member("grp"),)),
        ('"+grp"', (Name("+grp"),)),
        ('+"g r","x"', (Member("g r"), Name("x"))),
        ("+", (Member(""),)),
        ("sameuser", (Name("sameuser"),)),
        ("+/x", (Member("/x"),)),
    ],
)
def test_the_role_field(field: str, roles: tuple[Role, ...]) -> None:
    for version in (13, 16, 19):
        assert first(f"local all {field} trust", version).roles == roles


@pytest.mark.parametrize("field", ["/^a", '"/^a"', '/"^a"'])
def test_a_leading_slash_makes_an_expression_from_16_whatever_the_quotes(field: str) -> None:
    for version in NEW:
        assert first(f"local {field} {field} trust", version).roles == (Regex("^a"),)
    for version in OLD:
        assert first(f"local {field} {field} trust", version).databases == (Name("/^a"),)


def test_a_comma_that_stands_apart_begins_a_new_field() -> None:
    """Here the second role is read as the address, and the address as the mask."""
    assert first("local a ,b trust").roles == (Name("b"),)
    assert error("host all a ,1.2.3.4 127.0.0.1/32 trust").message == (
        'invalid IP mask "127.0.0.1/32": Name or service not known'
    )


def test_a_hash_ends_a_token_and_the_line() -> None:
    assert error("local all a#b trust").message == "end-of-line before authentication method"
    assert first("local all all trust#x").method == "trust"


def test_a_quote_that_is_never_closed_runs_to_the_end_of_the_line() -> None:
    assert error('local all "a trust').message == "end-of-line before authentication method"
    assert len(parse_hba('local all all trust "\nlocal all all reject', 17).lines) == 1


@pytest.mark.parametrize("version", range(14, 20))
def test_a_backslash_at_the_end_of_a_line_joins_the_next_one(version: int) -> None:
    text = "local \\\nall al\\\nl trust\nhost all all all reject\n"
    lines = parse_hba(text, version).lines
    assert [(line.method, line.number) for line in lines] == [("trust", 1), ("reject", 4)]
    assert lines[0].roles == (ALL,)


def test_a_backslash_at_the_end_of_a_comment_swallows_the_next_line_from_14() -> None:
    text = "# c \\\nlocal all all trust\nlocal all all reject\n"
    assert [line.method for line in parse_hba(text, 14).lines] == ["reject"]
    assert [line.method for line in parse_hba(text, 13).lines] == ["trust", "reject"]


def test_two_backslashes_join_once() -> None:
    assert first("local all a\\\\\nb trust").roles == (Name("a\\b"),)
    assert first("local all a\\\n\\\nb trust").roles == (Name("ab"),)


def test_13_reads_a_backslash_as_any_character() -> None:
    assert error("local all all trust \\\n", 13).message == "authentication option not in name=value format: \\"


def test_line_ends_of_windows_are_read() -> None:
    assert [line.number for line in parse_hba("local all all trust\r\n\r\nlocal all all reject\r\n", 17).lines] == [
        1,
        3,
    ]


def test_a_carriage_return_within_a_line_is_a_blank_up_to_18() -> None:
    assert first("local all\rall trust", 18).roles == (ALL,)
    assert error("local all\rall trust", 19).message == "end-of-line before authentication method"


def test_a_byte_order_mark_is_part_of_the_first_token() -> None:
    found = error("\ufeffhost all all all trust")
    assert found.message == 'invalid connection type "\ufeffhost"'
    assert (found.line, found.column) == (1, 1)


def test_a_line_ends_at_a_nul_and_from_14_on_the_next_line_is_lost_too() -> None:
    assert error("local all all\0 trust", 13).message == "end-of-line before authentication method"
    for version in (14, 19):
        found = error("host all all all trust\n# a\0b\nhost all all all reject", version)
        assert found.message == "a NUL: the server takes lines that follow for a part of this one"
        assert (found.line, found.column) == (2, 4)


def test_bytes_that_are_no_utf_8_are_kept() -> None:
    text = b"local all b\xe9 trust".decode("utf-8", "surrogateescape")
    assert first(text).roles == (Name("b\udce9"),)


@pytest.mark.parametrize("version", OLD)
def test_a_token_is_too_long_only_up_to_15(version: int) -> None:
    long, too_long = "x" * 10239, "x" * 10240
    assert first(f"local all {long} trust", version).roles == (Name(long),)
    for field in (too_long, f'"{long}"', f"{long},y"):
        assert error(f"local all {field} trust", version).message == "authentication file token too long"
    assert first(f"local all {too_long} trust", 16).roles == (Name(too_long),)


def test_a_line_is_too_long_only_in_13() -> None:
    text = "local all " + ",".join(f"role{n}" for n in range(3000)) + " trust"
    assert error(text, 13).message == "authentication file line too long"
    assert len(first(text, 14).roles) == 3000


# --- addresses --------------------------------------------------------------------------------------------------------


ADDRESSES = [
    ("10.0.0.0/8", ip_network("10.0.0.0/8")),
    ("10.9.9.9/8", ip_network("10.0.0.0/8")),
    ('"10.0.0.0/8"', ip_network("10.0.0.0/8")),
    ("10.1/16", ip_network("10.0.0.0/16")),
    ("10/8", ip_network("0.0.0.0/8")),
    ("0x7f000001/32", ip_network("127.0.0.1/32")),
    ("0177.0.0.01/32", ip_network("127.0.0.1/32")),
    ("1.65536/32", ip_network("1.1.0.0/32")),
    ("127.0.0.1/+8", ip_network("127.0.0.0/8")),
    ("127.0.0.1/08", ip_network("127.0.0.0/8")),
    ("127.0.0.1/-0", ip_network("0.0.0.0/0")),
    ("::1/128", ip_network("::1/128")),
    ("::ffff:10.0.0.1/128", ip_network("::ffff:10.0.0.1/128")),
    ("fe80::1%eth0/64", ip_network("fe80::/64")),
    ("fe80::1%2/64", ip_network("fe80::/64")),
    ("10.0.0.0 255.0.0.0", ip_network("10.0.0.0/8")),
    ("10.0.0.5 255.0.255.0", MaskedAddress(ip_address("10.0.0.5"), ip_address("255.0.255.0"))),
    ("10.0.0.5 0.0.0.0", ip_network("0.0.0.0/0")),
    ("::1 ffff::", ip_network("::/16")),
    ("all", ALL),
    ("samehost", Keyword.SAMEHOST),
    ("samenet", Keyword.SAMENET),
    ('"all"', HostName("all")),
    ('"samenet"', HostName("samenet")),
    ("db.example.com", HostName("db.example.com")),
    (".example.com", HostName(".example.com")),
    ("10.0.0.256", HostName("10.0.0.256")),
    ("08.0.0.1", HostName("08.0.0.1")),
    ("1.2.3.4.5", HostName("1.2.3.4.5")),
    ("::1%eth0", HostName("::1%eth0")),
    ("", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "address"),
    ADDRESSES,
)
def test_the_address_field(field: str, address: Address | None) -> None:
    kind = "local" if address is None else "host"
    assert first(f"{kind} all all {field} trust").address == address


# --- errors -----------------------------------------------------------------------------------------------------------


ERRORS = [
    ("hosts all all all trust", 1, 'invalid connection type "hosts"'),
    ("HOST all all all trust", 1, 'invalid connection type "HOST"'),
    ("host,local all all all trust", 6, "multiple values specified for connection type"),
    ("host", 5, "end-of-line before database specification"),
    ("host all", 9, "end-of-line before role specification"),
    ("host all all", 13, "end-of-line before IP address specification"),
    ("host all all all", 17, "end-of-line before authentication method"),
    ("host all all 1.2.3.4 trust", 22, 'invalid IP mask "trust": Name or service not known'),
    ("host all all 1.2.3.4", 21, "end-of-line before netmask specification"),
    ("host all all 1.2.3.4 ffff:: trust", 22, "IP address and mask do not match"),
    ("host all all 1.2.3.4 255.0.0.0,x trust", 32, "multiple values specified for netmask"),
    ("host all all 1.2.3.4/33 trust", 14, 'invalid CIDR mask in address "1.2.3.4/33"'),
    ("host all all 1.2.3.4/ trust", 14, 'invalid CIDR mask in address "1.2.3.4/"'),
    ("host all all db/32 trust", 14, 'specifying both host name and CIDR mask is invalid: "db/32"'),
    ("host all all a,b trust", 16, "multiple values specified for host address"),
    ("host all all all trust,md5", 24, "multiple values specified for authentication type"),
    ("host all all all TRUST", 18, 'invalid authentication method "TRUST"'),
    ("host all all all peer", 18, "peer authentication is only supported on local sockets"),
    ("host all all all cert", 18, "cert authentication is only supported on hostssl connections"),
    ("local all all gss", 15, "gssapi authentication is not supported on local sockets"),
    ("hostssl all all all cert foo", 26, "authentication option not in name=value format: foo"),
    ("hostssl all all all cert foo=1", 26, 'unrecognized authentication option name: "foo"'),
    ("hostssl all all all cert map=a clientcert=1", 32, 'invalid value for clientcert: "1"'),
    ("hostssl all all all cert clientname=dn", 26, 'invalid value for clientname: "dn"'),
    ("host all all all trust clientcert=verify-ca", 24, 'clientcert can only be configured for "hostssl" rows'),
    ("local all /a( trust", 11, 'invalid regular expression "a(": parentheses () not balanced'),
    ("local all @x trust", 11, 'could not open file "x": other files are not read here'),
    ("include x", 9, 'could not open file "x": other files are not read here'),
    ("include_dir x", 13, 'could not open directory "x": directories are not read here'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "column", "message"),
    ERRORS,
)
def test_an_error_has_the_servers_words_and_its_place(text: str, column: int, message: str) -> None:
    assert error(text) == HbaError(message, "pg_hba.conf", 1, column, 1)


def test_an_error_in_a_continued_line_has_its_place_and_the_line_that_the_server_names() -> None:
    assert error("local all all trust\nlocal all \\\n  all bogus") == HbaError(
        'invalid authentication method "bogus"', "pg_hba.conf", 3, 7, 2
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("host all all 10.0.0.{} 255.255.255.255 trust", None),
        ("host all all 10.0.0.0 {} trust", "invalid IP mask"),
        ("host all all 10.0.0.0/{} trust", "invalid CIDR mask"),
        ("host all all all ldap ldapserver=x ldapbasedn=b ldapport={}", None),
        ("host all all all radius radiusservers=x radiussecrets=y radiusports={}", None),
        ("host /a{{{}}} all all trust", "invalid repetition count"),
        ("host all /(a)\\{} all trust", None),
    ],
)
@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_of_any_length_is_read(text: str, message: str | None, digits: int) -> None:
    found = parse_hba(text.format("9" * digits), 17).errors
    assert message is None or message in found[0].message


def test_a_line_may_be_continued_very_often() -> None:
    count = 200_000
    (line,) = parse_hba("\\\n".join(["local", *[" "] * count, " all all trust"]), 17).lines
    assert line.method == "trust"
    assert error("\\\n".join(["local", *[" "] * count, " all all bogus"])).line == count + 2


def test_all_errors_are_reported_and_the_good_lines_are_given() -> None:
    parsed = parse_hba("x\nlocal all all trust\ny\n", 17)
    assert [found.line for found in parsed.errors] == [1, 3]
    assert len(parsed.lines) == 1
    assert parsed.consequence == "the server does not start; at a reload it keeps the lines it had"
    assert parse_hba("local all all trust", 17).consequence is None


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "\r\n"])
def test_a_file_without_entries_is_refused(text: str) -> None:
    assert error(text) == HbaError('configuration file "pg_hba.conf" contains no entries', "pg_hba.conf")
    assert parse_ident(text, 17).errors == ()


VERSIONED = [
    ("host all all all radius radiusservers=127.0.0.1 radiussecrets=x", range(13, 19)),
    ("host all all all oauth issuer=https://x scope=y", range(18, 20)),
    ("host all all all oauth issuer=https://x scope=y validator.a=b", range(19, 20)),
    ("hostssl all all all cert clientname=DN", range(14, 20)),
    ("hostssl all all all md5 clientcert=1", range(13, 14)),
    ("hostssl all all all md5 clientcert=no-verify", range(13, 14)),
    ("hostssl all all all cert clientcert=verify-ca", range(13, 14)),
    ("hostssl all all all cert clientcert=verify-full", range(13, 20)),
    ("local all /[ trust", OLD),
    ("include_if_exists absent", NEW),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "takes"),
    VERSIONED,
)
def test_what_only_some_versions_take(text: str, takes: range) -> None:
    text = f"{text}\nlocal all all trust\n"
    assert [
        version for version in range(13, 20) if not parse_hba(text, version, "pg_hba.conf", *files({})).errors
    ] == list(takes)


def test_ident_on_a_socket_is_peer() -> None:
    assert first("local all all ident map=m").method == "peer"
    assert first("host all all all ident").method == "ident"


def test_options_may_be_joined_and_the_last_one_counts() -> None:
    line = first('hostssl all all all cert map=a,map=b "map=c d"')
    assert line.options == (("map", "a"), ("map", "b"), ("map", "c d"))
    assert line.option("map") == "c d"


# --- files in files ---------------------------------------------------------------------------------------------------

TREE = {
    "/c/names": "a, \"b c\"\n# comment\n@sub/more\n",
    "/c/sub/more": "d\n@deeper\n",
    "/c/sub/deeper": "e",
    "/c/empty": "# nothing\n",
    "/c/bad": "@gone",
    "/c/lines.conf": "local all x trust\ninclude sub/lines.conf\n",
    "/c/sub/lines.conf": "\nlocal all y trust\n",
    "/c/broken.conf": "local all all trust\nbogus\n",
    "/c/dir/b.conf": "local all b trust",
    "/c/dir/B.conf": "local all B trust",
    "/c/dir/.hidden.conf": "bogus",
    "/c/dir/other.txt": "bogus",
    "/c/loop.conf": "include loop.conf\n",
    "/c/again": "@again",
}  # fmt: skip


def read_hba(text: str, version: int = 17) -> Any:
    return parse_hba(text, version, "/c/pg_hba.conf", *files(TREE))


@pytest.mark.parametrize("field", ["@names", '@"names"', "@/c/names", "@sub/../names"])
def test_a_file_in_a_field_gives_its_tokens(field: str) -> None:
    for version in range(13, 20):
        (line,) = read_hba(f"local all {field},z trust", version).lines
        assert line.roles == tuple(Name(text) for text in ("a", "b c", "d", "e", "z"))
        assert (line.file, line.number) == ("/c/pg_hba.conf", 1)


def test_a_file_without_tokens_takes_its_field_away() -> None:
    (found,) = read_hba("local all @empty trust").errors
    assert found.message == "end-of-line before authentication method"


def test_a_file_that_is_not_there_is_named_as_the_version_names_it() -> None:
    (new,), (old,), (inner,) = (
        read_hba(text, version).errors
        for text, version in (
            ("local all @gone trust", 16),
            ("local all @gone trust", 15),
            ("local all @bad trust", 16),
        )
    )
    assert new.message == 'could not open file "/c/gone": No such file or directory'
    assert old.message == 'could not open secondary authentication file "@gone" as "/c/gone": No such file or directory'
    assert (inner.message, inner.file, inner.line, inner.column) == (new.message, "/c/pg_hba.conf", 1, 11)


@pytest.mark.parametrize("version", NEW)
def test_included_lines_stand_where_they_are_included(version: int) -> None:
    lines = read_hba(
        'local all a trust\n"include" lines.conf\ninclude_if_exists gone\nlocal all z trust', version
    ).lines
    assert [(line.roles[0].text, line.file, line.number) for line in lines] == [
        ("a", "/c/pg_hba.conf", 1), ("x", "/c/lines.conf", 1), ("y", "/c/sub/lines.conf", 2),
        ("z", "/c/pg_hba.conf", 4),
    ]  # fmt: skip


def test_a_directory_gives_its_files_in_byte_order() -> None:
    assert [line.roles[0].text for line in read_hba("include_dir dir").lines] == ["B", "b"]


@pytest.mark.parametrize(
    ("text", "file", "line", "message"),
    [
        ("include gone", "/c/pg_hba.conf", 1, 'could not open file "/c/gone": No such file or directory'),
        ("include_dir gone", "/c/pg_hba.conf", 1, 'could not open directory "/c/gone": No such file or directory'),
        ("include broken.conf", "/c/broken.conf", 2, 'invalid connection type "bogus"'),
        ("include loop.conf", "/c/loop.conf", 1, 'could not open file "/c/loop.conf": maximum nesting depth exceeded'),
        (
            "local all @again trust",
            "/c/pg_hba.conf",
            1,
            'could not open file "/c/again": maximum nesting depth exceeded',
        ),
        ("include a b", "/c/pg_hba.conf", 1, 'invalid connection type "include"'),
    ],
)
def test_what_is_wrong_with_files_in_files(text: str, file: str, line: int, message: str) -> None:
    (found,) = read_hba(text).errors
    assert (found.file, found.line, found.message) == (file, line, message)


@pytest.mark.parametrize("version", OLD)
def test_up_to_15_there_is_no_include(version: int) -> None:
    (found,) = read_hba("include lines.conf", version).errors
    assert found.message == 'invalid connection type "include"'


# --- pg_ident.conf ----------------------------------------------------------------------------------------------------


IDENTS = [
    ("m a b", IdentLine("m", Name("a"), Name("b")), None),
    ("m a b ignored", IdentLine("m", Name("a"), Name("b")), None),
    ('"m x" "CN=a, b" "c"', IdentLine("m x", Name("CN=a, b"), Name("c")), None),
    ("m /^(.*)$ \\1", IdentLine("m", Regex("^(.*)$"), Name("\\1")), None),
    ('m "/^a" b', IdentLine("m", Regex("^a"), Name("b")), None),
    ("m a all", IdentLine("m", Name("a"), ALL), Name("all")),
    ('m a "all"', IdentLine("m", Name("a"), Name("all")), Name("all")),
    ("m a +g", IdentLine("m", Name("a"), Member("g")), Name("+g")),
    ('m a "+g"', IdentLine("m", Name("a"), Name("+g")), Name("+g")),
    ("m a /^b", IdentLine("m", Name("a"), Regex("^b")), Name("/^b")),
    ('m a "/^b"', IdentLine("m", Name("a"), Regex("^b")), Name("/^b")),
    ("m all b", IdentLine("m", Name("all"), Name("b")), None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "new", "old"),
    IDENTS,
)
def test_an_ident_line(text: str, new: IdentLine, old: Name | None) -> None:
    for version in range(13, 20):
        (found,) = parse_ident(text, version).lines
        wanted = dataclasses.replace(new, role=old) if old and version < 16 else new
        assert dataclasses.replace(found, file=None, number=None) == wanted


IDENT_ERRORS = [
    ("m a", 4, "missing entry at end of line"),
    ("m", 2, "missing entry at end of line"),
    ("m,n a b", 3, "multiple values in ident field"),
    ("m a,b c", 5, "multiple values in ident field"),
    ("m a b,c", 7, "multiple values in ident field"),
    ("m /( b", 3, 'invalid regular expression "(": parentheses () not balanced'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "column", "message"),
    IDENT_ERRORS,
)
def test_an_ident_error_has_the_servers_words(text: str, column: int, message: str) -> None:
    parsed = parse_ident(text, 17)
    assert parsed.errors == (HbaError(message, "pg_ident.conf", 1, column, 1),)
    assert parsed.consequence == "the server starts without any ident map; at a reload it keeps those it had"
