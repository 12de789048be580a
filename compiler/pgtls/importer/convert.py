"""From files to a spec that was checked, compiled, compared with its origin, and planned."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tomli_w

from pgtls.api import Spec, check, plan
from pgtls.diagnostics import Diagnostic, Rejected, errors
from pgtls.importer.comments import comments
from pgtls.importer.compare import Files, differences
from pgtls.importer.findings import Findings
from pgtls.importer.foreign import read_foreign
from pgtls.importer.server import asks_certificates, server_tables
from pgtls.importer.settings import Conf, read_settings, unreadable
from pgtls.importer.settle import Settled, settle
from pgtls.importer.write import Access, access_tables
from pgtls.language.files import Disk
from pgtls.postgres.methods import takes_map

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pgtls.hba.model import Line
    from pgtls.importer.comments import Key
    from pgtls.importer.foreign import Foreign
    from pgtls.importer.server import Given

_NO_SECRET = "PGT560"  # noqa: S105  (the code of a diagnostic)
_SHOWN = 10
"""Places in a message."""
_PGT297_HINT = "change the policies until they say what is meant"


@dataclass(frozen=True, slots=True)
class Sources:
    """The files to import, by their paths."""

    hba: str | None
    """None: the one that ``conf`` names."""
    ident: str | None = None
    conf: str | None = None


@dataclass(frozen=True, slots=True)
class Adopted:
    """A spec, and all that its user must know about it, errors first.

    ``equal``: it compiles to files of the same meaning; None: it does not compile. ``planned``: a plan of a first build
    finds no error. ``variables`` are the environment variables that must hold secrets before a build.
    """

    text: str
    diagnostics: tuple[Diagnostic, ...]
    equal: bool | None
    planned: bool = False
    variables: tuple[str, ...] = ()


def adopt(sources: Sources, given: Given, server: str, now: datetime) -> Adopted:
    """Make a spec of an existing server's files.

    Raises Rejected where they cannot be read or the server refuses them.
    """
    conf, hba = _located(sources, given)
    ident = sources.ident or conf.file("ident_file")
    foreign = read_foreign(hba, ident, given.postgres)
    findings = Findings(foreign.texts)
    _require_maps(foreign, findings, ident, hba)
    files = Files(foreign.lines, foreign.idents)
    commented = comments((*files.lines, *files.idents), foreign.texts, given.postgres)
    access = access_tables(files, given.postgres, findings.left_out, commented)
    table, authorities = server_tables(given, conf, files.lines, findings)
    tables = {
        "version": 1,
        "ca": authorities,
        "server": {server: table},
        "user": access.users,
        "policy": access.policies,
    }
    tables = {name: value for name, value in tables.items() if value}
    draft = _Draft(tables, given, now)
    _say_unknown(access, files, findings)
    settled = settle(tables, access.origin, findings, lambda: check(draft.spec), draft.plan, given.directory)
    _say_lost_comments(commented, access.policies, findings)
    return _judged(draft, settled, files, findings, access, server)


def _judged(draft: _Draft, settled: Settled, files: Files, findings: Findings, access: Access, server: str) -> Adopted:
    """Compare, and bring what was found into one order: errors, then warnings."""
    rules = draft.spec.usable().rules.get(server) if settled.checked else None
    if rules is None:
        findings.found.append(_NOTHING)
        equal = None
    else:
        equal = not _report_differences(files, Files(rules.hba.lines, rules.ident.lines), findings)
    found = (*findings.found, *settled.checked.diagnostics, *settled.faults)
    ordered = sorted(dict.fromkeys(found), key=lambda one: one.severity != "error")
    planned = equal is not None and not settled.faults
    variables = (
        *access.secrets,
        *(table["passphrase"]["env"] for table in draft.tables["server"].values() if "passphrase" in table),
    )
    return Adopted(draft.text, tuple(ordered), equal, planned, variables)


_NOTHING = Diagnostic(
    "PGT297", "the spec does not compile as it is: nothing was compared", hint="fix the other errors, then check"
)


# --- before ---


def _located(sources: Sources, given: Given) -> tuple[Conf, str]:
    """Read the settings, and find pg_hba.conf. Raises OSError, and Rejected with all files that are missing."""
    named = {"--hba": sources.hba, "--ident": sources.ident, "--conf": sources.conf, **given.files}
    missing = [
        Diagnostic("PGT295", f'there is no file "{file}"', hint=f"name the file of {option} with its path here")
        for option, file in named.items()
        if file and not os.path.exists(file)
    ]
    conf = Conf(given.postgres)
    if sources.conf and os.path.exists(sources.conf):
        conf = read_settings(sources.conf, given.postgres)
        missing += unreadable(conf, given.files)
    hba = sources.hba or conf.file("hba_file")
    if hba is None and conf.directory is not None:
        message = f'"{conf.shown("hba_file")}", the hba_file of "{sources.conf}", cannot be read on this machine'
        missing.append(Diagnostic("PGT295", message, hint="name a copy of it with --hba"))
    if hba is None or missing:
        raise Rejected(*missing)
    return conf, hba


def _require_maps(foreign: Foreign, findings: Findings, ident: str | None, hba: str) -> None:
    """Refuse lines that name a map where no file has maps, and report those whose map the file lacks."""
    known = {line.map for line in foreign.idents}
    lacking: dict[str, Line] = {}
    for line in foreign.lines:
        name = line.map
        if name and takes_map(line.method) and name not in known:
            lacking.setdefault(name, line)
    if lacking and ident is None:
        beside = os.path.join(os.path.dirname(hba), "pg_ident.conf")
        name = beside if os.path.isfile(beside) else "FILE"
        for map_name, line in lacking.items():
            message = f'the line names map "{map_name}", and no pg_ident.conf was given: it would admit nobody'
            findings.about("PGT280", line, message, f"name the file with --ident {name}", "error")
        raise Rejected(*errors(findings.found))
    for map_name, line in lacking.items():
        message = (
            f'the line names map "{map_name}", and no line of "{ident}" has that map: the server lets nobody in by it'
        )
        findings.about("PGT281", line, message, "name the right pg_ident.conf with --ident, or delete the line")


def _say_unknown(access: Access, files: Files, findings: Findings) -> None:
    """Report what the files of a server do not tell."""
    if any(policy.get("sslmode") == "require" for policy in access.policies.values()):
        findings.note(
            'hostssl lines became sslmode "require": the server\'s files do not say whether clients verify the server',
            'set sslmode = "verify-full" where they do',
        )
    for variable, line in access.secrets.items():
        message = f"the line holds a secret, which a spec must not: the spec reads it from {variable}"
        findings.about("PGT299", line, message, f"set {variable} before a build, or name another source in the spec")
    if asks_certificates(files.lines):
        findings.note(
            "users have no certificate in the spec: theirs are not on the server, and policies accept them by name",
            'to have one in its bundle and watched, add ca = "clients" and cert_file = "FILE" to the user',
        )


# --- after ---


def _say_lost_comments(commented: Mapping[Key, str], policies: Mapping[str, Any], findings: Findings) -> None:
    """Report the comments that no policy has in its description."""
    kept = [policy["description"] for policy in policies.values()]
    lost = [key for key, text in commented.items() if not any(text in description for description in kept)]
    if lost:
        many = f"{len(lost)} comments" if len(lost) > 1 else "1 comment"
        where = ", ".join(f"{os.path.basename(file or '')}:{number}" for file, number in lost[:_SHOWN])
        more = ", …" if len(lost) > _SHOWN else ""
        findings.note(
            f"the spec does not have {many} of lines ({where}{more})", "copy those that you need into the spec"
        )


def _report_differences(files: Files, compiled: Files, findings: Findings) -> bool:
    found = differences(files, compiled)
    for difference in found:
        if difference.line:
            findings.about("PGT297", difference.line, str(difference), _PGT297_HINT, "error")
        else:
            findings.found.append(Diagnostic("PGT297", str(difference), hint=_PGT297_HINT))
    return bool(found)


class _Written(Disk):
    """The disk, with a spec that is not written yet."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__()
        self._contents[os.path.normpath(path)] = text.encode()


@dataclass(slots=True)
class _Draft:
    """The tables under the name that the spec will have.

    Nothing is written: neither the spec, nor an out directory, nor a lock.
    """

    tables: dict[str, Any]
    given: Given
    now: datetime

    @property
    def text(self) -> str:
        """Return the spec."""
        return _ARRAY.sub(_on_one_line, tomli_w.dumps(self.tables))

    @property
    def spec(self) -> Spec:
        """Open it, as if it were written."""
        output = self.given.output
        return Spec(output, self.now, _Written(output, self.text), f"{output}.lock")

    def plan(self) -> tuple[Diagnostic, ...]:
        """Plan a first build, and return what stops it, except that nobody has set the variables of secrets yet."""
        try:
            plan(self.spec, out=f"{self.given.output}.out")
        except Rejected as rejected:
            return tuple(fault for fault in errors(rejected.diagnostics) if fault.code != _NO_SECRET)
        return ()


_ARRAY = re.compile(r"= \[\n((?: {4}[^\n]+,\n)+)\]\n")
"""An array as tomli-w writes it, with an item on each line."""
_SHORT = 90


def _on_one_line(array: re.Match[str]) -> str:
    """Write an array on one line if it is short: a spec is read, and most arrays of an import have one item."""
    line = f"= [{', '.join(item.strip().removesuffix(',') for item in array[1].splitlines())}]\n"
    return line if len(line) <= _SHORT else array[0]
