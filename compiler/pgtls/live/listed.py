"""What CRLs list of the certificates of their issuers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgtls.pki import crl
from pgtls.pki.model import Unreadable
from pgtls.pki.names import name_text

if TYPE_CHECKING:
    from pgtls.pki.model import Certificate


class Listed(NamedTuple):
    """What one CRL revokes of the certificates of its issuer."""

    issuer: str
    authority_key_id: str | None
    serials: frozenset[str]

    def is_about(self, certificate: Certificate) -> bool:
        """Return whether it is of the CA of a certificate. Without key identifiers, CAs of one name are the same."""
        keys = {self.authority_key_id, certificate.authority_key_id} - {None}
        return _folded(certificate.issuer) == _folded(self.issuer) and len(keys) < 2

    def has(self, certificate: Certificate) -> bool:
        """Return whether it lists a certificate."""
        return certificate.serial in self.serials and self.is_about(certificate)


def listed(pem: bytes) -> tuple[Listed, ...] | Unreadable:
    """Read what the CRLs of a file list, expired or not. Which CA of the spec they belong to makes no difference."""
    lists = crl.parse(pem)
    if isinstance(lists, Unreadable):
        return lists
    found = []
    for one in lists:
        facts = crl.of(one)
        if isinstance(facts, Unreadable):
            return facts
        serial_numbers = frozenset(entry.serial for entry in facts.revoked)
        found.append(Listed(name_text(one.issuer), facts.authority_key_id, serial_numbers))
    return tuple(found)


def _folded(name: str) -> str:
    """Write a name without what OpenSSL ignores as it compares names: case and blanks."""
    return "".join(name.split()).casefold()
