"""Objects of Kubernetes: Secrets and ConfigMaps, with names that it takes for any name of a spec."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgtls.exports.built import Built
    from pgtls.pki.model import Entity

LABELS = {"app.kubernetes.io/managed-by": "pgtls"}

_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,48}[a-z0-9])?")
"""A label of RFC 1035 that CloudNativePG takes as the name of a Cluster: of at most 50 characters."""
_LIKE_A_DIGEST = re.compile(r".*-[0-9a-f]{8}")


def object_name(name: str) -> str:
    """Return a name of the spec as a label of RFC 1035 with at most 50 characters. Two names never become the same.

    A name that is no such label, or that ends as a digest would, gets a part of its digest.
    """
    if _LABEL.fullmatch(name) and not _LIKE_A_DIGEST.fullmatch(name):
        return name
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    start = plain if plain[:1].isalpha() else f"x-{plain}"
    return f"{start[:41].rstrip('-')}-{sha256(name.encode()).hexdigest()[:8]}"


def secret(name: str, data: Mapping[str, bytes], labels: Mapping[str, str] = LABELS) -> dict[str, Any]:
    """Return a Secret: of type kubernetes.io/tls if it has certificate and key, which that type requires."""
    tls = {"tls.crt", "tls.key"} <= data.keys()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": dict(labels)},
        "type": "kubernetes.io/tls" if tls else "Opaque",
        "data": {key: b64encode(value).decode() for key, value in data.items()},
    }


def config_map(name: str, data: Mapping[str, bytes], labels: Mapping[str, str] = LABELS) -> dict[str, Any]:
    """Return a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": dict(labels)},
        "data": {key: value.decode() for key, value in data.items()},
    }


def present(built: Built, entity: Entity, names: Mapping[str, str]) -> dict[str, bytes]:
    """Return the files of an entity that exist, by the key of the object that each becomes."""
    found = {key: built.file(entity, name) for key, name in names.items()}
    return {key: content for key, content in found.items() if content is not None}


def crl_directory(built: Built, entity: Entity) -> dict[str, bytes]:
    """Return the CRLs of a server by the names that OpenSSL looks for: hashes of their issuers."""
    return built.below(entity, layout.SERVER_CRLS)
