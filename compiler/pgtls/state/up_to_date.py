"""Find out whether a build has nothing to do without parsing the spec: digest the inputs and stat each file.

Import as little as possible (no dataclasses, no pathlib, no TOML): imports are most of the cost of such a build.
"""

from __future__ import annotations

import json
import os
import stat
from hashlib import sha256

from pgtls import __version__
from pgtls.state import memory
from pgtls.state.git_index import IndexFault, ignores_all, strangers
from pgtls.state.names import (
    GENERATIONS_PATH,
    KNOWN_PATH,
    MANIFEST,
    MEMORY_PATH,
    PRIVATE,
    RECORD_PATH,
    STAGING_PATH,
    deployed_path,
    own_files,
)
from pgtls.state.reading import read
from pgtls.state.writers import writers

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing alone costs 2 ms
    from collections.abc import Iterable, Mapping
    from typing import Any

_LONGEST = 1 << 30
"""Bytes."""

ABSENT = FileNotFoundError.__name__
"""Stands for the digest of a file that is not there."""

FORMAT = 1
"""The version of the manifest that this module understands: :data:`pgtls.state.manifest.VERSION`."""


def up_to_date(spec: str, out: str, lock: str, options: str, now: str, *, touch: bool = True) -> bool:
    """Return whether a build has nothing to do. If so, ``touch`` sets the manifest's modification time to now.

    ``options`` are the options that a build depends on, in any fixed form. ``now`` is RFC 3339 text of
    :func:`pgtls.state.lock.timestamp`: such texts sort as the instants do. Return False if something cannot be read or
    is unclear: a real build then reports what is wrong.
    """
    out = out.rstrip("/") or "/"
    name = f"{out}/{MANIFEST}"
    try:
        manifest = read(name, longest=_LONGEST)
        head = _head(manifest)
        inputs, due = head["inputs"], head["next_due"]
        nothing = (
            head["pgtls_manifest"] == FORMAT
            and head["built"] <= now
            and (due is None or now < due)
            and not os.path.islink(out)
            and stat.S_ISREG(os.stat(spec).st_mode)  # the content of a pipe is unknown before it is read
            and not os.path.islink(name)
            and not os.path.islink(f"{out}/{PRIVATE}")
            and not os.path.lexists(f"{out}/{RECORD_PATH}")
            and not os.path.lexists(f"{out}/{STAGING_PATH}")  # with the keys of a build that was killed
            and inputs["digest"]
            == input_digest(
                source_digest(spec, inputs["include"], inputs["files"], options),
                read(lock, longest=_LONGEST),
                _content(deployed_path(lock)),
            )
            and memory.is_of_last_build(out, manifest)
            and all(os.path.lexists(f"{out}/{path}") for path in (KNOWN_PATH, GENERATIONS_PATH, MEMORY_PATH))
            and ignores_all(out)
            and not strangers(out, own_files(lock, out), encrypted="at_rest" in head)
            and _untouched(out, json.loads(manifest)["files"])
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, IndexFault):
        return False
    if nothing and touch:
        try:
            os.utime(name, follow_symlinks=False)
        except OSError:  # a read-only tree is up to date, too
            return True
    return nothing


def _head(manifest: bytes) -> Any:
    """Return a manifest without its long lists: most builds that have something to do need not read those here.

    No string of JSON contains the text that they begin with: it would escape the quotes.
    """
    head, lists, _ = manifest.partition(b',"texts":{')
    return json.loads(head + b"}" if lists else manifest)


def source_digest(spec: str, include: Iterable[str], files: Iterable[str], options: str) -> str:
    """Return the :func:`contents_digest` of the spec, of the files that ``include`` matches, and of ``files``.

    The patterns and ``files``, the other files that the spec names, are relative to the directory of the spec.
    """
    directory = os.path.dirname(spec) or "."
    names = {os.path.normpath(name) for name in (*_included(directory, include), *files)}
    paths = {"": spec} | {name: os.path.join(directory, name) for name in names}
    return contents_digest({name: _content(path) for name, path in paths.items()}, options)


def contents_digest(contents: Mapping[str, str], options: str) -> str:
    """Digest the version of pgtls, ``options``, and each digest of :meth:`pgtls.language.source.Source.contents`."""
    digest = sha256(f"{__version__}\0{options}\0".encode())
    for name in sorted(contents):
        digest.update(f"{name}\0{contents[name]}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _content(path: str) -> str:
    try:
        return sha256(read(path, longest=_LONGEST, follow=True)).hexdigest()
    except (OSError, ValueError) as error:
        return type(error).__name__


def input_digest(sources: str, lock: bytes, deployed: str = ABSENT) -> str:
    """Digest all that a build depends on: :func:`source_digest`, the lock after the build, and ``deployed``.

    That is the :attr:`pgtls.state.deployed.Deployed.digest`.
    """
    return sha256(f"{sources}\0{sha256(lock).hexdigest()}\0{deployed}".encode()).hexdigest()


def _included(directory: str, patterns: Iterable[str]) -> Iterable[str]:
    """Expand the patterns as :func:`pgtls.language.load.load` does."""
    patterns = tuple(patterns)
    if patterns:
        from pgtls.language.matching import matches  # brings glob, re and fnmatch with it

        for pattern in patterns:
            yield from matches(directory, pattern)


def _untouched(out: str, files: Mapping[str, Mapping[str, Any]]) -> bool:
    """Compare the stat of each file, and check that no directory is a link and that those of keys are closed.

    All of it belongs to the user who builds.
    """
    private = {path.rpartition("/")[0] for path, entry in files.items() if entry["kind"] == "key"}
    lstat, regular, owner = os.lstat, stat.S_IFREG, os.geteuid()
    directories = {path.rpartition("/")[0] for path in files} | {""}
    directories |= {above.rpartition("/")[0] for above in directories}
    for directory in directories:
        found = lstat(f"{out}/{directory}")
        is_open = found.st_mode & 0o077 if directory in private else found.st_mode & 0o022 and writers(found)
        if not stat.S_ISDIR(found.st_mode) or is_open or found.st_uid != owner:
            return False
    if any(lstat(f"{out}/{name}").st_uid != owner for name in (MANIFEST, PRIVATE)):
        return False
    for path, entry in files.items():
        found = lstat(f"{out}/{path}")
        if (
            found.st_mtime_ns != entry["mtime_ns"]
            or found.st_size != entry["size"]
            or found.st_mode != regular | entry["mode"]
            or found.st_uid != owner
        ):
            return False
    return True
