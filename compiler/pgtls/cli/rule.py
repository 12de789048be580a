"""``pgtls rule CODE``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pgtls.cli.options import output
from pgtls.cli.printing import FORMAT_VERSION
from pgtls.diagnostics.rules import catalogue

if TYPE_CHECKING:
    from pgtls.diagnostics.rules import Rule


@click.command()
@click.argument("code", required=False)
@output("text", "json")
def command(code: str | None, format_: str) -> int:
    """Explain a diagnostic: what it means, why it matters, how to fix it. Without CODE, list them all."""
    rules = catalogue()
    if code is None:
        chosen = list(rules.values())
    elif code.upper() in rules:
        chosen = [rules[code.upper()]]
    else:
        from difflib import get_close_matches

        near = get_close_matches(code.upper(), rules, n=1)
        print(
            f"pgtls: error: there is no rule {code!r}\n  = hint: {'did you mean ' + near[0] + '?' if near else 'pgtls rule lists them all'}",
            file=sys.stderr,
        )
        return 1
    if format_ == "json":
        print(
            json.dumps(
                {
                    "format_version": FORMAT_VERSION,
                    "command": "rule",
                    "diagnostics": [],
                    "rules": [asdict(rule) for rule in chosen],
                },
                indent=2,
            )
        )
    elif code is None:
        print("\n".join(f"{rule.code}  {rule.severity:7}  {rule.title}" for rule in chosen))
    else:
        print(_page(chosen[0]))
    return 0


def _page(rule: Rule) -> str:
    standards = f"\n\nStandards: {', '.join(rule.standards)}" if rule.standards else ""
    return f"{rule.code} ({rule.severity}): {rule.title}\n\n{rule.meaning}\n\nWhy it matters: {rule.why}\n\nHow to fix it: {rule.fix}{standards}"
