"""What a spec names outside of itself: moved to another file of the spec, the same words name other files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

import pgtls
from access.test_protection import NOW, company
from language.test_git import Repository
from pgtls.fleet import files
from pgtls.language.models import KINDS

if TYPE_CHECKING:
    from pathlib import Path

BASE = """version = 1
include = ["cas/*.toml"]
[ca.root]
[ca.clients]
[server.main]
ca = "root"
client_ca = ["clients"]
hosts = ["db.example.com"]
no_local = true
[user.app]
ca = "clients"
[policy.app]
servers = ["main"]
users = ["app"]
from = ["10.0.0.0/8"]
auth = "cert"
"""
ACME = 'acme = "https://acme.example.com/directory"'
NOTHING = '[network.office]\naddresses = ["192.0.2.0/24"]\n'


def loaded(top: str, below: str = NOTHING, **named: bytes) -> pgtls.Spec:
    there = {name.replace("__", "."): content for name, content in named.items()}
    return pgtls.loads(BASE + top, {"cas/more.toml": below.encode(), **there}, now=NOW)


def weakened(old: pgtls.Spec, new: pgtls.Spec) -> set[tuple[str, str]]:
    changes = pgtls.diff(old, new).protection
    return {(change.entity, change.what) for change in changes if change.kind == "weakened"}


TABLES = {
    "passphrase.command": '[ca.more]\npassphrase = { command = ["./pass.sh"] }\n',
    "passphrase.file": '[ca.more]\npassphrase = { file = "pass" }\n',
    "key.module": '[ca.more]\nkey = { pkcs11 = "pkcs11:token=a;object=b", module = "./p11.so", pin = { env = "P" } }\n',
    "key.pin.file": '[ca.more]\nkey = { pkcs11 = "pkcs11:token=a;object=b", module = "/p.so", pin = { file = "p" } }\n',
    "sign.command": '[ca.system]\nsign = { command = ["./sign.sh"] }\n',
    "sign.challenge.command": f'[ca.system]\nsign = {{ {ACME}, challenge = {{ command = ["./dns.sh"] }} }}\n',
    "sign.challenge.directory": f'[ca.system]\nsign = {{ {ACME}, challenge = {{ directory = "www" }} }}\n',
    "sign.account_binding.hmac.file": (
        f'[ca.system]\nsign = {{ {ACME}, challenge = {{ directory = "/www" }}, '
        'account_binding = { kid = "k", hmac = { file = "hmac" } } }\n'
    ),
}
USED = '[server.other]\nca = "system"\nhosts = ["other.example.com"]\nno_local = true\n'


@pytest.mark.parametrize("what", TABLES)
def test_a_table_that_moves_to_another_directory_names_other_files_and_programs(what: str) -> None:
    table = TABLES[what]
    more = USED if "[ca.system]" in table else '[ca.leaf]\nissuer = "more"\n'
    before, after = loaded(table + more), loaded(more, table)
    entity = "ca.system" if "[ca.system]" in table else "ca.more"
    assert (entity, what) in weakened(before, after)
    assert not pgtls.diff(before, before)


LDAP = (
    'users = ["app"]\nservers = ["main"]\nfrom = ["192.0.2.0/25"]\nauth = "ldap"\nauth_options = { ldapserver = "l", '
    'ldaptls = true, ldapbasedn = "o=x", ldapbinddn = "cn=x", ldapbindpasswd = { command = ["./pass.sh"] } }\n'
)
WORDS = {
    "user.{}": 'ca = "clients"\npassphrase = { command = ["./pass.sh"] }\n',
    "server.{}": 'ca = "root"\nhosts = ["{}.example.com"]\nno_local = true\npassphrase_command = "cat /pass"\n'
    'passphrase = { command = ["./pass.sh"] }\n',
    "ca.{}": 'passphrase = { command = ["./pass.sh"] }\n',
    "policy.{}": 'databases = ["{}"]\n' + LDAP,
}


@pytest.mark.parametrize("kind", WORDS)
def test_a_new_table_in_another_directory_names_others_by_words_that_are_known(kind: str) -> None:
    def table(name: str) -> str:
        return f"[{kind.format(name)}]\n{WORDS[kind].replace('{}', name)}"

    def found(old: pgtls.Spec, new: pgtls.Spec) -> list[str]:
        what = (
            "passphrase.command",
            "passphrase",
            "auth_options.ldapbindpasswd.command",
            "auth_options.ldapbindpasswd",
        )
        return [change.before for change in pgtls.diff(old, new).protection if change.what in what]

    base = loaded(table("first"))
    assert [len(one.split(" in ")) for one in found(base, loaded(table("first"), table("second")))] == [2]
    assert not found(base, loaded(table("first") + table("second")))
    assert found(loaded(""), loaded("", table("second"))) == ["none"], "new words are a finding of their own"


RADIUS = """[policy.{name}]
users = ["app"]
from = ["192.0.2.0/24"]
auth = "radius"
auth_options = {{ radiusservers = "192.0.2.7", radiussecrets = {secret} }}
{more}
"""
SOURCES = {
    '{ file = "radius.secret" }': True,
    '{ command = ["cat", "radius.secret"] }': True,
    '{ file = "/run/radius.secret" }': False,
    '{ env = "RADIUS" }': False,
}


@pytest.mark.parametrize("secret", SOURCES)
def test_equal_words_of_a_secret_in_two_directories_are_two_secrets(secret: str) -> None:
    """Otherwise the name of a policy decides which of the two a server gets."""

    def policy(name: str, more: str = "") -> str:
        return RADIUS.format(name=name, secret=secret, more=more)

    base, same = loaded(policy("one")), loaded(policy("one") + policy("another"))
    assert not weakened(base, same)
    beside = loaded(policy("one"), policy("another"))
    assert ("PGT250" in {one.code for one in pgtls.check(beside).diagnostics}) is SOURCES[secret]
    above = loaded(policy("one"), policy("another", "priority = 1"))
    found = [change.kind for change in pgtls.diff(base, above).access]
    assert found == (["weakened"] if SOURCES[secret] else [])


@pytest.mark.parametrize(
    ("key", "moved"),
    [
        ("/keys/one.key", True),
        ("/keys/../keys/one.key", True),
        ("/keys/two.key", False),
    ],
)
def test_a_new_server_with_the_key_of_another_is_a_weakening(key: str, moved: bool) -> None:
    server = '[server.{}]\nca = "root"\nhosts = ["{}.example.com"]\nno_local = true\n'
    server += 'key_file = "{}"\ncert_file = "/keys/one.crt"\n'
    one = server.format("one", "one", "/keys/one.key")
    will = loaded(one + server.format("two", "two", key))
    assert (("server.one", "its key is on other machines") in weakened(loaded(one), will)) is moved
    assert not weakened(loaded(one), loaded(server.format("two", "one", "/keys/one.key"))), "it has another name"


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ("", []),
        ('[server.evil]\nhosts = ["evil.example.com"]\n', [("server.one", "its key is on other machines")]),
        (
            '[server.evil]\nhosts = ["one.example.com"]\nport = 6432\n',
            [("server.evil", "its certificate proves the name one.example.com")],
        ),
        (
            '[server.one]\nhosts = ["one.example.com"]\nport = 6432\n',
            [("server.other", "its certificate proves the name one.example.com")],
        ),
    ],
    ids=["alone", "with another name", "with its name", "the old one stays"],
)
@pytest.mark.parametrize("first", ["the renamed one", "the other one"])
def test_a_rename_hides_no_other_server_with_the_key_or_the_name(
    others: str, told: list[tuple[str, str]], first: str
) -> None:
    server = '[server.{}]\nhosts = ["one.example.com"]\n'
    more = 'ca = "root"\nno_local = true\nkey_file = "/keys/one.key"\ncert_file = "/keys/one.crt"\n'
    tables = [server.format("other") + more, others and others + more]
    renamed = loaded("".join(tables if first == "the renamed one" else reversed(tables)))
    found = weakened(loaded(server.format("one") + more), renamed)
    assert set(told) <= set(found)
    assert bool(found) is bool(told)


def test_another_server_with_the_key_in_the_place_of_the_old_one_is_no_rename() -> None:
    server = '[server.one]\nhosts = ["{}.example.com"]\nca = "root"\nno_local = true\n'
    server += 'key_file = "/keys/one.key"\ncert_file = "/keys/one.crt"\n'
    base, other = loaded(server.format("one")), loaded(server.format("evil").replace("server.one", "server.evil"))
    assert ("server.one", "its key is on other machines") in weakened(base, other)


def test_no_words_of_a_secret_can_be_taken_for_those_of_another() -> None:
    one = '{ file = "radius.secret" }'
    other = '{ file = "radius.secret in cas" }'
    base = loaded("", RADIUS.format(name="one", secret=one, more=""))
    above = loaded(
        RADIUS.format(name="two", secret=other, more="priority = 1"), RADIUS.format(name="one", secret=one, more="")
    )
    assert [change.kind for change in pgtls.diff(base, above).access] == ["weakened"]


def test_the_name_of_a_directory_writes_no_line_of_a_report() -> None:
    """A directory may have any name that git can hold."""
    table, directory = (
        '[user.{}]\nca = "clients"\npassphrase = {{ command = ["./pass.sh"] }}\n',
        "cas\n::warning::x\x1b[2J",
    )
    specs = [
        pgtls.loads(
            BASE.replace("cas/*", "*/*") + table.format("one"), {f"{directory}/more.toml": text.encode()}, now=NOW
        )
        for text in (NOTHING, NOTHING + table.format("two"))
    ]
    (change,) = [one for one in pgtls.diff(*specs).protection if one.what == "passphrase.command"]
    assert change.after == "./pass.sh in cas\\x0a::warning::x\\x1b[2J"


def test_a_certificate_tells_whose_key_a_new_server_has() -> None:
    """By another name, the key may be a copy or a link."""
    server = '[server.{0}]\nca = "root"\nhosts = ["{0}.example.com"]\nno_local = true\n'
    server += 'key_file = "/keys/{0}.key"\ncert_file = "{1}.crt"\n'
    files = {"one__crt": company("one"), "two__crt": company("two")}
    base = loaded(server.format("one", "one"), NOTHING, **files)
    for certificate, moved in (("one", True), ("two", False)):
        will = loaded(server.format("one", "one") + server.format("two", certificate), NOTHING, **files)
        assert (("server.one", "its key is on other machines") in weakened(base, will)) is moved


KEYS = {
    "server": 'ca = "root"\nhosts = ["{}.example.com"]\nno_local = true\n',
    "pooler": 'ca = "root"\nhosts = ["{}.example.com"]\nserver = "main"\nuser = "bouncer"\nfrom = ["192.0.2.1"]\n',
    "ca": "",
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_that_no_table_had_is_a_weakening_wherever_it_goes(kind: str) -> None:
    """The build machine has other keys, and the certificate of a file needs only the public one."""

    def table(name: str, key: str = "one") -> str:
        file = f'cert_file = "/keys/{key}.crt"\nkey_file = "{key}.key"\n'
        return f"[{kind}.{name}]\n" + KEYS[kind].format(name) + file

    pooled = '[user.bouncer]\nca = "clients"\n'
    base = loaded(pooled + table("one"))
    other = weakened(base, loaded(pooled + table("one") + table("new", "payroll")))
    assert (f"{kind}.new", "key_file") in other
    assert (f"{kind}.new", "key_file") not in weakened(base, loaded(pooled + table("one") + table("new")))
    elsewhere = loaded(pooled + table("one"), table("new"))
    assert (f"{kind}.new", "key_file") in weakened(base, elsewhere), "a key of that name in another directory"


@pytest.mark.parametrize("kind", ["server", "pooler"])
def test_a_new_server_with_the_key_of_somebody_else_is_a_weakening(kind: str) -> None:
    """Its owner proves the names of the table to every client of the CA, and perhaps not to clients of this spec."""
    pooled = '[user.bouncer]\nca = "clients"\n'
    table = f"[{kind}.new]\n" + KEYS[kind].format("ldap")
    before = loaded(pooled)
    assert (f"{kind}.new", "csr_file") in weakened(before, loaded(f'{pooled}{table}csr_file = "new.csr"\n'))
    assert (f"{kind}.new", "csr_file") not in weakened(before, loaded(pooled + table))


@pytest.mark.parametrize(
    ("certificate", "told"),
    [
        (company("new.example.com", "new.example.com", "db.example.com"), True),
        (company("any", "new.example.com", "*.example.com"), True),
        (company("db.example.com", "new.example.com"), True),
        (company("new.example.com", "new.example.com", "*.db.example.com"), False),
    ],
    ids=["a further name", "a wildcard", "the common name", "other names"],
)
def test_a_brought_certificate_proves_names_that_hosts_does_not_say(certificate: bytes, told: bool) -> None:
    server = '[server.new]\nca = "root"\nhosts = ["new.example.com"]\nno_local = true\ncert_file = "new.crt"\n'
    changes = weakened(loaded(""), loaded(server, new__crt=certificate))
    assert (("server.new", "its certificate proves the name db.example.com") in changes) is told


@pytest.mark.parametrize("folder", ["", "deep/"])
def test_what_only_the_disk_has_is_compared_with_a_revision_by_its_path(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repository").mkdir()
    repository = Repository(tmp_path / "repository")
    (tmp_path / "a.crt").write_bytes(company("Company"))
    server = '[server.{0}]\nhosts = ["{0}.example.com"]\nno_local = true\n'
    file = f'cert_file = "{tmp_path}/a.crt"\nkey_file = "{tmp_path}/{{}}.key"\n'
    text = (BASE + server.format("two") + file.format("a")).replace('["main"]', '["main", "two"]')
    repository.write(f"{folder}pgtls.toml", text.replace('"cert"', '"scram-sha-256"'))
    repository.write(f"{folder}cas/more.toml", NOTHING)
    repository.commit()
    monkeypatch.chdir(repository.root / folder)
    old, same = pgtls.load("pgtls.toml", revision="HEAD", now=NOW), pgtls.load("pgtls.toml", now=NOW)
    assert not pgtls.diff(old, same)
    repository.write(f"{folder}cas/more.toml", NOTHING + server.format("new") + 'ca = "root"\n' + file.format("a"))
    assert ("server.two", "its key is on other machines") in weakened(old, pgtls.load("pgtls.toml", now=NOW))
    repository.write(
        f"{folder}cas/more.toml", NOTHING + server.format("new") + file.format("b").replace("a.crt", "b.crt")
    )
    assert ("server.new", "is trusted through") in weakened(old, pgtls.load("pgtls.toml", now=NOW))


def test_a_default_that_its_users_say_themselves_names_another_file() -> None:
    said, user = 'passphrase = { file = "pass" }\n', '[user.etl]\nca = "clients"\n'
    before, after = loaded(f"[defaults.user]\n{said}", user), loaded("", user + said)
    assert ("user.etl", "passphrase.file") in weakened(before, after)


def test_what_has_one_place_wherever_it_is_said_is_no_difference() -> None:
    table = '[ca.more]\npassphrase = { file = "/etc/pass" }\n[ca.leaf]\nissuer = "more"\n'
    assert not pgtls.diff(loaded(table), loaded("", table))


def test_a_certificate_that_moves_with_its_table_is_the_same() -> None:
    def with_file(directory: str, content: bytes, top: str = "", below: str = NOTHING) -> pgtls.Spec:
        return pgtls.loads(BASE + top, {"cas/more.toml": below.encode(), f"{directory}a.crt": content}, now=NOW)

    table = '[ca.more]\ncert_file = "a.crt"\ncrl = false\n'
    before = with_file("", company("Company"), table)
    assert not pgtls.diff(before, with_file("cas/", company("Company"), below=table))
    assert weakened(before, with_file("cas/", company("Another"), below=table)) == {("ca.more", "cert_file")}


def test_a_request_that_nobody_has_yet_moves_with_its_table() -> None:
    table = '[user.more]\nca = "clients"\ncsr_file = "more.csr"\n'
    old, new = loaded(table), loaded("", NOTHING + table)
    assert ("user.more", "csr_file") in weakened(old, new)
    assert not pgtls.diff(old, old)


def test_the_roots_of_an_acme_server_are_compared() -> None:
    table = f'[ca.system]\nsign = {{ {ACME}, roots_file = "r.crt", challenge = {{ directory = "/www" }} }}\n{USED}'
    one, other = (loaded(table, r__crt=company(name)) for name in ("Company", "Another"))
    assert weakened(one, other) == {("ca.system", "sign.roots_file")}


@pytest.mark.parametrize(
    "will",
    [
        'command = ["sh", "-c", "true"]',
        f'{ACME.replace("acme.example", "other.example")}, challenge = {{ directory = "/www" }}',
        f'{ACME}, challenge = {{ command = ["./dns.sh"] }}',
    ],
)
def test_who_signs_for_a_public_ca_is_compared(will: str) -> None:
    was = f'[ca.system]\nsign = {{ {ACME}, challenge = {{ directory = "/www" }} }}\n{USED}'
    assert ("ca.system", "sign") in weakened(loaded(was), loaded(f"[ca.system]\nsign = {{ {will} }}\n{USED}"))


def test_another_request_is_told_whatever_its_user_is_called() -> None:
    user = '[user.{0}]\nca = "clients"\nroles = ["etl"]\ncommon_name = "etl"\ncsr_file = "a.csr"\n'
    policy = '[policy.etl]\nservers = ["main"]\nusers = ["{0}"]\nfrom = ["10.0.0.0/8"]\nauth = "cert"\n'
    one, other = (
        loaded((user + policy).format(name), a__csr=content) for name, content in (("etl", b"a"), ("loader", b"b"))
    )
    assert ("user.loader", "csr_file") in weakened(one, other)
    same = loaded((user + policy).format("loader"), a__csr=b"a")
    assert ("user.loader", "csr_file") not in weakened(one, same)


def included(*patterns: str, others: str = "") -> pgtls.Spec:
    written = ", ".join(f'"{pattern}"' for pattern in patterns)
    top = BASE.replace('"cas/*.toml"', written)
    return pgtls.loads(top + others, {"cas/more.toml": NOTHING, "cas/deep/x.toml": "[group.x]\nusers = []\n"}, now=NOW)


ONE = "cas/*.toml"


@pytest.mark.parametrize(
    "pattern", ["cas/**/*.toml", "**/more.toml", "cas/m*.toml", "cas/?ore.toml", "c[a]s/more.toml"]
)
def test_another_pattern_of_include_is_a_weakening_although_it_matches_the_same_files_here(pattern: str) -> None:
    """On the build machine there may be other files, which no commit has."""
    for patterns, before in (((pattern,), ONE), ((ONE, pattern), "none")):
        difference = pgtls.diff(included(ONE), included(*patterns))
        changes = [change for change in difference.protection if change.entity == "include"]
        what = "a build may read files that no commit has"
        assert [(c.kind, c.what, c.before, c.after) for c in changes] == [("weakened", what, before, pattern)]
        assert difference.exceeds("weakened")


@pytest.mark.parametrize(
    "patterns",
    [
        (ONE, ONE),
        ("./cas/*.toml",),
        ("cas//*.toml",),
        (ONE, "cas/more.toml"),
        ("cas/more.toml",),
        ("./cas/./more.toml", ONE),
    ],
)
def test_patterns_that_match_no_other_files_are_no_difference(patterns: tuple[str, ...]) -> None:
    assert not pgtls.diff(included(ONE), included(*patterns))
    two = included("**/more.toml", ONE)
    assert not pgtls.diff(two, included(ONE, "**/**/more.toml")), "the order of patterns does not matter"
    assert not pgtls.diff(two, included(ONE)), "what is gone grants nothing"


def test_the_files_that_a_new_name_adds_are_compared() -> None:
    difference = pgtls.diff(included(ONE), included(ONE, "cas/deep/x.toml"))
    assert not [change for change in difference.protection if change.entity == "include"]
    granted = NOTHING + '[policy.more]\nservers = ["main"]\nusers = ["app"]\nfrom = ["192.0.2.0/24"]\nauth = "cert"\n'
    files = {"cas/more.toml": NOTHING, "cas/b.toml": granted.replace("[network.office]", "[network.other]")}
    before, after = (
        pgtls.loads(BASE.replace('"cas/*.toml"', names), files, now=NOW)
        for names in ('"cas/more.toml"', '"cas/more.toml", "cas/b.toml"')
    )
    assert [change.kind for change in pgtls.diff(before, after).access] == ["granted"]


def test_a_file_outside_of_the_repository_may_have_other_content_at_each_build(tmp_path: Path) -> None:
    for name, text in (("repository/pgtls.toml", BASE), ("repository/cas/a.toml", NOTHING), ("a.toml", NOTHING)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text.replace("office", name.partition(".")[0].replace("/", "-")))
    (tmp_path / "repository" / ".git").mkdir()
    top, other = tmp_path / "repository" / "pgtls.toml", tmp_path / "repository" / "other.toml"
    for name in ("../a.toml", f"{tmp_path}/a.toml"):
        other.write_text(BASE.replace('"cas/*.toml"', f'"cas/*.toml", "{name}"'))
        before, after = (pgtls.load(path, now=NOW) for path in (top, other))
        assert ("include", "a build may read files that no commit has") in weakened(before, after)
        assert not pgtls.diff(after, after)


WAYS = {
    "a link that an old link leads to": (["shared/evil -> ../../empty"], "shared/evil"),
    "the target of an old link": (["shared -> other"], "shared"),
    "the spec itself": (["pgtls.toml -> copy.toml"], "pgtls.toml"),
    "the directory of a request that nobody has here": (["requests -> /var/empty"], "requests"),
    "the directory of a program": (["bin -> /usr/bin"], "bin"),
    "a directory with a blank": (["my tools -> /usr/bin"], "my tools"),
    "the script of a shell": (["scripts -> /usr/bin"], "scripts"),
    "the value of an option": (["conf -> /etc"], "conf"),
    "a word of a shell's text": (["tools -> /etc"], "tools"),
    "a link above a link": (["requests -> a/b", "a -> other"], "a"),
}


@pytest.mark.parametrize("what", WAYS)
def test_a_new_link_by_which_a_build_reads_is_a_weakening_wherever_it_is(tmp_path: Path, what: str) -> None:
    links, told = WAYS[what]
    table = '[user.etl]\nca = "clients"\ncsr_file = "requests/etl.csr"\n'
    table += '[user.job]\nca = "clients"\npassphrase = { command = ["bin/pass", "x"] }\n'
    table += '[ca.one]\npassphrase = { command = ["./my tools/pass"] }\n[ca.two]\nissuer = "one"\n'
    table += 'passphrase = { command = ["sh", "scripts/pass.sh", "--file=conf/x"] }\n[ca.three]\nissuer = "two"\n'
    table += 'passphrase = { command = ["sh", "-c", "exec tools/pass.sh <conf/y"] }\n'
    (tmp_path / "empty").mkdir()
    for side in ("old", "new"):
        root = tmp_path / side
        for directory in ("shared/web", "other/web", "other/b", "teams"):
            (root / directory).mkdir(parents=True)
        (root / "shared" / "web" / "a.toml").write_text(NOTHING)
        (root / "other" / "web" / "a.toml").write_text(NOTHING)
        (root / "teams" / "x").symlink_to("../shared")
        for name in ("pgtls.toml", "copy.toml"):
            (root / name).write_text(
                BASE.replace("cas/*.toml", "teams/*/*/*.toml").replace("[ca.root]", f"{table}[ca.root]")
            )
        for link in links if side == "new" else ():
            name, _, target = link.partition(" -> ")
            if (root / name).is_dir():
                (root / name).rename(root / "gone")
            (root / name).unlink(missing_ok=True)
            (root / name).symlink_to(target)
    before, after = (pgtls.load(tmp_path / side / "pgtls.toml", now=NOW) for side in ("old", "new"))
    assert ("spec", f"it reads files by way of {told}") in weakened(before, after)
    assert not pgtls.diff(after, after)
    assert not pgtls.diff(before, before)


def test_a_link_on_the_way_of_a_pattern_is_a_weakening_unless_it_was_there(tmp_path: Path) -> None:
    sides = tmp_path / "old", tmp_path / "new"
    for side in sides:
        (side / "cas" / "web").mkdir(parents=True)
        (side / "cas" / "web" / "a.toml").write_text(NOTHING)
        (side / "pgtls.toml").write_text(BASE.replace("cas/*.toml", "cas/*/*.toml"))
    empty = tmp_path / "empty"
    empty.mkdir()

    def changes() -> list[tuple[str, str, str, str]]:
        before, after = (pgtls.load(side / "pgtls.toml", now=NOW) for side in sides)
        return [(c.kind, c.what, c.before, c.after) for c in pgtls.diff(before, after).protection]

    assert changes() == []
    (sides[1] / "cas" / "m").symlink_to(empty)
    assert changes() == [("weakened", "it reads files by way of cas/m", "none", f"a link to {empty}")]
    (sides[0] / "cas" / "m").symlink_to(empty)
    assert changes() == []
    (sides[0] / "cas" / "m").unlink()
    (sides[0] / "cas" / "m").symlink_to("/")
    assert changes() == [("weakened", "it reads files by way of cas/m", "a link to /", f"a link to {empty}")]
    (sides[1] / "cas" / "m").unlink()
    assert changes() == [], "without the link, nothing is read there"


ELSEWHERE = {
    ("server", "directory"),
    ("server", "socket_directory"),
    ("server", "passphrase_command"),
    ("sni", "passphrase_command"),
    ("pooler", "directory"),
    ("pooler", "auth_file"),
    ("user", "directory"),
}
"""Fields that name something on the machine of a server, pooler or client."""


def tables(kind: str, model: type[BaseModel]) -> list[tuple[str, str]]:
    """List the fields of a table, and of the tables in it, that may name a file or a program."""
    suspects = ("_file", "command", "module", "directory", "program", "_path")
    found = [(kind, name) for name in model.model_fields if name == "file" or name.endswith(suspects)]
    for field in model.model_fields.values():
        for inner in inner_models(field.annotation):
            found += [(kind, name) for _, name in tables(kind, inner)]
    return found


def inner_models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for one in getattr(annotation, "__args__", ()) for model in inner_models(one)]


def test_every_field_that_names_a_file_or_a_program_is_known() -> None:
    named = {(kind, name) for kind, model in KINDS.items() for name in (found[1] for found in tables(kind, model))}
    assert named >= {("ca", "roots_file"), ("ca", "module"), ("user", "file")}  # the walk sees tables in tables
    assert not {(kind, name) for kind, name in named if name not in files._USES} - ELSEWHERE


@pytest.mark.parametrize(("field", "table"), [("cert_file", "ca.partner"), ("csr_file", "user.etl"), ("include", "")])
def test_a_way_around_the_repository_to_a_file_in_it_is_a_warning(tmp_path: Path, field: str, table: str) -> None:
    """No revision has such a file, so that a change of it would be no difference."""
    root = tmp_path / "machine" / "pgtls"
    (root / ".git").mkdir(parents=True)
    (root / "teams").mkdir()
    (root / "a.toml").write_text(NOTHING)
    (tmp_path / "a.toml").write_text(NOTHING)
    ways = {"a.toml": False, f"{root}/a.toml": True, "../../machine/pgtls/a.toml": True, "../pgtls/a.toml": True}
    for name, warned in (ways | {f"{tmp_path}/a.toml": False, "../../a.toml": False, "teams/../a.toml": False}).items():
        said = f"[{table}]\nca = 'clients'\n{field} = '{name}'\n".replace("ca = 'clients'\ncert", "cert")
        text = BASE.replace('["cas/*.toml"]', f"['{name}']" if not table else "[]") + (said if table else "")
        (root / "pgtls.toml").write_text(text)
        found = [
            one for one in pgtls.check(pgtls.load(root / "pgtls.toml", now=NOW)).diagnostics if one.code == "PGT152"
        ]
        assert [one.severity for one in found] == ["warning"] * warned, name
        assert [one.path for one in found] == [("include", 0) if not table else (*table.split("."), field)] * warned
