"""Render the files of servers and clients."""
