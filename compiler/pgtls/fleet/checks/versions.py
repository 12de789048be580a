"""What the version of a server has: settings, values, methods, syntax."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

from pgtls.fleet.checks.names import is_address
from pgtls.fleet.fields import finder, header, listed
from pgtls.fleet.suggest import did_you_mean
from pgtls.language.words import quoted, value_found
from pgtls.postgres.libpq import ADDRESSES_SINCE
from pgtls.postgres.methods import CLIENTNAME_SINCE, METHODS, REGEX_SINCE
from pgtls.postgres.releases import RELEASES
from pgtls.postgres.settings import LIST_SETTINGS_SINCE, OURS, Setting, settings, versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet, Policy, Server

_BOOLEANS = re.compile(r"(t|tr|tru|true|f|fa|fal|fals|false|y|ye|yes|n|no|on|of|off|0|1)", re.IGNORECASE)
"""What bool.c, parse_bool_with_len, reads."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "us", "ms", "s", "min", "h", "d")
_NUMBER = re.compile(r"\s*[+-]?(0x[0-9a-fA-F]+|[0-9]+\.?[0-9]*([eE][+-]?[0-9]+)?|\.[0-9]+)\s*([A-Za-z]*)\s*")


def end_of_life(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find versions that get no more security fixes."""
    for server in fleet.servers.values():
        version = server.table.postgres
        end = RELEASES[version].end_of_life
        if end and end < fleet.now.date():
            message = f"PostgreSQL {version} has had no fixes since {end}, the end of its life"
            alive = [r.major for r in RELEASES.values() if r.end_of_life and r.end_of_life >= fleet.now.date()]
            hint = f"upgrade, to {alive[-1]} at best" if alive else None
            yield finder(fleet, server).fault("PGT400", message, "postgres", hint=hint, severity="warning")


def setting_names(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find settings that the version does not know, and those that pgtls writes itself."""
    for server in fleet.servers.values():
        for name in server.table.settings:
            if "." not in name:  # a dotted one belongs to an extension, and any server takes it
                yield from _setting_name(fleet, server, name)


def _setting_name(fleet: Fleet, server: Server, name: str) -> Iterator[Diagnostic]:
    version, found, known = server.table.postgres, finder(fleet, server), settings(server.table.postgres)
    range_ = versions(name)
    if name.lower() in OURS:
        yield found.fault(
            "PGT402", f'"{name}" is written by pgtls', "settings", name, hint=_FIELDS.get(name.lower(), _LEAVE_OUT)
        )
    elif range_ is None:
        hint = did_you_mean(name.lower(), known)
        if RELEASES[version].final:
            message = f'PostgreSQL {version} has no setting "{name}"'
            yield found.fault("PGT401", message, "settings", name, hint=hint)
        else:
            message = f'it is not known whether PostgreSQL {version}, once released, has a setting "{name}"'
            yield found.fault("PGT408", message, "settings", name, hint=hint, severity="warning")
    elif name.lower() not in known:
        since, until = range_
        when = f"it came with {since}" if version < since else f"{until} was the last version that had it"
        yield found.fault("PGT401", f'PostgreSQL {version} has no setting "{name}"', "settings", name, hint=when)
    elif known[name.lower()].context == "internal":
        yield found.fault("PGT401", f'"{name}" cannot be set, only shown', "settings", name, hint=_LEAVE_OUT)


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
    "ssl_cert_file": "use the field `directory`",
    "ssl_key_file": "use the field `directory`",
    "hba_file": "use the field `directory`",
    "ident_file": "use the field `directory`",
}


def setting_values(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find values that the server would not read, and so would not start with."""
    for server in fleet.servers.values():
        for name, value in server.table.settings.items():
            setting = settings(server.table.postgres).get(name.lower())
            if setting and setting.name not in OURS and (problem := _value_problem(setting, value)):
                message = f'"{name}" {problem}'
                yield finder(fleet, server).fault("PGT407", message, "settings", name)


def _value_problem(setting: Setting, value: str | float | bool) -> str | None:
    if setting.kind == "bool":
        fine = isinstance(value, bool) or bool(_BOOLEANS.fullmatch(str(value)))
        return None if fine else f"is on or off, not {value_found(value)}"
    if setting.kind == "enum":
        return _choice_problem(setting, value)
    return _number_problem(setting, value) if setting.kind in ("integer", "real") else None


def _choice_problem(setting: Setting, value: str | float | bool) -> str | None:
    """Judge a value of an enum; those that pg_settings does not list are other words for on and off, and debug."""
    choices = setting.choices
    hidden = isinstance(value, bool) or bool(_BOOLEANS.fullmatch(str(value)))
    if not choices or str(value).lower() in (*choices, "debug") or (hidden and {"on", "off"} & set(choices)):
        return None
    return f"is one of {', '.join(choice or chr(34) * 2 for choice in choices)}, not {value_found(value)}"


def _number_problem(setting: Setting, value: str | float | bool) -> str | None:
    number = None if isinstance(value, bool) else _NUMBER.fullmatch(str(value))
    if number is None:
        return f"is a number{' with a unit or none' if setting.unit else ''}, not {value_found(value)}"
    if number[3]:
        return None if setting.unit and number[3] in _UNITS else f'takes no unit "{number[3]}"'
    amount = float(int(number[1], 16)) if number[1].startswith("0x") else float(str(value))
    if setting.least is None or setting.most is None or setting.least <= amount <= setting.most:
        return None
    return f"is from {setting.least:.15g} to {setting.most:.15g}, not {value_found(value)}"


def tls_fields(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find TLS 1.3 ciphers, and more than one group, before PostgreSQL 18; OpenSSL's own hold there."""
    for server in fleet.servers.values():
        table, found = server.table, finder(fleet, server)
        if table.postgres >= LIST_SETTINGS_SINCE:
            continue
        if table.tls13_ciphers is not None and found.says("tls13_ciphers"):
            message = _since("tls13_ciphers", LIST_SETTINGS_SINCE, server)
            yield found.fault("PGT403", message, "tls13_ciphers", hint=_LEAVE_OUT)
        if table.groups is not None and ":" in table.groups and found.says("groups"):
            message = _since("more than one group", LIST_SETTINGS_SINCE, server)
            yield found.fault("PGT403", message, "groups", hint=f'groups = "{table.groups.partition(":")[0]}"')


_CURVES = {"ecdsa-p256": ("prime256v1", "p-256", "secp256r1"), "ecdsa-p384": ("secp384r1", "p-384")}
"""OpenSSL's names of the curves that keys of the spec have, its usual one first."""


def curve_of_the_key(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find lists of groups without the curve of the server's own key.

    With TLS 1.2 that curve has to be among the groups that the client allows (RFC 8422, 2.1), and clients are often limited to the list of the server.
    The server itself does not ask for it (t1_lib.c, ``tls1_check_cert_param``), and TLS 1.3 tells the two apart (RFC 8446, 4.2.7).
    """
    for server in fleet.servers.values():
        table = server.table
        names = _CURVES.get(table.key_algorithm, ()) if table.groups and table.min_tls != "1.3" else ()
        key_of_others = table.csr_file or (table.cert_file and not table.external)
        if names and not key_of_others and {*(table.groups or "").lower().split(":")}.isdisjoint(names):
            message = f'"{table.groups}" lacks {names[0]}, the curve of the server\'s own key: a client that is limited to the same list cannot connect by TLS 1.2'
            yield finder(fleet, server).fault(
                "PGT411", message, "groups", hint=_way_out(server, names[0]), severity="warning"
            )


def _way_out(server: Server, curve: str) -> str:
    groups = (server.table.groups or "").lower().split(":")
    key = next((algorithm for algorithm, names in _CURVES.items() if not {*groups}.isdisjoint(names)), "rsa-3072")
    more = f"add {curve} to groups, " if server.table.postgres >= LIST_SETTINGS_SINCE else ""
    return f'key_algorithm = "{key}", {more}or say min_tls = "1.3"'


def passwords_by_md5(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers with policies by SCRAM that store new passwords as MD5 hashes unless they are told otherwise: up to PostgreSQL 13."""
    for server in fleet.servers.values():
        if server.table.postgres >= SCRAM_BY_DEFAULT_SINCE or _said(server, "password_encryption"):
            continue
        policy = next((p for p in fleet.policies_of(server) if p.table.auth == "scram-sha-256"), None)
        if policy:
            version = server.table.postgres
            message = f'PostgreSQL {version} stores new passwords as MD5 hashes, with which nobody logs in by "scram-sha-256" (policy "{policy.name}")'
            hint = f'settings = {{ password_encryption = "scram-sha-256" }} in [server.{server.name}], before the passwords are set'
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
    lacking = [server for server in policy.servers if not method.has(server.table.postgres)]
    if lacking:
        when = (
            f"came with {method.since}" if method.since > lacking[0].table.postgres else f"went with {method.until + 1}"
        )
        message = f'PostgreSQL {lacking[0].table.postgres} of server {listed(s.name for s in lacking)} has no method "{method.name}": it {when}'
        later = f", or upgrade it and say postgres = {method.since}" if method.since > lacking[0].table.postgres else ""
        yield finder(fleet, policy).fault("PGT404", message, "auth", hint=f"choose another method{later}")


def expressions(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find regular expressions, and words in maps, before PostgreSQL 16, which takes them for names."""
    old = [server for server in policy.servers if server.table.postgres < REGEX_SINCE]
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
    old = [server for server in policy.servers if server.table.postgres < CLIENTNAME_SINCE]
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


def addresses_of_old_clients(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers that are dialled by address and whose clients may have a libpq that ignores addresses in certificates."""
    dialled = {s.name for s in fleet.servers.values() if is_address(s.table.hosts[0])}
    for policy in fleet.policies.values() if dialled else ():
        servers = [s for s in policy.servers if s.name in dialled] if policy.sslmode == "verify-full" else []
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
    curve_of_the_key,
    end_of_life,
    passwords_by_md5,
    setting_names,
    setting_values,
    tls_fields,
)
POLICY_RULES = (methods_of_version, expressions, whole_subjects)
