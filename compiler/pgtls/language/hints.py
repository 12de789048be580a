"""How a value is written in the type, or as the choice, that a field wants."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgtls.language import instead
from pgtls.language.words import did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pgtls.diagnostics import Path

    Key = str | int

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_TABLES = {
    "subject": 'organization = "Example Ltd"',
    "auth_options": 'ldapserver = "ldap.example.com"',
    "settings": "log_connections = true",
    "name_constraints": 'permitted_dns = ["example.com"]',
    "sign": 'command = ["./sign.sh"]',
    "challenge": 'command = ["./dns.sh"]',
    "key": 'pkcs11 = "pkcs11:token=…;object=…", module = "…", pin = { env = "…" }',
}


def hint_for_type(kind: str, key: Key, found: object) -> str | None:
    """Return what to write for a value of a wrong type; ``kind`` is pydantic's type of error."""
    hint = _BY_TYPE.get(kind)
    return hint(key, found) if hint else None


def hint_for_choice(key: Key, found: object, choices: Sequence[str]) -> str | None:
    """Return what to write for a value that is none of the choices."""
    if isinstance(found, bool):
        return f"write {key} = {quoted(choices[-1] if found else choices[0])}"
    if not isinstance(found, str | int | float):
        return None
    text = str(found)
    if text in choices:
        return f"write it in quotes: {quoted(text)}"
    several = re.split(r"[\s,;]+", text)
    if len(several) > 1 and {*several} <= {*choices}:
        return f"write each as its own string: {', '.join(map(quoted, several))}"
    other = instead.CHOICES.get(text.lower())
    meant = did_you_mean(text, choices) or (other if other in choices else None)
    return f"did you mean {quoted(meant)}?" if meant else None


def hint_for_union(path: Path, found: object) -> str | None:
    """Return what to write for a value that has several forms, none of them this one."""
    match path, found:
        case (*_, "waiver"), _:
            return 'write waiver = { reason = "...", codes = ["PGT301"] }'
        case (*_, "settings", _), list() if all(isinstance(item, str) for item in found):
            return f"write one string: {quoted(', '.join(map(str, found)))}"
        case (*_, int()), int() | float() if not isinstance(found, bool):
            return f'write it in quotes: "{found}"'
        case (*_, "subject", str(key)), int() | float() if not isinstance(found, bool):
            return f'write it in quotes: {key} = "{found}"'
        case (*_, str(key), int()), [str(item)]:
            return f"write it without brackets: {key} = [{quoted(item)}]"
    return None


def _array(key: Key, found: object) -> str | None:
    if isinstance(found, dict):
        return f"write it in brackets: {key} = [{{ … }}]"
    if not isinstance(found, str):
        return None
    items = [item for item in re.split(r"\s*[,;]\s*", found.strip()) if item]
    return f"write it in brackets: {key} = [{', '.join(map(quoted, items or [found]))}]"


def _integer(key: Key, found: object) -> str | None:
    if key in ("postgres", "libpq") and (major := _major(found)):
        return f"write the major version alone: {key} = {major}"
    match found:
        case str() if found.isdecimal():
            return f"write it without quotes: {key} = {found}"
        case float() if found.is_integer() and abs(found) < 1e9:
            return f"write a whole number: {key} = {int(found)}"
        case [int(item)]:
            return f"write it without brackets: {key} = {item}"
    return None


def _major(found: object) -> str | None:
    """Return the major version in a text or a float that holds more than it."""
    match = re.fullmatch(r"\D*(\d{2})(\.[\d.]+)?\D*", str(found)) if isinstance(found, str | float) else None
    return None if match is None or match[0] == match[1] else match[1]


def _boolean(key: Key, found: object) -> str | None:
    word = str(found).lower() if isinstance(found, str | int) else ""
    value = "true" if word in _TRUE else "false" if word in _FALSE else None
    return value and (
        f"write it without quotes: {key} = {value}" if isinstance(found, str) else f"write {key} = {value}"
    )


def _string(key: Key, found: object) -> str | None:
    if isinstance(found, int | float) and not isinstance(found, bool):
        return f'write it in quotes: "{found}"'
    match found:
        case [str(item)]:
            name = f"{key} = " if isinstance(key, str) else ""
            return f"write it without brackets: {name}{quoted(item)}"
        case [str(), *_] if key == "auth":
            return 'a policy has one method; to ask for a certificate as well, write client_cert = "verify-full"'
    return None


def _table(key: Key, found: object) -> str | None:
    if key == "key" and isinstance(found, str) and not found.startswith("pkcs11:"):
        return f"a key in a file is key_file = {quoted(found)}"
    example = _TABLES.get(str(key))
    return f"write a table: {key} = {{ {example} }}" if isinstance(found, str) and example else None


_BY_TYPE: Mapping[str, Callable[[Key, object], str | None]] = {
    "tuple_type": _array,
    "int_type": _integer,
    "bool_type": _boolean,
    "string_type": _string,
    "dict_type": _table,
    "model_type": _table,
}
