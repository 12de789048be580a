"""A stranger's spec: the commands that read execute nothing that it names, and open no key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.pgtls import pgtls
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOW = "2026-01-01"

SITE = """
import json, os, sys

def watch(event, arguments, log=os.environ["WATCH_LOG"], opened=os.open, write=os.write):
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.spawn", "os.fork", "open"):
        words = [str(word) for word in arguments[1] or ()] if event == "subprocess.Popen" else []
        found = [event, str(arguments[0]), words]
        descriptor = watch.descriptor
        write(descriptor, (json.dumps(found) + "\\n").encode())

watch.descriptor = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
sys.addaudithook(watch)
"""

SPEC = """
version = 1
[ca.mine]
cert_file = "mine.crt"
key_file = "mine.key"
passphrase = { command = ["sh", "-c", "touch RAN; echo secret"] }
[ca.clients]
passphrase = { file = "clients.pass" }
[server.main]
ca = "mine"
client_ca = ["clients"]
hosts = ["localhost"]
passphrase = { command = ["sh", "-c", "touch RAN; echo secret"] }
passphrase_command = "touch RAN"
[user.postgres]
[user.app]
ca = "clients"
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "radius"
auth_options = { radiusservers = "10.0.0.1", radiussecrets = { command = ["sh", "-c", "touch RAN; echo secret"] } }
"""
READING = {
    "check": ("check",),
    "check for GitHub": ("check", "--format", "github"),
    "check for code scanning": ("check", "--format", "sarif"),
    "access": ("access", "--format", "markdown"),
    "explain": ("explain", "--user", "app", "--database", "shop", "--from", "10.0.0.5"),
    "diff of two files": ("diff", "old.toml", "pgtls.toml"),
    "diff with a revision": ("diff", "--format", "markdown"),
    "status": ("status",),
    "status for Prometheus": ("status", "--format", "prometheus"),
    "the timeline": ("status", "--timeline"),
    "plan without secrets": ("plan", "--no-secrets", "--format", "markdown"),
}


class Watched(NamedTuple):
    """How a command ended, and what it did."""

    status: int
    said: str
    executed: list[list[str]]
    opened: set[str]


def watched(directory: Path, words: Sequence[str]) -> Watched:
    log, site = directory.parent / "log", directory.parent / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE)
    log.unlink(missing_ok=True)
    surroundings = {
        **ENVIRONMENT,
        "HOME": "/nonexistent",
        "PYTHONPATH": str(site),
        "WATCH_LOG": str(log),
        "PGTLS_NOW": NOW,
    }
    run = subprocess.run(
        [sys.executable, "-m", "pgtls", *words],
        cwd=directory,
        check=False,
        capture_output=True,
        text=True,
        env=surroundings,
    )
    events = [json.loads(line) for line in log.read_text().splitlines()]
    executed = [[program, *arguments] for event, program, arguments in events if event != "open"]
    return Watched(
        run.returncode, run.stdout + run.stderr, executed, {path for event, path, _ in events if event == "open"}
    )


def git(directory: Path, *words: str) -> None:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    subprocess.run(["git", *identity, *words], cwd=directory, check=True, capture_output=True, env=ENVIRONMENT)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built fleet in a repository, whose CA has an encrypted key of its own."""
    directory = tmp_path_factory.mktemp("stranger") / "checkout"
    directory.mkdir()
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mine")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, datetime(2025, 1, 1), datetime(2045, 1, 1))
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    certificate = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
    (directory / "mine.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    shut = serialization.BestAvailableEncryption(b"secret")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, shut)
    (directory / "mine.key").write_bytes(pem)
    (directory / "clients.pass").write_text("secret")
    for file in ("pgtls.toml", "old.toml"):
        (directory / file).write_text(SPEC)
    git(directory, "init", "-q", "-b", "main")
    git(directory, "add", "pgtls.toml", "mine.crt")
    git(directory, "commit", "-q", "-m", "base")
    return directory


@pytest.fixture(params=["a review without the lock", "a review", "where it is built", "where a key was touched"])
def checkout(fleet: Path, request: pytest.FixtureRequest) -> Path:
    (fleet / "RAN").unlink(missing_ok=True)
    for name in ("pgtls.lock", "out"):
        subprocess.run(["rm", "-rf", fleet / name], check=True)
    if request.param != "a review without the lock":
        built = pgtls("build", cwd=fleet, now=NOW)
        assert built.status == 0, built.stderr
        assert (fleet / "RAN").exists()
        (fleet / "RAN").unlink()
    if request.param == "a review":
        subprocess.run(["rm", "-rf", fleet / "out"], check=True)
    if request.param == "where a key was touched":
        for key in (fleet / "out").rglob("*.key"):
            os.utime(key)
    return fleet


@pytest.mark.parametrize("words", READING.values(), ids=READING)
def test_a_command_that_reads_executes_nothing_and_opens_no_key(checkout: Path, words: tuple[str, ...]) -> None:
    found = watched(checkout, words)
    assert "Traceback" not in found.said
    assert found.status == 0 or "error[PGT" in found.said, found.said
    assert [words for words in found.executed if words[0] != "git"] == []
    assert found.executed == [] or words[0] == "diff"
    assert not (checkout / "RAN").exists()
    private = (".key", ".pass", ".p12", ".pk8")
    assert {path for path in found.opened if path.endswith(private)} == set()


def test_the_watcher_sees_what_a_build_does(checkout: Path) -> None:
    """The negative control: a build of the same spec runs its commands and opens keys."""
    subprocess.run(["rm", "-rf", checkout / "out", checkout / "pgtls.lock"], check=True)
    found = watched(checkout, ("build",))
    assert ["sh", "sh", "-c", "touch RAN; echo secret"] in found.executed
    assert any(path.endswith("mine.key") for path in found.opened)
    assert (checkout / "RAN").exists()
