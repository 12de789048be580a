"""Single connections that the model judges: where libpq falls back to no TLS, and which chains OpenSSL accepts."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from pgtls.hba.model import Surroundings
from pgtls.pki.model import Entity
from pgtls.rollout.works import Dialling, Point, Serving, refusal
from pgtls.state.generations import Generation
from support.building import NOW

TLS, BOTH = "hostssl all all all trust\n", "host all all all trust\n"
CERTIFICATE = "hostssl all all all cert\n"


def server(hba: str, *, chain: str = "r1", trust: str = "p1", crl: str = "") -> dict[str, Any]:
    identity = {"hosts": ["db"], "chain": chain.split(), "trust": trust.split()}
    return {"port": 5432, "identities": [identity], "crl": crl.split(), "hba": hba, "ident": "", "postgres": 17}


def bundle(sslmode: str, *, chain: str = "p1", trust: str = "r1", methods: str = "trust") -> dict[str, Any]:
    entry = {"server": "db", "role": "app", "database": "shop", "replication": False, "certificate": bool(chain)}
    entry |= {"methods": methods.split(), "host": "db", "port": "5432", "sslmode": sslmode}
    names = {"name": "app", "subject": "CN=app", "crl": []}
    return {**names, "chain": chain.split(), "trust": trust.split(), "entries": [entry]}


def judged(client: dict[str, Any], serving: dict[str, Any], revoked: frozenset[tuple[str, str]] = frozenset()) -> str:
    """Return the kind of the cause, or nothing if the connection works."""
    mine = Generation(Entity("user.app"), (), NOW, client, (("people", "1"),))
    theirs = Generation(Entity("server.db"), (), NOW, serving)
    point = Point("shop", ip_address("198.51.100.77"))
    cause = refusal(Dialling(mine), client["entries"][0], Serving(theirs, revoked), point, Surroundings())
    return cause.kind if cause else ""


@pytest.mark.parametrize(
    ("client", "serving", "kind"),
    [
        pytest.param(bundle("prefer"), server(TLS), "", id="it trusts the server"),
        pytest.param(bundle("prefer", trust="r2"), server(TLS), "root", id="it has roots, and so it verifies"),
        pytest.param(bundle("prefer", trust="r2"), server(BOTH), "", id="it falls back to a connection without TLS"),
        pytest.param(bundle("prefer", trust=""), server(TLS), "", id="without roots it verifies nothing"),
        pytest.param(bundle("require", trust="r2"), server(TLS), "root", id="require with roots verifies"),
        pytest.param(bundle("allow", trust="r2"), server(TLS), "line", id="allow begins without TLS"),
        pytest.param(
            bundle("prefer", chain="p2"), server(BOTH), "client root", id="no fallback after an alert of the server"
        ),
        pytest.param(
            bundle("prefer", chain="", methods="cert"),
            server("hostssl all all all scram-sha-256\nhost all all all trust\n"),
            "method",
            id="no fallback without a password",
        ),
        pytest.param(
            bundle("prefer", chain="p1", methods="trust"),
            server("hostssl all other all cert\nhostnossl all all all trust\n"),
            "",
            id="a fallback after a line that is missing",
        ),
    ],
)
def test_libpq_falls_back_from_tls_only_where_it_can(
    client: dict[str, Any], serving: dict[str, Any], kind: str
) -> None:
    assert judged(client, serving) == kind


@pytest.mark.parametrize(
    ("chain", "trust", "crl", "kind"),
    [
        ("inner p2", "p2", "", ""),
        ("inner p2", "p1", "", "client root"),
        ("inner p2", "inner p1", "", ""),  # the server has the intermediate as it was below p1
        ("inner p2", "inner p1", "inner p1", ""),
        ("inner p2", "inner p1", "p1", "no client crl"),
        ("inner p2", "p2", "inner p1", "no client crl"),
    ],
)
def test_a_server_accepts_a_chain_from_the_first_ca_that_it_trusts(chain: str, trust: str, crl: str, kind: str) -> None:
    client, serving = bundle("verify-full", chain=chain, methods="cert"), server(CERTIFICATE, trust=trust, crl=crl)
    assert judged(client, serving) == kind
    assert not crl or judged(client, serving, frozenset({("people", "1")})) in ("client revoked", "client root")
