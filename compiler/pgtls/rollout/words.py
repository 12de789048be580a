"""Describe rollouts in words: why a connection would fail, how to avoid it, and the waves of a plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic
from pgtls.language.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Entity
    from pgtls.rollout.facts import Keys
    from pgtls.rollout.order import Conflict, Order, Reason, Sides
    from pgtls.rollout.works import Cause, Serving
    from pgtls.state.lock import IssuedLine, Lock, RevokedLine


@dataclass(frozen=True, slots=True)
class Deployment:
    """One wave of a rollout in words: the entities that are deployed together, and why they precede the next wave."""

    entities: tuple[Entity, ...]
    deploy: str
    why: tuple[str, ...]


_NAMED = 3
"""The maximum number of entities that a sentence names."""

_WHY = {
    "port": "dial port {detail}, on which it does not listen",
    "name": 'dial "{detail}", which its certificate does not name',
    "root": "do not trust {ca}, under which its certificate is",
    "revoked": "have a CRL that revokes its certificate",
    "ended": "meet a certificate that has ended",
    "client ended": "show a certificate that has ended",
    "no crl": "have no CRL of the CA that signed its certificate",
    "client root": "show a certificate under {ca}, which it does not trust",
    "client revoked": "show a certificate that its CRL revokes",
    "no client crl": "show a certificate of a CA whose CRL it does not have",
    "line": "are admitted by no line of its pg_hba.conf",
    "certificate": "show no certificate, which it asks for",
    "identity": "show a certificate that it does not accept for their role",
    "method": "are asked for {detail}, which they do not do",
    "unknown": "meet a regular expression that cannot be decided here",
}
"""The faults of bundles that a server rejects, or the other way round: "they" are bundles, "it" is the server."""


class Namer:
    """Name the CAs of a fleet by the identifiers of their keys."""

    def __init__(self, fleet: Fleet, keys: Keys) -> None:
        self._fleet = fleet
        self._names = {keys.own(ca.entity): ca.name for ca in fleet.cas.values()}

    def name(self, key: str) -> str | None:
        """Return the NAME of the CA with a key. Return None if the spec has no such CA."""
        return self._names.get(key)

    def table(self, conflict: Conflict) -> tuple[str, tuple[str | int, ...]]:
        """Return the header of the spec's table that a conflict concerns, and its path."""
        kind, name = conflict.server.table
        place = self._fleet.servers[name].identity_for(conflict.host).place
        return (f"[[server.{name}.sni]]" if place else f"[{kind}.{name}]"), (kind, name, *place)

    def why(self, cause: Cause) -> str:
        """Return the rest of a sentence about bundles and a server."""
        known = self.name(cause.detail)
        return _WHY[cause.kind].format(detail=cause.detail, ca=f'ca "{known}"' if known else "another CA")


def problems(conflicts: Sequence[Conflict], namer: Namer, *, accepted: bool) -> Iterator[Diagnostic]:
    """Report the conflicts that no order of deployment avoids: errors, or warnings if an outage is ``accepted``."""
    for conflict in conflicts:
        found = _unconfirmed(conflict, namer) if conflict.unconfirmed else _outage(conflict, namer)
        yield replace(found, severity="warning", hint="deploy both sides at the same time") if accepted else found


def _outage(conflict: Conflict, namer: Namer) -> Diagnostic:
    server, clients = _server(conflict.server), _clients(conflict.bundles)
    other = _server(conflict.other) if conflict.other else "server"
    message = (
        f"{server} and {clients} cannot connect until both are deployed: with the new server the old bundles "
        f"{namer.why(conflict.old)}; with the old {other} the new bundles {namer.why(conflict.new)}"
    )
    hint = f"{_way(conflict, namer)}; or proceed with --accept-outage"
    return Diagnostic("PGT581", message, namer.table(conflict)[1], hint, "table")


def _unconfirmed(conflict: Conflict, namer: Namer) -> Diagnostic:
    server, clients = _server(conflict.server), _clients(conflict.bundles)
    entities = " ".join(conflict.unconfirmed[:_NAMED]) + (" …" if len(conflict.unconfirmed) > _NAMED else "")
    whose = server if conflict.unconfirmed == (conflict.server,) else f"the bundles of {clients}"
    message = (
        f"nothing says that the last build of {whose} is deployed; if it is not, this build cuts {clients} off from "
        f"{server}: with the new server older bundles {namer.why(conflict.old)}; with an older server the new "
        f"bundles {namer.why(conflict.new)}"
    )
    hint = (
        f"deploy the last build of {whose}, then say so: pgtls verify, or pgtls confirm {entities} --reason TEXT; "
        "or proceed with --accept-outage"
    )
    return Diagnostic("PGT583", message, namer.table(conflict)[1], hint, "table")


def _server(entity: Entity) -> str:
    return " ".join(entity.table)


def _clients(bundles: Sequence[Entity]) -> str:
    names = listed(sorted(entity.name for entity in bundles), _NAMED)
    return f"{'clients' if len(bundles) > 1 else 'client'} {names}"


def _way(conflict: Conflict, namer: Namer) -> str:
    """Return how to avoid the outage: what to keep in this build, and until when."""
    table, until = namer.table(conflict)[0], f"until the bundles of {_clients(conflict.bundles)} are deployed"
    old, new = conflict.old, conflict.new
    if conflict.other:
        return _TWO_BUILDS
    if "name" in (old.kind, new.kind):
        kept = old.detail if old.kind == "name" else "the old name"
        quoted = f'"{kept}"' if old.kind == "name" else kept
        return f"keep {quoted} in hosts of {table} {until}"
    if new.kind == "root":
        return f"keep {_ca(new, namer)} in trust of {table} {until}"
    if old.kind == "root":
        return f"first build with {_ca(old, namer)} in trust of {table} and the old ca"
    if old.kind == "client root":
        return f"keep {_ca(old, namer)} in client_ca of {table} {until}"
    if new.kind == "client root":
        return f"first build with {_ca(new, namer)} in client_ca of {table}, and change no user"
    if "port" in (old.kind, new.kind):
        return "a server listens on one port: deploy both sides at once"
    if old.kind in ("certificate", "method") or new.kind in ("certificate", "method"):
        return "keep auth in this build, and change it in the next, once the new bundles are deployed"
    return _TWO_BUILDS


_TWO_BUILDS = "make the change in two builds, so that each side accepts the other in between"


def _ca(cause: Cause, namer: Namer) -> str:
    known = namer.name(cause.detail)
    return f'"{known}"' if known else "the CA that is there"


def waves(order: Order, namer: Namer) -> Iterator[Deployment]:
    """Yield a description of each wave."""
    for wave in order.waves:
        yield Deployment(wave.entities, _deploy(wave.entities), tuple(_reasons(wave.why, namer)))


def accepted_until(
    revoked: Iterable[RevokedLine],
    lock: Lock,
    servers: Mapping[Entity, Sides],
    seen: Mapping[str, frozenset[str] | None],
) -> Iterator[str]:
    """Describe which servers still accept a certificate that a build revokes, and until when.

    ``seen`` are the serial numbers on the CRLs after the build, by NAME of their CA.
    """
    groups: dict[tuple[str, str, bool], list[tuple[str, datetime]]] = {}
    for line in revoked:
        known, on_list = lock.by_serial.get((line.ca, line.serial)), seen.get(line.ca)
        if known and line.entity.kind == "user":
            where = (*_accepting(known, servers), on_list is None or line.serial in on_list)
            groups.setdefault(where, []).append((line.entity.name, known.certificate.not_after))
    for (later, never, is_listed), found in groups.items():
        whose = f"the revoked certificate{'s' * (len(found) > 1)} of {listed(sorted({n for n, _ in found}), _NAMED)}"
        end = f"{max(end for _, end in found):%Y-%m-%d}"
        if later:
            when = "deployed" if is_listed else "the CRL of its CA lists it"
            yield f"{later} accept{'s' * (' and ' not in later)} {whose} until {when}, at most until {end}"
        if never:
            yield f"{never}, without CRLs, accept{'s' * (' and ' not in never)} {whose} until {end}"


def _accepting(line: IssuedLine, servers: Mapping[Entity, Sides]) -> tuple[str, str]:
    """Return the servers that trust the CA of a certificate: those that check CRLs, and those that do not."""
    root = line.certificate.authority_key_id
    trusting = [
        (entity, bool(sides.new.facts["crl"]))
        for entity, sides in servers.items()
        if any(root in _trusted(one) for one in (*sides.old, sides.new))
    ]
    named = [[_named(entity) for entity, checks in trusting if checks is kind] for kind in (True, False)]
    later, never = (f"server{'s' * (len(some) > 1)} {listed(some, _NAMED)}" if some else "" for some in named)
    return later, never


def _named(entity: Entity) -> str:
    """Return the name of a server, or of a pooler as one, for a sentence about servers."""
    return entity.name if entity.kind == "server" else f"{entity.name} (a pooler)"


def _trusted(server: Serving) -> set[str]:
    return {key for identity in server.facts["identities"] for key in identity["trust"]} | set(server.facts["crl"])


def _deploy(entities: Sequence[Entity]) -> str:
    servers = [entity.name for entity in entities if entity.kind == "server"]
    poolers = [entity.name for entity in entities if entity.kind == "pooler"]
    users = [entity.name for entity in entities if entity.kind == "user"]
    parts = [f"server{'s' * (len(servers) > 1)} {listed(servers, _NAMED)} (reload)"] if servers else []
    parts += [f"pooler{'s' * (len(poolers) > 1)} {listed(poolers, _NAMED)} (reload)"] if poolers else []
    parts += [f"the bundle{'s' * (len(users) > 1)} of {listed(users, _NAMED)}"] if users else []
    return f"deploy {' and '.join(parts)}"


def _reasons(reasons: Sequence[Reason], namer: Namer) -> Iterator[str]:
    """Yield one sentence for each group of similar reasons."""
    alike: dict[tuple[Entity, str, bool], list[str]] = {}
    for reason in reasons:
        server, bundle = (reason.then, reason.first) if reason.old else (reason.first, reason.then)
        alike.setdefault((server, namer.why(reason.cause), reason.old), []).append(bundle.name)
    for (server, why, old), names in alike.items():
        whose = f"bundles of {listed(sorted(names), _NAMED)}"
        if old:
            yield f"before {_server(server)}: with its new files, the old {whose} {why}"
        else:
            yield f"before the {whose}: with the old files of {_server(server)}, the new bundles {why}"
