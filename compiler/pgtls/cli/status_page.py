"""A status as a page for people: the verdict, what stops working next, then every item, the most urgent first."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from pgtls.cli.table import Row, table
from pgtls.diagnostics import errors
from pgtls.diagnostics.lines import whole, wrapped
from pgtls.language.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from pgtls.pki.model import Entity
    from pgtls.plan.model import Item, State
    from pgtls.plan.status import Status
    from pgtls.plan.timeline import Cause, Event

_COLOURS: dict[State, str] = {
    "expired": "1;31",
    "unreadable": "1;31",
    "missing": "1;31",
    "not yet valid": "1;31",
    "waiting": "35",
    "due": "33",
    "ok": "32",
}
_VERDICTS: dict[State, str] = {
    "expired": "expired",
    "unreadable": "cannot be read",
    "missing": "missing",
    "not yet valid": "not yet valid",
    "waiting": "waiting",
    "due": "due",
    "ok": "in order",
    "unknown": "unknown",
}
_SHOWN = 20
"""How many items of one kind and state are listed one by one; ten thousand users are summed up."""
_NAMED = 3
"""How many entities are named in a sentence."""
_WIDE = 100
"""How wide a terminal is that also shows serial numbers."""


def page(status: Status, width: int | None = None, *, colour: bool = False) -> str:
    """Write the page. The dates are UTC."""
    head = [
        _verdict(status),
        *_since("Failing", status.failing, status.now),
        *_since("Open", status.overdue, status.now),
        *([f"Next: {_sentence([status.next_failure], status.now)}"] if status.next_failure else []),
    ]
    current = [item for item in status.items if item.current]
    lines = ["", *_table(current, status.now, width, colour=colour)] if current else []
    return "\n".join([*_wrapped(head, width), *lines, *_wrapped(_end(status), width)])


def _end(status: Status) -> Iterator[str]:
    former = {state: count for state, count in status.counts.items() if state not in _VERDICTS}
    if former:
        counted = ", ".join(f"{count} {state}" for state, count in former.items())
        yield from ("", f"Not in use, and not yet ended: {counted} (--format json lists them)")
    if any(one.deployed != "unknown" for one in status.deployed):  # somebody keeps evidence
        yield from _not_deployed([one.entity for one in status.deployed if one.deployed != "last build"])
    building = [item for item in status.items if item.needs_a_build]
    if building or status.overdue:
        first = "fix the errors, then " if errors(status.diagnostics) else ""
        yield from ("", f"To do: {first}{_todo(building, overdue=bool(status.overdue))}")


def _not_deployed(entities: Sequence[Entity]) -> Iterator[str]:
    """Say how to record it: verify sees servers alone, and only somebody knows of the others."""
    servers = [entity for entity in entities if entity.kind == "server"]
    others = [entity for entity in entities if entity.kind != "server"]
    found = [f"{_names(servers)} (pgtls verify)"] * bool(servers)
    found += [f"{_names(others)} (pgtls confirm {others[0]} --reason …)"] if others else []
    if found:
        yield from ("", f"Not known to be deployed: {', and '.join(found)}")


def _wrapped(sentences: Iterable[str], width: int | None) -> Iterator[str]:
    return (line for sentence in sentences for line in wrapped(sentence, width, "  "))


def timeline(status: Status, width: int | None = None) -> str:
    """Write what happens, and when, without another build."""
    if not status.events:
        return "Nothing ends."
    groups = _alike(status.events)
    dated = ((_date(e[0].at), whole(_ago(e[0].at, status.now)), _happening(e, status.now)) for e in groups)
    lines = table([Row(cells) for cells in dated], width, indent="  ")
    return "\n".join([*wrapped(f"Without another pgtls build after {_date(status.now)}:", width), "", *lines])


def _alike(events: Iterable[Event]) -> list[list[Event]]:
    """Put together what happens on one day to entities of one kind in the same way."""
    groups: dict[tuple[object, ...], list[Event]] = {}
    for event in events:
        alike = (_date(event.at), event.what, event.cause, event.entity.kind, event.servers)
        groups.setdefault(alike, []).append(event)
    return list(groups.values())


def _since(word: str, happened: Sequence[Event], now: datetime) -> list[str]:
    """Return sentences about what has happened already and goes on."""
    groups = _alike(happened)
    more = [f"{word}: more, see --timeline"] if len(groups) > _NAMED else []
    return [f"{word} since {_sentence(events, now)}" for events in groups[:_NAMED]] + more


def _verdict(status: Status) -> str:
    found = _counted(status)
    return f"No build is possible until the errors are fixed. {found}" if errors(status.diagnostics) else found


def _counted(status: Status) -> str:
    counts = {state: count for state, count in status.counts.items() if state in _VERDICTS}
    if not counts:
        return "Nothing is due, and nothing ends within that time." if status.horizon else "There are no certificates."
    if status.lost:
        return f"{sum(counts.values())} listed by the lock. Their files are not here."
    if set(counts) == {"ok"}:
        return f"{counts['ok']} in order."
    return ", ".join(f"{count} {_VERDICTS[state]}" for state, count in counts.items()) + "."


def _todo(items: Sequence[Item], *, overdue: bool) -> str:
    kinds = Counter(item.entity.kind for item in items if item.kind == "certificate")
    crls = any(item.kind == "crl" for item in items)
    deploy = ["servers (reload)"] * bool(kinds["server"] or kinds["pooler"] or kinds["ca"] or crls or overdue) + [
        "clients"
    ] * bool(kinds["user"])
    first = "get the key (--ca-key) or the signature that is waited for, " if any(item.waits for item in items) else ""
    return f"{first}run pgtls build, then deploy what it wrote for {' and '.join(deploy)}"


def _table(items: Sequence[Item], now: datetime, width: int | None, *, colour: bool) -> Iterator[str]:
    shown: Counter[tuple[State, str, str]] = Counter()
    rows = [Row(("STATE", "WHAT", "ENDS", "", "SERIAL", whole("WHAT TO DO")))]
    for item in items:
        alike = (item.state, item.entity.kind, item.kind)
        shown[alike] += 1
        if shown[alike] <= _SHOWN:
            rows.append(Row(_cells(item, now), _COLOURS.get(item.state, "") if colour else ""))
    yield from table(rows if width is None or width >= _WIDE else map(_without_serial, rows), width, indent="  ")
    for (state, entity, kind), count in shown.items():
        if count > _SHOWN:
            what = "CRLs of " if kind == "crl" else ""
            yield from wrapped(f"  … and {count - _SHOWN} more {what}{entity}.*, {_VERDICTS[state]}", width, "    ")


def _without_serial(row: Row) -> Row:
    return row._replace(cells=(*row.cells[:4], *row.cells[5:]))


def _cells(item: Item, now: datetime) -> tuple[str, ...]:
    what = f"{item.entity} CRL" if item.kind == "crl" else item.entity
    serial = f"{item.serial[:8]}…" if item.serial and item.kind == "certificate" else ""
    ends = _date(item.not_after) if item.not_after else ""
    left = _ago(item.not_after, now) if item.not_after else ""
    remark = item.todo or (f"due from {_date(item.due)}" if item.due else "")
    return (*map(whole, (item.state, what, ends, left, serial)), remark)


def _date(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"


def _ago(at: datetime, now: datetime) -> str:
    """Return how far away an instant is, in the unit that a person would choose."""
    away = abs(at - now)
    days = away // timedelta(days=1)
    if days >= 2:
        text = f"{days} days"
    elif away >= timedelta(hours=2):
        text = f"{away // timedelta(hours=1)} hours"
    else:
        text = f"{away // timedelta(minutes=1)} minutes"
    return f"in {text}" if at > now else f"{text} ago"


def _sentence(events: Sequence[Event], now: datetime) -> str:
    return f"{_date(events[0].at)} ({_ago(events[0].at, now)}): {_happening(events, now)}"


_OF: dict[Cause, str] = {
    "certificate": "certificate",
    "crl": "CRL",
    "client crl": "CRL",
    "until": "",
    "waiver": "waiver",
}


def _happening(events: Sequence[Event], now: datetime) -> str:
    """Return what happens to entities that share date, cause and consequence."""
    first, several = events[0], len(events) > 1
    names = _names(event.entity for event in events)
    thing = _OF[first.cause]
    subject = f"the {thing}{'s' * several} of {names}" if thing else names
    match first.what:
        case "due":
            return f"{subject} {'come' if several else 'comes'} due: a build makes {'them' if several else 'it'} again"
        case "blocks":
            return f"{subject} {_ends(events, now)}: no build is possible until this is fixed"
        case "stays":
            access = "access" if first.entity.kind == "policy" else "access without a certificate"
            return f"{subject} {_ends(events, now)}, but {access} stays until a build"
    return f"{subject} {_ends(events, now)}: {_consequence(events)}"


def _ends(events: Sequence[Event], now: datetime) -> str:
    if events[0].at <= now:
        return "ended"
    return "end" if len(events) > 1 else "ends"


def _consequence(events: Sequence[Event]) -> str:
    first = events[0]
    affected = _names(dict.fromkeys(name for event in events for name in event.affects))
    if first.cause == "client crl":
        return f"{affected} (crl = true) {'refuse' if ' and ' in affected else 'refuses'} {_names(first.servers)}"
    where = f"{_names(first.servers)} {'refuses' if len(first.servers) == 1 else 'refuse'}"
    if first.cause == "crl":
        return f"{where} every client certificate ({affected or 'of clients outside this spec'})"
    match first.entity.kind:
        case "ca":
            return f"so does everything below: {affected}"
        case "server" | "pooler":
            return f"{affected or 'clients that verify it'} can no longer connect to it"
    return f"{where} {'it' if len(events) == 1 else 'them'}"


def _names(entities: Iterable[str]) -> str:
    return listed(entities, _NAMED)
