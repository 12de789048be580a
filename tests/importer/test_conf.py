"""postgresql.conf as a server reads it, with its includes, and the fields that come of it."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from pgtls.diagnostics import Rejected
from pgtls.importer.conf import read_conf
from pgtls.importer.convert import Sources, adopt
from pgtls.importer.server import Given
from support.building import NOW
from support.servers import Installation, Server, versions

if TYPE_CHECKING:
    from pathlib import Path

TRICKY = r"""
# comment
port = 5433            # the last one counts
Port 5434
work_mem='4MB'
search_path = '"a", ''b'''
application_name = 'it\'s \\ here'
shared_buffers=16MB
log_line_prefix = ''
custom.setting = on
include_if_exists 'missing.conf'
include_dir = 'conf.d'
include 'more.conf'
"""


def test_every_form_is_read(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    for name, text in {"b.conf": "a.x = 2", "a.conf": "a.x = 1", ".c.conf": "a.x = 3", "d": "a.x = 4"}.items():
        (tmp_path / "conf.d" / name).write_text(text)
    (tmp_path / "more.conf").write_text("more.y = 'yes'\n")
    (tmp_path / "postgresql.conf").write_text(TRICKY)
    settings, faults = read_conf(str(tmp_path / "postgresql.conf"))
    assert not faults
    assert {name: setting.value for name, setting in settings.items()} == {
        "port": "5434",
        "work_mem": "4MB",
        "search_path": "\"a\", 'b'",
        "application_name": "it's \\ here",
        "shared_buffers": "16MB",
        "log_line_prefix": "",
        "custom.setting": "on",
        "a.x": "2",
        "more.y": "yes",
    }
    assert (settings["more.y"].file, settings["more.y"].line) == (str(tmp_path / "more.conf"), 1)


@pytest.mark.parametrize("line", ["port", "= 5432", "port = 'x", "port = 1 2", "include 'nowhere.conf'"])
def test_a_line_that_the_server_refuses_is_an_error_at_its_place(tmp_path: Path, line: str) -> None:
    file = tmp_path / "postgresql.conf"
    file.write_text(f"work_mem = 4MB\n{line}\n")
    _, faults = read_conf(str(file))
    assert [(fault.code, fault.place and fault.place.line) for fault in faults] == [("PGT295", 2)]


def test_a_file_that_includes_itself_ends(tmp_path: Path) -> None:
    file = tmp_path / "postgresql.conf"
    file.write_text("include 'postgresql.conf'\n")
    _, faults = read_conf(str(file))
    assert [fault.message for fault in faults] == ["maximum nesting depth exceeded"]


@pytest.mark.parametrize("installation", versions()[-1:], ids=lambda one: one.id)
def test_a_server_reads_the_same(tmp_path: Path, installation: Installation) -> None:
    text = TRICKY.replace("include 'more.conf'\n", "").replace("include_dir = 'conf.d'\n", "")
    with Server(installation) as server:
        (server.data / "own.conf").write_text(text)
        (tmp_path / "own.conf").write_text(text)
        (server.data / "postgresql.conf").write_text("include 'own.conf'\n")
        rows = server.sql("select lower(name), setting from pg_file_settings where name is not null order by seqno")
    settings, _ = read_conf(str(tmp_path / "own.conf"))
    assert dict(rows) == {name: setting.value for name, setting in settings.items()}


def spec_of(directory: Path, conf: str, **files: str | None) -> tuple[dict[str, Any], list[str]]:
    """Import with a postgresql.conf; give the spec and the codes and words of what was said."""
    (directory / "pg_hba.conf").write_text("local all all peer\n")
    (directory / "postgresql.conf").write_text(conf)
    sources = Sources(str(directory / "pg_hba.conf"), conf=str(directory / "postgresql.conf"))
    given = Given(("db.example.com",), 17, str(directory / "spec" / "pgtls.toml"), **files)
    (directory / "spec").mkdir(exist_ok=True)
    adopted = adopt(sources, given, "main", NOW)
    return tomllib.loads(adopted.text), [
        f"{d.code}: {d.message}" for d in adopted.diagnostics if d.code.startswith("PGT29")
    ]


def test_settings_become_fields_and_files_are_adopted(tmp_path: Path) -> None:
    for name in ("server.crt", "server.key", "root.crt", "root.crl"):
        (tmp_path / name).write_text("")
    spec, said = spec_of(
        tmp_path,
        "ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\nssl_ca_file = 'root.crt'\n"
        "ssl_crl_file = 'root.crl'\nssl_min_protocol_version = 'TLSv1.3'\nssl_ciphers = 'HIGH:!aNULL'\n"
        "ssl_ecdh_curve = 'secp384r1'\nport = 5433\nlisten_addresses = '10.0.0.5'\nshared_buffers = 1GB\n"
        "unix_socket_directories = '/run/a, /run/b'\nssl_prefer_server_ciphers = off\n",
    )
    assert spec["server"]["main"] == {
        "hosts": ["db.example.com"],
        "postgres": 17,
        "cert_file": "../server.crt",
        "key_file": "../server.key",
        "client_ca": ["clients"],
        "port": 5433,
        "socket_directory": "/run/a",
        "min_tls": "1.3",
        "ciphers": "HIGH:!aNULL",
        "groups": "secp384r1",
        "settings": {"listen_addresses": "10.0.0.5"},
    }
    assert spec["ca"] == {"clients": {"cert_file": "../root.crt", "crl_file": "../root.crl"}}
    assert said == ['PGT296: ssl_prefer_server_ciphers = "off" is left out: pgtls writes "on"']


@pytest.mark.parametrize("file", ["ssl_crl_file = 'root.crl'\n", ""], ids=["beside the file", "alone"])
def test_a_directory_of_lists_is_missed_where_there_is_no_file_of_them(tmp_path: Path, file: str) -> None:
    for name in ("root.crt", "root.crl"):
        (tmp_path / name).write_text("")
    spec, said = spec_of(tmp_path, f"ssl = on\nssl_ca_file = 'root.crt'\nssl_crl_dir = 'root.crl.d'\n{file}")
    missed = 'PGT296: ssl_crl_dir = "root.crl.d" is left out: the server would accept revoked certificates'
    assert (missed in said, spec["server"]["main"].get("crl", True)) == (not file, bool(file))


def test_what_the_files_do_not_tell_is_said(tmp_path: Path) -> None:
    spec, said = spec_of(tmp_path, "ssl = off\n")
    assert spec["server"]["main"]["ca"] == "self-signed"
    assert said == [
        "PGT299: TLS was off: pgtls turns it on",
        (
            'PGT299: the server has no certificate here ("server.crt" cannot be read on this machine): '
            "a build issues a self-signed one"
        ),
    ]


def test_old_tls_is_kept_and_waived(tmp_path: Path) -> None:
    spec, said = spec_of(tmp_path, "ssl_min_protocol_version = 'TLSv1'\n")
    assert spec["server"]["main"]["min_tls"] == "1.0"
    assert spec["lint"]["waiver"] == {"reason": "imported: was so before", "codes": ["PGT317"]}
    assert any("waived in [lint]" in words for words in said)


def test_certificate_lines_need_a_ca(tmp_path: Path) -> None:
    (tmp_path / "pg_hba.conf").write_text("local all all peer\nhostssl all app all cert\n")
    given = Given(("db.example.com",), 17, str(tmp_path / "pgtls.toml"))
    with pytest.raises(Rejected) as refused:
        adopt(Sources(str(tmp_path / "pg_hba.conf")), given, "main", NOW)
    assert [d.code for d in refused.value.diagnostics] == ["PGT295"]


def test_the_default_names_of_certificate_and_key_are_looked_for_in_the_data_directory(tmp_path: Path) -> None:
    for name in ("server.crt", "server.key"):
        (tmp_path / name).write_text("")
    spec, _ = spec_of(tmp_path, "ssl = on\n")
    assert spec["server"]["main"]["cert_file"] == "../server.crt"


def test_what_alter_system_has_set_counts_more(tmp_path: Path) -> None:
    (tmp_path / "postgresql.auto.conf").write_text("port = '5499'\n")
    spec, _ = spec_of(tmp_path, "port = 5433\n")
    assert spec["server"]["main"]["port"] == 5499


def test_the_files_of_debian_s_clusters_are_found_and_their_directory_is_kept(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/pg_ident.conf").write_text("m root postgres\n")
    (tmp_path / "pg_hba.conf").write_text("local all postgres peer map=m\n")
    settings = f"hba_file = '{tmp_path}/etc/pg_hba.conf'\nident_file = '{tmp_path}/etc/pg_ident.conf'\n"
    (tmp_path / "postgresql.conf").write_text(settings)
    given = Given(("db.example.com",), 17, str(tmp_path / "pgtls.toml"))
    adopted = adopt(Sources(str(tmp_path / "pg_hba.conf"), conf=str(tmp_path / "postgresql.conf")), given, "main", NOW)
    tables = tomllib.loads(adopted.text)
    assert tables["server"]["main"]["directory"] == f"{tmp_path}/etc"
    assert tables["user"]["postgres"]["os_users"] == ["root"]


@pytest.mark.parametrize(
    "line", ["primary_conninfo = 'password=CANARY", "x.api_token = CANARY'", "ssl_passphrase_command = 'echo CANARY"]
)
def test_no_secret_of_a_malformed_line_is_shown(tmp_path: Path, line: str) -> None:
    (tmp_path / "postgresql.conf").write_text(f"{line}\n")
    _, faults = read_conf(str(tmp_path / "postgresql.conf"))
    assert [fault.code for fault in faults] == ["PGT295"]
    assert "CANARY" not in f"{faults}"


def test_a_setting_that_the_spec_refuses_is_left_out_and_said(tmp_path: Path) -> None:
    spec, said = spec_of(tmp_path, "port = 99999\nauthentication_timeout = 1min\n")
    assert "port" not in spec["server"]["main"]
    assert spec["server"]["main"]["settings"] == {"authentication_timeout": "1min"}
    assert any("port of postgresql.conf is left out" in words for words in said)
