"""Every row of the table of libpq's parameters, compared with what each libpq says of itself."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from pgtls.postgres.libpq import parameters
from pgtls.postgres.releases import NEWEST, OLDEST, RELEASES

if TYPE_CHECKING:
    from support.servers import Installation

ASK = """
import ctypes, json, sys
class Option(ctypes.Structure):
    _fields_ = [(n, ctypes.c_char_p) for n in ("keyword", "envvar", "compiled", "val", "label", "dispchar")]
    _fields_ += [("size", ctypes.c_int)]
libpq = ctypes.CDLL(sys.argv[1])
libpq.PQconndefaults.restype = ctypes.POINTER(Option)
options, found, i = libpq.PQconndefaults(), {}, 0
while options[i].keyword:
    found[options[i].keyword.decode()] = (options[i].envvar or b"").decode() or None
    i += 1
print(json.dumps(found))
"""
"""PQconndefaults of a libpq, in a process of its own: two of them do not go into one."""


def of_libpq(installation: Installation) -> dict[str, str | None]:
    name = str(installation.lib / "libpq.so.5") if installation.lib else "libpq.so.5"
    done = subprocess.run([*installation.python, "-c", ASK, name], capture_output=True, text=True, check=True)
    found: dict[str, str | None] = json.loads(done.stdout)
    return found


def test_the_table_is_what_libpq_has(installation: Installation) -> None:
    """A parameter that libpq has and the table lacks fails this test, too."""
    assert of_libpq(installation) == {name: p.env for name, p in parameters(installation.major).items()}


def test_a_release_ends_five_years_after_it_came() -> None:
    assert list(RELEASES) == list(range(OLDEST, NEWEST + 1))
    for release in RELEASES.values():
        if release.first and release.end_of_life:
            assert release.end_of_life.year - release.first.year == 5
        assert release.final == (release.first is not None)
