"""Define versions of OpenSSL: they decide which strings of a server's settings are valid."""

from __future__ import annotations

Version = tuple[int, int]
"""Major and minor: ``(3, 5)``."""

OLDEST: Version = (1, 1)
"""The version to assume if a spec states none: 1.1.1, the oldest that PostgreSQL 18 supports."""


class Refused(ValueError):  # noqa: N818  (a refusal of the input, not an error of the program)
    """Report a string that OpenSSL rejects or misreads. ``since`` is the first version that supports it."""

    def __init__(self, message: str, hint: str | None = None, since: Version | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.since = since


def version(text: str | None) -> Version:
    """Read the ``openssl`` of a server."""
    major, minor, *_ = text.split(".") if text else map(str, OLDEST)
    return int(major), int(minor)


def shown(openssl: Version) -> str:
    """Write a version as in a spec."""
    return "1.1.1" if openssl == OLDEST else ".".join(map(str, openssl))
