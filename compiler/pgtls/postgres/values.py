"""Read the values of settings as each version does: booleans, enumerations, numbers with units.

:mod:`pgtls.postgres.texts` checks texts.

Source: guc.c (``parse_int``, ``parse_real``) and bool.c; tested value by value against the servers.
"""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING

from pgtls.postgres.numbers import strtol
from pgtls.postgres.texts import TEXTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgtls.postgres.settings import Setting

Scalar = str | float | bool

_TRUE = re.compile(r"t(r(ue?)?)?|y(es?)?|on|1", re.IGNORECASE)
_FALSE = re.compile(r"f(a(l(se?)?)?)?|no?|off?|0", re.IGNORECASE)

_INTEGER = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_REAL = re.compile(
    r"\s*([+-]?)"
    r"(0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?\d+)?|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?)",
    re.IGNORECASE | re.ASCII,
)
_UNIT = re.compile(r"\s*([^\s]{0,3})\s*")
_MEMORY = {"B": 1.0, "kB": 2.0**10, "8kB": 2.0**13, "MB": 2.0**20, "GB": 2.0**30, "TB": 2.0**40}
_TIME = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def written(value: Scalar) -> str:
    """Return a value of the spec as the text that postgresql.conf contains."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def refusal(setting: Setting, value: Scalar, version: int) -> str | None:
    """Describe the valid values if that version rejects the value, worded to follow the setting's name; else None."""
    text = written(value)
    if setting.kind == "bool":
        return _boolean(setting, text)
    if setting.kind == "enum":
        return _choice(setting, text)
    if setting.kind == "string":
        judge = TEXTS.get(setting.name)
        return judge(text, version) if judge else None
    return _number(setting, text)


def truth(text: str) -> bool | None:
    """Return the boolean that PostgreSQL reads, or None for any other text."""
    return True if _TRUE.fullmatch(text) else False if _FALSE.fullmatch(text) else None


def _boolean(setting: Setting, text: str) -> str | None:
    value = truth(text)
    if value is None:
        return "is on or off"
    allowed = setting.choices
    return f"is {allowed[0]} in this version" if allowed and written(value) not in allowed else None


def _choice(setting: Setting, text: str) -> str | None:
    if text.lower() in map(str.lower, (*setting.choices, *setting.hidden)):
        return None
    return "is one of " + ", ".join(choice or '""' for choice in setting.choices)


def _number(setting: Setting, text: str) -> str | None:
    value = amount(setting, text)
    if value is None:
        units = ", ".join(unit for unit in _scale(setting) if unit != "8kB")
        return f"is a number without a unit or with one of {units}" if units else "is a number"
    if setting.least is not None and setting.most is not None and not setting.least <= value <= setting.most:
        return f"is from {setting.least:.15g} to {setting.most:.15g}"
    further = _NUMBERS.get(setting.name)
    return further[1] if further and not further[0](value) else None


def amount(setting: Setting, text: str) -> float | None:
    """Return a number in the unit of its setting. Return None for any other text, or a unit that the setting lacks."""
    found = _real(text) if setting.kind == "real" else _integer(text)
    scale = _scale(setting)
    if found is None or (found[1] and (found[1] not in scale or found[1] == "8kB")):
        return None
    value, unit = found
    if unit:
        value *= scale[unit] / scale[setting.unit or unit]
    return round(value) if setting.kind == "integer" and not math.isinf(value) else value


def _scale(setting: Setting) -> dict[str, float]:
    return next((units for units in (_MEMORY, _TIME) if setting.unit in units), {})


_BUFFERS = (lambda amount: amount % 16 == 0, "is a multiple of 16")
_NUMBERS: dict[str, tuple[Callable[[float], bool], str]] = {
    **dict.fromkeys(
        (
            "commit_timestamp_buffers",
            "multixact_member_buffers",
            "multixact_offset_buffers",
            "notify_buffers",
            "serializable_buffers",
            "subtransaction_buffers",
            "transaction_buffers",
        ),
        _BUFFERS,
    ),
    "io_max_concurrency": (lambda amount: amount != 0, "is -1 or from 1 to 1024"),
    "vacuum_buffer_usage_limit": (lambda amount: amount == 0 or amount >= 128, "is 0 or from 128 kB to 16 GB"),
}
"""The tests of check hooks for numbers within their bounds."""


def _integer(text: str) -> tuple[float, str] | None:
    """Read a number and its unit as ``strtol`` with base 0, or as ``strtod`` if it has a fraction or an exponent."""
    found = _INTEGER.match(text)
    if text[found.end() if found else 0 :][:1] in (".", "e", "E") or found is None:
        return _real(text) if found or text[:1] == "." else None
    sign, digits = found.groups()
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") else 10
    return _with_unit(float(strtol(digits, base)) * (-1 if sign == "-" else 1), text[found.end() :])


def _real(text: str) -> tuple[float, str] | None:
    found = _REAL.match(text)
    if found is None:
        return None
    sign, digits = found.groups()
    try:
        amount = float.fromhex(digits) if digits[:2] in ("0x", "0X") else float(digits)
    except OverflowError:  # fromhex alone raises it
        return None
    too_small = amount < sys.float_info.min and re.search(r"[1-9a-f]", digits.lower().split("e")[0])
    if too_small or (math.isinf(amount) and digits[0].isdigit()):
        return None  # ERANGE
    return _with_unit(-amount if sign == "-" else amount, text[found.end() :])


def _with_unit(amount: float, rest: str) -> tuple[float, str] | None:
    unit = _UNIT.fullmatch(rest)
    return (amount, unit[1]) if unit else None
