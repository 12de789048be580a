"""A server's certificate files as fields of a spec: what it serves, and which CA signed that."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.importer.files import content
from pgtls.pki import chains, facts
from pgtls.pki.model import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgtls.pki.model import Certificate

CLIENTS = "clients"
"""The name of the CA that signs client certificates."""
_SERVERS = "servers"
"""The name of another CA that signed the server's certificate."""
_SUFFIXES = (".crt", ".pem", ".cer", ".cert")
_LARGEST = 1 << 20
"""Bytes of a file that is tried as a CA's."""


@dataclass(frozen=True, slots=True)
class Material:
    """The fields of the server, the tables of CAs, and what to say about them."""

    fields: dict[str, Any] = field(default_factory=dict)
    authorities: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: tuple[tuple[str, str | None], ...] = ()
    """Messages, each with its hint."""


def served(certificate: str, key: str, trusted: str | None, hosts: Sequence[str], base: str) -> Material:
    """Adopt a certificate with its key, and name the CA that signed it where the file has not all of its chain.

    ``trusted`` is the file of client CAs. Paths in the spec are relative to ``base``. Raises Rejected with PGT295.
    """
    presented = _read(certificate)
    own = {"cert_file": relative(certificate, base), "key_file": relative(key, base)}
    found = facts.chain(presented)
    if isinstance(found, Unreadable):
        return Material(own)
    notes = tuple(_about_names(found[0], certificate, hosts))
    if chains.is_whole(presented):
        return Material(own, notes=notes)
    if trusted and chains.ends_under(presented, _read(trusted)):
        return Material({"ca": CLIENTS} | own, notes=notes)
    beside = _issuer_beside(presented, dict.fromkeys(map(os.path.dirname, (certificate, trusted or certificate))))
    if beside is None:
        return Material(own, notes=notes)
    note = f'"{beside}" has the CA that signed "{certificate}": [ca.{_SERVERS}] names it'
    return Material(
        {"ca": _SERVERS} | own,
        {_SERVERS: {"cert_file": relative(beside, base)}},
        ((note, "clients that verify the server need this file as their root.crt, as before"), *notes),
    )


def signs_itself(path: str) -> bool:
    """Whether the first certificate of a file is its own root."""
    presented = _readable(path)
    found = facts.read(presented) if presented else ()
    return bool(not isinstance(found, Unreadable) and found and found[0].subject == found[0].issuer)


def relative(path: str, base: str) -> str:
    """Name a file as the spec does. Raises Rejected with PGT295."""
    if not os.path.isfile(path):
        hint = "name the file with its path on this machine"
        raise Rejected(Diagnostic("PGT295", f'there is no file "{path}"', hint=hint))
    return os.path.relpath(path, base)


def _about_names(certificate: Certificate, path: str, hosts: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield the names of a certificate if --host has none of them, and what drivers other than libpq refuse."""
    names = [name.partition(":")[2] for name in certificate.names if name.startswith(("DNS:", "IP:"))]
    if names and not set(names) & set(hosts) and not any(name.startswith("*.") for name in names):
        yield f'"{path}" is for {", ".join(names)}', f"if clients dial that, say --host {names[0]}"
    elif not names:
        yield (
            f'"{path}" has no host name but its common name: libpq accepts that, other drivers (Go, .NET) do not',
            "take cert_file and key_file out of the spec later: a build then issues a certificate with a SAN",
        )


def _issuer_beside(presented: bytes, directories: Sequence[str] | dict[str, None]) -> str | None:
    """Return the file in one of these directories that has the CA of a certificate, up to a root."""
    for directory in directories:
        for name in sorted(os.listdir(directory or ".")):
            path = os.path.join(directory, name)
            if name.endswith(_SUFFIXES) and os.path.isfile(path) and os.path.getsize(path) <= _LARGEST:
                candidate = _readable(path)
                if candidate and chains.is_whole(candidate) and chains.ends_under(presented, candidate):
                    return path
    return None


def _readable(path: str) -> bytes | None:
    try:
        return content(path)
    except OSError:
        return None


def _read(path: str) -> bytes:
    try:
        return content(path)
    except FileNotFoundError:
        raise Rejected(
            Diagnostic("PGT295", f'there is no file "{path}"', hint="name the file with its path on this machine")
        ) from None
