"""The six sslmodes: what the server enforces, what the client's bundle sets and enforces, and what each lets pass."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.clients import PSQL, Bundle, admitted, at, refused
from support.scenario import KNOWN, compiled_scenario, enact

if TYPE_CHECKING:
    from support.servers import Server

NAME = "12-sslmode"
MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def test_the_server_enforces_tls_from_require_on(server: Server) -> None:
    out = enact(NAME, server, ("app",), MODES)
    for mode in MODES:
        own = Bundle(out / "clients" / "app").parameters(mode) | at(server)
        assert admitted(PSQL.connect(own, environment=KNOWN)) == f"app@{mode}"
        cleartext = PSQL.connect(own | {"sslmode": "disable"}, environment=KNOWN)
        if mode in ("disable", "allow", "prefer"):
            assert admitted(cleartext) == f"app@{mode}"
        else:
            refused(cleartext, "pg_hba.conf")
        assert admitted(PSQL.connect(own | {"sslmode": "verify-full"}, environment=KNOWN)) == f"app@{mode}"


def test_a_bundle_says_the_mode_of_its_policy(server: Server) -> None:
    out = compiled_scenario(NAME, server)
    connections = json.loads((out / "clients" / "app" / "connections.json").read_text())["connections"]
    assert {c["database"]: c["parameters"]["sslmode"] for c in connections} == {mode: mode for mode in MODES}


def test_the_client_alone_tells_a_stranger_from_the_server(server: Server) -> None:
    out = enact(NAME, server, ("app",), MODES)
    other = Bundle(compiled_scenario(NAME, server, "a stranger") / "clients" / "app").files["sslrootcert"]
    own = Bundle(out / "clients" / "app").parameters("require") | at(server)
    unknown = own | {"sslrootcert": other}
    for mode in ("verify-ca", "verify-full"):
        assert admitted(PSQL.connect(own | {"sslmode": mode}, environment=KNOWN)) == "app@require"
        refused(PSQL.connect(unknown | {"sslmode": mode}, environment=KNOWN), "certificate verify failed")
    # require asks for nothing but TLS, unless a root lies there: then it is verify-ca.
    nothing = own | {"sslmode": "require", "sslrootcert": "/nonexistent/root.crt"}
    assert admitted(PSQL.connect(nothing, environment=KNOWN)) == "app@require"
    refused(PSQL.connect(unknown | {"sslmode": "require"}, environment=KNOWN), "certificate verify failed")


def test_the_name_is_looked_at_by_verify_full_alone(server: Server) -> None:
    out = enact(NAME, server, ("app",), MODES)
    own = Bundle(out / "clients" / "app").parameters("require") | at(server)
    elsewhere = own | {"host": "other.example.com"}
    assert admitted(PSQL.connect(own | {"sslmode": "verify-full"}, environment=KNOWN)) == "app@require"
    assert admitted(PSQL.connect(elsewhere | {"sslmode": "verify-ca"}, environment=KNOWN)) == "app@require"
    refused(PSQL.connect(elsewhere | {"sslmode": "verify-full"}, environment=KNOWN), "does not match host name")
