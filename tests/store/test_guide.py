"""What the guide several-builders.md says of rights and of the objects in a store is so."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from support.pgtls import ROOT
from support.stores import Builder, store
from support.walking import blocks

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs/guides/several-builders.md").read_text(encoding="utf-8")
MACHINE, BUILDER = (block.text for block in blocks(PAGE) if block.language == "json")


def statements(policy: str, url: str) -> list[dict[str, object]]:
    """Return the statements of a policy of the guide for another prefix of the bucket."""
    found = json.loads(policy.replace("shared/db", url.removeprefix("s3://")))
    return [{name: value for name, value in one.items() if name != "Effect"} for one in found["Statement"]]


def test_the_rights_that_the_guide_gives_are_enough_and_not_too_much(tmp_path: Path, url: str) -> None:
    builder = Builder(tmp_path / "one", url)
    with store().rights(*statements(BUILDER, url)) as rights:
        for words in (("build",), ("build", "--renew", "user.app")):
            run = builder.run(*words, **rights)
            assert run.status == 0, run.stderr
        elsewhere = builder.run("build", **{**rights, "PGTLS_OUT": f"{url}2"})
        assert (elsewhere.status, "AccessDenied" in elsewhere.stderr) == (1, True)
    with store().rights({**statements(BUILDER, url)[0], "Action": ["s3:GetObject", "s3:PutObject"]}) as rights:
        assert builder.run("build", "--renew", "user.app", **rights).status == 0, "only deleting needs more"
    with store().rights(*statements(MACHINE, url)) as rights:
        assert builder.run("fetch", tmp_path / "here", "server.main", **rights).status == 0
        for words in (("fetch", str(tmp_path / "there"), "user.app"), ("status",), ("build",)):
            run = builder.run(*words, **rights)
            assert (run.status, "AccessDenied" in run.stderr) == (1, True)


def test_the_store_holds_the_objects_that_the_guide_lists(tmp_path: Path, url: str) -> None:
    Builder(tmp_path / "one", url).build()
    (listed,) = (block.text for block in blocks(PAGE) if block.text.startswith("pointer.json"))
    patterns = [
        re.escape(line.split()[0]).replace("NAME", "[0-9a-f]{32}-[0-9a-f]{64}").replace("…", ".+")
        for line in listed.splitlines()
    ]
    names = store().objects(url).keys()
    for pattern in patterns:
        assert any(re.fullmatch(pattern, name) for name in names), pattern
    assert [name for name in names if not any(re.fullmatch(pattern, name) for pattern in patterns)] == []
