"""From files to a spec that was checked, compiled, and compared with what it comes from."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from pgtls.diagnostics import Diagnostic, Place, Rejected, errors
from pgtls.hba.secrets import blotted
from pgtls.importer.compare import Files, differences
from pgtls.importer.conf import read_conf
from pgtls.importer.entries import client_cert
from pgtls.importer.foreign import line_place, read_foreign, read_text
from pgtls.importer.server import Given, server_tables
from pgtls.importer.write import access_tables, secret_options, without_strangers
from pgtls.pipeline import check

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from pgtls.hba.model import Line
    from pgtls.pipeline import Checked

_REASON = "imported: was so before"


@dataclass(frozen=True, slots=True)
class Sources:
    """The files to import, by their paths."""

    hba: str
    ident: str | None = None
    conf: str | None = None


@dataclass(frozen=True, slots=True)
class Adopted:
    """A spec, and all that a person has to know about it. ``equal``: it compiles to files of the same meaning; None: it does not compile."""

    text: str
    diagnostics: tuple[Diagnostic, ...]
    equal: bool | None


def adopt(sources: Sources, given: Given, server: str, now: datetime) -> Adopted:
    """Make a spec of an existing server's files. Rejected where they cannot be read or the server itself refuses them."""
    foreign = read_foreign(sources.hba, sources.ident, given.postgres)
    files = Files(foreign.lines, foreign.idents)
    conf, faults = read_conf(sources.conf) if sources.conf else ({}, ())
    if faults:
        raise Rejected(*faults)
    found: list[Diagnostic] = []
    users, policies, origin = access_tables(files, lambda code, line, why: found.append(_left_out(code, line, why)))
    table, authorities, notes = server_tables(given, conf, asks_certificates=_asks(files.lines))
    tables = {"version": 1, "ca": authorities, "server": {server: table}, "user": users, "policy": policies}
    tables = {name: value for name, value in tables.items() if value}
    checked, settled = _settled(tables, origin, given, now)
    found += [*notes, *_unknown(files, policies), *settled]
    rules = None if errors(checked.diagnostics) else checked.rules.get(server)
    if rules is None:
        return Adopted(tomli_w.dumps(tables), (*found, *checked.diagnostics, _NOTHING), None)
    different = _compared(files, Files(rules.hba.lines, rules.ident.lines))
    return Adopted(tomli_w.dumps(tables), (*found, *checked.diagnostics, *different), not different)


# --- what is said -------------------------------------------------------------------------------------------------------------------


def _place(file: str | None, number: int | None) -> Place | None:
    return line_place({file: blotted(read_text(file))}, file, number) if file else None


def _about(code: str, line: Line, message: str, hint: str | None, *, error: bool = False) -> Diagnostic:
    place = _place(line.file, line.number)
    return Diagnostic(code, message, hint=hint, severity="error" if error else "warning", place=place, file=line.file)


def _left_out(code: str, line: Line, why: str) -> Diagnostic:
    if code == "PGT298":
        return _about(code, line, f"the line never decides, and is left out: {why}", "it can be deleted")
    return _about(code, line, f"the line is left out: {why}", "write a policy for what it is meant to do")


def _asks(lines: Iterable[Line]) -> bool:
    return any(client_cert(line) != "none" and line.method != "reject" for line in lines)


def _unknown(files: Files, policies: dict[str, Any]) -> Iterable[Diagnostic]:
    """Say what the files of a server do not tell."""
    if any(policy.get("sslmode") == "require" for policy in policies.values()):
        message = 'hostssl lines became sslmode "require": whether clients verify the server is not in its files'
        yield Diagnostic("PGT299", message, hint='sslmode = "verify-full" where they do', severity="warning")
    for name, line in secret_options(files).items():
        message = f'the value of "{name}" is a secret, which a spec does not hold'
        yield _about(
            "PGT299", line, message, f"put it into the environment as PGTLS_{name.upper()}, or name another source"
        )
    if _asks(files.lines):
        message = "users with a certificate are external: their keys and certificates are not on the server"
        hint = "name each certificate in cert_file; without one, a build makes a key and a request to be signed"
        yield Diagnostic("PGT299", message, hint=hint, severity="warning")


# --- checking ----------------------------------------------------------------------------------------------------------------------


def _settled(
    tables: dict[str, Any], origin: dict[str, Line], given: Given, now: datetime
) -> tuple[Checked, list[Diagnostic]]:
    """Check the spec until nothing stops a build that can be left out or waived; all of that is said."""
    said: list[Diagnostic] = []
    waived: dict[str | None, set[str]] = {}
    while True:
        _say_no_local(tables)
        checked = _checked(tables, given, now)
        faults = errors(checked.diagnostics)
        lenient = dict.fromkeys((_policy(fault), fault.code) for fault in faults if fault.code.startswith("PGT3"))
        new = [(name, code) for name, code in lenient if code not in waived.get(name, ())]
        wrong = {fault.path[:2]: fault for fault in faults if not fault.code.startswith("PGT3")}
        left_out = [d for path, fault in wrong.items() for d in _without(tables, origin, path, fault.message)]
        said += left_out
        waived = {name: codes for name, codes in waived.items() if name is None or name in tables.get("policy", {})}
        for name, code in new:
            if name is not None and name not in tables["policy"]:
                continue
            codes = waived.setdefault(name, set())
            codes.add(code)
            owner = tables["policy"][name] if name is not None else tables.setdefault("lint", {})
            owner["waiver"] = {"reason": _REASON, "codes": sorted(codes)}
        if not new and not left_out:
            return checked, [*said, *itertools.starmap(_waived, waived.items())]


def _say_no_local(tables: dict[str, Any]) -> None:
    if not any(p["from"] == ["local"] and p["auth"] != "reject" for p in tables.get("policy", {}).values()):
        for server in tables["server"].values():
            server["no_local"] = True


def _policy(fault: Diagnostic) -> str | None:
    return str(fault.path[1]) if fault.path[:1] == ("policy",) else None


def _without(
    tables: dict[str, Any], origin: dict[str, Line], path: tuple[str | int, ...], why: str
) -> Iterator[Diagnostic]:
    """Take out a policy or a user that the language refuses, and what is nothing without it."""
    kind, name = (str(part) for part in (*path, "", "")[:2])
    if kind not in ("policy", "user") or name not in tables.get(kind, {}):
        return
    policies = tables["policy"]
    if kind == "policy":
        yield _left_out("PGT296", origin[name], why)
        del policies[name]
    else:
        named = [policy for policy, table in policies.items() if name in table["users"]]
        yield _about("PGT296", origin[named[0]], f'user "{name}" is left out: {why}', "see what it is meant to do")
        for policy in named:
            policies[policy]["users"].remove(name)
            if not policies[policy]["users"]:
                del policies[policy]
    tables["user"] = without_strangers(tables.get("user", {}), policies)


def _waived(policy: str | None, codes: set[str]) -> Diagnostic:
    return Diagnostic(
        "PGT299",
        f"{', '.join(sorted(codes))} {'is' if len(codes) == 1 else 'are'} waived in "
        + (f'policy "{policy}"' if policy else "[lint]")
        + f': "{_REASON}"',
        hint="fix what can be fixed; " + ", ".join(f"`pgtls rule {code}`" for code in sorted(codes)) + " says how",
        severity="warning",
    )


def _checked(tables: dict[str, Any], given: Given, now: datetime) -> Checked:
    """Check a spec where it will lie, since it names files beside itself."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=given.directory, prefix=".pgtls-import-", suffix=".toml"
    ) as file:
        file.write(tomli_w.dumps(tables))
        file.flush()
        checked = check(Path(file.name), now, f"{file.name}.lock")
    return replace(checked, diagnostics=tuple(_moved(d, given.output) for d in checked.diagnostics))


def _moved(diagnostic: Diagnostic, file: str) -> Diagnostic:
    """Say the name under which the spec is written."""
    place = replace(diagnostic.place, file=file) if diagnostic.place else None
    return replace(diagnostic, place=place, file=file if diagnostic.file else None)


def _compared(files: Files, compiled: Files) -> tuple[Diagnostic, ...]:
    return tuple(
        _about("PGT297", difference.line, str(difference), _HINT, error=True)
        if difference.line
        else Diagnostic("PGT297", str(difference), hint=_HINT)
        for difference in differences(files, compiled)
    )


_HINT = "change the policies until they say what is meant"
_NOTHING = Diagnostic("PGT297", "the spec does not compile as it is: nothing was compared", hint="mend the errors")
