"""Check which service answers on the port of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.live.checks.check import Check, differs, ok

if TYPE_CHECKING:
    from pgtls.live.survey import Survey


_WHY_NOBODY = "clients cannot connect either"


def absent(survey: Survey) -> Check:
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


def program(survey: Survey) -> Check:
    """Check whether PostgreSQL itself answers."""
    if _pooler(survey):
        return _other("pooler", f"a connection pooler or a proxy answers on {survey.address}, not PostgreSQL itself")
    return ok("server", f"PostgreSQL answers on {survey.address}")
