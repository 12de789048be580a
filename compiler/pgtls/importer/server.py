"""postgresql.conf and certificate files as the tables of a server and of the CAs that it trusts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.importer.certificates import CLIENTS, relative, served
from pgtls.importer.conf import read_conf
from pgtls.postgres.settings import SSL_SETTINGS, ssl_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgtls.importer.certificates import Material
    from pgtls.importer.conf import Setting
    from pgtls.importer.findings import Findings

_MIN_TLS = {"tlsv1": "1.0", "tlsv1.1": "1.1", "tlsv1.2": "1.2", "tlsv1.3": "1.3"}
_FIELDS = {
    "ssl_ciphers": "ciphers",
    "ssl_tls13_ciphers": "tls13_ciphers",
    "ssl_groups": "groups",
    "ssl_ecdh_curve": "groups",
    "ssl_passphrase_command": "passphrase_command",
}
_KEPT = ("authentication_timeout", "listen_addresses", "log_connections", "log_disconnections", "password_encryption")
"""Settings of connections, which the spec takes over.

All others stay in the server's own file, which includes the compiled one.
"""
_DECIDED = frozenset(
    (
        "ssl",
        "ssl_cert_file",
        "ssl_key_file",
        "ssl_ca_file",
        "ssl_crl_file",
        "ssl_crl_dir",
        "ssl_min_protocol_version",
        *_FIELDS,
    )
) | {"ssl_passphrase_command_supports_reload"}
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

    @property
    def directory(self) -> str:
        """Return the directory of the spec."""
        return os.path.dirname(self.output) or "."


@dataclass(frozen=True, slots=True)
class Conf:
    """The settings of a server, by name. ``directory`` is its data directory, None where no file says anything."""

    settings: Mapping[str, Setting] = field(default_factory=dict)
    directory: str | None = None

    def value(self, name: str) -> str:
        """Return the value of a setting, "" for none.

        Files have defaults if there is a postgresql.conf.
        """
        if name in self.settings:
            return self.settings[name].value
        return _DEFAULTS.get(name, "") if self.directory is not None else ""

    def file(self, name: str) -> str | None:
        """Return the file that a setting names, if this machine has it: a relative one lies in the data directory."""
        value = self.value(name)
        path = os.path.join(self.directory or "", value)
        return path if value and os.access(path, os.R_OK) else None


_SERVED = {"ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}
_DEFAULTS = {**_SERVED, "hba_file": "pg_hba.conf", "ident_file": "pg_ident.conf"}


def read_settings(file: str) -> Conf:
    """Read postgresql.conf, and what ALTER SYSTEM has set. Raises OSError, and Rejected with PGT295."""
    conf, faults = read_conf(file)
    directory = conf["data_directory"].value if "data_directory" in conf else os.path.dirname(file)
    altered = os.path.join(directory, "postgresql.auto.conf")
    if os.path.isfile(altered) and os.access(altered, os.R_OK):
        later, more = read_conf(altered)
        conf, faults = conf | later, (*faults, *more)
    if faults:
        raise Rejected(*faults)
    return Conf(conf, directory)


def server_tables(
    given: Given, conf: Conf, findings: Findings, *, asks_certificates: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the table of the server, and those of CAs by name. Raises Rejected where a named file cannot be read."""
    findings.add(_left(conf, given.postgres))
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
    elif asks_certificates:
        message = "pg_hba.conf asks for client certificates, and no file has the CA that signs them"
        raise Rejected(Diagnostic("PGT295", message, hint="name it with --ca-file, or a --conf that has ssl_ca_file"))
    return table | _fields(conf, given.postgres), authorities


def _served(given: Given, conf: Conf, trusted: str | None, findings: Findings) -> Material | None:
    certificate, key = given.cert or conf.file("ssl_cert_file"), given.key or conf.file("ssl_key_file")
    if certificate and key:
        return served(certificate, key, trusted, given.hosts, given.directory)
    if given.cert or given.key:
        lacks, has = ("--key", "--cert") if given.cert else ("--cert", "--key")
        message = f"{has} was given without {lacks}, and no --conf names a file that this machine has"
        raise Rejected(Diagnostic("PGT295", message, hint=f"name the other file with {lacks}"))
    lacking = [conf.value(name) for name in _SERVED if conf.value(name) and not conf.file(name)]
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
    if revoked := conf.file("ssl_crl_file"):
        authorities[CLIENTS]["crl_file"] = relative(revoked, given.directory)
    else:
        table["crl"] = False
        findings.add(_hashed_lists(conf))
    count = Path(trusted).read_bytes().count(_BEGIN)
    if count > 1:
        findings.note(
            f'"{trusted}" has {count} certificates: the first is the CA, the others must be the CAs above it',
            "if they are CAs of their own, give each its own file and [ca.NAME], and name all of them in client_ca",
        )
    return table


def _fields(conf: Conf, version: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    if conf.value("port").isdigit():
        table["port"] = int(conf.value("port"))
    if sockets := conf.value("unix_socket_directories"):
        table["socket_directory"] = sockets.split(",")[0].strip()
    if os.path.isabs(conf.value("hba_file")):
        # The server does not look into its data directory for pg_hba.conf.
        table["directory"] = os.path.dirname(conf.value("hba_file"))
    if least := conf.value("ssl_min_protocol_version"):
        table["min_tls"] = _MIN_TLS.get(least.lower(), "1.0")
    for name, field_name in _FIELDS.items():
        if name in ssl_settings(version) and conf.value(name) and not _holds_secret(name, conf):
            table[field_name] = conf.value(name)
    settings = {name: conf.value(name) for name in _KEPT if name in conf.settings}
    return table | ({"settings": settings} if settings else {})


def _hashed_lists(conf: Conf) -> Iterator[Diagnostic]:
    """Report CRLs that are in a directory alone: a spec takes them in one file."""
    lists = conf.settings.get("ssl_crl_dir")
    if lists and lists.value:
        message = f'ssl_crl_dir = "{lists.value}" is left out: the server would accept revoked certificates'
        hint = (
            f"put its lists into one file (cat {lists.value}/*.r*), name that in crl_file of [ca.{CLIENTS}], "
            "and delete crl = false"
        )
        yield Diagnostic("PGT296", message, hint=hint, severity="warning", place=lists.place, file=lists.file)


def _left(conf: Conf, version: int) -> Iterator[Diagnostic]:
    """Report settings of TLS that a spec does not have."""
    known = {setting.name: setting.default for setting in SSL_SETTINGS}
    for name, setting in conf.settings.items():
        if name in known and name not in _DECIDED and setting.value != known[name]:
            message = f'{name} = "{setting.value}" is left out: pgtls writes "{known[name]}"'
            hint = "check whether the server still needs it"
            yield Diagnostic("PGT296", message, hint=hint, severity="warning", place=setting.place, file=setting.file)
    if (switch := conf.settings.get("ssl")) and switch.value.lower() not in ("on", "true", "yes", "1"):
        place = switch.place
        yield Diagnostic("PGT299", "TLS was off: pgtls turns it on", severity="warning", place=place, file=place.file)
    if (command := conf.settings.get("ssl_passphrase_command")) and _holds_secret(command.name, conf):
        message = "ssl_passphrase_command is left out: it holds the passphrase itself"
        hint = "set passphrase_command in the spec to one that reads a file on the server"
        yield Diagnostic("PGT296", message, hint=hint, severity="warning", place=command.place, file=command.file)


def _holds_secret(name: str, conf: Conf) -> bool:
    """Whether a setting is a command that prints what stands in it."""
    words = conf.value(name).split()
    return name == "ssl_passphrase_command" and bool(words) and os.path.basename(words[0]) in ("echo", "printf")


def _is_encrypted(path: str | None) -> bool:
    return path is not None and b"ENCRYPTED" in Path(path).read_bytes()
