"""Compile the spec for ``try`` into a private tree with throwaway keys, for all clients and for impostors.

pgtls never uses the spec's own out directory, keys, passphrases or commands: every CA gets a throwaway key, even if its
real key is elsewhere. It drops everything that fits only the real machine (directories, ports, most settings).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from secrets import randbits
from typing import TYPE_CHECKING, Any

from pgtls import api
from pgtls.certificates.asked import Asked
from pgtls.certificates.desired import wanted
from pgtls.diagnostics import Diagnostic, Rejected, errors
from pgtls.fleet.authorities import PUBLIC
from pgtls.language.models import KINDS
from pgtls.pki import facts, keys
from pgtls.pki.issue import Issuer, issue
from pgtls.pki.model import SERIAL_BITS, Unreadable, ca_entity
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from pgtls.access.model import Rules
    from pgtls.fleet.model import Fleet, Server, User
    from pgtls.language.source import Source
    from pgtls.pki.model import Profile

OUT = "out"
STRANGER = "stranger"
_SPEC, _LOCK, _SECRET = "pgtls.toml", "pgtls.lock", "secret"

_ELSEWHERE = {
    "ca": ("cert_file", "key_file", "key", "crl_file", "offline", "external", "sign", "passphrase"),
    "server": (
        *("cert_file", "key_file", "csr_file", "external", "passphrase", "passphrase_command"),
        *("directory", "port", "revoke_before"),
    ),
    "pooler": ("cert_file", "key_file", "csr_file", "external", "directory", "port", "revoke_before"),
    "user": (
        *("cert_file", "csr_file", "external", "passphrase", "revoke_before"),
        *("directory", "formats", "bundle", "drivers"),
    ),
}
"""Fields for keys and certificates that are made elsewhere, and for the format and the place of the files."""

_SETTINGS = frozenset({"scram_iterations", "db_user_namespace", "md5_password_warnings"})
"""Settings that decide about access. Other settings need the memory, disks and libraries of the real machine."""

Raw = dict[str, Any]


@dataclass(frozen=True)  # no slots: cached properties are computed once
class Private:
    """A compiled private tree in ``directory``, and a tree of an attacker who uses the same names."""

    directory: Path
    fleet: Fleet
    rules: Mapping[str, Rules]
    """The rules of each server, by NAME. The judge uses them."""
    now: datetime
    revoked: Mapping[str, int]
    """A revoked serial number of each CA, by NAME."""

    def server(self, server: Server, tree: str = OUT) -> Path:
        """Return the directory of a server's files."""
        return self.directory / tree / layout.directory(server.entity)

    def bundle(self, user: User, tree: str = OUT) -> Path:
        """Return the directory of a user's bundle."""
        return self.directory / tree / layout.directory(user.entity)

    def expired(self, user: User) -> Path:
        """Make a certificate for the user's key, from the user's CA, that expired a year ago."""
        profile = replace(self._profiles[user.entity], validity=timedelta(days=1), until=None)
        return self._certify(user, "expired", profile, randbits(SERIAL_BITS), self.now - timedelta(days=366))

    def withdrawn(self, user: User) -> Path | None:
        """Make a certificate that the CRL of the user's CA lists. Return None if the CA publishes no CRL."""
        if user.ca is None or not user.ca.table.crl:
            return None
        return self._certify(user, "revoked", self._profiles[user.entity], self.revoked[user.ca.name], self.now)

    def misnamed(self, server: Server) -> Path | None:
        """Make a certificate of the server's CA for another host.

        Return None if no CA signs the server's certificate.
        """
        if server.ca is None:
            return None
        own = self._profiles[server.entity]
        other = replace(own, subject=(("common_name", OTHER_HOST),), dns_names=(OTHER_HOST,), ip_addresses=())
        return self._signed(other, server.ca.name, "other", self.server(server), randbits(SERIAL_BITS), self.now)

    @cached_property
    def _profiles(self) -> Mapping[Any, Profile]:
        return wanted(self.fleet)

    def _certify(self, user: User, kind: str, profile: Profile, serial: int, now: datetime) -> Path:
        assert user.ca is not None  # noqa: S101
        return self._signed(profile, user.ca.name, kind, self.bundle(user), serial, now)

    def _signed(self, profile: Profile, ca: str, kind: str, own: Path, serial: int, now: datetime) -> Path:
        """Sign a certificate for the key in ``own``. The file contains the same chain as the original."""
        certificate, key = layout.certificate_path(profile.entity), layout.key_path(profile.entity)
        public = _key(own.parents[1] / key).public_key()
        above = facts.pems((own.parents[1] / certificate).read_bytes())[1:]
        leaf = issue(profile, public, self._issuer(ca), serial, now)
        path = self.directory / kind / certificate
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join((leaf.pem, *above)))
        return path

    def _issuer(self, name: str) -> Issuer:
        tree = self.directory / OUT
        found = facts.parse((tree / layout.certificate_path(ca_entity(name))).read_bytes())
        assert not isinstance(found, Unreadable)  # noqa: S101
        return Issuer(found[0], _key(tree / layout.key_path(ca_entity(name))))


OTHER_HOST = "another-host.example"


def compiled(source: Source, majors: Mapping[str, int], libpq: int, directory: Path, now: datetime) -> Private:
    """Compile a spec without errors into ``directory``, twice: the second time as an attacker.

    Compile each server for a major version, and bundles for a libpq no newer than the installed one. Raise Rejected
    with PGT602 if a version does not support the spec.
    """
    document = _document(source)
    revoked = {name: randbits(SERIAL_BITS) for name in document.get("ca", {})}
    text = _text(_private(document, majors, libpq, revoked))
    state = None
    for tree in (STRANGER, OUT):
        home = directory / ("" if tree == OUT else f".{tree}")
        home.mkdir(exist_ok=True)
        (home / _SPEC).write_text(text, encoding="utf-8")
        (home / _SECRET).write_text("not the real one\n", encoding="utf-8")
        spec = api.load(home / _SPEC, lock=home / _LOCK, now=now)
        try:
            api.build(spec, out=directory / tree, asked=Asked(allow_revoke=True))
        except Rejected as rejected:
            raise Rejected(*(_of_version(one, majors) for one in errors(rejected.diagnostics))) from None
        state = spec.usable()
    assert state is not None  # noqa: S101
    return Private(directory, state.fleet, state.rules, now, revoked)


def _of_version(found: Diagnostic, majors: Mapping[str, int]) -> Diagnostic:
    """Report faults of the private spec without a place: the user never sees its file."""
    versions = ", ".join(map(str, sorted(set(majors.values()))))
    message = f"the spec does not compile with throwaway keys for PostgreSQL {versions}: {found.message}"
    hint = "install the PostgreSQL version that the spec names, or name it with --bindir"
    return Diagnostic("PGT602", message, hint=hint)


def _document(source: Source) -> Raw:
    """Write the files of a spec."""
    document: Raw = {}
    for file in source.files:
        for name, value in tomllib.loads(file.text).items():
            if name in KINDS:
                document.setdefault(name, {}).update(value)
            elif name != "include":
                document.setdefault(name, value)
    return document


def _private(document: Raw, majors: Mapping[str, int], libpq: int, revoked: Mapping[str, int]) -> Raw:
    """Return the spec with throwaway keys everywhere, and a major version for each server."""
    private = {
        name: value for name, value in document.items() if name not in (*_ELSEWHERE, "policy", "defaults", "state")
    }
    defaults = document.get("defaults", {})
    private["defaults"] = {kind: _stripped(kind, table) for kind, table in defaults.items()}
    for kind in (*_ELSEWHERE, "policy"):
        private[kind] = {name: _stripped(kind, table) for name, table in document.get(kind, {}).items()}
    private["ca"].pop(PUBLIC, None)
    for table in (*private["user"].values(), private["defaults"].get("user", {})):
        if "libpq" in table:
            table["libpq"] = min(table["libpq"], libpq)
    public = _unused(private["ca"])
    for name, table in private["server"].items():
        table["postgres"] = majors[name]
        for identity in (table, *table.get("sni", ())):
            _from_public(identity, public, private["defaults"].get("server", {}))
    for table in private["pooler"].values():
        _from_public(table, public, {})
    listening = (*private["server"].values(), *private["pooler"].values())
    if any(public in (one.get("ca") for one in (s, *s.get("sni", ()))) for s in listening):
        private["ca"][public] = {"common_name": "The throwaway CA for certificates of others"}
    for name, serial in revoked.items():
        private["ca"][name]["revoked"] = [*private["ca"][name].get("revoked", ()), f"{serial:x}"]
    return private


def _stripped(kind: str, table: Raw) -> Raw:
    """Remove fields for material that is made elsewhere, and replace secrets."""
    left = {name: value for name, value in table.items() if name not in _ELSEWHERE.get(kind, ())}
    if "settings" in left:
        left["settings"] = {name: value for name, value in left["settings"].items() if name.lower() in _SETTINGS}
    if "auth_options" in left:
        left["auth_options"] = {
            name: {"file": _SECRET} if isinstance(value, dict) else value
            for name, value in left["auth_options"].items()
        }
    if "sni" in left:
        left["sni"] = [_stripped(kind, identity) for identity in left["sni"]]
    return left


def _from_public(table: Raw, public: str, default: Raw) -> None:
    """Let a throwaway CA sign certificates that a public or outside CA signs."""
    if table.get("ca", default.get("ca", "system")) == "system":
        table["ca"] = public


def _unused(cas: Raw) -> str:
    name = "throwaway"
    while name in cas:
        name += "-"
    return name


def _text(document: Raw) -> str:
    import tomli_w

    return tomli_w.dumps(document)


def _key(path: Path) -> keys.PrivateKey:
    found = keys.load(path.read_bytes())
    assert not isinstance(found, Unreadable)  # noqa: S101
    return found
