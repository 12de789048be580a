"""Evidence of what is deployed: which generation of an entity's files, who says so, and when.

The file lies next to the lock (``pgtls.deployed`` next to ``pgtls.lock``) and is committed like it: JSON Lines that git
merges by union, public facts only. A line says that the files of one build are in use; ``pgtls verify`` writes what it
saw on the wire, ``pgtls confirm`` what somebody knows. Of an entity, the latest line counts.

Everybody who can commit can add a line, so a line alone revokes and deletes nothing. For that, only those lines count
that commands on the machine that builds write into a copy in the out directory, and that its key authenticates
(:attr:`Deployed.own`). Git may have left other lines there.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from pgtls.diagnostics import Diagnostic, Place, Rejected
from pgtls.pki.model import Entity
from pgtls.state import files, seal
from pgtls.state.faults import cannot_read, writing
from pgtls.state.lock import instant, timestamp
from pgtls.state.names import DEPLOYED_PATH, deployed_path
from pgtls.state.up_to_date import ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

__all__ = ["Deployed", "Evidence", "deployed_path", "read", "record"]

VERSION = 1
HEADER = json.dumps({"pgtls_deployed": VERSION})

Witness = Literal["confirm", "verify"]
_ENTITY = re.compile(r"(?:server|pooler|user)\.[a-z0-9][a-z0-9._-]{0,62}\Z")
_GENERATION = re.compile(r"[0-9a-f]{16}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_CONFLICT = (b"<<<<<<<", b"=======", b">>>>>>>", b"|||||||")


@dataclass(frozen=True, slots=True)
class Evidence:
    """One line. ``by`` is the command that wrote it; ``reason``, for ``confirm``, why somebody knows.

    ``generation`` is a :attr:`pgtls.state.generations.Generation.ids`; ``certificate`` and ``trust`` are SHA-256
    fingerprints: of the certificate that the entity presents (None: it has none), and of those in its ``root.crt``.
    """

    entity: Entity
    generation: str
    certificate: str | None
    trust: tuple[str, ...]
    by: Witness
    at: datetime
    reason: str = ""

    def repeats(self, other: Evidence | None, built: datetime) -> bool:
        """Return whether another line, from after the last build, says the same already."""
        return (
            other is not None
            and (other.entity, other.generation) == (self.entity, self.generation)
            and built <= other.at
        )

    def fields(self) -> dict[str, Any]:
        """Return the fields of the line, as JSON has them."""
        return {
            "entity": self.entity,
            "generation": self.generation,
            "certificate": self.certificate,
            "trust": list(self.trust),
            "by": self.by,
            "at": timestamp(self.at),
            **({"reason": self.reason} if self.reason else {}),
        }

    def render(self) -> str:
        """Return the line."""
        return json.dumps(self.fields(), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Deployed:
    """The latest evidence of each entity: by anybody, and by commands of this out directory, whose key closes it."""

    latest: Mapping[Entity, Evidence] = field(default_factory=dict)
    own: Mapping[Entity, Evidence] = field(default_factory=dict)
    digest: str = ABSENT
    """The SHA-256 of the file next to the lock, as :mod:`pgtls.state.up_to_date` finds it."""


def read(lock: str | os.PathLike[str], out: str, now: datetime) -> Deployed:
    """Read the evidence next to a lock, and the copy of an out directory; nothing where there is none.

    A line from after ``now`` does not count: otherwise, one that somebody commits would be the latest for ever.
    Raise :class:`Rejected`: PGT506 and PGT527 (cannot be read), PGT507 (a merge conflict or a damaged line),
    PGT503 (newer).
    """
    copy, path = os.path.join(out, DEPLOYED_PATH), deployed_path(lock)
    kept, shared = _content(copy) or b"", _content(path)
    own = _latest(_lines(copy, _closed(kept, seal.of(out))), now)
    digest = ABSENT if shared is None else sha256(shared).hexdigest()
    return Deployed(_latest((*_lines(copy, kept), *_lines(path, shared)), now), own, digest)


def close(lines: bytes, key: bytes | None) -> bytes:
    """Return lines as the key of an out directory closes them; without a key, they count like those of others."""
    if key is None:
        return lines
    whole = (line if not line.endswith(b"}\n") else b"".join(seal.closed(key, [line])) for line in _each(lines))
    return b"".join(whole)


def opened(lines: bytes) -> bytes:
    """Return lines without what :func:`close` added."""
    return b"".join(map(seal.opened, _each(lines)))


def _closed(lines: bytes, key: bytes | None) -> bytes:
    """Return the lines that a key closes."""
    return b"".join(line for line in _each(lines) if seal.closes(key, line))


def _each(lines: bytes) -> list[bytes]:
    return lines.splitlines(keepends=True)


def record(lock: str | os.PathLike[str], out: str, seen: Sequence[Evidence]) -> None:
    """Add lines next to the lock, and to the copy of the out directory if it is there. Raise PGT530 or as :func:`read`.

    What others add meanwhile stays. The copy comes last, since only a line there revokes and deletes: if one of the two
    cannot be written, neither has the lines.
    """
    if not seen:
        return
    read(lock, out, seen[0].at)  # nothing is added to a file that cannot be read
    lines = "".join(f"{evidence.render()}\n" for evidence in seen).encode()
    copy, path = os.path.join(out, DEPLOYED_PATH), deployed_path(lock)

    def last() -> None:
        if os.path.isdir(os.path.dirname(copy)) and not os.path.islink(os.path.dirname(copy)):
            _append(copy, close(lines, seal.of(out)))

    if os.path.isdir(os.path.dirname(path) or "."):
        _append(path, lines, last)
    else:
        last()


def _append(path: str, lines: bytes, then: Callable[[], None] = lambda: None) -> None:
    with writing(path):
        files.append(path, lines, f"{HEADER}\n".encode(), then)


def _latest(lines: Iterable[Evidence], now: datetime) -> dict[Entity, Evidence]:
    found: dict[Entity, Evidence] = {}
    for line in lines:
        known = found.get(line.entity)
        if line.at <= now and (known is None or known.at <= line.at):
            found[line.entity] = line
    return found


class _Damage(Exception):  # noqa: N818  (becomes a diagnostic)
    """Why pgtls cannot have written a line."""


def _content(path: str) -> bytes | None:
    try:
        return files.read(path)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise Rejected(cannot_read(path, error)) from None
    except OSError as error:
        hint = "restore it from version control or a backup"
        reason = "it is a symbolic link" if os.path.islink(path) else error.strerror
        raise Rejected(Diagnostic("PGT506", f'cannot read the evidence "{path}": {reason}', hint=hint)) from None


def _lines(path: str, content: bytes | None) -> Iterator[Evidence]:
    for number, line in enumerate((content or b"").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            found = _evidence(line)
        except _Damage as damage:
            raise _damaged(path, number, line, str(damage)) from None
        if found:
            yield found


def _damaged(path: str, number: int, line: bytes, why: str) -> Rejected:
    text = line.decode(errors="replace").rstrip("\r")
    place = Place(path, number, 1, number, 2, text)
    hint = "keep the lines of both sides and delete the markers" if "conflict" in why else _RESTORE
    return Rejected(Diagnostic("PGT507", f"the evidence of deployments {why}", hint=hint, place=place, file=path))


_RESTORE = "restore the line from version control, or delete it: what it says is then not known"


def _evidence(line: bytes) -> Evidence | None:
    """Read one line; None for the header, which a union merge may repeat."""
    if line.startswith(_CONFLICT):
        raise _Damage("holds a merge conflict")
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise _Damage("has a line that is not JSON") from None
    if not isinstance(fields, dict):
        raise _Damage("has a line that is no JSON object")
    if "pgtls_deployed" in fields:
        version = fields["pgtls_deployed"]
        if version != VERSION:
            raise _Damage(f"is of version {json.dumps(version)}, and this pgtls reads version {VERSION}")
        return None
    certificate, trust, by = fields.get("certificate"), fields.get("trust"), str(fields.get("by"))
    if certificate is not None and not _is(_SHA256, certificate):
        raise _Damage('has a line whose "certificate" is no SHA-256 fingerprint')
    if not isinstance(trust, list) or not all(_is(_SHA256, one) for one in trust):
        raise _Damage('has a line whose "trust" is no list of SHA-256 fingerprints')
    if by not in get_args(Witness):
        raise _Damage('has a line whose "by" is neither "confirm" nor "verify"')
    return Evidence(
        Entity(_text(fields, "entity", _ENTITY, "server.NAME, pooler.NAME or user.NAME")),
        _text(fields, "generation", _GENERATION, "16 hex digits"),
        certificate,
        tuple(trust),
        cast("Witness", by),
        _when(fields),
        fields["reason"] if isinstance(fields.get("reason"), str) else "",
    )


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.match(value) is not None


def _text(fields: Mapping[str, Any], name: str, pattern: re.Pattern[str], what: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not pattern.match(value):
        raise _Damage(f'has a line whose "{name}" is not {what}')
    return value


def _when(fields: Mapping[str, Any]) -> datetime:
    try:
        return instant(fields["at"])
    except (KeyError, TypeError, ValueError):
        raise _Damage('has a line whose "at" is not an instant') from None
