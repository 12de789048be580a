"""Random fleets and what people change in them, as tables of TOML values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from random import Random

CAS = """
[defaults.ca]
crl_validity = "300d"
[ca.root]
[ca.root-2027]
[ca.people]
[ca.people-2027]
"""
PEOPLE = ("people", "people-2027", "inner")
DATABASES = ("shop", "books")
"""The databases that policies name."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A spec as tables of TOML values: each table by its name, each field by its own."""

    tables: Mapping[str, Mapping[str, str]]

    def with_field(self, table: str, field: str, value: str) -> Fleet:
        """Return the fleet with one field changed; an empty value takes it away."""
        fields = {name: known for name, known in self.tables[table].items() if name != field}
        return Fleet({**self.tables, table: fields | ({field: value} if value else {})})

    def names(self, kind: str) -> list[str]:
        """Return the tables of a kind."""
        return [table for table in self.tables if table.startswith(f"{kind}.")]

    @property
    def text(self) -> str:
        """Return the spec."""
        return "".join(("version = 1\n", CAS, *(_table(name, fields) for name, fields in self.tables.items())))


def _table(name: str, fields: Mapping[str, str]) -> str:
    own = "".join(f"{key} = {value}\n" for key, value in fields.items() if key != "sni")
    further = f"[[{name}.sni]]\n{fields['sni']}\n" if "sni" in fields else ""
    return f"[{name}]\n{own}{further}"


def array(values: Sequence[str]) -> str:
    """Write a TOML array of strings."""
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def first(random: Random, majors: Sequence[int], ports: Sequence[tuple[int, int]], users: int) -> Fleet:
    """Draw a fleet: a server for each of ``majors`` with the first of its ports, and users whom policies admit."""
    tables: dict[str, dict[str, str]] = {"ca.mid": {"issuer": '"root"'}, "ca.inner": {"issuer": '"people"'}}
    servers = [f"s{number}" for number in range(len(majors))]
    names = [f"u{number}" for number in range(users)]
    for server, major, (port, _) in zip(servers, majors, ports, strict=True):
        trusted = random.choice([PEOPLE, ("people", "inner"), ("people", "people-2027")])
        tables[f"server.{server}"] = {
            "ca": random.choice(['"root"', '"mid"', '"self-signed"']),
            "client_ca": array(trusted),
            "hosts": array([f"{server}.example"]),
            "port": str(port),
            "postgres": str(major),
            "no_local": "true",
        }
    for name in names:
        tables[f"user.{name}"] = {"ca": '"people"'}
    for number in range(max(2, users // 3)):
        tables[f"policy.p{number}"] = {
            "servers": array(random.sample(servers, min(len(servers), 2))),
            "users": array(random.sample(names, min(len(names), 4))),
            "databases": array(DATABASES[number % 2 :][:1]),
            "from": '["127.0.0.1"]',
            "auth": random.choice(['"cert"', '"cert"', '"scram-sha-256"']),
            "waiver": '"a random fleet"',
        }
    return Fleet(tables)


def edited(
    random: Random, fleet: Fleet, ports: Mapping[str, tuple[int, int]], moment: str, *, fixed: Collection[str] = ()
) -> Fleet:
    """Return the fleet after one change that somebody may make; of the ``fixed`` fields, none changes."""
    kind = random.choice(["server", "server", "user", "policy", "policy", "ca"])
    table = random.choice(fleet.names(kind))
    edits = dict(_EDITS[kind](random, fleet, table.partition(".")[2], ports, moment))
    field = random.choice(sorted(edits.keys() - set(fixed)))
    return fleet.with_field(table, field, edits[field])


def _server(
    random: Random, fleet: Fleet, name: str, ports: Mapping[str, tuple[int, int]], moment: str
) -> Iterator[tuple[str, str]]:
    yield "ca", random.choice(['"root"', '"root-2027"', '"mid"', '"self-signed"'])
    yield "trust", array(random.sample(["root", "root-2027"], random.randint(0, 2)))
    yield "client_ca", array(random.sample(PEOPLE, random.randint(1, 3)))
    yield "client_ca", array(random.sample(PEOPLE, random.choice([0, 2, 3, 3])))
    hosts = [f"{name}.example", f"{name}-new.example", "shared.example"]
    yield "hosts", array(random.sample(hosts, random.randint(1, 3)))
    yield "port", str(random.choice(ports[name]))
    yield "crl", random.choice(["true", "false"])
    yield "min_tls", random.choice(['"1.2"', '"1.3"'])
    yield "validity", random.choice(['"10d"', '"300d"'])
    if int(fleet.tables[f"server.{name}"]["postgres"]) >= 19:
        yield "sni", random.choice(["", f'hosts = ["{name}-sni.example", "shared.example"]\nca = "root-2027"'])


def _user(
    random: Random, fleet: Fleet, name: str, ports: Mapping[str, tuple[int, int]], moment: str
) -> Iterator[tuple[str, str]]:
    yield "ca", random.choice([*(f'"{ca}"' for ca in PEOPLE), ""])
    yield "crl", random.choice(["true", "false"])
    yield "common_name", f'"{random.choice([name, name.upper()])}"'
    yield "revoke_before", f'"{moment}"'
    yield "roles", array(random.choice([[name], [name, "shared"], ["shared"]]))
    yield "validity", random.choice(['"10d"', '"300d"'])
    yield "libpq", random.choice(["", "16", "18"])


def _policy(
    random: Random, fleet: Fleet, name: str, ports: Mapping[str, tuple[int, int]], moment: str
) -> Iterator[tuple[str, str]]:
    users = [table.partition(".")[2] for table in fleet.names("user")]
    servers = [table.partition(".")[2] for table in fleet.names("server")]
    yield "auth", random.choice(['"cert"', '"scram-sha-256"', '"trust"'])
    yield "client_cert", random.choice(['"none"', '"verify-ca"', '"verify-full"'])
    yield "users", array(random.sample(users, random.randint(1, min(5, len(users)))))
    yield "servers", array(random.sample(servers, random.randint(1, min(3, len(servers)))))
    yield "databases", array(random.choice([DATABASES[:1], DATABASES[1:], DATABASES, ("all",)]))
    yield "from", random.choice(['["127.0.0.1"]', '["127.0.0.0/8"]', '["10.0.0.0/8"]', '["10.0.0.0/8", "127.0.0.1"]'])
    yield "sslmode", random.choice(['"verify-full"', '"verify-ca"', '"require"', '"prefer"', '"disable"'])
    yield "channel_binding", random.choice(['"disable"', '"prefer"', '"require"'])
    yield "priority", str(random.randint(0, 2))


def _ca(
    random: Random, fleet: Fleet, name: str, ports: Mapping[str, tuple[int, int]], moment: str
) -> Iterator[tuple[str, str]]:
    roots = ("people", "people-2027") if name == "inner" else ("root", "root-2027")
    yield "issuer", f'"{random.choice(roots)}"'


_EDITS = {"server": _server, "user": _user, "policy": _policy, "ca": _ca}
