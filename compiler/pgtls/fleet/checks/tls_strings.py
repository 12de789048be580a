"""The strings that a server hands to its OpenSSL at its start: cipher lists, suites of TLS 1.3, groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.fleet.fields import finder, header
from pgtls.postgres import ciphers, groups
from pgtls.postgres.openssl import Refused, Version, shown, version
from pgtls.postgres.settings import LIST_SETTINGS_SINCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgtls.diagnostics import Diagnostic
    from pgtls.fleet.fields import Finder
    from pgtls.fleet.model import Fleet, Server
    from pgtls.language.models import ServerTable

_CURVES = {"ecdsa-p256": "prime256v1", "ecdsa-p384": "secp384r1"}
"""The curves that keys of the spec have."""


def of_later_versions(table: ServerTable) -> Iterator[str]:
    """Yield the fields whose values a later version of PostgreSQL or OpenSSL takes, and this server's does not."""
    for field, judge in (("groups", groups.groups), ("tls13_ciphers", ciphers.tls13_suites)):
        text = getattr(table, field)
        if text is None or not _takes(judge, text, _NEWEST):
            continue
        if table.postgres >= LIST_SETTINGS_SINCE:
            has = _takes(judge, text, version(table.openssl))
        else:
            has = field == "groups" and text in groups.CURVES
        if not has:
            yield field


_NEWEST: Version = (99, 0)


def _takes(judge: Callable[[str, Version], object], text: str, openssl: Version) -> bool:
    try:
        judge(text, openssl)
    except Refused:
        return False
    return True


def lists_of_version(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find suites of TLS 1.3, and more than one group, before PostgreSQL 18."""
    for server in fleet.servers.values():
        table, found = server.table, finder(fleet, server)
        if table.postgres >= LIST_SETTINGS_SINCE:
            continue
        has = f'came with PostgreSQL {LIST_SETTINGS_SINCE}, server "{server.name}" has {table.postgres}'
        if table.tls13_ciphers is not None and found.says("tls13_ciphers"):
            yield found.fault("PGT403", f"tls13_ciphers {has}", "tls13_ciphers", hint="leave it out")
        if table.groups is not None and ":" in table.groups and found.says("groups"):
            yield found.fault("PGT403", f"more than one group {has}", "groups", hint=_one_group(table.groups))


def _one_group(text: str) -> str:
    """Say which group of a list an older version takes."""
    curve = next((name for name in text.split(":") if name in groups.CURVES), groups.CURVES[0])
    return f'groups = "{curve}"'


def group_lists(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find groups that the server's version, or its OpenSSL, does not know."""
    for server in fleet.servers.values():
        refused = groups_refusal(server)
        if refused:
            yield _refusal(finder(fleet, server), server, "PGT414", "groups", refused)


def groups_refusal(server: Server) -> Refused | None:
    """Return why a server would refuse its groups; several before PostgreSQL 18 are a finding of their own."""
    table = server.table
    if table.groups is None or (table.postgres < LIST_SETTINGS_SINCE and ":" in table.groups):
        return None
    try:
        if table.postgres < LIST_SETTINGS_SINCE:
            groups.curve(table.groups)
        else:
            groups.groups(table.groups, version(table.openssl))
    except Refused as refused:
        return refused
    return None


def cipher_lists(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find cipher lists that OpenSSL refuses, and words in them that it passes over."""
    for server in fleet.servers.values():
        refused = _ciphers_refusal(server)
        if refused:
            yield _refusal(finder(fleet, server), server, "PGT415", "ciphers", refused)


def _ciphers_refusal(server: Server) -> Refused | None:
    openssl = version(server.table.openssl)
    try:
        return ciphers.misread(ciphers.cipher_list(server.table.ciphers or "DEFAULT", openssl), openssl)
    except Refused as refused:
        return refused


def suites_of_tls13(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find suites of TLS 1.3 that OpenSSL does not know."""
    for server in fleet.servers.values():
        table = server.table
        if table.tls13_ciphers is None or table.postgres < LIST_SETTINGS_SINCE:
            continue
        try:
            ciphers.tls13_suites(table.tls13_ciphers, version(table.openssl))
        except Refused as refused:
            yield _refusal(finder(fleet, server), server, "PGT416", "tls13_ciphers", refused)


def _refusal(found: Finder, server: Server, code: str, field: str, refused: Refused) -> Diagnostic:
    """Make the diagnostic.

    Where a later OpenSSL has what is asked for, the hint says how to tell that the server has it.
    """
    hint = refused.hint
    if refused.since:
        hint = f'if the server has it, say openssl = "{shown(refused.since)}" in {header("server", server.name)}'
    return found.fault(code, str(refused), field, hint=hint)


def suites_for_the_key(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find cipher lists without a suite for the server's own key: no client connects by TLS 1.2."""
    for server in fleet.servers.values():
        table = server.table
        if table.ciphers is None or table.min_tls == "1.3" or _has_other_key(server) or _ciphers_refusal(server):
            continue
        proof = "aRSA" if table.key_algorithm.startswith("rsa") else "aECDSA"
        chosen = ciphers.cipher_list(table.ciphers, version(table.openssl)).suites
        if not any(proof in ciphers.suites()[suite] for suite in chosen):
            message = (
                f'"{table.ciphers}" has no suite for the {table.key_algorithm} key of server "{server.name}": '
                "every handshake by TLS 1.2 fails"
            )
            hint = f'add {"ECDHE+aRSA" if proof == "aRSA" else "ECDHE+aECDSA"}, or say min_tls = "1.3"'
            yield finder(fleet, server).fault("PGT417", message, "ciphers", hint=hint, severity="warning")


def curve_of_the_key(fleet: Fleet) -> Iterator[Diagnostic]:
    """Find lists of groups without the curve of the server's own key.

    With TLS 1.2 that curve has to be among the groups that the client allows (RFC 8422, 2.1), and clients are often
    limited to the list of the server. The server itself does not ask for it (t1_lib.c, ``tls1_check_cert_param``), and
    TLS 1.3 tells the two apart (RFC 8446, 4.2.7).
    """
    for server in fleet.servers.values():
        table = server.table
        curve = _CURVES.get(table.key_algorithm) if table.groups and table.min_tls != "1.3" else None
        if curve is None or _has_other_key(server) or curve in _groups(server):
            continue
        message = (
            f'"{table.groups}" lacks {curve}, the curve of the server\'s own key: a client that is limited to the same '
            "list cannot connect by TLS 1.2"
        )
        yield finder(fleet, server).fault("PGT411", message, "groups", hint=_way_out(server, curve), severity="warning")


def _groups(server: Server) -> list[str]:
    """Return the groups of a server; what it refuses is a finding of its own, and counts as complete here."""
    table = server.table
    try:
        if table.postgres < LIST_SETTINGS_SINCE:
            return [groups.curve(table.groups or "")]
        return groups.groups(table.groups or "", version(table.openssl))
    except Refused:
        return list(_CURVES.values())


def _has_other_key(server: Server) -> bool:
    """Tell whether the key is not made as ``key_algorithm`` says."""
    table = server.table
    return bool(table.csr_file or (table.cert_file and not table.external))


def _way_out(server: Server, curve: str) -> str:
    key = next((algorithm for algorithm, own in _CURVES.items() if own in _groups(server)), "rsa-3072")
    more = f"add {curve} to groups, " if server.table.postgres >= LIST_SETTINGS_SINCE else ""
    return f'key_algorithm = "{key}", {more}or say min_tls = "1.3"'


PRESENT = (lists_of_version, group_lists, cipher_lists, suites_of_tls13, suites_for_the_key, curve_of_the_key)
