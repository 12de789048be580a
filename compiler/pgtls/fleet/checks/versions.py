"""What the version of a server has: settings, values, methods, syntax."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from pgtls.fleet.addresses import is_address
from pgtls.fleet.fields import finder, header, listed
from pgtls.language.words import quoted, suggestion, value_found
from pgtls.postgres.libpq import ADDRESSES_SINCE
from pgtls.postgres.methods import CLIENTNAME_SINCE, METHODS, REGEX_SINCE, option_of
from pgtls.postgres.releases import RELEASES
from pgtls.postgres.settings import ELSEWHERE, FILE_NAME, OURS, folded, settings, versions
from pgtls.postgres.texts import items
from pgtls.postgres.together import clashes
from pgtls.postgres.values import refusal, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.fields import Finder
    from pgtls.fleet.model import Fleet, Policy, Server


def end_of_life(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find versions that get no more security fixes."""
    for server in fleet.clusters.values():
        version = server.table.postgres
        end = RELEASES[version].end_of_life
        if end and end < fleet.now.date():
            message = f"PostgreSQL {version} has had no fixes since {end}, the end of its life"
            alive = [r.major for r in RELEASES.values() if r.end_of_life and r.end_of_life >= fleet.now.date()]
            hint = f"upgrade, preferably to {alive[-1]}" if alive else None
            yield finder(fleet, server).fault("PGT400", message, "postgres", hint=hint, severity="warning")


def setting_names(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find settings that no file can hold, that the version does not know, and those that other fields decide."""
    for server in fleet.servers.values():
        for name in server.table.settings:
            yield from _setting_name(finder(fleet, server), server.table.postgres, name)


def _setting_name(found: Finder, version: int, name: str) -> Iterator[Diagnostic]:
    lower, known, range_ = name.lower(), settings(version), versions(name)
    place = ("settings", name)
    if not FILE_NAME.fullmatch(name):
        message = f"{quoted(name)} is not the name of a setting"
        yield found.fault("PGT412", message, *place, hint=_NAMES)
    elif lower in OURS:
        yield found.fault("PGT402", f'"{name}" is written by pgtls', *place, hint=_FIELDS.get(lower, _LEAVE_OUT))
    elif lower in ELSEWHERE:
        message = f'"{name}" would make the server use other files than its own'
        yield found.fault("PGT413", message, *place, hint=_LEAVE_OUT)
    elif "." in name or (lower in known and known[lower].context != "internal"):
        return  # one with a dot belongs to an extension, and any server takes it
    elif range_ is None:
        message = f'pgtls knows no setting "{name}" of PostgreSQL {version}: a server without it does not start'
        guess = suggestion(lower, known)
        hint = f"{guess} {_ACCEPT}" if guess else _ACCEPT
        yield found.fault("PGT408", message, *place, hint=hint, severity="warning")
    elif lower not in known:
        since, until = range_
        when = f"it came with {since}" if version < since else f"{until} was the last version that had it"
        yield found.fault("PGT401", f'PostgreSQL {version} has no setting "{name}"', *place, hint=when)
    else:
        yield found.fault("PGT401", f'"{name}" cannot be set, only shown', *place, hint=_LEAVE_OUT)


_ACCEPT = 'If the server has it: [lint] ignore = ["PGT408"]'
_NAMES = "names are letters, digits and underscores; the settings of an extension have its name and a dot before theirs"
_LEAVE_OUT = "leave it out"
_FIELDS = {
    "ssl_min_protocol_version": "use the field `min_tls`",
    "ssl_ciphers": "use the field `ciphers`",
    "ssl_tls13_ciphers": "use the field `tls13_ciphers`",
    "ssl_groups": "use the field `groups`",
    "ssl_ecdh_curve": "use the field `groups`",
    "ssl_passphrase_command": "use the field `passphrase_command`",
    "ssl_ca_file": "use the field `client_ca`",
    "ssl_crl_file": "use the field `crl`",
    "ssl_crl_dir": "use the field `crl`",
    "ssl_sni": "use the field `sni`",
    "hosts_file": "use the field `directory`",
    "ssl_cert_file": "use the field `directory`",
    "ssl_key_file": "use the field `directory`",
    "hba_file": "use the field `directory`",
    "ident_file": "use the field `directory`",
}


def settings_twice(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find settings that a table has in two spellings: PostgreSQL takes the last, TOML has no order of keys."""
    for server in fleet.servers.values():
        first: dict[str, str] = {}
        for name in server.table.settings:
            if (other := first.setdefault(folded(name), name)) != name:
                message = f'server "{server.name}" has {quoted(other)} and {quoted(name)}, which are one setting'
                yield finder(fleet, server).fault("PGT145", message, "settings", name, hint="delete one of them")


def setting_values(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find values that the server would not read, and so would not start with."""
    for server in fleet.servers.values():
        version = server.table.postgres
        for name, value in server.table.settings.items():
            setting = settings(version).get(name.lower())
            if setting and setting.name not in OURS and (takes := refusal(setting, value, version)):
                message = f'"{name}" {takes}, not {value_found(value)}'
                yield finder(fleet, server).fault("PGT407", message, "settings", name)


def settings_together(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find settings that the server refuses together at its start.

    It is a warning where PostgreSQL's default is one of them.
    """
    for server in fleet.servers.values():
        version, found = server.table.postgres, finder(fleet, server)
        names = {name.lower(): name for name in server.table.settings}
        said = {lower: written(server.table.settings[name]) for lower, name in names.items()}
        known = settings(version)
        if any(refusal(known[name], text, version) for name, text in said.items() if name in known):
            continue  # which is a finding of its own
        for name, message, is_stated in clashes(said, version):
            text, place = f'"{names[name]}" {message}', ("settings", names[name])
            yield (
                found.fault("PGT420", text, *place)
                if is_stated
                else found.fault("PGT421", text, *place, severity="warning")
            )


def passwords_by_md5(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers with policies by SCRAM that store new passwords as MD5 hashes: PostgreSQL 13 by default."""
    for server in fleet.servers.values():
        if server.table.postgres >= SCRAM_BY_DEFAULT_SINCE or _said(server, "password_encryption"):
            continue
        policy = next((p for p in fleet.policies_of(server) if p.table.auth == "scram-sha-256"), None)
        if policy:
            version = server.table.postgres
            message = (
                f"PostgreSQL {version} stores new passwords as MD5 hashes, which "
                f'"scram-sha-256" (policy "{policy.name}") rejects'
            )
            setting = 'settings = { password_encryption = "scram-sha-256" }'
            hint = f"{setting} in {header('server', server.name)}, before the passwords are set"
            yield finder(fleet, server).fault("PGT410", message, "postgres", hint=hint, severity="warning")


def _said(server: Server, name: str) -> bool:
    return any(setting.lower() == name for setting in server.table.settings)


SCRAM_BY_DEFAULT_SINCE = 14
"""Its release notes: ``password_encryption`` is ``scram-sha-256`` by default."""


def _since(what: str, version: int, *servers: Server) -> str:
    have = ", ".join(f'server "{s.name}" has {s.table.postgres}' for s in servers[:3])
    return f"{what} came with PostgreSQL {version}, {have}" if servers else what


def methods_of_version(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find methods that the server's version does not have yet, or any more."""
    method = METHODS.get(policy.table.auth)
    if method is None:
        return
    lacking = [server for server in policy.clusters if not method.has(server.table.postgres)]
    if lacking:
        when = (
            f"came with {method.since}" if method.since > lacking[0].table.postgres else f"went with {method.until + 1}"
        )
        message = (
            f"PostgreSQL {lacking[0].table.postgres} of server {listed(s.name for s in lacking)} "
            f'has no method "{method.name}": it {when}'
        )
        later = f", or upgrade it and say postgres = {method.since}" if method.since > lacking[0].table.postgres else ""
        yield finder(fleet, policy).fault("PGT404", message, "auth", hint=f"choose another method{later}")


def options_of_version(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find options of methods that the server's version does not have yet."""
    method, found = METHODS.get(policy.table.auth), finder(fleet, policy)
    for name in policy.table.auth_options if method else ():
        option = option_of(method, name)  # type: ignore[arg-type]  # there is a method
        old = [server for server in policy.clusters if option and server.table.postgres < option.since]
        if old and option and method and all(method.has(server.table.postgres) for server in old):
            message = _since(f'the option "{name}"', option.since, *old)
            yield found.fault("PGT403", message, "auth_options", name, hint=_LEAVE_OUT)


def expressions(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find regular expressions, and words in maps, before PostgreSQL 16, which takes them for names."""
    old = [server for server in policy.clusters if server.table.postgres < REGEX_SINCE]
    if not old:
        return
    found = finder(fleet, policy)
    for index, item in enumerate(policy.table.databases):
        if isinstance(item, str) and item[0] == "/":
            message = _since("a regular expression for databases", REGEX_SINCE, *old)
            hint = f"name them one by one; {{ name = {quoted(item)} }} is a database that is called so"
            yield found.fault("PGT403", message, "databases", index, hint=hint)
    for index, entry in enumerate(policy.table.map):
        if entry.role == "all" or entry.role[0] in "+/":
            message = _since(f'"{entry.role}" as the role of a map', REGEX_SINCE, *old)
            yield found.fault("PGT403", message, "map", index, "role", hint="name the roles, one entry each")


def whole_subjects(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find ``identity = "dn"``, and ``of = "dn"`` in a map, before PostgreSQL 14.

    The common name in its stead would let more people in, so nothing is left out here, even what ``[defaults]`` says.
    """
    old = [server for server in policy.clusters if server.table.postgres < CLIENTNAME_SINCE]
    if not old or policy.asks_certificate != "verify-full":
        return
    user = next((user for user in policy.users if user.ca and user.table.identity == "dn"), None)
    if user:
        message = _since(f'identity = "dn" (user "{user.name}")', CLIENTNAME_SINCE, *old)
        hint = f'identity = "cn" in {header("user", user.name)}, if the common name is enough'
        yield finder(fleet, policy).fault("PGT403", message, "users", hint=hint)
    entry = next((index for index, entry in enumerate(policy.table.map) if entry.of == "dn"), None)
    if entry is not None:
        message = _since('of = "dn" in a map', CLIENTNAME_SINCE, *old)
        yield finder(fleet, policy).fault("PGT403", message, "map", entry, "of", hint="match the common name instead")


def validators(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find ``oauth`` without a validator library, or with one that the server does not name.

    Source: hba.c, check_oauth_validator.
    """
    if policy.table.auth != "oauth":
        return
    found, asked = finder(fleet, policy), policy.table.auth_options.get("validator")
    for server in (server for server in policy.clusters if METHODS["oauth"].has(server.table.postgres)):
        libraries = _libraries(server)
        where = header("server", server.name)
        if libraries is None:
            message = (
                f'server "{server.name}" does not start with "oauth" unless oauth_validator_libraries names a library'
            )
            hint = f'settings = {{ oauth_validator_libraries = "…" }} in {where}'
            yield found.fault("PGT418", message, "auth", hint=hint, severity="warning")
        elif asked is not None and asked not in libraries:
            message = f'"{asked}" is not among the oauth_validator_libraries of server "{server.name}"'
            hint = f"it names {listed(libraries)}" if libraries else f"name it in the settings of {where}"
            yield found.fault("PGT419", message, "auth_options", "validator", hint=hint)
        elif not libraries or (asked is None and len(libraries) > 1):
            several = "names several" if libraries else "names no"
            message = f'oauth_validator_libraries of server "{server.name}" {several} libraries'
            hint = (
                "say which one: auth_options = { validator = … }"
                if libraries
                else f"name one in the settings of {where}"
            )
            yield found.fault("PGT419", message, "auth_options" if policy.table.auth_options else "auth", hint=hint)


def _libraries(server: Server) -> list[str] | None:
    """Return the validator libraries that the settings of a server name; None where they say nothing."""
    said = [value for name, value in server.table.settings.items() if name.lower() == "oauth_validator_libraries"]
    return items(written(said[-1])) if said else None


def addresses_of_old_clients(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers that clients dial by address with a libpq that ignores addresses in certificates."""
    # Where all hosts are addresses, the first is the common name, which an old libpq compares.
    dialled = {
        s.name
        for s in fleet.servers.values()
        if is_address(s.table.hosts[0]) and not all(is_address(host) for host in s.table.hosts)
    }
    for policy in fleet.policies.values() if dialled else ():
        servers = [s for s in policy.clusters if s.name in dialled] if policy.sslmode == "verify-full" else []
        old = [u for u in policy.users if u.table.libpq < ADDRESSES_SINCE][:1] if servers else []
        for server, user in product(servers, old):
            dialled.remove(server.name)  # once is enough
            message = (
                f'libpq {user.table.libpq}, which the bundle of user "{user.name}" has to work with, cannot verify '
                f'"{server.table.hosts[0]}", an address'
            )
            hint = f"put a host name first, or say libpq = {ADDRESSES_SINCE} in {header('user', user.name)}"
            yield finder(fleet, server).fault("PGT409", message, "hosts", 0, hint=hint, severity="warning")


PRESENT = (
    addresses_of_old_clients,
    end_of_life,
    passwords_by_md5,
    setting_names,
    setting_values,
    settings_together,
    settings_twice,
)
POLICY_RULES = (methods_of_version, options_of_version, expressions, validators, whole_subjects)
