"""Write the command that makes a key, and the request for ``csr_file``, on the machine where the key stays."""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import TYPE_CHECKING

from pgtls.certificates.desired import server_common_name
from pgtls.fleet.model import Authority, Identity, subject_attributes
from pgtls.pki.expected import SHORT_NAMES

if TYPE_CHECKING:
    from pgtls.fleet.model import User
    from pgtls.pki.model import KeyAlgorithm


def own_key(thing: Authority | Identity | User) -> str | None:
    """Return the hint that shows how to make a key and its request. Return None for a CA, which has no ``csr_file``."""
    return None if isinstance(thing, Authority) else f"where the key stays, run: {request_command(thing)}"


def request_command(thing: Identity | User) -> str:
    """Return the openssl command for a key and a request with the algorithm and the subject of the spec.

    A build takes only the public key from a request. Its subject tells people which entity it belongs to.
    """
    server = isinstance(thing, Identity)
    common_name = server_common_name(thing) if isinstance(thing, Identity) else thing.common_name
    subject = subject_attributes(thing.table.subject, common_name)
    text = "".join(f"/{SHORT_NAMES[attribute]}={_escaped(value)}" for attribute, value in subject)
    words = [
        *("openssl", "req", "-new", *_new_key(thing.table.key_algorithm), "-nodes"),
        *("-keyout", "server.key" if server else "postgresql.key"),
        *("-out", posixpath.basename(thing.table.csr_file or "request.csr")),
        *("-subj", text, *(() if text.isascii() else ("-utf8",))),
    ]
    return f"(umask 077; {shlex.join(words)})"


def _new_key(algorithm: KeyAlgorithm) -> tuple[str, ...]:
    kind, _, size = algorithm.partition("-")
    if kind == "ecdsa":
        return "-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{size.upper().replace('P', 'P-')}"
    return "-newkey", f"rsa:{size}" if kind == "rsa" else kind


def _escaped(value: str) -> str:
    """Escape the separators of attributes in ``-subj``."""
    return re.sub(r"[/+\\]", r"\\\g<0>", value)
