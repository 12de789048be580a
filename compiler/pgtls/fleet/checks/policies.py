"""Policies: methods, transports, options and users. :mod:`pgtls.access` judges policies that overlap."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import reduce
from itertools import combinations
from math import comb
from operator import or_
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pgtls.fleet.fields import Finder, finder, header, listed
from pgtls.fleet.model import Pooler
from pgtls.hba.model import HostName, Member, Name, Regex
from pgtls.hba.options import is_ldap_url, set_by_url
from pgtls.hba.regex import InvalidRegex, Undecidable, compile_regex
from pgtls.language.values import Secret
from pgtls.language.words import quoted, suggestion, value_found
from pgtls.postgres.methods import METHODS, OURS, Method, Option, is_secret, option_of, takes_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet, Policy, Server, User
    from pgtls.hba.model import Address, Database, Role

_ALIASES = {
    "scram": "scram-sha-256",
    "gssapi": "gss",
    "tls": "cert",
    "certificate": "cert",
    "krb5": "gss",
    "deny": "reject",
    "scram-sha256": "scram-sha-256",
    "mtls": "cert",
    "ssl": "cert",
    "kerberos": "gss",
    "none": "trust",
    "refuse": "reject",
    "block": "reject",
}
_LDAP_BIND = ("ldapprefix", "ldapsuffix")
_LDAP_SEARCH = ("ldapbasedn", "ldapbinddn", "ldapbindpasswd", "ldapsearchattribute", "ldapsearchfilter", "ldapurl")


def unknown_method(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find methods that no version has."""
    name = policy.table.auth
    if name not in METHODS:
        message = f"there is no authentication method {quoted(name)}"
        yield finder(fleet, policy).fault("PGT207", message, "auth", hint=_method_hint(name))


def _method_hint(name: str) -> str | None:
    """Return what to write for a method that does not exist: both factors where it names two."""
    found = list(dict.fromkeys(m for word in re.split(r"[^a-z0-9-]+", name.lower()) if (m := _method(word))))
    certificate = "cert" in found or "clientcert" in name.lower()
    other = next((method for method in found if method != "cert"), None)
    if certificate and other:
        return f'write auth = "{other}" and client_cert = "verify-full"'
    if certificate and "cert" not in found:
        return 'write auth = "cert", or another method and client_cert = "verify-full"'
    guess = found[0] if len(found) == 1 else None
    return f'did you mean "{guess}"?' if guess else suggestion(name, METHODS)


def _method(word: str) -> str | None:
    return _ALIASES.get(word) or (word if word in METHODS else None)


def expressions(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find regular expressions that PostgreSQL would not compile, and so would not load the file."""
    found = finder(fleet, policy)
    texts: list[tuple[str, tuple[str | int, ...]]] = [
        (item, ("databases", index)) for index, item in enumerate(policy.table.databases) if isinstance(item, str)
    ]
    for index, entry in enumerate(policy.table.map):
        texts += [(entry.identity, ("map", index, "identity")), (entry.role, ("map", index, "role"))]
    for text, place in texts:
        if text[0] == "/" and (problem := _expression_problem(text[1:])):
            message = f"{quoted(text)} is not a regular expression of PostgreSQL: {problem}"
            hint = "correct the expression after the slash, or write a name without a slash"
            yield found.fault("PGT253", message, *place, hint=hint)
    for index, entry in enumerate(policy.table.map):
        if "\\1" in entry.role and entry.role[0] != "/" and _group_may_lack(entry.identity):
            message = (
                f"{quoted(entry.identity)} can match without a first group for {quoted(entry.role)}: "
                "the server then refuses, and looks at no other entry"
            )
            hint = "write the group once, outside of | and without ?, * or {} behind it"
            yield found.fault("PGT253", message, "map", index, "identity", hint=hint)


def _group_may_lack(text: str) -> bool:
    r"""Return whether ``\1`` may be nothing in a match, which ends the server's search (check_usermap)."""
    try:
        return text[0] == "/" and compile_regex(text[1:]).may_lack
    except (InvalidRegex, Undecidable):
        return False


def _expression_problem(text: str) -> str | None:
    try:
        compile_regex(text)
    except InvalidRegex as error:
        return str(error)
    except Undecidable:
        return None
    return None


def method_on_transport(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find methods that cannot work: ``peer`` needs the socket, ``cert`` needs TLS, ``ident`` and ``gss`` need TCP."""
    method = METHODS.get(policy.table.auth)
    if method is None:
        return
    found = finder(fleet, policy)
    if policy.local and "local" not in method.transports:
        where = f'"{method.name}" does not work on the Unix socket'
        hint = (
            'use auth = "peer": the server asks the operating system for the user'
            if method.name in ("ident", "cert")
            else None
        )
        yield found.fault("PGT208", where, "auth", hint=hint)
    elif policy.local and policy.table.client_cert != "none" and found.says("client_cert"):
        message = "client_cert does not work on the Unix socket, which has no TLS"
        yield found.fault("PGT208", message, "client_cert", hint="delete client_cert")
    elif not policy.local and method.transports == {"local"}:
        message = f'"{method.name}" works on the Unix socket only'
        yield found.fault("PGT208", message, "auth", hint='write from = ["local"], or use another method')


def sslmode_without_tls(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find ``sslmode`` on the Unix socket and with ``reject``, where it has no effect."""
    found = finder(fleet, policy)
    mixed = policy.local and len(policy.table.from_) > 1  # which is a mistake of its own
    if found.says("sslmode") and policy.sslmode is None and not mixed:
        what = "applies to the Unix socket, which has no TLS" if policy.local else "rejects on every transport"
        message = f'policy "{policy.name}" {what}: sslmode has no effect'
        yield found.fault("PGT205", message, "sslmode", hint="delete sslmode")


def certificate_without_tls(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find policies that ask for certificates without TLS."""
    if policy.asks_certificate != "none" and policy.sslmode in ("disable", "allow", "prefer"):
        message = (
            f'policy "{policy.name}" asks for client certificates, but sslmode "{policy.sslmode}" does not require TLS'
        )
        hint = 'set sslmode = "verify-full", or at least "require"'
        yield finder(fleet, policy).fault("PGT209", message, "sslmode", hint=hint)


def certificate_twice(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find ``client_cert`` that contradicts the method: ``cert`` is ``verify-full`` (hba.c), ``reject`` needs none."""
    asked = policy.table.client_cert
    messages = {
        ("cert", "verify-ca"): '"cert" always checks the whole certificate: client_cert = "verify-ca" contradicts it',
        ("reject", "verify-ca"): f'policy "{policy.name}" rejects, so client_cert has no effect',
        ("reject", "verify-full"): f'policy "{policy.name}" rejects, so client_cert has no effect',
    }
    found, message = finder(fleet, policy), messages.get((policy.table.auth, asked))
    if message and found.says("client_cert"):
        yield found.fault("PGT221", message, "client_cert", hint="delete client_cert")


def client_ca(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find servers without a CA file, which cannot check a client certificate (auth.c, ClientAuthentication)."""
    blind = [server for server in policy.servers if not _client_cas(server)]
    if blind and policy.asks_certificate != "none":
        trusts = "trusts no client CA" if len(blind) == 1 else "trust no client CA"
        servers = (f"{blind[0].kind} " if len(blind) == 1 else "servers ") + listed(server.name for server in blind)
        message = f'policy "{policy.name}" asks for client certificates, but {servers} {trusts}'
        cas = sorted({user.ca.name for user in policy.users if user.ca} or fleet.cas)
        hint = f'add client_ca = ["{cas[0]}"] to {header(*blind[0].entity.table)}' if cas else None
        key = "auth" if policy.table.auth == "cert" else "client_cert"
        yield finder(fleet, policy).fault("PGT203", message, key, hint=hint)


def users_without_certificate(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find users without a certificate in policies that ask for one."""
    if policy.asks_certificate == "none":
        return
    bare = [user for user in policy.named if not (_has_certificate(user) or _certified_elsewhere(policy, user))]
    if bare:
        cas = _client_cas(policy.servers[0]) if policy.servers else ()
        hint = (
            f'add ca = "{cas[0]}" to {header("user", bare[0].name)}'
            if cas
            else f"add a ca to {header('user', bare[0].name)}"
        )
        users = ("user " if len(bare) == 1 else "users ") + listed(user.name for user in bare)
        has = "has none" if len(bare) == 1 else "have none"
        message = f'policy "{policy.name}" asks for client certificates, but {users} {has}'
        yield finder(fleet, policy).fault("PGT216", message, *_place(policy, bare[0]), hint=hint)


def users_of_other_cas(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find users whose certificate is signed neither by a CA that the server names nor by one below."""
    if policy.asks_certificate == "none":
        return
    signed = {user.ca.name: (user, user.ca) for user in reversed(policy.named) if user.ca}
    for server in policy.servers:
        trusted = set(_client_cas(server))
        foreign = [found for found in signed.values() if trusted.isdisjoint(ca.name for ca in found[1].chain)]
        if trusted and foreign:
            user, ca = foreign[-1]
            message = (
                f'policy "{policy.name}" asks for client certificates, '
                f'but {server.kind} "{server.name}" does not trust ca "{ca.name}", '
                f'which signs that of user "{user.name}"'
            )
            hint = f'add "{ca.name}" to client_ca of {header(*server.entity.table)}'
            yield finder(fleet, policy).fault("PGT217", message, *_place(policy, user), hint=hint)


def map_without_identity(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find ident maps for methods that prove no identity."""
    method = METHODS.get(policy.table.auth)
    if policy.table.map and method and not method.map:
        names = ", ".join(f'"{m.name}"' for m in METHODS.values() if m.map)
        message = f'"{method.name}" does not take an ident map'
        yield finder(fleet, policy).fault("PGT210", message, "map", hint=f"use one of the methods {names}")


_ATTRIBUTE = re.compile(r"(?<![A-Za-z0-9])(?:CN|OU|O|DC|C|ST|L|UID|E|emailAddress|serialNumber)=", re.IGNORECASE)
"""What a distinguished name has, and hardly a common name."""


def compared_part(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find map entries that look like a name they are not compared with, and ``of = "dn"`` without a certificate."""
    found, certified = finder(fleet, policy), policy.asks_certificate == "verify-full"
    for index, entry in enumerate(policy.table.map):
        place = ("map", index, "identity")
        named = bool(_ATTRIBUTE.search(entry.identity))
        if entry.of == "dn" and not certified:
            message = f'"{policy.table.auth}" compares no certificates with roles, so there is no subject to match'
            yield found.fault("PGT262", message, "map", index, "of", hint="leave `of` out")
        elif entry.of == "cn" and certified and named:
            message = f"{quoted(entry.identity)} looks like a subject, and is compared with the common name alone"
            yield found.fault("PGT261", message, *place, hint='add of = "dn" to this entry', severity="warning")
        elif entry.of == "dn" and not named and entry.identity[0] != "/":
            message = f"{quoted(entry.identity)} is compared with the whole subject, and is none"
            hint = f'write the subject, e.g. "CN={entry.identity},O=…", or leave out of = "dn"'
            yield found.fault("PGT261", message, *place, hint=hint, severity="warning")


def required_options(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find missing options that PostgreSQL requires."""
    method, given = METHODS.get(policy.table.auth), policy.table.auth_options
    for alternatives in method.required if method else ():
        if not any(name in given for name in alternatives):
            needed = "the option" if len(alternatives) == 1 else "one of the options"
            message = f'"{policy.table.auth}" needs {needed} ' + ", ".join(f'"{name}"' for name in alternatives)
            place = "auth_options" if given else "auth"
            yield finder(fleet, policy).fault(
                "PGT211", message, place, hint=f"write auth_options = {{ {alternatives[0]} = … }}"
            )


def options(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find options that the method does not have, and values of the wrong type."""
    method = METHODS.get(policy.table.auth)
    for name, value in policy.table.auth_options.items() if method else ():
        yield from _option(fleet, policy, method, name, value)  # type: ignore[arg-type]  # there is a method


def _option(fleet: Fleet, policy: Policy, method: Method, name: str, value: object) -> Iterator[Diagnostic]:
    found, option = finder(fleet, policy), option_of(method, name)
    if name in OURS:
        message = f'pgtls writes "{name}" itself'
        yield found.fault("PGT213", message, "auth_options", name, hint=f"use the field `{OURS[name]}`")
    elif option is None:
        message = f'"{method.name}" has no option "{name}"'
        others = [m.name for m in METHODS.values() if option_of(m, name)]
        own = [option.name for option in method.options]
        hint = suggestion(name, own) or (f"it is an option of {listed(others)}" if others else None)
        yield found.fault("PGT212", message, "auth_options", name, hint=hint)
    elif not isinstance(value, Secret) and (option.secret or is_secret(name, value)):
        message = f'"{name}" is a secret, and the spec holds it as plain text'
        hint = f'write {name} = {{ env = "NAME" }}, {{ file = "PATH" }} or {{ command = [...] }}'
        yield found.fault("PGT214", message, "auth_options", name, hint=hint)
    elif problem := _value_problem(option, value):
        message = f'"{name}" must be {problem}, not {value_found(value)}'
        yield found.fault("PGT215", message, "auth_options", name, hint=_value_hint(option, value))


def _value_problem(option: Option, value: object) -> str | None:
    if isinstance(value, Secret):
        return None
    if option.kind == "flag" and value not in (True, False, "0", "1"):
        return "true or false"
    if option.kind == "port" and (type(value) is not int or not 0 < value < 65536):
        return "a port from 1 to 65535"
    if option.name == "ldapserver" and isinstance(value, str) and not all(map(_LDAP_HOST.fullmatch, value.split())):
        return "host names or addresses, separated by blanks"
    if option.kind == "choice" and value not in option.choices:
        return "one of " + ", ".join(f'"{choice}"' for choice in option.choices)
    if option.kind == "text" and not isinstance(value, str):
        return "a string"
    if option.name == "ldapurl" and not is_ldap_url(str(value)):
        return f"an LDAP URL, {LDAP_URL}"
    return None


LDAP_URL = "ldaps://HOST:PORT/BASE?ATTRIBUTE?sub?FILTER"
_LDAP_HOST = re.compile(r"[^\s/:]+|\[[0-9A-Fa-f:.]+\]")
"""A server in ``ldapserver``: PostgreSQL makes a URL of scheme, server and port (InitializeLDAPConnection)."""


def _value_hint(option: Option, value: object) -> str | None:
    """Return how to write a value that looks like another field's."""
    if option.kind == "port" and isinstance(value, str) and value.isdecimal():
        return f"write it without quotes: {option.name} = {value}"
    if option.name != "ldapserver" or not isinstance(value, str):
        return None
    with suppress(ValueError):
        url = urlsplit(value if "://" in value else f"//{value}")
        parts = {"ldapserver": f'"{url.hostname or "ldap.example.com"}"'}
        parts |= {"ldapscheme": '"ldaps"'} if url.scheme == "ldaps" else {}
        parts |= {"ldapport": str(url.port)} if url.port else {}
        return "write " + ", ".join(f"{name} = {text}" for name, text in parts.items())
    return 'e.g. ldapserver = "ldap.example.com"'


def ldap_modes(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find LDAP options that contradict: it binds with a name made of prefix and suffix, or searches for one."""
    given = policy.table.auth_options
    if policy.table.auth != "ldap":
        return
    found = finder(fleet, policy)
    searching = [name for name in _LDAP_SEARCH if name in given]
    if searching and any(name in given for name in _LDAP_BIND):
        message = f'"{searching[0]}" (LDAP search) contradicts "ldapprefix" and "ldapsuffix" (LDAP bind)'
        yield found.fault(
            "PGT215", message, "auth_options", searching[0], hint="keep either the search options or the bind options"
        )
        return
    url = given.get("ldapurl")
    twice = set_by_url(url if isinstance(url, str) else None) if url is not None else frozenset()
    both = [name for name in ("ldapsearchfilter", "ldapsearchattribute") if name in given or name in twice]
    if len(both) == 2 and not isinstance(url, Secret):
        message = '"ldapsearchfilter" and "ldapsearchattribute" contradict each other'
        place = next((name for name in both if name in given), "ldapurl")
        yield found.fault("PGT215", message, "auth_options", place, hint="keep one of the two")
    else:
        for name in (name for name in given if name in twice):
            message = f'"ldapurl" sets "{name}", too: the server takes the one that it reads last'
            hint = f"write it in the URL ({LDAP_URL}), or write options without ldapurl"
            yield found.fault("PGT215", message, "auth_options", name, hint=hint)


def channel_binding(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find required channel binding without SCRAM over TLS."""
    found = finder(fleet, policy)
    if policy.table.channel_binding != "require" or not found.says("channel_binding"):
        return
    if policy.table.auth != "scram-sha-256":
        message = f'channel binding works only with SCRAM, not with "{policy.table.auth}"'
        yield found.fault("PGT222", message, "channel_binding", hint="delete channel_binding")
    elif not policy.requires_tls:
        message = f'policy "{policy.name}" requires channel binding, but not TLS'
        yield found.fault("PGT222", message, "channel_binding", hint='sslmode = "verify-full"')


def databases(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find databases that a server, which lists its own, does not have."""
    for database in () if policy.follows else policy.databases:
        if not isinstance(database, Name):
            continue
        lacking = [s for s in policy.servers if s.databases is not None and database.text not in s.databases]
        if lacking:
            index = next((i for i, item in enumerate(policy.table.databases) if item == database.text), None)
            place = ("databases",) if index is None else ("databases", index)
            servers = (f"{lacking[0].kind} " if len(lacking) == 1 else "servers ") + listed(s.name for s in lacking)
            have = "has" if len(lacking) == 1 else "have"
            owner = lacking[0].backend if isinstance(lacking[0], Pooler) else None
            hint = suggestion(database.text, lacking[0].databases or ())
            hint = hint or f"add it to databases of {header('server', (owner or lacking[0]).name)}"
            yield finder(fleet, policy).fault(
                "PGT218", f'{servers} {have} no database "{database.text}"', *place, hint=hint
            )


def empty_groups(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find groups without users."""
    for name, table in fleet.groups.items():
        if not table.users:
            message = f'group "{name}" has no users, so policies grant nothing to it'
            found = Finder(fleet.own, "group", name, table)
            yield found.fault("PGT219", message, "users", hint="add its users, or delete it", severity="warning")


def no_local_way_in(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers on which no policy admits anybody from the socket: their DBA is locked out."""
    admitting = {s.name for p in fleet.policies.values() if p.local and p.table.auth != "reject" for s in p.servers}
    for server in fleet.servers.values():
        if server.name not in admitting and not server.table.no_local:
            message = (
                f'no policy admits anybody to server "{server.name}" through "local", its Unix socket: '
                "its DBA is locked out"
            )
            add = "add a policy" if "postgres" in fleet.users else "add [user.postgres] and a policy"
            hint = f'{add} with users = ["postgres"], from = ["local"] and auth = "peer", or set no_local = true'
            yield finder(fleet, server).fault("PGT206", message, hint=hint)


def _client_cas(server: Server) -> tuple[str, ...]:
    """Return the CAs that a server names for clients, under any host name; some may be unknown."""
    return tuple(name for identity in server.identities for name in identity.table.client_ca)


def _has_certificate(user: User) -> bool:
    return bool(user.ca or user.table.ca or user.table.cert_file or user.table.external)


def _certified_elsewhere(policy: Policy, user: User) -> bool:
    """Return whether a foreign certificate admits a user: by the policy's map, or since only other CAs sign."""
    if takes_map(policy.table.auth):
        return any(_may_name(entry.role, user) for entry in policy.table.map)
    cas = [ca for server in policy.servers for ca in server.accepted_cas]
    return bool(cas) and all(ca.trusted_only for ca in cas)


def _may_name(role: str, user: User) -> bool:
    """Whether an entry of a map may give one of a user's roles: by name, or by a pattern, a group or a keyword."""
    return role in user.roles or role == "all" or "\\1" in role or role[:1] in ("+", "/")


def _place(policy: Policy, user: User) -> tuple[str | int, ...]:
    """Where a policy names a user: the element of ``users``, else the whole of it."""
    items = [item if isinstance(item, str) else item.name for item in policy.table.users]
    return ("users", items.index(user.name)) if user.name in items else ("users",)


POLICY_VALUES = (unknown_method, expressions)
POLICY_RULES = (
    method_on_transport,
    sslmode_without_tls,
    certificate_without_tls,
    certificate_twice,
    client_ca,
    users_without_certificate,
    users_of_other_cas,
    map_without_identity,
    compared_part,
    required_options,
    options,
    ldap_modes,
    channel_binding,
    databases,
)
MOST_ADDRESSES = 20_000
"""On one server: each is a line of pg_hba.conf, which PostgreSQL reads from the top for each connection."""
MOST_PAIRS = 100_000
"""Of networks and host names on one server: an address may be in each network, and have each name."""


def many_addresses(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers whose policies have too many addresses in all."""
    found: dict[str, list[Address]] = {}
    for policy in fleet.policies.values():
        for server in policy.servers:
            found.setdefault(server.name, []).extend(policy.addresses)
    for name, addresses in found.items():
        hosts = {address for address in addresses if isinstance(address, HostName)}
        pairs = len(hosts) * len(set(addresses) - hosts)
        message = hint = None
        if len(addresses) > MOST_ADDRESSES:
            message = f'the policies of server "{name}" have {len(addresses)} addresses, more than {MOST_ADDRESSES}'
            hint = "write networks in place of single addresses"
        elif pairs > MOST_PAIRS:
            message = f'the policies of server "{name}" have {pairs} pairs of a network and a host name, '
            message += f"more than {MOST_PAIRS}"
            hint = "write networks in place of host names"
        if message:
            yield finder(fleet, fleet.servers[name]).fault("PGT275", message, hint=hint)


MOST_PATTERNS = 500
"""Of roles and databases on one server: which of them match a name together is not known, so every pair is compared."""
MOST_COMBINATIONS = 500_000
"""Of a pair of patterns of roles with a pair of patterns of databases, on one server: some seconds."""


def many_patterns(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers whose policies have too many regular expressions and groups of the database in all."""
    found: dict[str, list[Policy]] = {}
    for policy in fleet.policies.values():
        for server in policy.servers:
            found.setdefault(server.name, []).append(policy)
    for name, policies in found.items():
        patterns = {term for policy in policies for term in _patterns((*policy.roles, *policy.databases))}
        combined = 0 if len(patterns) > MOST_PATTERNS else combinations_of_patterns(policies)
        if len(patterns) > MOST_PATTERNS:
            message = f'have {len(patterns)} regular expressions and "+role" in all, more than {MOST_PATTERNS}'
        elif combined > MOST_COMBINATIONS:
            message = f"combine pairs of such terms for roles with pairs for databases in {combined} ways, "
            message += f"more than {MOST_COMBINATIONS}"
        else:
            continue
        hint = "name the roles and databases, or join expressions with |"
        yield finder(fleet, fleet.servers[name]).fault(
            "PGT276", f'the policies of server "{name}" {message}', hint=hint
        )


def combinations_of_patterns(policies: Iterable[Policy]) -> int:
    """Count what a check compares: for each two patterns of roles, each two patterns of databases beside them.

    Patterns of the same policies are one.
    """
    roles, databases = dict[object, int](), dict[object, int]()
    for index, policy in enumerate(policies):
        for found, terms in ((roles, policy.roles), (databases, policy.databases)):
            for term in _patterns(terms):
                found[term] = found.get(term, 0) | 1 << index
    beside = [
        reduce(or_, (1 << index for index, inside in enumerate({*databases.values()}) if inside & group), 0)
        for group in {*roles.values()}
    ]
    return sum(comb((one | other).bit_count(), 2) for one, other in combinations(beside, 2))


def _patterns(terms: Iterable[Role | Database]) -> Iterator[Role | Database]:
    return (term for term in terms if isinstance(term, Member | Regex))


VALUES = (empty_groups, many_addresses, many_patterns)
ABSENT = (no_local_way_in,)
