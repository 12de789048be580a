"""What modules may import and call, as far as no contract of ``make lint`` says it."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import grimp
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[2] / "compiler" / "pgtls"
PURE = ("access", "certificates", "output", "plan", "rollout")
READERS = {
    PACKAGE / "certificates" / f"{name}.py"
    for name in ("acme", "observe", "opening", "programs", "secrets", "supplied", "tokens")
}
OUTSIDE = {"io", "os", "pathlib", "shutil", "socket", "subprocess", "tempfile"}


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = grimp.build_graph("pgtls", exclude_type_checking_imports=False, cache_dir=None)
    imports = {
        module: {found for found in graph.find_modules_directly_imported_by(module) if not above(found, module)}
        for module in graph.modules
    }
    assert len(imports) > 100
    TopologicalSorter(imports).prepare()


def above(package: str, module: str) -> bool:
    """Return whether one is a package around the other: its ``__init__`` runs first whatever imports what."""
    return module.startswith(f"{package}.")


def test_a_detour_is_found() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"pgtls.a": {"pgtls.b"}, "pgtls.b": {"pgtls.a"}}).prepare()


IN_MEMORY = {"BytesIO", "StringIO"}
"""What looks like a file to its caller, and is none."""


def looks_outside(source: str) -> Iterator[str]:
    """Yield what a module has to do with files and programs."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from OUTSIDE & {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} - IN_MEMORY:
            yield from OUTSIDE & {(node.module or "").partition(".")[0]}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            yield "open"


@pytest.mark.parametrize("package", PURE)
def test_what_is_between_observing_and_committing_touches_no_file(package: str) -> None:
    modules = sorted(set((PACKAGE / package).rglob("*.py")) - READERS)
    assert modules
    assert {module.name: list(looks_outside(module.read_text())) for module in modules} == {m.name: [] for m in modules}


@pytest.mark.parametrize("reader", sorted(READERS), ids=lambda path: path.stem)
def test_those_who_do_are_found(reader: Path) -> None:
    assert list(looks_outside(reader.read_text()))
