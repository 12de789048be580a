"""The key of an out directory: it authenticates commit records, and the manifest. The first build generates it.

A record decides what a build moves, deletes and opens, and a manifest that a build has nothing to do, so each counts
only if a build into the same directory wrote it. The key has a mode that git cannot set: git writes 0644 or 0755 (less
the umask). Git overwrites ignored files without asking, so a commit could otherwise bring its own key.

Imports little: a build with nothing to do looks at the seal of the manifest.
"""

from __future__ import annotations

import hmac
import os
import stat

from pgtls.state.names import KEY, KEY_PATH, PRIVATE
from pgtls.state.reading import open_directory
from pgtls.state.reading import read as read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DRAFT = f"{KEY}.new"
_MODE = 0o400
_BYTES = 32
_END = b"}\n"
_MEMBER = b',"seal":"'
_CLOSING = b'"' + _END
_SEALED = len(_MEMBER) + 64 + len(_CLOSING)


def draw(root: int, private: int) -> bytes:
    """Return the key of an open out directory; generate it if there is none that the directory's owner wrote."""
    from pgtls.state import files

    known = read(root, private)
    if known is not None:
        return known
    key = os.urandom(_BYTES)
    discard(private)
    files.create(_DRAFT, key, _MODE, private)
    files.sync_file(_DRAFT, private)
    os.rename(_DRAFT, KEY, src_dir_fd=private, dst_dir_fd=private)
    os.fsync(private)
    return key


def read(root: int, private: int) -> bytes | None:
    """Return the key of an open out directory; None if it is missing, or if another user or git wrote it."""
    try:
        found = os.stat(KEY, dir_fd=private, follow_symlinks=False)
        ours = found.st_uid == os.fstat(root).st_uid and stat.S_IMODE(found.st_mode) == _MODE
        return read_file(KEY, private) if ours and found.st_size == _BYTES else None
    except OSError:
        return None


def of(out: str) -> bytes | None:
    """Return the key of an out directory as :func:`read`; None also without a private directory."""
    opened: list[int] = []
    try:
        opened.append(open_directory(out))
        opened.append(open_directory(PRIVATE, opened[0]))
        return read(*opened)
    except OSError:
        return None
    finally:
        for descriptor in opened:
            os.close(descriptor)


def fault(out: str) -> str:
    """Return why the key of an out directory cannot be used, in words; "" if it can."""
    path = os.path.join(out, KEY_PATH)
    try:
        found = os.lstat(path)
    except OSError as error:
        return f'the key "{path}" is missing' if isinstance(error, FileNotFoundError) else f'"{path}": {error.strerror}'
    if of(out) is not None:
        return ""
    mode = stat.S_IMODE(found.st_mode)
    if mode != _MODE:
        return f'the key "{path}" has mode {mode:04o}, and a build gives it {_MODE:04o}: git or a chmod changed it'
    return f'a build did not write the key "{path}"'


def discard(private: int) -> None:
    """Delete the file of an interrupted key generation."""
    try:
        os.unlink(_DRAFT, dir_fd=private)
    except FileNotFoundError:
        return


def sign(key: bytes, content: bytes | memoryview) -> str:
    """Return the authentication code of a record."""
    return hmac.digest(key, content, "sha256").hex()


def fits(key: bytes | None, content: bytes | memoryview, code: str) -> bool:
    """Return whether this key signed a record."""
    return key is not None and hmac.compare_digest(sign(key, content).encode(), code.encode(errors="replace"))


def closed(key: bytes, parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the parts of a JSON object, with the code of all that comes before as its last member."""
    code, last = hmac.new(key, digestmod="sha256"), b""
    for part in parts:
        code.update(last)
        yield last
        last = part
    last = last.removesuffix(_END)
    code.update(last)
    yield last + _MEMBER + code.hexdigest().encode() + _CLOSING


def closes(key: bytes | None, content: bytes) -> bool:
    """Return whether :func:`closed` made an object with this key."""
    end = content[-_SEALED:]
    whole = end.startswith(_MEMBER) and end.endswith(_CLOSING)
    code = end[len(_MEMBER) : -len(_CLOSING)].decode(errors="replace")
    return whole and fits(key, memoryview(content)[:-_SEALED], code)  # without a copy: a manifest is long


def opened(content: bytes) -> bytes:
    """Return an object without what :func:`closed` added."""
    body, member, _ = content.rpartition(_MEMBER)
    return body + _END if member else content
