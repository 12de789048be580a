"""Tell which services decide the logins of a method, by its options, and how a server reaches them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pgtls.hba.options import ldap_directory, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Options = Mapping[str, str]

Over = Literal["", "over TLS", "in cleartext"]


class Way(NamedTuple):
    """A service that decides logins. ``over`` is "" where no option says how a server reaches it.

    ``nth``: if secrets are a list, too, which of them the service gets.
    """

    place: str
    over: Over = ""
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.place} {self.over}".rstrip() + (f" (secret {self.nth})" if self.nth > 1 else "")

    def protects_like(self, other: Way) -> bool:
        """Return whether what goes this way goes to the same place as on another one, and is protected as much."""
        same = self.place == other.place and self.nth == other.nth
        return same and (self.over == other.over or self.over == "over TLS")


def ways(method: str, options: Options) -> frozenset[Way]:
    """Return the services of a method. A flag that is on is ``1``. None for Kerberos: its realm is in the grant."""
    return frozenset(way._replace(nth=1) for way in ways_of_secrets(method, options))


def ways_of_secrets(method: str, options: Options) -> frozenset[Way]:
    """Return the same services, each as often as it gets a secret of its own."""
    return frozenset(_WAYS[method](options)) if method in _WAYS else frozenset()


def _ldap(options: Options) -> Iterator[Way]:
    directory = ldap_directory(options)
    protected = directory.scheme == "ldaps" or options.get("ldaptls") == "1"
    over: Over = "over TLS" if protected else "in cleartext" if directory.scheme == "ldap" else ""
    yield from (Way(place, over) for place in directory.places)


def _radius(options: Options) -> Iterator[Way]:
    servers, ports = (listed(options.get(name, "")) for name in ("radiusservers", "radiusports"))
    each = ports if len(ports) == len(servers) else (ports or ["1812"]) * len(servers)
    for nth, (server, port) in enumerate(zip(servers, each, strict=False), 1):
        yield Way(f"{server}:{port}", nth=nth)


def _oauth(options: Options) -> Iterator[Way]:
    if issuer := options.get("issuer"):
        yield Way(f"issuer {issuer}")
    # A validator without one of its options, such as an audience, may accept more tokens.
    named = sorted((name, one) for name, one in options.items() if name.partition(".")[0] == "validator")
    yield Way(", ".join(f"{name} {one}" for name, one in named) or "the only validator")


def _pam(options: Options) -> Iterator[Way]:
    yield Way(f"PAM service {options.get('pamservice') or 'postgresql'}")  # auth.c: PGSQL_PAM_SERVICE


def _bsd(_: Options) -> Iterator[Way]:
    yield Way("BSD authentication")


_WAYS: Mapping[str, Callable[[Options], Iterator[Way]]] = {
    "ldap": _ldap,
    "radius": _radius,
    "oauth": _oauth,
    "pam": _pam,
    "bsd": _bsd,
}
