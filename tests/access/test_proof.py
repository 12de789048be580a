"""The proof agrees with the compiler, for any policies whatsoever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import event, given
from hypothesis import strategies as st

from access.fleets import fleet_of, shuffled, specs
from pgtls.access.compile import compile_rules
from pgtls.access.proof import prove
from pgtls.cli import run

if TYPE_CHECKING:
    from pathlib import Path

    from pgtls.access.model import Rules


def _rules(tables: dict[str, Any]) -> tuple[Rules | None, list[str]]:
    fleet = fleet_of(tables)
    rules, diagnostics = compile_rules(fleet, fleet.servers["primary"])
    differences = prove(fleet, rules) if rules else ()
    assert not differences, "\n".join([*map(str, differences), rules.hba_text, rules.ident_text])  # type: ignore[union-attr]
    return rules, [f"{found.code} {found.message}" for found in diagnostics]


@given(specs())
def test_what_is_compiled_means_what_the_policies_say(tables: dict[str, Any]) -> None:
    rules, found = _rules(tables)
    event("compiled" if rules else found[0].split()[0])


@given(specs(), st.data())
def test_the_order_of_tables_changes_no_byte(tables: dict[str, Any], data: st.DataObject) -> None:
    rules, found = _rules(tables)
    again, found_again = _rules(shuffled(tables, data.draw))
    assert found == found_again
    assert (rules and (rules.hba_text, rules.ident_text)) == (again and (again.hba_text, again.ident_text))


def test_a_map_that_accepts_whoever_has_the_name_of_the_role_is_understood(tmp_path: Path) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(
        'version = 1\n[ca.root]\n[server.main]\nca = "root"\nclient_ca = ["root"]\nhosts = ["db"]\nno_local = true\n'
        '[user.app]\nca = "root"\n[policy.app]\nusers = ["app"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
        'map = [{ identity = "/^(.*)$", role = "\\\\1" }]\n'
    )
    assert run(["check", str(spec)]) == 0
