"""install.sh finds the cluster without an option where distributions put it (docs/guides/first-server.md)."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.pgtls import compiled
from support.servers import PATIENCE, Server, free_port, versions
from support.system import ENVIRONMENT, is_root, new_directory, server_account

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """
version = 1
[ca.root]
[server.main]
ca = "root"
hosts = ["localhost"]
postgres = {postgres}
[user.postgres]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = "a throwaway server"
"""

DEBIAN = """
etc=/etc/postgresql/{major}/main; data=/var/lib/postgresql/{major}/main
mkdir -p $etc /var/lib/postgresql/{major}; cp -a "$FROM" $data; chown -R "$OWNER" /var/lib/postgresql
mv $data/postgresql.conf $data/pg_hba.conf $data/pg_ident.conf $etc/
printf '%s\\n' "data_directory = '$data'" "hba_file = '$etc/pg_hba.conf'" "ident_file = '$etc/pg_ident.conf'" \
    "include_dir = 'conf.d'" >>$etc/postgresql.conf
mkdir $etc/conf.d; chown -R "$OWNER" $etc
config=$etc/postgresql.conf; hba=$etc/pg_hba.conf
"""
RED_HAT = """
data=/var/lib/pgsql/{major}/data; mkdir -p /var/lib/pgsql/{major}; cp -a "$FROM" $data; chown -R "$OWNER" /var/lib/pgsql
config=$data/postgresql.conf; hba=$data/pg_hba.conf
"""
DOCKER = """
data=/var/lib/postgresql/data; cp -a "$FROM" $data; chown -R "$OWNER" /var/lib/postgresql
config=$data/postgresql.conf; hba=$data/pg_hba.conf; export PGDATA=$data
"""

RUN = """
set -eu
for place in /etc/postgresql /var/lib/postgresql /var/lib/pgsql; do
    mkdir -p $place; mount -t tmpfs tmpfs $place; chmod 755 $place
done
{layout}
setpriv --reuid="$OWNER" --regid="$OWNER" --clear-groups {postgres} -D $data -c config_file=$config -c port=$PORT \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories=$data >$data/log 2>&1 &
server=$!
trap 'code=$?; kill -QUIT $server 2>/dev/null || cat $data/log; wait $server || true; exit $code' EXIT
until [ "$(tail -n 1 $data/postmaster.pid 2>/dev/null)" = 'ready   ' ]; do kill -0 $server; sleep 0.05; done
sh "$FILES/install.sh"
echo "--- rules"; cat $hba
echo "--- served"; openssl s_client -starttls postgres -connect 127.0.0.1:$PORT </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256
echo "--- installed"; openssl x509 -noout -fingerprint -sha256 <"$FILES/server.crt"
echo "--- again"; sh "$FILES/install.sh"
"""  # noqa: E501


@pytest.mark.skipif(not is_root(), reason="unavailable: only root can mount directories of its own")
@pytest.mark.parametrize("layout", [DEBIAN, RED_HAT, DOCKER], ids=["Debian", "Red Hat", "Docker"])
def test_the_installer_finds_the_cluster_by_itself(layout: str, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("unavailable: this machine gives no mount namespace")
    server = Server(next(found for found in versions() if found.major == 17))
    server.prepare()
    files = new_directory("files") / "main"
    shutil.copytree(compiled(SPEC.format(postgres=17), tmp_path) / "servers" / "main", files)
    script = RUN.format(layout=layout.format(major=17), postgres=shlex.quote(str(server.installation.bin / "postgres")))
    surroundings = {**ENVIRONMENT, "FROM": str(server.data), "OWNER": server_account().name, "FILES": str(files)}
    try:
        run = subprocess.run(
            ["unshare", "--mount", "--propagation=private", "bash", "-c", script],
            env=surroundings | {"PORT": str(free_port())}, capture_output=True, text=True, check=False,
            timeout=PATIENCE, cwd="/",
        )  # fmt: skip
    finally:
        server.close()
    assert run.returncode == 0, run.stdout + run.stderr
    rules, _, rest = run.stdout.partition("--- rules\n")[2].partition("--- served\n")
    served, _, rest = rest.partition("--- installed\n")
    installed, _, again = rest.partition("--- again\n")
    assert rules == (files / "pg_hba.conf").read_text()
    assert served == installed != ""
    assert "nothing to do" in again
