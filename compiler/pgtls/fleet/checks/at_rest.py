"""What is not encrypted in an out directory whose keys are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.fleet.fields import finder
from pgtls.language.values import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet


def clear_secrets(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find secrets that a server reads from pg_hba.conf, which nothing can encrypt for it."""
    for policy in fleet.policies.values() if fleet.state.recipients else ():
        for option, value in policy.table.auth_options.items():
            if isinstance(value, Secret):
                yield finder(fleet, policy).fault(
                    "PGT653",
                    f'pg_hba.conf holds {option} of policy "{policy.name}" unencrypted: recipients protect keys only',
                    "auth_options",
                    option,
                    hint="keep the out directory where nobody else reads it, or use a method without a secret",
                    severity="warning",
                )


PRESENT = (clear_secrets,)
