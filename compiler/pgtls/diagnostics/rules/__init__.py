"""The catalogue of diagnostics: every code, what it means, why it matters and how to fix it.

One module a family, one :class:`Rule` a code; ``pgtls rule CODE`` and the reference page are made from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgtls.diagnostics import Severity

FAMILIES = {
    "schema": "PGT0xx: TOML and schema",
    "names": "PGT1xx: names, references and certificates",
    "access": "PGT2xx: policies and access",
    "hardening": "PGT3xx: hardening",
    "versions": "PGT4xx: PostgreSQL versions, PgBouncer and drivers",
    "state": "PGT5xx: state, lock, out directory, and pgtls itself",
    "wire": "PGT60x: running servers",
    "tokens": "PGT63x and PGT64x: keys in tokens",
    "at_rest": "PGT65x: keys that are encrypted at rest",
    "engines": "PGT66x: engines that run PostgreSQL",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One diagnostic code.

    ``title`` is one line; ``meaning``, ``why`` and ``fix`` are short Markdown paragraphs. ``standards`` are the ids of
    the CIS and STIG rules that the code implements.
    """

    code: str
    severity: Severity
    title: str
    meaning: str
    why: str
    fix: str
    standards: tuple[str, ...] = ()


@cache
def catalogue() -> Mapping[str, Rule]:
    """Return every rule by its code, in the order of the codes."""
    rules = [rule for family in FAMILIES for rule in import_module(f"{__name__}.{family}").RULES]
    return {rule.code: rule for rule in sorted(rules, key=lambda rule: rule.code)}
