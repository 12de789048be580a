"""Files are read only if they are files: what else lies in their place neither hangs a build nor fills its memory."""

from __future__ import annotations

import os
from io import FileIO
from typing import TYPE_CHECKING

import pytest

from pgtls.language import regular
from pgtls.language.files import Disk
from pgtls.state import files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READERS = pytest.mark.parametrize("read", [files.read, Disk().read], ids=["state", "language"])


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


@READERS
@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="unavailable: Linux has files without a size")
def test_a_file_of_the_kernel_is_not_read(read: Callable[[str], bytes]) -> None:
    """To read such a file may take away what it holds: /proc/kmsg is the log of the kernel."""
    with open("/proc/version", "rb") as file:
        assert file.read() != b""
    assert read("/proc/version") == b""


class Waiting(FileIO):
    """A file that has nothing to read yet, as those of some file systems."""

    def readall(self) -> None:  # type: ignore[override]
        """Return what the system call does."""


@READERS
def test_a_file_that_would_wait_is_an_error(
    read: Callable[[str], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read(str(tmp_path / "a")) == b"12345"
    (tmp_path / "b").write_bytes(b"12345")
    monkeypatch.setattr(regular, "FileIO", Waiting)
    with pytest.raises(BlockingIOError):
        read(str(tmp_path / "b"))
