"""PGT4xx: what a version of PostgreSQL has, and has not."""

from __future__ import annotations

from pgtls.diagnostics.rules import Rule

RULES: tuple[Rule, ...] = (
    Rule(
        "PGT400",
        "warning",
        "a version is past the end of its life",
        meaning="PostgreSQL supports a major version for five years. For this one there are no more fixes.",
        why="Holes found since then stay open, however good its TLS is.",
        fix="Upgrade the server, then say its new version in `postgres`.",
    ),
    Rule(
        "PGT401",
        "error",
        "a setting that the version does not have",
        meaning="`settings` holds a name that other versions of PostgreSQL know and this one does not, or one that "
        "is only shown.",
        why="The server would not start: `unrecognized configuration parameter`.",
        fix="Correct the name or leave it out.",
    ),
    Rule(
        "PGT402",
        "error",
        "a setting that pgtls writes itself",
        meaning="`settings` holds one of the `ssl*` settings, `hba_file`, `ident_file` or `hosts_file`.",
        why="It follows from other fields; the two could contradict each other.",
        fix="Use the field that the hint names.",
    ),
    Rule(
        "PGT403",
        "error",
        "a field that the version does not have",
        meaning="The server's version is too old for what the table asks for: options of a validator (19), "
        '`tls13_ciphers` and several `groups` (18), regular expressions and words in maps (16), `identity = "dn"` '
        'and `of = "dn"` (14).',
        why="An older server takes a regular expression for a literal name and refuses the rest. What comes from "
        "`[defaults]` is left out where a version lacks it, unless that would admit more users.",
        fix="Write it otherwise for that server, or upgrade it.",
    ),
    Rule(
        "PGT404",
        "error",
        "a method that the version does not have",
        meaning="`oauth` came with PostgreSQL 18; PostgreSQL 19 no longer has `radius`.",
        why="The server would refuse the whole file: `invalid authentication method`.",
        fix="Use another method on that server.",
    ),
    Rule(
        "PGT407",
        "error",
        "a value that the setting does not take",
        meaning="The setting takes a number within bounds, a boolean, one of some words, or a list, and the value "
        "in `settings` is something else.",
        why="The server would not start, or keep its old configuration at a reload.",
        fix="Write a value that the message describes.",
    ),
    Rule(
        "PGT408",
        "warning",
        "a setting that pgtls does not know",
        meaning="No version of PostgreSQL has it, as far as pgtls knows. A distribution or a later minor release may.",
        why="If the server has no such setting, it does not start: `unrecognized configuration parameter`.",
        fix='Correct the name. If the server has it, ignore this code: `[lint] ignore = ["PGT408"]`. Settings of '
        "extensions have a dot and give no finding.",
    ),
    Rule(
        "PGT409",
        "warning",
        "an address that an old libpq cannot verify",
        meaning="The first of a server's `hosts` is an address, others are names, and a bundle that must verify it "
        "is for a `libpq` before 15.",
        why="Those ignore addresses in certificates and compare the common name, which is the first name of "
        "`hosts`: `verify-full` fails with `server certificate for … does not match host name`.",
        fix="Put a host name first, or write `libpq = 15` for users who have that version or a later one.",
    ),
    Rule(
        "PGT410",
        "warning",
        "SCRAM where passwords become MD5 hashes",
        meaning="A policy asks for `scram-sha-256` on PostgreSQL 13, whose `password_encryption` is `md5` unless "
        "its configuration sets it.",
        why="A password that is set there is stored as an MD5 hash, which the method never accepts: the server "
        "rejects the right password.",
        fix='Write `settings = { password_encryption = "scram-sha-256" }` in the server\'s table, and set the '
        "passwords again that were set before.",
    ),
    Rule(
        "PGT411",
        "warning",
        "groups without the curve of the server's own key",
        meaning="`groups` does not name the curve on which the server's key is made.",
        why="With TLS 1.2 a client must allow the curve of the key, too. A client that is limited to the same "
        "groups as the server is refused: `handshake failure`. Other clients and TLS 1.3 do not mind.",
        fix="Make the key on a curve of the list (`key_algorithm`), add its curve to the list, or ask for TLS 1.3.",
    ),
    Rule(
        "PGT412",
        "error",
        "not the name of a setting",
        meaning="A key in `settings` is not a name that postgresql.conf can hold: letters, digits and underscores; "
        "a setting of an extension has the extension's name and a dot before its own.",
        why="The server does not start, or reads another line than the one that was meant.",
        fix="Correct the name.",
    ),
    Rule(
        "PGT413",
        "error",
        "a setting that moves the server's files",
        meaning="`settings` holds `data_directory`, `config_file`, `external_pid_file`, or an `include` directive.",
        why="The server would use other files than those that pgtls compiled and that reviewers see.",
        fix="Leave it out. It belongs into the server's own configuration.",
    ),
    Rule(
        "PGT414",
        "error",
        "groups that the server refuses",
        meaning="`groups` names a group that the server's OpenSSL (`openssl`) does not have. Up to PostgreSQL 17 it "
        "must be an elliptic curve.",
        why="The server does not start: `ECDH: could not create key` or `could not set group names specified in "
        "ssl_groups`.",
        fix="Use groups that it has. If its OpenSSL is newer than the spec says, correct `openssl`.",
    ),
    Rule(
        "PGT415",
        "error",
        "a cipher list that does not mean what it says",
        meaning="`ciphers` selects no suite, has an entry that OpenSSL cannot read, or one that it passes over: an "
        "unknown name, or a suite of TLS 1.3, which the setting does not decide.",
        why="Without a suite the server does not start: `could not set the cipher list`. A word that is passed over "
        "protects nothing.",
        fix="Correct the name. Suites of TLS 1.3 belong into `tls13_ciphers`, from PostgreSQL 18 on.",
    ),
    Rule(
        "PGT416",
        "error",
        "suites of TLS 1.3 that OpenSSL does not know",
        meaning="`tls13_ciphers` has a name that is no suite of TLS 1.3, or one that the server's OpenSSL lacks.",
        why="The server does not start: `could not set the TLSv1.3 cipher suites`, or it passes over the name.",
        fix="Use names such as `TLS_AES_256_GCM_SHA384`, with colons between them. Suites of TLS 1.2 belong into "
        "`ciphers`.",
    ),
    Rule(
        "PGT417",
        "warning",
        "a cipher list without a suite for the server's key",
        meaning="No suite of `ciphers` goes with the algorithm of the server's key.",
        why="The server starts, and every handshake by TLS 1.2 fails: `no shared cipher`. TLS 1.3 does not use the "
        "list.",
        fix='Add suites for that key, make another key (`key_algorithm`), or ask for TLS 1.3 (`min_tls = "1.3"`).',
    ),
    Rule(
        "PGT418",
        "warning",
        "`oauth` without a validator library",
        meaning="A policy asks for `oauth`, and the server's `settings` do not say `oauth_validator_libraries`.",
        why="Unless the server's own configuration says it, the server does not load pg_hba.conf: `parameter "
        '"oauth_validator_libraries" must be set`.',
        fix="Name the library in `settings`. If the server's own configuration does, ignore this code.",
    ),
    Rule(
        "PGT419",
        "error",
        "a validator that the server does not name",
        meaning="The policy's `validator` is not among the server's `oauth_validator_libraries`; or there are none "
        "or several, and the policy names none.",
        why="The server does not load pg_hba.conf.",
        fix="Name one of them in `auth_options`: `validator = …`.",
    ),
    Rule(
        "PGT420",
        "error",
        "settings that do not go together",
        meaning="A server takes each of the `settings` alone and refuses them together: `wal_level = minimal` with "
        "`archive_mode`, more reserved connections than there are, two recovery targets.",
        why="The server does not start.",
        fix="Change one of them.",
    ),
    Rule(
        "PGT421",
        "warning",
        "a setting that does not go with a default",
        meaning="PostgreSQL's default of another setting contradicts one of the `settings`: `wal_level = minimal` "
        "needs `max_wal_senders = 0`.",
        why="The server does not start, unless its own configuration says something else than the default.",
        fix="State the other setting, too. If the server's own configuration does, ignore this code.",
    ),
    Rule(
        "PGT425",
        "error",
        "identities by host name before PostgreSQL 19",
        meaning="A server has `sni`, and its version has no pg_hosts.conf.",
        why="PostgreSQL before 19 has one certificate, whatever host name a client asks for.",
        fix="Set the version that the server has, or use a server for each identity.",
    ),
    Rule(
        "PGT426",
        "warning",
        "a client that asks for no host name",
        meaning="A user whose `libpq` is below 14 may connect to a server with `sni`.",
        why="An older libpq sends no host name in the handshake (SNI). It gets the default certificate, and the "
        "client CAs of the default identity, whatever name it dials. Its bundle has entries for the default only.",
        fix="Set `libpq = 14` when every client has it.",
    ),
    Rule(
        "PGT440",
        "error",
        "PKCS#12 without a passphrase",
        meaning="`formats` has a kind of PKCS#12, and the user has no `passphrase`.",
        why="Java: pgjdbc asks for the passphrase of a PKCS#12 file, and Java reads no key from one without.",
        fix="Set `passphrase`; the program that connects needs it as `sslpassword`. Or use `pkcs8-der`, which is not "
        "encrypted.",
    ),
    Rule(
        "PGT441",
        "warning",
        "an encrypted key, and the same key unencrypted",
        meaning="The user has a `passphrase`, and `formats` has `pkcs8-der`.",
        why="Java: pgjdbc before 42.7.9 reads only an unencrypted postgresql.pk8. Its thief needs no passphrase.",
        fix="Use `pkcs12`, which the passphrase encrypts. If the file must be there, ignore this code.",
    ),
    Rule(
        "PGT442",
        "error",
        "a format for a key that is not here",
        meaning="`formats` has another format than PEM, and pgtls does not hold the key of that user.",
        why="pgtls can convert only keys that it makes or stores.",
        fix="Delete the format. Whoever has the key converts it: `openssl pkcs12 -export -name user`.",
    ),
    Rule(
        "PGT443",
        "error",
        "a PKCS#12 passphrase outside ASCII",
        meaning="The passphrase of a user with PKCS#12 has a character outside ASCII. A build finds it when it makes "
        "the file.",
        why="Java rejects such passphrases: `keystore password was incorrect`.",
        fix="Choose a passphrase of ASCII characters.",
    ),
    Rule(
        "PGT444",
        "warning",
        "PKCS#12 by 3DES",
        meaning="`formats` has `pkcs12-3des`: 3DES encrypts the file, and its MAC has SHA-1.",
        why="Such a passphrase is much cheaper to guess than that of `pkcs12`, which has AES-256, SHA-256 and 600,000 "
        "rounds. A system in FIPS mode cannot open the file.",
        fix="Use `pkcs12`. If a reader is older than Java 8u301 or Windows Server 2019, ignore this code.",
    ),
    Rule(
        "PGT445",
        "error",
        "two kinds of PKCS#12",
        meaning="`formats` has `pkcs12` and `pkcs12-3des`.",
        why="Both are the file postgresql.p12.",
        fix="Delete one of them.",
    ),
    Rule(
        "PGT446",
        "error",
        "a directory that is too long for libpq",
        meaning="The `directory` of a user has more than 980 bytes.",
        why="A line of pg_service.conf has at most 1,021 bytes. A longer one makes libpq reject the whole "
        "file, with every service in it.",
        fix="Choose a shorter directory.",
    ),
    Rule(
        "PGT470",
        "error",
        "no server answers",
        meaning="`pgtls verify` cannot connect: the name does not resolve, nothing listens on the port, or the address "
        "cannot be reached.",
        why="Clients cannot connect either, or the spec names another host or port than they use.",
        fix="Start the server, correct `hosts` and `port`, or name its address with `--host` and `--port`.",
    ),
    Rule(
        "PGT471",
        "error",
        "something else answers on the port",
        meaning="What listens there is not the PostgreSQL server: a connection pooler, an HTTP server, a program that "
        "hangs, closes connections, or speaks another protocol.",
        why="Clients do not reach the server that was compiled, and what answers may take their passwords.",
        fix="Name the server's own host and port with `--host` and `--port`, or find out what listens there.",
    ),
    Rule(
        "PGT472",
        "error",
        "the server has no TLS",
        meaning="The server answers PostgreSQL's request for TLS with no: `ssl` is off.",
        why="All that clients send is readable on the way. Bundles refuse to connect.",
        fix="Include the compiled `pgtls.conf` last in `postgresql.conf` and reload. The server's log says why TLS "
        "stays off.",
    ),
    Rule(
        "PGT473",
        "error",
        "the server serves another certificate",
        meaning="The certificate on the wire is not the compiled one: an older one of this server, that of another "
        "entity, or one that the lock does not know; or it is revoked.",
        why="A renewal or a revocation is not in force, or an impostor answers. After a failed reload PostgreSQL shows "
        "the new settings and serves the old certificate.",
        fix="Run `install.sh` on the server and look at its log. Send no password to a server that nobody knows, "
        "or whose certificate is revoked.",
    ),
    Rule(
        "PGT474",
        "error",
        "clients cannot verify the server",
        meaning="The chain on the wire is incomplete, in another order, expired, not valid yet, or not valid for a "
        "name of `hosts`; or the `root.crt` and `root.crl` of a bundle do not verify it.",
        why="Clients with `verify-ca` or `verify-full` refuse to connect.",
        fix="Serve the compiled `server.crt` as it is: run `pgtls build`, then `install.sh` on the server.",
    ),
    Rule(
        "PGT475",
        "error",
        "the TLS protocol is not the compiled one",
        meaning="The server speaks a TLS version or takes a group for the key exchange that the spec does not have, "
        "refuses one that it has, or takes no direct TLS.",
        why="The settings of the compiled `pgtls.conf` are not in force. A weaker protocol helps an attacker.",
        fix="Include `pgtls.conf` last in `postgresql.conf` and reload. The log names a setting that the server "
        "refuses.",
    ),
    Rule(
        "PGT476",
        "error",
        "the server trusts other client CAs",
        meaning="The server asks for client certificates of other CAs than the compiled `root.crt` has, or for none.",
        why="Holders of a stranger's certificate pass for clients, or clients cannot log in.",
        fix="Install the compiled `root.crt`: run `install.sh` on the server.",
    ),
    Rule(
        "PGT477",
        "error",
        "the server refuses a valid client certificate",
        meaning="A certificate of a bundle that is valid, and whose CA is trusted, is refused in the TLS handshake.",
        why="A CRL is missing or has expired, or a clock is wrong. One CRL that is missing or stale locks out every "
        "client of its CA.",
        fix="Run `pgtls build`, install the server's files, and compare the clocks.",
    ),
    Rule(
        "PGT478",
        "error",
        "the server admits what it must refuse",
        meaning="The server takes a client certificate that it must refuse, or answers a connection otherwise than the "
        "compiled `pg_hba.conf` says, in cleartext or over TLS.",
        why="Other rules than the compiled ones are in force. Access that the spec does not grant may be open.",
        fix="Make `hba_file` point to the compiled file, reload, and look in the log for a line with an error.",
    ),
    Rule(
        "PGT479",
        "error",
        "SQL shows other files, settings or roles",
        meaning="With `--user`, `pgtls verify` found files, rules, settings, roles, databases or memberships on the "
        "server that differ from what was compiled; or that user cannot log in.",
        why="What is loaded now, or at the next reload, is not what the spec says.",
        fix="Install the compiled files, create what is missing, and reload.",
    ),
    Rule(
        "PGT456",
        "warning",
        "a driver that does not insist on SCRAM",
        meaning="A user of a SCRAM policy names a driver that cannot refuse a server which asks for the password in "
        "the clear, as MD5, or not at all.",
        why="Whoever has a valid certificate of the server, and its key, gets the password.",
        fix='Use certificates (`auth = "cert"`); `libpq = 16` for drivers on libpq; `channel_binding = "require"` for '
        "drivers that enforce it; or a driver that insists on SCRAM. The page on drivers has a table.",
    ),
    Rule(
        "PGT457",
        "error",
        "a driver that cannot bind SCRAM to TLS",
        meaning='A policy has `channel_binding = "require"`, and a user of it names a driver that cannot do it.',
        why="The driver connects to no server.",
        fix='Use another driver, or `channel_binding = "prefer"`.',
    ),
    Rule(
        "PGT458",
        "warning",
        "a driver that always verifies the server's name",
        meaning="A policy asks for `require` or `verify-ca`, and a user of it names a driver that cannot verify the "
        "issuer without the name.",
        why="The driver rejects a server by a name that its certificate lacks; libpq would not.",
        fix='Use `sslmode = "verify-full"`, and list every name in `hosts`.',
    ),
    Rule(
        "PGT459",
        "error",
        "a driver that cannot open an encrypted key",
        meaning="A user has a `passphrase` and names a driver that reads no encrypted PEM key.",
        why="The driver cannot show the certificate, so it cannot connect.",
        fix='For pgjdbc, add "pkcs12" to `formats`. For others, leave the passphrase out, or use another driver.',
    ),
    Rule(
        "PGT460",
        "warning",
        "an old libpq that does not insist on SCRAM",
        meaning="A user of a SCRAM policy has a `libpq` before 16. That version cannot refuse a server which asks for "
        "the password in the clear.",
        why="Whoever has a valid certificate of the server, and its key, gets the password.",
        fix='Set `channel_binding = "require"` in the policy: every libpq from 13 on refuses such a server then. Or '
        "use certificates, or set `libpq = 16` when every client has it.",
    ),
    Rule(
        "PGT461",
        "warning",
        "a client that checks no CRL",
        meaning="A user has `crl = true`, and names a driver that cannot check CRLs, or has a server whose certificate "
        "no CA of the spec signs, so that the bundle has no CRL for it, or a pooler logs in as this user.",
        why="The client connects to the server of whoever stole a key, although `revoke_before` has revoked its "
        "certificate.",
        fix="Use a driver that checks CRLs; the page on drivers has a table. Give the server a certificate of a CA of "
        "the spec.",
    ),
    Rule(
        "PGT480",
        "error",
        "a server and a pooler have one name",
        meaning="`[server.NAME]` and `[pooler.NAME]` have the same NAME.",
        why="Policies name both in `servers`, and could not say which they mean.",
        fix="Give the pooler another name.",
    ),
    Rule(
        "PGT481",
        "error",
        "PgBouncer lacks what a policy asks for",
        meaning="A policy that names a pooler asks for a method other than `cert`, `scram-sha-256` and `reject`, for "
        "the Unix socket, for cleartext, or for something that PgBouncer's hba and ident files lack: regular "
        "expressions, `samerole`, `+role`, `samehost`, `samenet`, host names, options, whole subjects, a certificate "
        "besides a password, channel binding.",
        why="PgBouncer skips a line that it cannot read and goes on with the next one, so that other lines decide.",
        fix="Say it in words that PgBouncer has, as the hint says, or let the policy name the server.",
    ),
    Rule(
        "PGT482",
        "error",
        "a policy by way of a pooler does not list its users",
        meaning="A policy that names a pooler has `all` or `+role` in `users`.",
        why="A pooler logs in to its server as each of its clients, by its own certificate. With `all` that "
        "certificate would open every role, the superuser included.",
        fix="Name users, or groups of users.",
    ),
    Rule(
        "PGT483",
        "error",
        "a pooler has policies by certificate and by password",
        meaning="Of the policies that name a pooler, some have `cert` and some `scram-sha-256`.",
        why="PgBouncer asks every client for a certificate and rejects those without "
        "(`client_tls_sslmode = verify-full`), or checks none.",
        fix="Make a second pooler for one of them.",
    ),
    Rule(
        "PGT484",
        "error",
        "the auth_file of a pooler does not fit its policies",
        meaning="Policies by password name a pooler without `auth_file`; or policies by certificate one with it; or "
        "its path is not absolute.",
        why="PgBouncer compares passwords with its own file, which is a secret and no part of a spec. For policies by "
        "certificate the file lists the roles only, and pgtls writes it.",
        fix='`auth_file` names the file on the pooler\'s machine with lines like `"app" "SCRAM-SHA-256$…"`, as '
        "`pg_authid` has them.",
    ),
    Rule(
        "PGT485",
        "error",
        "PgBouncer would take a certificate for that of another user",
        meaning="The common names of two users differ in case only, one is a wildcard, or one is a host name in the "
        "certificate of the other, and a pooler accepts both.",
        why="PgBouncer compares names in client certificates as those of servers are compared: without regard to case, "
        "with wildcards, and host names before the common name. PostgreSQL compares the whole common name.",
        fix="Set another `common_name` for one of them.",
    ),
    Rule(
        "PGT486",
        "error",
        "the user of a pooler cannot be used",
        meaning="The `user` of a pooler has ended, has a key with a passphrase or a key that is not here, is told by "
        "its whole subject, or a policy names it.",
        why="PgBouncer cannot enter a passphrase. Its certificate lies on the pooler's machine, and should open what "
        "the pooler's clients may, and nothing else.",
        fix="Name a user with a certificate and without policies, for this pooler alone.",
    ),
    Rule(
        "PGT487",
        "error",
        "a pooler cannot verify a server of a public CA",
        meaning='The server of a pooler has `ca = "system"`.',
        why="PgBouncer verifies its server with the CAs of a file, and knows no CAs of the system.",
        fix="Sign the certificate of that server with a CA of the spec.",
    ),
    Rule(
        "PGT488",
        "error",
        "a pooler connects from a Unix socket",
        meaning='`from` of a pooler has `"local"`.',
        why="A pooler proves itself to its server by certificate, which needs TLS.",
        fix="Write the addresses from which it connects.",
    ),
    Rule(
        "PGT489",
        "error",
        "a server does not admit its pooler",
        meaning="Another policy of the server decides for connections that a pooler makes for its clients: it has the "
        "higher priority, or names the same roles, databases and addresses more exactly.",
        why="The pooler admits its clients and then cannot log in for them. They wait, and fail.",
        fix="Lower the priority of the other policy, or take the addresses of the pooler out of it.",
    ),
)
