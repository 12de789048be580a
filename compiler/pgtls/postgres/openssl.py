"""Versions of OpenSSL, on which the strings depend that a server hands to it."""

from __future__ import annotations

Version = tuple[int, int]
"""Major and minor: ``(3, 5)``."""

OLDEST: Version = (1, 1)
"""What is taken for granted where a spec does not say: 1.1.1, the oldest that PostgreSQL 18 takes."""


class Refused(ValueError):  # noqa: N818  (a refusal of the input, not an error of the program)
    """A string that OpenSSL refuses, or that cannot mean what was meant; ``since`` is the version that has it."""

    def __init__(self, message: str, hint: str | None = None, since: Version | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.since = since


def version(text: str | None) -> Version:
    """Read the ``openssl`` of a server."""
    major, minor, *_ = text.split(".") if text else map(str, OLDEST)
    return int(major), int(minor)


def shown(openssl: Version) -> str:
    """Write a version as a spec does."""
    return "1.1.1" if openssl == OLDEST else ".".join(map(str, openssl))
