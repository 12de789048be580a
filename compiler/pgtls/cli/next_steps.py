"""What to do after a build: the last lines of its report."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from pgtls.cli import COMMANDS
from pgtls.language.words import some
from pgtls.pki.model import Entity
from pgtls.state import layout
from pgtls.store import is_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.api import Build
    from pgtls.plan.model import Step

_NAMED = 3
"""How many directories a line names."""


def next_steps(built: Build, out: str, words: Sequence[str]) -> Iterator[str]:
    """Return what to deploy, and where: only the servers and bundles that this build changed, in the plan's order.

    ``words`` are the arguments that name this spec to another command.
    """
    steps = built.steps
    if any(step.action in ("create", "renew") and _makes_ca_key(step) for step in steps):
        where = f"{out}, or keep the versions of its objects" if is_store(out) else f"{out}/ca"
        yield f"back up {where}: the keys of your CAs are there and nowhere else"
    deployments = [*_servers(built, out), *_poolers(built, out)], [*_clients(built, out)]
    for lines in reversed(deployments) if _bundles_first(built) else deployments:
        yield from lines
    if "verify" in COMMANDS and not built.hosts.keys().isdisjoint(_deployed(steps, "server")):
        yield f"run {shlex.join(['pgtls', 'verify', *words])}"


def _bundles_first(built: Build) -> bool:
    """Return whether the plan's order starts with bundles; where it starts with both, it is printed above."""
    return bool(built.waves) and all(entity.kind == "user" for entity in built.waves[0].entities)


_AFTER = {
    "reload": "which reloads PostgreSQL",
    "restart": "then restart PostgreSQL",
    "outage": "which reloads PostgreSQL; restart it where a setting asks for it",
}


def _servers(built: Build, out: str) -> Iterator[str]:
    steps, hosts = built.steps, built.hosts
    for cost, after in _AFTER.items():
        servers = [
            name for name in _deployed(steps, "server") if name in hosts and _cost(steps, f"server.{name}") == cost
        ]
        if servers:
            where, script = (
                _destination(hosts, servers),
                f"{servers[0] if len(servers) == 1 else 'NAME'}/{layout.INSTALLER}",
            )
            if is_store(out):
                fetch = _fetch(built, ".", "server", servers, out)
                yield f"run {fetch} on {where}, then sudo sh servers/{script}, {after}"
            else:
                yield f"{_copy(built, 'server', servers, out)} to {where}, run sudo sh {script} there, {after}"


def _poolers(built: Build, out: str) -> Iterator[str]:
    if poolers := [name for name in _deployed(built.steps, "pooler") if name in built.hosts]:
        where = "their poolers" if len(poolers) > 1 else built.hosts[poolers[0]]
        if is_store(out):
            yield f"run {_fetch(built, '.', 'pooler', poolers, out)} on {where}, and reload PgBouncer"
        else:
            yield f"{_copy(built, 'pooler', poolers, out)} to {where}, and reload PgBouncer"


def _clients(built: Build, out: str) -> Iterator[str]:
    users = [name for name in _deployed(built.steps, "user") if name in built.users]
    if users:
        where = "its client" if len(users) == 1 else "their clients"
        if is_store(out):
            yield f"run {_fetch(built, '.', 'user', users, out)} on {where}"
        else:
            yield f"{_copy(built, 'user', users, out)} to {where}"


def _fetch(built: Build, where: str, kind: str, names: Sequence[str], out: str) -> str:
    """Return the command that writes directories, with the keys in the clear."""
    identity = " --identity FILE" if built.encrypted else ""
    return f"pgtls fetch {where} {_entities(kind, names)} --out {out}{identity}"


def _copy(built: Build, kind: str, names: Sequence[str], out: str) -> str:
    """Return what to copy from an out directory. If its keys are encrypted, decrypt them first."""
    if not built.encrypted:
        return f"copy {_directories(out, kind, names)}"
    return f"run {_fetch(built, 'DIR', kind, names, out)}, copy {_directories('DIR', kind, names)}"


def _makes_ca_key(step: Step) -> bool:
    return step.entity.kind == "ca" and layout.key_path(step.entity) in step.files


def _deployed(steps: Sequence[Step], kind: str) -> list[str]:
    """Return the names of a kind whose deployed files change, without those that wait for their first certificate."""
    waiting = {step.entity for step in steps if step.action == "wait"}
    new = {step.entity for step in steps if step.action == "create"}
    changed = (step for step in steps if step.cost != "nothing" and step.action != "revoke")
    found = (step.entity for step in changed if step.entity not in waiting & new)
    return list(dict.fromkeys(entity.table[1] for entity in found if entity.kind == kind))


def _cost(steps: Sequence[Step], entity: str) -> str:
    """Return what it takes at a server, whatever else of it changes."""
    costs = {step.cost for step in steps if step.entity.partition("/")[0] == entity}
    return next((cost for cost in ("outage", "restart") if cost in costs), "reload")


def _directories(out: str, kind: str, names: Sequence[str]) -> str:
    return some([f"{out}/{layout.directory(Entity(f'{kind}.{name}'))}" for name in names], _NAMED)


def _entities(kind: str, names: Sequence[str]) -> str:
    return f"{kind}.{names[0]}" if len(names) == 1 else f"{kind}.NAME"


def _destination(hosts: Mapping[str, str], servers: Sequence[str]) -> str:
    return "their servers" if len(servers) > 1 else hosts[servers[0]]
