"""Specs as TOML snippets, resolved and checked."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgtls.fleet.checks import check
from pgtls.fleet.resolve import resolve
from pgtls.language.models import KINDS, Spec
from pgtls.language.source import Loaded, Source, SourceFile

if TYPE_CHECKING:
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def loaded(text: str) -> Loaded:
    """Read a spec as the loader does, without its diagnostics."""
    document: dict[str, Any] = {"version": 1, **tomllib.loads(text)}
    defaults: dict[str, Any] = document.pop("defaults", {})
    own = {(k, name): frozenset(table) for k in KINDS for name, table in document.get(k, {}).items()}
    for kind in KINDS:
        if kind in document:
            document[kind] = {n: {**defaults.get(kind, {}), **table} for n, table in document[kind].items()}
    source = Source((SourceFile(Path("pgtls.toml"), "pgtls.toml", text),))
    return Loaded(Spec.model_validate(document), source, own)


def judge(text: str, now: datetime = NOW) -> tuple[Fleet | None, tuple[Diagnostic, ...]]:
    """Resolve and check."""
    fleet, diagnostics = resolve(loaded(text), now)
    return fleet, (*diagnostics, *(check(fleet) if fleet else ()))


def fleet(text: str, now: datetime = NOW) -> Fleet:
    """Resolve a spec that has nothing wrong with its references."""
    made, diagnostics = resolve(loaded(text), now)
    assert made is not None, diagnostics
    return made


def findings(text: str, now: datetime = NOW) -> list[str]:
    """Return the findings as ``CODE path: message (hint)``."""
    return [said(diagnostic) for diagnostic in judge(text, now)[1]]


def said(diagnostic: Diagnostic) -> str:
    """Put a diagnostic on one line."""
    hint = f" ({diagnostic.hint})" if diagnostic.hint else ""
    return f"{diagnostic.code} {'.'.join(map(str, diagnostic.path))}: {diagnostic.message}{hint}"
