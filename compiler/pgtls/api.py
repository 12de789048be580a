"""The Python API: what ``import pgtls`` offers.

A :class:`Spec` is a spec at one instant, with its files and its lock. Every function takes one and returns a value;
none prints or exits.
Faults of the spec are :class:`~pgtls.diagnostics.Diagnostic` values: :func:`check` returns them, the others raise
:class:`~pgtls.diagnostics.Rejected` with them. Wrong arguments are a ``ValueError``.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pgtls import pipeline
from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.language.files import Disk, Files, Mapped
from pgtls.stages import Request, no_progress
from pgtls.state import layout
from pgtls.state.names import LOCK_TIMEOUT, lock_path, out_path
from pgtls.state.up_to_date import input_digest
from pgtls.store import is_store
from pgtls.store.names import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from pgtls.access.explain import Explanation
    from pgtls.access.matrix import Matrix
    from pgtls.access.question import Answer, Question
    from pgtls.diagnostics import Diagnostic
    from pgtls.difference import Difference, State
    from pgtls.fleet.model import Fleet, Server
    from pgtls.pki.model import Entity
    from pgtls.plan.model import Cost, Step
    from pgtls.plan.status import Status
    from pgtls.rollout.words import Deployment
    from pgtls.stages import Checked, Planned, Progress
    from pgtls.state.deployed import Evidence, Witness
    from pgtls.state.tree import Tree
    from pgtls.store.copy import Copy
    from pgtls.store.fetch import Fetched

    StrPath = str | os.PathLike[str]


T = TypeVar("T")

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
        return _usable(self.checked())

    def later(self, moment: datetime) -> State | None:
        """Return the spec as it will be at another instant, with its errors, not proved. None: it has no fleet then."""
        checked = pipeline.check(Path(self.path), moment, self.lock, self.files, proven=False)
        return _state(checked.fleet, checked) if checked.fleet else None


def _usable(checked: Checked) -> State:
    return _state(checked.usable(), checked)


def _state(fleet: Fleet, checked: Checked) -> State:
    from pgtls.difference import State

    return State(fleet, checked.rules, checked.waived)


@dataclass(frozen=True, slots=True)
class Check:
    """What :func:`check` found. It is true where nothing forbids a build."""

    diagnostics: tuple[Diagnostic, ...]
    """Errors and warnings, in the order of their places."""
    waived: tuple[Diagnostic, ...]
    """Findings that a waiver or ``[lint] ignore`` accepts; ``accepted`` of each says by what, and why."""

    def __bool__(self) -> bool:
        return not self.errors

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """What forbids a build."""
        return tuple(diagnostic for diagnostic in self.diagnostics if diagnostic.severity == "error")

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """What does not."""
        return tuple(diagnostic for diagnostic in self.diagnostics if diagnostic.severity == "warning")


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
    return Check(checked.diagnostics, checked.waived)


def access(spec: Spec) -> tuple[Matrix, ...]:
    """Return who may connect from where to what, and how: the rows of each server.

    The first row that covers a connection decides; what no row covers is refused.

    >>> [row.roles for row in pgtls.access(spec)[0].rows if row.admits]
    [('postgres',), ('app',)]
    """
    from pgtls.access.matrix import matrix

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
    from ipaddress import ip_address

    from pgtls.access.question import Question

    asked = Question(
        role=user,
        database=database,
        address=None if source == "local" else ip_address(source),
        host_names=frozenset(host_names),
        cleartext=not tls,
        certificate=certificate,
    )
    return answer(spec, asked, server).explanation


def answer(spec: Spec, question: Question, server: str | None = None) -> Answer:
    """Answer any question about one connection, with the connection as it was judged and the place of the policy."""
    from pgtls.access.question import of_spec

    state = spec.usable()
    if not state.rules:
        raise Rejected(*spec.checked().diagnostics)
    return of_spec(state.fleet, server, state.rules, question)


def diff(old: Spec, new: Spec) -> Difference:
    """Compare two specs: access, protection, certificates. The result is false where both compile to the same files.

    >>> changed = pgtls.loads(spec_text.replace("10.0.0.0/8", "10.0.0.0/7"))
    >>> [(change.kind, change.roles) for change in pgtls.diff(spec, changed).access]
    [('granted', ('app',))]
    """
    from pgtls.difference import difference

    return difference(old.usable(), new.usable(), lambda end: (old.later(end), new.later(end)))


@dataclass(frozen=True, slots=True)
class Build:
    """What a build does, or did: its steps, what they cost, and what was found on the way."""

    steps: tuple[Step, ...]
    cost: Cost
    diagnostics: tuple[Diagnostic, ...]
    waived: tuple[Diagnostic, ...]
    known: tuple[Diagnostic, ...] = ()
    """The diagnostics that the last build reported about the same spec."""
    from_lock: bool = False
    """Whether there is no out directory: then the steps are about the certificates that the lock lists."""
    lost: bool = False
    """Whether the out directory is missing although this is no review."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """By NAME of a server or pooler that has its certificates: the name or address that clients dial first."""
    users: frozenset[str] = frozenset()
    """The NAMEs of all users but those of poolers, whose bundles go to no client."""
    waves: tuple[Deployment, ...] = ()
    """In which order to deploy what the build changes; empty where any order does."""
    encrypted: bool = False
    """Whether the keys in the out directory are encrypted for recipients."""
    notes: tuple[str, ...] = ()
    """Who goes on accepting a certificate that the build revokes, and until when."""

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
    review: bool = False,
    lock_timeout: int = LOCK_TIMEOUT,
) -> Build:
    """Compute what a build would do, why, and what it costs. Writes nothing.

    ``out`` is by default the directory ``out`` next to the spec; it may also be the URL of a store. Without
    ``secrets``, no key is opened and no command of the spec runs. A ``review`` expects no out directory.
    ``lock_timeout`` is how many seconds to wait for a build.

    >>> pgtls.plan(spec, out="out").summary
    {'create': 4}
    """
    with _at_hand(request(spec, out, asked, new_out, review, lock_timeout, sealed=not secrets)) as (asking, names):
        return names.result(_result(pipeline.plan(asking)))


def build(
    spec: Spec,
    *,
    out: StrPath | None = None,
    asked: Asked = _NOTHING_ASKED,
    new_out: bool = False,
    jobs: int = 0,
    lock_timeout: int = LOCK_TIMEOUT,
    progress: Progress | None = None,
) -> Build:
    """Compile a spec into the out directory, and return what was done. Where it raises Rejected, nothing has changed.

    The spec must have the path of a lock: one from :func:`loads` needs ``lock=``. ``jobs`` is how many cores make keys,
    by default all. ``progress`` gets the name of each stage and its length, and returns what is called as it advances.

    >>> pgtls.build(spec, out="out").summary
    {'create': 4}
    >>> pgtls.build(spec, out="out").steps
    ()
    """
    asking = request(spec, out, asked, new_out, lock_timeout=lock_timeout, jobs=jobs)
    return _changed(asking, lambda local, names: names.result(_result(pipeline.build(local, progress or no_progress))))


def status(spec: Spec, *, out: StrPath | None = None, review: bool = False, lock_timeout: int = LOCK_TIMEOUT) -> Status:
    """Return every certificate and CRL with its state, how long it lives, and what to do. Opens no key.

    >>> [item.entity for item in pgtls.status(spec, out="out").items if item.state != "ok"]
    []
    """
    with _at_hand(request(spec, out, review=review, lock_timeout=lock_timeout)) as (asking, names):
        return names.result(pipeline.status(asking))


def confirm(
    spec: Spec,
    *entities: str,
    reason: str = "",
    by: Witness = "confirm",
    out: StrPath | None = None,
    lock_timeout: int = LOCK_TIMEOUT,
    looked_at: Mapping[Entity, str] | None = None,
) -> tuple[Evidence, ...]:
    """Record that what the last build made of servers and users is deployed; "all" is all of them.

    ``looked_at`` are generations by entity: where the last build made another one, nothing is recorded.

    >>> [seen.entity for seen in pgtls.confirm(spec, "user.app", reason="copied by hand", out="out")]
    ['user.app']
    """
    asking = request(spec, out, lock_timeout=lock_timeout)
    return _changed(asking, lambda local, _: pipeline.confirm(local, entities, by, reason, looked_at))


def fetch(
    directory: StrPath,
    *entities: str,
    store: str,
    identity: StrPath | None = None,
    now: datetime | None = None,
    lock_timeout: int = LOCK_TIMEOUT,
) -> tuple[Fetched, ...]:
    """Write the current directories of servers and users below ``directory``, from a store or an out directory.

    ``bucket`` in the example is a URL such as "s3://bucket/prefix". Other functions take it as ``out``. ``identity`` is
    the file of a private key that opens keys which are encrypted for recipients.

    >>> [one.directory for one in pgtls.fetch("here", "server.main", store=bucket)]
    ['servers/main']
    """
    from pgtls.store.fetch import fetch

    file = None if identity is None else os.fspath(identity)
    return fetch(store, os.fspath(directory), entities, now or datetime.now(UTC), lock_timeout, file)


@contextmanager
def pulled(spec: Spec, out: StrPath | None) -> Iterator[tuple[Spec, str, Names]]:
    """Yield a spec and an out directory on this machine: of a store, a private copy as long as the context lasts.

    The third value is what the user calls the files of the copy.
    """
    with _at_hand(request(spec, out)) as (local, names):
        yield replace(spec, lock=local.lock, _checked=[]), local.out, names


@contextmanager
def _at_hand(asking: Request) -> Iterator[tuple[Request, Names]]:
    """Yield a request that reads a directory on this machine: of a store, a copy of the tree that counts now."""
    if not is_store(asking.out):
        yield asking, Names()
        return
    from pgtls.store.session import reading

    with reading(asking.out, asking.lock) as copy:
        yield replace(asking, out=copy.out, lock=copy.lock), copy.names


def _changed(asking: Request, act: Callable[[Request, Names], T]) -> T:
    """Let ``act`` change the out directory: of a store, a copy of the tree that counts now, and push what changed."""
    if not is_store(asking.out):
        return act(asking, Names())
    from pgtls.store.session import changing

    def on_copy(copy: Copy) -> T:
        return act(replace(asking, out=copy.out, lock=copy.lock), copy.names)

    return changing(asking.out, asking.lock, on_copy, asking.lock_timeout)


def request(
    spec: Spec,
    out: StrPath | None,
    asked: Asked = _NOTHING_ASKED,
    new_out: bool = False,
    review: bool = False,
    lock_timeout: int = LOCK_TIMEOUT,
    *,
    sealed: bool = False,
    jobs: int = 0,
) -> Request:
    """Return what the pipeline works on."""
    if isinstance(spec.lock, bytes):
        raise ValueError("lock: the spec has no path for its lock; give one to loads()")  # noqa: TRY004
    return Request(
        spec=Path(spec.path),
        out=out_path(spec.path, out),
        lock=spec.lock,
        now=spec.now,
        asked=asked,
        new_out=new_out,
        lock_timeout=lock_timeout,
        jobs=jobs,
        files=spec.files,
        sealed=sealed,
        review=review,
    )


def _result(planned: Planned) -> Build:
    plan, existing, fleet = planned.plan, planned.existing, planned.fleet
    return Build(
        plan.steps,
        plan.cost,
        planned.diagnostics,
        planned.checked.waived,
        _known(planned),
        existing.from_lock,
        existing.lost,
        {name: one.table.hosts[0] for name, one in fleet.servers.items() if _deployable(one, planned.tree)},
        frozenset(fleet.users.keys() - _logins(fleet)),
        planned.verdict.waves,
        bool(fleet.state.recipients),
        planned.verdict.notes,
    )


def _deployable(server: Server, tree: Tree) -> bool:
    return all(layout.certificate_path(one.entity) in tree for one in server.identities)


def _logins(fleet: Fleet) -> set[str | None]:
    """Return the users that only servers and poolers log in as: the files of those hold what the bundle does."""
    named = {user.name for policy in fleet.policies.values() if policy.follows is None for user in policy.named}
    standbys = {server.table.replication_user for server in fleet.clusters.values()}
    return (standbys | {pooler.written.user for pooler in fleet.poolers}) - named


def _known(planned: Planned) -> tuple[Diagnostic, ...]:
    """Return the findings of the spec if the last build was of the same spec, and so reported them."""
    manifest, found = planned.existing.manifest, planned.checked.diagnostics
    if manifest is None or not found or planned.existing.sealed:  # the digest is also that of key_file
        return ()
    digest = input_digest(planned.checked.digest, planned.checked.lock.render(), planned.existing.deployed.digest)
    return tuple(one for one in found if one.code not in _OF_TIME) if digest == manifest.inputs.digest else ()


_OF_TIME = {"PGT126", "PGT400"}
"""Findings that come with time, whether or not the last build had them."""
