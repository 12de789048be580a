"""The rule for make, read by make."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from pgtls.exports.depfile import inputs, rule

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("a b", "a#b", "a:b", "a$b", "a\\b", "a\\ b", "a%b", "a~b", "é", "a'b\"c")


def up_to_date(directory: Path, target: str) -> bool:
    question = subprocess.run(("make", "--question", target), cwd=directory, check=False, capture_output=True)
    assert question.returncode in (0, 1), question.stderr
    return question.returncode == 0


def test_make_reads_every_name_as_it_is(tmp_path: Path) -> None:
    target = tmp_path / "my out" / "manifest.json"
    target.parent.mkdir()
    for path in (target, *(tmp_path / name for name in NAMES)):
        path.write_text("")
        os.utime(path, (1000, 1000))
    (tmp_path / "rule.d").write_text(rule("my out/manifest.json", NAMES))
    (tmp_path / "Makefile").write_text("include rule.d\nmy\\ out/manifest.json:\n\ttouch '$@'\n")
    name = "my out/manifest.json"
    os.utime(target, (2000, 2000))
    assert up_to_date(tmp_path, name)
    for changed in NAMES:
        os.utime(tmp_path / changed, (3000, 3000))
        assert not up_to_date(tmp_path, name), changed
        os.utime(tmp_path / changed, (1000, 1000))
    assert up_to_date(tmp_path, name)


def test_a_name_with_a_line_end_is_left_out() -> None:
    assert rule("t", ["a\nb", "c"]) == "t: c\nc:\n"


def test_the_inputs_are_the_spec_its_includes_with_their_directories_other_files_and_the_lock(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users/a.toml").write_text("")
    (tmp_path / "users/b.txt").write_text("")
    spec, lock = str(tmp_path / "pgtls.toml"), str(tmp_path / "pgtls.lock")
    found = inputs(spec, ["users/*.toml"], ["ca.crt"], lock)
    assert [os.path.relpath(name, tmp_path) for name in found] == [
        "pgtls.toml",
        "ca.crt",
        "users",
        "users/a.toml",
        "pgtls.lock",
    ]
