"""The whole out directory as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from typing import SupportsBytes

    from pgtls.pki.model import Entity


FileKind = Literal[
    "certificate",
    "key",
    "key-uri",
    "request",
    "crl",
    "trust",
    "hba",
    "ident",
    "conf",
    "hosts",
    "script",
    "bundle",
    "archive",
    "gitignore",
]
FILE_KINDS: tuple[FileKind, ...] = get_args(FileKind)


class Later(Enum):
    """Content that is not available when a tree is rendered."""

    PENDING = "depends on a certificate that is not issued yet"
    KEPT = "stays as it is: a key that nobody had to read"
    REENCRYPTED = "stays as it is, encrypted for others than before"


Content: TypeAlias = "SupportsBytes | Later"
"""The content of a file: its bytes, or what renders them when asked: a big tree does not hold all of its texts."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the tree."""

    content: Content
    mode: int
    kind: FileKind
    entity: Entity

    def read(self) -> bytes | None:
        """Return the content. Return None if it is not available."""
        return None if isinstance(self.content, Later) else bytes(self.content)


Tree = Mapping[str, File]
"""The whole out directory as a value: by path relative to it, with ``/``."""
