"""Fields whose effect is to come are refused, each in its own words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from pgtls.language.load import load
from pgtls.language.models import KINDS
from pgtls.language.shape import fields_of
from pgtls.language.upcoming import UPCOMING

if TYPE_CHECKING:
    from pathlib import Path


def table(kind: str, **fields: Any) -> dict[str, Any]:
    hosts = {"hosts": ["db"]} if kind == "server" else {}
    return {"version": 1, kind: {"a": hosts | fields}}


@pytest.mark.parametrize(("kind", "key"), sorted(UPCOMING))
def test_a_field_that_is_to_come_is_refused(tmp_path: Path, kind: str, key: str) -> None:
    assert key in fields_of(KINDS[kind])
    path = tmp_path / "pgtls.toml"
    path.write_text(tomli_w.dumps(table(kind, **{key: "x"})))
    (found,) = load(path).diagnostics
    assert (found.code, found.path) == ("PGT090", (kind, "a", key))
    assert found.message == f"not built yet: {UPCOMING[kind, key].effect} ({key})"
