"""Know a CA by its key: its table may have another NAME today, and another CA may have the NAME that it had."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgtls.pki.model import Certificate
    from pgtls.state.lock import IssuedLine, Lock, RevokedLine


class CaNames:
    """The keys that signed the certificates of the lock, and the NAMEs that their CAs have today.

    ``today`` are the CAs of the spec by NAME, and ``others`` further ones that files brought. Keys are told by their
    digest.
    """

    def __init__(self, today: Iterable[tuple[str, Certificate]], others: Iterable[Certificate], lock: Lock) -> None:
        self._lines = lock.by_serial
        self._today: dict[str, set[str]] = {}
        for name, one in today:
            self._today.setdefault(one.spki_sha256, set()).add(name)
        self._by_id: dict[str, set[str]] = {}
        self._by_name: dict[str, dict[str, set[str]]] = {}
        for line in lock.by_serial.values():
            if line.entity.kind == "ca":
                subjects, one = self._by_name.setdefault(line.entity.name, {}), line.certificate
                subjects.setdefault(one.subject, set()).add(one.spki_sha256)
                self._by_id.setdefault(one.key_id, set()).add(one.spki_sha256)
        for one in others:
            self._by_id.setdefault(one.key_id, set()).add(one.spki_sha256)
        self._names: dict[tuple[str, str, str | None], frozenset[str]] = {}

    def keys(self, line: IssuedLine) -> frozenset[str]:
        """Return the keys that may have signed a certificate; none if no CA is known for it.

        A CA may have had several key identifiers. A certificate without one tells no more than the name of its CA.
        """
        one = line.certificate
        if one.authority_key_id is not None:
            return frozenset(self._by_id.get(one.authority_key_id, ()))
        return frozenset(self._by_name.get(line.ca, {}).get(one.issuer, ()))

    def of(self, line: IssuedLine) -> frozenset[str]:
        """Return the NAMEs that the CA of a certificate has today; the one that it had if no CA has its key.

        If that key has no NAME, such as that of a CA in a chain, the keys count that the NAME had.
        """
        place = line.ca, line.certificate.issuer, line.certificate.authority_key_id
        if place not in self._names:
            had = set[str]().union(*self._by_name.get(line.ca, {}).values())
            names = (self._of(keys) for keys in (self.keys(line), had))
            self._names[place] = next(filter(None, names), frozenset((line.ca,)))
        return self._names[place]

    def of_revoked(self, line: RevokedLine) -> frozenset[str]:
        """Return the same for a revocation. The certificate may be unknown."""
        known = self._lines.get((line.ca, line.serial))
        return self.of(known) if known else frozenset((line.ca,))

    def _of(self, keys: Iterable[str]) -> frozenset[str]:
        return frozenset(name for key in keys for name in self._today.get(key, ()))
