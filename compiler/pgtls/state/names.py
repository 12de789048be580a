"""The names of the files that pgtls keeps for itself: the manifest, its private directory, the lock.

Imports little: a build with nothing to do reads these names and little else.
"""

from __future__ import annotations

import os
from hashlib import sha256

MANIFEST = "manifest.json"
"""In the out directory: what lies in it (see :mod:`pgtls.state.manifest`)."""
PRIVATE = ".pgtls"
"""In the out directory, 0700: staging, commit record, mutex."""
GIT = ".git"
"""In the out directory: the repository of a tree whose keys are encrypted."""
GITIGNORE = ".gitignore"
"""In the out directory, and in the private one: git ignores what is there."""
IGNORE_ALL = b"*\n"
"""The content of a .gitignore that a build writes."""
GITKEEP = ".gitkeep"
"""The placeholder that a repository commits to keep an empty directory; builds leave it alone."""
RECORD = "commit.json"
"""In the private directory while a decided build is not complete (see :mod:`pgtls.state.transaction`)."""
RECORD_PATH = f"{PRIVATE}/{RECORD}"
DRAFT = "commit.json.new"
"""In the private directory: a record that is being written."""
STAGING = "staging"
"""In the private directory: the files of a build that is not decided yet."""
STAGING_PATH = f"{PRIVATE}/{STAGING}"
LOCK_TIMEOUT = 60
"""Seconds for which a command waits for another build."""
MUTEX = f"{PRIVATE}/mutex"
KEY = "key"
"""In the private directory: authenticates commit records (see :mod:`pgtls.state.seal`)."""
KEY_PATH = f"{PRIVATE}/{KEY}"
KNOWN = "lock"
"""In the private directory: the lock as the last build left it (see :mod:`pgtls.state.known_lock`)."""
KNOWN_PATH = f"{PRIVATE}/{KNOWN}"
KNOWN_DRAFT = "lock.new"
"""In the private directory: the copy that a build has staged."""
GENERATIONS = "generations"
"""In the private directory: what builds made that may still be in use (see :mod:`pgtls.state.generations`)."""
GENERATIONS_PATH = f"{PRIVATE}/{GENERATIONS}"
MEMORY = "memory"
MEMORY_PATH = f"{PRIVATE}/{MEMORY}"
"""In the private directory: whether the two are whole (see :mod:`pgtls.state.memory`)."""
DEPLOYED_PATH = f"{PRIVATE}/deployed"
"""In the private directory: the evidence that commands of this machine recorded (see :mod:`pgtls.state.deployed`)."""

TREE = ("ca", "servers", "poolers", "clients")
"""In the out directory: the directories of what a build makes."""

OURS = frozenset((MANIFEST, PRIVATE, GIT, GITIGNORE, GITKEEP))
"""The names in the out directory that the manifest does not list."""


def lock_path(spec: str | os.PathLike[str], override: str | os.PathLike[str] | None = None) -> str:
    """Return the lock of a spec: ``override`` if given, else with ``.lock`` in place of ``.toml`` or appended."""
    if override:
        return os.fspath(override)
    return os.fspath(spec).removesuffix(".toml") + ".lock"


def deployed_path(lock: str | os.PathLike[str]) -> str:
    """Return the evidence of deployments next to a lock: ``.deployed`` in place of ``.lock``, or appended."""
    return os.fspath(lock).removesuffix(".lock") + ".deployed"


def out_path(spec: str | os.PathLike[str], override: str | os.PathLike[str] | None = None) -> str:
    """Return the out directory of a spec: ``override`` if given, else ``out`` next to the spec."""
    if override:
        return os.fspath(override)
    return os.path.join(os.path.dirname(os.fspath(spec)), "out")


def staged_names(path: str, out: str) -> tuple[str, str, str]:
    """Return the real paths of the lock, of the lock that a build into ``out`` stages, and of both merged.

    Follow links to the lock's directory, but not the lock itself if it is a link.
    """
    path = real_path(path)
    staged = _staged(path, out)
    return path, staged, joined_name(staged)


def real_path(path: str) -> str:
    """Return the path of a file with its directory resolved; a link in its own place stays."""
    directory, name = os.path.split(path)
    return os.path.join(os.path.realpath(directory), name)


def _staged(path: str, out: str) -> str:
    """Return the path of the staged lock: next to the lock, different for each out directory that shares it."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.{sha256(os.fsencode(os.path.realpath(out))).hexdigest()[:16]}.new")


def joined_name(staged: str) -> str:
    """Return the path at which a completion writes a lock before it renames it: the staged one, or both merged."""
    return f"{staged}.joined"


def own_files(lock: str, out: str) -> frozenset[str]:
    """Return the paths of the lock and of the staged lock relative to the out directory; none if they lie elsewhere."""
    root = os.path.join(os.path.realpath(out), "")
    return frozenset(path.removeprefix(root) for path in staged_names(lock, out) if path.startswith(root))
