"""A tree in a store whose keys are encrypted: the store never has one in the clear, and `fetch` opens them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support import age
from support.age import ARMOR
from support.building import SMALL
from support.stores import Builder, store, tree

if TYPE_CHECKING:
    from pathlib import Path


def test_a_store_never_has_a_key_in_the_clear(tmp_path: Path, url: str) -> None:
    alice = age.keygen(tmp_path / "key.txt")
    state = f'[state]\nrecipients = ["{alice.recipient}"]\nidentity = {{ file = "{alice.file}" }}\n'
    builder = Builder(tmp_path / "builder", url, SMALL.replace("version = 1\n", f"version = 1\n{state}"))
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
