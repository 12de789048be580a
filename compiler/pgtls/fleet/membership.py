"""The role graph as the spec describes it (``member_of``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Memberships:
    """The groups of each role whose user says ``member_of``, groups of groups included as far as the spec knows.

    ``open`` has the groups of such a role of which two states of a spec say different things.
    """

    groups: Mapping[str, frozenset[str]]
    open: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def member(self, role: str, group: str) -> bool | None:
        """Return whether ``+group`` covers a role; None: the spec does not say.

        A role is a member of itself (``is_member_of_role``, src/backend/utils/adt/acl.c).
        """
        if role == group:
            return True
        said = self.groups.get(role)
        return None if said is None or group in self.open.get(role, ()) else group in said

    def agreed(self, other: Memberships) -> Memberships:
        """Return what another state of the spec says, too."""
        both = self.groups.keys() & other.groups.keys()
        return Memberships(
            {role: self.groups[role] & other.groups[role] for role in both},
            {role: self.groups[role] ^ other.groups[role] for role in both},
        )


def memberships(users: Iterable[tuple[Sequence[str], Sequence[str]]]) -> Memberships:
    """Collect the memberships of users: the roles of each, and its ``member_of``. Without that, they are unknown."""
    direct: dict[str, set[str]] = {}
    for roles, groups in users:
        if groups:
            for role in roles:
                direct.setdefault(role, set()).update(groups)
    return Memberships({role: frozenset(_closure(role, direct)) for role in direct})


def _closure(role: str, direct: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = [role]
    while todo:
        new = direct.get(todo.pop(), set()) - found
        found |= new
        todo.extend(new)
    return found
