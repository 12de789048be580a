"""Every diagnostic code has a spec that raises it and nothing else, with its exact text as a file.

A case is a folder ``cases/CODE-slug/`` with a ``pgtls.toml`` and ``expected.txt``: what `pgtls check` prints.
After an intended change of texts, run ``PGTLS_TEST_GOLDEN=write pytest tests/diagnostics`` and read the difference.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from pgtls.diagnostics.rules import catalogue
from pgtls.diagnostics.text import render
from support.diagnosing import REWRITE, Case, cases

RAISED_BY_STATE = (
    "PGT443",  # a passphrase, which no check reads
    "PGT5",
    "PGT47",
    "PGT60",
    "PGT66",
    "PGT632",
    "PGT633",
    "PGT634",
    "PGT635",
    "PGT636",
    "PGT637",
    "PGT638",
    "PGT639",
    "PGT64",
    "PGT650",
    "PGT651",
    "PGT652",
    "PGT275",
    "PGT276",
    "PGT280",
    "PGT281",
    "PGT282",
    "PGT019",
    "PGT116",
    "PGT146",
    "PGT152",
    "PGT290",
    "PGT291",
    "PGT292",
    "PGT293",
    "PGT295",
    "PGT296",
    "PGT297",
    "PGT298",
    "PGT299",
)
"""Prefixes of codes that no spec alone raises: the out directory, builds, questions and imports.

The tests of those raise them.
"""


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
    if code.startswith(RAISED_BY_STATE) and any(code in text for text in _other_tests()):
        return
    hint = f"add tests/diagnostics/cases/{code}-*/ with a pgtls.toml that raises it and nothing else"
    assert code in {case.code for case in cases()}, hint


@cache
def _other_tests() -> tuple[str, ...]:
    here = Path(__file__).parent
    return tuple(path.read_text() for path in here.parent.rglob("test_*.py") if here not in path.parents)


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
        assert text[:1].isupper() or text[:1] in '`"' or text.startswith("pgtls ")
        assert text.rstrip().endswith((".", "`", ":", ")")), text
