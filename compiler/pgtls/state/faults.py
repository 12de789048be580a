"""The diagnostics for an out directory that cannot be read or written."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.language.words import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pgtls.state.git_index import IndexFault

_SHOWN = 5
_NOT_OURS = "build as the user that owns the out directory, or give this user permission to write"
_ADVICE = {
    errno.ENOSPC: "free some space and build again",
    errno.EDQUOT: "the quota is used up: free some space and build again",
    errno.EFBIG: "the limit on file sizes is too low: see ulimit -f",
    errno.EACCES: _NOT_OURS,
    errno.EPERM: _NOT_OURS,
    errno.EROFS: "the file system is mounted read-only",
}


NEW_AROUND_KEYS = (
    "restore it from a backup of the out directory, or move the directory away and build with --new-out "
    "and --ca-key NAME=PATH for each ca/NAME/ca.key in it; first compare the lock with its history, since nothing else "
    "tells then what was revoked"
)
"""The hint for a lost manifest."""


@contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn an OSError into :class:`Rejected` with PGT530 for this path."""
    try:
        yield
    except OSError as error:
        raise Rejected(cannot_write(path, error)) from None


def cannot_write(path: str, error: OSError) -> Diagnostic:
    """Return the diagnostic for a build that failed before its commit record was written: PGT530."""
    advice = _ADVICE.get(error.errno or 0, "fix this and run the build again")
    message = f'cannot write "{path}": {error.strerror or error}'
    return Diagnostic("PGT530", message, hint=f"{advice}; nothing has changed")


def cannot_read(path: str, error: OSError) -> Diagnostic:
    """Return the diagnostic for an unreadable file or directory of the out directory, with its owner: PGT527."""
    hint, owned = "run pgtls as the user that owns the out directory", ""
    owner, me = _owner(path), user_name(os.geteuid())
    if owner is not None and owner != me and error.errno in (errno.EACCES, errno.EPERM):
        owned = f"; it belongs to {owner}, and you are {me}"
        back = f"give the whole out directory back first: sudo chown -R {me} OUT"
        hint = f"run pgtls as {owner}; if {owner} built here by mistake, {back}"
    return Diagnostic("PGT527", f'cannot read "{path}": {error.strerror or error}{owned}', hint=hint)


def _owner(path: str) -> str | None:
    try:
        return user_name(os.lstat(path).st_uid)
    except PermissionError:  # of a directory above
        return _owner(os.path.dirname(path))
    except OSError:
        return None


def user_name(uid: int) -> str:
    """Return the name of a user, or its number where it has none."""
    import pwd  # here, since only messages need it

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def link_in_the_way(path: str) -> Diagnostic:
    """Return the diagnostic for a symbolic link in place of a directory or a private file of pgtls: PGT525."""
    hint = "pgtls follows no symbolic link: replace it with what it points to"
    return Diagnostic("PGT525", f'"{path}" in the out directory is a symbolic link', hint=hint)


def in_the_way(path: str, found: str, wanted: str) -> Diagnostic:
    """Return the diagnostic for a foreign file or directory at a path that the build needs: PGT526."""
    hint = "pgtls did not create it and leaves it alone: move it away"
    return Diagnostic(
        "PGT526", f'{found} lies where the build needs {wanted}: "{path}" in the out directory', hint=hint
    )


def unknown_index(directory: str, fault: IndexFault) -> Diagnostic:
    """Return the diagnostic for a repository that cannot be read: PGT586."""
    message = f'it cannot be told whether git tracks files in "{directory}": "{fault.path}": {fault.reason}'
    hint = "make the repository readable for this account, or name a directory outside of it"
    return Diagnostic("PGT586", message, hint=hint)


def some(names: Collection[str]) -> str:
    """Return the first few names, quoted, and how many more there are."""
    return listed((f'"{name}"' for name in names), _SHOWN)
