"""What a bundle can hold: the formats of a key, the names of its directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.fleet.fields import finder
from pgtls.postgres.libpq import LONGEST_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Fleet, User

_KEY_FORMATS = ("pkcs12", "pkcs12-3des", "pkcs8-der")


def formats(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find formats of a key that pgtls cannot make, that Java cannot read, or that protect less than they seem to."""
    for user in fleet.users.values():
        asked = [one for one in user.table.formats if one in _KEY_FORMATS]
        if asked:
            yield from _formats(fleet, user, asked)


def _formats(fleet: Fleet, user: User, asked: Sequence[str]) -> Iterator[Diagnostic]:
    found, guarded = finder(fleet, user), user.table.passphrase is not None
    if why := _keyless(user):
        if found.says("formats"):  # a default is for those that have a key here
            yield found.fault("PGT442", f'formats has "{asked[0]}", but {why}', "formats", hint=_HINT_NO_KEY)
        return
    if "pkcs12" in asked and "pkcs12-3des" in asked:
        message = "`pkcs12` and `pkcs12-3des` are two kinds of one file, postgresql.p12"
        yield found.fault("PGT445", message, "formats", hint="delete the one that no reader needs")
        return
    for one in asked:
        if one != "pkcs8-der" and not guarded:
            message = f'formats has "{one}", but there is no passphrase: Java opens no PKCS#12 file without one'
            yield found.fault("PGT440", message, "formats", hint=_HINT_GUARD)
    if "pkcs8-der" in asked and guarded:
        message = "the passphrase does not protect postgresql.pk8, which is not encrypted"
        yield found.fault("PGT441", message, "formats", hint=_HINT_PKCS12, severity="warning")
    if "pkcs12-3des" in asked:
        message = "postgresql.p12 is encrypted by 3DES, with a SHA-1 MAC"
        yield found.fault("PGT444", message, "formats", hint=_HINT_3DES, severity="warning")


def _keyless(user: User) -> str | None:
    """Return why there is no key of a user in the tree."""
    if user.ca is None:
        return f'user "{user.name}" has no CA, so no key'
    if user.table.csr_file or (user.table.cert_file and not user.table.external):
        return f'the key of user "{user.name}" is not here'
    return None


def directories(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find directories whose files a line of pg_service.conf cannot name."""
    for user in fleet.users.values():
        size = len((user.table.directory or "").encode())
        if size > LONGEST_DIRECTORY:
            message = f"the directory has {size} bytes: libpq reads no service file with such long lines"
            hint = f"choose one of at most {LONGEST_DIRECTORY} bytes"
            yield finder(fleet, user).fault("PGT446", message, "directory", hint=hint)


_HINT_NO_KEY = "delete it; whoever has the key can convert it with openssl"
_HINT_GUARD = 'add passphrase = { env = "NAME" }, or use "pkcs8-der", which is not encrypted'
_HINT_PKCS12 = 'use "pkcs12", which the passphrase encrypts'
_HINT_3DES = 'use "pkcs12" as soon as every reader is Java 8u301, Windows Server 2019 or later'

PRESENT = (formats, directories)
