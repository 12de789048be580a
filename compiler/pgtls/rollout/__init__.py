"""Compute the order in which compiled files can be deployed."""
