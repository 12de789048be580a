"""Compute which CAs' client certificates a server really accepts.

OpenSSL accepts any chain that ends in a trusted *root*. A server whose ``client_ca`` is an intermediate therefore also
accepts certificates of every other CA under the same root.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.grants import accepted_authorities, distinguished_name
from pgtls.access.held import common_name, leading, renamed, strays
from pgtls.access.sets import Roles, roles_of
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import header
from pgtls.fleet.files import path_of
from pgtls.hba.match import Outcome, opened
from pgtls.hba.model import Name, Regex
from pgtls.hba.regex import Undecidable, decided
from pgtls.pki.model import Unreadable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from pgtls.access.held import Held
    from pgtls.access.model import Rules
    from pgtls.fleet.membership import Memberships
    from pgtls.fleet.model import Fleet, Policy, Server, User
    from pgtls.hba.model import Line


@dataclass(frozen=True, slots=True)
class Trust:
    """The CAs whose client certificates a server accepts.

    ``named`` are the CAs of the spec in its ``client_ca``, and those below them. ``others`` are accepted because they
    share a root with them. Under the CAs in ``foreign``, whose keys pgtls does not hold, a certificate may contain any
    name. ``foreign`` lists CAs of the spec or the lock by their name, and roots from a file by their subject.
    """

    named: tuple[str, ...]
    others: tuple[str, ...]
    foreign: tuple[str, ...]


def trust(fleet: Fleet, server: Server, host: str | None = None, left: Collection[str] = ()) -> Trust:
    """Compute which CAs a server trusts: under all of its host names, or for clients that dial this one.

    ``left`` are the foreign CAs that have no table any more.
    """
    cas = server.accepted_cas if host is None else server.identity_for(host).client_cas
    named = accepted_authorities(fleet, cas)
    anchors = {ca.anchor for ca in cas}
    under = [ca for ca in fleet.cas.values() if ca.anchor in anchors]
    roots = [ca.foreign_root.subject for ca in cas if ca.foreign_root]
    return Trust(
        tuple(ca.name for ca in under if ca.name in named),
        tuple(ca.name for ca in under if ca.name not in named),
        tuple(dict.fromkeys([*(ca.name for ca in under if ca.trusted_only), *roots, *left])),
    )


def intruders(fleet: Fleet, rules: Rules, known: Memberships, held: Held) -> Iterator[Diagnostic]:
    """Find certificates of CAs that a server does not name with which their holders could still log in.

    These are the certificates that users of the spec have or get, and those that the lock lists. Report one for each
    such CA.
    """
    server = rules.server
    named = accepted_authorities(fleet, server.accepted_cas)
    others = leading(fleet, server, held) - named - renamed(fleet, held, named)
    roles = tuple(dict.fromkeys(role for user in fleet.users.values() for role in user.roles))
    for shown in _strangers(fleet, held, sorted(others), named):
        if shown.ca not in others:
            continue
        way = _way_in(shown, rules, roles, known)
        if way is None:
            continue
        others -= {shown.ca}
        policy, role = way
        first = server.accepted_cas[0]
        root = first.foreign_root.subject if first.foreign_root else first.root.name
        yield Diagnostic(
            "PGT255",
            f'{server.kind} "{server.name}" accepts whatever leads to root "{root}": {shown.words} of ca "{shown.ca}", '
            f'which it does not name, could log in as {role} by policy "{policy.name}"',
            (*server.entity.table, "client_ca"),
            hint="give clients a root of their own"
            + (f": take `issuer` out of {header('ca', first.name)}" if first.issuer else ""),
        )


class _Shown(NamedTuple):
    """What a certificate shows, and whose it is. ``as_today``: its owner has the same subject today."""

    words: str
    ca: str
    user: User | None
    common_name: str
    subject: str
    as_today: bool = True


def _strangers(fleet: Fleet, held: Held, cas: Collection[str], named: Collection[str]) -> Iterator[_Shown]:
    """Yield the certificates under CAs, those of today first.

    Omit older ones of users whose certificates under the ``named`` CAs show the same today.
    """
    for ca in cas:
        for name in fleet.common_names.get(ca, ()):
            user = fleet.users[name]
            yield _Shown(f'user "{name}"', ca, user, user.common_name, _subject(fleet, user))
    users = {user.entity: user for user in fleet.users.values()} if any(ca in held.by_ca for ca in cas) else {}
    for ca in cas:
        for line in held.by_ca.get(ca, ()):
            subject, owner = line.certificate.subject, users.get(line.entity)
            as_today = owner is not None and _subject(fleet, owner) == subject
            if as_today and owner and owner.ca and owner.ca.name in named:
                continue
            words = f"certificate {line.certificate.serial} of {line.entity},"
            yield _Shown(words, ca, owner, common_name(subject) or "", subject, as_today)


def _subject(fleet: Fleet, user: User) -> str:
    """Return the subject of a user's certificate. One from a file may have more in it than the spec says."""
    if user.table.cert_file is None:
        return distinguished_name(user)
    from pgtls.pki import facts

    path = path_of(fleet, user.entity, "cert_file", user.table.cert_file)
    try:
        found = facts.read(fleet.source.reader.read(path))
    except (OSError, ValueError):  # reported where it is used
        return distinguished_name(user)
    return distinguished_name(user) if isinstance(found, Unreadable) else found[0].subject


def _way_in(shown: _Shown, rules: Rules, roles: Sequence[str], known: Memberships) -> tuple[Policy, str] | None:
    for line, origin in zip(rules.lines, rules.origin, strict=True):
        if not origin or _is_meant(shown, line, origin):
            continue
        role = _role_for(shown, line, rules, roles, known)
        if role is not None:
            return origin[0], role
    return None


def _is_meant(shown: _Shown, line: Line, origin: Iterable[Policy]) -> bool:
    """Return whether a policy names the user itself: then that policy is the mistake.

    It means who shows the name that the user has today, unless the line compares no name.
    """
    user = shown.user
    if user is None or not any(user in policy.named for policy in origin):
        return False
    if line.option("clientname") == "DN":
        return shown.as_today
    return line.option("clientcert") == "verify-ca" or shown.common_name == user.common_name


def _role_for(shown: _Shown, line: Line, rules: Rules, roles: Sequence[str], known: Memberships) -> str | None:
    """Describe a role of a line that accepts a certificate. The line may ask for a password, too."""
    asked = "verify-full" if line.method == "cert" else line.option("clientcert")
    if not asked:
        return None
    covered, likely = roles_of(line.roles), (shown.common_name, *roles)
    if asked == "verify-ca":
        return _one_of(covered, Roles(every=True), likely, known)
    identity = shown.subject if line.option("clientname") == "DN" else shown.common_name
    ident_map = line.map
    if not ident_map:
        return _one_of(covered, roles_of([Name(identity)]), (), known)
    try:
        for term in opened(rules.idents, ident_map, identity, rules.server.table.postgres):
            if isinstance(term, Outcome):
                return None
            if isinstance(term, Regex):
                found = _matching(covered, term, (*likely, *covered.examples()), known)
            else:
                found = _one_of(covered, roles_of([term]), likely, known)
            if found:
                return found
    except Undecidable:
        return _one_of(covered, Roles(every=True), likely, known)
    return None


def _one_of(covered: Roles, opened_: Roles, likely: Iterable[str], known: Memberships) -> str | None:
    """Describe a role that may be in both sets: a likely one, if possible."""
    common = (role for role in likely if opened_.may_have(role, known) and covered.may_have(role, known))
    role = next(common, None) or next(covered.common(opened_, known), None)
    return None if role is None else f'role "{role}"'


def _matching(covered: Roles, term: Regex, likely: Iterable[str], known: Memberships) -> str | None:
    """Describe a role of a line that matches an expression. Where a line lists no names, any such role may be one."""
    for role in likely:
        if covered.may_have(role, known) and decided(term.pattern, role) is not False:
            return f'role "{role}"'
    return None if covered.listed else f'a role that matches "/{term.pattern}"'


def strangers(fleet: Fleet, server: Server, held: Held) -> Iterator[Diagnostic]:
    """Find policies that admit by certificate alone although the key of a trusted CA is elsewhere.

    The holder of this key may certify any name.
    """

    def foreign_to(other: Server) -> tuple[str, ...]:
        return trust(fleet, other, left=strays(fleet, other, held)).foreign

    foreign = foreign_to(server)
    for policy in fleet.policies_of(server) if foreign else ():
        alone = policy.table.auth == "cert" or (policy.table.auth == "trust" and policy.asks_certificate != "none")
        if alone and server.name == next(other.name for other in policy.servers if foreign_to(other)):
            yield _stranger(policy, server, *_described(fleet, server, foreign[0], held))


def _described(fleet: Fleet, server: Server, foreign: str, held: Held) -> tuple[str, str, str]:
    """Describe a CA whose key is elsewhere, and say what helps against it alone, and what does not."""
    if foreign in strays(fleet, server, held):
        crls = "" if server.kind == "pooler" else f", set crl = true on {header('server', server.name)} to reject them"
        if foreign in fleet.cas:
            return f'an earlier key of ca "{foreign}", which is not here', crls, ""
        return f'ca "{foreign}", which has no table any more and whose key is not here', crls, ""
    if foreign not in fleet.cas:
        return f'"{foreign}", a root that came in a file, whose key is not here', "", ""
    constrained = any(ca.table.name_constraints for ca in fleet.cas[foreign].chain)
    hosts = "; its name_constraints restrict hosts, and not the names of clients" if constrained else ""
    return f'ca "{foreign}", whose key is not here', "", hosts


def _stranger(policy: Policy, server: Server, whose: str, helps: str, remark: str) -> Diagnostic:
    return Diagnostic(
        "PGT330",
        f'policy "{policy.name}" admits by certificate alone, and anyone certified under {whose}, '
        f'may hold any name on {server.kind} "{server.name}"',
        (*policy.path, "auth"),
        hint=f"ask for a password too (client_cert with another method){helps}, or accept it with a waiver "
        f"that says who certifies{remark}",
    )
