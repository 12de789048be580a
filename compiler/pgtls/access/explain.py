"""Explain one connection: the server's answer, the deciding line, and the reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pgtls.access.premises import conditional
from pgtls.diagnostics import Diagnostic, Place, Rejected
from pgtls.hba.match import Identities, Outcome, decide, outcome, role_matches
from pgtls.hba.model import Keyword, Line, Name, Surroundings
from pgtls.hba.regex import Undecidable
from pgtls.language.words import did_you_mean
from pgtls.postgres.methods import takes_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.fleet.model import Fleet, Policy, Server
    from pgtls.hba.model import Connection, IdentLine, Regex

    Identity = Name | Regex


@dataclass(frozen=True, slots=True)
class Nearest:
    """The policy that comes nearest to covering a rejected connection, and what each of its parts lacks."""

    policy: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A server's answer to one connection.

    ``line`` and ``rule`` are the number and text of the deciding line, None if no line decides. ``asks`` lists the
    further proofs that the client must show; the answer assumes that they succeed.
    """

    outcome: Literal["admit", "refuse"]
    method: str | None
    file: str | None
    line: int | None
    rule: str | None
    policies: tuple[str, ...]
    why: str
    asks: tuple[str, ...]
    nearest: Nearest | None = None
    notes: tuple[str, ...] = ()
    """Other possible reasons: a misspelt name, an ended user or policy."""


def explain(
    lines: Sequence[Line],
    idents: Sequence[IdentLine],
    texts: Mapping[str, str],
    version: int,
    connection: Connection,
    surroundings: Surroundings,
) -> Explanation:
    """Find the deciding line of a file, and its decision about the connection.

    ``texts`` are by file name, without the secrets of their lines. Raise Rejected with PGT293 if the answer depends on
    a regular expression that pgtls cannot evaluate.
    """
    line = _deciding(lines, texts, connection, surroundings)
    notes = tuple(conditional(lines, line, connection, surroundings))
    if line is None:
        return Explanation("refuse", None, None, None, None, (), "no line covers this connection", (), notes=notes)
    known = Identities(idents, version, surroundings).of(line.map, connection.role)
    try:
        verdict = outcome(line, idents, connection, version, surroundings)
    except Undecidable as reason:
        raise Rejected(_undecided(f'map "{line.map}" accepts the client', line, texts, reason)) from None
    if verdict.accepted and _proves_otherwise(line) and not known:
        verdict = Outcome(accepted=False, reason=_nobody(line, idents, connection.role))
    elif not verdict.accepted and line.map and connection.certificate:
        notes = (*notes, *_mapped(line, known, connection.role))
    why = _admitted(line) if verdict.accepted else _refused(line, verdict.reason)
    return Explanation(
        "admit" if verdict.accepted else "refuse",
        line.method,
        line.file,
        line.number,
        _rule(texts.get(line.file or "", ""), line),
        (),
        why,
        tuple(_asks(line, known)) if verdict.accepted else (),
        notes=notes,
    )


def _deciding(
    lines: Sequence[Line], texts: Mapping[str, str], connection: Connection, surroundings: Surroundings
) -> Line | None:
    for line in lines:
        try:
            if decide([line], connection, surroundings):
                return line
        except Undecidable as reason:
            raise Rejected(_undecided("this line covers the connection", line, texts, reason)) from None
    return None


def _undecided(what: str, line: Line, texts: Mapping[str, str], reason: Undecidable) -> Diagnostic:
    message = f"pgtls cannot tell whether {what}: {reason}"
    text, file, number = _rule(texts.get(line.file or "", ""), line), line.file, line.number
    place = Place(file, number, 1, number, len(text) + 1, text) if file and number and text else None
    return Diagnostic("PGT293", message, hint="ask the server, or write the expression in a simpler way", place=place)


def _rule(text: str, line: Line) -> str | None:
    lines = text.split("\n")
    return lines[line.number - 1].strip() if line.number and line.number <= len(lines) else None


def _admitted(line: Line) -> str:
    return "nothing is asked of it" if line.method == "trust" else f'the line covers it, and asks for "{line.method}"'


def _refused(line: Line, reason: str | None) -> str:
    return "the line rejects it" if line.method == "reject" else f"the line covers it, but the server says: {reason}"


def _proves_otherwise(line: Line) -> bool:
    """Return whether the method proves an identity that the question does not contain: an account, ticket or token."""
    return takes_map(line.method) and line.method != "cert" and (line.method == "peer" or bool(line.map))


def _nobody(line: Line, idents: Sequence[IdentLine], role: str) -> str:
    name = line.map
    if any(ident.map == name for ident in idents):
        return f'no match in usermap "{name}" for user "{role}": the map gives this role to no identity'
    where = "no line of pg_ident.conf has that map" if idents else "no line of pg_ident.conf is known (--ident)"
    return f'no match in usermap "{name}" for user "{role}": {where}'


def _mapped(line: Line, known: Sequence[Identity], role: str) -> Iterator[str]:
    """List the certificates that the line accepts."""
    if known:
        yield f'map "{line.map}" gives role "{role}" to {_alternatives(known)} (--cert)'
    else:
        yield f'map "{line.map}" gives role "{role}" to nobody'


_SHOWN = {
    "cert": "a certificate that names the role, or is mapped to it",
    "trust": "nothing",
    "peer": "the operating-system user",
    "scram-sha-256": "a password (SCRAM-SHA-256)",
    "md5": "a password (MD5 or SCRAM)",
    "password": "a password, sent as it is",
    "gss": "a Kerberos ticket",
    "sspi": "a Windows login",
    "ldap": "a password that the LDAP server accepts",
    "radius": "a password that the RADIUS server accepts",
    "pam": "what PAM asks for",
    "oauth": "a token that the validator accepts",
    "ident": "what the client's ident server says",
}


def _asks(line: Line, known: Sequence[Identity]) -> Iterator[str]:
    shown = _SHOWN.get(line.method, line.method)
    if line.method == "peer":
        yield (
            f"an operating-system user, {_alternatives(known)}"
            if _patterns(known)
            else f"{shown} {_alternatives(known)}"
        )
    else:
        yield f"{shown}, for {_alternatives(known)}" if _proves_otherwise(line) else shown
    if line.method != "cert":
        wanted = line.option("clientcert")
        if wanted == "verify-full":
            part = "subject" if line.option("clientname") == "DN" else "common name"
            yield f"a certificate whose {part} is {_alternatives(known) if line.map else 'the role'}"
        elif wanted:
            yield "a certificate of a trusted CA"


def _patterns(known: Sequence[Identity]) -> bool:
    return not all(isinstance(one, Name) for one in known)


def _alternatives(known: Sequence[Identity]) -> str:
    """List the identities that a map accepts: names, and the patterns they match."""
    words = [f'"{one.text}"' if isinstance(one, Name) else f'one that matches "/{one.pattern}"' for one in known]
    return " or ".join(words[:_MOST]) + (f" or {len(words) - _MOST} more" if len(words) > _MOST else "")


_MOST = 5
"""The maximum number of identities that an answer names."""


def nearest(fleet: Fleet, server: Server, connection: Connection, surroundings: Surroundings) -> Nearest | None:
    """Return the policy that lacks least to cover a connection; of several, the first by name.

    The role has the highest weight, TLS the lowest. One that lacks nothing yields to another of a higher priority.
    """
    admitting = {policy.name: policy for policy in fleet.policies_of(server) if policy.table.auth != "reject"}
    lacking = {name: tuple(_missing(policy, connection, surroundings)) for name, policy in admitting.items()}
    weights = {name: sum(weight for weight, _ in missing) for name, missing in lacking.items()}
    name = min(lacking, key=lambda name: (weights[name], name), default=None)
    if name is None:
        return None
    if not lacking[name]:
        above = [one for one in admitting.values() if one.table.priority > admitting[name].table.priority]
        decisive = next((one for one in above if weights[one.name] == _LEAST), None)
        if decisive:
            ((_, asked),) = lacking[decisive.name]
            return Nearest(name, (f'policy "{decisive.name}" has a higher priority, and {asked}',))
    return Nearest(name, tuple(text for _, text in lacking[name]))


_LEAST = 1
"""The weight of what a policy that covers a connection asks of it: TLS, or a certificate."""


def user_for_role(fleet: Fleet, role: str) -> Iterator[str]:
    """Report that a name is a user of the spec who logs in with other roles."""
    if role in fleet.users and not any(role in user.roles for user in fleet.users.values()):
        roles = ", ".join(f'"{one}"' for one in fleet.users[role].roles)
        yield f'"{role}" is a user, not a role: it logs in as {roles}'


def notes(fleet: Fleet, server: Server, connection: Connection, surroundings: Surroundings) -> Iterator[str]:
    """Report how the names or the time of a rejected connection explain the rejection."""
    policies = fleet.policies_of(server)
    roles = {role for user in fleet.users.values() for role in user.roles}
    roles |= {term.text for policy in policies for term in policy.roles if isinstance(term, Name)}
    ended = [user for user in fleet.ended_users.values() if connection.role in user.roles]
    if connection.role not in roles:
        yield from (f'user "{user.name}" ended at {_instant(user.table.until)} and counts as deleted' for user in ended)
        if not ended and connection.role not in fleet.users:
            yield f'the spec has no role "{connection.role}"{_suggestion(connection.role, roles)}'
    databases = set(server.databases or ())
    databases |= {term.text for policy in policies for term in policy.databases if isinstance(term, Name)}
    if connection.database not in databases and (hint := _suggestion(connection.database, databases)):
        yield f'the spec names no database "{connection.database}"{hint}'
    for policy in fleet.ended_policies.values():
        if server in policy.servers and not any(_missing(policy, connection, surroundings)):
            yield f'policy "{policy.name}" covers it, but ended at {_instant(policy.table.until)}'


def _suggestion(name: str, known: Iterable[str]) -> str:
    near = did_you_mean(name, known)
    return f': did you mean "{near}"?' if near else ""


def _instant(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _missing(policy: Policy, connection: Connection, surroundings: Surroundings) -> Iterator[tuple[int, str]]:
    if not any(role_matches(term, connection.role, surroundings) for term in policy.roles):
        yield 8, f'it does not cover role "{connection.role}"'
    if policy.local != (connection.transport == "socket"):
        yield 4, "it is for the Unix socket" if policy.local else "it is not for the Unix socket"
    elif not policy.local and not any(
        _covers(connection, surroundings, replace(_ANY, type="host", address=address)) for address in policy.addresses
    ):
        yield 2, f"it does not cover address {connection.address}"
    what = "physical replication" if connection.replication else f'database "{connection.database}"'
    try:
        if not _covers(connection, surroundings, replace(_ANY, databases=policy.databases)):
            yield 2, f"it does not cover {what}"
    except Undecidable:
        yield _LEAST, f"its regular expression may cover {what} or not"
    if policy.requires_tls and connection.transport != "tls":
        yield _LEAST, "it asks for TLS"
    elif policy.asks_certificate != "none" and connection.certificate is None:
        yield _LEAST, "it asks for a certificate that the server accepts"


_ANY = Line("local", (Keyword.ALL, Keyword.REPLICATION), (Keyword.ALL,), None, "trust")
"""A line that covers everything over the socket. Replace one part of it to check that part of a policy alone."""


def _covers(connection: Connection, surroundings: Surroundings, line: Line) -> bool:
    there = replace(connection, transport="socket" if line.type == "local" else "plain")
    return decide([line], there, surroundings) is not None


def surroundings_of(fleet: Fleet) -> Surroundings:
    """Return the role graph of the spec: ``member_of`` of every user, for each of its roles."""
    return Surroundings(
        frozenset((role, group) for user in fleet.users.values() for role in user.roles for group in user.member_of)
    )
