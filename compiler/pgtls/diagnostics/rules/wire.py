"""PGT60x: running servers."""

from __future__ import annotations

from pgtls.diagnostics.rules import Rule

RULES = (
    Rule(
        "PGT600",
        "error",
        "there is no PostgreSQL server to try with",
        meaning="`pgtls try` finds no PostgreSQL 13 to 19 on this machine, or `--bindir` names a directory that "
        "has none.",
        why="What a server does with the compiled files, only a server shows.",
        fix="Install one (`apt install postgresql`, `dnf install postgresql-server`, `brew install postgresql@17`), "
        "or name the directory that has `initdb` and `postgres` with `--bindir`.",
    ),
    Rule(
        "PGT601",
        "error",
        "there is no psql",
        meaning="`pgtls try` connects with psql, and finds none: neither next to the server nor elsewhere.",
        why="The bundles are for libpq and the programs that use it, so one of them must try them.",
        fix="Install one: `apt install postgresql-client`, `dnf install postgresql` or `brew install libpq`.",
    ),
    Rule(
        "PGT602",
        "error",
        "the spec does not compile for the PostgreSQL at hand",
        meaning="`pgtls try` uses the nearest PostgreSQL version on this machine, and compiles the spec for it. The "
        "spec asks for something that this version does not have.",
        why="Files for another version cannot be tried on this one.",
        fix="Install the version that `postgres` of the server names, or name it with `--bindir`.",
    ),
    Rule(
        "PGT603",
        "error",
        "the throwaway server does not start",
        meaning="`initdb` or the throwaway server of `pgtls try` fails, or does not take the compiled files. The "
        "message has the last lines of its log.",
        why="The real server could fail in the same way: if the reason is a TLS setting, it will.",
        fix="Read the reason. If this PostgreSQL or its OpenSSL lacks what the spec asks for, name a newer one with "
        "`--bindir`. Programs and temporary files (`TMPDIR`) must be readable for the account that runs the server: "
        "for root that is `postgres` or `nobody`.",
    ),
    Rule(
        "PGT604",
        "error",
        "a connection ended otherwise than the policies say",
        meaning="`pgtls try` made a connection that the policies refuse and the server admitted it, or the other way "
        "round, or the server refused it for another reason. The row says which; its psql line does the same.",
        why="The real server would do the same.",
        fix="Compare the row with `pgtls explain`. If the spec is not at fault, please report it: then the compiled "
        "files are not what the policies say.",
    ),
)
