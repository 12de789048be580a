"""Answer a question about one connection (``pgtls explain``): from the rules of a spec, or from a foreign file."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, cast

from pgtls.access.explain import Explanation, explain, nearest, notes, surroundings_of, user_for_role
from pgtls.access.grants import distinguished_name
from pgtls.access.held import common_name
from pgtls.access.trust import trust
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.fleet.model import Pooler
from pgtls.hba.model import ClientCertificate, Connection, HostName, Keyword, Surroundings
from pgtls.language.positions import locate
from pgtls.language.words import did_you_mean
from pgtls.pki.expected import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pgtls.access.model import Rules
    from pgtls.access.trust import Trust
    from pgtls.fleet.model import Authority, Fleet, Server, User
    from pgtls.hba.model import IdentLine, IPAddress, Line, Transport

NONE = "none"
"""The value of ``certificate`` for a client that shows none."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question.

    ``address`` is None on the Unix socket. ``certificate`` is a user's or a common name, NONE, or unset. ``dialled`` is
    the host name that the client dials. If it is None, the answer picks a host name that accepts its certificate, if
    there is one.
    """

    role: str
    database: str
    address: IPAddress | None
    host_names: frozenset[str] = frozenset()
    cleartext: bool = False
    certificate: str | None = None
    dialled: str | None = None
    members: frozenset[tuple[str, str]] = frozenset()
    """Role memberships in addition to those of the spec: (member, group)."""
    interfaces: tuple[str, ...] = ()
    """The server's own addresses besides loopback, each with its network's prefix length."""

    @property
    def connection(self) -> Connection:
        """Return the connection, without a certificate."""
        transport = "socket" if self.address is None else "plain" if self.cleartext else "tls"
        return Connection(
            role=self.role,
            database=self.database,
            transport=cast("Transport", transport),
            address=self.address,
            host_names=self.host_names,
            replication=self.database == "replication",
        )

    def around(self, known: Surroundings) -> Surroundings:
        """Add the facts of the question to the known facts."""
        return Surroundings(known.members | self.members, (*known.interfaces, *self.interfaces))


@dataclass(frozen=True, slots=True)
class Answer:
    """The connection under judgment, with its certificate, and the server's answer."""

    connection: Connection
    explanation: Explanation
    place: str | None = None
    """The file and line where the spec defines the deciding policy, or the nearest one."""
    onward: Answer | None = None
    """If a pooler admits the client: the server's answer to the pooler."""
    server: str | None = None
    """The server or pooler that answers, as ``server.NAME``; None for a foreign file."""


class UnclearServer(ValueError):  # noqa: N818
    """Report that the question names no server although the spec has several."""


def of_file(
    lines: Sequence[Line], idents: Sequence[IdentLine], texts: Mapping[str, str], version: int, question: Question
) -> Answer:
    """Answer from the lines of a foreign file.

    The client shows a certificate with CN = role unless the question names another.
    """
    connection, shown = question.connection, question.certificate or question.role
    if connection.transport == "tls" and shown != NONE:
        connection = replace(connection, certificate=_shown(shown))
    return Answer(connection, explain(lines, idents, texts, version, connection, question.around(Surroundings())))


def _shown(name: str) -> ClientCertificate:
    """Return a certificate of a common name, or of a whole subject as PostgreSQL writes it (RFC 2253)."""
    found = common_name(name)
    return _named(name) if found is None else ClientCertificate(found, name)


def _named(name: str) -> ClientCertificate:
    """Return a certificate that shows a common name alone."""
    return ClientCertificate(name, f"CN={escape(name)}")


def of_spec(fleet: Fleet, server: str | None, rules: Mapping[str, Rules], question: Question) -> Answer:
    """Answer from the compiled rules of a server. None means the only one; with several, raise :class:`UnclearServer`.

    Raise Rejected with PGT291 for an unknown server or user, or a user without a certificate.
    """
    named = server_named(fleet, server)
    answer = of_server(fleet, named, rules, question)
    onward = _onward(fleet, named, rules, question) if answer.explanation.outcome == "admit" else None
    return replace(answer, place=_place(fleet, answer.explanation), onward=onward, server=named.entity)


def _onward(fleet: Fleet, pooler: Server, rules: Mapping[str, Rules], question: Question) -> Answer | None:
    """Answer for the connection that a pooler makes for the client in question. Return None for a server."""
    if not isinstance(pooler, Pooler) or pooler.backend is None:
        return None
    address, names = _source(pooler)
    asked = Question(question.role, question.database, address, names, certificate=pooler.written.user)
    answer = of_server(fleet, pooler.backend, rules, asked)
    return replace(answer, place=_place(fleet, answer.explanation), server=pooler.backend.entity)


def _source(pooler: Pooler) -> tuple[IPAddress, frozenset[str]]:
    """Return an address from which a pooler connects, with the name that it has, both ways."""
    source = pooler.addresses[0]
    if isinstance(source, IPv4Network | IPv6Network):
        return source.network_address, frozenset()
    if isinstance(source, HostName):
        return _SOMEWHERE, frozenset((f"pooler{source.name}" if source.name[0] == "." else source.name,))
    return (_SOMEWHERE if source is Keyword.ALL else _HERE), frozenset()


_SOMEWHERE, _HERE = ip_address("192.0.2.1"), ip_address("127.0.0.1")
"""An address for documentation (RFC 5737), and that of the server's own machine."""


def cluster_named(fleet: Fleet, name: str) -> Server:
    """Return a server that is PostgreSQL itself by its name. Raise Rejected (PGT291) for a pooler, too."""
    if fleet.servers.get(name) in fleet.poolers:
        hint = f"there are: {', '.join(fleet.clusters)}"
        raise Rejected(Diagnostic("PGT291", f'"{name}" is a pooler, and no PostgreSQL server', hint=hint))
    return server_named(fleet, name)


def server_named(fleet: Fleet, name: str | None) -> Server:
    """Return a server by its name. None means the only one. Raise Rejected (PGT291) or UnclearServer."""
    if name is None and len(fleet.servers) > 1:
        raise UnclearServer(f"say which: {', '.join(fleet.servers)}")
    name = name if name is not None else next(iter(fleet.servers))
    if name not in fleet.servers:
        raise Rejected(_unknown("server", name, fleet.servers))
    return fleet.servers[name]


def _place(fleet: Fleet, answer: Explanation) -> str | None:
    policy = answer.policies[0] if answer.policies else answer.nearest.policy if answer.nearest else None
    if policy is None:
        return None
    (found,) = locate([Diagnostic("", "", path=fleet.policies[policy].path, at="table")], fleet.source)
    return f"{found.place.file}:{found.place.line}" if found.place else None


def of_server(fleet: Fleet, server: Server, rules: Mapping[str, Rules], question: Question) -> Answer:
    """Answer from the compiled rules of a server, for callers with many questions. The answer contains no place."""
    around, shown = question.around(surroundings_of(fleet)), _presented(fleet, rules[server.name], question)
    connection = replace(question.connection, certificate=shown.certificate)
    answer = _answer(fleet, rules[server.name], connection, around)
    if shown.refused:
        without = "admits" if answer.outcome == "admit" else "refuses"
        note = f"the server {without} the same connection without the certificate (--cert none)"
        handshake = Explanation("refuse", None, None, None, None, (), shown.refused, (), notes=(note,))
        return Answer(connection, handshake)
    found = (*answer.notes, *shown.notes, *(_elsewhere(fleet, server, rules, question) if answer.nearest else ()))
    return Answer(connection, replace(answer, notes=found))


def _answer(fleet: Fleet, rules: Rules, connection: Connection, around: Surroundings) -> Explanation:
    lines, server = rules.hba.lines, rules.server
    texts = {str(line.file): rules.hba_text for line in lines[:1]}
    answer = explain(lines, rules.ident.lines, texts, server.table.postgres, connection, around)
    if answer.line is not None:
        index = next(i for i, line in enumerate(lines) if line.number == answer.line)
        answer = replace(answer, policies=tuple(policy.name for policy in rules.origin[index]))
    found = (*user_for_role(fleet, connection.role), *answer.notes)
    if answer.outcome == "admit":
        return replace(answer, notes=found)
    found = (*found, *notes(fleet, server, connection, around))
    return replace(answer, nearest=nearest(fleet, server, connection, around), notes=found)


def _elsewhere(fleet: Fleet, server: Server, rules: Mapping[str, Rules], question: Question) -> Iterator[str]:
    """Name the servers that admit what this server rejects. Skip servers whose answer is uncertain."""
    around = question.around(surroundings_of(fleet))
    for other in fleet.servers.values():
        if other is server or (shown := _presented(fleet, rules[other.name], question)).refused:
            continue
        with suppress(Rejected):
            answer = _answer(
                fleet, rules[other.name], replace(question.connection, certificate=shown.certificate), around
            )
            if answer.outcome == "admit":
                yield f'{other.kind} "{other.name}" admits it, by policy {", ".join(answer.policies)}'


# --- certificates ---


@dataclass(frozen=True, slots=True)
class _Presented:
    """The certificate that the server sees, or the reason why the handshake fails because of it."""

    certificate: ClientCertificate | None = None
    refused: str | None = None
    notes: tuple[str, ...] = ()


def _presented(fleet: Fleet, rules: Rules, question: Question) -> _Presented:
    named = question.certificate
    if question.connection.transport != "tls" or named == NONE:
        return _Presented()
    server = rules.server
    trusted = trust(fleet, server, question.dialled, rules.left)
    as_host = f' as "{question.dialled}"' if question.dialled and server.sni else ""
    if not (server.identity_for(question.dialled).client_cas if question.dialled else server.accepted_cas):
        user = _holder(fleet, question)
        note = f'{server.kind} "{server.name}" asks for no certificate{as_host}, since it has no client_ca'
        return _Presented(notes=(note,) if named and user else ())
    if (outside := _outside(fleet, trusted, question)) is not None:
        return _Presented(_named(outside))
    user = _holder(fleet, question)
    if user is None or user.ca is None:
        return _Presented()
    if user.ca.name in (*trusted.named, *trusted.others):
        notes = tuple(_to_dial(server, user.ca)) if question.dialled is None else ()
        return _Presented(ClientCertificate(user.common_name, distinguished_name(user)), notes=notes)
    signed = (
        f'{server.kind} "{server.name}"{as_host} does not trust ca "{user.ca.name}", '
        f'which signs the certificate of "{user.name}"'
    )
    if named:
        return _Presented(refused=f"the TLS handshake fails (unknown ca): {signed}")
    return _Presented(notes=(f"the client shows no certificate: {signed}",))


def _to_dial(server: Server, ca: Authority) -> Iterator[str]:
    """Name the host names that a client with a certificate of this CA must dial, unless all of them work."""
    trusting = [one for one in server.identities if ca.anchor in {trusted.anchor for trusted in one.client_cas}]
    if len(trusting) < len(server.identities):
        yield f"the client must dial {' or '.join(host for one in trusting for host in one.table.hosts)}"


def _outside(fleet: Fleet, trusted: Trust, question: Question) -> str | None:
    """Return the common name of a certificate of a CA whose key is elsewhere. Return None for a user of the spec."""
    name = question.certificate or question.role
    user = fleet.users.get(name)
    if not trusted.foreign or name in fleet.ended_users or (user and user.ca):
        return None
    if question.certificate is None and _holder(fleet, question):
        return None
    return user.common_name if user else name


def _holder(fleet: Fleet, question: Question) -> User | None:
    """Return the user whose certificate the client shows: the one in the question, or one with the role."""
    named = question.certificate
    if named is not None:
        if named in fleet.ended_users:
            message = f'user "{named}" has ended, and so has its certificate'
            raise Rejected(Diagnostic("PGT291", message, hint='name another, "none", or an earlier instant with --now'))
        if named not in fleet.users:
            raise Rejected(_unknown("user", named, fleet.users))
        if fleet.users[named].ca is None:
            message = f'user "{named}" has no certificate'
            raise Rejected(Diagnostic("PGT291", message, hint='name another, or "none"'))
        return fleet.users[named]
    holders = [user for user in fleet.users.values() if user.ca and question.role in user.roles]
    return next((user for user in holders if user.name == question.role), holders[0] if holders else None)


def _unknown(kind: str, name: str, known: Iterable[str]) -> Diagnostic:
    known = list(known)
    near = did_you_mean(name.removeprefix(f"{kind}."), known)
    hint = f'did you mean "{near}"?' if near else f"there are: {', '.join(known[:10])}" if known else None
    return Diagnostic("PGT291", f'the spec has no {kind} "{name}"', hint=hint)
