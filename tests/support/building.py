"""Builds in this process: a spec as text, a directory, an instant."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pgtls.certificates.asked import Asked
from pgtls.pipeline import build, confirm, plan
from pgtls.stages import Planned, Request

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 1, tzinfo=UTC)

NOTHING = Asked()

SMALL = """
version = 1
[ca.root]
[ca.clients]
[server.main]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com", "10.0.0.5"]
[user.postgres]
[user.app]
ca = "clients"
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


@dataclass(slots=True)
class Place:
    """A spec with its lock and out directory."""

    directory: Path

    @property
    def spec(self) -> Path:
        return self.directory / "pgtls.toml"

    @property
    def lock(self) -> Path:
        return self.directory / "pgtls.lock"

    @property
    def out(self) -> Path:
        return self.directory / "out"

    def write(self, spec: str) -> None:
        self.spec.write_text(spec)

    def append(self, path: str, text: str) -> None:
        with self.file(path).open("a") as file:
            file.write(text)

    def request(
        self, spec: str | None = None, *, now: datetime = NOW, new_out: bool = False, asked: Asked = NOTHING
    ) -> Request:
        """Write the spec, if one is given, and ask for a build of it."""
        if spec is not None:
            self.write(spec)
        return Request(self.spec, str(self.out), str(self.lock), now, asked, new_out=new_out)

    def build(
        self, spec: str | None = None, *, now: datetime = NOW, new_out: bool = False, asked: Asked = NOTHING
    ) -> Planned:
        return build(self.request(spec, now=now, new_out=new_out, asked=asked))

    def plan(self, spec: str | None = None, *, now: datetime = NOW, asked: Asked = NOTHING) -> Planned:
        return plan(self.request(spec, now=now, asked=asked))

    def confirm(self, *entities: str, now: datetime = NOW) -> None:
        """Record that what the last build made is deployed, of everything if nothing is named."""
        confirm(self.request(now=now), entities or ("all",), "confirm", "as tests deploy")

    def file(self, path: str) -> Path:
        return self.out / path

    def state(self) -> dict[str, tuple[int, str]]:
        """Return mode and digest by path of everything in the out directory, and of the lock.

        Leave out pgtls's own working files.
        """
        files = [path for path in sorted(self.out.rglob("*")) if ".pgtls" not in path.parts and path.is_file()]
        files += [self.lock] if self.lock.exists() else []
        return {
            str(path.relative_to(self.directory)): (
                path.stat().st_mode & 0o7777,
                hashlib.sha256(path.read_bytes()).hexdigest(),
            )
            for path in files
        }


def steps(planned: Planned) -> list[tuple[str, str]]:
    """Each step as entity and action."""
    return [(step.entity, step.action) for step in planned.plan.steps]


def reason(planned: Planned, entity: str) -> str:
    """Why something happens to an entity."""
    return next(step.reason for step in planned.plan.steps if step.entity == entity)
