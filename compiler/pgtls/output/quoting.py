"""Quote any text as a literal of another language.

Names in the spec are hostile until they are quoted for the language that contains them.
"""

from __future__ import annotations

import re
from shlex import quote

shell = quote
"""For a POSIX shell."""


def powershell(text: str) -> str:
    """Quote for PowerShell, where four typographic characters are single quotes, too."""
    return "'" + _POWERSHELL_QUOTES.sub(r"\g<0>\g<0>", text) + "'"


def property_key(text: str) -> str:
    """Escape a key of a Java properties file (java.util.Properties)."""
    return _KEY_SPECIAL.sub(r"\\\g<0>", _latin(text))


def property_value(text: str) -> str:
    """Escape a value of a Java properties file: readers drop blanks at its start, and read bytes as Latin-1."""
    value = _latin(text)
    return "\\" + value if value.startswith(" ") else value


def code(text: str) -> str:
    """Return any text as code in Markdown, fit for a table cell.

    A code span shows its text as it is (CommonMark 6.1), except backticks, blanks at its ends, and bars, which end a
    cell of a table; text with these becomes HTML with character references, which are never markup.
    """
    if "`" not in text and "|" not in text and text == text.strip():
        return f"`{text}`"
    return "<code>" + "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text) + "</code>"


def fenced(text: str, language: str) -> str:
    """Return a text as a block of code in Markdown, inside more backticks than its longest run (CommonMark 4.5)."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _latin(text: str) -> str:
    text = text.replace("\\", "\\\\")
    if text.isascii() and text.isprintable():  # nearly all texts, and ten times faster
        return text
    units = text.encode("utf-16-be")
    pairs = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(chr(unit) if 0x20 <= unit < 0x7F else f"\\u{unit:04x}" for unit in pairs)


_POWERSHELL_QUOTES = re.compile("['\u2018\u2019\u201a\u201b]")
_KEY_SPECIAL = re.compile("[ :=#!]")
