"""Poolers: PgBouncer as the server that its clients meet, and the policies by which it logs in to its own server.

A pooler shows its server one certificate for all of its clients. So each policy that names a pooler has a second part,
its *leg*: a policy of the server that accepts that certificate for the roles of the policy, from the pooler alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgtls.fleet.fields import Finder, report_unknown
from pgtls.fleet.model import Policy, Pooler
from pgtls.fleet.policies import listed_addresses
from pgtls.fleet.standbys import addresses_of
from pgtls.hba.model import Name
from pgtls.language.models import PolicyTable, ServerTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Authority
    from pgtls.fleet.policies import Context
    from pgtls.language.models import PoolerTable

    Links = Callable[
        [Finder, ServerTable],
        tuple[Authority | None, tuple[Authority, ...], tuple[Authority, ...]],
    ]

GRAMMAR = 15
"""The release whose pg_hba.conf PgBouncer reads: 16 brought regular expressions, which it lacks (its src/hba.c)."""


def resolve_poolers(context: Context, links: Links, report: list[Diagnostic]) -> dict[str, Pooler]:
    """Resolve all poolers. Report and omit one that has the name of a server: policies could not tell them apart."""
    found = {}
    for name, table in sorted(context.loaded.spec.pooler.items()):
        if name in context.servers:
            message = f'"{name}" is the name of a server and of a pooler: policies could not tell them apart'
            fault = Finder(context.loaded.own, "pooler", name, table).fault("PGT480", message, hint=_RENAME)
            report.append(fault)
        else:
            found[name] = _pooler(context, name, table, links, report)
    return found


_RENAME = "give the pooler another name"


def _pooler(context: Context, name: str, table: PoolerTable, links: Links, report: list[Diagnostic]) -> Pooler:
    spec, finder = context.loaded.spec, Finder(context.loaded.own, "pooler", name, table)
    if table.server not in context.servers:
        report_unknown(report, finder, "server", table.server, spec.server, "server")
    if table.user not in spec.user:
        report_unknown(report, finder, "user", table.user, spec.user, "user")
    met = as_server(table)
    listed = table.from_ and listed_addresses(context, finder, table.from_, report)
    return Pooler(
        name,
        met,
        *links(finder, met),
        written=table,
        backend=context.servers.get(table.server),
        user=context.users.get(table.user),
        addresses=tuple(dict.fromkeys(listed or addresses_of(table.hosts))),
    )


def as_server(table: PoolerTable) -> ServerTable:
    """Return what clients meet, as the table of a server: one without CRLs, and without a socket for them."""
    shared = ServerTable.model_fields.keys() & type(table).model_fields.keys()
    return ServerTable.model_construct(
        _fields_set=table.model_fields_set & shared,
        **{name: getattr(table, name) for name in shared},
        postgres=GRAMMAR,
        crl=False,
        no_local=True,
    )


def legs(policies: Mapping[str, Policy]) -> dict[str, Policy]:
    """Return the policies by which poolers log in to their servers for these policies, by name."""
    found = (
        _leg(policy, server)
        for policy in policies.values()
        if policy.table.auth != "reject"
        for server in policy.servers
        if isinstance(server, Pooler)
    )
    return {policy.name: policy for leg in found for policy in leg}


def name_of(pooler: str, policy: str) -> str:
    """Name the leg of a policy: no table of a spec can have a colon in its name."""
    return f"pooler:{pooler}:{policy}"


def _leg(policy: Policy, pooler: Pooler) -> Iterator[Policy]:
    """Yield the leg of a policy by way of a pooler. Roles that it does not list get none: a check reports them."""
    roles = tuple(term for term in policy.roles if isinstance(term, Name))
    if pooler.backend is None or pooler.user is None or not roles:
        return
    user = replace(pooler.user, roles=tuple(role.text for role in roles))
    table = PolicyTable.model_construct(
        _fields_set=set(),
        servers=(pooler.backend.name,),
        users=(user.name,),
        databases=policy.table.databases,
        from_=pooler.written.from_ or pooler.table.hosts,
        sslmode="verify-full",
        auth="cert",
        until=policy.table.until,
    )
    yield Policy(
        name=name_of(pooler.name, policy.name),
        table=table,
        servers=(pooler.backend,),
        users=(user,),
        roles=roles,
        databases=policy.databases,
        addresses=pooler.addresses,
        local=False,
        sslmode="verify-full",
        named=(user,),
        follows=("pooler", pooler.name, "user"),
    )
