"""``pgtls status``."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pgtls.cli import CHANGES
from pgtls.cli.options import FORMAT, Where, clock, expanded, in_review
from pgtls.cli.printing import coloured, reporting
from pgtls.cli.table import columns
from pgtls.cli.usage import UsageError
from pgtls.diagnostics import errors

if TYPE_CHECKING:
    from datetime import datetime

    from pgtls.plan.model import Deployed, Item
    from pgtls.plan.status import Status
    from pgtls.plan.timeline import Event


EXAMPLES = {
    "pgtls status --within 30d --detailed-exitcode": "Exit 2 if something ends within 30 days.",
    "pgtls status --timeline": "Show what fails, when and for whom, without another build.",
}


def read_duration(text: str) -> timedelta:
    """Read a length of time as the spec writes it."""
    from pydantic import TypeAdapter, ValidationError

    from pgtls.language import values

    try:
        return TypeAdapter[Any](values.Duration).validate_python(text)  # type: ignore[no-any-return]
    except ValidationError:
        raise typer.BadParameter(f"{text!r} is no duration: write 30d, 12h, 4w or 1y") from None


@expanded
def command(
    where: Where,
    format_: Annotated[Literal["text", "json", "prometheus"], FORMAT] = "text",
    within: Annotated[
        timedelta | None,
        typer.Option(
            parser=read_duration,
            metavar="DURATION",
            help="Only what needs a build or ends within this time, e.g. 30d.",
        ),
    ] = None,
    timeline: Annotated[
        bool, typer.Option("--timeline", help="What fails, when and for whom, without another build.")
    ] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 if something is due, or ends --within the time.")
    ] = False,
) -> int:
    """Show every certificate and CRL with its state, how long it lives, and what to do."""
    from pgtls.api import status

    if timeline and format_ == "prometheus":
        raise UsageError("--timeline is for people and programs: --format text or json")
    with reporting("status", format_) as report:
        spec = where.open(clock(where.now))
        found = status(spec, out=where.out, review=in_review(), lock_timeout=where.lock_timeout)
        if within is not None:
            found = found.within(within)
        report.diagnostics, report.waived = found.diagnostics, found.waived
        report.result = lambda: _as_dict(found, timeline=timeline)
        report.text = lambda: _text(found, format_, timeline=timeline)
        noteworthy = found.attention if within is None else found.items
        report.status = CHANGES if detailed_exitcode and (noteworthy or found.overdue or found.lost) else 0
        if errors(found.diagnostics):
            report.status = 1
    return report.status


def _text(status: Status, format_: str, *, timeline: bool) -> str:
    if format_ == "prometheus":
        from pgtls.exports import prometheus

        return prometheus.text(status)
    from pgtls.cli import status_page

    width = columns(sys.stdout)
    return (
        status_page.timeline(status, width)
        if timeline
        else status_page.page(status, width, colour=coloured(sys.stdout))
    )


def _as_dict(status: Status, *, timeline: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "now": _instant(status.now),
        "from_lock": status.from_lock,
        "summary": status.counts,
        "items": [_item(item, status.now) for item in status.items],
        "deployed": [_deployed(one) for one in status.deployed],
        "next": _event(status.next_failure) if status.next_failure else None,
    }
    if timeline:
        result["timeline"] = [_event(event) for event in status.events]
    return result


def _deployed(one: Deployed) -> dict[str, Any]:
    return {
        "entity": one.entity,
        "built": _instant(one.built),
        "deployed": one.deployed,
        "since": _instant(one.since),
        "by": one.by,
    }


def _item(item: Item, now: datetime) -> dict[str, Any]:
    return {
        "entity": item.entity,
        "kind": item.kind,
        "serial": item.serial,
        "not_before": _instant(item.not_before),
        "not_after": _instant(item.not_after),
        "due": _instant(item.due),
        "state": item.state,
        "days_left": item.days_left(now),
        "todo": item.todo,
        "path": item.path,
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "at": _instant(event.at),
        "entity": event.entity,
        "what": event.what,
        "cause": event.cause,
        "servers": event.servers,
        "affects": event.affects,
    }


def _instant(moment: datetime | None) -> str | None:
    from pgtls.state.lock import timestamp

    return None if moment is None else timestamp(moment)
