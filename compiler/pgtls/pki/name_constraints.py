"""Which names and addresses a name constraint covers (RFC 5280, 4.2.1.10, as OpenSSL reads it)."""

from __future__ import annotations

from ipaddress import ip_network


def in_domain(name: str, domain: str) -> bool:
    """Return whether a domain covers a host name, or covers everything that another domain covers.

    ``example.com`` covers itself and all names below it; ``.example.com`` covers only the names below it (``nc_dns``,
    crypto/x509/v3_ncons.c).
    """
    name, domain = name.lower(), domain.lower()
    return name == domain or name.endswith(domain if domain[0] == "." else f".{domain}")


def in_network(address: str, block: str) -> bool:
    """Return whether a network covers an address, or another network. What is no network covers nothing."""
    try:
        one, other = ip_network(address, strict=False), ip_network(block, strict=False)
    except ValueError:
        return False
    return one.version == other.version and one.subnet_of(other)  # type: ignore[arg-type]
