"""``pgtls diff``."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pgtls.cli import CHANGES, FAILED, OK
from pgtls.cli import markdown as md
from pgtls.cli.options import FORMAT, Now, clock, expanded
from pgtls.cli.printing import reporting
from pgtls.cli.table import columns
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.diagnostics.lines import labelled, wrapped
from pgtls.language.words import some

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pgtls.access.diff import Change
    from pgtls.api import Spec
    from pgtls.difference import Difference

_SIGNS = {"granted": "+", "weakened": "!", "strengthened": "^", "lost": "-", "changed": "~"}
_SHOWN = 8
"""How many names of one kind a row holds that opens nothing."""
_OPENING = ("granted", "weakened")
_SAME = "no difference in access, protection or certificates"


EXAMPLES = {
    "pgtls diff": "Show what your edits change, compared with what git has committed.",
    "pgtls diff git:origin/main git:HEAD --fail-on weakened": "Let a pull request fail that weakens access.",
}


@expanded
def command(
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="The spec before: a path, git:REV or git:REV:PATH.")
    ] = "git:HEAD",
    new: Annotated[
        str, typer.Argument(metavar="NEW", envvar="PGTLS_SPEC", help="The spec after, likewise.")
    ] = "pgtls.toml",
    now: Now = None,
    format_: Annotated[Literal["text", "json", "markdown"], FORMAT] = "text",
    detailed_exitcode: Annotated[bool, typer.Option("--detailed-exitcode", help="Exit 2 if there is a difference.")] = (
        False
    ),
    fail_on: Annotated[
        Literal["weakened", "granted", "any"] | None,
        typer.Option(help="Exit 1 if something is weakened; if access is also granted; if anything differs."),
    ] = None,
) -> int:
    """Show what changes between two specs: access granted, lost, weakened, strengthened; protection; certificates.

    OLD and NEW are paths; git:REV, the spec at a revision (at the path of the other side, or pgtls.toml); or
    git:REV:PATH.
    """
    from pgtls.api import diff

    moment = clock(now)
    with reporting("diff", format_) as report:
        found = diff(_side(old, new, moment), _side(new, old, moment))
        report.waived = found.waived
        report.result = lambda: {
            "changes": [asdict(change) for change in found.access],
            "protection": [asdict(change) for change in found.protection],
            "certificates": [asdict(change) for change in found.certificates],
            "summary": found.summary,
        }
        report.text = lambda: "\n".join(
            _markdown(found) if format_ == "markdown" else _text(found, columns(sys.stdout))
        )
        failed = fail_on is not None and found.exceeds(fail_on)
        report.status = FAILED if failed else CHANGES if detailed_exitcode and found else OK
    return report.status


def _side(side: str, other: str, moment: datetime) -> Spec:
    """Open the spec that an argument names; without a path, a revision has that of the other side."""
    from pgtls.api import load
    from pgtls.language.git import refuse_links

    if side.startswith("git:"):
        revision, _, path = side.removeprefix("git:").partition(":")
        spec = load(path or ("pgtls.toml" if other.startswith("git:") else other), revision=revision, now=moment)
        if not path and not other.startswith("git:"):
            refuse_links(other)
        return spec
    if not os.path.lexists(side):
        hint = f"name a file; git:{side} is the spec at a git revision"
        raise Rejected(Diagnostic("PGT001", "there is no such file", hint=hint, file=side))
    return load(side, now=moment)


# --- formats ---------------------------------------------------------------------------------------------------------


def _text(found: Difference, width: int | None) -> Iterator[str]:
    if not found:
        yield from wrapped(_SAME, width)
    for change in found.access:
        yield from wrapped(f"{_SIGNS[change.kind]} {change.kind}{_since(change)}: {_who(change)}", width, "  ")
        yield from labelled("    before   ", change.before, width)
        yield from labelled("    after    ", change.after, width)
        yield from labelled("    policy   ", ", ".join(change.policies), width)
        yield from labelled("    example  ", change.example, width)
    for protection in found.protection:
        head = f"{_SIGNS[protection.kind]} {protection.kind}: {protection.entity}: {protection.what}"
        yield from wrapped(head, width, "  ")
        yield from labelled("    before   ", protection.before, width)
        yield from labelled("    after    ", protection.after, width)
    for certificate in found.certificates:
        fields = f" ({', '.join(certificate.fields)})" if certificate.fields else ""
        yield from wrapped(f"* {certificate.entity}: {certificate.action}{fields}", width, "  ")


def _who(change: Change) -> str:
    roles, databases, sources = _parties(change)
    return f"{roles} to {databases} on {change.server}, from {sources}"


def _parties(change: Change) -> tuple[str, str, str]:
    """Name the roles, databases and sources of a change: all of them if it opens access, for a reviewer to see."""
    parties = change.roles, change.databases, change.sources
    roles, databases, sources = (some(one, len(one) if change.kind in _OPENING else _SHOWN) for one in parties)
    return roles, databases, sources


def _since(change: Change) -> str:
    return f" from {change.since} on" if change.since else ""


def _markdown(found: Difference) -> Iterator[str]:
    if not found:
        yield f"**pgtls diff**: {_SAME}."
        return
    sums = ", ".join(f"{count} {kind}" for kind, count in found.summary.items()) or "no change of access"
    yield f"**pgtls diff**: {sums}."
    if found.access:
        yield ""
        yield from md.table(
            ("", "who", "database", "server", "from", "before", "after", "policy", "example"), map(_cells, found.access)
        )
    if found.protection:
        yield ""
        rows = ((f"**{c.kind}**", *map(md.text, (c.entity, c.what, c.before, c.after))) for c in found.protection)
        yield from md.table(("", "what protects", "", "before", "after"), rows)
    if found.certificates:
        yield ""
        issued = (
            (md.text(c.entity), c.action + (f" ({md.text(', '.join(c.fields))})" if c.fields else ""))
            for c in found.certificates
        )
        yield from md.table(("certificate of", ""), issued)


def _cells(change: Change) -> tuple[str, ...]:
    who, databases, sources = _parties(change)
    policies = ", ".join(change.policies)
    cells = (who, databases, change.server, sources, change.before, change.after, policies, change.example)
    return (f"**{change.kind}**{_since(change)}", *map(md.text, cells))
