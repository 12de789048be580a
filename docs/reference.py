"""Write the references anew, from the code: docs/spec.md and docs/pgtls.schema.json from the models, docs/diagnostics.md from the catalogue.

``python docs/reference.py`` writes them; with ``--check`` it exits 1 if one is not what it would write.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticUndefined

from pgtls.diagnostics.rules import FAMILIES, catalogue
from pgtls.spec.models import KINDS, LintTable, MapEntry
from pgtls.spec.schema import schema
from pgtls.spec.upcoming import UPCOMING
from pgtls.spec.values import NameConstraints, Secret, Subject, Waiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

_SPEC_HEAD = """# The language

<!-- Written by docs/reference.py from the models; edit those. -->

A spec is TOML 1.0. Unknown keys are errors, values are strict (`port = "5432"` is an error), control characters are errors in every string. Table names
match `[a-z0-9][a-z0-9._-]{0,62}`, since they become directories; a name with a dot is quoted: `[user."a.b"]`.

| at the top | |
|---|---|
| `version` | `1` |
| `include` | patterns of further files, relative to this one; in the top file only. They hold `ca`, `server`, `user`, `policy`, `group` and `network` tables; a table that is defined twice, and a pattern that matches nothing, are errors |
| `[defaults.ca]`, `[defaults.server]`, `[defaults.user]`, `[defaults.policy]` | any field of the tables of that kind; a table's own field replaces it whole |

**Durations** are `"12h"`, `"90d"`, `"52w"`, `"10y"`; a year is 365 days. **Instants** are TOML dates (00:00 UTC) or date-times with an offset.
**Secrets** are `{ env = "NAME" }`, `{ file = "PATH" }` or `{ command = ["sops", "-d", "x"] }`; a literal one is an error. Paths are relative to the file that names them.
A name that is itself a keyword of a list is written `{ name = "all" }`.
"""


def main() -> int:
    """Write or check the pages."""
    folder = Path(__file__).parent
    pages = {
        folder / "spec.md": "".join(spec_page()),
        folder / "diagnostics.md": "".join(diagnostics_page()),
        folder / "pgtls.schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
    }
    if "--check" not in sys.argv:
        for path, text in pages.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"{path} is not what `make docs` writes", file=sys.stderr)
    return 1 if stale else 0


def spec_page() -> Iterator[str]:
    """Give the reference of the language: a section a kind of table."""
    yield _SPEC_HEAD
    for kind, model in KINDS.items():
        yield from _section(f"`[{kind}.NAME]`", model, kind)
    yield from _section("`[lint]`", LintTable, "lint")
    yield "\n# Values that are tables\n"
    for title, model in {
        "subject": Subject,
        "name_constraints": NameConstraints,
        "secrets": Secret,
        "waiver": Waiver,
        "map": MapEntry,
    }.items():
        yield from _section(f"`{title}`", model, title)


def _section(title: str, model: type[BaseModel], kind: str) -> Iterator[str]:
    yield f"\n## {title}\n\n{(model.__doc__ or '').strip()}\n\n| field | default | meaning |\n|---|---|---|\n"
    for name, field in model.model_fields.items():
        later = " *(not built yet)*" if (kind, field.alias or name) in UPCOMING else ""
        yield f"| `{field.alias or name}` | {_default(field)} | {_cell(field.description or '')}{later} |\n"


def _default(field: FieldInfo) -> str:
    default: Any = field.default
    if default is PydanticUndefined:
        return "**required**"
    if default is None:
        return ""
    if isinstance(default, timedelta):
        days = default.days
        return f'`"{days // 365}y"`' if days % 365 == 0 else f'`"{days}d"`'
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in default) + "]`"
    if isinstance(default, str):
        return f'`"{default}"`'
    return f"`{default}`" if isinstance(default, int) else ""


def diagnostics_page() -> Iterator[str]:
    """Give the reference of all codes, by family."""
    yield "# Diagnostics\n\n<!-- Written by docs/reference.py from the catalogue; edit that. -->\n\n`pgtls rule CODE` prints the same.\n"
    for number, title in enumerate(FAMILIES.values()):
        rules = [rule for rule in catalogue().values() if rule.code.startswith(f"PGT{number}")]
        if rules:
            yield f"\n## {title}\n"
        for rule in rules:
            standards = f"\n\n*Standards:* {', '.join(rule.standards)}" if rule.standards else ""
            yield f"\n### {rule.code}: {rule.title}\n\n*{rule.severity}.* {rule.meaning}\n\n*Why it matters:* {rule.why}\n\n*How to fix it:* {rule.fix}{standards}\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
