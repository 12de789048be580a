"""What is never done silently: a lost CA, a CA that changes, certificates of others, mass revocation, another lock."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.state import lock as locks
from signers.programs import OpenSSL
from support.building import NOW, SMALL, Place, reason, steps

MANY = (
    SMALL
    + "".join(f'[user.u{i}]\nca = "clients"\n' for i in range(5))
    + '[policy.many]\nusers = ["u0", "u1", "u2", "u3", "u4"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
)


def codes(rejected: pytest.ExceptionInfo[Rejected]) -> list[str]:
    return [d.code for d in rejected.value.diagnostics if d.severity == "error"]


@pytest.mark.parametrize("how", ["missing", "damaged", "swapped"])
def test_a_lost_ca_key_is_never_a_new_ca(place: Place, how: str) -> None:
    place.build(SMALL)
    key = place.file("ca/clients/ca.key")
    if how == "missing":
        key.unlink()
    else:
        key.write_bytes(b"" if how == "damaged" else place.file("ca/root/ca.key").read_bytes())
    before = place.state()
    with pytest.raises(Rejected) as rejected:
        place.build()
    assert codes(rejected) == ["PGT550"]
    (diagnostic,) = rejected.value.diagnostics
    assert "1 certificate depends on it" in diagnostic.message
    assert "--new-ca clients" in str(diagnostic.hint)
    assert place.state() == before


def test_a_new_ca_is_made_when_asked_for_and_everything_below_follows(place: Place) -> None:
    place.build(SMALL)
    place.file("ca/clients/ca.key").unlink()
    planned = place.build(asked=Asked(new_ca=frozenset({"clients"})))
    assert ("ca.clients", "renew") in steps(planned)
    assert next(step.cost for step in planned.plan.steps if step.entity == "ca.clients") == "outage"
    assert reason(planned, "user.app") == "it was not issued by the key of ca.clients, with a new key"
    assert steps(place.build()) == []


def test_a_ca_whose_key_is_there_is_not_made_anew(place: Place) -> None:
    place.build(SMALL)
    before = place.state()
    with pytest.raises(Rejected) as rejected:
        place.build(asked=Asked(new_ca=frozenset({"clients"})))
    (diagnostic,) = rejected.value.diagnostics
    assert (diagnostic.code, diagnostic.message) == (
        "PGT556",
        '--new-ca clients: the private key of CA "clients" is there',
    )
    assert place.state() == before


@pytest.mark.parametrize("change", ['common_name = "Other"', 'key_algorithm = "ecdsa-p384"'])
def test_a_ca_never_changes_in_place(place: Place, change: str) -> None:
    place.build(SMALL)
    before = place.state()
    with pytest.raises(Rejected) as rejected:
        place.build(SMALL.replace("[ca.clients]", f"[ca.clients]\n{change}"))
    assert codes(rejected) == ["PGT551"]
    assert place.state() == before


def test_a_ca_is_replaced_when_told_so(place: Place) -> None:
    place.build(SMALL)
    planned = place.build(
        SMALL.replace("[ca.clients]", '[ca.clients]\ncommon_name = "Other"'),
        asked=Asked(replace=frozenset({"ca.clients"})),
    )
    assert ("ca.clients", "renew") in steps(planned)
    assert ("user.app", "renew") in steps(planned)


def test_a_ca_in_its_window_is_renewed_with_its_key_and_what_it_signed_stays(place: Place) -> None:
    place.build(
        SMALL.replace("[ca.clients]", '[ca.clients]\nvalidity = "2y"').replace(
            "[user.app]\n", '[user.app]\nvalidity = "1y"\n'
        )
    )
    key = place.file("ca/clients/ca.key").read_bytes()
    place.build(now=NOW + timedelta(days=400), asked=Asked(renew=frozenset({"user.app"})))
    certificate = place.file("clients/app/postgresql.crt").read_bytes()
    planned = place.build(now=NOW + timedelta(days=490))
    assert ("ca.clients", "renew") in steps(planned)
    assert ("user.app", "renew") not in steps(planned)
    assert place.file("ca/clients/ca.key").read_bytes() == key
    assert place.file("clients/app/postgresql.crt").read_bytes() == certificate


def test_many_revocations_at_once_must_be_allowed(place: Place) -> None:
    place.build(MANY)
    before = place.state()
    with pytest.raises(Rejected) as rejected:
        place.build(SMALL)
    assert codes(rejected) == ["PGT553"]
    assert place.state() == before
    planned = place.build(SMALL, asked=Asked(allow_revoke=True))
    assert sum(action == "revoke" for _, action in steps(planned)) == 5


LONG_AFTER = NOW + timedelta(days=500)
ALONE = """
version = 1
[user.postgres]
[user.app]
[policy.dba]
servers = ["all"]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.app]
servers = ["all"]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
"""


def alone(count: int) -> str:
    servers = (f'[server.s{i}]\nca = "self-signed"\nhosts = ["s{i}"]\n' for i in range(count))
    return ALONE + "".join(servers)


@pytest.mark.parametrize(
    ("before", "after", "now", "message"),
    [
        (MANY, SMALL, LONG_AFTER, "delete the keys of 5 entities"),
        (alone(6), alone(2), NOW, "delete the keys of 4 entities"),
        (MANY, SMALL, NOW, "revoke the certificates of 5 entities"),
    ],
    ids=["of users whose certificates have ended", "of servers that sign themselves", "and certificates"],
)
def test_many_keys_are_not_deleted_at_once_either(
    place: Place, before: str, after: str, now: datetime, message: str
) -> None:
    place.build(before)
    state = place.state()
    for command in (place.plan, place.build):
        with pytest.raises(Rejected) as rejected:
            command(after, now=now)
        assert codes(rejected) == ["PGT553"]
        assert rejected.value.diagnostics[-1].message.startswith(f"this build would {message}: ")
    assert place.state() == state
    planned = place.build(after, now=now, asked=Asked(allow_revoke=True))
    assert sum(action == "delete" for _, action in steps(planned)) > 3


def test_many_keys_that_were_made_here_are_not_given_up_at_once(place: Place) -> None:
    signer = OpenSSL(place.directory / "signer")
    signer.prepare()
    shutil.copy(signer.directory / "root.crt", place.directory)
    spec = alone(5).replace('ca = "self-signed"', 'ca = "company"\nexternal = true')
    spec = spec.replace("[user.postgres]", '[ca.company]\ncert_file = "root.crt"\n[user.postgres]')
    now = datetime.now(UTC) + timedelta(hours=1)
    place.build(spec, now=now)
    for i in range(5):
        signer.sign(place.file(f"servers/s{i}/server.csr"), place.directory / f"s{i}.crt")
        spec = spec.replace(f"[server.s{i}]\n", f'[server.s{i}]\ncert_file = "s{i}.crt"\n')
    place.build(spec, now=now)
    state = place.state()
    with pytest.raises(Rejected) as rejected:
        place.build(spec.replace("external = true\n", ""), now=now)
    assert codes(rejected) == ["PGT553"]
    assert "would delete the keys of 5 entities" in str(rejected.value)
    assert place.state() == state
    place.build(spec.replace("external = true\n", "", 3), now=now)
    assert [path.parent.name for path in sorted(place.out.rglob("server.key"))] == ["s3", "s4"]


OLD = SMALL.replace("[ca.root]", "[ca.root]\n[ca.old]")
OTHER_KEYS = {
    "kept elsewhere": 'cert_file = "mine.crt"\ncrl = false',
    "kept elsewhere, of another CA": 'cert_file = "other.crt"\ncrl = false',
    "another one": 'cert_file = "other.crt"\nkey_file = "other.key"',
}


@pytest.mark.parametrize("lines", OTHER_KEYS.values(), ids=OTHER_KEYS)
def test_a_build_deletes_no_key_of_a_ca_that_the_spec_says_is_another(
    place: Place, tmp_path_factory: pytest.TempPathFactory, lines: str
) -> None:
    other = Place(tmp_path_factory.mktemp("other"))
    for name, where in {"mine": place, "other": other}.items():
        where.build(OLD)
        for end in ("crt", "key"):
            shutil.copy(where.file(f"ca/old/ca.{end}"), place.directory / f"{name}.{end}")
    state = place.state()
    changed = OLD.replace("[ca.old]", f"[ca.old]\n{lines}")
    for command in (place.plan, place.build):
        with pytest.raises(Rejected, match=r'the file "ca/old/ca\.key" is there, too') as rejected:
            command(changed)
        assert codes(rejected) == ["PGT640"]
    assert place.state() == state
    place.file("ca/old/ca.key").unlink()
    place.build(changed)
    assert place.file("ca/old/ca.key").exists() == ("key_file" in lines)


@pytest.mark.parametrize(
    "lines", ["external = true", "offline = true", 'cert_file = "mine.crt"\nkey_file = "mine.key"']
)
def test_a_ca_that_keeps_its_key_keeps_the_file(place: Place, lines: str) -> None:
    place.build(SMALL)
    key = place.file("ca/clients/ca.key").read_bytes()
    for end in ("crt", "key"):
        shutil.copy(place.file(f"ca/clients/ca.{end}"), place.directory / f"mine.{end}")
    place.build(SMALL.replace("[ca.clients]", f"[ca.clients]\n{lines}"), asked=Asked(accept_outage=True))
    assert place.file("ca/clients/ca.key").read_bytes() == key


def test_many_users_whose_time_has_come_are_no_accident(place: Place) -> None:
    place.build(MANY.replace('ca = "clients"\n', 'ca = "clients"\nuntil = 2026-02-01\n'))
    planned = place.build(now=NOW + timedelta(days=31))
    assert sum(action == "delete" for _, action in steps(planned)) > 3


def test_who_leaves_the_spec_is_revoked_and_stays_so(place: Place) -> None:
    two = SMALL + '[user.bob]\nca = "clients"\n[policy.bob]\nusers = ["bob"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
    place.build(two)
    serial = locks.read(place.lock).latest["user.bob"].serial
    place.build(SMALL)
    assert not place.file("clients/bob").exists()
    assert ("clients", serial) in locks.read(place.lock).revocations
    place.build(two)
    assert locks.read(place.lock).latest["user.bob"].serial != serial
    assert ("clients", serial) in locks.read(place.lock).revocations


def test_a_user_whose_time_has_come_counts_as_deleted(place: Place) -> None:
    place.build(SMALL.replace("[user.app]\n", "[user.app]\nuntil = 2026-02-01\n"))
    planned = place.build(now=NOW + timedelta(days=31))
    assert ("user.app", "delete") in steps(planned)
    assert not place.file("clients/app").exists()


def test_a_server_that_has_the_certificate_of_somebody_else_is_not_overwritten(place: Place) -> None:
    place.build(SMALL)
    extra = SMALL + '[server.second]\nca = "root"\nclient_ca = ["clients"]\nhosts = ["db2.example.com"]\n'
    extra = extra.replace("[policy.dba]", '[policy.dba]\nservers = ["all"]').replace(
        "[policy.app]", '[policy.app]\nservers = ["all"]'
    )
    target = place.file("servers/second")
    target.mkdir()
    for name in ("server.crt", "server.key"):
        shutil.copy(place.file("servers/main") / name, target / name)
    before = (target / "server.key").read_bytes()
    with pytest.raises(Rejected) as rejected:
        place.build(extra)
    assert codes(rejected) == ["PGT552"]
    assert (target / "server.key").read_bytes() == before


def test_a_lock_that_is_older_than_the_tree_must_be_pulled(place: Place) -> None:
    place.build(SMALL)
    old = place.lock.read_bytes()
    place.build(asked=Asked(renew=frozenset({"user.app"})))
    place.lock.write_bytes(old)
    before = place.state()
    with pytest.raises(Rejected) as rejected:
        place.build()
    assert codes(rejected) == ["PGT554"]
    assert place.state() == before


def test_a_tree_restored_from_a_backup_is_completed(place: Place) -> None:
    place.build(SMALL)
    backup = place.directory / "backup"
    shutil.copytree(place.out, backup)
    two = SMALL + '[user.bob]\nca = "clients"\n[policy.bob]\nusers = ["bob"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
    place.build(two)
    shutil.rmtree(place.out)
    shutil.copytree(backup, place.out)
    planned = place.build()
    assert ("user.bob", "create") in steps(planned)
    assert steps(place.build()) == []


def test_without_its_tree_a_plan_works_from_the_lock_and_a_build_does_not(place: Place) -> None:
    place.build(SMALL)
    shutil.rmtree(place.out)
    planned = place.plan()
    assert (steps(planned), [d.code for d in planned.diagnostics]) == ([], ["PGT555"])
    with pytest.raises(Rejected) as rejected:
        place.build()
    assert codes(rejected) == ["PGT555"]
    assert not place.out.exists()


def test_a_build_without_its_tree_leaves_what_the_tree_remembers(place: Place) -> None:
    """The tree may be away for a moment: a file system that is not mounted, a restore that has begun."""
    place.build(SMALL)
    before, away = place.state(), place.directory / "away"
    away.mkdir()
    for path in place.out.glob("[!.]*"):
        path.rename(away / path.name)
    for _ in range(2):
        with pytest.raises(Rejected) as rejected:
            place.build()
        assert codes(rejected) == ["PGT555"]
    for path in away.iterdir():
        path.rename(place.out / path.name)
    assert steps(place.build()) == []
    assert {**place.state(), "out/manifest.json": None} == {**before, "out/manifest.json": None}


def test_a_ca_that_left_the_spec_keeps_its_key(place: Place) -> None:
    place.build(SMALL)
    key = place.file("ca/clients/ca.key").read_bytes()
    place.build(
        SMALL.replace("[ca.clients]", "")
        .replace('client_ca = ["clients"]', 'client_ca = ["root"]')
        .replace('ca = "clients"', 'ca = "root"'),
        asked=Asked(accept_outage=True),
    )
    (kept,) = place.file("ca/.retired").glob("clients-*/ca.key")
    assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (key, 0o600)
    assert not place.file("ca/clients").exists()
    assert steps(place.build()) == []


def test_asking_for_what_is_not_there_is_an_error(place: Place) -> None:
    place.build(SMALL)
    with pytest.raises(Rejected) as rejected:
        place.build(asked=Asked(renew=frozenset({"user.ap"})))
    assert codes(rejected) == ["PGT556"]
    assert rejected.value.diagnostics[0].hint == 'did you mean "user.app"?'
    with pytest.raises(Rejected) as rejected:
        place.build(asked=Asked(renew=frozenset({"app"})))
    assert rejected.value.diagnostics[0].hint == 'did you mean "user.app"?'


def test_a_key_that_cannot_be_read_when_it_is_needed_stops_the_build(place: Place) -> None:
    place.build(SMALL)
    key = place.file("ca/clients/ca.key")
    before = key.stat()
    key.write_bytes(b"x" * before.st_size)
    os.utime(key, ns=(before.st_atime_ns, before.st_mtime_ns))  # damaged without a change of its times
    tree = place.state()
    with pytest.raises(Rejected) as rejected:
        place.build(asked=Asked(renew=frozenset({"user.app"})))
    assert codes(rejected) == ["PGT557"]
    assert place.state() == tree


def test_who_has_come_to_an_end_is_told_from_who_left(place: Place) -> None:
    end = f"{NOW + timedelta(days=30):%Y-%m-%d}"
    place.build(SMALL.replace("[user.app]\n", f"[user.app]\nuntil = {end}\n"))
    assert reason(place.build(now=NOW + timedelta(days=31)), "user.app") == f"its until was {end}"
