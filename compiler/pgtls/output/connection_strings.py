"""The parameters of an entry as a client writes them: a URI, a key/value string, a JDBC URL, a service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pgtls.access.model import Entry
    from pgtls.fleet.model import User

_NO_FILE = "/nonexistent"
"""A client certificate file that libpq does not find is silently none (fe-secure-openssl.c, initialize_SSL)."""


def parameters(user: User, entry: Entry) -> dict[str, str]:
    """Return the libpq parameters of an entry: absolute paths where the bundle's directory is known, else defaults."""
    return {
        "host": entry.identity.table.hosts[0],
        **({"hostaddr": entry.hostaddr} if entry.hostaddr else {}),
        "port": str(entry.server.table.port),
        **({"dbname": entry.database} if entry.database is not None else {}),
        **({"replication": "true"} if entry.replication else {}),
        "user": entry.role,
        "sslmode": entry.sslmode,
        **_files(user, entry),
        # A Kerberos ticket would otherwise take precedence over TLS.
        "gssencmode": "disable",
        **({"channel_binding": entry.channel_binding} if entry.channel_binding else {}),
    }


def _files(user: User, entry: Entry) -> dict[str, str]:
    directory = user.table.directory
    files = {"sslrootcert": f"{directory}/{layout.CLIENT_TRUST}"} if directory else {}
    if directory and user.table.crl:
        files["sslcrl"] = f"{directory}/{layout.CLIENT_CRL}"
    if entry.identity.system:
        files = {"sslrootcert": "system"}
    if not entry.certificate and user.ca:
        # libpq would present the certificate that lies in its default place.
        return files | ({"sslcertmode": "disable"} if user.table.libpq >= 16 else {"sslcert": _NO_FILE})
    if directory and entry.certificate:
        files |= {"sslcert": f"{directory}/{layout.CLIENT_CERTIFICATE}", "sslkey": f"{directory}/{layout.CLIENT_KEY}"}
    return files


def uri(values: Mapping[str, str]) -> str:
    """RFC 3986, as libpq's conninfo_uri_parse reads it; every value is percent-encoded."""
    rest = "&".join(f"{name}={_encode(value)}" for name, value in values.items() if name not in _URI_PARTS)
    host = f"[{values['host']}]" if ":" in values["host"] else _encode(values["host"])
    database = _encode(values.get("dbname", ""))
    return f"postgresql://{_encode(values['user'])}@{host}:{values['port']}/{database}?{rest}"


def key_value(values: Mapping[str, str]) -> str:
    """Return libpq's keyword/value string; values are quoted, with backslash and quote escaped."""
    return " ".join(f"{name}={_quote(value)}" for name, value in values.items())


def jdbc(values: Mapping[str, str]) -> str:
    """Return the URL for pgjdbc, in its own spelling of the parameters."""
    host = values.get("hostaddr", values["host"]) if values["sslmode"] != "verify-full" else values["host"]
    host = f"[{host}]" if ":" in host else host
    rest = {_JDBC[name]: value for name, value in values.items() if name in _JDBC}
    if (
        rest.get("sslrootcert") == "system"
    ):  # to pgjdbc the name of a file; this is how it is told to use the CAs of its JVM
        del rest["sslrootcert"]
        rest["sslfactory"] = "org.postgresql.ssl.DefaultJavaSSLFactory"
    if (
        "replication" in values
    ):  # which takes replication commands alone: none of those that pgjdbc sends to learn about the server
        rest |= {"replication": "true", "assumeMinServerVersion": "13", "preferQueryMode": "simple"}
    query = "&".join(f"{name}={_encode(value)}" for name, value in rest.items())
    return f"jdbc:postgresql://{host}:{values['port']}/{_encode(values.get('dbname', ''))}?{query}"


def services(sections: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """Return a pg_service.conf: one section an entry, and a comment for one that cannot be there."""
    return "\n".join(_service(name, values) for name, values in sections)


def _service(name: str, values: Mapping[str, str]) -> str:
    if lost := unserviceable(values):
        return f"# No [{name}]: libpq drops the blank at the end of its {lost}.\n# It is in connections.json.\n"
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in values.items())


def unserviceable(values: Mapping[str, str]) -> str | None:
    """Name the parameter that a service file cannot hold, if there is one.

    The file has no quoting: a value is the rest of its line, without blanks at the end (parseServiceFile).
    """
    return next((key for key, value in values.items() if value.endswith(" ")), None)


_URI_PARTS = frozenset({"host", "port", "dbname", "user"})
_JDBC = {
    "user": "user",
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "gssencmode": "gssEncMode",
    "channel_binding": "channelBinding",
}


_PLAIN = re.compile(r"[A-Za-z0-9._/:-]+")


def _encode(value: str) -> str:
    return quote(value, safe="")


def _quote(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
