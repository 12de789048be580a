"""``pgtls import`` as a user runs it, and what a real server makes of its result."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import psycopg
import pytest

from importer.cases import CLOUDNATIVEPG, DEBIAN, PATRONI
from importer.openssl import openssl, root, self_signed, signed, some_root
from support.pgtls import built, pgtls
from support.servers import Installation, Server, versions

if TYPE_CHECKING:
    from pathlib import Path

    from support.pgtls import Run


def run_import(directory: Path, hba: str, *words: str, postgres: int = 17) -> Run:
    (directory / "pg_hba.conf").write_text(hba)
    asked = ("--hba", "pg_hba.conf", "--postgres", str(postgres), "--host", "localhost", *words)
    return pgtls("import", *asked, cwd=directory, now="2026-01-01")


def test_a_spec_is_written_that_checks_and_builds(tmp_path: Path) -> None:
    run = run_import(tmp_path, PATRONI)
    assert (run.status, run.stdout.splitlines()[0]) == (
        0,
        "wrote pgtls.toml: it compiles to files of the same meaning",
    ), run.stderr
    assert pgtls("check", cwd=tmp_path, now="2026-01-01").status == 0
    assert (built(tmp_path / "pgtls.toml", tmp_path / "out", now="2026-01-01") / "servers/primary/pg_hba.conf").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".pgtls-import")] == []


def test_a_spec_that_means_something_else_is_written_and_the_status_says_so(tmp_path: Path) -> None:
    (tmp_path / "pg_ident.conf").write_text(CLOUDNATIVEPG.ident)
    (tmp_path / "ca.crt").write_text(some_root())
    run = run_import(tmp_path, CLOUDNATIVEPG.hba, "--ident", "pg_ident.conf", "--ca-file", "ca.crt")
    assert (run.status, run.stdout) == (1, "wrote pgtls.toml: it means something else than the files, see above\n")
    assert "pg_hba.conf:12:1: error[PGT297]: " in run.stderr
    assert (tmp_path / "pgtls.toml").exists()


def test_where_nothing_could_be_compared_the_last_line_says_so_and_nothing_else(tmp_path: Path) -> None:
    run = run_import(tmp_path, PATRONI, "--host", "no host")
    assert run.status == 1
    assert run.stdout == "wrote pgtls.toml: it does not compile as it is, and nothing was compared\n"
    assert "nothing was compared" in run.stderr
    assert "means something else" not in run.stdout + run.stderr


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text("mine")
    run = run_import(tmp_path, PATRONI)
    assert run.status == 1
    assert "error[PGT282]: pgtls.toml exists already" in run.stderr
    assert (tmp_path / "pgtls.toml").read_text() == "mine"


PEER = "local all all peer"
REFUSED = {
    "a line that the server refuses": ("local all all", (), "pg_hba.conf:1:14: error[PGT290]: end-of-line before"),
    "a certificate that is not there": (PEER, ("--cert", "no.crt", "--key", "no.key"), 'there is no file "no.crt"'),
    "a certificate without its key": (PEER, ("--cert", "pg_hba.conf"), "--cert was given without --key"),
    "an ident file that is not there": (PEER, ("--ident", "no.conf"), 'error[PGT295]: there is no file "no.conf"'),
    "a directory that is not there": (PEER, ("--output", "no/pgtls.toml"), "no such file or directory"),
}


@pytest.mark.parametrize(("lines", "words", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_imported(tmp_path: Path, lines: str, words: tuple[str, ...], message: str) -> None:
    run = run_import(tmp_path, f"{lines}\n", *words)
    assert run.status == 1
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "pgtls.toml").exists()


def test_a_line_that_never_decides_is_named(tmp_path: Path) -> None:
    run = run_import(tmp_path, "local all all peer\nhost all all all md5\nhost shop app 10.0.0.0/8 reject\n")
    assert run.status == 0
    assert "pg_hba.conf:3:1: warning[PGT298]: the line never decides, and is left out: line 2 decides" in run.stderr


ASKED = [
    (role, database, host)
    for role in ("app", "bad", "web")
    for database in ("shop", "postgres")
    for host in ("127.0.0.1", "::1", "socket")
]
HBA = """\
host all bad all reject
host shop app 127.0.0.0/8 scram-sha-256
host all app 127.0.0.1/32 trust
host shop all ::1/128 trust
local shop all trust
local all web scram-sha-256
local all all peer
"""


@pytest.mark.parametrize("hba", [HBA, DEBIAN], ids=["a file whose order matters", "Debian's file"])
@pytest.mark.parametrize("installation", versions()[-2:-1], ids=lambda one: one.id)
def test_a_server_decides_the_same_by_either_file(tmp_path: Path, installation: Installation, hba: str) -> None:
    run = run_import(tmp_path, hba, postgres=installation.major)
    assert run.status == 0, run.stderr
    out = built(tmp_path / "pgtls.toml", tmp_path / "out", now="2026-01-01")
    with Server(installation) as server:
        server.populate(roles=["app", "bad", "web"], databases=["shop"])
        answers = [_answers(server, text) for text in (hba, (out / "servers/primary/pg_hba.conf").read_text())]
        assert answers[0] == answers[1]
        assert len(set(answers[0])) > 1, "the connections tell nothing apart"
        assert _answers(server, "host all all all reject\nlocal all all reject\n") != answers[0]


def _answers(server: Server, hba: str) -> list[str]:
    (server.data / "pg_hba.conf").write_text(hba)
    server.reload()
    return [_answer(server, *asked) for asked in ASKED]


def _answer(server: Server, role: str, database: str, host: str) -> str:
    """Return what the server does: it admits, asks for a password, or refuses and says why."""
    where = server.sockets if host == "socket" else host
    try:
        psycopg.connect(
            host=where, port=server.port, user=role, dbname=database, sslmode="disable", gssencmode="disable",
            passfile="/nonexistent",
        ).close()  # fmt: skip
    except psycopg.OperationalError as error:
        words = str(error)
        known = ("no password supplied", "pg_hba.conf rejects", "no pg_hba.conf entry", "Peer authentication failed")
        found = next((kind for kind in known if kind in words), words)
        # Nobody is admitted without a policy, so that a refusal may need no line.
        return "refused" if "pg_hba" in found else found
    return "admitted"


def test_all_missing_files_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "postgresql.conf").write_text("ssl_ca_file = 'no-ca.crt'\nssl_crl_file = 'no.crl'\n")
    run = run_import(tmp_path, PEER, "--ident", "no.conf", "--cert", "no.crt", "--conf", "postgresql.conf")
    assert run.status == 1
    for name in ("no.conf", "no.crt"):
        assert f'there is no file "{name}"' in run.stderr
    for name in ('ssl_ca_file = "no-ca.crt"', 'ssl_crl_file = "no.crl"'):
        assert f"{name} cannot be read on this machine" in run.stderr
    assert run.stderr.count("error[PGT295]") == 4
    assert not (tmp_path / "pgtls.toml").exists()


MAPPED = "local all postgres peer map=admins\nlocal all all scram-sha-256\nhostssl shop app 10.0.0.0/8 scram-sha-256\n"


@pytest.mark.parametrize("beside", [True, False], ids=["a pg_ident.conf beside", "none"])
def test_a_map_without_its_file_is_an_error_and_nothing_is_written(tmp_path: Path, beside: bool) -> None:
    if beside:
        (tmp_path / "pg_ident.conf").write_text("admins root postgres\n")
    run = run_import(tmp_path, MAPPED)
    assert run.status == 1
    assert 'pg_hba.conf:1:1: error[PGT280]: the line names map "admins", and no pg_ident.conf was given' in run.stderr
    assert f"name the file with --ident {'pg_ident.conf' if beside else 'FILE'}" in run.stderr
    assert not (tmp_path / "pgtls.toml").exists()


def test_a_map_that_the_file_lacks_is_reported_and_admits_nobody(tmp_path: Path) -> None:
    (tmp_path / "pg_ident.conf").write_text("admin root postgres\n")
    run = run_import(tmp_path, MAPPED, "--ident", "pg_ident.conf")
    assert run.status == 0
    assert 'pg_hba.conf:1:1: warning[PGT281]: the line names map "admins", and no line of "pg_ident.conf"' in run.stderr


def test_the_map_of_the_dba_stays_a_way_in(tmp_path: Path) -> None:
    (tmp_path / "pg_ident.conf").write_text("admins root postgres\n")
    assert run_import(tmp_path, MAPPED, "--ident", "pg_ident.conf").status == 0
    policies = tomllib.loads((tmp_path / "pgtls.toml").read_text())["policy"].values()
    assert [policy["auth"] for policy in policies] == ["peer", "scram-sha-256", "scram-sha-256"]


def test_no_local_is_never_written_without_a_word(tmp_path: Path) -> None:
    run = run_import(tmp_path, "hostssl shop app 10.0.0.0/8 scram-sha-256\n")
    assert run.status == 0
    assert tomllib.loads((tmp_path / "pgtls.toml").read_text())["server"]["primary"]["no_local"] is True
    assert "the spec says no_local = true" in run.stderr


def test_an_old_clientcert_names_its_meaning_and_the_way(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(some_root())
    lines = "local all postgres peer\nhostssl all app 10.0.0.0/8 md5 clientcert=1\n"
    run = run_import(tmp_path, lines, "--ca-file", "ca.crt")
    assert run.status == 1
    assert "up to PostgreSQL 13, clientcert=1 means verify-ca" in run.stderr
    assert "--postgres 13" in run.stderr
    assert run_import(tmp_path, lines, "--ca-file", "ca.crt", postgres=13).status == 0
    spec = tmp_path / "pgtls.toml"
    spec.write_text(spec.read_text().replace("postgres = 13", "postgres = 17"))
    out = built(spec, tmp_path / "out", now="2026-01-01")
    assert "clientcert=verify-ca" in (out / "servers/primary/pg_hba.conf").read_text()


def test_what_comes_next_works_as_it_is_written(tmp_path: Path) -> None:
    lines = "local all all peer\nhostssl all all all ldap ldapserver=l ldapbasedn=b ldapbindpasswd=geheim\n"
    run = run_import(tmp_path, lines, "--output", "my spec.toml")
    assert run.status == 0
    last = "next: set PGTLS_LDAPBINDPASSWD, read it, then pgtls plan 'my spec.toml' and pgtls build 'my spec.toml'"
    assert run.stdout.splitlines()[1] == last
    secret = {"PGTLS_LDAPBINDPASSWD": "geheim"}
    for command in ("plan", "build"):
        done = pgtls(command, "my spec.toml", cwd=tmp_path, now="2026-01-01", environment=secret)
        assert done.status == 0, done.stderr


SECRETS = {
    "in a warning's excerpt": "host all all 10.0.0.0/8 ldap ldapserver=x ldapbasedn=x ldapbindpasswd=CANARY",
    "in an error's excerpt": "host all all 10.0.0.0/8 ldap ldapserver=x ldapbasedn=x ldapbindpasswd=CANARY ldapport=x",
    "in a URL": 'host all all 10.0.0.0/8 ldap ldapurl="ldap://reader:CANARY@ldap.example/dc=x?uid"',
    "in a difference": "hostssl shop all 10.0.0.0/8 ldap ldapserver=x ldapbasedn=x ldapbindpasswd=CANARY\n"
    "host all all 10.0.0.0/8 radius radiusservers=x radiussecrets=CANARY",
    "in an option of a validator": 'hostssl all all all oauth issuer=x scope="y" validator.secret=CANARY',
}


@pytest.mark.parametrize("lines", SECRETS.values(), ids=SECRETS)
def test_no_secret_is_shown_or_written(tmp_path: Path, lines: str) -> None:
    version = 19 if "validator" in lines else 17
    run = run_import(tmp_path, f"local all all peer\n{lines}\n", postgres=version)
    spec = tmp_path / "pgtls.toml"
    assert "CANARY" not in run.stdout + run.stderr + (spec.read_text() if spec.exists() else "")
    words = (
        "--hba",
        "pg_hba.conf",
        "--postgres",
        str(version),
        "--user",
        "a",
        "--database",
        "shop",
        "--from",
        "10.0.0.1",
    )
    for output in ("text", "json"):
        explained = pgtls("explain", *words, "--format", output, cwd=tmp_path)
        assert "CANARY" not in explained.stdout + explained.stderr
        assert "Traceback" not in explained.stderr


def test_two_secrets_of_one_option_come_from_two_variables(tmp_path: Path) -> None:
    ldap = "host {0} all 10.0.0.0/8 ldap ldapserver=x ldapbasedn=x ldapbindpasswd={1}\n"
    lines = "local all all peer\n" + ldap.format("a", "one") + ldap.format("b", "two") + ldap.format("c", "one")
    assert run_import(tmp_path, lines).status == 0
    policies = tomllib.loads((tmp_path / "pgtls.toml").read_text())["policy"].values()
    found = [(p["databases"], p["auth_options"]["ldapbindpasswd"]["env"]) for p in policies if "auth_options" in p]
    assert found == [(["a", "c"], "PGTLS_LDAPBINDPASSWD"), (["b"], "PGTLS_LDAPBINDPASSWD_2")]


def test_a_user_s_own_certificate_is_adopted_as_the_hint_says(tmp_path: Path) -> None:
    root(tmp_path)
    signed(tmp_path, "app", "/CN=app", extensions="extendedKeyUsage = clientAuth\n")
    (tmp_path / "pg_hba.conf").write_text("local all postgres peer\nhostssl shop app 10.0.0.0/8 cert\n")
    words = ("--hba", "pg_hba.conf", "--ca-file", "root.crt", "--postgres", "17", "--host", "db.example.com")
    run = pgtls("import", *words, cwd=tmp_path)
    assert run.status == 0, run.stderr
    assert 'add ca = "clients" and cert_file = "FILE" to the user' in run.stderr
    spec = tmp_path / "pgtls.toml"
    assert "external" not in spec.read_text()
    text = spec.read_text().replace("[user.app]\n", '[user.app]\nca = "clients"\ncert_file = "app.crt"\n')
    spec.write_text(text)
    out = built(spec, tmp_path / "out")
    assert (tmp_path / "app.crt").read_text().endswith((out / "clients/app/postgresql.crt").read_text())
    assert not (out / "clients/app/postgresql.key").exists()


def test_a_certificate_for_other_names_says_which(tmp_path: Path) -> None:
    root(tmp_path)
    signed(tmp_path, "server", "/CN=x", extensions="subjectAltName = DNS:db7.example.com, IP:10.0.0.7\n")
    (tmp_path / "pg_hba.conf").write_text("local all postgres peer\n")
    words = ("import", "--hba", "pg_hba.conf", "--cert", "server.crt", "--key", "server.key", "--postgres", "17")
    run = pgtls(*words, "--host", "db.example.com", cwd=tmp_path)
    assert run.status == 1
    assert 'it lacks the host "db.example.com"' in run.stderr
    assert "if clients dial that, say --host db7.example.com" in run.stderr
    assert run.stderr.index("error[") < run.stderr.index("warning[")
    assert run.stdout.endswith("but a build would stop: see the errors above\n")
    (tmp_path / "pgtls.toml").unlink()
    assert pgtls(*words, "--host", "db7.example.com", cwd=tmp_path).status == 0


@pytest.mark.parametrize("command", ["cat /etc/pg/passphrase", "echo geheim"], ids=["a file", "the passphrase itself"])
def test_an_encrypted_key_is_opened_by_a_variable_and_no_passphrase_is_copied(tmp_path: Path, command: str) -> None:
    self_signed(tmp_path)
    openssl(tmp_path, "ec", "-in", "server.key", "-aes256", "-passout", "pass:geheim", "-out", "encrypted.key")
    (tmp_path / "postgresql.conf").write_text(
        f"ssl = on\nssl_key_file = 'encrypted.key'\nssl_passphrase_command = '{command}'\n"
    )
    (tmp_path / "pg_hba.conf").write_text("local all postgres peer\n")
    words = ("--hba", "pg_hba.conf", "--conf", "postgresql.conf", "--postgres", "17", "--host", "localhost")
    run = pgtls("import", *words, cwd=tmp_path)
    spec = (tmp_path / "pgtls.toml").read_text()
    assert "geheim" not in run.stdout + run.stderr + spec
    if "echo" in command:
        assert (run.status, "ssl_passphrase_command is left out" in run.stderr) == (1, True)
        return
    assert run.stdout.splitlines()[1].startswith("next: set PGTLS_SERVER_PASSPHRASE, read it")
    for value, status in (("wrong", 1), ("geheim", 0)):
        assert pgtls("build", cwd=tmp_path, environment={"PGTLS_SERVER_PASSPHRASE": value}).status == status


def test_postgresql_conf_names_the_access_files(tmp_path: Path) -> None:
    """As Debian's does; without a word, they lie in the data directory."""
    self_signed(tmp_path)
    words = ("import", "--conf", "postgresql.conf", "--postgres", "17", "--host", "localhost")
    (tmp_path / "postgresql.conf").write_text("ssl = on\n")
    absent = pgtls(*words, cwd=tmp_path)
    assert (absent.status, 'error[PGT295]: "pg_hba.conf", the hba_file of "postgresql.conf"' in absent.stderr) == (
        1,
        True,
    )
    (tmp_path / "pg_hba.conf").write_text("local all postgres peer\nlocal all app peer map=apps\n")
    (tmp_path / "pg_ident.conf").write_text("apps runner app\n")
    assert pgtls(*words, cwd=tmp_path).status == 0
    elsewhere = tmp_path / "etc"
    elsewhere.mkdir()
    for name in ("pg_hba.conf", "pg_ident.conf"):
        (tmp_path / name).rename(elsewhere / name)
    (tmp_path / "postgresql.conf").write_text(
        f"hba_file = '{elsewhere}/pg_hba.conf'\nident_file = '{elsewhere}/pg_ident.conf'\n"
    )
    assert pgtls(*words, "--output", "other.toml", cwd=tmp_path).status == 0
    assert "runner" in (tmp_path / "other.toml").read_text()
    nothing = pgtls("import", "--postgres", "17", "--host", "localhost", cwd=tmp_path)
    assert (nothing.status, "--hba FILE is missing: the pg_hba.conf; or --conf FILE" in nothing.stderr) == (64, True)


MISFITS = {
    "a CN that its SAN does not repeat": (
        "/CN=db.example.com",
        "subjectAltName = DNS:other.example.com\n",
        "it lacks the host",
    ),
    "a CA's certificate that another CA signed": ("/CN=db.example.com", "basicConstraints = CA:TRUE\n", "it is a CA's"),
}


@pytest.mark.parametrize(("subject", "extensions", "reason"), MISFITS.values(), ids=MISFITS)
def test_a_server_certificate_that_clients_refuse_is_not_adopted(
    tmp_path: Path, subject: str, extensions: str, reason: str
) -> None:
    root(tmp_path)
    signed(tmp_path, "server", subject, extensions=extensions)
    (tmp_path / "pg_hba.conf").write_text("local all postgres peer\n")
    words = ("--hba", "pg_hba.conf", "--cert", "server.crt", "--key", "server.key", "--postgres", "17")
    run = pgtls("import", *words, "--host", "db.example.com", cwd=tmp_path)
    assert run.status == 1
    assert f"error[PGT565]: the certificate of server.primary does not fit the spec: {reason}" in run.stderr
    assert pgtls("build", cwd=tmp_path).status == 1
