"""Stores that cannot be used, or that hold something else: a diagnostic, exit status 1, and nothing is lost."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from pgtls import Rejected, api
from pgtls.diagnostics.text import render
from support.building import NOW, SMALL
from support.stores import Builder, store

if TYPE_CHECKING:
    from pathlib import Path

CHANGED = SMALL.replace('"10.0.0.5"', '"10.0.0.6"')
UNREACHABLE = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}


@pytest.fixture
def builder(tmp_path: Path, url: str) -> Builder:
    """Return a builder whose spec has changed since its tree was built."""
    found = Builder(tmp_path / "one", url)
    found.build()
    found.write(CHANGED)
    return found


def refused(builder: Builder, text: str, *words: str, **environment: str) -> None:
    """See that commands which read and which write exit with 1 and this text, and change nothing."""
    before = {**store().objects(builder.url), "probe": b""}, builder.lock.read_bytes()
    for command in (words,) if words else (("plan",), ("build",)):
        run = builder.run(*command, **environment)
        assert (run.status, run.stderr) == (1, text)
    assert ({**store().objects(builder.url), "probe": b""}, builder.lock.read_bytes()) == before
    assert not list(builder.temporary.rglob("*.*"))


def completes(builder: Builder) -> None:
    """See that without the fault, the same build is done."""
    assert "~ server.main" in builder.build().stdout
    assert builder.build().stdout == "nothing to do\n"


def unusable(builder: Builder, reason: str, hint: str) -> str:
    return (
        f'pgtls: error[PGT513]: the store "{builder.url}" cannot be used: {reason}\n = hint: {hint}; '
        "nothing has changed\n"
    )


ADDRESS = "check the address, the network and the credentials in the environment, such as AWS_ENDPOINT_URL"


def test_a_store_that_does_not_answer(builder: Builder) -> None:
    refused(builder, unusable(builder, "HTTP error: error sending request", ADDRESS), **UNREACHABLE)
    completes(builder)


@pytest.mark.parametrize("address", ["http://nowhere:port", "http://", "nowhere", "http://[::1"])
def test_an_address_that_is_none(builder: Builder, address: str) -> None:
    message = "the variable AWS_ENDPOINT_URL does not hold the address of a store"
    text = f"pgtls: error[PGT513]: {message}\n = hint: write it as https://HOST or https://HOST:PORT\n"
    refused(builder, text, AWS_ENDPOINT_URL=address)
    completes(builder)


def test_a_bucket_that_is_missing(builder: Builder) -> None:
    missing = Builder(builder.directory / "other", "s3://no-such-bucket/prefix")
    reason, hint = (
        "NoSuchBucket: The specified bucket does not exist",
        "create the bucket, or name another one with --out",
    )
    for command in ("plan", "build"):
        run = missing.run(command)
        assert (run.status, run.stderr) == (1, unusable(missing, reason, hint))
    assert not missing.lock.exists()
    completes(builder)


def test_credentials_that_do_not_fit_are_shown_nowhere(builder: Builder) -> None:
    secret = "the-secret-of-somebody"
    with store().rights() as rights:
        for words in (("plan",), ("build", "--format", "json"), ("status",)):
            run = builder.run(*words, **{**rights, "AWS_SECRET_ACCESS_KEY": secret})
            said = run.stdout + run.stderr
            assert (run.status, "PGT513" in said, "SignatureDoesNotMatch" in said) == (1, True, True)
            assert not {secret, rights["AWS_ACCESS_KEY_ID"], "Signature="} & set(said.split())
            assert secret not in said
            assert rights["AWS_ACCESS_KEY_ID"] not in said
        run = builder.run("plan", **rights)
        assert (run.status, "AccessDenied" in run.stderr) == (1, True)
        assert "give these credentials the rights of a builder" in run.stderr
    completes(builder)


@pytest.mark.parametrize(
    ("wrong", "message", "hint"),
    [
        (
            "s3://key:secret@bucket/prefix",
            "the URL of the store holds more than a place",
            "credentials come from the environment, such as AWS_ACCESS_KEY_ID; a URL is in every log",
        ),
        (
            "s3://bucket/prefix?token=secret",
            "the URL of the store holds more than a place",
            "credentials come from the environment, such as AWS_ACCESS_KEY_ID; a URL is in every log",
        ),
        (
            "s3://",
            'the store "s3://" cannot be used: Generic URL error: Unable to recognise URL "s3://"',
            f"{ADDRESS}; nothing has changed",
        ),
        (
            "memory://here",
            '"memory://here" names no kind of store that pgtls knows',
            "write it as s3://BUCKET/PREFIX; gs://, az:// and abfs:// name other stores",
        ),
    ],
    ids=["with credentials", "with a token", "without a bucket", "of another kind"],
)
def test_a_url_that_names_no_store(builder: Builder, wrong: str, message: str, hint: str) -> None:
    refused(builder, f"pgtls: error[PGT513]: {message}\n = hint: {hint}\n", PGTLS_OUT=wrong)
    completes(builder)


CONDITIONS = (
    "two builders would overwrite each other: use a store that knows If-Match and If-None-Match, as S3, Google Cloud "
    "Storage and Azure do, or a local out directory on one machine"
)


def test_a_store_that_ignores_conditions(builder: Builder) -> None:
    text = f'pgtls: error[PGT514]: the store "{builder.url}" does not know conditional writes\n = hint: {CONDITIONS}\n'
    with store().faults(deaf=True):
        refused(builder, text, "build")
    completes(builder)


def test_a_store_without_conditions(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    url = f"file://{tmp_path}/plain"
    text = f'pgtls: error[PGT514]: the store "{url}" does not know conditional writes\n = hint: {CONDITIONS}\n'
    refused(builder, text, "build", PGTLS_OUT=url)
    assert {path.name for path in (tmp_path / "plain").iterdir()} == {"probe"}
    completes(builder)


def test_an_object_that_is_damaged_or_gone(builder: Builder) -> None:
    objects = store().objects(builder.url)
    pointer = json.loads(objects["pointer.json"])
    tree = f"trees/{pointer['recent'][0]}.json"
    state = f"state/{json.loads(objects[tree])['state']}.tar"
    blob = next(name for name in objects if name.startswith("entities/ca/root/"))
    hint = " = hint: restore this version of the object, or a backup of the whole prefix; nothing has changed\n"
    for name in (tree, state, blob):
        for content, why in {
            objects[name] + b" ": "its content does not have the digest in its name",
            b"": "its content does not have the digest in its name",
            None: "it is missing",
        }.items():
            if content is None:
                store().remove(builder.url, name)
            else:
                store().put(builder.url, name, content)
            refused(
                builder,
                f"{builder.url}/{name}: error[PGT515]: an object of the store is damaged: {why}\n{hint}",
            )
        store().put(builder.url, name, objects[name])
    for content in (b"", b"{", b"[]", b'{"pgtls_pointer": 1}', b'{"pgtls_pointer": 1, "number": 1, "recent": []}'):
        store().put(builder.url, "pointer.json", content)
        why = "it is not what a build writes"
        refused(builder, f"{builder.url}/pointer.json: error[PGT515]: an object of the store is damaged: {why}\n{hint}")
    store().put(builder.url, "pointer.json", objects["pointer.json"])
    completes(builder)


def test_a_pointer_of_a_newer_pgtls(builder: Builder) -> None:
    content = store().objects(builder.url)["pointer.json"]
    store().put(builder.url, "pointer.json", json.dumps({"pgtls_pointer": 2}).encode())
    refused(
        builder,
        f"{builder.url}/pointer.json: error[PGT516]: an object of the store is of version 2, and this pgtls reads "
        "version 1\n = hint: a newer pgtls built this tree: use that version; nothing has changed\n",
    )
    store().put(builder.url, "pointer.json", content)
    completes(builder)


def test_who_always_loses_the_race_gives_up(builder: Builder) -> None:
    text = (
        "pgtls: error[PGT517]: other builders were faster at each attempt in 0 seconds: the pointer of "
        f'"{builder.url}" changed\n = hint: nothing of this build is in the store: run it again, or give it more time '
        "with --lock-timeout\n"
    )
    before, lock = store().objects(builder.url), builder.lock.read_bytes()
    with store().faults(refuse=True):
        run = builder.run("build", "--lock-timeout", "0")
        assert (run.status, run.stderr) == (1, text)
    assert before.items() <= store().objects(builder.url).items()
    assert builder.lock.read_bytes() == lock
    completes(builder)


@pytest.mark.parametrize("obstacle", ["a file", "a link", "open to others"])
def test_a_directory_for_copies_that_is_not_private(builder: Builder, obstacle: str, tmp_path: Path) -> None:
    parent = tmp_path / "shared"
    parent.mkdir()
    path = parent / f"pgtls-{os.geteuid()}"
    if obstacle == "a file":
        path.write_text("")
    elif obstacle == "a link":
        path.symlink_to(builder.temporary)
    else:
        path.mkdir()
        path.chmod(0o755)
    text = (
        f'pgtls: error[PGT519]: "{path}" is not a directory of this user alone, and the copy of a tree holds private '
        "keys\n = hint: find out who created it and remove it, or let TMPDIR name a directory of your own\n"
    )
    refused(builder, text, TMPDIR=str(parent))
    completes(builder)


def test_without_the_library_only_stores_are_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "obstore"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "pgtls.toml").write_text(SMALL)
    spec = api.load(tmp_path / "pgtls.toml", now=NOW)
    with pytest.raises(Rejected) as raised:
        api.build(spec, out="s3://bucket/prefix")
    assert render(raised.value.diagnostics) == (
        "pgtls: error[PGT512]: an out directory in a store needs obstore\n"
        " = hint: install it where pgtls is installed: pip install obstore, or pipx inject pgtls obstore\n"
    )
    assert not (tmp_path / "pgtls.lock").exists()
    assert api.build(spec, out=tmp_path / "out").steps


def test_make_cannot_follow_a_store(builder: Builder) -> None:
    run = builder.run("build", "--depfile", "depfile")
    assert (run.status, "make cannot follow an out directory in a store" in run.stderr) == (64, True)
