"""The servers and the impostors of the matrix, and the bundles for all of them, compiled from one spec."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import TYPE_CHECKING, Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.postgres.drivers import DRIVERS
from support.authority import Authority, key_pem, named
from support.clients import Bundle
from support.impostor import Guise, Impostor
from support.pgtls import compiled
from support.servers import Server, loopback
from support.system import new_directory

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from support.servers import Installation

Mode = Literal["require", "verify-ca", "verify-full"]
Proof = Literal["certificate", "password", "bound"]

MODES: tuple[Mode, ...] = ("require", "verify-ca", "verify-full")
PROOFS: tuple[Proof, ...] = ("certificate", "password", "bound")
"""How a user shows who it is; ``bound`` is a password with ``channel_binding = "require"``."""
HOSTS = {"by-name": "localhost", "by-ipv4": "127.0.0.1", "by-ipv6": "::1"}
"""The real servers, and what clients call them."""
IMPOSTORS = ("stranger", "misnamed", "namesake", "expired", "plain", "cleartext", "md5", "nothing")
NAMESAKE = "127.0.0.1"
"""The only host of a server whose impostor has the certificate of another one, which is called localhost."""
PASSWORD = "p-of-everybody"
PASSPHRASE = "a-passphrase"
KEYS = {
    "key-pk8": 'formats = ["pem", "pkcs8-der"]',
    "key-p12": 'formats = ["pem", "pkcs12"]\npassphrase = { file = "passphrase" }',
    "key-rsa": 'key_algorithm = "rsa-2048"',
    "key-ed25519": 'key_algorithm = "ed25519"',
}
"""Users whose keys are of another kind, for pgjdbc."""
GUARDED = "guarded"
"""The user with an encrypted PEM key, for the drivers that open it."""

ISSUED = ("by-ipv4", "revoked")
"""The servers whose CA is below the root: their clients need two CRLs."""
STOLEN = 0xABC123
"""The serial number of a certificate that its CA revokes."""
LISTS = "lists"
"""The user with the CRLs of the servers' CAs."""
UNPLACED = "unplaced"
"""The user whose files are where libpq looks for them."""

SERVER = """
[server.{name}]
ca = "{ca}"
client_ca = ["clients"]
hosts = ["{host}"]
port = {port}
postgres = {version}
no_local = true
"""
USER = """
[user.{name}]
{ca}{place}
libpq = {libpq}
{drivers}
[policy.{name}]
users = ["{name}"]
servers = ["all"]
databases = ["shop"]
from = ["0.0.0.0/0", "::/0"]
sslmode = "{mode}"
auth = "{auth}"
{binding}waiver = {{ reason = "the matrix has every mode", codes = ["PGT301", "PGT302", "PGT310", "PGT311"] }}
"""


def user_name(mode: Mode, proof: Proof, libpq: int | None = None) -> str:
    """Name the user of a cell; ``libpq`` is that of a bundle for nothing else."""
    return f"{mode}-{proof}" + (f"-{libpq}" if libpq else "")


@dataclass
class Surroundings:
    """Started servers and impostors."""

    installation: Installation
    libpqs: tuple[int, ...]
    ports: dict[str, int] = field(default_factory=dict)
    impostor: Impostor = field(init=False)
    out: Path = field(init=False)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        servers = {name: self._stack.enter_context(Server(self.installation)) for name in self.hosts}
        self.ports = {name: server.port for name, server in servers.items()}
        self.impostor = self._stack.enter_context(Impostor())
        self.ports |= {name: self.impostor.reserve() for name in (*IMPOSTORS, "revoked")} | {"elsewhere": 5432}
        self.out = self._build()
        for name, server in servers.items():
            server.populate(self._users(), ["shop"], PASSWORD)
            server.install(self.out / "servers" / name)
        for port, guise in self._guises().items():
            self.impostor.play(port, guise)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def hosts(self) -> list[str]:
        """The real servers that this machine can have."""
        return [name for name, host in HOSTS.items() if host != "::1" or "::1" in loopback()]

    def bundle(self, user: str) -> Bundle:
        """Return what a user gets."""
        return Bundle(self.out / "clients" / user)

    def renewed(self, user: str) -> Path:
        """Return a directory with another certificate of a user, and its key."""
        return Authority.of(self.out / "ca" / "clients").bundle(named(CN=user))

    def _users(self) -> list[str]:
        cells = product(MODES, PROOFS, (None, *self.libpqs))
        return [*KEYS, GUARDED, LISTS, UNPLACED, *(user_name(mode, proof, libpq) for mode, proof, libpq in cells)]

    def _build(self) -> Path:
        directory = new_directory("drivers")
        tables = [f'version = 1\n[ca.root]\n[ca.clients]\n[ca.issuing]\nissuer = "root"\nrevoked = ["{STOLEN:x}"]\n']
        for name, port in self.ports.items():
            host = (HOSTS | {"elsewhere": "elsewhere.example", "namesake": NAMESAKE}).get(name, "localhost")
            ca = "issuing" if name in ISSUED else "root"
            tables.append(SERVER.format(name=name, ca=ca, host=host, port=port, version=self.installation.major))
        for mode, proof, libpq in product(MODES, PROOFS, (None, *self.libpqs)):
            name = user_name(mode, proof, libpq)
            tables.append(
                USER.format(
                    name=name,
                    place=f'directory = "{directory}/out/clients/{name}"',
                    ca='ca = "clients"\n' if proof == "certificate" else "",
                    libpq=libpq or 14,
                    drivers=f"drivers = {_drivers(proof)}" if libpq is None else "",
                    mode=mode,
                    auth="cert" if proof == "certificate" else "scram-sha-256",
                    binding='channel_binding = "require"\n' if proof == "bound" else "",
                )
            )
        tables += [
            USER.format(
                name=name,
                place=f'directory = "{directory}/out/clients/{name}"',
                ca='ca = "clients"\n',
                libpq=14,
                drivers=f"drivers = {_key_drivers(name)}\n{fields}",
                mode="verify-full",
                auth="cert",
                binding="",
            )
            for name, fields in (KEYS | {GUARDED: 'passphrase = { file = "passphrase" }'}).items()
        ]
        tables.append(
            USER.format(
                name=LISTS,
                place=f'directory = "{directory}/out/clients/{LISTS}"',
                ca="",
                libpq=14,
                drivers=f"drivers = {[*DRIVERS]}\ncrl = true",
                mode="verify-full",
                auth="scram-sha-256",
                binding="",
            )
        )
        tables.append(
            USER.format(
                name=UNPLACED, place="", ca="", libpq=14, drivers=f"drivers = {[*DRIVERS]}", mode="require",
                auth="scram-sha-256", binding="",
            )
        )  # fmt: skip
        directory.joinpath("passphrase").write_text(PASSPHRASE)
        return compiled("".join(tables), directory)

    def _guises(self) -> dict[int, Guise]:
        genuine = self.out / "servers"
        root, issuing = (Authority.of(self.out / "ca" / name) for name in ("root", "issuing"))
        clients = self.out / "ca" / "clients" / "ca.crt"
        expired, stranger = _leaf(root, days=-1), _leaf(Authority.root("root"), days=30)
        revoked = _leaf(issuing, days=30, serial=STOLEN)
        ours = {name: (genuine / name / "server.crt", genuine / name / "server.key") for name in self.ports}
        guises = {
            "stranger": Guise(*stranger, client_ca=clients),
            "misnamed": Guise(*ours["elsewhere"], client_ca=clients),
            "namesake": Guise(*ours["misnamed"], client_ca=clients),
            "expired": Guise(*expired, client_ca=clients),
            "revoked": Guise(*revoked, asks="cleartext", client_ca=clients),
            "plain": Guise(),
            "cleartext": Guise(*ours["cleartext"], asks="cleartext", client_ca=clients),
            "md5": Guise(*ours["md5"], asks="md5", client_ca=clients),
            "nothing": Guise(*ours["nothing"]),
        }
        return {self.ports[name]: guise for name, guise in guises.items()}


def _drivers(proof: Proof) -> list[str]:
    """Return the drivers that can connect: PGT457 is an error."""
    return [name for name, driver in DRIVERS.items() if proof != "bound" or driver.binding != "fails"]


def _key_drivers(user: str) -> list[str]:
    return [name for name, driver in DRIVERS.items() if driver.decrypts] if user == GUARDED else ["pgjdbc"]


def _leaf(authority: Authority, days: int, serial: int | None = None) -> tuple[Path, Path]:
    """Certify localhost until that many days from now. The certificate of the CA follows that of the server."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(authority.certificate.subject, named(CN="localhost"), key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    directory = new_directory("leaf")
    certificate, file = directory / "server.crt", directory / "server.key"
    certificate.write_bytes(builder.sign(authority.key, SHA256()).public_bytes(Encoding.PEM) + authority.pem)
    file.write_bytes(key_pem(key))
    return certificate, file
