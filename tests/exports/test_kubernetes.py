"""Manifests for Kubernetes and CloudNativePG: the published schemas take them, and real servers take what they hold."""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from exports.specs import CLOUDNATIVEPG, built, export, said
from pgtls.exports.objects import object_name
from support.clients import PSQL, Bundle, admitted, at, refused, socket_of
from support.pgtls import pgtls
from support.servers import Server, versions
from support.system import give, is_root, new_directory, server_account

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
KUBERNETES = json.loads((HERE / "kubernetes-1.37.json").read_text())
KINDS = {
    kind: Draft202012Validator({**KUBERNETES, "$ref": f"#/$defs/{kind}"}) for kind in ("Secret", "ConfigMap", "Pod")
}


def strict(schema: Any) -> Any:
    """Return a schema of a CRD in which an unknown field is an error, as in `kubectl apply --validate=strict`."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    return {"additionalProperties": False, **found} if isinstance(found.get("properties"), dict) else found


CLUSTER_SCHEMA = json.loads((HERE / "cloudnativepg-cluster-1.30.json").read_text())
CLUSTER_SCHEMA["properties"]["spec"] = strict(CLUSTER_SCHEMA["properties"]["spec"])
KINDS["Cluster"] = Draft202012Validator(CLUSTER_SCHEMA)
OWN = {"instances": 3, "storage": {"size": "1Gi"}}
"""What a user's own manifest of a cluster says."""

HOSTILE = """
[user."a_b"]
ca = "clients"
[user."a-b"]
ca = "clients"
[user."a..b_"]
[policy.hostile]
users = ["a_b", "a-b", "a..b_"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
"""
SERVED = CLOUDNATIVEPG.replace("[server.shop]\n", '[server.shop]\ndirectory = "/etc/pgtls"\n')


def manifests(text: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(text) if one is not None]


def decoded(manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of a Secret or ConfigMap by their keys."""
    secret = manifest["kind"] == "Secret"
    return {key: b64decode(value) if secret else value.encode() for key, value in manifest["data"].items()}


@pytest.fixture
def kubernetes(tmp_path: Path) -> Path:
    built(tmp_path, SERVED + HOSTILE)
    run = export(tmp_path, "kubernetes")
    assert run.status == 0, run.stderr
    return tmp_path


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    run = export(built(tmp_path, CLOUDNATIVEPG), "cloudnativepg")
    assert run.status == 0, run.stderr
    return tmp_path


def test_every_object_is_what_kubernetes_takes(kubernetes: Path) -> None:
    names: list[tuple[str, str]] = []
    for path in sorted((kubernetes / "to").glob("*.yaml")):
        for manifest in manifests(path.read_text()):
            if path.name.endswith("-pod.yaml"):
                manifest |= {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db"}}
            KINDS[manifest["kind"]].validate(manifest)
            assert re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", manifest["metadata"]["name"])
            names.append((manifest["kind"], manifest["metadata"]["name"]))
            if manifest["kind"] == "Secret":
                assert manifest["type"] == "kubernetes.io/tls"
                assert path.stat().st_mode & 0o777 == 0o600
            if manifest["kind"] != "Pod":
                assert all(re.fullmatch(r"[-._a-zA-Z0-9]+", key) for key in manifest["data"])
    assert len(names) == len(set(names)) == 9
    with pytest.raises(Exception, match="immutble"):
        KINDS["Secret"].validate({"apiVersion": "v1", "kind": "Secret", "immutble": True})


def test_an_object_holds_the_files_of_its_entity(kubernetes: Path) -> None:
    secret, public = map(decoded, manifests((kubernetes / "to/server-shop.yaml").read_text()))
    there = kubernetes / "out/servers/shop"
    assert secret["tls.key"] == (there / "server.key").read_bytes()
    assert secret["pg_hba.conf"] == (there / "pg_hba.conf").read_bytes()
    assert public["root.crl"] == (there / "root.crl").read_bytes()
    (lists,) = (there / "root.crl.d").iterdir()
    assert public[f"root.crl.d.{lists.name}"] == lists.read_bytes()
    (client,) = map(decoded, manifests((kubernetes / "to/user-app.yaml").read_text()))
    assert client["ca.crt"] == (kubernetes / "out/clients/app/root.crt").read_bytes()
    assert "tls.key" in client
    (keyless,) = (one for path in (kubernetes / "to").glob("user-a-b-*.yaml") for one in manifests(path.read_text()) if one["kind"] == "ConfigMap")  # fmt: skip  # noqa: E501
    assert set(keyless["data"]) == {"ca.crt", "pg_service.conf", "connections.json"}


@given(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True), st.from_regex(r"[a-z0-9][a-z0-9._-]{0,5}", fullmatch=True))  # fmt: skip  # noqa: E501
def test_names_are_labels_and_never_meet(name: str, other: str) -> None:
    for one in (name, other, f"{name[:5]}_", f"{name[:5]}-"):
        assert re.fullmatch("[a-z]([-a-z0-9]{0,48}[a-z0-9])?", object_name(one)), "CloudNativePG takes this name"
    assert (object_name(name) == object_name(other)) == (name == other)
    assert object_name(object_name("a_b")) != object_name("a_b"), "the name that another name became"


def test_the_same_build_is_exported_as_the_same_bytes(kubernetes: Path) -> None:
    before = {path.name: path.read_bytes() for path in (kubernetes / "to").iterdir()}
    assert export(kubernetes, "kubernetes").stdout.startswith("to is as it should be")
    assert pgtls("export", "kubernetes", "--to", "again", cwd=kubernetes).status == 0
    assert {path.name: path.read_bytes() for path in (kubernetes / "again").iterdir()} == before
    printed = pgtls("export", "kubernetes", "--to", "-", cwd=kubernetes).stdout
    assert {one["kind"] for one in manifests(printed)} == {"Secret", "ConfigMap"}
    assert len(manifests(printed)) == 8


@pytest.mark.skipif(not is_root(), reason="unavailable: only root gives files to root and a group")
def test_a_server_takes_the_files_as_a_pod_mounts_them(tmp_path: Path) -> None:
    mount = new_directory("mount")
    installation = versions()[-1]
    spec = SERVED.replace("/etc/pgtls", str(mount)).replace("postgres = 17", f"postgres = {installation.major}")
    assert export(built(tmp_path, spec.replace("10.0.0.0/8", "127.0.0.0/8"), None), "kubernetes", now=None).status == 0
    objects = manifests((tmp_path / "to/server-shop.yaml").read_text())
    (pod,) = manifests((tmp_path / "to/server-shop-pod.yaml").read_text())
    volume = pod["spec"]["volumes"][0]["projected"]
    for source, manifest in zip(volume["sources"], objects, strict=True):
        for item in next(iter(source.values()))["items"]:
            path = mount / item["path"]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(decoded(manifest)[item["key"]])
            path.chmod(volume["defaultMode"])
            os.chown(path, 0, server_account().gid)
    with Server(installation) as server:
        server.populate(["app"], ["shop"])
        server.include(mount / "pgtls.conf")
        server.restart()  # for hba_file and ident_file
        own = Bundle(tmp_path / "out/clients/web").parameters("shop") | at(server)
        assert admitted(PSQL.connect(own)) == "app@shop"
        refused(PSQL.connect(own | {"sslcert": "/none", "sslkey": "/none"}), "requires a valid client certificate")
        (mount / "server.key").chmod(0o644)
        with pytest.raises(Exception, match="has group or world access"):
            server.reload()


# --- CloudNativePG ----------------------------------------------------------------------------------------------------


def test_a_cluster_is_what_cloudnativepg_takes(cluster: Path) -> None:
    (manifest,) = manifests((cluster / "to/cluster.yaml").read_text())
    KINDS["Cluster"].validate({**manifest, "spec": {**OWN, **manifest["spec"]}})
    with pytest.raises(Exception, match="serverTlsSecret"):
        KINDS["Cluster"].validate({**manifest, "spec": {**OWN, "certificates": {"serverTlsSecret": "x"}}})
    objects = {one["metadata"]["name"]: one for one in manifests((cluster / "to/secrets.yaml").read_text())}
    for one in objects.values():
        KINDS[one["kind"]].validate(one)
        assert "cnpg.io/reload" in one["metadata"]["labels"]
    named = manifest["spec"]["certificates"]
    tls = {"serverTLSSecret": "servers/shop/server.", "replicationTLSSecret": "clients/streaming_replica/postgresql."}
    for field, start in tls.items():
        assert objects[named[field]]["type"] == "kubernetes.io/tls"
        files = decoded(objects[named[field]])
        assert files == {f"tls.{end}": (cluster / "out" / f"{start}{end}").read_bytes() for end in ("crt", "key")}
    cas = {"serverCASecret": "clients/streaming_replica/root.crt", "clientCASecret": "servers/shop/root.crt"}
    for field, path in cas.items():
        assert decoded(objects[named[field]]) == {"ca.crt": (cluster / "out" / path).read_bytes()}
    (source,) = manifest["spec"]["projectedVolumeTemplate"]["sources"]
    (item,) = source["configMap"]["items"]
    lists = decoded(objects[source["configMap"]["name"]])[item["key"]]
    assert lists == (cluster / "out/servers/shop/root.crl.d" / item["key"]).read_bytes()
    assert manifest["spec"]["postgresql"]["parameters"]["ssl_crl_dir"] == f"/projected/{Path(item['path']).parent}"
    assert manifest["spec"]["postgresql"]["pg_hba"][-1] == "host all all all reject"


def written_by_the_operator(spec: Mapping[str, Any]) -> tuple[str, str]:
    """Return pg_hba.conf and pg_ident.conf as the operator's templates write them (pkg/postgres/configuration.go)."""
    hba = (HERE / "cloudnativepg-1.30-pg_hba.conf").read_text()
    ident = (HERE / "cloudnativepg-1.30-pg_ident.conf").read_text()
    rules = "".join(f"\n{line}" for line in spec["pg_hba"])
    maps = "".join(f"\n{line}" for line in spec.get("pg_ident", ()))
    return hba.replace("{{ rules }}", rules), ident.replace("{{ rules }}", maps)


@pytest.mark.parametrize("closed", [True, False], ids=["as exported", "without the closing reject"])
def test_a_server_with_the_operators_files_admits_whom_the_policies_grant(tmp_path: Path, closed: bool) -> None:
    spec = CLOUDNATIVEPG.replace("10.0.0.0/8", "127.0.0.0/8")
    assert export(built(tmp_path, spec, None), "cloudnativepg", now=None).status == 0
    (manifest,) = manifests((tmp_path / "to/cluster.yaml").read_text())
    postgresql = manifest["spec"]["postgresql"]
    postgresql["pg_hba"] = postgresql["pg_hba"][: None if closed else -1]
    hba, ident = written_by_the_operator(postgresql)
    with Server(versions()[-1]) as server:
        server.populate(["app", "streaming_replica", "cnpg_metrics_exporter"], ["shop"], password="secret")
        server.sql("alter role streaming_replica replication")
        server.write("pg_hba.conf", hba)
        server.write("pg_ident.conf", ident.replace("local postgres", f"local {server_account().name}"))
        for name in ("server.crt", "server.key", "root.crt"):
            server.write(name, (tmp_path / "out/servers/shop" / name).read_bytes())
        crls = server.data / "crls"
        crls.mkdir()
        for path in (tmp_path / "out/servers/shop/root.crl.d").iterdir():
            (crls / path.name).write_bytes(path.read_bytes())
        give(crls, server_account())
        own = {"ssl": "on", "ssl_ca_file": "root.crt", **postgresql["parameters"], "ssl_crl_dir": "crls"}
        server.configure(**own)
        server.reload()
        assert server.hba_errors() == []
        clients = tmp_path / "out/clients"
        web = Bundle(clients / "web").parameters("shop") | at(server)
        assert admitted(PSQL.connect(web)) == "app@shop"
        refused(PSQL.connect(web | {"sslcert": "/none", "sslkey": "/none"}), "requires a valid client certificate")
        replica = Bundle(clients / "streaming_replica").files | at(server) | {"user": "streaming_replica"}
        replica |= {"host": "shop-rw", "sslmode": "verify-full"}
        assert admitted(PSQL.connect(replica | {"replication": "true", "dbname": ""}, query="IDENTIFY_SYSTEM"))
        refused(PSQL.connect(replica | Bundle(clients / "app").files | {"dbname": "postgres"}), "certificate auth")
        socket = socket_of(server) | {"user": "app", "dbname": "shop"}
        refused(PSQL.connect(socket, account=server_account()), "Peer authentication failed")
        plain = at(server) | {"user": "app", "dbname": "postgres", "sslmode": "disable"}
        outcome = PSQL.connect(plain, environment={"PGPASSWORD": "secret"})
        if closed:
            refused(outcome, "pg_hba.conf rejects connection")
        else:
            assert admitted(outcome) == "app@postgres"


def test_the_file_that_is_proved_is_the_one_that_the_operator_writes(cluster: Path) -> None:
    import pgtls as library
    from pgtls.exports.composed import composed

    (manifest,) = manifests((cluster / "to/cluster.yaml").read_text())
    rules = library.loads(CLOUDNATIVEPG).usable().rules["shop"]
    whole = composed(rules, "cloudnativepg")
    assert (whole.hba_text, whole.ident_text) == written_by_the_operator(manifest["spec"]["postgresql"])


@pytest.mark.parametrize(
    ("part", "instead", "expected"),
    [
        pytest.param(
            "[server.shop]\n",
            "[server.shop]\nsettings = { archive_mode = 'on' }\n",
            'PGT663]: CloudNativePG decides "archive_mode" itself',
            id="a setting of the operator",
        ),
        pytest.param(
            "[server.shop]\n",
            '[server.shop]\ngroups = "prime256v1"\n',
            "PGT663]: CloudNativePG decides ssl_ecdh_curve itself, which groups sets on PostgreSQL 17",
            id="curves",
        ),
        pytest.param(
            "postgres = 17",
            "postgres = 13",
            "PGT663]: PostgreSQL 13 has no ssl_crl_dir, and CloudNativePG lets no other CRL in",
            id="CRLs before ssl_crl_dir",
        ),
        pytest.param(
            "[policy.app]\n",
            "[policy.app]\ndescription = 'as ${podselector:app}'\n",
            'PGT663]: CloudNativePG expands "${podselector:app}" in a line of pg_hba.conf',
            id="what the operator expands",
        ),
        pytest.param(
            "[policy.app]\n",
            '[policy.people]\nusers = ["web"]\ndatabases = ["stock"]\nfrom = ["10.0.0.0/8"]\nauth = "ldap"\n'
            'sslmode = "verify-full"\nwaiver = { reason = "a test", codes = ["PGT370"] }\n'
            'auth_options = { ldapserver = "l.example.com", ldapbasedn = "dc=x", '
            'ldapbindpasswd = { command = ["echo", "x"] } }\n[policy.app]\n',
            'PGT663]: a Cluster shows its lines of pg_hba.conf, and "ldapbindpasswd" of policy "people" is a secret',
            id="a secret in a rule",
        ),
        pytest.param(
            'databases = ["postgres", "replication"]',
            'databases = ["postgres"]',
            'PGT663]: no user may replicate from server "shop"',
            id="nobody who replicates",
        ),
        pytest.param(
            "[policy.replicas]\n",
            "[policy.no]\nusers = ['streaming_replica']\ndatabases = ['postgres']\nfrom = ['10.0.0.0/8']\n"
            "auth = 'reject'\n[policy.replicas]\n",
            'PGT661]: CloudNativePG writes "hostssl postgres streaming_replica all cert map=cnpg_streaming_replica" '
            "itself",
            id="a policy that the operator's line precedes",
        ),
    ],
)
def test_what_cloudnativepg_cannot_do_is_an_error(tmp_path: Path, part: str, instead: str, expected: str) -> None:
    assert part in CLOUDNATIVEPG
    built(tmp_path, CLOUDNATIVEPG.replace(part, instead))
    assert f"error[{expected}" in said(export(tmp_path, "cloudnativepg"))
    assert not (tmp_path / "to").exists()


OTHER = """
[ca.other]
[server.dev]
ca = "other"
client_ca = ["other"]
hosts = ["dev"]
no_local = true
[user.aaa]
ca = "other"
common_name = "streaming_replica"
[policy.dev]
servers = ["dev"]
users = ["aaa"]
databases = ["replication"]
from = ["10.0.0.0/8"]
auth = "cert"
"""


def test_a_user_of_another_ca_does_not_replicate_in_place_of_the_one_that_the_cluster_admits(tmp_path: Path) -> None:
    """The first user by name had the common name, and its bundle the root that replicas would trust."""
    built(tmp_path, CLOUDNATIVEPG.replace("auth = ", 'servers = ["shop"]\nauth = ') + OTHER)
    assert export(tmp_path, "cloudnativepg", "server.shop").status == 0
    secrets = {one["metadata"]["name"]: decoded(one) for one in manifests((tmp_path / "to/secrets.yaml").read_text())}
    bundle = tmp_path / "out/clients/streaming_replica"
    assert secrets["shop-replication"]["tls.crt"] == (bundle / "postgresql.crt").read_bytes()
    assert secrets["shop-server-ca"]["ca.crt"] == (bundle / "root.crt").read_bytes()


def test_a_cluster_is_one_server(tmp_path: Path) -> None:
    built(tmp_path, CLOUDNATIVEPG.replace("[user.postgres]", '[server.two]\nca = "servers"\nhosts = ["two"]\nno_local = true\n[user.postgres]').replace("[policy.", "[policy.").replace('auth = "', 'servers = ["shop"]\nauth = "'))  # fmt: skip  # noqa: E501
    assert export(tmp_path, "cloudnativepg").status == 64
    assert export(tmp_path, "cloudnativepg", "server.shop").status == 0
    assert export(tmp_path, "cloudnativepg", "user.app").status == 64
    assert export(tmp_path, "cloudnativepg", "shop").status == 64
    assert 'error[PGT291]: the spec has no server "shup"' in said(export(tmp_path, "cloudnativepg", "server.shup"))
