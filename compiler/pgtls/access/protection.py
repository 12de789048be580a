"""What a change of the spec changes about protection: trust, TLS, settings, host names, waivers.

Every field of every table is compared. :data:`_ELSEWHERE` lists those that other reports cover: access
(:mod:`pgtls.access.diff`) and certificates (:mod:`pgtls.certificates.spec_change`).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from pgtls.access.trust import trust
from pgtls.fleet.files import public_files
from pgtls.language.models import SSLMODES
from pgtls.language.values import Secret, Waiver

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pgtls.access.diff import Side
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Authority, Fleet, Policy, Server, User

Effect = Literal["weakened", "strengthened", "changed"]


@dataclass(frozen=True, slots=True)
class ProtectionChange:
    """One thing that protects, before and after. ``what`` names a field or a kind of trust."""

    kind: Effect
    entity: str
    what: str
    before: str
    after: str


def protection(old: Side, new: Side) -> tuple[ProtectionChange, ...]:
    """Compare two states, entity by entity. Entities that only one of them has are in the other reports."""
    changes = [*_trust(old.fleet, new.fleet), *_files(old.fleet, new.fleet), *_lint(old.fleet, new.fleet)]
    for before, after in _pairs(old.fleet, new.fleet):
        changes += _fields(before, after)
    changes += _accepted(old.waived, new.waived)
    order = ("weakened", "strengthened", "changed")
    return tuple(sorted(dict.fromkeys(changes), key=lambda c: (order.index(c.kind), c.entity, c.what, c.before)))


def _pairs(old: Fleet, new: Fleet) -> Iterator[tuple[_Thing, _Thing]]:
    kinds: tuple[tuple[Mapping[str, _Thing], Mapping[str, _Thing]], ...] = (
        (old.cas, new.cas),
        (old.servers, new.servers),
        (old.users, new.users),
        (old.policies, new.policies),
    )
    for before, after in kinds:
        yield from ((before[name], after[name]) for name in sorted(before.keys() & after.keys()))


if TYPE_CHECKING:
    _Thing = Authority | Server | User | Policy


# --- fields ----------------------------------------------------------------------------------------------------------

_ELSEWHERE = {
    "ca": {"common_name", "subject", "key_algorithm"},
    "server": {"ca", "client_ca", "trust", "subject", "key_algorithm", "revoke_before"},
    "user": {
        "ca",
        "common_name",
        "subject",
        "key_algorithm",
        "revoke_before",
        "until",
        "roles",
        "os_users",
        "member_of",
    },
    "policy": {"servers", "users", "databases", "from_", "sslmode", "auth", "client_cert", "map", "priority"},
}
_UNORDERED = {"databases", "formats", "revoked"}

_GREATER_IS_STRONGER: Mapping[str, tuple[Any, ...]] = {
    "min_tls": ("1.0", "1.1", "1.2", "1.3"),
    "crl": (False, True),
    "channel_binding": ("disable", "prefer", "require"),
    "minimum_sslmode": (None, *SSLMODES),
    "rotate_key": (False, True),
}
_PRESENT_IS_STRONGER = {"passphrase", "name_constraints", "path_length"}
_WEAKENS = {"sni", "ciphers", "tls13_ciphers", "groups", "passphrase_command", "identity"}
"""Fields whose values cannot be ranked: a reviewer must look at every change of them."""
_SETTINGS_THAT_WEAKEN = re.compile(
    "command|librar|preload|^ssl|^krb_|^gss_|password|^pam|ident|hba|directory|authentication|^db_user|security|"
    "^log_connections|^log_disconnections|^listen_addresses|conninfo|oauth|socket_permissions|_file$"
)


def _fields(before: _Thing, after: _Thing) -> Iterator[ProtectionChange]:
    kind = before.entity.partition(".")[0]
    elsewhere = _ELSEWHERE[kind]
    for field in type(before.table).model_fields:
        was, will = getattr(before.table, field), getattr(after.table, field)
        if field in elsewhere or _same(field, was, will):
            continue
        if (kind, field) == ("policy", "until"):
            yield ProtectionChange(_ends(before, after), before.entity, field, _shown(was), _shown(will))
        elif field in ("settings", "auth_options"):
            yield from _entries(before.entity, field, was, will)
        else:
            yield ProtectionChange(_effect(field, was, will), before.entity, field, _shown(was), _shown(will))


def _same(field: str, was: Any, will: Any) -> bool:
    if field in _UNORDERED and was is not None and will is not None:
        return Counter(was) == Counter(will)
    return bool(was == will)


def _entries(entity: str, field: str, was: Mapping[str, Any], will: Mapping[str, Any]) -> Iterator[ProtectionChange]:
    for name in sorted(was.keys() | will.keys()):
        one, other = was.get(name), will.get(name)
        if one != other or (name in was) != (name in will):
            weak = field == "auth_options" or _SETTINGS_THAT_WEAKEN.search(name.lower())
            yield ProtectionChange(
                "weakened" if weak else "changed", entity, f"{field}.{name}", _shown(one), _shown(other)
            )


def _effect(field: str, was: Any, will: Any) -> Effect:
    if field in _GREATER_IS_STRONGER:
        order = _GREATER_IS_STRONGER[field]
        return "strengthened" if order.index(will) > order.index(was) else "weakened"
    if field in _PRESENT_IS_STRONGER and (was is None) != (will is None):
        return "strengthened" if was is None else "weakened"
    if field == "path_length" and was is not None and will is not None:
        return "strengthened" if will < was else "weakened"
    if field == "waiver":
        return _of_waiver(was, will)
    return "weakened" if field in _WEAKENS or field == "name_constraints" else "changed"


def _of_waiver(was: str | Waiver | None, will: str | Waiver | None) -> Effect:
    """Another reason accepts nothing more; other codes and another end may."""
    if (was is None) != (will is None):
        return "weakened" if was is None else "strengthened"
    scopes = [(w.codes, w.until) if isinstance(w, Waiver) else ((), None) for w in (was, will)]
    if scopes[0] == scopes[1]:
        return "changed"
    fewer = [set(codes) for codes, _ in scopes]
    sooner = scopes[0][1] == scopes[1][1] or (
        scopes[1][1] is not None and (scopes[0][1] is None or scopes[1][1] < scopes[0][1])
    )
    narrower = bool(fewer[1]) and (not fewer[0] or fewer[1] <= fewer[0])
    return "strengthened" if narrower and sooner else "weakened"


def _shown(value: Any) -> str:
    """Write a value of the spec in words. A secret is shown by its source."""
    match value:
        case None | () | {}:
            return "none"
        case bool():
            return str(value).lower()
        case Secret():
            return next(f"from {key} {_shown(one)}" for key, one in value if one is not None)
        case datetime():
            return f"{value:%Y-%m-%dT%H:%M:%SZ}"
        case timedelta():
            return f"{value.total_seconds() / 86400:g}d"
        case tuple() | list():
            return ", ".join(map(_shown, value))
        case dict():
            return ", ".join(f"{key} = {_shown(one)}" for key, one in value.items())
        case BaseModel():
            return ", ".join(f"{key} = {_shown(one)}" for key, one in value if one not in (None, (), {}))
        case _:
            return str(value)


# --- trust -----------------------------------------------------------------------------------------------------------


def _trust(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    for name in sorted(old.servers.keys() & new.servers.keys()):
        server = f"server.{name}"
        yield from _sets(server, "accepts client certificates of", _accepting(old, name), _accepting(new, name))
        yield from _sets(server, "is trusted through", _roots(old, name), _roots(new, name))


def _accepting(fleet: Fleet, name: str) -> dict[str, str]:
    """Return the CAs whose client certificates a server accepts, and how each is described."""
    found = trust(fleet, fleet.servers[name])
    foreign = {ca: f"{ca} (anyone certified under it)" for ca in found.foreign}
    others = {ca: f"{ca} (not named, but under the same root)" for ca in found.others}
    return {ca: ca for ca in found.named} | others | foreign


def _roots(fleet: Fleet, name: str) -> dict[str, str]:
    """Return what clients of a server trust: the roots of its CA and of ``trust``."""
    server = fleet.servers[name]
    roots = {ca.root.name: ca.root.name for ca in (*((server.ca,) if server.ca else ()), *server.trust)}
    if server.system:
        roots[""] = "every public CA"
    if server.self_signed:
        roots[""] = "its own certificate"
    return roots


def _sets(entity: str, what: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[ProtectionChange]:
    before, after = (_shown(sorted(one.values())) for one in (old, new))
    if set(new.values()) - set(old.values()):
        yield ProtectionChange("weakened", entity, what, before, after)
    elif before != after:
        yield ProtectionChange("strengthened", entity, what, before, after)


def _ends(before: Any, after: Any) -> Effect:
    """Return what another end of a policy means: a grant that lasts longer, or a refusal that ends sooner, weakens."""
    was, will = before.table.until, after.table.until
    is_longer = will is None or (was is not None and will > was)
    if "reject" in (before.table.auth, after.table.auth):
        return "strengthened" if is_longer else "weakened"
    return "weakened" if is_longer else "changed"


def _files(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    """Compare the content of certificates, requests and CRLs that both states name. Keys are not read.

    A revision has none of what lies outside of its repository.
    """
    before, after = (public_files(fleet) for fleet in (old, new))
    for key in sorted(before.keys() & after.keys()):
        entity, field = key
        (was, one), (will, other) = before[key], after[key]
        is_inside = not was.startswith(("/", "../"))
        # A revision that holds a link does not show what a build would read.
        differs = one != other and "OSError" not in (one, other)
        if was == will and (differs or (is_inside and "OSError" in (one, other))):
            yield ProtectionChange("weakened", entity, field, f"{was} ({_digits(one)})", f"{will} ({_digits(other)})")


def _digits(digest: str) -> str:
    return f"SHA-256 {digest[:16]}…" if re.fullmatch("[0-9a-f]{64}", digest) else "cannot be read"


# --- lint and waivers ------------------------------------------------------------------------------------------------


def _lint(old: Fleet, new: Fleet) -> Iterator[ProtectionChange]:
    was, will = old.lint, new.lint
    for field in type(was).model_fields:
        one, other = getattr(was, field), getattr(will, field)
        if field == "ignore":
            yield from _sets("lint", field, dict(zip(one, one, strict=True)), dict(zip(other, other, strict=True)))
        elif one != other:
            yield ProtectionChange(_effect(field, one, other), "lint", field, _shown(one), _shown(other))


def _accepted(old: Iterable[Diagnostic], new: Iterable[Diagnostic]) -> Iterator[ProtectionChange]:
    """Compare the findings that waivers accept: a finding that is newly accepted is a weakening."""
    before, after = (Counter((_about(d), d.code) for d in found) for found in (old, new))
    said = {(_about(d), d.code): d for d in (*old, *new)}
    for key in sorted(before.keys() | after.keys()):
        if before[key] == after[key]:
            continue
        found, more = said[key], after[key] > before[key]
        accepted = found.accepted
        why = f"accepted by {accepted.by}: {accepted.reason or 'ignored'}" if accepted else ""
        states = ("not accepted", why) if more else (why, "not accepted")
        what = f"finding {key[1]}: {found.message}"
        yield ProtectionChange("weakened" if more else "strengthened", key[0], what, *states)


def _about(diagnostic: Diagnostic) -> str:
    return ".".join(map(str, diagnostic.path[:2])) or "lint"
