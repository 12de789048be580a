"""A status as Prometheus text, for node_exporter's textfile collector.

Metrics and labels have the names that x509-certificate-exporter uses, so that its dashboards and alerts fit.
Metrics of pgtls alone begin with ``pgtls_``. Writing them reads no key.
Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, version 0.0.4).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from pgtls.plan.model import Item
    from pgtls.plan.status import Status

    Labels = Mapping[str, str]
    Sample = tuple[Labels, float]


def text(status: Status) -> str:
    """Write every metric, each with its help and type, samples in the order of the entities."""
    items = sorted((item for item in status.items if item.current), key=lambda item: (item.entity, item.kind))
    certificates = [item for item in items if item.kind == "certificate"]
    lists = [item for item in items if item.kind == "crl"]
    out, now = status.out, status.now
    lines = [
        *_gauge("x509_cert_not_before", "Start of a certificate's life, as Unix time.", _starts(certificates, out)),
        *_gauge("x509_cert_not_after", "End of a certificate's life, as Unix time.", _ends(certificates, out)),
        *_gauge("x509_cert_expired", "1 if a certificate has ended.", _over(certificates, out, now)),
        *_gauge("x509_cert_error", "1 if a certificate is missing or cannot be read.", _errors(certificates, out)),
        *_gauge("x509_crl_this_update", "When a CRL was made, as Unix time.", _starts(lists, out)),
        *_gauge("x509_crl_next_update", "When a CRL runs out, as Unix time.", _ends(lists, out)),
        *_gauge("x509_crl_stale", "1 if a CRL has run out.", _over(lists, out, now)),
        *_gauge(
            "pgtls_due",
            "1 if pgtls build has to make a certificate or CRL again.",
            [(_whose(item, out), float(item.needs_a_build)) for item in items],
        ),
        *_gauge(
            "pgtls_waiting",
            "1 if a certificate or CRL waits for a signature or a key from elsewhere.",
            [(_whose(item, out), float(item.state == "waiting")) for item in items],
        ),
        *_gauge(
            "pgtls_due_time_seconds",
            "From when on pgtls build makes a certificate or CRL again, as Unix time.",
            [(_whose(item, out), item.due.timestamp()) for item in items if item.due],
        ),
        *_gauge(
            "pgtls_next_failure_time_seconds",
            "When connections next fail without another build, as Unix time.",
            [({}, status.next_failure.at.timestamp())] if status.next_failure else [],
        ),
        *_gauge("pgtls_waived_findings", "Findings that a waiver accepts.", _waived(status)),
        *_gauge("pgtls_status_time_seconds", "When this was written, as Unix time.", [({}, now.timestamp())]),
    ]
    return "\n".join(lines)


def _waived(status: Status) -> list[Sample]:
    counted = Counter((d.code, d.accepted) for d in status.waived if d.accepted)
    return [
        ({"code": code, "accepted_by": accepted.by, "reason": accepted.reason or ""}, float(count))
        for (code, accepted), count in counted.items()
    ]


def _starts(items: Sequence[Item], out: str) -> list[Sample]:
    return [(_labels(item, out), item.not_before.timestamp()) for item in items if item.not_before]


def _ends(items: Sequence[Item], out: str) -> list[Sample]:
    return [(_labels(item, out), item.not_after.timestamp()) for item in items if item.not_after]


def _over(items: Sequence[Item], out: str, now: datetime) -> list[Sample]:
    return [(_labels(item, out), float(item.not_after <= now)) for item in items if item.not_after]


def _errors(items: Sequence[Item], out: str) -> list[Sample]:
    return [(_labels(item, out), float(item.state in ("missing", "unreadable"))) for item in items]


def _gauge(name: str, help_: str, samples: Sequence[Sample]) -> Iterator[str]:
    if not samples:
        return
    yield f"# HELP {name} {help_}"
    yield f"# TYPE {name} gauge"
    for labels, value in samples:
        inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{name}{{{inner}}} {value:.0f}" if inner else f"{name} {value:.0f}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _whose(item: Item, out: str) -> dict[str, str]:
    """Return labels that are unique: a CA that left the spec may have had the name of one that is in it."""
    return {"entity": item.entity, "kind": item.kind, "filepath": os.path.join(out, item.path or "")}


def _labels(item: Item, out: str) -> dict[str, str]:
    path = os.path.join(out, item.path or "")
    labels = {"entity": item.entity, "filename": os.path.basename(path), "filepath": path}
    if item.serial:
        labels["serial_number" if item.kind == "certificate" else "crl_number"] = str(int(item.serial, 16))
    return labels | _names("subject", item.subject) | _names("issuer", item.issuer)


def _names(prefix: str, name: str | None) -> dict[str, str]:
    """Return the parts of a name (RFC 4514) as labels ``subject_CN``, ``subject_O``, …; the most specific wins."""
    found: dict[str, str] = {}
    for attribute, value in _ATTRIBUTE.findall(name or ""):
        if attribute in _KEPT:
            found.setdefault(f"{prefix}_{attribute}", _ESCAPE.sub(_unescaped, value))
    return found


_KEPT = frozenset(("C", "ST", "L", "O", "OU", "CN"))
_ATTRIBUTE = re.compile(r"([A-Za-z0-9.]+)=((?:\\.|[^\\,+])*)", re.DOTALL)
_ESCAPE = re.compile(r"(?:\\[0-9A-Fa-f]{2})+|\\(.)", re.DOTALL)


def _unescaped(match: re.Match[str]) -> str:
    return match[1] if match[1] else bytes.fromhex(match[0].replace("\\", "")).decode(errors="replace")
