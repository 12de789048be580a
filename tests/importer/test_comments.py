"""Comments at the lines of pg_hba.conf become descriptions of policies, or are counted."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from importer.cases import Case
from importer.test_convert import compiled, imported

if TYPE_CHECKING:
    from pathlib import Path

LINE = "host all app 10.0.0.0/8 md5"
OTHER = "local all all peer\n"
FROM = "(pg_hba.conf, line {})"
KEPT = {
    "above": (f"# the shop's own:\n{LINE}\n", f"the shop's own {FROM.format(3)}"),
    "above, on several lines": (f"# the shop's\n#own\n{LINE}\n", f"the shop's own {FROM.format(4)}"),
    "above, and what stands apart": (f"# all\n\n# a title\n#\n# mine\n{LINE}\n", f"mine {FROM.format(7)}"),
    "at the end": (f"{LINE} # mine\n", f"mine {FROM.format(2)}"),
    "above and at the end, of Windows": (f"# above\r\n{LINE}# end\r\n", f"above; end {FROM.format(3)}"),
    "at the end of a line that goes on": ("host all app \\\n 10.0.0.0/8 md5 # mine\n", f"mine {FROM.format(2)}"),
    "of two lines": (
        f"# one\n{LINE}\n# two\n{LINE.replace('10', '11')}\n",
        "one; two (pg_hba.conf, line 3 5)",
    ),
    "no comment in quotes": ('host "a#b" app 10.0.0.0/8 md5\n', "pg_hba.conf, line 2"),
    "the columns of initdb": (f"# TYPE  DATABASE  USER  ADDRESS  METHOD\n{LINE}\n", "pg_hba.conf, line 3"),
    "a line that is commented out": (f"# host all all all trust\n{LINE}\n", "pg_hba.conf, line 3"),
    "letters of every language": (f"# für Zoë, 店\n{LINE}\n", f"für Zoë, 店 {FROM.format(3)}"),
}


@pytest.mark.parametrize(("lines", "description"), KEPT.values(), ids=KEPT)
def test_a_comment_at_a_line_describes_its_policy(tmp_path: Path, lines: str, description: str) -> None:
    adopted = imported(tmp_path, Case(OTHER + lines), 17)
    policies = list(tomllib.loads(adopted.text)["policy"].values())
    assert [policy["description"] for policy in policies] == ["pg_hba.conf, line 1", description]
    assert adopted.equal
    assert not [d for d in adopted.diagnostics if "comment" in d.message]
    text, _ = compiled(tmp_path, adopted, 17)
    assert description in text


LOST = {
    "at the line of a map": (f"{LINE}\n", "m root postgres # the DBA\n", "1 comment of lines (pg_ident.conf:1)"),
    "at lines that a spec cannot say": (
        f"# gone\nhostnossl all x all md5\n{LINE}\nhostnossl all y all md5 # too\n",
        "",
        "2 comments of lines (pg_hba.conf:3, pg_hba.conf:5)",
    ),
    "characters that nobody sees": (f"# a\u202eb\n{LINE}\n", "", "1 comment of lines (pg_hba.conf:3)"),
    "too long": (f"# {'long ' * 200}\n{LINE}\n", "", "1 comment of lines (pg_hba.conf:3)"),
}


@pytest.mark.parametrize(("lines", "ident", "words"), LOST.values(), ids=LOST)
def test_comments_that_the_spec_does_not_have_are_counted(tmp_path: Path, lines: str, ident: str, words: str) -> None:
    adopted = imported(tmp_path, Case(OTHER + lines, ident), 17)
    said = [d.message for d in adopted.diagnostics if "comment" in d.message]
    assert said == [f"the spec does not have {words}"]


def test_no_secret_of_a_comment_is_copied(tmp_path: Path) -> None:
    adopted = imported(tmp_path, Case(f"{OTHER}# was: ldapbindpasswd=CANARY\n{LINE} # password: CANARY\n"), 17)
    assert "CANARY" not in f"{adopted}"
    assert "was: ldapbindpasswd=" in adopted.text
