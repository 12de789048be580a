"""Write ``pgtls/postgres/catalogue.py`` from what every server of this machine knows.

``PYTHONPATH=tests python -m support.catalogue``.

``pg_settings`` gives names, contexts, kinds, ranges and values. The words of an enumeration that it hides (``true``,
``debug``) and booleans that take one value alone are tried with ``ALTER SYSTEM``, which judges a value as the file
does.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql as syntax

from pgtls.postgres import catalogue
from support.servers import Server, versions

HEADER = '''"""Every setting of postgresql.conf by version. ``tests/support/catalogue.py`` writes it from real servers.

A line: name, first and last version (open: it is still there), context, kind, then of a number ``least..most`` and its
unit, of an enumeration its values and, after ``||``, those that PostgreSQL takes and does not list. A boolean that takes one
value alone is followed by it.
"""

from __future__ import annotations

CATALOGUE = """\\
'''  # noqa: E501

UNLISTED = [
    "default_with_oids 13- user bool off",
    "extension_destdir 13-17 superuser string",
    "is_superuser 13- internal bool",
    "role 13- internal string",
    "seed 13- internal real",
    "session_authorization 13- internal string",
    "ssl_renegotiation_limit 13- internal integer",
]
"""Settings that no server lists, and one that only Debian's do. Internal ones cannot be in a file."""

OF_OTHER_BUILDS = {
    "default_toast_compression": "pglz|lz4",
    "dynamic_shared_memory_type": "posix|sysv|windows|mmap",
    "shared_memory_type": "sysv|windows|mmap",
    "io_method": "sync|worker|io_uring",
    "wal_compression": "pglz|lz4|zstd|on|off",
    "wal_sync_method": "fsync|fdatasync|open_sync|open_datasync|fsync_writethrough",
}
"""The values of all platforms and builds, where they differ."""

HIDDEN = ("true", "false", "yes", "no", "on", "off", "1", "0", "debug", "info", "fatal", "panic", "default", "none")
NOT_PROBED = {
    "allow_alter_system",
    "bonjour",
    "transaction_isolation",
    "transaction_read_only",
    "transaction_deferrable",
}
"""Settings whose values depend on the build, or that are for sessions alone."""


def rows(server: Server) -> dict[str, str]:
    """Return the lines of a server without their versions, by name."""
    query = "select name, context, vartype, unit, min_val, max_val, enumvals from pg_settings"
    return {row[0]: " ".join(filter(None, (*row[1:3], _rest(server, *row)))) for row in server.sql(query)}


def _rest(server: Server, name: str, context: str, kind: str, unit: Any, least: Any, most: Any, values: Any) -> str:
    if context == "internal":
        return ""
    if kind == "enum":
        of_all = OF_OTHER_BUILDS.get(name, "").split("|") if name in OF_OTHER_BUILDS else []
        listed = list(dict.fromkeys([*of_all, *values]))
        tried = [] if name in NOT_PROBED else HIDDEN
        hidden = [word for word in tried if word not in listed and takes(server, name, word)]
        return "|".join(listed) + ("||" + "|".join(hidden) if hidden else "")
    if kind == "bool" and name not in NOT_PROBED:
        taken = [word for word in ("on", "off") if takes(server, name, word)]
        return taken[0] if len(taken) == 1 else ""
    return f"{least}..{most} {unit or ''}".strip() if kind in ("integer", "real") else ""


def takes(server: Server, name: str, value: str) -> bool:
    """Tell whether a server takes this value for a setting."""
    statement = syntax.SQL("alter system set {} = {}").format(syntax.Identifier(name), syntax.Literal(value))
    try:
        server.sql(statement.as_string())
    except (psycopg.errors.UndefinedObject, psycopg.errors.CantChangeRuntimeParam):
        raise  # that is not about the value
    except psycopg.Error:
        return False
    return True


def lines(known: dict[int, dict[str, str]]) -> list[str]:
    """Merge what the versions have into ranges."""
    merged = [*UNLISTED]
    added = {line.split()[0] for line in UNLISTED}
    for name in {name for version in known.values() for name in version} - added:
        for line, group in groupby(sorted(known), key=lambda version: known[version].get(name)):
            found = list(group)
            if line is not None:
                merged.append(f"{name} {found[0]}-{'' if found[-1] == max(known) else found[-1]} {line}")
    return sorted(merged, key=str.lower)


def main() -> None:
    """Ask every server. Where two builds of a version differ, the later one counts: it has more."""
    known: dict[int, dict[str, str]] = {}
    for installation in versions():
        with Server(installation) as server:
            known[installation.major] = known.get(installation.major, {}) | rows(server)
    Path(catalogue.__file__).write_text(HEADER + "".join(f"{line}\n" for line in lines(known)) + '"""\n')


if __name__ == "__main__":
    main()
