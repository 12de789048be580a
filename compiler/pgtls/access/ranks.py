"""Rank a change of a server's answer: what it grants, weakens, strengthens and takes away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pgtls.postgres.methods import takes_map

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pgtls.access.answers import Answer
    from pgtls.access.demands import Demand
    from pgtls.access.meaning import Accepted, Ask, Bearer


Kind = Literal["granted", "weakened", "strengthened", "lost"]
KINDS: tuple[Kind, ...] = ("granted", "weakened", "strengthened", "lost")
"""Kinds of changes, in the order in which a reviewer reads them."""

_PASSWORD = frozenset(("a password", "which the server stores"))
_FACTORS = {
    "trust": frozenset[str](),
    "ident": frozenset(("an ident server's word",)),
    "password": _PASSWORD,
    "md5": _PASSWORD | {"which is not sent as it is"},
    "scram-sha-256": _PASSWORD | {"which is not sent as it is", "which the server does not know"},
    "cert": frozenset[str](),  # the certificate, which is a separate factor
    "peer": frozenset(("an account of the machine",)),
    "gss": frozenset(("a Kerberos ticket",)),
    "sspi": frozenset(("a Windows login",)),
    "oauth": frozenset(("a token",)),
}
"""What a client must show for each method. For one that is missing here, another service decides on the password."""
_CERTIFICATES = ("none", "verify-ca", "verify-full")
_TLS = ("", "1.0", "1.1", "1.2", "1.3")


def kinds(
    old: Answer,
    new: Answer,
    whose: tuple[Accepted, ...],
    alone: tuple[frozenset[Bearer], ...],
    clear: tuple[bool, ...],
    pairs: Mapping[tuple[Demand, Demand], Sequence[str]],
) -> Iterator[tuple[Kind, tuple[Demand, Demand], str]]:
    """Yield each kind of change, the demands before and after, and whose clients it concerns ("": everybody's).

    ``whose`` identities each state accepts; ``alone`` are the users whose certificates no other state trusts.
    """
    weakest = min(pairs, key=lambda pair: len(pair[1].steps))
    for kind in _opened(old, new, whose, alone):
        yield kind, weakest, ""
    for pair, concerned in pairs.items():
        if old.ask and new.ask and (rank := _rank(old, new, clear, pair)):
            yield rank, pair, ", ".join(concerned) if len(pairs) > 1 else ""


def _opened(
    old: Answer, new: Answer, whose: tuple[Accepted, ...], alone: tuple[frozenset[Bearer], ...]
) -> Iterator[Kind]:
    if old.ask is None or new.ask is None:
        if (old.ask is None) != (new.ask is None):
            yield "granted" if old.ask is None else "lost"
        return
    if _opens(old.ask, new.ask, whose[0], whose[1], alone[1]):
        yield "granted"
    if _opens(new.ask, old.ask, whose[1], whose[0], alone[0]):
        yield "lost"


def _opens(one: Ask, other: Ask, known: Accepted, accepted: Accepted, alone: frozenset[Bearer]) -> bool:
    """Return whether another state accepts an identity that this one does not accept.

    Names count where the same method proves them, and certificates where both states ask for one, whatever else they
    ask for. A proof that one of them does not ask for is a factor: to drop it is a weakening.
    """
    names = one.method == other.method and takes_map(one.method)
    certificates = "none" not in (one.certificate, other.certificate)
    bearers, patterns = accepted.bearers - known.bearers, accepted.patterns - known.patterns
    if one.certificate == "verify-ca":  # it accepts every certificate that it trusts, whatever their names
        bearers = frozenset(bearer for bearer in bearers if bearer[0] == "name" or bearer in alone)
        patterns = frozenset(pattern for pattern in patterns if pattern[0] == "name")
    parts = {bearer[0] for bearer in bearers} | {pattern[0] for pattern in patterns}
    return (names and "name" in parts) or (certificates and bool(parts - {"name"}))


def _rank(old: Answer, new: Answer, clear: tuple[bool, ...], pair: tuple[Demand, Demand]) -> Kind | None:
    assert old.ask is not None  # noqa: S101
    assert new.ask is not None  # noqa: S101
    before, after = (
        _factors(answer, cleartext=plain) | demand.steps
        for answer, plain, demand in zip((old, new), clear, pair, strict=True)
    )
    # Another method, or other options of the same method (another LDAP server), may be weaker: a reviewer must look.
    same = old.ask.method == new.ask.method
    other = not same or old.ask.options != new.ask.options
    if before - after or (other and before == after) or (same and other):
        return "weakened"
    return "strengthened" if after - before else None


def _factors(answer: Answer, *, cleartext: bool) -> frozenset[str]:
    """Return everything that the server makes a client show and use.

    Dropping any of it weakens access, even if other demands are added.
    """
    assert answer.ask is not None  # noqa: S101
    certificates = _CERTIFICATES[1 : _CERTIFICATES.index(answer.ask.certificate) + 1]
    tls = _TLS[1 : _TLS.index(answer.tls) + 1]
    found = {f"{kind} {one}" for kind, steps in (("cert", certificates), ("TLS", tls)) for one in steps}
    method = answer.ask.method
    found |= _FACTORS.get(method, frozenset(("a password", f"which {method} accepts")))
    found |= {"a certificate that is not revoked"} if answer.checked else set()
    return frozenset(found if cleartext else {*found, "TLS"})
