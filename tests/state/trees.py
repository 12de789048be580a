"""Out directories for the tests of this area: built by the commit itself, without certificates."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pgtls.pki.model import Certificate, Entity
from pgtls.state import lock as locks
from pgtls.state import manifest as manifests
from pgtls.state import memory, seal
from pgtls.state.files import Stat
from pgtls.state.lock import IssuedLine, Lock
from pgtls.state.manifest import Inputs, Manifest, entry
from pgtls.state.out_directory import observe_files
from pgtls.state.transaction import LockChange, commit
from pgtls.state.tree import File, FileKind
from pgtls.state.up_to_date import input_digest, source_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ID = "0123456789abcdef0123456789abcdef"

Tree = dict[str, File]


def key(entity: str, content: str) -> File:
    """A private key."""
    return File(f"key {content}\n".encode() * 20, 0o600, "key", Entity(entity))


def public(entity: str, content: str, kind: FileKind = "certificate") -> File:
    """Any file that everybody may read."""
    return File(f"{kind} {content}\n".encode() * 20, 0o644, kind, Entity(entity))


def certificate(number: int, entity: str = "user.app", **fields: object) -> Certificate:
    """The facts of some certificate."""
    facts: dict[str, object] = {
        "serial": f"{number:x}",
        "subject": f"CN={entity}",
        "issuer": "CN=root",
        "names": (),
        "usages": ("clientAuth", "digitalSignature"),
        "key_algorithm": "ecdsa-p256",
        "spki_sha256": "5" * 64,
        "key_id": "6" * 40,
        "authority_key_id": "7" * 40,
        "sha256": f"{number:064x}",
        "not_before": datetime(2026, 1, 1, tzinfo=UTC),
        "not_after": datetime(2026, 6, 1, tzinfo=UTC),
        **fields,
    }
    return Certificate(**facts)  # type: ignore[arg-type]


def issued(number: int, entity: str = "user.app", ca: str = "root", **fields: object) -> IssuedLine:
    """A line of the lock."""
    return IssuedLine(ca, Entity(entity), certificate(number, entity, **fields))


@dataclass(frozen=True)
class Site:
    """A spec, its lock and its out directory."""

    directory: Path
    lock: Path

    @property
    def out(self) -> Path:
        """The out directory."""
        return self.directory / "out"

    @property
    def spec(self) -> Path:
        """The spec; what it says does not matter here."""
        return self.directory / "pgtls.toml"

    def build(
        self,
        tree: Mapping[str, File],
        *lines: IssuedLine,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Bring the out directory to ``tree`` and add lines to the lock, as a build does after it has decided."""
        self.out.mkdir(exist_ok=True)
        before, lock = manifests.read(self.out), locks.read(self.lock)
        listed = before.files if before else {}
        states = observe_files(str(self.out), before).states if before else {}
        entries = {
            path: known
            for path, known in listed.items()
            if path in tree and states[path] == "same" and _same(tree[path], known)
        }
        changes = {path: file for path, file in tree.items() if path not in entries}
        after = Lock(lock.id or ID, lock.issued, lock.revoked).with_lines(*lines)
        digest = input_digest(source_digest(str(self.spec), (), (), ""), after.render())

        def manifest(written: Mapping[str, manifests.Entry]) -> Iterator[bytes]:
            written = {path: written[path] for path in changes}
            return Manifest("0.1.0", ID, self.spec.name, Inputs(digest), NOW, None, {**entries, **written}).parts()

        change = LockChange(str(self.lock), after.render(), lock.digest)
        gone = [path for path in listed if path not in tree]
        private = {path.rpartition("/")[0] for path, file in tree.items() if file.kind == "key"}
        commit(str(self.out), changes, gone, manifest, change, private=private, progress=progress)

    def write_manifest(self, content: bytes) -> None:
        """Put another manifest in place, as the last build would have written it."""
        key = seal.of(str(self.out))
        assert key is not None
        sealed = b"".join(seal.closed(key, [seal.opened(content)]))
        (self.out / "manifest.json").write_bytes(sealed)
        (self.out / ".pgtls/memory").write_bytes(memory.content(key, sha256(sealed).hexdigest(), {}))

    def lock_bytes(self) -> bytes | None:
        """The lock as it lies there."""
        return self.lock.read_bytes() if self.lock.exists() else None


def _bytes(file: File) -> bytes:
    assert isinstance(file.content, bytes)
    return file.content


def _same(file: File, known: manifests.Entry) -> bool:
    return (
        entry(_bytes(file), Stat.of(os.stat("/")), file.kind, file.entity).sha256 == known.sha256
        and file.mode == known.mode
    )


Snapshot = dict[str, tuple[str, int, bytes]]


def snapshot(out: Path) -> Snapshot:
    """Everything in an out directory: kind, mode and content of each path, the manifest without its times."""
    found: Snapshot = {}
    for directory, names, files in os.walk(out):
        for name in (*names, *files):
            path = Path(directory, name)
            relative = path.relative_to(out).as_posix()
            if relative.startswith(".pgtls/"):
                continue
            status = path.lstat()
            found[relative] = (stat.filemode(status.st_mode)[0], stat.S_IMODE(status.st_mode), _content(path, out))
    return found


def _content(path: Path, out: Path) -> bytes:
    if path.is_symlink():
        return os.fsencode(path.readlink())
    if path.is_dir():
        return b""
    if path == out / "manifest.json":
        return _timeless(path).encode()
    return path.read_bytes()


def _timeless(path: Path) -> str:
    found = manifests.parse(path.read_bytes(), str(path))
    return repr(sorted((name, known._replace(mtime_ns=0)) for name, known in found.files.items()))


KEPT = {".gitignore", "key", "lock", "memory", "mutex"}
"""What stays in the private directory between two builds."""


def leftovers(site: Site) -> list[str]:
    """What a finished transaction must not leave: anything staged, anything beside the lock."""
    private = site.out / ".pgtls"
    staged = [path.name for path in private.iterdir() if path.name not in KEPT] if private.exists() else []
    return staged + [path.name for path in site.lock.parent.iterdir() if path.name.endswith((".new", ".joined"))]
