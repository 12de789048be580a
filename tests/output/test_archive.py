"""``bundle = "zip"``: one file with the whole bundle, equal for equal files."""

from __future__ import annotations

import shutil
import stat
import subprocess
import zipfile
from datetime import timedelta
from typing import TYPE_CHECKING

from support.building import NOW, SMALL, Place, reason, steps
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

ZIPPED = SMALL.replace("[user.app]", '[user.app]\nbundle = "zip"\nformats = ["pkcs8-der"]')


def archive(place: Place) -> Path:
    return place.file("clients/app/app.zip")


def test_the_archive_has_every_file_of_the_bundle_with_its_mode(place: Place) -> None:
    place.build(ZIPPED)
    assert stat.S_IMODE(archive(place).stat().st_mode) == 0o600
    with zipfile.ZipFile(archive(place)) as opened:
        assert opened.testzip() is None
        found = {one.filename: (one.external_attr >> 16, opened.read(one)) for one in opened.infolist()}
    files = [path for path in place.file("clients/app").iterdir() if path != archive(place)]
    assert found == {f"app/{path.name}": (path.stat().st_mode, path.read_bytes()) for path in files}
    assert found["app/postgresql.key"][0] == found["app/postgresql.pk8"][0] == 0o100600


def test_a_second_build_keeps_it_and_one_from_scratch_of_the_same_files_makes_the_same(place: Place) -> None:
    place.build(ZIPPED)
    before = archive(place).read_bytes()
    assert steps(place.build()) == []
    place.build(ZIPPED.replace('bundle = "zip"', ""))
    assert not archive(place).exists()
    place.build(ZIPPED)
    assert archive(place).read_bytes() == before
    archive(place).unlink()
    place.build()
    assert archive(place).read_bytes() == before


def test_a_changed_file_goes_into_a_new_archive(place: Place) -> None:
    for spec, now in ((ZIPPED, NOW), (ZIPPED.replace('"shop"', '"other"'), NOW), (ZIPPED, NOW + timedelta(days=70))):
        place.build(spec, now=now)
        with zipfile.ZipFile(archive(place)) as opened:
            for path in place.file("clients/app").iterdir():
                assert path == archive(place) or opened.read(f"app/{path.name}") == path.read_bytes(), path
    place.build(ZIPPED.replace('formats = ["pkcs8-der"]', ""), now=NOW + timedelta(days=70))
    assert "app/postgresql.pk8" not in zipfile.ZipFile(archive(place)).namelist()


def test_a_key_that_is_not_here_is_not_in_the_archive(place: Place) -> None:
    words = [
        "openssl",
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=app",
    ]
    words += ["-keyout", str(place.directory / "app.key"), "-out", str(place.directory / "app.csr")]
    subprocess.run(words, check=True, capture_output=True)
    place.build(SMALL.replace("[user.app]", '[user.app]\nbundle = "zip"\ncsr_file = "app.csr"'))
    names = zipfile.ZipFile(archive(place)).namelist()
    assert ("app/postgresql.crt" in names, "app/postgresql.key" in names) == (True, False)
    assert stat.S_IMODE(archive(place).stat().st_mode) == 0o600


def test_who_has_a_password_has_an_archive_without_keys_and_may_go_with_others(place: Place) -> None:
    users = "".join(f'[user.u{number}]\nbundle = "zip"\n' for number in range(5))
    policy = '[policy.more]\nusers = ["u0", "u1", "u2", "u3", "u4"]\nfrom = ["10.0.0.0/8"]\nauth = "scram-sha-256"\n'
    planned = place.build(SMALL + users + policy)
    assert reason(planned, "user.u0") == "it is new"
    assert "root.crt" in zipfile.ZipFile(place.file("clients/u0/u0.zip")).read("u0/install.sh").decode()
    place.build(SMALL)
    assert not place.file("clients/u0").exists()


def test_what_unzip_unpacks_is_installed(place: Place, tmp_path: Path) -> None:
    place.build(ZIPPED)
    shutil.unpack_archive(archive(place), tmp_path / "unpacked")
    home = tmp_path / "home"
    home.mkdir()
    words = ["dash", str(tmp_path / "unpacked" / "app" / "install.sh")]
    subprocess.run(words, check=True, capture_output=True, env={**ENVIRONMENT, "HOME": str(home)})
    assert stat.S_IMODE((home / ".postgresql" / "postgresql.key").stat().st_mode) == 0o600
