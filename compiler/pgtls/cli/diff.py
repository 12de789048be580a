"""``pgtls diff``."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pgtls.cli import CHANGES, FAILED, OK
from pgtls.cli.options import FORMAT, Now, clock, expanded
from pgtls.cli.printing import reporting
from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.diagnostics.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from pgtls.access.diff import Change
    from pgtls.certificates.spec_change import CertificateChange
    from pgtls.pipeline import Checked

_WIDENS = {
    "weakened": ("weakened",),
    "granted": ("granted", "weakened"),
    "any": ("granted", "weakened", "strengthened", "lost"),
}
"""What each value of ``--fail-on`` does not let pass."""
_SIGNS = {"granted": "+", "weakened": "!", "strengthened": "^", "lost": "-"}
_SHOWN = 8


EXAMPLES = {
    "pgtls diff git:HEAD pgtls.toml": "Show what your edits change.",
    "pgtls diff git:origin/main git:HEAD --fail-on weakened": "Let a pull request fail that weakens access.",
}


@expanded
def command(
    old: Annotated[str, typer.Argument(metavar="OLD", help="The spec before: a path, git:REV or git:REV:PATH.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The spec after, likewise.")],
    now: Now = None,
    format_: Annotated[Literal["text", "json", "markdown"], FORMAT] = "text",
    detailed_exitcode: Annotated[bool, typer.Option("--detailed-exitcode", help="Exit 2 if there is a difference.")] = (
        False
    ),
    fail_on: Annotated[
        Literal["weakened", "granted", "any"] | None,
        typer.Option(help="Exit 1 if access is weakened; granted or weakened; or changed at all."),
    ] = None,
) -> int:
    """Show what changes for people between two specs: access granted, lost, weakened, strengthened; certificates.

    OLD and NEW are paths, or git:REV for the spec at a revision (the path is the other one's, or pgtls.toml), or git:REV:PATH.
    """
    from pgtls.access.diff import Side, diff
    from pgtls.certificates.spec_change import certificates

    moment = clock(now)
    with reporting("diff", format_) as report, ExitStack() as stack:
        before, after = (_checked(_file(side, other, stack), moment) for side, other in ((old, new), (new, old)))
        assert before.fleet is not None  # noqa: S101
        assert after.fleet is not None  # noqa: S101
        changes = diff(Side(before.fleet, before.rules), Side(after.fleet, after.rules))
        issued = certificates(before.fleet, after.fleet)
        report.result = lambda: {
            "changes": [asdict(change) for change in changes],
            "certificates": [asdict(change) for change in issued],
            "summary": _summary(changes),
        }
        report.text = lambda: _markdown(changes, issued) if format_ == "markdown" else "\n".join(_text(changes, issued))
        failed = fail_on is not None and any(change.kind in _WIDENS[fail_on] for change in changes)
        report.status = FAILED if failed else CHANGES if detailed_exitcode and (changes or issued) else OK
    return report.status


def _checked(spec: Path, moment: datetime) -> Checked:
    from pgtls.pipeline import check

    checked = check(spec, moment, spec.with_suffix(".lock") if spec.suffix == ".toml" else f"{spec}.lock")
    if checked.fleet is None or any(d.severity == "error" for d in checked.diagnostics):
        raise Rejected(*checked.diagnostics)
    return checked


# --- the spec at a revision ------------------------------------------------------------------------------------------------------


def _file(side: str, other: str, stack: ExitStack) -> Path:
    """Give the path of a side; the files of a revision are laid out in a directory of their own, includes and all."""
    if not side.startswith("git:"):
        return Path(side)
    revision, _, path = side.removeprefix("git:").partition(":")
    wanted = Path(path or ("pgtls.toml" if other.startswith("git:") else other))
    if revision.startswith("-"):
        raise Rejected(_no_revision(revision, wanted, "a revision does not begin with a dash"))
    # The directory of the file may be gone since.
    folder = next(folder for folder in (wanted.parent, *wanted.parent.parents) if folder.is_dir())
    top = os.fsdecode(_git(folder, revision, wanted, "rev-parse", "--show-toplevel")).rstrip("\n")
    words = ("rev-parse", "--quiet", "--verify", "--end-of-options", f"{revision}^{{tree}}")
    tree = _git(Path(top), revision, wanted, *words).decode().strip()
    archive = _git(Path(top), revision, wanted, "archive", "--format=tar", tree)
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgtls-")))
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(directory, filter="data")
    found = directory / wanted.resolve().relative_to(Path(top).resolve())
    if not found.is_file():
        raise Rejected(_no_revision(revision, wanted, "that revision has no such file"))
    return found


def _git(folder: Path, revision: str, wanted: Path, *words: str) -> bytes:
    command, environment = ("git", "-C", str(folder), *words), {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(command, check=True, capture_output=True, env=environment).stdout  # noqa: S603
    except FileNotFoundError:
        raise Rejected(_no_revision(revision, wanted, "git is not installed")) from None
    except subprocess.CalledProcessError as error:
        raise Rejected(_no_revision(revision, wanted, *_fault(error.stderr.decode(errors="replace")))) from None


def _fault(said: str) -> tuple[str, str]:
    """Take from what git says the fault, which is not its last line, and the command that it advises. Of a revision it says nothing."""
    lines = [visible(line.strip()) for line in said.splitlines() if line.strip()]
    fatal = next(
        (line.removeprefix("fatal: ") for line in lines if line.startswith("fatal: ")), "git knows no such revision"
    )
    advice = next((line for line in lines if line.startswith("git ")), "")
    return fatal, advice


def _no_revision(revision: str, wanted: Path, reason: str, advice: str = "") -> Diagnostic:
    message = f'there is no "{wanted}" at revision "{revision}": {reason}'
    return Diagnostic(
        "PGT292", message, hint=advice or "name a revision and a path that git knows: git:REV or git:REV:PATH"
    )


# --- formats ---------------------------------------------------------------------------------------------------------------------


def _summary(changes: Sequence[Change]) -> dict[str, int]:
    kinds = [change.kind for change in changes]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def _text(changes: Sequence[Change], issued: Sequence[CertificateChange]) -> Iterator[str]:
    if not changes and not issued:
        yield "no difference in access, nor in certificates"
    for change in changes:
        yield f"{_SIGNS[change.kind]} {change.kind}: {_who(change)}"
        yield f"    before   {change.before}"
        yield f"    after    {change.after}"
        yield f"    policy   {', '.join(change.policies)}"
        yield f"    example  {change.example}"
    for certificate in issued:
        fields = f" ({', '.join(certificate.fields)})" if certificate.fields else ""
        yield f"* {certificate.entity}: {certificate.action}{fields}"


def _who(change: Change) -> str:
    return f"{_some(change.roles)} to {_some(change.databases)} on {change.server}, from {_some(change.sources)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _markdown(changes: Sequence[Change], issued: Sequence[CertificateChange]) -> str:
    if not changes and not issued:
        return "**pgtls diff**: no difference in access, nor in certificates."
    sums = ", ".join(f"{count} {kind}" for kind, count in _summary(changes).items()) or "no change of access"
    lines = [f"**pgtls diff**: {sums}.", ""]
    if changes:
        lines += [
            "| | who | database | server | from | before | after | policy | example |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
    for c in changes:
        cells = (
            _some(c.roles),
            _some(c.databases),
            c.server,
            _some(c.sources),
            c.before,
            c.after,
            ", ".join(c.policies),
            c.example,
        )
        lines.append(f"| **{c.kind}** | " + " | ".join(map(_escaped, cells)) + " |")
    if issued:
        lines += ["", "| certificate of | |", "|---|---|"]
        lines += [f"| {_escaped(c.entity)} | {c.action} {_escaped(', '.join(c.fields))} |" for c in issued]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    for character in "\\`*_[]<|@":
        text = text.replace(character, f"\\{character}")
    return text
