"""CAs whose table left the spec: their certificates lead to the roots that servers still trust."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Rejected, errors
from support.authority import Authority
from support.building import Place

if TYPE_CHECKING:
    from pathlib import Path

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
