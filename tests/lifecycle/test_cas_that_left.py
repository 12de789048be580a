"""CAs whose table left the spec: their certificates lead to the roots that servers still trust."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected, errors
from pgtls.pki import crl, facts
from pgtls.pki.model import Entity, RevocationList
from pgtls.state import lock as locks
from support.authority import Authority, named
from support.building import Place
from support.clients import PSQL, Bundle, admitted, at, refused
from support.pgtls import pgtls

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

SPEC = """
version = 1
[ca.servers]
{cas}
[server.db]
ca = "servers"
client_ca = ["second"]
hosts = ["localhost"]
no_local = true
crl = false
[user.app]
ca = "second"
{users}
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
waiver = {{ reason = "the company certifies carefully", codes = ["PGT330"] }}
"""
OLD = '[user.old]\nca = "first"\ncommon_name = "batch"\nroles = ["batch"]\n'
NEW = '[user.new]\nca = "second"\ncommon_name = "batch"\nroles = ["batch"]\n'


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class Company:
    """A root with two CAs, which sign here, each below a CA that only its file has."""

    def __init__(self, place: Place) -> None:
        self.place, self.root = place, Authority.root("Company")
        self.between = [self.root.below(f"Between {number}") for number in (1, 2)]
        self.issuing = [one.below("Issuing") for one in self.between]
        for name, one in zip(("first", "second"), self.issuing, strict=True):
            (place.directory / f"{name}.key").write_bytes(one.key_pem)
        self.write("first", self.issuing[0], self.between[0], self.root)
        self.write("second", self.issuing[1], self.between[1], self.root)

    def write(self, name: str, *chain: Authority) -> None:
        (self.place.directory / f"{name}.crt").write_bytes(b"".join(one.pem for one in chain))


def brought(*names: str) -> str:
    return "".join(f'[ca.{name}]\ncert_file = "{name}.crt"\nkey_file = "{name}.key"\ncrl = false\n' for name in names)


def complaints(place: Place, text: str) -> list[str]:
    with pytest.raises(Rejected) as rejected:
        place.build(text, now=datetime.now(UTC))
    return [one.code for one in errors(rejected.value.diagnostics)]


def roots(place: Place, entity: str) -> list[list[str]]:
    lines = map(json.loads, place.lock.read_text().splitlines())
    return [line.get("roots", []) for line in lines if line.get("entity") == entity]


def test_a_ca_whose_root_came_in_a_file_still_leads_there(place: Place) -> None:
    company, now = Company(place), datetime.now(UTC)
    both = brought("first", "second")
    place.build(SPEC.format(cas=both, users=OLD), now=now)
    place.build(SPEC.format(cas=both, users=""), now=now)
    assert "PGT254" in complaints(place, SPEC.format(cas=both, users=NEW))
    without = SPEC.format(cas=brought("second"), users="")
    place.build(without, now=now)
    assert complaints(place, SPEC.format(cas=brought("second"), users=NEW)) == ["PGT254"]
    # The negative control: another root.
    other = Authority.root("Other")
    issuing = other.below("Issuing of others")
    company.write("third", issuing, other)
    (place.directory / "third.key").write_bytes(issuing.key_pem)
    changed = SPEC.format(cas=brought("third"), users=NEW).replace('"second"', '"third"')
    assert complaints(place, changed) == ["PGT581"]  # it needs --accept-outage, and nothing else


def test_the_lock_records_each_root_of_a_file_and_keeps_it(place: Place) -> None:
    company, now = Company(place), datetime.now(UTC)
    text = SPEC.format(cas=brought("first", "second"), users=OLD)
    place.build(text, now=now)
    ((first,),) = roots(place, "ca.first")
    assert [[first]] == roots(place, "ca.second")
    assert roots(place, "ca.servers") == [[]]
    # Another root certifies the CA above it as well: from then on, it leads to both.
    again = Authority.root("Again")
    crossed = Authority(
        again.sign(company.between[0].certificate.subject, company.between[0].key.public_key(), ca=True),
        company.between[0].key,
    )
    company.write("first", company.issuing[0], crossed, again)
    place.build(text, now=now)
    both = roots(place, "ca.first")
    assert [first] in both
    assert len({root for line in both for root in line}) == 2
    whole = place.lock.read_text()
    place.build(text + "# again\n", now=now)
    assert place.lock.read_text() == whole
    place.lock.write_text(
        "".join(line for line in whole.splitlines(keepends=True) if first not in line or '"ca.first"' not in line)
    )
    assert place.lock.read_text() != whole
    assert complaints(place, text) == ["PGT543"]


PARTNER = """
version = 1
[ca.root]
[ca.clients]
issuer = "root"
{sub}[server.db]
ca = "root"
client_ca = ["clients"]
hosts = ["localhost"]
postgres = {postgres}
no_local = true
crl = {crl}
[user.app]
ca = "clients"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.1", "::1"]
auth = "cert"
{waiver}
"""
SUB = '[ca.sub]\nissuer = "root"\ncert_file = "sub.crt"\ncrl = false\n'
WAIVER = 'waiver = { reason = "the partner promised", codes = ["PGT330"] }\n'
USUAL = {"sub": SUB, "crl": "false", "waiver": WAIVER, "postgres": "17"}


def partner(place: Place) -> Authority:
    """Build, let the partner's CA be certified, and build with its table."""
    now = datetime.now(UTC)
    place.build(PARTNER.format(**USUAL | {"sub": ""}), now=now)
    sub = Authority.of(place.file("ca/root")).below("Partner")
    (place.directory / "sub.crt").write_bytes(sub.pem)
    assert complaints(place, PARTNER.format(**USUAL | {"waiver": ""})) == ["PGT330"]
    place.build(PARTNER.format(**USUAL), now=now)
    return sub


def test_a_partners_ca_is_not_forgotten_with_its_table(place: Place) -> None:
    partner(place)
    left, now = USUAL | {"sub": ""}, datetime.now(UTC)
    assert complaints(place, PARTNER.format(**left | {"waiver": ""})) == ["PGT330"]
    planned = place.build(PARTNER.format(**left), now=now)
    (step,) = (step for step in planned.plan.steps if step.entity == "ca.sub")
    assert step.reason == "it left the spec; its certificate is kept in ca/.retired"
    assert "anyone certified under: sub" in pgtls("access", place.spec).stdout
    assert complaints(place, PARTNER.format(**left | {"waiver": ""})) == ["PGT330"]
    with pytest.raises(Rejected) as rejected:
        place.build(now=now)
    (found,) = errors(rejected.value.diagnostics)
    assert 'under ca "sub", which has no table any more and whose key is not here' in found.message
    assert "crl = true on [server.db]" in str(found.hint)
    place.build(PARTNER.format(**left | {"waiver": "", "crl": "true"}), now=now)


@pytest.mark.parametrize("made", ["brought", "here"])
def test_a_partners_ca_is_not_forgotten_when_another_takes_its_name(place: Place, made: str) -> None:
    partner(place)
    own, now = '[ca.sub]\nissuer = "root"\n', datetime.now(UTC)
    if made == "brought":
        ours = Authority.of(place.file("ca/root")).below("Own")
        (place.directory / "own.crt").write_bytes(ours.pem)
        (place.directory / "own.key").write_bytes(ours.key_pem)
        own += 'cert_file = "own.crt"\nkey_file = "own.key"\n'
    again, asked = USUAL | {"sub": own}, Asked(new_ca=frozenset(["sub"] if made == "here" else []))
    for _ in range(2):
        with pytest.raises(Rejected) as rejected:
            place.build(PARTNER.format(**again | {"waiver": ""}), now=now, asked=asked)
        (found,) = errors(rejected.value.diagnostics)
        assert (found.code, 'an earlier key of ca "sub", which is not here' in found.message) == ("PGT330", True)
        place.build(PARTNER.format(**again), now=now, asked=asked)
        asked = Asked()


def test_the_name_of_ones_own_ca_is_free(place: Place) -> None:
    own, now = '[ca.sub]\nissuer = "root"\n', datetime.now(UTC)
    place.build(PARTNER.format(**USUAL | {"sub": own, "waiver": ""}), now=now)
    ours = Authority.of(place.file("ca/root")).below("Own")
    (place.directory / "own.crt").write_bytes(ours.pem)
    (place.directory / "own.key").write_bytes(ours.key_pem)
    own += 'cert_file = "own.crt"\nkey_file = "own.key"\n'
    asked = Asked(replace=frozenset([Entity("ca.sub")]))
    place.build(PARTNER.format(**USUAL | {"sub": own, "waiver": ""}), now=now, asked=asked)


def test_a_ca_whose_key_goes_elsewhere_is_recorded_as_such(place: Place) -> None:
    now = datetime.now(UTC)
    own = '[ca.sub]\nissuer = "root"\ncert_file = "sub.crt"\nkey_file = "sub.key"\n'
    place.build(PARTNER.format(**USUAL | {"sub": ""}), now=now)
    sub = Authority.of(place.file("ca/root")).below("Partner")
    (place.directory / "sub.crt").write_bytes(sub.pem)
    (place.directory / "sub.key").write_bytes(sub.key_pem)
    place.build(PARTNER.format(**USUAL | {"sub": own, "waiver": ""}), now=now)
    assert '"foreign"' not in place.lock.read_text()
    place.file("ca/sub/ca.key").unlink()
    place.build(PARTNER.format(**USUAL), now=now)
    assert complaints(place, PARTNER.format(**USUAL | {"sub": "", "waiver": ""})) == ["PGT330"]
    # A line of the lock that says so can be neither changed nor lost.
    whole = place.lock.read_text()
    place.lock.write_text(whole.replace('"foreign": true', '"foreign": false'))
    assert complaints(place, PARTNER.format(**USUAL)) == ["PGT543"]


def add_line(place: Place, like: str, **fields: object) -> None:
    """Add a line to the lock that no build wrote: that of an entity, with some other fields."""
    found = next(line for line in map(json.loads, place.lock.read_text().splitlines()) if line.get("entity") == like)
    ghost = {**found, "serial": "1", "sha256": "cd" * 32, **fields}
    place.lock.write_text(place.lock.read_text() + json.dumps(ghost, sort_keys=True) + "\n")


@pytest.mark.parametrize("builds", [0, 2])
def test_no_added_line_makes_the_key_of_a_partners_ca_ones_own(place: Place, builds: int) -> None:
    """Neither at once nor after further builds."""
    partner(place)
    (foreign,) = (line for line in locks.read(place.lock).issued if line.entity == "ca.sub")
    add_line(place, "ca.clients", spki_sha256=foreign.certificate.spki_sha256)
    for build in range(builds):
        place.build(PARTNER.format(**USUAL) + f"# {build}\n", now=datetime.now(UTC))
    left = PARTNER.format(**USUAL | {"sub": "", "waiver": ""})
    assert complaints(place, left) == ["PGT330"]


@pytest.mark.parametrize("false", [{"serial": "1"}, {"not_after": "2026-02-01T00:00:00Z"}, {}], ids=str)
def test_no_added_line_stands_for_a_certificate_that_is_brought(place: Place, false: dict[str, str]) -> None:
    """Its digest is known in advance. A line with other facts is an error; beside a true one, a build adds its own."""
    now = datetime.now(UTC)
    place.build(PARTNER.format(**USUAL | {"sub": ""}), now=now)
    sub = Authority.of(place.file("ca/root")).below("Partner")
    (place.directory / "sub.crt").write_bytes(sub.pem)
    true = locks.IssuedLine("root", Entity("ca.sub"), facts.of(sub.certificate)).fields()
    add_line(place, "ca.clients", **{**true, **false})
    if false:
        assert complaints(place, PARTNER.format(**USUAL)) == ["PGT543"]
    else:
        place.build(PARTNER.format(**USUAL), now=now)
        assert complaints(place, PARTNER.format(**USUAL | {"sub": "", "waiver": ""})) == ["PGT330"]


EVERYBODY = """
version = 1
[ca.root]
[ca.clients]
issuer = "root"
{ca}[server.db]
ca = "root"
client_ca = [{cas}]
hosts = ["localhost"]
no_local = true
crl = false
[policy.app]
users = ["all"]
databases = ["shop"]
from = ["127.0.0.1", "::1"]
auth = "cert"
[user.app]
ca = "clients"
{bob}
"""


@pytest.mark.parametrize("builds", [0, 2])
def test_no_added_line_makes_a_ca_that_left_one_that_was_renamed(place: Place, builds: int) -> None:
    here = {"ca": '[ca.partners]\nissuer = "root"\n', "cas": '"clients", "partners"'}
    now, text = datetime.now(UTC), EVERYBODY.format(**here, bob='[user.bob]\nca = "partners"')
    place.build(text, now=now)
    (gone,) = (line for line in locks.read(place.lock).issued if line.entity == "ca.partners")
    add_line(place, "ca.clients", spki_sha256=gone.certificate.spki_sha256, not_before="2025-01-01T00:00:00Z")
    for build in range(builds):
        place.build(f"{text}# {build}\n", now=now)
    assert complaints(place, EVERYBODY.format(ca="", cas='"clients"', bob="")) == ["PGT255"]
    renamed = EVERYBODY.format(**here, bob='[user.bob]\nca = "partners"').replace("partners", "others")
    place.build(renamed, now=now, asked=Asked(new_ca=frozenset(["others"]), allow_revoke=True, accept_outage=True))


@pytest.mark.parametrize("crl", ["false", "true"])
def test_a_server_accepts_what_such_a_ca_certifies_unless_it_reads_crls(
    server: Server, tmp_path: Path, crl: str
) -> None:
    place = Place(tmp_path)
    sub, fields = partner(place), USUAL | {"sub": "", "crl": crl, "postgres": str(server.version)}
    place.build(PARTNER.format(**fields), now=datetime.now(UTC))
    server.populate(("app",), ("shop",))
    server.install(place.file("servers/db"))
    own = Bundle(place.file("clients/app")).parameters("shop") | at(server)
    theirs = sub.bundle(named(CN="app"), sub)
    shown = own | {"sslcert": str(theirs / "postgresql.crt"), "sslkey": str(theirs / "postgresql.key")}
    assert admitted(PSQL.connect(own)) == "app@shop"
    if crl == "true":
        refused(PSQL.connect(shown), "")
    else:
        assert admitted(PSQL.connect(shown)) == "app@shop"


REUSED = """
version = 1
[ca.servers]
[ca.{ca}]
[server.db]
ca = "servers"
client_ca = ["{ca}"]
hosts = ["localhost"]
no_local = true
[user.app]
ca = "{ca}"
{users}[policy.app]
users = ["all"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
"""
LEAVER = '[user.old]\nca = "clients"\ncommon_name = "batch"\nroles = ["batch"]\n'


def test_the_crl_of_a_ca_counts_though_an_earlier_one_had_its_name(place: Place) -> None:
    now, accepts = datetime.now(UTC), Asked(accept_outage=True)
    for ca in ("clients", "people"):
        place.build(REUSED.format(ca=ca, users=""), now=now, asked=accepts)
    again = Asked(accept_outage=True, new_ca=frozenset(["clients"]))
    place.build(REUSED.format(ca="clients", users=LEAVER), now=now, asked=again)
    place.build(REUSED.format(ca="clients", users=""), now=now, asked=accepts)
    heir = LEAVER.replace("user.old", "user.heir")
    place.build(REUSED.format(ca="clients", users=heir), now=now, asked=accepts)


AWAY = """
version = 1
[ca.root]
{ca}
[server.db]
ca = "root"
client_ca = ["root"{trusted}]
hosts = ["localhost"]
no_local = true
{users}
[policy.app]
users = ["all"]
databases = ["shop"]
from = ["127.0.0.1"]
auth = "cert"
[user.app]
ca = "root"
"""
CLIENTS = '[ca.clients]\npassphrase = { env = "CLIENTS" }'
ALICE = '[user.alice]\nca = "clients"\n'
STOLEN = "revoke_before = 2026-02-01T00:00:00Z\n"


@pytest.mark.parametrize(
    ("meanwhile", "back", "reason"),
    [
        pytest.param("", ALICE, "cessation_of_operation", id="who left"),
        pytest.param('[user.alice]\nca = "root"\n' + STOLEN, ALICE, "key_compromise", id="whose key was stolen"),
    ],
)
def test_who_leaves_while_a_ca_without_a_key_is_away_stays_out_when_it_is_back(
    place: Place, monkeypatch: pytest.MonkeyPatch, meanwhile: str, back: str, reason: str
) -> None:
    monkeypatch.setenv("CLIENTS", "correct horse")
    there = {"ca": CLIENTS, "trusted": ', "clients"'}
    away = {"ca": "", "trusted": ""}
    accepts = Asked(accept_outage=True, allow_revoke=True)

    def built(month: int, users: str, **fields: str) -> None:
        place.build(AWAY.format(users=users, **fields), now=datetime(2026, month, 1, tzinfo=UTC), asked=accepts)

    built(1, ALICE, **there)
    old = locks.read(place.lock).latest["user.alice"]
    built(2, ALICE.replace("clients", "root"), **away)
    built(3, meanwhile, **away)
    revoked = locks.read(place.lock).revocations[old.ca, old.serial]
    assert (revoked.reason, revoked.date.month) == (reason, 3)
    (kept,) = place.file("ca/.retired").glob("clients-*")
    shutil.copytree(kept, place.file("ca/clients"))
    built(4, back, **there)
    listed = crl.read(place.file("ca/clients/ca.crl").read_bytes())
    assert isinstance(listed, RevocationList)
    assert old.serial in {entry.serial for entry in listed.revoked}
    assert locks.read(place.lock).latest["user.alice"].serial not in {e.serial for e in listed.revoked}


def test_a_name_that_a_ca_had_which_left_cuts_off_no_deployed_certificate(place: Place) -> None:
    """The one of today has that NAME and another key: who moves away from it keeps the certificate until then."""
    now, accepts = datetime.now(UTC), Asked(accept_outage=True)
    both = REUSED.format(ca="clients", users="[ca.people]\n").replace('["clients"]', '["clients", "people"]')
    place.build(REUSED.format(ca="clients", users=""), now=now, asked=accepts)
    place.build(REUSED.format(ca="people", users=""), now=now, asked=accepts)
    place.build(both, now=now, asked=Asked(accept_outage=True, new_ca=frozenset(["clients"])))
    last = locks.read(place.lock).latest["user.app"]
    moved = both.replace('[user.app]\nca = "clients"', '[user.app]\nca = "people"')
    place.build(moved, now=now)
    assert (last.ca, last.serial) not in locks.read(place.lock).revocations
