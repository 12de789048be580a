"""The check for nothing to do reads a plain build as the command line does, and leaves all else to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from pgtls.__main__ import nothing_to_do, plain_build
from pgtls.cli import run
from pgtls.cli.app import command
from pgtls.state.names import lock_path, out_path
from support.building import SMALL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BUILD = command("build")
OURS = ("--out", "--lock")
UNDERSTOOD = st.sampled_from(["--out", "--lock", "--out=", "--out=a", "--lock=b=c", "a.toml", "dir/b", "=", ""])
OTHERS = st.sampled_from(
    [
        "-",
        "--",
        "-h",
        "--help",
        "--check",
        "--new-out",
        "--format",
        "--format=text",
        "json",
        "--ou",
        "--out-x=y",
        "--now",
    ]
)
VALUES = st.sampled_from(["", "elsewhere", "e/spec.toml", "--out"])
VARIABLES = st.dictionaries(st.sampled_from(["PGTLS_SPEC", "PGTLS_OUT", "PGTLS_LOCK", "PGTLS_NOW"]), VALUES)


def parsed(words: Sequence[str]) -> tuple[str, str, str] | None:
    """Read the words with typer: spec, out directory and lock of a build that is asked for nothing else."""
    if words[:1] != ["build"]:
        return None
    try:
        given = BUILD.make_context("build", list(words[1:])).params
    except (typer.TyperException, typer.Exit):
        return None
    spec, out, lock = (given.pop(name) for name in ("spec", "out", "lock"))
    plain = BUILD.make_context("build", []).params
    if any(given[name] != plain[name] for name in given) or given["now"]:
        return None
    return spec, out_path(spec, out), lock_path(spec, lock)


@given(
    first=st.sampled_from(["build", "plan", "--help"]),
    rest=st.lists(UNDERSTOOD | OTHERS, max_size=6),
    variables=VARIABLES,
)
def test_both_parsers_agree(first: str, rest: list[str], variables: Mapping[str, str]) -> None:
    words = [first, *rest]
    with patch.dict(os.environ, variables):
        early, late = plain_build(words, os.environ), parsed(words)
    if early is not None:
        assert early == late
    elif late is not None:
        others = [word for word in rest if word.startswith("-") and word.partition("=")[0] not in OURS]
        assert others, "a plain build that only typer understands"


@pytest.mark.parametrize(
    ("words", "variables", "read"),
    [
        (["build"], {}, ("pgtls.toml", "out", "pgtls.lock")),
        (["build", "a/b.toml"], {}, ("a/b.toml", "a/out", "a/b.lock")),
        (["build", "--out", "o", "x", "--lock=l"], {}, ("x", "o", "l")),
        (["build", "--out", "--lock"], {}, ("pgtls.toml", "--lock", "pgtls.lock")),
        (["build", "--out=a", "--out=b"], {}, ("pgtls.toml", "b", "pgtls.lock")),
        (["build"], {"PGTLS_SPEC": "s", "PGTLS_OUT": "o", "PGTLS_LOCK": "l"}, ("s", "o", "l")),
        (["build", "x"], {"PGTLS_SPEC": "s", "PGTLS_OUT": ""}, ("x", "out", "x.lock")),
        (["build"], {"PGTLS_NOW": "2027-01-01"}, None),
        (["build", "a", "b"], {}, None),
        (["build", "--out"], {}, None),
        (["build", "--check"], {}, None),
        (["build", "--", "a"], {}, None),
        (["plan"], {}, None),
        ([], {}, None),
    ],
)
def test_what_is_read(
    words: list[str], variables: dict[str, str], read: tuple[str, str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert plain_build(words, variables) == read
    assert read is None or parsed(words) == read


def test_there_is_nothing_to_do_only_after_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pgtls.toml").write_text(SMALL)
    assert not nothing_to_do(["build"], {})
    assert run(["build"]) == 0
    assert nothing_to_do(["build"], {})
    (tmp_path / "pgtls.toml").write_text(SMALL.replace("shop", "shops"))
    assert not nothing_to_do(["build"], {})
