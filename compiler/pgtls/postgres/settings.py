"""Define the settings of postgresql.conf by version.

pgtls writes the settings of TLS. A spec may add all others.

Source: guc_tables.c of each version, through the ``pg_settings`` of a server of each.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, NamedTuple, cast

from pgtls.postgres.catalogue import CATALOGUE

Context = Literal["internal", "postmaster", "sighup", "backend", "superuser-backend", "superuser", "user"]
Kind = Literal["bool", "integer", "real", "string", "enum"]


LIST_SETTINGS_SINCE = 18
"""The first version with ``ssl_tls13_ciphers`` and with ``ssl_groups``, a list that replaces ``ssl_ecdh_curve``."""


class SslSetting(NamedTuple):
    """A setting that ``pgtls.conf`` states, with PostgreSQL's default. ``until`` is the last version that has it."""

    name: str
    default: str
    since: int = 13
    until: int = 99


SSL_SETTINGS = (
    SslSetting("ssl", "off"),
    SslSetting("ssl_cert_file", "server.crt"),
    SslSetting("ssl_key_file", "server.key"),
    SslSetting("ssl_ca_file", ""),
    SslSetting("ssl_crl_file", ""),
    SslSetting("ssl_crl_dir", "", since=14),
    SslSetting("ssl_passphrase_command", ""),
    SslSetting("ssl_passphrase_command_supports_reload", "off"),
    SslSetting("ssl_min_protocol_version", "TLSv1.2"),
    SslSetting("ssl_max_protocol_version", ""),
    SslSetting("ssl_ciphers", "HIGH:MEDIUM:+3DES:!aNULL"),
    SslSetting("ssl_tls13_ciphers", "", since=18),
    SslSetting("ssl_prefer_server_ciphers", "on"),
    SslSetting("ssl_ecdh_curve", "prime256v1", until=17),
    SslSetting("ssl_groups", "X25519:prime256v1", since=18),
    SslSetting("ssl_dh_params_file", ""),
    SslSetting("ssl_sni", "off", since=19),
)
"""Every configurable TLS setting, in the order of output. All take effect with a reload."""

SNI_SINCE = 19
"""``ssl_sni`` and pg_hosts.conf."""

OURS = frozenset({"hba_file", "ident_file", "hosts_file", *(setting.name for setting in SSL_SETTINGS)})
"""Settings that a spec's ``settings`` cannot contain because they follow from other fields."""

ELSEWHERE = frozenset(
    {"config_file", "data_directory", "external_pid_file", "include", "include_dir", "include_if_exists"}
)
"""Settings that they cannot contain because these move the server's files, or include further ones."""

FILE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
"""The valid names in postgresql.conf (guc-file.l, ``ID`` and ``QUALIFIED_ID``). Names of extensions have a dot."""

ALIASES = {"sort_mem": "work_mem", "vacuum_mem": "maintenance_work_mem"}
"""Former names that every version reads (guc.c, ``map_old_guc_names``)."""


class Setting(NamedTuple):
    """A setting as one range of versions has it. ``unit`` is the unit of a number without one."""

    name: str
    since: int
    until: int
    context: Context
    kind: Kind
    least: float | None = None
    most: float | None = None
    unit: str | None = None
    choices: tuple[str, ...] = ()
    """The values of an enumeration. For a boolean with only one valid value, this value."""
    hidden: tuple[str, ...] = ()
    """Values of an enumeration that PostgreSQL accepts and does not list."""


@cache
def ssl_settings(version: int) -> dict[str, str]:
    """Return the TLS settings of a version with their defaults, in the order of output."""
    return {s.name: s.default for s in SSL_SETTINGS if s.since <= version <= s.until}


@cache
def settings(version: int) -> dict[str, Setting]:
    """Return every setting of a version, by its name in lower case.

    Names ignore case (guc.c, guc_name_compare).
    """
    known = {s.name.lower(): s for s in _catalogue() if s.since <= version <= s.until}
    return known | {alias: known[name] for alias, name in ALIASES.items()}


@cache
def versions(name: str) -> tuple[int, int] | None:
    """Return the first and the last version that has a setting. Return None if no version has it."""
    name = ALIASES.get(name.lower(), name).lower()
    found = [s for s in _catalogue() if s.name.lower() == name]
    return (min(s.since for s in found), max(s.until for s in found)) if found else None


_HARMLESS = re.compile(
    r"""
      (autovacuum|vacuum|bgwriter|checkpoint|commit|cpu|enable|geqo|gin|io|min_parallel|max_parallel|parallel)_\w+
    | (max|min)_wal_size | wal_(buffers|compression|init_zero|keep_size|log_hints|recycle|skip_threshold|writer_\w+)
    | \w+_(buffers|mem|page_cost|flush_after|io_concurrency|collapse_limit)
    | geqo | jit | jit_\w+_cost | huge_pages? | huge_page_size | hash_mem_multiplier | effective_cache_size
    | temp_file_limit
    | max_(connections|worker_processes|files_per_process|stack_depth|(locks|pred_locks)_per_\w+)
    | max_(prepared_transactions|wal_senders|replication_slots|logical_replication_workers)
    | (deadlock|lock|statement|transaction)_timeout | tcp_(keepalives_\w+|user_timeout)
    | lc_\w+ | datestyle | intervalstyle | timezone | log_timezone | extra_float_digits
    | bytea_output | xmlbinary | default_(statistics_target|text_search_config|toast_compression)
    | cluster_name | application_name | update_process_title
    | track_(counts|functions|io_timing|wal_io_timing|cost_delay_timing) | compute_query_id
    | log_(autovacuum|autoanalyze)_min_duration | log_(checkpoints|lock_waits|temp_files)
    | plan_cache_mode | constraint_exclusion | cursor_tuple_fraction | recursive_worktable_factor
    """,
    re.VERBOSE,
)
"""Settings that affect only speed, memory, limits and formats.

None of them affects access, running programs, encryption, stored data, or what a log records about a connection.
"""


def folded(name: str) -> str:
    """Return the canonical name of a setting: PostgreSQL ignores the case of names, and accepts old ones."""
    return ALIASES.get(name.lower(), name.lower())


def is_harmless(name: str) -> bool:
    """Return whether no change of a setting can weaken anything. An unknown setting may weaken."""
    lower = folded(name)
    return versions(lower) is not None and bool(_HARMLESS.fullmatch(lower))


@cache
def _catalogue() -> tuple[Setting, ...]:
    return tuple(map(_setting, CATALOGUE.splitlines()))


def _setting(line: str) -> Setting:
    name, range_, context, kind, *rest = line.split(None, 4)
    since, _, until = range_.partition("-")
    setting = Setting(name, int(since), int(until or 99), cast("Context", context), cast("Kind", kind))
    if not rest:
        return setting
    if kind in ("enum", "bool"):
        listed, _, hidden = rest[0].partition("||")
        return setting._replace(choices=tuple(listed.split("|")), hidden=tuple(hidden.split("|")) if hidden else ())
    bounds, _, unit = rest[0].partition(" ")
    least, _, most = bounds.partition("..")
    return setting._replace(least=float(least), most=float(most), unit=unit or None)
