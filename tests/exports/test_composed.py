"""The file that an engine makes of compiled lines is proved as a whole: what the engine adds itself, too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

import pgtls
from exports.specs import CLOUDNATIVEPG
from pgtls.access.rules import ProofFailed
from pgtls.exports import composed
from pgtls.exports.composed import differences

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgtls.exports.engines import Name

NOW = datetime(2027, 1, 1, tzinfo=UTC)
REPLICAS = CLOUDNATIVEPG.partition("[policy.replicas]")[2].partition("[policy.app]")[0]


def found(spec: str, engine: Name = "cloudnativepg") -> list[str]:
    """Return what the proof of the whole file says."""
    state = pgtls.loads(spec, now=NOW).usable()
    return [str(one.message) for rules in state.rules.values() for one in differences(state.fleet, rules, engine)]


def test_a_spec_that_says_what_the_engine_does_is_proved() -> None:
    assert found(CLOUDNATIVEPG) == []
    assert found(CLOUDNATIVEPG, "patroni") == []


@pytest.mark.parametrize(
    ("part", "instead", "line", "why"),
    [
        pytest.param(
            f"[policy.replicas]{REPLICAS}",
            "",
            "hostssl replication streaming_replica all cert map=cnpg_streaming_replica",
            "the policies say: refused",
            id="no policy for the replicas",
        ),
        pytest.param(
            'databases = ["postgres", "replication"]\nfrom = ["all"]',
            'databases = ["postgres", "replication"]\nfrom = ["10.0.0.0/8"]',
            "hostssl postgres streaming_replica all cert map=cnpg_streaming_replica",
            "the policies say: refused",
            id="the engine admits replicas from everywhere",
        ),
        pytest.param(
            'users = ["postgres", "cnpg_metrics_exporter"]',
            'users = ["postgres"]',
            "local all cnpg_metrics_exporter peer map=cnpg_metrics_exporter",
            "the policies say: refused",
            id="the metrics exporter",
        ),
        pytest.param(
            "[policy.app]",
            '[policy.own]\nusers = ["app"]\nfrom = ["local"]\nauth = "scram-sha-256"\n[policy.app]',
            "local all all peer map=local",
            "the policies say: scram-sha-256",
            id="a policy for the socket that the engine's line precedes",
        ),
        pytest.param(
            "[user.app]",
            '[user.cnpg_pooler_pgbouncer]\nca = "clients"\n[user.app]',
            "hostssl all cnpg_pooler_pgbouncer all cert map=cnpg_pooler_pgbouncer",
            "the policies say: refused",
            id="a user whose certificate the engine's own line admits",
        ),
    ],
)
def test_a_line_of_the_engines_own_that_the_policies_do_not_say_is_named(
    part: str, instead: str, line: str, why: str
) -> None:
    assert part in CLOUDNATIVEPG
    messages = found(CLOUDNATIVEPG.replace(part, instead))
    assert any(f'CloudNativePG writes "{line}" itself' in message and why in message for message in messages)
    assert found(CLOUDNATIVEPG.replace(part, instead), "patroni") == []


def test_a_map_of_a_policy_that_has_the_name_of_the_engines_map_is_found() -> None:
    """The lines of pg_ident.conf would add up: whoever runs as "app" on the server would log in as app."""
    state = pgtls.loads(CLOUDNATIVEPG.replace("[policy.app]", "[policy.local]"), now=NOW).usable()
    assert '"local"  ' in state.rules["shop"].ident_text
    (one,) = differences(state.fleet, state.rules["shop"], "cloudnativepg")
    assert one.code == "PGT661"
    assert one.message == (
        'policy or user "local" gives its name to a map, and CloudNativePG has a map "local" of its own: '
        "their lines of pg_ident.conf would add up"
    )
    assert one.hint == "rename it"
    assert list(differences(state.fleet, state.rules["shop"], "patroni")) == []


def test_without_the_closing_reject_the_engines_last_line_admits_by_password_in_cleartext(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: Callable[..., list[str]] = composed.hba_lines
    monkeypatch.setattr(composed, "hba_lines", lambda rules, engine: given(rules, engine)[:-1])
    with pytest.raises(ProofFailed, match=r"the policies say: refused; pg_hba.conf says .*: scram-sha-256"):
        found(CLOUDNATIVEPG)


def test_an_authority_of_others_may_certify_the_names_that_the_engine_admits() -> None:
    """A name in a map of the engine's is nobody only as long as the trusted CAs certify users of the spec alone."""
    from pgtls.access.meaning import Holders

    state = pgtls.loads(CLOUDNATIVEPG, now=NOW).usable()
    holders = Holders(state.fleet, state.fleet.servers["shop"])
    assert not holders.may_exist(("cn", "cnpg_pooler_pgbouncer"))
    assert holders.may_exist(("user", "app"))
    assert holders.may_exist(("name", "postgres"))


def test_a_role_that_only_a_map_of_the_engine_names_is_looked_at() -> None:
    spec = CLOUDNATIVEPG.replace("[user.postgres]\n", "").replace('"postgres", "cnpg_metrics', '"cnpg_metrics')
    (message,) = found(spec)
    assert 'writes "local all all peer map=local" itself, which decides for role "postgres"' in message
