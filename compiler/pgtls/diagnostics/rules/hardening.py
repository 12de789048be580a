"""PGT3xx: what PostgreSQL would accept and a security review would not. All of them can be waived with a reason.

The ids are those of the CIS PostgreSQL Benchmark (numbering of its edition for 17) and of DISA's STIG for Crunchy Data
PostgreSQL.
"""

from __future__ import annotations

from pgtls.diagnostics.rules import Rule

RULES: tuple[Rule, ...] = (
    Rule(
        "PGT301",
        "error",
        "`trust` asks for nothing",
        meaning="A policy admits every client, as any role that it names, without a proof. With `client_cert = "
        '"verify-full"` the certificate is the proof, and `trust` hides that.',
        why="Over TCP these are all clients that reach the port; on the Unix socket all accounts of the machine, "
        "every compromised service included.",
        fix='`auth = "peer"` on the socket, `cert` or `scram-sha-256` over TCP. Otherwise a waiver with the reason.',
        standards=(
            "CIS 5.3",
            "CIS 5.4",
        ),
    ),
    Rule(
        "PGT302",
        "error",
        "a password may cross the network in cleartext",
        meaning="`password`, `ldap`, `pam`, `radius` and `bsd` have the client send the password itself, and the "
        "policy does not require TLS.",
        why="An attacker on the network reads the password, and can use it wherever it is valid.",
        fix='`sslmode = "verify-full"`, so that it goes to the right server only, or `auth = "scram-sha-256"`.',
        standards=(
            "CIS 5.4",
            "STIG CD12-00-000800",
        ),
    ),
    Rule(
        "PGT303",
        "warning",
        "`password` hands the password over",
        meaning="The client sends the password itself to the server.",
        why="TLS hides the password on the network, but the server, its memory and a machine that poses as it learn "
        "it. SCRAM proves the password without sending it.",
        fix='`auth = "scram-sha-256"`; the stored passwords must then be SCRAM secrets.',
        standards=(
            "CIS 5.3",
            "CIS 5.4",
            "STIG CD12-00-000800",
        ),
    ),
    Rule(
        "PGT304",
        "warning",
        "`md5` is out of date",
        meaning="The method still accepts MD5 hashes. Since PostgreSQL 14 new passwords are SCRAM secrets by "
        "default; 18 deprecates MD5, and 19 warns at every login with it.",
        why="The stored hash is as good as the password: a stolen dump is enough to log in. A captured exchange is "
        "quickly broken.",
        fix='Set every password again under `password_encryption = "scram-sha-256"`, then `auth = "scram-sha-256"`. '
        "Until then `md5` accepts both.",
        standards=(
            "CIS 5.4",
            "STIG CD12-00-009500",
        ),
    ),
    Rule(
        "PGT305",
        "error",
        "`ident` believes the client's machine",
        meaning="The server asks an ident daemon on the client's machine who the client is (RFC 1413).",
        why="An attacker who controls that machine, or its address, can be any user. The protocol itself says that "
        "it is not for authorization.",
        fix='`auth = "cert"`. On the Unix socket the same thing is safe, and called `peer`.',
        standards=("CIS 5.4",),
    ),
    Rule(
        "PGT306",
        "error",
        "`md5` without TLS from afar",
        meaning="A policy for other machines proves passwords by MD5, and does not require TLS.",
        why="An attacker who reads one login can guess the password offline, fast, and reads all that follows anyway.",
        fix='`auth = "scram-sha-256"` and `sslmode = "verify-full"`.',
        standards=(
            "CIS 5.4",
            "STIG CD12-00-000800",
        ),
    ),
    Rule(
        "PGT310",
        "warning",
        "a connection may go in cleartext",
        meaning="The policy's `sslmode` is `disable`, `allow` or `prefer`. With `allow` and `prefer` an attacker on "
        "the network decides whether there is TLS.",
        why="An attacker makes the TLS handshake fail, and libpq connects again without it, silently. The server "
        "cannot notice.",
        fix='`sslmode = "verify-full"`, or at least `require`. Otherwise a waiver with the reason.',
        standards=(
            "CIS 6.8",
            "STIG CD12-00-003000",
            "STIG CD12-00-007200",
        ),
    ),
    Rule(
        "PGT311",
        "error",
        "an `sslmode` below the minimum",
        meaning="`[lint] minimum_sslmode` is what every policy must require, and this one requires less.",
        why="The minimum is what a reviewer relies on without reading every policy.",
        fix="Raise the policy's `sslmode`, or give the policy a `waiver` with the reason.",
        standards=(
            "CIS 6.8",
            "STIG CD12-00-003000",
            "STIG CD12-00-007200",
        ),
    ),
    Rule(
        "PGT312",
        "warning",
        "a policy is open to a great part of the Internet",
        meaning="Its `from` is `all`, or a public block wider than `/12` (IPv6: `/32`). Private networks are no "
        "finding, however wide.",
        why="Whatever else protects it, every attacker on the Internet can try: guess passwords, and use the next "
        "hole first.",
        fix="Name the networks that clients are in.",
    ),
    Rule(
        "PGT313",
        "warning",
        "every role, every database",
        meaning="A policy over TCP names `all` for users and for databases.",
        why="It covers superusers, and every role and database that will ever be created.",
        fix="Name the users, or the databases.",
        standards=("STIG CD12-00-000900",),
    ),
    Rule(
        "PGT314",
        "warning",
        "the superuser comes from afar",
        meaning="A policy admits the role `postgres` from other machines.",
        why="A superuser reads and writes files and runs programs on the server. A role that cannot log in over a "
        "network cannot be stolen over it.",
        fix='A policy with `from = ["local"]` and `auth = "peer"`; for remote work a role with fewer rights, and '
        "`SET ROLE`.",
    ),
    Rule(
        "PGT315",
        "warning",
        "a server listens on every interface",
        meaning="`listen_addresses` in `settings` is `*`, `0.0.0.0` or `::`.",
        why="It also listens on networks that are added later.",
        fix="Name the addresses that clients dial, and `localhost`.",
        standards=("CIS 5.2",),
    ),
    Rule(
        "PGT316",
        "warning",
        "an RSA key too weak for its life",
        meaning="An RSA key of 2048 bits is in a certificate that lives past 2030.",
        why="NIST (SP 800-57) accepts its 112 bits of strength through 2030.",
        fix='`key_algorithm = "ecdsa-p256"`, which is also faster, or `rsa-3072`.',
        standards=("STIG CD12-00-008100",),
    ),
    Rule(
        "PGT317",
        "error",
        "TLS 1.0 or 1.1 is accepted",
        meaning="`min_tls` is below 1.2.",
        why="Both are broken and deprecated (RFC 8996), and clients that need them are older than 2012. OpenSSL may "
        "refuse them anyway.",
        fix='`min_tls = "1.2"`, or `"1.3"`. Otherwise a `waiver` in `[lint]` that says which client needs it.',
        standards=("CIS 6.9",),
    ),
    Rule(
        "PGT319",
        "warning",
        "replication in cleartext",
        meaning="A policy for `replication` from other machines does not require TLS.",
        why="A standby receives every change of every database.",
        fix='`sslmode = "verify-full"`.',
        standards=("CIS 7.5",),
    ),
    Rule(
        "PGT320",
        "warning",
        "new passwords are stored as MD5 hashes",
        meaning="`password_encryption` in `settings` is not `scram-sha-256`.",
        why="An MD5 hash is as good as the password to a thief.",
        fix='`password_encryption = "scram-sha-256"`; from PostgreSQL 14 on it is the default.',
        standards=("STIG CD12-00-009500",),
    ),
    Rule(
        "PGT321",
        "warning",
        "weak cipher suites",
        meaning="`ciphers` lets suites in without authentication, or with broken algorithms (`aNULL`, `RC4`, "
        "`3DES`, `MD5`, `EXPORT`, …).",
        why="A handshake may end with one of them. The setting is for TLS 1.2; TLS 1.3 has no weak suites.",
        fix='Leave it out, `"HIGH:!aNULL"`, or `min_tls = "1.3"`.',
        standards=("CIS 6.10",),
    ),
    Rule(
        "PGT322",
        "error",
        "cipher suites without encryption",
        meaning="`ciphers` lets suites in that authenticate and do not encrypt (`eNULL`, `NULL`, `COMPLEMENTOFALL`).",
        why="A connection with one of them counts as TLS to pg_hba.conf and libpq, and an attacker on the network can "
        "read it.",
        fix="Add `!eNULL` to the list, or leave it out.",
        standards=("CIS 6.10",),
    ),
    Rule(
        "PGT370",
        "warning",
        "passwords go to the directory in cleartext",
        meaning="A policy with `ldap` uses neither `ldaptls` nor `ldaps` for a directory on another machine.",
        why="The client sends its password over TLS, and the server sends it on without: an attacker on the network "
        "between server and directory reads every password, and can answer in place of the directory.",
        fix='`ldaptls = true` (StartTLS), or `ldapscheme = "ldaps"`. OpenLDAP verifies the directory\'s certificate '
        "as `ldap.conf` on the server says.",
        standards=("STIG CD12-00-000800",),
    ),
    Rule(
        "PGT380",
        "error",
        "a pooler reads no CRL",
        meaning="A policy by certificate names a pooler, and a CA that the pooler accepts publishes a CRL. PgBouncer "
        "has no setting for CRLs.",
        why="A certificate that is revoked, because its key was stolen or because its user changed, logs in through "
        "the pooler until it ends. A user that leaves the policy is refused: the pooler's map no longer has the name. "
        "The server sees the pooler's own certificate only, so its CRLs do not help.",
        fix="Let clients that must be revocable connect to the server itself, or use `scram-sha-256` through the "
        "pooler. Otherwise a waiver with the reason, and a short `validity` for these users.",
    ),
)
