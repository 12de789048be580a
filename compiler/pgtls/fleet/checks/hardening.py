"""What PostgreSQL would accept and a security review would not. Every finding can be waived with a reason."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from pgtls.fleet.fields import entities, finder, listed, setting_of
from pgtls.fleet.model import Server
from pgtls.hba.model import HostName, Keyword, MaskedAddress, Name
from pgtls.hba.options import split_url
from pgtls.language.models import SSLMODES
from pgtls.language.values import Secret
from pgtls.language.words import quoted
from pgtls.postgres.ciphers import cipher_list, suites
from pgtls.postgres.methods import METHODS
from pgtls.postgres.openssl import Refused, version
from pgtls.postgres.texts import items

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet, Policy
    from pgtls.hba.model import Address
    from pgtls.postgres.openssl import Version

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
_WIDE = {4: 12, 6: 32}
"""The shortest prefix of public addresses that is no finding: a million addresses, or one provider's IPv6."""

MD5_DEPRECATED_SINCE = 18
"""Its release notes: MD5 passwords are deprecated and will go."""

MD5_WARNS_SINCE = 19
"""Every login with one gives a warning (``md5_password_warnings``)."""

RSA_2048_UNTIL = datetime(2031, 1, 1, tzinfo=UTC)
"""NIST SP 800-57 part 1, table 4: 112 bits of strength are acceptable through 2030."""

_WEAK_WORDS = frozenset({"aNULL", "MD5", "SEED"})
"""Words of a cipher list that select suites without authentication or strength."""

_WEAK_NAME = re.compile(r"(.*-)?(RC2|RC4|DES|3DES|CBC3|EXP|EXPORT|LOW|IDEA|MD5)(-.*)?")
"""Words and suites that only some builds of OpenSSL have."""


def trust(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find policies that admit every client that reaches the server, under any name."""
    if policy.table.auth != "trust":
        return
    asked = policy.asks_certificate
    if asked == "verify-full":
        message = f'policy "{policy.name}" admits by certificate alone, and its "trust" hides that'
        yield finder(fleet, policy).fault("PGT301", message, "auth", hint='auth = "cert" asks for the same')
    else:
        who = "every operating-system user of the machine" if policy.local else "every client that reaches the server"
        who = who if asked == "none" else "every client with a certificate that the server trusts"
        message = f'"trust" asks for nothing: {who} can log in as any role of policy "{policy.name}"'
        hint = 'auth = "peer"' if policy.local else 'auth = "cert" or "scram-sha-256"'
        yield finder(fleet, policy).fault("PGT301", message, "auth", hint=hint)


def readable_password(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find passwords that cross a network as they are, in cleartext."""
    if _sends_password(policy) and from_afar(policy) and not policy.requires_tls:
        message = f'"{policy.table.auth}" sends the password as it is, and "{policy.sslmode}" lets it go in cleartext'
        hint = 'sslmode = "verify-full", or auth = "scram-sha-256"'
        yield finder(fleet, policy).fault("PGT302", message, "auth", hint=hint)


def password(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find methods by which the server, or a machine that poses as it, learns the password."""
    if policy.table.auth == "password" and (policy.requires_tls or not from_afar(policy)):
        message = '"password" hands the password itself to the server, or to a machine that poses as it'
        yield finder(fleet, policy).fault("PGT303", message, "auth", hint='auth = "scram-sha-256"', severity="warning")


def md5(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find MD5: a captured exchange is quickly broken, and the stored hash is as good as the password."""
    if policy.table.auth != "md5":
        return
    found = finder(fleet, policy)
    if from_afar(policy) and not policy.requires_tls:
        message = f'"md5" with "{policy.sslmode}" can be broken by an attacker who reads the connection'
        yield found.fault("PGT306", message, "auth", hint='auth = "scram-sha-256", and sslmode = "verify-full"')
    else:
        newest = max((server.table.postgres for server in policy.servers), default=0)
        state = f"; PostgreSQL {newest} deprecates them" if newest >= MD5_DEPRECATED_SINCE else ""
        warns = ", and warns at every login with one" if newest >= MD5_WARNS_SINCE else ""
        message = f'"md5" accepts hashes that are as good as the password{state}{warns}'
        hint = 'auth = "scram-sha-256", once every password is set again under password_encryption = "scram-sha-256"'
        yield found.fault("PGT304", message, "auth", hint=hint, severity="warning")


def ldap_in_cleartext(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find directories that the server asks without TLS: the password of each login crosses that network, too."""
    given = policy.table.auth_options
    is_whole = policy.table.auth == "ldap" and any(name in given for name in METHODS["ldap"].required[0])
    if not is_whole or given.get("ldaptls") in (True, "1") or given.get("ldapscheme") == "ldaps":
        return
    named = next((name for name in ("ldapurl", "ldapserver") if isinstance(given.get(name), str)), None)
    value = str(given[named]) if named else ""
    if value.lower().startswith("ldaps:") or isinstance(given.get("ldapurl"), Secret):
        return
    hosts = [split_url(value).hostname or ""] if named == "ldapurl" else value.split()
    if hosts and all(host in _OWN for host in hosts):
        return
    message = f'the server of policy "{policy.name}" sends each password to the directory in cleartext'
    place = ("auth_options", named) if named else ("auth",)
    tls = "begin the URL with ldaps://" if "ldapurl" in given else 'ldapscheme = "ldaps"'
    hint = f"add ldaptls = true, or {tls}"
    yield finder(fleet, policy).fault("PGT370", message, *place, hint=hint, severity="warning")


_OWN = ("localhost", "127.0.0.1", "::1", "[::1]")
"""Directories on the server itself."""


def ident(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find policies that believe what another machine says."""
    if policy.table.auth == "ident" and from_afar(policy):
        message = '"ident" believes what the machine of the client says'
        yield finder(fleet, policy).fault("PGT305", message, "auth", hint='auth = "cert"')


_ATTACKS = {
    "disable": "goes in cleartext: an attacker on the network can read and change everything",
    "allow": "goes in cleartext unless the server refuses it: "
    "an attacker on the network can read and change everything",
    "prefer": "falls back to cleartext: an attacker on the network can block TLS, then read and change everything",
}


def weak_sslmode(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find modes below the minimum (an error), and those that leave cleartext possible (a warning)."""
    if policy.sslmode is None:
        return
    least = fleet.lint.minimum_sslmode
    if least and SSLMODES.index(policy.sslmode) < SSLMODES.index(least):
        danger = f": with it the connection {_ATTACKS[policy.sslmode]}" if policy.sslmode in _ATTACKS else ""
        message = f'"{policy.sslmode}" is below minimum_sslmode, "{least}"{danger}'
        hint = f'sslmode = "{least}", or a waiver that says why not'
        yield finder(fleet, policy).fault("PGT311", message, "sslmode", hint=hint)
    elif policy.sslmode in _ATTACKS:
        message = f'with "{policy.sslmode}" the connection {_ATTACKS[policy.sslmode]}'
        hint = 'sslmode = "verify-full"'
        yield finder(fleet, policy).fault("PGT310", message, "sslmode", hint=hint, severity="warning")


def wide_network(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find policies that are open to a great part of the Internet."""
    if policy.table.auth == "reject":
        return
    wide = next((address for address in policy.addresses if _is_wide(address)), None)
    if wide is not None:
        what = "every address" if wide is Keyword.ALL else f'"{wide}"'
        message = f'policy "{policy.name}" is open to {what}'
        index = next((i for i, item in enumerate(policy.table.from_) if item in ("all", str(wide))), None)
        place = ("from",) if index is None else ("from", index)
        hint = "name the networks that clients are in"
        yield finder(fleet, policy).fault("PGT312", message, *place, hint=hint, severity="warning")


def everybody_everywhere(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find policies for every role and every database, superusers among them."""
    everything = "all" in policy.table.users and Keyword.ALL in policy.databases
    if everything and policy.table.auth != "reject" and not policy.local:
        message = f'policy "{policy.name}" admits every role to every database, superusers too'
        yield finder(fleet, policy).fault(
            "PGT313", message, "users", hint="name users or databases", severity="warning"
        )


def superuser_from_afar(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find policies by which the bootstrap superuser logs in over a network."""
    said = policy.follows is not None  # by the policy of the pooler
    if policy.table.auth != "reject" and from_afar(policy) and _has_superuser(policy) and not said:
        message = f'policy "{policy.name}" lets role "postgres", the superuser, in from other machines'
        hint = 'from = ["local"], or a role with fewer rights'
        yield finder(fleet, policy).fault("PGT314", message, "users", hint=hint, severity="warning")


def _has_superuser(policy: Policy) -> bool:
    return any(isinstance(role, Name) and role.text == "postgres" for role in policy.roles)


def replication_in_cleartext(fleet: Fleet, policy: Policy) -> Iterator[Diagnostic]:
    """Find replication in cleartext: a standby gets a copy of everything."""
    if Keyword.REPLICATION in policy.databases and policy.sslmode in _ATTACKS and from_afar(policy):
        message = f'policy "{policy.name}" lets a copy of the whole cluster go in cleartext'
        yield finder(fleet, policy).fault(
            "PGT319", message, "sslmode", hint='sslmode = "verify-full"', severity="warning"
        )


def listens_everywhere(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers that listen on every interface."""
    for server in fleet.servers.values():
        addresses = set(items(str(setting_of(server, "listen_addresses")[1] or "")) or ())
        if wide := sorted(addresses & {"*", "0.0.0.0", "::"}):  # noqa: S104  (this is what is looked for)
            message = f'server "{server.name}" listens on every interface: "{wide[0]}"'
            hint = "name its own addresses"
            yield finder(fleet, server).fault(
                "PGT315", message, "settings", setting_of(server, "listen_addresses")[0], hint=hint, severity="warning"
            )


def weak_rsa(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find RSA with 2048 bits in certificates that live past 2030."""
    for thing in entities(fleet):
        table = thing.table
        if table.key_algorithm != "rsa-2048" or table.cert_file:
            continue
        life = thing.validity if isinstance(thing, Server) else thing.table.validity
        if life and fleet.now + life > RSA_2048_UNTIL:
            message = f"rsa-2048 is too weak for a certificate that ends in {(fleet.now + life).year}"
            hint = 'key_algorithm = "ecdsa-p256" or "rsa-3072"'
            yield finder(fleet, thing).fault("PGT316", message, "key_algorithm", hint=hint, severity="warning")


def old_tls(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find TLS 1.0 and 1.1, which are deprecated (RFC 8996)."""
    for server in fleet.servers.values():
        if server.table.min_tls in ("1.0", "1.1"):
            message = f'server "{server.name}" accepts TLS {server.table.min_tls}, which is broken (RFC 8996)'
            yield finder(fleet, server).fault("PGT317", message, "min_tls", hint='min_tls = "1.2"')


def weak_ciphers(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find cipher suites without encryption (an error), and those without authentication or strength (a warning)."""
    for server in fleet.servers.values():
        text, found = server.table.ciphers, finder(fleet, server)
        chosen = _suites(text or "", version(server.table.openssl)) if text else frozenset()
        naked = sorted(suite for suite in chosen if "eNULL" in suites()[suite])
        weak = [
            *sorted(suite for suite in chosen - {*naked} if suites()[suite] & _WEAK_WORDS),
            *_weak_entries(text or ""),
        ]
        if naked:
            message = f"{quoted(text or '')} lets connections without encryption in: {listed(naked)}"
            yield found.fault("PGT322", message, "ciphers", hint="add !eNULL at the end")
        if weak:
            message = f"{quoted(text or '')} lets weak cipher suites in: {listed(weak)}"
            yield found.fault("PGT321", message, "ciphers", hint='ciphers = "HIGH:!aNULL"', severity="warning")


def _suites(text: str, openssl: Version) -> frozenset[str]:
    """Return what a cipher list selects; one that OpenSSL refuses is a finding of its own."""
    try:
        return cipher_list(text, openssl).suites
    except Refused:
        return frozenset()


def _weak_entries(text: str) -> list[str]:
    """Return the words of a cipher list that ask for what only some builds of OpenSSL still have."""
    entries = re.split("[: ;,]+", text)
    excluded = {entry[1:] for entry in entries if entry.startswith("!")}
    asked = [entry for entry in entries if entry[:1] not in ("", "!", "-", "+", "@")]
    return [entry for entry in asked if entry not in excluded and any(map(_WEAK_NAME.fullmatch, entry.split("+")))]


def md5_passwords(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers that would store new passwords as MD5 hashes."""
    for server in fleet.servers.values():
        name, value = setting_of(server, "password_encryption")
        if value is not None and str(value).lower() != "scram-sha-256":
            message = f'server "{server.name}" stores new passwords as MD5 hashes'
            hint = 'password_encryption = "scram-sha-256"'
            yield finder(fleet, server).fault("PGT320", message, "settings", name, hint=hint, severity="warning")


def from_afar(policy: Policy) -> bool:
    """Tell whether a policy is for connections from another machine."""
    return any(not _is_near(address) for address in policy.addresses)


def _is_near(address: Address) -> bool:
    if isinstance(address, IPv4Network | IPv6Network):
        return _is_within(address, _LOOPBACK)
    return address is Keyword.SAMEHOST or (isinstance(address, HostName) and address.name == "localhost")


def _is_within(block: IPv4Network | IPv6Network, others: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(block.version == other.version and block.subnet_of(other) for other in others)  # type: ignore[arg-type]


def _is_wide(address: Address) -> bool:
    if isinstance(address, MaskedAddress | HostName):
        return False
    if isinstance(address, Keyword):
        return address is Keyword.ALL
    if _is_within(address, (*_PRIVATE, *_LOOPBACK)):
        return False
    return address.prefixlen < _WIDE[address.version]


def _sends_password(policy: Policy) -> bool:
    method = METHODS.get(policy.table.auth)
    return method is not None and method.sends_password


PRESENT = (listens_everywhere, weak_rsa, old_tls, weak_ciphers, md5_passwords)
POLICY_RULES = (
    trust,
    readable_password,
    password,
    md5,
    ldap_in_cleartext,
    ident,
    weak_sslmode,
    wide_network,
    everybody_everywhere,
    superuser_from_afar,
    replication_in_cleartext,
)
