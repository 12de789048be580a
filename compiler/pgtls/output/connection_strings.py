"""The parameters of an entry as a client writes them: a URI, a key/value string, a JDBC URL, a service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from pgtls.postgres import libpq
from pgtls.postgres.libpq import DIRECT_SINCE, authentications
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pgtls.access.model import Entry
    from pgtls.fleet.model import User

NOTHING: Mapping[str, str] = {}

NO_FILE = "/nonexistent"
"""A client certificate file that libpq does not find is silently none (fe-secure-openssl.c, initialize_SSL)."""


def parameters(user: User, entry: Entry) -> dict[str, str]:
    """Return the libpq parameters of an entry, as far as the oldest libpq of the bundle knows them.

    The paths are absolute if the bundle's directory is known; otherwise libpq's defaults apply.
    """
    known = libpq.parameters(user.table.libpq)
    wanted = {
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
        **_demands(user, entry),
    }
    return {name: value for name, value in wanted.items() if name in known}


def _demands(user: User, entry: Entry) -> dict[str, str]:
    """Return what makes a client reject a server that asks for less than the policies."""
    methods = authentications({policy.table.auth for policy in entry.policies}, user.table.libpq)
    asked = entry.certificate and all(policy.asks_certificate != "none" for policy in entry.policies)
    return {
        **({"require_auth": ",".join(methods)} if methods else {}),
        **({"sslcertmode": "require"} if asked else {}),
        **({"sslnegotiation": "direct"} if _direct(entry) else {}),
    }


def _direct(entry: Entry) -> bool:
    """Return whether the connection can begin with TLS: no one on the way can answer first."""
    return entry.server.table.postgres >= DIRECT_SINCE and entry.sslmode in ("require", "verify-ca", "verify-full")


def _files(user: User, entry: Entry) -> dict[str, str]:
    directory = user.table.directory
    files = {"sslrootcert": f"{directory}/{layout.CLIENT_TRUST}"} if directory else {}
    if directory and user.table.crl:
        files["sslcrl"] = f"{directory}/{layout.CLIENT_CRL}"
    if entry.identity.system:
        files = {"sslrootcert": "system"}
    if not entry.certificate and user.ca:
        # libpq would present the certificate that lies in its default place.
        return files | ({"sslcertmode": "disable"} if user.table.libpq >= 16 else {"sslcert": NO_FILE})
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
    """Return libpq's keyword/value string; values are quoted, with backslash and quote escaped."""
    return " ".join(f"{name}={_quote(value)}" for name, value in values.items())


def jdbc(user: User, entries: Sequence[Entry], more: Mapping[str, str] = NOTHING) -> str:
    """Return the URL for pgjdbc, in its own spelling of the parameters: of one entry, or of several servers.

    A pgjdbc that does not know one of them passes over it.
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
        # Its `require` verifies nothing, where libpq verifies the issuer.
        "sslmode": "verify-ca" if entry.sslmode == "require" else entry.sslmode,
        **_jdbc_files(user, entry),
        "gssEncMode": "disable",
        **({"channelBinding": entry.channel_binding} if entry.channel_binding else {}),
        **({"requireAuth": ",".join(methods)} if methods else {}),
        **({"sslNegotiation": "direct"} if _direct(entry) else {}),
        # What takes replication commands alone takes none of those that pgjdbc sends to learn about the server.
        **(
            {"replication": "true", "assumeMinServerVersion": "13", "preferQueryMode": "simple"}
            if entry.replication
            else {}
        ),
    }


def _jdbc_files(user: User, entry: Entry) -> dict[str, str]:
    directory = user.table.directory
    files = {"sslrootcert": f"{directory}/{layout.CLIENT_TRUST}"} if directory else {}
    if entry.identity.system:  # to pgjdbc, "system" is the name of a file; this tells it to use the CAs of its JVM
        files = {"sslfactory": "org.postgresql.ssl.DefaultJavaSSLFactory"}
    if not entry.certificate and user.ca:
        return files | {"sslcert": "", "sslkey": ""}  # none, also where one lies in the default place
    if directory and entry.certificate:
        files |= {"sslcert": f"{directory}/{layout.CLIENT_CERTIFICATE}", "sslkey": f"{directory}/{jdbc_key(user)}"}
    if entry.certificate and jdbc_key(user) == layout.CLIENT_KEY:  # the word of Java for the algorithm, or it takes RSA
        files["pemKeyAlgorithm"] = _JAVA_KEYS[user.table.key_algorithm.partition("-")[0]]
    return files


_JAVA_KEYS = {"rsa": "RSA", "ecdsa": "EC", "ed25519": "EdDSA"}


def jdbc_key(user: User) -> str:
    """Return the file of a bundle that has the key in the form that suits pgjdbc best."""
    if any(one.startswith("pkcs12") for one in user.table.formats):
        return layout.CLIENT_PKCS12
    return layout.CLIENT_PKCS8 if "pkcs8-der" in user.table.formats else layout.CLIENT_KEY


def go(entry: Entry, values: Mapping[str, str]) -> str | None:
    """Return a URL for pgx and lib/pq, which send any other parameter to the server as a setting.

    None where they cannot dial the address and verify the name.
    """
    return _of_known(entry, values, {"sslmode", "sslrootcert", "sslcert", "sslkey"})


def node(entry: Entry, values: Mapping[str, str]) -> str | None:
    """Return a URL for node-postgres, which takes the modes of libpq if told so; None as for :func:`go`."""
    found = _of_known(entry, values, {"sslmode", "sslrootcert", "sslcert", "sslkey"})
    return found and f"{found}&uselibpqcompat=true"


def _of_known(entry: Entry, values: Mapping[str, str], known: set[str]) -> str | None:
    host = dialled(entry)
    if host is None or entry.replication:
        return None
    chosen = {name: value for name, value in values.items() if name in known | _URI_PARTS and value != NO_FILE}
    return uri({**chosen, "host": host})


def dialled(entry: Entry) -> str | None:
    """Return the host for drivers without `hostaddr`; None: the one that they verify is not the one that they dial."""
    host = entry.identity.table.hosts[0]
    if entry.hostaddr is None or host in (entry.hostaddr, "localhost"):
        return host
    return None if entry.sslmode == "verify-full" else entry.hostaddr


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

_PLAIN = re.compile(r"[A-Za-z0-9._/:-]+")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*")
"""RFC 3986, 2.3: what :func:`quote` leaves as it is."""


def _encode(value: str) -> str:
    return value if _UNRESERVED.fullmatch(value) else quote(value, safe="")


def _quote(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
