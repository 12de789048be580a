"""The scenarios of docs/scenarios on a server: spec compiled for its version, roles and databases made, files live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.pgtls import SCENARIOS, compiled_for, pgtls

if TYPE_CHECKING:
    from pathlib import Path

    from support.pgtls import Run
    from support.servers import Server

PASSWORD = "correct horse"
KNOWN = {"PGPASSWORD": PASSWORD}
"""What a client who knows the password has in its environment."""


def compiled_scenario(name: str, server: Server, made_by: str = "us") -> Path:
    """Return the out directory of a scenario, compiled for the version of ``server``."""
    return compiled_for(SCENARIOS / name / "pgtls.toml", server.version, made_by)


def enact(
    name: str, server: Server, roles: tuple[str, ...], databases: tuple[str, ...] = ("shop",), entity: str = "db"
) -> Path:
    """Put a scenario into force on ``server`` and give its out directory."""
    server.populate(roles, databases, PASSWORD)
    out = compiled_scenario(name, server)
    complaints = [
        line for line in server.install(out / "servers" / entity).splitlines() if "WARNING" in line or "ERROR" in line
    ]
    assert complaints == []
    assert server.hba_errors() == []
    return out


def verified(out: Path, server: Server, entity: str = "db", *words: str) -> Run:
    """Verify a running server against the out directory that it was installed from."""
    spec, lock = out.parent / "pgtls.toml", out.with_suffix(".lock")
    where = ("--out", out, "--lock", lock, "--server", entity, "--host", "127.0.0.1", "--port", str(server.port))
    return pgtls("verify", spec, *where, *words)
