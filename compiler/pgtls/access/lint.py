"""Find policies without effect, and policies that take connections from a policy that demands more of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.access.problems import connection, first_shared
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgtls.access.grants import Grants
    from pgtls.access.model import Rules
    from pgtls.access.order import Demand, Item, Order
    from pgtls.fleet.model import Server

_STRENGTH = {"trust": 0, "ident": 1, "password": 2, "md5": 3}
_STRONG = 4
_CERTIFICATE = {"none": 0, "verify-ca": 1, "verify-full": 2}


def unused(order: Order, rules: Rules) -> Iterator[Diagnostic]:
    """Find policies that decide nothing because other policies cover all of their connections."""
    used = {policy.name for origin in rules.origin for policy in origin}
    for index, item in enumerate(order.items):
        above = [order.items[other] for other in order.above[index]]
        if item.policy.name in used or not above or item.policy.follows:
            continue
        if not all(rules.server.name == first_shared(item, other) for other in above):
            continue
        rivals = [other for other in above if other.competes(item)]
        names = " and ".join(f'"{other.policy.name}"' for other in rivals or above)
        if rivals:
            verb = "decides" if len(rivals) == 1 else "decide"
            yield Diagnostic(
                "PGT256",
                f'policy "{item.policy.name}" decides nothing: {names} {verb} wherever it applies',
                item.policy.path,
                hint=f"give it a higher priority than {names}, or delete it",
                at="table",
                severity="warning",
            )
        else:
            grants = "grants" if len(above) == 1 else "grant"
            yield Diagnostic(
                "PGT257",
                f'policy "{item.policy.name}" grants nothing that {names} '
                f"{'does' if len(above) == 1 else 'do'} not {grants[:5]}",
                item.policy.path,
                hint="delete it, or make one of them narrower",
                at="table",
                severity="warning",
            )


def severed(order: Order, server: Server) -> Iterator[Diagnostic]:
    """Find policies that decide for a pooler's connections to its server: the server would not admit them."""
    for index, item in enumerate(order.items):
        if not _is_leg(item):
            continue
        rivals = [other for other in (order.items[one] for one in order.above[index]) if other.competes(item)]
        for rival in rivals[:1]:
            witness = item.scope.witness(rival.scope, order.known)
            assert witness is not None  # noqa: S101  (they overlap)
            pooler, user = item.policy.path[1], item.policy.users[0].name
            yield Diagnostic(
                "PGT489",
                f'policy "{rival.policy.name}" decides for {connection(*witness)}, as which pooler "{pooler}" '
                f'connects: server "{server.name}" would not ask for the certificate of user "{user}"',
                rival.policy.path,
                hint=f"lower the priority of {header('policy', rival.policy.name)}, or keep it away from the addresses "
                "of the pooler",
                at="table",
            )


def _is_leg(item: Item) -> bool:
    """Return whether a policy is how a pooler logs in to its server."""
    return item.policy.follows is not None and item.policy.follows[0] == "pooler"


def locked_out(order: Order, rules: Rules) -> Iterator[Diagnostic]:
    """Find a server on which reject rules override all policies for the socket.

    :mod:`pgtls.fleet.checks` finds a server without any such policy.
    """
    server = rules.server
    admitting = [item for item in order.items if item.policy.local and item.demand.method != "reject"]
    left = any(line.type == "local" and line.method != "reject" for line in rules.lines)
    if admitting and not left and not server.table.no_local:
        names = " and ".join(f'"{item.policy.name}"' for item in admitting)
        yield Diagnostic(
            "PGT206",
            f'nobody may connect to server "{server.name}" from its own machine: what {names} admits, others refuse',
            ("server", server.name),
            hint=f'let a policy for from = ["local"] decide, or say no_local = true in {header("server", server.name)}',
            at="table",
        )


def lenient(order: Order, server: Server) -> Iterator[Diagnostic]:
    """Find policies that take connections from a policy that demands more. To lose TLS is an error."""
    for item, later in zip(order.items, order.overlaps, strict=True):
        for other in (order.items[index] for index in later):
            if not item.beats(other, order.known) or server.name != first_shared(item, other) or _is_leg(other):
                continue
            less = _less(item.demand, other.demand)
            if less is not None:
                yield _finding(order, item, other, less)


def _less(demand: Demand, other: Demand) -> str | None:
    """Return what the second demand requires and the first does not. A reject demands nothing."""
    if "reject" in (demand.method, other.method) or demand.type == "local":
        return None
    if other.type == "hostssl" and demand.type == "host":
        return "TLS"
    if _CERTIFICATE[demand.client_cert] < _CERTIFICATE[other.client_cert]:
        return "a client certificate"
    if _STRENGTH.get(demand.method, _STRONG) < _STRENGTH.get(other.method, _STRONG):
        return f'"{other.method}"'
    return None


def _finding(order: Order, item: Item, other: Item, less: str) -> Diagnostic:
    witness = item.scope.witness(other.scope, order.known)
    assert witness is not None  # noqa: S101  (they overlap)
    one, two = item.policy.name, other.policy.name
    tls = less == "TLS"
    return Diagnostic(
        "PGT331" if tls else "PGT258",
        f'policy "{one}" decides for {connection(*witness)}, before policy "{two}", and does not demand {less}, '
        f'which "{two}" does',
        (*item.policy.path, "sslmode" if tls else "auth"),
        hint=f'raise sslmode to "require" at least, narrow {header("policy", one)}, or accept it with a waiver'
        if tls
        else f"narrow {header('policy', one)}, or have it demand the same",
        severity="error" if tls else "warning",
    )


def idle(order: Order, server: Server, grants: Mapping[str, Grants]) -> Iterator[Diagnostic]:
    """Find policies that compare a certificate's name and accept no certificate at all."""
    for item in order.items:
        grant = grants[item.policy.name]
        # Another check reports named users without a certificate.
        unnamed = server.accepted_cas and not item.scope.roles.names
        nobody = item.demand.client_cert == "verify-full" and unnamed and not grant.pairs and not grant.entries
        if nobody and server.name == item.policy.servers[0].name:
            yield Diagnostic(
                "PGT259",
                f'policy "{item.policy.name}" accepts nobody\'s certificate: no user that it covers '
                f'has one that {server.kind} "{server.name}" accepts',
                (*item.policy.path, "users"),
                hint="`+role` covers the users that say so in member_of; identities that are no users of "
                "the spec are named in `map`",
                severity="warning",
            )
