"""Decisions where the signature or the key comes from elsewhere: what fits is used, what cannot be signed here and now waits (DESIGN 4.6)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.certificates.chain import SIGN_AGAIN, NoWay, unlisted, way_up
from pgtls.certificates.passphrases import does_not_open, way_out
from pgtls.certificates.reissue import due_at, nothing_left
from pgtls.certificates.secrets import entity_named
from pgtls.diagnostics import Diagnostic, errors
from pgtls.pki.crl import half_life
from pgtls.pki.model import Certificate, RevocationList, Unreadable
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from pgtls.certificates.model import CrlDecision, Decision
    from pgtls.certificates.observe import Existing
    from pgtls.certificates.supplied import Outside
    from pgtls.fleet.model import Authority, Fleet
    from pgtls.pki.model import Profile


# ---- what is due, and cannot be signed -------------------------------------------------------------------------------------------------


def withheld(decision: Decision, existing: Existing, above: Mapping[str, Decision], now: datetime) -> Decision:
    """Let a decision wait whose signer is not here; ``above`` has the decisions about CAs that were made before."""
    why = decision.reason
    cause = _cause(decision, above, now) if why else None
    if why is None or cause is None or existing.from_lock:
        return decision
    found, entity = decision.found.certificate, decision.profile.entity
    waiting = f"{why.text}, and {cause.text}"
    problem: Diagnostic | None
    if cause.follows:
        problem = None
    elif nothing_left(why, found, decision.profile, now) and not cause.first:
        hint = f"lend the key with --ca-key {cause.key or 'NAME'}=PATH, or have it signed elsewhere and name it in cert_file"
        problem = _fault("PGT563", f"{entity} has no valid certificate: {waiting}", entity, hint)
    else:
        lend = f"lend the key when it is at hand: --ca-key {cause.key}=PATH" if cause.key else None
        problem = _warning(f"{entity} waits: {waiting}", entity, lend)
    end = found.not_after if isinstance(found, Certificate) else now
    return replace(
        decision,
        reason=None,
        new_key=False,
        adopted=False,
        waits=waiting,
        end=end,
        due=end,
        problems=(problem,) if problem else (),
    )


class _Cause(NamedTuple):
    """Why nobody here can sign something. ``first``: its CA has never been signed itself. ``key``: the NAME of the CA whose key would do. ``follows``: its CA
    has ended, which is an error of the CA's.
    """  # noqa: D205

    text: str
    first: bool = False
    key: str | None = None
    follows: bool = False


def _cause(decision: Decision, above: Mapping[str, Decision], now: datetime) -> _Cause | None:
    profile, issuer = decision.profile, decision.profile.issuer
    if issuer is None:
        away = profile.kind == "ca" and not decision.new_key and not decision.found.at_hand
        return _Cause("its key is not here", key=profile.entity.removeprefix("ca.")) if away else None
    signer = above[f"ca.{issuer}"]
    if signer.found.certificate is None and signer.waits:
        return _Cause(f'CA "{issuer}", which signs it, itself waits to be signed', first=True)
    if not signer.new_key and not signer.found.at_hand:
        return _Cause(f'the key of CA "{issuer}", which signs it, is not here', key=issuer)
    if signer.end <= now:
        return _Cause(
            f'CA "{issuer}", which signs it, ended on {signer.end:%Y-%m-%d}', follows=bool(errors(signer.problems))
        )
    return None


def has_list(ca: Authority, existing: Existing) -> bool:
    """Whether there is a CRL of this CA, or will be: of one that is only trusted, only if it was brought along."""
    return ca.entity not in existing.outside.keyless or ca.name in existing.crls


def withheld_crl(crl: CrlDecision, ca: Decision, existing: Existing, now: datetime) -> CrlDecision:
    """Keep the CRL of a CA whose key is not here."""
    if existing.from_lock or ca.reason or (ca.found.at_hand and ca.found.certificate is not None):
        return crl
    found = existing.crls.get(crl.ca.name)
    if not isinstance(found, RevocationList):
        return replace(crl, reason=None, waits=None if found is None else crl.reason, due=now)
    given, half = crl.ca.name in existing.outside.crls, half_life(found)
    waits = None if crl.reason is None or (given and now < half) else crl.reason
    return replace(crl, reason=None, waits=waits, due=half if now < half else found.next_update)


def crl_problems(crls: Mapping[str, CrlDecision], existing: Existing, now: datetime) -> Iterator[Diagnostic]:
    """Report the CRLs that wait for a key, and those that have run out: they lock every client out."""
    for name, crl in crls.items():
        found, given = existing.crls.get(name), name in existing.outside.crls
        hint = (
            "bring a new one in crl_file"
            if given
            else f"lend the key with --ca-key {name}=PATH, or bring a new CRL in crl_file"
        )
        if crl.reason is None and isinstance(found, RevocationList) and found.next_update <= now:
            message = f'the CRL of CA "{name}" ended on {found.next_update:%Y-%m-%d}: every client would be refused'
            yield _fault("PGT563", message, f"ca.{name}", hint, "crl_file" if given else None)
        elif given and isinstance(found, RevocationList) and found.this_update > now:
            message = f'the CRL of CA "{name}" is not valid before {found.this_update:%Y-%m-%d %H:%M}: every client would be refused'
            yield _fault("PGT563", message, f"ca.{name}", hint, "crl_file")
        elif crl.waits and isinstance(found, Unreadable):
            message = f'the CRL of CA "{name}" cannot be read ({found.reason}), and its key is not here'
            yield _fault(
                "PGT563",
                message,
                f"ca.{name}",
                f"restore its ca.crl from a backup, or lend the key with --ca-key {name}=PATH",
            )
        elif crl.waits:
            yield _warning(f'the CRL of CA "{name}" waits for its key: {crl.waits}', f"ca.{name}", hint)


def wrong_keys(decisions: Iterable[Decision], outside: Outside) -> Iterator[Diagnostic]:
    """Report the keys that were lent and are not those of their CAs."""
    if not outside.lent:
        return
    from pgtls.pki.keys import spki_sha256

    for decision in decisions:
        key, certificate = outside.lent.get(decision.profile.entity), decision.found.certificate
        if key and isinstance(certificate, Certificate) and spki_sha256(key.public_key()) != certificate.spki_sha256:
            name = decision.profile.entity.removeprefix("ca.")
            hint = f"lend the key that the certificate ca/{name}/ca.crt in the out directory was made for"
            yield _fault("PGT566", f'--ca-key {name}: this is not the key of CA "{name}"', f"ca.{name}", hint)


def locked(decisions: Iterable[Decision], outside: Outside, replaced: Collection[str]) -> Iterator[Diagnostic]:
    """Report the keys that are encrypted and do not open."""
    for decision in decisions:
        entity = decision.profile.entity
        if decision.found.key == "locked" and entity not in replaced:
            guarded = entity in outside.guarded
            hint = way_out(decision.profile, guarded=guarded)
            yield _fault(
                "PGT561", does_not_open([entity], guarded=guarded), entity, hint, "passphrase" if guarded else None
            )


# ---- what somebody else signed ---------------------------------------------------------------------------------------------------------


def signed_outside(
    decision: Decision, fleet: Fleet, existing: Existing, above: Mapping[str, Decision], renew: Collection[str]
) -> Decision:
    """Judge the certificate of an entity that somebody else signs. ``decision`` is what would be done with one of our own."""
    profile, found, now = decision.profile, decision.found, fleet.now
    entity = profile.entity
    bare = replace(decision, reason=None, new_key=False, end=now, due=now)
    if existing.from_lock:
        return bare
    if not isinstance(found.certificate, Certificate):
        return _not_back(bare, existing)
    certificate = found.certificate
    bare = replace(bare, end=certificate.not_after, due=due_at(certificate, profile), adopted=not found.ours)
    if certificate.not_after <= now:
        message = f"the certificate of {entity} ended on {certificate.not_after:%Y-%m-%d}"
        return replace(bare, problems=(_fault("PGT563", message, entity, SIGN_AGAIN, "cert_file"),))
    if (profile.issuer, certificate.serial) in existing.lock.revocations:
        message = f"the certificate of {entity} was revoked"
        return replace(bare, problems=(_fault("PGT563", message, entity, SIGN_AGAIN, "cert_file"),))
    way = way_up(bare, fleet, above)
    wrong = [*_key_faults(bare, existing), *_misfits(bare, fleet), *([way.reason] if isinstance(way, NoWay) else ())]
    if isinstance(way, NoWay) or wrong:
        message = f"the certificate of {entity} does not fit the spec: " + "; ".join(wrong)
        lost = found.key in ("missing", "mismatch")
        hint = _LOST if lost else way.hint if isinstance(way, NoWay) and len(wrong) == 1 else SIGN_AGAIN
        return replace(bare, problems=(_fault("PGT565", message, entity, hint, "cert_file"),))
    bare = replace(
        bare,
        found=replace(found, above=tuple(ca.public_bytes(Encoding.PEM) for ca in way)),
        end=min([bare.end, *(ca.not_valid_after_utc for ca in way)]),
        problems=tuple(unlisted(profile, way, fleet, existing)),
    )
    if now >= bare.due or entity in renew:
        waits = f"it expires on {certificate.not_after:%Y-%m-%d}, and somebody else signs it"
        warning = _warning(
            f"{entity} waits: {waits}", entity, "have it signed again, and name what comes back in cert_file"
        )
        return replace(bare, waits=waits, problems=(*bare.problems, warning))
    return bare


_LOST = "restore the key from a backup; or take cert_file out, move the key away and build: a new key and CSR are made"


def _not_back(decision: Decision, existing: Existing) -> Decision:
    entity = decision.profile.entity
    if entity not in existing.outside.external:  # its file could not be read, which has been said
        return decision
    key = decision.found.key
    if key == "unreadable":
        hint = "restore it from a backup; or move it away and build: another key and CSR are made"
        problem = _fault("PGT557", f"the private key of {entity}, which its CSR is for, cannot be read", entity, hint)
        return replace(decision, problems=(problem,))
    waits = "nobody has signed it yet: have its CSR signed, and name what comes back in cert_file"
    if key == "missing" and existing.content(layout.request_path(entity)) is not None:
        waits = (
            "its key is missing, which its CSR was for: have the new CSR signed, and name what comes back in cert_file"
        )
    problem = _warning(f"{entity} waits: {waits}", entity)
    return replace(decision, new_key=key == "missing", waits=waits, problems=(problem,))


def _key_faults(decision: Decision, existing: Existing) -> Iterator[str]:
    """Compare the certificate with the key that goes with it."""
    entity, found = decision.profile.entity, decision.found
    if entity in existing.outside.key_files and found.stored == "written":
        from pgtls.pki.keys import spki_sha256

        key = existing.outside.brought_key(entity)
        if isinstance(key, Unreadable):
            yield f"its key_file cannot be used: {key.reason}"
        elif (
            isinstance(found.certificate, Certificate)
            and spki_sha256(key.public_key()) != found.certificate.spki_sha256
        ):
            yield "its key is not that of key_file"
    elif found.key == "mismatch":
        yield "its key is not the one that was made here for it"
    elif found.key == "missing":
        yield "the key that was made here for it is missing"


def _misfits(decision: Decision, fleet: Fleet) -> Iterator[str]:
    """Yield what differs from the spec, a field at a time."""
    profile, certificate = decision.profile, decision.found.certificate
    assert isinstance(certificate, Certificate)  # noqa: S101
    yield from _subject_misfits(profile, certificate, fleet)
    yield from _name_misfits(profile, certificate)
    yield from _usage_misfits(profile, certificate, fleet)
    if certificate.key_algorithm.startswith("rsa-") and int(certificate.key_algorithm[4:]) < 2048:
        yield f"its RSA key has {certificate.key_algorithm[4:]} bits, and OpenSSL takes 2048 and more"
    if certificate.not_before > fleet.now:
        yield f"it is not valid before {certificate.not_before:%Y-%m-%d %H:%M}"
    if profile.until and certificate.not_after > profile.until:
        yield f"it outlives its user, until {profile.until:%Y-%m-%d}"


def _subject_misfits(profile: Profile, certificate: Certificate, fleet: Fleet) -> Iterator[str]:
    from pgtls.access.problems import common_name
    from pgtls.pki.expected import subject_text

    thing = entity_named(fleet, profile.entity)
    wanted = dict(profile.subject)["common_name"]
    found = common_name(certificate.subject)
    said = "common_name" in thing.table.model_fields_set or thing.table.external
    if profile.kind != "server" and (profile.kind == "user" or said) and found != wanted:
        yield f'its common name is "{found or ""}", not "{wanted}"'
    elif getattr(thing.table, "identity", "cn") == "dn" and certificate.subject != subject_text(profile.subject):
        yield f'its subject is "{certificate.subject}", not "{subject_text(profile.subject)}"'


def _name_misfits(profile: Profile, certificate: Certificate) -> Iterator[str]:
    if profile.kind != "server":
        return
    names = {name.lower() for name in certificate.names}
    hosts = [f"DNS:{host}" for host in profile.dns_names] + [f"IP:{address}" for address in profile.ip_addresses]
    missing = [host.partition(":")[2] for host in hosts if not _covered(host.lower(), names)]
    if missing:
        yield "it lacks the host" + ("s " if len(missing) > 1 else " ") + ", ".join(f'"{host}"' for host in missing)


def _covered(host: str, names: Collection[str]) -> bool:
    """Whether a SAN has this name, or a wildcard for its first label (fe-secure-common.c, wildcard_certificate_match)."""
    return host in names or (host.startswith("dns:") and "." in host and f"dns:*.{host.partition('.')[2]}" in names)


_PURPOSE = {"server": "serverAuth", "user": "clientAuth"}
_PURPOSES = frozenset(
    ("serverAuth", "clientAuth", "codeSigning", "emailProtection", "timeStamping", "OCSPSigning", "anyExtendedKeyUsage")
)
_KEY_USAGES = frozenset(("digitalSignature", "keyEncipherment", "keyAgreement", "keyCertSign", "cRLSign"))


def _usage_misfits(profile: Profile, certificate: Certificate, fleet: Fleet) -> Iterator[str]:
    usages = frozenset(certificate.usages)
    if profile.kind != "ca":
        if "CA" in usages:
            yield "it is a CA's"
        if not usages.isdisjoint(_PURPOSES) and usages.isdisjoint((_PURPOSE[profile.kind], "anyExtendedKeyUsage")):
            yield f"its extended key usage is not {_PURPOSE[profile.kind]}"
        if not usages.isdisjoint(_KEY_USAGES) and "digitalSignature" not in usages:
            yield "its key usage is not digitalSignature"
        return
    if "CA" not in usages:
        yield "it is not a CA's"
        return
    if not usages.isdisjoint(_KEY_USAGES) and "keyCertSign" not in usages:
        yield "its key usage is not keyCertSign"
    yield from _limits_misfits(profile, usages, fleet)


def _limits_misfits(profile: Profile, usages: Collection[str], fleet: Fleet) -> Iterator[str]:
    """Compare how far a CA reaches: its path length and its name constraints."""
    from pgtls.pki.expected import wanted_facts

    ca = fleet.cas[profile.entity.removeprefix("ca.")]
    length = next((int(usage[8:]) for usage in usages if usage.startswith("pathlen:")), None)
    if ca.table.path_length is not None and length != ca.table.path_length:
        yield f"its path length is {'not limited' if length is None else length}, not {ca.table.path_length}"
    elif length is not None and length < ca.depth:
        yield f"its path length is {length}, and {ca.depth} levels of CAs stand below it"
    found = {usage for usage in usages if usage.startswith(("permitted:", "excluded:"))}
    wanted = {usage for usage in wanted_facts(profile)[2] if usage.startswith(("permitted:", "excluded:"))}
    if found != wanted:
        yield f"its name constraints are {_listed(found)}, not {_listed(wanted)}"


def _listed(words: Collection[str]) -> str:
    return ", ".join(sorted(words)) or "none"


# ---- diagnostics ----------------------------------------------------------------------------------------------------------------------


def _fault(code: str, message: str, entity: str, hint: str, field: str | None = None) -> Diagnostic:
    table = tuple(entity.split(".", 1))
    return Diagnostic(code, message, (*table, field) if field else table, hint, "value" if field else "table")


def _warning(message: str, entity: str, hint: str | None = None) -> Diagnostic:
    table = tuple(entity.split(".", 1))
    return Diagnostic("PGT562", message, table, hint, at="table", severity="warning")
