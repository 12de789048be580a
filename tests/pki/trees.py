"""Trees of CAs for tests, and independent judges of what was issued: ``openssl verify`` and GnuTLS's ``certtool``."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, get_args

import pytest

from pgtls.certificates import credentials
from pgtls.certificates.credentials import Credential
from pgtls.fleet import model as fleet
from pgtls.language.models import CaTable
from pgtls.pki import keys
from pgtls.pki.issue import Issued, Issuer, issue
from pgtls.pki.model import CertificateKind, Entity, KeyAlgorithm, Profile, ca_entity

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ALGORITHMS: tuple[KeyAlgorithm, ...] = get_args(KeyAlgorithm)
PURPOSES = {"server": "sslserver", "user": "sslclient"}

needs_certtool = pytest.mark.skipif(
    shutil.which("certtool") is None, reason="certtool is not installed: apt-get install gnutls-bin"
)

_serials = itertools.count(0x1000)


@cache
def key(name: str, algorithm: KeyAlgorithm) -> keys.PrivateKey:
    """Return the one key of that name: RSA keys are expensive."""
    return keys.generate(algorithm)


def profile(kind: CertificateKind, name: str = "", **changes: Any) -> Profile:
    """Return a plain profile of a kind with the changes applied."""
    fields: dict[str, Any] = {
        "entity": f"{kind}.{name or kind}",
        "kind": kind,
        "issuer": None if kind == "ca" else "root",
        "subject": (("common_name", name or kind),),
        "dns_names": (name or "db.example.com",) if kind == "server" else (),
        "ip_addresses": (),
        "key_algorithm": "ecdsa-p256",
        "validity": (3650 if kind == "ca" else 90) * DAY,
        "renew_before": None,
    }
    return Profile(**(fields | changes))


@dataclass(frozen=True, slots=True, eq=False)
class Authority:
    """A CA of a tree: what it signs with, its certificate, and the CAs above it from the nearest."""

    name: str
    issuer: Issuer
    issued: Issued
    above: tuple[Authority, ...] = ()

    @property
    def pem(self) -> bytes:
        return self.issued.pem

    @property
    def root(self) -> Authority:
        return self.above[-1] if self.above else self


def authority(name: str = "root", by: Authority | None = None, now: datetime = NOW, **changes: Any) -> Authority:
    """Make a CA, signed by another or by itself."""
    wanted = profile("ca", name, **changes)
    own = key(name, wanted.key_algorithm)
    issued = issue(wanted, own.public_key(), by.issuer if by else own, next(_serials), now)
    return Authority(name, Issuer(issued.certificate, own), issued, (by, *by.above) if by else ())


def leaf(
    by: Authority | None, kind: CertificateKind = "user", name: str = "", now: datetime = NOW, **changes: Any
) -> Issued:
    """Issue a certificate to a server or a user; by nobody: self-signed."""
    wanted = profile(kind, name, **changes)
    own = key(name or kind, wanted.key_algorithm)
    return issue(wanted, own.public_key(), by.issuer if by else own, next(_serials), now)


def presented(certificate: Issued, by: Authority) -> bytes:
    """Return the chain that a holder sends in a handshake, as a build writes it."""
    return _known(credentials.chain(Credential(certificate.pem, None), _in_fleet(by), _credentials(by)))


def trust(*authorities: Authority) -> bytes:
    """Return the trust file for these CAs, as a build writes it."""
    together = {entity: each for ca in authorities for entity, each in _credentials(ca).items()}
    return _known(credentials.trust([_in_fleet(ca) for ca in authorities], together))


def split(pem: bytes) -> list[bytes]:
    """Take a file apart into its certificates."""
    end = b"-----END CERTIFICATE-----\n"
    return [block + end for block in pem.split(end)[:-1]]


def _credentials(by: Authority) -> dict[Entity, Credential]:
    return {ca_entity(each.name): Credential(each.pem, None) for each in (by, *by.above)}


def _in_fleet(by: Authority) -> fleet.Authority:
    return fleet.Authority(by.name, CaTable(), _in_fleet(by.above[0]) if by.above else None)


def _known(content: object) -> bytes:
    assert isinstance(content, bytes)
    return content


# --- judges -----------------------------------------------------------------------------------------------------------


def run(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a program with nothing of the caller's environment."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC", "OPENSSL_CONF": "/dev/null"}
    return subprocess.run(words, input=stdin, capture_output=True, check=False, env=environment)


def openssl(*words: str, stdin: bytes = b"") -> str:
    """Run the openssl program, which must be content, and give what it says."""
    done = run("openssl", *words, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def refusal(
    directory: Path, chain: bytes, trusted: bytes, purpose: str, at: datetime = NOW, crls: bytes = b""
) -> str | None:
    """Verify a chain as it is sent, with ``openssl verify`` at its strictest.

    Return None if it accepts the chain, else the reason in OpenSSL's words.
    """
    first, *rest = split(chain)
    files = {"trusted": trusted, "chain": b"".join(rest), "crls": crls, "leaf": first}
    for name, content in files.items():
        (directory / name).write_bytes(content)
    words = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-attime", str(int(at.timestamp()))]
    words += ["-no-CApath", "-no-CAstore", "-CAfile", str(directory / "trusted")]
    words += ["-untrusted", str(directory / "chain")] if rest else []
    words += ["-crl_check_all", "-CRLfile", str(directory / "crls")] if crls else []
    done = run(*words, str(directory / "leaf"))
    reasons = re.findall(r"^error \d+ at \d+ depth lookup: (.*)$", done.stderr.decode(), re.MULTILINE)
    assert (done.returncode == 0) == (not reasons), done.stderr.decode()
    return reasons[0] if reasons else None


def gnutls_refusal(directory: Path, chain: bytes, trusted: bytes, kind: str) -> str | None:
    """Ask GnuTLS about a chain, now. None: accepted; else its reason."""
    (directory / "trusted").write_bytes(trusted)
    oid = {"server": "1.3.6.1.5.5.7.3.1", "user": "1.3.6.1.5.5.7.3.2"}[kind]
    done = run(
        "certtool", "--verify", f"--load-ca-certificate={directory / 'trusted'}", f"--verify-purpose={oid}", stdin=chain
    )
    verdict = re.findall(r"^Chain verification output: (.*)$", done.stdout.decode(), re.MULTILINE)
    assert verdict, done.stdout.decode() + done.stderr.decode()
    return None if done.returncode == 0 else verdict[-1]
