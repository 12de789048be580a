"""Names that look like something else: a keyword in capitals, a network without ``@``, several names in one string.

PostgreSQL would take each of them for a host, a role or a database of that name, and say nothing.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from ipaddress import AddressValueError, IPv4Address, IPv4Network, ip_address, summarize_address_range
from typing import TYPE_CHECKING, NamedTuple

from pgtls.language.words import quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_EVERY = frozenset({"any", "*", "%"})
"""Words of other programs for "all"."""

_EVERYBODY = frozenset({"everyone", "everybody", "anyone", "anybody", "public"})
"""Words for all roles."""

_SAME = {"samegroup": "samerole", "unix": "local", "socket": "local", "[local]": "local"}
"""Other words of PostgreSQL and its clients for a keyword."""

_SIGILS = {"@": "a group", "+": "the members of a role", "/": "a regular expression"}
_LONGEST = 10_000
"""Characters of an item that is looked at: work on longer ones would grow too fast."""

_SEPARATED = re.compile(r"\s*[,;]\s*")
_V4 = r"\d{1,3}(?:\.\d{1,3}){3}"
_RANGE = re.compile(
    rf"({_V4}|[0-9a-fA-F:]*:[0-9a-fA-F:]*)\s*(?:-|\u2013|\.\.+|\bto\b)\s*({_V4}|\d{{1,3}}|[0-9a-fA-F:]+)"
)
_MASK = re.compile(rf"({_V4})\s+(255(?:\.\d{{1,3}}){{3}})")
_WILDCARD = re.compile(r"(?P<known>(?:\d{1,3}\.){1,3})(?:[*%xX]\.?)+")


class Names(NamedTuple):
    """The names that one list may hold.

    ``keywords`` have a meaning there. ``every`` is the text for everything, if it is not the keyword "all". ``known``
    are names that the list may hold, ``marked`` those that need a mark in front ("@office"), by their kind. ``sigils``
    are first characters with a meaning. ``verbatim`` says that ``{ name = "..." }`` is possible, ``reference`` that
    the names are those of tables.
    """

    noun: str
    keywords: Collection[str] = ()
    every: str = ""
    known: Collection[str] = ()
    marked: Mapping[str, Collection[str]] = {}
    sigils: str = ""
    verbatim: bool = False
    reference: bool = False


_ONE_BY_ONE = "write the role names one by one"
ROLES = Names("role", every=_ONE_BY_ONE, verbatim=True)
GROUP_ROLES = Names("group role", every=_ONE_BY_ONE, verbatim=True)
OS_USERS = Names("user", every="write the names one by one", verbatim=True)
MAP_ROLES = Names("role", ("all",), sigils="+/")
IDENTITIES = Names("identity", every='write "/^(.*)$" for every identity', sigils="@+/")
DATABASES = Names("database", ("all", "sameuser", "samerole", "replication"), sigils="/", verbatim=True)
SERVER_DATABASES = Names("database", every="leave `databases` out", verbatim=True)
USERS = Names("user", ("all",), sigils="@+")
GROUP_USERS = Names("user", every="write the user names one by one")
SERVERS = Names("server", ("all",))
ADDRESSES = Names("host", ("all", "local", "samehost", "samenet"), sigils="@")
HOSTS = Names("host", every="write the names and addresses that clients dial")


class Lookalike(NamedTuple):
    """A message that says what a name looks like, and a hint that says what to write."""

    message: str
    hint: str


def lookalike(text: str, names: Names) -> Lookalike | None:
    """Return what an item looks like that is not written as the list wants it; None for a plain name."""
    if text in names.keywords or (names.reference and text in names.known) or len(text) > _LONGEST:
        return None
    found = _looks_like(text, names)
    if not found:
        return None
    what, hint = found
    if names.verbatim:
        hint += f"; for a {names.noun} of that name, write {{ name = {quoted(text)} }}"
    message = f"{quoted(text)} looks like {what}" if text != "all" else '"all" is not a keyword here'
    return Lookalike(message, hint)


def as_item(text: str, names: Names) -> str | dict[str, str]:
    """Write a name as an item of a list: ``{ name = "..." }`` if it is a keyword or looks like something else."""
    taken = text in names.keywords or text[:1] in names.sigils
    several = names._replace(known=text.split())
    return {"name": text} if taken or addresses(text) or lookalike(text, several) else text


def _looks_like(text: str, names: Names) -> tuple[str, str] | None:
    return (
        _keyword(text, names)
        or _marked(text, names)
        or _several(text, names)
        or _sigil(text, names)
        or _entity(text, names)
        or _wrapped(text, names)
    )


def _keyword(text: str, names: Names) -> tuple[str, str] | None:
    word = text.strip().lower()
    people = _EVERYBODY if names.noun in ("role", "user") else frozenset()
    if word in _EVERY | people or (word == "all" and "all" not in names.keywords):
        return 'the keyword "all"', names.every or 'write "all"'
    meant = _SAME.get(word, word)
    if meant in names.keywords:
        return f"the keyword {quoted(meant)}", f"write {quoted(meant)}"
    likely = [k for k in names.keywords if len(k) > 3 and k[0] == word[:1] and abs(len(k) - len(word)) < 3]
    if likely and (close := get_close_matches(word, likely, 1, 0.8)):
        return f"the keyword {quoted(close[0])}", f"write {quoted(close[0])}"
    return None


def _marked(text: str, names: Names) -> tuple[str, str] | None:
    for kind, known in names.marked.items():
        for name in (text, text.strip().lower(), text.removeprefix(f"{kind}.")):
            if name in known:
                return f"the {kind} {quoted(name)}", f"write {quoted('@' + name)}"
    return None


def _several(text: str, names: Names) -> tuple[str, str] | None:
    parts = [part for part in _SEPARATED.split(text.strip()) if part]
    words = text.split()
    if len(parts) < 2 and (names.reference or all(_is_one(word, names) for word in words)):
        parts = words
    if len(parts) < 2 and not (parts and _SEPARATED.search(text)):
        return None
    each = ", ".join(map(quoted, parts[:4])) + (", …" if len(parts) > 4 else "")
    return "several names", f"write each name as its own string: {each}"


def _is_one(word: str, names: Names) -> bool:
    """Tell whether a word alone would be a name of the list."""
    if word in names.known or word in names.keywords:
        return True
    return names.noun == "host" and ("." in word or ":" in word)


def _sigil(text: str, names: Names) -> tuple[str, str] | None:
    if names.noun == "ca" and re.search(r"[/\\]|\.(crt|cer|pem)$", text):
        return "a file", f"define [ca.NAME] with cert_file = {quoted(text)}, and write its NAME here"
    if text[:1] not in _SIGILS or text[0] in names.sigils or len(text) < 2:
        return None
    hint = f"write {quoted(text[1:])}" if names.noun == "group role" else f"write the {names.noun} names one by one"
    return _SIGILS[text[0]], hint


def _entity(text: str, names: Names) -> tuple[str, str] | None:
    kind, dot, name = text.partition(".")
    if names.reference and dot and name in names.known and kind in ("ca", "server", "user", "group"):
        return f"the {kind} {quoted(name)}", f"write {quoted(name)}"
    return None


def _wrapped(text: str, names: Names) -> tuple[str, str] | None:
    if len(text) > 2 and text[0] == text[-1] and text[0] in "'\"`":
        return "a name in quotes", f"write {quoted(text[1:-1])}"
    if names.noun == "database" and text[:1] not in "/" and re.search("[*%]", text):
        prefix = re.split("[*%]", text, maxsplit=1)[0]
        expression = f"write a regular expression, {quoted('/^' + prefix)} (PostgreSQL 16)"
        return "a pattern", expression if "/" in names.sigils else "write the database names one by one"
    return None


def addresses(text: str) -> Lookalike | None:
    """Return what a text looks like that means many addresses in a form that pg_hba.conf does not have."""
    if len(text) > 100:
        return None
    if match := _RANGE.fullmatch(text.strip()):
        blocks = _blocks(match[1], match[2])
        hint = f"write blocks: {', '.join(map(quoted, blocks))}" if blocks else 'write blocks, e.g. "10.0.0.0/28"'
        return Lookalike(f"{quoted(text)} looks like a range of addresses", hint)
    if match := _WILDCARD.fullmatch(text.strip()):
        octets = match["known"].rstrip(".").split(".")
        block = f"{'.'.join((*octets, '0', '0', '0')[:4])}/{8 * len(octets)}"
        return Lookalike(f"{quoted(text)} looks like a range of addresses", f"write {quoted(block)}")
    if match := _MASK.fullmatch(text.strip()):
        try:
            block = str(IPv4Network(f"{match[1]}/{match[2]}", strict=False))
        except ValueError:
            return None
        return Lookalike(f"{quoted(text)} looks like an address with a mask", f"write {quoted(block)}")
    return None


def host_pattern(text: str) -> Lookalike | None:
    """Return what to write for ``*.example.com`` in ``from``."""
    if text.startswith(("*.", "%.")) and len(text) > 2:
        return Lookalike(f"{quoted(text)} looks like a pattern of host names", f"write {quoted(text[1:])}")
    return None


def _blocks(first: str, last: str) -> list[str]:
    """Return the blocks that cover a range; none where it is no range or too many are needed."""
    if last.isdecimal() and "." in first:
        last = f"{first.rpartition('.')[0]}.{last}"
    try:
        start, end = ip_address(first), ip_address(last)
        blocks = list(summarize_address_range(start, end))
    except (ValueError, TypeError, AddressValueError):
        return []
    return [str(block).removesuffix("/32").removesuffix("/128") for block in blocks] if len(blocks) <= 8 else []


def first_of_network(text: str) -> str | None:
    """Return the block that an address alone was probably meant to be: ``10.0.0.0`` is the first of ``10.0.0.0/8``."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        zeros = 4 - len(text.split(".")) + sum(1 for _ in re.finditer(r"\.0(?=(\.0)*$)", f".{text}"))
        return f"{address}/{32 - 8 * zeros}" if zeros else None
    groups = -(-len(address.packed.rstrip(b"\0")) // 2)
    return f"{address}/{16 * groups}" if groups <= 4 else None
