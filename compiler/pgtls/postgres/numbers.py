"""Read numbers as C does: a text of any length is a number there, which Python refuses from 4,300 digits on."""

from __future__ import annotations

LONG_MAX = 2**63 - 1

_MOST_DIGITS = 63
"""A number that has more, in any base from 8 on, does not fit in 63 bits."""


def strtol(digits: str, base: int = 10) -> int:
    """Read digits without a sign as ``strtol``: what a ``long`` cannot hold is the largest one."""
    significant = digits.lstrip("0xX") or "0"
    return LONG_MAX if len(significant) > _MOST_DIGITS else min(int(significant, base), LONG_MAX)


def atoi(text: str) -> int:
    """Read the begin of a text as ``atoi`` of glibc: the lowest 32 bits of what strtol returns, 0 without digits."""
    begin = text.lstrip(" \t\n\v\f\r")
    digits = begin[1:] if begin[:1] in ("+", "-") else begin
    length = next((i for i, one in enumerate(digits) if one not in "0123456789"), len(digits))
    number = strtol(digits[:length] or "0")
    low = (-number if begin[:1] == "-" else number) & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low
