"""Random files and connections in a small hostile world: names collide with keywords, groups, files and expressions.

Files are written as text, not by our renderer: every way of quoting, joining and breaking lines that a server reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography.x509.oid import NameOID
from hypothesis import strategies as st

from pgtls.hba.model import ClientCertificate, Connection, Surroundings
from support.servers import loopback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgtls.hba.model import Transport

ROLES = (
    "alice", "Alice", "bob", "all", "grp", "+grp", "team", "/alice", "/^a", "a b", 'q"uote', "ünïcødé", "@names",
    "#hash", "x,y", "sameuser", "samerole", "replication", "\\1", "a\\1b", "aa", "aab", "include", "boss", "n" * 63,
)  # fmt: skip
"""All login roles; ``boss`` is a superuser."""

MEMBERS = frozenset(
    {
        ("alice", "grp"),
        ("team", "grp"),
        ("bob", "team"),
        ("a b", "all"),
        ("aa", "/alice"),
        ("ünïcødé", "+grp"),
        ("aab", "a b"),
        ("x,y", "team"),
    }
)
SURROUNDINGS = Surroundings(members=MEMBERS)

DATABASES = (*ROLES, "shop", "samegroup", "logical", "n" * 70)
TRANSPORTS: tuple[Transport, ...] = ("socket", "plain", "tls", "tls", "tls")
SOURCES = ("127.0.0.1", "127.0.0.2", "127.5.6.7", loopback()[-1])

SUBJECTS = (
    [(NameOID.COMMON_NAME, "alice")],
    [(NameOID.COMMON_NAME, "bob"), (NameOID.COMMON_NAME, "alice")],
    [(NameOID.ORGANIZATION_NAME, "Lab, x"), (NameOID.COMMON_NAME, "ünïcødé")],
    [(NameOID.ORGANIZATION_NAME, "Lab")],
    [(NameOID.COMMON_NAME, "aab@example.org")],
    [(NameOID.COMMON_NAME, "/alice")],
    [(NameOID.COMMON_NAME, 'q"uote')],
)
NAMES_FILE = 'alice, "a b"\n# nobody else\n@more.conf\n'
MORE_FILE = 'bob "all",+team\n'
INCLUDED_FILE = "# first\nlocal all aab reject\nhost  shop  aab  samenet  password\n"


@dataclass(frozen=True, slots=True)
class Files:
    """What one round tries: both files' text, and the connections."""

    hba: str
    ident: str
    connections: tuple[Connection, ...]


# --- tokens -----------------------------------------------------------------------------------------------------------

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/^$.*()[]{}|\\?+_-=:~")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@st.composite
def _written(draw: st.DrawFn, text: str) -> str:
    """Write a literal: bare where that changes nothing, in quotes, or with its tail in quotes."""
    if set(text) <= _PLAIN and draw(st.booleans()):
        return text
    if len(text) > 1 and set(text[0]) <= _PLAIN and draw(st.integers(0, 3)) == 0:
        return text[0] + _quoted(text[1:])
    return _quoted(text)


_ATOMS = st.sampled_from(
    ["a", "b", ".", "l", "[ab]", "[^a]", "[[:alpha:]]", "\\w", "(a)", "(?:b|c)", "(lic|o)", "\\.", "\\+", "ü", "e"]
)
_QUANTIFIERS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,2}", "*?", "+?"])


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """Return a regular expression that our engine reads."""
    body = "".join(
        atom + quantifier
        for atom, quantifier in draw(st.lists(st.tuples(_ATOMS, _QUANTIFIERS), min_size=1, max_size=4))
    )
    head = draw(st.sampled_from(["", "^", "(?i)^", "\\m"]))
    return head + body + draw(st.sampled_from(["", "$", "|bob", ".*$", "\\M"]))


def _field(token: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Join one to three tokens into a field."""
    comma = st.sampled_from([",", ", ", ",\t", ",,", " ,"[1:]])
    return st.builds(
        lambda tokens, commas: "".join(c + t for c, t in zip(["", *commas], tokens, strict=False)),
        st.lists(token, min_size=1, max_size=3),
        st.tuples(comma, comma),
    )


_REGEX_TOKENS = patterns().flatmap(lambda pattern: _written("/" + pattern))
_FILE_TOKENS = st.sampled_from(["@names.conf", '@"names.conf"', '"@names"'])
_DATABASE_TOKENS = st.one_of(
    st.sampled_from(["all", "sameuser", "samerole", "samegroup", "replication", '"all"', 'al"l"', '"sameuser"', "ALL"]),
    st.sampled_from(["all", "all", "replication"]),
    st.sampled_from(DATABASES[:-1]).flatmap(_written),
    _REGEX_TOKENS,
    _FILE_TOKENS,
)
_ROLE_TOKENS = st.one_of(
    st.sampled_from(
        ["all", "all", '"all"', 'al"l"', "+grp", "+team", '+"grp"', '"+grp"', '+"a b"', "+nobody", "+/alice", "+all"]
    ),
    st.sampled_from(ROLES).flatmap(_written),
    _REGEX_TOKENS,
    _FILE_TOKENS,
)
_ADDRESSES = st.sampled_from(
    [
        "all", "all", "samehost", "samenet", "127.0.0.1/32", "127.0.0.0/8", "127.0.0.2/31", "0.0.0.0/0", "::/0",
        "::1/128", "127.1/32", "0x7f000001/32", "127.0.0.2 255.255.255.255", "127.9.0.1 255.0.255.255",
        "127.9.9.2 255.0.0.255", "::ffff:127.0.0.1/128", "10.0.0.0/8", "127.0.0.1/+32", "127.9.9.9/8",
        "::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "0177.0.0.1/032", '"127.0.0.0/8"',
    ]
)  # fmt: skip
_WITHOUT_TLS = ["password", "password", "password", "trust", "reject", "scram-sha-256", "md5"]
_WITH_TLS = [
    *_WITHOUT_TLS, "cert", "cert", "cert", "cert map=m1", "cert map=m1", "cert map=m2", "cert clientname=DN map=m1",
    "cert map=m2,map=m1", 'cert "map=odd map"', "cert map=", "trust clientcert=verify-full",
    "trust clientcert=verify-ca", "password clientcert=verify-ca", "reject clientcert=verify-ca",
]  # fmt: skip
_LOCALLY = [*_WITHOUT_TLS, "peer map=m1", "peer", "peer map=m1", "ident map=m2", "peer map=m2"]
_BLANKS = st.sampled_from([" ", "\t", "   ", " \t "])
_ENDS = st.sampled_from(["", "", " ", "\r", " # a comment", "#"])


@st.composite
def _records(draw: st.DrawFn, version: int) -> str:
    kind = draw(
        st.sampled_from(
            ["local", "local", "host", "hostssl", "hostssl", "hostssl", "hostnossl", "hostnogssenc", "hostgssenc"]
        )
    )
    # Two of three fields are wide, so that most lines match something.
    narrow = draw(st.integers(0, 3))
    parts = [
        kind,
        draw(
            _field(_DATABASE_TOKENS)
            if narrow in {0, 3}
            else st.sampled_from(["all", "all,replication", "sameuser,all"])
        ),
        draw(
            _field(_ROLE_TOKENS)
            if narrow in {1, 3}
            else st.sampled_from(["all", "/^[a-z]", "+grp,/.{4}", "all,nobody"])
        ),
    ]
    if kind != "local":
        parts.append(
            draw(_ADDRESSES if narrow in {2, 3} else st.sampled_from(["all", "127.0.0.0/8", "samenet", "samehost"]))
        )
    methods = {"local": _LOCALLY, "hostssl": _WITH_TLS}.get(kind, _WITHOUT_TLS)
    method = draw(st.sampled_from(methods if version >= 14 else [m for m in methods if "clientname" not in m]))
    return _broken(draw, [*parts, method], version) + draw(_ENDS)


def _broken(draw: st.DrawFn, parts: Sequence[str], version: int) -> str:
    """Put blanks between the parts of a line, and from 14 break it now and then."""
    blanks = [draw(_BLANKS) for _ in parts[1:]]
    if version >= 14 and draw(st.integers(0, 4)) == 0:
        blanks[draw(st.integers(0, len(blanks) - 1))] += "\\\n"
    return parts[0] + "".join(blank + part for blank, part in zip(blanks, parts[1:], strict=True))


_LAST = "local all,replication all password\nhost all,replication all all password\n"
"""Catches what no line before has matched: that, too, is compared."""


@st.composite
def _hba(draw: st.DrawFn, version: int) -> str:
    extra = ["", "# a comment", "\t"] + (
        ["include included.conf", "include_if_exists absent.conf"] if version >= 16 else []
    )
    line = st.one_of(_records(version), _records(version), _records(version), _records(version), st.sampled_from(extra))
    lines = draw(st.lists(line, min_size=8, max_size=16))
    return "\n".join([*lines, draw(st.sampled_from([_LAST] * 5 + ["host all none all reject\n"]))])


# --- pg_ident.conf ----------------------------------------------------------------------------------------------------

_IDENTITIES = [
    "alice", "bob", "ünïcødé", "root", "root", "CN=alice", "CN=\\C3\\BCn\\C3\\AFc\\C3\\B8d\\C3\\A9,O=Lab\\, x", "O=Lab",
    "aab@example.org", 'q"uote',
]  # fmt: skip
_IDENTITY_PATTERNS = [
    "^(.*)@example\\.org$", "^([^@]+)@.*$", "^CN=(.*)$", "^(.*)$", "(ali)ce", "^(?:a|b)", "^$", "^(a*)(.*)$", "^a(a+)b",
    "^/(.*)$", "^.*(ice|b)$",
]  # fmt: skip
_TEMPLATES = [
    ("/^(.*)$", "\\1"), ('"/^(.*)@example\\.org$"', '"\\1"'), ("/^(a|b)", "\\1ab"), ("/^(ali)ce$", "\\1ce"),
    ("/^.(.*)$", "\\1"), ('"/^CN=([^,]+)"', "\\1"),
]  # fmt: skip
"""Identities with a group and roles that it becomes part of."""
_IDENT_ROLES = [
    "alice",
    "bob",
    "\\1",
    "a\\1b",
    "\\1\\1",
    "all",
    "+grp",
    "+\\1",
    "/^a",
    "/alice",
    "/",
    "ünïcødé",
    "aa",
    "x,y",
]


@st.composite
def _idents(draw: st.DrawFn, version: int) -> str:
    lines = []
    for _ in range(draw(st.integers(2, 10))):
        identity = draw(
            st.one_of(
                st.sampled_from(_IDENTITIES).flatmap(_written),
                st.sampled_from(_IDENTITY_PATTERNS).flatmap(lambda p: _written("/" + p)),
            )
        )
        if draw(st.booleans()):
            identity, role = draw(st.sampled_from(_TEMPLATES))
        else:
            role = draw(st.sampled_from(_IDENT_ROLES).flatmap(_written))
        name = draw(st.sampled_from(["m1", "m1", "m1", "m1", "m2", '"odd map"']))
        lines.append(_broken(draw, [name, identity, role], version) + draw(_ENDS))
    return "\n".join([*lines, ""])


# --- connections ------------------------------------------------------------------------------------------------------


@st.composite
def _connections(
    draw: st.DrawFn, certificates: Sequence[ClientCertificate], transports: Sequence[Transport]
) -> Connection:
    transport = draw(st.sampled_from(transports))
    certificate = draw(st.sampled_from([None, *certificates, *certificates])) if transport == "tls" else None
    named = certificate and (certificate.common_name or "").partition("@")[0]
    role = draw(st.sampled_from([*ROLES, *([named] * len(ROLES) if named in ROLES else [])]))
    return Connection(
        role=role,
        database=draw(st.one_of(st.sampled_from(DATABASES), st.just(role))),
        transport=transport,
        address=None if transport == "socket" else ip_address(draw(st.sampled_from(SOURCES))),
        replication=draw(st.integers(0, 7)) == 0,
        certificate=certificate,
    )


def rounds(version: int, certificates: Sequence[ClientCertificate], count: int) -> st.SearchStrategy[Files]:
    """Return random files with ``count`` connections; most match a line with a password, so that the log names it."""
    connections = st.lists(_connections(certificates, TRANSPORTS), min_size=count, max_size=count).map(tuple)
    return st.builds(Files, _hba(version), _idents(version), connections)


def identity_rounds(version: int, certificates: Sequence[ClientCertificate], count: int) -> st.SearchStrategy[Files]:
    """Return random ident maps with ``count`` connections that they decide.

    The connections use certificates and the operating system's user.
    """
    methods = [
        "cert map=m1",
        "cert map=m1",
        "cert map=m2",
        'cert "map=odd map"',
        "cert",
        "trust clientcert=verify-full",
    ]
    methods += ["cert clientname=DN map=m1", "cert map=m2 clientname=DN"] if version >= 14 else []
    hba = st.builds(
        lambda database, method, other: (
            f"hostssl {database} all all {method}\nhostssl all,replication all all {other}\n"
            "local all,replication all peer map=m1\n"
        ),
        st.sampled_from(["sameuser", "samerole,replication", "@names.conf", "all"]),
        st.sampled_from(methods),
        st.sampled_from(methods),
    )
    connections = st.lists(
        _connections(certificates, ("tls", "tls", "tls", "socket")), min_size=count, max_size=count
    ).map(tuple)
    return st.builds(Files, hba, _idents(version), connections)
