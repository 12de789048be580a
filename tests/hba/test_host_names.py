"""Host names, ``samehost`` and ``samenet`` on servers in a network of their own, where addresses have names."""

from __future__ import annotations

import ctypes
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from hba.test_differential import named_line, sections
from hba.wire import Wire
from pgtls.hba.match import decide
from pgtls.hba.model import Connection, Surroundings
from pgtls.hba.parse import parse_hba
from support.addresses import Network, networks_available
from support.servers import Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import Installation

_CLONE_NEWNET = 0x40000000
_NAMES = {
    "10.9.0.7": "app.example.org",
    "10.9.0.8": "WEB.Example.org",
    "10.9.1.9": "example.org",
    "fd00:9::7": "six.example.org",
    "10.8.0.1": "app.example.org.evil.test",
}
_ADDRESSES = (*_NAMES, "10.7.0.1")
_HBA = """\
host sameuser all app.example.org        password
host shop     all APP.example.ORG        password
host shop     all .example.org           password
host shop     all .test                  password
host shop     all "all"                  password
host near     all samehost               password
host net      all samenet                password
host net2     all 10.9.0.0/23            password
host masked   all 10.0.0.7 255.0.0.255   password
host all      all six.example.org        password
"""


def _inside(network: Network) -> Callable[[socket.AddressFamily], socket.socket]:
    """Make sockets that belong to the network: a thread may enter it, and a socket stays where it was made."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter() -> None:
        with open(f"/run/netns/{network.name}") as namespace:
            if libc.setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    pool = ThreadPoolExecutor(max_workers=1, initializer=enter)
    return lambda family: pool.submit(socket.socket, family).result()


def test_host_names_and_own_networks_are_matched_as_the_server_matches_them(installation: Installation) -> None:
    if not networks_available():
        pytest.skip("unavailable: network namespaces need root")
    surroundings = Surroundings(
        interfaces=("127.0.0.1/8", "::1/128", *(f"{a}/{128 if ':' in a else 32}" for a in _ADDRESSES))
    )
    with Network(_ADDRESSES, _NAMES) as network, Server(installation, network=network) as server:
        wire = Wire(server, {}, _inside(network))
        path = str(server.write("pg_hba.conf", _HBA))
        lines = parse_hba(_HBA, server.version, path).lines
        server.reload()
        connections = [
            Connection(
                role, database, "plain", ip_address(address), frozenset({_NAMES[address]} if address in _NAMES else ())
            )
            for address in (*_ADDRESSES, "127.0.0.1", "127.0.0.3")
            for role, database in (
                ("app", "app"),
                ("app", "shop"),
                ("app", "near"),
                ("app", "net"),
                ("app", "net2"),
                ("app", "masked"),
            )
        ]
        mark = server.mark()
        answers = [wire.ask(connection) for connection in connections]
        logged = sections(server.log(mark))
        for connection, answer, section in zip(connections, answers, logged, strict=True):
            line = decide(lines, connection, surroundings)
            assert named_line(section) == (("pg_hba.conf", line.number) if line else None), (
                f"{connection}\n{answer}\n{section}"
            )
        assert {line.number for line in lines if any(decide(lines, c, surroundings) is line for c in connections)} == {
            1,
            2,
            3,
            4,
            6,
            7,
            8,
            9,
            10,
        }
