"""The pg_hba.conf and pg_ident.conf that an engine makes of compiled lines: composed, proved and explained.

An engine writes lines of its own around those of pgtls, and the first line that matches decides. What the whole file
admits must be what the policies grant, so it goes through the proof of :mod:`pgtls.access.proof`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgtls.access.proof import prove
from pgtls.access.question import of_spec
from pgtls.access.rules import ProofFailed
from pgtls.diagnostics import Diagnostic
from pgtls.exports.engines import CNPG_LAST, ENGINES
from pgtls.postgres.settings import folded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.access.model import Difference, Rules
    from pgtls.access.question import Answer, Question
    from pgtls.api import Spec
    from pgtls.exports.engines import Engine, Name
    from pgtls.fleet.model import Fleet, Server

_SCRAM_SINCE = 14
"""The first version in which CloudNativePG's last line asks for SCRAM instead of MD5."""


def hba_lines(rules: Rules, engine: Name) -> list[str]:
    """Return the lines of pg_hba.conf that an engine is given, comments included."""
    return [*_lines(rules.hba_text), *([CNPG_LAST] if engine == "cloudnativepg" else [])]


def ident_lines(rules: Rules) -> list[str]:
    """Return the lines of pg_ident.conf that an engine is given; none if there is no map."""
    return _lines(rules.ident_text) if rules.idents else []


def composed(rules: Rules, name: Name) -> Rules:
    """Return the rules of a server as an engine writes them: its own lines have no policy."""
    engine, version = ENGINES[name], rules.server.table.postgres
    method = "scram-sha-256" if version >= _SCRAM_SINCE else "md5"
    hba = _filled(engine.hba.replace("{method}", method), hba_lines(rules, name))
    ident = _filled(engine.ident, ident_lines(rules))
    whole = replace(rules, hba_text=hba, ident_text=ident)
    before = len(replace(rules, hba_text=engine.hba.partition("{lines}")[0]).hba.lines)
    after = len(whole.hba.lines) - before - len(rules.hba.lines)
    origin = ((),) * before + rules.origin + ((),) * after
    return replace(whole, lines=whole.hba.lines, idents=whole.ident.lines, origin=origin)


def differences(fleet: Fleet, rules: Rules, name: Name) -> Iterator[Diagnostic]:
    """Prove the file of an engine. Yield a diagnostic for each line of its own that the policies do not say.

    ``rules`` are those of pgtls. Raise :class:`ProofFailed` if one of their lines is the reason.
    """
    whole, engine = composed(rules, name), ENGINES[name]
    own = {ident.map for ident in replace(rules, ident_text=engine.ident.replace("{lines}", "")).ident.lines}
    if shared := sorted(own & {ident.map for ident in rules.idents}):
        yield from (_shared(engine, rules, one) for one in shared)
        return
    found: dict[str, Difference] = {}
    for difference in prove(fleet, whole):
        text = _text(whole, difference.line)
        if text not in engine.policies:
            raise ProofFailed(str(difference))
        found.setdefault(text, difference)
    for text, difference in found.items():
        yield _decides_otherwise(engine, text, difference)


def kept_settings(server: Server, name: Name, hint: str) -> Iterator[Diagnostic]:
    """Yield the settings of a server that an engine decides itself."""
    engine = ENGINES[name]
    for setting in server.table.settings:
        if folded(setting) in engine.kept:
            message = f'{engine.title} decides "{setting}" itself, and ignores or rejects this value'
            yield Diagnostic("PGT663", message, ("server", server.name, "settings", setting), hint)


def explain(spec: Spec, name: Name, question: Question, server: str | None) -> Answer:
    """Answer a question about one connection from the files as an engine writes them."""
    state = spec.usable()
    return of_spec(state.fleet, server, {one: composed(rules, name) for one, rules in state.rules.items()}, question)


def _decides_otherwise(engine: Engine, text: str, difference: Difference) -> Diagnostic:
    where = "the Unix socket" if difference.transport == "socket" else difference.address
    message = (
        f'{engine.title} writes "{text}" itself, which decides for role "{difference.role}", database '
        f'"{difference.database}", from {where}: {difference.text}; the policies say: {difference.policies}'
    )
    hint = f"say in the spec what the line says: {engine.policies[text]}"
    return Diagnostic("PGT661", message, ("server", difference.server), hint, at="table")


def _shared(engine: Engine, rules: Rules, name: str) -> Diagnostic:
    message = (
        f'policy or user "{name}" gives its name to a map, and {engine.title} has a map "{name}" of its own: '
        "their lines of pg_ident.conf would add up"
    )
    return Diagnostic("PGT661", message, ("server", rules.server.name), "rename it", at="table")


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def _filled(template: str, lines: list[str]) -> str:
    return template.replace("{lines}", "\n".join(lines) + "\n" * bool(lines and template.endswith("{lines}")))


def _text(rules: Rules, number: int | None) -> str:
    return rules.hba_text.split("\n")[number - 1] if number else ""
