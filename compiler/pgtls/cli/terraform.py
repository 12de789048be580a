"""``pgtls terraform``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from pgtls.cli import FAILED, OK
from pgtls.cli.options import Where, clock, expanded, in_review
from pgtls.cli.printing import emit, tell
from pgtls.cli.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pgtls.diagnostics import Diagnostic
    from pgtls.exports.terraform import Query


EXAMPLES = {
    "echo '{}' | pgtls terraform": "Ask about pgtls.toml as Terraform does.",
    """echo '{"spec": "db.toml", "include": "trust,crl"}' | pgtls terraform""": "Ask for the text of files, too.",
}


@expanded
def command() -> int:
    """Answer the external data source of Terraform; reads only.

    \b
    The query on stdin is a JSON object of strings; all of them may be left out:
      spec     the spec                  [$PGTLS_SPEC, else pgtls.toml]
      out      the out directory         [$PGTLS_OUT, else out next to the spec]
      lock     the lock                  [$PGTLS_LOCK, else SPEC with .lock]
      now      read the clock as this    [$PGTLS_NOW]
      include  kinds of files whose text is wanted, separated by commas:
               certificate, request, trust, crl, hba, ident, conf, hosts, bundle,
               script

    The answer on stdout is a flat object of strings: status (ok or changes), serial number, fingerprint, dates and
    paths of every certificate, a report as one JSON string. An error is one line on stderr, and status 1.
    """  # noqa: D301  (the mark for lines that are not to be wrapped)
    from pgtls.api import pulled
    from pgtls.diagnostics import Rejected
    from pgtls.exports import terraform

    if sys.stdin.isatty():
        raise UsageError("the query is read from stdin; try: echo '{}' | pgtls terraform")
    try:
        query = terraform.read_query(sys.stdin.buffer.read())
        where = _where(query)
        with pulled(where.open(query.now or _now()), where.paths[1]) as (spec, out, names):
            found = terraform.answer(spec, out, query, review=in_review())
        answer = {key: names.text(value) for key, value in found.items()}
    except terraform.WrongQuery as wrong:
        return _failed(f"pgtls terraform: {wrong}")
    except Rejected as rejected:
        return _failed(_line(rejected.diagnostics))
    emit(terraform.render(answer))
    return OK


def _where(query: Query) -> Where:
    spec = query.spec or os.environ.get("PGTLS_SPEC") or "pgtls.toml"
    out = query.out or os.environ.get("PGTLS_OUT")
    lock = query.lock or os.environ.get("PGTLS_LOCK")
    return Where(spec, out, lock)


def _now() -> datetime:
    """Read the clock. One that is set is not announced: what is on stderr is the error message that Terraform shows."""
    from pgtls.exports.terraform import instant

    text = os.environ.get("PGTLS_NOW")
    return instant(text, "$PGTLS_NOW") if text else clock(None)


def _line(diagnostics: Sequence[Diagnostic]) -> str:
    """Put the first error into one line, and say how many more there are."""
    from pgtls.diagnostics import errors
    from pgtls.diagnostics.text import visible

    first, *more = errors(diagnostics)
    place = first.place
    where = f"{place.file}:{place.line}:{place.column}" if place else first.file or "pgtls"
    hint = f"; hint: {first.hint}" if first.hint else ""
    others = f" (and {len(more)} more: run pgtls check)" if more else ""
    return visible(f"{where}: error[{first.code}]: {first.message}{hint}{others}".replace("\n", " "))


def _failed(line: str) -> int:
    tell(line)
    return FAILED
