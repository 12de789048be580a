"""The settings of postgresql.conf that an import reads: what each becomes in a spec, and what a spec cannot take over.

A setting that no file states has its default, and counts like one that states it.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from math import isinf
from typing import TYPE_CHECKING, Any, NamedTuple

from pgtls.diagnostics import Diagnostic, Rejected
from pgtls.hba.secrets import blotted
from pgtls.importer.conf import read_conf
from pgtls.postgres.settings import LIST_SETTINGS_SINCE, settings, ssl_settings
from pgtls.postgres.values import amount, truth

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from pgtls.diagnostics import Severity
    from pgtls.importer.conf import Setting

_MIN_TLS = {"tlsv1": "1.0", "tlsv1.1": "1.1", "tlsv1.2": "1.2", "tlsv1.3": "1.3"}
_KEPT = ("authentication_timeout", "listen_addresses", "log_connections", "log_disconnections", "password_encryption")
"""Settings of connections, which the spec takes over.

All others stay in the server's own file, which includes the compiled one.
"""
_WEAK = {"password_encryption": "md5"}
"""Defaults of old versions that the checks of a spec report: the spec states them."""


class Taken(NamedTuple):
    """How a spec takes a setting over: in a field of the server, or by a file, which ``option`` can name, too."""

    field: str = ""
    option: str = ""
    required: bool = False
    """Whether the server would trust others without the file."""


TLS = {
    "ssl_cert_file": Taken(option="--cert"),
    "ssl_key_file": Taken(option="--key"),
    "ssl_ca_file": Taken(option="--ca-file", required=True),
    "ssl_crl_file": Taken(option="--crl-file", required=True),
    "ssl_crl_dir": Taken(option="--crl-file", required=True),
    "ssl_passphrase_command": Taken("passphrase_command"),
    "ssl_min_protocol_version": Taken("min_tls"),
    "ssl_ciphers": Taken("ciphers"),
    "ssl_tls13_ciphers": Taken("tls13_ciphers"),
    "ssl_ecdh_curve": Taken("groups"),
    "ssl_groups": Taken("groups"),
}
"""The settings of TLS that a spec takes over. For each other one, pgtls always writes the same."""


_ALTERED = "postgresql.auto.conf"


@dataclass(frozen=True, slots=True)
class Conf:
    """The settings of a server, by name. ``directory`` is its data directory, None where no file says anything."""

    version: int
    settings: Mapping[str, Setting] = field(default_factory=dict)
    directory: str | None = None
    altered: bool = False
    """Whether what ALTER SYSTEM has set is among them."""

    def value(self, name: str) -> str:
        """Return the value of a setting, "" for none. If there is a postgresql.conf, settings have defaults."""
        if name in self.settings:
            return self.settings[name].value
        return defaults(self.version).get(name, "") if self.directory is not None else ""

    def shown(self, name: str) -> str:
        """Return the value of a setting, as a message may show it."""
        return self.settings[name].shown if name in self.settings else self.value(name)

    def file(self, name: str) -> str | None:
        """Return the file that a setting names, if this machine has it: a relative one lies in the data directory."""
        value = self.value(name)
        path = os.path.join(self.directory or "", value)
        return path if value and os.path.isfile(path) and os.access(path, os.R_OK) else None

    def about(self, name: str, code: str, message: str, hint: str | None, severity: Severity = "warning") -> Diagnostic:
        """Report something about a setting, at its line if it has one."""
        place = self.settings[name].place if name in self.settings else None
        return Diagnostic(code, message, hint=hint, severity=severity, place=place, file=place.file if place else None)


def defaults(version: int) -> dict[str, str]:
    """Return PostgreSQL's defaults of the settings that an import reads, as far as each build has the same."""
    return ssl_settings(version) | {
        "authentication_timeout": "60",
        "hba_file": "pg_hba.conf",
        "ident_file": "pg_ident.conf",
        "listen_addresses": "localhost",
        "log_connections": "off" if version < 18 else "",
        "log_disconnections": "off",
        "password_encryption": "md5" if version < 14 else "scram-sha-256",
        "port": "5432",
    }


def read_settings(file: str, version: int) -> Conf:
    """Read postgresql.conf, and what ALTER SYSTEM has set. Raises OSError, and Rejected with PGT295."""
    conf, faults = read_conf(file)
    directory = conf["data_directory"].value if "data_directory" in conf else os.path.dirname(file)
    places = (os.path.join(place, _ALTERED) for place in dict.fromkeys((directory, os.path.dirname(file))))
    altered = next((place for place in places if os.path.isfile(place) and os.access(place, os.R_OK)), None)
    if altered:
        later, more = read_conf(altered)
        conf, faults = {name: conf[name] for name in conf if name not in later} | later, (*faults, *more)
    if faults:
        raise Rejected(*faults)
    named = {_name(name, version): setting for name, setting in conf.items()}
    return Conf(version, named, directory, altered is not None)


def _name(name: str, version: int) -> str:
    """Return the name that a version has for a setting (guc.c, ``map_old_guc_names``)."""
    return "ssl_groups" if name == "ssl_ecdh_curve" and version >= LIST_SETTINGS_SINCE else name


# --- what a spec takes over ---


def server_fields(conf: Conf) -> dict[str, Any]:
    """Return the fields of the server that settings become."""
    table: dict[str, Any] = {}
    if "port" in conf.settings and (port := _port(conf)) is not None:
        table["port"] = port
    if sockets := conf.value("unix_socket_directories"):
        table["socket_directory"] = sockets.split(",")[0].strip()
    if directory := next(filter(None, (_directory(conf, name) for name in ("hba_file", "ident_file"))), None):
        table["directory"] = directory
    for name, default in ssl_settings(conf.version).items():
        if name in TLS and TLS[name].field and conf.value(name) != default and (value := _field_value(conf, name)):
            table[TLS[name].field] = value
    kept = {name: conf.value(name) for name in _KEPT if name in conf.settings or conf.value(name) == _WEAK.get(name)}
    return table | ({"settings": kept} if kept else {})


def _field_value(conf: Conf, name: str) -> str | None:
    """Return a setting as its field has it, None for one that the spec does not take over."""
    value = conf.value(name)
    if _holds_secret(name, value):
        return None
    return _MIN_TLS.get(value.lower()) if name == "ssl_min_protocol_version" else value


def _port(conf: Conf) -> int | None:
    port = amount(settings(conf.version)["port"], conf.value("port"))
    return None if port is None or isinf(port) else int(port)


def _is_moved(conf: Conf, name: str) -> bool:
    """Return whether a file has neither its default name nor its default place."""
    return conf.value(name) not in ("", defaults(conf.version)[name])


def _directory(conf: Conf, name: str) -> str | None:
    """Return the directory of a file that the server does not look for in its data directory, if it is known."""
    if not _is_moved(conf, name):
        return None
    path = os.path.join(conf.value("data_directory"), conf.value(name))
    return os.path.dirname(path) if os.path.isabs(path) else None


def _holds_secret(name: str, value: str) -> bool:
    """Return whether a setting is a command that prints what stands in it, or gets a secret as an argument."""
    return name == "ssl_passphrase_command" and bool(_PRINTS.search(value) or blotted(value) != value)


_PRINTS = re.compile(r"(?<![\w.-])(echo|printf|print|puts)(?![\w.-])")
"""A command that prints its arguments, also within those of a shell or another language."""


# --- what it does not take over ---


def unreadable(conf: Conf, given: Collection[str]) -> Iterator[Diagnostic]:
    """Yield an error for each setting whose files the server needs and a spec cannot name.

    ``given`` are the options that name files.
    """
    for name, taken in TLS.items():
        value = conf.value(name)
        if not (taken.required and value) or taken.option in given:
            continue
        if name == "ssl_crl_dir":
            message = f'{name} = "{conf.shown(name)}" cannot be imported: a spec takes CRLs from one file'
            yield conf.about(name, "PGT295", message, _one_list(conf), "error")
        elif conf.file(name) is None:
            message = f'{name} = "{conf.shown(name)}" cannot be read on this machine'
            yield conf.about(name, "PGT295", message, f"name a copy of it with {taken.option}", "error")


def _one_list(conf: Conf) -> str:
    """Return how to make one file of the CRLs of a server."""
    patterns = {"ssl_crl_dir": "/*.r*", "ssl_crl_file": ""}
    paths = {name: shlex.quote(os.path.join(conf.directory or "", conf.shown(name))) for name in patterns}
    lists = " ".join(f"{paths[name]}{pattern}" for name, pattern in patterns.items() if conf.value(name))
    return f"put them into one file (cat {lists} > all.crl), and name that with --crl-file all.crl"


def left_out(conf: Conf) -> Iterator[Diagnostic]:
    """Yield a warning for each setting that a spec does not have, or has otherwise."""
    for name in (*ssl_settings(conf.version), *(one for one in conf.settings if one not in ssl_settings(conf.version))):
        if name in conf.settings and (found := _missed(conf, name)):
            yield conf.about(name, "PGT296", f"{name}{found[0]}", found[1])
    if conf.directory is not None and not conf.altered:
        where = os.path.join(conf.directory, _ALTERED)
        message = f'"{where}" cannot be read on this machine: what ALTER SYSTEM has set is not known'
        hint = "import as an account that can read it, or copy it next to postgresql.conf"
        yield Diagnostic("PGT299", message, hint=hint, severity="warning")


def _missed(conf: Conf, name: str) -> tuple[str, str] | None:
    """Return what to say about a setting after its name, and a hint, if the spec does not take it over."""
    value, of_version = conf.value(name), ssl_settings(conf.version)
    shown, taken = f' = "{conf.shown(name)}" is left out', TLS.get(name)
    if name in ("hba_file", "ident_file") and _is_moved(conf, name) and not _directory(conf, name):
        why = "the server looks for it in a data directory that is not known here"
        return f"{shown}: {why}", "set directory in the spec to the directory of the file on the server"
    if name == "port" and _port(conf) is None:
        return f"{shown}: it is no port number", "set port in the spec"
    if name.startswith("ssl") and name not in of_version:
        return f"{shown}: PostgreSQL {conf.version} does not have it", "name the version of the server with --postgres"
    if _holds_secret(name, value):
        hint = "set passphrase_command in the spec to one that reads a file on the server"
        return " is left out: it may hold the passphrase itself", hint
    if taken and taken.field and value and not _field_value(conf, name):
        return f"{shown}: PostgreSQL does not know this value", "set it in the spec"
    if name in of_version and not taken and not _same(value, _written(conf, name)) and name != "ssl":
        return f'{shown}: pgtls writes "{_written(conf, name)}"', "check whether the server still needs it"
    return None


def _same(value: str, other: str) -> bool:
    return value == other or (truth(value) is not None and truth(value) is truth(other))


def _written(conf: Conf, name: str) -> str:
    """Return what pgtls writes for a setting that no field decides."""
    if name == "ssl_passphrase_command_supports_reload" and conf.value("ssl_passphrase_command"):
        return "on"
    return ssl_settings(conf.version)[name]
