"""Render the whole out directory as a value, from the fleet, its rules and its credentials."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from pgtls.certificates.credentials import chain, joined, key_uri_file, roots, trust
from pgtls.certificates.retired_cas import files as retired_files
from pgtls.certificates.trust import (
    checked_cas,
    client_roots,
    listed_cas,
    rootless,
    trusted_roots,
    trusts_somebody,
)
from pgtls.fleet.model import Pooler
from pgtls.output import archive, bundle, pgbouncer, replication
from pgtls.output.crl_directory import hashed
from pgtls.output.pg_hosts import hosts_file
from pgtls.output.postgresql_conf import has_crl_directory, server_settings
from pgtls.output.templates import template
from pgtls.state import layout
from pgtls.state.tree import File, FileKind, Later

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from pgtls.access.model import Entry, Rules
    from pgtls.certificates.credentials import Credential
    from pgtls.certificates.issue import Material
    from pgtls.certificates.model import Existing
    from pgtls.fleet.model import Authority, Fleet, Identity, Server, User
    from pgtls.pki.model import Entity
    from pgtls.state.tree import Tree

    Files: TypeAlias = Iterator[tuple[str, File]]
    Entries: TypeAlias = Mapping[str, Sequence[Entry]]
    """The entries of each user's bundle, by user."""
    _Shared: TypeAlias = dict[Hashable, tuple[tuple[str, bytes | Later, FileKind], ...]]
    """What verifies the same servers: many bundles share it, and a large tree stays in memory until it is written."""


def tree(fleet: Fleet, entries: Entries, existing: Existing, texts: Tree, made: Material) -> Tree:
    """Return the whole out directory: ``texts``, the files of CAs that left the spec, and the material in ``made``."""
    issued = material(fleet, entries, made)
    whole = {**texts, **retired_files(fleet, existing, made.retired), **issued}
    whole |= replication.planned(fleet, whole, existing)
    return {**whole, **archive.planned(fleet, whole, existing)}


def completed(
    fleet: Fleet,
    entries: Entries,
    existing: Existing,
    planned: Tree,
    texts: Tree,
    made: Material,
    read: Callable[[str], bytes | None],
    opened: Callable[[str], bytes | None],
) -> Tree:
    """Return the :func:`tree` of the material in ``made``, given the ``planned`` tree with pending parts.

    ``read`` returns a file that stays, and ``opened`` what it holds if it is encrypted.
    """
    late = {file.entity for file in planned.values() if file.content is Later.PENDING}
    whole = {
        **{path: file for path, file in planned.items() if file.entity not in late},
        **{path: file for path, file in texts.items() if file.entity in late},
        **retired_files(fleet, existing, made.retired),
        **material(fleet, entries, made, late),
    }
    whole |= replication.copied(fleet, whole, planned, read)
    return {**whole, **archive.packed(fleet, whole, planned, opened)}


def texts(
    fleet: Fleet,
    rules: Mapping[str, Rules],
    entries: Entries,
    lacking: Collection[Entity] = frozenset(),
    kept: Mapping[Entity, Tree] | None = None,
) -> Tree:
    """Return the files without a certificate.

    ``rules`` are by server. ``lacking`` are entities without a certificate. ``kept`` are the unchanged texts of users.
    """
    kept = kept or {}
    servers = (
        file for server in fleet.servers.values() for file in _server_texts(fleet, server, rules[server.name], lacking)
    )
    clients = (
        (layout.path(user.entity, text.name), File(text, layout.PUBLIC, "bundle", user.entity))
        for user in fleet.users.values()
        if user.entity not in kept
        for text in bundle.texts(user, entries.get(user.name, ()))
    )
    return dict((*servers, *(file for files in kept.values() for file in files.items()), *clients))


def material(fleet: Fleet, entries: Entries, issued: Material, users: Collection[Entity] | None = None) -> Tree:
    """Return the files that contain certificates, keys and CRLs, of all users or only of some."""
    credentials, crls = issued.credentials, issued.crls
    shared: _Shared = {}
    some = [user for user in fleet.users.values() if users is None or user.entity in users]
    formats = {entity: files for entity, files in issued.formats.items() if users is None or entity in users}
    return dict(
        (
            *(file for ca in fleet.cas.values() for file in _ca(ca, credentials[ca.entity], crls.get(ca.name))),
            *(file for server in fleet.servers.values() for file in _server(fleet, server, credentials, crls)),
            *(file for user in some for file in _client(user, entries.get(user.name, ()), credentials, crls, shared)),
            *_formats(formats),
            *_accounts(issued.accounts),
        )
    )


def _formats(formats: Mapping[Entity, Mapping[str, bytes | Later]]) -> Files:
    for entity, files in formats.items():
        for name, content in files.items():
            yield layout.path(entity, name), File(content, layout.SECRET, "key", entity)


def _accounts(accounts: Mapping[Entity, bytes | Later]) -> Files:
    for ca, key in accounts.items():
        yield layout.path(ca, layout.CA_ACCOUNT_KEY), File(key, layout.SECRET, "key", ca)


def _ca(ca: Authority, credential: Credential, crl: bytes | Later | None) -> Files:
    yield from _pair(ca.entity, credential.file, credential)
    if uri := key_uri_file(ca):
        yield layout.path(ca.entity, layout.CA_KEY_URI), File(uri, layout.PUBLIC, "key-uri", ca.entity)
    if credential.previous:
        path = layout.path(ca.entity, layout.CA_PREVIOUS_CERTIFICATE)
        yield path, File(credential.previous, layout.PUBLIC, "certificate", ca.entity)
    if crl is not None:
        yield layout.crl_path(ca.name), File(crl, layout.PUBLIC, "crl", ca.entity)


def _server(
    fleet: Fleet, server: Server, credentials: Mapping[Entity, Credential], crls: Mapping[str, bytes | Later]
) -> Files:
    def file(name: str, content: bytes | Later, kind: FileKind) -> tuple[str, File]:
        return layout.path(server.entity, name), File(content, layout.PUBLIC, kind, server.entity)

    for identity in server.identities:
        yield from _identity(identity, credentials)
    if link := replication.link_of(fleet, server):
        for name, content, kind in _verifying(link.user, (link.entry,), credentials, crls):
            if server.kind == "server" or kind == "trust":  # PgBouncer reads no CRL
                yield file(f"{link.directory}/{name}", content, kind)
    checked = checked_cas(fleet, server)
    if checked:
        # The CRL of a CA that waits for its first signature does not exist yet.
        lists = [(ca, content) for ca in checked for content in _lists(ca, credentials, crls)]
    if checked and lists:
        yield file(layout.SERVER_CRL, joined(content for _, content in lists), "crl")
        for name, content in hashed(lists, credentials) if has_crl_directory(server) else ():
            yield file(f"{layout.SERVER_CRLS}/{name}", content, "crl")


def _identity(identity: Identity, credentials: Mapping[Entity, Credential]) -> Files:
    """Yield the files that a server presents under some host names, and the CAs that it accepts there."""
    entity, credential = identity.entity, credentials[identity.entity]

    def file(name: str, content: bytes | Later, kind: FileKind, mode: int = layout.PUBLIC) -> tuple[str, File]:
        return layout.path(entity, name), File(content, mode, kind, entity)

    yield from _pair(entity, chain(credential, identity.ca, credentials), credential)
    if credential.following:
        certificate, key = credential.following
        yield file(layout.SERVER_NEXT_CERTIFICATE, certificate, "certificate")
        yield file(layout.SERVER_NEXT_KEY, key, "key", layout.SECRET)
    if credential.previous:
        yield file(layout.SERVER_PREVIOUS_CERTIFICATE, credential.previous, "certificate")
    if trusted := trust(identity.client_cas, credentials):
        yield file(layout.SERVER_TRUST, trusted, "trust")


def _lists(
    ca: Authority, credentials: Mapping[Entity, Credential], crls: Mapping[str, bytes | Later]
) -> Iterator[bytes | Later]:
    """Yield the CRL of a CA, and the CRLs of the CAs above it that are not in the spec."""
    above = credentials[ca.entity].lists
    yield from (content for content in (crls.get(ca.name), above) if content is not None)


def _server_texts(fleet: Fleet, server: Server, rules: Rules, lacking: Collection[Entity]) -> Files:
    def file(name: str, text: str, kind: FileKind, mode: int) -> tuple[str, File]:
        return layout.path(server.entity, name), File(text.encode(), mode, kind, server.entity)

    yield file(layout.HBA, rules.hba_text, "hba", layout.SECRET)
    yield file(layout.IDENT, rules.ident_text, "ident", layout.SECRET)
    if isinstance(server, Pooler):
        for name, text in pgbouncer.texts(server, fleet.policies_of(server)):
            yield file(name, text, "conf", layout.PUBLIC)
        return
    listed = any(ca.entity not in lacking for ca in checked_cas(fleet, server))
    settings, extra = server_settings(server, trust=trusts_somebody(server, lacking), crl=listed)
    text = template("server/pgtls.conf.j2").render(
        server=server.entity, version=server.table.postgres, settings=settings, extra=extra
    )
    configured: dict[str, tuple[str, FileKind]] = {layout.CONF: (text, "conf")}
    if server.sni:
        configured[layout.HOSTS] = hosts_file(server, lacking), "hosts"
    if link := replication.link_of(fleet, server):
        configured[f"{layout.REPLICATION}/{layout.PRIMARY_CONNINFO}"] = replication.primary_conninfo(link), "conf"
    for name, (text, kind) in configured.items():
        yield file(name, text, kind, layout.PUBLIC)
    needed = [f"{name} {text.splitlines()[-1].partition(' ')[0]}" for name, (text, _) in configured.items()]
    if link and link.user.entity not in lacking:
        needed.append(f"{layout.REPLICATION}/{layout.CLIENT_CERTIFICATE}")
    yield file(layout.INSTALLER, _installer(server, lacking, needed), "script", layout.PUBLIC)


def _installer(server: Server, lacking: Collection[Entity], needed: Iterable[str]) -> str:
    """Return the script that installs the files of a server.

    ``needed`` are files that must be there, those with settings with the first word of their last line. Rules have no
    such word: a part of them admits nobody whom all of them reject.
    """
    return template("server/install.sh.j2").render(
        server=server.entity,
        version=server.table.postgres,
        directory=quote((server.table.directory or "").rstrip("/")),
        identities=quote(" ".join(one.entity.host for one in server.sni if one.entity not in lacking)),
        needed=quote("\n".join((layout.HBA, layout.IDENT, *needed))),
    )


def _client(
    user: User,
    entries: Sequence[Entry],
    credentials: Mapping[Entity, Credential],
    crls: Mapping[str, bytes | Later],
    shared: _Shared,
) -> Files:
    credential = credentials.get(user.entity)
    if credential:
        yield from _pair(user.entity, chain(credential, user.ca, credentials), credential)
    servers = frozenset(entry.identity.name for entry in entries), user.table.crl
    if servers not in shared:
        shared[servers] = tuple(_verifying(user, entries, credentials, crls))
    for name, content, kind in shared[servers]:
        yield layout.path(user.entity, name), File(content, layout.PUBLIC, kind, user.entity)


def _verifying(
    user: User,
    entries: Sequence[Entry],
    credentials: Mapping[Entity, Credential],
    crls: Mapping[str, bytes | Later],
) -> Iterator[tuple[str, bytes | Later, FileKind]]:
    """Yield the files that verify the servers of some entries: roots, and their CAs' CRLs if the user wants them."""
    if trusted_roots(entries):
        parts = (part for server in rootless(entries) for part in _own_roots(server, credentials[server.entity]))
        yield layout.CLIENT_TRUST, joined((roots(client_roots(entries), credentials), *parts)), "trust"
    lists = [content for ca in listed_cas(user, entries) for content in _lists(ca, credentials, crls)]
    if lists:
        yield layout.CLIENT_CRL, joined(lists), "crl"


def _own_roots(server: Identity, credential: Credential) -> Iterator[bytes | Later]:
    """Yield the certificates that clients of such a server trust: past, present and next, or its supplied root."""
    if not server.self_signed:
        yield from (credential.above or (credential.certificate,))[-1:] if credential.certificate else ()
        return
    served = credential.certificate, credential.following and credential.following[0], credential.previous
    yield from (certificate for certificate in served if certificate)


def _pair(entity: Entity, certificate: bytes | Later | None, credential: Credential) -> Files:
    if certificate is not None:
        yield layout.certificate_path(entity), File(certificate, layout.PUBLIC, "certificate", entity)
    if credential.key is not None:
        yield layout.key_path(entity), File(credential.key, layout.SECRET, "key", entity)
    if credential.request is not None:
        yield layout.request_path(entity), File(credential.request, layout.PUBLIC, "request", entity)
