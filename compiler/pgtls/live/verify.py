"""Compare the observations of a server with its compiled files. This is a pure function of both.

Each check is ``ok``, ``differs`` or ``not tried``, with the reason. A check that differs explains the effect and the
fix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from pgtls.access.explain import surroundings_of
from pgtls.hba.match import decide, outcome
from pgtls.hba.model import Connection, HostName, Keyword, Member
from pgtls.hba.regex import Undecidable
from pgtls.language.words import listed
from pgtls.live.chain import covers, refusal
from pgtls.live.check import INSTALL, Check, differs, ok, untried
from pgtls.live.survey import DIRECT_SINCE, groups
from pgtls.pki import facts
from pgtls.pki.model import Certificate, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.fleet.model import Fleet
    from pgtls.hba.model import Line
    from pgtls.live.compiled import Compiled
    from pgtls.live.handshake import Reply, Seen, Session
    from pgtls.live.survey import Key, Survey
    from pgtls.pki.model import Entity
    from pgtls.state.lock import IssuedLine, Lock


@dataclass(frozen=True, slots=True)
class Verified:
    """A server, and all checks of it."""

    server: Entity
    address: str
    checks: tuple[Check, ...]
    connections: int

    @property
    def as_compiled(self) -> bool:
        """Whether no check differs."""
        return all(check.outcome != "differs" for check in self.checks)

    @property
    def is_trusted(self) -> bool:
        """Whether clients verify the server."""
        return any(check.name == TRUST and check.outcome == "ok" for check in self.checks) and all(
            check.name != TRUST or check.outcome == "ok" for check in self.checks
        )


TRUST = "clients' trust"
"""The name of the checks that verify the chain as clients do."""


def served(seen: Seen) -> tuple[Certificate, ...]:
    """Return the certificates that a server sent, leaf first."""
    found = facts.read(b"".join(seen.session.chain)) if seen.session and seen.session.chain else ()
    return () if isinstance(found, Unreadable) else found


def is_known(compiled: Compiled, lock: Lock, seen: Seen) -> bool:
    """Return whether a server presents a certificate that was ever issued for it."""
    chain = served(seen)
    if not chain:
        return False
    if chain[0].sha256 == compiled.leaf.sha256:
        return True
    line = _by_digest(lock, chain[0])
    return line is not None and line.entity == compiled.shown.entity


def is_current(compiled: Compiled, seen: Seen) -> bool:
    """Return whether a server presents the compiled certificate and names the compiled CAs."""
    chain = served(seen)
    return bool(chain) and chain[0].sha256 == compiled.leaf.sha256 and _asked(seen) == _compiled_cas(compiled)


def judge(fleet: Fleet, compiled: Compiled, lock: Lock, survey: Survey, now: datetime) -> Verified:
    """Judge all observations."""
    return Verified(
        compiled.server.entity,
        str(survey.address),
        tuple(_checks(fleet, compiled, lock, survey, now)),
        survey.connections,
    )


def _checks(fleet: Fleet, compiled: Compiled, lock: Lock, survey: Survey, now: datetime) -> Iterator[Check]:
    session = survey.first.session
    if session is None:
        yield _absent(survey)
        yield untried("all other checks", "no TLS handshake was possible")
        return
    yield _program(survey)
    yield _certificate(compiled, lock, survey.first, now)
    yield _order(compiled, survey.first)
    yield from _trusted(compiled, session, now)
    yield _names(compiled, survey.first)
    yield _dates(survey.first, now)
    yield _direct(compiled, survey)
    yield from _versions(compiled, survey)
    yield from _groups(compiled, survey)
    yield _client_cas(compiled, survey)
    if not is_known(compiled, lock, survey.first):
        reason = "the server may be an impostor, so it gets no name and no certificate of the spec to see"
        yield from (untried(name, reason) for name in ("client certificates", "cleartext", "access"))
        return
    for other in compiled.others:
        yield from _of_identity(other, lock, survey, now)
    yield from _accepted(compiled, survey)
    yield from _refused(survey)
    yield from _access(fleet, compiled, survey)


def _of_identity(compiled: Compiled, lock: Lock, survey: Survey, now: datetime) -> Iterator[Check]:
    """Judge what the server presents to clients that request the host names of a further identity."""
    for host in compiled.shown.table.hosts:
        seen = survey.seen.get(("host", host))
        if seen is None or seen.session is None:
            reason = _told(seen) if seen else _reason(survey, ("host", host))
            yield untried(f"{host}: certificate", reason)
            continue
        checks = (
            _certificate(compiled, lock, seen, now),
            _order(compiled, seen),
            *_trusted(compiled, seen.session, now),
            _names(compiled, seen),
            _dates(seen, now),
            _client_cas(compiled, replace(survey, first=seen)),
        )
        yield from (replace(check, name=f"{host}: {check.name}") for check in checks)


# --- the service that answers ---

_WHY_NOBODY = "clients cannot connect either"


def _absent(survey: Survey) -> Check:
    """Report which service answers on the port instead of a PostgreSQL with TLS."""
    first, where = survey.first, survey.address
    if first.fault == "cleartext":
        return _without_tls(survey)
    if first.fault == "web" or (survey.web is not None and survey.web.fault == "web"):
        return _other("web", f"an HTTP server answers on {where}, not PostgreSQL")
    if first.fault in ("alert", "tls"):
        what = f"the TLS handshake with {where} fails: {first.detail}"
        todo = "look at the server's log, and compare its ssl settings with pgtls.conf"
        return differs("PGT475", "no handshake", "server", what, "no client can connect over TLS", todo)
    if first.fault in _OTHERS:
        return _other(first.fault, f"the server on {where} {_OTHERS[first.fault]}")
    if first.fault == "no name":
        what = f'the name "{where.host}" does not resolve: {first.detail}'
        todo = "correct hosts in the spec or the DNS, or name an address with --host"
        return differs("PGT470", "no name", "server", what, _WHY_NOBODY, todo)
    if first.fault == "refused":
        what = f"nothing listens on {where}: the connection is refused"
        todo = "start the server, or name its host and port with --host and --port"
        return differs("PGT470", "no server", "server", what, _WHY_NOBODY, todo)
    what = f"{where} cannot be reached: {first.detail}"
    todo = "look at routes and firewalls between this machine and the server, or name its address with --host"
    return differs("PGT470", "unreachable", "server", what, _WHY_NOBODY, todo)


_OTHERS = {
    "silent": "takes connections and does not answer",
    "closed": "closes connections before it answers",
    "foreign": "does not speak PostgreSQL's protocol",
}


def _without_tls(survey: Survey) -> Check:
    if _pooler(survey):
        return _other("pooler", f"a connection pooler answers on {survey.address}, not PostgreSQL, and without TLS")
    what = f"the server on {survey.address} has TLS switched off (ssl = off)"
    why = "everything that clients send, passwords too, is readable on the way, and bundles refuse to connect"
    todo = "include the compiled pgtls.conf last in postgresql.conf and reload; the log says why if TLS stays off"
    return differs("PGT472", "ssl = off", "server", what, why, todo)


def _other(fault: str, what: str) -> Check:
    todo = "name the server's own host and port with --host and --port; if these are right, find out what listens there"
    return differs("PGT471", fault, "server", what, "clients do not reach the server that was compiled", todo)


def _pooler(survey: Survey) -> bool:
    """Return whether a program other than PostgreSQL speaks its protocol: its errors name no function of the server."""
    seen = survey.seen.get(("protocol",))
    if seen is None:
        return False
    reply = seen.reply
    return not reply.routine if reply else seen.fault in ("closed", "silent", "foreign")


def _program(survey: Survey) -> Check:
    if _pooler(survey):
        return _other("pooler", f"a connection pooler or a proxy answers on {survey.address}, not PostgreSQL itself")
    return ok("server", f"PostgreSQL answers on {survey.address}")


# --- the certificate ---


def _by_digest(lock: Lock, certificate: Certificate) -> IssuedLine | None:
    return next((line for line in lock.issued if line.certificate.sha256 == certificate.sha256), None)


def _certificate(compiled: Compiled, lock: Lock, seen: Seen, now: datetime) -> Check:
    chain = served(seen)
    if not chain:
        return differs(
            "PGT473", "unreadable certificate", "certificate", "the server's certificate cannot be read",
            "clients cannot verify it", INSTALL,
        )  # fmt: skip
    leaf, wanted = chain[0], compiled.leaf
    if leaf.sha256 == wanted.sha256:
        return ok("certificate", f"the compiled one is served (serial {_short(leaf)}, until {leaf.not_after:%Y-%m-%d})")
    line = _by_digest(lock, leaf)
    if line is None:
        return _strange(leaf, wanted)
    if line.entity != compiled.shown.entity:
        what = f"it serves the certificate of {line.entity}, not its own"
        return differs(
            "PGT473", "certificate of another", "certificate", what, "clients that verify names refuse it", INSTALL
        )
    revoked = " and revoked" if (line.ca, line.serial) in lock.revocations else ""
    age = "a superseded" if leaf.not_before <= wanted.not_before else "a newer"
    what = (
        f"it serves {age}{revoked} certificate (serial {_short(leaf)}, issued {leaf.not_before:%Y-%m-%d}, "
        f"until {leaf.not_after:%Y-%m-%d}) instead of the compiled one (serial {_short(wanted)})"
    )
    why = (
        "the new files were never installed, or PostgreSQL did not take them at the last reload: it then keeps the "
        "old certificate, and SHOW and pg_settings show the new settings all the same"
    )
    todo = f'{INSTALL}; then look for "could not" and "not reloaded" in the server\'s log'
    return differs("PGT473", "old certificate", "certificate", what, why, todo)


def _short(certificate: Certificate) -> str:
    return f"{certificate.serial[:8]}…" if len(certificate.serial) > 9 else certificate.serial


def _strange(leaf: Certificate, wanted: Certificate) -> Check:
    """Describe a certificate that the lock does not list."""
    who = f'it serves a certificate that the lock does not know: "{leaf.subject}", issued by "{leaf.issuer}"'
    if leaf.authority_key_id is not None and leaf.authority_key_id == wanted.authority_key_id:
        what, fault = f"{who}, under the same CA key as the compiled one", "certificate outside of the lock"
        why = "somebody used the CA's key outside of this spec, or the lock lacks what another build wrote"
        todo = "pull the lock; if it still lacks the serial, find out who signed it, and revoke it"
    elif leaf.subject == wanted.subject:
        what, fault = f"{who}, with the name of the compiled one", "certificate of a stranger"
        why = "it was built in another out directory, or an impostor answers"
        todo = "do not send it any password; install the files of this out directory, if it is the right server"
    else:
        what, fault = who, "certificate of a stranger"
        why = "another server answers on this port, or an impostor; clients that verify it refuse to connect"
        todo = "do not send it any password; look at --host and --port, and at what listens there"
    return differs("PGT473", fault, "certificate", f"{what} (serial {_short(leaf)})", why, todo)


def _order(compiled: Compiled, seen: Seen) -> Check:
    """Compare the intermediate certificates with those of server.crt."""
    sent = seen.session.chain[1:] if seen.session else ()
    wanted = compiled.chain[1:]
    name = "chain"
    added = {certificate.sha256 for certificate in served(seen)[1 + len(wanted) :]}
    if sent[: len(wanted)] == wanted and added <= {certificate.sha256 for certificate in compiled.trust}:
        # A server whose server.crt contains only the leaf adds the CAs above it from its root.crt
        # (SSL_MODE_NO_AUTO_CHAIN).
        return ok(
            name, f"{len(wanted)} intermediate certificates follow the leaf" if wanted else "the leaf comes alone"
        )
    missing = [one for one in wanted if one not in sent]
    why = "clients that hold the root alone cannot build the chain; some programs find another way and others do not"
    if missing:
        lost = _subjects(missing)
        what = f"the server does not send the intermediate certificate of {lost}"
        return differs("PGT474", "missing intermediate", name, what, why, f"serve all of server.crt: {INSTALL}")
    if set(sent) == set(wanted):
        what = "the server sends its intermediate certificates in the wrong order"
        why = "TLS 1.2 demands the order from the leaf upwards, and strict clients refuse another one"
        return differs("PGT474", "wrong order", name, what, why, f"serve server.crt as it is: {INSTALL}")
    extra = _subjects([one for one in sent if one not in wanted] or sent)
    what = f"the server sends certificates that server.crt does not have: {extra}"
    return differs("PGT474", "other chain", name, what, "it does not serve the compiled server.crt", INSTALL)


def _subjects(pems: Sequence[bytes]) -> str:
    found = facts.read(b"".join(pems))
    return "?" if isinstance(found, Unreadable) else listed([f'"{one.subject}"' for one in found], 3)


def _trusted(compiled: Compiled, session: Session, now: datetime) -> Iterator[Check]:
    """Verify the chain as the clients do, each with its root.crt."""
    name = TRUST
    roots: Mapping[bytes, tuple[str, ...]] | Mapping[None, tuple[str, ...]]
    if compiled.shown.system and compiled.bundles:
        roots = {None: tuple(bundle.user.name for bundle in compiled.bundles)}
    else:
        roots = compiled.roots
    if not roots:
        yield untried(name, "no bundle of the out directory connects to this server")
    for trust, users in roots.items():
        whose = listed([f"user.{user}" for user in users], 3)
        reason = refusal(session.chain, trust, now)
        if reason is None:
            yield ok(name, f"the root.crt of {whose} verifies the chain")
            continue
        what = f"{whose} cannot verify the server: {reason}"
        why = "every connection of these clients with verify-ca or verify-full fails"
        fault = "expired" if "expired" in reason else "untrusted chain"
        yield differs("PGT474", fault, name, what, why, f"look at the checks above, then {INSTALL}")


def _names(compiled: Compiled, seen: Seen) -> Check:
    chain, hosts = served(seen), compiled.shown.table.hosts
    lost = [host for host in hosts if not chain or not covers(chain[0], host)]
    if not lost:
        return ok("names", f"the certificate is valid for {listed(hosts, 4)}")
    what = f"the certificate is not valid for {listed(lost, 4)}"
    why = "clients with sslmode = verify-full that dial these names refuse to connect"
    return differs("PGT474", "wrong name", "names", what, why, INSTALL)


def _dates(seen: Seen, now: datetime) -> Check:
    chain, at = served(seen), f"{now:%Y-%m-%d %H:%M} UTC"
    for certificate in chain:
        if certificate.not_after <= now:
            what = f'"{certificate.subject}" expired on {certificate.not_after:%Y-%m-%d %H:%M} UTC (now: {at})'
            why = "clients that verify the server refuse to connect"
            return differs("PGT474", "expired", "dates", what, why, f"run pgtls build, then {INSTALL}")
        if certificate.not_before > now:
            what = f'"{certificate.subject}" is valid from {certificate.not_before:%Y-%m-%d %H:%M} UTC, later than {at}'
            why = "the clock of this machine is behind, or that of the machine which issued the certificate was ahead"
            return differs("PGT474", "not yet valid", "dates", what, why, "set the clocks (NTP), then verify again")
    if not chain:
        return untried("dates", "the certificate cannot be read")
    end = min(certificate.not_after for certificate in chain)
    return ok("dates", f"valid for {(end - now).days} more days, until {end:%Y-%m-%d}")


# --- the protocol ---


def _direct(compiled: Compiled, survey: Survey) -> Check:
    name, seen = "direct TLS", survey.seen.get(("direct",))
    if compiled.server.table.postgres < DIRECT_SINCE:
        return untried(name, f"PostgreSQL {compiled.server.table.postgres} has none (since {DIRECT_SINCE})")
    if seen is None:
        return untried(name, _reason(survey, ("direct",)))
    why = "clients with sslnegotiation = direct, as bundles for libpq 17 have it, cannot connect"
    if seen.session is None or seen.session.alpn != "postgresql":
        what = f"the server does not take TLS directly ({_told(seen)})"
        todo = "look at postgres in the spec and at the server's version, and at proxies in between"
        return differs("PGT475", "no direct TLS", name, what, why, todo)
    first = survey.first.session
    if first and seen.session.chain != first.chain:
        what = "the server serves another certificate to clients that begin with TLS at once"
        return differs("PGT473", "two certificates", name, what, "something in between ends TLS", "look at proxies")
    return ok(name, "the same certificate without a request for TLS")


def _told(seen: Seen) -> str:
    words = {"closed": "it closes the connection", "silent": "it does not answer", "alert": f"alert: {seen.detail}"}
    return words.get(seen.fault or "", seen.detail or "it speaks another protocol")


def _reason(survey: Survey, key: Key) -> str:
    return survey.untried.get(key, "no connection was made for it")


_ORDER = ("1.0", "1.1", "1.2", "1.3")


def _versions(compiled: Compiled, survey: Survey) -> Iterator[Check]:
    """Compare the TLS versions that the server accepts with the compiled bounds."""
    lowest = _version_of(compiled.settings.get("ssl_min_protocol_version", "")) or "1.2"
    highest = _version_of(compiled.settings.get("ssl_max_protocol_version", "")) or "1.3"
    for (_, version), seen in ((key[:2], seen) for key, seen in survey.of("version").items()):
        name, shown = f"TLS {version}", seen.session.version if seen.session else ""
        wanted = _ORDER.index(lowest) <= _ORDER.index(version) <= _ORDER.index(highest)
        if seen.fault == "tls" or (seen.session is None and seen.fault != "alert"):
            yield untried(name, f"this machine cannot tell: {_told(seen)}")
        elif seen.session and not wanted:
            what = f"the server speaks TLS {shown or version}; the spec has {lowest} to {highest}"
            why = "an attacker on the way can make both ends use the weaker version"
            todo = f"include pgtls.conf last in postgresql.conf and reload: {INSTALL}"
            yield differs("PGT475", "TLS version allowed", name, what, why, todo)
        elif seen.session is None and wanted:
            what = f"the server refuses TLS {version}; the spec has {lowest} to {highest} ({_told(seen)})"
            why = "clients that lack the other versions cannot connect"
            yield differs("PGT475", "TLS version refused", name, what, why, INSTALL)
        else:
            yield ok(name, "spoken, as compiled" if wanted else "refused, as compiled")


def _version_of(setting: str) -> str | None:
    found = {"TLSv1": "1.0", "TLSv1.1": "1.1", "TLSv1.2": "1.2", "TLSv1.3": "1.3"}
    return found.get(setting)


def _groups(compiled: Compiled, survey: Survey) -> Iterator[Check]:
    """Compare the groups of the key exchange with the compiled list."""
    for key, reason in survey.untried.items():
        if key[0] == "group":
            yield untried(f"group {key[1]}", reason)
    listed_ = groups(compiled.settings)
    why = "the key exchange is not the compiled one: the settings of pgtls.conf are not in force, or this server's "
    why += "OpenSSL lacks a group of the list, and then it keeps all of its former TLS settings"
    for key, seen in survey.of("group").items():
        name = f"group {key[1]}"
        if seen.group == key[1]:
            yield ok(name, "taken, as compiled")
        elif seen.fault in ("alert", None):
            what = f"the server does not take the group {key[1]} ({_told(seen) if seen.fault else 'it took another'})"
            todo = f'look for "group" or "curve" in the server\'s log; correct openssl in the spec, or {INSTALL}'
            yield differs("PGT475", "group refused", name, what, why, todo)
        else:
            yield untried(name, f"this machine cannot tell: {_told(seen)}")
    other = survey.seen.get(("other groups",))
    if other is not None and other.group:
        what = f"the server takes the group {other.group}, which is not in {':'.join(listed_)}"
        yield differs("PGT475", "group allowed", "other groups", what, why, INSTALL)
    elif other is not None:
        yield ok("other groups", "refused, as compiled")


# --- client certificates ---


def _asked(seen: Seen) -> frozenset[str]:
    return frozenset(seen.session.asked) if seen.session else frozenset()


def _compiled_cas(compiled: Compiled) -> frozenset[str]:
    return frozenset(certificate.subject for certificate in compiled.trust)


def _client_cas(compiled: Compiled, survey: Survey) -> Check:
    name, asked, wanted = "client CAs", _asked(survey.first), _compiled_cas(compiled)
    if asked == wanted:
        return ok(name, f"asks for certificates of {_quoted(wanted)}" if wanted else "asks for no client certificate")
    if not asked:
        what = f"the server asks for no client certificate; compiled are {_quoted(wanted)}"
        why = "nobody can log in with a certificate (ssl_ca_file is empty or another file)"
        return differs("PGT476", "no client certificate asked", name, what, why, INSTALL)
    missing, extra = wanted - asked, asked - wanted
    if extra:
        what = f"the server takes client certificates of {_quoted(extra)}, which were not compiled"
        if missing:
            what += f", and not those of {_quoted(missing)}"
        why = "whoever holds such a certificate passes for a client, under any name that this CA certifies"
        return differs("PGT476", "CA of a stranger", name, what, why, f"replace its ssl_ca_file: {INSTALL}")
    what = f"the server does not take client certificates of {_quoted(missing)}"
    why = "clients with certificates of these CAs cannot log in"
    return differs("PGT476", "CA missing", name, what, why, f"replace its ssl_ca_file: {INSTALL}")


def _quoted(names: frozenset[str]) -> str:
    return listed([f'"{name}"' for name in sorted(names)], 3)


_CRL_ALERTS = {
    "certificate expired": "a CRL of its has expired, or its clock is ahead",
    "unknown ca": "it lacks the CRL of a CA (or finds none by its hash in ssl_crl_dir), or the CA itself",
    "bad certificate": "its clock is behind, so that the certificate or a CRL is not valid yet",
    "certificate revoked": "a CRL of its lists the certificate",
    "unsupported certificate": "the certificate is not one for clients",
}
"""The alert that OpenSSL sends for each fault (ssl_x509err2alert)."""


def _accepted(compiled: Compiled, survey: Survey) -> Iterator[Check]:
    """Judge certificates of bundles, which the server must accept."""
    if not compiled.trust:
        yield untried("client certificates", "the server trusts no client CA")
    for (kind, whose, ca), reason in ((key, why) for key, why in survey.untried.items() if key[0] == "client"):
        del kind
        yield untried(
            f"certificate of {whose}" if whose else "client certificates", f"{reason}{f' (ca.{ca})' if ca else ''}"
        )
    shown = survey.of("client")
    refused = [key for key, seen in shown.items() if seen.refused_certificate]
    for key, seen in shown.items():
        name = f"certificate of {key[1]}"
        if not seen.refused_certificate:
            taken = seen.reply is not None
            yield ok(name, f"accepted (ca.{key[2]})") if taken else untried(name, f"no answer: {_told(seen)}")
            continue
        every = (
            "every client certificate"
            if len(refused) == len(shown) and len(shown) > 1
            else f"the certificate of {key[1]}"
        )
        what = f"the server refuses {every}, of ca.{key[2]}: {seen.detail or 'it closes the connection'}"
        why = _CRL_ALERTS.get(seen.detail, "the server's log has the reason")
        todo = f"run pgtls build, which renews CRLs, then {INSTALL}; compare the server's clock (NTP)"
        yield differs("PGT477", f"refused: {seen.detail or 'closed'}", name, what, why, todo)


_REFUSED = {
    "stranger": ("an unknown CA", "the server does not check whose certificates it takes"),
    "server": ("a server's certificate", "a stolen server key opens databases"),
    "expired": ("an expired certificate", "access that was meant to end goes on"),
    "revoked": ("a revoked certificate", "a stolen or a leaver's key still opens databases; CRLs are not in force"),
}


def _refused(survey: Survey) -> Iterator[Check]:
    """Judge certificates that the server must reject."""
    for kind, (thing, why) in _REFUSED.items():
        for key, reason in survey.untried.items():
            if key[0] == kind:
                yield untried(f"refuses {thing}", reason)
        for key, seen in survey.of(kind).items():
            whose = f" ({key[1]})" if kind in ("expired", "revoked") else ""
            name = f"refuses {thing}"
            if seen.refused_certificate:
                yield ok(name, f"refused{whose}: {seen.detail or 'the connection is closed'}")
            elif seen.reply is None:
                yield untried(name, f"no answer: {_told(seen)}")
            else:
                what = f"the server accepts {thing}{whose} from a client"
                yield differs("PGT478", f"accepts: {kind}", name, what, why, INSTALL)


# --- access ---


def _access(fleet: Fleet, compiled: Compiled, survey: Survey) -> Iterator[Check]:
    """Compare the server's answers without a certificate and a password with the compiled rules."""
    address = _address_seen(survey)
    for transport, name in (("plain", "cleartext"), ("tls", "access")):
        compared, undecided = 0, ""
        found: list[Check] = []
        for (_, role, database), seen in survey.of(transport).items():
            connection = Connection(role, database, "plain" if transport == "plain" else "tls", ip_address(address))
            wanted = _expected(fleet, compiled, connection)
            answer = _answered(seen)
            if isinstance(wanted, str) or answer is None:
                undecided = wanted if isinstance(wanted, str) else f"no answer: {_told(seen)}"
                continue
            compared += 1
            if answer not in wanted:
                found.append(_otherwise(name, connection, wanted, answer, seen.reply))
        if found:
            yield found[0]
        elif compared:
            yield ok(name, f"{compared} connections from {address} are answered as the compiled pg_hba.conf says")
        if undecided and not found:
            yield untried(name if not compared else f"{name}, other rules", undecided)


_HOST = re.compile(r'host "([0-9A-Fa-f:.]+)(?:%\w+)?"')


def _address_seen(survey: Survey) -> str:
    """Return the address that the server sees: a rejection names it. Otherwise return the local address."""
    for seen in (*survey.of("plain").values(), *survey.of("tls").values()):
        found = _HOST.search(seen.reply.message) if seen.reply else None
        if found:
            return found[1]
    return survey.first.own.partition("%")[0]


_METHODS: dict[str, frozenset[str]] = {
    "scram-sha-256": frozenset({"scram"}),
    "md5": frozenset({"md5", "scram"}),
    "password": frozenset({"password"}),
    "ldap": frozenset({"password"}),
    "pam": frozenset({"password"}),
    "radius": frozenset({"password"}),
    "bsd": frozenset({"password"}),
    "gss": frozenset({"gss"}),
    "sspi": frozenset({"sspi"}),
    "oauth": frozenset({"oauth"}),
    "trust": frozenset({"in"}),
}


def _expected(fleet: Fleet, compiled: Compiled, connection: Connection) -> frozenset[str] | str:
    """Return the answers that the compiled rules allow, or why they cannot tell."""
    around = surroundings_of(fleet)
    certain = [line for line in compiled.lines if not _depends(line)]
    try:
        line = decide(certain, connection, around)
        for other in compiled.lines:
            if other is line:
                break
            if _depends(other) and decide([_anywhere(other)], connection, around):
                return f"line {other.number} of pg_hba.conf depends on host names, networks or members of a role"
        accepted = outcome(line, compiled.idents, connection, compiled.server.table.postgres, around).accepted
    except Undecidable:
        return "a regular expression decides, which pgtls does not evaluate"
    if line is None or not accepted:
        return frozenset({"refused"})
    return _METHODS.get(line.method, f'the method "{line.method}" shows only after a login')


def _depends(line: Line) -> bool:
    """Return whether the match of a line depends on facts that are unknown here."""
    near = (Keyword.SAMEHOST, Keyword.SAMENET)
    return (
        isinstance(line.address, HostName)
        or line.address in near
        or any(isinstance(role, Member) for role in line.roles)
        or Keyword.SAMEROLE in line.databases
    )


def _anywhere(line: Line) -> Line:
    roles = tuple(Keyword.ALL if isinstance(role, Member) else role for role in line.roles)
    databases = tuple(Keyword.ALL if one is Keyword.SAMEROLE else one for one in line.databases)
    near = isinstance(line.address, HostName) or line.address in (Keyword.SAMEHOST, Keyword.SAMENET)
    return replace(line, roles=roles, databases=databases, address=Keyword.ALL if near else line.address)


_BUSY = frozenset({"53300", "57P03", "57P01", "57P02", "53200"})


def _answered(seen: Seen) -> str | None:
    """Return the server's reaction to a connection: ``refused``, ``in``, or its request. None: no reaction."""
    reply = seen.reply
    if reply is None or reply.sqlstate in _BUSY:
        return None
    if reply.kind == "asks":
        return reply.method
    # If the rules admit a client, the server rejects it later because the role or the database does not exist.
    return "refused" if reply.kind == "refused" and reply.routine == "ClientAuthentication" else "in"


def _otherwise(name: str, connection: Connection, wanted: frozenset[str], answer: str, reply: Reply | None) -> Check:
    how = "in cleartext" if connection.transport == "plain" else "over TLS without a certificate"
    who = f'role "{connection.role}", database "{connection.database}" from {connection.address}, {how}'
    words = {"refused": "refuses it", "in": "lets it in without a password"}
    got = words.get(answer, f"asks for {answer}")
    should = " or ".join(sorted(words.get(one, f"asks for {one}") for one in wanted))
    what = f"{who}: the server {got}; the compiled pg_hba.conf {should}"
    if reply and answer == "refused" and reply.message:
        what += f" ({reply.message})"
    todo = f"make hba_file point to the compiled pg_hba.conf and reload: {INSTALL}; its log names a line with an error"
    if name == "cleartext" and "refused" in wanted:
        why = "passwords and data cross the network unencrypted, and an attacker can make clients fall back to that"
        return differs("PGT478", "cleartext open", name, what, why, todo)
    why = "other rules than the compiled ones are in force: hba_file is elsewhere, was edited, or has an error"
    return differs("PGT478", "other rules", name, what, why, todo)
