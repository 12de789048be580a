"""The answer to Terraform's ``external`` data source: a flat object of strings.

The protocol: one JSON object of strings on stdin (the ``query``), one on stdout; on failure a line on stderr.
Terraform runs the program at every plan and keeps what it prints in its state, in the clear. So nothing is written, no
private key is ever part of the answer, and nothing in it follows the clock alone: dates and no days
left. Its keys depend on the spec and the query, not on what was built yet: what does not exist is an empty string.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from pgtls.api import request
from pgtls.certificates.model import Issue, Wait
from pgtls.certificates.opening import content
from pgtls.certificates.reissue import due_at
from pgtls.diagnostics.text import as_json
from pgtls.language.instant import read_instant
from pgtls.language.words import quoted, suggestion
from pgtls.output.render import material as render_material
from pgtls.pipeline import plan
from pgtls.pki.crl import half_life
from pgtls.pki.model import Certificate, Entity, RevocationList
from pgtls.state import layout
from pgtls.state.lock import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from pgtls.api import Spec
    from pgtls.certificates.model import Existing
    from pgtls.stages import Planned
    from pgtls.state.tree import FileKind

KEYS = ("spec", "out", "lock", "now", "include")
KINDS: tuple[FileKind, ...] = (
    *("certificate", "request", "trust", "crl"),
    *("hba", "ident", "conf", "hosts", "bundle", "script"),
)
"""Kinds of files whose text may be asked for, as the manifest calls them: all but keys."""


class WrongQuery(Exception):  # noqa: N818  (a refusal of the input, not an error of the program)
    """A query that cannot be answered; the message is for people."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked. Without a ``spec`` and so on, the defaults of every command hold."""

    spec: str | None = None
    out: str | None = None
    lock: str | None = None
    now: datetime | None = None
    include: tuple[FileKind, ...] = ()


def read_query(content: bytes) -> Query:
    """Read what Terraform sends. Raise :class:`WrongQuery` if it is no JSON object of strings, or has unknown keys."""
    try:
        document = json.loads(content.decode())
    except (ValueError, RecursionError):
        raise WrongQuery(
            'the query on stdin is not JSON; try: echo \'{"spec": "pgtls.toml"}\' | pgtls terraform'
        ) from None
    if not isinstance(document, dict):
        raise WrongQuery("the query on stdin is not a JSON object")
    for key, value in document.items():
        if key not in KEYS:
            hint = suggestion(key, KEYS) or f"known are {', '.join(KEYS)}"
            raise WrongQuery(f"the query has the unknown key {quoted(key)}; {hint}")
        if not isinstance(value, str):
            raise WrongQuery(f"the query's {key} is not a string")
        if "\0" in value:
            raise WrongQuery(f"the query's {key} holds a null character")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise WrongQuery(f"the query's {key} holds half a character (a lone surrogate)")
    # As with variables, what is empty counts as not said: a module's optional input arrives so.
    said = {key: value for key, value in document.items() if value}
    now = instant(said["now"], "the query's now") if "now" in said else None
    return Query(said.get("spec"), said.get("out"), said.get("lock"), now, _kinds(said.get("include", "")))


def instant(text: str, whose: str) -> datetime:
    """Read RFC 3339 or a date. ``whose`` names in messages what said it."""
    try:
        return read_instant(text)
    except ValueError as wrong:
        raise WrongQuery(f"{whose} {wrong}, not {quoted(text)}") from None


def _kinds(text: str) -> tuple[FileKind, ...]:
    asked = text.replace(",", " ").split()
    for kind in asked:
        if kind == "key":
            raise WrongQuery(
                "private keys are never part of the answer: Terraform would keep them in its state; use their path"
            )
        if kind not in KINDS:
            hint = suggestion(kind, KINDS) or f"known are {', '.join(KINDS)}"
            raise WrongQuery(f"the query's include names the unknown kind {quoted(kind)}; {hint}")
    return tuple(kind for kind in KINDS if kind in asked)


def answer(spec: Spec, out: str, query: Query, *, review: bool) -> dict[str, str]:
    """Plan, and return every key with its value, in the order of the keys. Paths begin with ``out``."""
    planned = plan(request(spec, out, review=review))
    found = dict(_summary(planned))
    for entity in _entities(planned):
        found |= {f"{entity}.{field}": value for field, value in _entity(planned, entity, out)}
    found |= dict(_texts(planned, query.include, partial(content, out)))
    return dict(sorted(found.items()))


def render(answer: Mapping[str, str]) -> str:
    """Write the one object. Escaped to ASCII, so that a file name that is no UTF-8 cannot break it."""
    return json.dumps(answer, indent=2)


def _summary(planned: Planned) -> Iterator[tuple[str, str]]:
    steps = planned.plan.steps
    yield "status", "changes" if steps else "ok"
    yield "changes", str(len(steps))
    yield "cost", planned.plan.cost
    yield "next_renewal", _text(_next_renewal(planned))
    yield "spec_sha256", planned.checked.digest
    yield "lock_id", planned.checked.lock.id or ""
    yield "report", json.dumps(_report(planned), sort_keys=True)


def _report(planned: Planned) -> dict[str, object]:
    """Everything that a plan says, for ``jsondecode``."""
    return {
        "format_version": 1,
        "command": "terraform",
        "diagnostics": [as_json(diagnostic) for diagnostic in planned.diagnostics],
        "from_lock": planned.existing.from_lock,
        "steps": [asdict(step) for step in planned.plan.steps],
        "summary": planned.plan.summary,
        "waves": [asdict(wave) for wave in planned.verdict.waves],
    }


def _next_renewal(planned: Planned) -> datetime | None:
    """Return the first instant at which a build renews something that is there.

    It stays as it is until that build, even after it has passed.
    """
    windows = [
        due_at(decision.found.certificate, decision.profile)
        for decision in planned.decisions.certificates.values()
        if isinstance(decision.found.certificate, Certificate)
        and (isinstance(decision, Issue | Wait) or decision.due > planned.fleet.now)
    ]
    lists = [half_life(crl) for crl in planned.existing.crls.values() if isinstance(crl, RevocationList)]
    return min((*windows, *lists), default=None)


def _entities(planned: Planned) -> list[Entity]:
    tree = {file.entity for file in planned.texts.values() if file.entity.kind != "ca"}
    return sorted(tree | planned.decisions.certificates.keys())


def _entity(planned: Planned, entity: Entity, out: str) -> Iterator[tuple[str, str]]:
    existing = planned.existing
    yield "directory", os.path.join(out, layout.directory(entity))
    yield "files_sha256", _files_digest(existing, entity)
    if entity in planned.decisions.certificates:
        found = existing.found[entity].certificate
        certificate = found if isinstance(found, Certificate) else None
        yield "path", os.path.join(out, layout.certificate_path(entity))
        stored = existing.found[entity].stored != "elsewhere"
        yield "key_path", os.path.join(out, layout.key_path(entity)) if stored else ""
        for field in ("sha256", "serial", "subject"):
            yield field, getattr(certificate, field) if certificate else ""
        yield "not_before", _text(certificate.not_before if certificate else None)
        yield "not_after", _text(certificate.not_after if certificate else None)
    name = entity.name
    if entity.kind == "ca" and name in planned.decisions.crls:
        crl = existing.crls.get(name)
        yield "crl_path", os.path.join(out, layout.crl_path(name))
        yield "crl_next_update", _text(crl.next_update if isinstance(crl, RevocationList) else None)


def _files_digest(existing: Existing, entity: Entity) -> str:
    """Return a digest of an entity's directory, which changes when there is something to deploy.

    Keys are left out: a new key has a new certificate.
    """
    lines = [
        f"{entry.sha256}  {path}\n"
        for path, entry in sorted(existing.listed.items())
        if entry.entity in (entity, f"{entity}/{entry.entity.host}")
        and entry.kind != "key"
        and not path.startswith(layout.RETIRED)
    ]
    return sha256("".join(lines).encode()).hexdigest() if lines else ""


def _texts(planned: Planned, kinds: tuple[str, ...], read: Callable[[str], bytes | None]) -> Iterator[tuple[str, str]]:
    """Return the files of some kinds by entity and name: texts as compiled now, certificates and CRLs as they are.

    Terraform keeps them in the clear: in pg_hba.conf the name of a secret replaces it.
    """
    if not kinds:
        return
    public = render_material(planned.fleet, planned.checked.entries, planned.material)
    blotted = {layout.path(r.server.entity, layout.HBA): r.hba_text.encode() for r in planned.checked.rules.values()}
    for path, file in {**planned.texts, **public}.items():
        if file.kind in kinds and not path.startswith(layout.RETIRED):
            content = blotted[path] if path in blotted else file.read() if path in planned.texts else None
            content = read(path) if content is None else content
            text = "" if content is None else content.decode(errors="replace")
            yield f"{file.entity}.{path.removeprefix(layout.directory(file.entity) + '/')}", text


def _text(moment: datetime | None) -> str:
    return timestamp(moment) if moment else ""
