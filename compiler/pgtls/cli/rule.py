"""``pgtls rule CODE``."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pgtls.cli.completion import codes
from pgtls.cli.options import FORMAT, expanded
from pgtls.cli.printing import reporting
from pgtls.cli.table import Row, columns, table
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.diagnostics.lines import wrapped
from pgtls.diagnostics.rules import catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgtls.diagnostics.rules import Rule


EXAMPLES = {
    "pgtls rule PGT203": "Explain one.",
    "pgtls rule": "List them all.",
}


@expanded
def command(
    code: Annotated[str | None, typer.Argument(metavar="CODE", autocompletion=codes, help="E.g. PGT203.")] = None,
    format_: Annotated[Literal["text", "json"], FORMAT] = "text",
) -> int:
    """Explain a diagnostic: what it means, why it matters, how to fix it. Without CODE, list them all."""
    with reporting("rule", format_) as report:
        chosen = list(catalogue().values()) if code is None else [_named(code)]
        report.result = lambda: {"rules": [asdict(rule) for rule in chosen]}
        report.text = lambda: _list(chosen) if code is None else _page(chosen[0])
    return report.status


def _named(code: str) -> Rule:
    rules = catalogue()
    if code.upper() in rules:
        return rules[code.upper()]
    of_the_kind = re.fullmatch(r"PGT\d{3}", code.upper())  # to a number, no other one is near
    near = [] if of_the_kind else get_close_matches(code.upper(), rules, n=1)
    hint = f"did you mean {near[0]}?" if near else "pgtls rule lists them all"
    raise Rejected(Diagnostic("PGT291", f'there is no rule "{code}"', hint=hint))


def _list(rules: Sequence[Rule]) -> str:
    return "\n".join(table([Row((rule.code, rule.severity, rule.title)) for rule in rules], columns(sys.stdout)))


def _page(rule: Rule) -> str:
    standards = f"\n\nStandards: {', '.join(rule.standards)}" if rule.standards else ""
    head = f"{rule.code} ({rule.severity}): {rule.title}\n\n{rule.meaning}"
    page = f"{head}\n\nWhy it matters: {rule.why}\n\nHow to fix it: {rule.fix}{standards}"
    return "\n".join(part for line in page.split("\n") for part in wrapped(line, columns(sys.stdout)))
