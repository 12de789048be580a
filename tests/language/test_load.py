"""Reading specs: files, includes, defaults, and what is left of a spec that has faults."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgtls.diagnostics import Diagnostic
from pgtls.diagnostics.text import as_json, render
from pgtls.language.load import LoadResult, load
from pgtls.language.positions import locate
from pgtls.language.read import MAX_BYTES
from support.diagnosing import load_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgtls.language.source import Loaded

SOUND = """\
version = 1

[ca.root]

[server.primary]
ca    = "root"
hosts = ["db.example.com"]

[policy.admin]
users = ["postgres"]
from  = ["local"]
auth  = "peer"
"""


def write(directory: Path, text: str, name: str = "pgtls.toml") -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def sound(directory: Path, text: str) -> Loaded:
    result = load(write(directory, text))
    assert result.diagnostics == ()
    assert result.loaded is not None
    return result.loaded


def found(result: LoadResult) -> set[tuple[str, tuple[str | int, ...]]]:
    return {(diagnostic.code, diagnostic.path) for diagnostic in result.diagnostics}


# Values


def test_values_have_the_types_of_the_language(tmp_path: Path) -> None:
    users = """
[user.app]
roles        = ["app", "reporting"]
validity     = "12h"
renew_before = "1w"
until        = 2027-06-30

[user.batch]
validity = "10y"
until    = 2027-06-30T12:00:00+02:00
"""
    spec = sound(tmp_path, SOUND + users).spec
    assert spec.user["app"].roles == ("app", "reporting")
    assert spec.user["app"].validity == timedelta(hours=12)
    assert spec.user["app"].renew_before == timedelta(days=7)
    assert spec.user["app"].until == datetime(2027, 6, 30, tzinfo=UTC)
    assert spec.user["batch"].until == datetime(2027, 6, 30, 10, tzinfo=UTC)
    assert spec.user["batch"].validity == timedelta(days=3650)
    assert spec.policy["admin"].from_ == ("local",)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param('validity = "0d"', id="a duration of nothing"),
        pytest.param('validity = "1.5d"', id="a part of a day"),
        pytest.param('validity = "101y"', id="more than a hundred years"),
        pytest.param('validity = "90D"', id="a unit in capitals"),
        pytest.param('validity = " 90d"', id="a duration with a space"),
        pytest.param("validity = 90", id="a duration without a unit"),
        pytest.param("until = 0001-01-01T00:00:00+23:00", id="an instant before the year 1 in UTC"),
        pytest.param("until = 12:00:00", id="a time without a date"),
        pytest.param("until = 2027-06-30T12:00:00", id="a date-time without an offset"),
        pytest.param("libpq = true", id="true is no integer"),
        pytest.param("libpq = 14.0", id="a float is no integer"),
        pytest.param("libpq = 99999999999999999999999", id="an integer of more than 64 bits"),
        pytest.param("crl = 1", id="1 is not true"),
        pytest.param("roles = []", id="no roles at all"),
        pytest.param('roles = [""]', id="an empty role"),
        pytest.param("roles = { a = 1 }", id="a table for an array"),
        pytest.param("subject = nan", id="not a number for a table"),
        pytest.param("subject = [{}]", id="an array for a table"),
        pytest.param('subject = { country = "gr" }', id="a country in small letters"),
        pytest.param("subject = { organization = '" + "x" * 65 + "' }", id="an organization that is too long"),
        pytest.param("subject = { organizational_unit = ['ok', '" + "x" * 65 + "'] }", id="a unit that is too long"),
        pytest.param("subject = { organizational_unit = [] }", id="no units at all"),
        pytest.param("subject = { organizational_unit = ['ok', 7] }", id="a number for a unit"),
        pytest.param("subject = { organizational_unit = 7 }", id="a number for units"),
        pytest.param("subject = { state = { a = 1 } }", id="a table for a state"),
        pytest.param("subject = { country = ['GR', 'DE'] }", id="two countries, of which a name has one"),
        pytest.param(f"subject = {{ locality = {['x'] * 17} }}", id="more localities than a name can have"),
        pytest.param('formats = ["pem", "PEM"]', id="a format in capitals"),
        pytest.param("from_ = []", id="the name of the model's field"),
    ],
)
def test_a_value_that_is_not_allowed_is_one_error(tmp_path: Path, line: str) -> None:
    result = load(write(tmp_path, f"{SOUND}\n[user.app]\n{line}\n"))
    assert [d.path[:3] for d in result.diagnostics] == [("user", "app", line.split(" ")[0])]
    assert result.loaded is not None, "what else refers to the table can still be checked"
    assert load(write(tmp_path, f"{SOUND}\n[user.app]\n")).diagnostics == ()


def test_messages_say_what_was_found_and_never_in_the_words_of_a_library(tmp_path: Path) -> None:
    fields = 'port = "5432"\nmin_tls = 1.2\nsettings = { x = [1] }\nclient_ca = 5\nsubject = { email = 2027-06-30 }\n'
    text = load_errors(write(tmp_path, SOUND.replace("ca    =", fields + "ca    =")))
    assert 'port must be an integer, not the string "5432"' in text
    assert "not the float 1.2" in text
    assert "settings.x must be a string, a number or a boolean, not an array" in text
    assert "client_ca must be an array, not the integer 5" in text
    assert "subject.email must be a string, not the date 2027-06-30" in text
    assert "pydantic" not in text.lower()
    assert "Input should" not in text


# Secrets


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('passphrase = "hunter2"', id="a string"),
        pytest.param("passphrase = hunter2", id="a string without quotes, which is no TOML"),
        pytest.param('passphrase = "hunter2', id="a string that does not end"),
        pytest.param('passphrase = ["hunter2"]', id="an array"),
        pytest.param('passphrase = { value = "hunter2" }', id="a table with an unknown key"),
        pytest.param('passphrase = { env = ["hunter2"] }', id="a source of the wrong type"),
        pytest.param('passphrase.value = "hunter2"', id="a dotted key"),
        pytest.param('port = "x" # next\npassphrase = """hunter2"""', id="a string in three quotes"),
        pytest.param('passphrase = "hunter2\\u0007"', id="a control character"),
        pytest.param("subject = { country = \"x\" }\npassphrase = 'hunter2'", id="single quotes"),
    ],
)
def test_a_literal_secret_is_repeated_nowhere(tmp_path: Path, text: str) -> None:
    shown = load_errors(write(tmp_path, f"{SOUND}\n[user.app]\n{text}\n"))
    assert "error[" in shown
    assert "hunter2" not in shown


def test_where_a_secret_comes_from_is_shown(tmp_path: Path) -> None:
    text = f'{SOUND}\n[user.app]\npassphrase = {{ env = "APP_PASSPHRASE", file = "app.pass" }}\n'
    assert '{ env = "APP_PASSPHRASE", file = "app.pass" }' in load_errors(write(tmp_path, text))


# Files


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dir.toml").mkdir()
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    for name in ("missing.toml", "dir.toml", "loop.toml", "x" * 300, "pgtls.toml/x"):
        write(tmp_path, SOUND)
        result = load(tmp_path / name)
        assert [d.code for d in result.diagnostics] == ["PGT001"], name
        assert result.loaded is None


def test_a_file_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, SOUND)
    assert load(path).diagnostics == ()  # and all that it imports is there
    path.chmod(0)
    with nobody():
        assert [d.message for d in load(path).diagnostics] == ["the file cannot be read: permission denied"]


@contextmanager
def nobody() -> Iterator[None]:
    """Lay down the rights of root, which may read every file."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_an_included_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "more.toml")
    result = load(write(tmp_path, f'include = ["*.toml"]\n{SOUND}'))
    assert [(d.code, d.message) for d in result.diagnostics] == [("PGT001", "this is no regular file")]


def test_a_number_without_an_end_has_a_place(tmp_path: Path) -> None:
    result = load(write(tmp_path, f"{SOUND}port = {'9' * 5000}\n"))
    (diagnostic,) = locate(result.diagnostics, result.source)
    assert (diagnostic.code, diagnostic.message) == ("PGT003", "an integer with thousands of digits")
    assert diagnostic.place is not None
    assert (diagnostic.place.line, diagnostic.place.column) == (SOUND.count("\n") + 1, 8)


@pytest.mark.parametrize("character", ["\u200b", "\u00ad", "\ufeff", "\u2060", "\u202e"])
def test_what_nobody_sees_stands_in_no_name(tmp_path: Path, character: str) -> None:
    text = SOUND.replace("db.example", f"db{character}.example")
    assert [d.code for d in load(write(tmp_path, text)).diagnostics if d.code == "PGT014"] == ["PGT014"]


def test_a_file_over_the_limit_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "pgtls.toml"
    with path.open("w") as file:
        file.write('version = 1\nx = "')
        file.truncate(50 * 1024 * 1024)
    assert [d.code for d in load(path).diagnostics] == ["PGT004"]
    assert MAX_BYTES < 50 * 1024 * 1024


@pytest.mark.parametrize("opening", ["[", "{a=", "[{a=["])
def test_nesting_that_exhausts_recursion_is_an_error(tmp_path: Path, opening: str) -> None:
    result = load(write(tmp_path, f"version = 1\nx = {opening * 5000}"))
    assert [d.code for d in result.diagnostics] == ["PGT004"]


@pytest.mark.parametrize("part", ["a", '"a b"', "'é'", "a "])
def test_a_key_of_very_many_parts_is_not_parsed(tmp_path: Path, part: str) -> None:
    for key in (".".join([part] * 50_000), f"x = {{ {'.'.join([part] * 50_000)}"):
        result = load(write(tmp_path, f"version = 1\n{key} = 1\n"))
        assert [d.code for d in result.diagnostics] == ["PGT004"]


def test_a_long_line_is_no_fault(tmp_path: Path) -> None:
    names = ", ".join(f'"u{number}.example.com"' for number in range(5000))
    assert len(sound(tmp_path, SOUND.replace('"db.example.com"', names)).spec.server["primary"].hosts) == 5000


@pytest.mark.parametrize("parts", [17, 900, 100_000])
def test_a_key_of_many_parts_is_an_error_at_its_place(tmp_path: Path, parts: int) -> None:
    result = load(write(tmp_path, f"{SOUND}\n[{'.'.join('a' * parts)}]\nx = 1\n"))
    (found,) = result.diagnostics
    assert (found.code, found.message) == ("PGT004", "a key has more than 16 parts")
    assert found.place is not None
    assert (found.place.line, found.place.column) == (SOUND.count("\n") + 2, 2)


@pytest.mark.parametrize("digits", ["9" * 5000, "0x" + "f" * 5000, "0o" + "7" * 5000, "0b" + "1_" * 5000 + "1"])
def test_an_integer_of_thousands_of_digits_is_an_error(tmp_path: Path, digits: str) -> None:
    text = SOUND.replace("version = 1", f"version = 1 # {digits}")
    assert [d.code for d in load(write(tmp_path, f"{text}\n[server.x]\nport = {digits}\n")).diagnostics] == ["PGT003"]
    assert not load(write(tmp_path, text)).diagnostics


def test_line_ends_of_windows_change_nothing(tmp_path: Path) -> None:
    unix = load_errors(write(tmp_path, SOUND + "\n[user.app]\nx = 1\n"))
    (tmp_path / "pgtls.toml").write_bytes((SOUND + "\n[user.app]\nx = 1\n").replace("\n", "\r\n").encode())
    assert load_errors(tmp_path / "pgtls.toml") == unix
    assert "unknown key" in unix


def test_a_spec_of_another_version_is_read_no_further(tmp_path: Path) -> None:
    result = load(write(tmp_path, "version = 2\n[future.thing]\nx = 1\n"))
    assert [d.code for d in result.diagnostics] == ["PGT005"]


# Includes


def test_a_spec_split_over_files_is_the_same_spec(tmp_path: Path) -> None:
    whole = sound(tmp_path, SOUND + '\n[user.app]\nca = "root"\n\n[user.batch]\n')
    write(tmp_path, '[user.app]\nca = "root"\n', "users/app.toml")
    write(tmp_path, "[user.batch]\n", "users/more/batch.toml")
    split = sound(tmp_path, 'include = ["users/**/*.toml", "users/app.toml"]\n' + SOUND)
    assert split.spec == whole.spec
    assert split.own == whole.own
    names = [os.path.relpath(file.name, tmp_path) for file in split.source.files]
    assert names == ["pgtls.toml", "users/app.toml", "users/more/batch.toml"]
    assert split.source.owner["user", "batch"] is split.source.files[2]
    assert split.source.patterns == ("users/**/*.toml", "users/app.toml")


def test_a_pattern_that_matches_the_top_file_does_not_include_it(tmp_path: Path) -> None:
    write(tmp_path, "[user.app]\n", "app.toml")
    assert set(sound(tmp_path, 'include = ["*.toml"]\n' + SOUND).spec.user) == {"app"}


@pytest.mark.parametrize(
    "pattern",
    [
        "none/*.toml",
        "",
        "none.toml",
        "../none/*",
        "/nowhere/*.toml",
        "[",
        "a\\u0000b",
        "users",
        "users/*",
        "pgtls.toml",
        "*.toml",
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "users" / "deeper").mkdir(parents=True)
    result = load(write(tmp_path, f'include = ["{pattern}"]\n{SOUND}'))
    code = {"": "PGT013", "a\\u0000b": "PGT014"}.get(pattern, "PGT020")
    assert found(result) == {(code, ("include", 0))}


def test_a_file_counts_once_by_whatever_names_it_is_included(tmp_path: Path) -> None:
    app = write(tmp_path, "[user.app]\n", "users/app.toml")
    (tmp_path / "users" / "link.toml").symlink_to("app.toml")
    (tmp_path / "users" / "directory.toml").mkdir()
    patterns = f'["users/*.toml", "users/./app.toml", "{app}"]'
    assert set(sound(tmp_path, f"include = {patterns}\n" + SOUND).spec.user) == {"app"}


@pytest.mark.parametrize("value", ['"users.toml"', "1", "{}", '[["users.toml"]]', "[1]"])
def test_an_include_of_the_wrong_type_is_an_error(tmp_path: Path, value: str) -> None:
    assert [d.code for d in load(write(tmp_path, f"include = {value}\n{SOUND}")).diagnostics] == ["PGT012"]


def test_a_broken_include_does_not_hide_the_faults_of_other_files(tmp_path: Path) -> None:
    write(tmp_path, "[user.app\n", "a.toml")
    write(tmp_path, "[user.batch]\nvalidity = 5\n", "b.toml")
    result = load(write(tmp_path, f'include = ["?.toml"]\n{SOUND}\n[user.alice]\nlibpq = "x"\n'))
    assert {d.code for d in result.diagnostics} == {"PGT003", "PGT012"}
    assert len(result.diagnostics) == 3
    assert ("include",) in result.faulty, "what the broken file defines is not known"


def test_keys_of_the_top_file_are_refused_in_an_include(tmp_path: Path) -> None:
    write(tmp_path, "version = 1\ninclude = []\n[defaults.user]\n[lint]\n[user.app]\n[sever.x]\n", "a.toml")
    result = load(write(tmp_path, f'include = ["a.toml"]\n{SOUND}'))
    top_only = {("PGT022", (key,)) for key in ("version", "include", "defaults", "lint")}
    assert found(result) == top_only | {("PGT010", ("sever",))}


def test_a_table_defined_in_two_files_names_both_places(tmp_path: Path) -> None:
    write(tmp_path, "\n\n[user.app]\n", "a.toml")
    write(tmp_path, "[user]\napp = {}\n", "b.toml")
    text = load_errors(write(tmp_path, f'include = ["a.toml", "b.toml"]\n{SOUND}'))
    assert f"{tmp_path}/b.toml:2:1: error[PGT021]" in text
    assert f"it is also at {tmp_path}/a.toml:3" in text
    assert text.count("error[") == 1


def test_a_file_name_that_is_no_text_is_survived(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.toml")).write_text("x = 1\n")
    result = load(write(tmp_path, f'include = ["?.toml"]\n{SOUND}'))
    found = locate(result.diagnostics, result.source)
    assert "\\udcff.toml:1:1: error[PGT010]" in render(found)
    assert json.dumps(as_json(found[0]), ensure_ascii=False).encode()


# Defaults


def test_a_default_holds_where_the_table_does_not_say_otherwise(tmp_path: Path) -> None:
    text = """
[defaults.user]
ca       = "root"
validity = "30d"
subject  = { organization = "Example", country = "GR" }

[user.app]

[user.batch]
validity = "7d"
subject  = { organization = "Batch" }
"""
    spec = sound(tmp_path, SOUND + text)
    app, batch = spec.spec.user["app"], spec.spec.user["batch"]
    assert (app.ca, app.validity, app.subject.country) == ("root", timedelta(days=30), "GR")
    assert (batch.ca, batch.validity) == ("root", timedelta(days=7))
    assert batch.subject.country is None, "a table's own field replaces the default whole"
    assert spec.own["user", "app"] == frozenset()
    assert spec.own["user", "batch"] == {"validity", "subject"}


def test_a_required_field_may_come_from_the_defaults(tmp_path: Path) -> None:
    text = SOUND.replace('from  = ["local"]\n', "") + '\n[defaults.policy]\nfrom = ["local"]\n'
    loaded = sound(tmp_path, text)
    assert loaded.spec.policy["admin"].from_ == ("local",)
    assert "from" not in loaded.own["policy", "admin"]


def test_a_faulty_default_is_reported_once_and_left_out(tmp_path: Path) -> None:
    users = "".join(f"[user.u{number}]\n" for number in range(5))
    result = load(write(tmp_path, f"{SOUND}\n[defaults.user]\nvalidity = 5\nnone = 1\n{users}"))
    assert found(result) == {("PGT012", ("defaults", "user", "validity")), ("PGT010", ("defaults", "user", "none"))}
    assert result.loaded is not None
    assert result.loaded.spec.user["u0"].validity == timedelta(days=90)


def test_a_faulty_default_of_a_required_field_is_not_also_a_missing_key(tmp_path: Path) -> None:
    text = SOUND.replace('from  = ["local"]\n', "") + '\n[defaults.policy]\nfrom = "local"\n'
    assert found(load(write(tmp_path, text))) == {("PGT012", ("defaults", "policy", "from"))}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("defaults = 1", ("PGT012", ("defaults",)), id="no table"),
        pytest.param("defaults = { user = 1 }", ("PGT012", ("defaults", "user")), id="no table of a kind"),
        pytest.param("defaults = { network = {} }", ("PGT010", ("defaults", "network")), id="a kind without defaults"),
        pytest.param(
            'defaults = { ca = { validity = "x" } }', ("PGT013", ("defaults", "ca", "validity")), id="a faulty field"
        ),
        pytest.param(
            'defaults = { policy = { map = [{ identity = "x" }] } }',
            ("PGT011", ("defaults", "policy", "map", 0, "role")),
            id="a missing key within a field",
        ),
    ],
)
def test_defaults_are_judged_though_no_table_uses_them(
    tmp_path: Path, text: str, expected: tuple[str, tuple[str | int, ...]]
) -> None:
    assert found(load(write(tmp_path, f'{text}\nversion = 1\n[server.a]\nhosts = ["a"]\n'))) == {expected}


# One mistake, one diagnostic


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            '[server.a]\nhost = ["a"]', ("PGT010", ("server", "a", "host")), id="a misspelt key is not also missing"
        ),
        pytest.param("[server.a.b]\nca = 'root'", ("PGT010", ("server", "a", "b")), id="a dotted name lacks no keys"),
        pytest.param("[serve.a]\nhosts = 1", ("PGT010", ("serve",)), id="below an unknown table nothing is judged"),
        pytest.param("[server]\na = 5", ("PGT012", ("server", "a")), id="what is no table lacks no keys"),
        pytest.param('[user.a]\nexternal = "x"', ("PGT012", ("user", "a", "external")), id="a switch that is a text"),
        pytest.param("[user.a]\nwaiver = 1", ("PGT010", ("user", "a", "waiver")), id="a key of another kind"),
        pytest.param("[user.A]\n", ("PGT015", ("user", "A")), id="a name that is no directory's"),
        pytest.param("[user.'x/../y']\n", ("PGT015", ("user", "x/../y")), id="a name that leaves the directory"),
        pytest.param("[user.'']\n", ("PGT015", ("user", "")), id="an empty name"),
        pytest.param("[user.com1]\n", ("PGT015", ("user", "com1")), id="a device"),
        pytest.param(f"[user.{'a' * 64}]\n", ("PGT015", ("user", "a" * 64)), id="a name of 64 letters"),
    ],
)
def test_one_mistake_is_one_diagnostic(tmp_path: Path, text: str, expected: tuple[str, tuple[str | int, ...]]) -> None:
    result = load(write(tmp_path, f"{SOUND}\n{text}\n"))
    assert [(d.code, d.path) for d in result.diagnostics] == [expected]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("[user.a.b]", 'user."a.b"'),
        ("[user.a.b.c]", 'user."a.b.c"'),
        ("[user.a.b]\nsubject = {}", 'user."a.b"'),
        ('[user."a.b".c]', 'user."a.b.c"'),
    ],
)
def test_a_dotted_name_gets_the_hint_to_quote_it(tmp_path: Path, header: str, name: str) -> None:
    (diagnostic,) = load(write(tmp_path, f"{SOUND}\n{header}\n")).diagnostics
    assert diagnostic.hint == f"a name with dots needs quotes: [{name}]"


def test_a_dotted_name_can_still_be_referred_to(tmp_path: Path) -> None:
    result = load(write(tmp_path, f"{SOUND}\n[user.a.b]\n"))
    assert result.loaded is not None
    assert "a.b" in result.loaded.spec.user
    assert ("user", "a.b") in result.faulty


@pytest.mark.parametrize(
    "text",
    [
        '[user."a\\tb"]',
        '[user.a]\n"c\\ta" = 1',
        '[user.a]\nidentity = "cn\\n"',
        '"\\u0000" = 1',
        '[defaults.user]\nca = "\\t"',
    ],
)
def test_what_holds_a_control_character_has_no_other_fault(tmp_path: Path, text: str) -> None:
    assert [d.code for d in load(write(tmp_path, f"{SOUND}\n{text}\n")).diagnostics] == ["PGT014"]


def test_a_file_whose_copy_is_included_is_said_in_linear_time(tmp_path: Path) -> None:
    for name in ("a.toml", "b.toml"):
        write(tmp_path, "".join(f"[user.u{number}]\n" for number in range(2000)), name)
    result = load(write(tmp_path, f'include = ["a.toml", "b.toml"]\n{SOUND}'))
    assert {d.code for d in result.diagnostics} == {"PGT021"}
    assert len(result.diagnostics) == 2000


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_an_error_wherever_it_stands(tmp_path: Path, content: str) -> None:
    write(tmp_path, content, "a.toml")
    for path in (tmp_path / "a.toml", write(tmp_path, f'include = ["a.toml"]\n{SOUND}')):
        result = load(path)
        assert [(d.code, d.file) for d in result.diagnostics] == [("PGT005", str(tmp_path / "a.toml"))]
        assert result.loaded is None or ("include",) in result.faulty


def test_every_fault_of_every_table_is_found_in_one_run(tmp_path: Path) -> None:
    users = "".join(f'[user.u{number}]\nlibpq = "x"\nnone = 1\n' for number in range(50))
    assert len(load(write(tmp_path, SOUND + users)).diagnostics) == 100


def test_a_faulty_table_can_still_be_referred_to(tmp_path: Path) -> None:
    result = load(write(tmp_path, SOUND.replace("hosts", "hots") + "[users.app]\n[user]\nx = 1\n[lint]\nignore = 1\n"))
    assert result.loaded is not None
    spec = result.loaded.spec
    assert (set(spec.server), set(spec.user), spec.lint.ignore) == ({"primary"}, {"app", "x"}, ())
    invented = Diagnostic("PGT100", "", ("server", "primary", "hosts", 0))
    of_a_whole = Diagnostic("PGT100", "", ("user", "app"))
    of_another_field = Diagnostic("PGT100", "", ("server", "primary", "ca"))
    assert result.unaffected([invented, of_a_whole, of_another_field]) == (of_another_field,)


@pytest.mark.parametrize("release", ["1.1.1", "3.0", "3.5", "4.12"])
def test_a_release_of_openssl_is_accepted(tmp_path: Path, release: str) -> None:
    path = tmp_path / "pgtls.toml"
    path.write_text(f'version = 1\n[server.a]\nhosts = ["a"]\nopenssl = "{release}"\n')
    assert load(path).diagnostics == ()


@pytest.mark.parametrize(
    ("value", "code", "hint"),
    [
        pytest.param('"3.5.1"', "PGT013", 'write "3.5"', id="a patch release"),
        pytest.param('"OpenSSL 3.0.13 30 Jan 2024"', "PGT013", 'write "3.0"', id="what openssl version prints"),
        pytest.param('"1.1.1w"', "PGT013", 'write "1.1.1"', id="a letter release"),
        pytest.param("3.5", "PGT012", 'write it in quotes: "3.5"', id="without quotes"),
        pytest.param('"2.8"', "PGT013", 'e.g. openssl = "3.5"; "openssl version" prints it', id="not OpenSSL's"),
        pytest.param('"11.1.1"', "PGT013", 'e.g. openssl = "3.5"; "openssl version" prints it', id="digits in front"),
        pytest.param("3", "PGT012", 'e.g. openssl = "3.5"; "openssl version" prints it', id="a number"),
    ],
)
def test_anything_else_is_no_release_of_openssl(tmp_path: Path, value: str, code: str, hint: str) -> None:
    path = tmp_path / "pgtls.toml"
    path.write_text(f'version = 1\n[server.a]\nhosts = ["a"]\nopenssl = {value}\n')
    ((found),) = load(path).diagnostics
    assert (found.code, found.hint, found.path) == (code, hint, ("server", "a", "openssl"))


def test_a_link_that_leads_nowhere_names_its_include(tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users/a.toml").symlink_to("nowhere")
    top = write(tmp_path, SOUND.replace("version = 1", 'version = 1\ninclude = ["users/*.toml"]'))
    (found,) = load(top).diagnostics
    assert (found.code, found.message) == ("PGT001", "this link leads to no file")
    assert found.hint == f'include = ["users/*.toml"] in {top} names this file: restore it, or change the include'


def test_a_missing_spec_names_the_one_in_a_directory_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, SOUND)
    (tmp_path / "sub/deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "sub/deep")
    assert [d.hint for d in load(Path("pgtls.toml")).diagnostics] == ["did you mean ../../pgtls.toml?"]
    assert [d.hint for d in load(Path("..")).diagnostics] == ["did you mean ../../pgtls.toml?"]
    monkeypatch.chdir(tmp_path)
    assert [d.hint for d in load(Path("pgtsl.toml")).diagnostics] == ["did you mean pgtls.toml?"]
