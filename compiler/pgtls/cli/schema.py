"""``pgtls schema``."""

from __future__ import annotations

import json

import click


@click.command()
def command() -> None:
    """Print the JSON Schema of the spec, for editors and validators."""
    from pgtls.spec.schema import schema

    print(json.dumps(schema(), indent=2, ensure_ascii=False))
