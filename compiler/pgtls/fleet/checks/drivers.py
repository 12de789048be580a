"""What libpq and the drivers of a bundle cannot be told, where a policy relies on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.fleet.fields import finder, header
from pgtls.fleet.model import Pooler
from pgtls.postgres.drivers import DRIVERS
from pgtls.postgres.libpq import REQUIRE_AUTH_SINCE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet, Policy, User
    from pgtls.postgres.drivers import Driver


def drivers(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find drivers that do less, or more, than a policy asks for."""
    concerned = {name for name, user in fleet.users.items() if user.table.drivers}
    for user, of_user in _policies(fleet, concerned):
        for name in user.table.drivers:
            yield from _driver(fleet, user, DRIVERS[name], of_user)
            yield from _lists(fleet, user, DRIVERS[name], of_user)
            yield from _key(fleet, user, DRIVERS[name])


def old_libpq(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find users of passwords whose spec says that they have a libpq without ``require_auth``.

    With the default, every spec with passwords would be reported: there, the README of the bundle says it.
    """
    concerned = {name for name, user in fleet.users.items() if _says_old_libpq(user)}
    for user, policies in _policies(fleet, concerned):
        unbound = [one for one in policies if _asks_scram(one) and one.table.channel_binding != "require"]
        if unbound:
            message = (
                f"libpq {user.table.libpq} sends the password in the clear to a server with a valid certificate that "
                "asks for it"
            )
            binding = next((one for one in unbound if not any(isinstance(at, Pooler) for at in one.servers)), None)
            bind = f'add channel_binding = "require" to {header("policy", binding.name)}; ' if binding else ""
            hint = f"{bind}{_HINT_LIBPQ}"
            yield finder(fleet, user).fault("PGT460", message, "libpq", hint=hint, severity="warning")


def pooler_lists(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find users with CRLs as whom a pooler logs in: PgBouncer reads none."""
    for pooler in fleet.poolers:
        if pooler.user is not None and pooler.user.table.crl:
            message = (
                f'pooler "{pooler.name}" logs in as user "{pooler.user.name}", and PgBouncer checks no CRL: it '
                "connects to a server whose certificate is revoked"
            )
            yield finder(fleet, pooler.user).fault("PGT461", message, "crl", hint=_HINT_POOLER, severity="warning")


def _says_old_libpq(user: User) -> bool:
    """Return whether the spec says so itself. PGT456 reports a driver on that libpq."""
    by_driver = any(DRIVERS[name].on_libpq for name in user.table.drivers)
    return "libpq" in user.table.model_fields_set and user.table.libpq < REQUIRE_AUTH_SINCE and not by_driver


def _asks_scram(policy: Policy) -> bool:
    return policy.table.auth == "scram-sha-256"


def _policies(fleet: Fleet, users: Collection[str]) -> Iterator[tuple[User, Sequence[Policy]]]:
    """Yield each of these users with the policies that admit it over the network."""
    found: dict[str, list[Policy]] = {name: [] for name in users}
    for policy in fleet.policies.values() if found else ():
        for user in policy.users if policy.addresses else ():
            if user.name in found:
                found[user.name].append(policy)
    return ((fleet.users[name], policies) for name, policies in found.items())


def _key(fleet: Fleet, user: User, driver: Driver) -> Iterator[Diagnostic]:
    """Find a driver that cannot open the key."""
    by_java = driver.name == "pgjdbc" and any(one.startswith("pkcs") for one in user.table.formats)
    if user.ca and user.table.passphrase is not None and not driver.decrypts and not by_java:
        message = f"{driver.title} cannot open the key, which the passphrase encrypts"
        hint = 'add "pkcs12" to `formats`' if driver.name == "pgjdbc" else "leave the passphrase out"
        yield finder(fleet, user).fault("PGT459", message, "drivers", hint=hint)


def _lists(fleet: Fleet, user: User, driver: Driver, policies: Sequence[Policy]) -> Iterator[Diagnostic]:
    """Find a driver that does not check the CRLs of a bundle."""
    if user.table.crl and policies and not driver.lists:
        message = f"{driver.title} checks no CRL: it connects to a server whose certificate is revoked"
        yield finder(fleet, user).fault("PGT461", message, "drivers", hint=_HINT_LISTS, severity="warning")


def _driver(fleet: Fleet, user: User, driver: Driver, policies: Sequence[Policy]) -> Iterator[Diagnostic]:
    found = finder(fleet, user)
    scram = [policy for policy in policies if _asks_scram(policy)]
    binding = [policy for policy in scram if policy.table.channel_binding == "require"]
    weak = [policy for policy in scram if not (driver.binding == "enforced" and policy in binding)]
    if driver.binding == "fails" and binding:
        message = (
            f'{driver.title} cannot bind SCRAM to TLS, which policy "{binding[0].name}" requires: it cannot connect'
        )
        yield found.fault("PGT457", message, "drivers", hint=_HINT_BINDING)
    elif weak and not driver.insisting(user.table.libpq):
        unbound = f' does not bind SCRAM to TLS, which policy "{binding[0].name}" requires, and' if binding else ""
        message = (
            f"{driver.title}{unbound} sends the password in the clear to a server with a valid certificate that asks "
            "for it"
        )
        hint = _HINT_LIBPQ if driver.insists else _HINT_DRIVER
        yield found.fault("PGT456", message, "drivers", hint=hint, severity="warning")
    nameless = next((one for one in policies if one.table.sslmode in ("require", "verify-ca")), None)
    if nameless and not driver.skips_names:
        message = (
            f"{driver.title} verifies the server's name, which the {nameless.table.sslmode} of policy "
            f'"{nameless.name}" does not ask for'
        )
        yield found.fault("PGT458", message, "drivers", hint=_HINT_NAMES, severity="warning")


_HINT_BINDING = 'use another driver, or channel_binding = "prefer"'
_HINT_LIBPQ = f"if every client has libpq {REQUIRE_AUTH_SINCE} or later: libpq = {REQUIRE_AUTH_SINCE}"
_HINT_DRIVER = 'use auth = "cert", or a driver that insists on SCRAM: docs/drivers.md lists them'
_HINT_LISTS = "use a driver that checks CRLs: docs/drivers.md lists them"
_HINT_NAMES = 'use sslmode = "verify-full", and list in `hosts` every name that clients use'

_HINT_POOLER = "leave crl out, and know that this pooler notices no theft of the server's key"

PRESENT = (drivers, old_libpq, pooler_lists)
