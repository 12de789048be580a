"""Who else can write to a directory, by its mode. Imports little: a build with nothing to do looks here."""

from __future__ import annotations

import stat
from contextlib import suppress
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import stat_result


def writers(found: stat_result) -> str:
    """Return who else than its owner and root can write to a directory, in words; "" if nobody can.

    Many systems give each user a group of one member, and a umask by which it can write. So a group counts only with
    other members, as far as the system lists them. Group 0 is that of root.
    """
    if not stat.S_ISDIR(found.st_mode):
        return ""
    if found.st_mode & stat.S_IWOTH:
        return "every user of this machine"
    others = _members(found.st_gid) - {0, found.st_uid} if found.st_mode & stat.S_IWGRP and found.st_gid else ()
    return _named(found.st_gid, len(others)) if others else ""


@cache  # a tree has many directories
def _members(gid: int) -> frozenset[int]:
    """Return the users of a group: those that it lists, and those whose first group it is."""
    import grp
    import pwd

    found = {one.pw_uid for one in pwd.getpwall() if one.pw_gid == gid}
    with suppress(KeyError):  # the group has no name
        for name in grp.getgrgid(gid).gr_mem:
            with suppress(KeyError):  # the user is gone
                found.add(pwd.getpwnam(name).pw_uid)
    return frozenset(found)


def _named(gid: int, others: int) -> str:
    """Return a group in words: by its name if it has one."""
    import grp

    try:
        name = f'group "{grp.getgrgid(gid).gr_name}"'
    except KeyError:
        name = f"group {gid}"
    return f"{name}, with {others} other {'member' if others == 1 else 'members'},"
