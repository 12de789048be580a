"""Check the certificate that a server presents, and whether clients verify it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.language.words import listed
from pgtls.live.chain import covers, refusal, served
from pgtls.live.checks.check import INSTALL, TRUST, Check, differs, ok, untried
from pgtls.live.revoked import revoked_by
from pgtls.pki import facts
from pgtls.pki.model import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from pgtls.fleet.model import Fleet
    from pgtls.live.compiled import Compiled
    from pgtls.live.handshake import Seen, Session
    from pgtls.pki.model import Certificate
    from pgtls.state.lock import IssuedLine, Lock


def line_of(lock: Lock, certificate: Certificate) -> IssuedLine | None:
    """Return the line of the lock for a certificate, if it has one."""
    return next((line for line in lock.issued if line.certificate.sha256 == certificate.sha256), None)


def leaf(fleet: Fleet, compiled: Compiled, lock: Lock, seen: Seen, now: datetime) -> Check:
    """Compare the served certificate with the compiled one, which may be revoked itself."""
    chain = served(seen)
    if not chain:
        return differs(
            "PGT473", "unreadable certificate", "certificate", "the server's certificate cannot be read",
            "clients cannot verify it", INSTALL,
        )  # fmt: skip
    leaf, wanted = chain[0], compiled.leaf
    if by := revoked_by(fleet, compiled, lock, seen):
        return _revoked(leaf, by)
    if leaf.sha256 == wanted.sha256:
        return ok("certificate", f"the compiled one is served (serial {_short(leaf)}, until {leaf.not_after:%Y-%m-%d})")
    line = line_of(lock, leaf)
    if line is None:
        return _strange(leaf, wanted)
    if line.entity != compiled.shown.entity:
        what = f"it serves the certificate of {line.entity}, not its own"
        return differs(
            "PGT473", "certificate of another", "certificate", what, "clients that verify names refuse it", INSTALL
        )
    age = "a superseded" if leaf.not_before <= wanted.not_before else "a newer"
    what = (
        f"it serves {age} certificate (serial {_short(leaf)}, issued {leaf.not_before:%Y-%m-%d}, "
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


def _revoked(leaf: Certificate, by: str) -> Check:
    what = (
        f"it serves a certificate that {by} revokes (serial {_short(leaf)}, issued {leaf.not_before:%Y-%m-%d}, "
        f"until {leaf.not_after:%Y-%m-%d})"
    )
    why = "whoever stole its key can answer in the place of the server; clients without its CRL connect all the same"
    todo = f"do not send it any password; run pgtls build, then {INSTALL}"
    return differs("PGT473", "revoked certificate", "certificate", what, why, todo)


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


def order(compiled: Compiled, seen: Seen) -> Check:
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


def trusted(compiled: Compiled, session: Session, now: datetime) -> Iterator[Check]:
    """Verify the chain as the clients do, each with its root.crt and its root.crl."""
    if not compiled.clients:
        yield untried(TRUST, "no bundle of the out directory connects to this server")
    for trust, users in compiled.clients.items():
        whose = listed([f"user.{user}" for user in users], 3)
        refused = refusal(session.chain, trust, now)
        if refused is None:
            files = "root.crt and root.crl" if trust.lists else "root.crt"
            yield ok(TRUST, f"the {files} of {whose} verif{'y' if trust.lists else 'ies'} the chain")
            continue
        reason = refused.reason
        what = f"{whose} cannot verify the server: {reason}"
        why = "every connection of these clients with verify-ca or verify-full fails"
        fault = "expired" if "expired" in reason else "untrusted chain"
        todo = _RENEW_LISTS if "CRL" in reason else f"look at the checks above, then {INSTALL}"
        yield differs("PGT474", fault, TRUST, what, why, todo)


_RENEW_LISTS = "run pgtls build, which renews CRLs, and copy the bundles to their clients"


def names(compiled: Compiled, seen: Seen) -> Check:
    """Check the certificate for each host name of the server."""
    chain, hosts = served(seen), compiled.shown.table.hosts
    lost = [host for host in hosts if not chain or not covers(chain[0], host)]
    if not lost:
        return ok("names", f"the certificate is valid for {listed(hosts, 4)}")
    what = f"the certificate is not valid for {listed(lost, 4)}"
    why = "clients with sslmode = verify-full that dial these names refuse to connect"
    return differs("PGT474", "wrong name", "names", what, why, INSTALL)


def dates(seen: Seen, now: datetime) -> Check:
    """Check the validity of each served certificate at ``now``."""
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
