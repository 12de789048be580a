"""The order against every step of a rollout: two servers, three bundles, up to three generations of each.

Each pair is deployed in the order of the waves, from each generation that may be in use; entities of one wave in either
order. Nobody is cut off but those of whom a conflict says so, and for each of those both orders fail.
"""

from __future__ import annotations

from itertools import product
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from pgtls.hba.model import Surroundings
from pgtls.pki.model import Entity
from pgtls.rollout.order import Order, Sides, order
from pgtls.rollout.words import problems
from pgtls.rollout.works import Dialling, Serving, handshake
from pgtls.state.generations import Generation
from support.building import NOW

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVERS, USERS = ("one", "two"), ("ada", "bob", "eve")


def some(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=len(values), unique=True).map(sorted)


served = st.fixed_dictionaries(
    {
        "port": st.sampled_from([5432, 5432, 5432, 5433]),
        "identities": st.tuples(
            st.fixed_dictionaries(
                {
                    "hosts": some("old", "new"),
                    "chain": st.sampled_from([["r1"], ["r2"]]),
                    "trust": st.one_of(st.just([]), some("p1", "p2")),
                }
            )
        ),
        "crl": st.just([]),
        "hba": st.none(),  # the rules of a server have tests of their own, on servers
        "ident": st.none(),
        "postgres": st.just(17),
    }
)


@st.composite
def bundles(draw: st.DrawFn) -> dict[str, Any]:
    entries = [
        {
            "server": server,
            "role": "app",
            "database": "shop",
            "replication": False,
            "certificate": draw(st.booleans()),
            "methods": ["cert"],
            "host": draw(st.sampled_from(["old", "new"])),
            "port": draw(st.sampled_from(["5432", "5432", "5432", "5433"])),
            "sslmode": draw(st.sampled_from(["verify-full", "verify-ca", "require"])),
        }
        for server in SERVERS
    ]
    chain = draw(st.sampled_from([["p1"], ["p2"]]))
    return {
        "chain": chain,
        "name": "app",
        "subject": "CN=app",
        "trust": draw(some("r1", "r2")),
        "crl": [],
        "entries": entries,
    }


def sides(kind: type[Serving | Dialling], name: str, facts: list[dict[str, Any]]) -> Sides:
    *old, new = (kind(Generation(Entity(name), (), NOW, one)) for one in facts)
    return Sides(tuple(old), new)


def works(bundle: Dialling, server: Serving) -> bool:
    name = server.generation.entity.name
    entry = next(one for one in bundle.facts["entries"] if one["server"] == name)
    return entry["port"] == str(server.facts["port"]) and handshake(bundle, entry, server) is None


def failures(bundle: Sides, server: Sides) -> tuple[bool, bool]:
    """Return whether it cuts somebody off to deploy the server first, and to deploy the bundle first."""
    if not works(bundle.new, server.new):  # the new spec does not mean it to work
        return False, False
    now = [pair for pair in product(bundle.old, server.old) if works(*pair)]
    return any(not works(b, server.new) for b, _ in now), any(not works(bundle.new, s) for _, s in now)


def judge(found: Order, servers: Mapping[Entity, Sides], users: Mapping[Entity, Sides]) -> str:
    """Judge an order, pair by pair. Return what kind of order it is."""
    place = {entity: number for number, wave in enumerate(found.waves) for entity in wave.entities}
    announced = {(conflict.server, bundle) for conflict in found.conflicts for bundle in conflict.bundles}
    circular = {pair for pair in announced if failures(users[pair[1]], servers[pair[0]]) != (True, True)}
    for (server, theirs), (bundle, mine) in product(servers.items(), users.items()):
        server_first, bundle_first = failures(mine, theirs)
        if (server, bundle) in announced - circular:
            assert (server_first, bundle_first) == (True, True)
            continue
        assert (server_first, bundle_first) != (True, True), "an outage that is not announced"
        if circular:
            continue
        if server_first:
            assert place[bundle] < place[server]
        if bundle_first:
            assert place[server] < place[bundle]
    return f"{len(found.waves)} waves, conflicts: {bool(announced - circular)}, circles: {bool(circular)}"


@settings(max_examples=200)
@given(
    st.tuples(*(st.lists(served, min_size=2, max_size=3) for _ in SERVERS)),
    st.tuples(*(st.lists(bundles(), min_size=2, max_size=3) for _ in USERS)),
)
def test_the_waves_cut_nobody_off_whom_no_conflict_names(
    of_servers: tuple[list[dict[str, Any]], ...], of_users: tuple[list[dict[str, Any]], ...]
) -> None:
    servers = {
        Entity(f"server.{name}"): sides(Serving, f"server.{name}", facts)
        for name, facts in zip(SERVERS, of_servers, strict=True)
    }
    users = {
        Entity(f"user.{name}"): sides(Dialling, f"user.{name}", facts)
        for name, facts in zip(USERS, of_users, strict=True)
    }
    event(judge(order(servers, users, {*servers, *users}, Surroundings()), servers, users))


def server_facts(chain: str, *trust: str, hosts: tuple[str, ...] = ("db",)) -> dict[str, Any]:
    identity = {"hosts": list(hosts), "chain": [chain], "trust": list(trust)}
    return {"port": 5432, "identities": [identity], "crl": [], "hba": None, "ident": None, "postgres": 17}


def bundle_facts(
    chain: str, trust: str, *servers: str, hosts: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Return a bundle of entries for some servers; each dials "db", or what ``hosts`` has for the server."""
    entry = {"role": "app", "database": "shop", "replication": False, "certificate": True, "methods": ["cert"]}
    entry |= {"port": "5432", "sslmode": "verify-full"}
    entries = [{**entry, "server": server, "host": hosts.get(server, "db")} for server in servers]
    names = {"name": "app", "subject": "CN=app", "crl": []}
    return {**names, "chain": [chain], "trust": trust.split(), "entries": entries}


def test_what_waits_behind_a_circle_is_in_no_conflict() -> None:
    """Server one waits for ada, ada for two, two for bob, bob for one; eve waits for one, and three for eve."""
    of_servers = {
        "one": [server_facts("r1", "p1", "p2"), server_facts("r2", "p1", "p2", "p3")],
        "two": [server_facts("r1", "p1", "p3"), server_facts("r3", "p1", "p2", "p3")],
        "three": [server_facts("r1", "p1", "p3"), server_facts("r3", "p1", "p3")],
    }
    of_users = {
        "ada": [bundle_facts("p1", "r1 r3", "one", "two"), bundle_facts("p2", "r1 r2 r3", "one", "two")],
        "bob": [bundle_facts("p1", "r1 r2", "one", "two"), bundle_facts("p3", "r1 r2 r3", "one", "two")],
        "eve": [bundle_facts("p1", "r1 r2", "one", "three"), bundle_facts("p3", "r1 r2 r3", "one", "three")],
    }
    servers = {Entity(f"server.{name}"): sides(Serving, f"server.{name}", both) for name, both in of_servers.items()}
    users = {Entity(f"user.{name}"): sides(Dialling, f"user.{name}", both) for name, both in of_users.items()}
    found = order(servers, users, {*servers, *users}, Surroundings())
    assert found.waves == ()
    circle = {(one.server.name, one.bundles[0].name, one.other and one.other.name) for one in found.conflicts}
    assert circle == {("one", "ada", "two"), ("two", "bob", "one")}
    namer: Any = SimpleNamespace(why=lambda cause: cause.kind, table=lambda _: ("[server.one]", ("server", "one")))
    said = {one.message: one.hint for one in problems(found.conflicts, namer, accepted=False)}
    assert said[
        "server one and client ada cannot connect until both are deployed: with the new server the old bundles root; "
        "with the old server two the new bundles client root"
    ] == (
        "make the change in two builds, so that each side accepts the other in between; or proceed with --accept-outage"
    )

    alone = {name: both for name, both in users.items() if name.name != "bob"}  # without him there is no circle
    open_ = order(servers, alone, {*servers, *alone}, Surroundings())
    assert open_.conflicts == ()
    assert [[entity.name for entity in wave.entities] for wave in open_.waves] == [
        ["two"],
        ["ada"],
        ["one"],
        ["eve"],
        ["three"],
    ]
