"""A tree in a store whose keys are encrypted: the store never has one in the clear, and `fetch` opens them."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from pgtls.store.documents import blob_name, pack_path
from pgtls.store.packs import Member, pack
from support import age
from support.age import ARMOR
from support.building import SMALL
from support.stores import Builder, store, tree

if TYPE_CHECKING:
    from pathlib import Path


def test_a_store_never_has_a_key_in_the_clear(tmp_path: Path, url: str) -> None:
    alice = age.keygen(tmp_path / "key.txt")
    builder = Builder(tmp_path / "builder", url, SMALL.replace("version = 1\n", f"version = 1\n{recipients(alice)}"))
    run = builder.build()
    assert f"pgtls fetch . server.main --out {url} --identity FILE" in run.stdout
    builder.build("--renew", "user.app")
    blobs = store().objects(url)
    assert not [path for path, blob in blobs.items() if b"PRIVATE KEY-----" in blob]
    keys = {path: content for path, content in tree(url).items() if path.endswith(".key")}
    assert len(keys) == 4
    assert all(content.startswith(ARMOR) and alice.age(content) for content in keys.values())
    here = tmp_path / "here"
    run = builder.run("fetch", here, "user.app")
    assert (run.status, "PGT652" in run.stderr) == (1, True)
    assert not list(here.rglob("*.key"))
    run = builder.run("fetch", here, "user.app", "--identity", str(alice.file))
    assert run.status == 0, run.stderr
    assert (here / "clients/app/postgresql.key").read_bytes() == alice.age(keys["clients/app/postgresql.key"])


@pytest.mark.parametrize("path", ["clients/app/README.md", "clients/app/postgresql.key"])
def test_who_can_write_to_a_store_cannot_have_any_key_opened(tmp_path: Path, url: str, path: str) -> None:
    alice = age.keygen(tmp_path / "key.txt")
    builder = Builder(tmp_path / "builder", url, SMALL.replace("version = 1\n", f"version = 1\n{recipients(alice)}"))
    builder.build()
    before = tree(url)
    files = {name: content for name, content in before.items() if name.startswith("clients/app/")}
    files[path] = before["ca/clients/ca.key"]
    name = "entities/clients/app/entity.json"
    head = json.loads(store().objects(url)[name])
    head["pack"] = blob_name(
        "0" * 32, packed := pack({file: Member(content, 0o644, 0) for file, content in files.items()})
    )
    head["files"][path].update(sha256=sha256(files[path]).hexdigest(), size=len(files[path]), kind="key", mode=0o600)
    store().put(url, pack_path("clients/app", head["pack"]), packed)
    store().put(url, name, json.dumps(head).encode())
    here = tmp_path / "here"
    run = builder.run("fetch", here, "user.app", "--identity", str(alice.file))
    assert (run.status, f'PGT518]: no build wrote "{path}"' in run.stderr) == (1, True), run.stderr
    assert not here.exists()


def recipients(alice: age.Identity) -> str:
    return f'[state]\nrecipients = ["{alice.recipient}"]\nidentity = {{ file = "{alice.file}" }}\n'
