"""The documentation is true.

References match the code, links resolve, and the README's spec compiles to what the README shows.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pgtls.cli import run
from pgtls.diagnostics.rules import catalogue
from support.building import SMALL
from support.pgtls import ROOT, built, compiled

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
_LINK = re.compile(r"\]\(([^)#\s]+)(#[^)\s]*)?\)")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_reference_pages_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "reference.py", "--check"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stderr}\nrun: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [
        target
        for target, _ in _LINK.findall(page.read_text())
        if "://" not in target and not target.startswith("mailto:")
    ]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def readme(language: str) -> list[str]:
    return [text for kind, text in _BLOCK.findall((ROOT / "README.md").read_text()) if kind == language]


def test_the_spec_of_the_readme_compiles_to_the_lines_that_it_shows(tmp_path: Path) -> None:
    (spec,) = readme("toml")
    (tmp_path / "pgtls.toml").write_text(spec)
    assert run(["build", str(tmp_path / "pgtls.toml")]) == 0
    hba = (tmp_path / "out/servers/main/pg_hba.conf").read_text()
    (shown,) = (text for text in readme("") if "hostssl" in text)
    assert shown.strip() in hba


def test_the_mistake_of_the_readme_is_said_as_it_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (spec,) = readme("toml")
    monkeypatch.chdir(tmp_path)
    Path("pgtls.toml").write_text(spec.replace('users = ["alice"]', 'users = ["alcie"]'))
    assert run(["check"]) == 1
    shown = next(text for text in (ROOT / "README.md").read_text().split("```") if "PGT101" in text)
    lines = [line.strip() for line in shown.strip().splitlines()]
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == lines


def test_every_command_has_a_page_of_help_with_its_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    from pgtls.cli import COMMANDS

    for name in COMMANDS:
        assert run([name, "--help"]) == 0
        text = capsys.readouterr().out
        assert "Exit status, the same for every command" in text, name


def test_the_security_model_names_the_findings_of_every_item_of_a_standard() -> None:
    found: dict[str, list[str]] = {}
    for rule in catalogue().values():
        for standard in rule.standards:
            found.setdefault(standard, []).append(rule.code)
    rows = re.findall(
        r"^\| ((?:CIS|STIG) \S+) \| .* \| (PGT.*) \|$", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE
    )
    assert {standard: codes.split(", ") for standard, codes in rows} == found


def test_the_tests_that_the_security_model_names_exist() -> None:
    claims, _, notes = (ROOT / "docs" / "security.md").read_text().partition("\n## Tests\n")
    assert "`tests/" not in claims
    defined = re.findall(r"^\[\^(\w+)\]: `tests/", notes, re.MULTILINE)
    assert sorted(defined) == sorted(set(re.findall(r"\[\^(\w+)\]", claims)))
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", notes)
    assert len(named) > 20
    assert [(file, name) for file, name in named if f"def {name}" not in (ROOT / file).read_text()] == []


SPEC_THAT_RUNS_A_PROGRAM = """
version = 1
[ca.root]
passphrase = { command = ["touch", "was-run"] }
[server.main]
ca = "root"
hosts = ["db.example.com"]
no_local = true
[user.app]
[policy.app]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "ldap"
auth_options = { ldapserver = "l.example.com", ldapbasedn = "dc=x", ldapbindpasswd = { command = ["touch", "was-run"] } }
"""  # noqa: E501


@pytest.mark.parametrize(
    "command",
    ["check", "access", "status", "diff pgtls.toml pgtls.toml", "explain --user app --database shop --from 10.0.0.1"],
)
def test_what_the_security_model_says_to_use_for_strangers_runs_nothing_of_their_spec(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pgtls.toml").write_text(SPEC_THAT_RUNS_A_PROGRAM)
    assert f"`{command.split()[0]}`" in (ROOT / "docs" / "security.md").read_text()
    assert run(command.split()) == 0
    assert not Path("was-run").exists()
    run(["plan"])
    assert Path("was-run").exists(), "plan does"


@pytest.mark.parametrize("lists", [True, False])
def test_a_stolen_intermediate_that_was_replaced_is_refused_by_whoever_has_lists(lists: bool, tmp_path: Path) -> None:
    spec = SMALL.replace("[ca.clients]", "[ca.top]\n[ca.clients]\nissuer = 'top'")
    out = compiled(spec, tmp_path)
    stolen = shutil.copytree(out / "clients/app", tmp_path / "stolen") / "postgresql.crt"
    built(tmp_path / "pgtls.toml", out, "--replace", "ca.clients")
    server = out / "servers/main"

    def verified(chain: Path) -> bool:
        crls = ("-crl_check_all", "-CRLfile", server / "root.crl") if lists else ()
        words = ("openssl", "verify", "-CAfile", server / "root.crt", *crls, "-untrusted", chain, chain)
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    assert verified(out / "clients/app/postgresql.crt")
    assert verified(stolen) is not lists
