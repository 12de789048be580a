"""``pgtls status``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from pgtls.cli import CHANGES
from pgtls.cli.options import clock, output, places, spec
from pgtls.cli.printing import coloured, reporting
from pgtls.diagnostics import errors

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from pgtls.plan.model import Item
    from pgtls.plan.status import Status
    from pgtls.plan.timeline import Event


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A length of time as the spec writes it."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Parse; a wrong one is wrong usage."""
        from pydantic import TypeAdapter, ValidationError

        from pgtls.language import values

        try:
            return TypeAdapter[Any](values.Duration).validate_python(value)  # type: ignore[no-any-return]
        except ValidationError:
            self.fail(f"{value!r} is no duration: write 30d, 12h, 4w or 1y", param, ctx)


@click.command()
@spec
@places
@output("text", "json", "prometheus")
@click.option("--within", type=Duration(), help="Only what needs a build or ends within this time, e.g. 30d.")
@click.option("--timeline", is_flag=True, help="What would fail, when and for whom, if nobody built again.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 if something is due, or ends --within the time.")
def command(
    spec: str,
    out: str | None,
    lock: str | None,
    now: datetime | None,
    lock_timeout: int,
    format_: str,
    within: timedelta | None,
    timeline: bool,
    detailed_exitcode: bool,
) -> int:
    """Show every certificate and CRL with its state, how long it lives, and what to do."""
    from pgtls.cli.request import request
    from pgtls.pipeline import status

    if timeline and format_ == "prometheus":
        raise click.UsageError("--timeline is for people and programs: --format text or json")
    with reporting("status", format_) as report:
        found = status(request(spec, out, lock, clock(now), lock_timeout))
        if within is not None:
            found = found.within(within)
        report.diagnostics = found.diagnostics
        report.result = lambda: _as_dict(found, timeline=timeline)
        report.text = lambda: _text(found, format_, timeline=timeline)
        noteworthy = found.attention if within is None else found.items
        report.status = CHANGES if detailed_exitcode and (noteworthy or found.overdue) else 0
        if errors(found.diagnostics):
            report.status = 1
    return report.status


def _text(status: Status, format_: str, *, timeline: bool) -> str:
    if format_ == "prometheus":
        from pgtls.exports import prometheus

        return prometheus.text(status)
    from pgtls.cli import status_page

    return status_page.timeline(status) if timeline else status_page.page(status, colour=coloured(sys.stdout))


def _as_dict(status: Status, *, timeline: bool) -> dict[str, Any]:
    result: dict[str, Any] = {
        "now": _instant(status.now),
        "from_lock": status.from_lock,
        "summary": status.counts,
        "items": [_item(item, status.now) for item in status.items],
        "next": _event(status.next_failure) if status.next_failure else None,
    }
    if timeline:
        result["timeline"] = [_event(event) for event in status.events]
    return result


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
