"""Define one finding of ``verify``: the checked property, and its difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["ok", "differs", "not tried"]

INSTALL = "copy the server's directory from the out directory to the server, and run its install.sh"
"""The usual hint for a difference."""

TRUST = "clients' trust"
"""The name of the checks that verify the chain as clients do."""


@dataclass(frozen=True, slots=True)
class Check:
    """One checked property, or why it was not checked. ``code`` and ``fault`` name the difference."""

    name: str
    outcome: Outcome
    what: str
    why: str = ""
    todo: str = ""
    code: str | None = None
    fault: str | None = None
    """A word for the kind of difference, for programs: ``old certificate``, ``cleartext open``."""

    def __post_init__(self) -> None:
        """Make a server's text safe for a terminal and for XML: it may come from an impostor."""
        for name in ("what", "why", "todo", "fault"):
            if text := getattr(self, name):
                object.__setattr__(self, name, _printable(text))


_LONGEST = 600


def _printable(text: str) -> str:
    shown = text if text.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in text)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def ok(name: str, what: str) -> Check:
    """Return a check without a difference."""
    return Check(name, "ok", what)


def untried(name: str, reason: str) -> Check:
    """Return a check that was not possible."""
    return Check(name, "not tried", reason)


def differs(code: str, fault: str, name: str, what: str, why: str, todo: str) -> Check:
    """Return a check with a difference."""
    return Check(name, "differs", what, why, todo, code, fault)
