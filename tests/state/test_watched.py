"""Commands that only report, under a watcher.

They open no private key and start no program, whatever the spec and the tree hold.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.building import Place
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """
version = 1
[ca.root]
passphrase = { command = ["touch", "ran"] }
[ca.clients]
[ca.brought]
cert_file = "brought.crt"
key_file = "brought.key"
[ca.elsewhere]
cert_file = "elsewhere.crt"
sign = { command = ["touch", "ran"] }
[server.main]
ca = "root"
client_ca = ["clients", "brought"]
hosts = ["db.example.com"]
[server.own]
ca = "self-signed"
hosts = ["own.example.com"]
no_local = true
[server.signed]
ca = "elsewhere"
hosts = ["signed.example.com"]
no_local = true
[user.postgres]
[user.app]
ca = "clients"
[user.bob]
ca = "brought"
[policy.dba]
servers = ["main"]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.app]
servers = ["main"]
users = ["app", "bob"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
[policy.directory]
servers = ["own"]
users = ["postgres"]
databases = ["shop"]
from = ["10.1.0.0/16"]
auth = "scram-sha-256"
"""

WATCHED = """
import sys
seen = []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        seen.append(("open", str(arguments[0])))
    elif event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork"):
        seen.append((event, str(arguments[0])))
sys.addaudithook(watch)
from pgtls.cli import run
status = run(sys.argv[1:])
import json
print("\\n" + json.dumps([status, seen]), file=sys.stderr)
"""


@pytest.fixture
def watched(tmp_path: Path) -> Place:
    """Build a tree with keys of every sort, one CA that left the spec, and keys whose stat was changed."""
    place = Place(tmp_path)
    brought = Place(tmp_path / "elsewhere")
    brought.directory.mkdir()
    brought.build("version = 1\n[ca.brought]\n[ca.elsewhere]\n")
    for name in ("crt", "key"):
        (tmp_path / f"brought.{name}").write_bytes(brought.file(f"ca/brought/ca.{name}").read_bytes())
    (tmp_path / "elsewhere.crt").write_bytes(brought.file("ca/elsewhere/ca.crt").read_bytes())
    old = SPEC.replace("[user.bob]", '[ca.left]\n[user.old]\nca = "left"\n[user.bob]')
    old = old.replace('"clients", "brought"]', '"clients", "brought", "left"]').replace(
        '"app", "bob"', '"app", "bob", "old"'
    )
    place.build(old.replace('["touch", "ran"]', '["printf", "phrase"]'))
    place.build(SPEC.replace('["touch", "ran"]', '["printf", "phrase"]'))
    place.write(SPEC)
    for path in place.out.rglob("*.key"):
        os.utime(path)
    return place


def run(place: Place, *words: str) -> tuple[int, list[tuple[str, str]]]:
    """Run a command, and give its exit status and what it did."""
    call = [sys.executable, "-c", WATCHED, *words]
    environment = {**ENVIRONMENT, "HOME": "/nonexistent", "PGTLS_NOW": "2026-01-02"}
    done = subprocess.run(call, cwd=place.directory, capture_output=True, text=True, check=True, env=environment)
    status, seen = json.loads(done.stderr.splitlines()[-1])
    return status, [(event, name) for event, name in seen]


COMMANDS = [
    *(("status", "--format", form) for form in ("text", "json", "prometheus")),
    ("status", "--timeline"),
    ("check",),
    ("access",),
    ("diff", "pgtls.toml", "pgtls.toml"),
    ("plan", "--no-secrets"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_report_opens_no_key_and_runs_nothing(watched: Place, words: tuple[str, ...]) -> None:
    status, seen = run(watched, *words)
    opened = [name for event, name in seen if event == "open"]
    assert status == 0
    assert any(name.endswith("pgtls.toml") for name in opened), "the watcher sees nothing"
    assert [name for name in opened if name.endswith(".key")] == []
    assert [event for event in seen if event[0] != "open"] == []
    assert not (watched.directory / "ran").exists()


def test_the_watcher_sees_a_build_open_keys_and_run_a_command(watched: Place) -> None:
    status, seen = run(watched, "build", "--renew", "all")
    assert status == 1  # the command prints nothing
    assert any(name.endswith(".key") for event, name in seen if event == "open")
    assert any(event == "subprocess.Popen" for event, _ in seen)
