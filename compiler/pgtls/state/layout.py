"""Every path, mode and kind of the out directory."""

from __future__ import annotations

import re
from functools import cache

from pgtls.pki.model import Entity, ca_entity

CA_CERTIFICATE = "ca.crt"
CA_KEY = "ca.key"
CA_KEY_URI = "ca.key.uri"
"""Where the key of a CA is, instead of the key: its PKCS#11 URI."""
CA_ACCOUNT_KEY = "account.key"
"""The key of the account with the ACME server of a CA."""
CA_CRL = "ca.crl"
CA_REQUEST = "ca.csr"
CA_PREVIOUS_CERTIFICATE = "previous.crt"

CAS = "ca/"
"""The directory of all CAs."""
RETIRED = "ca/.retired/"
"""The directory of CAs that left the spec."""
_BROUGHT = f"-brought/{CA_CRL}"

SERVER_CERTIFICATE = "server.crt"
SERVER_KEY = "server.key"
SERVER_REQUEST = "server.csr"
SERVER_NEXT_CERTIFICATE = "next.crt"
SERVER_NEXT_KEY = "next.key"
SERVER_PREVIOUS_CERTIFICATE = "previous.crt"
SERVER_TRUST = "root.crt"
SERVER_CRL = "root.crl"
SERVER_CRLS = "root.crl.d"
HBA = "pg_hba.conf"
IDENT = "pg_ident.conf"
CONF = "pgtls.conf"
INSTALLER = "install.sh"
HOSTS = "pg_hosts.conf"
REPLICATION = "replication"
"""The directory of a standby, in its own, that has what it logs in to its primary with."""
LOGIN = "login"
"""The directory of a pooler, in its own, that has what it logs in to its server with."""
POOLER_CONF = "pgtls.ini"
POOLER_DATABASES = "databases.ini"
USER_LIST = "userlist.txt"
PRIMARY_CONNINFO = "primary_conninfo.conf"
IDENTITIES = "sni"
"""The directory of a server's further identities, in its own."""

CLIENT_CERTIFICATE = "postgresql.crt"
CLIENT_KEY = "postgresql.key"
CLIENT_PKCS8 = "postgresql.pk8"
CLIENT_PKCS12 = "postgresql.p12"
CLIENT_REQUEST = "postgresql.csr"
CLIENT_TRUST = "root.crt"
CLIENT_CRL = "root.crl"
SERVICES = "pg_service.conf"
ENVIRONMENT = "env.sh"
ENVIRONMENT_WINDOWS = "env.ps1"
INSTALLER_WINDOWS = "install.ps1"
JDBC = "jdbc.properties"
PGADMIN = "pgadmin.json"
CONNECTIONS = "connections.json"
README = "README.md"

KEYS = frozenset((CA_KEY, CA_ACCOUNT_KEY, SERVER_KEY, SERVER_NEXT_KEY, CLIENT_KEY, CLIENT_PKCS8, CLIENT_PKCS12))
"""The names of the files that hold private keys."""

PUBLIC = 0o644
SECRET = 0o600

_DIRECTORIES = {"ca": "ca", "server": "servers", "pooler": "poolers", "user": "clients"}
_REQUESTS = {"ca": CA_REQUEST, "server": SERVER_REQUEST, "pooler": SERVER_REQUEST, "user": CLIENT_REQUEST}
_PAIRS = {
    "ca": (CA_CERTIFICATE, CA_KEY),
    "server": (SERVER_CERTIFICATE, SERVER_KEY),
    "pooler": (SERVER_CERTIFICATE, SERVER_KEY),
    "user": (CLIENT_CERTIFICATE, CLIENT_KEY),
}


@cache  # an entity has several files
def directory(entity: Entity) -> str:
    """Return the directory of an entity: ``servers/primary`` for ``server.primary``.

    A further identity has one below its server's: ``servers/primary/sni/shop.example.com``.
    """
    kind, name = entity.table
    below = f"/{IDENTITIES}/{entity.host}" if entity.host else ""
    return f"{_DIRECTORIES[kind]}/{name}{below}"


def path(entity: Entity, file: str) -> str:
    """Return the path of one file of an entity."""
    return f"{directory(entity)}/{file}"


def certificate_path(entity: Entity) -> str:
    """Return the path of an entity's certificate."""
    return path(entity, _PAIRS[entity.kind][0])


def key_path(entity: Entity) -> str:
    """Return the path of an entity's private key."""
    return path(entity, _PAIRS[entity.kind][1])


def request_path(entity: Entity) -> str:
    """Return the path of an entity's certificate request, for another CA to sign."""
    return path(entity, _REQUESTS[entity.kind])


def crl_path(ca: str) -> str:
    """Return the path of the CRL of the CA called NAME."""
    return path(ca_entity(ca), CA_CRL)


_LOGIN = frozenset((CLIENT_CERTIFICATE, CLIENT_KEY, CLIENT_TRUST, CLIENT_CRL, PRIMARY_CONNINFO))
_SERVER = frozenset(
    (
        *(SERVER_CERTIFICATE, SERVER_KEY, SERVER_REQUEST, SERVER_NEXT_CERTIFICATE, SERVER_NEXT_KEY),
        *(SERVER_PREVIOUS_CERTIFICATE, SERVER_TRUST, SERVER_CRL, HBA, IDENT, CONF, INSTALLER, HOSTS),
        *(POOLER_CONF, POOLER_DATABASES, USER_LIST),
        *(f"{directory}/{name}" for directory in (REPLICATION, LOGIN) for name in _LOGIN),
    )
)
_FILES = {
    "ca": frozenset((CA_CERTIFICATE, CA_KEY, CA_KEY_URI, CA_ACCOUNT_KEY, CA_CRL, CA_REQUEST, CA_PREVIOUS_CERTIFICATE)),
    "server": _SERVER,
    "pooler": _SERVER,
    "user": frozenset(
        (
            *(CLIENT_CERTIFICATE, CLIENT_KEY, CLIENT_PKCS8, CLIENT_PKCS12, CLIENT_REQUEST, CLIENT_TRUST, CLIENT_CRL),
            *(SERVICES, ENVIRONMENT, ENVIRONMENT_WINDOWS, INSTALLER, INSTALLER_WINDOWS, JDBC, PGADMIN, CONNECTIONS),
            README,
        )
    ),
}
"""By kind of entity: the files in its directory whose names follow from nothing else."""
_HASHED = re.compile(r"[0-9a-f]{8}\.r[0-9]+")


def is_hashed(name: str) -> bool:
    """Return whether a file may be one of a directory of CRLs, by its name: the hash of the issuer and a number."""
    return _HASHED.fullmatch(name) is not None


def brought_crls(ca: str) -> str:
    """Return the path of the CRLs that the ``crl_file`` of a CA brought in any build."""
    return f"{RETIRED}{ca}{_BROUGHT}"


def has_brought_crls(file: str) -> bool:
    """Return whether this is the path of the CRLs that a ``crl_file`` brought."""
    return file.startswith(RETIRED) and file.endswith(_BROUGHT)


def archive_path(entity: Entity) -> str:
    """Return the path of a user's bundle as one file."""
    return path(entity, f"{entity.name}.zip")


def gives(entity: Entity, file: str) -> bool:
    """Return whether a build may write a file of an entity at a path."""
    if file.startswith(RETIRED):
        where, _, name = file.removeprefix(RETIRED).partition("/")
        return entity.kind == "ca" and where.rpartition("-")[0] == entity.name and name in _FILES["ca"]
    if not file.startswith(start := path(entity, "")):
        return False
    name = file.removeprefix(start)
    directory, _, last = name.rpartition("/")
    hashed = entity.kind in ("server", "pooler") and directory == SERVER_CRLS and is_hashed(last)
    archive = entity.kind == "user" and file == archive_path(entity)
    return hashed or archive or name in _FILES[entity.kind]
