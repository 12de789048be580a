"""The files and other sources outside the spec that it names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import BaseModel

from pgtls.diagnostics.text import visible
from pgtls.fleet.fields import entities, place_of
from pgtls.language.files import OUTSIDE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.diagnostics import Path
    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Entity

Use = Literal["public", "private", "program"]

_USES: Mapping[str, Use] = {
    "cert_file": "public",
    "csr_file": "public",
    "crl_file": "public",
    "roots_file": "public",
    "key_file": "private",
    "file": "private",
    "directory": "private",
    "module": "program",
    "command": "program",
}
"""By field, also of tables in tables: what it names on the build machine."""
_FIELDS = frozenset(("cert_file", "csr_file", "crl_file", "key_file", "passphrase", "key", "sign"))
"""The fields of a CA, server, pooler or user that name something there. Others name what is on their own machines."""
_READ = frozenset(("cert_file", "csr_file", "crl_file", "key_file", "passphrase", "auth_options"))
"""The fields whose files a build reads. The PIN of a token is not among them: no file depends on it, and its digest, in
a manifest that everybody can read, would give a short one away."""


_NO_PATH = re.compile(r"[\s=,:;|&()<>{}$`\"']+")
"""What stands around paths in an option, or in the text of a shell."""


class Reference(NamedTuple):
    """What a field names on the build machine: a file, or the words of a program.

    A program runs in ``directory``, to which relative paths belong.
    """

    words: tuple[str, ...]
    directory: str
    use: Use

    @property
    def name(self) -> str:
        """As the spec says it."""
        return " ".join(self.words)

    @property
    def path(self) -> str:
        """The path of the file, or of the program itself."""
        return self.paths[0]

    @property
    def paths(self) -> tuple[str, ...]:
        """The path of the file. Of a program, what its words may name: a script is an argument of its shell."""
        parts = (part for word in self.words[1:] for part in _NO_PATH.split(word) if part)
        return tuple(os.path.join(self.directory, word) for word in dict.fromkeys((*self.words, *parts)))

    @property
    def is_relative(self) -> bool:
        """Whether it is another file or program if it is said in another directory."""
        return self.use == "program" or not os.path.isabs(self.name)


def directory_of(fleet: Fleet, path: Path) -> str:
    """Return the directory that paths at this place are relative to: that of the file of the spec which has it."""
    owner = fleet.source.owner.get((str(path[0]), str(path[1]))) or fleet.source.files[0]
    return os.path.dirname(owner.path) or "."


def _top(fleet: Fleet) -> str:
    return os.path.dirname(fleet.source.files[0].path) or "."


def place_in(fleet: Fleet, reference: Reference) -> str:
    """Return the directory of a reference, relative to that of the spec, as a message can show it."""
    return visible(os.path.relpath(reference.directory, _top(fleet)))


def path_of(fleet: Fleet, entity: Entity, field: str, name: str) -> str:
    """Return the path of a file that a field of an entity names."""
    return os.path.join(directory_of(fleet, place_of(fleet, entity, field)), name)


def path_in(fleet: Fleet, reference: Reference) -> str:
    """Return the path of a reference, relative to the directory of the spec."""
    return os.path.relpath(reference.path, _top(fleet))


def references(fleet: Fleet) -> dict[tuple[str, str], Reference]:
    """Return what the spec names on the build machine, by entity and field: ``"sign.challenge.command"``."""
    found: dict[tuple[str, str], Reference] = {}
    for entity, place, value in _values(fleet):
        for what, words, use in _named(place[-1], value):
            found[entity, what] = Reference(words, directory_of(fleet, place), use)
    return found


def _values(fleet: Fleet) -> Iterator[tuple[str, Path, Any]]:
    for thing in entities(fleet):
        for field in thing.table.model_fields_set & _FIELDS:
            yield thing.entity, place_of(fleet, thing.entity, field), getattr(thing.table, field)
    for policy in fleet.policies.values():
        if policy.table.auth_options:
            yield policy.entity, place_of(fleet, policy.entity, "auth_options"), policy.table.auth_options
    if fleet.state.identity:
        yield "state", ("state", "identity"), fleet.state.identity


def _named(what: str | int, value: Any) -> Iterator[tuple[str, tuple[str, ...], Use]]:
    """Yield what a value names: itself, or the fields of a table."""
    use = _USES.get(str(what).rpartition(".")[2])
    if isinstance(value, BaseModel | Mapping):
        for field, one in value.items() if isinstance(value, Mapping) else value:
            yield from _named(f"{what}.{field}", one)
    elif use is not None and value is not None:
        yield str(what), (value,) if isinstance(value, str) else tuple(value), use


def named_files(fleet: Fleet) -> tuple[str, ...]:
    """List the files that a build may read, relative to the directory of the spec, for the digest of the inputs."""
    named = references(fleet).items()
    read = {one.path for (_, what), one in named if one.use != "program" and what.partition(".")[0] in _READ}
    top = _top(fleet)
    return tuple(sorted(os.path.relpath(path, top) if not os.path.isabs(path) else path for path in read))


def public_files(fleet: Fleet) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the path and digest of the certificates, requests and CRLs that the spec names, by entity and field.

    Omit those outside of the repository of a revision. For a file that cannot be read, return the name of the error
    instead of the digest: for a link in a revision, that is "OSError".
    """
    named, reader = references(fleet), fleet.source.reader
    digests = {key: (one.name, reader.digest(one.path)) for key, one in named.items() if one.use == "public"}
    return {key: found for key, found in digests.items() if found[1] != OUTSIDE}


def kept_outside(fleet: Fleet) -> bool:
    """Return whether an option is kept where no file tells that it changed: such a spec is compiled at every build."""
    values = (value for policy in fleet.policies.values() for value in policy.table.auth_options.values())
    return any(
        getattr(value, "env", None) is not None or getattr(value, "command", None) is not None for value in values
    )


def in_both_states(fleet: Fleet, one: Reference) -> str:
    """Return a path that is equal in a revision and on the disk: an absolute one, or from the directory of the spec.

    A revision has its paths from the root of the repository, whatever the working directory is.
    """
    return os.path.normpath(one.name) if os.path.isabs(one.name) else path_in(fleet, one)
