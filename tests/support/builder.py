"""The program, with its writes to a store announced: what :func:`support.killing.command` runs to kill a builder."""

from __future__ import annotations

import sys

from pgtls.cli import run
from support.stores import announce

if __name__ == "__main__":
    announce()
    sys.exit(run())
