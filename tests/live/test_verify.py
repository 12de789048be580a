"""`pgtls verify` as a command: what it prints, what it says about bad input, and how few connections it makes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from xml.etree import ElementTree as Xml

import pytest

from live.test_faults import SPEC, built
from live.verifying import Site, faults, seen
from support.pgtls import pgtls
from support.servers import Server, versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.building import Place
    from support.pgtls import Run

NPM = {found.major: found for found in versions() if found.builder == "npm"}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A server of version 17 with good files."""
    with Server(NPM[17]) as server:
        site = Site(server, built(17))
        server.populate(("app", "etl", "report"), ("shop",), "secret")
        site.install()
        yield site


def verified(place: Place, *words: str | int) -> Run:
    return pgtls("verify", place.spec, "--host", "127.0.0.1", *map(str, words))


def test_a_good_server_is_as_compiled_and_gets_few_connections(site: Site) -> None:
    mark = site.server.mark()
    run = verified(site.place, "--port", site.server.port, "--format", "json")
    log = site.server.log(mark)
    (found,) = run.json["servers"]
    assert (run.status, found["as_compiled"], found["server"]) == (0, True, "server.db"), run.stdout
    received = log.count("connection received")
    assert received == found["connections"] <= 40
    assert most_at_once(log) <= 5, "four, and one that the server has not yet seen the end of"
    assert "password" not in log


def most_at_once(log: str) -> int:
    """Count the server processes that lived at the same time, by the log's process ids."""
    lines = [found[1] for line in log.splitlines() if (found := re.search(r"\[(\d+)\]", line))]
    last = {process: number for number, process in enumerate(lines)}
    alive: set[str] = set()
    most = 0
    for number, process in enumerate(lines):
        alive.add(process)
        most = max(most, len(alive))
        if last[process] == number:
            alive.discard(process)
    return most


def test_text_shows_every_check_with_its_outcome(site: Site) -> None:
    run = verified(site.place, "--port", site.server.port)
    assert run.status == 0
    assert re.search(r"^server\.db at 127\.0\.0\.1:\d+: as compiled \(\d+ ok, \d+ not tried; \d+ connections\)$",
                     run.stdout, re.MULTILINE)  # fmt: skip
    assert "  ok         certificate" in run.stdout
    assert "  not tried  refuses a revoked certificate" in run.stdout


def test_a_difference_is_explained_and_fails(site: Site) -> None:
    later = datetime.now(UTC) + timedelta(days=100)
    run = pgtls("verify", site.place.spec, "--host", "127.0.0.1", "--port", str(site.server.port), now=f"{later:%F}")
    assert run.status == 1
    assert "NOT as compiled" in run.stdout
    assert re.search(r"PGT474 dates: .* expired on .*\n    why  .*\n    do   run pgtls build", run.stdout)


def test_a_clock_that_is_behind_is_named(site: Site) -> None:
    assert "not yet valid" in faults(seen(site.place, site.server.port, now=datetime.now(UTC) - timedelta(days=2)))


def test_junit_has_a_case_for_each_check(site: Site) -> None:
    run = verified(site.place, "--port", site.server.port, "--format", "junit")
    suite = Xml.fromstring(run.stdout).find("testsuite")  # noqa: S314  (our own)
    assert suite is not None
    assert suite.get("name") == "server.db"
    assert suite.get("failures") == "0"
    cases = suite.findall("testcase")
    assert len(cases) == int(suite.get("tests", "0")) > 10
    assert sum(case.find("skipped") is not None for case in cases) == int(suite.get("skipped", "-1")) > 0


def test_a_port_without_a_server_gets_a_diagnostic(site: Site) -> None:
    run = verified(site.place, "--port", 1, "--format", "json")
    assert run.status == 1
    (found,) = [one for one in run.json["diagnostics"] if one["severity"] == "error"]
    assert (found["code"], found["path"]) == ("PGT470", ["server", "db"])
    assert "error[PGT470]" in verified(site.place, "--port", 1).stderr


def test_a_server_that_was_never_built_gets_a_diagnostic(place: Place) -> None:
    place.write(SPEC.format(postgres=17, more=""))
    run = verified(place)
    assert run.status == 1
    assert "error[PGT597]" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_server_that_the_spec_lacks_and_contradictory_options_are_refused(place: Place) -> None:
    two = (
        SPEC.format(postgres=17, more="")
        + '[server.other]\nca = "servers"\nclient_ca = ["clients", "partners"]\nhosts = ["o.example.com"]\n'
    )
    place.build(two.replace('users = ["', 'servers = ["all"]\nusers = ["'), now=datetime.now(UTC), new_out=True)
    assert "error[PGT291]" in verified(place, "--server", "nobody").stderr
    assert verified(place, "--port", 1).status == 64
    assert pgtls("verify", place.spec, "--wait", "-1").status == 64
