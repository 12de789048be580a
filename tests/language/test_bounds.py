"""Specs that would take minutes or gigabytes end in a finding, and work grows with the size of a file alone."""

from __future__ import annotations

import json
import os
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgtls.diagnostics.text import as_json, render
from pgtls.language.positions import MOST
from pgtls.language.values import MOST_ITEMS
from support.diagnosing import diagnose
from support.pgtls import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from pgtls.diagnostics import Diagnostic

BASE = """\
version = 1
[ca.root]
[server.main]
ca = "root"
hosts = ["db"]
[user.postgres]
[policy.admin]
users = ["postgres"]
from = ["local"]
auth = "peer"
"""


def found(tmp_path: Path, text: str) -> tuple[Diagnostic, ...]:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(text)
    return diagnose(spec)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        pytest.param("[group.g]\nusers = [{}]\n", "PGT101", id="unknown users"),
        pytest.param('[user.u]\nroles = ["r", {}]\n', "PGT014", id="control characters"),
        pytest.param("[lint]\nignore = [{}]\n", "PGT119", id="codes"),
    ],
)
def test_of_very_many_findings_a_thousand_are_shown(tmp_path: Path, more: str, code: str) -> None:
    item = '"a\\u0001{}"' if code == "PGT014" else '"x{}"'
    items = ", ".join(item.format(number) for number in range(MOST + 500))
    diagnostics = found(tmp_path, BASE + more.replace("{}", items))
    assert [d.code for d in diagnostics].count(code) == MOST
    (rest,) = (d for d in diagnostics if d.code == "PGT019")
    assert (rest.message, rest.severity) == ("500 more findings are not shown", "warning")


def test_errors_are_shown_before_warnings(tmp_path: Path) -> None:
    users = "".join(f"[user.u{number}]\n" for number in range(MOST + 10))
    with_error = found(tmp_path, BASE.replace('["local"]', '["local"]\nsslmode = "require"') + users)
    assert "PGT205" in {d.code for d in with_error}


@pytest.mark.parametrize("key", ["from", "databases"])
def test_a_list_has_a_bound(tmp_path: Path, key: str) -> None:
    items = ", ".join(f'"h{number}.example"' for number in range(MOST_ITEMS + 1))
    fields = {"users": '["postgres"]', "from": '["10.0.0.0/8"]', "auth": '"cert"'} | {key: f"[{items}]"}
    table = "[policy.more]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items())
    (one,) = found(tmp_path, BASE + table)
    assert (one.code, one.path) == ("PGT013", ("policy", "more", key))
    assert one.message == f"{key} must have at most {MOST_ITEMS} items, not {MOST_ITEMS + 1}"


def addresses(count: int) -> list[str]:
    """Return addresses of which no two make a network."""
    return [f"10.{2 * n >> 16}.{(2 * n >> 8) & 255}.{2 * n & 255 | 1}" for n in range(count)]


@pytest.mark.parametrize(
    ("items", "code", "message"),
    [
        pytest.param(addresses(30_000), "PGT275", "30001 addresses", id="addresses"),
        pytest.param([*addresses(9_999), *(f"h{n}.x" for n in range(20))], "PGT275", "200000 pairs", id="host names"),
    ],
)
def test_the_addresses_of_a_server_have_a_bound_in_all(
    tmp_path: Path, items: list[str], code: str, message: str
) -> None:
    lists = [items[start : start + 9_000] for start in range(0, len(items), 9_000)]
    networks = "".join(f"[network.n{number}]\naddresses = {json.dumps(names)}\n" for number, names in enumerate(lists))
    policy = f'[policy.more]\nusers = ["postgres"]\nfrom = {json.dumps([f"@n{n}" for n in range(len(lists))])}\n'
    text = f'{BASE}{networks}{policy}auth = "scram-sha-256"\n[policy.one]\nusers = ["postgres"]\n'
    text += 'databases = ["one"]\nfrom = ["192.168.1.1"]\nauth = "scram-sha-256"\n'
    (one,) = (d for d in found(tmp_path, text) if d.severity == "error")
    assert (one.code, one.path) == (code, ("server", "main"))
    assert message in one.message


@pytest.mark.parametrize("number", ["9" * 400, '"' + "9" * 5000 + '"', '"0x' + "f" * 5000 + '"', "1e308", "inf"])
def test_a_setting_of_any_length_is_out_of_its_range(tmp_path: Path, number: str) -> None:
    settings = "[server.main.settings]\n" + "".join(
        f"{name} = {number}\n" for name in ("shared_buffers", "statement_timeout", "log_rotation_size")
    )
    assert [d.code for d in found(tmp_path, BASE + settings) if d.severity == "error"] == ["PGT407"] * 3


def test_the_patterns_of_a_server_have_a_bound_in_all(tmp_path: Path) -> None:
    policies = "".join(
        f'[policy.p{n}]\nusers = ["{"+" if n % 2 else ""}postgres{n if n % 2 else ""}"]\ndatabases = ["/^a{n}"]\n'
        'from = ["10.0.0.0/8"]\nauth = "scram-sha-256"\n'
        for n in range(400)
    )
    (one,) = (d for d in found(tmp_path, BASE + policies) if d.severity == "error")
    assert (one.code, one.path) == ("PGT276", ("server", "main"))


@pytest.mark.parametrize(("beside", "codes"), [(9, []), (25, ["PGT276"])])
def test_pairs_of_groups_with_pairs_of_expressions_have_a_bound(tmp_path: Path, beside: int, codes: list[str]) -> None:
    """Each policy has some of the same 60 groups and expressions: the more it has, the more of them meet."""
    draw = Random(1)  # noqa: S311
    policies = "".join(
        f"[policy.p{n}]\npriority = {n}\n"
        f"users = {[f'+g{i}' for i in draw.sample(range(60), beside)]}\n"
        f"databases = {[f'/^d{i}' for i in draw.sample(range(60), beside)]}\n"
        'from = ["10.0.0.0/8"]\nauth = "scram-sha-256"\n'
        for n in range(8)
    )
    assert [d.code for d in found(tmp_path, BASE + policies) if d.severity == "error"] == codes


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        pytest.param(BASE + "x = " + "[" * 40 + "]" * 40, "PGT004", 11, id="nested arrays"),
        pytest.param(BASE + "x = " + "{a=" * 40 + "1" + "}" * 40, "PGT004", 11, id="nested inline tables"),
        pytest.param(BASE + ".".join("a" * 1000) + " = 1", "PGT004", 11, id="a key of a thousand parts"),
        pytest.param(BASE + '\nx = "' + "\\u00e9" * 20_000 + '"', "PGT004", 12, id="a string of escapes"),
        pytest.param('version = 1\ninclude = ["**/a/**/b/**/*.toml"]\n', "PGT013", 2, id="many ** in an include"),
        pytest.param('version = 1\ninclude = ["/**/*.toml"]\n', "PGT013", 2, id="an include that searches the machine"),
        pytest.param('version = 1\ninclude = [".././**/*.toml"]\n', "PGT013", 2, id="** above the spec"),
        pytest.param('version = 1\ninclude = ["*/../*/../*.toml"]\n', "PGT013", 2, id="down, up and down again"),
        pytest.param('version = 1\ninclude = ["link/../*.toml"]\n', "PGT013", 2, id="up from what may be a link"),
        pytest.param('version = 1\ninclude = ["/*/*/*/*.toml"]\n', "PGT013", 2, id="many * from the root"),
    ],
)
def test_what_would_take_minutes_is_an_error_at_its_place(tmp_path: Path, text: str, code: str, line: int) -> None:
    (one,) = found(tmp_path, text)
    assert one.place is not None
    assert (one.code, one.place.line) == (code, line)


@pytest.mark.parametrize(
    "text", ['x = "[[[["', "x = '{{{{'", "# [[[[", 'x = """\n[[[[ " [[\n"""', "x = '''\n[[[[ ' [[\n'''"]
)
def test_brackets_in_strings_and_comments_do_not_count(tmp_path: Path, text: str) -> None:
    codes = {d.code for d in found(tmp_path, BASE + text.replace("[", "[" * 20).replace("{", "{" * 20) + "\n")}
    assert "PGT004" not in codes


EXAMPLE = (ROOT / "pgtls.toml.example").read_text()
SECONDS = int(os.environ.get("PGTLS_FUZZ_SECONDS", "0"))
"""About how long the fuzzing below takes; a second or two without it."""

PIECES = st.sampled_from(
    [
        *("[", "]", "{", "}", '"', "'", "=", ".", ",", "#", "\n", "\r", "\0", "\\", "\u202e", "\ufeff", "[[", "-1"),
        *('"""', "''", "[user.a]\n", '[server.""]\n', "version = 2\n", "[ca]\n", "user = 1\n", 'x = "a, b"\n'),
        *("auth = []\n", "users = [[]]\n", 'from = ["any", ""]\n', 'map = [{ of = "x" }]\n', "[[policy.a.b]]\n"),
        *("[defaults]\nuser = 1\n", "lint = []\n", "until = 0001-01-01T00:00:00+23:59\n", "é = inf\n"),
        *('settings."a b" = nan\n', 'hosts = ["[::1]", "%", "/"]\n'),
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Return the example with pieces put in, and parts left out, said twice or moved."""
    text = EXAMPLE
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 40)))
        text = text[:start] + draw(PIECES | st.just(text[start:end] * 2) | st.text(max_size=5)) + text[end:]
    return text


@settings(max_examples=max(60, 20 * SECONDS), deadline=None)
@given(mutated())
def test_no_text_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Each finding has a place inside its file, and both forms of output hold it."""
    spec = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    spec.write_bytes(text.encode(errors="surrogatepass"))
    diagnostics = diagnose(spec)
    lines = text.replace("\r\n", "\n").count("\n") + 1
    for diagnostic in diagnostics:
        assert diagnostic.place is None or 1 <= diagnostic.place.line <= lines
        as_json(diagnostic)
    render(diagnostics).encode()


def test_the_example_has_no_error(tmp_path: Path) -> None:
    assert [d for d in found(tmp_path, EXAMPLE) if d.severity == "error"] == []
