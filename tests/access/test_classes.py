"""Classes show each two decisions that a connection can meet, however many groups a role may be in.

The judge here tries every set of memberships, and every database, with a matcher of its own.
"""

from __future__ import annotations

from itertools import chain, combinations, product
from random import Random
from typing import TYPE_CHECKING

import pytest

from pgtls.access import classes as access_classes
from pgtls.access.classes import Classes, Coverage
from pgtls.fleet.membership import Memberships
from pgtls.hba.model import Keyword, Member, Name, Regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgtls.access.classes import Bits
    from pgtls.hba.model import Database, Role

GROUPS = tuple(f"g{number}" for number in range(8))
ROLES = ("alice", "bob", "another")
DATABASES = ("alice", "g0", "shop", "another", "unnamed")
EXPRESSIONS = (Regex("^x"), Regex("^y"))
"""They match none of the names; of a name that no line has, it is not known."""

Decisions = set[tuple[str, int, int]]
"""A role, and the first of each side that contains a connection of it, as bits; 0 for none."""


def lines(draw: Random, number: int) -> list[Coverage]:
    roles: list[Role] = [*map(Member, GROUPS), *map(Name, ROLES[:2])]
    databases: list[Database] = [*map(Name, DATABASES[:3]), *EXPRESSIONS, Keyword.SAMEUSER, Keyword.SAMEROLE]
    whole: list[Database] = [Keyword.ALL]
    return [
        Coverage(
            tuple(draw.sample(roles, draw.choice((1, 1, 2)))),
            tuple(whole if draw.random() < 0.15 else draw.sample(databases, draw.choice((1, 1, 2)))),
            None,
        )
        for _ in range(number)
    ]


def changed(draw: Random, before: Sequence[Coverage]) -> list[Coverage]:
    """Take a line out, put one in, and let two change places."""
    after = list(before)
    after.pop(draw.randrange(len(after)))
    after.insert(draw.randrange(len(after)), *lines(draw, 1))
    one, other = draw.sample(range(len(after)), 2)
    after[one], after[other] = after[other], after[one]
    return after


def subsets(items: Sequence[str] | Sequence[Regex]) -> Iterable[tuple[object, ...]]:
    return chain.from_iterable(combinations(items, size) for size in range(len(items) + 1))


def tried(before: Sequence[Coverage], after: Sequence[Coverage]) -> Iterator[tuple[str, int, int]]:
    for role, groups, database in product(ROLES, subsets(GROUPS), DATABASES):
        listed = database in DATABASES[:3] or (database == role and role in ROLES[:2])
        for matched, inside in product([()] if listed else subsets(EXPRESSIONS), (False, True)):
            roles = {Name(role), Keyword.ALL, *(Member(str(group)) for group in groups)}
            databases: set[object] = {Name(database), Keyword.ALL, *matched}
            if database == role:
                databases |= {Keyword.SAMEUSER, Keyword.SAMEROLE}
            elif inside:
                databases.add(Keyword.SAMEROLE)
            yield role, first(before, roles, databases), first(after, roles, databases)


def first(side: Sequence[Coverage], roles: set[object], databases: set[object]) -> int:
    return next(
        (
            1 << index
            for index, one in enumerate(side)
            if not roles.isdisjoint(one.roles) and not databases.isdisjoint(one.databases)
        ),
        0,
    )


def lowest(bits: Bits) -> tuple[int, int]:
    return bits.policies & -bits.policies, bits.lines & -bits.lines


def shown(before: Sequence[Coverage], after: Sequence[Coverage], *, decides: bool) -> Decisions:
    known = Memberships({})
    found = Classes(before, after, known, ROLES, deciding=lowest) if decides else Classes(before, after, known, ROLES)
    return {
        (role, *lowest(one.bits)) for one in found.combined() for role in one.role.names if one.address is found.socket
    }


@pytest.mark.parametrize("decides", [True, False], ids=["where something else decides", "each pair"])
@pytest.mark.parametrize("seed", range(12))
def test_no_decision_about_a_role_is_missed(seed: int, decides: bool) -> None:
    draw = Random(seed)  # noqa: S311
    before = lines(draw, 12)
    after = changed(draw, before)
    assert set(tried(before, after)) <= shown(before, after, decides=decides)


def test_the_judge_sees_what_pairs_of_groups_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pairs for roles that lines name, the classes miss some decisions."""
    monkeypatch.setattr(access_classes, "_MOST_PAIRS", -1)
    missed = 0
    for seed in range(12):
        draw = Random(seed)  # noqa: S311
        before = lines(draw, 12)
        after = changed(draw, before)
        missed += not set(tried(before, after)) <= shown(before, after, decides=True)
    assert missed
