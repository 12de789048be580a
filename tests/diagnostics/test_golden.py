"""Every diagnostic code has a spec that raises it and nothing else, with its exact text as a file.

A case is a folder ``cases/CODE-slug/`` with a ``pgtls.toml`` and ``expected.txt``: what `pgtls check` prints. After a change that is meant to
change texts, run ``PGTLS_GOLDEN=write pytest tests/diagnostics`` and read the difference.
"""

from __future__ import annotations

import pytest

from pgtls.diagnostics.rules import catalogue
from pgtls.diagnostics.text import render
from support.diagnosing import REWRITE, Case, cases

RAISED_BY_STATE: dict[str, str] = {}
"""Codes that no spec alone can raise, since they are about the lock or the out directory: the test that shows each."""


@pytest.mark.parametrize("case", [pytest.param(case, id=case.directory.name) for case in cases()])
def test_a_spec_raises_one_code_with_this_text(case: Case) -> None:
    diagnostics = case.diagnostics()
    text = render(diagnostics)
    if REWRITE:
        case.expected.write_text(text)
    assert {diagnostic.code for diagnostic in diagnostics} == {case.code}, text
    assert text == case.expected.read_text()


@pytest.mark.parametrize("code", sorted(catalogue()))
def test_a_code_has_a_case(code: str) -> None:
    covered = {case.code for case in cases()} | RAISED_BY_STATE.keys()
    assert code in covered, f"add tests/diagnostics/cases/{code}-*/ with a pgtls.toml that raises it and nothing else"


def test_every_case_is_of_a_code_that_exists() -> None:
    assert {case.code for case in cases()} <= catalogue().keys()


def test_diagnostics_have_the_severity_of_their_rule() -> None:
    rules = catalogue()
    for case in cases():
        for diagnostic in case.diagnostics():
            rule = rules[diagnostic.code]
            assert (diagnostic.code, diagnostic.severity) == (rule.code, rule.severity)


@pytest.mark.parametrize("code", sorted(catalogue()))
def test_a_rule_is_written_out(code: str) -> None:
    rule = catalogue()[code]
    assert rule.code == code
    assert not rule.title.endswith("."), "a title is no sentence"
    for text in (rule.meaning, rule.why, rule.fix):
        assert text[:1].isupper() or text[:1] in '`"'
        assert text.rstrip().endswith((".", "`", ":", ")")), text
