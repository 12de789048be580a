"""PGT66x: engines that run PostgreSQL (``pgtls export``)."""

from __future__ import annotations

from pgtls.diagnostics.rules import Rule

RULES = (
    Rule(
        "PGT660",
        "error",
        "an export of something that is not built",
        meaning="`pgtls export` carries what the last build wrote. The out directory is missing, or a build would "
        "change a file of an exported server or user.",
        why="Keys exist only after a build, and an export of older files would undo what the spec says.",
        fix="Run `pgtls build`, then export again.",
    ),
    Rule(
        "PGT661",
        "error",
        "a line of the engine's own that the policies do not say",
        meaning="The engine writes lines of its own around those of pgtls. pgtls composes the whole `pg_hba.conf` and "
        "`pg_ident.conf` and proves them against the policies: one of the engine's lines decides for a connection "
        "otherwise than the policies do. Or a map of pgtls has the name of one of the engine's.",
        why="The first line that matches decides. What the engine admits itself would be in no report, and a policy "
        "below such a line has no effect.",
        fix="Declare in the spec what the engine does, as the hint says, or remove the policy that has no effect.",
    ),
    Rule(
        "PGT662",
        "error",
        "a connection that the engine needs and no policy admits",
        meaning="Patroni connects to PostgreSQL itself: as superuser and for replication over the Unix socket, from "
        "each member to each other for replication, and for `pg_rewind` if `--rewind` names a user. A member would "
        "refuse one of these connections.",
        why="Patroni would take the member for dead, or a standby would not follow its new primary.",
        fix="Add the policy that the hint shows.",
    ),
    Rule(
        "PGT663",
        "error",
        "something that the engine decides itself",
        meaning="The spec says something that the engine takes from elsewhere or does not have: a setting in "
        "`settings`, an encrypted key, identities by host name.",
        why="The engine ignores or rejects it, so the server would not be what the spec says.",
        fix="Remove it from the spec, and configure it in the engine.",
    ),
    Rule(
        "PGT665",
        "error",
        "an export that needs a directory",
        meaning="The files of a server or the bundle of a user must lie at a known place on the machine, and its "
        "table has no `directory`.",
        why="The configuration contains absolute paths. In the data directory, the files would be deleted and copied "
        "together with the data.",
        fix="Add `directory` to the table.",
    ),
    Rule(
        "PGT667",
        "error",
        "an export needs PyYAML",
        meaning="`pgtls export` writes YAML with PyYAML, which is not installed.",
        why="No other command needs it, so it is optional.",
        fix="Install it where pgtls is installed: `pip install pyyaml`, or `pipx inject pgtls pyyaml`.",
    ),
    Rule(
        "PGT668",
        "error",
        "an export into a directory of other files",
        meaning="The directory that `--to` names holds files, and no export has written there before: its "
        "`.gitignore` does not begin with the line that an export writes. Or it may have been prepared: it is or "
        "holds a symbolic link, its path leads through one that a commit can change, a `.gitignore` takes back what an "
        "export ignores, a directory below is a repository of its own, such as a submodule, or git tracks a file that "
        "is to hold a secret.",
        why="An export replaces files of its names, such as `compose.yaml`. Your own files would be lost. A commit "
        "that prepares the directory could bring secrets into the repository.",
        fix="Name a new or an empty directory. Your own files may be added after the first export.",
    ),
)
