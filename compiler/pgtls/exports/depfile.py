"""The files that a build depends on, as a rule for make: what ``-MD -MP`` is for compilers.

For Makefiles that compare times alone. They do not renew what comes due: only ``pgtls build`` at every ``make`` does.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from pgtls.language.matching import is_wild, matches

if TYPE_CHECKING:
    from collections.abc import Iterable


def inputs(spec: str, patterns: Iterable[str], files: Iterable[str], lock: str) -> list[str]:
    """Return the inputs: the spec, the matches of its ``include`` patterns with directories, other files, the lock.

    A file that comes to or leaves a directory changes the time of the directory.
    """
    directory = os.path.dirname(spec)
    found = {os.path.join(directory, name) for name in files}
    for pattern in patterns:
        names = matches(directory, pattern)
        found |= {os.path.join(directory, name) for name in names}
        found |= {os.path.dirname(os.path.join(directory, name)) or "." for name in (pattern, *names)}
    return [spec, *sorted(name for name in found if not is_wild(name)), lock]


def rule(target: str, prerequisites: Iterable[str]) -> str:
    """Write the rule, and an empty one for each prerequisite: deleting one later does not stop make.

    Names with a line end are left out: make has no way to write them.
    """
    names = [_escaped(name) for name in prerequisites if "\n" not in name]
    return f"{_escaped(target)}: {' '.join(names)}\n" + "".join(f"{name}:\n" for name in names)


def _escaped(name: str) -> str:
    """Escape for GNU make: backslashes count only before what they escape."""
    return re.sub(r"(\\*)([ \t#:])", r"\1\1\\\2", name).replace("$", "$$")
