"""A build killed at any of its writes: the next build has all of it or nothing, and keys match their certificates."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgtls.pki import encryption
from support.building import NOW, SMALL, Place
from support.interrupting import Interrupted

PHRASE = "correct horse"

# Creates, replaces, deletes and revokes: everything that a build can do to a tree.
CHANGED = SMALL.replace("[user.app]", "[user.etl]").replace('"app"', '"etl"').replace('"10.0.0.5"', '"10.0.0.6"')
SOURCE = 'passphrase = { env = "PHRASE" }'
GUARDED = SMALL.replace("[user.app]\n", f"[user.app]\n{SOURCE}\n").replace("[ca.root]\n", f"[ca.root]\n{SOURCE}\n")
ALONE = SMALL.replace('ca = "root"\nclient_ca', 'ca = "self-signed"\nclient_ca').replace("[ca.root]\n", "")

CASES = {
    "a first one": (None, SMALL, timedelta(0)),
    "one that creates, replaces, deletes and revokes": (SMALL, CHANGED, timedelta(0)),
    "one that encrypts keys": (SMALL, GUARDED, timedelta(0)),
    "one that makes the next certificate of a self-signed server": (ALONE, ALONE, timedelta(days=2600)),
}


@pytest.mark.parametrize(("before", "after", "later"), CASES.values(), ids=CASES)
def test_a_build_that_is_killed_at_any_write_is_done_or_undone(
    before: str | None, after: str, later: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHRASE", PHRASE)
    monkeypatch.setattr(encryption, "ROUNDS", 1000)  # each of a hundred builds encrypts keys

    def prepare(place: Place) -> None:
        if before is not None:
            place.build(before)
        place.write(after)

    build = Interrupted(prepare, lambda place: place.build(now=NOW + later), PHRASE.encode())
    assert set(build.at_each_write()) == {"undone", "decided", "done"}
