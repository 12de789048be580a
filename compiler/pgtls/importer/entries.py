"""From the lines of pg_hba.conf to entries that policies can express: transports, refusals, order.

The spec has no order and no policy for cleartext alone, and its refusals cover every transport. Lines that do not
fit are left out and reported; :mod:`.compare` then shows what that changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pgtls.access.order import SOCKET
from pgtls.access.sets import Scope, addresses_of, databases_of, roles_of
from pgtls.fleet.addresses import Fault, parse_address
from pgtls.fleet.membership import Memberships
from pgtls.hba.match import RECORD_TYPES_OF
from pgtls.hba.model import HostName, MaskedAddress, Member, Name, Regex
from pgtls.hba.options import in_effect, is_ldap_url, set_by_url
from pgtls.postgres.methods import takes_map

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from pgtls.hba.model import Address, Database, Line, RecordType, Role

    _Scoped = tuple[Line, Scope]

    Report = Callable[[str, Line, str], None]
    """Takes a code, a line and what to report about it."""

UNKNOWN = Memberships({})
"""What a file says about the members of roles: nothing."""
LEFT_OUT = "PGT296"
IDLE = "PGT298"

Kind = Literal["local", "host", "hostssl"]
_CLIENT_CERT = {"1": "verify-ca", "verify-ca": "verify-ca", "verify-full": "verify-full"}
_REFUSED = "reject"
_HALF = {"hostssl", "hostnossl"}


_FIELDS_OF_A_POLICY = ("clientcert", "clientname", "map")
_FIELDS: tuple[Literal["addresses", "databases", "roles"], ...] = ("addresses", "databases", "roles")


@dataclass(frozen=True, slots=True)
class Entry:
    """One policy to be. ``addresses`` is empty on the Unix socket; ``lines`` are those that it replaces."""

    type: Kind
    roles: tuple[Role, ...]
    databases: tuple[Database, ...]
    addresses: tuple[Address, ...]
    method: str
    options: tuple[tuple[str, str], ...]
    client_cert: str
    map: str | None
    lines: tuple[Line, ...]
    by_subject: bool = False
    """Whether it compares the whole subject of a certificate, and not the common name (``clientname=DN``)."""
    priority: int = 0
    apart: bool = False
    """A refusal that decides nothing: it separates the entry above it from those below, which would add up with it."""

    @property
    def demand(self) -> tuple[Hashable, ...]:
        """Return what it asks for; entries with the same demand do not compete."""
        return (self.type, self.method, self.options, self.client_cert, self.by_subject)

    @property
    def proof(self) -> tuple[Hashable, ...]:
        """Return what a client has to prove, with TLS or without."""
        return (self.method, self.options, self.client_cert, self.by_subject, self.map)

    @property
    def scope(self) -> Scope:
        """Return what it covers."""
        return _scope(self.roles, self.databases, self.addresses or None)

    def refused(self) -> Entry:
        """Return the refusal of all that it covers, over every transport."""
        kind: Kind = "local" if self.type == "local" else "host"
        return replace(self, type=kind, method=_REFUSED, options=(), client_cert="none", map=None, by_subject=False)


def _scope(roles: Iterable[Role], databases: Iterable[Database], addresses: Iterable[Address] | None) -> Scope:
    return Scope(
        roles_of(roles), databases_of(databases), SOCKET if addresses is None else addresses_of(tuple(addresses))
    )


def client_cert(line: Line) -> str:
    """Return what certificate a line asks for (the numbers are version 13's)."""
    if line.method == "cert":
        return "verify-full"
    return _CLIENT_CERT.get(line.option("clientcert") or "", "none")


def entries(lines: Sequence[Line], report: Report) -> list[Entry]:
    """Return the entries of a file, in its order."""
    expressible: list[_Scoped] = []
    for line in lines:
        why = _inexpressible(line)
        if why:
            report(LEFT_OUT, line, why)
        else:
            expressible.append((line, line_scope(line)))
    return [_entry(line) for line in _transports(_live(expressible, report), report)]


def line_scope(line: Line) -> Scope:
    """Return what a line covers, over any transport."""
    return _scope(line.roles, line.databases, None if line.address is None else (line.address,))


def _inexpressible(line: Line) -> str | None:
    """Return what of a line no policy can express."""
    names = [term for term in (*line.roles, *line.databases) if isinstance(term, Name | Member | Regex)]
    if not all(_text(term) and _text(term).isprintable() for term in names):
        return "an empty name, or one with control characters"
    if any(isinstance(role, Regex) for role in line.roles):
        return "roles by a regular expression: a policy names roles one by one, by +role or by all"
    if isinstance(line.address, MaskedAddress):
        return f"a mask that is no prefix length ({line.address.mask})"
    if isinstance(line.address, HostName) and isinstance(parse_address(line.address.name), Fault):
        return f'"{line.address.name}", which is neither a host name nor an address'
    if line.type in ("hostgssenc", "hostnogssenc"):
        return f"{line.type}: a policy cannot ask for GSS encryption, nor forbid it alone"
    if _by_subject(line) and not takes_map(line.method):
        return f"clientname=DN with {line.method}: a policy compares whole subjects only through a map"
    return _inexpressible_url(dict(in_effect(line.options)))


def _inexpressible_url(options: Mapping[str, str]) -> str | None:
    url = options.get("ldapurl")
    if url is None:
        return None
    if not is_ldap_url(url):
        return "an LDAP URL of an unusual form"
    changed = next((name for name in options if name in set_by_url(url)), None)
    if changed is not None:
        return f"{changed} after ldapurl, of which it replaces a part: the options of a policy have no order"
    return None


def _by_subject(line: Line) -> bool:
    return line.option("clientname") == "DN" and client_cert(line) == "verify-full"


def _text(term: Name | Member | Regex) -> str:
    return term.text if isinstance(term, Name) else term.role if isinstance(term, Member) else term.pattern


def _live(lines: Sequence[_Scoped], report: Report) -> list[_Scoped]:
    """Leave out lines that an earlier one covers completely."""
    kept: list[_Scoped] = []
    for line, scope in lines:
        mine = over(line.type)
        above = next((one for one, other in kept if mine <= over(one.type) and scope.within(other, UNKNOWN)), None)
        if above is None:
            kept.append((line, scope))
        else:
            report(IDLE, line, f"line {above.number} decides wherever this one applies")
    return kept


@cache
def over(record: RecordType) -> frozenset[str]:
    """Return the transports of a type of line."""
    return frozenset(transport for transport, types in RECORD_TYPES_OF.items() if record in types)


def _transports(lines: Sequence[_Scoped], report: Report) -> list[Line]:
    """Express everything with ``local``, ``host`` and ``hostssl``."""
    done: list[_Scoped] = []
    refused: list[tuple[int, Line, Scope]] = []
    for index, (line, scope) in enumerate(lines):
        below = lines[index + 1 :]
        if done and _completes(done[-1], line, scope):
            done[-1] = (replace(done[-1][0], type="host"), scope)
        elif line.method == _REFUSED and not any(other.overlaps(scope, UNKNOWN) for _, other in below):
            pass  # what no policy covers is refused
        elif line.type in _HALF and (below and _completes(below[0], line, scope)):
            done.append((line, scope))
        elif line.type == "hostnossl" and line.method == _REFUSED:
            if not any(one.type == "hostssl" and scope.within(other, UNKNOWN) for one, other in done):
                refused.append((len(done), line, scope))
        elif why := _one_sided(line):
            report(LEFT_OUT, line, why)
        else:
            done.append((_secured(line, scope, refused), scope))
    for start, line, scope in refused:
        below = done[start:]
        if any(
            one.type == "host" and one.method != _REFUSED and scope.overlaps(other, UNKNOWN) for one, other in below
        ):
            report(LEFT_OUT, line, "hostnossl reject that holds for a part of what other lines admit")
    return [line for line, _ in done]


def _one_sided(line: Line) -> str | None:
    """Return why a policy cannot express a line for TLS alone, or for cleartext alone."""
    if line.type == "hostnossl":
        return "hostnossl: no policy is for cleartext alone"
    if line.type == "hostssl" and line.method == _REFUSED:
        return "hostssl reject: a policy that rejects does so with TLS and without"
    return None


def _secured(line: Line, scope: Scope, refused: Sequence[tuple[int, Line, Scope]]) -> Line:
    """Restrict a line below a refusal of cleartext to TLS."""
    if line.type == "host" and line.method != _REFUSED and any(scope.within(other, UNKNOWN) for _, _, other in refused):
        return replace(line, type="hostssl")
    return line


def _completes(last: _Scoped, line: Line, scope: Scope) -> bool:
    """Whether two lines, one with TLS and one without, are one ``host`` line."""
    one, other = last
    same = (one.method, one.options, other) == (line.method, line.options, scope)
    return same and {one.type, line.type} == _HALF


def _entry(line: Line) -> Entry:
    own = tuple(
        (name, value) for name, value in in_effect(line.options) if name not in ("clientcert", "clientname", "map")
    )
    kind: Kind = "local" if line.type == "local" else "hostssl" if line.type == "hostssl" else "host"
    return Entry(
        kind,
        line.roles,
        line.databases,
        () if line.address is None else (line.address,),
        line.method,
        () if line.method == _REFUSED else own,
        "none" if line.type == "local" or line.method == _REFUSED else client_cert(line),
        line.map,
        (line,),
        by_subject=line.method != _REFUSED and _by_subject(line),
    )


# --- order ---


def merged(items: Sequence[Entry]) -> list[Entry]:
    """Merge entries that differ in addresses, databases or roles alone, where no entry between them competes."""
    found = list(items)
    for field in _FIELDS:
        found = _merged(found, field)
    return found


def _merged(items: Sequence[Entry], field: Literal["addresses", "databases", "roles"]) -> list[Entry]:
    found: list[Entry] = []
    seen: dict[Hashable, int] = {}
    for item in items:
        key = (item.demand, item.map, *(getattr(item, name) for name in _FIELDS if name != field), item.type)
        earlier = seen.get(key)
        if earlier is not None and _can_rise(item, found[earlier + 1 :]):
            first = found[earlier]
            changed: dict[str, Any] = {field: tuple(dict.fromkeys((*getattr(first, field), *getattr(item, field))))}
            found[earlier] = replace(first, **changed, lines=first.lines + item.lines)
        else:
            seen[key] = len(found)
            found.append(item)
    return found


def _can_rise(item: Entry, between: Sequence[Entry]) -> bool:
    scope = item.scope
    return not any(
        (other.demand, other.map) != (item.demand, item.map) and other.scope.overlaps(scope, UNKNOWN)
        for other in between
    )


def raised(items: Sequence[Entry], report: Report) -> list[Entry]:
    """Raise each ``host`` entry above the ``hostssl`` ones that ask for the same proof.

    A server treats what both cover alike in either order. In a spec, the policy that requires TLS would refuse the
    cleartext that the lower line admits. What the raised entry covers completely is left out.
    """
    found: list[Entry] = []
    for item in items:
        place = _highest(item, found) if item.type == "host" and item.method != _REFUSED else len(found)
        found.insert(place, item)
    done: list[Entry] = []
    for item in found:
        above = next((one for one in done if _takes_over(one, item)), None)
        if above:
            why = f"line {above.lines[0].number} asks for the same, with TLS or without"
            for line in item.lines:
                report(IDLE, line, why)
        else:
            done.append(item)
    return done


def _highest(item: Entry, above: Sequence[Entry]) -> int:
    """Return how far an entry can rise: to the first ``hostssl`` entry with its proof, past no competing one."""
    place = len(above)
    for index in reversed(range(len(above))):
        other = above[index]
        if not other.scope.overlaps(item.scope, UNKNOWN):
            continue
        if other.proof != item.proof:
            break
        if other.type == "hostssl":
            place = index
    return place


def _takes_over(above: Entry, item: Entry) -> bool:
    same = (above.type, item.type) == ("host", "hostssl") and above.proof == item.proof
    return same and item.scope.within(above.scope, UNKNOWN)


def prioritised(items: Sequence[Entry]) -> list[Entry]:
    """Set priorities where the order of lines decides and being more specific does not."""
    scopes = [item.scope for item in items]
    priorities = [item.priority for item in items]
    for index in reversed(range(len(items))):
        for below in range(index + 1, len(items)):
            one, other = items[index], items[below]
            if one.demand == other.demand or not scopes[index].overlaps(scopes[below], UNKNOWN):
                continue
            inside = scopes[index].within(scopes[below], UNKNOWN) and not scopes[below].within(scopes[index], UNKNOWN)
            priorities[index] = max(priorities[index], priorities[below] + (not inside))
    return [replace(item, priority=priority) for item, priority in zip(items, priorities, strict=True)]
