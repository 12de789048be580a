"""ACME servers that sign (``sign = { acme = … }``): pebble and step-ca, their failures, and servers that are none."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from acme import client, messages
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.pipeline import status
from pgtls.pki import acme
from pgtls.state import manifest
from signers.programs import certificate, now, waits
from support.acme import DAY, Pebble, Reply, Road, endless, impostor, pebble, web_server
from support.building import SMALL, Place, reason, steps
from support.clients import PSQL, Bundle, admitted, at, refused
from support.servers import PATIENCE
from support.system import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from support.servers import Server

SPEC = """
version = 1
[ca.public]
cert_file = "acme/root.crt"
crl = false
[ca.public.sign]
acme = "URL"
challenge = CHALLENGE
roots_file = "acme/https.crt"
terms_agreed = true
profile = "shortlived"
[ca.clients]
[server.db]
ca = "public"
client_ca = ["clients"]
hosts = ["db.example.com", "other.example.com"]
postgres = MAJOR
[user.postgres]
[user.app]
ca = "clients"
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = { reason = "a test", codes = ["PGT301"] }
[policy.app]
users = ["app"]
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "cert"
"""


@pytest.fixture(scope="module")
def www(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    directory = tmp_path_factory.mktemp("www")
    with web_server(directory) as port:
        yield directory, port


@pytest.fixture(scope="module")
def ca(www: tuple[Path, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("acme"), www[1]) as found:
        yield found


@pytest.fixture
def road(ca: Pebble) -> Iterator[Road]:
    road = Road(ca.port)
    yield road
    road.cut()


@pytest.fixture
def place(tmp_path: Path, ca: Pebble) -> Place:
    return at_server(tmp_path, ca)


def at_server(directory: Path, ca: Pebble) -> Place:
    """Make a place that has the roots of a server."""
    shutil.copytree(ca.directory, directory / "acme")
    return Place(directory)


@pytest.fixture
def spec(www: tuple[Path, int], road: Road) -> str:
    return written(road.url, www[0])


def written(url: str, directory: Path, challenge: str = "", major: int = 17) -> str:
    challenge = challenge or f'{{ directory = "{directory}" }}'
    return SPEC.replace("URL", url).replace("CHALLENGE", challenge).replace("MAJOR", str(major))


def key_of(place: Place) -> Path:
    return place.file("ca/public/account.key")


# ---- it works --------------------------------------------------------------------------------------------------------


def test_what_an_acme_server_signs_serves(server: Server, www: tuple[Path, int], road: Road, place: Place) -> None:
    planned = place.build(written(road.url, www[0], major=server.version), now=now())
    assert ("server.db", "create") in steps(planned)
    assert [one for one in planned.diagnostics if one.code in ("PGT562", "PGT568")] == []
    assert certificate(place, "servers/db/server.crt").names == ("DNS:db.example.com", "DNS:other.example.com")
    assert place.file("servers/db/server.crt").read_text().count("BEGIN CERTIFICATE") == 2, "with its intermediate CA"
    assert list(www[0].iterdir()) == [], "no challenge is left"
    server.populate(["app"], ["shop"])
    server.install(place.file("servers/db"))
    own = Bundle(place.file("clients/app")).parameters("shop") | at(server)
    assert admitted(PSQL.connect(own)) == "app@shop"
    refused(PSQL.connect(own | {"host": "third.example.com"}), 'does not match host name "third.example.com"')


def test_a_second_build_orders_nothing_and_plans_need_no_network(
    place: Place, spec: str, ca: Pebble, road: Road
) -> None:
    assert ("server.db", "create") in steps(place.plan(spec, now=now()))
    assert not place.out.exists()
    place.build(now=now())
    before, orders = place.state(), ca.log.count("Issued certificate")
    road.cut()
    assert steps(place.build(now=now())) == []
    assert steps(place.plan(now=now())) == []
    assert {path: one for path, one in place.state().items() if "manifest" not in path} == {
        path: one for path, one in before.items() if "manifest" not in path
    }
    assert ca.log.count("Issued certificate") == orders
    items = status(place.request(now=now())).items
    assert [item.state for item in items if item.entity == "server.db"] == ["ok"]


def test_the_key_of_the_account_is_kept_like_the_key_of_a_ca(place: Place, spec: str, ca: Pebble) -> None:
    place.build(spec, now=now())
    assert key_of(place).stat().st_mode & 0o777 == 0o600
    assert key_of(place).parent.stat().st_mode & 0o777 == 0o700
    own, accounts = key_of(place).read_bytes(), ca.log.count("There are now")
    place.build(now=now(), asked=Asked(renew=frozenset({"server.db"})))
    assert key_of(place).read_bytes() == own
    assert ca.log.count("POST /sign-me-up") >= 2, "it is asked for its account"
    assert accounts


def test_the_key_of_the_account_is_encrypted_at_rest_with_the_others(place: Place, spec: str, ca: Pebble) -> None:
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    (place.directory / "identity").write_text(str(identity))
    place.build(spec, now=now())
    own = key_of(place).read_bytes()
    at_rest = f'\n[state]\nrecipients = ["{identity.to_public()}"]\nidentity = {{ file = "identity" }}\n'
    place.build(spec + at_rest, now=now())
    assert pyrage.decrypt(key_of(place).read_bytes(), [identity]) == own
    asked = ca.log.count("POST /order-plz")
    place.build(now=now(), asked=Asked(renew=frozenset({"server.db"})))
    assert ca.log.count("POST /order-plz") > asked, "the account is used, and so its key was opened"
    assert pyrage.decrypt(key_of(place).read_bytes(), [identity]) == own
    (place.directory / "identity").write_text(str(pyrage.x25519.Identity.generate()))
    with pytest.raises(Rejected) as rejected:
        place.build(now=now(), asked=Asked(renew=frozenset({"server.db"})))
    assert [one.code for one in rejected.value.diagnostics if one.severity == "error"] == ["PGT652"]


def test_an_account_is_registered_once(place: Place, spec: str, ca: Pebble) -> None:
    def accounts() -> int:
        return ca.log.count("in memory database")

    place.build(spec, now=now())
    known = accounts()
    place.build(now=now(), asked=Asked(renew=frozenset({"server.db"})))
    assert accounts() == known


def test_a_public_ca_signs_for_servers_of_the_system(place: Place, spec: str, ca: Pebble) -> None:
    text = spec.replace('[ca.public]\ncert_file = "acme/root.crt"\ncrl = false\n[ca.public.sign]', "[ca.system.sign]")
    text = text.replace('ca = "public"', 'ca = "system"').replace(
        'ca = "clients"\n[pol', 'ca = "clients"\nlibpq = 16\n[pol'
    )
    text = text.replace('auth = "cert"', 'auth = "cert"\nsslmode = "verify-full"')
    planned = place.build(text, now=now())
    assert ("server.db", "create") in steps(planned)
    assert place.file("servers/db/server.crt").read_text().count("BEGIN CERTIFICATE") == 2
    assert "sslrootcert=system" in place.file("clients/app/pg_service.conf").read_text()
    assert not place.file("ca/system/ca.crt").exists()
    assert place.file("ca/system/account.key").stat().st_mode & 0o777 == 0o600
    assert steps(place.build(now=now())) == []
    # The CA leaves the spec: its account is kept, as the key of a CA would be.
    place.build(text.replace('ca = "system"', 'ca = "clients"').replace("[ca.system.sign]", "[ca.s.sign]").replace(
        "[ca.s.sign]", '[ca.s]\ncert_file = "acme/root.crt"\ncrl = false\n[ca.s.sign]'), now=now(),
        asked=Asked(accept_outage=True))  # fmt: skip
    kept = [path for path in place.out.rglob("account.key") if ".retired" in path.parts]
    assert len(kept) == 1


# ---- challenges ------------------------------------------------------------------------------------------------------

HOOK = """#!{python}
import json, os, sys, urllib.request
said = {{name: value for name, value in os.environ.items() if name.startswith("PGTLS_")}}
with open("calls", "a") as calls:
    calls.write(json.dumps([sys.argv[1:], said, sorted(os.environ)]) + "\\n")
# HERE
action, name, content = sys.argv[1:]
path = "set-txt" if action == "present" else "clear-txt"
body = json.dumps({{"host": name, "value": content}}).encode()
urllib.request.urlopen("http://127.0.0.1:{management}/" + path, body)
"""


def hook(place: Place, ca: Pebble, here: str = "") -> str:
    """Write a program that publishes records; return the challenge that names it."""
    path = place.directory / "dns.py"
    text = HOOK.format(python=sys.executable, management=ca.names.management)
    path.write_text(text.replace("# HERE", here))
    path.chmod(0o755)
    return '{ command = ["./dns.py"] }'


def calls(place: Place) -> list[tuple[list[str], dict[str, str], list[str]]]:
    return [tuple(json.loads(line)) for line in (place.directory / "calls").read_text().splitlines()]


def test_a_program_publishes_records_and_removes_them(
    place: Place, ca: Pebble, road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "a secret")
    text = written(road.url, place.directory, hook(place, ca))
    place.build(text.replace('"other.example.com"', '"*.db.example.com"'), now=now())
    assert certificate(place, "servers/db/server.crt").names == ("DNS:*.db.example.com", "DNS:db.example.com")
    made = calls(place)
    assert [words[0] for words, _, _ in made] == ["present", "present", "cleanup", "cleanup"]
    assert {words[1] for words, _, _ in made} == {"_acme-challenge.db.example.com."}
    words, said, names = made[0]
    assert said | {"PGTLS_ACME_TOKEN": "", "PGTLS_ACME_KEY_AUTHORIZATION": ""} == {
        "PGTLS_ACME_CA": "public",
        "PGTLS_ACME_ACTION": "present",
        "PGTLS_ACME_CHALLENGE": "dns-01",
        "PGTLS_ACME_HOST": "db.example.com",
        "PGTLS_ACME_NAME": "_acme-challenge.db.example.com.",
        "PGTLS_ACME_CONTENT": words[2],
        "PGTLS_ACME_TOKEN": "",
        "PGTLS_ACME_KEY_AUTHORIZATION": "",
    }
    assert said["PGTLS_ACME_KEY_AUTHORIZATION"].startswith(said["PGTLS_ACME_TOKEN"] + ".")
    assert "DATABASE_PASSWORD" not in names


def test_a_program_may_publish_files(place: Place, www: tuple[Path, int], road: Road) -> None:
    path = place.directory / "web.sh"
    path.write_text(
        f'#!/bin/sh\ncd {www[0]}\ncase $1 in present) printf %s "$3" > "$2" ;; cleanup) rm -- "$2" ;; esac\n'
    )
    path.chmod(0o755)
    place.build(written(road.url, www[0], '{ command = ["./web.sh"], type = "http-01" }'), now=now())
    assert place.file("servers/db/server.crt").exists()
    assert list(www[0].iterdir()) == []


BAD_HOOKS = {
    "fails": ("sys.exit('no right to the zone')", "exited with 1: no right to the zone"),
    "is killed": ("os.kill(os.getpid(), 9)", "was ended by signal 9"),
}


@pytest.mark.parametrize("how", BAD_HOOKS)
def test_a_program_that_fails_is_named_and_still_cleans_up(place: Place, ca: Pebble, road: Road, how: str) -> None:
    here, said = BAD_HOOKS[how]
    challenge = hook(place, ca, f"if sys.argv[1] == 'present': {here}")
    planned = place.build(written(road.url, place.directory, challenge), now=now())
    found = waits(planned, "server.db")
    assert "was not asked to look: the challenge command for " in found
    assert found.endswith(f'.example.com" {said}')
    assert [words[0] for words, _, _ in calls(place)] == ["present", "cleanup"]
    hook(place, ca)
    assert ("server.db", "create") in steps(place.build(now=now()))


def test_programs_of_an_order_share_its_time(place: Place, ca: Pebble, road: Road) -> None:
    challenge = hook(place, ca, "import time\nif sys.argv[1] == 'present': time.sleep(2.5)")
    text = written(road.url, place.directory, challenge).replace("terms_agreed", "timeout = 4\nterms_agreed")
    assert re.search("did not end within [12] seconds", waits(place.build(text, now=now()), "server.db"))
    assert [words[0] for words, _, _ in calls(place)] == ["present", "present", "cleanup", "cleanup"]


def test_a_program_that_hangs_is_ended(place: Place, ca: Pebble, road: Road) -> None:
    challenge = hook(place, ca, "import time\nif sys.argv[1] == 'present': time.sleep(600)")
    text = written(road.url, place.directory, challenge).replace("terms_agreed", "timeout = 1\nterms_agreed")
    assert "did not end within 1 seconds" in waits(place.build(text, now=now()), "server.db")


def test_a_challenge_that_nobody_sees_is_the_ca_s_to_report(place: Place, road: Road) -> None:
    (place.directory / "elsewhere").mkdir()
    planned = place.build(written(road.url, place.directory, '{ directory = "elsewhere" }'), now=now())
    assert 'the ACME server of ca "public" did not accept http-01 for "' in waits(planned, "server.db")
    assert list((place.directory / "elsewhere").iterdir()) == []
    planned = place.build(written(road.url, place.directory, '{ directory = "nowhere" }'), now=now())
    assert "cannot write into" in waits(planned, "server.db")


# ---- accounts --------------------------------------------------------------------------------------------------------


def test_a_lost_key_of_an_account_is_never_a_new_account(place: Place, spec: str) -> None:
    place.build(spec, now=now())
    old = key_of(place).read_bytes()
    key_of(place).unlink()
    before = place.state()
    with pytest.raises(Rejected, match=r"PGT576: the key of the ACME account of ca\.public is missing"):
        place.build(now=now())
    assert place.state() == before
    asked = Asked(replace=frozenset({"ca.public"}), renew=frozenset({"server.db"}))
    assert ("server.db", "renew") in steps(place.build(now=now(), asked=asked))
    new = key_of(place).read_bytes()
    assert new != old
    assert steps(place.build(now=now())) == []
    assert key_of(place).read_bytes() == new


def test_a_passphrase_encrypts_the_key_of_an_account(place: Place, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSPHRASE", "correct horse")
    place.build(spec, now=now())
    own = load_pem_private_key(key_of(place).read_bytes(), None)
    guarded = spec.replace("crl = false", 'crl = false\npassphrase = { env = "PASSPHRASE" }')
    place.build(guarded, now=now())
    assert b"ENCRYPTED" in key_of(place).read_bytes()
    assert key_of(place).stat().st_mode & 0o777 == 0o600
    same = load_pem_private_key(key_of(place).read_bytes(), b"correct horse")
    assert same.public_key() == own.public_key()
    renew = Asked(renew=frozenset({"server.db"}))
    assert ("server.db", "renew") in steps(place.build(now=now(), asked=renew))
    monkeypatch.setenv("PASSPHRASE", "another")
    planned = place.build(now=now(), asked=renew)
    assert "the key of its account cannot be read" in waits(planned, "server.db")
    assert b"ENCRYPTED" in key_of(place).read_bytes()


def test_an_account_that_is_deactivated(place: Place, spec: str, road: Road) -> None:
    place.build(spec, now=now())
    key = load_pem_private_key(key_of(place).read_bytes(), None)
    own = acme.Server(road.url, str(place.directory / "acme/https.crt"), time.monotonic() + PATIENCE, key)  # type: ignore[arg-type]
    assert own.log_in()
    net, directory = own._net, messages.Directory(own._directory)
    assert net.account
    client.ClientV2(directory, net).deactivate_registration(net.account)
    planned = place.build(now=now(), asked=Asked(renew=frozenset({"server.db"})))
    assert 'the ACME server of ca "public" refuses: unauthorized' in waits(planned, "server.db")
    asked = Asked(replace=frozenset({"ca.public"}), renew=frozenset({"server.db"}))
    assert ("server.db", "renew") in steps(place.build(now=now(), asked=asked))


def test_terms_of_service_are_agreed_to_by_the_spec_alone(place: Place, spec: str) -> None:
    planned = place.build(spec.replace("terms_agreed = true", "terms_agreed = false"), now=now())
    assert "requires agreement to its terms of service, data:text/plain" in waits(planned, "server.db")
    hints = [one.hint for one in planned.diagnostics if one.code == "PGT562"]
    assert hints == ["read them, then set terms_agreed = true in sign"]
    assert ("server.db", "create") in steps(place.build(spec, now=now()))


HMAC = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


def test_external_account_binding(
    tmp_path: Path, www: tuple[Path, int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"externalAccountBindingRequired": True, "externalAccountMACKeys": {"kid-1": HMAC}}
    with pebble(tmp_path / "pebble", www[1], **settings) as server:
        place = at_server(tmp_path, server)
        text = written(server.road.url, www[0])
        planned = place.build(text, now=now())
        assert "requires an external account binding" in waits(planned, "server.db")
        bound = text.replace("terms_", 'account_binding = { kid = "kid-1", hmac = { env = "HMAC" } }\nterms_')
        with pytest.raises(Rejected, match="PGT560"):
            place.build(bound, now=now())
        for wrong in ("Zm9yZ2VkZm9yZ2VkZm9yZ2VkZm9yZ2VkZm9yZ2VkZm9yZ2Vk", "no base64!"):
            monkeypatch.setenv("HMAC", wrong)
            said = waits(place.build(bound, now=now()), "server.db")
            assert "refuses: " in said or "the hmac of account_binding is no key" in said
            assert wrong not in said
        monkeypatch.setenv("HMAC", HMAC)
        assert ("server.db", "create") in steps(place.build(bound, now=now()))
        monkeypatch.delenv("HMAC")
        renew = Asked(renew=frozenset({"server.db"}))
        assert ("server.db", "renew") in steps(place.build(now=now(), asked=renew)), "only to register is it read"
        assert HMAC not in "".join(capfd.readouterr()) + server.log


# ---- the CA is away, or refuses --------------------------------------------------------------------------------------


NEW = '[user.new]\nca = "clients"\n'


def test_a_ca_that_is_away_delays_nothing_else_and_loses_nothing(place: Place, spec: str, road: Road) -> None:
    place.build(spec, now=now())
    serial = certificate(place, "servers/db/server.crt").serial
    road.cut()
    late = now() + 5 * DAY
    planned = place.build(spec.replace('users = ["app"]', 'users = ["app", "new"]') + NEW, now=late)
    said = 'and the ACME server of ca "public" cannot be reached: Connection refused'
    assert waits(planned, "server.db").endswith(said)
    assert ("user.new", "create") in steps(planned)
    assert certificate(place, "servers/db/server.crt").serial == serial
    before = place.state()
    with pytest.raises(
        Rejected, match=r"PGT563: server.db has no valid certificate: it expired on .*Connection refused"
    ):
        place.build(now=now() + 7 * DAY)
    assert place.state() == before
    road.mend()
    assert ("server.db", "renew") in steps(place.build(now=late))


def test_a_ca_whose_https_is_not_trusted(place: Place, spec: str) -> None:
    shutil.copy(place.directory / "acme/root.crt", place.directory / "acme/https.crt")
    planned = place.build(spec, now=now())
    assert "cannot be reached: its certificate is not trusted: " in waits(planned, "server.db")
    (place.directory / "acme/https.crt").unlink()
    assert 'roots_file "acme/https.crt" is no file' in waits(place.build(now=now()), "server.db")


def test_a_host_that_the_ca_refuses_and_a_profile_that_it_lacks(tmp_path: Path, www: tuple[Path, int]) -> None:
    with pebble(tmp_path / "pebble", www[1], domainBlocklist=["other.example.com"]) as server:
        place = at_server(tmp_path, server)
        planned = place.build(text := written(server.road.url, www[0]), now=now())
        said = waits(planned, "server.db")
        assert "refuses: rejectedIdentifier: " in said
        assert "other.example.com" in said
        planned = place.build(text.replace('"shortlived"', '"nonsense"'), now=now())
        assert 'has no profile "nonsense"' in waits(planned, "server.db")
        hints = [one.hint for one in planned.diagnostics if one.code == "PGT562"]
        assert hints == ["it has shortlived"]
        assert ("server.db", "create") in steps(place.build(text.replace(', "other.example.com"', ""), now=now()))


def test_nonces_that_the_server_forgot_are_asked_for_again(tmp_path: Path, www: tuple[Path, int]) -> None:
    with pebble(tmp_path / "pebble", www[1], nonces=20) as server:
        place = at_server(tmp_path, server)
        assert ("server.db", "create") in steps(place.build(written(server.road.url, www[0]), now=now()))
        for _ in range(3):
            place.build(now=now(), asked=Asked(renew=frozenset({"server.db"})))
        assert "reject" in server.log.lower()


def test_without_the_library(place: Place, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pgtls.pki.acme")
    monkeypatch.setitem(sys.modules, "acme", None)
    planned = place.build(spec, now=now())
    assert "was not asked: the acme library is not installed" in waits(planned, "server.db")
    assert [one.hint for one in planned.diagnostics if one.code == "PGT562"] == [
        "install it where pgtls is installed: pip install acme, or pipx inject pgtls acme"
    ]
    assert ("user.app", "create") in steps(planned)


def test_who_does_not_use_it_loads_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "pgtls.toml").write_text(SMALL)
    program = (
        "import sys; from datetime import UTC, datetime; from pathlib import Path\n"
        "from pgtls.pipeline import build; from pgtls.stages import Request\n"
        "build(Request(Path('pgtls.toml'), 'out', 'pgtls.lock', datetime.now(UTC)))\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('acme', 'josepy', 'requests')])"
    )
    run = subprocess.run(
        (sys.executable, "-c", program), cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"
    assert (tmp_path / "out/ca/root/ca.crt").exists()


# ---- servers that are none -------------------------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}
PROBLEM = {"Content-Type": "application/problem+json"}
TRICK = "too many\x1b[31m new\nregistrations \u202e" + "x" * 500


def endpoints(url: str) -> dict[str, Reply]:
    """A directory, nonces and an account, as they should be."""
    directory = {name: f"{url}/{name}" for name in ("newNonce", "newAccount", "newOrder")}
    return {
        "/dir": (200, JSON, json.dumps(directory | {"meta": {"profiles": {"shortlived": "x"}}}).encode()),
        "/newNonce": (200, {}, b""),
        "/newAccount": (200, JSON | {"Location": f"{url}/account"}, b'{"status": "valid"}'),
    }


def problem(kind: str, status: int = 400) -> Reply:
    body = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": TRICK}
    return status, PROBLEM, json.dumps(body).encode()


def order(url: str, token: str, value: str = "db.example.com") -> dict[str, Reply]:
    offered = {"type": "http-01", "url": f"{url}/challenge", "token": token, "status": "pending"}
    host = {"type": "dns", "value": value}
    authorization = {"identifier": host, "status": "pending", "challenges": [offered]}
    new = {
        "status": "pending",
        "identifiers": [host],
        "authorizations": [f"{url}/authz"],
        "finalize": f"{url}/finalize",
    }
    return {
        "/newOrder": (201, JSON | {"Location": f"{url}/order"}, json.dumps(new).encode()),
        "/authz": (200, JSON, json.dumps(authorization).encode()),
    }


def compressed(body: bytes, megabytes: int) -> bytes:
    return gzip.compress(body + b" " * (megabytes * 1024 * 1024))


IMPOSTORS: Mapping[str, tuple[Callable[[str], Mapping[str, Reply]], str]] = {
    "no JSON": (lambda url: {"/dir": (200, JSON, b"hello")}, "does not answer as RFC 8555 says"),
    "a list": (lambda url: {"/dir": (200, JSON, b"[1]")}, "does not answer as RFC 8555 says"),
    "an empty directory": (lambda url: {"/dir": (200, JSON, b"{}")}, "does not answer as RFC 8555 says"),
    "an error page": (lambda url: {"/dir": (503, {}, b"<h1>down</h1>")}, "answers with HTTP status 503"),
    "a limit": (lambda url: endpoints(url) | {"/newAccount": problem("rateLimited", 429)}, "refuses: rateLimited: "),
    "a refusal": (lambda url: endpoints(url) | {"/newOrder": problem("dns")}, "refuses: dns: too many [31m new "),
    "an order without anything": (
        lambda url: endpoints(url) | {"/newOrder": (201, JSON | {"Location": f"{url}/order"}, b"{}")},
        "does not answer as RFC 8555 says",
    ),
    "a token with a path": (lambda url: endpoints(url) | order(url, "../../../escaped"), "RFC 8555"),
    "another host than was ordered": (
        lambda url: endpoints(url) | order(url, "dG9rZW4" * 4, "$(reboot)"),
        'asks for a proof of "$(reboot)", which was not ordered',
    ),
    "a redirect": (lambda url: {"/dir": (302, {"Location": f"{url}/elsewhere"}, b"")}, '/elsewhere", which is not'),
    "another protocol": (
        lambda url: endpoints(url) | {"/dir": (200, JSON, b'{"newNonce": "http://127.0.0.1/", "newAccount": "x"}')},
        "cannot be reached: ",
    ),
    "an answer of a megabyte": (
        lambda _: {"/dir": (200, JSON, b'{"a": "' + b"x" * 1_000_000 + b'"}')},
        "answers with more than 256 KiB",
    ),
    "a hundred megabytes, compressed": (
        lambda url: {"/dir": (200, JSON | {"Content-Encoding": "gzip"}, compressed(endpoints(url)["/dir"][2], 100))},
        "does not answer as RFC 8555 says",
    ),
}


@pytest.mark.parametrize("how", IMPOSTORS)
def test_a_server_that_answers_anything_is_reported_and_nothing_is_lost(tmp_path: Path, how: str) -> None:
    replies, said = IMPOSTORS[how]
    (tmp_path / "acme").mkdir()
    (tmp_path / "deep/er/www").mkdir(parents=True)
    place = Place(tmp_path)
    with impostor(tmp_path / "acme", replies) as url:
        shutil.copy(tmp_path / "acme/https.crt", tmp_path / "acme/root.crt")
        planned = place.build(written(url, tmp_path / "deep/er/www"), now=now())
    found = waits(planned, "server.db")
    assert said in found
    assert found.isprintable()
    assert len(found) < 500
    assert ("user.app", "create") in steps(planned)
    assert list(tmp_path.rglob("*escaped*")) == []
    limits = [one.hint for one in planned.diagnostics if one.code == "PGT562" and "rateLimited" in one.message]
    assert limits in ([], ["wait until its limit allows more, and build again"])


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ENDLESS: Mapping[str, tuple[bytes, bytes, float]] = {
    "a slow body": (HEAD + b'\r\n{"a": "', b"x", 0.2),
    "slow headers": (HEAD + b"X: ", b"x", 0.2),
    "no answer": (b"", b"", 0.2),
    "answers before the answer": (b"", 1000 * CONTINUE, 0),
    "chunks of nothing": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0;", 0.2),
}


@pytest.mark.parametrize("how", ENDLESS)
def test_a_server_whose_answer_does_not_end_delays_a_build_as_long_as_the_spec_allows(tmp_path: Path, how: str) -> None:
    place = Place(tmp_path)
    with endless(tmp_path / "acme", *ENDLESS[how]) as server:
        text = written(server.url, tmp_path).replace("terms_agreed", "timeout = 1\nterms_agreed")
        other = '[server.other]\nca = "public"\nclient_ca = ["clients"]\nhosts = ["other.example.com"]\n'
        text = text.replace("[user.app]", f"{other}[user.app]")
        text = text.replace("users =", 'servers = ["db", "other"]\nusers =')
        began = time.monotonic()
        planned = place.build(text, now=now())
        took = time.monotonic() - began
        assert server.left.wait(PATIENCE), "nothing of the build reads on"
    for name in ("server.db", "server.other"):
        assert waits(planned, name).endswith('the ACME server of ca "public" did not answer in time')
    hints = {one.hint for one in planned.diagnostics if one.code == "PGT562"}
    assert hints == {"set a longer timeout in sign"}
    assert 1 <= took < 20
    assert len(server.asked) == 1, "for the second certificate, too"
    assert ("user.app", "create") in steps(planned)


def test_an_answer_without_end_is_read_no_further_than_any_chain_needs(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with endless(tmp_path / "acme", HEAD + b'\r\n{"a": "', b"x" * 65536, 0) as server:
        planned = place.build(written(server.url, tmp_path), now=now())
        assert server.left.wait(PATIENCE)
    assert "answers with more than 256 KiB" in waits(planned, "server.db")
    assert server.sent < 16 * 1024 * 1024, "what the system holds of a connection comes on top"


def test_no_server_gets_a_password_of_the_build_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with endless(tmp_path / "acme", HEAD + b"\r\n[", b"x" * 65536, 0) as server:
        Place(tmp_path).build(written(server.url, tmp_path), now=now())
    (request,) = server.asked
    assert request.startswith(b"GET /dir HTTP/1.1\r\n")
    assert b"Accept-Encoding: identity\r\n" in request
    assert b"Authorization" not in request


def test_an_order_that_stays_pending_ends_in_time(tmp_path: Path) -> None:
    def replies(url: str) -> Mapping[str, Reply]:
        pending = json.dumps({"status": "pending", "authorizations": [], "finalize": f"{url}/finalize"}).encode()
        ordered = 201, JSON | {"Location": f"{url}/order"}, pending
        return endpoints(url) | {"/newOrder": ordered, "/order": (200, JSON, pending)}

    place = Place(tmp_path)
    (tmp_path / "acme").mkdir()
    with impostor(tmp_path / "acme", replies) as url:
        shutil.copy(tmp_path / "acme/https.crt", tmp_path / "acme/root.crt")
        text = written(url, tmp_path).replace("terms_agreed", "timeout = 2\nterms_agreed")
        began = time.monotonic()
        planned = place.build(text, now=now())
    assert "did not decide in time" in waits(planned, "server.db")
    assert time.monotonic() - began < 20


def test_a_server_that_hangs_over_renewal_delays_a_build_as_long_as_the_spec_allows(
    place: Place, spec: str, road: Road, tmp_path: Path
) -> None:
    place.build(spec, now=now())
    road.cut()
    with endless(tmp_path / "slow", HEAD + b"X: ", b"x", 0.2) as server:
        shutil.copy(tmp_path / "slow/https.crt", place.directory / "acme/https.crt")
        began = time.monotonic()
        text = spec.replace(road.url, server.url).replace("terms_agreed", "timeout = 1\nterms_agreed")
        planned = place.build(text, now=now() + timedelta(hours=7))
        assert 1 <= time.monotonic() - began < 20
    assert [one for one in planned.diagnostics if one.code == "PGT562"] == []


# ---- renewal information ---------------------------------------------------------------------------------------------


def window(start: timedelta, end: timedelta) -> dict[str, dict[str, str]]:
    moments = (f"{now() + one:%Y-%m-%dT%H:%M:%SZ}" for one in (start, end))
    return {"suggestedWindow": dict(zip(("start", "end"), moments, strict=True))}


def asked_about(ca: Pebble) -> int:
    return ca.log.count("GET /draft-ietf-acme-ari-03/renewalInfo/")


def test_the_ca_is_asked_each_six_hours_at_most(place: Place, spec: str, ca: Pebble) -> None:
    place.build(spec, now=now())
    known = asked_about(ca)
    place.build(now=now() + timedelta(hours=5))
    assert asked_about(ca) == known
    place.build(now=now() + timedelta(hours=7))
    assert asked_about(ca) == known + 1
    place.build(now=now() + timedelta(hours=8))
    place.plan(now=now() + timedelta(hours=20))
    status(place.request(now=now() + timedelta(hours=20)))
    assert asked_about(ca) == known + 1
    found = manifest.read(place.out)
    assert found
    info = found.renewals["server.db"]  # type: ignore[index]
    assert info.start
    assert info.end
    assert found.next_due
    assert found.next_due <= info.again
    assert abs(info.again - now() - timedelta(hours=13)) < timedelta(minutes=10)


def test_an_announced_revocation_is_renewed_at_the_next_build_and_once(place: Place, spec: str, ca: Pebble) -> None:
    place.build(spec, now=now())
    ca.announce(place.file("servers/db/server.crt").read_bytes(), now())
    later = now() + timedelta(hours=7)
    assert steps(place.plan(now=later)) == [], "a plan knows what the last build learnt"
    planned = place.build(now=later)
    assert reason(planned, "server.db") == "its CA asks for renewal, with a new key"
    assert "is a replacement of" in ca.log
    assert steps(place.build(now=later)) == []
    assert steps(place.build(now=later + timedelta(hours=7))) == []


def test_a_later_window_does_not_delay_renewal_beyond_a_sixth_of_the_life(place: Place, spec: str, ca: Pebble) -> None:
    place.build(spec, now=now())
    ca.suggest(place.file("servers/db/server.crt").read_bytes(), window(20 * DAY, 30 * DAY))
    assert steps(place.build(now=now() + DAY)) == []
    assert steps(place.build(now=now() + 4.5 * DAY)) == [], "its CA knows that two thirds are early"
    planned = place.plan(now=now() + 5.1 * DAY)
    assert "it expires on" in reason(planned, "server.db")
    planned = place.plan(spec.replace("postgres = 17", 'renew_before = "3d"\npostgres = 17'), now=now() + 3.1 * DAY)
    assert "it expires on" in reason(planned, "server.db"), "what the spec says holds"


NONSENSE = {
    "no JSON": "x",
    "no window": "{}",
    "a window that ends before it begins": json.dumps(window(DAY, -DAY)),
    "no instants": '{"suggestedWindow": {"start": "soon", "end": "later"}}',
    "a list": "[]",
}


@pytest.mark.parametrize("how", NONSENSE)
def test_renewal_information_that_is_none_changes_nothing(place: Place, spec: str, ca: Pebble, how: str) -> None:
    place.build(spec, now=now())
    ca.suggest(place.file("servers/db/server.crt").read_bytes(), NONSENSE[how])
    assert steps(place.build(now=now() + timedelta(hours=7))) == []
    planned = place.plan(now=now() + 4.1 * DAY)
    assert "it expires on" in reason(planned, "server.db")


def test_what_the_ca_said_before_holds_while_it_is_away(place: Place, spec: str, ca: Pebble, road: Road) -> None:
    place.build(spec, now=now())
    ca.suggest(place.file("servers/db/server.crt").read_bytes(), window(DAY, 1.1 * DAY))
    assert steps(place.build(now=now() + timedelta(hours=7))) == []
    road.cut()
    assert steps(place.build(now=now() + timedelta(hours=14))) == []
    planned = place.build(now=now() + 1.2 * DAY)
    assert "its CA asks for renewal, and the ACME server" in waits(planned, "server.db")


def test_an_order_that_replaces_what_was_replaced_is_ordered_again(
    place: Place, spec: str, ca: Pebble, tmp_path: Path
) -> None:
    place.build(spec, now=now())
    shutil.copytree(place.out, tmp_path / "backup")
    shutil.copy(place.lock, tmp_path / "backup.lock")
    renew = Asked(renew=frozenset({"server.db"}))
    place.build(now=now(), asked=renew)
    shutil.rmtree(place.out)
    shutil.copytree(tmp_path / "backup", place.out)
    shutil.copy(tmp_path / "backup.lock", place.lock)
    orders, replacements = ca.log.count("POST /order-plz"), ca.log.count("is a replacement of")
    assert ("server.db", "renew") in steps(place.build(now=now(), asked=renew))
    assert ca.log.count("POST /order-plz") == orders + 2
    assert ca.log.count("is a replacement of") == replacements


# ---- what is ordered -------------------------------------------------------------------------------------------------


def test_an_address_is_ordered_as_one(place: Place, spec: str) -> None:
    place.build(spec.replace('"other.example.com"', '"127.0.0.1"'), now=now())
    assert certificate(place, "servers/db/server.crt").names == ("DNS:db.example.com", "IP:127.0.0.1")


def test_a_request_of_others_is_ordered_as_it_is(place: Place, spec: str) -> None:
    words = ("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout")
    names = ("-subj", "/CN=db.example.com", "-addext", "subjectAltName=DNS:db.example.com,DNS:other.example.com")
    subprocess.run((*words, "db.key", "-out", "db.csr", *names), cwd=place.directory, check=True, capture_output=True)
    planned = place.build(spec.replace("postgres = 17", 'postgres = 17\ncsr_file = "db.csr"'), now=now())
    assert ("server.db", "create") in steps(planned)
    assert not place.file("servers/db/server.key").exists()
    assert certificate(place, "servers/db/server.crt").names == ("DNS:db.example.com", "DNS:other.example.com")
