"""Keys and certificates from elsewhere: contradicting fields, and CAs that cannot sign."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic
from pgtls.fleet.addresses import is_address
from pgtls.fleet.fields import entities, finder, place_of
from pgtls.fleet.files import references
from pgtls.fleet.model import Authority, Identity
from pgtls.language.astray import leads_back
from pgtls.language.words import did_you_mean, quoted
from pgtls.pki.model import Entity
from pgtls.postgres.libpq import SYSTEM_ROOTS_SINCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.diagnostics import Path
    from pgtls.fleet.model import Fleet, User
    from pgtls.pki.pkcs11_uri import KeyUri

_CONTRADICTIONS = (
    ("csr_file", "external", "a request is signed either here or elsewhere"),
    ("csr_file", "cert_file", "a request is signed either here or elsewhere"),
    ("csr_file", "key_file", "the key of a request is not here"),
    ("csr_file", "passphrase", "the key of a request is not here"),
    ("external", "key_file", "pgtls makes the key of an external certificate"),
    ("offline", "external", "the key of an offline CA is elsewhere, the key of an external CA is here"),
    ("key", "key_file", "the key is in a token or in a file"),
    ("key", "passphrase", "a passphrase encrypts a file, and the key is in a token"),
    ("sign", "key_file", "either a program signs, or pgtls does with this key"),
    ("sign", "key", "either a program signs, or pgtls does with this key"),
    ("sign", "external", "a program signs with the key of this CA, which is not here"),
    ("sign", "offline", "a program signs with the key of this CA, which is not here"),
)


def contradictions(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find fields that contradict each other about a key, and fields that need another one."""
    for thing in entities(fleet):
        table = thing.table
        if table.model_fields_set.isdisjoint(_FIELDS):
            continue
        found = finder(fleet, thing)
        for first, second, why in _CONTRADICTIONS:
            both = getattr(table, first, None) and getattr(table, second, None)
            if both and (second != "passphrase" or found.says(second)):  # a default is for those that have a key here
                message = f"`{first}` and `{second}` contradict each other: {why}"
                yield found.fault("PGT139", message, second, hint="delete one of them")
        if getattr(table, "key_file", None) and not table.cert_file:
            yield found.fault(
                "PGT139",
                "`key_file` without `cert_file`",
                "key_file",
                hint="name the certificate of this key in cert_file",
            )
        if getattr(table, "sign", None) and not table.cert_file and thing is not fleet.public:
            hint = "name the certificate of the CA that signs in cert_file"
            yield found.fault("PGT139", "`sign` without `cert_file`", "sign", hint=hint)
        if found.says("passphrase") and _keyless(thing) and not getattr(thing, "acme", False):
            message = "`passphrase` is set, but the key is not here"
            yield found.fault("PGT139", message, "passphrase", hint="name the key in key_file")
        yield from _of_kind(fleet, thing)
    yield from _of_public(fleet)


_FIELDS = frozenset(
    (
        *("cert_file", "key_file", "key", "csr_file", "crl_file", "external", "offline", "sign"),
        *("passphrase", "passphrase_command"),
    )
)


def _of_kind(fleet: Fleet, thing: Authority | Identity | User) -> Iterator[Diagnostic]:
    kind, found = thing.entity.kind, finder(fleet, thing)
    if kind == "user" and getattr(thing, "ca", None) is None:
        said = [field for field in ("cert_file", "external", "csr_file", "passphrase") if found.says(field)]
        if said:
            message = f'user "{thing.name}" has `{said[0]}`, but no CA'
            yield found.fault("PGT139", message, said[0], hint="name the CA that signs the certificate in `ca`")
    if isinstance(thing, Authority) and thing.table.crl_file and not thing.table.cert_file:
        message = f'ca "{thing.name}" has `crl_file`, but its key is made here: pgtls writes the CRL itself'
        yield found.fault("PGT139", message, "crl_file", hint="delete it")


def _of_public(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find fields of ``[ca.system]`` that describe a CA of the spec: a public CA has its own certificate and key."""
    if fleet.public is None:
        return
    found = finder(fleet, fleet.public)
    allowed = ("sign", "passphrase") if fleet.public.acme else ("sign",)
    for field in sorted(fleet.public.table.model_fields_set.difference(allowed)):
        if found.says(field):
            message = f"`{field}` in [ca.system], which only says who signs for a public CA"
            hint = 'delete it; or give the CA another name, and name it in place of "system"'
            yield found.fault("PGT139", message, field, hint=hint)


def misspelt_files(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find files that the spec names and that have another name.

    A stranger's spec must not learn what is on the machine: it lists only directories below the
    file that names them, and opens no file. In a review, a missing file without a similar one next to it may be
    elsewhere; a build checks again.
    """
    for thing in entities(fleet):
        said = thing.table.model_fields_set
        for field in (one for one in ("cert_file", "key_file", "csr_file", "crl_file") if one in said):
            name = getattr(thing.table, field)
            if name and (meant := _meant_file(fleet, thing, name)):
                message, hint = f"there is no file {quoted(name)}", f"did you mean {quoted(meant)}?"
                yield finder(fleet, thing).fault("PGT117", message, field, hint=hint, severity="warning")


def other_ways(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find files of the repository that the spec names by a way around it, so that ``diff`` does not compare them."""
    source = fleet.source
    named: list[tuple[Path, str, str]] = [(("include", index), "", one) for index, one in enumerate(source.patterns)]
    named += (
        (place_of(fleet, Entity(entity), *field.split(".")), os.path.relpath(one.directory, source.directory), one.name)
        for (entity, field), one in references(fleet).items()
        if one.use == "public"
    )
    for place, directory, name in named:
        if leads_back(source, directory, name):
            message = (
                f"{quoted(name)} leads into the repository of the spec by a way that is another one in each checkout: "
                "diff compares no revision of it"
            )
            hint = "write the path from the file of the spec that names it"
            yield Diagnostic("PGT152", message, place, hint=hint, severity="warning")


def _meant_file(fleet: Fleet, thing: Authority | Identity | User, name: str) -> str | None:
    path = os.path.normpath(name)
    if os.path.isabs(path) or path.split(os.sep)[0] == os.pardir or not fleet.source.files:
        return None
    file = fleet.source.owner.get(thing.entity.table, fleet.source.files[0])
    directory, base = os.path.split(path)
    names = fleet.source.reader.beside(os.fspath(file.path.parent), path)
    meant = None if base in names else did_you_mean(base, (other for other in names if "." in other))
    return os.path.join(directory, meant) if meant else None


def _keyless(thing: Authority | Identity | User) -> bool:
    """Tell whether its key is never here."""
    here = getattr(thing.table, "key_file", None) or getattr(thing.table, "key", None) or thing.table.external
    return bool(thing.table.cert_file and not here)


def keys_in_tokens(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find keys in tokens with an algorithm that pgtls does not use there, and CAs that name the same key."""
    owners: dict[KeyUri, Authority] = {}
    for ca in fleet.cas.values():
        uri, found = ca.key_uri, finder(fleet, ca)
        if uri is None:
            continue
        if ca.table.key_algorithm == "ed25519":
            message = f'ca "{ca.name}" has its key in a token, where pgtls uses ECDSA and RSA keys only'
            yield found.fault("PGT630", message, "key_algorithm", hint='e.g. key_algorithm = "ecdsa-p256"')
        if (other := owners.setdefault(uri, ca)) is not ca:
            message = f'ca "{ca.name}" and ca "{other.name}" name the same key'
            hint = "name another object: each CA needs a key of its own"
            yield found.fault("PGT631", message, "key", "pkcs11", hint=hint)


def passphrase_commands(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find servers with an encrypted key and no command to open it."""
    for server in fleet.identities():
        if server.table.passphrase and not server.table.passphrase_command:
            message = f'the key of server "{server.name}" is encrypted, but the server has no command to open it'
            hint = "set passphrase_command to a program on the server that prints the passphrase"
            yield finder(fleet, server).fault("PGT138", message, "passphrase", hint=hint)


def who_signs(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find certificates whose CA has no key here."""
    for thing in entities(fleet):
        issuer: Authority | None = getattr(thing, "issuer", None) or getattr(thing, "ca", None)
        signed = thing.table.cert_file or thing.table.external
        if issuer and _keyless(issuer) and not issuer.table.sign and not signed:
            field = "issuer" if hasattr(thing, "issuer") else "ca"
            message = f'ca "{issuer.name}" cannot sign: its key is not here'
            hint = "set external = true to get a CSR, and name the signed certificate in cert_file"
            yield finder(fleet, thing).fault("PGT142", message, field, hint=hint)
        elif issuer and issuer.acme and not isinstance(thing, Identity):
            field = "issuer" if hasattr(thing, "issuer") else "ca"
            kind = thing.entity.kind
            message = (
                f'{kind} "{thing.name}" cannot have a certificate from ca "{issuer.name}": ACME certifies hosts only'
            )
            yield finder(fleet, thing).fault("PGT149", message, field, hint=_OWN_ROOT)
        elif issuer and issuer.table.sign and getattr(thing.table, "key", None) and not signed:
            message = f'the program of ca "{issuer.name}" signs no CA whose key is in a token'
            hint = "set external = true to get a CSR, and name the signed certificate in cert_file"
            yield finder(fleet, thing).fault("PGT142", message, "issuer", hint=hint)
    for server in fleet.identities():
        outside = server.table.cert_file or server.table.external
        if server.system and not (outside or fleet.public):
            hint = "name an ACME server in sign of [ca.system]; or set external = true to get a CSR, and name the "
            hint += "signed certificate in cert_file"
            message = f'a public CA must sign the certificate of {server.entity.kind} "{server.name}"'
            yield finder(fleet, server).fault("PGT142", message, "ca", hint=hint)
        elif server.self_signed and (outside or server.table.csr_file):
            field = next(f for f in ("cert_file", "external", "csr_file") if getattr(server.table, f))
            message = (
                f'`ca = "self-signed"` and `{field}` contradict each other: '
                "a self-signed certificate needs a key that pgtls makes"
            )
            yield finder(fleet, server).fault("PGT139", message, field, hint="delete one of them")


_OWN_ROOT = (
    "give users a CA of their own, e.g. [ca.clients]: public CAs no longer certify clients, and with a CA that "
    "certifies other hosts, those could log in"
)


def public_cas(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find clients that cannot verify a server of a public CA: ``sslrootcert=system`` needs libpq 16, verify-full."""
    system = [server for server in fleet.servers.values() if any(one.system for one in server.identities)]
    for server in system:
        users: dict[str, User] = {}
        for policy in fleet.policies_of(server):
            if policy.local or policy.sslmode is None:
                continue
            users |= {user.name: user for user in policy.users}
            if policy.sslmode != "verify-full":
                message = (
                    f'policy "{policy.name}" applies to {server.entity.kind} "{server.name}" of a public CA, '
                    "whose clients must use verify-full"
                )
                yield finder(fleet, policy).fault("PGT143", message, "sslmode", hint='sslmode = "verify-full"')
        for user in users.values():
            if user.table.libpq < SYSTEM_ROOTS_SINCE:
                message = (
                    f'user "{user.name}" may have libpq {user.table.libpq}, '
                    f'which cannot verify {server.entity.kind} "{server.name}" with the CAs of the system'
                )
                hint = f"set libpq = {SYSTEM_ROOTS_SINCE} when every client has it"
                yield finder(fleet, user).fault("PGT143", message, "libpq", hint=hint)


def foreign_lists(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find trusted CAs whose CRL a server needs and pgtls cannot write."""
    for server in fleet.servers.values():
        if not server.table.crl:
            continue
        named = {ca.name for ca in server.accepted_cas}
        chains = {ca.name: ca for trusted in server.accepted_cas for ca in trusted.chain}
        chains |= {ca.name: ca for ca in fleet.cas.values() if any(link.name in named for link in ca.chain)}
        lacking = [ca for ca in chains.values() if ca.table.crl and not ca.table.crl_file]
        missing = [ca for ca in lacking if ca.trusted_only or ca.links[1:]]
        if missing:
            names = [
                f'ca "{ca.name}"' if ca.trusted_only else f'"{ca.links[-1].subject}" (above ca "{ca.name}")'
                for ca in missing
            ]
            message = (
                f'server "{server.name}" needs the CRLs of all CAs that it trusts, '
                f"but that of {' and '.join(names)} is not here: "
                "nobody could log in by certificate"
            )
            hint = f"set crl_file in [ca.{missing[0].name}], or crl = false in [server.{server.name}]"
            yield finder(fleet, server).fault("PGT144", message, "client_ca", hint=hint)


def unproven_hosts(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find hosts that the challenge of their ACME CA cannot prove: wildcards by http-01, addresses by dns-01."""
    for server in fleet.identities():
        ca = fleet.public if server.system else server.ca
        challenge = ca.table.sign.challenge if ca and ca.table.sign else None
        if challenge is None or server.table.cert_file or server.table.external:
            continue
        for index, host in enumerate(server.table.hosts):
            wildcard = host.startswith("*.")
            if (wildcard and challenge.kind == "http-01") or (is_address(host) and challenge.kind == "dns-01"):
                message = f'"{host}" cannot be proven to the ACME server by {challenge.kind}'
                hint = "answer dns-01 for wildcards" if wildcard else "answer http-01 for addresses, or delete it"
                yield finder(fleet, server).fault("PGT148", message, "hosts", index, hint=hint)


PRESENT = (
    misspelt_files,
    other_ways,
    contradictions,
    keys_in_tokens,
    passphrase_commands,
    who_signs,
    unproven_hosts,
    public_cas,
    foreign_lists,
)
