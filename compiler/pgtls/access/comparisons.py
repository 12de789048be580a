"""Decide what the change of a field means for protection: one comparison for every field of every table.

A comparison takes the value before and after, and runs only if they differ. A field that no comparison can rank is
:func:`reviewed`: a reviewer must look at every change of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pgtls.language.models import SSLMODES, SslMode
from pgtls.language.values import NameConstraints, Secret, Waiver, plain, public_keys
from pgtls.pki.name_constraints import in_domain, in_network
from pgtls.postgres.settings import folded
from pgtls.postgres.values import written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Effect = Literal["weakened", "granted", "strengthened", "lost", "changed"]
Report = Literal["access", "certificates", "trust"]


@dataclass(frozen=True, slots=True)
class ProtectionChange:
    """One protection, before and after. ``what`` names a field or a kind of trust."""

    kind: Effect
    entity: str
    what: str
    before: str
    after: str


def neutral(_was: object, _will: object) -> Effect:
    """Accept every change: the field protects nothing."""
    return "changed"


def reviewed(_was: object, _will: object) -> Effect:
    """Count every change as a weakening: the values have no order."""
    return "weakened"


def ranked(*weakest_first: object) -> Callable[[Any, Any], Effect]:
    """Rank values by their place in a list."""
    return lambda was, will: "weakened" if weakest_first.index(will) < weakest_first.index(was) else "strengthened"


def limit(was: Any, will: Any) -> Effect:
    """Rank an upper limit: a higher one is weaker, and none is the weakest."""
    return "weakened" if will is None or (was is not None and will > was) else "strengthened"


def floor(was: Any, will: Any) -> Effect:
    """Rank a lower limit: a lower one is weaker, and none is the weakest."""
    return "weakened" if will is None or (was is not None and will < was) else "strengthened"


def version(was: int, will: int) -> Effect:
    """Rank a version: an older one knows fewer protections."""
    return "weakened" if will < was else "changed"


def protecting(was: frozenset[object], will: frozenset[object]) -> Effect:
    """Rank a set whose members protect."""
    return "weakened" if was - will else "strengthened"


def exposing(was: frozenset[object], will: frozenset[object]) -> Effect:
    """Rank a set whose members are exceptions from protection."""
    return "weakened" if will - was else "strengthened"


def granting(was: frozenset[object], will: frozenset[object]) -> Effect:
    """Rank a set whose members get access."""
    return "granted" if will - was else "lost"


def permitted(was: frozenset[object] | None, will: frozenset[object] | None) -> Effect:
    """Rank a set that is a restriction; None restricts nothing."""
    return "weakened" if will is None or (was is not None and will - was) else "strengthened"


def sslmode(was: SslMode | None, will: SslMode | None) -> Effect:
    """Rank the mode of a policy. None means that the mode has no effect there; the access report shows the change."""
    return "changed" if was is None or will is None else ranked(*SSLMODES)(was, will)


def hosts(was: tuple[str, ...], will: tuple[str, ...]) -> Effect:
    """Rank the names of a server: clients dial the first, and the certificate proves all of them."""
    return "strengthened" if will[0] == was[0] and set(will) < set(was) else "weakened"


def secret(was: Secret | None, will: Secret | None) -> Effect:
    """Rank the source of a secret: a program runs on the build machine, and other sources may hold a known text."""
    return "strengthened" if was is None and will is not None and will.command is None else "weakened"


def formats(was: frozenset[str], will: frozenset[str]) -> Effect:
    """Rank the files of a key: a further one that is not encrypted, or weakly, is weaker."""
    return "weakened" if (will - was) & {"pkcs8-der (not encrypted)", "pkcs12-3des"} else "changed"


_STRENGTHS = {"rsa-2048": 112, "ecdsa-p256": 128, "ed25519": 128, "rsa-3072": 128, "rsa-4096": 140, "ecdsa-p384": 192}
"""Bits of security (NIST SP 800-57 part 1, table 2)."""


def algorithm(was: str, will: str) -> Effect:
    """Rank the algorithms of keys."""
    before, after = _STRENGTHS[was], _STRENGTHS[will]
    return "weakened" if after < before else "strengthened" if after > before else "changed"


def constraints(was: NameConstraints | None, will: NameConstraints | None) -> Effect:
    """Rank name constraints: new ones are stronger if the old ones permitted every name that the new ones permit."""
    before, after = was or NameConstraints(), will or NameConstraints()
    narrower = (
        _all_within(after.permitted_dns, before.permitted_dns, in_domain)
        and _all_within(after.permitted_ip, before.permitted_ip, in_network)
        and all(_is_within(name, after.excluded_dns, in_domain) for name in before.excluded_dns)
        and all(_is_within(name, after.excluded_ip, in_network) for name in before.excluded_ip)
    )
    return "strengthened" if narrower else "weakened"


def _all_within(names: tuple[str, ...], outer: tuple[str, ...], within: Callable[[str, str], bool]) -> bool:
    """Return whether a list permits no more than another. An empty list permits everything."""
    return not outer or (bool(names) and all(_is_within(name, outer, within) for name in names))


def _is_within(name: str, outer: tuple[str, ...], within: Callable[[str, str], bool]) -> bool:
    return any(within(name, one) for one in outer)


def waiver(was: str | Waiver | None, will: str | Waiver | None) -> Effect:
    """Rank waivers: a new reason accepts nothing more; new codes or a new end may."""
    if was is None or will is None:
        return "weakened" if was is None else "strengthened"
    (codes, until), (codes2, until2) = _scope(was), _scope(will)
    if (codes, until) == (codes2, until2):
        return "changed"
    narrower = bool(codes2) and (not codes or codes2 <= codes)
    same = codes == codes2
    return (
        "strengthened" if (narrower or same) and (until == until2 or limit(until, until2) != "weakened") else "weakened"
    )


def _scope(waiver: str | Waiver) -> tuple[frozenset[str], Any]:
    return (frozenset(waiver.codes), waiver.until) if isinstance(waiver, Waiver) else (frozenset(), None)


# --- the fields ------------------------------------------------------------------------------------------------------


def _as_it_is(value: Any) -> Any:
    return value


def _set(value: Any) -> frozenset[object] | None:
    return None if value is None else frozenset(map(plain, value))


def _in_lower_case(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(str.lower, value))


def _serials(value: tuple[str, ...]) -> frozenset[int]:
    return frozenset(int(serial.replace(":", "") or "0", 16) for serial in value)


def _settings(value: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as PostgreSQL reads them: names ignore case, and each value is a text."""
    return {folded(name): written(one) for name, one in value.items()}


def _options(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _by_words(one) if isinstance(one, Secret) else written(one) for name, one in value.items()}


def _by_words(value: Secret | None) -> Secret | None:
    """Return a secret by its words: its directory is compared as that of every reference is."""
    return value and value.below("")


class Field(NamedTuple):
    """How to compare a field. ``key`` returns the part of its value that counts.

    ``of_new``: whether to compare a new entity with a plain one, too.
    """

    judge: Callable[[Any, Any], Effect]
    key: Callable[[Any], Any] = _as_it_is
    of_new: bool = False


_FILES = Field(reviewed)
_LIFETIME = Field(limit)
_SECRET = Field(secret, _by_words, of_new=True)
_SWITCH = Field(ranked(False, True), of_new=True)
_UNRANKED = Field(reviewed, of_new=True)
_NEUTRAL = Field(neutral)

FIELDS: Mapping[str, Mapping[str, Field | Report]] = {
    "ca": {
        "issuer": "trust",
        "common_name": "certificates",
        "subject": "certificates",
        "key_algorithm": Field(algorithm),
        "validity": _LIFETIME,
        "renew_before": _NEUTRAL,
        "path_length": Field(limit),
        "name_constraints": Field(constraints),
        "passphrase": _SECRET,
        "cert_file": _FILES,
        "key_file": _UNRANKED,
        "key": _UNRANKED,
        "offline": Field(ranked(False, True)),
        "external": Field(reviewed),
        "sign": _UNRANKED,
        "crl": _SWITCH,
        "crl_validity": _LIFETIME,
        "crl_file": _FILES,
        "revoked": Field(protecting, _serials),
    },
    "server": {
        "ca": "trust",
        "client_ca": "trust",
        "hosts": Field(hosts, _in_lower_case),
        "port": _NEUTRAL,
        "postgres": Field(version),
        "databases": Field(permitted, _set),
        "directory": Field(reviewed),
        "socket_directory": Field(reviewed),
        "key_algorithm": Field(algorithm),
        "validity": _LIFETIME,
        "renew_before": _NEUTRAL,
        "rotate_key": _SWITCH,
        "subject": "certificates",
        "min_tls": Field(ranked("1.0", "1.1", "1.2", "1.3"), of_new=True),
        "ciphers": _UNRANKED,
        "tls13_ciphers": _UNRANKED,
        "groups": _UNRANKED,
        "passphrase": _SECRET,
        "passphrase_command": _UNRANKED,
        "crl": _SWITCH,
        "csr_file": _UNRANKED,
        "external": Field(reviewed),
        "cert_file": _FILES,
        "key_file": _UNRANKED,
        "trust": "trust",
        "revoke_before": Field(floor),
        "settings": Field(reviewed, _settings, of_new=True),
        "no_local": Field(ranked(True, False)),
        "standby_of": Field(reviewed),
        "replication_user": Field(reviewed),
        "openssl": Field(reviewed),
        "sni": Field(reviewed),
    },
    "pooler": {
        "server": Field(reviewed),
        "user": Field(reviewed),
        "from_": "access",
        "ca": "trust",
        "client_ca": "trust",
        "hosts": Field(hosts, _in_lower_case),
        "port": _NEUTRAL,
        "auth_file": Field(reviewed),
        "directory": Field(reviewed),
        "key_algorithm": Field(algorithm),
        "validity": _LIFETIME,
        "renew_before": _NEUTRAL,
        "rotate_key": _SWITCH,
        "subject": "certificates",
        "csr_file": _UNRANKED,
        "external": Field(reviewed),
        "cert_file": _FILES,
        "key_file": _UNRANKED,
        "trust": "trust",
        "revoke_before": Field(floor),
    },
    "user": {
        "ca": "certificates",
        "roles": "access",
        "common_name": "certificates",
        "subject": "certificates",
        "key_algorithm": Field(algorithm),
        "validity": _LIFETIME,
        "renew_before": _NEUTRAL,
        "rotate_key": _SWITCH,
        "identity": Field(reviewed),
        "os_users": "access",
        "member_of": Field(granting, _set),
        "directory": Field(reviewed),
        "formats": Field(formats, frozenset),
        "bundle": _NEUTRAL,
        "drivers": Field(neutral, frozenset),
        "libpq": Field(version),
        "crl": Field(ranked(False, True)),
        "passphrase": _SECRET,
        "csr_file": _FILES,
        "external": Field(reviewed),
        "cert_file": _FILES,
        "until": Field(limit),
        "revoke_before": Field(floor),
    },
    "policy": {
        "servers": "access",
        "users": "access",
        "databases": "access",
        "from_": "access",
        "sslmode": Field(sslmode),
        "auth": "access",
        "auth_options": Field(reviewed, _options, of_new=True),
        "client_cert": "access",
        "map": Field(granting, frozenset),
        "channel_binding": Field(ranked("disable", "prefer", "require")),
        "priority": "access",
        "until": Field(limit),
        "description": _NEUTRAL,
        "waiver": Field(waiver, of_new=True),
    },
    "group": {"users": "access"},
    "network": {"addresses": "access"},
    "lint": {
        "minimum_sslmode": Field(ranked(None, *SSLMODES)),
        "ignore": Field(exposing, frozenset),
        "waiver": Field(waiver),
    },
    "state": {
        "recipients": Field(reviewed, public_keys),
        "identity": Field(secret, _by_words),
    },
}
"""The comparison of each field, or the report that covers it. A test fails for a new field until it is listed here."""

SERVICE: Mapping[str, Field] = {
    "role": Field(reviewed),
    "database": Field(reviewed),
    "replication": Field(reviewed),
    "hostaddr": Field(reviewed),
    "sslmode": Field(sslmode),
    "channel_binding": Field(ranked("disable", "prefer", "require"), lambda binding: binding or "prefer"),
    "certificate": _SWITCH,
}
"""The comparison of each parameter of a service (:class:`~pgtls.access.model.Entry`). libpq prefers channel binding."""

ENVIRONMENT: Mapping[str, tuple[str, Field]] = {
    "PGSSLMODE": ("sslmode", Field(sslmode)),
    "PGCHANNELBINDING": ("channel_binding", SERVICE["channel_binding"]),
    "PGREQUIREAUTH": ("answers", Field(permitted, lambda words: words and frozenset(words.split(",")))),
    "PGSSLCERTMODE": ("certificate", Field(ranked("disable", None, "require"))),
    "PGSSLNEGOTIATION": ("", Field(ranked(None, "direct"))),
    "PGSSLROOTCERT": ("", Field(ranked("system", None))),
    "PGGSSENCMODE": ("", Field(ranked(None, "disable"))),
}
"""The comparison of each variable in the environment of a bundle (None: it is not set).

The word before it is the parameter of services that gives the variable. A report that has a row for that parameter has
none for the variable. If PGSSLROOTCERT names a file, the CAs in it are compared as roots of bundles.
"""

ENTRIES = ("settings", "auth_options")
"""Fields that are tables: each of their entries is compared separately."""
