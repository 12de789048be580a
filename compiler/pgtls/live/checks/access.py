"""Check the answers to clients without certificate and password against the compiled rules."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from pgtls.access.explain import surroundings_of
from pgtls.fleet.addresses import is_address
from pgtls.hba.match import decide, outcome
from pgtls.hba.model import Connection, HostName, Keyword, Member
from pgtls.hba.regex import Undecidable
from pgtls.live.checks.check import INSTALL, Check, differs, ok, untried

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.fleet.model import Fleet
    from pgtls.hba.model import Line
    from pgtls.live.compiled import Compiled
    from pgtls.live.handshake import Reply, Seen
    from pgtls.live.survey import Survey


def answers(fleet: Fleet, compiled: Compiled, survey: Survey) -> Iterator[Check]:
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
                undecided = wanted if isinstance(wanted, str) else f"no answer: {seen.ending}"
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
        if found and is_address(found[1]):
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
