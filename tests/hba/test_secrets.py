"""Secrets in lines of foreign files: no message and no excerpt shows them, however malformed the line is."""

from __future__ import annotations

import pytest

from pgtls.hba.parse import parse_hba
from pgtls.hba.secrets import blotted

HEAD = "host all all 10.0.0.0/8"
LINES = {
    "a known option": f"{HEAD} ldap ldapserver=x ldapbasedn=x ldapbindpasswd=CANARY",
    "quotes around the value": f'{HEAD} ldap ldapserver=x ldapbasedn=x ldapbindpasswd="CANARY, and CANARY"',
    "quotes around all of it": f'{HEAD} ldap ldapserver=x ldapbasedn=x "ldapbindpasswd=CANARY CANARY" ldapport=x',
    "a value with blanks and no quotes": f"{HEAD} ldap ldapserver=x ldapbasedn=x ldapbindpasswd=my CANARY",
    "quotes that are never closed": f'{HEAD} ldap ldapserver=x ldapbasedn=x ldapbindpasswd="CANARY CANARY ldapport=1',
    "blanks around the sign": f"{HEAD} ldap ldapserver=x ldapbindpasswd = CANARY",
    "no sign": f"{HEAD} ldap ldapserver=x ldapbindpasswd CANARY",
    "a colon": f"{HEAD} ldap ldapserver=x ldapbindpasswd: CANARY",
    "a colon without blanks": f"{HEAD} ldap ldapserver=x ldapbindpasswd:CANARY",
    "a quote that takes the option in": f'{HEAD} ldap ldapserver="x ldapbindpasswd=CANARY"',
    "a quote that takes the option in, and a colon": f'{HEAD} ldap ldapserver="x, ldapbindpasswd : CANARY" x=y',
    "quotes inside the name": f'{HEAD} ldap ldapserver=x ldapbasedn=x ldapbind"pa"sswd=CANARY',
    "quotes inside the name, and a colon": f"{HEAD} ldap ldapserver=x ldapbind'pa'sswd: CANARY",
    "quotes inside a name in quotes": f'{HEAD} ldap ldapserver="x, ldapbind""pa""sswd=CANARY"',
    "several values": f"{HEAD} radius radiusservers=a,b radiussecrets=CANARY,CANARY",
    "an unknown option with such a name": f"{HEAD} oauth issuer=x scope=y validator.client_secret=CANARY x=1",
    "a misspelt option": f"{HEAD} ldap ldapbindpassword=CANARY",
    "a password in a URL": f'{HEAD} ldap ldapurl="ftp://cn=x:CANARY@ldap.example/dc=x"',
    "a password in a URL of a mail address": f'{HEAD} oauth issuer="https://bob@corp.example:CANARY@idp.example/"',
    "in the place of an address": "host all all ldapbindpasswd=CANARY/CANARY md5",
    "in the place of a method": f"{HEAD} ldapbindpasswd=CANARY",
    "in the place of a type": "password=CANARY all all md5",
    "a comment": f"{HEAD} nonsense # was: ldapbindpasswd=CANARY",
    "a line that goes on": f"{HEAD} ldap ldapserver=x ldapbasedn=x ldapbindpasswd=\\\nCANARY ldapport=x",
    "a name that goes on": f"{HEAD} ldap ldapserver=x ldapbasedn=x ldapbindpa\\\nsswd=CANARY ldapport=x",
    "a value that goes on": f"{HEAD} ldap ldapserver=x ldapbasedn=x ldapbindpasswd=CA\\\nNARY ldapport=x",
}


@pytest.mark.parametrize("version", [13, 17, 19])
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_secret_is_neither_in_the_excerpt_nor_in_the_message(line: str, version: int) -> None:
    for text in (line, f"{line}\n", line.replace("\n", "\r\n"), f"local all all peer\n{line} ldapport=x x=y\n"):
        shown = blotted(text)
        assert "NARY" not in shown
        assert [len(one) for one in shown.split("\n")] == [len(one) for one in text.split("\n")]
        assert all("CANARY" not in error.message for error in parse_hba(text, version).errors)


KEPT = {
    "a method named password": f"{HEAD} password\n{HEAD} md5\n",
    "a database named so": "host passwords,tokens secret 10.0.0.0/8 md5\n",
    "options without secrets": f'{HEAD} ldap ldapurl="ldap://h/dc=x?uid" ldaptls=1 ldapbinddn="cn=x, dc=y"\n',
    "options after a secret": f"{HEAD} ldap ldapbindpasswd=x ldapserver=h ldaptls=1\n",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_all_else_is_shown(text: str) -> None:
    assert blotted(text) == text.replace("passwd=x", "passwd=*")


LONG = {
    "a comment": "# {}",
    "a name": "host all all 10.0.0.0/8 {}",
    "names": 'host all all 10.0.0.0/8 ldap "{}" x',
    "quotes": "host '{}'",
    "a secret": "host all all 10.0.0.0/8 ldap ldapbindpasswd=x {}",
}


@pytest.mark.parametrize("word", ["a", "a.", "a'", "a ", "a\\\n", "://a:"])
@pytest.mark.parametrize("line", LONG.values(), ids=LONG)
def test_a_long_line_takes_no_longer_than_many_short_ones(line: str, word: str) -> None:
    """Half a million characters: with a time that grows with the square, one line would take an hour."""
    text = line.format(500_000 // len(word) * word)
    assert len(blotted(text)) == len(text)
