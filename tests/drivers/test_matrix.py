"""Every driver against real servers and impostors, with nothing but what its bundle says: docs/drivers.md."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from itertools import product
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from cryptography import x509

from drivers.surroundings import (
    GUARDED,
    IMPOSTORS,
    KEYS,
    LISTS,
    MODES,
    PASSPHRASE,
    PASSWORD,
    PROOFS,
    UNPLACED,
    Surroundings,
    user_name,
)
from pgtls.postgres.drivers import DRIVERS, FORMS
from pgtls.postgres.libpq import REQUIRE_AUTH_SINCE
from support.cargo import rust_drivers
from support.clients import PSQL
from support.golang import go_program
from support.pgtls import ROOT
from support.runners import DRIVERS as DRIVERS_DIRECTORY
from support.runners import go_runner, java_classes, java_runner, libpq_runner, node_runner, python_runner, rust_runner
from support.servers import PATIENCE, versions
from support.system import ENVIRONMENT, new_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drivers.surroundings import Mode, Proof
    from pgtls.postgres.drivers import DriverName
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
    testbed: Surroundings,
    connect: Callable[[Entry, Proof], Answer],
    libpq: int | None = None,
    *,
    binds: bool = True,
    form: str = "uri",
) -> dict[str, set[str]]:
    """Connect to everything that has a form; return who was taken in by which impostor, as "mode-proof" by impostor."""
    taken: dict[str, set[str]] = {name: set() for name in IMPOSTORS}
    for mode in MODES:
        for proof in PROOFS:
            listed = {name: one for name, one in entries(testbed, mode, proof, libpq).items() if one[form]}
            for name in (one for one in testbed.hosts if one in listed):
                answer = connect(listed[name], proof)
                wanted = listed[name]["role"] if binds or proof != "bound" else None
                assert answer.printed == wanted, (mode, proof, name, answer)
            for name in (one for one in IMPOSTORS if one in listed):
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
        "namesake": unnamed,
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


def test_the_oldest_release_of_each_driver_is_the_oldest_that_is_run_here() -> None:
    node = json.loads((DRIVERS_DIRECTORY / "node" / "package-lock.json").read_text())["packages"]
    rust = tomllib.loads((DRIVERS_DIRECTORY / "rust" / "Cargo.lock").read_text())["package"]
    tokio = next(one["version"] for one in rust if one["name"] == "tokio-postgres")
    texts = {
        "asyncpg": (ROOT / "constraints.txt", r"^asyncpg==(.*)$"),
        "pg8000": (ROOT / "constraints.txt", r"^pg8000==(.*)$"),
        "pgjdbc": (DRIVERS_DIRECTORY / "java" / "pom.xml", r"<artifactId>postgresql</artifactId>\s*<version>(.*)</"),
        "pgx": (DRIVERS_DIRECTORY / "go" / "go.mod", r"github.com/jackc/pgx/v5 v(.*)$"),
        "lib-pq": (DRIVERS_DIRECTORY / "go" / "go.mod", r"github.com/lib/pq v(.*)$"),
    }
    run = {name: re.findall(pattern, file.read_text(), re.MULTILINE)[0] for name, (file, pattern) in texts.items()}
    run |= dict.fromkeys(("tokio-postgres-native-tls", "tokio-postgres-rustls"), tokio)
    run |= {"node-pg": node["node_modules/pg-oldest"]["version"]}
    run |= {"postgres.js": node["node_modules/postgres"]["version"]}
    assert {name: row.oldest for name, row in DRIVERS.items() if not row.on_libpq} == run
    newest = node["node_modules/pg"]["version"]
    assert {form: row.oldest for form, row in FORMS.items()} == {
        "jdbc": run["pgjdbc"], "go": run["lib-pq"], "node": newest,
    }  # fmt: skip


def test_an_impostor_of_each_kind_takes_in_a_client_without_the_settings_of_a_bundle(testbed: Surroundings) -> None:
    user = user_name("verify-full", "password")
    for name in IMPOSTORS:
        words = (
            f"host=localhost port={testbed.ports[name]} user={user} dbname=shop sslmode=prefer sslrootcert=/nonexistent"
        )
        subprocess.run(
            [*PSQL.words, "select 1", words], check=False, capture_output=True, timeout=PATIENCE,
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


@pytest.mark.parametrize(("driver", "pg"), [("node-pg", "pg"), ("node-pg", "pg-oldest"), ("postgres.js", "pg")])
def test_a_driver_of_node_connects_to_its_servers_and_gives_impostors_what_its_row_says(
    testbed: Surroundings, driver: str, pg: str
) -> None:
    judged(driver, programs(testbed, driver, node_runner(pg)))


FORM_FOR_NODE = """
import pg from "pg";
const client = new pg.Client(FORM);
await client.connect();
console.log((await client.query("select current_user")).rows[0].current_user);
await client.end();
"""


def for_node(entry: Entry) -> str:
    """Return a program that connects by the form for node-postgres."""
    return FORM_FOR_NODE.replace("FORM", json.dumps(entry["node"]))


def test_the_form_for_node_connects_to_its_servers_and_gives_impostors_what_its_row_says(testbed: Surroundings) -> None:
    with node_runner() as runner:
        taken = walk(testbed, lambda entry, proof: runner.run(environment(proof), program=for_node(entry)), form="node")
    judged("node-pg", taken)


def test_a_pg_that_does_not_know_the_form_for_node_gives_nobody_anything(testbed: Surroundings) -> None:
    with node_runner("pg-oldest") as runner:
        for mode, proof in product(MODES, PROOFS):
            listed = {name: one for name, one in entries(testbed, mode, proof).items() if one["node"]}
            for name in (one for one in IMPOSTORS if one in listed):
                answer = runner.run(environment(proof), program=for_node(listed[name]))
                assert answer.printed is None, (mode, proof, name)
                meetings = testbed.impostor.seen(testbed.ports[name], listed[name]["role"])
                assert not any(meeting.gave_something for meeting in meetings), (mode, proof, name)


@pytest.mark.parametrize("found", LIBPQS, ids=lambda found: f"libpq-{found.major}-{found.builder}")
def test_a_libpq_connects_to_its_servers_and_gives_impostors_what_it_cannot_be_told_to_refuse(
    testbed: Surroundings, found: Installation
) -> None:
    tier = TIERS.get(found.major, 17)

    def connect(entry: Entry, proof: Proof) -> Answer:
        file = testbed.out / "clients" / entry["role"] / "pg_service.conf"
        surroundings = {**environment(proof), "PGSERVICEFILE": str(file)}
        return runner.run(surroundings, conninfo=f"service={entry['service']}")

    with libpq_runner(found) as runner:
        taken = walk(testbed, connect, tier)
    told = tier >= REQUIRE_AUTH_SINCE
    assert taken == expected(insists=told, binds=True, demands=told, skips_names=True)


def test_psql_connects_with_the_service_of_the_bundle(testbed: Surroundings) -> None:
    for mode in MODES:
        for proof in PROOFS:
            bundle = testbed.bundle(user_name(mode, proof))
            for name, entry in entries(testbed, mode, proof).items():
                if name in testbed.hosts:
                    run = subprocess.run(
                        [*PSQL.words, "select current_user", f"service={entry['service']}"],
                        check=False, capture_output=True, text=True, timeout=PATIENCE,
                        env={
                            **ENVIRONMENT, **environment(proof), "HOME": str(new_directory("home")),
                            "PGSERVICEFILE": str(bundle.directory / "pg_service.conf"),
                        },
                    )  # fmt: skip
                    assert (run.stdout.strip(), run.stderr) == (entry["role"], "")


def test_the_page_on_drivers_shows_what_is_run_here(testbed: Surroundings) -> None:
    page = ROOT / "docs" / "drivers.md"
    entry = entries(testbed, "verify-full", "certificate")["by-name"]
    ours = {
        str(testbed.bundle(entry["role"]).directory): "/etc/app/tls", "localhost": "db.example.com",
        str(testbed.ports["by-name"]): "5432", entry["role"]: "app",
    }  # fmt: skip
    for driver, program in entry["snippets"].items():
        run = unquote(program)
        for found, shown in ours.items():
            run = run.replace(found, shown)
        if not DRIVERS[driver].on_libpq:  # the page is for a later libpq
            assert f"{run}```" in unquote(page.read_text()), driver


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


@pytest.mark.parametrize("driver", ["pgx", "lib-pq"])
def test_the_form_for_go_connects_to_its_servers_and_gives_impostors_what_lib_pq_does(
    testbed: Surroundings, driver: str
) -> None:
    with go_runner() as runner:
        taken = walk(
            testbed,
            lambda entry, proof: runner.run(environment(proof), driver=driver, settings=entry["go"]),
            form="go",
        )
    judged("lib-pq", taken)


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
    """Return what the runner needs to do the same as the program; what rustls cannot do has none."""
    shown = driver if driver in entry["snippets"] else "tokio-postgres-native-tls"
    return {
        "driver": driver,
        "settings": setting(entry, shown),
        "directory": testbed.bundle(entry["role"]).directory,
        "names": "danger_accept_invalid_hostnames" not in entry["snippets"][shown],
        "certificate": "postgresql.key" in entry["snippets"][shown],
    }


@pytest.mark.parametrize("kind", sorted(KEYS))
def test_pgjdbc_takes_every_form_of_a_key(testbed: Surroundings, kind: str) -> None:
    (found,) = (one for one in testbed.bundle(kind).connections if one["server"] == "by-name")
    given = f"&sslpassword={PASSPHRASE}" if "passphrase" in KEYS[kind] else ""
    with java_runner() as runner:
        assert runner.run(url=setting(found, "pgjdbc") + given).printed == kind
        assert runner.run(url=setting(found, "pgjdbc").replace("postgresql.", "another.") + given).printed is None


@pytest.mark.parametrize("driver", [name for name, row in DRIVERS.items() if row.decrypts])
def test_an_encrypted_key_is_opened_with_its_passphrase_and_with_no_other(testbed: Surroundings, driver: str) -> None:
    assert NEWEST is not None
    (found,) = (one for one in testbed.bundle(GUARDED).connections if one["server"] == "by-name")
    program = found["snippets"][driver]
    with node_runner() if driver in ("node-pg", "postgres.js") else python_runner(NEWEST) as runner:
        assert runner.run({"SSLPASSWORD": PASSPHRASE}, program=program).printed == GUARDED
        assert runner.run({"SSLPASSWORD": "another"}, program=program).printed is None


@pytest.mark.parametrize("driver", [name for name, row in DRIVERS.items() if not row.decrypts])
def test_an_encrypted_key_is_not_opened_by_the_drivers_of_which_check_says_so(
    testbed: Surroundings, driver: str
) -> None:
    entry = entries(testbed, "verify-full", "certificate")["by-name"]
    own = testbed.bundle(entry["role"]).directory
    for directory, user in ((own, entry["role"]), (testbed.bundle(GUARDED).directory, GUARDED)):
        settings = setting(entry, driver).replace(entry["role"], user)
        if driver == "pgjdbc":
            with java_runner() as runner:
                answer = runner.run(url=f"{settings}&sslpassword={PASSPHRASE}")
        elif driver in ("pgx", "lib-pq"):
            given = f"&sslpassword={PASSPHRASE}" if driver == "pgx" else ""  # lib/pq has no such parameter
            with go_runner() as runner:
                answer = runner.run(driver=driver, settings=settings + given)
        else:
            with rust_runner() as runner:
                case = rust_case(testbed, entry, driver) | {"settings": settings, "directory": directory}
                answer = runner.run(**case)
        assert answer.printed == (None if user == GUARDED else user), answer


# --- a certificate that is revoked -----------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_gives_the_thief_of_a_revoked_key_what_its_row_says(testbed: Surroundings, driver: DriverName) -> None:
    """The servers have a chain of two CAs, so that one CRL is not enough."""
    lax = user_name("verify-full", "password")
    for user, lists in ((LISTS, DRIVERS[driver].lists), (lax, False)):
        listed = {entry["server"]: entry for entry in testbed.bundle(user).connections}
        for name in testbed.hosts:
            assert ran_once(testbed, listed[name], driver).printed == user, name
        ran_once(testbed, listed["revoked"], driver)
        meetings = testbed.impostor.seen(testbed.ports["revoked"], user)
        insists = DRIVERS[driver].insists and not DRIVERS[driver].on_libpq  # the bundles are for libpq 14
        assert any(meeting.gave_something for meeting in meetings) is not (lists or insists), (user, meetings)
        assert bool(meetings) is not lists


def ran_once(testbed: Surroundings, entry: Entry, driver: str) -> Answer:
    """Connect with a password as the program of the bundle does."""
    surroundings = environment("password")
    if driver in ("pgx", "lib-pq"):
        with go_runner() as runner:
            return runner.run(surroundings, driver=driver, settings=setting(entry, driver))
    if driver == "pgjdbc":
        with java_runner() as runner:
            return runner.run(surroundings, url=setting(entry, driver))
    if driver.startswith("tokio"):
        with rust_runner() as runner:
            return runner.run(surroundings, **rust_case(testbed, entry, driver))
    assert NEWEST is not None
    with node_runner() if driver in ("node-pg", "postgres.js") else python_runner(NEWEST) as runner:
        return runner.run(surroundings, program=entry["snippets"][driver])


@pytest.mark.parametrize("driver", ["asyncpg", "pg8000", "node-pg", "postgres.js"])
@pytest.mark.parametrize("damage", ["line ends of another system", "empty"])
def test_a_root_crl_that_a_copy_changed_switches_no_check_off(testbed: Surroundings, driver: str, damage: str) -> None:
    """A copy in text mode changes the line ends; CRLs with those say the same. A file without a CRL is no demand."""
    found = testbed.bundle(LISTS)
    listed = {entry["server"]: entry for entry in found.connections}
    file = found.directory / "root.crl"
    whole = file.read_bytes()
    file.write_bytes(b"" if damage == "empty" else whole.replace(b"\n", b"\r\n"))
    try:
        for name in testbed.hosts:
            assert ran_once(testbed, listed[name], driver).printed == (None if damage == "empty" else LISTS), name
        ran_once(testbed, listed["revoked"], driver)
        assert not testbed.impostor.seen(testbed.ports["revoked"], LISTS)
    finally:
        file.write_bytes(whole)


# --- a certificate that was renewed -----------------------------------------------------------------------------------

SERIAL = "select client_serial::text from pg_stat_ssl where pid = pg_backend_pid()"
PYTHON_RENEWS = """
import shutil

def renew():
    for name in ("postgresql.crt", "postgresql.key"):
        shutil.copy(f"{RENEWED}/{name}", f"{DIRECTORY}/{name}")
"""
NODE_RENEWS = """
import { copyFileSync } from "node:fs";
const renew = () => {
  for (const name of ["postgresql.crt", "postgresql.key"]) copyFileSync(`${RENEWED}/${name}`, `${DIRECTORY}/${name}`);
};
"""
POOLS = {
    "psycopg": (
        "with psycopg",
        """
first = psycopg.connect(DSN)
print(first.execute(SERIAL).fetchone()[0])
renew()
print(psycopg.connect(DSN).execute(SERIAL).fetchone()[0])
""",
    ),
    "sqlalchemy": (
        "with engine",
        """
with engine.connect() as first:
    print(first.scalar(sqlalchemy.text(SERIAL)))
    renew()
    with engine.connect() as second:
        print(second.scalar(sqlalchemy.text(SERIAL)))
engine.dispose()
""",
    ),
    "asyncpg": (
        "async def main",
        """
async def main():
    async with asyncpg.create_pool(host=HOST, port=PORT, user=ROLE, database="shop", ssl=tls, min_size=1) as pool:
        async with pool.acquire() as first:
            print(await first.fetchval(SERIAL))
            renew()
            async with pool.acquire() as second:
                print(await second.fetchval(SERIAL))

asyncio.run(main())
""",
    ),
    "pg8000": (
        "connection =",
        """
def serial():
    connection = pg8000.dbapi.connect(host=HOST, port=PORT, user=ROLE, database="shop", ssl_context=tls)
    cursor = connection.cursor()
    cursor.execute(SERIAL)
    return cursor.fetchone()[0]

print(serial())
renew()
print(serial())
""",
    ),
    "node-pg": (
        "await client.connect",
        """
const first = await client.connect();
console.log((await first.query(SERIAL)).rows[0].client_serial);
renew();
const second = await client.connect();
console.log((await second.query(SERIAL)).rows[0].client_serial);
first.release();
second.release();
await client.end();
""",
    ),
    "postgres.js": (
        "console.log((await",
        """
const first = await sql.reserve();
console.log((await first.unsafe(SERIAL))[0].client_serial);
renew();
const second = await sql.reserve();
console.log((await second.unsafe(SERIAL))[0].client_serial);
first.release();
second.release();
await sql.end();
""",
    ),
}
"""Where the program of a bundle ends, and what follows there: two connections of a pool, one after the renewal."""


def pooled(testbed: Surroundings, entry: Entry, driver: str, renewed: Path) -> str:
    """Return a program that opens a pool as the bundle's program does."""
    end, rest = POOLS[driver]
    start = entry["snippets"][driver].partition(end)[0].replace("pg.Client", "pg.Pool")
    values = {
        "DSN": entry["dsn"], "HOST": "localhost", "PORT": testbed.ports["by-name"], "ROLE": entry["role"],
        "SERIAL": SERIAL, "RENEWED": str(renewed), "DIRECTORY": str(testbed.bundle(entry["role"]).directory),
    }  # fmt: skip
    word, renews = ("const ", NODE_RENEWS) if driver in ("node-pg", "postgres.js") else ("", PYTHON_RENEWS)
    constants = "\n".join(f"{word}{name} = {json.dumps(value)}" for name, value in values.items())
    return f"{constants}\n{renews}\n{start}\n{rest}"


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_renewed_certificate_is_used_when_the_row_of_the_driver_says(testbed: Surroundings, driver: str) -> None:
    entry = entries(testbed, "verify-full", "certificate")["by-name"]
    directory = testbed.bundle(entry["role"]).directory
    issued = x509.load_pem_x509_certificate((directory / "postgresql.crt").read_bytes())
    renewed = testbed.renewed(entry["role"])
    serial = x509.load_pem_x509_certificate((renewed / "postgresql.crt").read_bytes()).serial_number
    kept = {path: path.read_bytes() for path in (directory / "postgresql.crt", directory / "postgresql.key")}
    try:
        answer = _renewing(testbed, entry, driver, renewed)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert answer.printed, answer
    expected = serial if DRIVERS[driver].notices == "at the next connection" else issued.serial_number  # type: ignore[index]
    assert list(map(int, answer.printed.split())) == [issued.serial_number, expected]


def _renewing(testbed: Surroundings, entry: Entry, driver: str, renewed: Path) -> Answer:
    directory = testbed.bundle(entry["role"]).directory
    if driver in POOLS:
        assert NEWEST is not None
        with node_runner() if driver in ("node-pg", "postgres.js") else python_runner(NEWEST) as runner:
            return runner.run(program=pooled(testbed, entry, driver, renewed))
    if driver == "pgjdbc":
        with java_runner() as runner:
            return runner.run(url=setting(entry, driver), renewed=(directory, renewed))
    if driver in ("pgx", "lib-pq"):
        with go_runner() as runner:
            return runner.run(driver=driver, settings=setting(entry, driver), renewed=renewed, directory=directory)
    with rust_runner() as runner:
        return runner.run(**rust_case(testbed, entry, driver), renewed=renewed)


# --- the programs as they stand --------------------------------------------------------------------------------------


def shown(testbed: Surroundings, proof: Proof, driver: str) -> str:
    """Return the program that a bundle shows for its server."""
    return str(entries(testbed, "require", proof)["by-name"]["snippets"][driver])


@pytest.mark.parametrize("driver", ["pgx", "lib-pq"])
def test_the_program_for_go_runs_as_it_stands(testbed: Surroundings, driver: str) -> None:
    go_program("drivers")  # or skip
    directory = new_directory("program")
    (directory / "main.go").write_text(shown(testbed, "password", driver))
    for name in ("go.mod", "go.sum"):
        shutil.copy(DRIVERS_DIRECTORY / "go" / name, directory)
    assert ran(["go", "run", "-mod=mod", "main.go"], directory) == user_name("require", "password")


@pytest.mark.parametrize("driver", ["pgx", "lib-pq"])
def test_the_program_for_go_without_a_directory_trusts_the_roots_of_the_home_alone(
    testbed: Surroundings, driver: str
) -> None:
    go_program("drivers")  # or skip
    directory, (home, empty, strange) = new_directory("program"), (new_directory("home") for _ in range(3))
    (entry,) = (one for one in testbed.bundle(UNPLACED).connections if one["server"] == "by-name")
    (directory / "main.go").write_text(entry["snippets"][driver])
    for name in ("go.mod", "go.sum"):
        shutil.copy(DRIVERS_DIRECTORY / "go" / name, directory)
    ran(["go", "build", "-mod=mod", "-o", "program", "main.go"], directory)
    for one, authority in ((home, "root"), (strange, "clients")):
        (one / ".postgresql").mkdir()
        shutil.copy(testbed.out / "ca" / authority / "ca.crt", one / ".postgresql" / "root.crt")
    assert ran(["./program"], directory, HOME=str(home)) == UNPLACED
    public = str(testbed.out / "ca" / "root" / "ca.crt")  # as if the server had a certificate of a public CA
    for without in (str(empty), str(strange), ""):
        with pytest.raises(AssertionError, match=r"root\.crt|unknown authority|HOME is not defined"):
            ran(["./program"], directory, HOME=without, SSL_CERT_FILE=public)


def test_the_program_for_java_runs_as_it_stands(testbed: Surroundings) -> None:
    jar, _ = java_classes()
    directory = new_directory("program")
    (directory / "Connect.java").write_text(shown(testbed, "password", "pgjdbc"))
    assert ran(["java", "-cp", str(jar), "Connect.java"], directory) == user_name("require", "password")


RUST_MAIN = """
fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{}", runtime.block_on(connect()).unwrap());
}
"""


@pytest.mark.parametrize("driver", ["tokio-postgres-native-tls", "tokio-postgres-rustls"])
@pytest.mark.parametrize("proof", ["certificate", "password"])
def test_the_program_for_rust_runs_as_it_stands(testbed: Surroundings, driver: str, proof: Proof) -> None:
    built = rust_drivers()
    name, directory = f"{driver}-{proof}", new_directory("program")
    (directory / "src").mkdir()
    program = entries(testbed, "verify-full", proof)["by-name"]["snippets"][driver]
    (directory / "src" / "main.rs").write_text(program + RUST_MAIN)
    # By the libraries that are built already.
    for file in ("Cargo.toml", "Cargo.lock"):
        text = (DRIVERS_DIRECTORY / "rust" / file).read_text()
        (directory / file).write_text(text.replace('name = "drivers"', f'name = "{name}"'))
    words = ["cargo", "run", "--quiet", "--offline", "--target-dir", str(built.parents[1])]
    assert ran(words, directory) == user_name("verify-full", proof)


def ran(words: list[str], directory: Path, **more: str) -> str:
    """Run a program that takes its password from the environment."""
    surroundings = {**os.environ, "PGPASSWORD": PASSWORD, **more}
    run = subprocess.run(
        words, cwd=directory, env=surroundings, check=False, capture_output=True, text=True, timeout=PATIENCE
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()
