"""The files of a directory that git tracks, read from the index itself (gitformat-index(5)) without running git.

Imports little: a build with nothing to do looks here.
"""

from __future__ import annotations

import errno
import hashlib
import os

from pgtls.state.names import GIT, GITIGNORE, GITKEEP, MANIFEST, PRIVATE, TREE
from pgtls.state.reading import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_PLACEHOLDERS = (GITIGNORE, GITKEEP)
_BUILT = {"", MANIFEST, PRIVATE, *TREE}
_HARMLESS = {"", "*", *(f"{again}{name}" for again in ("!", "!/") for name in _PLACEHOLDERS)}
"""The lines of a .gitignore that ignores all but placeholders."""
_HEADER = 12
_STAT = 40
_EXTENDED = 0x4000
_WORD = 8
_BITS = 64

_LONGEST_INDEX = 1 << 29
_LONGEST_CONFIG = 1 << 20
_LONGEST_PATH = 1 << 12
"""Bytes: others may have put anything in the place of these files."""
_MOST_LINKS = 40
"""As in Linux (path_resolution(7)); other systems follow fewer."""


class IndexFault(Exception):  # noqa: N818  (becomes a diagnostic)
    """A repository whose index cannot be read. ``path`` is what cannot, ``reason`` why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason


def strangers(out: str, own: Collection[str] | None, *, encrypted: bool) -> list[str]:
    """Return what git tracks of an out directory although only builds may write it.

    A repository may have placeholders and the ``own`` files, which are no part of the tree; None: it is not known which
    these are, so only what builds write counts. A tree whose keys are ``encrypted`` may be a repository of its own,
    without what each machine remembers. Raise :class:`IndexFault` if an index cannot be read.
    """
    out = os.path.realpath(out)

    def strange(top: str, path: str) -> bool:
        first = path.partition("/")[0]
        if encrypted and top == out and first != PRIVATE:
            return False
        return first in _BUILT if own is None else path not in {*_PLACEHOLDERS, *own}

    return sorted(path for top, path in _tracked(out) if strange(top, path))


def tracked(directory: str) -> list[str]:
    """Return the paths at or below a directory that an index lists, relative to it ("" is itself)."""
    return sorted(path for _, path in _tracked(os.path.realpath(directory)))


def in_work_tree(directory: str, *, around: bool = False) -> bool:
    """Return whether a checkout can write or delete files of a directory; ``around``: of one that is larger.

    Raise :class:`IndexFault` as others here.
    """
    real = os.path.realpath(directory)
    return any(not around or top != real for _, top, _ in _containing(real))


def committed_link(path: str) -> str | None:
    """Return the first symbolic link of a path that a commit may have brought; None if there is none.

    Such a link lies in a work tree, or below the current directory where the path begins there: an unpacked archive of
    a repository has no index. The links of the machine elsewhere, such as ``/tmp``, count as part of the path, and so
    do the paths to which they lead. Raise :class:`IndexFault` as others here.
    """
    current = os.path.realpath(os.curdir)
    for above, link in _links(path):
        place = os.path.realpath(above)
        below = not os.path.isabs(path) and os.path.commonpath((place, current)) == current
        if below or in_work_tree(place):
            return link
    return None


def _links(path: str) -> Iterator[tuple[str, str]]:
    """Yield the directory and the path of each symbolic link that the kernel follows for a path, in its order.

    It follows no more of them than ``_MOST_LINKS``.
    """
    here, words, found = "/" if os.path.isabs(path) else "", path.split("/"), 0
    while words and found < _MOST_LINKS:
        above, here = here, os.path.join(here, words.pop(0))
        if here != above and os.path.islink(here):
            yield above, here
            target, found = os.readlink(here), found + 1
            here, words = "/" if os.path.isabs(target) else above, [*target.split("/"), *words]


def repository_of(directory: str) -> str | None:
    """Return where the repository of a directory is that is the top of a work tree. Raise :class:`IndexFault`."""
    return _git_directory(os.path.join(directory, GIT))


def is_repository(directory: str) -> bool:
    """Return whether a directory is the top of a work tree."""
    return os.path.lexists(os.path.join(directory, GIT))


def blob(directory: str, path: str) -> str | None:
    """Return the id of the content that the repository at a directory tracks for a path; None if it tracks none.

    Raise :class:`IndexFault` as others here, and for an index that is split.
    """
    real = os.path.realpath(directory)
    for git, top, index in _around(real):
        if top == real:
            content, digest = _read_index(index), _digest_length(git)
            if content is None:
                return None
            entries, base = _parsed(index, content, digest)
            if base is not None:
                raise IndexFault(index, "it is split (core.splitIndex)")
            found = dict(zip(entries.names, entries.ids, strict=True)).get(os.fsencode(path))
            return found.hex() if found else None
    return None


def blob_id(content: bytes, digits: int) -> str:
    """Return the id that git gives to a content, of so many hexadecimal digits: by SHA-1 or SHA-256."""
    kind = "sha256" if digits == 2 * _SHA256 else "sha1"
    return hashlib.new(kind, b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def ignores_all(out: str) -> bool:
    """Return whether git adds nothing of an out directory by itself, apart from placeholders.

    Its ``.gitignore`` decides that, which a commit can bring. A repository of its own may have another one.
    """
    try:
        content = read(os.path.join(out, GITIGNORE), longest=_LONGEST_CONFIG).decode(errors="replace")
    except OSError:
        return False
    lines = {line.removesuffix("\r") for line in content.split("\n") if not line.startswith("#")}
    return is_repository(out) or ("*" in lines and lines <= _HARMLESS)


def _exists(path: str) -> bool:
    """Return whether something is there. Raise :class:`IndexFault` where that cannot be told."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from None
    return True


def _unreadable(path: str, error: OSError) -> IndexFault:
    reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
    return IndexFault(path, reason or "it cannot be read")


def _tracked(directory: str) -> Iterator[tuple[str, str]]:
    """Yield the top of the work tree and the path, of every file of the directory that a repository tracks."""
    for git, top, index in _containing(directory):
        below = os.path.relpath(directory, top)
        for name in _listed(git, index):
            if name[-1:] == "/" and f"{below}/".startswith(name):
                raise IndexFault(index, f'it is sparse, and does not say what git tracks in "{name}"')
            path = _below(name, below)
            if path is not None:
                yield top, path


def _containing(directory: str) -> Iterator[tuple[str, str, str]]:
    """Yield the repositories around and of the environment whose work tree contains a directory: as :func:`_around`."""
    for git, top, index in dict.fromkeys((*_around(directory), *_of_environment())):
        if os.path.relpath(directory, top).partition("/")[0] != os.pardir:
            yield git, top, index


def _below(name: str, directory: str) -> str | None:
    if directory == ".":
        return name
    return name[len(directory) + 1 :] if name == directory or name.startswith(f"{directory}/") else None


def _around(directory: str) -> Iterator[tuple[str, str, str]]:
    """Yield each repository around a directory: its own directory, the top of its work tree, its index."""
    top = directory
    while True:
        if git := _git_directory(os.path.join(top, GIT)):
            yield git, _work_tree(git) or top, os.path.join(git, "index")
        if top == (top := os.path.dirname(top)):
            return


def _of_environment() -> Iterator[tuple[str, str, str]]:
    """Yield the repository that the environment names: git uses it for the commands that run here, as in a hook."""
    named, index, tree = map(os.environ.get, ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"))
    if not (named or index or tree):
        return
    here = os.getcwd()
    if named:
        git, top = _git_directory(named), here
        if git is None:
            raise IndexFault(named, "GIT_DIR names it, and it is no repository")
    else:
        git, top, _ = next(_around(os.path.realpath(here)), (None, here, ""))
    if git is None:  # git cannot run here
        return
    index = index or os.path.join(git, "index")
    worktree = tree or _work_tree(git)
    if not worktree and _settings(git).get("core.bare") == "true":
        if _exists(index):
            raise IndexFault(index, "its repository is bare, and nothing says where its work tree is")
        return
    yield git, os.path.realpath(worktree or top), index


def _git_directory(path: str) -> str | None:
    """Return the repository at a path, or the one that a file there names; None if there is none.

    Raise :class:`IndexFault` if the file leads nowhere: whoever has the repository may track files here.
    """
    if not os.path.isfile(path):
        return path if _exists(os.path.join(path, "HEAD")) else None
    git = _named_in(path, "gitdir:")
    if not _exists(os.path.join(git, "HEAD")):
        raise IndexFault(path, "it leads to no repository")
    return git


def _named_in(path: str, introduction: str = "") -> str:
    """Return the directory that a file of a repository names. No message shows what another file has instead."""
    text = _text(path, _LONGEST_PATH, follow=False)
    directory = os.path.join(os.path.dirname(path), text.removeprefix(introduction).strip())
    if not text.startswith(introduction) or not os.path.isdir(directory):
        raise IndexFault(path, "it names no directory")
    return directory


def _work_tree(git: str) -> str | None:
    """Return the work tree that the configuration of a repository names; that of a linked work tree names none."""
    named = None if _exists(os.path.join(git, "commondir")) else _settings(git).get("core.worktree")
    return named and os.path.realpath(os.path.join(git, named))


def _settings(git: str) -> dict[str, str]:
    """Return what the configuration in the common directory of a repository says, by lower-case section and name."""
    common = os.path.join(git, "commondir")
    if _exists(common):
        git = _named_in(common)
    config = os.path.join(git, "config")
    found, section = dict[str, str](), ""
    for line in _text(config, _LONGEST_CONFIG, follow=True).splitlines() if _exists(config) else ():
        text = line.strip()
        if text.startswith("["):
            section, _, text = text[1:].partition("]")
        name, equals, value = text.partition("=")
        found[f"{section}.{name.strip()}".lower()] = value.strip().strip('"') if equals else "true"
    return found


def _text(path: str, longest: int, *, follow: bool) -> str:
    try:
        text = os.fsdecode(read(path, longest=longest, follow=follow))
    except OSError as error:
        raise _unreadable(path, error) from None
    if "\0" in text:
        raise IndexFault(path, "it is no text")
    return text


def _listed(git: str, path: str) -> Iterable[str]:
    """Return the names in an index. That of a new repository is missing; anything else that is no index is a fault."""
    content, digest = _read_index(path), _digest_length(git)
    if content is None:
        return ()
    entries, base = _parsed(path, content, digest)
    return map(os.fsdecode, entries.names if base is None else _joined(git, entries.names, base, digest))


def _read_index(path: str) -> bytes | None:
    try:
        return read(path, longest=_LONGEST_INDEX, follow=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from None


def _digest_length(git: str) -> int:
    """Return the bytes of an object's id."""
    return _SHA256 if _settings(git).get("extensions.objectformat", "").lower() == "sha256" else _SHA1


_SHA1, _SHA256 = 20, 32


class _Entries:
    """The names in an index and the ids of their contents, and where they end."""

    __slots__ = ("end", "ids", "names")

    def __init__(self, names: list[bytes], ids: list[bytes], end: int) -> None:
        self.names, self.ids, self.end = names, ids, end


def _parsed(path: str, content: bytes, digest: int) -> tuple[_Entries, bytes | None]:
    try:
        return _index(content, digest)
    except (ValueError, LookupError):
        raise IndexFault(path, "it is damaged, or of a version that pgtls does not know") from None


def _index(content: bytes, digest: int) -> tuple[_Entries, bytes | None]:
    """Return the entries of an index, and its extension ``link`` if another file has the rest of them.

    Raise ValueError for an extension that git requires everyone to understand, and this module does not.
    """
    entries = _entries(content, digest)
    position, base = entries.end, None
    while position < len(content) - digest:
        kind, length = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "big")
        if kind == b"link":
            base = content[position + 8 : position + 8 + length]
        elif not kind[:1].isupper() and kind != b"sdir":  # of a sparse index: _tracked looks at its entries
            raise ValueError(kind)
        position += 8 + length
    if position != len(content) - digest:
        raise ValueError(position)
    return entries, base


def _entries(index: bytes, digest: int) -> _Entries:
    """Return the entries of an index of version 2, 3 or 4."""
    version, count = int.from_bytes(index[4:8], "big"), int.from_bytes(index[8:12], "big")
    if index[:4] != b"DIRC" or version not in (2, 3, 4):
        raise ValueError(version)
    names: list[bytes] = []
    ids: list[bytes] = []
    position, name = _HEADER, b""
    for _ in range(count):
        start, position = position, position + _STAT + digest + 2
        ids.append(index[start + _STAT : position - 2])
        flags = int.from_bytes(index[position - 2 : position], "big")
        position += 2 if flags & _EXTENDED else 0
        kept = 0
        if version == 4:
            stripped, position = _varint(index, position)
            kept = len(name) - stripped
        end = index.index(b"\0", position)
        name = name[:kept] + index[position:end]
        position = end + 1 if version == 4 else start + (end - start + 8) // 8 * 8
        names.append(name)
    return _Entries(names, ids, position)


def _varint(index: bytes, position: int) -> tuple[int, int]:
    """Read a number of variable width, as pack files have them for offsets; return it and the position after it."""
    byte = index[position]
    value = byte & 0x7F
    while byte & 0x80:
        position += 1
        byte = index[position]
        value = ((value + 1) << 7) | (byte & 0x7F)
    return value, position + 1


def _joined(git: str, names: Iterable[bytes], base: bytes, digest: int) -> Iterator[bytes]:
    """Yield the names of a split index: its own, and those of the shared one that it does not delete.

    An entry without a name replaces one of the shared index.
    """
    yield from filter(None, names)
    number = base[:digest].hex()
    if not number.strip("0"):
        return
    path = os.path.join(git, f"sharedindex.{number}")
    try:
        shared = _entries(read(path, longest=_LONGEST_INDEX, follow=True), digest).names
        deleted = _positions(base[digest:], len(shared)) if base[digest:] else frozenset[int]()
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, LookupError):
        raise IndexFault(path, "it is damaged, or of a version that pgtls does not know") from None
    yield from (name for position, name in enumerate(shared) if position not in deleted)


def _positions(bitmap: bytes, count: int) -> Collection[int]:
    """Return which of the first ``count`` bits of an EWAH bitmap are set (gitformat-bitmap(5), appendix A)."""
    length = int.from_bytes(bitmap[4:8], "big")
    words = [int.from_bytes(bitmap[at : at + _WORD], "big") for at in range(8, 8 + _WORD * length, _WORD)]
    found: set[int] = set()
    bit = position = 0
    while position < length:
        marker = words[position]
        run, literals = (marker >> 1 & 0xFFFFFFFF) * _BITS, marker >> 33
        if marker & 1:
            found.update(range(bit, min(bit + run, count)))
        bit += run
        for literal in words[position + 1 : position + 1 + literals]:
            found.update(bit + at for at in range(_BITS) if literal >> at & 1)
            bit += _BITS
        position += 1 + literals
    return found
