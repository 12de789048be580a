"""Write the postgresql.conf fragment of a server: every ``ssl*`` setting of its version, then those of the spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.postgres.groups import default_groups
from pgtls.postgres.settings import FILE_NAME, ssl_settings
from pgtls.postgres.settings import settings as known_settings
from pgtls.postgres.values import written
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgtls.fleet.model import Server

_PROTOCOLS = {"1.0": "TLSv1", "1.1": "TLSv1.1", "1.2": "TLSv1.2", "1.3": "TLSv1.3"}


def server_settings(server: Server, *, trust: bool, crl: bool) -> tuple[list[str], list[str]]:
    """Return the lines that pgtls decides, and the lines that the spec adds.

    State every setting of the version, so that an old value elsewhere in the configuration has no effect.
    """
    table = server.table
    decided: dict[str, str] = {
        "ssl": "on",
        "ssl_cert_file": on_server(server, layout.SERVER_CERTIFICATE),
        "ssl_key_file": on_server(server, layout.SERVER_KEY),
        "ssl_ca_file": on_server(server, layout.SERVER_TRUST) if trust else "",
        "ssl_crl_file": on_server(server, layout.SERVER_CRL) if crl else "",
        "ssl_crl_dir": on_server(server, layout.SERVER_CRLS) if crl and has_crl_directory(server) else "",
        "ssl_min_protocol_version": _PROTOCOLS[table.min_tls],
    }
    if server.sni:
        decided["ssl_sni"] = "on"
    if table.passphrase_command:
        decided["ssl_passphrase_command"] = table.passphrase_command
        # Otherwise a reload would keep the old certificate: "cannot be reloaded because it requires a passphrase".
        decided["ssl_passphrase_command_supports_reload"] = "on"  # noqa: S105  (no password: a switch)
    asked = {
        "ssl_ciphers": table.ciphers,
        "ssl_tls13_ciphers": table.tls13_ciphers,
        "ssl_groups": table.groups or default_groups(table.openssl),
        "ssl_ecdh_curve": table.groups,
    }
    decided |= {name: value for name, value in asked.items() if value is not None}
    known = ssl_settings(table.postgres)
    settings = {name: decided.get(name, default) for name, default in known.items()}
    if table.directory:
        # A relative hba_file is relative to the data directory. Without a directory, the server's own files stay in
        # force.
        settings |= {"hba_file": on_server(server, layout.HBA), "ident_file": on_server(server, layout.IDENT)}
        settings |= {"hosts_file": on_server(server, layout.HOSTS)} if server.sni else {}
    added = {name: written(value) for name, value in sorted(table.settings.items())}
    return _lines(settings), _lines(added)


def _lines(settings: Mapping[str, str]) -> list[str]:
    return [assignment(name, value) for name, value in settings.items()]


def has_crl_directory(server: Server) -> bool:
    """Return whether a server can also have its CRLs in a hashed directory: a colon would split its path (by_dir.c)."""
    return server.table.postgres >= _CRL_DIRECTORY_SINCE and ":" not in (server.table.directory or "")


_CRL_DIRECTORY_SINCE = 14


def assignment(name: str, value: str) -> str:
    """Write a line of postgresql.conf. Only this function writes a name or a value into such a file.

    Double quotes and backslashes (guc-file.l, DeescapeQuotedString). Raise ValueError for a text that no line can
    contain.
    """
    if not FILE_NAME.fullmatch(name) or {"\0", "\r", "\n"} & set(value):
        raise ValueError(f"postgresql.conf cannot hold {name!r} = {value!r}")
    quoted = value.replace("\\", "\\\\").replace("'", "''")
    return f"{name} = '{quoted}'"


def on_server(server: Server, file: str) -> str:
    """Return the path of a file on the server: absolute, or in the data directory."""
    return f"{server.table.directory.rstrip('/')}/{file}" if server.table.directory else file


def needs_restart(version: int, before: str | None, after: str) -> bool:
    """Return whether a server must restart to replace a fragment: it reads a changed setting only at its start."""
    old, new = _parsed(before or ""), _parsed(after)
    differing = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    known = known_settings(version)
    return any(name in known and known[name].context == "postmaster" for name in differing)


def read_fragment(text: str) -> dict[str, str]:
    """Return the settings of a fragment that :func:`assignment` wrote, by name."""
    return {name: value[1:-1].replace("''", "'").replace("\\\\", "\\") for name, value in _parsed(text).items()}


def _parsed(text: str) -> dict[str, str]:
    lines = (line.partition(" = ") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, separator, value in lines if separator}
