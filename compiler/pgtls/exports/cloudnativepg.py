"""Manifests for CloudNativePG: Secrets with the certificates of a cluster, and the part of its Cluster that uses them.

CloudNativePG writes the files of PostgreSQL itself. It has no setting for a CRL file, but leaves ``ssl_crl_dir`` free:
the CRLs are a ConfigMap in its projected volume.
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Any

from pgtls.access.bundles import index
from pgtls.diagnostics import Diagnostic, refuse
from pgtls.exports.built import PUBLIC, SECRET, Built, Exported, built, unexportable
from pgtls.exports.composed import differences, hba_lines, ident_lines, kept_settings
from pgtls.exports.documents import render
from pgtls.exports.engines import ENGINES
from pgtls.exports.objects import LABELS, config_map, crl_directory, object_name, present, secret
from pgtls.language.positions import locate
from pgtls.language.values import Secret
from pgtls.output.postgresql_conf import read_fragment
from pgtls.state import layout
from pgtls.state.names import LOCK_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgtls.api import Spec
    from pgtls.fleet.model import Fleet, Server, User

REPLICA = "streaming_replica"
"""The role, and the common name of the certificate, with which CloudNativePG replicates."""

_RELOAD = {**LABELS, "cnpg.io/reload": ""}
"""CloudNativePG reloads PostgreSQL when an object with this label changes."""

_PROJECTED = "/projected"
_CRLS = "pgtls-crls"
_CRL_DIRECTORY_SINCE = 14
_DESCRIPTOR = re.compile(r"\$\{[^:]+:[^}]+\}")
"""What CloudNativePG expands in a line of pg_hba.conf (``pkg/postgres/hba/hba.go``)."""


def export(
    spec: Spec, out: str, server: Server, lock_timeout: int = LOCK_TIMEOUT
) -> tuple[dict[str, Exported], tuple[Diagnostic, ...]]:
    """Return ``secrets.yaml`` and ``cluster.yaml`` of a server, which is one cluster, and warnings of the spec.

    Raise :class:`Rejected` where CloudNativePG cannot do what the spec says, or does what no policy says.
    """
    fleet = spec.usable().fleet
    replicas = _replicas(fleet, server)
    found = built(spec, out, [server.entity, *(replica.entity for replica in replicas)], lock_timeout)
    refuse(locate(tuple(_faults(found, server, replicas)), fleet.source))
    (replica,) = replicas
    name = object_name(server.name)
    comment = f"Written by pgtls from {server.entity}: do not edit, change the spec, build and export again."
    files = {
        "secrets.yaml": Exported(render(_objects(found, server, replica, name), comment), SECRET),
        "cluster.yaml": Exported(render([_cluster(found, server, name)], f"{comment}\n{_PARTIAL}"), PUBLIC),
    }
    return files, found.diagnostics


_PARTIAL = "A part of the Cluster: apply it with --server-side, or merge it into your own manifest."


def _replicas(fleet: Fleet, server: Server) -> list[User]:
    """Return the users that may replicate from a server with the certificate that CloudNativePG shows."""
    return [
        fleet.users[name]
        for name, entries in index(fleet).items()
        if fleet.users[name].common_name == REPLICA
        and any(one.server.name == server.name and one.replication and one.certificate for one in entries)
    ]


# --- what is wrong ----------------------------------------------------------------------------------------------------


def _faults(found: Built, server: Server, replicas: Sequence[User]) -> Iterator[Diagnostic]:
    where, table = ("server", server.name), server.table
    yield from differences(found.fleet, found.rules[server.name], "cloudnativepg")
    yield from kept_settings(server, "cloudnativepg", "remove it here, and configure it in the Cluster")
    yield from unexportable(found, server)
    if table.passphrase or table.passphrase_command:
        message = f'the key of server "{server.name}" is encrypted, and CloudNativePG cannot open it'
        yield Diagnostic("PGT663", message, where, "remove passphrase and passphrase_command", at="table")
    if table.groups and "ssl_ecdh_curve" in _settings(found, server):
        message = f"CloudNativePG decides ssl_ecdh_curve itself, which groups sets on PostgreSQL {table.postgres}"
        yield Diagnostic("PGT663", message, (*where, "groups"), "remove it, or use PostgreSQL 18 or later")
    if found.file(server.entity, layout.SERVER_CRL) and table.postgres < _CRL_DIRECTORY_SINCE:
        message = f"PostgreSQL {table.postgres} has no ssl_crl_dir, and CloudNativePG lets no other CRL in"
        yield Diagnostic("PGT663", message, (*where, "postgres"), "use PostgreSQL 14 or later")
    if len(replicas) != 1:
        many = " and ".join(f'"{one.name}"' for one in replicas) or "no user"
        message = f'{many} may replicate from server "{server.name}" with the certificate of "{REPLICA}"'
        hint = f"let one user with this common name, whose CA is in client_ca, replicate: [user.{REPLICA}]"
        yield Diagnostic("PGT663", message, where, hint, at="table")
    for replica, key in product(replicas, (layout.CLIENT_CERTIFICATE, layout.CLIENT_KEY, layout.CLIENT_TRUST)):
        if found.file(replica.entity, key) is None:
            message = f'the out directory has no {key} of user "{replica.name}", which CloudNativePG replicates with'
            hint = "sign its certificate, and let pgtls make its key, under a CA of the spec"
            yield Diagnostic("PGT663", message, ("user", replica.name), hint, at="table")
    yield from _unwritable(found, server)


def _unwritable(found: Built, server: Server) -> Iterator[Diagnostic]:
    """Yield what cannot be in the lines of a Cluster: secrets, which it shows, and what CloudNativePG expands."""
    for policy in found.fleet.policies_of(server):
        for option, value in policy.table.auth_options.items():
            if isinstance(value, Secret):
                message = (
                    f'a Cluster shows its lines of pg_hba.conf, and "{option}" of policy "{policy.name}" is a secret'
                )
                hint = "use another method, or the ldap section of the Cluster"
                yield Diagnostic("PGT663", message, ("policy", policy.name, "auth_options", option), hint)
    for line in hba_lines(found.rules[server.name], "cloudnativepg"):
        if expanded := _DESCRIPTOR.search(line):
            message = f'CloudNativePG expands "{expanded[0]}" in a line of pg_hba.conf, which means the text itself'
            hint = "use another name, or another description of the policy"
            yield Diagnostic("PGT663", message, ("server", server.name), hint, at="table")


# --- the objects ------------------------------------------------------------------------------------------------------


def _objects(found: Built, server: Server, replica: User, name: str) -> list[dict[str, Any]]:
    tls = {"tls.crt": layout.SERVER_CERTIFICATE, "tls.key": layout.SERVER_KEY}
    client = {"tls.crt": layout.CLIENT_CERTIFICATE, "tls.key": layout.CLIENT_KEY}
    objects = [
        secret(f"{name}-server", present(found, server.entity, tls), _RELOAD),
        secret(f"{name}-server-ca", present(found, replica.entity, {"ca.crt": layout.CLIENT_TRUST}), _RELOAD),
        secret(f"{name}-client-ca", present(found, server.entity, {"ca.crt": layout.SERVER_TRUST}), _RELOAD),
        secret(f"{name}-replication", present(found, replica.entity, client), _RELOAD),
    ]
    if lists := crl_directory(found, server.entity):
        objects.append(config_map(f"{name}-crls", lists, _RELOAD))
    return objects


def _cluster(found: Built, server: Server, name: str) -> dict[str, Any]:
    rules, lists = found.rules[server.name], crl_directory(found, server.entity)
    kept = ENGINES["cloudnativepg"].kept
    parameters = {key: value for key, value in _settings(found, server).items() if key not in kept}
    parameters |= {"ssl_crl_dir": f"{_PROJECTED}/{_CRLS}" if lists else ""}
    postgresql: dict[str, Any] = {"parameters": parameters, "pg_hba": hba_lines(rules, "cloudnativepg")}
    if maps := ident_lines(rules):
        postgresql["pg_ident"] = maps
    cluster: dict[str, Any] = {
        "certificates": {
            "serverTLSSecret": f"{name}-server",
            "serverCASecret": f"{name}-server-ca",
            "clientCASecret": f"{name}-client-ca",
            "replicationTLSSecret": f"{name}-replication",
        },
        "postgresql": postgresql,
    }
    if lists:
        items = [{"key": key, "path": f"{_CRLS}/{key}"} for key in lists]
        cluster["projectedVolumeTemplate"] = {"sources": [{"configMap": {"name": f"{name}-crls", "items": items}}]}
    return {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": name, "labels": dict(LABELS)},
        "spec": cluster,
    }


def _settings(found: Built, server: Server) -> dict[str, str]:
    return read_fragment((found.file(server.entity, layout.CONF) or b"").decode())
