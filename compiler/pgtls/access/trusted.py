"""Report how a change of the spec changes trust: the CAs that servers accept, and the roots that clients trust."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.brought import brought
from pgtls.access.change_words import shown
from pgtls.access.comparisons import ProtectionChange, exposing
from pgtls.access.successors import former_users, formers
from pgtls.access.trust import trust
from pgtls.diagnostics.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from pgtls.access.answers import Side
    from pgtls.access.brought import Brought
    from pgtls.fleet.model import Authority, Fleet, Identity, Server


class Trusted(NamedTuple):
    """A CA that a server or a client trusts. ``key`` distinguishes CAs with the same ``words``.

    ``foreign``: pgtls does not decide what it certifies, or the spec does not name it. This counts for a new server,
    too.
    """

    words: str
    key: str
    foreign: bool


def trusted(old: Side, new: Side) -> Iterator[ProtectionChange]:
    """Compare which CAs servers accept, and which roots the bundles of clients trust."""
    files = brought(old.fleet), brought(new.fleet)
    unread = {one.path for each in files for one in each.values() if one.outside}
    before, after = _Roots(old.fleet, files[0], unread), _Roots(new.fleet, files[1], unread)
    yield from _by_server(old.fleet, new.fleet, _accepted(old), _accepted(new))
    yield from _by_identity(old.fleet, new.fleet, before, after)
    yield from _by_bundle(old, new, before, after)


# --- by server --------------------------------------------------------------------------------------------------------


def _by_server(
    old: Fleet,
    new: Fleet,
    had: Callable[[Server], frozenset[Trusted]],
    has: Callable[[Server], frozenset[Trusted]],
) -> Iterator[ProtectionChange]:
    """Compare which CAs servers accept, by any of their identities: rules do not see which one a client asked for."""
    former = formers(old, new)
    known = frozenset(one for server in old.servers.values() for one in had(server))
    for name, server in new.servers.items():
        before = [had(old.servers[one]) for one in former.get(name, (name,)) if one in old.servers]
        yield from _change(server.entity, "accepts client certificates of", before, has(server), known)


def _by_identity(old: Fleet, new: Fleet, before: _Roots, after: _Roots) -> Iterator[ProtectionChange]:
    """Compare the roots through which clients trust each identity, with what its host names had before."""
    former = formers(old, new)
    known = frozenset(root for identity in old.identities() for root in before.of(identity))
    for name, server in new.servers.items():
        were = [old.servers[one] for one in former.get(name, (name,)) if one in old.servers]
        for identity in server.identities:
            hosts = identity.table.hosts if identity is not server else ()
            had = [one.identity_for(host) for one in were for host in hosts] if hosts else were
            roots = [before.of(one) for one in had]
            yield from _change(identity.entity, "is trusted through", roots, after.of(identity), known)


def _change(
    entity: str, what: str, before: Sequence[frozenset[Trusted]], will: frozenset[Trusted], known: frozenset[Trusted]
) -> Iterator[ProtectionChange]:
    # Nobody depends on a new server yet: CAs that the spec adds together with it weaken no protection.
    was = frozenset.intersection(*before) if before else frozenset(o for o in will if o in known or not o.foreign)
    if was != will:
        yield ProtectionChange(exposing(was, will), entity, what, _words(was), _words(will))


def _words(cas: Collection[Trusted]) -> str:
    return shown(sorted({ca.words for ca in cas}))


def _accepted(side: Side) -> Callable[[Server], frozenset[Trusted]]:
    """Return what tells the CAs whose client certificates a server accepts."""

    def of(server: Server) -> frozenset[Trusted]:
        found = trust(side.fleet, server, left=side.rules[server.name].left)
        others = {ca: f"{ca} (not named, but under the same root)" for ca in found.others}
        words = others | {ca: f"{ca} {_ANYONE}" for ca in found.foreign}
        plain = frozenset(Trusted(ca, ca, foreign=False) for ca in found.named if ca not in words)
        return plain | {Trusted(text, ca, foreign=True) for ca, text in words.items()}

    return of


# --- what clients trust -----------------------------------------------------------------------------------------------

_ANYONE = "(anyone certified under it)"
_ITSELF = Trusted("its own certificate", "", foreign=False)
_PUBLIC = Trusted("every public CA", "", foreign=True)


class _Roots:
    """What the clients of each identity of a state trust: all CAs under its roots.

    ``unread`` are the files that one of the two states cannot read: they are compared by their path.
    """

    def __init__(self, fleet: Fleet, files: Mapping[str, Brought], unread: Collection[str]) -> None:
        self._cas, self._files, self._unread = fleet.cas.values(), files, unread
        self._found: dict[str, frozenset[Trusted]] = {}

    def of(self, identity: Identity) -> frozenset[Trusted]:
        """Return what the clients of an identity trust."""
        if identity.name not in self._found:
            cas = tuple(ca for ca in (identity.ca, *identity.trust) if ca)
            self._found[identity.name] = frozenset((*self._under(cas), *self._own(identity)))
        return self._found[identity.name]

    def _under(self, cas: Collection[Authority]) -> Iterator[Trusted]:
        anchors = {ca.anchor for ca in cas}
        for ca in self._cas if anchors else ():
            if ca.anchor in anchors:
                yield Trusted(f"{ca.name} {_ANYONE}" if ca.trusted_only else ca.name, ca.name, ca.trusted_only)
        for root in (ca.foreign_root for ca in cas):
            if root:
                yield Trusted(f"{visible(root.subject)} {_ANYONE}", root.sha256, foreign=True)

    def _own(self, identity: Identity) -> Iterator[Trusted]:
        """Yield what clients trust without a CA of the spec.

        The root in ``cert_file`` may certify any name, also as the certificate of a server: rustls takes every
        certificate in the file of roots for that of a CA. Its key alone does not tell it: another certificate with it
        may restrict less.
        """
        file = self._files.get(identity.entity)
        if identity.system:
            yield _PUBLIC
        elif identity.self_signed:
            yield _ITSELF
        elif identity.ca is None and file:
            root = file.certificates[-1] if file.path not in self._unread and file.certificates else None
            words, key = (visible(root.subject), root.sha256) if root else (visible(file.path), file.path)
            yield Trusted(f"{words} {_ANYONE}" if root else f"the root in {words} (not read)", key, foreign=True)


# --- by bundle --------------------------------------------------------------------------------------------------------


def _by_bundle(old: Side, new: Side, before: _Roots, after: _Roots) -> Iterator[ProtectionChange]:
    """Find bundles that trust a foreign CA of one server for their other servers from now on.

    A bundle has one file of roots: a server that comes into it brings its root for all of them.
    """
    was, will = _everywhere(old, before), _everywhere(new, after)
    former = former_users(old.fleet, new.fleet)
    known = frozenset(root for roots in was.values() for root in roots)
    added: dict[Trusted, list[str]] = {}
    for user, roots in will.items():
        had = [was.get(one, frozenset()) for one in former.get(user, ())]
        for root in roots - (frozenset.intersection(*had) if had else known):
            added.setdefault(root, []).append(user)
    for root, users in added.items():
        brings = (entry.identity for user in users for entry in new.entries[user] if root in after.of(entry.identity))
        entity = min(identity.entity for identity in brings)
        holders = [user for user, roots in was.items() if root in roots]
        rest = [user for user, roots in will.items() if root in roots and user not in users]
        what = f"bundles that trust {root.words} for all their servers"
        yield ProtectionChange("weakened", entity, what, shown(holders), shown([*users, *rest]))


def _everywhere(side: Side, roots: _Roots) -> Mapping[str, frozenset[Trusted]]:
    """Return, for each user whose bundle has any, the foreign roots that its file has for a server of other CAs.

    For a public certificate, clients look into no file.
    """
    if not any(root.foreign for identity in side.fleet.identities() for root in roots.of(identity) if root != _PUBLIC):
        return {}
    found: dict[str, frozenset[Trusted]] = {}
    known: dict[frozenset[str], frozenset[Trusted]] = {}
    for user, entries in side.entries.items():
        identities = {entry.identity.name: entry.identity for entry in entries}
        names = frozenset(identities)
        if names not in known:
            sets = {name: roots.of(identity) for name, identity in identities.items()}
            others = [sets[name] for name, identity in identities.items() if not identity.system]
            in_file = {root for each in sets.values() for root in each if root.foreign and root != _PUBLIC}
            known[names] = frozenset(root for root in in_file if any(root not in each for each in others))
        if known[names]:
            found[user] = known[names]
    return found
