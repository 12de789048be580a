"""Compute how a server answers connections in one of the two states that a change of the spec has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.bundles import index
from pgtls.access.demands import Clients, Demand
from pgtls.access.meaning import SECRET, Accepted, Holders, as_text, secret_options
from pgtls.access.text import Text, shows
from pgtls.fleet.model import subject_attributes
from pgtls.hba.match import map_identity
from pgtls.hba.model import Surroundings
from pgtls.hba.regex import Undecidable
from pgtls.pki.expected import subject_text
from pgtls.postgres.releases import NEWEST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgtls.access.demands import Demands
    from pgtls.access.meaning import Ask, Bearer
    from pgtls.access.model import Entry, Rules
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet, Policy, Server
    from pgtls.hba.model import Line, Transport


@dataclass(frozen=True)  # no slots: a cached property
class Side:
    """One of the two states of a spec."""

    fleet: Fleet
    rules: Mapping[str, Rules]
    waived: tuple[Diagnostic, ...] = ()

    @cached_property
    def entries(self) -> Mapping[str, tuple[Entry, ...]]:
        """The entries of every user's bundle, by user name."""
        return index(self.fleet)

    @cached_property
    def clients(self) -> Clients:
        """What it demands of clients."""
        return Clients(self.fleet)


def checks_crls(server: Server) -> bool:
    """Return whether a server knows which certificates are revoked."""
    return server.table.crl and any(ca.table.crl for named in server.accepted_cas for ca in named.chain)


class Answer(NamedTuple):
    """A server's answer to a class of connections over one transport.

    ``checked`` says whether the server rejects revoked certificates. ``tls`` is the minimum version of TLS, "" without
    TLS.
    """

    line: int | None = None
    ask: Ask | None = None
    policies: tuple[str, ...] = ()
    checked: bool = False
    tls: str = ""


class Holder(NamedTuple):
    """What the certificate of a user shows."""

    user: str
    common_name: str
    subject: str


def holders_of(side: Side, server: str) -> frozenset[Holder]:
    """Return the certificates that a server trusts."""
    if server not in side.rules:
        return frozenset()
    users = Holders(side.fleet, side.rules[server].server).users
    subjects = ((user, subject_attributes(user.table.subject, user.common_name)) for user in users)
    return frozenset(Holder(user.name, user.common_name, subject_text(subject)) for user, subject in subjects)


class State:
    """One server in one state. ``holders`` are the certificates that it trusts, ``others`` those of the other state.

    ``alone`` are the users whose certificates only this state trusts.
    """

    def __init__(self, side: Side, name: str, holders: frozenset[Holder], others: frozenset[Holder]) -> None:
        rules = side.rules.get(name)
        self.name, self._clients = name, side.clients
        self.lines = rules.hba.lines if rules else ()
        self.origin: Sequence[Sequence[Policy]] = rules.origin if rules else ()
        self.checks_crls = rules is not None and checks_crls(rules.server)
        self.min_tls = rules.server.table.min_tls if rules else ""
        secrets = secret_options(side.fleet.policies.values())
        self.text = Text(self.lines, rules.ident.lines, Holders(side.fleet, rules.server), secrets) if rules else None
        self.idents = rules.ident.lines if rules else ()
        self._version = rules.server.table.postgres if rules else NEWEST
        self._alone = holders - others
        self.alone: frozenset[Bearer] = frozenset(("user", one.user) for one in self._alone)
        self._shown = {one.user: one for one in holders} if holders != others else {}
        self._index = {line.number: index for index, line in enumerate(self.lines)}
        self.answer = cache(self._answer)
        self._asked = cache(lambda line, role: self._clients.asked(name, self.lines[line], self.origin[line], role))

    def _answer(self, lines: int, transport: Transport) -> Answer:
        line = self.text.deciding(lines, transport) if self.text else None
        if line is None or self.text is None:
            return Answer()
        policies = self.origin[self._index[line.number]]
        ask = _sourced(self.text.ask(line), policies)
        return Answer(
            self._index[line.number],
            ask,
            tuple(policy.name for policy in policies),
            ask is not None and ask.certificate != "none" and self.checks_crls,
            self.min_tls if transport == "tls" else "",
        )

    def demands(self, answer: Answer, role: str) -> Demands:
        """Return what policies demand of the clients of a role."""
        if answer.line is None or answer.ask is None:
            return {"": Demand()}
        return self._asked(answer.line, role)

    def accepted(self, answer: Answer, role: str) -> Accepted:
        """Return whose identity is accepted for a role: of a certificate, and of the name that a method proves."""
        if self.text is None or answer.line is None or answer.ask is None:
            return Accepted()
        line = self.lines[answer.line]
        found, proved = self.text.accepted(line, role), self.text.proved(line, role)
        further = frozenset(
            ("user", one.user) for one in self._alone if self._accepts(line, answer.ask, found, one, role)
        )
        return Accepted(found.bearers | proved.bearers | further, found.patterns | proved.patterns)

    def with_texts(self, accepted: Accepted) -> Accepted:
        """Add the names in the certificates of the accepted users.

        A line accepts the name of a user who is gone as that of a stranger; that grants nothing to anybody.
        """
        shown = [self._shown[user] for kind, user in accepted.bearers if kind == "user" and user in self._shown]
        texts = {bearer for one in shown for bearer in (("cn", one.common_name), ("dn", one.subject))}
        return replace(accepted, bearers=accepted.bearers | texts)

    def _accepts(self, line: Line, ask: Ask, found: Accepted, holder: Holder, role: str) -> bool:
        """Return whether a line accepts a certificate without naming it: any of a CA, or by an expression of its map.

        What cannot be evaluated counts as accepted.
        """
        if ask.certificate == "verify-ca":
            return True
        certified, ident_map, subject = shows(line)
        if not (certified and ident_map and found.patterns):
            return False
        shown = holder.subject if subject else holder.common_name
        try:
            return map_identity(self.idents, ident_map, role, shown, self._version, Surroundings()).accepted
        except Undecidable:
            return True


def _sourced(ask: Ask | None, policies: Sequence[Policy]) -> Ask | None:
    """Put the source of each secret in its place, never its value: another source may hold a known text."""
    if ask is None or not any(value == SECRET for _, value in ask.options):
        return ask
    hidden = {name for name, value in ask.options if value == SECRET}
    known = {(name, text) for policy in policies for name, text in _sources_of(policy) if name in hidden}
    return replace(ask, options=frozenset(one for one in ask.options if one[0] not in hidden) | known)


def _sources_of(policy: Policy) -> frozenset[tuple[str, str]]:
    return frozenset((name, as_text(value)) for name, value in policy.table.auth_options.items())
