"""Where a TOML path stands in its file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Diagnostic, Place
from pgtls.diagnostics.text import render
from pgtls.language.load import load
from pgtls.language.positions import locate, places_of
from pgtls.language.source import Source, SourceFile, blotted

if TYPE_CHECKING:
    from pgtls.diagnostics import Path as TomlPath
    from pgtls.language.positions import At

TEXT = """\
version = 1
lint.ignore = ["PGT312"]
[ ca . "root" ]  # the root
common_name = "Ελλάδα 漢字", 
""".replace('", \n', '"\n')

DOCUMENT = (
    TEXT
    + '''
[server.primary]
hosts = [  # what clients dial
  "a",     # one
  'b', [1, 2],
]
settings = { work_mem = "1MB", "log_connections" = true, x.y = { z = 1 } }
subject.country = "GR"
"t\\u0061bs"	=	"\tvalue"

[user.app.subject]
country = "GR"

[user.app]
ca = "root"

[[policy.p.map]]
identity = "one"
role = "r1"

[[policy.p.map]]
identity = "two"
role.x = 1

[policy]
q = { users = [{ name = "all" }], from = ["local"] }
q2.auth = """
peer"""
'''
)

FILE = SourceFile(Path("/etc/pgtls.toml"), "pgtls.toml", DOCUMENT)


def underlined(place: Place) -> str:
    """Return the part of its first line that a place covers."""
    end = place.end_column - 1 if place.end_line == place.line else None
    return place.text[place.column - 1 : end]


@pytest.mark.parametrize(
    ("path", "at", "expected"),
    [
        pytest.param(("version",), "value", (1, "1"), id="a value at the top"),
        pytest.param(("version",), "key", (1, "version"), id="its key"),
        pytest.param(("lint", "ignore", 0), "value", (2, '"PGT312"'), id="an item below a dotted key"),
        pytest.param(("lint",), "key", (2, "lint"), id="the first part of a dotted key"),
        pytest.param(("ca", "root"), "table", (3, '[ ca . "root" ]'), id="a header with spaces and a quoted key"),
        pytest.param(("ca", "root"), "key", (3, '"root"'), id="the name in a header"),
        pytest.param(("ca", "root"), "value", (3, '[ ca . "root" ]'), id="a table as a value is its header"),
        pytest.param(("ca", "root", "common_name"), "value", (4, '"Ελλάδα 漢字"'), id="a value that is not ASCII"),
        pytest.param(("ca", "root", "issuer"), "table", (3, '[ ca . "root" ]'), id="a missing key"),
        pytest.param(("server", "primary", "hosts"), "value", (7, "[  # what clients dial"), id="an array on lines"),
        pytest.param(("server", "primary", "hosts", 0), "value", (8, '"a"'), id="an item after a comment"),
        pytest.param(("server", "primary", "hosts", 1), "value", (9, "'b'"), id="the next item"),
        pytest.param(("server", "primary", "hosts", 2, 1), "value", (9, "2"), id="an item of an array in an array"),
        pytest.param(("server", "primary", "hosts", 9), "value", (7, "hosts"), id="an item that is not there"),
        pytest.param(("server", "primary", "settings", "work_mem"), "value", (11, '"1MB"'), id="an inline table's"),
        pytest.param(
            ("server", "primary", "settings", "log_connections"), "key", (11, '"log_connections"'), id="a quoted key"
        ),
        pytest.param(("server", "primary", "settings", "x", "y", "z"), "value", (11, "1"), id="inline within dotted"),
        pytest.param(("server", "primary", "settings", "none"), "table", (11, "settings"), id="missing inline"),
        pytest.param(("server", "primary", "subject", "country"), "value", (12, '"GR"'), id="a dotted key"),
        pytest.param(("server", "primary", "tabs"), "value", (13, '"\tvalue"'), id="a key with an escape"),
        pytest.param(("user", "app"), "table", (18, "[user.app]"), id="a table whose child comes first"),
        pytest.param(("user", "app", "subject", "country"), "value", (16, '"GR"'), id="a child table"),
        pytest.param(("user",), "table", (15, "[user.app.subject]"), id="a table without a header of its own"),
        pytest.param(
            ("policy", "p", "map", 1, "identity"), "value", (26, '"two"'), id="the second of an array of tables"
        ),
        pytest.param(("policy", "p", "map", 0, "role"), "value", (23, '"r1"'), id="and the first"),
        pytest.param(("policy", "p", "map", 0, "x"), "table", (21, "[[policy.p.map]]"), id="a key that it lacks"),
        pytest.param(("policy", "p", "map", 1, "role", "x"), "value", (27, "1"), id="a dotted key in it"),
        pytest.param(("policy", "p", "users"), "table", (21, "[[policy.p.map]]"), id="a table that has but children"),
        pytest.param(("policy", "q", "users", 0, "name"), "value", (30, '"all"'), id="deep within inline tables"),
        pytest.param(("policy", "q", "auth"), "table", (30, "q"), id="a key that an inline table lacks"),
        pytest.param(("policy", "q2", "auth"), "value", (31, '"""'), id="a string on several lines"),
        pytest.param(("nothing", "at", "all"), "value", (1, ""), id="a path that does not exist"),
        pytest.param((), "value", (1, ""), id="the spec itself"),
    ],
)
def test_a_path_is_found(path: TomlPath, at: At, expected: tuple[int, str]) -> None:
    place = places_of([path], FILE, at)[path]
    assert (place.line, underlined(place)) == expected


def test_columns_are_code_points_and_the_end_is_exclusive() -> None:
    place = places_of([("ca", "root", "common_name")], FILE)[("ca", "root", "common_name")]
    assert (place.line, place.column, place.end_line, place.end_column) == (4, 15, 4, 26)


def test_a_value_on_several_lines_ends_where_it_ends() -> None:
    place = places_of([("policy", "q2", "auth")], FILE)[("policy", "q2", "auth")]
    assert (place.line, place.column, place.end_line, place.end_column) == (31, 11, 32, 8)


def test_diagnostics_are_sorted_by_file_and_position_and_equal_ones_are_one() -> None:
    users = SourceFile(Path("/etc/a.toml"), "a.toml", '[user.zoe]\nca = "x"\n')
    source = Source((FILE, users), {("user", "zoe"): users})
    paths: list[TomlPath] = [("user", "zoe", "ca"), ("user", "app", "ca"), ("version",), ("user", "app", "ca")]
    elsewhere = Diagnostic("PGT500", "", file="out/manifest.json")
    found = locate([Diagnostic("PGT001", "", path) for path in paths] + [elsewhere], source)
    places = [(d.place.file, d.place.line) if d.place else (d.file, 0) for d in found]
    assert places == [("pgtls.toml", 1), ("pgtls.toml", 19), ("a.toml", 2), ("out/manifest.json", 0)]
    assert {d.file for d in found} == {"pgtls.toml", "a.toml", "out/manifest.json"}


def test_a_field_from_the_defaults_is_shown_there() -> None:
    top = SourceFile(Path("/x"), "top.toml", '[defaults.user]\nca = "none"\n[user.own]\nca = "none"\n')
    users = SourceFile(Path("/y"), "users.toml", "[user.app]\nroles = ['x']\n")
    source = Source((top, users), {("user", "app"): users})

    def place(*path: str) -> tuple[str, int]:
        (diagnostic,) = locate([Diagnostic("PGT100", "", path)], source)
        assert diagnostic.place
        return diagnostic.place.file, diagnostic.place.line

    assert place("user", "app", "ca") == ("top.toml", 2)
    assert place("user", "own", "ca") == ("top.toml", 4)
    assert place("user", "app", "validity") == ("users.toml", 1), "nobody says it: the table's header"
    assert place("defaults", "user", "ca") == ("top.toml", 2)


def test_a_place_that_is_known_is_kept() -> None:
    place = Place("pgtls.toml", 7, 1, 7, 2, "x")
    (diagnostic,) = locate([Diagnostic("PGT003", "", place=place)], Source((FILE,)))
    assert diagnostic.place == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "x",
        "[",
        "[[[",
        "= 1",
        "a = ",
        'a = "',
        "[a.b\nc = 1",
        "a.b.c",
        "\x00",
        "é = 1",
        '"\\q" = 1',
        "a = 1 b = 2",
    ],
)
def test_text_that_is_no_toml_is_survived(text: str) -> None:
    file = SourceFile(Path("/x"), "x", text)
    for path in [(), ("a",), ("a", "b", "c"), ("a", 0), ("\\q",)]:
        place = places_of([path], file)[path]
        assert place.line == 1 or place.line <= text.count("\n") + 1


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('passphrase = "x y"  # why', "passphrase = *****  # why"),
        ("passphrase = 'x'", "passphrase = ***"),
        ('passphrase = { env = "NAME" }', 'passphrase = { env = "NAME" }'),
        ('passphrase.env = "NAME"', 'passphrase.env = "NAME"'),
        ('passphrase = { command = ["sops", "-d"] }', 'passphrase = { command = ["sops", "-d"] }'),
        ('x = { a = "b", ldapbindpasswd = "s" }', 'x = { a = "b", ldapbindpasswd = *** }'),
        ('"passphrase" = "a\\"b"', '"passphrase" = ******'),
        ('user = "passphrase"', 'user = "passphrase"'),
    ],
)
def test_literal_secrets_are_blotted_out_of_an_excerpt(line: str, shown: str) -> None:
    assert blotted(line) == shown
    assert len(blotted(line)) == len(line), "columns stay what they are"


def test_the_lines_of_a_secret_s_table_are_blotted_out() -> None:
    assert blotted('value = "x"', secret=True) == "value = ***"
    assert blotted("[user.app.passphrase]", secret=True) == "[user.app.passphrase]"
    assert blotted('env = "NAME"', secret=True) == 'env = "NAME"'


def test_a_spec_without_findings_needs_no_parser_of_positions(tmp_path: Path) -> None:
    program = """if True:
        import sys
        from pathlib import Path
        from pgtls.language.load import load
        from pgtls.language.positions import locate
        result = load(Path(sys.argv[1]))
        locate(result.diagnostics, result.source)
        print(len(result.diagnostics), "tree_sitter" in sys.modules)
    """
    for content, expected in (("version = 1", "0 False"), ("version = 2", "1 True")):
        spec = tmp_path / "pgtls.toml"
        spec.write_text(content)
        run = subprocess.run([sys.executable, "-c", program, spec], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == expected


@pytest.mark.parametrize("line", ['password = "hunter4"', 'passphrse = "hunter4"', "secret_token = 'hunter4'"])
def test_what_was_meant_to_be_a_secret_is_not_shown(tmp_path: Path, line: str) -> None:
    spec = tmp_path / "pgtls.toml"
    spec.write_text(f"version = 1\n[user.bob]\n{line}\n")
    result = load(spec)
    text = render(locate(result.diagnostics, result.source))
    assert "PGT010" in text
    assert "hunter4" not in text
