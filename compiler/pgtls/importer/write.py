"""Entries and settings as the tables of a spec."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgtls.fleet.lookalikes import ADDRESSES, DATABASES, as_item, first_of_network
from pgtls.hba.model import HostName, Keyword, Regex
from pgtls.importer.entries import entries, merged, prioritised, raised
from pgtls.importer.people import People, maps_of, narrowed, reached, separated, table_name
from pgtls.postgres.methods import METHODS, is_secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgtls.hba.model import Address, Database, Line
    from pgtls.importer.comments import Key
    from pgtls.importer.compare import Files
    from pgtls.importer.entries import Entry, Report
    from pgtls.importer.people import Maps

Tables = dict[str, Any]
_APART = {"reason": "separates two policies that accept different identities", "codes": ["PGT256"]}
_LONGEST_COMMENT = 500
"""Characters of the comments in a description."""
_SSLMODES = {"host": "prefer", "hostssl": "require"}


@dataclass(frozen=True, slots=True)
class Access:
    """The tables of users and policies, by name.

    ``origin`` has the first line of each policy, ``secrets`` that of each environment variable for a secret.
    """

    users: Tables
    policies: Tables
    origin: dict[str, Line]
    secrets: dict[str, Line]


def access_tables(files: Files, version: int, report: Report, comments: Mapping[Key, str]) -> Access:
    """Write the lines as tables; ``report`` takes what they cannot express. ``comments`` are those of lines."""
    maps = maps_of(files.idents)
    people, variables = People(maps, version), Variables()
    policies: Tables = {}
    origin: dict[str, Line] = {}
    for item in prioritised(_arranged(files, maps, report)):
        users, mapped = people.subjects(item)
        name = table_name(_title(item, users), policies)
        described = {"description": _described(item, comments)}
        policies[name], origin[name] = described | _policy(item, users, mapped, variables), item.lines[0]
    tables = {name: user.table() for name, user in sorted(people.users.items())}
    return Access(without_strangers(tables, policies), policies, origin, variables.lines)


def _arranged(files: Files, maps: Maps, report: Report) -> list[Entry]:
    items = raised(merged(entries(files.lines, report)), report)
    return separated(reached(narrowed(items, maps)), maps)


class Variables:
    """The environment variables that secrets are to come from: one for each value."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        """The first line of each variable."""
        self._names: dict[tuple[str, str], str] = {}

    def name(self, option: str, value: str, line: Line) -> str:
        """Return the variable of an option's value."""
        key = (option, value)
        if key not in self._names:
            base = "PGTLS_" + re.sub(r"\W", "_", option.upper())
            count = sum(known == option for known, _ in self._names)
            self._names[key] = f"{base}_{count + 1}" if count else base
            self.lines[self._names[key]] = line
        return self._names[key]


def without_strangers(users: Tables, policies: Tables) -> Tables:
    """Leave out users that no policy names."""
    named = {user for policy in policies.values() for user in policy["users"]}
    return {name: table for name, table in users.items() if name in named}


def _title(item: Entry, users: Sequence[str]) -> str:
    who = users[0].strip("+") if len(users) == 1 else f"{users[0].strip('+')}-and-others"
    where = "local" if item.type == "local" else "tls" if item.type == "hostssl" else "any"
    return f"{who}-{item.method}" if item.method == "reject" else f"{who}-{where}-{item.method}"


def _policy(item: Entry, users: Sequence[str], mapped: Sequence[dict[str, str]], variables: Variables) -> Tables:
    table: Tables = {"users": list(dict.fromkeys(users))}
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
        table["auth_options"] = {
            name: {"env": variables.name(name, value, item.lines[0])}
            if is_secret(name, value)
            else _option(name, value)
            for name, value in item.options
        }
    if mapped:
        table["map"] = list(mapped)
    if item.apart:
        table["waiver"] = _APART
    return table


def _described(item: Entry, comments: Mapping[Key, str]) -> str:
    """Return the comments of the lines that an entry comes from, and which these are."""
    found = () if item.apart else (comments.get((line.file, line.number), "") for line in item.lines)
    text = "; ".join(dict.fromkeys(one for one in found if one and one.isprintable()))
    return f"{text} ({_origin(item)})" if 0 < len(text) <= _LONGEST_COMMENT else _origin(item)


def _origin(item: Entry) -> str:
    """Return the lines that an entry comes from."""
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


def _option(name: str, value: str) -> str | bool | int:
    kind = next((o.kind for method in METHODS.values() for o in method.options if o.name == name), "text")
    if kind == "flag":
        return value == "1"
    return int(value) if kind == "port" and len(value) <= 5 and value.isdecimal() else value
