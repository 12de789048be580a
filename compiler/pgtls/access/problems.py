"""Report faults between the policies of a server as diagnostics."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pgtls.access.grants import accepted_authorities, distinguished_name
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import header
from pgtls.hba.model import Keyword
from pgtls.hba.pgbouncer import folded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime

    from pgtls.access.order import Item, Order
    from pgtls.diagnostics import Path
    from pgtls.fleet.model import Fleet, Policy, Server
    from pgtls.pki.model import Certificate, Entity


CONFLICT = "PGT250"
MIXED = "PGT260"

UNMAPPABLE = "PGT252"

_SPECIAL = frozenset(",+\\")
"""Characters that end a part of a subject, or escape another."""


class Known(Protocol):
    """A certificate of the lock that still gives access."""

    @property
    def ca(self) -> str:
        """The NAME of the CA that signed it."""

    @property
    def entity(self) -> Entity:
        """The owner of the certificate: ``user.alice``."""

    @property
    def certificate(self) -> Certificate:
        """The subject of the certificate."""


class Issued(Protocol):
    """All certificates that were ever issued (the lock)."""

    def alive(self, now: datetime) -> tuple[Known, ...]:
        """List the certificates that are neither expired nor revoked."""

    def unexpired(self, now: datetime) -> tuple[Known, ...]:
        """List the certificates that are not expired, including revoked ones."""

    @property
    def ceased(self) -> Collection[tuple[str, str]]:
        """(CA, serial) of the certificates that were revoked because their owner left the spec."""


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


def heritable(fleet: Fleet, known: Iterable[Known], former: Collection[tuple[str, str]]) -> tuple[Known, ...]:
    """Return the inputs of :func:`inheritable` for any server: CAs, and those whose name others have, or they again."""
    holders: dict[str, set[str]] = {}
    for user in fleet.users.values():
        holders.setdefault(folded(user.common_name), set()).add(user.entity)
    for policy in fleet.policies.values():
        for of, name in _listed(policy):
            holders.setdefault(folded(common_name(name) or "" if of == "dn" else name), set()).add("")

    def is_shared(line: Known) -> bool:
        own = () if (line.ca, line.certificate.serial) in former else (line.entity,)
        return any(holders.get(folded(name), set()).difference(own) for name in _shown(line.certificate, hosts=True))

    return tuple(line for line in known if line.entity.kind == "ca" or is_shared(line))


def inheritable(
    fleet: Fleet, server: Server, known: Iterable[Known], former: Collection[tuple[str, str]] = ()
) -> Iterator[Diagnostic]:
    """Find users and map entries that share a name with a trusted certificate of somebody else.

    ``former``: (CA, serial) of certificates whose owner left the spec. If a user of that table is back, nobody can tell
    whether it is the same person. Report each pair for the first server alone, of those with a CRL and of those
    without.
    """
    known = tuple(known)
    if not any(line.entity.kind == "user" for line in known):
        return
    heirs = _Heirs(fleet, server, known, former)
    alike = [one for one in fleet.servers.values() if one.table.crl == server.table.crl and one.name < server.name]
    for line in known:
        for heir in heirs.of(line):
            if not any(heir in _Heirs(fleet, earlier, known, former).of(line) for earlier in alike):
                yield _inheritance(server, heir, line)


class _Heir(NamedTuple):
    """A user, or an entry of a policy's map, that accepts a name. ``subject``: it compares the whole subject."""

    words: str
    path: Path
    entity: Entity | None = None
    subject: str | None = None


class _Heirs:
    """Those to whom a server's rules give something, by the names that it compares."""

    def __init__(
        self, fleet: Fleet, server: Server, known: Iterable[Known], former: Collection[tuple[str, str]]
    ) -> None:
        self._trusted = _trusted_names(fleet, server, known)
        self._former = former
        self._pooler = server.kind == "pooler"
        self._present = {user.entity: self._compared(user.common_name) for user in fleet.users.values()}
        self._named: dict[str, list[_Heir]] = {}
        accepted = accepted_authorities(fleet, server.accepted_cas)
        for user in fleet.users.values():
            if user.ca and user.ca.name in accepted:
                whole = user.table.identity == "dn" and not self._pooler
                subject = distinguished_name(user) if whole else None
                words = f'that of user "{user.name}"'
                self._add(user.common_name, _Heir(words, user.entity.path, user.entity, subject))
        for policy in fleet.policies_of(server):
            for index, (of, name) in enumerate(_listed(policy)):
                path = (*policy.path, "map", index, "identity")
                words = f'one that policy "{policy.name}" accepts by its map'
                if of == "dn":
                    self._add(common_name(name) or "", _Heir(words, path, subject=name))
                elif of == "cn":
                    self._add(name, _Heir(words, path))

    def _add(self, name: str, heir: _Heir) -> None:
        self._named.setdefault(self._compared(name), []).append(heir)

    def _compared(self, name: str) -> str:
        return folded(name) if self._pooler else name

    def of(self, line: Known) -> Iterator[_Heir]:
        """Yield those for one of whom a server takes the holder of a certificate."""
        if line.entity.kind != "user" or line.ca not in self._trusted:
            return
        left = (line.ca, line.certificate.serial) in self._former
        for name in dict.fromkeys(map(self._compared, _shown(line.certificate, hosts=self._pooler))):
            has_it = self._present.get(line.entity) == name  # two users who have it today are another finding
            for heir in self._named.get(name, ()):
                is_own = has_it or line.entity == heir.entity
                if (left or not is_own) and heir.subject in (None, line.certificate.subject):
                    yield heir


def _listed(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield what each entry of a policy's map is compared with, and its identity. Nothing: not with a certificate."""
    for entry in policy.table.map:
        compared = policy.asks_certificate == "verify-full" and not entry.identity.startswith("/")
        yield (entry.of, entry.identity) if compared else ("", "")


def _shown(certificate: Certificate, *, hosts: bool) -> Iterator[str]:
    """Yield the names of a certificate that a server compares: PgBouncer also compares host names."""
    name = common_name(certificate.subject)
    if name is not None:
        yield name
    if hosts:
        yield from (entry.partition(":")[2] for entry in certificate.names)


def _trusted_names(fleet: Fleet, server: Server, known: Iterable[Known]) -> frozenset[str]:
    """Name the CAs below the roots that a server trusts, including CAs that the spec no longer contains.

    The lock lists which CA signed them.
    """
    anchors = {ca.anchor for ca in server.accepted_cas}
    found = {ca.name for ca in fleet.cas.values() if ca.anchor in anchors}
    signed = [(line.entity.name, line.ca) for line in known if line.entity.kind == "ca"]
    left = [(name, above) for name, above in signed if name not in fleet.cas]
    while new := {name for name, above in left if above in found} - found:
        found |= new
    return frozenset(found)


def _inheritance(server: Server, heir: _Heir, line: Known) -> Diagnostic:
    if server.kind == "pooler":
        help_ = f'take it from a CA under another root: PgBouncer reads no CRL, and pooler "{server.name}" takes it'
    elif server.table.crl:
        help_ = f"remove {line.entity} in a build of its own first, which revokes that certificate"
    else:
        table = header("server", server.name)
        help_ = f"set crl = true on {table}: without it, that server takes revoked certificates too"
    is_back = heir.entity == line.entity
    good = f"good until {line.certificate.not_after:%Y-%m-%d}"
    if heir.entity is None:
        change = f"delete the entry until {line.certificate.not_after:%Y-%m-%d}"
    else:
        change = f"give {header('user', heir.entity.name)} another common_name"
    return Diagnostic(
        "PGT254",
        f"certificate {line.certificate.serial} of {'a former ' if is_back else ''}{line.entity}, {good}, "
        f"could not be told from {heir.words}",
        heir.path,
        hint=f"{'if this is somebody else, ' if is_back else ''}{change}; or {help_}",
        at="value" if heir.entity is None else "table",
        severity="warning" if is_back else "error",
    )


@lru_cache(maxsize=65536)
def common_name(subject: str) -> str | None:
    """Find the first common name in encoding order, which is the last one in the text (RFC 4514, 2.1)."""
    if subject.startswith("CN=") and _SPECIAL.isdisjoint(subject):
        return subject[3:]
    parts: list[str] = [""]
    escaped = False
    for character in subject:
        if character in ",+" and not escaped:
            parts.append("")
            continue
        escaped = character == "\\" and not escaped
        parts[-1] += character
    names = [part[3:] for part in parts if part.startswith("CN=")]
    return _unescaped(names[-1]) if names else None


def _unescaped(value: str) -> str:
    data = bytearray()
    rest = value
    while rest:
        if rest[0] != "\\":
            data += rest[0].encode()
            rest = rest[1:]
        elif len(rest) > 2 and all(digit in "0123456789ABCDEFabcdef" for digit in rest[1:3]):
            data.append(int(rest[1:3], 16))
            rest = rest[3:]
        else:
            data += rest[1:2].encode()
            rest = rest[2:]
    return data.decode(errors="replace")
