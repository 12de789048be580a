"""Random files: an import never fails, and the matcher decides alike what it calls equal, connection by connection."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from importer.cases import Case
from importer.test_convert import compiled, imported, original
from pgtls.diagnostics import errors
from pgtls.hba.match import decide, map_identity
from pgtls.hba.model import Connection, Surroundings
from pgtls.postgres.methods import takes_map

if TYPE_CHECKING:
    from pgtls.importer.compare import Files

IDENT = "m app app\nm alice app\nm alice bob\nn /^(.*)@x$ \\1\nn root app\n"
MEMBERS = Surroundings(members=frozenset({("bob", "staff")}), interfaces=("192.0.2.7/24",))
ROLES, IDENTITIES = (
    ("app", "bob", "A b", "staff", "else"),
    ("app", "alice", "bob", "root", "app@x", "A b", "else", "else@example.com", "else.mydomain.org"),
)
ADDRESSES = ("10.1.2.3", "10.2.0.1", "127.0.0.1", "192.0.2.9", "8.8.8.8", "::1", "2001:db8::1")

names = st.lists(st.sampled_from(["all", "app", "bob", "+staff", '"A b"']), min_size=1, max_size=2, unique=True)
databases = st.lists(
    st.sampled_from(["all", "shop", "app", "sameuser", "samerole", "replication"]), min_size=1, max_size=2, unique=True
)
addresses = st.sampled_from(
    ["10.0.0.0/8", "10.1.0.0/16", "all", "::1/128", "127.0.0.1/32", "samenet", ".example", "0.0.0.0/0"]
)
OVER_TCP = ["trust", "reject", "md5", "scram-sha-256", "gss", "gss map=n"]
OVER_TLS = [
    "cert",
    "cert map=m",
    "cert map=n",
    "cert clientname=DN map=m",
    "md5 clientcert=verify-full",
    "scram-sha-256 clientcert=verify-ca",
]
ON_SOCKET = ["peer", "peer map=m", "peer map=n", "peer map=nothing", "trust", "reject", "md5"]


@st.composite
def lines(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(["local", "host", "host", "hostssl", "hostssl", "hostnossl"]))
    methods = ON_SOCKET if kind == "local" else OVER_TCP + OVER_TLS * (kind == "hostssl")
    scope = [kind, ",".join(draw(databases)), ",".join(draw(names)), *([] if kind == "local" else [draw(addresses)])]
    return " ".join((*scope, draw(st.sampled_from(methods))))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(lines(), min_size=1, max_size=5), st.sampled_from([13, 15, 16, 18]))
def test_what_is_called_equal_is_decided_alike(hba: list[str], version: int) -> None:
    assume(version > 13 or not any("clientname" in line for line in hba))
    case = Case("\n".join(hba) + "\n", IDENT)
    with TemporaryDirectory() as directory:
        adopted = imported(Path(directory), case, version)
        event("equal" if adopted.equal else "different")
        assert adopted.equal is not None, adopted.diagnostics
        assert adopted.equal != ("PGT297" in {fault.code for fault in errors(adopted.diagnostics)})
        if not adopted.equal:
            return
        _, files = compiled(Path(directory), adopted, version)
    before = original(case, version)
    for connection in _connections():
        assert decision(before, connection, version) == decision(files, connection, version), connection


def _connections() -> list[Connection]:
    found = []
    for role, database in product(ROLES, ("shop", "app", "bob", "staff", "else", "")):
        found.append(Connection(role, database, "socket", replication=not database))
        for address, transport in product(ADDRESSES, ("tls", "plain", "gss")):
            asked = (role, database, transport, ip_address(address))
            found.append(Connection(*asked, replication=not database))  # type: ignore[arg-type]
    return found


def decision(files: Files, connection: Connection, version: int) -> tuple[object, ...]:
    """Return what the server asks for and which identities it accepts; none means that it rejects."""
    line = decide(files.lines, connection, MEMBERS)
    if line is None or line.method == "reject":
        return ("refused",)
    certificate = "verify-full" if line.method == "cert" else line.option("clientcert")
    if certificate != "verify-full" and not takes_map(line.method):
        return (line.method, certificate)
    accepted = tuple(
        identity
        for identity in IDENTITIES
        if map_identity(files.idents, line.option("map"), connection.role, identity, version, MEMBERS).accepted
    )
    return (line.method, certificate, line.option("clientname"), accepted) if accepted else ("refused",)
