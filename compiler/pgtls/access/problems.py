"""Report faults between the policies of a server as diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import header
from pgtls.hba.model import Keyword

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.access.order import Item, Order
    from pgtls.fleet.model import Server


CONFLICT = "PGT250"
MIXED = "PGT260"

UNMAPPABLE = "PGT252"


def conflicting(order: Order, server: Server) -> Iterator[Diagnostic]:
    """Find the pairs of policies that cover a connection which neither they nor a third policy decides."""
    for first, other, witness in order.conflicts():
        if server.name != first_shared(first, other):
            continue
        (one, _), (two, path) = sorted((item.policy.name, item.policy.path) for item in (first, other))
        asking = (
            "ask for different things" if first.demand != other.demand else "compare different parts of a certificate"
        )
        yield Diagnostic(
            CONFLICT,
            f'policies "{one}" and "{two}" both cover {connection(*witness)}, {asking}, and neither decides',
            path,
            hint=f"give {_tables(first, other)} a higher priority, or make one of them the more specific in every "
            "respect",
            at="table",
        )


def _tables(*items: Item) -> str:
    """Name the tables of policies. A policy that pgtls derives from a standby or a pooler has no table."""
    return " or ".join(header("policy", name) for name in sorted(i.policy.name for i in items if not i.policy.follows))


def mixed(order: Order) -> Iterator[Diagnostic]:
    """Find pairs of policies that compare common names and whole subjects: a line can compare only one of them."""
    for item in order.items:
        parts = {entry.of for entry in item.policy.table.map}
        if item.compares != "dn" or "cn" not in parts:
            continue
        index = next(i for i, entry in enumerate(item.policy.table.map) if entry.of == "cn")
        subject = next((user.name for user in item.policy.users if user.table.identity == "dn"), None)
        why = "others of its map compare" if "dn" in parts else f'user "{subject}" compares'
        yield Diagnostic(
            MIXED,
            f'policy "{item.policy.name}" compares this identity with common names, and {why} the '
            "whole subject: one line can compare only one of them",
            (*item.policy.path, "map", index, "identity"),
            hint='write the whole subject here and add of = "dn"; or move this entry to a policy of its own',
        )


def connection(role: str, database: str | Keyword, address: str) -> str:
    """Describe a connection; the only keyword for a database is physical replication."""
    target = "physical replication" if isinstance(database, Keyword) else f'database "{database}"'
    origin = "the Unix socket" if address == "local" else address
    return f'role "{role}" on {target} from {origin}'


def first_shared(first: Item, other: Item) -> str:
    """Name the first server that two policies share: a fault between them is reported only there."""
    names = {server.name for server in other.policy.servers}
    return min(server.name for server in first.policy.servers if server.name in names)


def inseparable(first: Item, other: Item) -> Diagnostic:
    """Return the diagnostic: no line can name the connections that two policies share."""
    (one, _), (two, path) = sorted((item.policy.name, item.policy.path) for item in (first, other))
    return Diagnostic(
        "PGT251",
        f'policies "{one}" and "{two}" accept different certificates for connections that no line of '
        "pg_hba.conf can tell apart",
        path,
        hint="use the same kind of addresses in both (networks, not host names or samenet) and no regular expressions; "
        "say member_of in the users of `+role`; or let both name the same users",
        at="table",
    )


def unmappable(item: Item) -> Diagnostic:
    """Return the diagnostic: a policy needs an ident map, and its method supports none."""
    return Diagnostic(
        UNMAPPABLE,
        f'policy "{item.policy.name}" compares certificates with roles, some of which differ, and the '
        f'method "{item.policy.table.auth}" takes no ident map',
        (*item.policy.path, "client_cert"),
        hint='give these users a certificate whose common name is the role, or use client_cert = "verify-ca"',
    )


def unwritable(server: Server, reason: str) -> Diagnostic:
    """Return the diagnostic: the server's version has no syntax for a rule."""
    return Diagnostic(
        "PGT253",
        f'the rules of {server.kind} "{server.name}" cannot be written: {reason}',
        server.entity.table,
        at="table",
    )
