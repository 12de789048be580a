"""Compile the rules of every server from its policies, then prove them against the policies."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pgtls.access.compile import alike, compile_rules, for_server, unread
from pgtls.access.held import held
from pgtls.access.proof import prove
from pgtls.access.services import ambiguous
from pgtls.diagnostics import errors, refuse
from pgtls.fleet.checks.waivers import bare, certain
from pgtls.language.positions import locate
from pgtls.language.values import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from pgtls.access.held import Held, Issued
    from pgtls.access.model import Rules
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet, Policy
    from pgtls.fleet.resolve import Resolved
    from pgtls.language.load import LoadResult


class ProofFailed(Exception):  # noqa: N818
    """Report that the compiled text differs from the policies: a fault of the compiler, never of the spec."""


def rules_by_server(
    fleet: Fleet,
    issued: Issued,
    secret: Callable[[Policy, str, Secret], str] = unread,
    *,
    provable: bool = True,
) -> tuple[dict[str, Rules], tuple[Diagnostic, ...]]:
    """Compile and prove the rules of every server. Compile servers that are alike only once.

    Raise :class:`ProofFailed`.

    ``issued`` is the lock. ``secret`` reads a secret option. Without ``provable``, or if rules contradict each other,
    prove nothing.
    """
    rules: dict[str, Rules] = {}
    found: list[Diagnostic] = []
    compiled: dict[Hashable, Rules | None] = {}

    @cache
    def in_hands(crl: bool) -> Held:
        return held(fleet, (issued.alive if crl else issued.unexpired)(fleet.now), issued.ceased)

    for server in fleet.servers.values():
        kind = alike(fleet, server)
        if kind not in compiled:
            compiled[kind], faults = compile_rules(fleet, server, in_hands(server.table.crl), secret)
            found += faults
        if (one := compiled[kind]) is not None:
            rules[server.name] = for_server(one, server)
    if provable and not errors(found):
        different = [str(difference) for one in compiled.values() if one for difference in prove(fleet, one)]
        if different:
            raise ProofFailed("\n".join(different))
    return rules, tuple(dict.fromkeys(found))


def compiled(
    resolved: Resolved, loaded: LoadResult, issued: Issued, *, proven: bool
) -> tuple[dict[str, Rules], tuple[Diagnostic, ...]]:
    """Compile and, if asked, prove the rules of a spec as far as it has no faults. Return them with all faults.

    What is not to be proved is compiled with its faults: for comparisons, a table counts although it has one.
    """
    fleet, part, found = resolved
    if fleet is None or part is None:
        return {}, found
    wrong = errors(found)
    rules, faults = rules_by_server(part if proven else fleet, issued, provable=proven and not wrong)
    faults = faults if wrong or errors(faults) else (*faults, *ambiguous(part))
    found = (*found, *(independent(loaded.unaffected(faults), wrong) if wrong else faults))
    accepted = [diagnostic for diagnostic in found if diagnostic.accepted]
    return rules, found if errors(found) else (*found, *bare(fleet, accepted))


def independent(faults: Iterable[Diagnostic], wrong: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Keep only the rule errors that do not follow from other errors.

    Drop warnings, and lines that cannot be written.
    """
    likely = certain(errors(faults), (diagnostic.path for diagnostic in wrong))
    return tuple(fault for fault in likely if fault.code != "PGT253")


def with_secrets(
    fleet: Fleet, rules: Mapping[str, Rules], issued: Issued, secret: Callable[[Policy, str, Secret], str]
) -> Mapping[str, Rules]:
    """Return the rules with their secrets, as ``secret`` reads them. Raise :class:`Rejected` if one cannot be written.

    ``rules`` come from a check and contain the names of secrets as placeholders. If there are none, read no secret.
    """
    if not _has_secret_options(fleet):
        return rules
    full, faults = rules_by_server(fleet, issued, secret)
    refuse(locate(faults, fleet.source))
    return full


def _has_secret_options(fleet: Fleet) -> bool:
    return any(
        isinstance(value, Secret) for policy in fleet.policies.values() for value in policy.table.auth_options.values()
    )
