"""TAB in bash, zsh and fish: commands, options, names of the spec. It answers at once; no shell runs what it offers."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from support.building import SMALL
from support.servers import PATIENCE
from support.system import ENVIRONMENT

PROMPT = "what next? "
SHELLS = {
    "bash": (("bash", "--norc", "--noprofile", "-i"), 'eval "$(_PGTLS_COMPLETE=bash_source pgtls)"'),
    "zsh": (("zsh", "-f", "-i"), 'autoload -U compinit; compinit -D; eval "$(_PGTLS_COMPLETE=zsh_source pgtls)"'),
}
FISH = "_PGTLS_COMPLETE=fish_source pgtls | source; "


def environment(home: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{ENVIRONMENT['PATH']}"
    return {**ENVIRONMENT, "PATH": path, "HOME": str(home), "TERM": "dumb", "PS1": PROMPT}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shell")
    (directory / "users").mkdir()
    (directory / "users" / "more.toml").write_text('[user.zoe]\nca = "clients"\n')
    (directory / "pgtls.toml").write_text(SMALL.replace("version = 1\n", 'version = 1\ninclude = ["users/*.toml"]\n'))
    return directory


def words(directory: Path, *typed: str, **environment: str) -> list[str]:
    """Ask as a shell does, through the program's own words for bash: what is offered for the last of the words."""
    run = subprocess.run(
        [sys.executable, "-E", "-X", "importtime", "-m", "pgtls"],
        check=True,
        capture_output=True,
        text=True,
        cwd=directory,
        env={
            **ENVIRONMENT,
            "_PGTLS_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["pgtls", *typed]),
            "COMP_CWORD": str(len(typed)),
            **environment,
        },
    )
    others = [line for line in run.stderr.splitlines() if not line.startswith("import time:")]
    assert others == []
    for library in ("cryptography", "jinja2", "pydantic", "rich"):
        assert f" {library}" not in run.stderr, f"{library} is loaded while a user types"
    return run.stdout.split()


def skip_without(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed: apt-get install {shell}")


def typed(shell: str, directory: Path, *lines: str) -> str:
    """Type lines into an interactive shell on a terminal, one at each prompt; return what follows the last."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 1000))
    process = subprocess.Popen(
        SHELLS[shell][0],
        cwd=directory,
        env=environment(directory),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        for line in (*lines, None):
            seen = b""
            while PROMPT.encode() not in seen.rpartition(b"\n")[2]:
                assert select.select([ours], [], [], PATIENCE)[0], f"{shell} says nothing after {seen!r}"
                seen += os.read(ours, 1 << 16)
            if line is not None:
                os.write(ours, f"{line}\n".encode())
    finally:
        process.kill()
        process.wait(PATIENCE)
        os.close(ours)
    return seen.decode()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_options_and_names(shell: str, directory: Path) -> None:
    skip_without(shell)
    line = "pgtls expl\t--serv\tma\t--us\tpostgres --from local --database shop --form\tjs\t"
    answer = '"outcome": "admit"'
    assert answer in typed(shell, directory, SHELLS[shell][1], line)
    assert answer not in typed(shell, directory, line), "without completion a tab does nothing of the kind"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_paths_by_itself(shell: str, directory: Path) -> None:
    skip_without(shell)
    assert "more.toml" in typed(shell, directory, SHELLS[shell][1], "pgtls check us\tmo\t")


def test_fish_completes_commands_options_and_names(directory: Path) -> None:
    skip_without("fish")

    def offered(line: str, setting_up: str = FISH) -> list[str]:
        run = subprocess.run(
            ["fish", "--private", "--no-config", "-c", f"{setting_up}complete -C '{line}'"],
            check=True,
            capture_output=True,
            text=True,
            cwd=directory,
            env=environment(directory),
        )
        return run.stdout.splitlines()

    assert [line.split("\t")[0] for line in offered("pgtls expl")] == ["explain"]
    assert [line.split("\t")[0] for line in offered("pgtls build --renew user.")] == [
        "user.app",
        "user.postgres",
        "user.zoe",
    ]
    assert offered("pgtls check us") == ["users/"]
    assert "explain" not in offered("pgtls expl", "")


def test_names_are_those_of_the_spec_and_of_what_it_includes(directory: Path) -> None:
    entities = ["ca.clients", "ca.root", "server.main", "user.app", "user.postgres", "user.zoe"]
    assert words(directory, "build", "--replace", "") == [f"plain,{name}" for name in entities]
    assert words(directory, "build", "--renew", "a") == ["plain,all"]
    assert words(directory, "build", "--new-ca", "") == ["plain,clients", "plain,root"]
    assert words(directory, "explain", "--cert", "") == [f"plain,{name}" for name in ("app", "none", "postgres", "zoe")]
    assert words(directory, "plan", "users/more.toml", "--renew", "") == ["plain,all", "plain,user.zoe"]
    assert words(directory, "plan", "--renew", "", PGTLS_SPEC="users/more.toml") == ["plain,all", "plain,user.zoe"]


def test_what_a_shell_would_run_is_never_offered(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text('[user.a]\n[user."$(touch here)"]\n[user."; touch here"]\n[user."x\\ny"]\n')
    assert words(tmp_path, "build", "--renew", "") == ["plain,all", "plain,user.a"]


@pytest.mark.parametrize("spec", ["", "version = ", "user = 1", "include = 1", "include = [1]", "a = " + "[" * 9999])
def test_a_spec_that_cannot_be_read_is_not_complained_of(spec: str, tmp_path: Path) -> None:
    assert words(tmp_path, "build", "--renew", "") == ["plain,all"]
    (tmp_path / "pgtls.toml").write_text(spec)
    assert words(tmp_path, "build", "--renew", "") == ["plain,all"]


def test_a_command_that_does_not_exist_is_not_complained_of(directory: Path) -> None:
    assert words(directory, "bulid", "--re") == []
    assert words(directory, "build", "--re") == ["plain,--renew", "plain,--replace"]


def test_codes_are_completed() -> None:
    assert words(Path("/"), "rule", "pgt10")[:2] == ["plain,PGT101", "plain,PGT102"]
