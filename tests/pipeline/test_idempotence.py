"""Nothing to do means nothing done; the order and the division of a spec mean nothing."""

from __future__ import annotations

import os
import random
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pgtls.cli import run
from pgtls.pipeline import build
from pgtls.state import transaction
from pgtls.state.transaction import commit
from pgtls.state.up_to_date import up_to_date
from support.building import NOW, SMALL, Place, steps

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLE = (Path(__file__).parents[2] / "pgtls.toml.example").read_text()
TEXTS = ("pg_hba.conf", "pg_ident.conf", "pgtls.conf", "pg_service.conf", "connections.json", "env.sh", "README.md")


def times(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(out.rglob("*")) if ".pgtls" not in path.parts}


def command_line(place: Place, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    status = run(["build", str(place.spec), "--now", "2026-01-02", *more])
    return status, capsys.readouterr().out


def test_a_second_build_changes_no_byte_and_no_time_but_the_manifests(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.build(EXAMPLE)
    os.utime(place.file("manifest.json"), (0, 0))
    before, stamps = place.state(), times(place.out)
    assert command_line(place, capsys) == (0, "nothing to do\n")
    assert place.state() == before
    after = times(place.out)
    changed = {path for path in stamps if stamps[path] != after[path]}
    assert changed == {str(place.file("manifest.json"))}


def test_a_build_without_the_quick_look_finds_nothing_to_do_either(place: Place) -> None:
    place.build(EXAMPLE)
    before = place.state()
    assert steps(place.build(now=NOW + timedelta(days=1))) == []
    after = place.state()
    assert {path for path in before if before[path] != after[path]} <= {"out/manifest.json"}


def test_another_spec_is_no_quick_look_away(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.build(EXAMPLE)
    place.spec.write_text(EXAMPLE.replace('databases = ["shop"]\n', 'databases = ["reports"]\n'))
    status, text = command_line(place, capsys)
    assert (status, "server.primary" in text) == (0, True)


def test_a_passing_renewal_window_is_no_quick_look_away(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.build(EXAMPLE)
    status = run(["build", str(place.spec), "--now", "2026-03-20"])
    assert (status, "renew" in capsys.readouterr().out) == (0, True)


def tables(spec: str) -> tuple[str, list[str]]:
    head, *rest = re.split(r"(?m)^(?=\[)", spec)
    return head, rest


def texts(place: Place) -> dict[str, bytes]:
    return {str(path.relative_to(place.out)): path.read_bytes() for path in place.out.rglob("*") if path.name in TEXTS}


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_tables_means_nothing(place: Place, seed: int) -> None:
    place.build(EXAMPLE)
    before, certificates = texts(place), place.file("clients/app/postgresql.crt").read_bytes()
    head, rest = tables(EXAMPLE)
    random.Random(seed).shuffle(rest)  # noqa: S311
    shuffled = head + "".join(rest)
    assert shuffled != EXAMPLE
    assert steps(place.build(shuffled)) == []
    assert (texts(place), place.file("clients/app/postgresql.crt").read_bytes()) == (before, certificates)


def test_a_spec_in_several_files_means_the_same(place: Place) -> None:
    place.build(EXAMPLE)
    before = texts(place)
    head, rest = tables(EXAMPLE)
    (place.directory / "parts").mkdir()
    for number, table in enumerate(rest):
        if not table.startswith("[lint"):
            place.append(f"../parts/{number % 3}.toml", table)
    lint = "".join(table for table in rest if table.startswith("[lint"))
    assert steps(place.build(f'{head}include = ["parts/*.toml"]\n{lint}')) == []
    assert texts(place) == before


def test_a_build_into_another_directory_compiles_the_same_texts(
    place: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place.build(EXAMPLE)
    other = Place(tmp_path_factory.mktemp("other"))
    other.build(EXAMPLE)
    assert texts(other) == texts(place)
    assert other.file("ca/root/ca.crt").read_bytes() != place.file("ca/root/ca.crt").read_bytes()


def test_what_was_edited_by_hand_is_written_again_and_the_plan_says_so(place: Place) -> None:
    place.build(SMALL)
    before = place.state()
    place.append("servers/main/pg_hba.conf", "host all all 0.0.0.0/0 trust\n")
    place.file("servers/main/server.key").chmod(0o644)
    (step,) = place.build().plan.steps
    assert (step.entity, step.action, step.cost) == ("server.main", "rewrite", "reload")
    assert "pg_hba.conf: it was edited by hand" in step.reason
    assert "server.key: its mode was changed" in step.reason
    after = place.state()
    assert {path for path in before if before[path] != after[path]} <= {"out/manifest.json"}


def test_files_of_others_are_left_alone_and_reported(place: Place) -> None:
    place.build(SMALL)
    note = place.file("servers/main/notes.txt")
    note.write_text("mine")
    planned = place.build(SMALL + "# a comment\n")
    assert [d.code for d in planned.diagnostics] == ["PGT528"]
    assert note.read_text() == "mine"


def test_a_mode_that_is_mended_costs_nothing(place: Place) -> None:
    place.build(SMALL)
    place.file("clients/app/postgresql.key").chmod(0o644)
    (step,) = place.build().plan.steps
    assert (step.entity, step.action, step.cost) == ("user.app", "rewrite", "nothing")
    assert place.file("clients/app/postgresql.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("replaced", ["the spec", "an included file", "a file that the spec names"])
def test_a_file_that_is_replaced_while_a_build_runs_is_compiled_by_the_next(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, replaced: str
) -> None:
    """A file changes at the end of the build: the digest must cover what the build had read by then."""
    spec = SMALL.replace("version = 1", 'version = 1\ninclude = ["users.toml"]') + REQUESTED
    included, request = place.directory / "users.toml", place.directory / "bob.csr"
    included.write_text('[user.alice]\nca = "clients"\n')
    request.write_bytes(signing_request())
    place.build(spec)

    def replace_then_commit(*arguments: object, **options: object) -> None:
        target = {"the spec": place.spec, "an included file": included}.get(replaced, request)
        target.write_bytes(
            signing_request() if target == request else target.read_bytes() + b'[user.later]\nca = "clients"\n'
        )
        commit(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(transaction, "commit", replace_then_commit)
    place.build(spec.replace('["db.example.com", "10.0.0.5"]', '["db.example.com"]'))
    monkeypatch.undo()
    assert "nothing to do" not in command_line(place, capsys)[1]
    assert "nothing to do" in command_line(place, capsys)[1]


REQUESTED = '[user.bob]\nca = "clients"\ncsr_file = "bob.csr"\n'


def signing_request() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("where", ["the spec", "an included file"])
def test_what_is_replaced_while_a_build_runs_is_built_by_the_next_one(place: Place, where: str) -> None:
    """The digest is that of the bytes that were compiled, so a leaver is never taken for built."""
    person = (
        '[user.leaver]\nca = "clients"\n[policy.leaver]\nusers = ["leaver"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
    )
    included = place.directory / "people.toml"
    included.write_text(person)
    place.write('include = ["people.toml"]\n' + SMALL)
    done = []

    def replaced(stage: str, total: int) -> Callable[[int], None]:
        done.append(stage)
        if where == "the spec":
            place.write(SMALL)
        else:
            included.write_text("# nobody\n")
        return lambda more: None

    build(place.request(), replaced)
    assert done
    assert not up_to_date(str(place.spec), str(place.out), str(place.lock), "", "2026-01-01T00:00:00Z")
    assert ("user.leaver", "delete") in steps(place.build())
    assert up_to_date(str(place.spec), str(place.out), str(place.lock), "", "2026-01-01T00:00:00Z")


def test_what_others_did_to_several_files_is_one_reason(place: Place) -> None:
    place.build(SMALL)
    for path in place.file("clients/app").iterdir():
        path.chmod(0o666)
    (step,) = place.plan().plan.steps
    assert step.reason.endswith(" more: their modes were changed"), step.reason
    assert step.reason.count("mode") == 1
