"""Whatever dies whenever, the pointer names a complete tree; no serial is used twice, and no key is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pgtls import api
from pgtls.certificates.asked import Asked
from pgtls.state import lock as locks
from support import killing
from support.building import NOW, SMALL
from support.servers import PATIENCE
from support.stores import Builder, announce, files_of, store, tree

if TYPE_CHECKING:
    from pgtls.state.lock import Lock

BUILDERS = int(os.environ.get("PGTLS_TEST_BUILDERS", "3"))
"""How many builders race; 16 takes some minutes."""
ROUNDS = 2
"""How often each of them builds."""

NAMES = [f"u{number}" for number in range(BUILDERS)]
SHARED = SMALL + "".join(f'[user.{name}]\nca = "clients"\n' for name in NAMES)
SHARED = SHARED.replace('users = ["app"]', f"users = {json.dumps(['app', *NAMES])}")


def judge(url: str) -> list[Lock]:
    """See that every pointer there ever was names a complete tree of one build, and return the lock of each."""
    objects, found, authorities = store().objects(url), [], set()
    pointers = store().pointers(url)
    assert pointers
    for pointer, names in pointers:
        named = json.loads(objects[f"trees/{pointer['recent'][0]}.json"])
        blobs = {f"entities/{where}/{name}.tar" for where, name in named["packs"].items()}
        assert {f"trees/{pointer['recent'][0]}.json", f"state/{named['state']}.tar", *blobs} <= names
        files = files_of(pointer, objects)
        listed = json.loads(files["manifest.json"])["files"]
        assert listed.keys() == {
            path for path in files if path not in ("manifest.json", ".gitignore") and ".pgtls/" not in path
        }
        found.append(locks.parse(files[".pgtls/lock"], "lock"))
        pairs_match(files, found[-1])
        authorities |= {(path, content) for path, content in files.items() if path.endswith("ca.key")}
    assert len(authorities) == 2, "a CA has had one key, at all times"
    return found


def pairs_match(files: dict[str, bytes], lock: Lock) -> None:
    """See that each key is that of the certificate beside it, and that the lock lists the certificate."""
    keys = [path for path in files if path.endswith(".key")]
    assert keys
    listed = {line.certificate.serial for line in lock.issued}
    for path in keys:
        certificate = x509.load_pem_x509_certificates(files[path.removesuffix("key") + "crt"])[0]
        assert certificate.public_key() == load_pem_private_key(files[path], None).public_key(), path
        assert f"{certificate.serial_number:x}" in listed, path


def nothing_is_lost(found: list[Lock], *own: Path) -> None:
    """See that locks only grow, that a serial is one certificate's, and that each checkout's lines are in the last."""
    for before, after in pairwise(found):
        assert set(before.by_serial) <= set(after.by_serial)
        assert set(before.revocations) <= set(after.revocations)
    certificates = {(line.ca, line.serial): line.certificate.sha256 for lock in found for line in lock.issued}
    for lock in found:
        for line in lock.issued:
            assert certificates[line.ca, line.serial] == line.certificate.sha256
    for path in own:
        assert set(locks.read(path).by_serial) <= set(found[-1].by_serial), path


def built(builder: Builder, *renew: str, kill_at: int | None = None) -> killing.Outcome:
    """Build in a forked child, which dies at the write of this number: of files, or to the store."""

    def build() -> None:
        announce()
        os.environ.update(builder.environment)
        tempfile.tempdir = str(builder.temporary)
        spec = api.load(builder.directory / "pgtls.toml", now=NOW)
        api.build(spec, out=builder.url, asked=Asked(frozenset(renew)))

    return killing.in_child(build, kill_at=kill_at)


def test_a_builder_that_is_killed_at_any_write_leaves_a_complete_tree(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "one", url)
    assert built(builder).status == 0
    log = built(builder, "user.app").log
    writes = [number for number, line in enumerate(log, 1) if "store.write" in line and "probe" not in line]
    assert len(writes) == 12, "the bundle, the state, the tree, the pointer, the document of the bundle, the pointer"
    outcomes = set()
    for number in [*range(1, writes[0], 20), *writes]:
        before = len(store().pointers(url))
        assert built(builder, "user.app", kill_at=number).killed
        outcomes.add(len(store().pointers(url)) - before)
        assert built(builder).status == 0
        assert not list(builder.temporary.rglob("*.*")), "the next build removes the copy of the one that was killed"
        objects = store().objects(url)
        pointer, head = (json.loads(objects[name]) for name in ("pointer.json", "entities/clients/app/entity.json"))
        packs = json.loads(objects[f"trees/{pointer['recent'][0]}.json"])["packs"]
        assert (pointer["unsettled"], head["pack"]) == ([], packs["clients/app"]), "a fetch gets what the pointer names"
        assert builder.lock.read_bytes() == tree(url)[".pgtls/lock"]
    assert outcomes == {0, 1, 2}, "undone; done but for the document of the bundle; done"
    nothing_is_lost(judge(url), builder.lock)


def test_a_lost_answer_and_a_stale_read_do_not_delete_what_the_pointer_names(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "one", url)
    builder.build()
    before = len(store().pointers(url))
    builder.write(SMALL.replace('"10.0.0.5"', '"10.0.0.6"'))
    with store().faults(lost=1, stale=2):  # the swap is done and answered with an error; then the old pointer is read
        run = builder.run("build")
    assert run.status == 0, run.stderr
    assert len(store().pointers(url)) > before, "the swap whose answer was lost"
    nothing_is_lost(judge(url), builder.lock)
    assert builder.build().stdout == "nothing to do\n"


def race(builders: list[Builder], rounds: int) -> None:
    """Let each builder renew a user of its own, killed at random but for the last round; all begin at once."""
    words = [sys.executable, str(Path(__file__).with_name("racer.py")), str(rounds)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    running = [
        subprocess.Popen(
            [*words, name], env={**environment, **one.environment}, cwd=one.directory, stderr=subprocess.PIPE
        )
        for name, one in zip(NAMES, builders, strict=True)
    ]
    ended = [(process.communicate(timeout=20 * PATIENCE)[1].decode(), process.returncode) for process in running]
    assert [status for _, status in ended] == [0] * len(builders), ended


@pytest.mark.parametrize(
    "faults", [{}, {"slow": 0.2, "stale": 5, "lost": 3}], ids=["no fault", "slow links, stale reads and lost answers"]
)
def test_builders_race_and_are_killed(tmp_path: Path, url: str, faults: dict[str, Any]) -> None:
    builders = [Builder(tmp_path / name, url, SHARED) for name in NAMES]
    with store().faults(**faults):
        race(builders, ROUNDS)
    found = judge(url)
    nothing_is_lost(found, *(one.lock for one in builders))
    last = found[-1]
    assert all(sum(line.entity == f"user.{name}" for line in last.issued) > 1 for name in NAMES), (
        "each has renewed its own"
    )
    assert builders[0].build().stdout == "nothing to do\n"
    assert {f"user.{name}" for name in NAMES} <= {line.entity for line in locks.read(builders[0].lock).issued}
