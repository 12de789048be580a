"""Resolve names to objects: the spec becomes a fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgtls.diagnostics import errors
from pgtls.fleet.authorities import resolve_authorities, resolve_public
from pgtls.fleet.checks import judge
from pgtls.fleet.checks.tls_strings import of_later_versions
from pgtls.fleet.fields import Finder, once, report_unknown
from pgtls.fleet.model import Fleet, Identity, Server, User
from pgtls.fleet.policies import make_context, resolve_policy
from pgtls.fleet.poolers import legs, resolve_poolers
from pgtls.fleet.standbys import inherited, replication
from pgtls.language.values import plain
from pgtls.postgres.settings import SNI_SINCE, settings, versions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.diagnostics import Diagnostic, Path
    from pgtls.fleet.model import Authority, Policy
    from pgtls.fleet.policies import Context
    from pgtls.language.load import LoadResult
    from pgtls.language.models import ServerTable, SniTable, UserTable
    from pgtls.language.source import Loaded

NOT_OURS = ("self-signed", "system")
"""Keywords for the ``ca`` of a server."""

NO_CA = "none"
"""The keyword for the ``ca`` of a user without a certificate. It overrides ``[defaults]``."""


def resolve(
    loaded: Loaded, now: datetime, faulty: Collection[Path] = ()
) -> tuple[Fleet | None, tuple[Diagnostic, ...]]:
    """Link the tables of a spec at the time ``now``.

    There is a fleet only if every reference resolves and every address can be read. Otherwise everything else is still
    checked, so that one run finds all faults. ``faulty`` are the tables and fields that could not be read.
    """
    report: list[Diagnostic] = []
    fleet = _fleet(loaded, now, report)
    if errors(report):
        return None, tuple(once([*report, *judge(fleet, faulty, report)[1]]))
    return fleet, tuple(once(report))


class Resolved(NamedTuple):
    """The fleet of a spec, if all its references resolve, and the ``part`` of it without faults, with all findings."""

    fleet: Fleet | None
    part: Fleet | None
    diagnostics: tuple[Diagnostic, ...]


def judged(result: LoadResult, now: datetime) -> Resolved:
    """Link the tables of a spec, as far as it could be read, and apply all rules that need no compiled file."""
    if result.loaded is None:
        return Resolved(None, None, result.diagnostics)
    fleet, later = resolve(result.loaded, now, result.faulty)
    found = (*result.diagnostics, *result.unaffected(later))
    if fleet is None:
        return Resolved(None, None, found)
    part, checked = judge(fleet, result.faulty, result.diagnostics)
    # A table that could not be read may be what a warning misses.
    certain = errors(result.unaffected(checked)) if errors(result.diagnostics) else checked
    return Resolved(fleet, part, (*found, *certain))


def _fleet(loaded: Loaded, now: datetime, report: list[Diagnostic]) -> Fleet:
    cas = resolve_authorities(loaded, report)
    servers = {name: _server(loaded, name, table, cas, report) for name, table in sorted(loaded.spec.server.items())}
    everybody = {name: _user(loaded, name, table, cas, report) for name, table in sorted(loaded.spec.user.items())}
    users = {name: user for name, user in everybody.items() if not _ended(user.table.until, now)}
    context = make_context(loaded, servers, users, report)
    poolers = resolve_poolers(context, lambda finder, table: _links(loaded, finder, table, cas, report), report)
    written = _policies(context._replace(servers=servers | poolers), report)
    standing = {name: policy for name, policy in written.items() if not _ended(policy.table.until, now)}
    policies = {**inherited(loaded, servers, {**written, **legs(standing)}), **replication(servers, users)}
    return Fleet(
        cas=cas,
        servers=servers | poolers,
        users=users,
        policies={name: policy for name, policy in policies.items() if not _ended(policy.table.until, now)},
        lint=loaded.spec.lint,
        state=loaded.spec.state,
        source=loaded.source,
        now=now,
        own=loaded.own,
        ended_users={name: user for name, user in everybody.items() if name not in users},
        ended_policies={name: policy for name, policy in policies.items() if _ended(policy.table.until, now)},
        groups=loaded.spec.group,
        networks=loaded.spec.network,
        public=resolve_public(loaded),
    )


def _ended(until: datetime | None, now: datetime) -> bool:
    return until is not None and until <= now


def _server(
    loaded: Loaded, name: str, table: ServerTable, cas: Mapping[str, Authority], report: list[Diagnostic]
) -> Server:
    finder = Finder(loaded.own, "server", name, table)
    table = _of_its_version(finder, table)
    if table.standby_of is not None and table.standby_of not in loaded.spec.server:
        report_unknown(report, finder, "server", table.standby_of, loaded.spec.server, "standby_of")
    if table.replication_user is not None and table.replication_user not in loaded.spec.user:
        report_unknown(report, finder, "user", table.replication_user, loaded.spec.user, "replication_user")
    sni = tuple(
        Identity(f"{name}/{one.hosts[0].lower()}", one, *_links(loaded, further, one, cas, report), further.place)
        for index, one in enumerate(table.sni)
        for further in (Finder(loaded.own, "server", name, one, ("sni", index)),)
    )
    return Server(name, table, *_links(loaded, finder, table, cas, report), sni=sni)


def _links(
    loaded: Loaded,
    finder: Finder,
    table: ServerTable | SniTable,
    cas: Mapping[str, Authority],
    report: list[Diagnostic],
) -> tuple[Authority | None, tuple[Authority, ...], tuple[Authority, ...]]:
    """Return the CA of an identity, those whose clients it accepts, and those that its clients trust besides."""
    if table.ca is None and not (table.cert_file or table.external):
        likely = next(_likely_signers(loaded, cas), None)
        hint = f'ca = "{likely}"' if likely else 'define a CA, e.g. [ca.root], and write ca = "root"'
        whose = f'identity "{table.hosts[0]}" of server' if finder.place else finder.kind
        report.append(finder.fault("PGT103", f'{whose} "{finder.name}" has no CA', hint=hint))
    return (
        None if table.ca in NOT_OURS else _ca(finder, table.ca, cas, report),
        _cas(finder, "client_ca", table.client_ca, cas, report),
        _cas(finder, "trust", table.trust, cas, report),
    )


def _likely_signers(loaded: Loaded, cas: Mapping[str, Authority]) -> Iterator[str]:
    """Yield the CAs that may be meant for a server: first those of other servers, last those of clients and roots."""
    servers = loaded.spec.server.values()
    yield from (table.ca for table in servers if table.ca is not None and table.ca in cas)
    others = {name for table in servers for name in table.client_ca} | {ca.table.issuer for ca in cas.values()}
    yield from (name for name in cas if name not in others)
    yield from cas


def _of_its_version(finder: Finder, table: ServerTable) -> ServerTable:
    """Drop fields of ``[defaults]`` that the server's version lacks. Checks judge fields of the table itself."""
    left: dict[str, object] = {name: None for name in of_later_versions(table) if not finder.says(name)}
    if table.sni and table.postgres < SNI_SINCE and not finder.says("sni"):
        left["sni"] = ()
    if table.settings and not finder.says("settings"):
        known = settings(table.postgres)
        left["settings"] = {k: v for k, v in table.settings.items() if k.lower() in known or versions(k) is None}
    return table.model_copy(update=left) if left else table


def _user(loaded: Loaded, name: str, table: UserTable, cas: Mapping[str, Authority], report: list[Diagnostic]) -> User:
    if table.ca == NO_CA:
        table = table.model_copy(update={"ca": None})
    ca = cas.get(table.ca) if table.ca else None
    if table.ca and ca is None:
        report_unknown(report, Finder(loaded.own, "user", name, table), "ca", table.ca, cas, "ca")
    roles = tuple(dict.fromkeys(map(plain, table.roles))) if table.roles else (name,)
    os_users = roles if table.os_users is None else tuple(dict.fromkeys(map(plain, table.os_users)))
    return User(name, table, ca, roles, os_users)


def _ca(finder: Finder, name: str | None, cas: Mapping[str, Authority], report: list[Diagnostic]) -> Authority | None:
    if name is None or name in cas:
        return cas[name] if name else None
    report_unknown(report, finder, "ca", name, cas, "ca")
    return None


def _cas(
    finder: Finder, key: str, names: Sequence[str], cas: Mapping[str, Authority], report: list[Diagnostic]
) -> tuple[Authority, ...]:
    found: dict[str, Authority] = {}
    for index, name in enumerate(names):
        if name in cas:
            found[name] = cas[name]
        else:
            report_unknown(report, finder, "ca", name, cas, key, index)
    return tuple(found.values())


def _policies(context: Context, report: list[Diagnostic]) -> dict[str, Policy]:
    """Return all policies, except those whose users have all ended."""
    tables = sorted(context.loaded.spec.policy.items())
    found = {name: resolve_policy(context, name, table, report) for name, table in tables}
    broken = bool(errors(report))  # a policy may then be without users because it names unknown ones
    return {name: policy for name, policy in found.items() if policy.roles or broken}
