"""Make a draft of a spec acceptable: waive what was so before, leave out what the language refuses, report both."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgtls.diagnostics import errors
from pgtls.importer.certificates import signs_itself
from pgtls.importer.write import without_strangers

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgtls.api import Check
    from pgtls.diagnostics import Diagnostic
    from pgtls.hba.model import Line
    from pgtls.importer.findings import Findings

_REASON = "imported: was so before"
_OPTIONAL = ("port", "socket_directory", "directory", "min_tls", "ciphers", "tls13_ciphers", "groups", "settings")
"""Fields of a server that can be left out."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The draft as it was checked last, and what still stops a build."""

    checked: Check
    faults: tuple[Diagnostic, ...]


def settle(
    tables: dict[str, Any],
    origin: dict[str, Line],
    findings: Findings,
    check: Callable[[], Check],
    plan: Callable[[], tuple[Diagnostic, ...]],
    base: str,
) -> Settled:
    """Change the tables until no finding stops a build that can be waived or left out.

    ``check`` and ``plan`` judge the tables as they are; paths in them are relative to ``base``.
    """
    draft = _Draft(tables, origin, findings, {})
    checked = draft.settled(check)
    faults = () if errors(checked.diagnostics) else plan()
    reasons = [fault.message for fault in faults if _concerns_certificate(fault)]
    if reasons and draft.replace_certificate(reasons[0], base):
        checked = draft.settled(check)
        faults = () if errors(checked.diagnostics) else plan()
    draft.report_waivers()
    return Settled(checked, faults)


def _concerns_certificate(fault: Diagnostic) -> bool:
    return fault.path[:1] == ("server",) and fault.path[2:] in (("cert_file",), ("key_file",))


@dataclass(slots=True)
class _Draft:
    tables: dict[str, Any]
    origin: dict[str, Line]
    findings: Findings
    waived: dict[str | None, set[str]]
    """The codes that are waived, by policy; None: for all."""

    def settled(self, check: Callable[[], Check]) -> Check:
        """Check and change the tables until nothing changes any more."""
        while True:
            self._allow_no_local()
            checked = check()
            faults = errors(checked.diagnostics)
            changed = [self._waive(fault) for fault in faults if fault.code.startswith("PGT3")]
            wrong = {fault.path[:4]: fault for fault in faults if not fault.code.startswith("PGT3")}
            changed += [self._leave_out(path, fault.message) for path, fault in wrong.items()]
            if not any(changed):
                return checked

    def _allow_no_local(self) -> None:
        policies = self.tables.get("policy", {}).values()
        (server,) = self.tables["server"].values()
        if server.get("no_local") or any(p["from"] == ["local"] and p["auth"] != "reject" for p in policies):
            return
        server["no_local"] = True
        message = (
            "no line admits anybody over the Unix socket: the spec says no_local = true, so its DBA has no way in there"
        )
        hint = 'add a policy with from = ["local"] and auth = "peer", and delete no_local'
        self.findings.note(message, hint)

    def _waive(self, fault: Diagnostic) -> bool:
        """Accept a finding of the linter; return whether that is new."""
        name = str(fault.path[1]) if fault.path[:1] == ("policy",) else None
        codes = self.waived.setdefault(name, set())
        if fault.code in codes or (name is not None and name not in self.tables["policy"]):
            return False
        codes.add(fault.code)
        owner = self.tables["policy"][name] if name is not None else self.tables.setdefault("lint", {})
        owner["waiver"] = {"reason": _REASON, "codes": sorted(codes)}
        return True

    def report_waivers(self) -> None:
        """Report each waiver that the spec has."""
        for policy, codes in self.waived.items():
            if codes and (policy is None or policy in self.tables.get("policy", {})):
                where = f'policy "{policy}"' if policy else "[lint]"
                be = "is" if len(codes) == 1 else "are"
                message = f'{", ".join(sorted(codes))} {be} waived in {where}: "{_REASON}"'
                how = " and ".join(f"pgtls rule {code}" for code in sorted(codes))
                says = "says how to fix it" if len(codes) == 1 else "say how to fix them"
                self.findings.note(message, f"{how} {says}; then delete the waiver")

    # --- leaving out ---

    def _leave_out(self, path: tuple[str | int, ...], why: str) -> bool:
        """Delete a policy, user or field that the language refuses, and its dependents; return whether it existed."""
        kind, name, field, key = (*map(str, path), "", "", "", "")[:4]
        if name not in self.tables.get(kind, {}):
            return False
        if kind == "policy":
            self._drop_policy(name, why)
        elif kind == "user":
            self._drop_user(name, why)
        elif kind != "server" or field not in _OPTIONAL or field not in self.tables[kind][name]:
            return False
        else:
            self._drop_field(self.tables[kind][name], field, key, why)
        self.tables["user"] = without_strangers(self.tables.get("user", {}), self.tables.get("policy", {}))
        return True

    def _drop_policy(self, name: str, why: str) -> None:
        self.findings.left_out("PGT296", self.origin[name], why)
        del self.tables["policy"][name]

    def _drop_user(self, name: str, why: str) -> None:
        policies = self.tables["policy"]
        named = [policy for policy, table in policies.items() if name in table["users"]]
        hint = "check what the user should do"
        self.findings.about("PGT296", self.origin[named[0]], f'user "{name}" is left out: {why}', hint)
        for policy in named:
            policies[policy]["users"].remove(name)
            if not policies[policy]["users"]:
                del policies[policy]

    def _drop_field(self, server: dict[str, Any], field: str, key: str, why: str) -> None:
        if field == "settings" and key in server[field]:
            del server[field][key]
        else:
            del server[field]
        self.findings.note(
            f"{key or field} of postgresql.conf is left out: {why}", "set it in the spec as the message says"
        )

    # --- certificates ---

    def replace_certificate(self, why: str, base: str) -> bool:
        """Let a build replace a self-signed certificate that cannot be adopted; return whether there is one."""
        (server,) = self.tables["server"].values()
        if not signs_itself(os.path.join(base, server["cert_file"])):
            return False
        path = server.pop("cert_file")
        del server["key_file"]
        server["ca"] = "self-signed"
        message = f'"{path}" signs itself and cannot be adopted: a build issues a new self-signed certificate ({why})'
        self.findings.note(
            message, "clients that verify the server (sslmode verify-ca or verify-full) need its new root.crt"
        )
        return True
