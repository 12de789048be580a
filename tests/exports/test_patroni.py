"""`pgtls export patroni`: the file of each member, and what Patroni needs that a spec lacks."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml  # type: ignore[import-untyped]

from exports.specs import PATRONI, built, export, said
from pgtls.cli.export_directory import write
from pgtls.diagnostics import Rejected
from pgtls.exports.built import PUBLIC, SECRET, Exported
from support.killing import in_child, moments
from support.pgtls import pgtls
from support.system import ENVIRONMENT, find_account, is_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return built(tmp_path, PATRONI)


def test_the_file_of_a_member_has_settings_rules_and_how_patroni_connects(place: Path) -> None:
    assert export(place, "patroni", "--rewind", "rewinder").status == 0
    (file,) = yaml.safe_load((place / "to/n2.yml").read_text()).values()
    conf = (place / "out/servers/n2/pgtls.conf").read_text()
    assert [f"{name} = '{value}'" for name, value in file["parameters"].items()] == [
        line for line in conf.splitlines() if " = " in line and not line.startswith(("#", "hba_file", "ident_file"))
    ]
    for name, key in (("pg_hba.conf", "pg_hba"), ("pg_ident.conf", "pg_ident")):
        text = (place / "out/servers/n2" / name).read_text()
        assert file[key] == [line for line in text.splitlines() if line]
    assert file["authentication"] == {
        "superuser": {"username": "postgres"},
        "replication": {
            "username": "replicator",
            "sslmode": "verify-full",
            "gssencmode": "disable",
            "sslrootcert": "/etc/patroni/replicator/root.crt",
            "sslcert": "/etc/patroni/replicator/postgresql.crt",
            "sslkey": "/etc/patroni/replicator/postgresql.key",
        },
        "rewind": {
            "username": "rewinder",
            "sslmode": "verify-full",
            "gssencmode": "disable",
            "sslrootcert": "/etc/patroni/rewinder/root.crt",
            "sslcert": "/etc/patroni/rewinder/postgresql.crt",
            "sslkey": "/etc/patroni/rewinder/postgresql.key",
        },
    }


def test_members_demand_of_each_other_what_the_bundles_of_their_users_do(tmp_path: Path) -> None:
    """Patroni tells libpq nothing that its file lacks: `crl` and `channel_binding` would be in force nowhere."""
    crl = PATRONI.replace('directory = "/etc/patroni/replicator"', 'directory = "/etc/patroni/replicator"\ncrl = true')
    place = built(tmp_path, crl)
    assert export(place, "patroni", "--rewind", "rewinder").status == 0
    (file,) = yaml.safe_load((place / "to/n2.yml").read_text()).values()
    assert file["authentication"]["replication"]["sslcrl"] == "/etc/patroni/replicator/root.crl"
    assert "sslcrl" not in file["authentication"]["rewind"]


def test_a_spec_without_maps_has_no_pg_ident_since_patroni_refuses_an_empty_one(tmp_path: Path) -> None:
    spec = PATRONI.replace('os_users = ["postgres"]\n', "").replace(
        'databases = ["replication"]\nfrom = ["local"]\nauth = "peer"',
        'databases = ["replication"]\nfrom = ["local"]\nauth = "scram-sha-256"',
    )
    assert export(built(tmp_path, spec), "patroni").status == 0
    assert "pg_ident" not in (tmp_path / "to/n1.yml").read_text()


def test_files_are_private_and_a_second_export_touches_nothing(place: Path) -> None:
    before = os.umask(0)
    try:
        first = export(place, "patroni")
    finally:
        os.umask(before)
    assert first.stdout == "wrote to/.gitignore\nwrote to/n1.yml\nwrote to/n2.yml\n"
    assert (place / "to/.gitignore").read_text().splitlines()[1:] == [".pgtls-*", "/n1.yml", "/n2.yml"]
    files = sorted((place / "to").iterdir())
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o644, 0o600, 0o600]
    seen = [(file.stat().st_mtime_ns, file.stat().st_ino) for file in files]
    assert export(place, "patroni").stdout == "to is as it should be: n1.yml and n2.yml\n"
    assert [(file.stat().st_mtime_ns, file.stat().st_ino) for file in sorted((place / "to").iterdir())] == seen
    (place / "to/n1.yml").chmod(0o644)
    assert export(place, "patroni").stdout == "wrote to/n1.yml\n"
    assert stat.S_IMODE((place / "to/n1.yml").stat().st_mode) == 0o600


def test_a_link_is_replaced_and_not_followed(place: Path) -> None:
    assert export(place, "patroni").status == 0
    (place / "precious").write_text("precious")
    (place / "to/n1.yml").unlink()
    (place / "to/n1.yml").symlink_to(place / "precious")
    assert export(place, "patroni").status == 0
    assert (place / "precious").read_text() == "precious"
    assert not (place / "to/n1.yml").is_symlink()


def test_files_that_no_export_wrote_are_not_replaced(place: Path) -> None:
    (place / "to").mkdir()
    for name in (".gitignore", "n1.yml"):
        (place / "to" / name).write_text("mine\n")
        text = said(export(place, "patroni"))
        assert f'error[PGT668]: "to" holds files that pgtls export did not write, e.g. "{name}"' in text
        assert [path.read_text() for path in (place / "to").iterdir()] == ["mine\n"]
        (place / "to" / name).unlink()
    assert export(place, "patroni", "server.n1").status == 0
    (place / "to/own.yml").write_text("mine\n")
    with (place / "to/.gitignore").open("a") as file:
        file.write("*.log\n")
    assert export(place, "patroni").status == 0
    assert (place / "to/own.yml").read_text() == "mine\n"
    assert (place / "to/.gitignore").read_text().splitlines()[1:] == ["*.log", ".pgtls-*", "/n1.yml", "/n2.yml"]


def git(directory: Path, *words: str) -> str:
    env = {"PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(["git", *words], cwd=directory, env=env, check=True, capture_output=True, text=True).stdout


SECRETS = {"a.yml": Exported(b"key", SECRET), "below/b.key": Exported(b"key", SECRET), "c": Exported(b"c", PUBLIC)}


def _behind_a_link(directory: Path) -> None:
    shutil.move(directory, directory.with_name("elsewhere"))
    directory.symlink_to("elsewhere")


PREPARED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a line that takes back": (
        lambda to: (to / ".gitignore").write_text((to / ".gitignore").read_text() + "!/a.yml\n"),
        '/.gitignore" has a line that begins with !',
    ),
    "another list below": (
        lambda to: (to / "below/.gitignore").write_text("!*\n"),
        '/below" has a .gitignore that pgtls export did not write',
    ),
    "a repository below": (
        lambda to: git(to / "below", "init", "-q"),
        '/below" is a repository of its own',
    ),
    "a submodule below": (
        lambda to: (to / "below/.git").write_text("gitdir: ../../.git/modules/below\n"),
        '/below" is a repository of its own',
    ),
    "a file that git tracks": (
        lambda to: git(to, "add", "-f", "below/b.key"),
        'git tracks ".*/below/b.key", which is to hold a secret',
    ),
    "a link": (_behind_a_link, '/to" is a symbolic link or a file'),
    "a link below": (lambda to: _behind_a_link(to / "below"), '/below" is a symbolic link or a file'),
}


@pytest.mark.parametrize("fault", PREPARED)
def test_where_a_commit_has_prepared_that_git_gets_a_secret_nothing_is_written(tmp_path: Path, fault: str) -> None:
    prepare, message = PREPARED[fault]
    to = tmp_path / "to"
    git(tmp_path, "init", "-q")
    write(str(to), SECRETS)
    assert git(tmp_path, "ls-files", "-o", "--exclude-standard").splitlines() == ["to/.gitignore", "to/c"]
    for name in SECRETS:
        (to / name).write_text("")
    prepare(to)
    with pytest.raises(Rejected, match=f"PGT668: .*{message}"):
        write(str(to), SECRETS)
    assert {(to / name).read_text() for name in SECRETS} == {""}


@pytest.mark.parametrize("below", ["", "/", "/new", "/new/one/"])
def test_a_link_that_a_commit_brings_above_the_directory_leads_no_secret_elsewhere(tmp_path: Path, below: str) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    for directory in (site, elsewhere):
        directory.mkdir()
    git(site, "init", "-q")
    (site / "deploy").symlink_to("../elsewhere")
    with pytest.raises(Rejected, match="PGT668: "):
        write(f"{site}/deploy{below}", SECRETS)
    assert list(elsewhere.iterdir()) == []
    (tmp_path / "own").symlink_to("elsewhere")
    write(f"{tmp_path}/own/new", SECRETS)
    assert (elsewhere / "new" / "a.yml").read_bytes() == b"key"


def test_an_export_that_is_killed_at_any_write_leaves_no_secret_that_git_adds(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    to = tmp_path / "to"
    total = in_child(lambda: write(str(to), SECRETS)).writes
    assert total is not None
    for number in moments(total):
        shutil.rmtree(to, ignore_errors=True)
        assert in_child(lambda: write(str(to), SECRETS), kill_at=number).killed
        listed = git(tmp_path, "ls-files", "-o", "--exclude-standard").splitlines()
        assert not [name for name in listed if (tmp_path / name).read_bytes() == b"key"], number


def test_a_later_export_deletes_what_a_killed_one_has_staged_and_nothing_else(tmp_path: Path) -> None:
    to, staged = tmp_path / "to", ".pgtls-0123456789abcdef"
    write(str(to), SECRETS)
    others = [
        to / ".pgtls-notes",
        to / f"below/{staged}.bak",
        to / "0123456789abcdef",
        to / ".pgtls-fedcba9876543210/a",
    ]
    others[-1].parent.mkdir()
    for path in (to / staged, to / "below" / staged, *others):
        path.write_bytes(b"key")
    write(str(to), SECRETS)
    assert (to / staged).exists(), "another export may be about to put it into place"
    for path in to.rglob("*"):
        os.utime(path, (0, 0))
    write(str(to), SECRETS)
    assert [path.name for path in to.rglob(staged)] == []
    assert all(path.exists() for path in others)


@pytest.mark.parametrize("path", ["", "below"])
def test_an_export_into_a_directory_that_others_can_write_writes_nothing(tmp_path: Path, path: str) -> None:
    to = tmp_path / "to"
    (to / path).mkdir(parents=True)
    (to / ".gitignore").write_text("# Written by pgtls export: the files here that hold secrets\n")
    (to / path).chmod(0o777)
    with pytest.raises(Rejected, match=r'PGT585: every user of this machine can write to the directory ".*/to'):
        write(str(to), SECRETS)
    assert not list(to.rglob("*.key"))
    (to / path).chmod(0o755)
    if is_root():
        nobody = find_account("nobody")
        assert nobody is not None
        os.chown(to / path, nobody.uid, nobody.gid)
        with pytest.raises(Rejected, match=r"PGT540: .* belongs to nobody, and you are root") as rejected:
            write(str(to), SECRETS)
        assert "name a directory of your own with --to" in str(rejected.value.diagnostics[0].hint)
        assert not list(to.rglob("*.key"))
        os.chown(to / path, 0, 0)
    write(str(to), SECRETS)


@pytest.mark.skipif(not is_root(), reason="unavailable: a file of another user needs root")
def test_a_file_of_another_user_with_the_same_content_is_replaced(tmp_path: Path) -> None:
    nobody = find_account("nobody")
    assert nobody is not None
    write(str(tmp_path / "to"), SECRETS)
    os.chown(tmp_path / "to/a.yml", nobody.uid, nobody.gid)
    assert write(str(tmp_path / "to"), SECRETS) == [str(tmp_path / "to/a.yml")]
    assert (tmp_path / "to/a.yml").stat().st_uid == 0


def test_nothing_is_printed_unless_asked_for(place: Path) -> None:
    assert pgtls("export", "patroni", cwd=place).status == 64
    run = pgtls("export", "patroni", "server.n1", "--to", "-", cwd=place)
    assert run.status == 0
    assert export(place, "patroni").status == 0
    assert run.stdout == (place / "to/n1.yml").read_text()
    assert pgtls("export", "patroni", "--to", "-", "--format", "json", cwd=place).status == 64
    assert pgtls("export", "patroni", "--to", "out/patroni", cwd=place).status == 64
    assert not (place / "out/patroni").exists()


def test_json_lists_the_files(place: Path) -> None:
    run = export(place, "patroni", "server.n1", "--format", "json")
    assert json.loads(run.stdout)["files"] == [{"path": "n1.yml", "mode": "0600"}]


def test_what_is_not_built_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text(PATRONI)
    assert "PGT" in said(export(tmp_path, "patroni"))
    built(tmp_path, PATRONI)
    (tmp_path / "pgtls.toml").write_text(PATRONI.replace('["shop"]', '["shop", "stock"]'))
    assert said(export(tmp_path, "patroni")).splitlines() == [
        'pgtls: error[PGT660]: "servers/n1/pg_hba.conf" is not what the spec says, nor is 1 more file',
        " = hint: run pgtls build first: an export carries what the last build made",
    ]
    assert not (tmp_path / "to").exists()
    built(tmp_path, (tmp_path / "pgtls.toml").read_text())
    assert export(tmp_path, "patroni").status == 0


@pytest.mark.parametrize("spec", [None, b"\xff", b"[[", b"version = 1\n[ca.x]\nissuer = 'y'"])
def test_a_spec_that_cannot_be_read_is_an_error(tmp_path: Path, spec: bytes | None) -> None:
    if spec is not None:
        (tmp_path / "pgtls.toml").write_bytes(spec)
    run = export(tmp_path, "patroni", "--format", "json")
    assert run.status == 1
    assert run.json["diagnostics"]
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    ("part", "instead", "expected"),
    [
        pytest.param(
            'users = ["postgres"]\nfrom = ["local"]',
            'users = ["app"]\nfrom = ["local"]',
            'PGT662]: Patroni connects to server "n1" as user "postgres" over the Unix socket to database "postgres", '
            "and no policy admits it",
            id="the superuser over the socket",
        ),
        pytest.param(
            'os_users = ["postgres"]\n',
            "",
            'PGT662]: Patroni connects to server "n1" as user "replicator" over the Unix socket to database '
            '"replication", and no policy admits it',
            id="the account of Patroni is not the one that may replicate",
        ),
        pytest.param(
            'addresses = ["10.0.0.1", "10.0.0.2"]',
            'addresses = ["10.0.0.1"]',
            'PGT662]: Patroni connects to server "n1" as user "replicator" from member "n2" over TLS to database '
            '"replication", and no policy admits it',
            id="a member whose address no policy names",
        ),
        pytest.param(
            'databases = ["postgres"]',
            'databases = ["shop"]',
            'PGT662]: Patroni connects to server "n1" as user "rewinder" from member "n2" over TLS to database '
            '"postgres", and no policy admits it',
            id="the user of pg_rewind",
        ),
        pytest.param(
            'directory = "/etc/postgresql/tls"\n',
            "",
            'PGT665]: server "n1" has no directory: its files would lie in the data directory, which Patroni removes '
            "and copies from another member, keys included",
            id="files in the data directory",
        ),
        pytest.param(
            'directory = "/etc/patroni/replicator"\n',
            "",
            'PGT665]: user "replicator" has no directory: Patroni must know where the members keep its bundle',
            id="no place for the certificate of the replication user",
        ),
        pytest.param(
            "[server.n1]\n",
            "[server.n1]\nsettings = { max_connections = 200 }\n",
            'PGT663]: Patroni decides "max_connections" itself, and ignores or rejects this value',
            id="a setting of the dynamic configuration",
        ),
    ],
)
def test_what_patroni_needs_and_the_spec_lacks_is_an_error(
    tmp_path: Path, part: str, instead: str, expected: str
) -> None:
    assert part in PATRONI
    built(tmp_path, PATRONI)
    assert export(tmp_path, "patroni", "--rewind", "rewinder").status == 0
    (tmp_path / "pgtls.toml").write_text(PATRONI.replace(part, instead))
    assert pgtls("build", "--accept-outage", cwd=tmp_path, now="2027-01-01").status == 0
    text = said(export(tmp_path, "patroni", "--rewind", "rewinder"))
    assert f"error[{expected}" in text
    assert "= hint: " in text


def test_a_user_that_the_spec_lacks_is_named(place: Path) -> None:
    text = said(export(place, "patroni", "--replication", "replicater"))
    assert 'error[PGT291]: the spec has no user "replicater"' in text
    assert 'did you mean "replicator"?' in text


def test_members_that_are_known_by_names_alone_may_have_any_address_of_a_policy(tmp_path: Path) -> None:
    spec = PATRONI.replace(', "10.0.0.1"]\n[server.n2]', "]\n[server.n2]").replace('.com", "10.0.0.2"', '.com"')
    assert export(built(tmp_path, spec), "patroni").status == 0


def test_without_pyyaml_the_export_says_what_to_install(place: Path) -> None:
    code = (
        "import sys; sys.modules['yaml'] = None; from pgtls.cli import run; "
        "sys.exit(run(['export', 'patroni', '--to', 'to']))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "error[PGT667]: this export needs PyYAML, which is not installed" in run.stderr
    assert not (place / "to").exists()


def test_the_values_of_a_file_are_read_back_as_they_are() -> None:
    from pgtls.exports.documents import render

    strange = ["on", "No", "~", "1e3", "0777", "12:30:45", "", " x ", "# x", "a: b", 'host "a\\b"', "ü", "<<", "=", "2027-01-01", "null", "-", "\u2028x"]  # fmt: skip  # noqa: E501
    assert yaml.safe_load(render([strange])) == strange
    assert yaml.safe_load(render([{name: name for name in strange}])) == {name: name for name in strange}
    assert yaml.safe_load(render([{"text": "a\nb\n", "trailing": "a \nb"}])) == {"text": "a\nb\n", "trailing": "a \nb"}
