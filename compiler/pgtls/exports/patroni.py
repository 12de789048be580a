"""Configuration for Patroni: one YAML file a member, which Patroni merges with the rest of its configuration directory.

Patroni writes pg_hba.conf from ``postgresql.pg_hba``, and connects to PostgreSQL itself: as superuser over the Unix
socket, and between the members for replication and for ``pg_rewind``. The policies must admit all of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

from pgtls.access.question import Question, of_server
from pgtls.certificates.trust import listed_cas
from pgtls.diagnostics import Diagnostic, refuse
from pgtls.exports.built import SECRET, Built, Exported, built, user_named
from pgtls.exports.composed import composed, differences, hba_lines, ident_lines, kept_settings
from pgtls.exports.documents import render
from pgtls.hba.match import Identities
from pgtls.hba.model import Name, Surroundings
from pgtls.language.models import SSLMODES
from pgtls.language.positions import locate
from pgtls.output.postgresql_conf import read_fragment
from pgtls.state import layout
from pgtls.state.names import LOCK_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.access.model import Entry, Rules
    from pgtls.api import Spec
    from pgtls.fleet.model import Server, User
    from pgtls.hba.model import IPAddress

_FILES = ("hba_file", "ident_file")
"""Settings that would keep Patroni from writing pg_hba.conf and pg_ident.conf."""

ACCOUNT = "postgres"
"""The operating-system account that runs Patroni and PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """The users of the spec that Patroni connects as. Without ``rewind``, Patroni rewinds as superuser, if at all."""

    superuser: str = "postgres"
    replication: str = "replicator"
    rewind: str | None = None


@dataclass(frozen=True, slots=True)
class _Cluster:
    """The members, what was built for them, and the users that Patroni connects as."""

    members: Sequence[Server]
    built: Built
    superuser: User
    replication: User
    rewind: User | None

    def rules(self, member: Server) -> Rules:
        return composed(self.built.rules[member.name], "patroni")

    def entries(self, user: User, *, replication: bool) -> list[Entry]:
        """Return the entries with which a user reaches the members: for replication, or for database postgres."""
        names = {member.name for member in self.members}
        return [
            entry
            for entry in self.built.entries.get(user.name, ())
            if entry.server.name in names and entry.replication == replication and entry.database in (None, "postgres")
        ]


def export(
    spec: Spec,
    out: str,
    members: Sequence[Server],
    accounts: Accounts,
    lock_timeout: int = LOCK_TIMEOUT,
) -> tuple[dict[str, Exported], tuple[Diagnostic, ...]]:
    """Return a YAML file for each member, and warnings of the spec.

    Raise :class:`Rejected` where the policies do not admit what Patroni needs, or it cannot do what the spec says.
    """
    found = built(spec, out, [member.entity for member in members], lock_timeout)
    cluster = _Cluster(members, found, *_users(found, accounts))
    refuse(locate(tuple(_faults(cluster)), found.fleet.source))
    files = {f"{member.name}.yml": Exported(_member(cluster, member), SECRET) for member in members}
    return files, found.diagnostics


def _users(found: Built, accounts: Accounts) -> tuple[User, User, User | None]:
    fleet, add = found.fleet, "add it, or name another with"
    return (
        user_named(fleet, accounts.superuser, f"Patroni's superuser: {add} --superuser"),
        user_named(fleet, accounts.replication, f"the user that Patroni replicates as: {add} --replication"),
        user_named(fleet, accounts.rewind, "the user that runs pg_rewind") if accounts.rewind else None,
    )


# --- what is wrong ----------------------------------------------------------------------------------------------------


def _faults(cluster: _Cluster) -> Iterator[Diagnostic]:
    fleet = cluster.built.fleet
    for member in cluster.members:
        yield from kept_settings(member, "patroni", "set it with patronictl edit-config, and remove it here")
        if member.table.directory is None:
            message = (
                f'server "{member.name}" has no directory: its files would lie in the data directory, which Patroni '
                "removes and copies from another member, keys included"
            )
            hint = 'add a directory outside of the data directory, e.g. directory = "/etc/postgresql/tls"'
            yield Diagnostic("PGT665", message, ("server", member.name), hint, at="table")
        yield from differences(fleet, cluster.built.rules[member.name], "patroni")
        yield from _refused(cluster, member)
    for user in filter(None, (cluster.replication, cluster.rewind)):
        yield from _without_directory(
            user, (*cluster.entries(user, replication=True), *cluster.entries(user, replication=False))
        )


def _without_directory(user: User, entries: Sequence[Entry]) -> Iterator[Diagnostic]:
    needed = any(entry.certificate or entry.sslmode in ("verify-ca", "verify-full") for entry in entries)
    if user.table.directory is None and needed:
        message = f'user "{user.name}" has no directory: Patroni must know where the members keep its bundle'
        hint = 'add the directory of its bundle on every member, e.g. directory = "/etc/patroni/replicator"'
        yield Diagnostic("PGT665", message, ("user", user.name), hint, at="table")


_LOCAL = f'add a policy for it with from = ["local"]; for auth = "peer", the user needs os_users = ["{ACCOUNT}"]'


def _refused(cluster: _Cluster, member: Server) -> Iterator[Diagnostic]:
    """Yield the connections of Patroni's own that a member would refuse."""
    for user, database in ((cluster.superuser, "postgres"), (cluster.replication, "replication")):
        if not _admitted(cluster, member, user, database, None):
            what = f'over the Unix socket to database "{database}"'
            yield _needed(member, user, what, _LOCAL)
    needs = [(cluster.replication, "replication"), *([(cluster.rewind, "postgres")] if cluster.rewind else [])]
    for user, database in needs:
        for other in cluster.members:
            sources = list(_sources(cluster, other, user)) if other is not member else []
            if other is not member and not any(_admitted(cluster, member, user, database, one) for one in sources):
                what = f'from member "{other.name}" over TLS to database "{database}"'
                hint = f'add a policy for it with databases = ["{database}"] and the addresses of the members in from'
                yield _needed(member, user, what, hint)


def _needed(member: Server, user: User, what: str, hint: str) -> Diagnostic:
    message = f'Patroni connects to server "{member.name}" as user "{user.name}" {what}, and no policy admits it'
    return Diagnostic("PGT662", message, ("server", member.name), hint, at="table")


def _admitted(cluster: _Cluster, member: Server, user: User, database: str, address: IPAddress | None) -> bool:
    """Return whether a member admits a user with its own certificate; over the socket, the account of Patroni."""
    fleet, rules = cluster.built.fleet, cluster.rules(member)
    shown = user.name if user.ca and address else None
    question = Question(role=user.roles[0], database=database, address=address, certificate=shown)
    answer = of_server(fleet, member, {**cluster.built.rules, member.name: rules}, question).explanation
    if answer.outcome != "admit" or answer.method != "peer":
        return answer.outcome == "admit"
    line = next(line for line in rules.hba.lines if line.number == answer.line)
    known = Identities(rules.ident.lines, member.table.postgres, Surroundings())
    return Name(ACCOUNT) in known.of(line.map, user.roles[0])


def _sources(cluster: _Cluster, member: Server, user: User) -> Iterator[IPAddress]:
    """Yield the addresses from which a member may connect.

    If ``hosts`` has names only, these are unknown: then any address will do that the policies of the user name.
    """
    known: list[IPAddress] = [one for host in member.table.hosts if (one := _address(host))]
    if known:
        yield from known
        return
    policies = (policy for policy in cluster.built.fleet.policies.values() if user in policy.users)
    for term in (term for policy in policies for term in policy.addresses):
        yield term[0] if isinstance(term, IPv4Network | IPv6Network) else ip_address("192.0.2.1")


def _address(host: str) -> IPAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


# --- the file ---------------------------------------------------------------------------------------------------------


def _member(cluster: _Cluster, member: Server) -> bytes:
    rules = cluster.built.rules[member.name]
    fragment = cluster.built.file(member.entity, layout.CONF) or b""
    parameters = {name: value for name, value in read_fragment(fragment.decode()).items() if name not in _FILES}
    postgresql: dict[str, Any] = {
        "authentication": _authentication(cluster),
        "use_unix_socket": True,
        "use_unix_socket_repl": True,
        "parameters": parameters,
        "pg_hba": hba_lines(rules, "patroni"),
    }
    if maps := ident_lines(rules):
        postgresql["pg_ident"] = maps
    comment = (
        f"Written by pgtls from {member.entity}: do not edit, change the spec, build and export again.\n"
        "Place it in Patroni's configuration directory, where Patroni merges it with your own file."
    )
    return render([{"postgresql": postgresql}], comment)


def _authentication(cluster: _Cluster) -> dict[str, Any]:
    found: dict[str, Any] = {
        "superuser": {"username": cluster.superuser.roles[0]},
        "replication": _remote(cluster.replication, cluster.entries(cluster.replication, replication=True)),
    }
    if cluster.rewind:
        found["rewind"] = _remote(cluster.rewind, cluster.entries(cluster.rewind, replication=False))
    return found


def _remote(user: User, entries: Sequence[Entry]) -> Mapping[str, str]:
    """Return how Patroni connects from one member to another: as the bundle of the user does."""
    mode = max((entry.sslmode for entry in entries), key=SSLMODES.index, default="verify-full")
    found = {"username": user.roles[0], "sslmode": mode, "gssencmode": "disable"}
    directory = (user.table.directory or "").rstrip("/")
    if entries and all(entry.identity.system for entry in entries):
        found["sslrootcert"] = "system"
    elif directory:
        found["sslrootcert"] = f"{directory}/{layout.CLIENT_TRUST}"
        if listed_cas(user, entries):
            found["sslcrl"] = f"{directory}/{layout.CLIENT_CRL}"
    if entries and all(entry.channel_binding == "require" for entry in entries):
        found["channel_binding"] = "require"
    if any(entry.certificate for entry in entries):
        found |= {"sslcert": f"{directory}/{layout.CLIENT_CERTIFICATE}", "sslkey": f"{directory}/{layout.CLIENT_KEY}"}
    return found
