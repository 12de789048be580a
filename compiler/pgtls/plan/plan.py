"""What a build does, why, and what it costs: the difference between the desired tree and the one that is there."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls.certificates.model import Issue, Wait, is_adopted, makes_key
from pgtls.language.words import some
from pgtls.output.postgresql_conf import needs_restart
from pgtls.pki.model import ENTITY_KINDS, Entity
from pgtls.plan.model import COSTS, Step
from pgtls.state import layout
from pgtls.state.tree import Later

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from pgtls.certificates.model import Decision, Decisions, Existing
    from pgtls.fleet.model import Fleet
    from pgtls.plan.model import Action, Cost
    from pgtls.state.lock import RevokedLine
    from pgtls.state.manifest import Entry
    from pgtls.state.tree import File, Tree


@dataclass(frozen=True, slots=True)
class Change:
    """A file that will be written, and why."""

    path: str
    file: File
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Every step in the order of entities, the files that change, and those that go."""

    steps: tuple[Step, ...]
    changes: Mapping[str, Change]
    deletions: tuple[str, ...]

    @property
    def summary(self) -> dict[str, int]:
        """How many steps of each action there are; actions without any are left out."""
        actions = [step.action for step in self.steps]
        return {action: actions.count(action) for action in dict.fromkeys(actions)}

    @property
    def cost(self) -> Cost:
        """The highest cost of any step."""
        return max((step.cost for step in self.steps), key=COSTS.index, default="nothing")


def plan(fleet: Fleet, decisions: Decisions, cut_off: Collection[str], tree: Tree, existing: Existing) -> Plan:
    """Compare the desired tree with the one that is there; ``cut_off`` are the entities that peers would reject."""
    changes = {} if existing.from_lock else dict(_changes(tree, existing))
    deletions = _deletions(tree, existing)
    return Plan(tuple(_steps(fleet, decisions, cut_off, tree, changes, deletions, existing)), changes, deletions)


def completed(plan: Plan, planned: Tree, tree: Tree, existing: Existing) -> tuple[dict[str, File], tuple[str, ...]]:
    """Return what to write and what to delete, now that ``tree`` has what was pending in the ``planned`` one."""
    made = {path: file for path, file in tree.items() if planned.get(path) is not file}
    changes = {path: change.file for path, change in plan.changes.items() if path in tree and path not in made}
    changes |= {path: change.file for path, change in _changes(made, existing)}
    return changes, _deletions(tree, existing)


def _deletions(tree: Tree, existing: Existing) -> tuple[str, ...]:
    return tuple(sorted(path for path in existing.listed if path not in tree))


def _changes(tree: Tree, existing: Existing) -> Iterator[tuple[str, Change]]:
    listed, states = existing.listed, existing.files
    for path, file in tree.items():
        reason = _difference(file, listed.get(path), states.get(path))
        if reason:
            yield path, Change(path, file, reason)


def _difference(file: File, entry: Entry | None, state: str | None) -> str | None:
    """Return why a file must be written; None: it is as it should be."""
    if entry is None:
        return None if file.content is Later.KEPT else "new"
    if file.content is Later.PENDING:
        return "its certificate is issued"
    if file.content is Later.REENCRYPTED:
        return _READERS
    if state == "missing":
        return "it was missing"
    if state == "edited" and file.content is not Later.KEPT:
        return "it was edited by hand"
    if state == "mode":
        return "its mode was changed"
    if file.content is not Later.KEPT and sha256(bytes(file.content)).hexdigest() != entry.sha256:
        return "its content changes"
    return "its mode changes" if file.mode != entry.mode else None


def _steps(
    fleet: Fleet,
    decisions: Decisions,
    cut_off: Collection[str],
    tree: Tree,
    changes: Mapping[str, Change],
    deletions: Sequence[str],
    existing: Existing,
) -> Iterator[Step]:
    by_entity: dict[Entity, list[Change]] = {}
    for change in changes.values():
        by_entity.setdefault(change.file.entity, []).append(change)
    gone: dict[Entity, list[str]] = {}
    for path in deletions:
        gone.setdefault(existing.listed[path].entity, []).append(path)
    present = {file.entity for file in tree.values()}
    known = {entry.entity for entry in existing.listed.values()}
    entities = {
        *by_entity,
        *gone,
        *(e for e, d in decisions.certificates.items() if isinstance(d, Issue) or is_adopted(d)),
    }
    for entity in sorted(entities, key=_order):
        if entity not in present:
            yield Step(entity, "delete", _left(fleet, entity), "nothing", files=tuple(gone[entity]))
            continue
        mine = sorted(by_entity.get(entity, ()), key=lambda change: change.path)
        cost = (
            "outage" if entity in cut_off else _cost(fleet, entity, mine, decisions.certificates.get(entity), existing)
        )
        crl = _crl_reason(entity, decisions)
        decision = decisions.certificates.get(entity)
        yield _step(entity, decision, mine, gone.get(entity, []), cost, known=entity in known, crl=crl)
    for entity, waiting in decisions.certificates.items():
        if isinstance(waiting, Wait):
            yield Step(entity, "wait", waiting.why, "nothing")
    for crl_decision in decisions.crls.values():
        if crl_decision.waits:
            why = f"its CRL: {crl_decision.waits}, and its key is not here"
            yield Step(crl_decision.entity, "wait", why, "nothing")
    yield from _revocations(fleet, decisions, existing)


def _revocations(fleet: Fleet, decisions: Decisions, existing: Existing) -> Iterator[Step]:
    """Yield a step for each certificate that is revoked: the lock may have several reasons for it."""
    revoked: dict[tuple[str, str], RevokedLine] = {}
    for line in decisions.revocations:
        revoked.setdefault((line.ca, line.serial), line)
    for line in revoked.values():
        decision = decisions.certificates.get(line.entity)
        why = "the lock had lost it" if line in existing.forgotten else _why_revoked(fleet, line, decision)
        yield Step(line.entity, "revoke", f"{why}: certificate {line.serial}", "reload")


def _why_revoked(fleet: Fleet, line: RevokedLine, decision: Decision | None) -> str:
    if line.reason == "cessation_of_operation":
        return _left(fleet, line.entity)
    if line.reason == "superseded" and isinstance(decision, Issue):
        if decision.reason.name == "issuer":
            return "its CA changed"
        if decision.reason.fields:
            return f"its {' and '.join(decision.reason.fields)} changed"
    return _WHY_REVOKED.get(line.reason, line.reason)


def _left(fleet: Fleet, entity: Entity) -> str:
    """Return why an entity has nothing any more: it left the spec, or its ``until`` has passed."""
    ended = fleet.ended_users.get(entity.name) if entity.kind == "user" else None
    return f"its until was {ended.table.until:%Y-%m-%d}" if ended else "it is no longer in the spec"


_WHY_REVOKED = {
    "superseded": "its name, CA or user changed",
    "key_compromise": "it was issued before revoke_before",
    "unspecified": "revoked lists it",
}


def _order(entity: Entity) -> tuple[int, str]:
    return ENTITY_KINDS.index(entity.kind), entity


def _step(
    entity: Entity,
    decision: Decision | None,
    changes: Sequence[Change],
    gone: Sequence[str],
    cost: Cost,
    *,
    known: bool,
    crl: str | None,
) -> Step:
    files = (*(change.path for change in changes), *gone)
    if isinstance(decision, Issue):
        action: Action = "create" if decision.found.certificate is None else "renew"
        key = ", with a new key" if decision.new_key and action == "renew" else ""
        return Step(entity, action, decision.reason.text + key, cost, decision.reason.fields, files)
    if is_adopted(decision):
        return Step(entity, "adopt", "its certificate satisfies the spec and is taken over as it is", cost, (), files)
    if gone and any(path.startswith(layout.RETIRED) and path.endswith(layout.CA_CERTIFICATE) for path in files):
        what = "key" if any(path.rpartition("/")[2].startswith(layout.CA_KEY) for path in files) else "certificate"
        return Step(entity, "delete", f"it left the spec; its {what} is kept in ca/.retired", cost, (), files)
    if not known:
        return Step(entity, "create", "it is new", cost, (), files)
    if layout.key_path(entity) in gone and decision and decision.found.stored == "elsewhere":
        return Step(entity, "rewrite", "its key is kept elsewhere now", cost, (), files)
    if succession := _succession(changes, gone):
        return Step(entity, "rewrite", succession, cost, (), files)
    renewed = isinstance(decision, Wait) and decision.new_key
    others = [change for change in changes if not (renewed and change.file.kind in ("key", "request"))]
    reasons = dict.fromkeys((*(("its key and CSR are new",) if renewed else ()), *_reasons(others, crl)))
    return Step(entity, "rewrite", "; ".join(reasons or {"it no longer has these files": None}), cost, (), files)


def _succession(changes: Sequence[Change], gone: Sequence[str]) -> str | None:
    """Return the step of a self-signed server towards its next certificate; None where there is none."""

    def among(paths: Iterable[str]) -> bool:
        return any(path.endswith(f"/{layout.SERVER_NEXT_CERTIFICATE}") for path in paths)

    if among(gone):
        return "its next certificate is served from now on"
    return "its next certificate is made: first its clients trust it" if among(c.path for c in changes) else None


def _crl_reason(entity: Entity, decisions: Decisions) -> str | None:
    """Return why the CRL of a CA is signed again; None where it stays, or where there is none."""
    crl = decisions.crls.get(entity.name) if entity.kind == "ca" else None
    return crl.reason if crl else None


def _reasons(changes: Sequence[Change], crl: str | None) -> Iterator[str]:
    """Yield why files are written; what others did to several of them is one reason."""
    done: dict[str, list[str]] = {}
    for change in changes:
        if change.reason in _DONE_BY_OTHERS:
            done.setdefault(change.reason, []).append(change.path.rpartition("/")[2])
        else:
            yield _reason(change, crl)
    for reason, names in done.items():
        yield f"{some(names, _NAMED)}: {reason if len(names) == 1 else _DONE_BY_OTHERS[reason]}"


_DONE_BY_OTHERS = {
    "it was missing": "they were missing",
    "it was edited by hand": "they were edited by hand",
    "its mode was changed": "their modes were changed",
}
"""What happened to a file, and what to several."""
_NAMED = 3


def _reason(change: Change, crl: str | None) -> str:
    name = change.path.rpartition("/")[2]
    if change.reason == _READERS:
        return _READERS
    if crl and change.file.kind == "crl":
        return f"its CRL: {crl}"
    for directory, whom in ((layout.REPLICATION, "primary"), (layout.LOGIN, "server")):
        if change.path == layout.path(change.file.entity, f"{directory}/{name}"):
            return f"its login to its {whom} {'is new' if change.reason == 'new' else 'changed'}"
    if change.reason == "its content changes" or change.reason == "its certificate is issued":
        return f"{_WHAT_NAMED.get(name) or _WHAT.get(change.file.kind, name)} changed"
    return f"{name}: {change.reason}" if change.reason != "new" else f"{name} is new"


_READERS = "who can read its key changed"
_WHAT_NAMED = {
    layout.USER_LIST: "its users",
    layout.POOLER_DATABASES: "its server",
    layout.CLIENT_PKCS8: layout.CLIENT_PKCS8,
    layout.CLIENT_PKCS12: layout.CLIENT_PKCS12,
}
_WHAT = {
    "hba": "its policies",
    "ident": "its identity maps",
    "conf": "its settings",
    "hosts": "its host names",
    "trust": "the CAs that it trusts",
    "crl": "a CRL",
    "bundle": "what it connects to",
    "archive": "its archive",
    "certificate": "its chain",
    "key": "the protection of its key",
    "key-uri": "the place of its key",
    "request": "its certificate request",
}


def _cost(
    fleet: Fleet, entity: Entity, changes: Sequence[Change], decision: Decision | None, existing: Existing
) -> Cost:
    """Return what it takes until a change is in force: TLS settings, hba and ident need a reload."""
    kind, name = entity.table
    if kind == "ca":
        lost = decision is not None and makes_key(decision) and decision.found.certificate is not None
        return "outage" if lost else "nothing"
    # A mode that is mended here, or an encryption, changes nothing of what was deployed.
    changes = [one for one in changes if not one.reason.startswith("its mode") and one.reason != _READERS]
    if kind == "user":
        weighty = any(not change.path.endswith(layout.README) for change in changes)
        return "rollout" if weighty else "nothing"
    conf = next((change for change in changes if change.file.kind == "conf"), None)
    if kind == "server" and conf and isinstance(conf.file.content, bytes):
        before = existing.contents.get(conf.path)
        text = None if before is None else before.decode(errors="replace")
        if needs_restart(fleet.servers[name].table.postgres, text, conf.file.content.decode()):
            return "restart"
    return "reload" if changes else "nothing"
