"""Builds that are killed at their writes while keys are encrypted, brought along, or made for the next certificate: nothing is lost."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pgtls.build.commit import recover
from support.building import NOW, SMALL, Place, steps
from support.killing import in_child

if TYPE_CHECKING:
    from pathlib import Path

PHRASE = 'passphrase = { env = "PHRASE" }'
GUARDED = SMALL.replace("[user.app]\n", f"[user.app]\n{PHRASE}\n").replace("[ca.root]\n", f"[ca.root]\n{PHRASE}\n")
ALONE = SMALL.replace('ca = "root"\nclient_ca', 'ca = "self-signed"\nclient_ca').replace("[ca.root]\n", "")


def pairs_match(place: Place) -> None:
    for key in place.out.rglob("*.key"):
        pem = key.read_bytes()
        private = load_pem_private_key(pem, b"correct horse" if b"ENCRYPTED" in pem else None)
        certificate = x509.load_pem_x509_certificates(key.with_suffix(".crt").read_bytes())[0]
        assert certificate.public_key() == private.public_key(), key
        assert key.stat().st_mode & 0o777 == 0o600


CASES = {
    "a passphrase is added": (SMALL, GUARDED, timedelta(0)),
    "the next certificate of a self-signed server is made": (ALONE, ALONE, timedelta(days=2600)),
}


@pytest.mark.parametrize(("before", "after", "later"), CASES.values(), ids=CASES)
def test_a_build_that_is_killed_loses_no_key(
    tmp_path: Path, before: str, after: str, later: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "PHRASE", "correct horse")
    origin = Place(tmp_path / "origin")
    origin.directory.mkdir()
    origin.build(before)
    origin.write(after)
    counted = copy_of(origin, tmp_path / "count")
    numbers = in_child(lambda: counted.build(now=NOW + later)).writes
    assert numbers is not None
    for number in range(1, numbers + 1, 3):
        place = copy_of(origin, tmp_path / f"kill-{number}")
        assert in_child(lambda place=place: place.build(now=NOW + later), kill_at=number).killed  # type: ignore[misc]
        recover(str(place.out), str(place.lock))
        pairs_match(place)
        place.build(now=NOW + later)
        pairs_match(place)
        assert steps(place.build(now=NOW + later)) == []
        shutil.rmtree(place.directory)


def copy_of(origin: Place, directory: Path) -> Place:
    shutil.copytree(origin.directory, directory, copy_function=shutil.copy2)
    return Place(directory)
