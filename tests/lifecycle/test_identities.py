"""Further identities of a server (``[[server.NAME.sni]]``) through builds: bundles, rollovers, signers elsewhere."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.pipeline import check
from pgtls.pki import facts
from support.building import NOW, Place

if TYPE_CHECKING:
    from pgtls.pki.model import Certificate

SPEC = """
version = 1
[ca.root]
[ca.shops]
[ca.other]
[ca.staff]
[ca.buyers]
[server.main]
ca = "root"
client_ca = ["staff"]
hosts = ["db.example.com"]
postgres = 19
no_local = true
[[server.main.sni]]
ca = "{ca}"
client_ca = ["buyers"]
hosts = ["Shop.example.com", "shop2.example.com"]
{more}
[user.clerk]
ca = "staff"
[user.buyer]
ca = "buyers"
[user.old]
ca = "staff"
libpq = 13
[policy.all]
users = ["clerk", "buyer", "old"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
"""

ENTITY = "server.main/shop.example.com"
FILES = "servers/main/sni/shop.example.com"


def spec(ca: str = "shops", more: str = "") -> str:
    return SPEC.format(ca=ca, more=more)


def subjects(place: Place, path: str) -> list[str]:
    found = facts.read(place.file(path).read_bytes())
    assert isinstance(found, tuple)
    return [certificate.subject for certificate in found]


def leaf(place: Place) -> Certificate:
    found = facts.read(place.file(f"{FILES}/server.crt").read_bytes())
    assert isinstance(found, tuple)
    return found[0]


def hosts_dialled(place: Place, user: str) -> list[str]:
    listed = json.loads(place.file(f"clients/{user}/connections.json").read_text())["connections"]
    return [one["parameters"]["host"] for one in listed]


def test_a_bundle_dials_the_names_that_accept_it_and_trusts_their_cas_alone(place: Place) -> None:
    place.build(spec(), new_out=True)
    assert {user: hosts_dialled(place, user) for user in ("clerk", "buyer", "old")} == {
        "clerk": ["db.example.com"],
        "buyer": ["Shop.example.com"],
        "old": ["db.example.com"],
    }
    assert subjects(place, "clients/clerk/root.crt") == ["CN=root"]
    assert subjects(place, "clients/buyer/root.crt") == ["CN=shops"]
    assert subjects(place, "servers/main/root.crt") == ["CN=staff"]
    assert subjects(place, f"{FILES}/root.crt") == ["CN=buyers"]
    assert leaf(place).names == ("DNS:Shop.example.com", "DNS:shop2.example.com")
    assert place.build().plan.steps == ()


def test_a_move_of_an_identity_to_another_root_is_trusted_first(place: Place) -> None:
    place.build(spec(), new_out=True)
    with pytest.raises(Rejected) as rejected:
        place.build(spec("other"), now=NOW + timedelta(days=1))
    (found,) = [one for one in rejected.value.diagnostics if one.severity == "error"]
    assert (found.code, found.path[:3]) == ("PGT581", ("server", "main", "sni"))
    assert "server main and client buyer cannot connect until both are deployed: with the new server" in found.message
    assert "clerk" not in found.message
    assert "[[server.main.sni]]" in str(found.hint)

    place.build(spec(more='trust = ["other"]'), now=NOW + timedelta(days=1))
    assert sorted(subjects(place, "clients/buyer/root.crt")) == ["CN=other", "CN=shops"]
    assert subjects(place, "clients/clerk/root.crt") == ["CN=root"]
    planned = place.build(spec("other", 'trust = ["shops"]'), now=NOW + timedelta(days=2))
    assert planned.verdict.waves[0].entities == ("user.buyer",)
    assert leaf(place).issuer == "CN=other"


def test_an_identity_that_waits_for_its_signer_is_not_in_pg_hosts_conf_yet(place: Place) -> None:
    text = spec(more="external = true")
    planned = place.build(text, new_out=True)
    assert ("wait", ENTITY) in [(step.action, step.entity) for step in planned.plan.steps]
    assert place.file(f"{FILES}/server.csr").exists()
    lines = place.file("servers/main/pg_hosts.conf").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ['* "server.crt" "server.key" "root.crt"']
    assert "shop.example.com" not in place.file("servers/main/install.sh").read_text()


def test_the_renewal_of_one_identity_can_be_asked_for(place: Place) -> None:
    place.build(spec(), new_out=True)
    before = leaf(place)
    planned = place.build(now=NOW + timedelta(days=1), asked=Asked(renew=frozenset({ENTITY})))
    assert [(step.entity, step.action) for step in planned.plan.steps] == [(ENTITY, "renew")]
    assert leaf(place).serial != before.serial


def test_a_self_signed_identity_is_trusted_as_itself_and_renewed_in_two_steps(place: Place) -> None:
    place.build(spec("self-signed", 'validity = "30d"'), new_out=True)
    assert subjects(place, "clients/buyer/root.crt") == [leaf(place).subject]
    place.build(now=NOW + timedelta(days=22))
    assert place.file(f"{FILES}/next.crt").exists()
    assert len(subjects(place, "clients/buyer/root.crt")) == 2


def test_an_identity_of_defaults_is_left_out_where_the_version_has_none(place: Place) -> None:
    text = spec().replace("[[server.main.sni]]", "[[defaults.server.sni]]").replace("postgres = 19", "postgres = 18")
    text = text.replace('["clerk", "buyer", "old"]', '["clerk", "old"]')
    place.write(text)
    found = check(place.spec, NOW, place.lock)
    assert [one.code for one in found.diagnostics if one.severity == "error"] == []
    assert found.usable().servers["main"].sni == ()
