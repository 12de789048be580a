"""CRLs of other CAs over several builds: what one of them revokes stays revoked, wherever the next one comes from."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from live.test_brought_crls import (
    ABOVE,
    CAS,
    DAY,
    HERE,
    INNER,
    LEAVER,
    NOW,
    OF_THE_SPEC,
    ROOT,
    SPEC,
    USERS,
    bring,
    certified,
    crl,
    gets_in,
    of_certificate,
    point,
    serve,
    unmarked,
)
from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.pki.crl import parse
from pgtls.pki.model import Unreadable
from support.authority import Authority

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.building import Place
    from support.servers import Server

AGREED = Asked(accept_outage=True, allow_revoke=True)


@dataclass(frozen=True)
class Site:
    """A server, and a CA of a company whose key can come here. The serial number is that of a leaver's certificate."""

    server: Server
    place: Place
    spec: str
    leaver: int

    def build(self, spec: str, *lists: bytes) -> list[str]:
        """Build, with these CRLs if any, and install the server; return the codes of what the build says of CAs."""
        if lists:
            (self.place.directory / "company.crl").write_bytes(b"".join(lists))
        found = [one.code for one in self.place.build(spec, now=NOW, asked=AGREED).diagnostics if one.code != "PGT400"]
        self.server.install(self.place.file("servers/db"))
        return found

    def refused(self, spec: str, *lists: bytes) -> list[str]:
        """Return the codes of the errors that stop such a build."""
        with pytest.raises(Rejected) as rejected:
            self.build(spec, *lists)
        return [one.code for one in rejected.value.diagnostics if one.severity == "error"]

    def admits(self, name: str) -> bool:
        return gets_in(self.server, self.place.directory / name)

    def served(self) -> tuple[x509.CertificateRevocationList, ...]:
        lists = parse(self.place.file("servers/db/root.crl").read_bytes())
        assert not isinstance(lists, Unreadable)
        return lists

    def shown(self, name: str) -> bytes:
        return (self.place.directory / name / "postgresql.crt").read_bytes()

    def without_the_ca(self) -> str:
        table = '[ca.company]\ncert_file = "company.crt"\ncrl_file = "company.crl"\n'
        spec = self.spec.replace(table, "").replace(OF_THE_SPEC, "").replace('"company"', '"other"')
        return spec.replace("waiver =", "# waiver =") + '[ca.other]\n[user.app]\nca = "other"\n'

    def without_crls(self, more: str = "") -> str:
        spec = self.spec.replace('crl_file = "company.crl"', f"{more}crl = false")
        return spec.replace("hosts =", "crl = false\nhosts =")


@pytest.fixture
def site(server: Server, place: Place) -> Site:
    server.populate(("app", "leaver"), ("shop",))
    bring(place, INNER, b"")
    (place.directory / "company.key").write_bytes(INNER.key_pem)
    (place.directory / "root.crt").write_bytes(ROOT.pem)
    serial = certified(place.directory, "leaver", INNER)
    return Site(server, place, SPEC.format(postgres=server.version) + OF_THE_SPEC, serial)


OWN_FIRST, ROOT_FIRST, USERS_SECOND = "its own first", "the root's first", "users' second"
GONE, NO_CRLS, KEY_FIRST = "after a build without its table", "after one without CRLs", "after one with the key alone"
AT_ONCE, STILL_THERE = "in the first build", "its CRL is still in the file"
WAYS = (OWN_FIRST, ROOT_FIRST, USERS_SECOND, GONE, NO_CRLS, KEY_FIRST, AT_ONCE, STILL_THERE)


@pytest.mark.parametrize("way", WAYS)
def test_a_ca_whose_key_comes_here_keeps_what_its_brought_crls_list(site: Site, way: str) -> None:
    own = crl(INNER, revoked=site.leaver)
    lists = {ROOT_FIRST: (ABOVE, own), USERS_SECOND: (crl(INNER, CAS), crl(INNER, USERS, revoked=site.leaver), ABOVE)}
    with_key = site.spec.replace("crl_file", 'key_file = "company.key"\ncrl_file')
    first = with_key if way == AT_ONCE else site.spec
    assert site.build(first, *lists.get(way, (own, ABOVE))) == []
    if way == GONE:
        site.build(site.without_the_ca())
    elif way in (NO_CRLS, KEY_FIRST):
        site.build(site.without_crls('key_file = "company.key"\n' if way == KEY_FIRST else ""))
    assert site.build(with_key, *((own, ABOVE) if way == STILL_THERE else (ABOVE,))) == []
    assert site.admits("app")
    assert not site.admits("leaver")
    assert len(site.served()) == 2, "the CA signs the only CRL of its own"


def test_a_ca_of_a_chain_whose_table_and_key_come_here_keeps_what_its_brought_crl_lists(site: Site) -> None:
    directory = site.place.directory
    (directory / "company.crt").write_bytes(ROOT.pem)
    for name in ("app", "leaver"):
        (directory / name / "postgresql.crt").write_bytes(site.shown(name) + INNER.pem)
    assert site.build(site.spec, crl(INNER, revoked=site.leaver), ABOVE) == []
    (directory / "inner.crt").write_bytes(INNER.pem)
    table = '[ca.inner]\nissuer = "company"\ncert_file = "inner.crt"\nkey_file = "company.key"\n'
    assert site.build(site.spec.replace(OF_THE_SPEC, table + OF_THE_SPEC.replace('"company"', '"inner"')), ABOVE) == []
    assert site.admits("app")
    assert not site.admits("leaver")


@pytest.mark.parametrize("where", ["in its own file", "in that of a CA below"])
def test_a_newer_crl_of_a_ca_whose_key_is_here_undoes_no_revocation(site: Site, where: str) -> None:
    """OpenSSL would take the newest: servers get the one that the key signs here."""
    newer, spec = crl(INNER, age=0.001), site.spec.replace("crl_file", 'key_file = "company.key"\ncrl_file')
    below = INNER.below("Company Robots")
    (site.place.directory / "robots.crt").write_bytes(below.pem)
    spec += '[ca.robots]\nissuer = "company"\ncert_file = "robots.crt"\ncrl_file = "robots.crl"\n'
    (site.place.directory / "robots.crl").write_bytes(crl(below))
    site.build(spec + LEAVER, ABOVE)
    site.build(spec)
    assert not site.admits("leaver")
    if where == "in its own file":
        site.build(spec, newer, ABOVE)
    else:
        (site.place.directory / "robots.crl").write_bytes(crl(below) + newer)
        site.build(spec)
    assert site.admits("app")
    assert not site.admits("leaver")
    serve(site.server, site.place, site.place.file("servers/db/root.crl").read_bytes() + newer)
    assert gets_in(site.server, site.place.directory / "leaver"), "with both, the newest counts"


def test_no_older_crl_counts_when_the_newer_one_ends(site: Site) -> None:
    newer, older = crl(INNER, revoked=site.leaver, days=1), crl(INNER, age=3)
    site.build(site.spec, older, newer, ABOVE)
    assert not site.admits("leaver")
    assert len(site.served()) == 2
    ended = crl(INNER, revoked=site.leaver, days=-0.5)
    serve(site.server, site.place, older + ended + ABOVE)
    assert gets_in(site.server, site.place.directory / "leaver"), "the older one counts again"
    serve(site.server, site.place, ended + ABOVE)
    assert not gets_in(site.server, site.place.directory / "app"), "with none, nobody gets in"
    assert site.refused(site.spec, older, ended, ABOVE) == ["PGT563"]
    assert site.refused(site.spec, older, crl(INNER, revoked=site.leaver, age=-1), ABOVE) == ["PGT563"]


def test_the_newest_crl_counts_whichever_table_brings_it(site: Site) -> None:
    second, third = ROOT.below("Company Machines"), ROOT.below("Company Thieves")
    for name, ca in (("second", second), ("third", third)):
        (site.place.directory / f"{name}.crt").write_bytes(ca.pem + ROOT.pem)
    root = crl(ROOT, revoked=third.certificate.serial_number, days=1)
    (site.place.directory / "second.crl").write_bytes(crl(second) + root)
    spec = site.spec.replace('client_ca = ["company"]', 'client_ca = ["company", "second"]')
    spec += '[ca.second]\ncert_file = "second.crt"\ncrl_file = "second.crl"\n'
    site.build(spec, crl(INNER), crl(ROOT, age=3))
    of_the_root = [one for one in site.served() if one.issuer == ROOT.certificate.subject]
    assert [len(one) for one in of_the_root] == [1, 1], "both tables have the one that revokes"


PARTS = {
    "ends later": (crl(INNER, age=3, days=9), ["PGT564"]),
    "ends with it": (crl(INNER, age=3, days=5), []),
}


@pytest.mark.parametrize("name", PARTS)
def test_no_crl_outlives_a_newer_one_for_some_of_its_certificates(site: Site, name: str) -> None:
    older, codes = PARTS[name]
    certified(site.place.directory, "app", INNER, HERE)
    lists = (older, crl(INNER, point(HERE), revoked=site.leaver, days=5), ABOVE)
    assert (site.refused(site.spec, *lists) if codes else site.build(site.spec, *lists)) == codes


def test_an_older_crl_undoes_no_revocation_after_a_build_without_crls(site: Site) -> None:
    site.build(site.spec, crl(INNER, revoked=site.leaver), ABOVE)
    site.build(site.without_crls())
    assert site.refused(site.spec, crl(INNER, age=5), ABOVE) == ["PGT577"]
    assert site.build(site.spec, crl(INNER, revoked=site.leaver, age=0), ABOVE) == []


def test_what_is_remembered_of_crls_does_not_grow(site: Site) -> None:
    for age in (5, 4, 3):
        site.build(site.spec, crl(INNER, age=age), crl(ROOT, age=age))
        assert site.place.build(now=NOW).plan.steps == ()
        assert site.place.file(MEMORY).read_bytes().count(b"BEGIN") == 2


MEMORY = "ca/.retired/company-brought/ca.crl"


@pytest.mark.parametrize("how", ["missing", "cut off"])
def test_without_what_is_remembered_of_crls_nothing_goes_on(site: Site, how: str) -> None:
    newer, older = (crl(INNER, revoked=site.leaver), ABOVE), (crl(INNER, age=5), ABOVE)
    site.build(site.spec, *newer)
    path = site.place.file(MEMORY)
    whole = path.read_bytes()
    path.unlink() if how == "missing" else path.write_bytes(whole[:-60])
    for lists in (older, newer):
        assert site.refused(site.spec, *lists) == ["PGT588"]
    path.write_bytes(whole)
    assert site.build(site.spec, *newer) == []
    path.unlink()
    (site.place.directory / "company.crl").write_bytes(b"".join(newer))
    site.place.build(site.spec, now=NOW, new_out=True)
    assert site.refused(site.spec, *older) == ["PGT577"]


@pytest.mark.parametrize("since", ["", "without CRLs"])
def test_no_manifest_of_an_earlier_build_takes_the_memory_of_crls_back(site: Site, since: str) -> None:
    """Others may have read it: with the CRLs of then, it is as a build left them."""
    out = site.place.out
    site.build(site.spec, crl(INNER, age=5), ABOVE)
    crls = [path for path in out.rglob("*") if path.is_file() and b"BEGIN X509 CRL" in path.read_bytes()]
    then = {path: path.read_bytes() for path in (*crls, out / "manifest.json")}
    site.build(site.spec, crl(INNER, revoked=site.leaver), ABOVE)
    if since:
        site.build(site.without_crls())
    for path, content in then.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    assert site.refused(site.spec, crl(INNER, age=5), ABOVE) == ["PGT587"]


@pytest.mark.parametrize(("by", "above"), [(ROOT, b""), (INNER, ABOVE)], ids=["root", "below"])
def test_no_other_crl_of_the_tree_is_needed_to_tell_an_older_one(place: Place, by: Authority, above: bytes) -> None:
    bring(place, by, crl(by) + above)
    for name in ("app", "leaver"):
        certified(place.directory, name, by)
    spec = SPEC.format(postgres=18) + OF_THE_SPEC + LEAVER
    place.build(spec, now=NOW)
    (place.directory / "company.crl").write_bytes(crl(by, age=5) + above)
    crls = [path for path in place.out.rglob("*") if path.is_file() and b"BEGIN X509 CRL" in path.read_bytes()]
    others = [path for path in crls if path != place.file(MEMORY)]
    assert len(others) > 2
    for path in others:
        whole = path.read_bytes()
        for damaged in (None, b"", whole[:-60]):
            path.unlink() if damaged is None else path.write_bytes(damaged)
            with pytest.raises(Rejected, match="PGT577"):
                place.build(spec, now=NOW)
            path.write_bytes(whole)


@pytest.mark.parametrize("entries", [0, 1])
def test_of_crls_of_one_moment_the_number_tells_which_is_older(site: Site, entries: int) -> None:
    revoked = crl(INNER, revoked=site.leaver, number=7)
    site.build(site.spec, revoked, ABOVE)
    assert site.refused(site.spec, crl(INNER, number=6), ABOVE) == ["PGT577"]
    assert site.refused(site.spec, crl(INNER, number=7), ABOVE) == ["PGT577"], "it lists less"
    site.build(site.spec, crl(INNER, number=8, revoked=site.leaver if entries else 0), ABOVE)
    assert site.admits("leaver") == (not entries)
    assert site.refused(site.spec, revoked, ABOVE) == ["PGT577"]


@pytest.mark.parametrize("with_key", [False, True])
def test_an_older_crl_of_a_ca_above_undoes_no_revocation_after_a_build_without_crls(
    site: Site, *, with_key: bool
) -> None:
    key = 'key_file = "company.key"\n' if with_key else ""
    spec, own = site.spec.replace("crl_file", f"{key}crl_file"), () if with_key else (crl(INNER),)
    serial = certified(site.place.directory, "leaver", ROOT)
    site.build(spec, *own, crl(ROOT, revoked=serial))
    assert not site.admits("leaver")
    site.build(site.without_crls(key))
    assert site.refused(spec, *own, crl(ROOT, age=5)) == ["PGT577"]
    site.build(spec, *own, crl(ROOT, revoked=serial, age=0))


def test_an_older_crl_undoes_no_revocation_after_its_ca_was_another_one(site: Site) -> None:
    """The company's CA gets a new key, and the old one comes back in a table of its own, or in its place."""
    directory, second = site.place.directory, ROOT.below("Company Clients of 2027")
    site.build(site.spec, crl(INNER, revoked=site.leaver), ABOVE)
    app = {path: path.read_bytes() for path in (directory / "app").iterdir()}
    certified(directory, "app", second)
    (directory / "company.crt").write_bytes(second.pem + ROOT.pem)
    site.build(site.spec, crl(second), ABOVE)
    (directory / "old.crt").write_bytes(INNER.pem + ROOT.pem)
    (directory / "old.crl").write_bytes(crl(INNER, age=5) + ABOVE)
    beside = '[ca.old]\ncert_file = "old.crt"\ncrl_file = "old.crl"\n'
    both = site.spec.replace('client_ca = ["company"', 'client_ca = ["company", "old"') + beside
    assert site.refused(both) == ["PGT577"]
    (directory / "company.crt").write_bytes(INNER.pem + ROOT.pem)
    for path, content in app.items():
        path.write_bytes(content)
    assert site.build(site.spec.replace("crl_file", 'key_file = "company.key"\ncrl_file'), ABOVE) == []
    assert site.admits("app")
    assert not site.admits("leaver"), "its key is here now, and signs what its last CRL listed"


def test_an_older_crl_undoes_no_revocation_after_its_ca_was_below_another_root(site: Site) -> None:
    other = Authority.root("Other Root")
    serial = certified(site.place.directory, "leaver", ROOT)
    site.build(site.spec, crl(INNER), crl(ROOT, revoked=serial))
    (site.place.directory / "company.crt").write_bytes(INNER.again(other).pem + other.pem)
    site.build(site.spec, crl(INNER), crl(other))
    (site.place.directory / "company.crt").write_bytes(INNER.pem + ROOT.pem)
    assert site.refused(site.spec, crl(INNER), crl(ROOT, age=5)) == ["PGT577"]


def test_a_damaged_crl_of_a_ca_whose_key_is_here_is_signed_again_with_all_that_it_listed(site: Site) -> None:
    spec = site.spec.replace("crl_file", 'key_file = "company.key"\ncrl_file')
    site.build(spec, crl(INNER, revoked=site.leaver), ABOVE)
    path = site.place.file("ca/company/ca.crl")
    path.write_bytes(path.read_bytes()[:200])
    site.build(spec, ABOVE)
    assert site.admits("app")
    assert not site.admits("leaver")


LIMITED = {"of a point": point(HERE), "for users alone": USERS}


@pytest.mark.parametrize("name", LIMITED)
def test_a_ca_whose_key_comes_here_signs_a_crl_for_all_certificates(site: Site, name: str) -> None:
    certified(site.place.directory, "app", INNER, HERE)
    (site.place.directory / "top.crl").write_bytes(ABOVE)
    tables = 'issuer = "top"\ncrl_file = "company.crl"\n[ca.top]\ncert_file = "root.crt"\ncrl_file = "top.crl"\n'
    spec = site.spec.replace('crl_file = "company.crl"\n', tables)
    site.build(spec, crl(INNER, LIMITED[name]))
    below = '[ca.below]\nissuer = "company"\n[user.leaver]\nca = "below"\n'
    site.build(spec.replace('crl_file = "company.crl"', 'key_file = "company.key"') + below)
    assert site.admits("app")
    assert gets_in(site.server, site.place.file("clients/leaver"))


def test_no_crl_for_another_certificate_of_the_key_takes_the_place_of_one(site: Site) -> None:
    other = Authority.root("Other Root")
    second = INNER.again(other)
    (site.place.directory / "second.crt").write_bytes(second.pem + other.pem)
    (site.place.directory / "second.crl").write_bytes(always(second, 1) + crl(other))
    more = '[ca.second]\ncert_file = "second.crt"\ncrl_file = "second.crl"\n'
    site.build(site.spec + more, always(INNER, 2), ABOVE)
    assert site.admits("app")


def always(by: Authority, age: int) -> bytes:
    """Sign a CRL whose authority key identifier names the certificate of the CA, as `issuer:always` does."""
    builder = x509.CertificateRevocationListBuilder(by.certificate.subject, NOW - age * DAY, NOW + 30 * DAY)
    builder = builder.add_extension(of_certificate(by, by.certificate.serial_number), critical=False)
    return builder.sign(by.key, SHA256()).public_bytes(Encoding.PEM)


def test_a_crl_that_may_be_that_of_a_namesake_is_refused(site: Site) -> None:
    """OpenSSL takes the newest of the name, and its signature does not fit."""
    twin = ROOT.below("Company Clients")
    (site.place.directory / "twin.crt").write_bytes(twin.pem + ROOT.pem)
    spec = site.spec.replace('client_ca = ["company"', 'client_ca = ["company", "twin"')
    spec += '[ca.twin]\ncert_file = "twin.crt"\ncrl_file = "twin.crl"\n'
    (site.place.directory / "twin.crl").write_bytes(crl(twin) + ABOVE)
    assert site.build(spec, crl(INNER, age=2), ABOVE) == []
    assert site.admits("app")
    assert site.refused(spec, unmarked(INNER, 1), ABOVE) == ["PGT564"]
    apart = spec.replace('["company", "twin"]', '["company"]').replace("[policy.app]", '[policy.app]\nservers = ["db"]')
    other = apart.partition("[server.db]")[2].partition("[policy")[0].replace('"company"', '"twin"')
    site.build(f"{apart}[server.other]{other.replace('localhost', 'other.example.com')}", unmarked(INNER, 1), ABOVE)
    assert site.admits("app"), "no server has both"
    serve(site.server, site.place, unmarked(INNER, 1) + unmarked(twin, 0) + ABOVE)
    assert not site.admits("app")


def test_a_ca_that_the_one_above_has_revoked_is_told(site: Site) -> None:
    site.build(site.spec, crl(INNER), ABOVE)
    revoking = crl(ROOT, revoked=INNER.certificate.serial_number)
    serve(site.server, site.place, crl(INNER) + revoking)
    assert not site.admits("app")
    assert site.build(site.spec, crl(INNER), revoking) == ["PGT563"]


@pytest.mark.parametrize("serial", ["00", "FF" * 20])
def test_a_serial_number_that_no_crl_here_can_hold_stops_the_key_and_not_the_ca(site: Site, serial: str) -> None:
    assert site.build(site.spec, by_openssl(site.place.directory, serial), ABOVE) == []
    assert site.refused(site.spec.replace("crl_file", 'key_file = "company.key"\ncrl_file')) == ["PGT502"]


def by_openssl(directory: Path, serial: str) -> bytes:
    """Sign a CRL by OpenSSL, which lists serial numbers that RFC 5280 forbids."""
    (directory / "index.txt").write_text(f"R\t400101000000Z\t260101000000Z\t{serial}\tunknown\t/CN=x\n")
    (directory / "number").write_text("20\n")
    (directory / "inner.crt").write_bytes(INNER.pem)
    (directory / "openssl.cnf").write_text(
        "[ca]\ndefault_ca = c\n[c]\ndatabase = index.txt\ncrlnumber = number\ndefault_md = sha256\n"
        "default_crl_days = 30\ncrl_extensions = e\n[e]\nauthorityKeyIdentifier = keyid\n"
    )
    words = "openssl ca -gencrl -config openssl.cnf -cert inner.crt -keyfile company.key"
    words += f" -crl_lastupdate {NOW - DAY:%y%m%d%H%M%SZ}"
    return subprocess.run(words.split(), cwd=directory, check=True, capture_output=True).stdout


HEIR = """[ca.second]
[user.heir]
ca = "second"
common_name = "leaver"
roles = ["leaver"]
"""


def heir(spec: str) -> str:
    """Give the name of the leaver to a user of another CA."""
    return spec.replace('client_ca = ["', 'client_ca = ["second", "') + HEIR


def renamed(spec: str) -> str:
    return spec.replace("[ca.company]", "[ca.corp]").replace('"company"', '"corp"')


def of_the_root(spec: str) -> str:
    return spec.replace('cert_file = "company.crt"', 'cert_file = "root.crt"')


LISTED: dict[str, tuple[Callable[[str], str], tuple[bytes, ...] | x509.CRLReason | None, bool]] = {
    "the table has another name": (renamed, (crl(INNER, age=3), ABOVE), False),
    "the table has another name, and it is listed": (renamed, None, True),
    "the table is that of its root": (of_the_root, (crl(INNER, age=3), ABOVE), False),
    "the table is that of its root, and it is listed": (of_the_root, None, True),
    "the entry takes it off": (str, x509.CRLReason(x509.ReasonFlags.remove_from_crl), False),
    "the entry gives a reason": (str, x509.CRLReason(x509.ReasonFlags.superseded), True),
}
"""How the spec changes, the CRLs then (or the extension of their entry), and whether servers refuse the leaver."""


@pytest.mark.parametrize("name", LISTED)
def test_the_name_of_who_left_is_free_when_the_crl_of_its_key_says_so(site: Site, name: str) -> None:
    changed, content, free = LISTED[name]
    site.build(site.spec + LEAVER, crl(INNER, age=3), ABOVE)
    assert site.build(site.spec) == ["PGT569"]
    for one in ("app", "leaver") if changed is of_the_root else ():
        (site.place.directory / one / "postgresql.crt").write_bytes(site.shown(one) + INNER.pem)
    of_entry = None if isinstance(content, tuple) else content
    lists = content if isinstance(content, tuple) else (crl(INNER, revoked=site.leaver, of_entry=of_entry), ABOVE)
    if free:
        assert site.build(heir(changed(site.spec)), *lists) == []
    else:
        assert site.refused(heir(changed(site.spec)), *lists) == ["PGT254"]
        site.build(changed(site.spec), *lists)
    assert site.admits("app")
    assert site.admits("leaver") is not free


def test_a_name_is_free_when_each_crl_that_servers_may_take_says_so(site: Site) -> None:
    """The certificate may name the point of the newer CRL, which does not list it."""
    serial = certified(site.place.directory, "leaver", INNER, HERE)
    site.build(site.spec + LEAVER, crl(INNER, age=5), ABOVE)
    site.build(site.spec)
    complete, of_point = crl(INNER, revoked=serial, age=3, days=5), (crl(INNER, point(HERE), age=n) for n in (1, 4))
    assert site.refused(heir(site.spec), complete, next(of_point), ABOVE) == ["PGT254"]
    site.build(site.spec, complete, crl(INNER, point(HERE), age=1), ABOVE)
    assert site.admits("leaver")
    assert site.build(heir(site.spec), crl(INNER, revoked=serial, age=0), next(of_point), ABOVE) == []
    assert not site.admits("leaver")


def test_a_name_is_not_free_by_another_key_identifier_of_the_ca(site: Site) -> None:
    key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(INNER.key.public_key())
    certified(site.place.directory, "leaver", INNER, key_id=key_id)
    site.build(site.spec + LEAVER, unmarked(INNER, 3), ABOVE)
    site.build(site.spec)
    (site.place.directory / "company.crt").write_bytes(INNER.again(ROOT, b"other").pem + ROOT.pem)
    (site.place.directory / "leaver" / "postgresql.crt").write_bytes(site.shown("leaver") + INNER.pem)
    assert site.refused(heir(site.spec), unmarked(INNER, 1), ABOVE) == ["PGT254"]
    site.build(site.spec)
    assert site.admits("leaver"), "it sends the other certificate of the CA"


@pytest.mark.parametrize("when", ["at once", "later"])
def test_who_leaves_a_ca_with_another_name_is_revoked(site: Site, when: str) -> None:
    site.build(site.spec + LEAVER, crl(INNER, age=3), ABOVE)
    if when == "later":
        site.build(renamed(site.spec + LEAVER))
    assert site.build(renamed(site.spec)) == ["PGT569"]
    assert site.refused(heir(renamed(site.spec))) == ["PGT254"]
    assert site.build(heir(renamed(site.spec)), crl(INNER, revoked=site.leaver), ABOVE) == []
    assert site.admits("app")
    assert not site.admits("leaver")
    with_key = renamed(site.spec).replace("crl_file", 'key_file = "company.key"\ncrl_file')
    assert site.build(with_key, ABOVE) == [], "its key was never here under another name"
    assert not site.admits("leaver")


def test_a_certificate_stays_with_the_key_that_signed_it_whatever_names_change(site: Site) -> None:
    """The company's CA gets a new key under its NAME, and the old one another NAME; then the new one is renamed."""
    second, directory = ROOT.below("Company Clients of 2027"), site.place.directory
    certified(directory, "app", second)
    for name, ca in (("one", INNER), ("two", second)):
        (directory / f"{name}.crt").write_bytes(ca.pem + ROOT.pem)
        (directory / f"{name}.crl").write_bytes(crl(ca) + ABOVE)
    base = site.spec.replace(OF_THE_SPEC, "")
    first = base.replace("company.c", "one.c") + LEAVER
    old = '[ca.old]\ncert_file = "one.crt"\ncrl_file = "one.crl"\n'
    moved = base.replace("company.c", "two.c").replace('["company"]', '["company", "old"]') + OF_THE_SPEC + old
    site.build(first)
    site.place.confirm(now=NOW)
    for spec in (moved, renamed(moved)):
        site.build(spec + LEAVER.replace('"company"', '"old"'))
        site.place.confirm(now=NOW)
        assert site.build(spec + LEAVER.replace('"company"', '"old"') + "# again\n") == [], "nobody is revoked"
    assert site.build(renamed(moved)) == ["PGT569"]
    (directory / "one.crl").write_bytes(crl(INNER, revoked=site.leaver, age=0) + ABOVE)
    assert site.build(heir(renamed(moved))) == []


def test_a_newer_crl_in_another_file_that_does_not_list_it_frees_no_name(site: Site) -> None:
    below = INNER.below("Company Robots")
    (site.place.directory / "robots.crt").write_bytes(below.pem)
    (site.place.directory / "robots.crl").write_bytes(crl(below) + crl(INNER, age=1))
    robots = '[ca.robots]\nissuer = "company"\ncert_file = "robots.crt"\ncrl_file = "robots.crl"\n'
    site.build(site.spec + LEAVER, crl(INNER, age=4), ABOVE)
    site.build(site.spec)
    assert site.build(heir(site.spec), crl(INNER, age=3, revoked=site.leaver), ABOVE) == []
    assert site.refused(heir(site.spec) + robots) == ["PGT254"]


def test_a_revoked_certificate_is_not_taken_again_under_another_name_of_its_ca(site: Site) -> None:
    site.build(site.spec + LEAVER, crl(INNER), ABOVE)
    site.build(site.spec)
    for spec in (site.spec, renamed(site.spec)):
        assert "PGT563" in site.refused(spec + LEAVER.replace('"company"', '"corp"' if "corp" in spec else '"company"'))


def test_entries_of_other_issuers_are_refused(site: Site) -> None:
    """OpenSSL takes them, and all that follow, for entries of that issuer."""
    of_root = x509.CertificateIssuer([x509.DirectoryName(ROOT.certificate.subject)])
    other = crl(INNER, revoked=site.leaver, of_entry=of_root)
    site.build(site.spec, crl(INNER, revoked=site.leaver, age=2), ABOVE)
    assert not site.admits("leaver")
    serve(site.server, site.place, other + ABOVE)
    assert gets_in(site.server, site.place.directory / "leaver")
    assert site.refused(site.spec, other, ABOVE) == ["PGT564"]


@pytest.mark.parametrize("taken", [True, False], ids=["this one", "another one"])
def test_a_certificate_that_names_another_certificate_of_its_ca_is_refused(site: Site, *, taken: bool) -> None:
    site.build(site.spec, crl(INNER), ABOVE)
    site.server.install(site.place.file("servers/db"))
    serial = INNER.certificate.serial_number if taken else 1
    certified(site.place.directory, "app", INNER, key_id=of_certificate(INNER, serial))
    assert gets_in(site.server, site.place.directory / "app") is taken
    assert (site.build(site.spec) if taken else site.refused(site.spec)) == ([] if taken else ["PGT565"])
