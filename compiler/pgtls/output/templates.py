"""The templates of the package, compiled once."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment, Template


@cache
def template(name: str) -> Template:
    """Return the template at a path below ``templates``."""
    found: Any = _environment().get_template(name)
    return found  # type: ignore[no-any-return]


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # What is written is configuration, not HTML: every value is quoted for its own language before it gets here.
    return Environment(
        loader=PackageLoader("pgtls.templates", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701
    )
