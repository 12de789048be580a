"""``python -m pgtls``."""

from pgtls.cli import main

main()
