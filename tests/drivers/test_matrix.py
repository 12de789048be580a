"""Every driver against real servers and impostors, with nothing but what its bundle says."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from drivers.surroundings import IMPOSTORS, MODES, PASSWORD, PROOFS, Surroundings, user_name
from pgtls.postgres.drivers import DRIVERS
from support.clients import PSQL
from support.runners import go_runner, java_runner, libpq_runner, node_runner, python_runner, rust_runner
from support.servers import versions
from support.system import ENVIRONMENT, new_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drivers.surroundings import Mode, Proof
    from support.runners import Answer, Runner
    from support.servers import Installation

    Entry = dict[str, Any]
    """A connection of connections.json."""

NEWEST = max((found for found in versions() if found.builder == "npm"), key=lambda found: found.major, default=None)
LIBPQS = tuple(found for found in versions() if found.lib)
TIERS = {13: 13, 14: 14, 15: 14, 16: 16}
"""The bundle for each libpq, by the `libpq` that its user has: as from 17 on, they know all parameters."""


@pytest.fixture(scope="module")
def testbed() -> Iterator[Surroundings]:
    if NEWEST is None:
        pytest.skip("no server is installed: `make test` installs them")
    with Surroundings(NEWEST, (13, 14, 16, 17)) as testbed:
        yield testbed


def environment(proof: Proof) -> dict[str, str]:
    return {} if proof == "certificate" else {"PGPASSWORD": PASSWORD}


def entries(testbed: Surroundings, mode: Mode, proof: Proof, libpq: int | None = None) -> dict[str, Entry]:
    """Return what the bundle of a cell says, by server."""
    return {entry["server"]: entry for entry in testbed.bundle(user_name(mode, proof, libpq)).connections}


def walk(
    testbed: Surroundings, connect: Callable[[Entry, Proof], Answer], libpq: int | None = None, *, binds: bool = True
) -> dict[str, set[str]]:
    """Connect to everything; return who was taken in by which impostor, as "mode-proof" by impostor."""
    taken: dict[str, set[str]] = {name: set() for name in IMPOSTORS}
    for mode in MODES:
        for proof in PROOFS:
            listed = entries(testbed, mode, proof, libpq)
            for name in testbed.hosts:
                answer = connect(listed[name], proof)
                wanted = listed[name]["role"] if binds or proof != "bound" else None
                assert answer.printed == wanted, (mode, proof, name, answer)
            for name in IMPOSTORS:
                answer = connect(listed[name], proof)
                assert answer.printed is None, (mode, proof, name, answer)
                meetings = testbed.impostor.seen(testbed.ports[name], listed[name]["role"])
                if any(meeting.gave_something for meeting in meetings):
                    taken[name].add(f"{mode}-{proof}")
    return taken


def expected(
    *, insists: bool, binds: bool, demands: bool, skips_names: bool, answers_without: bool = False
) -> dict[str, set[str]]:
    """Return who can be taken in where a driver can enforce that much, and no more."""
    passwords = set() if insists else {"password"} | (set() if binds else {"bound"})
    unproven = passwords | (set() if demands else {"certificate"})
    asked = passwords | ({"certificate"} if answers_without else set())
    # Without the name, another server of the same CA is as good; it asks for the certificate, and for nothing else.
    unnamed = (
        {f"{mode}-{proof}" for mode in MODES[:2] for proof in passwords | {"certificate"}} if skips_names else set()
    )
    return {
        "stranger": set(),
        "expired": set(),
        "plain": set(),
        "misnamed": unnamed,
        "cleartext": _all_modes(asked),
        "md5": _all_modes(asked),
        "nothing": _all_modes(unproven),
    }


def _all_modes(proofs: set[str]) -> set[str]:
    return {f"{mode}-{proof}" for mode in MODES for proof in proofs}


# --- the drivers ------------------------------------------------------------------------------------------------------

ANSWER_WITHOUT = ("asyncpg", "lib-pq", "node-pg", "postgres.js")
"""Those that answer with an empty password where they have none."""


def programs(testbed: Surroundings, driver: str, runner: Runner) -> dict[str, set[str]]:
    with runner:
        return walk(testbed, lambda entry, proof: runner.run(environment(proof), program=entry["snippets"][driver]))


def judged(
    driver: str, taken: dict[str, set[str]], *, insists: bool | None = None, demands: bool | None = None
) -> None:
    """Compare who was taken in with what the table says of a driver."""
    row = DRIVERS[driver]  # type: ignore[index]
    assert taken == expected(
        insists=row.insists if insists is None else insists,
        binds=row.binding != "ignored",
        demands=row.demands if demands is None else demands,
        skips_names=row.skips_names,
        answers_without=driver in ANSWER_WITHOUT,
    )


def test_an_impostor_of_each_kind_takes_in_a_client_without_the_settings_of_a_bundle(testbed: Surroundings) -> None:
    user = user_name("verify-full", "password")
    for name in IMPOSTORS:
        words = (
            f"host=localhost port={testbed.ports[name]} user={user} dbname=shop sslmode=prefer sslrootcert=/nonexistent"
        )
        subprocess.run(
            [*PSQL.words, "select 1", words], check=False, capture_output=True, timeout=60,
            env={**ENVIRONMENT, "HOME": "/nonexistent", "PGPASSWORD": PASSWORD},
        )  # fmt: skip
        assert any(meeting.gave_something for meeting in testbed.impostor.seen(testbed.ports[name], user)), name


@pytest.mark.parametrize("driver", ["psycopg", "sqlalchemy"])
def test_a_driver_over_libpq_does_what_its_libpq_can(testbed: Surroundings, driver: str) -> None:
    assert NEWEST is not None
    # The bundles are for libpq 14.
    judged(driver, programs(testbed, driver, python_runner(NEWEST)), insists=False, demands=False)


@pytest.mark.parametrize("driver", ["asyncpg", "pg8000"])
def test_a_driver_of_python_connects_to_its_servers_and_gives_impostors_what_its_row_says(
    testbed: Surroundings, driver: str
) -> None:
    assert NEWEST is not None
    judged(driver, programs(testbed, driver, python_runner(NEWEST)))


@pytest.mark.parametrize("driver", ["node-pg", "postgres.js"])
def test_a_driver_of_node_connects_to_its_servers_and_gives_impostors_what_its_row_says(
    testbed: Surroundings, driver: str
) -> None:
    judged(driver, programs(testbed, driver, node_runner()))


@pytest.mark.parametrize("found", LIBPQS, ids=lambda found: f"libpq-{found.major}-{found.builder}")
def test_a_libpq_connects_to_its_servers_and_gives_impostors_what_it_cannot_be_told_to_refuse(
    testbed: Surroundings, found: Installation
) -> None:
    tier = TIERS.get(found.major, 17)
    told = entries(testbed, "verify-full", "password", tier)["by-name"]["parameters"]
    shown = entries(testbed, "verify-full", "certificate", tier)["by-name"]["parameters"]

    def connect(entry: Entry, proof: Proof) -> Answer:
        file = testbed.out / "clients" / entry["role"] / "pg_service.conf"
        surroundings = {**environment(proof), "PGSERVICEFILE": str(file)}
        return runner.run(surroundings, conninfo=f"service={entry['service']}")

    with libpq_runner(found) as runner:
        taken = walk(testbed, connect, tier)
    assert taken == expected(
        insists="require_auth" in told, binds=True, demands="sslcertmode" in shown, skips_names=True
    )


def test_psql_connects_with_the_service_of_the_bundle(testbed: Surroundings) -> None:
    for mode in MODES:
        for proof in PROOFS:
            bundle = testbed.bundle(user_name(mode, proof))
            for name, entry in entries(testbed, mode, proof).items():
                if name in testbed.hosts:
                    run = subprocess.run(
                        [*PSQL.words, "select current_user", f"service={entry['service']}"],
                        check=False, capture_output=True, text=True, timeout=60,
                        env={
                            **ENVIRONMENT, **environment(proof), "HOME": str(new_directory("home")),
                            "PGSERVICEFILE": str(bundle.directory / "pg_service.conf"),
                        },
                    )  # fmt: skip
                    assert (run.stdout.strip(), run.stderr) == (entry["role"], "")


# --- compiled languages: a runner does what the program of the bundle does -------------------------------------------

SETTINGS = {
    "pgx": r'pgx\.Connect\(ctx, (".*")\)',
    "lib-pq": r'sql\.Open\("postgres", (".*")\)',
    "pgjdbc": r'var url = (".*");',
    "tokio-postgres-native-tls": r'tokio_postgres::Config = (".*")\.parse\(\)',
    "tokio-postgres-rustls": r'tokio_postgres::Config = (".*")\.parse\(\)',
}
"""Where a program has its only string that differs from bundle to bundle."""


def setting(entry: Entry, driver: str) -> str:
    """Return that string."""
    (found,) = re.findall(SETTINGS[driver], entry["snippets"][driver])
    return str(json.loads(found))


@pytest.mark.parametrize("driver", ["pgx", "lib-pq"])
def test_a_driver_of_go_connects_to_its_servers_and_gives_impostors_what_its_row_says(
    testbed: Surroundings, driver: str
) -> None:
    with go_runner() as runner:
        taken = walk(
            testbed,
            lambda entry, proof: runner.run(environment(proof), driver=driver, settings=setting(entry, driver)),
        )
    judged(driver, taken)


def test_pgjdbc_connects_to_its_servers_and_gives_impostors_what_its_row_says(testbed: Surroundings) -> None:
    with java_runner() as runner:
        taken = walk(testbed, lambda entry, proof: runner.run(environment(proof), url=setting(entry, "pgjdbc")))
    judged("pgjdbc", taken)


@pytest.mark.parametrize("driver", ["tokio-postgres-native-tls", "tokio-postgres-rustls"])
def test_a_driver_of_rust_connects_to_its_servers_and_gives_impostors_what_its_row_says(
    testbed: Surroundings, driver: str
) -> None:
    with rust_runner() as runner:
        taken = walk(
            testbed,
            lambda entry, proof: runner.run(environment(proof), **rust_case(testbed, entry, driver)),
            binds=driver != "tokio-postgres-rustls",
        )
    judged(driver, taken)


def rust_case(testbed: Surroundings, entry: Entry, driver: str) -> dict[str, Any]:
    """Return what the runner needs to do the same as the program."""
    return {
        "driver": driver,
        "settings": setting(entry, driver),
        "directory": testbed.bundle(entry["role"]).directory,
        "names": "danger_accept_invalid_hostnames" not in entry["snippets"][driver],
        "certificate": "postgresql.key" in entry["snippets"][driver],
    }
