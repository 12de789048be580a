"""Connect with the libpq that LD_LIBRARY_PATH names, once for each line: ``{"conninfo", "environment"}``.

Usage: ``libpq.py MAJOR``. It imports ctypes and json: loading a driver takes longer than everything here.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

TUPLES_OK = 2
"""PGRES_TUPLES_OK of libpq-fe.h."""

libpq = ctypes.CDLL("libpq.so.5")
libpq.PQconnectdb.restype = libpq.PQexec.restype = ctypes.c_void_p
libpq.PQerrorMessage.restype = libpq.PQgetvalue.restype = ctypes.c_char_p


def answer(conninfo: str) -> dict[str, str]:
    connection = ctypes.c_void_p(libpq.PQconnectdb(os.fsencode(conninfo)))
    try:
        if libpq.PQstatus(connection) != 0:
            return {"failed": os.fsdecode(libpq.PQerrorMessage(connection))}
        result = ctypes.c_void_p(libpq.PQexec(connection, b"select current_user"))
        if libpq.PQresultStatus(result) != TUPLES_OK:
            return {"failed": os.fsdecode(libpq.PQerrorMessage(connection))}
        return {"printed": os.fsdecode(libpq.PQgetvalue(result, 0, 0))}
    finally:
        libpq.PQfinish(connection)


if libpq.PQlibVersion() // 10000 != int(sys.argv[1]):
    sys.exit(f"this is libpq {libpq.PQlibVersion()}, not {sys.argv[1]}")
for line in sys.stdin:
    case = json.loads(line)
    os.environ.pop("PGPASSWORD", None)
    os.environ.update(case["environment"])
    print(json.dumps(answer(case["conninfo"])), flush=True)
