"""Files that imported files name: an import waits for none, and shows nothing of those that are something else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.importer.convert import Sources, adopt
from pgtls.importer.foreign import read_foreign
from pgtls.importer.server import Given
from support.building import NOW
from support.pgtls import pgtls

if TYPE_CHECKING:
    from pathlib import Path

HBA = "local all all peer\n"


def refused(directory: Path, **files: str) -> tuple[Diagnostic, ...]:
    """Import files by their names without suffix; return why that is refused."""
    for name, text in ({"pg_hba": HBA, "pg_ident": "", "postgresql": ""} | files).items():
        (directory / f"{name}.conf").write_text(text)
    hba = None if "hba_file" in files.get("postgresql", "") else f"{directory}/pg_hba.conf"
    sources = Sources(hba, f"{directory}/pg_ident.conf", f"{directory}/postgresql.conf")
    with pytest.raises(Rejected) as rejected:
        adopt(sources, Given(("db.example.com",), 17, f"{directory}/pgtls.toml"), "main", NOW)
    return rejected.value.diagnostics


NAMED = {
    "pg_hba.conf": ("pg_hba", "include {0}\n"),
    "pg_hba.conf, in a list": ("pg_hba", "local @{0} all peer\n"),
    "pg_ident.conf": ("pg_ident", "include {0}\n"),
    "postgresql.conf": ("postgresql", "include '{0}'\n"),
    "postgresql.conf, as pg_hba.conf": ("postgresql", "hba_file = '{0}'\n"),
    "postgresql.conf, as a CA": ("postgresql", "ssl_ca_file = '{0}'\n"),
    "postgresql.conf, as a CRL": ("postgresql", "ssl_crl_file = '{0}'\n"),
}


@pytest.mark.parametrize(("file", "line"), NAMED.values(), ids=NAMED)
def test_no_file_names_one_that_never_ends(tmp_path: Path, file: str, line: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (f"{tmp_path}/pipe", "/dev/zero"):
        (fault,) = refused(tmp_path, **{file: line.format(path)})
        assert fault.message.endswith(("it is no regular file", "cannot be read on this machine"))


BOMBS = {
    "pg_hba.conf": ("pg_hba", "include pg_hba.conf\n"),
    "pg_hba.conf, in a list": ("pg_hba", "local @pg_hba.conf all peer\n"),
    "pg_ident.conf": ("pg_ident", "include pg_ident.conf\n"),
    "postgresql.conf": ("postgresql", "include 'postgresql.conf'\n"),
}


@pytest.mark.parametrize(("file", "line"), BOMBS.values(), ids=BOMBS)
def test_files_that_include_each_other_over_and_over_end(tmp_path: Path, file: str, line: str) -> None:
    (found,) = {fault.message.rpartition(": ")[2] for fault in refused(tmp_path, **{file: line * 20})}
    assert found in ("there are too many included files", "maximum nesting depth exceeded")


def test_explain_waits_for_none_either(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "pg_hba.conf").write_text("include pipe\n")
    asked = ("--hba", "pg_hba.conf", "--postgres", "17", "--user", "a", "--database", "b", "--from", "local")
    run = pgtls("explain", *asked, cwd=tmp_path)
    assert (run.status, 'could not open file "pipe": it is no regular file' in run.stderr) == (1, True)


def test_a_pipe_that_the_user_names_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, HBA.encode())
    os.close(writer)
    assert len(read_foreign(f"/dev/fd/{reader}", None, 17).lines) == 1
    os.close(reader)


PRIVATE = (
    "root:CANARY:20593:0:99999:7:::",
    "machine CANARY login CANARY password",
    "CANARY,CANARY",
    '"CANARY \\\n CANARY"',
    "@CANARY all",
    "local:CANARY",
)


@pytest.mark.parametrize("line", PRIVATE)
def test_no_word_of_a_file_of_another_kind_is_shown(tmp_path: Path, line: str) -> None:
    (tmp_path / "private").write_text(f"{line}\n")
    for file in ("pg_hba", "pg_ident", "postgresql"):
        include = f"include '{tmp_path}/private'\n" if file == "postgresql" else f"include {tmp_path}/private\n"
        if file == "pg_ident" and line.startswith("machine"):
            continue  # a map, to a server
        found = refused(tmp_path, **{file: include})
        assert {fault.place and fault.place.file for fault in found} == {f"{tmp_path}/private"}
        assert "CANARY" not in f"{found}"


def test_no_word_of_a_list_is_shown(tmp_path: Path) -> None:
    (tmp_path / "private").write_text("@CANARY\n")
    (nested,) = refused(tmp_path, pg_hba=f"local @{tmp_path}/private all peer\n")
    assert nested.message == "could not open file (secret): No such file or directory"
    (own,) = refused(tmp_path, pg_hba=f"local @{tmp_path}/none all peer\n")
    assert own.message == f'could not open file "{tmp_path}/none": No such file or directory'


def test_known_words_and_what_the_user_names_are_shown(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("hostsll all app 10.0.0.0/8 md5\nhost all app 10.0.0.0/8 md6\n")
    typo, method = refused(tmp_path, pg_hba=f"include {tmp_path}/more\n")
    assert (typo.message, typo.place and typo.place.text) == (
        "invalid connection type (secret)",
        "******* all *** ********** md5",
    )
    assert (method.message, method.place and method.place.text) == (
        'invalid authentication method "md6"',
        "host all app 10.0.0.0/8 md6",
    )
    (own,) = refused(tmp_path, pg_hba="hostsll all app 10.0.0.0/8 md5\n")
    assert (own.message, own.place and own.place.text) == (
        'invalid connection type "hostsll"',
        "hostsll all app 10.0.0.0/8 md5",
    )
    (tmp_path / "other").write_text("port = CANARY CANARY\n")
    (setting,) = refused(tmp_path, postgresql=f"include '{tmp_path}/other'\n")
    assert setting.place
    assert setting.place.text == "port * ****** ******"
    (setting,) = refused(tmp_path, postgresql="port = 1 2\n")
    assert setting.place
    assert setting.place.text == "port = 1 2"
