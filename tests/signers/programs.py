"""Certificate authorities that are not ours: programs that sign a request as a company's CA would."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pgtls.pki import facts
from pgtls.pki.model import Certificate, Unreadable
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pgtls.stages import Planned
    from support.building import Place


def run(directory: Path, *words: str) -> None:
    done = subprocess.run(words, check=False, cwd=directory, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"


@dataclass(frozen=True, slots=True)
class Signer:
    """A CA in a directory of its own: ``root.crt``, ``root.crl``, and its key."""

    directory: Path

    def prepare(self) -> None:
        """Make its key, certificate and CRL."""
        self.directory.mkdir()
        (self.directory / "root.tmpl").write_text(
            'cn = "Company Root"\nca\ncert_signing_key\ncrl_signing_key\nexpiration_days = 3650\n'
        )
        (self.directory / "crl.tmpl").write_text("crl_next_update = 90\ncrl_number = 7\n")
        ca = ("--load-ca-privkey", "root.key", "--load-ca-certificate", "root.crt")
        run(
            self.directory,
            "openssl",
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "root.key",
        )
        run(
            self.directory, "certtool", "--generate-self-signed", "--load-privkey", "root.key",
            "--template", "root.tmpl", "--outfile", "root.crt",
        )  # fmt: skip
        run(self.directory, "certtool", "--generate-crl", *ca, "--template", "crl.tmpl", "--outfile", "root.crl")

    def sign(self, request: Path, to: Path, *, days: int = 30) -> Path:
        """Sign a request as it asks, and give the certificate."""
        raise NotImplementedError


class OpenSSL(Signer):
    """The openssl program."""

    def sign(self, request: Path, to: Path, *, days: int = 30, extensions: str = "") -> Path:
        (self.directory / "more.cnf").write_text(
            "authorityKeyIdentifier = keyid\nsubjectKeyIdentifier = hash\n" + extensions
        )
        copy = () if extensions else ("-copy_extensions", "copyall")
        run(
            self.directory, "openssl", "x509", "-req", "-in", str(request), "-CA", "root.crt", "-CAkey", "root.key",
            "-days", str(days), *copy, "-extfile", "more.cnf", "-out", str(to),
        )  # fmt: skip
        return to


class Certtool(Signer):
    """GnuTLS' certtool."""

    def sign(self, request: Path, to: Path, *, days: int = 30) -> Path:
        template = f"expiration_days = {days}\nhonor_crq_extensions\n"
        if request.name == "ca.csr":  # it honours all extensions of a request but those that make a CA
            template += "ca\ncert_signing_key\ncrl_signing_key\n"
        (self.directory / "leaf.tmpl").write_text(template)
        run(
            self.directory, "certtool", "--generate-certificate", "--load-request", str(request),
            "--load-ca-certificate", "root.crt", "--load-ca-privkey", "root.key",
            "--template", "leaf.tmpl", "--outfile", str(to),
        )  # fmt: skip
        return to


class EasyRSA(Signer):
    """The scripts that OpenVPN's administrators know, as they come."""

    def easyrsa(self, *words: str, days: int = 30) -> None:
        settings = ("EASYRSA_BATCH=1", "EASYRSA_ALGO=ec", "EASYRSA_REQ_CN=Company Root", f"EASYRSA_CERT_EXPIRE={days}")
        run(self.directory, "env", *settings, str(EASY_RSA), *words)

    def prepare(self) -> None:
        self.directory.mkdir()
        self.easyrsa("init-pki")
        self.easyrsa("build-ca", "nopass")
        self.easyrsa("gen-crl")
        shutil.copy(self.directory / "pki" / "ca.crt", self.directory / "root.crt")
        shutil.copy(self.directory / "pki" / "crl.pem", self.directory / "root.crl")

    def sign(self, request: Path, to: Path, *, days: int = 30) -> Path:
        kind = {"ca.csr": "ca", "server.csr": "server"}.get(request.name, "client")
        self.easyrsa("import-req", str(request), to.stem)
        self.easyrsa("--copy-ext", "sign-req", kind, to.stem, days=days)
        shutil.copy(self.directory / "pki" / "issued" / f"{to.stem}.crt", to)
        return to


SIGNERS: dict[str, type[Signer]] = {"openssl": OpenSSL, "certtool": Certtool, "easy-rsa": EasyRSA}
EASY_RSA = Path(shutil.which("easyrsa") or "/usr/share/easy-rsa/easyrsa")


def missing(signer: type[Signer]) -> str | None:
    """Return what to install for a signer's missing program."""
    if signer is EasyRSA and not EASY_RSA.exists():
        return "easyrsa is not installed: apt-get install easy-rsa"
    return "certtool is not installed: apt-get install gnutls-bin" if shutil.which("certtool") is None else None


def now() -> datetime:
    """The time of the program, which has no other."""
    return datetime.now(UTC)


def certificate(place: Place, path: str) -> Certificate:
    found = facts.read(place.file(path).read_bytes())
    assert not isinstance(found, Unreadable)
    return found[0]


def texts(planned: Planned, code: str) -> list[str]:
    return [one.message for one in planned.diagnostics if one.code == code]


def waits(planned: Planned, entity: str) -> str:
    """What is said about an entity that waits."""
    return next(one for one in texts(planned, "PGT562") if one.startswith(entity))
