"""Choose the connections to a server and make them: few in all, four at a time, none with a password."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import islice
from secrets import randbits
from typing import TYPE_CHECKING

from pgtls.hba.model import Name
from pgtls.live.handshake import STRANGE_PROTOCOL, TIMEOUT, Address, Identity, Probe, Seen, Startup, look
from pgtls.live.hello import GROUPS
from pgtls.pki import keys
from pgtls.pki.issue import Issuer, issue
from pgtls.pki.model import SERIAL_BITS, Entity, Profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pgtls.hba.model import Line
    from pgtls.live.compiled import Bundle, Compiled
    from pgtls.live.handshake import TlsVersion
    from pgtls.state.lock import Lock

MOST = 39
"""The maximum number of connections to one server, in addition to one for SQL."""
AT_ONCE = 4
_POLLS = 8
"""The maximum number of connections while waiting for a reload."""
_PAIRS = 5
"""The maximum number of role and database pairs to try, each in cleartext and over TLS."""
_EARLIER = 4
"""The maximum number of earlier builds to tell from the last one by a pair of their rules."""
_BUNDLES = 4
"""The maximum number of client certificates of each kind to try, one of each CA."""
_GROUPS = 4
NOBODY = "pgtls-verify"
"""A role and a database that do not exist: the rejection shows which address the server sees."""

Key = tuple[str, ...]
"""The purpose of a probe: ``("version", "1.1")``, ``("group", "X25519")``, ``("other groups",)``, ``("direct",)``,
``("protocol",)``, ``("host", NAME)``, ``("plain" | "tls", ROLE, DATABASE)``,
``("client" | "stranger" | "server" | "expired" | "revoked", WHOSE, CA)``."""


@dataclass(frozen=True, slots=True)
class Survey:
    """All observations of a server, and why others are missing."""

    address: Address
    first: Seen
    web: Seen | None = None
    """The answer to an HTTP request, if no PostgreSQL answers."""
    seen: Mapping[Key, Seen] = field(default_factory=dict)
    untried: Mapping[Key, str] = field(default_factory=dict)
    connections: int = 0

    def of(self, kind: str) -> dict[Key, Seen]:
        """Return the observations of one kind."""
        return {key: seen for key, seen in self.seen.items() if key[0] == kind}

    def why_untried(self, key: Key) -> str:
        """Return the reason for a missing observation."""
        return self.untried.get(key, "no connection was made for it")


class Looks:
    """Connections to one server: at most MOST in total, and AT_ONCE at a time."""

    def __init__(self, address: Address) -> None:
        self.address, self.made = address, 0
        self._timeout = TIMEOUT

    def one(self, probe: Probe) -> Seen:
        """Connect once."""
        self.made += 1
        return look(self.address, probe, self._timeout)

    def many(self, probes: Mapping[Key, Probe]) -> tuple[dict[Key, Seen], dict[Key, str]]:
        """Connect as often as the limit allows, and report the skipped connections."""
        allowed = dict(list(probes.items())[: MOST - self.made])
        left = {key: f"{MOST} connections are enough" for key in probes if key not in allowed}
        self.made += len(allowed)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda probe: look(self.address, probe, self._timeout), allowed.values())
            return dict(zip(allowed, found, strict=True)), left


def survey(
    compiled: Compiled,
    lock: Lock,
    address: Address,
    now: datetime,
    is_ours: Callable[[Compiled, Seen], bool],
    is_current: Callable[[Seen], bool],
    wait: float = 0,
) -> Survey:
    """Examine a server. Send names and certificates of the spec only to one that is ours, by its certificate.

    ``wait`` is the time in seconds for the server to become current: it may be reloading.
    """
    looks = Looks(address)
    name = server_name(compiled)
    first = _first(looks, Probe(server_name=name), is_current, wait)
    if first.peer:  # stay with this machine, even if its name resolves to others later
        looks.address = Address(first.peer, address.port)
    if first.session is None:
        return _without_session(looks, address, first)
    probes = _of_protocol(compiled, name)
    untried = _impossible_groups(compiled)
    if is_ours(compiled, first):
        shown, hidden = _certificates(compiled, lock, now)
        probes |= _pairs(compiled, name)
        probes |= _showing(compiled, shown)
        untried |= hidden
        probes |= {("host", host): Probe(server_name=host) for one in compiled.others for host in one.shown.table.hosts}
    seen, left = looks.many(probes)
    more = [one for one in compiled.others if is_ours(one, seen.get(("host", one.shown.table.hosts[0]), Seen()))]
    for other in more:
        shown, _ = _certificates(other, lock, now)
        clients = {key: one for key, one in shown.items() if key[0] == "client" and key not in {**seen, **left}}
        found, missed = looks.many(_showing(other, clients))
        seen, left = {**seen, **found}, {**left, **missed}
    return Survey(address, first, None, seen, {**untried, **left}, looks.made)


def server_name(compiled: Compiled) -> str | None:
    """Return the name that a client requests: its first host, unless that is an address (libpq, sslsni)."""
    host = compiled.shown.table.hosts[0]
    try:
        ip_address(host)
    except ValueError:
        return host
    return None


def _first(looks: Looks, probe: Probe, is_current: Callable[[Seen], bool], wait: float) -> Seen:
    """Connect until the server is current. Double the pause after each attempt."""
    begin, seen = time.monotonic(), looks.one(probe)
    for poll in range(_POLLS if wait else 0):
        if is_current(seen):
            break
        time.sleep(max(0, begin + wait / 2 ** (_POLLS - 1 - poll) - time.monotonic()))
        seen = looks.one(probe)
    return seen


def _without_session(looks: Looks, address: Address, first: Seen) -> Survey:
    web = looks.one(Probe("web")) if first.fault in ("silent", "closed", "foreign") else None
    asked: dict[Key, Probe] = {("protocol",): Probe("plain", startup=_STRANGE)} if first.fault == "cleartext" else {}
    seen, _ = looks.many(asked)
    return Survey(address, first, web, seen, {}, looks.made)


_STRANGE = Startup(NOBODY, NOBODY, STRANGE_PROTOCOL)


def _of_protocol(compiled: Compiled, name: str | None) -> dict[Key, Probe]:
    ranges: dict[str, tuple[TlsVersion, TlsVersion]] = {
        "1.1": ("1.0", "1.1"),
        "1.2": ("1.2", "1.2"),
        "1.3": ("1.3", "1.3"),
    }
    probes: dict[Key, Probe] = {
        ("version", version): Probe(server_name=name, lowest=lowest, highest=highest)
        for version, (lowest, highest) in ranges.items()
    }
    probes["protocol",] = Probe(server_name=name, startup=_STRANGE)
    if compiled.server.table.postgres >= DIRECT_SINCE:
        probes["direct",] = Probe("direct", server_name=name)
    if listed := groups(compiled.settings):
        mine = [group for group in listed if group in GROUPS][:_GROUPS]
        probes |= {("group", group): Probe(groups=(group,)) for group in mine}
        probes["other groups",] = Probe(groups=tuple(group for group in GROUPS if group not in listed))
    return probes


DIRECT_SINCE = 17
"""The first version that accepts TLS without a request for it."""
_ALIASES = {name.lower(): name for name in GROUPS} | {
    "p-256": "prime256v1",
    "secp256r1": "prime256v1",
    "p-384": "secp384r1",
    "p-521": "secp521r1",
}


def groups(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Return the groups of a server for TLS 1.3.

    Return none if its list contains more than names, or it has no TLS 1.3.
    """
    text = settings.get("ssl_groups") or settings.get("ssl_ecdh_curve") or ""
    names = text.split(":")
    if settings.get("ssl_max_protocol_version", "") not in ("", "TLSv1.3"):
        return ()
    if not all(name.replace("-", "").isalnum() and name.upper() != "DEFAULT" and name[:1] != "-" for name in names):
        return ()
    return tuple(_ALIASES.get(name.lower(), name) for name in names)


def _impossible_groups(compiled: Compiled) -> dict[Key, str]:
    listed = groups(compiled.settings)
    if not listed:
        return {("group", "all"): "pgtls does not read this list of groups, or the server has no TLS 1.3"}
    return {("group", group): "pgtls cannot offer this group" for group in listed if group not in GROUPS}


def _pairs(compiled: Compiled, name: str | None) -> dict[Key, Probe]:
    probes: dict[Key, Probe] = {}
    for role, database in [(NOBODY, NOBODY), *_named(compiled)][: _PAIRS + 1]:
        startup = Startup(role, database)
        probes["plain", role, database] = Probe("plain", startup=startup)
        probes["tls", role, database] = Probe(server_name=name, startup=startup)
    for earlier in compiled.earlier[-_EARLIER:]:
        for role, database in islice(_different(compiled.lines, earlier.lines), 1):
            probes["tls", role, database] = Probe(server_name=name, startup=Startup(role, database))
    return probes


def _different(lines: Sequence[Line], others: Sequence[Line]) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a role and a database that lines of only one of two files name."""
    now, before = (dict.fromkeys(pair for line in each for pair in _pairs_of(line)) for each in (lines, others))
    yield from (pair for pair in (*before, *now) if (pair in before) != (pair in now))


def _pairs_of(line: Line) -> Iterator[tuple[str, str]]:
    roles, databases = ([one.text for one in terms if isinstance(one, Name)] for terms in (line.roles, line.databases))
    if line.type != "local":
        yield from ((role, name) for role in roles for name in databases or ["postgres"] if "\0" not in role + name)


def _named(compiled: Compiled) -> Iterator[tuple[str, str]]:
    """Yield a role and a database of each line over TCP. Alternate between the methods of the lines."""
    known: set[tuple[str, str]] = set()
    lines = [line for line in compiled.lines if line.type != "local" and line.method != "reject"]
    methods: dict[str, int] = {}
    ranked = []
    for line in lines:
        methods[line.method] = methods.get(line.method, 0) + 1
        ranked.append((methods[line.method], line))
    for _, line in sorted(ranked, key=lambda pair: pair[0]):
        role = next((term.text for term in line.roles if isinstance(term, Name)), NOBODY)
        database = next((term.text for term in line.databases if isinstance(term, Name)), "postgres")
        if (role, database) not in known and "\0" not in role + database:
            known.add((role, database))
            yield role, database


def _showing(compiled: Compiled, shown: Mapping[Key, Identity]) -> dict[Key, Probe]:
    """Present certificates.

    Events after the handshake count, too: a TLS 1.3 server judges the certificate only then. In TLS 1.2 the reason of a
    rejection arrives before the handshake ends.
    """
    name, startup = server_name(compiled), Startup(NOBODY, NOBODY)
    highest: TlsVersion = "1.3" if compiled.settings.get("ssl_min_protocol_version") == "TLSv1.3" else "1.2"
    return {
        key: Probe(server_name=name, highest=highest, identity=identity, startup=startup)
        for key, identity in shown.items()
    }


def _certificates(compiled: Compiled, lock: Lock, now: datetime) -> tuple[dict[Key, Identity], dict[Key, str]]:
    """Return the client certificates to present, by kind, and why others are missing."""
    if not compiled.trust:
        return {}, {}
    shown: dict[Key, Identity] = {("stranger", "an unknown CA", ""): stranger(NOBODY)}
    hidden: dict[Key, str] = {}
    own = compiled.own_identity()
    key = ("server", compiled.shown.entity, "")
    if isinstance(own, Identity):
        shown[key] = own
    else:
        hidden[key] = own
    for bundle in compiled.bundles:
        kind = _kind(bundle, lock, now)
        if kind is None or bundle.user.ca is None:
            continue
        key = (kind, bundle.user.entity, bundle.user.ca.name)
        if sum(one[0] == kind for one in shown) >= _BUNDLES or any((one[0], one[2]) == key[::2] for one in shown):
            continue
        identity = bundle.identity()
        if isinstance(identity, Identity):
            shown[key] = identity
            hidden = {one: why for one, why in hidden.items() if (one[0], one[2]) != key[::2]}
        else:
            hidden[key] = identity
    for kind in ("client", "expired", "revoked"):
        if not any(key[0] == kind for key in (*shown, *hidden)):
            hidden[kind, "", ""] = f"the out directory has no {_ADJECTIVES[kind]} client certificate with its key"
    return shown, hidden


_ADJECTIVES = {"client": "valid", "expired": "expired", "revoked": "revoked"}


def _kind(bundle: Bundle, lock: Lock, now: datetime) -> str | None:
    """Return how the server must judge a bundle's certificate. Return None if the server must not see it."""
    certificate = bundle.certificate
    if certificate is None or not any(entry.certificate for entry in bundle.entries):
        return None
    revoked = {(line.ca, line.serial) for line in lock.revoked}
    issued = next((line for line in lock.issued if line.certificate.sha256 == certificate.sha256), None)
    if issued and (issued.ca, issued.serial) in revoked:
        return "revoked"
    if certificate.not_after <= now:
        return "expired"
    return "client" if certificate.not_before <= now else None


def stranger(common_name: str) -> Identity:
    """Make a client certificate of an unknown CA."""
    now, key, own = datetime.now(UTC), keys.generate("ecdsa-p256"), keys.generate("ecdsa-p256")
    ca = _profile("ca", "pgtls verify, unknown to everybody")
    root = issue(ca, key.public_key(), key, randbits(SERIAL_BITS - 1) + 1, now)
    signer = Issuer(root.certificate, key)
    leaf = issue(_profile("user", common_name), own.public_key(), signer, randbits(SERIAL_BITS - 1) + 1, now)
    return Identity((leaf.certificate, root.certificate), own)


def _profile(kind: str, common_name: str) -> Profile:
    return Profile(
        entity=Entity(f"{kind}.stranger"),
        kind="ca" if kind == "ca" else "user",
        issuer=None if kind == "ca" else "stranger",
        subject=(("common_name", common_name),),
        dns_names=(),
        ip_addresses=(),
        key_algorithm="ecdsa-p256",
        validity=timedelta(days=1),
        renew_before=None,
    )
