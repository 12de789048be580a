"""Check direct TLS, the versions of TLS, and the groups of the key exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.live.checks.check import INSTALL, Check, differs, ok, untried
from pgtls.live.survey import DIRECT_SINCE
from pgtls.live.survey import groups as offered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.live.compiled import Compiled
    from pgtls.live.survey import Survey


def direct(compiled: Compiled, survey: Survey) -> Check:
    """Compare TLS without a request for it (``sslnegotiation=direct``) with TLS after one."""
    name, seen = "direct TLS", survey.seen.get(("direct",))
    if compiled.server.table.postgres < DIRECT_SINCE:
        return untried(name, f"PostgreSQL {compiled.server.table.postgres} has none (since {DIRECT_SINCE})")
    if seen is None:
        return untried(name, survey.why_untried(("direct",)))
    why = "clients with sslnegotiation = direct, as bundles for libpq 17 have it, cannot connect"
    if seen.session is None or seen.session.alpn != "postgresql":
        what = f"the server does not take TLS directly ({seen.ending})"
        todo = "look at postgres in the spec and at the server's version, and at proxies in between"
        return differs("PGT475", "no direct TLS", name, what, why, todo)
    first = survey.first.session
    if first and seen.session.chain != first.chain:
        what = "the server serves another certificate to clients that begin with TLS at once"
        return differs("PGT473", "two certificates", name, what, "something in between ends TLS", "look at proxies")
    return ok(name, "the same certificate without a request for TLS")


_ORDER = ("1.0", "1.1", "1.2", "1.3")


def versions(compiled: Compiled, survey: Survey) -> Iterator[Check]:
    """Compare the TLS versions that the server accepts with the compiled bounds."""
    lowest = _version_of(compiled.settings.get("ssl_min_protocol_version", "")) or "1.2"
    highest = _version_of(compiled.settings.get("ssl_max_protocol_version", "")) or "1.3"
    for (_, version), seen in ((key[:2], seen) for key, seen in survey.of("version").items()):
        name, shown = f"TLS {version}", seen.session.version if seen.session else ""
        wanted = _ORDER.index(lowest) <= _ORDER.index(version) <= _ORDER.index(highest)
        if seen.fault == "tls" or (seen.session is None and seen.fault != "alert"):
            yield untried(name, f"this machine cannot tell: {seen.ending}")
        elif seen.session and not wanted:
            what = f"the server speaks TLS {shown or version}; the spec has {lowest} to {highest}"
            why = "an attacker on the way can make both ends use the weaker version"
            todo = f"include pgtls.conf last in postgresql.conf and reload: {INSTALL}"
            yield differs("PGT475", "TLS version allowed", name, what, why, todo)
        elif seen.session is None and wanted:
            what = f"the server refuses TLS {version}; the spec has {lowest} to {highest} ({seen.ending})"
            why = "clients that lack the other versions cannot connect"
            yield differs("PGT475", "TLS version refused", name, what, why, INSTALL)
        else:
            yield ok(name, "spoken, as compiled" if wanted else "refused, as compiled")


def _version_of(setting: str) -> str | None:
    found = {"TLSv1": "1.0", "TLSv1.1": "1.1", "TLSv1.2": "1.2", "TLSv1.3": "1.3"}
    return found.get(setting)


def groups(compiled: Compiled, survey: Survey) -> Iterator[Check]:
    """Compare the groups of the key exchange with the compiled list."""
    for key, reason in survey.untried.items():
        if key[0] == "group":
            yield untried(f"group {key[1]}", reason)
    listed_ = offered(compiled.settings)
    why = "the key exchange is not the compiled one: the settings of pgtls.conf are not in force, or this server's "
    why += "OpenSSL lacks a group of the list, and then it keeps all of its former TLS settings"
    for key, seen in survey.of("group").items():
        name = f"group {key[1]}"
        if seen.group == key[1]:
            yield ok(name, "taken, as compiled")
        elif seen.fault in ("alert", None):
            what = f"the server does not take the group {key[1]} ({seen.ending if seen.fault else 'it took another'})"
            todo = f'look for "group" or "curve" in the server\'s log; correct openssl in the spec, or {INSTALL}'
            yield differs("PGT475", "group refused", name, what, why, todo)
        else:
            yield untried(name, f"this machine cannot tell: {seen.ending}")
    other = survey.seen.get(("other groups",))
    if other is not None and other.group:
        what = f"the server takes the group {other.group}, which is not in {':'.join(listed_)}"
        yield differs("PGT475", "group allowed", "other groups", what, why, INSTALL)
    elif other is not None:
        yield ok("other groups", "refused, as compiled")
