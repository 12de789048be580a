"""A thief with the revoked key of a server gets nothing from `pgtls verify`: no password, no certificate, no name."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from live.verifying import seen
from pgtls.api import Spec
from pgtls.certificates.asked import Asked
from pgtls.language.files import Disk
from pgtls.live import run, sql
from pgtls.live.handshake import Address
from pgtls.live.revoked import unlisted
from support.authority import Authority, key_pem, named
from support.building import Place
from support.clients import PSQL, Bundle, refused
from support.impostor import Guise, Impostor
from support.servers import Server, versions
from support.system import new_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pgtls.live.checks.check import Check
    from pgtls.live.sql import Login, Shown
    from pgtls.live.verify import Verified
    from support.impostor import Meeting

NOW = datetime.now(UTC)
STOLEN = NOW - timedelta(days=3)
CURVE = ec.SECP256R1()
SPEC = """
version = 1
[ca.root]
[ca.servers]
issuer = "root"
{servers}
[ca.clients]
[server.db]
ca = "servers"
client_ca = ["clients"]
hosts = ["localhost"]
postgres = 17
no_local = true
{server}
[user.app]
ca = "clients"
{app}
[user.report]
{report}
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "cert"
[policy.report]
users = ["report"]
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "password"
waiver = { reason = "the password is what a thief wants", codes = ["PGT302", "PGT303"] }
"""
SECRET = {"PGPASSWORD": "secret"}
REVOKED = f"revoke_before = {NOW - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"


def spec(**more: str) -> str:
    found = SPEC
    for name in ("servers", "server", "app", "report"):
        found = found.replace("{" + name + "}", more.get(name, ""))
    return found


@dataclass(frozen=True, slots=True)
class Theft:
    """A tree, and what a thief took from a server of it before."""

    place: Place
    taken: Path

    @contextmanager
    def thief(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Thief]:
        """Answer with the stolen key, ask for the certificate of a client, and for the password in the clear."""
        monkeypatch.setenv("PGPASSWORD", "secret")
        with Impostor() as impostor:
            port = impostor.reserve()
            clients = self.place.file("ca/clients/ca.crt")
            guise = Guise(self.taken / "server.crt", self.taken / "server.key", asks="cleartext", client_ca=clients)
            impostor.play(port, guise)
            yield _Thief(impostor, port)


@dataclass(frozen=True, slots=True)
class _Thief:
    impostor: Impostor
    port: int

    def met(self, *users: str) -> list[Meeting]:
        """Return, and forget, how these were met."""
        return [meeting for user in users for meeting in self.impostor.seen(self.port, user)]


def stolen(**more: str) -> Theft:
    """Build, let somebody take the key of the server, and build what the theft demands."""
    place = Place(new_directory("stolen"))
    place.build(spec(), now=STOLEN, new_out=True)
    taken = new_directory("taken")
    for name in ("server.crt", "server.key"):
        (taken / name).write_bytes(place.file(f"servers/db/{name}").read_bytes())
    place.build(spec(**more), now=NOW)
    return Theft(place, taken)


def outcomes(found: Verified) -> dict[str, str]:
    return {check.name: check.outcome for check in found.checks}


def looked(theft: Theft, thief: _Thief, user: str = "report") -> dict[str, Any]:
    """Verify with a login where the thief answers; return what `verify` says of the certificate and of the login."""
    found = seen(theft.place, thief.port, user=user)
    (served,) = (check for check in found.checks if check.name == "certificate")
    return {"fault": served.fault, **{name: outcomes(found).get(name) for name in ("client certificates", "login")}}


NOTHING = {"fault": "revoked certificate", "client certificates": "not tried", "login": "not tried"}


@pytest.mark.parametrize("crl", ["crl = true", "crl = false"])
def test_a_thief_of_a_revoked_key_gets_no_password_and_sees_no_client(
    crl: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theft = stolen(server=REVOKED, report=crl, app=crl)
    with theft.thief(monkeypatch) as thief:
        assert looked(theft, thief) == NOTHING
        assert looked(theft, thief, "app") == NOTHING
        assert not thief.met("report", "app", "pgtls-verify")


def test_a_superseded_certificate_gets_the_login_that_it_gets_from_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nothing revokes it: the server is often renewed and not deployed yet."""
    theft = stolen(server='validity = "30d"\nrenew_before = "29d"', report="crl = true")
    with theft.thief(monkeypatch) as thief:
        found = looked(theft, thief)
        assert found["fault"] == "old certificate"
        assert "secret" in [meeting.password for meeting in thief.met("report")]


@pytest.mark.parametrize("where", ["revoke_before", "revoked", "a lock that was pulled"])
def test_a_revocation_counts_before_it_is_built(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theft = stolen(report="crl = true")
    number = x509.load_pem_x509_certificate((theft.taken / "server.crt").read_bytes()).serial_number
    serial = f"{number:x}"
    with theft.thief(monkeypatch) as thief:
        assert looked(theft, thief)["fault"] is None
        assert any(meeting.password for meeting in thief.met("report"))
        if where == "revoke_before":
            theft.place.write(spec(report="crl = true", server=REVOKED))
        elif where == "revoked":
            theft.place.write(spec(report="crl = true", servers=f'revoked = ["{serial}"]'))
        else:
            line = f'{{"event":"revoked","ca":"servers","entity":"server.db","serial":"{serial}",'
            line += f'"reason":"key_compromise","date":"{NOW:%Y-%m-%dT%H:%M:%SZ}"}}\n'
            theft.place.lock.write_text(theft.place.lock.read_text() + line)
        assert looked(theft, thief) == NOTHING
        assert not thief.met("report", "pgtls-verify")


@pytest.mark.parametrize("crl", ["crl = true", "crl = false"])
def test_a_thief_who_lets_the_first_connections_pass_gets_no_password(
    crl: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login is a connection of its own. It checks CRLs itself, even if the bundle has none."""
    theft = stolen(server=REVOKED, report=crl)
    with ExitStack() as stack:
        server = stack.enter_context(Server(next(one for one in versions() if one.major == 17)))
        server.populate(["app", "report"], ["shop"], "secret")
        server.install(theft.place.file("servers/db"))
        thief = stack.enter_context(theft.thief(monkeypatch))
        assert outcomes(seen(theft.place, server.port, user="report"))["login"] == "ok"

        def elsewhere(login: Login, address: Address, lists: bytes) -> Shown | str:
            return sql.ask(login, Address(address.host, thief.port), lists)

        monkeypatch.setattr(run, "ask", elsewhere)
        found = [check for check in seen(theft.place, server.port, user="report").checks if check.name == "login"]
        assert [(check.outcome, "certificate verify failed" in check.what) for check in found] == [("differs", True)]
        assert not thief.met("report")

        # The control: without CRLs, the thief is believed.
        monkeypatch.setattr(run, "ask", lambda login, address, lists: elsewhere(login, address, b""))
        seen(theft.place, server.port, user="report")
        assert [meeting.password for meeting in thief.met("report")] == ["secret"]


@pytest.mark.parametrize("crl", ["crl = true", "crl = false"])
def test_no_login_before_the_crls_list_what_is_revoked(crl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server was renewed since, and presents a good certificate. Only the build lists the stolen one."""
    theft = stolen(report=crl)
    theft.place.build(now=NOW, asked=Asked(renew=frozenset({"server.db"})))
    with ExitStack() as stack:
        server = stack.enter_context(Server(next(one for one in versions() if one.major == 17)))
        server.populate(["app", "report"], ["shop"], "secret")
        server.install(theft.place.file("servers/db"))
        stack.enter_context(theft.thief(monkeypatch))
        assert outcomes(seen(theft.place, server.port, user="report"))["login"] == "ok"
        theft.place.write(spec(server=REVOKED, report=crl))
        asked: list[Login] = []
        monkeypatch.setattr(run, "ask", lambda login, *_: asked.append(login))
        found = [check for check in seen(theft.place, server.port, user="report").checks if check.name == "login"]
        assert [(check.outcome, "no CRL lists it yet" in check.what) for check in found] == [("differs", True)]
        assert not asked


OTHER = spec(report="crl = false", app="crl = false").replace("databases", 'servers = ["db"]\ndatabases')
OTHER += '[server.other]\nca = "servers"\nhosts = [{hosts}]\nport = 5433\npostgres = 17\nno_local = true\n'
FURTHER = {"the same host": ('"localhost"', "differs"), "another host": ('"db.example.com"', "ok")}


@pytest.mark.parametrize("hosts", FURTHER)
def test_no_login_while_another_table_of_the_host_has_such_a_certificate(
    hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clusters of one machine: clients compare the host, and not the port."""
    monkeypatch.setenv("PGPASSWORD", "secret")
    place, (named_hosts, outcome) = Place(new_directory("clusters")), FURTHER[hosts]
    text = OTHER.replace("{hosts}", named_hosts)
    place.build(text, now=STOLEN, new_out=True)
    place.build(now=NOW)
    with Server(next(one for one in versions() if one.major == 17)) as server:
        server.populate(["app", "report"], ["shop"], "secret")
        server.install(place.file("servers/db"))
        assert outcomes(seen(place, server.port, name="db", user="report"))["login"] == "ok"
        place.write(text.replace("port = 5433", f"port = 5433\n{REVOKED}"))
        assert outcomes(seen(place, server.port, name="db", user="report"))["login"] == outcome


MOVED = spec(servers='[ca.others]\nissuer = "root"', server=REVOKED, report="crl = false")


def test_no_login_while_the_server_presents_a_certificate_of_an_earlier_ca(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CRLs of its CA of today say nothing about it, and the one of the CA before lists a thief."""
    theft, agreed = stolen(server=REVOKED, report="crl = false"), Asked(accept_outage=True)
    with ExitStack() as stack:
        server = stack.enter_context(Server(next(one for one in versions() if one.major == 17)))
        server.populate(["app", "report"], ["shop"], "secret")
        server.install(theft.place.file("servers/db"))
        stack.enter_context(theft.thief(monkeypatch))
        assert outcomes(seen(theft.place, server.port, user="report"))["login"] == "ok"
        moved = MOVED.replace('[server.db]\nca = "servers"', '[server.db]\nca = "others"')
        theft.place.build(moved, now=NOW, asked=agreed)
        asked: list[Login] = []
        monkeypatch.setattr(run, "ask", lambda login, *_: asked.append(login))
        found = [check for check in seen(theft.place, server.port, user="report").checks if check.name == "login"]
        assert [(check.outcome, "of another CA" in check.what) for check in found] == [("differs", True)]
        assert not asked


COMPANY = spec().replace('[ca.root]\n[ca.servers]\nissuer = "root"\n', "[ca.servers]\n{company}\n")


@pytest.mark.parametrize("crl", ["crl = true", "crl = false"])
def test_a_crl_of_another_ca_counts_and_keeps_counting(crl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A company revokes in its own CRL. What it listed counts under any NAME of the CA, and after its `crl_file`."""
    place, company = Place(new_directory("company")), Authority.root("company")
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    stolen, other = (company.sign(named(CN="localhost"), key.public_key(), hosts=["localhost"]) for key in keys)
    text = COMPANY.replace("{company}", 'cert_file = "company.crt"\ncrl_file = "company.crl"')
    text = text.replace('hosts = ["localhost"]', 'hosts = ["localhost"]\ncert_file = "db.crt"')
    text = text.replace("[user.report]", f"[user.report]\n{crl}")
    (place.directory / "company.crt").write_bytes(company.pem)
    taken = new_directory("taken")
    (taken / "server.key").write_bytes(key_pem(keys[0]))
    (taken / "server.crt").write_bytes(stolen.public_bytes(Encoding.PEM))

    def build(list_: bytes, certificate: x509.Certificate, when: datetime, text: str = text) -> None:
        (place.directory / "company.crl").write_bytes(list_)
        (place.directory / "db.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
        place.build(text, now=when, new_out=when < NOW, asked=Asked(accept_outage=True, allow_revoke=True))

    theft = Theft(place, taken)
    build(company.crl(age=3), stolen, NOW - timedelta(hours=2))
    build(company.crl(age=2), other, NOW - timedelta(hours=1))
    with theft.thief(monkeypatch) as thief:
        assert looked(theft, thief)["fault"] == "old certificate", "the control: nothing revokes it"
        assert any(meeting.password for meeting in thief.met("report"))
        build(company.crl(stolen, age=1), other, NOW)
        assert looked(theft, thief) == NOTHING
        assert not thief.met("report", "app", "pgtls-verify")
        if crl == "crl = false":
            renamed = text.replace("[ca.servers]", "[ca.company]").replace('ca = "servers"', 'ca = "company"')
            build(company.crl(stolen, age=1), other, NOW, renamed.replace('crl_file = "company.crl"\n', ""))
            assert looked(theft, thief) == NOTHING
            assert not thief.met("report", "app", "pgtls-verify")


def test_a_serial_number_that_is_listed_counts_under_the_name_that_its_ca_has_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lock has the NAME of before. The key of the CA has come, and nothing is built since the number is listed."""
    place, company, key = Place(new_directory("renamed")), Authority.root("company"), ec.generate_private_key(CURVE)
    stolen_one = company.sign(named(CN="localhost"), key.public_key(), hosts=["localhost"])
    files = {"company.crt": company.pem, "company.key": company.key_pem, "company.crl": company.crl(age=3)}
    files["db.crt"] = stolen_one.public_bytes(Encoding.PEM)
    for name, content in files.items():
        (place.directory / name).write_bytes(content)
        (place.directory / name).chmod(0o600)
    text = COMPANY.replace('hosts = ["localhost"]', 'hosts = ["localhost"]\ncert_file = "db.crt"')
    agreed = Asked(accept_outage=True, allow_revoke=True)
    given = text.replace("{company}", 'cert_file = "company.crt"\ncrl_file = "company.crl"')
    place.build(given, now=NOW - timedelta(hours=3), new_out=True, asked=agreed)
    renamed = text.replace("[ca.servers]", "[ca.pki]").replace('ca = "servers"', 'ca = "pki"')
    own = 'cert_file = "company.crt"\nkey_file = "company.key"\n'
    place.build(renamed.replace("{company}", own), now=NOW - timedelta(hours=1), asked=agreed)
    taken = new_directory("taken")
    (taken / "server.key").write_bytes(key_pem(key))
    (taken / "server.crt").write_bytes(files["db.crt"])
    theft = Theft(place, taken)
    with theft.thief(monkeypatch) as thief:
        looked(theft, thief)
        assert any(meeting.password for meeting in thief.met("report")), "the control: nothing revokes it"
        assert withheld(place) is None
        place.write(renamed.replace("{company}", f'{own}revoked = ["{stolen_one.serial_number:x}"]'))
        assert withheld(place) == f"{stolen_one.serial_number:x}", "also if the thief answers the login alone"
        assert looked(theft, thief) == NOTHING
        assert not thief.met("report", "app", "pgtls-verify")


def withheld(place: Place) -> str | None:
    """Return the serial number for which a login is withheld whoever answers."""
    tree = run.loaded(Spec(str(place.spec), NOW, Disk(), str(place.lock)))
    return unlisted(tree.fleet, tree.of("db"), tree.checked.lock, NOW)


def login_at(place: Place, port: int, now: datetime) -> Check:
    (found,) = (check for check in seen(place, port, user="report", now=now).checks if check.name == "login")
    return found


def noting(asked: list[bytes]) -> Callable[[Login, Address, bytes], str]:
    """Log in nowhere, and note the CRLs of each login."""

    def ask(login: Login, address: Address, lists: bytes) -> str:
        asked.append(lists)
        return f"{login.entry.role} at {address.host}"

    return ask


DAYS = timedelta(days=1)
SHORT = {"servers": 'crl_validity = "2d"'}


def test_crls_that_have_expired_switch_no_check_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thief may answer the login alone: without a CRL that is valid, nothing tells."""
    place = Place(new_directory("expired"))
    with ExitStack() as stack:
        server = stack.enter_context(Server(next(one for one in versions() if one.major == 17)))
        server.populate(["app", "report"], ["shop"], "secret")
        monkeypatch.setenv("PGPASSWORD", "secret")
        place.build(spec(**SHORT), now=NOW - DAYS, new_out=True)
        server.install(place.file("servers/db"))
        assert login_at(place, server.port, NOW).outcome == "ok", "the control: they are valid"

        asked: list[bytes] = []
        monkeypatch.setattr(run, "ask", noting(asked))
        found = login_at(place, server.port, NOW + 2 * DAYS)
        assert (found.outcome, found.code, "CRL has expired" in found.what) == ("differs", "PGT479", True)
        assert not asked


@pytest.mark.parametrize("expired", [False, True])
def test_only_a_missing_crl_lets_a_login_go_on_and_the_others_count(
    expired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The company above the CA publishes no CRL; the CA itself, whose key is here, has one."""
    place, company = Place(new_directory("above")), Authority.root("company")
    below = company.below("servers")
    (place.directory / "servers.crt").write_bytes(below.pem + company.pem)
    (place.directory / "servers.key").write_bytes(below.key_pem)
    (place.directory / "servers.key").chmod(0o600)
    files = 'cert_file = "servers.crt"\nkey_file = "servers.key"\ncrl_validity = "2d"'
    place.build(COMPANY.replace("{company}", files), now=NOW, new_out=True)
    asked: list[bytes] = []
    monkeypatch.setattr(run, "ask", noting(asked))
    with Theft(place, place.file("servers/db")).thief(monkeypatch) as thief:
        found = login_at(place, thief.port, NOW + 3 * DAYS if expired else NOW)
    assert found.outcome == "differs"
    assert ("CRL has expired" in found.what, asked) == ((True, []) if expired else (False, [b""]))


@pytest.mark.parametrize("built", [False, True])
def test_the_stolen_key_of_a_further_identity_shows_a_thief_nothing(
    built: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thief answers in the place of the default identity, whose own table says nothing of a theft."""
    place = Place(new_directory("sni"))
    further = '\n[[server.db.sni]]\nca = "servers"\nclient_ca = ["clients"]\nhosts = ["api.example.com"]\n'
    text = spec().replace("postgres = 17", "postgres = 19") + further
    place.build(text, now=STOLEN, new_out=True)
    (taken,) = (file.parent for file in place.file("servers/db").glob("*/**/server.crt"))
    theft = Theft(place, shutil.copytree(taken, new_directory("taken"), dirs_exist_ok=True))
    with theft.thief(monkeypatch) as thief:
        assert looked(theft, thief)["fault"] == "certificate of another", "the control: nothing revokes it"
        assert thief.met("report", "app", "pgtls-verify")
        if built:
            place.build(text + REVOKED, now=NOW)
        else:
            place.write(text + REVOKED)
        assert looked(theft, thief) == NOTHING
        assert looked(theft, thief, "app") == NOTHING
        assert not thief.met("report", "app", "pgtls-verify")


def test_the_bundle_itself_refuses_the_thief_only_with_crls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `verify` must not fall behind."""
    theft = stolen(server=REVOKED, report="crl = true")
    with theft.thief(monkeypatch) as thief:
        parameters = Bundle(theft.place.file("clients/report")).parameters() | {
            "hostaddr": "127.0.0.1",
            "port": str(thief.port),
        }
        refused(PSQL.connect(parameters, environment=SECRET), "certificate verify failed")
        assert not thief.met("report")
        PSQL.connect(parameters | {"sslcrl": "/nonexistent"}, environment=SECRET)
        assert [meeting.password for meeting in thief.met("report")] == ["secret"]
