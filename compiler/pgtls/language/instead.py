"""What people write for a key or a value of the language, and what the language calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SAID_ELSEWHERE = {
    "lifetime": "validity",
    "days": "validity",
    "algorithm": "key_algorithm",
    "key_type": "key_algorithm",
    "cn": "common_name",
    "cert": "cert_file",
    "certificate": "cert_file",
    "key": "key_file",
    "csr": "csr_file",
    "email": "subject.email",
    "organization": "subject.organization",
    "country": "subject.country",
}
_SERVER = {
    **dict.fromkeys(("host", "hostname", "name", "address", "addresses", "san", "sans", "dns", "names"), "hosts"),
    "version": "postgres",
    "issuer": "ca",
    "clients": "client_ca",
    "ssl_ciphers": "ciphers",
    "ssl_groups": "groups",
    "ssl_ecdh_curve": "groups",
    "ssl_min_protocol_version": "min_tls",
    "ssl_tls13_ciphers": "tls13_ciphers",
    "ssl_passphrase_command": "passphrase_command",
    "ssl_ca_file": "client_ca",
    **dict.fromkeys(("ssl_crl_file", "ssl_crl_dir"), "crl"),
    **dict.fromkeys(("hba_file", "ident_file", "hosts_file"), "directory"),
    "tls": "min_tls",
}
_POOLER = {
    **dict.fromkeys(("host", "hostname", "name", "address", "addresses", "san", "sans", "dns", "names"), "hosts"),
    **dict.fromkeys(("backend", "upstream", "target", "primary", "database"), "server"),
    **dict.fromkeys(("login", "role", "auth_user", "server_user"), "user"),
    "listen_port": "port",
    "issuer": "ca",
    "clients": "client_ca",
}
_POLICY = {
    **dict.fromkeys(
        ("networks", "network", "address", "addresses", "hosts", "host", "cidr", "source", "client"), "from"
    ),
    **dict.fromkeys(("roles", "role", "user", "groups", "group"), "users"),
    **dict.fromkeys(("database", "db", "dbs"), "databases"),
    **dict.fromkeys(("method", "authentication"), "auth"),
    **dict.fromkeys(("ssl", "tls", "mode", "type", "ssl_mode"), "sslmode"),
    **dict.fromkeys(("clientcert", "certificate", "cert"), "client_cert"),
    **dict.fromkeys(("expires", "valid_until", "not_after"), "until"),
    "options": "auth_options",
    "order": "priority",
    "comment": "description",
}
_USER = {"issuer": "ca", "role": "roles", **dict.fromkeys(("expires", "valid_until", "not_after"), "until")}
_CA = {**dict.fromkeys(("parent", "signed_by", "signer", "ca"), "issuer"), "pathlen": "path_length"}

KEYS: Mapping[str, Mapping[str, str]] = {
    "ca": _SAID_ELSEWHERE | _CA,
    "server": _SAID_ELSEWHERE | _SERVER,
    "pooler": _SAID_ELSEWHERE | _POOLER,
    "user": _SAID_ELSEWHERE | _USER,
    "policy": _POLICY,
    "group": {"members": "users", "user": "users", "roles": "users"},
    "map": {
        **dict.fromkeys(("from", "system_user", "system", "name", "cn", "cert", "certificate", "os_user"), "identity"),
        **dict.fromkeys(("to", "user", "roles", "database_user", "db_user", "postgres", "pg_user", "as"), "role"),
    },
    "network": {"address": "addresses", "cidr": "addresses", "from": "addresses", "hosts": "addresses"},
}
"""Keys of the same table, by its kind (or ``map`` for an item of that field) and by what people write."""

HINTS: Mapping[tuple[str, str], str] = {
    ("policy", "groups"): 'name a group in users: users = ["@NAME"]',
    ("policy", "group"): 'name a group in users: users = ["@NAME"]',
    ("policy", "networks"): 'name a network in from: from = ["@NAME"]',
    ("policy", "network"): 'name a network in from: from = ["@NAME"]',
    ("policy", "ca"): "a server says which client CAs it trusts: client_ca in [server.NAME]",
    ("policy", "clientname"): 'a user says what is matched: identity = "dn" in [user.NAME]',
    ("user", "database"): "a policy says which databases: databases in [policy.NAME]",
    ("user", "databases"): "a policy says which databases: databases in [policy.NAME]",
    ("user", "replication"): 'a policy admits to replication: databases = ["replication"] in [policy.NAME]',
    ("user", "readonly"): "pgtls says who may connect; rights are granted in the database: GRANT SELECT ON …",
    ("user", "groups"): "a group lists its users: users in [group.NAME]",
    ("user", "group"): "a group lists its users: users in [group.NAME]",
    ("user", "from"): "a policy says from where: from in [policy.NAME]",
    ("user", "auth"): "a policy says the method: auth in [policy.NAME]",
    ("server", "users"): "a policy says which users: users in [policy.NAME]",
    ("server", "listen_addresses"): 'write settings = { listen_addresses = "..." }',
}
"""What to do about a key that belongs elsewhere, by kind and key."""

TABLES: Mapping[str, str] = {
    **dict.fromkeys(("role", "roles", "client", "clients", "people"), "user"),
    **dict.fromkeys(("authority", "authorities", "cert", "certificate"), "ca"),
    **dict.fromkeys(("host", "hosts", "instance", "cluster", "db"), "server"),
    **dict.fromkeys(("pgbouncer", "bouncer", "poolers", "proxy"), "pooler"),
    **dict.fromkeys(("rule", "rules", "access", "hba", "policies"), "policy"),
}
"""Kinds of tables, by what people write."""

CHOICES: Mapping[str, str] = {
    **dict.fromkeys(("rsa", "rsa2048", "rsa:2048"), "rsa-2048"),
    **dict.fromkeys(("rsa3072", "rsa:3072"), "rsa-3072"),
    **dict.fromkeys(("rsa4096", "rsa:4096"), "rsa-4096"),
    **dict.fromkeys(("ec", "ecdsa", "p256", "p-256", "prime256v1", "secp256r1", "ecdsa-256"), "ecdsa-p256"),
    **dict.fromkeys(("p384", "p-384", "secp384r1", "ecdsa-384"), "ecdsa-p384"),
    **{f"tlsv{version}": version for version in ("1.0", "1.1", "1.2", "1.3")},
    **{f"tls {version}": version for version in ("1.0", "1.1", "1.2", "1.3")},
    "tlsv1": "1.0",
    **dict.fromkeys(("p12", "pfx", "pkcs#12"), "pkcs12"),
    **dict.fromkeys(("der", "pk8", "pkcs8"), "pkcs8-der"),
    **dict.fromkeys(("full", "verify", "strict", "on", "require", "required"), "verify-full"),
    **dict.fromkeys(("off", "no", "none"), "disable"),
    **dict.fromkeys(("subject", "dn=", "clientname=dn"), "dn"),
}
"""Values of a field with fixed choices, by what people write in lower case; only a choice of that field counts."""
