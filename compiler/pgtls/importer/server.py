"""postgresql.conf and certificate files as the tables of a server and of the CA that it trusts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.importer.write import CLIENTS
from pgtls.postgres.settings import SSL_SETTINGS, ssl_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgtls.importer.conf import Setting

_MIN_TLS = {"tlsv1": "1.0", "tlsv1.1": "1.1", "tlsv1.2": "1.2", "tlsv1.3": "1.3"}
_FIELDS = {
    "ssl_ciphers": "ciphers",
    "ssl_tls13_ciphers": "tls13_ciphers",
    "ssl_groups": "groups",
    "ssl_ecdh_curve": "groups",
    "ssl_passphrase_command": "passphrase_command",
}
_KEPT = ("authentication_timeout", "listen_addresses", "log_connections", "log_disconnections", "password_encryption")
"""Settings of connections, which go along; the others stay where they are, since what is compiled is included by the server's own file."""
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
_BEGIN = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Given:
    """What was asked for, apart from the access files. Paths are as the user named them; ``output`` is the spec's."""

    hosts: tuple[str, ...]
    postgres: int
    output: str
    cert: str | None = None
    key: str | None = None
    ca: str | None = None

    @property
    def directory(self) -> str:
        """Where the spec will lie."""
        return os.path.dirname(self.output) or "."


def server_tables(
    given: Given, conf: Mapping[str, Setting], *, asks_certificates: bool
) -> tuple[dict[str, Any], dict[str, Any], list[Diagnostic]]:
    """Give the table of the server, those of CAs by name, and what has to be said. Rejected where a file that was named cannot be read."""
    found = list(_left(conf, given.postgres))
    table: dict[str, Any] = {"hosts": list(given.hosts), "postgres": given.postgres}
    certificate, key = given.cert or _file(conf, "ssl_cert_file"), given.key or _file(conf, "ssl_key_file")
    if certificate and key:
        table |= {"cert_file": _beside(certificate, given), "key_file": _beside(key, given)}
    else:
        table["ca"] = "self-signed"
        message = "the server has no certificate here: it gets one that is self-signed"
        found.append(_note(message, "name the files with --cert and --key, or a ca in [server]"))
    authorities: dict[str, Any] = {}
    trusted = given.ca or _file(conf, "ssl_ca_file")
    if trusted:
        authorities[CLIENTS] = {"cert_file": _beside(trusted, given)}
        table["client_ca"] = [CLIENTS]
        revoked = _file(conf, "ssl_crl_file")
        if revoked:
            authorities[CLIENTS]["crl_file"] = _beside(revoked, given)
        else:
            table["crl"] = False
            found += _hashed_lists(conf)
        found += _bundle(trusted)
    elif asks_certificates:
        message = "pg_hba.conf asks for client certificates, and no file has the CA that signs them"
        raise Rejected(Diagnostic("PGT295", message, hint="name it with --ca-file, or a --conf that has ssl_ca_file"))
    return table | _fields(conf, given.postgres), authorities, found


def _fields(conf: Mapping[str, Setting], version: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    if "port" in conf and conf["port"].value.isdigit():
        table["port"] = int(conf["port"].value)
    if sockets := conf["unix_socket_directories"].value if "unix_socket_directories" in conf else "":
        table["socket_directory"] = sockets.split(",")[0].strip()
    if "ssl_min_protocol_version" in conf:
        table["min_tls"] = _MIN_TLS.get(conf["ssl_min_protocol_version"].value.lower(), "1.0")
    for name, field in _FIELDS.items():
        if name in conf and name in ssl_settings(version) and conf[name].value:
            table[field] = conf[name].value
    settings = {name: conf[name].value for name in _KEPT if name in conf}
    return table | ({"settings": settings} if settings else {})


def _hashed_lists(conf: Mapping[str, Setting]) -> Iterator[Diagnostic]:
    """Report CRLs that are in a directory alone: a spec takes them in one file."""
    lists = conf.get("ssl_crl_dir")
    if lists and lists.value:
        message = (
            f'ssl_crl_dir = "{lists.value}" is left out, and nobody is refused any more whose certificate is revoked'
        )
        hint = f"put its lists into one file (cat {lists.value}/*.r*), and name that in crl_file of [ca.{CLIENTS}], without crl = false"
        yield Diagnostic("PGT296", message, hint=hint, severity="warning", place=lists.place, file=lists.file)


def _left(conf: Mapping[str, Setting], version: int) -> Iterator[Diagnostic]:
    """Report settings of TLS that a spec does not have."""
    known = {setting.name: setting.default for setting in SSL_SETTINGS}
    for name, setting in conf.items():
        if name in known and name not in _DECIDED and setting.value != known[name]:
            yield Diagnostic(
                "PGT296",
                f'{name} = "{setting.value}" is left out: a spec does not say it, and pgtls writes "{known[name]}"',
                hint="see whether it is still needed",
                severity="warning",
                place=setting.place,
                file=setting.file,
            )
    if "ssl" in conf and conf["ssl"].value.lower() not in ("on", "true", "yes", "1"):
        place = conf["ssl"].place
        message = "TLS was off: pgtls turns it on"
        yield Diagnostic("PGT299", message, severity="warning", place=place, file=place.file)


def _file(conf: Mapping[str, Setting], name: str) -> str | None:
    """Find a file that a setting names: a relative one lies in the data directory, which is the file's own or is said."""
    if name not in conf or not conf[name].value:
        return None
    data = conf["data_directory"].value if "data_directory" in conf else os.path.dirname(conf[name].file)
    path = os.path.join(data, conf[name].value)
    return path if os.access(path, os.R_OK) else None


def _beside(path: str, given: Given) -> str:
    """Name a file as the spec does, relative to itself."""
    if not os.path.isfile(path):
        raise Rejected(Diagnostic("PGT295", f'there is no file "{path}"', hint="name the file as it lies here"))
    return os.path.relpath(path, given.directory)


def _bundle(path: str) -> Iterator[Diagnostic]:
    with open(path, "rb") as file:
        count = file.read().count(_BEGIN)
    if count > 1:
        message = f'"{path}" has {count} certificates: the first is the CA, the others are taken for those above it'
        yield _note(message, "if they are CAs of their own, make a [ca.NAME] of each and name them all in client_ca")


def _note(message: str, hint: str) -> Diagnostic:
    return Diagnostic("PGT299", message, hint=hint, severity="warning")
