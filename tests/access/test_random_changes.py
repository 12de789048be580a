"""Random changes of small specs: ``diff`` misses nothing that ``explain`` and the bundles show to open or weaken.

The specs have what hides changes from a comparison of lines and names: users who share a role, users who move between
policies, groups, several ends, and other names of policies, users and the server.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import pgtls
from pgtls.access.bundles import index
from pgtls.language.models import SSLMODES
from pgtls.language.values import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgtls.fleet.model import Fleet

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ENDS = ("2027-01-01", "2028-01-01", "2029-01-01")
AUTH = {
    "scram": 'auth = "scram-sha-256"\n',
    "bound": 'auth = "scram-sha-256"\nchannel_binding = "require"\n',
    "reject": 'auth = "reject"\n',
    "radius": 'auth = "radius"\nauth_options = { radiusservers = "r", radiussecrets = { env = "A" } }\n',
    "another": 'auth = "radius"\nauth_options = { radiusservers = "r", radiussecrets = { env = "B" } }\n',
}
PRIORITIES = {"reject": 9, "scram": 7, "bound": 7, "radius": 5, "another": 3}
"""Policies that ask for different things never contradict each other."""


class User(NamedTuple):
    """``role`` "" is a role of its own."""

    role: str
    group: str
    until: str


class Rule(NamedTuple):
    """A policy. ``users`` are numbers of users, or a group, or "all"."""

    users: tuple[str, ...]
    auth: str
    mode: str
    until: str
    network: str = "10.0.0.0/8"


@dataclass(frozen=True)
class World:
    """A spec. ``server``, ``people`` and ``policies`` are suffixes of their names."""

    users: tuple[User, ...]
    rules: tuple[Rule, ...]
    server: str = ""
    people: str = ""
    policies: str = ""

    @property
    def text(self) -> str:
        """The spec as text."""
        text = f'version = 1\n[ca.root]\n[server.main{self.server}]\nca = "root"\n'
        text += 'hosts = ["db.example.com"]\nno_local = true\n'
        for number, user in enumerate(self.users):
            text += f'[user.u{number}{self.people}]\nlibpq = 17\nroles = ["{user.role or f"u{number}"}"]\n'
            text += f'member_of = ["{user.group}"]\n' * bool(user.group) + f"until = {user.until}\n" * bool(user.until)
        for number, rule in enumerate(self.rules):
            who = ", ".join(f'"u{one}{self.people}"' if one.isdigit() else f'"{one}"' for one in rule.users)
            text += (
                f'[policy.p{number}{self.policies}]\nusers = [{who}]\ndatabases = ["shop"]\nfrom = ["{rule.network}"]\n'
            )
            text += AUTH[rule.auth] + f'sslmode = "{rule.mode}"\n' * (rule.auth != "reject")
            text += 'waiver = { reason = "x", codes = ["PGT310", "PGT331"] }\n' * (rule.mode == "prefer")
            text += f"priority = {PRIORITIES[rule.auth]}\n" + f"until = {rule.until}\n" * bool(rule.until)
        return text


END = st.sampled_from(("", "", *ENDS))
NUMBERS = st.integers(0, 2)
USERS = st.builds(User, st.sampled_from(("", "app", "app")), st.sampled_from(("", "", "", "staff")), END)
WHO = st.one_of(st.lists(st.sampled_from("012"), min_size=1, max_size=2, unique=True).map(tuple), st.just(("+staff",)))
MODES = st.sampled_from(("require", "verify-full"))
ANY_MODE = st.sampled_from(("require", "verify-full", "verify-full", "prefer"))
NETWORKS = st.sampled_from(("10.0.0.0/8", "10.0.0.0/8", "192.0.2.0/24"))
RULES = st.builds(Rule, WHO, st.sampled_from(("scram", "bound", "radius", "another")), ANY_MODE, END, NETWORKS)
LAST = st.builds(Rule, st.sampled_from((("all",), ("0",))), st.sampled_from(("reject", "scram")), MODES, END)
WORLDS = st.builds(World, st.tuples(USERS, USERS, USERS), st.tuples(RULES, RULES, LAST))


def moved(world: World, user: int, start: int, end: int) -> World:
    """Take a user out of a policy, if it names others, too, and put it into another one."""
    rules, one = list(world.rules), str(user)
    left = tuple(name for name in rules[start].users if name != one)
    rules[start] = rules[start]._replace(users=left or rules[start].users)
    if not {one, "all"} & {*rules[end].users}:
        rules[end] = rules[end]._replace(users=(*rules[end].users, one))
    return replace(world, rules=tuple(rules))


def ended(world: World, user: int, until: str, rule: int, until_of_rule: str) -> World:
    """Give a user and a policy other ends."""
    users, rules = list(world.users), list(world.rules)
    users[user] = users[user]._replace(until=until)
    rules[rule] = rules[rule]._replace(until=until_of_rule)
    return replace(world, users=tuple(users), rules=tuple(rules))


def ruled(world: World, number: int, rule: Rule) -> World:
    """Write another policy."""
    return replace(world, rules=tuple(rule if n == number else one for n, one in enumerate(world.rules)))


EDITS: st.SearchStrategy[Callable[[World], World]] = st.one_of(
    st.builds(partial, st.just(moved), user=NUMBERS, start=st.just(0), end=st.just(1)),
    st.builds(partial, st.just(moved), user=NUMBERS, start=st.just(1), end=st.just(0)),
    st.builds(partial, st.just(ended), user=NUMBERS, until=END, rule=NUMBERS, until_of_rule=END),
    st.builds(partial, st.just(ruled), number=NUMBERS, rule=RULES),
    st.sampled_from([partial(replace, **{name: "-new"}) for name in ("server", "people", "policies")]),
)


@st.composite
def changes(draw: st.DrawFn) -> tuple[World, World]:
    """Return a world, and what one or two edits make of it."""
    old = new = draw(WORLDS)
    for edit in draw(st.lists(EDITS, min_size=1, max_size=2)):
        new = edit(new)
    return old, new


SHARED = World(
    (User("app", "", ""),) * 3,
    (
        Rule(("0", "2"), "bound", "verify-full", ""),
        Rule(("1",), "scram", "require", ""),
        Rule(("1",), "reject", "require", ENDS[1]),
    ),
)
APART = replace(
    SHARED,
    rules=(SHARED.rules[0], Rule(("1",), "scram", "prefer", "", "192.0.2.0/24"), SHARED.rules[2]),
)
SECRETS = World(
    (User("", "", ""),) * 3,
    (
        Rule(("0", "1"), "radius", "verify-full", ""),
        Rule(("2",), "another", "verify-full", ""),
        Rule(("0",), "reject", "require", ENDS[0]),
    ),
)


@cache
def at(text: str, moment: datetime) -> pgtls.Spec | None:
    """Return a spec as of an instant, if it has no errors then."""
    one = pgtls.loads(text, now=moment)
    return one if pgtls.check(one) else None


def admitting(one: pgtls.Spec, role: str, source: str) -> tuple[str, frozenset[str]] | None:
    """Return the method, and the sources of secrets, of what admits a role; None: it is refused."""
    found = pgtls.explain(one, user=role, database="shop", source=source)
    if found.outcome == "refuse":
        return None
    policy = one.usable().fleet.policies[found.policies[0]]
    return policy.table.auth, frozenset(str(v) for v in policy.table.auth_options.values() if isinstance(v, Secret))


def demanded(fleet: Fleet) -> dict[tuple[str, str], tuple[int, bool]]:
    """Return what the bundle of each user demands: by the number of the user and the role."""
    return {
        (name.partition("-")[0], entry.role): (SSLMODES.index(entry.sslmode), entry.channel_binding == "require")
        for name, entries in index(fleet).items()
        for entry in entries
    }


def opened(old: pgtls.Spec, new: pgtls.Spec) -> Iterator[str]:
    """Yield "granted" or "weakened" for each difference between two specs at one instant."""
    for role, source in product(("app", "u0", "u1", "u2", "stranger"), ("10.1.2.3", "192.0.2.3")):
        before, after = admitting(old, role, source), admitting(new, role, source)
        if after and not before:
            yield "granted"
        elif after and before and before != after and before[0] == after[0]:
            yield "weakened"
    one, other = (demanded(spec.usable().fleet) for spec in (old, new))
    for key in one.keys() & other.keys():
        if any(will < was for was, will in zip(one[key], other[key], strict=True)):
            yield "weakened"


@example((SHARED, moved(SHARED, 0, 0, 1)))
@example((APART, moved(APART, 0, 0, 1)))
@example((SECRETS, replace(moved(SECRETS, 0, 0, 1), policies="-new")))
@example((SHARED, replace(ruled(SHARED, 0, Rule(("0", "2"), "scram", "verify-full", "")), server="-new")))
@example((SECRETS, ended(ended(SECRETS, 2, ENDS[2], 2, ENDS[1]), 0, ENDS[0], 2, "")))
@given(changes())
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much])
def test_what_opens_or_weakens_at_some_instant_is_not_let_pass(pair: tuple[World, World]) -> None:
    texts = tuple(world.text for world in pair)
    now = tuple(at(text, NOW) for text in texts)
    assume(None not in now)
    expected: set[str] = set()
    for moment in (NOW, *(datetime.fromisoformat(f"{end}T00:00:00+00:00") for end in ENDS)):
        old, new = at(texts[0], moment) or now[0], at(texts[1], moment)
        assert old
        expected |= set(opened(old, new)) if new else set()
    old, new = now
    assert old
    assert new
    found = pgtls.diff(old, new)
    assert not expected or found.exceeds("granted")
    assert "weakened" not in expected or found.exceeds("weakened")
    if texts[0] == texts[1]:
        assert not found
