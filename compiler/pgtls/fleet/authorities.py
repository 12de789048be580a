"""Link CAs to their issuers: every reference exists, and there is no circle."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pgtls.fleet.fields import Finder, report_unknown
from pgtls.fleet.model import Authority, Link
from pgtls.pki.model import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pgtls.diagnostics import Diagnostic
    from pgtls.language.models import CaTable
    from pgtls.language.source import Loaded


def resolve_authorities(loaded: Loaded, report: list[Diagnostic]) -> dict[str, Authority]:
    """Return the CAs by name, in the order of names.

    One whose issuer is unknown, or in a circle, stands there as a root.
    """
    tables = {name: table for name, table in sorted(loaded.spec.ca.items()) if not _is_public(name, table)}
    issuers = dict(_issuers(loaded, tables, report))
    for circle in tuple(_circles(issuers)):
        report.append(_circle_fault(loaded, tables, circle))
        del issuers[circle[0]]
    depths = _depths(tables, issuers)
    made: dict[str, Authority] = {}
    for name in sorted(tables, key=lambda name: -depths[name]):  # a CA after the one that signs it
        issuer = issuers.get(name)
        links = () if issuer else _links(loaded, name, tables[name])
        made[name] = Authority(name, tables[name], made[issuer] if issuer else None, depths[name], links)
    return {name: made[name] for name in tables}


PUBLIC = "system"
"""The NAME of the CA whose table says who signs for ``ca = "system"``: all know its roots, and it has no certificate.
"""


def resolve_public(loaded: Loaded) -> Authority | None:
    """Return the public CA with a signer, if the spec has one. It is no CA that anybody trusts by its NAME."""
    table = loaded.spec.ca.get(PUBLIC)
    return Authority(PUBLIC, table, None) if table and _is_public(PUBLIC, table) else None


def _is_public(name: str, table: CaTable) -> bool:
    return name == PUBLIC and table.sign is not None


def _links(loaded: Loaded, name: str, table: CaTable) -> tuple[Link, ...]:
    """Read the chain of a CA that came in a file.

    A file that cannot be read is reported where its certificate is used.
    """
    if table.cert_file is None:
        return ()
    from pgtls.pki import facts

    own = "cert_file" in loaded.own.get(("ca", name), ())
    owner = loaded.source.owner.get(("ca", name) if own else ("defaults", "ca")) or loaded.source.files[0]
    try:
        found = facts.read(loaded.source.reader.read(os.path.join(owner.path.parent, table.cert_file)))
    except (OSError, ValueError):
        return ()
    if isinstance(found, Unreadable):
        return ()
    return tuple(
        {one.spki_sha256: Link(one.subject, one.spki_sha256, one.key_id, one.sha256) for one in found}.values()
    )


def _issuers(loaded: Loaded, tables: Mapping[str, CaTable], report: list[Diagnostic]) -> Iterator[tuple[str, str]]:
    for name, table in tables.items():
        if table.issuer is None:
            continue
        if table.issuer in tables:
            yield name, table.issuer
        else:
            report_unknown(report, Finder(loaded.own, "ca", name, table), "ca", table.issuer, tables, "issuer")


def _circles(issuers: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Yield every circle once, starting at the first of its names."""
    done: set[str] = set()
    for start in issuers:
        path: dict[str, None] = {}
        name: str | None = start
        while name is not None and name not in done and name not in path:
            path[name] = None
            name = issuers.get(name)
        if name in path:
            circle = list(path)[list(path).index(name) :]
            first = circle.index(min(circle))
            yield (*circle[first:], *circle[:first])
        done.update(path)


def _circle_fault(loaded: Loaded, tables: Mapping[str, CaTable], circle: tuple[str, ...]) -> Diagnostic:
    name = circle[0]
    way = " -> ".join(f'"{step}"' for step in (*circle, name))
    return Finder(loaded.own, "ca", name, tables[name]).fault(
        "PGT102",
        f'ca "{name}" is its own issuer' if len(circle) == 1 else f"CAs sign each other in a circle: {way}",
        "issuer",
        hint="a root has no issuer: delete `issuer`",
    )


def _depths(names: Mapping[str, object], issuers: Mapping[str, str]) -> dict[str, int]:
    """Return the number of levels of CAs below each."""
    depths = dict.fromkeys(names, 0)
    for name in names:
        height, above = 1, issuers.get(name)
        while above is not None and depths[above] < height:
            depths[above] = height
            height, above = height + 1, issuers.get(above)
    return depths
