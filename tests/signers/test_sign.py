"""Programs that sign for a CA (``sign``): asked once, checked field by field, waited for, and never trusted blindly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

from pgtls.api import diff, load
from pgtls.certificates import programs
from pgtls.certificates.asked import Asked
from pgtls.certificates.model import NoAnswer
from pgtls.diagnostics import Rejected
from pgtls.state import generations
from signers.programs import OpenSSL, certificate, now, texts, waits
from support.authority import Authority, with_unknown_signature
from support.building import Place, reason, steps
from support.clients import PSQL, Bundle, admitted, at, refused
from support.servers import PATIENCE
from support.system import ENVIRONMENT, gone, running

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Server

SPEC = """
version = 1
[ca.company]
cert_file = "company/root.crt"
crl_file = "company/root.crl"
sign = { command = ["./sign.sh"], timeout = TIMEOUT }
[ca.own]
[server.db]
ca = "company"
client_ca = ["company", "own"]
hosts = ["db.example.com", "127.0.0.1"]
postgres = MAJOR
[user.postgres]
[user.app]
ca = "company"
[user.ours]
ca = "own"
[policy.dba]
users = ["postgres"]
from = ["local"]
auth = "trust"
waiver = { reason = "a test", codes = ["PGT301"] }
[policy.app]
users = ["app", "ours"]
databases = ["shop"]
from = ["127.0.0.0/8"]
auth = "cert"
waiver = { reason = "a test", codes = ["PGT330"] }
"""

SIGN = r"""#!/bin/sh
set -eu
echo "$PGTLS_SIGN_ENTITY" >> runs
env > environment
cat > request.csr
days=$PGTLS_SIGN_DAYS names=$PGTLS_SIGN_NAMES ca=company/root more=
case $PGTLS_SIGN_PROFILE in
  server) usage=serverAuth ;;
  *) usage=clientAuth ;;
esac
# HERE
{
  if [ "$PGTLS_SIGN_PROFILE" = ca ]; then
    printf 'basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n'
  else
    printf 'keyUsage=critical,digitalSignature\nextendedKeyUsage=%s\n' "$usage"
  fi
  printf 'authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n'
  [ -z "$names" ] || echo "subjectAltName=$names"
} > extensions
openssl x509 -req -in request.csr -CA $ca.crt -CAkey $ca.key -days "$days" -extfile extensions $more
# AFTER
"""
"""A program that signs by openssl; tests put lines into it."""

MINUTE = 60
"""A time limit that no program here comes close to."""


def spec(major: int = 17, timeout: int = MINUTE) -> str:
    return SPEC.replace("MAJOR", str(major)).replace("TIMEOUT", str(timeout))


def program(place: Place, here: str = "", after: str = "") -> None:
    """Write the program that signs, with more lines ``here``, before it signs, and ``after``."""
    path = place.directory / "sign.sh"
    path.write_text(SIGN.replace("# HERE", here).replace("# AFTER", after))
    path.chmod(0o755)


def runs(place: Place) -> list[str]:
    """The entities that the program was run for, and forget them."""
    path = place.directory / "runs"
    found = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def without_manifest(place: Place) -> dict[str, tuple[int, str]]:
    """The state of all but the manifest, which has the time of the last build."""
    return {path: state for path, state in place.state().items() if path != "out/manifest.json"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    OpenSSL(tmp_path / "company").prepare()
    (tmp_path / "odd.crt").write_bytes(with_unknown_signature((tmp_path / "company/root.crt").read_bytes()))
    place = Place(tmp_path)
    program(place)
    return place


@pytest.fixture
def built(place: Place) -> Place:
    """A place whose certificates the program has signed."""
    place.build(spec(), now=now())
    assert runs(place) == ["server.db", "user.app"]
    return place


# ---- it works --------------------------------------------------------------------------------------------------------


def test_what_a_program_signs_serves_and_logs_in(server: Server, place: Place) -> None:
    planned = place.build(spec(server.version), now=now())
    assert {("server.db", "create"), ("user.app", "create")} <= set(steps(planned))
    assert runs(place) == ["server.db", "user.app"]
    server.populate(["app", "ours"], ["shop"])
    server.install(place.file("servers/db"))
    own = Bundle(place.file("clients/app")).parameters("shop") | at(server)
    assert admitted(PSQL.connect(own)) == "app@shop"
    refused(PSQL.connect(own | {"host": "other.example.com"}), 'does not match host name "other.example.com"')
    refused(PSQL.connect(own | {"sslcert": "/nonexistent"}), "connection requires a valid client certificate")
    refused(PSQL.connect(own | {"user": "ours"}), "certificate authentication failed")


def test_a_second_build_runs_nothing_nor_does_a_plan(place: Place) -> None:
    planned = place.plan(spec(), now=now())
    assert ("server.db", "create") in steps(planned)
    assert runs(place) == []
    place.build(now=now())
    before = without_manifest(place)
    assert runs(place) == ["server.db", "user.app"]
    assert steps(place.build(now=now())) == []
    assert steps(place.build(spec() + "# another byte\n", now=now())) == []
    assert (runs(place), without_manifest(place)) == ([], before)
    place.build(now=now(), asked=Asked(renew=frozenset({"user.app"})))
    assert runs(place) == ["user.app"]


def test_a_program_is_told_what_the_spec_says_and_nothing_else(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "a secret")
    text = spec().replace('[user.app]\nca = "company"', '[user.app]\nca = "company"\nsubject = { organization = "A" }')
    place.build(text, now=now())
    told = dict(line.split("=", 1) for line in (place.directory / "environment").read_text().splitlines())
    end = datetime.fromisoformat(told["PGTLS_SIGN_NOT_AFTER"])
    assert abs(end - now() - timedelta(days=90)) < timedelta(hours=1)
    assert {name: value for name, value in told.items() if name.startswith("PGTLS_") and "NOT_AFTER" not in name} == {
        "PGTLS_SIGN_CA": "company",
        "PGTLS_SIGN_ENTITY": "user.app",
        "PGTLS_SIGN_PROFILE": "user",
        "PGTLS_SIGN_COMMON_NAME": "app",
        "PGTLS_SIGN_SUBJECT": "CN=app,O=A",
        "PGTLS_SIGN_NAMES": "",
        "PGTLS_SIGN_HOURS": "2160",
        "PGTLS_SIGN_DAYS": "90",
    }
    shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert told.keys() - shell <= {"HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ"} | {
        name for name in told if name.startswith("PGTLS_SIGN_")
    }
    request = (place.directory / "request.csr").read_text()
    assert request.startswith("-----BEGIN CERTIFICATE REQUEST-----")
    assert "PRIVATE KEY" not in request


def test_the_keys_of_requests_have_the_mode_of_keys_and_new_ones_at_each_renewal(built: Place) -> None:
    path = built.file("servers/db/server.key")
    first = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    built.build(now=now(), asked=Asked(renew=frozenset({"all"})))
    assert path.read_bytes() != first
    again = path.read_bytes()
    built.build(spec().replace("postgres = 17", "postgres = 17\nrotate_key = false"), now=now())
    built.build(now=now(), asked=Asked(renew=frozenset({"server.db"})))
    assert path.read_bytes() == again


# ---- what comes back does not fit ------------------------------------------------------------------------------------

OTHER_KEY = (
    "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key "
    '-subj "/CN=db.example.com" -out request.csr 2> /dev/null'
)
OTHER_CA = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key -out other.crt "
    '-subj "/CN=Other" -addext keyUsage=critical,keyCertSign 2> /dev/null; ca=other'
)
BAD = {
    "another key": (OTHER_KEY, "its key is not that of the CSR"),
    "another host": ("names=DNS:evil.example.com,IP:127.0.0.1", 'it lacks the host "db.example.com"'),
    "a CA": ("PGTLS_SIGN_PROFILE=ca", "it is a CA's"),
    "another purpose": ("usage=codeSigning", "its extended key usage is not serverAuth"),
    "another CA": (OTHER_CA, 'it was not signed by CA "company"'),
    "a weak digest": ("more=-sha1", "it is signed with SHA-1, which OpenSSL refuses by default"),
    "one that ended": ("days=-1", "it ended on"),
    "garbage": ("echo garbage; exit 0", "printed no certificate"),
    "nothing": ("exit 0", "printed no certificate"),
    "an unknown signature": ("cat odd.crt; exit 0", "its signature has an algorithm that is not known here"),
    "a key": ("cat company/root.key; exit 0", "printed no certificate"),
    "CAs without end": ("yes company/root.crt | head -101 | xargs cat; exit 0", "a chain has at most 100"),
    "a failure": ("echo 'no such\033[31m name' >&2; exit 3", "exited with 3: no such [31m name"),
    "a signal": ("kill -9 $$", "was ended by signal 9"),
    "without end": ("exec yes", "printed more than 256 KiB"),
    "no time": ("exec sleep 1000", "did not end within 1 seconds"),
    "a child": ("sleep 1000 & sleep 1000 & exit 0", "did not end within 1 seconds"),
    "deaf": ("exec < /dev/null; exit 4", "exited with 4"),
}


@pytest.mark.parametrize(("here", "message"), BAD.values(), ids=BAD)
def test_an_answer_that_does_not_fit_waits_and_the_rest_is_built(place: Place, here: str, message: str) -> None:
    slow = "did not end" in message
    text = spec(timeout=1 if slow else MINUTE)
    program(place, f'if [ "$PGTLS_SIGN_PROFILE" = server ]; then\n{here}\nfi')
    planned = place.build(text, now=now())
    assert {("server.db", "wait"), ("user.ours", "create")} <= set(steps(planned))
    assert message in waits(planned, "server.db")
    assert "\033" not in waits(planned, "server.db")
    assert place.file("servers/db/pg_hba.conf").exists()
    assert not place.file("servers/db/server.key").exists()
    assert not place.file("servers/db/server.crt").exists()
    assert place.file("clients/ours/postgresql.crt").exists()
    if not slow:  # a program that was late is not run again
        assert place.file("clients/app/postgresql.crt").exists()
    program(place)
    assert ("server.db", "create") in steps(place.build(spec(), now=now()))
    assert steps(place.build(now=now())) == []


def test_a_program_adds_nothing_to_a_subject_that_a_policy_compares(place: Place) -> None:
    program(place, """if [ "$PGTLS_SIGN_ENTITY" = user.app ]; then more='-subj /OU=admins/CN=app'; fi""")
    entry = 'map = [{ identity = "/(^|,)OU=admins(,|$)", of = "dn", role = "dba" }]'
    planned = place.build(spec().replace('auth = "cert"', f'auth = "cert"\n{entry}'), now=now())
    differs = 'its subject is "CN=app,OU=admins", not "CN=app", and policy "app" compares subjects'
    assert differs in waits(planned, "user.app")
    assert ("user.app", "create") in steps(place.build(spec(), now=now()))


def test_a_serial_number_that_comes_twice_is_refused(place: Place) -> None:
    program(place, 'more="-set_serial 4711"')
    planned = place.build(spec(), now=now())
    assert ("server.db", "create") in steps(planned)
    assert "returned the serial number 1267 a second time" in waits(planned, "user.app")
    planned = place.build(now=now())
    assert "its serial number 1267 is not new: another one has it" in waits(planned, "user.app")
    program(place)
    assert ("user.app", "create") in steps(place.build(now=now()))


def test_an_old_certificate_is_no_renewal(built: Place) -> None:
    text = spec().replace('[user.app]\nca = "company"', '[user.app]\nca = "company"\nrotate_key = false')
    built.build(text, now=now())
    before = without_manifest(built)
    program(built, "cat out/clients/app/postgresql.crt; exit 0")
    planned = built.build(now=now(), asked=Asked(renew=frozenset({"user.app"})))
    assert "is not new: it was issued before" in waits(planned, "user.app")
    assert without_manifest(built) == before


def test_a_program_that_cannot_be_run_waits(place: Place) -> None:
    planned = place.build(spec().replace("./sign.sh", "./missing.sh"), now=now())
    assert any("cannot be run: No such file or directory" in one for one in texts(planned, "PGT562"))
    assert ("server.db", "wait") in steps(planned)
    assert ("server.db", "create") in steps(place.build(spec(), now=now()))


def test_a_program_that_was_late_is_not_run_again_in_this_build(place: Place) -> None:
    program(place, "exec sleep 1000")
    planned = place.build(spec(timeout=1), now=now())
    assert runs(place) == ["server.db"]
    assert any("was not run again" in one for one in texts(planned, "PGT562"))
    place.build(now=now())
    assert runs(place) == ["server.db"]


# ---- renewal, and what is left ---------------------------------------------------------------------------------------


def test_a_failure_keeps_what_is_there_until_nothing_is_left(built: Place) -> None:
    program(built, "exit 1")
    due = now() + timedelta(days=70)
    paths = [f"out/servers/db/server.{kind}" for kind in ("crt", "key")]
    paths += [f"out/clients/app/postgresql.{kind}" for kind in ("crt", "key")]
    before = [built.state()[path] for path in paths]
    for _ in range(2):
        planned = built.build(now=due)
        assert ("server.db", "wait") in steps(planned)
        assert [built.state()[path] for path in paths] == before
    assert runs(built) == ["server.db", "user.app"] * 2
    state = built.state()
    (built.directory / "company" / "root.crl").write_bytes(company(built).crl(days=200, age=0))
    with pytest.raises(Rejected) as rejected:
        built.build(now=now() + timedelta(days=91))
    (fault,) = [one for one in rejected.value.diagnostics if one.code == "PGT563"]
    assert "server.db has no valid certificate: it expired on" in fault.message
    assert 'the program of ca "company" exited with 1' in fault.message
    assert runs(built) == ["server.db"], "what others sign would be lost"
    assert built.state() == state


def company(place: Place) -> Authority:
    """The CA of the program."""
    ca, key = (place.directory / "company" / name for name in ("root.crt", "root.key"))
    private = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return Authority(x509.load_pem_x509_certificate(ca.read_bytes()), private)


def test_a_certificate_that_is_due_is_renewed_once(built: Place) -> None:
    serial = certificate(built, "servers/db/server.crt").serial
    program(built, "days=200")
    due = now() + timedelta(days=70)
    planned = built.build(now=due)
    assert ("server.db", "renew") in steps(planned)
    assert certificate(built, "servers/db/server.crt").serial != serial
    assert [step for step in steps(planned) if step[1] == "revoke"] == []
    assert runs(built) == ["server.db", "user.app"]
    built.build(now=due)
    assert runs(built) == []


def test_a_short_life_is_not_renewed_at_every_build(place: Place) -> None:
    program(place, "days=6")
    place.build(spec().replace("postgres = 17", 'postgres = 17\nrenew_before = "30d"'), now=now())
    runs(place)
    assert steps(place.build(now=now() + timedelta(days=3))) == []
    place.build(now=now() + timedelta(days=5))
    assert runs(place) == ["server.db", "user.app"]


def test_a_change_of_the_spec_gets_a_new_certificate_and_revokes_the_old_one(built: Place) -> None:
    old = x509.load_pem_x509_certificate(built.file("servers/db/server.crt").read_bytes())
    more = spec().replace('"db.example.com",', '"db.example.com", "new.example.com",')
    program(built, "exit 1")
    planned = built.build(more, now=now())
    assert ("server.db", "wait") in steps(planned)
    assert ("server.db", "revoke") not in steps(planned), "the old one is all there is"
    program(built)
    planned = built.build(now=now())
    assert reason(planned, "server.db") == 'it lacks the host "new.example.com", with a new key'
    assert ("server.db", "revoke") in steps(planned)
    lacking = f"server.db (serial {old.serial_number:x})"
    message = f'the CRL of ca "company" lacks certificates that the spec or the lock revokes: {lacking}'
    assert texts(planned, "PGT569") == [message]
    runs(built)
    built.build(now=now())
    assert runs(built) == []
    assert texts(built.plan(now=now()), "PGT569") != []
    (built.directory / "company" / "root.crl").write_bytes(company(built).crl(old, age=0))
    assert texts(built.build(now=now()), "PGT569") == []


def test_a_user_who_left_is_revoked_here_and_must_be_revoked_there(built: Place) -> None:
    without = spec().replace('[user.app]\nca = "company"\n', "").replace('["app", "ours"]', '["ours"]')
    planned = built.build(without, now=now())
    assert ("user.app", "revoke") in steps(planned)
    (warning,) = texts(planned, "PGT569")
    assert "revokes: user.app (serial " in warning
    # Somebody with this name comes back, and gets another certificate.
    runs(built)
    built.build(spec(), now=now())
    assert runs(built) == ["user.app"]


# ---- more than was asked for -----------------------------------------------------------------------------------------

MORE = {
    "a purpose": ("usage=serverAuth,clientAuth", "clientAuth"),
    "a name": ("names=$names,DNS:other.example.com", 'the name "DNS:other.example.com"'),
    "a longer life": ("days=365", "a life of 365 days instead of 90"),
}


@pytest.mark.parametrize(("here", "more"), MORE.values(), ids=MORE)
def test_more_than_was_asked_for_is_said(place: Place, here: str, more: str) -> None:
    program(place, f'if [ "$PGTLS_SIGN_PROFILE" = server ]; then {here}; fi')
    text = spec().replace('client_ca = ["company", "own"]', 'client_ca = ["own"]')
    text = text.replace('users = ["app", "ours"]', 'users = ["ours"]')
    planned = place.build(text, now=now())
    assert texts(planned, "PGT568") == [f"the certificate of server.db has more than was asked for: {more}"]
    assert texts(place.plan(now=now()), "PGT568") == texts(planned, "PGT568")
    program(place)
    assert texts(place.build(now=now(), asked=Asked(renew=frozenset({"server.db"}))), "PGT568") == []


def test_a_server_that_could_log_in_is_said_once(place: Place) -> None:
    program(place, "usage=serverAuth,clientAuth")
    planned = place.build(spec(), now=now())
    (warning,) = texts(planned, "PGT567")
    assert "the certificate of server.db may also log in" in warning
    assert texts(planned, "PGT568") == ["the certificate of user.app has more than was asked for: serverAuth"]


# ---- kinds of entities -----------------------------------------------------------------------------------------------


def test_a_ca_is_signed_and_signs_in_one_build(place: Place) -> None:
    text = spec().replace("[ca.own]", '[ca.clients]\nissuer = "company"\n[user.below]\nca = "clients"\n[ca.own]')
    planned = place.build(text.replace('"app", "ours"', '"app", "ours", "below"'), now=now())
    assert {("ca.clients", "create"), ("user.below", "create")} <= set(steps(planned))
    assert runs(place)[0] == "ca.clients"
    chain = place.file("clients/below/postgresql.crt").read_text()
    assert chain.count("BEGIN CERTIFICATE") == 2
    assert place.file("ca/clients/ca.crl").exists()
    assert steps(place.build(now=now())) == []


def test_every_identity_of_a_server_is_signed(place: Place) -> None:
    sni = '[[server.db.sni]]\nhosts = ["other.example.com"]\nca = "company"\n[user.postgres]'
    text = spec(19).replace("[user.postgres]", sni)
    planned = place.build(text, now=now())
    assert ("server.db/other.example.com", "create") in steps(planned)
    assert "server.db/other.example.com" in runs(place)
    assert steps(place.build(now=now())) == []


POOLER = """
version = 1
[ca.company]
cert_file = "company/root.crt"
crl_file = "company/root.crl"
sign = { command = ["./sign.sh"] }
[ca.root]
[ca.clients]
crl = false
[server.main]
ca = "root"
client_ca = ["clients"]
crl = false
hosts = ["db.example.com"]
[pooler.pool]
server = "main"
user = "bouncer"
ca = "company"
client_ca = ["clients"]
hosts = ["pool.example.com"]
from = ["10.0.0.9"]
[user.bouncer]
ca = "clients"
[user.app]
ca = "clients"
[user.postgres]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "peer"
[policy.app]
servers = ["pool"]
users = ["app"]
databases = ["shop"]
from = ["10.0.0.0/16"]
auth = "cert"
"""


def test_a_pooler_is_signed_as_a_server(place: Place) -> None:
    planned = place.build(POOLER, now=now())
    assert ("pooler.pool", "create") in steps(planned)
    assert runs(place) == ["pooler.pool"]
    assert "PGTLS_SIGN_PROFILE=server\n" in (place.directory / "environment").read_text()
    assert steps(place.build(now=now())) == []
    program(place, "exit 1")
    assert ("pooler.pool", "wait") in steps(place.build(now=now() + timedelta(days=70)))


def test_no_user_of_a_pooler_gets_a_further_name(place: Place) -> None:
    spec = POOLER.replace('[user.app]\nca = "clients"', '[user.app]\nca = "company"')
    spec = spec.replace('client_ca = ["clients"]\nhosts = ["pool', 'client_ca = ["company"]\nhosts = ["pool')
    spec = spec.replace('auth = "cert"', 'auth = "cert"\nwaiver = { reason = "a test", codes = ["PGT330", "PGT380"] }')
    place.write(spec)
    program(place, '[ "$PGTLS_SIGN_PROFILE" = server ] || names=DNS:other')
    planned = place.build(spec, now=now())
    assert ("user.app", "wait") in steps(planned)
    assert 'it has the name "other", under which pooler "pool" may admit it' in waits(planned, "user.app")
    program(place, "")
    assert ("user.app", "create") in steps(place.build(spec, now=now()))


def test_a_certificate_that_is_gone_and_cannot_be_signed_is_an_error(built: Place) -> None:
    for name in ("crt", "key"):
        built.file(f"servers/db/server.{name}").unlink()
    program(built, "exit 1")
    with pytest.raises(Rejected, match=r"server\.db has no valid certificate: its certificate is gone"):
        built.build(now=now(), asked=Asked(renew=frozenset({"user.app"})))
    assert runs(built) == ["server.db"]
    program(built)
    assert ("server.db", "create") in steps(built.build(now=now()))


def test_below_a_ca_that_waits_everything_waits(place: Place) -> None:
    text = spec().replace("[ca.own]", '[ca.clients]\nissuer = "company"\n[user.below]\nca = "clients"\n[ca.own]')
    program(place, '[ "$PGTLS_SIGN_PROFILE" != ca ] || exit 1')
    planned = place.build(text.replace('"app", "ours"', '"app", "ours", "below"'), now=now())
    assert {("ca.clients", "wait"), ("user.below", "wait"), ("user.app", "create")} <= set(steps(planned))
    assert not place.file("ca/clients/ca.key").exists()
    program(place)
    planned = place.build(now=now())
    assert {("ca.clients", "create"), ("user.below", "create")} <= set(steps(planned))


def test_the_cas_between_come_along_and_peers_see_no_difference_later(place: Place) -> None:
    between = Authority.root("Company Root")
    issuing = between.below("Issuing")
    for name, content in (
        ("company/root.crt", between.pem),
        ("issuing.crt", issuing.pem),
        ("issuing.key", issuing.key_pem),
    ):
        (place.directory / name).write_bytes(content)
    (place.directory / "company" / "root.crl").write_bytes(between.crl())
    program(place, "ca=issuing days=20", "cat issuing.crt company/root.crt")
    text = (
        spec()
        .replace("[ca.own]", '[user.own]\nca = "own"\n[ca.own]')
        .replace("postgres = 17", "postgres = 17\ncrl = false")
        .replace('"app", "ours"', '"app", "ours", "own"')
    )
    place.build(text, now=now())
    assert place.file("servers/db/server.crt").read_text().count("BEGIN CERTIFICATE") == 2
    before = generations.read(str(place.out))
    assert before is not None
    planned = place.build(now=now(), asked=Asked(renew=frozenset({"user.own"})))
    assert ("server.db", "renew") not in steps(planned)
    after = generations.read(str(place.out))
    assert after is not None
    assert {entity: len(past) for entity, past in after.items()} == {
        entity: len(past) for entity, past in before.items()
    }
    runs(place)
    place.build(now=now(), asked=Asked(renew=frozenset({"server.db"})))
    assert place.file("servers/db/server.crt").read_text().count("BEGIN CERTIFICATE") == 2
    # Without the CA between, there is no chain.
    program(place, "ca=issuing days=20")
    planned = place.build(now=now(), asked=Asked(renew=frozenset({"server.db"})))
    assert "its file does not lead to that CA" in texts(planned, "PGT562")[0]


def request(place: Place, name: str) -> None:
    """Make a key and a request elsewhere."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "app.key")
    words = ("openssl", "req", "-new", *key, "-subj", f"/CN={name}", "-out", "app.csr")
    subprocess.run(words, check=True, cwd=place.directory, capture_output=True)


def test_a_ca_between_whose_crl_servers_need_is_refused(place: Place) -> None:
    root = Authority.root("Company Root")
    issuing = root.below("Issuing")
    files = (("company/root.crt", root.pem), ("issuing.crt", issuing.pem), ("issuing.key", issuing.key_pem))
    for name, content in files:
        (place.directory / name).write_bytes(content)
    (place.directory / "company" / "root.crl").write_bytes(root.crl())
    program(place, "ca=issuing days=20", "cat issuing.crt")
    planned = place.build(spec(), now=now())
    message = 'there is no CRL of "CN=Issuing", which signed the certificate of user.app, but server.db checks it'
    assert message in waits(planned, "user.app")
    assert ("server.db", "create") in steps(planned), "nobody checks this one"
    # The way out: the CA that signs comes first in cert_file.
    (place.directory / "company" / "root.crt").write_bytes(issuing.pem + root.pem)
    (place.directory / "company" / "root.crl").write_bytes(issuing.crl() + root.crl())
    assert ("user.app", "create") in steps(place.build(now=now(), asked=Asked(accept_outage=True)))


def test_the_request_of_a_key_made_elsewhere_is_signed(place: Place) -> None:
    request(place, "app")
    text = spec().replace('[user.app]\nca = "company"', '[user.app]\nca = "company"\ncsr_file = "app.csr"')
    place.build(text, now=now())
    assert not place.file("clients/app/postgresql.key").exists()
    first = certificate(place, "clients/app/postgresql.crt")
    assert steps(place.build(now=now())) == []
    # A new request gets a new certificate; one that asks for another name gets none.
    request(place, "root")
    with pytest.raises(Rejected, match='its common name is "root", not "app"'):
        place.build(now=now())
    assert certificate(place, "clients/app/postgresql.crt") == first
    request(place, "app")
    place.build(now=now())
    assert certificate(place, "clients/app/postgresql.crt").spki_sha256 != first.spki_sha256


def test_keys_are_encrypted_and_converted_as_elsewhere(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHRASE", "open it")
    fields = 'ca = "company"\npassphrase = { env = "PHRASE" }\nformats = ["pem", "pkcs12"]'
    place.build(spec().replace('[user.app]\nca = "company"', f"[user.app]\n{fields}"), now=now())
    assert "ENCRYPTED" in place.file("clients/app/postgresql.key").read_text()
    first = place.file("clients/app/postgresql.p12").read_bytes()
    assert "open it" not in (place.directory / "environment").read_text()
    assert steps(place.build(now=now())) == []
    place.build(now=now(), asked=Asked(renew=frozenset({"user.app"})))
    assert place.file("clients/app/postgresql.p12").read_bytes() != first


def test_a_refused_answer_leaves_the_present_key_in_every_format(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHRASE", "open it")
    fields = 'ca = "company"\npassphrase = { env = "PHRASE" }\nformats = ["pem", "pkcs12"]'
    text = spec().replace('[user.app]\nca = "company"', f"[user.app]\n{fields}")
    place.build(text, now=now())
    program(place, "usage=codeSigning")
    other = text.replace('"pkcs12"', '"pkcs12-3des"')
    planned = place.build(other, now=now(), asked=Asked(renew=frozenset({"user.app"})))
    assert ("user.app", "wait") in steps(planned)
    key, own, _ = load_key_and_certificates(place.file("clients/app/postgresql.p12").read_bytes(), b"open it")
    assert key is not None
    assert own is not None
    assert key.public_key() == own.public_key()


def test_a_user_moves_from_a_ca_here_to_a_program_and_back(built: Place) -> None:
    moved = spec().replace('[user.ours]\nca = "own"', '[user.ours]\nca = "company"')
    planned = built.build(moved, now=now())
    assert ("user.ours", "renew") in steps(planned)
    assert runs(built) == ["user.ours"]
    planned = built.build(spec(), now=now())
    assert ("user.ours", "renew") in steps(planned)
    assert runs(built) == []


def test_a_user_who_moves_keeps_the_old_chain_while_the_program_fails(built: Place) -> None:
    below = spec().replace("[server.db]", '[ca.sub]\nissuer = "own"\n[server.db]')
    built.build(below.replace('[user.ours]\nca = "own"', '[user.ours]\nca = "sub"'), now=now())
    path = built.file("clients/ours/postgresql.crt")
    before = path.read_bytes()
    assert before.count(b"BEGIN CERTIFICATE") == 2
    program(built, "exit 1")
    planned = built.build(below.replace('[user.ours]\nca = "own"', '[user.ours]\nca = "company"'), now=now())
    assert ("user.ours", "wait") in steps(planned)
    assert path.read_bytes() == before
    program(built)
    built.build(now=now())
    assert path.read_bytes() != before


def test_another_ca_certificate_gets_everything_signed_again(built: Place) -> None:
    other = OpenSSL(built.directory / "other")
    other.prepare()
    for name in ("root.crt", "root.key", "root.crl"):
        (built.directory / "company" / name).write_bytes((other.directory / name).read_bytes())
    built.build(now=now(), asked=Asked(accept_outage=True))
    assert runs(built) == ["server.db", "user.app"]
    assert steps(built.build(now=now())) == []


# ---- nothing is lost, nothing is run by others -----------------------------------------------------------------------


def test_a_build_that_is_killed_while_a_program_signs_leaves_nothing(built: Place) -> None:
    before = built.state()
    program(built, after="kill -9 $PPID")
    words = (sys.executable, "-m", "pgtls", "build", "--renew", "all")
    done = subprocess.run(
        words,
        cwd=built.directory,
        env=ENVIRONMENT | {"PGTLS_NOW": ""},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == -9
    assert runs(built) == ["server.db"]
    assert built.state() == before
    assert not [path for path in (built.out / ".pgtls").rglob("*") if b"PRIVATE KEY" in _content(path)]
    assert steps(built.build(now=now())) == []
    program(built)
    built.build(now=now(), asked=Asked(renew=frozenset({"all"})))
    assert runs(built) == ["server.db", "user.app"]


def test_an_interrupted_build_ends_the_program_too(built: Place) -> None:
    before = built.state()
    program(built, "echo $$ > pid; sleep 1000 & echo $! >> pid; wait")
    words = (sys.executable, "-m", "pgtls", "build", "--renew", "all")
    process = subprocess.Popen(
        words, cwd=built.directory, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    path, deadline = built.directory / "pid", time.monotonic() + PATIENCE
    while not path.exists() or len(path.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    started = [int(number) for number in path.read_text().split()]
    assert [number for number in started if not running(number)] == []
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    gone(started)
    assert built.state() == before


@pytest.mark.parametrize("after", ["", "exit 1"], ids=["that signs", "that fails"])
def test_what_a_program_left_running_ends_with_it(place: Place, after: str) -> None:
    program(place, "sleep 1000 > /dev/null 2>&1 & echo $! >> pid", after)
    planned = place.build(spec(), now=now())
    assert ("server.db", "wait" if after else "create") in steps(planned)
    started = [int(number) for number in (place.directory / "pid").read_text().split()]
    assert len(started) == 2
    gone(started)


OTHER_GROUPS = {
    "timeout, while the program runs": ("timeout 1000 sh -c 'echo $$ > pid; exec sleep 1000'", True),
    "timeout, in the background": (
        "timeout 1000 sh -c 'echo $$ > pid; exec sleep 1000' > /dev/null 2>&1 & until test -s pid; do :; done",
        False,
    ),
    "job control": ("set -m; sleep 1000 > /dev/null 2>&1 & echo $! > pid", False),
    "a name that looks like a stat": (
        "cp \"$(command -v sleep)\" 'x) S 1 1 1'; set -m; './x) S 1 1 1' 1000 > /dev/null 2>&1 & echo $! > pid",
        False,
    ),
    "its own group": ("sleep 1000 > /dev/null 2>&1 & echo $! > pid", False),
}
"""What a program leaves running in the same session, and whether the program is late."""


@pytest.mark.parametrize(("script", "late"), OTHER_GROUPS.values(), ids=OTHER_GROUPS)
def test_what_a_program_left_running_ends_with_it_in_every_process_group(
    tmp_path: Path, script: str, late: bool
) -> None:
    found = programs.ask(("bash", "-c", f"{script}; echo done"), 1 if late else PATIENCE, b"", {}, str(tmp_path))
    assert found == (NoAnswer("did not end within 1 seconds", late=True) if late else b"done\n")
    assert not running(int((tmp_path / "pid").read_text()))


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_program_that_cannot_be_killed_delays_a_build_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_another_account(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(programs, "_LAST", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", of_another_account)
        patch.setattr(os, "kill", of_another_account)
        failed = programs.ask(("sh", "-c", "echo $$ > pid; exec sleep 1000"), 0.5, b"", {}, str(tmp_path))
    assert failed == NoAnswer("did not end within 1 seconds", late=True)
    number = int((tmp_path / "pid").read_text())
    assert running(number)
    os.kill(number, signal.SIGKILL)
    gone([number])


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def test_a_build_with_errors_asks_nobody(built: Place) -> None:
    text = spec().replace("[ca.own]", '[user.csr]\nca = "own"\ncsr_file = "missing.csr"\n[ca.own]')
    with pytest.raises(Rejected):
        built.build(text, now=now(), asked=Asked(renew=frozenset({"all"})))
    assert runs(built) == []


def test_a_review_without_the_out_directory_plans_the_renewal(built: Place) -> None:
    built.out.rename(built.directory / "elsewhere")
    assert steps(built.plan(now=now())) == []
    planned = built.plan(now=now() + timedelta(days=70))
    assert ("server.db", "renew") in steps(planned)
    assert runs(built) == []


def test_a_diff_shows_another_program(built: Place) -> None:
    (built.directory / "new.toml").write_text(spec().replace("./sign.sh", "./other.sh"))
    found = diff(load(built.spec), load(built.directory / "new.toml"))
    (change,) = found.protection
    assert (change.kind, change.entity, change.what) == ("weakened", "ca.company", "sign")
    assert ("./sign.sh" in change.before, "./other.sh" in change.after) == (True, True)
