"""Read cipher lists (``ssl_ciphers``) and suites of TLS 1.3 (``ssl_tls13_ciphers``).

Source: ssl_ciph.c; compared with every OpenSSL that the tests have.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from pgtls.postgres.openssl import OLDEST, Refused, Version, shown
from pgtls.postgres.suites import SUITES

STANDARD_NAMES_SINCE: Version = (3, 2)
"""The first version in which a cipher list may contain the standard's names of suites."""

SHORT_TAGS_ARE_MEDIUM_SINCE: Version = (3, 2)
"""AESCCM8, with its tag of 8 bytes, was HIGH before."""

_ALIASES = {
    "kEDH": "kDHE",
    "DH": "kDHE",
    "kEECDH": "kECDHE",
    "ECDH": "kECDHE",
    "RSA": "kRSA",
    "ECDSA": "aECDSA",
    "DSS": "aDSS",
    "DHE": "EDH",
    "ECDHE": "EECDH",
    "NULL": "eNULL",
    "COMPLEMENTOFALL": "eNULL",
    "SHA": "SHA1",
    "TLSv1.0": "TLSv1",
}
"""Words that mean the same as another one."""

_SEVERAL = {
    "AES": ("AES128", "AES256"),
    "CAMELLIA": ("CAMELLIA128", "CAMELLIA256"),
    "ARIA": ("ARIA128", "ARIA256"),
    "ARIAGCM": ("ARIA128", "ARIA256"),
}

_OF_SOME_BUILDS = frozenset(
    [
        "3DES",
        "DES",
        "RC4",
        "RC2",
        "IDEA",
        "SEED",
        "LOW",
        "MEDIUM",
        "EXP",
        "EXPORT",
        "SSLv2",
        "kGOST",
        "aGOST",
        "aGOST01",
        "aGOST12",
        "GOST89",
    ]
)
"""Words that select nothing in most builds, or nothing any more. They are valid, whatever they select."""

_WEAK_NAME = re.compile(
    r".*(RC4|RC2|DES|EXP|IDEA|SEED|MD5|GOST|DSS|DH-RSA).*|(EDH|KRB5|EXP1024|FZA|PSK|SRP|ADH|AECDH|ECDH)-.*"
)
"""Suites that only some builds and old versions have."""

TLS13_SUITES = (
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
)
INTEGRITY_ONLY = {"TLS_SHA256_SHA256": (3, 4), "TLS_SHA384_SHA384": (3, 4)}
"""Suites of TLS 1.3 without encryption (RFC 9150), and the first version that has them."""

_PIECE = re.compile(r"[A-Za-z0-9.=_-]+")
_SEPARATORS = re.compile(r"[: ;,]+")


class CipherList(NamedTuple):
    """The selection of a cipher list: suites by name, and words that OpenSSL ignores silently."""

    suites: frozenset[str]
    unknown: tuple[str, ...]
    security_level: int | None


@cache
def suites() -> dict[str, frozenset[str]]:
    """Return the words that select each suite, by its name. Skip words that are aliases."""
    lines = SUITES.splitlines()
    return {name.split()[0]: frozenset(words.split()) for name, words in zip(lines[::2], lines[1::2], strict=True)}


@cache
def standard_names() -> dict[str, str]:
    """Return OpenSSL's name of a suite, by the standard's name."""
    return {standard: name for name, standard in (line.split() for line in SUITES.splitlines()[::2])}


def cipher_list(text: str, openssl: Version) -> CipherList:
    """Read a cipher list as ssl_create_cipher_list does.

    Raise Refused if it rejects the list or the list selects no suite.
    """
    chosen: set[str] = set()
    killed: set[str] = set()
    unknown: list[str] = []
    level = None
    for entry in _entries(text):
        if entry.startswith("@"):
            level = _command(entry, level)
            continue
        operator, words = (entry[0], entry[1:]) if entry[0] in "!-+" else ("", entry)
        selected = _selected(words.split("+"), openssl)
        if selected is None:
            unknown += [] if operator else [words]
            continue
        if operator == "":
            chosen |= selected - killed
        elif operator != "+":
            chosen -= selected
            killed |= selected if operator == "!" else set()
    if not {suite for suite in chosen if "SEED" not in suites()[suite]}:  # distributions leave SEED out
        raise Refused(*_nothing(text, unknown))
    return CipherList(frozenset(chosen), tuple(unknown), level)


def _entries(text: str) -> list[str]:
    """Split a list. A word of Suite B replaces the whole list, and DEFAULT is a keyword only at its start."""
    entries = [entry for entry in _SEPARATORS.split(text) if entry]
    suite_b = next(
        (word for word in ("SUITEB128ONLY", "SUITEB128C2", "SUITEB128", "SUITEB192") if text.startswith(word)), None
    )
    if suite_b:
        return [suite_b]
    for entry in entries:
        words = entry[1:] if entry[0] in "!-+@" else entry
        if not all(_PIECE.fullmatch(word) for word in words.split("+")):
            raise Refused(f'"{entry}" is no entry of a cipher list')
    return entries


def _command(entry: str, level: int | None) -> int | None:
    found = re.fullmatch(r"@SECLEVEL=([0-5])", entry)
    if found:
        return int(found[1])
    if entry == "@STRENGTH":
        return level
    raise Refused(f'"{entry}" is no command of a cipher list', "@STRENGTH, or @SECLEVEL=0 to @SECLEVEL=5")


def _selected(words: list[str], openssl: Version) -> set[str] | None:
    """Return the suites that all of these words select. Return None if OpenSSL does not know a word."""
    found = set(suites())
    for word in words:
        one = _of_word(word, openssl)
        if one is None:
            return None
        found &= one
    return found


def _of_word(word: str, openssl: Version) -> set[str] | None:
    if word in suites():
        return {word}
    if word in standard_names() and openssl >= STANDARD_NAMES_SINCE:
        return {standard_names()[word]}
    if word == "ALL":
        return {name for name, words in suites().items() if "eNULL" not in words}
    meant = _SEVERAL.get(word, (_ALIASES.get(word, word),))
    found = {name for name, words in suites().items() if not words.isdisjoint(meant)}
    if word in ("HIGH", "MEDIUM") and openssl < SHORT_TAGS_ARE_MEDIUM_SINCE:
        short = {name for name, words in suites().items() if "AESCCM8" in words}
        return found | short if word == "HIGH" else found - short
    return found or (set() if word in _OF_SOME_BUILDS or _WEAK_NAME.fullmatch(word) else None)


def _nothing(text: str, unknown: list[str]) -> tuple[str, str | None]:
    if any(is_tls13(word) for word in unknown):
        return _tls13_name(next(word for word in unknown if is_tls13(word)))
    return f'"{text}" leaves no cipher suite', 'ciphers = "HIGH:!aNULL", or leave it out'


def is_tls13(word: str) -> bool:
    """Return whether a word is a suite of TLS 1.3."""
    return word in TLS13_SUITES or word in INTEGRITY_ONLY


def _tls13_name(word: str) -> tuple[str, str]:
    return (
        f'"{word}" is a suite of TLS 1.3, which ciphers does not decide',
        "tls13_ciphers is for those (PostgreSQL 18)",
    )


def misread(found: CipherList, openssl: Version) -> Refused | None:
    """Return the fault of a list that OpenSSL accepts although it ignores a word."""
    for word in found.unknown:
        if is_tls13(word):
            return Refused(*_tls13_name(word))
        if word in standard_names():
            hint = f'"{standard_names()[word]}" is OpenSSL\'s name for it'
            return Refused(f'"{word}" as a name came with OpenSSL {shown(STANDARD_NAMES_SINCE)}', hint)
        alike = {name.lower(): name for name in (*suites(), *_ALIASES, *_SEVERAL, "ALL", "HIGH", "MEDIUM")}.get(
            word.lower()
        )
        if word == "DEFAULT":
            return Refused('"DEFAULT" has a meaning at the start of a cipher list alone', "put it first")
        return Refused(f'OpenSSL knows no cipher suite "{word}"', f'did you mean "{alike}"?' if alike else None)
    return None


def tls13_suites(text: str, openssl: Version) -> list[str]:
    """Return the suites of a list for TLS 1.3 (PostgreSQL 18 and later).

    Raise Refused for a list that OpenSSL rejects.
    """
    found = []
    for entry in text.split(":"):
        word = entry.strip()
        if not word:
            raise Refused("a list of suites has an entry without a name")
        if word in suites() or word in standard_names():
            raise Refused(f'"{word}" is a suite of TLS 1.2', "ciphers is for those")
        if not is_tls13(word):
            alike = next((name for name in TLS13_SUITES if name == word.upper()), None)
            hint = (
                f'did you mean "{alike}"?'
                if alike
                else "separate suites by colons"
                if re.search("[,; ]", word)
                else None
            )
            raise Refused(f'OpenSSL knows no suite "{word}" of TLS 1.3', hint)
        since = INTEGRITY_ONLY.get(word, OLDEST)
        if since > openssl:
            raise Refused(f'"{word}" came with OpenSSL {shown(since)}', since=since)
        found.append(word)
    return found
