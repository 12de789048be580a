"""Random lives of a fleet: edits, renewals, damage and years that pass, one after the other.

A plan always announces what the build does, and a build leaves a complete tree: keys match, chains end in roots that
the other side holds, no CRL lists a current certificate, every CRL is fresh, and nothing is left to do.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.fleets import DAY, HOUR
from lifecycle.test_rollover_orders import holds, quoted
from pgtls.certificates.asked import Asked
from pgtls.diagnostics import Rejected
from pgtls.pipeline import status
from pgtls.pki import crl
from pgtls.pki.model import RevocationList
from pgtls.state import lock as locks
from support.building import NOW, Place, steps
from support.interrupting import pairs_match
from support.system import new_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta
    from pathlib import Path

    from pgtls.stages import Planned

    Table = Mapping[str, str]

REST = """
[policy.dba]
servers = ["all"]
users = ["postgres"]
from = ["local"]
auth = "peer"
"""
POLICY = """
[policy.{user}]
servers = [{servers}]
users = ["{user}"]
databases = ["shop"]
from = ["10.0.0.0/8"]
auth = "scram-sha-256"
"""
REACHED = {"alice": ("db", "alone"), "bob": ("db",)}
"""The servers that each user connects to: bob, who checks CRLs, only to one that has any."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A spec as tables of TOML values, with policies for the users that there are."""

    tables: Mapping[str, Table]

    def with_fields(self, table: str, **fields: str) -> Fleet:
        return Fleet({**self.tables, table: {**self.tables.get(table, {}), **fields}})

    def without(self, table: str) -> Fleet:
        return Fleet({name: fields for name, fields in self.tables.items() if name != table})

    @property
    def text(self) -> str:
        tables = (
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())
            for name, fields in self.tables.items()
        )
        policies = (
            POLICY.format(user=user, servers=quoted(names))
            for user, names in REACHED.items()
            if "ca" in self.tables.get(f"user.{user}", {})
        )
        return "".join(("version = 1\n", *tables, REST, *policies))


FIRST = Fleet(
    {
        "ca.root": {},
        "ca.people": {},
        "ca.inner": {"issuer": '"people"'},
        "ca.root-2027": {},
        "ca.people-2027": {},
        "server.db": {"ca": '"root"', "client_ca": '["inner"]', "hosts": '["db"]'},
        "server.alone": {"ca": '"self-signed"', "client_ca": '["people"]', "hosts": '["alone"]'},
        "user.postgres": {},
        "user.alice": {"ca": '"inner"'},
        "user.bob": {"ca": '"inner"', "crl": "true"},
    }
)

users, servers = st.sampled_from(["user.alice", "user.bob"]), st.sampled_from(["server.db", "server.alone"])


def some(*names: str, least: int = 0) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(names), min_size=least, max_size=len(names), unique=True).map(
        lambda found: f"[{quoted(found)}]"
    )


def words(*values: str) -> st.SearchStrategy[str]:
    return st.sampled_from([f'"{value}"' for value in values])


EDITS: tuple[tuple[st.SearchStrategy[str], str, st.SearchStrategy[str]], ...] = (
    (st.just("server.db"), "ca", words("root", "root-2027", "self-signed")),
    (servers, "client_ca", some("people", "inner", "people-2027", least=1)),
    (servers, "trust", some("root", "root-2027")),
    (servers, "hosts", some("db", "alone", "10.0.0.1", least=1)),
    (users, "ca", words("people", "inner", "people-2027")),
    (users, "revoke_before", st.sampled_from(["2026-01-01", "2026-03-01", "2026-01-01T00:30:00Z"])),
    (users, "until", st.sampled_from(["2026-06-01", "2027-06-01"])),
    (users, "validity", words("10d", "90d", "400d")),
    (users, "rotate_key", st.sampled_from(["true", "false"])),
    (users, "common_name", words("Alice", "x y")),
    (users, "crl", st.sampled_from(["true", "false"])),
    (users, "key_algorithm", words("ecdsa-p384", "ed25519")),
    (st.just("ca.inner"), "issuer", words("people", "people-2027")),
    (st.just("ca.inner"), "crl_validity", words("20d", "200d")),
    (st.just("ca.people"), "revoked", some("ab", "77")),
)
edits = st.one_of(
    *(st.tuples(table, st.just(key), value) for table, key, value in EDITS),
    st.tuples(st.sampled_from(["user.alice", "ca.root-2027", "ca.people-2027"]), st.just(""), st.just("")),
)
damages = st.tuples(st.integers(0, 99), st.sampled_from(["gone", "cut", "open", "swapped"]))


@dataclass(frozen=True, slots=True)
class Event:
    """Prepare a build.

    Time passes, the spec changes, one file may be damaged, and options may ask for something.
    """

    after: timedelta
    edits: tuple[tuple[str, str, str], ...]
    damage: tuple[int, str] | None
    renew: str | None

    @property
    def asked(self) -> Asked:
        return Asked(frozenset({self.renew} if self.renew else ()), accept_outage=True, allow_revoke=True)


events = st.builds(
    Event,
    after=st.sampled_from([HOUR, DAY, 5 * DAY, 20 * DAY, 70 * DAY, 200 * DAY]),
    edits=st.lists(edits, max_size=2).map(tuple),
    damage=st.one_of(st.none(), st.none(), damages),
    renew=st.sampled_from([None, None, None, "all", "ca.people", "server.alone"]),
)


@dataclass(slots=True)
class Life:
    """A fleet in its place; ``refused`` are the codes for which builds were."""

    place: Place = field(default_factory=lambda: Place(new_directory("life")))
    fleet: Fleet = FIRST
    now: datetime = NOW
    refused: Counter[str] = field(default_factory=Counter)

    def live(self, event: Event) -> None:
        self.now += event.after
        if event.damage:
            damage(self.place, *event.damage)
        edited = self.fleet
        for table, key, value in event.edits:
            edited = edited.with_fields(table, **{key: value}) if key else edited.without(table)
        if isinstance(self.both(edited, event.asked), Rejected):
            edited = self.fleet
            self.go_on_as_before()
        self.fleet = edited
        self.settle()
        self.judge()

    def go_on_as_before(self) -> None:
        """Build the previous spec; replace a CA whose key is lost, as the error says."""
        asked = Asked(accept_outage=True, allow_revoke=True)
        refused = self.both(self.fleet, asked)
        if isinstance(refused, Rejected):
            lost = {d.place.text for d in refused.diagnostics if d.code == "PGT550" and d.place}
            names = frozenset(header.strip("[]").removeprefix("ca.") for header in lost)
            assert not isinstance(self.both(self.fleet, replace(asked, new_ca=names)), Rejected)

    def both(self, fleet: Fleet, asked: Asked) -> Planned | Rejected:
        """Plan and build: they say the same, and a build that is refused has changed nothing."""
        planned = self.tried(lambda: self.place.plan(fleet.text, now=self.now, asked=asked))
        before = self.place.state()
        built = self.tried(lambda: self.place.build(now=self.now, asked=asked))
        if isinstance(built, Rejected):
            assert isinstance(planned, Rejected), ("unforeseen", built)
            assert self.place.state() == before
            self.refused.update(d.code for d in built.diagnostics if d.severity == "error")
        else:
            assert not isinstance(planned, Rejected), ("refused in vain", planned)
            assert steps(planned) == steps(built)
        return built

    @staticmethod
    def tried(command: Callable[[], Planned]) -> Planned | Rejected:
        try:
            return command()
        except Rejected as rejected:
            return rejected

    def settle(self) -> None:
        """Deploy; then a build has nothing to do but serve what clients trust now, and revoke what was left behind."""
        asked = Asked(accept_outage=True, allow_revoke=True)
        self.place.confirm(now=self.now)
        again = self.place.build(now=self.now, asked=asked)
        if steps(again):
            reasons = {step.reason.partition(":")[0] for step in again.plan.steps}
            assert reasons & {"its next certificate is served from now on", "its name, CA or user changed"}
            assert steps(self.place.build(now=self.now, asked=asked)) == []

    def judge(self) -> None:
        pairs_match(self.place)
        assert [item for item in status(self.place.request(now=self.now)).items if item.needs_attention] == []
        for path in self.place.out.glob("ca/*/ca.crl"):
            found = crl.read(path.read_bytes())
            assert isinstance(found, RevocationList)
            assert found.this_update <= self.now < found.next_update, path
        revoked = {serial for _, serial in locks.read(self.place.lock).revocations}
        lists = self.place.out.glob("ca/**/ca.crl")
        revoked |= {entry.serial for path in lists for entry in crl.read(path.read_bytes()).revoked}  # type: ignore[union-attr]
        for client in self.place.out.glob("clients/*"):
            for server in REACHED[client.name]:
                self.connects(client, self.place.file(f"servers/{server}"), revoked)

    def connects(self, client: Path, server: Path, revoked: set[str]) -> None:
        trusted, chain = (client / "root.crt").read_bytes(), (server / "server.crt").read_bytes()
        assert holds(chain, trusted), (client, server)
        for pem in (chain, (client / "postgresql.crt").read_bytes()):
            leaf = x509.load_pem_x509_certificates(pem)[0]
            assert leaf.not_valid_before_utc <= self.now < leaf.not_valid_after_utc
            assert f"{leaf.serial_number:x}" not in revoked


def damage(place: Place, number: int, how: str) -> None:
    """Damage a file of the tree.

    Spare pgtls's own files and files that only a restore brings back (CAs that left the spec).
    """
    kept = (".pgtls", ".retired")
    files = [path for path in sorted(place.out.rglob("*.*")) if path.is_file() and not set(kept) & set(path.parts)]
    files = [path for path in files if path.name not in ("manifest.json", ".gitignore")]
    path = files[number % len(files)]
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:40])
    elif how == "open":
        path.chmod(0o666)
    else:
        others = [other for other in files if other.name == path.name]
        other = others[(number * 7) % len(others)]
        content = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)


@settings(max_examples=12)
@given(st.lists(events, min_size=4, max_size=9))
def test_whatever_happens_a_build_leaves_everything_whole(life: list[Event]) -> None:
    one = Life()
    one.place.build(one.fleet.text, now=one.now)
    for event in life:
        one.live(event)
