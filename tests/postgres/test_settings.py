"""Every row of the catalogue of settings, compared with what each server has; and values, as each server takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from fleet.specs import findings
from pgtls.postgres.settings import OURS, SSL_SETTINGS, Setting, settings, ssl_settings, versions

if TYPE_CHECKING:
    from support.servers import Server

OF_DEBIAN = {"extension_destdir"}
DEPEND_ON_THE_BUILD = {"server_version_num", "ssl_library"}


def shown(row: tuple[Any, ...]) -> Setting:
    """A row of pg_settings as the catalogue would have it."""
    name, context, kind, unit, least, most, choices = row
    number = kind in ("integer", "real") and context != "internal"
    setting = Setting(name, 0, 0, context, kind, choices=tuple(choices or ()))
    return setting._replace(least=float(least), most=float(most), unit=unit) if number else setting


def test_the_catalogue_is_what_the_server_has(server: Server) -> None:
    rows = server.sql("select name, context, vartype, unit, min_val, max_val, enumvals from pg_settings")
    has = {row[0].lower(): shown(row) for row in rows if row[0] not in OF_DEBIAN}
    known = settings(server.version)
    assert known.keys() == has.keys()
    for name, setting in known.items():
        if name in DEPEND_ON_THE_BUILD:
            continue
        expected = has[name] if setting.choices else has[name]._replace(choices=())
        assert setting._replace(since=0, until=0) == expected


def test_every_setting_of_tls_is_stated_with_its_default(server: Server) -> None:
    rows = server.sql("select name, boot_val from pg_settings where name ~ '^ssl' and context <> 'internal'")
    assert ssl_settings(server.version) == dict(rows)


def test_settings_of_tls_take_effect_with_a_reload(server: Server) -> None:
    rows = server.sql("select name, context from pg_settings where name ~ '^ssl' and context <> 'internal'")
    assert {context for _, context in rows} == {"sighup"}


def test_a_setting_of_another_version_is_unknown_to_the_server(server: Server) -> None:
    """The negative control: a name that the catalogue has for other versions only is refused."""
    everything = {setting.name for version in range(13, 19) for setting in settings(version).values()}
    for name in sorted(everything - {setting.name for setting in settings(server.version).values()}):
        if name == "ssl_ecdh_curve":
            continue  # an alias of ssl_groups since 18 (guc.c, map_old_guc_names)
        with pytest.raises(psycopg.errors.UndefinedObject):
            server.sql(f"alter system set {name} = default")


VALUES = [
    ("work_mem", "64", True),
    ("work_mem", "63", False),
    ("work_mem", "64kB", True),
    ("work_mem", " 1 GB", True),
    ("work_mem", "1gb", False),
    ("work_mem", "0x100", True),
    ("work_mem", "4x", False),
    ("work_mem", "", False),
    ("max_connections", "0", False),
    ("max_connections", "10", True),
    ("max_connections", "10kB", False),
    ("statement_timeout", "1.5h", True),
    ("statement_timeout", "1 parsec", False),
    ("bgwriter_lru_multiplier", "2.5", True),
    ("bgwriter_lru_multiplier", "10.5", False),
    ("bgwriter_lru_multiplier", "1e1", True),
    ("autovacuum", "on", True),
    ("autovacuum", "OFF", True),
    ("autovacuum", "tr", True),
    ("autovacuum", "1", True),
    ("autovacuum", "maybe", False),
    ("autovacuum", "o", False),
    ("wal_level", "replica", True),
    ("wal_level", "REPLICA", True),
    ("wal_level", "replikal", False),
    ("synchronous_commit", "remote_apply", True),
    ("synchronous_commit", "true", True),
    ("synchronous_commit", "0", True),
    ("default_transaction_isolation", "repeatable read", True),
    ("client_min_messages", "debug", True),
    ("client_min_messages", "on", False),
    ("application_name", "anything", True),
]
"""A setting, a value, and whether it takes it."""


def test_a_value_is_judged_as_the_server_judges_it(server: Server) -> None:
    wrong = [
        case for case in VALUES if not taken(server, *case[:2]) == judged_fine(server.version, *case[:2]) == case[2]
    ]
    assert wrong == []


def taken(server: Server, name: str, value: str) -> bool:
    try:
        server.sql(f"alter system set {name} = '{value}'")
    except psycopg.errors.DataError:
        return False
    return True


def judged_fine(version: int, name: str, value: str) -> bool:
    spec = f"""
        [ca.root]
        [server.primary]
        ca = "root"
        hosts = ["db.example.com"]
        postgres = {version}
        no_local = true
        settings = {{ {name} = "{value}" }}
        """
    codes = {finding.split()[0] for finding in findings(spec)} - {"PGT400"}
    assert codes <= {"PGT407"}
    return not codes


def test_names_are_found_without_case() -> None:
    assert settings(17)["datestyle"].name == "DateStyle"
    assert versions("dateSTYLE") == (13, 99)
    assert versions("no_such_setting") is None


def test_what_pgtls_writes_is_known_to_be_its_own() -> None:
    assert {setting.name for setting in SSL_SETTINGS} <= OURS
    assert {"hba_file", "ident_file"} <= OURS


def test_version_19_states_its_own_setting_of_tls() -> None:
    assert ssl_settings(19).keys() - ssl_settings(18).keys() == {"ssl_sni"}
