"""Load the templates of the package, and compile each once."""

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

    # The output is configuration, not HTML. Every value is already quoted for its own language.
    return Environment(
        loader=PackageLoader("pgtls.templates", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701
    )
