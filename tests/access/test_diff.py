"""What a change of the spec changes for people."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import pgtls
from pgtls.access import classes as access_classes
from pgtls.access.answers import Side
from pgtls.access.diff import diff
from pgtls.certificates.spec_change import certificates
from pgtls.cli import run
from pgtls.diagnostics import errors
from pgtls.pipeline import check
from support.pgtls import EXAMPLE

OLD = EXAMPLE.read_text()

CHANGES: dict[str, tuple[str, str, list[tuple[str, list[str], list[str]]]]] = {
    "one character of a network lets others in": (
        '"10.0.0.0/8"',
        '"10.0.0.0/7"',
        [("granted", ["app"], ["shop"])],
    ),
    "a mode that no longer verifies": (
        'sslmode   = "verify-full"',
        'sslmode   = "require"',
        [("weakened", ["app"], ["shop"])],
    ),
    "cleartext that is no longer taken": (
        'sslmode   = "prefer"',
        'sslmode   = "verify-full"',
        [("strengthened", ["metrics"], ["postgres"])],
    ),
    "a user who leaves a group": (
        'users = ["alice", "auditor"]',
        'users = ["alice"]',
        [("lost", ["auditor"], ["reports", "shop"])],
    ),
    "a role less": (
        'roles = ["alice", "reporting"]',
        'roles = ["alice"]',
        [("lost", ["reporting"], ["reports", "shop"])],
    ),
    "a policy for all databases": (
        'databases = ["shop", "reports"]\nfrom      = ["@office"]',
        'from      = ["@office"]',
        [
            ("granted", ["alice", "auditor"], ["any other database", "postgres"]),
            ("granted", ["reporting"], ["any other database", "postgres"]),
        ],
    ),
    "a password for a certificate": (
        'sslmode   = "verify-full"\nauth      = "cert"',
        'sslmode   = "verify-full"\nauth      = "scram-sha-256"',
        [("weakened", ["app"], ["shop"])],
    ),
    "revoked certificates that are accepted": (
        'client_ca = ["clients"]',
        'client_ca = ["clients"]\ncrl = false',
        [
            ("weakened", ["alice", "auditor"], ["reports", "shop"]),
            ("weakened", ["app"], ["shop"]),
            ("weakened", ["reporting"], ["reports", "shop"]),
        ],
    ),
    "a newer TLS": (
        "postgres  = 17",
        'postgres  = 17\nmin_tls   = "1.3"',
        [
            ("strengthened", ["alice", "auditor"], ["reports", "shop"]),
            ("strengthened", ["app"], ["shop"]),
            ("strengthened", ["metrics"], ["postgres"]),
            ("strengthened", ["reporting"], ["reports", "shop"]),
        ],
    ),
    "a comment": ("# a role", "# another", []),
    "another order": ("[user.metrics]\n", "\n[user.metrics]\n", []),
}


def compare(
    capsys: pytest.CaptureFixture[str], old: Path | str, new: Path | str, *words: str
) -> tuple[int, dict[str, Any]]:
    status = run(["diff", str(old), str(new), "--format", "json", *words])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, answer


@pytest.fixture
def specs(tmp_path: Path) -> tuple[Path, Path]:
    """Two files with the example."""
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text(OLD)
    new.write_text(OLD)
    return old, new


@pytest.mark.parametrize(("was", "becomes", "expected"), CHANGES.values(), ids=CHANGES)
def test_what_a_change_means(
    capsys: pytest.CaptureFixture[str],
    specs: tuple[Path, Path],
    was: str,
    becomes: str,
    expected: list[tuple[str, list[str], list[str]]],
) -> None:
    old, new = specs
    new.write_text(OLD.replace(was, becomes))
    status, answer = compare(capsys, old, new)
    assert status == 0
    assert [(c["kind"], sorted(c["roles"]), sorted(c["databases"])) for c in answer["changes"]] == expected


def test_the_way_back_is_the_opposite(capsys: pytest.CaptureFixture[str], specs: tuple[Path, Path]) -> None:
    old, new = specs
    new.write_text(OLD.replace('"10.0.0.0/8"', '"10.0.0.0/7"'))
    _, there = compare(capsys, old, new)
    _, back = compare(capsys, new, old)
    (granted,), (lost,) = there["changes"], back["changes"]
    assert (granted["kind"], lost["kind"]) == ("granted", "lost")
    assert (granted["before"], granted["after"]) == (lost["after"], lost["before"])
    assert granted["example"] == 'role "app", database "shop", from 11.0.0.0'


def test_certificates_that_are_issued_revoked_and_trusted(
    capsys: pytest.CaptureFixture[str], specs: tuple[Path, Path]
) -> None:
    old, new = specs
    new.write_text(
        OLD.replace('"db.example.com"', '"db2.example.com"')
        .replace("[user.auditor]", "[user.inspector]")
        .replace('"auditor"', '"inspector"')
    )
    _, answer = compare(capsys, old, new)
    assert [(c["entity"], c["action"], c["fields"]) for c in answer["certificates"]] == [
        ("server.primary", "issued again", ["names"]),
        ("user.auditor", "revoked", []),
        ("user.inspector", "issued", []),
    ]


LATER: dict[str, tuple[str, str, list[tuple[str, str, tuple[str, ...]]]]] = {
    "certificates that were stolen": (
        "[user.alice]\n",
        "[user.alice]\nrevoke_before = 2025-12-01\n",
        [("user.alice", "issued again", ("revoke_before",))],
    ),
    "somebody who will leave": (
        "[user.alice]\n",
        "[user.alice]\nuntil = 2026-12-01\n",
        [("user.alice", "limited", ("until",))],
    ),
    "a serial number": ("[ca.clients]\n", '[ca.clients]\nrevoked = ["0abc"]\n', [("ca.clients", "revokes", ("0abc",))]),
    "a CA": ("[ca.more]\n", "", [("ca.more", "retired", ())]),
}


@pytest.mark.parametrize(("was", "becomes", "expected"), LATER.values(), ids=LATER)
def test_what_ends_is_said(was: str, becomes: str, expected: list[tuple[str, str, tuple[str, ...]]]) -> None:
    old = f"{PEOPLE}[ca.more]\n{ONE.format(['alice'])}"
    changes = certificates(_side(old).fleet, _side(old.replace(was, becomes)).fleet)
    assert [(change.entity, change.action, change.fields) for change in changes] == expected


def test_an_older_tls_is_weaker() -> None:
    old = PEOPLE + ONE.format(["alice"])
    (change,) = diff(_side(old.replace("[user.postgres]", 'min_tls = "1.3"\n[user.postgres]')), _side(old))
    assert (change.kind, change.before, change.after) == (
        "weakened",
        "cert over TLS 1.3 or later, clients use verify-full",
        "cert over TLS 1.2 or later, clients use verify-full",
    )  # fmt: skip


def test_what_no_longer_ends_is_said_where_it_makes_a_difference() -> None:
    sides = [_side(f"{PEOPLE}{line}").fleet for line in ("", "[user.carol]\nca = 'clients'\nuntil = 2026-12-01\n")]
    untold = _side(f"{PEOPLE}[user.carol]\nca = 'clients'\n").fleet
    assert [change.action for change in certificates(sides[1], untold)] == ["no longer limited"]
    stolen = _side(PEOPLE.replace("[user.alice]\n", "[user.alice]\nrevoke_before = 2025-12-01\n")).fleet
    assert certificates(stolen, sides[0]) == ()  # what is revoked stays so, and nothing else comes of it


def test_other_options_of_a_method_are_looked_at() -> None:
    ldap = """[policy.one]
users = ["alice"]
from = ["10.0.0.0/8"]
auth = "ldap"
auth_options = {{ ldapserver = "{}", ldapprefix = "cn="{} }}
"""
    one = _side(PEOPLE + ldap.format("one.example.com", ', ldaptls = "1"'))
    (change,) = diff(one, _side(PEOPLE + ldap.format("two.example.com", ', ldaptls = "1"')))
    assert (change.kind, change.databases) == ("weakened", ("every database",))
    assert change.before.startswith("ldap with ldapserver=one.example.com, over TLS")
    assert change.after.startswith("ldap with ldapserver=two.example.com, over TLS")
    (change,) = diff(one, _side(PEOPLE + ldap.format("one.example.com", "")))
    assert (change.kind, change.after) == ("weakened", "ldap without ldaptls, over TLS, clients use verify-full")


ELSEWHERE = {
    "ldap": '{ ldapserver = "one.example.com", ldapprefix = "cn=", ldaptls = "1" }',
    "radius": '{ radiusservers = "r1.example.com", radiussecrets = { env = "ONE" } }',
    "pam": "{}",
}


@pytest.mark.parametrize("method", ELSEWHERE)
@pytest.mark.parametrize("other", ["scram-sha-256", "password", "pam", "trust"])
def test_another_who_decides_is_a_weakening_in_both_directions(method: str, other: str) -> None:
    """An account that is closed in the directory may still have a password in the database."""
    policy = "[policy.one]\nusers = ['alice']\nfrom = ['10.0.0.0/8']\nwaiver = 'a test'\nauth = '{}'\n"
    there = _side(PEOPLE + policy.format(method) + f"auth_options = {ELSEWHERE[method]}\n")
    here = _side(PEOPLE + policy.format(other))
    kinds = [[change.kind for change in diff(*sides)] for sides in ((there, here), (here, there))]
    if method == other:
        assert kinds == [[], []]
    else:
        assert kinds == [["weakened"], ["strengthened" if other == "trust" else "weakened"]]


def test_a_secret_option_is_compared_and_shown_by_its_source() -> None:
    radius = """[policy.one]
users = ["alice"]
from = ["10.0.0.0/8"]
auth = "radius"
auth_options = {{ radiusservers = "{}", radiussecrets = {{ env = "{}" }} }}
"""
    one, other = (_side(PEOPLE + radius.format("r1.example.com", name)) for name in ("ONE", "OTHER"))
    (change,) = diff(one, other)
    shown = change.after.partition(", over")[0]
    assert (change.kind, shown) == ("weakened", "radius with radiussecrets=(from env OTHER)")
    assert diff(one, one) == ()
    (change,) = diff(one, _side(PEOPLE + radius.format("r2.example.com", "ONE")))
    assert "radiusservers=r2.example.com" in change.after
    assert "secret" not in change.before + change.after


SOURCES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "a wider network": ("10.0.0.0/8", "10.0.0.0/7", "granted", ("11.0.0.0/8",)),
    "a narrower network": ("10.0.0.0/8", "10.64.0.0/10", "lost", ("10.0.0.0/10", "10.128.0.0/9")),
    "a network around an address": ("10.0.0.1", "10.0.0.0/30", "granted", ("10.0.0.0/32", "10.0.0.2/31")),
    "another network": ("10.0.0.0/8", "10.0.0.0/8', '::1", "granted", ("::1/128",)),
    "everything": ("10.0.0.0/8", "all", "granted", ("all but 10.0.0.0/8",)),
    "everything and nothing else": ("db.example.com", "all", "granted", ("all",)),
    "a host name": ("10.0.0.0/8", "10.0.0.0/8', 'db.example.com", "granted", ("db.example.com",)),
    "a network that another policy divides": (
        "192.168.0.0/16",
        "10.0.0.0/8', '192.168.0.0/16",
        "granted",
        ("10.0.0.0/8",),
    ),
}


@pytest.mark.parametrize(("was", "becomes", "kind", "sources"), SOURCES.values(), ids=SOURCES)
def test_of_a_network_the_part_that_changes_is_named(
    was: str, becomes: str, kind: str, sources: tuple[str, ...]
) -> None:
    other = "[policy.two]\nusers = ['postgres']\ndatabases = ['x']\nfrom = ['10.7.0.0/16']\nauth = 'scram-sha-256'\n"
    old, new = (_side(PEOPLE + other + ONE.format(["alice"]).replace("10.0.0.0/8", where)) for where in (was, becomes))
    found = [change for change in diff(old, new) if change.kind == kind]
    assert [change.sources for change in found] == [sources]


DATABASES: dict[str, tuple[str, set[str]]] = {
    "all": ('["all"]', {"every database"}),
    "one": ('["shop"]', {"shop"}),
    "one and physical replication": ('["shop", "replication"]', {"shop", "replication"}),
    "all, and physical replication": ('["all", "replication"]', {"every database", "replication"}),
    "some by a pattern": ('["/^shop"]', {"/^shop"}),
}


@pytest.mark.parametrize(("databases", "expected"), DATABASES.values(), ids=DATABASES)
def test_databases_that_only_other_policies_name_are_meant_too(databases: str, expected: set[str]) -> None:
    old = f"{PEOPLE}[user.carol]\nca = 'clients'\n{ONE.format(['alice'])}databases = ['postgres', 'bi']\n"
    new = f"{old}{ONE.replace('one', 'two').format(['carol'])}databases = {databases}\n"
    (change,) = diff(_side(old), _side(new))
    assert (change.kind, change.roles, set(change.databases)) == ("granted", ("carol",), expected)


@pytest.mark.parametrize(
    ("becomes", "fail_on", "status"),
    [
        ("10.0.0.0/7", "weakened", 0),
        ("10.0.0.0/7", "granted", 1),
        ("10.0.0.0/9", "granted", 0),
        ("10.0.0.0/9", "any", 1),
        ("10.0.0.0/8", "any", 0),
    ],
)
def test_what_is_not_let_pass(
    capsys: pytest.CaptureFixture[str], specs: tuple[Path, Path], becomes: str, fail_on: str, status: int
) -> None:
    old, new = specs
    new.write_text(OLD.replace("10.0.0.0/8", becomes))
    assert compare(capsys, old, new, "--fail-on", fail_on)[0] == status


def test_a_difference_has_a_status_of_its_own(capsys: pytest.CaptureFixture[str], specs: tuple[Path, Path]) -> None:
    old, new = specs
    assert compare(capsys, old, new, "--detailed-exitcode")[0] == 0
    new.write_text(OLD.replace("10.0.0.0/8", "10.0.0.0/7"))
    assert compare(capsys, old, new, "--detailed-exitcode")[0] == 2
    assert compare(capsys, old, new, "--detailed-exitcode", "--fail-on", "granted")[0] == 1


def test_markdown_is_a_table_that_names_cannot_break(
    capsys: pytest.CaptureFixture[str], specs: tuple[Path, Path]
) -> None:
    old, new = specs
    new.write_text(
        OLD.replace('databases = ["shop"]', 'databases = ["shop", "a|b`c"]').replace(
            '"postgres", "shop", "reports"]', '"postgres", "shop", "reports", "a|b`c"]'
        )
    )
    assert run(["diff", str(old), str(new), "--format", "markdown"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| **granted**"))
    assert "``a\\|b`c``" in row
    assert row.replace("\\|", "").count("|") == 10


def git(directory: Path, *words: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(directory), *identity, *words], check=True, capture_output=True)


def test_a_revision_is_compared_with_its_includes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec, users = tmp_path / "db" / "pgtls.toml", tmp_path / "db" / "users.toml"
    spec.parent.mkdir()
    head, policies = OLD.split("[policy.admin]")
    spec.write_text(head.replace("version = 1", 'version = 1\ninclude = ["users.toml"]'))
    users.write_text("[policy.admin]" + policies.split("[lint]")[0])
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    users.write_text(users.read_text().replace("10.0.0.0/8", "10.0.0.0/7"))
    _, answer = compare(capsys, "git:HEAD", spec)
    assert [change["kind"] for change in answer["changes"]] == ["granted"]
    git(tmp_path, "commit", "-qam", "two")
    _, answer = compare(capsys, f"git:HEAD~1:{spec}", f"git:HEAD:{spec}")
    assert [change["kind"] for change in answer["changes"]] == ["granted"]
    assert compare(capsys, "git:HEAD", spec)[1]["changes"] == []


UNKNOWN = {
    "no such revision": ("git:nowhere", "git knows no such revision"),
    "before the first": ("git:HEAD~5", "git knows no such revision"),
    "a revision that is none": ("git:", "git knows no such revision"),
    "a file and no tree": ("git:HEAD:pgtls.toml:x", "that revision has no such file"),
    "no such file": ("git:HEAD:other.toml", "that revision has no such file"),
    "no such directory": ("git:HEAD:no/such/pgtls.toml", "that revision has no such file"),
    "an option": ("git:--output=x", "a revision does not begin with a dash"),
    "no repository": ("git:HEAD:/proc/self/pgtls.toml", "not a git repository"),
    "control characters": ("git:a\x1b[31m\nb", "git knows no such revision"),
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the example in its only commit."""
    (tmp_path / "pgtls.toml").write_text(OLD)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("revision", "reason"), UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.usefixtures("repository")
def test_a_revision_that_is_not_there(capsys: pytest.CaptureFixture[str], revision: str, reason: str) -> None:
    status, answer = compare(capsys, revision, "pgtls.toml")
    assert (status, [d["code"] for d in answer["diagnostics"]]) == (1, ["PGT292"])
    assert answer["diagnostics"][0]["message"].endswith(reason) or reason == "not a git repository"
    assert reason in answer["diagnostics"][0]["message"]
    assert run(["diff", revision, "pgtls.toml"]) == 1
    said = capsys.readouterr().err
    assert (said.count("\n"), "\x1b" in said) == (2, False)


def test_a_file_whose_directory_is_gone_is_there_still(capsys: pytest.CaptureFixture[str], repository: Path) -> None:
    (repository / "db").mkdir()
    git(repository, "mv", "pgtls.toml", "db/pgtls.toml")
    git(repository, "commit", "-qm", "two")
    git(repository, "mv", "db/pgtls.toml", "pgtls.toml")
    (repository / "db").rmdir()
    status, answer = compare(capsys, "git:HEAD:db/pgtls.toml", "pgtls.toml")
    assert (status, answer["changes"]) == (0, [])


@pytest.mark.usefixtures("repository")
def test_somebody_elses_repository_is_said_to_be_that(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    status, answer = compare(capsys, "git:HEAD", "pgtls.toml")
    (found,) = answer["diagnostics"]
    assert (status, found["code"]) == (1, "PGT292")
    assert "detected dubious ownership in repository at" in found["message"]
    assert found["hint"].startswith("git config --global --add safe.directory ")


def test_a_side_with_errors_says_them(capsys: pytest.CaptureFixture[str], specs: tuple[Path, Path]) -> None:
    old, new = specs
    new.write_text(OLD.replace('users     = ["app"]', 'users     = ["ap"]'))
    status, answer = compare(capsys, old, new)
    assert (status, [d["code"] for d in answer["diagnostics"] if d["severity"] == "error"]) == (1, ["PGT101"])


PEOPLE = """
version = 1
[ca.root]
[ca.clients]
[server.main]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
[user.postgres]
os_users = ["postgres", "admin"]
[user.alice]
ca = "clients"
[user.bob]
ca = "clients"
roles = ["bob", "alice"]
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "peer"
"""
ONE = "[policy.one]\nusers = {}\nfrom = ['10.0.0.0/8']\nauth = 'cert'\n"
USERS = ('["+staff"]', '["alice"]', '["alice", "bob"]', '["all"]', '["+staff", "alice"]')
KNOWN = '[user.alice]\nmember_of = ["staff"]'


def sides() -> list[Side]:
    """Every way of saying who may connect in one policy or two, where membership is known and where it is not."""
    return [
        _side(f"{head}{ONE.format(users)}priority = 1\n{ONE.replace('one', 'two').format(more) if more else ''}")
        for users in USERS
        for more in ("", '["+staff"]', '["bob"]')
        for head in (PEOPLE, PEOPLE.replace("[user.alice]", KNOWN))
    ]


def _side(text: str) -> Side:
    with TemporaryDirectory() as directory:
        spec = Path(directory, "pgtls.toml")
        spec.write_text(text)
        checked = check(spec, datetime(2026, 1, 1, tzinfo=UTC), spec.with_suffix(".lock"))
    assert checked.fleet is not None
    assert errors(checked.diagnostics) == ()
    return Side(checked.fleet, checked.rules)


def test_a_change_never_reads_the_same_before_and_after() -> None:
    changes = [change for one, other in permutations(sides(), 2) for change in diff(one, other)]
    assert {change.kind for change in changes} >= {"granted", "lost"}
    assert [change for change in changes if change.before == change.after] == []


WHOSE = {
    "the role's own name, where membership is not known": (
        '["alice"]',
        '["+staff"]',
        ("lost", "alice", "", " (nobody)"),
    ),
    "one of two": ('["alice", "bob"]', '["alice"]', ("lost", "alice", " (bob, alice)", "")),
    "the role's own name of two": ('["alice", "bob"]', '["bob"]', ("lost", "alice", " (alice, bob)", " (bob)")),
}


@pytest.mark.parametrize(("was", "becomes", "expected"), WHOSE.values(), ids=WHOSE)
def test_whose_certificate_is_accepted_is_said_where_that_changes(
    was: str, becomes: str, expected: tuple[str, str, str, str]
) -> None:
    kind, role, before, after = expected
    changes = diff(_side(PEOPLE + ONE.format(was)), _side(PEOPLE + ONE.format(becomes)))
    texts = {(change.kind, change.before, change.after) for change in changes if role in change.roles}
    assert (kind, *(f"cert{whose} over TLS, clients use verify-full" for whose in (before, after))) in texts


def test_another_map_or_another_operating_system_user_is_said() -> None:
    mapped = ONE.format('["alice"]') + "map = [{{ identity = '/^(.*)@{}$', role = 'alice' }}]\n"
    (granted, lost) = diff(_side(PEOPLE + mapped.format("one")), _side(PEOPLE + mapped.format("two")))
    assert (granted.kind, lost.kind) == ("granted", "lost")
    assert "cert (/^(.*)@one$ as alice, alice) over TLS" in granted.before
    assert "cert (/^(.*)@two$ as alice, alice) over TLS" in granted.after
    (change,) = diff(_side(PEOPLE), _side(PEOPLE.replace('"postgres", "admin"', '"postgres"')))
    assert (change.kind, change.before, change.after) == ("lost", "peer (admin, postgres)", "peer")


NUMBERED = [f"u{number:02}" for number in range(12)]
CROWD = PEOPLE + "".join(f'[user.{name}]\nca = "clients"\nroles = ["{name}", "app"]\n' for name in NUMBERED)
GRANT = f"""\
[policy.many]
users = {NUMBERED}
databases = {[f"d{name}" for name in NUMBERED]}
from = {[f"{name}.example.com" for name in NUMBERED]}
auth = 'cert'
"""


def printed(capsys: pytest.CaptureFixture[str], directory: Path, old: str, new: str, *words: str) -> str:
    for name, text in (("old.toml", old), ("new.toml", new)):
        (directory / name).write_text(text)
    assert run(["diff", str(directory / "old.toml"), str(directory / "new.toml"), *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("format_", ["text", "markdown", "json"])
def test_a_row_that_opens_access_names_everybody(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, format_: str
) -> None:
    """The ninth role, database, network or identity is the one that a reviewer has to see."""
    granted = printed(capsys, tmp_path, CROWD, CROWD + GRANT, "--format", format_)
    for name in NUMBERED:
        assert re.search(rf"[^d]\b{name}\b[^.]", granted), "as a role, and as an identity of the role app"
        assert f"d{name}" in granted
        assert f"{name}.example.com" in granted
    assert f"cert ({', '.join(NUMBERED)}) over TLS" in granted.replace("`", "")
    assert not re.search(r" and [0-9]+ more|…", granted)
    lost = printed(capsys, tmp_path, CROWD + GRANT, CROWD, "--format", format_).replace("`", "")
    assert (" and 4 more" in lost) is (format_ != "json"), "what opens nothing is cut"


@pytest.mark.parametrize("format_", ["text", "markdown", "json"])
def test_a_row_names_each_new_identity_and_some_of_the_others(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, format_: str
) -> None:
    old, new = (CROWD.replace('"app"', '"old"', count) + GRANT for count in (7, 0))
    found = printed(capsys, tmp_path, old, new, "--format", format_).replace("`", "")
    assert f"cert ({', '.join(NUMBERED[:7])} …) over TLS" in found
    assert f"cert ({', '.join(NUMBERED[7:])}) over TLS" in found


@pytest.mark.parametrize("format_", ["text", "markdown", "json"])
def test_a_weaker_protection_names_everybody_whom_it_concerns(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, format_: str
) -> None:
    weaker = CROWD + GRANT + 'sslmode = "require"\n'
    found = printed(capsys, tmp_path, CROWD + GRANT, weaker, "--format", format_).replace("`", "")
    assert f"of {', '.join(NUMBERED)}" in found


@pytest.fixture
def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the example, whose policies are in a file of their own, and the current directory."""
    monkeypatch.chdir(tmp_path)
    head, policies = OLD.split("[policy.admin]")
    policies, lint = policies.split("[lint]")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.toml").write_text(f"[policy.admin]{policies}")
    spec = head.replace("version = 1", 'version = 1\ninclude = ["policies/*.toml"]') + f"[lint]{lint}"
    (tmp_path / "pgtls.toml").write_text(spec)
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    return tmp_path


WIDE = '[policy.zz]\nusers = ["all"]\nfrom = ["10.0.0.0/8"]\ndatabases = ["postgres"]\nauth = "scram-sha-256"\n'


def test_alone_it_compares_the_spec_with_what_git_has_committed(
    split: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["diff"]) == 0
    assert capsys.readouterr().out == "no difference in access, protection or certificates\n"
    (split / "policies" / "zz.toml").write_text(WIDE)
    assert run(["diff", "--detailed-exitcode"]) == 2
    assert "granted" in capsys.readouterr().out
    assert run(["diff", "git:main", "--fail-on", "granted"]) == 1


@pytest.mark.parametrize("words", [("HEAD",), ("HEAD", "pgtls.toml"), ("pgtls.toml", "HEAD")])
def test_a_revision_without_git_gets_the_hint_to_write_it(
    split: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert run(["diff", *words]) == 1
    assert "git:HEAD" in capsys.readouterr().err


@pytest.mark.parametrize("attribute", ["export-ignore", "-text", "export-subst"])
def test_attributes_hide_no_file_of_a_revision(split: Path, capsys: pytest.CaptureFixture[str], attribute: str) -> None:
    (split / "policies" / "zz.toml").write_text(WIDE)
    (split / ".gitattributes").write_text(f"policies/*.toml {attribute}\n")
    git(split, "add", ".")
    git(split, "commit", "-qm", "two")
    status, answer = compare(capsys, "git:HEAD~1", "git:HEAD", "--fail-on", "granted")
    assert (status, {change["kind"] for change in answer["changes"]}) == (1, {"granted"})


def test_a_link_in_the_repository_is_a_fault_where_it_is_included(
    split: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (split / "link").symlink_to("/etc/hostname")
    git(split, "add", ".")
    git(split, "commit", "-qm", "two")
    assert compare(capsys, "git:HEAD", "pgtls.toml")[0] == 0
    (split / "policies" / "link.toml").symlink_to("/etc/hostname")
    git(split, "add", ".")
    git(split, "commit", "-qm", "three")
    status, answer = compare(capsys, "git:HEAD", "git:HEAD~1")
    assert (status, answer["diagnostics"][0]["file"]) == (1, "git:HEAD:policies/link.toml")


def test_a_pattern_that_is_widened_is_told_of_either_form(split: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = split / "pgtls.toml"
    spec.write_text(spec.read_text().replace("policies/*.toml", "**/*.toml"))
    git(split, "commit", "-qam", "two")
    for new in ("pgtls.toml", "git:HEAD"):
        status, answer = compare(capsys, "git:HEAD~1", new, "--fail-on", "weakened")
        (change,) = answer["protection"]
        assert (status, change["before"], change["after"]) == (1, "policies/*.toml", "**/*.toml")
        assert compare(capsys, "git:HEAD", new, "--fail-on", "any")[0] == 0


def test_a_submodule_that_is_not_checked_out_where_a_pattern_looks_is_told(
    split: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = split / "pgtls.toml"
    spec.write_text(spec.read_text().replace("policies/*.toml", "**/*.toml"))
    git(split, "commit", "-qam", "two")
    (split / "more").mkdir()
    git(split, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},more")
    git(split, "commit", "-qm", "three")
    status, answer = compare(capsys, "git:HEAD~1", "pgtls.toml", "--fail-on", "any")
    (change,) = answer["protection"]
    assert (status, change["kind"], change["what"]) == (1, "weakened", "it reads files by way of more")
    assert change["after"] == f"a submodule that is not checked out (commit {'1' * 40})"
    status, answer = compare(capsys, "git:HEAD~1", "git:HEAD")
    assert (status, answer["diagnostics"][0]["file"]) == (1, "git:HEAD:more")


@pytest.mark.parametrize("way", ["a link", "a submodule"])
def test_a_link_or_a_submodule_that_takes_the_place_of_the_spec_is_a_fault_of_either_form(
    repository: Path, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    """Both sides would be read through it, and show no difference."""
    for name in ("prod", "dev"):
        (repository / "specs" / name).mkdir(parents=True)
        (repository / "specs" / name / "pgtls.toml").write_text(OLD + (WIDE if name == "dev" else ""))
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "two")
    git(repository, "branch", "base")
    assert compare(capsys, "git:base", "specs/prod/pgtls.toml", "--fail-on", "any")[0] == 0
    git(repository, "rm", "-rq", "specs/prod")
    if way == "a link":
        (repository / "specs" / "prod").symlink_to("dev")
    else:
        shutil.copytree(repository / "specs" / "dev", repository / "specs" / "prod")
        git(repository / "specs" / "prod", "init", "-q", "-b", "base")
        git(repository / "specs" / "prod", "add", ".")
        git(repository / "specs" / "prod", "commit", "-qm", "one")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "three")
    for sides in (
        ("git:base", "specs/prod/pgtls.toml"),
        ("specs/prod/pgtls.toml", "git:base"),
        ("git:base:specs/prod/pgtls.toml", "git:HEAD:specs/prod/pgtls.toml"),
        ("git:base", str(repository / "specs" / "prod" / "pgtls.toml")),
    ):
        status, answer = compare(capsys, *sides)
        assert (status, [d["code"] for d in answer["diagnostics"]]) == (1, ["PGT292"]), sides
        assert way.removeprefix("a ") in answer["diagnostics"][0]["message"]
    status, answer = compare(capsys, "git:base:specs/prod/pgtls.toml", "specs/dev/pgtls.toml")
    assert (status, {change["kind"] for change in answer["changes"]}) == (0, {"granted"})


@pytest.fixture
def requesting(repository: Path) -> Path:
    """A repository whose spec is in a directory, and names a request in another: specs/pgtls.toml, certs/app.csr."""
    (repository / "specs").mkdir()
    (repository / "certs").mkdir()
    (repository / "certs" / "app.csr").write_text("one")
    spec = (repository / "pgtls.toml").read_text().replace("[user.app]", '[user.app]\ncsr_file = "../certs/app.csr"')
    (repository / "specs" / "pgtls.toml").write_text(spec)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "two")
    return repository


SPEC_IN_FOLDER = ("git:HEAD~1:specs/pgtls.toml", "git:HEAD:specs/pgtls.toml")


def test_a_file_outside_of_the_repository_is_not_compared_with_a_revision(
    requesting: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = requesting / "specs" / "pgtls.toml"
    (requesting.parent / f"{requesting.name}.csr").write_text("outside")
    spec.write_text(spec.read_text().replace("../certs/app.csr", f"../../{requesting.name}.csr"))
    git(requesting, "commit", "-qam", "three")
    git(requesting, "commit", "-q", "--allow-empty", "-m", "four")
    for sides in (SPEC_IN_FOLDER, ("git:HEAD", "specs/pgtls.toml")):
        status, answer = compare(capsys, *sides)
        assert (status, answer["protection"]) == (0, []), sides


def test_a_table_that_moves_and_names_a_file_outside_of_the_repository_is_a_weakening(
    requesting: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, more = requesting / "specs" / "pgtls.toml", requesting / "specs" / "more"
    more.mkdir()
    text = spec.read_text().replace("../certs/app.csr", "../../../../app.csr")
    text = text.replace("version = 1\n", 'version = 1\ninclude = ["more/*.toml"]\n', 1)
    (more / "elsewhere.toml").write_text('[network.elsewhere]\naddresses = ["192.0.2.0/24"]\n')
    spec.write_text(text)
    git(requesting, "add", ".")
    git(requesting, "commit", "-qm", "three")
    rest, _, table = text.partition("[user.app]")
    table, bracket, others = table.partition("\n[")
    spec.write_text(f"{rest}{bracket.strip()}{others}")
    (more / "app.toml").write_text(f"[user.app]{table}\n")
    git(requesting, "add", ".")
    git(requesting, "commit", "-qm", "four")
    (change,) = compare(capsys, *SPEC_IN_FOLDER)[1]["protection"]
    assert (change["kind"], change["entity"], change["what"]) == ("weakened", "user.app", "csr_file")


@pytest.mark.parametrize("link", ["certs/app.csr", "certs"])
def test_a_named_file_of_the_repository_that_becomes_a_link_is_a_weakening(
    requesting: Path, capsys: pytest.CaptureFixture[str], link: str
) -> None:
    (requesting / "other").mkdir()
    (requesting / "other" / "app.csr").write_text("two")
    git(requesting, "rm", "-rq", link)
    (requesting / link).parent.mkdir(exist_ok=True)
    (requesting / link).symlink_to("other" if link == "certs" else "../other/app.csr")
    git(requesting, "add", ".")
    git(requesting, "commit", "-qm", "three")
    for sides, state in ((SPEC_IN_FOLDER, "cannot be read"), (("git:HEAD~1", "specs/pgtls.toml"), "other content")):
        _, answer = compare(capsys, *sides)
        *ways, change = answer["protection"]
        assert (change["kind"], change["entity"], change["what"]) == ("weakened", "user.app", "csr_file")
        assert change["after"] == f"../certs/app.csr ({state})"
        assert [way["what"] for way in ways] == [f"it reads files by way of ../{link}"]
    git(requesting, "commit", "-q", "--allow-empty", "-m", "four")
    (change,) = compare(capsys, *SPEC_IN_FOLDER)[1]["protection"]
    assert change["before"] == change["after"] == "../certs/app.csr (cannot be read)", "nobody knows what a build reads"


def test_every_format_has_what_protects(specs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    old, new = specs
    new.write_text(OLD.replace("postgres  = 17", 'postgres  = 17\nciphers   = "HIGH|x"'.replace("|x", "")))
    _, answer = compare(capsys, old, new)
    (change,) = answer["protection"]
    assert (change["kind"], change["what"], change["after"]) == ("weakened", "ciphers", "HIGH")
    assert answer["summary"] == {"weakened": 1}
    assert run(["diff", str(old), str(new)]) == 0
    assert "! weakened: server.primary: ciphers\n" in capsys.readouterr().out
    assert run(["diff", str(old), str(new), "--format", "markdown"]) == 0
    assert "| **weakened** | `server.primary` | ciphers | none | HIGH |" in capsys.readouterr().out
    assert [run(["diff", str(old), str(new), "--fail-on", kind]) for kind in ("weakened", "granted", "any")] == [1] * 3


def _crowd(groups: int, others: int, pay: int, roll: int) -> str:
    """Write a spec in which two policies of one role meet in databases that only expressions name."""
    spec = 'version = 1\n[ca.root]\n[server.db]\nca = "root"\nhosts = ["localhost"]\npostgres = 17\nno_local = true\n'
    spec += "[user.carol]\n"
    policies = [(f"u{n}", f"u{n}", f"db{n}", 0) for n in range(others)]
    policies += [(f"g{n}", f"+g{n}", f"shared{n}", 0) for n in range(groups)]
    policies += [(f"c{n}", "carol", f"/^team{n}_", 100 + n) for n in range(6)]
    policies += [("pay", "carol", "/^pay", pay), ("roll", "carol", "/roll$", roll)]
    for name, role, database, priority in policies:
        spec += f"[user.{name}]\n" if name == role else ""
        spec += f'[policy.{name}]\nusers = ["{role}"]\ndatabases = ["{database}"]\nfrom = ["10.0.0.0/8"]\n'
        spec += f'priority = {priority}\nauth = "{"reject" if name == "pay" else "scram-sha-256"}"\n'
    return spec


@pytest.mark.parametrize(("groups", "others"), [(3, 3), (45, 20), (20, 101)])
def test_two_policies_of_a_named_role_change_places_among_many_groups_and_roles(groups: int, others: int) -> None:
    """Each pair of expressions of one role is looked at, however many groups and roles there are beside it."""
    old, new = (pgtls.loads(_crowd(groups, others, *order)) for order in ((20, 10), (10, 20)))
    (change,) = pgtls.diff(old, new).access
    assert (change.kind, change.roles, change.policies) == ("granted", ("carol",), ("pay", "roll"))
    (back,) = pgtls.diff(new, old).access
    assert (back.kind, back.roles) == ("lost", ("carol",))


def _own_database(own: str, teams: int = 7) -> str:
    """Write a spec in which a role that policies name is admitted by one group, and rejected by another."""
    spec = 'version = 1\n[ca.root]\n[server.db]\nca = "root"\nhosts = ["localhost"]\npostgres = 17\nno_local = true\n'
    spec += "[user.payroll]\n"
    policies = [("payroll", "payroll", "reports", "scram-sha-256"), ("staff", "+staff", "payroll", "scram-sha-256")]
    policies += [(f"t{n}", f"+t{n}", f"team{n}", "scram-sha-256") for n in range(teams)]
    policies += [("own", "+contractors", "sameuser", "reject")] * bool(own)
    for name, role, database, method in policies:
        spec += f'[policy.{name}]\nusers = ["{role}"]\ndatabases = ["{database}"]\nfrom = ["10.0.0.0/8"]\n'
        spec += f'auth = "{method}"\npriority = {5 * (name == "own")}\n'
    return spec


def test_a_role_that_policies_name_is_looked_at_in_the_groups_that_a_change_concerns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name of the database is that of the role: no other role shows what happens to it in both groups."""
    old, new = pgtls.loads(_own_database("own")), pgtls.loads(_own_database(""))
    monkeypatch.setattr(access_classes, "_MOST_PAIRS", 10)
    (change,) = pgtls.diff(old, new).access
    assert (change.kind, change.roles, change.databases) == ("granted", ("payroll",), ("payroll",))


def test_what_is_not_compared_is_a_weakening(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = pgtls.loads(_own_database("own")), pgtls.loads(_own_database(""))
    assert pgtls.diff(old, new).exceeds("granted")
    monkeypatch.setattr(access_classes, "_MOST_PAIRS", 0)
    (change,) = pgtls.diff(old, new).access
    assert (change.kind, change.server, change.before) == ("weakened", "db", "compared")
    assert change.after.startswith("not compared if the role is in two groups")
    assert change.policies == ("own", "staff", *(f"t{n}" for n in range(7)))
    assert not pgtls.diff(new, new)
