"""Which services decide the logins of a method: read from its options, and where a real server goes to ask them."""

from __future__ import annotations

import hashlib
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pgtls.hba.ways import ways, ways_of_secrets
from support.clients import PSQL, at, refused
from support.servers import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Server

WAYS = {
    "ldapserver=one ldapprefix=cn=": ["one:389 in cleartext"],
    "ldapserver=one ldaptls=1 ldapprefix=cn=": ["one:389 over TLS"],
    "ldapserver=one ldaptls=0 ldapport=390 ldapprefix=cn=": ["one:390 in cleartext"],
    "ldapserver=one ldapscheme=ldaps ldapprefix=cn=": ["one:636 over TLS"],
    "ldapurl=ldap://one/dc=x": ["one:389 in cleartext"],
    "ldapurl=LDAPS://[::1]:637/dc=x": ["[::1]:637 over TLS"],
    "ldapurl=ldap://one:390/dc=x ldaptls=1": ["one:390 over TLS"],
    "ldapurl=ldap:///dc=x ldapserver=one": ["one:389 in cleartext"],
    "ldapbasedn=dc=x,dc=example": ["the directory that the DNS names for dc=x,dc=example in cleartext"],
    "ldapurl=(from-env-A)": ["(from-env-A)"],
    "radiusservers=one,two radiussecrets=s": ["one:1812", "two:1812"],
    'radiusservers=one,"two" radiussecrets=s radiusports=1813': ["one:1813", "two:1813"],
    "radiusservers=one,two radiussecrets=s radiusports=1813,1814": ["one:1813", "two:1814"],
    "issuer=https://one scope=x validator=v validator.url=y": ["issuer https://one", "validator v, validator.url y"],
    "issuer=https://one scope=x": ["issuer https://one", "the only validator"],
    "pamservice=cron": ["PAM service cron"],
    "pam_use_hostname=1": ["PAM service postgresql"],
    "bsd=": ["BSD authentication"],
    "krb_realm=X": [],
}
METHOD = {"ldap": "ldap", "radi": "radius", "issu": "oauth", "pams": "pam", "pam_": "pam", "bsd=": "bsd", "krb_": "gss"}


@pytest.mark.parametrize(("options", "expected"), WAYS.items(), ids=WAYS)
def test_the_options_of_a_method_name_the_services_that_decide(options: str, expected: list[str]) -> None:
    found = ways(METHOD[options[:4]], dict(one.split("=", 1) for one in options.split()))
    assert sorted(map(str, found)) == expected


def test_the_order_of_radius_servers_decides_nothing_but_which_secret_each_gets() -> None:
    one, other = ({"radiusservers": servers, "radiussecrets": "s"} for servers in ("one,two", "two,one"))
    assert ways("radius", one) == ways("radius", other)
    assert not ways_of_secrets("radius", one) & ways_of_secrets("radius", other)
    assert sorted(map(str, ways_of_secrets("radius", other))) == ["one:1812 (secret 2)", "two:1812"]


def test_one_way_protects_like_another_if_it_leads_to_the_same_place_and_is_no_weaker() -> None:
    clear, over_tls, elsewhere = (
        next(iter(ways("ldap", {"ldapserver": host, **more})))
        for host, more in (("one", {}), ("one", {"ldaptls": "1"}), ("two", {"ldaptls": "1"}))
    )
    assert over_tls.protects_like(clear)
    assert over_tls.protects_like(over_tls)
    assert not clear.protects_like(over_tls)
    assert not elsewhere.protects_like(over_tls)


BIND = 'ldapbinddn="cn=pg" ldapbindpasswd=The-Password'
ASKED = {
    "LDAP options": ("ldap", 'ldapserver=127.0.0.1 ldapport={} ldapbasedn="dc=x" ' + BIND),
    "an LDAP URL": ("ldap", 'ldapurl="ldap://127.0.0.1:{}/dc=x" ' + BIND),
    "several RADIUS servers": ("radius", 'radiusservers="127.0.0.1,127.0.0.1" radiussecrets=s radiusports={}'),
}


@contextmanager
def listening(kind: socket.SocketKind) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the port of a service that hangs up, and what its clients send first."""
    said: list[bytes] = []
    with socket.socket(socket.AF_INET, kind) as service:
        service.settimeout(PATIENCE)
        service.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            service.listen()

        def serve() -> None:
            if kind == socket.SOCK_DGRAM:
                said.append(service.recv(4096))
            else:
                with service.accept()[0] as client:
                    said.append(client.recv(4096))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield service.getsockname()[1], said
        thread.join()


def knows(server: Server, method: str) -> bool:
    """Write a line with a method, and return whether this version, and this build of it, has that method."""
    server.write("pg_hba.conf", f"local all all trust\nhost all all 127.0.0.1/32 {method}\n")
    errors = [str(error) for _, error, _ in server.hba_errors()]
    return not any(text in error for error in errors for text in ("this build", "invalid auth"))


def log_in(server: Server, method: str, password: str) -> None:
    """Try to log in by a method, whose service does not answer."""
    assert knows(server, method)
    server.reload()
    parameters = at(server) | {"user": "eve", "dbname": "postgres", "password": password, "sslmode": "disable"}
    refused(PSQL.connect(parameters), "authentication failed")


@pytest.mark.parametrize("name", ASKED)
def test_a_server_asks_the_service_of_its_options_before_it_knows_the_client(server: Server, name: str) -> None:
    """Who only tries to log in makes the server send what it binds with."""
    method, options = ASKED[name]
    kind = socket.SOCK_DGRAM if method == "radius" else socket.SOCK_STREAM
    server.populate(["eve"])
    if not knows(server, f"{method} {options.format(1)}"):
        return
    with listening(kind) as (port, said):
        text = options.format(port)
        log_in(server, f"{method} {text}", "wrong")
    read = dict(one.split("=", 1) for one in text.replace('"', "").split())
    assert {way.place for way in ways(method, read)} == {f"127.0.0.1:{port}"}
    assert method == "radius" or b"The-Password" in said[0]


def password(packet: bytes, secret: bytes) -> bytes:
    """Return the password of a RADIUS request, as a server with that secret reads it (RFC 2865, 5.2)."""
    attributes = packet[20:]
    while attributes[0] != 2:
        attributes = attributes[attributes[1] :]
    mask = hashlib.md5(secret + packet[4:20]).digest()  # noqa: S324
    return bytes(a ^ b for a, b in zip(attributes[2:18], mask, strict=True)).rstrip(b"\0")


def test_each_of_several_radius_servers_gets_the_secret_at_its_place(server: Server) -> None:
    server.populate(["eve"])
    line = 'radius radiusservers="127.0.0.1,127.0.0.1" radiusports="{},{}" radiussecrets="one,two"'
    if not knows(server, line.format(1, 2)):
        return
    with listening(socket.SOCK_DGRAM) as (first, asked), listening(socket.SOCK_DGRAM) as (second, asked_then):
        log_in(server, line.format(first, second), "Hello")
    read = [[password(packet, secret) for secret in (b"one", b"two")] for packet in (asked[0], asked_then[0])]
    assert [[one == b"Hello" for one in each] for each in read] == [[True, False], [False, True]]
