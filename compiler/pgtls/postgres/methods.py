"""Define the authentication methods of pg_hba.conf with their options, by version.

Source: hba.c, ``parse_hba_line`` and ``parse_hba_auth_opt``; tested line by line against the servers.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, NamedTuple

Transports = frozenset[Literal["local", "tcp", "tls"]]
"""The line types for a method: ``local`` lines, lines for any TCP connection, ``hostssl`` lines."""

_ANYWHERE: Transports = frozenset({"local", "tcp", "tls"})
_OVER_TCP: Transports = frozenset({"tcp", "tls"})
_SOCKET: Transports = frozenset({"local"})
_OVER_TLS: Transports = frozenset({"tls"})


class Option(NamedTuple):
    """An option of methods. A ``flag`` is on as ``1``, and off with any other value."""

    name: str
    kind: Literal["text", "flag", "port", "choice"] = "text"
    choices: tuple[str, ...] = ()
    secret: bool = False
    since: int = 13
    until: int = 99


class Method(NamedTuple):
    """A method. ``required`` are sets of options. The line must contain at least one option of each set."""

    name: str
    transports: Transports = _ANYWHERE
    since: int = 13
    until: int = 99
    map: bool = False
    """True if it accepts an ident map: it proves an identity that may differ from the role."""
    sends_password: bool = False
    """True if the client sends its password in plain text: the server and anyone who reads the connection see it."""
    options: tuple[Option, ...] = ()
    required: tuple[tuple[str, ...], ...] = ()

    def has(self, version: int) -> bool:
        """Return whether that version has the method."""
        return self.since <= version <= self.until


_KERBEROS = (Option("include_realm", "flag"), Option("krb_realm"))

METHODS = {
    method.name: method
    for method in (
        Method("trust"),
        Method("reject"),
        Method("scram-sha-256"),
        Method("md5"),
        Method("password", sends_password=True),
        Method("gss", _OVER_TCP, map=True, options=_KERBEROS),
        Method("sspi", map=True, options=(*_KERBEROS, Option("compat_realm", "flag"), Option("upn_username", "flag"))),
        Method("ident", _OVER_TCP, map=True),
        Method("peer", _SOCKET, map=True),
        Method("pam", sends_password=True, options=(Option("pamservice"), Option("pam_use_hostname", "flag"))),
        Method("bsd", sends_password=True),
        Method(
            "ldap",
            sends_password=True,
            options=(
                Option("ldapserver"),
                Option("ldapport", "port"),
                Option("ldapscheme", "choice", ("ldap", "ldaps")),
                Option("ldaptls", "flag"),
                Option("ldapprefix"),
                Option("ldapsuffix"),
                Option("ldapbasedn"),
                Option("ldapbinddn"),
                Option("ldapbindpasswd", secret=True),
                Option("ldapsearchattribute"),
                Option("ldapsearchfilter"),
                Option("ldapurl"),
            ),
            # Without a server OpenLDAP searches the DNS for one, so one of these alone is enough.
            required=(("ldapbasedn", "ldapprefix", "ldapsuffix", "ldapurl"),),
        ),
        Method(
            "radius",
            until=18,
            sends_password=True,
            options=(
                Option("radiusservers"),
                Option("radiussecrets", secret=True),
                Option("radiusports"),
                Option("radiusidentifiers"),
            ),
            required=(("radiusservers",), ("radiussecrets",)),
        ),
        Method("cert", _OVER_TLS, map=True),
        Method(
            "oauth",
            since=18,
            map=True,
            options=(
                Option("issuer"),
                Option("scope"),
                Option("validator"),
                Option("delegate_ident_mapping", "flag"),
            ),
            required=(("issuer",), ("scope",)),
        ),
    )
}
"""``ident`` is also valid on ``local`` lines, where PostgreSQL reads it as ``peer``.

A spec must name ``peer`` there.
"""

SECRET_OPTIONS = frozenset(option.name for method in METHODS.values() for option in method.options if option.secret)

GIVES_PASSWORD = frozenset(
    ("scram-sha-256", "md5", *(method.name for method in METHODS.values() if method.sends_password))
)
"""The methods for which a client needs a password."""

_OPTIONS = frozenset(option.name for method in METHODS.values() for option in method.options)
_LIKE_A_SECRET = re.compile("pass|pwd|secret|token|credential", re.IGNORECASE)

OURS = {"map": "map", "clientcert": "client_cert", "clientname": "identity"}
"""Options that follow from other fields of the spec, and the name of each field."""

REGEX_SINCE = 16
"""Regular expressions for databases and roles in pg_hba.conf, and for roles in pg_ident.conf, with ``all`` and
``+role``."""

CLIENTCERT_NUMBERS_UNTIL = 13
"""``clientcert=1`` and ``clientcert=0``."""

CLIENTNAME_SINCE = 14
"""``clientname=DN``."""

VALIDATOR_OPTION = re.compile(r"validator\.[A-Za-z0-9_-]+")
"""An option of ``oauth`` that the validator library reads. It may have any name."""

VALIDATOR_OPTIONS_SINCE = 19


def option_of(method: Method, name: str) -> Option | None:
    """Return an option of a method by its name. Return None if the method has no such option."""
    if method.name == "oauth" and VALIDATOR_OPTION.fullmatch(name):
        return Option(name, since=VALIDATOR_OPTIONS_SINCE)
    return next((option for option in method.options if option.name == name), None)


@cache
def methods(version: int) -> dict[str, Method]:
    """Return the methods of a version by name."""
    return {name: method for name, method in METHODS.items() if method.has(version)}


def takes_map(method: str) -> bool:
    """Return whether a method accepts an ident map."""
    return method in METHODS and METHODS[method].map


PASSWORD_IN_URL = re.compile(r"(?<=://)[^/\s:]*:([^/\s]+)(?=@)")
"""The password of a URL. Its user may be a mail address."""


def without_url_passwords(text: str) -> str:
    """Replace every character of the passwords of URLs with an asterisk."""
    return PASSWORD_IN_URL.sub(lambda url: url[0].removesuffix(url[1]) + "*" * len(url[1]), text)


def is_secret(option: str, value: object = None) -> bool:
    """Return whether the value of an option is a secret.

    It is one for a known secret option, an unknown option (``validator.*``) with a telling name, or a URL with a
    password.
    """
    named = option in SECRET_OPTIONS or (option not in _OPTIONS and bool(_LIKE_A_SECRET.search(option)))
    return named or (isinstance(value, str) and bool(PASSWORD_IN_URL.search(value)))


def is_option(name: str) -> bool:
    """Return whether some method has an option of that name, or every line may have it."""
    return name in _OPTIONS or name in OURS
