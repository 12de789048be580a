"""Check the answers to clients without a password against the compiled rules."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.explain import surroundings_of
from pgtls.access.grants import distinguished_name
from pgtls.fleet.addresses import is_address
from pgtls.hba.match import decide, outcome
from pgtls.hba.model import ClientCertificate, Connection, HostName, Keyword, Member
from pgtls.hba.regex import Undecidable
from pgtls.live.checks.check import INSTALL, Check, differs, ok, untried
from pgtls.live.survey import NOBODY
from pgtls.pki.model import Entity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pgtls.fleet.model import Fleet
    from pgtls.hba.model import IPAddress, Line
    from pgtls.live.compiled import Compiled
    from pgtls.live.handshake import Reply, Seen
    from pgtls.live.survey import Survey


class _Asked(NamedTuple):
    """A connection, the check that it belongs to, what came of it, and what the compiled rules say."""

    check: str
    connection: Connection
    seen: Seen
    wanted: frozenset[str] | str


def answers(fleet: Fleet, compiled: Compiled, survey: Survey) -> Iterator[Check]:
    """Compare the server's answers without a password with the compiled rules."""
    address = _address_seen(survey)
    asked = [
        _Asked(check, connection, seen, _expected(fleet, compiled, connection))
        for check, connection, seen in _connections(compiled, survey, ip_address(address))
    ]
    reasons = _reasons(asked)
    given = {answer for one in asked if (answer := _answered(one, reasons)) and not isinstance(one.wanted, str)}
    for name in ("cleartext", "access"):
        compared, undecided = 0, ""
        found: list[Check] = []
        for one in (one for one in asked if one.check == name):
            answer = _answered(one, reasons)
            if isinstance(one.wanted, str) or answer is None:
                undecided = one.wanted if isinstance(one.wanted, str) else f"no answer: {one.seen.ending}"
                continue
            compared += 1
            if answer not in one.wanted:
                found.append(_otherwise(name, one.connection, one.wanted, answer, one.seen.reply))
        if found:
            yield found[0]
        elif compared and name == "access" and len(given) == 1 and given <= _REFUSALS.keys():
            yield untried(name, f"all {compared} connections from {address} are refused, as by many other rules")
        elif compared:
            yield ok(name, f"{compared} connections from {address} are answered as the compiled pg_hba.conf says")
        if undecided and not found:
            yield untried(name if not compared else f"{name}, other rules", undecided)


def _connections(compiled: Compiled, survey: Survey, address: IPAddress) -> Iterator[tuple[str, Connection, Seen]]:
    """Yield the connections that got to the rules, each with its check."""
    for (_, role, database), seen in survey.of("plain").items():
        yield "cleartext", Connection(role, database, "plain", address), seen
    for (_, role, database), seen in survey.of("tls").items():
        yield "access", Connection(role, database, "tls", address), seen
    users = {bundle.user.entity: bundle.user for one in (compiled, *compiled.others) for bundle in one.bundles}
    for (_, whose, _), seen in survey.of("client").items():
        if seen.reply:  # the check of the certificate reports others
            user = users[Entity(whose)]
            certificate = ClientCertificate(user.common_name, distinguished_name(user))
            yield "access", Connection(NOBODY, NOBODY, "tls", address, certificate=certificate), seen


_WORD = re.compile(r"(?<![\w.:])([0-9A-Fa-f:.]+)(?:%\w+)?(?![\w.:])")


def _address_seen(survey: Survey) -> str:
    """Return the address that the server sees: a rejection names it, in any language. Otherwise, the local address."""
    for key, seen in (*survey.of("plain").items(), *survey.of("tls").items()):
        for found in _WORD.findall(seen.reply.message) if seen.reply else ():
            if is_address(found) and found not in key:  # a role or a database can be called like an address
                return str(found)
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
    "cert": frozenset({"in"}),
}
_REFUSALS = {
    "no line": "refuses it, because no line matches",
    "reject": "refuses it, because a line rejects it",
    "no certificate": "refuses it without a certificate",
    "refused": "refuses it, for another reason",
}
"""Why the server refuses a connection before any method, and the words for it."""


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
        judged = outcome(line, compiled.idents, connection, compiled.server.table.postgres, around)
    except Undecidable:
        return "a regular expression decides, which pgtls does not evaluate"
    if line is None:
        return frozenset({"no line"})
    if not judged.accepted and (line.method in _BY_NAME or connection.certificate is None):
        return frozenset({_refusal(line, connection, judged.reason or "")})
    return _METHODS.get(line.method, f'the method "{line.method}" shows only after a login')


_BY_NAME = ("reject", "cert", "trust")
"""With other methods, a client shows its password before the server compares the name in its certificate."""


def _refusal(line: Line, connection: Connection, reason: str) -> str:
    if connection.certificate is None and reason.startswith("connection requires"):
        return "no certificate"
    return "reject" if line.method == "reject" else "other name"


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


def _reasons(asked: Iterable[_Asked]) -> dict[str, str]:
    """Return why each line of PostgreSQL's source refuses: its number differs by reason, and by no language."""
    found: dict[str, str] = {}
    for one in asked:
        if one.seen.reply and _is_refused(one.seen.reply) and not isinstance(one.wanted, str):
            reason = next(iter(one.wanted))
            if reason in _REFUSALS and reason not in found.values():
                found.setdefault(one.seen.reply.line, reason)
    return found


def _is_refused(reply: Reply) -> bool:
    return reply.kind == "refused" and reply.routine == "ClientAuthentication"


def _answered(one: _Asked, reasons: Mapping[str, str]) -> str | None:
    """Return the server's reaction to a connection: a reason to refuse, ``in``, or its request. None: no reaction."""
    reply = one.seen.reply
    if reply is None or reply.sqlstate in _BUSY:
        return None
    if reply.kind == "asks":
        return reply.method
    if _is_refused(reply):
        return reasons.get(reply.line, "refused")
    if reply.routine == "auth_failed":
        return "other name"
    return "in"  # the server refuses it later, because the role or the database does not exist


def _otherwise(name: str, connection: Connection, wanted: frozenset[str], answer: str, reply: Reply | None) -> Check:
    shown = f"with the certificate of {connection.certificate.common_name}" if connection.certificate else ""
    how = "in cleartext" if connection.transport == "plain" else f"over TLS {shown or 'without a certificate'}"
    who = f'role "{connection.role}", database "{connection.database}" from {connection.address}, {how}'
    words = {**_REFUSALS, "other name": "refuses the name that it proves", "in": "lets it in without a password"}
    got = words.get(answer, f"asks for {answer}")
    should = " or ".join(sorted(words.get(one, f"asks for {one}") for one in wanted))
    what = f"{who}: the server {got}; the compiled pg_hba.conf {should}"
    if reply and answer in _REFUSALS and reply.message:
        what += f" ({reply.message})"
    todo = f"make hba_file point to the compiled pg_hba.conf and reload: {INSTALL}; its log names a line with an error"
    if name == "cleartext" and answer not in _REFUSALS and not wanted.isdisjoint(_REFUSALS):
        why = "passwords and data cross the network unencrypted, and an attacker can make clients fall back to that"
        return differs("PGT478", "cleartext open", name, what, why, todo)
    why = "other rules than the compiled ones are in force: hba_file is elsewhere, was edited, or has an error"
    return differs("PGT478", "other rules", name, what, why, todo)
