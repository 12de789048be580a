"""Trees that were damaged or rearranged.

A plan announces what the build reports, damage that a build cannot fix stays as it is, and no file is lost.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lifecycle.fleets import DAY
from pgtls.certificates.asked import Asked
from pgtls.cli import run
from pgtls.diagnostics import Rejected
from pgtls.pipeline import build, plan, status
from pgtls.state import lock as locks
from support.building import NOTHING, NOW, SMALL, Place, steps
from support.interrupting import is_whole, pairs_match
from support.killing import in_child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY, README = "clients/app/postgresql.key", "clients/app/README.md"
CA_KEY, CA = "ca/clients/ca.key", "ca/clients/ca.crt"
ALL = Asked(renew=frozenset({"all"}))


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "mine").write_text("mine")


def file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("mine")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def huge(path: Path) -> None:
    os.truncate(path, 1 << 40)


def link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def gone(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def refused(place: Place, asked: Asked = NOTHING) -> list[str]:
    """What plan and build say, which must be the same, and that nothing changed."""
    before = sorted((str(path), path.lstat().st_ino) for path in place.out.rglob("*"))
    said = []
    for command in (place.plan, place.build):
        with pytest.raises(Rejected) as rejected:
            command(now=NOW + DAY, asked=asked)
        said.append([f"{d.code}: {d.message}" for d in rejected.value.diagnostics if d.severity == "error"])
        assert all(d.hint for d in rejected.value.diagnostics)
    assert said[0] == said[1]
    assert before == sorted((str(path), path.lstat().st_ino) for path in place.out.rglob("*"))
    return said[0]


IN_THE_WAY: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "a directory where a text was": (
        README,
        directory,
        f'PGT526: a directory lies where the build needs a file: "{README}"',
    ),
    "a directory where a key was": (KEY, directory, f'PGT526: a directory lies where the build needs a file: "{KEY}"'),
    "a file where a directory was": (
        "clients",
        file,
        'PGT526: a file lies where the build needs a directory: "clients"',
    ),
    "a link where a directory was": (
        "clients/app",
        link,
        'PGT525: "clients/app" in the out directory is a symbolic link',
    ),
    "a link where the manifest was": (
        "manifest.json",
        link,
        'PGT525: "manifest.json" in the out directory is a symbolic link',
    ),
    "a link where the private directory was": (
        ".pgtls",
        link,
        'PGT525: ".pgtls" in the out directory is a symbolic link',
    ),
    "a pipe where the manifest was": ("manifest.json", pipe, "PGT510: the manifest is damaged: it is no regular file"),
}


@pytest.mark.parametrize("case", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_what_lies_in_the_way_is_foreseen_by_the_plan_and_stays(
    place: Place, case: tuple[str, Callable[[Path], None], str]
) -> None:
    path, damage, message = case
    place.build(SMALL)
    damage(place.file(path))
    (said,) = refused(place, ALL)
    assert said.startswith(message)


@pytest.mark.parametrize("damage", [pipe, huge, endless, cut, link], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize(
    "path", [KEY, "clients/app/postgresql.crt", "clients/app/root.crt", README, "ca/clients/ca.crl"]
)
def test_what_is_no_file_of_ours_any_more_is_written_again(
    place: Place, path: str, damage: Callable[[Path], None]
) -> None:
    place.build(SMALL)
    before = place.state()
    damage(place.file(path))
    assert len(steps(place.plan(now=NOW + DAY))) >= 1
    place.build(now=NOW + DAY)
    pairs_match(place)
    assert place.state().keys() - before.keys() <= {"out/" + path.rpartition("/")[0] + "/moved"}
    assert steps(place.build(now=NOW + DAY)) == []


@pytest.mark.parametrize("damage", [pipe, huge, endless, cut, directory], ids=lambda damage: damage.__name__)
def test_a_ca_whose_key_is_no_key_any_more_is_not_made_anew(place: Place, damage: Callable[[Path], None]) -> None:
    place.build(SMALL)
    damage(place.file(CA_KEY))
    (said,) = refused(place)
    assert said.startswith('PGT550: the private key of CA "clients" is')


def test_a_ca_whose_certificate_is_lost_gets_another_one_for_the_same_key(place: Place) -> None:
    place.build(SMALL)
    key, leaf = place.file(CA_KEY).read_bytes(), place.file("clients/app/postgresql.crt").read_bytes()
    place.file(CA).unlink()
    planned = place.build(now=NOW + DAY)
    assert {entity for entity, action in steps(planned) if action in ("create", "renew")} == {"ca.clients"}
    assert (place.file(CA_KEY).read_bytes(), place.file("clients/app/postgresql.crt").read_bytes()) == (key, leaf)
    first, second = (line for line in locks.read(place.lock).issued if line.entity == "ca.clients")
    assert first.certificate.key_id == second.certificate.key_id
    pairs_match(place)


@pytest.mark.parametrize("damage", [gone, cut], ids=lambda damage: damage.__name__)
def test_a_ca_whose_certificate_is_lost_and_whose_key_is_another_s_is_not_made_anew(
    place: Place, damage: Callable[[Path], None]
) -> None:
    place.build(SMALL)
    damage(place.file(CA))
    shutil.copyfile(place.file("ca/root/ca.key"), place.file(CA_KEY))
    (said,) = refused(place)
    assert said.startswith('PGT550: the private key of CA "clients" is not the one that its certificate was made for')


@pytest.mark.parametrize("name", ["", "postgresql.key", "postgresql.crt"])
def test_what_changed_places_unread_gets_its_own_again(place: Place, name: str) -> None:
    two = SMALL.replace('users = ["app"]', 'users = ["app", "etl"]') + '[user.etl]\nca = "clients"\n'
    place.build(two)
    one, other, aside = place.file(f"clients/app/{name}"), place.file(f"clients/etl/{name}"), place.directory / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    place.build(now=NOW + DAY)
    pairs_match(place)
    assert is_whole(place)
    assert "etl" not in place.file("clients/app/connections.json").read_text()
    assert steps(place.build(now=NOW + DAY)) == []


EXTERNAL = SMALL.replace('ca = "root"\n', 'ca = "root"\nexternal = true\n')


def test_a_key_whose_request_is_out_is_not_replaced_unsaid(place: Place) -> None:
    place.build(EXTERNAL)
    key = place.file("servers/main/server.key")
    cut(key)
    (said,) = refused(place)
    assert said == "PGT557: the private key of server.main, which its CSR is for, cannot be read"
    key.unlink()
    request = place.file("servers/main/server.csr").read_bytes()
    planned = place.build(now=NOW + DAY)
    assert "the key of its CSR is missing" in planned.plan.steps[-1].reason
    assert place.file("servers/main/server.csr").read_bytes() != request
    assert "nobody has signed it yet" in place.plan(now=NOW + DAY).plan.steps[-1].reason


@pytest.mark.parametrize("name", ["ca.crt", "ca.key"])
@pytest.mark.parametrize("damage", [cut, gone], ids=lambda damage: damage.__name__)
def test_a_damaged_ca_that_left_the_spec_is_said_as_long_as_it_matters(
    place: Place, name: str, damage: Callable[[Path], None]
) -> None:
    left = SMALL.replace("clients", "people")
    place.build(SMALL)
    place.build(left, now=NOW + DAY, asked=Asked(accept_outage=True))
    (directory,) = place.file("ca/.retired").iterdir()
    assert place.plan(now=NOW + 2 * DAY).diagnostics == ()
    before = (directory / "ca.crl").read_bytes()
    damage(directory / name)
    how = "is missing" if damage is gone else "was changed"
    path = f"ca/.retired/{directory.name}/{name}"
    for command in (place.plan, place.build):
        (warning,) = command(now=NOW + 2 * DAY).diagnostics
        assert (warning.code, warning.severity) == ("PGT562", "warning")
        assert warning.message == f"the CRL of ca.clients, which left the spec, cannot be signed again: {path} {how}"
    assert (directory / "ca.crl").read_bytes() == before
    assert place.plan(now=NOW + 100 * DAY).diagnostics == (), "nobody has a certificate of it any more"


def test_a_hard_link_to_a_key_keeps_what_it_had(place: Place) -> None:
    place.build(SMALL)
    copy = place.directory / "copy.key"
    os.link(place.file(KEY), copy)
    before = copy.read_bytes()
    place.build(now=NOW + DAY, asked=ALL)
    assert copy.read_bytes() == before
    assert place.file(KEY).read_bytes() != before
    assert place.file(KEY).stat().st_nlink == 1


# ---- the lock in the out directory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", ["out/example.lock", "out/locks/example.lock"])
def test_a_lock_in_the_out_directory_is_never_taken_for_somebody_else_s(
    place: Place, lock: str, capfd: pytest.CaptureFixture[str]
) -> None:
    place.write(SMALL)
    path = place.directory / lock
    path.parent.mkdir(parents=True)
    words = [str(place.spec), "--out", str(place.out), "--lock", str(path)]
    for day, line in enumerate(
        (
            "build",
            "build",
            "build --check",
            "build --renew all",
            "build --renew user.app --check",
            "plan",
            "status",
            "access",
        ),
        1,
    ):
        command, *options = line.split()
        assert run([command, *words, *options, "--now", f"2026-01-{day:02}"]) in (0, 2), line
        assert "PGT5" not in capfd.readouterr().err, line
    place.file("mine").touch()
    assert run(["plan", *words, "--now", "2026-01-09"]) == 0
    assert '"mine"\n' in capfd.readouterr().err
    assert len(locks.read(path).issued) == 8


def test_a_lock_that_is_staged_in_the_out_directory_is_not_foreign_either(place: Place) -> None:
    request = replace(place.request(SMALL, now=NOW + DAY), lock=str(place.out / "example.lock"))
    build(request)
    renewal = replace(request, asked=ALL)
    total = in_child(lambda: build(renewal)).writes
    assert total is not None
    seen = set()
    for number in range(1, total, 3):
        assert in_child(lambda number=number: build(renewal), kill_at=number).killed  # type: ignore[misc]
        seen |= {path.name[-4:] for path in place.out.glob(".example*")}
        if not (place.out / ".pgtls/commit.json").exists():
            assert plan(request).diagnostics == ()
            assert status(request).diagnostics == ()
        assert build(request).diagnostics == ()
    assert seen == {".new"}


def test_an_out_directory_with_nothing_left_but_the_lock_is_as_good_as_none(place: Place) -> None:
    request = replace(place.request(SMALL), lock=str(place.out / "example.lock"))
    build(request)
    for path in place.out.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "example.lock":
            path.unlink()
    before = (place.out / "example.lock").read_bytes()
    assert [d.code for d in plan(request).diagnostics] == ["PGT555"]
    with pytest.raises(Rejected, match="PGT555"):
        build(request)
    assert (place.out / "example.lock").read_bytes() == before
    build(replace(request, new_out=True, asked=Asked(new_ca=frozenset({"root", "clients"}))))
    assert {line.serial for line in locks.parse(before, "").issued} < {
        line.serial for line in locks.read(place.out / "example.lock").issued
    }


def test_a_lost_tree_is_built_anew_around_the_keys_of_its_cas(place: Place) -> None:
    place.build(SMALL)
    kept = {name: place.file(f"ca/{name}/ca.key").read_bytes() for name in ("root", "clients")}
    for name, key in kept.items():
        (place.directory / f"{name}.key").write_bytes(key)
    shutil.rmtree(place.out)
    lent = {name: str(place.directory / f"{name}.key") for name in kept}
    swapped = Asked(ca_keys=(("root", lent["clients"]), ("clients", lent["root"])))
    with pytest.raises(Rejected, match=r"PGT550: the private key of CA .* is not the one"):
        place.build(new_out=True, asked=swapped)
    assert not place.out.exists()
    place.build(now=NOW + DAY, new_out=True, asked=Asked(ca_keys=tuple(lent.items())))
    assert {name: place.file(f"ca/{name}/ca.key").read_bytes() for name in kept} == kept
    assert len({line.certificate.key_id for line in locks.read(place.lock).issued if line.entity == "ca.root"}) == 1
    pairs_match(place)
    assert is_whole(place)
    assert steps(place.build(now=NOW + DAY)) == []


# ---- what is not about a place of the spec ---------------------------------------------------------------------------


def test_what_is_not_about_a_place_of_the_spec_names_none(place: Place) -> None:
    place.build(SMALL)
    (place.directory / "no.key").write_text("x")
    cases = {
        "PGT556": Asked(renew=frozenset({"user.ap"})),
        "PGT566": Asked(ca_keys=(("client", str(place.directory / "no.key")),)),
    }
    for code, asked in cases.items():
        with pytest.raises(Rejected) as rejected:
            place.plan(asked=asked)
        (fault,) = rejected.value.diagnostics
        assert (fault.code, fault.place) == (code, None)
        assert str(fault.hint).startswith("did you mean")


def test_a_key_that_is_lent_for_nothing_points_at_its_ca(place: Place) -> None:
    place.build(SMALL)
    (place.directory / "no.key").write_text("x")
    for path in (place.directory / "no.key", place.directory / "absent", place.file("ca/root/ca.key")):
        with pytest.raises(Rejected) as rejected:
            place.plan(asked=Asked(ca_keys=(("clients", str(path)),)))
        (fault,) = rejected.value.diagnostics
        assert fault.place
        assert (fault.code, fault.place.text) == ("PGT566", "[ca.clients]")
        assert fault.hint


def test_a_missing_out_directory_is_said_as_fits_the_command(place: Place) -> None:
    place.build(SMALL)
    shutil.rmtree(place.out)
    (warning,) = place.plan().diagnostics
    assert (warning.code, warning.severity, warning.place) == ("PGT555", "warning", None)
    assert "--new-out" not in str(warning.hint)
    with pytest.raises(Rejected) as rejected:
        place.build()
    (fault,) = rejected.value.diagnostics
    assert (fault.code, fault.severity) == ("PGT555", "error")
    assert "--new-out builds a new one" in str(fault.hint)
    assert "taken as present" not in fault.message
