"""postgresql.conf and certificate files as the tables of a server and of the CAs that it trusts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.importer.certificates import CLIENTS, relative, served
from pgtls.importer.entries import client_cert
from pgtls.importer.files import content
from pgtls.importer.settings import left_out, server_fields
from pgtls.postgres.values import truth

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgtls.hba.model import Line
    from pgtls.importer.certificates import Material
    from pgtls.importer.findings import Findings
    from pgtls.importer.settings import Conf

_SERVED = ("ssl_cert_file", "ssl_key_file")
KEY_VARIABLE = "PGTLS_SERVER_PASSPHRASE"
"""The environment variable that the spec reads the passphrase of an encrypted server key from."""
_BEGIN = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Given:
    """The options, apart from the access files.

    Paths are as the user named them; ``output`` is the path of the spec.
    """

    hosts: tuple[str, ...]
    postgres: int
    output: str
    cert: str | None = None
    key: str | None = None
    ca: str | None = None
    crl: str | None = None

    @property
    def files(self) -> dict[str, str]:
        """Return the files by their options."""
        options = {"--cert": self.cert, "--key": self.key, "--ca-file": self.ca, "--crl-file": self.crl}
        return {option: file for option, file in options.items() if file}

    @property
    def directory(self) -> str:
        """Return the directory of the spec."""
        return os.path.dirname(self.output) or "."


def asks_certificates(lines: Iterable[Line]) -> bool:
    """Return whether lines ask for client certificates."""
    return any(client_cert(line) != "none" and line.method != "reject" for line in lines)


def server_tables(
    given: Given, conf: Conf, lines: Sequence[Line], findings: Findings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the table of the server, and those of CAs by name. Raises Rejected where a named file cannot be read."""
    findings.add(left_out(conf))
    findings.add(_tls_was_off(conf, lines))
    table: dict[str, Any] = {"hosts": list(given.hosts), "postgres": given.postgres}
    trusted = given.ca or conf.file("ssl_ca_file")
    material = _served(given, conf, trusted, findings)
    if material:
        table |= material.fields
        if _is_encrypted(given.key or conf.file("ssl_key_file")):
            table["passphrase"] = {"env": KEY_VARIABLE}
            findings.note(f"the server's key is encrypted: the spec reads its passphrase from {KEY_VARIABLE}")
        for message, hint in material.notes:
            findings.note(message, hint)
    else:
        table["ca"] = "self-signed"
    authorities = dict(material.authorities) if material else {}
    if trusted:
        table |= _trust(trusted, authorities, given, conf, findings)
    elif asks_certificates(lines):
        message = "pg_hba.conf asks for client certificates, and no file has the CA that signs them"
        raise Rejected(Diagnostic("PGT295", message, hint="name it with --ca-file, or a --conf that has ssl_ca_file"))
    elif revoked := given.crl or conf.file("ssl_crl_file"):
        findings.note(f'"{revoked}" is left out: the server trusts no CA of clients', "name the CA with --ca-file")
    return table | server_fields(conf), authorities


def _tls_was_off(conf: Conf, lines: Iterable[Line]) -> Iterator[Diagnostic]:
    """Report that the server had no TLS, and the lines that had no effect without it."""
    if conf.directory is None or truth(conf.value("ssl")):
        return
    idle = [str(line.number) for line in lines if line.type == "hostssl" and line.method != "reject"]
    message = "TLS was off: pgtls turns it on"
    if idle:
        message += f", and hostssl lines that had no effect now admit clients (line {', '.join(idle)})"
    hint = "delete the policies of these lines if nobody is meant to connect by them" if idle else None
    yield conf.about("ssl", "PGT299", message, hint)


def _served(given: Given, conf: Conf, trusted: str | None, findings: Findings) -> Material | None:
    certificate, key = given.cert or conf.file("ssl_cert_file"), given.key or conf.file("ssl_key_file")
    if certificate and key:
        return served(certificate, key, trusted, given.hosts, given.directory)
    if given.cert or given.key:
        lacks, has = ("--key", "--cert") if given.cert else ("--cert", "--key")
        message = f"{has} was given without {lacks}, and no --conf names a file that this machine has"
        raise Rejected(Diagnostic("PGT295", message, hint=f"name the other file with {lacks}"))
    lacking = [conf.shown(name) for name in _SERVED if conf.value(name) and not conf.file(name)]
    why = f' ("{lacking[0]}" cannot be read on this machine)' if lacking else ""
    findings.note(
        f"the server has no certificate here{why}: a build issues a self-signed one",
        "to keep its own, name the files with --cert and --key; to sign it, set ca in [server]",
    )
    return None


def _trust(trusted: str, authorities: dict[str, Any], given: Given, conf: Conf, findings: Findings) -> dict[str, Any]:
    """Add the CA of client certificates, and return the fields of the server that go with it."""
    authorities[CLIENTS] = {"cert_file": relative(trusted, given.directory)}
    table: dict[str, Any] = {"client_ca": [CLIENTS]}
    if revoked := given.crl or conf.file("ssl_crl_file"):
        authorities[CLIENTS]["crl_file"] = relative(revoked, given.directory)
    else:
        table["crl"] = False
        why = "no file says which CRLs the server checks" if conf.directory is None else "the server checks no CRL"
        hint = f"to reject revoked certificates, name the CRL of the CA in crl_file of [ca.{CLIENTS}] and delete crl"
        findings.note(f"{why}: the spec says crl = false, and the server accepts revoked certificates", hint)
    count = content(trusted).count(_BEGIN)
    if count > 1:
        findings.note(
            f'"{trusted}" has {count} certificates: the first is the CA, the others must be the CAs above it',
            "if they are CAs of their own, give each its own file and [ca.NAME], and name all of them in client_ca",
        )
    return table


def _is_encrypted(path: str | None) -> bool:
    return path is not None and b"ENCRYPTED" in content(path)
