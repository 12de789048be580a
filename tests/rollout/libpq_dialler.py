"""Connect with the libpq that LD_LIBRARY_PATH names, several times at once.

Each line of stdin is a JSON list of connection strings. The answer is a line with a JSON list: for each string null, or
libpq's reason. The strings are not arguments: they contain passwords.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

AT_ONCE = 4

libpq = ctypes.CDLL("libpq.so.5")
libpq.PQconnectdb.restype = ctypes.c_void_p
libpq.PQerrorMessage.restype = ctypes.c_char_p


def connect(conninfo: str) -> str | None:
    """Connect once. Return the reason of a failure."""
    connection = ctypes.c_void_p(libpq.PQconnectdb(os.fsencode(conninfo)))
    failed = libpq.PQstatus(connection) != 0
    reason = os.fsdecode(libpq.PQerrorMessage(connection)) if failed else None
    libpq.PQfinish(connection)
    return reason


if __name__ == "__main__":
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(list(pool.map(connect, json.loads(line)))) + "\n")
            sys.stdout.flush()
