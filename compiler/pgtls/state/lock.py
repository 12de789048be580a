"""The lock: the committed record of every certificate ever issued.

The format is JSON Lines, so that git merges it line by line (``merge=union``): a header, then one object a line. Builds
only add lines: ``issued`` says that a certificate exists, ``revoked`` that it is revoked; *superseded* follows from
the two. Equal lines count once. A certificate that later goes into further bundles for trust gets another ``issued``
line, equal except for its ``trust``; so does one of a CA whose file has another root above it later, or whose key is
elsewhere then.

Rewriting the lock keeps keys of a line that this version does not know.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_args

from pgtls.diagnostics import Diagnostic, Place, Rejected
from pgtls.pki.model import FIRST_YEAR, LAST_YEAR, Certificate, Entity, RevocationReason
from pgtls.state import files
from pgtls.state.names import lock_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = ["IssuedLine", "Lock", "RevokedLine", "instant", "lock_path", "parse", "read", "timestamp"]

VERSION = 1

_ID = re.compile(r"[0-9a-f]{32}\Z")
_HEX = re.compile(r"[0-9a-f]+\Z")
_TABLE = r"[a-z0-9][a-z0-9._-]{0,62}"
_HOST = r"(?!.{254})[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_NAME = re.compile(rf"{_TABLE}\Z")
_ENTITY = re.compile(rf"(?:(?:ca|server|pooler|user)\.{_TABLE}|server\.{_TABLE}/{_HOST})\Z")
_CONFLICT = (b"<<<<<<<", b"=======", b">>>>>>>", b"|||||||")
_TEXTS = ("serial", "subject", "issuer", "key_algorithm", "spki_sha256", "key_id", "sha256")
_LISTS = ("names", "usages")
_INSTANTS = ("not_before", "not_after")
_ISSUED_TEXTS = ("ca", "entity", *_TEXTS, *_INSTANTS)
_ISSUED = frozenset(("event", "authority_key_id", "trust", "roots", "foreign", *_ISSUED_TEXTS, *_LISTS))
_REVOKED_TEXTS = ("ca", "entity", "serial", "reason", "date")
_REVOKED = frozenset(("event", *_REVOKED_TEXTS))
_REASONS = frozenset(get_args(RevocationReason))
_LAST = LAST_YEAR - 1
"""The last year of instants to which a span can be added."""


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds: ``2027-01-31T00:00:00Z``. Such texts sort as the instants do."""
    utc = moment.astimezone(UTC)
    return f"{utc.year:04}-{utc:%m-%dT%H:%M:%SZ}"  # %Y alone pads no year


def instant(text: str) -> datetime:
    """Read an RFC 3339 text, in UTC; ValueError if it is none, has no offset, or lies out of reach."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"no offset: {text}")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"out of reach: {text}") from None


@dataclass(frozen=True, slots=True)
class IssuedLine:
    """An issued certificate. ``ca`` is the NAME of its CA ("self-signed" for a server that is its own root)."""

    ca: str
    entity: Entity
    certificate: Certificate
    trust: tuple[str, ...] = ()
    """The entities whose bundles carry it as a trusted certificate, sorted."""
    roots: tuple[str, ...] = ()
    """Of a CA: the roots above it that came in its file and have no table, by the digests of their keys, sorted."""
    foreign: bool = False
    """Of a CA: its key was never here, or no longer is, so that it may have certified any name."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """Keys that this version does not know."""

    @property
    def serial(self) -> str:
        """The certificate's serial number, lower-case hex."""
        return self.certificate.serial

    def with_more(self, other: IssuedLine) -> IssuedLine:
        """Return this line with what another line of the same certificate adds."""
        trust, roots = {*self.trust, *other.trust}, {*self.roots, *other.roots}
        foreign = self.foreign or other.foreign
        return replace(self, trust=tuple(sorted(trust)), roots=tuple(sorted(roots)), foreign=foreign)

    def fields(self) -> dict[str, object]:
        """Return the object of the lock's line."""
        c = self.certificate
        known: dict[str, object] = {"event": "issued", "ca": self.ca, "entity": self.entity}
        known |= {name: getattr(c, name) for name in (*_TEXTS, *_LISTS, "authority_key_id")}
        known |= {"not_before": timestamp(c.not_before), "not_after": timestamp(c.not_after)}
        if self.trust:
            known["trust"] = self.trust
        if self.roots:
            known["roots"] = self.roots
        if self.foreign:
            known["foreign"] = True
        return {**self.extra, **known}


@dataclass(frozen=True, slots=True)
class RevokedLine:
    """A revoked certificate. ``reason`` as in :class:`pgtls.pki.model.Revocation`."""

    ca: str
    entity: Entity
    serial: str
    reason: RevocationReason
    date: datetime
    extra: Mapping[str, object] = field(default_factory=dict)

    def fields(self) -> dict[str, object]:
        """Return the object of the lock's line."""
        known = {"event": "revoked", "ca": self.ca, "entity": self.entity, "serial": self.serial}
        return {**self.extra, **known, "reason": self.reason, "date": timestamp(self.date)}


@dataclass(frozen=True)
class Lock:
    """A lock as a value. ``id`` is None if there is no lock yet; ``digest`` is the sha256 of its file."""

    id: str | None = None
    issued: tuple[IssuedLine, ...] = ()
    revoked: tuple[RevokedLine, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)
    """Keys of the header that this version does not know."""
    digest: str | None = field(default=None, compare=False)
    file: str | None = field(default=None, compare=False)
    """Where it was read, or was looked for."""

    @cached_property
    def by_serial(self) -> Mapping[tuple[str, str], IssuedLine]:
        """Each certificate by (CA, serial), with all that its lines say."""
        found: dict[tuple[str, str], IssuedLine] = {}
        for line in self.issued:
            key = (line.ca, line.certificate.serial)
            known = found.setdefault(key, line)
            if known is not line:
                found[key] = known.with_more(line)
        return found

    @cached_property
    def by_digest(self) -> Mapping[str, IssuedLine]:
        """Each certificate by its SHA-256."""
        return {line.certificate.sha256: line for line in self.by_serial.values()}

    @cached_property
    def revocations(self) -> Mapping[tuple[str, str], RevokedLine]:
        """By (CA, serial). If there are several, a line without a reason counts, then the earliest.

        A line without a reason may be for a certificate that nobody here knew: no other line gives it an end.
        """
        found: dict[tuple[str, str], RevokedLine] = {}
        for line in sorted(self.revoked, key=lambda line: (line.reason != "unspecified", line.date, line.reason)):
            found.setdefault((line.ca, line.serial), line)
        return found

    def revokes(self, ca: str, certificate: Certificate) -> bool:
        """Return whether a certificate of a CA is revoked, perhaps under another NAME that the CA had."""
        return (ca, certificate.serial) in self.revocations or certificate.sha256 in self._revoked_certificates

    @cached_property
    def _revoked_certificates(self) -> frozenset[str]:
        known = (self.by_serial.get(key) for key in self.revocations)
        return frozenset(line.certificate.sha256 for line in known if line)

    @cached_property
    def compromised_keys(self) -> frozenset[str]:
        """The digests of the public keys whose certificates were revoked because somebody may have stolen the key."""
        stolen = ((one.ca, one.serial) for one in self.revoked if one.reason == "key_compromise")
        known = (self.by_serial.get(key) for key in stolen)
        return frozenset(line.certificate.spki_sha256 for line in known if line)

    @cached_property
    def ceased(self) -> frozenset[tuple[str, str]]:
        """(CA, serial) of each certificate that was revoked because its owner left the spec, by any of its lines."""
        return frozenset((one.ca, one.serial) for one in self.revoked if one.reason == "cessation_of_operation")

    @cached_property
    def latest(self) -> Mapping[str, IssuedLine]:
        """Each entity's newest certificate: by the latest start, then the latest end, then an unrevoked one."""
        found: dict[str, IssuedLine] = {}
        for line in self.by_serial.values():
            known = found.setdefault(line.entity, line)
            if known is not line and self._age(line) > self._age(known):
                found[line.entity] = line
        return found

    def _age(self, line: IssuedLine) -> tuple[datetime, datetime, bool, str]:
        good = (line.ca, line.serial) not in self.revocations
        return line.certificate.not_before, line.certificate.not_after, good, line.serial

    def opens(self, entity: str, now: datetime) -> bool:
        """Return whether the newest certificate of an entity is neither expired nor revoked."""
        line = self.latest.get(entity)
        return line is not None and line.certificate.not_after > now and (line.ca, line.serial) not in self.revocations

    @cached_property
    def superseded(self) -> frozenset[tuple[str, str]]:
        """(CA, serial) of every certificate whose entity has a newer one."""
        newest = {(line.ca, line.serial) for line in self.latest.values()}
        return frozenset(self.by_serial.keys() - newest)

    def alive(self, now: datetime) -> tuple[IssuedLine, ...]:
        """List the certificates that are neither expired nor revoked, superseded ones included: their keys work."""
        revoked = self.revocations
        return tuple(
            line for key, line in self.by_serial.items() if key not in revoked and line.certificate.not_after > now
        )

    def unexpired(self, now: datetime) -> tuple[IssuedLine, ...]:
        """List the unexpired certificates, revoked or not: those that a server without a CRL accepts."""
        return tuple(line for line in self.by_serial.values() if line.certificate.not_after > now)

    def with_lines(self, *lines: IssuedLine | RevokedLine) -> Lock:
        """Add lines to those of this lock."""
        if not lines:
            return self
        issued = (line for line in lines if isinstance(line, IssuedLine))
        revoked = (line for line in lines if isinstance(line, RevokedLine))
        return Lock(self.id, (*self.issued, *issued), (*self.revoked, *revoked), self.extra, self.digest, self.file)

    @property
    def lines(self) -> tuple[IssuedLine | RevokedLine, ...]:
        """All lines."""
        return (*self.issued, *self.revoked)

    def without(self, digests: Collection[str]) -> Lock:
        """Leave out lines, by their digests."""
        kept = (line for line in self.lines if digest(line) not in digests)
        return replace(self, issued=(), revoked=(), digest=None).with_lines(*kept) if digests else self

    def render(self) -> bytes:
        """Return the file: the header, then each line once, sorted by CA, entity, serial and event."""
        if self.id is None:
            raise ValueError("a lock without an id cannot be written")
        header = json.dumps({"pgtls_lock": VERSION, "id": self.id, **self.extra}, ensure_ascii=False)
        lines: list[tuple[tuple[str, ...], IssuedLine | RevokedLine]]
        lines = [((line.ca, line.entity, line.serial, "issued"), line) for line in self.issued]
        lines += [((line.ca, line.entity, line.serial, "revoked"), line) for line in self.revoked]
        lines.sort(key=_sorting)
        file = BytesIO(f"{header}\n".encode())
        file.seek(0, os.SEEK_END)
        for _, alike in groupby(lines, _sorting):  # of a big lock, only the text of a line at a time
            file.writelines(f"{text}\n".encode() for text in sorted({_dump(line.fields()) for _, line in alike}))
        return file.getvalue()


def digest(line: IssuedLine | RevokedLine) -> str:
    """Return the SHA-256 of a line as builds write it."""
    return sha256(_dump(line.fields()).encode()).hexdigest()


_sorting = itemgetter(0)
_dump = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


def read_any(lock: str | os.PathLike[str] | bytes) -> tuple[Lock, tuple[Diagnostic, ...]]:
    """Read a lock from its path or content. A damaged one becomes empty, so that the spec is still checked."""
    try:
        if isinstance(lock, bytes):
            return parse(lock, "lock") if lock else Lock(), ()
        return read(lock), ()
    except Rejected as rejected:
        return Lock(), rejected.diagnostics


def read(path: str | os.PathLike[str]) -> Lock:
    """Read the lock at ``path``; return an empty one if there is none.

    Raise :class:`Rejected` with PGT500 (cannot be read), PGT501 (conflict marker), PGT502 (damaged), PGT503 (written by
    a newer pgtls), PGT504 (one serial, two certificates), PGT505 (two locks in one) or PGT539 (a symbolic link).
    """
    name = str(path)
    try:
        content = files.read(name)
    except FileNotFoundError:
        return Lock(file=name)
    except OSError as error:
        if os.path.islink(name):
            hint = "replace the link with the file that it points to, or name that file with --lock"
            message = f'the lock "{name}" is a symbolic link, and a commit can point it at any file'
            raise Rejected(Diagnostic("PGT539", message, hint=hint)) from None
        hint = "the lock is a file next to the spec; name another one with --lock"
        raise Rejected(Diagnostic("PGT500", f'cannot read the lock "{name}": {error.strerror}', hint=hint)) from None
    return parse(content, name)


def parse(content: bytes, name: str) -> Lock:
    """Read the lock in ``content``; ``name`` is its file in messages. :class:`Rejected` as :func:`read`."""
    lines = _lines(content, name)
    header = _header(next(lines, _Line(1, b"")), name)
    issued: list[IssuedLine] = []
    seen = _Seen(name)
    revoked: list[RevokedLine] = []
    for line in lines:
        try:
            match line.fields.get("event"):
                case "issued":
                    issued.append(_issued(line.fields))
                    seen.check(issued[-1], line)
                case "revoked":
                    revoked.append(_revoked(line.fields))
                case None if "pgtls_lock" in line.fields:
                    _same_lock(line, header, name)
                case event:
                    raise _rejected(
                        "PGT503", f"a line of the lock has the unknown event {json.dumps(event)}", name, line
                    )
        except _Damage as damage:
            raise _rejected("PGT502", f"a line of the lock is damaged: {damage}", name, line) from None
    extra = _extra(header, frozenset(("pgtls_lock", "id")))
    return Lock(header["id"], tuple(issued), tuple(revoked), extra, sha256(content).hexdigest(), name)


class _Line(NamedTuple):
    """One line of the file, numbered from 1. ``fields`` is empty until it has been read."""

    number: int
    text: bytes
    fields: dict[str, Any] = {}


class _Damage(Exception):  # noqa: N818  (becomes a diagnostic)
    """The reason why pgtls cannot have written a line."""


_HINTS = {
    "PGT501": "keep the lines of both sides and delete the markers: every line of a lock counts; "
    '"*.lock merge=union" in .gitattributes does so by itself',
    "PGT502": "restore the lock or this line from version control; "
    "do not delete the line: it is the record of a certificate",
    "PGT503": "it was written by a newer pgtls: use that version",
    "PGT504": "one of the two lines was altered: compare both with the certificate "
    "and with the lock's history in version control",
    "PGT505": "two locks were merged: keep the header whose id is in the out directory's manifest.json",
}


def _is_text(fields: object) -> bool:
    """Return whether all strings can be written as UTF-8: JSON can hold half of a surrogate pair."""
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _rejected(code: str, message: str, name: str, line: _Line, column: int = 1) -> Rejected:
    text = line.text.decode(errors="replace").rstrip("\r")
    place = Place(name, line.number, column, line.number, column + 1, text)
    return Rejected(Diagnostic(code, message, hint=_HINTS[code], place=place, file=name))


def _lines(content: bytes, name: str) -> Iterator[_Line]:
    """Each object, equal lines once. Empty lines, as merges by hand leave them, mean nothing."""
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    seen: set[bytes] = set()
    for number, text in enumerate(content.split(b"\n"), 1):
        if text in seen or not text.strip():
            continue
        seen.add(text)
        try:
            fields = _decoded(text.decode(), decoder)
        except (ValueError, RecursionError) as error:
            raise _not_json(_Line(number, text), error, name) from None
        if not isinstance(fields, dict):
            raise _rejected("PGT502", "a line of the lock is damaged: it is no JSON object", name, _Line(number, text))
        if b"\\ud" in text.lower() and not _is_text(fields):
            reason = "a line of the lock is damaged: it holds half a character"
            raise _rejected("PGT502", reason, name, _Line(number, text))
        yield _Line(number, text, fields)


def _decoded(text: str, decoder: json.JSONDecoder) -> Any:
    """Read JSON. What builds write has no blanks around it, which takes a decoder as long to find as all else."""
    fields, end = decoder.raw_decode(text) if text.startswith("{") else (None, 0)
    return fields if end == len(text) else decoder.decode(text)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _not_json(line: _Line, error: Exception, name: str) -> Rejected:
    if line.text.startswith(_CONFLICT):
        return _rejected("PGT501", "the lock holds a merge conflict", name, line)
    reason, column = "it is not JSON", 1
    match error:
        case UnicodeDecodeError():
            reason = "it is not UTF-8"
        case json.JSONDecodeError() if error.msg.startswith("Unterminated") or not error.doc[error.pos :].strip():
            reason, column = "it ends early", len(error.doc.rstrip()) + 1
        case json.JSONDecodeError():
            reason, column = f"it is not JSON ({error.msg})", error.colno
    return _rejected("PGT502", f"a line of the lock is damaged: {reason}", name, line, column)


def _header(first: _Line, name: str) -> dict[str, Any]:
    if "pgtls_lock" not in first.fields:
        raise _rejected("PGT502", "the lock has no header", name, first)
    version, identity = first.fields["pgtls_lock"], first.fields.get("id")
    if type(version) is not int or version != VERSION:
        message = f"the lock is of version {json.dumps(version)}, and this pgtls reads version {VERSION}"
        raise _rejected("PGT503", message, name, first)
    if not isinstance(identity, str) or not _ID.match(identity):
        raise _rejected("PGT502", 'the "id" of the lock is not 32 hex digits', name, first)
    return first.fields


def _same_lock(line: _Line, header: Mapping[str, Any], name: str) -> None:
    """Accept a header again: a union merge may repeat it, but not bring in another lock's."""
    if line.fields["pgtls_lock"] != header["pgtls_lock"]:
        raise _rejected("PGT503", "the lock has headers of two versions", name, line)
    if line.fields.get("id") != header["id"]:
        message = f"the lock has two ids: {json.dumps(header['id'])} and {json.dumps(line.fields.get('id'))}"
        raise _rejected("PGT505", message, name, line)


def _issued(fields: dict[str, Any]) -> IssuedLine:
    ca, entity, serial, subject, issuer, algorithm, spki, key_id, digest, begin, end = _texts(fields, _ISSUED_TEXTS)
    authority = fields.get("authority_key_id")
    if authority is not None and not isinstance(authority, str):
        raise _Damage('its "authority_key_id" is not a text')
    certificate = Certificate(
        serial=_serial(serial),
        subject=subject,
        issuer=issuer,
        names=_list(fields, "names"),
        usages=_list(fields, "usages"),
        key_algorithm=algorithm,
        spki_sha256=spki,
        key_id=key_id,
        authority_key_id=authority,
        sha256=digest,
        not_before=_instant("not_before", begin),
        not_after=_instant("not_after", end, LAST_YEAR),
    )
    trust = _list(fields, "trust") if "trust" in fields else ()
    roots = _list(fields, "roots") if "roots" in fields else ()
    foreign = fields.get("foreign", False)
    if not isinstance(foreign, bool):
        raise _Damage('its "foreign" is neither true nor false')
    _check_names(ca, entity)
    return IssuedLine(ca, Entity(entity), certificate, trust, roots, foreign, _extra(fields, _ISSUED))


def _revoked(fields: dict[str, Any]) -> RevokedLine:
    ca, entity, serial, reason, date = _texts(fields, _REVOKED_TEXTS)
    _check_names(ca, entity)
    if reason not in _REASONS:
        raise _Damage('its "reason" is no reason that builds write')
    why = cast("RevocationReason", reason)
    return RevokedLine(ca, Entity(entity), _serial(serial), why, _instant("date", date), _extra(fields, _REVOKED))


def _extra(fields: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {} if known.issuperset(fields) else {key: fields[key] for key in fields.keys() - known}


def _texts(fields: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    values = [fields.get(name) for name in names]
    if {*map(type, values)} == {str}:
        return values  # type: ignore[return-value]
    name, value = next((name, value) for name, value in zip(names, values, strict=True) if not isinstance(value, str))
    raise _Damage(f'its "{name}" is {"missing" if value is None else "not a text"}')


def _list(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = fields.get(name)
    if not isinstance(value, list):
        raise _Damage(f'its "{name}" is {"missing" if value is None else "not a list"}')
    if value and {*map(type, value)} != {str}:
        raise _Damage(f'its "{name}" holds what is not a text')
    return tuple(value)


def _instant(name: str, text: str, last: int = _LAST) -> datetime:
    try:
        moment = instant(text)
    except ValueError:
        raise _Damage(f'its "{name}" is not an instant') from None
    if not FIRST_YEAR <= moment.year <= last:
        raise _Damage(f'its "{name}" is not in the years {FIRST_YEAR} to {last}')
    return moment


def _check_names(ca: str, entity: str) -> None:
    """Refuse names that no table can have: they become paths."""
    if not _NAME.match(ca):
        raise _Damage('its "ca" is no name of a CA')
    if not _ENTITY.match(entity):
        raise _Damage('its "entity" is not ca.NAME, server.NAME, server.NAME/HOST, pooler.NAME or user.NAME')


def _serial(text: str) -> str:
    if not _HEX.match(text):
        raise _Damage('its "serial" is not lower-case hex')
    if text.startswith("0") and text != "0":
        raise _Damage('its "serial" begins with a zero')
    return text


class _Seen:
    """The certificates read so far. A serial number is unique per CA (RFC 5280, 4.1.2.2), and a certificate has one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.serials: dict[tuple[str, str], IssuedLine] = {}
        self.digests: dict[str, IssuedLine] = {}

    def check(self, issued: IssuedLine, line: _Line) -> None:
        """Raise PGT504 for a line that contradicts an earlier one."""
        serial, certificate = (
            f'CA "{issued.ca}" has two certificates with the serial {issued.serial}',
            issued.certificate,
        )
        first = self.serials.setdefault((issued.ca, issued.serial), issued)
        if first.entity != issued.entity or first.certificate.sha256 != certificate.sha256:
            raise self._fault(f'{serial}: of "{first.entity}" and of "{issued.entity}"', line)
        if first.certificate != certificate:
            raise self._fault(
                f'two lines tell different facts of the certificate of "{issued.entity}" (serial {issued.serial})', line
            )
        same = self.digests.setdefault(certificate.sha256, issued)
        if (same.ca, same.serial) != (issued.ca, issued.serial):
            raise self._fault(
                f'two lines name one certificate: as serial {same.serial} of CA "{same.ca}", '
                f'and as serial {issued.serial} of CA "{issued.ca}"',
                line,
            )

    def _fault(self, message: str, line: _Line) -> Rejected:
        return _rejected("PGT504", message, self.name, line)
