"""One attempt with psycopg on the libpq that LD_LIBRARY_PATH names: ``psycopg_client.py MAJOR QUERY CONNINFO``. It prints as psql -At does."""

from __future__ import annotations

import sys

import psycopg


def main(major: str, query: str, conninfo: str) -> str | None:
    """Give the reason of a failure."""
    if psycopg.pq.version() // 10000 != int(major):
        return f"this is libpq {psycopg.pq.version()}, not {major}"
    try:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for row in connection.execute(query.encode()):
                print(
                    "|".join("" if value is None else {True: "t", False: "f"}.get(value, str(value)) for value in row)
                )
    except psycopg.Error as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
