"""Which generations may be in use, from what builds made and from what is known to be deployed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from pgtls.certificates.asked import Asked
from pgtls.pki.model import Entity
from pgtls.state.deployed import Evidence
from pgtls.state.generations import Generation, extended, in_use, kept, read
from support.building import NOW, SMALL, Place

APP = Entity("user.app")
HOUR = timedelta(hours=1)


def made(name: str, hour: int) -> Generation:
    """Return a generation by the name of its facts."""
    return Generation(APP, (name * 16,), NOW + hour * HOUR, {"facts": name, "entries": []})


def seen(name: str, hour: int) -> Evidence:
    return Evidence(APP, name * 16, None, (), "confirm", NOW + hour * HOUR)


def names(found: tuple[Generation, ...]) -> str:
    return "".join(one.facts["facts"] for one in found)


def test_what_was_built_since_the_evidence_may_be_in_use() -> None:
    known = (made("a", 0), made("b", 2), made("c", 4))
    assert names(in_use(known, None, NOW)) == "abc"
    assert names(in_use(known, seen("b", 3), NOW)) == "bc"
    assert names(in_use(known, seen("d", 3), NOW)) == "abc", "nobody knows this generation"


def test_a_generation_that_was_built_again_is_not_known_to_be_deployed_again() -> None:
    evidence = seen("a", 1)
    known: tuple[Generation, ...] = (made("a", 0),)
    for hour, name in ((2, "b"), (3, "a")):
        known = extended(in_use(known, evidence, NOW), made(name, hour), revoking=False)
    assert names(known) == "ba"
    assert names(in_use(known, evidence, NOW)) == "ba", "b may have been deployed after the evidence"
    assert names(in_use(known, seen("a", 3), NOW)) == "a"


def test_a_generation_that_has_ended_is_not_in_use_and_not_forgotten() -> None:
    known = tuple(replace(made(name, 0), ends=NOW + HOUR) for name in "ab")
    assert names(in_use(known, None, NOW + 2 * HOUR)) == "b"
    after = extended(kept(known, None, NOW + 2 * HOUR), made("c", 2), revoking=False)
    assert names(in_use(after, None, NOW)) == "abc"
    assert names(kept(known, seen("b", 1), NOW + 2 * HOUR)) == "b", "which is known to be deployed"
    many = tuple(replace(made("a", hour), ends=NOW + HOUR) for hour in range(100))
    assert kept(many, None, NOW + 2 * HOUR) == many[35:], "the last 64 that have ended, and the last one"


def test_a_build_with_a_fast_clock_forgets_no_generation(place: Place) -> None:
    place.build(SMALL)
    place.build(SMALL.replace('"db.example.com"', '"db.example.com", "db2.example.com"'), now=NOW + 24 * HOUR)
    place.build(now=NOW + 9999 * HOUR)
    assert len((read(str(place.out)) or {})[Entity("server.main")]) == 2


def test_what_no_answer_tells_apart_is_as_old_as_the_first_of_it(place: Place) -> None:
    def first() -> tuple[int, int]:
        (*_, last) = (read(str(place.out)) or {})[Entity("server.main")]
        assert last.first is not None
        return (last.built - NOW) // HOUR, (last.first - NOW) // HOUR

    place.build(SMALL)
    assert first() == (0, 0)
    place.build(now=NOW + HOUR)
    assert first() == (0, 0), "nothing changed"
    place.build(SMALL.replace("hosts =", 'settings = { log_connections = "on" }\nhosts ='), now=NOW + 2 * HOUR)
    assert first() == (2, 0), "a setting changed"
    place.build(now=NOW + 3 * HOUR, asked=Asked(renew=frozenset({"server.main"})))
    assert first() == (3, 3), "a new certificate tells it apart"
    revoking = place.spec.read_text().replace("[user.app]", "[user.app]\nrevoke_before = 2026-01-01T03:30:00Z")
    place.build(revoking, now=NOW + 4 * HOUR)
    assert first() == (4, 3), "only a CRL changed"
    place.build(revoking.replace('["10.0.0.0/8"]', '["10.0.0.0/9"]'), now=NOW + 5 * HOUR)
    assert first() == (5, 5), "other rules"
    place.build(revoking, now=NOW + 6 * HOUR)
    assert first() == (6, 3), "which came back"


def test_a_tree_of_before_does_not_know_how_old_it_is() -> None:
    (last,) = extended((replace(made("a", 0), first=None),), replace(made("a", 1), ids=("other",)), revoking=True)
    assert (last.built, last.first) == (NOW + HOUR, None)


def test_generations_before_the_evidence_do_not_come_back() -> None:
    evidence = seen("b", 2)
    known = extended(in_use((made("a", 0), made("b", 1)), evidence, NOW), made("c", 3), revoking=False)
    assert names(known) == "bc"
