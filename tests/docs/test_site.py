"""The site builds without network, every link and anchor on it resolves, and it loads nothing from elsewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from support.pgtls import ROOT, SCENARIOS
from support.system import ENVIRONMENT

_LOADED = re.compile(
    r"<(?:script|link|img|iframe|source|video|object)\b[^>]*?\b(?:src|href|data)=[\"']?((?:[a-z]+:)?//[^\"' >]+)"
)
"""What a browser fetches by itself, from another host; links to follow are ``<a>``."""


def _program() -> str:
    program = shutil.which("zensical", path=f"{Path(sys.executable).parent}:{ENVIRONMENT['PATH']}")
    if not program:
        pytest.skip("zensical is not installed: pip install --group docs")
    return program


def _offline() -> list[str]:
    words = ["unshare", "--map-root-user", "--net"]
    able = (
        subprocess.run([*words, "true"], check=False, capture_output=True).returncode == 0
        if shutil.which("unshare")
        else False
    )
    return words if able else []


def write_pages(directory: Path) -> None:
    """Write what the site is built from, as `make site` does."""
    shutil.copy(ROOT / "mkdocs.yml", directory)
    subprocess.run([sys.executable, ROOT / "docs/pages.py", directory / "build/pages"], check=True)


def build_site(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_offline(), _program(), "build", "--clean", "--strict"],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env={**ENVIRONMENT, "NO_COLOR": "1"},
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    write_pages(directory)
    done = build_site(directory)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / "build/site"


def loaded_from_elsewhere(text: str) -> list[str]:
    return _LOADED.findall(text)


def test_nothing_of_the_site_is_loaded_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    assert {str(page): found for page in pages if (found := loaded_from_elsewhere(page.read_text()))} == {}
    sheets = list(site.rglob("*.css"))
    assert sheets
    assert [str(sheet) for sheet in sheets if re.search(r"(url\(|@import )[\"']?(https?:)?//", sheet.read_text())] == []
    assert loaded_from_elsewhere('<link rel="stylesheet" href="https://fonts.example/css">')
    assert loaded_from_elsewhere("<script src=//cdn.example/x.js></script>")


def test_a_listing_passes_over_what_python_compiled(site: Path) -> None:
    listing = (site / "files/templates/index.html").read_text(encoding="utf-8")
    assert "server" in listing
    assert "__pycache__" not in listing
    assert not list(site.rglob("__pycache__"))


def test_the_search_knows_every_page_and_no_file_that_is_only_shown(site: Path) -> None:
    index = json.loads((site / "search.json").read_text())
    found = {item["location"].partition("#")[0] for item in index["items"]}
    assert {"language.html", "spec.html", "diagnostics.html", "scenarios/14-revocation/index.html"} <= found
    assert [place for place in found if place.startswith("files/")] == []


@pytest.mark.parametrize("link", ["nowhere.md", "spec.md#nothing"])
def test_a_link_that_leads_nowhere_stops_the_build(link: str, tmp_path: Path) -> None:
    write_pages(tmp_path)
    with (tmp_path / "build/pages/output.md").open("a") as page:
        page.write(f"\nSee [this]({link}).\n")
    done = build_site(tmp_path)
    assert done.returncode != 0
    assert "output.md" in done.stdout + done.stderr


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pages")
    write_pages(directory)
    return directory / "build/pages"


def test_the_navigation_names_every_page_once(pages: Path) -> None:
    there = [str(page.relative_to(pages)) for page in pages.rglob("*.md")]

    def named(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [name for part in (entry.values() if isinstance(entry, dict) else entry) for name in named(part)]

    navigation = named(yaml.load((ROOT / "mkdocs.yml").read_text(), _Configuration)["nav"])  # noqa: S506  (a safe loader)
    assert sorted(navigation) == sorted(page for page in there if not page.startswith("files/"))


class _Configuration(yaml.SafeLoader):  # type: ignore[misc]
    """Reads past the tags that name functions."""


_Configuration.add_multi_constructor("", lambda *_: None)


@pytest.mark.parametrize("scenario", sorted(SCENARIOS.glob("*/pgtls.toml")), ids=lambda spec: spec.parent.name)
def test_a_scenario_has_a_page_with_its_spec_and_the_test_that_puts_it_on_servers(scenario: Path, pages: Path) -> None:
    page = pages / "scenarios" / scenario.parent.name / "index.md"
    text = page.read_text()
    assert text.startswith("# ")
    assert scenario.read_text().strip() in text
    (test,) = re.findall(r"\((\S+/test_\d\d_\w+\.py\.md)\)", text)
    assert re.search(rf"\b{re.escape(scenario.parent.name)}\b", (page.parent / test).read_text())


def test_a_bar_in_the_code_of_a_table_is_a_bar(pages: Path) -> None:
    assert r"pgtls \| source`" in (ROOT / "docs/commands.md").read_text(), "as git hosts want it"
    assert "pgtls | source`" in (pages / "commands.md").read_text()


def test_a_file_of_the_repository_that_a_page_links_to_is_shown_on_the_site(pages: Path) -> None:
    assert "(files/pgtls.toml.example.md)" in (pages / "index.md").read_text()
    assert (ROOT / "pgtls.toml.example").read_text().strip() in (pages / "files/pgtls.toml.example.md").read_text()
    assert "(../files/examples/make/Makefile.md)" in (pages / "guides/makefiles.md").read_text()
