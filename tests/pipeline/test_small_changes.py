"""A build after a small change does less than a full one, and ends in the same bytes.

Random edits of a spec, damage to files and time that passes. Before each build, its plan is that of a build in full;
afterwards, a build in full finds no file to change. ``PGTLS_TEST_EDITS`` is the number of edits.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.state import manifest as manifests
from pgtls.state import seal
from pgtls.state.names import MANIFEST, MEMORY_PATH
from pgtls.state.tree import Later
from support.building import NOW, Place

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    import pytest

    from pgtls.stages import Planned
    from pgtls.state.tree import Content

    Tables = dict[str, dict[str, str]]

EDITS = int(os.environ.get("PGTLS_TEST_EDITS", "60"))
WILLING = Asked(allow_revoke=True, accept_outage=True)
NAMES = [f"u{number}" for number in range(12)]
SERVERS = ["main", "spare", "alone"]

FIRST: Tables = {
    "ca.root": {},
    "ca.clients": {"issuer": '"root"'},
    "ca.others": {},
    "defaults.server": {"no_local": "true"},
    "defaults.user": {"ca": '"clients"'},
    "server.main": {"ca": '"root"', "client_ca": '["clients"]', "hosts": '["db.example.com", "10.0.0.5"]'},
    "server.spare": {"ca": '"others"', "client_ca": '["clients", "others"]', "hosts": '["spare.example.com"]'},
    "server.alone": {"ca": '"self-signed"', "client_ca": '["clients"]', "hosts": '["alone"]'},
    **{f"user.{name}": {} for name in NAMES[:8]},
    **{
        f"policy.p{number}": {
            "servers": f'["{SERVERS[number % 3]}"]',
            "users": f'["{NAMES[2 * number]}", "{NAMES[2 * number + 1]}"]',
            "databases": f'["d{number}"]',
            "from": '["10.0.0.0/8"]',
            "auth": '"cert"',
        }
        for number in range(4)
    },
    "policy.all": {
        "servers": '["all"]',
        "users": '["all"]',
        "databases": '["shared"]',
        "from": '["10.1.0.0/16"]',
        "auth": '"cert"',
    },
}

FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "user": {
        "ca": ('"clients"', '"others"', '"none"'),
        "roles": ('["r1"]', '["r1", "r2"]', '["a b", "ö"]'),
        "common_name": ('"Someone"', '"x, y"'),
        "member_of": ('["staff"]',),
        "directory": ('"/home/x y"', '"/srv/bundle"'),
        "libpq": ("13", "16", "17"),
        "crl": ("true",),
        "validity": ('"30d"', '"400d"'),
        "until": ("2026-09-01",),
        "rotate_key": ("false",),
        "bundle": ('"zip"',),
        "formats": ('["pem", "pkcs8-der"]',),
        "drivers": ('["psycopg"]', '["pgjdbc", "node-pg"]'),
    },
    "server": {
        "hosts": ('["db2.example.com"]', '["db.example.com", "10.0.0.6"]'),
        "port": ("5433", "6432"),
        "postgres": ("13", "15", "17", "18"),
        "trust": ('["others"]', '["root"]'),
        "client_ca": ('["clients"]', '["pgjdbc", "node-pg"]'),
        "min_tls": ('"1.3"',),
        "settings": ('{ work_mem = "64MB" }',),
        "crl": ("false",),
    },
    "policy": {
        "from": ('["10.2.0.0/16"]', '["127.0.0.1/32"]', '["192.168.0.0/24", "fd00::/8"]'),
        "databases": ('["d1", "d2"]', '["all"]', '["replication"]', '["x y"]'),
        "auth": ('"scram-sha-256"', '"cert"'),
        "sslmode": ('"require"', '"verify-ca"'),
        "channel_binding": ('"require"',),
        "priority": ("1", "2"),
        "users": ('["u1", "u2", "u3"]', '["+staff"]'),
        "servers": ('["main", "spare"]', '["alone"]'),
        "description": ('"what for"',),
    },
    "ca": {"validity": ('"2y"', '"12y"'), "crl_validity": ('"30d"',)},
    "defaults.user": {"libpq": ("15",), "crl": ("true",), "validity": ('"60d"',)},
}
DAMAGE: tuple[Callable[[Path], object], ...] = (
    lambda path: path.unlink(),
    lambda path: path.write_text("changed by hand"),
    lambda path: path.chmod(0o640),
    lambda path: os.utime(path),
)


def edited(tables: Tables, random: Random) -> Tables:
    """Change one field of one table, or add or remove a user."""
    name = random.choice([*tables, *(f"user.{user}" for user in NAMES)])
    kind = name if name.startswith("defaults") else name.partition(".")[0]
    if name not in tables:
        return {**tables, name: {}}
    if kind == "user" and random.random() < 0.2:
        return {key: fields for key, fields in tables.items() if key != name}
    fields = FIELDS.get(kind)
    if not fields:
        return tables
    field = random.choice(list(fields))
    value = random.choice([*fields[field], FIRST.get(name, {}).get(field)])
    rest = {key: old for key, old in tables[name].items() if key != field}
    return {**tables, name: rest if value is None else {**rest, field: value}}


def text(tables: Tables) -> str:
    parts = (f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in fields.items()) for name, fields in tables.items())
    return "".join(("version = 1\n", *parts))


def planned_in_full(place: Place, now: datetime) -> Planned:
    """Plan without what the manifest says about texts that stay: it is sealed as if the last build had written it."""
    path, memory, key = place.file(MANIFEST), place.file(MEMORY_PATH), seal.of(str(place.out)) or b""
    content, remembered = path.read_bytes(), memory.read_bytes()
    without = b"".join(seal.closed(key, replace(manifests.parse(content, str(path)), texts={}).parts()))
    digests = {**json.loads(seal.opened(remembered)), MANIFEST: sha256(without).hexdigest()}
    path.write_bytes(without)
    memory.write_bytes(b"".join(seal.closed(key, [json.dumps(digests).encode() + b"\n"])))
    try:
        return place.plan(now=now, asked=WILLING)
    finally:
        path.write_bytes(content)
        memory.write_bytes(remembered)


def comparable(planned: Planned) -> object:
    """Return the steps of a plan and every file that it writes, by digest where its content is known."""
    changes = {
        path: (change.reason, change.file.mode, _content(change.file.content))
        for path, change in planned.plan.changes.items()
        if change.reason not in ("its mode was changed", "its mode changes")  # which is all that changes then
    }
    modes = {path: change.file.mode for path, change in planned.plan.changes.items() if path not in changes}
    return planned.plan.steps, changes, modes, planned.plan.deletions, planned.diagnostics


def _content(content: Content) -> str:
    return content.name if isinstance(content, Later) else sha256(bytes(content)).hexdigest()


def kept(planned: Planned) -> int:
    """Count the texts that were not rendered."""
    return sum(file.content is Later.KEPT for file in planned.texts.values())


def test_a_build_after_a_small_change_ends_in_the_bytes_of_a_full_one(tmp_path: Path) -> None:
    place, random, now, tables = Place(tmp_path), Random(20260101), NOW, FIRST  # noqa: S311
    place.build(text(tables), now=now)
    happened: Counter[str] = Counter()
    for _ in range(EDITS):
        wish = edited(tables, random)
        place.write(text(wish))
        now += timedelta(days=random.choice((0, 0, 0, 1, 20)))
        if random.random() < 0.2:
            files = sorted(path for path in place.out.glob("clients/*/*") if path.suffix not in (".crt", ".key"))
            random.choice(DAMAGE)(random.choice(files))
        try:
            expected = planned_in_full(place, now)
        except Rejected:
            happened["rejected"] += 1
            place.write(text(tables))
            continue
        tables = wish
        plan = place.plan(now=now, asked=WILLING)
        assert comparable(plan) == comparable(expected)
        happened["texts kept"] += kept(plan)
        assert not kept(expected)
        happened["files written"] += len(place.build(now=now, asked=WILLING).plan.changes)
        after = planned_in_full(place, now)
        assert {*after.existing.files.values()} == {"same"}
        if "servers/alone/next.key" in after.plan.deletions:  # the second step of a self-signed server: due at once
            assert not [path for path, change in after.plan.changes.items() if change.file.kind == "bundle"]
            assert comparable(place.plan(now=now, asked=WILLING)) == comparable(after)
        else:
            assert (dict(after.plan.changes), after.plan.deletions) == ({}, ())
            assert after.existing.files.keys() == after.tree.keys()
    assert happened["texts kept"] > 5 * EDITS
    assert happened["files written"] > EDITS
    assert happened["rejected"] < EDITS / 2


def test_a_manifest_without_digests_costs_time_only(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.build(text(FIRST))
    assert kept(place.plan()) == 72
    path = place.file(MANIFEST)
    path.write_bytes(replace(manifests.parse(path.read_bytes(), ""), texts={}).render())
    before = place.state()
    plan = place.plan()
    assert (kept(plan), dict(plan.plan.changes)) == (0, {})
    place.build(now=NOW + timedelta(days=1))
    after = place.state()
    before.pop("out/manifest.json"), after.pop("out/manifest.json")
    assert after == before
    assert kept(place.plan()) == 72


def test_texts_are_rendered_again_by_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path)
    place.build(text(FIRST))
    monkeypatch.setattr("pgtls.output.kept.__version__", "0.1.1")
    assert not kept(place.plan())
