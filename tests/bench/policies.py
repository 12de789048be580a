"""A spec with many policies, and the cost of parsing and validating it.

The bench compares the proof, ``access`` and ``diff`` with that cost.

Run with the paths of specs, it loads, resolves and checks them, and stops there.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = """version = 1
[ca.root]
[ca.clients]
[defaults.server]
ca        = "root"
client_ca = ["clients"]
no_local  = true
[defaults.user]
ca = "clients"
"""


def spec_text(users: int, policies: int, servers: int, reach: int, *, widened: bool = False) -> str:
    """Return a spec whose policies apply to ``reach`` servers each.

    Each policy names its own users, and all overlap in a role that these users share.

    ``widened``: with another network in one of them.
    """
    return HEAD + "\n".join((*_servers(servers), *_users(users), *_policies(users, policies, servers, reach, widened)))


def crowded(policies: int) -> str:
    """Write a spec with that many policies on one server, one user and one network each."""
    one = '[policy.p{0}]\nusers = ["u{0:05d}"]\ndatabases = ["d{1}"]\nfrom = ["10.{2}.{3}.0/24"]\nauth = "cert"'
    parts = (one.format(number, number % 50, *divmod(number, 256)) for number in range(policies))
    return HEAD + "\n".join((*_servers(1), *(f"[user.u{number:05d}]" for number in range(policies)), *parts))


def spread(networks: int) -> str:
    """Write a spec with one policy from that many addresses."""
    addresses = ", ".join(f'"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"' for number in range(networks))
    policy = f'[policy.p]\nusers = ["u"]\nfrom = [{addresses}]\nauth = "cert"'
    return HEAD + "\n".join((*_servers(1), "[user.u]", policy))


def overlapping(policies: int) -> str:
    """Write a spec with that many policies of one role, each for all databases of a list but one."""
    one = (
        '[user.x{0}]\nroles = ["shared"]\n[policy.p{0}]\nusers = ["x{0}"]\ndatabases = [{1}]\nfrom = ["10.0.0.0/8"]\n'
        'auth = "cert"'
    )
    names = [f'"d{number}"' for number in range(policies)]
    parts = (one.format(number, ", ".join(names[:number] + names[number + 1 :])) for number in range(policies))
    return HEAD + "\n".join((*_servers(1), *parts))


def grouped(policies: int) -> str:
    """Write a spec with that many policies, each of a user and a group, on a database and those of an expression."""
    one = (
        '[user.u{0}]\n[policy.p{0}]\nusers = ["u{0}", "+g{0}"]\ndatabases = ["d{0}", "/^e{0}_"]\n'
        'from = ["10.0.0.0/8"]\nauth = "scram-sha-256"'
    )
    return HEAD + "\n".join((*_servers(1), *(one.format(number) for number in range(policies))))


def _servers(count: int) -> Iterator[str]:
    for number in range(count):
        yield f'[server.s{number}]\nhosts = ["s{number}.example.com"]'


def _users(count: int) -> Iterator[str]:
    for number in range(count):
        yield f"[user.u{number:05d}]"
        if number % 10 == 0:
            yield f'roles = ["u{number:05d}", "shared{number % 100}"]'


def _policies(users: int, policies: int, servers: int, reach: int, widened: bool) -> Iterator[str]:
    share = users // policies
    for number in range(policies):
        there = ", ".join(f'"s{(number + step) % servers}"' for step in range(reach))
        who = ", ".join(f'"u{user:05d}"' for user in range(number * share, (number + 1) * share))
        sources = [f"10.{number}.0.0/16", f"192.168.{number // 8 * 8}.0/21"] + ["172.16.0.0/12"] * (
            widened and number == 0
        )
        networks = ", ".join(f'"{source}"' for source in sources)
        method = 'auth = "scram-sha-256"\nsslmode = "require"' if number % 10 == 3 else 'auth = "cert"'
        yield f"[policy.p{number}]\nservers = [{there}]\nusers = [{who}]\nfrom = [{networks}]\n{method}"
        yield f'databases = ["d{number % 30}", "x{number % 7}"]\npriority = {number % 10 == 3:d}'


def validate(spec: Path) -> None:
    """Load, resolve and check a spec, in which nothing must be wrong."""
    from pgtls.diagnostics import errors
    from pgtls.fleet.checks import check
    from pgtls.fleet.resolve import resolve
    from pgtls.language.load import load

    loaded = load(spec)
    assert loaded.loaded is not None, loaded.diagnostics
    fleet, found = resolve(loaded.loaded, datetime.now(UTC))
    assert fleet is not None, found
    faults = errors((*loaded.diagnostics, *found, *check(fleet)))
    assert not faults, faults


if __name__ == "__main__":
    for name in sys.argv[1:]:
        validate(Path(name))
