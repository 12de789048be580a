"""Connect once with the libpq that LD_LIBRARY_PATH names, and print as psql -At does.

Usage: ``libpq_client.py MAJOR QUERY CONNINFO``.

It imports ctypes and nothing else: loading a driver takes longer than everything here.
"""

from __future__ import annotations

import ctypes
import os
import sys

FAILED = (5, 6, 7)
"""PGRES_BAD_RESPONSE, PGRES_NONFATAL_ERROR and PGRES_FATAL_ERROR of libpq-fe.h."""


def main(major: str, query: str, conninfo: str) -> str | None:
    """Return the reason of a failure."""
    libpq = ctypes.CDLL("libpq.so.5")
    if libpq.PQlibVersion() // 10000 != int(major):
        return f"this is libpq {libpq.PQlibVersion()}, not {major}"
    libpq.PQconnectdb.restype = libpq.PQexec.restype = ctypes.c_void_p
    libpq.PQerrorMessage.restype = libpq.PQgetvalue.restype = ctypes.c_char_p
    connection = ctypes.c_void_p(libpq.PQconnectdb(os.fsencode(conninfo)))
    if libpq.PQstatus(connection) != 0:
        return os.fsdecode(libpq.PQerrorMessage(connection))
    result = ctypes.c_void_p(libpq.PQexec(connection, os.fsencode(query)))
    if libpq.PQresultStatus(result) in FAILED:
        return os.fsdecode(libpq.PQerrorMessage(connection))
    for row in range(libpq.PQntuples(result)):
        values = [libpq.PQgetvalue(result, row, column) for column in range(libpq.PQnfields(result))]
        sys.stdout.buffer.write(b"|".join(values) + b"\n")
    libpq.PQfinish(connection)
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
