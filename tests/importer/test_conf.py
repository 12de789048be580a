"""postgresql.conf as a server reads it, with its includes, and the fields that come of it."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from pgtls.diagnostics import Rejected
from pgtls.importer.conf import read_conf
from pgtls.importer.convert import Adopted, Sources, adopt
from pgtls.importer.server import Given
from pgtls.importer.settings import TLS, Taken, defaults
from pgtls.postgres.settings import SSL_SETTINGS, ssl_settings
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


HBA = "local all all peer\n"


def imported(
    directory: Path, conf: str | None, hba: str = HBA, version: int = 17, auto: str | None = "", **files: str | None
) -> Adopted:
    """Import with a postgresql.conf and a postgresql.auto.conf."""
    texts = {"pg_hba.conf": hba, "postgresql.conf": conf, "postgresql.auto.conf": auto}
    for name, text in texts.items():
        if text is not None:
            (directory / name).write_text(text)
    (directory / "spec").mkdir(exist_ok=True)
    sources = Sources(str(directory / "pg_hba.conf"), conf=None if conf is None else f"{directory}/postgresql.conf")
    return adopt(sources, Given(("db.example.com",), version, f"{directory}/spec/pgtls.toml", **files), "main", NOW)


def spec_of(directory: Path, conf: str | None, hba: str = HBA, **more: Any) -> tuple[dict[str, Any], list[str]]:
    """Return an imported spec, and the codes and words of what the import reports."""
    adopted = imported(directory, conf, hba, **more)
    said = [f"{d.code}: {d.message}" for d in adopted.diagnostics if d.code.startswith("PGT29")]
    return tomllib.loads(adopted.text), said


def refusals(directory: Path, conf: str | None, **more: Any) -> list[str]:
    """Return why an import is refused."""
    with pytest.raises(Rejected) as refused:
        imported(directory, conf, **more)
    assert {d.code for d in refused.value.diagnostics} == {"PGT295"}
    return [d.message for d in refused.value.diagnostics]


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


TAKEN: dict[str, tuple[str, dict[str, str] | str]] = {
    "ssl": ("off", "PGT299: TLS was off"),
    "ssl_cert_file": ("none.crt", "PGT299: the server has no certificate here ("),
    "ssl_key_file": ("none.key", "PGT299: the server has no certificate here ("),
    "ssl_ca_file": ("none.crt", "ssl_ca_file = "),
    "ssl_crl_file": ("none.crl", "ssl_crl_file = "),
    "ssl_crl_dir": ("none.d", "ssl_crl_dir = "),
    "ssl_passphrase_command": ("cat /etc/pg/p", {"passphrase_command": "cat /etc/pg/p"}),
    "ssl_passphrase_command_supports_reload": ("on", "PGT296: ssl_passphrase_command_supports_reload = "),
    "ssl_min_protocol_version": ("TLSv1.3", {"min_tls": "1.3"}),
    "ssl_max_protocol_version": ("TLSv1.2", "PGT296: ssl_max_protocol_version = "),
    "ssl_ciphers": ("ECDHE+AESGCM", {"ciphers": "ECDHE+AESGCM"}),
    "ssl_tls13_ciphers": ("TLS_AES_256_GCM_SHA384", {"tls13_ciphers": "TLS_AES_256_GCM_SHA384"}),
    "ssl_prefer_server_ciphers": ("off", "PGT296: ssl_prefer_server_ciphers = "),
    "ssl_ecdh_curve": ("secp384r1", {"groups": "secp384r1"}),
    "ssl_groups": ("P-521", {"groups": "P-521"}),
    "ssl_dh_params_file": ("dh.pem", "PGT296: ssl_dh_params_file = "),
    "ssl_sni": ("on", "PGT296: ssl_sni = "),
}
"""Every setting of TLS with a value that is no default, and what becomes of it: fields of the server, or a finding."""
VERSIONS = (13, 17, 18, 19)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_setting_of_tls_is_taken_over_or_reported(tmp_path: Path, version: int) -> None:
    assert TAKEN.keys() == {setting.name for setting in SSL_SETTINGS}
    for name, (value, outcome) in TAKEN.items():
        line = f"{name} = '{value}'\n"
        if TLS.get(name, Taken()).required:
            assert [message[: len(outcome)] for message in refusals(tmp_path, line, version=version)] == [outcome]
            continue
        spec, said = spec_of(tmp_path, line, version=version)
        known = name in ssl_settings(version) or (name == "ssl_ecdh_curve" and version >= 18)
        if not known:
            assert f'PGT296: {name} = "{value}" is left out: PostgreSQL {version} does not have it' in said
        elif isinstance(outcome, str):
            assert [words for words in said if words.startswith(outcome)], (name, said)
        else:
            assert spec["server"]["main"] | outcome == spec["server"]["main"], name
            assert not [words for words in said if name in words]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_default_counts_like_the_same_value_in_the_file(tmp_path: Path, version: int) -> None:
    hba = "local all all peer\nhostssl all app 10.0.0.0/8 md5\nhostssl all web 10.0.0.0/8 scram-sha-256\n"
    unset = imported(tmp_path, "", hba, version)
    assert [d.code for d in unset.diagnostics if d.message.startswith("TLS was off")] == ["PGT299"]
    for name, value in defaults(version).items():
        written = imported(tmp_path, f"{name} = '{value}'\n", hba, version)
        assert [(d.code, d.message) for d in unset.diagnostics] == [(d.code, d.message) for d in written.diagnostics]
        assert tomllib.loads(unset.text)["policy"] == tomllib.loads(written.text)["policy"]


def test_hostssl_lines_without_tls_are_named(tmp_path: Path) -> None:
    hba = "local all all peer\nhostssl all a 10.0.0.0/8 md5\nhostssl all all 10.0.0.0/8 reject\nhost all b ::/0 md5\n"
    said = "PGT299: TLS was off: pgtls turns it on, and hostssl lines that had no effect now admit clients (line 2)"
    assert said in spec_of(tmp_path, "port = 5432\n", hba)[1]
    assert not [words for words in spec_of(tmp_path, "ssl = YES\n", hba)[1] if "TLS was off" in words]
    assert not [words for words in spec_of(tmp_path, None, hba)[1] if "TLS was off" in words]


@pytest.mark.parametrize("conf", [None, "ssl = on\n", "ssl_ca_file = 'root.crt'\n"], ids=["none", "alone", "its CA"])
def test_no_server_stops_to_check_crls_without_a_finding(tmp_path: Path, conf: str | None) -> None:
    for name in ("root.crt", "root.crl"):
        (tmp_path / name).write_text("")
    own = {} if conf and "ca" in conf else {"ca": f"{tmp_path}/root.crt"}
    spec, said = spec_of(tmp_path, conf, **own)
    assert spec["server"]["main"]["crl"] is False
    assert [words for words in said if "crl = false, and the server accepts revoked certificates" in words]
    spec, said = spec_of(tmp_path, conf, crl=f"{tmp_path}/root.crl", **own)
    assert (spec["ca"]["clients"]["crl_file"], "crl" in spec["server"]["main"]) == ("../root.crl", False)
    assert not [words for words in said if "crl" in words]


def test_files_that_the_server_needs_are_refused_all_at_once_and_copies_take_their_place(tmp_path: Path) -> None:
    conf = "ssl_ca_file = '/none/ca'\nssl_crl_file = '/none/crl'\nssl_crl_dir = '/none/my lists'\n"
    with pytest.raises(Rejected) as refused:
        imported(tmp_path, conf)
    assert [(d.message.partition(" = ")[0], d.place and d.place.line) for d in refused.value.diagnostics] == [
        ("ssl_ca_file", 1),
        ("ssl_crl_file", 2),
        ("ssl_crl_dir", 3),
    ]
    assert "cat '/none/my lists'/*.r* /none/crl > all.crl" in f"{refused.value.diagnostics[2].hint}"
    (tmp_path / "root.crt").write_text("")
    (tmp_path / "all.crl").write_text("")
    assert len(refusals(tmp_path, conf, ca=f"{tmp_path}/root.crt")) == 2
    spec, _ = spec_of(tmp_path, conf, ca=f"{tmp_path}/root.crt", crl=f"{tmp_path}/all.crl")
    assert spec["ca"]["clients"] == {"cert_file": "../root.crt", "crl_file": "../all.crl"}


def test_a_list_without_its_ca_is_reported(tmp_path: Path) -> None:
    (tmp_path / "root.crl").write_text("")
    _, said = spec_of(tmp_path, "ssl_crl_file = 'root.crl'\n")
    assert [words for words in said if 'root.crl" is left out: the server trusts no CA of clients' in words]


def test_the_last_of_two_names_of_one_setting_counts(tmp_path: Path) -> None:
    lines = ["ssl_groups = 'P-256'\n", "ssl_ecdh_curve = 'P-384'\n", "ssl_groups = 'P-521'\n"]
    assert spec_of(tmp_path, "".join(lines[:2]), version=18)[0]["server"]["main"]["groups"] == "P-384"
    assert spec_of(tmp_path, "".join(lines), version=18)[0]["server"]["main"]["groups"] == "P-521"


def test_a_number_is_read_as_the_server_reads_it(tmp_path: Path) -> None:
    assert spec_of(tmp_path, "port = 0x1539\n")[0]["server"]["main"]["port"] == 5433
    spec, said = spec_of(tmp_path, "port = high\n")
    assert ("port" in spec["server"]["main"], said[0]) == (
        False,
        'PGT296: port = "high" is left out: it is no port number',
    )
    for huge in ("9" * 400, "9" * 5000, "0x" + "f" * 400, "1e999", "70000"):
        assert "port" not in spec_of(tmp_path, f"port = {huge}\n")[0]["server"]["main"]


def test_a_moved_access_file_moves_the_directory_or_is_reported(tmp_path: Path) -> None:
    for name in ("hba_file", "ident_file"):
        spec, said = spec_of(tmp_path, f"{name} = 'etc/x.conf'\n")
        assert "directory" not in spec["server"]["main"]
        assert said[0].startswith(f'PGT296: {name} = "etc/x.conf" is left out: ')
        spec, said = spec_of(tmp_path, f"{name} = 'etc/x.conf'\ndata_directory = '/srv/pg'\n")
        assert spec["server"]["main"]["directory"] == "/srv/pg/etc"
        assert not [words for words in said if name in words]


def test_settings_of_alter_system_that_cannot_be_read_are_reported(tmp_path: Path) -> None:
    missing = "cannot be read on this machine: what ALTER SYSTEM has set is not known"
    conf = "data_directory = '/none/pg'\nport = 5433\n"
    assert [words for words in spec_of(tmp_path, conf, auto=None)[1] if missing in words]
    spec, said = spec_of(tmp_path, conf, auto="port = 5499\n")
    assert (spec["server"]["main"]["port"], [words for words in said if missing in words]) == (5499, [])


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
    spec, _ = spec_of(tmp_path, "port = 5433\n", auto="port = '5499'\n")
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
    "line",
    [
        "primary_conninfo = 'password=CANARY",
        "x.api_token = CANARY'",
        "ssl_passphrase_command = 'echo CANARY",
        "archive_command = 'push https://bob:CANARY@backup.example.com/x",
        "archive_command = 'push https://bob@example.com:CANARY@backup.example.com/x",
    ],
)
def test_no_secret_of_a_malformed_line_is_shown(tmp_path: Path, line: str) -> None:
    (tmp_path / "postgresql.conf").write_text(f"{line}\n")
    _, faults = read_conf(str(tmp_path / "postgresql.conf"))
    assert [fault.code for fault in faults] == ["PGT295"]
    assert "CANARY" not in f"{faults}"


OF_ANOTHER_KIND = {
    "variables": "SSL_CERT_PASSWORD=CANARY\nPORT=CANARY\n",
    "a key": "SSL_KEY=CANARY\n",
    "properties": "ssl.keystore=CANARY\nserver.port=1\n",
    "a known name": "APP=CANARY\nssl_min_protocol_version=CANARY\n",
    "a known name for which pgtls has a value": "APP=CANARY\nssl_dh_params_file=CANARY\n",
}


@pytest.mark.parametrize("text", OF_ANOTHER_KIND.values(), ids=OF_ANOTHER_KIND)
def test_no_value_of_an_included_file_of_another_kind_is_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "app.env").write_text(text)
    adopted = imported(tmp_path, "ssl = on\ninclude 'app.env'\n")
    assert any(one.file == f"{tmp_path}/app.env" for one in adopted.diagnostics)
    assert "CANARY" not in f"{adopted.diagnostics}{adopted.text}"


@pytest.mark.parametrize("line", ["ssl_ca_file=CANARY", "ssl_crl_file=CANARY", "ssl_crl_dir=CANARY", "include=CANARY"])
def test_no_path_of_an_included_file_of_another_kind_is_shown(tmp_path: Path, line: str) -> None:
    (tmp_path / "app.env").write_text(f"APP=1\n{line}\n")
    with pytest.raises(Rejected) as refused:
        imported(tmp_path, "ssl = on\ninclude 'app.env'\n")
    assert "CANARY" not in f"{refused.value.diagnostics}"


def test_the_file_of_rules_that_a_file_of_another_kind_names_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "app.env").write_text("APP=1\nhba_file=CANARY\n")
    (tmp_path / "postgresql.conf").write_text("include 'app.env'\n")
    given = Given(("db.example.com",), 17, str(tmp_path / "pgtls.toml"))
    with pytest.raises(Rejected, match="hba_file") as refused:
        adopt(Sources(None, conf=str(tmp_path / "postgresql.conf")), given, "main", NOW)
    assert "CANARY" not in f"{refused.value.diagnostics}"


def test_the_certificate_that_a_file_of_another_kind_names_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "app.env").write_text("APP=1\nssl_cert_file=CANARY\n")
    adopted = imported(tmp_path, "ssl = on\ninclude 'app.env'\n")
    assert any('"(secret)" cannot be read on this machine' in one.message for one in adopted.diagnostics)
    assert "CANARY" not in f"{adopted.diagnostics}{adopted.text}"


@pytest.mark.parametrize("name", ["ssl_upstream", "ssl_dh_params_file"])
def test_no_password_of_a_url_is_shown(tmp_path: Path, name: str) -> None:
    adopted = imported(tmp_path, f"{name} = 'https://bob:CANARY@vault.example.com/x'\n")
    (place,) = (one.place for one in adopted.diagnostics if one.code == "PGT296" and one.message.startswith(name))
    assert place is not None
    assert place.text == f"{name} = 'https://bob:******@vault.example.com/x'"
    assert "CANARY" not in f"{adopted.diagnostics}{adopted.text}"


def test_no_value_of_an_unknown_setting_is_shown_and_those_of_known_ones_are(tmp_path: Path) -> None:
    _, said = spec_of(tmp_path, "ssl_cert_password = CANARY\n")
    assert 'PGT296: ssl_cert_password = "(secret)" is left out: PostgreSQL 17 does not have it' in said
    (tmp_path / "more.conf").write_text("ssl_dh_params_file = dh.pem\nx.y = 1\n")
    _, said = spec_of(tmp_path, "include 'more.conf'\n")
    assert 'PGT296: ssl_dh_params_file = "dh.pem" is left out: pgtls writes ""' in said


PRINTING = ("echo CANARY", "/bin/echo CANARY", 'sh -c "echo CANARY"', "env printf CANARY", "python3 -c print(`CANARY`)")


@pytest.mark.parametrize("command", [*PRINTING, "vault --token=CANARY", "openssl rsa -passin pass:CANARY"])
def test_a_command_that_may_hold_the_passphrase_is_left_out(tmp_path: Path, command: str) -> None:
    adopted = imported(tmp_path, f"ssl = on\nssl_passphrase_command = '{command}'\n")
    assert any(one.message.startswith("ssl_passphrase_command is left out") for one in adopted.diagnostics)
    assert "CANARY" not in f"{adopted.diagnostics}{adopted.text}"


def test_a_setting_that_the_spec_refuses_is_left_out_and_said(tmp_path: Path) -> None:
    spec, said = spec_of(tmp_path, "port = 99999\nauthentication_timeout = 1min\n")
    assert "port" not in spec["server"]["main"]
    assert spec["server"]["main"]["settings"] == {"authentication_timeout": "1min"}
    assert any("port of postgresql.conf is left out" in words for words in said)
