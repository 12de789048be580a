"""The tables of the language, as pydantic models: shape only, no rule that spans two tables.

``pgtls schema``, editors and the reference page show these descriptions. ``None`` means that the spec does not set a
field. Its description says what that means, and :mod:`pgtls.fleet`, which knows the other tables, fills it in.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pgtls.language.values import (
    MOST_ITEMS,
    Bounded,
    DirectoryUrl,
    Duration,
    Email,
    Instant,
    NameConstraints,
    NameOf,
    OpenSsl,
    OptionValue,
    Reason,
    Recipient,
    Scalar,
    Secret,
    SerialNumber,
    Several,
    Subject,
    Table,
    Text,
    TokenKey,
    Tuple,
    wrong,
)
from pgtls.pki.model import KeyAlgorithm
from pgtls.postgres.drivers import DriverName
from pgtls.postgres.releases import NEWEST, OLDEST

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
SSLMODES: tuple[SslMode, ...] = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""From the weakest to the strongest."""

_TEN_YEARS = timedelta(days=3650)
_QUARTER = timedelta(days=90)

Port = Annotated[int, Field(ge=1, le=65535)]
RenewBefore = Annotated[
    Duration | None,
    Field(description="How long before the end a build renews it. Default: a third of the lifetime issued."),
]


class Challenge(Table):
    """How a host proves to an ACME CA that it is ours (RFC 8555, 8)."""

    directory: Text | None = Field(
        None,
        description="For http-01: the directory that the web server of each host serves as "
        "`/.well-known/acme-challenge/`. A build puts a file there and removes it.",
        examples=["/var/www/acme-challenge"],
    )
    command: Several[Text] | None = Field(
        None,
        description="The program, with its arguments, that publishes a challenge. It also gets `present` or `cleanup`, "
        "the name of the record and its content.",
        examples=[["./dns.sh"]],
    )
    type: Literal["http-01", "dns-01"] | None = Field(
        None, description="The type of challenge. Default: `http-01` with `directory`, `dns-01` with `command`."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.directory is None) == (self.command is None):
            raise wrong("value", "a table with either directory or command")
        if self.directory is not None and self.type == "dns-01":
            raise wrong("value", 'a table with command for type = "dns-01": a directory serves http-01')
        return self

    @property
    def kind(self) -> Literal["http-01", "dns-01"]:
        """The type of challenge that it answers."""
        return self.type or ("http-01" if self.directory is not None else "dns-01")


class AccountBinding(Table):
    """The account of an ACME CA's customer, which the CA hands out (RFC 8555, 7.3.4)."""

    kid: Text = Field(description="The name of the key.", examples=["kid-1"])
    hmac: Secret = Field(description="The source of the key, in base64url.", examples=[{"env": "EAB_HMAC"}])


class Sign(Table):
    """The signer of a CA whose key is not here: a program, or an ACME server. Exactly one of `command` and `acme`."""

    command: Several[Text] | None = Field(
        None,
        description="The program, with its arguments. It reads the CSR (PEM) from stdin and prints the certificate, "
        "then the CAs between it and this CA (PEM).",
        examples=[["./sign.sh"]],
    )
    timeout: Annotated[int, Field(ge=1, le=3600)] = Field(
        120, description="After so many seconds pgtls gives up on one certificate.", examples=[30]
    )
    acme: DirectoryUrl | None = Field(
        None,
        description="The URL of the directory of an ACME server (RFC 8555), which signs servers and poolers (needs "
        "the library acme). Requires `challenge`.",
        examples=["https://acme-v02.api.letsencrypt.org/directory"],
    )
    challenge: Challenge | None = Field(
        None, description="ACME: how hosts prove that they are ours.", examples=[{"command": ["./dns.sh"]}]
    )
    profile: Text | None = Field(
        None, description="ACME: the profile of certificates. Default: the CA decides.", examples=["shortlived"]
    )
    contact: Email | None = Field(
        None, description="ACME: the e-mail address of the account.", examples=["dba@example.com"]
    )
    terms_agreed: bool = Field(
        False, description="ACME: you agree to the terms of service of the CA. Required if it has any."
    )
    account_binding: AccountBinding | None = Field(
        None,
        description="ACME: external account binding, for CAs that require it.",
        examples=[{"kid": "kid-1", "hmac": {"env": "EAB_HMAC"}}],
    )
    roots_file: Text | None = Field(
        None,
        description="ACME: the CAs (PEM) that the HTTPS server of the directory may have its certificate from. "
        "Default: public CAs.",
        examples=["company-root.crt"],
    )

    @model_validator(mode="after")
    def _one_signer(self) -> Self:
        if (self.command is None) == (self.acme is None):
            raise wrong("value", "a table with either command or acme")
        if self.acme is not None and self.challenge is None:
            raise wrong("value", "a table with challenge, which acme requires")
        if self.acme is None and (said := sorted(self.model_fields_set - {"command", "timeout"})):
            raise wrong("value", f"a table without {said[0]}, which is for acme")
        return self


class CaTable(Table):
    """A certificate authority: `[ca.NAME]`."""

    issuer: Text | None = Field(
        None, description="The CA that signs this one. Default: none; the CA is a self-signed root.", examples=["root"]
    )
    common_name: Text | None = Field(
        None,
        description="The subject's common name, 64 characters at most. Default: NAME.",
        examples=["Example Root CA"],
    )
    subject: Subject = Field(Subject(), description="The rest of the subject.")
    key_algorithm: KeyAlgorithm = Field("ecdsa-p256", description="The algorithm of the key.")
    validity: Duration = Field(_TEN_YEARS, description="The lifetime of the certificate.")
    renew_before: RenewBefore = None
    path_length: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None,
        description="How many levels of CAs are allowed below it. Default: no limit for a root; "
        "otherwise as many as the spec has.",
        examples=[0, 1],
    )
    name_constraints: NameConstraints | None = Field(
        None, description="The host names and addresses that certificates below it may hold."
    )
    passphrase: Secret | None = Field(None, description="Encrypts the key (PKCS#8, AES-256).")
    cert_file: Text | None = Field(
        None,
        description="A certificate that you bring. Without `key_file` the CA is only trusted and signs nothing.",
        examples=["secrets/company-ca.crt"],
    )
    key_file: Text | None = Field(None, description="A key that you bring.", examples=["secrets/company-ca.key"])
    key: TokenKey | None = Field(
        None,
        description="The key is in a PKCS#11 token and never in a file. A build makes it there, or takes the one that "
        "the URI names (needs python-pkcs11).",
        examples=[
            {
                "pkcs11": "pkcs11:token=pgtls;object=root",
                "module": "/usr/lib/softhsm/libsofthsm2.so",
                "pin": {"env": "TOKEN_PIN"},
            }
        ],
    )
    offline: bool = Field(False, description="The key may be elsewhere: certificates that it must sign wait for it.")
    external: bool = Field(
        False, description="pgtls makes the key and a CSR, another CA signs, and `cert_file` names the certificate."
    )
    sign: Sign | None = Field(
        None,
        description="A build has this program or ACME server sign each certificate that this CA must sign. Requires "
        '`cert_file`, without `key_file`. In `[ca.system]`, it signs for `ca = "system"`, without `cert_file`.',
        examples=[{"command": ["./sign.sh"]}],
    )
    crl: bool = Field(True, description="Publish a certificate revocation list.")
    crl_validity: Duration | None = Field(
        None, description="The lifetime of a CRL. Default: 365d; for an offline CA, `validity`."
    )
    crl_file: Text | None = Field(
        None,
        description="The CRL of a CA whose key is not here, and those of the CAs above it that came in `cert_file`. "
        "What a CRL lists of a CA whose key is here, this CA lists from then on.",
        examples=["company-ca.crl"],
    )
    revoked: Tuple[SerialNumber] = Field(
        (), description="Serial numbers (hex) issued outside pgtls that this CA revokes.", examples=[["0a:1b:2c"]]
    )


class SniTable(Table):
    """A further identity of a server, chosen by the host name that the client asks for: `[[server.NAME.sni]]`."""

    hosts: Several[Text] = Field(
        description="The host names that clients ask for to get this certificate. The first is used in connection "
        "strings, is the CN, and names the identity: `server.NAME/HOST`.",
        examples=[["db.example.org"]],
    )
    ca: Text | None = Field(
        None,
        description='The CA that signs the certificate, "self-signed", or "system" (a public CA). '
        "Required without `cert_file`.",
        examples=["root"],
    )
    client_ca: Tuple[Text] = Field(
        (),
        description="The CAs whose client certificates the server accepts under these names.",
        examples=[["clients"]],
    )
    trust: Tuple[Text] = Field(
        (), description="More CAs that clients of these names must trust (for a rollover).", examples=[["new-root"]]
    )
    revoke_before: Instant | None = Field(
        None, description="A build revokes and replaces every certificate that was issued before this time."
    )
    key_algorithm: KeyAlgorithm = Field("ecdsa-p256", description="The algorithm of the key.")
    validity: Duration | None = Field(
        None, description="How long the certificate lives. Default: 90d; self-signed, 10y."
    )
    renew_before: RenewBefore = None
    rotate_key: bool = Field(True, description="Whether a renewed certificate gets a new key.")
    subject: Subject = Field(Subject(), description="The subject without the common name.")
    passphrase: Secret | None = Field(None, description="Encrypts the key.")
    passphrase_command: Text | None = Field(
        None, description="The command that the server runs to open the key.", examples=["/usr/local/bin/unlock %p"]
    )
    csr_file: Text | None = Field(
        None,
        description="A certificate request to sign; its key is made elsewhere and stays there.",
        examples=["primary.csr"],
    )
    external: bool = Field(
        False, description="pgtls makes the key and a CSR, another CA signs, and `cert_file` names the certificate."
    )
    cert_file: Text | None = Field(None, description="A certificate that you bring.", examples=["primary.crt"])
    key_file: Text | None = Field(None, description="A key that you bring.", examples=["secrets/primary.key"])


class ServerTable(Table):
    """A PostgreSQL server: `[server.NAME]`."""

    ca: Text | None = Field(
        None,
        description='The CA that signs its certificate, "self-signed", or "system" (a public CA). '
        "Required without `cert_file`.",
        examples=["root", "self-signed", "system"],
    )
    client_ca: Tuple[Text] = Field(
        (), description="The CAs whose client certificates it accepts.", examples=[["clients"]]
    )
    hosts: Bounded[Text] = Field(
        description="The names and addresses that clients dial (the SANs). "
        "The first is used in connection strings, and is the CN.",
        examples=[["db.example.com", "10.0.0.5"]],
    )
    port: Port = Field(
        5432,
        description="The TCP port that clients dial. `pgtls.conf` does not set it: set it in `postgresql.conf`. "
        "A change needs a restart.",
        examples=[5433],
    )
    postgres: Annotated[int, Field(ge=OLDEST, le=NEWEST)] = Field(
        17, description="The major version. It decides which settings and which hba syntax pgtls writes.", examples=[16]
    )
    databases: Bounded[NameOf] | None = Field(
        None, description="If set, policies may name only these databases on it.", examples=[["shop", "reports"]]
    )
    directory: Text | None = Field(
        None,
        description="The directory of its files on the server; settings then have absolute paths. "
        "Default: the data directory, with bare file names; base backups then contain the key and pg_hba.conf. "
        "After a change, restart the server and run install.sh again.",
        examples=["/etc/postgresql/tls"],
    )
    socket_directory: Text = Field(
        "/var/run/postgresql", description="For `local` connection strings.", examples=["/run/postgresql"]
    )
    key_algorithm: KeyAlgorithm = Field("ecdsa-p256", description="The algorithm of the key.")
    validity: Duration | None = Field(
        None, description="How long the certificate lives. Default: 90d; self-signed, 10y."
    )
    renew_before: RenewBefore = None
    rotate_key: bool = Field(True, description="Whether a renewed certificate gets a new key.")
    subject: Subject = Field(Subject(), description="The subject without the common name.")
    min_tls: Literal["1.0", "1.1", "1.2", "1.3"] = Field(
        "1.2", description="The oldest TLS version; below 1.2 only with a waiver in `[lint]`."
    )
    ciphers: Text | None = Field(
        None, description="`ssl_ciphers` (TLS 1.2 and older). Default: PostgreSQL's.", examples=["HIGH:!aNULL"]
    )
    tls13_ciphers: Text | None = Field(
        None,
        description="`ssl_tls13_ciphers` (PostgreSQL 18 and later). Default: OpenSSL's.",
        examples=["TLS_AES_256_GCM_SHA384"],
    )
    groups: Text | None = Field(
        None,
        description="`ssl_groups`, up to 17 `ssl_ecdh_curve`. Default: PostgreSQL's.",
        examples=["X25519:prime256v1"],
    )
    passphrase: Secret | None = Field(None, description="Encrypts the server key.")
    passphrase_command: Text | None = Field(
        None, description="The `ssl_passphrase_command` that opens the key.", examples=["/usr/local/bin/unlock %p"]
    )
    crl: bool = Field(True, description="Give the server the CRLs of the CAs that it trusts.")
    csr_file: Text | None = Field(
        None,
        description="A certificate request to sign; its key is made elsewhere and stays there.",
        examples=["primary.csr"],
    )
    external: bool = Field(
        False, description="pgtls makes the key and a CSR, another CA signs, and `cert_file` names the certificate."
    )
    cert_file: Text | None = Field(None, description="A certificate that you bring.", examples=["primary.crt"])
    key_file: Text | None = Field(None, description="A key that you bring.", examples=["secrets/primary.key"])
    trust: Tuple[Text] = Field(
        (), description="More CAs that its clients must trust (for a rollover).", examples=[["new-root"]]
    )
    revoke_before: Instant | None = Field(
        None, description="A build revokes and replaces every certificate that was issued before this time."
    )
    settings: dict[str, Scalar] = Field(
        {},
        description="More settings of postgresql.conf that this version has, except those that pgtls writes.",
        examples=[{"log_connections": True, "max_connections": 200}],
    )
    no_local: bool = Field(False, description="Allows a server without a policy for its Unix socket.")
    standby_of: Text | None = Field(
        None,
        description="The server that this one replicates. It has the policies of that server unless policies name it. "
        "Requires `replication_user`.",
        examples=["primary"],
    )
    replication_user: Text | None = Field(
        None,
        description="The user as which it replicates: by certificate over TLS, from the `hosts` of this server. Its "
        "certificate and key come with the files of this server.",
        examples=["replicator"],
    )
    openssl: OpenSsl | None = Field(
        None,
        description="The OpenSSL release that the server is linked with. It decides which groups, cipher suites and "
        "key algorithms are allowed. Default: only what OpenSSL 1.1.1 has.",
        examples=["3.5"],
    )
    sni: Tuple[SniTable] = Field(
        (), description="PostgreSQL 19: further identities, chosen by the host name that the client asks for."
    )


class PoolerTable(Table):
    """PgBouncer between clients and one server: `[pooler.NAME]`."""

    server: Text = Field(description="The server that it connects to.", examples=["primary"])
    user: Text = Field(
        description="The user as which it proves itself to the server: by certificate, for the roles of the policies "
        "that name this pooler. The certificate and its key come with the files of this pooler.",
        examples=["bouncer"],
    )
    from_: Bounded[NameOf] | None = Field(
        None,
        alias="from",
        description="The addresses from which it connects to the server, as in a policy. Default: `hosts`.",
        examples=[["10.0.0.9"]],
    )
    ca: Text | None = Field(
        None,
        description='The CA that signs the certificate for its clients, "self-signed", or "system" (a public CA). '
        "Required without `cert_file`.",
        examples=["root"],
    )
    client_ca: Tuple[Text] = Field(
        (), description="The CAs whose client certificates it accepts.", examples=[["clients"]]
    )
    hosts: Bounded[Text] = Field(
        description="The names and addresses that clients dial (the SANs). "
        "The first is used in connection strings, and is the CN.",
        examples=[["pool.example.com"]],
    )
    port: Port = Field(
        6432,
        description="The TCP port that clients dial: its `listen_port`, which `pgtls.ini` does not set.",
        examples=[6543],
    )
    auth_file: Text | None = Field(
        None,
        description="The `auth_file` with the SCRAM secrets of its users, which you keep on its machine. Required for "
        "policies by password; for policies by certificate pgtls writes one.",
        examples=["/etc/pgbouncer/userlist.txt"],
    )
    directory: Text = Field(
        "/etc/pgbouncer", description="The directory of its files on its machine.", examples=["/etc/pgbouncer"]
    )
    key_algorithm: KeyAlgorithm = Field("ecdsa-p256", description="The algorithm of the key.")
    validity: Duration | None = Field(
        None, description="How long the certificate lives. Default: 90d; self-signed, 10y."
    )
    renew_before: RenewBefore = None
    rotate_key: bool = Field(True, description="Whether a renewed certificate gets a new key.")
    subject: Subject = Field(Subject(), description="The subject without the common name.")
    csr_file: Text | None = Field(
        None,
        description="A certificate request to sign; its key is made elsewhere and stays there.",
        examples=["pool.csr"],
    )
    external: bool = Field(
        False, description="pgtls makes the key and a CSR, another CA signs, and `cert_file` names the certificate."
    )
    cert_file: Text | None = Field(None, description="A certificate that you bring.", examples=["pool.crt"])
    key_file: Text | None = Field(None, description="A key that you bring.", examples=["secrets/pool.key"])
    trust: Tuple[Text] = Field(
        (), description="More CAs that its clients must trust (for a rollover).", examples=[["new-root"]]
    )
    revoke_before: Instant | None = Field(
        None, description="A build revokes and replaces every certificate that was issued before this time."
    )


class UserTable(Table):
    """A person or a program that connects: `[user.NAME]`."""

    ca: Text | None = Field(
        None,
        description="The CA that signs the client certificate. "
        'Default: no certificate; `"none"` overrides `[defaults.user]`.',
        examples=["clients", "none"],
    )
    roles: Bounded[NameOf] | None = Field(
        None,
        description="The database roles that this user may log in as. Default: NAME.",
        examples=[["alice", "reporting"]],
    )
    common_name: Text | None = Field(
        None,
        description="The common name of the certificate, at most 64 characters. If it is not the role, pgtls compiles "
        "an ident map. Default: NAME.",
        examples=["alice"],
    )
    subject: Subject = Field(Subject(), description="The subject without the common name.")
    key_algorithm: KeyAlgorithm = Field("ecdsa-p256", description="The algorithm of the key.")
    validity: Duration = Field(_QUARTER, description="The lifetime of the certificate.")
    renew_before: RenewBefore = None
    rotate_key: bool = Field(True, description="Whether a renewed certificate gets a new key.")
    identity: Literal["cn", "dn"] = Field(
        "cn", description="What is compared with the role; `dn` is the whole subject (PostgreSQL 14 and later)."
    )
    os_users: Tuple[NameOf] | None = Field(
        None,
        description="Operating-system users that may `peer` as these roles. Default: `roles`.",
        examples=[["alice"]],
    )
    member_of: Tuple[NameOf] = Field(
        (),
        description="Database roles that this user's roles are members of (what `+role` covers).",
        examples=[["staff"]],
    )
    directory: Text | None = Field(
        None,
        description="The directory of the bundle on the client; connection strings then have absolute paths.",
        examples=["/home/alice/.postgresql"],
    )
    formats: Several[Literal["pem", "pkcs12", "pkcs12-3des", "pkcs8-der"]] = Field(
        ("pem",),
        description="The formats of the key. PEM is always there. For Java: `pkcs12` (needs `passphrase`) or "
        "`pkcs8-der` (not encrypted). `pkcs12-3des` is PKCS#12 for Windows Server 2016, Java 8 and older.",
        examples=[["pem", "pkcs12"]],
    )
    bundle: Literal["directory", "zip"] = Field(
        "directory",
        description="`zip` also packs the bundle, with its keys, into one file: `<user>.zip`, of mode 0600.",
        examples=["zip"],
    )
    libpq: Annotated[int, Field(ge=OLDEST, le=NEWEST)] = Field(
        14,
        description="The oldest libpq that the bundle must work with. pgtls writes no parameter that it does not know.",
        examples=[16],
    )
    drivers: Tuple[DriverName] = Field(
        (),
        description="The drivers that the bundle is for: it shows a program for each, and `check` says what they "
        "cannot be told.",
        examples=[["psycopg", "pgjdbc"]],
    )
    crl: bool = Field(
        False, description="Give the bundle the CRLs of the servers' CAs (and the duty to keep them fresh)."
    )
    passphrase: Secret | None = Field(None, description="Encrypts the client key, and is the PKCS#12 password.")
    csr_file: Text | None = Field(
        None,
        description="A certificate request to sign; its key is made elsewhere and stays there.",
        examples=["alice.csr"],
    )
    external: bool = Field(
        False, description="pgtls makes the key and a CSR, another CA signs, and `cert_file` names the certificate."
    )
    cert_file: Text | None = Field(None, description="The certificate that another CA signed.", examples=["alice.crt"])
    until: Instant | None = Field(
        None, description="No certificate is issued for longer; afterwards the user counts as deleted."
    )
    revoke_before: Instant | None = Field(
        None, description="A build revokes and replaces every certificate that was issued before this time."
    )


class MapEntry(Table):
    """An identity that is not a user of the spec, and the role that it may log in as (a line of pg_ident.conf)."""

    identity: Text = Field(
        description="The name that the method proves. `/` starts a regular expression.", examples=["/^(.*)@EXAMPLE$"]
    )
    of: Literal["cn", "dn"] = Field(
        "cn",
        description="What `identity` is compared with, where the method checks certificates: the common name, or the "
        "whole subject (PostgreSQL 14 and later).",
    )
    role: Text = Field(
        description="The role; `\\1` is the first group of the expression. "
        "PostgreSQL 16: also `all`, `+role`, `/regex`.",
        examples=["\\1"],
    )


class PolicyTable(Table):
    """Which users may connect to which databases from where, and how they authenticate: `[policy.NAME]`."""

    servers: Several[Text] | None = Field(
        None,
        description='The servers and poolers, or `["all"]` (every server, no pooler). Default: the only server; '
        "required if the spec has several.",
        examples=[["primary"], ["all"]],
    )
    users: Several[NameOf] = Field(
        description='User names, `"@group"`, `"all"` (every role), or `"+role"` (members of that database role).',
        examples=[["app", "@staff"]],
    )
    databases: Bounded[NameOf] = Field(
        ("all",),
        description='Names, `"all"`, `"sameuser"`, `"samerole"`, `"replication"` (physical; never part of `all`), '
        'or `"/regex"` (PostgreSQL 16).',
        examples=[["shop"], ["replication"], ["/^tenant_"]],
    )
    from_: Bounded[NameOf] = Field(
        alias="from",
        description='CIDR blocks, single addresses, host names, `".suffix"`, `"samehost"`, `"samenet"`, `"@network"`, '
        '`"all"`; or only `["local"]`.',
        examples=[["10.0.0.0/8"], ["local"]],
    )
    sslmode: SslMode | None = Field(
        None, description="The minimum that a client must use. Not with `local` or `reject`. Default: verify-full."
    )
    auth: Text = Field(
        description="The authentication method, as this version of PostgreSQL names it.",
        examples=["cert", "scram-sha-256", "peer", "reject"],
    )
    auth_options: dict[str, OptionValue] = Field(
        {},
        description="Options of the method. Write a secret as its source.",
        examples=[{"ldapserver": "ldap.example.com", "ldaptls": True, "ldapbindpasswd": {"env": "LDAP_PASSWORD"}}],
    )
    client_cert: Literal["none", "verify-ca", "verify-full"] = Field(
        "none",
        description="With a method other than `cert`: also ask for a certificate. If the method takes no ident map, "
        "`verify-full` requires CN = role.",
    )
    map: Annotated[Tuple[MapEntry], Field(max_length=MOST_ITEMS)] = Field(
        (),
        description="Identities that are not users of the spec; pgtls adds them to the ident map of this policy.",
        examples=[[{"identity": "/^(.*)@EXAMPLE$", "role": "\\1"}]],
    )
    channel_binding: Literal["disable", "prefer", "require"] = Field(
        "prefer", description="The channel binding that the bundle requires with SCRAM."
    )
    priority: int = Field(0, description="Where policies overlap, the higher priority decides.", examples=[10])
    until: Instant | None = Field(None, description="Afterwards the policy does not count.")
    description: Text | None = Field(
        None, description="A comment for the compiled files.", examples=["the shop's own servers"]
    )
    waiver: Reason | None = Field(
        None,
        description="Accepts lint findings on this policy, with a reason.",
        examples=["loopback only, read by a local agent"],
    )


class GroupTable(Table):
    """A name for several users: `[group.NAME]`, written `"@NAME"`."""

    users: Tuple[Text] = Field(description="User names.", examples=[["alice", "bob"]])


class NetworkTable(Table):
    """A name for several addresses: `[network.NAME]`, written `"@NAME"`."""

    addresses: Bounded[NameOf] = Field(
        description="CIDR blocks, single addresses, host names.", examples=[["10.0.0.0/8"]]
    )


class LintTable(Table):
    """What the linter requires, and what it does not report: `[lint]`."""

    minimum_sslmode: SslMode | None = Field(None, description="A policy below it is an error unless waived.")
    ignore: Tuple[str] = Field(
        (), description="Codes of warnings, and of the 3xx family, that are not reported.", examples=[["PGT312"]]
    )
    waiver: Reason | None = Field(
        None,
        description="Accepts findings that belong to no policy, with a reason.",
        examples=["TLS 1.0 until the last old client is gone, TICKET-7"],
    )


class StateTable(Table):
    """Who can read the private keys in the out directory: `[state]`."""

    recipients: Tuple[Recipient] = Field(
        (),
        description="Public keys of age (`age1…`) or SSH (`ssh-ed25519 …`, `ssh-rsa …`). A build encrypts every "
        "private key in the out directory for all of them. Default: private keys are not encrypted.",
        examples=[["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]],
    )
    identity: Secret | None = Field(
        None,
        description="The source of a private key of one of the `recipients`. A build reads it only to open a key.",
        examples=[{"env": "AGE_IDENTITY"}, {"command": ["pass", "age/pgtls"]}],
    )


class Spec(Table):
    """The spec as it was read: every table is valid by itself, includes are merged, and defaults are applied."""

    version: Literal[1]
    ca: dict[str, CaTable] = {}
    server: dict[str, ServerTable] = {}
    pooler: dict[str, PoolerTable] = {}
    user: dict[str, UserTable] = {}
    policy: dict[str, PolicyTable] = {}
    group: dict[str, GroupTable] = {}
    network: dict[str, NetworkTable] = {}
    lint: LintTable = LintTable()
    state: StateTable = StateTable()


KINDS: dict[str, type[Table]] = {
    "ca": CaTable,
    "server": ServerTable,
    "pooler": PoolerTable,
    "user": UserTable,
    "policy": PolicyTable,
    "group": GroupTable,
    "network": NetworkTable,
}
"""The kinds of named tables, by their key at the top."""

WITH_DEFAULTS = ("ca", "server", "user", "policy")
"""The kinds that ``[defaults.KIND]`` exists for."""
