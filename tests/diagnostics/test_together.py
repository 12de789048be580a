"""Every problem of a spec is found in one run, and each once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from support.diagnosing import diagnose

if TYPE_CHECKING:
    from pathlib import Path

TOP = """\
version = 1
include = ["users/*.toml", "groups/*.toml"]  # no groups

[defaults.user]
validity = "90 days"

[ca.root]
isuer = "x"

[server.primary]
ca        = "rot"
hosts     = ["db.example.com"]
port      = "5432"
client_ca = ["root"]

[policy.admin]
users = ["postgres", "nobody"]
from  = ["local"]
auth  = "peer"

[policy.app]
users = ["app", "a.b"]
from  = ["10.0.0.5/24"]
auth  = "cert"
"""

USERS = """\
[user.postgres]
[user.app]
ca = "clients"
[user.a.b]
ca = "root"
[user.misspelt]
cs = "root"
"""


def test_faults_of_shape_do_not_hide_those_of_names(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users/a.toml").write_text(USERS)
    spec = tmp_path / "pgtls.toml"
    spec.write_text(TOP)
    found = diagnose(spec)
    where = [(os.path.basename(d.place.file), d.place.line, d.code) for d in found if d.place]
    assert where == [
        ("pgtls.toml", 2, "PGT020"),
        ("pgtls.toml", 5, "PGT013"),
        ("pgtls.toml", 8, "PGT010"),
        ("pgtls.toml", 11, "PGT101"),
        ("pgtls.toml", 13, "PGT012"),
        ("pgtls.toml", 17, "PGT101"),
        ("pgtls.toml", 23, "PGT202"),
        ("a.toml", 3, "PGT101"),
        ("a.toml", 4, "PGT010"),
        ("a.toml", 7, "PGT010"),
    ]
    assert len(where) == len(found)


FAR_TOP = """\
version = 1
include = ["users/*.toml"]

[ca.root]

[server.primary]
ca        = "root"
client_ca = ["root"]
hosts     = ["db.example.com"]

[policy.app]
users = ["app", "elsewhere"]
from  = ["10.0.0.5/24", "@office"]
auth  = "cetr"
"""


def test_a_file_that_cannot_be_read_hides_nothing_but_what_may_lie_in_it(tmp_path: Path) -> None:
    """Neither names that it may define, nor the policy for the Unix socket that it may hold, are missed."""
    (tmp_path / "users").mkdir()
    (tmp_path / "users/a.toml").write_text('[user.app]\nca = "elsewhere"\nvalidity = "9"\n[user.idle]\n')
    (tmp_path / "users/b.toml").write_text("[user.elsewhere\n")
    (tmp_path / "users/c.toml").write_text('[network.lab]\naddresses = ["10.1.1.1/16"]\n')
    spec = tmp_path / "pgtls.toml"
    spec.write_text(FAR_TOP)
    assert _found(spec) == [
        ("pgtls.toml", 13, "PGT202"),
        ("pgtls.toml", 14, "PGT207"),
        ("a.toml", 3, "PGT013"),
        ("b.toml", 1, "PGT003"),
        ("c.toml", 2, "PGT202"),
    ]
    (tmp_path / "users/b.toml").write_text("[group.empty]\nusers = ['app']\n")  # readable, and nothing of it there
    assert {("pgtls.toml", 12, "PGT101"), ("pgtls.toml", 13, "PGT101"), ("a.toml", 2, "PGT101")} < set(_found(spec))


def test_a_name_that_is_too_long_for_everything_is_one_mistake(tmp_path: Path) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(FAR_TOP.replace('include = ["users/*.toml"]', "") + f'[user.{"a" * 65}]\nca = "root"\n')
    assert [code for _, line, code in _found(spec) if line == 15] == ["PGT015"]


def test_a_server_without_a_name_is_no_second_server(tmp_path: Path) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(
        '[server]\nport = 5433\n[server.primary]\nca = "root"\nhosts = ["a"]\n[ca.root]\n'
        '[user.postgres]\n[policy.admin]\nusers = ["postgres"]\nfrom = ["local"]\nauth = "peer"\n'
    )
    assert [(line, code) for _, line, code in _found(spec)] == [(1, "PGT005"), (2, "PGT012")]


def _found(spec: Path) -> list[tuple[str, int, str]]:
    return [(os.path.basename(d.place.file), d.place.line, d.code) for d in diagnose(spec) if d.place]
