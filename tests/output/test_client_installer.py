"""install.sh of a bundle (docs/output.md): a fresh account connects after one command, and nobody loses a file."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Rejected
from support.building import SMALL, Place
from support.clients import PSQL, WHO
from support.installer import absent_while_checked
from support.pgtls import compiled
from support.servers import PATIENCE, Server, versions
from support.system import ENVIRONMENT, find_account, give, is_root, new_directory, run_as, server_account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.system import Account

SHELLS = [
    pytest.param(words, id=words[0], marks=pytest.mark.skipif(not shutil.which(words[0]), reason="unavailable"))
    for words in (("dash",), ("bash", "--posix"), ("busybox", "sh"), ("zsh",))
]


def install(
    bundle: Path,
    home: Path,
    *options: str,
    shell: tuple[str, ...] = ("dash",),
    umask: int = 0o022,
    account: Account | None = None,
    programs: Path = Path("/nowhere"),
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*run_as(account), *shell, str(bundle / "install.sh"), *options],
        check=False, capture_output=True, text=True, timeout=PATIENCE, cwd="/", umask=umask,
        env={**ENVIRONMENT, "HOME": str(home), "PATH": f"{programs}:{ENVIRONMENT['PATH']}"},
    )  # fmt: skip


def done(run: subprocess.CompletedProcess[str]) -> str:
    assert (run.returncode, run.stderr) == (0, ""), run.stdout + run.stderr
    return run.stdout


def failed(run: subprocess.CompletedProcess[str], message: str) -> None:
    assert run.returncode == 1, run.stdout + run.stderr
    assert message in run.stderr


def state(home: Path) -> dict[str, tuple[str, bytes]]:
    files = (path for path in sorted(home.rglob("*")) if path.is_file())
    return {str(path.relative_to(home)): (f"{path.stat().st_mode & 0o777:o}", path.read_bytes()) for path in files}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = tmp_path / "it's a home"
    place.mkdir()
    return place


@pytest.fixture
def app(place: Place) -> Path:
    place.build(SMALL)
    return place.file("clients/app")


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Server, Path]]:
    """Return a server of the newest version, and the bundles of app (a certificate) and bi (a password)."""
    with Server(versions()[-1]) as server:
        server.populate(["app", "bi"], ["shop"])
        server.sql("alter role bi password 'secret'")
        out = compiled(SPEC.format(port=server.port, version=server.version), new_directory("spec"))
        server.install(out / "servers" / "db")
        yield server, out / "clients"


SPEC = """
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
[user.app]
ca = "clients"
[user.bi]
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.0/8", "::1"]
auth = "cert"
[policy.bi]
users = ["bi"]
databases = ["shop"]
from = ["127.0.0.0/8", "::1"]
auth = "scram-sha-256"
"""


def psql(home: Path, words: str) -> str:
    run = subprocess.run(
        ["psql", "-X", "-w", "-A", "-t", "-c", WHO, words],
        check=False, capture_output=True, text=True, cwd="/", timeout=PATIENCE,
        env={**ENVIRONMENT, "HOME": str(home), "PGPASSWORD": "secret"},
    )  # fmt: skip
    return run.stdout.strip() or run.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_a_fresh_account_connects_with_its_service_after_one_command(
    running: tuple[Server, Path], home: Path, shell: tuple[str, ...]
) -> None:
    _, clients = running
    copied = new_directory("down loads") / "app's bundle"
    shutil.copytree(clients / "app", copied)
    assert 'definition of service "db-shop" not found' in psql(home, "service=db-shop")
    assert "Connect with:  psql service=db-shop\n" in done(install(copied, home, shell=shell, umask=0))
    shutil.rmtree(copied)
    assert psql(home, "service=db-shop") == "app@shop"
    assert "no pg_hba.conf entry" in psql(home, "service=db-shop sslmode=disable")
    modes = {name: mode for name, (mode, _) in state(home).items()}
    assert {modes[".postgresql/postgresql.key"], modes[".pg_service.conf"]} == {"600"}
    assert stat.S_IMODE((home / ".postgresql").stat().st_mode) == 0o700


def test_who_has_a_password_connects_with_the_roots_of_the_bundle(running: tuple[Server, Path], home: Path) -> None:
    _, clients = running
    done(install(clients / "bi", home))
    assert psql(home, "service=db-shop") == "bi@shop"
    (home / ".postgresql" / "root.crt").unlink()
    assert "root.crt" in psql(home, "service=db-shop")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_second_run_changes_nothing(app: Path, home: Path, shell: tuple[str, ...]) -> None:
    done(install(app, home, shell=shell))
    before, times = state(home), {path: path.stat().st_mtime_ns for path in home.rglob("postgresql.*")}
    assert done(install(app, home, shell=shell)).startswith("nothing to do\n")
    assert (state(home), {path: path.stat().st_mtime_ns for path in times}) == (before, times)


def test_a_dry_run_does_nothing_and_says_what_it_would(app: Path, home: Path) -> None:
    said = done(install(app, home, "--dry-run"))
    assert f"would write {home}/.postgresql/postgresql.key\n" in said
    assert "would write the services of user.app" in said
    assert list(home.iterdir()) == []


def test_files_of_others_stay_until_they_are_to_be_replaced_and_are_kept_then(app: Path, home: Path) -> None:
    theirs = home / ".postgresql"
    theirs.mkdir()
    (theirs / "postgresql.key").write_text("a key of another program\n")
    before = state(home)
    failed(
        install(app, home), "has other files (pgtls did not put them there): postgresql.key. --replace moves them aside"
    )
    assert state(home) == before
    done(install(app, home, "--replace"))
    assert (theirs / "postgresql.key").read_bytes() == (app / "postgresql.key").read_bytes()
    (aside,) = theirs.glob("before-*/postgresql.key")
    assert aside.read_text() == "a key of another program\n"


def test_the_bundle_of_another_user_is_another_identity(place: Place, home: Path) -> None:
    spec = SMALL + '[user.bi]\nca = "clients"\n'
    place.build(spec)
    done(install(place.file("clients/app"), home))
    before = state(home)
    failed(install(place.file("clients/bi"), home), "they are those of user.app")
    assert state(home) == before


def test_a_user_of_the_same_name_from_another_pgtls_is_another_identity(tmp_path: Path, home: Path) -> None:
    places = [Place(tmp_path / name) for name in ("production", "staging")]
    for place in places:
        place.directory.mkdir()
        place.build(SMALL)
    done(install(places[0].file("clients/app"), home))
    failed(install(places[1].file("clients/app"), home), "their CA is another one")


def test_a_renewed_bundle_replaces_the_one_before_and_deletes_what_it_no_longer_has(place: Place, home: Path) -> None:
    place.build(SMALL.replace("[user.app]", '[user.app]\ncrl = true\nformats = ["pkcs8-der"]'))
    done(install(place.file("clients/app"), home))
    assert {"root.crl", "postgresql.pk8"} <= {path.name for path in (home / ".postgresql").iterdir()}
    place.build(SMALL.replace("[user.app]", '[user.app]\nkey_algorithm = "ecdsa-p384"'))
    said = done(install(place.file("clients/app"), home))
    assert f"delete {home}/.postgresql/root.crl, which this bundle no longer has\n" in said
    names = {path.name for path in (home / ".postgresql").iterdir()}
    assert names.isdisjoint({"root.crl", "postgresql.pk8"})
    for name in ("postgresql.crt", "postgresql.key"):
        assert (home / ".postgresql" / name).read_bytes() == place.file(f"clients/app/{name}").read_bytes()


def test_other_services_stay_as_they_are_and_one_of_the_same_name_is_an_error(app: Path, home: Path) -> None:
    services = home / ".pg_service.conf"
    services.write_text("# mine\n[other]\nhost=elsewhere\n")
    services.chmod(0o640)
    done(install(app, home))
    done(install(app, home))
    assert services.read_text().startswith("# mine\n[other]\nhost=elsewhere\n# >>> pgtls user.app\n[main-shop]\n")
    assert services.read_text().count("[main-shop]") == 1
    assert stat.S_IMODE(services.stat().st_mode) == 0o640
    services.write_text("[main-shop]\nhost=elsewhere\n")
    failed(install(app, home), "has another service [main-shop]")
    assert services.read_text() == "[main-shop]\nhost=elsewhere\n"


SERVICE_LINES = {
    "[main-shop]": True,
    "[main-shop] ": True,
    " \t[main-shop]": True,
    "\v\f[main-shop]\f\r": True,
    "[main-shop] # mine": True,
    "[main-shop]2": True,
    "[main-shop2]": False,
    "[MAIN-SHOP]": False,
    "[ main-shop]": False,
    "[a][main-shop]": False,
    "#[main-shop]": False,
    "[mainxshop]": False,
}
"""Lines of a service file, and whether libpq takes them for the beginning of main-shop."""


@pytest.mark.parametrize("line", SERVICE_LINES, ids=repr)
def test_another_service_is_found_as_libpq_finds_it(app: Path, home: Path, line: str) -> None:
    services = home / ".pg_service.conf"
    services.write_text(f"{line}\nhost=/nonexistent\n", newline="")
    run = subprocess.run(
        [*PSQL.words, "select 1", "service=main-shop"],
        check=False, capture_output=True, text=True, timeout=PATIENCE,
        env={**ENVIRONMENT, "HOME": str(home), "PGSERVICEFILE": str(services)},
    )  # fmt: skip
    assert ("/nonexistent/.s.PGSQL" in run.stderr) is SERVICE_LINES[line], run.stderr
    if SERVICE_LINES[line]:
        failed(install(app, home), "has another service [main-shop]")
    else:
        done(install(app, home))


def test_a_service_file_that_is_a_link_stays_one(app: Path, home: Path) -> None:
    (home / "dotfiles").mkdir()
    (home / "dotfiles" / "services").write_text("[other]\nhost=elsewhere\n")
    (home / ".pg_service.conf").symlink_to("dotfiles/services")
    done(install(app, home))
    assert (home / ".pg_service.conf").is_symlink()
    assert "[main-shop]" in (home / "dotfiles" / "services").read_text()


INSTALLED = (
    *("root.crt", "root.crl", "postgresql.crt", "postgresql.key", "postgresql.pk8", "postgresql.p12"),
    *("pg_service.conf", "env.sh", "env.ps1", "connections.json", "jdbc.properties", "pgadmin.json", "README.md"),
)
DAMAGED = {"empty": 0, "cut off": -20, "missing": None}


@pytest.fixture
def full(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Build a bundle with every file that one can have."""
    monkeypatch.setenv("PHRASE", "x")
    wanted = 'crl = true\nformats = ["pkcs8-der", "pkcs12"]\npassphrase = { env = "PHRASE" }'
    place.build(SMALL.replace("[user.app]", f"[user.app]\n{wanted}"))
    bundle = place.file("clients/app")
    assert {path.name for path in bundle.iterdir()} == {*INSTALLED, "install.sh", "install.ps1"}
    return bundle


def spoil(path: Path, keep: int | None) -> None:
    content = path.read_bytes()
    path.unlink()
    if keep is not None:
        path.write_bytes(content[:keep])


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("how", DAMAGED)
def test_a_bundle_that_is_not_whole_is_not_installed_and_takes_nothing_away(
    full: Path, home: Path, tmp_path: Path, how: str, shell: tuple[str, ...]
) -> None:
    done(install(full, home, shell=shell))
    before, whole = state(home), tmp_path / "whole"
    shutil.copytree(full, whole)
    for name in INSTALLED:
        spoil(full / name, DAMAGED[how])
        reason = "cut off or damaged" if how == "cut off" else "missing or empty"
        failed(install(full, home, shell=shell), f"{full / name} is {reason}: copy the whole bundle")
        shutil.copy(whole / name, full / name)
    assert state(home) == before
    assert done(install(full, home, shell=shell)).startswith("nothing to do\n")


@pytest.mark.parametrize(
    ("name", "line"), [("env.sh", "unset "), ("env.ps1", "Remove-"), ("pg_service.conf", "gssencmode=")]
)
def test_settings_that_are_cut_off_at_the_end_of_a_line_are_not_installed(
    full: Path, home: Path, name: str, line: str
) -> None:
    lines = (full / name).read_text().splitlines(keepends=True)
    assert lines[-1].startswith(line)
    (full / name).write_text("".join(lines[:-1]))
    failed(install(full, home), f"{full / name} is cut off or damaged")


@pytest.mark.parametrize("name", ["root.crl", "root.crt", "postgresql.crt"])
def test_a_file_that_is_damaged_inside_is_not_installed(full: Path, home: Path, name: str) -> None:
    lines = (full / name).read_text().splitlines(keepends=True)
    (full / name).write_text("".join([*lines[:2], *lines[3:]]))
    failed(install(full, home), f"{full / name} is cut off or damaged")


def test_a_file_of_an_earlier_bundle_is_no_part_of_the_one_that_was_copied_over_it(place: Place, home: Path) -> None:
    place.build(SMALL.replace("[user.app]", "[user.app]\ncrl = true"))
    copied = shutil.copytree(place.file("clients/app"), home.parent / "copied")
    done(install(copied, home))
    place.build(SMALL)
    shutil.copytree(place.file("clients/app"), copied, dirs_exist_ok=True)
    assert f"delete {home}/.postgresql/root.crl, which this bundle no longer has\n" in done(install(copied, home))
    assert not (home / ".postgresql" / "root.crl").exists()


def needed(script: Path) -> list[str]:
    """Return what a script compares: it is one text in both languages."""
    found = re.search(r"(?m)^\$?needed = ?'([^']*)'|^needed='([^']*)'", script.read_text(encoding="utf-8-sig"))
    assert found
    return (found[1] or found[2]).splitlines()


PASSWORD = SMALL.replace('ca = "clients"\n[policy.dba]', "[policy.dba]").replace(
    'auth = "cert"', 'auth = "scram-sha-256"'
)


@pytest.mark.parametrize(
    "spec",
    [
        SMALL,
        PASSWORD,
        PASSWORD.replace('ca = "root"\n', 'ca = "self-signed"\n'),
        PASSWORD.replace("[user.app]", "[user.app]\ncrl = true"),
    ],
    ids=["a certificate", "a password", "a self-signed server", "CRLs"],
)
def test_both_installers_need_every_file_of_a_bundle(place: Place, spec: str) -> None:
    place.build(spec)
    bundle = place.file("clients/app")
    assert needed(bundle / "install.sh") == needed(bundle / "install.ps1")
    files = {path.name for path in bundle.iterdir()} - {"install.sh", "install.ps1"}
    assert sorted(line.partition(" ")[0] for line in needed(bundle / "install.sh")) == sorted(files)


def test_the_scripts_of_many_users_are_the_same_bytes_and_each_installs_its_own_user(
    place: Place, tmp_path: Path
) -> None:
    place.build(
        SMALL.replace('users = ["app"]', 'users = ["app", "bi"]') + '[user.bi]\nca = "clients"\nroles = ["guest"]\n'
    )
    app, bi = (place.file(f"clients/{name}") for name in ("app", "bi"))
    for script in ("install.sh", "install.ps1"):
        assert (app / script).read_bytes() == (bi / script).read_bytes()
    for bundle in (app, bi):
        account = tmp_path / bundle.name
        account.mkdir()
        assert "Connect with:  psql service=main-shop\n" in done(install(bundle, account))
        assert (account / ".postgresql" / ".pgtls").read_text().startswith(f"user.{bundle.name}\n")
        assert f"# >>> pgtls user.{bundle.name}\n[main-shop]\n" in (account / ".pg_service.conf").read_text()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "name", ["user.$(touch pwned)", "user.a b", "user.`touch pwned`", "user.a;touch pwned", "server.a"]
)
def test_a_bundle_that_names_no_user_is_not_installed(app: Path, home: Path, name: str, shell: tuple[str, ...]) -> None:
    environment = app / "env.sh"
    environment.write_text(
        environment.read_text().replace("# Written by pgtls for user.app:", f"# Written by pgtls for {name}:")
    )
    failed(install(app, home, shell=shell), "names no user: copy the whole bundle")
    environment.unlink()
    failed(install(app, home, shell=shell), "env.sh is missing or empty: copy the whole bundle")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_values_of_a_service_file_name_no_service(app: Path, home: Path, shell: tuple[str, ...]) -> None:
    """Roles and databases are hostile: a line that only looks like a service is none, and no shell expands it."""
    services = app / "pg_service.conf"
    hostile = "dbname=[other]\n[$(touch pwned)]\n[a b]\n[*]\n"
    services.write_text(services.read_text().replace("gssencmode=", f"{hostile}gssencmode="))
    (home / ".pg_service.conf").write_text("[other]\n")
    done(install(app, home, shell=shell))
    assert (home / ".pg_service.conf").read_text().startswith("[other]\n# >>> pgtls user.app\n[main-shop]\n")
    assert hostile in (home / ".pg_service.conf").read_text()


def test_a_key_of_another_certificate_is_not_installed(place: Place, app: Path, home: Path) -> None:
    shutil.copy(place.file("servers/main/server.key"), app / "postgresql.key")
    failed(install(app, home), "is not the key of postgresql.crt")
    assert list(home.iterdir()) == []


def test_a_key_that_was_made_at_the_client_stays_there(place: Place, home: Path) -> None:
    target = home / ".postgresql"
    target.mkdir(mode=0o700)
    for name in ("postgresql", "other"):
        words = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        words += [
            "-subj",
            "/CN=app",
            "-keyout",
            str(target / f"{name}.key"),
            "-out",
            str(place.directory / f"{name}.csr"),
        ]
        subprocess.run(words, check=True, capture_output=True)
    place.build(SMALL.replace("[user.app]", '[user.app]\ncsr_file = "postgresql.csr"'))
    app, key = place.file("clients/app"), (target / "postgresql.key").read_bytes()
    assert not (app / "postgresql.key").exists()
    assert "Your key was made elsewhere" in (app / "README.md").read_text()
    done(install(app, home))
    assert (target / "postgresql.key").read_bytes() == key
    os.replace(target / "other.key", target / "postgresql.key")
    failed(install(app, home), "is not the key of postgresql.crt")
    (target / "postgresql.key").unlink()
    run = install(app, home)
    assert (run.returncode, "it was made elsewhere" in run.stderr) == (0, True)


OWN_KEY = """
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
[user.app]
ca = "clients"
identity = "dn"
subject = {{ organization = "Example/Ltd + Co", organizational_unit = ["Databases", "Team 'A'"] }}
csr_file = "requests/app.csr"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.0/8", "::1"]
auth = "cert"
"""


def requested(place: Place, spec: str, directory: Path) -> str:
    """Build without the request, do at the client what the diagnostic says, and return it."""
    with pytest.raises(Rejected) as rejected:
        place.build(spec, now=datetime.now(UTC))
    (found,) = [one for one in rejected.value.diagnostics if one.severity == "error"]
    assert (found.code, found.message) == ("PGT564", 'cannot read "requests/app.csr": No such file or directory')
    introduction, command = str(found.hint).split(": ", 1)
    assert introduction == "where the key stays, run"
    subprocess.run(["dash", "-c", command], check=True, capture_output=True, cwd=directory, umask=0, env=ENVIRONMENT)
    (place.directory / "requests").mkdir()
    shutil.move(directory / "app.csr", place.directory / "requests")
    return command


def test_a_client_makes_its_key_as_the_build_says_and_connects_with_the_bundle_beside_it(
    place: Place, home: Path
) -> None:
    target = home / ".postgresql"
    target.mkdir()
    with Server(versions()[-1]) as server:
        server.populate(["app"], ["shop"])
        spec = OWN_KEY.format(port=server.port, version=server.version)
        requested(place, spec, target)
        key = target / "postgresql.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        place.build(spec, now=datetime.now(UTC))
        server.install(place.file("servers/db"))
        mine = key.read_bytes()
        done(install(place.file("clients/app"), home))
        assert (key.read_bytes(), psql(home, "service=db-shop")) == (mine, "app@shop")
        key.chmod(0o644)
        assert "group or world access" in psql(home, "service=db-shop")
        assert f"set the mode of {key} to 0600\n" in done(install(place.file("clients/app"), home))
        assert psql(home, "service=db-shop") == "app@shop"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
        before = state(home)
        failed(install(place.file("clients/app"), home), "is not the key of postgresql.crt")
        assert state(home) == before
        assert "does not match private key file" in psql(home, "service=db-shop")


def test_a_key_from_elsewhere_that_comes_along_is_compared_and_installed(place: Place, home: Path) -> None:
    requested(place, OWN_KEY.format(port=5432, version=17), home)
    place.build()
    app = place.file("clients/app")
    shutil.copy(place.file("servers/db/server.key"), app / "postgresql.key")
    before = state(home)
    failed(install(app, home), "is not the key of postgresql.crt")
    assert state(home) == before
    shutil.copy(home / "postgresql.key", app / "postgresql.key")
    done(install(app, home))
    assert (home / ".postgresql" / "postgresql.key").read_bytes() == (home / "postgresql.key").read_bytes()


def test_a_key_from_elsewhere_that_cannot_be_compared_is_reported(place: Place, home: Path) -> None:
    target = home / ".postgresql"
    target.mkdir()
    requested(place, OWN_KEY.format(port=5432, version=17), target)
    place.build()
    words = ["openssl", "pkey", "-in", "postgresql.key", "-aes256", "-passout", "pass:secret", "-out", "guarded"]
    subprocess.run(words, check=True, cwd=target)
    (target / "guarded").replace(target / "postgresql.key")
    run = install(place.file("clients/app"), home)
    assert (run.returncode, "is not compared with postgresql.crt" in run.stderr) == (0, True)


def test_a_bundle_with_its_place_goes_there(place: Place, home: Path, tmp_path: Path) -> None:
    target = tmp_path / "it's $HOME"
    place.build(SMALL.replace("[user.app]", f'[user.app]\ndirectory = "{target}"'))
    done(install(place.file("clients/app"), home))
    assert (target / "postgresql.key").exists()
    assert f"sslkey={target}/postgresql.key\n" in (home / ".pg_service.conf").read_text()


def test_wrong_usage_is_said(app: Path, home: Path) -> None:
    run = install(app, home, "--force")
    assert (run.returncode, "Usage:" in run.stderr) == (64, True)
    assert "Usage:" in done(install(app, home, "--help"))


def test_shellcheck_finds_nothing(place: Place) -> None:
    place.build(SMALL.replace("[user.app]", '[user.app]\ndirectory = "/it\'s $HOME"') + '[user.bi]\nca = "clients"\n')
    program = Path(sys.prefix) / "bin" / "shellcheck"
    scripts = [place.file(f"clients/{name}/{script}") for name in ("app", "bi") for script in ("install.sh",)]
    found = subprocess.run([program, *scripts], check=False, capture_output=True, text=True)
    assert found.stdout == ""


ROOT_ONLY = pytest.mark.skipif(not is_root(), reason="unavailable: only root has more rights than other accounts")


@ROOT_ONLY
@pytest.mark.parametrize("shell", SHELLS)
def test_root_installs_nothing_where_another_account_decides_where_it_goes(
    place: Place, home: Path, shell: tuple[str, ...]
) -> None:
    account = find_account("nobody")
    assert account
    top = new_directory("machine")
    ours, theirs, sticky = top / "ours", top / "theirs", top / "sticky"
    for directory in (ours, theirs, sticky, theirs / "roots"):
        directory.mkdir(mode=0o755)
    os.chown(theirs, account.uid, account.gid)
    sticky.chmod(0o1777)
    for link, to in ((theirs / "link", ours), (sticky / "link", ours), (ours / "over", Path("../theirs/roots"))):
        link.symlink_to(to)
    for link in (theirs / "link", sticky / "link"):
        os.chown(link, account.uid, account.gid, follow_symlinks=False)
    before = state(top)
    for way in (
        "theirs",
        "theirs/new",
        "theirs/roots",
        "theirs/link",
        "sticky",
        "sticky/link",
        "sticky/link/",
        "ours/over",
    ):
        place.build(SMALL.replace("[user.app]", f'[user.app]\ndirectory = "{top}/{way}"'))
        failed(install(place.file("clients/app"), home, shell=shell), "others than root can change")
        assert state(top) == before
    (ours / "link").symlink_to("../sticky/new")
    place.build(SMALL.replace("[user.app]", f'[user.app]\ndirectory = "{top}/ours/link/tls"'))
    (sticky / "new").mkdir(mode=0o755)
    done(install(place.file("clients/app"), home, shell=shell))
    assert (sticky / "new" / "tls" / "postgresql.key").exists()
    failed(install(place.file("clients/app"), theirs, shell=shell), "others than root can change")


@ROOT_ONLY
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("made", ["mkdir -m 0777 {0}", "ln -s {0}.theirs {0} && mkdir -m 0777 {0}.theirs"])
def test_a_directory_that_another_account_makes_meanwhile_gets_no_file(
    place: Place, home: Path, made: str, shell: tuple[str, ...]
) -> None:
    account, sticky, programs = find_account("nobody"), new_directory("sticky"), new_directory("programs")
    assert account
    sticky.chmod(0o1777)
    place.build(SMALL.replace("[user.app]", f'[user.app]\ndirectory = "{sticky}/new/tls"'))
    words = " ".join(run_as(account))
    # The script compares the key after it has looked at the way.
    (programs / "openssl").write_text(
        f"#!/bin/sh\n[ -e {sticky}/new ] || {words} sh -c '{made.format(sticky / 'new')}'\n"
        f'exec {shutil.which("openssl")} "$@"\n'
    )
    (programs / "openssl").chmod(0o755)
    run = install(place.file("clients/app"), home, shell=shell, programs=programs)
    failed(run, f"others than root can change {sticky}/new: run this as the account that uses the files")
    assert list((sticky / "new").iterdir()) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_links_that_lead_nowhere_and_in_a_circle(place: Place, home: Path, shell: tuple[str, ...]) -> None:
    (home / "circle").symlink_to(home / "around")
    (home / "around").symlink_to("circle")
    place.build(SMALL.replace("[user.app]", f'[user.app]\ndirectory = "{home}/circle/tls"'))
    failed(install(place.file("clients/app"), home, shell=shell), "leads through more than 40 links")
    (home / "link").symlink_to("new")
    (home / ".pg_service.conf").symlink_to("services")
    place.build(SMALL.replace("[user.app]", f'[user.app]\ndirectory = "{home}/link/tls"'))
    done(install(place.file("clients/app"), home, shell=shell))
    assert (home / "new" / "tls" / "postgresql.key").exists()
    assert "[main-shop]" in (home / "services").read_text()
    (home / "services").unlink()
    (home / ".pg_service.conf").unlink()
    (home / ".pg_service.conf").symlink_to("missing/services")
    failed(install(place.file("clients/app"), home, shell=shell), f"{home}/missing is missing")


@ROOT_ONLY
@pytest.mark.parametrize("place_of", ["files", "services"])
@pytest.mark.parametrize("way", ["etc/app", "tmp/app"])
def test_a_directory_that_is_away_while_root_looks_at_it_gets_no_file(
    place: Place, home: Path, way: str, place_of: str
) -> None:
    """Root's link leads into a directory of another account, or that account has one in a sticky directory."""
    account, top = find_account("nobody"), new_directory("machine")
    assert account
    for name, mode in (("etc", 0o755), ("opt", 0o755), ("tmp", 0o1777)):
        (top / name).mkdir()
        (top / name).chmod(mode)
    give(top / "opt", account)
    (top / "etc" / "app").symlink_to(top / "opt" / "app")
    there = top / "opt" / "app" if way == "etc/app" else top / "tmp" / "app"
    (there / "tls").mkdir(parents=True)
    (there / "tls" / "root.crt").write_text("theirs\n")
    for path in (there, *there.rglob("*")):
        give(path, account)
    before = {path.name: path.lstat().st_ino for path in there.rglob("*")}
    target, home = (top / way / "tls", home) if place_of == "files" else (home / "tls", top / way / "tls")
    place.build(SMALL.replace("[user.app]", f'[user.app]\ndirectory = "{target}"'))
    bundle = place.file("clients/app")
    failed(install(bundle, home, "--replace"), "others than root can change")
    install(bundle, home, "--replace", shell=absent_while_checked(there))
    for path in (there, there.with_name(".app.away")):
        if path.exists() and path.stat().st_uid == account.uid:
            assert {path.name: path.lstat().st_ino for path in path.rglob("*")} == before


@ROOT_ONLY
def test_an_account_installs_nothing_where_a_third_one_can_replace_it(place: Place) -> None:
    stranger, account = find_account("nobody"), server_account()
    if stranger is None or stranger == account:
        pytest.skip("unavailable: a third account")
    home, sticky, bundle = new_directory("home"), new_directory("sticky"), new_directory("bundle") / "app"
    give(home, account)
    sticky.chmod(0o1777)
    place.build(SMALL.replace("[user.app]", f'[user.app]\ndirectory = "{sticky}/tls"'))
    shutil.copytree(place.file("clients/app"), bundle)
    give(bundle, account)
    target = sticky / "tls"
    target.mkdir()
    for owner, mode in ((stranger, 0o777), (stranger, 0o755), (account, 0o775), (account, 0o757)):
        give(target, owner)
        target.chmod(mode)
        failed(install(bundle, home, account=account), f"others than {account.name} can change {target}: run this as")
        assert (list(target.iterdir()), list(home.iterdir())) == ([], [])
    target.chmod(0o755)
    done(install(bundle, home, account=account))
    give(home / ".pg_service.conf", stranger)
    failed(install(bundle, home, account=account), f"can change {home}/.pg_service.conf: ")


@ROOT_ONLY
def test_a_file_of_another_account_is_written_again(app: Path, home: Path) -> None:
    done(install(app, home))
    file = home / ".postgresql" / "root.crt"
    give(file, server_account())
    assert done(install(app, home)).startswith(f"write {file}\n")
    assert file.stat().st_uid == 0
    assert done(install(app, home)).startswith("nothing to do\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_link_in_the_way_of_a_file_leads_nowhere(app: Path, home: Path, shell: tuple[str, ...]) -> None:
    target, precious, same = home / ".postgresql", home / "precious", home / "same"
    target.mkdir()
    precious.write_text("kept\n")
    precious.chmod(0o600)
    shutil.copyfile(app / "env.sh", same)
    same.chmod(0o600)
    for name in (".pgtls", *(path.name for path in app.iterdir())):
        for staged in (f".{name}.new", f"{name}.new", f"{name}.pgtls-new"):
            (target / staged).symlink_to(precious)
    (target / "env.sh").symlink_to(same)
    done(install(app, home, shell=shell))
    assert (precious.read_text(), stat.S_IMODE(same.stat().st_mode)) == ("kept\n", 0o600)
    installed = target / "env.sh"
    assert (installed.is_symlink(), stat.S_IMODE(installed.stat().st_mode)) == (False, 0o644)


def test_no_file_is_moved_into_a_directory_that_has_its_name(app: Path, home: Path) -> None:
    target, elsewhere = home / ".postgresql", home / "elsewhere"
    target.mkdir()
    elsewhere.mkdir()
    (target / "env.sh").symlink_to(elsewhere)
    failed(install(app, home), "env.sh is a directory")
    assert list(elsewhere.iterdir()) == []


def test_a_file_with_another_mode_is_written_again(app: Path, home: Path) -> None:
    done(install(app, home))
    for name, mode in (("postgresql.key", 0o644), ("root.crt", 0o666)):
        (home / ".postgresql" / name).chmod(mode)
    assert "write " in done(install(app, home))
    modes = {name: mode for name, (mode, _) in state(home).items()}
    assert (modes[".postgresql/postgresql.key"], modes[".postgresql/root.crt"]) == ("600", "644")
    assert done(install(app, home)).startswith("nothing to do\n")
