"""The workflows to copy: read by actionlint, and their steps run by the shell that GitHub runs them with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]

from support.golang import go_program
from support.pgtls import ROOT, pgtls
from support.servers import PATIENCE
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

WORKFLOWS = sorted((ROOT / "examples" / "github-actions").glob("*.yml"))
NOW = "2026-01-01T00:00:00Z"
COMMIT = "5" * 40
SPEC = """\
version = 1

[ca.root]

[server.main]
ca       = "root"
hosts    = ["db.example.com"]
no_local = true

[user.app]

[policy.app]
users     = ["app"]
databases = ["shop"]
from      = ["10.9.0.0/16"]
auth      = "scram-sha-256"
"""


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actionlint_finds_nothing(workflow: Path) -> None:
    run = subprocess.run((go_program("actionlint"), "-no-color", workflow), check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_actionlint_would_find_something(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOWS[0].read_text().replace("runs-on:", "run-on:"))
    run = subprocess.run((go_program("actionlint"), broken), check=False, capture_output=True, text=True)
    assert run.returncode == 1, run.stdout + run.stderr


def step(workflow: str, job: str, name: str) -> str:
    """Return the script of a step."""
    document = yaml.safe_load((ROOT / "examples" / "github-actions" / workflow).read_text())
    (script,) = [step["run"] for step in document["jobs"][job]["steps"] if step.get("name") == name]
    assert isinstance(script, str)
    return script


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What actions/checkout leaves: spec and lock of a fleet that was built elsewhere, and no out directory."""
    directory = tmp_path / "checkout"
    directory.mkdir()
    (directory / "pgtls.toml").write_text(SPEC)
    assert pgtls("build", "--out", tmp_path / "out", cwd=directory, now=NOW).status == 0
    programs = tmp_path / "bin"
    programs.mkdir()
    _program(programs / "pgtls", f'exec {sys.executable} -E -m pgtls "$@"')
    _git(directory, "init", "--quiet", "--initial-branch=main")
    commit(directory)
    _git(directory, "checkout", "--quiet", "--detach")
    _program(programs / "gh", 'echo "gh $*"; cat "$5"')
    return directory


def _git(directory: Path, *words: str) -> str:
    identity = {
        f"GIT_{who}_{what}": "tests@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    surroundings = ENVIRONMENT | identity | {"GIT_CONFIG_GLOBAL": os.devnull, "HOME": "/nonexistent"}
    return subprocess.check_output(("git", *words), cwd=directory, env=surroundings, text=True).strip()


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def commit(checkout: Path) -> None:
    """Commit a pull request: actions/checkout leaves nothing that is not in a commit."""
    _git(checkout, "add", "--all")
    _git(checkout, "commit", "--quiet", "--message=pull request")


def run(
    checkout: Path, script: str, now: str = NOW, base: str = "main", check: str = "success", job: str = "checkout"
) -> subprocess.CompletedProcess[str]:
    """Run a script as a runner does (https://docs.github.com/actions, `shell: bash`)."""
    temporary = checkout.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    surroundings: dict[str, Any] = ENVIRONMENT | {
        "PATH": f"{checkout.parent / 'bin'}:{ENVIRONMENT['PATH']}",
        "HOME": str(checkout.parent),
        "CI": "true",
        "GITHUB_WORKSPACE": str(checkout),
        "RUNNER_TEMP": str(temporary),
        "GITHUB_STEP_SUMMARY": str(checkout.parent / "summary.md"),
        "PGTLS_SPEC": "pgtls.toml",
        "PGTLS_NOW": now,
        "NUMBER": "7",
        "BASE": _git(checkout, "rev-parse", base),
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_RUN_ID": "5",
        "COMMIT": COMMIT,
        "CHECK": check,
    }
    return subprocess.run(
        ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script),
        cwd=checkout.parent / job,
        env=surroundings,
        check=False,
        capture_output=True,
        text=True,
        timeout=10 * PATIENCE,
    )


def comment_on(checkout: Path, check: str = "success") -> str:
    """Run the job that comments, in the directory to which it downloads the artifact; return the comment."""
    script = step("pgtls.yml", "comment", "Comment on the pull request")
    made = run(checkout, script, check=check, job="temporary" if check == "success" else "bin")
    assert made.returncode == 0, made.stderr
    called, _, body = made.stdout.partition("\n")
    assert called == "gh pr comment 7 --body-file body.md --edit-last --create-if-none"
    return body


def base_of(checkout: Path) -> str:
    return _git(checkout, "rev-parse", "main")


def review_of(checkout: Path) -> str:
    return (checkout.parent / "temporary" / "review.md").read_text()


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_job_that_reads_a_pull_request_keeps_no_credential_and_writes_no_content(workflow: Path) -> None:
    document = yaml.safe_load(workflow.read_text())
    assert document["permissions"] == {}
    types = ["opened", "synchronize", "reopened", "edited"]
    assert document[True]["pull_request"] == {"types": types}, "paths would leave out links, others a new base"
    assert "pull_request_target" not in workflow.read_text()
    for job in document["jobs"].values():
        actions = [step for step in job["steps"] if "uses" in step]
        assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"]) for step in actions)
        checkouts = [step for step in actions if step["uses"].startswith("actions/checkout@")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)
        written = {scope for scope, access in job["permissions"].items() if access == "write"}
        assert written <= ({"security-events"} if checkouts else {"pull-requests"})


def test_a_pull_request_runs_no_command_of_its_spec(checkout: Path) -> None:
    ran = checkout.parent / "ran"
    command = f'{{ command = ["sh", "-c", "touch {ran}; echo x"] }}'
    spec = checkout / "pgtls.toml"
    more = f'[ca.other]\npassphrase = {command}\n[policy.ldap]\nusers = ["app"]\nfrom = ["10.1.1.1"]\nauth = "radius"\n'
    more += f'auth_options = {{ radiusservers = "r", radiussecrets = {command} }}\n'
    more += 'waiver = "a reason"\n'
    spec.write_text(spec.read_text() + more)
    for lock in (True, False):
        commit(checkout)
        for name in ("Check the spec", "Say what changes"):
            assert run(checkout, step("pgtls.yml", "check", name)).returncode == 0
        if lock:
            (checkout / "pgtls.lock").unlink()
    assert not ran.exists()


def test_findings_are_commands_and_a_bad_spec_fails_the_job(checkout: Path) -> None:
    script = step("pgtls.yml", "check", "Check the spec")
    good = run(checkout, script)
    assert (good.returncode, good.stdout) == (0, "")
    spec = checkout / "pgtls.toml"
    spec.write_text(spec.read_text().replace('"app"]', '"ap"]'))
    bad = run(checkout, script)
    assert bad.returncode == 1
    assert "::error title=PGT101,file=pgtls.toml,line=13," in bad.stdout


def test_the_comment_and_the_summary_say_what_changes_and_what_a_build_would_do(checkout: Path) -> None:
    spec = checkout / "pgtls.toml"
    spec.write_text(spec.read_text().replace('"db.example.com"', '"db.example.com", "db2.example.com"'))
    commit(checkout)
    plan = run(checkout, step("pgtls.yml", "check", "Say what changes"))
    assert plan.returncode == 0, plan.stderr
    comment = comment_on(checkout)
    for text in ((checkout.parent / "summary.md").read_text(), comment):
        assert "| `server.main` | renew | hosts changed" in text
    assert comment == f"pgtls, of commit {COMMIT}, compared with {base_of(checkout)}:\n\n{review_of(checkout)}"


def test_a_review_that_is_too_long_for_a_comment_says_so_and_where_all_of_it_is(checkout: Path) -> None:
    """GitHub refuses a comment of more than 65,536 characters, and an older one would stay."""
    spec = checkout / "pgtls.toml"
    spec.write_text(SPEC.replace('["10.9.0.0/16"]', f'["all"]\ndescription = "{"@everyone " * 7000}"'))
    commit(checkout)
    script = step("pgtls.yml", "check", "Say what changes")
    assert run(checkout, script).returncode == 0
    assert len(review_of(checkout)) > 65536
    comment = comment_on(checkout)
    first, said, *rest = [line for line in comment.splitlines() if line]
    assert first == f"pgtls, of commit {COMMIT}, compared with {base_of(checkout)}:"
    whole = "The artifact `review` of [this run](https://github.com/o/r/actions/runs/5) has all of it."
    assert said == f"**Lines that are missing here, because the review is too long: 1.** {whole}"
    lines = review_of(checkout).splitlines()
    assert rest == [line for line in lines if line and len(line) < 65536]
    assert any(line.startswith("| **granted** ") for line in rest)
    assert "@everyone" not in comment
    assert len(comment.encode()) < 65536
    summary = (checkout.parent / "summary.md").read_text()
    assert summary == review_of(checkout), "a summary has more room"


def test_a_review_that_is_too_long_is_cut_between_lines(checkout: Path) -> None:
    _program(checkout.parent / "bin" / "pgtls", 'seq --format="| row %.0f of $1 |" 60000')
    assert run(checkout, step("pgtls.yml", "check", "Say what changes")).returncode == 0
    review = review_of(checkout)
    for shown, most in ((comment_on(checkout), 65536), ((checkout.parent / "summary.md").read_text(), 1024 * 1024)):
        assert len(review.encode()) > most
        assert most * 0.9 < len(shown.encode()) < most
        said, _, kept = shown.partition(" has all of it.\n\n")
        cut = re.search(r"too long: (\d+)\.", said)
        assert cut
        assert review.startswith(kept.rstrip("\n")), "but for empty lines, which still fit"
        assert kept.count("\n") + int(cut[1]) == review.count("\n")


def test_a_check_that_fails_replaces_the_review_of_an_older_commit(checkout: Path) -> None:
    body = comment_on(checkout, check="failure")
    assert body.startswith(
        f"pgtls, of commit {COMMIT}, compared with {base_of(checkout)}:\n\n**There is no review of this commit**"
    )
    document = yaml.safe_load((ROOT / "examples" / "github-actions" / "pgtls.yml").read_text())
    job = document["jobs"]["comment"]
    assert "!cancelled()" in job["if"], "otherwise a job runs only after a check that succeeded"
    assert job["steps"][-1]["env"]["COMMIT"] == "${{ github.event.pull_request.head.sha }}"
    assert job["steps"][-1]["env"]["BASE"] == "${{ github.event.pull_request.base.sha }}"


def test_access_that_one_character_widens_is_in_the_comment(checkout: Path) -> None:
    spec = checkout / "pgtls.toml"
    spec.write_text(spec.read_text().replace("10.9.0.0/16", "10.8.0.0/15"))
    commit(checkout)
    script = step("pgtls.yml", "check", "Say what changes")
    assert run(checkout, script).returncode == 0
    review = review_of(checkout)
    assert "granted" in review
    assert "10.8.0.0/16" in review
    assert run(checkout, script, base="HEAD").returncode == 0
    assert "granted" not in review_of(checkout)


def test_a_link_that_a_pull_request_commits_leads_the_review_nowhere(checkout: Path) -> None:
    precious = checkout.parent / "precious"
    precious.write_text("a file of the runner")
    (checkout / "review.md").symlink_to(precious)
    commit(checkout)
    assert run(checkout, step("pgtls.yml", "check", "Say what changes")).returncode == 0
    assert "pgtls plan" in review_of(checkout)
    assert precious.read_text() == "a file of the runner"


@pytest.mark.parametrize("way", ["a link", "a submodule"])
def test_a_directory_that_only_the_build_machine_has_fails_the_job(checkout: Path, way: str) -> None:
    for team in ("web", "new"):
        (checkout / "teams" / team).mkdir(parents=True)
    (checkout / "teams" / "web" / "a.toml").write_text('[group.web]\nusers = ["app"]\n')
    (checkout / "pgtls.toml").write_text(SPEC.replace("version = 1", 'version = 1\ninclude = ["teams/*/*.toml"]'))
    commit(checkout)
    _git(checkout, "branch", "--force", "main")
    script = step("pgtls.yml", "check", "Say what changes")
    assert run(checkout, script).returncode == 0
    if way == "a link":
        (checkout / "teams" / "new").rmdir()
        (checkout / "teams" / "new").symlink_to(checkout.parent)
        commit(checkout)
    else:
        _git(checkout, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},teams/new")
        _git(checkout, "commit", "--quiet", "--message=pull request")
    assert run(checkout, step("pgtls.yml", "check", "Check the spec")).returncode == 0
    refused = run(checkout, script)
    assert refused.returncode == 1
    assert "git:HEAD:teams/new: error[PGT001]" in refused.stderr


def test_a_spec_that_is_new_has_nothing_to_be_compared_with(checkout: Path) -> None:
    _git(checkout, "rm", "--quiet", "--cached", "pgtls.toml")
    _git(checkout, "commit", "--quiet", "--message=none")
    _git(checkout, "branch", "--force", "main")
    commit(checkout)
    assert run(checkout, step("pgtls.yml", "check", "Say what changes")).returncode == 0
    assert "pgtls plan" in review_of(checkout)


def test_a_base_that_is_gone_fails_the_job(checkout: Path) -> None:
    """After a forced push, there would be a review without a comparison."""
    script = step("pgtls.yml", "check", "Say what changes")
    assert run(checkout, script, base="1" * 40).returncode == 128


def test_a_plan_that_fails_fails_the_job(checkout: Path) -> None:
    (checkout / "pgtls.toml").write_text("version = 2\n")
    commit(checkout)
    assert run(checkout, step("pgtls.yml", "check", "Say what changes")).returncode == 1


@pytest.mark.parametrize(("now", "status"), [(NOW, 0), ("2026-03-30", 2)])
def test_the_watch_fails_when_something_is_about_to_end(checkout: Path, now: str, status: int) -> None:
    assert run(checkout, step("pgtls.yml", "watch", "See what comes due"), now).returncode == status


@pytest.mark.parametrize("version", [1, 2])
def test_code_scanning_gets_its_file_whatever_was_found(checkout: Path, version: int) -> None:
    (checkout / "pgtls.toml").write_text(SPEC.replace("version = 1", f"version = {version}"))
    scan = run(checkout, step("code-scanning.yml", "scan", "Check the spec"))
    assert scan.returncode == 0
    document = yaml.safe_load((checkout / "pgtls.sarif").read_text())
    assert len(document["runs"][0]["results"]) == version - 1
