"""Did you mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.language import words

if TYPE_CHECKING:
    from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Give a hint that names the closest of the ``known`` names, if one is close."""
    close = words.did_you_mean(name, known)
    return f'did you mean "{close}"?' if close else None
