"""Numbers are read as C reads them, of whatever length."""

from __future__ import annotations

import ctypes

import pytest

from pgtls.postgres.numbers import LONG_MAX, atoi, strtol

DIGITS = ["0", "7", "0017", "9223372036854775807", "9223372036854775808", "9" * 400, "9" * 5000, "0" * 5000 + "1"]


@pytest.mark.parametrize("digits", DIGITS)
def test_digits_are_read_as_by_strtol(digits: str) -> None:
    libc = ctypes.CDLL(None)
    libc.strtol.restype = ctypes.c_long
    for base in (8, 10, 16):
        if base > 8 or not set(digits) & {"8", "9"}:
            assert strtol(digits, base) == libc.strtol(digits.encode(), None, base)
    assert strtol("0x" + "f" * 5000, 16) == LONG_MAX


@pytest.mark.parametrize(
    "text", [*DIGITS, "", "x", " 42x", "+5", "-5", "4294967296", "-4294967295", "2147483648", "- 5", "\u0663", "\v7"]
)
def test_the_begin_of_a_text_is_read_as_by_atoi(text: str) -> None:
    assert atoi(text) == ctypes.CDLL(None).atoi(text.encode())
