"""Random changes of others to the lock: no revocation is undone, and nothing ends in a traceback."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.pki import crl
from pgtls.pki.issue import Issuer
from pgtls.pki.model import Revocation, RevocationList
from pgtls.state import lock as locks
from support.authority import Authority
from support.building import NOW, SMALL, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS = 20
DAY = timedelta(days=1)
FOREVER = datetime.max.replace(tzinfo=UTC)
LISTED, BROUGHT = "dead", "beef"
"""Serial numbers of certificates that pgtls never saw: in ``revoked``, and on a CRL from elsewhere."""

Line = dict[str, Any]


def spec(*users: str, listed: bool = True) -> str:
    table = '[ca.clients]\ncrl_validity = "10d"\n' + (f'revoked = ["{LISTED}"]\n' if listed else "")
    text = SMALL.replace("[ca.clients]\n", table)
    text = text.replace('users = ["app"]', f"users = {json.dumps(['app', *users])}")
    return text + "".join(f'[user.{name}]\nca = "clients"\n' for name in users)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A tree with a renewed user, another one who left, and two revoked certificates that pgtls never saw."""
    place = Place(tmp_path_factory.mktemp("grown"))
    place.build(spec("bob", "carol"))
    place.build(now=NOW + DAY, asked=Asked(renew=frozenset({"user.carol"})))
    place.build(spec("carol"), now=NOW + 2 * DAY)
    ca, path = Authority.of(place.file("ca/clients")), place.file("ca/clients/ca.crl")
    there = crl.read(path.read_bytes())
    assert isinstance(there, RevocationList)
    entries = (*there.revoked, Revocation(BROUGHT, NOW, "key_compromise"))
    path.write_bytes(crl.make(Issuer(ca.certificate, ca.key), there.number, NOW + 2 * DAY, 90 * DAY, entries))
    place.build(now=NOW + 3 * DAY)
    assert on_list(place) == {LISTED, BROUGHT, *of(place, "user.bob")}
    return place


def of(place: Place, entity: str) -> dict[str, datetime]:
    """Return when each certificate of an entity ends."""
    issued = (line for line in locks.read(place.lock).issued if line.entity == entity)
    return {line.serial: line.certificate.not_after for line in issued}


def on_list(place: Place) -> set[str]:
    found = crl.read(place.file("ca/clients/ca.crl").read_bytes())
    assert isinstance(found, RevocationList)
    return {entry.serial for entry in found.revoked}


FIRST = ("1900-01-01T00:00:00Z", "2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z")
FIELDS = {
    "not_before": FIRST,
    "not_after": tuple(f"{day}T00:00:00Z" for day in ("2020-01-01", "2026-01-20", "2026-02-10", "9999-12-31")),
    "date": FIRST,
    "reason": ("unspecified", "superseded", "key_compromise", "remove_from_crl"),
    "entity": ("ca.clients", "user.app", "user.bob", "user.carol", "user.ghost"),
    "ca": ("clients", "root"),
    "serial": (LISTED, BROUGHT, "a", "f" * 41),
    "sha256": ("0" * 64, "1" * 64),
    "subject": ("CN=ghost",),
    "trust": (["user.app"], ["server.main"], []),
    "roots": (["0" * 64],),
    "foreign": (True,),
    "note": ("a key that no version knows",),
}
OPTIONAL = frozenset(("trust", "roots", "foreign", "note"))
"""Keys that a line need not have."""


def changed(lines: list[Line], random: Random) -> Iterator[Line]:
    """Yield what a pull request makes of the lines of a lock: lines are edited, removed and added."""
    lines = sorted(lines, key=lambda line: [str(line.get(name)) for name in ("event", "entity", "not_before")])
    chosen = random.sample(range(len(lines)), random.randint(1, 3))
    for index, line in enumerate(lines):
        what = random.choice(["add", "pair", "pair", "edit", "remove"]) if index in chosen else "keep"
        if what not in ("edit", "remove"):
            yield line
        if what in ("add", "edit"):
            names = random.sample(sorted(FIELDS.keys() & (line.keys() | OPTIONAL)), random.randint(0, 4))
            yield {**line, **{name: random.choice(FIELDS[name]) for name in names}}
        elif what == "pair":
            yield from _pair(lines[0], random)


def _pair(line: Line, random: Random) -> Iterator[Line]:
    """Yield a certificate that does not exist, perhaps with the serial number of a revoked one, and its revocation."""
    names = ("entity", "serial", "sha256", "not_before", "not_after")
    issued = {**line, "ca": "clients", **{name: random.choice(FIELDS[name]) for name in names}}
    if random.random() < 0.7:
        yield issued
    if random.random() < 0.7:
        same = {name: issued[name] for name in ("ca", "entity", "serial")}
        yield {**same, "event": "revoked", **{name: random.choice(FIELDS[name]) for name in ("reason", "date")}}


def written(place: Place) -> set[str]:
    """Return the lines of the lock, each in one form."""
    return {json.dumps(json.loads(line), sort_keys=True) for line in place.lock.read_text().splitlines()[1:]}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_change_of_the_lock_takes_a_revoked_certificate_off_the_list(grown: Place, place: Place, seed: int) -> None:
    shutil.copytree(grown.directory, place.directory, dirs_exist_ok=True)
    random, now = Random(seed), NOW + 4 * DAY  # noqa: S311
    revoked, carol = {LISTED: FOREVER, BROUGHT: FOREVER, **of(place, "user.bob")}, of(place, "user.carol")
    of_builds = written(place)
    for _ in range(3):
        lock = place.lock.read_text()
        header, *lines = map(json.loads, lock.splitlines())
        place.lock.write_text("".join(f"{json.dumps(line)}\n" for line in (header, *changed(lines, random))))
        left, listed, allowed = (random.random() < 0.5 for _ in range(3))
        place.write(spec(*() if left else ("carol",), listed=listed))
        if random.random() < 0.3:
            # As a branch does that has it and is checked out for a moment. Nothing else knows what was brought.
            place.file("ca/clients/ca.crl").unlink(missing_ok=True)
            revoked.pop(BROUGHT, None)
        of_others = set() if allowed else written(place)
        try:
            place.build(now=now, asked=Asked(allow_revoke=allowed, accept_outage=True))
        except Rejected:
            place.lock.write_text(lock)  # as the hints say
            place.build(now=now, asked=Asked(allow_revoke=True, accept_outage=True))
            of_others = set()
        assert of_builds <= written(place), "builds write each line of theirs again"
        of_builds |= written(place) - of_others
        revoked |= carol if left else {}
        assert {serial for serial, end in revoked.items() if end > now} <= on_list(place)
        now += random.randint(5, 60) * DAY


def test_no_line_gives_an_end_to_a_certificate_that_pgtls_never_saw(place: Place) -> None:
    place.build(spec("bob", listed=True))
    place.build(spec("bob", listed=False), now=NOW + DAY)
    header, *lines = map(json.loads, place.lock.read_text().splitlines())
    issued = next(line for line in lines if line["entity"] == "user.bob")
    ends = {"serial": LISTED, "sha256": "0" * 64, "not_before": FIRST[1], "not_after": "2026-01-10T00:00:00Z"}
    revoked = next(line for line in lines if line["event"] == "revoked")
    earlier = {"entity": "user.bob", "reason": "superseded", "date": FIRST[1]}
    added = (issued | ends, revoked | earlier)
    place.lock.write_text("".join(f"{json.dumps(line)}\n" for line in (header, *lines, *added)))
    place.build(now=NOW + 2 * DAY)
    assert on_list(place) == {LISTED}
    place.file("ca/clients/ca.crl").unlink()
    place.build(now=NOW + 20 * DAY)
    assert on_list(place) == {LISTED}
