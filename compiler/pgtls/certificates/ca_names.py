"""Know a CA by its key: its table may have another NAME today, and another CA may have the NAME that it had."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgtls.state.lock import IssuedLine, Lock, RevokedLine


class CaNames:
    """The NAMEs that the CAs of the lock's lines have today: ``cas`` are NAMEs and keys (their digests)."""

    def __init__(self, cas: Iterable[tuple[str, str]], lock: Lock) -> None:
        self._lines = lock.by_serial
        self._today: dict[str, set[str]] = {}
        for name, key in cas:
            self._today.setdefault(key, set()).add(name)
        self._keys: dict[str, dict[str, set[str]]] = {}
        for line in lock.by_serial.values():
            if line.entity.kind == "ca":
                one, keys = line.certificate, self._keys.setdefault(line.entity.name, {})
                for told in (one.key_id, one.subject):
                    keys.setdefault(told, set()).add(one.spki_sha256)
        self._found: dict[tuple[str, str], frozenset[str]] = {}

    def of(self, line: IssuedLine) -> frozenset[str]:
        """Return the NAMEs of the CAs of today whose key signed a certificate; that of the line if there is none."""
        place = line.ca, line.certificate.authority_key_id or line.certificate.issuer
        if place not in self._found:
            of_name = self._keys.get(line.ca, {})
            keys = of_name.get(place[1]) or set[str]().union(*of_name.values())
            names = frozenset(name for key in keys for name in self._today.get(key, ()))
            self._found[place] = names or frozenset((line.ca,))
        return self._found[place]

    def of_revoked(self, line: RevokedLine) -> frozenset[str]:
        """Return the same for a revocation. The certificate may be unknown."""
        known = self._lines.get((line.ca, line.serial))
        return self.of(known) if known else frozenset((line.ca,))
