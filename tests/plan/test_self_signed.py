"""The two steps of a self-signed server's renewal, as the status tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plan.specs import BUILT, build
from support.pgtls import pgtls

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """\
version = 1

[server.main]
ca       = "self-signed"
hosts    = ["db.example.com"]
validity = "90d"
no_local = true

[user.app]

[policy.app]
users     = ["app"]
databases = ["shop"]
from      = ["10.0.0.0/8"]
auth      = "scram-sha-256"
"""


def states(here: Path, now: str) -> list[tuple[str, str]]:
    run = pgtls("status", "--format", "json", cwd=here, now=now)
    assert run.status == 0, run.stderr
    return [(item["state"], item["todo"]) for item in run.json["items"]]


def test_each_step_is_due_in_its_time_and_what_is_not_served_yet_is_no_former_one(tmp_path: Path) -> None:
    build(tmp_path, SPEC)
    assert states(tmp_path, BUILT) == [("ok", "")]

    due = "2026-03-03"
    assert states(tmp_path, due) == [("due", "pgtls build makes its next one, which clients get first")]
    assert pgtls("build", cwd=tmp_path, now=due).status == 0
    assert states(tmp_path, due) == [("ok", ""), ("next", "")]
    served = (tmp_path / "out/servers/main/server.crt").read_bytes()

    half = "2026-03-18"
    assert states(tmp_path, half)[0][0] == "waiting", "nothing says that clients trust it"
    assert pgtls("confirm", "user.app", "--reason", "copied", cwd=tmp_path, now=half).status == 0
    assert states(tmp_path, half)[0] == ("due", "pgtls build serves its next one")
    assert pgtls("build", cwd=tmp_path, now=half).status == 0
    assert (tmp_path / "out/servers/main/server.crt").read_bytes() != served
    assert states(tmp_path, half) == [("ok", ""), ("superseded", "")]
