"""PGT0xx: what is wrong with a file of the spec, its TOML and the shape of its tables."""

from __future__ import annotations

from pgtls.diagnostics.rules import Rule

RULES: tuple[Rule, ...] = (
    Rule(
        "PGT001",
        "error",
        "a file of the spec cannot be read",
        meaning="A file of the spec does not exist, is a directory, or cannot be read by this user. It is the "
        "file on the command line, or one that `include` matches.",
        why="A spec with a missing part cannot be judged. Names that the missing file may define are not "
        "reported as unknown.",
        fix="Name the right file, or give this user permission to read it. `pgtls init` writes a first spec.",
    ),
    Rule(
        "PGT002",
        "error",
        "a file of the spec is not UTF-8",
        meaning="TOML files are UTF-8 without a byte order mark. The place is that of the first wrong byte.",
        why="In another encoding the same bytes are other names, and names decide who may connect.",
        fix="Save the file as UTF-8 without a byte order mark, e.g. `iconv -f latin1 -t utf-8`.",
    ),
    Rule(
        "PGT003",
        "error",
        "a file of the spec is not valid TOML",
        meaning="The file breaks the syntax of TOML 1.0. Most messages are those of Python's TOML parser, which "
        "stops at this place.",
        why="pgtls does not know what comes after the place. It still checks the other files of the spec, and "
        "does not report names as unknown that this file may define.",
        fix="Correct the syntax at the place shown. The hint says what to type.",
    ),
    Rule(
        "PGT004",
        "error",
        "a file of the spec is too large or too deeply nested",
        meaning="A file is larger than 16 MiB, a value is nested more than 32 levels deep, a key has more than 16 "
        "parts, or a string has more than 10,000 escapes.",
        why="Such a file is an accident or an attack, and would take minutes to read. The limits are far "
        "above what a hundred thousand users need.",
        fix="Name the right file. Split a large spec with `include`.",
    ),
    Rule(
        "PGT005",
        "error",
        "the version of the language is missing or not known",
        meaning="A spec states the version of the language that it is written in: `version = 1`. An empty file, "
        "included or not, states nothing.",
        why="A later pgtls may change the meaning of a field. The version prevents it from reading an old "
        "spec in a new way.",
        fix="Write `version = 1` as the first line. For a later version, use a pgtls that knows it.",
    ),
    Rule(
        "PGT010",
        "error",
        "a key that does not exist",
        meaning="The table has no such field, or the spec has no such kind of table.",
        why="If pgtls ignored a misspelt field, its default would stay in force and nobody would notice.",
        fix='Use the spelling in the hint. A table name with a dot in it needs quotes: `[user."a.b"]`.',
    ),
    Rule(
        "PGT011",
        "error",
        "a required key is missing",
        meaning="The table lacks a field that has no default. The place is the header of the table.",
        why="There is no safe default: the field says whom a policy admits, from where, or what a server is called.",
        fix="Add the field, to the table or to the `[defaults]` of its kind.",
    ),
    Rule(
        "PGT012",
        "error",
        "a value of the wrong type",
        meaning="The field needs another TOML type: an integer without quotes, an array in brackets, a date "
        "without quotes.",
        why='Values are never converted: `port = "5432"` is as likely a mistake as `roles = "a, b"`.',
        fix="Write the value in the type that the message names.",
    ),
    Rule(
        "PGT013",
        "error",
        "a value that is not allowed",
        meaning="The type is right, but the value is not one of the choices, out of range, empty, too long, or "
        "not of the required form.",
        why="Otherwise the mistake appears later, as a server that does not start or a certificate that every "
        "client rejects.",
        fix="Write a value that the message describes. Durations are a whole number and a unit: `12h`, `90d`, "
        "`52w`, `10y`.",
    ),
    Rule(
        "PGT014",
        "error",
        "a control character or an invisible character in a name or a string",
        meaning="A key or a string holds a line break, a tab, another control character, a character that "
        "reorders the text around it, or one that nobody can see (Unicode Technical Standard 39). Joiners "
        "and special blanks are allowed in descriptions and reasons, and not in names.",
        why="Names are written to line-oriented files such as `pg_hba.conf`, where a line break starts a new "
        "rule. And a reviewer must see what the program sees.",
        fix="Delete the character.",
    ),
    Rule(
        "PGT015",
        "error",
        "a table name that cannot be a directory name",
        meaning="Table names match `[a-z0-9][a-z0-9._-]{0,62}` and are not device names of Windows (`con`, `nul`, "
        "`com1`, …).",
        why="Each CA, server and user gets a directory of its name. It must work on every file system, also "
        "on those that ignore case.",
        fix='Choose another table name. If the database role has this name, add `roles = ["…"]`; for a '
        "certificate add `common_name`.",
    ),
    Rule(
        "PGT016",
        "error",
        "a secret in the spec",
        meaning="The field needs the source of the secret, not the secret itself. No message shows the value.",
        why="A spec is committed and reviewed. Everybody who can read the repository, now or later, knows the secret.",
        fix='Write `{ env = "NAME" }`, `{ file = "PATH" }` or `{ command = ["program", "argument"] }`. pgtls '
        "reads the secret only when it needs it. Then change the secret.",
    ),
    Rule(
        "PGT017",
        "error",
        "a secret with no source, or with several",
        meaning="A secret has exactly one of `env`, `file` and `command`.",
        why="With two sources it is unclear which one counts.",
        fix="Keep one of them.",
    ),
    Rule(
        "PGT018",
        "warning",
        "an invisible character in a comment",
        meaning="A comment holds a character that reorders the text around it, or that has no glyph: a "
        "bidirectional control, a zero-width space, a soft hyphen.",
        why="A reviewer may see another text than the one that pgtls reads: a commented-out line can look "
        'active (CVE-2021-42574, "Trojan Source").',
        fix="Delete the character.",
    ),
    Rule(
        "PGT019",
        "warning",
        "more findings than are shown",
        meaning="A command shows at most 1,000 findings, errors first.",
        why="So many findings usually have one cause, for example a wrong file or a generator with a bug.",
        fix="Fix the findings that are shown, and run the command again.",
    ),
    Rule(
        "PGT020",
        "error",
        "an include that matches nothing",
        meaning="No file matches the pattern, or only a directory or the spec itself does. Patterns are relative "
        "to the directory of the file with the `include`.",
        why="If a directory was moved or not checked out, a build would remove every user that it defines and "
        "revoke their certificates.",
        fix="Correct the pattern, or delete it.",
    ),
    Rule(
        "PGT021",
        "error",
        "a table is defined twice",
        meaning="Two files of the spec define a table of the same kind and name.",
        why="Which of the two counts would depend on the order of the files.",
        fix="Keep one. Two people with the same name get tables of different names, and `common_name` or `roles`.",
    ),
    Rule(
        "PGT022",
        "error",
        "a key that is allowed in the top file only",
        meaning="`version`, `include`, `defaults` and `lint` are allowed in the top file only.",
        why="What applies to the whole spec is then in one place, and does not depend on the order of the files.",
        fix="Move it to the file that includes this one.",
    ),
    Rule(
        "PGT023",
        "warning",
        "a waiver that accepts more than it does now",
        meaning="A `waiver` gives a reason, and no codes of what it accepts; or one of its codes accepts nothing.",
        why="It also accepts what a later edit of the policy opens: nobody is asked again.",
        fix='Name what is accepted, as the hint lists it: `waiver = { reason = "...", codes = ["PGT310"] }`. Remove '
        "codes that accept nothing.",
    ),
)
