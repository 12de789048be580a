"""What every test session does: neutral surroundings, visible skips, and a summary that names the servers that ran."""

from __future__ import annotations

import os
import re
import signal
from functools import cache
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings

from support.building import Place
from support.servers import EXPECTED, Installation, Server, versions, versions_run, why_absent
from support.system import scratch

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from _pytest.mark.structures import ParameterSet

UNAVAILABLE = "unavailable: "
"""How the reason of a skip begins that stays one in CI: nothing that could be installed would help."""

NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
"""Programs that the tests start would compile all their modules anew, each time: half a second for each."""

# In CI, runs repeat the same examples: a change that touches nothing breaks nothing. Elsewhere each run draws new ones.
settings.register_profile(
    "pgtls",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("pgtls")


def pytest_configure(config: pytest.Config) -> None:
    """Make the scratch directory before workers start, and forget what the person who runs the tests has set."""
    os.umask(0o022)
    # What a script in the background or nohup has ignored: programs that the tests start would inherit it.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    scratch()
    for name in [
        name for name in os.environ if name.startswith("PG") and not name.startswith(("PGTLS_TEST", "PGTLS_FUZZ"))
    ]:
        del os.environ[name]
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "SSL_CERT_FILE", "SSL_CERT_DIR", "KRB5CCNAME", NO_BYTECODE):
        os.environ.pop(name, None)


@cache
def _matrix() -> tuple[Installation, ...]:
    """Return one server of each version: of two, Debian's, with the newer OpenSSL. Tests of OpenSSL take all."""
    from_debian = {found.major for found in versions() if found.builder == "Debian"}
    return tuple(found for found in versions() if found.builder == "Debian" or found.major not in from_debian)


def _installations() -> list[ParameterSet]:
    """Return the servers of the matrix as parameters, and each server that is expected but absent as a skip."""
    found = [pytest.param(installation, id=installation.id) for installation in _matrix()]
    present = {installation.id for installation in versions()}
    missing = [
        pytest.param(None, id=wanted, marks=pytest.mark.skip(reason=_why(wanted)))
        for wanted in EXPECTED
        if wanted not in present
    ]
    return found + missing


def _why(wanted: str) -> str:
    reason = why_absent(wanted)
    return f"{UNAVAILABLE}{reason}" if reason else f"{wanted} is not installed: `make test` installs it"


@pytest.fixture(params=_installations())
def installation(request: pytest.FixtureRequest) -> Installation:
    """Each version of PostgreSQL in turn."""
    installation: Installation = request.param
    return installation


@pytest.fixture
def server(installation: Installation) -> Iterator[Server]:
    """Run a server of each version, open to everybody and without TLS until files are installed."""
    with Server(installation) as server:
        yield server


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty directory for a spec, its lock and what is built."""
    return Place(tmp_path)


SLOW = (
    "access/test_comparisons.py",
    "certificates/test_at_rest_commands.py",
    "certificates/test_key_formats.py",
    "certificates/test_tokens.py",
    "cli/test_confirm.py",
    "cli/test_streams.py",
    "cli/test_terminal.py",
    "docs/test_pages.py",
    "docs/test_psql_messages.py",
    "docs/test_site.py",
    "drivers/",
    "exports/test_compose.py",
    "exports/test_kubernetes.py",
    "exports/test_patroni.py",
    "exports/test_patroni_cluster.py",
    "exports/test_terraform.py",
    "hba/test_differential.py",
    "hba/test_render.py",
    "importer/test_command.py",
    "importer/test_random.py",
    "importer/test_walk.py",
    "language/test_one_mistake.py",
    "language/test_taplo.py",
    "lifecycle/",
    "live/",
    "output/test_client_installer.py",
    "packaging/",
    "plan/test_status.py",
    "rollout/test_every_fleet.py",
    "rollout/test_handshakes.py",
    "rollout/test_schedules.py",
    "rollout/test_waves.py",
    "scenarios/",
    "signers/",
    "state/test_crash.py",
    "state/test_fuzz.py",
    "state/test_kill.py",
    "state/test_killing.py",
    "state/test_others.py",
    "state/test_seal.py",
    "store/",
    "ways/",
    "whole/",
)
"""What takes minutes as a whole; `make quick` leaves it out, and every server but one of each test that is left."""


ON_EVERY_SERVER = ("hba/", "importer/", "postgres/", "whole/")
"""The folders whose tests always run on every server: they are about what versions differ in."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is slow: the folders and files above, and tests that run again on another server.

    With ``PGTLS_TEST_SAMPLE``, leave out what is not in the sample of a slow test, or of one that is for every server.
    """
    quick = max((found.id for found in _matrix() if found.builder == "npm"), default="")
    by_test: dict[str, list[pytest.Item]] = {}
    for item in items:
        servers, is_slow = _servers(item), _path(item).startswith(SLOW)
        if is_slow or any(found.id != quick for found in servers):
            item.add_marker(pytest.mark.slow)
        if (servers and not _path(item).startswith(ON_EVERY_SERVER)) or (is_slow and not servers):
            by_test.setdefault(item.nodeid.partition("[")[0], []).append(item)
    if os.environ.get("PGTLS_TEST_SAMPLE"):
        left_out = {
            item
            for test, found in by_test.items()
            for item in (*_on_other_servers(test, found), *_at_the_other_end(test, found), *_most_cases(test, found))
        }
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]


def _path(item: pytest.Item) -> str:
    return str(item.path).removeprefix(os.path.dirname(__file__) + os.sep)


def _servers(item: pytest.Item) -> list[Installation]:
    callspec = getattr(item, "callspec", None)
    return [one for one in (callspec.params.values() if callspec else ()) if isinstance(one, Installation)]


_FEW_CASES = 3


def _most_cases(test: str, items: list[pytest.Item]) -> list[pytest.Item]:
    """Return what to leave out of a slow test with many cases: two of three pairs, of two pairs one.

    In pairs, so that both servers of the sample run.
    """
    cases = list(dict.fromkeys(map(_case, items)))
    if len(cases) <= _FEW_CASES or not _path(items[0]).startswith(SLOW):
        return []
    number, every = crc32(test.encode()), min(3, (len(cases) + 1) // 2)
    left_out = {case for index, case in enumerate(cases) if (number + index // 2) % every}
    return [item for item in items if _case(item) in left_out]


_ENDS = ("oldest", "newest")


def _at_the_other_end(test: str, items: list[pytest.Item]) -> list[pytest.Item]:
    """Return what to leave out of a test on the oldest and on the newest server: each of its cases runs on one."""
    ends = {item: end for item in items for end in _ENDS if end in re.split(r"[][-]", item.nodeid)}
    if {*ends.values()} != {*_ENDS}:
        return []
    number, case = crc32(test.encode()), {item: item.nodeid.replace(end, "", 1) for item, end in ends.items()}
    chosen = {one: _ENDS[(number + index) % 2] for index, one in enumerate(dict.fromkeys(case.values()))}
    return [item for item, end in ends.items() if chosen[case[item]] != end]


def _on_other_servers(test: str, items: list[pytest.Item]) -> list[pytest.Item]:
    """Return what to leave out of a test that is for every server: each of its cases runs on one.

    Half of them run on the newest, the others in turn on the rest: together, the tests run on every server.
    """
    if len(_matrix()) < 3 or {one for item in items for one in _servers(item)} != {*_matrix()}:
        return []
    *others, last = _matrix()
    number = crc32(test.encode())
    sample = (last, others[number // 2 % len(others)])
    chosen = {case: sample[(number + index) % 2] for index, case in enumerate(dict.fromkeys(map(_case, items)))}
    return [item for item in items if chosen[_case(item)] not in _servers(item)]


def _case(item: pytest.Item) -> str:
    """Return what distinguishes an item from others of its test, besides the server."""
    servers = _servers(item)
    return item.nodeid.replace(servers[0].id, "", 1) if servers else item.nodeid


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skip is a failure."""
    report = yield
    _judge(report, is_xfail=hasattr(report, "wasxfail"))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI the skip of a whole module is a failure, too."""
    report = yield
    _judge(report, is_xfail=False)
    return report


def _judge(report: pytest.TestReport | pytest.CollectReport, *, is_xfail: bool) -> None:
    if not os.environ.get("CI") or not report.skipped or is_xfail:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not reason.removeprefix("Skipped: ").startswith(UNAVAILABLE):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {reason}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every server that a test of this session started."""
    ran = versions_run()
    terminalreporter.section("PostgreSQL")
    terminalreporter.write_line("\n".join(ran) if ran else "no server was started")
