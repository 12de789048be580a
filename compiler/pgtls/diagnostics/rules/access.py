"""PGT2xx: policies and the access that they grant. 200 to 249: one policy; 250 to 299: several policies together."""

from __future__ import annotations

from pgtls.diagnostics.rules import Rule

RULES: tuple[Rule, ...] = (
    Rule(
        "PGT200",
        "error",
        "the Unix socket mixed with addresses",
        meaning='`from` holds `"local"`, the Unix socket, together with addresses.',
        why="The socket has no TLS and other methods. One policy cannot mean the same for both.",
        fix="Write two policies.",
    ),
    Rule(
        "PGT201",
        "error",
        "an address that cannot be read",
        meaning="`from` and `addresses` hold blocks with a prefix length, single addresses, host names and "
        "`.suffix`es. Short forms (`10.1`), netmasks, zone ids, brackets and IPv4 addresses in IPv6 form "
        "are not allowed.",
        why="PostgreSQL takes what it cannot read for a host name. The rule would match nothing, or something "
        "else, without an error.",
        fix="Write it as the hint says.",
    ),
    Rule(
        "PGT202",
        "error",
        "host bits in a network",
        meaning="An address has bits set to the right of its mask, as in `10.0.0.5/24`.",
        why="PostgreSQL ignores these bits: the rule admits 256 hosts, where one host may be meant.",
        fix="Write the network (`10.0.0.0/24`) or the host (`10.0.0.5`).",
    ),
    Rule(
        "PGT203",
        "error",
        "client certificates without a client CA",
        meaning="A policy asks for client certificates on a server whose `client_ca` is empty.",
        why="The server cannot check a certificate: `client certificates can only be checked if a root "
        "certificate store is available`. Nobody could log in.",
        fix='Add `client_ca = ["NAME"]` to the server, or use another `auth`.',
        standards=("STIG CD12-00-007000",),
    ),
    Rule(
        "PGT205",
        "error",
        "`sslmode` without an effect",
        meaning='A policy for `"local"`, or a policy that rejects, has an `sslmode`.',
        why="The Unix socket has no TLS, and reject rules apply to all transports. `sslmode` would have no effect.",
        fix="Delete `sslmode`.",
    ),
    Rule(
        "PGT206",
        "error",
        "a server without local access",
        meaning='No policy admits anybody to the server from `"local"`, its Unix socket.',
        why="Connections that no policy covers are rejected. The server's own administrator could not log in "
        "to repair anything.",
        fix='Add a policy with `users = ["postgres"]`, `from = ["local"]`, `auth = "peer"`; or set `no_local '
        "= true` if this is what you want.",
    ),
    Rule(
        "PGT207",
        "error",
        "an unknown method",
        meaning="`auth` is not an authentication method of PostgreSQL. Methods are written in lower case.",
        why="The server would reject the whole file.",
        fix="Write the method as PostgreSQL names it.",
    ),
    Rule(
        "PGT208",
        "error",
        "a method that does not work here",
        meaning="`peer` works on the Unix socket only; `cert`, `gss`, `ident` and client certificates do not work "
        "there.",
        why="The server would reject the line (on `local` it reads `ident` as `peer`).",
        fix="Use a method that works for this kind of connection.",
    ),
    Rule(
        "PGT209",
        "error",
        "certificates without TLS",
        meaning="A policy asks for client certificates, and its `sslmode` does not require TLS.",
        why="A client sends its certificate in the TLS handshake. Without TLS there is nothing to check.",
        fix='Set `sslmode = "verify-full"`, or at least `"require"`.',
    ),
    Rule(
        "PGT210",
        "error",
        "an ident map for a method that takes none",
        meaning="`map` works only with methods that prove an identity other than the role: `cert`, `peer`, "
        "`ident`, `gss`, `sspi`, `oauth`.",
        why='The server would reject the line: `authentication option "map" is only valid for …`.',
        fix="Delete `map`, or use one of these methods.",
    ),
    Rule(
        "PGT211",
        "error",
        "a missing option",
        meaning="The method needs an option that is missing.",
        why="The server would reject the whole file.",
        fix="Add it to `auth_options`.",
    ),
    Rule(
        "PGT212",
        "error",
        "an unknown option",
        meaning="`auth_options` holds an option that this method does not have.",
        why="The server would reject the whole file.",
        fix="Correct its name, or delete it.",
    ),
    Rule(
        "PGT213",
        "error",
        "an option that pgtls writes itself",
        meaning="`auth_options` holds `map`, `clientcert` or `clientname`.",
        why="pgtls derives these options from other fields. Two values could contradict each other.",
        fix="Use the field that the hint names.",
    ),
    Rule(
        "PGT214",
        "error",
        "a secret in the spec",
        meaning="`ldapbindpasswd` and `radiussecrets` are secrets, and the spec holds one of them as plain text.",
        why="The spec is committed and reviewed: everybody who reads it knows the secret.",
        fix='Write `{ env = "NAME" }`, `{ file = "PATH" }` or `{ command = [...] }`; then change the secret.',
    ),
    Rule(
        "PGT215",
        "error",
        "an option value that is not allowed",
        meaning="The value of an option has the wrong type, or contradicts another option.",
        why="The server would reject the line, or read the value in another way.",
        fix="Correct the value.",
    ),
    Rule(
        "PGT216",
        "error",
        "a user without a certificate",
        meaning="A policy asks for client certificates, and a user that it names has no `ca`. The policy's `map` "
        "gives it no role, and the server trusts CAs whose keys are here.",
        why="That user could never log in through this policy.",
        fix='Add `ca = "NAME"` to the user, or write another policy for the user.',
    ),
    Rule(
        "PGT217",
        "error",
        "a user of a CA that the server does not trust",
        meaning="A policy asks for client certificates. The certificate of a user that it names is signed by a CA "
        "that is not in the server's `client_ca` and not below one that is.",
        why="The server would reject the certificate, or accept it only because both CAs have the same root.",
        fix="Add the CA to the server's `client_ca`, or let another CA sign for the user.",
    ),
    Rule(
        "PGT218",
        "error",
        "a database that the server does not have",
        meaning="The server lists its `databases`, and a policy names another.",
        why="Most often the name is misspelt, and the policy grants nothing.",
        fix="Correct it, or add it to the server's `databases`.",
    ),
    Rule(
        "PGT219",
        "warning",
        "a group without users",
        meaning="A group has no users.",
        why="Policies grant nothing to it. A policy that names nobody else does not exist.",
        fix="Add its users, or delete it.",
    ),
    Rule(
        "PGT221",
        "error",
        "`client_cert` contradicts the method",
        meaning="`cert` always checks the whole certificate, and a reject policy needs none.",
        why='The server would reject the line: `clientcert` with `cert` can only be "verify-full".',
        fix="Delete `client_cert`.",
    ),
    Rule(
        "PGT222",
        "error",
        "channel binding where there is none",
        meaning='`channel_binding = "require"` is set with a method other than `scram-sha-256`, or without TLS.',
        why="Every connection would fail in libpq: `channel binding required but not supported by server's "
        "authentication request`.",
        fix="Delete it, or use SCRAM over TLS.",
    ),
    Rule(
        "PGT250",
        "error",
        "two policies that overlap, and neither decides",
        meaning="Two policies cover the same connection, have the same `priority`, and ask for different things "
        "(TLS, method, options or certificate). Neither is more specific: a policy is more specific if "
        "its roles, databases and addresses are each a subset of the other's. The message shows a "
        "connection that both cover and that no third policy decides. If pgtls cannot know, it assumes an "
        "overlap: whether a role is in `+role` (see `member_of`), whether a host name is in a network, "
        "whether two regular expressions match the same database.",
        why="The first of the two lines would decide, and a reader of the spec could not see which one that is.",
        fix="Give one policy a higher `priority`, or narrow one of them until they have no connection in common.",
    ),
    Rule(
        "PGT251",
        "error",
        "certificates that one line cannot tell apart",
        meaning="Two policies ask for the same and accept different users. They overlap in a set that pg_hba.conf "
        "cannot name: a host name and a network, `samenet` and a network, two regular expressions. In "
        "that set both should count.",
        why="A line has one list of certificates that it accepts. Either line would reject a user whom the "
        "other policy admits.",
        fix="Use networks in both, name the databases, or name the same users in both.",
    ),
    Rule(
        "PGT252",
        "error",
        "certificate and role differ, and the method has no map",
        meaning='`client_cert = "verify-full"` compares the name in the certificate with the role. If they '
        "differ, the line needs an ident map, and only `cert`, `peer`, `ident`, `gss`, `sspi` and `oauth` "
        "take one.",
        why="These users could never log in: `certificate validation (clientcert=verify-full) failed for user "
        '"x": CN mismatch`.',
        fix='Give each role its own certificate; or set `client_cert = "verify-ca"` if any certificate of '
        "that CA is enough in addition to the password.",
    ),
    Rule(
        "PGT253",
        "error",
        "a rule that this version cannot express",
        meaning="The pg_hba.conf or pg_ident.conf of the server's version cannot express a name, an option or a line.",
        why="The server would reject the whole file, or read something else.",
        fix="Do what the message says: most often, use a shorter name or a newer server.",
    ),
    Rule(
        "PGT254",
        "error",
        "a name that another certificate has",
        meaning="The lock lists a certificate of somebody else that is not expired and, unless the server reads no "
        "CRLs, not revoked: of a user, or of a server if it is one of a client, too. The server cannot tell it from "
        "this user's, or from what an entry of a map accepts; or a policy for `all` or `+role` admits it as a role of "
        "this user, who needs no certificate for that. It is a warning if a former user had the same table, or if a "
        "regular expression accepts the certificate.",
        why="The holder of that key could log in as this user.",
        fix="Choose another `common_name`, or name users in the policy. If the other user is gone, delete it in a "
        "build of its own: the build revokes its certificates. A server needs `crl = true` to refuse them. Have the "
        "certificate of a server signed for servers alone (`serverAuth`).",
    ),
    Rule(
        "PGT255",
        "error",
        "a CA under the same root that lets another user in",
        meaning="OpenSSL accepts every chain that ends in a trusted root. A server whose `client_ca` is an "
        "intermediate therefore accepts certificates of all CAs under that root, and of those that were under it and "
        "have an unexpired certificate from then. A user of a CA that the server does not name has, or had, a "
        "certificate that a policy admits.",
        why="That user could log in as somebody else.",
        fix="Give clients a root of their own; or name that user or its CA, if this is what you want.",
    ),
    Rule(
        "PGT256",
        "warning",
        "a policy that never decides",
        meaning="Wherever this policy applies, another policy decides: by priority, or because it is more specific.",
        why="The policy looks as if it grants or rejects something, and does not.",
        fix="Give it a higher `priority`, or delete it.",
    ),
    Rule(
        "PGT257",
        "warning",
        "a redundant policy",
        meaning="Another policy with the same demands already grants everything that this one grants.",
        why="Deleting it later to remove the access would remove nothing.",
        fix="Delete it, or narrow the other policy.",
    ),
    Rule(
        "PGT258",
        "warning",
        "a weaker policy that takes connections from a stricter one",
        meaning="Where two policies overlap, the policy that decides demands less: no client certificate, or a "
        "weaker method.",
        why="The stricter policy looks as if it applied to all connections that it covers.",
        fix="Narrow the policy that decides, or let it demand as much. If this is what you want, add a `waiver`.",
    ),
    Rule(
        "PGT259",
        "warning",
        "a policy that accepts no certificate",
        meaning="A policy asks for a certificate with the name of the role, and no user that it covers has one "
        "that the server accepts: no user has `member_of`, or no user has a `ca`.",
        why="It rejects every connection that it covers.",
        fix="Add `member_of` to the users, or list identities that are not users of the spec in `map`.",
    ),
    Rule(
        "PGT260",
        "error",
        "common names and whole subjects in one policy",
        meaning="A line of pg_hba.conf compares either the common name of a certificate or its whole subject with "
        "a map (`clientname=DN`). This policy needs both: its map has entries with and without `of = "
        '"dn"`, or an entry for common names beside a user with `identity = "dn"`.',
        why="An expression that is meant for common names could match another part of somebody else's "
        "subject, and let them in.",
        fix='Write the whole subject and `of = "dn"` in every entry of the map, or move the entries that '
        "differ to a policy of their own.",
    ),
    Rule(
        "PGT261",
        "warning",
        "a map entry that looks like what it is not compared with",
        meaning='An entry of `map` is compared with the common name of a certificate, or, with `of = "dn"`, with '
        "its whole subject. This identity looks like the other one.",
        why="A whole subject never equals a common name: the entry would match nobody.",
        fix='Add `of = "dn"` where the whole subject is meant; leave it out where the common name is.',
    ),
    Rule(
        "PGT262",
        "error",
        "a subject to match where no certificate is compared",
        meaning='`of = "dn"` in a map says what of a certificate is compared. The method of this policy proves an '
        "identity in another way (a ticket, a token, an account).",
        why="The field would have no effect.",
        fix="Leave `of` out, or use `cert`.",
    ),
    Rule(
        "PGT275",
        "error",
        "too many addresses on a server",
        meaning="The policies of a server have more than 20,000 addresses in all, in however many lists, or more than "
        "100,000 pairs of a network and a host name.",
        why="Each address is a line of pg_hba.conf, and PostgreSQL reads the lines from the top for each connection. A "
        "check compares each network with each host name, and would take minutes.",
        fix="Write networks in place of single addresses, or let a firewall select the addresses.",
    ),
    Rule(
        "PGT276",
        "error",
        "too many patterns on a server",
        meaning="The policies of a server have more than 500 different regular expressions and `+role` in all, or more "
        "than 500,000 combinations of two of them for roles with two for databases beside these. Terms of the same "
        "policies count as one.",
        why="Which of them match one name together is not known before a client connects, so a check compares every "
        "pair, and would take minutes.",
        fix="Name the roles and databases, or join regular expressions with `|`.",
    ),
    Rule(
        "PGT330",
        "error",
        "certificates of a CA whose key is not here",
        meaning="A policy admits by certificate alone, and the server accepts certificates of a CA whose key is "
        "not part of the spec. A server without CRLs also accepts what such a CA certifies after its table has left "
        "the spec: its certificate still leads to a root that the server trusts.",
        why="The owner of that CA can issue a certificate for any name, also for a superuser, and nothing "
        "here would show it.",
        fix="Ask for a password as well (`client_cert` with another method), or accept the risk with a "
        "`waiver` that names the owner of the CA. A server with `crl = true` rejects a CA that has no table any more, "
        "because it has no CRL of that CA; a pooler needs a root of its own. `name_constraints` do not help: they "
        "restrict hosts, and not the names of clients.",
    ),
    Rule(
        "PGT331",
        "error",
        "a policy that gives up TLS",
        meaning="A policy that accepts cleartext takes connections from a policy that requires TLS.",
        why="An attacker on the network can read and change the passwords and data of these connections, "
        "although another policy forbids that.",
        fix="Raise its `sslmode`, or narrow it. If this is what you want, add a `waiver`.",
        standards=("CIS 6.8", "STIG CD12-00-003000"),
    ),
    Rule(
        "PGT280",
        "error",
        "a map without its pg_ident.conf",
        meaning="A line of the imported pg_hba.conf names an ident map, and `pgtls import` was given no pg_ident.conf.",
        why="Without its map the line would admit nobody: the spec would lock out the DBA whose line it is.",
        fix="Name the file with `--ident`, or a `--conf` whose `ident_file` is on this machine.",
    ),
    Rule(
        "PGT281",
        "warning",
        "a map that pg_ident.conf does not have",
        meaning="A line of the imported pg_hba.conf names an ident map, and no line of the pg_ident.conf has that map.",
        why="The server admits nobody by such a line, and neither does the spec; most often it is the wrong "
        "pg_ident.conf.",
        fix="Name the right file with `--ident`, or delete the line.",
    ),
    Rule(
        "PGT282",
        "error",
        "an import into a file that exists",
        meaning="The file that `pgtls import` would write exists already.",
        why="It may be a reviewed spec; an import never overwrites a file.",
        fix="Name another file with `--output`, or move the old one away.",
    ),
    Rule(
        "PGT283",
        "error",
        "a login across the identities of a server",
        meaning="Two users have the same common name, and a server accepts their CAs under different host names "
        "(`[[server.NAME.sni]]`).",
        why="Lines of pg_hba.conf see the common name, the role and the database, and not the host name that the "
        "client asked for. Each user dials the host name that accepts its own CA and logs in as the other.",
        fix="Set another `common_name` for one of them. pgtls compiles an ident map for it.",
    ),
    Rule(
        "PGT284",
        "error",
        "a host name with two certificates",
        meaning="Two identities of a server have the same host name, or one has it twice with its server.",
        why="PostgreSQL does not load a pg_hosts.conf that names a host twice, and a host name has one certificate.",
        fix="Delete the host name from one of them.",
    ),
    Rule(
        "PGT285",
        "error",
        "an identity for what no client asks for",
        meaning="A host of `[[server.NAME.sni]]` is a wildcard or an address.",
        why="PostgreSQL compares the whole name that a client asks for, so it takes `*.example.com` for a host of that "
        "very name. Clients that dial an address ask for no name. The identity would never be used.",
        fix="List the host names. Add addresses to the `hosts` of the server: its own certificate answers them.",
    ),
    Rule(
        "PGT286",
        "error",
        "a standby of itself",
        meaning="`standby_of` of a server names the server itself, or leads back to it by way of other standbys.",
        why="None of these servers would be the primary: each would wait for another to send it the log.",
        fix="Delete `standby_of` from the server that is the primary.",
    ),
    Rule(
        "PGT287",
        "error",
        "a standby without a user, or a user without a primary",
        meaning="A server has only one of `standby_of` and `replication_user`.",
        why="A standby logs in to its primary as that user. With only one of them, there is nothing to compile.",
        fix="Write both, or neither.",
    ),
    Rule(
        "PGT288",
        "error",
        "a replication user that a standby cannot log in as",
        meaning="The `until` of the `replication_user` is over, or its key has a passphrase.",
        why="An ended user counts as deleted, so the primary rejects it. A standby connects without anyone who could "
        "enter a passphrase.",
        fix="Set a later `until`, delete the `passphrase`, or name another user.",
    ),
    Rule(
        "PGT289",
        "error",
        "a standby of another major version",
        meaning="`postgres` of a standby is not that of its primary.",
        why="Physical replication copies the files of the primary, whose format changes with each major version: the "
        "standby would not start.",
        fix="Set the same `postgres` for both. Logical replication and pg_upgrade move to another major version.",
    ),
    Rule(
        "PGT290",
        "error",
        "a pg_hba.conf or pg_ident.conf that the server refuses",
        meaning="The file has an error. The message is the server's own; the hint says what the server does with "
        "such a file.",
        why="One bad line rejects the whole file: the server does not start, or silently keeps the lines that it had.",
        fix="Correct the line. What is valid depends on the major version: see `--postgres`.",
    ),
    Rule(
        "PGT291",
        "error",
        "a question about something that does not exist",
        meaning="`pgtls explain` was asked about a server or a user that the spec does not have, or `pgtls rule` "
        "about a code that does not exist.",
        why="An answer about something else would be taken for an answer to the question.",
        fix="Name a server or user of the spec, or a code of `pgtls rule`; the hint has the nearest.",
    ),
    Rule(
        "PGT292",
        "error",
        "a git revision without the spec",
        meaning="`pgtls diff` was asked for the spec at a revision that git does not know or whose name is ambiguous, "
        "or that does not have that file, or a symbolic link or a submodule in the repository leads to the spec. The "
        "repository is that of the working directory, or that of a spec elsewhere.",
        why="A comparison with nothing would show everything as new. If a tag and a branch have the same name, git "
        "takes the tag: whoever may push a tag would decide what is compared. A commit that adds a link or a submodule "
        "would decide which file, or whose revision, is compared.",
        fix="Name a revision and, if the spec lay elsewhere then, its path: `git:REV:PATH`. A shallow clone "
        "may lack the revision. Write an ambiguous name in full: `git:refs/heads/main`. Instead of a link, name the "
        "file itself. For a spec in a submodule, run pgtls in the directory of the submodule.",
    ),
    Rule(
        "PGT293",
        "error",
        "a regular expression that pgtls cannot evaluate",
        meaning="The answer depends on whether a regular expression of pg_hba.conf or pg_ident.conf matches, and "
        "pgtls does not implement a construct in it.",
        why="A guess would be taken for the server's answer.",
        fix="Ask the server itself: try the connection, and read its log. Or write the expression without "
        "that construct.",
    ),
    Rule(
        "PGT295",
        "error",
        "a file that cannot be imported",
        meaning="A file that `pgtls import` was given, or that one of them names, does not exist, cannot be read here, "
        "or has a line that the server refuses. Or the server has its CRLs in a directory (`ssl_crl_dir`): a spec "
        "takes them from one file.",
        why="A spec made from a part of the files would mean something else than the server does.",
        fix="Correct the line, or name the file with its path on this machine: `--hba`, `--ident`, `--cert`, `--key`, "
        "`--ca-file`, `--crl-file`.",
    ),
    Rule(
        "PGT296",
        "warning",
        "what a spec cannot express",
        meaning="A line of the imported files has no counterpart in a spec, and is left out: a policy for "
        "cleartext alone, roles by a regular expression, a mask that is no prefix length, GSS encryption. Or a setting "
        "of postgresql.conf has none.",
        why="What the line admitted or refused is decided by the other lines now; PGT297 shows where that differs.",
        fix="Write policies for what the line is meant to do.",
    ),
    Rule(
        "PGT297",
        "error",
        "a connection that the import changes",
        meaning="The file that the imported spec compiles to treats connections otherwise than the original file "
        "does; the message has an example.",
        why="If you installed it, connections would be refused that work today, or admitted that are refused today.",
        fix="Change the policies until they say what is meant. A policy that requires TLS also refuses "
        "cleartext, which is often what was meant.",
    ),
    Rule(
        "PGT298",
        "warning",
        "a line that never decides",
        meaning="An earlier line of the imported pg_hba.conf covers all that this one covers, or a later one asks "
        "for the same with TLS and without. The spec leaves it out.",
        why="The first line that matches decides, and the author of the later one expects it to do something.",
        fix="Delete the line, or make the earlier one narrower if the later one was meant.",
    ),
    Rule(
        "PGT299",
        "warning",
        "what an import cannot know, or has decided",
        meaning="The server's files do not say it, or a spec must not hold it: whether clients verify the server, "
        "secrets, the certificates of users, what ALTER SYSTEM has set. Or the import decided something: a waiver for "
        "what was so before, `no_local`, `crl = false`, a certificate that is not adopted, TLS that was off.",
        why="The spec is complete only with it.",
        fix="Add it to the spec as the hint says.",
    ),
)
