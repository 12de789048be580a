"""Read and write PKCS#11 URIs (RFC 7512): the name of a private key in a token."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEME = "pkcs11:"

_VALUE = re.compile(r"(?:[A-Za-z0-9._~:\[\]@!$'()*+,=&-]|%[0-9A-Fa-f]{2})+")
"""The characters of a value in the path (RFC 7512, 2.3: ``pk11-pchar``)."""
_SAFE = ":[]@!$'()*+,=&"

_IN_THE_SPEC = {
    "pin-value": "a spec must not hold a PIN: say where it comes from in `pin`",
    "pin-source": "say where the PIN comes from in `pin`",
    "module-path": "name the library in `module`",
    "module-name": "name the library in `module`",
}
"""Attributes of the query (RFC 7512, 2.4) for which the language has fields of its own."""


class BadUri(ValueError):  # noqa: N818
    """Report what is wrong with a URI. No message quotes it: it may hold a PIN."""


@dataclass(frozen=True, slots=True)
class KeyUri:
    """The attributes that select one private key: those of its token, and those of the key. None selects nothing."""

    token: str | None = None
    serial: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    object: str | None = None
    id: bytes | None = None

    def __str__(self) -> str:
        """Write the URI in its normal form: every attribute once, in the order of this class."""
        return SCHEME + ";".join(f"{name}={_quoted(value)}" for name, value in _attributes(self))

    @property
    def of_token(self) -> str:
        """Describe the token for messages."""
        return f'token "{self.token}"' if self.token is not None else f'token with serial "{self.serial}"'

    @property
    def of_key(self) -> str:
        """Describe the key for messages."""
        label = "" if self.object is None else f' "{self.object}"'
        return f"key{label}" if self.id is None else f"key{label} with id {self.id.hex()}"


def _attributes(uri: KeyUri) -> Iterator[tuple[str, str | bytes]]:
    for field in fields(uri):
        value = getattr(uri, field.name)
        if value is not None:
            yield field.name, value


def _quoted(value: str | bytes) -> str:
    """Quote a value. An ``id`` is binary, and every byte of it is quoted (RFC 7512, 2.3)."""
    from urllib.parse import quote  # here and below: few specs have keys in tokens

    return quote(value, safe=_SAFE) if isinstance(value, str) else "".join(f"%{byte:02X}" for byte in value)


def parse(text: str) -> KeyUri:
    """Read the URI of one private key. Raise :class:`BadUri` if it is none, or selects no token or no key."""
    if text[: len(SCHEME)].lower() != SCHEME:
        raise BadUri(f"a PKCS#11 URI begins with {SCHEME}")
    path, _, query = text[len(SCHEME) :].partition("?")
    for name in (attribute.partition("=")[0] for attribute in query.split("&") if attribute):
        raise BadUri(_IN_THE_SPEC.get(name, "the part after ? selects no key: delete it"))
    found: dict[str, str | bytes] = {}
    for attribute in path.split(";") if path else ():
        name, _, value = attribute.partition("=")
        if name in found:
            raise BadUri(f"the attribute {name} appears twice")
        found[name] = _value(name, value)
    if found.pop("type", "private") != "private":
        raise BadUri("it must name a private key: type=private")
    uri = KeyUri(**found)  # type: ignore[arg-type]
    if uri.token is None and uri.serial is None:
        raise BadUri("it selects no token: add token=LABEL or serial=NUMBER")
    if uri.object is None and uri.id is None:
        raise BadUri("it selects no key: add object=LABEL or id=%XX")
    return uri


_KNOWN = frozenset((*(field.name for field in fields(KeyUri)), "type"))


def _value(name: str, value: str) -> str | bytes:
    from urllib.parse import unquote_to_bytes

    if name not in _KNOWN:
        known = ", ".join(sorted(_KNOWN))
        raise BadUri(f"pgtls knows the attributes {known}" + (", separated by ;" if name.isidentifier() else ""))
    if not _VALUE.fullmatch(value):
        raise BadUri(
            f"{name} is empty, or holds a character to be quoted: a blank is %20, a semicolon %3B, a slash %2F"
        )
    content = unquote_to_bytes(value)
    if name == "id":
        return content
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise BadUri(f"{name} is not UTF-8") from None
    if not text.isprintable():
        raise BadUri(f"{name} holds a control character")
    return text
