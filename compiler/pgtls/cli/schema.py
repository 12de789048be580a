"""``pgtls schema``."""

from __future__ import annotations

from pgtls.cli import OK
from pgtls.cli.options import expanded
from pgtls.cli.printing import document, emit

EXAMPLES = {
    "pgtls schema > pgtls.schema.json": "Write it for an editor.",
    "pgtls schema | jq .properties.server": "See what a server may have.",
}


@expanded
def command() -> int:
    """Print the JSON Schema of the spec, for editors and validators."""
    from pgtls.language.schema import schema

    emit(document(schema()))
    return OK
