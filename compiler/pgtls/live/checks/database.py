"""Compare the SQL facts of a server with its compiled files. This is a pure function of both."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING

from pgtls.hba.model import HostName, Keyword, MaskedAddress, Member, Name, Regex
from pgtls.language.words import listed
from pgtls.live.checks.check import INSTALL, Check, differs, ok, untried
from pgtls.live.sql import FILES
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.fleet.model import Fleet
    from pgtls.hba.model import Address, Database, Line, Role
    from pgtls.live.compiled import Compiled
    from pgtls.live.sql import Rule, Setting, Shown
    from pgtls.state.lock import Lock

_CODE = "PGT479"
_APART = 60
"""The maximum difference between two clocks, in seconds."""


def refused(said: str) -> Check:
    """Report a login that was asked for and that failed, for the reason that libpq gave."""
    todo = (
        "if a policy of this user asks for a password, give it to libpq (PGPASSWORD or a password file); run pgtls "
        "verify from an address that the policy names"
    )
    return differs(_CODE, "login failed", "login", said, _UNSEEN, todo)


def withheld(reason: str) -> Check:
    """Report that CRLs of the out directory refuse the server, so that no login could tell it from a thief."""
    what = f"no password and no login: by the CRLs of the out directory, the server cannot be verified: {reason}"
    todo = "bring the newest CRLs where a crl_file has them; run pgtls build, which renews the others"
    return differs(_CODE, "login failed", "login", what, _UNSEEN, todo)


_UNSEEN = "nothing that only SQL shows was compared"


def judge(fleet: Fleet, compiled: Compiled, lock: Lock, shown: Shown) -> Iterator[Check]:
    """Judge everything that SQL showed."""
    yield ok("login", f'as role "{shown.role}"')
    yield _version(compiled, shown)
    yield _clock(shown)
    yield _files(compiled, shown)
    yield from _rules(compiled, shown)
    yield from _settings(compiled, shown)
    yield from _names(fleet, compiled, shown)
    yield _connections(lock, shown)


def _why(shown: Shown, what: str) -> str:
    return f"{shown.untried.get(what, 'it was not asked for')}; log in with a superuser's bundle"


def _version(compiled: Compiled, shown: Shown) -> Check:
    wanted = compiled.server.table.postgres
    if shown.version == wanted:
        return ok("version", f"PostgreSQL {wanted}, as in the spec")
    what = f"the server is PostgreSQL {shown.version}; the spec has {wanted}"
    why = "settings and rules of another version are compiled: some may be refused, others mean something else"
    return differs(_CODE, "version", "version", what, why, f"set postgres = {shown.version}, build and install")


def _clock(shown: Shown) -> Check:
    if shown.clock is None or shown.asked is None:
        return untried("clock", _why(shown, "clock"))
    apart = (shown.clock - shown.asked).total_seconds()
    if abs(apart) <= _APART:
        return ok("clock", "within a minute of this machine's")
    what = f"the server's clock is {abs(apart):.0f} seconds {'ahead of' if apart > 0 else 'behind'} this machine's"
    why = "certificates and CRLs begin and end there at other times than here"
    return differs(_CODE, "clock off", "clock", what, why, "let NTP set both clocks")


# --- files ---


def _files(compiled: Compiled, shown: Shown) -> Check:
    if shown.digests is None:
        return untried(FILES_THERE, _why(shown, "files"))
    names = [name for name in FILES.values() if name in compiled.files]
    names += [name for name in compiled.files if name.startswith(f"{layout.SERVER_CRLS}/")]
    return files(compiled, shown.digests, names)


FILES_THERE = "files on the server"


def files(compiled: Compiled, digests: Mapping[str, str], names: Sequence[str]) -> Check:
    """Compare files on the server, loaded or not, with the compiled ones."""
    other = [name for name in names if digests.get(name) != compiled.files[name]]
    if not other:
        return ok(FILES_THERE, "each is the compiled one")
    pair = {layout.SERVER_CERTIFICATE, layout.SERVER_KEY} & set(other)
    if len(pair) == 1:
        what = f"certificate and key on the server do not match: {pair.pop()} is not the compiled one"
        why = "the next reload fails, and a restart does not come up; until then nothing else shows it"
        return differs(_CODE, "key and certificate do not match", FILES_THERE, what, why, INSTALL)
    what = f"these files of the server are not the compiled ones: {listed(other, 6)}"
    why = "what is loaded at the next reload, if not already, is not what was compiled"
    fault = "half-installed" if len(other) < len(names) else "other files"
    return differs(_CODE, fault, FILES_THERE, what, why, INSTALL)


# --- rules ---


def _rules(compiled: Compiled, shown: Shown) -> Iterator[Check]:
    name, file = "pg_hba.conf", shown.settings.get("hba_file") if shown.settings else None
    where = f" ({file.value})" if file else ""
    if shown.rules is None:
        yield untried(name, _why(shown, "rules"))
        return
    bad = [rule for rule in shown.rules if rule.error is not None or rule.type is None]
    if bad:
        what = f"line {bad[0].line} of hba_file{where} has an error: {bad[0].error or 'it is not understood'}"
        why = "PostgreSQL keeps the rules from before, and a restart fails"
        yield differs(_CODE, "error in pg_hba.conf", name, what, why, f"correct the line, or {INSTALL}; then reload")
    elif [_row(rule) for rule in shown.rules] != [_wanted(line) for line in compiled.lines]:
        pairs = zip(shown.rules, compiled.lines, strict=False)
        at = next((rule.line for rule, line in pairs if _row(rule) != _wanted(line)), None)
        what = f"hba_file{where} holds other rules than the compiled ones, from line {at or 'the end'} on"
        why = "access is another than the spec grants: the file lies elsewhere, was edited, or is an older one"
        yield differs(_CODE, "other pg_hba.conf", name, what, why, f"make hba_file the compiled file: {INSTALL}")
    else:
        yield ok(name, f"hba_file{where} holds the compiled rules, without an error")
    yield _mappings(compiled, shown)
    if shown.changed:
        what = f"changed or put in place after the last reload: {listed(shown.changed, 6)}"
        todo = "reload, and look at the log"
        yield differs(_CODE, "not reloaded", "reload", what, "what is in force is from before", todo)
    elif shown.changed is None:
        yield untried("reload", _why(shown, "reload"))


def _mappings(compiled: Compiled, shown: Shown) -> Check:
    name = "pg_ident.conf"
    if shown.mappings is None:
        reason = "PostgreSQL before 15 does not show them" if shown.version < _SHOWN_SINCE else _why(shown, "mappings")
        return untried(name, reason)
    bad = next((one for one in shown.mappings if one.error is not None), None)
    if bad:
        what = f"line {bad.line} of ident_file has an error: {bad.error}"
        why = "PostgreSQL keeps the maps from before"
        return differs(_CODE, "error in pg_ident.conf", name, what, why, f"correct the line, or {INSTALL}; then reload")
    wanted = [(line.map, _term(line.identity), _term(line.role)) for line in compiled.idents]
    if [(one.map, one.identity, one.role) for one in shown.mappings] == wanted:
        return ok(name, "ident_file holds the compiled maps")
    what, why = "ident_file holds other maps than the compiled ones", "certificates log in as other roles"
    return differs(_CODE, "other pg_ident.conf", name, what, why, f"make ident_file the compiled file: {INSTALL}")


_SHOWN_SINCE = 15


_Row = tuple[str | None, tuple[str, ...], tuple[str, ...], str | None, str | None, frozenset[str]]
_COMPARED = ("map=", "clientcert=")


def _row(rule: Rule) -> _Row:
    options = frozenset(option for option in rule.options if option.startswith(_COMPARED))
    return rule.type, rule.databases, rule.users, _network(rule.address, rule.netmask), rule.method, options


def _wanted(line: Line) -> _Row:
    options = {f"{name}={value}" for name, value in line.options if f"{name}=" in _COMPARED}
    if line.method == "cert":
        options.add("clientcert=verify-full")
    databases, roles = (tuple(map(_term, terms)) for terms in (line.databases, line.roles))
    return line.type, databases, roles, _address(line.address), line.method, frozenset(options)


def _term(term: Database | Role) -> str:
    match term:
        case Name():
            return term.text
        case Regex():
            return f"/{term.pattern}"
        case Member():
            return f"+{term.role}"
        case Keyword():
            return term.value


def _address(address: Address | None) -> str | None:
    match address:
        case None:
            return None
        case IPv4Network() | IPv6Network():
            return f"{address.network_address}/{address.netmask}"
        case MaskedAddress():
            return f"{address.address}/{address.mask}"
        case HostName():
            return address.name
        case Keyword():
            return address.value


def _network(address: str | None, netmask: str | None) -> str | None:
    if address is None or netmask is None:
        return address
    return f"{ip_address(address)}/{ip_address(netmask)}"


# --- settings ---


def _settings(compiled: Compiled, shown: Shown) -> Iterator[Check]:
    name = "settings"
    if shown.errors:
        what = f"a configuration file has an error: {shown.errors[0]}"
        why = "PostgreSQL applies none of the changes of a reload, and a restart fails"
        yield differs(_CODE, "error in postgresql.conf", name, what, why, "correct that line, then reload")
    if shown.settings is None:
        yield untried(name, _why(shown, "settings"))
        return
    hidden = [setting for setting in compiled.settings if setting not in shown.settings]
    found = [
        _difference(setting, value, shown.settings[setting])
        for setting, value in compiled.settings.items()
        if setting not in hidden
    ]
    wrong = [check for check in found if check]
    yield from wrong
    if not wrong:
        yield ok(name, f"{len(found)} settings of pgtls.conf are in force")
    if hidden:
        yield untried("further settings", f"this role does not see {listed(hidden, 4)}")


def _difference(setting: str, value: str, found: Setting) -> Check | None:
    if found.pending:
        what = f"{setting} was changed, and is still '{found.shown}'"
        why = "the new value takes effect at the next start"
        return differs(_CODE, "restart due", "settings", what, why, "restart the server")
    if _is(found, value):
        return None
    what = f"{setting} is '{found.shown}'; pgtls.conf has '{value}'"
    why = "another file, ALTER SYSTEM or the command line has the last word, or pgtls.conf is not included"
    todo = f"include pgtls.conf last, ALTER SYSTEM RESET {setting}, and reload; then look at the log"
    return differs(_CODE, f"setting {setting}", "settings", what, why, todo)


_WORDS = {"on": "on", "true": "on", "yes": "on", "1": "on", "off": "off", "false": "off", "no": "off", "0": "off"}


def _is(found: Setting, value: str) -> bool:
    """Return whether a value is in force, in any unit or spelling."""
    texts = {found.value, found.shown, *found.written}
    if value in texts or value.lower() in {text.lower() for text in texts}:
        return True
    return found.value in ("on", "off") and _WORDS.get(value.lower()) == found.value


# --- roles, databases, memberships, connections ---


def _names(fleet: Fleet, compiled: Compiled, shown: Shown) -> Iterator[Check]:
    roles = {term.text for line in compiled.lines for term in line.roles if isinstance(term, Name)}
    databases = {term.text for line in compiled.lines for term in line.databases if isinstance(term, Name)}
    if shown.roles is None:
        yield untried("roles", _why(shown, "roles"))
    else:
        lost = sorted(roles - {role for role, login in shown.roles.items() if login})
        yield _all_there("roles", "role", lost, len(roles), "create role … login")
    if shown.databases is None:
        yield untried("databases", _why(shown, "databases"))
    else:
        yield _all_there(
            "databases", "database", sorted(databases - shown.databases), len(databases), "create database …"
        )
    wanted = {(role, group) for user in fleet.users.values() for role in user.roles for group in user.member_of}
    wanted = {(role, group) for role, group in wanted if role in roles or shown.roles is None or role in shown.roles}
    if shown.members is None:
        yield untried("memberships", _why(shown, "memberships"))
        return
    missing = sorted(f"{role} in {group}" for role, group in wanted - shown.members if role != group)
    yield _all_there("memberships", "membership", missing, len(wanted), "grant … to …")


def _all_there(name: str, thing: str, lost: list[str], count: int, todo: str) -> Check:
    if not lost:
        return ok(name, f"all {count} that the spec names are there" if count else "the spec names none")
    what = f"the server lacks {'this' if len(lost) == 1 else 'these'} {thing}{'s' * (len(lost) > 1)} of the spec: "
    why = "its users cannot connect, or get other access than the spec says"
    return differs(_CODE, f"{thing} missing", name, what + listed([f'"{one}"' for one in lost], 5), why, todo)


def _connections(lock: Lock, shown: Shown) -> Check:
    """Report the connected clients by the CA of their certificates.

    A revoked or unknown certificate is a difference.
    """
    if shown.sessions is None:
        return untried("connections", _why(shown, "connections"))
    by_serial = {line.serial: line for line in lock.issued}
    counted: Counter[str] = Counter()
    for session in shown.sessions:
        line = by_serial.get(session.serial) if session.serial else None
        if line and (line.ca, line.serial) in lock.revocations:
            what = f'role "{session.role}" is connected with a revoked certificate of {line.entity} (ca.{line.ca})'
            why = "a CRL ends no connection that is open"
            todo = "end it with pg_terminate_backend, and install the current CRL"
            return differs(_CODE, "revoked certificate connected", "connections", what, why, todo)
        if line:
            counted[f"{line.entity} of ca.{line.ca}"] += 1
        elif session.subject:
            counted[f'"{session.subject}" of "{session.issuer or "?"}"'] += 1
        else:
            counted["without a certificate" if session.tls else "without TLS"] += 1
    texts = [f"{count} {who}" for who, count in sorted(counted.items())]
    return ok(
        "connections", listed(texts, 8) if texts else "nobody else is connected over TCP, as far as this role sees"
    )
