"""What docs/guides/acme.md shows (acme.md): its specs with pebble and step-ca, and its scripts with hooks of others."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from pgtls.certificates.asked import Asked
from signers.programs import certificate, now, texts, waits
from support.acme import DAY, HERE, Dns, Pebble, dns, pebble, started, web_server
from support.building import Place, steps
from support.golang import go_program
from support.pgtls import ROOT, pgtls
from support.servers import PATIENCE, free_port
from support.system import ENVIRONMENT
from support.walking import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (ROOT / "docs/guides/acme.md").read_text(encoding="utf-8")
BLOCKS = list(blocks(PAGE))
PUBLIC, PRIVATE = (block.text for block in BLOCKS if block.language == "toml")
(SHOWN,) = (block.text for block in BLOCKS if block.language == "console")
(FAILURE,) = (block.text for block in BLOCKS if block.language == "text")
SCRIPTS = {block.title: block.text for block in BLOCKS if block.language == "sh"}

PUBLISH = """#!{python}
import json, os, sys, urllib.request
with open("calls", "a") as calls:
    calls.write(os.path.basename(sys.argv[0]) + "\\n")
name, content = {words}
body = json.dumps({{"host": name, "value": content}}).encode()
urllib.request.urlopen("http://127.0.0.1:{management}/{path}", body)
"""
CERTBOT = 'f"_acme-challenge.{os.environ[\'CERTBOT_DOMAIN\']}.", os.environ["CERTBOT_VALIDATION"]'
DEHYDRATED = 'f"_acme-challenge.{sys.argv[2]}.", sys.argv[4]'
LEGO = "sys.argv[2:]"


@pytest.fixture
def ca(tmp_path: Path) -> Iterator[Pebble]:
    classic = {"description": "90 days", "validityPeriod": 90 * 24 * 3600}
    with pebble(tmp_path / "acme", free_port(), profiles={"classic": classic}) as found:
        yield found


def program(place: Place, name: str, words: str, names: Dns, path: str = "set-txt") -> None:
    """Write a hook as users have it: it publishes a record, or removes it."""
    file = place.directory / name
    file.write_text(PUBLISH.format(python=sys.executable, words=words, management=names.management, path=path))
    file.chmod(0o755)


def public(ca: Pebble, *command: str) -> str:
    """The spec of the page, with pebble in the place of a public CA."""
    text = PUBLIC.replace("https://acme-v02.api.letsencrypt.org/directory", ca.road.url)
    assert text != PUBLIC
    text = text.replace("terms_agreed", 'roots_file = "acme/https.crt"\nterms_agreed')
    return text.replace('["./dns.sh"]', json.dumps(command)) if command else text


def test_the_build_of_the_page(tmp_path: Path, ca: Pebble) -> None:
    place = Place(tmp_path)
    program(place, "dns.sh", LEGO, ca.names)
    place.write(public(ca))
    run = pgtls("build", cwd=tmp_path)
    assert (run.status, run.stderr) == (0, "")
    shown = [line.split() for line in SHOWN.splitlines()[1:]]
    assert [line.split() for line in run.stdout.splitlines()] == shown
    assert sorted(path.name for path in (tmp_path / "out/ca/system").iterdir()) == ["account.key"]
    ca.road.cut()
    end = certificate(place, "servers/primary/server.crt").not_after
    planned = place.build(now=end - 19 * DAY)
    assert waits(planned, "server.primary") == FAILURE.strip().replace("2027-04-01", f"{end:%Y-%m-%d}")


HOOKS = {
    "certbot.sh": (("authenticator.sh", CERTBOT, "set-txt"), ("cleanup.sh", CERTBOT, "clear-txt")),
    "dehydrated.sh": (("hook.sh", DEHYDRATED, "set-txt"),),
}


@pytest.mark.parametrize("script", HOOKS)
def test_hooks_of_other_clients(tmp_path: Path, ca: Pebble, script: str) -> None:
    place = Place(tmp_path)
    (tmp_path / script).write_text(SCRIPTS[script])
    for name, words, path in HOOKS[script]:
        program(place, name, words, ca.names, path)
    planned = place.build(public(ca, "sh", script), now=now())
    assert ("server.primary", "create") in steps(planned)
    called = [name for name, _, _ in HOOKS[script]]
    assert (tmp_path / "calls").read_text().split() == (called if len(called) == 2 else 2 * called)
    (tmp_path / HOOKS[script][0][0]).write_text("#!/bin/sh\necho no >&2; exit 3\n")
    planned = place.build(now=now(), asked=Asked(renew=frozenset({"server.primary"})))
    assert "exited with 3: no" in waits(planned, "server.primary")


# ---- step-ca ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[str]:
    """Run a step-ca with an ACME provisioner; its clients' hosts are this machine. Give the URL of its directory."""
    step, step_ca = (str(go_program(name)) for name in ("step", "step-ca"))
    (tmp_path / "www").mkdir()
    (tmp_path / "password").write_text("secret")
    surroundings = {"HOME": str(tmp_path), "STEPPATH": str(tmp_path / "step")}

    def run(*words: str) -> None:
        done = subprocess.run(
            (step, *words), cwd=tmp_path, env=ENVIRONMENT | surroundings, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"

    port = free_port()
    run(
        "ca", "init", "--deployment-type", "standalone", "--name", "Company", "--provisioner", "dba",
        "--dns", HERE, "--address", f"{HERE}:{port}", "--password-file", "password",
    )  # fmt: skip
    run("ca", "provisioner", "add", "acme", "--type", "ACME")
    (tmp_path / "root.crt").write_bytes((tmp_path / "step/certs/root_ca.crt").read_bytes())
    with ExitStack() as stack:
        web = stack.enter_context(web_server(tmp_path / "www"))
        names = stack.enter_context(dns(tmp_path))
        words = (
            step_ca, "--password-file", "password", "--resolver", f"{HERE}:{names.port}",
            "--acme-http-port", str(web), "--insecure", str(tmp_path / "step/config/ca.json"),
        )  # fmt: skip
        stack.enter_context(started(tmp_path / "step-ca.log", words, "Serving HTTPS", surroundings))
        yield f"https://{HERE}:{port}/acme/acme/directory"


def test_step_ca_signs_by_acme(tmp_path: Path, directory: str) -> None:
    place = Place(tmp_path)
    text = PRIVATE.replace("https://ca.example.com/acme/acme/directory", directory)
    planned = place.build(text, now=now())
    assert ("server.primary", "create") in steps(planned), (tmp_path / "step-ca.log").read_text()
    assert [one for one in texts(planned, "PGT568") if "clientAuth" in one], "as the page says"
    assert place.file("servers/primary/server.crt").read_text().count("BEGIN CERTIFICATE") == 2
    assert (tmp_path / "root.crt").read_text() in place.file("clients/app/root.crt").read_text()
    assert steps(place.build(now=now())) == []
    (tmp_path / "www").rmdir()
    planned = place.build(now=now(), asked=Asked(renew=frozenset({"server.primary"})))
    assert "cannot write into" in waits(planned, "server.primary")
