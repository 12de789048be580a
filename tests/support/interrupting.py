"""Builds killed at each of their writes: each ends done or undone, and every key matches its certificate.

A case is a built spec and the build to kill; each kill works on a copy of it, in memory if the machine has enough. The
build is the real one, in a forked child of a process that has imported everything.
"""

from __future__ import annotations

import shutil
import stat
from bisect import bisect_left
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pgtls.state import deployed
from pgtls.state import lock as locks
from pgtls.state import manifest as manifests
from pgtls.state.out_directory import observe_files
from pgtls.state.transaction import pending, recover
from pgtls.state.up_to_date import input_digest, source_digest
from support.building import NOW, Place, steps
from support.killing import in_child, moments
from support.system import new_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pgtls.stages import Planned


@dataclass(slots=True)
class Interrupted:
    """A build that is killed: ``prepare`` makes what is there before, ``build`` is what is killed."""

    prepare: Callable[[Place], object]
    build: Callable[[Place], Planned]
    passphrase: bytes | None = None
    """That of the keys which are encrypted."""
    opened: Callable[[bytes], bytes] = bytes
    """Returns what the file of a key holds, if it is encrypted for recipients."""
    directory: Path = field(default_factory=lambda: new_directory("kill"))
    origin: Place = field(init=False)
    old: dict[str, tuple[int, str]] = field(init=False)

    def __post_init__(self) -> None:
        self.origin = Place(self.directory / "origin")
        self.origin.directory.mkdir()
        self.prepare(self.origin)
        self.old = self.origin.state()

    def at_each_write(self) -> Counter[str]:
        """Kill the build at the :func:`moments`. Count what is left: the old state, the new one, or a decision."""
        found: Counter[str] = Counter()
        for number in moments(self._writes()):
            with self._killed_at(number) as place:
                found[self._outcome(place)] += 1
                self._next_build_completes(place)
        return found

    def at_each_write_of_the_next_build(self) -> int:
        """Kill the build just after its decision, and the next build at each write. Return the number of writes."""
        decided = self._first_decision()
        with self._killed_at(decided) as place:
            total = in_child(partial(self.build, place)).writes
        assert total
        for number in moments(total):
            with self._killed_at(decided) as place:
                assert in_child(partial(self.build, place), kill_at=number).killed
                assert self._outcome(place) != "undone", "what was decided is undone"
                self._next_build_completes(place)
        return total

    def _writes(self) -> int:
        with self._copy() as place:
            total = in_child(partial(self.build, place)).writes
        assert total is not None
        assert total > 30, "a build writes more than that: the count is wrong"
        return total

    def _first_decision(self) -> int:
        def has_decided(number: int) -> bool:
            with self._killed_at(number) as place:
                return pending(str(place.out)) or place.state() != self.old

        return 1 + bisect_left(range(1, self._writes() + 1), True, key=has_decided)

    @contextmanager
    def _killed_at(self, number: int) -> Iterator[Place]:
        with self._copy() as place:
            assert in_child(partial(self.build, place), kill_at=number).killed
            yield place

    @contextmanager
    def _copy(self) -> Iterator[Place]:
        place = Place(self.directory / "copy")
        shutil.copytree(self.origin.directory, place.directory, copy_function=shutil.copy2)
        try:
            yield place
        finally:
            shutil.rmtree(place.directory)

    def _outcome(self, place: Place) -> str:
        """Return what a kill left, and check that recovery leaves all old or all new, byte for byte."""
        for path in place.directory.rglob("*.key"):  # staged ones too
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        if recover(str(place.out), str(place.lock)):
            found = "decided"
        else:
            found = "undone" if place.state() == self.old else "done"
        if found != "undone":
            assert is_whole(place)
            assert place.state() != self.old
        self._nothing_is_lost(place)
        return found

    def _next_build_completes(self, place: Place) -> None:
        self.build(place)
        assert is_whole(place)
        if steps(self.build(place)):  # the second step of a self-signed server
            assert steps(self.build(place)) == []
        assert {path.name for path in (place.out / ".pgtls").iterdir()} <= {
            ".gitignore",
            "deployed",
            "generations",
            "key",
            "lock",
            "memory",
            "mutex",
        }
        assert not list(place.directory.glob(".*.new*")), "a staged lock is left"
        self._nothing_is_lost(place)

    def _nothing_is_lost(self, place: Place) -> None:
        pairs_match(place, self.passphrase, self.opened)
        before, after = (authorities(one, self.passphrase, self.opened) for one in (self.origin, place))
        assert before <= after, "the key of a CA is gone"
        old, new = locks.read(self.origin.lock), locks.read(place.lock)
        assert set(old.revocations) <= set(new.revocations)
        assert set(old.by_serial) <= set(new.by_serial)


def pairs_match(place: Place, passphrase: bytes | None = None, opened: Callable[[bytes], bytes] = bytes) -> None:
    """See that every key in the tree is that of the certificate beside it, and its owner's alone."""
    for path in place.out.rglob("*.key"):
        pem = opened(path.read_bytes())
        key = load_pem_private_key(pem, passphrase if b"ENCRYPTED" in pem else None)
        certificate = x509.load_pem_x509_certificates(path.with_suffix(".crt").read_bytes())[0]
        assert certificate.public_key() == key.public_key(), path
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def authorities(place: Place, passphrase: bytes | None = None, opened: Callable[[bytes], bytes] = bytes) -> set[object]:
    """Return the numbers of the private keys of all CAs, retired ones included."""
    pems = [opened(path.read_bytes()) for path in (place.out / "ca").rglob("*.key")]
    keys = (load_pem_private_key(pem, passphrase if b"ENCRYPTED" in pem else None) for pem in pems)
    return {key.private_numbers() for key in keys}  # type: ignore[union-attr]


def is_whole(place: Place) -> bool:
    """Return whether the tree and the lock are, byte for byte, those of one build: the one that wrote the manifest."""
    manifest = manifests.read(place.out)
    if manifest is None:
        return False
    inputs = manifest.inputs
    observed = observe_files(str(place.out), manifest)
    if set(observed.states.values()) != {"same"} or observed.foreign:
        return False
    if inputs.digest == "":
        # Something is said at every build: then the lock's last certificates must be those of the tree.
        listed = {line.serial for line in locks.read(place.lock).latest.values()}
        return listed == {f"{number:x}" for number in _serials(place)}
    sources = source_digest(str(place.spec), inputs.include, inputs.files, "")
    digest = input_digest(sources, place.lock.read_bytes(), deployed.read(place.lock, str(place.out), NOW).digest)
    return inputs.digest == digest


def _serials(place: Place) -> set[int]:
    paths = [path for path in place.out.rglob("*.crt") if path.with_suffix(".key").exists()]
    return {x509.load_pem_x509_certificates(path.read_bytes())[0].serial_number for path in paths}
