"""Ten servers on six-day certificates of an ACME CA, over ninety days, without a hand: the CA is away, and revokes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Rejected
from signers.programs import certificate, now
from support.acme import DAY, Pebble, pebble, web_server
from support.building import Place, steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pgtls.pki.model import Certificate
    from pgtls.stages import Planned

SERVERS = tuple(f"db{number}" for number in range(10))

SPEC = """
version = 1
[ca.public]
cert_file = "acme/root.crt"
crl = false
[ca.public.sign]
acme = "URL"
challenge = { directory = "www" }
roots_file = "acme/https.crt"
terms_agreed = true
profile = "shortlived"
[ca.clients]
validity = "20y"
[defaults.server]
ca = "public"
client_ca = ["clients"]
renew_before = "BEFORE"
SERVERS
[user.postgres]
[user.app]
ca = "clients"
validity = "10y"
[policy.dba]
users = ["postgres"]
servers = ["all"]
from = ["local"]
auth = "peer"
[policy.app]
users = ["app"]
servers = ["all"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


class Walk:
    """A directory, an ACME server, and one clock for both."""

    def __init__(self, place: Place, server: Pebble, before: str) -> None:
        self.place, self.server, self.after = place, server, timedelta()
        servers = "\n".join(f'[server.{name}]\nhosts = ["{name}.example.com"]' for name in SERVERS)
        spec = SPEC.replace("URL", server.road.url).replace("BEFORE", before).replace("SERVERS", servers)
        place.write(spec)

    @property
    def now(self) -> datetime:
        return now() + self.after

    def build(self) -> Planned:
        """Build as a timer does: no option."""
        return self.place.build(now=self.now)

    def wait(self, time: timedelta) -> None:
        self.after += time
        self.server.move(self.after)

    def certificates(self) -> Mapping[str, Certificate]:
        return {name: certificate(self.place, f"servers/{name}/server.crt") for name in SERVERS}


@pytest.fixture
def around(tmp_path: Path) -> Iterator[tuple[Place, Pebble]]:
    (tmp_path / "www").mkdir()
    with web_server(tmp_path / "www") as port, pebble(tmp_path / "acme", port) as server:
        yield Place(tmp_path), server


def renewed(planned: Planned) -> dict[str, str]:
    return {step.entity.name: step.reason for step in planned.plan.steps if step.action == "renew"}


@pytest.mark.slow
def test_ninety_days_without_a_hand(around: tuple[Place, Pebble]) -> None:
    walk = Walk(*around, before="4d")
    server = walk.server
    walk.build()
    serials = {name: {one.serial} for name, one in walk.certificates().items()}
    waited: set[int] = set()
    for day in range(1, 91):
        before = walk.certificates()
        walk.wait(DAY)
        assert all(one.not_before <= walk.now < one.not_after for one in before.values()), f"a gap before day {day}"
        if day == 30:
            server.road.cut()
        if day == 33:
            server.road.mend()
        if day == 60:
            for name in SERVERS:
                server.announce(walk.place.file(f"servers/{name}/server.crt").read_bytes(), walk.now)
        planned = walk.build()
        if any(action == "wait" for _, action in steps(planned)):
            waited.add(day)
        assert [one for one in planned.diagnostics if one.severity == "error"] == []
        for name, one in walk.certificates().items():
            assert one.not_before <= walk.now < one.not_after, f"{name} on day {day}"
            serials[name].add(one.serial)
        if day == 60:
            assert renewed(planned) == dict.fromkeys(SERVERS, "its CA asks for renewal, with a new key")
            assert not {one.serial for one in before.values()} & {one.serial for one in walk.certificates().values()}
            assert steps(walk.build()) == [], "the CA asked once"
    assert waited, "nothing was due while the CA was away"
    assert waited <= {30, 31, 32}
    assert min(map(len, serials.values())) > 90 / 6, "six-day certificates are renewed"


def test_a_ca_that_is_away_for_longer_than_the_margin_is_an_error_that_loses_nothing(
    around: tuple[Place, Pebble],
) -> None:
    walk = Walk(*around, before="2d")
    walk.build()
    walk.server.road.cut()
    walk.wait(5 * DAY)
    planned = walk.build()
    assert [entity for entity, action in steps(planned) if action == "wait"] == [f"server.{name}" for name in SERVERS]
    walk.wait(DAY)
    before = walk.place.state()
    with pytest.raises(Rejected, match=r"PGT563: server\.db0 has no valid certificate: it expired on"):
        walk.build()
    assert walk.place.state() == before
    walk.server.road.mend()
    assert renewed(walk.build()).keys() == set(SERVERS)
    assert all(one.not_before <= walk.now < one.not_after for one in walk.certificates().values())
