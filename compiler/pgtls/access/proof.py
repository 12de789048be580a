"""Prove that a server's pg_hba.conf and pg_ident.conf admit exactly what the policies grant.

The proof reads the text back and evaluates it line by line; it evaluates the policies directly
(:mod:`pgtls.access.meaning`). It compares both over every class of connection that they can distinguish: role ×
database × address or socket × transport × certificate. Lines and policies are bits, and the lowest remaining bit is the
deciding line. The cost therefore grows with what policies distinguish, and each role looks at users only once.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from pgtls.access.classes import NONE, Bits, Classes
from pgtls.access.meaning import Holders, Meaning, coverage, secret_options
from pgtls.access.model import Difference
from pgtls.access.text import TRANSPORTS, Text, line_coverage, shows
from pgtls.hba.model import Keyword, Name
from pgtls.postgres.methods import takes_map

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from pgtls.access.classes import Coverage, RoleClass
    from pgtls.access.meaning import Accepted, Ask
    from pgtls.access.model import Rules
    from pgtls.fleet.model import Fleet, Policy
    from pgtls.hba.model import IdentLine, Line

ENOUGH = 20
"""The maximum number of differences to report for one server."""


def prove(fleet: Fleet, rules: Rules) -> tuple[Difference, ...]:
    """Compare a server's text with the policies. Return nothing if both mean the same."""
    server, hba, ident = rules.server, rules.hba, rules.ident
    refused = [*hba.errors, *ident.errors]
    if refused:
        return tuple(
            Difference(server.name, "", "", "", "plain", "a text that the server reads", error.message, error.line)
            for error in refused[:ENOUGH]
        )
    policies = fleet.policies_of(server)
    holders = Holders(fleet, server)
    text = Text(hba.lines, ident.lines, holders, secret_options(policies))
    covered = [coverage(policy) for policy in policies], [line_coverage(line) for line in hba.lines]
    same = Bits(*map(_comparing_names, covered))
    classes = Classes(
        *covered,
        fleet.memberships,
        _names(fleet, ident.lines) if _is_wide(policies, hba.lines) else (),
        deciding=lambda bits: _by_role(bits, text, same),
    )
    meaning = Meaning(policies, holders, server.table.postgres)
    meaning.learn(classes)
    return tuple(islice(_differences(server.name, classes, meaning, text), ENOUGH))


def _comparing_names(side: Sequence[Coverage]) -> int:
    """Return the policies or lines that compare the name of a database with the role's, or its groups'."""
    return sum(1 << i for i, one in enumerate(side) if {Keyword.SAMEUSER, Keyword.SAMEROLE} & {*one.databases})


def _by_role(bits: Bits, text: Text, same: Bits) -> Hashable:
    """Return what decides a class if the name of its role matters, too: whose identity is accepted, in which database.

    What else decides is the same for any role in the same groups, and is compared for one that the spec does not name.
    """
    asked = (text.ask(text.deciding(bits.lines, transport)) for transport in TRANSPORTS)
    matters = bits & same != NONE or any(ask is not None and _compared(ask) for ask in asked)
    return (bits.policies, text.first(bits.lines)) if matters else None


def _is_wide(policies: Sequence[Policy], lines: Sequence[Line]) -> bool:
    """Return whether roles matter that neither policies nor lines name."""
    fields = (*(policy.roles for policy in policies), *(line.roles for line in lines))
    return any(not isinstance(term, Name) for terms in fields for term in terms)


def _names(fleet: Fleet, idents: Sequence[IdentLine]) -> list[str]:
    """Return the roles to check besides those that the spec names.

    These are all roles of users, all names in their certificates, and all roles of the maps: an engine's map may open a
    role of which the spec says nothing.

    Users share one example if they differ only in their name, which is also their only role, account and common name,
    and if no map names them.
    """
    mapped = {term.text for ident in idents for term in (ident.identity, ident.role) if isinstance(term, Name)}
    found: dict[str, None] = {}
    alike: set[tuple[object, ...]] = set()
    shown = Counter(user.common_name for user in fleet.users.values())
    roles = Counter(role for user in fleet.users.values() for role in user.roles)
    for name, user in fleet.users.items():
        kind = (user.ca and user.ca.name, user.member_of, user.table.identity)
        plain = user.roles == user.os_users == (name,) and user.common_name == name and shown[name] == roles[name] == 1
        if plain and name not in mapped and kind in alike:
            continue
        if plain and name not in mapped:
            alike.add(kind)
        found |= dict.fromkeys((*user.roles, user.common_name))
    found |= dict.fromkeys(ident.role.text for ident in idents if isinstance(ident.role, Name))
    return sorted(found)


def _differences(server: str, classes: Classes, meaning: Meaning, text: Text) -> Iterator[Difference]:
    agreed: set[tuple[RoleClass, int, tuple[bool, str | None, bool]]] = set()
    for found in classes.combined():
        deciding = meaning.deciding(found.bits.policies)
        for transport in TRANSPORTS[:1] if found.address is classes.socket else TRANSPORTS[1:]:
            line = text.deciding(found.bits.lines, transport)
            asks, asked = meaning.asks(deciding, transport), text.ask(line)
            role = None
            if asks == (None,) and line is not None and text.admits_nobody(line, found.role.names):
                continue
            if asks == (asked,):
                if line is None or asked is None or not _compared(asked):
                    continue
                question = found.role, deciding, shows(line)
                if question in agreed:
                    continue
                role = _disagreement(found.role, deciding, line, meaning, text)
                if role is None:
                    agreed.add(question)
                    continue
            yield Difference(
                server=server,
                role=role or found.role.names[0],
                database=found.database.example,
                address=found.address.example,
                transport=transport,
                policies=_words(asks, meaning.accepted(deciding, role) if role else None),
                text=_words((asked,), text.accepted(line, role) if role else None),
                line=line.number if line else None,
            )


def _disagreement(roles: RoleClass, deciding: int, line: Line, meaning: Meaning, text: Text) -> str | None:
    """Return a role for which the line accepts other clients than the policies do."""
    return next((role for role in roles.names if meaning.accepted(deciding, role) != text.accepted(line, role)), None)


def _compared(ask: Ask) -> bool:
    """Return whether the identity of the client matters."""
    return ask.certificate == "verify-full" or takes_map(ask.method)


# --- words ------------------------------------------------------------------------------------------------------------


def _words(asks: Sequence[Ask | None], accepted: Accepted | None) -> str:
    words = " or ".join(map(_asked, asks))
    if accepted is None:
        return words
    names = [*(f"{kind} {name}" for kind, name in sorted(accepted.bearers)), *sorted(map(str, accepted.patterns))]
    return f"{words} by {', '.join(names) or 'nobody'}"


def _asked(ask: Ask | None) -> str:
    if ask is None:
        return "refused"
    options = "".join(f" {name}={value}" for name, value in sorted(ask.options))
    return f"{ask.method}{options}" + (f" and a certificate ({ask.certificate})" if ask.certificate != "none" else "")
