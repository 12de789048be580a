"""Poolers: what PgBouncer lacks, and what its login to the server would open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.fleet.fields import finder, header, listed
from pgtls.fleet.model import Pooler
from pgtls.hba.model import HostName, Keyword, Name, Regex
from pgtls.hba.pgbouncer import METHODS, OWN_DATABASE, folded
from pgtls.language.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.fields import Finder
    from pgtls.fleet.model import Authority, Fleet, Policy, User
    from pgtls.hba.model import Address


def _pooler(policy: Policy) -> Pooler | None:
    """Return the first pooler that a policy names."""
    return next((server for server in policy.servers if isinstance(server, Pooler)), None)


# --- one policy -------------------------------------------------------------------------------------------------------


def lacking(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find what PgBouncer lacks: methods, parts of pg_hba.conf, the Unix socket, channel binding."""
    pooler = _pooler(policy)
    if pooler is None:
        return
    found = finder(fleet, policy)
    if policy.local:
        message = f'policy "{policy.name}" is for a Unix socket, and clients of pooler "{pooler.name}" have none'
        yield found.fault("PGT481", message, "from", hint="name addresses, or servers that are no poolers")
        return
    if policy.table.auth not in METHODS:
        message = f'"{policy.table.auth}" is no method for pooler "{pooler.name}"'
        hint = f"the methods are {', '.join(map(quoted, METHODS))}"
        yield found.fault("PGT481", message, "auth", hint=hint)
    for key, index, what in _unreadable(policy):
        message = f'PgBouncer has no {what}, and policy "{policy.name}" names pooler "{pooler.name}"'
        yield found.fault("PGT481", message, key, *index, hint=_INSTEAD[key])
    yield from _beyond_its_tls(found, policy, pooler)


_INSTEAD = {
    "databases": "name the databases one by one",
    "from": "write addresses and networks",
    "auth_options": "delete auth_options",
    "map": "make each identity a user of the spec",
}


def _unreadable(policy: Policy) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Yield field, index and name of what PgBouncer's hba and ident files lack."""
    for index, database in enumerate(policy.databases):
        if what := _lacking_database(database):
            yield "databases", (index,), what
    if address := next((what for what in map(_lacking_address, policy.addresses) if what), None):
        yield "from", (), address
    if policy.table.auth_options:
        yield "auth_options", (), f'option "{next(iter(policy.table.auth_options))}"'
    if policy.table.map:
        yield "map", (0,), "certificates of clients outside the spec"


def _lacking_database(database: Name | Regex | Keyword) -> str | None:
    match database:
        case Regex():
            return "regular expressions"
        case Keyword.SAMEROLE:
            return "samerole"
        case Keyword.REPLICATION:
            return "physical replication that pgtls could prove"
        case Name(text) if text == OWN_DATABASE:
            return f'other database "{OWN_DATABASE}" than its console'
        case Name(text) if text == "*" or "'" in text:
            return f"way to write the name {quoted(text)} in its [databases]"
    return None


def _lacking_address(address: Address) -> str | None:
    if isinstance(address, HostName):
        return f"host names in its hba file ({quoted(address.name)})"
    return address.value if address in (Keyword.SAMEHOST, Keyword.SAMENET) and isinstance(address, Keyword) else None


def _beyond_its_tls(found: Finder, policy: Policy, pooler: Pooler) -> Iterator[Diagnostic]:
    """Find cleartext, certificates beside a password, channel binding, and whole subjects."""
    if policy.sslmode is not None and not policy.requires_tls:
        message = f'pooler "{pooler.name}" takes clients over TLS alone, and "{policy.sslmode}" may do without'
        yield found.fault("PGT481", message, "sslmode", hint='set sslmode = "verify-full", or at least "require"')
    if policy.table.auth == "scram-sha-256" and policy.table.client_cert != "none":
        message = f'PgBouncer asks for a password or for a certificate, and policy "{policy.name}" asks for both'
        yield found.fault("PGT481", message, "client_cert", hint='auth = "cert", or no client_cert')
    if policy.table.channel_binding == "require":
        message = f'PgBouncer has no channel binding, and policy "{policy.name}" names pooler "{pooler.name}"'
        yield found.fault("PGT481", message, "channel_binding", hint='channel_binding = "prefer"')
    user = next((user for user in policy.named if user.table.identity == "dn"), None)
    if policy.table.auth == "cert" and user:
        message = f'PgBouncer compares common names, and user "{user.name}" is told by the whole subject'
        yield found.fault("PGT481", message, "users", hint=f'identity = "cn" in {header("user", user.name)}')


def unlisted_roles(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find policies by way of a pooler that do not list their roles: its certificate would open all of them."""
    pooler = _pooler(policy)
    if pooler is None or policy.table.auth == "reject":
        return
    for index, item in enumerate(policy.table.users):
        if item == "all" or (isinstance(item, str) and item[0] == "+"):
            message = (
                f'{quoted(item)} by way of pooler "{pooler.name}": whoever has its certificate for server '
                f'"{pooler.written.server}" could log in there as each of these roles'
            )
            yield finder(fleet, policy).fault("PGT482", message, "users", index, hint="name users, or groups of users")


def unlisted_members(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find rejections of ``+role``, which PgBouncer cannot read."""
    pooler = _pooler(policy)
    for index, item in enumerate(policy.table.users) if pooler and policy.table.auth == "reject" else ():
        if isinstance(item, str) and item[0] == "+":
            message = f'PgBouncer knows no members of a role, and policy "{policy.name}" rejects {quoted(item)}'
            yield finder(fleet, policy).fault("PGT481", message, "users", index, hint="name users, or groups of users")


def without_lists(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find policies by certificate at a pooler whose CAs publish CRLs: PgBouncer reads none."""
    pooler = _pooler(policy)
    if pooler is None or policy.table.auth != "cert":
        return
    listing = [ca.name for ca in _accepted(fleet, pooler) if ca.table.crl]
    if listing:
        message = (
            f'pooler "{pooler.name}" reads no CRL: a revoked certificate of ca {listed(listing)} logs in by policy '
            f'"{policy.name}" until it ends'
        )
        hint = (
            "let these users connect to the server itself; or accept it with a waiver, with a short validity of their "
            "certificates"
        )
        yield finder(fleet, policy).fault("PGT380", message, "auth", hint=hint)


def _accepted(fleet: Fleet, pooler: Pooler) -> list[Authority]:
    """Return the CAs whose clients a pooler accepts: those that it names, and those below."""
    named = {ca.name for ca in pooler.client_cas}
    return [ca for ca in fleet.cas.values() if any(above.name in named for above in ca.chain)]


# --- poolers ----------------------------------------------------------------------------------------------------------


def _policies(fleet: Fleet, pooler: Pooler, auth: str) -> list[Policy]:
    return [policy for policy in fleet.policies_of(pooler) if policy.table.auth == auth]


def mixed_methods(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find poolers with policies by certificate and by password: all clients show a certificate, or none does."""
    for pooler in fleet.poolers:
        certified, password = (_policies(fleet, pooler, auth) for auth in ("cert", "scram-sha-256"))
        if certified and password:
            message = (
                f'policy "{password[0].name}" is by password and policy "{certified[0].name}" by certificate: pooler '
                f'"{pooler.name}" asks every client for a certificate, or none'
            )
            hint = "make a second pooler for one of them, with its own port and directory"
            yield finder(fleet, password[0]).fault("PGT483", message, "auth", hint=hint)


def auth_files(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find poolers without the file of secrets that their policies need, or with one that nothing needs."""
    for pooler in fleet.poolers:
        certified, password = (_policies(fleet, pooler, auth) for auth in ("cert", "scram-sha-256"))
        found = finder(fleet, pooler)
        if password and not certified and pooler.written.auth_file is None:
            message = (
                f'policy "{password[0].name}" is by password, and pooler "{pooler.name}" has no auth_file: it knows '
                "nobody's password"
            )
            hint = (
                'name the file on its machine that has the SCRAM secrets, e.g. auth_file = "/etc/pgbouncer/secrets.txt"'
            )
            yield found.fault("PGT484", message, hint=hint)
        elif certified and pooler.written.auth_file is not None:
            message = f'pooler "{pooler.name}" has policies by certificate, for which pgtls writes the auth_file'
            yield found.fault("PGT484", message, "auth_file", hint="delete auth_file")
        elif pooler.written.auth_file is not None and pooler.written.auth_file[0] != "/":
            message = f'"{pooler.written.auth_file}" is not an absolute path'
            hint = "write the path from the root, e.g. /etc/pgbouncer/secrets.txt"
            yield found.fault("PGT484", message, "auth_file", hint=hint)


def confused_names(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find certificates that PgBouncer would take for those of other users: it compares names like host names."""
    for pooler in fleet.poolers:
        if not _policies(fleet, pooler, "cert"):
            continue
        anchors = {ca.anchor for ca in pooler.accepted_cas}
        holders = [user for user in fleet.users.values() if user.ca and user.ca.anchor in anchors]
        owners: dict[str, User] = {}
        for user in holders:
            owners.setdefault(folded(user.common_name), user)
        for user in holders:
            if user.common_name.startswith("*"):
                message = f'PgBouncer takes common name "{user.common_name}" for a wildcard'
                yield finder(fleet, user).fault("PGT485", message, "common_name", hint=_OTHER_NAME)
            for name in (user.common_name, *user.dns_names):
                owner = owners.get(folded(name), user)
                if owner is not user and not (name == user.common_name == owner.common_name):  # which is PGT137
                    message = (
                        f'pooler "{pooler.name}" would take the certificate of user "{user.name}" for that of user '
                        f'"{owner.name}": it compares "{name}" with "{owner.common_name}" as host names are compared'
                    )
                    yield finder(fleet, user).fault("PGT485", message, "common_name", hint=_OTHER_NAME)


_OTHER_NAME = "set another common_name"


def logins(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find users that PgBouncer cannot log in as, and those whose certificate opens more than the pooler needs."""
    for pooler in fleet.poolers:
        name, found = pooler.written.user, finder(fleet, pooler)
        if ended := fleet.ended_users.get(name):
            message = f'user "{name}", as which pooler "{pooler.name}" logs in, ended at {ended.table.until:%Y-%m-%d}'
            hint = f"set a later until in {header('user', name)}, or name another user"
            yield found.fault("PGT486", message, "user", hint=hint)
        elif (user := pooler.user) is not None:
            yield from _login(fleet, pooler, user)


def _login(fleet: Fleet, pooler: Pooler, user: User) -> Iterator[Diagnostic]:
    found = finder(fleet, pooler)
    if user.table.passphrase is not None or user.table.csr_file is not None:
        what = "has a passphrase" if user.table.passphrase is not None else "is not here"
        message = f'the key of user "{user.name}" {what}: pooler "{pooler.name}" could not use it'
        key = "passphrase" if user.table.passphrase is not None else "csr_file"
        hint = f"delete {key} from {header('user', user.name)}, or name a user of its own"
        yield found.fault("PGT486", message, "user", hint=hint)
    if user.table.identity == "dn":
        message = f'user "{user.name}", as which pooler "{pooler.name}" logs in, is told by the whole subject'
        yield found.fault("PGT486", message, "user", hint=f'identity = "cn" in {header("user", user.name)}')
    for policy in fleet.policies.values():
        if policy.follows is None and any(one.name == user.name for one in policy.named):
            message = (
                f'policy "{policy.name}" names user "{user.name}", as which pooler "{pooler.name}" logs in: its '
                "certificate would open more than its clients may"
            )
            yield found.fault("PGT486", message, "user", hint="name a user that is in no policy")


def public_backends(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers of a public CA behind a pooler: PgBouncer has no CAs of the system."""
    for pooler in fleet.poolers:
        if pooler.backend and pooler.backend.system:
            message = (
                f'pooler "{pooler.name}" cannot verify server "{pooler.backend.name}" of a public CA: PgBouncer knows '
                "no CAs of the system"
            )
            hint = f"sign the server with a CA of the spec: ca in {header('server', pooler.backend.name)}"
            yield finder(fleet, pooler).fault("PGT487", message, "server", hint=hint)


def sources(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find poolers that connect from a Unix socket."""
    for pooler in fleet.poolers:
        if "local" in (pooler.written.from_ or ()):
            message = f'pooler "{pooler.name}" connects to its server over TLS, not over a Unix socket'
            yield finder(fleet, pooler).fault("PGT488", message, "from", hint="write its addresses")


VALUES = (sources,)
PRESENT = (mixed_methods, auth_files, confused_names, logins, public_backends)
POLICY_RULES = (lacking, unlisted_roles, unlisted_members, without_lists)
