"""Write the reference pages from the code.

docs/spec.md and docs/pgtls.schema.json come from the models, docs/diagnostics.md from the catalogue, docs/commands.md
from the commands, docs/api.md from the docstrings.

``python docs/reference.py`` writes them; with ``--check`` it exits 1 if one is not what it would write.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from dataclasses import fields, is_dataclass
from datetime import timedelta
from importlib import import_module
from inspect import cleandoc, isfunction, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic_core import PydanticUndefined
from typer.core import TyperOption

from pgtls.api import build, load
from pgtls.certificates.asked import Asked
from pgtls.cli import COMMANDS, EXIT_STATUS
from pgtls.cli.app import command
from pgtls.diagnostics.rules import FAMILIES, catalogue
from pgtls.language.models import KINDS, AccountBinding, Challenge, LintTable, MapEntry, Sign, SniTable, StateTable
from pgtls.language.schema import schema
from pgtls.language.values import NameConstraints, Secret, Subject, TokenKey, Waiver
from pgtls.postgres.drivers import DRIVERS, Demands, limits
from pgtls.postgres.libpq import REQUIRE_AUTH_SINCE
from pgtls.postgres.releases import OLDEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from pgtls.postgres.drivers import DriverName

_SPEC_HEAD = """# Tables and fields

The reference of the language; [the language in prose](language.md) is the way in.

<!-- Written by docs/reference.py from the models; edit those. -->

A spec is TOML 1.0. Unknown keys are errors, values are strict (`port = "5432"` is an error), control characters are errors in every string. Table names
match `[a-z0-9][a-z0-9._-]{0,62}`, since they become directories; a name with a dot is quoted: `[user."a.b"]`.

| at the top | |
|---|---|
| `version` | `1` |
| `include` | patterns of further files, relative to this one; in the top file only. They hold `ca`, `server`, `pooler`, `user`, `policy`, `group` and `network` tables; a table that is defined twice, and a pattern that matches nothing, are errors |
| `[defaults.ca]`, `[defaults.server]`, `[defaults.user]`, `[defaults.policy]` | any field of the tables of that kind; a table's own field replaces it whole |

**Durations** are `"12h"`, `"90d"`, `"52w"`, `"10y"`; a year is 365 days. **Instants** are TOML dates (00:00 UTC), or dates and times with an offset.
**Secrets** are `{ env = "NAME" }`, `{ file = "PATH" }` or `{ command = ["sops", "-d", "x"] }`; a literal one is an error. Paths are relative to the file that names them.
A name that is itself a keyword of a list is written `{ name = "all" }`.
"""  # noqa: E501

_COMMANDS_HEAD = r"""# Commands

<!-- Written by docs/reference.py from the commands; edit those. -->

`pgtls COMMAND --help` prints the same. `SPEC` is `pgtls.toml` in the current directory by default. Paths in options and variables are relative to the
current directory, those in a spec to the file that names them.

Results go to stdout, all else to stderr; diagnostics are the result of `check`, and go to stderr elsewhere. With `--format json` exactly one object is printed, on failure too; `text` is for people and may change.

Text fits the terminal, and no name or address is cut. In a pipe it has no width, unless `COLUMNS` says one. `plan` and `build` put more than three steps that are alike in one row; `--verbose` lists each, and the files that it writes.

`plan` and `build` print the warnings about a spec in full until it is built. As long as spec and lock stay as they are at the last build, they print how many there are; `pgtls check` and `--format json` show all of them, every time.
A build that left something waiting (a signature, a key) counts as not finished: the warnings stay in full.

## Environment variables

| variable | replaces |
|---|---|
| `PGTLS_SPEC` | `SPEC` |
| `PGTLS_OUT` | `--out` |
| `PGTLS_LOCK` | `--lock` |
| `PGTLS_NOW` | `--now`: the instant that counts as now, RFC 3339 or a date; it is announced on stderr |
| `NO_COLOR` | if set, nothing is coloured; neither is what does not go to a terminal |

An empty variable counts as unset. A spec may read [secrets](guides/keys.md) from further variables, whose names are yours.

## Completion

Commands, options, their values, files, the names in your spec and the codes of diagnostics, in bash 4.4 or later, zsh and fish. One line for each, in the file that the shell reads at its start:

| shell | file | line |
|---|---|---|
| bash | `~/.bashrc` | `eval "$(_PGTLS_COMPLETE=bash_source pgtls)"` |
| zsh | `~/.zshrc`, after `compinit` | `eval "$(_PGTLS_COMPLETE=zsh_source pgtls)"` |
| fish | `~/.config/fish/completions/pgtls.fish` | `_PGTLS_COMPLETE=fish_source pgtls \| source` |

`pgtls build --renew <TAB>` offers the entities of `pgtls.toml`, of `$PGTLS_SPEC`, or of the spec that precedes it on the line.
"""  # noqa: E501

_DRIVERS_HEAD = """# Drivers

<!-- Written by docs/reference.py from the table of drivers; edit that. -->

libpq decides for psql, and for every driver built on it, what is verified and which servers are refused. Other drivers read its parameters in their own way, or have none. Name the drivers of a user, and its bundle has a program for each,
in `README.md` and in `connections.json`; `check` reports what they cannot be told ([PGT456](diagnostics.md#pgt456-a-driver-that-does-not-insist-on-scram) to PGT459, PGT461). `README.md` says it, too, and what the forms `jdbc`, `go` and `node` of `connections.json` do not demand: `go` is for pgx and lib/pq alike, so it has what lib/pq knows, and `node` has no place for CRLs. Both are `null` without `directory`, and `node` for an address that `verify-full` compares: not every release would verify the server of the spec.

The tests run these programs, and the forms `go` and `node`, against real servers, by name, IPv4 and IPv6, with `require`, `verify-ca` and `verify-full`, certificate and password; and against impostors: another CA, another name (also `localhost`, where the host is an address), an expired certificate, no TLS,
and a valid certificate whose server asks for the password in the clear, for MD5, or for nothing. None connects to the first four (another name counts from `verify-full` on), whatever the driver. The others are refused as the table says, and so is a server whose certificate is revoked:

- **insists**: refuses a server that asks for less than SCRAM. Otherwise a server with a valid certificate gets the password.
- **binds**: what `channel_binding = "require"` does. `ignored`: nothing. `fails`: the driver connects to no server.
- **demands**: refuses a server that asks for no client certificate.
- **skips names**: verifies the issuer without the name for `require` and `verify-ca`, as libpq does.
- **CRLs**: with `crl = true`, refuses a server whose certificate is revoked. Otherwise [PGT461](diagnostics.md#pgt461-a-client-that-checks-no-crl) says so.
- **renewal**: when an open pool uses a renewed certificate.
- **oldest**: the oldest release that the tests run. An older one may demand less: pgjdbc ignores parameters that it does not know, such as `requireAuth` before 42.7.11.

"""  # noqa: E501
_COLUMNS = ("insists", "binds", "demands", "skips names", "CRLs", "renewal", "oldest")
_DRIVERS_SPEC_HEAD = "## A spec with all of them\n\nThe programs below are those of this bundle.\n"
_DRIVERS_SPEC = """version = 1

[ca.root]
[ca.clients]

[server.primary]
ca        = "root"
client_ca = ["clients"]
hosts     = ["db.example.com"]
no_local  = true

[user.app]
ca        = "clients"
libpq     = 16
directory = "/etc/app/tls"
drivers   = [
NAMES
]

[policy.app]
users     = ["app"]
databases = ["shop"]
from      = ["10.0.0.0/8"]
auth      = "cert"
""".replace("NAMES", "\n".join(f'  "{name}",' for name in DRIVERS))


def main() -> int:
    """Write or check the pages."""
    folder = Path(__file__).parent
    pages = {
        folder / "spec.md": "".join(spec_page()),
        folder / "diagnostics.md": "".join(diagnostics_page()),
        folder / "api.md": "".join(api_page()),
        folder / "commands.md": "".join(commands_page()),
        folder / "drivers.md": "".join(drivers_page()),
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
    """Yield the reference of the language: a section a kind of table."""
    yield _SPEC_HEAD
    for kind, model in KINDS.items():
        yield from _section(f"`[{kind}.NAME]`", model, kind)
    yield from _section("`[lint]`", LintTable, "lint")
    yield from _section("`[state]`", StateTable, "state")
    yield "\n# Values that are tables\n"
    for title, model in {
        "[[server.NAME.sni]]": SniTable,
        "subject": Subject,
        "name_constraints": NameConstraints,
        "key": TokenKey,
        "sign": Sign,
        "challenge": Challenge,
        "account_binding": AccountBinding,
        "secrets": Secret,
        "waiver": Waiver,
        "map": MapEntry,
    }.items():
        yield from _section(f"`{title}`", model, title)


def _section(title: str, model: type[BaseModel], kind: str) -> Iterator[str]:
    yield f"\n## {title}\n\n{(model.__doc__ or '').strip()}\n\n| field | default | meaning |\n|---|---|---|\n"
    for name, field in model.model_fields.items():
        yield f"| `{field.alias or name}` | {_default(field)} | {_cell(field.description or '')} |\n"


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
    """Yield the reference of all codes, by family."""
    yield (
        "# Diagnostics\n\n<!-- Written by docs/reference.py from the catalogue; edit that. -->\n\n"
        "`pgtls rule CODE` prints the same.\n"
    )
    for family, title in FAMILIES.items():
        codes = sorted(rule.code for rule in import_module(f"pgtls.diagnostics.rules.{family}").RULES)
        rules = [catalogue()[code] for code in codes]
        if rules:
            yield f"\n## {title}\n"
        for rule in rules:
            standards = f"\n\n*Standards:* {', '.join(rule.standards)}" if rule.standards else ""
            yield (
                f"\n### {rule.code}: {rule.title}\n\n*{rule.severity}.* {rule.meaning}\n\n"
                f"*Why it matters:* {rule.why}\n\n*How to fix it:* {rule.fix}{standards}\n"
            )


def drivers_page() -> Iterator[str]:
    """Yield what each driver can be told, and a program for each, from the bundle of a spec with all of them."""
    yield _DRIVERS_HEAD
    yield "| driver | " + " | ".join(_COLUMNS) + " |\n|---|---|---|---|---|---|---|---|\n"
    yield f"| psql, and all on libpq | yes (libpq {REQUIRE_AUTH_SINCE}) | enforced | yes (libpq {REQUIRE_AUTH_SINCE}) "
    yield f"| yes | yes | at the next connection | libpq {OLDEST} |\n"
    for driver in DRIVERS.values():
        since = f" (libpq {REQUIRE_AUTH_SINCE})" if driver.on_libpq else ""
        cells = (
            f"yes{since}" if driver.insists else "no",
            driver.binding,
            f"yes{since}" if driver.demands else "no",
            "yes" if driver.skips_names else "no",
            "yes" if driver.lists else "no",
            driver.notices,
            driver.oldest or "as libpq",
        )
        yield f"| {driver.title} | {' | '.join(cells)} |\n"
    yield f'\n{_DRIVERS_SPEC_HEAD}\n```toml title="pgtls.toml"\n{_DRIVERS_SPEC}```\n'
    for name, program in _programs().items():
        driver = DRIVERS[name]
        yield f"\n## {driver.title}\n\n<!-- tested by: tests/drivers/test_matrix.py -->\n"
        yield f"```{driver.language.lower()}\n{program}```\n"
        told = limits(driver, 16, Demands(password=False, certificate=True, bound=False, lists=False))
        yield "".join(f"\n- {limit}" for limit in told) + "\n" * bool(told)


def _programs() -> dict[DriverName, str]:
    """Build the spec, and return the program for each driver."""
    with tempfile.TemporaryDirectory() as directory:
        spec = Path(directory, "pgtls.toml")
        spec.write_text(_DRIVERS_SPEC, encoding="utf-8")
        build(load(spec))
        bundle = json.loads(Path(directory, "out/clients/app/connections.json").read_text(encoding="utf-8"))
    programs: dict[DriverName, str] = bundle["connections"][0]["snippets"]
    return programs


def commands_page() -> Iterator[str]:
    """Yield the reference of all commands: a section each, from the same source as ``--help``."""
    yield _COMMANDS_HEAD
    yield "\n## Exit statuses\n\nThe same for every command. An error wins over 2.\n\n| status | meaning |\n|---|---|\n"
    for status, meaning in EXIT_STATUS.items():
        yield f"| {status} | {meaning} |\n"
    for name in COMMANDS:
        yield from _command(name)


def _command(name: str) -> Iterator[str]:
    found = command(name)
    context = typer.Context(found, info_name=f"pgtls {name}")
    usage = " ".join([context.command_path, *found.collect_usage_pieces(context)])
    paragraphs = [_paragraph(text) for text in cleandoc(found.help or "").split("\n\n")]
    yield f"\n## pgtls {name}\n\n```text\n{usage}\n```\n\n" + "\n\n".join(paragraphs) + "\n"
    options = [param for param in found.params if isinstance(param, TyperOption)]
    if options:
        yield "\n| option | meaning |\n|---|---|\n"
    for option in options:
        words, meaning = option.get_help_record(context) or ("", "")
        yield f"| `{_cell(words)}` | {_cell(re.sub(' +', ' ', meaning))} |\n"
    examples = "\n\n".join(f"# {meaning}\n{line}" for line, meaning in found.examples.items())
    yield f"\n```text\n{examples}\n```\n"


_API_HEAD = """# The Python API

<!-- Written by docs/reference.py from the docstrings of compiler/pgtls/api.py; edit those. -->

`import pgtls` loads nothing until a name is used. All of it has types (`py.typed`).

```python
import pgtls

spec = pgtls.load("pgtls.toml")
result = pgtls.check(spec)
for diagnostic in result.diagnostics:
    print(diagnostic.code, diagnostic.message, diagnostic.place)
if result and pgtls.diff(pgtls.load("pgtls.toml", revision="HEAD"), spec).exceeds("weakened"):
    print("this weakens something")
```
"""
_FUNCTIONS = ("load", "loads", "check", "access", "explain", "diff", "plan", "build", "status")


def api_page() -> Iterator[str]:
    """Return the reference of the Python API, made of its docstrings."""
    import pgtls
    from pgtls import api

    yield _API_HEAD
    yield "\n" + _prose((api.__doc__ or "").partition("\n\n")[2]) + "\n\n## Functions\n"
    for name in _FUNCTIONS:
        function = getattr(api, name)
        yield f"\n### {name}\n\n```python\n{name}{_signature(function)}\n```\n\n{_prose(function.__doc__)}\n"
    yield "\n## Values\n"
    for name in sorted(set(pgtls.__all__) - {"__version__", *_FUNCTIONS}):
        value = getattr(pgtls, name)
        yield f"\n### {name}\n\n{_prose(value.__doc__)}\n"
        if is_dataclass(value):
            yield f"\nFields: {', '.join(f'`{field.name}`' for field in fields(value) if field.name[0] != '_')}.\n"
        properties = [(key, one) for key, one in vars(value).items() if isinstance(one, property) and key[0] != "_"]
        methods = [(key, one) for key, one in vars(value).items() if isfunction(one) and key[0] != "_" and one.__doc__]
        for key, one in (*properties, *methods):
            yield f"\n- `{key}`: {_prose(one.__doc__)}\n"


def _signature(function: Callable[..., Any]) -> str:
    """Write a signature with the names of types alone, one parameter a line."""
    found = signature(function)
    parts = []
    for name, one in found.parameters.items():
        if one.kind is one.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        default = (
            "" if one.default is one.empty else " = ..." if isinstance(one.default, Asked) else f" = {one.default!r}"
        )
        parts.append(f"{name}: {one.annotation}{default}")
    return f"({', '.join(parts)}) -> {found.return_annotation}"


def _prose(text: str | None) -> str:
    """Write a docstring as Markdown: roles as code, examples as blocks."""
    clean = re.sub(r":\w+:`~?([^`]+)`", lambda match: f"`{match[1].removeprefix('pgtls.')}`", cleandoc(text or ""))
    paragraphs = clean.replace("``", "`").split("\n\n")
    return "\n\n".join(f"```pycon\n{one}\n```" if one.startswith(">>>") else one for one in paragraphs)


def _paragraph(text: str) -> str:
    """Return a paragraph of help; one that must not be wrapped becomes a block."""
    return f"```text\n{text.removeprefix(_UNWRAPPED)}\n```" if text.startswith(_UNWRAPPED) else text


_UNWRAPPED = "\b\n"
"""typer's mark for lines that stay as they are."""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
