"""Policies to rules: order, identity maps, the proof that they mean the same, and whose bundle may connect where."""

from pgtls.callable import make_callable

make_callable(__name__)
