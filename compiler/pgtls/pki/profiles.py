"""Build the content of certificates: three profiles and the fields that they share (RFC 5280, sections 4.1 and 4.2).

The builders here are complete except for the issuer's signature. Leaf certificates have no basicConstraints: RFC 5280
(4.2.1.9) leaves the choice, and without it no verifier accepts a version 3 certificate as a CA. A leaf has one purpose
in its extendedKeyUsage, so a client's certificate can never serve and a server's can never log in. A server's keyUsage
has keyEncipherment only for RSA, for clients that still use TLS 1.2 without forward secrecy; a client only signs (RFC
5246, 7.4.8). ``nonRepudiation`` is for documents.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from pgtls.pki.keys import PublicKey
    from pgtls.pki.model import Constraints, Profile

BACKDATED = timedelta(minutes=5)
"""How far notBefore and thisUpdate lie in the past, for peers with slow clocks."""

ATTRIBUTES: Mapping[str, ObjectIdentifier] = {
    "country": NameOID.COUNTRY_NAME,
    "state": NameOID.STATE_OR_PROVINCE_NAME,
    "locality": NameOID.LOCALITY_NAME,
    "organization": NameOID.ORGANIZATION_NAME,
    "organizational_unit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "common_name": NameOID.COMMON_NAME,
    "email": NameOID.EMAIL_ADDRESS,
}
"""The attributes of a subject, as the spec names them."""


def _key_usage(*bits: str) -> x509.KeyUsage:
    """Make a keyUsage of these bits and no others (RFC 5280, 4.2.1.3)."""
    return x509.KeyUsage(**{bit: bit in bits for bit in _KEY_USAGE_BITS})


_KEY_USAGE_BITS = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_CA_USAGE = _key_usage("key_cert_sign", "crl_sign")
_LEAF_USAGE = _key_usage("digital_signature")
_RSA_SERVER_USAGE = _key_usage("digital_signature", "key_encipherment")
_SERVER_PURPOSE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
_CLIENT_PURPOSE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


def ca(shared: x509.CertificateBuilder, profile: Profile) -> x509.CertificateBuilder:
    """Complete a certificate authority: it only signs certificates and CRLs."""
    builder = shared.add_extension(
        x509.BasicConstraints(ca=True, path_length=profile.path_length), critical=True
    ).add_extension(_CA_USAGE, critical=True)
    if profile.constraints is not None:
        builder = builder.add_extension(name_constraints(profile.constraints), critical=True)  # 4.2.1.10: MUST
    return _named(builder, profile)


def server(shared: x509.CertificateBuilder, profile: Profile) -> x509.CertificateBuilder:
    """Complete a server: the names and addresses that clients dial are in the subjectAltName."""
    usage = _RSA_SERVER_USAGE if profile.key_algorithm.startswith("rsa-") else _LEAF_USAGE
    builder = shared.add_extension(usage, critical=True).add_extension(_SERVER_PURPOSE, critical=False)
    return _named(builder, profile)


def user(shared: x509.CertificateBuilder, profile: Profile) -> x509.CertificateBuilder:
    """Complete a user: PostgreSQL reads only the subject.

    It has host names only if name constraints above would reject the common name.
    """
    builder = shared.add_extension(_LEAF_USAGE, critical=True).add_extension(_CLIENT_PURPOSE, critical=False)
    return _named(builder, profile)


PROFILES = {"ca": ca, "server": server, "user": user}


def shared(
    profile: Profile,
    public_key: PublicKey,
    key_id: x509.SubjectKeyIdentifier,
    issuer: x509.Name | None,
    authority_key_id: x509.AuthorityKeyIdentifier | None,
    serial: int,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    """Build the fields of all profiles. Without an issuer it is self-signed: no authorityKeyIdentifier (4.2.1.1)."""
    subject = name(profile.subject)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(key_id, critical=False)
    )
    return builder.add_extension(authority_key_id, critical=False) if authority_key_id else builder


def name(attributes: Iterable[tuple[str, str]]) -> x509.Name:
    """Encode a subject, one attribute per RDN, in UTF-8 except country and e-mail (RFC 5280, appendix A)."""
    return x509.Name([x509.NameAttribute(ATTRIBUTES[attribute], value) for attribute, value in attributes])


def lifetime(
    profile: Profile, now: datetime, issuer_limit: datetime | None, last_begin: datetime | None = None
) -> tuple[datetime, datetime]:
    """Return notBefore and notAfter in whole seconds, no later than the chain's ``issuer_limit`` and ``until``.

    notBefore is later than ``last_begin``, if that was not in the future: the lock tells by it which certificate of an
    entity is the latest, and two builds may run in one second, or on machines whose clocks differ.
    """
    start = now.replace(microsecond=0)
    ends = [start + profile.validity, *(limit for limit in (issuer_limit, profile.until) if limit is not None)]
    begin = start - BACKDATED
    if last_begin is not None:
        begin = max(begin, min(last_begin + timedelta(seconds=1), start))
    return begin, min(ends).replace(microsecond=0)


def _named(builder: x509.CertificateBuilder, profile: Profile) -> x509.CertificateBuilder:
    """Add the alternative names, if there are any."""
    names = alternative_names(profile)
    # 4.2.1.6: with an empty subject, MUST
    return builder.add_extension(names, critical=not profile.subject) if list(names) else builder


def alternative_names(profile: Profile) -> x509.SubjectAlternativeName:
    """Make a subjectAltName (4.2.1.6): host names as dNSName, addresses as iPAddress, in the order of the spec.

    It repeats an e-mail address of the subject (4.1.2.6: new certificates MUST have it here; in the subject it is
    legacy).
    """
    hosts = [x509.DNSName(host) for host in profile.dns_names]
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in profile.ip_addresses]
    mail = [x509.RFC822Name(value) for attribute, value in profile.subject if attribute == "email"]
    return x509.SubjectAlternativeName([*hosts, *addresses, *mail])


def name_constraints(constraints: Constraints) -> x509.NameConstraints:
    """Make nameConstraints (4.2.1.10). Do not encode an empty list of subtrees."""
    permitted = _subtrees(constraints.permitted_dns, constraints.permitted_ip)
    excluded = _subtrees(constraints.excluded_dns, constraints.excluded_ip)
    return x509.NameConstraints(permitted or None, excluded or None)


def _subtrees(domains: Iterable[str], networks: Iterable[str]) -> list[x509.GeneralName]:
    return [*map(x509.DNSName, domains), *(x509.IPAddress(ipaddress.ip_network(network)) for network in networks)]
