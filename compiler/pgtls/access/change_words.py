"""Word what a server demands, and what a field says, before and after a change."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from pgtls.access.matrix import word
from pgtls.hba.model import Name
from pgtls.language.values import Secret

if TYPE_CHECKING:
    from pgtls.access.answers import Answer
    from pgtls.access.demands import Demand
    from pgtls.access.meaning import Accepted, Ask, Bearer

SHOWN = 5
"""The maximum number of identities that a report names, of those that a change does not concern."""


def words(answer: Answer, other: Answer, whose: str, over: str, *, cleartext: bool) -> str:
    """Describe what the server asks for, and the version of TLS if the other state has another."""
    if answer.ask is None:
        return "refused"
    ask = answer.ask
    options = _options(ask, other.ask if other.ask and other.ask.method == ask.method else None)
    unchecked = "" if answer.checked or ask.certificate == "none" else ", revoked or not,"
    certificate = (
        f" and a certificate ({ask.certificate})" if ask.certificate != "none" and ask.method != "cert" else ""
    )
    version = f" {answer.tls} or later" if other.tls and other.tls != answer.tls else ""
    where = f" over TLS{version} or in cleartext" if cleartext else f"{over}{version}"
    return f"{ask.method}{whose}{options}{certificate}{unchecked}{where}"


def demanded(demand: Demand, who: str) -> str:
    """Describe what clients must do."""
    whose, bound = f" of {who}" * bool(who), " and channel binding" * demand.bound
    return f", clients{whose} use {demand.mode}{bound}" if demand.mode else ""


def _options(ask: Ask, other: Ask | None) -> str:
    """List the options of a method that only this state has, and those that only the other state has."""
    beside = other.options if other else frozenset()
    own = [f"{name}={word(Name(value))}" for name, value in sorted(ask.options - beside)]
    lacking = sorted({name for name, _ in beside} - {name for name, _ in ask.options})
    listed = ((" with", own), (" without", lacking))
    return "".join(f"{start} {', '.join(names)}," for start, names in listed if names)


def whose_words(answer: Answer, accepted: Accepted, other: Accepted, role: str) -> str:
    """List the accepted identities: all new ones, then some others. Return "" if there is only the role's own."""
    if answer.ask is None:
        return ""
    named = {bearer: _label(bearer) for bearer in sorted(accepted.bearers)}
    if not accepted.patterns and {*named.values()} == {role}:
        return ""
    patterns = {
        (part, identity, target): f"{_WHOLE[part]}{word(identity)} as {word(target)}"
        for part, identity, target in sorted(accepted.patterns, key=str)
    }
    entries = [(pattern in other.patterns, text) for pattern, text in patterns.items()]
    entries += [(bearer in other.bearers, text) for bearer, text in named.items()]
    new = dict.fromkeys(text for is_known, text in entries if not is_known)
    found = list(new | dict.fromkeys(text for _, text in entries))
    most = max(SHOWN, len(new))
    return f" ({', '.join(found[:most])}{' …' if len(found) > most else ''})" if found else " (nobody)"


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
