"""Functions and operators that a role creates in a database run for nobody who asks for pgtls.

Up to PostgreSQL 14 every role can create them in the schema public. A later server behaves alike for the owner of a
database, who also sets the search path of its sessions.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from live.verifying import faults, seen
from support.installer import install

if TYPE_CHECKING:
    from support.building import Place
    from support.servers import Server

SPEC = """
version = 1
[ca.root]
[server.db]
ca = "root"
client_ca = ["root"]
hosts = ["localhost"]
port = {port}
postgres = {postgres}
[user.postgres]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a throwaway server"
[user.monitor]
ca = "root"
[policy.monitor]
users = ["monitor"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
"""
BODY = """language plpgsql as $$
begin
    if (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
        execute 'alter role app superuser';
    end if;
    return {value};
end $$"""
FUNCTIONS = {
    "unnest(text[]) returns setof text": "query select pg_catalog.unnest($1)",
    "clock_timestamp() returns timestamptz": "pg_catalog.clock_timestamp()",
    "current_setting(text) returns text": "pg_catalog.current_setting($1)",
    "chr(int) returns text": "pg_catalog.chr($1)",
    "join_text(int, text) returns text": "pg_catalog.concat($1, $2)",
    "joined_text(text, text) returns text": "pg_catalog.concat($1, $2)",
    "later(timestamptz, timestamptz) returns bool": "true",
    "same(oid, oid) returns bool": "$1 operator(pg_catalog.=) $2",
}
OPERATORS = [
    ("||", "int", "text", "join_text"),
    ("||", "text", "text", "joined_text"),
    (">", "timestamptz", "timestamptz", "later"),
    ("=", "oid", "oid", "same"),
]


def plant(server: Server, database: str) -> None:
    """Let an ordinary role create functions and operators that look like PostgreSQL's, and come before them."""
    server.sql(f"alter database {database} set search_path = public, pg_catalog")
    server.sql("grant all on schema public to app", database=database)
    for function, value in FUNCTIONS.items():
        body = BODY.format(value=value)
        server.sql(f"set role app; create function public.{function} {body}; reset role", database=database)
    for operator, left, right, function in OPERATORS:
        words = f"(leftarg = {left}, rightarg = {right}, procedure = public.{function})"
        server.sql(f"set role app; create operator public.{operator} {words}; reset role", database=database)


def has_risen(server: Server) -> bool:
    return bool(server.sql("select 1 from pg_catalog.pg_roles where rolname = 'app' and rolsuper"))


def disarm(server: Server, database: str) -> None:
    """Show that a superuser who asks without care falls for each of them, and start again."""
    for query in (
        "select unnest(array['x'])",
        "select clock_timestamp()",
        "select 1 || ': '::text",
        "select current_setting('port') || chr(10)",
        "select now() > now()",
    ):
        server.sql(f"set search_path = public, pg_catalog; {query}", database=database)
        server.sql("set search_path = pg_catalog")
        assert has_risen(server), query
        server.sql("alter role app nosuperuser")


def test_verify_runs_none_of_them(server: Server, place: Place) -> None:
    place.build(SPEC.format(port=server.port, postgres=server.version), now=datetime.now(UTC))
    server.populate(["monitor", "app"], ["shop"])
    server.sql("alter role monitor superuser")
    server.install(place.file("servers/db"))
    plant(server, "shop")
    disarm(server, "shop")
    found = seen(place, server.port, host="localhost", user="monitor")
    assert faults(found) == []
    assert {check.outcome for check in found.checks if check.name in ("login", "settings", "roles")} == {"ok"}
    assert not has_risen(server)


def test_install_sh_runs_none_of_them(server: Server, place: Place) -> None:
    place.build(SPEC.format(port=server.port, postgres=server.version), now=datetime.now(UTC))
    server.populate(["app"], ["shop"])
    plant(server, "postgres")
    disarm(server, "postgres")
    assert "the server can read every line of" in install(place.file("servers/db"), server).done()
    assert not has_risen(server)
