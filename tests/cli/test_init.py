"""``pgtls init`` next to files that already exist."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from pgtls.cli import DOCUMENTATION, run
from support.pgtls import pgtls
from support.system import is_root

if TYPE_CHECKING:
    from pathlib import Path


MERGED = "*.lock merge=union\n*.deployed merge=union\n"


def init(directory: Path, capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    assert run(["init", str(directory)]) == status
    said = capsys.readouterr()
    return said.out + said.err


def test_a_new_directory_has_all_three_and_builds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "a new one"
    said = init(new, capsys)
    assert sorted(path.name for path in new.iterdir()) == [".gitattributes", ".gitignore", "pgtls.toml"]
    assert (new / ".gitignore").read_text() == "/out/\n"
    assert (new / ".gitattributes").read_text() == MERGED
    assert said.endswith(f"documentation: {DOCUMENTATION}\n")
    (next_step,) = (line for line in said.splitlines() if line.startswith("next: "))
    change = next_step.removeprefix("next: ").partition(" && ")[0]
    assert subprocess.run(("bash", "-c", f"{change} && ls"), check=True, capture_output=True).stdout == b"pgtls.toml\n"
    assert pgtls("build", cwd=new).status == 0


@pytest.mark.parametrize(
    "old", [b"*.pyc", b"*.pyc\n", b"# caf\xe9\r\n/other"], ids=["no final newline", "one", "Latin-1"]
)
def test_files_that_are_there_keep_every_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], old: bytes) -> None:
    (tmp_path / ".gitignore").write_bytes(old)
    (tmp_path / ".gitattributes").write_bytes(old)
    init(tmp_path, capsys)
    assert (tmp_path / ".gitignore").read_bytes() == old.rstrip(b"\n") + b"\n/out/\n"
    assert (tmp_path / ".gitattributes").read_bytes() == old.rstrip(b"\n") + b"\n" + MERGED.encode()


def test_lines_that_are_there_are_not_said_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = {".gitignore": "x\n/out/\ny\n", ".gitattributes": f"{MERGED}*.x binary\n"}
    for name, text in lines.items():
        (tmp_path / name).write_text(text)
    said = init(tmp_path, capsys)
    assert {name: (tmp_path / name).read_text() for name in lines} == lines
    assert ".git" not in said


@pytest.mark.parametrize(
    ("attributes", "other"),
    [
        ("*.lock merge=ours\n", "*.lock merge=ours"),
        ("*.lock merge=union\npgtls.* -merge\n", "pgtls.* -merge"),
        ("/pgtls.lock binary", "/pgtls.lock binary"),
        ("*.lock -merge\n*.lock merge=union\n*.deployed merge=union\n", None),
        ("poetry.lock merge=ours\n", None),
        ("*.lock text\n# *.lock merge=ours\n", None),
    ],
)
def test_another_way_of_merging_is_left_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], attributes: str, other: str | None
) -> None:
    path = tmp_path / ".gitattributes"
    path.write_text(attributes)
    said = init(tmp_path, capsys)
    assert (f'says "{other}" and is left as it is' in said) is (other is not None)
    assert (path.read_text() == attributes) is (other is not None or attributes.endswith("*.deployed merge=union\n"))


def test_a_spec_that_is_there_is_not_touched_nor_anything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text("mine")
    assert "exists already" in init(tmp_path, capsys, status=1)
    assert spec.read_text() == "mine"
    spec.unlink()
    spec.symlink_to("nowhere")
    assert "exists already" in init(tmp_path, capsys, status=1)
    assert [path.name for path in tmp_path.iterdir()] == ["pgtls.toml"]
    assert os.readlink(spec) == "nowhere"


def test_a_directory_that_cannot_be_written_is_named_and_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".gitignore").mkdir()
    assert f"{tmp_path}/.gitignore: error[PGT591]: is a directory" in init(tmp_path, capsys, status=1)
    assert not (tmp_path / "pgtls.toml").exists()
    (tmp_path / "file").write_text("")
    assert f"{tmp_path}/file: error[PGT591]: file exists" in init(tmp_path / "file", capsys, status=1)


def test_a_read_only_directory_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = "/proc/self" if is_root() else tmp_path
    tmp_path.chmod(0o555)
    assert run(["init", str(directory)]) == 1
    said = capsys.readouterr().err
    assert f"{directory}/.gitignore: error[PGT591]: " in said
    assert "Traceback" not in said


def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "profile"
    target.write_text("kept\n")
    place = tmp_path / "new"
    place.mkdir()
    (place / ".gitignore").symlink_to(target)
    assert run(["init", str(place)]) == 1
    assert ".gitignore" in capsys.readouterr().err
    assert target.read_text() == "kept\n"
    assert not (place / "pgtls.toml").exists()
