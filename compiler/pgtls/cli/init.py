"""``pgtls init``."""

from __future__ import annotations

import os
import shlex
from fnmatch import fnmatch
from importlib.resources import files
from typing import Annotated

import typer

from pgtls.cli import DOCUMENTATION, FAILED, OK
from pgtls.cli.options import expanded
from pgtls.cli.printing import say, show
from pgtls.state.files import make_directories, public

_LOCK = "pgtls.lock"
# What is built holds secrets and is never committed; the lock is, and git can merge it line by line.
_IGNORED, _MERGED = b"/out/", (b"*.lock merge=union", b"*.deployed merge=union")


EXAMPLES = {
    "pgtls init": "Write them into the current directory.",
    "pgtls init db": "Write them into db/, which is made if it does not exist.",
}


@expanded
def command(directory: Annotated[str, typer.Argument(metavar="DIR", help="Where to write them.")] = ".") -> int:
    """Write an annotated pgtls.toml that builds as it is, .gitignore and .gitattributes."""
    spec, ignore, attributes = (
        os.path.join(directory, name) for name in ("pgtls.toml", ".gitignore", ".gitattributes")
    )
    if os.path.lexists(spec):
        say(f"error: {spec} exists already\n  = hint: pgtls init never overwrites a spec; name another directory")
        return FAILED
    make_directories(directory)
    wrote = [spec]
    if _IGNORED not in (known := _read(ignore)).splitlines():
        wrote.append(_append(ignore, known, _IGNORED))
    if (other := _merged_otherwise(known := _read(attributes))) is not None:
        say(f'{attributes} says "{other}" and is left as it is: {_LOCK} is best merged with merge=union')
    elif missing := [line for line in _MERGED if line not in known.splitlines()]:
        wrote.append(_append(attributes, known, b"\n".join(missing)))
    # Last: where it lies, all is done.
    with open(spec, "x", encoding="utf-8", opener=public) as file:
        file.write(files("pgtls.templates").joinpath("start", "pgtls.toml").read_text(encoding="utf-8"))
    done = f"wrote {', '.join(wrote)}"
    there = f"cd {shlex.quote(os.path.join(directory, ''))} && " if directory != "." else ""
    show(f"{done}\nnext: {there}pgtls plan, then pgtls build\ndocumentation: {DOCUMENTATION}", done)
    return OK


def _read(path: str) -> bytes:
    if not os.path.exists(path):
        return b""
    with open(path, "rb") as file:
        return file.read()


def _append(path: str, known: bytes, line: bytes) -> str:
    """Write a file of one line, or add the line to what is there; give the path."""
    with open(path, "ab", opener=public) as file:
        file.write((b"" if not known or known.endswith(b"\n") else b"\n") + line + b"\n")
    return path


def _merged_otherwise(attributes: bytes) -> str | None:
    """Return the last line of .gitattributes that merges the lock, unless it merges by union (gitattributes(5))."""
    found = None
    for line in attributes.decode(errors="replace").splitlines():
        pattern, *said = line.split() or [""]
        about_merging = [word for word in said if word.lstrip("-!").partition("=")[0] in ("merge", "binary")]
        if about_merging and fnmatch(_LOCK, pattern.removeprefix("/")):
            found = None if about_merging[-1] == "merge=union" else line.strip()
    return found
