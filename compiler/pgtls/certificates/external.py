"""Decide about certificates that another party signs or whose key is elsewhere: use what fits, wait for the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from pgtls.certificates.chain import SIGN_AGAIN, NoWay, purposes_of, unknown_extensions, unlisted, way_up
from pgtls.certificates.model import Adopt, Issue, Keep, Wait, makes_key
from pgtls.certificates.passphrases import does_not_open, way_out
from pgtls.certificates.reissue import due_at, nothing_left
from pgtls.certificates.trust import checked_cas
from pgtls.diagnostics import Diagnostic, errors
from pgtls.fleet.fields import entity_named
from pgtls.pki.crl import half_life
from pgtls.pki.model import SERIAL_BITS, Certificate, Entity, RevocationList, Unreadable, ca_entity
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from cryptography import x509

    from pgtls.certificates.asked import Asked
    from pgtls.certificates.model import Beside, CrlDecision, Decision, Existing, Found, Outside, Reason
    from pgtls.fleet.model import Authority, Fleet
    from pgtls.pki.model import Profile


# ---- due certificates that cannot be signed --------------------------------------------------------------------------


def waiting(
    profile: Profile, found: Found, why: Reason, cause: Cause, beside: Beside | None, existing: Existing, now: datetime
) -> Wait:
    """Return the decision to wait for a signer that is not here."""
    entity, text = profile.entity, f"{why.text}, and {cause.text}"
    problem: Diagnostic | None
    if cause.follows:
        problem = None
    elif nothing_left(why, found.certificate, profile, now) and not cause.first:
        lending = existing.outside.lending(cause.key or "NAME")
        hint = cause.hint or f"lend the key with {lending}, or have it signed elsewhere and name it in cert_file"
        problem = _fault("PGT563", f"{entity} has no valid certificate: {text}", entity, hint)
    else:
        lend = f"lend the key when it is at hand: {existing.outside.lending(cause.key)}" if cause.key else None
        problem = _warning(f"{entity} waits: {text}", entity, cause.hint or lend)
    end = found.certificate.not_after if isinstance(found.certificate, Certificate) else now
    problems = (problem,) if problem else ()
    return Wait(profile=profile, found=found, end=end, due=end, beside=beside, problems=problems, why=text)


class Cause(NamedTuple):
    """Why pgtls cannot sign something here."""

    text: str
    first: bool = False
    """Its CA has never been signed."""
    key: str | None = None
    """The NAME of the CA whose key is needed."""
    follows: bool = False
    """Its CA has expired, which is reported at the CA."""
    hint: str | None = None
    """The hint, if it is not to lend a key."""


def missing_signer(
    profile: Profile, found: Found, above: Mapping[Entity, Decision], now: datetime, *, new_key: bool
) -> Cause | None:
    """Return why a certificate cannot be signed here. None: it can. ``above`` are the decisions about CAs."""
    issuer = profile.issuer
    if issuer is None:
        away = profile.kind == "ca" and not new_key and not found.at_hand
        return Cause("its key is not here", key=profile.entity.name) if away else None
    signer = above[ca_entity(issuer)]
    if signer.found.certificate is None and isinstance(signer, Wait):
        return Cause(f'CA "{issuer}", which signs it, itself waits to be signed', first=True)
    if not makes_key(signer) and not signer.found.at_hand:
        return Cause(f'the key of CA "{issuer}", which signs it, is not here', key=issuer)
    if signer.end <= now:
        text = f'CA "{issuer}", which signs it, ended on {signer.end:%Y-%m-%d}'
        return Cause(text, follows=bool(errors(signer.problems)))
    return None


def has_list(ca: Authority, existing: Existing) -> bool:
    """Return whether this CA has or will have a CRL. For a CA whose key is elsewhere, the user must supply it."""
    return ca.entity not in existing.outside.keyless or ca.name in existing.crls


def withheld_crl(crl: CrlDecision, ca: Decision, existing: Existing, now: datetime) -> CrlDecision:
    """Keep the CRL of a CA whose key is not here."""
    signs = isinstance(ca, Issue) or (ca.found.at_hand and ca.found.certificate is not None)
    if existing.from_lock or signs:
        return crl
    found = crl.found
    if not isinstance(found, RevocationList):
        return replace(crl, reason=None, waits=None if found is None else crl.reason, due=now)
    given, half = crl.entity.name in existing.outside.crls, half_life(found)
    waits = None if crl.reason is None or (given and now < half) else crl.reason
    return replace(crl, reason=None, waits=waits, due=half if now < half else found.next_update)


def until_above(crl: CrlDecision, outside: Outside) -> CrlDecision:
    """Make a CRL due no later than the end of the supplied CRLs of the CAs above."""
    above = outside.above.get(crl.entity.name)
    return crl if above is None or crl.due is None else replace(crl, due=min(crl.due, above.facts.next_update))


def above_problems(outside: Outside, now: datetime) -> Iterator[Diagnostic]:
    """Report the CRLs of CAs above one of the spec that are not valid now: they lock every client out."""
    for name, lists in outside.above.items():
        end, begin = lists.facts.next_update, lists.facts.this_update
        when = f"ended on {end:%Y-%m-%d}" if end <= now else f"is not valid before {begin:%Y-%m-%d %H:%M}"
        if not begin <= now < end:
            message = f'a CRL of the CAs above ca "{name}" {when}: every client would be refused'
            yield _fault("PGT563", message, ca_entity(name), "bring a new one in crl_file", "crl_file")


def crl_problems(crls: Mapping[str, CrlDecision], existing: Existing, now: datetime) -> Iterator[Diagnostic]:
    """Report the CRLs that wait for a key, and expired CRLs: they lock every client out."""
    for name, crl in crls.items():
        found, given = crl.found, name in existing.outside.crls
        lend = f"lend the key with {existing.outside.lending(name)}"
        hint = "bring a new one in crl_file" if given else lend
        if crl.reason is None and isinstance(found, RevocationList) and found.next_update <= now:
            message = (
                f'the CRL of CA "{name}" expired on {found.next_update:%Y-%m-%d}: servers would reject every client'
            )
            yield _fault("PGT563", message, ca_entity(name), hint, "crl_file" if given else None)
        elif given and isinstance(found, RevocationList) and found.this_update > now:
            begin = f"{found.this_update:%Y-%m-%d %H:%M}"
            message = f'the CRL of CA "{name}" is not valid before {begin}: servers would reject every client'
            yield _fault("PGT563", message, ca_entity(name), hint, "crl_file")
        elif crl.waits and isinstance(found, Unreadable):
            message = f'the CRL of CA "{name}" cannot be read ({found.reason}), and its key is not here'
            yield _fault(
                "PGT563",
                message,
                ca_entity(name),
                f"restore its ca.crl from a backup, or lend the key with {existing.outside.lending(name)}",
            )
        elif crl.waits:
            yield _warning(f'the CRL of CA "{name}" waits for its key: {crl.waits}', ca_entity(name), hint)


def wrong_keys(decisions: Iterable[Decision], outside: Outside) -> Iterator[Diagnostic]:
    """Report the lent keys that do not belong to their CAs."""
    if not outside.lent:
        return
    from pgtls.pki.keys import spki_sha256

    for decision in decisions:
        key, certificate = outside.lent.get(decision.profile.entity), decision.found.certificate
        if key and isinstance(certificate, Certificate) and spki_sha256(key.public_key()) != certificate.spki_sha256:
            name = decision.profile.entity.name
            hint = f"lend the key that the certificate ca/{name}/ca.crt in the out directory was made for"
            yield _fault("PGT566", f'--ca-key {name}: this is not the key of CA "{name}"', ca_entity(name), hint)


def locked(decisions: Iterable[Decision], outside: Outside, replaced: Collection[str]) -> Iterator[Diagnostic]:
    """Report the encrypted keys that do not open."""
    for decision in decisions:
        entity = decision.profile.entity
        if decision.found.key == "locked" and entity not in replaced:
            guarded = entity in outside.guarded
            hint = way_out(decision.profile, guarded=guarded)
            yield _fault(
                "PGT561", does_not_open([entity], guarded=guarded), entity, hint, "passphrase" if guarded else None
            )


def lost_accounts(existing: Existing) -> Iterator[Diagnostic]:
    """Report the keys of accounts that a build wrote and that are gone: a new one is another account."""
    for ca, account in existing.accounts.items():
        if account.lost:
            path = layout.path(ca, layout.CA_ACCOUNT_KEY)
            message = f"the key of the ACME account of {ca} is missing"
            hint = f"restore {path} in the out directory from a backup; or register a new account with --replace {ca}"
            yield Diagnostic("PGT576", message, ca.path, hint, "table")


# ---- what an outside signer issued -----------------------------------------------------------------------------------


def signed_outside(
    profile: Profile,
    found: Found,
    fleet: Fleet,
    existing: Existing,
    above: Mapping[Entity, Decision],
    asked: Asked,
    *,
    stolen: bool,
) -> Keep | Adopt | Wait:
    """Decide about the certificate of an entity that an outside signer issues.

    ``stolen``: the key of the certificate that it has meanwhile is no longer to be used.
    """
    now, entity, certificate = fleet.now, profile.entity, found.certificate
    if existing.from_lock:
        end = certificate.not_after if isinstance(certificate, Certificate) else now
        return Keep(profile=profile, found=found, end=end, due=end)
    requested = entity in existing.outside.external
    replaced = entity in asked.replace and (requested or entity.kind != "ca")  # of another CA: its ACME account
    if replaced and entity.kind == "ca" and entity in existing.whole_lock.latest:  # what it signed is of its key
        return Keep(profile=profile, found=found, end=now, due=now, problems=(_not_replaced(entity, existing),))
    if found.earlier or not isinstance(certificate, Certificate):
        return _not_back(profile, found, fleet, existing, new_key=replaced or stolen)
    end, due = certificate.not_after, due_at(certificate, profile)
    problem, way = _judged(profile, found, certificate, fleet, existing, above)
    problem = problem or (_not_replaced(entity, existing) if replaced else None)
    stays = Keep if found.ours else Adopt
    if problem:
        return stays(profile=profile, found=found, end=end, due=due, problems=(problem,))
    found = replace(found, above=tuple(ca.public_bytes(Encoding.PEM) for ca in way))
    end = min([end, *(ca.not_valid_after_utc for ca in way)])
    problems = tuple(unlisted(profile, found.pem or b"", way, fleet, existing))
    if now < due and entity not in asked.renew:
        return stays(profile=profile, found=found, end=end, due=due, problems=problems)
    waits = f"it expires on {certificate.not_after:%Y-%m-%d}, and an outside signer issues it"
    warning = _warning(f"{entity} waits: {waits}", entity, SIGN_AGAIN)
    return Wait(
        profile=profile,
        found=found,
        end=end,
        due=due,
        problems=(*problems, warning),
        why=waits,
        adopted=not found.ours,
    )


def _judged(
    profile: Profile,
    found: Found,
    certificate: Certificate,
    fleet: Fleet,
    existing: Existing,
    above: Mapping[Entity, Decision],
) -> tuple[Diagnostic | None, tuple[x509.Certificate, ...]]:
    """Return why a certificate cannot be used, or None. Also return the CAs between it and the CA of the spec."""
    entity = profile.entity
    if certificate.not_after <= fleet.now:
        message = f"the certificate of {entity} ended on {certificate.not_after:%Y-%m-%d}"
        return _fault("PGT563", message, entity, SIGN_AGAIN, "cert_file"), ()
    if existing.lock.revokes(profile.issuer or entity.name, certificate):
        message = f"the certificate of {entity} was revoked"
        return _fault("PGT563", message, entity, SIGN_AGAIN, "cert_file"), ()
    way = way_up(profile, found, fleet, existing, above)
    wrong = [*_key_faults(profile, found, existing), *(one.text for one in misfits(profile, certificate, fleet))]
    wrong += [*not_yet_valid(certificate, fleet.now), *weak_signatures(found)]
    if not isinstance(way, NoWay):
        if not wrong:
            return None, way
        hint = SIGN_AGAIN
    else:
        hint = SIGN_AGAIN if wrong else way.hint
        wrong.append(way.reason)
    hint = _LOST if found.key in ("missing", "mismatch") else hint
    message = f"the certificate of {entity} does not fit the spec: " + "; ".join(wrong)
    return _fault("PGT565", message, entity, hint, "cert_file"), ()


_LOST = "restore the key from a backup; or remove cert_file, move the key away and build: this makes a new key and CSR"


def _is_of_another(profile: Profile, certificate: Certificate, fleet: Fleet) -> bool:
    """Return whether the certificate that a user keeps meanwhile shows another subject than the spec says."""
    fields = (one.field for one in misfits(profile, certificate, fleet))
    return profile.kind == "user" and "subject" in fields


def _not_replaced(entity: Entity, existing: Existing) -> Diagnostic:
    """Return why --replace makes no new key: the certificate of the present one is named."""
    hint = "make a new key there, and name its new request or certificate"
    if entity.kind == "ca":
        hint = "roll over: add a new CA next to this one, build and deploy it as trusted, then use it as issuer"
    elif entity in existing.outside.external:
        hint = f"remove cert_file, and build with --replace {entity}: this makes a new key and CSR"
    return _fault("PGT565", f"the certificate of {entity} is for its present key", entity, hint, "cert_file")


def _not_back(profile: Profile, found: Found, fleet: Fleet, existing: Existing, *, new_key: bool) -> Keep | Wait:
    """Wait for the signature of a request, for a new key if it is missing, stolen or to be replaced."""
    now, entity, key, earlier = fleet.now, profile.entity, found.key, found.certificate
    if entity not in existing.outside.external:  # its file is unreadable, which is already reported
        return Keep(profile=profile, found=found, end=now, due=now)
    if key == "unreadable":
        hint = "restore it from a backup; or move it away and build: this makes a new key and CSR"
        problem = _fault("PGT557", f"the private key of {entity}, which its CSR is for, cannot be read", entity, hint)
        return Keep(profile=profile, found=found, end=now, due=now, problems=(problem,))
    waits = "nobody has signed it yet: have its CSR signed, and name what comes back in cert_file"
    if key == "missing" and layout.request_path(entity) in existing.contents:
        waits = "the key of its CSR is missing: have the new CSR signed, and name the certificate in cert_file"
    problems = (_warning(f"{entity} waits: {waits}", entity),)
    end, new_key = now, key == "missing" or new_key
    if isinstance(earlier, Certificate):
        end = earlier.not_after
        if new_key or _is_of_another(profile, earlier, fleet):
            found, end = replace(found, certificate=None, pem=None, above=(), earlier=False), now
    return Wait(profile=profile, found=found, end=end, due=end, problems=problems, why=waits, new_key=new_key)


def _key_faults(profile: Profile, found: Found, existing: Existing) -> Iterator[str]:
    """Compare the certificate with its key."""
    brought, certificate = existing.brought.get(profile.entity), found.certificate
    if isinstance(brought, Unreadable):
        yield f"its key_file cannot be used: {brought.reason}"
    elif brought:
        from pgtls.pki.keys import spki_sha256

        if isinstance(certificate, Certificate) and spki_sha256(brought.public_key()) != certificate.spki_sha256:
            yield "its key is not that of key_file"
    elif found.key == "mismatch":
        yield "its key is not the one that was made here for it"
    elif found.key == "missing":
        yield "the key that was made here for it is missing"


class Misfit(NamedTuple):
    """A difference between a certificate that another party signed and the spec: the field of the spec, in words."""

    field: str
    text: str


def misfits(profile: Profile, certificate: Certificate, fleet: Fleet) -> Iterator[Misfit]:
    """Yield the differences from the spec that matter to a peer, one for each field."""
    for field, texts in (
        ("subject", _subject_misfits(profile, certificate, fleet)),
        ("hosts", _name_misfits(profile, certificate)),
        ("names", _names_at_poolers(profile, certificate, fleet)),
        ("usages", _usage_misfits(profile, certificate, fleet)),
        ("path_length or name_constraints", _limits_misfits(profile, certificate, fleet)),
        ("key_algorithm", _peer_faults(certificate)),
        ("serial", _unlistable(profile, certificate, fleet)),
        ("until", _end_misfits(profile, certificate)),
    ):
        yield from (Misfit(field, text) for text in texts)


def _end_misfits(profile: Profile, certificate: Certificate) -> Iterator[str]:
    if profile.until and certificate.not_after > profile.until:
        yield f"it outlives its user, until {profile.until:%Y-%m-%d}"


def _unlistable(profile: Profile, certificate: Certificate, fleet: Fleet) -> Iterator[str]:
    """Yield why the CRL of a CA that signs here could not list a certificate (RFC 5280, 4.1.2.2)."""
    serial, ca = int(certificate.serial, 16), fleet.cas.get(profile.issuer or "")
    if profile.kind != "ca" and serial == 0:
        yield "its serial number is zero"
    elif ca and not ca.trusted_only and serial >> SERIAL_BITS:
        yield f"its serial number has {serial.bit_length()} bits, and a CRL lists at most {SERIAL_BITS}"


def not_yet_valid(certificate: Certificate, now: datetime) -> Iterator[str]:
    """Yield that a certificate is not valid yet, if so."""
    if certificate.not_before > now:
        yield f"it is not valid before {certificate.not_before:%Y-%m-%d %H:%M}"


def _peer_faults(certificate: Certificate) -> Iterator[str]:
    """Yield the properties for which OpenSSL rejects a certificate, independent of the spec."""
    from pgtls.pki.keys import PSS, unfit

    if certificate.key_algorithm == "rsassa-pss":
        yield PSS.replace("it is", "its key is", 1)
    elif fault := unfit(certificate.key_algorithm):
        yield fault
    yield from unknown_extensions(certificate)


def weak_signatures(found: Found) -> Iterator[str]:
    """Yield the signatures of a certificate and its file whose digest OpenSSL no longer accepts.

    Also yield that PostgreSQL reads another common name than everybody else, or another subject with another OpenSSL.
    """
    from pgtls.pki import chains, facts
    from pgtls.pki.names import name_text, raw_common_name, unsettled

    parsed = facts.parse(b"".join((found.pem or b"", *found.above)))
    for number, one in enumerate(() if isinstance(parsed, Unreadable) else parsed):
        if digest := chains.weak_digest(one):
            what = f'"{name_text(one.subject)}" above it' if number else "it"
            yield f"{what} is signed with {digest}, which OpenSSL refuses by default"
        if not number and (kind := raw_common_name(one.subject)):
            yield f"its common name is a {kind}, whose bytes PostgreSQL takes for the name: it must be a UTF8String"
        if not number and (attributes := unsettled(one.subject)):
            yield f"its subject has the attribute {attributes[0]}, which not every OpenSSL writes alike: leave it out"


def _subject_misfits(profile: Profile, certificate: Certificate, fleet: Fleet) -> Iterator[str]:
    from pgtls.access.held import common_name
    from pgtls.pki.expected import subject_text

    thing = entity_named(fleet, profile.entity)
    wanted = dict(profile.subject)["common_name"]
    found = common_name(certificate.subject)
    said = "common_name" in thing.table.model_fields_set or thing.table.external or not thing.table.cert_file
    if profile.kind != "server" and (profile.kind == "user" or said) and found != wanted:
        yield f'its common name is "{found or ""}", not "{wanted}"'
    elif profile.kind == "user" and certificate.subject != (subject := subject_text(profile.subject)):
        user, differs = fleet.users[profile.entity.name], f'its subject is "{certificate.subject}", not "{subject}"'
        policy = fleet.comparing_subjects.get(user.ca.anchor) if user.ca else None
        if user.table.identity == "dn":
            yield differs
        elif policy:  # for whomever it is meant, it would take this user for the one that the subject names
            yield f'{differs}, and policy "{policy.name}" compares subjects'


def _name_misfits(profile: Profile, certificate: Certificate) -> Iterator[str]:
    if profile.kind != "server":
        return
    names = {name.lower() for name in certificate.names if name.startswith(("DNS:", "IP:"))}
    if not names:  # clients then compare the common name
        names = set(_by_common_name(certificate))
    hosts = [f"DNS:{host}" for host in profile.dns_names] + [f"IP:{address}" for address in profile.ip_addresses]
    missing = [host.partition(":")[2] for host in hosts if not _covered(host.lower(), names)]
    if missing:
        yield "it lacks the host" + ("s " if len(missing) > 1 else " ") + ", ".join(f'"{host}"' for host in missing)


def _names_at_poolers(profile: Profile, certificate: Certificate, fleet: Fleet) -> Iterator[str]:
    """Yield the further names of a user that PgBouncer compares with its rules, before the common name."""
    from pgtls.pki.expected import wanted_facts

    ca = fleet.users[profile.entity.name].ca if profile.kind == "user" else None
    poolers = [one.name for one in fleet.poolers if ca and any(ca.anchor == other.anchor for other in one.accepted_cas)]
    known = {name.lower() for name in wanted_facts(profile)[1]} if poolers else set()
    for name in certificate.names if poolers else ():
        if name.startswith(("DNS:", "IP:")) and name.lower() not in known:
            yield f'it has the name "{name.partition(":")[2]}", under which pooler "{poolers[0]}" may admit it'


def _by_common_name(certificate: Certificate) -> Iterator[str]:
    """Yield the names for which a certificate without names in its SAN is valid.

    Source: fe-secure-openssl.c, RFC 6125 6.4.4.
    """
    from pgtls.access.held import common_name

    name = (common_name(certificate.subject) or "").lower()
    yield from (f"dns:{name}", f"ip:{name}")


def _covered(host: str, names: Collection[str]) -> bool:
    """Return whether a SAN has this name, or a wildcard for its first label (fe-secure-common.c)."""
    return host in names or (host.startswith("dns:") and "." in host and f"dns:*.{host.partition('.')[2]}" in names)


_KEY_USAGES = frozenset(("digitalSignature", "keyEncipherment", "keyAgreement", "keyCertSign", "cRLSign"))


def _usage_misfits(profile: Profile, certificate: Certificate, fleet: Fleet) -> Iterator[str]:
    usages = frozenset(certificate.usages)
    for purpose in purposes_of(profile, fleet):
        if not certificate.serves(purpose):
            yield f"its extended key usage is not {purpose}"
    if profile.kind != "ca":
        if "CA" in usages and not (profile.kind == "server" and certificate.subject == certificate.issuer):
            yield "it is a CA's"
        if not usages.isdisjoint(_KEY_USAGES) and "digitalSignature" not in usages:
            yield "its key usage is not digitalSignature"
        return
    if "CA" not in usages:
        yield "it is not a CA's"
        return
    if usages.isdisjoint(_KEY_USAGES):
        return
    if "keyCertSign" not in usages:
        yield "its key usage is not keyCertSign"
    ca = fleet.cas[profile.entity.name]
    checking = next((one for one in fleet.servers.values() if ca in checked_cas(fleet, one)), None)
    if "cRLSign" not in usages and checking and not ca.trusted_only:
        yield f"its key usage is not cRLSign, and {checking.entity} checks its CRL"


def _limits_misfits(profile: Profile, certificate: Certificate, fleet: Fleet) -> Iterator[str]:
    """Compare the scope of a CA: its path length and its name constraints."""
    from pgtls.pki.expected import wanted_facts

    usages = certificate.usages
    if profile.kind != "ca" or "CA" not in usages:
        return
    ca = fleet.cas[profile.entity.name]
    length = certificate.path_length
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


# ---- diagnostics -----------------------------------------------------------------------------------------------------


def _fault(code: str, message: str, entity: Entity, hint: str, field: str | None = None) -> Diagnostic:
    path = (*entity.path, field) if field else entity.path
    return Diagnostic(code, message, path, hint, "value" if field else "table")


def _warning(message: str, entity: Entity, hint: str | None = None) -> Diagnostic:
    return Diagnostic("PGT562", message, entity.path, hint, at="table", severity="warning")
