"""The strings that a server hands to its OpenSSL.

Each real server loads what pgtls accepts for it, and refuses what pgtls refuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgtls.output.postgresql_conf import assignment
from pgtls.postgres import ciphers, groups
from pgtls.postgres.openssl import version
from postgres.test_openssl import GROUPS, LISTS, TLS13, takes
from support.servers import Server, ServerError

if TYPE_CHECKING:
    from support.building import Place


def loads(server: Server, name: str, value: str) -> bool:
    """Tell whether a server with TLS takes a value at a reload, as it would at its start."""
    server.write("probe.conf", assignment("ssl", "on") + "\n" + assignment(name, value) + "\n")
    try:
        server.reload()
    except ServerError:
        return False
    return True


@pytest.fixture
def secured(server: Server, place: Place) -> Server:
    """A server with a key, which reads ``probe.conf`` last."""
    place.build(
        'version = 1\n[server.db]\nca = "self-signed"\nhosts = ["db.example.com"]\nno_local = true\n', new_out=True
    )
    for name in ("server.crt", "server.key"):
        server.write(name, place.file(f"servers/db/{name}").read_bytes())
    server.write("probe.conf", "")
    server.include("probe.conf")
    assert loads(server, "ssl_ciphers", "HIGH:!aNULL")
    return server


def test_groups_are_judged_as_the_server_judges_them(secured: Server) -> None:
    if secured.version >= 18:
        openssl = version(secured.installation.openssl)
        judged = {text: takes(groups.groups, text, openssl) for text in GROUPS}
        assert {text: loads(secured, "ssl_groups", text) for text in GROUPS} == judged
        return
    for text in GROUPS:
        if takes(groups.curve, text):
            assert loads(secured, "ssl_ecdh_curve", text), text
    refused = [text for text in GROUPS if not takes(groups.curve, text) and text not in KNOWN_TO_EC_ONLY]
    assert [text for text in refused if loads(secured, "ssl_ecdh_curve", text)] == []


KNOWN_TO_EC_ONLY = ("SM2", "c2pnb163v1")
"""Curves that an old server loads and no client can use: they are no groups of TLS."""


def test_suites_of_tls13_are_judged_as_the_server_judges_them(secured: Server) -> None:
    if secured.version >= 18:
        openssl = version(secured.installation.openssl)
        judged = {text: takes(ciphers.tls13_suites, text, openssl) for text in TLS13}
        assert {text: loads(secured, "ssl_tls13_ciphers", text) for text in TLS13} == judged


def test_cipher_lists_that_are_accepted_are_loaded(secured: Server) -> None:
    """A list without a suite is refused here although OpenSSL 1.1.1 takes it: nobody can connect by TLS 1.2."""
    openssl = version(secured.installation.openssl)
    for text in LISTS:
        if takes(ciphers.cipher_list, text, openssl):
            assert loads(secured, "ssl_ciphers", text), text
        elif openssl > (1, 1):
            assert not loads(secured, "ssl_ciphers", text), text
