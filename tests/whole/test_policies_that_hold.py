"""What policies promise where hand-written files fail, on real servers.

Grants that add up, effective trust, no downgrade, and the difference that a change makes.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest

from pgtls.access.proof import prove
from support.pgtls import pgtls
from whole.enacting import Enacted, admitted, refused

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server


def spec(server: Server, policies: str, cas: str = "[ca.people]\n", *, crl: bool = True) -> str:
    """Write a spec with this server and these policies."""
    return (
        f'version = 1\n[ca.servers]\n{cas}[server.db]\nca = "servers"\nclient_ca = ["people"]\nhosts = ["localhost"]\n'
        f"postgres = {server.version}\nno_local = true\ncrl = {str(crl).lower()}\n{policies}"
    )


# --- grants by certificate add up -------------------------------------------------------------------------------------

SHARED = """
[user.alice]
ca = "people"
roles = ["shared"]
[user.bob]
ca = "people"
roles = ["shared"]
[policy.office]
users = ["alice"]
databases = ["shop"]
from = ["127.1.0.0/16", "127.5.0.0/16"]
auth = "cert"
[policy.lab]
users = ["bob"]
databases = ["shop"]
from = ["127.5.0.0/16", "127.9.0.0/16"]
auth = "cert"
"""


@pytest.mark.parametrize(
    ("title", "lab"),
    [
        ("neither network lies within the other", '"127.5.0.0/16", "127.9.0.0/16"'),
        ("one network lies within the other", '"127.5.0.0/16", "127.9.0.0/16", "127.0.0.0/8"'),
    ],
)
def test_two_users_of_one_role_are_admitted_where_each_is_granted_and_nowhere_else(
    server: Server, title: str, lab: str
) -> None:
    there = Enacted(server, ("shared",))
    there.enact(spec(server, SHARED.replace('"127.5.0.0/16", "127.9.0.0/16"', lab)))
    wide = "/8" in lab
    grants = {"127.1.2.3": {"alice", "bob"} if wide else {"alice"}, "127.5.2.3": {"alice", "bob"}, "127.9.2.3": {"bob"}}
    grants["127.200.2.3"] = {"bob"} if wide else set()
    for address, granted in grants.items():
        for name in ("alice", "bob"):
            answer = there.knock("shared", holder=(name, "people"), address=address)
            assert (answer.kind == "ok") == (name in granted), f"{title}: {name} from {address}: {answer}"
        assert there.knock("shared", address=address).kind == "error"
        assert there.knock("shared", address=address, transport="plain").kind == "error"


# --- who decides for a connection, decides alone ----------------------------------------------------------------------

TAKEN = """
[user.alice]
ca = "people"
[user.bob]
ca = "people"
[user.carol]
ca = "people"
[policy.team]
users = ["+team"]
databases = ["shop", "books"]
from = ["127.0.0.0/8"]
auth = "cert"
priority = 2
[policy.books]
users = ["alice"]
databases = ["books"]
from = ["127.0.0.0/8"]
auth = "scram-sha-256"
priority = 1
[policy.people]
users = ["alice", "bob"]
databases = ["shop", "books"]
from = ["127.0.0.0/8"]
auth = "cert"
"""
"""The spec does not say who is in the team. For alice and ``books``, ``books`` decides over ``people``."""


def test_a_member_that_the_spec_does_not_know_keeps_no_grant_that_another_policy_takes_away(server: Server) -> None:
    there = Enacted(server, ("team", "alice", "bob"))
    there.enact(spec(server, TAKEN))
    compiled = [(server.data / name).read_text() for name in ("pg_hba.conf", "pg_ident.conf")]
    of_one_map = [text.replace("+team:2", "+team") for text in compiled]
    assert of_one_map != compiled

    def entered() -> set[tuple[str, str]]:
        tried = product(("alice", "bob"), ("shop", "books"))
        return {
            (name, database)
            for name, database in tried
            if there.knock(name, holder=(name, "people"), database=database).kind == "ok"
        }

    everywhere = {("alice", "shop"), ("bob", "shop"), ("bob", "books")}
    passwords = ("alice", "books")
    assert entered() == {*everywhere, passwords}
    server.sql("grant team to alice, bob")
    try:
        assert entered() == everywhere
        there.load(*of_one_map)
        assert entered() == {*everywhere, passwords}
    finally:
        server.sql("revoke team from alice, bob")


# --- effective trust --------------------------------------------------------------------------------------------------

SIBLINGS = '[ca.company]\n[ca.people]\nissuer = "company"\n[ca.machines]\nissuer = "company"\n'
OWN_ROOT = '[ca.company]\n[ca.people]\n[ca.machines]\nissuer = "company"\n'
USERS = '[user.app]\nca = "people"\n[user.robot]\nca = "machines"\n'
APP = '[policy.app]\nusers = ["app"]\ndatabases = ["shop"]\nfrom = ["127.0.0.1"]\nauth = "cert"\n'
EVERYBODY = APP.replace('["app"]', '["all"]')
ROBOT = ("robot", "machines")


def test_a_client_of_a_sibling_ca_gets_in_where_the_check_is_disabled(server: Server) -> None:
    there = Enacted(server, ("app", "robot"))
    there.enact(spec(server, USERS + APP, SIBLINGS, crl=False))  # the trust of the spec that is refused
    found = there.check(spec(server, USERS + EVERYBODY, SIBLINGS, crl=False))
    assert [d.code for d in found.diagnostics if d.severity == "error"] == ["PGT255"]

    admitted(there.knock("app", holder=("app", "people")))
    refused(there.knock("robot", holder=ROBOT), "no pg_hba.conf entry")
    there.load(found.rules["db"].hba_text, found.rules["db"].ident_text)  # as if nobody had checked
    admitted(there.knock("robot", holder=ROBOT))
    refused(there.knock("app", holder=ROBOT), "certificate authentication failed")


def test_with_a_root_of_its_own_clients_of_another_ca_stay_out(server: Server) -> None:
    there = Enacted(server, ("app", "robot"))
    there.enact(spec(server, USERS + EVERYBODY, OWN_ROOT, crl=False))
    admitted(there.knock("app", holder=("app", "people")))
    mark = server.mark()
    assert there.knock("robot", holder=ROBOT).kind == "error"
    server.wait_for_log("could not accept SSL connection", mark)


def test_a_server_with_lists_of_revoked_certificates_has_none_of_the_sibling(server: Server) -> None:
    """OpenSSL wants a CRL of every CA in the chain, and a sibling's is missing. The check does not rely on it."""
    there = Enacted(server, ("app", "robot"))
    there.enact(spec(server, USERS + APP, SIBLINGS))
    found = there.check(spec(server, USERS + EVERYBODY, SIBLINGS))
    assert "PGT255" in [d.code for d in found.diagnostics]
    there.load(found.rules["db"].hba_text, found.rules["db"].ident_text)
    admitted(there.knock("app", holder=("app", "people")))
    mark = server.mark()
    assert there.knock("robot", holder=ROBOT).kind == "error"
    assert "certificate verify failed" in server.wait_for_log("could not accept SSL connection", mark)


# --- no downgrade -----------------------------------------------------------------------------------------------------

BY_HAND = "hostssl all app all cert\nhost all all all scram-sha-256\n"
DOWNGRADE = """
[user.app]
ca = "people"
[user.guest]
[policy.app]
users = ["app"]
from = ["all"]
auth = "cert"
[policy.everybody]
users = ["all"]
from = ["all"]
sslmode = "prefer"
auth = "scram-sha-256"
waiver = "as the file was"
"""


def test_what_a_certificate_is_asked_of_does_not_get_in_with_a_password_in_cleartext(server: Server) -> None:
    there = Enacted(server, ("app", "guest"))
    there.enact(spec(server, DOWNGRADE))
    compiled = (server.data / "pg_hba.conf").read_text()
    for hba, downgrades in ((BY_HAND, True), (compiled, False)):
        there.load(hba)
        admitted(there.knock("app", holder=("app", "people")))
        refused(there.knock("app"), "connection requires a valid client certificate")
        admitted(there.knock("guest", transport="plain"))
        answer = there.knock("app", transport="plain")
        if downgrades:
            admitted(answer)
        else:
            refused(answer, "pg_hba.conf rejects connection")


def test_the_proof_fails_without_the_lines_that_refuse_cleartext(server: Server) -> None:
    there = Enacted(server, ("app", "guest"))
    checked = there.check(spec(server, DOWNGRADE))
    rules = checked.rules["db"]
    assert checked.fleet is not None
    assert prove(checked.fleet, rules) == ()
    without = "".join(line for line in rules.hba_text.splitlines(keepends=True) if not line.endswith(" reject\n"))
    assert without != rules.hba_text
    differences = prove(checked.fleet, replace(rules, hba_text=without))
    assert {(d.role, d.transport, d.policies) for d in differences} == {
        ("app", "plain", "refused"),
        ("app", "gss", "refused"),
    }

    there.enact(spec(server, DOWNGRADE))
    there.load(without)
    admitted(there.knock("app", transport="plain"))  # what the proof says is so


# --- the difference that a change makes -------------------------------------------------------------------------------

NARROW = (
    '[user.app]\nca = "people"\n[policy.app]\nusers = ["app"]\ndatabases = ["shop"]\nfrom = ["127.1.0.0/16"]\n'
    'auth = "cert"\n'
)
WIDE = NARROW.replace('"127.1.0.0/16"', '"127.1.0.0/16", "127.2.0.0/16"')
HELD, NEW = "127.1.0.1", "127.2.0.0"


def _difference(old: Path, new: Path) -> tuple[str, list[str], str]:
    (change,) = pgtls("diff", old, new, "--format", "json").json["changes"]
    return change["kind"], change["sources"], change["example"]


def test_what_a_difference_says_is_granted_or_lost_is_so_on_the_server(server: Server, tmp_path: Path) -> None:
    texts = spec(server, NARROW), spec(server, WIDE)
    narrow, wide = tmp_path / "narrow.toml", tmp_path / "wide.toml"
    narrow.write_text(texts[0])
    wide.write_text(texts[1])
    example = f'role "app", database "shop", from {NEW}'
    assert _difference(narrow, wide) == ("granted", ["127.2.0.0/16"], example)
    assert _difference(wide, narrow) == ("lost", ["127.2.0.0/16"], example)

    there = Enacted(server, ("app",))
    for text, is_in in ((texts[0], False), (texts[1], True), (texts[0], False)):
        there.enact(text)
        admitted(there.knock("app", holder=("app", "people"), address=HELD))
        answer = there.knock("app", holder=("app", "people"), address="127.2.0.1")
        if is_in:
            admitted(answer)
        else:
            refused(answer, "no pg_hba.conf entry")
        refused(there.knock("app", holder=("app", "people"), address="127.3.0.1"), "no pg_hba.conf entry")
