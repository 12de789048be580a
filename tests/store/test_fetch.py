"""`pgtls fetch`: one entity's directory, on a machine that may read its prefix alone."""

from __future__ import annotations

import io
import json
import stat
import tarfile
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from support import killing
from support.building import NOW, SMALL
from support.stores import Builder, store, tree

if TYPE_CHECKING:
    from pathlib import Path


def prefix_of(url: str, directory: str) -> dict[str, Any]:
    """The right to read one prefix: what the guide gives to a machine."""
    key = f"{url.removeprefix('s3://')}/entities/{directory}/*"
    return {"Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{key}"}


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.relative_to(directory).parts[0] in ("servers", "clients", "ca")
    }


def test_a_machine_with_the_right_to_its_prefix_gets_its_files_and_no_others(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "builder", url)
    builder.build()
    built, here = tree(url), tmp_path / "here"
    with store().rights(prefix_of(url, "servers/main")) as rights:
        run = builder.run("fetch", here, "server.main", **rights)
        assert (run.status, run.stdout) == (0, f"fetched {here}/servers/main\n"), run.stderr
        assert files(here) == {path: text for path, text in built.items() if path.startswith("servers/main/")}
        kept = files(here)
        for other in ("user.app", "server.maintenance"):
            run = builder.run("fetch", here, other, **rights)
            assert run.status == 1
            assert run.stderr.startswith(f'pgtls: error[PGT513]: the store "{url}" cannot be used: AccessDenied: ')
        assert builder.run("plan", **rights).status == 1, "the right to a prefix is not the right to the tree"
        assert files(here) == kept
    with store().rights(prefix_of(url, "clients/app")) as rights:
        assert builder.run("fetch", tmp_path / "there", "user.app", **rights).status == 0
        run = builder.run("fetch", tmp_path / "there", "user.app", "server.main", **rights)
        assert (run.status, "AccessDenied" in run.stderr) == (1, True)
    assert files(tmp_path / "there").keys() == {path for path in built if path.startswith("clients/app/")}


def test_keys_are_private_whatever_the_umask_and_a_second_fetch_changes_nothing(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "builder", url)
    builder.build()
    here = tmp_path / "here"
    assert builder.run("fetch", here, "user.app", "server.main").status == 0
    modes = {str(path.relative_to(here)): stat.S_IMODE(path.stat().st_mode) for path in here.rglob("*")}
    assert (modes["clients/app"], modes["clients/app/postgresql.key"], modes["clients/app/root.crt"]) == (
        0o700,
        0o600,
        0o644,
    )
    times = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    run = builder.run("fetch", here, "user.app", "server.main", "--format", "json")
    assert [one["changed"] for one in run.json["fetched"]] == [[], []]
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*")} == times

    (here / "clients/app/postgresql.key").chmod(0o644)
    (here / "clients/app/notes").write_text("mine")
    (here / "clients/app/root.crt").unlink()
    run = builder.run("fetch", here, "user.app", "--format", "json")
    assert run.json["fetched"][0]["changed"] == ["clients/app/postgresql.key", "clients/app/root.crt"]
    assert stat.S_IMODE((here / "clients/app/postgresql.key").stat().st_mode) == 0o600
    assert (here / "clients/app/notes").read_text() == "mine"


def test_a_renewed_certificate_comes_with_its_key_and_a_file_that_is_gone_goes(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "builder", url, SMALL.replace("[user.app]", '[user.app]\nbundle = "zip"'))
    builder.build()
    here = tmp_path / "here"
    assert builder.run("fetch", here, "user.app").status == 0
    before = files(here)
    assert "clients/app/app.zip" in before
    builder.write(SMALL)
    builder.build("--renew", "user.app")
    assert builder.run("fetch", here, "user.app").status == 0
    after = files(here)
    assert "clients/app/app.zip" not in after
    assert after == {path: text for path, text in tree(url).items() if path.startswith("clients/app/")}
    assert after["clients/app/postgresql.key"] != before["clients/app/postgresql.key"]


def test_a_fetch_that_is_killed_at_any_write_is_done_or_undone(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "builder", url)
    builder.build()
    fetched, environment = tmp_path / "fetched", {**builder.environment}
    assert builder.run("fetch", fetched, "user.app").status == 0
    old = files(fetched)
    builder.build("--renew", "user.app")
    new = {path: text for path, text in tree(url).items() if path.startswith("clients/app/")}
    assert new != old

    def fetch(directory: Path) -> None:
        import os

        from pgtls import api

        os.environ.update(environment)
        api.fetch(directory, "user.app", store=url, now=NOW)

    total = killing.in_child(partial(fetch, copied(fetched, tmp_path / "whole"))).writes
    assert total is not None
    found = set()
    for number in range(1, total + 1, 2):
        here = copied(fetched, tmp_path / f"killed-{number}")
        assert killing.in_child(partial(fetch, here), kill_at=number).killed
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in here.rglob("*.key"))
        pending = (here / ".pgtls" / "commit.json").exists()
        found.add("decided" if pending else "undone" if files(here) == old else "done")
        assert pending or files(here) in (old, new)
        assert killing.in_child(partial(fetch, here)).status == 0
        assert files(here) == new
        assert not (here / ".pgtls" / "staging").exists()
    assert found >= {"undone", "decided"}


def copied(directory: Path, other: Path) -> Path:
    import shutil

    return shutil.copytree(directory, other)


def test_what_is_not_there_cannot_be_fetched(tmp_path: Path, url: str) -> None:
    builder, here = Builder(tmp_path / "builder", url), tmp_path / "here"
    builder.build()
    run = builder.run("fetch", here, "server.man")
    assert (run.status, run.stderr) == (
        1,
        (
            f'pgtls: error[PGT518]: the store "{url}" has no server.man\n'
            " = hint: name servers and users that have files, as server.NAME and user.NAME; the builder pushes them\n"
        ),
    )
    assert not here.exists()
    assert builder.run("fetch", here, "user.app").status == 0
    kept = files(here)
    builder.write(SMALL.replace("[user.app]", "[user.etl]").replace('["app"]', '["etl"]'))
    builder.build()
    run = builder.run("fetch", here, "user.app")
    assert (run.status, run.stderr) == (
        1,
        (
            f'pgtls: error[PGT518]: the last build removed user.app from "{url}"\n'
            " = hint: it is no longer in the spec: what was fetched stays where it is until you remove it\n"
        ),
    )
    assert files(here) == kept
    assert builder.run("fetch", here, "user.etl").status == 0, "the other entity is there"
    assert builder.run("fetch", here, "ca.clients").status == 64
    assert builder.run("fetch", here, "user.etl", PGTLS_OUT="").status == 64


def test_only_a_directory_that_was_fetched_from_this_store_is_written(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "builder", url)
    builder.build()
    local = builder.run("build", PGTLS_OUT="out", PGTLS_LOCK="other.lock")
    assert local.status == 0, local.stderr
    kept = files(builder.directory / "out")
    run = builder.run("fetch", "out", "user.app")
    assert (run.status, "error[PGT524]" in run.stderr) == (1, True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    run = builder.run("fetch", tmp_path / "full", "user.app")
    assert (run.status, "error[PGT520]" in run.stderr) == (1, True)
    assert files(builder.directory / "out") == kept


def test_a_store_that_goes_back_to_an_earlier_build_brings_no_earlier_files_back(tmp_path: Path, url: str) -> None:
    builder, here = Builder(tmp_path / "builder", url), tmp_path / "here"
    builder.build()
    assert builder.run("fetch", here, "user.app").status == 0
    earlier = store().objects(url)
    builder.build("--renew", "user.app")
    assert builder.run("fetch", here, "user.app").status == 0
    kept = files(here)
    later = store().objects(url)
    for path, content in earlier.items():
        store().put(url, path, content)
    run = builder.run("fetch", here, "user.app")
    assert (run.status, f'pgtls: error[PGT529]: the store "{url}" has user.app of build 1,' in run.stderr) == (1, True)
    assert files(here) == kept
    assert builder.run("fetch", tmp_path / "new", "user.app").status == 0, "who fetches for the first time cannot tell"
    for path, content in later.items():
        store().put(url, path, content)
    assert builder.run("fetch", here, "user.app").status == 0


def sparse(content: bytes) -> bytes:
    """Return an archive with a member of a terabyte that holds nothing (GNU tar's sparse format 1.0)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as given, tarfile.open(fileobj=file, mode="w") as made:
        for member in given:
            if member.name.endswith("root.crt"):
                size = str(1 << 40)
                member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": size}
                member.pax_headers["GNU.sparse.name"] = member.name
                member.size = 512
                made.addfile(member, io.BytesIO(f"1\n{size}\n0\n".encode().ljust(512, b"\0")))
            else:
                made.addfile(member, given.extractfile(member))
    return file.getvalue()


def test_an_archive_with_holes_takes_no_memory(tmp_path: Path, url: str) -> None:
    builder, here = Builder(tmp_path / "builder", url), tmp_path / "here"
    builder.build()
    document = "entities/clients/app/entity.json"
    head = json.loads(store().objects(url)[document])
    archive = sparse(store().objects(url)[f"entities/clients/app/{head['pack']}.tar"])
    name = f"{'0' * 32}-{sha256(archive).hexdigest()}"
    store().put(url, f"entities/clients/app/{name}.tar", archive)
    store().put(url, document, json.dumps({**head, "pack": name}).encode())
    run = builder.run("fetch", here, "user.app")
    assert (run.status, "it holds something other than files" in run.stderr) == (1, True), run.stderr
    assert not files(here)


@pytest.mark.parametrize(
    "damage", ["content", "missing", "document", "another entity's", "set-uid", "for all to write"]
)
def test_a_damaged_blob_is_not_written(tmp_path: Path, url: str, damage: str) -> None:
    builder, here = Builder(tmp_path / "builder", url), tmp_path / "here"
    builder.build()
    assert builder.run("fetch", here, "user.app").status == 0
    kept = files(here)
    builder.build("--renew", "user.app")
    objects = store().objects(url)
    head = json.loads(objects["entities/clients/app/entity.json"])
    blob = f"entities/clients/app/{head['pack']}.tar"
    if damage == "content":
        store().put(url, blob, objects[blob].replace(b"BEGIN", b"BEG1N"))
    elif damage == "missing":
        store().remove(url, blob)
    elif damage == "document":
        store().put(url, "entities/clients/app/entity.json", b'{"pgtls_entity": 1}')
    elif damage in ("set-uid", "for all to write"):
        more = stat.S_ISUID if damage == "set-uid" else stat.S_IWOTH
        files_ = {path: {**entry, "mode": entry["mode"] | more} for path, entry in head["files"].items()}
        store().put(url, "entities/clients/app/entity.json", json.dumps({**head, "files": files_}).encode())
    else:
        files_ = {path.replace("clients/app", "clients/../../app"): entry for path, entry in head["files"].items()}
        store().put(url, "entities/clients/app/entity.json", json.dumps({**head, "files": files_}).encode())
    run = builder.run("fetch", here, "user.app")
    assert (run.status, "error[PGT515]" in run.stderr) == (1, True), run.stderr
    assert files(here) == kept
