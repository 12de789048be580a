"""Read the output of the last build for a server and for its clients from the out directory."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.hba.parse import parse_hba, parse_ident
from pgtls.live.chain import Trust
from pgtls.live.handshake import Identity
from pgtls.live.listed import Listed, listed
from pgtls.output.postgresql_conf import read_fragment
from pgtls.pki import facts, keys
from pgtls.pki.age import is_encrypted
from pgtls.pki.model import Certificate, Unreadable
from pgtls.state import files, layout
from pgtls.state.generations import in_use
from pgtls.state.provenance import last_build

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.access.model import Entry
    from pgtls.fleet.model import Fleet, Server, User
    from pgtls.fleet.model import Identity as Shown
    from pgtls.hba.model import IdentLine, Line
    from pgtls.pki.model import Entity
    from pgtls.state.deployed import Evidence
    from pgtls.state.generations import Generation
    from pgtls.state.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Bundle:
    """The output of a build for a client that connects to the server. ``certificate`` is None for one without."""

    user: User
    directory: str
    entries: tuple[Entry, ...]
    certificate: Certificate | None
    chain: bytes = field(default=b"", repr=False)
    trust: Trust | None = field(default=None, repr=False)
    """What it verifies this server with. None if it has no ``root.crt``."""

    def identity(self) -> Identity | str:
        """Open the client's certificate and key. If that is impossible, return why."""
        path = os.path.join(self.directory, layout.CLIENT_KEY)
        return _identity(self.chain, path)


class Earlier(NamedTuple):
    """An earlier build of a server that may be in force. It has no lines if its rules are unknown."""

    made: Generation
    lines: tuple[Line, ...]
    idents: tuple[IdentLine, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """The expected files of a server, and the files of its clients."""

    server: Server
    shown: Shown
    """The expected identity under some host names. The default identity is the server itself."""
    out: str
    files: Mapping[str, str]
    """The sha256 of each file of the server, by its name in the server's directory."""
    chain: tuple[bytes, ...] = field(repr=False)
    """The certificates of ``server.crt``, leaf first, as PEM."""
    leaf: Certificate
    trust: tuple[Certificate, ...]
    """The certificates of the ``root.crt`` of the identity."""
    settings: Mapping[str, str]
    lines: tuple[Line, ...]
    idents: tuple[IdentLine, ...]
    bundles: tuple[Bundle, ...]
    """The clients that dial the identity."""
    lists: bytes = field(default=b"", repr=False)
    """The CRLs of the CAs above the identity's certificate, as far as the out directory has them."""
    listed: tuple[Listed, ...] = field(default=(), repr=False)
    """What the CRLs of the whole out directory list."""
    others: tuple[Compiled, ...] = ()
    """The same for each further identity of the server (``sni``)."""
    made: Generation | None = None
    """The last build of the server. None if it is known to be deployed."""
    earlier: tuple[Earlier, ...] = ()
    """The builds that may be in force instead, oldest first."""

    @property
    def clients(self) -> Mapping[Trust, tuple[str, ...]]:
        """What clients verify the identity with, each with its users."""
        found: dict[Trust, tuple[str, ...]] = {}
        for bundle in self.bundles:
            if bundle.trust is not None:
                found[bundle.trust] = (*found.get(bundle.trust, ()), bundle.user.name)
        return found

    def own_identity(self) -> Identity | str:
        """Open the server's certificate and key. If that is impossible, return why."""
        path = os.path.join(self.out, layout.key_path(self.shown.entity))
        return _identity(b"".join(self.chain), path)


def revoked_in(out: str) -> tuple[Listed, ...]:
    """Read what every CRL of the out directory lists, wherever it is: brought ones and those of former CAs, too.

    Raise :class:`Rejected` with PGT597 if one is not as the last build wrote it: what it listed is unknown.
    """
    manifest = last_build(out)
    crls = {entry.sha256: path for path, entry in manifest.files.items() if entry.kind == "crl"} if manifest else {}
    return tuple(dict.fromkeys(one for digest, path in crls.items() for one in _listed(out, path, digest)))


def _listed(out: str, path: str, digest: str) -> tuple[Listed, ...]:
    found = listed(_unchanged(out, path, digest))
    if isinstance(found, Unreadable):
        hint = "bring the CRL again where a crl_file has it, and run pgtls build"
        message = f'"{os.path.join(out, path)}" is no CRL that can be read: {found.reason}'
        raise Rejected(Diagnostic("PGT597", message, hint=hint))
    return found


def compiled(
    fleet: Fleet, entries: Mapping[str, Sequence[Entry]], out: str, server: Server, revoked: tuple[Listed, ...]
) -> Compiled:
    """Read the files of a server. ``revoked`` is what :func:`revoked_in` found.

    Raise :class:`Rejected` with PGT597 if it was never built.
    """
    manifest = last_build(out)
    if manifest is None:
        raise Rejected(_never_built(server, f'"{out}" holds no build'))
    of_server = dict(_files(manifest, server.entity))
    for name in (layout.SERVER_CERTIFICATE, layout.CONF, layout.HBA):
        if name not in of_server:
            raise Rejected(_never_built(server, f'"{out}" holds no {name} for it'))
    texts = {
        name: _unchanged(out, layout.path(server.entity, name), digest)
        for name, digest in of_server.items()
        if name.rpartition("/")[2] not in _UNREAD
    }
    version = server.table.postgres
    default = Compiled(
        server=server,
        shown=server,
        out=out,
        files=of_server,
        settings=read_fragment(texts[layout.CONF].decode()),
        lines=parse_hba(texts[layout.HBA].decode(errors="surrogateescape"), version).lines,
        idents=parse_ident(texts.get(layout.IDENT, b"").decode(errors="surrogateescape"), version).lines,
        listed=revoked,
        **_of_identity(fleet, entries, out, server, server, manifest, texts),
    )
    others = (
        replace(default, shown=shown, **_of_identity(fleet, entries, out, server, shown, manifest, texts))
        for shown in server.sni
        if layout.certificate_path(shown.entity) in manifest.files
    )
    return replace(default, others=tuple(others))


def _of_identity(
    fleet: Fleet,
    entries: Mapping[str, Sequence[Entry]],
    out: str,
    server: Server,
    shown: Shown,
    manifest: Manifest,
    texts: Mapping[str, bytes],
) -> _OfIdentity:
    """Return the properties of one identity of a server."""
    below = layout.directory(shown.entity).removeprefix(layout.directory(server.entity)).removeprefix("/")
    chain = texts.get(os.path.join(below, layout.SERVER_CERTIFICATE), b"")
    leaf = facts.read(chain)
    if isinstance(leaf, Unreadable) or not leaf:
        reason = leaf.reason if isinstance(leaf, Unreadable) else "it is missing"
        raise Rejected(
            _never_built(server, f"{os.path.join(below, layout.SERVER_CERTIFICATE)} cannot be read: {reason}")
        )
    cas = dict.fromkeys(link.name for ca in (shown.ca, *shown.trust) if ca for link in ca.chain)
    lists = [path for path in map(layout.crl_path, cas) if path in manifest.files]
    return {
        "chain": facts.pems(chain),
        "leaf": leaf[0],
        "trust": _certificates(texts.get(os.path.join(below, layout.SERVER_TRUST), b"")),
        "bundles": tuple(_bundles(fleet, entries, out, shown, manifest)),
        "lists": b"".join(_read(out, path) for path in lists),
    }


class _OfIdentity(TypedDict):
    chain: tuple[bytes, ...]
    leaf: Certificate
    trust: tuple[Certificate, ...]
    bundles: tuple[Bundle, ...]
    lists: bytes


def with_past(compiled: Compiled, past: Sequence[Generation], known: Evidence | None, now: datetime) -> Compiled:
    """Add the builds of which it is unknown whether they are in force."""
    *before, last = in_use(past, known, now)
    if known and known.generation == last.ids[-1] and known.at >= last.built:
        return compiled
    earlier = tuple(_earlier(one, compiled.server.table.postgres) for one in before)
    return replace(compiled, made=last, earlier=earlier)


def _earlier(one: Generation, version: int) -> Earlier:
    hba, ident = (one.facts[name] or "" for name in ("hba", "ident"))  # a lock alone does not know them
    return Earlier(one, parse_hba(hba, version).lines, parse_ident(ident, version).lines)


OUT_OF_SIGHT = "a connection shows what is loaded, not what lies on disk: log in with --user, or run this on the server"


def installed(compiled: Compiled) -> dict[str, str] | str:
    """Return the sha256 of the files in the server's ``directory`` on this machine, by name. If impossible, return why.

    A missing file has no digest.
    """
    directory, found = compiled.server.table.directory, dict[str, str]()
    if directory is None or not os.path.isdir(directory):
        return OUT_OF_SIGHT
    for name in compiled.files:
        try:
            found[name] = sha256(files.read(os.path.join(directory, name), follow=True)).hexdigest()
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{os.path.join(directory, name)} cannot be read: {error.strerror}"
    return found


_UNREAD = frozenset((layout.SERVER_KEY, layout.SERVER_NEXT_KEY))


def _never_built(server: Server, reason: str) -> Diagnostic:
    message = f'server "{server.name}" was not built: {reason}'
    hint = "run pgtls build, and have its CSR signed if it waits for that; or name its directory with --out"
    return Diagnostic("PGT597", message, ("server", server.name), hint, at="table")


def _files(manifest: Manifest, entity: Entity) -> Iterator[tuple[str, str]]:
    below = layout.directory(entity) + "/"
    for path, entry in sorted(manifest.files.items()):
        if path.startswith(below) and not (manifest.at_rest and entry.kind == "key"):
            yield path.removeprefix(below), entry.sha256


def _unchanged(out: str, path: str, digest: str) -> bytes:
    """Read a file of a server. One that was changed after the build is not what the spec says."""
    content = _read(out, path)
    if sha256(content).hexdigest() != digest:
        message = f'"{os.path.join(out, path)}" is not what the last build wrote'
        raise Rejected(Diagnostic("PGT597", message, hint="run pgtls build, which restores it"))
    return content


def _read(out: str, path: str) -> bytes:
    name = os.path.join(out, path)
    try:
        return files.read(name)
    except OSError as error:
        hint = "run pgtls build, which completes the out directory; or run pgtls verify as the user that owns it"
        raise Rejected(Diagnostic("PGT597", f'cannot read "{name}": {error.strerror or error}', hint=hint)) from None


def _certificates(pem: bytes) -> tuple[Certificate, ...]:
    found = facts.read(pem) if pem else ()
    return () if isinstance(found, Unreadable) else found


def _bundles(
    fleet: Fleet, entries: Mapping[str, Sequence[Entry]], out: str, shown: Shown, manifest: Manifest
) -> Iterator[Bundle]:
    for user in fleet.users.values():
        here = tuple(entry for entry in entries.get(user.name, ()) if entry.identity.name == shown.name)
        if not here:
            continue
        paths = [layout.path(user.entity, name) for name in _VERIFYING]
        chain, roots, lists = (_read(out, path) if path in manifest.files else b"" for path in paths)
        # With the CAs of the system, libpq reads no CRL.
        trust = Trust(None) if shown.system else Trust(roots, lists) if roots else None
        certificates = _certificates(chain)
        directory = os.path.join(out, layout.directory(user.entity))
        yield Bundle(user, directory, here, certificates[0] if certificates else None, chain, trust)


_VERIFYING = (layout.CLIENT_CERTIFICATE, layout.CLIENT_TRUST, layout.CLIENT_CRL)


def _identity(chain: bytes, key_path: str) -> Identity | str:
    certificates = facts.parse(chain)
    if isinstance(certificates, Unreadable):
        return f"its certificate cannot be read: {certificates.reason}"
    try:
        pem = files.read(key_path)
    except FileNotFoundError:
        return "its key is not in the out directory"
    except OSError as error:
        return f"its key cannot be read: {error.strerror}"
    if is_encrypted(pem):
        return "its key is encrypted for the recipients of [state]"
    key = keys.load(pem, ours=True)
    return f"its key cannot be used: {key.reason}" if isinstance(key, Unreadable) else Identity(certificates, key)
