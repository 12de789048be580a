"""No module imports, by whatever detour, a module that imports it: ``TYPE_CHECKING`` counts, parents and children too."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import grimp
import pytest


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = grimp.build_graph("pgtls", exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) - {"pgtls.cli"} for module in graph.modules}
    assert len(imports) > 100
    TopologicalSorter(imports).prepare()


def test_a_detour_is_found() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"pgtls.a": {"pgtls.b"}, "pgtls.b": {"pgtls.a"}}).prepare()
