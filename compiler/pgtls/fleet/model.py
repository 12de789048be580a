"""Entities with links to each other instead of names, and with every default filled in.

Made by :func:`pgtls.fleet.resolve.resolve` alone, so every reference in a :class:`Fleet` exists. Each entity keeps its
table (``table``) for the fields that need no resolving.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

from pgtls.fleet.membership import memberships
from pgtls.language.values import plain
from pgtls.pki.expected import taken_for_host
from pgtls.pki.model import Entity, ca_entity, entity
from pgtls.pki.pkcs11_uri import parse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.diagnostics import Path
    from pgtls.fleet.membership import Memberships
    from pgtls.hba.model import Address, Database, Keyword, Member, Name
    from pgtls.language.models import (
        CaTable,
        GroupTable,
        LintTable,
        NetworkTable,
        PolicyTable,
        PoolerTable,
        ServerTable,
        SniTable,
        SslMode,
        StateTable,
        UserTable,
    )
    from pgtls.language.source import Source
    from pgtls.language.values import Subject
    from pgtls.pki.pkcs11_uri import KeyUri


def subject_attributes(subject: Subject, common_name: str) -> tuple[tuple[str, str], ...]:
    """Return a subject as pairs of attribute and value, in the order of a certificate: a pair for each of several."""
    fields: tuple[tuple[str, str | tuple[str, ...] | None], ...] = (
        ("country", subject.country),
        ("state", subject.state),
        ("locality", subject.locality),
        ("organization", subject.organization),
        ("organizational_unit", subject.organizational_unit),
        ("common_name", common_name),
        ("email", subject.email),
    )
    return tuple((name, value) for name, found in fields for value in values_of(found))


def values_of(found: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the values of a part of a subject, which is one string, several, or none."""
    return (found,) if isinstance(found, str) else found or ()


class Link(NamedTuple):
    """A CA certificate that came in a file.

    It has its subject, the digest of its public key, its key identifier, and its own digest.
    """

    subject: str
    key: str
    key_id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority. ``depth`` is how many levels of CAs stand below it.

    ``links`` are the certificates of its ``cert_file``: its own, and those above it that are not in the spec.
    """

    name: str
    table: CaTable
    issuer: Authority | None
    depth: int = 0
    links: tuple[Link, ...] = ()

    @property
    def entity(self) -> Entity:
        """``ca.NAME``."""
        return ca_entity(self.name)

    @property
    def common_name(self) -> str:
        """The subject's common name."""
        return self.table.common_name or self.name

    @property
    def acme(self) -> bool:
        """Tell whether an ACME server signs with its key."""
        return self.table.sign is not None and self.table.sign.acme is not None

    @property
    def key_uri(self) -> KeyUri | None:
        """The place of its key in a token; None for a key in a file."""
        return parse(self.table.key.pkcs11) if self.table.key else None

    @property
    def chain(self) -> tuple[Authority, ...]:
        """Itself, its issuer, and so on up to the root."""
        chain = [self]
        while issuer := chain[-1].issuer:
            chain.append(issuer)
        return tuple(chain)

    @property
    def root(self) -> Authority:
        """The end of its chain."""
        return self.chain[-1]

    @property
    def foreign_root(self) -> Link | None:
        """The root above :attr:`root` that is not in the spec: trust in this CA is trust in all of its CAs."""
        links = self.root.links
        return links[-1] if len(links) > 1 else None

    @property
    def anchor(self) -> str:
        """What its chain ends in: CAs with the same anchor are trusted together."""
        links = self.root.links
        return links[-1].key if links else self.root.entity

    @property
    def path_length(self) -> int | None:
        """How many levels of CAs its certificate allows below it: None is any number, which only a root has."""
        own = self.table.path_length
        return self.depth if own is None and self.issuer else own

    @property
    def crl_validity(self) -> timedelta:
        """The lifetime of its CRLs. An offline CA signs none until somebody brings its key."""
        default = self.table.validity if self.table.offline else timedelta(days=365)
        return self.table.crl_validity or default

    @property
    def trusted_only(self) -> bool:
        """Tell whether its key is never here: others (its ``sign``, too) sign with it, and may certify any name."""
        here = self.table.key_file or self.table.key or self.table.external
        return bool(self.table.cert_file and not here)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server is under some host names: its certificate, and the CAs whose client certificates it accepts there.

    ``ca`` is None where ``table.ca`` is "self-signed", "system" or not said. ``place`` is where the table of a further
    identity lies in that of its server: ``("sni", 0)``.
    """

    name: str
    table: ServerTable | SniTable
    ca: Authority | None
    client_cas: tuple[Authority, ...]
    trust: tuple[Authority, ...] = ()
    place: tuple[str | int, ...] = ()

    @property
    def entity(self) -> Entity:
        """``server.NAME``, or ``server.NAME/HOST`` for a further identity."""
        return entity("server", self.name)

    @property
    def self_signed(self) -> bool:
        """Tell whether its certificate is its own root."""
        return self.table.ca == "self-signed"

    @property
    def system(self) -> bool:
        """Tell whether a public CA signs it."""
        return self.table.ca == "system"

    @property
    def validity(self) -> timedelta:
        """The lifetime of its certificate."""
        return self.table.validity or timedelta(days=3650 if self.self_signed else 90)


@dataclass(frozen=True, slots=True)
class Server(Identity):
    """A server, which is itself the identity for every host name that is not in ``sni``."""

    table: ServerTable
    sni: tuple[Identity, ...] = ()

    @property
    def identities(self) -> tuple[Identity, ...]:
        """All of them, the default first."""
        return (self, *self.sni)

    def identity_for(self, host: str) -> Identity:
        """Return what it is to clients that ask for a host name (without regard to case)."""
        named = (one for one in self.sni if host.lower() in (name.lower() for name in one.table.hosts))
        return next(named, self)

    @property
    def accepted_cas(self) -> tuple[Authority, ...]:
        """The CAs whose client certificates any of its identities accepts.

        Rules of pg_hba.conf cannot see the host name that a client asked for: who gets in under one name gets in.
        """
        return tuple({ca.name: ca for identity in self.identities for ca in identity.client_cas}.values())

    @property
    def kind(self) -> Literal["server", "pooler"]:
        """Whether it is PostgreSQL itself, or PgBouncer before it."""
        return "server"

    @property
    def databases(self) -> tuple[str, ...] | None:
        """The only databases that policies may name on it; None for any."""
        listed = self.table.databases
        return None if listed is None else tuple(map(plain, listed))


@dataclass(frozen=True, slots=True)
class Pooler(Server):
    """PgBouncer: a server to its clients, and a client to its own server.

    ``table`` has what its clients meet, as the fields of a server; ``written`` is its table in the spec. ``backend``
    and ``user`` are None only while the spec names some that do not exist.
    """

    written: PoolerTable = field(kw_only=True)
    backend: Server | None = field(kw_only=True)
    user: User | None = field(kw_only=True)
    addresses: tuple[Address, ...] = field(kw_only=True)
    """From where it connects to its server."""

    @property
    def entity(self) -> Entity:
        """``pooler.NAME``."""
        return entity("pooler", self.name)

    @property
    def kind(self) -> Literal["server", "pooler"]:
        """Whether it is PostgreSQL itself, or PgBouncer before it."""
        return "pooler"

    @property
    def databases(self) -> tuple[str, ...] | None:
        """The only databases that policies may name on it, which are those of its server; None for any."""
        return self.backend.databases if self.backend else None


@dataclass(frozen=True, slots=True)
class User:
    """A user. ``roles`` and ``os_users`` have their defaults filled in."""

    name: str
    table: UserTable
    ca: Authority | None
    roles: tuple[str, ...]
    os_users: tuple[str, ...]

    @property
    def entity(self) -> Entity:
        """``user.NAME``."""
        return entity("user", self.name)

    @property
    def member_of(self) -> tuple[str, ...]:
        """The database roles that its roles are members of."""
        return tuple(map(plain, self.table.member_of))

    @property
    def common_name(self) -> str:
        """The common name of its certificate."""
        return self.table.common_name or self.name

    @property
    def dns_names(self) -> tuple[str, ...]:
        """The host names in its certificate: under DNS constraints one that they permit.

        Without it, OpenSSL would read a dotted common name as a host name.
        """
        chain = self.ca.chain if self.ca else ()
        permitted = [d for a in chain if a.table.name_constraints for d in a.table.name_constraints.permitted_dns]
        if not permitted or not taken_for_host(self.common_name):
            return ()
        return (f"{self.common_name}.{permitted[0].lstrip('.')}",)


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy with its groups and networks expanded.

    ``users`` are the users that it names (every user of the spec for ``all``; the users whose ``member_of`` has the
    role for ``+role``): it accepts their certificates and operating-system accounts. ``roles`` are the roles of its hba
    lines. ``addresses`` is empty if ``local`` is True.
    """

    name: str
    table: PolicyTable
    servers: tuple[Server, ...]
    users: tuple[User, ...]
    roles: tuple[Name | Member | Keyword, ...]
    databases: tuple[Database, ...]
    addresses: tuple[Address, ...]
    local: bool
    sslmode: SslMode | None
    """None where TLS has no meaning: on the Unix socket, and with ``reject``."""
    named: tuple[User, ...] = ()
    """The users that it names, by themselves or in a group, rather than by ``all`` or ``+role``."""
    follows: tuple[str, str, str] | None = None
    """The field that it follows from: ``("server", NAME, "replication_user")`` of a standby, ``("pooler", NAME,
    "user")``. None: the spec has its table."""

    @property
    def entity(self) -> Entity:
        """``policy.NAME``."""
        return entity("policy", self.name)

    @property
    def path(self) -> Path:
        """Where it is in the spec: its table, or the field that it follows from."""
        return self.follows or ("policy", self.name)

    @property
    def clusters(self) -> tuple[Server, ...]:
        """The servers that are PostgreSQL itself."""
        return tuple(server for server in self.servers if server.kind == "server")

    @property
    def requires_tls(self) -> bool:
        """Tell whether it requires TLS."""
        return self.sslmode in ("require", "verify-ca", "verify-full")

    @property
    def asks_certificate(self) -> Literal["none", "verify-ca", "verify-full"]:
        """The client certificate that it requires: ``cert`` is verify-full; the socket and ``reject`` require none."""
        if self.local or self.table.auth == "reject":
            return "none"
        return "verify-full" if self.table.auth == "cert" else self.table.client_cert

    def compares_subjects(self, accepted: Collection[str]) -> bool:
        """Tell whether it compares whole subjects on a server that accepts the certificates of these CAs, by name."""
        if self.asks_certificate != "verify-full":
            return False
        subjects = (user for user in self.users if user.table.identity == "dn" and user.ca and user.ca.name in accepted)
        return any(entry.of == "dn" for entry in self.table.map) or any(subjects)


@dataclass(frozen=True)  # no slots: what follows from its users is computed once
class Fleet:
    """The whole spec, resolved at one instant, without ended entities (``until``). All in the order of names."""

    cas: Mapping[str, Authority]
    servers: Mapping[str, Server]
    """Whatever clients connect to: servers, and poolers, which share their names."""
    users: Mapping[str, User]
    policies: Mapping[str, Policy]
    lint: LintTable
    state: StateTable
    source: Source
    now: datetime
    own: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """The keys that a table itself has, rather than ``[defaults]``, by ``("server", "primary")``."""
    ended_users: Mapping[str, User] = field(default_factory=dict)
    """Users that had ended by then and count as deleted: only for explanations. The same for policies:"""
    ended_policies: Mapping[str, Policy] = field(default_factory=dict)
    groups: Mapping[str, GroupTable] = field(default_factory=dict)
    networks: Mapping[str, NetworkTable] = field(default_factory=dict)
    """Groups and networks as written: for checks alone, since policies have them expanded."""
    public: Authority | None = None
    """``[ca.system]``: who signs for servers with ``ca = "system"``. It is none of the ``cas``."""

    @property
    def poolers(self) -> tuple[Pooler, ...]:
        """The poolers among the servers."""
        return tuple(server for server in self.servers.values() if isinstance(server, Pooler))

    @property
    def clusters(self) -> Mapping[str, Server]:
        """The servers that are PostgreSQL itself."""
        return {name: server for name, server in self.servers.items() if server.kind == "server"}

    @cached_property
    def memberships(self) -> Memberships:
        """The memberships that its users say."""
        return memberships((user.roles, user.member_of) for user in self.users.values())

    @cached_property
    def common_names(self) -> Mapping[str, Mapping[str, str]]:
        """By CA: the common names in the certificates that it signs, by user."""
        found: dict[str, dict[str, str]] = {name: {} for name in self.cas}
        for name, user in self.users.items():
            if user.ca:
                found[user.ca.name][name] = user.common_name
        return found

    @cached_property
    def by_common_name(self) -> Mapping[str, Sequence[User]]:
        """By common name: the users who have it in their certificate."""
        found: dict[str, list[User]] = {}
        for user in self.users.values():
            if user.ca:
                found.setdefault(user.common_name, []).append(user)
        return found

    @cached_property
    def comparing_subjects(self) -> Mapping[str, Policy]:
        """By the anchor of CAs: a policy that compares the whole subjects of their clients on some server."""
        found: dict[str, Policy] = {}
        for policy in self.policies.values():
            for server in policy.servers:
                if policy.compares_subjects(self.below(server.accepted_cas)):
                    found = dict.fromkeys((ca.anchor for ca in server.accepted_cas), policy) | found
        return found

    def below(self, cas: Iterable[Authority]) -> frozenset[str]:
        """Name these CAs and all below them."""
        named = {ca.name for ca in cas}
        return frozenset(name for name, ca in self.cas.items() if any(above.name in named for above in ca.chain))

    def signers(self) -> Iterator[Authority]:
        """Yield the CAs whose program or ACME server signs."""
        yield from (ca for ca in (*self.cas.values(), self.public) if ca and ca.table.sign)

    def identities(self) -> Iterator[Identity]:
        """Yield the identities of every server."""
        for server in self.servers.values():
            yield from server.identities

    def policies_of(self, server: Server) -> tuple[Policy, ...]:
        """Return the policies of a server, in the order of names."""
        return tuple(policy for policy in self.policies.values() if server in policy.servers)
