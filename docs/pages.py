"""Write the pages for the site: ``python docs/pages.py DIRECTORY``, the first half of ``make site``.

Pages link to each other and to files of the repository by paths, as git hosts follow them. On the site, pages outside
of docs/ move among the others, and each linked file gets a page that shows it. The site omits comments: they are for
the tests.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]

ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/README.md": "examples.md",
}
"""The pages outside of docs/, and where the site has them."""

_LANGUAGES = {".json": "json", ".mk": "make", ".py": "python", ".tf": "terraform", ".toml": "toml", ".yml": "yaml"}
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(?=[)#])")
_FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
_CODE = re.compile(r"`[^`\n]+`")
_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)


def main(directory: Path) -> None:
    """Write all pages, and those of the files that they link to."""
    shutil.rmtree(directory, ignore_errors=True)
    waiting = [*ELSEWHERE, *(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md"))]
    written = set()
    while waiting:
        path = PurePosixPath(waiting.pop())
        if path in written or not (ROOT / path).exists():
            continue
        place = directory / site_path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        written.add(path)
        if path.suffix == ".svg":
            shutil.copy(ROOT / path, place)
            continue
        text, links = page(path)
        place.write_text(text, encoding="utf-8")
        waiting += links
    shutil.copy(ROOT / "docs" / "site.css", directory)


def page(path: PurePosixPath) -> tuple[str, list[str]]:
    """Return the site's page for a path of the repository, and the paths that it links to."""
    if (ROOT / path).is_dir():
        return relinked(_listing(path), path / "-")
    if path.suffix == ".md":
        text = (ROOT / path).read_text(encoding="utf-8")
        return relinked(_bars(_COMMENT.sub("", text)) + "".join(_spec(path)), path)
    return f"{_UNSOUGHT}# {path}\n\n{_fenced(ROOT / path)}", []


def relinked(text: str, at: PurePosixPath) -> tuple[str, list[str]]:
    """Rewrite the links of the page at ``at`` for the site and return their paths. Leave code blocks alone."""
    here = PurePosixPath(site_path(at.parent if at.name == "-" else at))
    links = []

    def place(match: re.Match[str]) -> str:
        target = _resolved(at, match[0])
        links.append(str(target))
        return os.path.relpath(site_path(target), here.parent)

    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(place, part) for part in parts), links


def _bars(text: str) -> str:
    """Write a bar in the code of a table as it is: git hosts want it escaped, and the site would show the backslash."""
    return _ROW.sub(lambda row: _CODE.sub(lambda code: code[0].replace(r"\|", "|"), row[0]), text)


def site_path(path: PurePosixPath) -> str:
    """Return the place on the site for a path of the repository."""
    if str(path) in ELSEWHERE:
        return ELSEWHERE[str(path)]
    if path.is_relative_to("docs") and path.suffix in (".md", ".svg"):
        place = path.relative_to("docs")
        return str(place.with_name("index.md") if place.name == "README.md" else place)
    return f"files/{path}/index.md" if (ROOT / path).is_dir() else f"files/{path}.md"


def _resolved(at: PurePosixPath, link: str) -> PurePosixPath:
    path = PurePosixPath(os.path.normpath(at.parent / link))
    return path / "README.md" if (ROOT / path / "README.md").exists() else path


_UNSOUGHT = "---\nsearch:\n  exclude: true\n---\n\n"


def _fenced(path: Path) -> str:
    language = "make" if path.name == "Makefile" else _LANGUAGES.get(path.suffix, "toml" * (".toml" in path.name))
    return f"````{language}\n{path.read_text(encoding='utf-8').rstrip()}\n````\n"


def _listing(path: PurePosixPath) -> str:
    names = sorted(file.name for file in (ROOT / path).iterdir() if not file.name.startswith((".", "__pycache__")))
    return f"{_UNSOUGHT}# {path}\n\n" + "".join(f"- [{name}]({name})\n" for name in names)


def _spec(path: PurePosixPath) -> Iterator[str]:
    """Append a scenario's spec, which is a file next to it on a git host, and the test that runs it on servers."""
    if path.match("docs/scenarios/*/README.md"):
        test = f"tests/scenarios/test_{path.parent.name.replace('-', '_')}.py"
        yield f"\n## The spec\n\n{_fenced(ROOT / path.parent / 'pgtls.toml')}"
        yield f"\nIt is put on servers of every version by [{test}](../../../{test}).\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
