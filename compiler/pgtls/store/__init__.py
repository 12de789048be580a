"""A tree in an object store, for several builders: immutable blobs, and one pointer that is swapped by its e-tag.

A command works on a private copy (:mod:`pgtls.store.copy`) of the tree that the pointer names, with the same stages as
on a local out directory. A build then pushes what it changed and swaps the pointer (:mod:`pgtls.store.session`). Only
:mod:`pgtls.store.objects` imports the library that talks to the store.

=============================  =========================================================================
object                         holds
=============================  =========================================================================
``pointer.json``               which tree counts; the only object that decides anything
``trees/NAME.json``            the blobs of one tree
``state/NAME.tar``             its manifest and what pgtls remembers: the lock, generations, evidence
``entities/DIR/NAME.tar``      one directory of the tree, such as ``servers/main``
``entities/DIR/entity.json``   which of them is current, for machines that may read this prefix alone
=============================  =========================================================================

NAME is the build that pushed the blob, and the SHA-256 of its content. No two builds push a blob of one name, so what a
build pushed in vain can be deleted, whatever others do.
"""

from __future__ import annotations

import re

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_store(out: str) -> bool:
    """Return whether the value of ``--out`` is the URL of a store and not a path."""
    return _URL.match(out) is not None
