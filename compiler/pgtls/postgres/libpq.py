"""Define libpq's connection parameters by version.

An older libpq rejects an unknown parameter (``invalid connection option``), so bundles contain only parameters that
their oldest libpq supports. Source: fe-connect.c, ``PQconninfoOptions``.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection


class Parameter(NamedTuple):
    """A connection parameter, the first and the last libpq that has it, and the environment variable that sets it."""

    name: str
    since: int = 13
    until: int = 99
    env: str | None = None


PARAMETERS = (
    Parameter("service", env="PGSERVICE"),
    Parameter("host", env="PGHOST"),
    Parameter("hostaddr", env="PGHOSTADDR"),
    Parameter("port", env="PGPORT"),
    Parameter("dbname", env="PGDATABASE"),
    Parameter("user", env="PGUSER"),
    Parameter("password", env="PGPASSWORD"),
    Parameter("passfile", env="PGPASSFILE"),
    Parameter("channel_binding", env="PGCHANNELBINDING"),
    Parameter("require_auth", since=16, env="PGREQUIREAUTH"),
    Parameter("sslmode", env="PGSSLMODE"),
    Parameter("sslnegotiation", since=17, env="PGSSLNEGOTIATION"),
    Parameter("sslcompression", env="PGSSLCOMPRESSION"),
    Parameter("sslcert", env="PGSSLCERT"),
    Parameter("sslkey", env="PGSSLKEY"),
    Parameter("sslpassword"),
    Parameter("sslcertmode", since=16, env="PGSSLCERTMODE"),
    Parameter("sslrootcert", env="PGSSLROOTCERT"),
    Parameter("sslcrl", env="PGSSLCRL"),
    Parameter("sslcrldir", since=14, env="PGSSLCRLDIR"),
    Parameter("sslsni", since=14, env="PGSSLSNI"),
    Parameter("ssl_min_protocol_version", env="PGSSLMINPROTOCOLVERSION"),
    Parameter("ssl_max_protocol_version", env="PGSSLMAXPROTOCOLVERSION"),
    Parameter("sslkeylogfile", since=18),
    Parameter("requirepeer", env="PGREQUIREPEER"),
    Parameter("gssencmode", env="PGGSSENCMODE"),
    Parameter("gssdelegation", since=16, env="PGGSSDELEGATION"),
    Parameter("krbsrvname", env="PGKRBSRVNAME"),
    Parameter("gsslib", env="PGGSSLIB"),
    Parameter("application_name", env="PGAPPNAME"),
    Parameter("connect_timeout", env="PGCONNECT_TIMEOUT"),
    Parameter("options", env="PGOPTIONS"),
    Parameter("replication"),
    Parameter("target_session_attrs", env="PGTARGETSESSIONATTRS"),
    Parameter("load_balance_hosts", since=16, env="PGLOADBALANCEHOSTS"),
    Parameter("oauth_issuer", since=18),
    Parameter("oauth_client_id", since=18),
    Parameter("oauth_client_secret", since=18),
    Parameter("oauth_scope", since=18),
    Parameter("oauth_ca_file", since=19, env="PGOAUTHCAFILE"),
    Parameter("scram_client_key", since=18),
    Parameter("scram_server_key", since=18),
    Parameter("min_protocol_version", since=18, env="PGMINPROTOCOLVERSION"),
    Parameter("max_protocol_version", since=18, env="PGMAXPROTOCOLVERSION"),
    Parameter("servicefile", since=19, env="PGSERVICEFILE"),
    Parameter("client_encoding", env="PGCLIENTENCODING"),
    Parameter("fallback_application_name"),
    Parameter("keepalives"),
    Parameter("keepalives_idle"),
    Parameter("keepalives_interval"),
    Parameter("keepalives_count"),
    Parameter("tcp_user_timeout"),
    Parameter("authtype", until=13, env="PGAUTHTYPE"),
    Parameter("tty", until=13, env="PGTTY"),
)

ADDRESSES_SINCE = 15
"""Addresses in a certificate's SAN are compared with the host. An older libpq ignores them."""

PREFER_STANDBY_SINCE = 14
"""``target_session_attrs=prefer-standby``. An older libpq supports ``any`` and ``read-write``."""

REQUIRE_AUTH_SINCE = 16
"""``require_auth`` and ``sslcertmode``: a client rejects a server that asks for less than it should."""

SYSTEM_ROOTS_SINCE = 16
"""``sslrootcert=system``. An older libpq reads the word as a file name."""

SNI_SINCE = 14
"""The first libpq that sends a host name (``sslsni``), unless it dials an address."""


@cache
def parameters(version: int) -> dict[str, Parameter]:
    """Return the parameters that a libpq of that version supports, by name."""
    return {parameter.name: parameter for parameter in PARAMETERS if parameter.since <= version <= parameter.until}


LONGEST_DIRECTORY = 980
"""In bytes. A line of pg_service.conf has at most 1,021 (fe-connect.c, parseServiceFile): a parameter, a file in it."""

DIRECT_SINCE = 17
"""``sslnegotiation=direct``: server and libpq."""

OAUTH_SINCE = 18

_REQUESTS = {
    **dict.fromkeys(("trust", "cert", "ident", "peer"), ("none",)),
    "scram-sha-256": ("scram-sha-256",),
    "md5": ("scram-sha-256", "md5"),
    **dict.fromkeys(("password", "ldap", "pam", "bsd", "radius"), ("password",)),
    "gss": ("gss",),
    "sspi": ("sspi",),
    "oauth": ("oauth",),
}
"""The requests of a server for each method of pg_hba.conf, in the words of ``require_auth``, strongest first.

With ``md5``, a server requests SCRAM if the stored password is a SCRAM secret. With ``cert``, it requests only the
certificate.
"""


def authentications(methods: Collection[str], version: int) -> tuple[str, ...]:
    """Return the ``require_auth`` for these methods. Return nothing if a libpq of that version lacks a word for one."""
    words = dict.fromkeys(word for method in sorted(methods, key=tuple(_REQUESTS).index) for word in _REQUESTS[method])
    return () if "oauth" in words and version < OAUTH_SINCE else tuple(words)
