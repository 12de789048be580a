"""Diagnostics as SARIF 2.1.0 (OASIS), for code scanning: what was found where, what each rule means, how to fix it.

The log is made of dictionaries: the object models on PyPI are not maintained.
Tests check it against the schema of the standard.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pgtls import __version__
from pgtls.diagnostics.rules import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgtls.diagnostics import Diagnostic
    from pgtls.diagnostics.rules import Rule

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def log(diagnostics: Iterable[Diagnostic], spec: str) -> dict[str, Any]:
    """Return the log file.

    A diagnostic without a place is located in the ``spec`` as a whole: code scanning wants a location for everything.
    """
    found = list(diagnostics)
    codes = sorted({diagnostic.code for diagnostic in found})
    known = catalogue()
    driver = {"name": "pgtls", "version": __version__, "rules": [_rule(known[code]) for code in codes]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True}],
        "results": [_result(diagnostic, codes, spec) for diagnostic in found],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, Any]:
    paragraphs = [rule.meaning, f"Why it matters: {rule.why}", f"How to fix it: {rule.fix}"]
    if rule.standards:
        paragraphs.append(f"Standards: {', '.join(rule.standards)}")
    text = "\n\n".join(paragraphs)
    return {
        "id": rule.code,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.meaning},
        "help": {"text": text, "markdown": text},
        "defaultConfiguration": {"level": rule.severity},
        "properties": {"tags": ["postgresql", *rule.standards]},
    }


def _result(diagnostic: Diagnostic, codes: Sequence[str], spec: str) -> dict[str, Any]:
    hint = f"\n{diagnostic.hint}" if diagnostic.hint else ""
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "ruleIndex": codes.index(diagnostic.code),
        "level": diagnostic.severity,
        "message": {"text": f"{diagnostic.message}{hint}"},
        "locations": [{"physicalLocation": _location(diagnostic, spec)}],
        "partialFingerprints": {"pgtls/v1": _fingerprint(diagnostic)},
    }
    if accepted := diagnostic.accepted:
        why = f"{accepted.by}: {accepted.reason}" if accepted.reason else accepted.by
        result["suppressions"] = [{"kind": "inSource", "justification": why}]
    return result


def _location(diagnostic: Diagnostic, spec: str) -> dict[str, Any]:
    place = diagnostic.place
    if place is None:
        return {"artifactLocation": _artifact(diagnostic.file or spec)}
    region = {
        "startLine": place.line,
        "startColumn": place.column,
        "endLine": place.end_line,
        "endColumn": place.end_column,
    } | ({"snippet": {"text": place.text}} if place.shown else {})
    return {"artifactLocation": _artifact(place.file), "region": region}


def _artifact(file: str) -> dict[str, Any]:
    if os.path.isabs(file):
        return {"uri": Path(file).as_uri()}
    return {"uri": quote(os.fsencode(Path(file).as_posix())), "uriBaseId": "%SRCROOT%"}


def _fingerprint(diagnostic: Diagnostic) -> str:
    """Know a finding again when its line has moved: by its code and its path in the spec."""
    identity = "\0".join((diagnostic.code, *map(str, diagnostic.path), diagnostic.message))
    return sha256(identity.encode(errors="replace")).hexdigest()
