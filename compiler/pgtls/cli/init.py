"""``pgtls init``."""

from __future__ import annotations

import os
from importlib.resources import files

import click

from pgtls.cli import FAILED, OK
from pgtls.cli.printing import say

# What is built holds secrets and is never committed; the lock is, and git can merge it line by line.
_GIT = {".gitignore": "/out/", ".gitattributes": "*.lock merge=union"}


@click.command()
@click.argument("directory", metavar="[DIR]", default=".")
def command(directory: str) -> int:
    """Write an annotated pgtls.toml that builds as it is, .gitignore and .gitattributes."""
    spec = os.path.join(directory, "pgtls.toml")
    if os.path.lexists(spec):
        say(f"error: {spec} exists already\n  = hint: pgtls init never overwrites a spec; name another directory")
        return FAILED
    os.makedirs(directory, exist_ok=True)
    with open(spec, "x", encoding="utf-8") as file:
        file.write(files("pgtls.templates").joinpath("start", "pgtls.toml").read_text(encoding="utf-8"))
    for name, line in _GIT.items():
        _add_line(os.path.join(directory, name), line)
    prefix = "" if directory == "." else f"cd {directory} && "
    print(f"wrote {spec}, .gitignore and .gitattributes\nnext: {prefix}pgtls plan, then pgtls build")
    return OK


def _add_line(path: str, line: str) -> None:
    """Write a file of one line, or append the line to a file that lacks it."""
    text = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            text = file.read()
    if line not in text.splitlines():
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n")
