"""Only what the postmaster writes into the log counts, not what strangers call roles, databases and programs."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from pgtls.output.templates import template
from support.servers import PATIENCE

AWKS = [
    pytest.param(words, id=" ".join(words), marks=pytest.mark.skipif(not shutil.which(words[0]), reason="unavailable"))
    for words in (("awk",), ("busybox", "awk"))
]
TIME = "2026-01-02 03:04:05.678 UTC"
START = "2026-01-02 03:04:05 UTC"
RELOAD = "received SIGHUP, reloading configuration files"
REFUSED = "SSL configuration was not reloaded"
CAUSE = 'could not load root certificate file "root.crt": no start line'
GERMAN = ("SIGHUP empfangen, Konfigurationsdateien werden neu geladen", "SSL-Konfiguration wurde nicht neu geladen")
CSV = '{time},{names},{process},{address},65,7,{more},{time},,0,{severity},00000,"{message}",,,,,,,,,"","{kind}",,0'


@pytest.fixture(params=AWKS)
def awk(request: pytest.FixtureRequest) -> str:
    """Return shell code that makes a program awk."""
    program, *options = request.param
    return f'awk() {{ {shutil.which(program)} {" ".join(options)} "$@"; }}\n'


def run(awk: str, code: str, text: str, *words: str) -> str:
    """Run a function of the template, or several."""
    script = awk + template("server/log_lines.sh.j2").render() + code
    return subprocess.run(
        ["/bin/sh", "-c", script, "sh", *words],
        input=text, capture_output=True, text=True, check=False, timeout=PATIENCE,
    ).stdout  # fmt: skip


def beginning(awk: str, prefix: str, form: str = "stderr", *, english: bool = True) -> str:
    return run(awk, 'before_message "$@"', f"{prefix}\n", form, "1", "yes" if english else "").removesuffix("\n")


def said(awk: str, prefix: str, log: str, form: str = "stderr", *, english: bool = True) -> tuple[int, str]:
    """Return how many reloads a log shows, of the process 1, and why the files were refused."""
    words = (form, beginning(awk, prefix, form, english=english), "yes" if english else "")
    assert words[1]
    count = run(awk, 'messages "$@" | reloads "$3"', log, *words)
    return int(count), run(awk, 'messages "$@" | refusal "$3"', log, *words).removesuffix("\n")


WRITTEN = {
    "%m [%p] ": f"{TIME} [1] ",
    "%m [%p] %q%u@%d ": f"{TIME} [1] ",
    "%m [%p] %q[user=%u,db=%d,app=%a] ": f"{TIME} [1] ",
    "<%t%%^\\.>[%10p|%-8l] %q%u ": "<2026-01-02 03:04:05 +0130%^\\.>[         1|12      ] ",
    "%p,%b,%c,%e,%n,%s,%x,%v,%i,%P,%Q:%5a: ": f"1,postmaster,69577f25.1,00000,1767323045.678,{START},0,,,,0:     : ",
}


@pytest.mark.parametrize("prefix", WRITTEN)
@pytest.mark.parametrize("verbose", [False, True])
def test_the_lines_of_the_postmaster_tell_why_it_did_not_load_the_files(awk: str, prefix: str, verbose: bool) -> None:
    severity = "LOG:  00000: " if verbose else "LOG:  "
    start = WRITTEN[prefix]
    before = f"{start}{severity}{REFUSED}\n"  # of an earlier reload
    messages = (RELOAD, 'parameter "ssl_crl_file" changed to "x"', CAUSE, REFUSED, RELOAD)
    log = "".join(f"{start}{severity}{message}\n\tmore\n{start}HINT:  a hint\n" for message in messages)
    assert said(awk, prefix, before + log) == (2, CAUSE)
    assert said(awk, prefix, log.replace(REFUSED, "loaded")) == (2, "")
    assert said(awk, prefix, before + f"{start}{severity}{RELOAD}\n") == (1, "")


@pytest.mark.parametrize("words", [RELOAD, REFUSED, f"LOG:  {RELOAD}", f"{TIME} [1] LOG:  {REFUSED}"])
@pytest.mark.parametrize("prefix", ["%m [%p] ", "%m [%p] %q%u@%d ", "%t [%p] %q%u ", "%m [%p] %a ", "%a %m [%p] "])
def test_no_name_counts_as_the_words_of_the_postmaster(awk: str, prefix: str, words: str) -> None:
    def line(message: str, process: int = 2, user: str = "x", app: str = "y") -> str:
        shown = {"%m": TIME, "%t": START, "%p": str(process), "%q": "", "%u": user, "%d": "d", "%a": app}
        whole = prefix.partition("%q")[0] if process == 1 else prefix
        for escape, value in shown.items():
            whole = whole.replace(escape, "" if process == 1 and escape in "%u%d%a" else value)
        return f"{whole}{message}\n"

    strangers = "".join(
        line(f'{severity}:  no pg_hba.conf entry for user "{words}", database "{words} 1"', process, words, words)
        for severity in ("LOG", "FATAL")
        for process in (2, 11)
    )
    reload = line(f"LOG:  {RELOAD}", 1)
    assert said(awk, prefix, strangers) == (0, "")
    assert said(awk, prefix, reload + strangers + reload) == (2, "")
    assert said(awk, prefix, reload + strangers + line(f"LOG:  {REFUSED}", 1))[0] == 1
    assert said(awk, prefix, reload + strangers + line(f"LOG:  {REFUSED}", 1))[1] != ""


@pytest.mark.parametrize(
    "prefix",
    [
        "%t [%p]: user=%u,db=%d ",
        "%m %d %u [%p]",
        "%m [%p] %q%u %d ",
        "%m [%p] %q%u%a%d ",
        "[%p] %q%u ",
        "%m @[%p] %q%u@%d ",
        "%m ",
        "%m %q%u@%d ",
        "%m %q%u ",
        "%m %q%a [%p] ",
        "%p%l %m ",
    ],
)
def test_where_names_with_a_line_break_could_make_such_a_line_no_line_counts(awk: str, prefix: str) -> None:
    """A name has up to 63 bytes, and two with a text of the postmaster between them have 126.

    Without the number of a process, a name behind the time needs no line break, and a message no name.
    """
    assert beginning(awk, prefix) == ""
    assert beginning(awk, prefix, "csvlog") != ""


LONGEST = 63
"""The most bytes of a name (NAMEDATALEN - 1)."""


@pytest.mark.parametrize("message", [REFUSED, RELOAD])
@pytest.mark.parametrize("time", ["1 1 Z", "1-1-1 1:1:1 Z", "2026-01-02 03:04:05 Z", "2026-01-02 03:04:05.678 Z"])
@pytest.mark.parametrize("prefix", ["%m [%p] %q%u@%d ", "%m [%p] %q[user=%u,db=%d,app=%a] ", "%t [%p] %q%u "])
def test_no_names_that_begin_a_line_make_one_of_the_postmaster(awk: str, prefix: str, time: str, message: str) -> None:
    own = "[1] "
    rest = prefix.partition("%q")[2]
    whole = prefix.partition("%q")[0].replace("%m", TIME).replace("%t", START).replace("%p", "22")
    ones = [f"\n{time} {own}LOG:  {message}\n", f"LOG:  {message}\n", f"\n{time}{own}LOG:  {message}\n"]
    twos = [(f"\n{time.rpartition(' ')[0]} ", f" {own}LOG:  {message}\n"), (f"\n{time} {own}LOG:  ", f"{message}\n")]
    pairs = [*((one, "d") for one in ones), *(("u", one) for one in ones), *twos]
    lines = [
        whole + rest.replace("%u", user).replace("%d", database).replace("%a", "app") + "FATAL:  no entry\n"
        for user, database in pairs
        if max(len(user), len(database)) <= LONGEST
    ]
    assert lines
    reload = f"{prefix.partition('%q')[0].replace('%m', TIME).replace('%t', START).replace('%p', '1')}LOG:  {RELOAD}\n"
    assert said(awk, prefix, reload + "".join(lines)) == (1, "")


@pytest.mark.parametrize("prefix", ["%m ", "%a [%p] ", "%m [%p] %q%u@%d ", "%m [%p] %q%d ", "%l%p ", "%p%l "])
def test_in_another_language_the_process_tells_its_lines_and_nothing_else(awk: str, prefix: str) -> None:
    assert beginning(awk, prefix, english=False) == ""
    reload, refused = (f"{TIME} [1] LOG:  {message}\n" for message in GERMAN)
    stranger = f"{TIME} [2] FATAL:  kein Eintrag für Benutzer „{TIME} [1] LOG:  SIGHUP SSL“\n"
    assert said(awk, "%m [%p] ", stranger + reload + stranger + reload, english=False) == (2, "")
    assert said(awk, "%m [%p]%a ", reload + stranger + refused, english=False) == (1, f"LOG:  {GERMAN[1]}")


def entry(form: str, message: str, *, user: str = "", process: int = 1) -> str:
    """Return a record as the server writes it."""
    if form == "jsonlog":
        names = {"user": user, "dbname": user} if user else {}
        more = {"session_id": "65", "line_num": 7, "txid": 0, "error_severity": "LOG", "state_code": "00000"}
        return json.dumps({"timestamp": TIME} | names | {"pid": process} | more | {"message": message},
                          separators=(",", ":")) + "\n"  # fmt: skip
    name = user.replace('"', '""')
    return CSV.format(
        time=TIME, names=f'"{name}","{name}"' if user else ",", process=process,
        address='"127.0.0.1:5"' if user else "", more='"authentication"' if user else "", severity="LOG",
        message=message.replace('"', '""'), kind="client backend" if user else "postmaster",
    ) + "\n"  # fmt: skip


@pytest.mark.parametrize("english", [True, False])
@pytest.mark.parametrize("form", ["csvlog", "jsonlog"])
def test_a_name_with_a_line_break_is_no_record(awk: str, form: str, english: bool) -> None:
    reload, refused = (entry(form, message) for message in ((RELOAD, REFUSED) if english else GERMAN))
    forged = "".join(
        entry(form, f'no entry for "{words}"', user=f"x\n{words}", process=process)
        for words in (reload, refused, RELOAD, REFUSED)
        for process in (2, 11)
    )
    cause = entry(form, CAUSE)
    prefix = "%m %u %d "
    assert said(awk, prefix, forged, form, english=english) == (0, "")
    assert said(awk, prefix, reload + forged + reload, form, english=english) == (2, "")
    count, why = said(awk, prefix, forged + reload + forged + cause + refused, form, english=english)
    assert (count, "could not load root certificate file" in why) == (1, True)
