"""Pages of the documentation show what happens: each spec passes, each command runs (see support.walking).

``PGTLS_TEST_GOLDEN=write`` writes what the commands print into the pages; read what it wrote.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from difflib import unified_diff
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt

from support import clients, system
from support.pgtls import ROOT, SCENARIOS, compiled, for_postgres, pgtls
from support.stores import store
from support.walking import agrees, blocks, edited, joined, shown, walked

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

MADE_FROM_THE_CODE = {"docs/api.md", "docs/spec.md", "docs/diagnostics.md", "docs/commands.md"}
PAGES = sorted(
    {str(page.relative_to(ROOT)) for part in ("*.md", "docs/**/*.md", "examples/**/*.md") for page in ROOT.glob(part)}
    - MADE_FROM_THE_CODE
)
WITH_A_STORE = {"docs/guides/several-builders.md"}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_what_happens(page: str, tmp_path: Path) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    here = tmp_path / "here"
    if page.startswith("docs/scenarios/"):
        shutil.copytree(path.parent, here)
    else:
        here.mkdir()
    seen = walked(text, here, store().environment if page in WITH_A_STORE else None)
    if seen != text and os.environ.get("PGTLS_TEST_GOLDEN") == "write":
        path.write_text(seen, encoding="utf-8")
    assert seen == text, "\n".join(
        unified_diff(text.splitlines(), seen.splitlines(), page, "what happens", lineterm="")
    )


@pytest.mark.parametrize("page", PAGES)
def test_a_block_that_is_not_run_is_the_business_of_a_test_that_names_its_page(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [token.map for token in MarkdownIt().parse(text) if token.type == "code_block"] == [], "indented code"
    tests = {block.exempt[1] for block in blocks(text) if block.exempt and block.exempt[0] == "tested by"}
    name = page.removeprefix("docs/scenarios/").removeprefix("docs/guides/")
    assert [test for test in tests if name not in (ROOT / test).read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("page", ["README.md", "docs/output.md"])
def test_the_tree_that_a_page_shows_is_the_one_that_is_built(page: str, tmp_path: Path) -> None:
    (spec,) = shown(ROOT / "README.md", "toml")
    (tmp_path / "pgtls.toml").write_text(spec)
    assert pgtls("build", cwd=tmp_path).status == 0
    (tree,) = (block for block in shown(ROOT / page, "") if block.startswith("out/"))
    rows = [re.sub("^[├└]── ", "", row).split() for row in tree.splitlines()[1:]]
    assert len(rows) > 4
    for name, *words in rows:
        path = name.replace("<ca>", "clients").replace("<server>", "main").replace("<user>", "app")
        entry = tmp_path / path if path == "pgtls.lock" else tmp_path / "out" / path
        assert entry.exists()
        if entry.is_dir() and words != ["…"]:
            there = {f"{file.name}/" if file.is_dir() else file.name for file in entry.iterdir()}
            assert {word for word in words if "." in word} == there


def test_the_design_names_every_part_of_the_package() -> None:
    named = re.findall(r"^\| `(\w+)/` \|", (ROOT / "docs/design.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(path.parent.name for path in (ROOT / "compiler/pgtls").glob("*/__init__.py"))


def test_what_contributing_says_of_make_is_in_the_makefile() -> None:
    (commands,) = shown(ROOT / "CONTRIBUTING.md", "sh")
    made = [words for words in map(shlex.split, commands.splitlines()) if words[0] == "make"]
    assert len(made) > 3
    for words in made:
        targets = [word for word in words[1 : words.index("#") if "#" in words else None] if "=" not in word]
        subprocess.run(["make", "--dry-run", *targets], check=True, cwd=ROOT, capture_output=True)
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_test_that_contributing_shows_passes(server: Server) -> None:
    (test,) = shown(ROOT / "CONTRIBUTING.md", "python")
    names = {**vars(clients), **vars(system), "compiled": compiled}
    names["SPEC"] = for_postgres(SCENARIOS / "18-file-rules" / "pgtls.toml", server.version)
    exec(test, names)  # noqa: S102
    names["test_tls_is_on"](server)


SPEC = """```toml title="pgtls.toml"
version = 1
[ca.root]
[server.db]
ca    = "root"
hosts = ["db.example.com"]
[user.postgres]
[policy.admin]
users = ["postgres"]
from  = ["local"]
auth  = "peer"
```
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    directory = tmp_path / "here"
    directory.mkdir()
    return directory


def test_a_page_that_shows_what_happens_stays_as_it_is(here: Path) -> None:
    page = f"""{SPEC}
```toml
[server.db]
hosts = ["db.example.org"]
```
```console
$ grep -n hosts pgtls.toml && \\
  mkdir elsewhere && cd elsewhere
7:hosts = ["db.example.org"]
$ (exit 3)
$ echo $?
3
```
<!-- now 2027-02-01 -->
```diff title="../pgtls.toml"
-hosts = ["db.example.org"]
+hosts = ["db.example.net"]
```
```console
$ echo $PGTLS_NOW; pgtls check ../pgtls.toml
2027-02-01
...
```
<!-- not run: it would take a day -->
```sh
sleep 86400
```
<!--
```console
$ grep -c example.com ../pgtls.toml; grep -c example.net ../pgtls.toml
0
1
```
-->
"""
    assert walked(page, here) == page


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        pytest.param("```console\n$ false\n```", "exits 1", id="a command that fails in silence"),
        pytest.param("```sh\necho a\n```", "neither run", id="a block of no known kind"),
        pytest.param("```\na\n```", "neither run", id="a block of no kind"),
        pytest.param("1. In a list\n\n   ```console\n   $ false\n   ```", "not looked at",
            id="a block that is indented"),
        pytest.param("<!-- not run: why -->\n\n```\na\n```", "no block follows", id="an exemption of nothing"),
        pytest.param("```toml\n[user.alice]\nca = 'nobody'\n```", "PGT101", id="a spec with a finding"),
        pytest.param('```diff title="pgtls.toml"\n-nothing\n+x\n```', "stands 0 times",
            id="an edit of what is not there"),
    ],
)  # fmt: skip
def test_a_page_with_a_fault_is_found(page: str, fault: str, here: Path) -> None:
    with pytest.raises(AssertionError, match=fault):
        walked(f"{SPEC}{page}\n", here)


def test_what_a_command_prints_takes_the_place_of_what_it_does_not(here: Path) -> None:
    page = "# Page\n```console\n$ echo 0a1b2c3d4e\nffffffffff\n$ echo a\nb\n$ echo c\n```\nEnd.\n"
    assert walked(page, here) == page.replace("\nb\n", "\na\n").replace("echo c\n", "echo c\nc\n")


def test_hex_digits_and_elided_lines_are_all_that_is_loose() -> None:
    assert agrees(["serial 0a1b2c3d…", "...", "end"], ["serial ffffffff…", "x", "y", "end", ""])
    assert not agrees(["serial 0a1b2c3d"], ["serial 0a1b2c3"])
    assert not agrees(["a", "..."], ["b", "a"])
    assert not agrees(["in 30 days"], ["in 31 days"])


def test_parts_of_a_spec_are_put_where_they_belong() -> None:
    spec = 'version = 1\n\n[user.a]   # who\nca    = "x"     # why\n\n[user.b]\n'
    part = '[user.a]\nca = "y"\nroles = ["r"]\n[user.c]\n'
    assert joined(spec, part) == ('version = 1\n\n[user.a]   # who\nca = "y"\nroles = ["r"]\n\n[user.b]\n\n[user.c]\n')
    assert edited("a\nb\nc\n", [" a", "-b", "+x", "@@", "+b", " c"]) == "a\nx\nb\nc\n"
