"""An out directory in a store: builds from several machines, and commands that read."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from pgtls.state import lock as locks
from support.building import SMALL
from support.stores import Builder, store, tree

if TYPE_CHECKING:
    from pathlib import Path

MORE = SMALL.replace("[user.app]", '[user.etl]\nca = "clients"\n[user.app]').replace('["app"]', '["app", "etl"]')


def test_two_machines_build_one_tree(tmp_path: Path, url: str) -> None:
    one, other = Builder(tmp_path / "one", url), Builder(tmp_path / "other", url)
    built = one.build()
    assert f"built {url}" in built.stdout
    assert f"run pgtls fetch . server.main --out {url} on db.example.com" in built.stdout
    first = tree(url)
    assert one.lock.read_bytes() == first[".pgtls/lock"]

    assert other.build().stdout == "nothing to do\n"
    assert tree(url) == first, "nothing to do, and nothing is pushed"
    assert other.lock.read_bytes() == one.lock.read_bytes(), "whoever builds gets the lock"

    other.write(MORE)
    other.lock.unlink()
    assert "+ user.etl" in other.build().stdout
    second = tree(url)
    assert second["ca/clients/ca.key"] == first["ca/clients/ca.key"]
    assert second["clients/app/postgresql.key"] == first["clients/app/postgresql.key"]
    assert set(locks.read(one.lock).by_serial) < set(locks.read(other.lock).by_serial)

    # The lock of the first checkout lacks a line by now, and its spec a user.
    plan = one.run("plan")
    assert (plan.status, "- user.etl" in plan.stdout) == (0, True), plan.stderr
    assert tree(url) == second, "a plan writes nothing"
    assert "- user.etl" in one.build().stdout
    assert "clients/etl/postgresql.key" not in tree(url)
    assert set(locks.read(other.lock).by_serial) <= set(locks.read(one.lock).by_serial)


def test_commands_that_read_answer_from_the_tree_that_the_pointer_names(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "one", url)
    builder.build()
    builder.build("--renew", "user.app")
    before = store().objects(url)
    newest = locks.read(builder.lock).latest["user.app"].serial
    status = builder.run("status", "--format", "json")
    assert newest in {item["serial"] for item in status.json["items"] if item["entity"] == "user.app"}
    assert builder.run("build", "--check").status == 0
    builder.write(MORE)
    assert builder.run("build", "--check").status == 2
    steps = builder.run("plan", "--format", "json").json["steps"]
    assert ("user.etl", "create") in {(step["entity"], step["action"]) for step in steps}
    assert store().objects(url) == before


@pytest.mark.parametrize("words", [("plan",), ("status",), ("build",), ("verify",), ("confirm", "all", "--reason=x")])
def test_messages_name_the_store_and_no_copy_of_it(tmp_path: Path, url: str, words: tuple[str, ...]) -> None:
    builder = Builder(tmp_path / "one", store().url())
    builder.build()
    run = builder.run(*words, PGTLS_OUT=url)
    assert f'"{url}"' in run.stderr
    assert str(builder.temporary) not in run.stdout + run.stderr
    assert builder.run("plan").stderr == "", "its own store has what it needs"


def test_terraform_reads_one_snapshot(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "one", url)
    builder.build()
    run = builder.run("terraform", stdin="{}")
    assert run.status == 0, run.stderr
    assert (run.json["status"], run.json["user.app.path"]) == ("ok", f"{url}/clients/app/postgresql.crt")
    builder.write(MORE)
    assert builder.run("terraform", stdin="{}").json["status"] == "changes"


def test_an_export_reads_the_tree_in_the_store(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "one", url)
    builder.build()
    run = builder.run("export", "kubernetes", "user.app", "--to", "k8s")
    assert run.status == 0, run.stderr
    written = b"".join(path.read_bytes() for path in (builder.directory / "k8s").rglob("*.yaml"))
    assert base64.b64encode(tree(url)["clients/app/postgresql.key"]) in written
    empty = builder.run("export", "kubernetes", "user.app", "--to", "k8s", PGTLS_OUT=f"{url}-of-another")
    assert (empty.status, str(builder.temporary) in empty.stderr) == (1, False)


def test_evidence_of_one_machine_is_known_to_the_other(tmp_path: Path, url: str) -> None:
    one, other = Builder(tmp_path / "one", url), Builder(tmp_path / "other", url)
    one.build()
    assert b"server.main" not in tree(url).get(".pgtls/deployed", b"")
    run = one.run("confirm", "server.main", "--reason", "change 4711")
    assert run.status == 0, run.stderr
    assert "change 4711" in (one.directory / "pgtls.deployed").read_text()
    assert b"change 4711" in tree(url)[".pgtls/deployed"]
    assert other.build().stdout == "nothing to do\n"
    assert "change 4711" in (other.directory / "pgtls.deployed").read_text()


def test_evidence_of_one_machine_counts_for_the_other(tmp_path: Path, url: str) -> None:
    """Each copy of the tree has a key of its own, and the store has lines without a seal."""
    one, other = Builder(tmp_path / "one", url), Builder(tmp_path / "other", url)
    spec = SMALL.replace('ca = "root"', 'ca = "self-signed"')
    for builder in (one, other):
        builder.write(spec)
    one.build()
    one.build("--renew", "server.main")
    assert one.run("confirm", "all", "--reason", "change 4711").status == 0
    kept = tree(url)
    assert "servers/main/next.key" in kept
    assert b"seal" not in kept[".pgtls/deployed"]
    assert "~ server.main" in other.build().stdout
    assert "servers/main/next.key" not in tree(url), "it is served"
    assert other.build().stdout == "nothing to do\n"


def test_lines_that_a_merge_brought_cause_no_revocation_by_themselves(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "one", url)
    builder.build()
    kept = tree(url)
    (line,) = [text for text in builder.lock.read_text().splitlines() if '"entity": "user.app"' in text]
    fields = json.loads(line)
    revoked = {key: fields[key] for key in ("ca", "entity", "serial")}
    extra = {**revoked, "event": "revoked", "reason": "superseded", "date": "2026-01-01T00:00:00Z"}
    builder.lock.write_text(builder.lock.read_text() + json.dumps(extra) + "\n")
    run = builder.run("build")
    assert run.status == 1, run.stdout
    assert "--allow-revoke" in run.stderr
    assert tree(url) == kept


def test_another_spec_cannot_build_into_the_store(tmp_path: Path, url: str) -> None:
    Builder(tmp_path / "one", url).build()
    kept = store().objects(url)
    stranger = Builder(tmp_path / "other", store().url())
    stranger.build()
    own = stranger.lock.read_bytes()
    run = stranger.run("build", PGTLS_OUT=url)
    assert run.status == 1
    assert "error[PGT524]: the store has the lock " in run.stderr
    assert (store().objects(url) | {"probe": b""}, stranger.lock.read_bytes()) == (kept | {"probe": b""}, own)
    assert stranger.build().stdout == "nothing to do\n", "its own store still is its own"


def test_what_a_build_replaces_goes_after_a_week_and_no_earlier(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "one", url)
    builder.build()
    builder.write(MORE)
    builder.build()
    stray = f"entities/clients/app/{'0' * 32}-{'0' * 64}.tar"
    store().put(url, stray, b"of a builder that was killed")
    named = {name for name in store().objects(url) if name.startswith("entities/clients/etl/")}
    store().age(url, days=6)
    builder.build("--renew", "user.app")
    assert stray in store().objects(url)
    store().age(url, days=2)
    builder.build("--renew", "user.app")
    after = store().objects(url)
    assert stray not in after
    assert named <= after.keys(), "what the pointer names stays, however old it is"
    assert {name for name in after if name.endswith("/entity.json")} >= {"entities/clients/app/entity.json"}
    assert builder.build().stdout == "nothing to do\n"


def test_an_older_tree_that_is_restored_loses_no_certificate_that_the_lock_in_git_lists(
    tmp_path: Path, url: str
) -> None:
    builder = Builder(tmp_path / "one", url)
    builder.build()
    old = store().objects(url)
    builder.build("--renew", "user.app")
    known = locks.read(builder.lock)
    for name, content in old.items():
        store().put(url, name, content)
    assert "warning[PGT558]: the lock lists later certificates of user.app" in builder.build().stderr
    after = locks.parse(tree(url)[".pgtls/lock"], "lock")
    assert set(known.by_serial) == set(after.by_serial), "no certificate is forgotten"
    builder.build("--renew", "user.app")
    run = builder.build()
    assert (run.stdout, run.stderr) == ("nothing to do\n", "")
    assert builder.run("fetch", tmp_path / "here", "user.app").status == 0
    key = "clients/app/postgresql.key"
    assert (tmp_path / "here" / key).read_bytes() == tree(url)[key]


def test_what_tar_unpacks_is_the_out_directory(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "one", url)
    builder.build()
    out = builder.directory / "out"
    out.mkdir()
    objects = store().objects(url)
    for name in [name for name in objects if name.endswith(".tar")]:
        (tmp_path / "blob.tar").write_bytes(objects[name])
        subprocess.run(["tar", "-xpf", tmp_path / "blob.tar", "-C", out], check=True)
    run = builder.run("build", "--format", "json", PGTLS_OUT="")
    assert run.status == 0, run.stderr
    assert {step["reason"].partition(": ")[2] for step in run.json["steps"]} == {"its mode was changed"}
    assert builder.run("build", PGTLS_OUT="").stdout == "nothing to do\n"
    assert (out / "clients" / "app").stat().st_mode & 0o777 == 0o700
    other = Builder(tmp_path / "other", store().url())
    other.lock.write_bytes(builder.lock.read_bytes())
    keys = [f"--ca-key={name}={out}/ca/{name}/ca.key" for name in ("root", "clients")]
    assert other.run("build").status == 1, "the lock is there, and the tree is not"
    other.build("--new-out", *keys)
    assert tree(other.url)["ca/root/ca.key"] == (out / "ca/root/ca.key").read_bytes()
