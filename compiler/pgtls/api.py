"""The Python API: what ``import pgtls`` offers.

A :class:`Spec` is a spec at one instant, with its files and its lock. Every function takes one and returns a value;
none prints or exits.
Faults of the spec are :class:`~pgtls.diagnostics.Diagnostic` values: :func:`check` returns them, the others raise
:class:`~pgtls.diagnostics.Rejected` with them. Wrong arguments are a ``ValueError``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from pgtls import pipeline
from pgtls.access.matrix import matrix
from pgtls.access.question import Question, of_spec, server_named
from pgtls.certificates.model import Asked
from pgtls.difference import Difference, State, difference
from pgtls.language.files import Disk, Files, Mapped
from pgtls.stages import Request
from pgtls.state.names import lock_path, out_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pgtls.access.explain import Explanation
    from pgtls.access.matrix import Matrix
    from pgtls.diagnostics import Diagnostic
    from pgtls.plan.model import Cost, Step
    from pgtls.plan.status import Status
    from pgtls.stages import Checked, Planned

    StrPath = str | os.PathLike[str]


_NOTHING_ASKED = Asked()


@dataclass(frozen=True, slots=True)
class Spec:
    """A spec at one instant. Make one with :func:`load` or :func:`loads`."""

    path: str
    now: datetime
    files: Files
    lock: str | bytes
    """The path of the lock, or what it holds."""
    _checked: list[Checked] = field(default_factory=list, compare=False, repr=False)

    def checked(self) -> Checked:
        """Check the spec, once."""
        if not self._checked:
            self._checked.append(pipeline.check(Path(self.path), self.now, self.lock, self.files))
        return self._checked[0]

    def usable(self) -> State:
        """Return the spec without errors. Raise Rejected where it has any."""
        checked = self.checked()
        return State(checked.usable(), checked.rules, checked.waived)


@dataclass(frozen=True, slots=True)
class Check:
    """What :func:`check` found. It is true where nothing forbids a build."""

    errors: tuple[Diagnostic, ...]
    warnings: tuple[Diagnostic, ...]
    waived: tuple[Diagnostic, ...]
    """Findings that a waiver or ``[lint] ignore`` accepts; ``accepted`` of each says by what, and why."""

    def __bool__(self) -> bool:
        return not self.errors

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Errors and warnings, in the order of their places."""
        return tuple(sorted((*self.errors, *self.warnings), key=_place))


def _place(diagnostic: Diagnostic) -> tuple[str, int, int]:
    place = diagnostic.place
    return (place.file, place.line, place.column) if place else (diagnostic.file or "", 0, 0)


def load(
    path: StrPath = "pgtls.toml",
    *,
    revision: str | None = None,
    lock: StrPath | None = None,
    now: datetime | None = None,
) -> Spec:
    """Open the spec at a path, with its includes; with ``revision``, as git has committed it there.

    Nothing is read until the spec is used, and then each file once. ``lock`` is by default the lock next to the spec,
    of the same revision. ``now`` is the instant for which everything is answered, by default the present one.

    >>> spec = pgtls.load("pgtls.toml")
    >>> before = pgtls.load("pgtls.toml", revision="HEAD~1")
    """
    name, instant = os.fspath(path), now or datetime.now(UTC)
    if revision is None:
        return Spec(name, instant, Disk(), os.fspath(lock) if lock is not None else lock_path(name))
    from pgtls.language.git import revision as opened

    files, inside = opened(revision, name)
    held = lock_path(inside)
    content = Path(lock).read_bytes() if lock is not None else files.read(held) if files.has(held) else b""
    return Spec(inside, instant, files, content)


def loads(
    text: str,
    files: Mapping[str, str | bytes] | None = None,
    *,
    path: str = "pgtls.toml",
    lock: StrPath | bytes = b"",
    now: datetime | None = None,
) -> Spec:
    """Open a spec that is a string. ``files`` are what it includes and names, by relative path; nothing else is read.

    >>> spec = pgtls.loads("version = 1", {"users/app.toml": "[user.app]"})
    """
    memory = Mapped({**(files or {}), path: text})
    return Spec(path, now or datetime.now(UTC), memory, lock if isinstance(lock, bytes) else os.fspath(lock))


def check(spec: Spec) -> Check:
    """Find everything that is wrong with a spec, and prove its rules. Never raises for what the spec holds.

    >>> result = pgtls.check(pgtls.loads("version = 1.0"))
    >>> bool(result), result.errors[0].code
    (False, 'PGT005')
    """
    checked = spec.checked()
    found = checked.diagnostics
    wrong = tuple(diagnostic for diagnostic in found if diagnostic.severity == "error")
    return Check(wrong, tuple(d for d in found if d.severity == "warning"), checked.waived)


def access(spec: Spec) -> tuple[Matrix, ...]:
    """Return who may connect from where to what, and how: the rows of each server.

    The first row that covers a connection decides; what no row covers is refused.

    >>> [row.roles for row in pgtls.access(spec)[0].rows if row.admits]
    [('postgres',), ('app',)]
    """
    state = spec.usable()
    return tuple(matrix(state.fleet, rules) for rules in state.rules.values())


def explain(
    spec: Spec,
    *,
    user: str,
    database: str,
    source: str,
    server: str | None = None,
    tls: bool = True,
    certificate: str | None = None,
    host_names: Iterable[str] = (),
) -> Explanation:
    """Explain one connection: admitted or refused, by which line and policy, and what is asked of the client.

    ``user`` is a database role; ``source`` is an address, or "local" for the Unix socket; ``certificate`` names the
    user of the spec whose certificate is shown ("none": none; by default the role's own).

    >>> pgtls.explain(spec, user="app", database="shop", source="10.1.2.3").outcome
    'admit'
    """
    state = spec.usable()
    if server is None and len(state.fleet.servers) != 1:
        raise ValueError(f"server: the spec has several: {', '.join(state.fleet.servers)}")
    asked = Question(
        role=user,
        database=database,
        address=None if source == "local" else ip_address(source),
        host_names=frozenset(host_names),
        cleartext=not tls,
        certificate=certificate,
    )
    named = server_named(state.fleet, server or next(iter(state.fleet.servers)))
    return of_spec(state.fleet, named, state.rules, asked).explanation


def diff(old: Spec, new: Spec) -> Difference:
    """Compare two specs: access, protection, certificates. The result is false where both compile to the same files.

    >>> changed = pgtls.loads(spec_text.replace("10.0.0.0/8", "10.0.0.0/7"))
    >>> [(change.kind, change.roles) for change in pgtls.diff(spec, changed).access]
    [('granted', ('app',))]
    """
    return difference(old.usable(), new.usable())


@dataclass(frozen=True, slots=True)
class Build:
    """What a build does, or did: its steps, what they cost, and what was found on the way."""

    steps: tuple[Step, ...]
    cost: Cost
    diagnostics: tuple[Diagnostic, ...]
    waived: tuple[Diagnostic, ...]

    @property
    def summary(self) -> dict[str, int]:
        """How many steps of each action there are."""
        actions = [step.action for step in self.steps]
        return {action: actions.count(action) for action in dict.fromkeys(actions)}


def plan(
    spec: Spec,
    *,
    out: StrPath | None = None,
    secrets: bool = True,
    asked: Asked = _NOTHING_ASKED,
    new_out: bool = False,
) -> Build:
    """Compute what a build would do, why, and what it costs. Writes nothing.

    ``out`` is by default the directory ``out`` next to the spec. Without ``secrets``, no key is opened and no command
    of the spec runs.

    >>> pgtls.plan(spec, out="out").summary
    {'create': 4}
    """
    return _result(pipeline.plan(_request(spec, out, asked, new_out=new_out, sealed=not secrets)))


def build(
    spec: Spec,
    *,
    out: StrPath | None = None,
    asked: Asked = _NOTHING_ASKED,
    new_out: bool = False,
    jobs: int = 0,
) -> Build:
    """Compile a spec into the out directory, and return what was done. Where it raises Rejected, nothing has changed.

    The spec must have the path of a lock: one from :func:`loads` needs ``lock=``.

    >>> pgtls.build(spec, out="out").summary
    {'create': 4}
    >>> pgtls.build(spec, out="out").steps
    ()
    """
    return _result(pipeline.build(_request(spec, out, asked, new_out=new_out, jobs=jobs)))


def status(spec: Spec, *, out: StrPath | None = None) -> Status:
    """Return every certificate and CRL with its state, how long it lives, and what to do. Opens no key.

    >>> [item.entity for item in pgtls.status(spec, out="out").items if item.state != "ok"]
    []
    """
    return pipeline.status(_request(spec, out, _NOTHING_ASKED))


def _request(
    spec: Spec, out: StrPath | None, asked: Asked, *, new_out: bool = False, sealed: bool = False, jobs: int = 0
) -> Request:
    if isinstance(spec.lock, bytes):
        raise ValueError("lock: the spec has no path for its lock; give one to loads()")  # noqa: TRY004
    return Request(
        spec=Path(spec.path),
        out=out_path(spec.path, out),
        lock=spec.lock,
        now=spec.now,
        asked=asked,
        new_out=new_out,
        jobs=jobs,
        files=spec.files,
        sealed=sealed,
    )


def _result(planned: Planned) -> Build:
    plan = planned.plan
    return Build(plan.steps, plan.cost, planned.diagnostics, planned.checked.waived)
