"""Write ``pgtls/postgres/suites.py`` from every OpenSSL of this machine.

``PYTHONPATH=tests python -m support.suites``.
"""

from __future__ import annotations

from pathlib import Path

from pgtls.postgres import suites
from support.openssl import OpenSSL, installed

HEADER = '''"""The cipher suites below TLS 1.3 as OpenSSL names them. ``tests/support/suites.py`` writes this file.

Two lines each: OpenSSL's name and the standard's; the words of a cipher list that select it.
"""

from __future__ import annotations

SUITES = """\\
'''

WORDS = [
    "COMPLEMENTOFDEFAULT",
    "DEFAULT",
    "kRSA",
    "aRSA",
    "kDHE",
    "kECDHE",
    "kPSK",
    "kRSAPSK",
    "kECDHEPSK",
    "kDHEPSK",
    "kSRP",
    "aNULL",
    "aECDSA",
    "aDSS",
    "aPSK",
    "aSRP",
    "EDH",
    "EECDH",
    "eNULL",
    "ADH",
    "AECDH",
    "PSK",
    "SRP",
    "3DES",
    "DES",
    "RC4",
    "RC2",
    "IDEA",
    "SEED",
    "AES128",
    "AES256",
    "AESGCM",
    "AESCCM",
    "AESCCM8",
    "CAMELLIA128",
    "CAMELLIA256",
    "CHACHA20",
    "ARIA128",
    "ARIA256",
    "CBC",
    "MD5",
    "SHA1",
    "SHA256",
    "SHA384",
    "SSLv3",
    "TLSv1",
    "TLSv1.2",
    "LOW",
    "MEDIUM",
    "HIGH",
    "FIPS",
    "SUITEB128",
    "SUITEB128C2",
    "SUITEB128ONLY",
    "SUITEB192",
]
"""Those that :mod:`pgtls.postgres.openssl` does not take for others."""


def selected(openssl: OpenSSL) -> dict[tuple[str, str], set[str]]:
    """Return every suite of an OpenSSL with the words that select it."""
    answers = openssl.ask(ciphers=[*WORDS, "ALL:COMPLEMENTOFALL"])["ciphers"]
    found: dict[tuple[str, str], set[str]] = {
        (name, standard): set() for name, standard in answers["ALL:COMPLEMENTOFALL"]
    }
    for word in WORDS:
        for name, standard in answers[word] or ():
            found[name, standard].add(word)
    return found


def main() -> None:
    """Merge what every OpenSSL has: a later one's words count, and suites that it has dropped stay."""
    merged: dict[tuple[str, str], set[str]] = {}
    for openssl in installed():
        merged |= selected(openssl)
    lines = (
        f"{name} {standard}\n    {' '.join(sorted(words))}\n" for (name, standard), words in sorted(merged.items())
    )
    Path(suites.__file__).write_text(HEADER + "".join(lines) + '"""\n')


if __name__ == "__main__":
    main()
