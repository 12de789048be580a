"""Find certificates of the lock that a server would take for those of other users (PGT254)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.grants import accepted_authorities, distinguished_name
from pgtls.access.held import common_name, identities, leading, shown_names
from pgtls.access.order import compared
from pgtls.access.sets import roles_of
from pgtls.diagnostics import Diagnostic
from pgtls.fleet.fields import header
from pgtls.hba.pgbouncer import folded
from pgtls.hba.regex import decided

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.access.held import Held, Known
    from pgtls.access.sets import Roles
    from pgtls.diagnostics import Path
    from pgtls.fleet.model import Fleet, Policy, Server
    from pgtls.pki.model import Entity


def inheritable(fleet: Fleet, server: Server, held: Held) -> Iterator[Diagnostic]:
    """Report each certificate of another user with which its holder could log in as a user, or by an entry of a map.

    If the spec has a table again that a former user had, pgtls cannot know whether it is the same person. The servers
    with a CRL report each pair once, and so do those without.
    """
    if not held.shared:
        return
    heirs = _Heirs(fleet, server, held)
    alike = [one for one in fleet.servers.values() if one.table.crl == server.table.crl and one.name < server.name]
    for line in held.shared:
        for heir in heirs.of(line):
            if not any(heir in _Heirs(fleet, earlier, held).of(line) for earlier in alike):
                is_former = line.entity.kind == "user" and (line.ca, line.certificate.serial) in held.former
                yield _inheritance(server, heir, line, f"a former {line.entity}" if is_former else line.entity)


class _Heir(NamedTuple):
    """A user, or an entry of a policy's map.

    ``subject``: the server compares the whole subject with this one. ``by_pattern``: a regular expression accepts it.
    ``role``: ``policy`` admits whoever shows the name of this role of the user.
    """

    words: str
    path: Path
    entity: Entity | None = None
    subject: str | None = None
    by_pattern: bool = False
    role: str | None = None
    policy: str = ""


class _Heirs:
    """The users and map entries of a server, by the names that the server compares with a certificate."""

    def __init__(self, fleet: Fleet, server: Server, held: Held) -> None:
        self._trusted = leading(fleet, server, held)
        self._former = held.former
        self._pooler = server.kind == "pooler"
        self._anchors = {ca.anchor for ca in server.accepted_cas}
        self._users = {user.entity: user for user in fleet.users.values()}
        self._named: dict[str, list[_Heir]] = {}
        accepted = accepted_authorities(fleet, server.accepted_cas)
        for user in fleet.users.values():
            if user.ca and user.ca.name in accepted:
                whole = user.table.identity == "dn" and not self._pooler
                subject = distinguished_name(user) if whole else None
                words = f'that of user "{user.name}"'
                self._add(user.common_name, _Heir(words, user.entity.path, user.entity, subject))
        for role, heir in _by_role(fleet, server, accepted):
            self._add(role, heir)
        self._patterns: list[tuple[str, str, _Heir]] = []
        for policy in fleet.policies_of(server):
            for index, (of, name) in enumerate(identities(policy)):
                words = f'one that policy "{policy.name}" accepts by its map'
                heir = _Heir(words, (*policy.path, "map", index, "identity"))
                if name[0] == "/":
                    self._patterns.append((of, name[1:], heir._replace(by_pattern=True)))
                elif of == "dn":
                    self._add(common_name(name) or "", heir._replace(subject=name))
                else:
                    self._add(name, heir)

    def _add(self, name: str, heir: _Heir) -> None:
        self._named.setdefault(self._compared(name), []).append(heir)

    def _compared(self, name: str) -> str:
        return folded(name) if self._pooler else name

    def of(self, line: Known) -> Iterator[_Heir]:
        """Yield the users and entries for which the server accepts a certificate of somebody else."""
        if line.ca not in self._trusted:
            return
        # No name of a user is meant for the certificate of a server, whether or not the spec still has the server.
        left = line.entity.kind != "user" or (line.ca, line.certificate.serial) in self._former
        subject, today = line.certificate.subject, self._today(line.entity)
        owner = self._users.get(line.entity)
        shown = dict.fromkeys(map(self._compared, shown_names(line.certificate, hosts=self._pooler)))
        for name in shown:
            for heir in self._of_name(name):
                # Two users whom a server cannot tell apart today are another finding.
                has_it = today[0] == name and heir.subject in (None, today[1])
                is_own = has_it or line.entity == heir.entity or (owner and heir.role in owner.roles)
                if (left or not is_own) and heir.subject in (None, subject):
                    yield heir
        for of, pattern, heir in self._patterns:
            older = owner and (
                distinguished_name(owner) != subject if of == "dn" else self._compared(owner.common_name) not in shown
            )
            if (left or older) and decided(pattern, subject if of == "dn" else common_name(subject) or "") is not False:
                yield heir

    def _today(self, entity: Entity) -> tuple[str, str]:
        """Return the name that an entity shows this server today, and its subject."""
        user = self._users.get(entity)
        if user is None or user.ca is None or user.ca.anchor not in self._anchors:
            return "", ""
        return self._compared(user.common_name), distinguished_name(user)

    def _of_name(self, name: str) -> Iterator[_Heir]:
        yield from self._named.get(name, ())
        if self._pooler and name.startswith("*."):  # as in the certificate of a host (tls_match_name)
            yield from (
                heir for one, heirs in self._named.items() if one.partition(".")[2] == name[2:] for heir in heirs
            )


def _by_role(fleet: Fleet, server: Server, accepted: frozenset[str]) -> Iterator[tuple[str, _Heir]]:
    """Yield roles of users where a policy, which means no certificate, admits everybody who shows the name of one."""
    policies = [(policy, roles_of(policy.roles)) for policy in fleet.policies_of(server)]
    wide = [(policy, covered) for policy, covered in policies if _admits_by_name(fleet, policy, covered, accepted)]
    for user in fleet.users.values() if wide else ():
        own = user.common_name if user.ca and user.ca.name in accepted else None
        for role in user.roles:
            policy = next((one for one, covered in wide if covered.may_have(role, fleet.memberships)), None)
            if policy and role != own:
                words = f'one for role "{role}" of user "{user.name}"'
                yield role, _Heir(words, user.entity.path, user.entity, role=role, policy=policy.name)


def _admits_by_name(fleet: Fleet, policy: Policy, covered: Roles, accepted: frozenset[str]) -> bool:
    """Return whether a policy admits every certificate as the role of its name: its lines have no map.

    They have one as soon as an ``accepted`` certificate shows another name than the role that it is for.
    """
    if covered.listed or policy.asks_certificate != "verify-full" or compared(policy, accepted):
        return False
    meant = {user.name for user in policy.users}
    return all(
        user.roles == (user.common_name,)
        if user.name in meant
        else not covered.may_have(user.common_name, fleet.memberships)
        for user in fleet.users.values()
        if user.ca and user.ca.name in accepted
    )


def _inheritance(server: Server, heir: _Heir, line: Known, who: str) -> Diagnostic:
    if server.kind == "pooler":
        help_ = f'take it from a CA under another root: PgBouncer reads no CRL, and pooler "{server.name}" takes it'
    elif server.table.crl:
        first = f"remove {line.entity}" if line.entity.kind == "user" else "have it signed with serverAuth alone"
        help_ = f"{first} in a build of its own first, which revokes that certificate"
    else:
        table = header("server", server.name)
        help_ = f"set crl = true on {table}: without it, that server takes revoked certificates too"
    is_back = heir.entity == line.entity
    good = f"good until {line.certificate.not_after:%Y-%m-%d}"
    if heir.entity is None:
        change = f"delete the entry until {line.certificate.not_after:%Y-%m-%d}"
    elif heir.role:
        change = f'name users in {header("policy", heir.policy)} instead of "all" or "+role"'
    else:
        change = f"give {header('user', heir.entity.name)} another common_name"
    return Diagnostic(
        "PGT254",
        f"certificate {line.certificate.serial} of {who}, {good}, could not be told from {heir.words}",
        heir.path,
        hint=f"{'if this is somebody else, ' if is_back else ''}{change}; or {help_}",
        at="value" if heir.entity is None else "table",
        severity="warning" if is_back or heir.by_pattern else "error",
    )
