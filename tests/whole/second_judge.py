"""A second judge of compiled access: random specs and what they mean.

It evaluates them from the design's "What policies mean" alone.

It imports nothing of pgtls, speaks the protocol itself, and reads attributes from the certificates. It uses
certificates of the spec's users and of outsiders: no policy mentions an outsider's common name, but
the outsiders' other attributes are full of what policies mention.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from cryptography import x509

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

DATABASES = ("shop", "books")
ANY_OTHER = "elsewhere"
NETWORKS = ("127.0.0.0/8", "127.0.0.0/16", "127.0.0.2/31", "127.5.0.0/16", "all")
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.5.6.7", "127.77.0.1")
ROLES = ("alice", "bob", "carol", "deploy", "ops", "reader")
PATIENCE = 60.0

Part = Literal["cn", "dn"]
Transport = Literal["plain", "tls"]


class Entry(NamedTuple):
    """An entry of a policy's map."""

    identity: str
    role: str
    of: Part


ENTRIES = (
    Entry("/ops$", "deploy", "cn"),
    Entry("/^(.*)[.]example$", "\\1", "cn"),
    Entry("robot.example", "deploy", "cn"),
    Entry("/,OU=ops(,|$)", "deploy", "dn"),
    Entry("/^CN=([a-z]+),OU=staff", "\\1", "dn"),
    Entry("CN=robot,OU=ops,O=Example", "deploy", "dn"),
    Entry("CN=robot,OU=b,OU=a,DC=example,DC=org", "reader", "dn"),
)
OUTSIDERS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("CN", "mallory"),),
    (("O", "Example"), ("OU", "ops"), ("CN", "mallory")),
    (("OU", "staff"), ("CN", "ops")),
    (("CN", "robot"), ("OU", "ops")),
    (("O", "Example"), ("OU", "ops"), ("CN", "robot")),
    (("DC", "org"), ("DC", "example"), ("OU", "a"), ("OU", "b"), ("CN", "robot")),
    (("DC", "org"), ("DC", "example"), ("OU", "b"), ("OU", "a"), ("CN", "robot")),
    (("OU", "alice.example"), ("CN", "zoe.example")),
    (("OU", "staff"), ("CN", "reader.example")),
    (("O", "alice"), ("CN", "devops")),
    (("OU", "CN=alice,OU=staff"), ("CN", "x, OU=ops")),
    (("CN", "first"), ("CN", "robot.example")),
)
"""Subjects, in the order of their encoding."""


@dataclass(frozen=True, slots=True)
class User:
    """A user of the spec; ``ca`` None: no certificate."""

    name: str
    ca: str | None
    roles: tuple[str, ...]
    common_name: str
    unit: str | None
    identity: Part


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy of the spec."""

    name: str
    users: tuple[str, ...]
    databases: tuple[str, ...]
    sources: tuple[str, ...]
    auth: str
    client_cert: str
    priority: int
    entries: tuple[Entry, ...]

    @property
    def demand(self) -> tuple[str, str]:
        """What it asks for besides TLS, which all but a refusal ask for."""
        return self.auth, "verify-full" if self.auth == "cert" else self.client_cert


class Place(NamedTuple):
    """What a policy covers."""

    role: str
    database: str
    address: str


@dataclass(frozen=True, slots=True)
class Holder:
    """A client with a certificate: its encoded attributes, the CA that signed it, and its user in the spec, if any."""

    bundle: Path
    attributes: tuple[tuple[str, str], ...]
    ca: str
    user: str | None

    def shows(self, part: Part) -> str:
        """Return the first common name, or the whole subject as RFC 2253 writes it: the last attribute first."""
        if part == "cn":
            return next(value for kind, value in self.attributes if kind == "CN")
        return ",".join(f"{kind}={_escaped(value)}" for kind, value in reversed(self.attributes))


def _escaped(value: str) -> str:
    return re.sub(r'([,+"\\<>;])', r"\\\1", value)


def attributes(certificate: x509.Certificate) -> tuple[tuple[str, str], ...]:
    """Read the subject of a certificate, in the order of its encoding."""
    kinds = {x509.NameOID.COMMON_NAME: "CN", x509.NameOID.ORGANIZATIONAL_UNIT_NAME: "OU"}
    kinds |= {x509.NameOID.ORGANIZATION_NAME: "O", x509.NameOID.DOMAIN_COMPONENT: "DC"}
    return tuple((kinds[part.oid], str(part.value)) for part in certificate.subject)


@dataclass(frozen=True, slots=True)
class World:
    """A spec with one server, which trusts the CAs ``people`` and, if present, ``company``, whose key is elsewhere."""

    users: tuple[User, ...]
    policies: tuple[Policy, ...]
    has_company: bool

    @property
    def trusted(self) -> tuple[str, ...]:
        """The client CAs."""
        return ("people", "company") if self.has_company else ("people",)

    def places(self) -> Iterator[Place]:
        """Yield every place that policies tell apart."""
        return (Place(*parts) for parts in product(ROLES, (*DATABASES, ANY_OTHER), ADDRESSES))

    def meant(self, policy: Policy) -> list[User]:
        """Return the users that a policy speaks of."""
        return [user for user in self.users if "all" in policy.users or user.name in policy.users]

    def covers(self, policy: Policy, place: Place) -> bool:
        """Return whether a policy covers a place."""
        roles = {role for user in self.meant(policy) for role in user.roles}
        inside = (source == "all" or ip_address(place.address) in ip_network(source) for source in policy.sources)
        return (
            ("all" in policy.users or place.role in roles)
            and ("all" in policy.databases or place.database in policy.databases)
            and any(inside)
        )

    def compares(self, policy: Policy) -> Part | None:
        """Return the part of a certificate that a policy must see, None where either will do."""
        if policy.demand[1] != "verify-full":
            return None
        parts = {entry.of for entry in policy.entries}
        parts |= {"dn" for user in self.meant(policy) if user.ca in self.trusted and user.identity == "dn"}
        assert len(parts) < 2, f"the compiler let a mixture pass: {policy}"
        return next(iter(parts), None)

    def compete(self, one: Policy, other: Policy) -> bool:
        """Return whether two policies ask for different things."""
        parts = {self.compares(one), self.compares(other)}
        return one.demand != other.demand or parts == {"cn", "dn"}

    def overrides(self, one: Policy, other: Policy) -> bool:
        """Return whether a policy decides what both cover: by priority, else as the more specific one."""
        if one.priority != other.priority:
            return one.priority > other.priority
        mine = {place for place in self.places() if self.covers(one, place)}
        return mine < {place for place in self.places() if self.covers(other, place)}

    def deciding(self, place: Place) -> list[Policy]:
        """Return the policies that decide for a place."""
        covering = [policy for policy in self.policies if self.covers(policy, place)]
        found = [
            policy
            for policy in covering
            if not any(self.compete(other, policy) and self.overrides(other, policy) for other in covering)
        ]
        pairs = [(one, two) for one in found for two in found if self.compete(one, two)]
        assert not pairs, f"the compiler let a conflict pass: {place} {pairs}"
        return found

    def admits(self, place: Place, transport: Transport, holder: Holder | None) -> bool | Literal["password"]:
        """Return the result of a connection: admitted, refused, or asked for a password."""
        deciding = self.deciding(place)
        if not deciding or transport == "plain":
            return False
        method, certificate = deciding[0].demand
        if method == "reject" or (certificate != "none" and (holder is None or holder.ca not in self.trusted)):
            return False
        if certificate == "verify-full" and (
            holder is None or not any(self._accepts(policy, place.role, holder) for policy in deciding)
        ):
            return False
        return "password" if method == "scram-sha-256" else True

    def admits_users(self) -> bool:
        """Return whether a user gets in somewhere by certificate."""
        holders = [
            Holder(Path(), (("CN", user.common_name),), user.ca, user.name)
            for user in self.users
            if user.ca is not None
        ]
        return any(self.admits(place, "tls", holder) is True for place in self.places() for holder in holders)

    def _accepts(self, policy: Policy, role: str, holder: Holder) -> bool:
        if any(user.name == holder.user and role in user.roles for user in self.meant(policy)):
            return True
        return any(_gives(entry, holder.shows(entry.of), role) for entry in policy.entries)

    def toml(self, postgres: int) -> str:
        """Write it as a spec."""
        return "\n".join(["version = 1", *self._tables(postgres), ""])

    def _tables(self, postgres: int) -> Iterator[str]:
        yield "[ca.servers]\n[ca.people]"
        yield '[ca.company]\ncert_file = "company.crt"' if self.has_company else ""
        yield f'[server.db]\nca = "servers"\nclient_ca = {_array(self.trusted)}\nhosts = ["localhost"]'
        yield f"postgres = {postgres}\nno_local = true\ncrl = false"
        for user in self.users:
            yield f'[user.{user.name}]\nroles = {_array(user.roles)}\ncommon_name = "{user.common_name}"'
            yield f'ca = "{user.ca}"\nidentity = "{user.identity}"' if user.ca else ""
            yield f'subject = {{ organizational_unit = "{user.unit}" }}' if user.unit and user.ca else ""
        for policy in self.policies:
            yield f"[policy.{policy.name}]\nusers = {_array(policy.users)}\ndatabases = {_array(policy.databases)}"
            yield f'from = {_array(policy.sources)}\nauth = "{policy.auth}"\npriority = {policy.priority}'
            yield f'client_cert = "{policy.client_cert}"' if policy.client_cert != "none" else ""
            entries = (f"{{ identity = '{e.identity}', role = '{e.role}', of = '{e.of}' }}" for e in policy.entries)
            yield f"map = [{', '.join(entries)}]" if policy.entries else ""
            yield 'waiver = "a random spec"'


def _gives(entry: Entry, shown: str, role: str) -> bool:
    if not entry.identity.startswith("/"):
        return entry.identity == shown and entry.role == role
    match = re.search(entry.identity[1:], shown)
    return match is not None and role == (match[1] if entry.role == "\\1" else entry.role)


def _array(values: tuple[str, ...]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def random_world(random: Random, *, subjects: bool) -> World:
    """Draw a world. ``subjects``: the server can compare whole subjects."""
    users = (
        User("alice", "people", ("alice",), "alice", "staff", "cn"),
        User("bob", "people", ("bob", "reader"), "bob", None, _part(random, subjects)),
        User("carol", "people", random.choice([("deploy",), ("carol", "deploy")]), "Carol C.", "ops", "cn"),
        User("dora", "people", ("reader", "ops"), "dora", "devops", _part(random, subjects)),
        User("erin", None, ("alice", "reader"), "erin", None, "cn"),
    )
    policies = tuple(_policy(random, f"p{number}", subjects) for number in range(random.randint(3, 7)))
    return World(users, policies, random.random() < 0.5)


def _part(random: Random, subjects: bool) -> Part:
    return "dn" if subjects and random.random() < 0.3 else "cn"


def _policy(random: Random, name: str, subjects: bool) -> Policy:
    auth = random.choice(["cert"] * 6 + ["scram-sha-256", "trust", "reject"])
    certified = ("alice", "bob", "carol", "dora")
    users = random.choice([("all",), *[tuple(random.sample(certified, random.randint(1, 3)))] * 4])
    client_cert = random.choice(["none", "verify-ca"]) if auth in ("scram-sha-256", "trust") else "none"
    entries: tuple[Entry, ...] = ()
    if auth == "cert" and random.random() < 0.5:
        part = random.choice(["cn", "dn"] if subjects else ["cn"])
        entries = tuple(random.sample([entry for entry in ENTRIES if entry.of == part], random.randint(1, 2)))
    return Policy(
        name,
        users,
        random.choice([("all",), ("shop",), ("books",), ("shop", "books")]),
        tuple(dict.fromkeys(random.choices(NETWORKS, k=random.choice([1, 1, 2])))),
        auth,
        client_cert,
        random.choice([0, 0, 1, 2, 3]),
        entries,
    )


# --- the wire ---------------------------------------------------------------------------------------------------------


def enter(port: int, place: Place, transport: Transport, holder: Holder | None) -> bool | Literal["password"]:
    """Connect as the protocol says (PostgreSQL's manual, "Message Flow"), and return what the server makes of it."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE, (place.address, 0)) as channel:
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else a handshake waits 40 ms for an answer
        if transport == "plain":
            return _started(channel, place)
        channel.sendall(struct.pack("!ii", 8, 80877103))
        assert channel.recv(1) == b"S"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if holder:
            context.load_cert_chain(holder.bundle / "postgresql.crt", holder.bundle / "postgresql.key")
        try:
            with context.wrap_socket(channel) as secure:
                return _started(secure, place)
        except (ssl.SSLError, ConnectionError):  # a certificate that the server does not trust
            return False


def _started(channel: socket.socket, place: Place) -> bool | Literal["password"]:
    fields = b"".join(part.encode() + b"\0" for part in ("user", place.role, "database", place.database))
    channel.sendall(struct.pack("!ii", 9 + len(fields), 196608) + fields + b"\0")
    head = _exactly(channel, 5)
    body = _exactly(channel, struct.unpack("!i", head[1:])[0] - 4)
    if head[:1] != b"R":
        assert head[:1] == b"E", (head, body)
        return False
    kind = struct.unpack("!i", body[:4])[0]
    assert kind in (0, 10), body
    return True if kind == 0 else "password"


def _exactly(channel: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = channel.recv(size - len(found))
        if not more:
            raise ConnectionError
        found += more
    return found
