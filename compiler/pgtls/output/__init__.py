"""The files of servers and clients, rendered."""
