"""Names that look like something else, in every list of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from pgtls.fleet.lookalikes import (
    ADDRESSES,
    DATABASES,
    OS_USERS,
    ROLES,
    addresses,
    as_item,
    first_of_network,
    lookalike,
)
from support.diagnosing import diagnose

if TYPE_CHECKING:
    from pathlib import Path

    from pgtls.fleet.lookalikes import Names

TOP = """\
version = 1
[ca.root]
[server.main]
ca    = "root"
hosts = ["db.example.com"]
[user.postgres]
[user.app]
[network.office]
addresses = ["10.9.0.0/16"]
[policy.admin]
users = ["postgres"]
from  = ["local"]
auth  = "peer"
"""


def policy(tmp_path: Path, **fields: object) -> list[tuple[str, str, str | None]]:
    """Return what check finds in one more policy."""
    spec = tmp_path / "pgtls.toml"
    table = {"users": ["app"], "from": ["10.0.0.0/8"], "auth": "scram-sha-256"} | fields
    spec.write_text(TOP + tomli_w.dumps({"policy": {"more": table}}))
    return [(d.code, d.message, d.hint) for d in diagnose(spec)]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("any", '"all"'),
        ("*", '"all"'),
        ("%", '"all"'),
        ("ALL", '"all"'),
        ("Local", '"local"'),
        ("locall", '"local"'),
        ("SameHost", '"samehost"'),
        ("samnet", '"samenet"'),
        ("office", '"@office"'),
        ("OFFICE", '"@office"'),
        ("10.0.0.1, 10.0.0.2", '"10.0.0.1", "10.0.0.2"'),
        ("10.0.0.1;10.0.0.2", '"10.0.0.1", "10.0.0.2"'),
        ("10.0.0.1 10.0.0.2", '"10.0.0.1", "10.0.0.2"'),
        ("10.0.0.0-10.0.0.255", '"10.0.0.0/24"'),
        ("10.0.0.4-7", '"10.0.0.4/30"'),
        ("10.0.0.4 - 10.0.0.7", '"10.0.0.4/30"'),
        ("10.0.0.4..10.0.0.7", '"10.0.0.4/30"'),
        ("fd00::-fd00::ffff", '"fd00::/112"'),
        ("10.0.*.*", '"10.0.0.0/16"'),
        ("10.0.0.x", '"10.0.0.0/24"'),
        ("*.example.com", '".example.com"'),
        ("10.0.0.0 255.255.0.0", '"10.0.0.0/16"'),
    ],
)
def test_in_from_the_word_that_was_wanted_is_the_only_finding(tmp_path: Path, written: str, meant: str) -> None:
    ((code, message, hint),) = policy(tmp_path, **{"from": [written]})
    assert code == "PGT114"
    assert message.startswith(f'"{written}" looks like ')
    assert hint is not None
    assert meant in hint


def test_a_misspelt_local_with_peer_is_one_mistake(tmp_path: Path) -> None:
    """Neither is the method out of place, nor is the server without a policy for its socket."""
    spec = tmp_path / "pgtls.toml"
    spec.write_text(TOP.replace('"local"', '"locall"').replace("[user.app]\n", ""))
    assert [(d.code, d.hint) for d in diagnose(spec)] == [
        ("PGT114", 'write "local"; for a host of that name, write { name = "locall" }')
    ]


@pytest.mark.parametrize("host", ["localhost", "db", "app-1", "all.example.com", "focal", ".example.com", "10.0.0.7"])
def test_a_host_is_a_host(tmp_path: Path, host: str) -> None:
    assert policy(tmp_path, **{"from": [host]}) == []


@pytest.mark.parametrize("name", ["my shop", "replica", "public", "a.b", "everyone", "alles", "10.0.0.1-9", "shop's"])
def test_a_database_is_a_database(tmp_path: Path, name: str) -> None:
    assert policy(tmp_path, databases=[name]) == []


@pytest.mark.parametrize(("text", "block"), [("10.0.0.0", "10.0.0.0/8"), ("::", "::/0"), ("0.0.0.0", "0.0.0.0/0")])  # noqa: S104
def test_the_first_address_of_a_network_is_a_warning(tmp_path: Path, text: str, block: str) -> None:
    ((code, message, _),) = policy(tmp_path, **{"from": [text]})
    assert (code, message) == ("PGT115", f'"{text}" is a single address, but looks like the network {block}')
    assert policy(tmp_path, **{"from": [text]}, waiver={"reason": "a test", "codes": ["PGT115"]}) == []


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.10", "::1", "fe80::1%eth0", "2001:db8:1:2:3::", "host", ""])
def test_another_address_is_none(text: str) -> None:
    assert first_of_network(text) is None


@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cf"]), min_size=1)
    | st.sampled_from(["all", "ALL", "a, b", "@a", "+a", "/a", "'a'", "*", "postgres postgres", "replicatio"]),
    st.sampled_from([ADDRESSES, DATABASES, OS_USERS, ROLES]),
)
def test_any_name_can_be_written(name: str, names: Names) -> None:
    """What an import writes as a string is no keyword, and looks like none."""
    item = as_item(name, names)
    assert item in (name, {"name": name})
    if isinstance(item, str):
        assert item not in names.keywords
        assert lookalike(item, names._replace(known=item.split())) is None
        assert not addresses(item)
