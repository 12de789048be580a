"""Check settings that are texts with a syntax of their own: lists of words, names, places.

Source: the check hooks of each setting; tested value by value against the servers. This module does not check values
that depend on the server's machine (a locale, a time zone, a tablespace).
"""

from __future__ import annotations

import re
from collections.abc import Callable

Judge = Callable[[str, int], str | None]
"""Describes the valid values if a version rejects the text, worded to follow the setting's name; else None."""


def items(text: str) -> list[str] | None:
    """Split a list as SplitIdentifierString does. Return None if its syntax is wrong.

    Convert names without quotes to lower case.
    """
    if not text.strip():
        return []
    found, position = [], 0
    while match := _ITEM.match(text, position):
        name = match[1]
        found.append(name[1:-1].replace('""', '"') if name.startswith('"') else name.lower())
        position = match.end()
        if match[2] != ",":
            break
    return found if found and position == len(text) and text[-1] != "," else None


_ITEM = re.compile(r'\s*("(?:[^"]|"")*"|[^\s,"][^\s,]*)\s*(,|$)')


def _list_of(*words: str, alone: tuple[str, ...] = (), since: int = 13, **later: int) -> Judge:
    """Check lists of words.

    ``alone`` are words that replace a whole list. ``later`` are words by the version that added them.
    """

    def judge(text: str, version: int) -> str | None:
        known = [*words, *(word for word, first in later.items() if first <= version)]
        found = items(text)
        if version < since or text.lower() in alone or (found is not None and {*found} <= {*known}):
            return None
        return f"is {'on, off or ' if alone else ''}a list of {', '.join(known)}"

    return judge


def _list(text: str, _version: int) -> str | None:
    return "is a list with commas between its items" if items(text) is None else None


def _not_empty(text: str, _version: int) -> str | None:
    return None if text else "cannot be empty"


def _directories(text: str, _version: int) -> str | None:
    item = r'\s*(?:"(?:[^"]|"")*"|[^\s,"][^,]*)\s*'
    return None if re.fullmatch(rf"\s*|{item}(?:,{item})*", text) else "is a list with commas between its items"


def _like(pattern: str, words: str) -> Judge:
    """Check texts with a regular expression. Compile it at the first use: all of them take 13 ms."""
    return lambda text, _version: None if re.fullmatch(pattern, text) else words


def _slots(text: str, _version: int) -> str | None:
    found = items(text)
    fine = found is not None and all(re.fullmatch(r"[a-z0-9_]{1,63}", name) for name in found)
    return None if fine else "is a list of replication slots (lower-case letters, digits and underscores)"


_LEVELS = [
    "debug5",
    "debug4",
    "debug3",
    "debug2",
    "debug1",
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "log",
    "fatal",
    "panic",
]
PROCESSES = [
    "archiver",
    "autovacuum",
    "backend",
    "bgworker",
    "bgwriter",
    "checkpointer",
    "ioworker",
    "postmaster",
    "slotsyncworker",
    "startup",
    "syslogger",
    "walreceiver",
    "walsender",
    "walsummarizer",
    "walwriter",
]


def _messages(text: str, _version: int) -> str | None:
    """Check ``log_min_messages`` of 19: one level, and others for kinds of processes."""
    found = [entry.partition(":") for entry in items(text) or []]
    general = [level for level, colon, _ in found if not colon]
    special = {process.strip(): level.strip() for process, colon, level in found if colon}
    fine = len(general) == 1 and len(special) == len(found) - 1 and {*special} <= {*PROCESSES}
    if fine and {*general, *special.values()} <= {*_LEVELS}:
        return None
    return "is a level (warning, debug1, …), and after it process:level for others"


def _date_style(text: str, _version: int) -> str | None:
    found = items(text)
    meanings = {_date_word(word) for word in found or []} - {("default", "")}
    kinds = [kind for kind, _ in meanings]
    if found is None or "" in kinds or len(kinds) != len({*kinds}):
        return "is a style (ISO, SQL, Postgres, German), an order (DMY, MDY, YMD), or both"
    return None


def _date_word(word: str) -> tuple[str, str]:
    """Return whether a word of DateStyle sets the style or the order, and its meaning."""
    return next((meaning for pattern, meaning in _DATE_WORDS.items() if re.fullmatch(pattern, word)), ("", ""))


_DATE_WORDS = {
    "default": ("default", ""),
    "iso": ("style", "iso"),
    "sql": ("style", "sql"),
    "german": ("style", "german"),
    "postgres.*": ("style", "postgres"),
    "ymd": ("order", "ymd"),
    "dmy|euro.*": ("order", "dmy"),
    "mdy|us|noneuro.*": ("order", "mdy"),
}

_STANDBY = r'(?:"(?:[^"]|"")+"|\*|[A-Za-z_\x80-\uffff][A-Za-z0-9_$\x80-\uffff]*|[0-9]+)'
_STANDBYS = rf"\s*{_STANDBY}(?:\s*,\s*{_STANDBY})*\s*"
_SYNCHRONOUS = _like(
    rf"\s*|(?!\s*(?i:any|first)\s*(?:,|$)){_STANDBYS}|\s*(?:(?i:any|first)\s+)?0*[1-9][0-9]*\s*\({_STANDBYS}\)\s*",
    "is a list of standbys, or FIRST n (…) or ANY n (…)",
)

_ENCODINGS = frozenset(
    [
        "abc",
        "alt",
        "big5",
        "euccn",
        "eucjis2004",
        "eucjp",
        "euckr",
        "euctw",
        "gb18030",
        "gbk",
        "johab",
        "koi8",
        "koi8r",
        "koi8u",
        "mskanji",
        "muleinternal",
        "shiftjis",
        "shiftjis2004",
        "sjis",
        "sqlascii",
        "tcvn",
        "tcvn5712",
        "uhc",
        "unicode",
        "utf8",
        "vscii",
        "win",
    ]
    + [f"iso8859{n}" for n in (*range(1, 11), 13, 14, 15, 16)]
    + [f"latin{n}" for n in range(1, 11)]
    + [f"{w}{n}" for w in ("win", "windows") for n in (866, 874, 932, 936, 949, 950, *range(1250, 1259))]
)
"""encnames.c, ``pg_encname_tbl``, without signs and in lower case."""


def _encoding(text: str, _version: int) -> str | None:
    name = re.sub(r"[^a-z0-9]", "", text.lower())
    return None if name in _ENCODINGS else "is an encoding that PostgreSQL knows, such as UTF8"


def _timeline(text: str, version: int) -> str | None:
    fine = version < 19 or re.fullmatch(r"latest|current|0x[0-9a-fA-F]+|[0-9]+", text)
    return None if fine else "is latest, current or the number of a timeline"


def _transaction(text: str, version: int) -> str | None:
    return None if version < 19 or re.fullmatch(r"|0*[1-9][0-9]*", text) else "is the number of a transaction"


TEXTS: dict[str, Judge] = {
    "backtrace_functions": _like(r"[A-Za-z0-9_, \t]*", "is a list of functions' names"),
    "client_encoding": _encoding,
    "createrole_self_grant": _list_of("set", "inherit"),
    "DateStyle": _date_style,
    "debug_io_direct": _list_of("data", "wal", "wal_init"),
    "default_table_access_method": _not_empty,
    "lc_messages": _not_empty,
    "listen_addresses": _list,
    "log_connections": _list_of(
        "receipt",
        "authentication",
        "authorization",
        "setup_durations",
        "all",
        alone=("on", "off", "true", "false", "yes", "no", "1", "0"),
    ),
    "log_destination": _list_of("stderr", "csvlog", "syslog", "eventlog", jsonlog=15),
    "log_min_messages": _messages,
    "log_timezone": _not_empty,
    "oauth_validator_libraries": _list,
    "output_plugin_libraries": _list,
    "primary_slot_name": _like(
        r"[a-z0-9_]{0,63}", "is a replication slot (lower-case letters, digits and underscores)"
    ),
    "recovery_target": _like("|immediate", 'is empty or "immediate"'),
    "recovery_target_lsn": _like("|[0-9a-fA-F]{1,8}/[0-9a-fA-F]{1,8}", "is a position such as 0/3000000"),
    "recovery_target_name": lambda text, _: "has at most 63 bytes" if len(text.encode()) > 63 else None,
    "recovery_target_time": _like(r"|.*[0-9].*", "is a date and time"),
    "recovery_target_timeline": _timeline,
    "recovery_target_xid": _transaction,
    "restrict_nonsystem_relation_kind": _list_of("view", "foreign-table"),
    "search_path": _list,
    "synchronized_standby_slots": _slots,
    "synchronous_standby_names": _SYNCHRONOUS,
    "temp_tablespaces": _list,
    "TimeZone": _not_empty,
    "timezone_abbreviations": _like("[A-Za-z]+", "is the name of a file of abbreviations"),
    "unix_socket_directories": _directories,
    "wal_consistency_checking": _list_of(
        *["all", "heap2", "heap", "btree", "hash", "gin", "gist", "sequence", "spgist", "brin", "generic", "logicalmsg"]
    ),
}
"""The texts that a server can reject. It accepts every other text."""
