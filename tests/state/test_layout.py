"""The paths of the out directory: every file of a build has one that the layout gives to its entity, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certificates.test_self_signed import ALONE, PUBLIC
from lifecycle import test_identities as identities
from output import test_replication as replication
from pgtls.certificates.asked import Asked
from pgtls.pki.model import Entity
from pgtls.state import layout
from pgtls.state import manifest as manifests
from pipeline import test_poolers as poolers
from support.building import SMALL

if TYPE_CHECKING:
    from support.building import Place

BUNDLE = 'formats = ["pem", "pkcs12", "pkcs8-der"]\npassphrase = { env = "P" }\nbundle = "zip"\ncrl = true\n'
SPECS = {
    "small": SMALL,
    "every format": SMALL.replace("[user.app]\n", f"[user.app]\n{BUNDLE}"),
    "self-signed": ALONE,
    "external": PUBLIC,
    "identities": identities.spec(),
    "standby": replication.spec(),
    "pooler": poolers.SPEC,
}
REPLACED = {"small": "ca.root", "self-signed": "server.db"}


@pytest.mark.parametrize("name", SPECS)
def test_every_file_has_a_path_that_the_layout_gives_to_its_entity(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("P", "a passphrase")
    place.build(SPECS[name], asked=Asked(accept_outage=True))
    if name in REPLACED:
        place.build(asked=Asked(renew=frozenset((REPLACED[name],)), accept_outage=True))
    if name == "small":
        place.build(SMALL.replace("[ca.root]", "[ca.root]\n[ca.old]"))
        place.build(SMALL)
        assert list(place.file("ca/.retired").iterdir())
    found = manifests.read(place.out)
    assert found is not None
    assert [path for path, entry in found.files.items() if not layout.gives(entry.entity, path)] == []
    assert found.limited({entry.entity for entry in found.files.values()}).files == found.files
    assert found.limited(()).files == {}


STRANGE = {
    "vault/root.key": "user.app",
    "clients/app/notes.txt": "user.app",
    "clients/app/more/postgresql.key": "user.app",
    "clients/app/server.key": "user.app",
    "clients/app/bob.zip": "user.app",
    "clients/app2/postgresql.key": "user.app",
    "clients/app/postgresql.key": "user.bob",
    "servers/main/root.crl.d/notes": "server.main",
    "servers/main/sni/a.example.com/server.key": "server.main",
    "ca/clients/notes": "ca.clients",
    "ca/.retired/clients-0123abcd/ca.key": "ca.root",
    "ca/.retired/clients-0123abcd/more/ca.key": "ca.clients",
    "ca/.retired/ca.key": "ca.clients",
}


@pytest.mark.parametrize(("path", "entity"), STRANGE.items(), ids=STRANGE)
def test_no_other_path_is_one_of_the_layout(path: str, entity: str) -> None:
    assert not layout.gives(Entity(entity), path)
