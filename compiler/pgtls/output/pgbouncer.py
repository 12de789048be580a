"""Write what PgBouncer includes in its pgbouncer.ini, and the list of its users.

Both sides of a pooler are in it: TLS and rules for its clients, TLS and its certificate for its server. Every setting
that decides who gets in is stated, so that none left elsewhere survives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgtls.hba.model import Name
from pgtls.state import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgtls.fleet.model import Policy, Pooler


def texts(pooler: Pooler, policies: Sequence[Policy]) -> Iterator[tuple[str, str]]:
    """Yield name and content of each file. A pooler whose server is in doubt has none.

    No file has a section: the second ``[pgbouncer]`` of a configuration resets what the first one says.
    """
    if pooler.backend is not None:
        server = pooler.backend.table
        entries = ((name, f"host={server.hosts[0]} port={server.port}") for name in _databases(policies))
        yield layout.POOLER_DATABASES, _fragment(pooler, layout.POOLER_DATABASES, "under [databases]", entries)
    last = "as the last line of [pgbouncer]"
    yield layout.POOLER_CONF, _fragment(pooler, layout.POOLER_CONF, last, _settings(pooler, policies))
    if pooler.written.auth_file is None:
        yield layout.USER_LIST, _user_list(policies)


def _fragment(pooler: Pooler, name: str, where: str, settings: Iterable[tuple[str, str]]) -> str:
    lines = [
        f"; Written by pgtls from {pooler.entity}: do not edit, change the spec and build again.",
        f"; Include it in pgbouncer.ini, {where}:  %include {_place(pooler, name)}",
        *(f"{name} = {value}".rstrip() for name, value in settings),
    ]
    return "\n".join(lines) + "\n"


def _databases(policies: Sequence[Policy]) -> Sequence[str]:
    """Return the databases of the policies, in the quotes of an ini file, or the star that stands for any."""
    terms = [term for policy in policies if policy.table.auth != "reject" for term in policy.databases]
    names = [term.text for term in terms if isinstance(term, Name)]
    return [f"'{name}'" for name in sorted({*names})] if len(names) == len(terms) else ["*"]


def _settings(pooler: Pooler, policies: Sequence[Policy]) -> Iterator[tuple[str, str]]:
    # A pooler has policies of one method (PGT483), and those that reject.
    certified = any(policy.table.auth == "cert" for policy in policies)
    yield "auth_type", "hba"
    yield "auth_hba_file", _place(pooler, layout.HBA)
    yield "auth_ident_file", _place(pooler, layout.IDENT)
    yield "auth_file", pooler.written.auth_file or _place(pooler, layout.USER_LIST)
    # verify-full rejects clients without a certificate in the handshake; require asks for none.
    yield "client_tls_sslmode", "verify-full" if certified else "require"
    yield "client_tls_cert_file", _place(pooler, layout.SERVER_CERTIFICATE)
    yield "client_tls_key_file", _place(pooler, layout.SERVER_KEY)
    yield "client_tls_ca_file", _place(pooler, layout.SERVER_TRUST) if certified else ""
    yield "client_tls_protocols", "secure"
    yield "client_tls_ciphers", "secure"
    yield "server_tls_sslmode", "verify-full"
    yield "server_tls_ca_file", _place(pooler, f"{layout.LOGIN}/{layout.CLIENT_TRUST}")
    yield "server_tls_cert_file", _place(pooler, f"{layout.LOGIN}/{layout.CLIENT_CERTIFICATE}")
    yield "server_tls_key_file", _place(pooler, f"{layout.LOGIN}/{layout.CLIENT_KEY}")
    yield "server_tls_protocols", "secure"
    yield "server_tls_ciphers", "secure"


def _user_list(policies: Sequence[Policy]) -> str:
    """Return the roles that log in by certificate: PgBouncer rejects those that its auth_file does not list."""
    roles = {term.text for policy in policies for term in policy.roles if isinstance(term, Name)}
    return "".join(f'{_quoted(role)} ""\n' for role in sorted(roles))


def _place(pooler: Pooler, file: str) -> str:
    return f"{pooler.written.directory.rstrip('/')}/{file}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
