"""Open the encrypted keys of entities, and nothing else: who can write to a tree may have put another file there.

Encryption does not say who wrote a file, so a file that is encrypted for a recipient may be any key of the tree. What
leaves the tree in the clear must be a key, and that of the certificate beside it.
"""

from __future__ import annotations

import zipfile
from base64 import encodebytes
from io import BytesIO
from typing import TYPE_CHECKING

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.pki.age import is_encrypted
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pgtls.state.manifest import Entry

_SERVER = (layout.SERVER_CERTIFICATE, layout.SERVER_REQUEST)
_CLIENT = (layout.CLIENT_CERTIFICATE, layout.CLIENT_REQUEST)
_BESIDE = {
    layout.SERVER_KEY: _SERVER,
    layout.SERVER_NEXT_KEY: (layout.SERVER_NEXT_CERTIFICATE,),
    layout.CLIENT_KEY: _CLIENT,
    layout.CLIENT_PKCS8: _CLIENT,
    layout.CLIENT_PKCS12: _CLIENT,
}
"""The files, one of which has the public key of a private key."""

_PKCS8, _PKCS12 = b"\x02\x01\x00", b"\x02\x01\x03"
"""The versions with which an unencrypted key and a PKCS#12 file begin (RFC 5208, 5, and RFC 7292, 4)."""


def opened(
    contents: Mapping[str, bytes], entries: Mapping[str, Entry], decrypted: Callable[[bytes, str], bytes]
) -> dict[str, bytes]:
    """Return the files of entities with their keys in the clear.

    Raise :class:`Rejected` with PGT518 for an encrypted file that is no key, and for a key that does not belong to the
    certificate beside it, or as ``decrypted``.
    """
    locked = [path for path, content in contents.items() if is_encrypted(content)]
    for path in locked:
        if entries[path].kind != "key":
            raise _misplaced(path, "it is encrypted, and no key")
    clear = {**contents, **{path: decrypted(contents[path], path) for path in locked}}
    for path in locked:
        if fault := _fault(path, clear, entries[path]):
            raise _misplaced(path, fault)
    return clear


def _misplaced(path: str, fault: str) -> Rejected:
    hint = "nothing was written: compare the tree with its history; who can write to it can put a file in another place"
    return Rejected(Diagnostic("PGT518", f'no build wrote "{path}": {fault}', hint=hint))


def _fault(path: str, files: Mapping[str, bytes], entry: Entry) -> str | None:
    """Return why an opened file is not what belongs at its path. What needs a passphrase cannot be compared."""
    directory, _, name = path.rpartition("/")
    content = files[path]
    if path == layout.archive_path(entry.entity):
        return None if _holds_its_bundle(content, directory, files) else "it is not the archive of the files beside it"
    if name not in _BESIDE:
        return "it is encrypted, and no key"
    if name == layout.CLIENT_PKCS12:
        return None if _body(content).startswith(_PKCS12) else "it is no PKCS#12 file"
    public = _public_key(_pem(content) if name == layout.CLIENT_PKCS8 else content)
    beside = [files[other] for one in _BESIDE[name] if (other := f"{directory}/{one}") in files]
    if public is None or public in _public_keys(beside):
        return None
    return "it is not the key of the certificate beside it" if public else "it is no private key"


def _pem(der: bytes) -> bytes:
    """Return a key in DER as PEM (RFC 7468, 10); nothing if it is none."""
    beginning, end = b"-----BEGIN PRIVATE KEY-----\n", b"-----END PRIVATE KEY-----\n"
    return beginning + encodebytes(der) + end if _body(der).startswith(_PKCS8) else b""


def _body(content: bytes) -> bytes:
    """Return what a file in DER holds; nothing if it is none."""
    from pgtls.pki import der

    try:
        ((_, body),) = der.elements(content)
    except (ValueError, IndexError):
        return b""
    return body


def _public_key(pem: bytes) -> str | None:
    """Return the digest of a key's public key; "" if it is no key, None if it needs a passphrase."""
    from pgtls.pki import keys
    from pgtls.pki.model import Unreadable

    if keys.is_encrypted(pem):
        return None
    key = keys.load(pem, ours=True)
    return "" if isinstance(key, Unreadable) else keys.spki_sha256(key.public_key())


def _public_keys(beside: list[bytes]) -> Iterator[str]:
    """Yield the digests of the public keys of a certificate, which may bring its chain, and of a request."""
    from pgtls.pki import csr, facts, keys
    from pgtls.pki.csr import Request

    for content in beside:
        if isinstance(request := csr.read(content), Request):
            yield keys.spki_sha256(request.public_key)
        elif isinstance(found := facts.read(content), tuple):
            yield found[0].spki_sha256


def _holds_its_bundle(content: bytes, directory: str, files: Mapping[str, bytes]) -> bool:
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            return all(
                archive.read(name) == files.get(f"{directory}/{name.rpartition('/')[2]}") for name in archive.namelist()
            )
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, EOFError):
        return False
