"""Pieces of policies whose grants add up.

They mean what cutting at every intersection means, and there are as many as connections that differ.
"""

from __future__ import annotations

from ipaddress import ip_network
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.fleets import BASE, fleet_of
from pgtls.access.compile import compile_rules
from pgtls.access.grants import accepted_authorities, added, granted
from pgtls.access.order import arrange
from pgtls.access.sets import Addresses, Databases, Roles, Scope
from pgtls.access.split import pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgtls.access.grants import Grants
    from pgtls.access.order import Item, Order
    from pgtls.fleet.membership import Memberships

ROLES = ["ann", "bob", "cy", "shared"]
DATABASES = ["books", "mail", "shop"]
NETWORKS = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.2.0.0/16"]


def _some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    users = {name: {"ca": "clients", "roles": draw(_some(ROLES))} for name in ("ann", "bob", "cy", "dee")}
    policies = {
        f"p{number}": {
            "users": draw(_some(sorted(users))),
            "databases": draw(st.one_of(st.just(["all"]), _some(DATABASES))),
            "from": draw(_some(NETWORKS)),
            "auth": draw(st.sampled_from(["cert", "cert", "cert", "reject"])),
            "priority": draw(st.sampled_from([0, 0, 1, 2])),
        }
        for number in range(draw(st.integers(2, 6)))
    }
    server = {"ca": "root", "client_ca": ["clients"], "hosts": ["db"], "no_local": True}
    return {
        "ca": {"root": {}, "clients": {"issuer": "root"}},
        "server": {"primary": server},
        "user": users,
        "policy": policies,
    }


def every_intersection(order: Order, index: int) -> list[tuple[Scope, tuple[Item, ...]]]:
    """Cut a policy at every intersection with later ones, the narrowest first: correct, but each doubles the pieces."""
    first = order.items[index]
    found: dict[Scope, tuple[Item, ...]] = {first.scope: (first,)}
    for other in (order.items[later] for later in order.overlaps[index]):
        narrower: dict[Scope, tuple[Item, ...]] = {}
        for scope, members in found.items():
            roles = scope.roles.intersection(other.scope.roles, order.known)
            databases = scope.databases.intersection(other.scope.databases)
            addresses = scope.addresses.intersection(other.scope.addresses)
            assert isinstance(roles, Roles)
            assert isinstance(databases, Databases)
            assert isinstance(addresses, Addresses)
            if roles and databases and addresses:
                narrower.setdefault(Scope(roles, databases, addresses), (*members, other))
        found = narrower | {scope: members for scope, members in found.items() if scope not in narrower}
    return list(found.items())


def accepted(members: tuple[Item, ...], grants: Mapping[str, Grants], known: Memberships) -> Grants:
    rivals = [item for item in members if item.demand != members[0].demand]
    kept = [item for item in members if item not in rivals and not any(rival.beats(item, known) for rival in rivals)]
    return added(grants[item.policy.name] for item in kept)


def points() -> Iterator[Scope]:
    for role, database, address in product(
        ROLES, (*DATABASES, "other"), ("10.1.1.1", "10.1.2.1", "10.2.0.1", "10.3.0.1")
    ):
        network = Addresses(networks=(ip_network(address),))
        yield Scope(Roles(frozenset((role,))), Databases(frozenset((database,))), network)


@given(tables())
def test_pieces_accept_whom_a_cut_at_every_intersection_accepts(spec: dict[str, Any]) -> None:
    fleet = fleet_of(spec)
    server = fleet.servers["primary"]
    cas = accepted_authorities(fleet, server.accepted_cas)
    order = arrange(fleet.policies_of(server), fleet.memberships, cas)
    if any(order.conflicts()):
        return
    grants = {item.policy.name: granted(item.policy, item.demand, cas) for item in order.items}
    for index, item in enumerate(order.items):
        if item.demand.method == "reject":
            continue
        cut, found = every_intersection(order, index), pieces(order, index, grants)
        above = [order.items[other].scope for other in order.above[index]]
        for point in points():
            if not point.within(item.scope, order.known) or any(point.within(one, order.known) for one in above):
                continue
            [role] = point.roles.names
            members = next(members for scope, members in cut if point.within(scope, order.known))
            piece = next(piece for piece in found if point.within(piece.scope, order.known))
            expected = accepted(members, grants, order.known).pairs.get(role, frozenset())
            assert piece.grants.pairs.get(role, frozenset()) == expected, (item.policy.name, point)


@pytest.mark.parametrize("what", ["databases", "from", "roles"])
def test_policies_of_one_role_on_overlapping_lists_take_a_line_for_each_element(what: str) -> None:
    count = 40
    elements = {
        "databases": [f"d{number}" for number in range(count)],
        "from": [f"10.0.{number}.0/24" for number in range(count)],
        "roles": [f"r{number}" for number in range(count)],
    }[what]
    text = BASE.replace("hosts", "no_local = true\nhosts")
    for number in range(count):
        others = [element for element in elements if element != elements[number]]
        fields: dict[str, Any] = {"databases": ["all"], "from": ["10.0.0.0/8"], "roles": ["shared"], what: others}
        text += f'[user.x{number}]\nca = "clients"\nroles = {fields["roles"]}\n'
        text += f'[policy.p{number}]\nusers = ["x{number}"]\ndatabases = {fields["databases"]}\n'
        text += f'from = {fields["from"]}\nauth = "cert"\n'
    fleet = fleet_of(text)
    rules, _ = compile_rules(fleet, fleet.servers["primary"])
    assert rules is not None
    # Two networks of a list may be one, whose halves others name.
    assert len(rules.lines) <= 2 * count
