"""PGT1xx: names, what they refer to, and the certificates that carry them."""

from __future__ import annotations

from pgtls.diagnostics.rules import Rule

RULES: tuple[Rule, ...] = (
    Rule(
        "PGT101",
        "error",
        "a name that does not exist",
        meaning="A field names a CA, server, user, group or network that no table of the spec and its includes "
        "defines.",
        why="pgtls cannot compile it. Most often the name is misspelt, or the table was renamed or deleted.",
        fix="Correct the name, or define the table.",
    ),
    Rule(
        "PGT102",
        "error",
        "CAs sign each other in a circle",
        meaning="Following `issuer` from a CA leads back to it.",
        why="A chain of certificates must end in a root: a CA that signs itself.",
        fix="Delete `issuer` from the CA that is the root.",
    ),
    Rule(
        "PGT103",
        "error",
        "a server without a CA",
        meaning="A server has neither `ca` nor a certificate of its own in `cert_file`.",
        why="Without a certificate there is no TLS.",
        fix='Add `ca = "NAME"` to the table or to `[defaults.server]`.',
    ),
    Rule(
        "PGT104",
        "error",
        "a policy that does not name its servers",
        meaning="The spec has several servers, and a policy does not say which ones it applies to.",
        why="With one server the answer is clear. With a second server, a guess could open it or lock it.",
        fix='Add `servers = ["NAME"]` or `servers = ["all"]`.',
    ),
    Rule(
        "PGT105",
        "error",
        "a name that is a keyword",
        meaning="A CA is named `self-signed`, `system` or `none`, or a server is named `all`.",
        why="These words have another meaning in the fields that would name the table, so nothing could refer to it.",
        fix="Give the table another name.",
    ),
    Rule(
        "PGT106",
        "error",
        "two names are one directory",
        meaning="Two names differ only in dots at their end.",
        why="Each entity has a directory of its name, and Windows drops dots at the end of names. One "
        "directory would overwrite the other.",
        fix="Rename one of them.",
    ),
    Rule(
        "PGT107",
        "error",
        "a host is neither a name nor an address",
        meaning="`hosts` holds host names (RFC 1123: labels of letters, digits, hyphens and underscores, 63 "
        "characters each, 253 in all) and IP addresses, without brackets, port or mask.",
        why="Clients compare these names, character by character, with the name that they dial.",
        fix="Write the name that clients dial. Write names outside ASCII in their `xn--` form.",
    ),
    Rule(
        "PGT108",
        "error",
        "a server has one host twice",
        meaning="Two of its `hosts` are equal: host names without regard to case, addresses in any spelling.",
        why="One of them is probably meant to be another.",
        fix="Correct or delete one.",
    ),
    Rule(
        "PGT109",
        "error",
        "the first host is a wildcard",
        meaning="The first of `hosts` is written to connection strings, and nobody can connect to `*.example.com`.",
        why="The connection strings in the bundles would not work.",
        fix="Put the name that clients dial first. A wildcard can follow.",
    ),
    Rule(
        "PGT110",
        "error",
        "a part of a subject is too long",
        meaning="RFC 5280 bounds the parts of a subject: a common name, an organization and its unit have 64 "
        "bytes of UTF-8 at most, state and locality 128, an e-mail address 255.",
        why="No certificate can be issued with it.",
        fix="Shorten it. If a user's common name is not the role, pgtls compiles an ident map.",
    ),
    Rule(
        "PGT111",
        "error",
        "a role is too long",
        meaning="A role name has more than 63 bytes.",
        why="PostgreSQL cuts names to 63 bytes (NAMEDATALEN). No role has this name, and the shortened name "
        "may be another role.",
        fix="Write the role's name as PostgreSQL knows it.",
    ),
    Rule(
        "PGT112",
        "error",
        "a database name is too long",
        meaning="A database name has more than 63 bytes.",
        why="PostgreSQL cuts names to 63 bytes (NAMEDATALEN). No database has this name, and the shortened "
        "name may be another database.",
        fix="Write the database's name as PostgreSQL knows it.",
    ),
    Rule(
        "PGT113",
        "warning",
        "a name ends in a blank",
        meaning="A database or a role ends in a blank.",
        why="PostgreSQL allows such names, but libpq drops blanks at the end of the lines of a service file: "
        "`psql service=…` would use another database or role. The bundle therefore has no service for it. "
        "`connections.json` has the connection as a URI and as a key/value string.",
        fix="Delete the blank if it is a mistake. If the name really ends in a blank, rename it, or connect "
        "with the strings in `connections.json`.",
    ),
    Rule(
        "PGT114",
        "error",
        "a name that looks like something else",
        meaning="A list of names holds something that looks like a keyword (`ALL`, `any`, `*`, `locall`), a group "
        "or network without its `@`, several names in one string, a pattern, or a range of addresses.",
        why="PostgreSQL takes it for a host, role or database of exactly that name. The rule then matches "
        "nothing, and the server reports no error.",
        fix="Write the word that the hint names. For a database, role or host that really has this name, "
        'write `{ name = "any" }`.',
    ),
    Rule(
        "PGT115",
        "warning",
        "a single address that looks like a network",
        meaning="An address without a prefix length ends in zeros, such as `10.0.0.0`. It is one address, not a "
        "network.",
        why="Almost no client has such an address, so the rule matches nobody.",
        fix="Write the prefix length: `10.0.0.0/8` for the network, `10.0.0.0/32` for the single address.",
    ),
    Rule(
        "PGT116",
        "warning",
        "the client CAs of a server are not signed yet",
        meaning="Every CA in the server's `client_ca` is `external` and waits for its certificate.",
        why="PostgreSQL does not start with an empty `ssl_ca_file`. The server therefore trusts no client CA "
        "for now, and rejects every login by certificate.",
        fix="Have the CSR of the CA signed, name the certificate in its `cert_file`, build again, and deploy "
        "the server.",
    ),
    Rule(
        "PGT117",
        "warning",
        "a file that has another name",
        meaning="`cert_file`, `key_file`, `csr_file` or `crl_file` names a file that does not exist, and a file "
        "of a similar name is next to it. `check` lists the directories below the spec for this, and "
        "opens none of these files.",
        why="The build cannot read the file, and stops.",
        fix="Correct the path.",
    ),
    Rule(
        "PGT118",
        "error",
        "a predefined role cannot log in",
        meaning="A user or a map names a role that begins with `pg_`, such as `pg_monitor`.",
        why="PostgreSQL reserves these names for its predefined roles (CREATE ROLE refuses others), and none of them "
        "can log in. They are granted to roles that can.",
        fix="Write the role that logs in, and `GRANT` it the predefined one; `member_of` tells pgtls about that.",
    ),
    Rule(
        "PGT119",
        "error",
        "a code cannot be ignored or waived",
        meaning="`ignore`, or `codes` of a waiver, names a code that does not exist, or an error outside of the "
        "3xx family.",
        why="A misspelt code accepts nothing. Errors outside of 3xx make the output wrong and cannot be accepted.",
        fix="Correct the code, or fix what it reports. `pgtls rule` lists all codes.",
    ),
    Rule(
        "PGT121",
        "warning",
        "a user is in no policy",
        meaning="No policy names the user: not directly, not through a group, not through a role, and not by `all`.",
        why="The user cannot connect to any server. Either a policy is missing, or the user is obsolete.",
        fix="Name the user in a policy, or delete it. A build then revokes its certificate.",
    ),
    Rule(
        "PGT122",
        "warning",
        "a CA is not used",
        meaning="It signs nothing, and no server trusts it.",
        why="Every CA is a key to protect and a CRL to renew.",
        fix="Delete it, or use it.",
    ),
    Rule(
        "PGT124",
        "warning",
        "the members of a role, or a group of the spec",
        meaning="`users` has `+NAME`, and there is a table `[group.NAME]`.",
        why="`+NAME` means the members of the database role NAME, which only the server knows. The users of a group "
        "are `@NAME`.",
        fix="Write `@NAME`. If the members of the role are meant, waive this, or give the group another name.",
    ),
    Rule(
        "PGT125",
        "warning",
        "the name of a server table as a source",
        meaning="`from` has the NAME of a `[server.NAME]` table that is not one of its host names.",
        why="In `from`, a word is a host name. The server looks it up in DNS for each connection, and the rule matches "
        "nothing if no address has that name.",
        fix="Write the addresses from which the server connects, or its host name.",
    ),
    Rule(
        "PGT126",
        "warning",
        "a user or policy whose time is over",
        meaning="The `until` of the table is in the past.",
        why="It counts as deleted: it gives no access, and a build revokes what the user had. A table without effect "
        "misleads its readers.",
        fix="Delete the table, or set a later `until`.",
    ),
    Rule(
        "PGT130",
        "error",
        "a certificate that would outlive its issuer",
        meaning="The configured `validity` is longer than that of the CA that signs the certificate.",
        why="A certificate is valid only as long as its chain. pgtls would cut it, and the number in the spec "
        "would be wrong.",
        fix="Shorten `validity`, or lengthen the issuer's. A default that is too long is cut without a message.",
    ),
    Rule(
        "PGT131",
        "error",
        "a renewal window as long as the lifetime",
        meaning="`renew_before` is not shorter than `validity`.",
        why="The certificate would be due as soon as it is issued, and every build would issue another one.",
        fix="Shorten `renew_before`. Its default is a third of the lifetime issued.",
    ),
    Rule(
        "PGT132",
        "error",
        "a path length is too small",
        meaning="`path_length` limits the levels of CAs below a CA (RFC 5280, 4.2.1.9), and the spec has more levels.",
        why="Peers would reject every certificate under the lowest of these CAs, with `unknown ca`.",
        fix="Raise the number, or delete it: pgtls then uses the number that is needed.",
    ),
    Rule(
        "PGT133",
        "error",
        "a name constraint that is not a domain or network",
        meaning="`permitted_dns` and `excluded_dns` hold domains, `permitted_ip` and `excluded_ip` networks "
        "without host bits.",
        why="It cannot be encoded, or would mean something else.",
        fix="`example.com` covers itself and everything below it; `.example.com` covers only what is below.",
    ),
    Rule(
        "PGT134",
        "error",
        "a host that breaks a name constraint",
        meaning="A CA in the server's chain does not permit one of its `hosts`, or excludes it.",
        why="Every client would reject the certificate (`permitted subtree violation`).",
        fix="Widen the constraint, or let another CA sign.",
    ),
    Rule(
        "PGT135",
        "error",
        "a dotted common name that breaks a name constraint",
        meaning="Under DNS constraints, OpenSSL reads a common name with dots as a host name, unless the "
        "certificate has a SAN. pgtls gives such a user a SAN that the constraints permit; here no such "
        "name exists.",
        why="Peers would reject the certificate (`permitted subtree violation`), with a message that does not "
        "mention the common name.",
        fix="Set a `common_name` without dots, or let another CA sign.",
    ),
    Rule(
        "PGT136",
        "error",
        "SCRAM fails with an Ed25519 signature",
        meaning="A password policy applies to a server whose certificate has an Ed25519 signature. What counts is "
        "the issuer's key, not the server's.",
        why="With channel binding, libpq's default, SCRAM hashes the certificate with the hash of its "
        "signature, and Ed25519 has none. Every such login fails with `could not find digest for NID "
        "UNDEF`.",
        fix='Let an ECDSA or RSA CA sign the server, or set `channel_binding = "disable"` in the policy.',
    ),
    Rule(
        "PGT137",
        "error",
        "two users that a server cannot tell apart",
        meaning="Two users have the same common name, and one server trusts the CAs of both. A server trusts "
        "every CA under a root that it has.",
        why="PostgreSQL compares only the name: each of the two could log in as the other.",
        fix="Give one of them another `common_name`, or use CAs under separate roots.",
        standards=("STIG CD12-00-011500",),
    ),
    Rule(
        "PGT140",
        "error",
        "a CA without a CRL above a server's clients",
        meaning="A server checks revocation (`crl = true`), and a CA in the chains that it trusts has `crl = false`.",
        why="With a CRL file, PostgreSQL needs the CRL of every CA in the chain. If one is missing, it "
        "rejects every client (`unknown ca`).",
        fix="Give the CA a CRL, or set `crl = false` in the server: revoked certificates then stay valid "
        "until they expire.",
        standards=("STIG CD12-00-007000",),
    ),
    Rule(
        "PGT141",
        "error",
        "a directory that is not an absolute path",
        meaning="`directory` and `socket_directory` must be absolute paths. A client's directory must not have a "
        "colon, except after a Windows drive letter.",
        why="Settings and connection strings are read on another machine. There a relative path would lead "
        "somewhere else, `~` is not expanded, and libpq takes the text before a colon for the name of a "
        "crypto engine.",
        fix="Write the path from the root, or delete the field: PostgreSQL then uses its default places.",
    ),
    Rule(
        "PGT138",
        "error",
        "an encrypted server key that nothing opens",
        meaning="A server has a `passphrase` and no `passphrase_command`.",
        why="PostgreSQL reads an encrypted key only with the output of `ssl_passphrase_command`. Without it, "
        "PostgreSQL asks on a terminal that a service does not have, and does not start.",
        fix="Set `passphrase_command` to the program that the server runs, for example a client of your "
        "secret store. `%p` in it is PostgreSQL's prompt.",
    ),
    Rule(
        "PGT139",
        "error",
        "fields that contradict each other",
        meaning="Two fields of a table contradict each other about where the key is made or who signs the "
        "certificate, or one of two fields is missing.",
        why="pgtls could follow only one of them, and would have to guess.",
        fix="`csr_file`: the key is made elsewhere, and the certificate is signed here. `external`: the key "
        "is made here, and the certificate is signed elsewhere. `cert_file` with `key_file`: you bring "
        "both. `cert_file` alone: you bring the certificate, and its key is not here.",
    ),
    Rule(
        "PGT142",
        "error",
        "a CA that cannot sign",
        meaning="A CA should sign a certificate, but only its certificate is here, or it is a public CA.",
        why="Signing needs the key.",
        fix="Let another party sign: `external = true` makes a key and a CSR, and `cert_file` names the "
        "signed certificate. Or name a program or an ACME server in `sign` of the CA (of a public CA, in "
        "`[ca.system]`). If the key of the CA is "
        "only stored elsewhere, set `offline = true`.",
    ),
    Rule(
        "PGT143",
        "error",
        "a client cannot verify a public CA's server",
        meaning='A server has `ca = "system"`, and one of its clients may have a libpq older than 16, or a policy '
        "asks for less than `verify-full`.",
        why="`sslrootcert=system` works in libpq 16 and later, and only with `verify-full`. An older libpq "
        "takes `system` for a file name, and may connect without verifying anything.",
        fix='Set `libpq = 16` when every client has it, and `sslmode = "verify-full"`; or let a CA of your '
        "own sign the server.",
    ),
    Rule(
        "PGT144",
        "error",
        "the CRL of a foreign CA is missing",
        meaning="A server checks revocation (`crl = true`) and trusts a CA whose key is not here, and `crl_file` "
        "does not name its CRL.",
        why="With a CRL file, PostgreSQL needs the CRL of every CA in the chain. If one is missing, it "
        "rejects every client (`unknown ca`).",
        fix="Fetch the CRL of that CA, name it in `crl_file`, and fetch it again before it expires; or set "
        "`crl = false` in the server.",
        standards=("STIG CD12-00-007000",),
    ),
    Rule(
        "PGT145",
        "error",
        "a setting in two spellings",
        meaning="`settings` of a server holds one setting twice: with other capitals, or under a former name "
        "(`sort_mem` and `work_mem`).",
        why="PostgreSQL ignores case, and the last line of the file decides. A reviewer may read the other one.",
        fix="Delete one of them.",
    ),
    Rule(
        "PGT146",
        "error",
        "an included file that messages do not show has faults",
        meaning="`include` leads to a file outside of the repository (or, without one, of the spec's directory), or to "
        "one that is not called `*.toml`, and this file is no part of a spec.",
        why="A pull request can include any file of the machine that reviews it: a key, or a passphrase. A message "
        "about that file could show a secret in it, so pgtls names the file alone.",
        fix="Move the file into the repository and call it `*.toml`, or correct the include.",
    ),
    Rule(
        "PGT147",
        "warning",
        "two servers at one host and port",
        meaning="The first of `hosts` and the port are the same for two servers or poolers. A standby and its primary "
        "may share them: the name can move from one to the other. So may servers at localhost.",
        why="Bundles name this host and port. One of the two answers there, with its certificate and its rules, and "
        "clients of the other get refusals or more access than was meant.",
        fix="Write another host or port. A second pooler on the same machine needs its own `port` and `directory`.",
    ),
    Rule(
        "PGT148",
        "error",
        "a host that its ACME challenge cannot prove",
        meaning="A server of an ACME CA has a wildcard among its hosts, and the challenge is http-01; or an address, "
        "and the challenge is dns-01.",
        why="The CA would refuse the order: a web server proves one name, and the DNS holds no record for an address "
        "(RFC 8555, 8.3; RFC 8738, 7).",
        fix="Set `challenge = { command = [...] }` with a program that publishes DNS records for wildcards, and "
        "`challenge = { directory = ... }` for addresses; or delete the host.",
    ),
    Rule(
        "PGT149",
        "error",
        "a user of an ACME CA",
        meaning="A user, or a CA, should have its certificate from a CA whose `sign` names an ACME server.",
        why="An ACME server certifies who controls a host, not who a user is. Public CAs put no `clientAuth` into "
        "certificates any more. And a server that trusts such a CA for clients admits everybody whom that CA "
        "certifies: the owner of any host, under a common name of their choice.",
        fix="Let a CA of your own sign the certificates of users: `[ca.clients]`, and `client_ca` of the servers. "
        "Servers may keep the ACME CA.",
    ),
    Rule(
        "PGT150",
        "warning",
        "a server listens on another port than its clients dial",
        meaning="`settings` of a server has a `port`, and it is not the `port` of the server's table, by default 5432.",
        why="Bundles, `verify` and health checks dial the port of the table. Where nothing forwards it, no client "
        "connects.",
        fix="Write the number as `port` beside `hosts`, too. If a proxy or a container forwards the one port to the "
        "other, ignore this code.",
    ),
    Rule(
        "PGT151",
        "error",
        "two servers with services of one name",
        meaning="The name of a service is that of its server, with a database or role, or with `read-write` or "
        "`read-only` for a primary and its standbys. In the bundle of a user, two servers, poolers or identities give "
        "one name: server `main-shop`, and database `shop` of server `main`.",
        why="A name in `pg_service.conf` dials one of them. A new server would take over the name that programs use "
        "for another one.",
        fix="Give one of the two another name.",
    ),
    Rule(
        "PGT152",
        "warning",
        "a file of the repository that diff does not compare",
        meaning="`include`, `cert_file`, `csr_file`, `crl_file` or `roots_file` names a file inside the repository of "
        "the spec by an absolute path, or by more `..` than there are directories.",
        why="In another checkout, such as that of a job, the path leads elsewhere. A change of the file is then in no "
        "comparison of two revisions, and the next build takes it.",
        fix="Write the path from the file of the spec that names it: `partner.pem`.",
    ),
)
