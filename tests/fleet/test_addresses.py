"""What stands in ``from``, in its one canonical form."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgtls.fleet.addresses import Fault, host_name_fault, parse_address
from pgtls.hba.model import Address, HostName, Keyword


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.0/8", ip_network("10.0.0.0/8")),
        ("10.0.0.5", ip_network("10.0.0.5/32")),
        ("10.0.0.5/32", ip_network("10.0.0.5/32")),
        ("0.0.0.0/0", ip_network("0.0.0.0/0")),
        ("::1", ip_network("::1/128")),
        ("2001:DB8::/32", ip_network("2001:db8::/32")),
        ("2001:db8:0:0::1", ip_network("2001:db8::1/128")),
        ("::/0", ip_network("::/0")),
        ("all", Keyword.ALL),
        ("samehost", Keyword.SAMEHOST),
        ("samenet", Keyword.SAMENET),
        ("DB.Example.com", HostName("db.example.com")),
        (".example.com", HostName(".example.com")),
        ("db_1", HostName("db_1")),
        ("1-a.example.com", HostName("1-a.example.com")),
    ],
)
def test_an_address_has_one_form(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("10.0.0.5/24", "PGT202", 'write "10.0.0.0/24" for the network, or "10.0.0.5" for the host'),
        ("2001:db8::1/64", "PGT202", 'write "2001:db8::/64" for the network, or "2001:db8::1" for the host'),
        ("10.1", "PGT201", 'e.g. "10.0.0.0/8", "10.0.0.5", "db.example.com"'),
        ("10.0.0.256", "PGT201", 'e.g. "10.0.0.0/8", "10.0.0.5", "db.example.com"'),
        ("010.0.0.1", "PGT201", 'e.g. "10.0.0.0/8", "10.0.0.5", "db.example.com"'),
        ("10.0.0.0/33", "PGT201", 'e.g. "10.0.0.0/8", "10.0.0.5", "db.example.com"'),
        ("10.0.0.0/+8", "PGT201", 'e.g. "10.0.0.0/8"'),
        ("10.0.0.0/255.0.0.0", "PGT201", 'write "10.0.0.0/8"'),
        ("10.0.0.0/", "PGT201", 'e.g. "10.0.0.0/8"'),
        ("example.com/24", "PGT201", 'e.g. "10.0.0.0/8", "10.0.0.5", "db.example.com"'),
        ("[::1]", "PGT201", 'write "::1"'),
        ("fe80::1%eth0", "PGT201", 'write "fe80::1"'),
        ("fe80::%eth0/64", "PGT201", 'write "fe80::/64"'),
        ("::ffff:10.0.0.5", "PGT201", 'write "10.0.0.5"'),
        ("::ffff:10.0.0.0/104", "PGT201", 'write "10.0.0.0/8"'),
        ("münchen.example.com", "PGT201", 'write "xn--mnchen-3ya.example.com"'),
        ("db.example.com.", "PGT201", 'write "db.example.com"'),
        ("a b", "PGT201", "a host name has letters, digits and hyphens, separated by dots"),
        (".", "PGT201", 'e.g. "10.0.0.0/8", "10.0.0.5", "db.example.com"'),
        ("*.example.com", "PGT201", "a host name has letters, digits and hyphens, separated by dots"),
    ],
)
def test_what_is_no_address_says_what_to_write(text: str, code: str, hint: str) -> None:
    fault = parse_address(text)
    assert isinstance(fault, Fault)
    assert (fault.code, fault.hint) == (code, hint)
    assert f'"{text}"' in fault.message or text.strip(".") in fault.message


@given(st.one_of(st.builds(IPv4Network, st.ip_addresses(v=4)), st.builds(IPv6Network, st.ip_addresses(v=6))))
def test_every_canonical_network_is_read_as_itself(network: IPv4Network | IPv6Network) -> None:
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
        assert isinstance(parse_address(str(network)), Fault)
    else:
        assert parse_address(str(network)) == network
        assert parse_address(str(network.network_address)) == network


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_network_is_read_exactly_if_it_has_no_host_bits(address: IPv4Address | IPv6Address, length: int) -> None:
    found = parse_address(f"{address}/{length}")
    network = ip_network(f"{address}/{length}", strict=False)
    assert found == network if network.network_address == address else isinstance(found, Fault)


@given(st.text(min_size=1, max_size=80))
def test_any_text_is_an_address_or_a_fault(text: str) -> None:
    found = parse_address(text)
    if isinstance(found, HostName):
        assert host_name_fault(found.name.removeprefix("."), "PGT201") is None
        assert found.name == found.name.lower()


def test_a_host_name_is_as_long_as_it_may_be_and_no_longer() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert host_name_fault(longest, "PGT107") is None
    assert host_name_fault(longest + "a", "PGT107") is not None
    assert host_name_fault("a" * 63, "PGT107") is None
    assert host_name_fault("a" * 64, "PGT107") is not None
