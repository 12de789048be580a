"""Find bundle texts that stay as the last build wrote them, so that no build renders them again.

For each user, the manifest contains the digest of all inputs of the bundle's texts. Texts stay if this digest is the
same and the files are unchanged since.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls import __version__
from pgtls.certificates.model import UNTOUCHED
from pgtls.state import layout
from pgtls.state.tree import File, Later

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgtls.access.model import Entry
    from pgtls.certificates.model import Existing
    from pgtls.fleet.model import Fleet, Policy, User
    from pgtls.pki.model import Entity
    from pgtls.state.tree import Tree

_IN_ENTRIES = frozenset(("from_", "users", "databases", "servers"))
"""Fields of a policy that decide which entries exist, and that affect the texts in no other way."""


def digests(fleet: Fleet, entries: Mapping[str, Sequence[Entry]]) -> dict[Entity, str]:
    """Return, for each user, the digest of the inputs of the texts. ``entries`` are by user.

    It covers every field that the texts can read, used or not, so that a text cannot depend on other inputs.
    """
    servers = {name: repr(server) for name, server in fleet.servers.items()}
    policies = {name: _policy(policy) for name, policy in fleet.policies.items()}
    return {
        user.entity: sha256(
            "\0".join((__version__, _user(user), *_entries(entries.get(name, ()), servers, policies))).encode()
        ).hexdigest()
        for name, user in fleet.users.items()
    }


def _user(user: User) -> str:
    return repr((user.name, user.ca and user.ca.name, user.roles, user.os_users, vars(user.table)))


def _policy(policy: Policy) -> str:
    table = {field: value for field, value in vars(policy.table).items() if field not in _IN_ENTRIES}
    return repr((policy.name, policy.sslmode, policy.asks_certificate, table))


def _entries(entries: Sequence[Entry], servers: Mapping[str, str], policies: Mapping[str, str]) -> list[str]:
    parts = []
    for e in entries:
        own = e.name, e.role, e.database, e.sslmode, e.certificate, e.channel_binding, e.hostaddr, e.replication
        parts += [repr(own), servers[e.server.name], *(policies[policy.name] for policy in e.policies)]
    return parts


def kept_texts(existing: Existing, wanted: Mapping[Entity, str]) -> dict[Entity, Tree]:
    """Return the texts that stay, by user, without their content. ``wanted`` are the :func:`digests`."""
    before = existing.manifest.texts if existing.manifest else {}
    same = {
        entity: File(Later.KEPT, layout.PUBLIC, "bundle", entity)
        for entity, digest in wanted.items()
        if before.get(entity) == digest
    }
    found: dict[Entity, dict[str, File]] = {}
    for path, entry in existing.listed.items():
        if entry.kind == "bundle" and (file := same.get(entry.entity)):
            found.setdefault(entry.entity, {})[path] = file
            if existing.files[path] not in UNTOUCHED:
                del same[entry.entity]
    return {entity: files for entity, files in found.items() if entity in same}
