"""Find the place of a field: in the table itself, in ``[defaults]``, or nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgtls.diagnostics import Diagnostic
from pgtls.fleet.lookalikes import Names, lookalike
from pgtls.fleet.model import Identity, Policy
from pgtls.language import words
from pgtls.language.values import TABLE_NAME
from pgtls.language.words import quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from pgtls.diagnostics import Path, Severity
    from pgtls.fleet.model import Authority, Fleet, Server, User
    from pgtls.language.values import Scalar, Table
    from pgtls.pki.model import Entity


class Finder(NamedTuple):
    """Makes diagnostics about the fields of one table."""

    own: Mapping[tuple[str, str], frozenset[str]]
    kind: str
    name: str
    table: Table
    place: Path = ()
    """Where the table lies in that of ``kind`` and ``name``: ``("sni", 0)`` for a further identity of a server."""

    def says(self, key: str) -> bool:
        """Tell whether the table itself has the field."""
        if self.place:
            return _attribute(key) in self.table.model_fields_set
        return key in self.own.get((self.kind, self.name), ())

    def path(self, key: str, *rest: str | int) -> Path:
        """Return the path of a field, or that of its table if the spec does not set the field."""
        if self.says(key):
            return (*self.header, key, *rest)
        if not self.place and _attribute(key) in self.table.model_fields_set:
            return ("defaults", self.kind, key, *rest)
        return self.header

    @property
    def header(self) -> Path:
        """The path of the table itself."""
        if not self.place or self.place[0] in self.own.get((self.kind, self.name), ()):
            return (self.kind, self.name, *self.place)
        return ("defaults", self.kind, *self.place)

    def fault(
        self,
        code: str,
        message: str,
        *place: str | int,
        hint: str | None = None,
        severity: Severity = "error",
    ) -> Diagnostic:
        """Return a diagnostic on a field (``"users", 0``), or on the header if there is no such field in the spec."""
        path = self.path(str(place[0]), *place[1:]) if place else self.header
        return Diagnostic(code, message, path, hint, "table" if path == self.header else "value", severity)


def finder(fleet: Fleet, thing: Authority | Identity | User | Policy) -> Finder:
    """Make the finder of an entity or policy."""
    if isinstance(thing, Policy) and thing.follows is not None:
        kind, name, field = thing.follows
        return Finder(fleet.own, kind, name, thing.table, (field,))
    place = thing.place if isinstance(thing, Identity) else ()
    return Finder(fleet.own, *thing.entity.table, thing.table, place)


def entities(fleet: Fleet) -> Iterator[Authority | Identity | User]:
    """Every CA, identity of a server, and user."""
    yield from fleet.cas.values()
    yield from (fleet.public,) if fleet.public else ()
    yield from fleet.identities()
    yield from fleet.users.values()


def entity_named(fleet: Fleet, entity: Entity) -> Authority | Identity | User:
    """Return a CA, an identity of a server or pooler, or a user: ``ca.NAME``, ``server.NAME/HOST``, ``user.NAME``."""
    kind, name = entity.table
    if kind in ("server", "pooler"):
        return identity_named(fleet, entity)
    if kind == "ca":
        return fleet.public if fleet.public and fleet.public.name == name else fleet.cas[name]
    return fleet.users[name]


def identity_named(fleet: Fleet, entity: Entity) -> Identity:
    """Return the identity ``server.NAME``, ``server.NAME/HOST`` or ``pooler.NAME``."""
    return next(identity for identity in fleet.servers[entity.table[1]].identities if identity.entity == entity)


def place_of(fleet: Fleet, entity: Entity, *field: str) -> Path:
    """Return the place of a field that is said: in its own table, or in ``[defaults]``."""
    kind, name = entity.table
    if entity.host:
        return finder(fleet, identity_named(fleet, entity)).path(*field)
    own = field[0] in fleet.own.get((kind, name), ())
    return (kind, name, *field) if own else ("defaults", kind, *field)


def setting_of(server: Server, name: str) -> tuple[str, Scalar | None]:
    """Return a setting as the spec spells it, and its value, None without it. PostgreSQL ignores the case of names."""
    return next(
        ((spelt, value) for spelt, value in server.table.settings.items() if spelt.lower() == name), (name, None)
    )


def header(kind: str, name: str) -> str:
    """Write the header of a table; a name with a dot in it needs quotes there."""
    return f'[{kind}."{name}"]' if "." in name else f"[{kind}.{name}]"


def listed(names: Iterable[str], most: int = 3) -> str:
    """Quote names for a message: ``"a", "b", "c" and 7 more``."""
    quoted = [f'"{name}"' for name in names]
    return words.listed(quoted, len(quoted) if len(quoted) == most + 1 else most)


def once(diagnostics: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Drop repeated findings: a bad default is one mistake, however many tables it affects.

    So is the user of a pooler, which logs in for several policies.
    """
    seen = set()
    for diagnostic in diagnostics:
        one = diagnostic.path[:1] == ("defaults",) or (diagnostic.path[:1], diagnostic.path[2:]) == _LOGIN
        key = (diagnostic.code, diagnostic.path) if one else diagnostic
        if key not in seen:
            seen.add(key)
            yield diagnostic


_LOGIN = ("pooler",), ("user",)


def unknown(
    finder: Finder,
    kind: str,
    name: str,
    known: Collection[str],
    *place: str | int,
    names: Names | None = None,
    hint: str | None = None,
) -> Diagnostic:
    """Report a reference to a table that does not exist. ``names`` says what else may be written in this place."""
    names = (names or Names(kind, every=f"write the name of each {kind}"))._replace(known=known, reference=True)
    if looks := lookalike(name, names):
        return finder.fault("PGT114", looks.message, *place, hint=looks.hint)
    could_be = f"define {header(kind, name)}" if TABLE_NAME.fullmatch(name) else f"name one of the spec: [{kind}.NAME]"
    if isinstance(place[-1], int):  # an item of a list, which can do without it
        could_be += ", or delete it here"
    guess = hint or words.suggestion(name, known) or could_be
    return finder.fault("PGT101", f"there is no {kind} {quoted(name)}", *place, hint=guess)


def report_unknown(
    report: list[Diagnostic],
    finder: Finder,
    kind: str,
    name: str,
    known: Collection[str],
    *place: str | int,
    names: Names | None = None,
    hint: str | None = None,
) -> None:
    """Add a reference to a table that does not exist. After very many findings, look for no similar names."""
    if len(report) >= _MOST_HINTS:
        hint = hint or f"correct the name, or define [{kind}.NAME]"
    report.append(unknown(finder, kind, name, known, *place, names=names, hint=hint))


_MOST_HINTS = 1000


def _attribute(key: str) -> str:
    return "from_" if key == "from" else key
