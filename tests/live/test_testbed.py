"""The testbed itself: its servers judge, so they are judged first."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.servers import PATIENCE, Server, ServerError, loopback, versions
from support.system import SCRATCH, scratch, until_we_end


def test_a_server_answers_as_the_version_it_is_said_to_be(server: Server) -> None:
    assert server.show("server_version").split()[0] == server.installation.release


def test_a_broken_pg_hba_conf_is_refused_at_reload_and_at_start(server: Server) -> None:
    assert server.hba_errors() == []
    server.write("pg_hba.conf", "host all all 127.0.0.1/32 nonsense\n")
    with pytest.raises(ServerError, match='invalid authentication method "nonsense"'):
        server.reload()
    assert server.hba_errors() == [(1, 'invalid authentication method "nonsense"', None)]
    with pytest.raises(ServerError, match="could not load"):
        server.restart()


def test_a_reload_is_in_force_when_it_returns(server: Server) -> None:
    for size in ("1MB", "2MB", "3MB"):
        server.configure(log_temp_files=size)
        server.reload()
        assert server.sql("show log_temp_files", database="template1") == [(size,)]


def test_a_setting_that_does_not_exist_is_refused(server: Server) -> None:
    server.configure(no_such_setting="1")
    with pytest.raises(ServerError, match="no_such_setting"):
        server.reload()


@pytest.mark.parametrize("address", loopback())
def test_where_somebody_has_one_of_its_addresses_a_server_takes_another_port(address: str) -> None:
    with Server(versions()[-1]) as server:
        before = server.port
        server.stop()
        with socket.create_server((address, before), family=socket.AF_INET6 if ":" in address else socket.AF_INET):
            server.start()
        assert server.port != before
        assert server.sql("select 1") == [(1,)]


SESSION = """
import sys, time
from support.servers import Server, versions
from support.system import scratch
with Server(versions()[-1]) as server:
    print(scratch(), (server.data / "postmaster.pid").read_text().split()[0], flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(not until_we_end(), reason="unavailable: there is no setpriv")
def test_a_session_that_is_killed_leaves_no_server_and_the_next_one_removes_its_files() -> None:
    surroundings = {name: value for name, value in os.environ.items() if name != SCRATCH}
    surroundings["PYTHONPATH"] = str(Path(__file__).parents[1])
    with subprocess.Popen(
        (sys.executable, "-c", SESSION), env=surroundings, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout is not None
        directory, server = session.stdout.readline().split()
        watch = os.pidfd_open(int(server))
        session.kill()
    assert select.select([watch], [], [], PATIENCE)[0], "the server goes on"
    os.close(watch)
    assert Path(directory).exists()
    program = "from support.system import scratch; scratch()"
    subprocess.run((sys.executable, "-c", program), env=surroundings, check=True)
    assert not Path(directory).exists()
    assert scratch().exists(), "that of a living session stays"
