"""Files are read only if they are files: what else lies in their place neither hangs a build nor fills its memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pgtls.state import files

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read(str(tmp_path / "a"), longest=5) == b"12345"


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("/dev/zero")
    reasons = {
        "pipe": "no regular file",
        "directory": "Is a directory",
        "link": "symbolic links",
        "absent": "No such file",
    }
    for name, why in reasons.items():
        with pytest.raises(OSError, match=why):
            files.read(str(tmp_path / name))


def test_what_is_too_long_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="File too large"):
        files.read(str(tmp_path / "huge"), longest=1 << 20)
