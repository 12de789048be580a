r"""Compute what a server does with a connection: which line decides, and whether the client's certificate satisfies it.

The code follows ``check_hba``, ``check_db``, ``check_role``, ``check_ip``, ``check_hostname`` and ``check_usermap`` of
src/backend/libpq/hba.c, and ``ClientAuthentication`` and ``CheckCertAuth`` of auth.c. The first matching line decides;
if its method fails, the server tries no other line.

Raise :class:`~pgtls.hba.regex.Undecidable` if the answer depends on a regular expression that :mod:`pgtls.hba.regex`
cannot evaluate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import IPv4Network, IPv6Network, ip_interface
from typing import TYPE_CHECKING, TypeVar

from pgtls.hba.model import HostName, Keyword, Member, Name, Regex, Surroundings
from pgtls.hba.regex import Undecidable, compile_regex

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from pgtls.hba.model import Address, Connection, Database, IdentLine, IPAddress, Line, Role

_LONGEST_NAME = 63
"""The maximum bytes of a role or database name: a server truncates longer names (NAMEDATALEN)."""

RECORD_TYPES_OF = {
    "socket": frozenset({"local"}),
    "tls": frozenset({"host", "hostssl", "hostnogssenc"}),
    "gss": frozenset({"host", "hostnossl", "hostgssenc"}),
    "plain": frozenset({"host", "hostnossl", "hostnogssenc"}),
}
"""The line types that match a connection's transport. A connection with GSS encryption counts as one without SSL."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the line and the client's certificate let a connection through.

    ``reason`` is the server's message or log entry for a rejection.

    Assume that the method itself (a password, a Kerberos ticket, the operating system's user) succeeds.
    """

    accepted: bool
    reason: str | None = None


_ACCEPTED = Outcome(accepted=True)


def decide(
    lines: Iterable[Line],
    connection: Connection,
    surroundings: Surroundings = Surroundings(),  # noqa: B008
) -> Line | None:
    """Return the line that decides for a connection. None: no line matches, so the server rejects it.

    Assume that the connecting role exists. Raise Undecidable if a regular expression cannot be evaluated.
    """
    role = _cut(connection.role)
    covers_role = partial(role_matches, role=role, surroundings=surroundings)
    covers_database = partial(
        _database_matches,
        role=role,
        database=_cut(connection.database),
        physical=connection.replication,
        surroundings=surroundings,
    )
    types = RECORD_TYPES_OF[connection.transport]
    for line in lines:
        if line.type not in types or not (covered := _any(covers_database, line.databases)):
            continue
        near = line.address is None or address_matches(
            line.address, connection.address, connection.host_names, surroundings
        )
        if near and _both(covered, _any(covers_role, line.roles)):
            return line
    return None


def outcome(
    line: Line | None,
    idents: Sequence[IdentLine],
    connection: Connection,
    version: int,
    surroundings: Surroundings = Surroundings(),  # noqa: B008
) -> Outcome:
    """Return the outcome of a connection for which this line decides (ClientAuthentication in auth.c).

    The client's certificate, if there is one, must be one that the server trusts. Raise Undecidable if a regular
    expression cannot be evaluated.
    """
    if line is None:
        return Outcome(accepted=False, reason=_turned_away("no pg_hba.conf entry for", "from ", connection, version))
    asks = _asks_for(line)
    if asks and connection.certificate is None:
        return Outcome(accepted=False, reason="connection requires a valid client certificate")
    if line.method == "reject":
        return Outcome(accepted=False, reason=_turned_away("pg_hba.conf rejects", "for ", connection, version))
    if asks != "verify-full" or connection.certificate is None:
        return _ACCEPTED
    by_subject = line.option("clientname") == "DN"
    identity = connection.certificate.subject if by_subject else connection.certificate.common_name
    if not identity:
        return Outcome(accepted=False, reason="client certificate contains no user name")
    return map_identity(idents, line.map, connection.role, identity, version, surroundings)


def _turned_away(what: str, preposition: str, connection: Connection, version: int) -> str:
    """Write the rejection that the client and the log see."""
    words = {"tls": "SSL on"} if version == 13 else {"tls": "SSL encryption", "gss": "GSS encryption"}
    encryption = words.get(connection.transport, "SSL off" if version == 13 else "no encryption")
    host = "[local]" if connection.address is None else connection.address
    who = f'host "{host}", user "{_cut(connection.role)}"'
    if connection.replication:
        return f"{what} replication connection {preposition}{who}, {encryption}"
    kind = "" if preposition == "from " else "connection for "
    return f'{what} {kind}{who}, database "{_cut(connection.database)}", {encryption}'


def identity_accepted(
    line: Line | None,
    idents: Sequence[IdentLine],
    connection: Connection,
    version: int,
    surroundings: Surroundings = Surroundings(),  # noqa: B008
) -> bool:
    """Return whether :func:`outcome` accepts."""
    return outcome(line, idents, connection, version, surroundings).accepted


def _asks_for(line: Line) -> str | None:
    """Return the effective level of ``clientcert``. ``cert`` implies the highest level.

    The old names are those of PostgreSQL 13.
    """
    if line.method == "cert":
        return "verify-full"
    value = line.option("clientcert")
    return {"1": "verify-ca", "0": None, "no-verify": None}.get(value, value) if value else None


def map_identity(
    idents: Iterable[IdentLine],
    ident_map: str | None,
    role: str,
    identity: str,
    version: int,
    surroundings: Surroundings = Surroundings(),  # noqa: B008
) -> Outcome:
    r"""Return whether a client that proved to be ``identity`` may log in as ``role`` (check_usermap).

    Without a map they must be equal. With a map, its lines are tried in order and the first match is enough; a ``\1``
    without a group ends the search. Raise Undecidable if a regular expression cannot be evaluated.
    """
    role = _cut(role)
    if not ident_map:
        if role == identity:
            return _ACCEPTED
        words = f"provided user name ({role}) and authenticated user name ({identity}) do not match"
        return Outcome(accepted=False, reason=words)
    for wanted in opened(idents, ident_map, identity, version):
        if isinstance(wanted, Outcome):
            return wanted
        if role_matches(wanted, role, surroundings):
            return _ACCEPTED
    words = f'no match in usermap "{ident_map}" for user "{role}" authenticated as "{identity}"'
    return Outcome(accepted=False, reason=words)


def opened(idents: Iterable[IdentLine], ident_map: str, identity: str, version: int) -> Iterator[Role | Outcome]:
    r"""Yield the roles that a map opens to an identity, in its order. A rejection ends it.

    A role is a term of pg_ident.conf with ``\1`` replaced. Raise Undecidable like :func:`outcome`.
    """
    for ident in idents:
        if ident.map == ident_map and _is_identity(ident.identity, identity):
            yield _expanded(ident, identity, version)


def _is_identity(term: Name | Regex, identity: str) -> bool:
    return compile_regex(term.pattern).matches(identity) if isinstance(term, Regex) else term.text == identity


def _expanded(ident: IdentLine, identity: str, version: int) -> Role | Outcome:
    r"""Replace ``\1`` in a name after a regular expression, only once up to version 18.

    Return a rejection if there is no group.
    """
    role = ident.role
    if not isinstance(ident.identity, Regex) or not isinstance(role, Name) or "\\1" not in role.text:
        return role
    group = compile_regex(ident.identity.pattern).first_group(identity)
    if group is None:
        words = (
            f'regular expression "{ident.identity.pattern}" has no subexpressions '
            f'as requested by backreference in "{role.text}"'
        )
        return Outcome(accepted=False, reason=words)
    return Name(role.text.replace("\\1", group, -1 if version >= 19 else 1))


@dataclass(frozen=True, slots=True)
class Identities:
    """The identities that may log in as a role: the lines of pg_ident.conf, searched by role."""

    idents: Sequence[IdentLine]
    version: int
    surroundings: Surroundings

    def of(self, ident_map: str | None, role: str) -> tuple[Name | Regex, ...]:
        """Return the identities that a map accepts for a role. Without a map, return the identity of the role itself.

        Assume that an entry accepts if :mod:`pgtls.hba.regex` cannot evaluate its regular expression.
        """
        if not ident_map:
            return (Name(role),)
        lines = (ident for ident in self.idents if ident.map == ident_map)
        return tuple(dict.fromkeys(ident.identity for ident in lines if self._accepts(ident, role)))

    def _accepts(self, ident: IdentLine, role: str) -> bool:
        try:
            if isinstance(ident.identity, Name):
                shown = ident.identity.text
                return map_identity(self.idents, ident.map, role, shown, self.version, self.surroundings).accepted
            if isinstance(ident.role, Name) and "\\1" in ident.role.text:
                return bool(compile_regex(ident.identity.pattern).groups) and _fits(ident.role.text, role)
            return role_matches(ident.role, role, self.surroundings)
        except Undecidable:
            return True


def _fits(template: str, role: str) -> bool:
    r"""Return whether a name with ``\1`` can produce a role."""
    first, *rest = template.split("\\1")
    return role.startswith(first) and role[len(first) :].endswith(rest[-1])


def expanded_role(ident: IdentLine, identity: str) -> str | None:
    r"""Return the role of an identity if the expression of a line matches and the role contains ``\1``.

    Return None if the role is unknown.
    """
    try:
        role = _expanded(ident, identity, 19) if _is_identity(ident.identity, identity) else None
    except Undecidable:
        return None
    return role.text if isinstance(role, Name) else None


# --- terms ------------------------------------------------------------------------------------------------------------


def role_matches(term: Role, role: str, surroundings: Surroundings) -> bool:
    """Return whether a term of the role field covers a role (check_role).

    Raise Undecidable if a regular expression cannot be evaluated.
    """
    if isinstance(term, Name):
        return term.text == role
    if isinstance(term, Member):
        return is_member(role, term.role, surroundings)
    if isinstance(term, Regex):
        return compile_regex(term.pattern).matches(role)
    return term is Keyword.ALL


def _database_matches(term: Database, role: str, database: str, *, physical: bool, surroundings: Surroundings) -> bool:
    """Return whether a term of the database field covers a database (check_db)."""
    if physical:
        return term is Keyword.REPLICATION
    if isinstance(term, Name):
        return term.text == database
    if isinstance(term, Regex):
        return compile_regex(term.pattern).matches(database)
    if term is Keyword.SAMEUSER:
        return database == role
    if term is Keyword.SAMEROLE:
        return is_member(role, database, surroundings)
    return term is Keyword.ALL


def is_member(role: str, group: str, surroundings: Surroundings) -> bool:
    """Return whether a role is the group or, directly or indirectly, a member of it.

    A superuser is not automatically a member (is_member_of_role_nosuper).
    """
    return role == group or group in _groups(surroundings.members, role)


@lru_cache(maxsize=65536)
def _groups(members: frozenset[tuple[str, str]], role: str) -> frozenset[str]:
    above = _direct(members)
    found: set[str] = set()
    left = [role]
    while left:
        fresh = above.get(left.pop(), set()) - found
        found |= fresh
        left.extend(fresh)
    return frozenset(found)


@lru_cache(maxsize=16)
def _direct(members: frozenset[tuple[str, str]]) -> dict[str, set[str]]:
    above: dict[str, set[str]] = {}
    for member, group in members:
        above.setdefault(member, set()).add(group)
    return above


def address_matches(
    address: Address, client: IPAddress | None, host_names: Collection[str], surroundings: Surroundings
) -> bool:
    """Return whether an address field covers a client with these names. No field covers a client on the Unix socket."""
    if isinstance(address, IPv4Network | IPv6Network):
        return client is not None and client in address
    if address is Keyword.ALL:
        return True
    if isinstance(address, HostName):
        return any(_host_matches(address.name, name) for name in host_names)
    if client is None:
        return False
    if isinstance(address, Keyword):
        return _is_near(client, surroundings.interfaces, same_host=address is Keyword.SAMEHOST)
    same_family = client.version == address.address.version
    return same_family and not (int(client) ^ int(address.address)) & int(address.mask)


def _host_matches(pattern: str, name: str) -> bool:
    """Compare host names and ignore the case of ASCII letters.

    A pattern that starts with a dot is a suffix (hostname_match).
    """
    pattern, name = _folded(pattern), _folded(name)
    return name.endswith(pattern) if pattern.startswith(".") else name == pattern


def _folded(name: str) -> str:
    return name.translate({code: code + 32 for code in range(ord("A"), ord("Z") + 1)})


@lru_cache(maxsize=65536)
def _is_near(client: IPAddress, interfaces: tuple[str, ...], *, same_host: bool) -> bool:
    own = map(ip_interface, interfaces)
    return any(client == interface.ip if same_host else client in interface.network for interface in own)


def _cut(name: str) -> str:
    if len(name) * 4 <= _LONGEST_NAME:
        return name
    return name.encode("utf-8", "surrogateescape")[:_LONGEST_NAME].decode("utf-8", "surrogateescape")


_Term = TypeVar("_Term")


def _any(covers: Callable[[_Term], bool], terms: Iterable[_Term]) -> bool | Undecidable:
    """Return whether any term covers. An undecidable term matters only if no other term covers."""
    undecidable = None
    for term in terms:
        try:
            if covers(term):
                return True
        except Undecidable as reason:
            undecidable = reason
    return undecidable or False


def _both(one: bool | Undecidable, other: bool | Undecidable) -> bool:
    """Return whether both hold. An undecidable term matters only if the other one holds.

    Raise Undecidable in that case.
    """
    if one is False or other is False:
        return False
    for answer in (one, other):
        if isinstance(answer, Undecidable):
            raise answer
    return True
