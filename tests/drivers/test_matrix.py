"""Every driver against real servers and impostors, with nothing but what its bundle says: docs/drivers.md."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from cryptography import x509

from drivers.surroundings import GUARDED, IMPOSTORS, KEYS, MODES, PASSPHRASE, PASSWORD, PROOFS, Surroundings, user_name
from pgtls.postgres.drivers import DRIVERS
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


def ran(words: list[str], directory: Path) -> str:
    """Run a program that takes its password from the environment."""
    surroundings = {**os.environ, "PGPASSWORD": PASSWORD}
    run = subprocess.run(
        words, cwd=directory, env=surroundings, check=False, capture_output=True, text=True, timeout=PATIENCE
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()
