"""Commands that do not exist, and how pgtls does what their names ask for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgtls.cli import COMMANDS
from pgtls.language.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

_BUILD = "run pgtls build: it creates and renews all that the spec asks for"
_DEPLOY = "pgtls only writes files: run pgtls build, then copy them to servers and clients"
_ISSUE = "run pgtls build --renew {entity}; with a new key: --replace {entity}"
_DELETE = "delete [{entity}] from the spec and run pgtls build, which revokes its certificates"
_REVOKE = "set revoke_before in [{entity}], or delete that table, and run pgtls build"
_ADD = "add [{entity}] to the spec and run pgtls build"
_LOOK = "run pgtls status for certificates, pgtls access for access"
_HELP = "run pgtls COMMAND --help"

INSTEAD = {
    **dict.fromkeys(("up", "apply", "compile", "generate", "make", "run", "update", "sync", "crl"), _BUILD),
    **dict.fromkeys(("deploy", "push", "install", "reload", "copy"), _DEPLOY),
    **dict.fromkeys(("renew", "issue", "reissue", "rotate", "replace", "rekey", "sign"), _ISSUE),
    **dict.fromkeys(("delete", "remove", "rm", "drop", "down", "destroy"), _DELETE),
    **dict.fromkeys(("revoke", "unrevoke", "ban", "block"), _REVOKE),
    **dict.fromkeys(("add", "create", "user", "server", "ca", "policy", "grant"), _ADD),
    **dict.fromkeys(("list", "ls", "show", "get", "info", "inspect", "certs"), _LOOK),
    **dict.fromkeys(("validate", "lint", "test", "fmt", "format"), "run pgtls check"),
    **dict.fromkeys(("who", "matrix", "policies", "users"), "run pgtls access"),
    **dict.fromkeys(("why", "can", "simulate"), "run pgtls explain"),
    **dict.fromkeys(("expiry", "expiring", "due", "timeline"), "run pgtls status --within 30d"),
    **dict.fromkeys(("rollback", "undo", "revert"), "restore the spec with git, look at pgtls plan, run pgtls build"),
    **dict.fromkeys(("new", "start", "setup"), "run pgtls init"),
    **dict.fromkeys(("rules", "codes", "doc", "docs"), "run pgtls rule"),
    **dict.fromkeys(("help", "man", "usage"), _HELP),
    "version": "run pgtls --version",
}
"""Words that users try, and what to type."""

_ENTITY = re.compile(r"(?:(ca|server|user)\.)?([a-z0-9][a-z0-9._-]{0,62})")


def unknown(word: str, rest: Sequence[str]) -> str:
    """Return a message: there is no command of that name, and what to type instead."""
    if advice := INSTEAD.get(word):
        return f'there is no command "{word}": {advice.format(entity=_entity(rest))}'
    near = did_you_mean(word, COMMANDS)
    return f'there is no command "{word}"' + (f"; did you mean {near}?" if near else "")


def _entity(rest: Sequence[str]) -> str:
    """Return the entity that the words name, or a placeholder. A name alone is a user's."""
    named = next((match for word in rest if (match := _ENTITY.fullmatch(word))), None)
    return f"{named[1] or 'user'}.{named[2]}" if named else "user.NAME"
