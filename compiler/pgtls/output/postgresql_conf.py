"""The postgresql.conf fragment of a server: every ``ssl*`` setting of its version, then those of the spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.postgres.settings import settings as known_settings
from pgtls.postgres.settings import ssl_settings
from pgtls.state import layout

if TYPE_CHECKING:
    from pgtls.fleet.model import Server

Settings = list[tuple[str, str]]

_PROTOCOLS = {"1.0": "TLSv1", "1.1": "TLSv1.1", "1.2": "TLSv1.2", "1.3": "TLSv1.3"}


def server_settings(server: Server, *, crl: bool) -> tuple[Settings, Settings]:
    """Give the settings that pgtls decides, and those that the spec adds, as name and value in the file's own quoting.

    Every setting of the version is stated, so that an old one left elsewhere in the configuration does not survive.
    """
    table = server.table
    decided: dict[str, str] = {
        "ssl": "on",
        "ssl_cert_file": _path(server, layout.SERVER_CERTIFICATE),
        "ssl_key_file": _path(server, layout.SERVER_KEY),
        "ssl_ca_file": _path(server, layout.SERVER_TRUST) if server.client_cas else "",
        "ssl_crl_file": _path(server, layout.SERVER_CRL) if crl else "",
        "ssl_crl_dir": _path(server, layout.SERVER_CRLS) if crl and has_crl_directory(server) else "",
        "ssl_min_protocol_version": _PROTOCOLS[table.min_tls],
    }
    if table.passphrase_command:
        decided["ssl_passphrase_command"] = table.passphrase_command
        # Otherwise a reload would keep the old certificate: "cannot be reloaded because it requires a passphrase".
        decided["ssl_passphrase_command_supports_reload"] = "on"  # noqa: S105  (no password: a switch)
    asked = {
        "ssl_ciphers": table.ciphers,
        "ssl_tls13_ciphers": table.tls13_ciphers,
        "ssl_groups": table.groups,
        "ssl_ecdh_curve": table.groups,
    }
    decided |= {name: value for name, value in asked.items() if value is not None}
    known = ssl_settings(table.postgres)
    settings = [(name, quoted(decided.get(name, default))) for name, default in known.items()]
    if table.directory:
        # A relative hba_file would be searched in the data directory; without a directory the server's own stay in force.
        settings += [
            ("hba_file", quoted(_path(server, layout.HBA))),
            ("ident_file", quoted(_path(server, layout.IDENT))),
        ]
    return settings, [(name, quoted(_text(value))) for name, value in sorted(table.settings.items())]


def has_crl_directory(server: Server) -> bool:
    """Whether a server can have its CRLs in a hashed directory, too; a colon in its path divides directories (by_dir.c, ``add_cert_dir``)."""
    return server.table.postgres >= _CRL_DIRECTORY_SINCE and ":" not in (server.table.directory or "")


_CRL_DIRECTORY_SINCE = 14


def quoted(value: str) -> str:
    """Quote for postgresql.conf: quotes doubled, backslashes too (guc-file.l, DeescapeQuotedString)."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _path(server: Server, file: str) -> str:
    return f"{server.table.directory.rstrip('/')}/{file}" if server.table.directory else file


def _text(value: str | float | bool) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def needs_restart(version: int, before: str | None, after: str) -> bool:
    """Whether a server that runs with one fragment must be restarted for another: some setting that differs is read at start alone."""
    old, new = _parsed(before or ""), _parsed(after)
    differing = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    known = known_settings(version)
    return any(name in known and known[name].context == "postmaster" for name in differing)


def _parsed(text: str) -> dict[str, str]:
    lines = (line.partition(" = ") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, separator, value in lines if separator}
