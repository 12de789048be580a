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
        meaning="`settings` holds a name that this version of PostgreSQL does not know, or only shows.",
        why="The server would not start: `unrecognized configuration parameter`.",
        fix="Correct the name or leave it out. Names with a dot belong to extensions and are not judged.",
    ),
    Rule(
        "PGT402",
        "error",
        "a setting that pgtls writes itself",
        meaning="`settings` holds one of the `ssl*` settings, `hba_file` or `ident_file`.",
        why="It follows from other fields; said twice, the two could contradict.",
        fix="Use the field that the hint names.",
    ),
    Rule(
        "PGT403",
        "error",
        "a field that the version does not have",
        meaning="The server's version is too old for what the table asks for: `tls13_ciphers` and several `groups` (18), regular expressions and words in "
        'maps (16), `identity = "dn"` and `of = "dn"` (14).',
        why="An older server takes a regular expression for a literal name, and refuses the others. What comes from `[defaults]` is left out where a "
        "version lacks it, if that lets nobody in who is not meant.",
        fix="Write it otherwise for that server, or upgrade it.",
    ),
    Rule(
        "PGT404",
        "error",
        "a method that the version does not have",
        meaning="`oauth` came with PostgreSQL 18, `radius` went with 19.",
        why="The server would refuse the whole file: `invalid authentication method`.",
        fix="Use another method on that server.",
    ),
    Rule(
        "PGT407",
        "error",
        "a value that the setting does not take",
        meaning="A setting in `settings` is a number, a boolean or one of some words, and its value is not, or is out of its bounds.",
        why="The server would not start, or keep its old configuration at a reload.",
        fix="Give a value of that kind.",
    ),
    Rule(
        "PGT408",
        "warning",
        "a setting of a version that is not released",
        meaning="The version is not final, and its settings are not all known. This one no version before it had.",
        why="If it has no such setting, the server will not start.",
        fix="Try it there, and ignore this code.",
    ),
    Rule(
        "PGT409",
        "warning",
        "an address that an old libpq cannot verify",
        meaning="The first of a server's `hosts` is an address, and a bundle that has to verify it is for a `libpq` before 15.",
        why="Those ignore addresses in certificates: `verify-full` fails with `server certificate for … does not match host name`.",
        fix="Put a host name first, or say `libpq = 15` for users who have that one or a later one.",
    ),
    Rule(
        "PGT410",
        "warning",
        "SCRAM where passwords become MD5 hashes",
        meaning="A policy asks for `scram-sha-256` on PostgreSQL 13, whose `password_encryption` is `md5` unless its configuration says otherwise.",
        why="A password that is set there is stored as an MD5 hash, and the method never accepts those: its user is refused with the right password.",
        fix='Say `settings = { password_encryption = "scram-sha-256" }` in the server\'s table, and set the passwords again that were set before.',
    ),
    Rule(
        "PGT411",
        "warning",
        "groups without the curve of the server's own key",
        meaning="`groups` does not name the curve on which the server's key is made.",
        why="With TLS 1.2 a client must allow the curve of the key, too. One that is limited to the same groups as the server is refused: `handshake failure`. Others, and TLS 1.3, do "
        "not mind.",
        fix="Make the key on a curve of the list (`key_algorithm`), add its curve to the list, or ask for TLS 1.3.",
    ),
)
