"""Texts that are not TOML: tomllib's words, the place of what is defined twice, and a hint."""

from __future__ import annotations

import tomllib

import pytest

from pgtls.language.syntax import syntax_fault


def hint(text: str) -> str | None:
    with pytest.raises(tomllib.TOMLDecodeError) as error:
        tomllib.loads(text)
    return syntax_fault(text, str(error.value)).hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[user.anna]\n[user.bob]\n[user.anna]\n", "[user.anna] is defined twice: it is also at line 1"),
        ('[user."a.b"]\n\n  [ user . "a.b" ] # again\n', '[user."a.b"] is defined twice: it is also at line 1'),
        ("[server.main]\nport = 1\nca = 'x'\nport = 2\n", "port is set twice: it is also at line 2"),
        ("[a]\nport = 1\n[b]\nport = 1\nhosts = [\n'x',\n]\nport = 2\n", "port is set twice: it is also at line 4"),
        ("hosts = [\n'a',\n]\nhosts = [\n'b',\n]\n", "hosts is set twice: it is also at line 1"),
        ("user.anna = {}\n[user.anna]\n", "[user.anna] is defined twice: it is also at line 1"),
        ("'port' = 1\nport = 2\n", "port is set twice: it is also at line 1"),
    ],
)
def test_what_is_defined_twice_names_its_first_place(text: str, message: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as error:
        tomllib.loads(text)
    fault = syntax_fault(text, str(error.value))
    assert fault.message == message
    assert fault.hint == "keep one of the two"


def test_an_inline_table_that_is_extended_keeps_the_words_of_the_parser() -> None:
    assert hint("a = { b = 1 }\n[a.c]\n") == "write everything that belongs to one table under one header"


@pytest.mark.parametrize("marker", ["<<<<<<< HEAD\n", "a = 1\n<<<<<<< HEAD\na = 2\n=======\na = 3\n>>>>>>> b\n"])
def test_conflict_markers_are_named(marker: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as error:
        tomllib.loads(marker)
    fault = syntax_fault(marker, str(error.value))
    assert fault.message == "a merge left its conflict markers in the file"
    assert (fault.line, fault.column) == (marker.split("\n").index("<<<<<<< HEAD") + 1, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a = "x\n', 'close the string with " at its end'),
        ("a = 'x\n", "close the string with ' at its end"),
        ('a = """x', "close the string with the quotes that it begins with at its end"),
        ("a = True", "write true"),
        ("a = no", "write false"),
        ("a = null", "TOML has no null: leave the key out"),
        ("a = $HOME", "TOML has no variables: write the value itself"),
        ("a = 90d", 'write a string in quotes: "90d"'),
        ("a = 10.0.0.1", 'write a string in quotes: "10.0.0.1"'),
        ("a = db.example.com", 'write a string in quotes: "db.example.com"'),
        ("a = [x]", 'write a string in quotes: "x"'),
        ("a = 05432", "write it without zeros in front: 5432"),
        ("a = 2027-13-01", "the calendar has no such date"),
        ("a = 2027-02-30", "the calendar has no such date"),
        ("a = 2027-06-30T12:00", "write the time with its seconds, e.g. 2027-06-30T12:00:00Z"),
        ("a = \u201cx\u201d", 'write straight quotes: "…"'),
        ("a: 1", "write = between the key and its value"),
        ("a => 1", "write = between the key and its value"),
        ("- a", "this looks like YAML: write [KIND.NAME] headers, and key = value below them"),
        ("{", "this looks like JSON: write [KIND.NAME] headers, and key = value below them"),
        ("// c", "a comment starts with #"),
        ("; c", "a comment starts with #"),
        ('a = "x" -- c', "a comment starts with #"),
        ('a = "x",', 'delete the ",": a line holds one key and its value'),
        ("a = 1 2", "write one key and its value per line"),
        ('{"pgtls_lock": 1, "id": "0"}', "this is a lock: name the spec, such as pgtls.toml"),
        ('a = ["x" "y"]', "put strings in quotes, a comma between two items, and ] after the last"),
        ("a = { b = 1,\n c = 2 }", "write an inline table { } on one line, with no comma before the }"),
        ("a = { b = 1, b = 2 }", "delete one of the two"),
        ("[user anna]", "write [user.anna]"),
        ("[user.anna", "close the header with ]"),
        ("[user.]", "a header is [KIND.NAME], with one dot between the two"),
        ('a = "C:\\Users"', r"write \\ for a backslash, or put the string in single quotes"),
        ('a = "\\d"', r"write \\ for a backslash, or put the string in single quotes"),
        ("a = 1 # \x01", "delete the control character"),
    ],
)
def test_a_hint_says_what_to_type(text: str, expected: str) -> None:
    assert hint(text) == expected


@pytest.mark.parametrize("line", ["passphrase = hunter2", "ldapbindpasswd = 12ab", "passphrase = hunter2 # now"])
def test_a_hint_repeats_no_secret(line: str) -> None:
    found = hint(line)
    assert found is not None
    assert "hunter2" not in found
    assert "12ab" not in found
