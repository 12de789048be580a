"""Entries and settings as the tables of a spec."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pgtls.fleet.lookalikes import ADDRESSES, DATABASES, as_item, first_of_network
from pgtls.hba.model import HostName, Keyword, Regex
from pgtls.importer.entries import LEFT_OUT, entries, merged, prioritised
from pgtls.importer.people import People, Unsayable, maps_of, narrowed, reached, separated, table_name
from pgtls.postgres.methods import METHODS, SECRET_OPTIONS, takes_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgtls.hba.model import Address, Database, Line
    from pgtls.importer.compare import Files
    from pgtls.importer.entries import Entry, Report
    from pgtls.importer.people import Maps

Tables = dict[str, Any]
CLIENTS = "clients"
"""What the CA of the client certificates is called."""
_APART = {"reason": "keeps those apart whom the policies above and below it accept", "codes": ["PGT256"]}
_SSLMODES = {"host": "prefer", "hostssl": "require"}


def access_tables(files: Files, report: Report) -> tuple[Tables, Tables, dict[str, Line]]:
    """Give the tables of users and of policies, by name, and the line of each policy; ``report`` is told of what they cannot say."""
    maps = maps_of(files.idents)
    people = People(maps)
    policies: Tables = {}
    unmapped: list[tuple[str, Entry]] = []
    origin: dict[str, Line] = {}
    for item in prioritised(_arranged(files, maps, report)):
        try:
            users, mapped = people.subjects(item)
        except Unsayable as why:
            report(LEFT_OUT, item.lines[0], str(why))
            continue
        name = table_name(_title(item, users), policies)
        policies[name], origin[name] = _policy(item, users, mapped), item.lines[0]
        if item.client_cert == "verify-full" and not takes_map(item.method):
            unmapped.append((name, item))
    for name, item in unmapped:
        if _needs_map(policies[name]["users"], people):
            report(LEFT_OUT, item.lines[0], f"{item.method} with certificates of roles that are not named")
            del policies[name]
    tables = {name: user.table(CLIENTS) for name, user in sorted(people.users.items())}
    return without_strangers(tables, policies), policies, origin


def _arranged(files: Files, maps: Maps, report: Report) -> list[Entry]:
    return separated(reached(narrowed(merged(entries(files.lines, report)), maps)), maps)


def without_strangers(users: Tables, policies: Tables) -> Tables:
    """Leave out users whom no policy names."""
    named = {user for policy in policies.values() for user in policy["users"]}
    return {name: table for name, table in users.items() if name in named}


def _needs_map(users: Sequence[str], people: People) -> bool:
    """Whether only a map could keep those out whose common name is another role's, or who are not known to be members of a role."""
    certified = [user for user in people.users.values() if user.certified]
    if "all" in users:
        return any(user.roles != (user.common_name,) for user in certified)
    groups = any(user.startswith("+") for user in users)
    return groups and any(user.name not in users or user.roles != (user.common_name,) for user in certified)


def _title(item: Entry, users: Sequence[str]) -> str:
    who = users[0].strip("+") if len(users) == 1 else f"{users[0].strip('+')}-and-others"
    where = "local" if item.type == "local" else "tls" if item.type == "hostssl" else "any"
    return f"{who}-{item.method}" if item.method == "reject" else f"{who}-{where}-{item.method}"


def _policy(item: Entry, users: Sequence[str], mapped: Sequence[dict[str, str]]) -> Tables:
    table: Tables = {"description": _origin(item), "users": list(dict.fromkeys(users))}
    if item.databases != (Keyword.ALL,):
        table["databases"] = [_database(term) for term in item.databases]
    table["from"] = [_address(term) for term in item.addresses] or ["local"]
    if item.type != "local" and item.method != "reject":
        table["sslmode"] = _SSLMODES[item.type]
    table["auth"] = item.method
    if item.client_cert != "none" and item.method != "cert":
        table["client_cert"] = item.client_cert
    if item.priority:
        table["priority"] = item.priority
    if item.options:
        table["auth_options"] = {name: _option(name, value) for name, value in item.options}
    if mapped:
        table["map"] = list(mapped)
    if item.apart:
        table["waiver"] = _APART
    return table


def _origin(item: Entry) -> str:
    """Say where it comes from."""
    lines: dict[str, list[str]] = {}
    for line in item.lines:
        numbers = lines.setdefault(os.path.basename(line.file or ""), [])
        if str(line.number) not in numbers:
            numbers.append(str(line.number))
    return "; ".join(f"{file}, line {' '.join(numbers)}" for file, numbers in lines.items())


def _database(term: Database) -> str | dict[str, str]:
    if isinstance(term, Keyword):
        return term.value
    if isinstance(term, Regex):
        return f"/{term.pattern}"
    return as_item(term.text, DATABASES)


def _address(term: Address) -> str | dict[str, str]:
    if isinstance(term, Keyword):
        return term.value
    if isinstance(term, HostName):
        return as_item(term.name, ADDRESSES)
    address = str(term).removesuffix("/32" if "." in str(term) else "/128")
    return str(term) if first_of_network(address) else address


def _option(name: str, value: str) -> str | bool | dict[str, str]:
    if name in SECRET_OPTIONS:
        return {"env": f"PGTLS_{name.upper()}"}
    if any(o.name == name and o.kind == "flag" for method in METHODS.values() for o in method.options):
        return value == "1"
    return value


def secret_options(files: Files) -> dict[str, Any]:
    """Give the lines that hold a secret, by the option."""
    return {name: line for line in files.lines for name, _ in line.options if name in SECRET_OPTIONS}
