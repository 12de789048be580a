"""A file as they are after ten years: every kind of record and notation at once, with included files."""

from __future__ import annotations

import os
from ipaddress import ip_address
from itertools import product
from typing import TYPE_CHECKING

import pytest

from importer.openssl import some_root
from importer.test_convert import compiled
from pgtls.hba.match import decide
from pgtls.hba.model import Connection, Surroundings
from pgtls.hba.parse import parse_hba
from pgtls.importer.convert import Adopted, Sources, adopt
from pgtls.importer.files import Reader
from pgtls.importer.server import Given
from support.building import NOW

if TYPE_CHECKING:
    from pathlib import Path

HBA = r"""# grown for ten years
local   all   postgres   peer  # the DBA's own
local   shop,postgres   git,postgres   peer map=ops
local   replication   replicator   scram-sha-256

"local" "sameuser" "App User" scram-sha-256
host "all","My Shop" "all","Ä Role" 10.1.0.0 255.255.0.0 md5
include_if_exists not_there.conf
include inc/more.conf
include_dir hba.d
host shop,/^shop_[a-z]+$ shop samenet scram-sha-256
host shop shop samehost trust
host all fired,"old one" all reject
hostssl all +staff 172.16.0.0/12 ldap ldapserver=l ldapport=389 ldapbasedn="ou=p, dc=c" ldapbindpasswd="s3cr,et"
hostssl books +staff 172.32.0.0/14 \
   ldap ldapurl="ldap://ldap.corp/dc=corp?uid?sub" \
   ldaptls=1
hostssl all +dba 10.20.0.0/16 cert map=m
hostssl all etl .nordwind.example cert
hostnossl all all 192.168.0.0/16 reject
hostssl all all 192.168.0.0/16 scram-sha-256 clientcert=verify-ca
hostssl replication replicator 10.0.0.0/24 scram-sha-256 clientcert=verify-full
hostssl all +krb 10.40.0.0/16 gss include_realm=1 map=k
hostssl all @names.txt 10.50.0.0/16 scram-sha-256
hostssl @dbs.txt app 10.51.0.0/16 password
hostssl all "+literal" 10.52.0.0/16 cert map="my map"
host all all 0.0.0.0/0 reject
"""
IDENT = r"""
ops root postgres
ops git git
m "Anna X" anna
m /^(.*)@x$ \1
k /^(.*)@CORP$ \1
"my map" "CN, with comma" "+literal"
"""
BESIDE = {
    "inc/more.conf": "hostssl all web 10.60.0.0/16 scram-sha-256",
    "hba.d/01.conf": "hostssl inc1 all 10.62.0.0/16 scram-sha-256\r\n",
    "hba.d/.hidden.conf": "refused if it were read",
    "names.txt": 'alice, bob\n"Carol D"\n+grp2\n',
    "dbs.txt": "d1 d2",
}
ROLES = ("all", "alice", "Carol D", "old one", "ann", "etl", "web", "app", "+literal", "shop", "else")
DATABASES = ("shop", "shop_x", "My Shop", "books", "inc1", "d2", "all", "else")
ADDRESSES = (
    *(f"10.{n}.0.9" for n in (1, 20, 50, 51, 52, 60, 62)),
    *("172.17.0.1", "172.33.0.1", "192.168.3.4", "192.0.2.9", "8.8.8.8"),
)


def varied(directory: Path, hba: str) -> Adopted:
    """Import with lines that end as on Windows."""
    files = BESIDE | {"ca.crt": some_root(), "pg_hba.conf": hba.replace("\n", "\r\n"), "pg_ident.conf": IDENT}
    for name, text in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(text.encode())
    given = Given(("db.example.com",), 17, str(directory / "pgtls.toml"), ca=str(directory / "ca.crt"))
    return adopt(Sources(str(directory / "pg_hba.conf"), str(directory / "pg_ident.conf")), given, "primary", NOW)


def lines(adopted: Adopted, code: str) -> set[int | None]:
    return {d.place.line if d.place else None for d in adopted.diagnostics if d.code == code}


def test_it_becomes_a_spec_of_the_same_meaning(tmp_path: Path) -> None:
    adopted = varied(tmp_path, HBA)
    assert adopted.equal, [d.message for d in adopted.diagnostics if d.code == "PGT297"]
    assert lines(adopted, "PGT296") == set()
    assert lines(adopted, "PGT298") == {1 + HBA.splitlines().index("host shop shop samehost trust")}
    assert "s3cr" not in adopted.text
    asked = Surroundings(members=frozenset({("ann", "dba"), ("ann", "staff")}), interfaces=("192.0.2.7/24",))
    _, files = compiled(tmp_path, adopted, 17)
    file = str(tmp_path / "pg_hba.conf")
    read = Reader("PGT290").text
    before = parse_hba(read(file), 17, file, read, os.listdir)
    assert not before.errors
    answers = []
    for role, database, address, transport in product(ROLES, DATABASES, ADDRESSES, ("tls", "plain")):
        connection = Connection(role, database, transport, ip_address(address))  # type: ignore[arg-type]
        found = [decide(some, connection, asked) for some in (before.lines, files.lines)]
        one, two = (line.method if line else "reject" for line in found)
        assert one == two, connection
        answers.append(one)
    assert set(answers) == {"md5", "scram-sha-256", "reject", "ldap", "cert", "password"}


@pytest.mark.parametrize("line", ["host all /^r$ 10.70.0.0/16 md5", "host all all 10.9.0.0 255.0.255.0 md5"])
def test_one_line_that_a_spec_cannot_say_is_listed_and_the_rest_compared(tmp_path: Path, line: str) -> None:
    head, rest = HBA.split("include_if_exists", 1)
    adopted = varied(tmp_path, f"{head}{line}\ninclude_if_exists{rest}")
    number = head.count("\n") + 1
    assert (adopted.equal, lines(adopted, "PGT296"), lines(adopted, "PGT297")) == (False, {number}, {number})
