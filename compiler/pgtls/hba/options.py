"""Check methods and their options.

The functions return what a server of each version accepts on a line, and its message when it rejects one
(parse_hba_line, parse_hba_auth_opt).

The methods of a *build* of PostgreSQL (gss, pam, ldap, bsd, sspi) and its installed OAuth validators are unknown here.
Assume that they exist.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from pgtls.postgres.methods import CLIENTNAME_SINCE, METHODS, VALIDATOR_OPTION, VALIDATOR_OPTIONS_SINCE, methods
from pgtls.postgres.numbers import atoi

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgtls.postgres.methods import Method, Option

RECORD_TYPES = frozenset({"local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"})

_OPTION_OF: dict[str, list[tuple[Method, Option]]] = {}
for _method in METHODS.values():
    for _option in _method.options:
        _OPTION_OF.setdefault(_option.name, []).append((_method, _option))

_SEARCH = ("ldapbasedn", "ldapbinddn", "ldapbindpasswd", "ldapsearchattribute", "ldapsearchfilter")


@lru_cache(maxsize=4096)
def line_refusal(
    record_type: str, method: str, options: tuple[tuple[str, str], ...], version: int, *, is_whole: bool = True
) -> tuple[str, int | None] | None:
    """Return the server's message for a rejected line, and the index of the option at fault.

    None: the server accepts the line.

    ``is_whole``: the list of options is complete, so a missing option is a fault.
    """
    refusal = method_refusal(record_type, method, version)
    if refusal:
        return refusal, None
    for index, (name, value) in enumerate(options):
        refusal = option_refusal(record_type, method, name, value, version)
        if refusal:
            return refusal, index
    refusal = _incomplete(method, dict(options), version) if is_whole else None
    return (refusal, None) if refusal else None


def method_refusal(record_type: str, method: str, version: int) -> str | None:
    """Return why a line of this type cannot have a method.

    The caller has already replaced ``ident`` on ``local`` by ``peer``.
    """
    if method not in methods(version):
        return f'invalid authentication method "{method}"'
    if method == "gss" and record_type == "local":
        return "gssapi authentication is not supported on local sockets"
    if method == "peer" and record_type != "local":
        return "peer authentication is only supported on local sockets"
    if method == "cert" and record_type != "hostssl":
        return "cert authentication is only supported on hostssl connections"
    return None


def option_refusal(record_type: str, method: str, name: str, value: str, version: int) -> str | None:
    """Return why such a line cannot have an option, or the option cannot have this value."""
    if not _is_known(name, version):
        return f'unrecognized authentication option name: "{name}"'
    if name.startswith("validator.") and not VALIDATOR_OPTION.fullmatch(name):
        return f'invalid OAuth validator option name: "{name}"'
    if name in {"clientcert", "clientname"}:
        if record_type != "hostssl":
            return f'{name} can only be configured for "hostssl" rows'
        return _clientcert(method, value, version) if name == "clientcert" else _clientname(value)
    refusal = _misplaced(method, name, version)
    return refusal or _bad_value(name, value)


def _is_known(name: str, version: int) -> bool:
    if name in {"map", "clientcert"}:
        return True
    if name == "clientname":
        return version >= CLIENTNAME_SINCE
    if name.startswith("validator."):
        return version >= VALIDATOR_OPTIONS_SINCE
    return any(
        method.has(version) and option.since <= version <= option.until for method, option in _OPTION_OF.get(name, ())
    )


def _misplaced(method: str, name: str, version: int) -> str | None:
    """Return the methods that support the option if this method is not one of them."""
    if name == "map":
        takers = {taker.name for taker in methods(version).values() if taker.map}
        words = (
            "ident, peer, gssapi, sspi, cert, and oauth" if "oauth" in takers else "ident, peer, gssapi, sspi, and cert"
        )
    elif name.startswith("validator."):
        takers, words = {"oauth"}, "oauth"
    else:
        takers = {taker.name for taker, _ in _OPTION_OF[name]}
        words = "gssapi and sspi" if len(takers) > 1 else next(iter(takers))
    if method in takers:
        return None
    return f'authentication option "{name}" is only valid for authentication methods {words}'


def _clientcert(method: str, value: str, version: int) -> str | None:
    if version == 13:
        if value in {"0", "no-verify"} and method == "cert":
            return 'clientcert cannot be set to "no-verify" when using "cert" authentication'
        taken = {"1", "verify-ca", "verify-full", "0", "no-verify"}
    else:
        if value == "verify-ca" and method == "cert":
            return 'clientcert can only be set to "verify-full" when using "cert" authentication'
        taken = {"verify-ca", "verify-full"}
    return None if value in taken else f'invalid value for clientcert: "{value}"'


def _clientname(value: str) -> str | None:
    return None if value in {"CN", "DN"} else f'invalid value for clientname: "{value}"'


def _bad_value(name: str, value: str) -> str | None:
    if name == "ldapport" and not atoi(value):
        return f'invalid LDAP port number: "{value}"'
    if name == "ldapurl" and split_url(value).scheme not in {"ldap", "ldaps"}:
        return f'could not parse LDAP URL "{value}"'
    if name == "radiusports" and not all(atoi(port) for port in listed(value)):
        return f'invalid RADIUS port number: "{value}"'
    return None


def listed(value: str) -> list[str]:
    """Split a list as SplitGUCList does, except for unbalanced quotes."""
    return [item.strip().strip('"') for item in value.split(",")] if value.strip() else []


def _incomplete(method: str, options: Mapping[str, str], version: int) -> str | None:
    """Return which option is missing, or conflicts with another one."""
    if method == "ldap":
        return _incomplete_ldap({**_from_url(options.get("ldapurl")), **options}, version)
    if method == "radius":
        return _incomplete_radius(options)
    if method == "oauth":
        for name in ("scope", "issuer"):
            if name not in options:
                return f'authentication method "oauth" requires argument "{name}" to be set'
        if options.get("delegate_ident_mapping") == "1" and "map" in options:
            return "map cannot be used in combination with delegate_ident_mapping"
    return None


_LDAP_URL = re.compile(
    r"ldaps?://(\[[0-9a-f:.]+\]|[^/:?#@%\s\[\]]*)(:\d{1,5})?"
    r"(/[^?#]*(\?[^?]*(\?(base|one|sub|subtree|)(\?[^?]*(\?[^?]+)?)?)?)?)?",
    re.IGNORECASE | re.ASCII,
)
"""What OpenLDAP (ldap_url_parse) and :mod:`urllib.parse` read in the same way."""


def is_ldap_url(text: str) -> bool:
    """Return whether a text is an LDAP URL that everybody reads in the same way."""
    return _LDAP_URL.fullmatch(text) is not None


def split_url(url: str) -> SplitResult:
    """Divide an LDAP URL; one that is none has no scheme and no host."""
    try:
        return urlsplit(url)
    except ValueError:  # half of an IPv6 address
        return urlsplit("")


class Directory(NamedTuple):
    """The LDAP servers of a line. Without a host, the server looks for one in the DNS, by the base of its search."""

    scheme: str
    places: tuple[str, ...]


def ldap_directory(options: Mapping[str, str]) -> Directory:
    """Return the LDAP servers that options name. A URL that is a secret is a place, whatever it says."""
    url = options.get("ldapurl", "")
    if url and not is_ldap_url(url):
        return Directory("", (url,))
    scheme = (url.partition(":")[0] or options.get("ldapscheme", "ldap")).lower()
    found = _LDAP_URL.fullmatch(url)
    host, port = (found[1], (found[2] or "")[1:]) if found else ("", options.get("ldapport", ""))
    port = port or _PORTS.get(scheme, "")
    hosts = (host or options.get("ldapserver", "")).split()
    base = {**options, **_from_url(url)}.get("ldapbasedn", "")
    searched = f"the directory that the DNS names for {base}"
    return Directory(scheme, tuple(f"{one}:{port}" if port else one for one in hosts) or (searched,))


_PORTS = {"ldap": "389", "ldaps": "636"}


def _from_url(url: str | None) -> dict[str, str]:
    """Return the options that an LDAP URL contains (RFC 4516: ldap://host/dn?attributes?scope?filter)."""
    if not url:
        return {}
    parts = split_url(url)
    attributes, _, rest = parts.query.partition("?")
    found = {
        "ldapserver": parts.netloc,
        "ldapsearchattribute": attributes.partition(",")[0],
        "ldapsearchfilter": rest.partition("?")[2],
    }
    base = {"ldapbasedn": unquote(parts.path[1:])} if parts.path else {}
    return base | {name: value for name, value in found.items() if value}


def set_by_url(url: str | None) -> frozenset[str]:
    """Return the options that ``ldapurl`` sets, whatever a line says before it. None: the URL is a secret."""
    return frozenset({"ldapscheme", "ldapport", *(_OFTEN_SET_BY_URL if url is None else _from_url(url))})


_OFTEN_SET_BY_URL = ("ldapserver", "ldapbasedn", "ldapsearchattribute", "ldapsearchfilter")


def in_effect(options: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the options that a server applies: the last of each name, and none that a later ``ldapurl`` replaces.

    The scope of a URL counts on the last option alone: each option sets it to ``sub`` (parse_hba_auth_opt).
    """
    found: dict[str, str] = {}
    for name, value in options:
        if name == "ldapurl":
            found = {one: said for one, said in found.items() if one not in set_by_url(value)}
        found[name] = value
    if "ldapurl" in found and options[-1][0] != "ldapurl":
        url = found["ldapurl"]
        found["ldapurl"] = _whole_tree(url, "" if split_url(url).path else found.pop("ldapbasedn", ""))
    return tuple(found.items())


def _whole_tree(url: str, base: str) -> str:
    """Write the scope ``sub`` into an LDAP URL, and ``base`` into one without."""
    place, *rest = url.split("?")
    attributes, _, *others = [*rest, "", ""][: max(2, len(rest))]
    if not split_url(place).path:
        place = f"{place}/{quote(base, safe=',=')}"
    return "?".join((place, attributes, "sub", *others))


def _incomplete_ldap(options: Mapping[str, str], version: int) -> str | None:
    if "ldapprefix" in options or "ldapsuffix" in options:
        if any(name in options for name in _SEARCH):
            return (
                "cannot mix options for simple bind and search+bind modes"
                if version >= 18
                else "cannot use ldapbasedn, ldapbinddn, ldapbindpasswd, ldapsearchattribute, ldapsearchfilter, "
                "or ldapurl together with ldapprefix"
            )
    elif "ldapbasedn" not in options:
        return 'authentication method "ldap" requires argument "ldapbasedn", "ldapprefix", or "ldapsuffix" to be set'
    if "ldapsearchattribute" in options and "ldapsearchfilter" in options:
        return "cannot use ldapsearchattribute together with ldapsearchfilter"
    return None


def _incomplete_radius(options: Mapping[str, str]) -> str | None:
    lists = {name: listed(options.get(f"radius{name}", "")) for name in ("servers", "secrets", "ports", "identifiers")}
    for name in ("servers", "secrets"):
        if not lists[name]:
            return f'authentication method "radius" requires argument "radius{name}" to be set'
    servers = len(lists["servers"])
    for name in ("secrets", "ports", "identifiers"):
        given = len(lists[name])
        if given not in {0, 1, servers}:
            return (
                f"the number of RADIUS {name} ({given}) must be 1 or the same as the number of RADIUS servers "
                f"({servers})"
            )
    return None
