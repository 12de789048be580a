"""The rules of every server: compiled from its policies, then proved against them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.access.compile import alike, compile_rules, for_server, unread
from pgtls.access.proof import prove
from pgtls.diagnostics import errors
from pgtls.fleet.checks.waivers import certain
from pgtls.language.values import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from pgtls.access.model import Rules
    from pgtls.access.problems import Known
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet, Policy


class ProofFailed(Exception):  # noqa: N818
    """The compiled text does not say what the policies say: a fault of the compiler, never of the spec."""


def rules_by_server(
    fleet: Fleet,
    alive: Iterable[Known],
    unexpired: Iterable[Known],
    secret: Callable[[Policy, str, Secret], str] = unread,
    *,
    provable: bool = True,
) -> tuple[dict[str, Rules], tuple[Diagnostic, ...]]:
    """Compile the rules of every server, servers that are alike once, and prove them. Raise :class:`ProofFailed`.

    ``alive`` are the certificates of the lock that are neither expired nor revoked, ``unexpired`` the revoked ones too.
    ``secret`` reads a secret option. Without ``provable``, or where rules contradict each other, nothing is proved.
    """
    rules: dict[str, Rules] = {}
    found: list[Diagnostic] = []
    compiled: dict[Hashable, Rules | None] = {}
    alive, unexpired = tuple(alive), tuple(unexpired)
    for server in fleet.servers.values():
        kind = alike(fleet, server)
        if kind not in compiled:
            known = alive if server.table.crl else unexpired
            compiled[kind], faults = compile_rules(fleet, server, known, secret)
            found += faults
        if (one := compiled[kind]) is not None:
            rules[server.name] = for_server(one, server)
    if provable and not errors(found):
        different = [str(difference) for one in compiled.values() if one for difference in prove(fleet, one)]
        if different:
            raise ProofFailed("\n".join(different))
    return rules, tuple(dict.fromkeys(found))


def independent(faults: Iterable[Diagnostic], wrong: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Keep only the rule errors that do not follow from other errors: no warnings, no line that cannot be written."""
    likely = certain(errors(faults), (diagnostic.path for diagnostic in wrong))
    return tuple(fault for fault in likely if fault.code != "PGT253")


def has_secret_options(fleet: Fleet) -> bool:
    """Return whether the text of a rule contains a secret."""
    return any(
        isinstance(value, Secret) for policy in fleet.policies.values() for value in policy.table.auth_options.values()
    )
