"""The certificates that are in somebody's hands, by the lock: what a server may be shown beside those of the spec."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pgtls.access.grants import distinguished_name
from pgtls.hba.pgbouncer import folded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.fleet.model import Authority, Fleet, Policy, Server
    from pgtls.pki.model import Certificate, Entity


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
        """The facts of the certificate."""

    @property
    def roots(self) -> Collection[str]:
        """The public keys of the roots that a CA's files had above it: their digests."""

    @property
    def foreign(self) -> bool:
        """Whether the key of a CA was never here, or no longer is."""


class Issued(Protocol):
    """All certificates that were ever issued (the lock)."""

    def alive(self, now: datetime) -> tuple[Known, ...]:
        """List the certificates that are neither expired nor revoked."""

    def unexpired(self, now: datetime) -> tuple[Known, ...]:
        """List the certificates that are not expired, including revoked ones."""

    @property
    def ceased(self) -> Collection[tuple[str, str]]:
        """(CA, serial) of the certificates that were revoked because their owner left the spec."""


class Held(NamedTuple):
    """The certificates of the lock that a server with, or one without CRLs accepts.

    ``by_ca`` are those with which somebody logs in, by the NAME of their CA, without those of servers of the spec: the
    build tells of these (PGT567), whatever names they have. ``shared`` may pass for others: they have names that the
    spec uses for others, or owners who left the spec or have another name today. ``former`` are those of owners who
    left, by (CA, serial). ``cas`` are those of CAs.
    """

    by_ca: Mapping[str, Sequence[Known]] = MappingProxyType({})
    shared: tuple[Known, ...] = ()
    former: Collection[tuple[str, str]] = ()
    cas: tuple[Known, ...] = ()


def held(fleet: Fleet, lines: Iterable[Known], former: Collection[tuple[str, str]] = ()) -> Held:
    """Gather the certificates for any server."""
    lines, by_ca = tuple(lines), dict[str, list[Known]]()
    of_clients = tuple(line for line in lines if line.entity.kind != "ca" and _logs_in(line))
    servers = {one.entity for one in fleet.identities()}
    for line in of_clients:
        if line.entity not in servers:
            by_ca.setdefault(line.ca, []).append(line)
    cas = tuple(line for line in lines if line.entity.kind == "ca")
    return Held(by_ca, _shared(fleet, of_clients, former), former, cas)


def _logs_in(line: Known) -> bool:
    """Return whether a server takes it for the certificate of a client."""
    return line.entity.kind == "user" or line.certificate.serves("clientAuth")


def _shared(fleet: Fleet, lines: Iterable[Known], former: Collection[tuple[str, str]]) -> tuple[Known, ...]:
    holders: dict[str, set[str]] = {}
    for user in fleet.users.values():
        for name in (user.common_name, *user.roles):
            holders.setdefault(folded(name), set()).add(user.entity)
    for policy in fleet.policies.values():
        for of, name in identities(policy):
            holders.setdefault(folded(common_name(name) or "" if of == "dn" else name), set()).add("")

    today = {user.entity: distinguished_name(user) for user in fleet.users.values() if user.ca}

    def is_shared(line: Known) -> bool:
        subject = line.certificate.subject
        if line.entity.kind != "user":  # no name is meant for it: a pattern may accept any
            return True
        if today.get(line.entity, subject) != subject or (line.ca, line.certificate.serial) in former:
            return True
        names = map(folded, shown_names(line.certificate, hosts=True))
        return any(name.startswith("*") or holders.get(name, set()).difference((line.entity,)) for name in names)

    return tuple(filter(is_shared, lines))


def identities(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield what each entry of a policy's map is compared with, and its identity, where a certificate proves it."""
    if policy.asks_certificate == "verify-full":
        yield from ((entry.of, entry.identity) for entry in policy.table.map)


def shown_names(certificate: Certificate, *, hosts: bool) -> Iterator[str]:
    """Yield the names of a certificate that a server compares: PgBouncer also compares host names."""
    name = common_name(certificate.subject)
    if name is not None:
        yield name
    if hosts:
        yield from (entry.partition(":")[2] for entry in certificate.names)


def leading(fleet: Fleet, server: Server, held: Held) -> frozenset[str]:
    """Name the CAs whose certificates lead to the roots that a server trusts: those of today, and those that once did.

    A CA that left the spec, or that another one signs today, still has the certificate that the lock lists. Keys tell
    more than NAMEs: a CA whose root came in a file has no CA of the spec above it, and a table may be renamed.
    """
    anchors = {ca.anchor for ca in server.accepted_cas}
    under = [ca for ca in fleet.cas.values() if ca.anchor in anchors]
    links = [link for ca in under for link in ca.links]
    found = _Above(
        frozenset(ca.name for ca in under),
        frozenset(link.key for link in links),
        frozenset(link.key_id for link in links),
        frozenset(link.subject for link in links),
    )
    left = list(held.cas)
    while new := [line for line in left if line.entity.name in found.names or found.signed(line)]:
        left = [line for line in left if line not in new]
        found = found.also(new)
    return found.names.union(ca for ca, lines in held.by_ca.items() if any(map(found.signed, lines)))


def strays(fleet: Fleet, server: Server, held: Held) -> tuple[str, ...]:
    """Name the CAs of the lock under which others can certify any name for a server, although no table has them.

    A server with CRLs rejects what they certify, because it has no CRL of theirs. A CA of today may have had a key that
    is elsewhere.
    """
    if server.table.crl or not any(line.foreign for line in held.cas):
        return ()
    lines: dict[str, list[Known]] = {}
    for line in held.cas:
        lines.setdefault(line.entity.name, []).append(line)
    own = {key for ca in fleet.cas.values() if (key := _own_key(ca, lines.get(ca.name, ())))}
    anchors = {ca.anchor for ca in server.accepted_cas}

    def leads(line: Known) -> bool:
        key = line.certificate.spki_sha256
        return key in anchors or (line.entity in anchors and key in own) or not anchors.isdisjoint(line.roots)

    found = (line for those in lines.values() for line in those if line.foreign)
    found = (line for line in found if line.certificate.spki_sha256 not in own)
    return tuple(dict.fromkeys(line.entity.name for line in found if any(map(leads, _chain(line, lines)))))


def _own_key(ca: Authority, lines: Iterable[Known]) -> str | None:
    """Return the key of a CA of today: that of its file, else the last of its NAME that may be it.

    A key that was never here is no key of a CA that is made here: another had its NAME before.
    """
    if ca.links:
        return ca.links[0].key
    its = (line.certificate for line in lines if ca.trusted_only or not line.foreign)
    newest = max(its, key=lambda one: one.not_before, default=None)
    return newest.spki_sha256 if newest else None


def _chain(line: Known, lines: Mapping[str, Sequence[Known]]) -> Iterator[Known]:
    """Yield the certificate of a CA, and those above it that may have signed it."""
    todo, seen = [line], list[Known]()
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.append(one)
            yield one
            key_id = one.certificate.authority_key_id
            signers = lines.get(one.ca, ()) if one.ca != one.entity.name else ()
            todo += [above for above in signers if key_id in (None, above.certificate.key_id)]


def renamed(fleet: Fleet, held: Held, named: Collection[str]) -> frozenset[str]:
    """Return the NAMEs that CAs had before: all keys that the lock lists for them are those of ``named`` CAs."""
    keys: dict[str, set[str]] = {}
    for line in held.cas:
        keys.setdefault(line.entity.name, set()).add(line.certificate.spki_sha256)
    own = {ca.links[0].key for name, ca in fleet.cas.items() if name in named and ca.links}
    own = own.union(*(keys.get(name, ()) for name in named))
    return frozenset(name for name, its in keys.items() if name not in fleet.cas and its <= own)


@dataclass(frozen=True, slots=True)
class _Above:
    """The CAs that lead to some roots: their NAMEs, the digests of their keys, their key identifiers and subjects."""

    names: frozenset[str]
    keys: frozenset[str]
    key_ids: frozenset[str]
    subjects: frozenset[str]

    def signed(self, line: Known) -> bool:
        """Return whether a certificate leads to one of these CAs, or has its key."""
        one = line.certificate
        if line.ca in self.names or one.spki_sha256 in self.keys or not self.keys.isdisjoint(line.roots):
            return True
        if one.authority_key_id is not None:
            return one.authority_key_id in self.key_ids
        return one.issuer in self.subjects and one.issuer != one.subject

    def also(self, lines: Collection[Known]) -> _Above:
        """Add the CAs of these lines."""
        return _Above(
            self.names.union(line.entity.name for line in lines),
            self.keys.union(line.certificate.spki_sha256 for line in lines),
            self.key_ids.union(line.certificate.key_id for line in lines),
            self.subjects.union(line.certificate.subject for line in lines),
        )


_SPECIAL = frozenset(",+\\")
"""Characters that end a part of a subject, or escape another."""


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
