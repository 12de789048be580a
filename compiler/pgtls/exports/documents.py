"""YAML for other programs: the same bytes for the same values, and no value that a reader could take for another type.

PyYAML is optional, and only this module imports it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pgtls.diagnostics import Diagnostic, Rejected, installing

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_OTHER_TYPES = frozenset(("", "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"))
"""Words that YAML 1.1 or 1.2 reads as booleans, nulls or numbers."""


def render(documents: Sequence[Any], comment: str = "") -> bytes:
    """Write documents of dicts, lists, strings, numbers and booleans, keys in their order, below a comment.

    Raise :class:`Rejected` with PGT667 if PyYAML is not installed.
    """
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    body: str = _yaml().dump_all(
        documents,
        Dumper=_dumper(),
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=2**16,
        explicit_start=len(documents) > 1,
    )
    return (head + body).encode()


def _yaml() -> Any:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        hint = installing("pyyaml")
        raise Rejected(Diagnostic("PGT667", "this export needs PyYAML, which is not installed", hint=hint)) from None
    return yaml


def _dumper() -> Any:
    """Return a dumper that writes no anchors, and indents the items of lists below their key."""
    parent = _yaml().SafeDumper

    def ignore_aliases(self: Any, data: Any) -> bool:
        return True

    def increase_indent(self: Any, flow: bool = False, indentless: bool = False) -> Any:
        return parent.increase_indent(self, flow, indentless=False)

    methods = {"ignore_aliases": ignore_aliases, "increase_indent": increase_indent}
    dumper: Any = type("Dumper", (parent,), methods)
    dumper.add_representer(str, _string)
    return dumper


def _string(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=_style(text))


def _style(text: str) -> str:
    """Return the style of a string: plain only if no reader could take it for another type."""
    if "\n" in text:
        return "|"
    if _PLAIN.fullmatch(text) and text.lower() not in _OTHER_TYPES:
        return ""
    return "'" if '"' in text or "\\" in text else '"'
