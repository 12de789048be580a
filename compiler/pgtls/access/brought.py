"""Read the certificates that servers bring in ``cert_file``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgtls.access.held import common_name
from pgtls.fleet.files import in_both_states, references
from pgtls.language.files import OutsideError
from pgtls.pki import facts
from pgtls.pki.model import Unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgtls.fleet.model import Fleet
    from pgtls.pki.model import Certificate


class Brought(NamedTuple):
    """A ``cert_file``: its certificates, leaf first, none if it cannot be read. Other checks report that.

    ``outside``: it lies outside of the repository, and a revision has no content of it.
    """

    path: str
    certificates: tuple[Certificate, ...] = ()
    outside: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts that its leaf may prove: its subject alternative names, and a common name without blanks."""
        found: list[str] = []
        for leaf in self.certificates[:1]:
            found += (name.partition(":")[2] for name in leaf.names)
            found += (name for name in (common_name(leaf.subject),) if name and " " not in name)
        return tuple(found)


def brought(fleet: Fleet) -> Mapping[str, Brought]:
    """Return each ``cert_file``, by entity."""
    named = references(fleet)
    return {
        entity: _read(fleet, one.path, in_both_states(fleet, one))
        for (entity, field), one in named.items()
        if field == "cert_file"
    }


def _read(fleet: Fleet, path: str, shown: str) -> Brought:
    try:
        content = fleet.source.reader.read(path)
    except (OSError, ValueError) as error:
        return Brought(shown, outside=isinstance(error, OutsideError))
    found = facts.read(content)
    return Brought(shown) if isinstance(found, Unreadable) else Brought(shown, found)
