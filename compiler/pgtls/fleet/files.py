"""The files and other sources outside the spec that it names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pgtls.fleet.fields import entities, place_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.diagnostics import Path
    from pgtls.fleet.model import Fleet

_FILES = ("cert_file", "key_file", "csr_file", "crl_file")
_READING = frozenset((*_FILES, "passphrase"))
"""The fields that may name a file. The PIN of a token is not among them: no file depends on it, and its digest, in a
manifest that everybody can read, would give a short one away."""


def directory_of(fleet: Fleet, path: Path) -> str:
    """Return the directory that paths at this place are relative to: that of the file of the spec which has it."""
    owner = fleet.source.owner.get((str(path[0]), str(path[1]))) or fleet.source.files[0]
    return os.path.dirname(owner.path) or "."


def named_files(fleet: Fleet) -> tuple[str, ...]:
    """List the files that a build may read, relative to the directory of the spec, for the digest of the inputs."""
    top = os.path.dirname(fleet.source.files[0].path) or "."
    found = {os.path.join(directory_of(fleet, path), name) for path, name in _names(fleet)}
    return tuple(sorted(os.path.relpath(name, top) if not os.path.isabs(name) else name for name in found))


def _names(fleet: Fleet) -> Iterator[tuple[Path, str]]:
    for thing in entities(fleet):
        for field in thing.table.model_fields_set & _READING:
            value = getattr(thing.table, field)
            name = value if field in _FILES else value.file if value else None
            if name is not None:
                yield place_of(fleet, thing.entity, field), name
    for policy in fleet.policies.values():
        for option, value in policy.table.auth_options.items():
            if (file := getattr(value, "file", None)) is not None:
                yield place_of(fleet, policy.entity, "auth_options", option), file


def public_files(fleet: Fleet) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the path and digest of the certificates, requests and CRLs that entities name, by entity and field."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for thing in entities(fleet):
        for field in sorted(thing.table.model_fields_set & {"cert_file", "csr_file", "crl_file"}):
            if name := getattr(thing.table, field):
                directory = directory_of(fleet, place_of(fleet, thing.entity, field))
                found[thing.entity, field] = name, fleet.source.reader.digest(os.path.join(directory, name))
    return found


def kept_outside(fleet: Fleet) -> bool:
    """Return whether an option is kept where no file tells that it changed: such a spec is compiled at every build."""
    values = (value for policy in fleet.policies.values() for value in policy.table.auth_options.values())
    return any(
        getattr(value, "env", None) is not None or getattr(value, "command", None) is not None for value in values
    )
