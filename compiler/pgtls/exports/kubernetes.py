"""Manifests for Kubernetes: a Secret and a ConfigMap for each server, one object for each client.

A pod mounts both objects of a server as one read-only directory: that of the server's ``directory``, to which its
settings refer. Kubernetes gives the files to root and the group ``fsGroup``, so PostgreSQL reads a key of mode 0640.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgtls.diagnostics import refuse
from pgtls.exports.built import PUBLIC, SECRET, Built, Exported, built, unexportable, without_directory
from pgtls.exports.documents import render
from pgtls.exports.objects import config_map, crl_directory, object_name, present, secret
from pgtls.language.positions import locate
from pgtls.state import layout
from pgtls.state.names import LOCK_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgtls.api import Spec
    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.model import Server, User

POD = "-pod.yaml"
"""How the name of a file ends that has parts of a pod, and no object to apply."""

GROUP = 999
"""The group of PostgreSQL in the Docker image of Debian; in that of Alpine it is 70."""

KEY_MODE = 0o640
"""Of all files: PostgreSQL takes a key of root's that its group may read."""

_SERVER_SECRET = {
    "tls.crt": layout.SERVER_CERTIFICATE,
    "tls.key": layout.SERVER_KEY,
    "pg_hba.conf": layout.HBA,
    "pg_ident.conf": layout.IDENT,
}
_SERVER_PUBLIC = {"pgtls.conf": layout.CONF, "root.crt": layout.SERVER_TRUST, "root.crl": layout.SERVER_CRL}
_CLIENT = {
    "tls.crt": layout.CLIENT_CERTIFICATE,
    "tls.key": layout.CLIENT_KEY,
    "ca.crt": layout.CLIENT_TRUST,
    "root.crl": layout.CLIENT_CRL,
    "pg_service.conf": layout.SERVICES,
    "connections.json": layout.CONNECTIONS,
}


def export(
    spec: Spec, out: str, servers: Sequence[Server], users: Sequence[User], lock_timeout: int = LOCK_TIMEOUT
) -> tuple[dict[str, Exported], tuple[Diagnostic, ...]]:
    """Return the manifests of servers and clients, and warnings of the spec.

    Raise :class:`Rejected` where a pod could not have what the spec says.
    """
    entities = [*(server.entity for server in servers), *(user.entity for user in users)]
    found = built(spec, out, entities, lock_timeout)
    faults = [fault for server in servers for fault in (*unexportable(found, server), *without_directory(server))]
    refuse(locate(faults, found.fleet.source))
    files: dict[str, Exported] = {}
    for server in servers:
        files |= _server(found, server)
    for user in users:
        files |= _client(found, user)
    return files, found.diagnostics


def _server(found: Built, server: Server) -> dict[str, Exported]:
    entity, name = server.entity, f"server-{object_name(server.name)}"
    lists = {f"{layout.SERVER_CRLS}.{file}": content for file, content in crl_directory(found, entity).items()}
    private = present(found, entity, _SERVER_SECRET)
    public = {**present(found, entity, _SERVER_PUBLIC), **lists}
    comment = f"Written by pgtls from {entity}: do not edit, change the spec, build and export again."
    return {
        f"{name}.yaml": Exported(render([secret(name, private), config_map(name, public)], comment), SECRET),
        f"{name}{POD}": Exported(render([_pod(server, name, private, public)], _POD.format(entity)), PUBLIC),
    }


_POD = f"""Parts of the pod of {{}}: merge them into its template. fsGroup is the group of PostgreSQL in the image: {GROUP} in
those of Debian, 70 in those of Alpine. Mode {KEY_MODE} is 0640 in decimal: PostgreSQL takes a key of root's that its group may read.
postgresql.conf must end with: include '/…/pgtls.conf'"""  # noqa: E501


def _pod(server: Server, name: str, private: Mapping[str, bytes], public: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        "spec": {
            "securityContext": {"fsGroup": GROUP},
            "containers": [
                {
                    "name": "postgres",
                    "volumeMounts": [{"name": "pgtls", "mountPath": server.table.directory, "readOnly": True}],
                }
            ],
            "volumes": [
                {
                    "name": "pgtls",
                    "projected": {
                        "defaultMode": KEY_MODE,
                        "sources": [
                            {"secret": {"name": name, "items": _items(private)}},
                            {"configMap": {"name": name, "items": _items(public)}},
                        ],
                    },
                }
            ],
        }
    }


def _items(data: Mapping[str, bytes]) -> list[dict[str, str]]:
    """Return where each key of an object lies in the directory: by the name that the settings say."""
    return [{"key": key, "path": _path(key)} for key in data]


def _path(key: str) -> str:
    lists = f"{layout.SERVER_CRLS}."
    if key.startswith(lists):
        return f"{layout.SERVER_CRLS}/{key.removeprefix(lists)}"
    return _SERVER_SECRET.get(key, key)


def _client(found: Built, user: User) -> dict[str, Exported]:
    """Return the object of a client: a Secret, or a ConfigMap for one without a key."""
    name = f"user-{object_name(user.name)}"
    data = present(found, user.entity, _CLIENT)
    if not data:
        return {}
    key = "tls.key" in data
    comment = f"Written by pgtls from {user.entity}: do not edit, change the spec, build and export again."
    manifest = secret(name, data) if key else config_map(name, data)
    return {f"{name}.yaml": Exported(render([manifest], comment), SECRET if key else PUBLIC)}
