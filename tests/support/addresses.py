"""Connections that come from other addresses than 127.0.0.1.

:class:`Network` is a network namespace whose loopback has any addresses a test wants (root only). A connection to an
address of the machine itself comes from that same address: a client inside that connects to 10.9.0.7 has that
address. :class:`Relay` needs no privileges, and lends only addresses of the machine: on Linux, all of 127.0.0.0/8.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from support.system import locked, scratch

if TYPE_CHECKING:
    from types import TracebackType

_numbers = itertools.count()


@cache
def networks_available() -> bool:
    """Return whether this process may make network namespaces (in a container, root often may not)."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        with Network(("10.0.0.1", "fd00::1")):
            return True
    except subprocess.CalledProcessError:
        return False


class Network:
    """A network of its own, in which the machine has ``addresses`` besides those of loopback.

    ``names`` are the names of addresses, for servers that look them up (``/etc/hosts`` as it is seen from inside).
    """

    def __init__(self, addresses: tuple[str, ...] = (), names: dict[str, str] | None = None) -> None:
        self.name = f"{scratch().name}-{os.getpid()}-{next(_numbers)}"
        self.addresses = addresses
        self.names = names or {}

    def __enter__(self) -> Self:
        with locked(scratch() / "networks"):  # the first two at once would each mount /run/netns
            _ip("netns", "add", self.name)
        try:
            self._configure()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _configure(self) -> None:
        _ip("-n", self.name, "link", "set", "lo", "up")
        for address in self.addresses:
            family = ("-6", "128", "nodad") if ":" in address else ("-4", "32")
            _ip("-n", self.name, family[0], "addr", "add", f"{address}/{family[1]}", "dev", "lo", *family[2:])
        if self.names:
            self._etc.mkdir(parents=True)
            lines = [
                "127.0.0.1 localhost",
                "::1 localhost",
                *(f"{address} {name}" for address, name in self.names.items()),
            ]
            (self._etc / "hosts").write_text("\n".join(lines) + "\n")

    @property
    def _etc(self) -> Path:
        """What ``ip netns exec`` puts over /etc."""
        return Path("/etc/netns") / self.name

    def close(self) -> None:
        """Take the network down; processes that are still in it keep it until they end."""
        _ip("netns", "del", self.name)
        shutil.rmtree(self._etc, ignore_errors=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, stdin=subprocess.DEVNULL)


class Relay:
    """Listens on a port of 127.0.0.1 and passes each connection on to ``target``, from the address ``source``."""

    def __init__(self, target: tuple[str, int], source: str) -> None:
        self.target = target
        self.source = source
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # close() alone does not wake an accept()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target, source_address=(self.source, 0))
            except OSError:
                near.close()
                continue
            threading.Thread(target=_pump, args=(near, far), daemon=True).start()


def _pump(near: socket.socket, far: socket.socket) -> None:
    """Pass bytes both ways until both sides have ended."""
    with near, far:
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        _copy(near, far)
        back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until the source ends, then tell the sink so."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
