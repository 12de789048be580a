"""ACME servers: Let's Encrypt's pebble with its DNS server, a web server for challenges, and a road that can be cut."""

from __future__ import annotations

import http.server
import json
import select
import socket
import socketserver
import ssl
import subprocess
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from support.authority import key_pem, named
from support.golang import MOVED_CLOCK, go_program
from support.servers import PATIENCE, free_port
from support.system import ENVIRONMENT, until_we_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

HERE = "127.0.0.1"
SIX_DAYS = 6 * 24 * 3600
DAY = timedelta(days=1)


# ---- what is around an ACME server -----------------------------------------------------------------------------------


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the files of a directory below /.well-known/acme-challenge/, and nothing else."""

    def translate_path(self, path: str) -> str:
        below = "/.well-known/acme-challenge/"
        return super().translate_path(path.removeprefix(below) if path.startswith(below) else "/nothing")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def web_server(directory: Path) -> Iterator[int]:
    """Serve the challenges in a directory; give the port."""
    with _serving(http.server.ThreadingHTTPServer((HERE, 0), partial(_Quiet, directory=str(directory)))) as port:
        yield port


@contextmanager
def _serving(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Road:
    """A TCP road to an ACME server. While it is cut, connections are refused, as if the CA were away."""

    def __init__(self, to: int) -> None:
        self._to, self._open = to, ExitStack()
        self.port = 0
        self.mend()

    @property
    def url(self) -> str:
        return f"https://{HERE}:{self.port}/dir"

    def mend(self) -> None:
        to = self._to

        class Carrier(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError), socket.create_connection((HERE, to)) as there:
                    _carry(self.request, there)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self.port = self._open.enter_context(_serving(Server((HERE, self.port), Carrier)))

    def cut(self) -> None:
        self._open.close()


def _carry(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one end closes."""
    ways = {one: other, other: one}
    for end in ways:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # otherwise each answer takes 40 ms
    while True:
        for source in select.select(list(ways), (), ())[0]:
            if not (data := source.recv(65536)):
                return
            ways[source].sendall(data)


@contextmanager
def started(log: Path, words: tuple[str, ...], ready: str, surroundings: Mapping[str, str]) -> Iterator[None]:
    with log.open("w") as said:
        process = subprocess.Popen(
            (*until_we_end(), *words), env=ENVIRONMENT | dict(surroundings), cwd=log.parent, stdin=subprocess.DEVNULL,
            stdout=said, stderr=said,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while ready not in (text := log.read_text()):
            if process.poll() is not None or "address already in use" in text:
                raise _Taken(text)
            assert time.monotonic() < deadline, text
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()


class _Taken(Exception):  # noqa: N818
    """A program that did not start: its port was taken meanwhile, or something is wrong with it."""


def _on_free_ports(stack: ExitStack, start: Callable[[], Any]) -> Any:
    """Start a program on ports that are free; draw again if somebody was faster."""
    for _ in range(3):
        with suppress(_Taken):
            return stack.enter_context(start())
    return stack.enter_context(start())


# ---- DNS -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dns:
    """pebble-challtestsrv: every host is this machine, and TXT records are what its management says."""

    port: int
    management: int

    def reply(self, path: str, **body: str) -> Any:
        request = urllib.request.Request(
            f"http://{HERE}:{self.management}/{path}", json.dumps(body).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            return answer.read()


@contextmanager
def dns(directory: Path) -> Iterator[Dns]:
    """Run a DNS server."""
    program = str(go_program("pebble-challtestsrv"))

    @contextmanager
    def start() -> Iterator[Dns]:
        found = Dns(free_port(), free_port())
        words = (
            program, "-dnsserver", f"{HERE}:{found.port}", "-management", f"{HERE}:{found.management}",
            "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "",
        )  # fmt: skip
        with started(directory / "dns.log", words, "Starting management server", {}):
            _wait_for(found.management, directory / "dns.log")
            yield found

    with ExitStack() as stack:
        yield _on_free_ports(stack, start)


def _wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((HERE, port), PATIENCE).close()
        except OSError:
            if "address already in use" in log.read_text():
                raise _Taken(log.read_text()) from None
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        else:
            return


# ---- pebble ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Pebble:
    """A pebble whose clock can be moved. ``directory`` has ``root.crt``, and ``https.crt`` for its HTTPS."""

    directory: Path
    port: int
    management: int
    names: Dns
    road: Road

    @property
    def log(self) -> str:
        return (self.directory / "pebble.log").read_text()

    def move(self, by: timedelta) -> None:
        """Move its clock to so long after the present."""
        new = self.directory / "clock.new"
        new.write_text(str(int(by.total_seconds())))
        new.replace(self.directory / "clock")

    def managed(self, path: str, body: object = None) -> bytes:
        """Ask its management."""
        context = ssl.create_default_context(cafile=str(self.directory / "https.crt"))
        data = None if body is None else json.dumps(body).encode()
        url = f"https://{HERE}:{self.management}/{path}"
        with urllib.request.urlopen(url, data, timeout=PATIENCE, context=context) as answer:
            found: bytes = answer.read()
        return found

    def suggest(self, certificate: bytes, response: object) -> None:
        """Let it answer this about the renewal of a certificate: a window, or anything."""
        text = response if isinstance(response, str) else json.dumps(response)
        self.managed("set-renewal-info/", {"Certificate": certificate.decode(), "ARIResponse": text})

    def announce(self, certificate: bytes, now: datetime) -> None:
        """Announce that a certificate will be revoked: to be renewed at once (RFC 9773, 4.2)."""
        moments = (f"{one:%Y-%m-%dT%H:%M:%SZ}" for one in (now - 2 * DAY, now - DAY))
        self.suggest(certificate, {"suggestedWindow": dict(zip(("start", "end"), moments, strict=True))})


@contextmanager
def pebble(directory: Path, challenges: int, nonces: int = 0, **settings: Any) -> Iterator[Pebble]:
    """Run a pebble that looks for http-01 on the port ``challenges``; it forgets ``nonces`` of a hundred.

    ``settings`` are those of its configuration.
    """
    program = str(go_program("pebble"))
    directory.mkdir(exist_ok=True)
    _certify_https(directory)
    (directory / "clock").write_text("0")
    environment = {
        "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": str(nonces), "PEBBLE_AUTHZREUSE": "0",
        MOVED_CLOCK: str(directory / "clock"),
    }  # fmt: skip

    @contextmanager
    def start(names: Dns) -> Iterator[Pebble]:
        port, management = free_port(), free_port()
        configuration = {
            "listenAddress": f"{HERE}:{port}", "managementListenAddress": f"{HERE}:{management}",
            "certificate": "https.crt", "privateKey": "https.key", "httpPort": challenges, "tlsPort": free_port(),
            "keyAlgorithm": "ecdsa",
            "profiles": {"shortlived": {"description": "six days", "validityPeriod": SIX_DAYS}},
            **settings,
        }  # fmt: skip
        (directory / "pebble.json").write_text(json.dumps({"pebble": configuration}))
        words = (program, "-config", "pebble.json", "-dnsserver", f"{HERE}:{names.port}")
        with started(directory / "pebble.log", words, "ACME directory available", environment):
            for one in (port, management):
                _wait_for(one, directory / "pebble.log")
            found = Pebble(directory, port, management, names, Road(port))
            (directory / "root.crt").write_bytes(found.managed("roots/0"))
            try:
                yield found
            finally:
                found.road.cut()

    with ExitStack() as stack:
        names = stack.enter_context(dns(directory))
        yield _on_free_ports(stack, partial(start, names))


def _certify_https(directory: Path) -> None:
    """Make a self-signed certificate for the HTTPS of a server."""
    key, now, subject = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC), named(CN="ACME")
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, now - DAY, now + 30 * DAY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HERE))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.KeyUsage(True, False, False, False, False, True, False, False, False), critical=True)
        .sign(key, SHA256())
    )
    (directory / "https.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / "https.key").write_bytes(key_pem(key))


# ---- servers that are none -------------------------------------------------------------------------------------------

Reply = tuple[int, "Mapping[str, str]", bytes]
"""Status, headers and body."""


@contextmanager
def impostor(directory: Path, replies: Callable[[str], Mapping[str, Reply]]) -> Iterator[str]:
    """Serve these replies by path over HTTPS; give the URL of the directory. ``replies`` gets the URL of ``/``."""
    _certify_https(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "https.crt", directory / "https.key")
    answers: dict[str, Reply] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def _reply(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = answers.get(self.path, (404, {}, b"nothing"))
            self.send_response(status)
            for name, value in {"Replay-Nonce": "bm9uY2U", "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = _reply  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer((HERE, 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with _serving(server) as port:
        answers.update(replies(f"https://{HERE}:{port}"))
        yield f"https://{HERE}:{port}/dir"


@dataclass(slots=True)
class Endless:
    """A server whose answers do not end. ``left`` is set when a client closes its connection."""

    url: str = ""
    asked: list[bytes] = field(default_factory=list)
    sent: int = 0
    left: threading.Event = field(default_factory=threading.Event)


@contextmanager
def endless(directory: Path, begin: bytes, on: bytes, pause: float) -> Iterator[Endless]:
    """Answer every request over HTTPS with ``begin``, then with ``on`` again and again, a ``pause`` between."""
    directory.mkdir()
    _certify_https(directory)
    (directory / "root.crt").write_bytes((directory / "https.crt").read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "https.crt", directory / "https.key")
    found = Endless()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), context.wrap_socket(self.request, server_side=True) as client:
                found.asked.append(client.recv(65536))
                client.sendall(begin)
                while not select.select([client], (), (), pause)[0]:  # the client has nothing more to say but its end
                    client.sendall(on)
                    found.sent += len(on)
            found.left.set()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with _serving(Server((HERE, 0), Handler)) as port:
        found.url = f"https://{HERE}:{port}/dir"
        yield found
