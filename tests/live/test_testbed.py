"""The testbed itself: its servers judge, so they are judged first."""

from __future__ import annotations

import pytest

from support.servers import Server, ServerError


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
