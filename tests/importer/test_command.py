"""``pgtls import`` as a user runs it, and what a real server makes of its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from importer.cases import CLOUDNATIVEPG, DEBIAN, PATRONI
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
    (tmp_path / "ca.crt").write_text("")
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
    assert "pgtls.toml exists already" in run.stderr
    assert (tmp_path / "pgtls.toml").read_text() == "mine"


REFUSED = {
    "a line that the server refuses": (("local all all",), (), 'pg_hba.conf:1:14: error[PGT290]: end-of-line before authentication method'),
    "a certificate that is not there": (("local all all peer",), ("--cert", "no.crt", "--key", "no.key"), 'error[PGT295]: there is no file "no.crt"'),
    "an ident file that is not there": (("local all all peer",), ("--ident", "no.conf"), "no.conf: error[PGT591]: no such file or directory"),
    "a directory that is not there": (("local all all peer",), ("--output", "no/pgtls.toml"), "no such file or directory"),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "words", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_imported(tmp_path: Path, lines: tuple[str, ...], words: tuple[str, ...], message: str) -> None:
    run = run_import(tmp_path, "\n".join(lines) + "\n", *words)
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
    """Say what the server does: it admits, asks for a password, or refuses and says why."""
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
