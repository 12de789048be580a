"""``pgtls schema``."""

from __future__ import annotations

import click

from pgtls.cli.printing import document, emit


@click.command()
def command() -> None:
    """Print the JSON Schema of the spec, for editors and validators."""
    from pgtls.language.schema import schema

    emit(document(schema()))
