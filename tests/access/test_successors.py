"""Hosts are compared by what clients take them for."""

from __future__ import annotations

import pytest

from pgtls.access.pretenders import proves


@pytest.mark.parametrize(
    ("own", "name", "good"),
    [
        ("::ffff:10.0.0.5", "10.0.0.5", True),
        ("0:0:0:0:0:FFFF:a00:5", "10.0.0.5", True),
        ("::10.0.0.5", "10.0.0.5", False),
        ("::ffff:10.0.0.6", "10.0.0.5", False),
        ("0:0::1", "::1", True),
    ],
)
def test_a_certificate_for_an_address_proves_it_in_any_spelling(own: str, name: str, good: bool) -> None:
    """Go takes an IPv4 address in IPv6 form for the address itself; one may come in a ``cert_file``."""
    assert proves(own, name) is good
