"""Write the parameters of an entry for a client: a URI, a key/value string, a JDBC URL, a service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from pgtls.fleet.addresses import is_address
from pgtls.postgres import libpq
from pgtls.postgres.libpq import DIRECT_SINCE, authentications
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pgtls.access.model import Entry
    from pgtls.fleet.model import User
    from pgtls.language.models import SslMode

NOTHING: Mapping[str, str] = {}

NO_FILE = "/nonexistent"
"""libpq ignores a client certificate file that does not exist (fe-secure-openssl.c, initialize_SSL)."""


def parameters(user: User, entry: Entry, version: int | None = None) -> dict[str, str]:
    """Return the libpq parameters of an entry, as far as a libpq knows them: by default the oldest of the bundle.

    The paths are absolute if the bundle's directory is known; otherwise libpq's defaults apply.
    """
    version = version or user.table.libpq
    known = libpq.parameters(version)
    wanted = {
        "host": entry.identity.table.hosts[0],
        **({"hostaddr": entry.hostaddr} if entry.hostaddr else {}),
        "port": str(entry.server.table.port),
        **({"dbname": entry.database} if entry.database is not None else {}),
        **({"replication": "true"} if entry.replication else {}),
        "user": entry.role,
        "sslmode": entry.sslmode,
        **_files(user, entry, version),
        # A Kerberos ticket would otherwise take precedence over TLS.
        "gssencmode": "disable",
        **({"channel_binding": entry.channel_binding} if entry.channel_binding else {}),
        **_demands(entry, version),
    }
    return {name: value for name, value in wanted.items() if name in known}


def _demands(entry: Entry, version: int) -> dict[str, str]:
    """Return the parameters with which a client rejects a server that demands less than the policies."""
    methods = authentications({policy.table.auth for policy in entry.policies}, version)
    asked = entry.certificate and all(policy.asks_certificate != "none" for policy in entry.policies)
    return {
        **({"require_auth": ",".join(methods)} if methods else {}),
        **({"sslcertmode": "require"} if asked else {}),
        **({"sslnegotiation": "direct"} if _direct(entry) else {}),
    }


def _direct(entry: Entry) -> bool:
    """Return whether the connection can begin with TLS, so that no attacker on the network can answer first."""
    return entry.server.table.postgres >= DIRECT_SINCE and entry.sslmode in _TLS_ALWAYS


def _files(user: User, entry: Entry, version: int) -> dict[str, str]:
    directory = user.table.directory
    files = {"sslrootcert": f"{directory}/{layout.CLIENT_TRUST}"} if directory else {}
    if directory and user.table.crl:
        files["sslcrl"] = f"{directory}/{layout.CLIENT_CRL}"
    if entry.identity.system:
        files = {"sslrootcert": "system"}
    if not entry.certificate and user.ca:
        # libpq would present a certificate that exists at the default path.
        return files | ({"sslcertmode": "disable"} if version >= libpq.REQUIRE_AUTH_SINCE else {"sslcert": NO_FILE})
    if directory and entry.certificate:
        files |= {"sslcert": f"{directory}/{layout.CLIENT_CERTIFICATE}", "sslkey": f"{directory}/{layout.CLIENT_KEY}"}
    return files


def uri(values: Mapping[str, str]) -> str:
    """RFC 3986, as libpq's conninfo_uri_parse reads it; every value is percent-encoded."""
    rest = "&".join(f"{name}={_encode(value)}" for name, value in values.items() if name not in _URI_PARTS)
    hosts = zip(values["host"].split(","), values["port"].split(","), strict=True)
    places = ",".join(f"{_bracketed(host)}:{port}" for host, port in hosts)
    database = _encode(values.get("dbname", ""))
    return f"postgresql://{_encode(values['user'])}@{places}/{database}" + (f"?{rest}" if rest else "")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else _encode(host)


def key_value(values: Mapping[str, str]) -> str:
    """Return libpq's keyword/value string. Quote values, and escape quotes and backslashes."""
    return " ".join(f"{name}={_quote(value)}" for name, value in values.items())


def jdbc(user: User, entries: Sequence[Entry], more: Mapping[str, str] = NOTHING) -> str:
    """Return the URL for pgjdbc, in its own spelling of the parameters: of one entry, or of several servers.

    A pgjdbc ignores a parameter that it does not know.
    """
    entry = entries[0]
    hosts = ((dialled(one) or one.identity.table.hosts[0], one.server.table.port) for one in entries)
    places = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in hosts)
    properties = {**jdbc_properties(user, entry), **more}
    query = "&".join(f"{name}={_encode(value)}" for name, value in properties.items())
    return f"jdbc:postgresql://{places}/{_encode(entry.database or '')}?{query}"


def jdbc_properties(user: User, entry: Entry) -> dict[str, str]:
    """Return the connection properties of pgjdbc for an entry, without host, port and database."""
    methods = authentications({policy.table.auth for policy in entry.policies}, libpq.OAUTH_SINCE - 1)
    return {
        "user": entry.role,
        "sslmode": verifying(entry),
        **_jdbc_files(user, entry),
        "gssEncMode": "disable",
        **({"channelBinding": entry.channel_binding} if entry.channel_binding else {}),
        **({"requireAuth": ",".join(methods)} if methods else {}),
        **({"sslNegotiation": "direct"} if _direct(entry) else {}),
        # A server that accepts only replication commands rejects the queries that pgjdbc sends at the start.
        **(
            {"replication": "true", "assumeMinServerVersion": "13", "preferQueryMode": "simple"}
            if entry.replication
            else {}
        ),
    }


def _jdbc_files(user: User, entry: Entry) -> dict[str, str]:
    directory = user.table.directory
    files = {"sslrootcert": f"{directory}/{layout.CLIENT_TRUST}"} if directory else {}
    if entry.identity.system:  # pgjdbc reads "system" as a file name; this makes it use the CAs of its JVM
        files = {"sslfactory": "org.postgresql.ssl.DefaultJavaSSLFactory"}
    if not entry.certificate and user.ca:
        return files | {"sslcert": "", "sslkey": ""}  # present no certificate, even if one exists at the default path
    if directory and entry.certificate:
        files |= {"sslcert": f"{directory}/{layout.CLIENT_CERTIFICATE}", "sslkey": f"{directory}/{jdbc_key(user)}"}
    if entry.certificate and jdbc_key(user) == layout.CLIENT_KEY:  # without Java's name, it assumes RSA
        files["pemKeyAlgorithm"] = _JAVA_KEYS[user.table.key_algorithm.partition("-")[0]]
    return files


_JAVA_KEYS = {"rsa": "RSA", "ecdsa": "EC", "ed25519": "EdDSA"}


def jdbc_key(user: User) -> str:
    """Return the file of a bundle with the key in the best format for pgjdbc."""
    if any(one.startswith("pkcs12") for one in user.table.formats):
        return layout.CLIENT_PKCS12
    return layout.CLIENT_PKCS8 if "pkcs8-der" in user.table.formats else layout.CLIENT_KEY


def go(entry: Entry, values: Mapping[str, str]) -> str | None:
    """Return a URL for pgx and lib/pq, which send unknown parameters to the server as settings.

    Return None if :func:`untold` has a reason.
    """
    return _of_known("go", entry, values)


def node(entry: Entry, values: Mapping[str, str]) -> str | None:
    """Return a URL for node-postgres, which can use the modes of libpq. Return None as :func:`go` does.

    A release that does not know `sslmode` would connect without TLS. With `ssl`, it verifies by the CAs of Node.
    """
    found = _of_known("node", entry, values)
    return found and f"{found}&uselibpqcompat=true{'&ssl=true' if entry.sslmode in _TLS_ALWAYS else ''}"


def _of_known(form: str, entry: Entry, values: Mapping[str, str]) -> str | None:
    host = dialled(entry)
    if host is None or untold(form, entry, values):
        return None
    chosen = {name: value for name, value in values.items() if name in _KNOWN | _URI_PARTS and value != NO_FILE}
    if form == "node" and entry.identity.system:
        del chosen["sslrootcert"]  # it would read a file of that name; without it, it uses the CAs of Node
    return uri({**chosen, "host": host, "sslmode": verifying(entry)})


def untold(form: str, entry: Entry, values: Mapping[str, str]) -> str | None:
    """Return why a form is null, as a sentence for the user, or None. pgjdbc can be told everything."""
    if form == "jdbc":
        return None
    host = dialled(entry)
    if host is None:
        return "It is null for a host with another address: the driver cannot dial one and verify the other."
    if unrooted(entry, values):
        return "It is null without `directory`: not every release of the driver looks for `root.crt` itself."
    if form == "node" and entry.sslmode == "verify-full" and is_address(host):
        return "It is null for an address: pg before 8.23.1 would verify the name `localhost` in its place."
    return None


def unrooted(entry: Entry, values: Mapping[str, str]) -> bool:
    """Return whether a driver must look for `root.crt` by itself, as libpq does."""
    return entry.sslmode in _TLS_ALWAYS and "sslrootcert" not in values


def verifying(entry: Entry) -> SslMode:
    """Return the mode for drivers whose `require` verifies nothing, or nothing if the file of roots is missing.

    libpq verifies the issuer, because every bundle has its roots.
    """
    return "verify-ca" if entry.sslmode == "require" else entry.sslmode


def dialled(entry: Entry) -> str | None:
    """Return the host for drivers without `hostaddr`.

    Return None if they cannot verify a host other than the dialled one.
    """
    host = entry.identity.table.hosts[0]
    if entry.hostaddr is None or host in (entry.hostaddr, "localhost"):
        return host
    return None if entry.sslmode == "verify-full" else entry.hostaddr


def services(sections: Iterable[tuple[str, Mapping[str, str]]]) -> str:
    """Return a pg_service.conf: one section for each entry, and a comment for an entry that the file cannot contain."""
    return "\n".join(_service(name, values) for name, values in sections)


def _service(name: str, values: Mapping[str, str]) -> str:
    if lost := unserviceable(values):
        return f"# No [{name}]: libpq drops the blank at the end of its {lost}.\n# It is in connections.json.\n"
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in values.items())


def unserviceable(values: Mapping[str, str]) -> str | None:
    """Name the parameter that a service file cannot contain, if there is one.

    The file has no quoting: a value is the rest of its line, without blanks at the end (parseServiceFile).
    """
    return next((key for key, value in values.items() if value.endswith(" ")), None)


_TLS_ALWAYS = frozenset({"require", "verify-ca", "verify-full"})
"""The modes of clients that connect over TLS or not at all."""
_KNOWN = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey"})
"""The parameters that pgx, lib/pq and node-postgres all know."""
_URI_PARTS = frozenset({"host", "port", "dbname", "user"})

_PLAIN = re.compile(r"[A-Za-z0-9._/:-]+")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*")
"""Characters that :func:`quote` does not encode (RFC 3986, 2.3)."""


def _encode(value: str) -> str:
    return value if _UNRESERVED.fullmatch(value) else quote(value, safe="")


def _quote(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
