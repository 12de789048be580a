"""Every row of the catalogue of settings, compared with what each server has; and values, as each server takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgtls.importer.settings import defaults
from pgtls.output.postgresql_conf import assignment
from pgtls.postgres.settings import (
    ALIASES,
    ELSEWHERE,
    FILE_NAME,
    OURS,
    SSL_SETTINGS,
    Setting,
    settings,
    ssl_settings,
    versions,
)
from pgtls.postgres.texts import PROCESSES
from pgtls.postgres.together import clashes
from pgtls.postgres.values import refusal
from support.catalogue import OF_OTHER_BUILDS, UNLISTED, takes
from support.servers import ServerError

if TYPE_CHECKING:
    from support.servers import Server

OF_LATER_MINORS = {"output_plugin_libraries": "18.4"}
"""A setting that came with a minor release, and the last release without it."""


def listed(row: tuple[Any, ...]) -> Setting:
    """Return a row of pg_settings as the catalogue would have it."""
    name, context, kind, unit, least, most, choices = row
    number = kind in ("integer", "real") and context != "internal"
    setting = Setting(name, 0, 0, context, kind, choices=() if context == "internal" else tuple(choices or ()))
    return setting._replace(least=float(least), most=float(most), unit=unit) if number else setting


def test_the_catalogue_is_what_the_server_has(server: Server) -> None:
    rows = server.sql("select name, context, vartype, unit, min_val, max_val, enumvals from pg_settings")
    has = {row[0].lower(): listed(row) for row in rows}
    unlisted = {line.split()[0] for line in UNLISTED} - has.keys()
    minor = {name for name, last in OF_LATER_MINORS.items() if server.installation.release == last}
    known = {name: s for name, s in settings(server.version).items() if name not in {*ALIASES, *unlisted, *minor}}
    assert known.keys() == has.keys()
    for name, setting in known.items():
        expected = has[name]
        if setting.kind == "bool" or name in OF_OTHER_BUILDS:
            assert {*expected.choices} <= {*setting.choices} or setting.kind == "bool"
            expected = expected._replace(choices=setting.choices)
        assert setting._replace(since=0, until=0, hidden=()) == expected


def test_every_setting_of_tls_is_stated_with_its_default(server: Server) -> None:
    rows = server.sql("select name, boot_val from pg_settings where name ~ '^ssl' and context <> 'internal'")
    assert ssl_settings(server.version) == dict(rows)


def test_an_import_knows_the_defaults_of_each_version(server: Server) -> None:
    known = dict(server.sql("select name, boot_val from pg_settings where boot_val is not null"))
    expected = {name: value for name, value in defaults(server.version).items() if name not in OURS - known.keys()}
    assert {name: known[name] for name in expected} == expected


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


NUMBERS = [
    "64",
    " 64kB",
    "1 GB",
    "1gb",
    "0x100",
    "4x",
    "",
    "-1",
    "010",
    "08",
    "1.5h",
    "250us",
    "2.5",
    "1e1",
    ".5",
    "1e400",
    "nan",
    "3 d",
    "9" * 400,
    "9" * 5000,
    "0x" + "f" * 400,
]
WORDS = ["on", "OFF", "tr", "1", "o", "maybe", "", "debug", "none", "replica"]
TEXTS = {
    "backtrace_functions": ["", "foo, bar", "a.b", "a-b"],
    "client_encoding": ["utf8", "UTF-8", "windows-1252", "sql_ascii", "utf16", "foo", ""],
    "createrole_self_grant": ["", "set, INHERIT", "admin"],
    "DateStyle": [
        "ISO, MDY",
        "sql, european",
        "iso, iso",
        "iso,sql",
        "mdy,dmy",
        "german",
        "default",
        "foo",
        "ISO;MDY",
        "",
    ],
    "debug_io_direct": ["", "data,wal", "foo"],
    "log_connections": [
        "",
        "on",
        "yes",
        "tr",
        "receipt, AUTHENTICATION",
        "all",
        "maybe",
        "on,receipt",
        "receipt,foo",
        "none",
    ],
    "log_destination": ["", "stderr, CSVLOG", "jsonlog", '"stderr"', "stderr,", "stderr stderr", "foo"],
    "log_min_messages": [
        *[
            "warning",
            "DEBUG",
            "debug1,error",
            "error,backend:debug1",
            "backend:debug1",
            "foo:error,warning",
            "warning,backend:foo",
        ],
        *["", "warning,backend:error,backend:error", *(f"warning, {process}:log" for process in PROCESSES)],
    ],
    "primary_slot_name": ["", "a_1", "A", "a-b", "a" * 63, "a" * 64],
    "recovery_target": ["", "immediate", "foo"],
    "recovery_target_lsn": ["", "16/B374D848", "foo", "1/2/3"],
    "recovery_target_name": ["x" * 63, "x" * 64],
    "recovery_target_time": ["", "2026-01-01 00:00:00+00", "now"],
    "recovery_target_timeline": ["latest", "current", "1", "foo", ""],
    "recovery_target_xid": ["", "12", "foo", "0"],
    "restrict_nonsystem_relation_kind": ["", "view, foreign-table", "table"],
    "synchronized_standby_slots": ["", "a", "A, b", "a-b", "a b", "*"],
    "synchronous_standby_names": [
        *[
            "",
            "*",
            "a,b",
            "FIRST 1 (a, b)",
            "any 2 (a,b)",
            "2 (a)",
            "FIRST a",
            "ANY 0 (a)",
            "a b",
            '"a b"',
            "(a)",
            "1",
            "node-1",
        ],
    ],
    "wal_consistency_checking": ["", "all", "Heap, btree", "foo", "transaction"],
}
"""Texts that some server refuses, with others that it takes."""

OF_THE_MACHINE = {
    *[
        "allow_alter_system",
        "bonjour",
        "max_stack_depth",
        "transaction_isolation",
        "transaction_read_only",
        "transaction_deferrable",
    ],
    *[
        "wal_sync_method",
        "dynamic_shared_memory_type",
        "shared_memory_type",
        "io_method",
        "max_connections",
        "autovacuum_max_workers",
        "max_wal_senders",
        "max_worker_processes",
    ],
}
"""Settings that a server judges by its machine, by its build, or only in view of others."""


def test_every_value_is_judged_as_the_server_judges_it(server: Server) -> None:
    """What is accepted, the server takes.

    What is refused, it refuses: every setting of the version, with values of each kind.
    """
    wrong = [
        f"{setting.name} = {value!r}: {refusal(setting, value, server.version)}"
        for setting in settings(server.version).values()
        if setting.context != "internal" and setting.name not in OF_THE_MACHINE
        for value in values_to_try(setting)
        if takes(server, setting.name, value) != (refusal(setting, value, server.version) is None)
    ]
    assert "\n".join(wrong) == ""


THOROUGHLY = {
    "work_mem",
    "statement_timeout",
    "max_wal_size",
    "geqo_seed",
    "vacuum_cost_delay",
    "log_file_mode",
    "jit",
    "wal_level",
}
"""One setting of each kind and unit, which gets all values; the others get a few, and their own edges."""


def values_to_try(setting: Setting) -> list[str]:
    if setting.kind == "string":
        return TEXTS.get(setting.name, [])
    thorough = setting.name in THOROUGHLY
    if setting.kind in ("bool", "enum"):
        own = [] if setting.name in OF_OTHER_BUILDS else setting.choices
        return [*(WORDS if thorough else ("off", "debug", "maybe")), *own]
    assert setting.least is not None
    assert setting.most is not None
    beyond = [setting.most + 1] if setting.most < 1e300 else []
    edges = [setting.least, setting.least - 1, setting.most, *beyond]
    return [*(NUMBERS if thorough else ()), "17", *(f"{edge:.15g}" for edge in edges)]


def test_lists_at_start_are_judged_as_the_server_judges_them(server: Server) -> None:
    """Some lists are read at the start alone, which then fails."""
    for name in ("listen_addresses", "unix_socket_directories"):
        setting = settings(server.version)[name]
        server.configure(**{name: "a,"})
        assert refusal(setting, "a,", server.version) == "is a list with commas between its items"
    server.listen = "localhost,"
    with pytest.raises(ServerError, match='invalid list syntax in parameter "listen_addresses"'):
        server.restart()


def test_a_line_of_the_file_is_read_back_by_the_server(server: Server) -> None:
    values = ["", "a b", "it's", "a\\'b", "back\\slash\\", "'", "#x", "\\n", "é", "$x", "a = 'b'"]
    for value in values:
        server.write("probe.conf", assignment("probe.name", value) + "\n")
        server.include("probe.conf")
        server.reload()
        assert server.show("probe.name") == value


NO_NAMES = ["ssl = off #.x", "a.b.c", "a$b", "a.b$c", "1a", "a.", ".a", "a b", "a-b.c", "a.1", "a=b", ""]


def test_a_name_that_the_file_cannot_hold_is_refused(server: Server) -> None:
    """The server does not read such a line either, or reads another one."""
    for name in NO_NAMES:
        assert not FILE_NAME.fullmatch(name)
        with pytest.raises(ValueError, match="cannot hold"):
            assignment(name, "on")
        server.write("probe.conf", f"{name} = 'on'\n")
        server.include("probe.conf")
        read = server.sql("select name from pg_file_settings where error is null and sourcefile like '%probe.conf'")
        assert (name,) not in read
    server.write("probe.conf", assignment("a_1.B2", "on") + "\n")
    assert server.sql("select name from pg_file_settings where name = 'a_1.B2'")


def test_a_setting_that_moves_files_is_none_of_the_specs() -> None:
    assert {
        "data_directory",
        "config_file",
        "external_pid_file",
        "include",
        "include_dir",
        "include_if_exists",
    } == ELSEWHERE
    assert {"hba_file", "ident_file", "hosts_file"} <= OURS


def test_names_are_found_without_case() -> None:
    assert settings(17)["datestyle"].name == "DateStyle"
    assert versions("dateSTYLE") == (13, 99)
    assert versions("no_such_setting") is None


def test_what_pgtls_writes_is_known_to_be_its_own() -> None:
    assert {setting.name for setting in SSL_SETTINGS} <= OURS
    assert {"hba_file", "ident_file"} <= OURS


def test_version_19_states_its_own_setting_of_tls() -> None:
    assert ssl_settings(19).keys() - ssl_settings(18).keys() == {"ssl_sni"}


TOGETHER: list[tuple[dict[str, str], bool]] = [
    ({"wal_level": "minimal"}, False),
    ({"wal_level": "minimal", "max_wal_senders": "0"}, True),
    ({"wal_level": "minimal", "max_wal_senders": "0", "archive_mode": "always"}, False),
    ({"max_connections": "3"}, False),
    ({"max_connections": "4"}, True),
    ({"superuser_reserved_connections": "50", "max_connections": "50"}, False),
    ({"min_wal_size": "16MB"}, False),
    ({"max_wal_size": "33MB", "min_wal_size": "32MB"}, True),
    ({"recovery_target_name": "a", "recovery_target_xid": "3"}, False),
    ({"log_statement_stats": "on", "log_parser_stats": "on"}, False),
]
"""Settings, and whether a server starts with them."""


def test_what_does_not_go_together_ends_the_server_at_its_start(server: Server) -> None:
    server.configure(max_connections="100", max_wal_senders="10")  # PostgreSQL's own, not those of the tests
    conf = (server.data / "postgresql.conf").read_text()
    for said, fine in TOGETHER:
        assert (not list(clashes(said, server.version))) == fine, said
        server.write("postgresql.conf", conf)
        server.configure(**said)
        try:
            server.restart()
            assert fine, said
        except ServerError:
            assert not fine, said
