"""Define what the caller of a build requests in addition to the spec."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Asked:
    """The entities, or NAMEs of CAs, that the caller of a build names."""

    renew: frozenset[str] = frozenset()
    """Entities; "all" for all of them."""
    replace: frozenset[str] = frozenset()
    new_ca: frozenset[str] = frozenset()
    allow_revoke: bool = False
    accept_outage: bool = False
    ca_keys: tuple[tuple[str, str], ...] = ()
    """NAMEs of CAs whose key is lent to this build, with the path of the key."""

    @property
    def outage(self) -> bool:
        """Whether to accept an outage: a new key for a CA cannot avoid one."""
        return self.accept_outage or bool(self.new_ca) or any(name.startswith("ca.") for name in self.replace)
