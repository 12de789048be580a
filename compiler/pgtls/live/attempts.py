"""Compute what ``try`` attempts on a server, and the expected outcome of each attempt.

:mod:`pgtls.access.question`, which also answers ``pgtls explain``, decides whether a connection must be admitted. Only
the handshake decides about expired, revoked and unknown certificates, and about impostors: there the spec's
``client_ca``, ``crl`` and ``sslmode`` are the promise to test.

**Addresses.** A machine has few addresses, and a policy names many. Addresses that the lines of pg_hba.conf treat alike
are one :class:`Source`. For each source the server gets its compiled pg_hba.conf with the lines that cover it,
rewritten for the loopback address. pgtls decides which lines cover an address; PostgreSQL decides everything else.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Network, ip_address
from itertools import islice
from typing import TYPE_CHECKING, Literal

from pgtls.access.bundles import REPLICATION, index
from pgtls.access.classes import Classes, indices
from pgtls.access.explain import surroundings_of
from pgtls.access.meaning import coverage
from pgtls.access.question import NONE, Question, of_server
from pgtls.access.text import line_coverage
from pgtls.diagnostics import Rejected
from pgtls.hba.match import Identities, decide, map_identity
from pgtls.hba.model import Connection, Keyword, Line, Name, Regex
from pgtls.hba.render import render_hba
from pgtls.live.private import STRANGER
from pgtls.live.throwaway import Account, account_named, own_account
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pgtls.access.explain import Explanation
    from pgtls.access.model import Entry
    from pgtls.fleet.model import Fleet, Server, User
    from pgtls.hba.model import IPAddress
    from pgtls.live.private import Private

Parameters = dict[str, str]
"""libpq parameters by keyword. Paths are relative to the private directory."""

Dial = Literal["server", "socket", "impostor", "other host", "no TLS"]
Password = Literal["right", "wrong", "none"]

TRIED = frozenset({"trust", "reject", "cert", "scram-sha-256", "md5", "password", "peer"})
"""Methods that need only the server. The other methods need a program that is not here."""

_MANY = 100
_LOOPBACK = IPv4Network("127.0.0.1/32")
_NOTHING = Line("host", (Keyword.ALL,), (Keyword.ALL,), IPv4Network("0.0.0.0/32"), "reject")
"""A line that matches no client: PostgreSQL rejects a file without lines."""
_ANYWHERE = {4: ip_address("192.0.2.1"), 6: ip_address("2001:db8::1")}
"""Addresses for documentation (RFC 5737, RFC 3849)."""
_DEMANDS = frozenset({"channel_binding", "require_auth", "sslcertmode", "sslnegotiation"})
_NO_FILE = "no-such-file"
_WITH_PASSWORD = frozenset({"scram-sha-256", "md5", "password"})
_VERIFYING = ("verify-ca", "verify-full")
_HANDSHAKE = r"alert|SSL error|SSL SYSCALL|certificate verify failed|closed the connection|reset by peer|Broken pipe"


@dataclass(frozen=True, slots=True)
class Source:
    """A source whose clients the server treats alike: an address with its names. None is the Unix socket."""

    address: IPAddress | None
    host_names: frozenset[str] = frozenset()
    lines: frozenset[int] = field(default=frozenset(), compare=False)
    """The indexes of the lines for this source and any role: in the judge's pg_hba.conf, then in the compiled one."""

    def __str__(self) -> str:
        names = f" ({', '.join(sorted(self.host_names))})" if self.host_names else ""
        return f"{self.address or 'local'}{names}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection to try. ``reason`` is the text of an expected rejection, as a regular expression."""

    server: str
    user: str | None
    """The user whose bundle it uses."""
    role: str
    database: str
    """ "replication": physical replication."""
    source: Source
    what: str
    """How it differs from a connection with the unchanged bundle."""
    expected: Literal["admit", "refuse"]
    reason: str = ""
    method: str | None = None
    policies: tuple[str, ...] = ()
    parameters: Parameters = field(default_factory=dict)
    dial: Dial = "server"
    password: Password = "none"  # noqa: S105
    account: Account | None = None
    """The operating-system account that connects. None: the account that runs pgtls."""
    untried: str = ""
    """Why pgtls cannot try it."""


class Attempts:
    """All attempts on one server. ``compiled`` are the lines of its pg_hba.conf."""

    def __init__(self, private: Private, server: Server, compiled: Sequence[Line]) -> None:
        self._private = private
        self._server = server
        self._rules = private.rules[server.name]
        self._compiled = compiled
        self._fleet: Fleet = private.fleet
        self._around = surroundings_of(private.fleet)
        self._policies = private.fleet.policies_of(server)
        self._done: set[object] = set()
        self._said: dict[Question, Explanation | str] = {}

    def all(self) -> list[Attempt]:
        """Return every attempt once, grouped by source."""
        found: dict[object, Attempt] = {}
        for attempt in (*self._of_bundles(), *self._of_strangers(), *self._on_the_socket()):
            parameters = tuple(sorted(attempt.parameters.items()))
            key = (attempt.source, parameters, attempt.dial, attempt.password, attempt.account, attempt.untried)
            found.setdefault((attempt.role, attempt.database, *key), attempt)
        return list(found.values())

    # --- sources ------------------------------------------------------------------------------------------------------

    @cached_property
    def _lines(self) -> tuple[Line, ...]:
        return (*self._rules.hba.lines, *self._compiled)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """One source for each list of lines that apply to it, regardless of their addresses. Loopback is the first."""
        alike = [replace(line, address=None, file=None, number=None) for line in self._lines]
        found: dict[tuple[Line, ...], Source] = {}
        for source in (self._at("127.0.0.1"), *self._examples()):
            found.setdefault(tuple(dict.fromkeys(alike[index] for index in sorted(source.lines))), source)
        return tuple(map(self._usual, found.values()))

    def _examples(self) -> Iterator[Source]:
        """Yield each class of addresses. If an unknown fact divides a class, yield the part with the example."""
        near = [index for index, line in enumerate(self._lines) if isinstance(line.address, Keyword)]
        known = self._fleet.memberships
        policies = [coverage(policy) for policy in self._policies]
        for one in Classes(policies, [line_coverage(line) for line in self._lines], known).addresses:
            address, _, host = one.example.partition(" ")
            names = frozenset({host.strip("()")} if host else ())
            source = Source(ip_address(address), names, frozenset(indices(one.bits.lines)))
            if all((index in source.lines) == self._covers(self._lines[index], source) for index in near):
                yield source

    def _usual(self, source: Source) -> Source:
        """Return a more usual address than the first one of a network, if the lines treat both alike."""
        if source.address is None or source.address.is_loopback:
            return source
        usual = (_ANYWHERE[source.address.version], source.address + 1)
        others = (self._at(str(address), source.host_names) for address in usual)
        return next((other for other in others if other.lines == source.lines), source)

    def _at(self, address: str, host_names: frozenset[str] = frozenset()) -> Source:
        source = Source(ip_address(address), host_names)
        return replace(source, lines=frozenset(i for i, line in enumerate(self._lines) if self._covers(line, source)))

    def _covers(self, line: Line, source: Source) -> bool:
        """Return whether a line covers this address for some role and database."""
        if line.address is None:
            return False
        anybody = replace(line, type="host", databases=(Keyword.ALL,), roles=(Keyword.ALL,))
        connection = Connection("somebody", "something", "tls", source.address, source.host_names)
        return decide([anybody], connection, self._around) is not None

    def hba(self, source: Source) -> str:
        """Rewrite the compiled pg_hba.conf for a client that connects from loopback instead of ``source``."""
        first = len(self._rules.hba.lines)
        lines = [
            replace(_triable(line), address=line.address and _LOOPBACK)
            for index, line in enumerate(self._compiled, first)
            if line.address is None or index in source.lines
        ]
        return render_hba(lines or [_NOTHING], self._server.table.postgres)

    # --- what the spec names ------------------------------------------------------------------------------------------

    @cached_property
    def somebody(self) -> str:
        """A role that the spec does not name."""
        named = {role for user in self._fleet.users.values() for role in user.roles} | set(self._named_roles)
        return next(
            name for name in ("somebody", *(f"somebody{n}" for n in range(len(named) + 1))) if name not in named
        )

    @cached_property
    def _named_roles(self) -> tuple[str, ...]:
        terms = (term for policy in self._policies for term in policy.roles)
        return tuple(dict.fromkeys(term.text for term in terms if isinstance(term, Name)))

    @cached_property
    def databases(self) -> tuple[str, ...]:
        """Databases that the spec names or its patterns match, and the database that every server has."""
        terms = [term for policy in self._policies for term in policy.databases]
        named = [term.text for term in terms if isinstance(term, Name)]
        matched = [re.sub(r"\\(.)", r"\1", term.pattern.strip("^$")) for term in terms if isinstance(term, Regex)]
        plain = [text for text in matched if re.fullmatch(r"[\w-]+", text)]
        return tuple(dict.fromkeys(("postgres", *(self._server.databases or ()), *named, *plain)))

    # --- attempts with the bundles ------------------------------------------------------------------------------------

    def _of_bundles(self) -> Iterator[Attempt]:
        for user in self._fleet.users.values():
            listed = self._entries[user.name]
            parameters = _connections(self._private.bundle(user)) if listed else {}
            for entry in listed:
                host = entry.identity.table.hosts[0]
                target = (entry.server.name, host, entry.role, entry.database, entry.replication)
                certificate = user.name if entry.certificate else NONE
                yield from self._of_entry(user, entry, _Way(user.name, parameters[target], "", certificate))

    @cached_property
    def _entries(self) -> Mapping[str, Sequence[Entry]]:
        """The entries for this server, by user."""
        return {
            user: [entry for entry in entries if entry.server.name == self._server.name]
            for user, entries in index(self._fleet).items()
        }

    @cached_property
    def _many(self) -> bool:
        """Whether to try rejections only once for entries of the same policies, because there are so many entries."""
        return sum(map(len, self._entries.values())) > _MANY

    def _of_entry(self, user: User, entry: Entry, way: _Way) -> Iterator[Attempt]:
        way, best = self._best(user, entry, way)
        policies: set[tuple[str, ...]] = set()
        for source in (best, *self.sources):
            attempt = self._judged(way, source, "its bundle")
            new = attempt.policies not in policies or self._first_time("from", user.name, str(source))
            if source == best or (attempt.expected == "admit" and not attempt.untried and new):
                policies.add(attempt.policies)
                yield attempt
        if self._many and not self._first_time("refusals", *_kind(entry)):
            return
        yield self._judged(way.careless(sslmode="disable"), best, "without TLS")
        if entry.certificate:
            without = replace(way.careless(sslcert=_NO_FILE), certificate=NONE)
            yield self._judged(without, best, "without a certificate")
            yield from self._of_others(user, way, best)
            yield from self._certificates(user, way, best)
        yield from self._elsewhere(entry, way, best)
        yield from self._passwords(way, best)
        yield from self._impostors(user, way, best)

    def _best(self, user: User, entry: Entry, way: _Way) -> tuple[_Way, Source]:
        """Return the connection to a database of the entry, and a source. Prefer a connection that is admitted."""
        if entry.replication:
            ways = [replace(way, database=REPLICATION)]
        else:
            names = (entry.database,) if entry.database else (*self.databases, *user.member_of, entry.role)
            ways = [way.to(name) for name in names]
        pairs = ((found, source) for found in ways for source in self.sources)
        return next(
            ((found, source) for found, source in pairs if self._outcome(found, source) == "admit"),
            (
                ways[0],
                self.sources[0],
            ),
        )

    def _of_others(self, user: User, way: _Way, source: Source) -> Iterator[Attempt]:
        """Yield the same connection with the certificate of another user that the server must reject."""
        for other in self._fleet.users.values():
            bundle = self._private.bundle(other)
            if other is user or other.ca is None or not (bundle / layout.CLIENT_KEY).exists():
                continue
            found = replace(way.changed(**self._files(bundle)), certificate=other.name)
            if self._outcome(found, source) != "admit":
                attempt = self._judged(found, source, f"with the certificate of {other.name}")
                # A further identity for a host name (sni) may accept fewer CAs than the server as a whole.
                either = f"{attempt.reason}|{_HANDSHAKE}" if self._server.table.sni else attempt.reason
                yield replace(attempt, reason=either)
                return

    def _certificates(self, user: User, way: _Way, source: Source) -> Iterator[Attempt]:
        """Yield certificates that the handshake must reject, once for each user."""
        if user.ca is None or not self._first_time("certificates", user.name):
            return
        private, own = self._private, self._private.server(self._server)
        stranger = self._files(private.bundle(user, STRANGER))
        yield self._refused(way.changed(**stranger), source, "with a certificate of another CA with the same name")
        yield self._refused(
            way.changed(sslcert=self._path(private.expired(user))), source, "with an expired certificate"
        )
        withdrawn = private.withdrawn(user) if self._server.table.crl else None
        if withdrawn is not None:
            yield self._refused(way.changed(sslcert=self._path(withdrawn)), source, "with a revoked certificate")
        if self._server.ca in user.ca.chain and self._first_time("the server's own"):
            files = self._pair(own / layout.SERVER_CERTIFICATE, own / layout.SERVER_KEY)
            yield self._refused(way.changed(**files), source, "with the certificate of the server")

    def _elsewhere(self, entry: Entry, way: _Way, source: Source) -> Iterator[Attempt]:
        """Yield one database, one role and one source without a grant for a role, if they exist."""
        if not self._first_time("elsewhere", way.user or "", entry.role, str(entry.replication)):
            return
        names = () if entry.replication else self.databases
        kinds = (
            ((way.to(name), source, "to another database") for name in names if name != way.database),
            ((way.changed(user=role), source, "as another role") for role in (*self._named_roles, self.somebody)),
            ((way, other, "from another address") for other in self.sources if other != source),
        )
        for kind in kinds:
            attempts = [self._judged(*one) for one in kind]
            refused = [one for one in attempts if one.expected == "refuse" and not one.untried]
            # If a line covers it, the attempt also tests that line.
            yield from sorted(refused, key=lambda one: one.method is None)[:1]

    def _passwords(self, way: _Way, source: Source) -> Iterator[Attempt]:
        """Yield a wrong password and no password, if the line asks for one."""
        right = self._judged(way, source, "")
        if (right.password, right.expected, right.untried) == ("right", "admit", ""):
            refused = replace(right, expected="refuse")
            wrong = "authentication failed"
            yield replace(refused, what="with a wrong password", password="wrong", reason=wrong)  # noqa: S106
            yield replace(refused, what="without a password", password="none", reason="no password")  # noqa: S106

    def _impostors(self, user: User, way: _Way, source: Source) -> Iterator[Attempt]:
        """Yield servers that this client's sslmode must reject, once for each user and mode."""
        mode = way.parameters["sslmode"]
        if mode not in ("require", *_VERIFYING) or not self._first_time("impostors", user.name, mode):
            return
        if mode in _VERIFYING:
            yield self._fooled(way, source, "an impostor: same names, another CA", "impostor", "verify failed")
        if mode == "verify-full" and self._server.ca is not None:
            reason = "does not match host name|verify failed"
            yield self._fooled(way, source, "an impostor: another host, same CA", "other host", reason)
        reason = "does not support SSL|SSL|closed the connection|reset by peer"
        yield self._fooled(way, source, "an impostor that turns TLS off", "no TLS", reason)

    def _fooled(self, way: _Way, source: Source, what: str, dial: Dial, reason: str) -> Attempt:
        return replace(self._refused(way, source, what), reason=reason, dial=dial)

    def _refused(self, way: _Way, source: Source, what: str) -> Attempt:
        """Return an attempt that the handshake decides, before the server reads pg_hba.conf."""
        return Attempt(
            self._server.name, way.user, way.parameters["user"], way.database, source, what, "refuse", _HANDSHAKE,
            parameters=way.parameters,
        )  # fmt: skip

    def _first_time(self, *key: str) -> bool:
        first = key not in self._done
        self._done.add(key)
        return first

    # --- others -------------------------------------------------------------------------------------------------------

    def _of_strangers(self) -> Iterator[Attempt]:
        """Yield connections with a role that the spec does not name, from every source, with and without TLS."""
        host = self._server.table.hosts[0]
        for source in self.sources:
            for sslmode, what in (
                ("require", "nobody's client, over TLS"),
                ("disable", "nobody's client, without TLS"),
            ):
                database = self.databases[-1]
                parameters = {"host": host, "dbname": database, "user": self.somebody, "sslmode": sslmode}
                parameters |= {"sslcert": _NO_FILE, "gssencmode": "disable"}
                yield self._judged(_Way(None, parameters, database), source, what)

    def _on_the_socket(self) -> Iterator[Attempt]:
        socket = Source(None)
        for policy in self._policies if any(policy.local for policy in self._policies) else ():
            for role in (term.text for term in policy.roles if isinstance(term, Name)):
                for account in self._accounts(role) if policy.local else (own_account(),):
                    database = self._socket_database(role)
                    parameters = {"dbname": database, "user": role}
                    way = _Way(None, parameters, database)
                    attempt = self._judged(way, socket, f"on the Unix socket as {account.name}")
                    yield replace(self._by_account(attempt, account), dial="socket")

    def _socket_database(self, role: str) -> str:
        for database in (*self.databases, role):
            if self._outcome(_Way(None, {"user": role}, database), Source(None)) == "admit":
                return database
        return self.databases[0]

    def _accounts(self, role: str) -> Iterator[Account]:
        """Yield our own account and, if it may not use this role, one that may.

        Its uid is -1 if it does not exist here.
        """
        own = own_account()
        yield own
        line = self._socket_line(role)
        if line is None or line.method != "peer" or self._is(own, role):
            return
        known = Identities(self._rules.ident.lines, self._server.table.postgres, self._around)
        names = [name.text for name in known.of(line.map, role) if isinstance(name, Name)]
        here = (account for name in names if own.uid == 0 and (account := account_named(name)))
        yield from islice((*here, *(Account(name, -1, -1) for name in names)), 1)

    def _socket_line(self, role: str) -> Line | None:
        return decide(self._rules.hba.lines, Connection(role, self._socket_database(role), "socket"), self._around)

    def _is(self, account: Account, role: str) -> bool:
        """Return whether ``peer`` accepts an account for this role."""
        line, version = self._socket_line(role), self._server.table.postgres
        name, idents = line.map if line else None, self._rules.ident.lines
        return map_identity(idents, name, role, account.name, version, self._around).accepted

    def _by_account(self, attempt: Attempt, account: Account) -> Attempt:
        """Set the connecting account. For ``peer``, it is the account that the judge expects."""
        attempt = replace(attempt, account=account)
        if attempt.method != "peer" or attempt.untried:
            return attempt
        if account.uid < 0:
            return replace(attempt, untried=f"peer: this run cannot become the operating-system user {account.name}")
        if not self._is(account, attempt.role):
            return replace(attempt, expected="refuse", reason="Peer authentication failed")
        return attempt

    # --- the judge ----------------------------------------------------------------------------------------------------

    def _says(self, way: _Way, source: Source) -> Explanation | str:
        """Ask the judge about a connection, once. It may be unable to answer."""
        question = Question(
            role=way.parameters["user"],
            database=way.database,
            address=source.address,
            host_names=source.host_names,
            cleartext=source.address is not None and way.parameters.get("sslmode") == "disable",
            certificate=way.certificate,
            dialled=way.parameters.get("host"),
        )
        if question not in self._said:
            try:
                answer = of_server(self._fleet, self._server, self._private.rules, question)
                self._said[question] = answer.explanation
            except Rejected as rejected:
                self._said[question] = rejected.diagnostics[0].message
        return self._said[question]

    def _outcome(self, way: _Way, source: Source) -> Literal["admit", "refuse"] | None:
        said = self._says(way, source)
        return None if isinstance(said, str) else said.outcome

    def _judged(self, way: _Way, source: Source, what: str) -> Attempt:
        said = self._says(way, source)
        attempt = self._refused(way, source, what)
        if isinstance(said, str):
            return replace(attempt, untried=said)
        attempt = replace(attempt, expected=said.outcome, method=said.method, policies=said.policies)
        if said.method is not None and said.method not in TRIED:
            return replace(attempt, untried=f"{said.method}: what it asks is not on this machine")
        password: Password = "right" if said.method in _WITH_PASSWORD else "none"
        return replace(attempt, reason=_reason(said), password=password)

    def _files(self, bundle: Path) -> Parameters:
        return self._pair(bundle / layout.CLIENT_CERTIFICATE, bundle / layout.CLIENT_KEY)

    def _pair(self, certificate: Path, key: Path) -> Parameters:
        return {"sslcert": self._path(certificate), "sslkey": self._path(key)}

    def _path(self, path: Path) -> str:
        return str(path.relative_to(self._private.directory))


_Target = tuple[str, str, str, str | None, bool]
"""The server, host, role and database of an entry, and whether it is for physical replication."""


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to connect: with the bundle of a user, or without one.

    ``certificate`` names the owner of the certificate.
    """

    user: str | None
    parameters: Parameters
    database: str
    certificate: str = NONE

    def changed(self, **parameters: str) -> _Way:
        return replace(self, parameters=self.parameters | parameters)

    def careless(self, **parameters: str) -> _Way:
        """Change parameters, and drop the client's own demands: the server alone must reject it."""
        left = {name: value for name, value in self.parameters.items() if name not in _DEMANDS}
        return replace(self, parameters=left | parameters)

    def to(self, database: str) -> _Way:
        return replace(self.changed(dbname=database), database=database)


def _connections(bundle: Path) -> Mapping[_Target, Parameters]:
    """Return the parameters of every entry of a bundle, with the files that exist there."""
    files = {
        "sslrootcert": layout.CLIENT_TRUST,
        "sslcert": layout.CLIENT_CERTIFICATE,
        "sslkey": layout.CLIENT_KEY,
        "sslcrl": layout.CLIENT_CRL,
    }
    home = bundle.relative_to(bundle.parents[2])
    there = {name: str(home / file) for name, file in files.items() if (bundle / file).exists()}
    listed = json.loads((bundle / layout.CONNECTIONS).read_text())["connections"]
    return {
        (one["server"], one["parameters"]["host"], one["role"], one["database"], one["replication"]): _ordered(
            there | one["parameters"]
        )
        for one in listed
    }


def _ordered(parameters: Parameters) -> Parameters:
    """Put host, port, database, user and sslmode first."""
    first = ("host", "port", "dbname", "user", "sslmode")
    return {name: parameters[name] for name in (*first, *parameters) if name in parameters}


def _kind(entry: Entry) -> tuple[str, ...]:
    """Return the facts that decide about an entry, for any user."""
    return (*(policy.name for policy in entry.policies), entry.sslmode, str(entry.certificate), str(entry.database))


def _triable(line: Line) -> Line:
    """Replace a method that needs another program: a server without that program would not read the file."""
    return line if line.method in TRIED else replace(line, method="reject", options=())


def _reason(said: Explanation) -> str:
    """Return the text of the expected rejection."""
    if said.method == "reject":
        return "pg_hba.conf rejects"
    if said.line is None:
        return _HANDSHAKE if "handshake" in said.why else "no pg_hba.conf entry"
    return "valid client certificate|authentication failed for user"
