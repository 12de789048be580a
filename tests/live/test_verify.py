"""`pgtls verify` as a command: what it prints, what it says about bad input, and how few connections it makes."""

from __future__ import annotations

import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self
from xml.etree import ElementTree as Xml

import psycopg
import pytest

from live.test_faults import SPEC, built
from live.verifying import Site, faults, seen
from pgtls.api import Spec
from pgtls.diagnostics import Rejected
from pgtls.language.files import Disk
from pgtls.live import sql
from pgtls.live.chain import covers
from pgtls.live.checks.database import judge
from pgtls.live.handshake import Reply
from pgtls.live.run import loaded
from pgtls.live.sql import Session, Shown
from pgtls.live.survey import Survey
from pgtls.output.postgresql_conf import read_fragment
from pgtls.state.lock import read
from support.authority import Authority
from support.building import Place
from support.pgtls import ROOT, pgtls
from support.servers import Server, versions
from support.system import new_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.live.checks.check import Check
    from pgtls.live.handshake import Seen
    from pgtls.live.verify import Verified
    from support.pgtls import Run

NPM = {found.major: found for found in versions() if found.builder == "npm"}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A server of version 17 with good files."""
    with Server(NPM[17]) as server:
        site = Site(server, built(17))
        server.populate(("app", "etl", "report"), ("shop",), "secret")
        site.install()
        yield site


def verified(place: Place, *words: str | int) -> Run:
    return pgtls("verify", place.spec, "--host", "127.0.0.1", *map(str, words))


def test_a_good_server_is_as_compiled_and_gets_few_connections(site: Site) -> None:
    mark = site.server.mark()
    run = verified(site.place, "--port", site.server.port, "--format", "json")
    log = site.server.log(mark)
    (found,) = run.json["servers"]
    assert (run.status, found["as_compiled"], found["server"]) == (0, True, "server.db"), run.stdout
    received = log.count("connection received")
    assert received == found["connections"] <= 40

    assert most_at_once(log) <= 5, "four, and one that the server has not yet seen the end of"
    assert "password" not in log


def test_a_good_server_is_evidence_once(site: Site) -> None:
    evidence = site.place.lock.with_suffix(".deployed")
    new = not evidence.exists()
    said = [verified(site.place, "--port", site.server.port) for _ in range(2)]
    assert [run.status for run in said] == [0, 0]
    assert [f"wrote {evidence}" in run.stderr.replace("\n    ", " ") for run in said] == [new, False]
    lines = site.place.lock.with_suffix(".deployed").read_text().splitlines()
    assert [line.partition('"by": ')[2][:8] for line in lines[1:]] == ['"verify"']
    assert '"entity": "server.db"' in lines[1]


def most_at_once(log: str) -> int:
    """Count the server processes that lived at the same time, by the log's process ids."""
    lines = [found[1] for line in log.splitlines() if (found := re.search(r"\[(\d+)\]", line))]
    last = {process: number for number, process in enumerate(lines)}
    alive: set[str] = set()
    most = 0
    for number, process in enumerate(lines):
        alive.add(process)
        most = max(most, len(alive))
        if last[process] == number:
            alive.discard(process)
    return most


def test_text_shows_every_check_with_its_outcome(site: Site) -> None:
    run = verified(site.place, "--port", site.server.port)
    assert run.status == 0
    assert re.search(r"^server\.db at 127\.0\.0\.1:\d+: as compiled \(\d+ ok, \d+ not tried; \d+ connections\)$",
                     run.stdout, re.MULTILINE)  # fmt: skip
    assert "  ok         certificate" in run.stdout
    assert "  not tried  refuses a revoked certificate" in run.stdout


def test_a_difference_is_explained_and_fails(site: Site) -> None:
    later = datetime.now(UTC) + timedelta(days=100)
    run = pgtls("verify", site.place.spec, "--host", "127.0.0.1", "--port", str(site.server.port), now=f"{later:%F}")
    assert run.status == 1
    assert "NOT as compiled" in run.stdout
    assert re.search(r"PGT474 dates: .* expired on .*\n    why  .*\n    do   run pgtls build", run.stdout)


def test_a_clock_that_is_behind_is_named(site: Site) -> None:
    assert "not yet valid" in faults(seen(site.place, site.server.port, now=datetime.now(UTC) - timedelta(days=2)))


def test_junit_has_a_case_for_each_check(site: Site) -> None:
    run = verified(site.place, "--port", site.server.port, "--format", "junit")
    suite = Xml.fromstring(run.stdout).find("testsuite")  # noqa: S314  (our own)
    assert suite is not None
    assert suite.get("name") == "server.db"
    assert suite.get("failures") == "0"
    cases = suite.findall("testcase")
    assert len(cases) == int(suite.get("tests", "0")) > 10
    assert sum(case.find("skipped") is not None for case in cases) == int(suite.get("skipped", "-1")) > 0


def test_a_port_without_a_server_gets_a_diagnostic(site: Site) -> None:
    run = verified(site.place, "--port", 1, "--format", "json")
    assert run.status == 1
    (found,) = [one for one in run.json["diagnostics"] if one["severity"] == "error"]
    assert (found["code"], found["path"]) == ("PGT470", ["server", "db"])
    assert "error[PGT470]" in verified(site.place, "--port", 1).stderr


def test_a_server_that_was_never_built_gets_a_diagnostic(place: Place) -> None:
    place.write(SPEC.format(postgres=17, more=""))
    run = verified(place)
    assert run.status == 1
    assert "error[PGT597]" in run.stderr
    assert "Traceback" not in run.stderr


def test_rules_that_somebody_edited_are_not_what_was_compiled(site: Site) -> None:
    site.place = built(17)
    site.install()
    hba = site.place.file("servers/db/pg_hba.conf")
    compiled = hba.read_text()
    hba.write_text(f"{compiled}host all all 0.0.0.0/0 trust\n")
    run = verified(site.place, "--port", site.server.port)
    assert run.status == 1
    assert f'error[PGT597]: "{hba}" is not what the last build wrote' in run.stderr
    assert "= hint: run pgtls build, which restores it" in run.stderr
    hba.write_text(compiled)
    assert verified(site.place, "--port", site.server.port).status == 0


def test_a_server_that_the_spec_lacks_and_contradictory_options_are_refused(place: Place) -> None:
    two = (
        SPEC.format(postgres=17, more="")
        + '[server.other]\nca = "servers"\nclient_ca = ["clients", "partners"]\nhosts = ["o.example.com"]\n'
    )
    place.build(two.replace('users = ["', 'servers = ["all"]\nusers = ["'), now=datetime.now(UTC), new_out=True)
    assert "error[PGT291]" in verified(place, "--server", "nobody").stderr
    assert verified(place, "--port", 1).status == 64
    assert pgtls("verify", place.spec, "--wait", "-1").status == 64


# --- with SQL ---


def by_name(found: Verified) -> dict[str, Check]:
    return {check.name: check for check in found.checks}


def test_a_login_compares_files_rules_settings_and_roles(site: Site) -> None:
    found = by_name(seen(site.place, site.server.port, user="etl"))
    assert found["login"].outcome == found["roles"].outcome == found["settings"].outcome == "ok"
    assert found["files on the server"].outcome == "not tried", "this role is no superuser"
    assert "permission denied" in found["pg_hba.conf"].what


def test_a_role_that_may_not_read_files_gets_the_same_in_every_language(site: Site) -> None:
    """The servers of the tests speak English alone."""
    usual = site.server.administrator

    class Denied(psycopg.errors.InsufficientPrivilege):
        diag = SimpleNamespace(message_primary="keine Berechtigung", sqlstate="42501")  # type: ignore[assignment]

    class German(Other):
        def execute(self, query: str, values: tuple[object, ...] = ()) -> Any:
            if "pg_read_binary_file" in query:
                raise Denied
            return usual.execute(query, values)

    shown = sql.read(German({}), "app")
    assert (shown.digests, shown.untried["files"]) == (None, "keine Berechtigung")


def test_a_name_of_another_encoding_is_a_name_like_any(place: Place) -> None:
    with Server(NPM[17]) as server:
        server.populate(("app", "etl", "report"))
        server.sql("create database old encoding 'LATIN1' locale 'C' template template0")
        server.sql("create database shop encoding 'UTF8' locale 'C' template template0")
        with psycopg.connect(server.administrator.info.dsn, dbname="old", autocommit=True) as old:
            old.execute('create role "m\u00fcller"')
        site = Site(server, built(17))
        site.install()
        found = by_name(seen(site.place, server.port, user="app"))
        assert found["login"].outcome == found["roles"].outcome == "ok"


def test_an_impostor_gets_no_login_and_no_name_to_see(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "correct horse")
    mark = site.server.mark()
    found = seen(built(17), site.server.port, user="report")
    assert "certificate of a stranger" in faults(found)
    assert by_name(found)["login"].outcome == "not tried"
    log = site.server.log(mark)
    assert log.count("connection received") == found.connections
    assert not re.search(r"user=|database=|password|report|shop", log), log


def test_a_password_goes_to_the_server_that_proves_who_it_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    assert by_name(seen(site.place, site.server.port, user="report"))["login"].outcome == "ok"
    monkeypatch.setenv("PGPASSWORD", "wrong")
    refused = by_name(seen(site.place, site.server.port, user="report"))["login"]
    assert (refused.outcome, refused.code, refused.fault, refused.what) == (
        *("differs", "PGT479", "login failed"),
        'FATAL:  password authentication failed for user "report"',
    )
    assert "PGPASSWORD" in refused.todo
    assert verified(site.place, "--port", site.server.port, "--user", "report").status == 1


def test_a_server_that_never_answers_after_the_login_does_not_hold_it_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stands between needs no key for that: they pass nothing on any more."""
    ended = threading.Event()
    monkeypatch.setattr(sql, "_PATIENCE", 0.2)
    monkeypatch.setattr(sql, "_logged_in", lambda *_: ended.wait(60))
    login = by_name(seen(site.place, site.server.port, user="app"))["login"]
    ended.set()
    assert (login.outcome, login.what) == ("differs", "it did not answer all queries within 0.2 seconds")


@pytest.mark.parametrize("said", ["dead", "::g", "1.2.3.4.5", "...", "f" * 5000])
def test_an_address_that_is_none_is_not_that_of_the_client(
    site: Site, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stands between can answer every connection in cleartext."""
    usual = Survey.of

    def lying(survey: Survey, kind: str) -> dict[Any, Seen]:
        refusal = Reply("refused", sqlstate="28000", message=f'no entry for host "{said}", user "x"')
        return {key: replace(one, reply=refusal) for key, one in usual(survey, kind).items()}

    monkeypatch.setattr(Survey, "of", lying)
    assert by_name(seen(site.place, site.server.port))["access"].outcome == "differs"


@pytest.mark.parametrize(("source", "fault"), [("configuration file", []), ("command line", ["setting ssl_ciphers"])])
def test_a_setting_of_the_command_line_is_not_what_a_file_says(source: str, fault: list[str], site: Site) -> None:
    compiled = read_fragment(site.read("pgtls.conf").decode())
    rows: dict[str, list[tuple[Any, ...]]] = {
        "pg_settings": [("ssl_ciphers", "ALL:eNULL", "ALL:eNULL", False, source)],
        "pg_file_settings where applied": [("ssl_ciphers", compiled["ssl_ciphers"])],
    }
    shown = sql.read(Other(rows), "app")
    assert [
        name for name in judged(site, replace(shown, roles=None, databases=None)) if name == "setting ssl_ciphers"
    ] == fault


def test_a_database_without_an_encoding_is_read_like_any(place: Place) -> None:
    with Server(NPM[17]) as server:
        server.populate(("app", "etl", "report"))
        server.sql("create database shop encoding 'SQL_ASCII' locale 'C' template template0")
        site = Site(server, built(17))
        site.install()
        found = by_name(seen(site.place, server.port, user="app"))
        assert found["login"].outcome == found["roles"].outcome == "ok"


@pytest.mark.parametrize(
    ("subject", "names", "host", "accepted"),
    [
        ("CN=db.example.com", (), "db.example.com", True),
        ("CN=DB.example.com,O=x", (), "db.example.com", True),
        ("CN=*.example.com", (), "db.example.com", True),
        ("CN=db.example.com", ("DNS:other.example.com",), "db.example.com", False),
        ("CN=db.example.com", ("IP:10.0.0.5",), "db.example.com", True),
        ("CN=10.0.0.5", (), "10.0.0.5", True),
        ("CN=10.0.0.5", ("DNS:db.example.com",), "10.0.0.5", True),
        ("CN=10.0.0.5", ("IP:10.0.0.6",), "10.0.0.5", False),
        ("CN=x", ("DNS:db.example.com",), "db.example.com", True),
        ("CN=x", (), "db.example.com", False),
    ],
)
def test_a_common_name_covers_a_host_if_no_alternative_name_could(
    place: Place, subject: str, names: tuple[str, ...], host: str, accepted: bool
) -> None:
    place.build(SPEC.format(postgres=17, more=""), now=datetime.now(UTC), new_out=True)
    certificate = read(place.lock).latest["server.db"].certificate
    assert covers(replace(certificate, subject=subject, names=names), host) is accepted


def test_a_user_without_a_bundle_gets_a_diagnostic(site: Site) -> None:
    for user in ("postgres", "nobody"):
        run = verified(site.place, "--port", site.server.port, "--user", user)
        assert run.status == 1
        assert "error[PGT596]" in run.stderr
        assert "hint: users with a bundle for it: app, etl, report" in run.stderr


def test_without_psycopg_a_diagnostic_says_what_to_install(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(Rejected) as refused:
        seen(site.place, site.server.port, user="app")
    (found,) = refused.value.diagnostics
    assert (found.code, found.hint) == (
        "PGT595",
        "install it where pgtls is installed: pip install psycopg, or pipx inject pgtls psycopg; or leave --user out",
    )


def judged(site: Site, shown: Shown) -> list[str | None]:
    tree = loaded(Spec(str(site.place.spec), datetime.now(UTC), Disk(), str(site.place.lock)))
    checks = judge(tree.fleet, tree.of("db"), tree.checked.lock, shown)
    return [check.fault for check in checks if check.outcome == "differs"]


def test_a_server_whose_clock_is_off_is_named(site: Site) -> None:
    now = datetime.now(UTC)
    assert judged(site, Shown("app", 17, now - timedelta(seconds=50), now)) == []
    assert judged(site, Shown("app", 17, now - timedelta(minutes=5), now)) == ["clock off"]


def test_who_is_connected_with_a_revoked_certificate_is_named(place: Place) -> None:
    spec = SPEC.format(postgres=17, more="")
    place.build(spec, now=datetime.now(UTC) - timedelta(days=2), new_out=True)
    serial = read(place.lock).latest["user.etl"].serial
    connected = Shown("app", 17, sessions=(Session("etl", True, "CN=etl", serial, "CN=partners"),))
    tree = loaded(Spec(str(place.spec), datetime.now(UTC), Disk(), str(place.lock)))
    good = [check.what for check in judge(tree.fleet, tree.of("db"), tree.checked.lock, connected)]
    assert good[-1] == "1 user.etl of ca.partners"
    before = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    place.build(spec.replace("[user.etl]", f"[user.etl]\nrevoke_before = {before}"), now=datetime.now(UTC))
    tree = loaded(Spec(str(place.spec), datetime.now(UTC), Disk(), str(place.lock)))
    bad = list(judge(tree.fleet, tree.of("db"), tree.checked.lock, connected))
    assert bad[-1].fault == "revoked certificate connected"


def test_another_version_is_named(site: Site) -> None:
    assert judged(site, Shown("app", 18)) == ["version"]


def test_the_guide_shows_the_checks_that_are_made(site: Site) -> None:
    shown = (ROOT / "docs/guides/verify.md").read_text()
    names = re.findall(r"^  (ok|not tried) +(\S.*?)  ", shown, re.MULTILINE)
    found = seen(site.place, site.server.port)
    assert [(outcome, name) for outcome, name in names] == [(check.outcome, check.name) for check in found.checks]


# --- rules that only certificates pass, and earlier builds ---

CERTIFICATES = SPEC.partition("[policy.report]")[0].replace("[user.report]\n", "")


@pytest.fixture
def certificates(server: Server) -> Site:
    """A server all of whose policies over TCP are by certificate."""
    place = Place(new_directory("certificates"))
    made = datetime.now(UTC) - timedelta(hours=1)
    place.build(CERTIFICATES.format(postgres=server.version, more=""), now=made, new_out=True)
    site = Site(server, place)
    server.populate(("app", "etl"), ("shop",))
    server.sql("alter role app superuser")
    site.install()
    return site


@pytest.mark.parametrize(
    "first",
    [
        "hostssl all all all cert map=any",
        "hostssl all all all trust clientcert=verify-ca",
        "hostssl all all all reject",
    ],
)
def test_other_rules_than_those_by_certificate_are_named_in_every_language(certificates: Site, first: str) -> None:
    port = certificates.server.port
    assert faults(seen(certificates.place, port)) == []
    certificates.server.write("pg_ident.conf", "any /^.*$ postgres\n")
    certificates.write("pg_hba.conf", f"local all all trust\n{first}\n".encode() + certificates.read("pg_hba.conf"))
    assert faults(seen(certificates.place, port)) == ["other rules"]


def test_the_rules_of_an_earlier_build_are_told_from_those_of_the_last(certificates: Site) -> None:
    place, port = certificates.place, certificates.server.port
    place.build(place.spec.read_text().replace('users = ["app", "etl"]', 'users = ["app"]'), now=datetime.now(UTC))
    before = seen(place, port)
    assert (faults(before), before.is_evidence) == (["other rules"], False)
    assert 'role "etl", database "shop"' in by_name(before)["access"].what
    certificates.install()
    after = seen(place, port)
    assert (faults(after), after.is_evidence) == ([], True)


def test_a_crl_that_no_answer_shows_is_deployed_only_where_a_login_shows_it(certificates: Site) -> None:
    place, port = certificates.place, certificates.server.port
    assert seen(place, port).is_evidence
    since = f"{datetime.now(UTC) - timedelta(minutes=10):%FT%TZ}"
    revoking = place.spec.read_text().replace("[user.etl]", f"[user.etl]\nrevoke_before = {since}")
    place.build(revoking, now=datetime.now(UTC))
    found = seen(place, port)
    assert (faults(found), found.is_evidence) == ([], False)
    assert by_name(found)["last build"].outcome == "not tried"
    for name in ("root.crl", "root.crl.d") if certificates.server.version >= 14 else ("root.crl",):
        assert "files on the server" in [
            one.name for one in seen(place, port, user="app").checks if one.outcome == "differs"
        ]
        for file in sorted(place.file("servers/db").glob(f"{name}/*")) or [place.file(f"servers/db/{name}")]:
            certificates.server.write(str(file.relative_to(place.file("servers/db"))), file.read_bytes())
    certificates.reload()
    assert seen(place, port, user="app").is_evidence


def test_an_earlier_build_with_the_same_answers_and_other_crls_is_no_evidence(certificates: Site) -> None:
    """Somebody deployed it, and nobody has looked since."""
    place, port = certificates.place, certificates.server.port
    now = datetime.now(UTC)
    fewer = place.spec.read_text().replace('users = ["app", "etl"]', 'users = ["app"]')
    place.build(fewer, now=now - timedelta(minutes=50))
    certificates.install()
    since = f"{now - timedelta(minutes=40):%FT%TZ}"
    place.build(fewer.replace("[user.etl]", f"[user.etl]\nrevoke_before = {since}"), now=now - timedelta(minutes=30))
    found = seen(place, port)
    assert (faults(found), found.is_evidence) == ([], False)
    assert by_name(found)["last build"].outcome == "not tried"
    certificates.install()
    assert seen(place, port, user="app").is_evidence


# --- waiting, and the limit of connections ---


def test_waiting_ends_as_soon_as_the_server_has_reloaded(site: Site) -> None:
    later = built(17)
    for file in sorted(later.file("servers/db").iterdir()):
        if file.is_file():
            site.server.write(file.name, file.read_bytes())
    mark = site.server.mark()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(seen, later, site.server.port, wait=60)
        site.server.wait_for_log("connection received", mark)
        site.server.reload()
        found = waiting.result()
    assert faults(found) == []
    site.install()


def test_no_more_than_forty_connections_are_made(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgtls.live.survey._PAIRS", 30)
    site.place.build(now=datetime.now(UTC) + timedelta(days=80))  # so all polls are made
    mark = site.server.mark()
    found = seen(site.place, site.server.port, user="app", wait=0.5)
    assert "old certificate" in faults(found)
    received = site.server.log(mark).count("connection received")
    assert received == found.connections <= 40
    site.place = built(17)
    site.install()


# --- what lies on disk, and what is at hand ---


def test_on_the_server_itself_the_files_of_its_directory_are_compared(site: Site) -> None:
    directory = new_directory("etc")
    place = built(17, more=f'directory = "{directory}"')
    site.server.place(place.file("servers/db"), directory)
    site.server.restart()
    assert by_name(seen(place, site.server.port))["files on the server"].outcome == "ok"
    (directory / "server.key").write_bytes(Authority.root("another").key_pem)
    assert faults(seen(place, site.server.port)) == ["key and certificate do not match"]
    (directory / "server.key").unlink()
    (directory / "server.crt").unlink()
    assert faults(seen(place, site.server.port)) == ["half-installed"]
    site.start_again()


def test_an_expired_certificate_at_hand_is_shown_and_refused(site: Site) -> None:
    past = datetime.now(UTC) - timedelta(days=2)
    site.place = Place(new_directory("verified"))
    late = SPEC.format(postgres=17, more="").replace("[user.etl]", '[user.etl]\nvalidity = "1d"')
    site.place.build(late, now=past, new_out=True)
    site.install()
    found = by_name(seen(site.place, site.server.port))["refuses an expired certificate"]
    assert (found.outcome, found.what) == ("ok", "refused (user.etl): certificate expired")


def test_a_revoked_certificate_at_hand_is_refused_only_with_crls(site: Site) -> None:
    spec = SPEC.format(postgres=17, more="")
    site.place = Place(new_directory("verified"))
    site.place.build(spec, now=datetime.now(UTC) - timedelta(days=2), new_out=True)
    pair = {name: site.place.file(f"clients/etl/{name}").read_bytes() for name in ("postgresql.crt", "postgresql.key")}
    before = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    site.place.build(spec.replace("[user.etl]", f"[user.etl]\nrevoke_before = {before}"), now=datetime.now(UTC))
    site.install()
    for name, content in pair.items():
        site.place.file(f"clients/etl/{name}").write_bytes(content)
    name = "refuses a revoked certificate"
    assert by_name(seen(site.place, site.server.port))[name].what == "refused (user.etl): certificate revoked"
    site.configure(ssl_crl_file="", ssl_crl_dir="")
    assert "accepts: revoked" in faults(seen(site.place, site.server.port))


def test_without_user_psycopg_is_not_even_looked_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    site.place = built(17)
    site.install()
    assert faults(seen(site.place, site.server.port)) == []


class Other:
    """A connection to something that only resembles PostgreSQL."""

    info = SimpleNamespace(server_version=170000)
    adapters = SimpleNamespace(register_loader=lambda *_: None)

    def __init__(self, rows: dict[str, list[tuple[Any, ...]]]) -> None:
        self._rows = rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def transaction(self) -> nullcontext[None]:
        return nullcontext()

    def execute(self, query: str, _values: tuple[object, ...] = ()) -> SimpleNamespace:
        found = next((rows for part, rows in self._rows.items() if part in query), [])
        return SimpleNamespace(fetchall=lambda: found)


@pytest.mark.parametrize(
    "rows",
    [
        {"pg_roles": [("a",)]},
        {"clock_timestamp": [("x",)]},
        {"pg_stat_ssl": [("a", True, "CN=a", "zz", "CN=b")]},
        {"pg_roles": [(["a"], True)]},
        {"pg_stat_file": [("ssl_no_file",)]},
    ],
    ids=["one column", "a word for the clock", "a serial that is no number", "a list for a name", "no setting"],
)
def test_a_server_with_rows_that_no_postgresql_returns_is_named(
    monkeypatch: pytest.MonkeyPatch, rows: dict[str, list[tuple[Any, ...]]]
) -> None:
    for found, said in ((rows, "it answers queries as no PostgreSQL does"), ({}, None)):
        monkeypatch.setattr(psycopg, "connect", lambda *_, found=found, **__: Other(found))
        monkeypatch.setattr(sql, "parameters", lambda *_: {})
        login = SimpleNamespace(entry=SimpleNamespace(role="postgres"))
        answer = sql.ask(login, None, b"")  # type: ignore[arg-type]
        assert (answer == said) if said else not isinstance(answer, str)
