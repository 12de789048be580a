"""Word what a server demands, and what a field says, before and after a change."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from pgtls.access.matrix import word
from pgtls.hba.model import Name
from pgtls.language.values import Secret

if TYPE_CHECKING:
    from collections.abc import Collection

    from pgtls.access.answers import Answer
    from pgtls.access.demands import Demand
    from pgtls.access.meaning import Accepted, Ask, Bearer

SHOWN = 5
"""The maximum number of identities that a report names."""


def words(answer: Answer, other: Answer, whose: str, over: str, *, cleartext: bool) -> str:
    """Describe what the server asks for, and the version of TLS if the other state has another."""
    if answer.ask is None:
        return "refused"
    ask = answer.ask
    options = _options(ask, other.ask) if other.ask and other.ask.method == ask.method else ""
    unchecked = "" if answer.checked or ask.certificate == "none" else ", revoked or not,"
    certificate = (
        f" and a certificate ({ask.certificate})" if ask.certificate != "none" and ask.method != "cert" else ""
    )
    version = f" {answer.tls} or later" if other.tls and other.tls != answer.tls else ""
    where = f" over TLS{version} or in cleartext" if cleartext else f"{over}{version}"
    return f"{ask.method}{options}{whose}{certificate}{unchecked}{where}"


def demanded(own: Demand, other: Demand, who: str) -> str:
    """Describe what clients must do, and what their bundles set if one of the two states differs in that."""
    clients = (
        f", clients{f' of {who}' * bool(who)} use {own.mode}{' and channel binding' * own.bound}" if own.mode else ""
    )
    if not own.bundled or not other.bundled:
        return clients
    bindings = own.bundled.binding, other.bundled.binding
    binds = bindings[0] != bindings[1] and "disable" in bindings
    if own.is_met and other.is_met and not binds:
        return clients
    return f"{clients}, their bundles {own.bundled.mode}{f' and channel_binding={bindings[0]}' * binds}"


def _options(ask: Ask, other: Ask) -> str:
    """List the options of a method that only this state has, and those that only the other state has."""
    own = [f" with {name}={word(Name(value))}" for name, value in sorted(ask.options - other.options)]
    names = {name for name, _ in ask.options}
    return "".join((*own, *(f" without {name}" for name in sorted({name for name, _ in other.options} - names))))


def whose_words(answer: Answer, accepted: Accepted, other: Accepted, role: str) -> str:
    """List the accepted identities, new ones first. Return "" if only the role's own identity is accepted."""
    if answer.ask is None:
        return ""
    named = {bearer: _label(bearer) for bearer in accepted.bearers}
    if not accepted.patterns and list(named.values()) == [role]:
        return ""
    names = [named[bearer] for bearer in sorted(named, key=lambda bearer: (bearer in other.bearers, bearer))]
    patterns = sorted(accepted.patterns, key=lambda pattern: (pattern in other.patterns, str(pattern)))
    entries = (f"{_WHOLE[part]}{word(identity)} as {word(target)}" for part, identity, target in patterns)
    shown = [*entries, *names]
    return f" ({', '.join(shown[:SHOWN])}{' …' if len(shown) > SHOWN else ''})" if shown else " (nobody)"


def _label(bearer: Bearer) -> str:
    """Name a user of the spec by its name, and other identities by what they show."""
    kind, name = bearer
    return f"anyone certified as {name}" if kind in ("cn", "dn") else name


_WHOLE = {"name": "", "cn": "", "dn": "subject "}
"""The prefix of a map entry, by the part of the certificate that it matches."""


def shown(value: Any) -> str:
    """Write a value of the spec in words. Show a secret by its source."""
    match value:
        case None | () | {}:
            return "none"
        case bool():
            return str(value).lower()
        case Secret():
            return value.described
        case datetime():
            return f"{value:%Y-%m-%dT%H:%M:%SZ}"
        case timedelta():
            return f"{value.total_seconds() / 86400:g}d"
        case tuple() | list():
            return ", ".join(map(shown, value))
        case dict():
            return ", ".join(f"{key} = {shown(one)}" for key, one in value.items())
        case BaseModel():
            return ", ".join(f"{key} = {shown(one)}" for key, one in value if one not in (None, (), {}))
        case _:
            return str(value)


def people(users: Collection[str]) -> str:
    """Name the first of some users."""
    names = list(users)
    return f"{shown(names[:SHOWN])}{' …' if len(names) > SHOWN else ''}"
