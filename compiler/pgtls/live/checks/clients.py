"""Check whose client certificates a server asks for, accepts and refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.language.words import listed
from pgtls.live.checks.check import INSTALL, Check, differs, ok, untried

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.live.compiled import Compiled
    from pgtls.live.handshake import Seen
    from pgtls.live.survey import Survey


def asks_as_compiled(compiled: Compiled, seen: Seen) -> bool:
    """Return whether the server asks for certificates of the compiled CAs and no others."""
    return _asked(seen) == _compiled(compiled)


def asked(compiled: Compiled, survey: Survey) -> Check:
    """Compare the CAs whose certificates the server asks for with the compiled ones."""
    name, asked, wanted = "client CAs", _asked(survey.first), _compiled(compiled)
    if asked == wanted:
        return ok(name, f"asks for certificates of {_quoted(wanted)}" if wanted else "asks for no client certificate")
    if not asked:
        what = f"the server asks for no client certificate; compiled are {_quoted(wanted)}"
        why = "nobody can log in with a certificate (ssl_ca_file is empty or another file)"
        return differs("PGT476", "no client certificate asked", name, what, why, INSTALL)
    missing, extra = wanted - asked, asked - wanted
    if extra:
        what = f"the server takes client certificates of {_quoted(extra)}, which were not compiled"
        if missing:
            what += f", and not those of {_quoted(missing)}"
        why = "whoever holds such a certificate passes for a client, under any name that this CA certifies"
        return differs("PGT476", "CA of a stranger", name, what, why, f"replace its ssl_ca_file: {INSTALL}")
    what = f"the server does not take client certificates of {_quoted(missing)}"
    why = "clients with certificates of these CAs cannot log in"
    return differs("PGT476", "CA missing", name, what, why, f"replace its ssl_ca_file: {INSTALL}")


def _asked(seen: Seen) -> frozenset[str]:
    return frozenset(seen.session.asked) if seen.session else frozenset()


def _compiled(compiled: Compiled) -> frozenset[str]:
    return frozenset(certificate.subject for certificate in compiled.trust)


def _quoted(names: frozenset[str]) -> str:
    return listed([f'"{name}"' for name in sorted(names)], 3)


_CRL_ALERTS = {
    "certificate expired": "a CRL of its has expired, or its clock is ahead",
    "unknown ca": "it lacks the CRL of a CA (or finds none by its hash in ssl_crl_dir), or the CA itself",
    "bad certificate": "its clock is behind, so that the certificate or a CRL is not valid yet",
    "certificate revoked": "a CRL of its lists the certificate",
    "unsupported certificate": "the certificate is not one for clients",
}
"""The alert that OpenSSL sends for each fault (ssl_x509err2alert)."""


def accepted(compiled: Compiled, survey: Survey) -> Iterator[Check]:
    """Judge certificates of bundles, which the server must accept."""
    if not compiled.trust:
        yield untried("client certificates", "the server trusts no client CA")
    for (kind, whose, ca), reason in ((key, why) for key, why in survey.untried.items() if key[0] == "client"):
        del kind
        yield untried(
            f"certificate of {whose}" if whose else "client certificates", f"{reason}{f' (ca.{ca})' if ca else ''}"
        )
    shown = survey.of("client")
    refused = [key for key, seen in shown.items() if seen.refused_certificate]
    for key, seen in shown.items():
        name = f"certificate of {key[1]}"
        if not seen.refused_certificate:
            taken = seen.reply is not None
            yield ok(name, f"accepted (ca.{key[2]})") if taken else untried(name, f"no answer: {seen.ending}")
            continue
        every = (
            "every client certificate"
            if len(refused) == len(shown) and len(shown) > 1
            else f"the certificate of {key[1]}"
        )
        what = f"the server refuses {every}, of ca.{key[2]}: {seen.detail or 'it closes the connection'}"
        why = _CRL_ALERTS.get(seen.detail, "the server's log has the reason")
        todo = f"run pgtls build, which renews CRLs, then {INSTALL}; compare the server's clock (NTP)"
        yield differs("PGT477", f"refused: {seen.detail or 'closed'}", name, what, why, todo)


_REFUSED = {
    "stranger": ("an unknown CA", "the server does not check whose certificates it takes"),
    "server": ("a server's certificate", "a stolen server key opens databases"),
    "expired": ("an expired certificate", "access that was meant to end goes on"),
    "revoked": ("a revoked certificate", "a stolen or a leaver's key still opens databases; CRLs are not in force"),
}


def refused(survey: Survey) -> Iterator[Check]:
    """Judge certificates that the server must reject."""
    for kind, (thing, why) in _REFUSED.items():
        for key, reason in survey.untried.items():
            if key[0] == kind:
                yield untried(f"refuses {thing}", reason)
        for key, seen in survey.of(kind).items():
            whose = f" ({key[1]})" if kind in ("expired", "revoked") else ""
            name = f"refuses {thing}"
            if seen.refused_certificate:
                yield ok(name, f"refused{whose}: {seen.detail or 'the connection is closed'}")
            elif seen.reply is None:
                yield untried(name, f"no answer: {seen.ending}")
            else:
                what = f"the server accepts {thing}{whose} from a client"
                yield differs("PGT478", f"accepts: {kind}", name, what, why, INSTALL)
