"""Policies to rules: order, identity maps, the proof that they mean the same, and whose bundle may connect where."""
