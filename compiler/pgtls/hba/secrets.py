"""Find secrets in the lines of foreign files: passwords that no message and no excerpt may show.

A secret is the value of an option with a telling name (``ldapbindpasswd``, ``radiussecrets``, any name with "pass",
"secret" or "token"), and the password of a URL. A line can be malformed. After such an option, each token that is no
other option therefore counts as part of the secret.

A line can also be of another file altogether, which an ``include`` names: there, each word can be a secret.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from pgtls.hba.model import Keyword
from pgtls.hba.options import RECORD_TYPES
from pgtls.postgres.methods import METHODS, PASSWORD_IN_URL, SECRET_OPTIONS, is_option, is_secret

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

HIDDEN = "(secret)"
"""The replacement for a secret in a message."""

_LOGICAL = re.compile(r"(?:[^\n]*\\\r?\n)*[^\n]*\n?")
_RAW_TOKEN = re.compile(r'(?:\\\r?\n|[^\s,"]|"[^"]*"?)+')
_NOT_HIDDEN = re.compile(r"[^\r\n]")
_NAMED = re.compile(r"""(?<![\w."'\\\r\n])([\w."'\\\r\n]++)\s*+[=:]""")
"""A name before its value, wherever in a token: after a mistyped quote, or with a colon for the equals sign."""
_WITHIN_A_NAME = str.maketrans("", "", "\"'\\\r\n")
"""What a server, or a reader, skips: it reads ``ldapbind"pa"sswd``, also on two lines, as one word."""
_WORDS = RECORD_TYPES | METHODS.keys() | {keyword.value for keyword in Keyword}
_QUOTED = re.compile(r'".*"', re.DOTALL)


def blotted(text: str) -> str:
    """Replace every character of a secret with an asterisk, in a file or a part of it. Keep the length of lines."""
    return "".join(map(_blotted, _LOGICAL.findall(text)))


def without_secrets(message: str, tokens: Iterable[str]) -> str:
    """Remove the secrets in a line's tokens from a message about that line."""
    found = {token[start:end] for token, (start, end) in _spans(tokens) if start < end}
    for secret in sorted((one for one in found if one in message), key=len, reverse=True):
        message = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, message)
    return message


def is_record(line: str) -> bool:
    """Return whether a line begins as those of pg_hba.conf do."""
    first = _RAW_TOKEN.search(line)
    return first is not None and first[0].strip('"') in RECORD_TYPES


def veiled(line: str, known: Container[str] = _WORDS) -> str:
    """Replace every character of every word that is not known with an asterisk."""
    return _RAW_TOKEN.sub(lambda word: word[0] if word[0] in known else _NOT_HIDDEN.sub("*", word[0]), line)


def without_quotations(message: str) -> str:
    """Remove from a message about a line what it quotes."""
    return _QUOTED.sub(HIDDEN, message)


def _blotted(line: str) -> str:
    spans = _spans(_RAW_TOKEN.findall(line))

    def hide(found: re.Match[str]) -> str:
        token, (start, end) = next(spans)
        return token[:start] + _NOT_HIDDEN.sub("*", token[start:end]) + token[end:]

    return _RAW_TOKEN.sub(hide, line)


def _spans(tokens: Iterable[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield each token with its secret part."""
    after_secret = False
    for token, following in pairwise((*tokens, "")):
        name, equals, _ = token.partition("=")
        name = _name(name)
        named = (match.end() for match in _NAMED.finditer(token) if is_secret(_name(match[1])))
        start = token.index("=") + 1 if equals and is_secret(name) else next(named, None)
        if start is not None:
            after_secret = True
            yield token, (start, len(token))
        elif after_secret and not (equals and is_option(name)):
            yield token, (0, len(token))
        else:
            after_secret = after_secret or name in SECRET_OPTIONS or (following[:1] == "=" and is_secret(name))
            password = PASSWORD_IN_URL.search(token)
            yield token, password.span(1) if password else (0, 0)


def _name(raw: str) -> str:
    return raw.translate(_WITHIN_A_NAME).strip("#: ")
