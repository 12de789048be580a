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
