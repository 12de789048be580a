"""Rules of one family: see :data:`pgtls.diagnostics.rules.FAMILIES`."""

from __future__ import annotations

from pgtls.diagnostics.rules import Rule

RULES: tuple[Rule, ...] = ()
