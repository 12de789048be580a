"""Read groups for the key exchange: lists for ``ssl_groups``, one curve for ``ssl_ecdh_curve`` before PostgreSQL 18.

Source: t1_lib.c of each OpenSSL and be-secure-openssl.c; compared with every OpenSSL and every server that the tests
have.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from pgtls.postgres.openssl import OLDEST, Refused, Version, shown, version

HYBRID_SINCE: Version = (3, 5)
"""The first OpenSSL with ML-KEM and hybrid key exchange, which even a quantum computer cannot break."""

GROUPS_WITH_HYBRID = "X25519MLKEM768:X25519:prime256v1"
"""PostgreSQL's own default with the hybrid group first. A client that lacks it uses the next one."""


def default_groups(openssl: str | None) -> str | None:
    """Return the groups of a server whose spec names none.

    Return them only if its OpenSSL has better ones than PostgreSQL's default.
    """
    return GROUPS_WITH_HYBRID if version(openssl) >= HYBRID_SINCE else None


_GROUPS = """\
1.1 prime256v1 P-256 secp256r1@3.0
1.1 secp384r1 P-384
1.1 secp521r1 P-521
1.1 X25519 x25519@3.0
1.1 X448 x448@3.0
1.1 secp224r1 P-224
1.1 prime192v1 P-192 secp192r1@3.0
1.1 secp256k1
1.1 secp160k1
1.1 secp160r1
1.1 secp160r2
1.1 secp192k1
1.1 secp224k1
1.1 brainpoolP256r1
1.1 brainpoolP384r1
1.1 brainpoolP512r1
1.1 sect163k1 K-163
1.1 sect163r1
1.1 sect163r2 B-163
1.1 sect193r1
1.1 sect193r2
1.1 sect233k1 K-233
1.1 sect233r1 B-233
1.1 sect239k1
1.1 sect283k1 K-283
1.1 sect283r1 B-283
1.1 sect409k1 K-409
1.1 sect409r1 B-409
1.1 sect571k1 K-571
1.1 sect571r1 B-571
3.0 ffdhe2048
3.0 ffdhe3072
3.0 ffdhe4096
3.0 ffdhe6144
3.0 ffdhe8192
3.2 brainpoolP256r1tls13
3.2 brainpoolP384r1tls13
3.2 brainpoolP512r1tls13
3.5 X25519MLKEM768
3.5 SecP256r1MLKEM768
3.5 SecP384r1MLKEM1024
3.5 MLKEM512
3.5 MLKEM768
3.5 MLKEM1024
"""
"""The first version, the name, and further names with their first version."""

_OPTIONAL_SINCE: Version = (3, 3)
"""``?`` before a group: OpenSSL skips the group if it does not know it."""

_TUPLES_SINCE: Version = (3, 5)
"""``/`` between groups, ``*`` and ``-`` before them, ``DEFAULT``, names in any case, and repeated groups."""


class GroupName(NamedTuple):
    """A name of a group, with the name that this module uses for it."""

    group: str
    since: Version


@cache
def _group_names() -> dict[str, GroupName]:
    found = {}
    for line in _GROUPS.splitlines():
        since, *names = line.split()
        for name, _, later in (entry.partition("@") for entry in names):
            found[name] = GroupName(names[0], version(later or since))
    return found


CURVES = tuple(name for name, group in _group_names().items() if group == (name, OLDEST) and name[0] != "X")
"""The values of ``ssl_ecdh_curve`` up to PostgreSQL 17: OpenSSL's short names of curves (EC_KEY_new_by_curve_name)."""


def curve(text: str) -> str:
    """Return the curve that ``ssl_ecdh_curve`` names up to PostgreSQL 17. Raise Refused for any other text."""
    if text in CURVES:
        return text
    known = _group_names().get(text) or _any_case().get(text.lower())
    if known and known.group in CURVES:
        raise Refused(
            f'"{text}" is not the name that ssl_ecdh_curve of PostgreSQL before 18 knows', f'groups = "{known.group}"'
        )
    what = "is no curve for ssl_ecdh_curve" if known else "is no curve that OpenSSL knows"
    raise Refused(f'"{text}" {what} (PostgreSQL before 18)', f'groups = "{CURVES[0]}"')


def groups(text: str, openssl: Version) -> list[str]:
    """Return the groups of a list in order, with the names of this module, for PostgreSQL 18 and later.

    Raise Refused for a list that OpenSSL rejects.
    """
    found: list[str] = []
    separators = ":/" if openssl >= _TUPLES_SINCE else ":"
    for entry in re.split(f"[{separators}]", text):
        group = _group(entry.strip(), openssl)
        if group in found and openssl < _TUPLES_SINCE:
            raise Refused(f'"{entry.strip()}" names the same group a second time', since=_TUPLES_SINCE)
        found += [group] if group else []
    return found


def _group(entry: str, openssl: Version) -> str | None:
    """Return the group of an entry. Return None if it names none."""
    prefixes = "?*-" if openssl >= _TUPLES_SINCE else "?" if openssl >= _OPTIONAL_SINCE else ""
    name = entry.lstrip(prefixes) if prefixes else entry
    marks = entry[: len(entry) - len(name)]
    if not name:
        raise Refused("a list of groups has an entry without a name")
    if name == "DEFAULT" and openssl >= _TUPLES_SINCE:
        return None
    known = _group_names().get(name) or (_any_case().get(name.lower()) if openssl >= _TUPLES_SINCE else None)
    if known and known.since <= openssl:
        return None if "-" in marks else known.group
    if "?" in marks:
        return None
    raise _unknown_group(name, known)


def _unknown_group(name: str, known: GroupName | None) -> Refused:
    if known:
        return Refused(f'the group "{name}" came with OpenSSL {shown(known.since)}', since=known.since)
    for mark, since in (("?", _OPTIONAL_SINCE), ("*", _TUPLES_SINCE), ("-", _TUPLES_SINCE), ("/", _TUPLES_SINCE)):
        if name.startswith(mark) or (mark == "/" and mark in name):
            return Refused(f'"{mark}" in a list of groups came with OpenSSL {shown(since)}', since=since)
    if name == "DEFAULT":
        return Refused(f'"DEFAULT" as a group came with OpenSSL {shown(_TUPLES_SINCE)}', since=_TUPLES_SINCE)
    alike = _any_case().get(name.lower())
    hint = f'did you mean "{alike.group}"?' if alike else None
    separator = re.search(r"[,; ]", name)
    return Refused(f'OpenSSL knows no group "{name}"', "separate groups by colons" if separator else hint)


@cache
def _any_case() -> dict[str, GroupName]:
    return {name.lower(): group for name, group in _group_names().items()}
