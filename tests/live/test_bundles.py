"""What is in a bundle, used as it is by real clients on real servers: hostile names, and physical replication."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt

from support.clients import PSQL, WHO, Bundle, Client, libpq_clients
from support.pgtls import compiled
from support.servers import PATIENCE, Server, versions
from support.system import ENVIRONMENT, new_directory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BASE = """
version = 1
[ca.root]
[ca.clients]
[server.db]
ca = "root"
client_ca = ["clients"]
hosts = ["localhost"]
port = {port}
postgres = {version}
no_local = true
"""
HOSTILE = (
    *(
        "o'brien",
        "back\\slash",
        "a=b",
        "100%",
        "#hash",
        "[section]",
        " leads",
        "naïve 漢字",
        'dq"uote',
        "$HOME",
        "@at",
        "a|b`c",
        "semi;colon",
    ),
    *(
        "host=evil",
        "postgresql://evil/x",
        "-dash",
        "+plus",
        "/slash/",
        "a&b?c=d",
        "comma,name",
        "%41",
        "\\'",
        "{{ x }}",
        "all",
        "<b>",
    ),
)
BLANK = "trails "


def toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def install(server: Server, tables: str) -> Path:
    """Compile a spec for a server where it is, and put it into force."""
    spec = BASE.format(port=server.port, version=server.version) + tables
    out = compiled(spec, new_directory("spec"))
    server.install(out / "servers" / "db")
    assert server.hba_errors() == []
    return out


# --- hostile names ----------------------------------------------------------------------------------------------------


def named_users(names: tuple[str, ...]) -> str:
    return "".join(
        f'[user.u{number}]\nca = "clients"\nroles = [{{ name = {toml(name)} }}]\n'
        f'[policy.p{number}]\nusers = ["u{number}"]\ndatabases = [{{ name = {toml(name)} }}]\n'
        'from = ["127.0.0.0/8", "::1"]\nauth = "cert"\n'
        for number, name in enumerate(names)
    )


def clients() -> tuple[Client, ...]:
    oldest, *_, newest = libpq_clients()
    return PSQL, oldest, newest


def test_names_that_are_hostile_go_through_every_file_of_a_bundle() -> None:
    names = (*HOSTILE, BLANK)
    with Server(versions()[-1]) as server:
        server.populate(names, names)
        out = install(server, named_users(names))
        for number, name in enumerate(names):
            bundle = Bundle(out / "clients" / f"u{number}")
            (connection,) = bundle.connections
            ways = [(PSQL, connection["uri"]), (PSQL, connection["dsn"])]
            ways += [] if name == BLANK else [(client, f"service={connection['service']}") for client in clients()]
            found = {(client.label, way): run(bundle, client, way) for client, way in ways}
            assert set(found.values()) == {f"{name}@{name}"}, found
        # What a service for the last of them would do.
        with (bundle.directory / "pg_service.conf").open("a") as file:
            file.write("\n[all-the-same]\n")
            file.writelines(f"{key}={value}\n" for key, value in connection["parameters"].items())
        assert f'database "{BLANK.rstrip()}"' in run(bundle, PSQL, "service=all-the-same")


def test_names_that_are_hostile_stay_names_in_the_readme(tmp_path: Path) -> None:
    names = (*HOSTILE, BLANK, " ", "``", "`", "\\|", "<script>", "&amp;", "*x*")
    out = compiled(BASE.format(port=5432, version=17) + named_users(names), tmp_path)
    for number, name in enumerate(names):
        text = (out / "clients" / f"u{number}" / "README.md").read_text()
        page = MarkdownIt("commonmark").enable("table").render(text)
        cells = re.findall(r"<td><code>(.*?)</code></td>", page, re.DOTALL)
        assert [html.unescape(cell) for cell in cells].count(name) == 2, (name, text)  # the database and the role


def test_a_service_that_libpq_would_misread_is_not_written(tmp_path: Path) -> None:
    spec = BASE.format(port=5432, version=17) + named_users((BLANK, "plain"))
    bundle = Bundle(compiled(spec, tmp_path) / "clients" / "u0")
    (connection,) = bundle.connections
    assert connection["service"] is None
    assert (bundle.directory / "pg_service.conf").read_text() == (
        "# No [db-trails_]: libpq drops the blank at the end of its dbname.\n# It is in connections.json.\n"
    )
    assert "psql service=" not in (bundle.directory / "README.md").read_text()


# --- what a person reads and does -------------------------------------------------------------------------------------

BI = """
[user.bi]
ca = "clients"
[policy.bi]
users = ["bi"]
from = ["127.0.0.1", "::1"]
auth = "cert"
"""
APP = BI.replace("bi", "app").replace("from", 'databases = ["shop"]\nfrom')
AWKWARD = """it's a %n "place" $HOME `id` {a,b} [x]\nand *\n"""
SHELLS = [
    pytest.param(shell, marks=pytest.mark.skipif(not shutil.which(shell), reason=f"unavailable: {shell}"))
    for shell in ("bash", "zsh", "dash")
]
TELLS = ("bash", "zsh")
"""Those that know which file they read."""


@pytest.fixture
def awkward(tmp_path: Path) -> Path:
    """Return the bundles of bi and app in a directory with a difficult name."""
    place = tmp_path / AWKWARD
    place.mkdir()
    return compiled(BASE.format(port=5432, version=17) + BI + APP, place) / "clients"


def sourced(shell: str, path: str, cwd: Path, home: Path | str = "/nonexistent") -> subprocess.CompletedProcess[str]:
    """Read env.sh as ``. PATH`` in a directory, and then say from elsewhere what it has exported."""
    return subprocess.run(
        [shell, "-euc", f'. {shlex.quote(path)} && cd / && cat "$PGSERVICEFILE" && printf %s "$PGSSLKEY"'],
        check=False, capture_output=True, text=True, cwd=cwd, env={**ENVIRONMENT, "HOME": str(home)}, timeout=PATIENCE,
    )  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS)
def test_env_sh_means_the_bundle_that_lies_where_the_readme_has_it_read(awkward: Path, shell: str) -> None:
    run = sourced(shell, "./env.sh", awkward / "bi")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("[db]\n")
    assert run.stdout.endswith(f"\n{awkward}/bi/postgresql.key")


@pytest.mark.parametrize("shell", SHELLS)
def test_env_sh_read_from_elsewhere_means_its_own_bundle_or_says_that_the_shell_does_not_tell(
    awkward: Path, shell: str
) -> None:
    # In the second of these lies the bundle of another user.
    for cwd, path in ((awkward, "bi/env.sh"), (awkward / "app", "../bi/env.sh"), (awkward, f"{awkward}/bi/env.sh")):
        run = sourced(shell, path, cwd)
        if shell in TELLS:
            assert run.stdout.endswith(f"\n{awkward}/bi/postgresql.key"), (path, run.stderr)
        else:
            assert run.returncode != 0
            assert run.stdout == ""
            assert "cd into the directory of user.bi first" in run.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_env_sh_in_libpqs_own_directory_is_found_there_if_it_is_that_of_the_user(awkward: Path, shell: str) -> None:
    home = Bundle(awkward / "bi").unpacked()
    run = sourced(shell, f"{home}/.postgresql/env.sh", awkward, home)
    assert run.stdout.endswith(f"\n{home}/.postgresql/postgresql.key"), run.stderr
    other = sourced(shell, "app/env.sh", awkward, home)
    assert (str(home) in other.stdout, other.returncode == 0) == (False, shell in TELLS)


@pytest.mark.parametrize("shell", SHELLS)
def test_env_sh_takes_no_bundle_of_a_directory_that_others_may_write(awkward: Path, tmp_path: Path, shell: str) -> None:
    home = Bundle(awkward / "bi").unpacked()
    shared = tmp_path / "shared"
    shutil.copytree(awkward / "bi", shared)
    for mode, trusted in ((0o755, True), (0o777, False)):
        shared.chmod(mode)
        run = sourced(shell, f"{home}/.postgresql/env.sh", shared, home)
        there = shared if trusted and shell not in TELLS else home / ".postgresql"
        assert run.stdout.endswith(f"\n{there}/postgresql.key"), (run.stderr, oct(mode))


def command(bundle: Bundle, program: str) -> str:
    """Return the one command of a program that the README shows as a line of its own."""
    tokens = MarkdownIt("commonmark").parse((bundle.directory / "README.md").read_text())
    shown = [line for token in tokens if token.type == "code_block" for line in token.content.splitlines()]
    (found,) = (line for line in shown if line.startswith(f"{program} "))
    return found


def test_the_readme_says_to_name_a_database_where_the_service_names_none(server: Server) -> None:
    server.populate(["bi", "app"], ["shop"])
    out = install(server, BI + APP)
    any_, shop = Bundle(out / "clients" / "bi"), Bundle(out / "clients" / "app")
    assert command(any_, "psql") == 'psql "service=db dbname=NAME"'
    assert command(shop, "psql") == "psql service=db-shop"
    assert "dbname=NAME" not in (shop.directory / "README.md").read_text()
    (_, conninfo), (_, named) = (shlex.split(command(bundle, "psql")) for bundle in (any_, shop))
    assert run(any_, PSQL, conninfo.replace("NAME", "shop")) == "bi@shop"
    assert run(shop, PSQL, named) == "app@shop"
    assert 'database "bi" does not exist' in run(any_, PSQL, "service=db")


def test_the_readme_of_who_may_only_replicate_says_so(tmp_path: Path) -> None:
    bundle = Bundle(compiled(BASE.format(port=5432, version=17) + BACKUP, tmp_path) / "clients" / "backup")
    assert command(bundle, "pg_basebackup") == "pg_basebackup -d service=db-replication -D copy"
    assert "psql" not in (bundle.directory / "README.md").read_text().partition("## What you can reach")[2]


def test_the_readme_of_whom_no_policy_admits_says_so_and_names_no_file_that_is_not_there(tmp_path: Path) -> None:
    nobody = '[user.nobody]\nca = "clients"\n'
    out = compiled(BASE.format(port=5432, version=17) + BI + nobody, tmp_path)
    texts = [(out / "clients" / name / "README.md").read_text() for name in ("nobody", "bi")]
    assert ["no policy admits `nobody`" in text for text in texts] == [True, False]
    assert ["pg_service.conf" in text for text in texts] == [False, True]
    assert ["| service |" in text for text in texts] == [False, True]


def test_a_bundle_that_has_its_place_says_that_place(tmp_path: Path) -> None:
    placed = BI.replace("[policy", 'directory = "/etc/my app"\n[policy')
    bundle = Bundle(compiled(BASE.format(port=5432, version=17) + placed, tmp_path) / "clients" / "bi")
    text = (bundle.directory / "README.md").read_text()
    assert "into `/etc/my app`" in text
    assert "`~/.postgresql/`" not in text
    assert sourced("dash", "./env.sh", bundle.directory).returncode != 0, "nothing lies there"
    assert "pgtls_bundle='/etc/my app'\n" in (bundle.directory / "env.sh").read_text()


# --- physical replication ---------------------------------------------------------------------------------------------

BACKUP = """
[user.backup]
ca = "clients"
[policy.backup]
users = ["backup"]
databases = ["replication"]
from = ["127.0.0.1", "::1"]
auth = "cert"
"""


def test_a_user_who_may_only_replicate_has_a_bundle_that_does(server: Server) -> None:
    bundle = install_backup(server)
    assert {"root.crt", "postgresql.crt", "postgresql.key"} <= {path.name for path in bundle.directory.iterdir()}
    (connection,) = bundle.connections
    assert (connection["service"], connection["database"], connection["replication"]) == ("db-replication", None, True)
    ways = [(client, "service=db-replication") for client in (PSQL, *libpq_clients())]
    ways += [(PSQL, connection["uri"]), (PSQL, connection["dsn"])]
    identifier = str(server.sql("select system_identifier from pg_control_system()")[0][0])
    for client, words in ways:
        found = run(bundle, client, words, "IDENTIFY_SYSTEM")
        assert identifier in found.split("|")[0], (client.label, words)  # psycopg has no encoding there: bytes
    for wrong in ("replication=false dbname=postgres", "sslmode=disable"):
        assert "no pg_hba.conf entry" in run(bundle, PSQL, f"service=db-replication {wrong}")


def test_pg_basebackup_and_pg_receivewal_take_the_service(server: Server) -> None:
    if not programs(server.version):
        pytest.skip("unavailable: no pg_basebackup here speaks to a server of this version")
    bundle = install_backup(server)
    copy = new_directory("copy") / "data"
    basebackup, receivewal = programs(server.version)
    started = run_program(
        bundle,
        [basebackup, "-w", "-X", "fetch", "-c", "fast", "--no-sync", "-D", copy, "-d", "service=db-replication"],
    )
    assert started.returncode == 0, started.stderr
    assert (copy / "PG_VERSION").read_text() == f"{server.version}\n"
    created = run_program(
        bundle,
        [receivewal, "-w", "--slot", "archive", "--create-slot", "-d", "service=db-replication"],
    )
    assert created.returncode == 0, created.stderr
    assert server.sql("select slot_name from pg_replication_slots") == [("archive",)]
    denied = run_program(
        bundle,
        [receivewal, "-w", "--slot", "other", "--create-slot", "-d", "service=db-replication sslmode=disable"],
    )
    assert "no pg_hba.conf entry" in denied.stderr


def install_backup(server: Server) -> Bundle:
    """Return the bundle of a user who may only replicate, in force on the server."""
    server.populate(["backup"])
    server.sql("alter role backup replication")
    return Bundle(install(server, BACKUP) / "clients" / "backup")


def run(bundle: Bundle, client: Client, conninfo: str, query: str = WHO) -> str:
    """Return what a client finds with only a connection string of the bundle."""
    made = run_program(bundle, [*client.words, query, conninfo], client.environment)
    return made.stdout.removesuffix("\n") if made.returncode == 0 else made.stderr


def run_program(
    bundle: Bundle, words: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program as a person does who has read env.sh of the bundle."""
    return subprocess.run(
        ["bash", "-c", '. "$0" && exec "$@"', bundle.directory / "env.sh", *words],
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd="/", timeout=PATIENCE,
        env={**ENVIRONMENT, "HOME": "/nonexistent", **(environment or {})},
    )  # fmt: skip


def programs(version: int) -> tuple[Path, ...]:
    """Return Debian's pg_basebackup and pg_receivewal if they support the server: they refuse newer servers."""
    debian = [found for found in versions() if found.builder == "Debian" and found.major >= version]
    return tuple(debian[-1].bin / name for name in ("pg_basebackup", "pg_receivewal")) if debian else ()


def test_no_connection_of_a_bundle_uses_gss_encryption(tmp_path: Path) -> None:
    policies = "".join(
        f'[policy.{name}]\nusers = ["app"]\ndatabases = ["{name}"]\nfrom = ["10.0.0.0/8"]\nauth = "{method}"\n{more}\n'
        for name, method, more in (
            ("shop", "cert", ""),
            ("logs", "scram-sha-256", 'sslmode = "prefer"'),
            ("bi", "gss", 'sslmode = "disable"'),
        )
    )
    out = compiled(BASE.format(port=5432, version=17) + f'[user.app]\nca = "clients"\n{policies}', tmp_path)
    bundle = out / "clients" / "app"
    connections = json.loads((bundle / "connections.json").read_text())["connections"]
    assert len(connections) == 3
    for connection in connections:
        assert connection["parameters"]["gssencmode"] == "disable"
        for form in ("uri", "dsn"):
            assert re.search(r"[ &?]gssencmode=disable\b", connection[form])
        assert "&gssEncMode=disable" in connection["jdbc"]
    services = (bundle / "pg_service.conf").read_text()
    assert services.count("[") == services.count("gssencmode=disable") == 3
    assert "export PGGSSENCMODE=disable" in (bundle / "env.sh").read_text()
